/* SPDX-License-Identifier: Apache-2.0 */
/* zkadmin on a real ZooKeeper; a fresh chroot for each test. */
#include "common/zk/zkadmin.h"

#include "common/base/clock.h"
#include "tests/unit/zk_fixture.h"

#include <check.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static struct zk_server server;
static struct coord *c;
static struct arena arena;
static struct errtext why;

static struct coord *open_coord(const char *connect)
{
    struct coord_options o = {
        .connect = connect, .session_timeout_ms = 30000, .connection_timeout_ms = 20000};
    struct coord *new;

    ck_assert_msg(coord_open(&o, &new, &why) == ERR_OK, "%s", why.text);
    return new;
}

static char chroot_connect[64];

static void setup(void)
{
    static int n;

    snprintf(chroot_connect, sizeof chroot_connect, "%s/k%d", server.connect, ++n);
    c = open_coord(chroot_connect);
    memset(&arena, 0, sizeof arena);
    why.text[0] = 0;
}

static void teardown(void)
{
    coord_close(&c);
    arena_fini(&arena);
}

static const int32_t r12[] = {1, 2}, r21[] = {2, 1}, r11[] = {1, 1}, r1[] = {1}, rneg[] = {-1};
static const struct zkdoc_partition two[] = {{.index = 0, .replica_count = 2, .replicas = r12},
                                             {.index = 1, .replica_count = 2, .replicas = r21}};

static int16_t create(const char *name)
{
    struct zkadmin_new_topic t = {.name = name, .partitions = two, .partition_count = 2};

    return zkadmin_create_topic(c, &t, &why);
}

static void check_node(const char *path, const char *expected)
{
    struct buf data = {0};

    ck_assert_int_eq(coord_get_wait(c, path, &data, NULL), ERR_OK);
    ck_assert_str_eq(buf_cstr(&data), expected);
    buf_fini(&data);
}

START_TEST(a_topic_is_created_with_its_config_in_an_empty_cluster)
{
    struct zkdoc_kv kv = {"retention.ms", "5"};
    struct zkadmin_new_topic t = {.name = "t",
                                  .partitions = two,
                                  .partition_count = 2,
                                  .configs = &kv,
                                  .config_count = 1,
                                  .validate_only = true};
    struct zkdoc_topic doc;
    int32_t version;

    ck_assert(uuid_parse(STR_LIT("q5yX1kXHQkK2m9wzJ8aT7g"), &t.topic_id));
    ck_assert_int_eq(zkadmin_create_topic(c, &t, &why), KE_NONE);
    ck_assert_int_eq(coord_exists_wait(c, "/brokers/topics/t", NULL), ERR_NOT_FOUND);
    t.validate_only = false;
    ck_assert_msg(zkadmin_create_topic(c, &t, &why) == KE_NONE, "%s", why.text);
    check_node("/config/topics/t", "{\"version\":1,\"config\":{\"retention.ms\":\"5\"}}");
    check_node("/brokers/topics/t",
               "{\"partitions\":{\"0\":[1,2],\"1\":[2,1]},\"topic_id\":\"q5yX1kXHQkK2m9wzJ8aT7g\","
               "\"adding_replicas\":{},\"removing_replicas\":{},\"version\":3}");
    ck_assert_int_eq(zkadmin_read_topic(c, "t", &arena, &doc, &version, &why), KE_NONE);
    ck_assert_int_eq(doc.partition_count, 2);
    ck_assert_int_eq(version, 0);
    ck_assert_int_eq(zkadmin_create_topic(c, &t, &why), KE_TOPIC_ALREADY_EXISTS);
    ck_assert_ptr_nonnull(strstr(why.text, "exists already"));
}
END_TEST

START_TEST(a_config_left_over_from_a_deleted_topic_is_overwritten)
{
    ck_assert_int_eq(
        coord_create_recursive_wait(c, "/config/topics/t", (struct bytes){(uint8_t *)"old", 3}),
        ERR_OK);
    ck_assert_int_eq(create("t"), KE_NONE);
    check_node("/config/topics/t", "{\"version\":1,\"config\":{}}");
}
END_TEST

