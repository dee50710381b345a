/* SPDX-License-Identifier: Apache-2.0 */
/* A connection's life: bytes come into `rx` (rx_read), frames are cut out of it and handed up while
 * the order allows (rx_parse), answers wait in `slots` for those before them, then go to `out`,
 * which is written at the end of the turn (out_flush).
 *
 * What can stop it: too many in flight or unsent (frames stay in rx; when rx is full reading
 * pauses), throttling and memory (paused by a timer), a full socket (the write event), a cold file
 * (a job on the pool reads it in). Each of these ends in on_turn, which goes on with whatever is
 * possible. */
#include "common/net/conn.h"

#include "common/base/pool.h"
#include "common/base/slog.h"
#include "common/net/reader.h"
#include "common/net/transport.h"

#include <arpa/inet.h>
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    CONN_MAGIC = 0x636f6e6e,
    SLOTS = CONN_OVERLAP_MAX,
    SIZE_BYTES = 4,               /* the frame's size field */
    TURN_MAX_BYTES = 1024 * 1024, /* read or sent in one turn by one connection */
    OUT_MAX_BYTES = 1024 * 1024,  /* unsent: no further frame starts */
    LOAD_MAX_BYTES = 32 * 1024, /* ranges up to this are read and sent with the bytes around them */
    IOV_MAX_COUNT = 64,
    MEMORY_PAUSE_MS = 5,
    SHAKE_MAX_MS = 30000
};

/* One range of an answer and where it belongs. */
struct part {
    struct conn_range range; /* what is left of it */
    size_t hole;
    struct frame_block *loaded; /* a small range's bytes */
    size_t loaded_len, loaded_sent;
    bool is_large;   /* sent with sendfile */
    int64_t warm_to; /* position up to which the file was found or brought into the page cache */
};

struct reply {
    STAILQ_ENTRY(reply) link;
    struct buf bytes;
    uint8_t size_field[SIZE_BYTES];
    size_t size_sent, sent; /* of size_field, of bytes */
    size_t part_count, part_at;
    int64_t total_bytes;
    struct part parts[];
};

struct slot {
    struct exchange *x;  /* NULL: answered */
    struct reply *reply; /* NULL when answered: nothing to send */
    bool may_overlap;
};

struct warm_job {
    struct pool_job job;
    struct mail mail;
    struct conn *conn;
    struct conn_range *range; /* in the first reply, which stays while the job runs */
    int64_t position;
    size_t len;
    int errnum; /* result */
};

struct conn {
    unsigned magic;
    const struct conn_server *server;
    struct loop *loop;
    void *user;
    struct transport transport;
    struct event *read_event, *write_event;
    int pins;                /* callbacks and jobs that still look at this struct */
    bool is_closed, is_last; /* is_last: closes when all is sent */
    bool is_reading;         /* read_event is added */
    bool is_awaiting_write;  /* write_event is added */
    bool is_muted;
    bool is_corked;
    bool is_warming;

    struct reader rx;

    struct slot slots[SLOTS]; /* [head_seq, tail_seq) */
    uint32_t head_seq, tail_seq;
    int solitary; /* slots in use that may not overlap */

    STAILQ_HEAD(, reply) out;
    int64_t out_bytes;

