/* SPDX-License-Identifier: Apache-2.0 */
/* conn - a server's connection: frames in, answers out in the order of the frames. Loop thread
 * only.
 *
 * Reading: straight into the loop's blocks (frame.h). A large frame is received once, into a buffer
 * that grows as bytes arrive, never by the length that the peer claims; small ones are cut out of a
 * common block. Writing: a queue of bytes and file ranges, sent with sendmsg and sendfile at the
 * end of the loop's turn. Order: only consecutive frames that may overlap (Produce) run ahead of
 * each other; any other starts when all before it are answered. */
#ifndef COMMON_NET_CONN_H
#define COMMON_NET_CONN_H

#include "common/base/base.h"
#include "common/net/frame.h"
#include "common/net/loop.h"

struct conn;
struct pool;
struct tls_context;

enum { CONN_OVERLAP_MAX = 32, CONN_LARGE_ANSWER_BYTES = 65536 };

/* A range of a file in an answer. The answer owns it from conn_reply on and calls release once, on
 * any thread. */
struct conn_range {
    void *owner; /* not NULL; an empty range may have none */
    int64_t position;
    int64_t length;
    bool is_open; /* the ops' own */
};
struct conn_range_ops {
    /* An open descriptor that stays open until release; -1 with errno. fd may open a file and is
     * called on a pool thread unless try_fd gave one (try_fd -1: not open now; must not block). */
    int (*try_fd)(struct conn_range *r);
    int (*fd)(struct conn_range *r);
    void (*release)(struct conn_range *r);
};

/* One frame and its answer; embedded in the server's request object. */
struct exchange {
    struct conn *conn;  /* NULL once the connection is gone */
    struct frame frame; /* the exchange's until it ends */
    uint32_t seq;       /* conn's own: its place in the order */
};

/* Why a connection ended; for the log and metrics. */
enum conn_end {
    CONN_END_EOF,
    CONN_END_ERROR,
    CONN_END_IDLE,
    CONN_END_BAD_FRAME, /* size negative or over the limit */
    CONN_END_NO_MEMORY,
    CONN_END_TLS,
    CONN_END_SERVER /* conn_close */
};
const char *conn_end_text(enum conn_end e);

/* Relaxed atomics: statistics only. */
struct conn_stats {
    _Atomic int64_t received_bytes, sent_bytes, cold_reads, memory_pauses;
};

/* Shared by the connections of a server; outlives them. */
struct conn_server {
    size_t frame_max;               /* socket.request.max.bytes */
    int64_t idle_ms;                /* connections.max.idle.ms; <= 0: never */
    int32_t near_send_buffer_bytes; /* SO_SNDBUF of peers on this host; 0: the kernel's tuning */
    int64_t memory_max_bytes; /* received bytes in memory, over all connections: above it reading
                                 pauses, and connections that need more than twice as much end */
    struct conn_stats *stats; /* may be NULL */
    struct pool *pool;        /* reads in what is not in the page cache; NULL: sendfile blocks */
    const struct conn_range_ops *range_ops;
    /* May this frame start while earlier frames that may overlap are unanswered? head: its first 8
     * bytes at most. */
    bool (*may_overlap)(const uint8_t *head, size_t len);
    /* A frame came: takes *f. It answers now or later with conn_reply, or ends with conn_abandon.
     */
    void (*on_frame)(struct conn *c, struct frame *f, bool may_overlap);
    /* A frame waits behind x, the oldest unanswered one: it may be answered now rather than later
     * (a fetch that waits for news). May be called again and again; may answer. NULL: nothing. */
    void (*on_press)(struct exchange *x);
    /* The exchange's connection closed before it was answered; x->conn is NULL already. The owner
     * ends it (any of the replies, or conn_abandon) when it pleases. */
    void (*on_cancel)(struct exchange *x);
    /* The connection ended, and all its exchanges are cancelled: last call for it. */
    void (*on_close)(struct conn *c, enum conn_end why, int errnum);
};

/* Takes fd (connected, any mode). tls NULL: plain. user: the server's, see conn_user. Loop thread.
 */
struct conn *conn_open(const struct conn_server *s, struct loop *l, int fd, struct tls_context *tls,
                       void *user);
void *conn_user(const struct conn *c);
struct loop *conn_loop(const struct conn *c);
/* The peer's certificate as transport_peer_subject; "" without one. */
void conn_peer_subject(const struct conn *c, char *out, size_t out_size);
/* Closes at once; unanswered exchanges are cancelled. From any callback. */
void conn_close(struct conn *c);
/* Closes as soon as all that was answered before is sent. */
void conn_close_after_replies(struct conn *c);
/* From on_frame: puts the exchange at the end of the order of answers. */
void conn_begin(struct conn *c, struct exchange *x, struct frame *f, bool may_overlap);
/* Answers: bytes (taken; without the frame's size field, which is written here) with ranges[i]
 * inserted before bytes offset holes[i] (rising). Both arrays are copied. count 0: bytes only.
 * Frees the exchange's frame; x may be freed by the caller right after. Without a connection
 * everything is released. */
void conn_reply(struct exchange *x, struct buf *bytes, const struct conn_range *ranges,
                const size_t *holes, size_t count, const struct conn_server *server);
void conn_reply_none(struct exchange *x); /* no answer is sent; those after it may go */
/* After on_cancel (or without a connection): ends the exchange. */
void conn_abandon(struct exchange *x);
/* Reads nothing for ms from now on: throttling. */
void conn_mute(struct conn *c, int64_t ms);
/* Any thread. How many bytes of large answers (CONN_LARGE_ANSWER_BYTES and more) are in memory and
 * not sent yet, over all connections. Lets handlers shrink their answers under pressure. */
int64_t conn_large_answers_bytes(void);
/* The peer's address as text: valid while the connection lives. */
const char *conn_peer_host(const struct conn *c);
int32_t conn_peer_port(const struct conn *c);
/* The address the peer connected to. */
const char *conn_local_host(const struct conn *c);

#endif
