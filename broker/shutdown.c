/* SPDX-License-Identifier: Apache-2.0 */
/* One attempt: on the first loop, to our own controller module if that is the active one, else over
 * a connection to the controller that the metadata names. Main waits on a condition. Source:
 * KafkaServer.scala#controlledShutdown. */
#include "broker/shutdown.h"

#include "broker/config/config.h"
#include "broker/cluster/metadata.h"
#include "broker/cluster/metadata_cache.h"
#include "broker/run.h"
#include "common/base/clock.h"
#include "common/base/lock.h"
#include "common/base/slog.h"
#include "common/net/client.h"
#include "common/protocol/messages.h"
#include "controller/controller.h"

enum { VERSION = 3, LOOK_MS = 1000, LOOK_AGAIN_MS = 100 };

struct attempt {
    struct broker *broker;
    struct tls_context *tls;
    struct kp_ControlledShutdownRequest request;
    struct client *client; /* owner: the first loop, as the next two */
    bool asks_own;         /* our controller module has the request */
    bool is_abandoned;     /* and was not waited for: it frees the attempt when it answers */
    struct attempt *next;
    struct lock mtx;
    bool is_done; /* guarded by mtx, as all below */
    bool is_success;
    int32_t remaining;
    struct errtext fault;
};

/* Attempts that our own controller module still borrows: without ZooKeeper it may never answer. */
static struct attempt *abandoned; /* owner: the first loop */

static void attempt_free(struct attempt *a)
{
    lock_fini(&a->mtx);
    mem_free(a);
}

static void finish(struct attempt *a, bool success, int32_t remaining, const char *fault)
{
    lock_take(&a->mtx);
    if (!a->is_done) {
        a->is_done = true;
        a->is_success = success;
        a->remaining = remaining;
        errtext_set(&a->fault, "%s", fault);
    }
    lock_release(&a->mtx);
    run_wake();
}

static void take_response(struct attempt *a, const struct kp_ControlledShutdownResponse *m)
{
    if (m->error_code != KE_NONE)
        finish(a, false, -1, kerr_name(m->error_code));
    else if (m->remaining_partitions_count > 0)
        finish(a, false, m->remaining_partitions_count, "some leaders could not be moved");
    else
        finish(a, true, 0, "");
}

static void own_controller_done(void *arg, const void *response)
{
    struct attempt *a = arg;
    struct attempt **at = &abandoned;

    a->asks_own = false;
    if (!a->is_abandoned) {
        take_response(a, response);
        return;
    }
    while (*at != a)
        at = &(*at)->next;
    *at = a->next;
    attempt_free(a);
}

static void response_came(void *arg, enum err err, struct frame *frame UNUSED, struct bytes body)
{
    struct attempt *a = arg;
    struct kp_ControlledShutdownResponse m;
    struct arena arena = {.limit = 16 << 20};
    struct errtext why;

    if (err != ERR_OK)
        return; /* on_close says why */
    if (kp_decode(&kp_ControlledShutdownResponse_schema, VERSION, body, &arena, &m, &why) != ERR_OK)
        finish(a, false, -1, why.text);
    else
        take_response(a, &m);
    arena_fini(&arena);
}

static void connection_ended(void *arg, struct client *c UNUSED, enum client_end why,
                             int errnum UNUSED)
{
    struct attempt *a = arg;

    a->client = NULL;
    finish(a, false, -1, client_end_text(why));
}

static void ask_over_network(struct attempt *a, const struct metadata *m, int32_t controller)
{
    struct broker *b = a->broker;
    const struct metadata_broker *mb = metadata_broker(m, controller);
    const struct metadata_endpoint *e =
        mb == NULL ? NULL : metadata_endpoint(mb, b->inter_broker_listener->name);
    struct errtext why;

    if (e == NULL) {
        finish(a, false, -1, "the controller's address is not known");
        return;
    }
    struct client_options o = {.loop = b->loops[0],
                               .host = e->host,
                               .port = e->port,
                               .client_id = "controlled-shutdown",
                               .tls = a->tls,
                               .connect_timeout_ms = b->config->request_timeout_ms,
                               .on_close = connection_ended,
                               .arg = a};
    a->client = client_open(&o);
    if (client_send(a->client, KP_API_CONTROLLED_SHUTDOWN, VERSION, &a->request,
                    b->config->request_timeout_ms, response_came, a, &why) != ERR_OK) {
        client_close(&a->client);
        finish(a, false, -1, why.text);
    }
}

