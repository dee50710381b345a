/* SPDX-License-Identifier: Apache-2.0 */
/* zkdoc: documents as Kafka 3.9 and older releases write them, and what is broken. */
#include "common/base/json_writer.h"
#include "common/zk/zkdoc.h"

#include <check.h>
#include <stdlib.h>

static struct arena arena;
static struct errtext why;

static void setup(void)
{
    memset(&arena, 0, sizeof arena);
}

static void teardown(void)
{
    arena_fini(&arena);
}

static struct bytes text(const char *z)
{
    return (struct bytes){(const uint8_t *)z, (int64_t)strlen(z)};
}

#define CHECK_FORMAT(call, expected)                                                               \
    do {                                                                                           \
        struct buf out = {0};                                                                      \
        call;                                                                                      \
        ck_assert_str_eq(buf_cstr(&out), expected);                                                \
        buf_fini(&out);                                                                            \
    } while (0)

START_TEST(a_broker_of_version_5_is_read_and_written_as_kafka_writes_it)
{
    static const char doc[] =
        "{\"features\":{},\"listener_security_protocol_map\":{\"PLAINTEXT\":\"PLAINTEXT\","
        "\"EXT\":\"SASL_SSL\"},\"endpoints\":[\"PLAINTEXT://k1.example:9092\","
        "\"EXT://[2001:db8::1]:9093\"],\"rack\":\"r1\",\"jmx_port\":-1,\"port\":9092,"
        "\"host\":\"k1.example\",\"version\":5,\"timestamp\":\"1731000000000\"}";
    struct zkdoc_broker b;

    ck_assert_int_eq(zkdoc_broker_parse(text(doc), &arena, &b, &why), ERR_OK);
    ck_assert_int_eq(b.version, 5);
    ck_assert_str_eq(b.host, "k1.example");
    ck_assert_int_eq(b.port, 9092);
    ck_assert_str_eq(b.rack, "r1");
    ck_assert_int_eq(b.timestamp_ms, 1731000000000);
    ck_assert_int_eq(b.endpoint_count, 2);
    ck_assert_str_eq(b.endpoints[1].host, "2001:db8::1");
    ck_assert_int_eq(b.endpoints[1].port, 9093);
    ck_assert_int_eq(b.endpoints[1].protocol, ZKDOC_SASL_SSL);
    ck_assert_ptr_eq(zkdoc_broker_endpoint(&b, "EXT"), &b.endpoints[1]);
    ck_assert_ptr_null(zkdoc_broker_endpoint(&b, "ext"));
    CHECK_FORMAT(zkdoc_broker_format(&b, &out), doc);
}
END_TEST

START_TEST(a_broker_without_plaintext_has_no_host_for_old_clients)
{
    struct zkdoc_endpoint e = {"SSL", "h", 9093, ZKDOC_SSL};
    struct zkdoc_feature f = {"x", 1, 3};
    struct zkdoc_broker b = {.jmx_port = 9999,
                             .timestamp_ms = 5,
                             .endpoints = &e,
                             .endpoint_count = 1,
                             .features = &f,
                             .feature_count = 1};

    CHECK_FORMAT(zkdoc_broker_format(&b, &out),
                 "{\"features\":{\"x\":{\"min_version\":1,\"max_version\":3}},"
                 "\"listener_security_protocol_map\":{\"SSL\":\"SSL\"},"
                 "\"endpoints\":[\"SSL://h:9093\"],\"jmx_port\":9999,\"port\":-1,\"host\":null,"
                 "\"version\":5,\"timestamp\":\"5\"}");
}
END_TEST

START_TEST(brokers_of_old_releases_are_read)
{
    struct zkdoc_broker b;

    ck_assert_int_eq(zkdoc_broker_parse(text("{\"version\":1,\"host\":\"h\",\"port\":9092,"
                                             "\"jmx_port\":9999,\"timestamp\":\"2233345666\"}"),
                                        &arena, &b, &why),
                     ERR_OK);
    ck_assert_int_eq(b.endpoint_count, 1);
    ck_assert_str_eq(b.endpoints[0].listener, "PLAINTEXT");
    ck_assert_str_eq(b.endpoints[0].host, "h");
    ck_assert_int_eq(b.endpoints[0].port, 9092);
    ck_assert_int_eq(
        zkdoc_broker_parse(text("{\"version\":2,\"host\":\"h\",\"port\":9092,\"jmx_port\":1,"
                                "\"timestamp\":2233345666,\"endpoints\":[\"PLAINTEXT://h:9092\","
                                "\"SSL://:9093\"]}"),
                           &arena, &b, &why),
        ERR_OK);
    ck_assert_int_eq(b.endpoint_count, 2);
    ck_assert_int_eq(b.endpoints[1].protocol, ZKDOC_SSL);
    ck_assert_str_eq(b.endpoints[1].host, "");
    ck_assert_ptr_null(b.rack);
}
END_TEST