START_TEST(bad_names_and_assignments_are_refused)
{
    static const char *const names[] = {"", ".", "..", "a b", "a/b", "t\xc3\xa4", "a:b"};
    struct zkdoc_partition p = {.index = 0, .replica_count = 2, .replicas = r11};
    struct zkadmin_new_topic t = {.name = "t", .partitions = &p, .partition_count = 1};
    char longest[251];

    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        ck_assert_msg(create(names[i]) == KE_INVALID_TOPIC_EXCEPTION, "%s", names[i]);
    memset(longest, 'a', 250);
    longest[250] = 0;
    ck_assert_int_eq(create(longest), KE_INVALID_TOPIC_EXCEPTION);
    longest[249] = 0;
    ck_assert_int_eq(create(longest), KE_NONE);
    ck_assert_int_eq(zkadmin_create_topic(c, &t, &why), KE_INVALID_REPLICA_ASSIGNMENT);
    ck_assert_ptr_nonnull(strstr(why.text, "twice"));
    p = (struct zkdoc_partition){.index = 0, .replica_count = 1, .replicas = rneg};
    ck_assert_int_eq(zkadmin_create_topic(c, &t, &why), KE_INVALID_REPLICA_ASSIGNMENT);
    p = (struct zkdoc_partition){.index = 1, .replica_count = 1, .replicas = r1};
    ck_assert_int_eq(zkadmin_create_topic(c, &t, &why), KE_INVALID_REPLICA_ASSIGNMENT);
    p = (struct zkdoc_partition){.index = 0, .replica_count = 0, .replicas = r1};
    ck_assert_int_eq(zkadmin_create_topic(c, &t, &why), KE_INVALID_REPLICA_ASSIGNMENT);
    t.partition_count = 0;
    ck_assert_int_eq(zkadmin_create_topic(c, &t, &why), KE_INVALID_PARTITIONS);
}
END_TEST

START_TEST(names_that_differ_only_in_dots_and_underscores_collide)
{
    ck_assert_int_eq(create("a.b"), KE_NONE);
    ck_assert_int_eq(create("a_b"), KE_INVALID_TOPIC_EXCEPTION);
    ck_assert_ptr_nonnull(strstr(why.text, "a.b"));
    ck_assert_int_eq(create("a_c"), KE_NONE);
    ck_assert(!zkadmin_names_collide("a.b", "a.b"));
    ck_assert(!zkadmin_names_collide("a.b", "a.bc"));
    ck_assert(!zkadmin_names_collide("ab", "a.b"));
}
END_TEST

START_TEST(deletion_marks_the_topic_and_a_new_one_must_wait)
{
    const char **names;
    int32_t count;

    ck_assert_int_eq(zkadmin_delete_topic(c, "t", &why), KE_UNKNOWN_TOPIC_OR_PARTITION);
    ck_assert_int_eq(create("t"), KE_NONE);
    ck_assert_int_eq(zkadmin_delete_topic(c, "t", &why), KE_NONE);
    ck_assert_int_eq(zkadmin_delete_topic(c, "t", &why), KE_NONE);
    ck_assert_int_eq(zkadmin_list_deletions(c, &arena, &names, &count, &why), KE_NONE);
    ck_assert_int_eq(count, 1);
    ck_assert_str_eq(names[0], "t");
    ck_assert_int_eq(create("t"), KE_TOPIC_ALREADY_EXISTS);
    ck_assert_ptr_nonnull(strstr(why.text, "being deleted"));
}
END_TEST

