/* SPDX-License-Identifier: Apache-2.0 */
/* find_coordinator - FindCoordinator (10): which broker keeps a group's state: the leader of the
 * group's partition of __consumer_offsets. Any broker answers.
 *
 * The topic is created by the first request that needs it, on an io thread. Where Kafka sends the
 * client away to ask again until the partitions have leaders, this answer waits for them, for a
 * bounded time (docs/decisions/0009). */
#include "broker/api/api.h"
#include "broker/api/handlers.h"
#include "broker/api/task.h"
#include "broker/api/topic_create.h"
#include "broker/config/config.h"
#include "broker/group/coordinator.h"
#include "common/base/slog.h"
#include "common/protocol/codec.h"
#include "common/protocol/messages.h"

enum {
    KEY_GROUP = 0,
    KEY_TRANSACTION = 1,
    KEY_SHARE = 2,
    LIST_FROM = 4,
    SHARE_FROM = 6,
    LEADER_WAIT_MS = 5000
};

struct find_task {
    struct task task;
    struct topic_create create; /* count 0: the topic exists */
};

static int32_t key_count(const struct request *r)
{
    const struct kp_FindCoordinatorRequest *req = r->body;
    return r->api_version < LIST_FROM ? 1 : i32_max(req->coordinator_keys_count, 0);
}

static struct str key_at(const struct request *r, int32_t i)
{
    const struct kp_FindCoordinatorRequest *req = r->body;
    return r->api_version < LIST_FROM ? req->key : req->coordinator_keys[i];
}

/* ---- one key */

static int16_t key_check(const struct request *r, struct str key, const char **message)
{
    const struct kp_FindCoordinatorRequest *req = r->body;
    switch (req->key_type) {
    case KEY_GROUP:
        *message = "not allowed to describe this group";
        return authorize(r, ACL_DESCRIBE, ACL_GROUP, key) ? KE_NONE : KE_GROUP_AUTHORIZATION_FAILED;
    case KEY_TRANSACTION:
        *message = "not allowed to describe this transactional id";
        if (!authorize(r, ACL_DESCRIBE, ACL_TRANSACTIONAL_ID, key))
            return KE_TRANSACTIONAL_ID_AUTHORIZATION_FAILED;
        *message = api_no_transactions_text;
        return KE_TRANSACTIONAL_ID_AUTHORIZATION_FAILED;
    default:
        *message = "the key type must be 0 (group) or 1 (transactional id)";
        return req->key_type == KEY_SHARE && r->api_version >= SHARE_FROM
                   ? KE_COORDINATOR_NOT_AVAILABLE
                   : KE_INVALID_REQUEST;
    }
}

/* The leader of the group's partition; NULL when there is none that this client could reach. */
static const struct metadata_endpoint *leader_of(const struct request *r, const struct metadata *m,
                                                 struct str group, int32_t *id_out)
{
    int32_t count = coordinator_partition_count(r->broker->groups, m);
    const struct metadata_partition *p =
        metadata_partition(m, STR_LIT(OFFSETS_TOPIC), coordinator_partition_of(group, count));
    *id_out = p == NULL ? -1 : p->leader;
    return p == NULL ? NULL : metadata_endpoint(metadata_broker(m, p->leader), r->listener->name);
}

static void key_answer(const struct request *r, struct str key, const char *missing,
                       struct kp_FindCoordinatorResponse_Coordinator *c)
{
    const char *message = NULL;
    const struct metadata_endpoint *e = NULL;
    *c = (struct kp_FindCoordinatorResponse_Coordinator){
        .key = key, .node_id = -1, .port = -1, .host = STR_LIT(""), .error_message = STR_LIT("")};
    c->error_code = key_check(r, key, &message);
    if (c->error_code == KE_NONE) {
        e = leader_of(r, metadata_current(r), key, &c->node_id);
        message = missing;
        c->error_code = e == NULL ? KE_COORDINATOR_NOT_AVAILABLE : KE_NONE;
    }
    if (e == NULL) {
        c->node_id = -1;
        c->error_message = str_of(message);
        return;
    }
    c->host = str_of(e->host);
    c->port = e->port;
}

