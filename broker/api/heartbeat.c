/* SPDX-License-Identifier: Apache-2.0 */
/* heartbeat - Heartbeat (12). */
#include "broker/api/group_request.h"
#include "broker/api/handlers.h"
#include "common/protocol/codec.h"
#include "common/protocol/messages.h"

struct heartbeat {
    struct group_request g;
    struct kp_HeartbeatResponse response;
};

static void heartbeat_replied(struct group_call *c, const struct group_reply *reply)
{
    CONTAINER_OF(c, struct heartbeat, g.call)->response.error_code = reply->error;
}

/* While the group is being loaded, its members count as alive: their sessions start again when it
 * is loaded. */
static void heartbeat_finish(struct group_trip *t)
{
    struct heartbeat *h = CONTAINER_OF(t, struct heartbeat, g.trip);

    if (h->g.call.error != KE_NONE && h->g.call.error != KE_COORDINATOR_LOAD_IN_PROGRESS)
        h->response.error_code = h->g.call.error;
    request_reply(t->request, &h->response);
}

void api_heartbeat(struct request *r)
{
    CHECK_OBJ(r, REQUEST_MAGIC);
    const struct kp_HeartbeatRequest *req = r->body;
    struct heartbeat *h = api_alloc(r, 1, sizeof *h);

    if (h == NULL) {
        api_no_memory(r);
        return;
    }
    if (!group_allowed(r, ACL_READ, req->group_id))
        h->response.error_code = KE_GROUP_AUTHORIZATION_FAILED;
    else if (req->group_id.len <= 0)
        h->response.error_code = KE_INVALID_GROUP_ID;
    if (h->response.error_code != KE_NONE) {
        request_reply(r, &h->response);
        return;
    }
    group_request_init(&h->g, r, GEV_HEARTBEAT, heartbeat_replied, heartbeat_finish);
    h->g.call.event.heartbeat = (struct group_heartbeat){.group = req->group_id,
                                                         .member_id = req->member_id,
                                                         .instance_id = req->group_instance_id,
                                                         .generation = req->generation_id};
    group_request_start(&h->g, req->group_id);
}
