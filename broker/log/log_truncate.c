/* SPDX-License-Identifier: Apache-2.0 */
/* Taking bytes away: truncation of the end, removal of whole segments, retention. */
#include "broker/log/log_internal.h"

#include "common/base/clock.h"
#include "common/base/fsx.h"
#include "common/base/slog.h"

#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

void log_remember_deleted(struct log *l, int64_t base_offset)
{
    if (l->deleted_count == l->deleted_cap) {
        l->deleted_cap = l->deleted_cap == 0 ? 4 : l->deleted_cap * 2;
        l->deleted = xrealloc(l->deleted, (size_t)l->deleted_cap * sizeof *l->deleted);
    }
    l->deleted[l->deleted_count++] =
        (struct deleted_segment){.base_offset = base_offset, .since_wall_ms = clock_wall_ms()};
}

static void drop_pending_snapshots(struct log *l, int64_t above)
{
    struct pending_snapshot *p, *next;

    for (p = STAILQ_FIRST(&l->snapshots); p != NULL; p = next) {
        next = STAILQ_NEXT(p, link);
        if (p->offset <= above)
            continue;
        STAILQ_REMOVE(&l->snapshots, p, pending_snapshot, link);
        buf_fini(&p->bytes);
        mem_free(p);
    }
}

enum err log_remove_segments(struct log *l, int32_t from, int32_t count)
{
    enum err rc = ERR_OK;
    int32_t done = 0;

    for (; done < count; done++) {
        struct log_segment *s = l->segments[from + done];
        rc = segment_mark_deleted(s);
        if (rc != ERR_OK)
            break;
        log_remember_deleted(l, s->base_offset);
        segment_unref(&l->segments[from + done]);
    }
    l->segment_count -= done;
    memmove(l->segments + from, l->segments + from + done,
            (size_t)(l->segment_count - from) * sizeof *l->segments);
    l->generation++;
    l->is_uncleanable = false; /* what could not be cleaned may be gone */
    if (rc != ERR_OK)
        log_dir_fail_midway(l->dir, "remove a segment", rc);
    log_manager_post(l, LOG_WORK_UNLINK);
    return rc;
}

/* Cuts the active segment before the first batch that reaches offset; the log then ends there. */
static enum err cut_active(struct log *l, int64_t offset)
{
    struct log_segment *s = log_active(l);
    struct batch_at b;
    int fd;

    l->end_offset = offset;
    enum err rc = segment_find(s, s->size, offset, &b);
    if (rc == ERR_NOT_FOUND)
        return ERR_OK;
    if (rc != ERR_OK)
        return rc;
    /* a cut inside a batch takes the whole batch: half of it cannot be kept */
    l->end_offset = i64_min(offset, b.base_offset);
    rc = segment_fd(s, 0, &fd);
    if (rc != ERR_OK)
        return rc;
    if (ftruncate(fd, b.position) != 0)
        rc = err_from_errno(errno);
    segment_fd_done(s);
    if (rc == ERR_OK) {
        s->size = b.position;
        rc = index_truncate(s, l->end_offset);
    }
    s->unindexed_bytes = 0;
    s->flush_posted_size = i64_min(s->flush_posted_size, s->size);
    int64_t next_offset, end;
    return rc == ERR_OK ? segment_scan_tail(s, &next_offset, &end) : rc;
}

/* After bytes were taken away: everything that must not lie beyond the end. */
static enum err settle_end(struct log *l)
{
    bool below_recovery_point = l->end_offset < l->recovery_point;
    bool below_clean_offset = l->end_offset < l->clean_offset;

