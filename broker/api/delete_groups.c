/* SPDX-License-Identifier: Apache-2.0 */
/* delete_groups - DeleteGroups (42). */
#include "broker/api/group_request.h"
#include "broker/api/handlers.h"
#include "common/protocol/codec.h"
#include "common/protocol/messages.h"

#include <stdlib.h>

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
    CHECK_OBJ(r, REQUEST_MAGIC);
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
