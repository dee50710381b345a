/* SPDX-License-Identifier: Apache-2.0 */
/* Opening a log: what is in its folder, what of it is believed, and what is made anew.
 *   1. leftovers go (.deleted, .cleaned, .tmp), finished compactions are put in place (.swap)
 *   2. segments are opened by their names; an index that is missing is made again
 *   3. after a clean stop the end is found behind the last index entry; else every batch from the
 *      recovery point's segment on is checked, and the log is cut at the first that is not whole
 *   4. leader epochs and producers are brought in line with what is left */
#include "broker/log/log_internal.h"

#include "broker/log/checkpoint.h"
#include "common/base/clock.h"
#include "common/base/fsx.h"
#include "common/base/slog.h"
#include "common/record/batch.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- what is in the folder */
enum { HAS_LOG = 1, HAS_INDEX = 2, HAS_TIME_INDEX = 4, HAS_SWAP = 8, HAS_CLEANED = 16 };
struct found {
    int64_t base_offset;
    unsigned has;
};
struct listing {
    struct found *found;
    int32_t count, cap;
    bool has_snapshots;
};

static struct found *listing_add(struct listing *l, int64_t base_offset)
{
    for (int32_t i = l->count; i > 0; i--)
        if (l->found[i - 1].base_offset == base_offset)
            return &l->found[i - 1];
    if (l->count == l->cap) {
        l->cap = l->cap == 0 ? 4 : l->cap * 2;
        l->found = xrealloc(l->found, (size_t)l->cap * sizeof *l->found);
    }
    l->found[l->count] = (struct found){.base_offset = base_offset};
    return &l->found[l->count++];
}

static bool ends_with(const char *s, const char *end)
{
    size_t n = strlen(s), m = strlen(end);
    return n >= m && strcmp(s + n - m, end) == 0;
}

static enum err remove_in(const char *folder, const char *name)
{
    char path[SEGMENT_PATH_MAX];

    (void)snprintf(path, sizeof path, "%s/%s", folder, name);
    return unlink(path) == 0 || errno == ENOENT ? ERR_OK : err_from_errno(errno);
}

static enum err note_file(const char *folder, const char *name, struct listing *out)
{
    const char *suffix;
    int64_t base;

    if (ends_with(name, ".deleted") || ends_with(name, ".tmp"))
        return remove_in(folder, name);
    if (!segment_name_parse(name, &base, &suffix))
        return ERR_OK;
    if (ends_with(name, ".cleaned"))
        listing_add(out, base)->has |= HAS_CLEANED;
    else if (ends_with(name, ".swap"))
        listing_add(out, base)->has |= HAS_SWAP;
    else if (strcmp(suffix, ".log") == 0)
        listing_add(out, base)->has |= HAS_LOG;
    else if (strcmp(suffix, ".index") == 0)
        listing_add(out, base)->has |= HAS_INDEX;
    else if (strcmp(suffix, ".timeindex") == 0)
        listing_add(out, base)->has |= HAS_TIME_INDEX;
    else if (strcmp(suffix, ".snapshot") == 0)
        out->has_snapshots = true;
    return ERR_OK;
}

static int by_base(const void *a, const void *b)
{
    int64_t x = ((const struct found *)a)->base_offset, y = ((const struct found *)b)->base_offset;
    return x < y ? -1 : x > y ? 1 : 0;
}

static enum err list_folder(const char *folder, struct listing *out)
{
    DIR *d = opendir(folder);
    const struct dirent *e;
    enum err rc = ERR_OK;

    out->count = 0;
    out->has_snapshots = false;
    if (d == NULL)
        return err_from_errno(errno);
    while (rc == ERR_OK && (e = readdir(d)) != NULL)
        rc = note_file(folder, e->d_name, out);
    (void)closedir(d);
    if (out->count > 1)
        qsort(out->found, (size_t)out->count, sizeof *out->found, by_base);
    return rc;
}

