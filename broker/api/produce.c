/* SPDX-License-Identifier: Apache-2.0 */
/* produce - Produce (0).
 *
 * Happy path: each partition is checked and appended on the loop, in the request's frame; acks=1 is
 * answered at once, acks=-1 (and the historic n > 1) when every partition's wait is decided or the
 * client's timeout has passed. A request with a compressed batch is appended by an io thread, since
 * its validation decompresses; later produce requests of the same connection then queue behind it,
 * for a producer's batches must not overtake each other.
 *
 * Partitions are independent: one that fails does not keep the others from being written. */
#include "broker/api/api.h"
#include "broker/api/handlers.h"
#include "broker/http/metrics.h"
#include "broker/replica/partition.h"
#include "common/base/clock.h"
#include "common/base/pool.h"
#include "common/base/slog.h"
#include "common/protocol/messages.h"
#include "common/record/batch.h"

enum {
    PRODUCE_MAGIC = 0x70726f64,
    VERSION_BATCHES = 3,          /* the first without messages of format 0 and 1 */
    SMALL_COMPRESSED_BYTES = 2048 /* decompressed on the loop: cannot become large */
};

struct produce_part {
    struct produce *produce;
    struct partition *partition; /* NULL once refused */
    struct bytes records;
    struct kp_ProduceResponse_PartitionProduceResponse *answer;
    struct log_append_result result;
    struct partition_wait wait;
    bool is_waiting;
    bool is_empty; /* a message set of none, which old versions may send: there is nothing to do */
};

struct produce {
    unsigned magic;
    struct request *request;
    const struct kp_ProduceRequest *req;
    struct kp_ProduceResponse response;
    struct pool_job job;
    struct loop_timer timer;
    TAILQ_ENTRY(produce) link;  /* seat's appending */
    const void *queue_key;      /* the connection; compared only */
    bool is_queued, is_running; /* in that list; its append has begun */
    bool is_cancelled, needs_pool;
    int32_t waiting; /* parts that wait */
    int32_t count;
    struct produce_part parts[];
};

/* ---- what a batch says of itself, before it is validated; any bytes */

static bool is_transactional(struct bytes b)
{
    return b.len >= BATCH_HEADER_BYTES && batch_magic(b.p) == 2 &&
           (batch_attributes(b.p) & BATCH_TRANSACTIONAL) != 0;
}

/* Is this too much work for a loop? Small batches that cannot unfold to large ones are not. */
static bool is_heavy(struct partition *partition, struct bytes b)
{
    struct log_policy policy;
    if (!partition_policy(partition, &policy) ||
        !log_needs_decompression(&policy, b.p, (size_t)b.len))
        return false;
    if (b.len < BATCH_HEADER_BYTES || b.len > SMALL_COMPRESSED_BYTES || batch_magic(b.p) != 2)
        return true;
    unsigned codec = batch_codec(b.p);
    return codec != CODEC_LZ4 && codec != CODEC_SNAPPY;
}

/* ---- answers */

static void part_answer(struct produce_part *p, int16_t error, const char *message)
{
    struct kp_ProduceResponse_PartitionProduceResponse *a = p->answer;
    a->error_code = error;
    if (error == KE_NONE) {
        a->base_offset = p->result.base_offset;
        a->log_append_time_ms = p->result.log_append_time_ms;
        a->log_start_offset = p->result.log_start_offset;
        return;
    }
    a->base_offset = -1;
    a->log_append_time_ms = -1;
    a->log_start_offset = -1;
    a->error_message = str_of(message != NULL ? message : kerr_text(error));
}

/* A part refused at the append, perhaps for some of its records (KIP-467). Its texts are copied,
 * for the request outlives the append's result. */
static void part_refused(struct produce *p, struct produce_part *part, int16_t error)
{
    struct request *r = p->request;
    const struct log_append_result *res = &part->result;
    const struct log_record_errors *errors = res->record_errors;
    int32_t count = errors != NULL ? errors->count : res->record_error_index >= 0;

    part_answer(part, error, res->error_message);
    if (res->error_message != NULL)
        part->answer->error_message = api_strdup(r, res->error_message);
    struct kp_ProduceResponse_BatchIndexAndErrorMessage *e =
        count == 0 ? NULL : api_alloc(r, (size_t)count, sizeof *e);
    if (e == NULL)
        return; /* at the memory limit the error code itself is told all the same */
    part->answer->record_errors = e;
    part->answer->record_errors_count = count;
    for (int32_t i = 0; i < count; i++) {
        const char *text = errors == NULL ? res->error_message : log_record_error_text(errors, i);
        bool is_same = i > 0 && log_record_error_text(errors, i - 1) == text;
        e[i].batch_index = errors == NULL ? res->record_error_index : errors->list[i].index;
        e[i].batch_index_error_message =
            is_same ? e[i - 1].batch_index_error_message : api_strdup(r, text);
    }
}

