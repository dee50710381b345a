/* SPDX-License-Identifier: Apache-2.0 */
/* The follower's side of incremental fetch sessions: what is named, what is forgotten, which
 * answers still fit. */
#include "broker/replica/fetch_set.h"

#include <check.h>
#include <stdio.h>

static struct fetch_set set;
static struct arena arena;
static struct kp_FetchRequest req;
static uint32_t seq;
static int16_t version;
static char fake[64]; /* stands for partitions */

static struct partition *fake_partition(int32_t i)
{
    return (struct partition *)(void *)&fake[i];
}

static int released;
static void release(void *arg, struct partition *p)
{
    ck_assert_ptr_nonnull(p);
    released++;
}

static void setup(void)
{
    fetch_set_init(&set);
    released = 0;
}

static void teardown(void)
{
    fetch_set_fini(&set, release, NULL);
    arena_fini(&arena);
}

static struct uuid id_of(const char *topic)
{
    struct uuid u = UUID_ZERO;
    memcpy(u.b, topic, strlen(topic));
    return u;
}

static struct fetch_entry *add(const char *topic, int32_t index, int64_t offset)
{
    struct fetch_entry *e = fetch_set_add(&set, str_of(topic), id_of(topic), index);
    e->partition = fake_partition(index);
    e->offset = offset;
    e->leader_epoch = 5;
    e->last_epoch = 4;
    return e;
}

/* "a:0,1 b:2" */
static const char *named(void)
{
    static char text[4096];
    size_t n = 0;
    text[0] = 0;
    for (int32_t i = 0; i < req.topics_count; i++) {
        n += (size_t)snprintf(text + n, sizeof text - n, "%s%.*s:", i ? " " : "",
                              STR_ARG(req.topics[i].topic));
        for (int32_t j = 0; j < req.topics[i].partitions_count; j++)
            n += (size_t)snprintf(text + n, sizeof text - n, "%s%d", j ? "," : "",
                                  req.topics[i].partitions[j].partition);
    }
    return text;
}

static const char *forgotten(void)
{
    static char text[4096];
    size_t n = 0;
    text[0] = 0;
    for (int32_t i = 0; i < req.forgotten_topics_data_count; i++) {
        n += (size_t)snprintf(text + n, sizeof text - n, "%s%.*s:", i ? " " : "",
                              STR_ARG(req.forgotten_topics_data[i].topic));
        for (int32_t j = 0; j < req.forgotten_topics_data[i].partitions_count; j++)
            n += (size_t)snprintf(text + n, sizeof text - n, "%s%d", j ? "," : "",
                                  req.forgotten_topics_data[i].partitions[j]);
    }
    return text;
}

static void send(void)
{
    arena_reset(&arena);
    kp_defaults(&kp_FetchRequest_schema, &req);
    version = fetch_set_request(&set, &arena, 1000, &req, &seq);
    fetch_set_sent(&set);
}
#define SENT(names_, gone_)                                                                        \
    do {                                                                                           \
        arena_reset(&arena);                                                                       \
        kp_defaults(&kp_FetchRequest_schema, &req);                                                \
        version = fetch_set_request(&set, &arena, 1000, &req, &seq);                               \
        ck_assert_str_eq(named(), names_);                                                         \
        ck_assert_str_eq(forgotten(), gone_);                                                      \
        fetch_set_sent(&set);                                                                      \
    } while (0)

static void establish(void)
{
    send();
    ck_assert(fetch_set_answer(&set, seq, true, KE_NONE, 77));
}

START_TEST(first_request_is_full_and_opens_a_session)
{
    add("b", 2, 20);
    add("a", 1, 10);
    add("a", 0, 0);
    SENT("a:0,1 b:2", "");
    ck_assert_int_eq(version, 17);
    ck_assert_int_eq(req.session_id, 0);
    ck_assert_int_eq(req.session_epoch, 0);
    ck_assert_int_eq(req.topics[0].partitions[1].fetch_offset, 10);
    ck_assert_int_eq(req.topics[0].partitions[1].current_leader_epoch, 5);
    ck_assert_int_eq(req.topics[0].partitions[1].last_fetched_epoch, 4);
    ck_assert_int_eq(req.topics[0].partitions[1].partition_max_bytes, 1000);
}
END_TEST

START_TEST(then_only_what_moved_is_named)
{
    struct fetch_entry *e = add("a", 0, 0);
    add("a", 1, 0);
    establish();
    e->offset = 50;
    fetch_set_move(&set, e, FETCH_WANTED);
    SENT("a:0", "");
    ck_assert_int_eq(req.session_id, 77);
    ck_assert_int_eq(req.session_epoch, 1);
    SENT("", "");
    ck_assert_int_eq(req.session_epoch, 2);
}
END_TEST

