/* SPDX-License-Identifier: Apache-2.0 */
/* What is in a log's folder when it is opened: leftovers go (.deleted, .cleaned, .tmp), finished
 * compactions are put in place (.swap), segments are found by their names. */
#include "broker/log/log_internal.h"

#include "common/base/clock.h"
#include "common/base/fsx.h"
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
    const struct dirent *e;
    DIR *d;

    out->count = 0;
    out->has_snapshots = false;
    enum err rc = fsx_opendir(folder, &d);
    if (rc != ERR_OK)
        return rc;
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

enum err log_find_segments(struct log *l, bool *has_snapshots_out)
{
    struct listing found = {0};

    enum err rc = list_folder(l->folder->path, &found);
    if (rc == ERR_OK)
        rc = finish_compactions(l, &found);
    if (rc == ERR_OK)
        rc = list_folder(l->folder->path, &found);
    if (rc == ERR_OK)
        rc = add_segments(l, &found);
    *has_snapshots_out = found.has_snapshots;
    mem_free(found.found);
    return rc;
}