/* v10+ (KIP-951): NOT_LEADER_OR_FOLLOWER tells who leads now and where. */
static void add_leaders(struct produce *p)
{
    struct request *r = p->request;
    struct metadata *m = metadata_current(r);
    int32_t wrong = 0;
    for (int32_t i = 0; i < p->count; i++)
        wrong += p->parts[i].answer->error_code == KE_NOT_LEADER_OR_FOLLOWER;
    if (wrong == 0 || r->api_version < 10)
        return;
    struct api_leaders leaders;
    if (!api_leaders_init(&leaders, r, wrong))
        return;
    for (int32_t t = 0; t < p->response.responses_count; t++) {
        struct kp_ProduceResponse_TopicProduceResponse *topic = &p->response.responses[t];
        for (int32_t i = 0; i < topic->partition_responses_count; i++) {
            struct kp_ProduceResponse_PartitionProduceResponse *a = &topic->partition_responses[i];
            const struct metadata_partition *mp = metadata_partition(m, topic->name, a->index);
            if (a->error_code != KE_NOT_LEADER_OR_FOLLOWER || mp == NULL || mp->leader < 0)
                continue;
            a->current_leader.leader_id = mp->leader;
            a->current_leader.leader_epoch = mp->leader_epoch;
            api_leaders_add(&leaders, mp->leader);
        }
    }
    p->response.node_endpoints =
        api_alloc(r, (size_t)leaders.count, sizeof *p->response.node_endpoints);
    for (int32_t i = 0; p->response.node_endpoints != NULL && i < leaders.count; i++) {
        struct kp_ProduceResponse_NodeEndpoint *e = &p->response.node_endpoints[i];
        *e = (struct kp_ProduceResponse_NodeEndpoint){.node_id = leaders.nodes[i].id,
                                                      .host = leaders.nodes[i].host,
                                                      .port = leaders.nodes[i].port,
                                                      .rack = leaders.nodes[i].rack};
        p->response.node_endpoints_count = i + 1;
    }
}

static void produce_release(struct produce *p)
{
    for (int32_t i = 0; i < p->count; i++)
        partition_unref(&p->parts[i].partition);
}

static void produce_finish(struct produce *p)
{
    struct request *r = p->request;
    loop_timer_cancel(r->loop, &p->timer);
    produce_release(p);
    r->on_cancel = NULL;
    if (p->is_cancelled) {
        request_drop(r);
        return;
    }
    if (p->req->acks != 0) {
        add_leaders(p);
        request_reply(r, &p->response);
        return;
    }
    for (int32_t i = 0; i < p->count; i++) {
        if (p->parts[i].answer->error_code != KE_NONE) {
            /* the only way to tell a client that wants no answers: it then refreshes its metadata
             */
            request_close(r, "produce with acks=0 failed");
            return;
        }
    }
    request_reply_none(r);
}

/* ---- waiting for replicas */

static void part_woken(struct partition_wait *w)
{
    struct produce_part *part = CONTAINER_OF(w, struct produce_part, wait);
    struct produce *p = part->produce;
    CHECK_OBJ(p, PRODUCE_MAGIC);
    part->is_waiting = false;
    part_answer(part, w->result, NULL);
    if (--p->waiting == 0)
        produce_finish(p);
}

/* Takes the parts that still wait out of their lists; those whose wake-up is on its way stay
 * counted in p->waiting. */
static void stop_waiting(struct produce *p, int16_t error)
{
    for (int32_t i = 0; i < p->count; i++) {
        struct produce_part *part = &p->parts[i];
        if (!part->is_waiting || !partition_wait_cancel(&part->wait))
            continue;
        part->is_waiting = false;
        part_answer(part, error, NULL);
        p->waiting--;
    }
}

static void produce_timeout(struct loop_timer *t)
{
    struct produce *p = CONTAINER_OF(t, struct produce, timer);
    CHECK_OBJ(p, PRODUCE_MAGIC);
    stop_waiting(p, KE_REQUEST_TIMED_OUT);
    if (p->waiting == 0)
        produce_finish(p);
}

static void wait_for_replicas(struct produce *p)
{
    for (int32_t i = 0; i < p->count; i++) {
        struct produce_part *part = &p->parts[i];
        if (part->answer->error_code != KE_NONE || part->is_empty)
            continue;
        part->wait = (struct partition_wait){.required_offset = part->result.last_offset + 1,
                                             .leader_epoch = part->result.leader_epoch,
                                             .acks = p->req->acks,
                                             .loop = p->request->loop,
                                             .woken = part_woken};
        if (partition_wait_start(part->partition, &part->wait)) {
            part->is_waiting = true;
            p->waiting++;
        } else {
            part_answer(part, part->wait.result, NULL);
        }
    }
    if (p->waiting > 0) {
        p->timer.fire = produce_timeout;
        loop_timer_arm(p->request->loop, &p->timer, i32_max(p->req->timeout_ms, 0));
    }
}

