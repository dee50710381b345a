/* SPDX-License-Identifier: Apache-2.0 */
/* A run of the cleaner over one log:
 *   begin   (lock)     what may be cleaned; references to its segments; who produces
 *   map     (no lock)  walk over the dirty part: each key's last offset
 *   groups  (no lock)  from the log's start on, some segments at a time: what stays is written to
 *                      <base>.*.cleaned and synced
 *           (lock)     .cleaned becomes .swap, the old segments .deleted, .swap the segment
 *   end     (lock)     the dirty part is clean
 * When the log's end is cut meanwhile, the run gives up. When its oldest segments go, what it makes
 * of them goes too, and it goes on with the others. A crash leaves .cleaned, which goes, or .swap,
 * which is put in place when the log is loaded. */
#include "broker/log/cleaner.h"

#include "common/base/clock.h"
#include "common/base/fsx.h"
#include "common/base/slog.h"
#include "common/record/batch.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    PACE_BYTES = 64 << 10,
    GROUP_SEGMENTS_MAX = 100, /* renames under the lock */
};

struct source {
    struct log_segment *segment; /* a reference */
    int64_t base_offset, end_offset, size;
};
struct run {
    struct log *log;
    const struct clean_env *env;
    struct clean_stats *stats;
    struct errtext *why;
    int64_t now_ms;
    struct clean_plan plan;
    struct log_config config;
    uint32_t generation, cuts; /* the log's, at the begin */
    struct source *sources;
    int32_t count;
    struct index_txn_entry *aborted; /* by first offset */
    size_t aborted_count, aborted_cap;
    struct clean_producer *producers; /* by id */
    int32_t producer_count;
    struct offset_map map;
    int64_t map_end_offset;
    int64_t unpaced_bytes;
};

static void take(struct run *r)
{
    if (r->env->lock != NULL)
        r->env->lock(r->env->arg, r->log);
}
static void give(struct run *r)
{
    if (r->env->unlock != NULL)
        r->env->unlock(r->env->arg, r->log);
}

/* ---- begin */
static int by_first_offset(const void *a, const void *b)
{
    int64_t x = ((const struct index_txn_entry *)a)->first_offset,
            y = ((const struct index_txn_entry *)b)->first_offset;
    return x < y ? -1 : x > y;
}
static int by_producer_id(const void *a, const void *b)
{
    int64_t x = ((const struct clean_producer *)a)->producer_id,
            y = ((const struct clean_producer *)b)->producer_id;
    return x < y ? -1 : x > y;
}

static void list_producers(struct run *r)
{
    struct log_producer *all;

    r->producer_count = log_producers(r->log, &all);
    r->producers = xcalloc((size_t)r->producer_count + 1, sizeof *r->producers);
    for (int32_t i = 0; i < r->producer_count; i++)
        r->producers[i] = (struct clean_producer){.producer_id = all[i].producer_id,
                                                  .last_data_offset = all[i].last_data_offset,
                                                  .epoch = (int16_t)all[i].epoch};
    qsort(r->producers, (size_t)r->producer_count, sizeof *r->producers, by_producer_id);
    mem_free(all);
}

static bool add_aborted(void *arg, const struct index_txn_entry *e)
{
    struct run *r = arg;

    if (e->first_offset >= r->plan.end_offset)
        return true;
    if (r->aborted_count == r->aborted_cap) {
        r->aborted_cap = r->aborted_cap == 0 ? 16 : r->aborted_cap * 2;
        r->aborted = xrealloc(r->aborted, r->aborted_cap * sizeof *r->aborted);
    }
    r->aborted[r->aborted_count++] = *e;
    return true;
}

static enum err list_aborted(struct run *r, struct log_segment *s)
{
    return index_txn_each(s, add_aborted, r);
}

