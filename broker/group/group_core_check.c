/* SPDX-License-Identifier: Apache-2.0 */
/* The invariants. Slow: everything is counted again. */
#include "broker/group/group_core_internal.h"

#include <stdlib.h>

struct counts {
    int64_t timers, pending, txns, refs, members, offsets;
    uint64_t *calls;
    size_t call_count, call_cap;
};

static void add_call(struct counts *n, uint64_t call)
{
    if (n->call_count == n->call_cap) {
        n->call_cap = size_max(n->call_cap * 2, 64);
        n->calls = xrealloc(n->calls, n->call_cap * sizeof *n->calls);
    }
    n->calls[n->call_count++] = call;
}

static bool is_armed(struct counts *n, const struct coord_timer *t)
{
    n->timers += t->t.is_armed;
    return t->t.is_armed;
}

static void check_member(const struct group_core *c, const struct coord_group *g,
                         const struct coord_member *m, struct counts *n)
{
    bool waits = m->is_joining || m->is_syncing;
    bool is_storing = g->state == GROUP_STABLE; /* the replacement of a static member */

    ASSERT(m->group == g && coord_member_find(g, m->id) == m);
    ASSERT(m->instance_id.len < 0 || coord_member_of_instance(g, m->instance_id) == m);
    ASSERT(!(m->is_joining && m->is_syncing));
    ASSERT(!m->is_new || (m->is_joining && g->state == GROUP_PREPARING_REBALANCE));
    ASSERT(!m->is_joining || g->state == GROUP_PREPARING_REBALANCE ||
           (is_storing && m->instance_id.len >= 0));
    ASSERT(!m->is_syncing || g->state == GROUP_COMPLETING_REBALANCE);
    ASSERT(!m->owes_sync || g->state == GROUP_COMPLETING_REBALANCE || g->state == GROUP_STABLE);
    ASSERT(is_armed(n, &m->session) == (c->phase == COORD_ACTIVE && (m->is_new || !waits)));
    ASSERT(m->session_ms >= 0 && m->rebalance_ms >= 0);
    if (m->is_joining)
        add_call(n, m->join_call);
    if (m->is_syncing)
        add_call(n, m->sync_call);
}

static bool knows(const struct coord_member *m, struct str protocol)
{
    return coord_member_metadata(m, protocol).p != NULL;
}

static void check_protocols(const struct coord_group *g)
{
    const struct coord_protocol *p;
    const struct coord_member *m;
    bool has_common = g->member_count == 0;

    for (p = g->protocols; p != NULL; p = p->hh.next) {
        int32_t members = 0;
        TAILQ_FOREACH (m, &g->members, link)
            members += knows(m, p->name);
        ASSERT(members == p->members && members > 0);
        has_common = has_common || members == g->member_count;
    }
    ASSERT(has_common);
}

static void check_members(const struct group_core *c, const struct coord_group *g, struct counts *n)
{
    const struct coord_member *m;
    const struct coord_pending *p;
    int32_t count = 0, joining = 0, owing = 0, statics = 0, pending = 0;
    bool has_leader = false;

    TAILQ_FOREACH (m, &g->members, link) {
        check_member(c, g, m, n);
        count++;
        joining += m->is_joining;
        owing += m->owes_sync;
        statics += m->instance_id.len >= 0;
        has_leader = has_leader || m == g->leader;
    }
    for (p = g->pending; p != NULL; p = p->hh.next) {
        pending++;
        ASSERT(is_armed(n, &p->timer));
        ASSERT(p->group == g && coord_member_find(g, p->id) == NULL);
    }
    ASSERT(count == g->member_count && count == (int32_t)HASH_CNT(hh, g->by_id));
    ASSERT(statics == (int32_t)HASH_CNT(hh_instance, g->by_instance));
    ASSERT(joining == g->joining_count && owing == g->owes_sync_count);
    ASSERT(pending == g->pending_count);
    ASSERT(count == 0 ? g->leader == NULL : has_leader);
    n->members += count;
    check_protocols(g);
}

