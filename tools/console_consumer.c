/* SPDX-License-Identifier: Apache-2.0 */
/* kafuka-console-consumer: prints the records of topics. Without --group it reads all partitions
 * itself, from their end or, with --from-beginning, from their first record. With --zookeeper:
 * console_zk.c. */
#include "common/base/clock.h"
#include "tools/lib/admin.h"
#include "tools/console_zk.h"
#include "tools/lib/formatter.h"
#include "tools/lib/reader.h"
#include "tools/lib/rdkafka.h"
#include "tools/lib/tool.h"

#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <unistd.h>

enum {
    WAIT_MS = 100,       /* one wait for records; signals are looked at in between */
    HEADERS_MAX = 128,   /* printed of a record */
    FLUSH_BYTES = 65536, /* of output at once */
    SUBSCRIBE_MAX = 1,
    COORDINATOR_TIMEOUT_MS = 5000,
    OFFSETS_TIMEOUT_MS = 5000,
    COORDINATOR_VERSION = 2 /* before the batched form */
};

static const struct opt_spec specs[] = {
    {"topic", OPT_TEXT, "topic", "The topic whose records are printed.", 0, 0},
    {"include", OPT_TEXT, "regex",
     "Print the records of all topics whose names match this regular expression, like 'orders.*'.",
     0, 0},
    {"whitelist", OPT_TEXT, "regex", "The older name of --include.", 0, 0},
    {"blacklist", OPT_TEXT, "regex",
     "Print the records of all topics whose names do not match this regular expression.", 0, 0},
    RDKAFKA_BROKER_OPTIONS,
    {"zookeeper", OPT_TEXT, "host:port,.../chroot",
     "In place of --bootstrap-server: consume as a member of a group whose members share their "
     "work, and keep their offsets, in ZooKeeper. Without --group a group is made for this run and "
     "deleted at its end.",
     0, 0},
    {"from-beginning", OPT_FLAG, NULL,
     "Begin with the oldest record of each partition; with --group only in the partitions for "
     "which the group has committed no offset yet.",
     0, 0},
    {"partition", OPT_INT, "number", "Read only this partition of --topic.", 0, INT32_MAX},
    {"offset", OPT_TEXT, "offset",
     "With --partition: begin at this offset, or at earliest or latest (the default).", 0, 0},
    {"max-messages", OPT_INT, "number", "End after this number of records.", 0, INT64_MAX},
    {"timeout-ms", OPT_INT, "ms", "End when no record has come for this time.", 0, INT32_MAX},
    {"group", OPT_TEXT, "group",
     "Join this consumer group: its members share the partitions, and its offsets are committed.",
     0, 0},
    {"property", OPT_LIST, "name=value",
     "What is printed and how: print.timestamp, print.partition, print.offset, print.headers, "
     "print.key, print.value, key.separator, line.separator, headers.separator, null.literal, "
     "key.deserializer, value.deserializer.",
     0, 0},
    {"formatter-config", OPT_TEXT, "file", "A properties file with what --property may set.", 0, 0},
    {"formatter", OPT_TEXT, "class",
     "The name of one of Kafka's formatters, for example "
     "org.apache.kafka.tools.consumer.OffsetsMessageFormatter.",
     0, 0},
    {"key-deserializer", OPT_TEXT, "class",
     "The name of one of Kafka's deserializers, for the keys of records.", 0, 0},
    {"value-deserializer", OPT_TEXT, "class",
     "The name of one of Kafka's deserializers, for the values of records.", 0, 0},
    RDKAFKA_CONSUMER_OPTIONS,
    {"isolation-level", OPT_TEXT, "level",
     "Which records are printed: read_uncommitted prints all (the default), read_committed leaves "
     "out those of aborted transactions.",
     0, 0},
    {"skip-message-on-error", OPT_FLAG, NULL,
     "Go on with the next record when one cannot be printed.", 0, 0},
    {"enable-systest-events", OPT_DEPRECATED_FLAG, NULL, "it is for Kafka's own tests", 0, 0},
    {"new-consumer", OPT_FLAG, NULL, "Has no effect: there is only one consumer.", 0, 0},
    {"delete-consumer-offsets", OPT_FLAG, NULL,
     "With --zookeeper: delete the offsets of the group before joining it.", 0, 0},
    {"autocommit.interval.ms", OPT_INT, "ms",
     "With --zookeeper: how often offsets are committed (default 60000).", 1, INT32_MAX},
    {"csv-reporter-enabled", OPT_DEPRECATED_FLAG, NULL, "an option of Kafka 0.8", 0, 0},
};

