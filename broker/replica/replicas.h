/* SPDX-License-Identifier: Apache-2.0 */
/* replicas - the table of this broker's partitions, and what keeps them going: orders of the
 * controller, the lag timer, the checkpoint of high watermarks, fetchers, ISR changes.
 *
 * Made by main after the logs are loaded and before anything serves; any thread afterwards, unless
 * said otherwise. See README. */
#ifndef BROKER_REPLICA_REPLICAS_H
#define BROKER_REPLICA_REPLICAS_H

#include "broker/log/log_manager.h"
#include "broker/replica/partition.h"
#include "broker/replica/repl_core.h"
#include "common/base/pool.h"

struct controller;
struct coord;
struct metadata;
struct tls_context;

struct replicas_options {
    int32_t broker_id;
    struct loop **loops; /* fetchers are spread over them; timers are on the first */
    int loop_count;
    struct pool *pool;
    struct log_manager *logs;
    struct controller *controller;     /* NULL: no ISR changes are sent (tests) */
    struct coord *coord;               /* NULL: log dir failures are not told */
    const char *listener_name;         /* of the listener between brokers */
    struct tls_context *tls;           /* NULL: plain */
    struct repl_limits limits;         /* replica.lag.* */
    int64_t hw_checkpoint_interval_ms; /* replica.high.watermark.checkpoint.interval.ms */
    int32_t fetchers_per_leader;       /* num.replica.fetchers */
    int32_t fetch_partition_max_bytes; /* replica.fetch.max.bytes */
    int32_t fetch_response_max_bytes, fetch_min_bytes, fetch_wait_max_ms;
    int64_t fetch_backoff_ms, socket_timeout_ms;
    int32_t receive_buffer_bytes;
    const _Atomic int64_t *broker_epoch; /* of struct broker */
    /* Effective config of a topic for a log that is about to be made; on an io thread, may block.
     */
    void (*topic_config)(void *arg, struct str topic, struct uuid topic_id, struct log_config *out);
    /* A partition leads in a new epoch, or leads no more (stopped, deleted and failed ones too); on
     * an io thread, no lock held. For the group and transaction coordinators. May be NULL. */
    void (*role_changed)(void *arg, struct str topic, int32_t partition, bool is_leader,
                         int32_t leader_epoch);
    /* No log dir is left: the broker has to stop. Once; on an io thread. May be NULL. */
    void (*no_dir_left)(void *arg);
    void *arg;
};

/* Copies the options; what they point to outlives it. Makes a partition of every loaded log. Call
 * between log_manager_load and log_manager_start, and give the latter replicas_log_lock and
 * replicas_log_unlock. */
struct replicas *replicas_new(const struct replicas_options *o);
/* Starts timers. Main thread. */
void replicas_start(struct replicas *r);
/* Ends fetchers and timers and waits for jobs; partitions stay readable. Main thread, while loops
 * and pool still run. */
void replicas_stop(struct replicas *r);
/* After the loops and the pool have ended and the logs are closed. */
void replicas_free(struct replicas **r);

/* For log_manager_start. */
void replicas_log_lock(void *user);
void replicas_log_unlock(void *user);
/* log_manager_options.dir_failed with arg = replicas: its partitions go offline. */
void replicas_dir_failed(void *arg, const char *dir);

/* Who is alive and where; from UpdateMetadata. m is borrowed. */
void replicas_metadata_changed(struct replicas *r, const struct metadata *m);
/* Settings of a topic changed. */
void replicas_topic_config_changed(struct replicas *r, struct str topic,
                                   const struct log_config *c);

/* The defaults changed: each partition's config is asked for anew, by get(arg, topic). */
void replicas_all_configs_changed(struct replicas *r,
                                  void (*get)(void *arg, struct str topic, struct log_config *out),
                                  void *arg);

/* ---- orders of the controller (broker/api/leader_and_isr.c). Batches are carried out one after
 * the other, each in parallel on the pool. */

/* KE_NONE, STALE_BROKER_EPOCH or STALE_CONTROLLER_EPOCH (docs/reference/controller.md, "Control
 * RPCs"); remembers the highest controller epoch. */
NODISCARD int16_t replicas_admit_controller(struct replicas *r, int32_t controller_epoch,
                                            int64_t broker_epoch);
struct replicas_order {
    struct str topic; /* borrowed until done */
    int32_t partition;
    /* LeaderAndIsr */
    struct uuid topic_id; /* zero: none */
    struct repl_state state;
    bool is_new;
    /* StopReplica */
    bool is_stop, is_delete;
    int32_t stop_leader_epoch; /* -1, -2: not checked */
    int16_t result;            /* KE_*, set */
};
/* done(arg) on an io thread (or at once when count is 0) after every order's result is set. */
void replicas_carry_out(struct replicas *r, struct replicas_order *orders, int32_t count,
                        void (*done)(void *arg), void *arg);
/* Endpoint of a leader named in LeaderAndIsr, for when UpdateMetadata has not told yet. */
void replicas_note_leader(struct replicas *r, int32_t broker_id, struct str host, int32_t port);

/* ---- numbers, by a walk over the table */
struct replicas_numbers {
    int32_t partitions, leaders, offline, under_replicated, under_min_isr, at_min_isr;
    int64_t isr_shrinks, isr_expands, failed_isr_updates; /* since start */
    int64_t max_follower_lag;
};
void replicas_count(struct replicas *r, struct replicas_numbers *out);
/* Each partition, with a reference held during the call and no lock. */
void replicas_each(struct replicas *r, void (*visit)(void *arg, struct partition *p), void *arg);

#endif
