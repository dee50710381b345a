/* SPDX-License-Identifier: Apache-2.0 */
/* The ZooKeeper consumer's assignment, filters, and single situations of its core. Random
 * schedules: test_zkc_core_random.c. */
#include "tools/zkconsumer/zkc_core.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- range */

static const struct range_case {
    enum zkc_rule rule;
    int32_t partitions, threads;
    int32_t counts[6];
} range_cases[] = {
    {ZKC_RULE_CEIL, 10, 3, {4, 4, 2}},
    {ZKC_RULE_KAFKA, 10, 3, {4, 3, 3}},
    {ZKC_RULE_CEIL, 10, 4, {3, 3, 3, 1}},
    {ZKC_RULE_KAFKA, 10, 4, {3, 3, 2, 2}},
    {ZKC_RULE_CEIL, 7, 3, {3, 3, 1}},
    {ZKC_RULE_KAFKA, 7, 3, {3, 2, 2}},
    {ZKC_RULE_CEIL, 5, 4, {2, 2, 1, 0}},
    {ZKC_RULE_KAFKA, 5, 4, {2, 1, 1, 1}},
    {ZKC_RULE_CEIL, 12, 5, {3, 3, 3, 3, 0}},
    {ZKC_RULE_KAFKA, 12, 5, {3, 3, 2, 2, 2}},
    {ZKC_RULE_CEIL, 9, 3, {3, 3, 3}},
    {ZKC_RULE_KAFKA, 9, 3, {3, 3, 3}},
    {ZKC_RULE_CEIL, 2, 3, {1, 1, 0}},
    {ZKC_RULE_KAFKA, 2, 3, {1, 1, 0}},
    {ZKC_RULE_CEIL, 0, 2, {0, 0}},
    {ZKC_RULE_KAFKA, 0, 2, {0, 0}},
    {ZKC_RULE_CEIL, INT32_MAX, 1, {INT32_MAX}},
    {ZKC_RULE_KAFKA, INT32_MAX, 1, {INT32_MAX}},
};

START_TEST(range_gives_each_thread_its_share)
{
    const struct range_case *r = &range_cases[_i];
    int32_t next = 0;

    for (int32_t i = 0; i < r->threads; i++) {
        int32_t first, count;

        zkc_assign_range(r->rule, r->partitions, r->threads, i, &first, &count);
        ck_assert_int_eq(count, r->counts[i]);
        if (count > 0)
            ck_assert_int_eq(first, next);
        next += count;
    }
    ck_assert_int_eq(next, r->partitions);
}
END_TEST

START_TEST(range_goes_by_the_string_order_of_threads)
{
    static const int32_t partitions[] = {0, 1, 2, 3, 4};
    static const char *const threads[] = {"c1-0", "c1-1", "c1-10", "c1-2"}; /* -10 before -2 */
    struct zkc_topic_view t = {"t", partitions, 5, threads, 4};
    int32_t owners[5];

    zkc_assign(ZKC_RANGE, ZKC_RULE_KAFKA, ZKC_TEXT_DASH, &t, 1, owners);
    ck_assert_mem_eq(owners, ((int32_t[]){0, 0, 1, 2, 3}), sizeof owners);
    t.thread_count = 0;
    zkc_assign(ZKC_RANGE, ZKC_RULE_CEIL, ZKC_TEXT_DASH, &t, 1, owners);
    ck_assert_mem_eq(owners, ((int32_t[]){-1, -1, -1, -1, -1}), sizeof owners);
}
END_TEST

/* ---- round robin */

START_TEST(hashes_are_java_s)
{
    ck_assert_int_eq(zkc_java_hash(""), 0);
    ck_assert_int_eq(zkc_java_hash("[orders,0]"), -1093576615);
    ck_assert_int_eq(zkc_java_hash("[clicks,10]"), -1074444424);
    ck_assert_int_eq(zkc_java_hash("[orders,10]"), 458862962);
    ck_assert_int_eq(zkc_java_hash("[clicks,0]"), 1627908499);
    ck_assert_int_eq(zkc_java_hash("clicks-10"), -1964198079);
    ck_assert_int_eq(zkc_java_hash("orders-10"), -390715897);
    ck_assert_int_eq(zkc_java_hash("clicks-0"), 906470094);
    ck_assert_int_eq(zkc_java_hash("orders-0"), 1234322248);
}
END_TEST

