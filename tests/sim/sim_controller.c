/* SPDX-License-Identifier: Apache-2.0 */
/* Random schedules for the controller core: several controllers (at most one of them rightful), a
 * fake ZooKeeper, fake brokers. See tests/sim/README.md.
 *
 *     sim_controller            the seeds of seeds.txt, then 200 from 1 up
 *     sim_controller N [FIRST]  N seeds from FIRST (1) up
 *     sim_controller -v SEED    one, with every step printed
 *
 * Each seed runs twice; the two must take the same steps to the byte. */
#include "controller/controller_core.h"

#include <stdio.h>
#include <stdlib.h>

enum {
    BROKERS = 5,
    TOPICS = 5,
    PARTITIONS = 6,
    IDS = 8, /* room in a list of broker ids */
    REQUESTS = 256,
    ROUNDS = 30, /* of chaos, each with a rest in which ISRs may fill again */
    BURST_MAX = 8,
    CALM_STEPS_MAX = 200000
};

struct list {
    int32_t v[IDS];
    int32_t n;
};
static bool list_has(const struct list *l, int32_t id)
{
    for (int i = 0; i < l->n; i++) {
        if (l->v[i] == id)
            return true;
    }
    return false;
}
static struct list list_of(const int32_t *v, int32_t n)
{
    struct list l = {.n = n};

    ASSERT(n <= IDS);
    for (int32_t i = 0; i < n; i++)
        l.v[i] = v[i];
    return l;
}
static bool list_same_set(const struct list *a, const struct list *b)
{
    for (int i = 0; i < a->n; i++) {
        if (!list_has(b, a->v[i]))
            return false;
    }
    return a->n == b->n;
}

/* ---- the fake ZooKeeper */
struct zstate {
    bool has_node, exists;
    bool is_edited; /* by hand, and not written by a controller since */
    int32_t leader, epoch, controller_epoch, version;
    int8_t recovery;
    struct list isr;
};
struct zpart {
    struct list replicas, adding, removing;
};
struct ztopic {
    bool exists, has_partitions, is_delete_asked, is_unclean;
    struct uuid id;
    int32_t version, count;
    struct zpart parts[PARTITIONS];
    struct zstate states[PARTITIONS];
    int64_t creation;              /* not in the znode: which topic of that name */
    int64_t committed[PARTITIONS]; /* records acknowledged with acks=all; not a znode */
};
struct zbroker {
    bool exists;
    int64_t czxid;
    int32_t version;
};
struct zk {
    int64_t zxid;
    int32_t epoch, epoch_version, controller; /* -1: none */
    struct zbroker brokers[BROKERS];
    struct ztopic topics[TOPICS];
};

/* ---- calls of a controller to it: executed in order, answered in order */
enum call_kind {
    WRITE,
    LIST_BROKERS,
    LIST_TOPICS,
    LIST_DELETES,
    READ_TOPIC,
    READ_STATE,
    READ_CONFIG,
    ERASE,
    ERASE_REQUEST,
    WATCH
};
struct call {
    enum call_kind kind;
    bool is_load;
    int topic, partition;
    uint64_t id;
    struct core_op *ops;
    int32_t op_count;
    struct arena arena;
    int64_t seen[BROKERS]; /* a write: what the controller had been told when it decided */
    /* answer */
    bool is_fenced;
    enum err err;
    int32_t failed_op;
    int32_t versions[3 * CORE_BATCH_MAX];
    struct zk *snapshot;
    STAILQ_ENTRY(call) link;
};
STAILQ_HEAD(call_list, call);

/* ---- fake brokers */
struct local { /* one replica in a broker's process */
    bool exists;
    struct uuid topic_id;
    int32_t epoch, leader, version;
    struct list isr, replicas;
    bool is_dir_failed;
    bool is_asking;  /* an AlterPartition is on its way */
    bool is_pending; /* or is to be sent again, unchanged */
    bool is_stuck;   /* or was refused: nothing more until LeaderAndIsr */
    struct list proposed;
    int64_t proposed_epochs[IDS]; /* of those who join: that of their fetch (KIP-903) */
};
struct cached {
    bool exists;
    struct uuid topic_id;
    int32_t leader, epoch;
    struct list isr;
};
/* What a replica has on its disk, as a number of records. */
struct disk {
    int64_t topic; /* which creation of the topic */
    int64_t end;
    int64_t down_in; /* the broker epoch that ended since it last had all that its leader had; 0 */
};
struct message {
    bool is_there, is_delivered;
    enum core_rpc rpc;
    uint64_t id;
    int64_t broker_epoch;
    struct core_send_item items[TOPICS * PARTITIONS * 4];
    int32_t count;
    struct core_reply_item replies[TOPICS * PARTITIONS * 4];
    int16_t error;
};
struct controller_host {
    struct controller_core *core;
    struct controller_effects fx;
    enum { IDLE, LOADING, ACTIVE } role;
    int32_t epoch, epoch_version;
    struct call_list calls, answers;
    int load_pending;
    int64_t seen[BROKERS]; /* the broker epochs that it was told */
    bool watch_brokers, watch_topics, watch_deletes, watch_topic[TOPICS];
    bool is_open[BROKERS];
    struct message messages[BROKERS];
};
struct broker {
    bool is_alive, is_expired; /* expired: its session ended and it has not noticed */
    int64_t epoch;             /* its own */
    bool is_stopping;          /* asked for its shutdown */
    int32_t controller_epoch;
    int64_t incarnation;
    struct local locals[TOPICS][PARTITIONS];
    struct cached cache[TOPICS][PARTITIONS];
    struct disk disks[TOPICS][PARTITIONS]; /* outlive the process */
    struct controller_host host;
};
struct request {
    bool is_used;
    int broker;
    int64_t incarnation;
    enum core_answer_kind kind;
    int topic, partition;
    int32_t epoch;
    struct list isr;
};
struct acted { /* who led a partition in an epoch */
    struct uuid topic_id;
    int32_t partition, epoch, leader;
};

struct world {
    uint64_t seed, random, hash;
    int64_t now_ms;
    bool is_verbose, is_calm;
    struct zk zk;
    struct broker brokers[BROKERS];
    struct request requests[REQUESTS];
    struct acted *acted;
    int acted_count;
    uint64_t next_uuid;
    int steps;
};
static struct world *w; /* the one that runs; for the panic's dump */

static const char *const names[TOPICS] = {"a", "b", "c", "dd", "e.e"};

/* ---- chance */
static uint64_t chance(void)
{
    uint64_t z = (w->random += 0x9e3779b97f4a7c15u);

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}
static int below(int n)
{
    return (int)(chance() % (uint64_t)n);
}
static bool percent(int p)
{
    return below(100) < p;
}
static struct uuid make_uuid(void)
{
    struct uuid u = UUID_ZERO;

    be64_store(u.b + 8, ++w->next_uuid + 100);
    return u;
}
static void mix(int64_t v)
{
    w->hash = (w->hash ^ (uint64_t)v) * 0x100000001b3u;
}
#define SAY(...)                                                                                   \
    do {                                                                                           \
        if (w->is_verbose) {                                                                       \
            printf("%6d ", w->steps);                                                              \
            printf(__VA_ARGS__);                                                                   \
            printf("\n");                                                                          \
        }                                                                                          \
    } while (0)

static void dump(int fd, void *arg)
{
    (void)arg;
    if (w != NULL)
        dprintf(fd, "sim_controller: seed %llu step %d\n", (unsigned long long)w->seed, w->steps);
}

static int topic_of(const char *name)
{
    for (int i = 0; i < TOPICS; i++) {
        if (strcmp(names[i], name) == 0)
            return i;
    }
    UNREACHABLE();
}

