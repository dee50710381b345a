/* SPDX-License-Identifier: Apache-2.0 */
/* offset_commit - OffsetCommit (8). Partitions that may not be touched or do not exist are answered
 * here; the rest is one call of the group's coordinator. */
#include "broker/api/group_request.h"
#include "broker/api/handlers.h"
#include "broker/api/zk_offsets.h"
#include "common/base/clock.h"
#include "common/protocol/codec.h"
#include "common/protocol/messages.h"

enum { RETENTION_FROM = 2, RETENTION_TO = 4 }; /* versions with retention_time_ms */

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
    CHECK_OBJ(r, REQUEST_MAGIC);
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
    CHECK_OBJ(r, REQUEST_MAGIC);
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