START_TEST(round_robin_deals_in_the_order_of_hashes)
{
    static const int32_t partitions[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11};
    static const char *const threads[] = {"a-0", "b-0"};
    struct zkc_topic_view topics[] = {{"orders", partitions, 12, threads, 2},
                                      {"clicks", partitions, 12, threads, 2}};
    /* old text: orders 0..9, clicks 10, 11, orders 10, 11, clicks 0..9 */
    static const int32_t old[] = {0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1,
                                  0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1};
    int32_t owners[24];

    zkc_assign(ZKC_ROUND_ROBIN, ZKC_RULE_CEIL, ZKC_TEXT_BRACKETS, topics, 2, owners);
    ck_assert_mem_eq(owners, old, sizeof old);
    /* three threads show the order: since 1.0 clicks 10, 11, orders 10, 11, clicks 0.., orders 0..
     */
    static const char *const three[] = {"a-0", "b-0", "c-0"};
    topics[0].threads = topics[1].threads = three;
    topics[0].thread_count = topics[1].thread_count = 3;
    zkc_assign(ZKC_ROUND_ROBIN, ZKC_RULE_CEIL, ZKC_TEXT_DASH, topics, 2, owners);
    ck_assert_int_eq(owners[12 + 10], 0);
    ck_assert_int_eq(owners[12 + 11], 1);
    ck_assert_int_eq(owners[10], 2);
    ck_assert_int_eq(owners[11], 0);
    ck_assert_int_eq(owners[12], 1); /* clicks 0 */
    ck_assert_int_eq(owners[0], 2);  /* orders 0: the fifteenth */
}
END_TEST

START_TEST(round_robin_skips_threads_without_the_topic)
{
    static const int32_t partitions[] = {0, 1, 2, 3};
    static const char *const both[] = {"a-0", "b-0"};
    static const char *const one[] = {"b-0"};
    struct zkc_topic_view topics[] = {
        {"x", partitions, 4, both, 2}, {"y", partitions, 4, one, 1}, {"z", partitions, 4, NULL, 0}};
    int32_t owners[12];

    zkc_assign(ZKC_ROUND_ROBIN, ZKC_RULE_CEIL, ZKC_TEXT_DASH, topics, 3, owners);
    ck_assert_mem_eq(owners, ((int32_t[]){0, 1, 0, 1, 0, 0, 0, 0, -1, -1, -1, -1}), sizeof owners);
}
END_TEST

/* ---- filters */

static const struct filter_case {
    const char *text, *topic;
    bool matches;
} filter_cases[] = {
    {"orders", "orders", true},
    {"orders", "orders2", false},
    {"a,b", "b", true},
    {"a , b", "a", true},
    {"\"x.*\"", "xyz", true},
    {"'x.*'", "xyz", true},
    {"log_\\d+", "log_17", true},
    {"log_\\d+", "log_x", false},
    {"log_[\\d]+", "log_17", true},
    {"\\D+", "abc", true},
    {"\\D+", "ab1", false},
    {"a\\.b", "a.b", true},
    {"a\\.b", "axb", false},
    {"a{2}", "aa", true},
    {"a{2}", "aaa", false},
    {"(x|y)z?", "y", true},
    {"[^a]b", "cb", true},
    {"\\w+", "a_1", true},
    {".*", "__consumer_offsets", true},
    {"[a\\.]", "\\", false},
};

START_TEST(a_filter_is_a_whole_name_s_expression)
{
    const struct filter_case *k = &filter_cases[_i];
    struct errtext why = {{0}};
    struct zkc_filter f;

    ck_assert_msg(zkc_filter_init(&f, k->text, &why) == ERR_OK, "%s", why.text);
    ck_assert_int_eq(zkc_filter_matches(&f, k->topic), k->matches);
    zkc_filter_fini(&f);
}
END_TEST

static const char *const refused_filters[] = {
    "",
    "  ",
    "\"\"",
    "(",
    "a[",
    "a\\",
    "(a)\\1",
    "(?i)a",
    "a*?",
    "a++",
    "a{3}?",
    "\\p{Alpha}",
    "\\Qa\\E",
    "a{101}",
    "(a{40}){40}",
    "[\\w]",
    "a{99999999999999999999}",
};

START_TEST(a_filter_that_costs_too_much_or_is_not_known_is_refused)
{
    struct errtext why = {{0}};
    struct zkc_filter f;

    ck_assert_int_eq(zkc_filter_init(&f, refused_filters[_i], &why), ERR_INVALID);
    ck_assert_str_ne(why.text, "");
}
END_TEST

START_TEST(a_filter_has_a_longest_length)
{
    char long_one[ZKC_FILTER_CHARS_MAX + 2];
    struct errtext why = {{0}};
    struct zkc_filter f;

    memset(long_one, 'a', sizeof long_one);
    long_one[sizeof long_one - 1] = 0;
    ck_assert_int_eq(zkc_filter_init(&f, long_one, &why), ERR_INVALID);
}
END_TEST

