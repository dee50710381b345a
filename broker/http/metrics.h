/* SPDX-License-Identifier: Apache-2.0 */
/* metrics - the broker's numbers: relaxed atomics that any thread bumps, and the Prometheus text
 * made of them. They are statistics only: nothing decides by them. */
#ifndef BROKER_HTTP_METRICS_H
#define BROKER_HTTP_METRICS_H

#include "common/base/base.h"

#include <stdatomic.h>

enum {
    METRICS_API_MAX = 128,
    METRICS_FETCH_FOLLOWER = METRICS_API_MAX - 1, /* no API's key: Fetch requests of followers */
    METRICS_BUCKETS = 16
};

struct metrics {
#define X(kind, field, name, help) _Atomic int64_t field;
#include "broker/http/metrics.def"
#undef X
    /* per api key, and METRICS_FETCH_FOLLOWER: how many, microseconds from the frame to the answer, and how many took less than
     * 2^i * 64 us */
    struct metrics_api {
        _Atomic int64_t count, total_us;
        _Atomic int64_t buckets[METRICS_BUCKETS];
    } apis[METRICS_API_MAX];
};
extern struct metrics metrics;

#define METRIC_ADD(field, n)                                                                       \
    ((void)atomic_fetch_add_explicit(&metrics.field, (int64_t)(n), memory_order_relaxed))
#define METRIC_SET(field, n)                                                                       \
    (atomic_store_explicit(&metrics.field, (int64_t)(n), memory_order_relaxed))
#define METRIC_GET(field) (atomic_load_explicit(&metrics.field, memory_order_relaxed))

void metrics_request_done(int16_t api_key, int64_t us);

/* One number with its help and type lines. */
void metrics_print_one(struct buf *out, bool is_counter, const char *name, const char *help,
                       int64_t value);
/* The same of a time in seconds. */
void metrics_print_seconds(struct buf *out, bool is_counter, const char *name, const char *help,
                           int64_t us);
struct conn_stats;
/* All of the above and the process's, in the Prometheus text format. stats may be NULL. */
void metrics_print(const struct conn_stats *stats, struct buf *out);

#endif
