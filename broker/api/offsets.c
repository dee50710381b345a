/* SPDX-License-Identifier: Apache-2.0 */
/* offsets - OffsetCommit (8) and OffsetDelete (47): what a group's coordinator is asked to write
 * about offsets. Partitions that may not be touched or do not exist are answered here; the rest is
 * one call. */
#include "broker/api/group_request.h"
#include "broker/api/handlers.h"
#include "broker/api/zk_offsets.h"
#include "common/base/clock.h"
#include "common/protocol/codec.h"
#include "common/protocol/messages.h"

enum { RETENTION_FROM = 2, RETENTION_TO = 4 }; /* OffsetCommit versions with retention_time_ms */

/* ---- OffsetCommit */

typedef struct kp_OffsetCommitResponse_OffsetCommitResponsePartition commit_answer;

struct commit {
    struct group_request g;
    struct kp_OffsetCommitResponse response;
    struct group_commit_item *items;
    commit_answer **answers; /* of the items */
    int32_t count;
};

static void commit_replied(struct group_call *c, const struct group_reply *reply)
{
    struct commit *m = CONTAINER_OF(c, struct commit, g.call);

    for (int32_t i = 0; i < m->count; i++)
        m->answers[i]->error_code = reply->error != KE_NONE  ? reply->error
                                    : i < reply->items.count ? reply->items.errors[i]
                                                             : (int16_t)KE_NONE;
}

static void commit_finish(struct group_trip *t)
{
    struct commit *m = CONTAINER_OF(t, struct commit, g.trip);

    for (int32_t i = 0; m->g.call.error != KE_NONE && i < m->count; i++)
        m->answers[i]->error_code = m->g.call.error;
    request_reply(t->request, &m->response);
}

static struct group_offset
commit_value(const struct request *r, int64_t now_ms,
             const struct kp_OffsetCommitRequest_OffsetCommitRequestPartition *p)
{
    const struct kp_OffsetCommitRequest *req = r->body;
    bool has_retention = r->api_version >= RETENTION_FROM && r->api_version <= RETENTION_TO &&
                         req->retention_time_ms != -1;
    struct group_offset v = {.offset = p->committed_offset,
                             .leader_epoch = p->committed_leader_epoch,
                             .metadata = p->committed_metadata,
                             .commit_wall_ms = now_ms,
                             .expire_wall_ms = -1};

    if (r->api_version == 1 && p->commit_timestamp != -1)
        v.commit_wall_ms = p->commit_timestamp;
    if (has_retention && __builtin_add_overflow(now_ms, req->retention_time_ms, &v.expire_wall_ms))
        v.expire_wall_ms = INT64_MAX;
    return v;
}

static void commit_topic(struct commit *m, struct request *r, int16_t all_error, int64_t now_ms,
                         const struct kp_OffsetCommitRequest_OffsetCommitRequestTopic *from,
                         struct kp_OffsetCommitResponse_OffsetCommitResponseTopic *to)
{
    const struct metadata_topic *topic = metadata_topic(metadata_current(r), from->name);
    int16_t error = all_error;

    if (error == KE_NONE && !authorize(r, ACL_READ, ACL_TOPIC, from->name))
        error = KE_TOPIC_AUTHORIZATION_FAILED;
    to->name = from->name;
    to->partitions_count = i32_max(from->partitions_count, 0);
    to->partitions = group_alloc(r, (size_t)to->partitions_count, sizeof *to->partitions);
    for (int32_t i = 0; i < to->partitions_count; i++) {
        int32_t index = from->partitions[i].partition_index;
        commit_answer *a = &to->partitions[i];
        a->partition_index = index;
        a->error_code = error;
        if (error == KE_NONE && metadata_partition_of(topic, index) == NULL)
            a->error_code = KE_UNKNOWN_TOPIC_OR_PARTITION;
        if (a->error_code != KE_NONE)
            continue;
        m->answers[m->count] = a;
        m->items[m->count++] =
            (struct group_commit_item){.topic = from->name,
                                       .partition = index,
                                       .value = commit_value(r, now_ms, &from->partitions[i])};
    }
}

static void commit_topics(struct commit *m, struct request *r, int16_t all_error)
{
    const struct kp_OffsetCommitRequest *req = r->body;
    int64_t now_ms = clock_wall_ms();
    size_t parts = 0;

    for (int32_t i = 0; i < req->topics_count; i++)
        parts += (size_t)i32_max(req->topics[i].partitions_count, 0);
    m->items = group_alloc(r, parts, sizeof *m->items);
    m->answers = group_alloc(r, parts, sizeof(commit_answer *));
    m->response.topics_count = i32_max(req->topics_count, 0);
    m->response.topics =
        group_alloc(r, (size_t)m->response.topics_count, sizeof *m->response.topics);
    for (int32_t i = 0; i < m->response.topics_count; i++)
        commit_topic(m, r, all_error, now_ms, &req->topics[i], &m->response.topics[i]);
}

void api_offset_commit(struct request *r)
{
    const struct kp_OffsetCommitRequest *req = r->body;
    if (r->api_version == 0) {
        zk_offset_commit(r);
        return;
    }
    struct commit *m = group_alloc(r, 1, sizeof *m);
    bool may = group_allowed(r, ACL_READ, req->group_id);

    commit_topics(m, r, may ? KE_NONE : KE_GROUP_AUTHORIZATION_FAILED);
    if (m->count == 0) {
        request_reply(r, &m->response);
        return;
    }
    group_request_init(&m->g, r, GEV_COMMIT, commit_replied, commit_finish);
    m->g.call.event.commit = (struct group_commit){.group = req->group_id,
                                                   .member_id = req->member_id,
                                                   .instance_id = req->group_instance_id,
                                                   .generation = req->generation_id_or_member_epoch,
                                                   .items = m->items,
                                                   .item_count = m->count};
    group_request_start(&m->g, req->group_id);
}

/* ---- OffsetDelete */

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
