/* SPDX-License-Identifier: Apache-2.0 */
/* repl_core - the replication state of one partition on one broker, as a pure state machine: role,
 * remote replicas, ISR, high watermark, truncation. Events in, effects out; no I/O, clock, thread,
 * lock or log line. Used by partition.c under the partition's lock, and by simulations.
 *
 * Rules with their reasons: broker/replica/README.md. Offsets of the local log are mirrored here;
 * the driver reports every change of them by an event. Times are monotonic milliseconds. */
#ifndef BROKER_REPLICA_REPL_CORE_H
#define BROKER_REPLICA_REPL_CORE_H

#include "common/base/base.h"

#include <stdatomic.h>

enum {
    REPL_REPLICAS_MAX = 64, /* of one partition; more is refused with INVALID_REQUEST */
    REPL_LIVE_IDS = 65536,  /* broker ids from here on count as alive: the controller decides */
    REPL_EFFECTS_MAX = 8
};
#define REPL_NEVER_MS (-(INT64_C(1) << 60)) /* a time that is longer ago than any limit */

/* Which brokers are registered, by id. Advisory: the controller has the last word on who may be in
 * an ISR. Written by one thread, read by all. */
struct repl_live {
    _Atomic uint64_t bits[REPL_LIVE_IDS / 64];
};
void repl_live_set(struct repl_live *l, int32_t broker_id, bool is_alive);
bool repl_live_has(const struct repl_live *l, int32_t broker_id);

/* What all partitions share. Immutable while in use, or changed between events. */
struct repl_limits {
    int64_t lag_time_max_ms; /* replica.lag.time.max.ms */
    int64_t lag_messages;    /* replica.lag.max.messages of the old days; 0: off */
};

enum repl_role {
    REPL_IDLE,     /* a log, but no controller has said what to do with it; or stopped for now */
    REPL_ELECTED,  /* to be leader; the epoch cache does not have the new epoch yet */
    REPL_LEADER,   /* acts */
    REPL_FOLLOWER, /* of leader_id, or of nobody (-1) */
    REPL_STOPPED   /* deleted, or its disk failed: takes no event any more */
};

enum repl_isr_state { REPL_ISR_COMMITTED, REPL_ISR_EXPANDING, REPL_ISR_SHRINKING };

/* A remote replica as its leader sees it. */
struct repl_replica {
    int32_t id;
    int64_t broker_epoch;
    int64_t end_offset; /* its log end: the offset of its last fetch; -1 unknown */
    int64_t start_offset;
    int64_t last_fetch_ms;
    int64_t last_fetch_leader_end; /* our end when that fetch came */
    int64_t last_caught_up_ms;
};

struct repl_core {
    int32_t me;
    enum repl_role role;
    int32_t leader_id;
    int32_t leader_epoch;    /* -1 before the first LeaderAndIsr */
    int32_t partition_epoch; /* zkVersion of the state znode */
    int64_t start_offset, hw_offset, end_offset;
    bool is_truncating; /* follower: its log is being cut; HW and fetches wait */
    bool was_leader;    /* ELECTED: led in the epoch before, so the remotes' offsets still hold */

    /* leader */
    int64_t leader_start_offset; /* our end when we became leader in this epoch */
    int32_t led_since_epoch;     /* leader without a break since this epoch */
    int32_t min_isr;             /* min.insync.replicas of the topic */
    enum repl_isr_state isr_state;
    uint32_t change_id; /* of the proposal in flight: answers to older ones are stale */
    int16_t isr_count, proposed_count, remote_count;
    int32_t *isr;         /* committed */
    int32_t *proposed;    /* while expanding or shrinking; who joins is the last */
    int64_t joiner_epoch; /* expanding: the broker epoch of the fetch that caught up (KIP-903) */
    struct repl_replica *remotes;
};

enum repl_event_kind {
    REPL_EV_BECOME,        /* LeaderAndIsr with a higher leader epoch, admitted by repl_admit */
    REPL_EV_EPOCH_WRITTEN, /* effect WRITE_EPOCH is done */
    REPL_EV_APPENDED,      /* leader: the log grew */
    REPL_EV_FETCH,         /* leader: a follower's fetch was read successfully */
    REPL_EV_ISR_RESULT,    /* leader: the controller answered a proposal */
    REPL_EV_TICK,          /* leader: who is out of sync? */
    REPL_EV_MIN_ISR,       /* the topic's setting changed */
    REPL_EV_DIVERGED,      /* follower: the leader's answer named the end of an epoch */
    REPL_EV_TRUNCATED,     /* effect TRUNCATE or RESTART_AT is done */
    REPL_EV_FETCHED,       /* follower: an answer without divergence; its batches are appended */
    REPL_EV_LEADER_END,    /* follower, out of range: the leader's end */
    REPL_EV_LEADER_START,  /* follower, out of range: the leader's start */
    REPL_EV_RESTART,       /* follower: its empty log has to begin again at an offset */
    REPL_EV_START_MOVED,   /* retention or DeleteRecords moved our start */
    REPL_EV_STOP           /* StopReplica, or the disk failed */
};

/* What LeaderAndIsr says of a partition. Borrowed. */
struct repl_state {
    int32_t leader_id, leader_epoch, partition_epoch;
    const int32_t *isr, *replicas;
    int32_t isr_count, replica_count;
};

