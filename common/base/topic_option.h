/* SPDX-License-Identifier: Apache-2.0 */
/* topic_option - the configs that a topic may have: one table for the broker, the tools and the
 * documentation. Constant data; any thread. */
#ifndef COMMON_BASE_TOPIC_OPTION_H
#define COMMON_BASE_TOPIC_OPTION_H

#include "common/base/optab.h"

/* The values of one topic, each field set by optab_set from its row. */
struct topic_values {
#define BOOL(field, ...)   bool field;
#define INT(field, ...)    int32_t field;
#define LONG(field, ...)   int64_t field;
#define DOUBLE(field, ...) double field;
#define STRING(field, ...) char *field;
#define LIST(field, ...)   struct optab_list field;
#include "common/base/topic_option.def"
#undef BOOL
#undef INT
#undef LONG
#undef DOUBLE
#undef STRING
#undef LIST
};

/* default_text: Kafka's own; the broker's options come before it. */
extern const struct optab topic_options;

/* The names of the broker's options that give the default of this row of topic_options, first found
 * wins: "log.retention.ms", "log.retention.minutes", "log.retention.hours". NULL-terminated. */
const char *const *topic_option_broker_names(const struct option *o);
/* Is this a topic config with an allowed value? INVALID with text: the unknown name with the
 * nearest known one, or the value with what is allowed. */
NODISCARD enum err topic_option_check(const char *name, const char *value, struct errtext *why);
/* That text for an unknown name. */
void topic_option_unknown(const char *name, struct errtext *why);

#endif
