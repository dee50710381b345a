/* SPDX-License-Identifier: Apache-2.0 */
/* fetch_session - see fetch_session.h. */
#include "broker/api/fetch_session.h"
#include "common/base/keyed_hash.h"
#include "common/base/lock.h"
#include "common/protocol/messages.h"

#include <openssl/rand.h>

enum { SESSION_MAGIC = 0x66736573, CACHE_MAGIC = 0x66736361, CACHE_BUCKETS = 1024 };

/* ---- the list: hash tables by topic and by partition */

static uint32_t mix(uint64_t h)
{
    h ^= h >> 32;
    h *= 0xd6e8feb86659fd93u;
    h ^= h >> 32;
    return (uint32_t)h;
}

static uint32_t topic_hash(struct str name, struct uuid id)
{
    return (uint32_t)keyed_hash_with(name.p, (size_t)i32_max(name.len, 0),
                                     be64_load(id.b) ^ be64_load(id.b + 8));
}

static uint32_t part_hash(const struct fetch_topic *t, int32_t index)
{
    return mix(((uint64_t)t->hash << 32) ^ (uint32_t)index);
}

void fetch_list_init(struct fetch_list *l, struct loop *loop, bool uses_ids, bool is_follower,
                     void (*on_news)(void *arg), void *arg)
{
    *l = (struct fetch_list){.uses_ids = uses_ids,
                             .is_follower = is_follower,
                             .loop = loop,
                             .on_news = on_news,
                             .arg = arg};
    TAILQ_INIT(&l->all);
    TAILQ_INIT(&l->dirty);
}

/* Not on the thread of another loop. (Unit tests have no loop's thread.) */
static bool is_here(const struct loop *l)
{
    return l != NULL && (loop_current() == NULL || loop_is_current(l));
}

/* Cheap: counts against lists, and the owner's thread. */
static void list_check(const struct fetch_list *l)
{
    ASSERT(is_here(l->loop));
    ASSERT(l->count >= 0 && l->dirty_count >= 0 && l->dirty_count <= l->count);
    ASSERT(TAILQ_EMPTY(&l->all) == (l->count == 0));
    ASSERT(TAILQ_EMPTY(&l->dirty) == (l->dirty_count == 0));
    ASSERT(l->topic_count <= (uint32_t)l->count && (l->count == 0 || l->topic_count > 0));
    ASSERT((uint32_t)l->count <= l->bucket_count && l->topic_count <= l->topic_bucket_count);
}

void fetch_list_check(const struct fetch_list *l)
{
    const struct fetch_part *p;
    int32_t count = 0, dirty = 0;

    list_check(l);
    TAILQ_FOREACH (p, &l->all, all) {
        ASSERT(p->topic != NULL && p->topic->parts > 0);
        ASSERT(p->watch.partition == NULL || p->watch.list == l->news);
        count++;
        dirty += p->is_dirty;
    }
    ASSERT(count == l->count && dirty == l->dirty_count);
    TAILQ_FOREACH (p, &l->dirty, dirty) {
        ASSERT(p->is_dirty);
        dirty--;
    }
    ASSERT(dirty == 0);
}

static struct fetch_topic *topic_find(struct fetch_list *l, struct str name, struct uuid id)
{
    if (l->topic_bucket_count == 0)
        return NULL;
    uint32_t h = topic_hash(name, id);
    struct fetch_topic *t;
    LIST_FOREACH (t, &l->topic_buckets[h & (l->topic_bucket_count - 1)], link)
        if (t->hash == h && uuid_eq(t->id, id) && str_eq(t->name, name))
            return t;
    return NULL;
}

static void topics_grow(struct fetch_list *l)
{
    uint32_t count = l->topic_bucket_count == 0 ? 8 : l->topic_bucket_count * 2;
    struct fetch_topic_bucket *now = xcalloc(count, sizeof *now);
    for (uint32_t i = 0; i < l->topic_bucket_count; i++) {
        struct fetch_topic *t;
        while ((t = LIST_FIRST(&l->topic_buckets[i])) != NULL) {
            LIST_REMOVE(t, link);
            LIST_INSERT_HEAD(&now[t->hash & (count - 1)], t, link);
        }
    }
    mem_free(l->topic_buckets);
    l->topic_buckets = now;
    l->topic_bucket_count = count;
}

