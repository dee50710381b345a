/* SPDX-License-Identifier: Apache-2.0 */
/* zkc_core - one member of one ZooKeeper consumer group as a pure state machine: registration,
 * reading of the group, assignment, and for each partition claim, offset, fetch, commit, release.
 * Events in, effects out; no I/O, clock, thread, lock or log line. Driven by zkc_shell.c on its
 * thread, and by simulations.
 *
 * The theory is in README.md. Times are monotonic milliseconds. Strings in events are borrowed for
 * the call, those in effects live until the effects are reset. */
#ifndef TOOLS_ZKCONSUMER_ZKC_CORE_H
#define TOOLS_ZKCONSUMER_ZKC_CORE_H

#include "common/base/base.h"
#include "common/base/topic_name.h"
#include "common/zk/zkdoc.h"
#include "tools/zkconsumer/zkc_assign.h"

enum {
    ZKC_RETRY_MS = 100,   /* an operation that failed for a passing reason */
    ZKC_SLOW_FACTOR = 8,  /* of the backoff, after rebalance.max.retries */
    ZKC_RESTARTS_MAX = 5, /* of a round that was overtaken by changes, before it is acted upon */
    ZKC_COMMIT_TRIES_MAX = 10, /* before a partition is released without its last commit */
    ZKC_REASON_MAX = 192,
    ZKC_HISTORY_MAX = 32,
};
#define ZKC_NEVER_MS INT64_MAX

/* Immutable while in use; strings are borrowed and outlive the core. */
struct zkc_options {
    const char *member_id; /* "<group>_<host>-<ms>-<random>" */
    enum zkdoc_pattern pattern;
    const struct zkdoc_subscription *subscriptions; /* of a filter: one */
    int32_t subscription_count;
    enum zkc_strategy strategy;
    enum zkc_hash_text hash_text;
    bool is_ceil;          /* range by the ceil rule, if all members know it */
    bool exclude_internal; /* filters leave out internal topics */
    bool auto_commit;
    int64_t auto_commit_interval_ms;
    int64_t backoff_ms;   /* rebalance.backoff.ms */
    int32_t max_retries;  /* rebalance.max.retries */
    int64_t resync_ms;    /* everything is read again after that, whatever the watches say */
    int64_t leave_max_ms; /* the longest that leaving may take */
};

enum zkc_result {
    ZKC_OK,
    ZKC_NOT_FOUND,
    ZKC_EXISTS,       /* somebody was there first */
    ZKC_UNREGISTERED, /* our registration is not there: nothing was done */
    ZKC_FENCED,       /* the owner's znode is not ours any more: nothing was done */
    ZKC_UNKNOWN,      /* it may have taken effect */
    ZKC_FAILED        /* it did not take effect; worth another try */
};

enum zkc_read { ZKC_MEMBERS, ZKC_MEMBER, ZKC_TOPICS, ZKC_TOPIC, ZKC_BROKERS };

enum zkc_event_kind {
    ZKC_EV_SESSION, /* a session stands that the core has not seen: the first, or after EXPIRED */
    ZKC_EV_EXPIRED, /* the session is over, and all its znodes are gone */
    ZKC_EV_REGISTERED, /* effect REGISTER: OK, EXISTS (another session's), UNKNOWN, FAILED */
    ZKC_EV_HEARTBEAT,  /* effect HEARTBEAT: OK, NOT_FOUND, EXISTS (not ours), FAILED */
    ZKC_EV_READ,       /* effect READ: OK, NOT_FOUND, FAILED */
    ZKC_EV_CHANGED,    /* a watch of a READ fired */
    ZKC_EV_CLAIMED,    /* effect CLAIM: OK, EXISTS with the owner, UNREGISTERED, UNKNOWN, FAILED */
    ZKC_EV_OWNER_GONE, /* the owner's znode that a CLAIM found was deleted or changed */
    ZKC_EV_OFFSET,     /* effect READ_OFFSET: OK, NOT_FOUND (none, or no number), FAILED */
    ZKC_EV_RESOLVED,   /* effect RESOLVE: OK, FAILED */
    ZKC_EV_OUT_OF_RANGE, /* the fetcher stands: its offset is not in the log */
    ZKC_EV_STOPPED,      /* effect STOP_FETCH: offset is where the next owner begins; -1 unmoved */
    ZKC_EV_COMMITTED,    /* effect COMMIT: OK with the offset, EXISTS, NOT_FOUND, UNREGISTERED,
                            FENCED, UNKNOWN, FAILED */
    ZKC_EV_RELEASED,     /* effect RELEASE: OK, NOT_FOUND (not there or not ours), UNREGISTERED,
                            UNKNOWN, FAILED */
    ZKC_EV_COMMIT,       /* the application asks for a commit of everything */
    ZKC_EV_STOP,         /* leave the group */
    ZKC_EV_TICK          /* the deadline is reached */
};

