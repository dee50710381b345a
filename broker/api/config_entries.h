/* SPDX-License-Identifier: Apache-2.0 */
/* config_entries - topic and broker configs as the protocol shows them; see configs.c for the
 * requests. */
#ifndef BROKER_API_CONFIG_ENTRIES_H
#define BROKER_API_CONFIG_ENTRIES_H

#include "broker/api/api.h"
#include "broker/api/topic_create.h"
#include "common/protocol/messages.h"

/* The configs of a topic that was just created, for CreateTopics v5+. */
void config_entries_created(struct request *r, const struct topic_create_item *item,
                            struct kp_CreateTopicsResponse_CreatableTopicResult *t);

#endif