/* ---- the core */

static struct zkdoc_subscription subs[] = {{"t", 1}};
static struct zkc_options options;
static struct zkc_core core;
static struct zkc_effects effects;
static int64_t now;

static void setup(void)
{
    options = (struct zkc_options){.member_id = "g_b",
                                   .pattern = ZKDOC_STATIC,
                                   .subscriptions = subs,
                                   .subscription_count = 1,
                                   .is_ceil = true,
                                   .auto_commit = true,
                                   .auto_commit_interval_ms = 60000,
                                   .backoff_ms = 2000,
                                   .max_retries = 2,
                                   .resync_ms = 60000,
                                   .leave_max_ms = 5000};
    now = 1000;
    effects = (struct zkc_effects){0};
    zkc_core_init(&core, &options, now);
}

static void teardown(void)
{
    zkc_effects_fini(&effects);
    zkc_core_fini(&core);
}

static void step(struct zkc_event ev)
{
    zkc_effects_reset(&effects);
    ev.now_ms = now;
    zkc_core_step(&core, &ev, &effects);
    zkc_core_check(&core);
}

static const struct zkc_effect *find(enum zkc_effect_kind kind, int32_t partition)
{
    for (int32_t i = 0; i < effects.count; i++)
        if (effects.v[i].kind == kind && (partition < 0 || effects.v[i].partition == partition))
            return &effects.v[i];
    return NULL;
}

static const struct zkc_effect *find_trace(enum zkc_trace_kind kind)
{
    for (int32_t i = 0; i < effects.count; i++)
        if (effects.v[i].kind == ZKC_EFFECT_TRACE && effects.v[i].trace == kind)
            return &effects.v[i];
    return NULL;
}

static struct bytes text(const char *z)
{
    return (struct bytes){(const uint8_t *)z, (int64_t)strlen(z)};
}

static void answer_children(enum zkc_read what, char *const *names, int32_t count)
{
    step((struct zkc_event){
        .kind = ZKC_EV_READ,
        .read = {.round = core.round, .what = what, .children = names, .child_count = count}});
}

static void answer_doc(enum zkc_read what, const char *name, const char *doc)
{
    step((struct zkc_event){
        .kind = ZKC_EV_READ,
        .result = doc == NULL ? ZKC_NOT_FOUND : ZKC_OK,
        .read = {.round = core.round, .what = what, .name = name, .data = text(doc ? doc : "")}});
}

#define CEIL                                                                                       \
    "{\"version\":1,\"subscription\":{\"t\":1},\"pattern\":\"static\",\"timestamp\":\"1\","        \
    "\"assignment\":\"ceil\"}"
#define KAFKA_S                                                                                    \
    "{\"version\":1,\"subscription\":{\"t\":1},\"pattern\":\"static\",\"timestamp\":\"1\"}"
#define TEN                                                                                        \
    "{\"version\":1,\"partitions\":{\"0\":[0],\"1\":[0],\"2\":[0],\"3\":[0],\"4\":[0],\"5\":[0],"  \
    "\"6\":[0],\"7\":[0],\"8\":[0],\"9\":[0]}}"

static void join(void)
{
    step((struct zkc_event){.kind = ZKC_EV_SESSION, .session = {.timeout_ms = 6000}});
    ck_assert_ptr_nonnull(find(ZKC_EFFECT_REGISTER, -1));
    step((struct zkc_event){.kind = ZKC_EV_REGISTERED, .alive = {.sent_ms = now}});
    ck_assert_int_eq(core.state, ZKC_JOINED);
}

/* Reads a group of these members and a topic of ten partitions. */
static void read_group(const char *const *ids, const char *const *docs, int32_t count)
{
    char *names[8];
    char broker[] = "1", *brokers[] = {broker};

    for (int32_t i = 0; i < count; i++)
        names[i] = (char *)(uintptr_t)ids[i];
    answer_children(ZKC_BROKERS, brokers, 1);
    answer_children(ZKC_MEMBERS, names, count);
    for (int32_t i = 0; i < count; i++)
        answer_doc(ZKC_MEMBER, ids[i], docs[i]);
    answer_doc(ZKC_TOPIC, "t", TEN);
}

static struct zkc_event part_event(enum zkc_event_kind kind, int32_t partition, uint32_t seq,
                                   enum zkc_result result)
{
    return (struct zkc_event){
        .kind = kind,
        .result = result,
        .part = {.topic = "t", .partition = partition, .seq = seq, .offset = -1}};
}

