/* SPDX-License-Identifier: Apache-2.0 */
/* init_producer_id - InitProducerId (22) for idempotent producers, and the blocks of ids behind it.
 *
 * A block comes from the controller (AllocateProducerIds, 67): through the controller module when
 * it is active here, else over a connection to its broker. The next block is asked for when little
 * is left of this one; requests that find none wait for it, so a producer's first try succeeds.
 * When the controller cannot be asked they hear COORDINATOR_LOAD_IN_PROGRESS, which clients retry.
 */
#include "broker/api/handlers.h"
#include "broker/api/init_producer_id.h"
#include "broker/api/api.h"
#include "common/base/lock.h"
#include "common/base/slog.h"
#include "common/net/client.h"
#include "common/protocol/codec.h"
#include "common/protocol/messages.h"
#include "controller/controller.h"

enum {
    IDS_MAGIC = 0x70696473,
    ASK_MAGIC = 0x61736b70,
    ALLOCATE_TIMEOUT_MS = 5000,
    WAITING_MAX = 10000,
    BLOCK_MAX = 1000000 /* ids: a longer one is a mistake */
};

struct id_wait { /* one request that found no id; in its arena */
    TAILQ_ENTRY(id_wait) link;
    struct request *request;
    bool is_listed;    /* guarded by the lock */
    bool is_cancelled; /* owner: the request's loop */
};
TAILQ_HEAD(id_waits, id_wait);

struct producer_ids {
    unsigned magic;
    struct broker *broker;
    struct lock lock;  /* all below; LEAF */
    int64_t next, end; /* of this block; empty when equal */
    int64_t block_len;
    int64_t spare_next, spare_end; /* the block after it */
    bool is_asking;
    struct ask *asking; /* over the network, on its loop; NULL: none */
    struct id_waits waiting;
    int32_t waiting_count;
};

struct producer_ids *producer_ids_new(struct broker *b)
{
    struct producer_ids *p = xcalloc(1, sizeof *p);
    p->magic = IDS_MAGIC;
    p->broker = b;
    lock_init(&p->lock, LOCK_LEAF);
    TAILQ_INIT(&p->waiting);
    return p;
}

void producer_ids_free(struct producer_ids **pp)
{
    struct producer_ids *p = *pp;
    *pp = NULL;
    if (p == NULL)
        return;
    CHECK_OBJ(p, IDS_MAGIC);
    ASSERT(p->waiting_count == 0);
    lock_fini(&p->lock);
    p->magic = 0;
    mem_free(p);
}

/* ---- asking the controller */

struct ask { /* one AllocateProducerIds on its way; owner: the loop that asked */
    unsigned magic;
    struct producer_ids *ids;
    struct loop *loop;
    struct client *client; /* NULL: through the controller module */
    struct kp_AllocateProducerIdsRequest request;
};

static void wake_all(struct producer_ids *p);

static void ask_done(struct ask *a, const struct kp_AllocateProducerIdsResponse *response)
{
    struct producer_ids *p = a->ids;
    bool is_fine = response != NULL && response->error_code == KE_NONE &&
                   response->producer_id_start >= 0 && response->producer_id_len > 0 &&
                   response->producer_id_len <= BLOCK_MAX &&
                   response->producer_id_start <= INT64_MAX - BLOCK_MAX;
    if (!is_fine)
        SLOG_EVERY(
            10000, WARN, "api", "no producer ids from the controller",
            KV_KERR(response == NULL ? (int16_t)KE_NETWORK_EXCEPTION : response->error_code));
    lock_take(&p->lock);
    p->is_asking = false;
    p->asking = NULL;
    if (is_fine) {
        p->spare_next = response->producer_id_start;
        p->spare_end = response->producer_id_start + response->producer_id_len;
    }
    lock_release(&p->lock);
    a->magic = 0;
    mem_free(a);
    wake_all(p);
}

static void ask_answered_here(void *arg, const void *response)
{
    struct ask *a;
    CAST_OBJ(a, arg, ASK_MAGIC);
    ask_done(a, response);
}