static const struct opt_command command = {
    .name = "console-consumer",
    .summary = "prints the records of topics.",
    .specs = specs,
    .spec_count = ARRAY_LEN(specs),
    .examples = "--bootstrap-server localhost:9092 --topic orders --from-beginning\n"
                "--bootstrap-server localhost:9092 --topic orders --group billing\n"
                "--bootstrap-server localhost:9092 --topic __consumer_offsets --from-beginning "
                "--formatter org.apache.kafka.tools.consumer.OffsetsMessageFormatter\n"
                "--bootstrap-server localhost:9092 --topic orders --max-messages 10 --property "
                "print.key=true\n"
                "--bootstrap-server localhost:9092 --topic orders --partition 0 --offset 42 "
                "--timeout-ms 1000\n"
                "--bootstrap-server localhost:9092 --include 'orders.*' --property "
                "print.timestamp=true\n"
                "--zookeeper localhost:2181 --topic orders --group billing\n",
};

struct consumer {
    const struct opts *o;
    struct formatter format;
    struct topics_pattern pattern;
    struct buf out;
    const char *isolation;
    int64_t max_messages; /* -1: no limit */
    int64_t timeout_ms;   /* -1: none */
    int64_t offset;
    int64_t seen;
    bool has_failed, is_output_closed;
    /* of a group: where to go on behind what lies in out. Stored, for the next commit, when that is
     * written */
    rd_kafka_t *group_rk;
    rd_kafka_topic_partition_list_t *printed;
    int64_t
        reset_offset; /* where nothing is committed; RD_KAFKA_OFFSET_INVALID: librdkafka decides */
    bool is_topic_missing;
};

static void forget_printed(struct consumer *c)
{
    if (c->printed != NULL)
        rd_kafka_topic_partition_list_destroy(c->printed);
    c->printed = NULL;
}

/* A partition that another member has by now is refused, as it should be: its commit is not ours.
 */
static void store_printed(struct consumer *c)
{
    if (c->printed != NULL)
        (void)rd_kafka_offsets_store(c->group_rk, c->printed);
    forget_printed(c);
}

/* Records come in runs of one partition: the last one is looked at first. */
static void note_printed(struct consumer *c, const rd_kafka_message_t *m)
{
    const char *topic = rd_kafka_topic_name(m->rkt);
    rd_kafka_topic_partition_t *p;

    if (c->printed == NULL)
        c->printed = rd_kafka_topic_partition_list_new(8);
    p = c->printed->cnt == 0 ? NULL : &c->printed->elems[c->printed->cnt - 1];
    if (p == NULL || p->partition != m->partition || strcmp(p->topic, topic) != 0)
        p = rd_kafka_topic_partition_list_find(c->printed, topic, m->partition);
    if (p == NULL)
        p = rd_kafka_topic_partition_list_add(c->printed, topic, m->partition);
    p->offset = m->offset + 1;
}

static void flush_out(struct consumer *c)
{
    if (c->out.len > 0 && !c->is_output_closed &&
        (fwrite(c->out.p, 1, c->out.len, stdout) != c->out.len || fflush(stdout) != 0)) {
        c->is_output_closed = true;
        (void)opts_fail(c->o, "Unable to write to standard out, closing consumer.");
        clearerr(stdout);
    }
    if (!c->is_output_closed)
        store_printed(c);
    forget_printed(c);
    c->out.len = 0;
}

