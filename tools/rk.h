/* SPDX-License-Identifier: Apache-2.0 */
/* rk - librdkafka for the commands that produce and consume: configuration from Kafka's property
 * names of any age, a first check that a broker is there, rate-limited warnings. One thread. */
#ifndef TOOLS_RK_H
#define TOOLS_RK_H

#include "common/base/base.h"
#include "tools/opt.h"
#include "tools/props.h"

#include <librdkafka/rdkafka.h>

enum rk_kind { RK_PRODUCER = 1, RK_CONSUMER = 2 };

/* What becomes of a property. */
enum rk_action {
    RK_SET,       /* librdkafka gets name and value of the answer */
    RK_QUIET,     /* means nothing here and nothing is lost: serializers, reporters */
    RK_NO_EFFECT, /* known, but without effect here: worth a warning */
    RK_UNKNOWN    /* given to librdkafka as it is, which may know it */
};
struct rk_translation {
    enum rk_action action;
    char name[64];
    char value[512]; /* only when is_changed */
    bool is_changed; /* value differs from the given one */
};
/* Kafka's and Kafka 0.8's name and value -> librdkafka's. Pure. INVALID with text: the value cannot
 * be right. */
NODISCARD enum err rk_translate(enum rk_kind kind, const char *name, const char *value,
                                struct rk_translation *out, struct errtext *why);

/* A configuration from p (which wins over what the caller set before). Warnings are printed for
 * properties without effect. INVALID with text. */
NODISCARD enum err rk_apply(const struct opts *o, rd_kafka_conf_t *conf, enum rk_kind kind,
                            const struct props *p, struct errtext *why);
NODISCARD enum err rk_set(rd_kafka_conf_t *conf, const char *name, const char *value,
                          struct errtext *why);

/* Properties from an option with a file and one with key=value pairs; pairs win. */
NODISCARD enum err rk_load_props(const struct opts *o, const char *file_option,
                                 const char *pairs_option, struct props *p, struct errtext *why);

/* Where to begin: --bootstrap-server, --broker-list, a property, or the brokers in --zookeeper. The
 * caller frees. NULL: a line was printed. options that the command lacks are named NULL. */
char *rk_bootstrap(const struct opts *o, const struct props *p, bool has_zookeeper);

/* Opens and closes one connection, so that an unreachable cluster is one clear line at once rather
 * than a long silence. -1 to go on. Only plain connections are tried. */
int rk_check_reachable(const struct opts *o, const char *bootstrap, const struct props *p);

/* Makes the client; conf is consumed. arg is what rk_arg() gives in its callbacks; o and arg must
 * outlive it. One client a process. NULL: a line was printed. */
rd_kafka_t *rk_new(const struct opts *o, enum rk_kind kind, rd_kafka_conf_t *conf, void *arg);
void *rk_arg(void *opaque);

/* Waits until the topic has partitions; asking makes the broker create it where that is allowed.
 * False after some seconds: a line was printed. */
bool rk_wait_topic(const struct opts *o, rd_kafka_t *rk, rd_kafka_topic_t *topic);

/* What to do about an error of a group that does not pass by itself; NULL: it may, go on. */
const char *rk_group_cure(rd_kafka_resp_err_t e);

/* SIGINT and SIGTERM end the command's loop: rk_stop_requested() becomes true. */
void rk_catch_signals(void);
bool rk_stop_requested(void);

#endif
