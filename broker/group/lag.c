/* SPDX-License-Identifier: Apache-2.0 */
/* One round: the sources add their claims; ends of partitions led here are looked up, those led
 * elsewhere are asked for with one ListOffsets to each leader; each claim's lag is taken from its
 * partition's history; the round is published. A leader that does not answer costs its connect
 * timeout and leaves the lag of its partitions as the last round knew it. */
#include "broker/group/lag.h"

#include "broker/broker.h"
#include "broker/group/lag_table.h"
#include "broker/cluster/metadata_cache.h"
#include "broker/replica/partition.h"
#include "common/base/clock.h"
#include "common/base/lock.h"
#include "common/base/slog.h"
#include "common/net/bclient.h"
#include "common/protocol/codec.h"
#include "common/protocol/messages.h"

#include <pthread.h>
#include <stdlib.h>

enum {
    TIME_LATEST = -1,
    CONNECT_MS = 500, /* short: a stop of the broker waits for these */
    REQUEST_MS = 1000,
    TEXT_BYTES_MAX = 64 << 20, /* of all strings of a round */
    ANSWER_BYTES_MAX = 64 << 20
};

struct lag_claim {
    enum lag_kind kind;
    int32_t partition;
    struct str group, topic, member;
    int64_t offset;
    struct lag lag;
};

struct lag_round {
    struct arena arena;
    struct lag_claim *v;
    int32_t count, cap, max;
    bool is_full;
};

/* The end of one partition, wanted from its leader. */
struct lag_ask {
    int32_t leader, partition;
    struct str topic;
};

struct lag_monitor {
    struct lag_options o;
    pthread_t thread;
    struct lag_table *table; /* owner: the thread */
    struct lock lock;        /* LEAF; guards the rest */
    pthread_cond_t cond;
    struct lag_round *published;
    bool is_stopping;
};

/* ---- a round's claims */

static struct str copy(struct arena *a, struct str s)
{
    int32_t len = i32_max(s.len, 0);
    const char *p = arena_strdup(a, len == 0 ? "" : s.p, (size_t)len);

    return p == NULL ? STR_NULL : (struct str){p, len};
}

static struct lag_round *round_new(int32_t max)
{
    struct lag_round *r = xcalloc(1, sizeof *r);

    r->max = max;
    r->arena.limit = TEXT_BYTES_MAX;
    return r;
}

static void round_free(struct lag_round **r)
{
    if (*r == NULL)
        return;
    mem_free((*r)->v);
    arena_fini(&(*r)->arena);
    FREE_NULL(r);
}

bool lag_round_is_full(const struct lag_round *r)
{
    return r->is_full;
}

void lag_claim_add(struct lag_round *r, enum lag_kind kind, struct str group, struct str topic,
                   int32_t partition, int64_t offset, struct str member)
{
    struct lag_claim c = {
        .kind = kind, .partition = partition, .offset = offset, .lag = {.records = -1}};

    if (r->is_full || r->count == r->max) { /* before any memory is taken for it */
        r->is_full = true;
        return;
    }
    c.group = copy(&r->arena, group);
    c.topic = copy(&r->arena, topic);
    c.member = copy(&r->arena, member);
    if (c.group.p == NULL || c.topic.p == NULL || c.member.p == NULL) {
        r->is_full = true;
        return;
    }
    if (r->count == r->cap) {
        r->cap = r->cap == 0 ? 64 : i32_min(r->cap * 2, r->max);
        r->v = xrealloc(r->v, (size_t)r->cap * sizeof *r->v);
    }
    r->v[r->count++] = c;
}

/* ---- the ends of partitions */

static int by_leader(const void *x, const void *y)
{
    const struct lag_ask *a = x, *b = y;
    int by_topic = str_cmp(a->topic, b->topic);

    if (a->leader != b->leader)
        return a->leader < b->leader ? -1 : 1;
    if (by_topic != 0)
        return by_topic;
    return a->partition < b->partition ? -1 : a->partition > b->partition;
}

