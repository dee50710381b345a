/* SPDX-License-Identifier: Apache-2.0 */
/* The end of the active segment in memory: a ring of recent batch positions, so that reads near the
 * end need no file, and index entries that are written some at a time. A crash loses pending
 * entries; recovery makes the indexes again from the recovery point on. */
#include "broker/log/log_internal.h"

static struct log_tail *tail_of(struct log *l)
{
    if (l->tail == NULL) {
        l->tail = xcalloc(1, sizeof *l->tail);
        l->tail->known_from = l->end_offset;
    }
    return l->tail;
}

void tail_add(struct log *l, int64_t last_offset, int64_t position, int64_t now_ms)
{
    struct log_tail *t = tail_of(l);

    if (t->count == TAIL_RING) {
        t->known_from = t->ring[t->first].last_offset + 1;
        t->first = (t->first + 1) % TAIL_RING;
        t->count--;
    }
    t->ring[(t->first + t->count++) % TAIL_RING] =
        (struct tail_batch){.last_offset = last_offset, .position = (int32_t)position};
    t->used_ms = now_ms;
}

bool tail_find(const struct log *l, int64_t offset, int64_t *position_out)
{
    const struct log_tail *t = l->tail;
    uint32_t lo = 0;

    if (offset >= l->end_offset && offset >= log_active(l)->base_offset) {
        *position_out = log_active(l)->size;
        return true;
    }
    if (t == NULL || offset < t->known_from)
        return false;
    for (uint32_t hi = t->count; lo < hi;) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (t->ring[(t->first + mid) % TAIL_RING].last_offset >= offset)
            hi = mid;
        else
            lo = mid + 1;
    }
    if (lo == t->count)
        return false;
    *position_out = t->ring[(t->first + lo) % TAIL_RING].position;
    return true;
}

bool tail_find_near(const struct log *l, int64_t offset, int64_t *position_out)
{
    int64_t relative = offset - log_active(l)->base_offset;

    for (int32_t i = l->tail == NULL ? 0 : l->tail->offset_count; i > 0; i--)
        if (l->tail->offsets[i - 1].relative_offset <= relative) {
            *position_out = l->tail->offsets[i - 1].position;
            return true;
        }
    return false;
}

void tail_reset(struct log *l)
{
    if (l->tail == NULL)
        return;
    ASSERT(l->tail->offset_count == 0 && l->tail->time_count == 0);
    l->tail->first = l->tail->count = 0;
    l->tail->known_from = l->end_offset;
}

enum err tail_flush_index(struct log *l)
{
    struct log_tail *t = l->tail;

    if (t == NULL || (t->offset_count == 0 && t->time_count == 0))
        return ERR_OK;
    enum err rc = index_append(log_active(l), t->offsets, t->offset_count, t->times, t->time_count);
    t->offset_count = t->time_count = 0;
    if (rc != ERR_OK)
        log_dir_fail(l->dir, "write an index", rc);
    return rc;
}

static int64_t last_time_entry_ms(const struct log *l)
{
    const struct log_tail *t = l->tail;
    return t != NULL && t->time_count > 0 ? t->times[t->time_count - 1].timestamp_ms
                                          : log_active(l)->index.last_time_ms;
}

static void add_time_entry(struct log *l)
{
    struct log_segment *s = log_active(l);

    if (s->max_timestamp_ms > last_time_entry_ms(l))
        l->tail->times[l->tail->time_count++] = (struct index_time_entry){
            s->max_timestamp_ms, (int32_t)(s->max_timestamp_offset - s->base_offset)};
}

enum err tail_index(struct log *l, int64_t last_offset, int64_t position, int64_t bytes)
{
    struct log_segment *s = log_active(l);

    if (s->unindexed_bytes > l->config.index_interval_bytes) {
        struct log_tail *t = tail_of(l);
        enum err rc = index_load(s);
        if (rc == ERR_OK && (t->offset_count == TAIL_PENDING || t->time_count == TAIL_PENDING))
            rc = tail_flush_index(l);
        if (rc == ERR_NO_DESCRIPTORS)
            return ERR_OK; /* entries are hints: the records are written, a lookup reads further */
        if (rc != ERR_OK)
            return rc;
        t->offsets[t->offset_count++] =
            (struct index_offset_entry){(int32_t)(last_offset - s->base_offset), (int32_t)position};
        add_time_entry(l);
        s->unindexed_bytes = 0;
    }
    s->unindexed_bytes += bytes;
    return ERR_OK;
}

enum err tail_finish_segment(struct log *l)
{
    enum err rc = index_load(log_active(l));

    if (rc != ERR_OK)
        return rc;
    (void)tail_of(l);
    if (l->tail->time_count == TAIL_PENDING)
        rc = tail_flush_index(l);
    if (rc != ERR_OK)
        return rc;
    if (log_active(l)->max_timestamp_ms >= 0)
        add_time_entry(l);
    return tail_flush_index(l);
}

enum err tail_drop(struct log *l)
{
    enum err rc = tail_flush_index(l);

    FREE_NULL(&l->tail);
    return rc;
}
