/* SPDX-License-Identifier: Apache-2.0 */
/* Fetch lists and sessions: what is to be read, epochs, eviction, closing from another loop. The
 * partitions are stand-ins: their watches are counted. */
#include "broker/api/fetch_session.h"
#include "common/protocol/messages.h"

#include <check.h>
#include <poll.h>

typedef struct kp_FetchRequest_FetchPartition fetch_partition;
typedef struct kp_FetchRequest_FetchTopic fetch_topic_req;

static struct loop *loop_a, *loop_b;
static int watched;

/* stand-ins for broker/replica/partition.c */
void partition_watch_add(struct partition *p, struct partition_watch *w)
{
    w->partition = p;
    watched++;
}

void partition_watch_remove(struct partition_watch *w)
{
    watch_list_forget(w);
    w->partition = NULL;
    watched--;
}

static void start(void)
{
    watched = 0;
    ck_assert_int_eq(loop_start("a", &loop_a), ERR_OK);
    ck_assert_int_eq(loop_start("b", &loop_b), ERR_OK);
}

static void stop(void)
{
    loop_stop(&loop_a);
    loop_stop(&loop_b);
}

static void no_news(void *arg)
{
    (void)arg;
}

static void apply(struct fetch_list *l, const char *topic, fetch_partition *parts, int32_t count)
{
    fetch_topic_req t = {.topic = str_of(topic), .partitions = parts, .partitions_count = count};
    struct kp_FetchRequest req = {.topics = &t, .topics_count = 1};
    ck_assert_int_eq(fetch_list_apply(l, &req, 100), ERR_OK);
}

static void forget_at(struct fetch_list *l, int32_t epoch, const char *topic, int32_t *parts,
                      int32_t count)
{
    struct kp_FetchRequest_ForgottenTopic t = {
        .topic = str_of(topic), .partitions = parts, .partitions_count = count};
    struct kp_FetchRequest req = {
        .session_epoch = epoch, .forgotten_topics_data = &t, .forgotten_topics_data_count = 1};
    ck_assert_int_eq(fetch_list_apply(l, &req, 100), ERR_OK);
}

static void forget(struct fetch_list *l, const char *topic, int32_t *parts, int32_t count)
{
    forget_at(l, 1, topic, parts, count);
}

START_TEST(named_partitions_are_added_and_changed_and_become_dirty)
{
    struct fetch_list l;
    fetch_list_init(&l, loop_a, false, false, no_news, NULL);
    fetch_partition p[] = {{.partition = 0, .fetch_offset = 10, .partition_max_bytes = 5},
                           {.partition = 1, .fetch_offset = 20}};
    apply(&l, "t", p, 2);
    ck_assert_int_eq(l.count, 2);
    ck_assert_int_eq(l.dirty_count, 2);
    struct fetch_part *part = fetch_list_find(&l, STR_LIT("t"), UUID_ZERO, 0);
    ck_assert_int_eq(part->fetch_offset, 10);
    ck_assert_int_eq(part->sent_hw, -1);
    fetch_part_settle(&l, part);
    fetch_part_settle(&l, fetch_list_find(&l, STR_LIT("t"), UUID_ZERO, 1));
    ck_assert_int_eq(l.dirty_count, 0);
    p[0].fetch_offset = 11;
    apply(&l, "t", p, 1);
    ck_assert_int_eq(l.count, 2);
    ck_assert_int_eq(l.dirty_count, 1);
    ck_assert_int_eq(part->fetch_offset, 11);
    ck_assert_ptr_null(fetch_list_find(&l, STR_LIT("u"), UUID_ZERO, 0));
    ck_assert_ptr_null(fetch_list_find(&l, STR_LIT("t"), UUID_ZERO, 2));
    fetch_list_fini(&l);
}
END_TEST

START_TEST(forgotten_partitions_are_gone_with_their_watch)
{
    struct fetch_list l;
    int some;
    struct partition *fake = (struct partition *)&some;
    fetch_list_init(&l, loop_a, false, true, no_news, NULL);
    fetch_partition p[] = {{.partition = 0}, {.partition = 1}, {.partition = 2}};
    apply(&l, "t", p, 3);
    fetch_part_watch(&l, fetch_list_find(&l, STR_LIT("t"), UUID_ZERO, 1), fake);
    ck_assert_int_eq(watched, 1);
    int32_t gone[] = {1, 7, 2};
    forget(&l, "t", gone, 3);
    ck_assert_int_eq(l.count, 1);
    ck_assert_int_eq(watched, 0);
    int32_t last[] = {0, 0, 5};
    forget(&l, "t", last, 3);
    ck_assert_int_eq(l.count, 0);
    ck_assert_int_eq(l.topic_count, 0);
    forget(&l, "t", last, 3); /* unknown by now */
    fetch_list_fini(&l);
}
END_TEST

