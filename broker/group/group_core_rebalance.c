/* SPDX-License-Identifier: Apache-2.0 */
/* A rebalance from its first reason to the answers of JoinGroup
 * (docs/reference/group-coordinator.md, "Group states" and "Timers"). */
#include "broker/group/group_core_internal.h"

static int32_t rebalance_timeout_ms(const struct coord_group *g)
{
    const struct coord_member *m;
    int32_t ms = 0;

    TAILQ_FOREACH (m, &g->members, link)
        ms = i32_max(ms, m->rebalance_ms);
    return ms;
}

void coord_clear_owed_syncs(struct group_core *c, struct coord_group *g)
{
    struct coord_member *m;

    coord_timer_cancel(c, &g->sync_timer);
    if (g->owes_sync_count == 0)
        return;
    TAILQ_FOREACH (m, &g->members, link)
        m->owes_sync = false;
    g->owes_sync_count = 0;
}

/* ---- the end of a join */

/* Whoever has not come back by the deadline is out; a static member stays until its session ends
 * (KIP-345). */
static void remove_absent(struct group_core *c, struct coord_group *g)
{
    struct coord_member *m, *next;

    for (m = TAILQ_FIRST(&g->members); m != NULL; m = next) {
        next = TAILQ_NEXT(m, link);
        if (m->is_joining || m->instance_id.len >= 0)
            continue;
        coord_reason(c, g, "member %.*s did not rejoin in time", STR_ARG(coord_said(m->id)));
        c->numbers.expired_members++;
        coord_member_remove(c, m, KE_UNKNOWN_MEMBER_ID);
    }
}

static void elect_joined_leader(struct coord_group *g)
{
    struct coord_member *m;

    if (g->leader->is_joining)
        return;
    TAILQ_FOREACH (m, &g->members, link) {
        if (m->is_joining) {
            g->leader = m;
            return;
        }
    }
}

/* A record may hold any number; no generation is negative. */
static void next_generation(struct coord_group *g)
{
    g->generation = g->generation == INT32_MAX ? 1 : g->generation + 1;
}

static void become_empty(struct group_core *c, struct coord_group *g)
{
    next_generation(g);
    coord_str_retire(c, &g->protocol);
    coord_set_state(c, g, GROUP_EMPTY);
    (void)coord_store_group(c, g, COORD_APPEND_GROUP, false);
    coord_history_end(c, g);
}

static void answer_joins(struct group_core *c, struct coord_group *g)
{
    struct str protocol = coord_str_copy(coord_choose_protocol(c, g));
    struct coord_member *m;

    next_generation(g);
    coord_str_retire(c, &g->protocol);
    g->protocol = protocol;
    coord_set_state(c, g, GROUP_COMPLETING_REBALANCE);
    TAILQ_FOREACH (m, &g->members, link) {
        m->is_new = false;
        m->owes_sync = true;
        g->owes_sync_count++;
        if (m->is_joining)
            coord_answer_join(c, m, g->leader->id, g->leader == m, false);
        else /* static, absent */
            coord_session_touch(c, m);
    }
    coord_timer_arm(c, &g->sync_timer, rebalance_timeout_ms(g));
}

static void complete_join(struct group_core *c, struct coord_group *g)
{
    ASSERT(g->state == GROUP_PREPARING_REBALANCE);
    coord_timer_cancel(c, &g->join_timer);
    g->is_initial = false;
    remove_absent(c, g);
    if (g->member_count == 0) {
        become_empty(c, g);
    } else if (g->joining_count == 0) {
        /* static members only, all absent: their sessions will end, or they will come back */
        coord_timer_arm(c, &g->join_timer, i32_max(rebalance_timeout_ms(g), 1));
    } else {
        elect_joined_leader(g);
        answer_joins(c, g);
    }
}

void coord_try_complete_join(struct group_core *c, struct coord_group *g)
{
    if (g->state == GROUP_PREPARING_REBALANCE && !g->is_initial &&
        g->joining_count == g->member_count && g->pending_count == 0)
        complete_join(c, g);
}

/* The initial join gives a group that starts up time to gather: as long as members come it is
 * extended, up to the rebalance timeout (KIP-134). */
void coord_join_expired(struct group_core *c, struct coord_group *g)
{
    int32_t elapsed_ms = g->initial_delay_ms;

    if (!g->is_initial || !g->has_new_member || g->initial_left_ms == 0) {
        complete_join(c, g);
        return;
    }
    g->has_new_member = false;
    g->initial_delay_ms = i32_min(c->limits.initial_rebalance_delay_ms, g->initial_left_ms);
    g->initial_left_ms = i32_max(g->initial_left_ms - elapsed_ms, 0);
    coord_timer_arm(c, &g->join_timer, g->initial_delay_ms);
}

/* ---- the beginning */

static void begin_initial(struct group_core *c, struct coord_group *g)
{
    int32_t delay_ms = i32_max(c->limits.initial_rebalance_delay_ms, 0);

    g->is_initial = true;
    g->has_new_member = false;
    g->initial_delay_ms = delay_ms;
    g->initial_left_ms = i32_max(rebalance_timeout_ms(g) - delay_ms, 0);
    if (delay_ms == 0)
        complete_join(c, g);
    else
        coord_timer_arm(c, &g->join_timer, delay_ms);
}

void coord_rebalance(struct group_core *c, struct coord_group *g)
{
    bool is_initial = g->state == GROUP_EMPTY;

    if (g->state == GROUP_PREPARING_REBALANCE)
        return;
    if (g->state == GROUP_COMPLETING_REBALANCE)
        coord_fail_syncs(c, g, KE_REBALANCE_IN_PROGRESS);
    coord_clear_owed_syncs(c, g);
    coord_set_state(c, g, GROUP_PREPARING_REBALANCE);
    if (is_initial) {
        begin_initial(c, g);
    } else {
        coord_timer_arm(c, &g->join_timer, rebalance_timeout_ms(g));
        coord_try_complete_join(c, g);
    }
}
