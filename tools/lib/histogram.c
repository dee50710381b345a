/* SPDX-License-Identifier: Apache-2.0 */
/* Log-linear buckets: each power of two is split into HISTOGRAM_SUB parts. */
#include "tools/lib/histogram.h"

/* Values below HISTOGRAM_SUB have a bucket each; octave k > 0 covers [SUB << (k-1), SUB << k). */
static size_t bucket_of(int64_t us)
{
    uint64_t v = (uint64_t)i64_max(us, 0);
    unsigned octave = 0;

    while ((v >> octave) >= 2 * HISTOGRAM_SUB)
        octave++;
    if (v < HISTOGRAM_SUB)
        return (size_t)v;
    return size_min((size_t)(octave + 1) * HISTOGRAM_SUB + (size_t)(v >> octave) - HISTOGRAM_SUB,
                    (size_t)HISTOGRAM_OCTAVES * HISTOGRAM_SUB - 1);
}

/* The middle of a bucket. */
static int64_t value_of(size_t bucket)
{
    unsigned octave = (unsigned)(bucket / HISTOGRAM_SUB);
    int64_t base;

    if (octave == 0)
        return (int64_t)bucket;
    base = (int64_t)(bucket % HISTOGRAM_SUB + HISTOGRAM_SUB) << (octave - 1);
    return base + ((INT64_C(1) << (octave - 1)) >> 1);
}

void histogram_add(struct histogram *h, int64_t us)
{
    h->counts[bucket_of(us)]++;
    h->count++;
    h->sum_us += us;
    h->max_us = i64_max(h->max_us, us);
}

void histogram_reset(struct histogram *h)
{
    *h = (struct histogram){0};
}

int64_t histogram_percentile_us(const struct histogram *h, double part)
{
    int64_t wanted = (int64_t)((double)h->count * part), seen = 0;

    for (size_t i = 0; i < ARRAY_LEN(h->counts); i++) {
        seen += h->counts[i];
        if (seen > wanted || (seen == h->count && seen > 0))
            return i64_min(value_of(i), h->max_us);
    }
    return 0;
}

double histogram_mean_ms(const struct histogram *h)
{
    return h->count == 0 ? 0.0 : (double)h->sum_us / (double)h->count / 1000.0;
}