/* Epochs 0 and -1 name all that is wanted; Kafka does not look at the forgotten topics there. */
START_TEST(only_an_incremental_fetch_forgets)
{
    struct fetch_list l;
    fetch_list_init(&l, loop_a, false, false, no_news, NULL);
    fetch_partition p[] = {{.partition = 0}};
    int32_t gone[] = {0};
    apply(&l, "t", p, 1);
    forget_at(&l, 0, "t", gone, 1);
    forget_at(&l, -1, "t", gone, 1);
    ck_assert_int_eq(l.count, 1);
    forget_at(&l, 1, "t", gone, 1);
    ck_assert_int_eq(l.count, 0);
    fetch_list_fini(&l);
}
END_TEST

START_TEST(what_was_read_goes_behind_what_was_not)
{
    struct fetch_list l;
    fetch_list_init(&l, loop_a, false, false, no_news, NULL);
    fetch_partition p[] = {{.partition = 0}, {.partition = 1}};
    apply(&l, "t", p, 2);
    ck_assert_int_eq(TAILQ_FIRST(&l.dirty)->index, 0);
    fetch_part_touch(&l, TAILQ_FIRST(&l.dirty));
    ck_assert_int_eq(TAILQ_FIRST(&l.dirty)->index, 1);
    ck_assert_int_eq(l.dirty_count, 2);
    apply(&l, "t", p, 1); /* named again: keeps its place */
    ck_assert_int_eq(TAILQ_FIRST(&l.dirty)->index, 1);
    fetch_list_fini(&l);
}
END_TEST

START_TEST(news_make_a_quiet_partition_dirty_again)
{
    struct fetch_list l;
    int some;
    fetch_list_init(&l, loop_a, false, false, no_news, NULL);
    fetch_partition p[] = {{.partition = 0}};
    apply(&l, "t", p, 1);
    struct fetch_part *part = TAILQ_FIRST(&l.dirty);
    fetch_part_watch(&l, part, (struct partition *)&some);
    fetch_part_settle(&l, part);
    fetch_list_collect(&l);
    ck_assert_int_eq(l.dirty_count, 0);
    watch_list_put(l.news, &part->watch);
    fetch_list_collect(&l);
    ck_assert_int_eq(l.dirty_count, 1);
    fetch_list_fini(&l);
}
END_TEST

START_TEST(many_partitions_and_topics_are_found_and_the_limit_holds)
{
    struct fetch_list l;
    static fetch_partition p[1000];
    fetch_list_init(&l, loop_a, true, false, no_news, NULL);
    for (int32_t i = 0; i < 1000; i++)
        p[i].partition = i;
    for (uint8_t t = 1; t <= 30; t++) {
        struct uuid id = UUID_ZERO;
        id.b[0] = t;
        fetch_topic_req ft = {.topic_id = id, .partitions = p, .partitions_count = 1000};
        struct kp_FetchRequest req = {.topics = &ft, .topics_count = 1};
        ck_assert_int_eq(fetch_list_apply(&l, &req, 30000), ERR_OK);
        ck_assert_ptr_nonnull(fetch_list_find(&l, STR_NULL, id, 999));
    }
    ck_assert_int_eq(l.count, 30000);
    fetch_topic_req more = {.topic_id = UUID_ZERO, .partitions = p, .partitions_count = 1};
    struct kp_FetchRequest req = {.topics = &more, .topics_count = 1};
    ck_assert_int_eq(fetch_list_apply(&l, &req, 30000), ERR_LIMIT);
    fetch_list_fini(&l);
}
END_TEST

START_TEST(epochs_rise_and_wrap_to_one)
{
    ck_assert_int_eq(fetch_epoch_after(0), 1);
    ck_assert_int_eq(fetch_epoch_after(1), 2);
    ck_assert_int_eq(fetch_epoch_after(INT32_MAX), 1);
}
END_TEST

