/* SPDX-License-Identifier: Apache-2.0 */
/* A follower's fetcher against a leader that is a plain socket and says what the test wants:
 * records, divergence, errors, damage, silence. The follower (broker 2) has a real log. */
#include "broker/replica/replicas_internal.h"
#include "common/base/clock.h"
#include "common/base/fsx.h"
#include "common/base/slog.h"
#include "common/protocol/messages.h"
#include "common/record/builder.h"
#include "controller/controller.h"

#include <arpa/inet.h>
#include <check.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum { WAIT_S = 20 };
#define TOPIC STR_LIT("t")

int32_t controller_id(const struct controller *c)
{
    return -1;
}
void controller_request(struct controller *c, int16_t api_key, int16_t api_version, const void *req,
                        struct mailbox *to, void (*done)(void *arg, const void *response),
                        void *arg)
{
    ck_abort_msg("no ISR change is expected of a follower");
}

/* ---- the follower */

static char dir[256];
static char *dirs[1] = {dir};
static struct loop *loops[1];
static struct pool *pool;
static struct log_manager *logs;
static struct replicas *replicas;
static struct log_config config;
static struct uuid topic_id;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;

static void config_for_load(void *arg, struct str topic, struct log_config *out)
{
    *out = config;
}
static void config_for_new(void *arg, struct str topic, struct uuid id, struct log_config *out)
{
    *out = config;
}

/* ---- the leader */

static int listener, conn;
static int32_t port;

static void leader_listen(void)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof a;

    listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(bind(listener, (struct sockaddr *)&a, sizeof a), 0);
    ck_assert_int_eq(listen(listener, 5), 0);
    ck_assert_int_eq(getsockname(listener, (struct sockaddr *)&a, &len), 0);
    port = ntohs(a.sin_port);
    conn = -1;
}

static bool is_readable(int fd, int ms)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    return poll(&p, 1, ms) == 1;
}

static void leader_accept(void)
{
    ck_assert(is_readable(listener, WAIT_S * 1000));
    if (conn >= 0)
        close(conn);
    conn = accept(listener, NULL, NULL);
    ck_assert_int_ge(conn, 0);
}

static void read_all(void *p, size_t n)
{
    char *c = p;
    while (n > 0) {
        ssize_t k;
        ck_assert(is_readable(conn, WAIT_S * 1000));
        k = recv(conn, c, n, 0);
        ck_assert_int_gt(k, 0);
        c += k;
        n -= (size_t)k;
    }
}

/* The request that was read last. */
static struct {
    struct buf frame;
    struct kp_request_header header;
    struct arena arena;
    struct kp_FetchRequest fetch;
    struct kp_ListOffsetsRequest list_offsets;
} got;

static void read_request(void)
{
    uint8_t size[4];
    struct bytes body;
    struct errtext why = {""};
    enum err rc;

    read_all(size, 4);
    got.frame.len = 0;
    buf_reserve(&got.frame, be32_load(size));
    got.frame.len = be32_load(size);
    read_all(got.frame.p, got.frame.len);
    ck_assert_int_eq(kp_request_header_decode((struct bytes){got.frame.p, (int64_t)got.frame.len},
                                              &got.header, &body, &why),
                     ERR_OK);
    arena_reset(&got.arena);
    if (got.header.api_key == KP_API_FETCH) {
        rc = kp_decode(&kp_FetchRequest_schema, got.header.api_version, body, &got.arena,
                       &got.fetch, &why);
    } else {
        ck_assert_int_eq(got.header.api_key, KP_API_LIST_OFFSETS);
        rc = kp_decode(&kp_ListOffsetsRequest_schema, got.header.api_version, body, &got.arena,
                       &got.list_offsets, &why);
    }
    ck_assert_msg(rc == ERR_OK, "%s", why.text);
}