/* Lock held. False: there is nothing to do. */
static bool begin_locked(struct run *r, enum err *rc)
{
    struct log *l = r->log;
    bool has_more;

    if (!clean_plan(l, r->now_ms, &r->plan, &has_more))
        return false;
    r->config = l->config;
    r->generation = l->generation;
    r->cuts = l->cuts;
    r->sources = xcalloc((size_t)l->segment_count, sizeof *r->sources);
    for (int32_t i = 0; i < l->segment_count; i++) {
        struct log_segment *s = l->segments[i];
        /* segments before the start are retention's; an abort behind the end may be of a
         * transaction that begins before it */
        if (log_segment_end(l, i) <= l->start_offset)
            continue;
        if (s->base_offset >= r->plan.end_offset) {
            *rc = *rc == ERR_OK ? list_aborted(r, s) : *rc;
            continue;
        }
        segment_ref(s);
        r->sources[r->count++] = (struct source){.segment = s,
                                                 .base_offset = s->base_offset,
                                                 .end_offset = log_segment_end(l, i),
                                                 .size = s->size};
    }
    list_producers(r);
    return r->count > 0;
}

static enum err begin(struct run *r)
{
    enum err rc = ERR_OK;

    take(r);
    bool any = begin_locked(r, &rc);
    give(r);
    if (!any)
        r->count = 0;
    r->stats->segments_before = r->count;
    r->stats->dirty_offset = r->stats->end_offset = r->plan.dirty_offset;
    for (int32_t i = 0; rc == ERR_OK && i < r->count; i++)
        rc = list_aborted(r, r->sources[i].segment);
    if (rc != ERR_OK)
        errtext_set(r->why, "the index of aborted transactions: %s", err_text(rc));
    if (r->aborted_count > 1)
        qsort(r->aborted, r->aborted_count, sizeof *r->aborted, by_first_offset);
    return rc;
}

static void fini(struct run *r)
{
    for (int32_t i = 0; i < r->count; i++)
        segment_unref(&r->sources[i].segment);
    mem_free(r->sources);
    mem_free(r->aborted);
    mem_free(r->producers);
    offset_map_fini(&r->map);
}

/* ---- reading */
static enum err pace(struct run *r, int64_t bytes)
{
    r->unpaced_bytes += bytes;
    if (r->unpaced_bytes < PACE_BYTES)
        return ERR_OK;
    bytes = r->unpaced_bytes;
    r->unpaced_bytes = 0;
    if (log_dir_is_offline(r->log->dir))
        return ERR_OFFLINE;
    return r->env->go_on == NULL || r->env->go_on(r->env->arg, r->log, bytes) ? ERR_OK : ERR_BUSY;
}

static enum err set_aside(struct run *r, const struct segment_reader *rd, enum err rc,
                          const char *what)
{
    errtext_set(r->why, "segment %" PRId64 " at byte %" PRId64 ": %s: %s", rd->segment->base_offset,
                rd->position, what, err_text(rc));
    return rc;
}

/* The next batch, whole and right. NOT_FOUND: the end. */
static enum err next_batch(struct run *r, struct segment_reader *rd, const struct source *s,
                           int64_t *next_offset, const uint8_t **batch, size_t *len)
{
    enum err rc = fault_point("log.clean.read");

    if (rc == ERR_OK)
        rc = segment_reader_next(rd, batch, len);
    if (rc == ERR_NOT_FOUND && rd->position == rd->size)
        return ERR_NOT_FOUND;
    if (rc != ERR_OK)
        return set_aside(r, rd, rc == ERR_NOT_FOUND ? ERR_CORRUPT : rc, "not a whole batch");
    if (batch_crc_compute(*batch) != batch_crc(*batch))
        return set_aside(r, rd, ERR_CORRUPT, "the CRC of the batch before");
    if (batch_base_offset(*batch) < *next_offset || batch_last_offset(*batch) >= s->end_offset ||
        batch_last_offset(*batch) - s->base_offset > INT32_MAX)
        return set_aside(r, rd, ERR_CORRUPT, "the offsets of the batch before");
    *next_offset = batch_last_offset(*batch) + 1;
    r->stats->bytes_read += (int64_t)*len;
    return pace(r, (int64_t)*len);
}

