/* SPDX-License-Identifier: Apache-2.0 */
/* Partitions with real logs, loops and a pool: orders of the controller, appends, waits, watches,
 * and two brokers in one process whose logs must become the same bytes. The network between them,
 * and the controller, are the test. */
#include "broker/replica/partition_internal.h"
#include "broker/replica/replicas_internal.h"
#include "common/base/clock.h"
#include "common/base/fsx.h"
#include "common/base/slog.h"
#include "common/protocol/messages.h"
#include "common/record/builder.h"
#include "controller/controller.h"

#include <check.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <sys/wait.h>

enum { BROKERS = 2, T0 = 1700000 };
#define TOPIC STR_LIT("t")

/* ---- the controller: keeps the last request until the test answers it */

static struct {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    int32_t id; /* who is controller */
    int requests;
    int32_t isr[8];
    int32_t isr_count, leader_epoch, partition_epoch;
    struct uuid topic_id;
    int32_t index;
    struct mailbox *to;
    void (*done)(void *arg, const void *response);
    void *arg;
} ctl = {.mutex = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER, .id = -1};

int32_t controller_id(const struct controller *c)
{
    return ctl.id;
}

void controller_request(struct controller *c, int16_t api_key, int16_t api_version, const void *req,
                        struct mailbox *to, void (*done)(void *arg, const void *response),
                        void *arg)
{
    const struct kp_AlterPartitionRequest *q = req;
    const struct kp_AlterPartitionRequest_PartitionData *d = &q->topics[0].partitions[0];

    ck_assert_int_eq(api_key, 56);
    ck_assert_int_eq(api_version, 3);
    ck_assert_int_eq(q->topics_count, 1);
    ck_assert_int_eq(q->topics[0].partitions_count, 1);
    pthread_mutex_lock(&ctl.mutex);
    ctl.requests++;
    ctl.isr_count = d->new_isr_with_epochs_count;
    for (int32_t i = 0; i < ctl.isr_count; i++)
        ctl.isr[i] = d->new_isr_with_epochs[i].broker_id;
    ctl.leader_epoch = d->leader_epoch;
    ctl.partition_epoch = d->partition_epoch;
    ctl.topic_id = q->topics[0].topic_id;
    ctl.index = d->partition_index;
    ctl.to = to;
    ctl.done = done;
    ctl.arg = arg;
    pthread_cond_broadcast(&ctl.changed);
    pthread_mutex_unlock(&ctl.mutex);
}

static void await_request(int n)
{
    pthread_mutex_lock(&ctl.mutex);
    while (ctl.requests < n)
        pthread_cond_wait(&ctl.changed, &ctl.mutex);
    pthread_mutex_unlock(&ctl.mutex);
}

struct answer {
    struct mail mail;
    int16_t error, top_error;
};
static void answer_delivered(struct mail *m)
{
    struct answer *a = CONTAINER_OF(m, struct answer, mail);
    struct kp_AlterPartitionResponse resp;
    struct kp_AlterPartitionResponse_TopicData topic;
    struct kp_AlterPartitionResponse_PartitionData part;

    kp_defaults(&kp_AlterPartitionResponse_schema, &resp);
    kp_defaults(&kp_AlterPartitionResponse_TopicData_schema, &topic);
    kp_defaults(&kp_AlterPartitionResponse_PartitionData_schema, &part);
    resp.error_code = a->top_error;
    resp.topics = &topic;
    resp.topics_count = 1;
    topic.topic_id = ctl.topic_id;
    topic.partitions = &part;
    topic.partitions_count = 1;
    part.partition_index = ctl.index;
    part.error_code = a->error;
    part.leader_epoch = ctl.leader_epoch;
    part.partition_epoch = ctl.partition_epoch + 1;
    part.isr = ctl.isr;
    part.isr_count = ctl.isr_count;
    ctl.done(ctl.arg, &resp);
    free(a);
}
static void answer(int16_t top_error, int16_t error)
{
    struct answer *a = calloc(1, sizeof *a);
    a->mail.deliver = answer_delivered;
    a->error = error;
    a->top_error = top_error;
    mailbox_post(ctl.to, &a->mail);
}

/* ---- brokers */

static struct broker_here {
    char dir[256];
    char *dirs[1];
    struct loop *loops[2];
    struct pool *pool;
    struct log_manager *logs;
    struct replicas *replicas;
} brokers[BROKERS];
static struct log_config config;
static struct uuid topic_id;

static char roles[256]; /* guarded by ctl.mutex: "+0 -0 +2": leads in epoch 0, not any more, ... */

static void role_changed(void *arg, struct str topic, int32_t partition, bool is_leader,
                         int32_t leader_epoch)
{
    pthread_mutex_lock(&ctl.mutex);
    if (partition == 0 && strlen(roles) < 200)
        snprintf(roles + strlen(roles), 16, "%c%d ", is_leader ? '+' : '-', (int)leader_epoch);
    pthread_cond_broadcast(&ctl.changed);
    pthread_mutex_unlock(&ctl.mutex);
}

static void topic_config(void *arg, struct str topic, struct log_config *out)
{
    *out = config;
}

static void new_log_config(void *arg, struct str topic, struct uuid topic_id,
                           struct log_config *out)
{
    *out = config;
}

static void dir_failed(void *arg, const char *dir)
{
    struct broker_here *b = arg;
    replicas_dir_failed(b->replicas, dir);
}

static int64_t lag_time_max_ms; /* of the brokers to start */

static void broker_start(int i)
{
    struct broker_here *b = &brokers[i];
    struct errtext why = {""};
    struct log_manager_options lo = {.dirs = b->dirs,
                                     .dir_count = 1,
                                     .recovery_threads_per_dir = 1,
                                     .flush_scheduler_interval_ms = INT64_MAX,
                                     .retention_check_interval_ms = 300000,
                                     .checkpoint_interval_ms = 60000,
                                     .defaults = config,
                                     .topic_config = topic_config,
                                     .dir_failed = dir_failed,
                                     .arg = b};
    struct replicas_options o = {.broker_id = i + 1,
                                 .loops = b->loops,
                                 .loop_count = 2,
                                 .listener_name = "PLAINTEXT",
                                 .limits = {.lag_time_max_ms = lag_time_max_ms},
                                 .hw_checkpoint_interval_ms = 5000,
                                 .fetchers_per_leader = 1,
                                 .fetch_partition_max_bytes = 1 << 20,
                                 .fetch_response_max_bytes = 10 << 20,
                                 .fetch_min_bytes = 1,
                                 .fetch_wait_max_ms = 500,
                                 .fetch_backoff_ms = 1000,
                                 .socket_timeout_ms = 30000,
                                 .topic_config = new_log_config,
                                 .controller = (struct controller *)(void *)b};
    b->dirs[0] = b->dir;
    ck_assert_int_eq(loop_start("loop-0", &b->loops[0]), ERR_OK);
    ck_assert_int_eq(loop_start("loop-1", &b->loops[1]), ERR_OK);
    ck_assert_int_eq(pool_start("io", 3, 100, &b->pool), ERR_OK);
    ck_assert_msg(log_manager_open(&lo, &b->logs, &why) == ERR_OK, "%s", why.text);
    ck_assert_msg(log_manager_load(b->logs, &why) == ERR_OK, "%s", why.text);
    o.pool = b->pool;
    o.logs = b->logs;
    o.role_changed = i == 0 ? role_changed : NULL;
    b->replicas = replicas_new(&o);
    log_manager_start(b->logs, replicas_log_lock, replicas_log_unlock);
    replicas_start(b->replicas);
    for (int32_t id = 1; id <= BROKERS; id++)
        repl_live_set(&b->replicas->live, id, true);
}

