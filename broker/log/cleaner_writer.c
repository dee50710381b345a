/* SPDX-License-Identifier: Apache-2.0 */
/* The files of a compacted segment: <base>.log.cleaned and its indexes, all on disk before any of
 * them gets another name. Index entries follow the rules of an append (log_tail.c). */
#include "broker/log/cleaner.h"

#include "common/base/fsx.h"
#include "common/record/batch.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *const suffixes[] = {".log", ".index", ".timeindex", ".txnindex"};

static void path_of(const struct clean_writer *w, const char *suffix, char out[SEGMENT_PATH_MAX])
{
    (void)snprintf(out, SEGMENT_PATH_MAX, "%s/%020" PRId64 "%s.cleaned", w->folder->path,
                   w->base_offset, suffix);
}

static enum err open_new(const char *path, int *fd_out)
{
    return fsx_open(path, O_RDWR | O_CREAT | O_TRUNC, 0644, fd_out);
}

enum err clean_writer_open(struct clean_writer *w, struct log_folder *folder, int64_t base_offset,
                           const struct log_config *c, size_t buffer_bytes)
{
    char path[SEGMENT_PATH_MAX];

    *w = (struct clean_writer){.folder = folder,
                               .base_offset = base_offset,
                               .fd = -1,
                               .first_timestamp_ms = -1,
                               .max_timestamp_ms = -1,
                               .max_timestamp_offset = -1,
                               .last_time_entry_ms = -1,
                               .buffer_bytes = buffer_bytes,
                               .index_interval_bytes = c->index_interval_bytes,
                               .index_bytes_max = c->segment_index_bytes};
    path_of(w, ".log", path);
    enum err rc = fault_point("log.clean.create");
    return rc == ERR_OK ? open_new(path, &w->fd) : rc;
}

static enum err write_out(struct clean_writer *w)
{
    if (w->out.len == 0)
        return ERR_OK;
    enum err rc = fault_point("log.clean.write");
    if (rc == ERR_OK)
        rc = fsx_pwrite_all(w->fd, w->out.p, w->out.len, w->size - (int64_t)w->out.len);
    w->out.len = 0;
    return rc;
}

static void add_time_entry(struct clean_writer *w)
{
    uint8_t e[INDEX_TIME_ENTRY];

    if (w->max_timestamp_ms <= w->last_time_entry_ms ||
        w->times.len + sizeof e > (size_t)w->index_bytes_max)
        return;
    be64_store(e, (uint64_t)w->max_timestamp_ms);
    be32_store(e + 8, (uint32_t)(w->max_timestamp_offset - w->base_offset));
    buf_add(&w->times, e, sizeof e);
    w->last_time_entry_ms = w->max_timestamp_ms;
}

/* Entries are hints: when an index is full, there are no more of them. */
static void index_batch(struct clean_writer *w, int64_t last_offset, size_t len)
{
    uint8_t e[INDEX_OFFSET_ENTRY];

    if (w->unindexed_bytes > w->index_interval_bytes &&
        w->offsets.len + sizeof e <= (size_t)w->index_bytes_max) {
        be32_store(e, (uint32_t)(last_offset - w->base_offset));
        be32_store(e + 4, (uint32_t)w->size);
        buf_add(&w->offsets, e, sizeof e);
        add_time_entry(w);
        w->unindexed_bytes = 0;
    }
    w->unindexed_bytes += (int64_t)len;
}

enum err clean_writer_add(struct clean_writer *w, const uint8_t *batch, size_t len)
{
    int64_t last_offset = batch_last_offset(batch), timestamp_ms = batch_max_timestamp(batch);

    if (w->size + (int64_t)len > SEGMENT_BYTES_MAX)
        return ERR_TOO_LARGE;
    ASSERT(last_offset - w->base_offset <= INT32_MAX);
    /* a batch without records has a time, but nothing to be found by it */
    if (batch_count(batch) > 0 && timestamp_ms > w->max_timestamp_ms) {
        w->max_timestamp_ms = timestamp_ms;
        w->max_timestamp_offset = last_offset;
    }
    if (w->size == 0)
        w->first_timestamp_ms = timestamp_ms;
    index_batch(w, last_offset, len);
    buf_add(&w->out, batch, len);
    w->size += (int64_t)len;
    return w->out.len >= w->buffer_bytes ? write_out(w) : ERR_OK;
}

void clean_writer_add_aborted(struct clean_writer *w, const struct index_txn_entry *e)
{
    uint8_t p[INDEX_TXN_ENTRY];

    index_txn_encode(e, p);
    buf_add(&w->txns, p, sizeof p);
}

static enum err write_index(const struct clean_writer *w, const char *suffix, const struct buf *b)
{
    char path[SEGMENT_PATH_MAX];
    int fd;

    path_of(w, suffix, path);
    enum err rc = fault_point("log.clean.index");
    if (rc == ERR_OK)
        rc = open_new(path, &fd);
    if (rc != ERR_OK)
        return rc;
    if (b->len > 0)
        rc = fsx_pwrite_all(fd, b->p, b->len, 0);
    if (rc == ERR_OK)
        rc = fsx_fdatasync(fd);
    if (close(fd) != 0 && rc == ERR_OK)
        rc = err_from_errno(errno);
    return rc;
}

/* Retention by time asks for it when no record has a timestamp. */
static void set_mtime(const struct clean_writer *w, int64_t ms)
{
    struct timespec t[2] = {{.tv_nsec = UTIME_OMIT},
                            {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000}};

    (void)futimens(w->fd, t);
}

enum err clean_writer_finish(struct clean_writer *w, int64_t mtime_ms)
{
    enum err rc = write_out(w);

    add_time_entry(w);
    if (rc == ERR_OK)
        rc = write_index(w, ".index", &w->offsets);
    if (rc == ERR_OK)
        rc = write_index(w, ".timeindex", &w->times);
    if (rc == ERR_OK && w->txns.len > 0)
        rc = write_index(w, ".txnindex", &w->txns);
    if (rc == ERR_OK)
        set_mtime(w, mtime_ms);
    if (rc == ERR_OK)
        rc = fault_point("log.clean.sync");
    if (rc == ERR_OK)
        rc = fsx_fdatasync(w->fd);
    return rc == ERR_OK ? fsx_sync_dir(w->folder->path) : rc;
}

void clean_writer_close(struct clean_writer *w, bool remove_files)
{
    char path[SEGMENT_PATH_MAX];

    if (w->fd >= 0)
        (void)close(w->fd); /* what it wrote is synced, or not wanted */
    w->fd = -1;
    for (size_t i = 0; remove_files && i < ARRAY_LEN(suffixes); i++) {
        path_of(w, suffixes[i], path);
        (void)unlink(path); /* a leftover goes when the log is loaded */
    }
    buf_fini(&w->out);
    buf_fini(&w->offsets);
    buf_fini(&w->times);
    buf_fini(&w->txns);
}

struct log_segment *clean_writer_segment(const struct clean_writer *w, int64_t created_wall_ms)
{
    struct log_segment *s = segment_new(w->folder, w->base_offset, created_wall_ms);

    s->size = s->flush_posted_size = w->size;
    s->has_all_files = true;
    s->first_timestamp_ms = w->first_timestamp_ms;
    s->max_timestamp_ms = w->max_timestamp_ms;
    s->max_timestamp_offset = w->max_timestamp_offset;
    s->unindexed_bytes = w->unindexed_bytes;
    return s; /* its index is read when it is asked for */
}
