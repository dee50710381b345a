/* SPDX-License-Identifier: Apache-2.0 */
/* JoinGroup: who is let in, under which id, and who has to wait
 * (docs/reference/group-coordinator.md, "JoinGroup"). */
#include "broker/group/group_core_internal.h"

/* ---- answers */

void coord_reply_join_error(struct group_core *c, uint64_t call, int16_t error, struct str id)
{
    struct str member_id = coord_str_lend(c, id.len < 0 ? STR_LIT("") : id);
    struct group_reply *r = &coord_effect(c, GFX_REPLY)->reply;

    ASSERT(error != KE_NONE);
    r->kind = GROUP_REPLY_JOIN;
    r->call = call;
    r->error = error;
    r->join.generation = -1;
    r->join.protocol_type = STR_NULL;
    r->join.protocol = STR_NULL;
    r->join.leader = STR_LIT("");
    r->join.member_id = member_id;
}

static void list_members(struct group_core *c, struct coord_group *g, struct group_reply *r)
{
    struct group_joined_member *v = coord_alloc(c, (size_t)i32_max(g->member_count, 1) * sizeof *v);
    struct coord_member *m;
    int32_t n = 0;

    TAILQ_FOREACH (m, &g->members, link)
        v[n++] = (struct group_joined_member){m->id, m->instance_id,
                                              coord_member_metadata(m, g->protocol)};
    r->join.members = v;
    r->join.member_count = n;
}

/* The current generation, whether or not m has waited for it. */
static void reply_joined(struct group_core *c, uint64_t call, struct coord_member *m,
                         struct str leader, bool is_leader, bool skip_assignment)
{
    struct coord_group *g = m->group;
    struct group_reply *r = &coord_effect(c, GFX_REPLY)->reply;

    r->kind = GROUP_REPLY_JOIN;
    r->call = call;
    r->join.generation = g->generation;
    r->join.protocol_type = g->protocol_type;
    r->join.protocol = g->protocol;
    r->join.leader = leader;
    r->join.member_id = m->id;
    r->join.skip_assignment = skip_assignment;
    if (is_leader)
        list_members(c, g, r);
}

void coord_answer_join(struct group_core *c, struct coord_member *m, struct str leader,
                       bool is_leader, bool skip_assignment)
{
    ASSERT(m->is_joining);
    reply_joined(c, m->join_call, m, leader, is_leader, skip_assignment);
    m->is_joining = false;
    m->group->joining_count--;
    coord_session_touch(c, m);
}

/* ---- waiting */

/* A second JoinGroup while one waits comes from a client that has given up its connection: the
 * first is answered into the void, so that no call stays without an answer. While a known member
 * waits its session does not run: it cannot send heartbeats. */
static void wait_for_join(struct group_core *c, struct coord_member *m, uint64_t call)
{
    if (m->is_joining) {
        coord_reply_join_error(c, m->join_call, KE_REBALANCE_IN_PROGRESS, m->id);
    } else {
        m->is_joining = true;
        m->group->joining_count++;
    }
    m->join_call = call;
    if (!m->is_new)
        coord_timer_cancel(c, &m->session);
}

static void set_timeouts(struct coord_member *m, const struct group_join *j)
{
    m->session_ms = j->session_ms;
    m->rebalance_ms = j->rebalance_ms < 0 ? j->session_ms : j->rebalance_ms;
    m->can_skip_assignment = j->can_skip_assignment;
}

static void add_member(struct group_core *c, struct coord_group *g, struct str id,
                       const struct group_event *ev)
{
    const struct group_join *j = &ev->join;
    struct coord_member *m;

    if (g->state == GROUP_PREPARING_REBALANCE && g->generation == 0)
        g->has_new_member = true; /* the initial join is worth extending */
    m = coord_member_add(c, g, id, j);
    set_timeouts(m, j);
    wait_for_join(c, m, ev->call);
    /* It has no id to send heartbeats with yet. If it gives up and comes back as another, it must
     * not stay for ever. */
    coord_timer_arm(c, &m->session, COORD_NEW_MEMBER_JOIN_MS);
    coord_reason(c, g, "member %.*s%s%.*s joined%s%.*s", STR_ARG(coord_said(m->id)),
                 m->instance_id.len >= 0 ? ", instance " : "", STR_ARG(coord_said(m->instance_id)),
                 COORD_SAYS(j->reason));
    coord_rebalance(c, g);
}

