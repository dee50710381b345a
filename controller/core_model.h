/* SPDX-License-Identifier: Apache-2.0 */
/* core_model - the controller core's memory of the cluster, and what its files call of each other.
 * Only controller/core_*.c, controller_core.c and tests of the core include this. */
#ifndef CONTROLLER_CORE_MODEL_H
#define CONTROLLER_CORE_MODEL_H

#include "controller/controller_core.h"

#include "common/base/hash.h"

struct core_ids {
    int32_t *v;
    int32_t count;
};

struct core_state { /* content of a state znode */
    int32_t leader; /* -1: none */
    int32_t leader_epoch, controller_epoch;
    int32_t partition_epoch; /* the znode's version */
    int8_t recovery_state;
    struct core_ids isr;
};

TAILQ_HEAD(core_replica_list, core_replica);
TAILQ_HEAD(core_partition_list, core_partition);
TAILQ_HEAD(core_waiter_list, core_waiter);

struct core_broker {
    int32_t id;
    int64_t epoch;
    int32_t info_version;
    bool is_registered;
    bool is_shutting_down; /* asked for a controlled shutdown */
    bool is_suspected;
    bool is_uninformed; /* registered while we are the controller, and not told of anything yet */
    struct core_replica_list replicas; /* assigned to it */
    int32_t replica_count;
    /* What it must be told next. Metadata is a place in core->metadata. */
    struct core_replica_list outbox;
    int32_t outbox_leader_count, outbox_stop_count;
    uint64_t brokers_sent_seq, metadata_sent_seq, dead_sent_seq;
    bool is_rpc_in_flight;
    enum core_rpc rpc; /* the one in flight */
    uint64_t rpc_id;
};

enum core_out { OUT_NONE, OUT_LEADER_AND_ISR, OUT_STOP };
enum core_deletion { DELETION_NONE, DELETION_STARTED, DELETION_DONE, DELETION_FAILED };

struct core_replica {
    struct core_partition *partition;
    struct core_broker *broker;
    TAILQ_ENTRY(core_replica) of_broker, of_outbox;
    enum core_out out;
    bool out_is_new, out_delete;
    bool is_offline_dir; /* the broker says that its log directory failed */
    uint64_t must_leave; /* not 0: its broker came back before its death was handled: first out of
                            the ISR. A number of its own for each return */
    bool is_stopped;     /* StopReplica was sent and no LeaderAndIsr since */
    bool is_detached;    /* left the assignment; freed when its StopReplica has been sent */
    enum core_deletion deletion;
};

enum core_why {
    WHY_NEW,
    WHY_LEADER_FAILED,
    WHY_UNCLEAN,
    WHY_SHRINK,
    WHY_PREFERRED,
    WHY_REASSIGN,
    WHY_BUMP, /* so that the brokers take over what somebody else wrote */
    WHY_ALTER
};

/* A write of a partition's state on its way. */
struct core_change {
    struct core_write *write;
    struct core_state next;
    enum core_why why;
    bool is_create;
    bool is_checking; /* outcome unknown: the state is being read */
    bool ends_reassignment;
    bool are_parents_tried;     /* a create: the parents were made for sure */
    uint64_t leader_must_leave; /* of the elected leader, when the change was proposed */
    struct core_waiter *alter;  /* the request that asked; NULL: the controller itself */
};

/* NOWHERE: no broker was told of it; LIVE: core->metadata; DEAD: core->metadata_dead; TOLD: every
 * broker knows that it is gone. */
enum core_place { PLACE_NOWHERE, PLACE_LIVE, PLACE_DEAD, PLACE_TOLD };

struct core_partition {
    struct core_topic *topic;
    int32_t index;
    struct core_ids assignment; /* ids of replicas, in order */
    struct core_replica **replicas;
    struct core_ids adding, removing; /* of a reassignment */
    struct core_replica_list detached;
    bool has_state;
    struct core_state state;
    struct core_change *change; /* at most one */
    int32_t first_epoch;        /* leader epoch of the next creation of the state */
    bool has_node;              /* /brokers/topics/T/partitions/P is known to exist */
    bool recheck, recheck_unclean, recheck_preferred;
    bool must_bump;           /* the next decision raises the leader epoch in any case */
    bool must_announce;       /* all replicas get LeaderAndIsr once it settles */
    bool is_reassign_written; /* the topic znode holds adding and removing; phase A may begin */
    bool is_reassign_begun;   /* epoch raised and adding replicas told */
    struct core_waiter_list waiters;
    int32_t waiter_count;
    enum core_place place; /* in which list of metadata */
    uint64_t metadata_seq;
    TAILQ_ENTRY(core_partition) of_metadata;
};

