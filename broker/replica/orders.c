/* SPDX-License-Identifier: Apache-2.0 */
/* Orders of the controller: LeaderAndIsr and StopReplica, partition by partition on the pool.
 *
 * One batch at a time, so that a late batch of a deposed controller cannot interleave with that of
 * its successor: creation and deletion of one log never run side by side. Within a batch the
 * partitions are spread over the pool's threads; those that are being truncated come later. */
#include "broker/replica/replicas_internal.h"

#include "common/base/slog.h"

struct order_job { /* one order */
    struct partition_job deferred;
    struct order_batch *batch;
    struct replicas_order *order;
};

struct order_chunk { /* ORDERS_PER_JOB orders */
    struct pool_job job;
    struct order_batch *batch;
    int32_t first, count;
};

struct order_batch {
    STAILQ_ENTRY(order_batch) link;
    struct replicas *replicas;
    int32_t count;
    _Atomic int32_t left;
    struct order_job *orders;
    struct order_chunk *chunks;
    int32_t chunk_count;
    void (*done)(void *arg);
    void *arg;
};

int16_t replicas_admit_controller(struct replicas *r, int32_t controller_epoch,
                                  int64_t broker_epoch)
{
    int64_t own = r->o.broker_epoch == NULL ? -1 : atomic_load(r->o.broker_epoch);
    int16_t rc = KE_NONE;

    /* for an earlier life of this broker (KAFKA-7235); a later epoch may be known there first */
    if (broker_epoch != -1 && broker_epoch < own)
        return KE_STALE_BROKER_EPOCH;
    lock_take(&r->order_lock);
    if (controller_epoch < r->controller_epoch)
        rc = KE_STALE_CONTROLLER_EPOCH;
    else
        r->controller_epoch = controller_epoch;
    lock_release(&r->order_lock);
    return rc;
}

/* ---- batches */

static void batch_submit(struct order_batch *b)
{
    int32_t chunk_count =
        b->chunk_count; /* the last chunk may end and free b before the loop does */
    struct pool *pool = b->replicas->o.pool;

    for (int32_t i = 0; i < chunk_count; i++)
        pool_submit_always(pool, &b->chunks[i].job);
}

static void batch_end(struct order_batch *b)
{
    struct replicas *r = b->replicas;
    struct order_batch *next;

    b->done(b->arg);
    lock_take(&r->order_lock);
    ASSERT(STAILQ_FIRST(&r->batches) == b);
    STAILQ_REMOVE_HEAD(&r->batches, link);
    next = STAILQ_FIRST(&r->batches);
    lock_release(&r->order_lock);
    mem_free(b->orders);
    mem_free(b->chunks);
    mem_free(b);
    if (next != NULL)
        batch_submit(next);
    replicas_job_ended(r);
}

static void order_end(struct order_job *j, int16_t result)
{
    struct order_batch *b = j->batch;

    j->order->result = result;
    if (atomic_fetch_sub(&b->left, 1) == 1)
        batch_end(b);
}

/* ---- LeaderAndIsr */

/* Lock held: may it be carried out? False: result_out. */
static bool admit_become(const struct partition *p, const struct replicas_order *o,
                         int16_t *result_out)
{
    bool skip;

    if (p->is_offline) {
        *result_out = KE_KAFKA_STORAGE_ERROR;
        return false;
    }
    if (!uuid_is_zero(o->topic_id) && !uuid_is_zero(p->topic_id) &&
        !uuid_eq(o->topic_id, p->topic_id)) {
        *result_out = KE_INCONSISTENT_TOPIC_ID;
        return false;
    }
    *result_out = repl_admit(&p->core, &o->state, &skip);
    return *result_out == KE_NONE && !skip;
}

static enum err create_log(struct replicas *r, struct partition *p, const struct replicas_order *o,
                           struct log **log_out)
{
    struct log_config config;
    struct errtext why = {""};
    enum err rc;