    struct loop_deferred turn;
    struct loop_timer idle_timer, mute_timer;
    int64_t active_ms; /* when something was received or sent */
    char peer_host[INET6_ADDRSTRLEN], local_host[INET6_ADDRSTRLEN];
    int32_t peer_port;
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

/* ---- answers */

static void part_release(const struct conn_server *s, struct part *p)
{
    frame_block_unref(&p->loaded);
    if (p->range.owner != NULL)
        s->range_ops->release(&p->range);
    p->range.owner = NULL;
}

static _Atomic int64_t large_bytes; /* in answers that are not sent yet */

static void count_large(const struct reply *r, int64_t sign)
{
    if (UNLIKELY(r->bytes.len >= CONN_LARGE_ANSWER_BYTES))
        (void)atomic_fetch_add_explicit(&large_bytes, sign * (int64_t)r->bytes.len,
                                        memory_order_relaxed);
}

int64_t conn_large_answers_bytes(void)
{
    return atomic_load_explicit(&large_bytes, memory_order_relaxed);
}

static void reply_free(const struct conn_server *s, struct reply *r)
{
    if (r == NULL)
        return;
    count_large(r, -1);
    for (size_t i = 0; i < r->part_count; i++)
        part_release(s, &r->parts[i]);
    buf_fini(&r->bytes);
    mem_free(r);
}

static struct reply *reply_new(struct buf *bytes, const struct conn_range *ranges,
                               const size_t *holes, size_t count)
{
    struct reply *r = xcalloc(1, sizeof *r + count * sizeof r->parts[0]);

    r->bytes = *bytes;
    *bytes = (struct buf){0};
    count_large(r, 1);
    r->part_count = count;
    r->total_bytes = (int64_t)r->bytes.len;
    for (size_t i = 0; i < count; i++) {
        ASSERT(holes[i] <= r->bytes.len && (i == 0 || holes[i] >= holes[i - 1]));
        ASSERT(ranges[i].length >= 0);
        r->parts[i].range = ranges[i];
        r->parts[i].hole = holes[i];
        r->parts[i].is_large = ranges[i].length > LOAD_MAX_BYTES;
        r->total_bytes += ranges[i].length;
    }
    ASSERT(r->total_bytes <= INT32_MAX);
    be32_store(r->size_field, (uint32_t)r->total_bytes);
    r->total_bytes += SIZE_BYTES;
    return r;
}

/* ---- end */

static void conn_free(struct conn *c)
{
    struct reply *r;

    while ((r = STAILQ_FIRST(&c->out)) != NULL) {
        STAILQ_REMOVE_HEAD(&c->out, link);
        reply_free(c->server, r);
    }
    c->magic = 0;
    mem_free(c);
}

static void unpin(struct conn *c)
{
    ASSERT(c->pins > 0);
    if (--c->pins == 0 && c->is_closed)
        conn_free(c);
}

static void cancel_slots(struct conn *c)
{
    for (; c->head_seq != c->tail_seq; c->head_seq++) {
        struct slot *s = &c->slots[c->head_seq % SLOTS];
        struct exchange *x = s->x;
        reply_free(c->server, s->reply);
        *s = (struct slot){0};
        if (x != NULL) {
            x->conn = NULL;
            c->server->on_cancel(x);
        }
    }
}

static void end(struct conn *c, enum conn_end why, int errnum)
{
    if (c->is_closed)
        return;
    c->is_closed = true;
    c->pins++;
    event_free(c->read_event); /* before the descriptor is closed: epoll forgets it then */
    event_free(c->write_event);
    c->read_event = c->write_event = NULL;
    transport_fini(&c->transport);
    loop_timer_cancel(c->loop, &c->idle_timer);
    loop_timer_cancel(c->loop, &c->mute_timer);
    loop_defer_cancel(c->loop, &c->turn);
    reader_fini(&c->rx);
    cancel_slots(c);
    c->server->on_close(c, why, errnum);
    unpin(c);
}

void conn_close(struct conn *c)
{
    CHECK_OBJ(c, CONN_MAGIC);
    end(c, CONN_END_SERVER, 0);
}

static void end_failed(struct conn *c)
{
    bool tls = c->transport.ssl != NULL && c->transport.errnum == 0;

    end(c, tls ? CONN_END_TLS : CONN_END_ERROR, c->transport.errnum);
}

/* ---- reading */

static void pause_reading(struct conn *c)
{
    if (c->is_reading)
        MUST(event_del(c->read_event) == 0);
    c->is_reading = false;
}

static void wait_writable(struct conn *c)
{
    if (!c->is_awaiting_write)
        c->is_awaiting_write = event_add(c->write_event, NULL) == 0;
}

static void resume_reading(struct conn *c)
{
    if (!c->is_reading && !c->is_muted && !c->is_last)
        c->is_reading = event_add(c->read_event, NULL) == 0;
}

static uint32_t slots_used(const struct conn *c)
{
    return c->tail_seq - c->head_seq;
}

static bool may_start(const struct conn *c, bool may_overlap)
{
    if (c->is_muted || c->is_last || c->is_closed || c->out_bytes > OUT_MAX_BYTES)
        return false;
    return slots_used(c) == 0 || (may_overlap && c->solitary == 0 && slots_used(c) < SLOTS);
}

static void press(struct conn *c)
{
    struct exchange *oldest;

    if (c->server->on_press == NULL || c->is_muted || c->is_last || slots_used(c) == 0)
        return;
    oldest = c->slots[c->head_seq % SLOTS].x;
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
            end(c, CONN_END_BAD_FRAME, 0);
        if (state != READER_FRAME)
            return;
        bool may_overlap = c->server->may_overlap(head, size);
        if (!may_start(c, may_overlap)) {
            press(c);
            return;
        }
        if (!reader_take(&c->rx, &f)) {
            end(c, CONN_END_NO_MEMORY, 0);
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
        end(c, CONN_END_NO_MEMORY, 0);
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
        end(c, CONN_END_EOF, 0);
        return false;
    case READER_FAILED:
        end_failed(c);
        return false;
    case READER_NO_MEMORY:
        end(c, CONN_END_NO_MEMORY, 0);
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
             (total < TURN_MAX_BYTES || transport_has_buffered(&c->transport)));
    if (c->is_closed)
        return;
    reader_rest(&c->rx);
    if (result != READER_FULL)
        resume_reading(c);
    if (c->transport.wants_write)
        wait_writable(c);
}

/* ---- writing */

static void cork(struct conn *c, bool on)
{
    int value = on;

    if (c->is_corked == on || c->transport.ssl != NULL)
        return;
    c->is_corked = on;
    (void)setsockopt(c->transport.fd, IPPROTO_TCP, TCP_CORK, &value, sizeof value); /* a hint */
}

static void count_sent(struct conn *c, size_t n)
{
    c->out_bytes -= (int64_t)n;
    c->active_ms = loop_now_ms(c->loop);
    if (c->server->stats != NULL)
        (void)atomic_fetch_add_explicit(&c->server->stats->sent_bytes, (int64_t)n,
                                        memory_order_relaxed);
}

/* On a pool thread: brings the bytes into the page cache. */
static void warm_run(struct pool_job *j)
{
    struct warm_job *w = CONTAINER_OF(j, struct warm_job, job);
    uint8_t sink[8 * 1024];
    int fd = w->conn->server->range_ops->fd(w->range);

    if (fd < 0)
        w->errnum = errno != 0 ? errno : EIO;
    else
        (void)posix_fadvise(fd, w->position, (off_t)w->len, POSIX_FADV_WILLNEED);
    for (size_t at = 0; fd >= 0 && at < w->len;) { /* a read of each page's first bytes would do,
                                                    * but this waits for them as surely */
        ssize_t n = pread(fd, sink, size_min(sizeof sink, w->len - at), w->position + (int64_t)at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            w->errnum = errno;
        if (n <= 0)
            break;
        at += (size_t)n;
    }
    loop_post(w->conn->loop, &w->mail);
}

static void warm_done(struct mail *m)
{
    struct warm_job *w = CONTAINER_OF(m, struct warm_job, mail);
    struct conn *c = w->conn;

    CHECK_OBJ(c, CONN_MAGIC);
    c->is_warming = false;
    if (!c->is_closed) {
        if (w->errnum != 0) {
            SLOG_EVERY(1000, ERROR, "net", "cannot read a segment for an answer",
                       KV_S("errno", strerror(w->errnum)));
            end(c, CONN_END_ERROR, w->errnum);
        } else {
            loop_defer(c->loop, &c->turn);
        }
    }
    mem_free(w);
    unpin(c);
}

/* Has the pool read in len bytes of the part; sending goes on when they are there. */
static void warm(struct conn *c, struct part *p, size_t len)
{
    struct warm_job *w = xcalloc(1, sizeof *w);

    w->job.run = warm_run;
    w->mail.deliver = warm_done;
    w->conn = c;
    w->range = &p->range;
    w->position = p->range.position;
    w->len = len;
    p->warm_to = p->range.position + (int64_t)len;
    c->is_warming = true;
    c->pins++;
    if (c->server->stats != NULL)
        (void)atomic_fetch_add_explicit(&c->server->stats->cold_reads, 1, memory_order_relaxed);
    pool_submit_always(c->server->pool, &w->job);
}

/* The part's descriptor when that needs no waiting; -1. Without a pool: however long it takes. */
static int part_fd(struct conn *c, struct part *p)
{
    const struct conn_range_ops *ops = c->server->range_ops;
    int fd = ops->try_fd == NULL ? -1 : ops->try_fd(&p->range);

    if (fd >= 0)
        return fd;
    return ops->try_fd == NULL || c->server->pool == NULL ? ops->fd(&p->range) : -1;
}

static bool is_cached_at(int fd, int64_t position)
{
    uint8_t byte;
    struct iovec iov = {&byte, 1};
    ssize_t n = preadv2(fd, &iov, 1, position, RWF_NOWAIT);

    return n >= 0 || errno != EAGAIN; /* a file system that cannot tell: take it as it comes */
}

/* Looks at the first byte, the last, and one in between. */
static bool is_cached(int fd, int64_t position, size_t len)
{
    return is_cached_at(fd, position) && is_cached_at(fd, position + (int64_t)len - 1) &&
           (len <= 256 * 1024 || is_cached_at(fd, position + (int64_t)len / 2));
}

enum progress { GOES_ON, WAITS /* for the socket, the disk or the next turn */, ENDED };

/* Reads a small range into memory. */
static enum progress part_load(struct conn *c, struct part *p)
{
    size_t len = (size_t)p->range.length, got = 0;
    int fd = part_fd(c, p);
    bool is_warm = p->warm_to >= p->range.position + p->range.length || c->server->pool == NULL;

    if (fd < 0 && !is_warm) {
        warm(c, p, len);
        return WAITS;
    }
    if (fd < 0)
        fd = c->server->range_ops->fd(&p->range);
    p->loaded = frame_block_take(len);
    while (fd >= 0 && p->loaded != NULL && got < len) {
        struct iovec iov = {p->loaded->data + got, len - got};
        ssize_t n =
            preadv2(fd, &iov, 1, p->range.position + (int64_t)got, is_warm ? 0 : RWF_NOWAIT);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EOPNOTSUPP && !is_warm) {
            is_warm = true;
            continue;
        }
        if (n < 0 && errno == EAGAIN && !is_warm) {
            frame_block_unref(&p->loaded);
            warm(c, p, len);
            return WAITS;
        }
        if (n <= 0)
            break;
        got += (size_t)n;
    }
    if (got < len) {
        SLOG_EVERY(1000, ERROR, "net", "a segment ended before the answer did",
                   KV_I("position", p->range.position), KV_I("missing", len - got));
        end(c, CONN_END_ERROR, 0);
        return ENDED;
    }
    p->loaded_len = len;
    c->server->range_ops->release(&p->range);
    p->range.owner = NULL;
    return GOES_ON;
}

/* Sends the next piece of a large range. budget: what this turn may still send. */
static enum progress part_send(struct conn *c, struct reply *r, struct part *p, size_t *budget)
{
    size_t len = size_min((size_t)p->range.length, *budget), put;
    bool is_warm = p->warm_to > p->range.position || c->server->pool == NULL;
    int fd = part_fd(c, p);

