/* SPDX-License-Identifier: Apache-2.0 */
/* Non-blocking connects that are waited for in poll(). */
#include "common/net/dial.h"

#include "common/base/clock.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

static int remaining_ms(int64_t deadline_ms)
{
    int64_t left = deadline_ms - clock_mono_ms();

    return left <= 0 ? 0 : (int)i64_min(left, 3600 * 1000);
}

enum err dial_wait(int fd, short events, int64_t deadline_ms)
{
    for (;;) {
        struct pollfd p = {.fd = fd, .events = events};
        int n = poll(&p, 1, remaining_ms(deadline_ms));

        if (n > 0)
            return ERR_OK;
        if (n == 0)
            return ERR_TIMEOUT;
        if (errno != EINTR)
            return ERR_IO;
    }
}

/* Connects to one address; *fd_out -1 and errno's value in *errnum_out on failure. */
static enum err connect_one(const struct addrinfo *ai, int64_t deadline_ms, int *fd_out,
                            int *errnum_out)
{
    int one = 1, so_error = 0;
    socklen_t len = sizeof so_error;
    enum err rc;
    int fd = socket(ai->ai_family, ai->ai_socktype | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    *fd_out = -1;
    *errnum_out = errno;
    if (fd < 0)
        return ERR_UNREACHABLE;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (connect(fd, ai->ai_addr, ai->ai_addrlen) != 0) {
        if (errno != EINPROGRESS) {
            *errnum_out = errno;
            (void)close(fd);
            return ERR_UNREACHABLE;
        }
        rc = dial_wait(fd, POLLOUT, deadline_ms);
        if (rc != ERR_OK) {
            *errnum_out = rc == ERR_TIMEOUT ? ETIMEDOUT : errno;
            (void)close(fd);
            return rc == ERR_TIMEOUT ? ERR_TIMEOUT : ERR_UNREACHABLE;
        }
        if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &so_error, &len) != 0)
            so_error = errno;
        if (so_error != 0) {
            *errnum_out = so_error;
            (void)close(fd);
            return ERR_UNREACHABLE;
        }
    }
    *fd_out = fd;
    return ERR_OK;
}

enum err dial(const char *host, int32_t port, int64_t timeout_ms, int *fd_out,
              struct dial_progress *progress, struct errtext *why)
{
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    struct addrinfo *list = NULL;
    struct dial_progress unused;
    int64_t deadline_ms = clock_mono_ms() + timeout_ms;
    enum err rc = ERR_UNREACHABLE;
    int errnum = 0;
    char service[16];
    int e;

    ASSERT(host != NULL && port >= 1 && port <= UINT16_MAX && timeout_ms >= 0);
    if (progress == NULL)
        progress = &unused;
    *progress = (struct dial_progress){0};
    *fd_out = -1;
    (void)snprintf(service, sizeof service, "%d", port);
    hints.ai_flags = AI_NUMERICSERV;
    e = getaddrinfo(host, service, &hints, &list);
    if (e != 0) {
        errtext_set(why, "%s:%d: the host name cannot be resolved: %s", host, port,
                    e == EAI_SYSTEM ? strerror(errno) : gai_strerror(e));
        return ERR_UNREACHABLE;
    }
    progress->is_resolved = true;
    for (const struct addrinfo *ai = list; ai != NULL; ai = ai->ai_next) {
        rc = connect_one(ai, deadline_ms, fd_out, &errnum);
        if (rc == ERR_OK || remaining_ms(deadline_ms) == 0)
            break;
    }
    freeaddrinfo(list);
    progress->errnum = rc == ERR_OK ? 0 : errnum;
    if (rc == ERR_TIMEOUT)
        errtext_set(why, "%s:%d: no answer to the connect within %" PRId64 " ms", host, port,
                    timeout_ms);
    else if (rc != ERR_OK)
        errtext_set(why, "%s:%d: %s", host, port,
                    errnum == ECONNREFUSED ? "connection refused, nothing listens there"
                                           : strerror(errnum));
    return rc;
}
