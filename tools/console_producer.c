/* SPDX-License-Identifier: Apache-2.0 */
/* kafuka-console-producer: every line of the standard input is a record. A record that could not be
 * delivered is named on stderr and makes the exit status 1. */
#include "tools/lib/line_reader.h"
#include "tools/lib/mem.h"
#include "tools/lib/rdkafka.h"
#include "tools/lib/tool.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum {
    POLL_EVERY = 1000,   /* records between looks at delivery reports */
    QUEUE_WAIT_MS = 100, /* when the queue is full */
    REPORTED_MAX = 10,   /* failed records named one by one */
    SHOWN_BYTES_MAX = 60 /* of a failed record */
};

static const struct opt_spec specs[] = {
    {"topic", OPT_TEXT, "topic", "REQUIRED: the topic to which each line is sent as a record.", 0,
     0},
    RDKAFKA_BROKER_OPTIONS,
    {"property", OPT_LIST, "name=value",
     "How a line is read: parse.key, key.separator (a tab), parse.headers, headers.delimiter (a "
     "tab), headers.separator (,), headers.key.separator (:), null.marker, ignore.error.",
     0, 0},
    {"reader-config", OPT_TEXT, "file", "A properties file with what --property may set.", 0, 0},
    {"line-reader", OPT_TEXT, "class",
     "The class that reads lines: Kafka's LineMessageReader, the default, is the only one.", 0, 0},
    {"producer-property", OPT_LIST, "name=value",
     "A property of the producer, by Kafka's or librdkafka's name; may be repeated.", 0, 0},
    RDKAFKA_PRODUCER_FILE_OPTION,
    {"request-required-acks", OPT_TEXT, "acks",
     "How many replicas must have stored a record before it counts as sent: all or -1 (the "
     "default), 0, 1 or more.",
     0, 0},
    {"sync", OPT_FLAG, NULL,
     "Send the next record only after the brokers have confirmed the one before.", 0, 0},
    {"timeout", OPT_INT, "ms",
     "How long a record waits for others that are sent with it in one batch (default 5).", 0,
     900000},
    {"batch-size", OPT_INT, "bytes",
     "The size up to which records are gathered into a batch (default 16384).", 0, INT32_MAX},
    {"max-partition-memory-bytes", OPT_INT, "bytes", "The same as --batch-size.", 0, INT32_MAX},
    {"compression-codec", OPT_MAYBE, "codec",
     "Compress batches with none, gzip, snappy, lz4 or zstd; with gzip if the option has no value.",
     0, 0},
    {"message-send-max-retries", OPT_INT, "number",
     "How often a batch is sent again after a failure (default: as long as --max-block-ms lasts).",
     0, INT32_MAX},
    {"retry-backoff-ms", OPT_INT, "ms", "How long to wait before a batch is sent again.", 1,
     300000},
    {"request-timeout-ms", OPT_INT, "ms", "How long a broker may take to answer a request.", 1,
     900000},
    {"max-block-ms", OPT_INT, "ms",
     "How long the delivery of a record may take in all, with all retries.", 1, INT32_MAX},
    {"max-memory-bytes", OPT_INT, "bytes",
     "How much memory the records that wait to be sent may take.", 1024, INT64_MAX},
    {"metadata-expiry-ms", OPT_INT, "ms",
     "How often the producer asks again for the topics' leaders.", 1, INT32_MAX},
    {"socket-buffer-size", OPT_INT, "bytes", "The size of the connections' send buffers.", 0,
     100000000},
    {"queue-size", OPT_DEPRECATED, "number", "an option of Kafka 0.8", 0, 0},
    {"queue-enqueuetimeout-ms", OPT_DEPRECATED, "ms", "an option of Kafka 0.8", 0, 0},
    {"key-serializer", OPT_DEPRECATED, "class", "lines are bytes here", 0, 0},
    {"value-serializer", OPT_DEPRECATED, "class", "lines are bytes here", 0, 0},
};

static const struct opt_command command = {
    .name = "console-producer",
    .summary = "sends each line of the standard input as a record.",
    .specs = specs,
    .spec_count = ARRAY_LEN(specs),
    .examples =
        "--bootstrap-server localhost:9092 --topic orders\n"
        "--bootstrap-server localhost:9092 --topic orders --property parse.key=true "
        "--property key.separator=:\n"
        "--bootstrap-server localhost:9092 --topic orders --compression-codec zstd < lines\n"
        "--bootstrap-server localhost:9092 --topic orders --producer-property "
        "linger.ms=100\n",
};

