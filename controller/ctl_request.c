/* SPDX-License-Identifier: Apache-2.0 */
/* Requests that only the controller answers: from the protocol's messages to events of the core,
 * and back. Producer ids and the list of reassignments need no decision and are done here. */
#include "controller/ctl.h"

#include "common/base/slog.h"
#include "common/protocol/codec.h"
#include "common/protocol/messages.h"

enum { PRODUCER_ID_BLOCK = 1000, ALTER_EPOCHS_VERSION = 3, ALTER_INELIGIBLE_VERSION = 2 };

struct ctl_request {
    unsigned magic;
    struct mail mail; /* to the controller, then back */
    struct controller *c;
    int16_t api_key, api_version;
    const void *req; /* the caller's */
    struct mailbox *to;
    void (*done)(void *arg, const void *response);
    void *arg;
    struct arena arena; /* holds response */
    void *response;
};

static void *take(struct ctl_request *q, size_t n)
{
    void *p = arena_alloc(&q->arena, n == 0 ? 1 : n);

    ASSERT(p != NULL); /* no limit */
    return p;
}

static struct str take_str(struct ctl_request *q, const char *z)
{
    size_t n;

    if (z == NULL)
        return STR_NULL;
    n = strlen(z);
    return (struct str){arena_strdup(&q->arena, z, n), (int32_t)n};
}

static int32_t *take_ids(struct ctl_request *q, const int32_t *ids, int32_t count)
{
    int32_t *v = take(q, (size_t)count * sizeof *v);

    if (count > 0)
        memcpy(v, ids, (size_t)count * sizeof *v);
    return v;
}

/* ---- the way back */
static void deliver_answer(struct mail *m)
{
    struct ctl_request *q = CONTAINER_OF(m, struct ctl_request, mail);

    CHECK_OBJ(q, CTL_REQUEST_MAGIC);
    q->done(q->arg, q->response);
    arena_fini(&q->arena);
    q->magic = 0;
    mem_free(q);
}

static void send_answer(struct ctl_request *q, void *response)
{
    q->response = response;
    q->mail.deliver = deliver_answer;
    mailbox_post(q->to, &q->mail);
}

/* Groups of consecutive items with one topic. */
static int32_t group_length(const struct core_answer_item *it, int32_t at, int32_t count)
{
    int32_t n = 1;

    while (at + n < count && strcmp(it[at].topic, it[at + n].topic) == 0 &&
           uuid_eq(it[at].topic_id, it[at + n].topic_id))
        n++;
    return n;
}

static int32_t group_count(const struct core_answer_item *it, int32_t count)
{
    int32_t n = 0;

    for (int32_t i = 0; i < count; i += group_length(it, i, count))
        n++;
    return n;
}

static int16_t alter_error(const struct ctl_request *q, int16_t error)
{
    if (error == KE_INELIGIBLE_REPLICA && q->api_version < ALTER_INELIGIBLE_VERSION)
        return KE_OPERATION_NOT_ATTEMPTED;
    return error;
}

static void *answer_alter(struct ctl_request *q, int16_t error,
                          const struct core_answer_item *items, int32_t count)
{
    struct kp_AlterPartitionResponse *m = take(q, sizeof *m);
    int32_t at = 0;

    kp_defaults(&kp_AlterPartitionResponse_schema, m);
    m->error_code = error;
    if (error != KE_NONE)
        count = 0;
    m->topics_count = group_count(items, count);
    m->topics = take(q, (size_t)m->topics_count * sizeof *m->topics);
    for (int32_t t = 0; t < m->topics_count; t++) {
        struct kp_AlterPartitionResponse_TopicData *td = &m->topics[t];
        int32_t n = group_length(items, at, count);

        kp_defaults(&kp_AlterPartitionResponse_TopicData_schema, td);
        td->topic_name = take_str(q, items[at].topic);
        td->topic_id = items[at].topic_id;
        td->partitions_count = n;
        td->partitions = take(q, (size_t)n * sizeof *td->partitions);
        for (int32_t i = 0; i < n; i++) {
            const struct core_answer_item *it = &items[at + i];
            struct kp_AlterPartitionResponse_PartitionData *p = &td->partitions[i];

            kp_defaults(&kp_AlterPartitionResponse_PartitionData_schema, p);
            p->partition_index = it->partition;
            p->error_code = alter_error(q, it->error);
            p->leader_id = it->leader;
            p->leader_epoch = it->leader_epoch;
            p->isr = take_ids(q, it->isr, it->isr_count);
            p->isr_count = it->isr_count;
            p->leader_recovery_state = it->recovery_state;
            p->partition_epoch = it->partition_epoch;
        }
        at += n;
    }
    return m;
}

