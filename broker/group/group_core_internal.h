/* SPDX-License-Identifier: Apache-2.0 */
/* group_core_internal - what the files of the group_core family share: the structures of groups,
 * members, offsets and appends on their way, and the functions between the files. Nobody else
 * includes it (tests/unit/test_group_core*.c see only group_core.h).
 *
 * Freed memory is kept until the next step begins (coord_retire), so that an effect may point to
 * what the same step has removed. */
#ifndef BROKER_GROUP_GROUP_CORE_INTERNAL_H
#define BROKER_GROUP_GROUP_CORE_INTERNAL_H

#include "broker/group/group_core.h"
#include "common/base/base.h"
#include "common/base/hash.h"
#include "common/base/twheel.h"

/* A group has up to five small tables: they begin with four buckets, not thirty-two. */
#undef HASH_INITIAL_NUM_BUCKETS
#undef HASH_INITIAL_NUM_BUCKETS_LOG2
#define HASH_INITIAL_NUM_BUCKETS      4U
#define HASH_INITIAL_NUM_BUCKETS_LOG2 2U

enum {
    COORD_NEW_MEMBER_JOIN_MS = 300000, /* KAFKA: NewMemberJoinTimeoutMs */
    COORD_REASON_BYTES_MAX = 255,      /* of what a client says; ids are cut at it too */
    COORD_MEMBER_ID_BYTES_MAX = INT16_MAX,
    COORD_STALL_MS = 2000, /* a tick that comes so much too late: the broker did not run */
    COORD_GRACE_EVERY_MS = 60000,
    COORD_GRACE_MAX_MS = 10000, /* what clients get for it at most */
    COORD_SWEEP_SLICE = 20000   /* offsets and groups looked at in one step of a sweep */
};

enum coord_timer_kind {
    COORD_TIMER_SESSION, /* of a member */
    COORD_TIMER_PENDING, /* of a member id that was given out */
    COORD_TIMER_JOIN,    /* of a group: the end of its PreparingRebalance */
    COORD_TIMER_SYNC,    /* of a group: who has sent no SyncGroup */
    COORD_TIMER_SWEEP
};
struct coord_timer {
    struct twheel_timer t;
    enum coord_timer_kind kind;
};

struct coord_member {
    UT_hash_handle hh;          /* group->by_id */
    UT_hash_handle hh_instance; /* group->by_instance, of a static member */
    TAILQ_ENTRY(coord_member) link;
    struct coord_group *group;
    struct str id, instance_id, client_id, client_host;
    int32_t session_ms, rebalance_ms;
    struct group_protocol *protocols; /* one block with all that it points to */
    int32_t protocol_count;
    struct bytes assignment;
    struct bytes next_assignment; /* of a SyncGroup that is being written */
    uint64_t join_call, sync_call;
    bool is_joining, is_syncing; /* a JoinGroup, SyncGroup waits; never both */
    bool is_new;                 /* its first JoinGroup has not been answered */
    bool owes_sync;              /* has not sent the SyncGroup of this generation */
    bool can_skip_assignment;
    /* armed unless the member waits for an answer; a new one's runs while it waits */
    struct coord_timer session;
};
TAILQ_HEAD(coord_members, coord_member);

/* A member id that was given out with MEMBER_ID_REQUIRED (KIP-394). */
struct coord_pending {
    UT_hash_handle hh; /* group->pending */
    struct coord_group *group;
    struct str id;
    struct coord_timer timer;
};

/* How many members know a protocol. */
struct coord_protocol {
    UT_hash_handle hh; /* group->protocols */
    struct str name;
    int32_t members;
    int32_t votes;  /* of the choice under way */
    uint64_t stamp; /* of the member last counted: one that names it twice counts once */
};

/* A partition's committed offset. It exists while it has a value or something is on its way. */
struct coord_offset {
    struct coord_topic *topic;
    int32_t partition;
    bool has_value;
    struct group_offset value;
    int64_t batch_offset; /* that set or deleted it; -1: nothing yet */
    int32_t pending;      /* appends on their way that will set or delete it */
    int32_t txns;         /* open transactions that hold one */
    uint64_t stamp;       /* of the request that last named it */
};

