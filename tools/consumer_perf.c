/* SPDX-License-Identifier: Apache-2.0 */
/* kafuka-consumer-perf-test: reads records as fast as it can and reports in Kafka's words. Without
 * --group all partitions are read directly. */
#include "common/base/clock.h"
#include "tools/lib/reader.h"
#include "tools/lib/rdkafka.h"
#include "tools/lib/tool.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum { PROGRESS_MS = 200, WAIT_MS = 100 };

static const struct opt_spec specs[] = {
    {"topic", OPT_TEXT, "topic", "REQUIRED: the topic to consume.", 0, 0},
    {"messages", OPT_INT, "number", "REQUIRED: how many records to consume.", 1, INT64_MAX},
    RDKAFKA_BROKER_OPTIONS,
    {"zookeeper", OPT_TEXT, "host:port,.../chroot",
     "In place of --bootstrap-server: find the brokers in ZooKeeper.", 0, 0},
    {"from-latest", OPT_FLAG, NULL,
     "Begin at the end of the partitions, with records that are written from now on.", 0, 0},
    {"fetch-size", OPT_INT, "bytes",
     "How much is fetched from a partition at once (default 1048576).", 1, 1000000000},
    {"socket-buffer-size", OPT_INT, "bytes", "The size of the connections' receive buffers.", 0,
     100000000},
    {"timeout", OPT_INT, "ms", "End when no record has come for this time (default 10000).", 0,
     INT32_MAX},
    {"show-detailed-stats", OPT_FLAG, NULL, "Print a line in each --reporting-interval.", 0, 0},
    {"reporting-interval", OPT_INT, "ms",
     "The time between the lines of --show-detailed-stats (default 5000).", 1, INT32_MAX},
    {"hide-header", OPT_FLAG, NULL, "Leave out the line with the names of the columns.", 0, 0},
    {"date-format", OPT_TEXT, "format",
     "How times are printed, in Java's letters (default yyyy-MM-dd HH:mm:ss:SSS).", 0, 0},
    RDKAFKA_CONSUMER_OPTIONS,
    {"print-metrics", OPT_FLAG, NULL, "Has no effect: the columns are all that is measured.", 0, 0},
    {"group", OPT_DEPRECATED, "group", "partitions are read directly here", 0, 0},
    {"threads", OPT_DEPRECATED, "number", "one thread is enough here", 0, 0},
    {"num-fetch-threads", OPT_DEPRECATED, "number", "one thread is enough here", 0, 0},
};

static const struct opt_command command = {
    .name = "consumer-perf-test",
    .summary = "measures consuming: MB a second, records a second.",
    .specs = specs,
    .spec_count = ARRAY_LEN(specs),
    .examples = "--bootstrap-server localhost:9092 --topic t --messages 1000000\n"
                "--bootstrap-server localhost:9092 --topic t --messages 1000000 "
                "--show-detailed-stats --reporting-interval 1000\n",
};

struct perf {
    const struct opts *o;
    int64_t wanted, seen, bytes;
    int64_t last_seen, last_bytes; /* at the last line */
    int64_t start_ms, start_mono_us, assigned_us, last_line_us, next_progress_us;
    int64_t reported_assign_ms; /* of the time to find partitions, what lines have shown */
    bool shows_progress, is_detailed;
    const char *date_format;
};

/* A time in the letters of Java's SimpleDateFormat, as far as dates need them. */
static void format_date(const char *format, int64_t ms, struct buf *out)
{
    time_t seconds = (time_t)(ms / 1000);
    struct tm tm;

    (void)localtime_r(&seconds, &tm);
    while (*format != '\0') {
        int n = 1;
        char letter = *format;

        while (format[n] == letter)
            n++;
        switch (letter) {
        case 'y':
            buf_printf(out, "%0*d", n, n == 2 ? tm.tm_year % 100 : tm.tm_year + 1900);
            break;
        case 'M':
            buf_printf(out, "%0*d", n, tm.tm_mon + 1);
            break;
        case 'd':
            buf_printf(out, "%0*d", n, tm.tm_mday);
            break;
        case 'H':
            buf_printf(out, "%0*d", n, tm.tm_hour);
            break;
        case 'm':
            buf_printf(out, "%0*d", n, tm.tm_min);
            break;
        case 's':
            buf_printf(out, "%0*d", n, tm.tm_sec);
            break;
        case 'S':
            buf_printf(out, "%0*d", n, (int)(ms % 1000));
            break;
        case '\'':
            break;
        default:
            buf_add(out, format, (size_t)n);
        }
        format += n;
    }
}

static double per_second(double what, double ms)
{
    return ms <= 0 ? 0.0 : what * 1000.0 / ms;
}