/* ---- watches */
static void call_free(struct call *c)
{
    arena_fini(&c->arena);
    mem_free(c->ops);
    mem_free(c->snapshot);
    mem_free(c);
}
static void calls_clear(struct call_list *l)
{
    struct call *c;

    while ((c = STAILQ_FIRST(l)) != NULL) {
        STAILQ_REMOVE_HEAD(l, link);
        call_free(c);
    }
}
static void watch_fired(struct controller_host *h, bool *armed, enum call_kind kind, int topic)
{
    struct call *c;

    if (!*armed)
        return;
    *armed = false;
    c = xcalloc(1, sizeof *c);
    c->kind = WATCH;
    c->partition = (int)kind; /* what to read again */
    c->topic = topic;
    STAILQ_INSERT_TAIL(&h->answers, c, link);
}
static void fire(enum call_kind kind, int topic)
{
    for (int i = 0; i < BROKERS; i++) {
        struct controller_host *h = &w->brokers[i].host;

        if (h->role == IDLE || w->brokers[i].is_expired)
            continue;
        if (kind == LIST_BROKERS)
            watch_fired(h, &h->watch_brokers, kind, -1);
        else if (kind == LIST_TOPICS)
            watch_fired(h, &h->watch_topics, kind, -1);
        else if (kind == LIST_DELETES)
            watch_fired(h, &h->watch_deletes, kind, -1);
        else
            watch_fired(h, &h->watch_topic[topic], READ_TOPIC, topic);
    }
}

/* ---- records */
static int64_t *disk_end(int b, int topic, int p)
{
    struct disk *d = &w->brokers[b].disks[topic][p];

    if (d->topic != w->zk.topics[topic].creation)
        *d = (struct disk){.topic = w->zk.topics[topic].creation};
    return &d->end;
}

/* No member of the ISR has all that was acknowledged any more: it is lost, and nobody can know who
 * of them has most. */
static void accept_loss(int topic, int p)
{
    struct ztopic *t = &w->zk.topics[topic];
    const struct list *isr = &t->states[p].isr;
    int64_t least = INT64_MAX;

    for (int i = 0; t->exists && i < isr->n; i++) {
        int64_t end = *disk_end(isr->v[i], topic, p);

        if (end >= t->committed[p])
            return;
        least = i64_min(least, end);
    }
    if (!t->exists || isr->n == 0)
        return;
    SAY("%s-%d: %lld of %lld acknowledged records are gone with every replica in sync",
        names[topic], p, (long long)(t->committed[p] - least), (long long)t->committed[p]);
    t->committed[p] = least;
}

/* A new controller cannot know who was restarted before it looked: a member that lost records while
 * nobody watched may lead (as in Kafka; ZooKeeper has no place for what would be needed). */
static void accept_unseen_losses(void)
{
    for (int topic = 0; topic < TOPICS; topic++) {
        struct ztopic *t = &w->zk.topics[topic];

        for (int p = 0; t->exists && p < t->count; p++) {
            for (int i = 0; i < t->states[p].isr.n; i++)
                t->committed[p] =
                    i64_min(t->committed[p], *disk_end(t->states[p].isr.v[i], topic, p));
        }
    }
}

/* Has the controller heard that the broker was away since it was last up to date? */
static bool knows_restart(const struct call *c, int b, int topic, int p)
{
    int64_t down_in = w->brokers[b].disks[topic][p].down_in;

    return down_in != 0 && c->seen[b] > down_in;
}

/* A controller wrote this ISR. Members that were restarted, and it knew, must not be all that is
 * left of an ISR that had one with everything. What it could not know is nobody's fault. */
static void check_isr_data(const struct call *c, int topic, int p, const struct list *before)
{
    struct ztopic *t = &w->zk.topics[topic];
    const struct list *after = &t->states[p].isr;
    bool had_all = false, knew = true;

    for (int i = 0; i < before->n; i++)
        had_all |= *disk_end(before->v[i], topic, p) >= t->committed[p] &&
                   !knows_restart(c, before->v[i], topic, p);
    for (int i = 0; i < after->n; i++) {
        if (*disk_end(after->v[i], topic, p) >= t->committed[p])
            return;
        knew &= knows_restart(c, after->v[i], topic, p);
    }
    SAY("%s-%d: an ISR of %d from one of %d has lost records; known %d, avoidable %d", names[topic],
        p, after->n, before->n, knew, had_all);
    ASSERT(!had_all || !knew || t->states[p].recovery != 0);
    accept_loss(topic, p);
}

/* ---- what must hold in ZooKeeper, at each write */
static void check_written(const struct ztopic *t, int p, const struct zstate *before,
                          const struct zstate *after)
{
    ASSERT(after->isr.n > 0);
    ASSERT(after->leader == -1 || list_has(&after->isr, after->leader));
    for (int i = 0; i < after->isr.n; i++)
        ASSERT(list_has(&t->parts[p].replicas, after->isr.v[i]));
    if (!before->exists)
        return;
    ASSERT(after->epoch >= before->epoch);
    ASSERT(after->controller_epoch >= before->controller_epoch);
    ASSERT(after->leader == before->leader || after->epoch > before->epoch);
    if (after->recovery == 0 && before->recovery == 0 && after->leader != -1 &&
        !t->is_unclean) /* a clean election is out of the ISR */
        ASSERT(after->leader == before->leader || list_has(&before->isr, after->leader));
}

static struct zstate state_of(const struct zkdoc_state *d, int32_t version)
{
    return (struct zstate){.has_node = true,
                           .exists = true,
                           .leader = d->leader,
                           .epoch = d->leader_epoch,
                           .controller_epoch = d->controller_epoch,
                           .version = version,
                           .recovery = d->leader_recovery_state,
                           .isr = list_of(d->isr, d->isr_count)};
}

/* One op against the tree; its error. */
static enum err op_apply(struct zk *zk, const struct core_op *op, int32_t *version,
                         const struct call *real)
{
    struct ztopic *t = &zk->topics[topic_of(op->topic)];
    struct zstate *s = op->partition >= 0 ? &t->states[op->partition] : NULL;
    struct list before;

    *version = 0;
    if (!t->exists)
        return ERR_NOT_FOUND;
    switch (op->kind) {
    case CORE_OP_CREATE_PARTITIONS_NODE:
        if (t->has_partitions)
            return ERR_EXISTS;
        t->has_partitions = true;
        return ERR_OK;
    case CORE_OP_CREATE_PARTITION_NODE:
        if (!t->has_partitions)
            return ERR_NOT_FOUND;
        if (s->has_node)
            return ERR_EXISTS;
        s->has_node = true;
        return ERR_OK;
    case CORE_OP_CREATE_STATE: {
        struct zstate next = state_of(&op->state, 0);

        if (!s->has_node)
            return ERR_NOT_FOUND;
        if (s->exists)
            return ERR_EXISTS;
        if (real != NULL)
            check_written(t, op->partition, s, &next);
        *s = next;
        return ERR_OK;
    }
    case CORE_OP_SET_STATE: {
        struct zstate next = state_of(&op->state, op->version + 1);

        if (!s->exists)
            return ERR_NOT_FOUND;
        if (s->version != op->version)
            return ERR_BAD_VERSION;
        before = s->isr;
        if (real != NULL)
            check_written(t, op->partition, s, &next);
        *s = next;
        if (real != NULL)
            check_isr_data(real, topic_of(op->topic), op->partition, &before);
        *version = next.version;
        return ERR_OK;
    }
    case CORE_OP_SET_TOPIC:
        if (t->version != op->version)
            return ERR_BAD_VERSION;
        t->version++;
        *version = t->version;
        t->id = op->doc.topic_id;
        for (int32_t i = 0; i < op->doc.partition_count; i++) {
            const struct zkdoc_partition *d = &op->doc.partitions[i];

            t->parts[d->index] = (struct zpart){list_of(d->replicas, d->replica_count),
                                                list_of(d->adding, d->adding_count),
                                                list_of(d->removing, d->removing_count)};
        }
        if (real != NULL)
            fire(READ_TOPIC, topic_of(op->topic));
        return ERR_OK;
    }
    UNREACHABLE();
}

