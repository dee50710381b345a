/* SPDX-License-Identifier: Apache-2.0 */
/* config_changes - watches for changed configs in the coordination service, reads them, and reports
 * them. The notification nodes are only triggers; old ones are removed after 15 minutes.
 *
 * All callbacks run on the mailbox's owner (registration_mailbox() will do), which must go on
 * delivering until config_changes_stop. */
#ifndef BROKER_CONFIG_CONFIG_CHANGES_H
#define BROKER_CONFIG_CONFIG_CHANGES_H

#include "common/base/base.h"
#include "common/zk/coord.h"
#include "common/zk/zkdoc.h"

struct config_changes;

/* The whole config of one entity, valid during the call. type: "topics", "brokers", "clients",
 * "users", "ips"; name: as the znode is named ("<default>" for defaults; of users also
 * "U/clients/C"). An entity that was removed has an empty config. */
typedef void (*config_changed)(void *arg, const char *type, const char *name,
                               const struct zkdoc_config *config);

/* Starts to watch. Notifications that exist already are told too (reads of the newest state, so
 * repeating is harmless). */
void config_changes_start(struct coord *c, struct mailbox *to, config_changed on_change, void *arg,
                          struct config_changes **out);
/* Any time the watch may have been lost: after REGISTRATION_REGISTERED. Mailbox's owner. */
void config_changes_session_renewed(struct config_changes *cc);
/* Mailbox's owner, or anybody after its thread has ended. No callback runs after it. */
void config_changes_stop(struct config_changes **cc);

/* All configs of a type at start, pipelined: on_config is called on this thread for each entity
 * that has any. Blocking. */
NODISCARD enum err config_changes_load(struct coord *c, const char *type, config_changed on_config,
                                       void *arg, struct errtext *why);

#endif
