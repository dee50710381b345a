/* SPDX-License-Identifier: Apache-2.0 */
/* SyncGroup and Heartbeat (docs/reference/group-coordinator.md, "SyncGroup"), and the writing
 * of the group's record. */
#include "broker/group/group_core_internal.h"

#include "broker/group/group_records.h"

/* ---- the record */

static struct group_member_view member_view(const struct coord_member *m, bool is_next)
{
    return (struct group_member_view){
        .member_id = m->id,
        .instance_id = m->instance_id,
        .client_id = m->client_id,
        .client_host = m->client_host,
        .rebalance_ms = m->rebalance_ms,
        .session_ms = m->session_ms,
        .metadata = coord_member_metadata(m, m->group->protocol),
        .assignment = is_next ? m->next_assignment : m->assignment,
    };
}

struct coord_append *coord_store_group(struct group_core *c, struct coord_group *g,
                                       enum coord_append_kind kind, bool is_next)
{
    struct group_member_view *members =
        coord_alloc(c, (size_t)i32_max(g->member_count, 1) * sizeof *members);
    struct group_load_group value = {
        .group = g->id,
        .protocol_type = g->protocol_type.len < 0 ? STR_LIT("") : g->protocol_type,
        .generation = g->generation,
        .protocol = g->protocol,
        .leader = g->leader == NULL ? STR_NULL : g->leader->id,
        .state_wall_ms = g->state_wall_ms,
        .members = members,
        .member_count = g->member_count,
    };
    struct coord_append *a = coord_append_new(c, kind);
    struct group_record record;
    struct coord_member *m;
    int32_t n = 0;

    TAILQ_FOREACH (m, &g->members, link)
        members[n++] = member_view(m, is_next);
    group_records_group_key(&c->scratch, g->id);
    record.key = coord_scratch_take(c);
    group_records_group_value(&c->scratch, &value);
    record.value = coord_scratch_take(c);
    a->group = g;
    coord_ref(g);
    a->generation = g->generation;
    g->has_record = true;
    coord_append_send(c, a, &record, 1);
    return a;
}

/* ---- answers */

void coord_answer_sync(struct group_core *c, struct coord_member *m, int16_t error)
{
    ASSERT(m->is_syncing);
    coord_reply(c, GROUP_REPLY_SYNC, m->sync_call, error);
    if (error == KE_NONE) {
        struct group_reply *r = &c->fx[c->fx_count - 1].reply;
        r->sync.protocol_type = m->group->protocol_type;
        r->sync.protocol = m->group->protocol;
        r->sync.assignment = m->assignment;
    }
    m->is_syncing = false;
    coord_session_touch(c, m);
}

void coord_fail_syncs(struct group_core *c, struct coord_group *g, int16_t error)
{
    struct coord_member *m;

    g->is_storing = false;
    TAILQ_FOREACH (m, &g->members, link) {
        coord_bytes_retire(c, &m->assignment);
        coord_bytes_retire(c, &m->next_assignment);
        if (m->is_syncing)
            coord_answer_sync(c, m, error);
    }
}

/* ---- SyncGroup */

static bool names(struct str given, struct str is)
{
    return given.len < 0 || str_eq(given, is);
}

static int16_t check_sync(const struct coord_group *g, const struct group_sync *s,
                          struct coord_member **m)
{
    int16_t error = coord_member_check(g, s->member_id, s->instance_id, m);

    if (error != KE_NONE)
        return error;
    if (s->generation != g->generation)
        return KE_ILLEGAL_GENERATION;
    if (!names(s->protocol_type, g->protocol_type) || !names(s->protocol, g->protocol))
        return KE_INCONSISTENT_GROUP_PROTOCOL;
    if (g->state == GROUP_EMPTY)
        return KE_UNKNOWN_MEMBER_ID;
    return g->state == GROUP_PREPARING_REBALANCE ? KE_REBALANCE_IN_PROGRESS : KE_NONE;
}

static void pay_sync(struct group_core *c, struct coord_member *m)
{
    if (!m->owes_sync)
        return;
    m->owes_sync = false;
    if (--m->group->owes_sync_count == 0)
        coord_timer_cancel(c, &m->group->sync_timer);
}

/* Members that the leader did not name get no bytes; whoever is not a member is ignored. A leader
 * that repeats itself while its first is being written waits for that: memory and log must hold the
 * same. */
static void store_assignment(struct group_core *c, struct coord_group *g,
                             const struct group_sync *s)
{
    struct coord_member *m;

    if (g->is_storing)
        return;
    TAILQ_FOREACH (m, &g->members, link)
        coord_bytes_retire(c, &m->next_assignment);
    for (int32_t i = 0; i < s->assignment_count; i++) {
        m = coord_member_find(g, s->assignments[i].member_id);
        if (m != NULL)
            coord_member_set_assignment(c, &m->next_assignment, s->assignments[i].assignment);
    }
    g->is_storing = true;
    (void)coord_store_group(c, g, COORD_APPEND_SYNC, true);
}

