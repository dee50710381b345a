/* SPDX-License-Identifier: Apache-2.0 */
/* topics_admin - CreateTopics (19), DeleteTopics (20), CreatePartitions (37): on the controller's
 * broker only. An io thread writes to the coordination service, the controller acts on its watch,
 * and the answer waits until the metadata show the result or the client's time is up. */
#include "broker/api/api.h"
#include "broker/api/config_entries.h"
#include "broker/api/handlers.h"
#include "broker/api/task.h"
#include "broker/api/topic_create.h"
#include "broker/config/config.h"
#include "broker/group/coordinator.h"
#include "broker/config/topic_config.h"
#include "common/base/topic_name.h"
#include "common/protocol/codec.h"
#include "common/protocol/messages.h"
#include "common/zk/zkadmin.h"
#include "controller/controller.h"
#include "controller/placement.h"

#include <stdlib.h>

static const char not_controller_text[] =
    "this broker is not the controller; the metadata tell which one is";
static const char no_time_text[] =
    "the request was taken, but its effect was not seen in time; it goes on in the background";

static bool is_controller(const struct request *r)
{
    return controller_is_active(r->broker->controller);
}

/* ---- names that come twice */

static int str_ptr_cmp(const void *a, const void *b)
{
    const struct str *const *x = a, *const *y = b;
    return str_cmp(**x, **y);
}

/* Sets twice[i] for each of names that is there more than once. False: no memory. */
static bool find_duplicates(struct request *r, const struct str *names, size_t count, bool *twice)
{
    const struct str **sorted = api_alloc(r, count, sizeof *sorted);
    if (sorted == NULL)
        return false;
    for (size_t i = 0; i < count; i++)
        sorted[i] = &names[i];
    qsort(sorted, count, sizeof *sorted, str_ptr_cmp);
    for (size_t i = 1; i < count; i++)
        if (str_eq(*sorted[i - 1], *sorted[i]))
            twice[sorted[i - 1] - names] = twice[sorted[i] - names] = true;
    return true;
}

/* ---- CreateTopics */

struct create_task {
    struct task task;
    struct topic_create create;
};

static void create_answer(struct request *r, struct topic_create *c, bool is_timed_out)
{
    const struct kp_CreateTopicsRequest *req = r->body;
    struct kp_CreateTopicsResponse a;
    kp_defaults(&kp_CreateTopicsResponse_schema, &a);
    a.topics = api_alloc(r, (size_t)c->count, sizeof *a.topics);
    if (a.topics == NULL) {
        api_no_memory(r);
        return;
    }
    a.topics_count = c->count;
    for (int32_t i = 0; i < c->count; i++) {
        struct topic_create_item *item = &c->items[i];
        struct kp_CreateTopicsResponse_CreatableTopicResult *t = &a.topics[i];
        kp_defaults(&kp_CreateTopicsResponse_CreatableTopicResult_schema, t);
        t->name = item->name;
        if (item->error == KE_NONE && is_timed_out && !req->validate_only &&
            !topic_create_item_has_leaders(item, metadata_current(r)))
            topic_create_fail(item, KE_REQUEST_TIMED_OUT, no_time_text);
        t->error_code = item->error;
        if (item->error != KE_NONE) {
            t->error_message =
                str_of(item->message != NULL ? item->message : kerr_text(item->error));
            t->configs_count = -1;
            continue;
        }
        t->error_message = STR_NULL;
        t->topic_id = req->validate_only ? UUID_ZERO : item->id;
        t->num_partitions = item->partition_count;
        t->replication_factor = (int16_t)item->replication_factor;
        if (authorize(r, ACL_DESCRIBE_CONFIGS, ACL_TOPIC, item->name))
            config_entries_created(r, item, t);
        else
            t->topic_config_error_code = KE_TOPIC_AUTHORIZATION_FAILED;
    }
    request_reply(r, &a);
}

static void create_io(struct task *t)
{
    topic_create_run(&CONTAINER_OF(t, struct create_task, task)->create, t->metadata);
}

static bool create_is_ready(struct task *t, const struct metadata *m)
{
    return topic_create_has_leaders(&CONTAINER_OF(t, struct create_task, task)->create, m);
}

static void create_finish(struct task *t, bool is_timed_out)
{
    create_answer(t->request, &CONTAINER_OF(t, struct create_task, task)->create, is_timed_out);
}

static int assignment_cmp(const void *a, const void *b)
{
    const struct zkdoc_partition *x = a, *y = b;
    return x->index < y->index ? -1 : x->index > y->index;
}