    log_config_defaults(&config);
    if (log_manager_find(r->o.logs, o->topic, o->partition) == NULL)
        r->o.topic_config(r->o.arg, o->topic, o->topic_id, &config);
    rc = log_manager_get_or_create(r->o.logs, o->topic, o->partition, o->topic_id, &config,
                                   o->is_new, p, log_out, &why);
    if (rc != ERR_OK)
        SLOG(ERROR, "replica", "the log cannot be created", KV_STR("topic", o->topic),
             KV_I("partition", o->partition), KV_ERR(rc), KV_S("why", why.text));
    return rc;
}

static int16_t note_topic_id(struct partition *p, struct uuid id)
{
    enum err rc;

    if (uuid_is_zero(id) || !uuid_is_zero(p->topic_id))
        return KE_NONE;
    rc = log_set_topic_id(p->log, id);
    if (rc != ERR_OK)
        return err_to_kerr(rc);
    p->topic_id = id;
    return KE_NONE;
}

static void become_locked(struct partition *p, const struct replicas_order *o, struct wake *w)
    REQUIRES(p->lock)
{
    struct repl_event ev = {.kind = REPL_EV_BECOME};

    ev.become.state = &o->state;
    ev.become.min_isr = log_config_of(p->log)->min_insync_replicas;
    ev.become.start_offset = log_start_offset(p->log);
    ev.become.hw_offset = log_high_watermark(p->log);
    ev.become.end_offset = log_end_offset(p->log);
    ev.become.has_epochs = log_epoch_latest(p->log) >= 0;
    partition_step_locked(p, &ev, w);
}

/* The log is made without the partition's lock, which is held before and after; the partition is
 * busy meanwhile, so that nobody else makes it too. */
static void make_log_locked(struct replicas *r, struct partition *p, const struct replicas_order *o,
                            struct wake *w) NO_THREAD_SAFETY
{
    struct log *log = NULL;
    enum err rc;

    partition_busy_begin_locked(p);
    partition_unlock(p, w);
    rc = create_log(r, p, o, &log);
    partition_lock(p, w);
    p->is_busy = false; /* partition_busy_end follows, when we are done */
    if (rc == ERR_OK)
        replicas_attach_locked(p, log);
    else
        p->is_offline = true;
}

static void order_run(struct partition_job *deferred);

static void become_run(struct order_job *j)
{
    struct replicas *r = j->batch->replicas;
    struct replicas_order *o = j->order;
    struct partition *p = replicas_find_or_add(r, o->topic, o->partition);
    int16_t result = KE_NONE;
    bool is_useless, acts;
    struct wake w;

    partition_lock(p, &w);
    if (!partition_is_free_locked(p, &j->deferred)) {
        partition_unlock(p, &w);
        partition_unref(&p);
        return;
    }
    acts = admit_become(p, o, &result);
    if (acts && p->log == NULL) {
        make_log_locked(r, p, o, &w);
        acts = admit_become(p, o, &result); /* its dir may have failed */
    }
    if (acts)
        result = note_topic_id(p, o->topic_id);
    if (acts && result == KE_NONE) {
        become_locked(p, o, &w);
        if (p->is_offline)
            result = KE_KAFKA_STORAGE_ERROR;
    }
    is_useless = p->log == NULL && !p->is_offline;
    partition_unlock_and_run(p, &w);
    if (acts)
        replicas_tell_role(r, p);
    else if (is_useless)
        replicas_remove(r, p); /* it was made for nothing */
    partition_unref(&p);
    order_end(j, result);
}

/* ---- StopReplica */

static int16_t admit_stop(const struct partition *p, const struct replicas_order *o)
{
    if (p->is_offline)
        return KE_KAFKA_STORAGE_ERROR;
    if (o->stop_leader_epoch >= 0 && o->stop_leader_epoch < p->core.leader_epoch)
        return KE_FENCED_LEADER_EPOCH; /* late: a newer replica stands here (KIP-570) */
    return KE_NONE;
}

static int16_t delete_log(struct replicas *r, struct partition *p, struct log *log)
{
    enum err rc;

    replicas_remove(r, p);
    if (log == NULL)
        return KE_NONE;
    rc = log_manager_delete(r->o.logs, log);
    if (rc != ERR_OK)
        SLOG(ERROR, "replica", "the log cannot be deleted", KV_STR("topic", partition_topic(p)),
             KV_I("partition", p->index), KV_ERR(rc));
    return rc == ERR_OK ? KE_NONE : err_to_kerr(rc);
}

