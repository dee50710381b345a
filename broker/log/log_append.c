/* SPDX-License-Identifier: Apache-2.0 */
/* Appending and rolling. The order of an append: all checks; roll when due; one pwritev; only then
 * the state in memory moves (end offset, epochs, producers, index entries). If the write fails the
 * log dir goes offline and nothing has moved; what it left behind the segment's size is cut by the
 * recovery that an offline dir's missing clean mark brings about. */
#include "broker/log/log_internal.h"

#include "common/base/clock.h"
#include "common/base/fsx.h"
#include "common/base/slog.h"
#include "common/record/batch.h"

#include <errno.h>
#include <fcntl.h>

/* ---- rolling */
static bool index_is_full(const struct log *l)
{
    const struct log_segment *s = log_active(l);
    const struct log_tail *t = l->tail;
    int32_t offsets = s->index.offset_entries + (t == NULL ? 0 : t->offset_count);
    int32_t times = s->index.time_entries + (t == NULL ? 0 : t->time_count);

    return offsets >= l->config.segment_index_bytes / INDEX_OFFSET_ENTRY ||
           times >= l->config.segment_index_bytes / INDEX_TIME_ENTRY - 1;
}

static bool time_is_up(const struct log *l, int64_t max_timestamp_ms, int64_t now_ms)
{
    const struct log_segment *s = log_active(l);
    const struct log_config *c = &l->config;
    int64_t limit_ms =
        c->is_compact ? i64_min(c->segment_ms, c->max_compaction_lag_ms) : c->segment_ms;
    int64_t jitter_ms = i64_min(c->segment_jitter_ms, c->segment_ms);

    if (s->size == 0)
        return false;
    if (jitter_ms > 0)
        limit_ms -= (int64_t)(s->jitter_random % (uint64_t)jitter_ms);
    int64_t waited_ms = s->first_timestamp_ms >= 0 && max_timestamp_ms >= 0
                            ? max_timestamp_ms - s->first_timestamp_ms
                            : now_ms - s->created_wall_ms;
    return waited_ms > limit_ms;
}

/* A full segment of a log that is compacted to a few KiB would be read again and again by who loads
 * the log. That the others together are no larger keeps the work of compaction in proportion to
 * what is appended. */
static bool is_worth_compacting(const struct log *l)
{
    const struct log_segment *s = log_active(l);
    int64_t early_bytes = l->config.early_roll_bytes;

    return UNLIKELY(early_bytes > 0) && l->config.is_compact && s->size >= early_bytes &&
           s->size >= log_size(l) - s->size;
}

/* The first timestamp of a segment that was loaded is read when it is first asked for. */
static enum err load_first_timestamp(struct log_segment *s)
{
    struct batch_at b;

    if (s->first_timestamp_ms >= 0 || s->size == 0)
        return ERR_OK;
    enum err rc = segment_header_at(s, 0, s->size, &b);
    if (rc == ERR_OK)
        s->first_timestamp_ms = i64_max(b.max_timestamp_ms, 0);
    return rc == ERR_IO ? rc : ERR_OK;
}

int64_t log_segment_first_timestamp_ms(struct log_segment *s)
{
    return load_first_timestamp(s) == ERR_OK ? s->first_timestamp_ms : -1;
}

enum err log_roll_if_due(struct log *l, int64_t bytes, int64_t max_timestamp_ms,
                         int64_t first_offset, int64_t last_offset, int64_t now_ms)
{
    struct log_segment *s = log_active(l);

    enum err rc = load_first_timestamp(s);
    if (rc != ERR_OK)
        return rc;
    if (LIKELY(s->size <= l->config.segment_bytes - bytes &&
               last_offset - s->base_offset <= INT32_MAX &&
               !time_is_up(l, max_timestamp_ms, now_ms) && !index_is_full(l) &&
               !is_worth_compacting(l)))
        return ERR_OK;
    /* Where a compacted leader has a gap, the new segment begins with it, not behind it as Kafka's:
     * segments without a gap between them are known to have lost nothing. */
    int64_t base = last_offset - l->end_offset <= INT32_MAX ? l->end_offset
                                                            : i64_max(l->end_offset, first_offset);
    if (s->size == 0 && base == s->base_offset)
        return ERR_OK; /* a fresh one would be the same */
    return log_roll_at(l, base, now_ms);
}

