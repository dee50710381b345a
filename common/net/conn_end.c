/* SPDX-License-Identifier: Apache-2.0 */
/* What a connection holds and how it lets go of it: answers are made and freed, and the end, which
 * cancels what is unanswered. */
#include "common/net/conn_internal.h"

#include <event2/event.h>

enum {
    LOAD_MAX_BYTES = 32 * 1024 /* ranges up to this are read and sent with the bytes around them */
};

/* ---- answers */

void conn_part_release(const struct conn_server *s, struct conn_part *p)
{
    frame_block_unref(&p->loaded);
    if (p->range.owner != NULL)
        s->range_ops->release(&p->range);
    p->range.owner = NULL;
}

static _Atomic int64_t large_bytes; /* in answers that are not sent yet */

static void count_large(const struct conn_reply_bytes *r, int64_t sign)
{
    int64_t n = sign * (int64_t)r->bytes.len;

    if (LIKELY(r->bytes.len < CONN_LARGE_ANSWER_BYTES))
        return;
    MUST(atomic_fetch_add_explicit(&large_bytes, n, memory_order_relaxed) + n >= 0);
}

int64_t conn_large_answers_bytes(void)
{
    return atomic_load_explicit(&large_bytes, memory_order_relaxed);
}

void conn_reply_free(const struct conn_server *s, struct conn_reply_bytes *r)
{
    if (r == NULL)
        return;
    count_large(r, -1);
    for (size_t i = 0; i < r->part_count; i++)
        conn_part_release(s, &r->parts[i]);
    buf_fini(&r->bytes);
    mem_free(r);
}

struct conn_reply_bytes *conn_reply_new(struct buf *bytes, const struct conn_range *ranges,
                                        const size_t *holes, size_t count)
{
    struct conn_reply_bytes *r = xcalloc(1, sizeof *r + count * sizeof r->parts[0]);

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
    r->total_bytes += CONN_SIZE_BYTES;
    return r;
}

void conn_drop_unsent(struct conn *c)
{
    struct conn_reply_bytes *r;

    while ((r = STAILQ_FIRST(&c->out)) != NULL) {
        STAILQ_REMOVE_HEAD(&c->out, link);
        conn_reply_free(c->server, r);
    }
    c->out_bytes = 0;
}

/* ---- end */

static void conn_free(struct conn *c)
{
    ASSERT(c->is_closed && c->pins == 0);
    conn_drop_unsent(c);
    c->magic = 0;
    mem_free(c);
}

void conn_unpin(struct conn *c)
{
    ASSERT(c->pins > 0);
    if (--c->pins == 0 && c->is_closed)
        conn_free(c);
}

static void cancel_slots(struct conn *c)
{
    for (; c->head_seq != c->tail_seq; c->head_seq++) {
        struct conn_slot *s = &c->slots[c->head_seq % CONN_SLOTS];
        struct exchange *x = s->x;
        conn_reply_free(c->server, s->reply);
        *s = (struct conn_slot){0};
        if (x != NULL) {
            x->conn = NULL;
            c->server->on_cancel(x);
        }
    }
}

void conn_end(struct conn *c, enum conn_end why, int errnum)
{
    if (c->is_closed)
        return;
    c->is_closed = true;
    c->pins++;
    event_free(c->read_event); /* before the descriptor is closed: epoll forgets it then */
    event_free(c->write_event);
    c->read_event = c->write_event = NULL;
    c->is_reading = c->is_awaiting_write = false;
    transport_fini(&c->transport);
    loop_timer_cancel(c->loop, &c->idle_timer);
    loop_timer_cancel(c->loop, &c->mute_timer);
    loop_defer_cancel(c->loop, &c->turn);
    reader_fini(&c->rx);
    cancel_slots(c);
    c->server->on_close(c, why, errnum);
    conn_unpin(c);
}

void conn_end_failed(struct conn *c)
{
    bool tls = c->transport.ssl != NULL && c->transport.errnum == 0;

    conn_end(c, tls ? CONN_END_TLS : CONN_END_ERROR, c->transport.errnum);
}
