/* SPDX-License-Identifier: Apache-2.0 */
/* The client's side of incremental fetch sessions. */
#include "broker/replica/fetch_set.h"

#include "common/base/keyed_hash.h"

#include <stdlib.h>

enum { FETCH_VERSION_IDS = 17, FETCH_VERSION_NAMES = 12, BUCKETS_MIN = 16 };

/* ---- look-up: two tables of chains, grown together */

static uint32_t hash_bytes(const void *p, size_t n, int32_t index)
{
    return (uint32_t)keyed_hash_with(p, n, (uint32_t)index);
}

static struct fetch_entry **name_bucket(const struct fetch_set *s, struct str topic, int32_t index)
{
    return &s->by_name[hash_bytes(topic.p, (size_t)i32_max(topic.len, 0), index) &
                       (s->bucket_count - 1)];
}

static struct fetch_entry **id_bucket(const struct fetch_set *s, struct uuid id, int32_t index)
{
    return &s->by_id[hash_bytes(id.b, sizeof id.b, index) & (s->bucket_count - 1)];
}

static void table_insert(struct fetch_set *s, struct fetch_entry *e)
{
    struct fetch_entry **at = name_bucket(s, e->topic, e->index);

    e->next_by_name = *at;
    *at = e;
    if (uuid_is_zero(e->topic_id))
        return;
    at = id_bucket(s, e->topic_id, e->index);
    e->next_by_id = *at;
    *at = e;
}

static void table_remove(struct fetch_set *s, struct fetch_entry *e)
{
    struct fetch_entry **at = name_bucket(s, e->topic, e->index);

    while (*at != e)
        at = &(*at)->next_by_name;
    *at = e->next_by_name;
    if (uuid_is_zero(e->topic_id))
        return;
    at = id_bucket(s, e->topic_id, e->index);
    while (*at != e)
        at = &(*at)->next_by_id;
    *at = e->next_by_id;
}

static void table_grow(struct fetch_set *s)
{
    mem_free(s->by_name);
    mem_free(s->by_id);
    s->bucket_count *= 2;
    s->by_name = xcalloc(s->bucket_count, sizeof *s->by_name);
    s->by_id = xcalloc(s->bucket_count, sizeof *s->by_id);
    for (int i = 0; i < FETCH_STATES; i++) {
        struct fetch_entry *e;
        TAILQ_FOREACH (e, &s->lists[i], link)
            table_insert(s, e);
    }
}

struct fetch_entry *fetch_set_find(const struct fetch_set *s, struct str topic, int32_t index)
{
    struct fetch_entry *e;

    if (topic.len < 0)
        return NULL;
    e = *name_bucket(s, topic, index);
    while (e != NULL && !(e->index == index && str_eq(e->topic, topic)))
        e = e->next_by_name;
    return e;
}

struct fetch_entry *fetch_set_find_by_id(const struct fetch_set *s, struct uuid topic_id,
                                         int32_t index)
{
    struct fetch_entry *e;

    if (uuid_is_zero(topic_id))
        return NULL;
    e = *id_bucket(s, topic_id, index);
    while (e != NULL && !(e->index == index && uuid_eq(e->topic_id, topic_id)))
        e = e->next_by_id;
    return e;
}

/* ---- entries */

void fetch_set_init(struct fetch_set *s)
{
    *s = (struct fetch_set){.bucket_count = BUCKETS_MIN};
    for (int i = 0; i < FETCH_STATES; i++)
        TAILQ_INIT(&s->lists[i]);
    s->by_name = xcalloc(s->bucket_count, sizeof *s->by_name);
    s->by_id = xcalloc(s->bucket_count, sizeof *s->by_id);
}

static void entry_free(struct fetch_set *s, struct fetch_entry *e)
{
    table_remove(s, e);
    TAILQ_REMOVE(&s->lists[e->state], e, link);
    s->counts[e->state]--;
    s->entry_count--;
    if (uuid_is_zero(e->topic_id))
        s->without_id--;
    mem_free((char *)(uintptr_t)e->topic.p);
    mem_free(e);
}

void fetch_set_fini(struct fetch_set *s, void (*release)(void *arg, struct partition *p), void *arg)
{
    for (int i = 0; i < FETCH_STATES; i++) {
        while (!TAILQ_EMPTY(&s->lists[i])) {
            struct fetch_entry *e = TAILQ_FIRST(&s->lists[i]);
            if (e->partition != NULL)
                release(arg, e->partition);
            entry_free(s, e);
        }
    }
    ASSERT(s->entry_count == 0 && s->without_id == 0);
    mem_free(s->by_name);
    mem_free(s->by_id);
    *s = (struct fetch_set){.by_name = NULL};
}

static void move(struct fetch_set *s, struct fetch_entry *e, enum fetch_state to)
{
    if (e->state == to)
        return;
    TAILQ_REMOVE(&s->lists[e->state], e, link);
    s->counts[e->state]--;
    e->state = to;
    TAILQ_INSERT_TAIL(&s->lists[to], e, link);
    s->counts[to]++;
}