static int32_t take_headers(const rd_kafka_message_t *m, struct format_header *headers)
{
    rd_kafka_headers_t *h = NULL;
    int32_t n = 0;
    const char *key;
    const void *value;
    size_t size;

    if (rd_kafka_message_headers(m, &h) != RD_KAFKA_RESP_ERR_NO_ERROR)
        return 0;
    while (n < HEADERS_MAX &&
           rd_kafka_header_get_all(h, (size_t)n, &key, &value, &size) == RD_KAFKA_RESP_ERR_NO_ERROR)
        headers[n++] = (struct format_header){
            str_of(key), value == NULL ? BYTES_NULL : (struct bytes){value, (int64_t)size}};
    return n;
}

static struct bytes bytes_of(const void *p, size_t len)
{
    return p == NULL ? BYTES_NULL : (struct bytes){p, (int64_t)len};
}

static bool print_formatted(void *arg, const char *topic, const struct format_record *r)
{
    struct consumer *c = arg;
    struct errtext why = {{0}};

    c->seen++;
    if (formatter_print(&c->format, r, &c->out, &why) != ERR_OK) {
        (void)opts_fail(c->o, "%s [%d] at offset %" PRId64 ": %s", topic, r->partition, r->offset,
                        why.text);
        c->has_failed = !opts_has(c->o, "skip-message-on-error");
    }
    if (c->out.len >= FLUSH_BYTES)
        flush_out(c);
    return !c->has_failed && !c->is_output_closed &&
           (c->max_messages < 0 || c->seen < c->max_messages);
}

/* One record. False: enough. */
static bool print_record(void *arg, rd_kafka_message_t *m)
{
    struct consumer *c = arg;
    struct format_header headers[HEADERS_MAX];
    struct format_record r = {
        .offset = m->offset,
        .partition = m->partition,
        .key = bytes_of(m->key, m->key_len),
        .value = bytes_of(m->payload, m->len),
        .headers = headers,
    };
    rd_kafka_timestamp_type_t kind;

    r.timestamp_ms = rd_kafka_message_timestamp(m, &kind);
    r.time_kind = kind == RD_KAFKA_TIMESTAMP_CREATE_TIME       ? FORMAT_CREATE_TIME
                  : kind == RD_KAFKA_TIMESTAMP_LOG_APPEND_TIME ? FORMAT_LOG_APPEND_TIME
                                                               : FORMAT_NO_TIME;
    if (c->format.print_headers)
        r.header_count = take_headers(m, headers);
    return print_formatted(c, rd_kafka_topic_name(m->rkt), &r);
}

/* The next records through the group's subscription. */
static ssize_t poll_group(struct consumer *c, rd_kafka_t *rk, int timeout_ms)
{
    rd_kafka_message_t *m = rd_kafka_consumer_poll(rk, timeout_ms);
    const char *cure;
    ssize_t n = 0;

    if (m == NULL)
        return 0;
    if (m->err == RD_KAFKA_RESP_ERR_NO_ERROR) {
        (void)print_record(c, m);
        if (!c->has_failed && !c->is_output_closed)
            note_printed(c, m);
        n = 1;
    } else if ((cure = rdkafka_group_cure(m->err)) != NULL) {
        c->has_failed = true;
        (void)opts_fail(c->o, "%s: %s", rd_kafka_message_errstr(m), cure);
    } else if (m->err != RD_KAFKA_RESP_ERR__PARTITION_EOF) {
        opts_warn(c->o, "%s; trying on", rd_kafka_message_errstr(m));
    }
    rd_kafka_message_destroy(m);
    return n;
}

/* Until a limit, an error or a signal. reader NULL: by the group. */
static int consume(struct consumer *c, rd_kafka_t *rk, struct reader *reader)
{
    int64_t last_ms = clock_mono_ms();

    while (!rdkafka_stop_requested() && !c->has_failed && !c->is_output_closed &&
           (c->max_messages < 0 || c->seen < c->max_messages)) {
        int64_t now = clock_mono_ms();
        int64_t wait_ms = WAIT_MS;
        ssize_t n;

        if (c->timeout_ms >= 0)
            wait_ms = i64_min(wait_ms, i64_max(last_ms + c->timeout_ms - now, 0));
        n = reader != NULL ? reader_poll(reader, (int)wait_ms, print_record, c)
                           : poll_group(c, rk, (int)wait_ms);
        if (n < 0)
            return 1;
        if (n > 0)
            last_ms = clock_mono_ms();
        if (reader != NULL || n == 0)
            flush_out(c);
        if (n == 0 && c->timeout_ms >= 0 && clock_mono_ms() - last_ms >= c->timeout_ms)
            break;
    }
    flush_out(c);
    return c->has_failed ? 1 : 0;
}

