/* SPDX-License-Identifier: Apache-2.0 */
/* describe_groups - DescribeGroups (15). */
#include "broker/api/group_request.h"
#include "broker/api/handlers.h"
#include "common/protocol/codec.h"
#include "common/protocol/messages.h"

struct describe_group {
    struct group_call call;
    struct str group;
    struct kp_DescribeGroupsResponse_DescribedGroup *answer;
    int32_t member_at;
};
struct describe {
    struct group_trip trip;
    struct kp_DescribeGroupsResponse response;
    struct describe_group *groups;
};

static struct bytes not_null_bytes(struct bytes b)
{
    return b.p == NULL ? (struct bytes){(const uint8_t *)"", 0} : b;
}

static void describe_member(void *arg, const struct group_member_view *m)
{
    struct describe_group *g = arg;
    struct request *r = g->call.trip->request;

    ASSERT(g->member_at < g->answer->members_count);
    g->answer->members[g->member_at++] = (struct kp_DescribeGroupsResponse_DescribedGroupMember){
        .member_id = group_copy_str(r, m->member_id),
        .group_instance_id = group_copy_str(r, m->instance_id),
        .client_id = group_copy_str(r, m->client_id),
        .client_host = group_copy_str(r, m->client_host),
        .member_metadata = not_null_bytes(group_copy_bytes(r, m->metadata)),
        .member_assignment = not_null_bytes(group_copy_bytes(r, m->assignment))};
}

/* On the shard's loop. */
static void describe_ask(struct group_call *c, const struct group_core *core)
{
    struct describe_group *g = CONTAINER_OF(c, struct describe_group, call);
    struct request *r = c->trip->request;
    struct group_view v;

    if (group_answer_is_full(r)) {
        g->answer->error_code = KE_INVALID_REQUEST;
        return;
    }
    if (!group_core_find(core, g->group, &v)) {
        g->answer->group_state = STR_LIT("Dead");
        return;
    }
    g->answer->group_state = str_of(group_state_name(v.state));
    if (v.protocol_type.len > 0)
        g->answer->protocol_type = group_copy_str(r, v.protocol_type);
    if (v.state == GROUP_STABLE && v.protocol.len > 0)
        g->answer->protocol_data = group_copy_str(r, v.protocol);
    g->answer->members_count = v.member_count;
    g->answer->members = group_alloc(r, (size_t)v.member_count, sizeof *g->answer->members);
    group_core_each_member(core, g->group, describe_member, g);
    g->answer->members_count = g->member_at;
}

static int32_t group_operations(const struct request *r, struct str group)
{
    static const enum acl_operation ops[] = {ACL_READ, ACL_DELETE, ACL_DESCRIBE};
    int32_t bits = 0;

    for (size_t i = 0; i < ARRAY_LEN(ops); i++)
        if (group_allowed(r, ops[i], group))
            bits |= (int32_t)(1u << ops[i]);
    return bits;
}

static void describe_finish(struct group_trip *t)
{
    struct describe *d = CONTAINER_OF(t, struct describe, trip);
    const struct kp_DescribeGroupsRequest *req = t->request->body;

    for (int32_t i = 0; i < d->response.groups_count; i++) {
        struct describe_group *g = &d->groups[i];
        if (g->call.error != KE_NONE)
            g->answer->error_code = g->call.error;
        if (g->answer->error_code == KE_NONE && req->include_authorized_operations)
            g->answer->authorized_operations = group_operations(t->request, g->group);
    }
    request_reply(t->request, &d->response);
}

void api_describe_groups(struct request *r)
{
    CHECK_OBJ(r, REQUEST_MAGIC);
    const struct kp_DescribeGroupsRequest *req = r->body;
    struct describe *d = group_alloc(r, 1, sizeof *d);
    int32_t count = i32_max(req->groups_count, 0);

    group_trip_init(&d->trip, r, describe_finish);
    d->response.groups_count = count;
    d->response.groups = group_alloc(r, (size_t)count, sizeof *d->response.groups);
    d->groups = group_alloc(r, (size_t)count, sizeof *d->groups);
    for (int32_t i = 0; i < count; i++) {
        struct describe_group *g = &d->groups[i];
        g->group = req->groups[i];
        g->answer = &d->response.groups[i];
        kp_defaults(&kp_DescribeGroupsResponse_DescribedGroup_schema, g->answer);
        g->answer->group_id = g->group;
        if (!group_allowed(r, ACL_DESCRIBE, g->group)) {
            g->answer->error_code = KE_GROUP_AUTHORIZATION_FAILED;
            continue;
        }
        g->call.ask = describe_ask;
        group_trip_add(&d->trip, &g->call, g->group);
    }
    group_trip_start(&d->trip);
}
