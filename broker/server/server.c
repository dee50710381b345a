/* SPDX-License-Identifier: Apache-2.0 */
/* Sockets are bound early, so that a taken port ends the start before anything else is done;
 * accepting begins when the broker is registered. The first loop accepts and hands connections to
 * the loop with the fewest. */
#include "broker/server/server.h"

#include "broker/config/config.h"
#include "broker/server/dispatch.h"
#include "broker/http/metrics.h"
#include "broker/server/listener.h"
#include "common/base/lock.h"
#include "common/base/slog.h"
#include "common/net/transport.h"

#include <arpa/inet.h>
#include <errno.h>
#include <event2/event.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>
#include "common/base/hash.h"

enum { ACCEPTS_A_TURN = 64, ACCEPT_PAUSE_MS = 100, SUBJECT_BYTES = 512 };

struct server_seat { /* one a loop */
    struct server *server;
    struct loop *loop;
    LIST_HEAD(, server_conn) conns; /* owner: the loop */
    _Atomic int32_t count;
};

struct server_socket { /* one a listener */
    struct server *server;
    struct listener *listener;
    struct tls_context *tls;
    int fd;
    struct event *event; /* owner: the first loop */
    struct loop_timer pause;
};

struct ip_count {
    UT_hash_handle hh;
    int32_t count;
    char host[INET6_ADDRSTRLEN];
};

struct server {
    struct broker *broker;
    struct conn_server conn_server;
    struct conn_stats stats;
    struct server_socket *sockets;
    int socket_count;
    struct server_seat *seats;
    int seat_count;
    struct tls_context *client_tls;
    struct lock ip_lock;
    struct ip_count *ips; /* guarded by ip_lock */
    bool is_accepting;    /* owner: the first loop */
};

/* ---- connections */

/* False: one too many from that address. */
static bool ip_add(struct server *s, const char *host)
{
    struct ip_count *ip = NULL;
    bool may = true;

    lock_take(&s->ip_lock);
    HASH_FIND_STR(s->ips, host, ip);
    if (ip == NULL) {
        ip = xcalloc(1, sizeof *ip);
        (void)snprintf(ip->host, sizeof ip->host, "%s", host);
        HASH_ADD_STR(s->ips, host, ip);
    }
    may = ip->count < s->broker->config->max_connections_per_ip;
    ip->count += may;
    if (ip->count == 0) {
        HASH_DEL(s->ips, ip);
        mem_free(ip);
    }
    lock_release(&s->ip_lock);
    return may;
}

static void ip_remove(struct server *s, const char *host)
{
    struct ip_count *ip = NULL;

    lock_take(&s->ip_lock);
    HASH_FIND_STR(s->ips, host, ip);
    ASSERT(ip != NULL && ip->count > 0);
    if (--ip->count == 0) {
        HASH_DEL(s->ips, ip);
        mem_free(ip);
    }
    lock_release(&s->ip_lock);
}

static bool may_overlap(const uint8_t *head, size_t len)
{
    return len >= 2 && be16_load(head) == 0; /* Produce */
}

/* With mutual TLS the principal is the certificate's subject. */
static void note_principal(struct server_conn *sc, struct conn *c)
{
    char subject[SUBJECT_BYTES];

    if (sc->principal != NULL)
        return;
    conn_peer_subject(c, subject, sizeof subject);
    sc->principal = subject[0] == 0 ? xstrdup("User:ANONYMOUS") : xasprintf("User:%s", subject);
}

static void on_frame(struct conn *c, struct frame *f, bool overlap)
{
    note_principal(conn_user(c), c);
    dispatch_request(request_begin(c, f, overlap));
}

static void on_close(struct conn *c, enum conn_end why, int errnum)
{
    struct server_conn *sc = conn_user(c);

    if (why == CONN_END_IDLE)
        METRIC_ADD(connections_idle, 1);
    if (why == CONN_END_BAD_FRAME || why == CONN_END_NO_MEMORY || why == CONN_END_TLS ||
        (why == CONN_END_ERROR && errnum != ECONNRESET && errnum != EPIPE)) {
        METRIC_ADD(connections_failed, 1);
        SLOG_EVERY(1000, WARN, "net", "connection closed because of an error",
                   KV_S("why", conn_end_text(why)), KV_S("client", conn_peer_host(c)),
                   KV_S("listener", sc->listener->name),
                   KV_S("errno", errnum == 0 ? "" : strerror(errnum)));
    }
    LIST_REMOVE(sc, link);
    atomic_fetch_sub(&sc->seat->count, 1);
    METRIC_ADD(connections, -1);
    if (!sc->is_uncounted)
        ip_remove(sc->server, conn_peer_host(c));
    mem_free(sc->principal);
    mem_free(sc);
}