static void *answer_shutdown(struct ctl_request *q, int16_t error,
                             const struct core_answer_item *items, int32_t count)
{
    struct kp_ControlledShutdownResponse *m = take(q, sizeof *m);

    kp_defaults(&kp_ControlledShutdownResponse_schema, m);
    m->error_code = error;
    m->remaining_partitions_count = count;
    m->remaining_partitions = take(q, (size_t)count * sizeof *m->remaining_partitions);
    for (int32_t i = 0; i < count; i++) {
        struct kp_ControlledShutdownResponse_RemainingPartition *p = &m->remaining_partitions[i];

        kp_defaults(&kp_ControlledShutdownResponse_RemainingPartition_schema, p);
        p->topic_name = take_str(q, items[i].topic);
        p->partition_index = items[i].partition;
    }
    return m;
}

static void *answer_elect(struct ctl_request *q, int16_t error,
                          const struct core_answer_item *items, int32_t count)
{
    struct kp_ElectLeadersResponse *m = take(q, sizeof *m);
    int32_t at = 0;

    kp_defaults(&kp_ElectLeadersResponse_schema, m);
    m->error_code = q->api_version >= 1 ? error : KE_NONE;
    m->replica_election_results_count = group_count(items, count);
    m->replica_election_results =
        take(q, (size_t)m->replica_election_results_count * sizeof *m->replica_election_results);
    for (int32_t t = 0; t < m->replica_election_results_count; t++) {
        struct kp_ElectLeadersResponse_ReplicaElectionResult *r = &m->replica_election_results[t];
        int32_t n = group_length(items, at, count);

        kp_defaults(&kp_ElectLeadersResponse_ReplicaElectionResult_schema, r);
        r->topic = take_str(q, items[at].topic);
        r->partition_result_count = n;
        r->partition_result = take(q, (size_t)n * sizeof *r->partition_result);
        for (int32_t i = 0; i < n; i++) {
            struct kp_ElectLeadersResponse_PartitionResult *p = &r->partition_result[i];

            kp_defaults(&kp_ElectLeadersResponse_PartitionResult_schema, p);
            p->partition_id = items[at + i].partition;
            p->error_code = items[at + i].error;
            p->error_message = take_str(q, items[at + i].message);
        }
        at += n;
    }
    return m;
}

static void *answer_reassign(struct ctl_request *q, int16_t error,
                             const struct core_answer_item *items, int32_t count)
{
    struct kp_AlterPartitionReassignmentsResponse *m = take(q, sizeof *m);
    int32_t at = 0;

    kp_defaults(&kp_AlterPartitionReassignmentsResponse_schema, m);
    m->error_code = error;
    m->error_message = error == KE_NONE ? STR_NULL : take_str(q, kerr_text(error));
    if (error != KE_NONE)
        count = 0;
    m->responses_count = group_count(items, count);
    m->responses = take(q, (size_t)m->responses_count * sizeof *m->responses);
    for (int32_t t = 0; t < m->responses_count; t++) {
        struct kp_AlterPartitionReassignmentsResponse_ReassignableTopicResponse *r =
            &m->responses[t];
        int32_t n = group_length(items, at, count);

        kp_defaults(&kp_AlterPartitionReassignmentsResponse_ReassignableTopicResponse_schema, r);
        r->name = take_str(q, items[at].topic);
        r->partitions_count = n;
        r->partitions = take(q, (size_t)n * sizeof *r->partitions);
        for (int32_t i = 0; i < n; i++) {
            struct kp_AlterPartitionReassignmentsResponse_ReassignablePartitionResponse *p =
                &r->partitions[i];

            kp_defaults(
                &kp_AlterPartitionReassignmentsResponse_ReassignablePartitionResponse_schema, p);
            p->partition_index = items[at + i].partition;
            p->error_code = items[at + i].error;
            p->error_message = take_str(q, items[at + i].message);
        }
        at += n;
    }
    return m;
}

