/* SPDX-License-Identifier: Apache-2.0 */
/* HTTP/1.0: the answer ends with the connection, so there is no length and no chunk to believe. */
#include "tools/lib/http_get.h"

#include "common/base/clock.h"
#include "common/net/dial.h"

#include <errno.h>
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

static enum err send_all(int fd, const struct buf *request, int64_t deadline_ms)
{
    size_t done = 0;

    while (done < request->len) {
        ssize_t n = send(fd, request->p + done, request->len - done, MSG_NOSIGNAL);

        if (n >= 0)
            done += (size_t)n;
        else if (errno == EAGAIN && dial_wait(fd, POLLOUT, deadline_ms) != ERR_OK)
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
        else if (errno == EAGAIN && dial_wait(fd, POLLIN, deadline_ms) != ERR_OK)
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
    int fd = -1;
    enum err rc;

    ASSERT(path[0] == '/' && timeout_ms > 0);
    rc = dial(host, port, timeout_ms, &fd, NULL, why);

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