static struct fetch_topic *topic_get(struct fetch_list *l, struct str name, struct uuid id)
{
    struct fetch_topic *t = topic_find(l, name, id);
    if (t != NULL)
        return t;
    if (l->topic_count >= l->topic_bucket_count)
        topics_grow(l);
    size_t name_len = (size_t)i32_max(name.len, 0);
    t = xcalloc(1, sizeof *t + name_len + 1);
    t->id = id;
    t->hash = topic_hash(name, id);
    if (name.len >= 0) {
        char *copy = (char *)(t + 1);
        memcpy(copy, name.len > 0 ? name.p : "", name_len);
        t->name = (struct str){copy, name.len};
    } else {
        t->name = STR_NULL;
    }
    LIST_INSERT_HEAD(&l->topic_buckets[t->hash & (l->topic_bucket_count - 1)], t, link);
    l->topic_count++;
    return t;
}

static void topic_put(struct fetch_list *l, struct fetch_topic *t)
{
    if (t->parts > 0)
        return;
    ASSERT(t->parts == 0 && l->topic_count > 0);
    LIST_REMOVE(t, link);
    l->topic_count--;
    mem_free(t);
}

static struct fetch_part *part_find(struct fetch_list *l, struct fetch_topic *t, int32_t index)
{
    if (t == NULL || l->bucket_count == 0)
        return NULL;
    struct fetch_part *p;
    LIST_FOREACH (p, &l->buckets[part_hash(t, index) & (l->bucket_count - 1)], bucket)
        if (p->topic == t && p->index == index)
            return p;
    return NULL;
}

struct fetch_part *fetch_list_find(struct fetch_list *l, struct str topic, struct uuid id,
                                   int32_t index)
{
    return part_find(l, topic_find(l, topic, id), index);
}

static void parts_grow(struct fetch_list *l)
{
    uint32_t count = l->bucket_count == 0 ? 16 : l->bucket_count * 2;
    struct fetch_part_bucket *now = xcalloc(count, sizeof *now);
    struct fetch_part *p;
    TAILQ_FOREACH (p, &l->all, all)
        LIST_INSERT_HEAD(&now[part_hash(p->topic, p->index) & (count - 1)], p, bucket);
    mem_free(l->buckets);
    l->buckets = now;
    l->bucket_count = count;
}

static struct fetch_part *part_add(struct fetch_list *l, struct fetch_topic *t, int32_t index)
{
    if ((uint32_t)l->count >= l->bucket_count)
        parts_grow(l);
    struct fetch_part *p = xcalloc(1, sizeof *p);
    p->topic = t;
    p->index = index;
    p->sent_hw = p->sent_start = -1;
    t->parts++;
    LIST_INSERT_HEAD(&l->buckets[part_hash(t, index) & (l->bucket_count - 1)], p, bucket);
    TAILQ_INSERT_TAIL(&l->all, p, all);
    l->count++;
    return p;
}

static void part_free(struct fetch_list *l, struct fetch_part *p)
{
    fetch_part_unwatch(p);
    fetch_part_settle(l, p);
    ASSERT(l->count > 0 && p->topic->parts > 0);
    LIST_REMOVE(p, bucket);
    TAILQ_REMOVE(&l->all, p, all);
    l->count--;
    struct fetch_topic *t = p->topic;
    t->parts--;
    mem_free(p);
    topic_put(l, t);
}

void fetch_list_fini(struct fetch_list *l)
{
    while (!TAILQ_EMPTY(&l->all))
        part_free(l, TAILQ_FIRST(&l->all));
    if (l->news != NULL)
        watch_list_free(&l->news);
    FREE_NULL(&l->buckets);
    FREE_NULL(&l->topic_buckets);
    l->bucket_count = l->topic_bucket_count = 0;
}

/* ---- the list: what is to be read */

void fetch_part_touch(struct fetch_list *l, struct fetch_part *p)
{
    list_check(l);
    fetch_part_settle(l, p);
    p->is_dirty = true;
    TAILQ_INSERT_TAIL(&l->dirty, p, dirty);
    l->dirty_count++;
}

void fetch_part_settle(struct fetch_list *l, struct fetch_part *p)
{
    if (!p->is_dirty)
        return;
    ASSERT(l->dirty_count > 0);
    p->is_dirty = false;
    TAILQ_REMOVE(&l->dirty, p, dirty);
    l->dirty_count--;
}

void fetch_list_collect(struct fetch_list *l)
{
    struct partition_watch *w;
    while (l->news != NULL && (w = watch_list_take(l->news)) != NULL) {
        struct fetch_part *p = CONTAINER_OF(w, struct fetch_part, watch);
        ASSERT(w->list == l->news && p->topic != NULL);
        p->is_recorded = false;
        if (!p->is_dirty)
            fetch_part_touch(l, p);
    }
}

