/* SPDX-License-Identifier: Apache-2.0 */
/* A client's life: RESOLVING (names only) -> CONNECTING -> SHAKING (TLS) -> OPEN. It
 * ends once, in end(), which tells every waiting request and then the owner, never from inside a
 * call of the owner: failures found there are put off to a timer. */
#include "common/net/client.h"

#include "common/base/slog.h"
#include "common/net/reader.h"
#include "common/net/resolve.h"
#include "common/net/transport.h"
#include "common/protocol/codec.h"

#include <arpa/inet.h>
#include <errno.h>
#include <event2/event.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    CLIENT_MAGIC = 0x636c6e74,
    CONNECT_TIMEOUT_MS = 30000,
    FRAME_MAX_BYTES = 100 * 1024 * 1024,
    IN_FLIGHT_MAX = 64,
    TURN_MAX_BYTES = 4 * 1024 * 1024
};

enum client_state { RESOLVING, CONNECTING, SHAKING, OPEN };

struct waiting { /* a request without its response */
    TAILQ_ENTRY(waiting) link;
    int16_t api_key, version;
    int32_t correlation_id;
    int64_t deadline_ms; /* 0: none */
    client_done done;
    void *arg;
};

struct client {
    unsigned magic;
    struct client_options o;
    enum client_state state;
    char address[INET6_ADDRSTRLEN];
    struct resolve *resolving;
    struct transport transport;
    struct event *read_event, *write_event;
    bool is_awaiting_write;
    bool is_ended, is_in_callback;
    bool is_failed; /* end() is due on the next turn, with: */
    enum client_end fail_why;
    int fail_errnum;
    struct reader rx;
    struct buf out; /* [out_sent, len) is unsent */
    size_t out_sent;
    TAILQ_HEAD(, waiting) waiting;
    int32_t in_flight;
    int32_t next_correlation_id;
    struct loop_deferred turn;
    struct loop_timer timer;
};

const char *client_end_text(enum client_end e)
{
    switch (e) {
    case CLIENT_REFUSED:
        return "connection refused";
    case CLIENT_UNREACHABLE:
        return "cannot be reached";
    case CLIENT_UNRESOLVED:
        return "name cannot be resolved";
    case CLIENT_CONNECT_TIMEOUT:
        return "connecting timed out";
    case CLIENT_RESET:
        return "connection broken";
    case CLIENT_EOF:
        return "closed by the peer";
    case CLIENT_REQUEST_TIMEOUT:
        return "request timed out";
    case CLIENT_BAD_FRAME:
        return "bad response";
    case CLIENT_TLS_FAILED:
        return "tls failed";
    }
    UNREACHABLE();
}

/* ---- end */

static void shut(struct client *c)
{
    if (c->read_event != NULL)
        event_free(c->read_event);
    if (c->write_event != NULL)
        event_free(c->write_event);
    c->read_event = c->write_event = NULL;
    if (c->transport.fd >= 0)
        transport_fini(&c->transport);
    loop_timer_cancel(c->o.loop, &c->timer);
    loop_defer_cancel(c->o.loop, &c->turn);
    reader_fini(&c->rx);
    resolve_cancel(&c->resolving);
}

static void client_free(struct client *c)
{
    struct waiting *w;

    while ((w = TAILQ_FIRST(&c->waiting)) != NULL) {
        TAILQ_REMOVE(&c->waiting, w, link);
        mem_free(w);
    }
    buf_fini(&c->out);
    char *host, *id; /* our copies: the options have them const */
    memcpy(&host, &c->o.host, sizeof host);
    memcpy(&id, &c->o.client_id, sizeof id);
    mem_free(host);
    mem_free(id);
    c->magic = 0;
    mem_free(c);
}

/* On its loop. */
static void client_check(const struct client *c)
{
    CHECK_OBJ(c, CLIENT_MAGIC);
    ASSERT(loop_is_current(c->o.loop));
    ASSERT(c->in_flight >= 0 && c->in_flight <= c->o.in_flight_max);
    ASSERT((c->in_flight == 0) == TAILQ_EMPTY(&c->waiting));
    ASSERT(c->out_sent <= c->out.len && c->next_correlation_id >= 0);
}

