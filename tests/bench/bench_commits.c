/* SPDX-License-Identifier: Apache-2.0 */
/* Offsets committed for many groups at once, one request in flight for each, through failovers of
 * their coordinators. Whenever a group lost its coordinator it finds the new one and reads its
 * offsets back: none may lie below what was acknowledged. */
#include "bench_wire.h"

#include "common/base/clock.h"
#include "common/protocol/messages.h"

#include <stdio.h>
#include <stdlib.h>

enum {
    PARTITIONS_MAX = 32,
    PEERS_MAX = 64,
    CONNECTIONS_MAX = 1000, /* to a broker; it serves one request of each at a time */
    RETRY_MS = 20,
    VERSION_FIND = 2,
    VERSION_COMMIT = 7,
    VERSION_FETCH = 5
};

enum group_state { GROUP_WAITS, GROUP_FINDS, GROUP_READS, GROUP_READY, GROUP_COMMITS };

struct group {
    char name[32];
    enum group_state state;
    struct wire_peer *coordinator;
    int64_t retry_at_ms;             /* WAITS */
    int64_t lost_at_us;              /* when it lost its coordinator; 0: it has one */
    int64_t next_offset, sent_at_us; /* COMMITS: next_offset - 1 is on its way */
    int64_t acked[PARTITIONS_MAX];   /* -1: none */
};

static struct {
    const struct bench_args *a;
    struct group *groups;
    struct wire_peer *bootstrap;
    int next_host;
    struct {
        char host[64];
        int port;
        struct wire_peer *to[CONNECTIONS_MAX];
    } brokers[PEERS_MAX];
    int broker_count;
    int64_t acked, errors, lost, checked;
    double *latencies_us; /* of acknowledged commits, the first latency_max */
    size_t latency_count, latency_max;
    double *outages_ms; /* of the failover that is going on; a group may lose one more in it */
    size_t outage_count, outage_max;
    int without; /* groups without coordinator */
    bool is_final;
} b;

static struct wire_peer *broker_peer(const char *host, int port, uint32_t number)
{
    struct wire_peer **to;
    int i = 0;

    while (i < b.broker_count &&
           (b.brokers[i].port != port || strcmp(b.brokers[i].host, host) != 0))
        i++;
    if (i == b.broker_count) {
        if (i == PEERS_MAX)
            bench_die("more than %d brokers", PEERS_MAX);
        (void)snprintf(b.brokers[i].host, sizeof b.brokers[i].host, "%s", host);
        b.brokers[i].port = port;
        b.broker_count++;
    }
    to = &b.brokers[i].to[number % (uint32_t)b.a->connections];
    if (!wire_is_open(*to))
        *to = wire_open(host, port);
    return *to;
}

static void lose(struct group *g)
{
    if (g->lost_at_us == 0 && g->coordinator != NULL) {
        g->lost_at_us = clock_mono_us();
        b.without++;
    }
    g->state = GROUP_WAITS;
    g->retry_at_ms = clock_mono_ms() + RETRY_MS;
}

static void find(struct group *g, uint32_t number)
{
    struct kp_FindCoordinatorRequest r;

    for (int i = 0; i < b.a->host_count && !wire_is_open(b.bootstrap); i++) {
        b.next_host = (b.next_host + 1) % b.a->host_count;
        b.bootstrap = wire_open(b.a->hosts[b.next_host], b.a->ports[b.next_host]);
    }
    kp_defaults(&kp_FindCoordinatorRequest_schema, &r);
    r.key = (struct str){g->name, strlen(g->name)};
    if (wire_send(b.bootstrap, KP_API_FIND_COORDINATOR, VERSION_FIND, &r, number))
        g->state = GROUP_FINDS;
    else
        lose(g);
}

static void read_back(struct group *g, uint32_t number)
{
    struct kp_OffsetFetchRequest r;
    struct kp_OffsetFetchRequest_OffsetFetchRequestTopic t = {0};
    int32_t indexes[PARTITIONS_MAX];

    for (int i = 0; i < b.a->partitions; i++)
        indexes[i] = i;
    kp_defaults(&kp_OffsetFetchRequest_schema, &r);
    t.name = (struct str){b.a->topic, strlen(b.a->topic)};
    t.partition_indexes = indexes;
    t.partition_indexes_count = b.a->partitions;
    r.group_id = (struct str){g->name, strlen(g->name)};
    r.topics = &t;
    r.topics_count = 1;
    if (wire_send(g->coordinator, KP_API_OFFSET_FETCH, VERSION_FETCH, &r, number))
        g->state = GROUP_READS;
    else
        lose(g);
}

