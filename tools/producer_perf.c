/* SPDX-License-Identifier: Apache-2.0 */
/* kafuka-producer-perf-test: sends records as fast as it can or at a given rate, and reports rate
 * and latency in Kafka's words. Latency is librdkafka's own: from the call to the acknowledgement.
 */
#include "common/base/clock.h"
#include "common/base/fsx.h"
#include "tools/lib/histogram.h"
#include "tools/lib/mem.h"
#include "tools/lib/rdkafka.h"
#include "tools/lib/tool.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum {
    REPORT_MS = 5000,
    PROGRESS_MS = 200,
    POLL_EVERY = 256,
    PAYLOAD_FILE_MAX = 256 * 1024 * 1024,
    RANDOM_SPREAD = 256 * 1024, /* random records begin anywhere in that much text */
    RECORD_SIZE_MAX = 1000000000
};

static const struct opt_spec specs[] = {
    {"topic", OPT_TEXT, "topic", "REQUIRED: the topic to produce to.", 0, 0},
    {"num-records", OPT_INT, "number", "REQUIRED: how many records to produce.", 1, INT64_MAX},
    {"record-size", OPT_INT, "bytes", "The size of each record; give this or --payload-file.", 1,
     RECORD_SIZE_MAX},
    {"payload-file", OPT_TEXT, "file",
     "Take the values of records at random from the lines of this file.", 0, 0},
    {"payload-delimiter", OPT_TEXT, "text",
     "What separates the values in --payload-file (default: a line end).", 0, 0},
    {"payload-monotonic", OPT_FLAG, NULL, "Make the values of records 0, 1, 2 and so on.", 0, 0},
    {"throughput", OPT_TEXT, "number",
     "REQUIRED: how many records to produce in a second at most; -1 for no limit.", 0, 0},
    {"bootstrap-server", OPT_TEXT, "host:port,...",
     "One or more brokers of the cluster; or give bootstrap.servers in --producer-props.", 0, 0},
    {"broker-list", OPT_TEXT, "host:port,...", "The older name of --bootstrap-server.", 0, 0},
    {"producer-props", OPT_WORDS, "name=value ...",
     "Properties of the producer, by Kafka's or librdkafka's names.", 0, 0},
    RDKAFKA_PRODUCER_FILE_OPTION,
    {"print-metrics", OPT_FLAG, NULL, "Print also the counters of the producer at the end.", 0, 0},
};

static const struct opt_command command = {
    .name = "producer-perf-test",
    .summary = "measures producing: records a second, MB a second, latency.",
    .specs = specs,
    .spec_count = ARRAY_LEN(specs),
    .examples = "--topic t --num-records 1000000 --record-size 100 --throughput -1 "
                "--producer-props bootstrap.servers=localhost:9092 acks=all\n"
                "--bootstrap-server localhost:9092 --topic t --num-records 100000 --record-size "
                "1024 --throughput 20000\n",
};

struct payload {
    const char *p;
    size_t len;
};
struct perf {
    const struct opts *o;
    rd_kafka_t *rk;
    rd_kafka_topic_t *topic;
    int64_t wanted, sent, acked, failed;
    double rate; /* records a second; <= 0: no limit */
    char *random_text;
    size_t record_size;
    struct buf file;
    struct payload *payloads;
    size_t payload_count;
    bool is_monotonic;
    uint64_t rng;
    struct histogram *total, *window;
    int64_t total_bytes, window_bytes;
    int64_t start_us, window_start_us, next_progress_ms;
    bool shows_progress;
    char first_error[256];
};

static uint64_t next_random(struct perf *p)
{
    p->rng ^= p->rng << 13;
    p->rng ^= p->rng >> 7;
    p->rng ^= p->rng << 17;
    return p->rng;
}

static void on_report(rd_kafka_t *rk UNUSED, const rd_kafka_message_t *m, void *opaque)
{
    struct perf *p = rdkafka_arg(opaque);
    int64_t us = rd_kafka_message_latency(m);

    p->acked++;
    if (m->err != RD_KAFKA_RESP_ERR_NO_ERROR) {
        if (p->failed++ == 0)
            (void)snprintf(p->first_error, sizeof p->first_error, "%s", rd_kafka_err2str(m->err));
        return;
    }
    histogram_add(p->total, i64_max(us, 0));
    histogram_add(p->window, i64_max(us, 0));
    p->total_bytes += (int64_t)m->len;
    p->window_bytes += (int64_t)m->len;
}