    l->generation++;
    l->cuts++;
    l->high_watermark = i64_min(l->high_watermark, l->end_offset);
    l->start_offset = i64_min(l->start_offset, l->end_offset);
    l->recovery_point = i64_min(l->recovery_point, l->end_offset);
    l->clean_offset = i64_min(l->clean_offset, l->end_offset);
    l->is_uncleanable = false;
    log_manager_post_clean(l);
    epoch_cache_truncate_end(&l->epochs, l->end_offset);
    tail_reset(l);
    drop_pending_snapshots(l, l->end_offset);
    if (l->producers != NULL || l->has_snapshots) {
        enum err rc = log_prune_snapshots(l, l->end_offset);
        if (rc == ERR_OK)
            rc = log_load_producers(l, l->end_offset, false);
        if (rc != ERR_OK)
            return rc;
    }
    log_check(l);
    /* What comes after the cut is not on disk; a recovery that believed the old point would take
     * it unseen, and epochs from before the cut with it. So both files say so first. */
    enum err rc = below_recovery_point ? log_flush(l) : ERR_OK;
    if (rc == ERR_OK && below_recovery_point && l->dir->manager != NULL)
        rc = log_manager_checkpoint_recovery(l->dir->manager, l->dir);
    /* nor is it clean: a tombstone in it would go before the values that it ends */
    if (rc == ERR_OK && below_clean_offset && l->dir->manager != NULL)
        rc = log_manager_checkpoint_cleaner(l->dir->manager, l->dir);
    return rc;
}

static enum err truncate_at(struct log *l, int64_t offset)
{
    int32_t keep = log_segment_index(l, offset) + 1;

    /* the segment that begins at offset goes too, unless it is the first */
    if (keep > 1 && l->segments[keep - 1]->base_offset == offset && keep < l->segment_count)
        keep--;
    enum err rc = tail_flush_index(l);
    if (rc == ERR_OK && keep < l->segment_count)
        rc = log_remove_segments(l, keep, l->segment_count - keep);
    if (rc == ERR_OK)
        rc = cut_active(l, offset);
    return rc == ERR_OK ? settle_end(l) : rc;
}

enum err log_truncate_to(struct log *l, int64_t offset, struct errtext *why)
{
    if (log_dir_is_offline(l->dir))
        return ERR_OFFLINE;
    if (offset >= l->end_offset) {
        epoch_cache_truncate_end(&l->epochs, offset);
        return ERR_OK;
    }
    SLOG(INFO, "log", "truncating a log", KV_STR("topic", log_topic(l)),
         KV_I("partition", l->partition), KV_I("from", l->end_offset), KV_I("to", offset));
    if (offset < l->segments[0]->base_offset)
        return log_truncate_fully_at(l, offset, why);
    enum err rc = truncate_at(l, offset);
    if (rc != ERR_OK) {
        errtext_set(why, "truncate %s to %" PRId64 ": %s", l->folder->path, offset, err_reason(rc));
        log_dir_fail_midway(l->dir, "truncate", rc);
    }
    return rc;
}

enum err log_truncate_fully_at(struct log *l, int64_t offset, struct errtext *why)
{
    if (log_dir_is_offline(l->dir))
        return ERR_OFFLINE;
    SLOG(INFO, "log", "removing all records of a log", KV_STR("topic", log_topic(l)),
         KV_I("partition", l->partition), KV_I("from", l->end_offset), KV_I("to", offset));
    enum err rc = tail_flush_index(l);
    if (rc == ERR_OK)
        rc = log_remove_segments(l, 0, l->segment_count);
    if (rc == ERR_OK) {
        /* their names must be gone before one of them is made anew */
        log_unlink_deleted(l);
        l->end_offset = offset;
        l->recovery_point = i64_min(l->recovery_point, offset);
        rc = log_roll_at(l, offset, clock_wall_ms());
    }
    if (rc == ERR_OK) {
        epoch_cache_clear(&l->epochs);
        l->start_offset = l->high_watermark = offset;
        producer_state_free(&l->producers);
        drop_pending_snapshots(l, -1);
        rc = log_prune_snapshots(l, -1);
    }
    if (rc == ERR_OK) {
        rc = settle_end(l);
    }
    if (rc != ERR_OK) {
        errtext_set(why, "restart %s at %" PRId64 ": %s", l->folder->path, offset, err_reason(rc));
        log_dir_fail_midway(l->dir, "truncate", rc);
    }
    return rc;
}