struct producer {
    const struct opts *o;
    rd_kafka_t *rk;
    rd_kafka_topic_t *topic;
    struct line_format format;
    int64_t lines, failed;
    int64_t acked; /* reports seen, good or bad */
    bool is_sync;
};

static void print_failure(struct producer *p, int64_t line, const void *payload, size_t len,
                          const char *reason)
{
    p->failed++;
    if (p->failed > REPORTED_MAX)
        return;
    (void)opts_fail(p->o, "record %" PRId64 " ('%.*s%s') was not delivered: %s", line,
                    (int)size_min(len, SHOWN_BYTES_MAX),
                    payload == NULL ? "" : (const char *)payload,
                    len > SHOWN_BYTES_MAX ? "..." : "", reason);
}

static void on_report(rd_kafka_t *rk, const rd_kafka_message_t *m, void *opaque)
{
    struct producer *p = rdkafka_arg(opaque);
    char text[512];
    const char *reason;

    p->acked++;
    if (m->err == RD_KAFKA_RESP_ERR_NO_ERROR)
        return;
    reason = rd_kafka_err2str(m->err);
    if (m->err == RD_KAFKA_RESP_ERR__PURGE_QUEUE &&
        rd_kafka_fatal_error(rk, text, sizeof text) != RD_KAFKA_RESP_ERR_NO_ERROR)
        reason = text;
    print_failure(p, (int64_t)(intptr_t)m->_private, m->payload, m->len, reason);
}

/* The headers of a record, NULL for none. */
static enum err add_headers(const struct line_record *r, rd_kafka_headers_t **out)
{
    rd_kafka_headers_t *h;

    *out = NULL;
    if (r->header_count == 0)
        return ERR_OK;
    h = rd_kafka_headers_new((size_t)r->header_count);
    for (int32_t i = 0; i < r->header_count; i++) {
        const struct line_header *l = &r->headers[i];

        if (rd_kafka_header_add(h, l->key.p, l->key.len, l->value.len < 0 ? NULL : l->value.p,
                                l->value.len < 0 ? -1 : (ssize_t)l->value.len) !=
            RD_KAFKA_RESP_ERR_NO_ERROR) {
            rd_kafka_headers_destroy(h);
            return ERR_INVALID;
        }
    }
    *out = h;
    return ERR_OK;
}

/* Gives one record to librdkafka, waiting while its queue is full. */
static rd_kafka_resp_err_t enqueue(struct producer *p, const struct line_record *r)
{
    void *key = r->key.len < 0 ? NULL : tool_unconst(r->key.p);
    void *value = r->value.len < 0 ? NULL : tool_unconst(r->value.p);
    size_t key_len = r->key.len < 0 ? 0 : (size_t)r->key.len;
    size_t value_len = r->value.len < 0 ? 0 : (size_t)r->value.len;
    void *line = (void *)(intptr_t)p->lines;

    for (;;) {
        rd_kafka_vu_t args[] = {
            {.vtype = RD_KAFKA_VTYPE_RKT, .u.rkt = p->topic},
            {.vtype = RD_KAFKA_VTYPE_MSGFLAGS, .u.i = RD_KAFKA_MSG_F_COPY},
            {.vtype = RD_KAFKA_VTYPE_KEY, .u.mem = {key, key_len}},
            {.vtype = RD_KAFKA_VTYPE_VALUE, .u.mem = {value, value_len}},
            {.vtype = RD_KAFKA_VTYPE_OPAQUE, .u.ptr = line},
            {.vtype = RD_KAFKA_VTYPE_HEADERS},
        };
        rd_kafka_headers_t *headers;
        rd_kafka_resp_err_t e = RD_KAFKA_RESP_ERR_NO_ERROR;
        rd_kafka_error_t *error;

        if (add_headers(r, &headers) != ERR_OK)
            return RD_KAFKA_RESP_ERR__INVALID_ARG;
        args[ARRAY_LEN(args) - 1].u.headers = headers;
        /* without headers their argument is left out */
        error = rd_kafka_produceva(p->rk, args, ARRAY_LEN(args) - (headers == NULL));
        if (error != NULL) {
            e = rd_kafka_error_code(error);
            rd_kafka_error_destroy(error);
        }
        if (e != RD_KAFKA_RESP_ERR_NO_ERROR && headers != NULL)
            rd_kafka_headers_destroy(headers);
        if (e != RD_KAFKA_RESP_ERR__QUEUE_FULL)
            return e;
        (void)rd_kafka_poll(p->rk, QUEUE_WAIT_MS);
    }
}