static void write_execute(struct controller_host *h, struct call *c)
{
    struct zk trial = w->zk;

    c->failed_op = -1;
    if (h->epoch_version != w->zk.epoch_version) {
        c->is_fenced = true;
        c->err = ERR_BAD_VERSION;
        return;
    }
    if (!w->is_calm && percent(2)) { /* lost on the way there */
        c->err = ERR_UNKNOWN_OUTCOME;
        return;
    }
    for (int32_t i = 0; i < c->op_count && c->err == ERR_OK; i++) {
        c->err = op_apply(&trial, &c->ops[i], &c->versions[i], NULL);
        if (c->err != ERR_OK)
            c->failed_op = i;
    }
    for (int32_t i = 0; i < c->op_count && c->err == ERR_OK; i++)
        MUST(op_apply(&w->zk, &c->ops[i], &c->versions[i], c) == ERR_OK);
    if (!w->is_calm && percent(2)) /* lost on the way back */
        c->err = ERR_UNKNOWN_OUTCOME;
}

static void call_execute(int b)
{
    struct controller_host *h = &w->brokers[b].host;
    struct call *c = STAILQ_FIRST(&h->calls);

    STAILQ_REMOVE_HEAD(&h->calls, link);
    switch (c->kind) {
    case WRITE:
        write_execute(h, c);
        break;
    case ERASE:
        if (h->epoch_version != w->zk.epoch_version) {
            c->is_fenced = true;
        } else {
            struct ztopic *t = &w->zk.topics[c->topic];

            if (t->exists || t->is_delete_asked) {
                *t = (struct ztopic){0};
                fire(READ_TOPIC, c->topic);
                fire(LIST_TOPICS, -1);
                fire(LIST_DELETES, -1);
            }
        }
        break;
    case ERASE_REQUEST:
        if (h->epoch_version != w->zk.epoch_version)
            c->is_fenced = true;
        else
            w->zk.topics[c->topic].is_delete_asked = false;
        break;
    case LIST_BROKERS:
        h->watch_brokers = true;
        if (c->is_load)
            accept_unseen_losses();
        break;
    case LIST_TOPICS:
        h->watch_topics = true;
        break;
    case LIST_DELETES:
        h->watch_deletes = true;
        break;
    case READ_TOPIC:
        h->watch_topic[c->topic] = w->zk.topics[c->topic].exists;
        break;
    case READ_STATE:
    case READ_CONFIG:
    case WATCH:
        break;
    }
    if (c->kind != WRITE) {
        c->snapshot = xmalloc(sizeof w->zk);
        *c->snapshot = w->zk;
    }
    STAILQ_INSERT_TAIL(&h->answers, c, link);
}

/* ---- effects of a core */
static struct call *call_new(struct controller_host *h, enum call_kind kind, int topic,
                             int partition)
{
    struct call *c = xcalloc(1, sizeof *c);

    c->kind = kind;
    c->topic = topic;
    c->partition = partition;
    c->is_load = h->role == LOADING;
    h->load_pending += c->is_load ? 1 : 0;
    STAILQ_INSERT_TAIL(&h->calls, c, link);
    return c;
}

static const int32_t *keep_ids(struct arena *a, const int32_t *v, int32_t n)
{
    int32_t *copy = arena_alloc(a, ((size_t)n + 1) * sizeof *copy);

    if (n > 0)
        memcpy(copy, v, (size_t)n * sizeof *copy);
    return copy;
}

static void take_write(struct controller_host *h, const struct core_fx *f)
{
    struct call *c = call_new(h, WRITE, -1, -1);

    c->id = f->u.write.id;
    memcpy(c->seen, h->seen, sizeof c->seen);
    c->op_count = f->u.write.count;
    ASSERT(c->op_count <= 3 * CORE_BATCH_MAX);
    c->ops = xcalloc((size_t)c->op_count, sizeof *c->ops);
    for (int32_t i = 0; i < c->op_count; i++) {
        struct core_op *op = &c->ops[i];
        struct zkdoc_partition *parts;

        *op = f->u.write.ops[i];
        op->topic = names[topic_of(op->topic)];
        op->state.isr = keep_ids(&c->arena, op->state.isr, op->state.isr_count);
        mix(op->kind);
        mix(op->partition);
        mix(op->state.leader);
        mix(op->state.leader_epoch);
        SAY("  write %d of %llu: %s-%d kind %d v%d leader %d epoch %d isr %d", i,
            (unsigned long long)c->id, op->topic, op->partition, op->kind, op->version,
            op->state.leader, op->state.leader_epoch, op->state.isr_count);
        if (op->kind != CORE_OP_SET_TOPIC)
            continue;
        parts = arena_alloc(&c->arena, (size_t)op->doc.partition_count * sizeof *parts);
        for (int32_t k = 0; k < op->doc.partition_count; k++) {
            parts[k] = op->doc.partitions[k];
            parts[k].replicas = keep_ids(&c->arena, parts[k].replicas, parts[k].replica_count);
            parts[k].adding = keep_ids(&c->arena, parts[k].adding, parts[k].adding_count);
            parts[k].removing = keep_ids(&c->arena, parts[k].removing, parts[k].removing_count);
        }
        op->doc.partitions = parts;
    }
}

/* Messages keep their item lists in one leaked-until-the-end arena of the world's run. */
static struct arena message_arena;

static void take_send(struct controller_host *h, const struct core_fx *f)
{
    struct message *m = &h->messages[f->broker_id];

    ASSERT(h->is_open[f->broker_id] && !m->is_there);
    *m = (struct message){.is_there = true,
                          .rpc = f->u.send.rpc,
                          .id = f->u.send.id,
                          .broker_epoch = f->broker_epoch,
                          .count = f->u.send.count};
    ASSERT(m->count <= (int32_t)ARRAY_LEN(m->items));
    for (int32_t i = 0; i < m->count; i++) {
        struct core_send_item *it = &m->items[i];

        *it = f->u.send.items[i];
        it->topic = names[topic_of(it->topic)];
        it->isr = keep_ids(&message_arena, it->isr, it->isr_count);
        it->replicas = keep_ids(&message_arena, it->replicas, it->replica_count);
        mix(it->partition);
        mix(it->leader_epoch);
        SAY("  send %d to %d: %s-%d leader %d epoch %d new %d delete %d", m->rpc, f->broker_id,
            it->topic, it->partition, it->leader, it->leader_epoch, it->is_new, it->is_delete);
    }
}

static struct local *local_of(struct broker *b, int topic, struct uuid id, int partition)
{
    struct local *l = &b->locals[topic][partition];

    return l->exists && uuid_eq(l->topic_id, id) ? l : NULL;
}

static void take_answer(const struct core_fx *f)
{
    size_t index = (size_t)(uintptr_t)f->u.answer.handle;
    struct request *q;
    struct broker *b;
    struct local *l;
    int16_t error;

    if (index == 0)
        return;
    q = &w->requests[index - 1];
    ASSERT(q->is_used && q->kind == f->u.answer.kind);
    q->is_used = false;
    mix(f->u.answer.error);
    b = &w->brokers[q->broker];
    if (q->kind != CORE_ANSWER_ALTER || !b->is_alive || b->incarnation != q->incarnation)
        return;
    l = &b->locals[q->topic][q->partition];
    l->is_asking = false;
    if (l->epoch != q->epoch || !l->is_pending)
        return; /* LeaderAndIsr came meanwhile */
    error = f->u.answer.error != KE_NONE ? f->u.answer.error : f->u.answer.items[0].error;
    if (error == KE_NOT_CONTROLLER || error == KE_STALE_BROKER_EPOCH ||
        error == KE_REQUEST_TIMED_OUT)
        return; /* the same again, later */
    if (error == KE_INELIGIBLE_REPLICA) {
        l->is_pending = false; /* back to what is committed */
        return;
    }
    if (error != KE_NONE) {
        SAY("  alter %s-%d by %d: error %d", names[q->topic], q->partition, q->broker, error);
        l->is_stuck = true;
        return;
    }
    ASSERT(f->u.answer.items[0].leader_epoch == l->epoch);
    l->is_pending = false;
    l->version = f->u.answer.items[0].partition_epoch;
    l->isr = list_of(f->u.answer.items[0].isr, f->u.answer.items[0].isr_count);
}

