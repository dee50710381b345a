/* SPDX-License-Identifier: Apache-2.0 */
/* evhttp on its own base and thread, so that a slow scrape touches no client. */
#include <config.h>

#include "broker/http/http.h"

#include "broker/http/metrics.h"
#include "common/base/slog.h"

#include <event2/buffer.h>
#include <event2/event.h>
#include <event2/http.h>
#include <event2/listener.h>
#include <event2/keyvalq_struct.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

enum { TIMEOUT_S = 30, ACCEPT_PAUSE_MS = 100, HEADERS_MAX_BYTES = 16 * 1024, STACK_BYTES = 512 * 1024 };

struct http {
    const struct conn_stats *connections; /* outlive us */
    void *print_arg;
    void (*_Atomic print)(void *arg, struct buf *out); /* set last */
    void *history_arg;
    bool (*_Atomic history)(void *arg, struct str group, struct buf *out); /* set last */
    void *reason_arg;
    const char *(*_Atomic reason)(void *arg); /* set last */
    struct event_base *base;
    struct evhttp *evhttp;
    struct event *stop_event, *pause_event;
    struct evconnlistener *listener; /* evhttp's */
    int stop_fd;
    int32_t port;
    pthread_t thread;
};

static _Thread_local struct http *current; /* on its own thread */

static void send_as(struct evhttp_request *req, const char *type, int status, const char *reason,
                    const void *text, size_t len)
{
    struct evbuffer *out = evhttp_request_get_output_buffer(req);

    (void)evhttp_add_header(evhttp_request_get_output_headers(req), "Content-Type", type);
    (void)evbuffer_add(out, text, len);
    evhttp_send_reply(req, status, reason, NULL);
}

static void send_text(struct evhttp_request *req, int status, const char *reason, const void *text,
                      size_t len)
{
    send_as(req, "text/plain; version=0.0.4; charset=utf-8", status, reason, text, len);
}

static void on_metrics(struct evhttp_request *req, void *arg)
{
    struct http *h = arg;
    struct buf text = {0};
    void (*print)(void *print_arg, struct buf *out) = atomic_load(&h->print);

    metrics_print(h->connections, &text);
    if (print != NULL)
        print(h->print_arg, &text);
    send_text(req, HTTP_OK, "OK", text.p, text.len);
    buf_fini(&text);
}

/* / and /health: for people who try the port. */
static void on_index(struct evhttp_request *req, void *arg UNUSED)
{
    static const char page[] =
        "<!DOCTYPE html>\n<html lang=\"en\"><head><title>kafuka " PACKAGE_VERSION
        "</title></head><body>\n<h1>kafuka " PACKAGE_VERSION "</h1>\n<ul>\n"
        "<li><a href=\"/metrics\">/metrics</a>: metrics in the text format of Prometheus</li>\n"
        "<li><a href=\"/live\">/live</a>: 200 while the process runs</li>\n"
        "<li><a href=\"/ready\">/ready</a>: 200 when the broker serves clients, otherwise 503 "
        "with the reason</li>\n"
        "<li><a href=\"/groups/history?group=NAME\">/groups/history?group=NAME</a>: the last "
        "rebalances of the consumer group NAME, as JSON</li>\n"
        "</ul>\n</body></html>\n";

    send_as(req, "text/html; charset=utf-8", HTTP_OK, "OK", page, sizeof page - 1);
}

static void on_live(struct evhttp_request *req, void *arg UNUSED)
{
    send_text(req, HTTP_OK, "OK", "live\n", 5);
}

static void on_ready(struct evhttp_request *req, void *arg)
{
    struct http *h = arg;
    const char *(*reason)(void *reason_arg) = atomic_load(&h->reason);
    const char *why = "not registered, stopping, or no word from a controller yet";
    char text[256];
    int len;

    if (METRIC_GET(is_ready) != 0)
        why = reason == NULL ? NULL : reason(h->reason_arg);
    len = why == NULL ? snprintf(text, sizeof text, "ready\n")
                      : snprintf(text, sizeof text, "not ready: %s\n", why);
    if (why == NULL)
        send_text(req, HTTP_OK, "OK", text, (size_t)len);
    else
        send_text(req, HTTP_SERVUNAVAIL, "Service Unavailable", text,
                  size_min((size_t)len, sizeof text - 1));
}