static void end_progress(const struct perf *p)
{
    if (p->shows_progress)
        fprintf(stderr, "\r\033[K");
}

static void print_window(struct perf *p, int64_t now_us)
{
    double seconds = (double)(now_us - p->window_start_us) / 1e6;

    end_progress(p);
    printf("%" PRId64 " records sent, %.1f records/sec (%.2f MB/sec), %.1f ms avg latency, %.1f ms "
           "max latency.\n",
           p->window->count, (double)p->window->count / seconds,
           (double)p->window_bytes / seconds / (1024.0 * 1024.0), histogram_mean_ms(p->window),
           (double)p->window->max_us / 1000.0);
    (void)fflush(stdout);
    histogram_reset(p->window);
    p->window_bytes = 0;
    p->window_start_us = now_us;
}

static void print_progress(struct perf *p, int64_t now_us)
{
    double seconds = (double)(now_us - p->start_us) / 1e6;

    if (!p->shows_progress || now_us / 1000 < p->next_progress_ms)
        return;
    p->next_progress_ms = now_us / 1000 + PROGRESS_MS;
    fprintf(stderr,
            "\r\033[K%3.0f %%  %" PRId64 " of %" PRId64 " records, %.0f records/sec, "
            "99th %.1f ms",
            100.0 * (double)p->acked / (double)p->wanted, p->acked, p->wanted,
            (double)p->acked / seconds, (double)histogram_percentile_us(p->window, 0.99) / 1000.0);
}

static void print_total(struct perf *p)
{
    double seconds = (double)i64_max(clock_mono_us() - p->start_us, 1) / 1e6;
    const struct histogram *h = p->total;

    end_progress(p);
    printf("%" PRId64 " records sent, %f records/sec (%.2f MB/sec), %.2f ms avg latency, %.2f ms "
           "max latency, %" PRId64 " ms 50th, %" PRId64 " ms 95th, %" PRId64 " ms 99th, %" PRId64
           " ms 99.9th.\n",
           h->count, (double)h->count / seconds,
           (double)p->total_bytes / seconds / (1024.0 * 1024.0), histogram_mean_ms(h),
           (double)h->max_us / 1000.0, histogram_percentile_us(h, 0.5) / 1000,
           histogram_percentile_us(h, 0.95) / 1000, histogram_percentile_us(h, 0.99) / 1000,
           histogram_percentile_us(h, 0.999) / 1000);
}

/* Serves reports, waiting at most wait_ms, and prints what is due. */
static void serve(struct perf *p, int wait_ms)
{
    int64_t now_us;

    (void)rd_kafka_poll(p->rk, wait_ms);
    now_us = clock_mono_us();
    if (now_us - p->window_start_us >= REPORT_MS * INT64_C(1000))
        print_window(p, now_us);
    print_progress(p, now_us);
}

/* Waits until record number p->sent is due. */
static void throttle(struct perf *p)
{
    while (p->rate > 0 && !rdkafka_stop_requested()) {
        int64_t due_us = p->start_us + (int64_t)((double)p->sent / p->rate * 1e6);
        int64_t ahead_us = due_us - clock_mono_us();

        if (ahead_us < 1000)
            return;
        serve(p, (int)i64_min(ahead_us / 1000, PROGRESS_MS));
    }
}

/* The next record; number holds the text of a monotonic one. */
static struct payload next_payload(struct perf *p, char number[24])
{
    if (p->is_monotonic) {
        int n = snprintf(number, 24, "%" PRId64, p->sent);

        return (struct payload){number, (size_t)n};
    }
    if (p->payload_count > 0)
        return p->payloads[next_random(p) % p->payload_count];
    return (struct payload){p->random_text + next_random(p) % RANDOM_SPREAD, p->record_size};
}

