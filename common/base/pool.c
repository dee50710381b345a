/* SPDX-License-Identifier: Apache-2.0 */
/* A queue under one lock and a condition that idle threads wait on. */
#include "common/base/pool.h"

#include "common/base/lock.h"

#include <stdio.h>

enum { STACK_BYTES = 512 * 1024 };

struct pool {
    struct lock mtx;
    pthread_cond_t has_work;
    STAILQ_HEAD(, pool_job) jobs; /* guarded by mtx, as all below */
    size_t waiting;
    size_t queue_max;
    int idle;
    bool is_stopping;
    int thread_count;
    char name[13];
    pthread_t threads[];
};

static _Thread_local const struct pool *own_pool; /* of a pool's thread */

/* With the lock held. */
static void pool_check(const struct pool *p)
{
    lock_assert_held(&p->mtx);
    ASSERT((p->waiting == 0) == STAILQ_EMPTY(&p->jobs));
    ASSERT(p->idle >= 0 && p->idle <= p->thread_count && p->queue_max > 0);
}

/* The next job, or NULL when the pool is to end and none is left. */
static struct pool_job *next_job(struct pool *p)
{
    struct pool_job *j;

    lock_take(&p->mtx);
    while ((j = STAILQ_FIRST(&p->jobs)) == NULL && !p->is_stopping) {
        p->idle++;
        (void)lock_wait(&p->mtx, &p->has_work, -1);
        p->idle--;
    }
    pool_check(p);
    if (j != NULL) {
        STAILQ_REMOVE_HEAD(&p->jobs, link);
        p->waiting--;
    }
    lock_release(&p->mtx);
    return j;
}

static void *thread_main(void *arg)
{
    struct pool *p = arg;
    struct pool_job *j;

    own_pool = p;
    while ((j = next_job(p)) != NULL) {
        ASSERT(j->run != NULL);
        j->run(j);
    }
    return NULL;
}

static void end_threads(struct pool *p)
{
    lock_take(&p->mtx);
    p->is_stopping = true;
    MUST(pthread_cond_broadcast(&p->has_work) == 0);
    lock_release(&p->mtx);
    for (int i = 0; i < p->thread_count; i++)
        MUST(pthread_join(p->threads[i], NULL) == 0);
    ASSERT(STAILQ_EMPTY(&p->jobs) && p->waiting == 0 && p->idle == 0);
    MUST(pthread_cond_destroy(&p->has_work) == 0);
    lock_fini(&p->mtx);
    mem_free(p);
}

enum err pool_start(const char *name, int thread_count, size_t queue_max, struct pool **out)
{
    pthread_attr_t attr;
    struct pool *p;
    int rc = 0;

    ASSERT(thread_count > 0 && queue_max > 0);
    *out = NULL;
    p = xcalloc(1, sizeof *p + (size_t)thread_count * sizeof p->threads[0]);
    lock_init(&p->mtx, LOCK_POOL);
    lock_cond_init(&p->has_work);
    STAILQ_INIT(&p->jobs);
    p->queue_max = queue_max;
    (void)snprintf(p->name, sizeof p->name, "%s", name);
    MUST(pthread_attr_init(&attr) == 0);
    MUST(pthread_attr_setstacksize(&attr, STACK_BYTES) == 0);
    while (p->thread_count < thread_count && rc == 0) {
        rc = pthread_create(&p->threads[p->thread_count], &attr, thread_main, p);
        if (rc == 0) {
            char title[16];
            (void)snprintf(title, sizeof title, "%.11s-%hhu", p->name,
                           (unsigned char)p->thread_count);
            (void)pthread_setname_np(p->threads[p->thread_count], title);
            p->thread_count++;
        }
    }
    MUST(pthread_attr_destroy(&attr) == 0);
    if (rc != 0) {
        end_threads(p);
        return err_from_errno(rc);
    }
    *out = p;
    return ERR_OK;
}

void pool_stop(struct pool **p)
{
    if (*p == NULL)
        return;
    ASSERT(own_pool != *p);
    end_threads(*p);
    *p = NULL;
}

static enum err submit(struct pool *p, struct pool_job *j, bool is_bounded)
{
    ASSERT(p != NULL && j != NULL && j->run != NULL);
    lock_take(&p->mtx);
    pool_check(p);
    if (is_bounded && (p->waiting >= p->queue_max || (p->is_stopping && own_pool != p))) {
        lock_release(&p->mtx);
        return ERR_LIMIT;
    }
    STAILQ_INSERT_TAIL(&p->jobs, j, link);
    p->waiting++;
    if (p->idle > 0) /* with the lock: once the job has run, the pool may be stopped and freed */
        MUST(pthread_cond_signal(&p->has_work) == 0);
    lock_release(&p->mtx);
    return ERR_OK;
}

enum err pool_submit(struct pool *p, struct pool_job *j)
{
    return submit(p, j, true);
}

void pool_submit_always(struct pool *p, struct pool_job *j)
{
    MUST(submit(p, j, false) == ERR_OK);
}

size_t pool_waiting(struct pool *p)
{
    lock_take(&p->mtx);
    size_t n = p->waiting;
    lock_release(&p->mtx);
    return n;
}
