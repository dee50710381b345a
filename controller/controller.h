/* SPDX-License-Identifier: Apache-2.0 */
/* controller - the module that every broker runs and that is active on one: a thread with the pure
 * core (controller_core.h), the reads and writes of the coordination service, and one channel to
 * each broker. It knows nothing of the broker that hosts it but the callbacks below. */
#ifndef CONTROLLER_CONTROLLER_H
#define CONTROLLER_CONTROLLER_H

#include "common/base/base.h"
#include "common/zk/coord.h"

struct controller;
struct tls_context;

struct controller_options {
    int32_t broker_id;
    const char *listener_name; /* the inter-broker listener: which endpoint of a broker's znode the
                                  channels use */
    int64_t socket_timeout_ms; /* controller.socket.timeout.ms */
    bool delete_topic_enable, unclean_leader_election, auto_leader_rebalance;
    int32_t imbalance_percentage;
    int64_t imbalance_check_interval_s;
    struct coord *coord; /* the owner tells of its session: controller_session_expired() from
                            on_state */
    struct tls_context
        *tls; /* of the inter-broker listener; NULL: plain. Outlives the controller */
};
NODISCARD enum err controller_start(const struct controller_options *o, struct controller **out);
/* Resigns first when active (the next controller need not wait for the session's end). Before
 * coord_close. Requests that wait are answered NOT_CONTROLLER; their mailboxes must still live. */
void controller_stop(struct controller **c);
/* Any thread. The broker registered with this epoch (czxid): take part in elections from now on. */
void controller_broker_registered(struct controller *c, int64_t broker_epoch);
void controller_session_expired(struct controller *c);
/* Evidence for suspicion (docs/decisions/0005). */
void controller_connection_lost(struct controller *c, int32_t broker_id);
/* Any thread. The topic's config was changed: partitions without a leader may be allowed an unclean
 * election now. */
void controller_topic_config_changed(struct controller *c, const char *topic);
/* Writes what this controller knows to fd, some lines: for the panic report. Any thread, no lock.
 */
void controller_dump(const struct controller *c, int fd);
/* -1: none known. Any thread. */
int32_t controller_id(const struct controller *c);
bool controller_is_active(const struct controller *c);
/* For metrics: changes of a leader that this controller made so far, and those of them to a replica
 * outside the ISR. Any thread. */
void controller_elections(const struct controller *c, int64_t *all, int64_t *unclean);

/* Requests that only the active controller answers. req: struct kp_<Api>Request, borrowed until
 * done is called; done runs on the given mailbox's owner with a struct kp_<Api>Response that is
 * valid during the call. Not active: the API's own NOT_CONTROLLER (or STALE_CONTROLLER_EPOCH)
 * answer. api_key: AlterPartition 56, ControlledShutdown 7, AllocateProducerIds 67, ElectLeaders
 * 43, AlterPartitionReassignments 45, ListPartitionReassignments 46. */
void controller_request(struct controller *c, int16_t api_key, int16_t api_version, const void *req,
                        struct mailbox *to, void (*done)(void *arg, const void *response),
                        void *arg);

#endif
