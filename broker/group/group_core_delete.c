/* SPDX-License-Identifier: Apache-2.0 */
/* Tombstones: OffsetDelete, DeleteGroups, deleted topics; expiry sends them too. An offset or group
 * is gone when its tombstone is in the log, and not before: a failed append leaves everything as it
 * was, and is answered so. What was committed behind the tombstone stays. */
#include "broker/group/group_core_internal.h"

#include "broker/group/group_records.h"

/* ---- gathering */

static void tombs_flush(struct coord_tombs *t)
{
    if (t->append == NULL)
        return;
    if (t->deletion != NULL)
        t->deletion->appends++;
    coord_append_send(t->c, t->append, t->records, t->count);
    t->append = NULL;
    t->count = 0;
    t->bytes = 0;
}

static struct coord_append *tombs_append(struct coord_tombs *t)
{
    if (t->append == NULL) {
        t->append = coord_append_new(t->c, COORD_APPEND_TOMBSTONES);
        t->append->deletion = t->deletion;
        t->append->is_expiry = t->is_expiry;
    }
    return t->append;
}

/* The scratch holds the key. */
static void tombs_record(struct coord_tombs *t)
{
    enum { RECORD_OVERHEAD_BYTES = 24 };

    t->bytes += t->c->scratch.len + RECORD_OVERHEAD_BYTES;
    if (t->count == t->cap) {
        t->cap = i32_max(t->cap * 2, 16);
        t->records = xrealloc(t->records, (size_t)t->cap * sizeof *t->records);
    }
    t->records[t->count++] = (struct group_record){coord_scratch_take(t->c), BYTES_NULL};
    if (t->bytes >= (size_t)i32_max(t->c->limits.append_bytes_max, 1))
        tombs_flush(t);
}

void coord_tombs_offset(struct coord_tombs *t, struct coord_offset *o)
{
    coord_append_item(tombs_append(t), o->topic->group, o)->is_tombstone = true;
    group_records_offset_key(&t->c->scratch, o->topic->group->id, o->topic->name, o->partition);
    tombs_record(t);
}

void coord_tombs_group(struct coord_tombs *t, struct coord_group *g)
{
    coord_append_item(tombs_append(t), g, NULL)->is_tombstone = true;
    group_records_group_key(&t->c->scratch, g->id);
    tombs_record(t);
}

void coord_tombs_end(struct coord_tombs *t)
{
    tombs_flush(t);
    mem_free(t->records);
    t->records = NULL;
}

/* ---- settling */

void coord_deletion_free(struct group_core *c, struct coord_deletion *d)
{
    coord_retire(c, d->errors);
    coord_retire(c, d);
}

static void deletion_answer(struct group_core *c, struct coord_deletion *d)
{
    for (int32_t i = 0; i < d->error_count; i++) {
        if (d->errors[i] == KE_NONE)
            d->errors[i] = d->error;
    }
    if (d->kind == GROUP_REPLY_DELETE_GROUP)
        coord_reply(c, d->kind, d->call, d->error);
    else
        coord_reply_items(c, d->kind, d->call, d->errors, d->error_count);
    coord_deletion_free(c, d);
}

static void settle_offset(struct group_core *c, const struct coord_append *a,
                          struct coord_append_item *item, int16_t error, int64_t base_offset)
{
    struct coord_offset *o = item->offset;

    o->pending--;
    if (error == KE_NONE && base_offset >= o->batch_offset) {
        c->numbers.expired_offsets += a->is_expiry && o->has_value;
        coord_offset_clear(c, o, base_offset);
    }
    coord_offset_drop_if_unused(c, o);
    item->offset = NULL;
    coord_drop_if_useless(c, item->group);
}

/* A group that was joined meanwhile, or got a commit, stays. */
static void settle_group(struct group_core *c, struct coord_append_item *item, int16_t error)
{
    struct coord_group *g = item->group;

    if (error == KE_NONE && g->state == GROUP_EMPTY && g->generation == item->generation &&
        g->entry_count == 0 && g->pending_count == 0)
        coord_bury(c, g);
}

