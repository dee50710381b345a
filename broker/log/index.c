/* SPDX-License-Identifier: Apache-2.0 */
/* Index files by pread and pwrite. */
#include "broker/log/index.h"

#include "common/base/fsx.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

static enum err open_index(const struct log_segment *s, const char *suffix, int flags, int *fd_out)
{
    char path[SEGMENT_PATH_MAX];

    segment_path(s, suffix, path);
    return fsx_open(path, flags, 0644, fd_out);
}

static enum err close_index(int fd, enum err rc)
{
    if (close(fd) != 0 && rc == ERR_OK)
        rc = err_from_errno(errno);
    return rc;
}

/* Number of whole entries of a file; 0 when there is none. last gets the last entry. */
static enum err read_tail(const struct log_segment *s, const char *suffix, size_t entry_bytes,
                          int32_t *count_out, uint8_t *last)
{
    struct stat st;
    size_t got;
    int fd;

    *count_out = 0;
    enum err rc = open_index(s, suffix, O_RDONLY, &fd);
    if (rc == ERR_NOT_FOUND)
        return ERR_OK;
    if (rc != ERR_OK)
        return rc;
    if (fstat(fd, &st) != 0)
        return close_index(fd, err_from_errno(errno));
    int64_t count = i64_min(st.st_size / (int64_t)entry_bytes, INT32_MAX);
    if (count > 0) {
        rc = fsx_pread(fd, last, entry_bytes, (count - 1) * (int64_t)entry_bytes, &got);
        if (rc == ERR_OK && got < entry_bytes)
            count = 0;
    }
    *count_out = (int32_t)count;
    return close_index(fd, rc);
}

enum err index_load(struct log_segment *s)
{
    uint8_t last[INDEX_TIME_ENTRY];

    if (s->is_index_known)
        return ERR_OK;
    enum err rc = read_tail(s, ".index", INDEX_OFFSET_ENTRY, &s->index.offset_entries, last);
    if (rc == ERR_OK)
        rc = read_tail(s, ".timeindex", INDEX_TIME_ENTRY, &s->index.time_entries, last);
    if (rc != ERR_OK)
        return rc;
    s->index.last_time_ms = -1;
    s->index.last_time_offset = s->base_offset;
    if (s->index.time_entries > 0) {
        s->index.last_time_ms = (int64_t)be64_load(last);
        s->index.last_time_offset = s->base_offset + (int32_t)be32_load(last + 8);
    }
    s->is_index_known = true;
    return ERR_OK;
}

enum err index_create(struct log_segment *s)
{
    static const char *const suffixes[] = {".index", ".timeindex"};
    enum err rc = ERR_OK;
    int fd;

    for (size_t i = 0; rc == ERR_OK && i < ARRAY_LEN(suffixes); i++) {
        rc = open_index(s, suffixes[i], O_RDWR | O_CREAT, &fd);
        if (rc == ERR_OK)
            rc = close_index(fd, ERR_OK);
    }
    return rc;
}

static enum err append_bytes(struct log_segment *s, const char *suffix, const uint8_t *p, size_t n,
                             int64_t at)
{
    int fd;

    if (n == 0)
        return ERR_OK;
    enum err rc = fault_point("log.index.write");
    if (rc == ERR_OK)
        rc = open_index(s, suffix, O_RDWR | O_CREAT, &fd);
    if (rc != ERR_OK)
        return rc;
    return close_index(fd, fsx_pwrite_all(fd, p, n, at));
}

enum err index_append(struct log_segment *s, const struct index_offset_entry *offsets,
                      int32_t offset_count, const struct index_time_entry *times,
                      int32_t time_count)
{
    enum { BATCH = 64 };
    uint8_t bytes[BATCH * INDEX_TIME_ENTRY];

    ASSERT(offset_count <= BATCH && time_count <= BATCH);
    enum err rc = index_load(s);
    if (rc != ERR_OK)
        return rc;
    s->is_index_unsynced = true;
    /* Times first: an offset entry without the time entry that belongs to it would hide the largest
     * timestamp from segment_scan_tail, and retention would take the segment too early. */
    for (int32_t i = 0; i < time_count; i++) {
        be64_store(bytes + i * INDEX_TIME_ENTRY, (uint64_t)times[i].timestamp_ms);
        be32_store(bytes + i * INDEX_TIME_ENTRY + 8, (uint32_t)times[i].relative_offset);
    }
    rc = append_bytes(s, ".timeindex", bytes, (size_t)time_count * INDEX_TIME_ENTRY,
                      (int64_t)s->index.time_entries * INDEX_TIME_ENTRY);
    if (rc != ERR_OK)
        return rc;
    s->index.time_entries += time_count;
    if (time_count > 0) {
        s->index.last_time_ms = times[time_count - 1].timestamp_ms;
        s->index.last_time_offset = s->base_offset + times[time_count - 1].relative_offset;
    }
    for (int32_t i = 0; i < offset_count; i++) {
        be32_store(bytes + i * INDEX_OFFSET_ENTRY, (uint32_t)offsets[i].relative_offset);
        be32_store(bytes + i * INDEX_OFFSET_ENTRY + 4, (uint32_t)offsets[i].position);
    }
    rc = append_bytes(s, ".index", bytes, (size_t)offset_count * INDEX_OFFSET_ENTRY,
                      (int64_t)s->index.offset_entries * INDEX_OFFSET_ENTRY);
    if (rc != ERR_OK)
        return rc;
    s->index.offset_entries += offset_count;
    return ERR_OK;
}

