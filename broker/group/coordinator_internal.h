/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the coordinator share: the seat (what one loop owns) and the shard. */
#ifndef BROKER_GROUP_COORDINATOR_INTERNAL_H
#define BROKER_GROUP_COORDINATOR_INTERNAL_H

#include "broker/group/coordinator.h"
#include "broker/cluster/metadata_cache.h"
#include "broker/replica/partition.h"
#include "common/base/lock.h"
#include "common/base/pool.h"
#include "common/base/uuid.h"
#include "common/record/compress.h"

enum {
    COORDINATOR_MAGIC = 0x636f6f72,
    SEAT_MAGIC = 0x73656174,
    SHARD_MAGIC = 0x73686172,
    LOAD_MAGIC = 0x6c6f6164,
    BATCH_MAGIC = 0x61626174,
    TRIP_MAGIC = 0x74726970,
    CALL_MAGIC = 0x63616c6c,

    SHARD_CALLS_MAX = 100000, /* that wait in one shard: joins and commits of as many members */
    HISTORY_MAX = 20,         /* rebalances remembered for each group */
    /* appends of one turn share a batch up to this size; a larger one goes alone */
    MERGED_BYTES_MAX = 64 * 1024,
};

struct append_batch;
TAILQ_HEAD(append_list, append_batch);
struct load;

enum shard_state { SHARD_LOADING, SHARD_ACTIVE };

struct shard { /* owner: the loop of its seat */
    unsigned magic;
    struct seat *seat;
    int32_t index;
    enum shard_state state;
    struct partition *partition; /* reference */
    int32_t since_epoch;         /* the broker leads without a break since this leader epoch */
    struct group_core *core;     /* ACTIVE */
    int32_t calls;               /* that the core has not answered */
    struct loop_timer tick;
    int64_t tick_at_ms; /* what tick is armed for; -1: it is not */
    struct load *load;  /* LOADING, on an io thread or in the queue for one */
    struct loop_timer retry;
    int64_t retry_ms;
    /* append.c */
    struct append_list filling, waiting; /* not written yet; not replicated yet */
    struct loop_deferred flush;
    struct loop_timer append_timer;
};

struct seat { /* owner: its loop */
    unsigned magic;
    struct coordinator *coordinator;
    struct loop *loop;
    int index;
    struct shard **shards; /* by partition / loop count; NULL: not here */
    int32_t shard_cap, shard_count;
    TAILQ_HEAD(, group_trip) ended;
    struct loop_deferred ended_job;
    struct loop_timer expire;
    struct uuid topic_id; /* of the topic whose partitions were counted */
    int32_t partition_count;
    bool is_quitting;
    /* of groups that are not here any more */
    int64_t rebalances, expired_members, expired_offsets, commits;
};

struct coordinator {
    unsigned magic;
    struct broker *broker;
    struct group_limits limits;
    enum codec codec;
    int16_t acks;
    int64_t append_timeout_ms, expire_interval_ms;
    int32_t load_buffer_bytes;
    _Atomic int32_t trips; /* under way */
    _Atomic bool is_quitting;
    struct lock load_lock;
    TAILQ_HEAD(, load) load_queue; /* guarded by load_lock, as is the next */
    int32_t loads_running;
    _Atomic int64_t loads, load_ms_last, load_ms_max, loads_failed, append_batches, appends,
        append_errors;
    int seat_count;
    struct seat seats[];
};

/* ---- shard.c */
struct seat *seat_of_loop(struct coordinator *c, const struct loop *l);
struct seat *seat_of_partition(struct coordinator *c, int32_t partition);
struct shard *seat_find(const struct seat *s, int32_t partition); /* NULL: not led here */
/* Asks the replica what it is and follows: begins to load, unloads, or nothing. */
void seat_look(struct seat *s, int32_t partition);
void seat_init(struct seat *s, struct coordinator *c, int index);
/* Unloads everything. */
void seat_quit(struct seat *s);
/* Steps the core and carries the effects out. Not from within an effect. */
void shard_step(struct shard *s, struct group_event *ev);
/* The load has ended; takes core. NULL: it failed and is tried again. */
void shard_loaded(struct shard *s, struct group_core *core);

/* ---- trip.c */
/* The core has answered it. */
void group_call_answer(struct group_call *c, const struct group_reply *reply);
void seat_run_ended(struct loop_deferred *d);

/* ---- append.c: the records of the effects of one turn, written and waited for */
void shard_append(struct shard *s, const struct group_append *a);
/* Forgets what is on its way. */
void shard_append_drop(struct shard *s);
void shard_append_init(struct shard *s);

/* ---- load.c */
/* Reads the partition's log on an io thread; shard_loaded comes later on the shard's loop. */
void load_start(struct shard *s);
/* The shard goes: its load ends soon and is forgotten. NULL is fine. */
void load_abandon(struct load *l);

#endif
