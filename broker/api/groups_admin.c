/* SPDX-License-Identifier: Apache-2.0 */
/* groups_admin - DescribeGroups (15), ListGroups (16), DeleteGroups (42): what tools ask of groups.
 */
#include "broker/api/group_request.h"
#include "broker/api/handlers.h"
#include "common/protocol/codec.h"
#include "common/protocol/messages.h"

#include <stdlib.h>
#include <strings.h>

/* ---- DescribeGroups */

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

/* ---- ListGroups */

struct listed {
    struct kp_ListGroupsResponse_ListedGroup told;
    struct listed *next;
};
struct list {
    struct group_trip trip;
    struct kp_ListGroupsResponse response;
    struct listed *first;
    int32_t count;
};

static bool is_wanted(const struct kp_ListGroupsRequest *req, const struct group_view *g)
{
    bool state_fits = req->states_filter_count <= 0, type_fits = req->types_filter_count <= 0;
    const char *state = group_state_name(g->state);

    for (int32_t i = 0; i < req->states_filter_count; i++)
        state_fits |= req->states_filter[i].len == (int32_t)strlen(state) &&
                      strncasecmp(req->states_filter[i].p, state, strlen(state)) == 0;
    for (int32_t i = 0; i < req->types_filter_count; i++)
        type_fits |=
            req->types_filter[i].len == 7 && strncasecmp(req->types_filter[i].p, "classic", 7) == 0;
    return state_fits && type_fits;
}

static void list_group(void *arg, const struct group_view *g)
{
    struct list *l = arg;
    struct request *r = l->trip.request;

    if (!is_wanted(r->body, g))
        return;
    struct listed *e = group_alloc(r, 1, sizeof *e);
    e->told = (struct kp_ListGroupsResponse_ListedGroup){
        .group_id = group_copy_str(r, g->group),
        .protocol_type =
            g->protocol_type.len > 0 ? group_copy_str(r, g->protocol_type) : STR_LIT(""),
        .group_state = str_of(group_state_name(g->state)),
        .group_type = STR_LIT("classic")};
    e->next = l->first;
    l->first = e;
    l->count++;
}

static void list_visit(struct group_trip *t, const struct group_core *core)
{
    struct list *l = CONTAINER_OF(t, struct list, trip);

    if (core == NULL)
        l->response.error_code = KE_COORDINATOR_LOAD_IN_PROGRESS;
    else
        group_core_each(core, list_group, l);
}

static void list_finish(struct group_trip *t)
{
    struct list *l = CONTAINER_OF(t, struct list, trip);
    struct request *r = t->request;
    bool sees_all = api_cluster_allowed(r, ACL_DESCRIBE);

    l->response.groups = group_alloc(r, (size_t)l->count, sizeof *l->response.groups);
    for (struct listed *e = l->first; e != NULL; e = e->next)
        if (sees_all || group_allowed(r, ACL_DESCRIBE, e->told.group_id))
            l->response.groups[l->response.groups_count++] = e->told;
    request_reply(r, &l->response);
}

void api_list_groups(struct request *r)
{
    struct list *l = group_alloc(r, 1, sizeof *l);

    group_trip_init(&l->trip, r, list_finish);
    l->trip.visit = list_visit;
    group_trip_start(&l->trip);
}

/* ---- DeleteGroups */

struct delete_group {
    struct group_call call;
    struct kp_DeleteGroupsResponse_DeletableGroupResult *answer;
};
struct delete_groups {
    struct group_trip trip;
    struct kp_DeleteGroupsResponse response;
    struct delete_group *groups;
};

static void delete_replied(struct group_call *c, const struct group_reply *reply)
{
    CONTAINER_OF(c, struct delete_group, call)->answer->error_code = reply->error;
}

static void delete_finish(struct group_trip *t)
{
    struct delete_groups *d = CONTAINER_OF(t, struct delete_groups, trip);

    for (int32_t i = 0; i < d->response.results_count; i++)
        if (d->groups[i].call.error != KE_NONE)
            d->groups[i].answer->error_code = d->groups[i].call.error;
    request_reply(t->request, &d->response);
}

static int name_cmp(const void *a, const void *b)
{
    return str_cmp(*(const struct str *)a, *(const struct str *)b);
}

/* Each name once: the second deletion of a group would fail. */
static struct str *distinct(struct request *r, int32_t *count_out)
{
    const struct kp_DeleteGroupsRequest *req = r->body;
    int32_t n = i32_max(req->groups_names_count, 0), kept = 0;
    struct str *names = group_alloc(r, (size_t)n, sizeof *names);

    if (n > 0)
        memcpy(names, req->groups_names, (size_t)n * sizeof *names);
    qsort(names, (size_t)n, sizeof *names, name_cmp);
    for (int32_t i = 0; i < n; i++)
        if (kept == 0 || !str_eq(names[kept - 1], names[i]))
            names[kept++] = names[i];
    *count_out = kept;
    return names;
}

void api_delete_groups(struct request *r)
{
    struct delete_groups *d = group_alloc(r, 1, sizeof *d);
    int32_t count;
    struct str *names = distinct(r, &count);

    group_trip_init(&d->trip, r, delete_finish);
    d->response.results_count = count;
    d->response.results = group_alloc(r, (size_t)count, sizeof *d->response.results);
    d->groups = group_alloc(r, (size_t)count, sizeof *d->groups);
    for (int32_t i = 0; i < count; i++) {
        struct delete_group *g = &d->groups[i];
        g->answer = &d->response.results[i];
        g->answer->group_id = names[i];
        if (!group_allowed(r, ACL_DELETE, names[i])) {
            g->answer->error_code = KE_GROUP_AUTHORIZATION_FAILED;
            continue;
        }
        g->call.event.kind = GEV_DELETE_GROUP;
        g->call.event.delete_group = names[i];
        g->call.replied = delete_replied;
        group_trip_add(&d->trip, &g->call, names[i]);
    }
    group_trip_start(&d->trip);
}
