/* SPDX-License-Identifier: Apache-2.0 */
/* config - the broker's options, typed. A struct config is made at start and is immutable once
 * shared; a dynamic change makes a new one (broker->config is switched, old ones are kept until the
 * end).
 *
 * The field of option a.b.c is a_b_c. Options without a default that are not given: NULL, or the
 * least value of the type (INT32_MIN, INT64_MIN); config_finish fills those that have another
 * option as their default: log_dirs, zookeeper_connection_timeout_ms, queued_max_request_bytes,
 * log_retention_ms, log_roll_ms, log_roll_jitter_ms, log_flush_interval_ms,
 * inter_broker_listener_name. */
#ifndef BROKER_CONFIG_CONFIG_H
#define BROKER_CONFIG_CONFIG_H

#include "common/base/base.h"
#include "common/base/optab.h"
#include "common/base/props.h"

enum config_source { /* numbers: the protocol's */
                     CONFIG_SOURCE_UNKNOWN = 0,
                     CONFIG_SOURCE_TOPIC = 1,
                     CONFIG_SOURCE_DYNAMIC_BROKER = 2,
                     CONFIG_SOURCE_DYNAMIC_DEFAULT = 3,
                     CONFIG_SOURCE_STATIC = 4, /* the properties file or --override */
                     CONFIG_SOURCE_DEFAULT = 5
};

/* What was given: by DYNAMIC_BROKER, DYNAMIC_DEFAULT or STATIC, the first of them wins. */
enum { CONFIG_LAYER_COUNT = 3 };

enum config_option {
#define BOOL(field, ...)     CONFIG_##field,
#define INT(field, ...)      CONFIG_##field,
#define SHORT(field, ...)    CONFIG_##field,
#define LONG(field, ...)     CONFIG_##field,
#define DOUBLE(field, ...)   CONFIG_##field,
#define STRING(field, ...)   CONFIG_##field,
#define CLASS(field, ...)    CONFIG_##field,
#define LIST(field, ...)     CONFIG_##field,
#define PASSWORD(field, ...) CONFIG_##field,
#include "broker/config/config.def"
#undef BOOL
#undef INT
#undef SHORT
#undef LONG
#undef DOUBLE
#undef STRING
#undef CLASS
#undef LIST
#undef PASSWORD
    CONFIG_OPTION_COUNT
};

struct config {
#define BOOL(field, ...)     bool field;
#define INT(field, ...)      int32_t field;
#define SHORT(field, ...)    int16_t field;
#define LONG(field, ...)     int64_t field;
#define DOUBLE(field, ...)   double field;
#define STRING(field, ...)   char *field;
#define CLASS(field, ...)    char *field;
#define LIST(field, ...)     struct optab_list field;
#define PASSWORD(field, ...) char *field;
#include "broker/config/config.def"
#undef BOOL
#undef INT
#undef SHORT
#undef LONG
#undef DOUBLE
#undef STRING
#undef CLASS
#undef LIST
#undef PASSWORD
    /* as given, by option and layer: NULL is not given */
    char *texts[CONFIG_OPTION_COUNT][CONFIG_LAYER_COUNT];
    bool is_finished;
};

extern const struct optab config_options; /* rows in the order of enum config_option */

struct config *config_new(void); /* all defaults, not finished */
void config_free(struct config **c);
/* NOT_FOUND: unknown option. INVALID with text: what is allowed. Before config_finish. */
NODISCARD enum err config_set(struct config *c, const char *name, const char *value,
                              enum config_source source, struct errtext *why);
/* Sets all of p. Unknown options are log lines that name the nearest known one, if there is one.
 * INVALID with text (and the line of the file, when there is one). */
NODISCARD enum err config_set_all(struct config *c, const struct props *p,
                                  enum config_source source, struct errtext *why);
/* Fills the options whose default is another option, maps old names, brings values that Kafka takes
 * but that mean nothing to the nearest ones that do (log lines say so), checks what several options
 * say together, and that no option is set that promises what this version lacks. INVALID with text.
 */
NODISCARD enum err config_finish(struct config *c, struct errtext *why);
/* A new finished config: base's static values, then the cluster-wide dynamic ones, then this
 * broker's. Options that are not dynamic, unknown or bad are left out with a log line. */
struct config *config_with_dynamic(const struct config *base, const struct props *cluster,
                                   const struct props *own);

/* Would a running broker with the static values of base take these dynamic ones (what ZooKeeper
 * holds of one entity after a change)? Checks what options say together; single values are not the
 * matter here. INVALID with text. */
NODISCARD enum err config_check_dynamic(const struct config *base, const struct props *dynamic,
                                        struct errtext *why);
/* May a running broker with config c change o to value? INVALID with text. */
NODISCARD enum err config_check_change(const struct config *c, const struct option *o,
                                       const char *value, struct errtext *why);

/* One log line that names all options that are set, not to their defaults, but have no effect in
 * this version, and one for those that have no meaning here. sources: only such are named, as bits
 * 1 << CONFIG_SOURCE_*. */
void config_log_no_effect(const struct config *c, unsigned sources);

/* The value as text, for DescribeConfigs: as given, else the default; NULL: none. Passwords too:
 * the caller hides them. */
const char *config_text(const struct config *c, const struct option *o);
enum config_source config_source_of(const struct config *c, const struct option *o);
/* What one source says of an option; NULL: nothing. */
const char *config_text_of(const struct config *c, const struct option *o,
                           enum config_source source);
/* The options that stand in for each other, the finest unit first, o among them: log.roll.ms,
 * log.roll.hours. NULL-terminated; constant strings. */
enum { CONFIG_SYNONYMS_MAX = 3 };
void config_synonyms(const struct option *o, const char *out[CONFIG_SYNONYMS_MAX + 1]);
bool config_is_given(const struct config *c, enum config_option o);

#endif
