/* SPDX-License-Identifier: Apache-2.0 */
/* The pure parts of kafuka-reassign-partitions: its files, its proposals, the values of throttles.
 */
#include "tools/reassign_plan.h"

#include <check.h>
#include <stdlib.h>

static struct arena arena;
static struct errtext why;
static struct reassign_plan plan;

static void teardown(void)
{
    arena_fini(&arena);
    why.text[0] = '\0';
    plan = (struct reassign_plan){0};
}

static enum err parse(const char *text, struct reassign_plan *out)
{
    json_t *root = json_loads(text, 0, NULL);
    enum err rc;

    ck_assert_ptr_nonnull(root);
    rc = reassign_parse(root, &arena, out, &why);
    json_decref(root);
    if (rc == ERR_OK)
        reassign_sort(out);
    return rc;
}

static void print_as(const struct reassign_plan *p, const char *expected)
{
    struct buf out = {0};

    reassign_print_json(p, &out);
    ck_assert_str_eq(buf_cstr(&out), expected);
    buf_fini(&out);
}

START_TEST(plans_come_back_sorted_as_kafka_writes_them)
{
    ck_assert_int_eq(parse("{\"partitions\": [{\"topic\": \"b\", \"partition\": 0, \"replicas\": "
                           "[2, 1]}, {\"topic\": \"a\", \"partition\": 10, \"replicas\": [0], "
                           "\"log_dirs\": [\"any\"]}, {\"topic\": \"a\", \"partition\": 9, "
                           "\"replicas\": []}]}",
                           &plan),
                     ERR_OK);
    print_as(&plan, "{\"version\":1,\"partitions\":["
                    "{\"topic\":\"a\",\"partition\":9,\"replicas\":[],\"log_dirs\":[]},"
                    "{\"topic\":\"a\",\"partition\":10,\"replicas\":[0],\"log_dirs\":[\"any\"]},"
                    "{\"topic\":\"b\",\"partition\":0,\"replicas\":[2,1],"
                    "\"log_dirs\":[\"any\",\"any\"]}]}");
    ck_assert_ptr_null(reassign_find(&plan, "a", 0));
    ck_assert_int_eq(reassign_find(&plan, "b", 0)->replicas.ids[0], 2);
    ck_assert_int_eq(parse("{\"version\": 1}", &plan), ERR_OK);
    ck_assert_int_eq(plan.count, 0);
}
END_TEST

static const struct {
    const char *text, *said;
} bad_files[] = {
    {"[]", "is expected"},
    {"{\"version\": 2, \"partitions\": []}", "Not supported version field value 2"},
    {"{\"version\": \"1\", \"partitions\": []}", "\"version\" is not a number"},
    {"{\"partitions\": {}}", "is expected"},
    {"{\"partitions\": [7]}", "entry 0 of \"partitions\" needs"},
    {"{\"partitions\": [{\"topic\": \"a\", \"partition\": \"0\", \"replicas\": [1]}]}", "entry 0"},
    {"{\"partitions\": [{\"topic\": \"a\", \"partition\": -1, \"replicas\": [1]}]}", "entry 0"},
    {"{\"partitions\": [{\"topic\": \"a\", \"partition\": 0}]}", "entry 0"},
    {"{\"partitions\": [{\"topic\": \"a\", \"partition\": 0, \"replicas\": [\"1\"]}]}", "entry 0"},
    {"{\"partitions\": [{\"topic\": \"a\", \"partition\": 0, \"replicas\": [1, 2], \"log_dirs\": "
     "[\"any\"]}]}",
     "a-0 has 2 replicas"},
};

START_TEST(bad_files_name_the_entry)
{
    ck_assert_int_eq(parse(bad_files[_i].text, &plan), ERR_INVALID);
    ck_assert_msg(strstr(why.text, bad_files[_i].said) != NULL, "%s", why.text);
}
END_TEST

static const struct {
    const char *partitions, *said;
} refused[] = {
    {"", "Partition reassignment list cannot be empty"},
    {"{\"topic\": \"a\", \"partition\": 0, \"replicas\": []}", "replica list cannot be empty"},
    {"{\"topic\": \"a\", \"partition\": 0, \"replicas\": [1]}, {\"topic\": \"a\", \"partition\": "
     "0, "
     "\"replicas\": [2]}",
     "Partition reassignment contains duplicate topic partitions: a-0"},
    {"{\"topic\": \"a\", \"partition\": 3, \"replicas\": [1, 2, 1]}",
     "a-3 contains multiple entries for 1"},
};

START_TEST(execute_refuses_in_kafkas_words)
{
    char *text = xasprintf("{\"partitions\": [%s]}", refused[_i].partitions);

    ck_assert_int_eq(parse(text, &plan), ERR_OK);
    ck_assert_int_eq(reassign_check(&plan, &why), ERR_INVALID);
    ck_assert_msg(strstr(why.text, refused[_i].said) != NULL, "%s", why.text);
    free(text);
}
END_TEST

START_TEST(log_directories_are_told_from_any)
{
    ck_assert_int_eq(parse("{\"partitions\": [{\"topic\": \"a\", \"partition\": 0, \"replicas\": "
                           "[1, 2], \"log_dirs\": [\"any\", \"/d1\"]}]}",
                           &plan),
                     ERR_OK);
    ck_assert_str_eq(plan.parts[0].log_dir, "/d1");
}
END_TEST