/* ---- lookups: the last entry for which at_most holds, by bisection over a window of the file */
struct lookup {
    size_t entry_bytes;
    bool (*at_most)(const uint8_t *entry, int64_t target);
    int64_t target;
};

static enum err bisect(int fd, int32_t count, const struct lookup *l, uint8_t *entry_out,
                       int32_t *at_out)
{
    enum { WINDOW_BYTES = 4096 };
    uint8_t window[WINDOW_BYTES];
    int32_t lo = 0, hi = count; /* the answer's index + 1 is in [lo, hi] */
    size_t got;

    while ((size_t)(hi - lo + 1) * l->entry_bytes > sizeof window) {
        int32_t mid = lo + (hi - lo) / 2;
        enum err rc =
            fsx_pread(fd, window, l->entry_bytes, (int64_t)mid * (int64_t)l->entry_bytes, &got);
        if (rc != ERR_OK || got < l->entry_bytes)
            return rc != ERR_OK ? rc : ERR_CORRUPT;
        if (l->at_most(window, l->target))
            lo = mid + 1;
        else
            hi = mid;
    }
    int32_t first = lo == 0 ? 0 : lo - 1; /* with the one before, which may be the answer */
    size_t n = (size_t)(hi - first) * l->entry_bytes;
    enum err rc = fsx_pread(fd, window, n, (int64_t)first * (int64_t)l->entry_bytes, &got);
    if (rc != ERR_OK || got < n)
        return rc != ERR_OK ? rc : ERR_CORRUPT;
    *at_out = -1;
    for (int32_t i = first; i < hi; i++) {
        const uint8_t *entry = window + (size_t)(i - first) * l->entry_bytes;
        if (!l->at_most(entry, l->target))
            break;
        memcpy(entry_out, entry, l->entry_bytes);
        *at_out = i;
    }
    return ERR_OK;
}

static bool offset_at_most(const uint8_t *entry, int64_t target)
{
    return (int32_t)be32_load(entry) <= target;
}
static bool position_below(const uint8_t *entry, int64_t target)
{
    return (int32_t)be32_load(entry + 4) < target;
}
static bool time_at_most(const uint8_t *entry, int64_t target)
{
    return (int64_t)be64_load(entry) <= target;
}

static enum err look_up(struct log_segment *s, const char *suffix, int32_t count,
                        const struct lookup *l, uint8_t *entry_out, int32_t *at_out)
{
    int fd;

    *at_out = -1;
    if (count == 0)
        return ERR_OK;
    enum err rc = open_index(s, suffix, O_RDONLY, &fd);
    if (rc == ERR_NOT_FOUND)
        return ERR_OK;
    if (rc != ERR_OK)
        return rc;
    return close_index(fd, bisect(fd, count, l, entry_out, at_out));
}

enum err index_offset_floor(struct log_segment *s, int64_t offset, int64_t *position_out)
{
    struct lookup l = {INDEX_OFFSET_ENTRY, offset_at_most, offset - s->base_offset};
    uint8_t entry[INDEX_OFFSET_ENTRY];
    int32_t at;

    *position_out = 0;
    enum err rc = index_load(s);
    if (rc == ERR_OK)
        rc = look_up(s, ".index", s->index.offset_entries, &l, entry, &at);
    if (rc == ERR_OK && at >= 0)
        *position_out = (int32_t)be32_load(entry + 4);
    if (*position_out < 0)
        *position_out = 0;
    return rc;
}

enum err index_time_floor(struct log_segment *s, int64_t timestamp_ms, int64_t *offset_out)
{
    struct lookup l = {INDEX_TIME_ENTRY, time_at_most, timestamp_ms};
    uint8_t entry[INDEX_TIME_ENTRY];
    int32_t at;

