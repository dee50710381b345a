/* SPDX-License-Identifier: Apache-2.0 */
/* metadata - Metadata (3): who is there, where the partitions are, and the creation of topics
 * that a client names before they exist.
 *
 * Topics to be created are written to the coordination service by an io thread; the answer waits,
 * for a bounded time, until they have leaders, so that a client's first try finds them. */
#include "broker/api/api.h"
#include "broker/api/brokers.h"
#include "broker/api/handlers.h"
#include "broker/api/task.h"
#include "broker/api/topic_create.h"
#include "broker/config/config.h"
#include "common/base/topic_name.h"
#include "common/protocol/codec.h"
#include "common/protocol/messages.h"

enum {
    LEADER_WAIT_MS = 3000,
    /* a client that has not heard of a deletion must not bring the topic back:
     * docs/decisions/0009 */
    DELETED_STAYS_MS = 5000,
    TOPICS_CREATED_MAX = 100 /* by one Metadata request */
};

struct metadata_task {
    struct task task;
    struct topic_create create;
};

/* ---- one topic */

static void partition_answer(const struct request *r, const struct metadata *m,
                             const struct metadata_partition *p, int32_t index,
                             struct kp_MetadataResponse_MetadataResponsePartition *a)
{
    const struct metadata_broker *leader = metadata_broker(m, p->leader);
    a->partition_index = index;
    a->leader_epoch = p->leader_epoch;
    a->replica_nodes = p->replicas;
    a->replica_nodes_count = p->replica_count;
    a->isr_nodes = p->isr;
    a->isr_nodes_count = p->isr_count;
    a->offline_replicas = p->offline;
    a->offline_replicas_count = p->offline_count;
    a->leader_id = p->leader;
    if (metadata_endpoint(leader, r->listener->name) != NULL)
        return;
    a->leader_id = METADATA_LEADER_NONE;
    a->error_code =
        leader != NULL && r->api_version >= 6 ? KE_LISTENER_NOT_FOUND : KE_LEADER_NOT_AVAILABLE;
}

/* v0: brokers that are not there are left out of the lists, and that is an error. */
static int32_t filter_alive(struct request *r, const struct metadata *m, int32_t **ids,
                            int32_t count)
{
    int32_t *alive = api_alloc(r, (size_t)count, sizeof *alive);
    int32_t n = 0;
    for (int32_t i = 0; alive != NULL && i < count; i++)
        if (metadata_endpoint(metadata_broker(m, (*ids)[i]), r->listener->name) != NULL)
            alive[n++] = (*ids)[i];
    *ids = alive;
    return n;
}

static void partition_answer_v0(struct request *r, const struct metadata *m,
                                struct kp_MetadataResponse_MetadataResponsePartition *a)
{
    int32_t replicas = filter_alive(r, m, &a->replica_nodes, a->replica_nodes_count);
    int32_t isr = filter_alive(r, m, &a->isr_nodes, a->isr_nodes_count);
    if (a->error_code == KE_NONE && (replicas < a->replica_nodes_count || isr < a->isr_nodes_count))
        a->error_code = KE_REPLICA_NOT_AVAILABLE;
    a->replica_nodes_count = replicas;
    a->isr_nodes_count = isr;
}

/* False: no memory. */
static bool topic_answer(struct request *r, const struct metadata *m,
                         const struct metadata_topic *t,
                         struct kp_MetadataResponse_MetadataResponseTopic *a)
{
    const struct kp_MetadataRequest *req = r->body;
    a->name = t->name;
    a->topic_id = t->id;
    a->is_internal = api_topic_is_internal(t->name);
    if (req->include_topic_authorized_operations)
        a->topic_authorized_operations = api_authorized_operations(r, ACL_TOPIC, t->name);
    a->partitions = api_alloc(r, (size_t)t->partition_count, sizeof *a->partitions);
    if (a->partitions == NULL)
        return false;
    for (int32_t i = 0; i < t->partition_count; i++) {
        const struct metadata_partition *p = &t->partitions[i];
        if (!p->exists)
            continue;
        struct kp_MetadataResponse_MetadataResponsePartition *pa =
            &a->partitions[a->partitions_count++];
        partition_answer(r, m, p, i, pa);
        if (r->api_version == 0)
            partition_answer_v0(r, m, pa);
    }
    return true;
}

