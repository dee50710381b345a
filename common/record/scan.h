/* SPDX-License-Identifier: Apache-2.0 */
/* scan - walks over the records of a compressed batch without unfolding it in memory: what a leader
 * must know of each record, in one window of a few KiB. Not thread-safe; keep it off the loops. */
#ifndef COMMON_RECORD_SCAN_H
#define COMMON_RECORD_SCAN_H

#include "common/record/batch.h"

struct record_brief {
    int64_t timestamp_ms;
    int32_t offset_delta;
    bool has_key, has_value;
};
struct record_scan;
/* batch: a whole one of len bytes, which stays valid until record_scan_close. out NULL on error. */
NODISCARD enum err record_scan_open(const uint8_t *batch, size_t len, struct record_scan **out);
/* OK; NOT_FOUND: no more and nothing is left over; CORRUPT; NO_MEMORY. */
NODISCARD enum err record_scan_next(struct record_scan *s, struct record_brief *out);
void record_scan_close(struct record_scan **s);

#endif
