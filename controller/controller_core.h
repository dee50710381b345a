/* SPDX-License-Identifier: Apache-2.0 */
/* controller_core - the decisions of the active controller: events in, effects out. Pure: no I/O,
 * clock, thread, log or randomness; the same events give the same effects. Driven by controller.c
 * in a broker and by tests/sim in simulated clusters. See README.md.
 *
 * The core holds the confirmed content of ZooKeeper. A change of a partition is first written (at
 * most one write on its way for each partition) and takes effect, in memory and towards the
 * brokers, when the write is confirmed. While it is on its way further reasons to decide are only
 * noted; the decision is taken again from the new state when it has settled. */
#ifndef CONTROLLER_CONTROLLER_CORE_H
#define CONTROLLER_CONTROLLER_CORE_H

#include "common/base/base.h"
#include "common/base/uuid.h"
#include "common/zk/zkdoc.h"

struct controller_core;

enum {
    CORE_BATCH_MAX = 50,     /* partitions in one multi */
    CORE_REPLICAS_MAX = 255, /* of one partition; a znode with more is refused */
    CORE_WAITERS_MAX = 64    /* requests that wait for one partition's write */
};

struct core_options {
    int32_t broker_id;
    bool is_delete_enabled;       /* delete.topic.enable */
    bool is_unclean_default;      /* unclean.leader.election.enable of the broker */
    bool is_auto_balanced;        /* auto.leader.rebalance.enable */
    int32_t imbalance_percentage; /* leader.imbalance.per.broker.percentage */
    int64_t imbalance_interval_ms;
};

/* ---- events */
enum controller_event_kind {
    CEV_ELECTED,             /* epoch; what follows until LOADED is the snapshot */
    CEV_RESIGNED,            /* forget everything; waiting requests are answered NOT_CONTROLLER */
    CEV_BROKERS,             /* brokers: the whole list */
    CEV_TOPICS,              /* names: all children of /brokers/topics */
    CEV_TOPIC_DATA,          /* topic_data: one topic's znode as read */
    CEV_STATE_READ,          /* state_read: one partition's state as read */
    CEV_DELETE_TOPICS,       /* names: all children of /admin/delete_topics */
    CEV_LOADED,              /* the snapshot is complete: act */
    CEV_TOPIC_CONFIG,        /* topic_config: answer to FX_READ_TOPIC_CONFIG, or a change seen */
    CEV_TOPIC_ERASED,        /* name: FX_ERASE_TOPIC is done */
    CEV_WRITE_RESULT,        /* write_result */
    CEV_RPC_REPLY,           /* rpc_reply */
    CEV_ALTER_PARTITION,     /* alter: a leader asks for an ISR */
    CEV_CONTROLLED_SHUTDOWN, /* shutdown */
    CEV_ELECT_LEADERS,       /* elect */
    CEV_REASSIGN,            /* reassign */
    CEV_LOG_DIR,             /* broker_id: one of its log directories failed */
    CEV_SUSPECT,             /* broker_id: evidence that it is dead, before its session ends */
    CEV_SUSPICION_LIFTED,    /* broker_id: it was not, or it is back */
    CEV_TICK                 /* now_ms has reached controller_deadline_ms() */
};

struct core_broker_info {
    int32_t id;
    int64_t epoch;        /* czxid */
    int32_t info_version; /* the znode's version: another one means new endpoints */
};

/* One partition named by a request. topic may be null when the topic_id is given. */
struct core_partition_ref {
    struct str topic;
    struct uuid topic_id;
    int32_t partition;
};

struct core_alter_item {
    struct core_partition_ref at;
    int32_t leader_epoch, partition_epoch;
    int8_t recovery_state;
    const int32_t *isr;
    const int64_t *isr_epochs; /* NULL: none given; -1: not checked */
    int32_t isr_count;
};

struct core_reassign_item {
    struct core_partition_ref at;
    const int32_t *replicas; /* NULL: cancel */
    int32_t replica_count;
};

enum core_election_kind { CORE_ELECT_PREFERRED = 0, CORE_ELECT_UNCLEAN = 1 };

/* What a write met. RETRY: outcome known to be nothing, for a passing reason. */
struct core_write_result {
    uint64_t id;
    enum err err;      /* OK; BAD_VERSION, NOT_FOUND, EXISTS (of op failed_op); else unknown */
    int32_t failed_op; /* index in the effect's ops, -1 */
    const int32_t *versions; /* OK: the new dataVersion of each op's znode */
};

enum core_rpc { CORE_LEADER_AND_ISR, CORE_UPDATE_METADATA, CORE_STOP_REPLICA };