/* ---- leftovers of a compaction */
static const char *const segment_suffixes[] = {".log", ".index", ".timeindex", ".txnindex"};

static enum err rename_or_remove(const char *folder, int64_t base, const char *from_suffix,
                                 bool put_in_place)
{
    char from[SEGMENT_PATH_MAX], to[SEGMENT_PATH_MAX];

    for (size_t i = 0; i < ARRAY_LEN(segment_suffixes); i++) {
        (void)snprintf(to, sizeof to, "%s/%020" PRId64 "%s", folder, base, segment_suffixes[i]);
        (void)snprintf(from, sizeof from, "%s/%020" PRId64 "%s%s", folder, base,
                       segment_suffixes[i], from_suffix);
        int rc = put_in_place ? rename(from, to) : unlink(from);
        if (rc != 0 && errno != ENOENT)
            return err_from_errno(errno);
    }
    return ERR_OK;
}

/* Next offset after the last batch of a .swap file, to know which old segments it replaces. */
static enum err swap_end(struct log *l, int64_t base, int64_t *end_out)
{
    char path[SEGMENT_PATH_MAX];
    uint8_t header[BATCH_HEADER_BYTES];
    struct stat st;
    size_t got, total;
    int fd;

    *end_out = base;
    (void)snprintf(path, sizeof path, "%s/%020" PRId64 ".log.swap", l->folder->path, base);
    enum err rc = fsx_open(path, O_RDONLY, 0, &fd);
    if (rc != ERR_OK)
        return rc == ERR_NOT_FOUND ? ERR_OK : rc;
    if (fstat(fd, &st) != 0)
        rc = err_from_errno(errno);
    for (int64_t at = 0; rc == ERR_OK && at < st.st_size; at += (int64_t)total) {
        rc = fsx_pread(fd, header, sizeof header, at, &got);
        if (rc != ERR_OK || got < sizeof header ||
            batch_peek(header, (size_t)(st.st_size - at), &total) != BATCH_WHOLE)
            break;
        *end_out = batch_last_offset(header) + 1;
    }
    (void)close(fd);
    return rc;
}

static enum err finish_compactions(struct log *l, struct listing *found)
{
    int64_t cleaned_min = INT64_MAX, swap_min = INT64_MAX, swap_max = -1, end;
    enum err rc = ERR_OK;

    for (int32_t i = 0; i < found->count; i++)
        if ((found->found[i].has & HAS_CLEANED) != 0)
            cleaned_min = i64_min(cleaned_min, found->found[i].base_offset);
    for (int32_t i = 0; rc == ERR_OK && i < found->count; i++) {
        struct found *f = &found->found[i];
        if ((f->has & HAS_SWAP) != 0 && f->base_offset >= cleaned_min) {
            rc = rename_or_remove(l->folder->path, f->base_offset, ".swap", false);
            f->has &= ~(unsigned)HAS_SWAP;
        }
        if (rc == ERR_OK && (f->has & HAS_CLEANED) != 0)
            rc = rename_or_remove(l->folder->path, f->base_offset, ".cleaned", false);
        if (rc == ERR_OK && (f->has & HAS_SWAP) != 0) {
            rc = swap_end(l, f->base_offset, &end);
            swap_min = i64_min(swap_min, f->base_offset);
            swap_max = i64_max(swap_max, end);
        }
    }
    for (int32_t i = 0; rc == ERR_OK && i < found->count; i++) {
        struct found *f = &found->found[i];
        if (f->base_offset >= swap_min && f->base_offset < swap_max)
            rc = rename_or_remove(l->folder->path, f->base_offset, "", false);
        if (rc == ERR_OK && (f->has & HAS_SWAP) != 0)
            rc = rename_or_remove(l->folder->path, f->base_offset, ".swap", true);
    }
    return rc;
}

/* ---- segments */
static enum err add_segment(struct log *l, const struct found *f)
{
    struct log_segment *s = segment_new(l->folder, f->base_offset, clock_wall_ms());
    char path[SEGMENT_PATH_MAX];
    struct stat st;

