/* SPDX-License-Identifier: Apache-2.0 */
/* group_core - the group coordinator of one partition of __consumer_offsets, as a pure state
 * machine: groups, members, generations, committed offsets, timers, rebalance history. Events in,
 * effects out; no I/O, clock, thread, lock, randomness or log line. Driven by shard.c and load.c in
 * a broker and by tests in simulated schedules.
 *
 * Rules: the classic protocol of Kafka 3.9 (KIP-62, 134, 345, 394, 429, 447, 814); reasons and
 * differences in README.md. Strings and bytes of an event are borrowed for the step; what an effect
 * points to is good until the next step. Times: now_ms monotonic, wall_ms Unix. A call is the
 * driver's name for one request that waits: each is answered by exactly one REPLY effect, maybe in
 * a later step. */
#ifndef BROKER_GROUP_GROUP_CORE_H
#define BROKER_GROUP_GROUP_CORE_H

#include "common/base/base.h"
#include "common/base/mem.h"

struct group_core;

struct group_limits {
    int32_t min_session_ms, max_session_ms; /* group.{min,max}.session.timeout.ms */
    int32_t initial_rebalance_delay_ms;     /* group.initial.rebalance.delay.ms */
    int32_t max_size;                       /* group.max.size */
    int32_t metadata_max;                   /* offset.metadata.max.bytes, in UTF-16 units */
    int64_t retention_ms;                   /* offsets.retention.minutes */
    int32_t history_max;                    /* rebalances remembered for each group */
    int32_t append_bytes_max;               /* of the records of one APPEND effect */
};

enum group_state {
    GROUP_EMPTY,
    GROUP_PREPARING_REBALANCE,
    GROUP_COMPLETING_REBALANCE,
    GROUP_STABLE,
    GROUP_DEAD
};
/* "Empty", "PreparingRebalance", ...: the words of the protocol. */
const char *group_state_name(enum group_state s);

/* ---- events */
enum group_event_kind {
    /* loading, from group_core_new until LOADED: these come in the order of the log. A call that
     * comes meanwhile is answered with 14, Heartbeat with 0, SyncGroup with 27
     * (docs/reference/group-coordinator.md, "Where a group lives"). LOAD_MARKER may come later too:
     * the end of a transaction that was open at LOADED */
    GEV_LOAD_OFFSET, /* load_offset: a record with an offset key; the value NULL: a tombstone */
    GEV_LOAD_GROUP,  /* load_group: the same with a group key */
    GEV_LOAD_MARKER, /* load_marker: the end of a producer's transaction */
    GEV_LOADED,      /* begin: groups with members are Stable and their session timers run */
    GEV_UNLOAD, /* leadership is lost: whoever waits (commits on their way too) is answered with
                   NOT_COORDINATOR, as is every call that comes after; later APPENDED are ignored */

    GEV_JOIN,
    GEV_SYNC,
    GEV_HEARTBEAT,
    GEV_LEAVE,
    GEV_COMMIT,
    GEV_OFFSET_DELETE,
    GEV_DELETE_GROUP,
    GEV_TOPICS_DELETED, /* topics: their offsets go from every group */
    GEV_APPENDED,       /* appended: what became of an APPEND effect; exactly once for each */
    GEV_EXPIRE,         /* look which offsets and groups have outlived offsets.retention.minutes:
                           begins a sweep that later TICKs continue, a slice each */
    GEV_TICK            /* now_ms has reached group_core_deadline_ms() */
};

struct group_offset {
    int64_t offset;
    int32_t leader_epoch; /* -1: none */
    struct str metadata;
    int64_t commit_wall_ms;
    int64_t expire_wall_ms; /* -1: by offsets.retention.minutes */
};

struct group_protocol {
    struct str name;
    struct bytes metadata;
};

/* A member as it stands in a GroupMetadataValue record, and as it is described. */
struct group_member_view {
    struct str member_id, instance_id /* null: dynamic */, client_id, client_host;
    int32_t rebalance_ms, session_ms;
    struct bytes metadata; /* of the chosen protocol only */
    struct bytes assignment;
};

