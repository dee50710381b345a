/* SPDX-License-Identifier: Apache-2.0 */
/* The pure parts of the tools: options, properties, translated names, lines, formats, describe's
 * text, the judgement of a cluster. */
#include "tools/lib/admin.h"
#include "tools/configs.h"
#include "tools/lib/formatter.h"
#include "tools/lib/histogram.h"
#include "tools/lib/line_reader.h"
#include "tools/lib/opt.h"
#include "common/base/props.h"
#include "tools/lib/rdkafka.h"
#include "common/base/topic_option.h"
#include "tools/lib/topic_config.h"
#include "tools/lib/topics.h"
#include "tools/lib/view.h"

#include <check.h>
#include <stdlib.h>

/* ---- options */

static const struct opt_spec specs[] = {
    {"topic", OPT_TEXT, "topic", "A topic.", 0, 0},
    {"partitions", OPT_INT, "number", "A number.", 1, 100},
    {"list", OPT_FLAG, NULL, "A flag.", 0, 0},
    {"config", OPT_LIST, "name=value", "Repeated.", 0, 0},
    {"props", OPT_WORDS, "name=value", "Many words.", 0, 0},
    {"codec", OPT_MAYBE, "codec", "With or without a value.", 0, 0},
};
static const struct opt_command command = {
    .name = "test",
    .summary = "tests.",
    .specs = specs,
    .spec_count = ARRAY_LEN(specs),
    .examples = "--topic t\n",
};
static struct opts o;
static struct errtext why;

static enum err parse(const char *a, const char *b, const char *c, const char *d)
{
    const char *words[] = {"test", a, b, c, d, NULL};
    static char *argv[6];
    int argc = 0;

    while (words[argc] != NULL) {
        argv[argc] = (char *)(uintptr_t)words[argc];
        argc++;
    }
    opts_fini(&o);
    why.text[0] = '\0';
    return opts_parse(&o, &command, argc, argv, &why);
}

START_TEST(options_take_values_in_both_forms)
{
    size_t n;

    ck_assert_int_eq(parse("--topic", "t", "--partitions=3", "--list"), ERR_OK);
    ck_assert_str_eq(opts_text(&o, "topic", ""), "t");
    ck_assert_int_eq(opts_int(&o, "partitions", 0), 3);
    ck_assert(opts_has(&o, "list"));
    ck_assert(!opts_has(&o, "config"));
    ck_assert_int_eq(parse("--config", "a=1", "--config=b=2", NULL), ERR_OK);
    ck_assert_str_eq(opts_list(&o, "config", &n)[1], "b=2");
    ck_assert_uint_eq(n, 2);
    opts_fini(&o);
}
END_TEST

START_TEST(options_with_many_words_stop_at_the_next_option)
{
    size_t n;

    ck_assert_int_eq(parse("--props", "a=1", "b=2", "--list"), ERR_OK);
    ck_assert_str_eq(opts_list(&o, "props", &n)[1], "b=2");
    ck_assert_uint_eq(n, 2);
    ck_assert(opts_has(&o, "list"));
    opts_fini(&o);
}
END_TEST

START_TEST(optional_value_may_be_missing)
{
    ck_assert_int_eq(parse("--codec", "--list", NULL, NULL), ERR_OK);
    ck_assert(opts_has(&o, "codec"));
    ck_assert_str_eq(opts_text(&o, "codec", "gzip"), "gzip");
    ck_assert_int_eq(parse("--codec", "zstd", NULL, NULL), ERR_OK);
    ck_assert_str_eq(opts_text(&o, "codec", "gzip"), "zstd");
    opts_fini(&o);
}
END_TEST

static const struct {
    const char *words[3], *text;
} mistakes[] = {
    {{"--patitions", "3"}, "--patitions is not a recognized option; did you mean --partitions?"},
    {{"--qqqqqqq", NULL}, "--qqqqqqq is not a recognized option; --help lists them all"},
    {{"--partitions", "x"}, "--partitions takes a whole number from 1 to 100, not 'x'"},
    {{"--partitions", "0"}, "--partitions takes a whole number from 1 to 100, not '0'"},
    {{"--partitions=", NULL}, "--partitions takes a whole number from 1 to 100, not ''"},
    {{"--partitions", "9999999999999999999999"},
     "--partitions takes a whole number from 1 to 100, not '9999999999999999999999'"},
    {{"--topic", NULL}, "--topic needs a value: --topic <topic>"},
    {{"--topic", "--list"}, "--topic needs a value: --topic <topic>"},
    {{"--list=x", NULL}, "--list takes no value, but was given 'x'"},
    {{"word", NULL}, "'word' is not expected here: options begin with --, --help lists them"},
    {{"--topic=a", "--topic=b"}, "--topic is given twice, as 'a' and as 'b'; it takes one value"},
};
START_TEST(mistake_in_options_is_one_clear_line)
{
    ck_assert_int_eq(parse(mistakes[_i].words[0], mistakes[_i].words[1], NULL, NULL), ERR_INVALID);
    ck_assert_str_eq(why.text, mistakes[_i].text);
    opts_fini(&o);
}
END_TEST