START_TEST(a_topic_is_read_and_written_with_its_reassignment)
{
    static const char doc[] =
        "{\"partitions\":{\"0\":[3,2,1],\"1\":[2,3],\"10\":[1]},"
        "\"topic_id\":\"q5yX1kXHQkK2m9wzJ8aT7g\",\"adding_replicas\":{\"0\":[3]},"
        "\"removing_replicas\":{\"0\":[1]},\"version\":3}";
    struct zkdoc_topic t;

    ck_assert_int_eq(zkdoc_topic_parse(text(doc), &arena, &t, &why), ERR_OK);
    ck_assert_int_eq(t.partition_count, 3);
    ck_assert_int_eq(t.partitions[2].index, 10);
    ck_assert_int_eq(t.partitions[0].replicas[0], 3);
    ck_assert_int_eq(t.partitions[0].adding_count, 1);
    ck_assert_int_eq(t.partitions[0].removing[0], 1);
    ck_assert_ptr_eq(zkdoc_topic_partition(&t, 10), &t.partitions[2]);
    ck_assert_ptr_null(zkdoc_topic_partition(&t, 2));
    CHECK_FORMAT(zkdoc_topic_format(&t, &out), doc);
}
END_TEST

START_TEST(a_topic_of_an_old_tool_has_no_id)
{
    struct zkdoc_topic t;

    ck_assert_int_eq(zkdoc_topic_parse(text("{\"version\":1,\"partitions\":{\"1\":[1],\"0\":[2]}}"),
                                       &arena, &t, &why),
                     ERR_OK);
    ck_assert(uuid_is_zero(t.topic_id));
    CHECK_FORMAT(zkdoc_topic_format(&t, &out),
                 "{\"partitions\":{\"0\":[2],\"1\":[1]},\"adding_replicas\":{},"
                 "\"removing_replicas\":{},\"version\":3}");
}
END_TEST

START_TEST(a_state_is_read_and_written)
{
    static const char doc[] = "{\"controller_epoch\":7,\"leader\":1,\"version\":1,"
                              "\"leader_epoch\":4,\"isr\":[1,2]}";
    static const char unclean[] =
        "{\"controller_epoch\":7,\"leader\":-1,\"version\":1,\"leader_recovery_state\":1,"
        "\"leader_epoch\":4,\"isr\":[]}";
    struct zkdoc_state s;

    ck_assert_int_eq(zkdoc_state_parse(text(doc), &arena, &s, &why), ERR_OK);
    ck_assert_int_eq(s.leader, 1);
    ck_assert_int_eq(s.isr_count, 2);
    ck_assert_int_eq(s.isr[1], 2);
    CHECK_FORMAT(zkdoc_state_format(&s, &out), doc);
    ck_assert_int_eq(zkdoc_state_parse(text(unclean), &arena, &s, &why), ERR_OK);
    CHECK_FORMAT(zkdoc_state_format(&s, &out), unclean);
}
END_TEST

