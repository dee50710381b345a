/* SPDX-License-Identifier: Apache-2.0 */
/* Opening and closing a log. Opening: segments (log_folder.c), their content (log_recover.c), then
 * leader epochs and producers are brought in line with the end that was found. */
#include "broker/log/log_internal.h"

#include "broker/log/checkpoint.h"
#include "common/base/clock.h"
#include "common/base/slog.h"

#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>

/* ---- epochs and producers */
static void load_epochs(struct log *l)
{
    char path[SEGMENT_PATH_MAX];
    struct errtext why;

    (void)snprintf(path, sizeof path, "%s/leader-epoch-checkpoint", l->folder->path);
    enum err rc = epoch_cache_read(&l->epochs, path, &why);
    if (rc != ERR_OK && rc != ERR_NOT_FOUND)
        SLOG(WARN, "log", "cannot read leader-epoch-checkpoint, going on without it",
             KV_S("why", why.text));
}

/* Puts everything in line with the end that was found. */
static enum err settle(struct log *l, const struct log_open_args *a, bool has_snapshots)
{
    struct errtext why;
    enum err rc = tail_drop(l);

    if (rc != ERR_OK)
        return rc;
    if (l->end_offset < a->start_offset) {
        SLOG(WARN, "log",
             "log ends below its start offset: beginning it again, empty, at the start offset",
             KV_STR("topic", log_topic(l)), KV_I("partition", l->partition),
             KV_I("end_offset", l->end_offset), KV_I("start_offset", a->start_offset));
        l->start_offset = l->high_watermark = i64_min(l->segments[0]->base_offset, l->end_offset);
        return log_truncate_fully_at(l, a->start_offset, &why);
    }
    l->start_offset = i64_max(a->start_offset, l->segments[0]->base_offset);
    l->high_watermark = i64_min(i64_max(a->high_watermark, l->start_offset), l->end_offset);
    l->clean_offset = i64_min(l->clean_offset, l->end_offset);
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
    l->clean_offset = a->clean_offset;
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
    enum err rc = ERR_OK;
    bool has_snapshots = false;
    bool is_new = a->create && mkdir(l->folder->path, 0755) == 0;

    *out = NULL;
    if (a->create && !is_new && errno != EEXIST)
        rc = err_from_errno(errno);
    if (is_new) {
        rc = begin_new(l, a->start_offset);
        goto out;
    }
    if (rc == ERR_OK)
        rc = log_find_segments(l, &has_snapshots);
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
        rc = log_recover(l, a->was_clean, a->recovery_point);
    if (rc == ERR_OK)
        rc = settle(l, a, has_snapshots);
out:
    if (rc != ERR_OK) {
        errtext_set(why, "load %s: %s", l->folder->path, err_reason(rc));
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