static void check_state(const struct coord_group *g, struct counts *n)
{
    bool is_preparing = g->state == GROUP_PREPARING_REBALANCE;
    bool is_settled = g->state == GROUP_EMPTY || g->state == GROUP_STABLE;

    ASSERT(g->state != GROUP_DEAD && g->generation >= 0);
    ASSERT(is_armed(n, &g->join_timer) == is_preparing);
    ASSERT(is_armed(n, &g->sync_timer) == (g->owes_sync_count > 0));
    ASSERT(is_settled == (g->rebalance == NULL));
    ASSERT(g->state == GROUP_EMPTY ? g->member_count == 0 : is_preparing || g->member_count > 0);
    ASSERT(!g->is_initial || is_preparing);
    ASSERT(!g->is_storing || g->state == GROUP_COMPLETING_REBALANCE);
    if (g->state == GROUP_STABLE || g->state == GROUP_COMPLETING_REBALANCE)
        ASSERT(g->protocol.len >= 0);
    /* a join is completed as soon as it can be */
    ASSERT(!is_preparing || g->is_initial || g->pending_count > 0 ||
           g->joining_count < g->member_count);
}

static void check_offsets(const struct coord_group *g, struct counts *n)
{
    const struct coord_topic *t;
    int32_t entries = 0, offsets = 0;

    for (t = g->topics; t != NULL; t = t->hh.next) {
        ASSERT(t->count > 0 && t->group == g);
        for (int32_t i = 0; i < t->count; i++) {
            const struct coord_offset *o = t->v[i];
            ASSERT(o->topic == t && (i == 0 || o->partition > t->v[i - 1]->partition));
            ASSERT(o->has_value || o->pending > 0 || o->txns > 0);
            ASSERT(o->pending >= 0 && o->txns >= 0);
            entries++;
            offsets += o->has_value;
            n->pending += o->pending;
            n->txns += o->txns;
        }
    }
    ASSERT(entries == g->entry_count && offsets == g->offset_count);
    n->offsets += offsets;
}

static void check_history(const struct group_core *c, const struct coord_group *g)
{
    const struct coord_rebalance *r;
    int32_t count = 0;

    TAILQ_FOREACH (r, &g->history, link) {
        count++;
        ASSERT((r->r.ended_wall_ms < 0) == (r == g->rebalance));
        ASSERT(r != g->rebalance || TAILQ_NEXT(r, link) == NULL);
    }
    ASSERT(count == g->history_count);
    ASSERT(count <= i32_max(c->limits.history_max, 1));
}

/* What the appends and transactions on their way hold. */
static void check_held(const struct group_core *c, const struct counts *n)
{
    const struct coord_append *a;
    const struct coord_txn *t;
    int64_t pending = 0, txns = 0;

    for (a = c->appends; a != NULL; a = a->hh.next) {
        ASSERT(a->id < c->next_append_id);
        ASSERT((a->group == NULL) ==
               (a->kind == COORD_APPEND_COMMIT || a->kind == COORD_APPEND_TOMBSTONES));
        for (int32_t i = 0; i < a->item_count; i++)
            pending += a->items[i].offset != NULL;
    }
    for (t = c->txns; t != NULL; t = t->hh.next)
        txns += t->count;
    ASSERT(pending == n->pending);
    ASSERT(txns == n->txns);
}

static int by_number(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

/* A call waits in one place. */
static void check_calls(const struct group_core *c, struct counts *n)
{
    const struct coord_append *a;

    for (a = c->appends; a != NULL; a = a->hh.next) {
        if (a->kind == COORD_APPEND_COMMIT)
            add_call(n, a->call);
    }
    if (n->call_count > 0)
        qsort(n->calls, n->call_count, sizeof *n->calls, by_number);
    for (size_t i = 1; i < n->call_count; i++)
        ASSERT(n->calls[i] != n->calls[i - 1]);
}

void group_core_check(const struct group_core *c)
{
    struct counts n = {0};

    for (const struct coord_group *g = c->groups; g != NULL; g = g->hh.next) {
        check_members(c, g, &n);
        check_offsets(g, &n);
        check_history(c, g);
        if (c->phase == COORD_ACTIVE)
            check_state(g, &n);
    }
    if (is_armed(&n, &c->sweep_timer))
        ASSERT(c->sweep != NULL);
    ASSERT(n.members == c->member_total && n.offsets == c->offset_total);
    ASSERT(n.timers == c->wheel.count);
    ASSERT(n.timers == 0 || (c->deadline_ms >= 0 && c->deadline_ms <= twheel_next_ms(&c->wheel)));
    check_held(c, &n);
    check_calls(c, &n);
    mem_free(n.calls);
}