START_TEST(partitions_are_added_behind_the_existing_ones)
{
    struct zkdoc_partition more = {.index = 2, .replica_count = 2, .replicas = r12};

    ck_assert_int_eq(zkadmin_add_partitions(c, "t", &more, 1, false, &why),
                     KE_UNKNOWN_TOPIC_OR_PARTITION);
    ck_assert_int_eq(create("t"), KE_NONE);
    ck_assert_int_eq(zkadmin_add_partitions(c, "t", &more, 1, true, &why), KE_NONE);
    ck_assert_int_eq(zkadmin_add_partitions(c, "t", &more, 1, false, &why), KE_NONE);
    check_node("/brokers/topics/t",
               "{\"partitions\":{\"0\":[1,2],\"1\":[2,1],\"2\":[1,2]},"
               "\"adding_replicas\":{},\"removing_replicas\":{},\"version\":3}");
    ck_assert_int_eq(zkadmin_add_partitions(c, "t", &more, 1, false, &why), KE_INVALID_PARTITIONS);
    more = (struct zkdoc_partition){.index = 3, .replica_count = 1, .replicas = r1};
    ck_assert_int_eq(zkadmin_add_partitions(c, "t", &more, 1, false, &why),
                     KE_INVALID_REPLICA_ASSIGNMENT);
    static const char moving[] = "{\"partitions\":{\"0\":[1,2]},\"adding_replicas\":{\"0\":[2]}}";
    ck_assert_int_eq(coord_set_wait(c, "/brokers/topics/t",
                                    (struct bytes){(const uint8_t *)moving, sizeof moving - 1}, -1,
                                    NULL),
                     ERR_OK);
    more = (struct zkdoc_partition){.index = 1, .replica_count = 2, .replicas = r12};
    ck_assert_int_eq(zkadmin_add_partitions(c, "t", &more, 1, false, &why),
                     KE_REASSIGNMENT_IN_PROGRESS);
}
END_TEST

START_TEST(lists_and_many_reads_come_in_order)
{
    struct zkadmin_topic topics[] = {{.name = "b"}, {.name = "gone"}, {.name = "broken"}};
    enum { STATES = 3000 };
    struct zkadmin_state *states = calloc(STATES, sizeof *states);
    const char **names;
    int32_t count;
    char path[64];

    ck_assert_int_eq(create("b"), KE_NONE);
    ck_assert_int_eq(create("a"), KE_NONE);
    ck_assert_int_eq(create("broken"), KE_NONE);
    ck_assert_int_eq(coord_set_wait(c, "/brokers/topics/broken",
                                    (struct bytes){(const uint8_t *)"{", 1}, -1, NULL),
                     ERR_OK);
    ck_assert_int_eq(zkadmin_list_topics(c, &arena, &names, &count, &why), KE_NONE);
    ck_assert_int_eq(count, 3);
    ck_assert_str_eq(names[0], "a");
    ck_assert_str_eq(names[2], "broken");
    ck_assert_int_eq(zkadmin_read_topics(c, topics, 3, &arena, &why), KE_NONE);
    ck_assert_int_eq(topics[0].error, KE_NONE);
    ck_assert_int_eq(topics[0].doc.partition_count, 2);
    ck_assert_int_eq(topics[1].error, KE_UNKNOWN_TOPIC_OR_PARTITION);
    ck_assert_int_eq(topics[2].error, KE_UNKNOWN_SERVER_ERROR);
    for (int i = 0; i < STATES; i += 1000) {
        static const char doc[] =
            "{\"controller_epoch\":1,\"leader\":2,\"version\":1,\"leader_epoch\":3,\"isr\":[2]}";
        snprintf(path, sizeof path, "/brokers/topics/b/partitions/%d/state", i);
        ck_assert_int_eq(coord_create_recursive_wait(
                             c, path, (struct bytes){(const uint8_t *)doc, sizeof doc - 1}),
                         ERR_OK);
    }
    for (int i = 0; i < STATES; i++) {
        states[i].topic = "b";
        states[i].partition = i;
    }
    ck_assert_int_eq(zkadmin_partition_states(c, states, STATES, &arena, &why), KE_NONE);
    for (int i = 0; i < STATES; i++)
        ck_assert_int_eq(states[i].error, i % 1000 == 0 ? KE_NONE : KE_LEADER_NOT_AVAILABLE);
    ck_assert_int_eq(states[2000].doc.leader, 2);
    ck_assert_int_eq(zkadmin_read_topic(c, "none", &arena, &topics[0].doc, NULL, &why),
                     KE_UNKNOWN_TOPIC_OR_PARTITION);
    free(states);
}
END_TEST

