/* SPDX-License-Identifier: Apache-2.0 */
/* A log's small things: offsets, epochs, configuration, segments' table, ranges. */
#include "broker/log/log_internal.h"

#include "broker/log/checkpoint.h"
#include "common/base/fsx.h"
#include "common/base/slog.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

void log_dir_fail(struct log_dir *d, const char *what, enum err rc)
{
    if (rc == ERR_NO_DESCRIPTORS)
        SLOG_EVERY(1000, ERROR, "log", "operation failed, to be retried: no file descriptor is free",
                   KV_S("dir", d->path), KV_S("operation", what));
    else
        log_dir_fail_midway(d, what, rc);
}

void log_dir_fail_midway(struct log_dir *d, const char *what, enum err rc)
{
    if (atomic_exchange(&d->is_offline, true))
        return;
    SLOG(ERROR, "log", "log directory goes offline", KV_S("dir", d->path), KV_S("while", what),
         KV_ERR(rc));
    log_manager_dir_failed(d->manager);
}

void log_check(const struct log *l)
{
    ASSERT(l->segment_count > 0);
    ASSERT(l->start_offset >= 0 && l->start_offset <= l->high_watermark);
    ASSERT(l->high_watermark <= l->end_offset);
    ASSERT(log_active(l)->base_offset <= l->end_offset);
    ASSERT(l->segments[0]->base_offset <= l->start_offset);
    for (int32_t i = 1; i < l->segment_count; i++)
        ASSERT(l->segments[i - 1]->base_offset < l->segments[i]->base_offset);
    epoch_cache_check(&l->epochs);
}