struct core_reply_item {
    struct core_partition_ref at;
    int16_t error;
};

struct controller_event {
    enum controller_event_kind kind;
    int64_t now_ms; /* monotonic */
    union {
        int32_t epoch;
        int32_t broker_id;
        struct str name;
        struct {
            const struct core_broker_info *v;
            int32_t count;
        } brokers;
        struct {
            const struct str *v;
            int32_t count;
        } names;
        struct {
            struct str topic;
            bool exists;                   /* false: no such znode */
            const struct zkdoc_topic *doc; /* NULL: the data cannot be understood */
            int32_t version;
            struct uuid fresh_id; /* random: taken when the znode has none */
        } topic_data;
        struct {
            struct str topic;
            int32_t partition;
            bool exists;
            const struct zkdoc_state *doc; /* NULL: the data cannot be understood */
            int32_t version;
        } state_read;
        struct {
            struct str topic;
            bool is_unclean; /* unclean election is allowed now */
        } topic_config;
        struct core_write_result write_result;
        struct {
            int32_t broker_id;
            uint64_t rpc_id; /* of the FX_SEND */
            int16_t error;   /* of the whole response */
            const struct core_reply_item *items;
            int32_t count;
        } rpc_reply;
        struct {
            void *handle; /* given back in FX_ANSWER */
            int32_t broker_id;
            int64_t broker_epoch;
            const struct core_alter_item *items;
            int32_t count;
        } alter;
        struct {
            void *handle;
            int32_t broker_id;
            int64_t broker_epoch; /* -1: not given */
        } shutdown;
        struct {
            void *handle;
            enum core_election_kind kind;
            const struct core_partition_ref *items; /* NULL: all */
            int32_t count;
        } elect;
        struct {
            void *handle;
            const struct core_reassign_item *items;
            int32_t count;
        } reassign;
    } u;
};

/* ---- effects, to be carried out in order */
enum core_fx_kind {
    FX_WRITE,             /* write: one multi behind a check of the controller epoch */
    FX_READ_TOPICS,       /* list /brokers/topics (with watch): CEV_TOPICS */
    FX_READ_TOPIC,        /* topic: read its znode with watch: CEV_TOPIC_DATA */
    FX_READ_STATE,        /* topic, partition: CEV_STATE_READ */
    FX_READ_TOPIC_CONFIG, /* topic: may it elect uncleanly? CEV_TOPIC_CONFIG */
    FX_ERASE_TOPIC, /* topic: delete its znodes, its config, its delete request, in that order,
                       each behind the check: CEV_TOPIC_ERASED */
    FX_ERASE_DELETE_REQUEST, /* topic: only the request */
    FX_CHANNEL_OPEN,         /* broker_id, broker_epoch: from now on it gets requests */
    FX_CHANNEL_CLOSE,        /* broker_id: drop what is unanswered */
    FX_SEND,                 /* send: deliver, repeat until answered or the channel closes */
    FX_ANSWER,               /* answer */
    FX_VERIFY_LEADERSHIP,    /* something says that there is a newer controller: look */
    FX_TRACE                 /* trace: for the log, and for tests */
};

enum core_op_kind {
    CORE_OP_SET_STATE,              /* state at version */
    CORE_OP_CREATE_PARTITIONS_NODE, /* /brokers/topics/T/partitions */
    CORE_OP_CREATE_PARTITION_NODE,  /* .../P */
    CORE_OP_CREATE_STATE,           /* .../P/state */
    CORE_OP_SET_TOPIC               /* /brokers/topics/T at version */
};
struct core_op {
    enum core_op_kind kind;
    const char *topic;
    int32_t partition;
    int32_t version;
    struct zkdoc_state state;
    struct zkdoc_topic doc;
};

/* One partition in a request to a broker. */
struct core_send_item {
    const char *topic;
    struct uuid topic_id;
    int32_t partition;
    int32_t leader, leader_epoch, controller_epoch, partition_epoch;
    const int32_t *isr, *replicas, *adding, *removing, *offline;
    int32_t isr_count, replica_count, adding_count, removing_count, offline_count;
    int8_t recovery_state;
    bool is_new;    /* LeaderAndIsr */
    bool is_delete; /* StopReplica */
};

enum core_answer_kind {
    CORE_ANSWER_ALTER,
    CORE_ANSWER_SHUTDOWN,
    CORE_ANSWER_ELECT,
    CORE_ANSWER_REASSIGN
};
struct core_answer_item {
    const char *topic; /* as the request named it, or by its id; "" when unknown */
    struct uuid topic_id;
    int32_t partition;
    int16_t error;
    const char *message; /* NULL: none */
    /* ALTER without error: the state that stands */
    int32_t leader, leader_epoch, partition_epoch;
    int8_t recovery_state;
    const int32_t *isr;
    int32_t isr_count;
};