static enum err open_source(struct run *r, struct segment_reader *rd, const struct source *s)
{
    enum err rc = segment_reader_open(rd, s->segment, 0, s->size);

    return rc == ERR_OK || rc == ERR_NO_DESCRIPTORS /* nothing is wrong with the file */
               ? rc
               : set_aside(r, rd, rc == ERR_NOT_FOUND ? ERR_IO : rc, "open");
}

/* ---- map */
/* LIMIT and is_map_full: the map tells of records below map_end_offset. */
static enum err map_batch(struct run *r, struct clean_txns *txns, const uint8_t *batch, size_t len,
                          struct buf *plain)
{
    const struct index_txn_entry *ignored;
    struct record_iter it;
    struct record rec;
    int32_t last_delta = -1;

    if ((batch_attributes(batch) & BATCH_CONTROL) != 0) {
        (void)clean_txns_marker(txns, batch, &ignored);
        return txns->lacks_aborted ? ERR_CORRUPT : ERR_OK;
    }
    if (clean_txns_data(txns, batch) || batch_last_offset(batch) < r->plan.dirty_offset)
        return ERR_OK;
    enum err rc = clean_records_of(batch, len, plain, &it);
    while (rc == ERR_OK && (rc = clean_record_next(&it, batch, &last_delta, &rec)) == ERR_OK) {
        if (rec.key.len < 0 || rec.offset < r->plan.dirty_offset)
            continue;
        if (!offset_map_put(&r->map, rec.key, rec.offset)) {
            r->map_end_offset = rec.offset;
            r->stats->is_map_full = true;
            return ERR_LIMIT;
        }
    }
    return rc == ERR_NOT_FOUND ? ERR_OK : rc;
}

static enum err map_source(struct run *r, const struct source *s, struct clean_txns *txns,
                           struct buf *plain)
{
    struct segment_reader rd;
    const uint8_t *batch;
    int64_t next_offset = s->base_offset;
    size_t len;

    enum err rc = open_source(r, &rd, s);
    while (rc == ERR_OK && (rc = next_batch(r, &rd, s, &next_offset, &batch, &len)) == ERR_OK) {
        rc = map_batch(r, txns, batch, len, plain);
        if (rc != ERR_OK && rc != ERR_LIMIT)
            rc = set_aside(r, &rd, rc, "the records of the batch before");
    }
    segment_reader_close(&rd);
    return rc == ERR_NOT_FOUND ? ERR_OK : rc;
}

static enum err build_map(struct run *r)
{
    struct clean_txns txns;
    struct buf plain = {0};
    enum err rc = ERR_OK;

    clean_txns_begin(&txns, r->aborted, r->aborted_count);
    offset_map_init(&r->map, r->env->map_bytes_max, r->env->load_factor);
    r->map_end_offset = r->plan.end_offset;
    for (int32_t i = 0; rc == ERR_OK && i < r->count; i++)
        if (r->sources[i].end_offset > r->plan.dirty_offset)
            rc = map_source(r, &r->sources[i], &txns, &plain);
    clean_txns_fini(&txns);
    buf_fini(&plain);
    r->stats->map_bytes = r->map.bytes;
    r->stats->keys = r->map.count;
    if (!r->stats->is_map_full)
        return rc;
    return r->map_end_offset > r->plan.dirty_offset ? ERR_OK : ERR_NO_MEMORY;
}

/* ---- groups */
/* How many sources from first on become one segment. */
static int32_t group_of(const struct run *r, int32_t first)
{
    const struct source *s = &r->sources[first];
    int64_t bytes = s->size;
    int32_t n = 1;

    while (first + n < r->count && n < GROUP_SEGMENTS_MAX && s[n].base_offset < r->map_end_offset &&
           bytes + s[n].size <= r->config.segment_bytes &&
           s[n].end_offset - 1 - s->base_offset <= INT32_MAX)
        bytes += s[n++].size;
    return n;
}