struct repl_event {
    enum repl_event_kind kind;
    int64_t now_ms;
    const struct repl_live *live;
    const struct repl_limits *limits;
    union {
        struct {
            const struct repl_state *state;
            int32_t min_isr;
            int64_t start_offset, hw_offset, end_offset; /* of the log, now */
            bool has_epochs;                             /* the log's epoch cache is not empty */
        } become;
        struct {
            int32_t leader_epoch;
        } epoch_written;
        struct {
            int64_t end_offset;
        } appended;
        struct {
            int32_t replica_id;
            int64_t broker_epoch, fetch_offset, start_offset;
        } fetch;
        struct {
            uint32_t change_id;
            int16_t error;
            int32_t leader_epoch, partition_epoch;
            const int32_t *isr;
            int32_t isr_count;
        } isr_result;
        struct {
            int32_t min_isr;
        } min_isr;
        struct {
            int32_t leader_epoch; /* of the request that was answered */
            int32_t epoch;        /* the leader's, -1 undefined */
            int64_t end_offset;   /* of that epoch there, -1 undefined */
            int32_t own_epoch;    /* our endOffsetFor(epoch), -1 undefined */
            int64_t own_epoch_end;
        } diverged;
        struct {
            int64_t start_offset, end_offset;
        } truncated;
        struct {
            int32_t leader_epoch;
            int64_t end_offset; /* ours, after the append */
            int64_t leader_hw, leader_start;
        } fetched;
        struct {
            int32_t leader_epoch;
            int64_t offset;
        } leader_end, leader_start, restart;
        struct {
            int64_t start_offset;
        } start_moved;
        struct {
            bool is_final; /* deleted or failed; else another LeaderAndIsr may revive it */
        } stop;
    };
};

enum repl_effect_kind {
    REPL_FX_WRITE_EPOCH, /* (epoch, offset) into the epoch cache before any append (KAFKA-7415);
                            then EPOCH_WRITTEN */
    REPL_FX_LED,         /* we lead from now on */
    REPL_FX_FOLLOW,      /* fetch from leader_id in this epoch, from our end (offset) */
    REPL_FX_STOP_FETCH,  /* forget the fetcher of an earlier epoch */
    REPL_FX_TRUNCATE,    /* cut the log at offset, then TRUNCATED */
    REPL_FX_RESTART_AT,  /* drop the whole log, restart at offset, then TRUNCATED */
    REPL_FX_ASK_LEADER_START, /* ListOffsets EARLIEST, then LEADER_START */
    REPL_FX_SET_HW,           /* offset: into the log; whoever waits for it looks again */
    REPL_FX_SET_START,        /* offset: the leader deleted up to here */
    REPL_FX_PROPOSE_ISR,      /* core.proposed under core.change_id, to the controller */
    REPL_FX_FAIL_WAITS,       /* we led and do not any more: produce waits end with an error */
    REPL_FX_EPOCH_CHANGED     /* fetches that wait have to look again */
};

struct repl_effect {
    enum repl_effect_kind kind;
    int32_t epoch;
    int64_t offset;
};
struct repl_effects {
    struct repl_effect v[REPL_EFFECTS_MAX]; /* to be done in this order */
    int count;
};

void repl_init(struct repl_core *r, int32_t me);
void repl_fini(struct repl_core *r);

/* May this LeaderAndIsr be acted on (docs/reference/controller.md, "Control RPCs")? KE_NONE: yes,
 * step BECOME. STALE_CONTROLLER_EPOCH: its leader epoch is not newer. UNKNOWN_TOPIC_OR_PARTITION:
 * we are not among the replicas. INVALID_REQUEST: impossible content. skip_out: KE_NONE, but older
 * than what is known (partition epoch): answer without acting. */
NODISCARD int16_t repl_admit(const struct repl_core *r, const struct repl_state *st,
                             bool *skip_out);

/* One event. fx_out is set; its order matters. Events of a role that is not ours any more, or of an
 * older epoch, change nothing. */
void repl_step(struct repl_core *r, const struct repl_event *ev, struct repl_effects *fx_out);
/* When the next TICK can find something to do: INT64_MAX for never. */
int64_t repl_deadline_ms(const struct repl_core *r, const struct repl_limits *limits);
/* Asserts every invariant. */
void repl_check(const struct repl_core *r);

/* ---- questions; they change nothing */

/* The checks of a read (docs/reference/replication.md, "Leader side"): KE_NONE,
 * FENCED_LEADER_EPOCH, UNKNOWN_LEADER_EPOCH, NOT_LEADER_OR_FOLLOWER. current_leader_epoch -1: not
 * checked. replica_id
 * >= 0: a follower. */
NODISCARD int16_t repl_admit_read(const struct repl_core *r, int32_t current_leader_epoch,
                                  int32_t replica_id, bool leader_required);
/* Before an append: NOT_LEADER_OR_FOLLOWER; NOT_ENOUGH_REPLICAS for acks -1. */
NODISCARD int16_t repl_admit_append(const struct repl_core *r, int16_t acks);
/* Is a produce request done that was appended in leader_epoch and ends before required_offset?
 * False: it waits. True: result_out. If leadership was lost since, the record may have been
 * truncated and others may be in its place: NOT_LEADER_OR_FOLLOWER, whatever HW is. */
NODISCARD bool repl_is_replicated(const struct repl_core *r, int32_t leader_epoch,
                                  int64_t required_offset, int16_t acks, int16_t *result_out);
/* The smallest start offset of us and the live replicas. */
int64_t repl_low_watermark(const struct repl_core *r, const struct repl_live *live);
/* NULL: not among the remote replicas. */
const struct repl_replica *repl_remote(const struct repl_core *r, int32_t id);
bool repl_in_isr(const struct repl_core *r, int32_t id);
int16_t repl_effective_min_isr(const struct repl_core *r);
bool repl_is_under_replicated(const struct repl_core *r); /* leader: isr smaller than replicas */

#endif
