/* SPDX-License-Identifier: Apache-2.0 */
/* Lookups under way, each with its thread and those who wait for it. A name that is being looked up
 * is not looked up a second time: who asks meanwhile gets the same answer. The threads are detached:
 * a process need not wait for a name server when it ends. */
#include "common/net/resolve.h"

#include "common/base/hash.h"
#include "common/base/lock.h"

#include <netdb.h>
#include <pthread.h>

enum { LOOKUPS_MAX = 64, STACK_BYTES = 512 * 1024 };

struct lookup {
    UT_hash_handle hh;
    LIST_HEAD(, resolve) waiting; /* guarded by lookups_lock */
    char host[];
};

struct resolve {
    struct mail mail;
    struct loop *loop;
    resolve_done done; /* NULL: cancelled. Owner: loop */
    void *arg;
    struct lookup *lookup; /* guarded by lookups_lock; NULL: the mail is on its way */
    LIST_ENTRY(resolve) link;
    int gai_error;
    socklen_t len;
    struct sockaddr_storage address;
};

static struct lock lookups_lock;
static pthread_once_t lookups_once = PTHREAD_ONCE_INIT;
static struct lookup *lookups; /* guarded by lookups_lock */

static void start_once(void)
{
    lock_init(&lookups_lock, LOCK_LEAF);
}

static void deliver(struct mail *m)
{
    struct resolve *r = CONTAINER_OF(m, struct resolve, mail);

    if (r->done != NULL)
        r->done(r->arg, r->gai_error, &r->address, r->len);
    mem_free(r);
}

static void answer_locked(struct resolve *r, int gai_error, const struct addrinfo *found)
{
    r->lookup = NULL;
    r->gai_error = gai_error;
    if (gai_error == 0) {
        ASSERT(found->ai_addrlen <= sizeof r->address);
        memcpy(&r->address, found->ai_addr, found->ai_addrlen);
        r->len = found->ai_addrlen;
    }
    loop_post(r->loop, &r->mail); /* under the lock: after a cancellation the loop may be gone */
}

static void *look_up(void *arg)
{
    struct lookup *l = arg;
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM}, *found = NULL;
    struct resolve *r;

    int gai_error = getaddrinfo(l->host, NULL, &hints, &found);
    lock_take(&lookups_lock);
    HASH_DEL(lookups, l);
    while ((r = LIST_FIRST(&l->waiting)) != NULL) {
        LIST_REMOVE(r, link);
        answer_locked(r, gai_error, found);
    }
    lock_release(&lookups_lock);
    if (gai_error == 0)
        freeaddrinfo(found);
    mem_free(l);
    return NULL;
}

static bool start_thread(struct lookup *l)
{
    pthread_attr_t attr;
    pthread_t thread;

    MUST(pthread_attr_init(&attr) == 0);
    MUST(pthread_attr_setstacksize(&attr, STACK_BYTES) == 0);
    MUST(pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED) == 0);
    bool is_started = pthread_create(&thread, &attr, look_up, l) == 0;
    MUST(pthread_attr_destroy(&attr) == 0);
    return is_started;
}

/* NULL: too many are under way, or there is no thread for it. */
static struct lookup *find_or_start_locked(const char *host)
{
    struct lookup *l;
    size_t n = strlen(host);

    HASH_FIND(hh, lookups, host, n, l);
    if (l != NULL || HASH_COUNT(lookups) >= LOOKUPS_MAX)
        return l;
    l = xcalloc(1, sizeof *l + n + 1);
    memcpy(l->host, host, n + 1);
    LIST_INIT(&l->waiting);
    HASH_ADD(hh, lookups, host, n, l);
    if (!start_thread(l)) {
        HASH_DEL(lookups, l);
        FREE_NULL(&l);
    }
    return l;
}

struct resolve *resolve_begin(struct loop *loop, const char *host, resolve_done done, void *arg)
{
    struct resolve *r = xcalloc(1, sizeof *r);

    ASSERT(loop_is_current(loop) && host != NULL && done != NULL);
    MUST(pthread_once(&lookups_once, start_once) == 0);
    *r = (struct resolve){.mail = {.deliver = deliver}, .loop = loop, .done = done, .arg = arg};
    lock_take(&lookups_lock);
    r->lookup = find_or_start_locked(host);
    if (r->lookup != NULL)
        LIST_INSERT_HEAD(&r->lookup->waiting, r, link);
    else
        answer_locked(r, EAI_AGAIN, NULL);
    lock_release(&lookups_lock);
    return r;
}

void resolve_cancel(struct resolve **rp)
{
    struct resolve *r = *rp;

    *rp = NULL;
    if (r == NULL)
        return;
    ASSERT(loop_is_current(r->loop));
    lock_take(&lookups_lock);
    bool is_waiting = r->lookup != NULL;
    if (is_waiting)
        LIST_REMOVE(r, link);
    lock_release(&lookups_lock);
    r->done = NULL; /* the mail that is on its way frees it */
    if (is_waiting)
        mem_free(r);
}
