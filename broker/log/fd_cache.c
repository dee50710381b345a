/* SPDX-License-Identifier: Apache-2.0 */
/* The LRU of open segment files. */
#include "broker/log/fd_cache.h"

#include "common/base/fsx.h"
#include "common/base/lock.h"

#include <fcntl.h>
#include <unistd.h>

TAILQ_HEAD(fd_lru, fd_slot);

static struct lock cache_lock;
static pthread_once_t cache_once = PTHREAD_ONCE_INIT;
static struct fd_lru cache_lru = TAILQ_HEAD_INITIALIZER(cache_lru); /* guarded by cache_lock */
static int64_t cache_open;                                          /* guarded by cache_lock */
static int64_t cache_max = 10000;                                   /* guarded by cache_lock */

static void cache_start(void)
{
    lock_init(&cache_lock, LOCK_FD_CACHE);
}

static void cache_take(void) ACQUIRE(&cache_lock)
{
    MUST(pthread_once(&cache_once, cache_start) == 0);
    lock_take(&cache_lock);
}

void fd_slot_init(struct fd_slot *s)
{
    *s = (struct fd_slot){.fd = -1};
}

/* Takes the least recently used file out; its descriptor is for the caller to close without the
 * lock. -1: all are in use. */
static int take_oldest_locked(void)
{
    struct fd_slot *victim = TAILQ_FIRST(&cache_lru);

    if (victim == NULL)
        return -1;
    int fd = victim->fd;
    TAILQ_REMOVE(&cache_lru, victim, link);
    victim->fd = -1;
    cache_open--;
    return fd;
}

static int evict_locked(void)
{
    return cache_open <= cache_max ? -1 : take_oldest_locked();
}

static void close_fd(int fd)
{
    if (fd >= 0)
        (void)close(fd); /* writes are checked when made and by fdatasync; close has no news */
}

void fd_cache_set_max(int64_t max)
{
    cache_take();
    cache_max = max;
    lock_release(&cache_lock);
}

static int add_user_locked(struct fd_slot *s)
{
    if (s->fd >= 0 && s->users++ == 0)
        TAILQ_REMOVE(&cache_lru, s, link);
    return s->fd;
}

int fd_cache_try(struct fd_slot *s)
{
    cache_take();
    int fd = add_user_locked(s);
    lock_release(&cache_lock);
    return fd;
}

/* Adds a user to the slot of the file that was opened as fd. Returns the descriptor to use. */
static int keep(struct fd_slot *s, int fd)
{
    int spare;

    cache_take();
    if (s->fd >= 0) { /* somebody else was faster */
        spare = fd;
        fd = add_user_locked(s);
    } else {
        s->fd = fd;
        s->users = 1;
        cache_open++;
        spare = evict_locked();
    }
    lock_release(&cache_lock);
    close_fd(spare);
    return fd;
}

enum err fd_cache_open(struct fd_slot *s, const char *path, int flags, int *fd_out)
{
    int fd;

    *fd_out = fd_cache_try(s);
    if (*fd_out >= 0)
        return ERR_OK;
    enum err rc = fsx_open(path, O_RDWR | flags, 0644, &fd);
    if (rc == ERR_OK)
        *fd_out = keep(s, fd);
    return rc;
}

enum err fd_cache_open_optional(struct fd_slot *s, const char *path, int *fd_out)
{
    int fd;

    *fd_out = fd_cache_try(s);
    if (*fd_out >= 0)
        return ERR_OK;
    enum err rc = fsx_open_optional(path, O_RDWR, &fd);
    if (rc == ERR_OK)
        *fd_out = keep(s, fd);
    return rc;
}
void fd_cache_done(struct fd_slot *s)
{
    cache_take();
    ASSERT(s->users > 0 && s->fd >= 0);
    if (--s->users == 0)
        TAILQ_INSERT_TAIL(&cache_lru, s, link);
    int fd = evict_locked();
    lock_release(&cache_lock);
    close_fd(fd);
}

void fd_cache_close(struct fd_slot *s)
{
    cache_take();
    int fd = s->fd;
    ASSERT(s->users == 0);
    if (fd >= 0) {
        TAILQ_REMOVE(&cache_lru, s, link);
        cache_open--;
        s->fd = -1;
    }
    lock_release(&cache_lock);
    close_fd(fd);
}

bool fd_cache_shed(void)
{
    enum { AT_A_TIME = 8 };
    int count = 0;

    for (int fd = 0; count < AT_A_TIME && fd >= 0; count += fd >= 0) {
        cache_take();
        fd = take_oldest_locked();
        lock_release(&cache_lock);
        close_fd(fd);
    }
    return count > 0;
}

int64_t fd_cache_open_count(void)
{
    cache_take();
    int64_t n = cache_open;
    lock_release(&cache_lock);
    return n;
}
