/* SPDX-License-Identifier: Apache-2.0 */
/* Sessions with ZooKeeper, on libzookeeper_mt.
 *
 * Each handle is one session of the library. Its events (on a library thread) set is_connected and
 * is_expired under the coord's lock. The service thread does what must not happen on a library
 * thread: it makes handles (zookeeper_init2 resolves names and blocks) and closes expired ones
 * (zookeeper_close joins the library's threads). A handle's struct stays; only its zh changes, and
 * only after zookeeper_close has returned, so no event or completion of an old zh comes late.
 *
 * Expired main session: listeners hear EXPIRED at once; then, on the service thread, watches are
 * forgotten, waiting writes end in CLOSED (they belonged to that session), all handles are closed
 * (what is with the library comes back lost: reads wait again), and a new main session is made. An
 * expired further handle loses watches only: their listeners are told of a change. */
#include "common/base/clock.h"
#include "common/base/slog.h"
#include "common/zk/zk_session_internal.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <sys/socket.h>

#if defined(__SANITIZE_ADDRESS__)
/* zookeeper_close drops events that its threads have not delivered yet, without freeing them. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
    return "leak:libzookeeper_mt.so\n";
}
#endif

#if defined(__SANITIZE_THREAD__)
/* The library formats addresses for its log lines into one static buffer, from all its threads.
 * Nobody else here uses sprintf. */
const char *__tsan_default_suppressions(void);
const char *__tsan_default_suppressions(void)
{
    return "race_top:vsprintf\n";
}
#endif

static struct zk_session_handle *handle_of(const void *context)
{
    struct zk_session_handle *h = (struct zk_session_handle *)(uintptr_t)context;

    CHECK_OBJ(h, ZK_SESSION_HANDLE_MAGIC);
    return h;
}

/* ---- events of the library */

static void connected_locked(struct zk_session_handle *h, zhandle_t *zh,
                             struct zk_session_call_list *failed)
{
    struct coord *c = h->coord;

    h->is_connected = true;
    h->patience_ms = ZK_SESSION_PATIENCE_MS;
    if (h->index == 0) {
        clientid_t now = *zoo_client_id(zh);
        bool session_is_new = now.client_id != c->session.client_id;
        c->session = now;
        c->negotiated_timeout_ms = zoo_recv_timeout(zh);
        c->session_is_over = false;
        c->state = COORD_CONNECTED;
        if (c->is_open)
            zk_session_tell_state_locked(c, COORD_CONNECTED, session_is_new);
        MUST(pthread_cond_broadcast(&c->wake) == 0);
    }
    zk_session_pump_locked(h, failed);
}

static void expired_locked(struct zk_session_handle *h)
{
    struct coord *c = h->coord;

    h->is_connected = false;
    h->is_expired = true;
    if (h->index == 0) {
        c->state = COORD_EXPIRED;
        c->counters.expirations++;
        c->session_is_over = true;
        if (c->is_open)
            zk_session_tell_state_locked(c, COORD_EXPIRED, false);
    }
    MUST(pthread_cond_broadcast(&c->wake) == 0);
}

static void disconnected_locked(struct zk_session_handle *h)
{
    struct coord *c = h->coord;

    if (h->is_connected && h->index == 0) {
        c->state = COORD_DISCONNECTED;
        c->counters.disconnections++;
        if (c->is_open)
            zk_session_tell_state_locked(c, COORD_DISCONNECTED, false);
    }
    h->is_connected = false;
    MUST(pthread_cond_broadcast(&c->wake) == 0); /* the service thread watches over it */
}

