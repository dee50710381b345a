/* SPDX-License-Identifier: Apache-2.0 */
/* metadata - see metadata.h. The table of topics is 1024 shards by the top bits of a hash; a shard
 * is a counted, sorted array that snapshots share until one changes it. Two such tables: by name,
 * and by id for topics that have one. */
#include "broker/cluster/metadata.h"
#include "common/protocol/messages.h"
#include "common/base/keyed_hash.h"

#include <stdatomic.h>
#include <stdlib.h>

enum { METADATA_MAGIC = 0x6d657461, SHARD_BITS = 10, SHARD_COUNT = 1 << SHARD_BITS };

struct entry {
    uint32_t hash;
    struct metadata_topic *topic; /* counted */
};
struct shard {
    _Atomic int64_t refs;
    int32_t count, cap;
    struct entry entries[]; /* sorted by hash */
};
struct table {
    struct shard *shards[SHARD_COUNT]; /* NULL: empty */
};
struct metadata {
    unsigned magic;
    _Atomic int64_t refs;
    int32_t controller_id;
    int32_t broker_count;
    struct metadata_broker *brokers; /* sorted by id */
    struct table by_name, by_id;
    int32_t first[SHARD_COUNT + 1]; /* topics in the shards before this one, by name */
};

/* ---- hashes */

static uint32_t hash_name(struct str s)
{
    return (uint32_t)keyed_hash(s.p, (size_t)i32_max(s.len, 0));
}

static uint32_t hash_id(struct uuid id)
{
    return (uint32_t)keyed_hash(id.b, sizeof id.b);
}

static size_t shard_of(uint32_t hash)
{
    return hash >> (32 - SHARD_BITS);
}

/* ---- tables of counted topics */

static struct metadata_topic *topic_ref(struct metadata_topic *t)
{
    atomic_fetch_add_explicit(&t->refs, 1, memory_order_relaxed);
    return t;
}

static void topic_unref(struct metadata_topic *t)
{
    if (t != NULL && atomic_fetch_sub(&t->refs, 1) == 1)
        mem_free(t);
}

static void shard_unref(struct shard *s)
{
    if (s == NULL || atomic_fetch_sub(&s->refs, 1) != 1)
        return;
    for (int32_t i = 0; i < s->count; i++)
        topic_unref(s->entries[i].topic);
    mem_free(s);
}

static struct shard *shard_alloc(int32_t cap)
{
    struct shard *s = xmalloc(sizeof *s + (size_t)cap * sizeof s->entries[0]);
    atomic_init(&s->refs, 1);
    s->count = 0;
    s->cap = cap;
    return s;
}

/* A shard that only this table holds, with room for one more entry. A count of one cannot rise
 * behind our back: a new reference is only made by copying a table that has one. */
static struct shard *shard_own(struct shard **slot)
{
    struct shard *old = *slot;
    int32_t count = old == NULL ? 0 : old->count;
    if (old != NULL && atomic_load(&old->refs) == 1 && count < old->cap)
        return old;
    struct shard *s = shard_alloc(count + 1 + count / 4);
    for (int32_t i = 0; i < count; i++) {
        s->entries[i] = old->entries[i];
        topic_ref(s->entries[i].topic);
    }
    s->count = count;
    shard_unref(old);
    *slot = s;
    return s;
}

