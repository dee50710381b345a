/* SPDX-License-Identifier: Apache-2.0 */
/* registration - this broker's presence in the coordination service: the session, the top-level
 * paths, the cluster id, the broker id, and the ephemeral node /brokers/ids/<id>, made again by
 * itself after every expiry.
 *
 * Owns a thread ("session") with a mailbox; session events and conflicts are worked on there, and
 * other modules may have their coordination results delivered to it. The functions below are
 * main's, in the order of a start. */
#ifndef BROKER_CLUSTER_REGISTRATION_H
#define BROKER_CLUSTER_REGISTRATION_H

#include "broker/broker.h"
#include "common/base/mailbox.h"

struct registration;

enum registration_event {
    REGISTRATION_DISCONNECTED, /* the broker keeps serving */
    REGISTRATION_CONNECTED,    /* the same session again */
    REGISTRATION_EXPIRED,   /* our znode and all ephemerals are gone: controller_session_expired */
    REGISTRATION_REGISTERED /* again, with this epoch: controller_broker_registered */
};

struct registration_options {
    const char *connect; /* zookeeper.connect */
    int64_t session_timeout_ms;
    int64_t
        connection_timeout_ms; /* how long the start, and later a call, waits; -1: without end */
    const char *session_dir;   /* the first log dir: holds the session file; its lock is held */
    /* On the session thread. broker_epoch: with REGISTERED. Not called for the first registration:
     * that is registration_register's result. */
    void (*on_event)(void *arg, enum registration_event event, int64_t broker_epoch);
    void *arg;
};

/* Connects (trying and saying so for connection_timeout_ms or until b->is_stopping), makes the
 * chroot and the top-level paths, sets b->coord, starts the session thread. Strings are copied. */
NODISCARD enum err registration_start(struct broker *b, const struct registration_options *o,
                                      struct registration **out, struct errtext *why);
/* For coordination results of modules without a thread of their own (config_changes). */
struct mailbox *registration_mailbox(struct registration *r);
/* Reads /cluster/id or creates it; fills b->cluster_id. */
NODISCARD enum err registration_cluster_id(struct registration *r, struct errtext *why);
/* A new broker id above reserved_broker_max_id, from /brokers/seqid. */
NODISCARD enum err registration_generate_id(struct registration *r, int32_t reserved_broker_max_id,
                                            int32_t *id_out, struct errtext *why);
/* Creates /brokers/ids/<b->id> from b->listeners; sets b->epoch. Listening sockets are bound, not
 * yet serving. rack NULL: none. Blocks while a dead predecessor's session lasts, saying so.
 * EXISTS: another broker answers under our id, or has our endpoint; CLOSED: b->is_stopping. */
NODISCARD enum err registration_register(struct registration *r, const char *rack,
                                         struct errtext *why);
/* Closes the session (the znode goes), removes the session file, ends the thread; b->coord becomes
 * NULL: everybody who uses it must have stopped. NULL is fine. */
void registration_stop(struct registration **r);

#endif
