/* SPDX-License-Identifier: Apache-2.0 */
/* Flushing in three steps, so that the disk is waited for without the partition's lock:
 *   begin  (lock)     take references to what is to be written, copy what is in memory
 *   run    (no lock)  snapshots, data, indexes, epochs, metadata, the folder
 *   end    (lock)     the recovery point advances, unless bytes were taken away meanwhile
 * The recovery point thus never passes data, an index entry, an epoch or a snapshot that is not on
 * disk, and recovery can begin at it, also in the middle of a segment; it is told the producers by
 * a snapshot that is not far before it. A failed sync takes the log dir offline and is never
 * retried. */
#include "broker/log/log_internal.h"

#include "common/base/clock.h"
#include "common/base/fsx.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

enum { FLUSH_SEGMENTS_MAX = 16, SNAPSHOT_EVERY_BYTES = 8 << 20 };

struct log_flush_job {
    struct log *log; /* only its manager and what the files lock guards */
    struct log_folder *folder;
    struct log_segment *segments[FLUSH_SEGMENTS_MAX];
    bool sync_index[FLUSH_SEGMENTS_MAX];
    bool needs_files[FLUSH_SEGMENTS_MAX];
    int32_t count;
    bool has_epochs, has_metadata, sync_folder, sync_dir;
    bool is_grouped; /* the caller syncs the whole file system: write, but do not wait */
    enum err rc;     /* of begin */
    uint32_t generation;
    int64_t end_offset; /* below it all is on disk when the job is done */
    int64_t snapshot_offset;
    uint64_t epochs_number;
    struct buf epochs;
    struct snapshot_list snapshots;
};

struct log_flush_job *log_flush_begin(struct log *l)
{
    struct log_flush_job *j = xcalloc(1, sizeof *j);
    int32_t first = i32_max(log_segment_index(l, l->recovery_point), 0);

    j->log = l;
    j->rc = tail_flush_index(l);
    if (l->unsnapshot_bytes >= SNAPSHOT_EVERY_BYTES)
        log_take_snapshot(l, l->end_offset);
    atomic_fetch_add(&l->folder->refs, 1);
    j->folder = l->folder;
    j->generation = l->generation;
    j->snapshot_offset = -1;
    j->end_offset = l->end_offset;
    for (int32_t i = first; i < l->segment_count; i++) {
        struct log_segment *s = l->segments[i];
        if (j->count == FLUSH_SEGMENTS_MAX) {
            j->end_offset = s->base_offset;
            break;
        }
        segment_ref(s);
        j->sync_index[j->count] = s->is_index_unsynced;
        s->is_index_unsynced = false;
        j->needs_files[j->count] = !s->has_all_files;
        s->has_all_files = true; /* or the dir goes offline */
        j->segments[j->count++] = s;
    }
    STAILQ_INIT(&j->snapshots);
    STAILQ_CONCAT(&j->snapshots, &l->snapshots);
    if (l->epochs.is_dirty)
        epoch_cache_format(&l->epochs, &j->epochs);
    j->has_epochs = l->epochs.is_dirty;
    j->epochs_number = ++l->epochs_formatted;
    j->has_metadata = l->is_metadata_dirty;
    j->sync_folder = l->is_folder_dirty || l->is_metadata_dirty || !STAILQ_EMPTY(&j->snapshots);
    j->sync_dir = l->is_dir_dirty;
    l->epochs.is_dirty = l->is_metadata_dirty = l->is_folder_dirty = l->is_dir_dirty = false;
    return j;
}

static enum err write_file(const char *path, const uint8_t *p, size_t n, bool sync)
{
    int fd;

    enum err rc = fsx_open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644, &fd);
    if (rc != ERR_OK)
        return rc;
    rc = fsx_pwrite_all(fd, p, n, 0);
    if (rc == ERR_OK && sync)
        rc = fsx_fdatasync(fd);
    if (close(fd) != 0 && rc == ERR_OK)
        rc = err_from_errno(errno);
    return rc;
}

