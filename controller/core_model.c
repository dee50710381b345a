/* SPDX-License-Identifier: Apache-2.0 */
/* The controller core's tables: brokers sorted by id, topics by name and id, replicas listed by
 * partition and by broker. Nothing here decides. */
#include "controller/core_model.h"

#include <stdlib.h>

/* ---- small arrays of broker ids */
void core_ids_set(struct core_ids *ids, const int32_t *v, int32_t count)
{
    int32_t *copy = NULL; /* made first: v may point into ids */

    if (count > 0) {
        copy = xmalloc((size_t)count * sizeof *copy);
        memcpy(copy, v, (size_t)count * sizeof *copy);
    }
    mem_free(ids->v);
    ids->v = copy;
    ids->count = count;
}

void core_ids_fini(struct core_ids *ids)
{
    FREE_NULL(&ids->v);
    ids->count = 0;
}

bool core_ids_has(const struct core_ids *ids, int32_t id)
{
    for (int32_t i = 0; i < ids->count; i++) {
        if (ids->v[i] == id)
            return true;
    }
    return false;
}

void core_ids_remove(struct core_ids *ids, int32_t id)
{
    int32_t kept = 0;

    for (int32_t i = 0; i < ids->count; i++) {
        if (ids->v[i] != id)
            ids->v[kept++] = ids->v[i];
    }
    ids->count = kept;
}

bool core_ids_eq(const struct core_ids *a, const int32_t *v, int32_t count)
{
    return a->count == count && (count == 0 || memcmp(a->v, v, (size_t)count * sizeof *v) == 0);
}

void core_state_copy(struct core_state *to, const struct core_state *from)
{
    struct core_ids isr = to->isr;

    core_ids_set(&isr, from->isr.v, from->isr.count);
    *to = *from;
    to->isr = isr;
}

void core_state_fini(struct core_state *s)
{
    core_ids_fini(&s->isr);
}

/* ---- brokers */