static void preallocate(struct log *l, int fd)
{
    if (l->config.preallocate &&
        fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, l->config.segment_bytes) != 0)
        SLOG_EVERY(60000, WARN, "log", "preallocation failed", KV_S("dir", l->dir->path),
                   KV_ERRNO());
}

void log_take_snapshot(struct log *l, int64_t offset)
{
    struct pending_snapshot *p = xcalloc(1, sizeof *p);

    p->offset = offset;
    producer_state_encode(l->producers, &p->bytes);
    STAILQ_INSERT_TAIL(&l->snapshots, p, link);
    l->has_snapshots = true;
    l->unsnapshot_bytes = 0;
}

static enum err make_segment(struct log *l, int64_t base_offset, int64_t now_ms)
{
    struct log_segment *s = segment_new(l->folder, base_offset, now_ms);
    int fd;

    enum err rc = fault_point("log.roll.create");
    if (rc == ERR_OK)
        rc = segment_fd(s, O_CREAT | O_TRUNC, &fd);
    if (rc != ERR_OK) {
        segment_unref(&s);
        return rc;
    }
    preallocate(l, fd);
    segment_fd_done(s);
    s->is_index_known = true; /* there is nothing in it */
    log_segments_insert(l, s);
    l->is_folder_dirty = true;
    return ERR_OK;
}

enum err log_roll_at(struct log *l, int64_t base_offset, int64_t now_ms)
{
    enum err rc = ERR_OK;

    if (log_dir_is_offline(l->dir))
        return ERR_OFFLINE;
    if (l->segment_count > 0 && log_active(l)->base_offset == base_offset &&
        log_active(l)->size == 0)
        return ERR_OK;
    ASSERT(base_offset >= l->end_offset);
    if (l->segment_count > 0)
        rc = tail_finish_segment(l);
    if (rc == ERR_OK)
        rc = make_segment(l, base_offset, now_ms);
    if (rc != ERR_OK) {
        log_dir_fail(l->dir, "roll a segment", rc);
        return rc;
    }
    if (l->segment_count > 1)
        log_take_snapshot(l, base_offset);
    tail_reset(l);
    log_manager_post(l, LOG_WORK_FLUSH);
    log_manager_post_clean(l);
    return ERR_OK;
}

enum err log_roll(struct log *l, int64_t now_ms)
{
    return log_roll_at(l, l->end_offset, now_ms);
}

/* ---- writing */
static enum err write_batches(struct log *l, uint8_t *p, size_t len)
{
    struct log_segment *s = log_active(l);
    struct iovec v = {p, len};
    int fd;

    enum err rc = fault_point("log.append.write");
    if (rc == ERR_OK)
        rc = segment_fd(s, 0, &fd);
    if (rc == ERR_OK) {
        rc = fsx_pwritev_all(fd, &v, 1, s->size);
        segment_fd_done(s);
    }
    if (rc == ERR_OK)
        rc = fault_point("log.append.after_write");
    if (rc != ERR_OK)
        log_dir_fail(l->dir, "append to a segment", rc);
    return rc;
}

static enum err note_aborted(struct log *l, const struct txn_completed *t)
{
    struct index_txn_entry e = {.producer_id = t->producer_id,
                                .first_offset = t->first_offset,
                                .last_offset = t->last_offset,
                                .last_stable_offset = producer_state_lso_after(l->producers, t)};
    bool did_wait = fsx_thread_may_wait(true); /* the batch is written: no way back */
    enum err rc = index_txn_append(log_active(l), &e);

    (void)fsx_thread_may_wait(did_wait);
    if (rc != ERR_OK)
        log_dir_fail_midway(l->dir, "write an index of aborted transactions", rc);
    return rc;
}