static void topic_error(struct kp_MetadataResponse_MetadataResponseTopic *a, int16_t error,
                        struct str name, struct uuid id)
{
    kp_defaults(&kp_MetadataResponse_MetadataResponseTopic_schema, a);
    a->error_code = error;
    a->name = name;
    a->topic_id = id;
    a->is_internal = api_topic_is_internal(name);
}

/* ---- which topics */

static bool wants_all(const struct request *r)
{
    const struct kp_MetadataRequest *req = r->body;
    return req->topics_count < 0 || (r->api_version == 0 && req->topics_count == 0);
}

static bool answer_all(struct request *r, const struct metadata *m, struct kp_MetadataResponse *a)
{
    int32_t count = metadata_topic_count(m);
    api_raise_limit(r, (size_t)count, sizeof *a->topics + 64);
    a->topics = api_alloc(r, (size_t)count, sizeof *a->topics);
    if (a->topics == NULL)
        return false;
    for (int32_t i = 0; i < count; i++) {
        const struct metadata_topic *t = metadata_topic_at(m, i);
        if (!authorize(r, ACL_DESCRIBE, ACL_TOPIC, t->name))
            continue; /* not even its existence */
        struct kp_MetadataResponse_MetadataResponseTopic *ta = &a->topics[a->topics_count++];
        api_raise_limit(r, (size_t)t->partition_count, sizeof *ta->partitions + 1);
        kp_defaults(&kp_MetadataResponse_MetadataResponseTopic_schema, ta);
        if (!topic_answer(r, m, t, ta))
            return false;
    }
    return true;
}

/* What a missing topic is told. created: NULL, or what became of its creation. */
static int16_t missing_error(struct str name, const struct topic_create *created)
{
    const struct topic_create_item *item =
        created == NULL ? NULL : topic_create_find(created, name);
    if (!topic_name_is_valid(name))
        return KE_INVALID_TOPIC_EXCEPTION;
    if (item == NULL)
        return KE_UNKNOWN_TOPIC_OR_PARTITION;
    if (item->error == KE_NONE || item->error == KE_TOPIC_ALREADY_EXISTS ||
        item->error == KE_REQUEST_TIMED_OUT)
        return KE_LEADER_NOT_AVAILABLE;
    return item->error;
}

static bool answer_named(struct request *r, const struct metadata *m,
                         const struct topic_create *created, struct kp_MetadataResponse *a)
{
    const struct kp_MetadataRequest *req = r->body;
    a->topics = api_alloc(r, (size_t)req->topics_count, sizeof *a->topics);
    if (a->topics == NULL)
        return false;
    a->topics_count = req->topics_count;
    for (int32_t i = 0; i < req->topics_count; i++) {
        struct kp_MetadataResponse_MetadataResponseTopic *ta = &a->topics[i];
        struct str name = req->topics[i].name;
        struct uuid id = req->topics[i].topic_id;
        bool by_id = name.len < 0;
        const struct metadata_topic *t =
            by_id ? metadata_topic_by_id(m, id) : metadata_topic(m, name);
        if ((by_id || !uuid_is_zero(id)) && r->api_version < 12)
            topic_error(ta, KE_INVALID_REQUEST, by_id ? STR_LIT("") : name, id);
        else if (t != NULL ? !authorize(r, ACL_DESCRIBE, ACL_TOPIC, t->name)
                           : !by_id && !authorize(r, ACL_DESCRIBE, ACL_TOPIC, name))
            topic_error(ta, by_id ? KE_UNKNOWN_TOPIC_ID : KE_TOPIC_AUTHORIZATION_FAILED, name, id);
        else if (t == NULL && by_id)
            topic_error(ta, KE_UNKNOWN_TOPIC_ID, name, id);
        else if (t == NULL)
            topic_error(ta, missing_error(name, created), name, UUID_ZERO);
        else {
            kp_defaults(&kp_MetadataResponse_MetadataResponseTopic_schema, ta);
            if (!topic_answer(r, m, t, ta))
                return false;
        }
    }
    return true;
}

/* ---- the answer */

