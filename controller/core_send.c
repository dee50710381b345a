/* SPDX-License-Identifier: Apache-2.0 */
/* What brokers must be told. Each replica has at most one thing to say to its broker (the latest
 * wins), and metadata is one list in the order of change with a position for each broker: so what
 * waits for a slow broker is bounded by the number of partitions, and only the newest state is
 * sent. One request at a time to a broker, in this order: the list of brokers, LeaderAndIsr,
 * UpdateMetadata, StopReplica. */
#include "controller/core_model.h"

#include <stdlib.h>

/* ---- the outbox of replicas */
static void out_put(struct core_replica *r, enum core_out out)
{
    struct core_broker *b = r->broker;

    core_out_remove(r);
    r->out = out;
    TAILQ_INSERT_TAIL(&b->outbox, r, of_outbox);
    if (out == OUT_LEADER_AND_ISR)
        b->outbox_leader_count++;
    else
        b->outbox_stop_count++;
}

void core_out_remove(struct core_replica *r)
{
    struct core_broker *b = r->broker;

    if (r->out == OUT_NONE)
        return;
    TAILQ_REMOVE(&b->outbox, r, of_outbox);
    if (r->out == OUT_LEADER_AND_ISR)
        b->outbox_leader_count--;
    else
        b->outbox_stop_count--;
    r->out = OUT_NONE;
    r->out_is_new = r->out_delete = false;
}

void core_out_leader_and_isr(struct core_replica *r, bool is_new)
{
    bool was_new = r->out == OUT_LEADER_AND_ISR && r->out_is_new; /* true wins until sent */

    if (!r->broker->is_registered)
        return;
    out_put(r, OUT_LEADER_AND_ISR);
    r->is_stopped = false;
    r->out_is_new = is_new || was_new;
}

void core_out_stop(struct core_replica *r, bool is_delete)
{
    bool was_delete = r->out == OUT_STOP && r->out_delete;

    if (!r->broker->is_registered)
        return;
    out_put(r, OUT_STOP);
    r->is_stopped = true;
    r->out_delete = is_delete || was_delete;
}

/* For a replica that leaves the assignment: waits for its broker when that is away. */
void core_out_delete(struct core_replica *r)
{
    out_put(r, OUT_STOP);
    r->is_stopped = true;
    r->out_delete = true;
}

void core_out_all_replicas(struct core_partition *p, bool is_new_to_isr)
{
    for (int32_t i = 0; i < p->assignment.count; i++) {
        struct core_replica *r = p->replicas[i];

        if (r->broker->is_shutting_down && r->is_stopped)
            continue; /* it would start to follow again */
        if (r->is_offline_dir)
            continue;
        /* a replica that a reassignment adds has no log yet, either */
        core_out_leader_and_isr(r, core_ids_has(&p->state.isr, r->broker->id)
                                       ? is_new_to_isr
                                       : core_ids_has(&p->adding, r->broker->id));
    }
}

static void detached_free(struct core_replica *r)
{
    TAILQ_REMOVE(&r->partition->detached, r, of_broker);
    mem_free(r);
}

/* Its connection is gone, and what was to be said with it. Only what has left the assignment is
 * kept: nobody else would tell the broker of it. */
void core_out_clear(struct core_broker *b)
{
    struct core_replica *r, *next;

    for (r = TAILQ_FIRST(&b->outbox); r != NULL; r = next) {
        next = TAILQ_NEXT(r, of_outbox);
        if (!r->is_detached)
            core_out_remove(r);
    }
    b->is_rpc_in_flight = false;
}

/* ---- the list of metadata */

/* Takes it out of its list; a dead one will not come back. */
void core_metadata_forget(struct controller_core *core, struct core_partition *p)
{
    struct core_topic *t = p->topic;

    if (p->place == PLACE_LIVE)
        TAILQ_REMOVE(&core->metadata, p, of_metadata);
    if (p->place == PLACE_DEAD) {
        TAILQ_REMOVE(&core->metadata_dead, p, of_metadata);
        t->metadata_count--;
    }
    p->place = PLACE_TOLD;
    core_topic_release(t);
}