static void begin(void *arg)
{
    struct attempt *a = arg;
    struct broker *b = a->broker;
    struct metadata *m = metadata_cache_on(b->metadata, b->loops[0]);
    int32_t id = controller_id(b->controller);

    if (id < 0)
        id = metadata_controller_id(m);
    if (id >= 0)
        SLOG(INFO, "broker", "asking the controller to move this broker's leaders away",
             KV_I("controller", id));
    if (id < 0) {
        finish(a, false, -1, "there is no controller now");
    } else if (id == b->id) {
        a->asks_own = true;
        controller_request(b->controller, KP_API_CONTROLLED_SHUTDOWN, VERSION, &a->request,
                           loop_mailbox(b->loops[0]), own_controller_done, a);
    } else {
        ask_over_network(a, m, id);
    }
}

static void end(void *arg)
{
    struct attempt *a = arg;

    client_close(&a->client);
    if (!a->is_abandoned)
        attempt_free(a);
}

/* A second signal, or no answer in time. */
static void give_up(void *arg)
{
    struct attempt *a = arg;
    const char *why = run_is_hurried() ? "a second signal came" : "the controller does not answer";

    if (a->client != NULL) {
        client_close(&a->client);
        finish(a, false, -1, why);
    } else if (a->asks_own && !a->is_abandoned) {
        a->is_abandoned = true;
        a->next = abandoned;
        abandoned = a;
        finish(a, false, -1, why);
    }
}

static bool is_done(struct attempt *a)
{
    lock_take(&a->mtx);
    bool done = a->is_done;
    lock_release(&a->mtx);
    return done;
}

/* True: every leader has moved. */
static bool try_once(struct broker *b, struct tls_context *tls)
{
    struct attempt *a = xcalloc(1, sizeof *a);
    int64_t deadline_ms = clock_mono_ms() + b->config->request_timeout_ms;
    bool is_success;

    a->broker = b;
    a->tls = tls;
    kp_defaults(&kp_ControlledShutdownRequest_schema, &a->request);
    a->request.broker_id = b->id;
    a->request.broker_epoch = atomic_load(&b->epoch);
    lock_init(&a->mtx, LOCK_LEAF);
    loop_call(b->loops[0], begin, a);
    while (!is_done(a)) {
        run_wait(LOOK_MS);
        if (run_is_hurried() || clock_mono_ms() >= deadline_ms)
            loop_call(b->loops[0], give_up, a);
    }
    is_success = a->is_success;
    if (!is_success)
        SLOG(WARN, "broker",
             "controlled shutdown failed: some leaders were not moved to other brokers",
             KV_S("why", a->fault.text), KV_I("partitions_left", a->remaining));
    loop_call(b->loops[0], end, a);
    return is_success;
}

static bool is_alone(struct broker *b)
{
    struct metadata *m = metadata_cache_latest(b->metadata);
    bool alone = metadata_broker_count(m) <= 1;

    metadata_unref(&m);
    return alone;
}

/* The pause before the next attempt; a new controller, asked nothing yet, ends it. False: there
 * will be none, as nobody is left to take over or a second signal came. */
static bool pause_before_retry(struct broker *b, int32_t asked_controller)
{
    int64_t left_ms = b->config->controlled_shutdown_retry_backoff_ms;

    for (; left_ms > 0 && !run_is_hurried() && !is_alone(b); left_ms -= LOOK_AGAIN_MS) {
        int32_t now = controller_id(b->controller);
        if (now >= 0 && now != asked_controller)
            break;
        run_wait(i64_min(left_ms, LOOK_AGAIN_MS));
    }
    return !run_is_hurried() && !is_alone(b);
}

void shutdown_controlled(struct broker *b, struct tls_context *tls)
{
    int32_t asked = -1;

    for (int32_t i = 0; i <= b->config->controlled_shutdown_max_retries; i++) {
        if (i > 0 && !pause_before_retry(b, asked))
            break;
        asked = controller_id(b->controller);
        if (try_once(b, tls)) {
            SLOG(INFO, "broker", "all leaders of this broker have moved to other brokers");
            return;
        }
    }
    if (is_alone(b))
        SLOG(INFO, "broker", "no other broker is alive to take over this broker's leaders");
    else
        SLOG(WARN, "broker", "stopping although some leaders could not be moved to other brokers");
}