/* The first entry whose hash is not smaller. */
static int32_t shard_lower(const struct shard *s, uint32_t hash)
{
    int32_t low = 0, high = s == NULL ? 0 : s->count;
    while (low < high) {
        int32_t mid = low + (high - low) / 2;
        if (s->entries[mid].hash < hash)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

static int32_t shard_find_name(const struct shard *s, uint32_t hash, struct str name)
{
    if (s == NULL)
        return -1;
    for (int32_t i = shard_lower(s, hash); i < s->count && s->entries[i].hash == hash; i++)
        if (str_eq(s->entries[i].topic->name, name))
            return i;
    return -1;
}

static int32_t shard_find_id(const struct shard *s, uint32_t hash, struct uuid id)
{
    if (s == NULL)
        return -1;
    for (int32_t i = shard_lower(s, hash); i < s->count && s->entries[i].hash == hash; i++)
        if (uuid_eq(s->entries[i].topic->id, id))
            return i;
    return -1;
}

/* Puts t (takes a reference of its own) where at says, or inserts it when at is -1. */
static void table_put(struct table *tab, uint32_t hash, int32_t at, struct metadata_topic *t)
{
    struct shard *s = shard_own(&tab->shards[shard_of(hash)]);
    if (at >= 0) {
        topic_unref(s->entries[at].topic);
    } else {
        at = shard_lower(s, hash);
        memmove(&s->entries[at + 1], &s->entries[at],
                (size_t)(s->count - at) * sizeof s->entries[0]);
        s->count++;
    }
    s->entries[at] = (struct entry){hash, topic_ref(t)};
}

static void table_remove(struct table *tab, uint32_t hash, int32_t at)
{
    struct shard *s = shard_own(&tab->shards[shard_of(hash)]);
    topic_unref(s->entries[at].topic);
    memmove(&s->entries[at], &s->entries[at + 1],
            (size_t)(s->count - at - 1) * sizeof s->entries[0]);
    s->count--;
}

static void table_share(struct table *to, const struct table *from)
{
    *to = *from;
    for (int i = 0; i < SHARD_COUNT; i++)
        if (to->shards[i] != NULL)
            atomic_fetch_add_explicit(&to->shards[i]->refs, 1, memory_order_relaxed);
}

static void table_fini(struct table *t)
{
    for (int i = 0; i < SHARD_COUNT; i++)
        shard_unref(t->shards[i]);
}

/* ---- snapshots */

struct metadata *metadata_new(void)
{
    struct metadata *m = xcalloc(1, sizeof *m);
    m->magic = METADATA_MAGIC;
    atomic_init(&m->refs, 1);
    m->controller_id = -1;
    return m;
}

struct metadata *metadata_ref(struct metadata *m)
{
    CHECK_OBJ(m, METADATA_MAGIC);
    MUST(atomic_fetch_add_explicit(&m->refs, 1, memory_order_relaxed) > 0);
    return m;
}

static void brokers_free(struct metadata_broker *brokers, int32_t count)
{
    for (int32_t i = 0; i < count; i++) {
        for (int32_t j = 0; j < brokers[i].endpoint_count; j++) {
            mem_free(brokers[i].endpoints[j].listener);
            mem_free(brokers[i].endpoints[j].host);
        }
        mem_free(brokers[i].endpoints);
        mem_free(brokers[i].rack);
    }
    mem_free(brokers);
}

void metadata_unref(struct metadata **mp)
{
    struct metadata *m = *mp;
    *mp = NULL;
    if (m == NULL)
        return;
    CHECK_OBJ(m, METADATA_MAGIC);
    int64_t before = atomic_fetch_sub(&m->refs, 1);
    ASSERT(before > 0 && m->broker_count >= 0);
    if (before != 1)
        return;
    brokers_free(m->brokers, m->broker_count);
    table_fini(&m->by_name);
    table_fini(&m->by_id);
    m->magic = 0;
    mem_free(m);
}

/* ---- building a topic */

/* What the request says of one partition; the list is sorted by index, one entry an index. */
struct change {
    int32_t index;
    const struct kp_UpdateMetadataRequest_UpdateMetadataPartitionState *state;
};

/* The topic and its arrays are one block: struct, partitions, ids, name. */
struct topic_block {
    struct metadata_topic *topic;
    int32_t *ids; /* next free */
};

static int32_t *ids_copy(struct topic_block *b, const int32_t *from, int32_t count)
{
    int32_t *to = b->ids;
    if (count > 0)
        memcpy(to, from, (size_t)count * sizeof *to);
    b->ids += i32_max(count, 0);
    return to;
}

static void
partition_from_state(struct topic_block *b, struct metadata_partition *p,
                     const struct kp_UpdateMetadataRequest_UpdateMetadataPartitionState *s)
{
    *p = (struct metadata_partition){
        .leader = s->leader,
        .leader_epoch = s->leader_epoch,
        .controller_epoch = s->controller_epoch,
        .partition_epoch = s->zk_version,
        .replica_count = i32_max(s->replicas_count, 0),
        .isr_count = i32_max(s->isr_count, 0),
        .offline_count = i32_max(s->offline_replicas_count, 0),
        .exists = true,
    };
    p->replicas = ids_copy(b, s->replicas, s->replicas_count);
    p->isr = ids_copy(b, s->isr, s->isr_count);
    p->offline = ids_copy(b, s->offline_replicas, s->offline_replicas_count);
}

static void partition_from_old(struct topic_block *b, struct metadata_partition *p,
                               const struct metadata_partition *old)
{
    *p = *old;
    p->replicas = ids_copy(b, old->replicas, old->replica_count);
    p->isr = ids_copy(b, old->isr, old->isr_count);
    p->offline = ids_copy(b, old->offline, old->offline_count);
}

static size_t ids_of_state(const struct kp_UpdateMetadataRequest_UpdateMetadataPartitionState *s)
{
    return (size_t)i32_max(s->replicas_count, 0) + (size_t)i32_max(s->isr_count, 0) +
           (size_t)i32_max(s->offline_replicas_count, 0);
}

static size_t ids_of_partition(const struct metadata_partition *p)
{
    return (size_t)p->replica_count + (size_t)p->isr_count + (size_t)p->offline_count;
}

static struct topic_block topic_alloc(struct str name, struct uuid id, int32_t partitions,
                                      size_t ids)
{
    size_t parts_bytes = (size_t)partitions * sizeof(struct metadata_partition);
    size_t head = (sizeof(struct metadata_topic) + 15u) & ~(size_t)15;
    uint8_t *block = xcalloc(1, head + parts_bytes + ids * sizeof(int32_t) + (size_t)name.len + 1);
    struct metadata_topic *t = (struct metadata_topic *)(void *)block;
    atomic_init(&t->refs, 1);
    t->id = id;
    t->partitions = (struct metadata_partition *)(void *)(block + head);
    t->partition_count = partitions;
    int32_t *first_id = (int32_t *)(void *)(block + head + parts_bytes);
    char *name_copy = (char *)(first_id + ids);
    memcpy(name_copy, name.p, (size_t)name.len);
    t->name = (struct str){name_copy, name.len};
    return (struct topic_block){t, first_id};
}

/* The first change with an index of at least index, from at on. */
static size_t change_seek(const struct change *c, size_t count, size_t at, int32_t index)
{
    while (at < count && c[at].index < index)
        at++;
    return at;
}

static bool change_deletes(const struct change *c)
{
    return c->state->leader == METADATA_LEADER_DELETED;
}

/* How many partitions the merged topic has (its last one that exists, plus one) and how many ids
 * they list. */
static int32_t topic_measure(const struct metadata_topic *old, const struct change *c, size_t count,
                             size_t *ids_out)
{
    int32_t old_count = old == NULL ? 0 : old->partition_count;
    int32_t size = 0;
    size_t at = 0, ids = 0;
    for (int32_t i = 0; i < old_count; i++) {
        at = change_seek(c, count, at, i);
        if ((at < count && c[at].index == i) || !old->partitions[i].exists)
            continue;
        ids += ids_of_partition(&old->partitions[i]);
        size = i + 1;
    }
    for (size_t i = 0; i < count; i++) {
        if (change_deletes(&c[i]))
            continue;
        ids += ids_of_state(c[i].state);
        size = i32_max(size, c[i].index + 1);
    }
    *ids_out = ids;
    return size;
}

/* old with the changes; NULL when no partition is left. old NULL: a new topic. */
static struct metadata_topic *topic_merge(const struct metadata_topic *old, struct str name,
                                          struct uuid id, const struct change *c, size_t count)
{
    size_t ids, at = 0;
    int32_t size = topic_measure(old, c, count, &ids);
    if (size == 0)
        return NULL;
    struct topic_block b = topic_alloc(name, id, size, ids);
    for (int32_t i = 0; i < size; i++) {
        struct metadata_partition *p = &b.topic->partitions[i];
        at = change_seek(c, count, at, i);
        if (at < count && c[at].index == i) {
            if (change_deletes(&c[at]))
                *p = (struct metadata_partition){.leader = METADATA_LEADER_NONE};
            else
                partition_from_state(&b, p, c[at].state);
        } else if (old != NULL && i < old->partition_count && old->partitions[i].exists) {
            partition_from_old(&b, p, &old->partitions[i]);
        } else {
            *p = (struct metadata_partition){.leader = METADATA_LEADER_NONE};
        }
    }
    return b.topic;
}

/* ---- applying a request */

struct apply {
    struct metadata *m;
    struct change *changes; /* scratch */
    size_t cap;
};

static int change_cmp(const void *a, const void *b)
{
    const struct change *x = a, *y = b;
    if (x->index != y->index)
        return x->index < y->index ? -1 : 1;
    return x->state < y->state ? -1 : x->state > y->state; /* as they came */
}

/* Sorts by index; of two with one index the later one stays. */
static size_t changes_sort(struct change *c, size_t count)
{
    if (count > 1)
        qsort(c, count, sizeof *c, change_cmp);
    size_t n = 0;
    for (size_t i = 0; i < count; i++) {
        if (n > 0 && c[n - 1].index == c[i].index)
            n--;
        c[n++] = c[i];
    }
    return n;
}

static NODISCARD enum err
changes_add(struct apply *a, size_t at,
            const struct kp_UpdateMetadataRequest_UpdateMetadataPartitionState *s,
            struct errtext *why)
{
    if (s->partition_index < 0 || s->partition_index >= METADATA_PARTITIONS_MAX) {
        errtext_set(why, "partition index %d cannot be", s->partition_index);
        return ERR_INVALID;
    }
    if (at == a->cap) {
        a->cap = a->cap == 0 ? 64 : a->cap * 2;
        a->changes = xrealloc(a->changes, a->cap * sizeof *a->changes);
    }
    a->changes[at] = (struct change){s->partition_index, s};
    return ERR_OK;
}

static void topic_replace(struct metadata *m, const struct metadata_topic *old,
                          struct metadata_topic *now, uint32_t hash, int32_t at)
{
    if (old != NULL && !uuid_is_zero(old->id) && (now == NULL || !uuid_eq(now->id, old->id))) {
        uint32_t id_hash = hash_id(old->id);
        int32_t id_at = shard_find_id(m->by_id.shards[shard_of(id_hash)], id_hash, old->id);
        if (id_at >= 0)
            table_remove(&m->by_id, id_hash, id_at);
    }
    if (now == NULL) {
        if (at >= 0)
            table_remove(&m->by_name, hash, at);
        return;
    }
    if (!uuid_is_zero(now->id)) {
        uint32_t id_hash = hash_id(now->id);
        table_put(&m->by_id, id_hash,
                  shard_find_id(m->by_id.shards[shard_of(id_hash)], id_hash, now->id), now);
    }
    table_put(&m->by_name, hash, at, now);
    topic_unref(now); /* the tables hold it */
}

/* The first count of a->changes are those of one topic. */
static NODISCARD enum err apply_topic(struct apply *a, struct str name, struct uuid id,
                                      size_t count, struct errtext *why)
{
    if (name.len <= 0) {
        errtext_set(why, "a topic has no name");
        return ERR_INVALID;
    }
    uint32_t hash = hash_name(name);
    const struct shard *s = a->m->by_name.shards[shard_of(hash)];
    int32_t at = shard_find_name(s, hash, name);
    const struct metadata_topic *old = at < 0 ? NULL : s->entries[at].topic;
    const struct metadata_topic *base = old;
    if (old != NULL && uuid_is_zero(id))
        id = old->id;
    else if (old != NULL && !uuid_is_zero(old->id) && !uuid_eq(id, old->id))
        base = NULL; /* deleted and created again: nothing of the old one holds */
    count = changes_sort(a->changes, count);
    topic_replace(a->m, old, topic_merge(base, name, id, a->changes, count), hash, at);
    return ERR_OK;
}

static NODISCARD enum err apply_grouped(struct apply *a, const struct kp_UpdateMetadataRequest *req,
                                        struct errtext *why)
{
    enum err rc = ERR_OK;
    for (int32_t i = 0; rc == ERR_OK && i < req->topic_states_count; i++) {
        const struct kp_UpdateMetadataRequest_UpdateMetadataTopicState *t = &req->topic_states[i];
        size_t n = 0;
        for (int32_t j = 0; rc == ERR_OK && j < t->partition_states_count; j++)
            rc = changes_add(a, n++, &t->partition_states[j], why);
        if (rc == ERR_OK)
            rc = apply_topic(a, t->topic_name, t->topic_id, n, why);
    }
    return rc;
}

/* Versions 0-4 name the topic with each partition: runs of one name are taken together. */
static NODISCARD enum err
apply_ungrouped(struct apply *a, const struct kp_UpdateMetadataRequest *req, struct errtext *why)
{
    enum err rc = ERR_OK;
    int32_t i = 0;
    while (rc == ERR_OK && i < req->ungrouped_partition_states_count) {
        struct str name = req->ungrouped_partition_states[i].topic_name;
        size_t n = 0;
        for (; rc == ERR_OK && i < req->ungrouped_partition_states_count &&
               str_eq(req->ungrouped_partition_states[i].topic_name, name);
             i++)
            rc = changes_add(a, n++, &req->ungrouped_partition_states[i], why);
        if (rc == ERR_OK)
            rc = apply_topic(a, name, UUID_ZERO, n, why);
    }
    return rc;
}

static const char *security_protocol_name(int16_t p)
{
    static const char *const names[] = {"PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"};
    return p >= 0 && p < (int16_t)ARRAY_LEN(names) ? names[p] : "PLAINTEXT";
}

static void broker_from_request(struct metadata_broker *b,
                                const struct kp_UpdateMetadataRequest_UpdateMetadataBroker *from)
{
    b->id = from->id;
    b->rack = from->rack.len > 0 ? str_dup(from->rack) : NULL;
    bool is_v0 = from->endpoints_count <= 0 && from->v0_host.len > 0;
    b->endpoint_count = is_v0 ? 1 : i32_max(from->endpoints_count, 0);
    b->endpoints = xcalloc((size_t)i32_max(b->endpoint_count, 1), sizeof *b->endpoints);
    if (is_v0) {
        b->endpoints[0] = (struct metadata_endpoint){.listener = xstrdup("PLAINTEXT"),
                                                     .host = str_dup(from->v0_host),
                                                     .port = from->v0_port};
        return;
    }
    for (int32_t i = 0; i < b->endpoint_count; i++) {
        const struct kp_UpdateMetadataRequest_UpdateMetadataEndpoint *e = &from->endpoints[i];
        b->endpoints[i] = (struct metadata_endpoint){
            .listener = e->listener.len > 0 ? str_dup(e->listener)
                                            : xstrdup(security_protocol_name(e->security_protocol)),
            .host = e->host.len >= 0 ? str_dup(e->host) : xstrdup(""),
            .port = e->port,
            .security_protocol = e->security_protocol,
        };
    }
}

static int broker_cmp(const void *a, const void *b)
{
    const struct metadata_broker *x = a, *y = b;
    return x->id < y->id ? -1 : x->id > y->id;
}

static NODISCARD enum err
apply_brokers(struct metadata *m, const struct kp_UpdateMetadataRequest *req, struct errtext *why)
{
    int32_t count = i32_max(req->live_brokers_count, 0);
    m->brokers = xcalloc((size_t)i32_max(count, 1), sizeof *m->brokers);
    m->broker_count = count;
    for (int32_t i = 0; i < count; i++)
        broker_from_request(&m->brokers[i], &req->live_brokers[i]);
    qsort(m->brokers, (size_t)count, sizeof *m->brokers, broker_cmp);
    for (int32_t i = 0; i < count; i++) {
        if (m->brokers[i].id < 0 || (i > 0 && m->brokers[i].id == m->brokers[i - 1].id)) {
            errtext_set(why, "broker id %d is negative or named twice", m->brokers[i].id);
            return ERR_INVALID;
        }
    }
    return ERR_OK;
}

enum err metadata_apply(struct metadata *old, const struct kp_UpdateMetadataRequest *req,
                        struct metadata **out, struct errtext *why)
{
    enum { TYPE_FULL = 2 };
    CHECK_OBJ(old, METADATA_MAGIC);
    *out = NULL;
    struct apply a = {.m = metadata_new()};
    a.m->controller_id = req->controller_id;
    if (req->type != TYPE_FULL) {
        table_share(&a.m->by_name, &old->by_name);
        table_share(&a.m->by_id, &old->by_id);
    }
    enum err rc = apply_brokers(a.m, req, why);
    if (rc == ERR_OK)
        rc = apply_grouped(&a, req, why);
    if (rc == ERR_OK)
        rc = apply_ungrouped(&a, req, why);
    if (rc != ERR_OK)
        goto out;
    for (int i = 0; i < SHARD_COUNT; i++) {
        const struct shard *s = a.m->by_name.shards[i];
        a.m->first[i + 1] = a.m->first[i] + (s == NULL ? 0 : s->count);
    }
    *out = a.m;
    a.m = NULL; /* the caller's */
out:
    mem_free(a.changes);
    metadata_unref(&a.m);
    return rc;
}

/* ---- looking up */

const struct metadata_topic *metadata_topic(const struct metadata *m, struct str name)
{
    CHECK_OBJ(m, METADATA_MAGIC);
    if (name.len <= 0)
        return NULL;
    uint32_t hash = hash_name(name);
    const struct shard *s = m->by_name.shards[shard_of(hash)];
    int32_t at = shard_find_name(s, hash, name);
    return at < 0 ? NULL : s->entries[at].topic;
}

const struct metadata_topic *metadata_topic_by_id(const struct metadata *m, struct uuid id)
{
    CHECK_OBJ(m, METADATA_MAGIC);
    if (uuid_is_zero(id))
        return NULL;
    uint32_t hash = hash_id(id);
    const struct shard *s = m->by_id.shards[shard_of(hash)];
    int32_t at = shard_find_id(s, hash, id);
    return at < 0 ? NULL : s->entries[at].topic;
}

const struct metadata_partition *metadata_partition(const struct metadata *m, struct str topic,
                                                    int32_t partition)
{
    return metadata_partition_of(metadata_topic(m, topic), partition);
}

const struct metadata_partition *metadata_partition_of(const struct metadata_topic *t,
                                                       int32_t partition)
{
    if (t == NULL || partition < 0 || partition >= t->partition_count ||
        !t->partitions[partition].exists)
        return NULL;
    return &t->partitions[partition];
}

const struct metadata_broker *metadata_broker(const struct metadata *m, int32_t id)
{
    CHECK_OBJ(m, METADATA_MAGIC);
    if (m->broker_count == 0)
        return NULL;
    struct metadata_broker key = {.id = id};
    return bsearch(&key, m->brokers, (size_t)m->broker_count, sizeof key, broker_cmp);
}

const struct metadata_endpoint *metadata_endpoint(const struct metadata_broker *b,
                                                  const char *listener)
{
    for (int32_t i = 0; b != NULL && i < b->endpoint_count; i++)
        if (strcmp(b->endpoints[i].listener, listener) == 0)
            return &b->endpoints[i];
    return NULL;
}

int32_t metadata_controller_id(const struct metadata *m)
{
    CHECK_OBJ(m, METADATA_MAGIC);
    return m->controller_id;
}

int32_t metadata_broker_count(const struct metadata *m)
{
    CHECK_OBJ(m, METADATA_MAGIC);
    return m->broker_count;
}

const struct metadata_broker *metadata_broker_at(const struct metadata *m, int32_t i)
{
    CHECK_OBJ(m, METADATA_MAGIC);
    ASSERT(i >= 0 && i < m->broker_count);
    return &m->brokers[i];
}

int32_t metadata_topic_count(const struct metadata *m)
{
    CHECK_OBJ(m, METADATA_MAGIC);
    return m->first[SHARD_COUNT];
}

const struct metadata_topic *metadata_topic_at(const struct metadata *m, int32_t i)
{
    CHECK_OBJ(m, METADATA_MAGIC);
    ASSERT(i >= 0 && i < m->first[SHARD_COUNT]);
    int low = 0, high = SHARD_COUNT; /* the last shard that begins at or before i */
    while (high - low > 1) {
        int mid = low + (high - low) / 2;
        if (m->first[mid] <= i)
            low = mid;
        else
            high = mid;
    }
    return m->by_name.shards[low]->entries[i - m->first[low]].topic;
}