/* Last thing that is done with c. */
static void end(struct client *c, enum client_end why, int errnum)
{
    struct waiting *w;

    client_check(c);
    ASSERT(!c->is_ended);
    c->is_ended = true;
    shut(c);
    while ((w = TAILQ_FIRST(&c->waiting)) != NULL) {
        struct frame none = {0};
        TAILQ_REMOVE(&c->waiting, w, link);
        c->in_flight--;
        w->done(w->arg, why == CLIENT_REQUEST_TIMEOUT ? ERR_TIMEOUT : ERR_CLOSED, &none,
                BYTES_NULL);
        mem_free(w);
    }
    c->o.on_close(c->o.arg, c, why, errnum);
    client_free(c);
}

void client_close(struct client **client)
{
    struct client *c = *client;

    if (c == NULL)
        return;
    CHECK_OBJ(c, CLIENT_MAGIC);
    ASSERT(loop_is_current(c->o.loop) && c->in_flight >= 0);
    *client = NULL;
    if (c->is_ended) /* called from a done() during end(), which frees */
        return;
    if (c->is_in_callback) { /* the caller above us frees */
        c->is_ended = true;
        shut(c);
        return;
    }
    shut(c);
    client_free(c);
}

/* Ends it on the loop's next turn of work, so that the owner is not called from inside its own
 * call. */
static void fail_later(struct client *c, enum client_end why, int errnum)
{
    if (c->is_failed)
        return;
    c->is_failed = true;
    c->fail_why = why;
    c->fail_errnum = errnum;
    loop_timer_arm(c->o.loop, &c->timer, 0);
}

static void end_failed(struct client *c)
{
    bool tls = c->transport.ssl != NULL && c->transport.errnum == 0;

    end(c, tls ? CLIENT_TLS_FAILED : CLIENT_RESET, c->transport.errnum);
}

/* ---- writing */

/* False: the connection ended. */
static bool flush(struct client *c)
{
    while (c->out_sent < c->out.len) {
        struct iovec iov = {c->out.p + c->out_sent, c->out.len - c->out_sent};
        size_t put;
        enum io_status status = transport_writev(&c->transport, &iov, 1, false, &put);
        if (status == IO_FAILED || status == IO_EOF) {
            end_failed(c);
            return false;
        }
        c->out_sent += put;
        if (put < iov.iov_len) {
            if (!c->is_awaiting_write)
                c->is_awaiting_write = event_add(c->write_event, NULL) == 0;
            return true;
        }
    }
    c->out.len = c->out_sent = 0;
    return true;
}

static void on_turn(struct loop_deferred *d)
{
    struct client *c = CONTAINER_OF(d, struct client, turn);

    CHECK_OBJ(c, CLIENT_MAGIC);
    if (c->state == OPEN && !c->is_awaiting_write)
        (void)flush(c);
}

/* ---- deadlines */

/* One timer for the first thing that is due: connecting, or the oldest request. Requests of one
 * client mostly have equal timeouts, so the list is searched only when the timer fires. */
static void arm_for(struct client *c, int64_t deadline_ms)
{
    if (deadline_ms == 0 || c->is_failed)
        return;
    if (c->timer.is_armed && c->timer.node.deadline_ms <= deadline_ms)
        return;
    loop_timer_arm(c->o.loop, &c->timer, i64_max(deadline_ms - loop_now_ms(c->o.loop), 1));
}

static void on_timer(struct loop_timer *t)
{
    struct client *c = CONTAINER_OF(t, struct client, timer);
    struct waiting *w;
    int64_t now_ms = loop_now_ms(c->o.loop), first_ms = 0;

    CHECK_OBJ(c, CLIENT_MAGIC);
    if (c->is_failed) {
        end(c, c->fail_why, c->fail_errnum);
        return;
    }
    if (c->state != OPEN) {
        end(c, c->state == RESOLVING ? CLIENT_UNRESOLVED : CLIENT_CONNECT_TIMEOUT, 0);
        return;
    }
    TAILQ_FOREACH (w, &c->waiting, link) {
        if (w->deadline_ms == 0)
            continue;
        if (w->deadline_ms <= now_ms) {
            end(c, CLIENT_REQUEST_TIMEOUT, 0);
            return;
        }
        first_ms = first_ms == 0 ? w->deadline_ms : i64_min(first_ms, w->deadline_ms);
    }
    arm_for(c, first_ms);
}

/* ---- reading */

