/* SPDX-License-Identifier: Apache-2.0 */
/* coordinator - the group coordinators of this broker: one shard for each partition of
 * __consumer_offsets that it leads, loaded from the log, owned by one loop, and stepped there.
 *
 * Handlers (broker/api) send a trip: the part of a request that each shard has to answer, carried
 * from loop to loop and back. README tells the whole. */
#ifndef BROKER_GROUP_COORDINATOR_H
#define BROKER_GROUP_COORDINATOR_H

#include "broker/broker.h"
#include "broker/group/group_core.h"
#include "broker/server/request.h"
#include "common/base/base.h"

struct coordinator;
struct kp_UpdateMetadataRequest;
struct metadata;

#define OFFSETS_TOPIC "__consumer_offsets"

/* Makes broker->groups. Main thread, when loops, pool, replicas and metadata are there. */
void coordinator_start(struct broker *b);
/* Main thread, while loops and pool run and all connections are closed: whoever waits is answered,
 * loads end, nothing is appended any more. */
void coordinator_quit(struct coordinator *c);
/* After the loops have ended. NULL-safe. */
void coordinator_free(struct coordinator **c);

/* replicas_options.role_changed, any topic; any thread. NULL-safe: before the start nothing leads.
 */
void coordinator_role_changed(struct coordinator *c, struct str topic, int32_t partition);
/* An UpdateMetadata was applied, and `now` is its result: the offsets of topics that are gone go.
 * Any thread. */
void coordinator_metadata_changed(struct coordinator *c, const struct kp_UpdateMetadataRequest *req,
                                  const struct metadata *now);

/* How many partitions the groups are spread over: that of the topic when this loop first saw it,
 * or, without a topic, offsets.topic.num.partitions. Loop thread. */
int32_t coordinator_partition_count(struct coordinator *c, const struct metadata *now);
/* Of which of count partitions is it the group? Any thread. KAFKA:
 * GroupMetadataManager.partitionFor
 */
int32_t coordinator_partition_of(struct str group, int32_t count);

/* ---- trips */

struct group_trip;

/* One question to one shard. Zeroed memory that lives as long as the request. Either event (of kind
 * GEV_JOIN to GEV_DELETE_GROUP; times and call are set for it) and replied, or ask. */
struct group_call {
    unsigned magic;
    struct group_trip *trip;
    int32_t partition;
    /* afterwards: KE_NONE: replied or ask was called. COORDINATOR_NOT_AVAILABLE (stopping),
     * COORDINATOR_LOAD_IN_PROGRESS (or too many calls wait), NOT_COORDINATOR: it was not. */
    int16_t error;
    struct group_event event;
    /* On the shard's loop. What they are given dies with their return: copied into the request's
     * arena. Of the request they may use nothing but arena, body, api_version. */
    void (*replied)(struct group_call *c, const struct group_reply *reply);
    void (*ask)(struct group_call *c, const struct group_core *core);
    TAILQ_ENTRY(group_call) link;
};

/* One request's way over the loops; the arena goes with it, so only one loop works on it at a time.
 * A client that disconnects meanwhile changes nothing: the calls run to their end. */
struct group_trip {
    unsigned magic;
    struct coordinator *coordinator;
    struct request *request;
    TAILQ_HEAD(, group_call) calls;
    int at; /* loop */
    int32_t waiting;
    struct mail mail;
    TAILQ_ENTRY(group_trip) link; /* the loop's ended ones */
    /* Every loop is visited, and each of its shards; core NULL: it is being loaded. May be NULL. */
    void (*visit)(struct group_trip *t, const struct group_core *core);
    /* On the request's loop; ends the request. */
    void (*finish)(struct group_trip *t);
    void *arg; /* the handler's */
};
void group_trip_init(struct group_trip *t, struct request *r, void (*finish)(struct group_trip *t));
/* The call is zeroed but for event and the functions. Without the topic there is no coordinator:
 * the call then has its error already. */
void group_trip_add(struct group_trip *t, struct group_call *c, struct str group);
/* Takes the request over; finish may run before this returns. */
void group_trip_start(struct group_trip *t);

/* ---- for people */

/* The rebalances of a group as JSON, appended to out. False: it is not coordinated here; out then
 * has a JSON error that names the broker. Any thread but the loops. */
bool coordinator_history_json(struct coordinator *c, struct str group, struct buf *out);
/* Numbers for /metrics. Any thread but the loops. */
void coordinator_print_metrics(struct coordinator *c, struct buf *out);

#endif
