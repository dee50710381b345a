/* SPDX-License-Identifier: Apache-2.0 */
/* log - one partition's log: segments with their indexes, the leader-epoch cache and the producer
 * state.
 *
 * Not thread-safe: the caller holds the partition's lock for every function that takes a struct
 * log, unless it says otherwise. Offsets are absolute; "end offset" is the next offset to be
 * written (LEO). Files: Kafka's own, see README. Error OFFLINE: an earlier write or sync failed;
 * the log dir is offline and nothing is acknowledged any more. */
#ifndef BROKER_LOG_LOG_H
#define BROKER_LOG_LOG_H

#include "common/base/base.h"
#include "common/base/uuid.h"

struct log;
struct log_segment;

/* Effective settings of one topic: broker defaults with the topic's overrides. */
struct log_config {
    int64_t segment_bytes, segment_ms, segment_jitter_ms;
    int64_t retention_bytes, retention_ms;
    int64_t flush_messages, flush_ms;
    /* Compacted: the active segment is closed, so that it can be compacted, when it is this large
     * and as large as all others together; 0: only by the other limits. */
    int64_t early_roll_bytes;
    int64_t file_delete_delay_ms, delete_retention_ms, min_compaction_lag_ms, max_compaction_lag_ms;
    int64_t timestamp_before_max_ms, timestamp_after_max_ms;
    double min_cleanable_dirty_ratio;
    int32_t max_message_bytes, index_interval_bytes, segment_index_bytes, min_insync_replicas;
    int8_t compression_type; /* -1: the producer's; else codec 0-4 */
    bool is_compact, is_delete, is_log_append_time, preallocate, unclean_leader_election,
        downconversion_enable;
};

/* A range of bytes of a segment file. Holds a reference to the segment, so the file stays open-able
 * and its bytes stay, even if the segment is deleted or rolled meanwhile. Sent with sendfile by any
 * thread. */
struct log_range {
    struct log_segment *segment;
    int64_t position;
    int64_t length;
    bool has_fd; /* log_range_fd's */
};
/* Any thread. An open descriptor for the range's file, kept open until log_range_release: from the
 * LRU of open files. -1 with errno when it can't be opened. May open a file: probe with
 * log_range_is_warm first on a loop. */
int log_range_fd(struct log_range *r);
/* Any thread; the same, but -1 at once when no descriptor is free: for answers to clients, of which
 * slow ones keep theirs for long. */
int log_range_fd_optional(struct log_range *r);
/* Any thread, never blocks: the same when the file is open already, else -1. */
int log_range_try_fd(struct log_range *r);
/* Any thread, never blocks: is the file open and are the first and last page of the range in the
 * page cache? */
bool log_range_is_warm(struct log_range *r);
/* Any thread; blocks: opens the file and reads the range into the page cache, for an io thread. */
void log_range_warm(struct log_range *r);
/* Any thread; blocks: n bytes of the range's file from position at on, which may lie behind the
 * range where the log has whole batches; got_out less at the end of the file. */
NODISCARD enum err log_range_read(struct log_range *r, int64_t at, void *dst, size_t n,
                                  size_t *got_out);
void log_range_release(struct log_range *r); /* any thread; empty ranges are fine */

enum log_append_origin { LOG_FROM_CLIENT, LOG_FROM_COORDINATOR };

/* Which records of a client's batch are refused, and why (KIP-467): the first
 * LOG_RECORD_ERRORS_MAX of them. */
enum { LOG_RECORD_ERRORS_MAX = 1000 };
enum log_record_fault { LOG_RECORD_WITHOUT_KEY, LOG_RECORD_OUT_OF_TIME, LOG_RECORD_MARKED };
struct log_record_errors {
    int32_t total, count; /* total: also those beyond the bound */
    char summary[240];    /* of the batch */
    char out_of_time[120];
    struct {
        int32_t index;
        enum log_record_fault fault;
    } list[];
};
/* Valid as long as e. */
const char *log_record_error_text(const struct log_record_errors *e, int32_t i);

struct log_append_result {
    int64_t base_offset;
    int64_t last_offset;
    int64_t log_append_time_ms; /* -1 for CreateTime */
    int64_t log_start_offset;
    int32_t leader_epoch;       /* set by partition_append: the epoch it was appended in */
    int32_t record_error_index; /* -1, or the record that is at fault */
    bool is_duplicate; /* idempotent producer repeated a batch: offsets are those of the first time
                        */
    const char *error_message; /* NULL or a text for the client, valid until log_append_result_fini
                                */
    struct log_record_errors *record_errors; /* NULL, or owned */
};
/* Needed after a client's append that failed; does nothing after any other. */
void log_append_result_fini(struct log_append_result *res);