static void broker_stop(int i)
{
    struct broker_here *b = &brokers[i];

    if (b->replicas == NULL)
        return;
    replicas_stop(b->replicas);
    pool_stop(&b->pool);
    loop_stop(&b->loops[0]);
    loop_stop(&b->loops[1]);
    (void)!log_manager_close(&b->logs, 1);
    replicas_free(&b->replicas);
}

static void setup(void)
{
    ctl.id = -1;
    ctl.requests = 0;
    roles[0] = 0;
    lag_time_max_ms = 30000;
    log_config_defaults(&config);
    config.min_insync_replicas = 1;
    topic_id = uuid_random();
    for (int i = 0; i < BROKERS; i++) {
        snprintf(brokers[i].dir, sizeof brokers[i].dir, "/tmp/kafuka-test-replica-XXXXXX");
        ck_assert_ptr_nonnull(mkdtemp(brokers[i].dir));
        broker_start(i);
    }
}

static void teardown(void)
{
    for (int i = 0; i < BROKERS; i++) {
        broker_stop(i);
        ck_assert_int_eq(fsx_remove_tree(brokers[i].dir), ERR_OK);
    }
    unsetenv("KAFUKA_FAULT");
    fault_init();
}

/* ---- orders */

static void order_done(void *arg)
{
    pthread_mutex_lock(&ctl.mutex);
    *(bool *)arg = true;
    pthread_cond_broadcast(&ctl.changed);
    pthread_mutex_unlock(&ctl.mutex);
}

static void carry_out(int broker, struct replicas_order *orders, int32_t count)
{
    bool is_done = false;

    replicas_carry_out(brokers[broker].replicas, orders, count, order_done, &is_done);
    pthread_mutex_lock(&ctl.mutex);
    while (!is_done)
        pthread_cond_wait(&ctl.changed, &ctl.mutex);
    pthread_mutex_unlock(&ctl.mutex);
}

static const int32_t both[] = {1, 2};

static int16_t lead_with(int broker, int32_t index, int32_t leader, int32_t epoch,
                         const int32_t *isr, int32_t isr_count)
{
    struct replicas_order o = {.topic = TOPIC,
                               .partition = index,
                               .topic_id = topic_id,
                               .is_new = true,
                               .state = {leader, epoch, epoch, isr, both, isr_count, 2}};
    carry_out(broker, &o, 1);
    return o.result;
}

static void lead(int broker, int32_t leader, int32_t epoch)
{
    ck_assert_int_eq(lead_with(broker, 0, leader, epoch, both, 2), KE_NONE);
}

static int16_t stop(int broker, int32_t epoch, bool is_delete)
{
    struct replicas_order o = {.topic = TOPIC,
                               .partition = 0,
                               .is_stop = true,
                               .is_delete = is_delete,
                               .stop_leader_epoch = epoch};
    carry_out(broker, &o, 1);
    return o.result;
}

static struct partition *find(int broker)
{
    struct partition *p = replicas_find(brokers[broker].replicas, TOPIC, 0);
    ck_assert_ptr_nonnull(p);
    return p;
}

static struct partition_info info_of(int broker)
{
    struct partition *p = find(broker);
    struct partition_info info;
    partition_describe(p, &info);
    partition_unref(&p);
    return info;
}

/* ---- clients */

static int16_t produce_to(struct partition *p, int count, int16_t acks,
                          struct log_append_result *res)
{
    struct batch_options o;
    struct batch_builder b;
    struct buf out = {0};
    struct partition_append a = {
        .acks = acks, .produce_version = 9, .origin = LOG_FROM_CLIENT, .now_ms = T0};
    static _Atomic int32_t serial;
    char value[32];
    int16_t rc;

    batch_options_init(&o);
    batch_builder_init(&b, &o);
    for (int i = 0; i < count; i++) {
        int n = snprintf(value, sizeof value, "value-%d", (int)atomic_fetch_add(&serial, 1));
        batch_builder_add(&b, T0 + i, BYTES_NULL, (struct bytes){(uint8_t *)value, n}, NULL, 0);
    }
    ck_assert_int_eq(batch_builder_finish(&b, &out), ERR_OK);
    batch_builder_fini(&b);
    a.records = out.p;
    a.len = out.len;
    rc = partition_append(p, &a, res);
    buf_fini(&out);
    return rc;
}

static int16_t produce(int broker, int count, int16_t acks)
{
    struct partition *p = find(broker);
    struct log_append_result res;
    int16_t rc = produce_to(p, count, acks, &res);
    partition_unref(&p);
    return rc;
}

static int64_t follower_start; /* what the next read tells */

static struct partition_read_result read_as(int broker, int32_t replica_id, int64_t offset,
                                            int32_t leader_epoch, int32_t last_epoch)
{
    struct partition *p = find(broker);
    struct partition_read in = {.replica_id = replica_id,
                                .fetch_offset = offset,
                                .follower_start_offset = follower_start,
                                .current_leader_epoch = leader_epoch,
                                .last_fetched_epoch = last_epoch,
                                .max_bytes = 1 << 20,
                                .at_least_one = true,
                                .leader_required = true,
                                .update_follower = true,
                                .topic_id = topic_id,
                                .now_ms = clock_mono_ms()};
    struct partition_read_result res;
    partition_read(p, &in, &res);
    partition_unref(&p);
    return res;
}

static struct buf bytes_of(struct log_range *r)
{
    struct buf b = {0};
    size_t got = 0;
    if (r->length > 0) {
        int fd = log_range_fd(r);
        ck_assert_int_ge(fd, 0);
        buf_reserve(&b, (size_t)r->length);
        ck_assert_int_eq(fsx_pread(fd, b.p, (size_t)r->length, r->position, &got), ERR_OK);
        b.len = got;
    }
    log_range_release(r);
    return b;
}