static void effects_take(int b)
{
    struct controller_host *h = &w->brokers[b].host;

    for (int32_t i = 0; i < h->fx.count; i++) {
        const struct core_fx *f = &h->fx.v[i];

        mix(f->kind);
        switch (f->kind) {
        case FX_WRITE:
            take_write(h, f);
            break;
        case FX_READ_TOPICS:
            (void)call_new(h, LIST_TOPICS, -1, -1);
            break;
        case FX_READ_TOPIC:
            (void)call_new(h, READ_TOPIC, topic_of(f->topic), -1);
            break;
        case FX_READ_STATE:
            (void)call_new(h, READ_STATE, topic_of(f->topic), f->partition);
            break;
        case FX_READ_TOPIC_CONFIG:
            (void)call_new(h, READ_CONFIG, topic_of(f->topic), -1);
            break;
        case FX_ERASE_TOPIC:
            (void)call_new(h, ERASE, topic_of(f->topic), -1);
            break;
        case FX_ERASE_DELETE_REQUEST:
            (void)call_new(h, ERASE_REQUEST, topic_of(f->topic), -1);
            break;
        case FX_CHANNEL_OPEN:
            h->is_open[f->broker_id] = true;
            break;
        case FX_CHANNEL_CLOSE:
            h->is_open[f->broker_id] = false;
            h->messages[f->broker_id].is_there = false;
            break;
        case FX_SEND:
            take_send(h, f);
            break;
        case FX_ANSWER:
            take_answer(f);
            break;
        case FX_VERIFY_LEADERSHIP: /* the watch of /controller says the same */
            break;
        case FX_TRACE:
            mix(f->u.trace.kind);
            SAY("  trace %d %s-%d broker %d leader %d->%d epoch %d->%d %s", f->u.trace.kind,
                f->u.trace.topic == NULL ? "" : f->u.trace.topic, f->u.trace.partition,
                f->u.trace.broker_id, f->u.trace.leader_old, f->u.trace.leader_new,
                f->u.trace.epoch_old, f->u.trace.epoch_new,
                f->u.trace.text == NULL ? "" : f->u.trace.text);
            break;
        }
    }
}

static void step(int b, struct controller_event *ev)
{
    struct controller_host *h = &w->brokers[b].host;

    ev->now_ms = w->now_ms;
    SAY("controller %d event %d", b, ev->kind);
    controller_step(h->core, ev, &h->fx);
    effects_take(b);
    controller_check(h->core);
}

static void resign(int b)
{
    struct controller_host *h = &w->brokers[b].host;
    struct controller_event ev = {.kind = CEV_RESIGNED};

    if (h->role == IDLE)
        return;
    SAY("controller %d resigns", b);
    h->role = IDLE;
    calls_clear(&h->calls);
    calls_clear(&h->answers);
    step(b, &ev);
    for (int i = 0; i < BROKERS; i++) {
        h->is_open[i] = false;
        h->messages[i].is_there = false;
    }
    h->load_pending = 0;
    h->watch_brokers = h->watch_topics = h->watch_deletes = false;
    memset(h->watch_topic, 0, sizeof h->watch_topic);
}

/* ---- answers of ZooKeeper */
static void deliver_names(int b, enum controller_event_kind kind, const struct zk *zk)
{
    struct controller_event ev = {.kind = kind};
    struct str v[TOPICS];
    int n = 0;

    for (int i = 0; i < TOPICS; i++) {
        if (kind == CEV_TOPICS ? zk->topics[i].exists : zk->topics[i].is_delete_asked)
            v[n++] = str_of(names[i]);
    }
    ev.u.names.v = v;
    ev.u.names.count = n;
    step(b, &ev);
}

static void deliver_brokers(int b, const struct zk *zk)
{
    struct controller_event ev = {.kind = CEV_BROKERS};
    struct core_broker_info v[BROKERS];
    int n = 0;

    for (int i = 0; i < BROKERS; i++) {
        if (zk->brokers[i].exists)
            w->brokers[b].host.seen[i] = zk->brokers[i].czxid;
    }
    for (int i = 0; i < BROKERS; i++) {
        if (zk->brokers[i].exists)
            v[n++] = (struct core_broker_info){i, zk->brokers[i].czxid, zk->brokers[i].version};
    }
    ev.u.brokers.v = v;
    ev.u.brokers.count = n;
    step(b, &ev);
}

static void deliver_topic(int b, int topic, const struct ztopic *t)
{
    struct controller_event ev = {.kind = CEV_TOPIC_DATA};
    struct zkdoc_partition parts[PARTITIONS];
    struct zkdoc_topic doc = {.topic_id = t->id, .partitions = parts, .partition_count = t->count};

    for (int i = 0; i < t->count; i++)
        parts[i] = (struct zkdoc_partition){.index = i,
                                            .replica_count = t->parts[i].replicas.n,
                                            .adding_count = t->parts[i].adding.n,
                                            .removing_count = t->parts[i].removing.n,
                                            .replicas = t->parts[i].replicas.v,
                                            .adding = t->parts[i].adding.v,
                                            .removing = t->parts[i].removing.v};
    ev.u.topic_data.topic = str_of(names[topic]);
    ev.u.topic_data.exists = t->exists;
    ev.u.topic_data.doc = &doc;
    ev.u.topic_data.version = t->version;
    ev.u.topic_data.fresh_id = make_uuid();
    step(b, &ev);
}

static void deliver_state(int b, int topic, int p, const struct zstate *s)
{
    struct controller_event ev = {.kind = CEV_STATE_READ};
    struct zkdoc_state doc = {.leader = s->leader,
                              .leader_epoch = s->epoch,
                              .controller_epoch = s->controller_epoch,
                              .leader_recovery_state = s->recovery,
                              .isr = s->isr.v,
                              .isr_count = s->isr.n};

    ev.u.state_read.topic = str_of(names[topic]);
    ev.u.state_read.partition = p;
    ev.u.state_read.exists = s->exists;
    ev.u.state_read.doc = &doc;
    ev.u.state_read.version = s->version;
    step(b, &ev);
}

static void deliver_call(int b, struct call *c)
{
    struct controller_host *h = &w->brokers[b].host;
    struct controller_event ev = {.kind = CEV_WRITE_RESULT};

    switch (c->kind) {
    case WRITE:
        ev.u.write_result = (struct core_write_result){
            .id = c->id, .err = c->err, .failed_op = c->failed_op, .versions = c->versions};
        step(b, &ev);
        break;
    case LIST_BROKERS:
        deliver_brokers(b, c->snapshot);
        break;
    case LIST_TOPICS:
        deliver_names(b, CEV_TOPICS, c->snapshot);
        break;
    case LIST_DELETES:
        deliver_names(b, CEV_DELETE_TOPICS, c->snapshot);
        break;
    case READ_TOPIC:
        deliver_topic(b, c->topic, &c->snapshot->topics[c->topic]);
        break;
    case READ_STATE:
        deliver_state(b, c->topic, c->partition,
                      &c->snapshot->topics[c->topic].states[c->partition]);
        break;
    case READ_CONFIG:
        ev.kind = CEV_TOPIC_CONFIG;
        ev.u.topic_config.topic = str_of(names[c->topic]);
        ev.u.topic_config.is_unclean = c->snapshot->topics[c->topic].is_unclean;
        step(b, &ev);
        break;
    case ERASE:
        ev.kind = CEV_TOPIC_ERASED;
        ev.u.name = str_of(names[c->topic]);
        step(b, &ev);
        break;
    case ERASE_REQUEST:
        break;
    case WATCH:
        (void)call_new(h, (enum call_kind)c->partition, c->topic, -1);
        break;
    }
}

static void call_deliver(int b)
{
    struct controller_host *h = &w->brokers[b].host;
    struct call *c = STAILQ_FIRST(&h->answers);
    struct controller_event loaded = {.kind = CEV_LOADED};

    STAILQ_REMOVE_HEAD(&h->answers, link);
    if (c->is_fenced) {
        call_free(c);
        resign(b);
        return;
    }
    deliver_call(b, c);
    if (c->is_load)
        h->load_pending--;
    call_free(c);
    if (h->role == LOADING && h->load_pending == 0) {
        h->role = ACTIVE;
        step(b, &loaded);
    }
}