static void commit(struct group *g, uint32_t number)
{
    struct kp_OffsetCommitRequest r;
    struct kp_OffsetCommitRequest_OffsetCommitRequestTopic t = {0};
    struct kp_OffsetCommitRequest_OffsetCommitRequestPartition p;

    kp_defaults(&kp_OffsetCommitRequest_schema, &r);
    kp_defaults(&kp_OffsetCommitRequest_OffsetCommitRequestPartition_schema, &p);
    p.partition_index = (int32_t)(g->next_offset % b.a->partitions);
    p.committed_offset = g->next_offset++;
    p.committed_metadata = STR_LIT("");
    t.name = (struct str){b.a->topic, strlen(b.a->topic)};
    t.partitions = &p;
    t.partitions_count = 1;
    r.group_id = (struct str){g->name, strlen(g->name)};
    r.topics = &t;
    r.topics_count = 1;
    g->sent_at_us = clock_mono_us();
    if (wire_send(g->coordinator, KP_API_OFFSET_COMMIT, VERSION_COMMIT, &r, number))
        g->state = GROUP_COMMITS;
    else
        lose(g);
}

static void found(struct group *g, uint32_t number, const struct kp_FindCoordinatorResponse *r)
{
    char host[64];

    if (r->error_code != KE_NONE) {
        lose(g);
        return;
    }
    (void)snprintf(host, sizeof host, "%.*s", (int)r->host.len, r->host.p);
    g->coordinator = broker_peer(host, r->port, number);
    if (g->coordinator == NULL)
        lose(g); /* named, but nothing listens: it is dead and nobody has noticed */
    else
        read_back(g, number);
}

static void must_be_retriable(int16_t code, const char *what)
{
    if (code == KE_COORDINATOR_LOAD_IN_PROGRESS || code == KE_COORDINATOR_NOT_AVAILABLE ||
        code == KE_NOT_COORDINATOR || code == KE_REQUEST_TIMED_OUT ||
        code == KE_UNKNOWN_TOPIC_OR_PARTITION) /* a broker that has just started */
        return;
    bench_die("%s: error %d", what, code);
}

static void got_back(struct group *g, uint32_t number, const struct kp_OffsetFetchResponse *r)
{
    if (r->error_code != KE_NONE) {
        must_be_retriable(r->error_code, "OffsetFetch");
        lose(g);
        return;
    }
    if (r->topics_count != 1 || r->topics[0].partitions_count != b.a->partitions)
        bench_die("OffsetFetch answered for %d topics", r->topics_count);
    for (int i = 0; i < b.a->partitions; i++) {
        const struct kp_OffsetFetchResponse_OffsetFetchResponsePartition *p =
            &r->topics[0].partitions[i];

        if (p->error_code != KE_NONE) {
            must_be_retriable(p->error_code, "OffsetFetch");
            lose(g);
            return;
        }
        b.checked++;
        if (p->committed_offset < g->acked[p->partition_index]) {
            b.lost++;
            (void)printf("LOST %s %s-%d: acknowledged %" PRId64 ", now %" PRId64 "\n", g->name,
                         b.a->topic, p->partition_index, g->acked[p->partition_index],
                         p->committed_offset);
        }
    }
    if (g->lost_at_us != 0) {
        if (b.outage_count < b.outage_max)
            b.outages_ms[b.outage_count++] = (double)(clock_mono_us() - g->lost_at_us) / 1000;
        g->lost_at_us = 0;
        b.without--;
    }
    g->state = GROUP_READY;
    (void)number;
}

static void committed(struct group *g, const struct kp_OffsetCommitResponse *r)
{
    int16_t code;

    if (r->topics_count != 1 || r->topics[0].partitions_count != 1)
        bench_die("OffsetCommit answered for %d topics", r->topics_count);
    code = r->topics[0].partitions[0].error_code;
    if (code != KE_NONE) {
        must_be_retriable(code, "OffsetCommit");
        b.errors++;
        lose(g);
        return;
    }
    g->acked[r->topics[0].partitions[0].partition_index] = g->next_offset - 1;
    b.acked++;
    if (b.latency_count < b.latency_max)
        b.latencies_us[b.latency_count++] = (double)(clock_mono_us() - g->sent_at_us);
    g->state = GROUP_READY;
}

static void answer(void *arg, struct wire_peer *p, int16_t key, uint32_t tag, const void *response)
{
    struct group *g = &b.groups[tag];

    (void)arg;
    (void)p;
    if (response == NULL)
        lose(g);
    else if (key == KP_API_FIND_COORDINATOR)
        found(g, tag, response);
    else if (key == KP_API_OFFSET_FETCH)
        got_back(g, tag, response);
    else
        committed(g, response);
}

