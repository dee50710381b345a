/* SPDX-License-Identifier: Apache-2.0 */
/* describe_producers - DescribeProducers (61): the idempotent producers that a partition's leader
 * remembers. */
#include "broker/api/api.h"
#include "broker/api/handlers.h"
#include "broker/replica/partition.h"
#include "common/base/topic_name.h"
#include "common/protocol/codec.h"
#include "common/protocol/messages.h"

/* False: no memory. */
static bool list_producers(struct request *r, const struct log_producer *producers, int32_t count,
                           struct kp_DescribeProducersResponse_PartitionResponse *a)
{
    /* how many there are, the cluster's clients decide, not this one */
    api_raise_limit(r, (size_t)count, sizeof *a->active_producers);
    a->active_producers = api_alloc(r, (size_t)count, sizeof *a->active_producers);
    if (a->active_producers == NULL)
        return false;
    a->active_producers_count = count;
    for (int32_t i = 0; i < count; i++)
        a->active_producers[i] = (struct kp_DescribeProducersResponse_ProducerState){
            .producer_id = producers[i].producer_id,
            .producer_epoch = producers[i].epoch,
            .last_sequence = producers[i].last_sequence,
            .last_timestamp = producers[i].last_timestamp_ms,
            .coordinator_epoch = producers[i].coordinator_epoch,
            .current_txn_start_offset = producers[i].txn_start_offset};
    return true;
}

static bool partition_answer(struct request *r, struct str topic,
                             struct kp_DescribeProducersResponse_PartitionResponse *a)
{
    struct log_producer *producers = NULL;
    int32_t count = 0;
    const char *fault = topic_name_fault(topic);

    if (!authorize(r, ACL_READ, ACL_TOPIC, topic)) {
        a->error_code = KE_TOPIC_AUTHORIZATION_FAILED;
        return true;
    }
    if (fault != NULL) {
        a->error_code = KE_INVALID_TOPIC_EXCEPTION;
        a->error_message = str_of(fault);
        return true;
    }
    if (metadata_partition(metadata_current(r), topic, a->partition_index) == NULL) {
        a->error_code = KE_UNKNOWN_TOPIC_OR_PARTITION;
        return true;
    }
    struct partition *partition = replicas_find(r->broker->replicas, topic, a->partition_index);
    if (partition == NULL) {
        a->error_code = KE_NOT_LEADER_OR_FOLLOWER;
        return true;
    }
    a->error_code = partition_producers(partition, &producers, &count);
    partition_unref(&partition);
    bool ok = list_producers(r, producers, count, a);
    mem_free(producers);
    return ok;
}

static bool topic_answer(struct request *r,
                         const struct kp_DescribeProducersRequest_TopicRequest *from,
                         struct kp_DescribeProducersResponse_TopicResponse *to)
{
    size_t count = (size_t)i32_max(from->partition_indexes_count, 0);

    to->name = from->name;
    to->partitions = api_alloc(r, count, sizeof *to->partitions);
    if (to->partitions == NULL)
        return false;
    to->partitions_count = (int32_t)count;
    for (size_t i = 0; i < count; i++) {
        kp_defaults(&kp_DescribeProducersResponse_PartitionResponse_schema, &to->partitions[i]);
        to->partitions[i].partition_index = from->partition_indexes[i];
        if (!partition_answer(r, from->name, &to->partitions[i]))
            return false;
    }
    return true;
}

void api_describe_producers(struct request *r)
{
    CHECK_OBJ(r, REQUEST_MAGIC);
    const struct kp_DescribeProducersRequest *req = r->body;
    struct kp_DescribeProducersResponse a;

    kp_defaults(&kp_DescribeProducersResponse_schema, &a);
    a.topics_count = i32_max(req->topics_count, 0);
    a.topics = api_alloc(r, (size_t)a.topics_count, sizeof *a.topics);
    bool ok = a.topics != NULL;
    for (int32_t i = 0; ok && i < a.topics_count; i++)
        ok = topic_answer(r, &req->topics[i], &a.topics[i]);
    if (ok)
        request_reply(r, &a);
    else
        api_no_memory(r);
}