struct arrival { /* an accepted socket on its way to its loop */
    struct mail mail;
    struct server_seat *seat;
    struct server_socket *socket;
    int fd;
};

static void arrive(struct mail *m)
{
    struct arrival *a = CONTAINER_OF(m, struct arrival, mail);
    struct server *s = a->seat->server;
    struct server_conn *sc = xcalloc(1, sizeof *sc);

    *sc = (struct server_conn){
        .server = s, .broker = s->broker, .listener = a->socket->listener, .seat = a->seat};
    sc->conn = conn_open(&s->conn_server, a->seat->loop, a->fd, a->socket->tls, sc);
    if (sc->conn == NULL) {
        SLOG_EVERY(1000, ERROR, "net", "no memory for a new connection, closed it");
        atomic_fetch_sub(&a->seat->count, 1);
        METRIC_ADD(connections_refused, 1);
        mem_free(sc);
        mem_free(a);
        return;
    }
    METRIC_ADD(connections, 1);
    LIST_INSERT_HEAD(&a->seat->conns, sc, link);
    mem_free(a);
    /* counted here, by the same text by which on_close counts down */
    if (!ip_add(s, conn_peer_host(sc->conn))) {
        METRIC_ADD(connections_refused, 1);
        SLOG_EVERY(1000, WARN, "net",
                   "connection refused: its address has max.connections.per.ip connections already",
                   KV_S("client", conn_peer_host(sc->conn)));
        sc->is_uncounted = true;
        conn_close(sc->conn);
    }
}

/* ---- accepting */

int32_t server_connections(const struct server *s)
{
    int32_t n = 0;

    for (int i = 0; i < s->seat_count; i++)
        n += atomic_load_explicit(&s->seats[i].count, memory_order_relaxed);
    return n;
}

static struct server_seat *emptiest_seat(struct server *s)
{
    struct server_seat *best = &s->seats[0];

    for (int i = 1; i < s->seat_count; i++)
        if (atomic_load(&s->seats[i].count) < atomic_load(&best->count))
            best = &s->seats[i];
    return best;
}

static void hand_over(struct server_socket *k, int fd)
{
    struct server *s = k->server;

    if (server_connections(s) >= s->broker->descriptors.connections) {
        METRIC_ADD(connections_refused, 1);
        SLOG_EVERY(1000, WARN, "net",
                   "connection refused: it would take the file descriptors that log files need; "
                   "raise the limit on open files (ulimit -n, LimitNOFILE)",
                   KV_S("listener", k->listener->name),
                   KV_I("connections", s->broker->descriptors.connections),
                   KV_I("descriptor_limit", s->broker->descriptors.limit));
        (void)close(fd);
        return;
    }
    if (server_connections(s) >= s->broker->config->max_connections) {
        METRIC_ADD(connections_refused, 1);
        SLOG_EVERY(1000, WARN, "net",
                   "connection refused: there are max.connections connections already",
                   KV_S("listener", k->listener->name));
        (void)close(fd);
        return;
    }
    struct arrival *a = xcalloc(1, sizeof *a);
    a->mail.deliver = arrive;
    a->seat = emptiest_seat(s);
    a->socket = k;
    a->fd = fd;
    atomic_fetch_add(&a->seat->count, 1);
    METRIC_ADD(connections_accepted, 1);
    loop_post(a->seat->loop, &a->mail);
}

static void on_pause_over(struct loop_timer *t)
{
    struct server_socket *k = CONTAINER_OF(t, struct server_socket, pause);

    if (k->event != NULL)
        (void)event_add(k->event, NULL);
}

