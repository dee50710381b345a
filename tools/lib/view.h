/* SPDX-License-Identifier: Apache-2.0 */
/* view - a cluster at one moment, as kafuka-describe shows it: what was read, what follows from it,
 * and what is wrong. The judgement is pure; reading is in view_read.c. */
#ifndef TOOLS_LIB_VIEW_H
#define TOOLS_LIB_VIEW_H

#include "common/base/base.h"
#include "tools/lib/group_lag.h"
#include "tools/lib/topics.h"

struct view_dir {
    const char *path;
    int16_t error;                     /* KE_NONE: online */
    int64_t bytes;                     /* of all partitions in it */
    int64_t total_bytes, usable_bytes; /* of the file system; -1: not told */
};
struct view_broker {
    int32_t id;
    const char *host; /* "" when it is not registered */
    int32_t port;
    const char *rack;        /* NULL: none */
    bool is_live;            /* registered */
    const char *unreachable; /* why it does not answer from here; NULL: it does, or was not asked */
    const char
        *no_zookeeper; /* what it says of ZooKeeper being away; NULL: it is not, or no word */
    struct view_dir *dirs;
    int32_t dir_count;
    /* by view_judge() */
    int32_t leaders;     /* partitions that it leads */
    int32_t preferred;   /* partitions whose first replica it is */
    int32_t not_leading; /* of those, led by another although it is in the ISR */
    int32_t replicas;    /* that it holds */
    int32_t missing;     /* of those, not in the ISR */
};
struct view_topic {
    struct topic_info info;
    int64_t bytes; /* over all replicas; -1: not known */
    /* by view_judge() */
    int32_t under_replicated, below_min_isr, offline;
};
enum view_severity { VIEW_NOTE, VIEW_PROBLEM };
struct view_finding {
    enum view_severity severity;
    const char *what; /* "3 partitions have no leader: t-0, t-1, t-2" */
    const char *cure; /* what to do */
};
struct view {
    const char *cluster_id; /* "" when not known */
    int32_t controller_id;  /* -1: none */
    struct view_broker *brokers;
    int32_t broker_count;
    struct view_topic *topics; /* by name */
    int32_t topic_count;
    struct group_lags groups; /* of consumers; by group_lags_read() */
    /* by view_judge() */
    int32_t partitions, replicas, under_replicated, below_min_isr, offline;
    struct view_finding *findings;
    int32_t finding_count;
    bool is_healthy;
};

/* Brokers that only assignments name are added as not live; counts and findings are filled. The
 * arena holds the results. */
void view_judge(struct view *v, struct arena *a);

/* The page, and the same as one JSON object with a newline. */
void view_print(const struct view *v, bool all_topics, struct buf *out);
void view_print_json(const struct view *v, struct buf *out);

/* Reads a cluster through a broker, or from ZooKeeper, without log directories. What v points to
 * lives in the arena. Errors come with text. */
struct admin;
struct coord;

NODISCARD enum err view_read(struct admin *a, struct arena *arena, struct view *out,
                             struct errtext *why);
NODISCARD enum err view_read_zookeeper(struct coord *c, struct arena *arena, struct view *out,
                                       struct errtext *why);
/* Log directories of the live brokers, into brokers[] and topics[], and whether they have
 * ZooKeeper; a broker that does not answer is marked. */
void view_read_dirs(struct admin *a, struct arena *arena, struct view *v);

#endif
