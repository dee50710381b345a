/* SPDX-License-Identifier: Apache-2.0 */
/* ctl - what the files of the controller's shell share. All of it belongs to the controller's loop,
 * except what is marked atomic.
 *
 * A term is one time of being controller, from the won election to the resignation. Every call that
 * is on its way carries the number of the term it was made in; answers of an older term are
 * dropped. */
#ifndef CONTROLLER_CTL_H
#define CONTROLLER_CTL_H

#include "common/net/client.h"
#include "common/net/loop.h"
#include "common/zk/zkdoc.h"
#include "controller/controller.h"
#include "controller/controller_core.h"

#include <stdatomic.h>
#include "common/base/hash.h"

enum {
    CTL_MAGIC = 0x63746c31,
    CTL_CALL_MAGIC = 0x63746c32,
    CTL_CHANNEL_MAGIC = 0x63746c33,
    CTL_REQUEST_MAGIC = 0x63746c34
};

enum ctl_role {
    CTL_FOLLOWER, /* somebody else, or nobody yet */
    CTL_ELECTING, /* the write that makes us controller is on its way */
    CTL_LOADING,  /* elected; the snapshot is being read */
    CTL_ACTIVE
};

/* A broker's znode as last read. */
struct ctl_broker {
    int32_t id;
    int64_t epoch;
    int32_t version;
    struct arena arena; /* holds doc */
    struct zkdoc_broker doc;
};

struct ctl_channel {
    unsigned magic;
    struct controller *c;
    int32_t broker_id;
    int64_t broker_epoch;
    char *host;
    int32_t port;
    struct client *client; /* NULL: not connected; see retry */
    struct loop_timer retry;
    bool is_sent; /* the message is with the client */
    /* the one message on its way; has_message until it is answered */
    bool has_message;
    enum core_rpc rpc;
    uint64_t rpc_id;
    struct arena arena; /* holds message */
    void *message;      /* struct kp_<Api>Request */
    UT_hash_handle hh;
};

struct controller {
    unsigned magic;
    struct controller_options o;
    char *listener_name;
    struct loop *loop;
    _Atomic int32_t known_id; /* of /controller; -1: none */
    _Atomic bool is_active_now;
    _Atomic int32_t epoch_now;
    _Atomic int64_t elections, unclean_elections; /* statistics */
    bool is_registered;
    bool is_stopping;
    enum ctl_role role;
    uint64_t term;
    int32_t epoch, epoch_version; /* of /controller_epoch, ours */
    bool is_looking, look_again;  /* at /controller */
    int64_t calls;                /* coord calls on their way */
    int64_t load_pending;         /* of them, those the snapshot waits for */
    int64_t load_began_ms;
    struct controller_core *core;
    struct controller_effects fx;
    bool is_in_step;
    struct loop_timer tick;
    struct ctl_channel *channels;
    struct ctl_broker **brokers; /* sorted by id */
    int32_t broker_count;
    bool is_listing_brokers, list_brokers_again;
    struct ctl_broker **listing; /* being read */
    int32_t listing_count, listing_left;
    bool is_listing_topics, list_topics_again;
    struct ctl_stop *stopping;
};

/* A call to coord on its way. Extra holds what a kind of call needs besides. */
struct ctl_call {
    unsigned magic;
    struct controller *c;
    uint64_t term;
    bool is_loading; /* counted in load_pending */
    char *topic;     /* owned, may be NULL */
    int32_t partition;
    uint64_t id;
    void *extra;
    void (*done)(struct ctl_call *call, const struct coord_result *r);
};

/* controller.c */
/* A call of the present term; done is only called if the term still lasts. */
struct ctl_call *ctl_call_new(struct controller *c, const char *topic, int32_t partition,
                              void (*done)(struct ctl_call *, const struct coord_result *));
void ctl_call_done(void *arg, const struct coord_result *r); /* the coord_done of every call */
void ctl_get(struct controller *c, const char *path, bool watch, struct ctl_call *call);
void ctl_children(struct controller *c, const char *path, bool watch, struct ctl_call *call);
void ctl_exists(struct controller *c, const char *path, bool watch, struct ctl_call *call);
/* Behind the check of the controller epoch, which is added in front. */
void ctl_checked(struct controller *c, const struct coord_op *ops, int32_t count,
                 struct ctl_call *call);
/* True: the check itself failed; we are not the controller any more and have resigned. */
bool ctl_is_fenced(struct controller *c, const struct coord_result *r);
void ctl_step(struct controller *c, struct controller_event *ev);
void ctl_resign(struct controller *c, const char *why);
/* Something that should not be: give the office up, so that it begins anew with somebody. */
void ctl_fail(struct controller *c, const char *why, enum err e);
void ctl_look(struct controller *c); /* at /controller; resigns or tries an election */

/* ctl_load.c: reading the cluster, at first and when watches fire */
void ctl_load(struct controller *c);
void ctl_load_check(struct controller *c);
void ctl_list_brokers(struct controller *c);
void ctl_list_topics(struct controller *c);
void ctl_list_deletes(struct controller *c);
void ctl_list_log_dir_events(struct controller *c);
void ctl_read_topic(struct controller *c, const char *topic);
void ctl_read_state(struct controller *c, const char *topic, int32_t partition);
void ctl_read_topic_config(struct controller *c, const char *topic);
void ctl_read_admin(struct controller *c, const char *path);
const struct ctl_broker *ctl_broker_find(const struct controller *c, int32_t id);
void ctl_brokers_free(struct ctl_broker **v, int32_t count);

/* ctl_effects.c */
void ctl_effects_run(struct controller *c);

/* ctl_channel.c */
void ctl_channel_open(struct controller *c, int32_t broker_id, int64_t broker_epoch);
void ctl_channel_close(struct controller *c, int32_t broker_id);
void ctl_channel_close_all(struct controller *c);
void ctl_channel_send(struct controller *c, const struct core_fx *f);

/* ctl_request.c */
void ctl_answer(struct controller *c, const struct core_fx *f);

#endif
