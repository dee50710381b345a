/* SPDX-License-Identifier: Apache-2.0 */
/* Each advertised endpoint: getaddrinfo, then a connect that is closed again. On a detached thread of
 * its own, with copies of what it looks at: both may take long, and nothing waits for it. */
#include "broker/cluster/reach.h"

#include "common/base/slog.h"

#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

enum { CONNECT_MAX_MS = 3000, STACK_BYTES = 512 * 1024 };

struct reach_place {
    char *listener, *host;
    int32_t port;
};

struct reach_job {
    int count;
    struct reach_place places[];
};

/* 0: somebody answers; else an errno, ETIMEDOUT after CONNECT_MAX_MS. */
static int try_connect(const struct addrinfo *a)
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
        if (poll(&p, 1, CONNECT_MAX_MS) > 0 &&
            getsockopt(fd, SOL_SOCKET, SO_ERROR, &errnum, &len) != 0)
            errnum = errno;
    }
    (void)close(fd);
    return errnum;
}

static void check_endpoint(const struct reach_place *l)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *list = NULL;
    char port[12];
    int errnum = 0;

    (void)snprintf(port, sizeof port, "%d", l->port);
    int gai = getaddrinfo(l->host, port, &hints, &list);
    if (gai != 0) {
        SLOG(WARN, "broker",
             "the advertised name cannot be resolved here: clients that cannot either will not "
             "connect",
             KV_S("listener", l->listener), KV_S("advertised_host", l->host),
             KV_S("error", gai_strerror(gai)));
        return;
    }
    for (const struct addrinfo *a = list; a != NULL; a = a->ai_next) {
        errnum = try_connect(a);
        if (errnum == 0)
            break;
    }
    freeaddrinfo(list);
    if (errnum != 0)
        SLOG(WARN, "broker", "the advertised endpoint does not answer from here",
             KV_S("listener", l->listener), KV_S("advertised_host", l->host),
             KV_I("advertised_port", l->port), KV_S("error", strerror(errnum)));
}

static void job_free(struct reach_job *j)
{
    for (int i = 0; i < j->count; i++) {
        mem_free(j->places[i].listener);
        mem_free(j->places[i].host);
    }
    mem_free(j);
}

static void *run(void *arg)
{
    struct reach_job *j = arg;

    for (int i = 0; i < j->count; i++)
        check_endpoint(&j->places[i]);
    job_free(j);
    return NULL;
}

void reach_check(const struct broker *b)
{
    size_t count = (size_t)b->listener_count;
    struct reach_job *j = xcalloc(1, sizeof *j + count * sizeof j->places[0]);
    pthread_attr_t attr;
    pthread_t thread;

    for (int i = 0; i < b->listener_count; i++)
        j->places[j->count++] =
            (struct reach_place){.listener = xstrdup(b->listeners[i].name),
                                 .host = xstrdup(b->listeners[i].advertised_host),
                                 .port = b->listeners[i].advertised_port};
    MUST(pthread_attr_init(&attr) == 0);
    MUST(pthread_attr_setstacksize(&attr, STACK_BYTES) == 0);
    MUST(pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED) == 0);
    if (pthread_create(&thread, &attr, run, j) != 0)
        job_free(j); /* only the warnings are lost */
    MUST(pthread_attr_destroy(&attr) == 0);
}