/* The client's own placement: ids 0..n-1, one number of replicas, no broker twice. */
static bool take_assignments(struct request *r,
                             const struct kp_CreateTopicsRequest_CreatableTopic *from,
                             struct topic_create_item *item)
{
    int32_t n = from->assignments_count;
    if (from->num_partitions != -1 || from->replication_factor != -1) {
        topic_create_fail(item, KE_INVALID_REQUEST,
                          "give either the numbers of partitions and replicas or an assignment, "
                          "not both");
        return true;
    }
    item->assigned = api_alloc(r, (size_t)n, sizeof *item->assigned);
    if (item->assigned == NULL)
        return false;
    for (int32_t i = 0; i < n; i++)
        item->assigned[i] =
            (struct zkdoc_partition){.index = from->assignments[i].partition_index,
                                     .replica_count = from->assignments[i].broker_ids_count,
                                     .replicas = from->assignments[i].broker_ids};
    qsort(item->assigned, (size_t)n, sizeof *item->assigned, assignment_cmp);
    item->partition_count = n;
    item->replication_factor = item->assigned[0].replica_count;
    for (int32_t i = 0; i < n; i++) {
        if (item->assigned[i].index != i)
            topic_create_fail(item, KE_INVALID_REPLICA_ASSIGNMENT,
                              "the partitions of an assignment are numbered from 0 without gaps");
        if (item->assigned[i].replica_count != item->replication_factor ||
            item->replication_factor < 1)
            topic_create_fail(item, KE_INVALID_REPLICA_ASSIGNMENT,
                              "every partition of an assignment needs the same number of replicas");
    }
    return true;
}

/* Values that are fine one by one may not be so together. False: no memory. */
static bool check_together(struct request *r, struct topic_create_item *item)
{
    struct topic_override *o = api_alloc(r, (size_t)item->config_count, sizeof *o);
    struct log_config made;
    struct errtext why;
    if (o == NULL)
        return false;
    for (int32_t i = 0; i < item->config_count; i++)
        o[i] = (struct topic_override){item->configs[i].key, item->configs[i].value};
    if (topic_config_make(r->broker->config, o, (size_t)item->config_count, &made, &why) != ERR_OK)
        topic_create_fail(item, KE_INVALID_CONFIG, api_strdup(r, why.text).p);
    return true;
}

static bool take_configs(struct request *r,
                         const struct kp_CreateTopicsRequest_CreatableTopic *from,
                         struct topic_create_item *item)
{
    item->configs = api_alloc(r, (size_t)from->configs_count, sizeof *item->configs);
    if (item->configs == NULL)
        return false;
    for (int32_t i = 0; i < from->configs_count; i++) {
        struct str k = from->configs[i].name, v = from->configs[i].value;
        struct errtext why;
        if (v.len < 0) {
            topic_create_fail(item, KE_INVALID_CONFIG, "a config needs a value, null is none");
            continue;
        }
        struct zkdoc_kv *kv = &item->configs[item->config_count++];
        kv->key = api_strdup_str(r, k);
        kv->value = api_strdup_str(r, v);
        if (kv->key == NULL || kv->value == NULL)
            return false;
        if (topic_option_check(kv->key, kv->value, &why) != ERR_OK)
            topic_create_fail(item, KE_INVALID_CONFIG, api_strdup(r, why.text).p);
    }
    return item->error != KE_NONE || check_together(r, item);
}

static bool create_item(struct request *r, const struct kp_CreateTopicsRequest_CreatableTopic *from,
                        bool is_twice, struct topic_create_item *item)
{
    item->name = from->name;
    item->partition_count = from->num_partitions;
    item->replication_factor = from->replication_factor;
    const char *fault = topic_name_fault(from->name);
    if (!is_controller(r))
        topic_create_fail(item, KE_NOT_CONTROLLER, not_controller_text);
    if (is_twice)
        topic_create_fail(item, KE_INVALID_REQUEST, "the request names this topic twice");
    if (!api_cluster_allowed(r, ACL_CREATE) && !authorize(r, ACL_CREATE, ACL_TOPIC, from->name))
        topic_create_fail(item, KE_TOPIC_AUTHORIZATION_FAILED,
                          "not allowed to create this topic: CREATE on it or on the cluster is "
                          "needed");
    if (fault != NULL)
        topic_create_fail(item, KE_INVALID_TOPIC_EXCEPTION, fault);
    if (str_eq_z(from->name, "__cluster_metadata"))
        topic_create_fail(item, KE_INVALID_REQUEST, "this name is reserved");
    if (item->error != KE_NONE)
        return true;
    if (from->assignments_count > 0 && !take_assignments(r, from, item))
        return false;
    return take_configs(r, from, item);
}

