/* SPDX-License-Identifier: Apache-2.0 */
/* Requests: made for a frame, ended by one reply. Each loop keeps a few ended ones with their
 * arena's first block for the next. */
#include "broker/server/request.h"

#include "broker/config/config.h"
#include "broker/http/metrics.h"
#include "broker/log/log.h"
#include "broker/server/server.h"
#include "common/base/clock.h"
#include "common/base/slog.h"
#include "common/protocol/codec.h"

#include <errno.h>
#include <stdio.h>

enum { KEPT_MAX = 16, ANSWER_BYTES = 256, RANGES_ON_STACK = 64 };

static _Thread_local struct request *kept;
static _Thread_local int kept_count;

static _Thread_local const struct request *worked_on;

const struct request *request_work_on(const struct request *r)
{
    const struct request *before = worked_on;

    ASSERT(r == NULL || r->magic == REQUEST_MAGIC);
    worked_on = r;
    return before;
}

void request_dump(int fd, void *arg UNUSED)
{
    const struct request *r = worked_on;
    const struct kp_api *api = r == NULL ? NULL : kp_api_find(r->api_key);

    if (r == NULL || r->magic != REQUEST_MAGIC) {
        (void)dprintf(fd, "request: none on this thread\n");
        return;
    }
    (void)dprintf(fd,
                  "request: api=%s key=%d version=%d correlation_id=%d client_id=\"%.*s\" "
                  "client_host=%s listener=%s connection=%s%s bytes=%zu arena_bytes=%zu\n",
                  api == NULL ? "?" : api->name, r->api_key, r->api_version, r->correlation_id,
                  STR_ARG(r->client_id), r->peer_host,
                  r->listener == NULL ? "?" : r->listener->name,
                  r->conn == NULL ? "closed" : "open", r->is_cancelled ? " cancelled" : "",
                  r->frame_len, r->arena.used);
}

static struct request *request_take(void)
{
    struct request *r = kept;

    if (r == NULL)
        return xcalloc(1, sizeof *r);
    kept = r->next_free;
    kept_count--;
    struct arena arena = r->arena;
    memset(r, 0, sizeof *r);
    r->arena = arena;
    return r;
}

static void request_free(struct request *r)
{
    CHECK_OBJ(r, REQUEST_MAGIC);
    if (worked_on == r)
        worked_on = NULL;
    r->magic = 0;
    /* while stopping, replies still come after the loop has given its kept ones back */
    if (kept_count < KEPT_MAX && !atomic_load(&r->broker->is_stopping)) {
        arena_reset(&r->arena);
        r->next_free = kept;
        kept = r;
        kept_count++;
        return;
    }
    arena_fini(&r->arena);
    mem_free(r);
}

void request_free_kept(void)
{
    while (kept != NULL) {
        struct request *r = kept;
        kept = r->next_free;
        arena_fini(&r->arena);
        mem_free(r);
    }
    kept_count = 0;
}

struct request *request_begin(struct conn *c, struct frame *f, bool may_overlap)
{
    const struct server_conn *sc = conn_user(c);
    struct request *r = request_take();

    ASSERT(sc != NULL && sc->broker != NULL && f != NULL && f->p != NULL);
    r->magic = REQUEST_MAGIC;
    r->broker = sc->broker;
    r->conn = c;
    r->loop = conn_loop(c);
    r->listener = sc->listener;
    r->principal = str_of(sc->principal);
    (void)snprintf(r->peer_host, sizeof r->peer_host, "%s", conn_peer_host(c));
    r->client_host = str_of(r->peer_host);
    r->arena.limit = (size_t)sc->broker->config->kafuka_request_memory_bytes;
    r->frame = f->p;
    r->frame_len = f->len;
    r->received_us = clock_mono_us();
    conn_begin(c, &r->exchange, f, may_overlap);
    METRIC_ADD(requests, 1);
    METRIC_ADD(requests_in_flight, 1);
    return r;
}

void request_pressed(struct exchange *x)
{
    struct request *r = CONTAINER_OF(x, struct request, exchange);

    CHECK_OBJ(r, REQUEST_MAGIC);
    if (r->on_press != NULL)
        r->on_press(r);
}

void request_cancelled(struct exchange *x)
{
    struct request *r = CONTAINER_OF(x, struct request, exchange);

    CHECK_OBJ(r, REQUEST_MAGIC);
    r->conn = NULL;
    r->is_cancelled = true;
    r->principal = STR_LIT("User:GONE"); /* the connection's own text dies with it */
    METRIC_ADD(requests_cancelled, 1);
    if (r->on_cancel != NULL)
        r->on_cancel(r);
}

/* ---- invariants */

/* On its loop. The connection is that of the exchange, until it is gone for both. */
static void request_check(const struct request *r)
{
    CHECK_OBJ(r, REQUEST_MAGIC);
    ASSERT(r->broker != NULL && loop_is_current(r->loop) && r->exchange.conn == r->conn);
    ASSERT((r->conn == NULL) == r->is_cancelled);
}

/* ---- ranges */

static struct log_range range_of(const struct conn_range *c)
{
    return (struct log_range){
        .segment = c->owner, .position = c->position, .length = c->length, .has_fd = c->is_open};
}

static int range_fd(struct conn_range *c)
{
    struct log_range r = range_of(c);
    int fd;

    errno = 0;
    fd = log_range_fd_optional(&r);
    c->is_open = r.has_fd;
    return fd;
}

static int range_try_fd(struct conn_range *c)
{
    struct log_range r = range_of(c);
    int fd = log_range_try_fd(&r);

    c->is_open = r.has_fd;
    return fd;
}

