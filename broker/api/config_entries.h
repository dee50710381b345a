/* SPDX-License-Identifier: Apache-2.0 */
/* config_entries - topic and broker configs as the protocol shows them; see
 * describe_configs.c and alter_configs.c for the requests. */
#ifndef BROKER_API_CONFIG_ENTRIES_H
#define BROKER_API_CONFIG_ENTRIES_H

#include "broker/api/api.h"
#include "broker/api/topic_create.h"
#include "broker/config/topic_config.h"
#include "common/protocol/messages.h"
#include "common/zk/zkdoc.h"

enum { CONFIG_TOPIC = 2, CONFIG_BROKER = 4, CONFIG_BROKER_LOGGER = 8 }; /* resource types */

/* One of the layers that say what a config is; the first of them decides. value NULL: none, or a
 * secret. */
struct config_layer {
    const char *name, *value;
    enum config_source source;
};
enum { CONFIG_LAYERS_MAX = 1 + 3 * 4 }; /* a topic's own, and three options in four sources */

struct config_entry {         /* texts: constant, the configuration's, or in the request's arena */
    const char *name, *value; /* value NULL: none, or a secret */
    const struct option *option; /* NULL: unknown to this broker */
    enum config_source source;
    bool is_sensitive, is_read_only;
    struct config_layer layers[CONFIG_LAYERS_MAX]; /* Kafka's synonyms, in its order */
    int32_t layer_count;
};

/* o: a row of topic_options; overrides: sorted by key. False: no memory. */
bool config_entry_topic(struct request *r, const struct option *o,
                        const struct zkdoc_config *overrides, struct config_entry *e);
void config_entry_broker(struct request *r, const struct option *o, struct config_entry *e);
/* A cluster-wide dynamic value, as it is stored. */
void config_entry_default(const struct zkdoc_kv *kv, struct config_entry *e);

/* The configs of a topic that was just created, for CreateTopics v5+. */
void config_entries_created(struct request *r, const struct topic_create_item *item,
                            struct kp_CreateTopicsResponse_CreatableTopicResult *t);

#endif