struct zkc_event {
    enum zkc_event_kind kind;
    int64_t now_ms;
    enum zkc_result result;
    union {
        struct {
            int64_t timeout_ms; /* as negotiated with the server */
        } session;
        struct {
            int64_t sent_ms; /* when the call was made: the server heard of us after that */
        } alive;             /* REGISTERED, HEARTBEAT */
        struct {
            uint32_t round;
            enum zkc_read what;
            const char *name;      /* MEMBER, TOPIC */
            struct bytes data;     /* MEMBER, TOPIC */
            char *const *children; /* the others */
            int32_t child_count;
        } read;
        struct {
            enum zkc_read what;
        } changed;
        struct {
            const char *topic;
            int32_t partition;
            uint32_t seq;        /* of the effect; OWNER_GONE: not looked at */
            int64_t offset;      /* OFFSET, RESOLVED, STOPPED, COMMITTED */
            const char *owner;   /* CLAIMED with EXISTS: the thread id found there */
            bool is_our_session; /* ... which this session of ours wrote */
        } part;
        struct {
            uint32_t request;
        } commit;
    };
};

enum zkc_effect_kind {
    ZKC_EFFECT_REGISTER,  /* create the registration, ephemeral */
    ZKC_EFFECT_HEARTBEAT, /* read the registration */
    ZKC_EFFECT_READ,      /* read with a watch: what, name, round */
    ZKC_EFFECT_CLAIM, /* create the owner's znode, ephemeral, if we are registered; if somebody has
                     it, watch it */
    ZKC_EFFECT_READ_OFFSET,
    ZKC_EFFECT_RESOLVE,     /* ask the leader for its first or last offset (auto.offset.reset) */
    ZKC_EFFECT_START_FETCH, /* stream, offset; records may be handed out from here on */
    ZKC_EFFECT_STOP_FETCH,  /* hand out nothing more, wait until what was handed out is done with */
    ZKC_EFFECT_DROP_FETCH,  /* hand out nothing more, forget it; no answer */
    ZKC_EFFECT_COMMIT, /* set the offset if we are registered and own the partition. offset -1: what
                      is done with by now. Equal to committed: nothing to do, OK */
    ZKC_EFFECT_RELEASE, /* delete the owner's znode if we are registered; verify: only after reading
                       that it is ours */
    ZKC_EFFECT_BROKERS, /* the set of brokers changed */
    ZKC_EFFECT_COMMIT_DONE, /* request: how many partitions failed (in offset) */
    ZKC_EFFECT_CLOSE,       /* end the session: nothing is left to do */
    ZKC_EFFECT_TRACE
};

/* What an operator wants to know. topic, partition where they make sense. */
enum zkc_trace_kind {
    ZKC_TRACE_REGISTERED, /* */
    ZKC_TRACE_ID_TAKEN,   /* another session has our registration; waiting */
    ZKC_TRACE_REGISTRATION_LOST,
    ZKC_TRACE_EXPIRED,       /* a: partitions lost with the session */
    ZKC_TRACE_MEMBER_BROKEN, /* text: id and why; it is left out */
    ZKC_TRACE_TOPIC_BROKEN,  /* text: why; counts as without partitions */
    ZKC_TRACE_NO_BROKERS,
    ZKC_TRACE_OLD_RULE,       /* text: the member for whose sake Kafka's own range rule is used */
    ZKC_TRACE_REBALANCE,      /* begins; text: reason; a: kept, b: to release, c: to claim */
    ZKC_TRACE_REBALANCED,     /* done; a: owned, b: members, c: ms */
    ZKC_TRACE_CLAIMED,        /* text: thread id; a: offset */
    ZKC_TRACE_BLOCKED,        /* text: whose it is */
    ZKC_TRACE_STILL_BLOCKED,  /* after rebalance.max.retries; a: the pace from here on, ms */
    ZKC_TRACE_RESET,          /* a: from (-1: there was none), b: to */
    ZKC_TRACE_RELEASED,       /* a: offset that was committed last, -1: none */
    ZKC_TRACE_OWNERSHIP_LOST, /* somebody deleted our owner's znode */
    ZKC_TRACE_COMMIT_FAILED,  /* released without its last commit */
    ZKC_TRACE_LEFT
};

struct zkc_effect {
    enum zkc_effect_kind kind;
    enum zkc_trace_kind trace;
    enum zkc_read what;
    const char *name; /* READ */
    const char *topic;
    int32_t partition;
    int32_t stream;
    uint32_t seq; /* READ: round; COMMIT_DONE: request */
    int64_t offset;
    int64_t committed;
    bool is_create;  /* COMMIT: there is no znode yet */
    bool verify;     /* RELEASE */
    int64_t a, b, c; /* TRACE */
    const char *text;
};
/* To be done in this order. Zero-initialised is empty. */
struct zkc_effects {
    struct zkc_effect *v;
    int32_t count, cap;
    struct arena arena;
};
void zkc_effects_reset(struct zkc_effects *effects);
void zkc_effects_fini(struct zkc_effects *effects);

enum zkc_state {
    ZKC_OFFLINE,     /* no session */
    ZKC_REGISTERING, /* a session, and no registration (any more) */
    ZKC_JOINED,
    ZKC_LEAVING,
    ZKC_CLOSED
};