/* False: the record can't be sent at all. */
static bool send_one(struct perf *p)
{
    char number[24];
    struct payload payload = next_payload(p, number);

    /* texts that outlive the run are not copied */
    while (rd_kafka_produce(p->topic, RD_KAFKA_PARTITION_UA,
                            p->is_monotonic ? RD_KAFKA_MSG_F_COPY : 0, tool_unconst(payload.p),
                            payload.len, NULL, 0, NULL) != 0) {
        rd_kafka_resp_err_t e = rd_kafka_last_error();

        if (e != RD_KAFKA_RESP_ERR__QUEUE_FULL || rdkafka_stop_requested()) {
            end_progress(p);
            (void)opts_fail(p->o, "record %" PRId64 " cannot be sent: %s", p->sent,
                            rd_kafka_err2str(e));
            return false;
        }
        serve(p, 10);
    }
    p->sent++;
    return true;
}

static int measure(struct perf *p)
{
    bool ok = true;

    p->start_us = p->window_start_us = clock_mono_us();
    while (ok && p->sent < p->wanted && !rdkafka_stop_requested()) {
        throttle(p);
        ok = send_one(p);
        if (p->sent % POLL_EVERY == 0)
            serve(p, 0);
    }
    while (p->acked < p->sent) {
        /* a batch that waits for more records leaves at once */
        (void)rd_kafka_flush(p->rk, 10);
        serve(p, 0);
    }
    print_total(p);
    if (p->failed > 0)
        return opts_fail(p->o,
                         "%" PRId64 " of %" PRId64 " records were not delivered; the first: "
                         "%s",
                         p->failed, p->sent, p->first_error);
    return ok ? 0 : 1;
}

/* Splits the file at the delimiter; empty records are left out. */
static enum err load_payloads(struct perf *p, struct errtext *why)
{
    const char *path = opts_text(p->o, "payload-file", "");
    const char *delimiter = opts_text(p->o, "payload-delimiter", "\n");
    const char *at, *end;
    enum err rc = fsx_read_file(path, PAYLOAD_FILE_MAX, &p->file);

    if (strcmp(delimiter, "\\n") == 0)
        delimiter = "\n";
    if (rc != ERR_OK) {
        errtext_set(why, "--payload-file %s: %s", path, err_reason(rc));
        return rc;
    }
    at = (const char *)p->file.p;
    end = at + p->file.len;
    while (at != NULL && at < end) {
        const char *stop = delimiter[0] == '\0'
                               ? NULL
                               : memmem(at, (size_t)(end - at), delimiter, strlen(delimiter));
        size_t len = (size_t)((stop == NULL ? end : stop) - at);

        if (len > 0) {
            p->payloads = xrealloc(p->payloads, (p->payload_count + 1) * sizeof *p->payloads);
            p->payloads[p->payload_count++] = (struct payload){at, len};
        }
        at = stop == NULL ? end : stop + strlen(delimiter);
    }
    if (p->payload_count > 0)
        return ERR_OK;
    errtext_set(why, "--payload-file %s is empty", path);
    return ERR_INVALID;
}

static void make_random_text(struct perf *p)
{
    size_t len = p->record_size + RANDOM_SPREAD;

    p->random_text = xmalloc(len);
    for (size_t i = 0; i < len; i++)
        p->random_text[i] = (char)('A' + next_random(p) % 26);
}

static enum err prepare(struct perf *p, struct errtext *why)
{
    const struct opts *o = p->o;
    int64_t rate = -1;

    p->wanted = opts_int(o, "num-records", 0);
    p->record_size = (size_t)opts_int(o, "record-size", 0);
    p->is_monotonic = opts_has(o, "payload-monotonic");
    p->rng = (uint64_t)clock_mono_us() | 1;
    if (!opt_number(opts_text(o, "throughput", ""), -1, INT64_MAX, &rate)) {
        errtext_set(why,
                    "--throughput takes a number of records a second, or -1 for no limit, not "
                    "'%s'",
                    opts_text(o, "throughput", ""));
        return ERR_INVALID;
    }
    p->rate = (double)rate;
    if (opts_has(o, "payload-file") + opts_has(o, "record-size") + p->is_monotonic != 1) {
        errtext_set(why, "exactly one of --record-size, --payload-file and --payload-monotonic "
                         "must be given");
        return ERR_INVALID;
    }
    if (opts_has(o, "payload-file"))
        return load_payloads(p, why);
    if (!p->is_monotonic)
        make_random_text(p);
    return ERR_OK;
}