void ctl_answer(struct controller *c, const struct core_fx *f)
{
    struct ctl_request *q = f->u.answer.handle;
    const struct core_answer_item *items = f->u.answer.items;
    int32_t count = f->u.answer.count;
    int16_t error = f->u.answer.error;
    void *m = NULL;

    (void)c;
    if (q == NULL) { /* asked for by a znode, not by a request: nobody else would say it */
        for (int32_t i = 0; i < count; i++) {
            if (items[i].error != KE_NONE && items[i].error != KE_ELECTION_NOT_NEEDED)
                SLOG(WARN, "controller", "refused a request in ZooKeeper",
                     KV_S("topic", items[i].topic), KV_I("partition", items[i].partition),
                     KV_KERR(items[i].error),
                     KV_S("why", items[i].message == NULL ? "" : items[i].message));
        }
        return;
    }
    CHECK_OBJ(q, CTL_REQUEST_MAGIC);
    switch (f->u.answer.kind) {
    case CORE_ANSWER_ALTER:
        m = answer_alter(q, error, items, count);
        break;
    case CORE_ANSWER_SHUTDOWN:
        m = answer_shutdown(q, error, items, count);
        break;
    case CORE_ANSWER_ELECT:
        m = answer_elect(q, error, items, count);
        break;
    case CORE_ANSWER_REASSIGN:
        m = answer_reassign(q, error, items, count);
        break;
    }
    send_answer(q, m);
}

/* ---- the way in */
static void run_alter(struct controller *c, struct ctl_request *q)
{
    const struct kp_AlterPartitionRequest *m = q->req;
    struct controller_event ev = {.kind = CEV_ALTER_PARTITION};
    struct core_alter_item *items;
    int32_t n = 0, at = 0;

    for (int32_t t = 0; t < m->topics_count; t++)
        n += i32_max(m->topics[t].partitions_count, 0);
    items = take(q, (size_t)n * sizeof *items);
    for (int32_t t = 0; t < m->topics_count; t++) {
        for (int32_t i = 0; i < m->topics[t].partitions_count; i++) {
            const struct kp_AlterPartitionRequest_PartitionData *p = &m->topics[t].partitions[i];
            struct core_alter_item *it = &items[at++];

            it->at = (struct core_partition_ref){.topic = m->topics[t].topic_name,
                                                 .topic_id = m->topics[t].topic_id,
                                                 .partition = p->partition_index};
            it->leader_epoch = p->leader_epoch;
            it->partition_epoch = p->partition_epoch;
            it->recovery_state = p->leader_recovery_state;
            it->isr = p->new_isr;
            it->isr_count = i32_max(p->new_isr_count, 0);
            if (q->api_version >= ALTER_EPOCHS_VERSION) {
                int32_t k = i32_max(p->new_isr_with_epochs_count, 0);
                int32_t *ids = take(q, (size_t)k * sizeof *ids);
                int64_t *epochs = take(q, (size_t)k * sizeof *epochs);

                for (int32_t j = 0; j < k; j++) {
                    ids[j] = p->new_isr_with_epochs[j].broker_id;
                    epochs[j] = p->new_isr_with_epochs[j].broker_epoch;
                }
                it->isr = ids;
                it->isr_epochs = epochs;
                it->isr_count = k;
            }
        }
    }
    ev.u.alter.handle = q;
    ev.u.alter.broker_id = m->broker_id;
    ev.u.alter.broker_epoch = m->broker_epoch;
    ev.u.alter.items = items;
    ev.u.alter.count = n;
    ctl_step(c, &ev);
}

static void run_shutdown(struct controller *c, struct ctl_request *q)
{
    const struct kp_ControlledShutdownRequest *m = q->req;
    struct controller_event ev = {.kind = CEV_CONTROLLED_SHUTDOWN};

    ev.u.shutdown.handle = q;
    ev.u.shutdown.broker_id = m->broker_id;
    ev.u.shutdown.broker_epoch = m->broker_epoch;
    ctl_step(c, &ev);
}

