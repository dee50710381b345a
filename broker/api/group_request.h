/* SPDX-License-Identifier: Apache-2.0 */
/* group_request - what the handlers of the group APIs share: the usual request that concerns one
 * group, copies of what a coordinator's core lends, and the first checks. */
#ifndef BROKER_API_GROUP_REQUEST_H
#define BROKER_API_GROUP_REQUEST_H

#include "broker/api/api.h"
#include "broker/group/coordinator.h"

/* One group, one call. First member of what the handler keeps in the request's arena. */
struct group_request {
    struct group_trip trip;
    struct group_call call;
};
/* The call's event is of that kind, zeroed else; the handler fills it in and calls start. */
void group_request_init(struct group_request *g, struct request *r, enum group_event_kind kind,
                        void (*replied)(struct group_call *c, const struct group_reply *reply),
                        void (*finish)(struct group_trip *t));
void group_request_start(struct group_request *g, struct str group);

/* Copies that die with the request; null stays null. They raise the arena's limit: how much a group
 * holds is not the asking client's doing. On any loop that has the request. */
struct str group_copy_str(struct request *r, struct str s);
struct bytes group_copy_bytes(struct request *r, struct bytes b);
/* Zeroed; likewise. Never NULL. */
void *group_alloc(struct request *r, size_t count, size_t size);

/* Is the answer so large already that no further group may be added? The first group is answered
 * whole, however large; but a client may name the same group a million times. On any loop that has
 * the request. */
bool group_answer_is_full(const struct request *r);

/* May the principal do this with the group? */
bool group_allowed(const struct request *r, enum acl_operation op, struct str group);

#endif