void fetch_part_watch(struct fetch_list *l, struct fetch_part *p, struct partition *partition)
{
    if (p->watch.partition == partition)
        return;
    fetch_part_unwatch(p);
    if (l->news == NULL)
        l->news = watch_list_new(l->loop, l->on_news, l->arg);
    p->watch =
        (struct partition_watch){.list = l->news, .kind = l->is_follower ? WATCH_LEO : WATCH_HW};
    partition_watch_add(partition, &p->watch);
    ASSERT(p->watch.partition == partition);
}

void fetch_part_unwatch(struct fetch_part *p)
{
    if (p->watch.partition != NULL)
        partition_watch_remove(&p->watch);
    p->watch.partition = NULL;
}

static enum err part_apply(struct fetch_list *l, struct fetch_topic *t,
                           const struct kp_FetchRequest_FetchPartition *from, int32_t parts_max)
{
    struct fetch_part *p = part_find(l, t, from->partition);
    if (p == NULL) {
        if (l->count >= parts_max)
            return ERR_LIMIT;
        p = part_add(l, t, from->partition);
    }
    p->current_leader_epoch = from->current_leader_epoch;
    p->last_fetched_epoch = from->last_fetched_epoch;
    p->max_bytes = from->partition_max_bytes;
    p->fetch_offset = from->fetch_offset;
    p->follower_start = from->log_start_offset;
    if (!p->is_dirty)
        fetch_part_touch(l, p);
    return ERR_OK;
}

static void list_forget(struct fetch_list *l, const struct kp_FetchRequest *req)
{
    for (int32_t i = 0; i < req->forgotten_topics_data_count; i++) {
        const struct kp_FetchRequest_ForgottenTopic *f = &req->forgotten_topics_data[i];
        struct fetch_topic *t =
            topic_find(l, l->uses_ids ? STR_NULL : f->topic, l->uses_ids ? f->topic_id : UUID_ZERO);
        for (int32_t j = 0; t != NULL && j < f->partitions_count; j++) {
            struct fetch_part *p = part_find(l, t, f->partitions[j]);
            if (p == NULL)
                continue;
            bool is_last = t->parts == 1;
            part_free(l, p);
            if (is_last)
                break; /* t is gone */
        }
    }
}

enum err fetch_list_apply(struct fetch_list *l, const struct kp_FetchRequest *req,
                          int32_t parts_max)
{
    enum err rc = ERR_OK;
    ASSERT(req != NULL && parts_max >= 0);
    list_check(l);
    for (int32_t i = 0; rc == ERR_OK && i < req->topics_count; i++) {
        const struct kp_FetchRequest_FetchTopic *ft = &req->topics[i];
        struct fetch_topic *t = topic_get(l, l->uses_ids ? STR_NULL : ft->topic,
                                          l->uses_ids ? ft->topic_id : UUID_ZERO);
        for (int32_t j = 0; rc == ERR_OK && j < ft->partitions_count; j++)
            rc = part_apply(l, t, &ft->partitions[j], parts_max);
        topic_put(l, t); /* named without partitions */
    }
    if (rc == ERR_OK && req->session_epoch > 0) /* others name all that they want */
        list_forget(l, req);
    return rc;
}

/* ---- sessions */

struct fetch_session_cache {
    unsigned magic;
    struct lock lock; /* all below */
    int32_t slots, count;
    int64_t parts; /* of all sessions, by their last known sizes */
    int64_t eviction_ms;
    TAILQ_HEAD(, fetch_session) used;
    LIST_HEAD(, fetch_session) buckets[CACHE_BUCKETS];
};

int32_t fetch_epoch_after(int32_t epoch)
{
    return epoch == INT32_MAX ? 1 : epoch + 1;
}

struct fetch_session_cache *fetch_session_cache_new(int32_t slots, int64_t eviction_ms)
{
    struct fetch_session_cache *c = xcalloc(1, sizeof *c);
    c->magic = CACHE_MAGIC;
    lock_init(&c->lock, LOCK_LEAF);
    c->slots = slots;
    c->eviction_ms = eviction_ms;
    TAILQ_INIT(&c->used);
    return c;
}