struct core_topic {
    char *name;
    struct uuid id;
    int32_t version; /* of its znode */
    bool is_loaded;  /* its znode was understood */
    bool is_id_written;
    bool is_deleting;
    bool is_deletion_begun;
    bool is_erasing; /* FX_ERASE_TOPIC is under way */
    bool is_gone;    /* out of the tables; freed when nothing refers to it */
    bool has_partitions_node;
    bool is_config_reading;
    bool is_id_indexed;
    bool rewrite; /* write the znode again after the present write */
    struct core_write *write;
    struct core_partition **partitions; /* rising index */
    int32_t partition_count;
    int32_t change_count;            /* partitions with a change */
    int32_t create_count;            /* of them those whose first state is being written */
    int32_t metadata_count;          /* partitions in core->metadata_dead */
    struct core_waiter_list waiters; /* for its znode to be written */
    int32_t undeleted;               /* replicas whose deletion is not DONE */
    uint64_t seen;                   /* generation of the list of topics that named it */
    UT_hash_handle by_name, by_id;
};

enum core_write_kind { WRITE_STATES, WRITE_NODE, WRITE_TOPIC };
struct core_write {
    uint64_t id;
    enum core_write_kind kind;
    struct core_topic *topic; /* TOPIC, NODE */
    struct core_partition *partitions[CORE_BATCH_MAX];
    int32_t state_op[CORE_BATCH_MAX]; /* index of the op that holds the state */
    int32_t count;
    int32_t op_count;
    UT_hash_handle hh;
};

/* Something that waits for a partition to settle. */
enum core_waiter_kind { WAIT_ALTER, WAIT_JOIN, WAIT_TOPIC };
struct core_waiter {
    enum core_waiter_kind kind;
    struct core_request *request;
    int32_t item;
    struct core_partition *partition;
    TAILQ_ENTRY(core_waiter) link;
};

struct core_request_item {
    char *topic; /* owned */
    struct uuid topic_id;
    int32_t partition;
    int16_t error;
    const char *message; /* constant */
    struct core_alter_item alter;
    int64_t *isr_epochs; /* owned copy of the request's */
    int32_t *isr;        /* owned copy of the request's; then of the answer's */
    int32_t answer_isr_count;
    int32_t leader, leader_epoch, partition_epoch;
    int8_t recovery_state;
};
/* A request that is not answered yet. */
struct core_request {
    void *handle;
    enum core_answer_kind kind;
    int32_t broker_id;
    enum core_election_kind election;
    bool is_all; /* ELECT: no list was given; leave out what needed nothing */
    struct core_request_item *items;
    int32_t count;
    int32_t outstanding;
    TAILQ_ENTRY(core_request) link;
};

struct core_name {
    char *name;
    TAILQ_ENTRY(core_name) link;
};

enum core_phase { CORE_IDLE, CORE_LOADING, CORE_ACTIVE };

struct controller_core {
    struct core_options o;
    enum core_phase phase;
    int32_t epoch;
    int64_t now_ms;
    int64_t next_balance_ms;      /* -1: none */
    struct core_broker **brokers; /* sorted by id; every id that a partition or a znode named */
    int32_t broker_count;
    struct core_topic *topics, *topics_by_id;
    /* Partitions in the order of their last change that brokers must hear of, oldest first; a
     * broker has been told everything up to its metadata_sent_seq. The dead list holds those of
     * deleted topics, until every registered broker was told. */
    struct core_partition_list metadata, metadata_dead;
    uint64_t metadata_seq, brokers_seq;
    struct core_write *writes;
    struct core_write *batch; /* being filled in this step */
    uint64_t next_id;
    uint64_t topics_generation;
    TAILQ_HEAD(, core_request) requests;
    TAILQ_HEAD(, core_name) delete_names; /* asked for, topic not known yet */
    struct controller_effects *fx;        /* of the present step */
};