START_TEST(nearest_word_is_found_by_typing_slips)
{
    static const char *const words[] = {"describe", "delete", "create", "list"};

    ck_assert_str_eq(opt_nearest("descirbe", words, 4), "describe");
    ck_assert_str_eq(opt_nearest("desc", words, 4), "describe");
    ck_assert_str_eq(opt_nearest("lst", words, 4), "list");
    ck_assert_ptr_null(opt_nearest("zookeeper", words, 4));
}
END_TEST

/* ---- properties; how files are read is in test_config.c */

START_TEST(missing_or_binary_properties_file_is_an_error_with_its_name)
{
    struct props p = {0};

    ck_assert_int_eq(props_read_file(&p, "/nonexistent/x.properties", &why), ERR_NOT_FOUND);
    ck_assert_ptr_nonnull(strstr(why.text, "/nonexistent/x.properties"));
    ck_assert_int_eq(props_parse(&p, STR_LIT("a\0b"), &why), ERR_INVALID);
    ck_assert_int_eq(props_add_pair(&p, "novalue", &why), ERR_INVALID);
    props_fini(&p);
}
END_TEST

static const struct {
    enum rdkafka_kind kind;
    const char *name, *value;
    enum rdkafka_action action;
    const char *to, *to_value;
} translations[] = {
    {RDKAFKA_PRODUCER, "request.required.acks", "1", RDKAFKA_SET, "acks", NULL},
    {RDKAFKA_PRODUCER, "compression.codec", "2", RDKAFKA_SET, "compression.type", "snappy"},
    {RDKAFKA_PRODUCER, "compression.codec", "zstd", RDKAFKA_SET, "compression.type", NULL},
    {RDKAFKA_PRODUCER, "queue.buffering.max.ms", "7", RDKAFKA_SET, "linger.ms", NULL},
    {RDKAFKA_PRODUCER, "buffer.memory", "33554432", RDKAFKA_SET, "queue.buffering.max.kbytes",
     "32768"},
    {RDKAFKA_PRODUCER, "metadata.broker.list", "h:1", RDKAFKA_SET, "bootstrap.servers", NULL},
    {RDKAFKA_PRODUCER, "serializer.class", "x", RDKAFKA_QUIET, NULL, NULL},
    {RDKAFKA_PRODUCER, "partitioner.class", "x", RDKAFKA_NO_EFFECT, NULL, NULL},
    {RDKAFKA_PRODUCER, "linger.ms", "7", RDKAFKA_UNKNOWN, NULL, NULL},
    {RDKAFKA_CONSUMER, "auto.commit.enable", "true", RDKAFKA_SET, "enable.auto.commit", NULL},
    {RDKAFKA_CONSUMER, "consumer.timeout.ms", "10", RDKAFKA_QUIET, NULL, NULL},
    {RDKAFKA_CONSUMER, "rebalance.max.retries", "4", RDKAFKA_NO_EFFECT, NULL, NULL},
    {RDKAFKA_CONSUMER, "partition.assignment.strategy",
     "org.apache.kafka.clients.consumer.RangeAssignor,"
     "org.apache.kafka.clients.consumer.CooperativeStickyAssignor",
     RDKAFKA_SET, "partition.assignment.strategy", "range,cooperative-sticky"},
    {RDKAFKA_CONSUMER, "ssl.endpoint.identification.algorithm", "", RDKAFKA_SET,
     "ssl.endpoint.identification.algorithm", "none"},
    {RDKAFKA_CONSUMER, "request.required.acks", "1", RDKAFKA_UNKNOWN, NULL, NULL},
};
START_TEST(old_and_new_property_names_reach_librdkafka)
{
    struct rdkafka_translation t;

    ck_assert_int_eq(rdkafka_translate(translations[_i].kind, translations[_i].name,
                                       translations[_i].value, &t, &why),
                     ERR_OK);
    ck_assert_int_eq(t.action, translations[_i].action);
    if (translations[_i].to != NULL)
        ck_assert_str_eq(t.name, translations[_i].to);
    ck_assert_int_eq(t.is_changed, translations[_i].to_value != NULL);
    if (t.is_changed)
        ck_assert_str_eq(t.value, translations[_i].to_value);
}
END_TEST

START_TEST(impossible_property_values_are_named)
{
    struct rdkafka_translation t;

    ck_assert_int_eq(rdkafka_translate(RDKAFKA_PRODUCER, "compression.type", "rar", &t, &why),
                     ERR_INVALID);
    ck_assert_str_eq(why.text,
                     "compression.type is one of none, gzip, snappy, lz4, zstd, not 'rar'");
    ck_assert_int_eq(rdkafka_translate(RDKAFKA_PRODUCER, "buffer.memory", "much", &t, &why),
                     ERR_INVALID);
    ck_assert_int_eq(
        rdkafka_translate(RDKAFKA_CONSUMER, "partition.assignment.strategy", "my.Own", &t, &why),
        ERR_INVALID);
}
END_TEST