    if (len == 0) { /* others first; then the socket event calls again */
        wait_writable(c);
        return WAITS;
    }
    if (p->warm_to > p->range.position)
        len = size_min(len, (size_t)(p->warm_to - p->range.position));
    if (!is_warm && (fd < 0 || !is_cached(fd, p->range.position, len))) {
        warm(c, p, len);
        return WAITS;
    }
    if (fd < 0)
        fd = c->server->range_ops->fd(
            &p->range); /* read in just now, then its descriptor was shut */
    p->warm_to = i64_max(p->warm_to, p->range.position + (int64_t)len);
    if (p->hole < r->bytes.len || p + 1 < r->parts + r->part_count)
        cork(c, true); /* more follows: keep it from leaving as a packet of its own */
    enum io_status status = transport_sendfile(&c->transport, fd, p->range.position, len, &put);
    if (status == IO_FAILED || status == IO_EOF) {
        end_failed(c);
        return ENDED;
    }
    if (status == IO_OK && put == 0) { /* cut off under us: the frame cannot be completed */
        SLOG_EVERY(1000, ERROR, "net", "a segment ended before the answer did",
                   KV_I("position", p->range.position), KV_I("missing", p->range.length));
        end(c, CONN_END_ERROR, 0);
        return ENDED;
    }
    p->range.position += (int64_t)put;
    p->range.length -= (int64_t)put;
    *budget -= put;
    count_sent(c, put);
    if (status == IO_AGAIN || put < len) {
        wait_writable(c);
        return WAITS;
    }
    return GOES_ON;
}

/* What can leave in one sendmsg: bytes and small ranges, up to a large range. */
struct gather {
    struct iovec iov[IOV_MAX_COUNT];
    int count;
    size_t total;
    bool file_follows;      /* the next thing is a large range */
    enum progress progress; /* of loading */
};

static void add_iov(struct gather *g, const void *p, size_t len)
{
    if (len == 0)
        return;
    memcpy(&g->iov[g->count].iov_base, &p, sizeof p); /* iovecs have no const */
    g->iov[g->count++].iov_len = len;
    g->total += len;
}

/* False: stop here. */
static bool gather_part(struct conn *c, struct part *p, struct gather *g)
{
    if (p->is_large) {
        g->file_follows = true;
        return false;
    }
    if (p->range.owner != NULL && p->loaded == NULL) {
        g->progress = part_load(c, p);
        if (g->progress != GOES_ON)
            return false;
    }
    if (p->loaded != NULL)
        add_iov(g, p->loaded->data + p->loaded_sent, p->loaded_len - p->loaded_sent);
    return true;
}

/* False: stop here. */
static bool gather_reply(struct conn *c, struct reply *r, struct gather *g)
{
    size_t at = r->sent;

    add_iov(g, r->size_field + r->size_sent, SIZE_BYTES - r->size_sent);
    for (size_t i = r->part_at; i < r->part_count; i++) {
        if (g->count + 3 > IOV_MAX_COUNT)
            return false;
        add_iov(g, r->bytes.p + at, r->parts[i].hole - at);
        at = r->parts[i].hole;
        if (!gather_part(c, &r->parts[i], g))
            return false;
    }
    add_iov(g, r->bytes.p + at, r->bytes.len - at);
    return true;
}

static size_t consume(size_t *done, size_t until, size_t *put)
{
    size_t n = size_min(until - *done, *put);

    *done += n;
    *put -= n;
    return until - *done;
}

/* Notes that put bytes of a gather left. Large ranges end it: they are consumed by part_send. */
static void advance(struct conn *c, size_t put)
{
    struct reply *r;

    while ((r = STAILQ_FIRST(&c->out)) != NULL) {
        if (consume(&r->size_sent, SIZE_BYTES, &put) > 0)
            return;
        for (; r->part_at < r->part_count; r->part_at++) {
            struct part *p = &r->parts[r->part_at];
            if (consume(&r->sent, p->hole, &put) > 0)
                return;
            if (p->is_large
                    ? p->range.length > 0
                    : p->range.owner != NULL || consume(&p->loaded_sent, p->loaded_len, &put) > 0)
                return;
            part_release(c->server, p);
        }
        if (consume(&r->sent, r->bytes.len, &put) > 0)
            return;
        STAILQ_REMOVE_HEAD(&c->out, link);
        reply_free(c->server, r);
    }
    ASSERT(put == 0);
}

static enum progress send_gathered(struct conn *c, const struct gather *g, size_t *budget)
{
    size_t put;
    enum io_status status =
        transport_writev(&c->transport, g->iov, g->count, g->file_follows, &put);

