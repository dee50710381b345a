/* SPDX-License-Identifier: Apache-2.0 */
/* Loading from the log, and the end of leadership
 * (docs/reference/group-coordinator.md, "Loading and unloading"). */
#include "broker/group/group_core_internal.h"

/* ---- transactions that are open */

static struct coord_txn *txn_find(struct group_core *c, int64_t producer_id)
{
    struct coord_txn *t = NULL;

    HASH_FIND(hh, c->txns, &producer_id, sizeof producer_id, t);
    return t;
}

static struct coord_txn *txn_find_or_add(struct group_core *c, int64_t producer_id)
{
    struct coord_txn *t = txn_find(c, producer_id);

    if (t != NULL)
        return t;
    t = xcalloc(1, sizeof *t);
    t->producer_id = producer_id;
    HASH_ADD(hh, c->txns, producer_id, sizeof t->producer_id, t);
    return t;
}

static void txn_item_end(struct group_core *c, struct coord_txn_item *i)
{
    i->offset->txns--;
    coord_str_retire(c, &i->value.metadata);
    coord_offset_drop_if_unused(c, i->offset);
    coord_drop_if_useless(c, i->group);
    coord_unref(c, i->group);
}

/* Where the transaction holds the offset, or its count. Most partitions are named once. */
static int32_t txn_index(const struct coord_txn *t, const struct coord_offset *o)
{
    int32_t i = 0;

    if (o->txns == 0)
        return t->count;
    while (i < t->count && t->items[i].offset != o)
        i++;
    return i;
}

static void txn_add(struct coord_txn *t, struct coord_txn_item item)
{
    if (t->count == t->cap) {
        t->cap = i32_max(t->cap * 2, 4);
        t->items = xrealloc(t->items, (size_t)t->cap * sizeof *t->items);
    }
    t->items[t->count++] = item;
    item.offset->txns++;
    coord_ref(item.group);
}

/* The last of a partition counts; value NULL takes it back. */
static void txn_set(struct group_core *c, int64_t producer_id, struct coord_group *g,
                    const struct group_load_offset *l)
{
    struct coord_txn *t = txn_find_or_add(c, producer_id);
    struct coord_offset *o = coord_offset_add(g, l->topic, l->partition);
    int32_t at = txn_index(t, o);

    if (at < t->count) {
        struct coord_txn_item ended = t->items[at];
        t->count--;
        memmove(&t->items[at], &t->items[at + 1], (size_t)(t->count - at) * sizeof t->items[0]);
        o->pending++; /* held while its old value goes */
        txn_item_end(c, &ended);
        o->pending--;
    }
    if (l->value != NULL)
        txn_add(t, (struct coord_txn_item){g, o, coord_offset_copy(l->value), l->batch_offset});
    else
        coord_offset_drop_if_unused(c, o);
}

static void txn_free(struct group_core *c, struct coord_txn *t)
{
    HASH_DELETE(hh, c->txns, t);
    coord_retire(c, t->items);
    coord_retire(c, t);
}

void coord_on_load_marker(struct group_core *c, const struct group_event *ev)
{
    struct coord_txn *t = txn_find(c, ev->load_marker.producer_id);

    if (t == NULL)
        return;
    for (int32_t i = 0; i < t->count; i++) {
        struct coord_txn_item *item = &t->items[i];
        if (ev->load_marker.is_commit && item->offset->batch_offset < item->batch_offset) {
            coord_offset_set(c, item->offset, item->value, item->batch_offset);
            item->value.metadata = STR_NULL; /* moved */
        }
        txn_item_end(c, item);
    }
    txn_free(c, t);
}

/* ---- records */

void coord_on_load_offset(struct group_core *c, const struct group_event *ev)
{
    const struct group_load_offset *l = &ev->load_offset;
    struct coord_group *g = coord_find(c, l->group);
    struct coord_offset *o;

    if (l->value == NULL && g == NULL)
        return;
    if (g == NULL) {
        g = coord_find_or_add(c, l->group);
        g->state_wall_ms = -1;
    }
    if (l->producer_id >= 0) {
        txn_set(c, l->producer_id, g, l);
        return;
    }
    o = coord_offset_add(g, l->topic, l->partition);
    if (l->value != NULL)
        coord_offset_set(c, o, coord_offset_copy(l->value), l->batch_offset);
    else
        coord_offset_clear(c, o, -1);
    coord_offset_drop_if_unused(c, o);
}

