/* SPDX-License-Identifier: Apache-2.0 */
/* create_partitions - CreatePartitions (37): on the
 * controller's broker only. An io thread writes to the coordination service, the controller acts on
 * its watch, and the answer waits until the metadata show the result or the client's time is up. */
#include "broker/api/api.h"
#include "broker/api/handlers.h"
#include "broker/api/task.h"
#include "broker/api/topic_change.h"
#include "broker/group/coordinator.h"
#include "common/protocol/codec.h"
#include "common/protocol/messages.h"
#include "common/zk/zkadmin.h"
#include "controller/placement.h"

struct grow_item {
    const struct kp_CreatePartitionsRequest_CreatePartitionsTopic *from;
    int16_t error;
    const char *message;
};
struct grow_task {
    struct task task;
    int32_t count;
    struct grow_item *items;
};

static void grow_fail(struct grow_item *g, int16_t error, const char *message)
{
    ASSERT(error != KE_NONE);
    if (g->error != KE_NONE)
        return;
    g->error = error;
    g->message = message;
}

static void grow_answer(struct request *r, struct grow_task *t, bool is_timed_out);

/* The client's assignment for the new partitions, or one that goes on as the topic began. NULL with
 * the item failed. */
static struct zkdoc_partition *grow_place(struct request *r, struct grow_item *g,
                                          const struct metadata *m, const struct zkdoc_topic *topic,
                                          int32_t added)
{
    const struct zkdoc_partition *first = &topic->partitions[0];
    int32_t n = metadata_broker_count(m), factor = first->replica_count, start = 0;
    struct zkdoc_partition *parts = api_alloc(r, (size_t)added, sizeof *parts);
    int32_t *replicas = api_alloc(r, (size_t)added * (size_t)factor, sizeof *replicas);
    struct placement_broker *brokers = api_alloc(r, (size_t)n, sizeof *brokers);
    struct errtext why = {.text = ""};
    if (parts == NULL || replicas == NULL || brokers == NULL) {
        grow_fail(g, KE_UNKNOWN_SERVER_ERROR, "not enough memory for the request");
        return NULL;
    }
    for (int32_t i = 0; i < n; i++) {
        const struct metadata_broker *b = metadata_broker_at(m, i);
        brokers[i] = (struct placement_broker){.id = b->id, .rack = str_of(b->rack)};
        start += b->id < first->replicas[0]; /* brokers are sorted by id */
    }
    if (n > 0)
        start %= n;
    if (placement_assign(brokers, n, topic->partition_count, added, factor, start, replicas,
                         &why) != ERR_OK) {
        grow_fail(g, KE_INVALID_REPLICA_ASSIGNMENT, api_strdup(r, why.text).p);
        return NULL;
    }
    for (int32_t i = 0; i < added; i++)
        parts[i] = (struct zkdoc_partition){.index = topic->partition_count + i,
                                            .replica_count = factor,
                                            .replicas = replicas + (size_t)i * (size_t)factor};
    return parts;
}

static struct zkdoc_partition *grow_take(struct request *r, struct grow_item *g,
                                         const struct metadata *m, const struct zkdoc_topic *topic,
                                         int32_t added)
{
    int32_t factor = topic->partitions[0].replica_count;
    if (g->from->assignments_count != added) {
        grow_fail(g, KE_INVALID_REPLICA_ASSIGNMENT,
                  "the assignment must name the replicas of each new partition, no more and no "
                  "fewer");
        return NULL;
    }
    struct zkdoc_partition *parts = api_alloc(r, (size_t)added, sizeof *parts);
    if (parts == NULL) {
        grow_fail(g, KE_UNKNOWN_SERVER_ERROR, "not enough memory for the request");
        return NULL;
    }
    for (int32_t i = 0; i < added; i++) {
        const struct kp_CreatePartitionsRequest_CreatePartitionsAssignment *a =
            &g->from->assignments[i];
        parts[i] = (struct zkdoc_partition){.index = topic->partition_count + i,
                                            .replica_count = a->broker_ids_count,
                                            .replicas = a->broker_ids};
        if (a->broker_ids_count != factor)
            grow_fail(g, KE_INVALID_REPLICA_ASSIGNMENT,
                      "every new partition needs as many replicas as the topic's others have");
        for (int32_t j = 0; j < a->broker_ids_count; j++)
            if (metadata_broker(m, a->broker_ids[j]) == NULL)
                grow_fail(g, KE_INVALID_REPLICA_ASSIGNMENT,
                          "the assignment names a broker that is not alive");
    }
    return g->error == KE_NONE ? parts : NULL;
}

static void grow_one(struct grow_task *t, struct grow_item *g)
{
    struct request *r = t->task.request;
    const struct kp_CreatePartitionsRequest *req = r->body;
    struct errtext why = {.text = ""};
    struct zkdoc_topic topic;
    if (str_eq_z(g->from->name, OFFSETS_TOPIC)) { /* KAFKA: allowed, and breaks the groups */
        grow_fail(g, KE_INVALID_PARTITIONS,
                  "partitions cannot be added to __consumer_offsets: most groups would belong to "
                  "another partition and lose their offsets");
        return;
    }
    const char *name = api_strdup_str(r, g->from->name);
    int16_t error = name == NULL
                        ? (int16_t)KE_UNKNOWN_SERVER_ERROR
                        : zkadmin_read_topic(r->broker->coord, name, &r->arena, &topic, NULL, &why);
    if (error == KE_NONE && topic.partition_count == 0) {
        errtext_set(&why, "the topic has no partitions");
        error = KE_INVALID_PARTITIONS;
    }
    if (error != KE_NONE) {
        grow_fail(g, error, api_strdup(r, why.text).p);
        return;
    }
    int32_t added = g->from->count - topic.partition_count;
    if (added <= 0 || g->from->count > METADATA_PARTITIONS_MAX) {
        errtext_set(&why, "the topic has %d partitions; a new count must be larger, not %d",
                    topic.partition_count, g->from->count);
        grow_fail(g, KE_INVALID_PARTITIONS, api_strdup(r, why.text).p);
        return;
    }
    struct zkdoc_partition *parts = g->from->assignments_count < 0
                                        ? grow_place(r, g, t->task.metadata, &topic, added)
                                        : grow_take(r, g, t->task.metadata, &topic, added);
    if (parts == NULL)
        return;
    error = zkadmin_add_partitions(r->broker->coord, name, parts, added, req->validate_only, &why);
    if (error != KE_NONE)
        grow_fail(g, error, api_strdup(r, why.text).p);
}