/* core_model.c: tables and memory */
void core_ids_set(struct core_ids *ids, const int32_t *v, int32_t count);
void core_ids_fini(struct core_ids *ids);
bool core_ids_has(const struct core_ids *ids, int32_t id);
void core_ids_remove(struct core_ids *ids, int32_t id);
bool core_ids_eq(const struct core_ids *a, const int32_t *v, int32_t count);
void core_state_copy(struct core_state *to, const struct core_state *from);
void core_state_fini(struct core_state *s);
struct core_broker *core_broker_find(const struct controller_core *core, int32_t id);
struct core_broker *core_broker_get(struct controller_core *core, int32_t id); /* makes it */
struct core_topic *core_topic_find(const struct controller_core *core, struct str name);
struct core_topic *core_topic_find_id(const struct controller_core *core, struct uuid id);
struct core_topic *core_topic_add(struct controller_core *core, struct str name);
void core_topic_index_id(struct controller_core *core, struct core_topic *t);
/* Out of all tables; its partitions leave the outboxes. Freed when nothing refers to it. */
void core_topic_drop(struct controller_core *core, struct core_topic *t);
void core_topic_release(struct core_topic *t); /* frees it when it is gone and unused */
struct core_partition *core_partition_find(const struct core_topic *t, int32_t index);
struct core_partition *core_partition_add(struct controller_core *core, struct core_topic *t,
                                          const struct zkdoc_partition *doc);
/* Gives the partition another list of replicas; those that stay keep their replica object. The
 * others are detached: freed at once unless StopReplica is queued for them. */
void core_partition_assign(struct controller_core *core, struct core_partition *p,
                           const int32_t *ids, int32_t count);
struct core_replica *core_replica_find(const struct core_partition *p, int32_t broker_id);
void core_model_clear(struct controller_core *core);

/* core_fx.c: effects */
void *core_fx_alloc(struct controller_core *core, size_t n);
struct core_fx *core_fx_add(struct controller_core *core, enum core_fx_kind kind);
void core_fx_topic(struct controller_core *core, enum core_fx_kind kind, const char *topic,
                   int32_t partition);
struct core_trace *core_trace(struct controller_core *core, enum core_trace_kind kind,
                              const struct core_partition *p, const char *text);
void core_trace_broker(struct controller_core *core, enum core_trace_kind kind, int32_t id,
                       int16_t error, const char *text);
void core_trace_topic(struct controller_core *core, enum core_trace_kind kind, const char *topic,
                      const char *text);

/* core_send.c: what brokers must be told */
void core_out_leader_and_isr(struct core_replica *r, bool is_new);
void core_out_stop(struct core_replica *r, bool is_delete);
void core_out_delete(struct core_replica *r);
void core_out_remove(struct core_replica *r);
void core_out_all_replicas(struct core_partition *p, bool is_new_to_isr);
void core_out_clear(struct core_broker *b);
void core_metadata_touch(struct controller_core *core, struct core_partition *p);
/* One of the topic's creations has ended. Partitions that are created together are told together:
 * brokers hash groups over the number of partitions that they are told. */
void core_metadata_created(struct controller_core *core, struct core_topic *t);
void core_metadata_bury(struct controller_core *core, struct core_partition *p);
void core_metadata_forget(struct controller_core *core, struct core_partition *p);
void core_flush_brokers(struct controller_core *core);
void core_on_rpc_reply(struct controller_core *core, const struct controller_event *ev);

/* core_write.c: writes on their way */
struct core_change *core_propose(struct controller_core *core, struct core_partition *p,
                                 enum core_why why, const struct core_state *next);
void core_flush_batch(struct controller_core *core);
void core_on_write_result(struct controller_core *core, const struct controller_event *ev);
void core_on_state_read(struct controller_core *core, const struct controller_event *ev);
/* The topic is gone: a change that only waits for a read ends. */
void core_change_abandon(struct controller_core *core, struct core_partition *p);
void core_write_topic(struct controller_core *core, struct core_topic *t);