void fetch_session_cache_free(struct fetch_session_cache **cp)
{
    struct fetch_session_cache *c = *cp;
    *cp = NULL;
    if (c == NULL)
        return;
    CHECK_OBJ(c, CACHE_MAGIC);
    ASSERT(c->count == 0);
    lock_fini(&c->lock);
    c->magic = 0;
    mem_free(c);
}

static void session_free(struct fetch_session *s)
{
    CHECK_OBJ(s, SESSION_MAGIC);
    fetch_list_fini(&s->list);
    s->magic = 0;
    mem_free(s);
}

static void cache_check_locked(const struct fetch_session_cache *c)
{
    ASSERT(c->count >= 0 && c->count <= i32_max(c->slots, 0) && c->parts >= 0);
    ASSERT(TAILQ_EMPTY(&c->used) == (c->count == 0));
}

static struct fetch_session *find_locked(struct fetch_session_cache *c, int32_t id)
{
    struct fetch_session *s;
    LIST_FOREACH (s, &c->buckets[(uint32_t)id % CACHE_BUCKETS], bucket)
        if (s->id == id)
            return s;
    return NULL;
}

/* Out of the table, by the loop here. Afterwards only the owner's loop reaches it, and it is told
 * by mail when that is another one (dispose posts it). */
static void uncache_locked(struct fetch_session_cache *c, struct fetch_session *s,
                           const struct loop *here)
{
    CHECK_OBJ(s, SESSION_MAGIC);
    cache_check_locked(c);
    ASSERT(s->is_cached && !s->is_mailed && c->count > 0 && c->parts >= s->size);
    s->is_mailed = here != NULL && s->list.loop != here;
    LIST_REMOVE(s, bucket);
    TAILQ_REMOVE(&c->used, s, used);
    s->is_cached = false;
    c->count--;
    c->parts -= s->size;
}

static void closed_elsewhere(struct mail *m)
{
    struct fetch_session *s;
    CAST_OBJ(s, (void *)CONTAINER_OF(m, struct fetch_session, mail), SESSION_MAGIC);
    ASSERT(s->is_mailed && !s->is_cached && loop_is_current(s->list.loop));
    s->is_mailed = false;
    if (s->waiting == NULL)
        session_free(s);
}

/* s was taken out of the table by this thread. One in use is freed by fetch_session_done, one with
 * a mail on its way not before that has come. */
static void dispose(struct fetch_session *s)
{
    if (s == NULL)
        return;
    CHECK_OBJ(s, SESSION_MAGIC);
    ASSERT(!s->is_cached);
    if (s->is_mailed) {
        s->mail.deliver = closed_elsewhere;
        loop_post(s->list.loop, &s->mail);
    } else if (s->waiting == NULL) {
        session_free(s);
    }
}

static bool may_evict(const struct fetch_session_cache *c, const struct fetch_session *s,
                      bool is_follower, int32_t size, int64_t now_ms)
{
    if (now_ms - s->used_ms > c->eviction_ms)
        return true;
    if (is_follower != s->is_follower)
        return is_follower;
    return s->size < size && now_ms - s->created_ms > c->eviction_ms;
}

/* The session that makes room: the least recently used if it is stale, else the smallest consumer's
 * that may go. */
static struct fetch_session *victim_locked(struct fetch_session_cache *c, bool is_follower,
                                           int32_t size, int64_t now_ms)
{
    struct fetch_session *s = TAILQ_FIRST(&c->used), *best = NULL;
    if (s != NULL && now_ms - s->used_ms > c->eviction_ms)
        return s;
    TAILQ_FOREACH (s, &c->used, used) {
        if (!may_evict(c, s, is_follower, size, now_ms))
            continue;
        if (best == NULL || (best->is_follower && !s->is_follower) ||
            (best->is_follower == s->is_follower && s->size < best->size))
            best = s;
    }
    return best;
}

static bool has_room(const struct fetch_session_cache *c, int32_t size)
{
    return c->count < c->slots && c->parts + size <= FETCH_CACHE_PARTS_MAX;
}

static int32_t random_id_locked(struct fetch_session_cache *c)
{
    for (;;) {
        uint32_t r;
        MUST(RAND_bytes((unsigned char *)&r, sizeof r) == 1);
        int32_t id = (int32_t)(r & INT32_MAX);
        if (id != FETCH_SESSION_NONE && find_locked(c, id) == NULL)
            return id;
    }
}

