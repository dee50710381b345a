/* SPDX-License-Identifier: Apache-2.0 */
/* The Prometheus text: our own counters, the APIs' latencies, the connections' bytes, the process.
 */
#include <config.h>

#include "broker/http/metrics.h"

#include "common/net/conn.h"
#include "common/protocol/codec.h"
#include "common/protocol/messages.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
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

void metrics_print_seconds(struct buf *out, bool is_counter, const char *name, const char *help,
                           int64_t us)
{
    buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n%s %.6f\n", name, help, name,
               is_counter ? "counter" : "gauge", name, (double)us / 1e6);
}

/* Kafka's names of its metrics: Fetch requests of consumers and of followers apart. NULL: no API. */
static const char *api_name(int16_t key)
{
    const struct kp_api *api = kp_api_find(key);

    return key == KP_API_FETCH              ? "FetchConsumer"
           : key == METRICS_FETCH_FOLLOWER ? "FetchFollower"
           : api == NULL                   ? NULL
                                           : api->name;
}

static void print_api(struct buf *out, int16_t key, const struct metrics_api *a)
{
    static const char name[] = "kafuka_request_seconds";
    const char *api = api_name(key);
    int64_t sum = 0, count = atomic_load_explicit(&a->count, memory_order_relaxed);

    if (api == NULL || count == 0)
        return;
    for (int b = 0; b < METRICS_BUCKETS - 1; b++) {
        sum += atomic_load_explicit(&a->buckets[b], memory_order_relaxed);
        buf_printf(out, "%s_bucket{api=\"%s\",le=\"%.6f\"} %" PRId64 "\n", name, api,
                   (double)(64LL << b) / 1e6, sum);
    }
    buf_printf(out,
               "%s_bucket{api=\"%s\",le=\"+Inf\"} %" PRId64 "\n%s_sum{api=\"%s\"} %.6f\n"
               "%s_count{api=\"%s\"} %" PRId64 "\n",
               name, api, count, name, api,
               (double)atomic_load_explicit(&a->total_us, memory_order_relaxed) / 1e6, name,
               api, count);
}

static void print_connections(struct buf *out, const struct conn_stats *s)
{
    if (s == NULL)
        return;
    metrics_print_one(out, true, "kafuka_received_bytes_total",
                      "Bytes received from clients and other brokers",
                      atomic_load_explicit(&s->received_bytes, memory_order_relaxed));
    metrics_print_one(out, true, "kafuka_sent_bytes_total",
                      "Bytes sent to clients and other brokers",
                      atomic_load_explicit(&s->sent_bytes, memory_order_relaxed));
    metrics_print_one(out, true, "kafuka_cold_reads_total",
                      "Pieces of Fetch answers that had to be read from disk because they were not "
                      "in the page cache",
                      atomic_load_explicit(&s->cold_reads, memory_order_relaxed));
    metrics_print_one(out, true, "kafuka_memory_pauses_total",
                      "Times that a connection was not read for a while because requests in memory "
                      "reached queued.max.request.bytes",
                      atomic_load_explicit(&s->memory_pauses, memory_order_relaxed));
    metrics_print_one(out, false, "kafuka_received_bytes_in_memory",
                      "Bytes of memory that hold received requests", frame_bytes_in_use());
}

/* ---- the process, under the names that Prometheus's own clients use */

/* The first line of a file in /proc; "" when it cannot be read. */
static void read_line(const char *path, char *out, size_t size)
{
    FILE *f = fopen(path, "re");

    out[0] = 0;
    if (f == NULL)
        return;
    if (fgets(out, (int)size, f) == NULL)
        out[0] = 0;
    (void)fclose(f);
}

static void print_memory(struct buf *out)
{
    char text[128], *end;
    int64_t page = sysconf(_SC_PAGESIZE);

    read_line("/proc/self/statm", text, sizeof text);
    int64_t virtual_pages = strtoll(text, &end, 10);
    if (text[0] == 0)
        return;
    metrics_print_one(out, false, "process_virtual_memory_bytes",
                      "Virtual memory of the process in bytes", virtual_pages * page);
    metrics_print_one(out, false, "process_resident_memory_bytes",
                      "Resident memory of the process in bytes", strtoll(end, NULL, 10) * page);
}