/* ---- appending */

/* Any thread. */
static void append_all(struct produce *p)
{
    size_t bytes = 0;
    int errors = 0, old = 0;
    int64_t records = 0, now_ms = clock_wall_ms();
    for (int32_t i = 0; i < p->count; i++) {
        struct produce_part *part = &p->parts[i];
        if (part->answer->error_code != KE_NONE || part->is_empty)
            continue;
        struct partition_append a = {.records =
                                         p->request->frame + (part->records.p - p->request->frame),
                                     .len = (size_t)part->records.len,
                                     .acks = p->req->acks,
                                     .produce_version = p->request->api_version,
                                     .origin = LOG_FROM_CLIENT,
                                     .now_ms = now_ms};
        int16_t error = partition_append(part->partition, &a, &part->result);
        if (error == KE_NONE)
            part_answer(part, error, NULL);
        else
            part_refused(p, part, error);
        log_append_result_fini(&part->result);
        errors += error != KE_NONE;
        bytes += error == KE_NONE ? a.len : 0;
        records += error == KE_NONE ? part->result.last_offset - part->result.base_offset + 1 : 0;
        old += error == KE_NONE && a.produce_version < VERSION_BATCHES &&
               a.len >= BATCH_PREFIX_BYTES && batch_magic(a.records) < 2;
    }
    METRIC_ADD(produce_bytes, bytes);
    METRIC_ADD(produce_records, records);
    if (errors > 0)
        METRIC_ADD(produce_errors, errors);
    if (old > 0)
        METRIC_ADD(produce_conversions, old);
}

static void produce_appended(struct produce *p)
{
    if (!p->is_cancelled && p->req->acks != 0 && p->req->acks != 1)
        wait_for_replicas(p);
    if (p->waiting == 0)
        produce_finish(p);
}

static void append_on_pool(struct pool_job *j);

static void append_start(struct produce *p)
{
    p->is_running = true;
    if (p->needs_pool) {
        p->job.run = append_on_pool;
        pool_submit_always(p->request->broker->io_pool, &p->job); /* bounded: one a connection */
        return;
    }
    append_all(p);
}

static struct produce *first_of(const struct produce_queue *q, const void *conn)
{
    struct produce *p;
    TAILQ_FOREACH (p, q, link)
        if (p->queue_key == conn)
            return p;
    return NULL;
}

/* Back on the loop: the connection's requests that queued up meanwhile go on. */
static void append_done(struct request *r)
{
    struct produce *p = r->handler_data;
    CHECK_OBJ(p, PRODUCE_MAGIC);
    struct produce_queue *q = &api_seat(r)->appending;
    const void *conn = p->queue_key;
    TAILQ_REMOVE(q, p, link);
    p->is_queued = false;
    produce_appended(p);
    /* looked up again each time: one that fails may close the connection, and then its others are
     * gone
     */
    while ((p = first_of(q, conn)) != NULL) {
        append_start(p);
        if (p->needs_pool)
            return; /* the rest goes on when it is done */
        TAILQ_REMOVE(q, p, link);
        p->is_queued = false;
        produce_appended(p);
    }
}

static void append_on_pool(struct pool_job *j)
{
    struct produce *p = CONTAINER_OF(j, struct produce, job);
    CHECK_OBJ(p, PRODUCE_MAGIC);
    append_all(p);
    request_post(p->request, append_done);
}

static void produce_run(struct produce *p)
{
    bool must_queue = first_of(&api_seat(p->request)->appending, p->queue_key) != NULL;
    if (must_queue || p->needs_pool) {
        TAILQ_INSERT_TAIL(&api_seat(p->request)->appending, p, link);
        p->is_queued = true;
        if (!must_queue)
            append_start(p);
        return;
    }
    append_all(p);
    produce_appended(p);
}

/* The connection is gone. What was appended stays; only the answer is dropped. */
static void produce_cancel(struct request *r)
{
    struct produce *p = r->handler_data;
    CHECK_OBJ(p, PRODUCE_MAGIC);
    p->is_cancelled = true;
    if (p->is_queued && p->is_running)
        return; /* append_done finishes it */
    if (p->is_queued) {
        TAILQ_REMOVE(&api_seat(r)->appending, p, link);
        p->is_queued = false;
    }
    stop_waiting(p, KE_REQUEST_TIMED_OUT);
    if (p->waiting == 0)
        produce_finish(p);
}

/* ---- checks before the append */

