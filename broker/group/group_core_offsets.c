/* SPDX-License-Identifier: Apache-2.0 */
/* Committed offsets: the cache, and OffsetCommit (docs/reference/group-coordinator.md,
 * "Offsets: commit"). An entry changes only when its record is in the log, and the record with the
 * highest batch offset wins, as it does when the log is loaded. */
#include "broker/group/group_core_internal.h"

#include "broker/group/group_records.h"

/* ---- the cache */

struct coord_topic *coord_topic_find(const struct coord_group *g, struct str name)
{
    struct coord_topic *t = NULL;

    HASH_FIND(hh, g->topics, coord_key(name), coord_key_len(name), t);
    return t;
}

/* Where the partition is, or would be put. */
static int32_t position(const struct coord_topic *t, int32_t partition)
{
    int32_t low = 0, high = t->count;

    while (low < high) {
        int32_t mid = low + (high - low) / 2;
        if (t->v[mid]->partition < partition)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

struct coord_offset *coord_offset_find(const struct coord_group *g, struct str topic,
                                       int32_t partition)
{
    struct coord_topic *t = coord_topic_find(g, topic);
    int32_t at;

    if (t == NULL)
        return NULL;
    at = position(t, partition);
    return at < t->count && t->v[at]->partition == partition ? t->v[at] : NULL;
}

static struct coord_topic *topic_find_or_add(struct coord_group *g, struct str name)
{
    struct coord_topic *t = coord_topic_find(g, name);

    if (t != NULL)
        return t;
    t = xcalloc(1, sizeof *t);
    t->group = g;
    t->name = coord_str_copy(name);
    HASH_ADD_KEYPTR(hh, g->topics, coord_key(t->name), coord_key_len(t->name), t);
    return t;
}

struct coord_offset *coord_offset_add(struct coord_group *g, struct str topic, int32_t partition)
{
    struct coord_topic *t = topic_find_or_add(g, topic);
    int32_t at = position(t, partition);
    struct coord_offset *o;

    if (at < t->count && t->v[at]->partition == partition)
        return t->v[at];
    if (t->count == t->cap) {
        t->cap = i32_max(t->cap * 2, 1);
        t->v = xrealloc(t->v, (size_t)t->cap * sizeof(struct coord_offset *));
    }
    memmove(t->v + at + 1, t->v + at, (size_t)(t->count - at) * sizeof(struct coord_offset *));
    o = xcalloc(1, sizeof *o);
    o->topic = t;
    o->partition = partition;
    o->batch_offset = -1;
    t->v[at] = o;
    t->count++;
    g->entry_count++;
    return o;
}

struct group_offset coord_offset_copy(const struct group_offset *o)
{
    struct group_offset copy = *o;

    copy.metadata = coord_str_copy(o->metadata.len < 0 ? STR_LIT("") : o->metadata);
    return copy;
}

void coord_offset_set(struct group_core *c, struct coord_offset *o, struct group_offset value,
                      int64_t batch_offset)
{
    coord_offset_clear(c, o, batch_offset);
    o->has_value = true;
    o->value = value;
    o->topic->group->offset_count++;
    c->offset_total++;
}

void coord_offset_clear(struct group_core *c, struct coord_offset *o, int64_t batch_offset)
{
    o->batch_offset = batch_offset;
    if (!o->has_value)
        return;
    coord_str_retire(c, &o->value.metadata);
    o->has_value = false;
    o->topic->group->offset_count--;
    c->offset_total--;
}

static void topic_free(struct group_core *c, struct coord_topic *t)
{
    HASH_DELETE(hh, t->group->topics, t);
    coord_str_retire(c, &t->name);
    coord_retire(c, t->v);
    coord_retire(c, t);
}

void coord_offset_drop_if_unused(struct group_core *c, struct coord_offset *o)
{
    struct coord_topic *t = o->topic;
    int32_t at = position(t, o->partition);

    if (o->has_value || o->pending > 0 || o->txns > 0)
        return;
    ASSERT(t->v[at] == o);
    t->count--;
    memmove(t->v + at, t->v + at + 1, (size_t)(t->count - at) * sizeof(struct coord_offset *));
    t->group->entry_count--;
    coord_retire(c, o);
    if (t->count == 0)
        topic_free(c, t);
}

void coord_topics_free(struct group_core *c, struct coord_group *g)
{
    struct coord_topic *t, *tmp;

    HASH_ITER (hh, g->topics, t, tmp) {
        for (int32_t i = 0; i < t->count; i++) {
            coord_offset_clear(c, t->v[i], -1);
            coord_retire(c, t->v[i]);
        }
        g->entry_count -= t->count;
        topic_free(c, t);
    }
}

/* ---- OffsetCommit */

/* Java counts UTF-16 units: one for each character, two above U+FFFF. */
static int32_t utf16_units(struct str s)
{
    int32_t n = 0;

    for (int32_t i = 0; i < s.len; i++) {
        uint8_t b = (uint8_t)s.p[i];
        n += (b & 0xC0) != 0x80;
        n += b >= 0xF0;
    }
    return n;
}

static int16_t check_member_commit(struct group_core *c, struct coord_group *g,
                                   const struct group_commit *k)
{
    struct coord_member *m;
    int16_t error = coord_member_check(g, k->member_id, k->instance_id, &m);

    if (error != KE_NONE)
        return error;
    if (k->generation != g->generation)
        return KE_ILLEGAL_GENERATION;
    if (g->state == GROUP_COMPLETING_REBALANCE)
        return KE_REBALANCE_IN_PROGRESS;
    coord_session_touch(c, m);
    return KE_NONE;
}

static int16_t check_commit(struct group_core *c, struct coord_group *g,
                            const struct group_commit *k)
{
    int16_t error = coord_first_check(c, k->group, true);

    if (error != KE_NONE)
        return error;
    if (g == NULL)
        return k->generation < 0 ? KE_NONE : KE_ILLEGAL_GENERATION;
    if (k->generation < 0 && g->state == GROUP_EMPTY)
        return KE_NONE;
    if (k->generation >= 0 || k->member_id.len > 0 || k->instance_id.len >= 0)
        return check_member_commit(c, g, k);
    return g->state == GROUP_EMPTY ? KE_NONE : KE_UNKNOWN_MEMBER_ID;
}

static struct group_record commit_record(struct group_core *c, struct coord_group *g,
                                         const struct group_commit_item *i)
{
    struct group_offset value = i->value;
    struct group_record r;

    if (value.metadata.len < 0)
        value.metadata = STR_LIT("");
    group_records_offset_key(&c->scratch, g->id, i->topic, i->partition);
    r.key = coord_scratch_take(c);
    group_records_offset_value(&c->scratch, &value);
    r.value = coord_scratch_take(c);
    return r;
}

static void append_commit(struct group_core *c, struct coord_group *g, const struct group_event *ev,
                          int16_t *errors)
{
    const struct group_commit *k = &ev->commit;
    struct coord_append *a = coord_append_new(c, COORD_APPEND_COMMIT);
    struct group_record *records = coord_alloc(c, (size_t)k->item_count * sizeof *records);
    int32_t n = 0;

    for (int32_t i = 0; i < k->item_count; i++) {
        struct coord_append_item *item;
        if (errors[i] != KE_NONE)
            continue;
        item =
            coord_append_item(a, g, coord_offset_add(g, k->items[i].topic, k->items[i].partition));
        item->value = coord_offset_copy(&k->items[i].value);
        records[n++] = commit_record(c, g, &k->items[i]);
    }
    a->call = ev->call;
    a->errors = xmalloc((size_t)k->item_count * sizeof *errors);
    memcpy(a->errors, errors, (size_t)k->item_count * sizeof *errors);
    a->error_count = k->item_count;
    coord_append_send(c, a, records, n);
}

void coord_on_commit(struct group_core *c, const struct group_event *ev)
{
    const struct group_commit *k = &ev->commit;
    struct coord_group *g = coord_find(c, k->group);
    int16_t error = check_commit(c, g, k);
    int16_t *errors;
    bool has_any = false;

    if (error != KE_NONE) {
        coord_reply(c, GROUP_REPLY_COMMIT, ev->call, error);
        return;
    }
    errors = coord_alloc(c, (size_t)i32_max(k->item_count, 1) * sizeof *errors);
    for (int32_t i = 0; i < k->item_count; i++) {
        bool fits = utf16_units(k->items[i].value.metadata) <= c->limits.metadata_max;
        errors[i] = fits ? KE_NONE : KE_OFFSET_METADATA_TOO_LARGE;
        has_any = has_any || fits;
    }
    if (!has_any) {
        coord_reply_items(c, GROUP_REPLY_COMMIT, ev->call, errors, k->item_count);
        return;
    }
    if (g == NULL)
        g = coord_find_or_add(c, k->group); /* a simple group */
    append_commit(c, g, ev, errors);
}

void coord_on_commit_appended(struct group_core *c, struct coord_append *a, int16_t error,
                              int64_t base_offset)
{
    for (int32_t i = 0; i < a->item_count; i++) {
        struct coord_append_item *item = &a->items[i];
        struct coord_offset *o = item->offset;
        o->pending--;
        if (error == KE_NONE && base_offset >= o->batch_offset) {
            coord_offset_set(c, o, item->value, base_offset);
            item->value.metadata = STR_NULL; /* moved */
        }
        coord_offset_drop_if_unused(c, o);
        item->offset = NULL;
        coord_drop_if_useless(c, item->group);
    }
    c->numbers.commits += error == KE_NONE;
    for (int32_t i = 0; i < a->error_count; i++) {
        if (a->errors[i] == KE_NONE)
            a->errors[i] = coord_commit_error(error);
    }
    coord_reply_items(c, GROUP_REPLY_COMMIT, a->call, a->errors, a->error_count);
}
