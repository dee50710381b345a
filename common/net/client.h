/* SPDX-License-Identifier: Apache-2.0 */
/* client - an asynchronous connection to another broker: requests out, responses back in order, on
 * one loop. For the follower fetchers and the controller's channels. It never reconnects by itself:
 * on_close says why it ended, and the owner opens a new one when its backoff has passed.
 *
 * Loop thread only, all of it. Callbacks never run inside client_open or client_send. */
#ifndef COMMON_NET_CLIENT_H
#define COMMON_NET_CLIENT_H

#include "common/base/base.h"
#include "common/net/frame.h"
#include "common/net/loop.h"

struct client;
struct tls_context;

/* Why a connection ended. REFUSED and CONNECT_TIMEOUT are evidence of a dead peer
 * (docs/decisions/0005); RESET and EOF are it too if the connection had been established. */
enum client_end {
    CLIENT_REFUSED,         /* connect: ECONNREFUSED */
    CLIENT_UNREACHABLE,     /* connect: any other error; see errnum */
    CLIENT_UNRESOLVED,      /* the name is unknown, or not known in connect_timeout_ms */
    CLIENT_CONNECT_TIMEOUT, /* no SYN-ACK, or no end of the TLS handshake, in connect_timeout_ms */
    CLIENT_RESET,           /* established, then ECONNRESET, EPIPE or another socket error */
    CLIENT_EOF,             /* established, then closed by the peer */
    CLIENT_REQUEST_TIMEOUT, /* a response did not come within its request's timeout */
    CLIENT_BAD_FRAME,       /* size out of range, unknown correlation id, no memory for it */
    CLIENT_TLS_FAILED       /* handshake or record failure; the log says which */
};
const char *client_end_text(enum client_end e);

struct client_options {
    struct loop *loop;
    const char *host; /* copied; a numeric address is connected to at once */
    int32_t port;
    const char *client_id;        /* copied; NULL: null */
    struct tls_context *tls;      /* NULL: plain. Outlives the client */
    int64_t connect_timeout_ms;   /* 0: 30 s */
    int32_t receive_buffer_bytes; /* SO_RCVBUF; <= 0: the system's */
    size_t frame_max;             /* larger responses end the connection; 0: 100 MiB */
    int32_t in_flight_max;        /* 0: 64; client_send beyond it asserts */
    /* The connection stands (after the TLS handshake). May be NULL. */
    void (*on_open)(void *arg, struct client *c);
    /* It ended. Every unanswered request was told before (done with ERR_CLOSED or ERR_TIMEOUT).
     * errnum: the socket's error, or 0. The client is freed after this call: do not close it. */
    void (*on_close)(void *arg, struct client *c, enum client_end why, int errnum);
    void *arg;
};

/* Begins to connect. Never fails at once: see on_close. */
struct client *client_open(const struct client_options *o);
/* Ends it without any callback: the owner frees what its requests' args point to itself. NULL is
 * fine; nulls the pointer. */
void client_close(struct client **c);
bool client_is_open(const struct client *c); /* stands: connected and shaken hands */
int32_t client_in_flight(const struct client *c);
/* The peer's numeric address once resolved, else "". For suspicion: connect again without DNS. */
const char *client_address(const struct client *c);

/* A response. err OK: body is what follows the response header, inside *frame, writable; who wants
 * to keep it takes the frame by copying the struct and zeroing *frame (frame_release later), else
 * it is released after the call. Not OK: frame is empty. */
typedef void (*client_done)(void *arg, enum err err, struct frame *frame, struct bytes body);

/* Sends a request: msg is struct kp_<Api>Request and is encoded before this returns. Sent when the
 * connection stands. timeout_ms from now, 0: none. UNSUPPORTED with text: version cannot carry msg;
 * nothing is sent. CLOSED: it is
 * ending (called from a done). Requests of one turn of the loop leave in one write. */
NODISCARD enum err client_send(struct client *c, int16_t api_key, int16_t version, const void *msg,
                               int64_t timeout_ms, client_done done, void *arg,
                               struct errtext *why);

#endif
