/* SPDX-License-Identifier: Apache-2.0 */
/* offset_delete - OffsetDelete (47). Partitions that may not be touched or do not exist are
 * answered here; the rest is one call of the group's coordinator. */
#include "broker/api/group_request.h"
#include "broker/api/handlers.h"
#include "common/protocol/codec.h"
#include "common/protocol/messages.h"

typedef struct kp_OffsetDeleteResponse_OffsetDeleteResponsePartition delete_answer;

struct offset_delete {
    struct group_request g;
    struct kp_OffsetDeleteResponse response;
    struct group_partition *items;
    delete_answer **answers;
    int32_t count;
};

static void delete_replied(struct group_call *c, const struct group_reply *reply)
{
    struct offset_delete *d = CONTAINER_OF(c, struct offset_delete, g.call);

    d->response.error_code = reply->error;
    for (int32_t i = 0; i < d->count && i < reply->items.count; i++)
        d->answers[i]->error_code = reply->items.errors[i];
}

static void delete_finish(struct group_trip *t)
{
    struct offset_delete *d = CONTAINER_OF(t, struct offset_delete, g.trip);

    if (d->g.call.error != KE_NONE)
        d->response.error_code = d->g.call.error;
    if (d->response.error_code != KE_NONE)
        d->response.topics_count = 0;
    request_reply(t->request, &d->response);
}

static void delete_topic(struct offset_delete *d, struct request *r,
                         const struct kp_OffsetDeleteRequest_OffsetDeleteRequestTopic *from,
                         struct kp_OffsetDeleteResponse_OffsetDeleteResponseTopic *to)
{
    const struct metadata_topic *topic = metadata_topic(metadata_current(r), from->name);
    bool may = authorize(r, ACL_READ, ACL_TOPIC, from->name);

    to->name = from->name;
    to->partitions_count = i32_max(from->partitions_count, 0);
    to->partitions = group_alloc(r, (size_t)to->partitions_count, sizeof *to->partitions);
    for (int32_t i = 0; i < to->partitions_count; i++) {
        delete_answer *a = &to->partitions[i];
        a->partition_index = from->partitions[i].partition_index;
        if (!may)
            a->error_code = KE_TOPIC_AUTHORIZATION_FAILED;
        else if (metadata_partition_of(topic, a->partition_index) == NULL)
            a->error_code = KE_UNKNOWN_TOPIC_OR_PARTITION;
        if (a->error_code != KE_NONE)
            continue;
        d->answers[d->count] = a;
        d->items[d->count++] =
            (struct group_partition){.topic = from->name, .partition = a->partition_index};
    }
}

static void delete_topics(struct offset_delete *d, struct request *r)
{
    const struct kp_OffsetDeleteRequest *req = r->body;
    size_t parts = 0;

    for (int32_t i = 0; i < req->topics_count; i++)
        parts += (size_t)i32_max(req->topics[i].partitions_count, 0);
    d->items = group_alloc(r, parts, sizeof *d->items);
    d->answers = group_alloc(r, parts, sizeof(delete_answer *));
    d->response.topics_count = i32_max(req->topics_count, 0);
    d->response.topics =
        group_alloc(r, (size_t)d->response.topics_count, sizeof *d->response.topics);
    for (int32_t i = 0; i < d->response.topics_count; i++)
        delete_topic(d, r, &req->topics[i], &d->response.topics[i]);
}

void api_offset_delete(struct request *r)
{
    CHECK_OBJ(r, REQUEST_MAGIC);
    const struct kp_OffsetDeleteRequest *req = r->body;
    struct offset_delete *d = group_alloc(r, 1, sizeof *d);

    if (!group_allowed(r, ACL_DELETE, req->group_id))
        d->response.error_code = KE_GROUP_AUTHORIZATION_FAILED;
    else if (req->group_id.len <= 0)
        d->response.error_code = KE_INVALID_GROUP_ID;
    if (d->response.error_code != KE_NONE) {
        request_reply(r, &d->response);
        return;
    }
    delete_topics(d, r);
    group_request_init(&d->g, r, GEV_OFFSET_DELETE, delete_replied, delete_finish);
    d->g.call.event.offset_delete = (struct group_offset_delete){
        .group = req->group_id, .items = d->items, .item_count = d->count};
    group_request_start(&d->g, req->group_id);
}
