/* SPDX-License-Identifier: Apache-2.0 */
/* group_core_bench - a core on the bench: events with defaults, every reply kept by its call, and a
 * log that the appends go to and from which another core can be loaded. For the tests of the group
 * core; each includes it once. */
#ifndef TESTS_UNIT_GROUP_CORE_BENCH_H
#define TESTS_UNIT_GROUP_CORE_BENCH_H

#include "broker/group/group_core.h"
#include "broker/group/group_records.h"

#include <check.h>
#include <stdio.h>

enum { CALLS_MAX = 4096, NAME_MAX_BYTES = 100, ITEMS_MAX = 8, LOG_RECORDS_MAX = 8192 };

/* A reply, copied. */
struct got {
    int times;
    enum group_reply_kind kind;
    int16_t error;
    int32_t generation, member_count, item_count;
    char member_id[NAME_MAX_BYTES], leader[NAME_MAX_BYTES], protocol[NAME_MAX_BYTES];
    char type[NAME_MAX_BYTES], assignment[NAME_MAX_BYTES];
    char members[ITEMS_MAX][NAME_MAX_BYTES], metadata[ITEMS_MAX][NAME_MAX_BYTES];
    bool skip_assignment;
    int16_t errors[ITEMS_MAX];
};

struct log_record {
    uint8_t *key, *value; /* value NULL: tombstone */
    int64_t key_len, value_len, batch_offset;
};

struct waiting_append {
    uint64_t id;
    struct log_record records[64];
    int32_t count;
};

static struct bench {
    struct group_core *core;
    struct group_limits limits;
    int64_t now, wall;
    struct got got[CALLS_MAX];
    bool holds_appends; /* else each is in the log at once */
    int16_t append_error;
    struct waiting_append waiting[64];
    int waiting_count;
    struct log_record log[LOG_RECORDS_MAX];
    int log_count;
    int64_t log_end;
    int appends, rebalances_begun, rebalances_ended, max_append_records;
    char reason[512]; /* of the last rebalance that began */
    int32_t further, before, after;
} b;

static void text_of(char to[NAME_MAX_BYTES], const void *p, int64_t len)
{
    size_t n = len < 0 ? 0 : size_min((size_t)len, NAME_MAX_BYTES - 1);
    if (n > 0)
        memcpy(to, p, n);
    to[n] = 0;
}

static void keep_join(struct got *g, const struct group_reply *r)
{
    g->generation = r->join.generation;
    g->member_count = r->join.member_count;
    g->skip_assignment = r->join.skip_assignment;
    text_of(g->member_id, r->join.member_id.p, r->join.member_id.len);
    text_of(g->leader, r->join.leader.p, r->join.leader.len);
    text_of(g->protocol, r->join.protocol.p, r->join.protocol.len);
    text_of(g->type, r->join.protocol_type.p, r->join.protocol_type.len);
    for (int i = 0; i < r->join.member_count && i < ITEMS_MAX; i++) {
        text_of(g->members[i], r->join.members[i].member_id.p, r->join.members[i].member_id.len);
        text_of(g->metadata[i], r->join.members[i].metadata.p, r->join.members[i].metadata.len);
    }
}

static void keep_reply(const struct group_reply *r)
{
    struct got *g;

    ck_assert_uint_lt(r->call, CALLS_MAX);
    g = &b.got[r->call];
    ck_assert_int_eq(g->times, 0); /* one answer for each call */
    g->times = 1;
    g->kind = r->kind;
    g->error = r->error;
    if (r->kind == GROUP_REPLY_JOIN) {
        keep_join(g, r);
    } else if (r->kind == GROUP_REPLY_SYNC) {
        text_of(g->assignment, r->sync.assignment.p, r->sync.assignment.len);
        text_of(g->protocol, r->sync.protocol.p, r->sync.protocol.len);
        text_of(g->type, r->sync.protocol_type.p, r->sync.protocol_type.len);
    } else if (r->kind == GROUP_REPLY_LEAVE || r->kind == GROUP_REPLY_COMMIT ||
               r->kind == GROUP_REPLY_OFFSET_DELETE) {
        g->item_count = r->items.count;
        for (int i = 0; i < r->items.count && i < ITEMS_MAX; i++)
            g->errors[i] = r->items.errors[i];
    }
}

