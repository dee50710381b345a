/* SPDX-License-Identifier: Apache-2.0 */
/* log_internal - the inside of a log, for the files of broker/log only. Everything here is guarded
 * by the partition's lock unless a field says otherwise. */
#ifndef BROKER_LOG_LOG_INTERNAL_H
#define BROKER_LOG_LOG_INTERNAL_H

#include "broker/log/epoch_cache.h"
#include "broker/log/index.h"
#include "broker/log/log.h"
#include "broker/log/producer_state.h"
#include "broker/log/segment.h"

#include <stdatomic.h>
#include "common/base/hash.h"

/* One of log.dirs. Fixed but for the flag. */
struct log_dir {
    char *path;
    _Atomic bool is_offline;
    struct log_manager *manager; /* NULL: a log by itself, in tests and tools */
    int lock_fd;
    bool was_clean;
    bool is_failure_told; /* manager's thread only */
};
/* Takes the dir offline, once, with a log line; the manager's thread tells the owner. Any lock. Not
 * for NO_DESCRIPTORS: the disk is fine, and nothing has moved yet, so the caller may try again. */
void log_dir_fail(struct log_dir *d, const char *what, enum err rc);
/* The same for operations that have done a part and cannot go back: files and memory no longer say
 * the same, whatever the reason, so the dir goes offline for NO_DESCRIPTORS too. */
void log_dir_fail_midway(struct log_dir *d, const char *what, enum err rc);
/* The manager's: see log_background.c. No-ops without a manager. */
void log_manager_dir_failed(struct log_manager *m);
void log_manager_post(struct log *l, unsigned work);
/* Around writing files that two threads may replace at a time. Rank CHECKPOINT: with or without the
 * partition's lock. */
void log_manager_lock_files(struct log_manager *m);
void log_manager_unlock_files(struct log_manager *m);
NODISCARD enum err log_manager_checkpoint_recovery(struct log_manager *m, struct log_dir *d);
NODISCARD enum err log_manager_checkpoint_cleaner(struct log_manager *m, struct log_dir *d);

/* What the background thread is asked to do for a log. */
enum {
    LOG_WORK_FLUSH = 1,  /* rolled, or much is unflushed */
    LOG_WORK_UNLINK = 2, /* .deleted files wait */
};
/* A compacted log has closed segments that may be dirty: a cleaner looks at it. */
void log_manager_post_clean(struct log *l);

/* Memory of the active segment's end, made by the first append and given back when a log rests:
 * where recent batches lie, and index entries not written yet. */
enum { TAIL_RING = 64, TAIL_PENDING = 32 };
struct tail_batch {
    int64_t last_offset;
    int32_t position;
};
struct log_tail {
    int64_t known_from; /* batches with last offset >= this are in the ring */
    uint32_t first, count;
    int64_t used_ms; /* last append */
    struct tail_batch ring[TAIL_RING];
    int32_t offset_count, time_count;
    struct index_offset_entry offsets[TAIL_PENDING];
    struct index_time_entry times[TAIL_PENDING];
};

/* A producer snapshot taken at a roll, to be written by the background thread. */
struct pending_snapshot {
    STAILQ_ENTRY(pending_snapshot) link;
    int64_t offset;
    struct buf bytes;
};

struct deleted_segment { /* renamed to .deleted, not unlinked yet */
    int64_t base_offset, since_wall_ms;
};