static const char *topics_regex(const struct opts *o)
{
    return opts_text(o, "include", opts_text(o, "whitelist", opts_text(o, "blacklist", NULL)));
}

static int run_without_group(struct consumer *c, rd_kafka_t *rk)
{
    struct reader_options ro = {
        .o = c->o,
        .rk = rk,
        .topic = opts_text(c->o, "topic", NULL),
        .pattern = &c->pattern,
        .is_excluding = opts_has(c->o, "blacklist"),
        .partition = (int32_t)opts_int(c->o, "partition", -1),
        .offset = c->offset,
        .has_told_missing = c->is_topic_missing,
    };
    struct reader *reader = reader_open(&ro);
    int rc;

    if (reader == NULL)
        return 1;
    rc = consume(c, rk, reader);
    reader_close(&reader);
    return rc;
}

/* A group without a coordinator is silence for ever: say why nothing comes. */
static void warn_without_coordinator(const struct consumer *c, const struct props *p,
                                     const char *bootstrap)
{
    struct kp_FindCoordinatorRequest request;
    struct kp_FindCoordinatorResponse response;
    struct errtext why = {{0}};
    struct admin a;

    if (strcasecmp(props_get(p, "security.protocol", "PLAINTEXT"), "PLAINTEXT") != 0)
        return;
    kp_defaults(&kp_FindCoordinatorRequest_schema, &request);
    request.key = str_of(opts_text(c->o, "group", props_get(p, "group.id", "")));
    if (admin_init(&a, bootstrap, NULL, COORDINATOR_TIMEOUT_MS, &why) == ERR_OK &&
        admin_call(&a, ADMIN_ANY, KP_API_FIND_COORDINATOR, COORDINATOR_VERSION, &request, &response,
                   NULL, &why) == ERR_OK &&
        response.error_code != KE_NONE)
        opts_warn(c->o,
                  "the cluster has no coordinator for groups at the moment (%s); waiting for "
                  "one. Without --group the topic is read at once",
                  admin_error(&a, response.error_code, response.error_message));
    admin_close(&a);
}

/* Where the group goes on in each partition. Left to librdkafka, a partition without a committed
 * offset waits a tenth of a second before it asks for its beginning or end, and one with a
 * committed offset is asked for after the empty ones, whose fetch then holds it up. What cannot be
 * found here is left to it after all. */
static void find_offsets(const struct consumer *c, rd_kafka_t *rk,
                         rd_kafka_topic_partition_list_t *list)
{
    rd_kafka_topic_partition_list_t *fresh;
    bool is_known;

    if (c->reset_offset == RD_KAFKA_OFFSET_INVALID)
        return;
    fresh = rd_kafka_topic_partition_list_new(list->cnt);
    is_known = rd_kafka_committed(rk, list, OFFSETS_TIMEOUT_MS) == RD_KAFKA_RESP_ERR_NO_ERROR;
    for (int i = 0; i < list->cnt; i++) {
        rd_kafka_topic_partition_t *tp = &list->elems[i];

        if (!is_known || tp->err != RD_KAFKA_RESP_ERR_NO_ERROR)
            tp->offset = RD_KAFKA_OFFSET_INVALID;
        else if (tp->offset == RD_KAFKA_OFFSET_INVALID)
            rd_kafka_topic_partition_list_add(fresh, tp->topic, tp->partition)->offset =
                c->reset_offset;
    }
    if (fresh->cnt > 0 &&
        rd_kafka_offsets_for_times(rk, fresh, OFFSETS_TIMEOUT_MS) == RD_KAFKA_RESP_ERR_NO_ERROR) {
        for (int i = 0; i < fresh->cnt; i++) {
            rd_kafka_topic_partition_t *tp = rd_kafka_topic_partition_list_find(
                list, fresh->elems[i].topic, fresh->elems[i].partition);

            if (tp != NULL && fresh->elems[i].err == RD_KAFKA_RESP_ERR_NO_ERROR &&
                fresh->elems[i].offset >= 0)
                tp->offset = fresh->elems[i].offset;
        }
    }
    rd_kafka_topic_partition_list_destroy(fresh);
}