static void update_member(struct group_core *c, struct coord_member *m,
                          const struct group_event *ev)
{
    const struct group_join *j = &ev->join;
    struct group_protocol *old = m->protocols;

    coord_member_set_protocols(c, m, coord_protocols_copy(j->protocols, j->protocol_count),
                               j->protocol_count);
    coord_retire(c, old);
    set_timeouts(m, j);
    wait_for_join(c, m, ev->call);
}

/* ---- a member without an id */

/* "<client or instance>-<uuid>", at most as long as a string of the protocol may be. */
static struct str new_member_id(struct group_core *c, const struct group_join *j)
{
    struct str prefix = j->instance_id.len >= 0 ? j->instance_id : j->client_id;
    int32_t suffix_len = i32_min((int32_t)coord_key_len(j->new_id_suffix), 64);
    int32_t prefix_len =
        i32_min((int32_t)coord_key_len(prefix), COORD_MEMBER_ID_BYTES_MAX - 1 - suffix_len);
    char *p = coord_alloc(c, (size_t)(prefix_len + 1 + suffix_len));

    memcpy(p, coord_key(prefix), (size_t)prefix_len);
    p[prefix_len] = '-';
    memcpy(p + prefix_len + 1, coord_key(j->new_id_suffix), (size_t)suffix_len);
    return (struct str){p, prefix_len + 1 + suffix_len};
}

/* A duplicate of a static member fences the older one at once, if that waits. */
static void fence_waiting(struct group_core *c, struct coord_member *m)
{
    if (m->is_joining) {
        coord_reply_join_error(c, m->join_call, KE_FENCED_INSTANCE_ID, m->id);
        m->is_joining = false;
        m->group->joining_count--;
    }
    if (m->is_syncing)
        coord_answer_sync(c, m, KE_FENCED_INSTANCE_ID);
    m->is_new = false;
}

/* Stable and the choice stays: only the record has to name the new id. */
static void store_static(struct group_core *c, struct coord_member *m, struct coord_append *undo)
{
    struct coord_append *a = coord_store_group(c, m->group, COORD_APPEND_STATIC, false);

    a->call = m->join_call;
    a->undo = undo->undo;
    a->undo.new_id = coord_str_copy(m->id);
    memset(&undo->undo, 0, sizeof undo->undo);
}

static void undo_free(struct group_core *c, struct coord_append *undo)
{
    coord_str_retire(c, &undo->undo.old_id);
    coord_retire(c, undo->undo.protocols);
}

/* KIP-345. The entry keeps its assignment, client id and host. */
static void replace_static(struct group_core *c, struct coord_member *m,
                           const struct group_event *ev)
{
    const struct group_join *j = &ev->join;
    struct coord_group *g = m->group;
    struct coord_append undo = {.undo = {.old_id = coord_str_copy(m->id),
                                         .protocols = m->protocols,
                                         .protocol_count = m->protocol_count,
                                         .session_ms = m->session_ms,
                                         .rebalance_ms = m->rebalance_ms,
                                         .could_skip = m->can_skip_assignment,
                                         .was_leader = g->leader == m}};
    bool is_same;

    fence_waiting(c, m);
    coord_member_rename(c, m, new_member_id(c, j));
    coord_member_set_protocols(c, m, coord_protocols_copy(j->protocols, j->protocol_count),
                               j->protocol_count);
    set_timeouts(m, j);
    wait_for_join(c, m, ev->call);
    is_same = g->state == GROUP_STABLE && str_eq(coord_choose_protocol(c, g), g->protocol);
    if (is_same) {
        store_static(c, m, &undo);
        return;
    }
    if (g->state != GROUP_PREPARING_REBALANCE) {
        coord_reason(c, g, "static member %.*s (instance %.*s) %s%s%.*s",
                     STR_ARG(coord_said(m->id)), STR_ARG(coord_said(m->instance_id)),
                     g->state == GROUP_STABLE ? "came back with other protocols"
                                              : "came back before the group was stable",
                     COORD_SAYS(j->reason));
        coord_rebalance(c, g);
    }
    undo_free(c, &undo);
}

