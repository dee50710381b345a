/* SPDX-License-Identifier: Apache-2.0 */
/* Ranked mutexes. Each thread keeps the ranks that it holds in a small stack. */
#include "common/base/lock.h"

#include <errno.h>
#include <time.h>

enum { HELD_MAX = 16 };
static _Thread_local enum lock_rank held[HELD_MAX];
static _Thread_local struct lock *held_locks[HELD_MAX]; /* likewise */
static _Thread_local int held_count;

static void note_taken(struct lock *l)
{
    ASSERT(held_count >= 0 && held_count < HELD_MAX && !l->is_held);
    held_locks[held_count] = l;
    held[held_count++] = l->rank;
    l->owner = pthread_self();
    l->is_held = true;
}

static void note_released(struct lock *l)
{
    int i = held_count - 1;

    lock_assert_held(l);
    l->is_held = false;
    while (i >= 0 && (held[i] != l->rank || held_locks[i] != l))
        i--;
    ASSERT(i >= 0);
    for (held_count--; i < held_count; i++) {
        held[i] = held[i + 1];
        held_locks[i] = held_locks[i + 1];
    }
}

struct lock *lock_held(enum lock_rank rank)
{
    for (int i = held_count - 1; i >= 0; i--)
        if (held[i] == rank)
            return held_locks[i];
    return NULL;
}

void lock_init(struct lock *l, enum lock_rank rank)
{
    l->rank = rank;
    l->is_held = false;
    MUST(pthread_mutex_init(&l->mutex, NULL) == 0);
}

void lock_fini(struct lock *l)
{
    ASSERT(!l->is_held);
    MUST(pthread_mutex_destroy(&l->mutex) == 0);
}

void lock_take(struct lock *l) NO_THREAD_SAFETY
{
    for (int i = 0; i < held_count; i++)
        ASSERT(held[i] < l->rank); /* lock order, see locks.def */
    MUST(pthread_mutex_lock(&l->mutex) == 0);
    note_taken(l);
}

bool lock_try(struct lock *l) NO_THREAD_SAFETY
{
    if (pthread_mutex_trylock(&l->mutex) != 0)
        return false;
    note_taken(l);
    return true;
}

void lock_release(struct lock *l) NO_THREAD_SAFETY
{
    note_released(l);
    MUST(pthread_mutex_unlock(&l->mutex) == 0);
}

void lock_assert_held(const struct lock *l) NO_THREAD_SAFETY
{
    ASSERT(l->is_held && pthread_equal(l->owner, pthread_self()));
}

void lock_cond_init(pthread_cond_t *c)
{
    pthread_condattr_t a;

    MUST(pthread_condattr_init(&a) == 0);
    MUST(pthread_condattr_setclock(&a, CLOCK_MONOTONIC) == 0);
    MUST(pthread_cond_init(c, &a) == 0);
    MUST(pthread_condattr_destroy(&a) == 0);
}

bool lock_wait(struct lock *l, pthread_cond_t *c, int64_t deadline_mono_us) NO_THREAD_SAFETY
{
    int rc;

    note_released(l);
    if (deadline_mono_us < 0) {
        rc = pthread_cond_wait(c, &l->mutex);
    } else {
        struct timespec t = {.tv_sec = deadline_mono_us / 1000000,
                             .tv_nsec = deadline_mono_us % 1000000 * 1000};
        rc = pthread_cond_timedwait(c, &l->mutex, &t);
    }
    ASSERT(rc == 0 || rc == ETIMEDOUT);
    note_taken(l);
    return rc == 0;
}