START_TEST(small_documents_are_read_and_written)
{
    struct zkdoc_controller c;
    struct zkdoc_producer_id_block p;
    struct zkdoc_log_dir_event l;
    struct zkdoc_features f;
    struct zkdoc_partition_list r;
    const char *id;
    int64_t n;

    ck_assert_int_eq(zkdoc_controller_parse(text("{\"version\":1,\"brokerid\":3,\"timestamp\":"
                                                 "\"1731000000000\",\"extra\":[{}]}"),
                                            &c, &why),
                     ERR_OK);
    ck_assert_int_eq(c.kraft_controller_epoch, -1);
    CHECK_FORMAT(zkdoc_controller_format(&c, &out),
                 "{\"version\":2,\"brokerid\":3,\"timestamp\":\"1731000000000\","
                 "\"kraftControllerEpoch\":-1}");
    ck_assert_int_eq(zkdoc_number_parse(text("7"), 0, INT32_MAX, &n, &why), ERR_OK);
    ck_assert_int_eq(n, 7);
    CHECK_FORMAT(zkdoc_number_format(INT64_MIN, &out), "-9223372036854775808");
    ck_assert_int_eq(
        zkdoc_number_parse(text("-9223372036854775808"), INT64_MIN, INT64_MAX, &n, &why), ERR_OK);
    ck_assert_int_eq(n, INT64_MIN);
    ck_assert_int_eq(zkdoc_producer_id_block_parse(BYTES_NULL, &p, &why), ERR_NOT_FOUND);
    static const char block[] =
        "{\"version\":1,\"broker\":2,\"block_start\":\"3000\",\"block_end\":\"3999\"}";
    ck_assert_int_eq(zkdoc_producer_id_block_parse(text(block), &p, &why), ERR_OK);
    ck_assert_int_eq(p.first_id, 3000);
    CHECK_FORMAT(zkdoc_producer_id_block_format(&p, &out), block);
    static const char event[] = "{\"version\":1,\"broker\":2,\"event\":1}";
    ck_assert_int_eq(zkdoc_log_dir_event_parse(text(event), &l, &why), ERR_OK);
    CHECK_FORMAT(zkdoc_log_dir_event_format(&l, &out), event);
    static const char features[] =
        "{\"version\":2,\"status\":1,\"features\":{\"f\":{\"max_version_level\":3}}}";
    ck_assert_int_eq(zkdoc_features_parse(text(features), &arena, &f, &why), ERR_OK);
    CHECK_FORMAT(zkdoc_features_format(&f, &out), features);
    static const char cluster[] = "{\"version\":\"1\",\"id\":\"Zk3nq2dWQ9qJ0p1v8c7b5A\"}";
    ck_assert_int_eq(zkdoc_cluster_id_parse(text(cluster), &arena, &id, &why), ERR_OK);
    CHECK_FORMAT(zkdoc_cluster_id_format(id, &out), cluster);
    static const char reassign[] = "{\"version\":1,\"partitions\":[{\"topic\":\"t\","
                                   "\"partition\":0,\"replicas\":[3,2]}]}";
    ck_assert_int_eq(zkdoc_partition_list_parse(text(reassign), &arena, &r, &why), ERR_OK);
    CHECK_FORMAT(zkdoc_partition_list_format(&r, true, &out), reassign);
    CHECK_FORMAT(zkdoc_partition_list_format(&r, false, &out),
                 "{\"version\":1,\"partitions\":[{\"topic\":\"t\",\"partition\":0}]}");
}
END_TEST

START_TEST(a_config_is_read_sorted_and_null_is_empty)
{
    struct zkdoc_config c;

    ck_assert_int_eq(zkdoc_config_parse(BYTES_NULL, &arena, &c, &why), ERR_OK);
    ck_assert_int_eq(c.count, 0);
    CHECK_FORMAT(zkdoc_config_format(&c, &out), "{\"version\":1,\"config\":{}}");
    ck_assert_int_eq(zkdoc_config_parse(text("{\"version\":1,\"config\":{\"retention.ms\":"
                                             "\"3600000\",\"cleanup.policy\":\"a\\\"\\u0001\"}}"),
                                        &arena, &c, &why),
                     ERR_OK);
    ck_assert_str_eq(zkdoc_config_value(&c, "retention.ms"), "3600000");
    ck_assert_ptr_null(zkdoc_config_value(&c, "x"));
    CHECK_FORMAT(zkdoc_config_format(&c, &out),
                 "{\"version\":1,\"config\":{\"cleanup.policy\":\"a\\\"\\u0001\","
                 "\"retention.ms\":\"3600000\"}}");
}
END_TEST

START_TEST(config_changes_of_both_versions_are_read)
{
    struct zkdoc_config_change c;

    ck_assert_int_eq(
        zkdoc_config_change_parse(text("{\"version\":2,\"entity_path\":\"users/u/clients/c\"}"),
                                  &arena, &c, &why),
        ERR_OK);
    ck_assert_str_eq(c.type, "users");
    ck_assert_str_eq(c.name, "u/clients/c");
    CHECK_FORMAT(zkdoc_config_change_format(&c, &out),
                 "{\"version\":2,\"entity_path\":\"users/u/clients/c\"}");
    ck_assert_int_eq(zkdoc_config_change_parse(text("{\"version\":1,\"entity_type\":\"topics\","
                                                    "\"entity_name\":\"t\"}"),
                                               &arena, &c, &why),
                     ERR_OK);
    ck_assert_str_eq(c.name, "t");
}
END_TEST

