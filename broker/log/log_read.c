/* SPDX-License-Identifier: Apache-2.0 */
/* Reading: ranges of bytes, aborted transactions, offsets by time. */
#include "broker/log/log_internal.h"

#include "common/record/batch.h"
#include "common/record/compress.h"

/* Position in segment i of the first batch with last offset >= offset. NOT_FOUND: none. */
static enum err find_position(const struct log *l, int32_t i, int64_t offset, int64_t *position_out)
{
    struct log_segment *s = l->segments[i];
    struct batch_at b;

    if (i == l->segment_count - 1 && tail_find(l, offset, position_out))
        return ERR_OK;
    if (offset <= s->base_offset) {
        *position_out = 0;
        return s->size > 0 ? ERR_OK : ERR_NOT_FOUND;
    }
    enum err rc = i == l->segment_count - 1 && tail_find_near(l, offset, position_out)
                      ? segment_find_from(s, *position_out, s->size, offset, &b)
                      : segment_find(s, s->size, offset, &b);
    if (rc == ERR_OK)
        *position_out = b.position;
    return rc;
}

/* Where reading must stop in segment i: before the first batch that reaches limit_offset. */
static enum err find_limit(const struct log *l, int32_t i, int64_t limit_offset,
                           int64_t *position_out)
{
    struct log_segment *s = l->segments[i];

    *position_out = s->size;
    if (limit_offset >= log_segment_end(l, i))
        return ERR_OK;
    enum err rc = find_position(l, i, limit_offset, position_out);
    if (rc == ERR_NOT_FOUND) { /* offsets at the end were compacted away */
        *position_out = s->size;
        rc = ERR_OK;
    }
    return rc;
}

/* Cuts to whole batches where that is free, and makes room for the first one when asked to. */
static enum err fit(const struct log *l, int32_t i, int64_t from, int64_t limit, int64_t max_bytes,
                    unsigned flags, int64_t *length_out)
{
    struct log_segment *s = l->segments[i];
    struct batch_at b;

    *length_out = i64_min(i64_max(max_bytes, 0), limit - from);
    if (*length_out == limit - from || (flags & LOG_READ_AT_LEAST_ONE) == 0)
        return ERR_OK;
    if (*length_out >= l->config.max_message_bytes) /* cheaper than to look */
        return ERR_OK;
    enum err rc = segment_header_at(s, from, s->size, &b);
    if (rc == ERR_OK)
        *length_out = i64_max(*length_out, b.total_bytes);
    return rc;
}

enum err log_read(struct log *l, int64_t offset, int64_t limit_offset, int64_t max_bytes,
                  unsigned flags, struct log_range *out)
{
    int64_t from, limit, length;
    enum err rc;

    *out = (struct log_range){0};
    if (offset < l->start_offset || offset > l->end_offset)
        return ERR_OUT_OF_RANGE;
    if (log_dir_is_offline(l->dir))
        return ERR_OFFLINE;
    if (offset >= limit_offset)
        return ERR_OK;
    int32_t i = log_segment_index(l, offset);
    for (rc = ERR_NOT_FOUND; i < l->segment_count; i++) {
        rc = find_position(l, i, offset, &from);
        if (rc != ERR_NOT_FOUND)
            break;
    }
    if (rc == ERR_NOT_FOUND) /* nothing at or past offset has been written */
        return ERR_OK;
    if (rc == ERR_OK)
        rc = find_limit(l, i, limit_offset, &limit);
    if (rc != ERR_OK || limit <= from)
        return rc;
    rc = fit(l, i, from, limit, max_bytes, flags, &length);
    if (rc != ERR_OK || length == 0)
        return rc;
    segment_ref(l->segments[i]);
    *out = (struct log_range){.segment = l->segments[i], .position = from, .length = length};
    return ERR_OK;
}