static rd_kafka_conf_t *make_conf(const struct perf *p, const struct props *props,
                                  const char *bootstrap, struct errtext *why)
{
    static const char *const defaults[][2] = {
        {"client.id", "perf-producer-client"},
        {"acks", "all"},
        {"linger.ms", "5"},
        {"batch.size", "65536"},
        {"message.max.bytes", "1048576"},
        {"delivery.timeout.ms", "120000"},
        {"queue.buffering.max.messages", "500000"},
        {"topic.metadata.refresh.fast.interval.ms", "100"},
        {"log_level", "0"},
    };
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    enum err rc = ERR_OK;

    for (size_t i = 0; rc == ERR_OK && i < ARRAY_LEN(defaults); i++)
        rc = rdkafka_set(conf, defaults[i][0], defaults[i][1], why);
    if (rc == ERR_OK)
        rc = rdkafka_apply(p->o, conf, RDKAFKA_PRODUCER, props, why);
    if (rc == ERR_OK)
        rc = rdkafka_set(conf, "bootstrap.servers", bootstrap, why);
    if (rc == ERR_OK)
        return conf;
    rd_kafka_conf_destroy(conf);
    return NULL;
}

static int print_metrics(const struct perf *p)
{
    printf("\nMetric Name%*sValue\nproducer-metrics:record-send-total : %" PRId64
           "\nproducer-metrics:record-error-total : %" PRId64
           "\nproducer-metrics:byte-total : %" PRId64 "\n",
           25, "", p->acked - p->failed, p->failed, p->total_bytes);
    return 0;
}

static int connect_and_measure(struct perf *p, const struct props *props, const char *bootstrap)
{
    struct errtext why = {{0}};
    rd_kafka_conf_t *conf = make_conf(p, props, bootstrap, &why);
    int rc = 1;

    if (conf == NULL)
        return opts_fail(p->o, "%s", why.text);
    rd_kafka_conf_set_dr_msg_cb(conf, on_report);
    p->rk = rdkafka_new(p->o, RDKAFKA_PRODUCER, conf, p);
    if (p->rk == NULL)
        return 1;
    p->topic = rd_kafka_topic_new(p->rk, opts_text(p->o, "topic", ""), NULL);
    if (p->topic == NULL) {
        (void)opts_fail(p->o, "--topic '%s': %s", opts_text(p->o, "topic", ""),
                        rd_kafka_err2str(rd_kafka_last_error()));
    } else {
        rdkafka_catch_signals();
        rc = rdkafka_wait_topic(p->o, p->rk, p->topic) ? measure(p) : 1;
        if (opts_has(p->o, "print-metrics"))
            (void)print_metrics(p);
        rd_kafka_topic_destroy(p->topic);
    }
    rd_kafka_destroy(p->rk);
    return rc;
}

static int run(const struct opts *o)
{
    static const char *const required[] = {"topic", "num-records", "throughput"};
    struct perf p = {.o = o, .shows_progress = isatty(STDERR_FILENO) == 1};
    struct props props = {0};
    struct errtext why = {{0}};
    char *bootstrap = NULL;
    int rc = 1;

    for (size_t i = 0; i < ARRAY_LEN(required); i++)
        if (!opts_has(o, required[i]))
            return opts_fail(o, "argument --%s is required", required[i]);
    p.total = xcalloc(1, sizeof *p.total);
    p.window = xcalloc(1, sizeof *p.window);
    if (prepare(&p, &why) != ERR_OK ||
        rdkafka_load_props(o, "producer.config", "producer-props", &props, &why) != ERR_OK)
        rc = opts_fail(o, "%s", why.text);
    else
        rc = rdkafka_find_brokers(o, &props, false, NULL, NULL, &bootstrap);
    if (rc < 0)
        rc = connect_and_measure(&p, &props, bootstrap);
    mem_free(bootstrap);
    props_fini(&props);
    buf_fini(&p.file);
    mem_free(p.payloads);
    mem_free(p.random_text);
    mem_free(p.total);
    mem_free(p.window);
    return rc;
}

int cmd_producer_perf_test(int argc, char **argv)
{
    struct opts o;
    int rc = opts_start(&o, &command, argc, argv);

    if (rc < 0)
        rc = run(&o);
    opts_fini(&o);
    return rc;
}