static struct fetch_session *open_at(struct fetch_session_cache *c, bool is_follower, int32_t size,
                                     int64_t now_ms)
{
    struct fetch_session *s =
        fetch_session_open(c, loop_a, false, is_follower, size, now_ms, no_news);
    if (s != NULL) {
        fetch_partition p[10] = {{0}};
        ck_assert_int_le(size, 10);
        for (int32_t i = 0; i < size; i++)
            p[i].partition = i;
        apply(&s->list, "t", p, size);
        fetch_session_done(c, s);
        ck_assert_int_eq(s->size, size);
    }
    return s;
}

static int16_t use(struct fetch_session_cache *c, struct loop *l, int32_t id, int32_t epoch)
{
    struct fetch_session *s;
    int16_t rc = fetch_session_use(c, l, id, epoch, false, 0, &s);
    if (s != NULL)
        fetch_session_done(c, s);
    return rc;
}

START_TEST(an_incremental_request_needs_the_id_the_epoch_and_the_loop)
{
    struct fetch_session_cache *c = fetch_session_cache_new(10, 120000);
    struct fetch_session *s = open_at(c, false, 1, 0), *used;
    int32_t id = s->id;
    ck_assert_int_gt(id, 0);
    ck_assert_int_eq(use(c, loop_a, id, 1), KE_NONE);
    ck_assert_int_eq(use(c, loop_a, id, 1), KE_INVALID_FETCH_SESSION_EPOCH);
    ck_assert_int_eq(use(c, loop_a, id, 2), KE_NONE);
    ck_assert_int_eq(use(c, loop_a, id, 4), KE_INVALID_FETCH_SESSION_EPOCH);
    ck_assert_int_eq(use(c, loop_a, id == 1 ? 2 : id - 1, 3), KE_FETCH_SESSION_ID_NOT_FOUND);
    ck_assert_int_eq(use(c, loop_b, id, 3), KE_FETCH_SESSION_ID_NOT_FOUND);
    ck_assert_int_eq(fetch_session_use(c, loop_a, id, 3, true, 0, &used),
                     KE_FETCH_SESSION_TOPIC_ID_ERROR);
    s->waiting = s; /* in use by another connection */
    ck_assert_int_eq(use(c, loop_a, id, 3), KE_INVALID_FETCH_SESSION_EPOCH);
    s->waiting = NULL;
    ck_assert_int_eq(use(c, loop_a, id, 3), KE_NONE);
    fetch_session_close_all(c);
    fetch_session_cache_free(&c);
}
END_TEST

START_TEST(a_full_cache_evicts_by_age_kind_and_size_and_else_refuses)
{
    struct fetch_session_cache *c = fetch_session_cache_new(2, 1000);
    int32_t small = open_at(c, false, 5, 0)->id;
    int32_t large = open_at(c, false, 9, 0)->id;
    ck_assert_ptr_null(open_at(c, false, 7, 500));             /* nobody is old enough */
    struct fetch_session *follower = open_at(c, true, 1, 500); /* may take a consumer's place */
    ck_assert_ptr_nonnull(follower);
    ck_assert_int_eq(fetch_session_count(c), 2);
    ck_assert_int_eq(use(c, loop_a, small, 1), KE_FETCH_SESSION_ID_NOT_FOUND); /* the smaller one */
    struct fetch_session *s;
    ck_assert_int_eq(fetch_session_use(c, loop_a, large, 1, false, 900, &s), KE_NONE);
    fetch_session_done(c, s);
    ck_assert_ptr_null(open_at(c, false, 8, 1200));     /* larger ones stay, followers stay */
    ck_assert_ptr_nonnull(open_at(c, false, 10, 1300)); /* larger than an old one */
    ck_assert_int_eq(use(c, loop_a, large, 2), KE_FETCH_SESSION_ID_NOT_FOUND);
    ck_assert_int_eq(use(c, loop_a, follower->id, 1), KE_NONE);
    ck_assert_ptr_nonnull(open_at(c, false, 1, 9000)); /* unused for too long */
    fetch_session_close_all(c);
    fetch_session_cache_free(&c);
}
END_TEST

START_TEST(no_slots_no_sessions)
{
    struct fetch_session_cache *c = fetch_session_cache_new(0, 1000);
    ck_assert_ptr_null(open_at(c, true, 1, 0));
    fetch_session_cache_free(&c);
}
END_TEST