/* ---- addresses */

static enum err count_address(void *arg, const char *host, int32_t port, struct errtext *w UNUSED)
{
    struct buf *out = arg;

    buf_printf(out, "<%s %d>", host, port);
    return ERR_OK;
}

static const struct {
    const char *list, *found; /* NULL: a mistake */
} addresses[] = {
    {"a:1", "<a 1>"},
    {"a:1, b:2,,c", "<a 1><b 2><c 9092>"},
    {"[::1]:9093", "<::1 9093>"},
    {"PLAINTEXT://h:5", "<h 5>"},
    {"a:0", NULL},
    {"a:65536", NULL},
    {"a:x", NULL},
    {":9092", NULL},
    {"", NULL},
    {" , ", NULL},
};
START_TEST(bootstrap_addresses_are_checked)
{
    struct buf out = {0};
    enum err rc = admin_each_address(addresses[_i].list, 9092, count_address, &out, &why);

    if (addresses[_i].found == NULL) {
        ck_assert_int_eq(rc, ERR_INVALID);
    } else {
        ck_assert_int_eq(rc, ERR_OK);
        ck_assert_str_eq(buf_cstr(&out), addresses[_i].found);
    }
    buf_fini(&out);
}
END_TEST

/* ---- console producer's lines */

static struct line_format line_format(const char *pairs[])
{
    static struct props p;
    struct line_format f;

    props_fini(&p);
    for (size_t i = 0; pairs[i] != NULL; i++)
        ck_assert_int_eq(props_add_pair(&p, pairs[i], &why), ERR_OK);
    ck_assert_int_eq(line_format_init(&f, &p, &why), ERR_OK);
    return f;
}

static void assert_bytes(struct bytes b, const char *text)
{
    if (text == NULL) {
        ck_assert_int_eq(b.len, -1);
    } else {
        ck_assert_int_eq(b.len, (int64_t)strlen(text));
        ck_assert_mem_eq(b.p, text, strlen(text));
    }
}

static const struct {
    const char *pairs[4], *line, *key, *value, *error;
} lines[] = {
    {{NULL}, "a b", NULL, "a b", NULL},
    {{NULL}, "", NULL, "", NULL},
    {{"parse.key=true", NULL}, "k\tv\tw", "k", "v\tw", NULL},
    {{"parse.key=true", "key.separator=::", NULL}, "k::v", "k", "v", NULL},
    {{"parse.key=true", "key.separator=:", NULL}, ":v", "", "v", NULL},
    {{"parse.key=true", "key.separator=:", NULL}, "k:", "k", "", NULL},
    {{"parse.key=true", NULL},
     "nokey",
     NULL,
     NULL,
     "No key separator found on line number 7: 'nokey'"},
    {{"parse.key=true", "ignore.error=true", NULL}, "nokey", NULL, "nokey", NULL},
    {{"null.marker=NIL", NULL}, "NIL", NULL, NULL, NULL},
    {{"parse.key=true", "null.marker=N", NULL}, "N\tN", NULL, NULL, NULL},
    {{"parse.headers=true", NULL},
     "none",
     NULL,
     NULL,
     "No headers delimiter found on line number 7: 'none'"},
    {{"parse.headers=true", NULL},
     "h\tv",
     NULL,
     NULL,
     "No header key separator found in pair 'h' on line number 7"},
};
START_TEST(lines_are_split_as_kafka_splits_them)
{
    const char *pairs[4] = {lines[_i].pairs[0], lines[_i].pairs[1], lines[_i].pairs[2], NULL};
    struct line_format f = line_format(pairs);
    struct line_record r;
    enum err rc = line_parse(&f, lines[_i].line, strlen(lines[_i].line), 7, &r, &why);

    if (lines[_i].error != NULL) {
        ck_assert_int_eq(rc, ERR_INVALID);
        ck_assert_str_eq(why.text, lines[_i].error);
        return;
    }
    ck_assert_int_eq(rc, ERR_OK);
    assert_bytes(r.key, lines[_i].key);
    assert_bytes(r.value, lines[_i].value);
}
END_TEST

START_TEST(headers_come_first_in_a_line)
{
    const char *pairs[] = {"parse.headers=true", "parse.key=true", NULL};
    struct line_format f = line_format(pairs);
    struct line_record r;
    static const char line[] = "h1:x,h2:\tk\tv";

    ck_assert_int_eq(line_parse(&f, line, sizeof line - 1, 1, &r, &why), ERR_OK);
    ck_assert_int_eq(r.header_count, 2);
    ck_assert(str_eq_z(r.headers[0].key, "h1"));
    assert_bytes(r.headers[0].value, "x");
    assert_bytes(r.headers[1].value, "");
    assert_bytes(r.key, "k");
    assert_bytes(r.value, "v");
}
END_TEST

/* ---- console consumer's columns: what Kafka 3.9.1 printed for the same records */