    segment_path(s, ".log", path);
    if (stat(path, &st) != 0) {
        enum err rc = err_from_errno(errno);
        segment_unref(&s);
        return rc;
    }
    s->size = i64_min(st.st_size, SEGMENT_BYTES_MAX);
    s->created_wall_ms = (int64_t)st.st_mtime * 1000;
    s->has_all_files = (f->has & (HAS_INDEX | HAS_TIME_INDEX)) == (HAS_INDEX | HAS_TIME_INDEX);
    s->flush_posted_size = s->size;
    log_segments_insert(l, s);
    return ERR_OK;
}

static enum err remove_orphan_indexes(const struct log *l, const struct found *f)
{
    char path[SEGMENT_PATH_MAX];

    for (size_t i = 1; i < ARRAY_LEN(segment_suffixes); i++) {
        (void)snprintf(path, sizeof path, "%s/%020" PRId64 "%s", l->folder->path, f->base_offset,
                       segment_suffixes[i]);
        if (unlink(path) != 0 && errno != ENOENT)
            return err_from_errno(errno);
    }
    return ERR_OK;
}

static enum err add_segments(struct log *l, const struct listing *found)
{
    enum err rc = ERR_OK;

    for (int32_t i = 0; rc == ERR_OK && i < found->count; i++)
        rc = (found->found[i].has & HAS_LOG) != 0 ? add_segment(l, &found->found[i])
                                                  : remove_orphan_indexes(l, &found->found[i]);
    return rc;
}

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
 * now. cut_out: bytes at its end that were taken off. */
static enum err recover_rest(struct log *l, int64_t file_size, int64_t *cut_out)
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
    SLOG(WARN, "log", "cuts a damaged tail", KV_STR("topic", log_topic(l)),
         KV_I("partition", l->partition), KV_I("segment", s->base_offset), KV_I("at", s->size),
         KV_I("bytes", *cut_out), KV_I("end_offset", l->end_offset),
         KV_S("because", fault != NULL         ? fault
                         : rc == ERR_NOT_FOUND ? "cut batch"
                                               : "not a batch"));
    return cut_file(s, s->size);
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
    return rc == ERR_OK ? recover_rest(l, file_size, cut_out) : rc;
}

static enum err recover_next(struct log *l, int64_t *cut_out)
{
    struct log_segment *s = log_active(l);
    int64_t file_size = s->size;

    /* as the roll took one; it may not have been written. Retention relies on it. */
    log_take_snapshot(l, s->base_offset);
    enum err rc = begin_at_base(l, s);
    return rc == ERR_OK ? recover_rest(l, file_size, cut_out) : rc;
}

/* What lies behind a cut has lost its connection. */
static enum err remove_behind(struct log *l, struct log_segment **todo, int32_t from, int32_t count,
                              enum err rc)
{
    for (int32_t k = from; k < count; k++) {
        if (rc == ERR_OK) {
            SLOG(WARN, "log", "removes a segment behind a cut", KV_STR("topic", log_topic(l)),
                 KV_I("partition", l->partition), KV_I("segment", todo[k]->base_offset));
            rc = segment_mark_deleted(todo[k]);
            segment_unlink_deleted(l->folder->path, todo[k]->base_offset);
        }
        segment_unref(&todo[k]);
    }
    return rc;
}

/* A power loss may take the end of a segment, at a batch's boundary, and leave the next one. Only
 * followers of compacted topics have such gaps by right. */
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

/* Makes the indexes of a finished segment again. Its batches were checked when it was written. */
static enum err rebuild_index(struct log *l, int32_t i)
{
    struct log_segment *s = l->segments[i], **all = l->segments;
    struct log view = *l; /* a log that ends with this segment; shares nothing that is kept */
    int64_t cut = 0;