struct coord_topic {
    UT_hash_handle hh; /* group->topics */
    struct coord_group *group;
    struct str name;
    struct coord_offset **v; /* by partition */
    int32_t count, cap;
};

struct coord_rebalance {
    TAILQ_ENTRY(coord_rebalance) link;
    struct group_rebalance r;
};
TAILQ_HEAD(coord_history, coord_rebalance);

struct coord_group {
    UT_hash_handle hh; /* core->groups */
    struct str id;
    enum group_state state;
    int64_t state_wall_ms;
    int32_t generation;
    struct str protocol_type, protocol; /* null: none */
    bool has_record;                    /* the log has, or may have, a record of it */
    int32_t refs;                       /* appends on their way that point here */

    struct coord_members members; /* in the order in which they joined */
    int32_t member_count;
    struct coord_member *by_id, *by_instance;
    struct coord_member *leader; /* NULL: no members */
    struct coord_pending *pending;
    int32_t pending_count;
    struct coord_protocol *protocols;
    int32_t joining_count, owes_sync_count; /* members of whom it is true */

    struct coord_timer join_timer, sync_timer;
    bool is_initial; /* the join under way began in Empty */
    bool has_new_member;
    int32_t initial_delay_ms, initial_left_ms;
    bool is_storing; /* the leader's assignment is being written */

    struct coord_topic *topics;
    int32_t entry_count;  /* struct coord_offset */
    int32_t offset_count; /* of them with a value */

    struct coord_history history; /* oldest first */
    int32_t history_count;
    struct coord_rebalance *rebalance; /* the one under way, or NULL */
    int32_t settled_members;           /* how many there were when it was last Stable or Empty */
};

/* Several APPENDs that answer one call. */
struct coord_deletion {
    uint64_t call;
    enum group_reply_kind kind;
    int32_t appends;  /* without an answer yet */
    bool is_answered; /* at the unload, before them */
    int16_t error;    /* the first */
    int16_t *errors;  /* OFFSET_DELETE: one for each item; KE_NONE: as the append fares */
    int32_t error_count;
};

enum coord_append_kind {
    COORD_APPEND_COMMIT,
    COORD_APPEND_TOMBSTONES,
    COORD_APPEND_SYNC,  /* the leader's assignment */
    COORD_APPEND_GROUP, /* the group as it is; nobody waits for it */
    COORD_APPEND_STATIC /* a static member was replaced without a rebalance */
};

/* What becomes of an entry or, offset NULL, of a group when the append succeeds. */
struct coord_append_item {
    struct coord_group *group; /* a reference is held */
    struct coord_offset *offset;
    bool is_tombstone;
    struct group_offset value; /* metadata: the item's own */
    int32_t generation;        /* of the group when it was found deletable */
};

struct coord_append {
    UT_hash_handle hh; /* core->appends */
    uint64_t id;
    enum coord_append_kind kind;
    uint64_t call;
    struct coord_group *group; /* SYNC, EMPTY, STATIC: a reference is held */
    int32_t generation;
    struct coord_append_item *items; /* COMMIT, TOMBSTONES */
    int32_t item_count, item_cap;
    int16_t *errors; /* COMMIT: one for each item of the request */
    int32_t error_count;
    struct coord_deletion *deletion; /* TOMBSTONES of a call */
    bool is_expiry;
    /* STATIC: what to go back to */
    struct {
        struct str old_id, new_id;
        struct group_protocol *protocols;
        int32_t protocol_count;
        int32_t session_ms, rebalance_ms;
        bool could_skip, was_leader;
    } undo;
};

struct coord_txn_item {
    struct coord_group *group; /* a reference is held */
    struct coord_offset *offset;
    struct group_offset value;
    int64_t batch_offset;
};
struct coord_txn {
    UT_hash_handle hh; /* core->txns */
    int64_t producer_id;
    struct coord_txn_item *items;
    int32_t count, cap;
};

