/* SPDX-License-Identifier: Apache-2.0 */
/* list_groups - ListGroups (16): the groups that this broker coordinates. */
#include "broker/api/group_request.h"
#include "broker/api/handlers.h"
#include "common/protocol/codec.h"
#include "common/protocol/messages.h"

#include <strings.h>

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
    CHECK_OBJ(r, REQUEST_MAGIC);
    struct list *l = group_alloc(r, 1, sizeof *l);

    group_trip_init(&l->trip, r, list_finish);
    l->trip.visit = list_visit;
    group_trip_start(&l->trip);
}
