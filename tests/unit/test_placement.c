/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of controller/placement: the plain rule, racks, growth, and what is refused. */
#include "controller/placement.h"

#include <check.h>
#include <stdlib.h>

static void fill(struct placement_broker *b, const int *ids, const char *const *racks, int n)
{
    for (int i = 0; i < n; i++) {
        b[i].id = ids[i];
        b[i].rack = racks == NULL ? STR_NULL : str_of(racks[i]);
    }
}

START_TEST(replica_j_of_partition_i_is_on_broker_i_plus_j)
{
    struct placement_broker b[3];
    const int ids[] = {2, 0, 1}; /* any order */
    const int32_t expect[] = {0, 1, 1, 2, 2, 0, 0, 1, 1, 2, 2, 0, 0, 1};
    int32_t out[14];

    fill(b, ids, NULL, 3);
    ck_assert_int_eq(placement_assign(b, 3, 0, 7, 2, 0, out, NULL), ERR_OK);
    ck_assert_mem_eq(out, expect, sizeof expect);
}
END_TEST

START_TEST(ids_need_not_be_consecutive)
{
    struct placement_broker b[3];
    const int ids[] = {1001, 7, 30};
    const int32_t expect[] = {7, 30, 1001, 30, 1001, 7};
    int32_t out[6];

    fill(b, ids, NULL, 3);
    ck_assert_int_eq(placement_assign(b, 3, 0, 2, 3, 0, out, NULL), ERR_OK);
    ck_assert_mem_eq(out, expect, sizeof expect);
}
END_TEST

START_TEST(growth_continues_with_the_partition_number)
{
    struct placement_broker b[4];
    const int ids[] = {0, 1, 2, 3};
    int32_t whole[16], part[8];

    fill(b, ids, NULL, 4);
    ck_assert_int_eq(placement_assign(b, 4, 0, 8, 2, 0, whole, NULL), ERR_OK);
    ck_assert_int_eq(placement_assign(b, 4, 4, 4, 2, placement_start(b, 4, whole[0]), part, NULL),
                     ERR_OK);
    ck_assert_mem_eq(part, whole + 8, sizeof part);
}
END_TEST

START_TEST(start_is_the_first_broker_not_below_the_replica)
{
    struct placement_broker b[3];
    const int ids[] = {10, 20, 30};

    fill(b, ids, NULL, 3);
    ck_assert_int_eq(placement_start(b, 3, 10), 0);
    ck_assert_int_eq(placement_start(b, 3, 11), 1);
    ck_assert_int_eq(placement_start(b, 3, 30), 2);
    ck_assert_int_eq(placement_start(b, 3, 31), 0);
}
END_TEST

START_TEST(racks_are_interleaved)
{
    struct placement_broker b[6];
    const int ids[] = {0, 1, 2, 3, 4, 5};
    const char *const racks[] = {"r1", "r3", "r3", "r2", "r2", "r1"};
    const int32_t order[] = {0, 3, 1, 5, 4, 2};
    int32_t out[6];

    fill(b, ids, racks, 6);
    ck_assert_int_eq(placement_assign(b, 6, 0, 6, 1, 0, out, NULL), ERR_OK);
    ck_assert_mem_eq(out, order, sizeof order);
}
END_TEST

START_TEST(no_rack_gets_a_second_replica_before_each_has_one)
{
    struct placement_broker b[5];
    const int ids[] = {1, 2, 3, 4, 5};
    const char *const racks[] = {"a", "a", "a", "a", "b"};
    int32_t out[20 * 3];

    fill(b, ids, racks, 5);
    ck_assert_int_eq(placement_assign(b, 5, 0, 20, 3, 0, out, NULL), ERR_OK);
    for (int p = 0; p < 20; p++) {
        const int32_t *r = out + p * 3;
        ck_assert_int_ne(r[0], r[1]);
        ck_assert_int_ne(r[1], r[2]);
        ck_assert_int_ne(r[0], r[2]);
        ck_assert(r[0] == 5 || r[1] == 5); /* the lonely rack has one of the first two */
    }
}
END_TEST

static const struct {
    int brokers, partitions, factor;
    const char *rack_of_first;
    const char *text;
} refused[] = {
    {3, 1, 4, NULL, "replication factor 4 is larger than the number of available brokers, 3"},
    {3, 1, 0, NULL, "the replication factor must be larger than 0"},
    {3, 0, 1, NULL, "the number of partitions must be larger than 0"},
    {3, 1, 1, "r", "not all brokers have a rack: 1 of 3 do"},
    {0, 1, 1, NULL, "replication factor 1 is larger than the number of available brokers, 0"},
};

START_TEST(bad_arguments_are_refused_with_text)
{
    struct placement_broker b[3];
    const int ids[] = {0, 1, 2};
    const char *const racks[] = {refused[_i].rack_of_first, NULL, NULL};
    struct errtext why = {""};
    int32_t out[8];

    fill(b, ids, racks, 3);
    ck_assert_int_eq(placement_assign(b, refused[_i].brokers, 0, refused[_i].partitions,
                                      refused[_i].factor, 0, out, &why),
                     ERR_INVALID);
    ck_assert_str_eq(why.text, refused[_i].text);
}
END_TEST

START_TEST(a_broker_named_twice_is_refused)
{
    struct placement_broker b[2];
    const int ids[] = {4, 4};
    struct errtext why = {""};
    int32_t out[2];

    fill(b, ids, NULL, 2);
    ck_assert_int_eq(placement_assign(b, 2, 0, 1, 2, 0, out, &why), ERR_INVALID);
    ck_assert_str_eq(why.text, "broker 4 is named twice");
}
END_TEST

int main(void)
{
    Suite *s = suite_create("placement");
    TCase *t = tcase_create("placement");
    SRunner *r = srunner_create(s);
    int failed;

    tcase_add_test(t, replica_j_of_partition_i_is_on_broker_i_plus_j);
    tcase_add_test(t, ids_need_not_be_consecutive);
    tcase_add_test(t, growth_continues_with_the_partition_number);
    tcase_add_test(t, start_is_the_first_broker_not_below_the_replica);
    tcase_add_test(t, racks_are_interleaved);
    tcase_add_test(t, no_rack_gets_a_second_replica_before_each_has_one);
    tcase_add_loop_test(t, bad_arguments_are_refused_with_text, 0, (int)ARRAY_LEN(refused));
    tcase_add_test(t, a_broker_named_twice_is_refused);
    suite_add_tcase(s, t);
    srunner_run_all(r, CK_ENV);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