/* ---- segments */
int32_t log_segment_index(const struct log *l, int64_t offset)
{
    int32_t lo = 0, hi = l->segment_count;

    if (LIKELY(offset >= log_active(l)->base_offset))
        return l->segment_count - 1;
    while (lo < hi) {
        int32_t mid = lo + (hi - lo) / 2;
        if (l->segments[mid]->base_offset <= offset)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo - 1;
}

void log_segments_insert(struct log *l, struct log_segment *s)
{
    ASSERT(l->segment_count == 0 || log_active(l)->base_offset < s->base_offset);
    if (l->segment_count == l->segment_cap) {
        l->segment_cap = l->segment_cap == 0 ? 1 : l->segment_cap * 2;
        l->segments = xrealloc(l->segments, (size_t)l->segment_cap * sizeof(struct log_segment *));
    }
    l->segments[l->segment_count++] = s;
}

/* ---- offsets */
int64_t log_start_offset(const struct log *l)
{
    return l->start_offset;
}
int64_t log_end_offset(const struct log *l)
{
    return l->end_offset;
}
int64_t log_recovery_point(const struct log *l)
{
    return l->recovery_point;
}
int64_t log_high_watermark(const struct log *l)
{
    return l->high_watermark;
}

int64_t log_size(const struct log *l)
{
    int64_t n = 0;

    for (int32_t i = 0; i < l->segment_count; i++)
        n += l->segments[i]->size;
    return n;
}

void log_set_high_watermark(struct log *l, int64_t hw)
{
    ASSERT(hw >= l->start_offset && hw <= l->end_offset);
    l->high_watermark = hw;
    producer_state_set_hw(l->producers, hw);
}

int64_t log_first_unstable_offset(const struct log *l)
{
    return producer_state_first_unstable(l->producers);
}

int64_t log_last_stable_offset(const struct log *l)
{
    int64_t unstable = producer_state_first_unstable(l->producers);
    return unstable < 0 ? l->high_watermark : i64_min(unstable, l->high_watermark);
}

bool log_same_segment(const struct log *l, int64_t a_offset, int64_t b_offset)
{
    return log_segment_index(l, a_offset) == log_segment_index(l, b_offset);
}

enum err log_set_start_offset(struct log *l, int64_t offset)
{
    if (offset > l->high_watermark)
        return ERR_OUT_OF_RANGE;
    if (offset <= l->start_offset)
        return ERR_OK;
    l->start_offset = offset;
    epoch_cache_truncate_start(&l->epochs, offset);
    return ERR_OK;
}

/* ---- leader epochs. The file follows in the background: what it lacks after a crash is found
 * again in the batches from the recovery point on, which never passes an epoch that is not on
 * disk (log_flush.c). */
enum err log_epoch_assign(struct log *l, int32_t epoch, int64_t start_offset)
{
    if (log_dir_is_offline(l->dir))
        return ERR_OFFLINE;
    (void)epoch_cache_assign(&l->epochs, epoch, start_offset);
    return ERR_OK;
}

int32_t log_epoch_latest(const struct log *l)
{
    return epoch_cache_latest(&l->epochs);
}

void log_epoch_end(const struct log *l, int32_t epoch, int32_t *epoch_out, int64_t *end_out)
{
    epoch_cache_end(&l->epochs, epoch, l->end_offset, epoch_out, end_out);
}

int32_t log_epoch_of(const struct log *l, int64_t offset)
{
    return epoch_cache_of(&l->epochs, offset);
}

/* ---- configuration and identity */
void log_config_defaults(struct log_config *c)
{
    *c = (struct log_config){.segment_bytes = 1 << 30,
                             .segment_ms = 7LL * 24 * 3600 * 1000,
                             .retention_bytes = -1,
                             .retention_ms = 7LL * 24 * 3600 * 1000,
                             .flush_messages = INT64_MAX,
                             .flush_ms = INT64_MAX,
                             .file_delete_delay_ms = 60000,
                             .delete_retention_ms = 24LL * 3600 * 1000,
                             .max_compaction_lag_ms = INT64_MAX,
                             .timestamp_before_max_ms = INT64_MAX,
                             .timestamp_after_max_ms = INT64_MAX,
                             .min_cleanable_dirty_ratio = 0.5,
                             .max_message_bytes = 1048588,
                             .index_interval_bytes = 4096,
                             .segment_index_bytes = 10 << 20,
                             .min_insync_replicas = 1,
                             .compression_type = -1,
                             .is_delete = true,
                             .downconversion_enable = true};
}

void log_set_config(struct log *l, const struct log_config *c)
{
    l->config = *c;
    log_manager_post_clean(l); /* it may be compacted from now on */
}

const struct log_config *log_config_of(const struct log *l)
{
    return &l->config;
}

void log_policy_of(const struct log *l, struct log_policy *out)
{
    const struct log_config *c = &l->config;

    *out = (struct log_policy){.timestamp_before_max_ms = c->timestamp_before_max_ms,
                               .timestamp_after_max_ms = c->timestamp_after_max_ms,
                               .max_message_bytes = c->max_message_bytes,
                               .compression_type = c->compression_type,
                               .is_compact = c->is_compact,
                               .is_log_append_time = c->is_log_append_time};
}

struct uuid log_topic_id(const struct log *l)
{
    return l->topic_id;
}

enum err log_set_topic_id(struct log *l, struct uuid id)
{
    if (log_dir_is_offline(l->dir))
        return ERR_OFFLINE;
    enum err rc = partition_metadata_write(l->folder->path, id);
    if (rc != ERR_OK) {
        log_dir_fail(l->dir, "write partition.metadata", rc);
        return rc;
    }
    l->topic_id = id;
    l->is_metadata_dirty = true;
    return ERR_OK;
}

const char *log_dir_of(const struct log *l)
{
    return l->dir->path;
}
bool log_is_offline(const struct log *l)
{
    return log_dir_is_offline(l->dir);
}
struct str log_topic(const struct log *l)
{
    return (struct str){l->name, l->topic_len};
}
int32_t log_partition(const struct log *l)
{
    return l->partition;
}
int32_t log_producers(const struct log *l, struct log_producer **out)
{
    return producer_state_list(l->producers, out);
}

/* ---- ranges */
int log_range_fd(struct log_range *r)
{
    int fd;

    ASSERT(r->segment != NULL);
    if (r->has_fd)
        return r->segment->file.fd; /* ours to read: a user keeps it as it is */
    if (segment_fd(r->segment, 0, &fd) != ERR_OK)
        return -1;
    r->has_fd = true;
    return fd;
}

int log_range_fd_optional(struct log_range *r)
{
    int fd;

    ASSERT(r->segment != NULL);
    if (r->has_fd)
        return r->segment->file.fd;
    if (segment_fd_optional(r->segment, &fd) != ERR_OK)
        return -1;
    r->has_fd = true;
    return fd;
}

int log_range_try_fd(struct log_range *r)
{
    int fd = r->has_fd ? r->segment->file.fd : fd_cache_try(&r->segment->file);

    r->has_fd = fd >= 0;
    return fd;
}

bool log_range_is_warm(struct log_range *r)
{
    int64_t ends[2] = {r->position, r->position + r->length - 1};
    char byte;

    if (r->length <= 0)
        return true;
    int fd = log_range_try_fd(r);
    if (fd < 0)
        return false;
    for (size_t i = 0; i < ARRAY_LEN(ends); i++) {
        struct iovec v = {&byte, 1};
        if (preadv2(fd, &v, 1, ends[i], RWF_NOWAIT) != 1)
            return false;
    }
    return true;
}

void log_range_warm(struct log_range *r)
{
    enum { STEP_BYTES = 64 * 1024 };
    int fd = r->length <= 0 ? -1 : log_range_fd_optional(r);

    if (fd < 0)
        return;
    (void)readahead(fd, r->position, (size_t)r->length); /* a hint; the reads below do the work */
    char *scratch = try_malloc(STEP_BYTES);
    for (int64_t at = 0; scratch != NULL && at < r->length; at += STEP_BYTES)
        if (pread(fd, scratch, (size_t)i64_min(STEP_BYTES, r->length - at), r->position + at) <= 0)
            break;
    mem_free(scratch);
}

enum err log_range_read(struct log_range *r, int64_t at, void *dst, size_t n, size_t *got_out)
{
    int fd = log_range_fd(r);

    *got_out = 0;
    return fd < 0 ? ERR_IO : fsx_pread(fd, dst, n, at, got_out);
}

void log_range_release(struct log_range *r)
{
    if (r->segment == NULL)
        return;
    if (r->has_fd)
        segment_fd_done(r->segment);
    segment_unref(&r->segment);
    *r = (struct log_range){0};
}
