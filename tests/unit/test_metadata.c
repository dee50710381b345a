/* SPDX-License-Identifier: Apache-2.0 */
/* Metadata snapshots: what an update changes, what it leaves alone, and how loops get the next one.
 */
#include "broker/cluster/metadata.h"
#include "broker/cluster/metadata_cache.h"
#include "common/protocol/messages.h"

#include <check.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>

typedef struct kp_UpdateMetadataRequest_UpdateMetadataPartitionState state;
typedef struct kp_UpdateMetadataRequest_UpdateMetadataTopicState topic_state;

static int32_t replicas_123[] = {1, 2, 3}, isr_12[] = {1, 2}, offline_3[] = {3};

static state partition(int32_t index, int32_t leader)
{
    return (state){.partition_index = index,
                   .leader = leader,
                   .leader_epoch = 7,
                   .controller_epoch = 4,
                   .zk_version = 9,
                   .replicas = replicas_123,
                   .replicas_count = 3,
                   .isr = isr_12,
                   .isr_count = 2,
                   .offline_replicas = offline_3,
                   .offline_replicas_count = 1};
}

static struct uuid id_of(uint8_t n)
{
    struct uuid id = UUID_ZERO;
    id.b[3] = n;
    return id;
}

static struct metadata *apply_topic(struct metadata *old, const char *name, struct uuid id,
                                    state *states, int32_t count)
{
    struct metadata *m;
    topic_state t = {.topic_name = str_of(name),
                     .topic_id = id,
                     .partition_states = states,
                     .partition_states_count = count};
    struct kp_UpdateMetadataRequest req = {
        .controller_id = 1, .topic_states = &t, .topic_states_count = 1};
    ck_assert_int_eq(metadata_apply(old, &req, &m, NULL), ERR_OK);
    return m;
}

START_TEST(an_empty_snapshot_knows_nothing)
{
    struct metadata *m = metadata_new();
    ck_assert_int_eq(metadata_controller_id(m), -1);
    ck_assert_int_eq(metadata_topic_count(m), 0);
    ck_assert_ptr_null(metadata_topic(m, STR_LIT("t")));
    ck_assert_ptr_null(metadata_topic(m, STR_NULL));
    ck_assert_ptr_null(metadata_topic_by_id(m, UUID_ZERO));
    ck_assert_ptr_null(metadata_broker(m, 0));
    metadata_unref(&m);
    ck_assert_ptr_null(m);
}
END_TEST

START_TEST(an_update_shows_in_the_new_snapshot_and_not_in_the_old)
{
    struct metadata *a = metadata_new();
    state s[] = {partition(1, 2), partition(0, 1)};
    struct metadata *b = apply_topic(a, "orders", id_of(1), s, 2);
    ck_assert_ptr_null(metadata_topic(a, STR_LIT("orders")));
    const struct metadata_topic *t = metadata_topic(b, STR_LIT("orders"));
    ck_assert_ptr_nonnull(t);
    ck_assert_ptr_eq(metadata_topic_by_id(b, id_of(1)), t);
    ck_assert_int_eq(t->partition_count, 2);
    const struct metadata_partition *p = metadata_partition(b, STR_LIT("orders"), 1);
    ck_assert_int_eq(p->leader, 2);
    ck_assert_int_eq(p->leader_epoch, 7);
    ck_assert_int_eq(p->partition_epoch, 9);
    ck_assert_int_eq(p->replica_count, 3);
    ck_assert_int_eq(p->replicas[2], 3);
    ck_assert_int_eq(p->isr_count, 2);
    ck_assert_int_eq(p->isr[1], 2);
    ck_assert_int_eq(p->offline_count, 1);
    ck_assert_int_eq(p->offline[0], 3);
    ck_assert_ptr_null(metadata_partition(b, STR_LIT("orders"), 2));
    ck_assert_ptr_null(metadata_partition(b, STR_LIT("orders"), -1));
    metadata_unref(&a); /* b does not need it */
    ck_assert_int_eq(metadata_partition(b, STR_LIT("orders"), 0)->leader, 1);
    metadata_unref(&b);
}
END_TEST