enum coord_phase { COORD_LOADING, COORD_ACTIVE, COORD_UNLOADED };

struct group_core {
    struct group_limits limits;
    enum coord_phase phase;
    int64_t now_ms, wall_ms; /* of the step */
    struct twheel wheel;
    int64_t deadline_ms;   /* at or before the wheel's first; -1: none */
    int64_t grace_ms;      /* of this tick */
    int64_t next_grace_ms; /* none before */
    struct coord_group *groups;
    struct coord_append *appends;
    struct coord_txn *txns;
    uint64_t next_append_id, next_stamp;
    struct coord_group *sweep; /* the next to look at */
    struct coord_timer sweep_timer;
    struct group_numbers numbers; /* the totals; the rest is counted when asked for */
    int64_t member_total, offset_total;

    /* of the step */
    struct arena arena;
    struct group_effect *fx;
    int32_t fx_count, fx_cap;
    void **retired;
    size_t retired_count, retired_cap;
    struct buf scratch;
};

/* ---- group_core.c: memory, effects, timers, groups */

/* p is freed when the next step begins. NULL is fine. */
void coord_retire(struct group_core *c, void *p);
struct str coord_str_copy(struct str s); /* owned; null stays null */
void coord_str_retire(struct group_core *c, struct str *s);
struct bytes coord_bytes_copy(struct bytes b); /* owned; null becomes empty */
void coord_bytes_retire(struct group_core *c, struct bytes *b);
void *coord_alloc(struct group_core *c, size_t n);             /* for effects */
struct str coord_str_lend(struct group_core *c, struct str s); /* a copy for effects */
struct bytes coord_scratch_take(struct group_core *c);         /* the scratch, likewise */
struct group_effect *coord_effect(struct group_core *c, enum group_effect_kind kind);
void coord_reply(struct group_core *c, enum group_reply_kind kind, uint64_t call, int16_t error);
void coord_reply_items(struct group_core *c, enum group_reply_kind kind, uint64_t call,
                       const int16_t *errors, int32_t count);

void coord_timer_arm(struct group_core *c, struct coord_timer *t, int64_t delay_ms);
void coord_timer_cancel(struct group_core *c, struct coord_timer *t);

/* uthash wants a pointer even for no bytes. */
static inline const char *coord_key(struct str s)
{
    return s.p == NULL ? "" : s.p;
}
static inline unsigned coord_key_len(struct str s)
{
    return s.len < 0 ? 0 : (unsigned)s.len;
}
struct coord_group *coord_find(const struct group_core *c, struct str id);
struct coord_group *coord_find_or_add(struct group_core *c, struct str id);
void coord_set_state(struct group_core *c, struct coord_group *g, enum group_state to);
void coord_ref(struct coord_group *g);
void coord_unref(struct group_core *c, struct coord_group *g);
/* The group is Dead: out of the table, freed when nothing points to it any more. */
void coord_bury(struct group_core *c, struct coord_group *g);
void coord_group_free(struct group_core *c, struct coord_group *g);
/* Buries a group that nothing speaks for: no member, pending id or offset, and no record. */
void coord_drop_if_useless(struct group_core *c, struct coord_group *g);
/* What every call is first checked for: docs/reference/group-coordinator.md, "Where a group
 * lives". */
int16_t coord_first_check(const struct group_core *c, struct str group, bool may_be_empty);

/* ---- group_core_members.c */
struct coord_member *coord_member_find(const struct coord_group *g, struct str id);
struct coord_member *coord_member_of_instance(const struct coord_group *g, struct str instance_id);
struct coord_pending *coord_pending_find(const struct coord_group *g, struct str id);
/* FENCED_INSTANCE_ID, UNKNOWN_MEMBER_ID, or KE_NONE and the member. */
int16_t coord_member_check(const struct coord_group *g, struct str id, struct str instance_id,
                           struct coord_member **out);
struct coord_member *coord_member_add(struct group_core *c, struct coord_group *g, struct str id,
                                      const struct group_join *j);