    SLOG(INFO, "log", "makes an index again", KV_STR("topic", log_topic(l)),
         KV_I("partition", l->partition), KV_I("segment", s->base_offset));
    view.segments = &s;
    view.segment_count = view.segment_cap = 1;
    view.tail = NULL;
    view.producers = NULL;
    view.epochs = (struct epoch_cache){0};
    int64_t file_size = s->size;
    enum err rc = begin_at_base(&view, s);
    if (rc == ERR_OK)
        rc = recover_rest(&view, file_size, &cut);
    if (rc == ERR_OK)
        rc = tail_finish_segment(&view);
    FREE_NULL(&view.tail);
    producer_state_free(&view.producers);
    epoch_cache_fini(&view.epochs);
    ASSERT(l->segments == all);
    return rc == ERR_OK && cut != 0 ? ERR_CORRUPT : rc;
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
static enum err find_end(struct log *l)
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
    return recover_from(l, l->segment_count - 1, 0);
}

/* ---- epochs and producers */
static void load_epochs(struct log *l)
{
    char path[SEGMENT_PATH_MAX];
    struct errtext why;

    (void)snprintf(path, sizeof path, "%s/leader-epoch-checkpoint", l->folder->path);
    enum err rc = epoch_cache_read(&l->epochs, path, &why);
    if (rc != ERR_OK && rc != ERR_NOT_FOUND)
        SLOG(WARN, "log", "leader epochs not readable, starting without", KV_S("why", why.text));
}

static enum err load_content(struct log *l, const struct log_open_args *a)
{
    int32_t first =
        a->was_clean ? l->segment_count : i32_max(log_segment_index(l, a->recovery_point), 0);

    enum err rc = rebuild_missing(l, i32_min(first, l->segment_count - 1));
    if (rc != ERR_OK)
        return rc;
    if (!a->was_clean)
        return recover_from(l, first, a->recovery_point);
    if (!log_active(l)->has_all_files)
        return recover_from(l, l->segment_count - 1, 0);
    return find_end(l);
}

/* Puts everything in line with the end that was found. */
static enum err settle(struct log *l, const struct log_open_args *a, bool has_snapshots)
{
    struct errtext why;
    enum err rc = tail_drop(l);

    if (rc != ERR_OK)
        return rc;
    if (l->end_offset < a->start_offset) {
        SLOG(WARN, "log", "ends below its start offset, starts again there",
             KV_STR("topic", log_topic(l)), KV_I("partition", l->partition),
             KV_I("end_offset", l->end_offset), KV_I("start_offset", a->start_offset));
        l->start_offset = l->high_watermark = i64_min(l->segments[0]->base_offset, l->end_offset);
        return log_truncate_fully_at(l, a->start_offset, &why);
    }
    l->start_offset = i64_max(a->start_offset, l->segments[0]->base_offset);
    l->high_watermark = i64_min(i64_max(a->high_watermark, l->start_offset), l->end_offset);
    l->recovery_point = a->was_clean ? l->end_offset : i64_min(a->recovery_point, l->end_offset);
    epoch_cache_truncate_start(&l->epochs, l->start_offset);
    epoch_cache_truncate_end(&l->epochs, l->end_offset);
    if (has_snapshots)
        rc = log_prune_snapshots(l, l->end_offset);
    if (rc == ERR_OK && l->has_snapshots && a->was_clean && l->producers == NULL)
        rc = log_load_producers(l, l->end_offset, true); /* else recovery has done it */
    producer_state_set_hw(l->producers, l->high_watermark);
    return rc;
}

static struct log *log_alloc(const struct log_open_args *a)
{
    enum { TAIL_CHARS = 13 }; /* "-2147483647" and the end */
    size_t room = (size_t)a->topic.len + TAIL_CHARS;
    struct log *l = xcalloc(1, sizeof *l + room);

