/* SPDX-License-Identifier: Apache-2.0 */
/* Proposals of ISR changes to the controller (AlterPartition). One request in flight for the whole
 * broker; what is proposed meanwhile goes with the next. All state is the first loop's; a partition
 * comes by mail and is in the queue, or in the request, at most once (is_proposing).
 *
 *     no controller known, or no connection     -> again in 100 ms
 *     top-level error, NOT_CONTROLLER anywhere  -> connection dropped, whole request again in 50 ms
 *     partition missing in the answer           -> again
 *     anything else                             -> the partition's core decides (ISR_RESULT)
 *
 * The content is read from the core when the request is made, so that a proposal which LeaderAndIsr
 * has overtaken is not sent. */
#include "broker/replica/replicas_internal.h"
#include "common/base/slog.h"
#include "common/net/client.h"
#include "common/protocol/messages.h"
#include "controller/controller.h"

#include <stdio.h>
#include <stdlib.h>

enum {
    ISR_SENDER_MAGIC = 0x69737273,
    NO_CONTROLLER_MS = 100,
    RETRY_MS = 50,
    WATCH_MS = 200, /* while a request is in flight: has the controller moved? */
    BATCH_MAX = 5000,
    VERSION_IDS = 3,
    VERSION_NAMES = 1
};

struct isr_item {
    TAILQ_ENTRY(isr_item) link;
    struct partition *partition; /* reference */
    /* as sent */
    uint32_t change_id;
    int32_t leader_epoch, partition_epoch;
    int32_t isr[REPL_REPLICAS_MAX];
    int16_t isr_count;
    struct uuid topic_id;
    int64_t joiner_epoch; /* of the last in isr; -1 when it shrinks */
    bool is_shrink;
};
TAILQ_HEAD(isr_item_list, isr_item);

struct isr_sender {
    unsigned magic;
    struct replicas *replicas;
    struct loop *loop;
    struct isr_item_list queue;
    struct isr_item **sent; /* the request in flight, in its order */
    int32_t sent_count;
    int16_t sent_version;
    int32_t sent_to; /* broker id; -1: nothing in flight */
    struct kp_AlterPartitionRequest request;
    struct arena arena; /* of the request, which a local controller borrows */
    struct client *client;
    int32_t client_to;
    bool must_wait, is_stopped;
    struct loop_timer timer;
    struct loop_deferred work;
    _Atomic int64_t shrinks, expands, failures;
};

static void wait_for(struct isr_sender *s, int64_t ms)
{
    s->must_wait = true;
    loop_timer_arm(s->loop, &s->timer, ms);
}

/* ---- the queue */

static void item_free(struct isr_item *i)
{
    partition_unref(&i->partition);
    mem_free(i);
}

static void proposal_delivered(struct mail *m)
{
    struct partition *p = CONTAINER_OF(m, struct partition, isr_mail);
    struct isr_sender *s = replicas_isr_sender(p->owner);
    struct isr_item *i;

    CHECK_OBJ(s, ISR_SENDER_MAGIC);
    if (s->is_stopped) {
        struct wake w;
        partition_lock(p, &w);
        p->is_proposing = false;
        partition_unlock(p, &w);
        partition_unref(&p);
        return;
    }
    i = xcalloc(1, sizeof *i);
    i->partition = p; /* the mail's reference */
    TAILQ_INSERT_TAIL(&s->queue, i, link);
    loop_defer(s->loop, &s->work);
}

void isr_sender_propose_locked(struct isr_sender *s, struct partition *p)
{
    if (p->is_proposing)
        return; /* looked at again when the answer to the older one is here */
    p->is_proposing = true;
    p->isr_mail.deliver = proposal_delivered;
    loop_post(s->loop, &partition_ref(p)->isr_mail);
}

static void requeue(struct isr_sender *s)
{
    for (int32_t i = s->sent_count - 1; i >= 0; i--) {
        if (s->sent[i] != NULL)
            TAILQ_INSERT_HEAD(&s->queue, s->sent[i], link);
    }
    FREE_NULL(&s->sent);
    s->sent_count = 0;
    s->sent_to = -1;
}