START_TEST(topics_that_are_not_named_are_shared_not_copied)
{
    struct metadata *a = metadata_new(), *b, *c;
    state s = partition(0, 1);
    b = apply_topic(a, "x", id_of(1), &s, 1);
    c = apply_topic(b, "y", id_of(2), &s, 1);
    ck_assert_ptr_eq(metadata_topic(b, STR_LIT("x")), metadata_topic(c, STR_LIT("x")));
    ck_assert_int_eq(metadata_topic_count(c), 2);
    metadata_unref(&a);
    metadata_unref(&b);
    ck_assert_int_eq(metadata_partition(c, STR_LIT("x"), 0)->leader, 1);
    metadata_unref(&c);
}
END_TEST

START_TEST(partitions_that_are_not_named_stay)
{
    struct metadata *a = metadata_new(), *b, *c;
    state two[] = {partition(0, 1), partition(1, 2)}, one = partition(0, 3);
    b = apply_topic(a, "t", id_of(1), two, 2);
    c = apply_topic(b, "t", UUID_ZERO, &one, 1); /* an older request without ids */
    ck_assert_int_eq(metadata_partition(c, STR_LIT("t"), 0)->leader, 3);
    ck_assert_int_eq(metadata_partition(c, STR_LIT("t"), 1)->leader, 2);
    ck_assert(uuid_eq(metadata_topic(c, STR_LIT("t"))->id, id_of(1)));
    ck_assert_int_eq(metadata_partition(b, STR_LIT("t"), 0)->leader, 1);
    metadata_unref(&a);
    metadata_unref(&b);
    metadata_unref(&c);
}
END_TEST

START_TEST(leader_minus_two_takes_the_partition_out_and_the_last_one_the_topic)
{
    struct metadata *a = metadata_new(), *b, *c, *d;
    state two[] = {partition(0, 1), partition(1, 2)};
    state gone0 = partition(0, METADATA_LEADER_DELETED), gone1 = partition(1, -2);
    b = apply_topic(a, "t", id_of(1), two, 2);
    c = apply_topic(b, "t", id_of(1), &gone0, 1);
    ck_assert_ptr_null(metadata_partition(c, STR_LIT("t"), 0));
    ck_assert_int_eq(metadata_partition(c, STR_LIT("t"), 1)->leader, 2);
    d = apply_topic(c, "t", id_of(1), &gone1, 1);
    ck_assert_ptr_null(metadata_topic(d, STR_LIT("t")));
    ck_assert_ptr_null(metadata_topic_by_id(d, id_of(1)));
    ck_assert_int_eq(metadata_topic_count(d), 0);
    metadata_unref(&a);
    metadata_unref(&b);
    metadata_unref(&c);
    metadata_unref(&d);
}
END_TEST

START_TEST(a_topic_created_again_under_another_id_begins_afresh)
{
    struct metadata *a = metadata_new(), *b, *c;
    state two[] = {partition(0, 1), partition(1, 2)}, one = partition(0, 3);
    b = apply_topic(a, "t", id_of(1), two, 2);
    c = apply_topic(b, "t", id_of(2), &one, 1);
    ck_assert_int_eq(metadata_topic(c, STR_LIT("t"))->partition_count, 1);
    ck_assert_ptr_null(metadata_topic_by_id(c, id_of(1)));
    ck_assert_ptr_nonnull(metadata_topic_by_id(c, id_of(2)));
    ck_assert_ptr_nonnull(metadata_topic_by_id(b, id_of(1)));
    metadata_unref(&a);
    metadata_unref(&b);
    metadata_unref(&c);
}
END_TEST