/* Hands a response to who asked. False: the connection is gone. */
static bool deliver(struct client *c, struct frame *f)
{
    struct waiting *w = TAILQ_FIRST(&c->waiting);
    struct errtext why;
    struct bytes body;
    int32_t correlation_id;

    if (w == NULL ||
        kp_response_header_decode(w->api_key, w->version, (struct bytes){f->p, (int64_t)f->len},
                                  &correlation_id, &body, &why) != ERR_OK ||
        correlation_id != w->correlation_id) {
        frame_release(f);
        end(c, CLIENT_BAD_FRAME, 0);
        return false;
    }
    TAILQ_REMOVE(&c->waiting, w, link);
    c->in_flight--;
    c->is_in_callback = true;
    w->done(w->arg, ERR_OK, f, body);
    c->is_in_callback = false;
    frame_release(f);
    mem_free(w);
    if (c->is_ended) { /* closed by its owner */
        client_free(c);
        return false;
    }
    return true;
}

/* False: the connection is gone. */
static bool deliver_all(struct client *c)
{
    const uint8_t *p;
    size_t size;
    struct frame f;

    for (;;) {
        enum reader_state state = reader_peek(&c->rx, &p, &size);
        if (state == READER_PARTIAL)
            return true;
        if (state == READER_BAD || !reader_take(&c->rx, &f)) {
            end(c, CLIENT_BAD_FRAME, 0);
            return false;
        }
        if (!deliver(c, &f))
            return false;
    }
}

/* False: the connection is gone, or there is nothing more to read now. */
static bool read_once(struct client *c, size_t *total)
{
    size_t got;
    enum reader_result result = reader_read(&c->rx, &c->transport, &got);

    *total += got;
    if (got > 0 && !deliver_all(c))
        return false;
    switch (result) {
    case READER_MORE:
        if (*total < TURN_MAX_BYTES || transport_has_buffered(&c->transport))
            return true;
        break;
    case READER_DRAINED:
    case READER_AGAIN:
        break;
    case READER_EOF:
        end(c, CLIENT_EOF, 0);
        return false;
    case READER_FAILED:
        end_failed(c);
        return false;
    case READER_FULL: /* all frames are taken at once */
    case READER_NO_MEMORY:
        end(c, CLIENT_BAD_FRAME, ENOMEM);
        return false;
    }
    reader_rest(&c->rx);
    if (c->transport.wants_write && !c->is_awaiting_write)
        c->is_awaiting_write = event_add(c->write_event, NULL) == 0;
    return false;
}

static void read_all(struct client *c)
{
    size_t total = 0;

    while (read_once(c, &total)) {
    }
}

/* ---- connecting */

static void opened(struct client *c)
{
    struct waiting *w;

    c->state = OPEN;
    loop_timer_cancel(c->o.loop, &c->timer);
    TAILQ_FOREACH (w, &c->waiting, link)
        arm_for(c, w->deadline_ms);
    c->is_in_callback = true;
    if (c->o.on_open != NULL)
        c->o.on_open(c->o.arg, c);
    c->is_in_callback = false;
    if (c->is_ended)
        client_free(c);
    else if (flush(c))
        read_all(c);
}

static void go_on_shaking(struct client *c)
{
    switch (transport_shake(&c->transport)) {
    case IO_OK:
        opened(c);
        return;
    case IO_AGAIN:
        if (c->transport.wants_write && !c->is_awaiting_write)
            c->is_awaiting_write = event_add(c->write_event, NULL) == 0;
        return;
    case IO_EOF:
    case IO_FAILED:
        end(c, c->transport.errnum == 0 ? CLIENT_TLS_FAILED : CLIENT_RESET, c->transport.errnum);
        return;
    }
}

static enum client_end connect_end(int errnum)
{
    return errnum == ECONNREFUSED ? CLIENT_REFUSED
           : errnum == ETIMEDOUT  ? CLIENT_CONNECT_TIMEOUT
                                  : CLIENT_UNREACHABLE;
}

static void connected(struct client *c)
{
    int errnum = 0;
    socklen_t len = sizeof errnum;

    if (getsockopt(c->transport.fd, SOL_SOCKET, SO_ERROR, &errnum, &len) != 0)
        errnum = errno;
    if (errnum != 0) {
        end(c, connect_end(errnum), errnum);
        return;
    }
    if (event_add(c->read_event, NULL) != 0) {
        end(c, CLIENT_UNREACHABLE, ENOMEM);
        return;
    }
    c->state = SHAKING;
    go_on_shaking(c);
}

