/* SPDX-License-Identifier: Apache-2.0 */
#include "bench_wire.h"

#include "common/protocol/codec.h"
#include "common/protocol/messages.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { EVENTS_MAX = 256, READ_BYTES = 256 * 1024, FRAME_BYTES_MAX = 64 << 20 };

struct asked {
    int16_t key, version;
    uint32_t tag;
};

struct wire_peer {
    int fd; /* -1: ended */
    struct buf out, in;
    size_t sent, taken; /* of out, of in */
    int32_t correlation_id;
    struct asked *asked; /* a ring, in the order of the requests */
    size_t first, count, cap;
    bool is_dirty; /* has something to send */
    struct wire_peer *next_dirty;
};

static int epoll_fd = -1;
static wire_answer on_answer;
static void *on_answer_arg;
static struct wire_peer *dirty;
static struct arena arena;

void bench_die(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    (void)fprintf(stderr, "bench_groups: ");
    (void)vfprintf(stderr, fmt, ap);
    (void)fprintf(stderr, "\n");
    va_end(ap);
    exit(EXIT_FAILURE);
}

bool bench_input_ended(void)
{
    struct pollfd p = {.fd = STDIN_FILENO, .events = POLLIN};
    char c[64];

    return poll(&p, 1, 0) > 0 && read(STDIN_FILENO, c, sizeof c) <= 0;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

double bench_percentile(double *values, size_t count, double share)
{
    if (count == 0)
        return 0;
    qsort(values, count, sizeof *values, compare);
    return values[size_min(count - 1, (size_t)(share * (double)count))];
}

void wire_init(wire_answer answer, void *arg)
{
    on_answer = answer;
    on_answer_arg = arg;
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (epoll_fd < 0)
        bench_die("epoll: %s", strerror(errno));
}

struct wire_peer *wire_open(const char *host, int port)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    struct epoll_event ev = {.events = EPOLLIN};
    struct wire_peer *p;
    int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (inet_pton(AF_INET, host, &to.sin_addr) != 1)
        bench_die("not a numeric address: %s", host);
    if (fd < 0)
        bench_die("socket: %s", strerror(errno));
    if (connect(fd, (struct sockaddr *)&to, sizeof to) != 0) {
        (void)close(fd);
        return NULL;
    }
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    (void)fcntl(fd, F_SETFL, O_NONBLOCK);
    p = xcalloc(1, sizeof *p);
    p->fd = fd;
    ev.data.ptr = p;
    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &ev) != 0)
        bench_die("epoll_ctl: %s", strerror(errno));
    return p;
}

bool wire_is_open(const struct wire_peer *p)
{
    return p != NULL && p->fd >= 0;
}

static struct asked take_asked(struct wire_peer *p)
{
    struct asked a = p->asked[p->first];

    p->first = (p->first + 1) % p->cap;
    p->count--;
    return a;
}

void wire_close(struct wire_peer *p)
{
    if (!wire_is_open(p))
        return;
    (void)close(p->fd); /* leaves epoll too */
    p->fd = -1;
    while (p->count > 0) {
        struct asked a = take_asked(p);

        on_answer(on_answer_arg, p, a.key, a.tag, NULL);
    }
    buf_fini(&p->out);
    buf_fini(&p->in);
    p->sent = p->taken = 0;
}

static void push_asked(struct wire_peer *p, struct asked a)
{
    if (p->count == p->cap) {
        size_t cap = p->cap == 0 ? 16 : 2 * p->cap;
        struct asked *ring = xcalloc(cap, sizeof *ring);

        for (size_t i = 0; i < p->count; i++)
            ring[i] = p->asked[(p->first + i) % p->cap];
        mem_free(p->asked);
        p->asked = ring;
        p->cap = cap;
        p->first = 0;
    }
    p->asked[(p->first + p->count++) % p->cap] = a;
}