static void keep_append(const struct group_append *a)
{
    struct waiting_append *w;

    ck_assert_int_lt(b.waiting_count, 64);
    ck_assert_int_gt(a->count, 0);
    ck_assert_int_le(a->count, 64);
    w = &b.waiting[b.waiting_count++];
    w->id = a->append_id;
    w->count = a->count;
    b.appends++;
    if (a->count > b.max_append_records)
        b.max_append_records = a->count;
    for (int i = 0; i < a->count; i++) {
        const struct group_record *r = &a->records[i];
        struct log_record *l = &w->records[i];
        l->key_len = r->key.len;
        l->key = xmalloc((size_t)r->key.len);
        memcpy(l->key, r->key.p, (size_t)r->key.len);
        l->value_len = r->value.p == NULL ? -1 : r->value.len;
        l->value = r->value.p == NULL ? NULL : xmalloc((size_t)r->value.len);
        if (l->value != NULL)
            memcpy(l->value, r->value.p, (size_t)r->value.len);
    }
}

static void appended(int at, int16_t error);

static void step(struct group_event ev)
{
    struct group_effects fx;

    ev.now_ms = b.now;
    ev.wall_ms = b.wall;
    group_core_step(b.core, &ev, &fx);
    for (int i = 0; i < fx.count; i++) {
        const struct group_effect *e = &fx.v[i];
        if (e->kind == GFX_REPLY) {
            keep_reply(&e->reply);
        } else if (e->kind == GFX_APPEND) {
            keep_append(&e->append);
        } else if (e->rebalance.ended_wall_ms < 0) {
            b.rebalances_begun++;
            (void)snprintf(b.reason, sizeof b.reason, "%.*s", STR_ARG(e->rebalance.reason));
        } else {
            b.rebalances_ended++;
            b.further = e->rebalance.further;
            b.before = e->rebalance.members_before;
            b.after = e->rebalance.members_after;
        }
    }
    group_core_check(b.core);
    while (!b.holds_appends && b.waiting_count > 0)
        appended(0, b.append_error);
}

/* The append at that place of those that wait: written, or (error) not. */
static void appended(int at, int16_t error)
{
    struct waiting_append w = b.waiting[at];
    int64_t base = b.log_end;

    b.waiting_count--;
    memmove(&b.waiting[at], &b.waiting[at + 1],
            (size_t)(b.waiting_count - at) * sizeof b.waiting[0]);
    for (int i = 0; i < w.count; i++) {
        if (error == KE_NONE) {
            ck_assert_int_lt(b.log_count, LOG_RECORDS_MAX);
            w.records[i].batch_offset = base;
            b.log[b.log_count++] = w.records[i];
        } else {
            mem_free(w.records[i].key);
            mem_free(w.records[i].value);
        }
    }
    b.log_end += error == KE_NONE ? w.count : 0;
    step((struct group_event){.kind = GEV_APPENDED, .appended = {w.id, error, base}});
}

static void bench_core(void)
{
    b.core = group_core_new(&b.limits, b.now);
}

static void loaded(void)
{
    step((struct group_event){.kind = GEV_LOADED});
}

static void bench_open(void)
{
    memset(&b, 0, sizeof b);
    b.limits = (struct group_limits){.min_session_ms = 6000,
                                     .max_session_ms = 1800000,
                                     .initial_rebalance_delay_ms = 3000,
                                     .max_size = INT32_MAX,
                                     .metadata_max = 4096,
                                     .retention_ms = 10080 * INT64_C(60000),
                                     .history_max = 5,
                                     .append_bytes_max = 100000};
    b.now = 5000;
    b.wall = INT64_C(1700000000000);
    bench_core();
    loaded();
}

static void bench_close(void)
{
    group_core_free(&b.core);
    b.holds_appends = true;
    for (int k = 0; k < b.waiting_count; k++) {
        for (int i = 0; i < b.waiting[k].count; i++) {
            mem_free(b.waiting[k].records[i].key);
            mem_free(b.waiting[k].records[i].value);
        }
    }
    for (int i = 0; i < b.log_count; i++) {
        mem_free(b.log[i].key);
        mem_free(b.log[i].value);
    }
}