static enum err write_snapshots(struct log_flush_job *j)
{
    const struct pending_snapshot *p;
    char path[SEGMENT_PATH_MAX];
    enum err rc = ERR_OK;

    STAILQ_FOREACH (p, &j->snapshots, link) {
        (void)snprintf(path, sizeof path, "%s/%020" PRId64 ".snapshot", j->folder->path, p->offset);
        rc = fault_point("log.snapshot.write");
        if (rc == ERR_OK)
            rc = write_file(path, p->bytes.p, p->bytes.len, !j->is_grouped);
        if (rc != ERR_OK)
            break;
        j->snapshot_offset = p->offset;
    }
    return rc;
}

static enum err sync_segment(struct log_flush_job *j, int32_t i)
{
    int fd;

    enum err rc = j->needs_files[i] ? index_create(j->segments[i]) : ERR_OK;
    if (j->is_grouped)
        return rc;
    if (rc == ERR_OK)
        rc = segment_fd(j->segments[i], 0, &fd);
    if (rc == ERR_OK) {
        rc = fault_point("log.flush.sync");
        if (rc == ERR_OK)
            rc = fsx_fdatasync(fd);
        segment_fd_done(j->segments[i]);
    }
    if (rc == ERR_OK && j->sync_index[i])
        rc = index_sync(j->segments[i]);
    return rc;
}

static enum err sync_file(const char *folder, const char *name)
{
    char path[SEGMENT_PATH_MAX];
    int fd;

    (void)snprintf(path, sizeof path, "%s/%s", folder, name);
    enum err rc = fsx_open(path, O_RDWR, 0, &fd);
    if (rc != ERR_OK)
        return rc;
    rc = fsx_fdatasync(fd);
    (void)close(fd);
    return rc;
}

/* As fsx_replace_durably, but the caller syncs the file system before it relies on the new content.
 * Until then a crash may leave an empty file; the epochs are then found in the batches, as the
 * recovery point has not passed them. */
static enum err replace_file(const char *path, const struct buf *content)
{
    char *tmp = xasprintf("%s.tmp", path);

    enum err rc = write_file(tmp, content->p, content->len, false);
    if (rc == ERR_OK && rename(tmp, path) != 0)
        rc = err_from_errno(errno);
    mem_free(tmp);
    return rc;
}

/* A truncation may have written newer ones since these were taken. */
static enum err write_epochs(struct log_flush_job *j)
{
    struct log *l = j->log;
    char path[SEGMENT_PATH_MAX];
    enum err rc = ERR_OK;

    (void)snprintf(path, sizeof path, "%s/leader-epoch-checkpoint", j->folder->path);
    log_manager_lock_files(l->dir->manager);
    if (l->epochs_written < j->epochs_number) {
        rc = j->is_grouped ? replace_file(path, &j->epochs)
                           : fsx_replace_durably(path, j->epochs.p, j->epochs.len, 0644);
        l->epochs_written = j->epochs_number;
    }
    log_manager_unlock_files(l->dir->manager);
    return rc;
}

enum err log_flush_run(struct log_flush_job *j)
{
    enum err rc = j->rc == ERR_OK ? write_snapshots(j) : j->rc;

    for (int32_t i = 0; rc == ERR_OK && i < j->count; i++)
        rc = sync_segment(j, i);
    if (rc == ERR_OK && j->has_epochs)
        rc = write_epochs(j);
    if (j->is_grouped || rc != ERR_OK)
        return rc;
    if (j->has_metadata)
        rc = sync_file(j->folder->path, "partition.metadata");
    if (rc == ERR_OK && j->sync_folder)
        rc = fsx_sync_dir(j->folder->path);
    if (rc == ERR_OK && j->sync_dir)
        rc = fsx_sync_dir(j->log->dir->path);
    return rc;
}

