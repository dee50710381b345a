/* SPDX-License-Identifier: Apache-2.0 */
/* offset_for_leader_epoch - OffsetForLeaderEpoch (23): where an epoch ended in the leader's log. */
#include "broker/api/api.h"
#include "broker/api/handlers.h"
#include "broker/replica/partition.h"
#include "common/protocol/codec.h"
#include "common/protocol/messages.h"

static int16_t end_of_epoch(struct request *r, struct str topic,
                            const struct kp_OffsetForLeaderEpochRequest_OffsetForLeaderPartition *p,
                            struct kp_OffsetForLeaderEpochResponse_EpochEndOffset *a)
{
    if (metadata_partition(metadata_current(r), topic, p->partition) == NULL)
        return KE_UNKNOWN_TOPIC_OR_PARTITION;
    struct partition *partition = replicas_find(r->broker->replicas, topic, p->partition);
    if (partition == NULL)
        return KE_NOT_LEADER_OR_FOLLOWER;
    int32_t epoch;
    int64_t end;
    int16_t error =
        partition_epoch_end(partition, p->current_leader_epoch, p->leader_epoch, &epoch, &end);
    partition_unref(&partition);
    if (error == KE_NONE) {
        a->leader_epoch = epoch;
        a->end_offset = end;
    }
    return error;
}

static bool topic_answer(struct request *r, bool is_replica,
                         const struct kp_OffsetForLeaderEpochRequest_OffsetForLeaderTopic *from,
                         struct kp_OffsetForLeaderEpochResponse_OffsetForLeaderTopicResult *to)
{
    size_t count = (size_t)i32_max(from->partitions_count, 0);
    bool allowed = is_replica || authorize(r, ACL_DESCRIBE, ACL_TOPIC, from->topic);
    to->topic = from->topic;
    to->partitions = api_alloc(r, count, sizeof *to->partitions);
    if (to->partitions == NULL)
        return false;
    to->partitions_count = (int32_t)count;
    for (size_t i = 0; i < count; i++) {
        struct kp_OffsetForLeaderEpochResponse_EpochEndOffset *a = &to->partitions[i];
        kp_defaults(&kp_OffsetForLeaderEpochResponse_EpochEndOffset_schema, a);
        a->partition = from->partitions[i].partition;
        a->error_code = allowed ? end_of_epoch(r, from->topic, &from->partitions[i], a)
                                : (int16_t)KE_TOPIC_AUTHORIZATION_FAILED;
    }
    return true;
}

void api_offset_for_leader_epoch(struct request *r)
{
    CHECK_OBJ(r, REQUEST_MAGIC);
    const struct kp_OffsetForLeaderEpochRequest *req = r->body;
    bool is_replica = api_cluster_allowed(r, ACL_CLUSTER_ACTION);
    struct kp_OffsetForLeaderEpochResponse a;
    kp_defaults(&kp_OffsetForLeaderEpochResponse_schema, &a);
    a.topics_count = i32_max(req->topics_count, 0);
    a.topics = api_alloc(r, (size_t)a.topics_count, sizeof *a.topics);
    bool ok = a.topics != NULL;
    for (int32_t i = 0; ok && i < a.topics_count; i++)
        ok = topic_answer(r, is_replica, &req->topics[i], &a.topics[i]);
    if (ok)
        request_reply(r, &a);
    else
        api_no_memory(r);
}