START_TEST(brokers_controller_and_cluster_id_are_read)
{
    struct zkdoc_endpoint e = {"PLAINTEXT", "h", 9092, ZKDOC_PLAINTEXT};
    struct zkdoc_broker doc = {.jmx_port = -1, .endpoints = &e, .endpoint_count = 1};
    struct zkadmin_broker *brokers;
    struct buf data = {0};
    const char *id;
    int32_t count, controller;

    ck_assert_int_eq(zkadmin_brokers(c, &arena, &brokers, &count, &why), KE_NONE);
    ck_assert_int_eq(count, 0);
    ck_assert_int_eq(zkadmin_controller(c, &controller, &why), KE_NONE);
    ck_assert_int_eq(controller, -1);
    zkdoc_broker_format(&doc, &data);
    static const char *const paths[] = {"/brokers/ids/10", "/brokers/ids/9", "/brokers/ids/x"};
    for (size_t i = 0; i < ARRAY_LEN(paths); i++)
        ck_assert_int_eq(
            coord_create_recursive_wait(c, paths[i], (struct bytes){data.p, (int64_t)data.len}),
            ERR_OK);
    ck_assert_int_eq(zkadmin_brokers(c, &arena, &brokers, &count, &why), KE_NONE);
    ck_assert_int_eq(count, 2);
    ck_assert_int_eq(brokers[0].id, 9);
    ck_assert_int_eq(brokers[1].id, 10);
    ck_assert_int_lt(brokers[1].epoch, brokers[0].epoch);
    ck_assert_str_eq(brokers[1].doc.endpoints[0].host, "h");
    ck_assert_int_eq(zkadmin_cluster_id(c, &arena, &id, &why), KE_UNKNOWN_SERVER_ERROR);
    buf_fini(&data);
}
END_TEST

static int32_t notification_count(void)
{
    char **names;
    int32_t count;

    if (coord_children_wait(c, "/config/changes", &names, &count) != ERR_OK)
        return 0;
    coord_names_free(names, count);
    return count;
}

START_TEST(a_config_is_set_with_a_notification_and_the_controller_check)
{
    struct zkdoc_kv kv = {"a", "b"};
    struct zkdoc_config config = {&kv, 1}, got;
    struct buf data = {0};

    ck_assert_int_eq(zkadmin_set_entity_config(c, "topics", "t", &config, true, &why),
                     KE_NOT_CONTROLLER);
    ck_assert_int_eq(notification_count(), 0);
    struct zkdoc_controller k = {1, 5, -1};
    zkdoc_controller_format(&k, &data);
    ck_assert_int_eq(coord_create_wait(c, "/controller", (struct bytes){data.p, (int64_t)data.len},
                                       COORD_EPHEMERAL, NULL),
                     ERR_OK);
    ck_assert_msg(zkadmin_set_entity_config(c, "topics", "t", &config, true, &why) == KE_NONE, "%s",
                  why.text);
    ck_assert_int_eq(notification_count(), 1);
    check_node("/config/changes/config_change_0000000000",
               "{\"version\":2,\"entity_path\":\"topics/t\"}");
    ck_assert_int_eq(zkadmin_read_entity_config(c, "topics", "t", &arena, &got, &why), KE_NONE);
    ck_assert_str_eq(zkdoc_config_value(&got, "a"), "b");
    config.count = 0;
    ck_assert_int_eq(zkadmin_set_entity_config(c, "topics", "t", &config, true, &why), KE_NONE);
    check_node("/config/topics/t", "{\"version\":1,\"config\":{}}");
    data.len = 0;
    k.kraft_controller_epoch = 3;
    zkdoc_controller_format(&k, &data);
    ck_assert_int_eq(
        coord_set_wait(c, "/controller", (struct bytes){data.p, (int64_t)data.len}, -1, NULL),
        ERR_OK);
    ck_assert_int_eq(zkadmin_set_entity_config(c, "topics", "t", &config, true, &why),
                     KE_NOT_CONTROLLER);
    ck_assert_int_eq(zkadmin_set_entity_config(c, "nonsense", "t", &config, false, &why),
                     KE_INVALID_REQUEST);
    buf_fini(&data);
}
END_TEST