/* One fetch of the follower (the other broker), as its fetcher would do it; true: something new. */
static bool fetch_once(int follower, int leader)
{
    struct partition *p = find(follower);
    int32_t epoch = info_of(follower).leader_epoch;
    struct partition_position pos;
    bool is_new = false;

    if (partition_position(p, epoch, &pos)) {
        follower_start = pos.start_offset;
        struct partition_read_result res =
            read_as(leader, follower + 1, pos.offset, epoch, pos.last_epoch);
        if (res.error == KE_OFFSET_OUT_OF_RANGE) {
            bool asks_start;
            struct partition_info l = info_of(leader);
            is_new = true;
            if (partition_leader_offset(p, epoch, false, l.log_end_offset, &asks_start) &&
                asks_start)
                (void)partition_leader_offset(p, epoch, true, l.log_start_offset, &asks_start);
        } else if (res.error == KE_NONE && res.diverging_end_offset >= 0) {
            is_new = true;
            ck_assert(partition_diverged(p, epoch, res.diverging_epoch, res.diverging_end_offset));
        } else if (res.error == KE_NONE) {
            struct buf b = bytes_of(&res.range);
            struct partition_fetched f = {.leader_epoch = epoch,
                                          .fetch_offset = pos.offset,
                                          .records = b.p,
                                          .len = b.len,
                                          .leader_hw = res.high_watermark,
                                          .leader_start = res.log_start_offset};
            struct partition_position next;
            is_new = b.len > 0;
            switch (partition_append_fetched(p, &f, &next)) {
            case FETCHED_OK:
                break;
            case FETCHED_STALE: /* a LeaderAndIsr came in between */
                is_new = true;
                break;
            default:
                ck_abort_msg("the records cannot be appended");
            }
            buf_fini(&b);
        }
        log_range_release(&res.range);
    } else {
        is_new = true; /* being truncated */
        usleep(1000);
    }
    partition_unref(&p);
    return is_new;
}

static void catch_up(int follower, int leader)
{
    while (fetch_once(follower, leader))
        ;
    (void)fetch_once(follower, leader); /* HW */
    (void)fetch_once(follower, leader);
}

static void assert_same_bytes(void)
{
    struct buf b[BROKERS] = {{0}};
    char path[1024];
    for (int i = 0; i < BROKERS; i++) {
        snprintf(path, sizeof path, "%s/t-0/00000000000000000000.log", brokers[i].dir);
        ck_assert_int_eq(fsx_read_file(path, 1 << 24, &b[i]), ERR_OK);
    }
    ck_assert_uint_gt(b[0].len, 0);
    ck_assert_uint_eq(b[0].len, b[1].len);
    ck_assert_int_eq(memcmp(b[0].p, b[1].p, b[0].len), 0);
    buf_fini(&b[0]);
    buf_fini(&b[1]);
}

/* ---- waits */

struct waiting {
    struct partition_wait wait;
    bool is_woken; /* guarded by ctl.mutex */
};
static void woken(struct partition_wait *w)
{
    struct waiting *x = CONTAINER_OF(w, struct waiting, wait);
    ck_assert(loop_is_current(w->loop));
    pthread_mutex_lock(&ctl.mutex);
    x->is_woken = true;
    pthread_cond_broadcast(&ctl.changed);
    pthread_mutex_unlock(&ctl.mutex);
}

static bool wait_start(int broker, struct waiting *x, const struct log_append_result *res,
                       int16_t acks)
{
    struct partition *p = find(broker);
    bool waits;
    *x = (struct waiting){.wait = {.required_offset = res->last_offset + 1,
                                   .leader_epoch = res->leader_epoch,
                                   .acks = acks,
                                   .loop = brokers[broker].loops[1],
                                   .woken = woken}};
    waits = partition_wait_start(p, &x->wait);
    partition_unref(&p);
    return waits;
}

static void await_woken(struct waiting *x)
{
    pthread_mutex_lock(&ctl.mutex);
    while (!x->is_woken)
        pthread_cond_wait(&ctl.changed, &ctl.mutex);
    pthread_mutex_unlock(&ctl.mutex);
}

/* ---- tests */

START_TEST(a_panic_names_the_partition_whose_lock_is_held)
{
    int pair[2];
    char text[1 << 14];
    size_t len = 0;
    ssize_t n;

    lead(0, 1, 0);
    struct partition *p = replicas_find(brokers[0].replicas, TOPIC, 0);
    ck_assert_ptr_nonnull(p);
    ck_assert_int_eq(pipe(pair), 0);
    pid_t child = fork();
    if (child == 0) {
        (void)dup2(pair[1], STDERR_FILENO);
        (void)close(pair[0]);
        (void)close(pair[1]);
        check_add_dumper(partition_dump, NULL);
        lock_take(&p->lock);
        UNREACHABLE();
    }
    (void)close(pair[1]);
    while (len < sizeof text - 1 && (n = read(pair[0], text + len, sizeof text - 1 - len)) > 0)
        len += (size_t)n;
    text[len] = 0;
    (void)close(pair[0]);
    ck_assert_int_eq(waitpid(child, NULL, 0), child);
    ck_assert_msg(strstr(text, "partition: t-0 role=") != NULL, "%s", text);
    partition_unref(&p);
}
END_TEST

START_TEST(unknown_partitions_are_not_found)
{
    ck_assert_ptr_null(replicas_find(brokers[0].replicas, STR_LIT("nope"), 0));
    ck_assert_ptr_null(replicas_find(brokers[0].replicas, STR_NULL, 0));
    lead(0, 1, 0);
    ck_assert_ptr_null(replicas_find(brokers[0].replicas, TOPIC, 1));
}
END_TEST

START_TEST(leader_takes_records_and_a_follower_gets_the_same_bytes)
{
    struct partition_info info;

    lead(0, 1, 0);
    lead(1, 1, 0);
    ck_assert_int_eq(produce(1, 1, 1), KE_NOT_LEADER_OR_FOLLOWER);
    for (int i = 0; i < 10; i++)
        ck_assert_int_eq(produce(0, 5, 1), KE_NONE);
    info = info_of(0);
    ck_assert(info.is_leader);
    ck_assert_int_eq(info.log_end_offset, 50);
    ck_assert_int_eq(info.high_watermark, 0);
    catch_up(1, 0);
    info = info_of(0);
    ck_assert_int_eq(info.high_watermark, 50);
    info = info_of(1);
    ck_assert_int_eq(info.log_end_offset, 50);
    ck_assert_int_eq(info.high_watermark, 50);
    assert_same_bytes();
}
END_TEST

START_TEST(a_new_leader_is_preferred_to_what_was_not_replicated)
{
    lead(0, 1, 0);
    lead(1, 1, 0);
    ck_assert_int_eq(produce(0, 5, 1), KE_NONE);
    catch_up(1, 0);
    ck_assert_int_eq(produce(0, 7, 1), KE_NONE); /* only here */
    lead(1, 2, 1);
    ck_assert_int_eq(produce(1, 3, 1), KE_NONE);
    lead(0, 2, 1);
    catch_up(0, 1);
    ck_assert_int_eq(info_of(0).log_end_offset, 8);
    ck_assert_int_eq(info_of(1).high_watermark, 8);
    assert_same_bytes();
}
END_TEST