START_TEST(topics_and_brokers_are_read)
{
    json_t *root = json_loads("{\"topics\": [{\"topic\": \"b\"}, {\"topic\": \"a\"}]}", 0, NULL);
    const char **names;
    int32_t *ids, count;

    ck_assert_int_eq(reassign_parse_topics(root, &arena, &names, &count, &why), ERR_OK);
    ck_assert_int_eq(count, 2);
    ck_assert_str_eq(names[0], "a");
    json_decref(root);
    root = json_loads("{\"topics\": [{\"topic\": \"a\"}, {\"topic\": \"a\"}]}", 0, NULL);
    ck_assert_int_eq(reassign_parse_topics(root, &arena, &names, &count, &why), ERR_INVALID);
    ck_assert_str_eq(why.text, "List of topics to reassign contains duplicate entries: [a]");
    json_decref(root);
    ck_assert_int_eq(reassign_parse_brokers("2,0,1", &arena, &ids, &count, &why), ERR_OK);
    ck_assert_int_eq(count, 3);
    ck_assert_int_eq(ids[0], 2);
    ck_assert_int_eq(reassign_parse_brokers("1,1", &arena, &ids, &count, &why), ERR_INVALID);
    ck_assert_str_eq(why.text, "Broker list contains duplicate entries: [1]");
    for (const char *const *bad = (const char *const[]){"", "1,", "x", "1;2", "-1", NULL};
         *bad != NULL; bad++)
        ck_assert_int_eq(reassign_parse_brokers(*bad, &arena, &ids, &count, &why), ERR_INVALID);
}
END_TEST

START_TEST(a_proposal_spreads_leaders_over_topics)
{
    const struct placement_broker brokers[] = {{5, STR_NULL}, {6, STR_NULL}, {7, STR_NULL}};
    struct reassign_plan proposed;

    ck_assert_int_eq(parse("{\"partitions\": [{\"topic\": \"a\", \"partition\": 0, \"replicas\": "
                           "[1, 2]}, {\"topic\": \"b\", \"partition\": 0, \"replicas\": [1]}, "
                           "{\"topic\": \"b\", \"partition\": 1, \"replicas\": [1]}]}",
                           &plan),
                     ERR_OK);
    ck_assert_int_eq(reassign_propose(&plan, brokers, 3, &arena, &proposed, &why), ERR_OK);
    print_as(&proposed, "{\"version\":1,\"partitions\":["
                        "{\"topic\":\"a\",\"partition\":0,\"replicas\":[5,6],"
                        "\"log_dirs\":[\"any\",\"any\"]},"
                        "{\"topic\":\"b\",\"partition\":0,\"replicas\":[6],\"log_dirs\":[\"any\"]},"
                        "{\"topic\":\"b\",\"partition\":1,\"replicas\":[7],\"log_dirs\":[\"any\"]}"
                        "]}");
    ck_assert_int_eq(reassign_propose(&plan, brokers, 1, &arena, &proposed, &why), ERR_INVALID);
    ck_assert_msg(strstr(why.text, "topic a: ") == why.text, "%s", why.text);
    ck_assert_int_eq(reassign_propose(&plan, brokers, 0, &arena, &proposed, &why), ERR_INVALID);
}
END_TEST

START_TEST(throttles_name_sources_and_destinations)
{
    static const int32_t moving[] = {1, 2, 3}, adding[] = {3};
    struct reassign_part going = {
        .topic = "a", .partition = 1, .replicas = {moving, 3}, .adding = {adding, 1}};
    struct reassign_plan under_way = {&going, 1}, now;
    struct reassign_flow *flows;
    struct buf out = {0};
    int32_t count;

    ck_assert_int_eq(parse("{\"partitions\": [{\"topic\": \"a\", \"partition\": 0, \"replicas\": "
                           "[1, 2]}, {\"topic\": \"a\", \"partition\": 10, \"replicas\": [1]}]}",
                           &now),
                     ERR_OK);
    ck_assert_int_eq(parse("{\"partitions\": [{\"topic\": \"a\", \"partition\": 0, \"replicas\": "
                           "[2, 4]}, {\"topic\": \"a\", \"partition\": 10, \"replicas\": [3, 1]}]}",
                           &plan),
                     ERR_OK);
    reassign_flows(&under_way, &plan, &now, &arena, &flows, &count);
    ck_assert_int_eq(count, 3);
    reassign_print_throttled(flows, count, true, &out);
    ck_assert_str_eq(buf_cstr(&out), "0:1,0:2,10:1,1:1,1:2");
    out.len = 0;
    reassign_print_throttled(flows, count, false, &out);
    ck_assert_str_eq(buf_cstr(&out), "0:4,10:3,1:3");
    buf_fini(&out);
    /* a proposal for what is under way keeps its sources */
    ck_assert_int_eq(parse("{\"partitions\": [{\"topic\": \"a\", \"partition\": 1, \"replicas\": "
                           "[4, 1]}]}",
                           &plan),
                     ERR_OK);
    reassign_flows(&under_way, &plan, &now, &arena, &flows, &count);
    ck_assert_int_eq(count, 1);
    ck_assert_int_eq(flows[0].sources.count, 2);
    ck_assert_int_eq(flows[0].destinations.count, 1);
    ck_assert_int_eq(flows[0].destinations.ids[0], 4);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("tools_reassign");
    TCase *t = tcase_create("plan");
    SRunner *r;
    int failed;

    tcase_add_checked_fixture(t, NULL, teardown);
    tcase_add_test(t, plans_come_back_sorted_as_kafka_writes_them);
    tcase_add_loop_test(t, bad_files_name_the_entry, 0, (int)ARRAY_LEN(bad_files));
    tcase_add_loop_test(t, execute_refuses_in_kafkas_words, 0, (int)ARRAY_LEN(refused));
    tcase_add_test(t, log_directories_are_told_from_any);
    tcase_add_test(t, topics_and_brokers_are_read);
    tcase_add_test(t, a_proposal_spreads_leaders_over_topics);
    tcase_add_test(t, throttles_name_sources_and_destinations);
    suite_add_tcase(s, t);
    r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? 0 : 1;
}