static void run_elect(struct controller *c, struct ctl_request *q)
{
    const struct kp_ElectLeadersRequest *m = q->req;
    struct controller_event ev = {.kind = CEV_ELECT_LEADERS};
    struct core_partition_ref *refs = NULL;
    int32_t n = 0, at = 0;

    for (int32_t t = 0; t < m->topic_partitions_count; t++)
        n += i32_max(m->topic_partitions[t].partitions_count, 0);
    if (m->topic_partitions_count >= 0) {
        refs = take(q, (size_t)n * sizeof *refs);
        for (int32_t t = 0; t < m->topic_partitions_count; t++) {
            for (int32_t i = 0; i < m->topic_partitions[t].partitions_count; i++)
                refs[at++] =
                    (struct core_partition_ref){.topic = m->topic_partitions[t].topic,
                                                .partition = m->topic_partitions[t].partitions[i]};
        }
    }
    ev.u.elect.handle = q;
    ev.u.elect.kind = m->election_type == 1 ? CORE_ELECT_UNCLEAN : CORE_ELECT_PREFERRED;
    ev.u.elect.items = refs;
    ev.u.elect.count = n;
    ctl_step(c, &ev);
}

static void run_reassign(struct controller *c, struct ctl_request *q)
{
    const struct kp_AlterPartitionReassignmentsRequest *m = q->req;
    struct controller_event ev = {.kind = CEV_REASSIGN};
    struct core_reassign_item *items;
    int32_t n = 0, at = 0;

    for (int32_t t = 0; t < m->topics_count; t++)
        n += i32_max(m->topics[t].partitions_count, 0);
    items = take(q, (size_t)n * sizeof *items);
    for (int32_t t = 0; t < m->topics_count; t++) {
        for (int32_t i = 0; i < m->topics[t].partitions_count; i++) {
            const struct kp_AlterPartitionReassignmentsRequest_ReassignablePartition *p =
                &m->topics[t].partitions[i];
            bool is_cancel = p->replicas_count < 0;
            static const int32_t none[1];

            items[at++] = (struct core_reassign_item){
                .at = {.topic = m->topics[t].name, .partition = p->partition_index},
                .replicas = is_cancel                ? NULL
                            : p->replicas_count == 0 ? none
                                                     : p->replicas,
                .replica_count = i32_max(p->replicas_count, 0)};
        }
    }
    ev.u.reassign.handle = q;
    ev.u.reassign.items = items;
    ev.u.reassign.count = n;
    ctl_step(c, &ev);
}

/* ---- the list of reassignments */
struct list_visit {
    struct ctl_request *q;
    struct kp_ListPartitionReassignmentsResponse *m;
};

static bool is_asked_for(const struct kp_ListPartitionReassignmentsRequest *m, const char *topic,
                         int32_t partition)
{
    for (int32_t t = 0; t < m->topics_count; t++) {
        if (!str_eq_z(m->topics[t].name, topic))
            continue;
        for (int32_t i = 0; i < m->topics[t].partition_indexes_count; i++) {
            if (m->topics[t].partition_indexes[i] == partition)
                return true;
        }
    }
    return m->topics_count < 0; /* null: all */
}

