/* SPDX-License-Identifier: Apache-2.0 */
/* LeaveGroup, and sessions that end. */
#include "broker/group/group_core_internal.h"

void coord_after_removal(struct group_core *c, struct coord_group *g)
{
    if (g->state == GROUP_PREPARING_REBALANCE)
        coord_try_complete_join(c, g);
    else if (g->state == GROUP_EMPTY)
        coord_drop_if_useless(c, g);
}

/* A reason has been noted. */
static void remove_and_rebalance(struct group_core *c, struct coord_member *m)
{
    struct coord_group *g = m->group;

    coord_member_remove(c, m, KE_UNKNOWN_MEMBER_ID);
    coord_rebalance(c, g);
    coord_after_removal(c, g);
}

void coord_session_expired(struct group_core *c, struct coord_member *m)
{
    struct str id = coord_said(m->id);

    if (m->is_new)
        coord_reason(c, m->group, "member %.*s waited %d ms for its first join", STR_ARG(id),
                     (int)COORD_NEW_MEMBER_JOIN_MS);
    else
        coord_reason(c, m->group, "member %.*s did not heartbeat for %d ms", STR_ARG(id),
                     (int)m->session_ms);
    c->numbers.expired_members++;
    remove_and_rebalance(c, m);
}

/* An id "" with an instance: removal by an administrator. */
static int16_t leave_one(struct group_core *c, struct coord_group *g, const struct group_leaver *l)
{
    struct coord_pending *p;
    struct coord_member *m = NULL;
    int16_t error = KE_NONE;

    if (l->member_id.len <= 0) {
        if (l->instance_id.len >= 0)
            m = coord_member_of_instance(g, l->instance_id);
        if (m == NULL)
            return KE_UNKNOWN_MEMBER_ID;
    } else if ((p = coord_pending_find(g, l->member_id)) != NULL) {
        coord_pending_remove(c, p);
        if (g->state == GROUP_PREPARING_REBALANCE)
            coord_try_complete_join(c, g);
        return KE_NONE;
    } else {
        error = coord_member_check(g, l->member_id, l->instance_id, &m);
    }
    if (error != KE_NONE)
        return error;
    coord_reason(c, g, "member %.*s %s%s%.*s", STR_ARG(coord_said(m->id)),
                 l->member_id.len <= 0 ? "was removed by an administrator" : "left",
                 COORD_SAYS(l->reason));
    remove_and_rebalance(c, m);
    return KE_NONE;
}

void coord_on_leave(struct group_core *c, const struct group_event *ev)
{
    const struct group_leave *l = &ev->leave;
    struct coord_group *g = coord_find(c, l->group);
    int16_t error = coord_first_check(c, l->group, false);
    int16_t *errors;

    if (error != KE_NONE) {
        coord_reply(c, GROUP_REPLY_LEAVE, ev->call, error);
        return;
    }
    errors = coord_alloc(c, (size_t)i32_max(l->leaver_count, 1) * sizeof *errors);
    for (int32_t i = 0; i < l->leaver_count; i++)
        errors[i] = g == NULL ? KE_UNKNOWN_MEMBER_ID : leave_one(c, g, &l->leavers[i]);
    coord_reply_items(c, GROUP_REPLY_LEAVE, ev->call, errors, l->leaver_count);
    if (g != NULL)
        coord_after_removal(c, g);
}