static void join_without_id(struct group_core *c, struct coord_group *g,
                            const struct group_event *ev)
{
    const struct group_join *j = &ev->join;
    struct coord_member *m =
        j->instance_id.len >= 0 ? coord_member_of_instance(g, j->instance_id) : NULL;

    if (!coord_supports(g, j)) {
        coord_reply_join_error(c, ev->call, KE_INCONSISTENT_GROUP_PROTOCOL, STR_LIT(""));
    } else if (m != NULL) {
        replace_static(c, m, ev);
    } else if (j->instance_id.len < 0 && j->needs_known_id) {
        struct str id = new_member_id(c, j);
        coord_pending_add(c, g, id, j->session_ms);
        coord_reply_join_error(c, ev->call, KE_MEMBER_ID_REQUIRED, id);
    } else {
        add_member(c, g, new_member_id(c, j), ev);
    }
}

/* The write of a replacement came back. If anything has happened since (a rebalance, another
 * replacement, its removal) the member has been answered or will be by what happened. */
void coord_on_static_stored(struct group_core *c, struct coord_append *a, int16_t error)
{
    struct coord_group *g = a->group;
    struct coord_member *m = coord_member_find(g, a->undo.new_id);
    struct group_protocol *refused;

    if (m == NULL || !m->is_joining || m->join_call != a->call || g->state != GROUP_STABLE ||
        g->generation != a->generation)
        return;
    if (error == KE_NONE) {
        bool leads = g->leader == m && m->can_skip_assignment;
        /* KIP-814. An older client must not take itself for the leader, or it would compute an
         * assignment that nobody gets: it is told the id that it had before */
        coord_answer_join(c, m,
                          a->undo.was_leader && !m->can_skip_assignment
                              ? coord_str_lend(c, a->undo.old_id)
                              : g->leader->id,
                          leads, leads);
        return;
    }
    coord_reply_join_error(c, m->join_call, coord_store_error(error), STR_LIT(""));
    m->is_joining = false;
    g->joining_count--;
    refused = m->protocols;
    coord_member_set_protocols(c, m, a->undo.protocols, a->undo.protocol_count);
    a->undo.protocols = NULL;
    coord_retire(c, refused);
    m->session_ms = a->undo.session_ms;
    m->rebalance_ms = a->undo.rebalance_ms;
    m->can_skip_assignment = a->undo.could_skip;
    coord_member_rename(c, m, a->undo.old_id);
    coord_session_touch(c, m);
    /* If the log has the new id all the same, a later load would fence the member that lives, for
     * good: write once more who it is. */
    if (coord_append_is_in_doubt(error))
        (void)coord_store_group(c, g, COORD_APPEND_GROUP, false);
}

/* ---- a member that names its id */

/* Nothing has changed for it, it only missed the answer. */
static void repeat_answer(struct group_core *c, struct coord_member *m, uint64_t call,
                          bool with_members)
{
    reply_joined(c, call, m, m->group->leader->id, with_members, false);
    coord_session_touch(c, m);
}

static void rejoin(struct group_core *c, struct coord_member *m, const struct group_event *ev)
{
    struct coord_group *g = m->group;
    bool matches = coord_member_matches(m, &ev->join), leads = g->leader == m;

    if (m->is_syncing) /* from a connection that it has left */
        coord_answer_sync(c, m, KE_REBALANCE_IN_PROGRESS);
    if (g->state == GROUP_PREPARING_REBALANCE) {
        update_member(c, m, ev);
    } else if (matches && !m->is_joining && (g->state == GROUP_COMPLETING_REBALANCE || !leads)) {
        repeat_answer(c, m, ev->call, leads);
    } else {
        update_member(c, m, ev);
        coord_reason(c, g, "%s %.*s %s%s%.*s", leads ? "leader" : "member",
                     STR_ARG(coord_said(m->id)),
                     matches ? "rejoined" : "rejoined with other protocols or topics",
                     COORD_SAYS(ev->join.reason));
        coord_rebalance(c, g);
    }
}

