/* SPDX-License-Identifier: Apache-2.0 */
/* leave_group - LeaveGroup (13): one member, from version 3 a list of them. */
#include "broker/api/group_request.h"
#include "broker/api/handlers.h"
#include "common/protocol/codec.h"
#include "common/protocol/messages.h"

enum { LEAVE_LIST_FROM = 3 }; /* version */

struct leave {
    struct group_request g;
    struct kp_LeaveGroupResponse response;
    int16_t *errors; /* of the leavers */
    int32_t count;
};

static void leave_replied(struct group_call *c, const struct group_reply *reply)
{
    struct leave *l = CONTAINER_OF(c, struct leave, g.call);

    l->response.error_code = reply->error;
    l->count = i32_min(reply->items.count, c->event.leave.leaver_count);
    for (int32_t i = 0; i < l->count; i++)
        l->errors[i] = reply->items.errors[i];
}

static void leave_finish(struct group_trip *t)
{
    struct leave *l = CONTAINER_OF(t, struct leave, g.trip);
    const struct kp_LeaveGroupRequest *req = t->request->body;
    struct kp_LeaveGroupResponse *a = &l->response;

    if (l->g.call.error != KE_NONE)
        a->error_code = l->g.call.error;
    if (t->request->api_version < LEAVE_LIST_FROM) {
        if (a->error_code == KE_NONE && l->count > 0)
            a->error_code = l->errors[0];
    } else if (a->error_code == KE_NONE) {
        a->members_count = l->count;
        a->members = group_alloc(t->request, (size_t)l->count, sizeof *a->members);
        for (int32_t i = 0; i < l->count; i++)
            a->members[i] = (struct kp_LeaveGroupResponse_MemberResponse){
                .member_id = req->members[i].member_id,
                .group_instance_id = req->members[i].group_instance_id,
                .error_code = l->errors[i]};
    }
    request_reply(t->request, a);
}

static bool leave_fill(struct request *r, struct leave *l)
{
    const struct kp_LeaveGroupRequest *req = r->body;
    bool is_list = r->api_version >= LEAVE_LIST_FROM;
    int32_t count = is_list ? i32_max(req->members_count, 0) : 1;
    struct group_leaver *leavers = api_alloc(r, (size_t)count, sizeof *leavers);

    l->errors = api_alloc(r, (size_t)count, sizeof *l->errors);
    if (leavers == NULL || l->errors == NULL)
        return false;
    if (!is_list)
        leavers[0] = (struct group_leaver){
            .member_id = req->member_id, .instance_id = STR_NULL, .reason = STR_NULL};
    for (int32_t i = 0; is_list && i < count; i++)
        leavers[i] = (struct group_leaver){.member_id = req->members[i].member_id,
                                           .instance_id = req->members[i].group_instance_id,
                                           .reason = req->members[i].reason};
    l->g.call.event.leave =
        (struct group_leave){.group = req->group_id, .leavers = leavers, .leaver_count = count};
    return true;
}

void api_leave_group(struct request *r)
{
    CHECK_OBJ(r, REQUEST_MAGIC);
    const struct kp_LeaveGroupRequest *req = r->body;
    struct leave *l = api_alloc(r, 1, sizeof *l);

    if (l == NULL) {
        api_no_memory(r);
        return;
    }
    kp_defaults(&kp_LeaveGroupResponse_schema, &l->response);
    if (!group_allowed(r, ACL_READ, req->group_id))
        l->response.error_code = KE_GROUP_AUTHORIZATION_FAILED;
    else if (req->group_id.len <= 0)
        l->response.error_code = KE_INVALID_GROUP_ID;
    if (l->response.error_code != KE_NONE) {
        request_reply(r, &l->response);
        return;
    }
    group_request_init(&l->g, r, GEV_LEAVE, leave_replied, leave_finish);
    if (!leave_fill(r, l)) {
        api_no_memory(r);
        return;
    }
    group_request_start(&l->g, req->group_id);
}
