/* SPDX-License-Identifier: Apache-2.0 */
/* index - the files .index (offset -> position), .timeindex (timestamp -> offset) and .txnindex
 * (aborted transactions) of a segment. Read by pread, appended by pwrite, never mapped, always as
 * long as their entries. Guarded by the partition's lock. Layout: README. */
#ifndef BROKER_LOG_INDEX_H
#define BROKER_LOG_INDEX_H

#include "broker/log/segment.h"

enum { INDEX_OFFSET_ENTRY = 8, INDEX_TIME_ENTRY = 12, INDEX_TXN_ENTRY = 34 };

struct index_offset_entry {
    int32_t relative_offset, position;
};
struct index_time_entry {
    int64_t timestamp_ms;
    int32_t relative_offset;
};

/* Reads the sizes and last entries into s->index, once. A file that is missing has no entries. */
NODISCARD enum err index_load(struct log_segment *s);
/* Creates the two files, empty, if they are missing. Needs no lock; has_all_files is the caller's.
 */
NODISCARD enum err index_create(struct log_segment *s);
/* Appends entries; the files grow. */
NODISCARD enum err index_append(struct log_segment *s, const struct index_offset_entry *offsets,
                                int32_t offset_count, const struct index_time_entry *times,
                                int32_t time_count);
/* Position of the greatest entry at or below offset; 0 when there is none. */
NODISCARD enum err index_offset_floor(struct log_segment *s, int64_t offset, int64_t *position_out);
/* Offset of the greatest entry with timestamp <= target; the base offset when there is none. */
NODISCARD enum err index_time_floor(struct log_segment *s, int64_t timestamp_ms,
                                    int64_t *offset_out);
/* First indexed position at or past position, as an offset; -1: none. The upper bound of a read for
 * aborted transactions. */
NODISCARD enum err index_offset_above(struct log_segment *s, int64_t position, int64_t *offset_out);
/* Do the last entries of .index and .timeindex tell batches within s->size as they are? Without
 * entries they are sane; zeros that a crash or a preallocation left are not. */
NODISCARD enum err index_tail_is_sane(struct log_segment *s, bool *sane_out);
/* Cuts entries for offsets >= offset (txn entries whose marker is there). */
NODISCARD enum err index_truncate(struct log_segment *s, int64_t offset);
/* Makes all three empty: before a rebuild. */
NODISCARD enum err index_reset(struct log_segment *s);
NODISCARD enum err index_sync(const struct log_segment *s); /* needs no lock */

struct index_txn_entry {
    int64_t producer_id, first_offset, last_offset, last_stable_offset;
};
void index_txn_encode(const struct index_txn_entry *e, uint8_t p[INDEX_TXN_ENTRY]);
NODISCARD enum err index_txn_append(struct log_segment *s, const struct index_txn_entry *e);
/* Calls visit for each entry in order until it returns false. CORRUPT: a bad version or size. */
NODISCARD enum err index_txn_each(struct log_segment *s,
                                  bool (*visit)(void *arg, const struct index_txn_entry *e),
                                  void *arg);

#endif