/* As it stands in a record. */
void coord_member_load(struct group_core *c, struct coord_group *g, struct str protocol,
                       const struct group_member_view *v);
/* Answers what it waits for with error, and frees it. */
void coord_member_remove(struct group_core *c, struct coord_member *m, int16_t error);
void coord_member_rename(struct group_core *c, struct coord_member *m, struct str id);
/* Takes over protocols, an owned block; the old one is the caller's. */
void coord_member_set_protocols(struct group_core *c, struct coord_member *m,
                                struct group_protocol *protocols, int32_t count);
struct group_protocol *coord_protocols_copy(const struct group_protocol *protocols, int32_t count);
bool coord_member_matches(const struct coord_member *m, const struct group_join *j);
struct bytes coord_member_metadata(const struct coord_member *m, struct str protocol);
void coord_member_set_assignment(struct group_core *c, struct bytes *to, struct bytes from);
void coord_pending_add(struct group_core *c, struct coord_group *g, struct str id, int32_t ms);
void coord_pending_remove(struct group_core *c, struct coord_pending *p);
bool coord_supports(const struct coord_group *g, const struct group_join *j);
/* The name that most members vote for, of those that all know. */
struct str coord_choose_protocol(struct group_core *c, struct coord_group *g);
/* A sign of life: the session begins anew, unless the member waits. */
void coord_session_touch(struct group_core *c, struct coord_member *m);

/* ---- group_core_join.c */
void coord_on_join(struct group_core *c, const struct group_event *ev);
/* With KE_NONE the rest of the reply is set by coord_answer_join. */
void coord_reply_join_error(struct group_core *c, uint64_t call, int16_t error, struct str id);
/* Answers the JoinGroup that m waits for, in the current generation. leader: to be named; with the
 * members if m is_leader. */
void coord_answer_join(struct group_core *c, struct coord_member *m, struct str leader,
                       bool is_leader, bool skip_assignment);
void coord_on_static_stored(struct group_core *c, struct coord_append *a, int16_t error);

/* ---- group_core_sync.c: SyncGroup, Heartbeat */
void coord_on_sync(struct group_core *c, const struct group_event *ev);
void coord_on_heartbeat(struct group_core *c, const struct group_event *ev);
void coord_on_sync_stored(struct group_core *c, struct coord_append *a, int16_t error);
/* All assignments are cleared, all who wait for theirs get error. */
void coord_fail_syncs(struct group_core *c, struct coord_group *g, int16_t error);
void coord_answer_sync(struct group_core *c, struct coord_member *m, int16_t error);
void coord_sync_expired(struct group_core *c, struct coord_group *g);
/* Writes the group as it is, or with the assignments to come. */
struct coord_append *coord_store_group(struct group_core *c, struct coord_group *g,
                                       enum coord_append_kind kind, bool is_next);

/* ---- group_core_leave.c */
void coord_on_leave(struct group_core *c, const struct group_event *ev);
/* After a member or a pending id has gone. */
void coord_after_removal(struct group_core *c, struct coord_group *g);
void coord_session_expired(struct group_core *c, struct coord_member *m);

/* ---- group_core_rebalance.c */
/* Call with the reason noted (coord_reason): begins a rebalance unless one is being prepared. */
void coord_rebalance(struct group_core *c, struct coord_group *g);
void coord_try_complete_join(struct group_core *c, struct coord_group *g);
void coord_join_expired(struct group_core *c, struct coord_group *g);
void coord_clear_owed_syncs(struct group_core *c, struct coord_group *g);

/* ---- group_core_history.c */
/* Why a rebalance begins, or one more reason for the one under way. */
PRINTF_LIKE(3, 4)
void coord_reason(struct group_core *c, struct coord_group *g, const char *fmt, ...);
/* ": <what the client says>", cut, or nothing. Good for the next coord_reason. */
#define COORD_SAYS(s) coord_said(s).len > 0 ? ": " : "", STR_ARG(coord_said(s))
struct str coord_said(struct str s);
void coord_history_end(struct group_core *c, struct coord_group *g);
void coord_history_clear(struct group_core *c, struct coord_group *g);
void coord_history_trim(struct group_core *c, struct coord_group *g);