    if (status == IO_FAILED || status == IO_EOF) {
        end_failed(c);
        return ENDED;
    }
    count_sent(c, put);
    advance(c, put);
    *budget -= size_min(*budget, put);
    if (put < g->total || *budget == 0) {
        wait_writable(c);
        return WAITS;
    }
    return g->progress;
}

static enum progress send_some(struct conn *c, size_t *budget)
{
    struct gather g = {.progress = GOES_ON};
    struct reply *r;

    STAILQ_FOREACH (r, &c->out, link)
        if (g.count + 3 > IOV_MAX_COUNT || !gather_reply(c, r, &g))
            break;
    if (g.progress == ENDED)
        return ENDED;
    if (g.count > 0)
        return send_gathered(c, &g, budget);
    if (g.progress == WAITS)
        return WAITS;
    r = STAILQ_FIRST(&c->out);
    if (r->part_at == r->part_count || !r->parts[r->part_at].is_large) {
        advance(c, 0); /* only empty ranges were left */
        return GOES_ON;
    }
    enum progress progress = part_send(c, r, &r->parts[r->part_at], budget);
    if (progress == GOES_ON)
        advance(c, 0);
    return progress;
}

static void out_flush(struct conn *c)
{
    size_t budget = TURN_MAX_BYTES;
    enum progress progress = GOES_ON;

    if (!c->transport.is_shaken || c->is_warming || c->is_awaiting_write)
        return;
    while (progress == GOES_ON && !STAILQ_EMPTY(&c->out))
        progress = send_some(c, &budget);
    if (progress == ENDED)
        return;
    if (STAILQ_EMPTY(&c->out)) {
        ASSERT(c->out_bytes == 0);
        cork(c, false);
        if (c->is_last)
            end(c, CONN_END_SERVER, 0);
    }
}

/* ---- events */

/* At the end of a loop's turn in which something happened to this connection. */
static void on_turn(struct loop_deferred *d)
{
    struct conn *c = CONTAINER_OF(d, struct conn, turn);

    CHECK_OBJ(c, CONN_MAGIC);
    c->pins++;
    out_flush(c);
    if (!c->is_closed)
        rx_parse(c);
    if (!c->is_closed && c->transport.is_shaken && !c->is_reading)
        rx_read(c);
    else if (!c->is_closed)
        reader_rest(&c->rx);
    unpin(c);
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
            wait_writable(c);
        return;
    case IO_EOF:
        end(c, CONN_END_EOF, 0);
        return;
    case IO_FAILED:
        end_failed(c);
        return;
    }
}