static void answer(struct request *r, const struct topic_create *created)
{
    const struct kp_MetadataRequest *req = r->body;
    struct metadata *m = metadata_current(r);
    struct kp_MetadataResponse a;
    kp_defaults(&kp_MetadataResponse_schema, &a);
    struct broker_list brokers;
    bool ok = broker_list_make(&brokers, r, m);
    a.brokers = api_alloc(r, (size_t)brokers.count, sizeof *a.brokers);
    if (!ok || a.brokers == NULL) {
        api_no_memory(r);
        return;
    }
    a.brokers_count = brokers.count;
    for (int32_t i = 0; i < brokers.count; i++)
        a.brokers[i] =
            (struct kp_MetadataResponse_MetadataResponseBroker){.node_id = brokers.nodes[i].id,
                                                                .host = brokers.nodes[i].host,
                                                                .port = brokers.nodes[i].port,
                                                                .rack = brokers.nodes[i].rack};
    a.cluster_id = str_of(r->broker->cluster_id);
    a.controller_id = metadata_controller_id(m);
    if (req->include_cluster_authorized_operations && api_cluster_allowed(r, ACL_DESCRIBE))
        a.cluster_authorized_operations =
            api_authorized_operations(r, ACL_CLUSTER, STR_LIT("kafka-cluster"));
    if (wants_all(r) ? answer_all(r, m, &a) : answer_named(r, m, created, &a))
        request_reply(r, &a);
    else
        api_no_memory(r);
}

/* ---- creating what is missing */

static void create_io(struct task *t)
{
    struct metadata_task *mt = CONTAINER_OF(t, struct metadata_task, task);
    topic_create_run(&mt->create, t->metadata);
}

static bool create_is_ready(struct task *t, const struct metadata *m)
{
    return topic_create_has_leaders(&CONTAINER_OF(t, struct metadata_task, task)->create, m);
}

static void create_finish(struct task *t, bool is_timed_out)
{
    (void)is_timed_out; /* then some topics answer LEADER_NOT_AVAILABLE */
    answer(t->request, &CONTAINER_OF(t, struct metadata_task, task)->create);
}

/* Topics that the request may bring into being: named, valid, missing, and allowed. */
static int32_t missing_count(const struct request *r, const struct metadata *m)
{
    const struct kp_MetadataRequest *req = r->body;
    bool may_create = r->api_version < 4 || req->allow_auto_topic_creation;
    int32_t n = 0;
    if (!may_create || !r->broker->config->auto_create_topics_enable || wants_all(r))
        return 0;
    for (int32_t i = 0; i < req->topics_count; i++)
        n += req->topics[i].name.len > 0 && metadata_topic(m, req->topics[i].name) == NULL &&
             topic_name_is_valid(req->topics[i].name);
    return i32_min(n, TOPICS_CREATED_MAX);
}

/* False: nothing to create. Else the request was answered, or will be. */
static bool create_missing(struct request *r, const struct metadata *m, int32_t count)
{
    const struct kp_MetadataRequest *req = r->body;
    struct metadata_task *mt = api_alloc(r, 1, sizeof *mt);
    if (mt == NULL || !topic_create_init(&mt->create, r, count))
        return false;
    for (int32_t i = 0; i < req->topics_count && mt->create.count < count; i++) {
        struct str name = req->topics[i].name;
        if (name.len <= 0 || metadata_topic(m, name) != NULL || !topic_name_is_valid(name) ||
            topic_create_find(&mt->create, name) != NULL ||
            metadata_cache_deleted_within(r->broker->metadata, name, DELETED_STAYS_MS) ||
            !(api_cluster_allowed(r, ACL_CREATE) || authorize(r, ACL_CREATE, ACL_TOPIC, name)))
            continue;
        if (!topic_create_add_default(&mt->create, name))
            return false;
    }
    if (mt->create.count == 0)
        return false;
    mt->create.wait_for_existing = true;
    mt->task.io = create_io;
    mt->task.needs_coord = true;
    mt->task.is_ready = create_is_ready;
    mt->task.finish = create_finish;
    mt->task.timeout_ms = LEADER_WAIT_MS;
    if (task_start(&mt->task, r) != ERR_OK)
        answer(r, &mt->create); /* LEADER_NOT_AVAILABLE: the client asks again */
    return true;
}

static void serve(struct request *r)
{
    struct metadata *m = metadata_current(r);
    int32_t missing = missing_count(r, m);
    if (missing > 0 && create_missing(r, m, missing))
        return;
    answer(r, NULL);
}

void api_metadata(struct request *r)
{
    CHECK_OBJ(r, REQUEST_MAGIC);
    /* A client that gets an answer without topics forgets all partitions that it is reading. */
    api_when_informed(r, serve);
}