START_TEST(broken_utf8_is_not_written)
{
    CHECK_FORMAT(json_write_quoted(&out, str_of("\xc3\xa4 \xff \xed\xa0\x80 \xc3")),
                 "\"\xc3\xa4 \xef\xbf\xbd \xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd \xef\xbf\xbd\"");
}
END_TEST

static const char *const broken_topics[] = {
    "",
    "x",
    "[]",
    "7",
    "{}",
    "{\"partitions\":[]}",
    "{\"partitions\":{\"x\":[1]}}",
    "{\"partitions\":{\"-1\":[1]}}",
    "{\"partitions\":{\"0\":{}}}",
    "{\"partitions\":{\"0\":[\"1\"]}}",
    "{\"partitions\":{\"0\":[1.5]}}",
    "{\"partitions\":{\"0\":[99999999999]}}",
    "{\"partitions\":{\"0\":[1],\"00\":[1]}}",
    "{\"partitions\":{\"0\":[1]},\"topic_id\":\"short\"}",
    "{\"partitions\":{\"0\":[1]},\"topic_id\":7}",
    "{\"partitions\":{\"0\":[1]},\"adding_replicas\":[]}",
    "{\"partitions\":{\"0\":[1]},\"adding_replicas\":{\"z\":[1]}}",
    "{\"partitions\":{\"0\":[1]}",
    "{\"partitions\":{\"0\":[1]}} tail",
    "{\"partitions\":{\"0\":[99999999999999999999999]}}",
    "{\"partitions\":{\"\\u0000\":[1]}}",
    "{\"a\":[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]],\"partitions\":{}}",
};

START_TEST(broken_topics_are_errors_with_text)
{
    struct zkdoc_topic t;

    why.text[0] = 0;
    ck_assert_msg(zkdoc_topic_parse(text(broken_topics[_i]), &arena, &t, &why) == ERR_CORRUPT, "%s",
                  broken_topics[_i]);
    ck_assert_int_eq(t.partition_count, 0);
    ck_assert_msg(why.text[0] != 0, "%s", broken_topics[_i]);
}
END_TEST

static const char *const broken_brokers[] = {
    "{\"version\":5}",
    "{\"version\":5,\"endpoints\":[7]}",
    "{\"version\":5,\"endpoints\":[\"x\"]}",
    "{\"version\":5,\"endpoints\":[\"PLAINTEXT://h\"]}",
    "{\"version\":5,\"endpoints\":[\"PLAINTEXT://h:99999\"]}",
    "{\"version\":5,\"endpoints\":[\"PLAINTEXT://[:1\"]}",
    "{\"version\":5,\"endpoints\":[\"://h:1\"]}",
    "{\"version\":5,\"endpoints\":[\"CUSTOM://h:1\"]}",
    "{\"version\":5,\"endpoints\":[\"A://h:1\"],\"listener_security_protocol_map\":{\"A\":7}}",
    "{\"version\":5,\"endpoints\":[],\"features\":{\"a\":1}}",
    "{\"version\":\"x\",\"endpoints\":[]}",
    "{\"endpoints\":[]}",
};

START_TEST(broken_brokers_are_errors_with_text)
{
    struct zkdoc_broker b;

    why.text[0] = 0;
    ck_assert_msg(zkdoc_broker_parse(text(broken_brokers[_i]), &arena, &b, &why) == ERR_CORRUPT,
                  "%s", broken_brokers[_i]);
    ck_assert_msg(why.text[0] != 0, "%s", broken_brokers[_i]);
}
END_TEST

/* Every prefix and every single changed byte of a good document: an answer or an error, never a
 * crash (the sanitizers look on). */