/* Not zoo_get_current_server: its buffer is shared by all handles of the process. */
static void server_text(zhandle_t *zh, char *out, size_t size)
{
    struct sockaddr_storage a;
    socklen_t len = sizeof a;
    char host[64], port[8];

    (void)snprintf(out, size, "unknown");
    if (zookeeper_get_connected_host(zh, (struct sockaddr *)&a, &len) != NULL &&
        getnameinfo((struct sockaddr *)&a, len, host, sizeof host, port, sizeof port,
                    NI_NUMERICHOST | NI_NUMERICSERV) == 0)
        (void)snprintf(out, size, "%s:%s", host, port);
}

static void session_event(struct zk_session_handle *h, zhandle_t *zh, int state)
{
    struct coord *c = h->coord;
    struct zk_session_call_list failed = TAILQ_HEAD_INITIALIZER(failed);

    lock_take(&c->lock);
    h->zh = zh; /* events may come before zookeeper_init2 has returned */
    if (state == ZOO_CONNECTED_STATE)
        connected_locked(h, zh, &failed);
    else if (state == ZOO_EXPIRED_SESSION_STATE || state == ZOO_AUTH_FAILED_STATE)
        expired_locked(h);
    else
        disconnected_locked(h);
    lock_release(&c->lock);
    zk_session_finish_all(&failed);
    if (state == ZOO_CONNECTED_STATE) {
        char server[80];
        server_text(zh, server, sizeof server);
        SLOG(INFO, "zk", "session connected", KV_I("handle", h->index), KV_S("server", server));
    } else if (state == ZOO_EXPIRED_SESSION_STATE || state == ZOO_AUTH_FAILED_STATE) {
        SLOG(WARN, "zk", "session expired", KV_I("handle", h->index));
    } else {
        SLOG(WARN, "zk", "session disconnected", KV_I("handle", h->index));
    }
}

static void event_cb(zhandle_t *zh, int type, int state, const char *path, void *context)
{
    struct zk_session_handle *h = handle_of(context);

    if (type == ZOO_SESSION_EVENT)
        session_event(h, zh, state);
    else
        zk_session_watch_fired(h, type, path);
}

/* ---- the service thread */

static void reconnect(struct coord *c, struct zk_session_handle *h) REQUIRES(c->lock);
static bool service_step(struct coord *c, int64_t *next_ms) REQUIRES(c->lock);
static void renew(struct coord *c, struct zk_session_handle *expired) REQUIRES(c->lock);
static void close_handle(struct coord *c, struct zk_session_handle *h) REQUIRES(c->lock);
static void open_handle(struct coord *c, struct zk_session_handle *h) REQUIRES(c->lock);

/* Creates the library's handle. Called and returns with the lock held, but releases it in between.
 */
static void open_handle(struct coord *c, struct zk_session_handle *h)
{
    clientid_t attach = h->index == 0 && !c->session_is_over ? c->session : (clientid_t){0};

    lock_release(&c->lock);
    zhandle_t *zh = zookeeper_init2(c->connect, event_cb, (int)c->session_timeout_ms,
                                    attach.client_id == 0 ? NULL : &attach, h, ZOO_NO_LOG_CLIENTENV,
                                    zk_session_log_line);
    if (zh != NULL)
        (void)zoo_set_servers_resolution_delay(zh, ZK_SESSION_RESOLUTION_DELAY_MS);
    else
        SLOG_EVERY(ZK_SESSION_SAY_SO_MS, WARN, "zk",
                   "cannot create a ZooKeeper client, trying again", KV_ERRNO(),
                   KV_S("connect", c->connect));
    lock_take(&c->lock);
    if (zh != NULL) {
        ASSERT(h->zh == NULL || h->zh == zh);
        h->zh = zh;
    } else {
        h->open_at_ms = clock_mono_ms() + ZK_SESSION_REOPEN_DELAY_MS;
    }
}

/* Closes the library's handle. As above. All its calls have come back afterwards: zookeeper_close
 * forgets completions that have not run, so we give them some time, and then end them ourselves. */