START_TEST(brokers_and_controller_replace_the_old_ones)
{
    struct kp_UpdateMetadataRequest_UpdateMetadataEndpoint e[] = {
        {.port = 9092, .host = STR_LIT("h1"), .listener = STR_LIT("PLAINTEXT")},
        {.port = 9093, .host = STR_LIT("h1"), .listener = STR_LIT("TLS"), .security_protocol = 1}};
    struct kp_UpdateMetadataRequest_UpdateMetadataBroker b[] = {
        {.id = 5, .endpoints = e, .endpoints_count = 1, .rack = STR_NULL},
        {.id = 2, .endpoints = e, .endpoints_count = 2, .rack = STR_LIT("r1")}};
    struct kp_UpdateMetadataRequest req = {
        .controller_id = 5, .live_brokers = b, .live_brokers_count = 2};
    struct metadata *a = metadata_new(), *m, *n;
    ck_assert_int_eq(metadata_apply(a, &req, &m, NULL), ERR_OK);
    ck_assert_int_eq(metadata_controller_id(m), 5);
    ck_assert_int_eq(metadata_broker_count(m), 2);
    ck_assert_int_eq(metadata_broker_at(m, 0)->id, 2);
    ck_assert_str_eq(metadata_broker(m, 2)->rack, "r1");
    ck_assert_int_eq(metadata_endpoint(metadata_broker(m, 2), "TLS")->port, 9093);
    ck_assert_ptr_null(metadata_endpoint(metadata_broker(m, 5), "TLS"));
    ck_assert_ptr_null(metadata_endpoint(NULL, "TLS"));
    ck_assert_ptr_null(metadata_broker(m, 3));
    req.live_brokers_count = 1;
    ck_assert_int_eq(metadata_apply(m, &req, &n, NULL), ERR_OK);
    ck_assert_ptr_null(metadata_broker(n, 2));
    metadata_unref(&a);
    metadata_unref(&m);
    metadata_unref(&n);
}
END_TEST

START_TEST(what_cannot_be_is_refused_and_leaves_the_old_one_alone)
{
    struct metadata *a = metadata_new(), *m;
    struct errtext why;
    state bad[] = {partition(-1, 1), partition(METADATA_PARTITIONS_MAX, 1)};
    struct kp_UpdateMetadataRequest_UpdateMetadataBroker twice[] = {{.id = 1}, {.id = 1}};
    for (int i = 0; i < 2; i++) {
        topic_state t = {
            .topic_name = STR_LIT("t"), .partition_states = &bad[i], .partition_states_count = 1};
        struct kp_UpdateMetadataRequest req = {.topic_states = &t, .topic_states_count = 1};
        ck_assert_int_eq(metadata_apply(a, &req, &m, &why), ERR_INVALID);
        ck_assert_ptr_null(m);
    }
    struct kp_UpdateMetadataRequest req = {.live_brokers = twice, .live_brokers_count = 2};
    ck_assert_int_eq(metadata_apply(a, &req, &m, &why), ERR_INVALID);
    ck_assert_int_eq(metadata_topic_count(a), 0);
    metadata_unref(&a);
}
END_TEST

START_TEST(older_requests_name_the_topic_with_each_partition)
{
    state s[] = {partition(0, 1), partition(1, 2), partition(0, 3)};
    s[0].topic_name = s[1].topic_name = STR_LIT("a");
    s[2].topic_name = STR_LIT("b");
    struct kp_UpdateMetadataRequest req = {.ungrouped_partition_states = s,
                                           .ungrouped_partition_states_count = 3};
    struct metadata *a = metadata_new(), *m;
    ck_assert_int_eq(metadata_apply(a, &req, &m, NULL), ERR_OK);
    ck_assert_int_eq(metadata_topic(m, STR_LIT("a"))->partition_count, 2);
    ck_assert_int_eq(metadata_partition(m, STR_LIT("b"), 0)->leader, 3);
    metadata_unref(&a);
    metadata_unref(&m);
}
END_TEST

START_TEST(many_topics_are_all_found_and_listed_once)
{
    enum { COUNT = 5000 };
    static char names[COUNT][16];
    static topic_state topics[COUNT];
    static bool seen[COUNT];
    state s = partition(0, 1);
    for (int i = 0; i < COUNT; i++) {
        snprintf(names[i], sizeof names[i], "topic-%d", i);
        struct uuid id = UUID_ZERO;
        be32_store(id.b, (uint32_t)i + 1);
        topics[i] = (topic_state){.topic_name = str_of(names[i]),
                                  .topic_id = id,
                                  .partition_states = &s,
                                  .partition_states_count = 1};
        seen[i] = false;
    }
    struct kp_UpdateMetadataRequest req = {.topic_states = topics, .topic_states_count = COUNT};
    struct metadata *a = metadata_new(), *m, *n;
    ck_assert_int_eq(metadata_apply(a, &req, &m, NULL), ERR_OK);
    ck_assert_int_eq(metadata_topic_count(m), COUNT);
    for (int i = 0; i < COUNT; i++) {
        ck_assert_ptr_nonnull(metadata_topic(m, str_of(names[i])));
        ck_assert_ptr_eq(metadata_topic_by_id(m, topics[i].topic_id),
                         metadata_topic(m, str_of(names[i])));
        int at = 0;
        ck_assert_int_eq(sscanf(metadata_topic_at(m, i)->name.p, "topic-%d", &at), 1);
        ck_assert(!seen[at]);
        seen[at] = true;
    }
    s.leader = METADATA_LEADER_DELETED;
    ck_assert_int_eq(metadata_apply(m, &req, &n, NULL), ERR_OK);
    ck_assert_int_eq(metadata_topic_count(n), 0);
    ck_assert_int_eq(metadata_topic_count(m), COUNT);
    metadata_unref(&a);
    metadata_unref(&n);
    metadata_unref(&m);
}
END_TEST