/* ---- requests */

/* Reads the proposal as it is now. False: there is none any more. */
static bool item_read(struct isr_item *i)
{
    struct partition *p = i->partition;
    struct wake w;
    bool is_pending;

    partition_lock(p, &w);
    is_pending = p->core.role == REPL_LEADER && p->core.isr_state != REPL_ISR_COMMITTED;
    if (is_pending) {
        i->change_id = p->core.change_id;
        i->leader_epoch = p->core.leader_epoch;
        i->partition_epoch = p->core.partition_epoch;
        i->isr_count = p->core.proposed_count;
        i->topic_id = p->topic_id;
        memcpy(i->isr, p->core.proposed, (size_t)i->isr_count * sizeof *i->isr);
        i->is_shrink = p->core.isr_state == REPL_ISR_SHRINKING;
        i->joiner_epoch = i->is_shrink ? -1 : p->core.joiner_epoch;
    } else {
        p->is_proposing = false;
    }
    partition_unlock(p, &w);
    return is_pending;
}

static int by_topic(const void *a, const void *b)
{
    const struct partition *x = (*(struct isr_item *const *)a)->partition;
    const struct partition *y = (*(struct isr_item *const *)b)->partition;
    int order = str_cmp(partition_topic(x), partition_topic(y));

    return order != 0 ? order : (x->index > y->index) - (x->index < y->index);
}

static void take_batch(struct isr_sender *s)
{
    int32_t cap = 64;

    s->sent = xcalloc((size_t)cap, sizeof(struct isr_item *));
    while (!TAILQ_EMPTY(&s->queue) && s->sent_count < BATCH_MAX) {
        struct isr_item *i = TAILQ_FIRST(&s->queue);
        TAILQ_REMOVE(&s->queue, i, link);
        if (!item_read(i)) {
            item_free(i);
            continue;
        }
        if (s->sent_count == cap) {
            cap *= 2;
            s->sent = xrealloc(s->sent, (size_t)cap * sizeof(struct isr_item *));
        }
        s->sent[s->sent_count++] = i;
    }
    qsort(s->sent, (size_t)s->sent_count, sizeof(struct isr_item *), by_topic);
}

static void put_partition(struct isr_sender *s, const struct isr_item *i,
                          struct kp_AlterPartitionRequest_PartitionData *d)
{
    kp_defaults(&kp_AlterPartitionRequest_PartitionData_schema, d);
    d->partition_index = i->partition->index;
    d->leader_epoch = i->leader_epoch;
    d->partition_epoch = i->partition_epoch;
    if (s->sent_version < VERSION_IDS) {
        d->new_isr = arena_alloc(&s->arena, (size_t)i->isr_count * sizeof *d->new_isr);
        d->new_isr_count = i->isr_count;
        memcpy(d->new_isr, i->isr, (size_t)i->isr_count * sizeof *i->isr);
        return;
    }
    d->new_isr_with_epochs =
        arena_alloc(&s->arena, (size_t)i->isr_count * sizeof *d->new_isr_with_epochs);
    d->new_isr_with_epochs_count = i->isr_count;
    for (int16_t n = 0; n < i->isr_count; n++) {
        d->new_isr_with_epochs[n].broker_id = i->isr[n];
        d->new_isr_with_epochs[n].broker_epoch = -1; /* not checked */
    }
    /* A follower that was restarted after the fetch that caught up may have lost records since: the
     * controller refuses it by this (KIP-903; Kafka's, in ZooKeeper mode, does not look). */
    d->new_isr_with_epochs[i->isr_count - 1].broker_epoch = i->joiner_epoch;
}

static int32_t topic_end(const struct isr_sender *s, int32_t from)
{
    struct str topic = partition_topic(s->sent[from]->partition);
    int32_t end = from + 1;

    while (end < s->sent_count && str_eq(partition_topic(s->sent[end]->partition), topic))
        end++;
    return end;
}

