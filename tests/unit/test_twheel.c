/* SPDX-License-Identifier: Apache-2.0 */
/* The timer wheel against a plain list of deadlines. */
#include "common/base/twheel.h"

#include <check.h>
#include <stdlib.h>

START_TEST(a_timer_expires_at_its_deadline_and_not_before)
{
    static const int64_t delays[] = {1,    2,    63,     64,     65,       4095,
                                     4096, 4097, 262143, 262144, 16777216, 999999999};
    struct twheel w;
    struct twheel_timer t = {0};
    int64_t start = 1234567, delay = delays[_i];

    twheel_init(&w, start);
    twheel_arm(&w, &t, start + delay);
    twheel_advance(&w, start + delay - 1);
    ck_assert_ptr_null(twheel_pop(&w));
    ck_assert_int_le(twheel_next_ms(&w), start + delay);
    ck_assert_int_gt(twheel_next_ms(&w), start + delay - 1);
    twheel_advance(&w, start + delay);
    ck_assert_ptr_eq(twheel_pop(&w), &t);
    ck_assert(!t.is_armed);
    ck_assert_int_eq(twheel_next_ms(&w), -1);
}
END_TEST

START_TEST(a_passed_deadline_expires_at_once)
{
    struct twheel w;
    struct twheel_timer t = {0};

    twheel_init(&w, 1000);
    twheel_arm(&w, &t, 10);
    ck_assert_int_eq(twheel_next_ms(&w), 1000);
    twheel_advance(&w, 1000);
    ck_assert_ptr_eq(twheel_pop(&w), &t);
}
END_TEST

START_TEST(a_cancelled_timer_does_not_expire)
{
    struct twheel w;
    struct twheel_timer a = {0}, b = {0};

    twheel_init(&w, 0);
    twheel_arm(&w, &a, 100);
    twheel_arm(&w, &b, 100);
    twheel_cancel(&w, &a);
    twheel_cancel(&w, &a);
    twheel_advance(&w, 500);
    ck_assert_ptr_eq(twheel_pop(&w), &b);
    ck_assert_ptr_null(twheel_pop(&w));
}
END_TEST

START_TEST(following_next_ms_meets_every_deadline_exactly)
{
    enum { N = 300 };
    static struct twheel_timer timers[N];
    struct twheel w;
    int64_t now = 77;
    int left = N;

    srand(5);
    memset(timers, 0, sizeof timers);
    twheel_init(&w, now);
    for (int i = 0; i < N; i++)
        twheel_arm(&w, &timers[i], now + rand() % (i % 3 == 0 ? 50 : i % 3 == 1 ? 5000 : 5000000));
    for (int wakes = 0; left > 0; wakes++) {
        struct twheel_timer *t;
        int64_t next = twheel_next_ms(&w);
        ck_assert_int_ge(next, now);
        ck_assert_int_lt(wakes, N); /* every one has something to do */
        now = next;
        twheel_advance(&w, now);
        while ((t = twheel_pop(&w)) != NULL) {
            ck_assert_int_le(t->deadline_ms, now);
            ck_assert_int_eq(t->deadline_ms < 77 ? 77 : t->deadline_ms, now);
            left--;
        }
    }
}
END_TEST

START_TEST(random_work_agrees_with_a_list)
{
    enum { N = 64 };
    static struct twheel_timer timers[N];
    struct twheel w;
    int64_t now = 1000000;

    srand(7);
    memset(timers, 0, sizeof timers);
    twheel_init(&w, now);
    for (int step = 0; step < 20000; step++) {
        struct twheel_timer *t = &timers[rand() % N];
        if (t->is_armed)
            twheel_cancel(&w, t);
        else
            twheel_arm(&w, t, now + rand() % 9000);
        if (step % 3 != 0)
            continue;
        now += rand() % 100;
        twheel_advance(&w, now);
        while ((t = twheel_pop(&w)) != NULL)
            ck_assert_int_le(t->deadline_ms, now);
        for (int i = 0; i < N; i++)
            ck_assert(!timers[i].is_armed || timers[i].deadline_ms > now);
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("twheel");
    TCase *c = tcase_create("twheel");

    tcase_add_loop_test(c, a_timer_expires_at_its_deadline_and_not_before, 0, 12);
    tcase_add_test(c, a_passed_deadline_expires_at_once);
    tcase_add_test(c, a_cancelled_timer_does_not_expire);
    tcase_add_test(c, following_next_ms_meets_every_deadline_exactly);
    tcase_add_test(c, random_work_agrees_with_a_list);
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
