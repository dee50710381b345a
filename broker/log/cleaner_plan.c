/* SPDX-License-Identifier: Apache-2.0 */
/* Which part of a log may be cleaned, and whether it is worth it. */
#include "broker/log/cleaner.h"

/* Closed segment i may be cleaned: it is committed, outside of open transactions, on disk (so that
 * no recovery begins below the end of what was compacted), and old enough. */
static bool is_cleanable(struct log *l, int32_t i, int64_t now_ms)
{
    int64_t end = log_segment_end(l, i), lag_ms = l->config.min_compaction_lag_ms;

    if (end > log_last_stable_offset(l) || end > l->recovery_point)
        return false;
    return lag_ms <= 0 || log_segment_age_base_ms(l->segments[i]) <= now_ms - lag_ms;
}

static bool is_overdue(struct log *l, int32_t from, int32_t to, int64_t now_ms)
{
    int64_t lag_ms = l->config.max_compaction_lag_ms;

    if (lag_ms >= now_ms)
        return false;
    for (int32_t i = from; i < to; i++) {
        int64_t t = log_segment_first_timestamp_ms(l->segments[i]);
        if (t > 0 && t < now_ms - lag_ms)
            return true;
    }
    return false;
}

bool clean_plan(struct log *l, int64_t now_ms, struct clean_plan *out, bool *has_more_out)
{
    int32_t closed = l->segment_count - 1, from, to;
    int64_t dirty = l->clean_offset;

    *out = (struct clean_plan){0};
    *has_more_out = false;
    if (!l->config.is_compact || l->is_uncleanable || log_dir_is_offline(l->dir))
        return false;
    if (dirty < l->start_offset || dirty > l->end_offset)
        dirty = l->start_offset;
    from = to = i32_max(log_segment_index(l, dirty), 0);
    while (to < closed && is_cleanable(l, to, now_ms))
        to++;
    *has_more_out = to < closed;
    if (to == from)
        return false;
    out->dirty_offset = dirty;
    out->end_offset = l->segments[to]->base_offset;
    for (int32_t i = 0; i < to; i++)
        *(i < from ? &out->clean_bytes : &out->dirty_bytes) += l->segments[i]->size;
    out->is_overdue = is_overdue(l, from, to, now_ms);
    return true;
}

double clean_plan_ratio(const struct clean_plan *p)
{
    int64_t all = p->clean_bytes + p->dirty_bytes;

    return all == 0 ? 0 : (double)p->dirty_bytes / (double)all;
}

bool clean_plan_is_due(const struct clean_plan *p, const struct log_config *c)
{
    return p->is_overdue || clean_plan_ratio(p) > c->min_cleanable_dirty_ratio;
}