static void build_request(struct isr_sender *s)
{
    const struct replicas_options *o = replicas_options_of(s->replicas);
    struct kp_AlterPartitionRequest *req = &s->request;

    s->sent_version = VERSION_IDS;
    for (int32_t i = 0; i < s->sent_count; i++) {
        if (uuid_is_zero(s->sent[i]->topic_id))
            s->sent_version = VERSION_NAMES;
    }
    arena_reset(&s->arena);
    kp_defaults(&kp_AlterPartitionRequest_schema, req);
    req->broker_id = o->broker_id;
    req->broker_epoch = o->broker_epoch == NULL ? -1 : atomic_load(o->broker_epoch);
    req->topics = arena_alloc(&s->arena, (size_t)s->sent_count * sizeof *req->topics);
    for (int32_t i = 0; i < s->sent_count;) {
        struct kp_AlterPartitionRequest_TopicData *t = &req->topics[req->topics_count++];
        int32_t end = topic_end(s, i);
        kp_defaults(&kp_AlterPartitionRequest_TopicData_schema, t);
        t->topic_name = partition_topic(s->sent[i]->partition);
        t->topic_id = s->sent[i]->topic_id;
        t->partitions = arena_alloc(&s->arena, (size_t)(end - i) * sizeof *t->partitions);
        for (; i < end; i++)
            put_partition(s, s->sent[i], &t->partitions[t->partitions_count++]);
    }
}

/* ---- answers */

static struct isr_item *take_item(struct isr_sender *s, int32_t *cursor, struct str topic,
                                  struct uuid topic_id, int32_t index)
{
    for (int32_t n = 0; n < s->sent_count; n++) {
        int32_t at = (*cursor + n) % s->sent_count; /* mostly in the order of the request */
        struct isr_item *i = s->sent[at];
        if (i == NULL || i->partition->index != index)
            continue;
        if (s->sent_version >= 2 ? !uuid_eq(i->topic_id, topic_id)
                                 : !str_eq(partition_topic(i->partition), topic))
            continue;
        s->sent[at] = NULL;
        *cursor = at + 1;
        return i;
    }
    return NULL;
}

static void log_result(struct isr_sender *s, const struct isr_item *i, int16_t error,
                       const struct kp_AlterPartitionResponse_PartitionData *d)
{
    if (error != KE_NONE) {
        atomic_fetch_add_explicit(&s->failures, 1, memory_order_relaxed);
        SLOG(INFO, "replica", "the controller refused an ISR change",
             KV_STR("topic", partition_topic(i->partition)), KV_I("partition", i->partition->index),
             KV_I("isr_size", i->isr_count), KV_I("leader_epoch", i->leader_epoch), KV_KERR(error));
        return;
    }
    atomic_fetch_add_explicit(i->is_shrink ? &s->shrinks : &s->expands, 1, memory_order_relaxed);
    SLOG(INFO, "replica", i->is_shrink ? "isr shrunk" : "isr expanded",
         KV_STR("topic", partition_topic(i->partition)), KV_I("partition", i->partition->index),
         KV_I("isr_size", d->isr_count), KV_I("partition_epoch", d->partition_epoch));
}

/* Takes i. The core may propose anew while it is told, so is_proposing is cleared before
 * (KAFKA-14010). */
static void tell_core(struct isr_sender *s, struct isr_item *i,
                      const struct kp_AlterPartitionResponse_PartitionData *d)
{
    struct partition *p = i->partition;
    struct wake w;

    log_result(s, i, d->error_code, d);
    partition_lock(p, &w);
    p->is_proposing = false;
    partition_step_locked(
        p,
        &(struct repl_event){.kind = REPL_EV_ISR_RESULT,
                             .isr_result = {i->change_id, d->error_code, d->leader_epoch,
                                            d->partition_epoch, d->isr, d->isr_count}},
        &w);
    /* what was proposed while the older proposal was on its way */
    if (p->core.role == REPL_LEADER && p->core.isr_state != REPL_ISR_COMMITTED &&
        p->core.change_id != i->change_id)
        isr_sender_propose_locked(s, p);
    partition_unlock(p, &w);
    item_free(i);
}