START_TEST(a_follower_beyond_a_short_leader_is_cut)
{
    lead(0, 1, 0);
    lead(1, 1, 0);
    ck_assert_int_eq(produce(0, 5, 1), KE_NONE);
    catch_up(1, 0);
    for (int i = 0; i < 4; i++)
        ck_assert_int_eq(produce(0, 7, 1), KE_NONE);
    lead(1, 2, 1);
    lead(0, 2, 1);
    catch_up(0, 1);
    ck_assert_int_eq(info_of(0).log_end_offset, 5);
    assert_same_bytes();
}
END_TEST

START_TEST(acks_all_waits_for_the_follower)
{
    struct partition *p;
    struct log_append_result res;
    struct waiting x, y;

    lead(0, 1, 0);
    lead(1, 1, 0);
    p = find(0);
    ck_assert_int_eq(produce_to(p, 5, -1, &res), KE_NONE);
    ck_assert(wait_start(0, &x, &res, -1));
    ck_assert_int_eq(produce_to(p, 5, -1, &res), KE_NONE);
    ck_assert(wait_start(0, &y, &res, 2));
    partition_unref(&p);
    catch_up(1, 0);
    await_woken(&x);
    await_woken(&y);
    ck_assert_int_eq(x.wait.result, KE_NONE);
    ck_assert_int_eq(y.wait.result, KE_NONE);
    ck_assert(!wait_start(0, &x, &res, -1));
    ck_assert_int_eq(x.wait.result, KE_NONE);
}
END_TEST

START_TEST(a_wait_can_be_taken_back)
{
    struct partition *p;
    struct log_append_result res;
    struct waiting x;

    lead(0, 1, 0);
    p = find(0);
    ck_assert_int_eq(produce_to(p, 5, -1, &res), KE_NONE);
    ck_assert(wait_start(0, &x, &res, -1));
    ck_assert(partition_wait_cancel(&x.wait));
    ck_assert_ptr_null(x.wait.partition);
    partition_unref(&p);
}
END_TEST

START_TEST(a_wait_ends_with_an_error_when_leadership_goes)
{
    struct partition *p;
    struct log_append_result res;
    struct waiting x;

    lead(0, 1, 0);
    lead(1, 1, 0);
    p = find(0);
    ck_assert_int_eq(produce_to(p, 5, -1, &res), KE_NONE);
    ck_assert(wait_start(0, &x, &res, -1));
    lead(0, 2, 1);
    await_woken(&x);
    ck_assert_int_eq(x.wait.result, KE_NOT_LEADER_OR_FOLLOWER);
    /* and back: other records may be there now */
    lead(0, 1, 2);
    ck_assert(!wait_start(0, &x, &res, -1));
    ck_assert_int_eq(x.wait.result, KE_NOT_LEADER_OR_FOLLOWER);
    partition_unref(&p);
}
END_TEST

START_TEST(too_few_in_sync_refuses_acks_all_only)
{
    static const int32_t one[] = {1};

    config.min_insync_replicas = 2;
    ck_assert_int_eq(lead_with(0, 0, 1, 0, one, 1), KE_NONE);
    ck_assert_int_eq(produce(0, 5, -1), KE_NOT_ENOUGH_REPLICAS);
    ck_assert_int_eq(info_of(0).log_end_offset, 0);
    ck_assert_int_eq(produce(0, 5, 1), KE_NONE);
    ck_assert_int_eq(info_of(0).high_watermark, 0);
    config.min_insync_replicas = 1;
    replicas_topic_config_changed(brokers[0].replicas, TOPIC, &config);
    ck_assert_int_eq(info_of(0).high_watermark, 5);
    ck_assert_int_eq(produce(0, 5, -1), KE_NONE);
}
END_TEST

static int ready_calls;
static void on_ready(void *arg)
{
    pthread_mutex_lock(&ctl.mutex);
    ready_calls++;
    pthread_cond_broadcast(&ctl.changed);
    pthread_mutex_unlock(&ctl.mutex);
}
static void await_ready(int n)
{
    pthread_mutex_lock(&ctl.mutex);
    while (ready_calls < n)
        pthread_cond_wait(&ctl.changed, &ctl.mutex);
    pthread_mutex_unlock(&ctl.mutex);
}

/* The end of a fetch context happens on its loop. */
struct context {
    struct watch_list *list;
    struct partition_watch *watches[2];
};
static void context_end(void *arg)
{
    struct context *c = arg;
    for (int i = 0; i < 2 && c->watches[i] != NULL; i++)
        partition_watch_remove(c->watches[i]);
    ck_assert(watch_list_is_empty(c->list));
    watch_list_free(&c->list);
}

START_TEST(watches_hear_of_what_they_wait_for_once)
{
    struct watch_list *leo = watch_list_new(brokers[0].loops[0], on_ready, NULL);
    struct watch_list *hw = watch_list_new(brokers[0].loops[1], on_ready, NULL);
    struct partition_watch follower = {.list = leo, .kind = WATCH_LEO};
    struct partition_watch consumer = {.list = hw, .kind = WATCH_HW};
    struct partition *p;

    ready_calls = 0;
    lead(0, 1, 0);
    lead(1, 1, 0);
    p = find(0);
    partition_watch_add(p, &follower);
    partition_watch_add(p, &consumer);
    ck_assert_ptr_null(watch_list_take(leo));
    ck_assert_int_eq(produce(0, 5, 1), KE_NONE);
    await_ready(1);
    ck_assert_int_eq(produce(0, 5, 1), KE_NONE); /* ready already: no second mail */
    ck_assert_ptr_eq(watch_list_take(leo), &follower);
    ck_assert_ptr_null(watch_list_take(leo));
    ck_assert_ptr_null(watch_list_take(hw));
    catch_up(1, 0);
    await_ready(2);
    ck_assert_ptr_eq(watch_list_take(hw), &consumer);
    ck_assert_int_eq(produce(0, 5, 1), KE_NONE);
    await_ready(3);
    lead(0, 2, 1); /* a change of leader concerns both */
    await_ready(4);
    loop_call(leo->loop, context_end, &(struct context){leo, {&follower}});
    loop_call(hw->loop, context_end, &(struct context){hw, {&consumer}});
    partition_unref(&p);
}
END_TEST

