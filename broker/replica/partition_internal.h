/* SPDX-License-Identifier: Apache-2.0 */
/* What partition.c, replicas.c, fetcher.c and isr_sender.c share: the partition itself. */
#ifndef BROKER_REPLICA_PARTITION_INTERNAL_H
#define BROKER_REPLICA_PARTITION_INTERNAL_H

#include "broker/replica/replicas.h"
#include "broker/replica/watch.h"
#include "common/base/lock.h"

#include <pthread.h>

enum { PARTITION_MAGIC = 0x70617274 };

TAILQ_HEAD(partition_wait_list, partition_wait);
LIST_HEAD(partition_watch_list, partition_watch);

/* Work that needs the partition free of a blocking change: run again, on a pool thread, when that
 * has ended. */
struct partition_job {
    STAILQ_ENTRY(partition_job) link;
    void (*run)(struct partition_job *j);
};
STAILQ_HEAD(partition_job_list, partition_job);

/* A thread that waits for the end of a blocking change; on its stack. */
struct partition_sleeper {
    pthread_cond_t cond;
    bool is_woken;
    SLIST_ENTRY(partition_sleeper) link;
};

struct partition {
    unsigned magic;
    _Atomic int32_t refs;
    struct replicas *owner;
    struct partition *next_in_shard; /* guarded by the shard's lock */
    struct lock lock;                /* guards everything below that is not constant */
    struct log *log;                 /* NULL: not created yet, or deleted */
    struct repl_core core;
    struct partition_watch_list watches[2]; /* by enum partition_watch_kind */
    struct partition_wait_list waits_hw;    /* acks=-1, by required offset */
    struct partition_wait_list waits_count; /* acks n > 1, by required offset */
    struct partition_job_list deferred;
    SLIST_HEAD(, partition_sleeper) sleepers;
    bool is_busy;      /* an io thread truncates the log without the lock: hands off p->log */
    bool is_offline;   /* its disk failed */
    bool is_proposing; /* isr_mail is on its way or in the sender's queue */
    struct mail isr_mail;
    int32_t told_epoch;    /* role_changed was told that we lead in it; -1: that we do not */
    int64_t lag;           /* follower: behind the leader's HW, at the last answer */
    int32_t fetching_from; /* whose fetcher has it; -1: none */
    struct uuid topic_id;
    /* constant */
    int32_t index;
    uint32_t hash;
    int32_t topic_len;
    char topic[];
};

/* Who has to be told once the partition's lock is released. On the stack. */
enum { WAKE_LISTS_MAX = 16, WAKE_LOOPS_MAX = 8 };
struct wake {
    struct watch_list *lists[WAKE_LISTS_MAX];
    int list_count;
    struct {
        struct loop *loop;
        struct partition_wait *first, *last;
    } chains[WAKE_LOOPS_MAX];
    int chain_count;
};

struct partition *partition_new(struct replicas *owner, struct str topic, int32_t index,
                                uint32_t hash);

void partition_lock(struct partition *p, struct wake *w) ACQUIRE(p->lock);
void partition_unlock(struct partition *p, struct wake *w) RELEASE(p->lock);
/* Fills in the time and the shared inputs, steps the core, carries the effects out. Lock held. */
void partition_step_locked(struct partition *p, struct repl_event *ev, struct wake *w)
    REQUIRES(p->lock);
void partition_wake_locked(struct partition *p, enum partition_watch_kind kind, struct wake *w)
    REQUIRES(p->lock);
/* Its disk failed: nothing is acknowledged any more. */
void partition_fail_locked(struct partition *p, struct wake *w) REQUIRES(p->lock);
/* False: the partition is busy, j runs later. */
NODISCARD bool partition_is_free_locked(struct partition *p, struct partition_job *j)
    REQUIRES(p->lock);
/* Blocking work begins: without the lock and with p->log to itself. The partition must be free, and
 * the worker holds a reference. */
void partition_busy_begin_locked(struct partition *p) REQUIRES(p->lock);
/* Who ended such work clears is_busy under the lock and gives the lock back by this: wakes who
 * sleeps for it and runs what was deferred (which defers itself again if the partition is busy
 * anew). */