static void on_readable(evutil_socket_t fd UNUSED, short what UNUSED, void *arg)
{
    struct conn *c;

    CAST_OBJ(c, arg, CONN_MAGIC);
    struct loop *l = c->loop;
    loop_enter(l);
    c->pins++;
    if (c->transport.is_shaken)
        rx_read(c);
    else
        go_on_shaking(c);
    unpin(c);
    loop_leave(l);
}

static void on_writable(evutil_socket_t fd UNUSED, short what UNUSED, void *arg)
{
    struct conn *c;

    CAST_OBJ(c, arg, CONN_MAGIC);
    struct loop *l = c->loop;
    loop_enter(l);
    c->pins++;
    c->is_awaiting_write = false;
    if (!c->transport.is_shaken)
        go_on_shaking(c);
    else if (c->transport.wants_write)
        rx_read(c);
    if (!c->is_closed)
        loop_defer(l, &c->turn);
    unpin(c);
    loop_leave(l);
}

static void on_idle(struct loop_timer *t)
{
    struct conn *c = CONTAINER_OF(t, struct conn, idle_timer);
    int64_t idle = loop_now_ms(c->loop) - c->active_ms;

    CHECK_OBJ(c, CONN_MAGIC);
    if (!c->transport.is_shaken)
        end(c, CONN_END_TLS, 0);
    else if (slots_used(c) == 0 && idle >= c->server->idle_ms)
        end(c, CONN_END_IDLE, 0);
    else
        loop_timer_arm(c->loop, t,
                       slots_used(c) > 0 ? c->server->idle_ms : c->server->idle_ms - idle);
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
    if (c->is_closed || ms <= 0)
        return;
    c->is_muted = true;
    pause_reading(c);
    loop_timer_arm(c->loop, &c->mute_timer, ms);
}