/* The next Fetch; its partitions of topic t, by index; -1: not named. */
static int64_t offsets[4];
static int32_t epochs[4], last_epochs[4];
static int32_t named;
static void read_fetch(void)
{
    read_request();
    ck_assert_int_eq(got.header.api_key, KP_API_FETCH);
    named = 0;
    for (int i = 0; i < 4; i++)
        offsets[i] = -1;
    for (int32_t i = 0; i < got.fetch.topics_count; i++) {
        const struct kp_FetchRequest_FetchTopic *t = &got.fetch.topics[i];
        ck_assert(uuid_eq(t->topic_id, topic_id));
        for (int32_t j = 0; j < t->partitions_count; j++) {
            int32_t index = t->partitions[j].partition;
            ck_assert_int_lt(index, 4);
            offsets[index] = t->partitions[j].fetch_offset;
            epochs[index] = t->partitions[j].current_leader_epoch;
            last_epochs[index] = t->partitions[j].last_fetched_epoch;
            named++;
        }
    }
}

static void send_frame(const struct buf *body)
{
    uint8_t size[4];
    be32_store(size, (uint32_t)body->len);
    ck_assert_int_eq(send(conn, size, 4, MSG_NOSIGNAL), 4);
    ck_assert_int_eq(send(conn, body->p, body->len, MSG_NOSIGNAL), (ssize_t)body->len);
}

static void answer_with(const struct kp_schema *schema, const void *msg, struct kp_request_header h)
{
    struct buf out = {0};
    struct errtext why = {""};
    kp_response_header_encode(h.api_key, h.api_version, h.correlation_id, &out);
    ck_assert_msg(kp_encode(schema, h.api_version, msg, &out, &why) == ERR_OK, "%s", why.text);
    send_frame(&out);
    buf_fini(&out);
}

struct part { /* of an answer */
    int32_t index;
    int16_t error;
    int64_t hw;
    int32_t diverging_epoch;
    int64_t diverging_end; /* 0: none */
    const struct buf *records;
};

static void answer_fetch_to(struct kp_request_header h, int16_t error, int32_t session_id,
                            const struct part *parts, int count)
{
    struct kp_FetchResponse resp;
    struct kp_FetchResponse_FetchableTopicResponse topic;
    struct kp_FetchResponse_PartitionData data[4];

    kp_defaults(&kp_FetchResponse_schema, &resp);
    kp_defaults(&kp_FetchResponse_FetchableTopicResponse_schema, &topic);
    resp.error_code = error;
    resp.session_id = session_id;
    resp.responses = &topic;
    resp.responses_count = count > 0;
    topic.topic_id = topic_id;
    topic.partitions = data;
    topic.partitions_count = count;
    for (int i = 0; i < count; i++) {
        kp_defaults(&kp_FetchResponse_PartitionData_schema, &data[i]);
        data[i].partition_index = parts[i].index;
        data[i].error_code = parts[i].error;
        data[i].high_watermark = parts[i].hw;
        data[i].log_start_offset = 0;
        if (parts[i].diverging_end != 0) {
            data[i].diverging_epoch.epoch = parts[i].diverging_epoch;
            data[i].diverging_epoch.end_offset = parts[i].diverging_end;
        }
        data[i].records = parts[i].records == NULL
                              ? (struct bytes){(const uint8_t *)"", 0}
                              : (struct bytes){parts[i].records->p, (int64_t)parts[i].records->len};
    }
    answer_with(&kp_FetchResponse_schema, &resp, h);
}

static void answer_fetch(int16_t error, int32_t session_id, const struct part *parts, int count)
{
    answer_fetch_to(got.header, error, session_id, parts, count);
}

static void answer_list_offsets(int16_t error, int64_t offset)
{
    struct kp_ListOffsetsResponse resp;
    struct kp_ListOffsetsResponse_ListOffsetsTopicResponse topic;
    struct kp_ListOffsetsResponse_ListOffsetsPartitionResponse part;

    kp_defaults(&kp_ListOffsetsResponse_schema, &resp);
    kp_defaults(&kp_ListOffsetsResponse_ListOffsetsTopicResponse_schema, &topic);
    kp_defaults(&kp_ListOffsetsResponse_ListOffsetsPartitionResponse_schema, &part);
    resp.topics = &topic;
    resp.topics_count = 1;
    topic.name = TOPIC;
    topic.partitions = &part;
    topic.partitions_count = 1;
    part.error_code = error;
    part.offset = offset;
    answer_with(&kp_ListOffsetsResponse_schema, &resp, got.header);
}

