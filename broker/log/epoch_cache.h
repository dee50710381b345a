/* SPDX-License-Identifier: Apache-2.0 */
/* epoch_cache - where each leader epoch of a log begins, and the file leader-epoch-checkpoint.
 * Both columns rise strictly. Guarded by the partition's lock. KAFKA: LeaderEpochFileCache. */
#ifndef BROKER_LOG_EPOCH_CACHE_H
#define BROKER_LOG_EPOCH_CACHE_H

#include "common/base/base.h"

struct epoch_entry {
    int64_t start_offset;
    int32_t epoch;
};
struct epoch_cache {
    struct epoch_entry *entries;
    int32_t count, cap;
    bool is_dirty; /* differs from the file */
};

void epoch_cache_fini(struct epoch_cache *c);
/* No-op when the latest entry has this epoch and begins at or below start. Else drops entries at
 * the end with epoch >= or start >= these, and adds it. True: it changed. */
bool epoch_cache_assign(struct epoch_cache *c, int32_t epoch, int64_t start_offset);
int32_t epoch_cache_latest(const struct epoch_cache *c); /* -1: none */
/* Where epoch ends in a log that ends at log_end; (-1, -1) when undefined. */
void epoch_cache_end(const struct epoch_cache *c, int32_t epoch, int64_t log_end,
                     int32_t *epoch_out, int64_t *end_out);
int32_t epoch_cache_of(const struct epoch_cache *c, int64_t offset);    /* -1: unknown */
void epoch_cache_truncate_end(struct epoch_cache *c, int64_t offset);   /* start >= offset go */
void epoch_cache_truncate_start(struct epoch_cache *c, int64_t offset); /* older ones merge there */
void epoch_cache_clear(struct epoch_cache *c);
void epoch_cache_check(const struct epoch_cache *c); /* asserts the order */

/* The checkpoint's text, and back. Reading: NOT_FOUND, CORRUPT (the cache is then empty). */
void epoch_cache_format(const struct epoch_cache *c, struct buf *out);
NODISCARD enum err epoch_cache_read(struct epoch_cache *c, const char *path, struct errtext *why);

#endif