/* What is printed of a partition that goes is written and stored before, so that the commit with
 * which it goes has it. */
static void on_rebalance(rd_kafka_t *rk, rd_kafka_resp_err_t what,
                         rd_kafka_topic_partition_list_t *list, void *opaque)
{
    struct consumer *c = rdkafka_arg(opaque);
    bool is_assign = what == RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
    rd_kafka_error_t *e = NULL;

    if (is_assign)
        find_offsets(c, rk, list);
    else
        flush_out(c);
    if (strcmp(rd_kafka_rebalance_protocol(rk), "COOPERATIVE") == 0)
        e = is_assign ? rd_kafka_incremental_assign(rk, list)
                      : rd_kafka_incremental_unassign(rk, list);
    else
        (void)rd_kafka_assign(rk, is_assign ? list : NULL);
    if (e != NULL) {
        opts_warn(c->o, "%s", rd_kafka_error_string(e));
        rd_kafka_error_destroy(e);
    }
}

static int run_with_group(struct consumer *c, rd_kafka_t *rk)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(SUBSCRIBE_MAX);
    const char *topic = opts_text(c->o, "topic", NULL);
    struct buf name = {0};
    rd_kafka_resp_err_t e;
    int rc = 1;

    if (topic != NULL)
        buf_printf(&name, "%s", topic);
    else
        buf_printf(&name, "^(%s)$", topics_regex(c->o));
    rd_kafka_topic_partition_list_add(list, buf_cstr(&name), RD_KAFKA_PARTITION_UA);
    (void)rd_kafka_poll_set_consumer(rk);
    c->group_rk = rk;
    e = rd_kafka_subscribe(rk, list);
    if (e != RD_KAFKA_RESP_ERR_NO_ERROR)
        (void)opts_fail(c->o, "%s: %s", buf_cstr(&name), rd_kafka_err2str(e));
    else
        rc = consume(c, rk, NULL);
    (void)rd_kafka_consumer_close(rk);
    forget_printed(c);
    rd_kafka_topic_partition_list_destroy(list);
    buf_fini(&name);
    return rc;
}

static rd_kafka_conf_t *make_conf(const struct consumer *c, const struct props *p,
                                  const char *bootstrap, struct errtext *why)
{
    const char *group = opts_text(c->o, "group", props_get(p, "group.id", NULL));
    const char *const defaults[][2] = {
        {"client.id", "console-consumer"},
        {"allow.auto.create.topics", "true"},
        /* short: a partition that is found while a fetch waits joins the next one */
        {"fetch.wait.max.ms", "100"},
        {"fetch.error.backoff.ms", "50"},
        /* over this (all partitions together) librdkafka stops fetching and looks again only a
         * second later; a stalled output holds that many records in memory, 0.2 GB of tiny ones */
        {"queued.min.messages", "1000000"},
        {"auto.offset.reset", opts_has(c->o, "from-beginning") ? "earliest" : "latest"},
        {"isolation.level", c->isolation},
        {"log_level", "0"},
    };
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    enum err rc = ERR_OK;

    for (size_t i = 0; rc == ERR_OK && i < ARRAY_LEN(defaults); i++)
        rc = rdkafka_set(conf, defaults[i][0], defaults[i][1], why);
    if (rc == ERR_OK)
        rc = rdkafka_apply(c->o, conf, RDKAFKA_CONSUMER, p, why);
    if (rc == ERR_OK && group != NULL)
        rc = rdkafka_set(conf, "group.id", group, why);
    if (rc == ERR_OK && group != NULL) /* store_printed does */
        rc = rdkafka_set(conf, "enable.auto.offset.store", "false", why);
    if (group != NULL)
        rd_kafka_conf_set_rebalance_cb(conf, on_rebalance);
    if (rc == ERR_OK && opts_has(c->o, "from-beginning"))
        rc = rdkafka_set(conf, "auto.offset.reset", "earliest", why);
    if (rc == ERR_OK)
        rc = rdkafka_set(conf, "bootstrap.servers", bootstrap, why);
    if (rc == ERR_OK)
        return conf;
    rd_kafka_conf_destroy(conf);
    return NULL;
}