static void forget_group_record(struct group_core *c, struct coord_group *g)
{
    struct coord_member *m;

    while ((m = TAILQ_FIRST(&g->members)) != NULL)
        coord_member_remove(c, m, KE_NONE);
    coord_str_retire(c, &g->protocol_type);
    coord_str_retire(c, &g->protocol);
    g->state = GROUP_EMPTY; /* no move: nothing has happened yet while a log is read */
    g->generation = 0;
    g->state_wall_ms = -1;
    g->has_record = false;
}

void coord_on_load_group(struct group_core *c, const struct group_event *ev)
{
    const struct group_load_group *l = &ev->load_group;
    struct coord_group *g = coord_find(c, l->group);
    struct coord_member *leader;

    if (l->is_tombstone && g == NULL)
        return;
    if (g == NULL)
        g = coord_find_or_add(c, l->group);
    forget_group_record(c, g);
    if (l->is_tombstone)
        return;
    g->has_record = true;
    g->generation = i32_max(l->generation, 0);
    g->protocol_type = coord_str_copy(l->protocol_type.len <= 0 ? STR_NULL : l->protocol_type);
    g->state_wall_ms = l->state_wall_ms;
    for (int32_t i = 0; i < l->member_count; i++)
        coord_member_load(c, g, coord_key_len(l->protocol) == 0 ? STR_LIT("") : l->protocol,
                          &l->members[i]);
    if (g->member_count == 0)
        return;
    g->protocol = coord_str_copy(l->protocol.len < 0 ? STR_LIT("") : l->protocol);
    g->state = GROUP_STABLE;
    leader = l->leader.len < 0 ? NULL : coord_member_find(g, l->leader);
    if (leader != NULL)
        g->leader = leader;
}

/* ---- the end of loading, and of leading */

static void group_loaded(struct group_core *c, struct coord_group *g)
{
    struct coord_member *m;

    g->settled_members = g->member_count;
    TAILQ_FOREACH (m, &g->members, link)
        coord_session_touch(c, m);
    if (g->member_count > c->limits.max_size) {
        coord_reason(c, g, "the loaded group has %d members, group.max.size is %d",
                     (int)g->member_count, (int)c->limits.max_size);
        coord_rebalance(c, g);
    }
    coord_drop_if_useless(c, g);
}

void coord_on_loaded(struct group_core *c)
{
    struct coord_group *g, *tmp;

    c->phase = COORD_ACTIVE;
    HASH_ITER (hh, c->groups, g, tmp)
        group_loaded(c, g);
}

static void answer_waiting(struct group_core *c, struct coord_group *g)
{
    struct coord_member *m;

    TAILQ_FOREACH (m, &g->members, link) {
        if (m->is_joining)
            coord_reply_join_error(c, m->join_call, KE_NOT_COORDINATOR, m->id);
        if (m->is_syncing)
            coord_reply(c, GROUP_REPLY_SYNC, m->sync_call, KE_NOT_COORDINATOR);
    }
}

/* A commit or deletion may be in the log and survive; its client hears that it has to ask again. */
static void answer_append(struct group_core *c, const struct coord_append *a)
{
    if (a->kind == COORD_APPEND_COMMIT)
        coord_reply(c, GROUP_REPLY_COMMIT, a->call, KE_NOT_COORDINATOR);
    if (a->deletion != NULL && !a->deletion->is_answered) {
        a->deletion->is_answered = true;
        coord_reply(c, a->deletion->kind, a->deletion->call, KE_NOT_COORDINATOR);
    }
}

void coord_on_unload(struct group_core *c)
{
    struct coord_group *g, *gtmp;
    struct coord_append *a, *atmp;

    if (c->phase == COORD_UNLOADED)
        return;
    HASH_ITER (hh, c->groups, g, gtmp)
        answer_waiting(c, g);
    HASH_ITER (hh, c->appends, a, atmp)
        answer_append(c, a);
    coord_clear(c);
    c->phase = COORD_UNLOADED;
}

void coord_clear(struct group_core *c)
{
    struct coord_group *g, *gtmp;
    struct coord_append *a, *atmp;
    struct coord_txn *t, *ttmp;

    c->phase = COORD_UNLOADED;
    c->sweep = NULL;
    coord_timer_cancel(c, &c->sweep_timer);
    HASH_ITER (hh, c->txns, t, ttmp) {
        for (int32_t i = 0; i < t->count; i++)
            txn_item_end(c, &t->items[i]);
        txn_free(c, t);
    }
    HASH_ITER (hh, c->appends, a, atmp) {
        if (a->deletion != NULL && --a->deletion->appends == 0)
            coord_deletion_free(c, a->deletion);
        coord_append_free(c, a);
    }
    HASH_ITER (hh, c->groups, g, gtmp) {
        HASH_DELETE(hh, c->groups, g);
        coord_group_free(c, g);
    }
    c->deadline_ms = -1;
}
