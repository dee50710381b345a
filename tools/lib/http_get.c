/* SPDX-License-Identifier: Apache-2.0 */
/* HTTP/1.0: the answer ends with the connection, so there is no length and no chunk to believe. */
#include "tools/lib/http_get.h"

#include "common/base/clock.h"

#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum { READ_BYTES = 65536, STATUS_OK = 200, STATUS_NOT_FOUND = 404 };

void http_add_encoded(struct buf *out, const char *text)
{
    static const char plain[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";

    for (; *text != '\0'; text++) {
        if (strchr(plain, *text) != NULL)
            buf_add(out, text, 1);
        else
            buf_printf(out, "%%%02X", (unsigned char)*text);
    }
}

static bool wait_for(int fd, short events, int64_t deadline_ms)
{
    for (;;) {
        struct pollfd p = {.fd = fd, .events = events};
        int64_t left = deadline_ms - clock_mono_ms();
        int n = left <= 0 ? 0 : poll(&p, 1, (int)i64_min(left, INT32_MAX));

        if (n >= 0 || errno != EINTR)
            return n > 0;
    }
}

/* A connected socket; -1 with *errnum. */
static int connect_to(const struct addrinfo *ai, int64_t deadline_ms, int *errnum)
{
    int fd = socket(ai->ai_family, ai->ai_socktype | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    socklen_t len = sizeof *errnum;

    *errnum = 0;
    if (fd < 0) {
        *errnum = errno;
        return -1;
    }
    if (connect(fd, ai->ai_addr, ai->ai_addrlen) != 0) {
        *errnum = errno;
        if (*errnum == EINPROGRESS) {
            *errnum = ETIMEDOUT;
            if (wait_for(fd, POLLOUT, deadline_ms) &&
                getsockopt(fd, SOL_SOCKET, SO_ERROR, errnum, &len) != 0)
                *errnum = errno;
        }
    }
    if (*errnum == 0)
        return fd;
    (void)close(fd);
    return -1;
}

static enum err connect_host(const char *host, int32_t port, int64_t deadline_ms, int *fd_out,
                             struct errtext *why)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *list = NULL;
    char service[12];
    int e, errnum = 0;

    *fd_out = -1;
    (void)snprintf(service, sizeof service, "%d", port);
    e = getaddrinfo(host, service, &hints, &list);
    if (e != 0) {
        errtext_set(why, "%s:%d: %s", host, port, gai_strerror(e));
        return ERR_UNREACHABLE;
    }
    for (const struct addrinfo *ai = list; ai != NULL && *fd_out < 0; ai = ai->ai_next)
        *fd_out = connect_to(ai, deadline_ms, &errnum);
    freeaddrinfo(list);
    if (*fd_out >= 0)
        return ERR_OK;
    errtext_set(why, "%s:%d: %s", host, port, strerror(errnum));
    return ERR_UNREACHABLE;
}

static enum err send_all(int fd, const struct buf *request, int64_t deadline_ms)
{
    size_t done = 0;

    while (done < request->len) {
        ssize_t n = send(fd, request->p + done, request->len - done, MSG_NOSIGNAL);

        if (n >= 0)
            done += (size_t)n;
        else if (errno == EAGAIN && !wait_for(fd, POLLOUT, deadline_ms))
            return ERR_TIMEOUT;
        else if (errno != EAGAIN && errno != EINTR)
            return ERR_CLOSED;
    }
    return ERR_OK;
}

static enum err read_all(int fd, struct buf *in, int64_t deadline_ms)
{
    for (;;) {
        ssize_t n;

        buf_reserve(in, READ_BYTES);
        n = recv(fd, in->p + in->len, READ_BYTES, 0);
        if (n == 0)
            return ERR_OK;
        if (n > 0)
            in->len += (size_t)n;
        else if (errno == EAGAIN && !wait_for(fd, POLLIN, deadline_ms))
            return ERR_TIMEOUT;
        else if (errno != EAGAIN && errno != EINTR)
            return ERR_CLOSED;
        if (in->len > HTTP_BODY_MAX)
            return ERR_TOO_LARGE;
    }
}

/* "HTTP/1.1 200 OK", headers, an empty line, the body. */
static enum err take_answer(const struct buf *in, struct buf *out, struct errtext *why)
{
    const char *text = (const char *)in->p;
    const char *body = in->len == 0 ? NULL : memmem(text, in->len, "\r\n\r\n", 4);
    int status = 0;

    if (in->len < 12 || memcmp(text, "HTTP/1.", 7) != 0 || body == NULL) {
        errtext_set(why, "the answer is no HTTP");
        return ERR_PROTOCOL;
    }
    for (int i = 9; i < 12; i++)
        status = status * 10 + (text[i] - '0');
    if (status == STATUS_OK || status == STATUS_NOT_FOUND) {
        body += 4;
        buf_add(out, body, in->len - (size_t)(body - text));
    }
    if (status == STATUS_OK)
        return ERR_OK;
    errtext_set(why, "status %d", status);
    return status == STATUS_NOT_FOUND ? ERR_NOT_FOUND : ERR_PROTOCOL;
}

enum err http_get(const char *host, int32_t port, const char *path, int64_t timeout_ms,
                  struct buf *out, struct errtext *why)
{
    int64_t deadline_ms = clock_mono_ms() + timeout_ms;
    struct buf request = {0}, in = {0};
    int fd;
    enum err rc = connect_host(host, port, deadline_ms, &fd, why);

    if (rc != ERR_OK)
        return rc;
    buf_printf(&request, "GET %s HTTP/1.0\r\nHost: %s:%d\r\nConnection: close\r\n\r\n", path, host,
               port);
    rc = send_all(fd, &request, deadline_ms);
    if (rc == ERR_OK)
        rc = read_all(fd, &in, deadline_ms);
    if (rc != ERR_OK)
        errtext_set(why, "%s", err_text(rc));
    else
        rc = take_answer(&in, out, why);
    if (rc != ERR_OK)
        errtext_wrap(why, "http://%s:%d%s", host, port, path);
    (void)close(fd);
    buf_fini(&request);
    buf_fini(&in);
    return rc;
}