void coord_on_sync(struct group_core *c, const struct group_event *ev)
{
    const struct group_sync *s = &ev->sync;
    struct coord_group *g = coord_find(c, s->group);
    struct coord_member *m = NULL;
    int16_t error = KE_NONE;

    if (s->needs_protocol && (s->protocol_type.len < 0 || s->protocol.len < 0))
        error = KE_INCONSISTENT_GROUP_PROTOCOL;
    if (error == KE_NONE)
        error = coord_first_check(c, s->group, false);
    if (error == KE_COORDINATOR_LOAD_IN_PROGRESS) /* what was under way is lost: join again */
        error = KE_REBALANCE_IN_PROGRESS;
    if (error == KE_NONE)
        error = g == NULL ? KE_UNKNOWN_MEMBER_ID : check_sync(g, s, &m);
    if (error == KE_NONE && m->is_joining) /* its JoinGroup waits for a write; it is older */
        error = KE_REBALANCE_IN_PROGRESS;
    if (error != KE_NONE) {
        coord_reply(c, GROUP_REPLY_SYNC, ev->call, error);
        return;
    }
    if (m->is_syncing) /* from a connection that the client has left */
        coord_answer_sync(c, m, KE_REBALANCE_IN_PROGRESS);
    pay_sync(c, m);
    coord_timer_cancel(c, &m->session);
    m->is_syncing = true;
    m->sync_call = ev->call;
    if (g->state == GROUP_STABLE)
        coord_answer_sync(c, m, KE_NONE);
    else if (g->leader == m)
        store_assignment(c, g, s);
}

/* Another member may have joined since: then a new generation is on its way, and who waited has
 * been told. */
void coord_on_sync_stored(struct group_core *c, struct coord_append *a, int16_t error)
{
    struct coord_group *g = a->group;
    struct coord_member *m;

    if (g->state != GROUP_COMPLETING_REBALANCE || g->generation != a->generation || !g->is_storing)
        return;
    if (error != KE_NONE) {
        coord_fail_syncs(c, g, coord_store_error(error));
        coord_reason(c, g, "the assignment could not be written (%s)", kerr_name(error));
        coord_rebalance(c, g);
        return;
    }
    g->is_storing = false;
    coord_set_state(c, g, GROUP_STABLE);
    TAILQ_FOREACH (m, &g->members, link) {
        coord_bytes_retire(c, &m->assignment);
        m->assignment = m->next_assignment;
        m->next_assignment = coord_bytes_copy(BYTES_NULL);
        if (m->is_syncing)
            coord_answer_sync(c, m, KE_NONE);
    }
    coord_history_end(c, g);
}

/* ---- who has not sent its SyncGroup in time */

void coord_sync_expired(struct group_core *c, struct coord_group *g)
{
    struct coord_member *m, *next;

    ASSERT(g->state == GROUP_COMPLETING_REBALANCE || g->state == GROUP_STABLE);
    ASSERT(g->owes_sync_count > 0);
    for (m = TAILQ_FIRST(&g->members); m != NULL; m = next) {
        next = TAILQ_NEXT(m, link);
        if (!m->owes_sync)
            continue;
        coord_reason(c, g, "member %.*s sent no SyncGroup", STR_ARG(coord_said(m->id)));
        c->numbers.expired_members++;
        coord_member_remove(c, m, KE_UNKNOWN_MEMBER_ID);
    }
    coord_rebalance(c, g);
}

/* ---- Heartbeat */

static int16_t check_heartbeat(struct group_core *c, struct coord_group *g,
                               const struct group_heartbeat *h)
{
    struct coord_member *m;
    int16_t error = coord_member_check(g, h->member_id, h->instance_id, &m);

    if (error != KE_NONE)
        return error;
    if (h->generation != g->generation)
        return KE_ILLEGAL_GENERATION;
    if (g->state == GROUP_EMPTY)
        return KE_UNKNOWN_MEMBER_ID;
    coord_session_touch(c, m);
    return g->state == GROUP_PREPARING_REBALANCE ? KE_REBALANCE_IN_PROGRESS : KE_NONE;
}

void coord_on_heartbeat(struct group_core *c, const struct group_event *ev)
{
    const struct group_heartbeat *h = &ev->heartbeat;
    struct coord_group *g = coord_find(c, h->group);
    int16_t error = coord_first_check(c, h->group, false);

    if (error == KE_COORDINATOR_LOAD_IN_PROGRESS) /* sessions begin when the load ends */
        error = KE_NONE;
    else if (error == KE_NONE)
        error = g == NULL ? KE_UNKNOWN_MEMBER_ID : check_heartbeat(c, g, h);
    coord_reply(c, GROUP_REPLY_HEARTBEAT, ev->call, error);
}
