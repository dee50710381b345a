/* SPDX-License-Identifier: Apache-2.0 */
/* topic_configs - the overrides of every topic as last read from the coordination service, and the
 * effective settings made of them. Any thread; one lock, held for look-ups and single rebuilds. */
#ifndef BROKER_CONFIG_TOPIC_CONFIGS_H
#define BROKER_CONFIG_TOPIC_CONFIGS_H

#include "broker/config/topic_config.h"
#include "common/zk/zkdoc.h"

struct topic_configs;

/* c: borrowed until the next rebase or free. */
struct topic_configs *topic_configs_new(const struct config *c);
void topic_configs_free(struct topic_configs **t);
/* Effective settings; a topic without overrides has the broker's. */
void topic_configs_get(struct topic_configs *t, struct str topic, struct log_config *out);
/* Replaces the overrides of a topic; an empty config forgets it. out: the new effective settings.
 */
void topic_configs_set(struct topic_configs *t, struct str topic, const struct zkdoc_config *config,
                       struct log_config *out);
/* The broker's own options have changed. */
void topic_configs_rebase(struct topic_configs *t, const struct config *c);

#endif
