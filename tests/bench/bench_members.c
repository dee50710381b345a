/* SPDX-License-Identifier: Apache-2.0 */
/* Members of one group, each with its own connection: how long a rebalance takes, and a coordinator
 * under nothing but heartbeats. A member joins, is given an id, joins with it, syncs (the leader
 * with one byte of assignment for each), and sends heartbeats; told of a rebalance it joins again.
 */
#include "bench_wire.h"

#include "common/base/clock.h"
#include "common/protocol/messages.h"

#include <stdio.h>
#include <stdlib.h>

enum {
    VERSION_FIND = 2,
    VERSION_JOIN = 5,
    VERSION_SYNC = 3,
    VERSION_HEARTBEAT = 3,
    VERSION_LEAVE = 3,
    SESSION_MS = 30000,
    REBALANCE_MS = 60000,
    ID_BYTES = 96,
    RETRY_MS = 20
};

enum member_state {
    MEMBER_OUT,
    MEMBER_WAITS,
    MEMBER_JOINS,
    MEMBER_SYNCS,
    MEMBER_STABLE,
    MEMBER_LEAVES
};

struct member {
    struct wire_peer *peer;
    enum member_state state;
    char id[ID_BYTES];
    int32_t generation;
    int64_t at_us; /* WAITS: when to join; STABLE: when it came to be */
    int64_t heartbeat_at_ms;
    bool is_heart_beating; /* a heartbeat is on its way */
};

static struct {
    const struct bench_args *a;
    char group[48];
    char host[64];
    int port;
    bool is_found, is_asked;
    struct member *members;
    int wanted;           /* members that shall be in the group: the first ones */
    int64_t last_join_us; /* the last JoinGroup that was sent */
    int64_t heartbeats, errors;
} g;

static struct str text(const char *s)
{
    return (struct str){s, strlen(s)};
}

static void join(struct member *m, uint32_t number)
{
    struct kp_JoinGroupRequest r;
    struct kp_JoinGroupRequest_JoinGroupRequestProtocol p;

    if (!wire_is_open(m->peer))
        m->peer = wire_open(g.host, g.port);
    kp_defaults(&kp_JoinGroupRequest_schema, &r);
    kp_defaults(&kp_JoinGroupRequest_JoinGroupRequestProtocol_schema, &p);
    p.name = STR_LIT("range");
    /* subscription v0 to topic "t", no user data */
    p.metadata = (struct bytes){(const uint8_t *)"\0\0\0\0\0\1\0\1t\377\377\377\377", 13};
    r.group_id = text(g.group);
    r.session_timeout_ms = SESSION_MS;
    r.rebalance_timeout_ms = REBALANCE_MS;
    r.member_id = text(m->id);
    r.protocol_type = STR_LIT("consumer");
    r.protocols = &p;
    r.protocols_count = 1;
    m->state = MEMBER_JOINS;
    g.last_join_us = clock_mono_us();
    if (!wire_send(m->peer, KP_API_JOIN_GROUP, VERSION_JOIN, &r, number))
        bench_die("the coordinator at %s:%d is gone", g.host, g.port);
}

static void again(struct member *m)
{
    m->state = MEMBER_WAITS;
    m->at_us = clock_mono_us() + RETRY_MS * 1000;
}

static void sync_group(struct member *m, uint32_t number, const struct kp_JoinGroupResponse *j)
{
    struct kp_SyncGroupRequest r;
    size_t n = j->members_count > 0 ? (size_t)j->members_count : 0;
    struct kp_SyncGroupRequest_SyncGroupRequestAssignment *as = xcalloc(n + 1, sizeof *as);

    kp_defaults(&kp_SyncGroupRequest_schema, &r);
    for (size_t i = 0; i < n; i++) { /* only the leader is told of members */
        as[i].member_id = j->members[i].member_id;
        as[i].assignment = (struct bytes){(const uint8_t *)"a", 1};
    }
    r.group_id = text(g.group);
    r.generation_id = j->generation_id;
    r.member_id = text(m->id);
    r.assignments = as;
    r.assignments_count = (int32_t)n;
    m->generation = j->generation_id;
    m->state = MEMBER_SYNCS;
    if (!wire_send(m->peer, KP_API_SYNC_GROUP, VERSION_SYNC, &r, number))
        bench_die("the coordinator is gone");
    mem_free(as);
}

