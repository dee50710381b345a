/* SPDX-License-Identifier: Apache-2.0 */
/* A connection's life: bytes come into `rx` (rx_read), frames are cut out of it and handed up while
 * the order allows (rx_parse), answers wait in `slots` for those before them, then go to `out`,
 * which is written at the end of the turn (conn_write.c).
 *
 * What can stop it: too many in flight or unsent (frames stay in rx; when rx is full reading
 * pauses), throttling and memory (paused by a timer), a full socket (the write event), a cold file
 * (a job on the pool reads it in). Each of these ends in on_turn, which goes on with whatever is
 * possible. */
#include "common/net/conn_internal.h"

#include <arpa/inet.h>
#include <errno.h>
#include <event2/event.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    OUT_MAX_BYTES = 1024 * 1024, /* unsent: no further frame starts */
    MEMORY_PAUSE_MS = 5,
    SHAKE_MAX_MS = 30000
};

const char *conn_end_text(enum conn_end e)
{
    switch (e) {
    case CONN_END_EOF:
        return "closed by the peer";
    case CONN_END_ERROR:
        return "socket error";
    case CONN_END_IDLE:
        return "idle";
    case CONN_END_BAD_FRAME:
        return "bad frame size";
    case CONN_END_NO_MEMORY:
        return "memory limit";
    case CONN_END_TLS:
        return "tls failed";
    case CONN_END_SERVER:
        return "closed here";
    }
    UNREACHABLE();
}

/* ---- invariants */

static void check_slots(const struct conn *c)
{
    uint32_t used = conn_slots_used(c);
    int solitary = 0;

    ASSERT(used <= CONN_SLOTS);
    for (uint32_t i = 0; i < used; i++) {
        uint32_t seq = c->head_seq + i;
        const struct conn_slot *s = &c->slots[seq % CONN_SLOTS];
        solitary += !s->may_overlap;
        ASSERT(s->x == NULL || (s->x->conn == c && s->x->seq == seq && s->reply == NULL));
        ASSERT(i > 0 || s->x != NULL); /* an answered head has left */
    }
    ASSERT(c->solitary == solitary && (solitary == 0 || used == 1));
    const struct conn_slot *next = &c->slots[c->tail_seq % CONN_SLOTS];
    ASSERT(used == CONN_SLOTS || (next->x == NULL && next->reply == NULL));
}

void conn_check(const struct conn *c)
{
    CHECK_OBJ(c, CONN_MAGIC);
    ASSERT(loop_is_current(c->loop) && c->server != NULL && c->pins >= 0);
    check_slots(c);
    ASSERT(c->out_bytes >= 0 && STAILQ_EMPTY(&c->out) == (c->out_bytes == 0));
    ASSERT((c->read_event == NULL) == c->is_closed && (c->write_event == NULL) == c->is_closed);
    ASSERT(!c->is_closed || (!c->is_reading && !c->is_awaiting_write && conn_slots_used(c) == 0));
    ASSERT(!c->is_reading || (!c->is_muted && !c->is_last));
    ASSERT(!c->is_warming || (c->pins > 0 && c->server->pool != NULL));
    ASSERT(!c->is_corked || c->transport.ssl == NULL);
}

/* ---- reading */

static void pause_reading(struct conn *c)
{
    if (c->is_reading)
        MUST(event_del(c->read_event) == 0);
    c->is_reading = false;
}

static void resume_reading(struct conn *c)
{
    if (!c->is_reading && !c->is_muted && !c->is_last)
        c->is_reading = event_add(c->read_event, NULL) == 0;
}

static bool may_start(const struct conn *c, bool may_overlap)
{
    if (c->is_muted || c->is_last || c->is_closed || c->out_bytes > OUT_MAX_BYTES)
        return false;
    return conn_slots_used(c) == 0 ||
           (may_overlap && c->solitary == 0 && conn_slots_used(c) < CONN_SLOTS);
}

static void press(struct conn *c)
{
    struct exchange *oldest;

    if (c->server->on_press == NULL || c->is_muted || c->is_last || conn_slots_used(c) == 0)
        return;
    oldest = c->slots[c->head_seq % CONN_SLOTS].x;
    if (oldest != NULL)
        c->server->on_press(oldest);
}

static void rx_parse(struct conn *c)
{
    const uint8_t *head;
    size_t size;
    struct frame f;

    while (!c->is_closed) {
        enum reader_state state = reader_peek(&c->rx, &head, &size);
        if (state == READER_BAD)
            conn_end(c, CONN_END_BAD_FRAME, 0);
        if (state != READER_FRAME)
            return;
        bool may_overlap = c->server->may_overlap(head, size);
        if (!may_start(c, may_overlap)) {
            press(c);
            return;
        }
        if (!reader_take(&c->rx, &f)) {
            conn_end(c, CONN_END_NO_MEMORY, 0);
            return;
        }
        c->server->on_frame(c, &f, may_overlap);
    }
}