/* core_elect.c: who leads */
bool core_replica_is_staying(const struct core_replica *r); /* serves, and means to go on */
bool core_replica_is_usable(const struct core_replica *r);
bool core_is_usable(const struct core_partition *p, int32_t broker_id);
enum { DECIDE_UNCLEAN = 1, DECIDE_PREFERRED = 2 };
/* Compares the state with what it should be and proposes the difference. Notes the wish when a
 * write is on its way. */
void core_decide(struct controller_core *core, struct core_partition *p, int flags);
void core_start_partition(struct controller_core *core, struct core_partition *p);
/* After a change has ended, one way or the other. */
void core_settle(struct controller_core *core, struct core_partition *p);
void core_on_elect(struct controller_core *core, const struct controller_event *ev);
void core_on_topic_config(struct controller_core *core, const struct controller_event *ev);
void core_balance(struct controller_core *core);
void core_join_done(struct controller_core *core, struct core_waiter *w);

/* core_isr.c: AlterPartition */
void core_on_alter(struct controller_core *core, const struct controller_event *ev);
void core_alter_run(struct controller_core *core, struct core_waiter *w);
void core_alter_committed(struct controller_core *core, struct core_waiter *w);
void core_alter_failed(struct controller_core *core, struct core_waiter *w, int16_t error);

/* core_request.c: requests that wait */
struct core_request *core_request_new(struct controller_core *core, void *handle,
                                      enum core_answer_kind kind, int32_t count);
void core_request_item_at(struct core_request_item *it, const struct core_partition_ref *at);
struct core_partition *core_request_resolve(const struct controller_core *core,
                                            const struct core_partition_ref *at,
                                            struct core_topic **topic_out);
void core_request_wait(struct core_request *r, int32_t item, enum core_waiter_kind kind,
                       struct core_partition *p);
/* Until the topic's znode is as the model has it. */
void core_request_wait_topic(struct core_request *r, int32_t item, struct core_topic *t);
void core_topic_waiters_done(struct controller_core *core, struct core_topic *t, int16_t error);
void core_waiter_free(struct core_waiter *w); /* must not be in a list */
void core_request_item_done(struct controller_core *core, struct core_request *r);
void core_request_answer(struct controller_core *core, struct core_request *r, int16_t error);
void core_answer_error(struct controller_core *core, void *handle, enum core_answer_kind kind,
                       int16_t error);
void core_requests_abort(struct controller_core *core);

/* core_topics.c */
void core_on_topics(struct controller_core *core, const struct controller_event *ev);
void core_on_topic_data(struct controller_core *core, const struct controller_event *ev);
void core_topic_written(struct controller_core *core, struct core_topic *t, int32_t version);
void core_topic_write_failed(struct controller_core *core, struct core_topic *t);

/* core_delete.c */
void core_on_delete_topics(struct controller_core *core, const struct controller_event *ev);
void core_resolve_deletes(struct controller_core *core);
void core_delete_step(struct controller_core *core, struct core_topic *t);
void core_delete_replica(struct controller_core *core, struct core_replica *r);
void core_delete_reply(struct controller_core *core, struct core_replica *r, int16_t error);
void core_on_erased(struct controller_core *core, const struct controller_event *ev);

/* core_brokers.c */
void core_on_brokers(struct controller_core *core, const struct controller_event *ev);
void core_on_log_dir(struct controller_core *core, const struct controller_event *ev);
void core_on_suspect(struct controller_core *core, const struct controller_event *ev);
void core_replica_failed(struct controller_core *core, struct core_replica *r);

/* core_shutdown.c */
void core_on_shutdown(struct controller_core *core, const struct controller_event *ev);
void core_shutdown_answer(struct controller_core *core, struct core_request *r);

/* core_reassign.c */
void core_on_reassign(struct controller_core *core, const struct controller_event *ev);
bool core_is_reassigning(const struct core_partition *p);
/* Goes on with the partition's reassignment, if it has one and no write is on its way. */
void core_reassign_step(struct controller_core *core, struct core_partition *p);
void core_reassign_committed(struct controller_core *core, struct core_partition *p);

#endif