static const struct {
    const char *pairs[8], *key, *value, *out;
    bool has_headers;
} columns[] = {
    {{NULL}, NULL, "a", "a\n", false},
    {{NULL}, "k", NULL, "null\n", false},
    {{"print.timestamp=true", "print.partition=true", "print.offset=true", "print.headers=true",
      "print.key=true", NULL},
     NULL,
     "c d",
     "CreateTime:1795382411886\tPartition:0\tOffset:3\tNO_HEADERS\tnull\tc d\n",
     false},
    {{"print.headers=true", "print.key=true", NULL}, "k9", "v9", "h1:x,h2:y\tk9\tv9\n", true},
    {{"print.key=true", "print.value=false", "null.literal=NULL", NULL},
     NULL,
     "x",
     "NULL\n",
     false},
    {{"print.offset=true", NULL}, NULL, "", "Offset:3\t\n", false},
    {{"line.separator=;", NULL}, NULL, "v1", "v1;", false},
    {{"print.key=true", "key.separator=:", NULL}, "k1", "v1", "k1:v1\n", false},
    {{"value.deserializer=org.apache.kafka.common.serialization.IntegerDeserializer", NULL},
     NULL,
     "\1\2\3\4",
     "16909060\n",
     false},
};
START_TEST(records_are_printed_in_kafkas_columns)
{
    static const struct format_header headers[] = {{STR_LIT("h1"), {(const uint8_t *)"x", 1}},
                                                   {STR_LIT("h2"), {(const uint8_t *)"y", 1}}};
    struct props p = {0};
    struct formatter f;
    struct buf out = {0};
    struct format_record r = {.time_kind = FORMAT_CREATE_TIME,
                              .timestamp_ms = 1795382411886,
                              .offset = 3,
                              .key = BYTES_NULL,
                              .value = BYTES_NULL,
                              .headers = headers,
                              .header_count = columns[_i].has_headers ? 2 : 0};

    if (columns[_i].key != NULL)
        r.key = (struct bytes){(const uint8_t *)columns[_i].key, (int64_t)strlen(columns[_i].key)};
    if (columns[_i].value != NULL)
        r.value =
            (struct bytes){(const uint8_t *)columns[_i].value, (int64_t)strlen(columns[_i].value)};
    for (size_t i = 0; columns[_i].pairs[i] != NULL; i++)
        ck_assert_int_eq(props_add_pair(&p, columns[_i].pairs[i], &why), ERR_OK);
    ck_assert_int_eq(formatter_init(&f, NULL, &p, &why), ERR_OK);
    ck_assert_int_eq(formatter_print(&f, &r, &out, &why), ERR_OK);
    ck_assert_str_eq(buf_cstr(&out), columns[_i].out);
    buf_fini(&out);
    props_fini(&p);
}
END_TEST

START_TEST(formatter_refuses_what_it_cannot_show)
{
    struct props p = {0};
    struct formatter f;
    struct buf out = {0};
    struct format_record r = {.key = BYTES_NULL, .value = {(const uint8_t *)"abc", 3}};

    ck_assert_int_eq(formatter_init(&f, "my.OwnFormatter", &p, &why), ERR_INVALID);
    ck_assert_int_eq(formatter_init(&f, "kafka.tools.NoOpMessageFormatter", &p, &why), ERR_OK);
    ck_assert(f.is_silent);
    ck_assert_int_eq(formatter_init(&f, "kafka.tools.DefaultMessageFormatter", &p, &why), ERR_OK);
    props_set(&p, "value.deserializer", "LongDeserializer", 0);
    ck_assert_int_eq(formatter_init(&f, NULL, &p, &why), ERR_OK);
    ck_assert_int_eq(formatter_print(&f, &r, &out, &why), ERR_INVALID);
    props_set(&p, "print.key", "yes", 0);
    ck_assert_int_eq(formatter_init(&f, NULL, &p, &why), ERR_INVALID);
    ck_assert_str_eq(why.text, "print.key is true or false, not 'yes'");
    buf_fini(&out);
    props_fini(&p);
}
END_TEST

/* ---- kafuka-topics */

static const int32_t ids_120[] = {1, 2, 0}, ids_20[] = {2, 0}, ids_1[] = {1};
static const struct topic_partition_info one_partition[] = {{.index = 0,
                                                             .leader = 2,
                                                             .leader_is_live = true,
                                                             .replicas = ids_120,
                                                             .replica_count = 3,
                                                             .isr = ids_20,
                                                             .isr_count = 2}};
static const struct topic_partition_info no_leader[] = {
    {.index = 0, .leader = -1, .replicas = ids_1, .replica_count = 1, .isr = ids_1, .isr_count = 1},
};