static uint32_t seq_of(int32_t partition)
{
    for (int32_t i = 0; i < core.part_count; i++)
        if (core.parts[i].partition == partition)
            return core.parts[i].seq;
    return 0;
}

/* Everything claimed, offset 100 each. */
static void take_all(void)
{
    for (int32_t p = 0; p < 10; p++) {
        if (seq_of(p) == 0)
            continue;
        step(part_event(ZKC_EV_CLAIMED, p, seq_of(p), ZKC_OK));
        struct zkc_event ev = part_event(ZKC_EV_OFFSET, p, seq_of(p), ZKC_OK);
        ev.part.offset = 100;
        step(ev);
        ck_assert_int_eq(find(ZKC_EFFECT_START_FETCH, p)->offset, 100);
    }
}

static void check_wanted(int32_t first, int32_t last)
{
    ck_assert_int_eq(core.part_count, last - first + 1);
    for (int32_t i = 0; i < core.part_count; i++)
        ck_assert_int_eq(core.parts[i].partition, first + i);
}

static const char *const three_ids[] = {"g_a", "g_b", "g_c"};

START_TEST(the_ceil_rule_holds_among_our_own)
{
    join();
    read_group(three_ids, (const char *const[]){CEIL, CEIL, CEIL}, 3);
    check_wanted(4, 7);
    ck_assert_ptr_null(find_trace(ZKC_TRACE_OLD_RULE));
    take_all();
    ck_assert_ptr_nonnull(find_trace(ZKC_TRACE_REBALANCED));
    ck_assert_str_eq(zkc_core_history(&core, 0)->reason, "joined the group");
    ck_assert_ptr_null(zkc_core_history(&core, 1));
}
END_TEST

START_TEST(one_of_kafka_s_own_consumers_brings_kafka_s_rule)
{
    join();
    read_group(three_ids, (const char *const[]){CEIL, CEIL, KAFKA_S}, 3);
    check_wanted(4, 6);
    ck_assert_str_eq(find_trace(ZKC_TRACE_OLD_RULE)->text, "g_c");
}
END_TEST

START_TEST(a_member_with_broken_json_is_left_out)
{
    join();
    read_group(three_ids, (const char *const[]){CEIL, CEIL, "{\"version\":1,"}, 3);
    check_wanted(5, 9); /* of two */
}
END_TEST

START_TEST(a_member_that_left_while_being_read_is_left_out)
{
    join();
    read_group(three_ids, (const char *const[]){NULL, CEIL, CEIL}, 3);
    check_wanted(0, 4);
}
END_TEST

START_TEST(only_what_moves_is_stopped)
{
    join();
    read_group(&three_ids[1], (const char *const[]){CEIL, CEIL}, 2);
    check_wanted(0, 4);
    take_all();
    step((struct zkc_event){.kind = ZKC_EV_CHANGED, .changed = {.what = ZKC_MEMBERS}});
    read_group(three_ids, (const char *const[]){CEIL, CEIL, CEIL}, 3);
    ck_assert_str_eq(zkc_core_history(&core, 0)->reason, "member g_a joined");
    for (int32_t p = 0; p < 4; p++)
        ck_assert_ptr_nonnull(find(ZKC_EFFECT_STOP_FETCH, p));
    ck_assert_ptr_null(find(ZKC_EFFECT_STOP_FETCH, 4)); /* stays, undisturbed */
    for (int32_t p = 5; p < 8; p++)
        ck_assert_ptr_nonnull(find(ZKC_EFFECT_CLAIM, p));
    /* stopped, then committed, then released */
    struct zkc_event ev = part_event(ZKC_EV_STOPPED, 0, seq_of(0), ZKC_OK);
    ev.part.offset = 117;
    step(ev);
    ck_assert_ptr_null(find(ZKC_EFFECT_RELEASE, 0));
    const struct zkc_effect *commit = find(ZKC_EFFECT_COMMIT, 0);
    ck_assert_int_eq(commit->offset, 117);
    ev = part_event(ZKC_EV_COMMITTED, 0, commit->seq, ZKC_OK);
    ev.part.offset = 117;
    step(ev);
    ck_assert_ptr_nonnull(find(ZKC_EFFECT_RELEASE, 0));
    step(part_event(ZKC_EV_RELEASED, 0, seq_of(0), ZKC_OK));
    ck_assert_int_eq(core.parts[0].partition, 1);
}
END_TEST

