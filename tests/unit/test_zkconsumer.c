/* SPDX-License-Identifier: Apache-2.0 */
/* The ZooKeeper consumer library against a real ZooKeeper, without brokers: what applications get
 * wrong, life and death of a member, its znodes. Records: tests/cluster/test_zk_groups.py. */
#include "tools/zkconsumer/zkconsumer.h"

#include "common/base/clock.h"
#include "tests/unit/zk_fixture.h"
#include "tools/zkconsumer/zkc_shell.h"

#include <check.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

static struct zk_server server;
static struct coord *eye; /* looks at what the members write */
static char error[512];

static void setup(void)
{
    struct coord_options o = {.session_timeout_ms = 10000, .connection_timeout_ms = 20000};
    struct errtext why = {{0}};

    zk_server_start(&server);
    o.connect = server.connect;
    ck_assert_msg(coord_open(&o, &eye, &why) == ERR_OK, "%s", why.text);
}

static void teardown(void)
{
    coord_close(&eye);
    zk_server_fini(&server);
}

static void set(struct kafuka_zkc_conf *conf, const char *name, const char *value)
{
    ck_assert_msg(kafuka_zkc_conf_set(conf, name, value, error, sizeof error) == KAFUKA_ZKC_OK,
                  "%s", error);
}

static struct kafuka_zkc_conf *make_conf(void)
{
    struct kafuka_zkc_conf *conf = kafuka_zkc_conf_new();

    set(conf, "group.id", "g");
    set(conf, "zookeeper.connect", server.connect[0] == 0 ? "127.0.0.1:1" : server.connect);
    set(conf, "zookeeper.session.timeout.ms", "2000");
    set(conf, "kafuka.log.level", "error");
    return conf;
}

static struct kafuka_zkc *make(struct kafuka_zkc_conf *conf)
{
    struct kafuka_zkc *c = kafuka_zkc_new(conf, error, sizeof error);

    ck_assert_msg(c != NULL, "%s", error);
    ck_assert_int_eq(kafuka_zkc_subscribe(c, "t", 2, error, sizeof error), KAFUKA_ZKC_OK);
    return c;
}

static void start(struct kafuka_zkc *c)
{
    ck_assert_msg(kafuka_zkc_start(c, error, sizeof error) == KAFUKA_ZKC_OK, "%s", error);
}

static int32_t count_children(const char *path)
{
    char **names;
    int32_t count;

    (void)!coord_children_wait(eye, path, &names, &count);
    coord_names_free(names, count);
    return count;
}

static void wait_children(const char *path, int32_t wanted)
{
    int64_t until = clock_mono_ms() + 20000;

    while (count_children(path) != wanted) {
        ck_assert_msg(clock_mono_ms() < until, "%s: %d children", path, count_children(path));
        (void)poll(NULL, 0, 10);
    }
}

static void put(const char *path, const char *text)
{
    struct bytes data = {(const uint8_t *)text, (int64_t)strlen(text)};
    enum err rc = coord_create_recursive_wait(eye, path, data);

    ck_assert_msg(rc == ERR_OK, "%s: %s", path, err_text(rc));
}

static void check_text(const char *path, const char *expected)
{
    struct buf data = {0};

    ck_assert_int_eq(coord_get_wait(eye, path, &data, NULL), ERR_OK);
    ck_assert_str_eq(buf_cstr(&data), expected);
    buf_fini(&data);
}

static char *path_of(const struct kafuka_zkc *c)
{
    return xasprintf("/consumers/g/ids/%s", kafuka_zkc_member_id(c));
}

/* ---- without a server */

