/* SPDX-License-Identifier: Apache-2.0 */
/* topic_config - the configurations that a topic may have, for the commands that write znodes
 * themselves; with --bootstrap-server the broker checks. Pure. */
#ifndef TOOLS_LIB_TOPIC_CONFIG_H
#define TOOLS_LIB_TOPIC_CONFIG_H

#include "common/zk/zkdoc.h"

/* "Unknown topic config name: x", or what is wrong with the value. */
NODISCARD enum err topic_config_check(const char *name, const char *value, struct errtext *why);
/* name=value pairs into a document of the arena, sorted, the last of equal names wins. INVALID with
 * text. */
NODISCARD enum err topic_config_parse(const char *const *pairs, size_t count, struct arena *a,
                                      struct zkdoc_config *out, struct errtext *why);
/* Adds pairs to a document and takes names away. INVALID with text. */
NODISCARD enum err topic_config_change(struct zkdoc_config *config, const char *const *pairs,
                                       size_t pair_count, const char *const *removals,
                                       size_t removal_count, struct arena *a, struct errtext *why);

#endif
