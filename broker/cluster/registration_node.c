/* SPDX-License-Identifier: Apache-2.0 */
/* The node /brokers/ids/<id> and its conflicts (docs/decisions/0012).
 *
 * A process that was killed leaves its session, and with it the node, until the session times out.
 * We hold the lock of the log dir in which it kept its session's password, so that process is dead:
 * we attach to its session and close it. The node goes, and a new one is made under our own
 * session: a new node has a new czxid, so a new broker epoch, and everybody sees that the broker
 * was away.
 *
 * A node that stays belongs to somebody else. If a broker answers at an address in it, two brokers
 * have one id, and we must go. If none answers, it is a dead process elsewhere (its log dir was
 * moved, or the file was lost): its session ends by itself, and we wait for that. */
#include "broker/cluster/registration_internal.h"
#include "common/base/clock.h"
#include "common/base/slog.h"
#include "common/net/bclient.h"
#include "common/net/transport.h"

#include <poll.h>
#include <stdio.h>

enum {
    PROBE_TIMEOUT_MS = 2000,
    PROBE_AGAIN_MS = 5000,        /* it may just be starting, as we are */
    PROBE_AGAIN_TIMEOUT_MS = 500, /* our own silent socket costs us all of it */
    LOOK_AGAIN_MS = 100,
    SAY_SO_MS = 5000,
    OTHER_SESSION_MAX_MS = 45000, /* servers grant 40 s by default, whatever we would ask for */
    ATTEMPTS_MAX = 100,
};

struct work { /* one making of the node */
    struct registration *r;
    bool is_first;
    char path[48];
    int64_t waiting_since_ms; /* for somebody else's node; 0: not yet */
    int64_t said_ms, probed_ms;
    int attempts;
    struct errtext *why;
};

/* ---- the document */

static struct zkdoc_endpoint *make_endpoints(const struct broker *b)
{
    struct zkdoc_endpoint *e = xcalloc((size_t)b->listener_count + 1, sizeof *e);

    for (int i = 0; i < b->listener_count; i++)
        e[i] = (struct zkdoc_endpoint){
            .listener = b->listeners[i].name,
            .host = b->listeners[i].advertised_host == NULL ? "" : b->listeners[i].advertised_host,
            .port = b->listeners[i].advertised_port,
            .protocol = b->listeners[i].security_protocol};
    return e;
}

static void format_node(const struct registration *r, struct buf *out)
{
    struct zkdoc_endpoint *endpoints = make_endpoints(r->broker);
    struct zkdoc_broker doc = {.rack = r->rack,
                               .jmx_port = -1,
                               .timestamp_ms = clock_wall_ms(),
                               .endpoints = endpoints,
                               .endpoint_count = r->broker->listener_count};

    zkdoc_broker_format(&doc, out);
    mem_free(endpoints);
}

/* ---- conflicts */

static bool share_endpoint(const struct broker *b, const struct zkdoc_broker *other,
                           const struct zkdoc_endpoint **which)
{
    for (int i = 0; i < b->listener_count; i++)
        for (int32_t k = 0; k < other->endpoint_count; k++) {
            const struct zkdoc_endpoint *e = &other->endpoints[k];
            if (b->listeners[i].advertised_host != NULL &&
                strcmp(e->host, b->listeners[i].advertised_host) == 0 &&
                e->port == b->listeners[i].advertised_port) {
                *which = e;
                return true;
            }
        }
    return false;
}

static enum err check_endpoints(struct registration *r, struct errtext *why)
{
    struct arena a = {0};
    struct zkadmin_broker *brokers;
    const struct zkdoc_endpoint *e;
    int32_t count;
    enum err rc = ERR_OK;

    if (zkadmin_brokers(r->coord, &a, &brokers, &count, why) != KE_NONE)
        rc = ERR_UNREACHABLE;
    for (int32_t i = 0; rc == ERR_OK && i < count; i++)
        if (brokers[i].id != r->broker->id && share_endpoint(r->broker, &brokers[i].doc, &e)) {
            errtext_set(why,
                        "broker %" PRId32 " is registered with our advertised endpoint %s:%" PRId32
                        "; give each broker its own listeners or advertised.listeners",
                        brokers[i].id, e->host, e->port);
            rc = ERR_EXISTS;
        }
    arena_fini(&a);
    return rc;
}

