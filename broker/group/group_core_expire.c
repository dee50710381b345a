/* SPDX-License-Identifier: Apache-2.0 */
/* Offsets and groups that have outlived offsets.retention.minutes
 * (docs/reference/group-coordinator.md, "Expiry and deletion"). A sweep goes over all groups in
 * slices, so that no step takes long. */
#include "broker/group/group_core_internal.h"

/* What an offset's age is counted from; -1: it does not expire. */
static int64_t expiry_base_ms(const struct coord_group *g, const struct coord_offset *o)
{
    if (g->state == GROUP_EMPTY && g->protocol_type.len >= 0)
        return g->state_wall_ms >= 0 ? g->state_wall_ms : o->value.commit_wall_ms;
    return o->value.commit_wall_ms;
}

static bool has_expired(const struct group_core *c, const struct coord_group *g,
                        const struct coord_offset *o)
{
    if (!o->has_value || o->pending > 0 || o->txns > 0)
        return false;
    if (o->value.expire_wall_ms >= 0)
        return c->wall_ms >= o->value.expire_wall_ms;
    return c->wall_ms - c->limits.retention_ms >= expiry_base_ms(g, o);
}

static bool has_any_expired(const struct group_core *c, const struct coord_group *g)
{
    const struct coord_topic *t;

    for (t = g->topics; t != NULL; t = t->hh.next) {
        for (int32_t i = 0; i < t->count; i++) {
            if (has_expired(c, g, t->v[i]))
                return true;
        }
    }
    return false;
}

/* While a group has members its offsets stay, but those of topics that it has given up
 * (docs/decisions/0008). */
static bool may_expire(struct group_core *c, struct coord_group *g, struct coord_topic_set **set)
{
    *set = NULL;
    if (g->state == GROUP_EMPTY)
        return true;
    return g->state == GROUP_STABLE && str_eq_z(g->protocol_type, "consumer") &&
           coord_subscribed(c, g, set);
}

static int32_t sweep_group(struct group_core *c, struct coord_tombs *t, struct coord_group *g)
{
    int32_t looked_at = 1 + g->entry_count, gone = 0;
    struct coord_topic *topic, *tmp;
    struct coord_topic_set *set = NULL;
    bool has_any = has_any_expired(c, g);

    if (has_any)
        looked_at += g->member_count; /* whose subscriptions are read: not without need */
    if (has_any && may_expire(c, g, &set)) {
        HASH_ITER (hh, g->topics, topic, tmp) {
            if (coord_subscribed_has(set, topic->name))
                continue;
            for (int32_t i = 0; i < topic->count; i++) {
                if (!has_expired(c, g, topic->v[i]))
                    continue;
                gone++;
                coord_tombs_offset(t, topic->v[i]);
            }
        }
    }
    coord_subscribed_fini(&set);
    if (g->state != GROUP_EMPTY || gone < g->entry_count || g->pending_count > 0)
        return looked_at;
    if (g->has_record)
        coord_tombs_group(t, g);
    else
        coord_drop_if_useless(c, g);
    return looked_at;
}

void coord_sweep_on(struct group_core *c)
{
    struct coord_tombs t = {.c = c, .is_expiry = true};
    int32_t left = COORD_SWEEP_SLICE;

    while (c->sweep != NULL && left > 0) {
        struct coord_group *g = c->sweep;
        c->sweep = g->hh.next;
        left -= sweep_group(c, &t, g);
    }
    coord_tombs_end(&t);
    if (c->sweep != NULL)
        coord_timer_arm(c, &c->sweep_timer, 1);
}

/* One at a time. */
void coord_on_expire(struct group_core *c)
{
    if (c->sweep != NULL)
        return;
    c->sweep = c->groups;
    coord_sweep_on(c);
}
