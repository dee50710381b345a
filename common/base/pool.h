/* SPDX-License-Identifier: Apache-2.0 */
/* pool - threads for what may block: a bounded queue of jobs, done in the order they came. Any
 * thread submits. */
#ifndef COMMON_BASE_POOL_H
#define COMMON_BASE_POOL_H

#include "common/base/base.h"

struct pool;

/* Embedded in what the job works on. The pool does not touch it once run is called: run may free or
 * submit it again. */
struct pool_job {
    STAILQ_ENTRY(pool_job) link;
    void (*run)(struct pool_job *j); /* on one of the pool's threads */
};

/* name: at most 12 characters, copied; the threads are name-0, name-1, ... queue_max: jobs that
 * wait at most. */
NODISCARD enum err pool_start(const char *name, int thread_count, size_t queue_max,
                              struct pool **out);
/* Runs the jobs that are queued, ends the threads, frees the pool. NULL is fine; nulls the pointer.
 * Nothing may be submitted from other threads any more; jobs may still submit. */
void pool_stop(struct pool **p);
/* LIMIT: the queue is full, or the pool is stopping and the caller is none of its threads; the job
 * was not taken. */
NODISCARD enum err pool_submit(struct pool *p, struct pool_job *j);
/* Like pool_submit, but not refused when the queue is full: for work that is bounded elsewhere (one
 * job a connection, one a partition) and that must not be lost. */
void pool_submit_always(struct pool *p, struct pool_job *j);
size_t pool_waiting(struct pool *p); /* for metrics */

#endif