static void print_header(const struct perf *p)
{
    if (opts_has(p->o, "hide-header"))
        return;
    printf("%s, data.consumed.in.MB, MB.sec, data.consumed.in.nMsg, nMsg.sec, rebalance.time.ms, "
           "fetch.time.ms, fetch.MB.sec, fetch.nMsg.sec\n",
           p->is_detailed ? "time, threadId" : "start.time, end.time");
    (void)fflush(stdout);
}

static void end_progress(const struct perf *p)
{
    if (p->shows_progress)
        fprintf(stderr, "\r\033[K");
}

/* The line of one interval. */
static void print_interval(struct perf *p, int64_t now_us)
{
    double ms = (double)(now_us - p->last_line_us) / 1000.0;
    double mb = (double)p->bytes / (1024.0 * 1024.0);
    double new_mb = (double)(p->bytes - p->last_bytes) / (1024.0 * 1024.0);
    double records = (double)(p->seen - p->last_seen);
    int64_t assign_ms = p->assigned_us < 0 ? 0 : (p->assigned_us - p->start_mono_us) / 1000;
    int64_t new_assign_ms = assign_ms - p->reported_assign_ms;
    double fetch_ms = ms - (double)new_assign_ms;
    struct buf date = {0};

    p->reported_assign_ms = assign_ms;
    format_date(p->date_format, clock_wall_ms(), &date);
    end_progress(p);
    printf("%s, 0, %.4f, %.4f, %" PRId64 ", %.4f, %" PRId64 ", %.0f, %.4f, %.4f\n", buf_cstr(&date),
           mb, per_second(new_mb, ms), p->seen, per_second(records, ms), new_assign_ms, fetch_ms,
           per_second(new_mb, fetch_ms), per_second(records, fetch_ms));
    (void)fflush(stdout);
    buf_fini(&date);
    p->last_line_us = now_us;
    p->last_seen = p->seen;
    p->last_bytes = p->bytes;
}

static void print_total(struct perf *p)
{
    int64_t end_ms = clock_wall_ms();
    double ms = (double)(clock_mono_us() - p->start_mono_us) / 1000.0;
    double mb = (double)p->bytes / (1024.0 * 1024.0);
    int64_t assign_ms = p->assigned_us < 0 ? 0 : (p->assigned_us - p->start_mono_us) / 1000;
    double fetch_ms = ms - (double)assign_ms;
    struct buf start = {0}, end = {0};

    end_progress(p);
    if (p->is_detailed)
        return;
    format_date(p->date_format, p->start_ms, &start);
    format_date(p->date_format, end_ms, &end);
    printf("%s, %s, %.4f, %.4f, %" PRId64 ", %.4f, %" PRId64 ", %.0f, %.4f, %.4f\n",
           buf_cstr(&start), buf_cstr(&end), mb, per_second(mb, ms), p->seen,
           per_second((double)p->seen, ms), assign_ms, fetch_ms, per_second(mb, fetch_ms),
           per_second((double)p->seen, fetch_ms));
    buf_fini(&start);
    buf_fini(&end);
}

static bool count_record(void *arg, rd_kafka_message_t *m)
{
    struct perf *p = arg;

    p->seen++;
    p->bytes += (int64_t)(m->len + m->key_len);
    return p->seen < p->wanted;
}

static void print_due(struct perf *p)
{
    int64_t now_us = clock_mono_us();

    if (p->is_detailed &&
        now_us - p->last_line_us >= opts_int(p->o, "reporting-interval", 5000) * 1000)
        print_interval(p, now_us);
    if (!p->shows_progress || now_us < p->next_progress_us)
        return;
    p->next_progress_us = now_us + PROGRESS_MS * INT64_C(1000);
    fprintf(stderr,
            "\r\033[K%3.0f %%  %" PRId64 " of %" PRId64 " records, %.1f MB, %.0f "
            "records/sec",
            100.0 * (double)p->seen / (double)p->wanted, p->seen, p->wanted,
            (double)p->bytes / (1024.0 * 1024.0),
            per_second((double)p->seen, (double)(now_us - p->start_mono_us) / 1000.0));
}

static int measure(struct perf *p, struct reader *reader)
{
    int64_t timeout_us = opts_int(p->o, "timeout", 10000) * 1000;
    int64_t last_us = clock_mono_us();

    while (p->seen < p->wanted && !rdkafka_stop_requested()) {
        ssize_t n = reader_poll(reader, WAIT_MS, count_record, p);
        int64_t now_us = clock_mono_us();

        if (n < 0)
            return 1;
        if (n > 0)
            last_us = now_us;
        else if (now_us - last_us >= timeout_us)
            break;
        if (p->assigned_us < 0 && reader_partition_count(reader) > 0)
            p->assigned_us = now_us;
        print_due(p);
    }
    if (p->seen < p->wanted && !rdkafka_stop_requested()) {
        end_progress(p);
        printf("WARNING: Exiting before consuming the expected number of messages: timeout "
               "(%" PRId64 " ms) exceeded. You can use the --timeout option to increase the "
               "timeout.\n",
               timeout_us / 1000);
    }
    print_total(p);
    return 0;
}

