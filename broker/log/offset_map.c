/* SPDX-License-Identifier: Apache-2.0 */
/* Open addressing by linear probing, in shards. */
#include "broker/log/offset_map.h"

#include "common/base/keyed_hash.h"
#include "common/base/uuid.h"

enum { FIRST_CAP = 8 };

void offset_map_init(struct offset_map *m, size_t bytes_max, double load_factor)
{
    struct uuid u = uuid_random(), w = uuid_random();

    *m = (struct offset_map){.bytes_max = bytes_max,
                             .load_factor = load_factor < 0.1    ? 0.1
                                            : load_factor > 0.95 ? 0.95
                                                                 : load_factor};
    for (size_t i = 0; i < ARRAY_LEN(m->secret); i++)
        m->secret[i] = be64_load(u.b + 8 * i) ^ be64_load(w.b + 8 - 8 * i);
}

void offset_map_fini(struct offset_map *m)
{
    for (size_t i = 0; i < OFFSET_MAP_SHARDS; i++)
        FREE_NULL(&m->shards[i].slots);
    *m = (struct offset_map){0};
}

static void hash_key(const struct offset_map *m, struct bytes key, uint64_t out[2])
{
    ASSERT(key.len >= 0);
    siphash128(m->secret, key.p, (size_t)key.len, out);
}

/* The slot that holds the hash, or the empty one where it belongs. There is always an empty one. */
static struct offset_map_slot *probe(const struct offset_map_shard *s, const uint64_t hash[2])
{
    uint32_t i = (uint32_t)(((hash[0] >> 32) * s->cap) >> 32); /* the high half, in proportion */

    while (s->slots[i].offset_plus_one != 0 &&
           (s->slots[i].hash[0] != hash[0] || s->slots[i].hash[1] != hash[1]))
        i = i + 1 == s->cap ? 0 : i + 1;
    return &s->slots[i];
}

/* By a half, so that the last growth before the limit wastes little of it. */
static bool grow(struct offset_map *m, struct offset_map_shard *s)
{
    uint64_t cap = s->cap == 0 ? FIRST_CAP : s->cap + s->cap / 2;
    struct offset_map_shard bigger = {.used = s->used};
    size_t bytes = (size_t)cap * sizeof *s->slots, old_bytes = s->cap * sizeof *s->slots;

    if (cap > INT32_MAX || m->bytes + bytes > m->bytes_max)
        return false;
    bigger.slots = try_malloc(bytes);
    if (bigger.slots == NULL)
        return false;
    memset(bigger.slots, 0, bytes);
    bigger.cap = (uint32_t)cap;
    for (uint32_t i = 0; i < s->cap; i++)
        if (s->slots[i].offset_plus_one != 0)
            *probe(&bigger, s->slots[i].hash) = s->slots[i];
    mem_free(s->slots);
    *s = bigger;
    m->bytes += bytes - old_bytes;
    return true;
}

bool offset_map_put(struct offset_map *m, struct bytes key, int64_t offset)
{
    uint64_t hash[2];

    hash_key(m, key, hash);
    struct offset_map_shard *s = &m->shards[hash[1] % OFFSET_MAP_SHARDS];
    struct offset_map_slot *slot = s->cap == 0 ? NULL : probe(s, hash);
    if (slot == NULL || slot->offset_plus_one == 0) {
        if ((double)(s->used + 1) > (double)s->cap * m->load_factor) {
            if (!grow(m, s))
                return false;
            slot = probe(s, hash);
        }
        s->used++;
        m->count++;
    }
    ASSERT(offset >= 0 && offset + 1 > slot->offset_plus_one);
    *slot = (struct offset_map_slot){{hash[0], hash[1]}, offset + 1};
    return true;
}

int64_t offset_map_get(const struct offset_map *m, struct bytes key)
{
    uint64_t hash[2];

    hash_key(m, key, hash);
    const struct offset_map_shard *s = &m->shards[hash[1] % OFFSET_MAP_SHARDS];
    return s->cap == 0 ? -1 : probe(s, hash)->offset_plus_one - 1;
}