struct log {
    UT_hash_handle hh; /* the manager's table; guarded by its lock */
    struct log_dir *dir;
    struct log_folder *folder;
    struct log_config config;
    void *user;
    struct uuid topic_id;
    int64_t end_offset;
    /* written under the lock, read by the checkpoints of the manager's thread without it */
    _Atomic int64_t start_offset, high_watermark;
    _Atomic int64_t recovery_point; /* below it everything is on disk */
    /* compaction: all before was cleaned; 0: nothing was. As the two above. */
    _Atomic int64_t clean_offset;
    int64_t clean_after_mono_ms; /* a run failed: not before */
    _Atomic bool is_uncleanable; /* set aside, until bytes are taken away or the next start */
    int64_t unsnapshot_bytes;       /* appended since the last producer snapshot was taken */
    int64_t flushed_mono_ms;
    int64_t snapshot_offset;       /* of the newest producer snapshot on disk; -1 */
    struct log_segment **segments; /* by base offset; the last is active */
    struct log_tail *tail;
    struct producer_state *producers;
    struct epoch_cache epochs;
    int32_t segment_count, segment_cap;
    uint64_t epochs_formatted; /* how often the epochs were taken for writing */
    uint64_t epochs_written;   /* which of those is in the file; guarded by the files lock */
    uint32_t generation; /* rises when bytes are taken away: a flush under way then says nothing */
    uint32_t cuts;       /* rises when they are taken away at the end: so does a cleaner's run */
    bool has_snapshots, is_folder_dirty, is_dir_dirty, is_metadata_dirty;
    int32_t deleted_count, deleted_cap;
    struct deleted_segment *deleted; /* oldest first */
    STAILQ_HEAD(snapshot_list, pending_snapshot) snapshots;
    /* guarded by the manager's lock */
    TAILQ_ENTRY(log) work_link;   /* in its queue when work is not 0 */
    TAILQ_ENTRY(log) unlink_link; /* in its list when is_unlinking */
    unsigned work;
    unsigned pins; /* visits under way; deletion waits for them */
    bool is_unlinking;
    bool is_open; /* loaded and in the table: work may be posted */
    TAILQ_ENTRY(log) clean_link; /* in the list of those with something to clean, when is_in_clean */
    bool is_in_clean;
    bool is_cleaning; /* a cleaner's thread has it */

    int32_t partition;
    int32_t topic_len; /* the topic is the first part of name */
    char name[];       /* "<topic>-<partition>" */
};

static inline struct log_segment *log_active(const struct log *l)
{
    return l->segments[l->segment_count - 1];
}
static inline bool log_dir_is_offline(const struct log_dir *d)
{
    return atomic_load_explicit(&d->is_offline, memory_order_relaxed);
}
/* End offset of segment i: the next one's base, or the log's end. */
static inline int64_t log_segment_end(const struct log *l, int32_t i)
{
    return i + 1 < l->segment_count ? l->segments[i + 1]->base_offset : l->end_offset;
}
int32_t log_segment_index(const struct log *l,
                          int64_t offset); /* the one that holds it; -1 below */
void log_segments_insert(struct log *l,
                         struct log_segment *s); /* at the end; takes the reference */
void log_check(const struct log *l);             /* asserts the invariants */

/* ---- life: log_open.c, log_folder.c, log_recover.c */
struct log_open_args {
    struct log_dir *dir;
    struct str topic;
    int32_t partition;
    const struct log_config *config;
    int64_t recovery_point, start_offset; /* of the checkpoints; 0 if there is none */
    int64_t high_watermark;               /* the same; clamped */
    int64_t clean_offset;                 /* the same */
    bool was_clean;
    bool create; /* the folder may be missing */
};
NODISCARD enum err log_open(const struct log_open_args *a, struct log **out, struct errtext *why);
/* Tidies the folder and puts the segments that are there into the table. */
NODISCARD enum err log_find_segments(struct log *l, bool *has_snapshots_out);
/* Finds the end offset; cuts what is not whole. After an unclean stop also epochs and producers. */
NODISCARD enum err log_recover(struct log *l, bool was_clean, int64_t recovery_point);
/* Writes what is buffered (index entries, epochs, a snapshot), flushes, frees. Not when offline. */
NODISCARD enum err log_close(struct log **l);
NODISCARD enum err log_prepare_close(struct log *l);  /* the same but for the freeing */
NODISCARD enum err log_finish_writing(struct log *l); /* its first part: all but the flush */
void log_free(struct log **l);                        /* without writing anything */

/* ---- the tail: log_tail.c */
void tail_add(struct log *l, int64_t last_offset, int64_t position, int64_t now_ms);
/* The first batch with last offset >= offset: its position; false when the ring does not know. */
bool tail_find(const struct log *l, int64_t offset, int64_t *position_out);
/* The position of a batch at or before offset, from index entries that are not written yet. */
bool tail_find_near(const struct log *l, int64_t offset, int64_t *position_out);
/* An index entry for a batch that was just written, when one is due. */
NODISCARD enum err tail_index(struct log *l, int64_t last_offset, int64_t position, int64_t bytes);
NODISCARD enum err tail_flush_index(struct log *l); /* writes pending entries */
/* Before a segment stops being active: pending entries and the last time entry. */
NODISCARD enum err tail_finish_segment(struct log *l);
void tail_reset(struct log *l);              /* forgets the ring: after a roll or truncation */
NODISCARD enum err tail_drop(struct log *l); /* writes, then frees */

