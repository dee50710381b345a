/* SPDX-License-Identifier: Apache-2.0 */
/* The ZooKeeper consumer's fetcher against librdkafka's mock broker: what is handed out, and what
 * not any more. */
#include "tools/zkconsumer/zkc_fetch.h"

#include "common/base/clock.h"

#include <check.h>
#include <librdkafka/rdkafka_mock.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

enum { WAIT_MS = 20000 };

static rd_kafka_t *producer;
static rd_kafka_mock_cluster_t *cluster;
static struct zkc_fetch *fetch;
static struct zkc_stream *stream;

static void nothing_to_do(void *arg)
{
}

static void nothing_to_tell(void *arg, bool is_error, const char *text)
{
}

static rd_kafka_conf_t *conf_of(const char *brokers)
{
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    char text[256];

    if (brokers != NULL)
        ck_assert_int_eq(rd_kafka_conf_set(conf, "bootstrap.servers", brokers, text, sizeof text),
                         RD_KAFKA_CONF_OK);
    return conf;
}

/* A broker with a topic t of one partition, which has five records. */
static void setup(void)
{
    char text[256];
    struct errtext why;

    producer = rd_kafka_new(RD_KAFKA_PRODUCER, conf_of(NULL), text, sizeof text);
    ck_assert_ptr_nonnull(producer);
    cluster = rd_kafka_mock_cluster_new(producer, 1);
    ck_assert_ptr_nonnull(cluster);
    const char *brokers = rd_kafka_mock_cluster_bootstraps(cluster);
    ck_assert_int_eq(rd_kafka_mock_topic_create(cluster, "t", 1, 1), RD_KAFKA_RESP_ERR_NO_ERROR);
    ck_assert_int_eq(rd_kafka_brokers_add(producer, brokers), 1);
    for (int i = 0; i < 5; i++)
        ck_assert_int_eq(rd_kafka_producev(producer, RD_KAFKA_V_TOPIC("t"), RD_KAFKA_V_PARTITION(0),
                                           RD_KAFKA_V_VALUE("v", 1), RD_KAFKA_V_END),
                         RD_KAFKA_RESP_ERR_NO_ERROR);
    ck_assert_int_eq(rd_kafka_flush(producer, WAIT_MS), RD_KAFKA_RESP_ERR_NO_ERROR);
    struct zkc_fetch_options o = {.conf = conf_of(brokers),
                                  .wake = nothing_to_do,
                                  .tell = nothing_to_tell,
                                  .drain_max_ms = 1000,
                                  .next_max_ms = 50};
    ck_assert_msg(zkc_fetch_new(&o, &fetch, &why) == ERR_OK, "%s", why.text);
    stream = zkc_fetch_add_stream(fetch);
}

static void teardown(void)
{
    zkc_fetch_free(&fetch);
    rd_kafka_mock_cluster_destroy(cluster);
    rd_kafka_destroy(producer);
}

static void check_next(int64_t offset)
{
    rd_kafka_message_t *m = zkc_fetch_next(stream, WAIT_MS);

    ck_assert_ptr_nonnull(m);
    ck_assert_int_eq(m->offset, offset);
    rd_kafka_message_destroy(m);
}

START_TEST(a_stream_waits_as_long_as_it_was_set_to)
{
    int64_t began_ms = clock_mono_ms();

    ck_assert_ptr_null(zkc_fetch_next(stream, -1));
    ck_assert_int_ge(clock_mono_ms() - began_ms, 50);
}
END_TEST

/* A record that waits for the lease belongs to the start it was read under: the session has ended,
 * and the partition came back at an offset before it. */
START_TEST(what_was_held_of_an_earlier_start_is_not_handed_out)
{
    zkc_fetch_set_lease(fetch, INT64_MAX);
    zkc_fetch_start(fetch, "t", 0, stream, 0, 1);
    check_next(0);
    check_next(1);
    zkc_fetch_set_lease(fetch, INT64_MIN);
    int64_t until_ms = clock_mono_ms() + WAIT_MS;
    while (!zkc_fetch_holds(stream)) {
        ck_assert_int_lt(clock_mono_ms(), until_ms);
        ck_assert_ptr_null(zkc_fetch_next(stream, 10));
    }
    zkc_fetch_drop(fetch, "t", 0);
    zkc_fetch_start(fetch, "t", 0, stream, 0, 2);
    zkc_fetch_set_lease(fetch, INT64_MAX);
    for (int64_t offset = 0; offset < 5; offset++)
        check_next(offset);
}
END_TEST