static void on_acceptable(evutil_socket_t listening, short what UNUSED, void *arg)
{
    struct server_socket *k = arg;
    struct loop *l = k->server->seats[0].loop;

    loop_enter(l);
    for (int i = 0; i < ACCEPTS_A_TURN; i++) {
        int fd = accept4(listening, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            hand_over(k, fd);
            continue;
        }
        if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            SLOG_EVERY(1000, ERROR, "net", "cannot accept a connection, trying again soon",
                       KV_I("pause_ms", ACCEPT_PAUSE_MS), KV_ERRNO());
            (void)event_del(k->event); /* else it would be tried without pause */
            loop_timer_arm(l, &k->pause, ACCEPT_PAUSE_MS);
        }
        if (errno != EINTR && errno != ECONNABORTED)
            break;
    }
    loop_leave(l);
}

static void start_on_loop(void *arg)
{
    struct server *s = arg;

    s->is_accepting = true;
    for (int i = 0; i < s->socket_count; i++) {
        struct server_socket *k = &s->sockets[i];
        k->pause.fire = on_pause_over;
        k->event =
            event_new(loop_base(s->seats[0].loop), k->fd, EV_READ | EV_PERSIST, on_acceptable, k);
        MUST(k->event != NULL && event_add(k->event, NULL) == 0);
    }
}

void server_start(struct server *s)
{
    struct broker *b = s->broker;

    s->seat_count = b->loop_count;
    s->seats = xcalloc((size_t)b->loop_count, sizeof s->seats[0]);
    for (int i = 0; i < b->loop_count; i++) {
        s->seats[i].server = s;
        s->seats[i].loop = b->loops[i];
        LIST_INIT(&s->seats[i].conns);
    }
    s->conn_server = (struct conn_server){
        .frame_max = (size_t)b->config->socket_request_max_bytes,
        .idle_ms = b->config->connections_max_idle_ms,
        .near_send_buffer_bytes = config_is_given(b->config, CONFIG_socket_send_buffer_bytes)
                                      ? 0 /* the listening socket has it already */
                                      : b->config->socket_send_buffer_bytes,
        .memory_max_bytes = b->config->queued_max_request_bytes,
        .stats = &s->stats,
        .pool = b->io_pool,
        .range_ops = &request_range_ops,
        .may_overlap = may_overlap,
        .on_frame = on_frame,
        .on_press = request_pressed,
        .on_cancel = request_cancelled,
        .on_close = on_close,
    };
    loop_call(s->seats[0].loop, start_on_loop, s);
}

static void stop_on_loop(void *arg)
{
    struct server *s = arg;

    s->is_accepting = false;
    for (int i = 0; i < s->socket_count; i++) {
        struct server_socket *k = &s->sockets[i];
        loop_timer_cancel(s->seats[0].loop, &k->pause);
        if (k->event != NULL)
            event_free(k->event);
        k->event = NULL;
    }
}

void server_stop_accepting(struct server *s)
{
    if (s->seat_count == 0)
        return;
    loop_call(s->seats[0].loop, stop_on_loop, s);
    for (int i = 0; i < s->socket_count; i++) { /* who comes now is refused at once */
        if (s->sockets[i].fd >= 0)
            (void)close(s->sockets[i].fd);
        s->sockets[i].fd = -1;
    }
}

static void close_on_loop(void *arg)
{
    struct server_seat *seat = arg;
    struct server_conn *sc;

    while ((sc = LIST_FIRST(&seat->conns)) != NULL)
        conn_close(sc->conn);
    request_free_kept();
}

void server_close_connections(struct server *s)
{
    for (int i = 0; i < s->seat_count; i++) /* mail of arrivals was posted before */
        loop_call(s->seats[i].loop, close_on_loop, &s->seats[i]);
}

/* ---- binding */