START_TEST(reads_see_only_what_they_may)
{
    struct partition_read_result res;

    lead(0, 1, 3);
    lead(1, 1, 3);
    ck_assert_int_eq(produce(0, 5, 1), KE_NONE);
    catch_up(1, 0);
    ck_assert_int_eq(produce(0, 5, 1), KE_NONE);
    res = read_as(0, REPLICA_CONSUMER, 5, -1, -1);
    ck_assert_int_eq(res.error, KE_NONE);
    ck_assert_int_eq(res.range.length, 0);
    ck_assert_int_eq(res.high_watermark, 5);
    res = read_as(0, REPLICA_CONSUMER, 11, -1, -1);
    ck_assert_int_eq(res.error, KE_OFFSET_OUT_OF_RANGE);
    res = read_as(0, REPLICA_DEBUG, 5, -1, -1);
    ck_assert_int_gt(res.range.length, 0);
    log_range_release(&res.range);
    res = read_as(0, 2, 5, 2, 3);
    ck_assert_int_eq(res.error, KE_FENCED_LEADER_EPOCH);
    ck_assert_int_eq(res.leader_epoch, 3);
    res = read_as(0, 2, 5, 4, 3);
    ck_assert_int_eq(res.error, KE_UNKNOWN_LEADER_EPOCH);
    res = read_as(0, 9, 5, 3, 3);
    ck_assert_int_eq(res.error, KE_UNKNOWN_LEADER_EPOCH);
    res = read_as(1, 1, 5, 3, 3);
    ck_assert_int_eq(res.error, KE_NOT_LEADER_OR_FOLLOWER);
    ck_assert_int_eq(res.leader_id, 1);
    topic_id = uuid_random();
    res = read_as(0, REPLICA_CONSUMER, 0, -1, -1);
    ck_assert_int_eq(res.error, KE_INCONSISTENT_TOPIC_ID);
}
END_TEST

/* What a coordinator does when it loads. */
START_TEST(a_leader_reads_its_whole_log_committed_or_not)
{
    struct log_append_result res;
    struct buf b = {0};
    int64_t offset = 0, next, low, count = 0;
    int reads = 0;

    lead(0, 1, 0); /* the follower never fetches: HW stays 0 */
    struct partition *p = find(0);
    for (int i = 0; i < 20; i++)
        ck_assert_int_eq(produce_to(p, 3, 1, &res), KE_NONE);
    for (;; offset = next) {
        ck_assert_int_eq(partition_read_log(p, 0, offset, 400, &b, &next), KE_NONE);
        if (b.len == 0)
            break;
        reads++;
        ck_assert_int_gt(next, offset);
        ck_assert_int_eq(batch_base_offset(b.p), offset);
        size_t total = 0;
        for (size_t at = 0; at < b.len; at += total) {
            ck_assert_int_eq(batch_peek(b.p + at, b.len - at, &total), BATCH_WHOLE);
            count += batch_count(b.p + at);
        }
    }
    ck_assert_int_eq(count, 60);
    ck_assert_int_eq(next, 60);
    ck_assert_int_gt(reads, 3);
    /* one byte is enough to ask for the batch around an offset */
    ck_assert_int_eq(partition_read_log(p, -1, 4, 1, &b, &next), KE_NONE);
    ck_assert_int_eq(batch_base_offset(b.p), 3);
    ck_assert_int_eq(next, 6);
    ck_assert_int_eq(partition_read_log(p, 0, 61, 1, &b, &next), KE_OFFSET_OUT_OF_RANGE);
    /* deleted records are skipped */
    ck_assert_int_eq(lead_with(0, 0, 1, 1, both, 1), KE_NONE);
    ck_assert_int_eq(partition_delete_records(p, 30, &low), KE_NONE);
    ck_assert_int_eq(partition_read_log(p, 1, 4, 1, &b, &next), KE_NONE);
    ck_assert_int_eq(batch_base_offset(b.p), 30);
    /* leadership goes */
    ck_assert_int_eq(partition_read_log(p, 0, 30, 1, &b, &next), KE_FENCED_LEADER_EPOCH);
    lead(0, 2, 2);
    ck_assert_int_eq(partition_read_log(p, 2, 30, 1, &b, &next), KE_NOT_LEADER_OR_FOLLOWER);
    ck_assert_uint_eq(b.len, 0);
    partition_unref(&p);
    buf_fini(&b);
}
END_TEST

START_TEST(a_leader_with_an_unconfirmed_end_does_not_tell_it)
{
    struct log_time_offset at;
    struct partition *p;

    lead(0, 1, 0);
    lead(1, 1, 0);
    ck_assert_int_eq(produce(0, 5, 1), KE_NONE);
    (void)fetch_once(1, 0); /* has the records, but not the HW */
    lead(1, 2, 1);
    p = find(1);
    ck_assert_int_eq(info_of(1).high_watermark, 0);
    ck_assert_int_eq(partition_list_offset(p, -1, false, REPLICA_CONSUMER, -1, true, &at),
                     KE_OFFSET_NOT_AVAILABLE);
    ck_assert_int_eq(partition_list_offset(p, -1, false, REPLICA_DEBUG, -1, true, &at), KE_NONE);
    ck_assert_int_eq(at.offset, 5);
    ck_assert_int_eq(partition_list_offset(p, -2, false, REPLICA_CONSUMER, -1, true, &at), KE_NONE);
    ck_assert_int_eq(at.offset, 0);
    ck_assert_int_eq(partition_list_offset(p, T0 + 2, false, REPLICA_CONSUMER, -1, true, &at),
                     KE_OFFSET_NOT_AVAILABLE);
    lead(0, 2, 1);
    catch_up(0, 1);
    ck_assert_int_eq(partition_list_offset(p, -1, false, REPLICA_CONSUMER, 0, true, &at),
                     KE_FENCED_LEADER_EPOCH);
    ck_assert_int_eq(partition_list_offset(p, -1, false, REPLICA_CONSUMER, 1, true, &at), KE_NONE);
    ck_assert_int_eq(at.offset, 5);
    ck_assert_int_eq(partition_list_offset(p, T0 + 2, false, REPLICA_CONSUMER, -1, true, &at),
                     KE_NONE);
    ck_assert_int_eq(at.offset, 2);
    partition_unref(&p);
}
END_TEST