static void range_release(struct conn_range *c)
{
    struct log_range r = range_of(c);

    log_range_release(&r);
}

const struct conn_range_ops request_range_ops = {range_try_fd, range_fd, range_release};

/* ---- replies */

static void account(const struct request *r)
{
    METRIC_ADD(requests_in_flight, -1);
    metrics_request_done(r->is_from_follower ? METRICS_FETCH_FOLLOWER : r->api_key,
                         clock_mono_us() - r->received_us);
}

static void send_answer(struct request *r, struct buf *out, const struct conn_range *ranges,
                        const size_t *holes, size_t count)
{
    static const struct conn_server without_conn = {.range_ops = &request_range_ops};

    account(r);
    if (r->throttle_ms > 0 && r->conn != NULL)
        conn_mute(r->conn, r->throttle_ms);
    conn_reply(&r->exchange, out, ranges, holes, count, &without_conn);
    request_free(r);
}

static void cannot_encode(struct request *r, const struct errtext *why)
{
    SLOG_EVERY(1000, ERROR, "broker", "cannot encode an answer, closing its connection",
               KV_I("api_key", r->api_key), KV_I("version", r->api_version),
               KV_S("error", why->text));
    request_close(r, "the answer cannot be encoded");
}

void request_reply_as(struct request *r, int16_t version, const void *msg)
{
    const struct kp_api *api = kp_api_find(r->api_key);
    struct buf out = {0};
    struct errtext why = {""};

    request_check(r);
    ASSERT(api != NULL && msg != NULL);
    if (r->conn != NULL) {
        buf_reserve(&out, ANSWER_BYTES);
        kp_response_header_encode(r->api_key, version, r->correlation_id, &out);
        if (kp_encode(api->response, version, msg, &out, &why) != ERR_OK ||
            out.len > INT32_MAX - 64) {
            buf_fini(&out);
            cannot_encode(r, &why);
            return;
        }
    }
    send_answer(r, &out, NULL, NULL, 0);
}

void request_reply(struct request *r, const void *msg)
{
    request_reply_as(r, r->api_version, msg);
}

static void release_ranges(struct log_range *ranges, size_t count)
{
    for (size_t i = 0; i < count; i++)
        log_range_release(&ranges[i]);
}

void request_reply_ranges(struct request *r, const void *msg, struct log_range *ranges,
                          size_t count)
{
    const struct kp_api *api = kp_api_find(r->api_key);
    struct buf out = {0};
    struct errtext why = {""};
    size_t hole_count = 0;
    int64_t total = 0;

    request_check(r);
    ASSERT(api != NULL && msg != NULL);
    if (r->conn == NULL) {
        release_ranges(ranges, count);
        send_answer(r, &out, NULL, NULL, 0);
        return;
    }
    struct kp_hole_at *at = xmalloc(count * sizeof *at);
    struct conn_range *pieces = xmalloc(count * sizeof *pieces);
    size_t *holes = xmalloc(count * sizeof *holes);
    kp_response_header_encode(r->api_key, r->api_version, r->correlation_id, &out);
    bool is_fine = kp_encode_holes(api->response, r->api_version, msg, &out, at, count, &hole_count,
                                   &why) == ERR_OK;
    if (is_fine)
        ASSERT(hole_count == count);
    for (size_t i = 0; is_fine && i < count; i++) {
        ASSERT(at[i].len == ranges[i].length);
        pieces[i] = (struct conn_range){.owner = ranges[i].segment,
                                        .position = ranges[i].position,
                                        .length = ranges[i].length,
                                        .is_open = ranges[i].has_fd};
        holes[i] = at[i].at;
        total += ranges[i].length;
    }
    if (is_fine && total <= INT32_MAX - (int64_t)out.len) {
        send_answer(r, &out, pieces, holes, count);
    } else {
        release_ranges(ranges, count);
        buf_fini(&out);
        cannot_encode(r, &why);
    }
    mem_free(at);
    mem_free(pieces);
    mem_free(holes);
}

void request_reply_none(struct request *r)
{
    request_check(r);
    account(r);
    if (r->throttle_ms > 0 && r->conn != NULL)
        conn_mute(r->conn, r->throttle_ms);
    conn_reply_none(&r->exchange);
    request_free(r);
}

void request_drop(struct request *r)
{
    request_check(r);
    ASSERT(r->is_cancelled);
    account(r);
    conn_abandon(&r->exchange);
    request_free(r);
}

void request_close(struct request *r, const char *why)
{
    request_check(r);
    struct conn *c = r->conn;
    account(r);
    if (c != NULL) {
        SLOG_EVERY(1000, INFO, "broker", "connection closed", KV_S("why", why),
                   KV_STR("client", r->client_host), KV_I("api_key", r->api_key),
                   KV_I("version", r->api_version), KV_STR("client_id", r->client_id));
        conn_reply_none(&r->exchange);
        request_free(r);
        conn_close(c);
        return;
    }
    conn_abandon(&r->exchange);
    request_free(r);
}

static void deliver_posted(struct mail *m)
{
    struct request *r = CONTAINER_OF(m, struct request, mail);

    request_check(r);
    ASSERT(r->run != NULL);
    const struct request *before = request_work_on(r);
    r->run(r);
    (void)request_work_on(before);
}

void request_post(struct request *r, void (*run)(struct request *r))
{
    CHECK_OBJ(r, REQUEST_MAGIC);
    ASSERT(run != NULL && r->loop != NULL);
    r->run = run;
    r->mail.deliver = deliver_posted;
    loop_post(r->loop, &r->mail);
}