static bool is_from_no_controller(const struct kp_AlterPartitionResponse *resp)
{
    if (resp->error_code != KE_NONE)
        return true;
    for (int32_t i = 0; i < resp->topics_count; i++) {
        for (int32_t j = 0; j < resp->topics[i].partitions_count; j++) {
            if (resp->topics[i].partitions[j].error_code == KE_NOT_CONTROLLER)
                return true;
        }
    }
    return false;
}

static void handle_response(struct isr_sender *s, const struct kp_AlterPartitionResponse *resp)
{
    int32_t cursor = 0;
    bool has_error = false;

    if (is_from_no_controller(resp)) {
        SLOG_EVERY(1000, INFO, "replica", "sending ISR changes again",
                   KV_I("controller", s->sent_to), KV_KERR(resp->error_code));
        client_close(&s->client);
        requeue(s);
        wait_for(s, RETRY_MS);
        return;
    }
    for (int32_t i = 0; i < resp->topics_count; i++) {
        const struct kp_AlterPartitionResponse_TopicData *t = &resp->topics[i];
        for (int32_t j = 0; j < t->partitions_count; j++) {
            const struct kp_AlterPartitionResponse_PartitionData *d = &t->partitions[j];
            struct isr_item *item =
                take_item(s, &cursor, t->topic_name, t->topic_id, d->partition_index);
            has_error |= d->error_code != KE_NONE;
            if (item != NULL)
                tell_core(s, item, d);
        }
    }
    requeue(s); /* what the answer lacks */
    if (has_error || !TAILQ_EMPTY(&s->queue))
        wait_for(s, RETRY_MS);
}

static void on_local_response(void *arg, const void *response)
{
    struct isr_sender *s;

    CAST_OBJ(s, arg, ISR_SENDER_MAGIC);
    if (s->is_stopped)
        return;
    handle_response(s, response);
    loop_defer(s->loop, &s->work);
}

static void on_response(void *arg, enum err err, struct frame *frame, struct bytes body)
{
    struct isr_sender *s;
    struct kp_AlterPartitionResponse resp;
    struct errtext why = {""};

    (void)frame;
    CAST_OBJ(s, arg, ISR_SENDER_MAGIC);
    if (err != ERR_OK)
        return; /* on_close follows */
    err =
        kp_decode(&kp_AlterPartitionResponse_schema, s->sent_version, body, &s->arena, &resp, &why);
    if (err == ERR_OK) {
        handle_response(s, &resp);
    } else {
        SLOG_EVERY(1000, WARN, "replica", "cannot decode an answer of the controller",
                   KV_S("why", why.text));
        requeue(s);
        wait_for(s, RETRY_MS);
    }
    loop_defer(s->loop, &s->work);
}

/* ---- connection */

static void on_close(void *arg, struct client *c, enum client_end why, int errnum)
{
    struct isr_sender *s;

    (void)c;
    (void)errnum;
    CAST_OBJ(s, arg, ISR_SENDER_MAGIC);
    SLOG_EVERY(1000, INFO, "replica", "the connection to the controller ended",
               KV_I("controller", s->client_to), KV_S("why", client_end_text(why)));
    s->client = NULL;
    requeue(s);
    wait_for(s, NO_CONTROLLER_MS);
}

static bool connect_to(struct isr_sender *s, int32_t id)
{
    const struct replicas_options *o = replicas_options_of(s->replicas);
    char host[REPLICAS_HOST_MAX];
    char client_id[64];
    struct client_options c = {.loop = s->loop,
                               .host = host,
                               .client_id = client_id,
                               .tls = o->tls,
                               .connect_timeout_ms = o->socket_timeout_ms,
                               .on_close = on_close,
                               .arg = s};

    if (s->client != NULL && s->client_to == id)
        return true;
    client_close(&s->client);
    if (!replicas_endpoint(s->replicas, id, host, &c.port))
        return false;
    (void)snprintf(client_id, sizeof client_id, "broker-%d-isr", (int)o->broker_id);
    s->client = client_open(&c);
    s->client_to = id;
    return true;
}

