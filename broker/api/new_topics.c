/* SPDX-License-Identifier: Apache-2.0 */
/* new_topics - see new_topics.h. */
#include "broker/api/new_topics.h"
#include "common/base/lock.h"
#include "common/protocol/messages.h"

enum { BUCKETS = 1024 };

struct new_topic {
    struct uuid id;
    struct str name; /* follows the struct */
    LIST_ENTRY(new_topic) bucket;
    TAILQ_ENTRY(new_topic) age;
};

struct new_topics {
    struct lock lock; /* all below */
    int32_t count;
    LIST_HEAD(, new_topic) buckets[BUCKETS];
    TAILQ_HEAD(, new_topic) ages; /* oldest first */
};

struct new_topics *new_topics_new(void)
{
    struct new_topics *n = xcalloc(1, sizeof *n);
    lock_init(&n->lock, LOCK_LEAF);
    TAILQ_INIT(&n->ages);
    return n;
}

static size_t bucket_of(struct uuid id)
{
    return be64_load(id.b) % BUCKETS;
}

static struct new_topic *find_locked(struct new_topics *n, struct uuid id)
{
    struct new_topic *t;
    LIST_FOREACH (t, &n->buckets[bucket_of(id)], bucket)
        if (uuid_eq(t->id, id))
            return t;
    return NULL;
}

static void remove_locked(struct new_topics *n, struct new_topic *t)
{
    LIST_REMOVE(t, bucket);
    TAILQ_REMOVE(&n->ages, t, age);
    n->count--;
    mem_free(t);
}

static void add_locked(struct new_topics *n, struct uuid id, struct str name)
{
    struct new_topic *t = xcalloc(1, sizeof *t + (size_t)name.len + 1);
    char *copy = (char *)(t + 1);
    memcpy(copy, name.p, (size_t)name.len);
    t->id = id;
    t->name = (struct str){copy, name.len};
    LIST_INSERT_HEAD(&n->buckets[bucket_of(id)], t, bucket);
    TAILQ_INSERT_TAIL(&n->ages, t, age);
    if (++n->count > NEW_TOPICS_MAX)
        remove_locked(n, TAILQ_FIRST(&n->ages));
}

void new_topics_free(struct new_topics **np)
{
    struct new_topics *n = *np;
    *np = NULL;
    if (n == NULL)
        return;
    while (!TAILQ_EMPTY(&n->ages))
        remove_locked(n, TAILQ_FIRST(&n->ages));
    lock_fini(&n->lock);
    mem_free(n);
}

void new_topics_note(struct new_topics *n, const struct kp_LeaderAndIsrRequest *req)
{
    lock_take(&n->lock);
    for (int32_t i = 0; i < req->topic_states_count; i++) {
        const struct kp_LeaderAndIsrRequest_LeaderAndIsrTopicState *t = &req->topic_states[i];
        if (!uuid_is_zero(t->topic_id) && t->topic_name.len > 0 &&
            find_locked(n, t->topic_id) == NULL)
            add_locked(n, t->topic_id, t->topic_name);
    }
    lock_release(&n->lock);
}

void new_topics_forget(struct new_topics *n, const struct kp_UpdateMetadataRequest *req)
{
    lock_take(&n->lock);
    for (int32_t i = 0; n->count > 0 && i < req->topic_states_count; i++) {
        struct new_topic *t = find_locked(n, req->topic_states[i].topic_id);
        if (t != NULL)
            remove_locked(n, t);
    }
    lock_release(&n->lock);
}

struct str new_topics_find(struct new_topics *n, struct uuid id, struct arena *a)
{
    struct str name = STR_NULL;
    lock_take(&n->lock);
    const struct new_topic *t = find_locked(n, id);
    if (t != NULL) {
        const char *copy = arena_strdup(a, t->name.p, (size_t)t->name.len);
        if (copy != NULL)
            name = (struct str){copy, t->name.len};
    }
    lock_release(&n->lock);
    return name;
}
