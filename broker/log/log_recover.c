/* SPDX-License-Identifier: Apache-2.0 */
/* What of a log is believed when it is opened. After a clean stop the end is found behind the last
 * index entry. Else every batch from the recovery point on is checked, as if it were appended now,
 * and the log is cut at the first that is not whole. Indexes that are missing are made again. */
#include "broker/log/log_internal.h"

#include "common/base/fsx.h"
#include "common/base/slog.h"
#include "common/record/batch.h"

#include <errno.h>
#include <unistd.h>

/* ---- checking every batch */
/* The reason why a batch ends the log, or NULL. */
static const char *fault_of(const struct log *l, const uint8_t *b)
{
    const struct log_segment *s = log_active(l);

    if (batch_base_offset(b) < l->end_offset)
        return "offsets fall";
    if (batch_last_offset(b) - s->base_offset > INT32_MAX)
        return "offset too far from the segment's base";
    if (batch_crc_compute(b) != batch_crc(b))
        return "crc mismatch";
    return NULL;
}

static enum err cut_file(struct log_segment *s, int64_t size)
{
    int fd;

    enum err rc = segment_fd(s, 0, &fd);
    if (rc != ERR_OK)
        return rc;
    if (ftruncate(fd, size) != 0)
        rc = err_from_errno(errno);
    segment_fd_done(s);
    return rc;
}

/* Prepares going over all of the segment: nothing of what was made of it is kept. */
static enum err begin_at_base(struct log *l, struct log_segment *s)
{
    enum err rc = index_reset(s);

    s->has_all_files = rc == ERR_OK;
    s->size = 0;
    s->unindexed_bytes = 0;
    s->max_timestamp_ms = s->first_timestamp_ms = -1;
    l->end_offset = s->base_offset;
    return rc;
}

/* Where the batch at offset lies, for a segment that is on disk up to there. */
static enum err find_flushed_end(struct log_segment *s, int64_t offset, int64_t *position_out)
{
    struct batch_at b;
    int64_t next;

    enum err rc = segment_find(s, s->size, offset, &b);
    *position_out = b.position;
    if (rc == ERR_OK && b.base_offset < offset)
        return ERR_CORRUPT; /* offset is inside a batch: not a point that was flushed */
    if (rc != ERR_NOT_FOUND)
        return rc;
    rc = segment_scan_tail(s, &next, position_out);
    return rc == ERR_OK && next != offset ? ERR_CORRUPT : rc;
}

/* Prepares going over the segment from the recovery point on: what lies before is on disk, with
 * its index entries. CORRUPT: it does not look so, begin at the base. */
static enum err begin_at_offset(struct log *l, struct log_segment *s, int64_t offset)
{
    int64_t file_size = s->size, position, next, end;
    bool is_sane = false;

    if (offset <= s->base_offset || !s->has_all_files)
        return ERR_CORRUPT;
    enum err rc = find_flushed_end(s, offset, &position);
    if (rc != ERR_OK)
        return rc;
    s->size = position;
    rc = index_truncate(s, offset);
    if (rc == ERR_OK)
        rc = index_tail_is_sane(s, &is_sane);
    if (rc == ERR_OK)
        rc = segment_scan_tail(s, &next, &end);
    if (rc == ERR_OK && (!is_sane || end != position || next > offset))
        rc = ERR_CORRUPT;
    if (rc != ERR_OK)
        s->size = file_size;
    l->end_offset = offset;
    return rc;
}

/* Goes over the rest of the active (so far last) segment's file as if its batches were appended
 * now. cut_out: bytes at its end that are not whole batches; taken off if that is allowed. */
static enum err recover_rest(struct log *l, int64_t file_size, bool may_cut, int64_t *cut_out)
{
    struct log_segment *s = log_active(l);
    struct segment_reader r;
    const uint8_t *batch;
    const char *fault = NULL;
    size_t len;

