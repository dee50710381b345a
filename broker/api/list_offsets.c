/* SPDX-License-Identifier: Apache-2.0 */
/* list_offsets - ListOffsets (2). The ends of a log are known on the loop; a look-up by time reads
 * index and segment files and is done by an io thread. */
#include "broker/api/api.h"
#include "broker/api/handlers.h"
#include "broker/api/task.h"
#include "broker/replica/partition.h"
#include "common/base/clock.h"
#include "common/protocol/codec.h"
#include "common/protocol/messages.h"

#include <stdlib.h>

enum {
    TIME_LATEST = -1,
    TIME_EARLIEST = -2,
    TIME_MAX = -3,
    TIME_EARLIEST_LOCAL = -4,
    TIME_LATEST_TIERED = -5
};

struct offsets_item {
    struct partition *partition; /* NULL: refused, or done */
    int64_t timestamp;
    int32_t current_leader_epoch, max_num_offsets;
    struct str topic;
    struct kp_ListOffsetsResponse_ListOffsetsPartitionResponse *answer;
};
struct offsets_task {
    struct task task;
    struct kp_ListOffsetsResponse response;
    int32_t count;
    bool needs_io;
    struct offsets_item *items;
};

/* ---- looking up; any thread */

/* v0 knows a list: the end and starts of segments, newest first. */
static void item_look_v0(struct request *r, struct offsets_item *it)
{
    const struct kp_ListOffsetsRequest *req = r->body;
    int64_t *found = NULL;
    int32_t count = 0;
    it->answer->error_code = partition_list_marks(it->partition, it->timestamp, it->max_num_offsets,
                                                  req->replica_id, clock_wall_ms(), &found, &count);
    int64_t *list = api_alloc(r, (size_t)count, sizeof *list);
    if (list == NULL) { /* the request's limit: the client may ask for fewer */
        it->answer->error_code = KE_UNKNOWN_SERVER_ERROR;
    } else if (count > 0) {
        memcpy(list, found, (size_t)count * sizeof *list);
        it->answer->old_style_offsets = list;
        it->answer->old_style_offsets_count = count;
    }
    mem_free(found);
    partition_unref(&it->partition);
}

static void item_look(struct request *r, struct offsets_item *it)
{
    const struct kp_ListOffsetsRequest *req = r->body;
    struct log_time_offset found = {.timestamp_ms = -1, .offset = -1, .leader_epoch = -1};
    int64_t timestamp = it->timestamp == TIME_EARLIEST_LOCAL ? TIME_EARLIEST : it->timestamp;
    int16_t error = KE_NONE;
    if (timestamp != TIME_LATEST_TIERED) /* nothing is tiered: -1 */
        error = partition_list_offset(it->partition, timestamp, req->isolation_level == 1,
                                      req->replica_id, it->current_leader_epoch,
                                      req->replica_id != REPLICA_DEBUG, &found);
    if (error == KE_OFFSET_NOT_AVAILABLE && r->api_version < 5)
        error = KE_LEADER_NOT_AVAILABLE;
    it->answer->error_code = error;
    if (error == KE_NONE) {
        it->answer->timestamp = found.timestamp_ms;
        it->answer->offset = found.offset;
        if (r->api_version >= 4)
            it->answer->leader_epoch = found.leader_epoch;
    }
    partition_unref(&it->partition);
}

static void look_all(struct task *t)
{
    struct offsets_task *ot = CONTAINER_OF(t, struct offsets_task, task);
    for (int32_t i = 0; i < ot->count; i++) {
        if (ot->items[i].partition == NULL)
            continue;
        if (t->request->api_version == 0)
            item_look_v0(t->request, &ot->items[i]);
        else
            item_look(t->request, &ot->items[i]);
    }
}

static void offsets_finish(struct task *t, bool is_timed_out)
{
    (void)is_timed_out;
    request_reply(t->request, &CONTAINER_OF(t, struct offsets_task, task)->response);
}

/* ---- checks */

static bool timestamp_is_known(int64_t timestamp, int16_t version)
{
    switch (timestamp) {
    case TIME_LATEST:
    case TIME_EARLIEST:
        return true;
    case TIME_MAX:
        return version >= 7;
    case TIME_EARLIEST_LOCAL:
        return version >= 8;
    case TIME_LATEST_TIERED:
        return version >= 9;
    default:
        return timestamp >= 0;
    }
}

