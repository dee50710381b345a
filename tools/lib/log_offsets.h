/* SPDX-License-Identifier: Apache-2.0 */
/* log_offsets - what the leaders of some partitions know: first, last and timed offsets, and when
 * the record at an offset was written. One command, one thread; lists are sorted by topic and
 * partition, without doubles. */
#ifndef TOOLS_LIB_LOG_OFFSETS_H
#define TOOLS_LIB_LOG_OFFSETS_H

#include "tools/lib/admin.h"

enum { LOG_LATEST = -1, LOG_EARLIEST = -2 };

struct log_partition {
    const char *topic;
    int32_t partition;
    int64_t offset;       /* in or out, see the calls */
    int64_t timestamp_ms; /* log_read_times; -1: not known */
    int32_t leader;       /* -1: none */
    int16_t error;        /* KE_NONE, or why the answer is missing */
};

/* Sorts and drops doubles; returns how many are left. */
int32_t log_partitions_sort(struct log_partition *list, int32_t count);
/* NULL: not in the list. */
struct log_partition *log_partition_find(const struct log_partition *list, int32_t count,
                                         const char *topic, int32_t partition);

/* Sets offset of each to its offset at time (ms since 1970, LOG_LATEST, LOG_EARLIEST; -1: there is
 * no record that young), or error. What a moving leader answers is asked again for about a second.
 * Fails only when no broker tells where the leaders are. */
NODISCARD enum err log_list_offsets(struct admin *a, struct log_partition *list, int32_t count,
                                    int64_t time, struct errtext *why);

/* For each with offset >= 0 and error KE_NONE: sets timestamp_ms to the time of the first record
 * that is kept at the offset or after it. Best effort: it sends a bounded number of fetch requests,
 * which ask for 32 KiB of each partition; what they do not bring keeps -1. */
void log_read_times(struct admin *a, struct log_partition *list, int32_t count);

/* The time of the first record at offset or after it in n fetched bytes, which may end in a cut
 * batch; -1: not to be seen. Pure. */
int64_t log_first_time(const uint8_t *p, size_t n, int64_t offset);

#endif