static void send_record(struct producer *p, const struct line_record *r)
{
    rd_kafka_resp_err_t e = enqueue(p, r);

    if (e != RD_KAFKA_RESP_ERR_NO_ERROR) {
        print_failure(p, p->lines, r->value.p, r->value.len < 0 ? 0 : (size_t)r->value.len,
                      rd_kafka_err2str(e));
        return;
    }
    if (p->is_sync)
        (void)rd_kafka_flush(p->rk, -1);
    else if (p->lines % POLL_EVERY == 0)
        (void)rd_kafka_poll(p->rk, 0);
}

/* Reads to the end of the input. 0, or 1 when a line could not be read as a record. */
static int read_lines(struct producer *p)
{
    bool prompts = isatty(STDIN_FILENO) == 1;
    struct line_record *r = xmalloc(sizeof *r);
    char *line = NULL;
    size_t cap = 0;
    int rc = 0;

    while (!rdkafka_stop_requested()) {
        struct errtext why = {{0}};
        ssize_t got;

        if (prompts) {
            printf(">");
            (void)fflush(stdout);
        }
        errno = 0;
        got = getline(&line, &cap, stdin);
        if (got < 0)
            break;
        if (got > 0 && line[got - 1] == '\n')
            got--;
        if (got > 0 && line[got - 1] == '\r')
            got--;
        p->lines++;
        if (line_parse(&p->format, line, (size_t)got, p->lines, r, &why) != ERR_OK) {
            rc = opts_fail(p->o, "%s", why.text);
            break;
        }
        send_record(p, r);
        if (prompts)
            (void)rd_kafka_poll(p->rk, 0);
    }
    if (ferror(stdin) && !rdkafka_stop_requested())
        rc = opts_fail(p->o, "the standard input cannot be read: %s", strerror(errno));
    mem_free(line); /* getline's */
    mem_free(r);
    return rc;
}

static int finish(struct producer *p, int rc)
{
    /* librdkafka fails what is not delivered within message.timeout.ms, so this ends */
    (void)rd_kafka_flush(p->rk, -1);
    if (p->failed > REPORTED_MAX)
        (void)opts_fail(p->o, "%" PRId64 " records in all were not delivered, of %" PRId64,
                        p->failed, p->lines);
    return p->failed > 0 ? 1 : rc;
}

/* An option that is a property under another name. */
static enum err option_as_property(const struct opts *o, const char *option, const char *property,
                                   struct props *p, struct errtext *why)
{
    struct rdkafka_translation t;

    if (!opts_has(o, option))
        return ERR_OK;
    props_set(p, property, opts_text(o, option, "gzip"), 0);
    if (rdkafka_translate(RDKAFKA_PRODUCER, property, props_get(p, property, ""), &t, why) !=
        ERR_OK) {
        errtext_wrap(why, "--%s", option);
        return ERR_INVALID;
    }
    return ERR_OK;
}

/* Options, then --producer.config and --producer-property, which win; as in Kafka an option that is
 * given wins over the file. */
static enum err collect_props(const struct opts *o, struct props *p, struct errtext *why)
{
    static const char *const as[][2] = {
        {"request-required-acks", "acks"},
        {"timeout", "linger.ms"},
        {"batch-size", "batch.size"},
        {"max-partition-memory-bytes", "batch.size"},
        {"compression-codec", "compression.type"},
        {"message-send-max-retries", "retries"},
        {"retry-backoff-ms", "retry.backoff.ms"},
        {"request-timeout-ms", "request.timeout.ms"},
        {"max-block-ms", "delivery.timeout.ms"},
        {"max-memory-bytes", "buffer.memory"},
        {"metadata-expiry-ms", "metadata.max.age.ms"},
        {"socket-buffer-size", "send.buffer.bytes"},
    };
    enum err rc = rdkafka_load_props(o, "producer.config", "producer-property", p, why);

    for (size_t i = 0; rc == ERR_OK && i < ARRAY_LEN(as); i++)
        rc = option_as_property(o, as[i][0], as[i][1], p, why);
    return rc;
}

/* Idempotent unless the properties rule it out, as Kafka's producer. */
static bool may_be_idempotent(const struct props *p)
{
    const char *acks = props_get(p, "acks", props_get(p, "request.required.acks", "all"));
    int64_t in_flight = 5;

    (void)opt_number(props_get(p, "max.in.flight.requests.per.connection", "5"), 1, INT32_MAX,
                     &in_flight);
    return (strcmp(acks, "all") == 0 || strcmp(acks, "-1") == 0) && in_flight <= 5 &&
           strcmp(props_get(p, "retries", "1"), "0") != 0 &&
           strcmp(props_get(p, "message.send.max.retries", "1"), "0") != 0 &&
           props_get(p, "enable.idempotence", NULL) == NULL;
}