static int16_t item_check(struct request *r, struct offsets_item *it, int32_t index, bool allowed)
{
    const struct metadata *m = metadata_current(r);
    if (!allowed)
        return KE_TOPIC_AUTHORIZATION_FAILED;
    if (!timestamp_is_known(it->timestamp, r->api_version))
        return KE_UNSUPPORTED_VERSION;
    if (metadata_partition(m, it->topic, index) == NULL)
        return KE_UNKNOWN_TOPIC_OR_PARTITION;
    it->partition = replicas_find(r->broker->replicas, it->topic, index);
    return it->partition == NULL ? KE_NOT_LEADER_OR_FOLLOWER : KE_NONE;
}

static int item_cmp(const void *a, const void *b)
{
    const struct offsets_item *const *x = a, *const *y = b;
    int c = str_cmp((*x)->topic, (*y)->topic);
    int32_t xi = (*x)->answer->partition_index, yi = (*y)->answer->partition_index;
    return c != 0 ? c : xi < yi ? -1 : xi > yi;
}

/* A partition named twice is an error for both. */
static bool refuse_duplicates(struct request *r, struct offsets_task *t)
{
    struct offsets_item **sorted = api_alloc(r, (size_t)t->count, sizeof *sorted);
    if (sorted == NULL)
        return false;
    for (int32_t i = 0; i < t->count; i++)
        sorted[i] = &t->items[i];
    qsort(sorted, (size_t)t->count, sizeof *sorted, item_cmp);
    for (int32_t i = 1; i < t->count; i++) {
        if (item_cmp(&sorted[i - 1], &sorted[i]) != 0)
            continue;
        for (int32_t j = i - 1; j <= i; j++) {
            sorted[j]->answer->error_code = KE_INVALID_REQUEST;
            partition_unref(&sorted[j]->partition);
        }
    }
    return true;
}

static bool topic_prepare(struct request *r, struct offsets_task *t,
                          const struct kp_ListOffsetsRequest_ListOffsetsTopic *from,
                          struct kp_ListOffsetsResponse_ListOffsetsTopicResponse *to)
{
    bool allowed = authorize(r, ACL_DESCRIBE, ACL_TOPIC, from->name);
    to->name = from->name;
    to->partitions =
        api_alloc(r, (size_t)i32_max(from->partitions_count, 0), sizeof *to->partitions);
    if (to->partitions == NULL)
        return false;
    to->partitions_count = i32_max(from->partitions_count, 0);
    for (int32_t i = 0; i < to->partitions_count; i++) {
        const struct kp_ListOffsetsRequest_ListOffsetsPartition *p = &from->partitions[i];
        struct offsets_item *it = &t->items[t->count++];
        kp_defaults(&kp_ListOffsetsResponse_ListOffsetsPartitionResponse_schema,
                    &to->partitions[i]);
        *it = (struct offsets_item){.timestamp = p->timestamp,
                                    .current_leader_epoch = p->current_leader_epoch,
                                    .max_num_offsets = p->max_num_offsets,
                                    .topic = from->name,
                                    .answer = &to->partitions[i]};
        it->answer->partition_index = p->partition_index;
        it->answer->error_code = item_check(r, it, p->partition_index, allowed);
        t->needs_io |= it->partition != NULL && (p->timestamp >= 0 || p->timestamp == TIME_MAX);
    }
    return true;
}

static bool offsets_prepare(struct request *r, struct offsets_task *t)
{
    const struct kp_ListOffsetsRequest *req = r->body;
    size_t parts = 0;
    for (int32_t i = 0; i < req->topics_count; i++)
        parts += (size_t)i32_max(req->topics[i].partitions_count, 0);
    kp_defaults(&kp_ListOffsetsResponse_schema, &t->response);
    t->items = api_alloc(r, parts, sizeof *t->items);
    t->response.topics =
        api_alloc(r, (size_t)i32_max(req->topics_count, 0), sizeof *t->response.topics);
    if (t->items == NULL || t->response.topics == NULL)
        return false;
    t->response.topics_count = i32_max(req->topics_count, 0);
    for (int32_t i = 0; i < req->topics_count; i++)
        if (!topic_prepare(r, t, &req->topics[i], &t->response.topics[i]))
            return false;
    return r->api_version == 0 || refuse_duplicates(r, t);
}

void api_list_offsets(struct request *r)
{
    CHECK_OBJ(r, REQUEST_MAGIC);
    struct offsets_task *t = api_alloc(r, 1, sizeof *t);
    if (t == NULL || !offsets_prepare(r, t)) {
        for (int32_t i = 0; t != NULL && i < t->count; i++)
            partition_unref(&t->items[i].partition);
        api_no_memory(r);
        return;
    }
    t->task.request = r;
    t->task.io = look_all;
    t->task.finish = offsets_finish;
    if (!t->needs_io || task_start(&t->task, r) != ERR_OK) {
        /* with the io queue full it is better done here than refused: it is bounded by the frame */
        look_all(&t->task);
        request_reply(r, &t->response);
    }
}