/* A failed write of what nobody relies on yet; still, a disk that fails is not written to again. A
 * full one is another matter: the data are as they were, and compaction is what makes room. */
static enum err write_failed(struct run *r, const char *what, enum err rc)
{
    if (rc == ERR_NO_SPACE || rc == ERR_NO_MEMORY || rc == ERR_LIMIT ||
        rc == ERR_NO_DESCRIPTORS)
        return rc;
    if (rc == ERR_TOO_LARGE) {
        errtext_set(r->why, "the compacted segment would be larger than a segment can be");
        return rc;
    }
    log_dir_fail(r->log->dir, what, rc);
    return ERR_OFFLINE;
}

struct output {
    struct clean_writer writer;
    int64_t mtime_ms;
    bool is_changed;
};

static enum err copy_batch(struct run *r, struct clean_filter *f, const uint8_t *batch, size_t len,
                           const struct segment_reader *rd, bool is_last, struct output *o)
{
    struct clean_batch b;

    enum err rc = clean_filter_batch(f, batch, len, is_last, &b);
    if (rc != ERR_OK)
        return set_aside(r, rd, rc, "the records of the batch before");
    r->stats->records_read += b.records_read;
    r->stats->records_kept += b.records_kept;
    o->is_changed |= b.verdict != CLEAN_KEEP;
    if (b.aborted != NULL)
        clean_writer_add_aborted(&o->writer, b.aborted);
    if (b.verdict == CLEAN_DROP)
        return ERR_OK;
    rc = clean_writer_add(&o->writer, b.bytes, b.len);
    if (rc != ERR_OK)
        return write_failed(r, "write a compacted segment", rc);
    return pace(r, (int64_t)b.len);
}

static enum err copy_source(struct run *r, struct clean_filter *f, const struct source *s,
                            bool is_last, struct output *o)
{
    struct segment_reader rd;
    const uint8_t *batch;
    int64_t next_offset = s->base_offset;
    struct stat st;
    size_t len;

    enum err rc = open_source(r, &rd, s);
    if (rc == ERR_OK && fstat(rd.fd, &st) == 0)
        o->mtime_ms = (int64_t)st.st_mtime * 1000;
    while (rc == ERR_OK && (rc = next_batch(r, &rd, s, &next_offset, &batch, &len)) == ERR_OK)
        rc = copy_batch(r, f, batch, len, &rd, is_last && rd.position == rd.size, o);
    segment_reader_close(&rd);
    return rc == ERR_NOT_FOUND ? ERR_OK : rc;
}

/* Where a source is in the log now; -1: retention took it away. Lock held. */
static int32_t place_of(const struct run *r, int32_t source)
{
    int64_t base_offset = r->sources[source].base_offset;
    int32_t at = log_segment_index(r->log, base_offset);

    return at >= 0 && r->log->segments[at]->base_offset == base_offset ? at : -1;
}

/* Whether the new segment may take the place of the sources, and where. NOT_FOUND: they have all
 * gone. BAD_VERSION: they are not what they were; if some have gone, what was to go from the others
 * is there still, so the dirty part is not clean. */
static enum err find_place(const struct run *r, int32_t first, int32_t count, int32_t *at_out)
{
    *at_out = place_of(r, first);
    if (log_dir_is_offline(r->log->dir))
        return ERR_OFFLINE;
    if (r->log->cuts != r->cuts)
        return ERR_BAD_VERSION;
    if (*at_out >= 0)
        return ERR_OK;
    return place_of(r, first + count - 1) < 0 ? ERR_NOT_FOUND : ERR_BAD_VERSION;
}

/* Puts the new segment in the place of the sources; errors as find_place. */
static enum err put_in_place(struct run *r, int32_t first, int32_t count, struct output *o)
{
    int32_t at;