START_TEST(describe_prints_what_the_tutorials_show)
{
    struct topic_info t = {.name = "my-replicated-topic",
                           .partitions = one_partition,
                           .partition_count = 1,
                           .configs = "",
                           .min_isr = 2};
    struct topics_filter all = {0}, f;
    struct buf out = {0};

    topics_describe(&t, TOPICS_KAFKA_28, &all, &out);
    ck_assert_str_eq(
        buf_cstr(&out),
        "Topic: my-replicated-topic\tPartitionCount: 1\tReplicationFactor: 3\tConfigs: \n"
        "\tTopic: my-replicated-topic\tPartition: 0\tLeader: 2\tReplicas: 1,2,0\tIsr: 2,0\n");
    out.len = 0;
    ck_assert(uuid_parse(STR_LIT("ugcpySvXS8StCIPlempBeA"), &t.id));
    t.configs = "cleanup.policy=compact,retention.ms=1000";
    topics_describe(&t, TOPICS_KAFKA_39, &all, &out);
    ck_assert_str_eq(buf_cstr(&out),
                     "Topic: my-replicated-topic\tTopicId: ugcpySvXS8StCIPlempBeA\tPartitionCount: "
                     "1\tReplicationFactor: 3\tConfigs: cleanup.policy=compact,retention.ms=1000\n"
                     "\tTopic: my-replicated-topic\tPartition: 0\tLeader: 2\tReplicas: "
                     "1,2,0\tIsr: 2,0\tElr: N/A\tLastKnownElr: N/A\n");
    out.len = 0;
    f = (struct topics_filter){.under_replicated = true};
    topics_describe(&t, TOPICS_KAFKA_28, &f, &out);
    ck_assert_str_eq(
        buf_cstr(&out),
        "\tTopic: my-replicated-topic\tPartition: 0\tLeader: 2\tReplicas: 1,2,0\tIsr: 2,0\n");
    out.len = 0;
    f = (struct topics_filter){.unavailable = true};
    topics_describe(&t, TOPICS_KAFKA_28, &f, &out);
    f = (struct topics_filter){.under_min_isr = true};
    topics_describe(&t, TOPICS_KAFKA_28, &f, &out);
    ck_assert_uint_eq(out.len, 0);
    f = (struct topics_filter){.at_min_isr = true};
    topics_describe(&t, TOPICS_KAFKA_28, &f, &out);
    ck_assert_uint_ne(out.len, 0);
    out.len = 0;
    f = (struct topics_filter){.with_overrides = true};
    topics_describe(&t, TOPICS_KAFKA_28, &f, &out);
    ck_assert_str_eq(buf_cstr(&out), "Topic: my-replicated-topic\tPartitionCount: "
                                     "1\tReplicationFactor: 3\tConfigs: "
                                     "cleanup.policy=compact,retention.ms=1000\n");
    out.len = 0;
    t.partitions = no_leader;
    f = (struct topics_filter){.unavailable = true};
    topics_describe(&t, TOPICS_KAFKA_28, &f, &out);
    ck_assert_str_eq(buf_cstr(&out), "\tTopic: my-replicated-topic\tPartition: 0\tLeader: "
                                     "none\tReplicas: 1\tIsr: 1\n");
    buf_fini(&out);
}
END_TEST

static const struct {
    const char *pattern, *name;
    bool matches;
} patterns[] = {
    {"orders", "orders", true},
    {"orders", "orders2", false},
    {"ord.*", "orders", true},
    {"a|b", "b", true},
    {"a,b", "b", true},
    {"a\\.b", "a.b", true},
    {"a\\.b", "axb", false},
    {"a.b", "axb", true},
    {"t\\d+", "t42", true},
    {"t\\d+", "tx", false},
    {"'q'", "q", true},
    {"x{1,2}", "xx", true},
    {"__.*", "__consumer_offsets", true},
};
START_TEST(topic_patterns_fit_whole_names)
{
    struct topics_pattern p;

    ck_assert_int_eq(topics_pattern_init(&p, patterns[_i].pattern, &why), ERR_OK);
    ck_assert_int_eq(topics_pattern_matches(&p, patterns[_i].name), patterns[_i].matches);
    topics_pattern_fini(&p);
}
END_TEST

START_TEST(broken_topic_pattern_is_said)
{
    struct topics_pattern p;

    ck_assert_int_eq(topics_pattern_init(&p, "a[", &why), ERR_INVALID);
    ck_assert_ptr_nonnull(strstr(why.text, "'a['"));
    topics_pattern_fini(&p);
}
END_TEST

START_TEST(replica_assignment_is_parsed)
{
    struct arena a = {0};
    struct topics_assignment as;
    static const char *const bad[] = {"", "a", "0:", "0:1,2", "0:0", "0,,1", "-1", "99999999999"};

    ck_assert_int_eq(topics_parse_assignment("0:1, 1:2 ,2:0", &a, &as, &why), ERR_OK);
    ck_assert_int_eq(as.partition_count, 3);
    ck_assert_int_eq(as.factor, 2);
    ck_assert_int_eq(as.replicas[1][0], 1);
    ck_assert_int_eq(as.replicas[2][1], 0);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        ck_assert_msg(topics_parse_assignment(bad[i], &a, &as, &why) == ERR_INVALID, "'%s'",
                      bad[i]);
    arena_fini(&a);
}
END_TEST

/* ---- configurations */