void fetch_set_move(struct fetch_set *s, struct fetch_entry *e, enum fetch_state to)
{
    ASSERT(to == FETCH_WANTED || to == FETCH_DELAYED || to == FETCH_PAUSED);
    ASSERT(e->state != FETCH_GONE);
    move(s, e, to);
}

struct fetch_entry *fetch_set_add(struct fetch_set *s, struct str topic, struct uuid topic_id,
                                  int32_t index)
{
    struct fetch_entry *e = fetch_set_find(s, topic, index);

    if (e != NULL && !uuid_eq(e->topic_id, topic_id)) {
        /* the topic was made anew: the leader's session knows the old one */
        ASSERT(e->state == FETCH_GONE);
        s->session_epoch = 0;
        entry_free(s, e);
        e = NULL;
    }
    if (e != NULL) {
        move(s, e, FETCH_WANTED);
        e->listed_seq = s->seq + 1; /* answers to what was asked before are not about it */
        return e;
    }
    if (s->entry_count >= s->bucket_count)
        table_grow(s);
    e = xcalloc(1, sizeof *e);
    e->topic = (struct str){str_dup(topic), topic.len};
    e->topic_id = topic_id;
    e->index = index;
    e->state = FETCH_WANTED;
    e->listed_seq = s->seq + 1;
    TAILQ_INSERT_TAIL(&s->lists[FETCH_WANTED], e, link);
    s->counts[FETCH_WANTED]++;
    s->entry_count++;
    s->without_id += uuid_is_zero(topic_id);
    table_insert(s, e);
    return e;
}

void fetch_set_remove(struct fetch_set *s, struct fetch_entry *e)
{
    ASSERT(e->partition == NULL);
    if (e->in_session)
        move(s, e, FETCH_GONE);
    else
        entry_free(s, e);
}

int32_t fetch_set_count(const struct fetch_set *s)
{
    return (int32_t)s->entry_count - s->counts[FETCH_GONE];
}

bool fetch_set_has_work(const struct fetch_set *s)
{
    return s->counts[FETCH_WANTED] + s->counts[FETCH_LISTED] > 0;
}

/* ---- requests */

static int by_topic(const void *a, const void *b)
{
    const struct fetch_entry *x = *(struct fetch_entry *const *)a;
    const struct fetch_entry *y = *(struct fetch_entry *const *)b;
    int order = str_cmp(x->topic, y->topic);

    return order != 0 ? order : (x->index > y->index) - (x->index < y->index);
}

/* The entries that one part of a request names, topic by topic. */
struct pick {
    struct fetch_entry **v;
    int32_t count, topics;
};

static void pick_sort(struct pick *p)
{
    qsort(p->v, (size_t)p->count, sizeof *p->v, by_topic);
    p->topics = 0;
    for (int32_t i = 0; i < p->count; i++)
        p->topics += i == 0 || !str_eq(p->v[i - 1]->topic, p->v[i]->topic);
}

static int32_t topic_end(const struct pick *p, int32_t from)
{
    int32_t end = from + 1;

    while (end < p->count && str_eq(p->v[end]->topic, p->v[from]->topic))
        end++;
    return end;
}

static void put_partition(const struct fetch_entry *e, int32_t max_bytes,
                          struct kp_FetchRequest_FetchPartition *to)
{
    kp_defaults(&kp_FetchRequest_FetchPartition_schema, to);
    to->partition = e->index;
    to->current_leader_epoch = e->leader_epoch;
    to->fetch_offset = e->offset;
    to->last_fetched_epoch = e->last_epoch;
    to->log_start_offset = e->start_offset;
    to->partition_max_bytes = max_bytes;
}

static void put_topics(struct arena *a, struct pick *p, int32_t max_bytes,
                       struct kp_FetchRequest *req)
{
    int32_t n = 0;

    pick_sort(p);
    req->topics = arena_alloc(a, (size_t)i32_max(p->topics, 1) * sizeof *req->topics);
    req->topics_count = p->topics;
    for (int32_t i = 0; i < p->count; n++) {
        int32_t end = topic_end(p, i);
        struct kp_FetchRequest_FetchTopic *t = &req->topics[n];
        kp_defaults(&kp_FetchRequest_FetchTopic_schema, t);
        t->topic = p->v[i]->topic;
        t->topic_id = p->v[i]->topic_id;
        t->partitions = arena_alloc(a, (size_t)(end - i) * sizeof *t->partitions);
        for (; i < end; i++)
            put_partition(p->v[i], max_bytes, &t->partitions[t->partitions_count++]);
    }
}

