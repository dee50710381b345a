/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/group/lag_table.h"

#include "common/base/hash.h"

struct lag_entry {
    UT_hash_handle hh;
    struct lag_history history;
    bool is_wanted;
    char key[]; /* partition number, then the topic's bytes */
};

struct lag_table {
    struct lag_entry *entries;
};

void lag_history_add(struct lag_history *h, int64_t wall_ms, int64_t end_offset)
{
    struct lag_sample *last = h->count > 0 ? &h->v[h->count - 1] : NULL;

    if (last != NULL && wall_ms <= last->wall_ms)
        return;
    if (last != NULL && end_offset < last->end_offset) {
        h->count = 0;
    } else if (h->count >= 2 && last->end_offset == end_offset &&
               h->v[h->count - 2].end_offset == end_offset) {
        last->wall_ms = wall_ms; /* a flat stretch needs its two ends only */
        return;
    }
    if (h->count == LAG_SAMPLES) {
        int32_t kept = 1;

        for (int32_t i = 1; i < LAG_SAMPLES; i++)
            if (i >= LAG_SAMPLES / 2 || i % 2 == 0)
                h->v[kept++] = h->v[i];
        h->count = kept;
    }
    h->v[h->count++] = (struct lag_sample){wall_ms, end_offset};
}

/* When the end passed offset: between the samples before and at i, as if it had moved evenly. */
static int64_t passed_ms(const struct lag_sample *a, const struct lag_sample *b, int64_t offset)
{
    double share = (double)(offset - a->end_offset) / (double)(b->end_offset - a->end_offset);

    return a->wall_ms + (int64_t)(share * (double)(b->wall_ms - a->wall_ms));
}

struct lag lag_of(const struct lag_history *h, int64_t offset, int64_t now_wall_ms)
{
    struct lag lag = {.records = -1};
    int32_t i = 0;

    if (h == NULL || h->count == 0)
        return lag;
    lag.records = i64_max(h->v[h->count - 1].end_offset - offset, 0);
    if (lag.records == 0)
        return lag;
    while (h->v[i].end_offset <= offset)
        i++; /* ends: the last one lies beyond the offset */
    lag.is_at_least = i == 0;
    int64_t since_ms = i == 0 ? h->v[0].wall_ms : passed_ms(&h->v[i - 1], &h->v[i], offset);
    lag.ms = i64_max(now_wall_ms - since_ms, 0);
    return lag;
}

static struct lag_entry *find(const struct lag_table *t, const char *key, size_t len)
{
    struct lag_entry *e;

    HASH_FIND(hh, t->entries, key, len, e);
    return e;
}

enum { LAG_KEY_MAX = 4 + 255 };

/* 0: no topic has such a name. */
static size_t make_key(char *out, struct str topic, int32_t partition)
{
    if (topic.len <= 0 || topic.len > LAG_KEY_MAX - 4)
        return 0;
    memcpy(out, &partition, 4);
    memcpy(out + 4, topic.p, (size_t)topic.len);
    return 4 + (size_t)topic.len;
}

struct lag_table *lag_table_new(void)
{
    return xcalloc(1, sizeof(struct lag_table));
}

static void remove_entry(struct lag_table *t, struct lag_entry *e)
{
    HASH_DEL(t->entries, e);
    mem_free(e);
}

void lag_table_free(struct lag_table **t)
{
    struct lag_entry *e, *next;

    if (*t == NULL)
        return;
    HASH_ITER (hh, (*t)->entries, e, next)
        remove_entry(*t, e);
    FREE_NULL(t);
}

const struct lag_history *lag_table_find(const struct lag_table *t, struct str topic,
                                         int32_t partition)
{
    char key[LAG_KEY_MAX];
    size_t len = make_key(key, topic, partition);
    const struct lag_entry *e = len == 0 ? NULL : find(t, key, len);

    return e == NULL ? NULL : &e->history;
}

struct lag_history *lag_table_want(struct lag_table *t, struct str topic, int32_t partition)
{
    char key[LAG_KEY_MAX];
    size_t len = make_key(key, topic, partition);
    struct lag_entry *e;

    if (len == 0)
        return NULL;
    e = find(t, key, len);
    if (e == NULL) {
        e = xcalloc(1, sizeof *e + len);
        memcpy(e->key, key, len);
        HASH_ADD(hh, t->entries, key, len, e);
    }
    e->is_wanted = true;
    return &e->history;
}

void lag_table_sweep(struct lag_table *t)
{
    struct lag_entry *e, *next;

    HASH_ITER (hh, t->entries, e, next) {
        if (!e->is_wanted)
            remove_entry(t, e);
        else
            e->is_wanted = false;
    }
}

int32_t lag_table_count(const struct lag_table *t)
{
    return (int32_t)HASH_COUNT(t->entries);
}