static int bind_one(const struct server *s, const struct addrinfo *a, int *errnum)
{
    const struct config *c = s->broker->config;
    int on = 1, off = 0;
    int fd = socket(a->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (fd < 0) {
        *errnum = errno;
        return -1;
    }
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (a->ai_family == AF_INET6)
        (void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
    /* before listen, so that the window can be scaled; left to the kernel's tuning unless asked for
     */
    if (config_is_given(c, CONFIG_socket_receive_buffer_bytes) &&
        c->socket_receive_buffer_bytes > 0)
        (void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &c->socket_receive_buffer_bytes,
                         sizeof c->socket_receive_buffer_bytes);
    if (config_is_given(c, CONFIG_socket_send_buffer_bytes) && c->socket_send_buffer_bytes > 0)
        (void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &c->socket_send_buffer_bytes,
                         sizeof c->socket_send_buffer_bytes);
    if (bind(fd, a->ai_addr, a->ai_addrlen) != 0 ||
        listen(fd, c->socket_listen_backlog_size) != 0) {
        *errnum = errno;
        (void)close(fd);
        return -1;
    }
    return fd;
}

static void note_port(struct listener *l, int fd)
{
    struct sockaddr_storage a = {0};
    socklen_t len = sizeof a;
    const struct sockaddr_in *v4 = (const void *)&a;
    const struct sockaddr_in6 *v6 = (const void *)&a;

    MUST(getsockname(fd, (struct sockaddr *)&a, &len) == 0);
    l->port = ntohs(a.ss_family == AF_INET ? v4->sin_port : v6->sin6_port);
}

/* An empty host is every address, of both families where the machine has IPv6. */
static enum err bind_listener(struct server *s, struct server_socket *k, struct errtext *why)
{
    struct listener *l = k->listener;
    struct addrinfo hints = {.ai_flags = AI_PASSIVE | AI_NUMERICSERV, .ai_socktype = SOCK_STREAM};
    struct addrinfo *list = NULL;
    const char *host = l->bind_host[0] == 0 ? "::" : l->bind_host;
    char port[12];
    int errnum = 0;

    (void)snprintf(port, sizeof port, "%d", l->port);
    int gai = getaddrinfo(host, port, &hints, &list);
    if (gai != 0) {
        errtext_set(why, "listener %s: %s: %s", l->name, host, gai_strerror(gai));
        return ERR_UNREACHABLE;
    }
    for (const struct addrinfo *a = list; a != NULL && k->fd < 0; a = a->ai_next)
        k->fd = bind_one(s, a, &errnum);
    freeaddrinfo(list);
    if (k->fd < 0 && l->bind_host[0] == 0 && errnum != EADDRINUSE) { /* no IPv6 here */
        if (getaddrinfo("0.0.0.0", port, &hints, &list) == 0) {
            k->fd = bind_one(s, list, &errnum);
            freeaddrinfo(list);
        }
    }
    if (k->fd < 0) {
        errtext_set(why, "listener %s: cannot listen on %s:%s: %s", l->name,
                    l->bind_host[0] == 0 ? "*" : l->bind_host, port,
                    errnum == EADDRINUSE ? "the port is taken by another process"
                                         : strerror(errnum));
        return ERR_IO;
    }
    note_port(l, k->fd);
    return ERR_OK;
}

static void advertise(const struct config *c, struct listener *l)
{
    char own[INET6_ADDRSTRLEN];

    if (l->advertised_port == 0)
        l->advertised_port = l->port;
    if (l->advertised_host[0] != 0)
        return;
    bool is_any = l->bind_host[0] == 0 || strcmp(l->bind_host, "0.0.0.0") == 0 ||
                  strcmp(l->bind_host, "::") == 0;
    if (is_any)
        listener_own_address(c->zookeeper_connect, own, sizeof own);
    mem_free(l->advertised_host);
    l->advertised_host = xstrdup(is_any ? own : l->bind_host);
}

/* ---- TLS */

static enum tls_client_auth client_auth_of(const struct config *c)
{
    return strcmp(c->ssl_client_auth, "required") == 0    ? TLS_CLIENT_AUTH_REQUIRED
           : strcmp(c->ssl_client_auth, "requested") == 0 ? TLS_CLIENT_AUTH_REQUESTED
                                                          : TLS_CLIENT_AUTH_NONE;
}

static bool has_protocol(const struct config *c, const char *name)
{
    for (int32_t i = 0; i < c->ssl_enabled_protocols.count; i++)
        if (strcmp(c->ssl_enabled_protocols.items[i], name) == 0)
            return true;
    return false;
}

static enum err make_tls(const struct config *c, bool is_server, struct tls_context **out,
                         struct errtext *why)
{
    struct tls_options o = {.is_server = is_server,
                            .certificate_path = c->ssl_keystore_location,
                            .key_path = c->ssl_key_location,
                            .key_password = c->ssl_key_password != NULL ? c->ssl_key_password
                                                                        : c->ssl_keystore_password,
                            .trust_path = c->ssl_truststore_location,
                            .client_auth = client_auth_of(c),
                            .no_tls12 = !has_protocol(c, "TLSv1.2"),
                            .no_tls13 = !has_protocol(c, "TLSv1.3"),
                            .cipher_suites = (const char *const *)c->ssl_cipher_suites.items,
                            .cipher_suite_count = c->ssl_cipher_suites.count,
                            .verify_host_name = c->ssl_endpoint_identification_algorithm != NULL &&
                                                c->ssl_endpoint_identification_algorithm[0] != 0};

    if (strcmp(c->ssl_keystore_type, "PEM") != 0 || strcmp(c->ssl_truststore_type, "PEM") != 0) {
        errtext_set(why,
                    "ssl.keystore.type and ssl.truststore.type: only PEM is read here; convert "
                    "with: openssl pkcs12 -in STORE.p12 -out STORE.pem -nodes");
        return ERR_INVALID;
    }
    for (int32_t i = 0; i < c->ssl_enabled_protocols.count; i++) {
        const char *name = c->ssl_enabled_protocols.items[i];
        if (is_server && strcmp(name, "TLSv1.2") != 0 && strcmp(name, "TLSv1.3") != 0)
            SLOG(WARN, "server",
                 "TLS version in ssl.enabled.protocols is not supported and left out",
                 KV_S("version", name));
    }
    if (o.no_tls12 && o.no_tls13) {
        errtext_set(why, "ssl.enabled.protocols must name TLSv1.2 or TLSv1.3: there are no other "
                         "TLS versions here");
        return ERR_INVALID;
    }
    if (is_server && c->ssl_keystore_location == NULL) {
        errtext_set(why, "ssl.keystore.location is needed for a listener with SSL: a PEM file with "
                         "the certificate chain and the key");
        return ERR_INVALID;
    }
    return tls_context_new(&o, out, why);
}

static enum err set_up_tls(struct server *s, struct server_socket *k, struct errtext *why)
{
    enum err rc;

    if (k->listener->security_protocol != PROTOCOL_SSL)
        return ERR_OK;
    rc = make_tls(s->broker->config, true, &k->tls, why);
    if (rc == ERR_OK && k->listener->is_inter_broker)
        rc = make_tls(s->broker->config, false, &s->client_tls, why);
    return rc;
}

struct tls_context *server_client_tls(const struct server *s)
{
    return s->client_tls;
}

/* ---- life */

enum err server_bind(struct broker *b, struct server **out, struct errtext *why)
{
    struct server *s = xcalloc(1, sizeof *s);
    enum err rc;

    *out = NULL;
    s->broker = b;
    lock_init(&s->ip_lock, LOCK_LEAF);
    rc = listeners_from_config(b->config, &b->listeners, &b->listener_count, why);
    if (rc != ERR_OK)
        goto out;
    s->socket_count = b->listener_count;
    s->sockets = xcalloc((size_t)s->socket_count, sizeof s->sockets[0]);
    for (int i = 0; i < s->socket_count; i++)
        s->sockets[i] = (struct server_socket){.server = s, .listener = &b->listeners[i], .fd = -1};
    for (int i = 0; i < s->socket_count && rc == ERR_OK; i++) {
        rc = set_up_tls(s, &s->sockets[i], why);
        if (rc == ERR_OK)
            rc = bind_listener(s, &s->sockets[i], why);
        if (rc == ERR_OK)
            advertise(b->config, &b->listeners[i]);
        if (b->listeners[i].is_inter_broker)
            b->inter_broker_listener = &b->listeners[i];
    }
    if (rc != ERR_OK)
        goto out;
    *out = s;
    s = NULL;
out:
    server_free(&s);
    return rc;
}

void server_free(struct server **server)
{
    struct server *s = *server;

    if (s == NULL)
        return;
    for (int i = 0; i < s->socket_count; i++) {
        if (s->sockets[i].fd >= 0)
            (void)close(s->sockets[i].fd);
        tls_context_free(&s->sockets[i].tls);
    }
    for (int i = 0; i < s->seat_count; i++)
        ASSERT(LIST_EMPTY(&s->seats[i].conns));
    ASSERT(s->ips == NULL);
    tls_context_free(&s->client_tls);
    lock_fini(&s->ip_lock);
    listeners_free(&s->broker->listeners, s->broker->listener_count);
    s->broker->listener_count = 0;
    s->broker->inter_broker_listener = NULL;
    mem_free(s->seats);
    mem_free(s->sockets);
    FREE_NULL(server);
}

const struct conn_stats *server_stats(const struct server *s)
{
    return &s->stats;
}
