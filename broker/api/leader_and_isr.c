/* SPDX-License-Identifier: Apache-2.0 */
/* LeaderAndIsr and StopReplica: the request becomes a list of orders, which the replicas carry out
 * on the pool; the last one to end posts the request back to its loop, where it is answered.
 *
 * Names and numbers come from a peer: a topic name becomes a folder's name, so it is checked here.
 */
#include "broker/api/handlers.h"

#include "broker/api/api.h"
#include "broker/api/new_topics.h"
#include "broker/broker.h"
#include "broker/replica/replicas.h"
#include "common/base/slog.h"
#include "common/base/topic_name.h"
#include "common/protocol/messages.h"

struct control { /* in the request's arena */
    struct request *request;
    struct replicas_order *orders; /* those that are carried out */
    int32_t count;
    struct replicas_order *refused; /* with their result, only to be answered */
    int32_t refused_count;
};

/* Frames are large enough for any cluster, but not endless. */
static struct control *control_new(struct request *r, int64_t partitions)
{
    struct control *c = api_alloc(r, 1, sizeof *c);

    if (c == NULL)
        return NULL;
    c->request = r;
    c->orders = api_alloc(r, (size_t)partitions + 1, sizeof *c->orders);
    c->refused = api_alloc(r, (size_t)partitions + 1, sizeof *c->refused);
    return c->orders == NULL || c->refused == NULL ? NULL : c;
}

static void control_add(struct control *c, const struct replicas_order *o)
{
    if (!topic_name_is_valid(o->topic) || o->partition < 0) {
        c->refused[c->refused_count] = *o;
        c->refused[c->refused_count++].result = KE_INVALID_REQUEST;
    } else {
        c->orders[c->count++] = *o;
    }
}

/* The i-th partition of the answer: those carried out come first, then those refused. */
static const struct replicas_order *control_at(const struct control *c, int32_t i)
{
    return i < c->count ? &c->orders[i] : &c->refused[i - c->count];
}

static void log_refusal(const char *what, int32_t controller_id, int32_t controller_epoch,
                        int16_t error)
{
    SLOG(WARN, "control", what, KV_I("controller", controller_id),
         KV_I("controller_epoch", controller_epoch), KV_KERR(error));
}

/* ---- LeaderAndIsr */

static void answer_leader_and_isr_error(struct request *r, int16_t error)
{
    struct kp_LeaderAndIsrResponse resp;

    kp_defaults(&kp_LeaderAndIsrResponse_schema, &resp);
    resp.error_code = error;
    request_reply(r, &resp);
}

static void put_error(struct kp_LeaderAndIsrResponse_LeaderAndIsrPartitionError *to,
                      const struct replicas_order *o)
{
    kp_defaults(&kp_LeaderAndIsrResponse_LeaderAndIsrPartitionError_schema, to);
    to->topic_name = o->topic;
    to->partition_index = o->partition;
    to->error_code = o->result;
}

/* v5 and up: by topic id. Orders of a topic stand together as they did in the request. */
static void put_topics(struct kp_LeaderAndIsrResponse *resp, const struct control *c,
                       struct kp_LeaderAndIsrResponse_LeaderAndIsrPartitionError *errors,
                       struct kp_LeaderAndIsrResponse_LeaderAndIsrTopicError *topics)
{
    resp->topics = topics;
    for (int32_t i = 0; i < c->count + c->refused_count; i++) {
        struct kp_LeaderAndIsrResponse_LeaderAndIsrTopicError *t;
        const struct replicas_order *o = control_at(c, i);
        if (i == 0 || !uuid_eq(control_at(c, i - 1)->topic_id, o->topic_id)) {
            t = &topics[resp->topics_count++];
            kp_defaults(&kp_LeaderAndIsrResponse_LeaderAndIsrTopicError_schema, t);
            t->topic_id = o->topic_id;
            t->partition_errors = &errors[i];
        }
        t = &topics[resp->topics_count - 1];
        put_error(&errors[i], o);
        t->partition_errors_count++;
    }
}

