/* SPDX-License-Identifier: Apache-2.0 */
/* The coordinator on real loops, pool and logs: who coordinates, loading, appending in one batch a
 * turn, waiting for replicas, unloading. The controller and the clients are the test. */
#include "broker/api/api.h"
#include "broker/config/config.h"
#include "broker/group/coordinator_internal.h"
#include "broker/http/metrics.h"
#include "broker/cluster/metadata_cache.h"
#include "broker/replica/replicas.h"
#include "common/base/clock.h"
#include "common/base/fsx.h"
#include "common/base/slog.h"
#include "common/protocol/messages.h"
#include "common/record/builder.h"
#include "controller/controller.h"

#include <check.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

enum { LOOPS = 2, PARTITIONS = 4 };

/* ---- what is not there */

int32_t controller_id(const struct controller *c UNUSED)
{
    return -1;
}

void controller_request(struct controller *c UNUSED, int16_t key UNUSED, int16_t version UNUSED,
                        const void *req UNUSED, struct mailbox *to UNUSED,
                        void (*done)(void *arg, const void *response) UNUSED, void *arg UNUSED)
{
    ck_abort_msg("nobody asks the controller here");
}

static void posted(struct mail *m)
{
    struct request *r = CONTAINER_OF(m, struct request, mail);
    r->run(r);
}

void request_post(struct request *r, void (*run)(struct request *r))
{
    r->run = run;
    r->mail.deliver = posted;
    loop_post(r->loop, &r->mail);
}

/* ---- the broker */

static char dir[256];
static char *dirs[1] = {dir};
static struct broker broker;
static struct log_config log_config;
static struct uuid topic_id;

static void topic_config(void *arg UNUSED, struct str topic UNUSED, struct log_config *out)
{
    *out = log_config;
}

static void new_log_config(void *arg UNUSED, struct str topic UNUSED, struct uuid id UNUSED,
                           struct log_config *out)
{
    *out = log_config;
}

static void dir_failed(void *arg UNUSED, const char *which)
{
    replicas_dir_failed(broker.replicas, which);
}

static void role_changed(void *arg UNUSED, struct str topic, int32_t partition,
                         bool is_leader UNUSED, int32_t epoch UNUSED)
{
    coordinator_role_changed(broker.groups, topic, partition);
}

static void broker_start(void)
{
    struct errtext why = {""};
    struct log_manager_options lo = {.dirs = dirs,
                                     .dir_count = 1,
                                     .recovery_threads_per_dir = 1,
                                     .flush_scheduler_interval_ms = INT64_MAX,
                                     .retention_check_interval_ms = 300000,
                                     .checkpoint_interval_ms = 60000,
                                     .defaults = log_config,
                                     .topic_config = topic_config,
                                     .dir_failed = dir_failed};
    struct replicas_options o = {.broker_id = 1,
                                 .loop_count = LOOPS,
                                 .listener_name = "PLAINTEXT",
                                 .limits = {.lag_time_max_ms = 300000},
                                 .hw_checkpoint_interval_ms = 5000,
                                 .fetchers_per_leader = 1,
                                 .fetch_partition_max_bytes = 1 << 20,
                                 .fetch_response_max_bytes = 10 << 20,
                                 .fetch_min_bytes = 1,
                                 .fetch_wait_max_ms = 500,
                                 .fetch_backoff_ms = 1000,
                                 .socket_timeout_ms = 30000,
                                 .topic_config = new_log_config,
                                 .role_changed = role_changed};
    broker.loop_count = LOOPS;
    broker.loops = calloc(LOOPS, sizeof *broker.loops);
    for (int i = 0; i < LOOPS; i++)
        ck_assert_int_eq(loop_start("loop", &broker.loops[i]), ERR_OK);
    ck_assert_int_eq(pool_start("io", 2, 100, &broker.io_pool), ERR_OK);
    ck_assert_msg(log_manager_open(&lo, &broker.logs, &why) == ERR_OK, "%s", why.text);
    ck_assert_msg(log_manager_load(broker.logs, &why) == ERR_OK, "%s", why.text);
    o.loops = broker.loops;
    o.pool = broker.io_pool;
    o.logs = broker.logs;
    broker.replicas = replicas_new(&o);
    broker.metadata = metadata_cache_new(broker.loops, LOOPS);
    coordinator_start(&broker);
    log_manager_start(broker.logs, replicas_log_lock, replicas_log_unlock);
    replicas_start(broker.replicas);
}