static int16_t part_check(struct produce *p, struct produce_part *part, struct str topic,
                          int32_t index, bool may_write)
{
    struct request *r = p->request;
    if (!may_write)
        return KE_TOPIC_AUTHORIZATION_FAILED;
    if (metadata_partition(metadata_current(r), topic, index) == NULL)
        return KE_UNKNOWN_TOPIC_OR_PARTITION;
    if (part->records.len < 0 || (part->records.len == 0 && r->api_version >= VERSION_BATCHES))
        return KE_INVALID_RECORD;
    if (p->req->acks < -1)
        return KE_INVALID_REQUIRED_ACKS;
    if (api_topic_is_internal(topic) && !str_eq_z(r->client_id, "__admin_client"))
        return KE_INVALID_TOPIC_EXCEPTION;
    if (part->records.len == 0) {
        part->is_empty = true;
        part->result.base_offset = -1;
        part->result.log_append_time_ms = -1;
        part_answer(part, KE_NONE, NULL);
        return KE_NONE;
    }
    part->partition = replicas_find(r->broker->replicas, topic, index);
    return part->partition == NULL ? KE_NOT_LEADER_OR_FOLLOWER : KE_NONE;
}

/* A transactional batch that nothing can end would hold the last stable offset, and with it every
 * read_committed consumer, for ever: the whole request is refused, as Kafka refuses one whose
 * producer may not use its transactional id. */
static bool has_transactional_batch(const struct kp_ProduceRequest *req)
{
    for (int32_t t = 0; t < req->topic_data_count; t++)
        for (int32_t i = 0; i < req->topic_data[t].partition_data_count; i++)
            if (is_transactional(req->topic_data[t].partition_data[i].records))
                return true;
    return false;
}

static void topic_prepare(struct produce *p, const struct kp_ProduceRequest_TopicProduceData *from,
                          struct kp_ProduceResponse_TopicProduceResponse *to, int16_t all_error)
{
    bool may_write = authorize(p->request, ACL_WRITE, ACL_TOPIC, from->name);
    to->name = from->name;
    to->partition_responses_count = from->partition_data_count;
    for (int32_t i = 0; i < from->partition_data_count; i++) {
        const struct kp_ProduceRequest_PartitionProduceData *d = &from->partition_data[i];
        struct produce_part *part = &p->parts[p->count++];
        part->produce = p;
        part->records = d->records;
        part->result.record_error_index = -1;
        part->answer = &to->partition_responses[i];
        part->answer->index = d->index;
        part->answer->error_message = STR_NULL;
        part->answer->current_leader.leader_id = -1;
        part->answer->current_leader.leader_epoch = -1;
        int16_t error =
            all_error != KE_NONE ? all_error : part_check(p, part, from->name, d->index, may_write);
        p->needs_pool |=
            error == KE_NONE && !part->is_empty && is_heavy(part->partition, d->records);
        if (error != KE_NONE)
            part_answer(part, error, all_error == KE_NONE ? NULL : api_no_transactions_text);
    }
}

/* All memory of the request in one piece; NULL at the limit. */
static struct produce *produce_new(struct request *r)
{
    const struct kp_ProduceRequest *req = r->body;
    size_t parts = 0, topics = (size_t)i32_max(req->topic_data_count, 0);
    for (int32_t t = 0; t < req->topic_data_count; t++)
        parts += (size_t)i32_max(req->topic_data[t].partition_data_count, 0);
    struct produce *p = api_alloc(r, 1, sizeof *p + parts * sizeof p->parts[0]);
    struct kp_ProduceResponse_TopicProduceResponse *answers = api_alloc(r, topics, sizeof *answers);
    struct kp_ProduceResponse_PartitionProduceResponse *part_answers =
        api_alloc(r, parts, sizeof *part_answers);
    if (p == NULL || answers == NULL || part_answers == NULL)
        return NULL;
    p->magic = PRODUCE_MAGIC;
    p->request = r;
    p->req = req;
    p->queue_key = r->conn;
    p->response.responses = answers;
    p->response.responses_count = (int32_t)topics;
    for (size_t t = 0; t < topics; t++) {
        answers[t].partition_responses = part_answers;
        part_answers += i32_max(req->topic_data[t].partition_data_count, 0);
    }
    r->handler_data = p;
    r->on_cancel = produce_cancel;
    return p;
}

void api_produce(struct request *r)
{
    CHECK_OBJ(r, REQUEST_MAGIC);
    struct produce *p = produce_new(r);
    if (p == NULL) {
        api_no_memory(r);
        return;
    }
    int16_t all_error =
        has_transactional_batch(p->req) ? KE_TRANSACTIONAL_ID_AUTHORIZATION_FAILED : KE_NONE;
    for (int32_t t = 0; t < p->response.responses_count; t++)
        topic_prepare(p, &p->req->topic_data[t], &p->response.responses[t], all_error);
    produce_run(p);
}