START_TEST(a_leader_without_sessions_gets_full_requests)
{
    add("a", 0, 0);
    send();
    ck_assert(fetch_set_answer(&set, seq, true, KE_NONE, 0));
    SENT("a:0", "");
    ck_assert_int_eq(req.session_epoch, 0);
}
END_TEST

START_TEST(delayed_and_removed_are_forgotten_once)
{
    struct fetch_entry *e = add("a", 0, 0);
    struct fetch_entry *f = add("b", 1, 0);
    add("b", 2, 0);
    establish();
    fetch_set_move(&set, e, FETCH_DELAYED);
    f->partition = NULL;
    fetch_set_remove(&set, f);
    ck_assert_int_eq(fetch_set_count(&set), 2);
    SENT("", "a:0 b:1");
    SENT("", "");
    ck_assert_ptr_null(fetch_set_find(&set, str_of("b"), 1));
    fetch_set_move(&set, e, FETCH_WANTED);
    SENT("a:0", "");
}
END_TEST

START_TEST(what_comes_back_before_it_was_forgotten_is_only_named)
{
    /* a leader carries out forgetting after adding: named and forgotten would be lost */
    struct fetch_entry *e = add("a", 0, 0);
    establish();
    e->partition = NULL;
    fetch_set_remove(&set, e);
    e = add("a", 0, 7);
    SENT("a:0", "");
    ck_assert_int_eq(req.topics[0].partitions[0].fetch_offset, 7);
}
END_TEST

START_TEST(never_sent_is_never_forgotten)
{
    struct fetch_entry *e = add("a", 0, 0);
    e->partition = NULL;
    fetch_set_remove(&set, e);
    ck_assert_int_eq(fetch_set_count(&set), 0);
    ck_assert(!fetch_set_has_work(&set));
    add("b", 0, 0);
    SENT("b:0", "");
}
END_TEST

START_TEST(a_topic_made_anew_starts_another_session)
{
    struct fetch_entry *e = add("a", 0, 0);
    struct uuid other = id_of("z");
    add("b", 0, 0);
    establish();
    e->partition = NULL;
    fetch_set_remove(&set, e);
    e = fetch_set_add(&set, STR_LIT("a"), other, 0);
    e->partition = fake_partition(0);
    SENT("a:0 b:0", "");
    ck_assert_int_eq(req.session_id, 77);
    ck_assert_int_eq(req.session_epoch, 0);
    ck_assert(uuid_eq(req.topics[0].topic_id, other));
}
END_TEST

START_TEST(without_a_topic_id_names_are_used)
{
    add("a", 0, 0);
    establish();
    struct fetch_entry *e = fetch_set_add(&set, STR_LIT("old"), UUID_ZERO, 0);
    e->partition = fake_partition(0);
    SENT("a:0 old:0", "");
    ck_assert_int_eq(version, 12);
    ck_assert_int_eq(req.session_epoch, 0);
    ck_assert(fetch_set_answer(&set, seq, true, KE_NONE, 78));
    e->partition = NULL;
    fetch_set_remove(&set, e);
    SENT("", "old:0");
    ck_assert_int_eq(version, 12);
    SENT("a:0", "");
    ck_assert_int_eq(version, 17);
    ck_assert_int_eq(req.session_epoch, 0);
}
END_TEST

START_TEST(session_errors_start_over)
{
    add("a", 0, 0);
    establish();
    send();
    ck_assert(!fetch_set_answer(&set, seq, false, KE_INVALID_FETCH_SESSION_EPOCH, 0));
    SENT("a:0", "");
    ck_assert_int_eq(req.session_id, 77); /* closes the old one */
    ck_assert_int_eq(req.session_epoch, 0);
    ck_assert(fetch_set_answer(&set, seq, true, KE_NONE, 78));
    send();
    ck_assert(!fetch_set_answer(&set, seq, false, KE_FETCH_SESSION_ID_NOT_FOUND, 0));
    SENT("a:0", "");
    ck_assert_int_eq(req.session_id, 0);
}
END_TEST

START_TEST(after_a_lost_connection_everything_is_named)
{
    struct fetch_entry *e = add("a", 0, 0);
    add("a", 1, 0);
    struct fetch_entry *g = add("a", 2, 0);
    establish();
    fetch_set_move(&set, e, FETCH_PAUSED);
    g->partition = NULL;
    fetch_set_remove(&set, g);
    fetch_set_disconnected(&set);
    ck_assert_ptr_null(fetch_set_find(&set, STR_LIT("a"), 2));
    SENT("a:1", "");
    ck_assert_int_eq(req.session_epoch, 0);
}
END_TEST