START_TEST(a_topic_s_name_that_no_broker_takes_is_not_matched)
{
    struct zkdoc_subscription all[] = {{".*", 1}};
    char member[] = "g_b", broker[] = "1", short_one[] = "t", long_one[TOPIC_NAME_MAX + 2];
    char *members[] = {member}, *brokers[] = {broker}, *topics[] = {short_one, long_one};

    memset(long_one, 'x', sizeof long_one - 1);
    long_one[sizeof long_one - 1] = 0;
    options.pattern = ZKDOC_WHITE_LIST;
    options.subscriptions = all;
    join();
    answer_children(ZKC_BROKERS, brokers, 1);
    answer_children(ZKC_MEMBERS, members, 1);
    answer_doc(ZKC_MEMBER, "g_b",
               "{\"version\":1,\"subscription\":{\".*\":1},\"pattern\":\"white_list\","
               "\"timestamp\":\"1\"}");
    answer_children(ZKC_TOPICS, topics, 2);
    ck_assert_int_eq(core.next.topic_count, 1);
    answer_doc(ZKC_TOPIC, "t", TEN);
    check_wanted(0, 9);
}
END_TEST

START_TEST(without_brokers_everything_stays_as_it_is)
{
    join();
    answer_children(ZKC_BROKERS, NULL, 0);
    answer_children(ZKC_MEMBERS, (char *[]){(char[]){"g_b"}}, 1);
    answer_doc(ZKC_MEMBER, "g_b", CEIL);
    answer_doc(ZKC_TOPIC, "t", TEN);
    ck_assert_ptr_nonnull(find_trace(ZKC_TRACE_NO_BROKERS));
    ck_assert_int_eq(core.part_count, 0);
    step((struct zkc_event){.kind = ZKC_EV_CHANGED, .changed = {.what = ZKC_BROKERS}});
    read_group(&three_ids[1], (const char *const[]){CEIL}, 1);
    check_wanted(0, 9);
}
END_TEST

START_TEST(the_lease_is_two_thirds_of_a_session_after_the_last_answered_call)
{
    ck_assert(zkc_core_lease_ms(&core) < now);
    join();
    ck_assert_int_eq(zkc_core_lease_ms(&core), now + 4000);
    step((struct zkc_event){.kind = ZKC_EV_TICK});
    ck_assert_ptr_nonnull(find(ZKC_EFFECT_HEARTBEAT, -1));
    now += 3000; /* the answer is slow: what counts is when it was asked */
    step((struct zkc_event){.kind = ZKC_EV_HEARTBEAT, .alive = {.sent_ms = now - 2500}});
    ck_assert_int_eq(zkc_core_lease_ms(&core), now + 1500);
    step((struct zkc_event){.kind = ZKC_EV_EXPIRED});
    ck_assert(zkc_core_lease_ms(&core) < now);
}
END_TEST

START_TEST(what_another_owns_is_waited_for_then_tried_slowly)
{
    join();
    read_group(&three_ids[1], (const char *const[]){CEIL}, 1);
    struct zkc_event ev = part_event(ZKC_EV_CLAIMED, 3, seq_of(3), ZKC_EXISTS);
    ev.part.owner = "g_dead-0";
    step(ev);
    ck_assert_str_eq(find_trace(ZKC_TRACE_BLOCKED)->text, "g_dead-0");
    ck_assert_int_le(zkc_core_deadline_ms(&core), now + options.backoff_ms);
    for (int i = 0; i < 2; i++) { /* rebalance.max.retries */
        now += options.backoff_ms;
        step((struct zkc_event){.kind = ZKC_EV_TICK});
        ck_assert(core.is_reading);
        read_group(&three_ids[1], (const char *const[]){CEIL}, 1);
        ev.part.seq = seq_of(3);
        step(ev);
    }
    ck_assert_ptr_nonnull(find_trace(ZKC_TRACE_STILL_BLOCKED));
    ck_assert_int_ge(core.round_ms, now + options.backoff_ms * ZKC_SLOW_FACTOR);
    /* its deletion is watched: taken at once */
    step(part_event(ZKC_EV_OWNER_GONE, 3, 0, ZKC_OK));
    ck_assert_ptr_nonnull(find(ZKC_EFFECT_CLAIM, 3));
}
END_TEST

START_TEST(a_claim_of_ours_with_a_lost_answer_is_found)
{
    join();
    read_group(&three_ids[1], (const char *const[]){CEIL}, 1);
    step(part_event(ZKC_EV_CLAIMED, 3, seq_of(3), ZKC_UNKNOWN));
    now += ZKC_RETRY_MS;
    step((struct zkc_event){.kind = ZKC_EV_TICK});
    ck_assert_ptr_nonnull(find(ZKC_EFFECT_CLAIM, 3));
    struct zkc_event ev = part_event(ZKC_EV_CLAIMED, 3, seq_of(3), ZKC_EXISTS);
    ev.part.owner = "g_b-0";
    ev.part.is_our_session = true;
    step(ev);
    ck_assert_ptr_nonnull(find(ZKC_EFFECT_READ_OFFSET, 3));
}
END_TEST