static void answer_leader_and_isr(struct request *r)
{
    const struct control *c = r->handler_data;
    struct kp_LeaderAndIsrResponse resp;
    size_t n = (size_t)(c->count + c->refused_count) + 1;
    struct kp_LeaderAndIsrResponse_LeaderAndIsrPartitionError *errors =
        api_alloc(r, n, sizeof *errors);
    struct kp_LeaderAndIsrResponse_LeaderAndIsrTopicError *topics = api_alloc(r, n, sizeof *topics);

    if (errors == NULL || topics == NULL) {
        api_no_memory(r);
        return;
    }
    kp_defaults(&kp_LeaderAndIsrResponse_schema, &resp);
    if (r->api_version >= 5) {
        put_topics(&resp, c, errors, topics);
    } else {
        for (int32_t i = 0; i < c->count + c->refused_count; i++)
            put_error(&errors[i], control_at(c, i));
        resp.partition_errors = errors;
        resp.partition_errors_count = c->count + c->refused_count;
    }
    request_reply(r, &resp);
}

static void leader_and_isr_done(void *arg)
{
    struct control *c = arg;

    request_post(c->request, answer_leader_and_isr);
}

static void add_state(struct control *c, struct str topic, struct uuid topic_id,
                      const struct kp_LeaderAndIsrRequest_LeaderAndIsrPartitionState *s)
{
    control_add(c, &(struct replicas_order){.topic = topic,
                                            .partition = s->partition_index,
                                            .topic_id = topic_id,
                                            .state = {.leader_id = s->leader,
                                                      .leader_epoch = s->leader_epoch,
                                                      .partition_epoch = s->partition_epoch,
                                                      .isr = s->isr,
                                                      .isr_count = s->isr_count,
                                                      .replicas = s->replicas,
                                                      .replica_count = s->replicas_count},
                                            .is_new = s->is_new});
}

static struct control *read_leader_and_isr(struct request *r)
{
    const struct kp_LeaderAndIsrRequest *req = r->body;
    int64_t n = req->ungrouped_partition_states_count;
    struct control *c;

    for (int32_t i = 0; i < req->topic_states_count; i++)
        n += req->topic_states[i].partition_states_count;
    c = control_new(r, n);
    if (c == NULL)
        return NULL;
    for (int32_t i = 0; i < req->ungrouped_partition_states_count; i++)
        add_state(c, req->ungrouped_partition_states[i].topic_name, UUID_ZERO,
                  &req->ungrouped_partition_states[i]);
    for (int32_t i = 0; i < req->topic_states_count; i++) {
        const struct kp_LeaderAndIsrRequest_LeaderAndIsrTopicState *t = &req->topic_states[i];
        for (int32_t j = 0; j < t->partition_states_count; j++)
            add_state(c, t->topic_name, t->topic_id, &t->partition_states[j]);
    }
    return c;
}

void api_leader_and_isr(struct request *r)
{
    CHECK_OBJ(r, REQUEST_MAGIC);
    const struct kp_LeaderAndIsrRequest *req = r->body;
    struct replicas *replicas = r->broker->replicas;
    struct control *c;
    int16_t error =
        api_cluster_allowed(r, ACL_CLUSTER_ACTION) ? KE_NONE : KE_CLUSTER_AUTHORIZATION_FAILED;

    if (error == KE_NONE)
        error = replicas_admit_controller(replicas, req->controller_epoch, req->broker_epoch);
    if (error != KE_NONE) {
        log_refusal("refused LeaderAndIsr", req->controller_id, req->controller_epoch, error);
        answer_leader_and_isr_error(r, error);
        return;
    }
    c = read_leader_and_isr(r);
    if (c == NULL) {
        api_no_memory(r);
        return;
    }
    for (int32_t i = 0; i < req->live_leaders_count; i++)
        replicas_note_leader(replicas, req->live_leaders[i].broker_id,
                             req->live_leaders[i].host_name, req->live_leaders[i].port);
    new_topics_note(r->broker->api->new_topics, req);
    r->handler_data = c;
    replicas_carry_out(replicas, c->orders, c->count, leader_and_isr_done, c);
}

/* ---- StopReplica */