static const struct {
    const char *name, *value;
    enum kafuka_zkc_status status;
    const char *text;
} settings[] = {
    {"rebalance.max.retries", "7", KAFUKA_ZKC_OK, ""},
    {"ssl.ca.location", "/etc/ssl/certs", KAFUKA_ZKC_OK, ""},
    {"auto.offset.reset", "smallest", KAFUKA_ZKC_OK, ""},
    {"kafuka.roundrobin.hash", "[topic,partition]", KAFUKA_ZKC_OK, ""},
    {"auto.offset.reset", "none", KAFUKA_ZKC_ERROR, "largest"},
    {"zookeeper.session.timeout.ms", "soon", KAFUKA_ZKC_ERROR, "zookeeper.session.timeout.ms=soon"},
    {"rebalance.max.retry", "7", KAFUKA_ZKC_UNKNOWN, "did you mean 'rebalance.max.retries'"},
    {"num.consumer.fetchers", "2", KAFUKA_ZKC_UNKNOWN, "no effect here"},
    {"enable.idempotence", "true", KAFUKA_ZKC_UNKNOWN, "is not known"},
    {"bootstrap.servers", "h:1", KAFUKA_ZKC_ERROR, "found in ZooKeeper"},
    {"offsets.storage", "kafka", KAFUKA_ZKC_ERROR, "zookeeper"},
    {"security.protocol", "quantum", KAFUKA_ZKC_ERROR, "security.protocol=quantum"},
};

START_TEST(a_property_is_taken_or_the_text_says_why_not)
{
    struct kafuka_zkc_conf *conf = kafuka_zkc_conf_new();

    error[0] = 0;
    ck_assert_int_eq(
        kafuka_zkc_conf_set(conf, settings[_i].name, settings[_i].value, error, sizeof error),
        settings[_i].status);
    ck_assert_msg(strstr(error, settings[_i].text) != NULL, "%s", error);
    kafuka_zkc_conf_free(conf);
}
END_TEST

START_TEST(a_consumer_needs_a_group_and_a_place)
{
    struct kafuka_zkc_conf *conf = kafuka_zkc_conf_new();

    ck_assert_ptr_null(kafuka_zkc_new(conf, error, sizeof error));
    ck_assert_str_eq(error, "group.id must be set");
    conf = make_conf();
    set(conf, "group.id", "a/b");
    ck_assert_ptr_null(kafuka_zkc_new(conf, error, sizeof error));
    ck_assert_ptr_nonnull(strstr(error, "group.id=a/b"));
    conf = make_conf();
    set(conf, "zookeeper.connect", "host:port:port/");
    ck_assert_ptr_null(kafuka_zkc_new(conf, error, sizeof error));
    kafuka_zkc_conf_free(NULL);
    kafuka_zkc_close(NULL);
}
END_TEST

START_TEST(subscriptions_are_checked)
{
    struct kafuka_zkc *c = make(make_conf());

    ck_assert_int_eq(kafuka_zkc_subscribe(c, "t", 1, error, sizeof error), KAFUKA_ZKC_ERROR);
    ck_assert_int_eq(kafuka_zkc_subscribe(c, "a/b", 1, error, sizeof error), KAFUKA_ZKC_ERROR);
    ck_assert_int_eq(kafuka_zkc_subscribe(c, "", 1, error, sizeof error), KAFUKA_ZKC_ERROR);
    ck_assert_int_eq(kafuka_zkc_subscribe(c, "u", 0, error, sizeof error), KAFUKA_ZKC_ERROR);
    ck_assert_int_eq(
        kafuka_zkc_subscribe_filter(c, KAFUKA_ZKC_WHITE_LIST, "x.*", 1, error, sizeof error),
        KAFUKA_ZKC_ERROR);
    kafuka_zkc_close(c); /* never started */
    c = kafuka_zkc_new(make_conf(), error, sizeof error);
    ck_assert_int_eq(kafuka_zkc_start(c, error, sizeof error), KAFUKA_ZKC_ERROR);
    ck_assert_str_eq(error, "nothing is subscribed to");
    ck_assert_int_eq(
        kafuka_zkc_subscribe_filter(c, KAFUKA_ZKC_BLACK_LIST, "(", 1, error, sizeof error),
        KAFUKA_ZKC_ERROR);
    ck_assert_int_eq(
        kafuka_zkc_subscribe_filter(c, KAFUKA_ZKC_BLACK_LIST, "x.*", 1, error, sizeof error),
        KAFUKA_ZKC_OK);
    ck_assert_int_eq(kafuka_zkc_subscribe(c, "u", 1, error, sizeof error), KAFUKA_ZKC_ERROR);
    kafuka_zkc_close(c);
}
END_TEST