/* "earliest", "latest" or a number, and what auto.offset.reset says without --offset. */
static enum err choose_offset(struct consumer *c, const struct props *p, struct errtext *why)
{
    const char *text = opts_text(c->o, "offset", NULL);
    const char *reset = props_get(p, "auto.offset.reset", "latest");

    c->offset = opts_has(c->o, "from-beginning") || strcmp(reset, "earliest") == 0 ||
                        strcmp(reset, "smallest") == 0
                    ? RD_KAFKA_OFFSET_BEGINNING
                    : RD_KAFKA_OFFSET_END;
    c->reset_offset = c->offset == RD_KAFKA_OFFSET_BEGINNING || strcmp(reset, "latest") == 0 ||
                              strcmp(reset, "largest") == 0
                          ? c->offset
                          : RD_KAFKA_OFFSET_INVALID;
    if (text == NULL)
        return ERR_OK;
    if (strcmp(text, "earliest") == 0)
        c->offset = RD_KAFKA_OFFSET_BEGINNING;
    else if (strcmp(text, "latest") == 0)
        c->offset = RD_KAFKA_OFFSET_END;
    else if (!opt_number(text, 0, INT64_MAX, &c->offset)) {
        errtext_set(why,
                    "The provided offset value '%s' is incorrect. Valid values are "
                    "'earliest', 'latest', or a non-negative long.",
                    text);
        return ERR_INVALID;
    }
    return ERR_OK;
}

/* What Kafka's script refuses. */
static int check_options(const struct opts *o)
{
    if (opts_has(o, "topic") + opts_has(o, "include") + opts_has(o, "whitelist") +
            opts_has(o, "blacklist") !=
        1)
        return opts_fail(o, "Exactly one of --include/--topic is required.");
    if (opts_has(o, "partition") && !opts_has(o, "topic"))
        return opts_fail(o, "The topic is required when partition is specified.");
    if (opts_has(o, "offset") && !opts_has(o, "partition"))
        return opts_fail(o, "The partition is required when offset is specified.");
    if (opts_has(o, "offset") && opts_has(o, "from-beginning"))
        return opts_fail(o, "--from-beginning and --offset cannot be specified together.");
    if (opts_has(o, "zookeeper") && (opts_has(o, "bootstrap-server") || opts_has(o, "broker-list")))
        return opts_fail(o, "--zookeeper and --bootstrap-server cannot be specified together: "
                            "groups of the one kind do not know those of the other");
    if (opts_has(o, "delete-consumer-offsets") && !opts_has(o, "zookeeper"))
        return opts_fail(o, "--delete-consumer-offsets works with --zookeeper only; for a group of "
                            "the brokers: kafuka-consumer-groups --delete --group ...");
    if (opts_has(o, "group") && opts_has(o, "blacklist") && !opts_has(o, "zookeeper"))
        return opts_fail(o, "--blacklist does not work with --group: list the topics with "
                            "--include");
    if (opts_has(o, "group") && opts_text(o, "group", "")[0] == '\0')
        return opts_fail(o, "--group takes the name of a group, not an empty text");
    if (opts_has(o, "group") && opts_has(o, "partition"))
        return opts_fail(o, "Options group and partition cannot be specified together.");
    return -1;
}

static int connect_and_run(struct consumer *c, const struct props *p, const char *bootstrap)
{
    bool has_group = opts_has(c->o, "group") || props_get(p, "group.id", NULL) != NULL;
    struct errtext why = {{0}};
    rd_kafka_conf_t *conf = make_conf(c, p, bootstrap, &why);
    rd_kafka_t *rk;
    int rc;

    if (conf == NULL)
        return opts_fail(c->o, "%s", why.text);
    rk = rdkafka_new(c->o, RDKAFKA_CONSUMER, conf, c);
    if (rk == NULL)
        return 1;
    rdkafka_catch_signals();
    has_group = has_group && !opts_has(c->o, "partition");
    if (has_group)
        warn_without_coordinator(c, p, bootstrap);
    rc = has_group ? run_with_group(c, rk) : run_without_group(c, rk);
    rd_kafka_destroy(rk);
    fprintf(stderr, "Processed a total of %" PRId64 " messages\n", c->seen);
    return rc;
}