static void count_received(struct conn *c, size_t got)
{
    c->active_ms = loop_now_ms(c->loop);
    if (c->server->stats != NULL)
        (void)atomic_fetch_add_explicit(&c->server->stats->received_bytes, (int64_t)got,
                                        memory_order_relaxed);
}

/* Over the memory limit? Then no new frame is received for a moment; one that is half here goes on,
 * up to twice the limit. True: reading has stopped. */
static bool is_out_of_memory(struct conn *c)
{
    if (c->is_closed)
        return true;
    int64_t in_use = frame_bytes_in_use();
    bool is_between = reader_is_between(&c->rx);

    if (in_use <= c->server->memory_max_bytes)
        return false;
    if (!is_between && in_use <= 2 * c->server->memory_max_bytes)
        return false;
    if (!is_between) {
        conn_end(c, CONN_END_NO_MEMORY, 0);
        return true;
    }
    if (c->server->stats != NULL)
        (void)atomic_fetch_add_explicit(&c->server->stats->memory_pauses, 1, memory_order_relaxed);
    conn_mute(c, MEMORY_PAUSE_MS);
    return true;
}

/* True: read on. False: enough for now, or the connection ended. */
static bool rx_react(struct conn *c, enum reader_result result)
{
    switch (result) {
    case READER_MORE:
        return true;
    case READER_DRAINED:
    case READER_AGAIN:
        return false;
    case READER_FULL:
        pause_reading(c);
        return false;
    case READER_EOF:
        conn_end(c, CONN_END_EOF, 0);
        return false;
    case READER_FAILED:
        conn_end_failed(c);
        return false;
    case READER_NO_MEMORY:
        conn_end(c, CONN_END_NO_MEMORY, 0);
        return false;
    }
    UNREACHABLE();
}

static void rx_read(struct conn *c)
{
    size_t total = 0, got;
    enum reader_result result = READER_MORE;

    do {
        if (c->is_muted || c->is_last || is_out_of_memory(c))
            return;
        result = reader_read(&c->rx, &c->transport, &got);
        total += got;
        if (got > 0) {
            count_received(c, got);
            rx_parse(c);
        }
        /* (what TLS has decrypted already would make no further event) */
    } while (!c->is_closed && rx_react(c, result) &&
             (total < CONN_TURN_MAX_BYTES || transport_has_buffered(&c->transport)));
    if (c->is_closed)
        return;
    reader_rest(&c->rx);
    if (result != READER_FULL)
        resume_reading(c);
    if (c->transport.wants_write)
        conn_wait_writable(c);
}

/* ---- events */

/* At the end of a loop's turn in which something happened to this connection. */
static void on_turn(struct loop_deferred *d)
{
    struct conn *c = CONTAINER_OF(d, struct conn, turn);

    conn_check(c);
    ASSERT(!c->is_closed);
    c->pins++;
    conn_flush(c);
    if (!c->is_closed)
        rx_parse(c);
    if (!c->is_closed && c->transport.is_shaken && !c->is_reading)
        rx_read(c);
    else if (!c->is_closed)
        reader_rest(&c->rx);
    conn_unpin(c);
}

static void go_on_shaking(struct conn *c)
{
    switch (transport_shake(&c->transport)) {
    case IO_OK:
        loop_timer_cancel(c->loop, &c->idle_timer);
        if (c->server->idle_ms > 0)
            loop_timer_arm(c->loop, &c->idle_timer, c->server->idle_ms);
        rx_read(c);
        if (!c->is_closed)
            loop_defer(c->loop, &c->turn);
        return;
    case IO_AGAIN:
        if (c->transport.wants_write)
            conn_wait_writable(c);
        return;
    case IO_EOF:
        conn_end(c, CONN_END_EOF, 0);
        return;
    case IO_FAILED:
        conn_end_failed(c);
        return;
    }
}

static void on_readable(evutil_socket_t fd UNUSED, short what UNUSED, void *arg)
{
    struct conn *c;

    CAST_OBJ(c, arg, CONN_MAGIC);
    struct loop *l = c->loop;
    loop_enter(l);
    conn_check(c);
    ASSERT(!c->is_closed);
    c->pins++;
    if (c->transport.is_shaken)
        rx_read(c);
    else
        go_on_shaking(c);
    conn_unpin(c);
    loop_leave(l);
}