static void on_readable(evutil_socket_t fd UNUSED, short what UNUSED, void *arg)
{
    struct client *c;

    CAST_OBJ(c, arg, CLIENT_MAGIC);
    struct loop *l = c->o.loop;
    loop_enter(l);
    if (c->state == SHAKING)
        go_on_shaking(c);
    else
        read_all(c);
    loop_leave(l);
}

static void on_writable(evutil_socket_t fd UNUSED, short what UNUSED, void *arg)
{
    struct client *c;

    CAST_OBJ(c, arg, CLIENT_MAGIC);
    struct loop *l = c->o.loop;
    loop_enter(l);
    c->is_awaiting_write = false;
    if (c->state == CONNECTING)
        connected(c);
    else if (c->state == SHAKING)
        go_on_shaking(c);
    else if (flush(c) && c->transport.wants_write)
        read_all(c);
    loop_leave(l);
}

/* Begins the connect; what fails here is told later. */
static void connect_to(struct client *c, const struct sockaddr_storage *a, socklen_t len)
{
    int fd = socket(a->ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int on = 1;

    if (fd < 0) {
        fail_later(c, CLIENT_UNREACHABLE, errno);
        return;
    }
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (c->o.receive_buffer_bytes > 0)
        (void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &c->o.receive_buffer_bytes,
                         sizeof c->o.receive_buffer_bytes);
    if (!transport_init(&c->transport, fd, c->o.tls, c->o.host)) {
        fail_later(c, CLIENT_UNREACHABLE, ENOMEM);
        return;
    }
    c->read_event = event_new(loop_base(c->o.loop), fd, EV_READ | EV_PERSIST, on_readable, c);
    c->write_event = event_new(loop_base(c->o.loop), fd, EV_WRITE, on_writable, c);
    if (c->read_event == NULL || c->write_event == NULL) {
        fail_later(c, CLIENT_UNREACHABLE, ENOMEM);
        return;
    }
    c->state = CONNECTING;
    if (connect(fd, (const struct sockaddr *)a, len) != 0 && errno != EINPROGRESS) {
        fail_later(c, connect_end(errno), errno);
        return;
    }
    c->is_awaiting_write = event_add(c->write_event, NULL) == 0;
    if (!c->is_awaiting_write)
        fail_later(c, CLIENT_UNREACHABLE, ENOMEM);
}

static bool parse_address(const char *host, int32_t port, struct sockaddr_storage *a,
                          socklen_t *len)
{
    struct sockaddr_in *v4 = (void *)a;
    struct sockaddr_in6 *v6 = (void *)a;

    memset(a, 0, sizeof *a);
    if (inet_pton(AF_INET, host, &v4->sin_addr) == 1) {
        v4->sin_family = AF_INET;
        v4->sin_port = htons((uint16_t)port);
        *len = sizeof *v4;
        return true;
    }
    if (inet_pton(AF_INET6, host, &v6->sin6_addr) == 1) {
        v6->sin6_family = AF_INET6;
        v6->sin6_port = htons((uint16_t)port);
        *len = sizeof *v6;
        return true;
    }
    return false;
}

static void note_address(struct client *c, const struct sockaddr_storage *a)
{
    const struct sockaddr_in *v4 = (const void *)a;
    const struct sockaddr_in6 *v6 = (const void *)a;
    const void *raw =
        a->ss_family == AF_INET ? (const void *)&v4->sin_addr : (const void *)&v6->sin6_addr;

    (void)inet_ntop(a->ss_family, raw, c->address, sizeof c->address);
}

/* ---- names */

static void set_port(struct sockaddr_storage *a, int32_t port)
{
    if (a->ss_family == AF_INET6)
        ((struct sockaddr_in6 *)(void *)a)->sin6_port = htons((uint16_t)port);
    else
        ((struct sockaddr_in *)(void *)a)->sin_port = htons((uint16_t)port);
}

static void on_resolved(void *arg, int gai_error, const struct sockaddr_storage *address,
                        socklen_t len)
{
    struct sockaddr_storage a = *address;
    struct client *c;

    CAST_OBJ(c, arg, CLIENT_MAGIC);
    c->resolving = NULL;
    if (gai_error == 0) {
        set_port(&a, c->o.port);
        note_address(c, &a);
        connect_to(c, &a, len);
    } else {
        SLOG_EVERY(10000, WARN, "net", "cannot resolve the host name of a broker to connect to",
                   KV_S("host", c->o.host), KV_S("error", gai_strerror(gai_error)));
        fail_later(c, CLIENT_UNRESOLVED, 0);
    }
}

/* ---- owner's side */

struct client *client_open(const struct client_options *o)
{
    struct client *c = xcalloc(1, sizeof *c);
    struct sockaddr_storage a;
    socklen_t len;

    ASSERT(loop_is_current(o->loop) && o->on_close != NULL && o->host != NULL);
    *c = (struct client){.magic = CLIENT_MAGIC, .o = *o};
    c->o.host = xstrdup(o->host);
    c->o.client_id = o->client_id == NULL ? NULL : xstrdup(o->client_id);
    if (c->o.connect_timeout_ms == 0)
        c->o.connect_timeout_ms = CONNECT_TIMEOUT_MS;
    if (c->o.in_flight_max == 0)
        c->o.in_flight_max = IN_FLIGHT_MAX;
    c->rx.frame_max = o->frame_max == 0 ? FRAME_MAX_BYTES : o->frame_max;
    c->transport.fd = -1;
    c->turn.run = on_turn;
    c->timer.fire = on_timer;
    TAILQ_INIT(&c->waiting);
    loop_timer_arm(o->loop, &c->timer, c->o.connect_timeout_ms);
    if (parse_address(o->host, o->port, &a, &len)) {
        note_address(c, &a);
        connect_to(c, &a, len);
    } else {
        c->resolving = resolve_begin(o->loop, o->host, on_resolved, c);
    }
    return c;
}

bool client_is_open(const struct client *c)
{
    return c->state == OPEN && !c->is_ended && !c->is_failed;
}

int32_t client_in_flight(const struct client *c)
{
    return c->in_flight;
}

const char *client_address(const struct client *c)
{
    return c->address;
}

/* Appends the framed request to out. */
static enum err encode(struct client *c, const struct kp_api *api, int16_t version,
                       int32_t correlation_id, const void *msg, struct errtext *why)
{
    size_t start = c->out.len;
    uint8_t size_field[4] = {0};
    enum err rc;

    buf_add(&c->out, size_field, sizeof size_field);
    kp_request_header_encode(api->key, version, correlation_id, str_of(c->o.client_id), &c->out);
    rc = kp_encode(api->request, version, msg, &c->out, why);
    if (rc == ERR_OK && c->out.len - start - sizeof size_field > INT32_MAX)
        rc = ERR_TOO_LARGE;
    if (rc != ERR_OK) {
        c->out.len = start;
        return rc;
    }
    be32_store(c->out.p + start, (uint32_t)(c->out.len - start - sizeof size_field));
    return ERR_OK;
}

enum err client_send(struct client *c, int16_t api_key, int16_t version, const void *msg,
                     int64_t timeout_ms, client_done done, void *arg, struct errtext *why)
{
    const struct kp_api *api = kp_api_find(api_key);
    struct waiting *w;
    enum err rc;

    client_check(c);
    ASSERT(api != NULL && msg != NULL && done != NULL && timeout_ms >= 0);
    if (c->is_ended) {
        errtext_set(why, "the connection has ended");
        return ERR_CLOSED;
    }
    ASSERT(c->in_flight < c->o.in_flight_max);
    rc = encode(c, api, version, c->next_correlation_id, msg, why);
    if (rc != ERR_OK)
        return rc;
    w = xcalloc(1, sizeof *w);
    w->api_key = api_key;
    w->version = version;
    w->correlation_id = c->next_correlation_id;
    w->deadline_ms = timeout_ms == 0 ? 0 : loop_now_ms(c->o.loop) + timeout_ms;
    w->done = done;
    w->arg = arg;
    c->next_correlation_id = c->next_correlation_id == INT32_MAX ? 0 : c->next_correlation_id + 1;
    TAILQ_INSERT_TAIL(&c->waiting, w, link);
    c->in_flight++;
    if (c->state == OPEN) {
        arm_for(c, w->deadline_ms);
        loop_defer(c->o.loop, &c->turn);
    }
    return ERR_OK;
}