static void grow_io(struct task *t)
{
    struct grow_task *gt = CONTAINER_OF(t, struct grow_task, task);
    for (int32_t i = 0; i < gt->count; i++)
        if (gt->items[i].error == KE_NONE)
            grow_one(gt, &gt->items[i]);
}

static bool grow_item_is_ready(const struct grow_item *g, const struct metadata *m)
{
    const struct metadata_topic *t = metadata_topic(m, g->from->name);
    if (t == NULL || t->partition_count < g->from->count)
        return false;
    for (int32_t i = 0; i < g->from->count; i++)
        if (!t->partitions[i].exists || t->partitions[i].leader < 0)
            return false;
    return true;
}

static bool grow_is_ready(struct task *t, const struct metadata *m)
{
    const struct kp_CreatePartitionsRequest *req = t->request->body;
    struct grow_task *gt = CONTAINER_OF(t, struct grow_task, task);
    for (int32_t i = 0; i < gt->count && !req->validate_only; i++)
        if (gt->items[i].error == KE_NONE && !grow_item_is_ready(&gt->items[i], m))
            return false;
    return true;
}

static void grow_finish(struct task *t, bool is_timed_out)
{
    grow_answer(t->request, CONTAINER_OF(t, struct grow_task, task), is_timed_out);
}

static void grow_answer(struct request *r, struct grow_task *t, bool is_timed_out)
{
    struct kp_CreatePartitionsResponse a;
    kp_defaults(&kp_CreatePartitionsResponse_schema, &a);
    a.results = api_alloc(r, (size_t)t->count, sizeof *a.results);
    if (a.results == NULL) {
        api_no_memory(r);
        return;
    }
    a.results_count = t->count;
    for (int32_t i = 0; i < t->count; i++) {
        struct grow_item *g = &t->items[i];
        if (g->error == KE_NONE && is_timed_out && !grow_item_is_ready(g, metadata_current(r)))
            grow_fail(g, KE_REQUEST_TIMED_OUT, topic_change_unseen_text);
        a.results[i] = (struct kp_CreatePartitionsResponse_CreatePartitionsTopicResult){
            .name = g->from->name,
            .error_code = g->error,
            .error_message = g->error == KE_NONE  ? STR_NULL
                             : g->message != NULL ? str_of(g->message)
                                                  : str_of(kerr_text(g->error))};
    }
    request_reply(r, &a);
}

static bool grow_items(struct request *r, struct grow_task *t)
{
    const struct kp_CreatePartitionsRequest *req = r->body;
    t->count = i32_max(req->topics_count, 0);
    t->items = api_alloc(r, (size_t)t->count, sizeof *t->items);
    struct str *names = api_alloc(r, (size_t)t->count, sizeof *names);
    bool *twice = api_alloc(r, (size_t)t->count, sizeof *twice);
    if (t->items == NULL || names == NULL || twice == NULL)
        return false;
    for (int32_t i = 0; i < t->count; i++)
        names[i] = req->topics[i].name;
    if (!topic_change_duplicates(r, names, (size_t)t->count, twice))
        return false;
    for (int32_t i = 0; i < t->count; i++) {
        struct grow_item *g = &t->items[i];
        g->from = &req->topics[i];
        if (!topic_change_is_here(r))
            grow_fail(g, KE_NOT_CONTROLLER, topic_change_elsewhere_text);
        if (twice[i])
            grow_fail(g, KE_INVALID_REQUEST, "the request names this topic twice");
        if (!authorize(r, ACL_ALTER, ACL_TOPIC, g->from->name))
            grow_fail(g, KE_TOPIC_AUTHORIZATION_FAILED, "not allowed to alter this topic");
        else if (metadata_topic(metadata_current(r), g->from->name) == NULL)
            grow_fail(g, KE_UNKNOWN_TOPIC_OR_PARTITION, "no topic has this name");
    }
    return true;
}

void api_create_partitions(struct request *r)
{
    CHECK_OBJ(r, REQUEST_MAGIC);
    const struct kp_CreatePartitionsRequest *req = r->body;
    struct grow_task *t = api_alloc(r, 1, sizeof *t);
    if (t == NULL || !grow_items(r, t)) {
        api_no_memory(r);
        return;
    }
    t->task.io = grow_io;
    t->task.needs_coord = true;
    t->task.is_ready = grow_is_ready;
    t->task.finish = grow_finish;
    t->task.timeout_ms = req->timeout_ms;
    enum err rc = task_start(&t->task, r);
    if (rc == ERR_OK)
        return;
    for (int32_t i = 0; i < t->count; i++)
        grow_fail(&t->items[i], KE_REQUEST_TIMED_OUT, task_refusal_text(rc));
    grow_answer(r, t, false);
}