void coord_on_tombstones_appended(struct group_core *c, struct coord_append *a, int16_t error,
                                  int64_t base_offset)
{
    struct coord_deletion *d = a->deletion;

    for (int32_t i = 0; i < a->item_count; i++) {
        if (a->items[i].offset != NULL)
            settle_offset(c, a, &a->items[i], error, base_offset);
        else
            settle_group(c, &a->items[i], error);
    }
    if (d == NULL)
        return;
    if (d->error == KE_NONE)
        d->error = coord_commit_error(error);
    if (--d->appends == 0)
        deletion_answer(c, d);
}

/* ---- what members subscribe */

struct subscribed {
    struct group_core *c;
    struct coord_topic_set *set;
};

static void add_topic(void *arg, struct str topic)
{
    struct subscribed *s = arg;
    struct coord_topic_set *t = NULL;

    HASH_FIND(hh, s->set, coord_key(topic), coord_key_len(topic), t);
    if (t != NULL)
        return;
    t = coord_alloc(s->c, sizeof *t);
    t->name = topic;
    HASH_ADD_KEYPTR(hh, s->set, coord_key(topic), coord_key_len(topic), t);
}

bool coord_subscribed(struct group_core *c, struct coord_group *g, struct coord_topic_set **out)
{
    struct subscribed s = {.c = c};
    struct coord_member *m;
    bool is_known = g->protocol.len >= 0;

    TAILQ_FOREACH (m, &g->members, link) {
        struct bytes metadata = coord_member_metadata(m, g->protocol);
        is_known =
            is_known && metadata.p != NULL && group_records_each_topic(metadata, add_topic, &s);
        if (!is_known)
            break;
    }
    *out = s.set;
    return is_known;
}

bool coord_subscribed_has(struct coord_topic_set *set, struct str topic)
{
    struct coord_topic_set *t = NULL;

    HASH_FIND(hh, set, coord_key(topic), coord_key_len(topic), t);
    return t != NULL;
}

void coord_subscribed_fini(struct coord_topic_set **set)
{
    HASH_CLEAR(hh, *set);
}

/* ---- OffsetDelete */

static struct coord_deletion *deletion_new(enum group_reply_kind kind, uint64_t call, int32_t count)
{
    struct coord_deletion *d = xcalloc(1, sizeof *d);

    d->kind = kind;
    d->call = call;
    d->errors = count == 0 ? NULL : xcalloc((size_t)count, sizeof *d->errors);
    d->error_count = count;
    return d;
}

/* Of the items without an error; entries_out: how many of the group's entries go. */
static void tombs_items(struct group_core *c, struct coord_tombs *t, struct coord_group *g,
                        const struct group_offset_delete *q)
{
    uint64_t stamp = ++c->next_stamp;
    int32_t gone = 0;

    for (int32_t i = 0; i < q->item_count; i++) {
        struct coord_offset *o = coord_offset_find(g, q->items[i].topic, q->items[i].partition);
        if (t->deletion->errors[i] != KE_NONE || o == NULL || o->stamp == stamp)
            continue;
        o->stamp = stamp;
        gone++;
        coord_tombs_offset(t, o);
    }
    if (gone > 0 && gone == g->entry_count && g->state == GROUP_EMPTY && g->has_record &&
        g->pending_count == 0)
        coord_tombs_group(t, g);
}

static int16_t check_offset_delete(const struct group_core *c, const struct coord_group *g,
                                   const struct group_offset_delete *q)
{
    int16_t error = coord_first_check(c, q->group, false);

    if (error != KE_NONE)
        return error;
    if (g == NULL)
        return KE_GROUP_ID_NOT_FOUND;
    return g->state == GROUP_EMPTY || str_eq_z(g->protocol_type, "consumer") ? KE_NONE
                                                                             : KE_NON_EMPTY_GROUP;
}

