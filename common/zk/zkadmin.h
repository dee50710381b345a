/* SPDX-License-Identifier: Apache-2.0 */
/* zkadmin - what administration does to znodes: topics, configs, brokers, elections. Blocking: for
 * the broker's io threads and for tools, never on a loop. Any such thread.
 *
 * Functions give Kafka's error codes (KE_NONE is success) and, for each failure, a text that a
 * person can act on. Pipelined where there may be many. No connection: REQUEST_TIMED_OUT after the
 * coord's connection timeout; a write whose answer was lost is read again and decided, and is
 * REQUEST_TIMED_OUT only if that is not possible. Results live in the caller's arena. */
#ifndef COMMON_ZK_ZKADMIN_H
#define COMMON_ZK_ZKADMIN_H

#include "common/base/base.h"
#include "common/zk/coord.h"
#include "common/zk/zkdoc.h"

#define ZKADMIN_DEFAULT_ENTITY "<default>"

/* ---- topics */

/* INVALID_TOPIC_EXCEPTION with text unless topic_name_is_valid(). */
NODISCARD int16_t zkadmin_check_topic_name(const char *name, struct errtext *why);
/* True when the names differ only in '.' against '_' (their metrics would have one name). */
bool zkadmin_names_collide(const char *a, const char *b);

struct zkadmin_new_topic {
    const char *name;
    const struct zkdoc_partition *partitions; /* index 0..count-1 in order, replicas */
    int32_t partition_count;
    const struct zkdoc_kv *configs; /* checked by the caller */
    int32_t config_count;
    struct uuid topic_id; /* zero: none is written (as the old --zookeeper tools; the controller
                             adds one) */
    bool validate_only;
};
/* Writes /config/topics/T, then /brokers/topics/T. INVALID_TOPIC_EXCEPTION (also a collision with
 * an existing topic), TOPIC_ALREADY_EXISTS (also when marked for deletion; the text says so),
 * INVALID_PARTITIONS, INVALID_REPLICA_ASSIGNMENT (duplicate broker, different replica counts). Live
 * brokers are the caller's to check. */
NODISCARD int16_t zkadmin_create_topic(struct coord *c, const struct zkadmin_new_topic *t,
                                       struct errtext *why);
/* Creates /admin/delete_topics/T. UNKNOWN_TOPIC_OR_PARTITION; already marked is KE_NONE. */
NODISCARD int16_t zkadmin_delete_topic(struct coord *c, const char *name, struct errtext *why);
/* Adds added[] (index = current count and up) to the topic, conditionally on what was read.
 * UNKNOWN_TOPIC_OR_PARTITION, REASSIGNMENT_IN_PROGRESS, INVALID_PARTITIONS (not more than now: the
 * count changed meanwhile), INVALID_REPLICA_ASSIGNMENT. */
NODISCARD int16_t zkadmin_add_partitions(struct coord *c, const char *name,
                                         const struct zkdoc_partition *added, int32_t added_count,
                                         bool validate_only, struct errtext *why);
/* Names, sorted by bytes. */
NODISCARD int16_t zkadmin_list_topics(struct coord *c, struct arena *a, const char ***names_out,
                                      int32_t *count_out, struct errtext *why);
/* Topics marked for deletion, sorted. */
NODISCARD int16_t zkadmin_list_deletions(struct coord *c, struct arena *a, const char ***names_out,
                                         int32_t *count_out, struct errtext *why);
/* UNKNOWN_TOPIC_OR_PARTITION when there is none. version_out may be NULL. */
NODISCARD int16_t zkadmin_read_topic(struct coord *c, const char *name, struct arena *a,
                                     struct zkdoc_topic *out, int32_t *version_out,
                                     struct errtext *why);
struct zkadmin_topic {
    const char *name;
    int16_t error; /* UNKNOWN_TOPIC_OR_PARTITION: gone meanwhile */
    struct zkdoc_topic doc;
};
/* Many topics at once; topics[i].name is given. Fails only when nothing can be read. */
NODISCARD int16_t zkadmin_read_topics(struct coord *c, struct zkadmin_topic *topics, int32_t count,
                                      struct arena *a, struct errtext *why);

struct zkadmin_state {
    const char *topic; /* given */
    int32_t partition; /* given */
    int16_t error;     /* LEADER_NOT_AVAILABLE: no state yet; UNKNOWN_SERVER_ERROR: broken */
    int32_t version;   /* of the znode: the partition epoch */
    struct zkdoc_state doc;
};
NODISCARD int16_t zkadmin_partition_states(struct coord *c, struct zkadmin_state *states,
                                           int32_t count, struct arena *a, struct errtext *why);

/* ---- brokers and the cluster */

struct zkadmin_broker {
    int32_t id;
    int64_t epoch; /* czxid */
    struct zkdoc_broker doc;
};
/* Registered brokers, by rising id. A broken registration is left out with a log line. */
NODISCARD int16_t zkadmin_brokers(struct coord *c, struct arena *a,
                                  struct zkadmin_broker **brokers_out, int32_t *count_out,
                                  struct errtext *why);
/* -1: none at the moment. */
NODISCARD int16_t zkadmin_controller(struct coord *c, int32_t *broker_id_out, struct errtext *why);
NODISCARD int16_t zkadmin_cluster_id(struct coord *c, struct arena *a, const char **id_out,
                                     struct errtext *why);

/* ---- configs. type: "topics", "brokers", "clients", "users", "ips"; name: as the znode is named
 * (sanitized), ZKADMIN_DEFAULT_ENTITY, of users also "U/clients/C". */

/* Empty when there is no such entity. */
NODISCARD int16_t zkadmin_read_entity_config(struct coord *c, const char *type, const char *name,
                                             struct arena *a, struct zkdoc_config *out,
                                             struct errtext *why);
/* Entities of a type that have a config node, sorted; of users only the first level. */
NODISCARD int16_t zkadmin_list_entities(struct coord *c, const char *type, struct arena *a,
                                        const char ***names_out, int32_t *count_out,
                                        struct errtext *why);
struct zkadmin_entity {
    const char *name; /* given */
    int16_t error;
    struct zkdoc_config config;
};
NODISCARD int16_t zkadmin_read_entity_configs(struct coord *c, const char *type,
                                              struct zkadmin_entity *entities, int32_t count,
                                              struct arena *a, struct errtext *why);
/* Replaces the whole config of an entity and writes the change notification.
 * with_controller_check: brokers' way, the set is one multi with a check of /controller's version
 * (NOT_CONTROLLER: no controller at the moment, or a KRaft controller rules); tools go without. */
NODISCARD int16_t zkadmin_set_entity_config(struct coord *c, const char *type, const char *name,
                                            const struct zkdoc_config *config,
                                            bool with_controller_check, struct errtext *why);
/* The node name of a user, client id: URL encoding as Kafka does it. */
void zkadmin_sanitize(const char *name, struct buf *out);

/* ---- requests of the old tools to the controller. REASSIGNMENT_IN_PROGRESS, or for elections
 * INVALID_REQUEST: an earlier one has not been taken up yet. */
NODISCARD int16_t zkadmin_start_reassignment(struct coord *c,
                                             const struct zkdoc_partition_list *list,
                                             struct errtext *why);
NODISCARD int16_t zkadmin_start_preferred_election(struct coord *c,
                                                   const struct zkdoc_partition_list *list,
                                                   struct errtext *why);

#endif