static void joined(struct member *m, uint32_t number, const struct kp_JoinGroupResponse *r)
{
    if (r->error_code == KE_NONE || r->error_code == KE_MEMBER_ID_REQUIRED)
        (void)snprintf(m->id, sizeof m->id, "%.*s", (int)r->member_id.len, r->member_id.p);
    if (r->error_code == KE_NONE) {
        sync_group(m, number, r);
    } else if (r->error_code == KE_MEMBER_ID_REQUIRED) {
        join(m, number);
    } else if (r->error_code == KE_UNKNOWN_MEMBER_ID) {
        m->id[0] = '\0';
        g.errors++;
        again(m);
    } else if (r->error_code == KE_COORDINATOR_LOAD_IN_PROGRESS ||
               r->error_code == KE_COORDINATOR_NOT_AVAILABLE ||
               r->error_code == KE_REBALANCE_IN_PROGRESS) {
        again(m);
    } else {
        bench_die("JoinGroup: error %d", r->error_code);
    }
}

static void synced(struct member *m, uint32_t number, const struct kp_SyncGroupResponse *r)
{
    if (r->error_code == KE_NONE) {
        if (r->assignment.len != 1)
            bench_die("an assignment of %zu bytes", r->assignment.len);
        m->state = MEMBER_STABLE;
        m->at_us = clock_mono_us();
        /* spread over the interval, as members that started on their own would be */
        m->heartbeat_at_ms =
            clock_mono_ms() + 1 + (int64_t)number * g.a->heartbeat_ms / i64_max(1, g.a->members);
    } else if (r->error_code == KE_REBALANCE_IN_PROGRESS) {
        join(m, number);
    } else {
        g.errors++;
        m->id[0] = '\0';
        again(m);
    }
}

static void beat(struct member *m, uint32_t number)
{
    struct kp_HeartbeatRequest r;

    kp_defaults(&kp_HeartbeatRequest_schema, &r);
    r.group_id = text(g.group);
    r.generation_id = m->generation;
    r.member_id = text(m->id);
    m->is_heart_beating = true;
    m->heartbeat_at_ms += g.a->heartbeat_ms;
    if (!wire_send(m->peer, KP_API_HEARTBEAT, VERSION_HEARTBEAT, &r, number))
        bench_die("the coordinator is gone");
}

static void beaten(struct member *m, uint32_t number, const struct kp_HeartbeatResponse *r)
{
    m->is_heart_beating = false;
    g.heartbeats++;
    if (m->state != MEMBER_STABLE)
        return; /* it left while the heartbeat was on its way */
    if (r->error_code == KE_REBALANCE_IN_PROGRESS) {
        join(m, number);
    } else if (r->error_code != KE_NONE) {
        g.errors++;
        if (r->error_code == KE_UNKNOWN_MEMBER_ID)
            m->id[0] = '\0';
        again(m);
    }
}

static void leave(struct member *m, uint32_t number)
{
    struct kp_LeaveGroupRequest r;
    struct kp_LeaveGroupRequest_MemberIdentity who;

    kp_defaults(&kp_LeaveGroupRequest_schema, &r);
    kp_defaults(&kp_LeaveGroupRequest_MemberIdentity_schema, &who);
    who.member_id = text(m->id);
    r.group_id = text(g.group);
    r.members = &who;
    r.members_count = 1;
    m->state = MEMBER_LEAVES;
    if (!wire_send(m->peer, KP_API_LEAVE_GROUP, VERSION_LEAVE, &r, number))
        bench_die("the coordinator is gone");
}