/* ---- brokers receive */
static void note_leader(const struct core_send_item *it)
{
    for (int i = 0; i < w->acted_count; i++) {
        const struct acted *a = &w->acted[i];

        if (a->partition == it->partition && a->epoch == it->leader_epoch &&
            uuid_eq(a->topic_id, it->topic_id)) {
            ASSERT(a->leader == it->leader); /* at most one leader in an epoch */
            return;
        }
    }
    if ((w->acted_count & (w->acted_count - 1)) == 0)
        w->acted = xrealloc(w->acted, (size_t)(w->acted_count == 0 ? 1 : 2 * w->acted_count) *
                                          sizeof *w->acted);
    w->acted[w->acted_count++] =
        (struct acted){it->topic_id, it->partition, it->leader_epoch, it->leader};
}

/* Who begins to lead has every acknowledged record, unless the election was unclean. */
static void check_leader_data(int id, int topic, const struct core_send_item *it)
{
    struct ztopic *t = &w->zk.topics[topic];
    const struct zstate *s = &t->states[it->partition];
    int64_t end = *disk_end(id, topic, it->partition);

    if (it->leader != id || !t->exists || !uuid_eq(t->id, it->topic_id) ||
        s->epoch != it->leader_epoch || s->leader != id)
        return; /* not it, or an order that is overtaken already */
    if (it->recovery_state != 0 && t->committed[it->partition] > end)
        t->committed[it->partition] = end;
    SAY("%s-%d: %d begins to lead epoch %d with %lld of %lld acknowledged records", it->topic,
        it->partition, id, it->leader_epoch, (long long)end,
        (long long)t->committed[it->partition]);
    ASSERT(end >= t->committed[it->partition]);
    w->brokers[id].disks[topic][it->partition].down_in = 0;
}

static int16_t receive_leader(struct broker *b, int id, const struct core_send_item *it)
{
    int topic = topic_of(it->topic);
    struct local *l = &b->locals[topic][it->partition];

    if (l->exists && l->is_dir_failed && uuid_eq(l->topic_id, it->topic_id))
        return KE_KAFKA_STORAGE_ERROR;
    if (l->exists && !uuid_eq(l->topic_id, it->topic_id))
        *l = (struct local){0}; /* the log of a deleted namesake would be removed first */
    if (l->exists && it->leader_epoch <= l->epoch)
        return KE_STALE_CONTROLLER_EPOCH;
    if (it->leader != -1)
        note_leader(it);
    check_leader_data(id, topic, it);
    *l = (struct local){.exists = true,
                        .topic_id = it->topic_id,
                        .epoch = it->leader_epoch,
                        .leader = it->leader,
                        .version = it->partition_epoch,
                        .isr = list_of(it->isr, it->isr_count),
                        .replicas = list_of(it->replicas, it->replica_count),
                        .is_asking = l->is_asking};
    ASSERT(list_has(&l->replicas, id));
    return KE_NONE;
}

static int16_t receive_stop(struct broker *b, const struct core_send_item *it)
{
    struct local *l = &b->locals[topic_of(it->topic)][it->partition];
    struct disk *d = &b->disks[topic_of(it->topic)][it->partition];

    if (!l->exists) {
        if (it->is_delete)
            *d = (struct disk){0}; /* a leftover log */
        return KE_NONE;
    }
    if (l->is_dir_failed && it->is_delete)
        return KE_KAFKA_STORAGE_ERROR;
    if (it->leader_epoch >= 0 && it->leader_epoch < l->epoch)
        return KE_FENCED_LEADER_EPOCH;
    if (l->is_dir_failed)
        return KE_NONE;
    if (it->is_delete)
        *d = (struct disk){0};
    *l = (struct local){0};
    return KE_NONE;
}

static void receive_metadata(struct broker *b, const struct core_send_item *it)
{
    struct cached *c = &b->cache[topic_of(it->topic)][it->partition];

    if (it->leader == -2) {
        *c = (struct cached){0};
        return;
    }
    *c = (struct cached){.exists = true,
                         .topic_id = it->topic_id,
                         .leader = it->leader,
                         .epoch = it->leader_epoch,
                         .isr = list_of(it->isr, it->isr_count)};
}

static void message_deliver(int from, int to)
{
    struct controller_host *h = &w->brokers[from].host;
    struct message *m = &h->messages[to];
    struct broker *b = &w->brokers[to];

    m->is_delivered = true;
    m->error = KE_NONE;
    if (m->broker_epoch != -1 && m->broker_epoch < b->epoch)
        m->error = KE_STALE_BROKER_EPOCH;
    else if (h->epoch < b->controller_epoch)
        m->error = KE_STALE_CONTROLLER_EPOCH;
    if (m->error != KE_NONE)
        return;
    b->controller_epoch = h->epoch;
    for (int32_t i = 0; i < m->count; i++) {
        const struct core_send_item *it = &m->items[i];

        m->replies[i] = (struct core_reply_item){
            .at = {.topic = str_of(it->topic), .partition = it->partition}};
        if (m->rpc == CORE_LEADER_AND_ISR) {
            m->replies[i].at.topic_id = it->topic_id;
            m->replies[i].error = receive_leader(b, to, it);
        } else if (m->rpc == CORE_STOP_REPLICA) {
            m->replies[i].error = receive_stop(b, it);
        } else {
            receive_metadata(b, it);
        }
    }
}

static void message_answer(int from, int to)
{
    struct message *m = &w->brokers[from].host.messages[to];
    struct controller_event ev = {.kind = CEV_RPC_REPLY};
    struct core_reply_item replies[TOPICS * PARTITIONS * 4];
    bool has_items = m->error == KE_NONE && m->rpc != CORE_UPDATE_METADATA;

    if (!w->is_calm && percent(5)) { /* lost: it is sent again */
        m->is_delivered = false;
        return;
    }
    memcpy(replies, m->replies, (size_t)m->count * sizeof *replies);
    ev.u.rpc_reply.broker_id = to;
    ev.u.rpc_reply.rpc_id = m->id;
    ev.u.rpc_reply.error = m->error;
    ev.u.rpc_reply.items = replies;
    ev.u.rpc_reply.count = has_items ? m->count : 0;
    m->is_there = false;
    step(from, &ev);
}

/* ---- things that happen */
/* Its epoch ends: with its process or with its session. */
static void note_down(int b)
{
    for (int t = 0; t < TOPICS; t++) {
        for (int p = 0; p < PARTITIONS; p++)
            w->brokers[b].disks[t][p].down_in = w->brokers[b].epoch;
    }
}

static void expire(int b)
{
    if (!w->zk.brokers[b].exists)
        return;
    note_down(b);
    SAY("session of %d expires", b);
    w->zk.brokers[b].exists = false;
    w->brokers[b].is_expired = true;
    if (w->zk.controller == b)
        w->zk.controller = -1;
    fire(LIST_BROKERS, -1);
}

static void enter(int b)
{
    struct broker *br = &w->brokers[b];

    w->zk.brokers[b] = (struct zbroker){.exists = true, .czxid = ++w->zk.zxid, .version = 1};
    br->epoch = w->zk.brokers[b].czxid;
    br->is_expired = br->is_stopping = false;
    SAY("%d registers, epoch %lld", b, (long long)br->epoch);
    fire(LIST_BROKERS, -1);
}

static void notice_expiry(int b)
{
    resign(b);
    enter(b);
}

/* The machine goes down: what was not flushed is gone. */
static void lose_power(int b)
{
    SAY("and what %d had not flushed is lost", b);
    for (int t = 0; t < TOPICS; t++) {
        for (int p = 0; p < PARTITIONS; p++) {
            struct disk *d = &w->brokers[b].disks[t][p];

            if (d->end == 0)
                continue;
            d->end = (int64_t)(chance() % (uint64_t)(d->end + 1));
            accept_loss(t, p);
        }
    }
}

