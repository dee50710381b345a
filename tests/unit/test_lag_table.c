/* SPDX-License-Identifier: Apache-2.0 */
/* What the history of a partition's end says of a committed offset. */
#include "broker/group/lag_table.h"

#include <check.h>
#include <stdlib.h>

static struct lag lag_at(const struct lag_history *h, int64_t offset, int64_t now_ms)
{
    struct lag lag = lag_of(h, offset, now_ms);

    if (lag.records <= 0)
        ck_assert_int_eq(lag.ms, 0);
    return lag;
}

START_TEST(nothing_known_is_told_as_such)
{
    struct lag_history h = {0};

    ck_assert_int_eq(lag_at(NULL, 5, 100).records, -1);
    ck_assert_int_eq(lag_at(&h, 5, 100).records, -1);
}
END_TEST

START_TEST(a_group_at_the_end_or_beyond_has_no_lag)
{
    struct lag_history h = {0};

    lag_history_add(&h, 1000, 50);
    ck_assert_int_eq(lag_at(&h, 50, 9000).records, 0);
    ck_assert_int_eq(lag_at(&h, 60, 9000).records, 0);
}
END_TEST

START_TEST(seconds_count_from_when_the_end_passed_the_offset)
{
    struct lag_history h = {0};

    lag_history_add(&h, 1000, 100);
    lag_history_add(&h, 2000, 200);
    lag_history_add(&h, 3000, 200);
    ck_assert_int_eq(lag_at(&h, 150, 3000).records, 50);
    ck_assert_int_eq(lag_at(&h, 150, 3000).ms, 1500);
    ck_assert_int_eq(lag_at(&h, 100, 3000).ms, 2000);
    ck_assert_int_eq(lag_at(&h, 199, 3000).ms, 1010);
    ck_assert(!lag_at(&h, 100, 3000).is_at_least);
}
END_TEST

START_TEST(an_offset_from_before_the_history_gives_a_lower_bound)
{
    struct lag_history h = {0};

    lag_history_add(&h, 1000, 100);
    ck_assert_int_eq(lag_at(&h, 40, 6000).ms, 5000);
    ck_assert(lag_at(&h, 40, 6000).is_at_least);
}
END_TEST

START_TEST(a_long_rest_keeps_the_time_of_the_next_record_exact)
{
    struct lag_history h = {0};

    lag_history_add(&h, 1000, 100);
    for (int64_t t = 2000; t <= 1000000; t += 1000)
        lag_history_add(&h, t, 100);
    ck_assert_int_le(h.count, 2);
    lag_history_add(&h, 1001000, 101);
    ck_assert_int_eq(lag_at(&h, 100, 1003000).ms, 3000);
}
END_TEST

START_TEST(an_end_that_falls_begins_anew)
{
    struct lag_history h = {0};

    lag_history_add(&h, 1000, 100);
    lag_history_add(&h, 2000, 10);
    ck_assert_int_eq(h.count, 1);
    ck_assert_int_eq(lag_at(&h, 5, 2500).records, 5);
    ck_assert_int_eq(lag_at(&h, 5, 2500).ms, 500);
}
END_TEST

START_TEST(a_clock_that_goes_back_changes_nothing)
{
    struct lag_history h = {0};

    lag_history_add(&h, 1000, 100);
    lag_history_add(&h, 900, 120);
    ck_assert_int_eq(h.count, 1);
    ck_assert_int_eq(lag_at(&h, 50, 500).ms, 0);
}
END_TEST

/* Whatever comes: samples rise in both, the newest is kept, and a lag is between what the samples
 * around the offset allow. */
START_TEST(random_histories_stay_ordered_and_bounded)
{
    struct lag_history h = {0};
    int64_t now = 0, end = 0, passed_100 = -1;
    bool is_ordered = true;

    srand((unsigned)_i);
    for (int step = 0; step < 1200; step++) {
        int64_t before = now;

        now += 1 + rand() % 20;
        end += rand() % 3 == 0 ? rand() % 4 : 0;
        lag_history_add(&h, now, end);
        ck_assert_int_le(h.count, LAG_SAMPLES);
        ck_assert_int_eq(h.v[h.count - 1].end_offset, end);
        ck_assert_int_eq(h.v[h.count - 1].wall_ms, now);
        for (int32_t i = 1; i < h.count; i++)
            is_ordered = is_ordered && h.v[i - 1].wall_ms < h.v[i].wall_ms &&
                         h.v[i - 1].end_offset <= h.v[i].end_offset;
        ck_assert(is_ordered);
        if (passed_100 < 0 && end > 100)
            passed_100 = before;
    }
    ck_assert_int_gt(passed_100, 0);
    struct lag lag = lag_at(&h, 100, now);
    ck_assert_int_eq(lag.records, end - 100);
    /* the far past is coarse, but never off by more than an eighth of the whole */
    ck_assert_int_le(llabs(now - lag.ms - passed_100), now / 8);
}
END_TEST

START_TEST(the_table_forgets_what_is_not_wanted_any_more)
{
    struct lag_table *t = lag_table_new();
    struct str a = STR_LIT("a"), b = STR_LIT("b");

    lag_history_add(lag_table_want(t, a, 0), 1000, 7);
    lag_history_add(lag_table_want(t, b, 0), 1000, 8);
    lag_table_sweep(t);
    ck_assert_int_eq(lag_table_count(t), 2);
    ck_assert_int_eq(lag_table_want(t, a, 0)->v[0].end_offset, 7);
    lag_table_sweep(t);
    ck_assert_int_eq(lag_table_count(t), 1);
    ck_assert_ptr_null(lag_table_find(t, b, 0));
    ck_assert_ptr_nonnull(lag_table_find(t, a, 0));
    ck_assert_ptr_null(lag_table_find(t, a, 1));
    ck_assert_ptr_null(lag_table_want(t, STR_LIT(""), 0));
    lag_table_free(&t);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("lag_table");
    TCase *c = tcase_create("lag_table");

    tcase_add_test(c, nothing_known_is_told_as_such);
    tcase_add_test(c, a_group_at_the_end_or_beyond_has_no_lag);
    tcase_add_test(c, seconds_count_from_when_the_end_passed_the_offset);
    tcase_add_test(c, an_offset_from_before_the_history_gives_a_lower_bound);
    tcase_add_test(c, a_long_rest_keeps_the_time_of_the_next_record_exact);
    tcase_add_test(c, an_end_that_falls_begins_anew);
    tcase_add_test(c, a_clock_that_goes_back_changes_nothing);
    tcase_add_loop_test(c, random_histories_stay_ordered_and_bounded, 0, 20);
    tcase_add_test(c, the_table_forgets_what_is_not_wanted_any_more);
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