void core_metadata_touch(struct controller_core *core, struct core_partition *p)
{
    ASSERT(p->place == PLACE_NOWHERE || p->place == PLACE_LIVE);
    if (p->place == PLACE_NOWHERE && p->topic->create_count > 0)
        return; /* core_metadata_created comes */
    if (p->place == PLACE_LIVE)
        TAILQ_REMOVE(&core->metadata, p, of_metadata);
    p->place = PLACE_LIVE;
    p->metadata_seq = ++core->metadata_seq;
    TAILQ_INSERT_TAIL(&core->metadata, p, of_metadata);
}

void core_metadata_created(struct controller_core *core, struct core_topic *t)
{
    if (t->create_count > 0 || t->is_deleting || t->is_gone)
        return;
    for (int32_t i = 0; i < t->partition_count; i++) {
        struct core_partition *p = t->partitions[i];

        if (p->has_state && p->place == PLACE_NOWHERE)
            core_metadata_touch(core, p);
    }
}

void core_metadata_bury(struct controller_core *core, struct core_partition *p)
{
    if (p->place == PLACE_DEAD || p->place == PLACE_TOLD)
        return;
    if (p->place == PLACE_NOWHERE && !p->has_state)
        return; /* never spoken of */
    if (p->place == PLACE_LIVE)
        TAILQ_REMOVE(&core->metadata, p, of_metadata);
    p->place = PLACE_DEAD;
    p->metadata_seq = ++core->metadata_seq;
    TAILQ_INSERT_TAIL(&core->metadata_dead, p, of_metadata);
    p->topic->metadata_count++;
}

/* Lets go of the dead that every registered broker was told of. */
static void metadata_collect(struct controller_core *core)
{
    uint64_t told = core->metadata_seq;
    struct core_partition *p;

    if (TAILQ_EMPTY(&core->metadata_dead))
        return;
    for (int32_t i = 0; i < core->broker_count; i++) {
        const struct core_broker *b = core->brokers[i];

        if (b->is_registered && b->dead_sent_seq < told)
            told = b->dead_sent_seq;
    }
    while ((p = TAILQ_FIRST(&core->metadata_dead)) != NULL && p->metadata_seq <= told)
        core_metadata_forget(core, p);
}

/* ---- requests */
static const int32_t *copy_ids(struct controller_core *core, const struct core_ids *ids)
{
    int32_t *v = core_fx_alloc(core, (size_t)ids->count * sizeof *v);

    if (ids->count > 0)
        memcpy(v, ids->v, (size_t)ids->count * sizeof *v);
    return v;
}

/* Replicas that cannot serve: broker away, or log directory failed. */
static void item_offline(struct controller_core *core, const struct core_partition *p,
                         struct core_send_item *it)
{
    int32_t *v = core_fx_alloc(core, (size_t)p->assignment.count * sizeof *v);

    it->offline = v;
    for (int32_t i = 0; i < p->assignment.count; i++) {
        const struct core_replica *r = p->replicas[i];

        if (!r->broker->is_registered || r->is_offline_dir)
            v[it->offline_count++] = r->broker->id;
    }
}

static void item_fill(struct controller_core *core, const struct core_partition *p,
                      enum core_rpc rpc, const char *topic, struct core_send_item *it)
{
    const struct core_state *s = &p->state;

    *it = (struct core_send_item){.topic = topic,
                                  .topic_id = p->topic->id,
                                  .partition = p->index,
                                  .leader = s->leader,
                                  .leader_epoch = s->leader_epoch,
                                  .controller_epoch = s->controller_epoch,
                                  .partition_epoch = s->partition_epoch,
                                  .recovery_state = s->recovery_state};
    if (rpc == CORE_STOP_REPLICA) {
        it->leader_epoch = p->topic->is_deleting ? -2 : p->has_state ? s->leader_epoch : -1;
        return;
    }
    if (rpc == CORE_UPDATE_METADATA && p->place != PLACE_LIVE) {
        it->leader = -2; /* being deleted */
        it->leader_epoch = it->partition_epoch = 0;
    }
    it->isr = copy_ids(core, &s->isr);
    it->isr_count = s->isr.count;
    it->replicas = copy_ids(core, &p->assignment);
    it->replica_count = p->assignment.count;
    if (rpc == CORE_UPDATE_METADATA) {
        item_offline(core, p, it);
    } else {
        it->adding = copy_ids(core, &p->adding);
        it->adding_count = p->adding.count;
        it->removing = copy_ids(core, &p->removing);
        it->removing_count = p->removing.count;
    }
}

