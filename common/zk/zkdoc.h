/* SPDX-License-Identifier: Apache-2.0 */
/* zkdoc - the documents in the znodes, typed: parse and format, nothing else. Pure, any thread.
 *
 * Parsing takes any bytes: what is broken (no JSON, a wrong type, a number out of range, nesting
 * over ZKDOC_DEPTH_MAX, over ZKDOC_BYTES_MAX) is CORRUPT with text; unknown keys are ignored; keys
 * that Kafka's readers treat as optional may be missing. What a document points to lives in the
 * caller's arena. Formatting appends compact JSON with the keys in the order that Kafka 3.9 writes
 * them. See zookeeper-layout in the Kafka documentation of znodes and README.md. */
#ifndef COMMON_ZK_ZKDOC_H
#define COMMON_ZK_ZKDOC_H

#include "common/base/base.h"
#include "common/base/uuid.h"

enum {
    ZKDOC_BYTES_MAX = 4 << 20,
    ZKDOC_DEPTH_MAX = 16,
    ZKDOC_PARTITIONS_MAX = 1 << 20,  /* of one document */
    ZKDOC_REPLICAS_MAX = 1000,       /* of one partition */
    ZKDOC_SUBSCRIPTIONS_MAX = 10000, /* topics of one member of a group */
    ZKDOC_STREAMS_MAX = 10000,       /* of one member and topic */
};

/* Security protocols as numbered in the protocol. */
enum { ZKDOC_PLAINTEXT = 0, ZKDOC_SSL = 1, ZKDOC_SASL_PLAINTEXT = 2, ZKDOC_SASL_SSL = 3 };
const char *zkdoc_protocol_name(int16_t protocol); /* "SASL_SSL"; NULL: no such */
bool zkdoc_protocol_parse(const char *name, int16_t *out);

struct zkdoc_kv {
    const char *key, *value; /* value never NULL */
};

/* ---- /brokers/ids/N: versions 1 to 5 are read, 5 is written */
struct zkdoc_endpoint {
    const char *listener; /* "PLAINTEXT" */
    const char *host;     /* without brackets; "" for none */
    int32_t port;
    int16_t protocol;
};
struct zkdoc_feature {
    const char *name;
    int16_t min_version, max_version;
};
struct zkdoc_broker {
    int32_t version;  /* read: as found; not used by format */
    const char *host; /* of the first PLAINTEXT endpoint; NULL: none */
    int32_t port;     /* -1: none */
    int32_t jmx_port; /* -1: off */
    int64_t timestamp_ms;
    const char *rack; /* NULL: none */
    struct zkdoc_endpoint *endpoints;
    int32_t endpoint_count;
    struct zkdoc_feature *features;
    int32_t feature_count;
};
NODISCARD enum err zkdoc_broker_parse(struct bytes data, struct arena *a, struct zkdoc_broker *out,
                                      struct errtext *why);
/* host and port are derived from the endpoints; those of d are not looked at. */
void zkdoc_broker_format(const struct zkdoc_broker *d, struct buf *out);
const struct zkdoc_endpoint *zkdoc_broker_endpoint(const struct zkdoc_broker *d,
                                                   const char *listener); /* NULL: none */

/* ---- /controller (version 2 written; only brokerid is needed when read) */
struct zkdoc_controller {
    int32_t broker_id;
    int64_t timestamp_ms;
    int32_t kraft_controller_epoch; /* -1: none; > 0: a KRaft controller has taken the cluster */
};
NODISCARD enum err zkdoc_controller_parse(struct bytes data, struct zkdoc_controller *out,
                                          struct errtext *why);
void zkdoc_controller_format(const struct zkdoc_controller *d, struct buf *out);

/* ---- /controller_epoch, and old consumers' offsets: a plain decimal number */
NODISCARD enum err zkdoc_number_parse(struct bytes data, int64_t min, int64_t max, int64_t *out,
                                      struct errtext *why);
void zkdoc_number_format(int64_t n, struct buf *out);

/* ---- /brokers/topics/T: versions 1 to 3 are read, 3 is written */
struct zkdoc_partition {
    int32_t index;
    int32_t replica_count, adding_count, removing_count;
    const int32_t *replicas, *adding, *removing; /* order matters: the first is preferred leader */
};
struct zkdoc_topic {
    struct uuid topic_id;               /* zero: none */
    struct zkdoc_partition *partitions; /* rising index; usually 0..count-1, not by force */
    int32_t partition_count;
};
NODISCARD enum err zkdoc_topic_parse(struct bytes data, struct arena *a, struct zkdoc_topic *out,
                                     struct errtext *why);
void zkdoc_topic_format(const struct zkdoc_topic *d, struct buf *out);
/* By binary search; NULL: none. */
const struct zkdoc_partition *zkdoc_topic_partition(const struct zkdoc_topic *d, int32_t index);

/* ---- /brokers/topics/T/partitions/P/state */
struct zkdoc_state {
    int32_t leader; /* -1: none */
    int32_t leader_epoch, controller_epoch;
    int8_t leader_recovery_state; /* 0 recovered, 1 after an unclean election; written only if 1 */
    const int32_t *isr;
    int32_t isr_count;
};
NODISCARD enum err zkdoc_state_parse(struct bytes data, struct arena *a, struct zkdoc_state *out,
                                     struct errtext *why);
