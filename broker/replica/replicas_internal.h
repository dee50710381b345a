/* SPDX-License-Identifier: Apache-2.0 */
/* The table's insides, for replicas.c, orders.c and replicas_metadata.c. */
#ifndef BROKER_REPLICA_REPLICAS_INTERNAL_H
#define BROKER_REPLICA_REPLICAS_INTERNAL_H

#include "broker/replica/partition_internal.h"

enum {
    REPLICAS_SHARDS = 64,
    LAG_SLICES = 16,
    REPLICAS_HOST_MAX = 256,
    REPLICAS_BROKERS_MAX = 65536,
    ORDERS_PER_JOB = 16
};

struct shard {
    struct lock lock; /* guards the chains; held for a look-up, an insertion, a removal */
    struct partition **buckets;
    size_t bucket_count; /* a power of two */
    size_t count;
};

struct replicas_endpoint {
    int32_t id, port;
    char host[REPLICAS_HOST_MAX];
};

struct order_batch;
STAILQ_HEAD(order_batch_list, order_batch);

struct replicas {
    struct replicas_options o;
    struct shard shards[REPLICAS_SHARDS];
    struct repl_live live;
    int64_t test_now_ms; /* tests: >= 0 is the time */
    struct lock endpoint_lock;
    struct replicas_endpoint *endpoints; /* guarded by endpoint_lock */
    int32_t endpoint_count;
    struct fetchers *fetchers;
    struct isr_sender *isr_sender;

    struct lock order_lock;
    int32_t controller_epoch;        /* guarded by order_lock: highest seen */
    struct order_batch_list batches; /* guarded by order_lock: the first is being carried out */
    _Atomic bool has_orders;         /* since start */

    struct lock job_lock;
    pthread_cond_t job_cond;
    int64_t jobs;    /* guarded by job_lock: of ours on the pool */
    bool is_stopped; /* guarded by job_lock: no more of them */

    struct loop_timer lag_timer, checkpoint_timer; /* owner: the first loop */
    size_t lag_shard;                              /* owner: the first loop */
    struct pool_job checkpoint_job, lost_job;
    _Atomic bool checkpoint_is_queued, lost_is_queued, hw_is_dirty;
};

/* A reference for the caller. */
struct partition *replicas_find_or_add(struct replicas *r, struct str topic, int32_t partition);
void replicas_remove(struct replicas *r, struct partition *p); /* gives the table's reference up */
void replicas_attach_locked(struct partition *p, struct log *l);
/* Takes list. */
void replicas_set_endpoints(struct replicas *r, struct replicas_endpoint *list, int32_t count,
                            bool *changed_out);
void replicas_brokers_changed(struct replicas *r);
/* role_changed, if there is news. No lock held; io thread. */
void replicas_tell_role(struct replicas *r, struct partition *p);
void replicas_tick_all(struct replicas *r);

#endif
