/* SPDX-License-Identifier: Apache-2.0 */
/* Each advertised endpoint: getaddrinfo, then a connect that is closed again. */
#include "broker/cluster/reach.h"

#include "common/base/clock.h"
#include "common/base/pool.h"
#include "common/base/slog.h"

#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

enum { CONNECT_MAX_MS = 3000, LOOK_MS = 100 };

struct reach_job {
    struct pool_job job;
    struct broker *broker;
};

/* 0: somebody answers; else an errno, ETIMEDOUT after CONNECT_MAX_MS or when the broker stops. */
static int try_connect(const struct broker *b, const struct addrinfo *a)
{
    int fd = socket(a->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int errnum = ETIMEDOUT;
    socklen_t len = sizeof errnum;

    if (fd < 0)
        return errno;
    if (connect(fd, a->ai_addr, a->ai_addrlen) == 0) {
        errnum = 0;
    } else if (errno != EINPROGRESS) {
        errnum = errno;
    } else {
        struct pollfd p = {.fd = fd, .events = POLLOUT};
        int64_t end_ms = clock_mono_ms() + CONNECT_MAX_MS;
        while (!atomic_load(&b->is_stopping) && clock_mono_ms() < end_ms) {
            if (poll(&p, 1, LOOK_MS) <= 0)
                continue;
            if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &errnum, &len) != 0)
                errnum = errno;
            break;
        }
    }
    (void)close(fd);
    return errnum;
}

static void check_endpoint(const struct broker *b, const struct listener *l)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *list = NULL;
    char port[12];
    int errnum = 0;

    (void)snprintf(port, sizeof port, "%d", l->advertised_port);
    int gai = getaddrinfo(l->advertised_host, port, &hints, &list);
    if (gai != 0) {
        SLOG(WARN, "broker",
             "the advertised name cannot be resolved here: clients that cannot either will not "
             "connect",
             KV_S("listener", l->name), KV_S("advertised_host", l->advertised_host),
             KV_S("error", gai_strerror(gai)));
        return;
    }
    for (const struct addrinfo *a = list; a != NULL; a = a->ai_next) {
        errnum = try_connect(b, a);
        if (errnum == 0)
            break;
    }
    freeaddrinfo(list);
    if (errnum != 0 && !atomic_load(&b->is_stopping))
        SLOG(WARN, "broker", "the advertised endpoint does not answer from here",
             KV_S("listener", l->name), KV_S("advertised_host", l->advertised_host),
             KV_I("advertised_port", l->advertised_port), KV_S("error", strerror(errnum)));
}

static void run(struct pool_job *job)
{
    struct reach_job *j = CONTAINER_OF(job, struct reach_job, job);

    for (int i = 0; i < j->broker->listener_count; i++)
        if (!atomic_load(&j->broker->is_stopping))
            check_endpoint(j->broker, &j->broker->listeners[i]);
    mem_free(j);
}

void reach_check(struct broker *b)
{
    struct reach_job *j = xcalloc(1, sizeof *j);

    j->job.run = run;
    j->broker = b;
    if (pool_submit(b->io_pool, &j->job) != ERR_OK)
        mem_free(j); /* the queue is full right after the start: there is more urgent work */
}