/* Sorted by leader, topic, partition, each once. Allocated. */
static struct lag_ask *make_asks(const struct lag_round *r, const struct metadata *m,
                                 int32_t *count_out)
{
    struct lag_ask *asks = xcalloc((size_t)i32_max(r->count, 1), sizeof *asks);
    int32_t n = 0, kept = 0;

    for (int32_t i = 0; i < r->count; i++) {
        const struct lag_claim *c = &r->v[i];
        const struct metadata_partition *p = metadata_partition(m, c->topic, c->partition);

        if (p != NULL && p->leader >= 0)
            asks[n++] = (struct lag_ask){p->leader, c->partition, c->topic};
    }
    qsort(asks, (size_t)n, sizeof *asks, by_leader);
    for (int32_t i = 0; i < n; i++)
        if (kept == 0 || by_leader(&asks[i], &asks[kept - 1]) != 0)
            asks[kept++] = asks[i];
    *count_out = kept;
    return asks;
}

static void note_end(struct lag_monitor *m, struct str topic, int32_t partition, int64_t end)
{
    struct lag_history *h = lag_table_want(m->table, topic, partition);

    if (h != NULL && end >= 0)
        lag_history_add(h, clock_wall_ms(), end);
}

static void look_here(struct lag_monitor *m, const struct lag_ask *asks, int32_t count)
{
    for (int32_t i = 0; i < count; i++) {
        struct partition *p =
            replicas_find(m->o.broker->replicas, asks[i].topic, asks[i].partition);
        struct partition_info info;

        if (p == NULL)
            continue;
        partition_describe(p, &info);
        if (info.is_leader)
            note_end(m, asks[i].topic, asks[i].partition, info.high_watermark);
        partition_unref(&p);
    }
}

static void fill_request(struct kp_ListOffsetsRequest *req, struct arena *a,
                         const struct lag_ask *asks, int32_t count)
{
    struct kp_ListOffsetsRequest_ListOffsetsTopic *topic = NULL;
    struct kp_ListOffsetsRequest_ListOffsetsPartition *parts;

    kp_defaults(&kp_ListOffsetsRequest_schema, req);
    req->replica_id = REPLICA_CONSUMER;
    req->topics = arena_alloc(a, (size_t)count * sizeof *req->topics);
    parts = arena_alloc(a, (size_t)count * sizeof *parts);
    if (req->topics == NULL || parts == NULL)
        return; /* asks for nothing */
    for (int32_t i = 0; i < count; i++) {
        if (topic == NULL || !str_eq(topic->name, asks[i].topic)) {
            topic = &req->topics[req->topics_count++];
            kp_defaults(&kp_ListOffsetsRequest_ListOffsetsTopic_schema, topic);
            topic->name = asks[i].topic;
            topic->partitions = &parts[i];
        }
        kp_defaults(&kp_ListOffsetsRequest_ListOffsetsPartition_schema, &parts[i]);
        parts[i].partition_index = asks[i].partition;
        parts[i].timestamp = TIME_LATEST;
        topic->partitions_count++;
    }
}

static void take_answer(struct lag_monitor *m, const struct kp_ListOffsetsResponse *a)
{
    for (int32_t t = 0; t < a->topics_count; t++)
        for (int32_t i = 0; i < a->topics[t].partitions_count; i++) {
            const struct kp_ListOffsetsResponse_ListOffsetsPartitionResponse *p =
                &a->topics[t].partitions[i];

            if (p->error_code == KE_NONE &&
                lag_table_find(m->table, a->topics[t].name, p->partition_index) != NULL)
                note_end(m, a->topics[t].name, p->partition_index, p->offset);
        }
}

