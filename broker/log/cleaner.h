/* SPDX-License-Identifier: Apache-2.0 */
/* cleaner - compaction of one log: what may be cleaned, which records stay, and putting the result
 * in place. For the files of broker/log; the threads that do it are in cleaner_thread.c. The theory
 * is in README, section Compaction. KAFKA: LogCleaner, LogCleanerManager. */
#ifndef BROKER_LOG_CLEANER_H
#define BROKER_LOG_CLEANER_H

#include "broker/log/log_internal.h"
#include "broker/log/offset_map.h"
#include "common/record/batch.h"

/* ---- what may be cleaned: cleaner_plan.c */
struct clean_plan {
    int64_t
        dirty_offset;   /* all before was compacted: the cleaner's checkpoint, or the log's start */
    int64_t end_offset; /* a segment's base: what begins there may not be cleaned yet */
    int64_t clean_bytes, dirty_bytes; /* before dirty_offset; from there to end_offset */
    bool is_overdue; /* max.compaction.lag.ms has passed for some of it, whatever the ratio */
};
/* Under the log's lock. False: there is nothing to clean; later there may be, if has_more_out:
 * closed segments that are not flushed, not committed or too young. */
NODISCARD bool clean_plan(struct log *l, int64_t now_ms, struct clean_plan *out,
                          bool *has_more_out);
/* The part of the log that is new: 0 to 1. */
double clean_plan_ratio(const struct clean_plan *p);
/* Worth it by the topic's min.cleanable.dirty.ratio, or overdue. */
bool clean_plan_is_due(const struct clean_plan *p, const struct log_config *c);

/* ---- transactions met on a walk over batches in order: cleaner_txn.c */
struct clean_txn; /* one producer's */
struct clean_txns {
    const struct index_txn_entry *aborted; /* by first offset; the run's */
    size_t aborted_count, next;
    struct clean_txn *by_producer;
    bool lacks_aborted; /* a marker aborted what the index takes for committed: don't go on */
};
void clean_txns_begin(struct clean_txns *t, const struct index_txn_entry *aborted, size_t count);
void clean_txns_fini(struct clean_txns *t);
/* A data batch: true when it belongs to an aborted transaction, so that its records are void. */
bool clean_txns_data(struct clean_txns *t, const uint8_t *batch);
/* A control batch: true when no batch of its transaction was met, so that it may go. aborted_out:
 * the entry that the new segment's .txnindex must keep, or NULL. */
bool clean_txns_marker(struct clean_txns *t, const uint8_t *batch,
                       const struct index_txn_entry **aborted_out);

/* ---- one batch: cleaner_filter.c */
/* An idempotent producer that is known at present. Its last batch keeps its sequence number. */
struct clean_producer {
    int64_t producer_id, last_data_offset; /* -1: only a marker is known */
    int16_t epoch;
};
struct clean_filter {
    const struct offset_map *map;
    int64_t map_end_offset; /* the map tells of records below */
    int64_t now_ms, delete_retention_ms;
    const struct clean_producer *producers; /* by id */
    size_t producer_count;
    struct clean_txns txns;
    struct buf plain, rebuilt, keep; /* reused from batch to batch */
};
enum clean_verdict { CLEAN_DROP, CLEAN_KEEP, CLEAN_REWRITE };
struct clean_batch {
    enum clean_verdict verdict;
    const uint8_t *bytes; /* KEEP: the batch itself; REWRITE: in f->rebuilt, until the next one */
    size_t len;
    int32_t records_read, records_kept;
    const struct index_txn_entry *aborted; /* goes into the new .txnindex, or NULL */
};
/* Decides on a whole batch whose CRC is right. keep_empty: if nothing of it stays, a batch without
 * records takes its place, which tells where the segment ends. CORRUPT, UNSUPPORTED, TOO_LARGE: its
 * records can't be read. */
NODISCARD enum err clean_filter_batch(struct clean_filter *f, const uint8_t *batch, size_t len,
                                      bool keep_empty, struct clean_batch *out);
void clean_filter_fini(struct clean_filter *f);
/* The batch's records, uncompressed, in plain if they were compressed. Then iterate. */
NODISCARD enum err clean_records_of(const uint8_t *batch, size_t len, struct buf *plain,
                                    struct record_iter *it);
/* As record_next, and the offsets must rise within the batch's own. */
NODISCARD enum err clean_record_next(struct record_iter *it, const uint8_t *batch,
                                     int32_t *last_delta, struct record *out);

/* ---- the new segment's files: cleaner_writer.c */
struct clean_writer {
    struct log_folder *folder;
    int64_t base_offset;
    int fd; /* of <base>.log.cleaned; -1 */
    int64_t size;
    int64_t first_timestamp_ms, max_timestamp_ms, max_timestamp_offset, last_time_entry_ms;
    int64_t unindexed_bytes;
    size_t buffer_bytes;
    int32_t index_interval_bytes, index_bytes_max;
    struct buf out, offsets, times, txns;
};
NODISCARD enum err clean_writer_open(struct clean_writer *w, struct log_folder *folder,
                                     int64_t base_offset, const struct log_config *c,
                                     size_t buffer_bytes);
/* TOO_LARGE: the segment would outgrow its index. */
NODISCARD enum err clean_writer_add(struct clean_writer *w, const uint8_t *batch, size_t len);
void clean_writer_add_aborted(struct clean_writer *w, const struct index_txn_entry *e);
/* Writes the rest and the indexes, and syncs all of it and the folder. mtime_ms: of the last
 * segment that it replaces. */
NODISCARD enum err clean_writer_finish(struct clean_writer *w, int64_t mtime_ms);
/* Frees; removes the files, unless they were put in place. */
void clean_writer_close(struct clean_writer *w, bool remove_files);
/* The segment as the log's table wants it. */
struct log_segment *clean_writer_segment(const struct clean_writer *w, int64_t created_wall_ms);

/* ---- a run: cleaner.c */
/* What a run needs of its surroundings. */
struct clean_env {
    size_t map_bytes_max, buffer_bytes;
    double load_factor;
    /* Around every use of the log; NULL: not needed. */
    void (*lock)(void *arg, struct log *l);
    void (*unlock)(void *arg, struct log *l);
    /* So many bytes were read or written, at most some hundred KiB: may wait. False: stop. */
    bool (*go_on)(void *arg, struct log *l, int64_t bytes);
    void *arg;
};
struct clean_stats {
    int64_t bytes_read, bytes_written, records_read, records_kept, keys;
    int64_t dirty_offset, end_offset; /* what became clean */
    int32_t segments_before, segments_after;
    size_t map_bytes;
    bool is_map_full;
};
/* Cleans what may be cleaned, whatever the ratio; without the lock for all that takes time. OK:
 * done, or there was nothing (end_offset == dirty_offset). BAD_VERSION: the log's end was cut
 * meanwhile; BUSY: asked to stop; NO_MEMORY, NO_SPACE, LIMIT (of descriptors): for another time.
 * OFFLINE: the dir is, now or before. CORRUPT, UNSUPPORTED, TOO_LARGE, IO: these bytes can't be
 * cleaned, why says which; the log is set aside. In each case the log is as good as before. */
NODISCARD enum err log_clean(struct log *l, const struct clean_env *env, int64_t now_ms,
                             struct clean_stats *stats, struct errtext *why);
/* Under the lock: replaces count segments from first on by s, whose files end in .cleaned. Takes s.
 * Fails: the dir is offline. */
NODISCARD enum err log_replace_segments(struct log *l, int32_t first, int32_t count,
                                        struct log_segment *s);

#endif
