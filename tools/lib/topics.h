/* SPDX-License-Identifier: Apache-2.0 */
/* topics - what kafuka-topics has in common whether it asks a broker or ZooKeeper: the model of a
 * topic, filters, the text of --describe, checks of what the user gave. */
#ifndef TOOLS_LIB_TOPICS_H
#define TOOLS_LIB_TOPICS_H

#include "common/base/base.h"
#include "common/base/uuid.h"
#include "tools/lib/opt.h"

#include <regex.h>

struct topic_partition_info {
    int32_t index;
    int32_t leader;      /* -1: none */
    bool leader_is_live; /* among the live brokers */
    const int32_t *replicas, *isr, *adding, *removing;
    int32_t replica_count, isr_count, adding_count, removing_count;
};
struct topic_info {
    const char *name;
    struct uuid id; /* zero: not known */
    bool is_internal, is_marked_for_deletion;
    const struct topic_partition_info *partitions;
    int32_t partition_count;
    const char *configs; /* "a=b,c=d", "" for none */
    int32_t min_isr;     /* effective min.insync.replicas; 0: not known */
};

enum topics_style {
    TOPICS_KAFKA_39, /* with TopicId, Elr: --bootstrap-server */
    TOPICS_KAFKA_28  /* --zookeeper */
};
struct topics_filter {
    bool under_replicated, unavailable, under_min_isr, at_min_isr, with_overrides;
};
void topics_filter_from(const struct opts *o, struct topics_filter *out);
/* Appends what --describe prints for one topic: nothing when the filter leaves nothing. */
void topics_describe(const struct topic_info *t, enum topics_style style,
                     const struct topics_filter *f, struct buf *out);

/* The names that --topic means: a regular expression over whole names, alternatives also by comma.
 */
struct topics_pattern {
    regex_t re;
    bool is_all;       /* no --topic was given */
    const char *plain; /* the text, when it can only mean this one name; else NULL */
};
NODISCARD enum err topics_pattern_init(struct topics_pattern *p, const char *text,
                                       struct errtext *why);
void topics_pattern_fini(struct topics_pattern *p);
bool topics_pattern_matches(const struct topics_pattern *p, const char *name);

bool topics_is_internal(const char *name);
/* "0:1,1:2" -> replicas of partitions 0, 1, ... all with the same number. The lists live in the
 * arena. INVALID with text. */
struct topics_assignment {
    int32_t **replicas; /* [partition][j] */
    int32_t partition_count, factor;
};
NODISCARD enum err topics_parse_assignment(const char *text, struct arena *a,
                                           struct topics_assignment *out, struct errtext *why);
/* Warns when the name has a period or an underscore, as Kafka does. */
void topics_warn_of_collisions(const char *name);

/* "Error while executing topic command : <text>" where Kafka prints it: on stdout. Returns 1. */
int topics_fail(const char *fmt, ...) PRINTF_LIKE(1, 2);

int topics_with_zookeeper(const struct opts *o);

#endif