START_TEST(empty_quota_entities_are_removed_with_their_parents)
{
    struct zkdoc_kv kv = {"producer_byte_rate", "1"};
    struct zkdoc_config config = {&kv, 1}, empty = {NULL, 0}, got;
    const char **names;
    int32_t count;

    ck_assert_int_eq(zkadmin_set_entity_config(c, "users", "u/clients/x", &config, false, &why),
                     KE_NONE);
    ck_assert_int_eq(zkadmin_set_entity_config(c, "users", "u", &config, false, &why), KE_NONE);
    ck_assert_int_eq(zkadmin_list_entities(c, "users", &arena, &names, &count, &why), KE_NONE);
    ck_assert_int_eq(count, 1);
    /* something is below it: it stays, empty */
    ck_assert_int_eq(zkadmin_set_entity_config(c, "users", "u", &empty, false, &why), KE_NONE);
    ck_assert_int_eq(zkadmin_read_entity_config(c, "users", "u/clients/x", &arena, &got, &why),
                     KE_NONE);
    ck_assert_int_eq(got.count, 1);
    ck_assert_int_eq(zkadmin_set_entity_config(c, "users", "u/clients/x", &empty, false, &why),
                     KE_NONE);
    ck_assert_int_eq(coord_exists_wait(c, "/config/users/u", NULL), ERR_NOT_FOUND);
    ck_assert_int_eq(coord_exists_wait(c, "/config/users", NULL), ERR_OK);
    ck_assert_int_eq(notification_count(), 4);
}
END_TEST

START_TEST(requests_of_old_tools_are_not_overwritten)
{
    struct zkdoc_topic_partition p = {"t", 0, r12, 2};
    struct zkdoc_partition_list list = {&p, 1};

    ck_assert_int_eq(zkadmin_start_reassignment(c, &list, &why), KE_NONE);
    check_node("/admin/reassign_partitions", "{\"version\":1,\"partitions\":[{\"topic\":\"t\","
                                             "\"partition\":0,\"replicas\":[1,2]}]}");
    ck_assert_int_eq(zkadmin_start_reassignment(c, &list, &why), KE_REASSIGNMENT_IN_PROGRESS);
    ck_assert_int_eq(zkadmin_start_preferred_election(c, &list, &why), KE_NONE);
    ck_assert_int_eq(zkadmin_start_preferred_election(c, &list, &why), KE_INVALID_REQUEST);
}
END_TEST

START_TEST(names_are_sanitized_as_kafka_does_it)
{
    struct buf out = {0};

    zkadmin_sanitize("CN=a b*+~/\xc3\xa4", &out);
    ck_assert_str_eq(buf_cstr(&out), "CN%3Da%20b%2A%2B%7E%2F%C3%A4");
    buf_fini(&out);
}
END_TEST

/* ---- several creators at once */
struct creator {
    pthread_t thread;
    int id;
    int16_t code;
};

static void *create_main(void *arg)
{
    struct creator *me = arg;
    char value[16];
    struct zkdoc_kv kv = {"retention.ms", value};
    struct zkadmin_new_topic t = {.name = "race",
                                  .partitions = two,
                                  .partition_count = 2,
                                  .configs = &kv,
                                  .config_count = 1,
                                  .topic_id = {{(uint8_t)me->id, 1, 2, 3}}};
    struct errtext text;

    snprintf(value, sizeof value, "%d", me->id);
    me->code = zkadmin_create_topic(c, &t, &text);
    return NULL;
}