static void left(struct member *m, const struct kp_LeaveGroupResponse *r)
{
    if (r->error_code != KE_NONE || r->members_count != 1 || r->members[0].error_code != KE_NONE)
        bench_die("LeaveGroup: error %d", r->error_code);
    m->state = MEMBER_OUT;
    m->id[0] = '\0';
}

static void find_answer(const struct kp_FindCoordinatorResponse *r)
{
    g.is_asked = false;
    if (r->error_code != KE_NONE)
        return;
    (void)snprintf(g.host, sizeof g.host, "%.*s", (int)r->host.len, r->host.p);
    g.port = r->port;
    g.is_found = true;
}

static void answer(void *arg, struct wire_peer *p, int16_t key, uint32_t tag, const void *response)
{
    (void)arg;
    (void)p;
    if (response == NULL)
        bench_die("the connection to the coordinator ended");
    switch (key) {
    case KP_API_FIND_COORDINATOR:
        find_answer(response);
        break;
    case KP_API_JOIN_GROUP:
        joined(&g.members[tag], tag, response);
        break;
    case KP_API_SYNC_GROUP:
        synced(&g.members[tag], tag, response);
        break;
    case KP_API_HEARTBEAT:
        beaten(&g.members[tag], tag, response);
        break;
    case KP_API_LEAVE_GROUP:
        left(&g.members[tag], response);
        break;
    default:
        bench_die("an answer to %d", key);
    }
}

static void find_coordinator(int64_t deadline_ms)
{
    struct wire_peer *p = wire_open(g.a->hosts[0], g.a->ports[0]);
    struct kp_FindCoordinatorRequest r;

    kp_defaults(&kp_FindCoordinatorRequest_schema, &r);
    r.key = text(g.group);
    for (g.is_found = false; !g.is_found;) {
        if (clock_mono_ms() > deadline_ms ||
            !wire_send(p, KP_API_FIND_COORDINATOR, VERSION_FIND, &r, 0))
            bench_die("no coordinator for %s", g.group);
        for (g.is_asked = true; g.is_asked && clock_mono_ms() <= deadline_ms;)
            wire_run(RETRY_MS);
        if (!g.is_found) { /* its topic is being made */
            int64_t until_ms = clock_mono_ms() + RETRY_MS;

            while (clock_mono_ms() < until_ms)
                wire_run(RETRY_MS);
        }
    }
    wire_close(p);
}

/* Joins and heartbeats that are due. */
static void step(void)
{
    int64_t now_us = clock_mono_us(), now_ms = now_us / 1000;

    for (int i = 0; i < g.a->members; i++) {
        struct member *m = &g.members[i];

        if (m->state == MEMBER_OUT && i < g.wanted)
            join(m, (uint32_t)i);
        else if (m->state == MEMBER_STABLE && i >= g.wanted && !m->is_heart_beating)
            leave(m, (uint32_t)i);
        else if (m->state == MEMBER_WAITS && m->at_us <= now_us)
            join(m, (uint32_t)i);
        else if (m->state == MEMBER_STABLE && m->heartbeat_at_ms <= now_ms && !m->is_heart_beating)
            beat(m, (uint32_t)i);
    }
}

/* All wanted members are stable in one generation, the others out. */
static bool is_whole(int32_t above)
{
    for (int i = 0; i < g.a->members; i++) {
        const struct member *m = &g.members[i];

        if (m->state != (i < g.wanted ? MEMBER_STABLE : MEMBER_OUT))
            return false;
        if (i < g.wanted && (m->generation != g.members[0].generation || m->generation <= above))
            return false;
    }
    return true;
}

/* Until wanted members are in the group, in a generation above that one. Times since began: until
 * the last has its assignment, and how much of it was after the last JoinGroup was sent. */