enum err log_note_batch(struct log *l, const uint8_t *b, size_t len, int64_t now_ms)
{
    struct log_segment *s = log_active(l);
    struct txn_completed txn;
    int64_t last_offset = batch_last_offset(b), timestamp_ms = batch_max_timestamp(b);
    int64_t position = s->size;

    if (timestamp_ms > s->max_timestamp_ms && batch_count(b) > 0) {
        s->max_timestamp_ms = timestamp_ms;
        s->max_timestamp_offset = last_offset;
    }
    if (position == 0)
        s->first_timestamp_ms = timestamp_ms;
    tail_add(l, last_offset, position, now_ms);
    s->size += (int64_t)len;
    l->unsnapshot_bytes += (int64_t)len;
    l->end_offset = last_offset + 1;
    if (batch_leader_epoch(b) >= 0)
        (void)epoch_cache_assign(&l->epochs, batch_leader_epoch(b), batch_base_offset(b));
    if (producer_state_update(&l->producers, b, &txn) && txn.is_aborted) {
        enum err rc = note_aborted(l, &txn);
        if (rc != ERR_OK)
            return rc;
    }
    return tail_index(l, last_offset, position, (int64_t)len);
}

static void flush_when_much(struct log *l)
{
    enum { UNFLUSHED_BYTES_MAX = 16 << 20 };
    const struct log_segment *s = log_active(l);

    /* the position of the recovery point is not kept; the size at the last post is close enough */
    if (s->size - s->flush_posted_size >= UNFLUSHED_BYTES_MAX ||
        l->end_offset - l->recovery_point >= l->config.flush_messages) {
        log_active(l)->flush_posted_size = s->size;
        log_manager_post(l, LOG_WORK_FLUSH);
    }
}

/* ---- as leader */
static int16_t check_producer(const struct log *l, const struct log_batch *b,
                              struct log_append_result *out)
{
    struct producer_claim claim = {.producer_id = b->producer_id,
                                   .base_sequence = b->base_sequence,
                                   .last_offset_delta = b->last_offset_delta,
                                   .producer_epoch = b->producer_epoch,
                                   .is_transactional = b->is_transactional,
                                   .is_control = b->is_control,
                                   .origin = b->origin};
    struct producer_batch duplicate;
    bool commit;

    if (b->is_control && !marker_parse(b->records, &commit, &claim.coordinator_epoch))
        return KE_INVALID_RECORD;
    int16_t code = producer_state_check(l->producers, &claim, &out->is_duplicate, &duplicate);
    if (code == KE_NONE && out->is_duplicate) {
        out->base_offset = duplicate.last_offset - duplicate.offset_delta;
        out->last_offset = duplicate.last_offset;
        out->log_append_time_ms = b->log_append_time_ms >= 0 ? duplicate.timestamp_ms : -1;
    }
    return code;
}

int16_t log_append_validated(struct log *l, struct log_batch *b, int32_t leader_epoch,
                             int64_t now_ms, struct log_append_result *out)
{
    int64_t base = l->end_offset;

    *out = (struct log_append_result){.base_offset = -1,
                                      .last_offset = -1,
                                      .log_append_time_ms = b->log_append_time_ms,
                                      .log_start_offset = l->start_offset,
                                      .record_error_index = -1};
    if (UNLIKELY(log_dir_is_offline(l->dir)))
        return KE_KAFKA_STORAGE_ERROR;
    if (b->producer_id >= 0) {
        int16_t code = check_producer(l, b, out);
        if (code != KE_NONE || out->is_duplicate)
            return code;
    }
    if ((int64_t)b->len > l->config.segment_bytes)
        return KE_RECORD_LIST_TOO_LARGE;
    enum err rc = log_roll_if_due(l, (int64_t)b->len, b->max_timestamp_ms, base,
                                  base + b->last_offset_delta, now_ms);
    if (rc == ERR_OK) {
        batch_patch_offset_and_epoch(b->records, base, leader_epoch);
        rc = write_batches(l, b->records, b->len);
    }
    if (rc == ERR_NO_DESCRIPTORS) /* nothing was written; STORAGE_ERROR would end the partition */
        return err_to_kerr(rc);
    if (rc != ERR_OK || log_note_batch(l, b->records, b->len, now_ms) != ERR_OK)
        return KE_KAFKA_STORAGE_ERROR;
    out->base_offset = base;
    out->last_offset = base + b->last_offset_delta;
    flush_when_much(l);
    return KE_NONE;
}