static bool flush_cb(void *arg)
{
    struct consumer *c = arg;

    flush_out(c);
    return !c->is_output_closed;
}

/* --zookeeper: a group as Kafka's old consumers have it. */
static int run_with_zookeeper(struct consumer *c, const struct props *p)
{
    struct console_zk z = {
        .o = c->o,
        .p = p,
        .regex = opts_text(c->o, "topic", topics_regex(c->o)),
        .is_black_list = opts_has(c->o, "blacklist"),
        .timeout_ms = c->timeout_ms,
        .found = print_formatted,
        .flush = flush_cb,
        .out = &c->out,
        .with_headers = c->format.print_headers,
        .arg = c,
    };
    int rc = console_zk_run(&z);

    fprintf(stderr, "Processed a total of %" PRId64 " messages\n", c->seen);
    return rc != 0 || c->has_failed;
}

/* The formatter from --formatter, --property and the --...-deserializer options. */
static enum err choose_format(struct consumer *c, struct props *p, struct errtext *why)
{
    const char *unknown;
    enum err rc = rdkafka_load_props(c->o, "formatter-config", "property", p, why);

    if (rc != ERR_OK)
        return rc;
    unknown = formatter_unknown(p);
    if (unknown != NULL)
        opts_warn(c->o, "--property %s is not known to the formatter and has no effect", unknown);
    if (opts_has(c->o, "key-deserializer"))
        props_set(p, "key.deserializer", opts_text(c->o, "key-deserializer", ""), 0);
    if (opts_has(c->o, "value-deserializer"))
        props_set(p, "value.deserializer", opts_text(c->o, "value-deserializer", ""), 0);
    return formatter_init(&c->format, opts_text(c->o, "formatter", NULL), p, why);
}

static int run(const struct opts *o)
{
    struct consumer c = {.o = o, .isolation = opts_text(o, "isolation-level", "read_uncommitted")};
    struct props format = {0}, props = {0};
    struct errtext why = {{0}};
    char *bootstrap = NULL;
    int64_t n;
    int rc = check_options(o);

    if (rc >= 0)
        return rc;
    rc = 1;
    c.pattern.is_all = true;
    if (topics_pattern_init(&c.pattern, topics_regex(o), &why) != ERR_OK ||
        choose_format(&c, &format, &why) != ERR_OK ||
        rdkafka_load_props(o, "consumer.config", "consumer-property", &props, &why) != ERR_OK ||
        choose_offset(&c, &props, &why) != ERR_OK) {
        (void)opts_fail(o, "%s", why.text);
        goto out;
    }
    c.max_messages = opts_int(o, "max-messages", -1);
    c.timeout_ms = opts_int(o, "timeout-ms", -1);
    if (c.timeout_ms < 0 &&
        opt_number(props_get(&props, "consumer.timeout.ms", "-1"), 0, INT32_MAX, &n))
        c.timeout_ms = n; /* 0.8's name */
    if (opts_has(o, "zookeeper") && !opts_has(o, "partition")) {
        rc = run_with_zookeeper(&c, &props);
        goto out;
    }
    rc = rdkafka_find_brokers(o, &props, true, opts_text(o, "topic", NULL), &c.is_topic_missing,
                              &bootstrap);
    if (rc < 0)
        rc = connect_and_run(&c, &props, bootstrap);
out:
    mem_free(bootstrap);
    topics_pattern_fini(&c.pattern);
    props_fini(&format);
    props_fini(&props);
    buf_fini(&c.out);
    return rc;
}

int cmd_console_consumer(int argc, char **argv)
{
    struct opts o;
    int rc = opts_start(&o, &command, argc, argv);

    if (rc < 0)
        rc = run(&o);
    opts_fini(&o);
    return rc;
}