static void join_with_id(struct group_core *c, struct coord_group *g, const struct group_event *ev)
{
    const struct group_join *j = &ev->join;
    bool is_pending = coord_pending_find(g, j->member_id) != NULL;
    struct coord_member *m;
    int16_t error;

    if (!coord_supports(g, j)) {
        coord_reply_join_error(c, ev->call, KE_INCONSISTENT_GROUP_PROTOCOL, j->member_id);
        return;
    }
    if (is_pending && j->instance_id.len < 0) {
        add_member(c, g, j->member_id, ev);
        return;
    }
    error = coord_member_check(g, j->member_id, j->instance_id, &m);
    if (error != KE_NONE)
        coord_reply_join_error(c, ev->call, error, j->member_id);
    else
        rejoin(c, m, ev);
}

/* ---- the event */

/* Sizes: docs/reference/group-coordinator.md, "Fields and membership". While members gather those
 * who wait count, so that a group that is too large (the limit was lowered) loses whoever comes
 * last. */
static bool has_room(const struct group_core *c, const struct coord_group *g, struct str id)
{
    const struct coord_member *m = id.len <= 0 ? NULL : coord_member_find(g, id);

    if (g->state == GROUP_EMPTY)
        return true;
    if (g->state == GROUP_PREPARING_REBALANCE)
        return (m != NULL && m->is_joining) || g->joining_count < c->limits.max_size;
    return m != NULL || g->member_count < c->limits.max_size;
}

static void turn_away(struct group_core *c, struct coord_group *g, const struct group_event *ev)
{
    struct str id = ev->join.member_id;
    struct coord_pending *p = id.len <= 0 ? NULL : coord_pending_find(g, id);
    struct coord_member *m = id.len <= 0 ? NULL : coord_member_find(g, id);

    coord_reply_join_error(c, ev->call, KE_GROUP_MAX_SIZE_REACHED, STR_LIT(""));
    if (p != NULL)
        coord_pending_remove(c, p);
    if (m != NULL) {
        coord_reason(c, g, "member %.*s has no room in a group of %d", STR_ARG(coord_said(m->id)),
                     (int)c->limits.max_size);
        coord_member_remove(c, m, KE_GROUP_MAX_SIZE_REACHED);
    }
}

static int16_t check_join(const struct group_core *c, const struct group_join *j,
                          const struct coord_group *g)
{
    int16_t error = coord_first_check(c, j->group, false);

    if (error != KE_NONE)
        return error;
    if (j->session_ms < c->limits.min_session_ms || j->session_ms > c->limits.max_session_ms)
        return KE_INVALID_SESSION_TIMEOUT;
    return g == NULL && j->member_id.len > 0 ? KE_UNKNOWN_MEMBER_ID : KE_NONE;
}

void coord_on_join(struct group_core *c, const struct group_event *ev)
{
    const struct group_join *j = &ev->join;
    struct coord_group *g = coord_find(c, j->group);
    int16_t error = check_join(c, j, g);

    if (error != KE_NONE) {
        coord_reply_join_error(c, ev->call, error, j->member_id);
        return;
    }
    if (g == NULL && !coord_supports(NULL, j)) { /* before anything is kept of it */
        coord_reply_join_error(c, ev->call, KE_INCONSISTENT_GROUP_PROTOCOL, STR_LIT(""));
        return;
    }
    if (g == NULL)
        g = coord_find_or_add(c, j->group);
    if (!has_room(c, g, j->member_id))
        turn_away(c, g, ev);
    else if (j->member_id.len <= 0)
        join_without_id(c, g, ev);
    else
        join_with_id(c, g, ev);
    coord_try_complete_join(c, g);
}