/* ---- group_core_offsets.c */
struct coord_topic *coord_topic_find(const struct coord_group *g, struct str name);
struct coord_offset *coord_offset_find(const struct coord_group *g, struct str topic,
                                       int32_t partition);
struct coord_offset *coord_offset_add(struct coord_group *g, struct str topic, int32_t partition);
/* Takes over value's metadata. */
void coord_offset_set(struct group_core *c, struct coord_offset *o, struct group_offset value,
                      int64_t batch_offset);
void coord_offset_clear(struct group_core *c, struct coord_offset *o, int64_t batch_offset);
void coord_offset_drop_if_unused(struct group_core *c, struct coord_offset *o);
void coord_topics_free(struct group_core *c, struct coord_group *g);
void coord_on_commit(struct group_core *c, const struct group_event *ev);
void coord_on_commit_appended(struct group_core *c, struct coord_append *a, int16_t error,
                              int64_t base_offset);
struct group_offset coord_offset_copy(const struct group_offset *o);

/* ---- group_core_append.c */
struct coord_append *coord_append_new(struct group_core *c, enum coord_append_kind kind);
struct coord_append_item *coord_append_item(struct coord_append *a, struct coord_group *g,
                                            struct coord_offset *o);
void coord_append_send(struct group_core *c, struct coord_append *a,
                       const struct group_record *records, int32_t count);
void coord_append_free(struct group_core *c, struct coord_append *a);
void coord_on_appended(struct group_core *c, const struct group_event *ev);
/* Did it fail in a way that leaves open whether it is in the log? */
bool coord_append_is_in_doubt(int16_t error);
/* docs/reference/group-coordinator.md, "SyncGroup" and "Offsets: commit" */
int16_t coord_store_error(int16_t error);
int16_t coord_commit_error(int16_t error);

/* ---- group_core_delete.c: tombstones */
void coord_on_offset_delete(struct group_core *c, const struct group_event *ev);
void coord_on_delete_group(struct group_core *c, const struct group_event *ev);
void coord_on_topics_deleted(struct group_core *c, const struct group_event *ev);
void coord_on_tombstones_appended(struct group_core *c, struct coord_append *a, int16_t error,
                                  int64_t base_offset);
void coord_deletion_free(struct group_core *c, struct coord_deletion *d);
struct coord_topic_set {
    UT_hash_handle hh;
    struct str name;
};
/* The topics that the members subscribe, for HASH_FIND; in the step's arena but for its table:
 * free with coord_subscribed_fini. False: unknown, so any. */
bool coord_subscribed(struct group_core *c, struct coord_group *g, struct coord_topic_set **out);
bool coord_subscribed_has(struct coord_topic_set *set, struct str topic);
void coord_subscribed_fini(struct coord_topic_set **set);

/* Tombstones that are being gathered into appends of at most append_bytes_max. */
struct coord_tombs {
    struct group_core *c;
    struct coord_deletion *deletion;
    bool is_expiry;
    struct coord_append *append; /* NULL: none begun */
    struct group_record *records;
    int32_t count, cap;
    size_t bytes;
};
void coord_tombs_offset(struct coord_tombs *t, struct coord_offset *o);
/* The group goes too, if it is as it is now when the tombstones are written. */
void coord_tombs_group(struct coord_tombs *t, struct coord_group *g);
void coord_tombs_end(struct coord_tombs *t);

/* ---- group_core_expire.c */
void coord_on_expire(struct group_core *c);
void coord_sweep_on(struct group_core *c); /* the next slice */

/* ---- group_core_load.c */
void coord_on_load_offset(struct group_core *c, const struct group_event *ev);
void coord_on_load_group(struct group_core *c, const struct group_event *ev);
void coord_on_load_marker(struct group_core *c, const struct group_event *ev);
void coord_on_loaded(struct group_core *c);
void coord_on_unload(struct group_core *c);
/* Frees everything without an answer. */
void coord_clear(struct group_core *c);

#endif
