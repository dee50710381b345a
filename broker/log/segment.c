/* SPDX-License-Identifier: Apache-2.0 */
/* Segments: references, paths, finding batches. */
#include "broker/log/segment.h"

#include "broker/log/index.h"
#include "common/base/fsx.h"
#include "common/record/batch.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

struct log_folder *log_folder_new(const char *path)
{
    size_t n = strlen(path) + 1;
    struct log_folder *f = xmalloc(sizeof *f + n);

    atomic_init(&f->refs, 1);
    memcpy(f->path, path, n);
    return f;
}

void log_folder_unref(struct log_folder **f)
{
    if (*f != NULL && atomic_fetch_sub(&(*f)->refs, 1) == 1)
        mem_free(*f);
    *f = NULL;
}

struct log_segment *segment_new(struct log_folder *folder, int64_t base_offset, int64_t now_ms)
{
    struct log_segment *s = xcalloc(1, sizeof *s);

    ASSERT(base_offset >= 0);
    atomic_init(&s->refs, 1);
    atomic_fetch_add(&folder->refs, 1);
    s->folder = folder;
    s->base_offset = base_offset;
    s->created_wall_ms = now_ms;
    s->jitter_random = (uint32_t)random();
    s->first_timestamp_ms = s->max_timestamp_ms = s->max_timestamp_offset = -1;
    s->index.last_time_ms = -1;
    s->index.last_time_offset = base_offset;
    fd_slot_init(&s->file);
    return s;
}

void segment_ref(struct log_segment *s)
{
    atomic_fetch_add(&s->refs, 1);
}

void segment_unref(struct log_segment **sp)
{
    struct log_segment *s = *sp;

    *sp = NULL;
    if (s == NULL || atomic_fetch_sub(&s->refs, 1) != 1)
        return;
    if (s->is_pinned)
        fd_cache_done(&s->file);
    fd_cache_close(&s->file);
    log_folder_unref(&s->folder);
    mem_free(s);
}

void segment_path(const struct log_segment *s, const char *suffix, char out[SEGMENT_PATH_MAX])
{
    (void)snprintf(out, SEGMENT_PATH_MAX, "%s/%020" PRId64 "%s", s->folder->path, s->base_offset,
                   suffix);
}

enum err segment_fd(struct log_segment *s, int flags, int *fd_out)
{
    char path[SEGMENT_PATH_MAX];

    *fd_out = fd_cache_try(&s->file);
    if (LIKELY(*fd_out >= 0))
        return ERR_OK;
    segment_path(s, ".log", path);
    return fd_cache_open(&s->file, path, flags, fd_out);
}

enum err segment_fd_optional(struct log_segment *s, int *fd_out)
{
    char path[SEGMENT_PATH_MAX];

    *fd_out = fd_cache_try(&s->file);
    if (LIKELY(*fd_out >= 0))
        return ERR_OK;
    segment_path(s, ".log", path);
    return fd_cache_open_optional(&s->file, path, fd_out);
}

void segment_fd_done(struct log_segment *s)
{
    fd_cache_done(&s->file);
}

int64_t segment_written_ms(const struct log_segment *s)
{
    char path[SEGMENT_PATH_MAX];
    struct stat st;

    segment_path(s, ".log", path);
    return stat(path, &st) == 0 ? (int64_t)st.st_mtim.tv_sec * 1000 + st.st_mtim.tv_nsec / 1000000
                                : INT64_MAX;
}

/* ---- finding batches */
static enum err parse_header(const uint8_t *p, size_t got, int64_t position, int64_t size,
                             struct batch_at *out)
{
    size_t total;

    if (got < BATCH_HEADER_BYTES || position + BATCH_HEADER_BYTES > size)
        return ERR_NOT_FOUND;
    enum batch_peek peek = batch_peek(p, (size_t)(size - position), &total);
    if (peek == BATCH_PARTIAL)
        return ERR_NOT_FOUND;
    if (peek != BATCH_WHOLE || total > SEGMENT_BYTES_MAX)
        return ERR_CORRUPT;
    *out = (struct batch_at){.position = position,
                             .base_offset = batch_base_offset(p),
                             .last_offset = batch_last_offset(p),
                             .max_timestamp_ms =
                                 batch_count(p) == 0 ? -1 : batch_max_timestamp(p),
                             .total_bytes = (int32_t)total,
                             .leader_epoch = batch_leader_epoch(p),
                             .magic = batch_magic(p),
                             .codec = (uint8_t)batch_codec(p)};
    return ERR_OK;
}

enum err segment_header_at(struct log_segment *s, int64_t position, int64_t size,
                           struct batch_at *out)
{
    uint8_t header[BATCH_HEADER_BYTES];
    size_t got = 0;
    int fd;

    if (position >= size)
        return ERR_NOT_FOUND;
    enum err rc = segment_fd(s, 0, &fd);
    if (rc != ERR_OK)
        return rc;
    rc = fsx_pread(fd, header, sizeof header, position, &got);
    segment_fd_done(s);
    return rc != ERR_OK ? rc : parse_header(header, got, position, size, out);
}

/* Headers are read through a window: one pread covers many small batches. */
static enum err scan(int fd, int64_t position, int64_t size, int64_t offset, struct batch_at *out)
{
    enum { WINDOW_BYTES = 4096 };
    uint8_t window[WINDOW_BYTES];
    int64_t window_at = 0;
    size_t got = 0;