bool wire_send(struct wire_peer *p, int16_t key, int16_t version, const void *request, uint32_t tag)
{
    struct errtext why = {""};
    size_t start;

    if (!wire_is_open(p))
        return false;
    start = p->out.len;
    buf_add(&p->out, "\0\0\0", 4);
    kp_request_header_encode(key, version, p->correlation_id++, STR_LIT("bench"), &p->out);
    if (kp_encode(kp_api_find(key)->request, version, request, &p->out, &why) != ERR_OK)
        bench_die("cannot encode %s: %s", kp_api_find(key)->name, why.text);
    be32_store(p->out.p + start, (uint32_t)(p->out.len - start - 4));
    push_asked(p, (struct asked){key, version, tag});
    if (!p->is_dirty) {
        p->is_dirty = true;
        p->next_dirty = dirty;
        dirty = p;
    }
    return true;
}

static void want_write(struct wire_peer *p, bool on)
{
    struct epoll_event ev = {.events = EPOLLIN | (on ? (uint32_t)EPOLLOUT : 0), .data.ptr = p};

    (void)epoll_ctl(epoll_fd, EPOLL_CTL_MOD, p->fd, &ev);
}

static void flush(struct wire_peer *p)
{
    while (p->fd >= 0 && p->sent < p->out.len) {
        ssize_t n = send(p->fd, p->out.p + p->sent, p->out.len - p->sent, MSG_NOSIGNAL);

        if (n > 0) {
            p->sent += (size_t)n;
        } else if (errno == EAGAIN) {
            want_write(p, true);
            return;
        } else if (errno != EINTR) {
            wire_close(p);
            return;
        }
    }
    p->out.len = p->sent = 0;
}

static void deliver(struct wire_peer *p, struct bytes frame)
{
    struct asked a = take_asked(p);
    const struct kp_api *api = kp_api_find(a.key);
    struct errtext why = {""};
    struct bytes body;
    int32_t id;
    void *response = arena_alloc(&arena, kp_size(api->response));

    if (kp_response_header_decode(a.key, a.version, frame, &id, &body, &why) != ERR_OK ||
        kp_decode(api->response, a.version, body, &arena, response, &why) != ERR_OK)
        bench_die("an answer to %s v%d: %s", api->name, a.version, why.text);
    on_answer(on_answer_arg, p, a.key, a.tag, response);
    arena_reset(&arena);
}

/* Delivers the whole frames that are in p->in. */
static void cut(struct wire_peer *p)
{
    while (p->fd >= 0 && p->in.len - p->taken >= 4) {
        uint32_t size = be32_load(p->in.p + p->taken);

        if (size > FRAME_BYTES_MAX || p->count == 0)
            bench_die("a frame of %u bytes that nobody asked for", size);
        if (p->in.len - p->taken - 4 < size)
            break;
        p->taken += 4 + size;
        deliver(p, (struct bytes){p->in.p + p->taken - size, size});
    }
    if (p->fd >= 0 && p->taken > 0) {
        memmove(p->in.p, p->in.p + p->taken, p->in.len - p->taken);
        p->in.len -= p->taken;
        p->taken = 0;
    }
}

static void receive(struct wire_peer *p)
{
    ssize_t n;

    buf_reserve(&p->in, READ_BYTES);
    n = recv(p->fd, p->in.p + p->in.len, READ_BYTES, 0);
    if (n > 0) {
        p->in.len += (size_t)n;
        cut(p);
    } else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
        wire_close(p);
    }
}

void wire_run(int timeout_ms)
{
    struct epoll_event events[EVENTS_MAX];
    int n;

    while (dirty != NULL) {
        struct wire_peer *p = dirty;

        dirty = p->next_dirty;
        p->is_dirty = false;
        flush(p);
    }
    n = epoll_wait(epoll_fd, events, EVENTS_MAX, timeout_ms);
    for (int i = 0; i < n; i++) {
        struct wire_peer *p = events[i].data.ptr;

        if (p->fd >= 0 && (events[i].events & EPOLLOUT) != 0) {
            want_write(p, false);
            flush(p);
        }
        if (p->fd >= 0 && (events[i].events & ~(uint32_t)EPOLLOUT) != 0)
            receive(p);
    }
}