/* Ends the session of the process before us, if its file was there and it still lives. */
static void end_old_session(struct registration *r)
{
    struct coord_options o = {.connect = r->connect,
                              .session_timeout_ms = r->session_timeout_ms,
                              .connection_timeout_ms = r->session_timeout_ms,
                              .old_session_id = r->old_session.id,
                              .stop = &r->broker->is_stopping};
    struct errtext why = {""};
    struct coord *old;

    if (r->old_session.id == 0)
        return;
    memcpy(o.old_session_password, r->old_session.password, sizeof o.old_session_password);
    enum err rc = coord_open(&o, &old, &why);
    if (rc == ERR_OK && coord_session_id(old) == r->old_session.id)
        SLOG(INFO, "registration", "ending the session of the previous run",
             KV_I("session", r->old_session.id));
    if (rc != ERR_OK)
        SLOG(WARN, "registration", "cannot end the session of the previous run",
             KV_I("session", r->old_session.id), KV_S("reason", why.text));
    coord_close(&old);
    memset(&r->old_session, 0, sizeof r->old_session);
}

/* Our own listening sockets are bound already but nobody accepts: they end in a timeout. A TLS peer
 * whose certificate we cannot check is alive all the same. */
static bool answers(const struct zkdoc_endpoint *e, int64_t timeout_ms)
{
    struct tls_options tls_options = {.is_server = false};
    struct bclient_options o = {.host = e->host,
                                .port = e->port,
                                .client_id = "kafuka-registration",
                                .connect_timeout_ms = timeout_ms,
                                .request_timeout_ms = timeout_ms};
    struct tls_context *tls = NULL;
    struct bclient *client = NULL;
    bool is_tls = e->protocol == ZKDOC_SSL || e->protocol == ZKDOC_SASL_SSL;
    enum err rc = ERR_UNREACHABLE;

    if (e->host[0] == 0 || e->port <= 0)
        return false;
    if (!is_tls || tls_context_new(&tls_options, &tls, NULL) == ERR_OK) {
        o.tls = tls;
        rc = bclient_open(&o, &client, NULL);
    }
    bclient_close(&client);
    tls_context_free(&tls);
    return rc == ERR_OK || (is_tls && rc == ERR_PROTOCOL);
}

static bool is_stopping(const struct registration *r)
{
    return atomic_load(&r->broker->is_stopping) || atomic_load(&r->is_ending);
}

/* Somebody else's node: is there a broker behind it? */
static enum err look_at_other(struct work *w, struct bytes data)
{
    int64_t timeout_ms = w->probed_ms == 0 ? PROBE_TIMEOUT_MS : PROBE_AGAIN_TIMEOUT_MS;
    struct arena a = {0};
    struct zkdoc_broker doc;
    enum err rc = ERR_OK;

    if (w->probed_ms != 0 && clock_mono_ms() - w->probed_ms < PROBE_AGAIN_MS)
        return ERR_OK;
    if (zkdoc_broker_parse(data, &a, &doc, NULL) == ERR_OK)
        for (int32_t i = 0; i < doc.endpoint_count && rc == ERR_OK; i++)
            if (answers(&doc.endpoints[i], timeout_ms)) {
                errtext_set(w->why,
                            "a broker with our id %" PRId32 " is alive and answers at %s:%" PRId32
                            "; give one of the two another broker.id",
                            w->r->broker->id, doc.endpoints[i].host, doc.endpoints[i].port);
                rc = ERR_EXISTS;
            }
    w->probed_ms = clock_mono_ms();
    arena_fini(&a);
    return rc;
}

/* Waits a little for somebody else's node to go. BUSY: look again. */
static enum err wait_for_other(struct work *w, int64_t owner)
{
    int64_t now = clock_mono_ms();
    int64_t limit_ms = i64_max(w->r->session_timeout_ms, OTHER_SESSION_MAX_MS);

    if (w->waiting_since_ms == 0)
        w->waiting_since_ms = now;
    if (now - w->waiting_since_ms > limit_ms) {
        errtext_set(w->why,
                    "%s belongs to another session (0x%" PRIx64 ") that lives on after %" PRId64
                    " ms, though no broker answers at its address",
                    w->path, (uint64_t)owner, limit_ms);
        return ERR_EXISTS;
    }
    if (now - w->said_ms >= SAY_SO_MS) {
        w->said_ms = now;
        SLOG(INFO, "registration", "waiting for the session of a dead broker with our id to end",
             KV_S("path", w->path), KV_I("waited_ms", now - w->waiting_since_ms),
             KV_I("limit_ms", limit_ms));
    }
    (void)poll(NULL, 0, LOOK_AGAIN_MS);
    return ERR_BUSY;
}

/* The node exists. OK: it is ours; BUSY: try again. */
static enum err resolve(struct work *w)
{
    struct registration *r = w->r;
    struct buf data = {0};
    struct coord_stat stat;

