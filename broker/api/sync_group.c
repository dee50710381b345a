/* SPDX-License-Identifier: Apache-2.0 */
/* sync_group - SyncGroup (14). The request waits in the coordinator until the leader's assignment
 * is written. */
#include "broker/api/group_request.h"
#include "broker/api/handlers.h"
#include "common/protocol/codec.h"
#include "common/protocol/messages.h"

enum { SYNC_PROTOCOL_FROM = 5 }; /* version */

struct sync {
    struct group_request g;
    struct kp_SyncGroupResponse response;
};

static void sync_replied(struct group_call *c, const struct group_reply *reply)
{
    struct sync *s = CONTAINER_OF(c, struct sync, g.call);
    struct request *r = c->trip->request;

    s->response.error_code = reply->error;
    s->response.protocol_type = group_copy_str(r, reply->sync.protocol_type);
    s->response.protocol_name = group_copy_str(r, reply->sync.protocol);
    if (reply->sync.assignment.p != NULL)
        s->response.assignment = group_copy_bytes(r, reply->sync.assignment);
}

static void sync_error(struct request *r, struct sync *s, int16_t error)
{
    s->response.error_code = error;
    request_reply(r, &s->response);
}

/* While the group is loaded: the member joins again, which is what it would do anyway. */
static void sync_finish(struct group_trip *t)
{
    struct sync *s = CONTAINER_OF(t, struct sync, g.trip);
    int16_t error = s->g.call.error;

    if (error == KE_COORDINATOR_LOAD_IN_PROGRESS)
        error = KE_REBALANCE_IN_PROGRESS;
    sync_error(t->request, s, error != KE_NONE ? error : s->response.error_code);
}

static bool sync_fill(struct request *r, struct group_sync *e)
{
    const struct kp_SyncGroupRequest *req = r->body;
    int32_t count = i32_max(req->assignments_count, 0);
    struct group_assignment *assignments = api_alloc(r, (size_t)count, sizeof *assignments);

    if (assignments == NULL)
        return false;
    for (int32_t i = 0; i < count; i++)
        assignments[i] = (struct group_assignment){.member_id = req->assignments[i].member_id,
                                                   .assignment = req->assignments[i].assignment};
    *e = (struct group_sync){.group = req->group_id,
                             .member_id = req->member_id,
                             .instance_id = req->group_instance_id,
                             .generation = req->generation_id,
                             .protocol_type = req->protocol_type,
                             .protocol = req->protocol_name,
                             .needs_protocol = r->api_version >= SYNC_PROTOCOL_FROM,
                             .assignments = assignments,
                             .assignment_count = count};
    return true;
}

void api_sync_group(struct request *r)
{
    CHECK_OBJ(r, REQUEST_MAGIC);
    const struct kp_SyncGroupRequest *req = r->body;
    struct sync *s = api_alloc(r, 1, sizeof *s);

    if (s == NULL) {
        api_no_memory(r);
        return;
    }
    kp_defaults(&kp_SyncGroupResponse_schema, &s->response);
    s->response.assignment = (struct bytes){(const uint8_t *)"", 0};
    if (r->api_version >= SYNC_PROTOCOL_FROM &&
        (req->protocol_type.len < 0 || req->protocol_name.len < 0)) {
        sync_error(r, s, KE_INCONSISTENT_GROUP_PROTOCOL);
        return;
    }
    if (!group_allowed(r, ACL_READ, req->group_id)) {
        sync_error(r, s, KE_GROUP_AUTHORIZATION_FAILED);
        return;
    }
    if (req->group_id.len <= 0) {
        sync_error(r, s, KE_INVALID_GROUP_ID);
        return;
    }
    group_request_init(&s->g, r, GEV_SYNC, sync_replied, sync_finish);
    if (!sync_fill(r, &s->g.call.event.sync)) {
        api_no_memory(r);
        return;
    }
    group_request_start(&s->g, req->group_id);
}