static void change(int wanted, int32_t above, double *total_ms, double *after_join_ms,
                   int64_t deadline_ms)
{
    int64_t began_us = clock_mono_us(), last_us = began_us;

    g.wanted = wanted;
    do {
        if (clock_mono_ms() > deadline_ms)
            bench_die("%s is not whole at the time limit", g.group);
        step();
        wire_run(1);
    } while (!is_whole(above));
    for (int i = 0; i < wanted; i++)
        last_us = i64_max(last_us, g.members[i].at_us);
    *total_ms = (double)(last_us - began_us) / 1000;
    *after_join_ms = (double)(last_us - g.last_join_us) / 1000;
}

static void print_times(const char *what, double *total, double *share, int n)
{
    (void)printf(
        "%-24s n %d  p50 %.1f ms  p99 %.1f ms  max %.1f ms   after the last JoinGroup: p50 "
        "%.1f ms  p99 %.1f ms\n",
        what, n, bench_percentile(total, (size_t)n, 0.5), bench_percentile(total, (size_t)n, 0.99),
        bench_percentile(total, (size_t)n, 1), bench_percentile(share, (size_t)n, 0.5),
        bench_percentile(share, (size_t)n, 0.99));
    (void)fflush(stdout);
}

int bench_rebalances(const struct bench_args *a)
{
    int64_t deadline_ms = clock_mono_ms() + a->seconds_max * 1000;
    double *t[6], unused;

    for (size_t i = 0; i < ARRAY_LEN(t); i++)
        t[i] = xcalloc((size_t)a->rounds, sizeof *t[i]);
    g.a = a;
    g.members = xcalloc((size_t)a->members, sizeof *g.members);
    wire_init(answer, NULL);
    for (int r = 0; r < a->rounds; r++) {
        (void)snprintf(g.group, sizeof g.group, "bench-rebalance-%" PRId64, clock_wall_ms());
        find_coordinator(deadline_ms);
        for (int i = 0; i < a->members; i++) /* connecting is not what is measured */
            g.members[i].peer = wire_open(g.host, g.port);
        change(a->members, 0, &t[0][r], &t[1][r], deadline_ms);
        change(a->members - 1, g.members[0].generation, &t[2][r], &t[3][r], deadline_ms);
        change(a->members, g.members[0].generation, &t[4][r], &t[5][r], deadline_ms);
        change(0, 0, &unused, &unused, deadline_ms);
        for (int i = 0; i < a->members; i++)
            wire_close(g.members[i].peer);
    }
    (void)printf("%d members, a heartbeat each %" PRId64 " ms\n", a->members, a->heartbeat_ms);
    print_times("all join", t[0], t[1], a->rounds);
    print_times("one leaves", t[2], t[3], a->rounds);
    print_times("one joins", t[4], t[5], a->rounds);
    (void)printf("errors %" PRId64 "\n", g.errors);
    return EXIT_SUCCESS;
}

int bench_heartbeats(const struct bench_args *a)
{
    int64_t deadline_ms = clock_mono_ms() + a->seconds_max * 1000;
    double total_ms, after_ms;

    g.a = a;
    g.members = xcalloc((size_t)a->members, sizeof *g.members);
    wire_init(answer, NULL);
    (void)snprintf(g.group, sizeof g.group, "bench-heartbeats-%" PRId64, clock_wall_ms());
    find_coordinator(deadline_ms);
    change(a->members, 0, &total_ms, &after_ms, deadline_ms);
    (void)printf("ready %s:%d %d members in %.1f ms\n", g.host, g.port, a->members, total_ms);
    (void)fflush(stdout);
    g.heartbeats = 0;
    while (!bench_input_ended()) {
        if (clock_mono_ms() > deadline_ms)
            bench_die("time limit");
        step();
        wire_run(1);
    }
    (void)printf("heartbeats %" PRId64 " errors %" PRId64 " whole %s\n", g.heartbeats, g.errors,
                 is_whole(0) ? "yes" : "no");
    change(0, 0, &total_ms, &after_ms, deadline_ms);
    return EXIT_SUCCESS;
}