START_TEST(all_sessions_together_hold_a_bounded_number_of_partitions)
{
    struct fetch_session_cache *c = fetch_session_cache_new(1000, 1000);
    struct fetch_session *s;
    int opened = 0;
    while ((s = fetch_session_open(c, loop_a, false, false, FETCH_SESSION_PARTS_MAX, 0, no_news)) !=
           NULL)
        opened++;
    ck_assert_int_eq(opened, FETCH_CACHE_PARTS_MAX / FETCH_SESSION_PARTS_MAX);
    ck_assert_ptr_null(open_at(c, false, 1, 0));
    fetch_session_close_all(c);
    ck_assert_ptr_nonnull(open_at(c, false, 1, 0)); /* room again */
    fetch_session_close_all(c);
    fetch_session_cache_free(&c);
}
END_TEST

START_TEST(a_session_left_without_partitions_is_closed)
{
    struct fetch_session_cache *c = fetch_session_cache_new(2, 1000);
    struct fetch_session *s = fetch_session_open(c, loop_a, false, false, 1, 0, no_news);
    int32_t id = s->id;
    fetch_session_done(c, s);
    ck_assert_int_eq(fetch_session_count(c), 0);
    ck_assert_int_eq(use(c, loop_a, id, 1), KE_FETCH_SESSION_ID_NOT_FOUND);
    fetch_session_cache_free(&c);
}
END_TEST

START_TEST(a_session_in_use_is_closed_when_its_user_is_done)
{
    struct fetch_session_cache *c = fetch_session_cache_new(2, 1000);
    struct fetch_session *s = open_at(c, false, 1, 0);
    ck_assert_int_eq(fetch_session_use(c, loop_a, s->id, 1, false, 0, &s), KE_NONE);
    s->waiting = s;
    fetch_session_close(c, loop_a, s->id);
    ck_assert_int_eq(fetch_session_count(c), 0);
    ck_assert_int_eq(s->list.count, 1); /* still there */
    fetch_session_done(c, s);           /* freed: the sanitizer would tell */
    fetch_session_cache_free(&c);
}
END_TEST

static void nothing(void *arg)
{
    (void)arg;
}

START_TEST(another_loop_closes_by_mail_to_the_owner)
{
    struct fetch_session_cache *c = fetch_session_cache_new(2, 1000);
    struct fetch_session *idle = open_at(c, false, 1, 0), *busy = open_at(c, false, 1, 0), *used;
    ck_assert_int_eq(fetch_session_use(c, loop_a, busy->id, 1, false, 0, &used), KE_NONE);
    used->waiting = used;
    fetch_session_close(c, loop_b, idle->id);
    fetch_session_close(c, loop_b, busy->id);
    loop_call(loop_a, nothing, NULL); /* the mails are delivered before it */
    fetch_session_done(c, used);
    fetch_session_cache_free(&c);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("fetch_session");
    TCase *t = tcase_create("list");
    tcase_add_checked_fixture(t, start, stop);
    tcase_add_test(t, named_partitions_are_added_and_changed_and_become_dirty);
    tcase_add_test(t, forgotten_partitions_are_gone_with_their_watch);
    tcase_add_test(t, only_an_incremental_fetch_forgets);
    tcase_add_test(t, what_was_read_goes_behind_what_was_not);
    tcase_add_test(t, news_make_a_quiet_partition_dirty_again);
    tcase_add_test(t, many_partitions_and_topics_are_found_and_the_limit_holds);
    suite_add_tcase(s, t);
    t = tcase_create("sessions");
    tcase_add_checked_fixture(t, start, stop);
    tcase_add_test(t, epochs_rise_and_wrap_to_one);
    tcase_add_test(t, an_incremental_request_needs_the_id_the_epoch_and_the_loop);
    tcase_add_test(t, a_full_cache_evicts_by_age_kind_and_size_and_else_refuses);
    tcase_add_test(t, no_slots_no_sessions);
    tcase_add_test(t, all_sessions_together_hold_a_bounded_number_of_partitions);
    tcase_add_test(t, a_session_left_without_partitions_is_closed);
    tcase_add_test(t, a_session_in_use_is_closed_when_its_user_is_done);
    tcase_add_test(t, another_loop_closes_by_mail_to_the_owner);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? 0 : 1;
}