enum core_trace_kind {
    TRACE_LEADER,          /* a new leader stands; old and new leader and epoch, why */
    TRACE_ISR,             /* the controller or a leader changed the ISR */
    TRACE_NO_LEADER,       /* nobody is eligible */
    TRACE_CREATED,         /* a partition came to life */
    TRACE_BROKER_NEW,      /* broker */
    TRACE_BROKER_GONE,     /* broker */
    TRACE_BROKER_BOUNCED,  /* broker */
    TRACE_BROKER_SUSPECT,  /* broker */
    TRACE_BROKER_SHUTDOWN, /* broker announced its stop */
    TRACE_TOPIC_NEW,       /* topic */
    TRACE_TOPIC_INVALID,   /* topic: its znode cannot be used; text */
    TRACE_TOPIC_DELETING,  /* topic */
    TRACE_TOPIC_GONE,      /* topic */
    TRACE_LOG_DIR,         /* broker reports the partition's log directory as failed */
    TRACE_RPC_ERROR,       /* broker answered with error */
    TRACE_WRITE_RETRY,     /* the state was changed by somebody else: read again */
    TRACE_ZOMBIE,          /* the state carries a newer controller's epoch */
    TRACE_REASSIGN,        /* a reassignment began, ended or was cancelled; text */
    TRACE_BALANCE          /* broker's preferred leaders are given back */
};
struct core_trace {
    enum core_trace_kind kind;
    const char *topic; /* NULL: none */
    int32_t partition, broker_id;
    int32_t leader_old, leader_new, epoch_old, epoch_new;
    const int32_t *isr;
    int32_t isr_count;
    int16_t error;
    bool is_unclean;  /* LEADER: from outside the ISR */
    const char *text; /* constant; why */
};

struct core_fx {
    enum core_fx_kind kind;
    const char *topic;
    int32_t partition;
    int32_t broker_id;
    int64_t broker_epoch;
    union {
        struct {
            uint64_t id;
            const struct core_op *ops;
            int32_t count;
        } write;
        struct {
            enum core_rpc rpc;
            uint64_t id;
            const struct core_send_item *items; /* grouped by topic */
            int32_t count;
        } send;
        struct {
            void *handle;
            enum core_answer_kind kind;
            int16_t error; /* of the whole request */
            const struct core_answer_item *items;
            int32_t count;
        } answer;
        struct core_trace trace;
    } u;
};

/* Everything in it is valid until the next step. */
struct controller_effects {
    struct arena arena;
    struct core_fx *v;
    int32_t count, capacity;
};
void controller_effects_fini(struct controller_effects *fx);

/* ---- the core */
struct controller_core *controller_core_new(const struct core_options *o);
/* A summary of the model in one line: for the panic report. Any thread; it may be a moment old. */
void controller_core_summary(const struct controller_core *core, char *out, size_t out_size);
void controller_core_free(struct controller_core **core);

/* Takes one event; fx is emptied and filled. */
void controller_step(struct controller_core *core, const struct controller_event *ev,
                     struct controller_effects *fx);
/* When the next CEV_TICK is due, in the events' time; -1: never. */
int64_t controller_deadline_ms(const struct controller_core *core);
/* Asserts every invariant of the model; costs a walk over everything. */
void controller_check(const struct controller_core *core);

/* ---- looking in (the shell's lists, tests) */
bool controller_core_is_active(const struct controller_core *core); /* LOADED and not RESIGNED */
bool controller_core_is_quiet(const struct controller_core *core);  /* no write, no request on its
                                                                       way */
struct core_view { /* a partition as confirmed; pointers valid until the next step */
    bool has_state;
    struct zkdoc_state state;
    int32_t partition_epoch;
    const int32_t *replicas, *adding, *removing;
    int32_t replica_count, adding_count, removing_count;
};
bool controller_core_view(const struct controller_core *core, struct str topic, int32_t partition,
                          struct core_view *out);
/* Calls visit for every partition that is being reassigned, in the order of creation. */
void controller_core_each_reassignment(const struct controller_core *core,
                                       void (*visit)(void *arg, const char *topic,
                                                     int32_t partition, const struct core_view *v),
                                       void *arg);
/* Brokers that are registered and neither stopping nor suspected, sorted; at most max. */
int32_t controller_core_live_brokers(const struct controller_core *core, int32_t *ids_out,
                                     int32_t max);

#endif