static void nothing(void *arg UNUSED)
{
}

static void settle(void)
{
    for (int n = 0; n < 4; n++)
        for (int i = 0; i < LOOPS; i++)
            loop_call(broker.loops[i], nothing, NULL);
}

static bool has_quit;

static void quit(void)
{
    if (!has_quit)
        coordinator_quit(broker.groups);
    has_quit = true;
}

static void broker_stop(void)
{
    quit();
    replicas_stop(broker.replicas);
    pool_stop(&broker.io_pool);
    for (int i = 0; i < LOOPS; i++)
        loop_stop(&broker.loops[i]);
    coordinator_free(&broker.groups);
    metadata_cache_free(&broker.metadata);
    (void)!log_manager_close(&broker.logs, 1);
    replicas_free(&broker.replicas);
    free(broker.loops);
}

static void publish(const char *topic, int32_t partitions, int32_t leader)
{
    struct kp_UpdateMetadataRequest_UpdateMetadataPartitionState *s =
        calloc((size_t)partitions, sizeof *s);
    for (int32_t i = 0; i < partitions; i++)
        s[i] = (struct kp_UpdateMetadataRequest_UpdateMetadataPartitionState){.partition_index = i,
                                                                              .leader = leader};
    struct kp_UpdateMetadataRequest_UpdateMetadataTopicState t = {
        .topic_name = str_of(topic), .partition_states = s, .partition_states_count = partitions};
    t.topic_id.b[0] = (uint8_t)topic[0];
    struct kp_UpdateMetadataRequest req = {
        .controller_id = 1, .topic_states = &t, .topic_states_count = 1};
    ck_assert_int_eq(
        metadata_cache_update(broker.metadata, &req, broker.loops[0], NULL, NULL, NULL), ERR_OK);
    settle();
    struct metadata *m = metadata_cache_latest(broker.metadata);
    coordinator_metadata_changed(broker.groups, &req, m);
    metadata_unref(&m);
    settle();
    free(s);
}

static struct config *config;
static const char *extra[2]; /* an option */

static void set(const char *name, const char *value)
{
    struct errtext why;
    ck_assert_msg(config_set(config, name, value, CONFIG_SOURCE_STATIC, &why) == ERR_OK, "%s",
                  why.text);
}