static void answer_stop_replica_error(struct request *r, int16_t error)
{
    struct kp_StopReplicaResponse resp;

    kp_defaults(&kp_StopReplicaResponse_schema, &resp);
    resp.error_code = error;
    request_reply(r, &resp);
}

static void answer_stop_replica(struct request *r)
{
    const struct control *c = r->handler_data;
    struct kp_StopReplicaResponse resp;
    int32_t n = c->count + c->refused_count;
    struct kp_StopReplicaResponse_StopReplicaPartitionError *errors =
        api_alloc(r, (size_t)n + 1, sizeof *errors);

    if (errors == NULL) {
        api_no_memory(r);
        return;
    }
    kp_defaults(&kp_StopReplicaResponse_schema, &resp);
    for (int32_t i = 0; i < n; i++) {
        const struct replicas_order *o = control_at(c, i);
        kp_defaults(&kp_StopReplicaResponse_StopReplicaPartitionError_schema, &errors[i]);
        errors[i].topic_name = o->topic;
        errors[i].partition_index = o->partition;
        errors[i].error_code = o->result;
    }
    resp.partition_errors = errors;
    resp.partition_errors_count = n;
    request_reply(r, &resp);
}

static void stop_replica_done(void *arg)
{
    struct control *c = arg;

    request_post(c->request, answer_stop_replica);
}

static void add_stop(struct control *c, struct str topic, int32_t partition, int32_t leader_epoch,
                     bool is_delete)
{
    control_add(c, &(struct replicas_order){.topic = topic,
                                            .partition = partition,
                                            .is_stop = true,
                                            .is_delete = is_delete,
                                            .stop_leader_epoch = leader_epoch});
}

static struct control *read_stop_replica(struct request *r)
{
    const struct kp_StopReplicaRequest *req = r->body;
    int64_t n = req->ungrouped_partitions_count;
    struct control *c;

    for (int32_t i = 0; i < req->topics_count; i++)
        n += req->topics[i].partition_indexes_count;
    for (int32_t i = 0; i < req->topic_states_count; i++)
        n += req->topic_states[i].partition_states_count;
    c = control_new(r, n);
    if (c == NULL)
        return NULL;
    for (int32_t i = 0; i < req->ungrouped_partitions_count; i++)
        add_stop(c, req->ungrouped_partitions[i].topic_name,
                 req->ungrouped_partitions[i].partition_index, -1, req->delete_partitions);
    for (int32_t i = 0; i < req->topics_count; i++) {
        for (int32_t j = 0; j < req->topics[i].partition_indexes_count; j++)
            add_stop(c, req->topics[i].name, req->topics[i].partition_indexes[j], -1,
                     req->delete_partitions);
    }
    for (int32_t i = 0; i < req->topic_states_count; i++) {
        const struct kp_StopReplicaRequest_StopReplicaTopicState *t = &req->topic_states[i];
        for (int32_t j = 0; j < t->partition_states_count; j++)
            add_stop(c, t->topic_name, t->partition_states[j].partition_index,
                     t->partition_states[j].leader_epoch, t->partition_states[j].delete_partition);
    }
    return c;
}

void api_stop_replica(struct request *r)
{
    CHECK_OBJ(r, REQUEST_MAGIC);
    const struct kp_StopReplicaRequest *req = r->body;
    struct replicas *replicas = r->broker->replicas;
    struct control *c;
    int16_t error =
        api_cluster_allowed(r, ACL_CLUSTER_ACTION) ? KE_NONE : KE_CLUSTER_AUTHORIZATION_FAILED;

    if (error == KE_NONE)
        error = replicas_admit_controller(replicas, req->controller_epoch, req->broker_epoch);
    if (error != KE_NONE) {
        log_refusal("refused StopReplica", req->controller_id, req->controller_epoch, error);
        answer_stop_replica_error(r, error);
        return;
    }
    c = read_stop_replica(r);
    if (c == NULL) {
        api_no_memory(r);
        return;
    }
    r->handler_data = c;
    replicas_carry_out(replicas, c->orders, c->count, stop_replica_done, c);
}
