/* SPDX-License-Identifier: Apache-2.0 */
/* delete_records - DeleteRecords (21): raises the start of logs. The leader's is raised at once;
 * the answer waits until all live replicas have followed, which their next fetches tell. */
#include "broker/api/api.h"
#include "broker/api/handlers.h"
#include "broker/api/task.h"
#include "broker/replica/partition.h"
#include "common/protocol/codec.h"
#include "common/protocol/messages.h"

enum { OFFSET_HIGH_WATERMARK = -1, LOOK_AGAIN_MS = 50 };

struct delete_item {
    struct partition *partition; /* NULL: refused, or done */
    int64_t offset;
    struct kp_DeleteRecordsResponse_DeleteRecordsPartitionResult *answer;
};
struct delete_task {
    struct task task;
    struct kp_DeleteRecordsResponse response;
    int32_t count;
    struct delete_item *items;
};

static void item_run(struct delete_item *d)
{
    struct partition_info info;
    int64_t low = -1;
    if (d->offset == OFFSET_HIGH_WATERMARK) { /* settled by the first look */
        partition_describe(d->partition, &info);
        d->offset = info.high_watermark;
    }
    int16_t error = partition_delete_records(d->partition, d->offset, &low);
    d->answer->error_code = error;
    d->answer->low_watermark = error == KE_NONE ? low : -1;
    if (error != KE_NONE || low >= d->offset)
        partition_unref(&d->partition);
}

static void delete_io(struct task *t)
{
    struct delete_task *dt = CONTAINER_OF(t, struct delete_task, task);
    for (int32_t i = 0; i < dt->count; i++)
        if (dt->items[i].partition != NULL)
            item_run(&dt->items[i]);
}

static bool delete_is_ready(struct task *t, const struct metadata *m)
{
    struct delete_task *dt = CONTAINER_OF(t, struct delete_task, task);
    (void)m;
    for (int32_t i = 0; i < dt->count; i++)
        if (dt->items[i].partition != NULL)
            return false;
    return true;
}

static void items_release(struct delete_task *t)
{
    for (int32_t i = 0; i < t->count; i++)
        partition_unref(&t->items[i].partition);
}

static void delete_finish(struct task *t, bool is_timed_out)
{
    struct delete_task *dt = CONTAINER_OF(t, struct delete_task, task);
    for (int32_t i = 0; is_timed_out && i < dt->count; i++) {
        struct delete_item *d = &dt->items[i];
        if (d->partition == NULL)
            continue;
        d->answer->error_code = KE_REQUEST_TIMED_OUT;
        d->answer->low_watermark = -1;
    }
    items_release(dt);
    request_reply(t->request, &dt->response);
}

static void delete_dropped(struct task *t)
{
    items_release(CONTAINER_OF(t, struct delete_task, task));
}

static int16_t item_check(struct request *r, struct delete_item *d, struct str topic, int32_t index,
                          bool allowed)
{
    if (!allowed)
        return KE_TOPIC_AUTHORIZATION_FAILED;
    if (metadata_partition(metadata_current(r), topic, index) == NULL)
        return KE_UNKNOWN_TOPIC_OR_PARTITION;
    if (api_topic_is_internal(topic))
        return KE_INVALID_TOPIC_EXCEPTION;
    if (d->offset < OFFSET_HIGH_WATERMARK)
        return KE_OFFSET_OUT_OF_RANGE;
    d->partition = replicas_find(r->broker->replicas, topic, index);
    return d->partition == NULL ? KE_NOT_LEADER_OR_FOLLOWER : KE_NONE;
}

static bool topic_prepare(struct request *r, struct delete_task *t,
                          const struct kp_DeleteRecordsRequest_DeleteRecordsTopic *from,
                          struct kp_DeleteRecordsResponse_DeleteRecordsTopicResult *to)
{
    size_t count = (size_t)i32_max(from->partitions_count, 0);
    bool allowed = authorize(r, ACL_DELETE, ACL_TOPIC, from->name);
    to->name = from->name;
    to->partitions = api_alloc(r, count, sizeof *to->partitions);
    if (to->partitions == NULL)
        return false;
    to->partitions_count = (int32_t)count;
    for (size_t i = 0; i < count; i++) {
        struct delete_item *d = &t->items[t->count++];
        d->answer = &to->partitions[i];
        d->offset = from->partitions[i].offset;
        d->answer->partition_index = from->partitions[i].partition_index;
        d->answer->low_watermark = -1;
        d->answer->error_code =
            item_check(r, d, from->name, from->partitions[i].partition_index, allowed);
    }
    return true;
}

static bool delete_prepare(struct request *r, struct delete_task *t)
{
    const struct kp_DeleteRecordsRequest *req = r->body;
    size_t parts = 0, topics = (size_t)i32_max(req->topics_count, 0);
    for (size_t i = 0; i < topics; i++)
        parts += (size_t)i32_max(req->topics[i].partitions_count, 0);
    kp_defaults(&kp_DeleteRecordsResponse_schema, &t->response);
    t->items = api_alloc(r, parts, sizeof *t->items);
    t->response.topics = api_alloc(r, topics, sizeof *t->response.topics);
    if (t->items == NULL || t->response.topics == NULL)
        return false;
    t->response.topics_count = (int32_t)topics;
    for (size_t i = 0; i < topics; i++)
        if (!topic_prepare(r, t, &req->topics[i], &t->response.topics[i]))
            return false;
    return true;
}

void api_delete_records(struct request *r)
{
    CHECK_OBJ(r, REQUEST_MAGIC);
    const struct kp_DeleteRecordsRequest *req = r->body;
    struct delete_task *t = api_alloc(r, 1, sizeof *t);
    if (t == NULL || !delete_prepare(r, t)) {
        if (t != NULL)
            items_release(t);
        api_no_memory(r);
        return;
    }
    t->task.io = delete_io;
    t->task.is_ready = delete_is_ready;
    t->task.finish = delete_finish;
    t->task.dropped = delete_dropped;
    t->task.timeout_ms = req->timeout_ms;
    t->task.retry_ms = LOOK_AGAIN_MS;
    if (task_start(&t->task, r) == ERR_OK)
        return;
    for (int32_t i = 0; i < t->count; i++)
        if (t->items[i].partition != NULL)
            t->items[i].answer->error_code = KE_REQUEST_TIMED_OUT;
    items_release(t);
    request_reply(r, &t->response);
}