    tail_reset(l);
    enum err rc = segment_reader_open(&r, s, s->size, file_size);
    if (rc != ERR_OK)
        return rc;
    while ((rc = segment_reader_next(&r, &batch, &len)) == ERR_OK) {
        fault = fault_of(l, batch);
        if (fault != NULL)
            break;
        rc = log_note_batch(l, batch, len, 0);
        if (rc != ERR_OK)
            break;
    }
    segment_reader_close(&r);
    if (rc == ERR_UNSUPPORTED) /* nobody's data are cut because we can't read them */
        SLOG(ERROR, "log", "message format 0 or 1 is not supported", KV_STR("topic", log_topic(l)),
             KV_I("partition", l->partition), KV_I("segment", s->base_offset), KV_I("at", s->size));
    if (rc != ERR_OK && rc != ERR_NOT_FOUND && rc != ERR_CORRUPT)
        return rc;
    *cut_out = file_size - s->size;
    if (*cut_out == 0)
        return ERR_OK;
    SLOG(WARN, "log",
         may_cut ? "cutting off the damaged end of a log" : "damage in a segment that was complete",
         KV_STR("topic", log_topic(l)), KV_I("partition", l->partition),
         KV_I("segment", s->base_offset), KV_I("at", s->size), KV_I("bytes", *cut_out),
         KV_I("end_offset", l->end_offset),
         KV_S("because", fault != NULL         ? fault
                         : rc == ERR_NOT_FOUND ? "cut batch"
                                               : "not a batch"));
    if (may_cut)
        return cut_file(s, s->size);
    s->size = file_size;
    return ERR_OK;
}

/* The first segment to recover, from recovery_point on if it lies inside. */
static enum err recover_first(struct log *l, int64_t recovery_point, int64_t *cut_out)
{
    struct log_segment *s = log_active(l);
    int64_t file_size = s->size;

    enum err rc = begin_at_offset(l, s, recovery_point);
    if (rc == ERR_CORRUPT)
        rc = begin_at_base(l, s);
    /* epochs from here on are found again in the batches; what the file tells of them may be older
     * than a truncation */
    epoch_cache_truncate_end(&l->epochs, l->end_offset);
    if (rc == ERR_OK)
        rc = log_load_producers(l, l->end_offset, false);
    return rc == ERR_OK ? recover_rest(l, file_size, true, cut_out) : rc;
}

static enum err recover_next(struct log *l, int64_t *cut_out)
{
    struct log_segment *s = log_active(l);
    int64_t file_size = s->size;

    /* as the roll took one; it may not have been written. Retention relies on it. */
    log_take_snapshot(l, s->base_offset);
    enum err rc = begin_at_base(l, s);
    return rc == ERR_OK ? recover_rest(l, file_size, true, cut_out) : rc;
}

/* What lies behind a cut has lost its connection. */
static enum err remove_behind(struct log *l, struct log_segment **todo, int32_t from, int32_t count,
                              enum err rc)
{
    for (int32_t k = from; k < count; k++) {
        if (rc == ERR_OK) {
            SLOG(WARN, "log", "removing a segment behind the damage that was cut off",
                 KV_STR("topic", log_topic(l)), KV_I("partition", l->partition),
                 KV_I("segment", todo[k]->base_offset));
            rc = segment_mark_deleted(todo[k]);
            segment_unlink_deleted(l->folder->path, todo[k]->base_offset);
        }
        segment_unref(&todo[k]);
    }
    return rc;
}

/* A power loss may take the end of a segment, at a batch's boundary, and leave the next one. Only
 * followers of compacted topics, if Kafka wrote them, have such gaps by right. */
static bool has_lost_end(const struct log *l, const struct log_segment *next)
{
    if (next->base_offset <= l->end_offset || l->config.is_compact)
        return false;
    SLOG(WARN, "log", "the end of a segment is missing", KV_STR("topic", log_topic(l)),
         KV_I("partition", l->partition), KV_I("segment", log_active(l)->base_offset),
         KV_I("end_offset", l->end_offset), KV_I("next_segment", next->base_offset));
    return true;
}