START_TEST(old_clients_list_a_log_by_its_segments)
{
    struct partition *p;
    int64_t *o, now_ms = clock_wall_ms() + 10000;
    int32_t n;

    lead(0, 1, 0);
    lead(1, 1, 0);
    for (int i = 0; i < 10; i++)
        ck_assert_int_eq(produce(0, 5, 1), KE_NONE);
    (void)fetch_once(1, 0);
    p = find(0);
    int64_t hw = info_of(0).high_watermark;
    ck_assert_int_lt(hw, 50);
    /* consumers see what is committed, a debugger all */
    ck_assert_int_eq(partition_list_marks(p, -1, 10, REPLICA_CONSUMER, now_ms, &o, &n), KE_NONE);
    ck_assert_int_eq(n, 2);
    ck_assert_int_eq(o[0], hw);
    ck_assert_int_eq(o[1], 0);
    mem_free(o);
    ck_assert_int_eq(partition_list_marks(p, -1, 1, REPLICA_DEBUG, now_ms, &o, &n), KE_NONE);
    ck_assert_int_eq(n, 1);
    ck_assert_int_eq(o[0], 50);
    mem_free(o);
    /* from the oldest; by time; none asked for, none so old, no such time */
    static const struct {
        int64_t timestamp;
        int32_t max, count;
    } asked[] = {{-2, 10, 1}, {INT64_MAX, 10, 2}, {-1, 0, 0}, {-1, -7, 0}, {1, 10, 0}, {-3, 10, 0}};
    for (size_t i = 0; i < ARRAY_LEN(asked); i++) {
        ck_assert_int_eq(partition_list_marks(p, asked[i].timestamp, asked[i].max, REPLICA_CONSUMER,
                                              now_ms, &o, &n),
                         KE_NONE);
        ck_assert_int_eq(n, asked[i].count);
        ck_assert(n == 0 || o[n - 1] == 0);
        mem_free(o);
    }
    /* by a time between the file's and now's: the segment, not the end */
    ck_assert_int_eq(partition_list_marks(p, now_ms - 1, 9, REPLICA_CONSUMER, now_ms, &o, &n),
                     KE_NONE);
    ck_assert_int_eq(n, 1);
    ck_assert_int_eq(o[0], 0);
    mem_free(o);
    partition_unref(&p);
    p = find(1);
    ck_assert_int_eq(partition_list_marks(p, -1, 10, REPLICA_CONSUMER, now_ms, &o, &n),
                     KE_NOT_LEADER_OR_FOLLOWER);
    ck_assert_int_eq(n, 0);
    mem_free(o);
    ck_assert_int_eq(partition_list_marks(p, -1, 10, REPLICA_DEBUG, now_ms, &o, &n), KE_NONE);
    mem_free(o);
    partition_unref(&p);
}
END_TEST

START_TEST(epoch_ends_tell_where_a_leader_began)
{
    struct partition *p;
    int32_t epoch;
    int64_t end;

    lead(0, 1, 0);
    ck_assert_int_eq(produce(0, 5, 1), KE_NONE);
    lead(0, 1, 2);
    ck_assert_int_eq(produce(0, 5, 1), KE_NONE);
    p = find(0);
    ck_assert_int_eq(partition_epoch_end(p, 2, 0, &epoch, &end), KE_NONE);
    ck_assert_int_eq(epoch, 0);
    ck_assert_int_eq(end, 5);
    ck_assert_int_eq(partition_epoch_end(p, 2, 2, &epoch, &end), KE_NONE);
    ck_assert_int_eq(end, 10);
    ck_assert_int_eq(partition_epoch_end(p, 1, 2, &epoch, &end), KE_FENCED_LEADER_EPOCH);
    ck_assert_int_eq(end, -1);
    partition_unref(&p);
}
END_TEST

START_TEST(deleted_records_go_on_the_follower_too)
{
    struct partition *p;
    int64_t low;

    lead(0, 1, 0);
    lead(1, 1, 0);
    for (int i = 0; i < 4; i++)
        ck_assert_int_eq(produce(0, 5, 1), KE_NONE);
    catch_up(1, 0);
    p = find(0);
    ck_assert_int_eq(partition_delete_records(p, 21, &low), KE_OFFSET_OUT_OF_RANGE);
    ck_assert_int_eq(partition_delete_records(p, 7, &low), KE_NONE);
    ck_assert_int_eq(low, 0); /* the follower has not said so yet */
    catch_up(1, 0);
    while (info_of(1).log_start_offset != 7)
        usleep(1000);
    catch_up(1, 0);
    ck_assert_int_eq(partition_delete_records(p, 7, &low), KE_NONE);
    ck_assert_int_eq(low, 7);
    partition_unref(&p);
}
END_TEST

START_TEST(a_follower_that_joins_late_asks_for_the_isr)
{
    static const int32_t one[] = {1};

    ctl.id = 1; /* broker 1 is its own controller */
    ck_assert_int_eq(lead_with(0, 0, 1, 0, one, 1), KE_NONE);
    lead(1, 1, 0);
    ck_assert_int_eq(produce(0, 5, 1), KE_NONE);
    catch_up(1, 0);
    await_request(1);
    ck_assert_int_eq(ctl.isr_count, 2);
    ck_assert_int_eq(ctl.isr[1], 2);
    ck_assert(uuid_eq(ctl.topic_id, topic_id));
    answer(KE_NOT_CONTROLLER, KE_NONE);
    await_request(2);
    answer(KE_NONE, KE_UNKNOWN_SERVER_ERROR);
    await_request(3);
    ck_assert_int_eq(info_of(0).isr_count, 1);
    answer(KE_NONE, KE_NONE);
    while (info_of(0).isr_count != 2)
        usleep(1000);
    ck_assert_int_eq(info_of(0).partition_epoch, 1);
}
END_TEST

START_TEST(an_idle_follower_is_looked_at_again_when_it_may_join_or_the_start_has_moved)
{
    static const int32_t one[] = {1};
    struct watch_list *leo = watch_list_new(brokers[0].loops[0], on_ready, NULL);
    struct partition_watch follower = {.list = leo, .kind = WATCH_LEO};
    struct partition *p;
    int64_t low;

    ctl.id = 1;
    ck_assert_int_eq(lead_with(0, 0, 1, 0, one, 1), KE_NONE);
    lead(1, 1, 0);
    ck_assert_int_eq(produce(0, 5, 1), KE_NONE);
    repl_live_set(&brokers[0].replicas->live, 2, false);
    catch_up(1, 0); /* its broker is not known to be alive yet */
    p = find(0);
    partition_watch_add(p, &follower);
    replicas_tick_all(brokers[0].replicas);
    ck_assert_ptr_eq(watch_list_take(leo), &follower);
    repl_live_set(&brokers[0].replicas->live, 2, true);
    (void)fetch_once(1, 0);
    await_request(1);
    ck_assert(watch_list_is_empty(leo));
    answer(KE_NONE, KE_INELIGIBLE_REPLICA);
    while (watch_list_is_empty(leo))
        usleep(1000);
    ck_assert_ptr_eq(watch_list_take(leo), &follower);
    (void)fetch_once(1, 0);
    await_request(2);
    answer(KE_NONE, KE_NONE);
    while (info_of(0).isr_count != 2)
        usleep(1000);
    ck_assert(watch_list_is_empty(leo)); /* all are in */
    ck_assert_int_eq(partition_delete_records(p, 3, &low), KE_NONE);
    ck_assert_ptr_eq(watch_list_take(leo), &follower);
    loop_call(leo->loop, context_end, &(struct context){leo, {&follower}});
    partition_unref(&p);
}
END_TEST

