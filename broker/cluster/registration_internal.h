/* SPDX-License-Identifier: Apache-2.0 */
/* registration_internal - what the files of registration share. */
#ifndef BROKER_CLUSTER_REGISTRATION_INTERNAL_H
#define BROKER_CLUSTER_REGISTRATION_INTERNAL_H

#include "broker/cluster/registration.h"
#include "common/zk/coord.h"
#include "common/zk/zkadmin.h"

#include <pthread.h>

struct session_secret {
    int64_t id; /* 0: none */
    uint8_t password[16];
};

struct registration {
    struct broker *broker; /* outlives us */
    char *connect, *session_dir, *rack;
    int64_t session_timeout_ms, connection_timeout_ms;
    void (*on_event)(void *arg, enum registration_event event, int64_t broker_epoch);
    void *arg;
    struct coord *coord;
    struct mailbox mailbox;
    bool has_mailbox, has_thread;
    pthread_t thread;
    _Atomic bool is_ending;
    _Atomic bool was_registered;       /* main's registration has succeeded */
    struct session_secret old_session; /* of the process before us, until it is ended */
    /* owner: main until it has registered, then the session thread */
    int64_t own_session; /* under which our node was last made */
    bool must_register;
    int64_t register_at_ms;
};

/* Makes /brokers/ids/<id> and sets the epoch; see registration_register. is_first: other brokers'
 * endpoints are compared, and a node of somebody else is waited for; else that is EXISTS at once.
 */
NODISCARD enum err registration_make_node(struct registration *r, bool is_first,
                                          struct errtext *why);

/* The session file, <dir>/.zookeeper-session, mode 0600: which session to end when a killed broker
 * starts again. OK with id 0 when there is none. */
NODISCARD enum err session_file_read(const char *dir, struct session_secret *out);
NODISCARD enum err session_file_write(const char *dir, const struct session_secret *s);
void session_file_remove(const char *dir);

#endif