START_TEST(added_configs_may_have_commas_in_brackets)
{
    struct props p = {0};
    static const char *const bad[] = {"a", "=1", "a=[1", "a=[1]2", "a=1,b"};

    ck_assert_int_eq(configs_parse_add("a=1,b=[x,y],c=,d=e=f", &p, &why), ERR_OK);
    ck_assert_str_eq(props_get(&p, "a", ""), "1");
    ck_assert_str_eq(props_get(&p, "b", ""), "x,y");
    ck_assert_str_eq(props_get(&p, "c", "missing"), "");
    ck_assert_str_eq(props_get(&p, "d", ""), "e=f");
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        ck_assert_msg(configs_parse_add(bad[i], &p, &why) == ERR_INVALID, "'%s'", bad[i]);
    props_fini(&p);
}
END_TEST

static const struct {
    const char *name, *value;
    bool is_right;
} topic_configs[] = {
    {"retention.ms", "-1", true},
    {"retention.ms", "-2", false},
    {"retention.ms", "abc", false},
    {"cleanup.policy", "compact", true},
    {"cleanup.policy", "compact,delete", true},
    {"cleanup.policy", "compact,,delete", false},
    {"cleanup.policy", "", true},
    {"compression.type", "zstd", true},
    {"compression.type", "rar", false},
    {"preallocate", "true", true},
    {"preallocate", "1", false},
    {"min.cleanable.dirty.ratio", "0.5", true},
    {"min.cleanable.dirty.ratio", "1.5", false},
    {"foo.bar", "1", false},
    {"remote.storage.enable", "true", false},
    {"leader.replication.throttled.replicas", "0:1,1:2", true},
    {"leader.replication.throttled.replicas", "*", true},
    {"leader.replication.throttled.replicas", "0:1;1:2", false},
};
START_TEST(topic_configs_are_checked)
{
    ck_assert_int_eq(topic_option_check(topic_configs[_i].name, topic_configs[_i].value, &why),
                     topic_configs[_i].is_right ? ERR_OK : ERR_INVALID);
}
END_TEST

START_TEST(topic_configs_are_changed_in_order)
{
    static const char *const pairs[] = {"retention.ms=2", "cleanup.policy=compact"};
    static const char *const gone[] = {"segment.bytes"};
    struct zkdoc_kv now[] = {{"segment.bytes", "100"}, {"retention.ms", "1"}};
    struct zkdoc_config c = {now, 2};
    struct arena a = {0};

    ck_assert_int_eq(topic_config_change(&c, pairs, 2, gone, 1, &a, &why), ERR_OK);
    ck_assert_int_eq(c.count, 2);
    ck_assert_str_eq(c.entries[0].key, "cleanup.policy");
    ck_assert_str_eq(c.entries[1].value, "2");
    ck_assert_int_eq(topic_option_check("retention.m", "1", &why), ERR_INVALID);
    ck_assert_str_eq(why.text,
                     "Unknown topic config name: retention.m (did you mean retention.ms?)");
    arena_fini(&a);
}
END_TEST

START_TEST(config_entries_are_printed_as_kafka_prints_them)
{
    struct kp_DescribeConfigsResponse_DescribeConfigsSynonym s[] = {
        {STR_LIT("cleanup.policy"), STR_LIT("compact,delete"), 1},
        {STR_LIT("log.cleanup.policy"), STR_LIT("delete"), 5}};
    struct kp_DescribeConfigsResponse_DescribeConfigsResourceResult c = {
        .name = STR_LIT("cleanup.policy"),
        .value = STR_LIT("compact,delete"),
        .synonyms = s,
        .synonyms_count = 2};
    struct buf out = {0};

    configs_print_entry(&c, &out);
    ck_assert_str_eq(buf_cstr(&out),
                     "  cleanup.policy=compact,delete sensitive=false "
                     "synonyms={DYNAMIC_TOPIC_CONFIG:cleanup.policy=compact,delete, "
                     "DEFAULT_CONFIG:log.cleanup.policy=delete}\n");
    buf_fini(&out);
}
END_TEST

/* ---- kafuka-describe */

static struct view_broker three_brokers[3];
static struct view_topic one_topic[1];

static struct view sample_view(void)
{
    struct view v = {.cluster_id = "c", .controller_id = 0};

    for (int32_t i = 0; i < 3; i++)
        three_brokers[i] =
            (struct view_broker){.id = i, .host = "h", .port = 9092 + i, .is_live = true};
    one_topic[0] = (struct view_topic){.info = {.name = "t",
                                                .partitions = one_partition,
                                                .partition_count = 1,
                                                .configs = "",
                                                .min_isr = 2},
                                       .bytes = -1};
    v.brokers = three_brokers;
    v.broker_count = 3;
    v.topics = one_topic;
    v.topic_count = 1;
    return v;
}

static bool finds(const struct view *v, const char *text)
{
    for (int32_t i = 0; i < v->finding_count; i++)
        if (strstr(v->findings[i].what, text) != NULL)
            return true;
    return false;
}

