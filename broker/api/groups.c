/* SPDX-License-Identifier: Apache-2.0 */
/* groups - what members say to their group's coordinator: JoinGroup (11), Heartbeat (12),
 * LeaveGroup (13), SyncGroup (14). The request waits in the coordinator as long as the group's
 * rebalance takes; a client that disconnects meanwhile stays a member until its session ends. */
#include "broker/api/group_request.h"
#include "broker/api/handlers.h"
#include "common/protocol/codec.h"
#include "common/protocol/messages.h"

#include <stdio.h>

enum {
    MEMBER_ID_REQUIRED_FROM = 4, /* JoinGroup version; KIP-394 */
    NULL_PROTOCOL_FROM = 7,
    SKIP_ASSIGNMENT_FROM = 9, /* KIP-814 */
    SYNC_PROTOCOL_FROM = 5,
    LEAVE_LIST_FROM = 3,
    UUID_TEXT_BYTES = 36
};

/* ---- JoinGroup */

struct join {
    struct group_request g;
    struct kp_JoinGroupResponse response;
};

/* As Java prints an address without a name. */
static struct str client_host(struct request *r)
{
    int32_t len = i32_max(r->client_host.len, 0);
    char *p = group_alloc(r, (size_t)len + 2, 1);
    (void)snprintf(p, (size_t)len + 2, "/%.*s", STR_ARG(r->client_host));
    return (struct str){p, len + 1};
}

/* A random UUID (version 4) as text. */
static struct str new_uuid(struct request *r)
{
    struct uuid u = uuid_random();
    char *p = group_alloc(r, UUID_TEXT_BYTES + 1, 1);
    u.b[6] = (uint8_t)((u.b[6] & 0x0f) | 0x40);
    u.b[8] = (uint8_t)((u.b[8] & 0x3f) | 0x80);
    (void)snprintf(p, UUID_TEXT_BYTES + 1,
                   "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", u.b[0],
                   u.b[1], u.b[2], u.b[3], u.b[4], u.b[5], u.b[6], u.b[7], u.b[8], u.b[9], u.b[10],
                   u.b[11], u.b[12], u.b[13], u.b[14], u.b[15]);
    return (struct str){p, UUID_TEXT_BYTES};
}

static struct str not_null(struct str s)
{
    return s.len < 0 ? STR_LIT("") : s;
}

static void join_replied(struct group_call *c, const struct group_reply *reply)
{
    struct join *j = CONTAINER_OF(c, struct join, g.call);
    struct request *r = c->trip->request;
    struct kp_JoinGroupResponse *a = &j->response;

    a->error_code = reply->error;
    a->generation_id = reply->join.generation;
    a->protocol_type = group_copy_str(r, reply->join.protocol_type);
    a->protocol_name = group_copy_str(r, reply->join.protocol);
    a->leader = group_copy_str(r, not_null(reply->join.leader));
    a->member_id = group_copy_str(r, not_null(reply->join.member_id));
    a->skip_assignment = r->api_version >= SKIP_ASSIGNMENT_FROM && reply->join.skip_assignment;
    a->members_count = reply->join.member_count;
    a->members = group_alloc(r, (size_t)a->members_count, sizeof *a->members);
    for (int32_t i = 0; i < a->members_count; i++) {
        const struct group_joined_member *m = &reply->join.members[i];
        a->members[i].member_id = group_copy_str(r, m->member_id);
        a->members[i].group_instance_id = group_copy_str(r, m->instance_id);
        a->members[i].metadata = group_copy_bytes(r, m->metadata);
        if (a->members[i].metadata.p == NULL)
            a->members[i].metadata = (struct bytes){(const uint8_t *)"", 0};
    }
}

static void join_answer(struct request *r, struct kp_JoinGroupResponse *a)
{
    if (r->api_version < NULL_PROTOCOL_FROM)
        a->protocol_name = not_null(a->protocol_name);
    else if (a->protocol_name.len == 0)
        a->protocol_name = STR_NULL;
    request_reply(r, a);
}

static void join_finish(struct group_trip *t)
{
    struct join *j = CONTAINER_OF(t, struct join, g.trip);

    if (j->g.call.error != KE_NONE)
        j->response.error_code = j->g.call.error;
    join_answer(t->request, &j->response);
}

/* False: no memory. */
static bool join_fill(struct request *r, struct group_join *e)
{
    const struct kp_JoinGroupRequest *req = r->body;
    int32_t count = i32_max(req->protocols_count, 0);
    struct group_protocol *protocols = api_alloc(r, (size_t)count, sizeof *protocols);

    if (protocols == NULL)
        return false;
    for (int32_t i = 0; i < count; i++)
        protocols[i] = (struct group_protocol){.name = req->protocols[i].name,
                                               .metadata = req->protocols[i].metadata};
    *e = (struct group_join){.group = req->group_id,
                             .member_id = req->member_id,
                             .instance_id = req->group_instance_id,
                             .client_id = not_null(r->client_id),
                             .client_host = client_host(r),
                             .protocol_type = req->protocol_type,
                             .protocols = protocols,
                             .protocol_count = count,
                             .session_ms = req->session_timeout_ms,
                             .rebalance_ms = req->rebalance_timeout_ms,
                             .needs_known_id = r->api_version >= MEMBER_ID_REQUIRED_FROM,
                             .can_skip_assignment = r->api_version >= SKIP_ASSIGNMENT_FROM,
                             .new_id_suffix = new_uuid(r),
                             .reason = req->reason};
    return true;
}

void api_join_group(struct request *r)
{
    const struct kp_JoinGroupRequest *req = r->body;
    struct join *j = api_alloc(r, 1, sizeof *j);

    if (j == NULL) {
        api_no_memory(r);
        return;
    }
    kp_defaults(&kp_JoinGroupResponse_schema, &j->response);
    j->response.leader = STR_LIT("");
    j->response.member_id = req->member_id;
    if (!group_allowed(r, ACL_READ, req->group_id)) {
        j->response.error_code = KE_GROUP_AUTHORIZATION_FAILED;
        j->response.member_id = STR_LIT("");
        join_answer(r, &j->response);
        return;
    }
    if (req->group_id.len <= 0) {
        j->response.error_code = KE_INVALID_GROUP_ID;
        join_answer(r, &j->response);
        return;
    }
    group_request_init(&j->g, r, GEV_JOIN, join_replied, join_finish);
    if (!join_fill(r, &j->g.call.event.join)) {
        api_no_memory(r);
        return;
    }
    group_request_start(&j->g, req->group_id);
}

/* ---- SyncGroup */

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

/* ---- Heartbeat */

struct heartbeat {
    struct group_request g;
    struct kp_HeartbeatResponse response;
};

static void heartbeat_replied(struct group_call *c, const struct group_reply *reply)
{
    CONTAINER_OF(c, struct heartbeat, g.call)->response.error_code = reply->error;
}

/* While the group is loaded its members are alive; the load begins their sessions anew. */
static void heartbeat_finish(struct group_trip *t)
{
    struct heartbeat *h = CONTAINER_OF(t, struct heartbeat, g.trip);

    if (h->g.call.error != KE_NONE && h->g.call.error != KE_COORDINATOR_LOAD_IN_PROGRESS)
        h->response.error_code = h->g.call.error;
    request_reply(t->request, &h->response);
}

void api_heartbeat(struct request *r)
{
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

/* ---- LeaveGroup */

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
