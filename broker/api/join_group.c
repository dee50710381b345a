/* SPDX-License-Identifier: Apache-2.0 */
/* join_group - JoinGroup (11). The request waits in the coordinator as long as the group's
 * rebalance takes; a client that disconnects meanwhile stays a member until its session ends. */
#include "broker/api/group_request.h"
#include "broker/api/handlers.h"
#include "common/protocol/codec.h"
#include "common/protocol/messages.h"

#include <stdio.h>

enum {
    MEMBER_ID_REQUIRED_FROM = 4, /* version; KIP-394 */
    NULL_PROTOCOL_FROM = 7,
    SKIP_ASSIGNMENT_FROM = 9, /* KIP-814 */
    UUID_TEXT_BYTES = 36
};

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
    CHECK_OBJ(r, REQUEST_MAGIC);
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