START_TEST(an_answer_fits_only_the_position_that_the_leader_knew)
{
    struct fetch_entry *e = add("a", 0, 0);
    struct fetch_entry *f;
    uint32_t first, second;

    establish();
    send();
    first = seq;
    ck_assert(fetch_entry_fits(e, first));
    f = add("b", 0, 0);
    ck_assert(!fetch_entry_fits(f, first));
    send(); /* a second one on its way */
    second = seq;
    ck_assert(!fetch_entry_fits(f, first));
    ck_assert(fetch_entry_fits(f, second));
    /* the first answer moves e: the second was made for its old position */
    fetch_set_move(&set, e, FETCH_WANTED);
    ck_assert(!fetch_entry_fits(e, second));
    send();
    ck_assert(!fetch_entry_fits(e, second));
    ck_assert(fetch_entry_fits(e, seq));
}
END_TEST

START_TEST(an_answer_from_before_it_was_added_anew_tells_nothing_of_it)
{
    struct fetch_entry *e = add("a", 0, 10);
    uint32_t older;

    establish();
    older = seq;
    fetch_set_move(&set, e, FETCH_WANTED); /* moved on by records */
    ck_assert(!fetch_entry_fits(e, older));
    ck_assert(fetch_entry_offsets_fit(e, older));
    e->partition = NULL;
    fetch_set_remove(&set, e); /* another leader, then this one again */
    e = add("a", 0, 20);
    ck_assert(!fetch_entry_offsets_fit(e, older));
    SENT("a:0", "");
    ck_assert(!fetch_entry_offsets_fit(e, older));
    ck_assert(fetch_entry_offsets_fit(e, seq));
}
END_TEST

START_TEST(request_numbers_may_wrap)
{
    struct fetch_entry *e = add("a", 0, 0);

    set.seq = UINT32_MAX;
    establish();
    ck_assert_uint_eq(seq, 0);
    ck_assert(!fetch_entry_fits(e, UINT32_MAX));
    ck_assert(fetch_entry_fits(e, 1));
}
END_TEST

START_TEST(the_session_epoch_wraps_to_one)
{
    add("a", 0, 0);
    establish();
    set.session_epoch = INT32_MAX;
    send();
    ck_assert_int_eq(req.session_epoch, INT32_MAX);
    send();
    ck_assert_int_eq(req.session_epoch, 1);
}
END_TEST

START_TEST(many_are_found_by_name_and_by_id)
{
    char name[16];

    for (int i = 0; i < 1000; i++) {
        (void)snprintf(name, sizeof name, "topic-%d", i / 10);
        struct fetch_entry *e = fetch_set_add(&set, str_of(name), id_of(name), i % 10);
        e->partition = fake_partition(0);
    }
    ck_assert_int_eq(fetch_set_count(&set), 1000);
    for (int i = 0; i < 1000; i++) {
        (void)snprintf(name, sizeof name, "topic-%d", i / 10);
        struct fetch_entry *e = fetch_set_find(&set, str_of(name), i % 10);
        ck_assert_ptr_nonnull(e);
        ck_assert_ptr_eq(e, fetch_set_find_by_id(&set, id_of(name), i % 10));
    }
    ck_assert_ptr_null(fetch_set_find(&set, STR_LIT("topic-0"), 10));
    ck_assert_ptr_null(fetch_set_find(&set, STR_NULL, 0));
    ck_assert_ptr_null(fetch_set_find_by_id(&set, UUID_ZERO, 0));
    send();
    ck_assert_int_eq(req.topics_count, 100);
    fetch_set_fini(&set, release, NULL);
    ck_assert_int_eq(released, 1000);
    fetch_set_init(&set);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("replica_fetch_set");
    TCase *t = tcase_create("session");
    SRunner *sr;
    int failed;

    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, first_request_is_full_and_opens_a_session);
    tcase_add_test(t, then_only_what_moved_is_named);
    tcase_add_test(t, a_leader_without_sessions_gets_full_requests);
    tcase_add_test(t, delayed_and_removed_are_forgotten_once);
    tcase_add_test(t, what_comes_back_before_it_was_forgotten_is_only_named);
    tcase_add_test(t, never_sent_is_never_forgotten);
    tcase_add_test(t, a_topic_made_anew_starts_another_session);
    tcase_add_test(t, without_a_topic_id_names_are_used);
    tcase_add_test(t, session_errors_start_over);
    tcase_add_test(t, after_a_lost_connection_everything_is_named);
    tcase_add_test(t, an_answer_fits_only_the_position_that_the_leader_knew);
    tcase_add_test(t, an_answer_from_before_it_was_added_anew_tells_nothing_of_it);
    tcase_add_test(t, request_numbers_may_wrap);
    tcase_add_test(t, the_session_epoch_wraps_to_one);
    tcase_add_test(t, many_are_found_by_name_and_by_id);
    suite_add_tcase(s, t);
    sr = srunner_create(s);
    srunner_run_all(sr, CK_ENV);
    failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed != 0;
}