struct pick { /* a partition for a request; the replica for what goes to one of its own brokers */
    struct core_partition *partition;
    struct core_replica *replica;
    bool is_new, is_delete;
};

static int pick_cmp(const void *a, const void *b)
{
    const struct core_partition *x = ((const struct pick *)a)->partition;
    const struct core_partition *y = ((const struct pick *)b)->partition;
    int by_name = x->topic == y->topic ? 0 : strcmp(x->topic->name, y->topic->name);

    if (by_name != 0)
        return by_name;
    if (x->topic != y->topic) /* a deleted topic and its namesake; the ids tell them apart */
        return memcmp(x->topic->id.b, y->topic->id.b, sizeof x->topic->id.b);
    return (x->index > y->index) - (x->index < y->index);
}

/* Adds one request with these partitions, sorted by topic and partition. */
static void send_add(struct controller_core *core, struct core_broker *b, enum core_rpc rpc,
                     struct pick *picks, int32_t count)
{
    struct core_send_item *items = core_fx_alloc(core, (size_t)count * sizeof *items);
    const char *name = NULL;
    struct core_fx *f;

    if (count > 1)
        qsort(picks, (size_t)count, sizeof *picks, pick_cmp);
    for (int32_t i = 0; i < count; i++) {
        const struct core_topic *t = picks[i].partition->topic;

        if (i == 0 || picks[i - 1].partition->topic != t)
            name = arena_strdup(&core->fx->arena, t->name, strlen(t->name));
        item_fill(core, picks[i].partition, rpc, name, &items[i]);
        items[i].is_new = picks[i].is_new;
        items[i].is_delete = picks[i].is_delete;
    }
    b->is_rpc_in_flight = true;
    b->rpc = rpc;
    b->rpc_id = ++core->next_id;
    f = core_fx_add(core, FX_SEND);
    f->broker_id = b->id;
    f->broker_epoch = b->epoch;
    f->u.send.rpc = rpc;
    f->u.send.id = b->rpc_id;
    f->u.send.items = items;
    f->u.send.count = count;
}

static void send_replicas(struct controller_core *core, struct core_broker *b, enum core_out out)
{
    int32_t room = out == OUT_LEADER_AND_ISR ? b->outbox_leader_count : b->outbox_stop_count;
    struct pick *picks = xcalloc((size_t)room, sizeof *picks);
    struct core_replica *r, *next;
    int32_t n = 0;

    for (r = TAILQ_FIRST(&b->outbox); r != NULL; r = next) {
        next = TAILQ_NEXT(r, of_outbox);
        if (r->out != out)
            continue;
        ASSERT(n < room);
        picks[n++] = (struct pick){r->partition, r, r->out_is_new, r->out_delete};
        core_out_remove(r);
    }
    send_add(core, b, out == OUT_STOP ? CORE_STOP_REPLICA : CORE_LEADER_AND_ISR, picks, n);
    for (int32_t i = 0; i < n; i++) {
        if (picks[i].replica->is_detached)
            detached_free(picks[i].replica);
    }
    mem_free(picks);
}

/* The partitions of list that changed after seq since, newest first. */
static int32_t metadata_news(const struct core_partition_list *list, uint64_t since,
                             struct pick **picks_out)
{
    struct core_partition *p;
    int32_t n = 0;

    *picks_out = NULL;
    TAILQ_FOREACH_REVERSE(p, list, core_partition_list, of_metadata)
    {
        if (p->metadata_seq <= since)
            break;
        n++;
    }
    if (n == 0)
        return 0;
    *picks_out = xcalloc((size_t)n, sizeof **picks_out);
    n = 0;
    TAILQ_FOREACH_REVERSE(p, list, core_partition_list, of_metadata)
    {
        if (p->metadata_seq <= since)
            break;
        (*picks_out)[n++].partition = p;
    }
    return n;
}