static void stop_run(struct order_job *j)
{
    struct replicas *r = j->batch->replicas;
    struct replicas_order *o = j->order;
    struct partition *p = replicas_find(r, o->topic, o->partition);
    struct log *log = NULL;
    int16_t result;
    struct wake w;

    if (p == NULL) {
        order_end(j, KE_NONE);
        return;
    }
    partition_lock(p, &w);
    if (!partition_is_free_locked(p, &j->deferred)) {
        partition_unlock(p, &w);
        partition_unref(&p);
        return;
    }
    result = admit_stop(p, o);
    if (result == KE_NONE) {
        partition_step_locked(p, &(struct repl_event){.kind = REPL_EV_STOP, .stop = {o->is_delete}},
                              &w);
        if (o->is_delete) {
            log = p->log;
            p->log = NULL;
        }
        SLOG(INFO, "replica", o->is_delete ? "stopped and deleted" : "stopped",
             KV_STR("topic", o->topic), KV_I("partition", o->partition),
             KV_I("leader_epoch", p->core.leader_epoch));
    }
    partition_unlock(p, &w);
    if (result == KE_NONE)
        replicas_tell_role(r, p);
    if (result == KE_NONE && o->is_delete)
        result = delete_log(r, p, log);
    partition_unref(&p);
    order_end(j, result);
}

/* ---- running */

static void order_run(struct partition_job *deferred)
{
    struct order_job *j = CONTAINER_OF(deferred, struct order_job, deferred);

    if (j->order->is_stop)
        stop_run(j);
    else
        become_run(j);
}

static void chunk_run(struct pool_job *job)
{
    struct order_chunk *c = CONTAINER_OF(job, struct order_chunk, job);
    /* the last order may end the batch, so nothing of it is read after that */
    struct order_job *orders = c->batch->orders + c->first;
    int32_t count = c->count;

    for (int32_t i = 0; i < count; i++)
        order_run(&orders[i].deferred);
}

static struct order_batch *batch_new(struct replicas *r, struct replicas_order *orders,
                                     int32_t count, void (*done)(void *arg), void *arg)
{
    struct order_batch *b = xcalloc(1, sizeof *b);

    b->replicas = r;
    b->count = count;
    atomic_init(&b->left, count);
    b->done = done;
    b->arg = arg;
    b->orders = xcalloc((size_t)count, sizeof *b->orders);
    for (int32_t i = 0; i < count; i++) {
        b->orders[i].deferred.run = order_run;
        b->orders[i].batch = b;
        b->orders[i].order = &orders[i];
    }
    b->chunk_count = (count + ORDERS_PER_JOB - 1) / ORDERS_PER_JOB;
    b->chunks = xcalloc((size_t)b->chunk_count, sizeof *b->chunks);
    for (int32_t i = 0; i < b->chunk_count; i++) {
        b->chunks[i].job.run = chunk_run;
        b->chunks[i].batch = b;
        b->chunks[i].first = i * ORDERS_PER_JOB;
        b->chunks[i].count = i32_min(ORDERS_PER_JOB, count - b->chunks[i].first);
    }
    return b;
}

void replicas_carry_out(struct replicas *r, struct replicas_order *orders, int32_t count,
                        void (*done)(void *arg), void *arg)
{
    struct order_batch *b;
    bool is_first;

    atomic_store(&r->has_orders, true);
    if (count == 0 || !replicas_job_begins(r)) {
        for (int32_t i = 0; i < count; i++)
            orders[i].result = KE_BROKER_NOT_AVAILABLE; /* stopping */
        done(arg);
        return;
    }
    b = batch_new(r, orders, count, done, arg);
    lock_take(&r->order_lock);
    is_first = STAILQ_EMPTY(&r->batches);
    STAILQ_INSERT_TAIL(&r->batches, b, link);
    lock_release(&r->order_lock);
    if (is_first)
        batch_submit(b);
}