/* A position for an offset that costs no file access: exact near the end, else in proportion. */
static int64_t guess_position(const struct log *l, int32_t i, int64_t offset)
{
    const struct log_segment *s = l->segments[i];
    int64_t end = log_segment_end(l, i), position;

    if (offset >= end)
        return s->size;
    if (offset <= s->base_offset)
        return 0;
    if (i == l->segment_count - 1 && tail_find(l, offset, &position))
        return position;
    double share = (double)(offset - s->base_offset) / (double)(end - s->base_offset);
    return (int64_t)(share * (double)s->size);
}

int64_t log_bytes_between(struct log *l, int64_t from_offset, int64_t to_offset)
{
    int32_t i = log_segment_index(l, i64_max(from_offset, l->segments[0]->base_offset));
    int32_t last = log_segment_index(l, to_offset);
    int64_t bytes = 0;

    if (to_offset <= from_offset)
        return 0;
    for (int32_t k = i; k <= last; k++)
        bytes += guess_position(l, k, to_offset) - (k == i ? guess_position(l, k, from_offset) : 0);
    /* never 0 when there is something to read: the guess may round a small batch away */
    return i64_max(bytes, 1);
}

/* ---- aborted transactions */
struct aborted_search {
    int64_t from, upper_bound;
    struct log_aborted *found;
    int32_t count, cap;
    bool is_complete;
};

static bool visit_aborted(void *arg, const struct index_txn_entry *e)
{
    struct aborted_search *a = arg;

    if (e->last_offset >= a->from && e->first_offset < a->upper_bound) {
        if (a->count == a->cap) {
            a->cap = a->cap == 0 ? 8 : a->cap * 2;
            a->found = xrealloc(a->found, (size_t)a->cap * sizeof *a->found);
        }
        a->found[a->count++] = (struct log_aborted){e->producer_id, e->first_offset};
    }
    a->is_complete = e->last_stable_offset >= a->upper_bound;
    return !a->is_complete;
}

static enum err upper_bound_of(struct log *l, int32_t i, const struct log_range *range,
                               int64_t *out)
{
    struct log_segment *s = l->segments[i];
    int64_t end = range->position + range->length;

    *out = -1;
    enum err rc = i == l->segment_count - 1 ? tail_flush_index(l) : ERR_OK;
    if (rc == ERR_OK)
        rc = index_offset_above(s, end, out);
    if (rc == ERR_OK && *out < 0)
        *out = log_segment_end(l, i);
    return rc;
}

enum err log_aborted_find(struct log *l, int64_t offset, const struct log_range *range,
                          struct log_aborted **out, int32_t *count_out)
{
    struct aborted_search a = {.from = offset};
    int32_t i = 0;

    *out = NULL;
    *count_out = 0;
    if (range->segment == NULL)
        return ERR_OK;
    while (i < l->segment_count && l->segments[i] != range->segment)
        i++;
    if (i == l->segment_count) /* deleted meanwhile: the reader will come again */
        return ERR_OK;
    enum err rc = upper_bound_of(l, i, range, &a.upper_bound);
    for (; rc == ERR_OK && i < l->segment_count && !a.is_complete; i++)
        rc = index_txn_each(l->segments[i], visit_aborted, &a);
    if (rc != ERR_OK) {
        mem_free(a.found);
        return rc;
    }
    *out = a.found;
    *count_out = a.count;
    return ERR_OK;
}

/* ---- offsets by segment */
int32_t log_marks(const struct log *l, struct log_mark **out)
{
    struct log_mark *m = xcalloc((size_t)l->segment_count + 1, sizeof *m);
    int32_t n = 0;

    if (log_active(l)->size > 0)
        m[n++].offset = l->end_offset;
    for (int32_t i = l->segment_count - 1; i >= 0; i--, n++) {
        m[n].offset = i64_max(l->segments[i]->base_offset, l->start_offset);
        m[n].segment = l->segments[i];
        segment_ref(m[n].segment);
    }
    *out = m;
    return n;
}

int64_t log_mark_time(const struct log_mark *m, int64_t now_ms)
{
    return m->segment == NULL ? now_ms : segment_written_ms(m->segment);
}