struct group_load_offset {
    struct str group, topic;
    int32_t partition;
    const struct group_offset *value; /* NULL: tombstone */
    int64_t batch_offset;             /* base offset of its batch */
    int64_t producer_id;              /* of a transactional batch; else -1 */
};

struct group_load_group {
    struct str group;
    bool is_tombstone;
    struct str protocol_type;
    int32_t generation;
    struct str protocol, leader; /* null: none */
    int64_t state_wall_ms;       /* -1: unknown */
    const struct group_member_view *members;
    int32_t member_count;
};

struct group_join {
    struct str group, member_id, instance_id, client_id, client_host;
    struct str protocol_type;
    const struct group_protocol *protocols;
    int32_t protocol_count;
    int32_t session_ms, rebalance_ms; /* rebalance_ms -1 (v0): the session timeout */
    bool needs_known_id;      /* v4+: a new dynamic member is first given its id (KIP-394) */
    bool can_skip_assignment; /* v9+ (KIP-814) */
    struct str new_id_suffix; /* a random UUID as text, for the id of a new member */
    struct str reason;        /* v8+, or null */
};

struct group_assignment {
    struct str member_id;
    struct bytes assignment;
};

struct group_sync {
    struct str group, member_id, instance_id;
    int32_t generation;
    struct str protocol_type, protocol; /* null: not checked */
    bool needs_protocol;                /* v5+: both have to be given */
    const struct group_assignment *assignments;
    int32_t assignment_count;
};

struct group_heartbeat {
    struct str group, member_id, instance_id;
    int32_t generation;
};

struct group_leaver {
    struct str member_id, instance_id, reason;
};

struct group_leave {
    struct str group;
    const struct group_leaver *leavers;
    int32_t leaver_count;
};

struct group_commit_item {
    struct str topic;
    int32_t partition;
    struct group_offset value; /* metadata null is stored as "" */
};

struct group_commit {
    struct str group, member_id, instance_id;
    int32_t generation;
    const struct group_commit_item *items; /* of topics and partitions that exist */
    int32_t item_count;
};

struct group_partition {
    struct str topic;
    int32_t partition;
};

struct group_offset_delete {
    struct str group;
    const struct group_partition *items; /* that exist */
    int32_t item_count;
};

struct group_event {
    enum group_event_kind kind;
    int64_t now_ms, wall_ms;
    uint64_t call; /* JOIN .. DELETE_GROUP: who is to be answered */
    union {
        struct group_load_offset load_offset;
        struct group_load_group load_group;
        struct {
            int64_t producer_id;
            bool is_commit;
        } load_marker;
        struct group_join join;
        struct group_sync sync;
        struct group_heartbeat heartbeat;
        struct group_leave leave;
        struct group_commit commit;
        struct group_offset_delete offset_delete;
        struct str delete_group;
        struct {
            const struct str *names;
            int32_t count;
        } topics;
        struct {
            uint64_t append_id;
            int16_t error;       /* KE_NONE: on every replica that offsets.commit.required.acks
                                    wants */
            int64_t base_offset; /* of the batch; KE_NONE only */
        } appended;
    };
};

/* ---- effects */
enum group_effect_kind {
    GFX_REPLY,    /* reply */
    GFX_APPEND,   /* append: as one batch; batches in the order of their effects; then APPENDED */
    GFX_REBALANCE /* rebalance: one that begins (ended_wall_ms -1) or has ended, for the log line;
                     the same entry is in the group's history */
};

enum group_reply_kind {
    GROUP_REPLY_JOIN,
    GROUP_REPLY_SYNC,
    GROUP_REPLY_HEARTBEAT,
    GROUP_REPLY_LEAVE,
    GROUP_REPLY_COMMIT,
    GROUP_REPLY_OFFSET_DELETE,
    GROUP_REPLY_DELETE_GROUP
};

struct group_joined_member {
    struct str member_id, instance_id;
    struct bytes metadata;
};