static void close_handle(struct coord *c, struct zk_session_handle *h)
{
    int64_t deadline_us = clock_mono_us() + ZK_SESSION_DRAIN_MS * 1000;
    zhandle_t *zh = h->zh;

    h->is_draining = true;
    while (h->in_flight > 0 && lock_wait(&c->lock, &c->wake, deadline_us))
        continue;
    lock_release(&c->lock);
    if (zh != NULL)
        (void)zookeeper_close(zh); /* its result is about the goodbye only */
    zk_session_forgotten(h);
    lock_take(&c->lock);
    ASSERT(h->in_flight == 0);
    h->is_connected = h->is_expired = h->is_draining = false;
    h->zh = NULL;
    h->open_at_ms = h->shaking_since_ms = 0;
}

/* Takes out the waiting calls of h: writes to ended, reads to again. */
static void take_waiting_locked(struct zk_session_handle *h, struct zk_session_call_list *ended,
                                struct zk_session_call_list *again)
{
    struct zk_session_call *call;

    while ((call = TAILQ_FIRST(&h->waiting)) != NULL) {
        zk_session_unwait_locked(call);
        if (call->watch)
            zk_session_watch_end_locked(h->coord, call, false);
        TAILQ_INSERT_TAIL(call->kind == ZK_SESSION_MULTI ? ended : again, call, link);
    }
}

static void wait_all_again_locked(struct coord *c, struct zk_session_call_list *calls,
                                  struct zk_session_call_list *failed)
{
    struct zk_session_call *call;

    while ((call = TAILQ_FIRST(calls)) != NULL) {
        TAILQ_REMOVE(calls, call, link);
        zk_session_wait_again_locked(c, call, failed);
    }
}

/* Of an expired handle (all, if it is the main one). Called and returns with the lock held. */
static void renew(struct coord *c, struct zk_session_handle *expired)
{
    struct zk_session_call_list ended = TAILQ_HEAD_INITIALIZER(ended);
    struct zk_session_call_list again = TAILQ_HEAD_INITIALIZER(again);
    struct zk_session_call *call;
    bool is_main = expired->index == 0;

    for (int i = is_main ? 0 : expired->index;
         i <= (is_main ? ZK_SESSION_HANDLES_MAX - 1 : expired->index); i++) {
        struct zk_session_handle *h = &c->handles[i];
        if (!h->is_wanted && h->zh == NULL)
            continue;
        h->is_wanted = h->index == 0; /* a further one is wanted again by the next read */
        take_waiting_locked(h, &ended, &again);
        zk_session_watch_forget_locked(h, !is_main);
        close_handle(c, h);
    }
    TAILQ_FOREACH (call, &ended, link) {
        zk_session_call_fail(call, ERR_CLOSED);
    }
    wait_all_again_locked(c, &again, &ended);
    lock_release(&c->lock);
    zk_session_finish_all(&ended);
    lock_take(&c->lock);
}

/* A server that is just starting can take a connection and never answer on it (an exception in its
 * worker loses the connection); the library would wait two thirds of the session timeout. True: it
 * has been so for too long. */
static bool is_stuck_locked(struct zk_session_handle *h, int64_t now)
{
    if (zoo_state(h->zh) != ZOO_ASSOCIATING_STATE)
        h->shaking_since_ms = 0;
    else if (h->shaking_since_ms == 0)
        h->shaking_since_ms = now;
    return h->shaking_since_ms != 0 && now - h->shaking_since_ms >= h->patience_ms;
}

/* Drops the connection, by making the library's handle anew; the main session is attached to again.
 * The handle's watches were in the old one: their owners are told to read. As above. */
static void reconnect(struct coord *c, struct zk_session_handle *h)
{
    SLOG(WARN, "zk", "ZooKeeper accepted the connection but does not answer, connecting again",
         KV_I("handle", h->index), KV_I("waited_ms", h->patience_ms));
    h->patience_ms = i64_min(2 * h->patience_ms, c->session_timeout_ms);
    zk_session_watch_forget_locked(h, true);
    close_handle(c, h);
}