/* Recovers the segments from index first on. They are taken out of the table and put back one by
 * one, so that the one in work is always the active one. */
static enum err recover_from(struct log *l, int32_t first, int64_t recovery_point)
{
    int32_t count = l->segment_count - first, i = 0;
    struct log_segment **todo = xcalloc((size_t)count, sizeof *todo);
    int64_t cut = 0;
    enum err rc = ERR_OK;

    memcpy(todo, l->segments + first, (size_t)count * sizeof *todo);
    l->segment_count = first;
    for (; rc == ERR_OK && i < count && cut == 0; i++) {
        if (i > 0 && has_lost_end(l, todo[i]))
            break;
        if (i > 0)
            rc = tail_finish_segment(l);
        log_segments_insert(l, todo[i]);
        if (rc == ERR_OK)
            rc = i == 0 ? recover_first(l, recovery_point, &cut) : recover_next(l, &cut);
    }
    rc = remove_behind(l, todo, i, count, rc);
    mem_free(todo);
    return rc;
}

/* Makes the indexes of a finished segment again. It was on disk before the recovery point: damage
 * in it is the disk's, costs the index entries behind it, and takes nothing that is still readable.
 */
static enum err rebuild_index(struct log *l, int32_t i)
{
    struct log_segment *s = l->segments[i], **all = l->segments;
    struct log view = *l; /* a log that ends with this segment; shares nothing that is kept */
    int64_t cut = 0;

    SLOG(INFO, "log", "rebuilding an index", KV_STR("topic", log_topic(l)),
         KV_I("partition", l->partition), KV_I("segment", s->base_offset));
    view.segments = &s;
    view.segment_count = view.segment_cap = 1;
    view.tail = NULL;
    view.producers = NULL;
    view.epochs = (struct epoch_cache){0};
    int64_t file_size = s->size;
    enum err rc = begin_at_base(&view, s);
    if (rc == ERR_OK) /* transactions that are open at its base may be aborted in it */
        rc = log_load_producers(&view, s->base_offset, false);
    if (rc == ERR_OK)
        rc = recover_rest(&view, file_size, false, &cut);
    if (rc == ERR_OK)
        rc = tail_finish_segment(&view);
    FREE_NULL(&view.tail);
    producer_state_free(&view.producers);
    epoch_cache_fini(&view.epochs);
    ASSERT(l->segments == all);
    return rc;
}

static enum err rebuild_missing(struct log *l, int32_t upto)
{
    for (int32_t i = 0; i < upto; i++) {
        if (l->segments[i]->has_all_files)
            continue;
        enum err rc = rebuild_index(l, i);
        if (rc != ERR_OK)
            return rc;
        l->segments[i]->has_all_files = true;
    }
    return ERR_OK;
}

/* The end after a clean stop. A file that does not end with a whole batch was not closed cleanly
 * after all. */
static enum err find_end(struct log *l, int64_t recovery_point)
{
    struct log_segment *s = log_active(l);
    int64_t end;

    enum err rc = segment_scan_tail(s, &l->end_offset, &end);
    if (rc == ERR_OK && end != s->size)
        rc = ERR_CORRUPT;
    if (rc != ERR_CORRUPT)
        return rc;
    SLOG(WARN, "log", "segment does not end with a whole batch despite a clean stop",
         KV_STR("topic", log_topic(l)), KV_I("partition", l->partition),
         KV_I("segment", s->base_offset));
    return recover_from(l, l->segment_count - 1, recovery_point);
}

enum err log_recover(struct log *l, bool was_clean, int64_t recovery_point)
{
    int32_t first = was_clean ? l->segment_count : i32_max(log_segment_index(l, recovery_point), 0);

    enum err rc = rebuild_missing(l, i32_min(first, l->segment_count - 1));
    if (rc != ERR_OK)
        return rc;
    if (!was_clean)
        return recover_from(l, first, recovery_point);
    if (!log_active(l)->has_all_files)
        return recover_from(l, l->segment_count - 1, 0);
    return find_end(l, recovery_point);
}