START_TEST(an_unreachable_zookeeper_ends_the_start_with_text)
{
    struct kafuka_zkc_conf *conf = make_conf();

    set(conf, "zookeeper.connect", "127.0.0.1:1");
    set(conf, "zookeeper.connection.timeout.ms", "300");
    struct kafuka_zkc *c = make(conf);
    ck_assert_int_eq(kafuka_zkc_start(c, error, sizeof error), KAFUKA_ZKC_ERROR);
    ck_assert_ptr_nonnull(strstr(error, "127.0.0.1:1"));
    kafuka_zkc_close(c);
}
END_TEST

/* ---- with a server */

START_TEST(a_member_registers_and_is_gone_when_it_is_closed)
{
    struct kafuka_zkc *c = make(make_conf());
    struct coord_stat stat;
    char line[256];

    start(c);
    ck_assert_int_eq(kafuka_zkc_start(c, error, sizeof error), KAFUKA_ZKC_ERROR);
    wait_children("/consumers/g/ids", 1);
    char *path = path_of(c);
    ck_assert_int_eq(coord_exists_wait(eye, path, &stat), ERR_OK);
    ck_assert_int_ne(stat.ephemeral_owner, 0);
    ck_assert_ptr_nonnull(kafuka_zkc_stream(c, "t", 1));
    ck_assert_ptr_null(kafuka_zkc_stream(c, "t", 2));
    ck_assert_ptr_null(kafuka_zkc_stream(c, "t", -1));
    ck_assert_ptr_null(kafuka_zkc_stream(c, "u", 0));
    ck_assert_ptr_null(kafuka_zkc_stream(c, NULL, 0));
    struct kafuka_zkc_message m;
    ck_assert_int_eq(kafuka_zkc_next(kafuka_zkc_stream(c, "t", 0), 10, &m), KAFUKA_ZKC_TIMEOUT);
    ck_assert_int_eq(kafuka_zkc_commit(c, 10000), KAFUKA_ZKC_OK); /* nothing to commit */
    ck_assert_uint_eq(kafuka_zkc_history(c, 99, line, sizeof line), 0);
    kafuka_zkc_close(c);
    ck_assert_int_eq(coord_exists_wait(eye, path, NULL), ERR_NOT_FOUND); /* at once */
    mem_free(path);
}
END_TEST

/* Whatever is on its way at that moment, nothing is used after it is gone. */
START_TEST(a_member_may_be_closed_at_any_moment)
{
    put("/brokers/ids/1", "{\"version\":1,\"host\":\"127.0.0.1\",\"port\":1,\"jmx_port\":-1,"
                          "\"timestamp\":\"1\"}");
    put("/brokers/topics/t", "{\"version\":1,\"partitions\":{\"0\":[1],\"1\":[1],\"2\":[1]}}");
    for (int i = 0; i < 40; i++) {
        struct kafuka_zkc *c = make(make_conf());

        start(c);
        (void)poll(NULL, 0, i);
        kafuka_zkc_close(c);
        ck_assert_int_eq(count_children("/consumers/g/ids"), 0);
    }
}
END_TEST