/* Gives every group that waits for us something to do. may_commit: how many may commit now. */
static void step(int64_t may_commit)
{
    int64_t now_ms = clock_mono_ms();

    for (int i = 0; i < b.a->groups; i++) {
        struct group *g = &b.groups[i];

        if (g->state == GROUP_WAITS && g->retry_at_ms <= now_ms)
            find(g, (uint32_t)i);
        else if (g->state == GROUP_READY && may_commit > 0 && !b.is_final) {
            commit(g, (uint32_t)i);
            may_commit--;
        }
    }
}

/* Says how long the groups were without coordinator once all have one again. */
static void report_outage(void)
{
    if (b.without > 0 || b.outage_count == 0)
        return;
    (void)printf("outage of %zu groups: p50 %.0f ms, max %.0f ms\n", b.outage_count,
                 bench_percentile(b.outages_ms, b.outage_count, 0.5),
                 bench_percentile(b.outages_ms, b.outage_count, 1));
    (void)fflush(stdout);
    b.outage_count = 0;
}

static int count_state(enum group_state s)
{
    int n = 0;

    for (int i = 0; i < b.a->groups; i++)
        n += b.groups[i].state == s;
    return n;
}

/* Until every group is at rest with a coordinator. */
static void settle(int64_t deadline_ms)
{
    while (count_state(GROUP_READY) < b.a->groups) {
        if (clock_mono_ms() > deadline_ms)
            bench_die("%d of %d groups are ready at the time limit", count_state(GROUP_READY),
                      b.a->groups);
        step(0);
        wire_run(5);
        report_outage();
    }
}

static void commit_all(int64_t deadline_ms)
{
    int64_t began_us = clock_mono_us(), sent = 0;
    double seconds;

    while (b.a->until_eof ? !bench_input_ended() : b.acked < b.a->count) {
        int64_t due = INT64_MAX;

        if (b.a->rate > 0)
            due = (clock_mono_us() - began_us) * b.a->rate / 1000000 - sent;
        if (!b.a->until_eof)
            due = i64_min(due, b.a->count - b.acked - count_state(GROUP_COMMITS));
        if (clock_mono_ms() > deadline_ms)
            bench_die("%" PRId64 " commits at the time limit, p50 %.0f us; %d groups wait for an "
                      "answer, %d for their coordinator",
                      b.acked, bench_percentile(b.latencies_us, b.latency_count, 0.5),
                      count_state(GROUP_COMMITS), b.without);
        if (b.a->rate > 0)
            sent += i64_min(i64_max(due, 0), count_state(GROUP_READY));
        step(due);
        wire_run(b.a->rate > 0 ? 1 : 5);
        report_outage();
    }
    seconds = (double)(clock_mono_us() - began_us) / 1e6;
    (void)printf("%" PRId64 " commits for %d groups in %.2f s: %.0f/s, p50 %.0f us, p99 %.0f us, "
                 "refused %" PRId64 "\n",
                 b.acked, b.a->groups, seconds, (double)b.acked / seconds,
                 bench_percentile(b.latencies_us, b.latency_count, 0.5),
                 bench_percentile(b.latencies_us, b.latency_count, 0.99), b.errors);
}

int bench_commits(const struct bench_args *a)
{
    int64_t deadline_ms = clock_mono_ms() + a->seconds_max * 1000;

    if (a->partitions > PARTITIONS_MAX || a->connections > CONNECTIONS_MAX)
        bench_die("at most %d partitions and %d connections", PARTITIONS_MAX, CONNECTIONS_MAX);
    b.a = a;
    b.groups = xcalloc((size_t)a->groups, sizeof *b.groups);
    b.latency_max = 4 << 20;
    b.latencies_us = xcalloc(b.latency_max, sizeof *b.latencies_us);
    b.outage_max = 8 * (size_t)a->groups;
    b.outages_ms = xcalloc(b.outage_max, sizeof *b.outages_ms);
    wire_init(answer, NULL);
    for (int i = 0; i < a->groups; i++) {
        (void)snprintf(b.groups[i].name, sizeof b.groups[i].name, "bench-group-%d", i);
        for (int p = 0; p < PARTITIONS_MAX; p++)
            b.groups[i].acked[p] = -1;
        /* a run before this one may have committed: go on above it */
        b.groups[i].next_offset = clock_wall_ms() * 1000;
    }
    settle(deadline_ms);
    commit_all(deadline_ms);
    b.is_final = true;
    settle(deadline_ms);
    for (int i = 0; i < a->groups; i++) /* all of it once more, from whoever coordinates now */
        b.groups[i].state = GROUP_WAITS;
    b.checked = 0;
    settle(deadline_ms);
    (void)printf("read back %" PRId64 " offsets of %d groups: lost %" PRId64 "\n", b.checked,
                 a->groups, b.lost);
    return b.lost == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