    *offset_out = s->base_offset;
    enum err rc = index_load(s);
    if (rc == ERR_OK)
        rc = look_up(s, ".timeindex", s->index.time_entries, &l, entry, &at);
    if (rc == ERR_OK && at >= 0)
        *offset_out = s->base_offset + (int32_t)be32_load(entry + 8);
    return rc;
}

enum err index_offset_above(struct log_segment *s, int64_t position, int64_t *offset_out)
{
    struct lookup l = {INDEX_OFFSET_ENTRY, position_below, position};
    uint8_t entry[INDEX_OFFSET_ENTRY];
    int32_t at;
    size_t got;
    int fd;

    *offset_out = -1;
    enum err rc = index_load(s);
    if (rc == ERR_OK)
        rc = look_up(s, ".index", s->index.offset_entries, &l, entry, &at);
    if (rc != ERR_OK || at + 1 >= s->index.offset_entries)
        return rc;
    rc = open_index(s, ".index", O_RDONLY, &fd);
    if (rc != ERR_OK)
        return rc;
    rc = fsx_pread(fd, entry, sizeof entry, (int64_t)(at + 1) * INDEX_OFFSET_ENTRY, &got);
    if (rc == ERR_OK && got == sizeof entry)
        *offset_out = s->base_offset + (int32_t)be32_load(entry);
    return close_index(fd, rc);
}

static enum err offset_tail_is_sane(struct log_segment *s, bool *sane_out)
{
    uint8_t entry[INDEX_OFFSET_ENTRY];
    struct batch_at b;
    int32_t count;

    enum err rc = read_tail(s, ".index", INDEX_OFFSET_ENTRY, &count, entry);
    *sane_out = rc == ERR_OK && count == 0;
    if (rc != ERR_OK || count == 0)
        return rc;
    int32_t position = (int32_t)be32_load(entry + 4);
    if (position <= 0) /* the first batch of a segment never has an entry */
        return ERR_OK;
    rc = segment_header_at(s, position, s->size, &b);
    *sane_out = rc == ERR_OK && b.last_offset == s->base_offset + (int32_t)be32_load(entry);
    return rc;
}

static enum err time_tail_is_sane(struct log_segment *s, bool *sane_out)
{
    uint8_t entry[INDEX_TIME_ENTRY];
    struct batch_at b;
    int32_t count;

    enum err rc = read_tail(s, ".timeindex", INDEX_TIME_ENTRY, &count, entry);
    *sane_out = rc == ERR_OK && count == 0;
    if (rc != ERR_OK || count == 0)
        return rc;
    int64_t offset = s->base_offset + (int32_t)be32_load(entry + 8);
    rc = segment_find(s, s->size, offset, &b);
    *sane_out =
        rc == ERR_OK && b.last_offset == offset && b.max_timestamp_ms == (int64_t)be64_load(entry);
    return rc;
}

enum err index_tail_is_sane(struct log_segment *s, bool *sane_out)
{
    enum err rc = offset_tail_is_sane(s, sane_out);

    if (rc == ERR_OK && *sane_out)
        rc = time_tail_is_sane(s, sane_out);
    return rc == ERR_NOT_FOUND || rc == ERR_CORRUPT ? ERR_OK : rc;
}

/* ---- cutting */
static enum err cut_file(const struct log_segment *s, const char *suffix, int64_t bytes)
{
    int fd;

    enum err rc = open_index(s, suffix, O_RDWR, &fd);
    if (rc == ERR_NOT_FOUND)
        return ERR_OK;
    if (rc != ERR_OK)
        return rc;
    if (ftruncate(fd, bytes) != 0)
        rc = err_from_errno(errno);
    return close_index(fd, rc);
}

/* Entries of the time index whose offset is below: the offsets do not fall. */
static bool time_offset_below(const uint8_t *entry, int64_t target)
{
    return (int32_t)be32_load(entry + 8) < target;
}
static bool offset_below(const uint8_t *entry, int64_t target)
{
    return (int32_t)be32_load(entry) < target;
}

struct txn_cut {
    int64_t offset;
    int32_t keep;
};
static bool count_kept(void *arg, const struct index_txn_entry *e)
{
    struct txn_cut *cut = arg;
    if (e->last_offset >= cut->offset)
        return false;
    cut->keep++;
    return true;
}

enum err index_truncate(struct log_segment *s, int64_t offset)
{
    struct lookup offsets = {INDEX_OFFSET_ENTRY, offset_below, offset - s->base_offset};
    struct lookup times = {INDEX_TIME_ENTRY, time_offset_below, offset - s->base_offset};
    struct txn_cut cut = {.offset = offset};
    uint8_t entry[INDEX_TIME_ENTRY];
    int32_t at;