/* What validation needs of a topic's settings: a copy, so that no lock is needed while it is used.
 */
struct log_policy {
    int64_t timestamp_before_max_ms, timestamp_after_max_ms;
    int32_t max_message_bytes;
    int8_t compression_type; /* -1: the producer's */
    bool is_compact, is_log_append_time;
};
void log_policy_of(const struct log *l, struct log_policy *out);

/* One produce request's batch after validation. Points into the request's bytes, or owns a rebuilt
 * batch. */
struct log_batch {
    uint8_t *records; /* exactly one v2 batch of len bytes, patched by the append */
    size_t len;
    uint8_t *owned; /* NULL, or the rebuilt batch: log_batch_fini frees it */
    int64_t max_timestamp_ms;
    int64_t log_append_time_ms; /* -1 for CreateTime */
    int64_t producer_id;
    int32_t base_sequence, last_offset_delta, record_count;
    int16_t producer_epoch;
    bool is_transactional, is_control;
    enum log_append_origin origin;
};
void log_batch_fini(struct log_batch *b);

/* Is this a batch whose validation decompresses? Such a log_validate belongs on an io thread. Any
 * bytes are fine. */
bool log_needs_decompression(const struct log_policy *policy, const uint8_t *records, size_t len);
/* First half of an append: checks the bytes of one produce request in place (sizes, CRC, counts,
 * attributes, timestamps, keys, inner offsets), recompresses or rebuilds where the topic asks for
 * it. Any thread, no lock, no log. Returns KE_NONE with batch set (end it with log_batch_fini), or
 * the error with res's record_error_index, error_message and record_errors set: end res with
 * log_append_result_fini. Every record is looked at, so that all that are refused are named. Bytes
 * behind the batch that are no whole batch are left out. records is writable and may be changed. */
NODISCARD int16_t log_validate(const struct log_policy *policy, uint8_t *records, size_t len,
                               enum log_append_origin origin, int16_t produce_version,
                               int64_t now_ms, struct log_batch *batch_out,
                               struct log_append_result *res);
/* Second half, under the partition's lock: checks the producer's sequence, rolls when due, assigns
 * offsets and the leader epoch, writes with one pwritev. KE_NONE also for a duplicate (is_duplicate
 * set, nothing written). The batch stays the caller's. */
NODISCARD int16_t log_append_validated(struct log *l, struct log_batch *batch, int32_t leader_epoch,
                                       int64_t now_ms, struct log_append_result *out);

/* Both halves: validates and appends one produce request's batch as leader. records is writable and
 * is changed. Returns a Kafka error code (KE_*): 0 done. A roll that is due is done here (it
 * creates one file; see README on why the rest stays off the loops). */
NODISCARD int16_t log_append_leader(struct log *l, uint8_t *records, size_t len,
                                    int32_t leader_epoch, enum log_append_origin origin,
                                    int16_t produce_version, int64_t now_ms,
                                    struct log_append_result *out);
/* Appends what a follower fetched: whole batches with their own offsets and epochs; a cut batch at
 * the end is ignored. Afterwards log_end_offset and log_epoch_latest tell where to go on. CORRUPT:
 * a batch is damaged or offsets do not rise; OUT_OF_RANGE: the first batch begins below the end
 * offset. Nothing was written then. */
NODISCARD enum err log_append_follower(struct log *l, uint8_t *records, size_t len, int64_t now_ms,
                                       struct errtext *why);

enum { LOG_READ_AT_LEAST_ONE = 1 /* the first batch whole, even over max_bytes */ };
/* The bytes from the batch that holds offset up to (not including) limit_offset, at most max_bytes
 * (whole batches where they fit; the end may cut one). OUT_OF_RANGE: offset < start or > end. An
 * empty range (length 0) when offset >= limit. */
NODISCARD enum err log_read(struct log *l, int64_t offset, int64_t limit_offset, int64_t max_bytes,
                            unsigned flags, struct log_range *range_out);
/* Do both offsets lie in one segment? (A fetch from an older segment is answered at once.) */
bool log_same_segment(const struct log *l, int64_t a_offset, int64_t b_offset);
/* Bytes between two offsets as Kafka counts them for min_bytes: cheap estimate from segment
 * positions. */