static void on_writable(evutil_socket_t fd UNUSED, short what UNUSED, void *arg)
{
    struct conn *c;

    CAST_OBJ(c, arg, CONN_MAGIC);
    struct loop *l = c->loop;
    loop_enter(l);
    conn_check(c);
    ASSERT(!c->is_closed);
    c->pins++;
    c->is_awaiting_write = false;
    if (!c->transport.is_shaken)
        go_on_shaking(c);
    else if (c->transport.wants_write)
        rx_read(c);
    if (!c->is_closed)
        loop_defer(l, &c->turn);
    conn_unpin(c);
    loop_leave(l);
}

static void on_idle(struct loop_timer *t)
{
    struct conn *c = CONTAINER_OF(t, struct conn, idle_timer);
    int64_t idle = loop_now_ms(c->loop) - c->active_ms;

    CHECK_OBJ(c, CONN_MAGIC);
    if (!c->transport.is_shaken)
        conn_end(c, CONN_END_TLS, 0);
    else if (conn_slots_used(c) == 0 && idle >= c->server->idle_ms)
        conn_end(c, CONN_END_IDLE, 0);
    else
        loop_timer_arm(c->loop, t,
                       conn_slots_used(c) > 0 ? c->server->idle_ms : c->server->idle_ms - idle);
}

static void on_unmute(struct loop_timer *t)
{
    struct conn *c = CONTAINER_OF(t, struct conn, mute_timer);

    CHECK_OBJ(c, CONN_MAGIC);
    c->is_muted = false;
    loop_defer(c->loop, &c->turn);
}

void conn_mute(struct conn *c, int64_t ms)
{
    CHECK_OBJ(c, CONN_MAGIC);
    ASSERT(loop_is_current(c->loop));
    if (c->is_closed || ms <= 0)
        return;
    c->is_muted = true;
    pause_reading(c);
    loop_timer_arm(c->loop, &c->mute_timer, ms);
}

/* ---- exchanges */

void conn_begin(struct conn *c, struct exchange *x, struct frame *f, bool may_overlap)
{
    CHECK_OBJ(c, CONN_MAGIC);
    ASSERT(loop_is_current(c->loop) && !c->is_closed && conn_slots_used(c) < CONN_SLOTS);
    ASSERT(x != NULL && f != NULL && c->solitary == 0 && (may_overlap || conn_slots_used(c) == 0));
    struct conn_slot *s = &c->slots[c->tail_seq % CONN_SLOTS];
    *s = (struct conn_slot){.x = x, .may_overlap = may_overlap};
    x->conn = c;
    x->frame = *f;
    x->seq = c->tail_seq++;
    *f = (struct frame){0};
    c->solitary += !may_overlap;
}

/* Gives the answered ones at the head of the order to the socket. */
static void release_head(struct conn *c)
{
    while (c->head_seq != c->tail_seq) {
        struct conn_slot *s = &c->slots[c->head_seq % CONN_SLOTS];
        if (s->x != NULL)
            break;
        if (s->reply != NULL)
            conn_queue(c, s->reply);
        c->solitary -= !s->may_overlap;
        ASSERT(c->solitary >= 0);
        *s = (struct conn_slot){0};
        c->head_seq++;
    }
    loop_defer(c->loop, &c->turn);
}

static void finish(struct exchange *x, struct conn_reply_bytes *reply)
{
    struct conn *c = x->conn;

    CHECK_OBJ(c, CONN_MAGIC);
    ASSERT(loop_is_current(c->loop) && x->seq - c->head_seq < conn_slots_used(c));
    struct conn_slot *s = &c->slots[x->seq % CONN_SLOTS];
    ASSERT(s->x == x && s->reply == NULL);
    s->x = NULL;
    s->reply = reply;
    x->conn = NULL;
    frame_release(&x->frame);
    release_head(c);
}

void conn_reply(struct exchange *x, struct buf *bytes, const struct conn_range *ranges,
                const size_t *holes, size_t count, const struct conn_server *server)
{
    ASSERT(x != NULL && bytes != NULL && (count == 0 || (ranges != NULL && holes != NULL)));
    if (x->conn != NULL) {
        finish(x, conn_reply_new(bytes, ranges, holes, count));
        return;
    }
    for (size_t i = 0; i < count; i++) {
        struct conn_range r = ranges[i];
        server->range_ops->release(&r);
    }
    buf_fini(bytes);
    frame_release(&x->frame);
}

void conn_reply_none(struct exchange *x)
{
    if (x->conn != NULL)
        finish(x, NULL);
    else
        frame_release(&x->frame);
}

void conn_abandon(struct exchange *x)
{
    ASSERT(x != NULL && x->conn == NULL);
    frame_release(&x->frame);
}