void coord_on_offset_delete(struct group_core *c, const struct group_event *ev)
{
    const struct group_offset_delete *q = &ev->offset_delete;
    struct coord_group *g = coord_find(c, q->group);
    int16_t error = check_offset_delete(c, g, q);
    struct coord_topic_set *set = NULL;
    struct coord_tombs t = {.c = c};
    bool is_active, is_known;

    if (error != KE_NONE) {
        coord_reply(c, GROUP_REPLY_OFFSET_DELETE, ev->call, error);
        return;
    }
    t.deletion = deletion_new(GROUP_REPLY_OFFSET_DELETE, ev->call, q->item_count);
    is_active = g->state != GROUP_EMPTY;
    is_known = is_active && coord_subscribed(c, g, &set);
    for (int32_t i = 0; is_active && i < q->item_count; i++) {
        if (!is_known || coord_subscribed_has(set, q->items[i].topic))
            t.deletion->errors[i] = KE_GROUP_SUBSCRIBED_TO_TOPIC;
    }
    coord_subscribed_fini(&set);
    tombs_items(c, &t, g, q);
    coord_tombs_end(&t);
    if (t.deletion->appends == 0)
        deletion_answer(c, t.deletion);
}

/* ---- DeleteGroups */

static int32_t tombs_topic(struct coord_tombs *t, struct coord_topic *topic)
{
    for (int32_t i = 0; i < topic->count; i++)
        coord_tombs_offset(t, topic->v[i]);
    return topic->count;
}

static int16_t check_delete_group(const struct group_core *c, const struct coord_group *g,
                                  struct str id)
{
    int16_t error = coord_first_check(c, id, true);

    if (error != KE_NONE)
        return error;
    if (g == NULL)
        return KE_GROUP_ID_NOT_FOUND;
    return g->state == GROUP_EMPTY ? KE_NONE : KE_NON_EMPTY_GROUP;
}

void coord_on_delete_group(struct group_core *c, const struct group_event *ev)
{
    struct coord_group *g = coord_find(c, ev->delete_group);
    int16_t error = check_delete_group(c, g, ev->delete_group);
    struct coord_tombs t = {.c = c};
    struct coord_topic *topic, *tmp;

    if (error != KE_NONE) {
        coord_reply(c, GROUP_REPLY_DELETE_GROUP, ev->call, error);
        return;
    }
    while (g->pending != NULL) /* whoever was given an id joins again without one */
        coord_pending_remove(c, g->pending);
    t.deletion = deletion_new(GROUP_REPLY_DELETE_GROUP, ev->call, 0);
    HASH_ITER (hh, g->topics, topic, tmp)
        (void)tombs_topic(&t, topic);
    if (g->has_record)
        coord_tombs_group(&t, g);
    coord_tombs_end(&t);
    coord_drop_if_useless(c, g);
    if (t.deletion->appends == 0)
        deletion_answer(c, t.deletion);
}

/* ---- topics that are deleted */

/* Over the fewer: a thousand topics may go at once, and there are many groups of one or two. */
static int32_t tombs_named(struct coord_tombs *t, struct coord_group *g,
                           struct coord_topic_set *set)
{
    struct coord_topic *topic, *tmp;
    struct coord_topic_set *s;
    int32_t gone = 0;

    if (HASH_COUNT(g->topics) <= HASH_COUNT(set)) {
        HASH_ITER (hh, g->topics, topic, tmp) {
            if (coord_subscribed_has(set, topic->name))
                gone += tombs_topic(t, topic);
        }
        return gone;
    }
    for (s = set; s != NULL; s = s->hh.next) {
        topic = coord_topic_find(g, s->name);
        gone += topic == NULL ? 0 : tombs_topic(t, topic);
    }
    return gone;
}

void coord_on_topics_deleted(struct group_core *c, const struct group_event *ev)
{
    struct subscribed named = {.c = c};
    struct coord_tombs t = {.c = c};
    struct coord_group *g, *tmp;

    for (int32_t i = 0; i < ev->topics.count; i++)
        add_topic(&named, ev->topics.names[i]);
    HASH_ITER (hh, c->groups, g, tmp) {
        int32_t gone = tombs_named(&t, g, named.set);
        if (gone > 0 && gone == g->entry_count && g->state == GROUP_EMPTY && g->has_record &&
            g->pending_count == 0)
            coord_tombs_group(&t, g);
    }
    coord_tombs_end(&t);
    coord_subscribed_fini(&named.set);
}
