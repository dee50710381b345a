/* SPDX-License-Identifier: Apache-2.0 */
/* The thread pool: order, limit, resubmission, stopping with work queued. */
#include "common/base/pool.h"

#include <check.h>
#include <pthread.h>
#include <stdatomic.h>

struct counted {
    struct pool_job job;
    struct pool *pool;
    int again;
};

static _Atomic int ran;
static pthread_barrier_t gate;

static void count(struct pool_job *j)
{
    struct counted *c = CONTAINER_OF(j, struct counted, job);
    atomic_fetch_add(&ran, 1);
    if (c->again-- > 0)
        pool_submit_always(c->pool, j);
}

static void block(struct pool_job *j UNUSED)
{
    pthread_barrier_wait(&gate); /* running */
    pthread_barrier_wait(&gate); /* let go */
}

START_TEST(every_job_runs_also_those_that_submit_themselves_again)
{
    struct pool *p;
    static struct counted jobs[50];

    atomic_store(&ran, 0);
    ck_assert_int_eq(pool_start("test", 3, 100, &p), ERR_OK);
    for (int i = 0; i < 50; i++) {
        jobs[i] = (struct counted){.job.run = count, .pool = p, .again = 4};
        ck_assert_int_eq(pool_submit(p, &jobs[i].job), ERR_OK);
    }
    pool_stop(&p);
    ck_assert_ptr_null(p);
    ck_assert_int_eq(atomic_load(&ran), 250);
}
END_TEST

START_TEST(a_full_queue_refuses)
{
    struct pool *p;
    struct pool_job blocker = {.run = block};
    struct counted a = {.job.run = count}, b = {.job.run = count}, c = {.job.run = count};

    atomic_store(&ran, 0);
    pthread_barrier_init(&gate, NULL, 2);
    ck_assert_int_eq(pool_start("test", 1, 2, &p), ERR_OK);
    ck_assert_int_eq(pool_submit(p, &blocker), ERR_OK);
    pthread_barrier_wait(&gate);
    ck_assert_int_eq(pool_submit(p, &a.job), ERR_OK);
    ck_assert_int_eq(pool_submit(p, &b.job), ERR_OK);
    ck_assert_int_eq(pool_submit(p, &c.job), ERR_LIMIT);
    pool_submit_always(p, &c.job);
    ck_assert_uint_eq(pool_waiting(p), 3);
    pthread_barrier_wait(&gate);
    pool_stop(&p);
    ck_assert_int_eq(atomic_load(&ran), 3);
    pthread_barrier_destroy(&gate);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("pool");
    TCase *c = tcase_create("pool");

    tcase_add_test(c, every_job_runs_also_those_that_submit_themselves_again);
    tcase_add_test(c, a_full_queue_refuses);
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