/* missing: why a group's coordinator cannot be told. */
static void answer(struct request *r, const char *missing)
{
    struct kp_FindCoordinatorResponse a;
    kp_defaults(&kp_FindCoordinatorResponse_schema, &a);
    int32_t count = key_count(r);
    struct kp_FindCoordinatorResponse_Coordinator *found =
        api_alloc(r, (size_t)count, sizeof *found);
    if (found == NULL) {
        api_no_memory(r);
        return;
    }
    for (int32_t i = 0; i < count; i++)
        key_answer(r, key_at(r, i), missing, &found[i]);
    if (r->api_version >= LIST_FROM) {
        a.coordinators = found;
        a.coordinators_count = count;
    } else {
        a.error_code = found[0].error_code;
        a.error_message = found[0].error_message;
        a.node_id = found[0].node_id;
        a.host = found[0].host;
        a.port = found[0].port;
    }
    request_reply(r, &a);
}

/* ---- the topic */

static const char no_leader_text[] =
    "the group's partition of __consumer_offsets has no leader at the moment; try again";

static const struct topic_create_item *refused(const struct find_task *t)
{
    const struct topic_create_item *item = t->create.count == 0 ? NULL : &t->create.items[0];
    return item == NULL || item->error == KE_NONE || item->error == KE_TOPIC_ALREADY_EXISTS ? NULL
                                                                                            : item;
}

static void create_io(struct task *t)
{
    topic_create_run(&CONTAINER_OF(t, struct find_task, task)->create, t->metadata);
}

static bool leaders_are_known(const struct request *r, const struct metadata *m)
{
    const struct kp_FindCoordinatorRequest *req = r->body;
    int32_t id;
    for (int32_t i = 0; req->key_type == KEY_GROUP && i < key_count(r); i++)
        if (leader_of(r, m, key_at(r, i), &id) == NULL)
            return false;
    return true;
}

static bool find_is_ready(struct task *t, const struct metadata *m)
{
    struct find_task *f = CONTAINER_OF(t, struct find_task, task);
    return refused(f) != NULL ||
           (topic_create_has_leaders(&f->create, m) && leaders_are_known(t->request, m));
}

static void find_finish(struct task *t, bool is_timed_out UNUSED)
{
    const struct topic_create_item *no = refused(CONTAINER_OF(t, struct find_task, task));
    const struct config *c = t->request->broker->config;
    if (no == NULL) {
        answer(t->request, no_leader_text);
        return;
    }
    SLOG_EVERY(10000, ERROR, "group",
               "__consumer_offsets cannot be created: groups have no coordinator",
               KV_S("why", no->message == NULL ? kerr_text(no->error) : no->message),
               KV_I("offsets.topic.replication.factor", c->offsets_topic_replication_factor),
               KV_I("brokers_alive", metadata_broker_count(metadata_current(t->request))));
    answer(t->request, no->message == NULL ? kerr_text(no->error) : no->message);
}

/* False: no memory. */
static bool create_missing(struct request *r, struct find_task *f)
{
    if (metadata_topic(metadata_current(r), STR_LIT(OFFSETS_TOPIC)) != NULL)
        return true;
    if (!topic_create_init(&f->create, r, 1) ||
        !topic_create_add_default(&f->create, STR_LIT(OFFSETS_TOPIC)))
        return false;
    f->create.wait_for_existing = true;
    f->task.io = create_io;
    f->task.needs_coord = true;
    return true;
}

static bool needs_groups(const struct request *r)
{
    const struct kp_FindCoordinatorRequest *req = r->body;
    const char *message;
    for (int32_t i = 0; req->key_type == KEY_GROUP && i < key_count(r); i++)
        if (key_check(r, key_at(r, i), &message) == KE_NONE)
            return true;
    return false;
}

static void serve(struct request *r)
{
    if (!needs_groups(r) || leaders_are_known(r, metadata_current(r))) {
        answer(r, no_leader_text);
        return;
    }
    struct find_task *f = api_alloc(r, 1, sizeof *f);
    if (f == NULL || !create_missing(r, f)) {
        api_no_memory(r);
        return;
    }
    f->task.is_ready = find_is_ready;
    f->task.finish = find_finish;
    f->task.timeout_ms = LEADER_WAIT_MS;
    enum err rc = task_start(&f->task, r);
    if (rc != ERR_OK)
        answer(r, task_refusal_text(rc));
}

void api_find_coordinator(struct request *r)
{
    CHECK_OBJ(r, REQUEST_MAGIC);
    api_when_informed(r, serve);
}
