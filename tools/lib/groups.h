/* SPDX-License-Identifier: Apache-2.0 */
/* groups - consumer groups as the tools see them, whichever way they are kept: by a coordinating
 * broker or in ZooKeeper. One command, one thread; what is returned lives in the arena given, or in
 * the admin's. */
#ifndef TOOLS_LIB_GROUPS_H
#define TOOLS_LIB_GROUPS_H

#include "common/zk/coord.h"
#include "tools/lib/admin.h"

enum group_kind { GROUP_OF_BROKERS, GROUP_OF_ZOOKEEPER };

struct group_listing {
    const char *name;
    enum group_kind kind;
    const char *type;  /* "Classic", "Consumer", "ZooKeeper" */
    const char *state; /* "Stable"; "" when the brokers do not tell */
};
struct group_partition {
    const char *topic;
    int32_t partition;
};
struct group_member {
    const char *id;
    const char *instance_id; /* NULL: none */
    const char *client_id, *host;
    struct group_partition *partitions; /* by topic and partition */
    int32_t partition_count;
};
/* What a group has committed for a partition. */
struct group_commit {
    const char *topic;
    int32_t partition;
    int64_t offset;
};
struct group {
    const char *name;
    enum group_kind kind;
    int16_t error;     /* KE_NONE, or why nothing is known: GROUP_ID_NOT_FOUND, ... */
    const char *why;   /* the same in words; NULL: the code's own */
    const char *state; /* "Stable", "Empty", "Dead": it does not exist, ... */
    const char *assignor;
    int32_t coordinator; /* -1: none known */
    const char *coordinator_host;
    int32_t coordinator_port;
    struct group_member *members;
    int32_t member_count;
    struct group_commit *commits; /* by topic and partition */
    int32_t commit_count;
    struct group_partition *others; /* GROUP_OF_ZOOKEEPER: of its topics, neither owned nor
                                       committed */
    int32_t other_count;
};
bool group_exists(const struct group *g);
/* NULL: nothing committed for it. */
const struct group_commit *group_find_commit(const struct group *g, const char *topic,
                                             int32_t partition);
/* Has some member the partition? */
bool group_is_assigned(const struct group *g, const char *topic, int32_t partition);

/* ---- through the brokers. deadline_ms (of the monotonic clock) ends the asking again while a
 * coordinator loads or moves; a call that is under way ends by the admin's own timeout. */

/* All groups of consumers, by name. A broker that does not answer: its reason in why, the rest of
 * the list all the same; UNREACHABLE. */
NODISCARD enum err groups_list(struct admin *a, int64_t deadline_ms, struct group_listing **out,
                               int32_t *count_out, struct errtext *why);
/* State and members of groups[i].name; fills error of each. Fails only when nobody answers. */
NODISCARD enum err groups_describe(struct admin *a, int64_t deadline_ms, struct group *groups,
                                   int32_t count, struct errtext *why);
/* What groups[i] have committed; a group with an error is left out. */
NODISCARD enum err groups_read_commits(struct admin *a, int64_t deadline_ms, struct group *groups,
                                       int32_t count, struct errtext *why);
/* Commits offsets without being a member, which a coordinator takes only for groups that have none.
 * commits are sorted. Returns the error of the whole request; when that is KE_NONE, errors[i] is
 * the error of commits[i]. */
NODISCARD int16_t groups_commit(struct admin *a, int64_t deadline_ms, const char *name,
                                const struct group_commit *commits, int32_t count, int16_t *errors);
NODISCARD int16_t groups_delete(struct admin *a, int64_t deadline_ms, const char *name);
/* Deletes what the group has committed for list[i]. Errors as of groups_commit. */
NODISCARD int16_t groups_delete_offsets(struct admin *a, int64_t deadline_ms, const char *name,
                                        const struct group_partition *list, int32_t count,
                                        int16_t *errors);
/* The broker that coordinates the group. A code with text. */
NODISCARD int16_t groups_coordinator(struct admin *a, int64_t deadline_ms, const char *name,
                                     int32_t *node_out, struct errtext *why);
/* A configuration of a broker as it tells it; NULL: unset, or it does not tell. */
const char *groups_broker_config(struct admin *a, int32_t node, const char *key);

/* Where the brokers say that their ZooKeeper is; NULL: they have none, or do not tell. */
const char *groups_zookeeper_of(struct admin *a);

/* ---- through ZooKeeper: /consumers. UNREACHABLE with text when it does not answer. */
NODISCARD enum err zk_groups_list(struct coord *zk, struct arena *a, struct group_listing **out,
                                  int32_t *count_out, struct errtext *why);
/* Registrations, owners and offsets; a group that is not there has error GROUP_ID_NOT_FOUND and
 * state "Dead". An offset that another program wrote and that is no number is left out, and why
 * says so although OK is returned. */
NODISCARD enum err zk_group_read(struct coord *zk, struct arena *a, const char *name,
                                 struct group *out, struct errtext *why);
/* Of a group without members (the caller has looked). */
NODISCARD enum err zk_group_commit(struct coord *zk, const char *name,
                                   const struct group_commit *commits, int32_t count,
                                   struct errtext *why);
NODISCARD enum err zk_group_delete(struct coord *zk, const char *name, struct errtext *why);
/* Offsets and owners of one partition, or of a topic (partition -1). NOT_FOUND without text. */
NODISCARD enum err zk_group_delete_offset(struct coord *zk, const char *name, const char *topic,
                                          int32_t partition, struct errtext *why);

/* For qsort. */
int group_partition_order(const void *x, const void *y);
int group_commit_order(const void *x, const void *y);
int group_listing_order(const void *x, const void *y);

#endif