static void kill_broker(int b)
{
    struct broker *br = &w->brokers[b];

    SAY("%d dies", b);
    resign(b);
    br->is_alive = false;
    br->incarnation++;
    note_down(b);
    if (percent(40))
        lose_power(b);
    br->controller_epoch = 0;
    memset(br->locals, 0, sizeof br->locals);
    memset(br->cache, 0, sizeof br->cache);
}

static void start_broker(int b)
{
    expire(b);
    w->brokers[b].is_alive = true;
    enter(b);
}

static void elect(int b)
{
    struct controller_host *h = &w->brokers[b].host;
    struct controller_event ev = {.kind = CEV_ELECTED};

    w->zk.controller = b;
    w->zk.epoch++;
    w->zk.epoch_version++;
    h->epoch = w->zk.epoch;
    h->epoch_version = w->zk.epoch_version;
    h->role = LOADING;
    SAY("%d is elected, epoch %d", b, h->epoch);
    ev.u.epoch = h->epoch;
    step(b, &ev);
    (void)call_new(h, LIST_BROKERS, -1, -1);
    (void)call_new(h, LIST_TOPICS, -1, -1);
    (void)call_new(h, LIST_DELETES, -1, -1);
}

static struct list random_replicas(int n)
{
    struct list l = {.n = 0};

    while (l.n < n) {
        int id = below(BROKERS);

        if (!list_has(&l, id))
            l.v[l.n++] = id;
    }
    return l;
}

static void create_topic(int topic)
{
    struct ztopic *t = &w->zk.topics[topic];
    int factor = 1 + below(3);

    if (t->exists || t->is_delete_asked)
        return;
    *t = (struct ztopic){.exists = true, .count = 1 + below(PARTITIONS - 2)};
    t->id = percent(70) ? make_uuid() : UUID_ZERO;
    t->is_unclean = percent(20);
    t->creation = ++w->zk.zxid;
    for (int i = 0; i < t->count; i++)
        t->parts[i].replicas = random_replicas(factor);
    SAY("topic %s created, %d partitions", names[topic], t->count);
    fire(LIST_TOPICS, -1);
}

static void grow_topic(int topic)
{
    struct ztopic *t = &w->zk.topics[topic];

    if (!t->exists || t->count == PARTITIONS || t->is_delete_asked)
        return;
    t->parts[t->count].replicas = random_replicas(t->parts[0].replicas.n);
    t->count++;
    t->version++;
    if (percent(20))
        t->id = UUID_ZERO; /* an old tool */
    SAY("topic %s grows to %d", names[topic], t->count);
    fire(READ_TOPIC, topic);
}

static void delete_topic(int topic)
{
    if (!w->zk.topics[topic].exists || w->zk.topics[topic].is_delete_asked)
        return;
    SAY("topic %s is to be deleted", names[topic]);
    w->zk.topics[topic].is_delete_asked = true;
    fire(LIST_DELETES, -1);
}

static void *request_new(int broker, enum core_answer_kind kind, int topic, int partition)
{
    for (int i = 0; i < REQUESTS; i++) {
        if (w->requests[i].is_used)
            continue;
        w->requests[i] = (struct request){.is_used = true,
                                          .broker = broker,
                                          .incarnation = w->brokers[broker].incarnation,
                                          .kind = kind,
                                          .topic = topic,
                                          .partition = partition};
        return (void *)(uintptr_t)(i + 1);
    }
    return NULL;
}

/* A follower of this epoch fetches: cut to what the leader has, and filled up. */
static bool fetch(int leader, int follower, int topic, int p)
{
    struct local *l = &w->brokers[leader].locals[topic][p];
    const struct local *r = local_of(&w->brokers[follower], topic, l->topic_id, p);

    if (!w->brokers[follower].is_alive || r == NULL || r->is_dir_failed || r->epoch != l->epoch ||
        r->leader != leader)
        return false;
    *disk_end(follower, topic, p) = *disk_end(leader, topic, p);
    if (!list_has(&w->zk.topics[topic].states[p].isr, follower))
        w->brokers[follower].disks[topic][p].down_in =
            0; /* a member stays suspect until it has left */
    return true;
}

/* Somebody who thinks that it leads appends; some followers fetch; what the whole ISR has, a
 * proposed one too, is acknowledged. */
static void append(int b, int topic, int p)
{
    struct broker *br = &w->brokers[b];
    struct local *l = &br->locals[topic][p];
    struct ztopic *t = &w->zk.topics[topic];
    const struct local *r;
    int64_t low;

    if (!br->is_alive || !l->exists || l->leader != b || l->is_dir_failed || !t->exists ||
        !uuid_eq(t->id, l->topic_id) || !list_has(&t->parts[p].replicas, b))
        return; /* one that was reassigned away and has not heard of it serves nobody that looks */
    low = *disk_end(b, topic, p) += 1 + below(5);
    for (int i = 0; i < l->replicas.n; i++) {
        int id = l->replicas.v[i];

        if (id != b && percent(70))
            (void)fetch(b, id, topic, p);
        if (id == b || (!list_has(&l->isr, id) && !(l->is_pending && list_has(&l->proposed, id))))
            continue;
        r = local_of(&w->brokers[id], topic, l->topic_id, p);
        if (r == NULL || r->epoch != l->epoch)
            return; /* it does not fetch: nothing more is acknowledged */
        low = i64_min(low, *disk_end(id, topic, p));
    }
    if (low > t->committed[p]) {
        SAY("%d has %s-%d acknowledged up to %lld, epoch %d", b, names[topic], p, (long long)low,
            l->epoch);
        t->committed[p] = low;
    }
}

/* What a leader proposes next: without a follower, or with those that follow it in this epoch
 * (full: all of them). False: nothing. */
static bool choose_isr(int b, int topic, int p, bool full)
{
    struct local *l = &w->brokers[b].locals[topic][p];
    struct list isr = l->isr;
    int at;

    if (!full && percent(40) && isr.n > 1) {
        at = below(isr.n);
        if (isr.v[at] == b)
            return false;
        isr.v[at] = isr.v[--isr.n];
    } else {
        for (int i = 0; i < l->replicas.n; i++) {
            int id = l->replicas.v[i];

            if (!list_has(&isr, id) && (full || percent(50)) && fetch(b, id, topic, p))
                isr.v[isr.n++] = id;
        }
        if (isr.n == l->isr.n)
            return false;
    }
    for (int i = 0; i < isr.n; i++)
        l->proposed_epochs[i] = list_has(&l->isr, isr.v[i]) ? -1 : w->brokers[isr.v[i]].epoch;
    l->proposed = isr;
    l->is_pending = true;
    return true;
}

static void propose_isr(int b, int topic, int p, bool full)
{
    struct broker *br = &w->brokers[b];
    struct local *l = &br->locals[topic][p];
    struct controller_event ev = {.kind = CEV_ALTER_PARTITION};
    struct core_alter_item item = {0};
    void *handle;

    if (!br->is_alive || !l->exists || l->leader != b || l->is_asking || l->is_dir_failed ||
        l->is_stuck || w->zk.controller == -1)
        return;
    if (!l->is_pending && !choose_isr(b, topic, p, full))
        return;
    handle = request_new(b, CORE_ANSWER_ALTER, topic, p);
    if (handle == NULL)
        return;
    w->requests[(uintptr_t)handle - 1].epoch = l->epoch;
    l->is_asking = true;
    item.at = (struct core_partition_ref){.topic_id = l->topic_id, .partition = p};
    item.leader_epoch = l->epoch;
    item.partition_epoch = l->version;
    item.isr = l->proposed.v;
    item.isr_epochs = l->proposed_epochs;
    item.isr_count = l->proposed.n;
    ev.u.alter.handle = handle;
    ev.u.alter.broker_id = b;
    ev.u.alter.broker_epoch = br->epoch;
    ev.u.alter.items = &item;
    ev.u.alter.count = 1;
    SAY("%d proposes for %s-%d an ISR of %d", b, names[topic], p, item.isr_count);
    step(w->zk.controller, &ev);
}