/* A batch as it lies in the leader's log. */
static struct buf batch_at(int64_t offset, int count, int32_t epoch)
{
    struct batch_options o;
    struct batch_builder b;
    struct buf out = {0};

    batch_options_init(&o);
    batch_builder_init(&b, &o);
    for (int i = 0; i < count; i++)
        batch_builder_add(&b, 1700000 + i, BYTES_NULL, (struct bytes){(const uint8_t *)"v", 1},
                          NULL, 0);
    ck_assert_int_eq(batch_builder_finish(&b, &out), ERR_OK);
    batch_builder_fini(&b);
    be64_store(out.p, (uint64_t)offset);
    be32_store(out.p + 12, (uint32_t)epoch); /* both are outside of the CRC */
    return out;
}

/* ---- set-up */

static void order_done(void *arg)
{
    pthread_mutex_lock(&mutex);
    *(bool *)arg = true;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&mutex);
}

static void follow(int32_t index, int32_t epoch)
{
    static const int32_t ids[] = {1, 2};
    struct replicas_order o = {.topic = TOPIC,
                               .partition = index,
                               .topic_id = topic_id,
                               .is_new = true,
                               .state = {1, epoch, epoch, ids, ids, 2, 2}};
    bool is_done = false;

    replicas_carry_out(replicas, &o, 1, order_done, &is_done);
    pthread_mutex_lock(&mutex);
    while (!is_done)
        pthread_cond_wait(&changed, &mutex);
    pthread_mutex_unlock(&mutex);
    ck_assert_int_eq(o.result, KE_NONE);
}

static struct partition_info info_of(int32_t index)
{
    struct partition *p = replicas_find(replicas, TOPIC, index);
    struct partition_info info;
    ck_assert_ptr_nonnull(p);
    partition_describe(p, &info);
    partition_unref(&p);
    return info;
}