int64_t log_bytes_between(struct log *l, int64_t from_offset, int64_t to_offset);

int64_t log_start_offset(const struct log *l);
int64_t log_end_offset(const struct log *l);
int64_t log_recovery_point(const struct log *l);
int64_t log_size(const struct log *l);
/* First offset of the oldest transaction that is open or whose marker is not below the high
 * watermark, or -1. */
int64_t log_first_unstable_offset(const struct log *l);
int64_t log_last_stable_offset(const struct log *l); /* the same, or the high watermark */
/* Kept here because retention and LSO need it; start <= hw <= end is asserted. */
int64_t log_high_watermark(const struct log *l);
void log_set_high_watermark(struct log *l, int64_t hw);

/* Leader epochs. KAFKA: LeaderEpochFileCache. assign does not block: the checkpoint is written in
 * the background, before the recovery point passes it. */
NODISCARD enum err log_epoch_assign(struct log *l, int32_t epoch, int64_t start_offset);
int32_t log_epoch_latest(const struct log *l); /* -1: none */
/* (-1, -1) when undefined. */
void log_epoch_end(const struct log *l, int32_t epoch, int32_t *epoch_out, int64_t *end_out);
int32_t log_epoch_of(const struct log *l, int64_t offset); /* -1: unknown */

/* Blocking; io threads. */
NODISCARD enum err log_truncate_to(struct log *l, int64_t offset, struct errtext *why);
NODISCARD enum err log_truncate_fully_at(struct log *l, int64_t offset, struct errtext *why);
NODISCARD enum err log_roll(struct log *l, int64_t now_ms);
NODISCARD enum err log_flush(struct log *l); /* to the current end; advances the recovery point */
NODISCARD enum err log_set_start_offset(struct log *l, int64_t offset); /* DeleteRecords; <= HW */
int log_delete_old(struct log *l, int64_t now_ms); /* retention; returns segments deleted */
struct log_time_offset {
    int64_t timestamp_ms, offset; /* -1, -1: none */
    int32_t leader_epoch;
};
/* First record with timestamp >= target; target -3: the record with the largest timestamp. */
NODISCARD enum err log_offset_for_time(struct log *l, int64_t target_ms,
                                       struct log_time_offset *out);
/* Where the log can be entered by segments, newest first: its end, unless the last segment is
 * empty, then every segment's start, the oldest's not below the log's. For ListOffsets 0. */
struct log_mark {
    int64_t offset;
    struct log_segment *segment; /* with a reference; NULL: the end */
};
/* How many; allocated, log_marks_free takes them back. */
int32_t log_marks(const struct log *l, struct log_mark **out);
/* Any thread, no lock; blocks. When the mark's file was last written to; the end: now_ms.
 * INT64_MAX: it is gone. */
int64_t log_mark_time(const struct log_mark *m, int64_t now_ms);
void log_marks_free(struct log_mark *marks, int32_t count);

/* Aborted transactions that a read_committed reader of [offset, range's end) must know, in order of
 * their markers. Allocated; the caller frees with mem_free. May read files. */
struct log_aborted {
    int64_t producer_id, first_offset;
};
NODISCARD enum err log_aborted_find(struct log *l, int64_t offset, const struct log_range *range,
                                    struct log_aborted **out, int32_t *count_out);
/* The producers known to the log, for DescribeProducers. Allocated as above. */
struct log_producer {
    int64_t producer_id, last_timestamp_ms, txn_start_offset; /* -1: none open */
    int64_t last_data_offset; /* of its last batch that is no marker; -1: none known */
    int32_t epoch, last_sequence, coordinator_epoch;
};
int32_t log_producers(const struct log *l, struct log_producer **out);

struct uuid log_topic_id(const struct log *l);
/* Writes partition.metadata; it is synced in the background. */
NODISCARD enum err log_set_topic_id(struct log *l, struct uuid id);
/* Kafka's defaults. */
void log_config_defaults(struct log_config *c);
void log_set_config(struct log *l, const struct log_config *c); /* copies */
const struct log_config *log_config_of(const struct log *l);
const char *log_dir_of(const struct log *l); /* the log dir it lives in */
bool log_is_offline(const struct log *l);
struct str log_topic(const struct log *l);
int32_t log_partition(const struct log *l);

#endif