START_TEST(full_cluster_is_healthy)
{
    static const struct topic_partition_info full[] = {{.index = 0,
                                                        .leader = 1,
                                                        .leader_is_live = true,
                                                        .replicas = ids_120,
                                                        .replica_count = 3,
                                                        .isr = ids_120,
                                                        .isr_count = 3}};
    struct arena a = {0};
    struct view v = sample_view();
    struct buf out = {0};

    v.topics[0].info.partitions = full;
    view_judge(&v, &a);
    ck_assert(v.is_healthy);
    ck_assert_int_eq(v.finding_count, 0);
    ck_assert_int_eq(v.brokers[1].leaders, 1);
    view_print(&v, false, &out);
    ck_assert_ptr_nonnull(strstr(buf_cstr(&out), "Cluster c: healthy, 3 of 3 brokers up"));
    ck_assert_ptr_null(strstr(buf_cstr(&out), "PROBLEMS"));
    buf_fini(&out);
    arena_fini(&a);
}
END_TEST

START_TEST(groups_that_are_behind_come_first_and_are_noted)
{
    static const struct topic_partition_info full[] = {{.index = 0,
                                                        .leader = 1,
                                                        .leader_is_live = true,
                                                        .replicas = ids_120,
                                                        .replica_count = 3,
                                                        .isr = ids_120,
                                                        .isr_count = 3}};
    struct group_lag groups[] = {
        {.name = "a-well", .state = "Stable", .member_count = 2, .partition_count = 4},
        {.name = "dead",
         .state = "Empty",
         .records = 1204,
         .age_ms = 12340,
         .worst = "t-0",
         .worst_records = 1000,
         .partition_count = 4},
        {.name = "old",
         .kind = GROUP_OF_ZOOKEEPER,
         .state = "Stable",
         .member_count = 1,
         .records = -1,
         .age_ms = -1},
        {.name = "shaky", .state = "PreparingRebalance", .member_count = 1},
        {.name = "slow",
         .state = "Stable",
         .member_count = 1,
         .records = 9,
         .worst = "t-1",
         .grown = 3},
    };
    struct arena a = {0};
    struct view v = sample_view();
    struct buf out = {0};
    const char *text;

    v.topics[0].info.partitions = full;
    v.groups = (struct group_lags){.items = groups, .count = 5, .left_out = 2, .unknown = "why"};
    view_judge(&v, &a);
    ck_assert(v.is_healthy); /* the consumers' affair */
    ck_assert_int_eq(v.finding_count, 4);
    ck_assert(finds(&v, "not all consumer groups could be read: why"));
    ck_assert(finds(&v, "group dead is 1204 records behind and has no members"));
    ck_assert(finds(&v, "group shaky is rebalancing"));
    ck_assert(finds(&v, "group slow falls behind: 9 records and growing, most in t-1"));
    view_print(&v, false, &out);
    text = buf_cstr(&out);
    ck_assert_ptr_nonnull(strstr(text, "GROUPS  7 groups, not all looked at\n"));
    ck_assert_ptr_nonnull(strstr(text, "1204    12.3 s  t-0 (1000)\n"));
    ck_assert_ptr_nonnull(strstr(text, "... and 2 more"));
    ck_assert(strstr(text, "a-well") > strstr(text, "slow  "));
    out.len = 0;
    view_print_json(&v, &out);
    ck_assert_ptr_nonnull(strstr(
        buf_cstr(&out), "{\"name\":\"old\",\"kind\":\"zookeeper\",\"state\":\"Stable\","
                        "\"members\":1,\"partitions\":0,\"lag_records\":null,\"lag_ms\":null,"
                        "\"most_behind\":null}"));
    ck_assert_ptr_nonnull(strstr(buf_cstr(&out), "\"groups_left_out\":2"));
    buf_fini(&out);
    arena_fini(&a);
}
END_TEST

START_TEST(missing_broker_is_named_with_what_to_do)
{
    struct arena a = {0};
    struct view v = sample_view();
    struct buf out = {0};

    v.broker_count = 1; /* broker 0 only; 1 and 2 appear in the assignment */
    view_judge(&v, &a);
    ck_assert(!v.is_healthy);
    ck_assert_int_eq(v.broker_count, 3);
    ck_assert(finds(&v, "broker 1 is not running: 1 replica is missing"));
    ck_assert(finds(&v, "broker 2 is not running"));
    ck_assert(finds(&v, "1 partition is not fully replicated: t-0"));
    view_print_json(&v, &out);
    ck_assert_ptr_nonnull(strstr(buf_cstr(&out), "\"healthy\":false"));
    buf_fini(&out);
    arena_fini(&a);
}
END_TEST

START_TEST(lagging_replica_offline_partition_and_low_isr_are_problems)
{
    struct arena a = {0};
    struct view v = sample_view();

    v.topics[0].info.min_isr = 3;
    view_judge(&v, &a);
    ck_assert(finds(&v, "broker 1 runs, but 1 of its 1 replica is out of sync"));
    ck_assert(finds(&v, "fewer in-sync replicas than min.insync.replicas"));
    v = sample_view();
    v.topics[0].info.partitions = no_leader;
    v.controller_id = -1;
    v.brokers[1].is_live = false;
    view_judge(&v, &a);
    ck_assert(finds(&v, "1 partition has no leader"));
    ck_assert(finds(&v, "there is no controller"));
    ck_assert_str_eq(v.findings[1].cure, "start broker 1: only in-sync replicas may lead");
    arena_fini(&a);
}
END_TEST