static void ask_shutdown(int b)
{
    struct controller_event ev = {.kind = CEV_CONTROLLED_SHUTDOWN};

    if (w->zk.controller == -1 || !w->brokers[b].is_alive)
        return;
    ev.u.shutdown.handle = request_new(b, CORE_ANSWER_SHUTDOWN, 0, 0);
    ev.u.shutdown.broker_id = b;
    ev.u.shutdown.broker_epoch = w->brokers[b].epoch;
    if (ev.u.shutdown.handle == NULL)
        return;
    w->brokers[b].is_stopping = true;
    SAY("%d asks for its shutdown", b);
    step(w->zk.controller, &ev);
}

static void ask_elect(void)
{
    struct controller_event ev = {.kind = CEV_ELECT_LEADERS};

    ev.u.elect.handle = request_new(0, CORE_ANSWER_ELECT, 0, 0);
    ev.u.elect.kind = percent(90) ? CORE_ELECT_PREFERRED : CORE_ELECT_UNCLEAN;
    if (w->zk.controller == -1 || ev.u.elect.handle == NULL)
        return;
    /* unclean on demand: the check of clean elections does not hold for any topic any more */
    for (int i = 0; ev.u.elect.kind == CORE_ELECT_UNCLEAN && i < TOPICS; i++)
        w->zk.topics[i].is_unclean = true;
    SAY("election of kind %d", ev.u.elect.kind);
    step(w->zk.controller, &ev);
}

static void ask_reassign(int topic, int p)
{
    struct controller_event ev = {.kind = CEV_REASSIGN};
    struct core_reassign_item item = {.at = {.topic = str_of(names[topic]), .partition = p}};
    struct list target = random_replicas(1 + below(3));

    if (w->zk.controller == -1)
        return;
    ev.u.reassign.handle = request_new(0, CORE_ANSWER_REASSIGN, topic, p);
    if (ev.u.reassign.handle == NULL)
        return;
    item.replicas = percent(20) ? NULL : target.v;
    item.replica_count = target.n;
    ev.u.reassign.items = &item;
    ev.u.reassign.count = 1;
    SAY("reassignment of %s-%d to %d replicas", names[topic], p, target.n);
    step(w->zk.controller, &ev);
}

static void fail_dir(int b)
{
    struct controller_event ev = {.kind = CEV_LOG_DIR};
    struct broker *br = &w->brokers[b];

    for (int t = 0; t < TOPICS; t++) {
        for (int p = 0; p < PARTITIONS; p++) {
            if (br->locals[t][p].exists && percent(40))
                br->locals[t][p].is_dir_failed = true;
        }
    }
    SAY("a disk of %d fails", b);
    ev.u.broker_id = b;
    if (w->zk.controller != -1)
        step(w->zk.controller, &ev);
}

static void suspect(int b, bool begins)
{
    struct controller_event ev = {.kind = begins ? CEV_SUSPECT : CEV_SUSPICION_LIFTED};

    ev.u.broker_id = b;
    if (w->zk.controller != -1)
        step(w->zk.controller, &ev);
}

/* Somebody edits a state with zkCli: same content, another version. */
static void edit_state(int topic, int p)
{
    struct zstate *s = &w->zk.topics[topic].states[p];

    if (w->zk.topics[topic].exists && s->exists) {
        SAY("state of %s-%d is rewritten", names[topic], p);
        s->version++;
        s->is_edited = true;
    }
}

static void chaos(void)
{
    int b = below(BROKERS), t = below(TOPICS), p = below(PARTITIONS);
    struct broker *br = &w->brokers[b];

    switch (below(24)) {
    case 0:
        if (br->is_alive)
            kill_broker(b);
        break;
    case 1:
    case 2:
    case 17:
    case 18:
        if (!br->is_alive)
            start_broker(b);
        break;
    case 3:
        if (!br->is_alive)
            expire(b);
        else if (percent(20))
            expire(b);
        break;
    case 4:
        if (br->is_alive && percent(30)) { /* so quick that the controller may see one change */
            kill_broker(b);
            start_broker(b);
        }
        break;
    case 5:
    case 6:
    case 7:
        create_topic(t);
        break;
    case 8:
        if (percent(30))
            delete_topic(t);
        break;
    case 9:
        grow_topic(t);
        break;
    case 10:
        if (percent(20))
            ask_shutdown(b);
        break;
    case 11:
        ask_elect();
        break;
    case 12:
    case 13:
        if (p < w->zk.topics[t].count)
            ask_reassign(t, p);
        break;
    case 14:
        if (percent(30))
            fail_dir(b);
        break;
    case 15:
        suspect(b, percent(50));
        break;
    case 16:
        if (percent(30))
            edit_state(t, p);
        break;
    default:
        for (int k = 0; k < TOPICS * PARTITIONS * BROKERS; k++)
            append(k % BROKERS, k / BROKERS % TOPICS, k / BROKERS / TOPICS);
        for (int k = 0; k < TOPICS * PARTITIONS; k++) /* the next one that somebody leads */
            propose_isr((b + k / 6) % BROKERS, (t + k) % TOPICS, (p + k / 5) % PARTITIONS, false);
        break;
    }
}

/* One thing that is due: calls, answers, messages, expiries that are noticed, elections. False:
 * nothing is. */
static bool advance(void)
{
    int start = below(BROKERS * (BROKERS + 4)), n = BROKERS * (BROKERS + 4);

    for (int k = 0; k < n; k++) {
        int slot = (start + k) % n, b = slot / (BROKERS + 4), what = slot % (BROKERS + 4);
        struct broker *br = &w->brokers[b];
        struct controller_host *h = &br->host;

        if (what == 0 && h->role != IDLE && !STAILQ_EMPTY(&h->calls) && !br->is_expired) {
            call_execute(b);
            return true;
        }
        if (what == 1 && h->role != IDLE && !STAILQ_EMPTY(&h->answers)) {
            call_deliver(b);
            return true;
        }
        if (what == 2 && br->is_alive && br->is_expired && (w->is_calm || percent(10))) {
            notice_expiry(b);
            return true;
        }
        if (what == 3 && w->zk.controller == -1 && br->is_alive && w->zk.brokers[b].exists &&
            h->role == IDLE && !br->is_expired) {
            elect(b);
            return true;
        }
        if (what >= 4 && h->messages[what - 4].is_there && w->brokers[what - 4].is_alive) {
            if (h->messages[what - 4].is_delivered)
                message_answer(b, what - 4);
            else
                message_deliver(b, what - 4);
            return true;
        }
    }
    return false;
}

/* ---- the end. First nothing new happens: what is running must come to agree by itself. */
static void make_peace(void)
{
    w->is_calm = true;
    for (int b = 0; b < BROKERS; b++) {
        if (!w->brokers[b].is_alive)
            start_broker(b);
        suspect(b, false);
    }
}

static void check_agreement(int t, int p)
{
    const struct ztopic *zt = &w->zk.topics[t];
    const struct zstate *s = &zt->states[p];

    for (int b = 0; b < BROKERS; b++) {
        const struct broker *br = &w->brokers[b];
        const struct cached *c = &br->cache[t][p];
        const struct local *l = &br->locals[t][p];

        ASSERT(c->exists && uuid_eq(c->topic_id, zt->id) && c->leader == s->leader &&
               c->epoch == s->epoch && list_same_set(&c->isr, &s->isr));
        SAY("%s-%d on %d: leader %d epoch %d v%d; here exists %d leader %d epoch %d v%d stuck %d "
            "pending %d dir %d",
            names[t], p, b, s->leader, s->epoch, s->version, l->exists, l->leader, l->epoch,
            l->version, l->is_stuck, l->is_pending, l->is_dir_failed);
        if (!list_has(&zt->parts[p].replicas, b) || l->is_dir_failed || br->is_stopping)
            continue;
        ASSERT(l->exists && uuid_eq(l->topic_id, zt->id) && l->epoch == s->epoch &&
               l->leader == s->leader);
        ASSERT(b != s->leader ||
               (!l->is_stuck && !l->is_pending && (l->version == s->version || s->is_edited) &&
                list_same_set(&l->isr, &s->isr)));
    }
}