    for (int32_t i = first; i < first + count; i++) /* or they would look like being read */
        segment_unref(&r->sources[i].segment);
    struct log_segment *s = clean_writer_segment(&o->writer, o->mtime_ms);
    take(r);
    enum err rc = find_place(r, first, count, &at);
    if (rc == ERR_OK)
        rc = log_replace_segments(r->log, at, count, s);
    else
        segment_unref(&s);
    give(r);
    if (rc != ERR_OK)
        return rc;
    rc = fault_point("log.clean.after_swap");
    if (rc == ERR_OK)
        rc = fsx_sync_dir(o->writer.folder->path);
    return rc == ERR_OK ? rc : write_failed(r, "put a compacted segment in place", ERR_IO);
}

static enum err finish_group(struct run *r, int32_t first, int32_t count, struct output *o)
{
    enum err rc = clean_writer_finish(&o->writer, o->mtime_ms);

    if (rc != ERR_OK)
        return write_failed(r, "write a compacted segment", rc);
    r->stats->bytes_written += o->writer.size;
    return put_in_place(r, first, count, o);
}

static enum err clean_group(struct run *r, struct clean_filter *f, int32_t first, int32_t count)
{
    struct output o = {.mtime_ms = r->now_ms};
    struct log_folder *folder = r->sources[first].segment->folder;

    atomic_fetch_add(&folder->refs, 1); /* the sources' references are given back before the end */
    enum err rc = clean_writer_open(&o.writer, folder, r->sources[first].base_offset, &r->config,
                                    r->env->buffer_bytes);
    if (rc != ERR_OK)
        rc = write_failed(r, "create a compacted segment", rc);
    for (int32_t i = first; rc == ERR_OK && i < first + count; i++)
        rc = copy_source(r, f, &r->sources[i], i + 1 == first + count, &o);
    bool is_wanted = o.is_changed || count > 1;
    if (rc == ERR_OK && is_wanted)
        rc = finish_group(r, first, count, &o);
    if (rc == ERR_NOT_FOUND) {
        is_wanted = false;
        rc = ERR_OK;
    } else if (rc == ERR_OK) {
        r->stats->segments_after++;
    }
    /* once the dir is offline the next start decides what they are worth */
    clean_writer_close(&o.writer, rc != ERR_OFFLINE && (rc != ERR_OK || !is_wanted));
    log_folder_unref(&folder);
    return rc;
}

static bool is_gone(struct run *r, int32_t source)
{
    take(r);
    bool gone = r->log->cuts == r->cuts && place_of(r, source) < 0;
    give(r);
    return gone;
}

static enum err clean_groups(struct run *r)
{
    struct clean_filter f = {.map = &r->map,
                             .map_end_offset = r->map_end_offset,
                             .now_ms = r->now_ms,
                             .delete_retention_ms = r->config.delete_retention_ms,
                             .producers = r->producers,
                             .producer_count = (size_t)r->producer_count};
    enum err rc = ERR_OK;

    clean_txns_begin(&f.txns, r->aborted, r->aborted_count);
    for (int32_t i = 0, n; rc == ERR_OK && i < r->count; i += n) {
        if (r->sources[i].base_offset >= r->map_end_offset)
            break;
        n = 1;
        if (is_gone(r, i))
            continue;
        n = group_of(r, i);
        rc = clean_group(r, &f, i, n);
    }
    clean_filter_fini(&f);
    return rc;
}

/* ---- end */
/* Errors of the bytes themselves: they will be the same next time. */
static bool is_of_bytes(enum err rc)
{
    return rc == ERR_CORRUPT || rc == ERR_UNSUPPORTED || rc == ERR_TOO_LARGE || rc == ERR_IO;
}

static enum err end(struct run *r, enum err rc)
{
    struct log *l = r->log;

