/* SPDX-License-Identifier: Apache-2.0 */
/* Retention: which segments are old enough to go. Oldest first, stopping at the first that stays.
 */
#include "broker/log/log_internal.h"

#include "common/base/slog.h"

#include <stdio.h>

int64_t log_segment_age_base_ms(struct log_segment *s)
{
    int64_t next_offset, end;

    if (s->max_timestamp_ms < 0 && segment_scan_tail(s, &next_offset, &end) != ERR_OK)
        return INT64_MAX; /* not known: it is not old */
    return s->max_timestamp_ms >= 0 ? s->max_timestamp_ms : segment_written_ms(s);
}

static const char *reason_to_go(struct log *l, int32_t i, int64_t total_bytes, int64_t now_ms)
{
    const struct log_config *c = &l->config;
    struct log_segment *s = l->segments[i];
    bool is_last = i + 1 == l->segment_count;

    /* not flushed: neither is the producer snapshot that must take the segment's place */
    if (log_segment_end(l, i) > l->high_watermark || log_segment_end(l, i) > l->recovery_point)
        return NULL;
    if (!is_last && log_segment_end(l, i) <= l->start_offset)
        return "log start offset";
    if (!c->is_delete || (is_last && s->size == 0))
        return NULL;
    if (c->retention_ms >= 0) {
        int64_t base_ms = log_segment_age_base_ms(s);
        if (base_ms < now_ms && now_ms - base_ms > c->retention_ms)
            return "retention.ms";
    }
    if (c->retention_bytes >= 0 && total_bytes - s->size >= c->retention_bytes)
        return "retention.bytes";
    return NULL;
}

static void drop_old_snapshots(struct log *l, const struct log_segment *s)
{
    char path[SEGMENT_PATH_MAX];

    /* a snapshot at a removed base is of no use to any later recovery */
    log_snapshot_path(l, s->base_offset, path);
    (void)remove(path);
}

int log_delete_old(struct log *l, int64_t now_ms)
{
    int64_t bytes = log_size(l);
    const char *why = NULL;
    int32_t n = 0;

    if (log_dir_is_offline(l->dir))
        return 0;
    for (; n < l->segment_count; n++) {
        const char *reason = reason_to_go(l, n, bytes, now_ms);
        if (reason == NULL)
            break;
        why = reason;
        bytes -= l->segments[n]->size;
    }
    if (n == 0)
        return 0;
    if (n == l->segment_count && log_roll_at(l, l->end_offset, now_ms) != ERR_OK)
        return 0;
    if (n == l->segment_count) /* the roll had nothing to do: an empty one stays */
        n--;
    SLOG(INFO, "log", "deleting old segments", KV_STR("topic", log_topic(l)),
         KV_I("partition", l->partition), KV_I("segments", n),
         KV_I("new_start", l->segments[n]->base_offset), KV_S("because", why));
    for (int32_t i = 0; i < n; i++)
        drop_old_snapshots(l, l->segments[i]);
    if (log_remove_segments(l, 0, n) != ERR_OK)
        return 0;
    l->start_offset = i64_max(l->start_offset, l->segments[0]->base_offset);
    epoch_cache_truncate_start(&l->epochs, l->start_offset);
    log_check(l);
    return n;
}