static enum err ask_leader(struct lag_monitor *m, const struct metadata *md,
                           const struct lag_ask *asks, int32_t count, struct errtext *why)
{
    const struct broker *b = m->o.broker;
    const struct metadata_broker *leader = metadata_broker(md, asks[0].leader);
    const struct metadata_endpoint *e =
        leader == NULL ? NULL : metadata_endpoint(leader, b->inter_broker_listener->name);
    struct arena a = {.limit = ANSWER_BYTES_MAX};
    struct kp_ListOffsetsRequest req;
    struct kp_ListOffsetsResponse answer;
    struct bclient *client = NULL;

    if (e == NULL)
        return ERR_OK; /* it has just gone: metadata will name another leader */
    struct bclient_options o = {.host = e->host,
                                .port = e->port,
                                .client_id = "kafuka-lag",
                                .tls = b->inter_broker_tls,
                                .connect_timeout_ms = CONNECT_MS,
                                .request_timeout_ms = REQUEST_MS};
    enum err rc = bclient_open(&o, &client, why);

    if (rc == ERR_OK) {
        fill_request(&req, &a, asks, count);
        rc =
            bclient_call(client, KP_API_LIST_OFFSETS, BCLIENT_NEWEST, &req, &a, &answer, NULL, why);
    }
    if (rc == ERR_OK)
        take_answer(m, &answer);
    bclient_close(&client);
    arena_fini(&a);
    return rc;
}

static bool is_stopping(struct lag_monitor *m)
{
    lock_take(&m->lock);
    bool stopping = m->is_stopping;
    lock_release(&m->lock);
    return stopping;
}

static void find_ends(struct lag_monitor *m, const struct lag_round *r)
{
    struct metadata *md = metadata_cache_latest(m->o.broker->metadata);
    int32_t count, from = 0;
    struct lag_ask *asks = make_asks(r, md, &count);
    struct errtext why = {0};

    for (int32_t i = 0; i < r->count; i++) /* those without a leader too: they will have one */
        (void)lag_table_want(m->table, r->v[i].topic, r->v[i].partition);
    while (from < count && !is_stopping(m)) {
        int32_t upto = from;

        while (upto < count && asks[upto].leader == asks[from].leader)
            upto++;
        if (asks[from].leader == m->o.broker->id)
            look_here(m, asks + from, upto - from);
        else if (ask_leader(m, md, asks + from, upto - from, &why) != ERR_OK)
            SLOG(DEBUG, "lag", "a leader did not tell the ends of its partitions",
                 KV_I("leader", asks[from].leader), KV_S("error", why.text));
        from = upto;
    }
    lag_table_sweep(m->table);
    mem_free(asks);
    metadata_unref(&md);
}

/* ---- the thread */

static void publish(struct lag_monitor *m, struct lag_round *r)
{
    lock_take(&m->lock);
    struct lag_round *old = m->published;
    m->published = r;
    lock_release(&m->lock);
    round_free(&old);
}

static void look(struct lag_monitor *m)
{
    struct lag_round *r = round_new(m->o.claims_max);
    int64_t now_ms;

    for (int i = 0; m->o.sources[i] != NULL && !is_stopping(m); i++)
        m->o.sources[i](m->o.broker, r);
    find_ends(m, r);
    now_ms = clock_wall_ms();
    for (int32_t i = 0; i < r->count; i++) {
        struct lag_claim *c = &r->v[i];

        c->lag = lag_of(lag_table_find(m->table, c->topic, c->partition), c->offset, now_ms);
    }
    publish(m, r);
}

static void *thread_main(void *arg)
{
    struct lag_monitor *m = arg;

    while (!is_stopping(m)) {
        int64_t next_us = clock_mono_us() + m->o.interval_ms * 1000;

        look(m);
        lock_take(&m->lock);
        while (!m->is_stopping && lock_wait(&m->lock, &m->cond, next_us))
            continue;
        lock_release(&m->lock);
    }
    return NULL;
}

enum err lag_monitor_start(const struct lag_options *o, struct lag_monitor **out)
{
    struct lag_monitor *m = xcalloc(1, sizeof *m);