START_TEST(a_consumer_is_read_and_written_as_the_old_consumer_writes_it)
{
    static const char topics[] =
        "{\"version\":1,\"subscription\":{\"orders\":2,\"clicks\":1},\"pattern\":\"static\","
        "\"timestamp\":\"1731000000000\"}";
    static const char filter[] =
        "{\"version\":1,\"subscription\":{\"log_\\\\d.*\":2},\"pattern\":\"black_list\","
        "\"timestamp\":\"1731000000000\",\"assignment\":\"ceil\"}";
    struct zkdoc_consumer c;

    ck_assert_int_eq(zkdoc_consumer_parse(text(topics), &arena, &c, &why), ERR_OK);
    ck_assert_int_eq(c.pattern, ZKDOC_STATIC);
    ck_assert_int_eq(c.subscription_count, 2);
    ck_assert_str_eq(c.subscriptions[0].name, "orders"); /* in the order of the document */
    ck_assert_int_eq(c.subscriptions[0].streams, 2);
    ck_assert_str_eq(c.subscriptions[1].name, "clicks");
    ck_assert_int_eq(c.timestamp_ms, 1731000000000);
    ck_assert(!c.is_ceil);
    CHECK_FORMAT(zkdoc_consumer_format(&c, &out), topics);
    ck_assert_int_eq(zkdoc_consumer_parse(text(filter), &arena, &c, &why), ERR_OK);
    ck_assert_int_eq(c.pattern, ZKDOC_BLACK_LIST);
    ck_assert_str_eq(c.subscriptions[0].name, "log_\\d.*");
    ck_assert(c.is_ceil);
    CHECK_FORMAT(zkdoc_consumer_format(&c, &out), filter);
}
END_TEST

static const char *const broken_consumers[] = {
    "",
    "not json",
    "[]",
    "*2*regex", /* of 0.7 */
    "{}",
    "{\"version\":1,\"subscription\":{\"a\":1}}",
    "{\"version\":1,\"pattern\":\"static\"}",
    "{\"version\":1,\"subscription\":{\"a\":1},\"pattern\":\"dynamic\"}",
    "{\"version\":1,\"subscription\":{\"a\":1},\"pattern\":7}",
    "{\"version\":1,\"subscription\":[\"a\"],\"pattern\":\"static\"}",
    "{\"version\":1,\"subscription\":{\"a\":\"x\"},\"pattern\":\"static\"}",
    "{\"version\":1,\"subscription\":{\"a\":-1},\"pattern\":\"static\"}",
    "{\"version\":1,\"subscription\":{\"a\":10001},\"pattern\":\"static\"}",
    "{\"version\":1,\"subscription\":{},\"pattern\":\"white_list\"}",
    "{\"version\":1,\"subscription\":{\"a\":1,\"b\":1},\"pattern\":\"white_list\"}",
    "{\"version\":1,\"subscription\":{\"a\":1},\"pattern\":\"static\",\"timestamp\":\"x\"}",
};

START_TEST(broken_consumers_are_errors_with_text)
{
    struct zkdoc_consumer c;

    why.text[0] = 0;
    ck_assert_int_eq(zkdoc_consumer_parse(text(broken_consumers[_i]), &arena, &c, &why),
                     ERR_CORRUPT);
    ck_assert_str_ne(why.text, "");
    ck_assert_int_eq(c.subscription_count, 0);
}
END_TEST

START_TEST(an_owner_is_an_id_and_a_number)
{
    static const char *const broken[] = {"", "g1_h", "-1", "g1_h-", "g1_h-x", "g1_h-99999999999"};
    struct zkdoc_owner o;

    ck_assert_int_eq(zkdoc_owner_parse(text("g1_web-01-17-ab-10"), &arena, &o, &why), ERR_OK);
    ck_assert_str_eq(o.consumer_id, "g1_web-01-17-ab");
    ck_assert_int_eq(o.stream, 10);
    CHECK_FORMAT(zkdoc_owner_format(&o, &out), "g1_web-01-17-ab-10");
    for (size_t i = 0; i < ARRAY_LEN(broken); i++)
        ck_assert_int_eq(zkdoc_owner_parse(text(broken[i]), &arena, &o, &why), ERR_CORRUPT);
    ck_assert_int_eq(zkdoc_owner_parse(BYTES_NULL, &arena, &o, &why), ERR_CORRUPT);
}
END_TEST

