/* SPDX-License-Identifier: Apache-2.0 */
/* The Prometheus text: our own counters, the APIs' latencies, the connections' bytes, the process.
 */
#include "broker/http/metrics.h"

#include "common/net/conn.h"
#include "common/protocol/codec.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

struct metrics metrics;

enum { GAUGE, COUNTER };

static int bucket_of(int64_t us)
{
    int64_t units = us / 64;
    int b = units <= 0 ? 0 : 64 - __builtin_clzll((unsigned long long)units);

    return b < METRICS_BUCKETS ? b : METRICS_BUCKETS - 1;
}

void metrics_request_done(int16_t api_key, int64_t us)
{
    if (api_key < 0 || api_key >= METRICS_API_MAX)
        return;
    struct metrics_api *a = &metrics.apis[api_key];
    (void)atomic_fetch_add_explicit(&a->count, 1, memory_order_relaxed);
    (void)atomic_fetch_add_explicit(&a->total_us, us, memory_order_relaxed);
    (void)atomic_fetch_add_explicit(&a->buckets[bucket_of(us)], 1, memory_order_relaxed);
}

void metrics_print_one(struct buf *out, bool is_counter, const char *name, const char *help,
                       int64_t value)
{
    buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n%s %" PRId64 "\n", name, help, name,
               is_counter ? "counter" : "gauge", name, value);
}

static void print_api(struct buf *out, int16_t key, const struct metrics_api *a)
{
    static const char name[] = "kafuka_request_seconds";
    const struct kp_api *api = kp_api_find(key);
    int64_t sum = 0, count = atomic_load_explicit(&a->count, memory_order_relaxed);

    if (api == NULL || count == 0)
        return;
    for (int b = 0; b < METRICS_BUCKETS - 1; b++) {
        sum += atomic_load_explicit(&a->buckets[b], memory_order_relaxed);
        buf_printf(out, "%s_bucket{api=\"%s\",le=\"%.6f\"} %" PRId64 "\n", name, api->name,
                   (double)(64LL << b) / 1e6, sum);
    }
    buf_printf(out,
               "%s_bucket{api=\"%s\",le=\"+Inf\"} %" PRId64 "\n%s_sum{api=\"%s\"} %.6f\n"
               "%s_count{api=\"%s\"} %" PRId64 "\n",
               name, api->name, count, name, api->name,
               (double)atomic_load_explicit(&a->total_us, memory_order_relaxed) / 1e6, name,
               api->name, count);
}

static void print_connections(struct buf *out, const struct conn_stats *s)
{
    if (s == NULL)
        return;
    metrics_print_one(out, true, "kafuka_received_bytes_total",
                      "Bytes received from clients and brokers",
                      atomic_load_explicit(&s->received_bytes, memory_order_relaxed));
    metrics_print_one(out, true, "kafuka_sent_bytes_total", "Bytes sent to clients and brokers",
                      atomic_load_explicit(&s->sent_bytes, memory_order_relaxed));
    metrics_print_one(
        out, true, "kafuka_cold_reads_total",
        "Answers that waited for the disk because their bytes were not in the page cache",
        atomic_load_explicit(&s->cold_reads, memory_order_relaxed));
    metrics_print_one(out, true, "kafuka_memory_pauses_total",
                      "Times that reading paused at queued.max.request.bytes",
                      atomic_load_explicit(&s->memory_pauses, memory_order_relaxed));
    metrics_print_one(out, false, "kafuka_received_bytes_in_memory",
                      "Bytes of receive buffers in use", frame_bytes_in_use());
}

static void print_process(struct buf *out)
{
    struct timespec t;
    FILE *f = fopen("/proc/self/statm", "re");
    char text[64] = "", *end;

    if (f != NULL) {
        if (fgets(text, sizeof text, f) != NULL) {
            (void)strtoll(text, &end, 10);
            metrics_print_one(out, false, "process_resident_memory_bytes", "Resident memory",
                              strtoll(end, NULL, 10) * sysconf(_SC_PAGESIZE));
        }
        (void)fclose(f);
    }
    if (clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t) == 0)
        buf_printf(out,
                   "# HELP process_cpu_seconds_total CPU time\n"
                   "# TYPE process_cpu_seconds_total counter\nprocess_cpu_seconds_total %.3f\n",
                   (double)t.tv_sec + (double)t.tv_nsec / 1e9);
}

void metrics_print(const struct conn_stats *stats, struct buf *out)
{
#define X(kind, field, name, help)                                                                 \
    metrics_print_one(out, kind == COUNTER, name, help, METRIC_GET(field));
#include "broker/http/metrics.def"
#undef X
    buf_printf(out, "# HELP kafuka_request_seconds Time from a request's last byte to its answer\n"
                    "# TYPE kafuka_request_seconds histogram\n");
    for (int16_t key = 0; key < METRICS_API_MAX; key++)
        print_api(out, key, &metrics.apis[key]);
    print_connections(out, stats);
    print_process(out);
}
