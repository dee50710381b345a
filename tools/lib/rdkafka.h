/* SPDX-License-Identifier: Apache-2.0 */
/* rdkafka - librdkafka for the commands that produce and consume: configuration from Kafka's
 * property names of any age, a first check that a broker is there, rate-limited warnings. One
 * thread. */
#ifndef TOOLS_LIB_RDKAFKA_H
#define TOOLS_LIB_RDKAFKA_H

#include "common/base/base.h"
#include "tools/lib/opt.h"
#include "common/base/props.h"

#include <librdkafka/rdkafka.h>

enum rdkafka_kind { RDKAFKA_PRODUCER = 1, RDKAFKA_CONSUMER = 2 };

/* What becomes of a property. */
enum rdkafka_action {
    RDKAFKA_SET,       /* librdkafka gets name and value of the answer */
    RDKAFKA_QUIET,     /* means nothing here and nothing is lost: serializers, reporters */
    RDKAFKA_JAAS,      /* a login as Java writes it: two properties of librdkafka */
    RDKAFKA_NO_EFFECT, /* known, but without effect here: worth a warning */
    RDKAFKA_UNKNOWN    /* given to librdkafka as it is, which may know it */
};
struct rdkafka_translation {
    enum rdkafka_action action;
    char name[64];
    char value[512]; /* only when is_changed */
    bool is_changed; /* value differs from the given one */
};
/* Kafka's and Kafka 0.8's name and value -> librdkafka's. Pure. INVALID with text: the value cannot
 * be right. */
NODISCARD enum err rdkafka_translate(enum rdkafka_kind kind, const char *name, const char *value,
                                     struct rdkafka_translation *out, struct errtext *why);

/* A configuration from p (which wins over what the caller set before). Warnings are printed for
 * properties without effect. INVALID with text. */
NODISCARD enum err rdkafka_apply(const struct opts *o, rd_kafka_conf_t *conf,
                                 enum rdkafka_kind kind, const struct props *p,
                                 struct errtext *why);
NODISCARD enum err rdkafka_set(rd_kafka_conf_t *conf, const char *name, const char *value,
                               struct errtext *why);

/* Properties from an option with a file and one with key=value pairs; pairs win. */
NODISCARD enum err rdkafka_load_props(const struct opts *o, const char *file_option,
                                      const char *pairs_option, struct props *p,
                                      struct errtext *why);

/* Options that commands with a client have in common. */
#define RDKAFKA_BROKER_OPTIONS                                                                     \
    {"bootstrap-server",                                                                           \
     OPT_TEXT,                                                                                     \
     "host:port,...",                                                                              \
     "REQUIRED: one or more brokers of the cluster; the others are found through them.",           \
     0,                                                                                            \
     0},                                                                                           \
    {                                                                                              \
        "broker-list", OPT_TEXT, "host:port,...", "The older name of --bootstrap-server.", 0, 0    \
    }
#define RDKAFKA_CONSUMER_OPTIONS                                                                   \
    {"consumer-property",                                                                          \
     OPT_LIST,                                                                                     \
     "name=value",                                                                                 \
     "A property of the consumer, by Kafka's or librdkafka's name; may be repeated.",              \
     0,                                                                                            \
     0},                                                                                           \
    {                                                                                              \
        "consumer.config", OPT_TEXT, "file",                                                       \
            "A properties file of the consumer, also for the connection (security.protocol and "   \
            "the like).",                                                                          \
            0, 0                                                                                   \
    }
#define RDKAFKA_PRODUCER_FILE_OPTION                                                               \
    {                                                                                              \
        "producer.config", OPT_TEXT, "file",                                                       \
            "A properties file of the producer, also for the connection (security.protocol and "   \
            "the like).",                                                                          \
            0, 0                                                                                   \
    }

/* Where to begin: --bootstrap-server, --broker-list, a property, or, where the command has the
 * option, the brokers in --zookeeper. A plain connection is opened and closed, so that an
 * unreachable cluster is one clear line at once rather than a long silence. topic: NULL, or one to
 * read, which is warned of when it does not exist; *is_missing_out says that it was. -1 to go on
 * with *bootstrap_out, which the caller frees; else the exit status, a line was printed. */
int rdkafka_find_brokers(const struct opts *o, const struct props *p, bool has_zookeeper,
                         const char *topic, bool *is_missing_out, char **bootstrap_out);

/* Makes the client; conf is consumed. arg is what rdkafka_arg() gives in its callbacks; o and arg
 * must outlive it. One client a process. NULL: a line was printed. */
rd_kafka_t *rdkafka_new(const struct opts *o, enum rdkafka_kind kind, rd_kafka_conf_t *conf,
                        void *arg);
void *rdkafka_arg(void *opaque);

/* Waits until the topic has partitions; asking makes the broker create it where that is allowed.
 * False after some seconds: a line was printed. */
bool rdkafka_wait_topic(const struct opts *o, rd_kafka_t *rk, rd_kafka_topic_t *topic);

/* What to do about an error of a group that does not pass by itself; NULL: it may, go on. */
const char *rdkafka_group_cure(rd_kafka_resp_err_t e);

/* SIGINT and SIGTERM end the command's loop: rdkafka_stop_requested() becomes true. */
void rdkafka_catch_signals(void);
bool rdkafka_stop_requested(void);

#endif