START_TEST(partitions_are_claimed_by_range_and_offsets_are_read)
{
    struct kafuka_zkc_conf *conf = make_conf();
    struct kafuka_zkc *c, *d;
    char line[512], owner[256];

    put("/brokers/ids/1", "{\"version\":1,\"host\":\"127.0.0.1\",\"port\":1,\"jmx_port\":-1,"
                          "\"timestamp\":\"1\"}");
    put("/brokers/topics/t", "{\"version\":1,\"partitions\":{\"0\":[1],\"1\":[1],\"2\":[1]}}");
    for (int p = 0; p < 3; p++) {
        char path[64];
        (void)snprintf(path, sizeof path, "/consumers/g/offsets/t/%d", p);
        put(path, "17");
    }
    set(conf, "consumer.id", "a");
    c = make(conf);
    ck_assert_str_eq(kafuka_zkc_member_id(c), "g_a");
    start(c);
    wait_children("/consumers/g/owners/t", 3);
    check_text("/consumers/g/owners/t/0", "g_a-0"); /* two streams: N = ceil(3/2) */
    check_text("/consumers/g/owners/t/1", "g_a-0");
    check_text("/consumers/g/owners/t/2", "g_a-1");
    conf = make_conf();
    set(conf, "consumer.id", "b");
    d = make(conf);
    start(d);
    /* four threads: one each, the last one nothing */
    int64_t until = clock_mono_ms() + 20000;
    do {
        struct buf data = {0};
        ck_assert_int_lt(clock_mono_ms(), until);
        (void)!coord_get_wait(eye, "/consumers/g/owners/t/2", &data, NULL);
        (void)snprintf(owner, sizeof owner, "%s", buf_cstr(&data));
        buf_fini(&data);
    } while (strcmp(owner, "g_b-0") != 0);
    check_text("/consumers/g/offsets/t/2", "17"); /* nothing was read: nothing is written */
    while (kafuka_zkc_history(c, 0, line, sizeof line) == 0 ||
           strstr(line, "member g_b joined: 1 partitions stayed, 2 released, 1 claimed") == NULL)
        ck_assert_msg(clock_mono_ms() < until, "%s", line);
    kafuka_zkc_close(c);
    wait_children("/consumers/g/owners/t", 3); /* the other takes all */
    kafuka_zkc_close(d);
    ck_assert_int_eq(count_children("/consumers/g/owners/t"), 0);
}
END_TEST

START_TEST(an_expired_session_is_made_anew_under_the_same_name)
{
    struct kafuka_zkc *c = make(make_conf());
    struct coord_stat first, second;
    char *path = path_of(c);

    start(c);
    wait_children("/consumers/g/ids", 1);
    ck_assert_int_eq(coord_exists_wait(eye, path, &first), ERR_OK);
    zk_expire(&server, c->coord);
    int64_t until = clock_mono_ms() + 20000;
    do
        ck_assert_int_lt(clock_mono_ms(), until);
    while (coord_exists_wait(eye, path, &second) != ERR_OK ||
           second.ephemeral_owner == first.ephemeral_owner);
    kafuka_zkc_close(c);
    mem_free(path);
}
END_TEST

START_TEST(leaving_has_an_end_without_zookeeper)
{
    struct kafuka_zkc_conf *conf = make_conf();

    set(conf, "kafuka.leave.max.ms", "500");
    struct kafuka_zkc *c = make(conf);
    start(c);
    wait_children("/consumers/g/ids", 1);
    zk_server_signal(&server, SIGSTOP);
    int64_t begun = clock_mono_ms();
    kafuka_zkc_close(c);
    ck_assert_int_lt(clock_mono_ms() - begun, 8000);
    zk_server_signal(&server, SIGCONT);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("zkconsumer");
    TCase *t = tcase_create("arguments");

    tcase_set_timeout(t, 60);
    tcase_add_loop_test(t, a_property_is_taken_or_the_text_says_why_not, 0, ARRAY_LEN(settings));
    tcase_add_test(t, a_consumer_needs_a_group_and_a_place);
    tcase_add_test(t, subscriptions_are_checked);
    tcase_add_test(t, an_unreachable_zookeeper_ends_the_start_with_text);
    suite_add_tcase(s, t);
    t = tcase_create("members");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, 120);
    tcase_add_test(t, a_member_registers_and_is_gone_when_it_is_closed);
    tcase_add_test(t, a_member_may_be_closed_at_any_moment);
    tcase_add_test(t, partitions_are_claimed_by_range_and_offsets_are_read);
    tcase_add_test(t, an_expired_session_is_made_anew_under_the_same_name);
    tcase_add_test(t, leaving_has_an_end_without_zookeeper);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? 0 : 1;
}