void log_marks_free(struct log_mark *marks, int32_t count)
{
    for (int32_t i = 0; i < count; i++)
        segment_unref(&marks[i].segment);
    mem_free(marks);
}

/* ---- offsets by time */
static enum err segment_max_timestamp(struct log *l, int32_t i, int64_t *out)
{
    struct log_segment *s = l->segments[i];
    int64_t next_offset, end;
    enum err rc = s->max_timestamp_ms >= 0 ? ERR_OK : segment_scan_tail(s, &next_offset, &end);

    *out = s->max_timestamp_ms;
    return rc;
}

/* The first record in a batch at or past both. */
static enum err search_batch(const struct buf *batch, int64_t target_ms, int64_t start_offset,
                             struct log_time_offset *out)
{
    enum { UNFOLDED_BYTES_MAX = 256 << 20 };
    struct buf plain = {0};
    struct record_iter it;
    struct record r;

    enum err rc = codec_decompress(batch_codec(batch->p), 2, batch->p + BATCH_HEADER_BYTES,
                                   batch->len - BATCH_HEADER_BYTES, UNFOLDED_BYTES_MAX, &plain);
    if (rc == ERR_OK) {
        record_iter_init(&it, batch->p, plain.p, plain.len);
        while ((rc = record_next(&it, &r)) == ERR_OK)
            if (r.timestamp_ms >= target_ms && r.offset >= start_offset)
                break;
    }
    if (rc == ERR_OK)
        *out = (struct log_time_offset){.timestamp_ms = r.timestamp_ms,
                                        .offset = r.offset,
                                        .leader_epoch = batch_leader_epoch(batch->p)};
    buf_fini(&plain);
    return rc;
}

static enum err search_segment(struct log *l, int32_t i, int64_t target_ms,
                               struct log_time_offset *out)
{
    struct log_segment *s = l->segments[i];
    struct buf batch = {0};
    struct batch_at b;
    int64_t near;

    enum err rc = i == l->segment_count - 1 ? tail_flush_index(l) : ERR_OK;
    if (rc == ERR_OK)
        rc = index_time_floor(s, target_ms - 1, &near);
    if (rc == ERR_OK)
        rc = segment_find(s, s->size, near, &b);
    while (rc == ERR_OK) {
        if (b.max_timestamp_ms >= target_ms && b.last_offset >= l->start_offset) {
            rc = segment_read_batch(s, &b, &batch);
            if (rc == ERR_OK)
                rc = search_batch(&batch, target_ms, l->start_offset, out);
            if (rc != ERR_NOT_FOUND)
                break;
        }
        rc = segment_header_at(s, b.position + b.total_bytes, s->size, &b);
    }
    buf_fini(&batch);
    return rc;
}

static enum err max_timestamp(struct log *l, int64_t *out)
{
    enum err rc = ERR_OK;
    int64_t t;

    *out = -1;
    for (int32_t i = 0; rc == ERR_OK && i < l->segment_count; i++) {
        rc = segment_max_timestamp(l, i, &t);
        *out = i64_max(*out, t);
    }
    return rc;
}

enum err log_offset_for_time(struct log *l, int64_t target_ms, struct log_time_offset *out)
{
    enum { MAX_TIMESTAMP = -3 };
    enum err rc = ERR_OK;
    int64_t largest;

    *out = (struct log_time_offset){.timestamp_ms = -1, .offset = -1, .leader_epoch = -1};
    if (target_ms == MAX_TIMESTAMP) {
        rc = max_timestamp(l, &target_ms);
        if (rc != ERR_OK || target_ms < 0)
            return rc;
    }
    for (int32_t i = 0; rc == ERR_OK && i < l->segment_count; i++) {
        rc = segment_max_timestamp(l, i, &largest);
        if (rc != ERR_OK || largest < target_ms)
            continue;
        rc = search_segment(l, i, target_ms, out);
        if (rc == ERR_OK)
            return ERR_OK;
        if (rc == ERR_NOT_FOUND)
            rc = ERR_OK;
    }
    return rc;
}