static bool collects_out_of_range(void)
{
    struct zkc_fetch_result r;
    bool any = false;

    while (zkc_fetch_collect(fetch, clock_mono_ms(), &r))
        any |= r.kind == ZKC_FETCHED_OUT_OF_RANGE;
    return any;
}

/* Nor does an error of an earlier start reset the next one, which would pass over records. */
START_TEST(an_error_of_an_earlier_start_is_not_the_next_one_s)
{
    bool was_behind = false; /* the error came with the records, behind them */

    ck_assert_int_eq(rd_kafka_mock_topic_create(cluster, "u", 1, 1), RD_KAFKA_RESP_ERR_NO_ERROR);
    for (uint32_t seq = 1; !was_behind; seq += 3) {
        ck_assert_uint_lt(seq, 60);
        zkc_fetch_set_lease(fetch, INT64_MIN);
        zkc_fetch_start(fetch, "t", 0, stream, 0, seq);
        (void)poll(NULL, 0, 200);
        zkc_fetch_start(fetch, "u", 0, stream, 100, seq + 1);
        (void)poll(NULL, 0, 200 * (int)seq);
        ck_assert_ptr_null(zkc_fetch_next(stream, 10));
        bool was_first = collects_out_of_range();
        zkc_fetch_start(fetch, "u", 0, stream, 0, seq + 2);
        zkc_fetch_set_lease(fetch, INT64_MAX);
        for (int64_t offset = 0; offset < 5; offset++)
            check_next(offset);
        was_behind = !was_first && zkc_fetch_holds(stream);
        ck_assert_ptr_null(zkc_fetch_next(stream, 10));
        ck_assert(!collects_out_of_range());
        zkc_fetch_drop(fetch, "u", 0);
        zkc_fetch_drop(fetch, "t", 0);
    }
}
END_TEST

/* The same while the stream is being read, again and again: after each start its first record comes
 * first, whatever was pulled before. */
static _Atomic int64_t expected_next; /* -1: whatever comes */
static _Atomic bool is_over;

static void *read_all(void *arg)
{
    while (!atomic_load(&is_over)) {
        rd_kafka_message_t *m = zkc_fetch_next(stream, 20);

        if (m == NULL)
            continue;
        ck_assert_int_eq(m->offset, atomic_load(&expected_next));
        atomic_store(&expected_next, m->offset + 1);
        rd_kafka_message_destroy(m);
    }
    return NULL;
}

START_TEST(every_start_begins_with_its_first_record)
{
    pthread_t reader;

    zkc_fetch_set_lease(fetch, INT64_MAX);
    ck_assert_int_eq(pthread_create(&reader, NULL, read_all, NULL), 0);
    for (uint32_t seq = 1; seq <= 8; seq++) {
        int64_t until_ms = clock_mono_ms() + WAIT_MS;

        atomic_store(&expected_next, 0);
        zkc_fetch_start(fetch, "t", 0, stream, 0, seq);
        while (atomic_load(&expected_next) < 1 + (int64_t)seq % 5) {
            ck_assert_int_lt(clock_mono_ms(), until_ms);
            (void)poll(NULL, 0, 1);
        }
        zkc_fetch_drop(fetch, "t", 0); /* what is handed out before it is over was expected */
    }
    atomic_store(&is_over, true);
    ck_assert_int_eq(pthread_join(reader, NULL), 0);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("zkc_fetch");
    TCase *t = tcase_create("fetch");

    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, 120);
    tcase_add_test(t, a_stream_waits_as_long_as_it_was_set_to);
    tcase_add_test(t, what_was_held_of_an_earlier_start_is_not_handed_out);
    tcase_add_test(t, an_error_of_an_earlier_start_is_not_the_next_one_s);
    tcase_add_test(t, every_start_begins_with_its_first_record);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? 0 : 1;
}