static void ask_answered(void *arg, enum err err, struct frame *frame, struct bytes body)
{
    struct ask *a;
    CAST_OBJ(a, arg, ASK_MAGIC);
    (void)frame;
    struct kp_AllocateProducerIdsResponse response;
    struct arena arena = {.limit = 65536};
    struct errtext why;
    bool ok = err == ERR_OK && kp_decode(&kp_AllocateProducerIdsResponse_schema, 0, body, &arena,
                                         &response, &why) == ERR_OK;
    struct client *client = a->client;
    ask_done(a, ok ? &response : NULL);
    arena_fini(&arena);
    client_close(&client);
}

static void ask_closed(void *arg, struct client *c, enum client_end why, int errnum)
{
    /* every unanswered request was told before; nothing is left to do */
    (void)arg;
    (void)c;
    (void)why;
    (void)errnum;
}

static bool ask_over_network(struct ask *a, struct loop *loop)
{
    struct broker *b = a->ids->broker;
    const struct metadata *m = metadata_cache_on(b->metadata, loop);
    const struct metadata_endpoint *e = metadata_endpoint(
        metadata_broker(m, metadata_controller_id(m)), b->inter_broker_listener->name);
    if (e == NULL)
        return false;
    struct client_options o = {.loop = loop,
                               .host = e->host,
                               .port = e->port,
                               .client_id = "producer-ids",
                               .tls = b->inter_broker_tls,
                               .connect_timeout_ms = ALLOCATE_TIMEOUT_MS,
                               .on_close = ask_closed};
    struct errtext why;
    a->client = client_open(&o);
    if (client_send(a->client, KP_API_ALLOCATE_PRODUCER_IDS, 0, &a->request, ALLOCATE_TIMEOUT_MS,
                    ask_answered, a, &why) != ERR_OK) {
        client_close(&a->client);
        return false;
    }
    lock_take(&a->ids->lock);
    a->ids->asking = a;
    lock_release(&a->ids->lock);
    return true;
}

/* The caller has set is_asking. */
static void ask(struct producer_ids *p, struct loop *loop)
{
    struct broker *b = p->broker;
    struct ask *a = xcalloc(1, sizeof *a);
    a->magic = ASK_MAGIC;
    a->ids = p;
    a->loop = loop;
    a->request.broker_id = b->id;
    a->request.broker_epoch = atomic_load(&b->epoch);
    if (controller_is_active(b->controller))
        controller_request(b->controller, KP_API_ALLOCATE_PRODUCER_IDS, 0, &a->request,
                           loop_mailbox(loop), ask_answered_here, a);
    else if (!ask_over_network(a, loop))
        ask_done(a, NULL);
}

/* On the loop of the one that is asked for; it may be answered meanwhile. */
static void ask_end_if_there(void *arg)
{
    struct producer_ids *p;
    CAST_OBJ(p, arg, IDS_MAGIC);
    lock_take(&p->lock);
    struct ask *a = p->asking;
    lock_release(&p->lock);
    if (a == NULL)
        return;
    struct client *client = a->client;
    ask_done(a, NULL);
    client_close(&client);
}

void producer_ids_quit(struct producer_ids *p)
{
    lock_take(&p->lock);
    struct ask *a = p->asking;
    struct loop *loop = a == NULL ? NULL : a->loop;
    lock_release(&p->lock);
    if (a != NULL)
        loop_call(loop, ask_end_if_there, p);
}

/* ---- taking an id */

/* -1: none at hand. ask_out: a new block should be asked for, by the caller. */
static int64_t take_locked(struct producer_ids *p, bool *ask_out)
{
    int64_t id = -1;
    if (p->next == p->end && p->spare_next < p->spare_end) {
        p->next = p->spare_next;
        p->end = p->spare_end;
        p->block_len = p->end - p->next;
        p->spare_next = p->spare_end = 0;
    }
    if (p->next < p->end)
        id = p->next++;
    *ask_out =
        !p->is_asking && p->spare_next == p->spare_end && p->end - p->next <= p->block_len / 10;
    p->is_asking |= *ask_out;
    return id;
}

static void reply(struct request *r, int16_t error, int64_t id)
{
    struct kp_InitProducerIdResponse a;
    kp_defaults(&kp_InitProducerIdResponse_schema, &a);
    a.error_code = error;
    a.producer_id = id;
    a.producer_epoch = error == KE_NONE ? 0 : -1;
    request_reply(r, &a);
}

