/* SPDX-License-Identifier: Apache-2.0 */
/* metadata - what this broker knows of the cluster (from the controller's UpdateMetadata), as
 * immutable snapshots in two levels: a table of topics in shards, each topic a counted object. A
 * change copies the table's root, the shards and the topics it names, and nothing else. Each loop
 * holds its own reference and is handed the next one by mail (metadata_cache.h); UpdateMetadata is
 * answered when every loop has switched. */
#ifndef BROKER_CLUSTER_METADATA_H
#define BROKER_CLUSTER_METADATA_H

#include "common/base/base.h"
#include "common/base/uuid.h"

struct metadata_endpoint {
    char *listener; /* "PLAINTEXT" */
    char *host;
    int32_t port;
    int16_t security_protocol; /* 0 PLAINTEXT, 1 SSL, 2 SASL_PLAINTEXT, 3 SASL_SSL */
};
struct metadata_broker {
    int32_t id;
    char *rack; /* NULL: none */
    struct metadata_endpoint *endpoints;
    int32_t endpoint_count;
};
struct metadata_partition {
    int32_t leader; /* -1: none */
    int32_t leader_epoch;
    int32_t controller_epoch;
    int32_t partition_epoch; /* zkVersion */
    int32_t *replicas;
    int32_t replica_count;
    int32_t *isr;
    int32_t isr_count;
    int32_t *offline;
    int32_t offline_count;
    bool exists; /* partitions are kept in an array by index; false where the controller has not
                    named one */
};
struct metadata_topic {
    _Atomic int64_t refs;
    struct str name; /* owned */
    struct uuid id;
    struct metadata_partition *partitions;
    int32_t partition_count;
};
struct metadata; /* snapshot, counted */
struct kp_UpdateMetadataRequest;

enum {
    METADATA_LEADER_NONE = -1,
    METADATA_LEADER_DELETED = -2,     /* on the wire only: forget the partition */
    METADATA_PARTITIONS_MAX = 1 << 20 /* of one topic; a higher index is refused */
};

/* A snapshot that knows nothing: no brokers, no topics, controller -1. */
struct metadata *metadata_new(void);
/* The snapshot after one UpdateMetadata: its brokers and controller replace the old ones, its
 * partitions are merged (a leader of -2 takes the partition out, a new topic id starts the topic
 * afresh, type 2 starts from nothing). old stays as it is and keeps its reference. INVALID with
 * text: an index or an id that cannot be. Any thread. */
NODISCARD enum err metadata_apply(struct metadata *old, const struct kp_UpdateMetadataRequest *req,
                                  struct metadata **out, struct errtext *why);

struct metadata *metadata_ref(struct metadata *m);
void metadata_unref(struct metadata **m);
/* Borrowed for as long as m is held; NULL when unknown. Cost independent of the number of topics.
 */
const struct metadata_topic *metadata_topic(const struct metadata *m, struct str name);
const struct metadata_topic *metadata_topic_by_id(const struct metadata *m, struct uuid id);
const struct metadata_partition *metadata_partition(const struct metadata *m, struct str topic,
                                                    int32_t partition);
/* The same of a topic that is at hand; t may be NULL. */
const struct metadata_partition *metadata_partition_of(const struct metadata_topic *t,
                                                       int32_t partition);
const struct metadata_broker *metadata_broker(const struct metadata *m, int32_t id);
/* The broker's endpoint on a listener; NULL when it has none. */
const struct metadata_endpoint *metadata_endpoint(const struct metadata_broker *b,
                                                  const char *listener);
int32_t metadata_controller_id(const struct metadata *m); /* -1: unknown */
int32_t metadata_broker_count(const struct metadata *m);
const struct metadata_broker *metadata_broker_at(const struct metadata *m,
                                                 int32_t i); /* sorted by id */
int32_t metadata_topic_count(const struct metadata *m);
/* Topics in table order, for "all topics": i from 0 to metadata_topic_count - 1. */
const struct metadata_topic *metadata_topic_at(const struct metadata *m, int32_t i);

#endif