/* The names of the request's topics and which of them come twice. False: no memory. */
static bool create_items(struct request *r, struct topic_create *c)
{
    const struct kp_CreateTopicsRequest *req = r->body;
    size_t n = (size_t)i32_max(req->topics_count, 0);
    struct str *names = api_alloc(r, n, sizeof *names);
    bool *twice = api_alloc(r, n, sizeof *twice);
    if (names == NULL || twice == NULL)
        return false;
    for (size_t i = 0; i < n; i++)
        names[i] = req->topics[i].name;
    if (!find_duplicates(r, names, n, twice))
        return false;
    for (size_t i = 0; i < n; i++) {
        struct topic_create_item *item = &c->items[c->count++];
        *item = (struct topic_create_item){.partition_count = -1};
        if (!create_item(r, &req->topics[i], twice[i], item))
            return false;
    }
    return true;
}

void api_create_topics(struct request *r)
{
    const struct kp_CreateTopicsRequest *req = r->body;
    struct create_task *t = api_alloc(r, 1, sizeof *t);
    if (t == NULL || !topic_create_init(&t->create, r, i32_max(req->topics_count, 0)) ||
        !create_items(r, &t->create)) {
        api_no_memory(r);
        return;
    }
    t->create.validate_only = req->validate_only;
    t->task.io = create_io;
    t->task.needs_coord = true;
    t->task.is_ready = create_is_ready;
    t->task.finish = create_finish;
    t->task.timeout_ms = req->timeout_ms;
    enum err rc = task_start(&t->task, r);
    if (rc == ERR_OK)
        return;
    for (int32_t i = 0; i < t->create.count; i++)
        topic_create_fail(&t->create.items[i], KE_REQUEST_TIMED_OUT, task_refusal_text(rc));
    create_answer(r, &t->create, false);
}

/* ---- DeleteTopics */

struct delete_item {
    struct str name; /* null: an id that is unknown */
    struct uuid id;
    int16_t error;
    const char *message;
};
struct delete_task {
    struct task task;
    int32_t count;
    struct delete_item *items;
};

static void delete_fail(struct delete_item *d, int16_t error, const char *message)
{
    if (d->error != KE_NONE)
        return;
    d->error = error;
    d->message = message;
}

static bool delete_item_is_gone(const struct delete_item *d, const struct metadata *m)
{
    const struct metadata_topic *t = metadata_topic(m, d->name);
    /* another id: deleted and created again meanwhile */
    return t == NULL || (!uuid_is_zero(d->id) && !uuid_eq(t->id, d->id));
}

/* Says what the deletion waits for (docs/decisions/0009). */
static const char *delete_waits_for(struct request *r, const struct delete_item *d)
{
    const struct metadata *m = metadata_current(r);
    const struct metadata_topic *t = metadata_topic(m, d->name);
    for (int32_t i = 0; t != NULL && i < t->partition_count; i++) {
        for (int32_t j = 0; j < t->partitions[i].replica_count; j++) {
            int32_t id = t->partitions[i].replicas[j];
            struct errtext text;
            if (metadata_broker(m, id) != NULL)
                continue;
            errtext_set(&text,
                        "the topic is marked for deletion; it waits for broker %d, which holds "
                        "replicas and is not alive",
                        id);
            return api_strdup(r, text.text).p;
        }
    }
    return no_time_text;
}

static void delete_answer(struct request *r, struct delete_task *t, bool is_timed_out)
{
    struct kp_DeleteTopicsResponse a;
    kp_defaults(&kp_DeleteTopicsResponse_schema, &a);
    a.responses = api_alloc(r, (size_t)t->count, sizeof *a.responses);
    if (a.responses == NULL) {
        api_no_memory(r);
        return;
    }
    a.responses_count = t->count;
    for (int32_t i = 0; i < t->count; i++) {
        struct delete_item *d = &t->items[i];
        if (d->error == KE_NONE && is_timed_out && !delete_item_is_gone(d, metadata_current(r)))
            delete_fail(d, KE_REQUEST_TIMED_OUT, delete_waits_for(r, d));
        a.responses[i] = (struct kp_DeleteTopicsResponse_DeletableTopicResult){
            .name = d->name,
            .topic_id = d->id,
            .error_code = d->error,
            .error_message = d->error == KE_NONE  ? STR_NULL
                             : d->message != NULL ? str_of(d->message)
                                                  : str_of(kerr_text(d->error))};
    }
    request_reply(r, &a);
}

