/* SPDX-License-Identifier: Apache-2.0 */
/* delete_topics - DeleteTopics (20): on the
 * controller's broker only. An io thread writes to the coordination service, the controller acts on
 * its watch, and the answer waits until the metadata show the result or the client's time is up. */
#include "broker/api/api.h"
#include "broker/api/handlers.h"
#include "broker/api/task.h"
#include "broker/api/topic_change.h"
#include "broker/config/config.h"
#include "common/protocol/codec.h"
#include "common/protocol/messages.h"
#include "common/zk/zkadmin.h"

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
    ASSERT(error != KE_NONE);
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
    return topic_change_unseen_text;
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
    if (!topic_change_is_here(r))
        delete_fail(d, KE_NOT_CONTROLLER, topic_change_elsewhere_text);
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
    CHECK_OBJ(r, REQUEST_MAGIC);
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
