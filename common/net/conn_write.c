/* SPDX-License-Identifier: Apache-2.0 */
/* How a connection's answers leave: bytes and small ranges are gathered into one sendmsg, large
 * ranges go by sendfile. A range that is not in the page cache is read in by the pool first, while
 * the connection waits (warm). */
#include "common/net/conn_internal.h"

#include "common/base/pool.h"
#include "common/base/slog.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

enum { IOV_MAX_COUNT = 64 };

struct warm_job {
    struct pool_job job;
    struct mail mail;
    struct conn *conn;
    struct conn_range *range; /* in the first reply, which stays while the job runs */
    int64_t position;
    size_t len;
    int errnum; /* result */
};

/* ---- the queue */

void conn_queue(struct conn *c, struct conn_reply_bytes *r)
{
    ASSERT(!c->is_closed && r->size_sent == 0 && r->sent == 0 && r->part_at == 0);
    ASSERT(r->total_bytes >= CONN_SIZE_BYTES && c->out_bytes >= 0);
    c->out_bytes += r->total_bytes;
    STAILQ_INSERT_TAIL(&c->out, r, link);
}

void conn_wait_writable(struct conn *c)
{
    ASSERT(!c->is_closed);
    if (!c->is_awaiting_write)
        c->is_awaiting_write = event_add(c->write_event, NULL) == 0;
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
    ASSERT((int64_t)n <= c->out_bytes);
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
    ASSERT(c->is_warming && c->pins > 0 && loop_is_current(c->loop));
    c->is_warming = false;
    if (!c->is_closed) {
        if (w->errnum != 0) {
            SLOG_EVERY(1000, ERROR, "net",
                       "cannot read a segment file for an answer, closing its connection",
                       KV_S("errno", strerror(w->errnum)));
            conn_end(c, CONN_END_ERROR, w->errnum);
        } else {
            loop_defer(c->loop, &c->turn);
        }
    }
    mem_free(w);
    conn_unpin(c);
}

/* Has the pool read in len bytes of the part; sending goes on when they are there. */
static void warm(struct conn *c, struct conn_part *p, size_t len)
{
    struct warm_job *w = xcalloc(1, sizeof *w);

    ASSERT(!c->is_warming && !c->is_closed && c->server->pool != NULL && len > 0);
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
static int part_fd(struct conn *c, struct conn_part *p)
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
static enum progress part_load(struct conn *c, struct conn_part *p)
{
    size_t len = (size_t)p->range.length, got = 0;
    int fd = part_fd(c, p);
    bool is_warm = p->warm_to >= p->range.position + p->range.length || c->server->pool == NULL;

    if (len == 0) { /* nothing to wait for */
        conn_part_release(c->server, p);
        return GOES_ON;
    }
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
        SLOG_EVERY(1000, ERROR, "net", "a segment file is shorter than its part of an answer",
                   KV_I("position", p->range.position), KV_I("missing", len - got));
        conn_end(c, CONN_END_ERROR, 0);
        return ENDED;
    }
    p->loaded_len = len;
    c->server->range_ops->release(&p->range);
    p->range.owner = NULL;
    return GOES_ON;
}

/* Sends the next piece of a large range. budget: what this turn may still send. */
static enum progress part_send(struct conn *c, struct conn_reply_bytes *r, struct conn_part *p,
                               size_t *budget)
{
    size_t len = size_min((size_t)p->range.length, *budget), put;
    bool is_warm = p->warm_to > p->range.position || c->server->pool == NULL;
    int fd = part_fd(c, p);

    if (len == 0) { /* others first; then the socket event calls again */
        conn_wait_writable(c);
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
        conn_end_failed(c);
        return ENDED;
    }
    if (status == IO_OK && put == 0) { /* cut off under us: the frame cannot be completed */
        SLOG_EVERY(1000, ERROR, "net", "a segment file is shorter than its part of an answer",
                   KV_I("position", p->range.position), KV_I("missing", p->range.length));
        conn_end(c, CONN_END_ERROR, 0);
        return ENDED;
    }
    ASSERT((int64_t)put <= p->range.length);
    p->range.position += (int64_t)put;
    p->range.length -= (int64_t)put;
    *budget -= put;
    count_sent(c, put);
    if (status == IO_AGAIN || put < len) {
        conn_wait_writable(c);
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
    ASSERT(g->count < IOV_MAX_COUNT);
    memcpy(&g->iov[g->count].iov_base, &p, sizeof p); /* iovecs have no const */
    g->iov[g->count++].iov_len = len;
    g->total += len;
}

/* False: stop here. */
static bool gather_part(struct conn *c, struct conn_part *p, struct gather *g)
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
    ASSERT(p->loaded_sent <= p->loaded_len);
    if (p->loaded != NULL)
        add_iov(g, p->loaded->data + p->loaded_sent, p->loaded_len - p->loaded_sent);
    return true;
}

/* False: stop here. */
static bool gather_reply(struct conn *c, struct conn_reply_bytes *r, struct gather *g)
{
    size_t at = r->sent;

    ASSERT(r->size_sent <= CONN_SIZE_BYTES && at <= r->bytes.len && r->part_at <= r->part_count);
    add_iov(g, r->size_field + r->size_sent, CONN_SIZE_BYTES - r->size_sent);
    for (size_t i = r->part_at; i < r->part_count; i++) {
        if (g->count + 3 > IOV_MAX_COUNT)
            return false;
        ASSERT(r->parts[i].hole >= at && r->parts[i].hole <= r->bytes.len);
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
    ASSERT(*done <= until);
    size_t n = size_min(until - *done, *put);

    *done += n;
    *put -= n;
    return until - *done;
}

/* Notes that put bytes of a gather left. Large ranges end it: they are consumed by part_send. */
static void advance(struct conn *c, size_t put)
{
    struct conn_reply_bytes *r;

    while ((r = STAILQ_FIRST(&c->out)) != NULL) {
        if (consume(&r->size_sent, CONN_SIZE_BYTES, &put) > 0)
            return;
        for (; r->part_at < r->part_count; r->part_at++) {
            struct conn_part *p = &r->parts[r->part_at];
            if (consume(&r->sent, p->hole, &put) > 0)
                return;
            if (p->is_large
                    ? p->range.length > 0
                    : p->range.owner != NULL || consume(&p->loaded_sent, p->loaded_len, &put) > 0)
                return;
            conn_part_release(c->server, p);
        }
        if (consume(&r->sent, r->bytes.len, &put) > 0)
            return;
        STAILQ_REMOVE_HEAD(&c->out, link);
        conn_reply_free(c->server, r);
    }
    ASSERT(put == 0);
}

static enum progress send_gathered(struct conn *c, const struct gather *g, size_t *budget)
{
    size_t put;
    enum io_status status =
        transport_writev(&c->transport, g->iov, g->count, g->file_follows, &put);

    if (status == IO_FAILED || status == IO_EOF) {
        conn_end_failed(c);
        return ENDED;
    }
    count_sent(c, put);
    advance(c, put);
    *budget -= size_min(*budget, put);
    if (put < g->total || *budget == 0) {
        conn_wait_writable(c);
        return WAITS;
    }
    return g->progress;
}

static enum progress send_some(struct conn *c, size_t *budget)
{
    struct gather g = {.progress = GOES_ON};
    struct conn_reply_bytes *r;

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

void conn_flush(struct conn *c)
{
    size_t budget = CONN_TURN_MAX_BYTES;
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
            conn_end(c, CONN_END_SERVER, 0);
    }
}
