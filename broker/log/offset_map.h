/* SPDX-License-Identifier: Apache-2.0 */
/* offset_map - the cleaner's memory of one run: for each key of the dirty part the offset of its
 * last record. Keys are kept as 128-bit hashes made with a secret of the run (SipHash-2-4), so that
 * nobody can write two keys that meet. The map grows with the keys it holds, up to a limit; it is
 * freed at the end of the run. Not thread-safe. KAFKA: SkimpyOffsetMap. */
#ifndef BROKER_LOG_OFFSET_MAP_H
#define BROKER_LOG_OFFSET_MAP_H

#include "common/base/base.h"

enum { OFFSET_MAP_SHARDS = 64, OFFSET_MAP_SLOT_BYTES = 24 };

struct offset_map_slot {
    uint64_t hash[2];
    int64_t offset_plus_one; /* 0: empty */
};
/* A part of the map that grows for itself, so that growing needs little memory beside the map. */
struct offset_map_shard {
    struct offset_map_slot *slots;
    uint32_t cap, used;
};
struct offset_map {
    struct offset_map_shard shards[OFFSET_MAP_SHARDS];
    uint64_t secret[2];
    size_t bytes, bytes_max;
    double load_factor;
    int64_t count;
};

/* bytes_max: limit of the slots' memory. load_factor: how full a shard may become, 0.1 to 0.95. */
void offset_map_init(struct offset_map *m, size_t bytes_max, double load_factor);
void offset_map_fini(struct offset_map *m);
/* Notes that the key's last record so far is at offset; offsets come in rising order. False: the
 * map is full (or there is no memory) and nothing was noted. */
NODISCARD bool offset_map_put(struct offset_map *m, struct bytes key, int64_t offset);
/* -1: not in the map. */
int64_t offset_map_get(const struct offset_map *m, struct bytes key);

#endif