/* The dead go first and alone: a new topic may have the name of a deleted one. */
static bool send_metadata(struct controller_core *core, struct core_broker *b)
{
    struct pick *picks;
    int32_t n = metadata_news(&core->metadata_dead, b->dead_sent_seq, &picks);

    if (n > 0) {
        b->dead_sent_seq = core->metadata_seq;
    } else {
        n = metadata_news(&core->metadata, b->metadata_sent_seq, &picks);
        b->metadata_sent_seq = core->metadata_seq;
    }
    if (n > 0)
        send_add(core, b, CORE_UPDATE_METADATA, picks, n);
    mem_free(picks);
    return n > 0;
}

/* Who lives comes before who leads. But a broker that has just started is told of all partitions in
 * the same message: between two it would say to its clients that there are no topics. (Unless there
 * are dead, which go alone.) */
static void send_brokers(struct controller_core *core, struct core_broker *b)
{
    struct pick *picks = NULL;
    int32_t n = 0;

    b->brokers_sent_seq = core->brokers_seq;
    if (b->is_uninformed && TAILQ_EMPTY(&core->metadata_dead)) {
        n = metadata_news(&core->metadata, b->metadata_sent_seq, &picks);
        b->metadata_sent_seq = core->metadata_seq;
    }
    b->is_uninformed = false;
    send_add(core, b, CORE_UPDATE_METADATA, picks, n);
    mem_free(picks);
}

static void flush_broker(struct controller_core *core, struct core_broker *b)
{
    if (!b->is_registered || b->is_rpc_in_flight)
        return;
    if (b->brokers_sent_seq < core->brokers_seq) {
        send_brokers(core, b);
    } else if (b->outbox_leader_count > 0) {
        send_replicas(core, b, OUT_LEADER_AND_ISR);
    } else if (b->metadata_sent_seq < core->metadata_seq && send_metadata(core, b)) {
        return;
    } else if (b->outbox_stop_count > 0) {
        send_replicas(core, b, OUT_STOP);
    }
}

void core_flush_brokers(struct controller_core *core)
{
    if (core->phase != CORE_ACTIVE)
        return;
    for (int32_t i = 0; i < core->broker_count; i++)
        flush_broker(core, core->brokers[i]);
    metadata_collect(core);
}

/* ---- replies */
static void reply_item(struct controller_core *core, struct core_broker *b,
                       const struct core_reply_item *it)
{
    struct core_topic *t;
    struct core_partition *p = core_request_resolve(core, &it->at, &t);
    struct core_replica *r = p == NULL ? NULL : core_replica_find(p, b->id);

    if (r == NULL)
        return; /* deleted or reassigned meanwhile */
    if (t->is_deleting) {
        if (b->rpc == CORE_STOP_REPLICA)
            core_delete_reply(core, r, it->error);
    } else if (it->error == KE_KAFKA_STORAGE_ERROR) {
        core_replica_failed(core, r);
    } else if (it->error == KE_NONE && b->rpc == CORE_LEADER_AND_ISR && r->is_offline_dir) {
        r->is_offline_dir = false;
        core_decide(core, p, 0);
    }
}

void core_on_rpc_reply(struct controller_core *core, const struct controller_event *ev)
{
    struct core_broker *b = core_broker_find(core, ev->u.rpc_reply.broker_id);

    if (core->phase != CORE_ACTIVE || b == NULL || !b->is_rpc_in_flight ||
        b->rpc_id != ev->u.rpc_reply.rpc_id)
        return;
    b->is_rpc_in_flight = false;
    if (ev->u.rpc_reply.error != KE_NONE) {
        core_trace_broker(core, TRACE_RPC_ERROR, b->id, ev->u.rpc_reply.error, NULL);
        if (ev->u.rpc_reply.error == KE_STALE_CONTROLLER_EPOCH)
            (void)core_fx_add(core, FX_VERIFY_LEADERSHIP);
    }
    for (int32_t i = 0; i < ev->u.rpc_reply.count; i++)
        reply_item(core, b, &ev->u.rpc_reply.items[i]);
}