static rd_kafka_conf_t *make_conf(const struct perf *p, const struct props *props,
                                  const char *bootstrap, struct errtext *why)
{
    static const char *const defaults[][2] = {
        {"client.id", "perf-consumer-client"},   {"allow.auto.create.topics", "true"},
        {"queued.min.messages", "1000000"},      {"queued.max.messages.kbytes", "131072"},
        {"fetch.error.backoff.ms", "50"},        {"fetch.wait.max.ms", "100"},
        {"isolation.level", "read_uncommitted"}, {"log_level", "0"},
    };
    static const char *const as[][2] = {{"fetch-size", "max.partition.fetch.bytes"},
                                        {"socket-buffer-size", "socket.receive.buffer.bytes"}};
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    enum err rc = ERR_OK;

    for (size_t i = 0; rc == ERR_OK && i < ARRAY_LEN(defaults); i++)
        rc = rdkafka_set(conf, defaults[i][0], defaults[i][1], why);
    if (rc == ERR_OK)
        rc = rdkafka_apply(p->o, conf, RDKAFKA_CONSUMER, props, why);
    for (size_t i = 0; rc == ERR_OK && i < ARRAY_LEN(as); i++)
        if (opts_has(p->o, as[i][0]))
            rc = rdkafka_set(conf, as[i][1], opts_text(p->o, as[i][0], ""), why);
    if (rc == ERR_OK)
        rc = rdkafka_set(conf, "bootstrap.servers", bootstrap, why);
    if (rc == ERR_OK)
        return conf;
    rd_kafka_conf_destroy(conf);
    return NULL;
}

static int connect_and_measure(struct perf *p, const struct props *props, const char *bootstrap)
{
    struct reader_options ro = {
        .o = p->o,
        .topic = opts_text(p->o, "topic", NULL),
        .partition = -1,
        .offset = opts_has(p->o, "from-latest") ? RD_KAFKA_OFFSET_END : RD_KAFKA_OFFSET_BEGINNING,
    };
    struct errtext why = {{0}};
    rd_kafka_conf_t *conf = make_conf(p, props, bootstrap, &why);
    struct reader *reader;
    int rc = 1;

    if (conf == NULL)
        return opts_fail(p->o, "%s", why.text);
    ro.rk = rdkafka_new(p->o, RDKAFKA_CONSUMER, conf, p);
    if (ro.rk == NULL)
        return 1;
    rdkafka_catch_signals();
    p->start_ms = clock_wall_ms();
    p->start_mono_us = p->last_line_us = clock_mono_us();
    p->assigned_us = -1;
    print_header(p);
    reader = reader_open(&ro);
    if (reader != NULL) {
        if (reader_partition_count(reader) > 0)
            p->assigned_us = clock_mono_us();
        rc = measure(p, reader);
        reader_close(&reader);
    }
    rd_kafka_destroy(ro.rk);
    return rc;
}

static int run(const struct opts *o)
{
    struct perf p = {
        .o = o,
        .wanted = opts_int(o, "messages", 0),
        .shows_progress = isatty(STDERR_FILENO) == 1,
        .is_detailed = opts_has(o, "show-detailed-stats"),
        .date_format = opts_text(o, "date-format", "yyyy-MM-dd HH:mm:ss:SSS"),
    };
    struct props props = {0};
    struct errtext why = {{0}};
    char *bootstrap = NULL;
    int rc = 1;

    if (!opts_has(o, "topic") || !opts_has(o, "messages"))
        return opts_fail(o, "Missing required argument \"[%s]\"",
                         opts_has(o, "topic") ? "messages" : "topic");
    if (rdkafka_load_props(o, "consumer.config", "consumer-property", &props, &why) != ERR_OK)
        rc = opts_fail(o, "%s", why.text);
    else
        rc = rdkafka_find_brokers(o, &props, true, NULL, NULL, &bootstrap);
    if (rc < 0)
        rc = connect_and_measure(&p, &props, bootstrap);
    mem_free(bootstrap);
    props_fini(&props);
    return rc;
}

int cmd_consumer_perf_test(int argc, char **argv)
{
    struct opts o;
    int rc = opts_start(&o, &command, argc, argv);

    if (rc < 0)
        rc = run(&o);
    opts_fini(&o);
    return rc;
}
