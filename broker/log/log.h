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

/* Effective settings of one topic: broker defaults with the topic's overrides. Immutable, counted,
 * shared by logs. */
struct log_config {
    int64_t segment_bytes, segment_ms, segment_jitter_ms;
    int64_t retention_bytes, retention_ms;
    int64_t flush_messages, flush_ms;
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
};
/* Any thread. An open descriptor for the range's file, kept open until log_range_release: from the
 * LRU of open files. -1 with errno when it can't be opened. May open a file: probe with
 * log_range_is_warm first on a loop. */
int log_range_fd(struct log_range *r);
void log_range_release(struct log_range *r); /* any thread; empty ranges are fine */

enum log_append_origin { LOG_FROM_CLIENT, LOG_FROM_COORDINATOR };

struct log_append_result {
    int64_t base_offset;
    int64_t last_offset;
    int64_t log_append_time_ms; /* -1 for CreateTime */
    int64_t log_start_offset;
    int32_t record_error_index; /* -1, or the record that is at fault */
    bool is_duplicate; /* idempotent producer repeated a batch: offsets are those of the first time
                        */
    const char *error_message; /* NULL or constant text for the client */
};

/* Appends one produce request's batches as leader: validates in place (batch.h), assigns offsets,
 * sets the leader epoch, rolls when due, writes with one pwritev. records is writable and is
 * changed. Returns a Kafka error code (KE_*): 0 done. A roll that is due is done here (it creates
 * files; see README on why that stays off the loops). */
NODISCARD int16_t log_append_leader(struct log *l, uint8_t *records, size_t len,
                                    int32_t leader_epoch, enum log_append_origin origin,
                                    int16_t produce_version, int64_t now_ms,
                                    struct log_append_result *out);
/* Appends what a follower fetched: whole batches with their own offsets and epochs; a cut batch at
 * the end is ignored. next_offset_out, last_epoch_out: after the last whole batch (unchanged epoch
 * -1 if none). */
NODISCARD enum err log_append_follower(struct log *l, uint8_t *records, size_t len, int64_t now_ms,
                                       struct errtext *why);

enum { LOG_READ_AT_LEAST_ONE = 1 /* the first batch whole, even over max_bytes */ };
/* The bytes from the batch that holds offset up to (not including) limit_offset, at most max_bytes
 * (whole batches where they fit; the end may cut one). OUT_OF_RANGE: offset < start or > end. An
 * empty range (length 0) when offset >= limit. */
NODISCARD enum err log_read(struct log *l, int64_t offset, int64_t limit_offset, int64_t max_bytes,
                            unsigned flags, struct log_range *range_out);
/* Bytes between two offsets as Kafka counts them for min_bytes: cheap estimate from segment
 * positions. */
int64_t log_bytes_between(struct log *l, int64_t from_offset, int64_t to_offset);

int64_t log_start_offset(const struct log *l);
int64_t log_end_offset(const struct log *l);
int64_t log_recovery_point(const struct log *l);
int64_t log_size(const struct log *l);
/* First offset of the oldest open transaction, or -1. */
int64_t log_first_unstable_offset(const struct log *l);
/* Kept here because retention and LSO need it; start <= hw <= end is asserted. */
int64_t log_high_watermark(const struct log *l);
void log_set_high_watermark(struct log *l, int64_t hw);

/* Leader epochs. KAFKA: LeaderEpochFileCache. assign writes the checkpoint durably (blocking). */
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

struct uuid log_topic_id(const struct log *l);
NODISCARD enum err log_set_topic_id(struct log *l,
                                    struct uuid id); /* writes partition.metadata durably */
void log_set_config(struct log *l, const struct log_config *c); /* copies */
const struct log_config *log_config_of(const struct log *l);
const char *log_dir_of(const struct log *l); /* the log dir it lives in */
bool log_is_offline(const struct log *l);
struct str log_topic(const struct log *l);
int32_t log_partition(const struct log *l);

#endif