enum zkc_part_state {
    ZKC_PART_FREE, /* wanted, not claimed yet (or claimed in vain and tried again) */
    ZKC_PART_CLAIMING,
    ZKC_PART_BLOCKED,   /* somebody else's */
    ZKC_PART_LOADING,   /* ours: its offset is being read */
    ZKC_PART_RESOLVING, /* ours: without an offset, or with one that is not in the log */
    ZKC_PART_FETCHING,
    ZKC_PART_STOPPING,
    ZKC_PART_COMMITTING, /* the last commit before the release */
    ZKC_PART_RELEASING
};

struct zkc_part {
    char *topic;
    int32_t partition;
    enum zkc_part_state state;
    int32_t stream;      /* in the owner's znode; valid from CLAIMING on */
    int32_t wanted;      /* the stream that shall have it, -1: not ours to have */
    int32_t previous;    /* wanted before the last assignment */
    uint32_t seq;        /* of the operation under way, 0: none */
    uint32_t commit_seq; /* the same for a COMMIT, which runs beside fetching */
    int64_t retry_ms;    /* when the operation of this state is tried again */
    int64_t commit_retry_ms;
    int32_t commit_tries;
    int64_t committed;    /* in ZooKeeper as far as we know, -1: none */
    int64_t final_offset; /* STOPPING and later: to be committed, -1: as it is */
    bool has_offset_node;
    bool is_started;   /* the fetcher knows it */
    bool in_request;   /* an application's commit waits for it */
    bool commit_again; /* asked for while one was under way */
    bool verify_release;
};

/* The group as one round read it. */
struct zkc_member {
    const char *id;
    struct zkdoc_consumer doc;
    int32_t filter; /* index, -1: static */
    bool is_ok;     /* has been read and is usable */
};
struct zkc_topic {
    const char *name;
    const int32_t *partitions; /* rising */
    int32_t partition_count;
    bool is_read;
};
struct zkc_snapshot {
    struct arena arena;
    struct zkc_member *members; /* by id */
    int32_t member_count;
    struct zkc_filter *filters;
    int32_t filter_count;
    const char **topic_names; /* all that exist, sorted; only read for filters */
    int32_t topic_name_count;
    struct zkc_topic *topics; /* those that matter here, by name */
    int32_t topic_count, topic_cap;
    const char **brokers;
    int32_t broker_count;
    bool has_members, has_topic_names, has_brokers, has_asked_topics;
    int32_t pending, members_left; /* reads under way: all; of members */
};

struct zkc_rebalance {
    int64_t began_ms, took_ms; /* took_ms -1: not done yet */
    int32_t members, kept, released, claimed;
    char reason[ZKC_REASON_MAX];
};

struct zkc_core {
    const struct zkc_options *o;
    enum zkc_state state;
    int64_t session_timeout_ms;
    int64_t lease_ms;     /* until then no server can have ended our session */
    int64_t heartbeat_ms; /* when the next is due; NEVER while one is under way */
    int64_t register_ms;  /* when to try again; NEVER while one is under way */
    int64_t round_ms;     /* when the next round begins by itself */
    int64_t commit_ms;    /* the next auto commit */
    int64_t leave_ms;
    uint32_t next_seq;

    uint32_t round; /* 0: none yet */
    bool is_reading, is_dirty, has_failed;
    int32_t restarts;
    const char *round_reason; /* what the next round is for, when no difference says more */
    int32_t blocked_rounds;   /* retries in a row */
    bool has_told_blocked, has_told_old_rule;
    struct zkc_snapshot now, next; /* the last complete one; the one being read */
    bool has_snapshot;             /* now is one of this registration */

    struct zkc_part *parts; /* by topic and partition */
    int32_t part_count, part_cap;
    bool is_settled;  /* every part is where it shall be */
    uint32_t request; /* 0: none */
    int32_t request_left, request_failed;
    int32_t lost_commits; /* partitions that went without a commit since the last request */

    struct zkc_rebalance history[ZKC_HISTORY_MAX]; /* a ring */
    int64_t rebalance_count;
};

void zkc_core_init(struct zkc_core *c, const struct zkc_options *o, int64_t now_ms);
void zkc_core_fini(struct zkc_core *c);
/* One event; adds to effects. Answers to what was given up meanwhile change nothing. */
void zkc_core_step(struct zkc_core *c, const struct zkc_event *ev, struct zkc_effects *effects);
/* When the next TICK can find something to do; ZKC_NEVER_MS. */
int64_t zkc_core_deadline_ms(const struct zkc_core *c);
/* Until when records may be handed out: two thirds of a session timeout after the last call that
 * the server has answered was made. A server ends a session no sooner than a whole timeout after
 * it heard of it, so whoever is cut off has stopped before anybody else can own its partitions. */
int64_t zkc_core_lease_ms(const struct zkc_core *c);
/* Asserts every invariant. */
void zkc_core_check(const struct zkc_core *c);
/* i 0: the last one; NULL: not that many are kept. */
const struct zkc_rebalance *zkc_core_history(const struct zkc_core *c, int32_t i);

#endif