/* One piece of work, if there is any; next_ms: when to look again (-1: when woken). */
static bool service_step(struct coord *c, int64_t *next_ms)
{
    int64_t now = clock_mono_ms();

    *next_ms = -1;
    for (int i = 0; i < ZK_SESSION_HANDLES_MAX; i++) {
        struct zk_session_handle *h = &c->handles[i];
        if (h->is_expired) {
            renew(c, h);
            return true;
        }
        if (!h->is_wanted || h->is_connected)
            continue;
        if (h->zh != NULL) {
            if (is_stuck_locked(h, now)) {
                reconnect(c, h);
                return true;
            }
            *next_ms = now + ZK_SESSION_LOOK_MS;
            continue;
        }
        if (h->open_at_ms <= now) {
            open_handle(c, h);
            return true;
        }
        *next_ms = now + i64_min(ZK_SESSION_LOOK_MS, h->open_at_ms - now);
    }
    return false;
}

static void *service_main(void *arg)
{
    struct coord *c = arg;
    int64_t next_ms;

    (void)pthread_setname_np(pthread_self(), "zk-service");
    lock_take(&c->lock);
    while (!c->is_closing)
        if (!service_step(c, &next_ms))
            (void)lock_wait(&c->lock, &c->wake, next_ms < 0 ? -1 : next_ms * 1000);
    lock_release(&c->lock);
    return NULL;
}

/* ---- open and close */

static struct coord *coord_new(const struct coord_options *o, const char *connect)
{
    struct coord *c = xcalloc(1, sizeof *c);

    lock_init(&c->lock, LOCK_COORD);
    lock_cond_init(&c->wake);
    c->connect = zk_session_library_connect(connect);
    c->chroot_len = strlen(connect) - strcspn(connect, "/");
    c->session_timeout_ms = o->session_timeout_ms;
    c->negotiated_timeout_ms = o->session_timeout_ms;
    c->connection_timeout_ms = o->connection_timeout_ms;
    c->waiting_max = o->waiting_max == 0 ? COORD_WAITING_MAX : o->waiting_max;
    c->stop = o->stop;
    c->session.client_id = o->old_session_id;
    memcpy(c->session.passwd, o->old_session_password, sizeof c->session.passwd);
    c->state = COORD_DISCONNECTED;
    for (int i = 0; i < ZK_SESSION_HANDLES_MAX; i++) {
        c->handles[i].magic = ZK_SESSION_HANDLE_MAGIC;
        c->handles[i].coord = c;
        c->handles[i].index = i;
        c->handles[i].patience_ms = ZK_SESSION_PATIENCE_MS;
        TAILQ_INIT(&c->handles[i].waiting);
        TAILQ_INIT(&c->handles[i].sent);
    }
    LIST_INIT(&c->listeners);
    if (o->mailbox != NULL) {
        struct zk_session_listener *l = zk_session_listener_new(o->mailbox, o->arg);
        l->on_state = o->on_state;
        LIST_INSERT_HEAD(&c->listeners, l, link);
    }
    c->handles[0].is_wanted = true;
    return c;
}

static void say_waiting(const struct coord *c, int64_t since_ms, int64_t *said_ms)
{
    int64_t now = clock_mono_ms();
    char last[256];

    if (now - *said_ms < ZK_SESSION_SAY_SO_MS)
        return;
    *said_ms = now;
    zk_session_log_last(last, sizeof last);
    SLOG(INFO, "zk", "waiting for ZooKeeper", KV_S("connect", c->connect),
         KV_I("waited_ms", now - since_ms), KV_S("last_error", last));
}

static bool is_stopping(const struct coord *c)
{
    return c->stop != NULL && atomic_load(c->stop);
}

