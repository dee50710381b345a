/* SPDX-License-Identifier: Apache-2.0 */
/* lock - a mutex with a rank from locks.def; taking one out of order panics in every build. No lock
 * is held across I/O, except a partition's across its one pwritev. */
#ifndef COMMON_BASE_LOCK_H
#define COMMON_BASE_LOCK_H

#include "common/base/base.h"

#include <pthread.h>

enum lock_rank {
#define X(name, rank) LOCK_##name = (rank),
#include "common/base/locks.def"
#undef X
};

struct CAPABILITY("mutex") lock {
    pthread_mutex_t mutex;
    enum lock_rank rank;
    pthread_t owner; /* valid while is_held */
    bool is_held;    /* written by the owner only; read by lock_assert_held on the same thread */
};

void lock_init(struct lock *l, enum lock_rank rank);
void lock_fini(struct lock *l);
void lock_take(struct lock *l) ACQUIRE(l);
bool lock_try(struct lock *l) TS_ATTR(try_acquire_capability(true, l));
void lock_release(struct lock *l) RELEASE(l);
/* The lock of that rank which this thread holds; NULL: none. For the panic report. */
struct lock *lock_held(enum lock_rank rank);
void lock_assert_held(const struct lock *l) TS_ATTR(assert_capability(l));
/* Releases the lock, waits, and takes it again. deadline_mono_us -1: without end. False: the
 * deadline passed. The condition must have been made by lock_cond_init (monotonic clock). */
void lock_cond_init(pthread_cond_t *c);
bool lock_wait(struct lock *l, pthread_cond_t *c, int64_t deadline_mono_us) REQUIRES(l);

#endif
