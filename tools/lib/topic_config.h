/* SPDX-License-Identifier: Apache-2.0 */
/* topic_config - changes of a topic's configurations, for the commands that write znodes
 * themselves; with --bootstrap-server the broker checks. Pure. */
#ifndef TOOLS_LIB_TOPIC_CONFIG_H
#define TOOLS_LIB_TOPIC_CONFIG_H

#include "common/zk/zkdoc.h"

/* Does the table say that the setting does nothing in this version? False: the name is unknown,
 * too.
 */
bool topic_config_has_no_effect(const char *name, const char *value);
/* One line on standard error when it does nothing: "x has no effect in this version: why". */
void topic_config_tell_no_effect(const char *name, const char *value);
/* The same line, when the documentation that a broker sent of an option (DescribeConfigs) says so.
 */
void topic_config_tell_documented(const char *name, struct str documentation);
/* name=value pairs into a document of the arena, sorted, the last of equal names wins. INVALID with
 * text. */
NODISCARD enum err topic_config_parse(const char *const *pairs, size_t count, struct arena *a,
                                      struct zkdoc_config *out, struct errtext *why);
/* Adds pairs to a document and takes names away. INVALID with text. */
NODISCARD enum err topic_config_change(struct zkdoc_config *config, const char *const *pairs,
                                       size_t pair_count, const char *const *removals,
                                       size_t removal_count, struct arena *a, struct errtext *why);

#endif