START_TEST(full_disk_and_offline_dir_are_problems)
{
    struct view_dir dirs[] = {
        {.path = "/a", .error = KE_NONE, .total_bytes = 1000, .usable_bytes = 99},
        {.path = "/b", .error = KE_KAFKA_STORAGE_ERROR, .total_bytes = -1, .usable_bytes = -1}};
    struct arena a = {0};
    struct view v = sample_view();

    v.brokers[2].dirs = dirs;
    v.brokers[2].dir_count = 2;
    view_judge(&v, &a);
    ck_assert(finds(&v, "broker 2: the disk of /a is nearly full"));
    ck_assert(finds(&v, "broker 2: the log directory /b is offline"));
    arena_fini(&a);
}
END_TEST

/* ---- histogram */

START_TEST(percentiles_are_within_one_percent)
{
    struct histogram *h = calloc(1, sizeof *h);

    for (int64_t us = 1; us <= 100000; us++)
        histogram_add(h, us);
    ck_assert_int_eq(h->count, 100000);
    ck_assert_int_eq(h->max_us, 100000);
    for (int i = 1; i < 100; i++) {
        int64_t p = histogram_percentile_us(h, i / 100.0);

        ck_assert_int_ge(p, i * 1000 * 99 / 100);
        ck_assert_int_le(p, i * 1000 * 101 / 100 + 1);
    }
    ck_assert_int_eq(histogram_percentile_us(h, 1.0), 100000);
    histogram_reset(h);
    ck_assert_int_eq(histogram_percentile_us(h, 0.5), 0);
    histogram_add(h, INT64_MAX / 2);
    ck_assert_int_gt(histogram_percentile_us(h, 0.5), 0);
    free(h);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("tools");
    TCase *t = tcase_create("options");

    tcase_add_test(t, options_take_values_in_both_forms);
    tcase_add_test(t, options_with_many_words_stop_at_the_next_option);
    tcase_add_test(t, optional_value_may_be_missing);
    tcase_add_loop_test(t, mistake_in_options_is_one_clear_line, 0, (int)ARRAY_LEN(mistakes));
    tcase_add_test(t, nearest_word_is_found_by_typing_slips);
    tcase_add_loop_test(t, bootstrap_addresses_are_checked, 0, (int)ARRAY_LEN(addresses));
    suite_add_tcase(s, t);

    t = tcase_create("properties");
    tcase_add_test(t, missing_or_binary_properties_file_is_an_error_with_its_name);
    tcase_add_loop_test(t, old_and_new_property_names_reach_librdkafka, 0,
                        (int)ARRAY_LEN(translations));
    tcase_add_test(t, impossible_property_values_are_named);
    suite_add_tcase(s, t);

    t = tcase_create("consoles");
    tcase_add_loop_test(t, lines_are_split_as_kafka_splits_them, 0, (int)ARRAY_LEN(lines));
    tcase_add_test(t, headers_come_first_in_a_line);
    tcase_add_loop_test(t, records_are_printed_in_kafkas_columns, 0, (int)ARRAY_LEN(columns));
    tcase_add_test(t, formatter_refuses_what_it_cannot_show);
    suite_add_tcase(s, t);

    t = tcase_create("topics");
    tcase_add_test(t, describe_prints_what_the_tutorials_show);
    tcase_add_loop_test(t, topic_patterns_fit_whole_names, 0, (int)ARRAY_LEN(patterns));
    tcase_add_test(t, broken_topic_pattern_is_said);
    tcase_add_test(t, replica_assignment_is_parsed);
    suite_add_tcase(s, t);

    t = tcase_create("configs");
    tcase_add_test(t, added_configs_may_have_commas_in_brackets);
    tcase_add_loop_test(t, topic_configs_are_checked, 0, (int)ARRAY_LEN(topic_configs));
    tcase_add_test(t, topic_configs_are_changed_in_order);
    tcase_add_test(t, config_entries_are_printed_as_kafka_prints_them);
    suite_add_tcase(s, t);

    t = tcase_create("describe");
    tcase_add_test(t, full_cluster_is_healthy);
    tcase_add_test(t, groups_that_are_behind_come_first_and_are_noted);
    tcase_add_test(t, missing_broker_is_named_with_what_to_do);
    tcase_add_test(t, lagging_replica_offline_partition_and_low_isr_are_problems);
    tcase_add_test(t, full_disk_and_offline_dir_are_problems);
    tcase_add_test(t, percentiles_are_within_one_percent);
    suite_add_tcase(s, t);
    return s;
}

int main(void)
{
    SRunner *r = srunner_create(suite());
    int failed;

    srunner_run_all(r, CK_NORMAL);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? 0 : 1;
}