/* Field 22 of /proc/self/stat: clock ticks between the machine's start and the process's. */
static void print_start_time(struct buf *out)
{
    enum { FIELD = 22, FIELD_OF_STATE = 3 };
    struct timespec wall, boot;
    char text[1024];

    read_line("/proc/self/stat", text, sizeof text);
    const char *at = strrchr(text, ')'); /* the name before it may hold anything */
    for (int field = FIELD_OF_STATE - 1; at != NULL && field < FIELD; field++)
        at = strchr(at + 1, ' ');
    if (at == NULL || clock_gettime(CLOCK_REALTIME, &wall) != 0 ||
        clock_gettime(CLOCK_BOOTTIME, &boot) != 0)
        return;
    double age_s = (double)boot.tv_sec + (double)boot.tv_nsec / 1e9 -
                   (double)strtoll(at, NULL, 10) / (double)sysconf(_SC_CLK_TCK);
    buf_printf(out,
               "# HELP process_start_time_seconds Start of the process in seconds since 1970\n"
               "# TYPE process_start_time_seconds gauge\nprocess_start_time_seconds %.2f\n",
               (double)wall.tv_sec + (double)wall.tv_nsec / 1e9 - age_s);
}

static void print_descriptors(struct buf *out)
{
    const struct dirent *e;
    struct rlimit limit;
    DIR *d = opendir("/proc/self/fd");
    int64_t count = -1; /* the one that reads the folder does not count */

    if (d != NULL) {
        while ((e = readdir(d)) != NULL)
            count += e->d_name[0] != '.';
        (void)closedir(d);
        metrics_print_one(out, false, "process_open_fds", "Open file descriptors", count);
    }
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0)
        metrics_print_one(out, false, "process_max_fds",
                          "Largest number of file descriptors that may be open",
                          limit.rlim_cur > INT64_MAX ? INT64_MAX : (int64_t)limit.rlim_cur);
}

/* One line a thread that has a name of its own; threads of one name are summed up by Prometheus. */
static void print_thread(struct buf *out, const char *id)
{
    char path[64], name[32], ran[128];

    (void)snprintf(path, sizeof path, "/proc/self/task/%.20s/comm", id);
    read_line(path, name, sizeof name);
    (void)snprintf(path, sizeof path, "/proc/self/task/%.20s/schedstat", id);
    read_line(path, ran, sizeof ran);
    name[strcspn(name, "\n\"\\")] = 0;
    if (name[0] != 0 && ran[0] != 0)
        buf_printf(out,
                   "kafuka_thread_cpu_seconds_total{thread=\"%s\",id=\"%.20s\"} %.3f\n", name, id,
                   (double)strtoll(ran, NULL, 10) / 1e9);
}

static void print_threads(struct buf *out)
{
    const struct dirent *e;
    DIR *d = opendir("/proc/self/task");

    if (d == NULL)
        return;
    buf_printf(out, "# HELP kafuka_thread_cpu_seconds_total CPU time of each thread: network "
                    "threads (loop), threads for what blocks (io) and others\n"
                    "# TYPE kafuka_thread_cpu_seconds_total counter\n");
    while ((e = readdir(d)) != NULL)
        if (e->d_name[0] != '.')
            print_thread(out, e->d_name);
    (void)closedir(d);
}

static void print_process(struct buf *out)
{
    struct timespec t;

    print_start_time(out);
    print_memory(out);
    print_descriptors(out);
    if (clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t) == 0)
        metrics_print_seconds(out, true, "process_cpu_seconds_total",
                              "CPU time of the process, user and system, in seconds",
                              (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000);
    print_threads(out);
    buf_printf(out,
               "# HELP kafuka_build_info Always 1; the labels name the running version\n"
               "# TYPE kafuka_build_info gauge\nkafuka_build_info{version=\"%s\"} 1\n",
               PACKAGE_VERSION);
}

void metrics_print(const struct conn_stats *stats, struct buf *out)
{
#define X(kind, field, name, help)                                                                 \
    metrics_print_one(out, kind == COUNTER, name, help, METRIC_GET(field));
#include "broker/http/metrics.def"
#undef X
    buf_printf(out, "# HELP kafuka_request_seconds Time from the last byte of a request to "
                    "its answer, by API; Fetch requests as FetchConsumer and FetchFollower\n"
                    "# TYPE kafuka_request_seconds histogram\n");
    for (int16_t key = 0; key < METRICS_API_MAX; key++)
        print_api(out, key, &metrics.apis[key]);
    print_connections(out, stats);
    print_process(out);
}