/* /groups/history?group=<urlencoded> */
static void on_history(struct evhttp_request *req, void *arg)
{
    static const char no_group[] = "{\"error\":\"ask for /groups/history?group=NAME\"}\n";
    static const char not_yet[] = "{\"error\":\"this broker does not serve groups yet\"}\n";
    static const char type[] = "application/json";
    struct http *h = arg;
    struct evkeyvalq query = TAILQ_HEAD_INITIALIZER(query);
    const char *text = evhttp_uri_get_query(evhttp_request_get_evhttp_uri(req));
    const char *group = NULL;
    struct buf out = {0};
    bool (*history)(void *history_arg, struct str name, struct buf *to) = atomic_load(&h->history);

    if (text != NULL && evhttp_parse_query_str(text, &query) == 0)
        group = evhttp_find_header(&query, "group");
    if (group == NULL) {
        send_as(req, type, HTTP_BADREQUEST, "Bad Request", no_group, sizeof no_group - 1);
    } else if (history == NULL) {
        send_as(req, type, HTTP_SERVUNAVAIL, "Service Unavailable", not_yet, sizeof not_yet - 1);
    } else {
        bool is_found = history(h->history_arg, str_of(group), &out);
        send_as(req, type, is_found ? HTTP_OK : HTTP_NOTFOUND, is_found ? "OK" : "Not Found", out.p,
                out.len);
    }
    evhttp_clear_headers(&query);
    buf_fini(&out);
}

static void on_stop(evutil_socket_t fd UNUSED, short what UNUSED, void *arg)
{
    struct http *h = arg;

    (void)event_base_loopbreak(h->base);
}

static void *thread_main(void *arg)
{
    struct http *h = arg;

    current = h;
    (void)event_base_dispatch(h->base);
    return NULL;
}

static void http_free(struct http *h)
{
    if (h->evhttp != NULL)
        evhttp_free(h->evhttp);
    if (h->stop_event != NULL)
        event_free(h->stop_event);
    if (h->pause_event != NULL)
        event_free(h->pause_event);
    if (h->base != NULL)
        event_base_free(h->base);
    if (h->stop_fd >= 0)
        (void)close(h->stop_fd);
    mem_free(h);
}

/* "host:port" to its parts; false: not of that form. */
static bool parse_listener(const char *text, char *host, size_t host_size, uint16_t *port)
{
    const char *colon = strrchr(text, ':');
    char *end;
    size_t n = colon == NULL ? 0 : (size_t)(colon - text);

    if (colon == NULL || n >= host_size)
        return false;
    memcpy(host, text, n);
    host[n] = 0;
    if (n == 0)
        memcpy(host, "0.0.0.0", 8);
    long v = strtol(colon + 1, &end, 10);
    *port = (uint16_t)v;
    return end != colon + 1 && *end == 0 && v >= 0 && v <= 65535;
}

static void on_pause_over(evutil_socket_t fd UNUSED, short what UNUSED, void *arg)
{
    struct http *h = arg;

    (void)evconnlistener_enable(h->listener);
}

/* accept(2) failed, mostly for want of descriptors: without a pause it would be tried, and fail,
 * all the time. */
static void on_accept_failed(struct evconnlistener *listener, void *evhttp UNUSED)
{
    const struct timeval pause = {.tv_usec = ACCEPT_PAUSE_MS * 1000};
    struct http *h = current; /* the listener's own argument is evhttp's */

    SLOG_EVERY(1000, ERROR, "http", "cannot accept a connection, trying again soon",
               KV_I("pause_ms", ACCEPT_PAUSE_MS), KV_ERRNO());
    (void)evconnlistener_disable(listener);
    (void)event_add(h->pause_event, &pause);
}

static enum err bind_http(struct http *h, const char *listener, struct errtext *why)
{
    char host[256];
    uint16_t port;
    struct sockaddr_in a = {0};
    socklen_t len = sizeof a;

    if (!parse_listener(listener, host, sizeof host, &port)) {
        errtext_set(why, "http.listener=%s is not allowed: it must be host:port or :port",
                    listener);
        return ERR_INVALID;
    }
    struct evhttp_bound_socket *bound = evhttp_bind_socket_with_handle(h->evhttp, host, port);
    if (bound == NULL) {
        errtext_set(why,
                    "http.listener: cannot listen on %s: the port is taken, or the address is "
                    "not of this machine",
                    listener);
        return ERR_IO;
    }
    h->port = port;
    h->listener = evhttp_bound_socket_get_listener(bound);
    evconnlistener_set_error_cb(h->listener, on_accept_failed);
    if (getsockname(evhttp_bound_socket_get_fd(bound), (struct sockaddr *)&a, &len) == 0)
        h->port = ntohs(a.sin_port);
    return ERR_OK;
}

