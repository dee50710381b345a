/* SPDX-License-Identifier: Apache-2.0 */
/* Questions to the core. */
#include "broker/group/group_core_internal.h"

static struct group_view view_of(const struct coord_group *g)
{
    return (struct group_view){
        .group = g->id,
        .protocol_type = g->protocol_type,
        .protocol = g->protocol,
        .leader = g->leader == NULL ? STR_NULL : g->leader->id,
        .state = g->state,
        .generation = g->generation,
        .state_wall_ms = g->state_wall_ms,
        .member_count = g->member_count,
        .offset_count = g->offset_count,
    };
}

bool group_core_find(const struct group_core *c, struct str group, struct group_view *out)
{
    const struct coord_group *g = coord_find(c, group);

    if (g == NULL)
        return false;
    *out = view_of(g);
    return true;
}

void group_core_each(const struct group_core *c,
                     void (*visit)(void *arg, const struct group_view *g), void *arg)
{
    for (const struct coord_group *g = c->groups; g != NULL; g = g->hh.next) {
        struct group_view v = view_of(g);
        visit(arg, &v);
    }
}

void group_core_each_member(const struct group_core *c, struct str group,
                            void (*visit)(void *arg, const struct group_member_view *m), void *arg)
{
    const struct coord_group *g = coord_find(c, group);
    const struct coord_member *m;

    if (g == NULL)
        return;
    TAILQ_FOREACH (m, &g->members, link) {
        struct group_member_view v = {
            .member_id = m->id,
            .instance_id = m->instance_id,
            .client_id = m->client_id,
            .client_host = m->client_host,
            .rebalance_ms = m->rebalance_ms,
            .session_ms = m->session_ms,
            .metadata = {(const uint8_t *)"", 0},
            .assignment = {(const uint8_t *)"", 0},
        };
        if (g->state == GROUP_STABLE) {
            v.metadata = coord_member_metadata(m, g->protocol);
            v.assignment = m->assignment;
        }
        visit(arg, &v);
    }
}

static enum group_offset_state state_of(const struct coord_offset *o, struct group_offset *out)
{
    *out = (struct group_offset){-1, -1, STR_LIT(""), -1, -1};
    if (o == NULL)
        return GROUP_OFFSET_NONE;
    if (o->has_value)
        *out = o->value;
    return o->pending > 0 || o->txns > 0 ? GROUP_OFFSET_PENDING : GROUP_OFFSET_STABLE;
}

enum group_offset_state group_core_offset(const struct group_core *c, struct str group,
                                          struct str topic, int32_t partition,
                                          struct group_offset *out)
{
    const struct coord_group *g = coord_find(c, group);

    return state_of(g == NULL ? NULL : coord_offset_find(g, topic, partition), out);
}

void group_core_each_offset(const struct group_core *c, struct str group,
                            void (*visit)(void *arg, struct str topic, int32_t partition,
                                          enum group_offset_state s, const struct group_offset *o),
                            void *arg)
{
    const struct coord_group *g = coord_find(c, group);

    for (const struct coord_topic *t = g == NULL ? NULL : g->topics; t != NULL; t = t->hh.next) {
        for (int32_t i = 0; i < t->count; i++) {
            struct group_offset o;
            enum group_offset_state s = state_of(t->v[i], &o);
            visit(arg, t->name, t->v[i]->partition, s, &o);
        }
    }
}

void group_core_each_rebalance(const struct group_core *c, struct str group,
                               void (*visit)(void *arg, const struct group_rebalance *r), void *arg)
{
    const struct coord_group *g = coord_find(c, group);
    const struct coord_rebalance *r;

    if (g == NULL)
        return;
    TAILQ_FOREACH (r, &g->history, link)
        visit(arg, &r->r);
}

void group_core_count(const struct group_core *c, struct group_numbers *out)
{
    *out = c->numbers;
    out->groups = HASH_COUNT(c->groups);
    out->members = c->member_total;
    out->offsets = c->offset_total;
    for (const struct coord_group *g = c->groups; g != NULL; g = g->hh.next)
        out->by_state[g->state]++;
}