START_TEST(of_several_creators_one_wins_with_its_own_config)
{
    struct creator creators[8];
    struct zkdoc_topic doc;
    struct zkdoc_config config;
    int winner = -1;

    for (int i = 0; i < 8; i++) {
        creators[i].id = i;
        ck_assert_int_eq(pthread_create(&creators[i].thread, NULL, create_main, &creators[i]), 0);
    }
    for (int i = 0; i < 8; i++) {
        ck_assert_int_eq(pthread_join(creators[i].thread, NULL), 0);
        if (creators[i].code == KE_NONE) {
            ck_assert_int_eq(winner, -1);
            winner = i;
        } else {
            ck_assert_int_eq(creators[i].code, KE_TOPIC_ALREADY_EXISTS);
        }
    }
    ck_assert_int_ge(winner, 0);
    ck_assert_int_eq(zkadmin_read_topic(c, "race", &arena, &doc, NULL, &why), KE_NONE);
    ck_assert_int_eq(doc.topic_id.b[0], winner);
    ck_assert_int_eq(zkadmin_read_entity_config(c, "topics", "race", &arena, &config, &why),
                     KE_NONE);
    ck_assert_int_eq(atoi(zkdoc_config_value(&config, "retention.ms")), winner);
}
END_TEST

START_TEST(without_a_connection_it_says_so_in_time)
{
    struct coord_options o = {
        .connect = chroot_connect, .session_timeout_ms = 30000, .connection_timeout_ms = 700};
    struct coord *impatient;
    struct zkadmin_state states[3] = {{.topic = "t"}, {.topic = "t"}, {.topic = "t"}};
    const char **names;
    int32_t count;

    ck_assert_int_eq(coord_open(&o, &impatient, &why), ERR_OK);
    zk_server_kill(&server);
    ck_assert_int_eq(zkadmin_list_topics(impatient, &arena, &names, &count, &why),
                     KE_REQUEST_TIMED_OUT);
    ck_assert_ptr_nonnull(strstr(why.text, "no connection to ZooKeeper"));
    ck_assert_int_eq(zkadmin_partition_states(impatient, states, 3, &arena, &why),
                     KE_REQUEST_TIMED_OUT);
    coord_close(&impatient);
    zk_server_start(&server);
}
END_TEST

static void start_server(void)
{
    zk_server_start(&server);
}

static void stop_server(void)
{
    zk_server_fini(&server);
}

int main(void)
{
    Suite *s = suite_create("zkadmin");
    TCase *t = tcase_create("administration");

    alarm(300);
    tcase_add_unchecked_fixture(t, start_server, stop_server);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, a_topic_is_created_with_its_config_in_an_empty_cluster);
    tcase_add_test(t, a_config_left_over_from_a_deleted_topic_is_overwritten);
    tcase_add_test(t, bad_names_and_assignments_are_refused);
    tcase_add_test(t, names_that_differ_only_in_dots_and_underscores_collide);
    tcase_add_test(t, deletion_marks_the_topic_and_a_new_one_must_wait);
    tcase_add_test(t, partitions_are_added_behind_the_existing_ones);
    tcase_add_test(t, lists_and_many_reads_come_in_order);
    tcase_add_test(t, brokers_controller_and_cluster_id_are_read);
    tcase_add_test(t, a_config_is_set_with_a_notification_and_the_controller_check);
    tcase_add_test(t, empty_quota_entities_are_removed_with_their_parents);
    tcase_add_test(t, requests_of_old_tools_are_not_overwritten);
    tcase_add_test(t, names_are_sanitized_as_kafka_does_it);
    tcase_add_test(t, of_several_creators_one_wins_with_its_own_config);
    tcase_add_test(t, without_a_connection_it_says_so_in_time);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_set_fork_status(r, CK_NOFORK);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? 0 : 1;
}