START_TEST(a_follower_that_stays_away_is_dropped_and_hw_goes_on)
{
    ctl.id = 1;
    lead(0, 1, 0);
    ck_assert_int_eq(produce(0, 5, 1), KE_NONE);
    ck_assert_int_eq(info_of(0).high_watermark, 0);
    brokers[0].replicas->test_now_ms = clock_mono_ms() + 40000;
    replicas_tick_all(brokers[0].replicas);
    await_request(1);
    ck_assert_int_eq(ctl.isr_count, 1);
    answer(KE_NONE, KE_NONE);
    while (info_of(0).high_watermark != 5)
        usleep(1000);
    ck_assert_int_eq(info_of(0).isr_count, 1);
}
END_TEST

START_TEST(the_lag_timer_finds_a_follower_that_does_not_fetch)
{
    broker_stop(0);
    lag_time_max_ms = 200;
    broker_start(0);
    ctl.id = 1;
    lead(0, 1, 0);
    ck_assert_int_eq(produce(0, 5, 1), KE_NONE);
    await_request(1);
    ck_assert_int_eq(ctl.isr_count, 1);
    answer(KE_NONE, KE_NONE);
    while (info_of(0).high_watermark != 5)
        usleep(1000);
    ck_assert_int_eq(info_of(0).isr_count, 1);
}
END_TEST

START_TEST(orders_are_judged_by_their_epochs)
{
    static const int32_t others[] = {3, 4};
    struct replicas_order o = {
        .topic = TOPIC, .partition = 5, .state = {3, 1, 1, others, others, 2, 2}, .is_new = true};

    lead(0, 1, 5);
    ck_assert_int_eq(lead_with(0, 0, 2, 5, both, 2), KE_STALE_CONTROLLER_EPOCH);
    ck_assert_int_eq(lead_with(0, 0, 2, 4, both, 2), KE_STALE_CONTROLLER_EPOCH);
    carry_out(0, &o, 1);
    ck_assert_int_eq(o.result, KE_UNKNOWN_TOPIC_OR_PARTITION);
    ck_assert_ptr_null(replicas_find(brokers[0].replicas, TOPIC, 5));
    ck_assert_int_eq(stop(0, 4, true), KE_FENCED_LEADER_EPOCH);
    topic_id = uuid_random();
    ck_assert_int_eq(lead_with(0, 0, 1, 6, both, 2), KE_INCONSISTENT_TOPIC_ID);
    ck_assert_int_eq(replicas_admit_controller(brokers[0].replicas, 7, -1), KE_NONE);
    ck_assert_int_eq(replicas_admit_controller(brokers[0].replicas, 6, -1),
                     KE_STALE_CONTROLLER_EPOCH);
    ck_assert_int_eq(replicas_admit_controller(brokers[0].replicas, 7, -1), KE_NONE);
}
END_TEST

START_TEST(many_partitions_in_one_order_some_of_them_twice)
{
    enum { N = 300 };
    struct replicas_order o[N + 2];

    for (int i = 0; i < N + 2; i++)
        o[i] = (struct replicas_order){.topic = TOPIC,
                                       .partition = i % N,
                                       .topic_id = topic_id,
                                       .is_new = true,
                                       .state = {1, 0, 0, both, both, 2, 2}};
    carry_out(0, o, N + 2);
    for (int i = 2; i < N; i++)
        ck_assert_int_eq(o[i].result, KE_NONE);
    ck_assert_int_eq(o[0].result + o[N].result, KE_STALE_CONTROLLER_EPOCH);
    struct replicas_numbers n;
    replicas_count(brokers[0].replicas, &n);
    ck_assert_int_eq(n.partitions, N);
    ck_assert_int_eq(n.leaders, N);
    ck_assert_int_eq(n.under_replicated, 0);
}
END_TEST

START_TEST(a_stopped_replica_comes_back_and_a_deleted_one_is_made_anew)
{
    struct partition *old;

    lead(0, 1, 0);
    ck_assert_int_eq(produce(0, 5, 1), KE_NONE);
    ck_assert_int_eq(stop(0, 0, false), KE_NONE);
    ck_assert_int_eq(produce(0, 5, 1), KE_NOT_LEADER_OR_FOLLOWER);
    lead(0, 1, 1);
    ck_assert_int_eq(info_of(0).log_end_offset, 5);
    old = find(0);
    ck_assert_int_eq(stop(0, -2, true), KE_NONE);
    ck_assert_ptr_null(replicas_find(brokers[0].replicas, TOPIC, 0));
    struct log_append_result res;
    ck_assert_int_eq(produce_to(old, 5, 1, &res), KE_NOT_LEADER_OR_FOLLOWER);
    partition_unref(&old);
    topic_id = uuid_random();
    lead(0, 1, 0);
    ck_assert_int_eq(info_of(0).log_end_offset, 0);
}
END_TEST

START_TEST(coordinators_hear_who_leads)
{
    lead(0, 1, 0);
    lead(0, 1, 1);
    lead(0, 2, 2);
    lead(0, 2, 3); /* no news: it does not lead */
    lead(0, 1, 4);
    ck_assert_int_eq(stop(0, 4, false), KE_NONE);
    lead(0, 1, 5);
    ck_assert_int_eq(stop(0, 5, true), KE_NONE);
    ck_assert_str_eq(roles, "+0 +1 -2 +4 -4 +5 -5 ");
}
END_TEST

START_TEST(a_broker_that_comes_back_knows_its_logs_and_high_watermarks)
{
    lead(0, 1, 0);
    lead(1, 1, 0);
    ck_assert_int_eq(produce(0, 5, 1), KE_NONE);
    catch_up(1, 0);
    broker_stop(0);
    broker_start(0);
    ck_assert_int_eq(info_of(0).log_end_offset, 5);
    ck_assert_int_eq(info_of(0).high_watermark, 5);
    ck_assert_int_eq(produce(0, 5, 1), KE_NOT_LEADER_OR_FOLLOWER);
    lead(0, 1, 1);
    ck_assert_int_eq(produce(0, 5, 1), KE_NONE);
}
END_TEST

START_TEST(a_failed_write_is_never_acknowledged)
{
    struct partition *p;
    struct log_append_result res;
    struct waiting x;
    struct replicas_order o = {
        .topic = TOPIC, .partition = 0, .topic_id = topic_id, .state = {1, 9, 9, both, both, 2, 2}};

    lead(0, 1, 0);
    lead(1, 1, 0);
    p = find(0);
    ck_assert_int_eq(produce_to(p, 5, -1, &res), KE_NONE);
    ck_assert(wait_start(0, &x, &res, -1));
    setenv("KAFUKA_FAULT", "log.append.write=eio", 1);
    fault_init();
    ck_assert_int_eq(produce_to(p, 5, -1, &res), KE_KAFKA_STORAGE_ERROR);
    unsetenv("KAFUKA_FAULT");
    fault_init();
    await_woken(&x);
    ck_assert_int_eq(x.wait.result, KE_KAFKA_STORAGE_ERROR);
    ck_assert_int_eq(produce_to(p, 5, -1, &res), KE_KAFKA_STORAGE_ERROR);
    ck_assert_int_eq(read_as(0, REPLICA_CONSUMER, 0, -1, -1).error, KE_KAFKA_STORAGE_ERROR);
    ck_assert(info_of(0).is_offline);
    pthread_mutex_lock(&ctl.mutex);
    while (strcmp(roles, "+0 -0 ") != 0)
        pthread_cond_wait(&ctl.changed, &ctl.mutex);
    pthread_mutex_unlock(&ctl.mutex);
    carry_out(0, &o, 1);
    ck_assert_int_eq(o.result, KE_KAFKA_STORAGE_ERROR);
    partition_unref(&p);
}
END_TEST

