/* SPDX-License-Identifier: Apache-2.0 */
/* topic_config - the way from the broker's options and a topic's overrides to struct log_config.
 * Any thread; no state. */
#ifndef BROKER_CONFIG_TOPIC_CONFIG_H
#define BROKER_CONFIG_TOPIC_CONFIG_H

#include "broker/config/config.h"
#include "broker/log/log.h"
#include "common/base/topic_option.h"

struct topic_override {
    const char *name, *value;
};
/* The effective settings: the broker's, with the overrides. Unknown names and bad values are
 * INVALID with text, as are combinations that cannot be (min.compaction.lag.ms over
 * max.compaction.lag.ms). */
NODISCARD enum err topic_config_make(const struct config *c, const struct topic_override *overrides,
                                     size_t count, struct log_config *out, struct errtext *why);
/* The same for configs that are stored already: an unknown name is skipped and a bad value replaced
 * by the broker's, each with a log line. */
void topic_config_make_lenient(const struct config *c, struct str topic,
                               const struct topic_override *overrides, size_t count,
                               struct log_config *out);
/* The broker's value of a topic config as text (without overrides) and where it comes from. The
 * text is valid as long as c, or until the thread's next call. */
const char *topic_config_default(const struct config *c, const struct option *o,
                                 enum config_source *source_out);

#endif