START_TEST(damaged_documents_never_crash)
{
    static const char good[] =
        "{\"features\":{\"f\":{\"min_version\":1,\"max_version\":2}},"
        "\"listener_security_protocol_map\":{\"A\":\"SSL\"},\"endpoints\":[\"A://[::1]:9\"],"
        "\"rack\":\"r\",\"jmx_port\":-1,\"port\":9092,\"host\":\"h\",\"version\":5,"
        "\"timestamp\":\"17\",\"partitions\":{\"0\":[1,2],\"1\":[2]},\"topic_id\":"
        "\"q5yX1kXHQkK2m9wzJ8aT7g\",\"adding_replicas\":{\"0\":[2]},\"leader\":1,"
        "\"leader_epoch\":4,\"controller_epoch\":7,\"isr\":[1],\"config\":{\"a\":\"b\"},"
        "\"entity_path\":\"topics/t\",\"status\":1}";
    static const char changes[] = {'"', '{', '}', '[', ']', '\\', ',', ':', 0, '9', '-', 'e'};
    char doc[sizeof good];

    for (size_t i = 0; i < sizeof good - 1; i++)
        for (size_t k = 0; k <= sizeof changes; k++) {
            memcpy(doc, good, sizeof good);
            size_t len = k == sizeof changes ? i : sizeof good - 1;
            if (k < sizeof changes)
                doc[i] = changes[k];
            struct bytes d = {(uint8_t *)doc, (int64_t)len};
            struct zkdoc_broker b;
            struct zkdoc_topic t;
            struct zkdoc_state s;
            struct zkdoc_config c;
            struct zkdoc_config_change cc;
            struct zkdoc_features f;
            (void)!zkdoc_broker_parse(d, &arena, &b, &why);
            (void)!zkdoc_topic_parse(d, &arena, &t, &why);
            (void)!zkdoc_state_parse(d, &arena, &s, &why);
            (void)!zkdoc_config_parse(d, &arena, &c, &why);
            (void)!zkdoc_config_change_parse(d, &arena, &cc, &why);
            (void)!zkdoc_features_parse(d, &arena, &f, NULL);
            arena_reset(&arena);
        }
}
END_TEST

START_TEST(a_damaged_consumer_never_crashes)
{
    static const char good[] = "{\"subscription\":{\"t\":1},\"pattern\":\"static\",\"timestamp\":"
                               "\"1\",\"assignment\":\"ceil\"}";
    char doc[sizeof good];

    for (size_t i = 0; i < sizeof good - 1; i++)
        for (int k = 1; k < 127; k++) {
            struct zkdoc_consumer c;
            memcpy(doc, good, sizeof good);
            doc[i] = (char)k;
            if (zkdoc_consumer_parse(text(doc), &arena, &c, &why) == ERR_OK)
                ck_assert_int_le(c.subscription_count, 1);
            arena_reset(&arena);
        }
}
END_TEST

START_TEST(a_document_over_the_limit_is_refused)
{
    struct zkdoc_config c;
    uint8_t *big = malloc(ZKDOC_BYTES_MAX + 1);

    memset(big, ' ', ZKDOC_BYTES_MAX + 1);
    ck_assert_int_eq(zkdoc_config_parse((struct bytes){big, ZKDOC_BYTES_MAX + 1}, &arena, &c, &why),
                     ERR_CORRUPT);
    free(big);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("zkdoc");
    TCase *t = tcase_create("documents");

    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, a_broker_of_version_5_is_read_and_written_as_kafka_writes_it);
    tcase_add_test(t, a_broker_without_plaintext_has_no_host_for_old_clients);
    tcase_add_test(t, brokers_of_old_releases_are_read);
    tcase_add_test(t, a_topic_is_read_and_written_with_its_reassignment);
    tcase_add_test(t, a_topic_of_an_old_tool_has_no_id);
    tcase_add_test(t, a_state_is_read_and_written);
    tcase_add_test(t, small_documents_are_read_and_written);
    tcase_add_test(t, a_config_is_read_sorted_and_null_is_empty);
    tcase_add_test(t, config_changes_of_both_versions_are_read);
    tcase_add_test(t, broken_utf8_is_not_written);
    tcase_add_loop_test(t, broken_topics_are_errors_with_text, 0, ARRAY_LEN(broken_topics));
    tcase_add_loop_test(t, broken_brokers_are_errors_with_text, 0, ARRAY_LEN(broken_brokers));
    tcase_add_test(t, a_consumer_is_read_and_written_as_the_old_consumer_writes_it);
    tcase_add_loop_test(t, broken_consumers_are_errors_with_text, 0, ARRAY_LEN(broken_consumers));
    tcase_add_test(t, an_owner_is_an_id_and_a_number);
    tcase_add_test(t, damaged_documents_never_crash);
    tcase_add_test(t, a_damaged_consumer_never_crashes);
    tcase_add_test(t, a_document_over_the_limit_is_refused);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? 0 : 1;
}