START_TEST(an_offset_that_nobody_committed_is_resolved_and_committed_at_once)
{
    join();
    read_group(&three_ids[1], (const char *const[]){CEIL}, 1);
    step(part_event(ZKC_EV_CLAIMED, 0, seq_of(0), ZKC_OK));
    step(part_event(ZKC_EV_OFFSET, 0, seq_of(0), ZKC_NOT_FOUND));
    ck_assert_ptr_nonnull(find(ZKC_EFFECT_RESOLVE, 0));
    struct zkc_event ev = part_event(ZKC_EV_RESOLVED, 0, seq_of(0), ZKC_OK);
    ev.part.offset = 42;
    step(ev);
    ck_assert_int_eq(find(ZKC_EFFECT_START_FETCH, 0)->offset, 42);
    ck_assert(find(ZKC_EFFECT_COMMIT, 0)->is_create);
}
END_TEST

START_TEST(leaving_stops_commits_and_closes)
{
    join();
    read_group(&three_ids[1], (const char *const[]){CEIL}, 1);
    take_all();
    step((struct zkc_event){.kind = ZKC_EV_STOP});
    for (int32_t p = 0; p < 10; p++) {
        ck_assert_ptr_null(find(ZKC_EFFECT_CLOSE, -1));
        struct zkc_event ev = part_event(ZKC_EV_STOPPED, p, seq_of(p), ZKC_OK);
        ev.part.offset = p < 9 ? 100 : 107; /* nothing new but in the last */
        step(ev);
    }
    const struct zkc_effect *commit = find(ZKC_EFFECT_COMMIT, 9);
    ck_assert_ptr_nonnull(commit);
    struct zkc_event ev = part_event(ZKC_EV_COMMITTED, 9, commit->seq, ZKC_OK);
    ev.part.offset = 107;
    step(ev);
    ck_assert_ptr_nonnull(find(ZKC_EFFECT_CLOSE, -1));
    ck_assert_int_eq(core.state, ZKC_CLOSED);
}
END_TEST

START_TEST(leaving_has_an_end_without_zookeeper)
{
    join();
    read_group(&three_ids[1], (const char *const[]){CEIL}, 1);
    take_all();
    step((struct zkc_event){.kind = ZKC_EV_STOP});
    ck_assert_int_eq(core.state, ZKC_LEAVING);
    now += options.leave_max_ms;
    step((struct zkc_event){.kind = ZKC_EV_TICK});
    ck_assert_ptr_nonnull(find(ZKC_EFFECT_CLOSE, -1));
}
END_TEST

START_TEST(a_commit_by_request_is_answered_when_all_are_done)
{
    options.auto_commit = false;
    zkc_core_fini(&core);
    zkc_core_init(&core, &options, now);
    join();
    read_group(&three_ids[1], (const char *const[]){CEIL}, 1);
    take_all();
    step((struct zkc_event){.kind = ZKC_EV_COMMIT, .commit = {.request = 7}});
    uint32_t seqs[10];
    for (int32_t p = 0; p < 10; p++)
        seqs[p] = find(ZKC_EFFECT_COMMIT, p)->seq;
    for (int32_t p = 0; p < 10; p++) {
        ck_assert_ptr_null(find(ZKC_EFFECT_COMMIT_DONE, -1));
        struct zkc_event ev = part_event(ZKC_EV_COMMITTED, p, seqs[p], ZKC_OK);
        ev.part.offset = 101;
        step(ev);
    }
    ck_assert_int_eq(find(ZKC_EFFECT_COMMIT_DONE, -1)->seq, 7);
    ck_assert_int_eq(find(ZKC_EFFECT_COMMIT_DONE, -1)->offset, 0);
    /* without auto commit a partition is released as it is */
    step((struct zkc_event){.kind = ZKC_EV_CHANGED, .changed = {.what = ZKC_MEMBERS}});
    read_group(&three_ids[0], (const char *const[]){CEIL, CEIL}, 2);
    struct zkc_event ev = part_event(ZKC_EV_STOPPED, 0, seq_of(0), ZKC_OK);
    ev.part.offset = 200;
    step(ev);
    ck_assert_ptr_null(find(ZKC_EFFECT_COMMIT, 0));
    ck_assert_ptr_nonnull(find(ZKC_EFFECT_RELEASE, 0));
}
END_TEST