/* ---- appending: log_append.c */
NODISCARD enum err log_roll_if_due(struct log *l, int64_t bytes, int64_t max_timestamp_ms,
                                   int64_t first_offset, int64_t last_offset, int64_t now_ms);
NODISCARD enum err log_roll_at(struct log *l, int64_t base_offset, int64_t now_ms);
/* Copies the producers as they are; the next flush writes the file. */
void log_take_snapshot(struct log *l, int64_t offset);
/* State after a whole batch at the end of the active segment's bytes: offsets, epochs, producers,
 * indexes. For appends, and for recovery, which goes over old bytes as if they were appended. */
NODISCARD enum err log_note_batch(struct log *l, const uint8_t *batch, size_t len, int64_t now_ms);

/* ---- flushing: log_flush.c */
struct log_flush_job; /* what a flush writes, taken under the lock, written without it */
bool log_has_unflushed(const struct log *l);
struct log_flush_job *log_flush_begin(struct log *l);
NODISCARD enum err log_flush_run(struct log_flush_job *j);
/* For many logs at a time: run writes without waiting, then one log_dir_sync for all of a dir, then
 * the ends. (Thousands of fsyncs take minutes, a syncfs seconds.) */
NODISCARD enum err log_flush_run_grouped(struct log_flush_job *j);
NODISCARD enum err log_dir_sync(struct log_dir *d);
/* Under the lock again. Frees the job; advances the recovery point when rc is OK. */
void log_flush_end(struct log *l, struct log_flush_job **j, enum err rc);
NODISCARD enum err log_write_snapshot(struct log *l,
                                      int64_t offset); /* of the current state, now */
/* Takes out of the log up to max .deleted segments that are older than the delay, or any: returns
 * how many, for segment_unlink_deleted, which may take its time and needs no lock. */
int32_t log_take_deleted(struct log *l, int64_t now_ms, bool all, int64_t *bases_out, int32_t max);
void log_unlink_deleted(struct log *l); /* all of them, now */

/* ---- removing and rebuilding: log_truncate.c, log_producers.c */
/* The renamed files are unlinked later. */
void log_remember_deleted(struct log *l, int64_t base_offset);
/* The largest timestamp of the segment's first batch; -1: none. May read the file. */
int64_t log_segment_first_timestamp_ms(struct log_segment *s);
/* The largest timestamp in the segment, or the file's; INT64_MAX: not known. May read the file. */
int64_t log_segment_age_base_ms(struct log_segment *s);
NODISCARD enum err log_remove_segments(struct log *l, int32_t from, int32_t count);
/* Producer state at offset: the newest good snapshot at or below it, and the batches from there.
 * was_clean: without any snapshot the state is empty. */
NODISCARD enum err log_load_producers(struct log *l, int64_t offset, bool was_clean);
/* Deletes snapshots above that offset; they tell of batches that are gone. -1: all. */
NODISCARD enum err log_prune_snapshots(struct log *l, int64_t above);
void log_snapshot_path(const struct log *l, int64_t offset, char out[SEGMENT_PATH_MAX]);

/* ---- whole batches of a file, one after the other, with a large window: segment_reader.c */
struct segment_reader {
    struct log_segment *segment;
    int fd;
    int64_t position, size; /* of the next batch; of the file */
    int64_t window_at;
    struct buf window;
};
NODISCARD enum err segment_reader_open(struct segment_reader *r, struct log_segment *s,
                                       int64_t position, int64_t size);
/* OK: a whole batch, v2, CRC not checked. NOT_FOUND: the end, or a cut batch (position < size).
 * UNSUPPORTED: a good message of format 0 or 1. CORRUPT. */
NODISCARD enum err segment_reader_next(struct segment_reader *r, const uint8_t **batch_out,
                                       size_t *len_out);
void segment_reader_close(struct segment_reader *r);

#endif
