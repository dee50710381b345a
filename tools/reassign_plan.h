/* SPDX-License-Identifier: Apache-2.0 */
/* reassign_plan - where replicas are and where they shall go: the JSON files of
 * kafuka-reassign-partitions, proposals, and the values of replication throttles. Pure; everything
 * made lives in the arena that the caller gives. */
#ifndef TOOLS_REASSIGN_PLAN_H
#define TOOLS_REASSIGN_PLAN_H

#include "common/base/base.h"
#include "controller/placement.h"

#include <jansson.h>

struct reassign_ids {
    const int32_t *ids;
    int32_t count;
};
/* One partition. adding and removing are filled only for a reassignment that is under way, as
 * ListPartitionReassignments tells it: replicas then holds all of them. */
struct reassign_part {
    const char *topic;
    int32_t partition;
    struct reassign_ids replicas, adding, removing;
    const char *log_dir; /* the first that a file names and that is not "any"; NULL: none */
};
struct reassign_plan {
    struct reassign_part *parts;
    int32_t count;
};

/* The file of --reassignment-json-file. INVALID with text that names the entry. */
NODISCARD enum err reassign_parse(const json_t *root, struct arena *a, struct reassign_plan *out,
                                  struct errtext *why);
/* What --execute refuses, in Kafka's words: no partitions, no replicas, duplicates. p: sorted. */
NODISCARD enum err reassign_check(const struct reassign_plan *p, struct errtext *why);
/* The file of --topics-to-move-json-file, sorted. INVALID with text, also for a topic that stands
 * there twice. */
NODISCARD enum err reassign_parse_topics(const json_t *root, struct arena *a,
                                         const char ***names_out, int32_t *count_out,
                                         struct errtext *why);
/* "0,1,2". INVALID with text, also for a broker that stands there twice. */
NODISCARD enum err reassign_parse_brokers(const char *text, struct arena *a, int32_t **ids_out,
                                          int32_t *count_out, struct errtext *why);

void reassign_sort(struct reassign_plan *p); /* by topic and partition */
/* NULL: not in the plan. p: sorted. */
struct reassign_part *reassign_find(const struct reassign_plan *p, const char *topic,
                                    int32_t partition);
bool reassign_same(struct reassign_ids a, struct reassign_ids b);
bool reassign_has(struct reassign_ids list, int32_t id);
void reassign_print_ids(struct reassign_ids list, struct buf *out); /* "0,1,2" */
/* One line of JSON as Kafka writes it, which --reassignment-json-file reads; no line end. */
void reassign_print_json(const struct reassign_plan *p, struct buf *out);

/* New replicas for all partitions of the topics in current (sorted) on these brokers, each topic
 * with as many replicas as its first partition has; the next topic begins with the broker after
 * the last one's, so that leaders are spread evenly. INVALID with text (placement_assign). */
NODISCARD enum err reassign_propose(const struct reassign_plan *current,
                                    const struct placement_broker *brokers, int32_t broker_count,
                                    struct arena *a, struct reassign_plan *out,
                                    struct errtext *why);

/* Which broker copies from which, in the moves under way and in the proposed ones. Where both
 * concern a partition, its destinations are the proposed ones. */
struct reassign_flow {
    const char *topic;
    int32_t partition;
    struct reassign_ids sources, destinations;
};
/* All plans are sorted; so are the flows. */
void reassign_flows(const struct reassign_plan *under_way, const struct reassign_plan *proposed,
                    const struct reassign_plan *current, struct arena *a,
                    struct reassign_flow **out, int32_t *count_out);
/* "0:1,0:2,1:0" (partition:broker, in Kafka's order) of the flows of one topic. */
void reassign_print_throttled(const struct reassign_flow *flows, int32_t count, bool of_sources,
                              struct buf *out);

#endif