/* A commit that is asked for while a partition's offset is not in the log. */
START_TEST(a_commit_by_request_does_not_wait_for_a_reset)
{
    options.auto_commit = false;
    zkc_core_fini(&core);
    zkc_core_init(&core, &options, now);
    join();
    read_group(&three_ids[1], (const char *const[]){CEIL}, 1);
    take_all();
    step(part_event(ZKC_EV_OUT_OF_RANGE, 0, seq_of(0), ZKC_OK));
    ck_assert_ptr_nonnull(find(ZKC_EFFECT_RESOLVE, 0));
    step((struct zkc_event){.kind = ZKC_EV_COMMIT, .commit = {.request = 7}});
    uint32_t seqs[10];
    for (int32_t p = 0; p < 10; p++) {
        ck_assert_ptr_nonnull(find(ZKC_EFFECT_COMMIT, p));
        seqs[p] = find(ZKC_EFFECT_COMMIT, p)->seq;
    }
    for (int32_t p = 0; p < 10; p++) {
        struct zkc_event ev = part_event(ZKC_EV_COMMITTED, p, seqs[p], ZKC_OK);
        ev.part.offset = 101;
        step(ev);
    }
    ck_assert_int_eq(find(ZKC_EFFECT_COMMIT_DONE, -1)->offset, 0);
}
END_TEST

/* Records were done, and are handed out again: a commit must not say that all is well. */
START_TEST(what_was_lost_without_a_commit_is_told_by_the_next_request)
{
    join();
    read_group(&three_ids[1], (const char *const[]){CEIL}, 1);
    take_all();
    step((struct zkc_event){.kind = ZKC_EV_EXPIRED});
    step((struct zkc_event){.kind = ZKC_EV_COMMIT, .commit = {.request = 7}});
    ck_assert_int_eq(find(ZKC_EFFECT_COMMIT_DONE, -1)->offset, 10);
    step((struct zkc_event){.kind = ZKC_EV_COMMIT, .commit = {.request = 8}}); /* once */
    ck_assert_int_eq(find(ZKC_EFFECT_COMMIT_DONE, -1)->offset, 0);
}
END_TEST

START_TEST(a_commit_by_request_waits_for_last_commits_under_way)
{
    join();
    read_group(&three_ids[1], (const char *const[]){CEIL}, 1);
    take_all();
    step((struct zkc_event){.kind = ZKC_EV_CHANGED, .changed = {.what = ZKC_MEMBERS}});
    read_group(&three_ids[0], (const char *const[]){CEIL, CEIL}, 2); /* 5 to 9 stay */
    struct zkc_event ev = part_event(ZKC_EV_STOPPED, 0, seq_of(0), ZKC_OK);
    ev.part.offset = 200;
    step(ev);
    uint32_t last = find(ZKC_EFFECT_COMMIT, 0)->seq;
    for (int32_t p = 1; p < 5; p++) {
        ev = part_event(ZKC_EV_STOPPED, p, seq_of(p), ZKC_OK);
        ev.part.offset = 100;
        step(ev);
    }
    step((struct zkc_event){.kind = ZKC_EV_COMMIT, .commit = {.request = 7}});
    uint32_t seqs[10];
    for (int32_t p = 5; p < 10; p++)
        seqs[p] = find(ZKC_EFFECT_COMMIT, p)->seq;
    for (int32_t p = 5; p < 10; p++)
        step(part_event(ZKC_EV_COMMITTED, p, seqs[p], ZKC_OK));
    ck_assert_ptr_null(find(ZKC_EFFECT_COMMIT_DONE, -1));
    ev = part_event(ZKC_EV_COMMITTED, 0, last, ZKC_OK);
    ev.part.offset = 200;
    step(ev);
    ck_assert_int_eq(find(ZKC_EFFECT_COMMIT_DONE, -1)->offset, 0);
}
END_TEST

START_TEST(a_partition_whose_owner_was_deleted_by_hand_is_dropped_and_claimed_anew)
{
    join();
    read_group(&three_ids[1], (const char *const[]){CEIL}, 1);
    take_all();
    now += options.auto_commit_interval_ms;
    step((struct zkc_event){.kind = ZKC_EV_TICK});
    step(part_event(ZKC_EV_COMMITTED, 2, find(ZKC_EFFECT_COMMIT, 2)->seq, ZKC_FENCED));
    ck_assert_ptr_nonnull(find(ZKC_EFFECT_DROP_FETCH, 2));
    ck_assert_ptr_nonnull(find_trace(ZKC_TRACE_OWNERSHIP_LOST));
    now += ZKC_RETRY_MS;
    step((struct zkc_event){.kind = ZKC_EV_TICK});
    ck_assert_ptr_nonnull(find(ZKC_EFFECT_CLAIM, 2));
}
END_TEST