int16_t log_append_leader(struct log *l, uint8_t *records, size_t len, int32_t leader_epoch,
                          enum log_append_origin origin, int16_t produce_version, int64_t now_ms,
                          struct log_append_result *out)
{
    struct log_policy policy;
    struct log_batch batch;

    log_policy_of(l, &policy);
    int16_t code =
        log_validate(&policy, records, len, origin, produce_version, now_ms, &batch, out);
    if (code != KE_NONE)
        return code;
    code = log_append_validated(l, &batch, leader_epoch, now_ms, out);
    log_batch_fini(&batch);
    return code;
}

/* ---- as follower */
struct fetched {
    size_t bytes; /* of whole batches */
    int64_t first_offset, last_offset, max_timestamp_ms;
};

static enum err check_fetched(const struct log *l, const uint8_t *p, size_t len,
                              struct fetched *out, struct errtext *why)
{
    int64_t next = l->end_offset;
    size_t total;

    *out = (struct fetched){.first_offset = -1, .last_offset = -1, .max_timestamp_ms = -1};
    while (out->bytes < len) {
        const uint8_t *b = p + out->bytes;
        enum batch_peek peek = batch_peek(b, len - out->bytes, &total);
        if (peek == BATCH_PARTIAL)
            break; /* a fetch may cut the last one */
        if (peek != BATCH_WHOLE) {
            errtext_set(why, "at byte %zu: not a record batch", out->bytes);
            return ERR_CORRUPT;
        }
        if (batch_base_offset(b) < next) {
            errtext_set(why, "batch at offset %" PRId64 " where at least %" PRId64 " is due",
                        batch_base_offset(b), next);
            return out->bytes == 0 ? ERR_OUT_OF_RANGE : ERR_CORRUPT;
        }
        if (batch_crc_compute(b) != batch_crc(b)) {
            errtext_set(why, "the CRC of the batch at offset %" PRId64 " does not match",
                        batch_base_offset(b));
            return ERR_CORRUPT;
        }
        if (out->bytes == 0)
            out->first_offset = batch_base_offset(b);
        out->last_offset = batch_last_offset(b);
        out->max_timestamp_ms = i64_max(out->max_timestamp_ms, batch_max_timestamp(b));
        next = out->last_offset + 1;
        out->bytes += total;
    }
    return ERR_OK;
}

enum err log_append_follower(struct log *l, uint8_t *records, size_t len, int64_t now_ms,
                             struct errtext *why)
{
    struct fetched f;

    if (log_dir_is_offline(l->dir))
        return ERR_OFFLINE;
    enum err rc = check_fetched(l, records, len, &f, why);
    if (rc != ERR_OK || f.bytes == 0)
        return rc;
    if (f.last_offset - f.first_offset > INT32_MAX || f.bytes > SEGMENT_BYTES_MAX) {
        errtext_set(why, "%zu bytes span more offsets than a segment holds", f.bytes);
        return ERR_CORRUPT;
    }
    rc = log_roll_if_due(l, (int64_t)f.bytes, f.max_timestamp_ms, f.first_offset, f.last_offset,
                         now_ms);
    if (rc == ERR_OK)
        rc = write_batches(l, records, f.bytes);
    for (size_t at = 0; rc == ERR_OK && at < f.bytes;) {
        size_t total = batch_total_bytes(records + at);
        rc = log_note_batch(l, records + at, total, now_ms);
        at += total;
    }
    if (rc != ERR_OK)
        errtext_set(why, "append to %s: %s", l->folder->path, err_reason(rc));
    else
        flush_when_much(l);
    return rc;
}