    (void)snprintf(l->name, room, "%.*s-%" PRId32, STR_ARG(a->topic), a->partition);
    char *path = xasprintf("%s/%s", a->dir->path, l->name);
    l->topic_len = a->topic.len;
    l->partition = a->partition;
    l->dir = a->dir;
    l->config = *a->config;
    l->folder = log_folder_new(path);
    l->snapshot_offset = -1;
    STAILQ_INIT(&l->snapshots);
    mem_free(path);
    return l;
}

/* A log in a folder that was made just now. Its index files come with the first flush. */
static enum err begin_new(struct log *l, int64_t start_offset)
{
    l->is_dir_dirty = true;
    l->end_offset = start_offset;
    enum err rc = log_roll_at(l, start_offset, clock_wall_ms());
    l->start_offset = l->high_watermark = l->recovery_point = start_offset;
    return rc;
}

enum err log_open(const struct log_open_args *a, struct log **out, struct errtext *why)
{
    struct log *l = log_alloc(a);
    struct listing found = {0};
    enum err rc = ERR_OK;
    bool is_new = a->create && mkdir(l->folder->path, 0755) == 0;

    *out = NULL;
    if (a->create && !is_new && errno != EEXIST)
        rc = err_from_errno(errno);
    if (is_new) {
        rc = begin_new(l, a->start_offset);
        goto out;
    }
    if (rc == ERR_OK)
        rc = list_folder(l->folder->path, &found);
    if (rc == ERR_OK)
        rc = finish_compactions(l, &found);
    if (rc == ERR_OK)
        rc = list_folder(l->folder->path, &found);
    if (rc == ERR_OK)
        rc = add_segments(l, &found);
    if (rc == ERR_OK && l->segment_count == 0) {
        l->end_offset = a->start_offset;
        rc = log_roll_at(l, a->start_offset, clock_wall_ms());
        if (rc == ERR_OK) {
            rc = index_create(log_active(l));
            log_active(l)->has_all_files = rc == ERR_OK;
        }
    }
    if (rc == ERR_OK) {
        load_epochs(l);
        rc = partition_metadata_read(l->folder->path, &l->topic_id, why);
    }
    if (rc == ERR_OK)
        rc = load_content(l, a);
    if (rc == ERR_OK)
        rc = settle(l, a, found.has_snapshots);
out:
    mem_free(found.found);
    if (rc != ERR_OK) {
        errtext_set(why, "load %s: %s", l->folder->path, err_text(rc));
        log_free(&l);
        return rc;
    }
    log_check(l);
    *out = l;
    return ERR_OK;
}

/* ---- end */
void log_free(struct log **lp)
{
    struct log *l = *lp;
    struct pending_snapshot *p;

    *lp = NULL;
    if (l == NULL)
        return;
    for (int32_t i = 0; i < l->segment_count; i++)
        segment_unref(&l->segments[i]);
    while ((p = STAILQ_FIRST(&l->snapshots)) != NULL) {
        STAILQ_REMOVE_HEAD(&l->snapshots, link);
        buf_fini(&p->bytes);
        mem_free(p);
    }
    mem_free(l->segments);
    mem_free(l->tail);
    mem_free(l->deleted);
    producer_state_free(&l->producers);
    epoch_cache_fini(&l->epochs);
    log_folder_unref(&l->folder);
    mem_free(l);
}

enum err log_finish_writing(struct log *l)
{
    enum err rc = l->tail != NULL ? tail_finish_segment(l) : ERR_OK;

    if (rc == ERR_OK && (l->has_snapshots || !producer_state_is_empty(l->producers)) &&
        l->snapshot_offset != l->end_offset)
        log_take_snapshot(l, l->end_offset);
    log_unlink_deleted(l);
    return rc;
}

enum err log_prepare_close(struct log *l)
{
    enum err rc = log_finish_writing(l);
    return rc == ERR_OK ? log_flush(l) : rc;
}

enum err log_close(struct log **lp)
{
    enum err rc = log_is_offline(*lp) ? ERR_OFFLINE : log_prepare_close(*lp);

    log_free(lp);
    return rc;
}