enum err log_flush_run_grouped(struct log_flush_job *j)
{
    j->is_grouped = true;
    return log_flush_run(j);
}

/* A snapshot inside a segment is of use only until there is a newer one. */
static void replace_snapshot(struct log *l, int64_t newer)
{
    int64_t old = l->snapshot_offset;
    char path[SEGMENT_PATH_MAX];

    if (newer <= old)
        return;
    l->snapshot_offset = newer;
    int32_t i = old < 0 ? -1 : log_segment_index(l, old);
    if (i < 0 || l->segments[i]->base_offset == old)
        return;
    log_snapshot_path(l, old, path);
    (void)unlink(path); /* if it stays, it is only one more */
}

void log_flush_end(struct log *l, struct log_flush_job **jp, enum err rc)
{
    struct log_flush_job *j = *jp;
    struct pending_snapshot *p;

    *jp = NULL;
    if (rc != ERR_OK) {
        log_dir_fail_midway(l->dir, "flush", rc);
    } else if (j->generation == l->generation) {
        l->recovery_point = i64_max(l->recovery_point, j->end_offset);
        l->flushed_mono_ms = clock_mono_ms();
        replace_snapshot(l, j->snapshot_offset);
    }
    for (int32_t i = 0; i < j->count; i++)
        segment_unref(&j->segments[i]);
    while ((p = STAILQ_FIRST(&j->snapshots)) != NULL) {
        STAILQ_REMOVE_HEAD(&j->snapshots, link);
        if (j->generation != l->generation) { /* it may tell of batches that are gone */
            char path[SEGMENT_PATH_MAX];
            log_snapshot_path(l, p->offset, path);
            (void)unlink(path);
        }
        buf_fini(&p->bytes);
        mem_free(p);
    }
    log_folder_unref(&j->folder);
    buf_fini(&j->epochs);
    mem_free(j);
}

enum err log_dir_sync(struct log_dir *d)
{
    /* the lock file is open since the start, so no error of a write since then is missed */
    enum err rc = fault_point("log.flush.sync");

    ASSERT(d->lock_fd >= 0);
    if (rc == ERR_OK && syncfs(d->lock_fd) != 0)
        rc = err_from_errno(errno);
    if (rc != ERR_OK)
        log_dir_fail(d, "sync the file system", rc);
    return rc;
}

bool log_has_unflushed(const struct log *l)
{
    return l->recovery_point < l->end_offset || l->epochs.is_dirty || l->is_metadata_dirty ||
           l->is_folder_dirty || l->is_dir_dirty || !STAILQ_EMPTY(&l->snapshots) ||
           !log_active(l)->has_all_files;
}

enum err log_flush(struct log *l)
{
    while (log_has_unflushed(l)) {
        if (log_dir_is_offline(l->dir))
            return ERR_OFFLINE;
        struct log_flush_job *j = log_flush_begin(l);
        enum err rc = log_flush_run(j);
        log_flush_end(l, &j, rc);
        if (rc != ERR_OK)
            return rc;
    }
    return ERR_OK;
}

int32_t log_take_deleted(struct log *l, int64_t now_ms, bool all, int64_t *bases_out, int32_t max)
{
    int32_t n = 0;

    while (n < l->deleted_count && n < max &&
           (all || now_ms - l->deleted[n].since_wall_ms >= l->config.file_delete_delay_ms)) {
        bases_out[n] = l->deleted[n].base_offset;
        n++;
    }
    if (n == 0)
        return 0;
    l->deleted_count -= n;
    memmove(l->deleted, l->deleted + n, (size_t)l->deleted_count * sizeof *l->deleted);
    return n;
}

void log_unlink_deleted(struct log *l)
{
    int64_t base;

    while (log_take_deleted(l, 0, true, &base, 1) == 1)
        segment_unlink_deleted(l->folder->path, base);
}