static void setup(void)
{
    struct errtext why = {""};
    struct log_manager_options lo = {.dirs = dirs,
                                     .dir_count = 1,
                                     .recovery_threads_per_dir = 1,
                                     .flush_scheduler_interval_ms = INT64_MAX,
                                     .retention_check_interval_ms = 300000,
                                     .checkpoint_interval_ms = 60000,
                                     .topic_config = config_for_load};
    struct replicas_options o = {.broker_id = 2,
                                 .loops = loops,
                                 .loop_count = 1,
                                 .listener_name = "PLAINTEXT",
                                 .limits = {.lag_time_max_ms = 30000},
                                 .hw_checkpoint_interval_ms = 5000,
                                 .fetchers_per_leader = 1,
                                 .fetch_partition_max_bytes = 1 << 20,
                                 .fetch_response_max_bytes = 10 << 20,
                                 .fetch_min_bytes = 1,
                                 .fetch_wait_max_ms = 500,
                                 .fetch_backoff_ms = 200,
                                 .socket_timeout_ms = 30000,
                                 .topic_config = config_for_new};

    log_config_defaults(&config);
    topic_id = uuid_random();
    snprintf(dir, sizeof dir, "/tmp/kafuka-test-fetcher-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(dir));
    ck_assert_int_eq(loop_start("loop-0", &loops[0]), ERR_OK);
    ck_assert_int_eq(pool_start("io", 2, 100, &pool), ERR_OK);
    lo.defaults = config;
    ck_assert_msg(log_manager_open(&lo, &logs, &why) == ERR_OK, "%s", why.text);
    ck_assert_msg(log_manager_load(logs, &why) == ERR_OK, "%s", why.text);
    o.pool = pool;
    o.logs = logs;
    replicas = replicas_new(&o);
    log_manager_start(logs, replicas_log_lock, replicas_log_unlock);
    replicas_start(replicas);
    leader_listen();
    replicas_note_leader(replicas, 1, STR_LIT("127.0.0.1"), port);
}

static void teardown(void)
{
    replicas_stop(replicas);
    pool_stop(&pool);
    loop_stop(&loops[0]);
    (void)!log_manager_close(&logs, 1);
    replicas_free(&replicas);
    if (conn >= 0)
        close(conn);
    close(listener);
    buf_fini(&got.frame);
    arena_fini(&got.arena);
    ck_assert_int_eq(fsx_remove_tree(dir), ERR_OK);
}

/* Follows partition 0 in epoch 1 and gives it count records of epoch 0. The session is 7. */
static void begin_with(int count)
{
    struct buf b = batch_at(0, count, 0);

    follow(0, 1);
    leader_accept();
    read_fetch();
    ck_assert_int_eq(got.header.api_version, 17);
    ck_assert_int_eq(got.fetch.session_epoch, 0);
    ck_assert_int_eq(got.fetch.replica_state.replica_id, 2);
    ck_assert_int_eq(offsets[0], 0);
    ck_assert_int_eq(epochs[0], 1);
    ck_assert_int_eq(last_epochs[0], -1);
    answer_fetch(KE_NONE, 7, &(struct part){.records = &b}, 1);
    buf_fini(&b);
    read_fetch();
    ck_assert_int_eq(got.fetch.session_id, 7);
    ck_assert_int_eq(got.fetch.session_epoch, 1);
    ck_assert_int_eq(offsets[0], count);
    ck_assert_int_eq(last_epochs[0], 0);
}

static void await_hw(int32_t index, int64_t hw)
{
    for (int i = 0; info_of(index).high_watermark != hw; i++) {
        ck_assert_int_lt(i, WAIT_S * 1000);
        usleep(1000);
    }
}

/* ---- tests */

START_TEST(records_are_appended_and_only_news_are_named)
{
    begin_with(5);
    answer_fetch(KE_NONE, 7, &(struct part){.hw = 5}, 1);
    read_fetch();
    ck_assert_int_eq(named, 0); /* nothing has moved */
    ck_assert_int_eq(got.fetch.session_epoch, 2);
    ck_assert_int_eq(info_of(0).log_end_offset, 5);
    ck_assert_int_eq(info_of(0).high_watermark, 5);
}
END_TEST

START_TEST(a_divergence_is_cut_off_and_fetching_goes_on_there)
{
    struct buf b;

    begin_with(5);
    /* epoch 0 ended at 3 there; the HW of such an answer is not for us */
    answer_fetch(KE_NONE, 7, &(struct part){.hw = 5, .diverging_epoch = 0, .diverging_end = 3}, 1);
    do
        read_fetch(); /* perhaps one that only forgets it while it is being cut */
    while (offsets[0] < 0 && (answer_fetch(KE_NONE, 7, NULL, 0), true));
    ck_assert_int_eq(offsets[0], 0); /* the batch 0-4 goes as a whole */
    ck_assert_int_eq(last_epochs[0], -1);
    ck_assert_int_eq(info_of(0).high_watermark, 0);
    b = batch_at(0, 3, 1);
    answer_fetch(KE_NONE, 7, &(struct part){.hw = 3, .records = &b}, 1);
    buf_fini(&b);
    read_fetch();
    ck_assert_int_eq(offsets[0], 3);
    ck_assert_int_eq(last_epochs[0], 1);
}
END_TEST

START_TEST(above_the_leaders_end_it_asks_and_is_cut)
{
    begin_with(5);
    answer_fetch(KE_NONE, 7, &(struct part){.error = KE_OFFSET_OUT_OF_RANGE}, 1);
    read_request();
    ck_assert_int_eq(got.header.api_key, KP_API_LIST_OFFSETS);
    ck_assert_int_eq(got.list_offsets.replica_id, 2);
    ck_assert_int_eq(got.list_offsets.topics[0].partitions[0].timestamp, -1);
    ck_assert_int_eq(got.list_offsets.topics[0].partitions[0].current_leader_epoch, 1);
    answer_list_offsets(KE_NONE, 0);
    read_fetch();
    ck_assert_int_eq(offsets[0], 0);
}
END_TEST

START_TEST(below_the_leaders_start_the_log_begins_anew)
{
    begin_with(5);
    answer_fetch(KE_NONE, 7, &(struct part){.error = KE_OFFSET_OUT_OF_RANGE}, 1);
    read_request();
    answer_list_offsets(KE_NONE, 900);
    read_request();
    ck_assert_int_eq(got.header.api_key, KP_API_LIST_OFFSETS);
    ck_assert_int_eq(got.list_offsets.topics[0].partitions[0].timestamp, -2);
    answer_list_offsets(KE_NONE, 800);
    read_fetch();
    ck_assert_int_eq(offsets[0], 800);
    ck_assert_int_eq(info_of(0).log_start_offset, 800);
    ck_assert_int_eq(info_of(0).high_watermark, 800);
}
END_TEST

START_TEST(a_damaged_batch_is_fetched_again)
{
    struct buf b = batch_at(5, 3, 1);

    begin_with(5);
    b.p[b.len - 1] ^= 1;
    answer_fetch(KE_NONE, 7, &(struct part){.hw = 8, .records = &b}, 1);
    read_fetch();
    ck_assert_int_eq(offsets[0], 5);
    ck_assert_int_eq(info_of(0).log_end_offset, 5);
    b.p[b.len - 1] ^= 1;
    answer_fetch(KE_NONE, 7, &(struct part){.hw = 8, .records = &b}, 1);
    read_fetch();
    ck_assert_int_eq(offsets[0], 8);
    buf_fini(&b);
}
END_TEST

static const int16_t passing[] = {KE_UNKNOWN_LEADER_EPOCH, KE_NOT_LEADER_OR_FOLLOWER,
                                  KE_UNKNOWN_TOPIC_OR_PARTITION, KE_UNKNOWN_TOPIC_ID,
                                  KE_KAFKA_STORAGE_ERROR};
START_TEST(errors_that_pass_are_tried_again_after_a_delay)
{
    int64_t begin = clock_mono_ms();

    begin_with(5);
    for (int i = 0; i < 4; i++) {
        answer_fetch(KE_NONE, 7, &(struct part){.error = passing[_i]}, 1);
        read_fetch();
        ck_assert_int_eq(offsets[0], 5);
    }
    ck_assert_int_ge(clock_mono_ms() - begin, 10 + 20 + 40 + 80);
}
END_TEST

START_TEST(a_fenced_follower_waits_for_its_next_epoch)
{
    begin_with(5);
    answer_fetch(KE_NONE, 7, &(struct part){.error = KE_FENCED_LEADER_EPOCH}, 1);
    ck_assert(!is_readable(conn, 300));
    follow(0, 2);
    read_fetch();
    ck_assert_int_eq(offsets[0], 5);
    ck_assert_int_eq(epochs[0], 2);
}
END_TEST

START_TEST(a_lost_connection_begins_a_new_session)
{
    begin_with(5);
    close(conn);
    conn = -1;
    leader_accept();
    read_fetch();
    ck_assert_int_eq(got.fetch.session_epoch, 0);
    ck_assert_int_eq(offsets[0], 5);
}
END_TEST

START_TEST(a_lost_session_is_begun_anew)
{
    begin_with(5);
    answer_fetch(KE_FETCH_SESSION_ID_NOT_FOUND, 0, NULL, 0);
    read_fetch();
    ck_assert_int_eq(got.fetch.session_id, 0);
    ck_assert_int_eq(got.fetch.session_epoch, 0);
    ck_assert_int_eq(offsets[0], 5);
}
END_TEST

START_TEST(an_answer_that_cannot_be_read_is_survived)
{
    struct buf junk = {0};

    begin_with(5);
    kp_response_header_encode(KP_API_FETCH, 17, got.header.correlation_id, &junk);
    buf_add(&junk, "\xff\xff\xff\xff\xff\xff\xff", 7);
    send_frame(&junk);
    buf_fini(&junk);
    read_fetch();
    ck_assert_int_eq(got.fetch.session_epoch, 0);
    ck_assert_int_eq(offsets[0], 5);
}
END_TEST

START_TEST(partitions_that_join_do_not_wait_for_the_long_poll)
{
    struct kp_request_header first;
    struct buf b = batch_at(0, 2, 1), more = batch_at(5, 1, 1);

    begin_with(5);
    first = got.header; /* the leader waits with its answer */
    follow(1, 1);
    read_fetch();
    ck_assert_int_eq(named, 1);
    ck_assert_int_eq(offsets[1], 0);
    /* the first answer moves partition 0; it was made before partition 1 was known */
    answer_fetch_to(first, KE_NONE, 7, &(struct part){.hw = 6, .records = &more}, 1);
    answer_fetch(
        KE_NONE, 7,
        (struct part[]){{.index = 1, .hw = 2, .records = &b},
                        {.index = 0, .hw = 6, .records = &more}}, /* for the old position */
        2);
    await_hw(0, 6);
    await_hw(1, 2);
    read_fetch();
    ck_assert_int_eq(offsets[0], 6);
    buf_fini(&b);
    buf_fini(&more);
}
END_TEST

START_TEST(an_answer_for_what_it_never_asked_is_ignored)
{
    struct buf b = batch_at(0, 3, 1);

    begin_with(5);
    answer_fetch(KE_NONE, 7,
                 (struct part[]){{.index = 3, .hw = 3, .records = &b}, {.index = 0, .hw = 5}}, 2);
    read_fetch();
    ck_assert_ptr_null(replicas_find(replicas, TOPIC, 3));
    ck_assert_int_eq(info_of(0).high_watermark, 5);
    buf_fini(&b);
}
END_TEST

START_TEST(records_for_another_offset_are_not_appended)
{
    struct buf b = batch_at(3, 3, 1); /* begins below our end */

    begin_with(5);
    answer_fetch(KE_NONE, 7, &(struct part){.hw = 5, .records = &b}, 1);
    read_fetch();
    ck_assert_int_eq(offsets[0], 5);
    ck_assert_int_eq(info_of(0).log_end_offset, 5);
    buf_fini(&b);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("replica_fetcher");
    TCase *t = tcase_create("fetcher");
    int quiet = open("/dev/null", O_WRONLY | O_CLOEXEC);
    SRunner *sr;
    int failed;

    if (getenv("VERBOSE") == NULL)
        slog_set_fd(quiet);
    tcase_set_timeout(t, 60);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, records_are_appended_and_only_news_are_named);
    tcase_add_test(t, a_divergence_is_cut_off_and_fetching_goes_on_there);
    tcase_add_test(t, above_the_leaders_end_it_asks_and_is_cut);
    tcase_add_test(t, below_the_leaders_start_the_log_begins_anew);
    tcase_add_test(t, a_damaged_batch_is_fetched_again);
    tcase_add_loop_test(t, errors_that_pass_are_tried_again_after_a_delay, 0,
                        (int)ARRAY_LEN(passing));
    tcase_add_test(t, a_fenced_follower_waits_for_its_next_epoch);
    tcase_add_test(t, a_lost_connection_begins_a_new_session);
    tcase_add_test(t, a_lost_session_is_begun_anew);
    tcase_add_test(t, an_answer_that_cannot_be_read_is_survived);
    tcase_add_test(t, partitions_that_join_do_not_wait_for_the_long_poll);
    tcase_add_test(t, an_answer_for_what_it_never_asked_is_ignored);
    tcase_add_test(t, records_for_another_offset_are_not_appended);
    suite_add_tcase(s, t);
    sr = srunner_create(s);
    srunner_run_all(sr, CK_ENV);
    failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed != 0;
}