static enum err wait_connected(struct coord *c, struct errtext *why)
{
    int64_t timeout_ms = c->connection_timeout_ms;
    int64_t since_ms = clock_mono_ms(),
            said_ms = since_ms - ZK_SESSION_SAY_SO_MS + ZK_SESSION_SAY_FIRST_MS;
    char last[256];
    enum err rc = ERR_OK;

    lock_take(&c->lock);
    while (c->state != COORD_CONNECTED && rc == ERR_OK) {
        int64_t now = clock_mono_ms();
        (void)lock_wait(&c->lock, &c->wake, (now + ZK_SESSION_POLL_STOP_MS) * 1000);
        if (c->state == COORD_CONNECTED)
            break;
        if (is_stopping(c))
            rc = ERR_CLOSED;
        else if (timeout_ms >= 0 && now - since_ms >= timeout_ms)
            rc = ERR_UNREACHABLE;
        say_waiting(c, since_ms, &said_ms);
    }
    c->is_open = rc == ERR_OK;
    lock_release(&c->lock);
    if (rc == ERR_CLOSED)
        errtext_set(why, "stopped while waiting for ZooKeeper at %s", c->connect);
    if (rc == ERR_UNREACHABLE) {
        zk_session_log_last(last, sizeof last);
        errtext_set(why, "ZooKeeper at %s did not answer within %" PRId64 " ms%s%s", c->connect,
                    timeout_ms, last[0] == 0 ? "" : ": ", last);
    }
    return rc;
}

static enum err open_connect(const struct coord_options *o, const char *connect, struct coord **out,
                             struct errtext *why)
{
    struct coord *c = coord_new(o, connect);

    *out = NULL;
    zk_session_log_setup();
    zk_session_log_forget();
    MUST(pthread_create(&c->service, NULL, service_main, c) == 0);
    enum err rc = wait_connected(c, why);
    if (rc == ERR_OK)
        *out = c;
    else
        coord_close(&c);
    return rc;
}

/* With a short session at the top: makes the chroot if it is missing. */
static enum err make_chroot(const struct coord_options *o, struct errtext *why)
{
    const char *chroot = strchr(o->connect, '/');
    struct coord_options top = *o;
    struct coord *c = NULL;
    char *hosts;
    enum err rc;

    if (chroot == NULL || chroot[1] == 0)
        return ERR_OK;
    hosts = xstrndup(o->connect, (size_t)(chroot - o->connect));
    top.mailbox = NULL;
    top.old_session_id = 0;
    rc = open_connect(&top, hosts, &c, why);
    if (rc != ERR_OK)
        goto out;
    rc = coord_exists_wait(c, chroot, NULL);
    if (rc == ERR_NOT_FOUND)
        rc = coord_create_recursive_wait(c, chroot, BYTES_NULL);
    if (rc == ERR_EXISTS)
        rc = ERR_OK;
    if (rc != ERR_OK)
        errtext_set(why, "cannot make the chroot %s: %s", chroot, err_text(rc));
out:
    coord_close(&c);
    mem_free(hosts);
    return rc;
}

/* Whether the session's own root is there. */
static enum err check_chroot(struct coord *c, struct errtext *why)
{
    enum err rc = c->chroot_len == 0 ? ERR_OK : coord_exists_wait(c, "/", NULL);
    const char *chroot = strchr(c->connect, '/');

    if (rc == ERR_NOT_FOUND)
        errtext_set(why, "the chroot %s does not exist in ZooKeeper %.*s", chroot,
                    (int)strcspn(c->connect, "/"), c->connect);
    else if (rc != ERR_OK)
        errtext_set(why, "cannot look for the chroot in ZooKeeper %s: %s", c->connect,
                    err_text(rc));
    return rc;
}