    enum err rc = coord_get_wait(r->coord, w->path, &data, &stat);
    if (rc == ERR_NOT_FOUND) {
        rc = ERR_BUSY;
    } else if (rc == ERR_OK && stat.ephemeral_owner == coord_session_id(r->coord)) {
        atomic_store(&r->broker->epoch, stat.czxid); /* our create, whose answer was lost */
    } else if (rc == ERR_OK && stat.ephemeral_owner == r->own_session) {
        /* ours from before an expiry that the server has not carried out yet */
        rc = coord_delete_wait(r->coord, w->path, stat.version);
        rc = rc == ERR_OK || rc == ERR_NOT_FOUND || rc == ERR_BAD_VERSION ||
                     rc == ERR_UNKNOWN_OUTCOME
                 ? ERR_BUSY
                 : rc;
    } else if (rc == ERR_OK && !w->is_first) {
        errtext_set(w->why, "%s belongs to another session (0x%" PRIx64 ")", w->path,
                    (uint64_t)stat.ephemeral_owner);
        rc = ERR_EXISTS;
    } else if (rc == ERR_OK) {
        rc = look_at_other(w, (struct bytes){data.p, (int64_t)data.len});
        if (rc == ERR_OK)
            rc = wait_for_other(w, stat.ephemeral_owner);
    }
    buf_fini(&data);
    return rc;
}

/* ---- making it */

/* The file names the session before there is a node under it. */
static void save_session(struct registration *r)
{
    struct session_secret s = {.id = coord_session_id(r->coord)};

    coord_session_password(r->coord, s.password);
    enum err rc = session_file_write(r->session_dir, &s);
    if (rc != ERR_OK) /* costs only time, after a kill */
        SLOG(WARN, "registration", "cannot write the session file", KV_S("dir", r->session_dir),
             KV_ERR(rc));
}

static enum err create_node(struct work *w)
{
    struct registration *r = w->r;
    struct coord_stat stats[2];
    enum err errs[2];
    struct buf doc = {0};

    format_node(r, &doc);
    /* as Kafka does it: the reader sees version 1 */
    struct coord_op ops[2] = {
        {.kind = COORD_OP_CREATE, .mode = COORD_EPHEMERAL, .path = w->path, .data = BYTES_NULL},
        {.kind = COORD_OP_SET, .path = w->path, .data = {doc.p, (int64_t)doc.len}, .version = 0}};
    int64_t session = coord_session_id(r->coord);
    enum err rc = coord_multi_wait(r->coord, ops, 2, errs, stats);
    if (rc == ERR_OK)
        atomic_store(&r->broker->epoch, stats[1].czxid);
    if (rc == ERR_OK || rc == ERR_UNKNOWN_OUTCOME)
        r->own_session = session;
    buf_fini(&doc);
    return rc;
}

static enum err make_node_once(struct work *w)
{
    enum err rc = coord_exists_wait(w->r->coord, w->path, NULL);

    if (rc == ERR_NOT_FOUND) {
        save_session(w->r);
        rc = create_node(w);
        if (rc == ERR_OK)
            return ERR_OK;
    }
    if (rc == ERR_OK || rc == ERR_EXISTS)
        return resolve(w);
    if (rc == ERR_UNKNOWN_OUTCOME || (rc == ERR_CLOSED && !is_stopping(w->r)))
        return ERR_BUSY; /* the connection or the session was lost; look again */
    errtext_set(w->why, "cannot create %s in ZooKeeper: %s", w->path, err_text(rc));
    return rc;
}

enum err registration_make_node(struct registration *r, bool is_first, struct errtext *why)
{
    struct work w = {.r = r, .is_first = is_first, .why = why};
    enum err rc = ERR_BUSY;

    (void)snprintf(w.path, sizeof w.path, "/brokers/ids/%" PRId32, r->broker->id);
    if (is_first) {
        end_old_session(r);
        rc = check_endpoints(r, why);
        if (rc != ERR_OK)
            return rc;
        rc = ERR_BUSY;
    }
    while (rc == ERR_BUSY) {
        if (is_stopping(r)) {
            errtext_set(why, "stopped before the broker was registered");
            return ERR_CLOSED;
        }
        if (w.waiting_since_ms == 0 && ++w.attempts > ATTEMPTS_MAX)
            return ERR_BUSY;
        rc = make_node_once(&w);
    }
    if (rc == ERR_OK)
        SLOG(INFO, "registration", "registered", KV_S("path", w.path),
             KV_I("epoch", atomic_load(&r->broker->epoch)));
    return rc;
}
