/* SPDX-License-Identifier: Apache-2.0 */
/* request - one request on its way through the broker: who asked, what, and how the answer gets
 * back in order.
 *
 * A request is created by the connection's loop and handed to its api handler on that loop. The
 * handler owns it and ends it with exactly one of the request_reply functions, at once or later;
 * until then it may keep it in a waiting list. Replies leave in the order of the requests. All
 * functions: the request's loop thread, except request_post. */
#ifndef BROKER_SERVER_REQUEST_H
#define BROKER_SERVER_REQUEST_H

#include "common/base/base.h"
#include "common/base/mailbox.h"
#include "common/net/conn.h"
#include "common/net/loop.h"

struct broker;
struct listener;
struct metadata;
struct log_range; /* broker/log/log.h: a range of bytes of a segment file, with a reference */

enum { REQUEST_MAGIC = 0x72657131 };

struct request {
    unsigned magic;
    int16_t api_key;
    int16_t api_version;
    int32_t correlation_id;
    struct str client_id; /* points into the frame */
    struct broker *broker;
    struct conn *conn; /* NULL once the connection is gone: the reply is dropped. Also an identity:
                          not to be used otherwise */
    struct loop *loop;
    const struct listener *listener; /* where it came in */
    struct str
        principal; /* "User:ANONYMOUS" without authentication; owned by the connection's context */
    struct str client_host; /* the peer's address as text: the request's own, for io threads too */
    void *body; /* decoded message, struct kp_<Api>Request, in the arena; strings point into the
                   frame */
    struct arena arena; /* dies with the request */
    uint8_t *frame;     /* writable: batches are patched in place */
    size_t frame_len;
    int64_t received_us;            /* clock_mono_us */
    struct mail mail;               /* for request_post */
    void (*run)(struct request *r); /* for request_post */
    /* Called on the loop when the connection closes while the handler keeps the request; the
     * handler then takes it out of its waiting lists and ends it with request_drop. NULL: nothing
     * to do, the reply will be dropped. */
    void (*on_cancel)(struct request *r);
    /* Called on the loop when another request of the connection has to wait for this one. A handler
     * that waits for more data may answer now. NULL: nothing to do. */
    void (*on_press)(struct request *r);
    void *handler_data;
    bool is_from_follower;    /* a Fetch of another broker's: counted apart from consumers' */
    int32_t throttle_ms;      /* mute the connection for that long after the reply; quotas */
    struct exchange exchange; /* server's own, as all below */
    struct request *next_free;
    bool is_cancelled;
    char peer_host[46]; /* INET6_ADDRSTRLEN; client_host's text */
};

/* Server's side: a request for the frame (taken), not decoded yet. NULL: no memory. */
struct request *request_begin(struct conn *c, struct frame *f, bool may_overlap);
/* From the connection's on_press and on_cancel. */
void request_pressed(struct exchange *x);
void request_cancelled(struct exchange *x);
/* Frees what the thread keeps for the next requests; at the end of a loop. */
void request_free_kept(void);
/* The ranges of answers are the log's. */
extern const struct conn_range_ops request_range_ops;

/* Encodes msg (struct kp_<Api>Response) for the request's version and sends it. Ends the request.
 */
void request_reply(struct request *r, const void *msg);
/* The same for Fetch: msg's records fields hold lengths only (bytes.p == kp_hole); ranges, in the
 * order of those fields, are sent with sendfile. The ranges' references pass to the reply. */
void request_reply_ranges(struct request *r, const void *msg, struct log_range *ranges,
                          size_t count);
/* No answer (Produce with acks=0). Ends the request. */
void request_reply_none(struct request *r);
/* An encoded body of an older version than the request's: only for ApiVersions. Ends the request.
 */
void request_reply_as(struct request *r, int16_t version, const void *msg);
/* Closes the connection, with a log line; why: constant text. Ends the request. */
void request_close(struct request *r, const char *why);
/* After on_cancel: ends the request without an answer. */
void request_drop(struct request *r);
/* Any thread: run(r) on the request's loop. The caller must be the only holder meanwhile. */
void request_post(struct request *r, void (*run)(struct request *r));

/* The request that this thread works on from now on, for the panic report; NULL: none. Returns the
 * one before. Ending the request forgets it. */
const struct request *request_work_on(const struct request *r);
/* Writes it to fd, one line; a dumper (common/base/check.h). */
void request_dump(int fd, void *arg);

/* Is the principal allowed to do operation on the resource? Without an authorizer: always. */
enum acl_operation {
    ACL_READ = 3,
    ACL_WRITE,
    ACL_CREATE,
    ACL_DELETE,
    ACL_ALTER,
    ACL_DESCRIBE,
    ACL_CLUSTER_ACTION,
    ACL_DESCRIBE_CONFIGS,
    ACL_ALTER_CONFIGS,
    ACL_IDEMPOTENT_WRITE
};
enum acl_resource { ACL_TOPIC = 2, ACL_GROUP = 3, ACL_CLUSTER = 4, ACL_TRANSACTIONAL_ID = 5 };
bool authorize(const struct request *r, enum acl_operation op, enum acl_resource type,
               struct str name);

#endif
