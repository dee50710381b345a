/* SPDX-License-Identifier: Apache-2.0 */
/* create_topics - CreateTopics (19): on the
 * controller's broker only. An io thread writes to the coordination service, the controller acts on
 * its watch, and the answer waits until the metadata show the result or the client's time is up. */
#include "broker/api/api.h"
#include "broker/api/config_entries.h"
#include "broker/api/handlers.h"
#include "broker/api/task.h"
#include "broker/api/topic_change.h"
#include "broker/api/topic_create.h"
#include "broker/config/topic_config.h"
#include "common/base/topic_name.h"
#include "common/protocol/codec.h"
#include "common/protocol/messages.h"
#include "common/zk/zkadmin.h"

#include <stdlib.h>

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
            topic_create_fail(item, KE_REQUEST_TIMED_OUT, topic_change_unseen_text);
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
    if (!topic_change_is_here(r))
        topic_create_fail(item, KE_NOT_CONTROLLER, topic_change_elsewhere_text);
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
    if (!topic_change_duplicates(r, names, n, twice))
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
    CHECK_OBJ(r, REQUEST_MAGIC);
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