static rd_kafka_conf_t *make_conf(const struct opts *o, const struct props *p,
                                  const char *bootstrap, struct errtext *why)
{
    static const char *const defaults[][2] = {
        {"client.id", "console-producer"},
        {"acks", "-1"},
        {"linger.ms", "5"},
        {"partitioner", "murmur2_random"},
        {"message.max.bytes", "1000000"},
        {"delivery.timeout.ms", "120000"},
        {"topic.metadata.refresh.fast.interval.ms", "100"},
        {"log_level", "0"},
    };
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    enum err rc = ERR_OK;

    for (size_t i = 0; rc == ERR_OK && i < ARRAY_LEN(defaults); i++)
        rc = rdkafka_set(conf, defaults[i][0], defaults[i][1], why);
    if (rc == ERR_OK && may_be_idempotent(p))
        rc = rdkafka_set(conf, "enable.idempotence", "true", why);
    if (rc == ERR_OK)
        rc = rdkafka_apply(o, conf, RDKAFKA_PRODUCER, p, why);
    if (rc == ERR_OK)
        rc = rdkafka_set(conf, "bootstrap.servers", bootstrap, why);
    if (rc == ERR_OK)
        return conf;
    rd_kafka_conf_destroy(conf);
    return NULL;
}

static int produce(struct producer *p, const struct props *props, const char *bootstrap)
{
    struct errtext why = {{0}};
    rd_kafka_conf_t *conf = make_conf(p->o, props, bootstrap, &why);
    int rc;

    if (conf == NULL)
        return opts_fail(p->o, "%s", why.text);
    rd_kafka_conf_set_dr_msg_cb(conf, on_report);
    p->rk = rdkafka_new(p->o, RDKAFKA_PRODUCER, conf, p);
    if (p->rk == NULL)
        return 1;
    p->topic = rd_kafka_topic_new(p->rk, opts_text(p->o, "topic", ""), NULL);
    if (p->topic == NULL) {
        rc = opts_fail(p->o, "--topic '%s': %s", opts_text(p->o, "topic", ""),
                       rd_kafka_err2str(rd_kafka_last_error()));
    } else {
        rdkafka_catch_signals();
        rc = rdkafka_wait_topic(p->o, p->rk, p->topic) ? finish(p, read_lines(p)) : 1;
        rd_kafka_topic_destroy(p->topic);
    }
    rd_kafka_destroy(p->rk);
    return rc;
}

static int run(const struct opts *o)
{
    struct producer p = {.o = o, .is_sync = opts_has(o, "sync")};
    struct props reader = {0}, props = {0};
    struct errtext why = {{0}};
    const char *class_name = opts_text(o, "line-reader", "LineMessageReader");
    const char *unknown;
    char *bootstrap = NULL;
    int rc = 1;

    if (!opts_has(o, "topic"))
        return opts_fail(o, "Missing required argument \"[topic]\": --topic <name>");
    if (strstr(class_name, "LineMessageReader") == NULL)
        return opts_fail(o, "--line-reader: '%s' is not known here; only LineMessageReader is",
                         class_name);
    if (rdkafka_load_props(o, "reader-config", "property", &reader, &why) != ERR_OK ||
        line_format_init(&p.format, &reader, &why) != ERR_OK ||
        collect_props(o, &props, &why) != ERR_OK) {
        (void)opts_fail(o, "%s", why.text);
        goto out;
    }
    unknown = line_format_unknown(&reader);
    if (unknown != NULL)
        opts_warn(o, "--property %s is not known to the reader of lines and has no effect",
                  unknown);
    p.is_sync |= strcmp(props_get(&props, "producer.type", ""), "sync") == 0;
    rc = rdkafka_find_brokers(o, &props, false, NULL, NULL, &bootstrap);
    if (rc < 0)
        rc = produce(&p, &props, bootstrap);
out:
    mem_free(bootstrap);
    props_fini(&reader);
    props_fini(&props);
    return rc;
}

int cmd_console_producer(int argc, char **argv)
{
    struct opts o;
    int rc = opts_start(&o, &command, argc, argv);

    if (rc < 0)
        rc = run(&o);
    opts_fini(&o);
    return rc;
}
