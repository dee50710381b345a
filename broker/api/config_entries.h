/* SPDX-License-Identifier: Apache-2.0 */
/* config_entries - topic and broker configs as the protocol shows them; see configs.c for the
 * requests. */
#ifndef BROKER_API_CONFIG_ENTRIES_H
#define BROKER_API_CONFIG_ENTRIES_H

#include "broker/api/api.h"
#include "broker/api/topic_create.h"
#include "broker/config/topic_config.h"
#include "common/protocol/messages.h"
#include "common/zk/zkdoc.h"

enum { CONFIG_TOPIC = 2, CONFIG_BROKER = 4, CONFIG_BROKER_LOGGER = 8 }; /* resource types */

struct config_entry {         /* texts: constant, the configuration's, or in the request's arena */
    const char *name, *value; /* value NULL: none, or a secret */
    const char *help;
    int8_t type;
    enum config_source source;
    bool is_sensitive, is_read_only;
    /* what holds without an override, and the name of the option that says so (NULL: none) */
    const char *inherited, *inherited_name;
    enum config_source inherited_source;
};

/* overrides: sorted by key. False: no memory. */
bool config_entry_topic(struct request *r, const struct topic_option *o,
                        const struct zkdoc_config *overrides, struct config_entry *e);
void config_entry_broker(struct request *r, const struct option *o, struct config_entry *e);

/* The configs of a topic that was just created, for CreateTopics v5+. */
void config_entries_created(struct request *r, const struct topic_create_item *item,
                            struct kp_CreateTopicsResponse_CreatableTopicResult *t);

#endif
