/* SPDX-License-Identifier: Apache-2.0 */
/* api - what the handlers of requests share, and what they keep between requests. The table of the
 * requests that this broker answers is api_table.c, the handlers are declared in handlers.h.
 *
 * A handler is called on the connection's loop with a decoded request, owns it and ends it with one
 * of the request_reply functions (broker/server/request.h). */
#ifndef BROKER_API_API_H
#define BROKER_API_API_H

#include "broker/broker.h"
#include "broker/server/dispatch.h"
#include "broker/cluster/metadata.h"
#include "broker/cluster/metadata_cache.h"
#include "broker/server/request.h"
#include "common/base/base.h"
#include "common/base/lock.h"
#include "common/base/uuid.h"

struct api;
struct fetch_session_cache;
struct new_topics;
struct producer_ids;

/* Makes broker->metadata and broker->api. Before requests come; loops and config exist. */
void api_start(struct broker *b);
/* Main thread, while the loops run and all connections are closed: ends what is under way on them.
 */
void api_quit(struct broker *b);
/* When the loops have ended. NULL-safe. */
void api_stop(struct broker *b);

/* ---- for the handlers */

/* The snapshot of the request's loop; borrowed for this turn. */
struct metadata *metadata_current(const struct request *r);
/* Runs serve(r): now, or, while this broker has not been told of the cluster (the milliseconds
 * between listening and the controller's first UpdateMetadata that says what there is), when it has
 * or after 3 s. */
void api_when_informed(struct request *r, void (*serve)(struct request *r));
/* Zeroed memory that dies with the request. NULL at the request's memory limit: end the request
 * with api_no_memory. */
void *api_alloc(struct request *r, size_t count, size_t size);
void api_no_memory(struct request *r);
/* More memory for an answer whose size the cluster decides, not the client; or one that stands in a
 * fixed proportion to what was decoded within the limit. */
void api_raise_limit(struct request *r, size_t count, size_t size);
/* A copy that dies with the request; "" when there is no memory. */
struct str api_strdup(struct request *r, const char *text);
/* The same of a borrowed string, terminated; NULL when there is no memory. */
const char *api_strdup_str(struct request *r, struct str s);
bool api_topic_is_internal(struct str name);
/* The text of TRANSACTIONAL_ID_AUTHORIZATION_FAILED, the answer to every request for a transaction
 * until there is a transaction coordinator: with that code librdkafka and Kafka's Java producer end
 * at once, while they would ask again for minutes after COORDINATOR_NOT_AVAILABLE or
 * NOT_COORDINATOR. */
extern const char api_no_transactions_text[];
/* The cluster as an acl resource. */
bool api_cluster_allowed(const struct request *r, enum acl_operation op);
/* Bits of the operations that the principal may do, as Metadata reports them. */
int32_t api_authorized_operations(const struct request *r, enum acl_resource type, struct str name);

/* Where the leaders are that an answer names (KIP-951): each broker once, on the listener of the
 * request. */
struct api_node {
    int32_t id, port;
    struct str host, rack; /* borrowed from the snapshot: until the end of this turn */
};
struct api_leaders {
    const struct request *request;
    struct api_node *nodes;
    int32_t count, cap;
};
/* Room for cap names. False: no memory. */
bool api_leaders_init(struct api_leaders *l, struct request *r, int32_t cap);
void api_leaders_add(struct api_leaders *l, int32_t broker_id);

/* ---- state between requests */

struct produce;
struct task;
struct fetch_conversion;
TAILQ_HEAD(produce_queue, produce);
TAILQ_HEAD(task_queue, task);
TAILQ_HEAD(fetch_conversion_queue, fetch_conversion);

struct api_seat { /* owner: the loop */
    struct loop *loop;
    struct produce_queue appending; /* produce requests whose append is on an io thread, or waits
                                       for an earlier one of the same connection */
};
struct api {
    struct broker *broker;
    struct fetch_session_cache *sessions;
    struct producer_ids *producer_ids;
    struct new_topics *new_topics;
    struct lock turns_lock; /* tasks that need the coordination service; task.c */
    struct task_queue turns;
    int32_t turns_taken, turns_waiting;
    struct lock conversions_lock;              /* the next two; fetch_convert.c */
    struct fetch_conversion_queue conversions; /* that wait for their turn */
    int32_t conversions_running;
    struct lock large_conversion_lock; /* held by the one that unfolds a large batch */
    int seat_count;
    struct api_seat seats[];
};
struct api_seat *api_seat(const struct request *r);

#endif
