/* SPDX-License-Identifier: Apache-2.0 */
/* conn_internal - a connection's struct, for conn.c (life, reading, order) and conn_write.c (the
 * answers' way into the socket) only. Loop thread. */
#ifndef COMMON_NET_CONN_INTERNAL_H
#define COMMON_NET_CONN_INTERNAL_H

#include "common/net/conn.h"
#include "common/net/reader.h"
#include "common/net/transport.h"

#include <netinet/in.h>

enum {
    CONN_MAGIC = 0x636f6e6e,
    CONN_SLOTS = CONN_OVERLAP_MAX,
    CONN_SIZE_BYTES = 4,               /* the frame's size field */
    CONN_TURN_MAX_BYTES = 1024 * 1024, /* read or sent in one turn by one connection */
};

/* One range of an answer and where it belongs. */
struct conn_part {
    struct conn_range range; /* what is left of it */
    size_t hole;
    struct frame_block *loaded; /* a small range's bytes */
    size_t loaded_len, loaded_sent;
    bool is_large;   /* sent with sendfile */
    int64_t warm_to; /* position up to which the file was found or brought into the page cache */
};

struct conn_reply_bytes {
    STAILQ_ENTRY(conn_reply_bytes) link;
    struct buf bytes;
    uint8_t size_field[CONN_SIZE_BYTES];
    size_t size_sent, sent; /* of size_field, of bytes */
    size_t part_count, part_at;
    int64_t total_bytes;
    struct conn_part parts[];
};

struct conn_slot {
    struct exchange *x;             /* NULL: answered */
    struct conn_reply_bytes *reply; /* NULL when answered: nothing to send */
    bool may_overlap;
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

    struct conn_slot slots[CONN_SLOTS]; /* [head_seq, tail_seq) */
    uint32_t head_seq, tail_seq;
    int solitary; /* slots in use that may not overlap */

    STAILQ_HEAD(, conn_reply_bytes) out;
    int64_t out_bytes;

    struct loop_deferred turn;
    struct loop_timer idle_timer, mute_timer;
    int64_t active_ms; /* when something was received or sent */
    char peer_host[INET6_ADDRSTRLEN], local_host[INET6_ADDRSTRLEN];
    int32_t peer_port;
};

static inline uint32_t conn_slots_used(const struct conn *c)
{
    return c->tail_seq - c->head_seq;
}

/* ---- conn.c */

/* Asserts what holds whenever no function of this family runs. */
void conn_check(const struct conn *c);

/* ---- conn_end.c */

/* Closes it and cancels its exchanges; nothing to do when it is closed. c lives while pinned. */
void conn_end(struct conn *c, enum conn_end why, int errnum);
/* The same after a failure of its transport. */
void conn_end_failed(struct conn *c);
/* c is gone afterwards when it is closed and this was the last pin. */
void conn_unpin(struct conn *c);

/* An answer of bytes (taken) with ranges at holes; see conn_reply. */
struct conn_reply_bytes *conn_reply_new(struct buf *bytes, const struct conn_range *ranges,
                                        const size_t *holes, size_t count);
void conn_reply_free(const struct conn_server *s, struct conn_reply_bytes *r); /* NULL is fine */
/* Gives back what it holds. */
void conn_part_release(const struct conn_server *s, struct conn_part *p);
/* Frees what is queued; c is closed. */
void conn_drop_unsent(struct conn *c);

/* ---- conn_write.c */

/* Takes r: it is sent after what is queued. */
void conn_queue(struct conn *c, struct conn_reply_bytes *r);
/* Asks for the event that the socket takes more. */
void conn_wait_writable(struct conn *c);
/* Sends what the socket and the page cache let go at once; may end the connection. */
void conn_flush(struct conn *c);

#endif