/* One element for each partition: a topic may come several times, which readers merge. */
static void list_visit(void *arg, const char *topic, int32_t partition, const struct core_view *v)
{
    struct list_visit *l = arg;
    struct ctl_request *q = l->q;
    struct kp_ListPartitionReassignmentsResponse_OngoingTopicReassignment *topics, *t;
    struct kp_ListPartitionReassignmentsResponse_OngoingPartitionReassignment *p;
    int32_t n = l->m->topics_count;

    if (!is_asked_for(q->req, topic, partition))
        return;
    if (n > 0 && str_eq_z(l->m->topics[n - 1].name, topic)) {
        t = &l->m->topics[n - 1];
    } else {
        topics = take(q, ((size_t)n + 1) * sizeof *topics);
        if (n > 0)
            memcpy(topics, l->m->topics, (size_t)n * sizeof *topics);
        l->m->topics = topics;
        l->m->topics_count = n + 1;
        t = &topics[n];
        kp_defaults(&kp_ListPartitionReassignmentsResponse_OngoingTopicReassignment_schema, t);
        t->name = take_str(q, topic);
        t->partitions_count = 0;
    }
    p = take(q, ((size_t)t->partitions_count + 1) * sizeof *p);
    if (t->partitions_count > 0)
        memcpy(p, t->partitions, (size_t)t->partitions_count * sizeof *p);
    t->partitions = p;
    p = &p[t->partitions_count++];
    kp_defaults(&kp_ListPartitionReassignmentsResponse_OngoingPartitionReassignment_schema, p);
    p->partition_index = partition;
    p->replicas = take_ids(q, v->replicas, v->replica_count);
    p->replicas_count = v->replica_count;
    p->adding_replicas = take_ids(q, v->adding, v->adding_count);
    p->adding_replicas_count = v->adding_count;
    p->removing_replicas = take_ids(q, v->removing, v->removing_count);
    p->removing_replicas_count = v->removing_count;
}

static void run_list(struct controller *c, struct ctl_request *q)
{
    struct kp_ListPartitionReassignmentsResponse *m = take(q, sizeof *m);
    struct list_visit l = {.q = q, .m = m};

    kp_defaults(&kp_ListPartitionReassignmentsResponse_schema, m);
    m->topics_count = 0;
    if (c->role == CTL_ACTIVE) {
        controller_core_each_reassignment(c->core, list_visit, &l);
    } else {
        m->error_code = KE_NOT_CONTROLLER;
        m->error_message = take_str(q, kerr_text(KE_NOT_CONTROLLER));
    }
    send_answer(q, m);
}

/* ---- blocks of producer ids: read /latest_producer_id_block, set the next one at that version;
 * again when another was quicker */
static void answer_block(struct ctl_request *q, int16_t error, int64_t first)
{
    struct kp_AllocateProducerIdsResponse *m = take(q, sizeof *m);

    kp_defaults(&kp_AllocateProducerIdsResponse_schema, m);
    m->error_code = error;
    m->producer_id_start = first;
    m->producer_id_len = error == KE_NONE ? PRODUCER_ID_BLOCK : 0;
    send_answer(q, m);
}

struct block_call { /* the mail of a call that outlives its term: the request must be answered */
    struct controller *c;
    struct ctl_request *q;
    uint64_t term;
    int64_t first;
};

static void block_read(struct block_call *b);

static void on_block_written(void *arg, const struct coord_result *r)
{
    struct block_call *b = arg;
    struct controller *c = b->c;

    c->calls--;
    if (r->err == ERR_OK) {
        answer_block(b->q, KE_NONE, b->first);
    } else if (b->term != c->term || ctl_is_fenced(c, r)) {
        answer_block(b->q, KE_NOT_CONTROLLER, -1);
    } else if (r->err == ERR_BAD_VERSION || r->err == ERR_UNKNOWN_OUTCOME || r->err == ERR_EXISTS) {
        block_read(b); /* a block that was written but not told of is lost: there are enough */
        return;
    } else {
        answer_block(b->q, err_to_kerr(r->err), -1);
    }
    mem_free(b);
}

static void block_write(struct block_call *b, int32_t version)
{
    struct controller *c = b->c;
    const struct kp_AllocateProducerIdsRequest *req = b->q->req;
    struct zkdoc_producer_id_block doc = {.broker_id = req->broker_id,
                                          .first_id = b->first,
                                          .last_id = b->first + PRODUCER_ID_BLOCK - 1};
    struct buf text = {0};
    struct coord_op ops[2];

    zkdoc_producer_id_block_format(&doc, &text);
    ops[0] = (struct coord_op){
        .kind = COORD_OP_CHECK, .path = "/controller_epoch", .version = c->epoch_version};
    ops[1] = (struct coord_op){.kind = version < 0 ? COORD_OP_CREATE : COORD_OP_SET,
                               .mode = COORD_PERSISTENT,
                               .path = "/latest_producer_id_block",
                               .data = {text.p, (int64_t)text.len},
                               .version = version};
    c->calls++;
    coord_multi(c->o.coord, ops, 2, loop_mailbox(c->loop), on_block_written, b);
    buf_fini(&text);
}

