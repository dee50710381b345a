/* SPDX-License-Identifier: Apache-2.0 */
/* segment - one data file of a log with its two sparse indexes and its index of aborted
 * transactions.
 *
 * A segment is counted: the log holds one reference, each range in flight another. The fields that
 * say so are fixed, or guarded by the partition's lock; the descriptor belongs to the fd cache.
 * Files are reached by path (folder + base offset). Before they are renamed for deletion, a segment
 * with ranges in flight is pinned: its descriptor then stays open until the last of them ends. */
#ifndef BROKER_LOG_SEGMENT_H
#define BROKER_LOG_SEGMENT_H

#include "broker/log/fd_cache.h"
#include "common/base/base.h"

#include <stdatomic.h>

enum { SEGMENT_PATH_MAX = 4096, SEGMENT_BYTES_MAX = INT32_MAX };

/* A replica's folder: shared by its segments, fixed. */
struct log_folder {
    _Atomic unsigned refs;
    char path[]; /* <log dir>/<topic>-<partition> */
};
struct log_folder *log_folder_new(const char *path);
void log_folder_unref(struct log_folder **f);

/* Entry counts and last entries of the indexes, as far as they are on disk. */
struct segment_index_state {
    int32_t offset_entries, time_entries;
    int64_t last_time_ms;     /* -1: no time entry */
    int64_t last_time_offset; /* the offset in it */
};

struct log_segment {
    _Atomic unsigned refs;
    bool is_pinned;         /* a user of file is held for the ranges in flight */
    bool is_index_known;    /* index is set; else it is read on first use */
    bool is_index_unsynced; /* entries were written since the last flush */
    bool has_all_files;     /* the index files exist */
    uint32_t jitter_random; /* of segment.jitter.ms */
    struct log_folder *folder;
    struct fd_slot file;
    int64_t base_offset; /* fixed */
    int64_t size;        /* bytes that count; what the file has beyond is not ours */
    int64_t created_wall_ms;
    int64_t first_timestamp_ms;   /* max timestamp of the first batch; -1: unknown */
    int64_t max_timestamp_ms;     /* of all batches; -1: none */
    int64_t max_timestamp_offset; /* last offset of the batch that has it */
    int64_t unindexed_bytes;      /* since the last index entry */
    int64_t flush_posted_size;    /* when a background flush was last asked for */
    struct segment_index_state index;
};

/* A segment object for files that exist or will be created; size 0. One reference. */
struct log_segment *segment_new(struct log_folder *folder, int64_t base_offset, int64_t now_ms);
void segment_ref(struct log_segment *s);
void segment_unref(struct log_segment **s); /* any thread; closes the file with the last one */

/* "<folder>/<20 digits><suffix>" */
void segment_path(const struct log_segment *s, const char *suffix, char out[SEGMENT_PATH_MAX]);
/* Opens the data file through the cache; segment_fd_done ends the use. flags: O_CREAT or 0. */
NODISCARD enum err segment_fd(struct log_segment *s, int flags, int *fd_out);
/* The same without O_CREAT; NO_DESCRIPTORS instead of waiting for one. */
NODISCARD enum err segment_fd_optional(struct log_segment *s, int *fd_out);
void segment_fd_done(struct log_segment *s);

/* When the data file was last written to, by the file system; INT64_MAX: it is gone. Blocks. */
int64_t segment_written_ms(const struct log_segment *s);

/* A batch in the file, from its header. */
struct batch_at {
    int64_t position, base_offset, last_offset;
    int64_t max_timestamp_ms; /* -1: it has no records */
    int32_t total_bytes;
    int32_t leader_epoch;
    int8_t magic;
    uint8_t codec;
};
/* The batch header at position within the first size bytes. NOT_FOUND: the end, or a cut batch;
 * CORRUPT. One pread. */
NODISCARD enum err segment_header_at(struct log_segment *s, int64_t position, int64_t size,
                                     struct batch_at *out);
/* From position on, the first batch with last offset >= offset. NOT_FOUND: none before size. */
NODISCARD enum err segment_find_from(struct log_segment *s, int64_t position, int64_t size,
                                     int64_t offset, struct batch_at *out);
/* The same from the beginning of the segment, by the offset index. */
NODISCARD enum err segment_find(struct log_segment *s, int64_t size, int64_t offset,
                                struct batch_at *out);
/* Looks at the batches behind the last index entry: sets the largest timestamp, and tells the next
 * offset (the base offset when there is no batch) and how far whole batches reach. */
NODISCARD enum err segment_scan_tail(struct log_segment *s, int64_t *next_offset_out,
                                     int64_t *end_position_out);
/* The whole batch at b into out (reset first). */
NODISCARD enum err segment_read_batch(struct log_segment *s, const struct batch_at *b,
                                      struct buf *out);
/* Renames the segment's files to <name>.deleted, pinning ranges in flight. They are unlinked later
 * by segment_unlink_deleted. */
NODISCARD enum err segment_mark_deleted(struct log_segment *s);
void segment_unlink_deleted(const char *folder, int64_t base_offset);
/* If ranges are in flight: keeps the descriptor open until they end. */
NODISCARD enum err segment_pin(struct log_segment *s);
/* 20 digits and the suffix: true, and which. */
bool segment_name_parse(const char *name, int64_t *base_offset_out, const char **suffix_out);

#endif