struct fetch_session *fetch_session_open(struct fetch_session_cache *c, struct loop *loop,
                                         bool uses_ids, bool is_follower, int32_t size,
                                         int64_t now_ms, void (*on_news)(void *arg))
{
    CHECK_OBJ(c, CACHE_MAGIC);
    struct fetch_session *s = NULL, *evicted = NULL;
    ASSERT(is_here(loop) && size >= 0 && on_news != NULL);
    lock_take(&c->lock);
    cache_check_locked(c);
    if (c->slots > 0 && !has_room(c, size)) {
        evicted = victim_locked(c, is_follower, size, now_ms);
        if (evicted != NULL)
            uncache_locked(c, evicted, loop);
    }
    if (has_room(c, size)) {
        s = xcalloc(1, sizeof *s);
        s->magic = SESSION_MAGIC;
        s->id = random_id_locked(c);
        s->next_epoch = 1;
        s->created_ms = s->used_ms = now_ms;
        s->size = size;
        s->is_follower = is_follower;
        s->is_cached = true;
        fetch_list_init(&s->list, loop, uses_ids, is_follower, on_news, s);
        LIST_INSERT_HEAD(&c->buckets[(uint32_t)s->id % CACHE_BUCKETS], s, bucket);
        TAILQ_INSERT_TAIL(&c->used, s, used);
        c->count++;
        c->parts += size;
    }
    lock_release(&c->lock);
    dispose(evicted);
    return s;
}

int16_t fetch_session_use(struct fetch_session_cache *c, struct loop *loop, int32_t id,
                          int32_t epoch, bool uses_ids, int64_t now_ms, struct fetch_session **out)
{
    CHECK_OBJ(c, CACHE_MAGIC);
    int16_t rc = KE_NONE;
    *out = NULL;
    ASSERT(is_here(loop));
    lock_take(&c->lock);
    cache_check_locked(c);
    struct fetch_session *s = find_locked(c, id);
    if (s == NULL || s->list.loop != loop) {
        rc = KE_FETCH_SESSION_ID_NOT_FOUND;
    } else if (epoch != s->next_epoch || s->waiting != NULL) {
        rc = KE_INVALID_FETCH_SESSION_EPOCH;
    } else if (uses_ids != s->list.uses_ids) {
        rc = KE_FETCH_SESSION_TOPIC_ID_ERROR;
    } else {
        CHECK_OBJ(s, SESSION_MAGIC);
        ASSERT(s->is_cached && !s->is_mailed && s->next_epoch > 0);
        list_check(&s->list);
        s->next_epoch = fetch_epoch_after(epoch);
        s->used_ms = now_ms;
        TAILQ_REMOVE(&c->used, s, used);
        TAILQ_INSERT_TAIL(&c->used, s, used);
        *out = s;
    }
    lock_release(&c->lock);
    return rc;
}

void fetch_session_done(struct fetch_session_cache *c, struct fetch_session *s)
{
    CHECK_OBJ(s, SESSION_MAGIC);
    list_check(&s->list);
    s->waiting = NULL;
    lock_take(&c->lock);
    cache_check_locked(c);
    if (s->is_cached)
        c->parts += s->list.count - s->size;
    s->size = s->list.count;
    bool is_too_much = c->parts > FETCH_CACHE_PARTS_MAX; /* it has grown: the client begins anew */
    if (s->is_cached && (s->list.count == 0 || is_too_much)) /* 0: closed, as in Kafka */
        uncache_locked(c, s, s->list.loop);
    bool is_ours = !s->is_cached && !s->is_mailed;
    lock_release(&c->lock);
    if (is_ours)
        session_free(s);
}

void fetch_session_close(struct fetch_session_cache *c, struct loop *loop, int32_t id)
{
    CHECK_OBJ(c, CACHE_MAGIC);
    if (id == FETCH_SESSION_NONE)
        return;
    lock_take(&c->lock);
    struct fetch_session *s = find_locked(c, id);
    if (s != NULL)
        uncache_locked(c, s, loop);
    lock_release(&c->lock);
    dispose(s);
}

void fetch_session_close_all(struct fetch_session_cache *c)
{
    CHECK_OBJ(c, CACHE_MAGIC);
    struct fetch_session *s;
    while ((s = TAILQ_FIRST(&c->used)) != NULL) {
        lock_take(&c->lock);
        uncache_locked(c, s, NULL);
        lock_release(&c->lock);
        ASSERT(s->waiting == NULL);
        session_free(s);
    }
}

int32_t fetch_session_count(struct fetch_session_cache *c)
{
    CHECK_OBJ(c, CACHE_MAGIC);
    lock_take(&c->lock);
    int32_t count = c->count;
    lock_release(&c->lock);
    return count;
}