/* The place of id in the sorted array: where it is, or where it belongs. */
static int32_t broker_place(const struct controller_core *core, int32_t id)
{
    int32_t low = 0, high = core->broker_count;

    while (low < high) {
        int32_t mid = low + (high - low) / 2;

        if (core->brokers[mid]->id < id)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

struct core_broker *core_broker_find(const struct controller_core *core, int32_t id)
{
    int32_t at = broker_place(core, id);

    return at < core->broker_count && core->brokers[at]->id == id ? core->brokers[at] : NULL;
}

struct core_broker *core_broker_get(struct controller_core *core, int32_t id)
{
    int32_t at = broker_place(core, id);
    struct core_broker *b;

    if (at < core->broker_count && core->brokers[at]->id == id)
        return core->brokers[at];
    b = xcalloc(1, sizeof *b);
    b->id = id;
    TAILQ_INIT(&b->replicas);
    TAILQ_INIT(&b->outbox);
    core->brokers =
        xrealloc(core->brokers, ((size_t)core->broker_count + 1) * sizeof(struct core_broker *));
    memmove(core->brokers + at + 1, core->brokers + at,
            (size_t)(core->broker_count - at) * sizeof(struct core_broker *));
    core->brokers[at] = b;
    core->broker_count++;
    return b;
}

/* ---- topics */
struct core_topic *core_topic_find(const struct controller_core *core, struct str name)
{
    struct core_topic *t = NULL;

    if (name.len >= 0)
        HASH_FIND(by_name, core->topics, name.p, (size_t)name.len, t);
    return t;
}

struct core_topic *core_topic_find_id(const struct controller_core *core, struct uuid id)
{
    struct core_topic *t = NULL;

    if (!uuid_is_zero(id))
        HASH_FIND(by_id, core->topics_by_id, &id, sizeof id, t);
    return t;
}

struct core_topic *core_topic_add(struct controller_core *core, struct str name)
{
    struct core_topic *t = xcalloc(1, sizeof *t);

    ASSERT(core_topic_find(core, name) == NULL);
    t->name = str_dup(name);
    TAILQ_INIT(&t->waiters);
    HASH_ADD_KEYPTR(by_name, core->topics, t->name, (size_t)name.len, t);
    return t;
}

void core_topic_index_id(struct controller_core *core, struct core_topic *t)
{
    if (t->is_id_indexed || uuid_is_zero(t->id) || core_topic_find_id(core, t->id) != NULL)
        return;
    HASH_ADD(by_id, core->topics_by_id, id, sizeof t->id, t);
    t->is_id_indexed = true;
}

static void replica_free(struct core_replica *r)
{
    ASSERT(r->out == OUT_NONE);
    mem_free(r);
}

static void partition_free(struct core_partition *p)
{
    struct core_replica *r;

    ASSERT(p->change == NULL && p->waiter_count == 0 && p->place != PLACE_LIVE &&
           p->place != PLACE_DEAD);
    for (int32_t i = 0; i < p->assignment.count; i++) {
        r = p->replicas[i];
        core_out_remove(r);
        TAILQ_REMOVE(&r->broker->replicas, r, of_broker);
        r->broker->replica_count--;
        replica_free(r);
    }
    while ((r = TAILQ_FIRST(&p->detached)) != NULL) {
        TAILQ_REMOVE(&p->detached, r, of_broker);
        core_out_remove(r);
        replica_free(r);
    }
    mem_free(p->replicas);
    core_ids_fini(&p->assignment);
    core_ids_fini(&p->adding);
    core_ids_fini(&p->removing);
    core_state_fini(&p->state);
    mem_free(p);
}

void core_topic_release(struct core_topic *t)
{
    if (!t->is_gone || t->metadata_count > 0 || t->change_count > 0 || t->write != NULL)
        return;
    for (int32_t i = 0; i < t->partition_count; i++)
        partition_free(t->partitions[i]);
    mem_free(t->partitions);
    mem_free(t->name);
    mem_free(t);
}

void core_topic_drop(struct controller_core *core, struct core_topic *t)
{
    ASSERT(!t->is_gone);
    HASH_DELETE(by_name, core->topics, t);
    if (t->is_id_indexed)
        HASH_DELETE(by_id, core->topics_by_id, t);
    t->is_id_indexed = false;
    t->is_gone = true;
    t->change_count++; /* holds it while its parts end */
    core_topic_waiters_done(core, t, KE_UNKNOWN_TOPIC_OR_PARTITION);
    for (int32_t i = 0; i < t->partition_count; i++) {
        struct core_partition *p = t->partitions[i];
        struct core_waiter *w;

        core_metadata_bury(core, p);
        for (int32_t j = 0; j < p->assignment.count; j++)
            core_out_remove(p->replicas[j]);
        while ((w = TAILQ_FIRST(&p->waiters)) != NULL) {
            TAILQ_REMOVE(&p->waiters, w, link);
            p->waiter_count--;
            if (w->kind == WAIT_ALTER)
                core_alter_failed(core, w, KE_UNKNOWN_TOPIC_OR_PARTITION);
            else
                core_join_done(core, w);
        }
        core_change_abandon(core, p);
    }
    t->change_count--;
    core_topic_release(t);
}

/* ---- partitions */
struct core_partition *core_partition_find(const struct core_topic *t, int32_t index)
{
    int32_t low = 0, high = t->partition_count;

    if (index >= 0 && index < high && t->partitions[index]->index == index)
        return t->partitions[index];
    while (low < high) {
        int32_t mid = low + (high - low) / 2;

        if (t->partitions[mid]->index == index)
            return t->partitions[mid];
        if (t->partitions[mid]->index < index)
            low = mid + 1;
        else
            high = mid;
    }
    return NULL;
}

struct core_replica *core_replica_find(const struct core_partition *p, int32_t broker_id)
{
    for (int32_t i = 0; i < p->assignment.count; i++) {
        if (p->assignment.v[i] == broker_id)
            return p->replicas[i];
    }
    return NULL;
}

/* A replica for that broker: the present one, a detached one taken back, or a new one. */
static struct core_replica *replica_get(struct controller_core *core, struct core_partition *p,
                                        int32_t id)
{
    struct core_replica *r = core_replica_find(p, id);

    if (r != NULL)
        return r;
    TAILQ_FOREACH (r, &p->detached, of_broker) {
        if (r->broker->id == id) {
            TAILQ_REMOVE(&p->detached, r, of_broker);
            core_out_remove(r); /* its data stay: it truncates to what the leader has */
            r->is_detached = false;
            break;
        }
    }
    if (r == NULL) {
        r = xcalloc(1, sizeof *r);
        r->partition = p;
        r->broker = core_broker_get(core, id);
    }
    TAILQ_INSERT_TAIL(&r->broker->replicas, r, of_broker);
    r->broker->replica_count++;
    return r;
}

void core_partition_assign(struct controller_core *core, struct core_partition *p,
                           const int32_t *ids, int32_t count)
{
    struct core_ids next = {0};
    struct core_replica **replicas = xcalloc((size_t)count + 1, sizeof(struct core_replica *));

    core_ids_set(&next, ids, count);
    for (int32_t i = 0; i < count; i++)
        replicas[i] = replica_get(core, p, next.v[i]);
    for (int32_t i = 0; i < p->assignment.count; i++) {
        struct core_replica *r = p->replicas[i];

        if (core_ids_has(&next, r->broker->id))
            continue;
        TAILQ_REMOVE(&r->broker->replicas, r, of_broker);
        r->broker->replica_count--;
        if (r->out == OUT_STOP) {
            r->is_detached = true;
            TAILQ_INSERT_TAIL(&p->detached, r, of_broker);
        } else {
            core_out_remove(r);
            replica_free(r);
        }
    }
    mem_free(p->replicas);
    core_ids_fini(&p->assignment);
    p->replicas = replicas;
    p->assignment = next;
}

struct core_partition *core_partition_add(struct controller_core *core, struct core_topic *t,
                                          const struct zkdoc_partition *doc)
{
    struct core_partition *p = xcalloc(1, sizeof *p);
    int32_t at = t->partition_count;

    p->topic = t;
    p->index = doc->index;
    p->state.leader = -1;
    TAILQ_INIT(&p->waiters);
    TAILQ_INIT(&p->detached);
    core_partition_assign(core, p, doc->replicas, doc->replica_count);
    core_ids_set(&p->adding, doc->adding, doc->adding_count);
    core_ids_set(&p->removing, doc->removing, doc->removing_count);
    if ((t->partition_count & (t->partition_count - 1)) == 0) { /* full: 0, 1, 2, 4, ... */
        size_t room = t->partition_count == 0 ? 1 : (size_t)t->partition_count * 2;

        t->partitions = xrealloc(t->partitions, room * sizeof(struct core_partition *));
    }
    while (at > 0 && t->partitions[at - 1]->index > p->index) {
        t->partitions[at] = t->partitions[at - 1];
        at--;
    }
    t->partitions[at] = p;
    t->partition_count++;
    return p;
}

/* ---- everything */
static void change_clear(struct core_partition *p)
{
    mem_free(p->change->alter);
    p->topic->create_count -= p->change->is_create;
    core_state_fini(&p->change->next);
    FREE_NULL(&p->change);
    p->topic->change_count--;
}

static void waiters_clear(struct core_topic *t)
{
    struct core_waiter *of_topic;

    while ((of_topic = TAILQ_FIRST(&t->waiters)) != NULL) {
        TAILQ_REMOVE(&t->waiters, of_topic, link);
        core_waiter_free(of_topic);
    }
    for (int32_t i = 0; i < t->partition_count; i++) {
        struct core_partition *p = t->partitions[i];
        struct core_waiter *w;

        while ((w = TAILQ_FIRST(&p->waiters)) != NULL) {
            TAILQ_REMOVE(&p->waiters, w, link);
            p->waiter_count--;
            core_waiter_free(w);
        }
    }
}

static void writes_clear(struct controller_core *core)
{
    struct core_write *w, *next;

    HASH_ITER (hh, core->writes, w, next) {
        for (int32_t i = 0; i < w->count; i++) {
            struct core_partition *p = w->partitions[i];

            change_clear(p);
            core_topic_release(p->topic);
        }
        if (w->kind == WRITE_TOPIC) {
            w->topic->write = NULL;
            core_topic_release(w->topic);
        }
        HASH_DEL(core->writes, w);
        mem_free(w);
    }
}

/* Changes whose write is answered, but whose state is being read, belong to no write. */
static void changes_clear(struct core_topic *t)
{
    for (int32_t i = 0; i < t->partition_count; i++) {
        struct core_partition *p = t->partitions[i];

        if (p->change != NULL)
            change_clear(p);
    }
}

void core_model_clear(struct controller_core *core)
{
    struct core_topic *t, *next;
    struct core_name *n;

    ASSERT(core->batch == NULL);
    HASH_ITER (by_name, core->topics, t, next)
        waiters_clear(t);
    core_requests_abort(core);
    writes_clear(core);
    HASH_ITER (by_name, core->topics, t, next) {
        changes_clear(t);
        for (int32_t i = 0; i < t->partition_count; i++)
            core_metadata_forget(core, t->partitions[i]);
        core_topic_drop(core, t); /* nothing of it is in a list: freed */
    }
    while (!TAILQ_EMPTY(&core->metadata_dead)) /* frees topics that are gone already */
        core_metadata_forget(core, TAILQ_FIRST(&core->metadata_dead));
    ASSERT(TAILQ_EMPTY(&core->metadata));
    for (int32_t i = 0; i < core->broker_count; i++) {
        ASSERT(TAILQ_EMPTY(&core->brokers[i]->replicas));
        mem_free(core->brokers[i]);
    }
    FREE_NULL(&core->brokers);
    core->broker_count = 0;
    while ((n = TAILQ_FIRST(&core->delete_names)) != NULL) {
        TAILQ_REMOVE(&core->delete_names, n, link);
        mem_free(n->name);
        mem_free(n);
    }
    core->phase = CORE_IDLE;
    core->epoch = 0;
    core->next_balance_ms = -1;
}
