/* SPDX-License-Identifier: Apache-2.0 */
/* The groups that this broker coordinates: each loop is asked for its shards' committed offsets,
 * and which member has been assigned each partition. */
#include "broker/group/coordinator_internal.h"
#include "broker/group/lag.h"
#include "common/protocol/codec.h"
#include "common/protocol/messages.h"

#include <stdlib.h>

enum { ASSIGNMENT_BYTES_MAX = 16 << 20 /* decoded, of one group */ };

struct assigned {
    struct str topic, member;
    int32_t partition;
};

/* One group's assignment, sorted; strings are the core's and the arena's. */
struct assignment {
    struct arena arena;
    struct assigned *v;
    int32_t count, cap;
};

struct collect {
    struct seat *seat;
    struct lag_round *round;
    const struct group_core *core;
    struct str group;
    struct assignment assignment;
};

static int by_partition(const void *x, const void *y)
{
    const struct assigned *a = x, *b = y;
    int by_topic = str_cmp(a->topic, b->topic);

    return by_topic != 0 ? by_topic : (a->partition > b->partition) - (a->partition < b->partition);
}

static void assignment_add(struct assignment *a, struct str topic, int32_t partition,
                           struct str member)
{
    if (a->count == a->cap) {
        a->cap = i32_max(a->cap * 2, 64);
        a->v = xrealloc(a->v, (size_t)a->cap * sizeof *a->v);
    }
    a->v[a->count++] = (struct assigned){topic, member, partition};
}

/* ConsumerProtocolAssignment, as its version 0. A client's bytes: what cannot be read names
 * nothing. */
static void add_member(void *arg, const struct group_member_view *m)
{
    enum { VERSION_BYTES = 2 };
    struct collect *c = arg;
    struct kp_ConsumerProtocolAssignment body;
    size_t used;
    struct bytes in = {m->assignment.p + VERSION_BYTES, m->assignment.len - VERSION_BYTES};

    if (m->assignment.p == NULL || m->assignment.len <= VERSION_BYTES ||
        kp_decode_prefix(&kp_ConsumerProtocolAssignment_schema, 0, in, &c->assignment.arena, &body,
                         &used, NULL) != ERR_OK)
        return;
    for (int32_t t = 0; t < body.assigned_partitions_count; t++)
        for (int32_t i = 0; i < body.assigned_partitions[t].partitions_count; i++)
            assignment_add(&c->assignment, body.assigned_partitions[t].topic,
                           body.assigned_partitions[t].partitions[i], m->member_id);
}

static void add_offset(void *arg, struct str topic, int32_t partition, enum group_offset_state s,
                       const struct group_offset *o)
{
    struct collect *c = arg;
    struct assigned key = {.topic = topic, .partition = partition};
    const struct assigned *owner =
        c->assignment.count == 0
            ? NULL
            : bsearch(&key, c->assignment.v, (size_t)c->assignment.count, sizeof key, by_partition);

    if (s != GROUP_OFFSET_NONE && o->offset >= 0)
        lag_claim_add(c->round, LAG_BROKER_GROUP, c->group, topic, partition, o->offset,
                      owner == NULL ? STR_LIT("") : owner->member);
}

static void add_group(void *arg, const struct group_view *g)
{
    struct collect *c = arg;

    if (g->offset_count == 0 || lag_round_is_full(c->round))
        return;
    c->group = g->group;
    c->assignment.count = 0;
    arena_reset(&c->assignment.arena);
    if (str_eq_z(g->protocol_type, "consumer"))
        group_core_each_member(c->core, g->group, add_member, c);
    if (c->assignment.count > 1)
        qsort(c->assignment.v, (size_t)c->assignment.count, sizeof *c->assignment.v, by_partition);
    group_core_each_offset(c->core, g->group, add_offset, c);
}

static void collect_on_loop(void *arg)
{
    struct collect *c = arg;

    for (int32_t i = 0; i < c->seat->shard_cap && !lag_round_is_full(c->round); i++) {
        const struct shard *s = c->seat->shards[i];

        if (s == NULL || s->state != SHARD_ACTIVE)
            continue;
        c->core = s->core;
        group_core_each(s->core, add_group, c);
    }
}

void lag_source_broker_groups(struct broker *b, struct lag_round *r)
{
    struct coordinator *groups = b->groups;

    for (int i = 0; i < groups->seat_count && !lag_round_is_full(r); i++) {
        struct collect c = {
            .seat = &groups->seats[i], .round = r, .assignment.arena.limit = ASSIGNMENT_BYTES_MAX};

        loop_call(c.seat->loop, collect_on_loop, &c);
        mem_free(c.assignment.v);
        arena_fini(&c.assignment.arena);
    }
}