void partition_unlock_and_run(struct partition *p, struct wake *w) RELEASE(p->lock);

/* One fetched answer of the leader, appended on the fetcher's loop. */
struct partition_fetched {
    int32_t leader_epoch; /* of the request */
    int64_t fetch_offset; /* of the request: must be our end */
    uint8_t *records;
    size_t len;
    int64_t leader_hw, leader_start;
};
enum partition_fetch_result {
    FETCHED_OK,      /* next_offset, last_epoch: where to go on */
    FETCHED_STALE,   /* the partition has moved on: forget this answer */
    FETCHED_CORRUPT, /* fetch again later */
    FETCHED_RESTART, /* the log is being restarted at another offset; FOLLOW comes later */
    FETCHED_FAILED   /* its disk failed */
};
/* Where its fetcher has to go on. */
struct partition_position {
    int64_t offset, start_offset;
    int32_t last_epoch;
};
/* pos_out is set for FETCHED_OK only. */
enum partition_fetch_result partition_append_fetched(struct partition *p,
                                                     const struct partition_fetched *f,
                                                     struct partition_position *pos_out);
/* False: it does not follow in that epoch (any more), or is being truncated. */
bool partition_position(struct partition *p, int32_t leader_epoch,
                        struct partition_position *pos_out);
/* The leader's HW and start from an answer whose records can't be used any more. */
void partition_note_leader_offsets(struct partition *p, int32_t leader_epoch, int64_t leader_hw,
                                   int64_t leader_start);
/* DivergingEpoch, or the end of an epoch. Truncation follows, then FOLLOW again. False: stale. */
bool partition_diverged(struct partition *p, int32_t leader_epoch, int32_t epoch,
                        int64_t end_offset);
/* Out of range: the leader's end (is_start false) or start. What follows comes by FOLLOW or by
 * asks_start_out. False: stale. */
bool partition_leader_offset(struct partition *p, int32_t leader_epoch, bool is_start,
                             int64_t offset, bool *asks_start_out);

/* ---- replicas.c */
int64_t replicas_now_ms(const struct replicas *r);
const struct replicas_options *replicas_options_of(const struct replicas *r);
const struct repl_live *replicas_live(const struct replicas *r);
/* Jobs of ours on the pool: replicas_stop waits for their end. False: it has ended, submit nothing.
 * Within a job, and on a loop before the fetchers have stopped, it is always true. */
NODISCARD bool replicas_job_begins(struct replicas *r);
void replicas_job_ended(struct replicas *r);
/* Some HW changed: the next checkpoint has something to write. */
void replicas_note_hw(struct replicas *r);
/* Host copied into host_out (256 bytes). False: unknown or not alive. */
bool replicas_endpoint(struct replicas *r, int32_t broker_id, char *host_out, int32_t *port_out);

/* ---- fetcher.c; any thread, lock held or not */
struct fetchers;
struct fetchers *fetchers_new(struct replicas *r);
/* Ends connections; after it no callback touches a partition. Main thread. */
void fetchers_stop(struct fetchers *f);
void fetchers_free(struct fetchers **f);
/* Fetch p from leader_id in that epoch from pos on. Replaces what was there. */
void fetchers_follow(struct fetchers *f, struct partition *p, int32_t leader_id,
                     int32_t leader_epoch, const struct partition_position *pos);
void fetchers_forget(struct fetchers *f, struct partition *p, int32_t leader_id);
/* Endpoints may have changed. */
void fetchers_endpoints_changed(struct fetchers *f);
struct fetchers *replicas_fetchers(const struct replicas *r);

/* ---- isr_sender.c */
struct isr_sender;
struct isr_sender *isr_sender_new(struct replicas *r);
void isr_sender_stop(struct isr_sender *s);
void isr_sender_free(struct isr_sender **s);
/* The partition has a proposal; lock held. */
void isr_sender_propose_locked(struct isr_sender *s, struct partition *p);
struct isr_sender *replicas_isr_sender(const struct replicas *r);
void isr_sender_count(const struct isr_sender *s, struct replicas_numbers *out);

#endif