/* ---- exchanges */

void conn_begin(struct conn *c, struct exchange *x, struct frame *f, bool may_overlap)
{
    ASSERT(!c->is_closed && slots_used(c) < SLOTS);
    struct slot *s = &c->slots[c->tail_seq % SLOTS];
    *s = (struct slot){.x = x, .may_overlap = may_overlap};
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
        struct slot *s = &c->slots[c->head_seq % SLOTS];
        if (s->x != NULL)
            break;
        if (s->reply != NULL) {
            c->out_bytes += s->reply->total_bytes;
            STAILQ_INSERT_TAIL(&c->out, s->reply, link);
        }
        c->solitary -= !s->may_overlap;
        *s = (struct slot){0};
        c->head_seq++;
    }
    loop_defer(c->loop, &c->turn);
}

static void finish(struct exchange *x, struct reply *reply)
{
    struct conn *c = x->conn;

    CHECK_OBJ(c, CONN_MAGIC);
    ASSERT(loop_is_current(c->loop) && x->seq - c->head_seq < slots_used(c));
    struct slot *s = &c->slots[x->seq % SLOTS];
    ASSERT(s->x == x);
    s->x = NULL;
    s->reply = reply;
    x->conn = NULL;
    frame_release(&x->frame);
    release_head(c);
}

void conn_reply(struct exchange *x, struct buf *bytes, const struct conn_range *ranges,
                const size_t *holes, size_t count, const struct conn_server *server)
{
    if (x->conn != NULL) {
        finish(x, reply_new(bytes, ranges, holes, count));
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
    ASSERT(x->conn == NULL);
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

    ASSERT(loop_is_current(l));
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

void conn_close_after_replies(struct conn *c)
{
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