/* ---- the cache */

enum { LOOPS = 3, UPDATES = 200 };
static struct loop *loops[LOOPS];
static struct metadata_cache *cache;
static _Atomic int switched_count, told_count;
static struct metadata_wait waits[LOOPS];

static void switched(void *arg)
{
    (void)arg;
    /* whoever is told so finds it on its own loop */
    const struct metadata *m = metadata_cache_on(cache, loop_current());
    if (metadata_topic(m, STR_LIT("t")) != NULL)
        atomic_fetch_add(&switched_count, 1);
}

static void changed(struct metadata_wait *w, const struct metadata *now)
{
    if (metadata_partition(now, STR_LIT("t"), 0)->leader_epoch < UPDATES)
        return;
    metadata_wait_remove(cache, loop_current(), w);
    atomic_fetch_add(&told_count, 1);
}

static void add_wait(void *arg)
{
    struct metadata_wait *w = arg;
    w->changed = changed;
    metadata_wait_add(cache, loop_current(), w);
}

static void wait_for(_Atomic int *count, int value)
{
    for (int i = 0; i < 5000 && atomic_load(count) < value; i++)
        poll(NULL, 0, 1);
    ck_assert_int_eq(atomic_load(count), value);
}

START_TEST(every_loop_gets_every_update_and_waits_are_told)
{
    atomic_store(&switched_count, 0);
    atomic_store(&told_count, 0);
    for (int i = 0; i < LOOPS; i++)
        ck_assert_int_eq(loop_start("test", &loops[i]), ERR_OK);
    cache = metadata_cache_new(loops, LOOPS);
    for (int i = 0; i < LOOPS; i++)
        loop_call(loops[i], add_wait, &waits[i]);
    for (int i = 1; i <= UPDATES; i++) {
        state s = partition(0, 1);
        s.leader_epoch = i;
        topic_state t = {
            .topic_name = STR_LIT("t"), .partition_states = &s, .partition_states_count = 1};
        struct kp_UpdateMetadataRequest req = {.topic_states = &t, .topic_states_count = 1};
        ck_assert_int_eq(metadata_cache_update(cache, &req, loops[i % LOOPS], switched, NULL, NULL),
                         ERR_OK);
    }
    wait_for(&switched_count, UPDATES);
    wait_for(&told_count, LOOPS);
    struct metadata *m = metadata_cache_latest(cache);
    ck_assert_int_eq(metadata_partition(m, STR_LIT("t"), 0)->leader_epoch, UPDATES);
    metadata_unref(&m);
    for (int i = 0; i < LOOPS; i++)
        loop_stop(&loops[i]);
    metadata_cache_free(&cache);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("metadata");
    TCase *t = tcase_create("snapshots");
    tcase_add_test(t, an_empty_snapshot_knows_nothing);
    tcase_add_test(t, an_update_shows_in_the_new_snapshot_and_not_in_the_old);
    tcase_add_test(t, topics_that_are_not_named_are_shared_not_copied);
    tcase_add_test(t, partitions_that_are_not_named_stay);
    tcase_add_test(t, leader_minus_two_takes_the_partition_out_and_the_last_one_the_topic);
    tcase_add_test(t, a_topic_created_again_under_another_id_begins_afresh);
    tcase_add_test(t, brokers_and_controller_replace_the_old_ones);
    tcase_add_test(t, what_cannot_be_is_refused_and_leaves_the_old_one_alone);
    tcase_add_test(t, older_requests_name_the_topic_with_each_partition);
    tcase_add_test(t, many_topics_are_all_found_and_listed_once);
    suite_add_tcase(s, t);
    t = tcase_create("cache");
    tcase_add_test(t, every_loop_gets_every_update_and_waits_are_told);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? 0 : 1;
}