/* ---- life */

static void address_text(const struct sockaddr_storage *a, char *host, int32_t *port)
{
    const struct sockaddr_in *v4 = (const void *)a;
    const struct sockaddr_in6 *v6 = (const void *)a;

    host[0] = 0;
    *port = 0;
    if (a->ss_family == AF_INET) {
        (void)inet_ntop(AF_INET, &v4->sin_addr, host, INET6_ADDRSTRLEN);
        *port = ntohs(v4->sin_port);
    } else if (a->ss_family == AF_INET6) {
        if (IN6_IS_ADDR_V4MAPPED(&v6->sin6_addr))
            (void)inet_ntop(AF_INET, &v6->sin6_addr.s6_addr[12], host, INET6_ADDRSTRLEN);
        else
            (void)inet_ntop(AF_INET6, &v6->sin6_addr, host, INET6_ADDRSTRLEN);
        *port = ntohs(v6->sin6_port);
    }
}

static void find_addresses(struct conn *c)
{
    struct sockaddr_storage a = {0};
    socklen_t len = sizeof a;
    int32_t local_port;

    if (getpeername(c->transport.fd, (struct sockaddr *)&a, &len) == 0)
        address_text(&a, c->peer_host, &c->peer_port);
    len = sizeof a;
    memset(&a, 0, sizeof a);
    if (getsockname(c->transport.fd, (struct sockaddr *)&a, &len) == 0)
        address_text(&a, c->local_host, &local_port);
}

struct conn *conn_open(const struct conn_server *s, struct loop *l, int fd, struct tls_context *tls,
                       void *user)
{
    struct conn *c = xcalloc(1, sizeof *c);
    int on = 1;

    ASSERT(loop_is_current(l) && s != NULL && fd >= 0);
    ASSERT(s->on_frame != NULL && s->on_cancel != NULL && s->on_close != NULL);
    ASSERT(s->may_overlap != NULL && s->frame_max > 0);
    *c = (struct conn){.magic = CONN_MAGIC, .server = s, .loop = l, .user = user};
    c->rx.frame_max = s->frame_max;
    STAILQ_INIT(&c->out);
    c->turn.run = on_turn;
    c->idle_timer.fire = on_idle;
    c->mute_timer.fire = on_unmute;
    c->active_ms = loop_now_ms(l);
    if (!transport_init(&c->transport, fd, tls, NULL))
        goto failed;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on); /* not for local sockets */
    find_addresses(c);
    /* On one host a long send queue gains nothing and costs the caches: 1 MiB fetches through the
     * loopback take 1.5 times the CPU with the buffer that the kernel would grow to. */
    if (s->near_send_buffer_bytes > 0 && strcmp(c->peer_host, c->local_host) == 0)
        (void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &s->near_send_buffer_bytes,
                         sizeof s->near_send_buffer_bytes);
    c->read_event = event_new(loop_base(l), fd, EV_READ | EV_PERSIST, on_readable, c);
    c->write_event = event_new(loop_base(l), fd, EV_WRITE, on_writable, c);
    if (c->read_event == NULL || c->write_event == NULL || event_add(c->read_event, NULL) != 0)
        goto failed;
    c->is_reading = true;
    if (tls != NULL)
        loop_timer_arm(l, &c->idle_timer, SHAKE_MAX_MS);
    else if (s->idle_ms > 0)
        loop_timer_arm(l, &c->idle_timer, s->idle_ms);
    return c;
failed:
    if (c->read_event != NULL)
        event_free(c->read_event);
    if (c->write_event != NULL)
        event_free(c->write_event);
    transport_fini(&c->transport);
    mem_free(c);
    return NULL;
}

void conn_close(struct conn *c)
{
    CHECK_OBJ(c, CONN_MAGIC);
    conn_end(c, CONN_END_SERVER, 0);
}

void conn_close_after_replies(struct conn *c)
{
    CHECK_OBJ(c, CONN_MAGIC);
    ASSERT(loop_is_current(c->loop));
    if (c->is_closed)
        return;
    c->is_last = true;
    pause_reading(c);
    loop_defer(c->loop, &c->turn);
}

void *conn_user(const struct conn *c)
{
    return c->user;
}

struct loop *conn_loop(const struct conn *c)
{
    return c->loop;
}

const char *conn_peer_host(const struct conn *c)
{
    return c->peer_host;
}

int32_t conn_peer_port(const struct conn *c)
{
    return c->peer_port;
}

const char *conn_local_host(const struct conn *c)
{
    return c->local_host;
}

void conn_peer_subject(const struct conn *c, char *out, size_t out_size)
{
    transport_peer_subject(&c->transport, out, out_size);
}