    ASSERT(o->interval_ms > 0 && o->claims_max > 0);
    m->o = *o;
    m->table = lag_table_new();
    lock_init(&m->lock, LOCK_LEAF);
    lock_cond_init(&m->cond);
    int rc = pthread_create(&m->thread, NULL, thread_main, m);
    if (rc != 0) {
        m->thread = 0;
        lag_table_free(&m->table);
        lock_fini(&m->lock);
        MUST(pthread_cond_destroy(&m->cond) == 0);
        mem_free(m);
        *out = NULL;
        return err_from_errno(rc);
    }
    (void)pthread_setname_np(m->thread, "lag");
    *out = m;
    return ERR_OK;
}

void lag_monitor_stop(struct lag_monitor **lm)
{
    struct lag_monitor *m = *lm;

    if (m == NULL)
        return;
    lock_take(&m->lock);
    m->is_stopping = true;
    MUST(pthread_cond_signal(&m->cond) == 0);
    lock_release(&m->lock);
    MUST(pthread_join(m->thread, NULL) == 0);
    round_free(&m->published);
    lag_table_free(&m->table);
    lock_fini(&m->lock);
    MUST(pthread_cond_destroy(&m->cond) == 0);
    FREE_NULL(lm);
}

/* ---- the text */

/* A label's value: backslash, quote and line feed are escaped (Prometheus text format). */
static void print_label(struct buf *out, const char *name, struct str value)
{
    buf_printf(out, "%s=\"", name);
    for (int32_t i = 0; i < value.len; i++) {
        char c = value.p[i];

        if (c == '\\' || c == '"')
            buf_printf(out, "\\%c", c);
        else if (c == '\n')
            buf_printf(out, "\\n");
        else
            buf_add(out, &c, 1);
    }
    buf_printf(out, "\"");
}

static void print_labels(struct buf *out, const struct lag_claim *c)
{
    buf_printf(out, "{");
    print_label(out, "group", c->group);
    buf_printf(out, ",kind=\"%s\",", c->kind == LAG_BROKER_GROUP ? "broker" : "zookeeper");
    print_label(out, "topic", c->topic);
    buf_printf(out, ",partition=\"%d\",", c->partition);
    print_label(out, "member", c->member);
    buf_printf(out, "} ");
}

static void print_family(struct buf *out, const struct lag_round *r, const char *name,
                         const char *help, int what)
{
    buf_printf(out, "# HELP %s %s\n# TYPE %s gauge\n", name, help, name);
    for (int32_t i = 0; i < r->count; i++) {
        const struct lag_claim *c = &r->v[i];

        if (what > 0 && c->lag.records < 0)
            continue; /* its end is not known */
        buf_printf(out, "%s", name);
        print_labels(out, c);
        if (what == 0)
            buf_printf(out, "%" PRId64 "\n", c->offset);
        else if (what == 1)
            buf_printf(out, "%" PRId64 "\n", c->lag.records);
        else
            buf_printf(out, "%.1f\n", (double)c->lag.ms / 1000);
    }
}

void lag_monitor_print(struct lag_monitor *m, struct buf *out)
{
    if (m == NULL)
        return;
    lock_take(&m->lock);
    if (m->published != NULL) {
        print_family(out, m->published, "kafuka_group_committed_offset",
                     "Offset that the group committed: the next record it will read", 0);
        print_family(out, m->published, "kafuka_group_lag_records",
                     "Records between the committed offset of the group and the end of the partition", 1);
        print_family(out, m->published, "kafuka_group_lag_seconds",
                     "Time since the first record that the group has not committed was appended; a "
                     "lower bound for records that are older than this broker's observation",
                     2);
        buf_printf(out,
                   "# HELP kafuka_group_lag_is_cut 1 when not all committed offsets are shown because "
                   "there are more than kafuka.lag.partitions.max, otherwise 0\n# TYPE kafuka_group_lag_is_cut gauge\n"
                   "kafuka_group_lag_is_cut %d\n",
                   m->published->is_full);
    }
    lock_release(&m->lock);
}