static enum err make(struct http *h)
{
    h->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    h->base = event_base_new();
    if (h->base == NULL || h->stop_fd < 0)
        return ERR_NO_MEMORY;
    h->stop_event = event_new(h->base, h->stop_fd, EV_READ, on_stop, h);
    h->pause_event = event_new(h->base, -1, 0, on_pause_over, h);
    h->evhttp = evhttp_new(h->base);
    if (h->evhttp == NULL || h->stop_event == NULL || h->pause_event == NULL || event_add(h->stop_event, NULL) != 0)
        return ERR_NO_MEMORY;
    evhttp_set_allowed_methods(h->evhttp, EVHTTP_REQ_GET | EVHTTP_REQ_HEAD);
    evhttp_set_timeout(h->evhttp, TIMEOUT_S);
    evhttp_set_max_headers_size(h->evhttp, HEADERS_MAX_BYTES);
    evhttp_set_max_body_size(h->evhttp, 0);
    if (evhttp_set_cb(h->evhttp, "/", on_index, h) != 0 ||
        evhttp_set_cb(h->evhttp, "/health", on_index, h) != 0 ||
        evhttp_set_cb(h->evhttp, "/metrics", on_metrics, h) != 0 ||
        evhttp_set_cb(h->evhttp, "/live", on_live, h) != 0 ||
        evhttp_set_cb(h->evhttp, "/ready", on_ready, h) != 0 ||
        evhttp_set_cb(h->evhttp, "/groups/history", on_history, h) != 0)
        return ERR_NO_MEMORY;
    return ERR_OK;
}

static enum err start_thread(struct http *h)
{
    pthread_attr_t attr;

    MUST(pthread_attr_init(&attr) == 0);
    MUST(pthread_attr_setstacksize(&attr, STACK_BYTES) == 0);
    int rc = pthread_create(&h->thread, &attr, thread_main, h);
    MUST(pthread_attr_destroy(&attr) == 0);
    if (rc != 0)
        return err_from_errno(rc);
    (void)pthread_setname_np(h->thread, "http");
    return ERR_OK;
}

enum err http_start(const struct conn_stats *connections, const char *listener, struct http **out,
                    struct errtext *why)
{
    struct http *h;
    enum err rc;

    *out = NULL;
    if (listener == NULL || listener[0] == 0)
        return ERR_OK;
    h = xcalloc(1, sizeof *h);
    h->connections = connections;
    h->stop_fd = -1;
    rc = make(h);
    if (rc != ERR_OK)
        errtext_set(why, "http: %s", err_text(rc));
    else
        rc = bind_http(h, listener, why);
    if (rc == ERR_OK) {
        rc = start_thread(h);
        if (rc != ERR_OK)
            errtext_set(why, "http: %s", err_text(rc));
    }
    if (rc != ERR_OK) {
        http_free(h);
        return rc;
    }
    SLOG(INFO, "http", "listening", KV_S("listener", listener), KV_I("port", h->port));
    *out = h;
    return ERR_OK;
}

void http_add_metrics(struct http *h, void (*print)(void *arg, struct buf *out), void *arg)
{
    if (h == NULL)
        return;
    h->print_arg = arg;
    atomic_store(&h->print, print);
}

void http_add_reason(struct http *h, const char *(*reason)(void *arg), void *arg)
{
    if (h == NULL)
        return;
    h->reason_arg = arg;
    atomic_store(&h->reason, reason);
}

void http_add_history(struct http *h, bool (*history)(void *arg, struct str group, struct buf *out),
                      void *arg)
{
    if (h == NULL)
        return;
    h->history_arg = arg;
    atomic_store(&h->history, history);
}

void http_stop(struct http **http)
{
    struct http *h = *http;
    uint64_t one = 1;

    if (h == NULL)
        return;
    MUST(write(h->stop_fd, &one, sizeof one) == (ssize_t)sizeof one);
    MUST(pthread_join(h->thread, NULL) == 0);
    http_free(h);
    *http = NULL;
}

int32_t http_port(const struct http *h)
{
    return h->port;
}
