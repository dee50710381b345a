/* SPDX-License-Identifier: Apache-2.0 */
/* histogram - latencies in microseconds with a relative error below 1 %, at a fixed size. */
#ifndef TOOLS_LIB_HISTOGRAM_H
#define TOOLS_LIB_HISTOGRAM_H

#include "common/base/base.h"

enum { HISTOGRAM_SUB = 128, HISTOGRAM_OCTAVES = 40 };

struct histogram {
    int64_t counts[HISTOGRAM_OCTAVES * HISTOGRAM_SUB];
    int64_t count, sum_us, max_us;
};
void histogram_add(struct histogram *h, int64_t us);
void histogram_reset(struct histogram *h);
/* The value below which that part (0..1) of all lie; 0 when there are none. */
int64_t histogram_percentile_us(const struct histogram *h, double part);
double histogram_mean_ms(const struct histogram *h);

#endif