    enum err rc = index_load(s);
    if (rc == ERR_OK)
        rc = look_up(s, ".index", s->index.offset_entries, &offsets, entry, &at);
    if (rc == ERR_OK)
        rc = cut_file(s, ".index", (int64_t)(at + 1) * INDEX_OFFSET_ENTRY);
    if (rc == ERR_OK)
        rc = look_up(s, ".timeindex", s->index.time_entries, &times, entry, &at);
    if (rc == ERR_OK)
        rc = cut_file(s, ".timeindex", (int64_t)(at + 1) * INDEX_TIME_ENTRY);
    if (rc == ERR_OK)
        rc = index_txn_each(s, count_kept, &cut);
    if (rc == ERR_OK)
        rc = cut_file(s, ".txnindex", (int64_t)cut.keep * INDEX_TXN_ENTRY);
    s->is_index_known = false;
    s->is_index_unsynced = true;
    return rc == ERR_OK ? index_load(s) : rc;
}

enum err index_reset(struct log_segment *s)
{
    char path[SEGMENT_PATH_MAX];

    segment_path(s, ".txnindex", path);
    if (unlink(path) != 0 && errno != ENOENT)
        return err_from_errno(errno);
    enum err rc = index_create(s);
    if (rc == ERR_OK)
        rc = cut_file(s, ".index", 0);
    if (rc == ERR_OK)
        rc = cut_file(s, ".timeindex", 0);
    s->index = (struct segment_index_state){.last_time_ms = -1, .last_time_offset = s->base_offset};
    s->is_index_known = true;
    s->is_index_unsynced = true;
    return rc;
}

enum err index_sync(const struct log_segment *s)
{
    static const char *const suffixes[] = {".index", ".timeindex", ".txnindex"};
    enum err rc = ERR_OK;
    int fd;

    for (size_t i = 0; rc == ERR_OK && i < ARRAY_LEN(suffixes); i++) {
        rc = open_index(s, suffixes[i], O_RDWR, &fd);
        if (rc == ERR_NOT_FOUND) {
            rc = ERR_OK;
            continue;
        }
        if (rc == ERR_OK)
            rc = close_index(fd, fsx_fdatasync(fd));
    }
    return rc;
}

/* ---- aborted transactions */
void index_txn_encode(const struct index_txn_entry *e, uint8_t p[INDEX_TXN_ENTRY])
{
    be16_store(p, 0); /* version */
    be64_store(p + 2, (uint64_t)e->producer_id);
    be64_store(p + 10, (uint64_t)e->first_offset);
    be64_store(p + 18, (uint64_t)e->last_offset);
    be64_store(p + 26, (uint64_t)e->last_stable_offset);
}

enum err index_txn_append(struct log_segment *s, const struct index_txn_entry *e)
{
    uint8_t p[INDEX_TXN_ENTRY];
    char path[SEGMENT_PATH_MAX];
    struct stat st;

    index_txn_encode(e, p);
    segment_path(s, ".txnindex", path);
    s->is_index_unsynced = true;
    int64_t size = stat(path, &st) == 0 ? st.st_size : 0;
    return append_bytes(s, ".txnindex", p, sizeof p, size - size % INDEX_TXN_ENTRY);
}

enum err index_txn_each(struct log_segment *s,
                        bool (*visit)(void *arg, const struct index_txn_entry *e), void *arg)
{
    enum { ENTRIES = 64 };
    uint8_t p[ENTRIES * INDEX_TXN_ENTRY];
    size_t got = sizeof p;
    int fd;

    enum err rc = open_index(s, ".txnindex", O_RDONLY, &fd);
    if (rc == ERR_NOT_FOUND)
        return ERR_OK;
    if (rc != ERR_OK)
        return rc;
    bool go_on = true;
    for (int64_t at = 0; rc == ERR_OK && go_on && got == sizeof p; at += (int64_t)got) {
        rc = fsx_pread(fd, p, sizeof p, at, &got);
        if (rc == ERR_OK && got % INDEX_TXN_ENTRY != 0)
            rc = ERR_CORRUPT;
        for (size_t i = 0; rc == ERR_OK && go_on && i < got; i += INDEX_TXN_ENTRY) {
            struct index_txn_entry e = {.producer_id = (int64_t)be64_load(p + i + 2),
                                        .first_offset = (int64_t)be64_load(p + i + 10),
                                        .last_offset = (int64_t)be64_load(p + i + 18),
                                        .last_stable_offset = (int64_t)be64_load(p + i + 26)};
            if ((int16_t)be16_load(p + i) > 0 || e.last_offset < s->base_offset)
                rc = ERR_CORRUPT;
            else
                go_on = visit(arg, &e);
        }
    }
    return close_index(fd, rc);
}
