/* SPDX-License-Identifier: Apache-2.0 */
/* topic_create - creating topics, for CreateTopics and for clients that name a missing one: counts
 * and placement are filled in, the topic is checked and written to the coordination service.
 *
 * Items and all they point to live in the request's arena. */
#ifndef BROKER_API_TOPIC_CREATE_H
#define BROKER_API_TOPIC_CREATE_H

#include "broker/api/api.h"
#include "common/zk/zkadmin.h"

struct topic_create_item {
    struct str name;                  /* borrowed from the request */
    int32_t partition_count;          /* -1: num.partitions */
    int32_t replication_factor;       /* -1: default.replication.factor */
    struct zkdoc_partition *assigned; /* the client's own placement; NULL: automatic */
    struct zkdoc_kv *configs;         /* terminated */
    int32_t config_count;
    struct uuid id;        /* set by run */
    int16_t error;         /* KE_NONE: to be created, afterwards: created */
    const char *message;   /* of error; NULL: none */
    int32_t ready_through; /* partitions below it were seen with a leader */
};
struct topic_create {
    struct request *request;
    bool validate_only;
    bool wait_for_existing; /* topics that another request has created meanwhile, too */
    struct topic_create_item *items;
    int32_t count, cap;
};

bool topic_create_init(struct topic_create *c, struct request *r, int32_t cap); /* false: memory */
/* One with everything by default. False: no memory. */
bool topic_create_add_default(struct topic_create *c, struct str name);
struct topic_create_item *topic_create_find(const struct topic_create *c, struct str name);
/* Sets an item's error once; message: constant or in the arena. */
void topic_create_fail(struct topic_create_item *item, int16_t error, const char *message);
/* On an io thread: creates those without an error, as m shows the brokers. Sets error, message, id
 * and the counts. */
void topic_create_run(struct topic_create *c, const struct metadata *m);
/* All created ones (and existing ones, if asked for) have leaders in m. */
bool topic_create_has_leaders(struct topic_create *c, const struct metadata *m);
bool topic_create_item_has_leaders(struct topic_create_item *item, const struct metadata *m);

#endif