static void setup_unpublished(void)
{
    struct errtext why;
    snprintf(dir, sizeof dir, "/tmp/kafuka-test-coordinator-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(dir));
    log_config_defaults(&log_config);
    log_config.is_compact = true;
    log_config.is_delete = false;
    log_config.min_insync_replicas = 1;
    topic_id = uuid_random();
    config = config_new();
    set("zookeeper.connect", "z:1");
    set("group.initial.rebalance.delay.ms", "0");
    if (extra[0] != NULL)
        set(extra[0], extra[1]);
    ck_assert_int_eq(config_finish(config, &why), ERR_OK);
    broker = (struct broker){.config = config, .id = 1};
    has_quit = false;
    broker_start();
}

static void setup_with(const char *option, const char *value)
{
    extra[0] = option;
    extra[1] = value;
    setup_unpublished();
    publish(OFFSETS_TOPIC, PARTITIONS, 1);
}

static void setup(void)
{
    setup_with(NULL, NULL);
}

static void teardown(void)
{
    broker_stop();
    config_free(&config);
    ck_assert_int_eq(fsx_remove_tree(dir), ERR_OK);
}

/* ---- the controller's orders */

static void order_done(void *arg)
{
    atomic_store((_Atomic bool *)arg, true);
}

static void carry_out(struct replicas_order *o)
{
    _Atomic bool is_done = false;
    replicas_carry_out(broker.replicas, o, 1, order_done, &is_done);
    while (!atomic_load(&is_done))
        poll(NULL, 0, 1);
    ck_assert_int_eq(o->result, KE_NONE);
    settle();
}

/* Broker 1 is us; with two replicas the second never fetches. */
static void lead(int32_t partition, int32_t leader, int32_t epoch, int32_t replica_count)
{
    static const int32_t ids[] = {1, 2};
    struct replicas_order o = {
        .topic = STR_LIT(OFFSETS_TOPIC),
        .partition = partition,
        .topic_id = topic_id,
        .is_new = true,
        .state = {leader, epoch, epoch, ids, ids, replica_count, replica_count}};
    carry_out(&o);
}

struct seen {
    int32_t partition;
    enum shard_state state;
    bool is_there;
};
static void look(void *arg)
{
    struct seen *s = arg;
    struct seat *seat = seat_of_partition(broker.groups, s->partition);
    struct shard *shard = seat_find(seat, s->partition);
    s->is_there = shard != NULL;
    s->state = shard == NULL ? SHARD_LOADING : shard->state;
}

static bool is_active(int32_t partition)
{
    struct seen s = {.partition = partition};
    loop_call(seat_of_partition(broker.groups, partition)->loop, look, &s);
    return s.is_there && s.state == SHARD_ACTIVE;
}

static void await_active(int32_t partition)
{
    for (int i = 0; i < 5000 && !is_active(partition); i++)
        poll(NULL, 0, 1);
    ck_assert(is_active(partition));
}

/* Leads the only replica, loaded. */
static void coordinate(int32_t partition, int32_t epoch)
{
    lead(partition, 1, epoch, 1);
    await_active(partition);
}

static int64_t log_end(int32_t partition)
{
    struct partition *p = replicas_find(broker.replicas, STR_LIT(OFFSETS_TOPIC), partition);
    struct partition_info info;
    ck_assert_ptr_nonnull(p);
    partition_describe(p, &info);
    partition_unref(&p);
    return info.log_end_offset;
}

/* ---- clients */

struct question {
    struct request r;
    struct group_trip trip;
    struct group_call call;
    struct str group;
    struct group_commit_item item;
    _Atomic bool is_done;
    int16_t error; /* of the first check, the answer, or its only item */
    int32_t groups, loading;
    struct group_offset offset; /* ask */
    enum group_offset_state state;
    char member[64]; /* join */
};

static void finished(struct group_trip *t)
{
    struct question *q = CONTAINER_OF(t, struct question, trip);
    ck_assert(loop_is_current(q->r.loop));
    if (q->call.error != KE_NONE)
        q->error = q->call.error;
    q->is_done = true;
}

static void replied(struct group_call *c, const struct group_reply *reply)
{
    struct question *q = CONTAINER_OF(c, struct question, call);
    q->error = reply->error;
    if (reply->error == KE_NONE && reply->kind == GROUP_REPLY_COMMIT)
        q->error = reply->items.errors[0];
    if (reply->kind == GROUP_REPLY_JOIN)
        snprintf(q->member, sizeof q->member, "%.*s", STR_ARG(reply->join.member_id));
}

static void asked(struct group_call *c, const struct group_core *core)
{
    struct question *q = CONTAINER_OF(c, struct question, call);
    group_core_check(core);
    q->state = group_core_offset(core, q->group, STR_LIT("t"), 0, &q->offset);
}

static void visited(struct group_trip *t, const struct group_core *core)
{
    struct question *q = CONTAINER_OF(t, struct question, trip);
    struct group_numbers n;
    if (core == NULL) {
        q->loading++;
        return;
    }
    group_core_count(core, &n);
    q->groups += (int32_t)n.groups;
}

static void start_one(struct question *q)
{
    group_trip_init(&q->trip, &q->r, finished);
    if (q->group.len >= 0)
        group_trip_add(&q->trip, &q->call, q->group);
    else
        q->trip.visit = visited;
    group_trip_start(&q->trip);
}

struct several {
    struct question *q;
    int count;
};
static void start_several(void *arg)
{
    struct several *s = arg;
    for (int i = 0; i < s->count; i++)
        start_one(&s->q[i]);
}

static void init(struct question *q, const char *group)
{
    *q =
        (struct question){.r = {.magic = REQUEST_MAGIC, .broker = &broker, .loop = broker.loops[0]},
                          .group = str_of(group)};
    q->call.replied = replied;
}

static void send(struct question *q, int count)
{
    struct several s = {q, count};
    loop_call(broker.loops[0], start_several, &s);
}

static void await(struct question *q)
{
    for (int i = 0; i < 10000 && !q->is_done; i++)
        poll(NULL, 0, 1);
    ck_assert(q->is_done);
}

static void commit_of(struct question *q, const char *group, int64_t offset, struct str metadata)
{
    init(q, group);
    q->item = (struct group_commit_item){.topic = STR_LIT("t"),
                                         .value = {.offset = offset,
                                                   .leader_epoch = -1,
                                                   .metadata = metadata,
                                                   .commit_wall_ms = clock_wall_ms(),
                                                   .expire_wall_ms = -1}};
    q->call.event.kind = GEV_COMMIT;
    q->call.event.commit = (struct group_commit){.group = q->group,
                                                 .member_id = STR_LIT(""),
                                                 .instance_id = STR_NULL,
                                                 .generation = -1,
                                                 .items = &q->item,
                                                 .item_count = 1};
}

static int16_t commit(const char *group, int64_t offset)
{
    struct question q;
    commit_of(&q, group, offset, STR_LIT("m"));
    send(&q, 1);
    await(&q);
    return q.error;
}

/* The error as a negative number, or the offset (INT64_MIN: none). */
static int64_t committed(const char *group)
{
    struct question q;
    init(&q, group);
    q.call.replied = NULL;
    q.call.ask = asked;
    send(&q, 1);
    await(&q);
    return q.error != KE_NONE             ? -q.error
           : q.state == GROUP_OFFSET_NONE ? INT64_MIN
                                          : q.offset.offset;
}

static void join_of(struct question *q, const char *group)
{
    static const struct group_protocol protocol = {.name = STR_LIT("range"),
                                                   .metadata = {(const uint8_t *)"", 0}};
    init(q, group);
    q->call.event.kind = GEV_JOIN;
    q->call.event.join = (struct group_join){.group = q->group,
                                             .member_id = STR_LIT(""),
                                             .instance_id = STR_NULL,
                                             .client_id = STR_LIT("c"),
                                             .client_host = STR_LIT("/127.0.0.1"),
                                             .protocol_type = STR_LIT("consumer"),
                                             .protocols = &protocol,
                                             .protocol_count = 1,
                                             .session_ms = 10000,
                                             .rebalance_ms = 60000,
                                             .new_id_suffix = STR_LIT("uuid"),
                                             .reason = STR_NULL};
}

/* A group of that partition of PARTITIONS. */
static const char *group_in(int32_t partition)
{
    static char names[PARTITIONS][16];
    for (int i = 0;; i++) {
        snprintf(names[partition], sizeof names[partition], "g%d", i);
        if (coordinator_partition_of(str_of(names[partition]), PARTITIONS) == partition)
            return names[partition];
    }
}

/* ---- tests */

START_TEST(groups_are_hashed_as_java_does)
{
    static const struct {
        const char *group;
        int32_t partition;
    } known[] = {{"", 0},
                 {"g1", 42},
                 {"my-group", 12},
                 {"console-consumer-1", 24},
                 {"\xc3\xa9t\xc3\xa9", 42},
                 {"polygenelubricants", 0},
                 {"\xf0\x9f\x98\x80", (0xd83d * 31 + 0xde00) % 50},
                 {"\xff", 0xfffd % 50},
                 {"\xe2\x82", 0xfffd % 50}};
    for (size_t i = 0; i < ARRAY_LEN(known); i++)
        ck_assert_msg(coordinator_partition_of(str_of(known[i].group), 50) == known[i].partition,
                      "%s is in %d", known[i].group,
                      coordinator_partition_of(str_of(known[i].group), 50));
}
END_TEST

START_TEST(only_the_leader_coordinates)
{
    for (int32_t p = 0; p < PARTITIONS; p++) { /* on both loops */
        const char *g = group_in(p);
        ck_assert_int_eq(commit(g, 5), KE_NOT_COORDINATOR);
        coordinate(p, 0);
        ck_assert_int_eq(committed(g), INT64_MIN);
        ck_assert_int_eq(commit(g, 5), KE_NONE);
        ck_assert_int_eq(committed(g), 5);
        ck_assert_int_eq(log_end(p), 1);
        lead(p, 2, 1, 2);
        ck_assert_int_eq(commit(g, 6), KE_NOT_COORDINATOR);
        ck_assert_int_eq(committed(g), -KE_NOT_COORDINATOR);
    }
}
END_TEST

/* LeaderAndIsr comes before UpdateMetadata: until that, the number of partitions is not known, and
 * the one that is configured need not be it. */
START_TEST(a_group_has_no_partition_before_its_topic_is_known)
{
    const char *g = "g1"; /* of 50 partitions: in 42, of 4: in 2 */
    coordinate(42, 0);
    ck_assert_int_eq(commit(g, 5), KE_NOT_COORDINATOR);
    ck_assert_int_eq(committed(g), -KE_NOT_COORDINATOR);
    ck_assert_int_eq(log_end(42), 0);
    publish(OFFSETS_TOPIC, PARTITIONS, 1);
    coordinate(2, 0);
    ck_assert_int_eq(commit(g, 5), KE_NONE);
    ck_assert_int_eq(committed(g), 5);
}
END_TEST

START_TEST(what_was_committed_is_loaded_again)
{
    const char *g = group_in(1);
    coordinate(1, 0);
    for (int i = 0; i < 10; i++)
        ck_assert_int_eq(commit(g, i), KE_NONE);
    lead(1, 2, 1, 2);
    coordinate(1, 2);
    ck_assert_int_eq(committed(g), 9);
    ck_assert_int_eq(atomic_load(&broker.groups->loads), 2);
}
END_TEST

START_TEST(a_newer_epoch_of_the_same_leader_changes_nothing)
{
    const char *g = group_in(0);
    struct question q;
    coordinate(0, 0);
    ck_assert_int_eq(commit(g, 1), KE_NONE);
    join_of(&q, group_in(0)); /* it stays a member */
    send(&q, 1);
    await(&q);
    ck_assert_int_eq(q.error, KE_NONE);
    lead(0, 1, 1, 1);
    ck_assert_int_eq(atomic_load(&broker.groups->loads), 1);
    ck_assert_int_eq(committed(g), 1);
    init(&q, g);
    q.call.event.kind = GEV_HEARTBEAT;
    q.call.event.heartbeat = (struct group_heartbeat){
        .group = q.group, .member_id = STR_LIT("nobody"), .instance_id = STR_NULL};
    send(&q, 1);
    await(&q);
    ck_assert_int_eq(q.error, KE_UNKNOWN_MEMBER_ID);
}
END_TEST

START_TEST(commits_of_one_turn_are_one_batch)
{
    enum { N = 100 };
    static struct question q[N];
    static char names[N][16];
    coordinate(0, 0);
    int n = 0;
    for (int i = 0; n < N; i++) {
        snprintf(names[n], sizeof names[n], "many%d", i);
        if (coordinator_partition_of(str_of(names[n]), PARTITIONS) != 0)
            continue;
        commit_of(&q[n], names[n], n, STR_LIT(""));
        n++;
    }
    int64_t batches = atomic_load(&broker.groups->append_batches);
    send(q, N); /* loop 0 owns partition 0 and the requests */
    for (int i = 0; i < N; i++) {
        await(&q[i]);
        ck_assert_int_eq(q[i].error, KE_NONE);
    }
    ck_assert_int_eq(atomic_load(&broker.groups->append_batches) - batches, 1);
    ck_assert_int_eq(log_end(0), N);
    for (int i = 0; i < N; i++)
        ck_assert_int_eq(committed(names[i]), i);
}
END_TEST

START_TEST(what_is_too_large_fails_alone)
{
    struct question q[3];
    static char text[4001];
    const char *g = group_in(0);
    log_config.max_message_bytes = 2000;
    memset(text, 'x', sizeof text - 1);
    coordinate(0, 0);
    commit_of(&q[0], g, 1, STR_LIT("a"));
    commit_of(&q[1], g, 2, str_of(text));
    commit_of(&q[2], g, 3, STR_LIT("c"));
    send(q, 3);
    for (int i = 0; i < 3; i++)
        await(&q[i]);
    ck_assert_int_eq(q[0].error, KE_NONE);
    ck_assert_int_eq(q[1].error, KE_INVALID_COMMIT_OFFSET_SIZE);
    ck_assert_int_eq(q[2].error, KE_NONE);
    ck_assert_int_eq(log_end(0), 2);
    ck_assert_int_eq(committed(g), 3);
}
END_TEST

/* The follower never fetches. */
START_TEST(a_commit_that_is_not_replicated_is_not_acknowledged)
{
    const char *g = group_in(0);
    lead(0, 1, 0, 2);
    await_active(0);
    ck_assert_int_eq(commit(g, 5), KE_REQUEST_TIMED_OUT); /* offsets.commit.timeout.ms=200 */
    ck_assert_int_eq(log_end(0), 1);
    ck_assert_int_ne(committed(g), 5);
}
END_TEST

START_TEST(who_waits_is_answered_when_leadership_goes)
{
    struct question q, j;
    lead(0, 1, 0, 2);
    await_active(0);
    commit_of(&q, group_in(0), 5, STR_LIT(""));
    send(&q, 1);
    join_of(&j, group_in(0));
    send(&j, 1);
    settle();
    ck_assert(!q.is_done);
    lead(0, 2, 1, 2);
    await(&q);
    ck_assert_int_eq(q.error, KE_NOT_COORDINATOR);
    await(&j);
}
END_TEST

START_TEST(who_waits_is_answered_at_the_stop)
{
    struct question q[8];
    for (int32_t p = 0; p < PARTITIONS; p++) {
        lead(p, 1, 0, 2);
        await_active(p);
        commit_of(&q[2 * p], group_in(p), 5, STR_LIT(""));
        join_of(&q[2 * p + 1], group_in(p));
    }
    send(q, 8);
    settle();
    quit();
    for (int i = 0; i < 8; i++)
        ck_assert(q[i].is_done);
    ck_assert_int_eq(commit(group_in(0), 1), KE_COORDINATOR_NOT_AVAILABLE);
}
END_TEST

START_TEST(compressed_batches_are_loaded)
{
    enum { N = 50 };
    struct question q[N];
    const char *g = group_in(2);
    coordinate(2, 0);
    for (int i = 0; i < N; i++)
        commit_of(&q[i], g, i, STR_LIT("metadata"));
    send(q, N);
    for (int i = 0; i < N; i++)
        await(&q[i]);
    lead(2, 2, 1, 2);
    coordinate(2, 2);
    ck_assert_int_eq(committed(g), N - 1);
}
END_TEST

static void append_raw(int32_t partition, struct bytes key, struct bytes value)
{
    struct partition *p = replicas_find(broker.replicas, STR_LIT(OFFSETS_TOPIC), partition);
    struct log_append_result res;
    struct batch_options o;
    struct batch_builder b;
    struct buf out = {0};
    batch_options_init(&o);
    batch_builder_init(&b, &o);
    batch_builder_add(&b, 1, key, value, NULL, 0);
    ck_assert_int_eq(batch_builder_finish(&b, &out), ERR_OK);
    struct partition_append a = {.records = out.p,
                                 .len = out.len,
                                 .acks = -1,
                                 .produce_version = 9,
                                 .origin = LOG_FROM_COORDINATOR,
                                 .now_ms = 1};
    ck_assert_int_eq(partition_append(p, &a, &res), KE_NONE);
    batch_builder_fini(&b);
    buf_fini(&out);
    partition_unref(&p);
}

START_TEST(records_that_cannot_be_used_are_skipped)
{
    static const uint8_t junk[] = {0, 1, 0, 2, 'g'}, newer[] = {0, 9, 0, 0}, bad_value[] = {0, 77};
    static const uint8_t key[] = {0, 1, 0, 2, 'g', '1', 0, 1, 't', 0, 0, 0, 0};
    const char *g = group_in(0);
    coordinate(0, 0);
    ck_assert_int_eq(commit(g, 1), KE_NONE);
    append_raw(0, (struct bytes){junk, sizeof junk}, (struct bytes){junk, sizeof junk});
    append_raw(0, (struct bytes){newer, sizeof newer}, (struct bytes){junk, sizeof junk});
    append_raw(0, (struct bytes){key, sizeof key}, (struct bytes){bad_value, sizeof bad_value});
    append_raw(0, (struct bytes){junk, 1}, BYTES_NULL);
    ck_assert_int_eq(commit(g, 2), KE_NONE);
    lead(0, 2, 1, 2);
    coordinate(0, 2);
    ck_assert_int_eq(committed(g), 2);
}
END_TEST

static void flip(int32_t partition, long at)
{
    char path[512];
    snprintf(path, sizeof path, "%s/" OFFSETS_TOPIC "-%d/00000000000000000000.log", dir,
             (int)partition);
    FILE *f = fopen(path, "r+b");
    ck_assert_ptr_nonnull(f);
    ck_assert_int_eq(fseek(f, at, SEEK_SET), 0);
    int c = fgetc(f);
    ck_assert_int_eq(fseek(f, at, SEEK_SET), 0);
    ck_assert_int_ne(fputc(c ^ 0x40, f), EOF);
    ck_assert_int_eq(fclose(f), 0);
}

/* Half of the offsets would be wrong answers: the groups wait until the log can be read. */
START_TEST(a_load_that_fails_is_tried_again)
{
    const char *g = group_in(0);
    coordinate(0, 0);
    ck_assert_int_eq(commit(g, 1), KE_NONE);
    ck_assert_int_eq(commit(g, 2), KE_NONE);
    lead(0, 2, 1, 2);
    flip(0, 70); /* in the first batch's records */
    lead(0, 1, 2, 1);
    for (int i = 0; i < 5000 && atomic_load(&broker.groups->loads_failed) == 0; i++)
        poll(NULL, 0, 1);
    ck_assert_int_gt(atomic_load(&broker.groups->loads_failed), 0);
    ck_assert_int_eq(committed(g), -KE_COORDINATOR_LOAD_IN_PROGRESS);
    ck_assert_int_eq(commit(g, 3), KE_COORDINATOR_LOAD_IN_PROGRESS);
    struct question q;
    init(&q, NULL);
    send(&q, 1);
    await(&q);
    ck_assert_int_eq(q.loading, 1);
    flip(0, 70);
    await_active(0); /* after a second */
    ck_assert_int_eq(committed(g), 2);
}
END_TEST

START_TEST(leadership_that_goes_while_loading_ends_the_load)
{
    const char *g = group_in(0);
    coordinate(0, 0);
    ck_assert_int_eq(commit(g, 1), KE_NONE);
    lead(0, 2, 1, 2);
    flip(0, 70); /* so that it does not end well before */
    for (int32_t epoch = 2; epoch < 20; epoch += 2) {
        lead(0, 1, epoch, 1);
        lead(0, 2, epoch + 1, 2);
        ck_assert_int_eq(committed(g), -KE_NOT_COORDINATOR);
    }
    flip(0, 70);
    coordinate(0, 20);
    ck_assert_int_eq(committed(g), 1);
}
END_TEST

/* Keeps a loop from its mail until it is opened, and then asks before the mail is looked at. */
struct gate {
    struct mail mail;
    struct question *q;
    _Atomic bool is_reached, is_open;
};
static void wait_and_ask(struct mail *m)
{
    struct gate *g = CONTAINER_OF(m, struct gate, mail);
    atomic_store(&g->is_reached, true);
    while (!atomic_load(&g->is_open))
        poll(NULL, 0, 1);
    start_one(g->q);
}

START_TEST(a_leadership_that_has_gone_and_come_back_unheard_writes_nothing)
{
    static const int32_t ids[] = {1, 2};
    const char *g = group_in(0);
    static struct gate gate;
    static struct question q;
    coordinate(0, 0);
    ck_assert_int_eq(commit(g, 1), KE_NONE);
    commit_of(&q, g, 2, STR_LIT(""));
    gate = (struct gate){.mail = {.deliver = wait_and_ask}, .q = &q};
    loop_post(broker.loops[0], &gate.mail);
    while (!atomic_load(&gate.is_reached))
        poll(NULL, 0, 1);
    for (int32_t epoch = 1; epoch <= 2; epoch++) { /* 2 leads, and may have written; then we */
        struct replicas_order o = {
            .topic = STR_LIT(OFFSETS_TOPIC),
            .topic_id = topic_id,
            .state = {epoch == 1 ? 2 : 1, epoch, epoch, ids, ids, 3 - epoch, 3 - epoch}};
        _Atomic bool is_done = false;
        replicas_carry_out(broker.replicas, &o, 1, order_done, &is_done);
        while (!atomic_load(&is_done))
            poll(NULL, 0, 1);
        ck_assert_int_eq(o.result, KE_NONE);
    }
    atomic_store(&gate.is_open, true);
    await(&q);
    ck_assert_int_eq(q.error, KE_NOT_COORDINATOR);
    await_active(0);
    ck_assert_int_eq(log_end(0), 1);
    ck_assert_int_eq(committed(g), 1);
}
END_TEST

START_TEST(a_trip_visits_every_shard)
{
    struct question q;
    for (int32_t p = 0; p < PARTITIONS; p++) {
        coordinate(p, 0);
        ck_assert_int_eq(commit(group_in(p), 1), KE_NONE);
    }
    init(&q, NULL);
    send(&q, 1);
    await(&q);
    ck_assert_int_eq(q.groups, PARTITIONS);
    ck_assert_int_eq(q.loading, 0);
    struct buf text = {0};
    coordinator_print_metrics(broker.groups, &text);
    ck_assert_ptr_nonnull(strstr(buf_cstr(&text), "kafuka_groups{state=\"Empty\"} 4"));
    ck_assert_ptr_nonnull(strstr(buf_cstr(&text), "kafuka_group_offsets 4"));
    buf_fini(&text);
}
END_TEST

START_TEST(offsets_of_a_deleted_topic_go)
{
    const char *g = group_in(3);
    publish("t", 2, 1);
    coordinate(3, 0);
    ck_assert_int_eq(commit(g, 1), KE_NONE);
    publish("u", 1, 1);
    ck_assert_int_eq(committed(g), 1);
    publish("t", 2, METADATA_LEADER_DELETED);
    for (int i = 0; i < 5000 && committed(g) != INT64_MIN; i++)
        poll(NULL, 0, 1);
    ck_assert_int_eq(committed(g), INT64_MIN);
    lead(3, 2, 1, 2);
    coordinate(3, 2);
    ck_assert_int_eq(committed(g), INT64_MIN);
}
END_TEST

START_TEST(a_group_has_one_partition_for_as_long_as_its_topic_lives)
{
    const char *g = group_in(3);
    coordinate(3, 0);
    ck_assert_int_eq(commit(g, 1), KE_NONE);
    publish(OFFSETS_TOPIC, PARTITIONS * 2, 1);
    ck_assert_int_eq(committed(g), 1);
}
END_TEST

START_TEST(the_history_is_json_and_names_the_coordinator)
{
    struct question q;
    struct buf out = {0};
    coordinate(0, 0);
    ck_assert(!coordinator_history_json(broker.groups, str_of(group_in(1)), &out));
    ck_assert_ptr_nonnull(strstr(buf_cstr(&out), "\"coordinator\":1"));
    out.len = 0;
    ck_assert(!coordinator_history_json(broker.groups, str_of(group_in(0)), &out));
    join_of(&q, group_in(0));
    send(&q, 1);
    await(&q);
    ck_assert_int_eq(q.error, KE_NONE);
    out.len = 0;
    ck_assert(coordinator_history_json(broker.groups, str_of(group_in(0)), &out));
    ck_assert_ptr_nonnull(strstr(buf_cstr(&out), "\"rebalances\":[{\"time_ms\":"));
    buf_fini(&out);
}
END_TEST

static void setup_short_timeout(void)
{
    setup_with("offsets.commit.timeout.ms", "200");
}

static void setup_gzip(void)
{
    setup_with("offsets.topic.compression.codec", "1");
}

int main(void)
{
    const TTest *const tests[] = {
        groups_are_hashed_as_java_does,
        only_the_leader_coordinates,
        what_was_committed_is_loaded_again,
        a_newer_epoch_of_the_same_leader_changes_nothing,
        commits_of_one_turn_are_one_batch,
        what_is_too_large_fails_alone,
        who_waits_is_answered_when_leadership_goes,
        who_waits_is_answered_at_the_stop,
        records_that_cannot_be_used_are_skipped,
        a_load_that_fails_is_tried_again,
        leadership_that_goes_while_loading_ends_the_load,
        a_leadership_that_has_gone_and_come_back_unheard_writes_nothing,
        a_trip_visits_every_shard,
        offsets_of_a_deleted_topic_go,
        a_group_has_one_partition_for_as_long_as_its_topic_lives,
        the_history_is_json_and_names_the_coordinator,
    };
    Suite *s = suite_create("coordinator");
    TCase *t = tcase_create("shards");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, 60);
    for (size_t i = 0; i < ARRAY_LEN(tests); i++)
        tcase_add_test(t, tests[i]);
    suite_add_tcase(s, t);
    t = tcase_create("start");
    tcase_add_checked_fixture(t, setup_unpublished, teardown);
    tcase_add_test(t, a_group_has_no_partition_before_its_topic_is_known);
    suite_add_tcase(s, t);
    t = tcase_create("timeout");
    tcase_add_checked_fixture(t, setup_short_timeout, teardown);
    tcase_add_test(t, a_commit_that_is_not_replicated_is_not_acknowledged);
    suite_add_tcase(s, t);
    t = tcase_create("gzip");
    tcase_add_checked_fixture(t, setup_gzip, teardown);
    tcase_add_test(t, compressed_batches_are_loaded);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? 0 : 1;
}