static void on_block_read(void *arg, const struct coord_result *r)
{
    struct block_call *b = arg;
    struct controller *c = b->c;
    struct zkdoc_producer_id_block doc;
    struct errtext why = {""};
    enum err rc = ERR_NOT_FOUND;

    c->calls--;
    if (b->term != c->term) {
        answer_block(b->q, KE_NOT_CONTROLLER, -1);
        mem_free(b);
        return;
    }
    b->first = 0;
    if (r->err == ERR_OK) {
        rc = zkdoc_producer_id_block_parse(r->data, &doc, &why);
        if (rc == ERR_OK)
            b->first = doc.last_id + 1;
    }
    if ((r->err != ERR_OK && r->err != ERR_NOT_FOUND) || (rc != ERR_OK && rc != ERR_NOT_FOUND) ||
        b->first < 0 || b->first > INT64_MAX - PRODUCER_ID_BLOCK) {
        SLOG(ERROR, "controller", "cannot use /latest_producer_id_block in ZooKeeper",
             KV_S("error", r->err == ERR_OK ? why.text : err_text(r->err)));
        answer_block(b->q, KE_UNKNOWN_SERVER_ERROR, -1);
        mem_free(b);
        return;
    }
    block_write(b, r->err == ERR_NOT_FOUND ? -1 : r->stat.version);
}

static void block_read(struct block_call *b)
{
    b->c->calls++;
    coord_get(b->c->o.coord, "/latest_producer_id_block", false, loop_mailbox(b->c->loop),
              on_block_read, b);
}

static void run_allocate(struct controller *c, struct ctl_request *q)
{
    const struct kp_AllocateProducerIdsRequest *m = q->req;
    const struct ctl_broker *broker = ctl_broker_find(c, m->broker_id);
    struct block_call *b;
    int16_t error = KE_NONE;

    if (c->role != CTL_ACTIVE)
        error = KE_NOT_CONTROLLER;
    else if (broker == NULL)
        error = KE_BROKER_ID_NOT_REGISTERED;
    else if (broker->epoch != m->broker_epoch)
        error = KE_STALE_BROKER_EPOCH;
    if (error != KE_NONE) {
        answer_block(q, error, -1);
        return;
    }
    b = xcalloc(1, sizeof *b);
    b->c = c;
    b->q = q;
    b->term = c->term;
    block_read(b);
}

/* ---- dispatch */
static void deliver_request(struct mail *m)
{
    struct ctl_request *q = CONTAINER_OF(m, struct ctl_request, mail);
    struct controller *c = q->c;

    CHECK_OBJ(q, CTL_REQUEST_MAGIC);
    CHECK_OBJ(c, CTL_MAGIC);
    switch (q->api_key) {
    case KP_API_ALTER_PARTITION:
        run_alter(c, q);
        break;
    case KP_API_CONTROLLED_SHUTDOWN:
        run_shutdown(c, q);
        break;
    case KP_API_ELECT_LEADERS:
        run_elect(c, q);
        break;
    case KP_API_ALTER_PARTITION_REASSIGNMENTS:
        run_reassign(c, q);
        break;
    case KP_API_LIST_PARTITION_REASSIGNMENTS:
        run_list(c, q);
        break;
    case KP_API_ALLOCATE_PRODUCER_IDS:
        run_allocate(c, q);
        break;
    default:
        UNREACHABLE(); /* the table of APIs sends no other here */
    }
}

void controller_request(struct controller *c, int16_t api_key, int16_t api_version, const void *req,
                        struct mailbox *to, void (*done)(void *arg, const void *response),
                        void *arg)
{
    struct ctl_request *q = xcalloc(1, sizeof *q);

    q->magic = CTL_REQUEST_MAGIC;
    q->c = c;
    q->api_key = api_key;
    q->api_version = api_version;
    q->req = req;
    q->to = to;
    q->done = done;
    q->arg = arg;
    q->mail.deliver = deliver_request;
    loop_post(c->loop, &q->mail);
}