struct group_reply {
    enum group_reply_kind kind;
    uint64_t call;
    int16_t error; /* KE_*; LEAVE, OFFSET_DELETE: the top level's. COMMIT: of every item if not 0 */
    union {
        struct {
            int32_t generation; /* -1 with an error */
            struct str protocol_type, protocol /* null: none */, leader, member_id;
            bool skip_assignment;
            const struct group_joined_member *members; /* for the leader */
            int32_t member_count;
        } join;
        struct {
            struct str protocol_type, protocol;
            struct bytes assignment;
        } sync;
        struct {
            const int16_t *errors; /* LEAVE, COMMIT, OFFSET_DELETE: one for each item asked for */
            int32_t count;         /* 0: the call ended as a whole, with error */
        } items;
    };
};

struct group_record {
    struct bytes key;
    struct bytes value; /* p NULL: a tombstone */
};

struct group_append {
    uint64_t append_id;
    const struct group_record *records;
    int32_t count;
};

/* One rebalance of a group: from the first reason to its end. */
struct group_rebalance {
    struct str group;
    int64_t began_wall_ms, ended_wall_ms; /* -1: still under way */
    int32_t generation;                   /* that it led to; -1 while under way */
    int32_t members_before, members_after;
    struct str reason; /* the first: "member c-1-<uuid> joined", "... left: <its reason>",
                          "... did not heartbeat for 45000 ms", "leader ... rejoined", ... */
    int32_t further;   /* reasons that came while it was under way */
};

struct group_effect {
    enum group_effect_kind kind;
    union {
        struct group_reply reply;
        struct group_append append;
        struct group_rebalance rebalance;
    };
};
struct group_effects {
    const struct group_effect *v; /* to be done in this order; the core's, until the next step */
    int32_t count;
};

/* Loading. limits: copied. */
struct group_core *group_core_new(const struct group_limits *limits, int64_t now_ms);
void group_core_free(struct group_core **c); /* NULL-safe */
void group_core_set_limits(struct group_core *c, const struct group_limits *limits);

void group_core_step(struct group_core *c, const struct group_event *ev,
                     struct group_effects *fx_out);
/* When the next TICK has something to do (maybe nothing: a timer that was moved meanwhile); -1:
 * never. Monotonic ms. Constant time. */
int64_t group_core_deadline_ms(const struct group_core *c);
/* Asserts every invariant; slow, for tests. */
void group_core_check(const struct group_core *c);

/* ---- questions; they change nothing. What they give is good until the next step. */

struct group_view {
    struct str group, protocol_type /* null: a simple group */, protocol, leader;
    enum group_state state;
    int32_t generation;
    int64_t state_wall_ms;
    int32_t member_count;
    int32_t offset_count;
};
/* False: no such group (or dead). */
bool group_core_find(const struct group_core *c, struct str group, struct group_view *out);
void group_core_each(const struct group_core *c,
                     void (*visit)(void *arg, const struct group_view *g), void *arg);
/* In the order in which they joined. metadata and assignment are empty unless the group is Stable.
 */
void group_core_each_member(const struct group_core *c, struct str group,
                            void (*visit)(void *arg, const struct group_member_view *m), void *arg);

enum group_offset_state {
    GROUP_OFFSET_NONE,
    GROUP_OFFSET_STABLE,
    GROUP_OFFSET_PENDING /* a commit is on its way, or a transaction is open; out is the last one
                            that is settled, offset -1 if none */
};
enum group_offset_state group_core_offset(const struct group_core *c, struct str group,
                                          struct str topic, int32_t partition,
                                          struct group_offset *out);
void group_core_each_offset(const struct group_core *c, struct str group,
                            void (*visit)(void *arg, struct str topic, int32_t partition,
                                          enum group_offset_state s, const struct group_offset *o),
                            void *arg);
/* Oldest first, the one under way last. */
void group_core_each_rebalance(const struct group_core *c, struct str group,
                               void (*visit)(void *arg, const struct group_rebalance *r),
                               void *arg);

struct group_numbers {
    int64_t groups, members, offsets;
    int64_t by_state[GROUP_DEAD + 1];
    int64_t rebalances, expired_members, expired_offsets, commits; /* since the core was made */
};
void group_core_count(const struct group_core *c, struct group_numbers *out);

#endif