START_TEST(reasons_say_what_is_different)
{
    join();
    read_group(three_ids, (const char *const[]){CEIL, CEIL, CEIL}, 3);
    take_all();
    step((struct zkc_event){.kind = ZKC_EV_CHANGED, .changed = {.what = ZKC_BROKERS}});
    char b2[] = "2", b3[] = "3", *brokers[] = {b2, b3};
    answer_children(ZKC_BROKERS, brokers, 2);
    answer_children(ZKC_MEMBERS, (char *[]){(char[]){"g_b"}, (char[]){"g_c"}}, 2);
    answer_doc(ZKC_MEMBER, "g_b", CEIL);
    answer_doc(ZKC_MEMBER, "g_c", CEIL);
    answer_doc(ZKC_TOPIC, "t", "{\"version\":1,\"partitions\":{\"0\":[1]}}");
    ck_assert_str_eq(zkc_core_history(&core, 0)->reason,
                     "member g_a left, broker 1 left, broker 2 came, broker 3 came, "
                     "topic t has 1 partitions (had 10)");
    /* a check that finds nothing is no rebalance */
    int64_t count = core.rebalance_count;
    step((struct zkc_event){.kind = ZKC_EV_CHANGED, .changed = {.what = ZKC_BROKERS}});
    answer_children(ZKC_BROKERS, brokers, 2);
    answer_children(ZKC_MEMBERS, (char *[]){(char[]){"g_b"}, (char[]){"g_c"}}, 2);
    answer_doc(ZKC_MEMBER, "g_b", CEIL);
    answer_doc(ZKC_MEMBER, "g_c", CEIL);
    answer_doc(ZKC_TOPIC, "t", "{\"version\":1,\"partitions\":{\"0\":[1]}}");
    ck_assert_int_eq(core.rebalance_count, count);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("zkc_core");
    TCase *t = tcase_create("assignment");

    tcase_add_loop_test(t, range_gives_each_thread_its_share, 0, ARRAY_LEN(range_cases));
    tcase_add_test(t, range_goes_by_the_string_order_of_threads);
    tcase_add_test(t, hashes_are_java_s);
    tcase_add_test(t, round_robin_deals_in_the_order_of_hashes);
    tcase_add_test(t, round_robin_skips_threads_without_the_topic);
    tcase_add_loop_test(t, a_filter_is_a_whole_name_s_expression, 0, ARRAY_LEN(filter_cases));
    tcase_add_loop_test(t, a_filter_that_costs_too_much_or_is_not_known_is_refused, 0,
                        ARRAY_LEN(refused_filters));
    tcase_add_test(t, a_filter_has_a_longest_length);
    suite_add_tcase(s, t);
    t = tcase_create("core");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, the_ceil_rule_holds_among_our_own);
    tcase_add_test(t, one_of_kafka_s_own_consumers_brings_kafka_s_rule);
    tcase_add_test(t, a_member_with_broken_json_is_left_out);
    tcase_add_test(t, a_member_that_left_while_being_read_is_left_out);
    tcase_add_test(t, only_what_moves_is_stopped);
    tcase_add_test(t, a_topic_s_name_that_no_broker_takes_is_not_matched);
    tcase_add_test(t, without_brokers_everything_stays_as_it_is);
    tcase_add_test(t, the_lease_is_two_thirds_of_a_session_after_the_last_answered_call);
    tcase_add_test(t, what_another_owns_is_waited_for_then_tried_slowly);
    tcase_add_test(t, a_claim_of_ours_with_a_lost_answer_is_found);
    tcase_add_test(t, an_offset_that_nobody_committed_is_resolved_and_committed_at_once);
    tcase_add_test(t, leaving_stops_commits_and_closes);
    tcase_add_test(t, leaving_has_an_end_without_zookeeper);
    tcase_add_test(t, a_commit_by_request_is_answered_when_all_are_done);
    tcase_add_test(t, a_commit_by_request_does_not_wait_for_a_reset);
    tcase_add_test(t, what_was_lost_without_a_commit_is_told_by_the_next_request);
    tcase_add_test(t, a_commit_by_request_waits_for_last_commits_under_way);
    tcase_add_test(t, a_partition_whose_owner_was_deleted_by_hand_is_dropped_and_claimed_anew);
    tcase_add_test(t, reasons_say_what_is_different);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? 0 : 1;
}