    take(r);
    if ((rc == ERR_OK && l->cuts != r->cuts) || (is_of_bytes(rc) && l->generation != r->generation))
        rc = ERR_BAD_VERSION; /* bytes may have been cut under our eyes */
    if (rc == ERR_OK)
        l->clean_offset = r->stats->end_offset = r->map_end_offset;
    else if (is_of_bytes(rc))
        l->is_uncleanable = true;
    give(r);
    return rc;
}

enum err log_clean(struct log *l, const struct clean_env *env, int64_t now_ms,
                   struct clean_stats *stats, struct errtext *why)
{
    struct run r = {.log = l, .env = env, .stats = stats, .why = why, .now_ms = now_ms};

    *stats = (struct clean_stats){0};
    enum err rc = begin(&r);
    if (r.count > 0 || rc != ERR_OK) {
        if (rc == ERR_OK)
            rc = build_map(&r);
        if (rc == ERR_OK)
            rc = clean_groups(&r);
        rc = end(&r, rc);
    }
    fini(&r);
    return rc;
}

/* ---- putting in place */
static const char *const suffixes[] = {".log", ".index", ".timeindex", ".txnindex"};

static enum err rename_all(const struct log_segment *s, const char *from_suffix,
                           const char *to_suffix)
{
    char from[SEGMENT_PATH_MAX], to[SEGMENT_PATH_MAX];

    for (size_t i = 0; i < ARRAY_LEN(suffixes); i++) {
        (void)snprintf(from, sizeof from, "%s/%020" PRId64 "%s%s", s->folder->path, s->base_offset,
                       suffixes[i], from_suffix);
        (void)snprintf(to, sizeof to, "%s/%020" PRId64 "%s%s", s->folder->path, s->base_offset,
                       suffixes[i], to_suffix);
        enum err rc = fault_point("log.clean.rename");
        bool may_lack = i + 1 == ARRAY_LEN(suffixes); /* .txnindex */
        if (rc == ERR_OK && rename(from, to) != 0 && (errno != ENOENT || !may_lack))
            rc = err_from_errno(errno);
        if (rc != ERR_OK)
            return rc;
    }
    return ERR_OK;
}

/* In rising order: what a crash leaves is the end of the old segments, whose later records have the
 * last word over the earlier. */
static enum err delete_old(struct log *l, int32_t first, int32_t count)
{
    char path[SEGMENT_PATH_MAX];

    for (int32_t i = first; i < first + count; i++) {
        enum err rc = fault_point("log.clean.delete");
        if (rc == ERR_OK)
            rc = segment_mark_deleted(l->segments[i]);
        if (rc != ERR_OK)
            return rc;
        log_remember_deleted(l, l->segments[i]->base_offset);
        if (i == first || l->segments[i]->base_offset == l->snapshot_offset)
            continue;
        log_snapshot_path(l, l->segments[i]->base_offset, path); /* no segment's base any more */
        (void)unlink(path);
    }
    return ERR_OK;
}

enum err log_replace_segments(struct log *l, int32_t first, int32_t count, struct log_segment *s)
{
    ASSERT(first >= 0 && count > 0 && first + count < l->segment_count); /* never the active one */
    ASSERT(l->segments[first]->base_offset == s->base_offset);
    enum err rc = rename_all(s, ".cleaned", ".swap");
    if (rc == ERR_OK)
        rc = delete_old(l, first, count);
    if (rc == ERR_OK)
        rc = rename_all(s, ".swap", "");
    if (rc != ERR_OK) { /* the next start finds out how far it came */
        log_dir_fail_midway(l->dir, "put a compacted segment in place", rc);
        segment_unref(&s);
        return ERR_OFFLINE;
    }
    for (int32_t i = first; i < first + count; i++)
        segment_unref(&l->segments[i]);
    l->segments[first] = s;
    memmove(l->segments + first + 1, l->segments + first + count,
            (size_t)(l->segment_count - first - count) * sizeof(struct log_segment *));
    l->segment_count -= count - 1;
    l->is_folder_dirty = true;
    log_manager_post(l, LOG_WORK_UNLINK);
    log_check(l);
    return ERR_OK;
}