/* ---- many threads at once: for the thread sanitizer */

struct cancel {
    struct partition_wait *wait;
    bool was_waiting;
};
static void cancel_on_loop(void *arg)
{
    struct cancel *c = arg;
    /* woken may have run before us: then there is nothing to take back */
    c->was_waiting = c->wait->partition != NULL && partition_wait_cancel(c->wait);
}
static bool cancel(struct partition_wait *w)
{
    struct cancel c = {.wait = w};
    loop_call(w->loop, cancel_on_loop, &c);
    return c.was_waiting;
}

enum { PRODUCERS = 3, EACH = 200 };
static void *producer_thread(void *arg)
{
    for (int i = 0; i < EACH; i++) {
        struct partition *p = find(0);
        struct log_append_result res;
        struct waiting x;
        int16_t rc = produce_to(p, 1 + i % 3, -1, &res);
        if (rc == KE_NONE) {
            if (wait_start(0, &x, &res, -1) && (i % 7 != 0 || !cancel(&x.wait)))
                await_woken(&x);
        } else {
            ck_assert_int_eq(rc, KE_NOT_LEADER_OR_FOLLOWER);
        }
        partition_unref(&p);
    }
    return NULL;
}

static _Atomic bool is_over;
static void *follower_thread(void *arg)
{
    while (!atomic_load(&is_over))
        (void)fetch_once(1, 0);
    return NULL;
}

static void *restless_thread(void *arg)
{
    for (int i = 0; i < 50; i++) {
        struct watch_list *l = watch_list_new(brokers[0].loops[i % 2], on_ready, NULL);
        struct partition_watch w[2] = {{.list = l, .kind = WATCH_LEO},
                                       {.list = l, .kind = WATCH_HW}};
        struct partition *p = find(0);
        partition_watch_add(p, &w[0]);
        partition_watch_add(p, &w[1]);
        replicas_tick_all(brokers[0].replicas);
        replicas_topic_config_changed(brokers[0].replicas, TOPIC, &config);
        usleep(500);
        (void)watch_list_take(l);
        loop_call(l->loop, context_end, &(struct context){l, {&w[0], &w[1]}});
        partition_unref(&p);
    }
    return NULL;
}

START_TEST(many_threads_at_one_partition)
{
    pthread_t t[PRODUCERS + 2];

    atomic_store(&is_over, false);
    lead(0, 1, 0);
    lead(1, 1, 0);
    for (int i = 0; i < PRODUCERS; i++)
        pthread_create(&t[i], NULL, producer_thread, NULL);
    pthread_create(&t[PRODUCERS], NULL, follower_thread, NULL);
    pthread_create(&t[PRODUCERS + 1], NULL, restless_thread, NULL);
    for (int32_t epoch = 1; epoch < 6; epoch++) { /* the same leader in new epochs */
        usleep(3000);
        lead(0, 1, epoch);
        lead(1, 1, epoch);
    }
    for (int i = 0; i < PRODUCERS; i++)
        pthread_join(t[i], NULL);
    atomic_store(&is_over, true);
    pthread_join(t[PRODUCERS], NULL);
    pthread_join(t[PRODUCERS + 1], NULL);
    catch_up(1, 0);
    ck_assert_int_gt(info_of(0).log_end_offset, EACH);
    ck_assert_int_eq(info_of(0).log_end_offset, info_of(1).high_watermark);
    assert_same_bytes();
}
END_TEST

int main(void)
{
    Suite *s = suite_create("replica_partition");
    int quiet = open("/dev/null", O_WRONLY | O_CLOEXEC);
    TCase *t = tcase_create("partition");
    SRunner *sr;
    int failed;

    if (getenv("VERBOSE") == NULL)
        slog_set_fd(quiet);
    tcase_set_timeout(t, 60);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, a_panic_names_the_partition_whose_lock_is_held);
    tcase_add_test(t, unknown_partitions_are_not_found);
    tcase_add_test(t, leader_takes_records_and_a_follower_gets_the_same_bytes);
    tcase_add_test(t, a_new_leader_is_preferred_to_what_was_not_replicated);
    tcase_add_test(t, a_follower_beyond_a_short_leader_is_cut);
    tcase_add_test(t, acks_all_waits_for_the_follower);
    tcase_add_test(t, a_wait_can_be_taken_back);
    tcase_add_test(t, a_wait_ends_with_an_error_when_leadership_goes);
    tcase_add_test(t, too_few_in_sync_refuses_acks_all_only);
    tcase_add_test(t, watches_hear_of_what_they_wait_for_once);
    tcase_add_test(t, reads_see_only_what_they_may);
    tcase_add_test(t, a_leader_reads_its_whole_log_committed_or_not);
    tcase_add_test(t, a_leader_with_an_unconfirmed_end_does_not_tell_it);
    tcase_add_test(t, old_clients_list_a_log_by_its_segments);
    tcase_add_test(t, epoch_ends_tell_where_a_leader_began);
    tcase_add_test(t, deleted_records_go_on_the_follower_too);
    tcase_add_test(t, a_follower_that_joins_late_asks_for_the_isr);
    tcase_add_test(t, an_idle_follower_is_looked_at_again_when_it_may_join_or_the_start_has_moved);
    tcase_add_test(t, a_follower_that_stays_away_is_dropped_and_hw_goes_on);
    tcase_add_test(t, the_lag_timer_finds_a_follower_that_does_not_fetch);
    tcase_add_test(t, orders_are_judged_by_their_epochs);
    tcase_add_test(t, many_partitions_in_one_order_some_of_them_twice);
    tcase_add_test(t, a_stopped_replica_comes_back_and_a_deleted_one_is_made_anew);
    tcase_add_test(t, coordinators_hear_who_leads);
    tcase_add_test(t, a_broker_that_comes_back_knows_its_logs_and_high_watermarks);
    tcase_add_test(t, a_failed_write_is_never_acknowledged);
    tcase_add_test(t, many_threads_at_one_partition);
    suite_add_tcase(s, t);
    sr = srunner_create(s);
    srunner_run_all(sr, CK_ENV);
    failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed != 0;
}