static void delete_io(struct task *t)
{
    struct delete_task *dt = CONTAINER_OF(t, struct delete_task, task);
    for (int32_t i = 0; i < dt->count; i++) {
        struct delete_item *d = &dt->items[i];
        struct errtext why = {.text = ""};
        if (d->error != KE_NONE)
            continue;
        const char *name = api_strdup_str(t->request, d->name);
        int16_t error = name == NULL ? (int16_t)KE_UNKNOWN_SERVER_ERROR
                                     : zkadmin_delete_topic(t->request->broker->coord, name, &why);
        if (error != KE_NONE)
            delete_fail(d, error, api_strdup(t->request, why.text).p);
    }
}

static bool delete_is_ready(struct task *t, const struct metadata *m)
{
    struct delete_task *dt = CONTAINER_OF(t, struct delete_task, task);
    for (int32_t i = 0; i < dt->count; i++)
        if (dt->items[i].error == KE_NONE && !delete_item_is_gone(&dt->items[i], m))
            return false;
    return true;
}

static void delete_finish(struct task *t, bool is_timed_out)
{
    delete_answer(t->request, CONTAINER_OF(t, struct delete_task, task), is_timed_out);
}

static void delete_check(struct request *r, struct delete_item *d)
{
    const struct metadata *m = metadata_current(r);
    bool by_id = d->name.len < 0;
    const struct metadata_topic *t =
        by_id ? metadata_topic_by_id(m, d->id) : metadata_topic(m, d->name);
    if (!is_controller(r))
        delete_fail(d, KE_NOT_CONTROLLER, not_controller_text);
    if (!r->broker->config->delete_topic_enable)
        delete_fail(d, r->api_version < 3 ? KE_INVALID_REQUEST : KE_TOPIC_DELETION_DISABLED,
                    "delete.topic.enable is false on this broker");
    if (!by_id && !uuid_is_zero(d->id))
        delete_fail(d, KE_INVALID_REQUEST, "name a topic by its name or by its id, not by both");
    if (d->error != KE_NONE)
        return;
    if (by_id && (t == NULL || !authorize(r, ACL_DESCRIBE, ACL_TOPIC, t->name))) {
        delete_fail(d, KE_UNKNOWN_TOPIC_ID, "no topic has this id");
        return;
    }
    if (!authorize(r, ACL_DELETE, ACL_TOPIC, t != NULL ? t->name : d->name))
        delete_fail(d, KE_TOPIC_AUTHORIZATION_FAILED, "not allowed to delete this topic");
    else if (t == NULL)
        delete_fail(d, KE_UNKNOWN_TOPIC_OR_PARTITION, "no topic has this name");
    if (t == NULL)
        return;
    d->name = (struct str){arena_strdup(&r->arena, t->name.p, (size_t)t->name.len), t->name.len};
    d->id = t->id;
    if (d->name.p == NULL)
        d->name = STR_NULL;
}

static bool delete_items(struct request *r, struct delete_task *t)
{
    const struct kp_DeleteTopicsRequest *req = r->body;
    bool has_ids = r->api_version >= 6;
    t->count = i32_max(has_ids ? req->topics_count : req->topic_names_count, 0);
    t->items = api_alloc(r, (size_t)t->count, sizeof *t->items);
    if (t->items == NULL)
        return false;
    for (int32_t i = 0; i < t->count; i++) { /* one that is named twice is answered twice */
        t->items[i].name = has_ids ? req->topics[i].name : req->topic_names[i];
        t->items[i].id = has_ids ? req->topics[i].topic_id : UUID_ZERO;
        delete_check(r, &t->items[i]);
    }
    return true;
}

void api_delete_topics(struct request *r)
{
    const struct kp_DeleteTopicsRequest *req = r->body;
    struct delete_task *t = api_alloc(r, 1, sizeof *t);
    if (t == NULL || !delete_items(r, t)) {
        api_no_memory(r);
        return;
    }
    t->task.io = delete_io;
    t->task.needs_coord = true;
    t->task.is_ready = delete_is_ready;
    t->task.finish = delete_finish;
    t->task.timeout_ms = req->timeout_ms;
    enum err rc = task_start(&t->task, r);
    if (rc == ERR_OK)
        return;
    for (int32_t i = 0; i < t->count; i++)
        delete_fail(&t->items[i], KE_REQUEST_TIMED_OUT, task_refusal_text(rc));
    delete_answer(r, t, false);
}

/* ---- CreatePartitions */

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
            grow_fail(g, KE_REQUEST_TIMED_OUT, no_time_text);
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
    if (!find_duplicates(r, names, (size_t)t->count, twice))
        return false;
    for (int32_t i = 0; i < t->count; i++) {
        struct grow_item *g = &t->items[i];
        g->from = &req->topics[i];
        if (!is_controller(r))
            grow_fail(g, KE_NOT_CONTROLLER, not_controller_text);
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
