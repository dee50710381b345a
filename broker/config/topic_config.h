/* SPDX-License-Identifier: Apache-2.0 */
/* topic_config - the configs of topics: the table with the broker options that give their defaults,
 * and the way from a topic's overrides to struct log_config. Any thread; no state. */
#ifndef BROKER_CONFIG_TOPIC_CONFIG_H
#define BROKER_CONFIG_TOPIC_CONFIG_H

#include "broker/config/config.h"
#include "broker/log/log.h"
#include "common/base/optab.h"

struct topic_option {
    struct option option; /* default_text: Kafka's own; the broker's option comes before it */
    /* The broker's options that give the default, first found wins: "log.retention.ms",
     * "log.retention.minutes", "log.retention.hours". NULL-terminated; empty: none. */
    const char *synonyms[4];
};
extern const struct topic_option topic_options[];
extern const size_t topic_option_count;
const struct topic_option *topic_option_find(struct str name); /* NULL: unknown */

struct topic_override {
    const char *name, *value;
};
/* Is this a known topic config with an allowed value? INVALID with text for the client. */
NODISCARD enum err topic_config_check(const char *name, const char *value, struct errtext *why);
/* The effective settings: the broker's, with the overrides. Unknown names and bad values are
 * INVALID with text, as are combinations that cannot be (min.compaction.lag.ms over
 * max.compaction.lag.ms). */
NODISCARD enum err topic_config_make(const struct config *c, const struct topic_override *overrides,
                                     size_t count, struct log_config *out, struct errtext *why);
/* The same for configs that are stored already: what is unknown or bad is left at the broker's
 * value, with a log line. */
void topic_config_make_lenient(const struct config *c, struct str topic,
                               const struct topic_override *overrides, size_t count,
                               struct log_config *out);
/* The broker's value of a topic config as text (without overrides), where it comes from (a
 * CONFIG_SOURCE_*) and the broker option's name (NULL: none). The text is valid as long as c, or
 * until the thread's next call. */
const char *topic_config_default(const struct config *c, const struct topic_option *o,
                                 enum config_source *source_out, const char **synonym_out);

#endif