/* Another broker leads: a core from the log. */
UNUSED static void load_log(void)
{
    for (int i = 0; i < b.log_count; i++) {
        struct log_record *l = &b.log[i];
        struct arena arena = {0};
        struct group_event ev;
        enum group_record_kind kind;
        struct errtext why;
        enum err rc =
            group_records_decode((struct bytes){l->key, l->key_len},
                                 (struct bytes){l->value, l->value_len}, &arena, &kind, &ev, &why);
        ck_assert_int_eq(rc, ERR_OK);
        ck_assert_int_ne(kind, GROUP_RECORD_OTHER);
        if (kind == GROUP_RECORD_OFFSET)
            ev.load_offset.batch_offset = l->batch_offset;
        step(ev);
        arena_fini(&arena);
    }
}

UNUSED static void reload(void)
{
    group_core_free(&b.core);
    bench_core();
    load_log();
    loaded();
}

/* Time passes; what is due happens on the way. */
static void pass(int64_t ms)
{
    int64_t until = b.now + ms;

    for (;;) {
        int64_t due = group_core_deadline_ms(b.core);
        if (due < 0 || due > until)
            break;
        b.wall += i64_max(due - b.now, 0);
        b.now = i64_max(due, b.now);
        step((struct group_event){.kind = GEV_TICK});
    }
    b.wall += until - b.now;
    b.now = until;
}

/* ---- events with defaults: group g, consumers of "range" */

static const struct group_protocol range_only[] = {{{"range", 5}, {(const uint8_t *)"meta", 4}}};

static struct group_join joiner(const char *member_id)
{
    return (struct group_join){.group = STR_LIT("g"),
                               .member_id = str_of(member_id),
                               .instance_id = STR_NULL,
                               .client_id = STR_LIT("c"),
                               .client_host = STR_LIT("/127.0.0.1"),
                               .protocol_type = STR_LIT("consumer"),
                               .protocols = range_only,
                               .protocol_count = 1,
                               .session_ms = 10000,
                               .rebalance_ms = 60000,
                               .needs_known_id = true,
                               .new_id_suffix = STR_LIT("0001"),
                               .reason = STR_NULL};
}

static const struct got *join(uint64_t call, struct group_join j)
{
    step((struct group_event){.kind = GEV_JOIN, .call = call, .join = j});
    return &b.got[call];
}

static const struct got *sync_with(uint64_t call, struct group_sync s)
{
    step((struct group_event){.kind = GEV_SYNC, .call = call, .sync = s});
    return &b.got[call];
}

static struct group_sync syncer(const char *member_id, int32_t generation)
{
    return (struct group_sync){.group = STR_LIT("g"),
                               .member_id = str_of(member_id),
                               .instance_id = STR_NULL,
                               .generation = generation,
                               .protocol_type = STR_NULL,
                               .protocol = STR_NULL};
}

static const struct got *heartbeat(uint64_t call, const char *member_id, int32_t generation)
{
    step((struct group_event){.kind = GEV_HEARTBEAT,
                              .call = call,
                              .heartbeat = {.group = STR_LIT("g"),
                                            .member_id = str_of(member_id),
                                            .instance_id = STR_NULL,
                                            .generation = generation}});
    return &b.got[call];
}

static const struct got *leave(uint64_t call, const char *member_id, const char *instance_id)
{
    struct group_leaver l = {str_of(member_id), str_of(instance_id), STR_NULL};

    step((struct group_event){.kind = GEV_LEAVE, .call = call, .leave = {STR_LIT("g"), &l, 1}});
    return &b.got[call];
}

static struct group_offset value_of(int64_t offset)
{
    return (struct group_offset){offset, -1, STR_LIT(""), b.wall, -1};
}

static const struct got *commit_as(uint64_t call, const char *group, const char *member_id,
                                   int32_t generation, const char *topic, int32_t partition,
                                   struct group_offset value)
{
    struct group_commit_item item = {str_of(topic), partition, value};

    step((struct group_event){.kind = GEV_COMMIT,
                              .call = call,
                              .commit = {.group = str_of(group),
                                         .member_id = str_of(member_id),
                                         .instance_id = STR_NULL,
                                         .generation = generation,
                                         .items = &item,
                                         .item_count = 1}});
    return &b.got[call];
}

static int64_t committed(const char *group, const char *topic, int32_t partition)
{
    struct group_offset o;

    (void)group_core_offset(b.core, str_of(group), str_of(topic), partition, &o);
    return o.offset;
}

static struct group_view view(const char *group)
{
    struct group_view v;

    if (!group_core_find(b.core, str_of(group), &v)) {
        memset(&v, 0, sizeof v);
        v.state = GROUP_DEAD;
    }
    return v;
}

#endif
