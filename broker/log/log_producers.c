/* SPDX-License-Identifier: Apache-2.0 */
/* Producer state and its snapshot files. */
#include "broker/log/log_internal.h"

#include "common/base/fsx.h"
#include "common/base/slog.h"
#include "common/record/batch.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

void log_snapshot_path(const struct log *l, int64_t offset, char out[SEGMENT_PATH_MAX])
{
    (void)snprintf(out, SEGMENT_PATH_MAX, "%s/%020" PRId64 ".snapshot", l->folder->path, offset);
}

/* Snapshot offsets in the folder, highest first. */
struct snapshots {
    int64_t *offsets;
    size_t count, cap;
};

static int highest_first(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x < y ? 1 : x > y ? -1 : 0;
}

static enum err list_snapshots(const struct log *l, struct snapshots *out)
{
    const struct dirent *e;
    const char *suffix;
    int64_t offset;
    DIR *d;

    *out = (struct snapshots){0};
    enum err rc = fsx_opendir(l->folder->path, &d);
    if (rc != ERR_OK)
        return rc;
    while ((e = readdir(d)) != NULL) {
        if (!segment_name_parse(e->d_name, &offset, &suffix) || strcmp(suffix, ".snapshot") != 0)
            continue;
        if (out->count == out->cap) {
            out->cap = out->cap == 0 ? 8 : out->cap * 2;
            out->offsets = xrealloc(out->offsets, out->cap * sizeof *out->offsets);
        }
        out->offsets[out->count++] = offset;
    }
    (void)closedir(d);
    if (out->count > 1)
        qsort(out->offsets, out->count, sizeof *out->offsets, highest_first);
    return ERR_OK;
}

static void drop_snapshot(const struct log *l, int64_t offset)
{
    char path[SEGMENT_PATH_MAX];

    log_snapshot_path(l, offset, path);
    (void)unlink(path); /* if it stays, its CRC or its offset rules it out next time */
}

/* Loads a snapshot; false when it is no good. */
static bool load_snapshot(struct log *l, int64_t offset)
{
    enum { SNAPSHOT_BYTES_MAX = 512 << 20 };
    char path[SEGMENT_PATH_MAX];
    struct buf b = {0};

    log_snapshot_path(l, offset, path);
    enum err rc = fsx_read_file(path, SNAPSHOT_BYTES_MAX, &b);
    if (rc == ERR_OK)
        rc = producer_state_decode(&l->producers, b.p, b.len);
    buf_fini(&b);
    if (rc != ERR_OK)
        SLOG(WARN, "log", "producer snapshot not usable", KV_S("path", path), KV_ERR(rc));
    return rc == ERR_OK;
}

static enum err replay_segment(struct log *l, int32_t i, int64_t from, int64_t to)
{
    struct log_segment *s = l->segments[i];
    struct segment_reader r;
    struct txn_completed ignored;
    const uint8_t *batch;
    struct batch_at at = {0};
    size_t len;

    if (s->size == 0)
        return ERR_OK;
    enum err rc = from > s->base_offset ? segment_find(s, s->size, from, &at) : ERR_OK;
    if (rc != ERR_OK)
        return rc == ERR_NOT_FOUND ? ERR_OK : rc;
    rc = segment_reader_open(&r, s, at.position, s->size);
    while (rc == ERR_OK) {
        rc = segment_reader_next(&r, &batch, &len);
        if (rc != ERR_OK || batch_base_offset(batch) >= to)
            break;
        if (batch_base_offset(batch) >= from)
            (void)producer_state_update(&l->producers, batch, &ignored);
    }
    segment_reader_close(&r);
    return rc == ERR_NOT_FOUND ? ERR_OK : rc;
}

enum err log_prune_snapshots(struct log *l, int64_t above)
{
    struct snapshots all;

    enum err rc = list_snapshots(l, &all);
    if (rc != ERR_OK)
        return rc;
    l->has_snapshots = false;
    l->snapshot_offset = -1;
    for (size_t i = 0; i < all.count; i++) {
        if (all.offsets[i] > above) {
            drop_snapshot(l, all.offsets[i]);
            continue;
        }
        l->snapshot_offset = i64_max(l->snapshot_offset, all.offsets[i]);
        l->has_snapshots = true;
    }
    mem_free(all.offsets);
    return ERR_OK;
}

/* Of those that wait to be written, the newest at or below offset. */
static const struct pending_snapshot *newest_pending(const struct log *l, int64_t offset)
{
    const struct pending_snapshot *p, *best = NULL;

    STAILQ_FOREACH (p, &l->snapshots, link)
        if (p->offset <= offset && (best == NULL || p->offset >= best->offset))
            best = p;
    return best;
}

/* The newest good snapshot at or below offset, written or not; -1: none. Bad files are deleted. */
static enum err load_newest(struct log *l, int64_t offset, int64_t *found_out)
{
    const struct pending_snapshot *pending = newest_pending(l, offset);
    struct snapshots all;

    *found_out = -1;
    enum err rc = list_snapshots(l, &all);
    for (size_t i = 0; rc == ERR_OK && i < all.count && *found_out < 0; i++) {
        if (all.offsets[i] > offset)
            continue;
        if (pending != NULL && pending->offset >= all.offsets[i])
            break;
        if (load_snapshot(l, all.offsets[i]))
            *found_out = all.offsets[i];
        else
            drop_snapshot(l, all.offsets[i]);
    }
    mem_free(all.offsets);
    if (rc == ERR_OK && *found_out < 0 && pending != NULL) {
        rc = producer_state_decode(&l->producers, pending->bytes.p, pending->bytes.len);
        *found_out = pending->offset;
    }
    return rc;
}

enum err log_load_producers(struct log *l, int64_t offset, bool was_clean)
{
    int64_t from;

    producer_state_free(&l->producers);
    enum err rc = load_newest(l, offset, &from);
    if (rc != ERR_OK || (from < 0 && was_clean))
        return rc;
    from = i64_max(from, l->segments[0]->base_offset);
    for (int32_t i = i32_max(log_segment_index(l, from), 0);
         rc == ERR_OK && i < l->segment_count && l->segments[i]->base_offset < offset; i++)
        rc = replay_segment(l, i, from, offset);
    producer_state_set_hw(l->producers, l->high_watermark);
    return rc;
}