void zkdoc_state_format(const struct zkdoc_state *d, struct buf *out);

/* ---- /config/<type>/<entity>. Null data or no "config" is empty. Read sorted by key. */
struct zkdoc_config {
    struct zkdoc_kv *entries;
    int32_t count;
};
NODISCARD enum err zkdoc_config_parse(struct bytes data, struct arena *a, struct zkdoc_config *out,
                                      struct errtext *why);
void zkdoc_config_format(const struct zkdoc_config *d, struct buf *out);
const char *zkdoc_config_value(const struct zkdoc_config *d, const char *key); /* NULL: not set */

/* ---- /config/changes/config_change_N: versions 1 and 2 are read, 2 is written */
struct zkdoc_config_change {
    const char *type; /* "topics", "brokers", "clients", "users", "ips" */
    const char *name; /* as the znode is named; of users also "U/clients/C" */
};
NODISCARD enum err zkdoc_config_change_parse(struct bytes data, struct arena *a,
                                             struct zkdoc_config_change *out, struct errtext *why);
void zkdoc_config_change_format(const struct zkdoc_config_change *d, struct buf *out);

/* ---- /cluster/id */
NODISCARD enum err zkdoc_cluster_id_parse(struct bytes data, struct arena *a, const char **id_out,
                                          struct errtext *why);
void zkdoc_cluster_id_format(const char *id, struct buf *out);

/* ---- lists of partitions: /admin/reassign_partitions (with replicas),
 * /admin/preferred_replica_election and /isr_change_notification/isr_change_N (without) */
struct zkdoc_topic_partition {
    const char *topic;
    int32_t partition;
    const int32_t *replicas; /* NULL: none given */
    int32_t replica_count;
};
struct zkdoc_partition_list {
    struct zkdoc_topic_partition *items;
    int32_t count;
};
NODISCARD enum err zkdoc_partition_list_parse(struct bytes data, struct arena *a,
                                              struct zkdoc_partition_list *out,
                                              struct errtext *why);
/* with_replicas: the form of reassign_partitions. */
void zkdoc_partition_list_format(const struct zkdoc_partition_list *d, bool with_replicas,
                                 struct buf *out);

/* ---- /log_dir_event_notification/log_dir_event_N */
struct zkdoc_log_dir_event {
    int32_t broker_id;
    int32_t event; /* 1: a log directory failed */
};
NODISCARD enum err zkdoc_log_dir_event_parse(struct bytes data, struct zkdoc_log_dir_event *out,
                                             struct errtext *why);
void zkdoc_log_dir_event_format(const struct zkdoc_log_dir_event *d, struct buf *out);

/* ---- /latest_producer_id_block: null or empty data is NOT_FOUND (the node exists from the start)
 */
struct zkdoc_producer_id_block {
    int32_t broker_id;
    int64_t first_id, last_id;
};
NODISCARD enum err zkdoc_producer_id_block_parse(struct bytes data,
                                                 struct zkdoc_producer_id_block *out,
                                                 struct errtext *why);
void zkdoc_producer_id_block_format(const struct zkdoc_producer_id_block *d, struct buf *out);

/* ---- /feature: version 2 is written */
struct zkdoc_features {
    int32_t status;                 /* 0 disabled, 1 enabled */
    struct zkdoc_feature *features; /* max_version is the level; min_version of version 1 nodes */
    int32_t feature_count;
};
NODISCARD enum err zkdoc_features_parse(struct bytes data, struct arena *a,
                                        struct zkdoc_features *out, struct errtext *why);
void zkdoc_features_format(const struct zkdoc_features *d, struct buf *out);

/* ---- /consumers/G/ids/ID: a member of a ZooKeeper consumer group (version 1). Kafka's own
 * consumers do not write "assignment" and ignore it; it comes last, only as "ceil". */
enum zkdoc_pattern { ZKDOC_STATIC, ZKDOC_WHITE_LIST, ZKDOC_BLACK_LIST };
const char *zkdoc_pattern_name(enum zkdoc_pattern p); /* "white_list" */
struct zkdoc_subscription {
    const char *name; /* a topic; of a filter the regular expression */
    int32_t streams;
};
struct zkdoc_consumer {
    enum zkdoc_pattern pattern;
    struct zkdoc_subscription *subscriptions; /* of a filter exactly one */
    int32_t subscription_count;
    int64_t timestamp_ms; /* -1: none given */
    bool is_ceil;         /* knows the ceil rule of range assignment */
};
NODISCARD enum err zkdoc_consumer_parse(struct bytes data, struct arena *a,
                                        struct zkdoc_consumer *out, struct errtext *why);
void zkdoc_consumer_format(const struct zkdoc_consumer *d, struct buf *out);

/* ---- /consumers/G/owners/T/P: "<consumer id>-<stream>", no JSON. (/consumers/G/offsets/T/P is a
 * zkdoc_number.) */
struct zkdoc_owner {
    const char *consumer_id;
    int32_t stream;
};
NODISCARD enum err zkdoc_owner_parse(struct bytes data, struct arena *a, struct zkdoc_owner *out,
                                     struct errtext *why);
void zkdoc_owner_format(const struct zkdoc_owner *d, struct buf *out);

#endif