/* A waiting request's second try, on its loop. */
static void retry(struct request *r)
{
    struct producer_ids *p = r->broker->api->producer_ids;
    struct id_wait *w = r->handler_data;
    bool should_ask;
    if (w->is_cancelled) {
        request_drop(r);
        return;
    }
    r->on_cancel = NULL;
    lock_take(&p->lock);
    int64_t id = take_locked(p, &should_ask);
    lock_release(&p->lock);
    struct loop *loop = r->loop;
    reply(r, id >= 0 ? KE_NONE : KE_COORDINATOR_LOAD_IN_PROGRESS, id);
    if (should_ask)
        ask(p, loop);
}

static void wake_all(struct producer_ids *p)
{
    struct id_waits woken = TAILQ_HEAD_INITIALIZER(woken);
    lock_take(&p->lock);
    TAILQ_CONCAT(&woken, &p->waiting, link);
    p->waiting_count = 0;
    struct id_wait *w, *next;
    TAILQ_FOREACH (w, &woken, link)
        w->is_listed = false;
    lock_release(&p->lock);
    for (w = TAILQ_FIRST(&woken); w != NULL; w = next) {
        next = TAILQ_NEXT(w, link); /* w is gone once its loop has it */
        request_post(w->request, retry);
    }
}

static void wait_cancel(struct request *r)
{
    struct producer_ids *p = r->broker->api->producer_ids;
    struct id_wait *w = r->handler_data;
    lock_take(&p->lock);
    bool was_listed = w->is_listed;
    if (was_listed) {
        TAILQ_REMOVE(&p->waiting, w, link);
        p->waiting_count--;
    }
    lock_release(&p->lock);
    if (was_listed)
        request_drop(r);
    else
        w->is_cancelled = true; /* retry is on its way */
}

static void give_id(struct request *r)
{
    struct producer_ids *p = r->broker->api->producer_ids;
    struct id_wait *w = api_alloc(r, 1, sizeof *w);
    struct loop *loop = r->loop;
    bool should_ask, waits = false;
    lock_take(&p->lock);
    int64_t id = take_locked(p, &should_ask);
    if (id < 0 && w != NULL && p->is_asking && p->waiting_count < WAITING_MAX) {
        waits = true;
        *w = (struct id_wait){.request = r, .is_listed = true};
        r->handler_data = w;
        r->on_cancel = wait_cancel;
        TAILQ_INSERT_TAIL(&p->waiting, w, link);
        p->waiting_count++;
    }
    lock_release(&p->lock);
    if (!waits)
        reply(r, id >= 0 ? KE_NONE : KE_COORDINATOR_LOAD_IN_PROGRESS, id);
    if (should_ask)
        ask(p, loop);
}

/* IDEMPOTENT_WRITE on the cluster, or WRITE on any topic. */
static bool may_write_something(const struct request *r)
{
    const struct metadata *m = metadata_current(r);
    if (api_cluster_allowed(r, ACL_IDEMPOTENT_WRITE))
        return true;
    for (int32_t i = 0; i < metadata_topic_count(m); i++)
        if (authorize(r, ACL_WRITE, ACL_TOPIC, metadata_topic_at(m, i)->name))
            return true;
    return false;
}

void api_init_producer_id(struct request *r)
{
    CHECK_OBJ(r, REQUEST_MAGIC);
    const struct kp_InitProducerIdRequest *req = r->body;
    if ((req->producer_id == -1) != (req->producer_epoch == -1) && r->api_version >= 3)
        reply(r, KE_INVALID_REQUEST, -1);
    else if (req->transactional_id.len == 0)
        reply(r, KE_INVALID_REQUEST, -1);
    else if (req->transactional_id.len > 0)
        /* the answer has no text: see api_no_transactions_text, which FindCoordinator tells */
        reply(r, KE_TRANSACTIONAL_ID_AUTHORIZATION_FAILED, -1);
    else if (!may_write_something(r))
        reply(r, KE_CLUSTER_AUTHORIZATION_FAILED, -1);
    else
        give_id(r);
}