static void put_forgotten(struct arena *a, struct pick *p, struct kp_FetchRequest *req)
{
    int32_t n = 0;

    pick_sort(p);
    req->forgotten_topics_data =
        arena_alloc(a, (size_t)i32_max(p->topics, 1) * sizeof *req->forgotten_topics_data);
    req->forgotten_topics_data_count = p->topics;
    for (int32_t i = 0; i < p->count; n++) {
        int32_t end = topic_end(p, i);
        struct kp_FetchRequest_ForgottenTopic *t = &req->forgotten_topics_data[n];
        kp_defaults(&kp_FetchRequest_ForgottenTopic_schema, t);
        t->topic = p->v[i]->topic;
        t->topic_id = p->v[i]->topic_id;
        t->partitions = arena_alloc(a, (size_t)(end - i) * sizeof *t->partitions);
        for (; i < end; i++)
            t->partitions[t->partitions_count++] = p->v[i]->index;
    }
}

static void pick_list(struct pick *p, const struct fetch_set *s, enum fetch_state state)
{
    struct fetch_entry *e;

    TAILQ_FOREACH (e, &s->lists[state], link)
        p->v[p->count++] = e;
}

/* What the leader still has in the session and must not answer for any more. */
static void pick_forgotten(struct pick *p, const struct fetch_set *s)
{
    static const enum fetch_state out[] = {FETCH_DELAYED, FETCH_PAUSED, FETCH_GONE};

    for (size_t i = 0; i < ARRAY_LEN(out); i++) {
        struct fetch_entry *e;
        TAILQ_FOREACH (e, &s->lists[out[i]], link) {
            if (e->in_session)
                p->v[p->count++] = e;
        }
    }
}

static struct pick pick_new(struct arena *a, int32_t most)
{
    return (struct pick){.v = arena_alloc(a, ((size_t)most + 1) * sizeof(struct fetch_entry *))};
}

int16_t fetch_set_request(struct fetch_set *s, struct arena *a, int32_t partition_max_bytes,
                          struct kp_FetchRequest *req, uint32_t *seq_out)
{
    bool has_ids = s->without_id == 0;
    struct pick named, forgotten;

    if (has_ids != s->session_has_ids)
        s->session_epoch = 0; /* names and ids cannot be mixed in one session */
    /* an incremental request costs what it names, not what the session holds */
    named = pick_new(a, s->counts[FETCH_WANTED] +
                            (s->session_epoch == 0 ? s->counts[FETCH_LISTED] : 0));
    forgotten =
        pick_new(a, s->counts[FETCH_DELAYED] + s->counts[FETCH_PAUSED] + s->counts[FETCH_GONE]);
    s->session_has_ids = has_ids;
    s->seq++;
    pick_forgotten(&forgotten, s);
    for (int32_t i = 0; i < forgotten.count; i++)
        forgotten.v[i]->in_session = false;
    if (s->session_epoch == 0) {
        pick_list(&named, s, FETCH_LISTED);
        forgotten.count = 0;
    }
    pick_list(&named, s, FETCH_WANTED);
    for (int32_t i = 0; i < named.count; i++) {
        move(s, named.v[i], FETCH_LISTED);
        named.v[i]->in_session = true;
        named.v[i]->listed_seq = s->seq;
    }
    req->session_id = s->session_id;
    req->session_epoch = s->session_epoch;
    put_topics(a, &named, partition_max_bytes, req);
    put_forgotten(a, &forgotten, req);
    if (s->session_epoch > 0)
        s->session_epoch = s->session_epoch == INT32_MAX ? 1 : s->session_epoch + 1;
    *seq_out = s->seq;
    return has_ids ? FETCH_VERSION_IDS : FETCH_VERSION_NAMES;
}

void fetch_set_sent(struct fetch_set *s)
{
    struct fetch_entry *e = TAILQ_FIRST(&s->lists[FETCH_GONE]);

    while (e != NULL) {
        struct fetch_entry *next = TAILQ_NEXT(e, link);
        if (!e->in_session)
            entry_free(s, e);
        e = next;
    }
}

/* ---- answers */

bool fetch_set_answer(struct fetch_set *s, uint32_t seq, bool was_full, int16_t error,
                      int32_t session_id)
{
    (void)seq;
    if (error != KE_NONE) {
        if (error == KE_FETCH_SESSION_ID_NOT_FOUND)
            s->session_id = 0;
        s->session_epoch = 0;
        return false;
    }
    if (was_full) {
        s->session_id = session_id;
        s->session_epoch = session_id != 0 ? 1 : 0;
    }
    return true;
}

bool fetch_entry_fits(const struct fetch_entry *e, uint32_t seq)
{
    /* request numbers may wrap */
    return e->state == FETCH_LISTED && (int32_t)(seq - e->listed_seq) >= 0;
}

bool fetch_entry_offsets_fit(const struct fetch_entry *e, uint32_t seq)
{
    return (e->state == FETCH_WANTED || e->state == FETCH_LISTED) &&
           (int32_t)(seq - e->listed_seq) >= 0;
}

void fetch_set_disconnected(struct fetch_set *s)
{
    struct fetch_entry *e;

    s->session_epoch = 0;
    for (int i = 0; i < FETCH_STATES; i++) {
        TAILQ_FOREACH (e, &s->lists[i], link)
            e->in_session = false;
    }
    fetch_set_sent(s);
}