static void check_peace(void)
{
    for (int t = 0; t < TOPICS; t++) {
        const struct ztopic *zt = &w->zk.topics[t];

        for (int p = 0; zt->exists && !zt->is_delete_asked && p < zt->count; p++) {
            if (zt->states[p].exists)
                check_agreement(t, p);
        }
    }
}

/* Then everybody back, nothing lost any more */
static void calm_down(void)
{
    w->is_calm = true;
    for (int b = 0; b < BROKERS; b++) { /* stopping, suspected and broken ones begin anew */
        if (w->brokers[b].is_alive)
            kill_broker(b);
        start_broker(b);
    }
}

static void settle(void)
{
    for (int i = 0; advance(); i++) {
        w->steps++;
        ASSERT(i < CALM_STEPS_MAX);
    }
}

static void all_propose(void)
{
    for (int round = 0; round < 3; round++) {
        for (int b = 0; b < BROKERS; b++) {
            for (int t = 0; t < TOPICS; t++) {
                for (int p = 0; p < PARTITIONS; p++)
                    propose_isr(b, t, p, true);
            }
        }
        settle();
    }
}

static void check_partition(const struct controller_core *core, int t, int p)
{
    const struct ztopic *zt = &w->zk.topics[t];
    const struct zstate *s = &zt->states[p];
    struct core_view v;
    struct list isr;

    MUST(controller_core_view(core, str_of(names[t]), p, &v));
    ASSERT(s->exists && v.has_state);
    isr = list_of(v.state.isr, v.state.isr_count);
    /* the model is what ZooKeeper holds */
    ASSERT(v.state.leader == s->leader && v.state.leader_epoch == s->epoch &&
           v.partition_epoch == s->version && list_same_set(&isr, &s->isr));
    ASSERT(v.adding_count == 0 && v.removing_count == 0);
    ASSERT(zt->parts[p].adding.n == 0 && zt->parts[p].removing.n == 0);
    ASSERT(v.replica_count == zt->parts[p].replicas.n);
    /* all brokers live: it has a leader, and everybody is in sync */
    ASSERT(s->leader != -1);
    ASSERT(list_same_set(&s->isr, &zt->parts[p].replicas));
    for (int b = 0; b < BROKERS; b++) {
        const struct cached *c = &w->brokers[b].cache[t][p];
        const struct local *l = &w->brokers[b].locals[t][p];

        ASSERT(c->exists && uuid_eq(c->topic_id, zt->id) && c->leader == s->leader &&
               c->epoch == s->epoch && list_same_set(&c->isr, &s->isr));
        if (!list_has(&zt->parts[p].replicas, b)) {
            ASSERT(!l->exists);
            continue;
        }
        ASSERT(l->exists && l->epoch == s->epoch && l->leader == s->leader);
        ASSERT(b != s->leader || (l->version == s->version && list_same_set(&l->isr, &s->isr)));
    }
}

static void check_end(void)
{
    const struct controller_core *core;

    ASSERT(w->zk.controller != -1 && w->brokers[w->zk.controller].host.role == ACTIVE);
    core = w->brokers[w->zk.controller].host.core;
    ASSERT(controller_core_is_quiet(core));
    for (int t = 0; t < TOPICS; t++) {
        const struct ztopic *zt = &w->zk.topics[t];

        ASSERT(!zt->is_delete_asked);
        ASSERT(!zt->exists || !uuid_is_zero(zt->id));
        for (int p = 0; p < PARTITIONS; p++) {
            if (zt->exists && p < zt->count) {
                check_partition(core, t, p);
                continue;
            }
            for (int b = 0; b < BROKERS; b++)
                ASSERT(!w->brokers[b].cache[t][p].exists);
        }
    }
}

/* Several things at once, with little time between them. */
static void burst(void)
{
    int count = 1 + below(BURST_MAX);

    for (int i = 0; i < count; i++) {
        int pause = below(4) == 0 ? below(60) : below(6);

        chaos();
        for (int k = 0; k < pause; k++, w->steps++)
            (void)advance();
        w->now_ms += below(20);
    }
}

/* Some of what is due is done, often all; and leaders take in who follows them. */
static void rest(void)
{
    int limit = percent(70) ? 100000 : below(300);

    for (int i = 0; i < limit && advance(); i++)
        w->steps++;
    for (int b = 0; percent(80) && b < BROKERS; b++) {
        for (int t = 0; t < TOPICS; t++) {
            for (int p = 0; p < PARTITIONS; p++)
                propose_isr(b, t, p, true);
        }
    }
    for (int i = 0; i < limit && advance(); i++)
        w->steps++;
}

static uint64_t run(uint64_t seed, bool is_verbose)
{
    const struct core_options o = {.is_delete_enabled = true,
                                   .is_auto_balanced = true,
                                   .imbalance_percentage = 10,
                                   .imbalance_interval_ms = 300000};
    uint64_t hash;

    w = xcalloc(1, sizeof *w);
    w->seed = w->random = seed;
    w->is_verbose = is_verbose;
    w->zk.controller = -1;
    for (int b = 0; b < BROKERS; b++) {
        struct controller_host *h = &w->brokers[b].host;

        h->core = controller_core_new(&o);
        STAILQ_INIT(&h->calls);
        STAILQ_INIT(&h->answers);
        if (percent(80))
            start_broker(b);
    }
    for (int round = 0; round < ROUNDS; round++) {
        burst();
        rest();
    }
    make_peace();
    settle();
    all_propose();
    check_peace();
    calm_down();
    settle();
    all_propose();
    if (w->zk.controller != -1) { /* one round of giving leaders back, in its own time */
        struct controller_event ev = {.kind = CEV_TICK};

        w->now_ms += 1000000;
        step(w->zk.controller, &ev);
        settle();
        all_propose();
    }
    check_end();
    hash = w->hash;
    for (int b = 0; b < BROKERS; b++) {
        struct controller_host *h = &w->brokers[b].host;

        calls_clear(&h->calls);
        calls_clear(&h->answers);
        controller_core_free(&h->core);
        controller_effects_fini(&h->fx);
    }
    arena_fini(&message_arena);
    message_arena = (struct arena){0};
    mem_free(w->acted);
    mem_free(w);
    w = NULL;
    return hash;
}

static void run_twice(uint64_t seed)
{
    uint64_t first = run(seed, false), second = run(seed, false);

    if (first != second) {
        fprintf(stderr, "seed %llu: two runs differ\n", (unsigned long long)seed);
        exit(EXIT_FAILURE);
    }
}

static int run_file(const char *path)
{
    FILE *f = fopen(path, "r");
    char line[256];
    int n = 0;

    if (f == NULL) {
        fprintf(stderr, "cannot read %s\n", path);
        exit(EXIT_FAILURE);
    }
    while (fgets(line, sizeof line, f) != NULL) {
        char *end;
        unsigned long long seed = strtoull(line, &end, 10);

        if (end == line)
            continue; /* a comment */
        run_twice(seed);
        n++;
    }
    fclose(f);
    return n;
}

int main(int argc, char **argv)
{
    const char *dir = getenv("srcdir");
    char path[4096];
    uint64_t count = 200, first = 1;

    check_add_dumper(dump, NULL);
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (argc == 3 && strcmp(argv[1], "-v") == 0) {
        (void)run(strtoull(argv[2], NULL, 10), true);
        return EXIT_SUCCESS;
    }
    if (argc > 1)
        count = strtoull(argv[1], NULL, 10);
    if (argc > 2)
        first = strtoull(argv[2], NULL, 10);
    if (argc == 1) {
        snprintf(path, sizeof path, "%s/tests/sim/seeds.txt", dir == NULL ? "." : dir);
        printf("%d seeds of seeds.txt\n", run_file(path));
    }
    for (uint64_t s = first; s < first + count; s++)
        run_twice(s);
    printf("%llu seeds from %llu\n", (unsigned long long)count, (unsigned long long)first);
    return EXIT_SUCCESS;
}