enum err coord_open(const struct coord_options *o, struct coord **out, struct errtext *why)
{
    *out = NULL;
    enum err rc = coord_check_connect(o->connect, why);
    if (rc == ERR_OK && (o->session_timeout_ms < 1 || o->session_timeout_ms > INT32_MAX)) {
        errtext_set(why, "a session timeout of %" PRId64 " ms is not possible",
                    o->session_timeout_ms);
        rc = ERR_INVALID;
    }
    if (rc == ERR_OK && !o->chroot_must_exist)
        rc = make_chroot(o, why);
    if (rc == ERR_OK)
        rc = open_connect(o, o->connect, out, why);
    if (rc == ERR_OK && o->chroot_must_exist)
        rc = check_chroot(*out, why);
    if (rc != ERR_OK)
        coord_close(out);
    return rc;
}

void coord_close(struct coord **cp)
{
    struct coord *c = *cp;
    struct zk_session_call_list ended = TAILQ_HEAD_INITIALIZER(ended);
    struct zk_session_call_list reads = TAILQ_HEAD_INITIALIZER(reads);
    struct zk_session_call *call;

    *cp = NULL;
    if (c == NULL)
        return;
    lock_take(&c->lock);
    c->is_closing = true; /* from here on calls end in CLOSED at once and lost reads too */
    MUST(pthread_cond_broadcast(&c->wake) == 0);
    lock_release(&c->lock);
    MUST(pthread_join(c->service, NULL) == 0);
    zk_session_listeners_close(c);

    lock_take(&c->lock);
    for (int i = ZK_SESSION_HANDLES_MAX - 1; i >= 0; i--) /* the main session last */
        close_handle(c, &c->handles[i]);
    for (int i = 0; i < ZK_SESSION_HANDLES_MAX; i++) {
        take_waiting_locked(&c->handles[i], &ended, &reads);
        zk_session_watch_forget_locked(&c->handles[i], false);
    }
    TAILQ_CONCAT(&ended, &reads, link);
    TAILQ_FOREACH (call, &ended, link) {
        zk_session_call_fail(call, ERR_CLOSED);
    }
    c->state = COORD_CLOSED;
    lock_release(&c->lock);
    zk_session_finish_all(&ended);

    ASSERT(c->watched == NULL && c->waiting_count == 0);
    MUST(pthread_cond_destroy(&c->wake) == 0);
    lock_fini(&c->lock);
    mem_free(c->connect);
    mem_free(c);
}

int64_t coord_session_id(const struct coord *c)
{
    struct coord *rw = (struct coord *)(uintptr_t)c;

    lock_take(&rw->lock);
    int64_t id = c->session.client_id;
    lock_release(&rw->lock);
    return id;
}

int64_t coord_session_timeout_ms(const struct coord *c)
{
    struct coord *rw = (struct coord *)(uintptr_t)c;

    lock_take(&rw->lock);
    int64_t ms = c->negotiated_timeout_ms;
    lock_release(&rw->lock);
    return ms;
}

void coord_session_password(const struct coord *c, uint8_t out[16])
{
    struct coord *rw = (struct coord *)(uintptr_t)c;

    lock_take(&rw->lock);
    memcpy(out, c->session.passwd, sizeof c->session.passwd);
    lock_release(&rw->lock);
}

enum coord_state coord_state_now(const struct coord *c)
{
    struct coord *rw = (struct coord *)(uintptr_t)c;

    lock_take(&rw->lock);
    enum coord_state s = c->state;
    lock_release(&rw->lock);
    return s;
}

void coord_count(const struct coord *c, struct coord_counters *out)
{
    struct coord *rw = (struct coord *)(uintptr_t)c;

    lock_take(&rw->lock);
    *out = c->counters;
    out->waiting = c->waiting_count;
    out->watched_paths = zk_session_watched_count_locked(c);
    out->is_connected = c->state == COORD_CONNECTED;
    for (int i = 0; i < ZK_SESSION_HANDLES_MAX; i++) {
        out->in_flight += c->handles[i].in_flight;
        out->handles += c->handles[i].zh != NULL;
    }
    lock_release(&rw->lock);
}