static void send_batch(struct isr_sender *s, int32_t to)
{
    const struct replicas_options *o = replicas_options_of(s->replicas);
    struct errtext why = {""};

    s->sent_to = to;
    build_request(s);
    if (to == o->broker_id) {
        controller_request(o->controller, KP_API_ALTER_PARTITION, s->sent_version, &s->request,
                           loop_mailbox(s->loop), on_local_response, s);
        return;
    }
    if (client_send(s->client, KP_API_ALTER_PARTITION, s->sent_version, &s->request, 0, on_response,
                    s, &why) == ERR_OK) {
        loop_timer_arm(s->loop, &s->timer, WATCH_MS);
        return;
    }
    SLOG(ERROR, "replica", "AlterPartition cannot be sent", KV_S("why", why.text));
    requeue(s);
    wait_for(s, RETRY_MS);
}

static void sender_work(struct loop_deferred *d)
{
    struct isr_sender *s = CONTAINER_OF(d, struct isr_sender, work);
    const struct replicas_options *o = replicas_options_of(s->replicas);
    int32_t to;

    if (s->is_stopped || s->must_wait || s->sent_to >= 0 || TAILQ_EMPTY(&s->queue) ||
        o->controller == NULL)
        return;
    to = controller_id(o->controller);
    if (to < 0 || (to != o->broker_id && !connect_to(s, to))) {
        wait_for(s, NO_CONTROLLER_MS);
        return;
    }
    take_batch(s);
    if (s->sent_count == 0)
        requeue(s); /* nothing was pending any more */
    else
        send_batch(s, to);
}

/* Either a pause is over, or a request has been in flight for a while: a controller that hangs or
 * is cut off must not hold ISR changes up once there is another one. */
static void timer_fired(struct loop_timer *t)
{
    struct isr_sender *s = CONTAINER_OF(t, struct isr_sender, timer);
    const struct replicas_options *o = replicas_options_of(s->replicas);

    s->must_wait = false;
    if (s->sent_to >= 0 && s->sent_to != o->broker_id) {
        if (controller_id(o->controller) == s->sent_to) {
            loop_timer_arm(s->loop, &s->timer, WATCH_MS);
            return;
        }
        client_close(&s->client);
        requeue(s);
    }
    loop_defer(s->loop, &s->work);
}

/* ---- life */

struct isr_sender *isr_sender_new(struct replicas *r)
{
    struct isr_sender *s = xcalloc(1, sizeof *s);

    s->magic = ISR_SENDER_MAGIC;
    s->replicas = r;
    s->loop = replicas_options_of(r)->loops[0];
    TAILQ_INIT(&s->queue);
    s->sent_to = -1;
    s->timer.fire = timer_fired;
    s->work.run = sender_work;
    return s;
}

static void forget_item(struct isr_item *i)
{
    struct wake w;

    partition_lock(i->partition, &w);
    i->partition->is_proposing = false;
    partition_unlock(i->partition, &w);
    item_free(i);
}

static void stop_on_loop(void *arg)
{
    struct isr_sender *s = arg;

    s->is_stopped = true;
    client_close(&s->client);
    loop_timer_cancel(s->loop, &s->timer);
    loop_defer_cancel(s->loop, &s->work);
    requeue(s);
    while (!TAILQ_EMPTY(&s->queue)) {
        struct isr_item *i = TAILQ_FIRST(&s->queue);
        TAILQ_REMOVE(&s->queue, i, link);
        forget_item(i);
    }
}

void isr_sender_stop(struct isr_sender *s)
{
    loop_call(s->loop, stop_on_loop, s);
}

void isr_sender_free(struct isr_sender **sp)
{
    if (*sp == NULL)
        return;
    ASSERT(TAILQ_EMPTY(&(*sp)->queue) && (*sp)->sent == NULL);
    arena_fini(&(*sp)->arena);
    (*sp)->magic = 0;
    FREE_NULL(sp);
}

void isr_sender_count(const struct isr_sender *s, struct replicas_numbers *out)
{
    out->isr_shrinks = atomic_load_explicit(&s->shrinks, memory_order_relaxed);
    out->isr_expands = atomic_load_explicit(&s->expands, memory_order_relaxed);
    out->failed_isr_updates = atomic_load_explicit(&s->failures, memory_order_relaxed);
}