    while (position < size) {
        if (position < window_at || position + BATCH_HEADER_BYTES > window_at + (int64_t)got) {
            window_at = position;
            enum err rc = fsx_pread(fd, window, sizeof window, position, &got);
            if (rc != ERR_OK)
                return rc;
        }
        size_t skip = (size_t)(position - window_at);
        enum err rc = parse_header(window + skip, got - skip, position, size, out);
        if (rc != ERR_OK || out->last_offset >= offset)
            return rc;
        position += out->total_bytes;
    }
    return ERR_NOT_FOUND;
}

enum err segment_find_from(struct log_segment *s, int64_t position, int64_t size, int64_t offset,
                           struct batch_at *out)
{
    int fd;

    enum err rc = segment_fd(s, 0, &fd);
    if (rc != ERR_OK)
        return rc;
    rc = scan(fd, position, size, offset, out);
    segment_fd_done(s);
    return rc;
}

enum err segment_find(struct log_segment *s, int64_t size, int64_t offset, struct batch_at *out)
{
    int64_t position = 0;

    /* The index is a hint: where it leads astray, the search begins at the segment's start. */
    if (index_offset_floor(s, offset, &position) == ERR_OK && position > 0 && position < size) {
        enum err rc = segment_find_from(s, position, size, offset, out);
        if (rc == ERR_OK && (out->position > position || out->base_offset <= offset))
            return rc;
        if (rc != ERR_OK && rc != ERR_NOT_FOUND && rc != ERR_CORRUPT)
            return rc;
    }
    return segment_find_from(s, 0, size, offset, out);
}

enum err segment_scan_tail(struct log_segment *s, int64_t *next_offset_out,
                           int64_t *end_position_out)
{
    struct batch_at b;
    int64_t at = 0;

    *next_offset_out = s->base_offset;
    *end_position_out = 0;
    enum err rc = index_offset_floor(s, INT64_MAX, &at);
    if (rc != ERR_OK)
        return rc;
    if (at >= s->size || segment_header_at(s, at, s->size, &b) != ERR_OK)
        at = 0; /* the index leads astray */
    s->max_timestamp_ms = s->index.last_time_ms;
    s->max_timestamp_offset = s->index.last_time_offset;
    while ((rc = segment_header_at(s, at, s->size, &b)) == ERR_OK) {
        if (b.max_timestamp_ms > s->max_timestamp_ms) {
            s->max_timestamp_ms = b.max_timestamp_ms;
            s->max_timestamp_offset = b.last_offset;
        }
        at += b.total_bytes;
        *next_offset_out = b.last_offset + 1;
        *end_position_out = at;
    }
    return rc == ERR_NOT_FOUND ? ERR_OK : rc;
}

enum err segment_read_batch(struct log_segment *s, const struct batch_at *b, struct buf *out)
{
    size_t got;
    int fd;

    out->len = 0;
    enum err rc = segment_fd(s, 0, &fd);
    if (rc != ERR_OK)
        return rc;
    buf_reserve(out, (size_t)b->total_bytes);
    rc = fsx_pread(fd, out->p, (size_t)b->total_bytes, b->position, &got);
    segment_fd_done(s);
    if (rc == ERR_OK && got < (size_t)b->total_bytes)
        rc = ERR_CORRUPT;
    if (rc == ERR_OK)
        out->len = got;
    return rc;
}

/* ---- deletion */
static const char *const file_suffixes[] = {".log", ".index", ".timeindex", ".txnindex"};

enum err segment_pin(struct log_segment *s)
{
    int fd;

    if (s->is_pinned || atomic_load(&s->refs) == 1)
        return ERR_OK;
    enum err rc = segment_fd(s, 0, &fd);
    if (rc == ERR_OK)
        s->is_pinned = true;
    return rc;
}

enum err segment_mark_deleted(struct log_segment *s)
{
    char from[SEGMENT_PATH_MAX], to[SEGMENT_PATH_MAX];

    enum err rc = segment_pin(s);
    if (rc == ERR_NOT_FOUND)
        rc = ERR_OK;
    for (size_t i = 0; rc == ERR_OK && i < ARRAY_LEN(file_suffixes); i++) {
        char suffix[32];
        (void)snprintf(suffix, sizeof suffix, "%s.deleted", file_suffixes[i]);
        segment_path(s, file_suffixes[i], from);
        segment_path(s, suffix, to);
        if (rename(from, to) != 0 && errno != ENOENT)
            rc = err_from_errno(errno);
    }
    return rc;
}

void segment_unlink_deleted(const char *folder, int64_t base_offset)
{
    char path[SEGMENT_PATH_MAX];

    for (size_t i = 0; i < ARRAY_LEN(file_suffixes); i++) {
        (void)snprintf(path, sizeof path, "%s/%020" PRId64 "%s.deleted", folder, base_offset,
                       file_suffixes[i]);
        (void)unlink(path); /* a leftover is removed when the log is loaded again */
    }
}

bool segment_name_parse(const char *name, int64_t *base_offset_out, const char **suffix_out)
{
    enum { DIGITS = 20 };
    int64_t v = 0;

    for (int i = 0; i < DIGITS; i++) {
        if (name[i] < '0' || name[i] > '9' || v > (INT64_MAX - 9) / 10)
            return false;
        v = v * 10 + (name[i] - '0');
    }
    *base_offset_out = v;
    *suffix_out = name + DIGITS;
    return name[DIGITS] == '.';
}
