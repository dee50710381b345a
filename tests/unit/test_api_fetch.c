/* SPDX-License-Identifier: Apache-2.0 */
/* Fetch, its sessions and its answers in old formats. */
#include "tests/unit/api_fixture.h"

/* ---- fetch */

START_TEST(data_are_answered_at_once_in_every_version)
{
    parts[0].end = parts[0].hw = 3;
    for (int16_t v = 4; v <= 17; v++) {
        struct outcome o;
        struct kp_FetchRequest_FetchTopic t;
        fetch_data d[] = {{.partition = 0, .fetch_offset = 1}, {.partition = 1}};
        struct kp_FetchRequest req = fetch_of(&t, d, 2);
        call(1, v, &req, &o);
        ck_assert_int_eq(fetched(&o, 0)->records.len, 200);
        ck_assert_int_eq(fetched(&o, 0)->high_watermark, 3);
        ck_assert_int_eq(fetched(&o, 0)->aborted_transactions_count, -1);
        ck_assert_int_eq(fetched(&o, 1)->records.len, 0); /* a full answer tells of all */
        ck_assert_int_eq(o.u.fetch.session_id, 0);
        outcome_fini(&o);
    }
}
END_TEST

START_TEST(a_fetch_without_news_waits_for_them_or_for_its_time)
{
    struct outcome o;
    struct kp_FetchRequest_FetchTopic t;
    fetch_data d[] = {{.partition = 0}};
    struct kp_FetchRequest req = fetch_of(&t, d, 1);
    send_on(1, 1, 12, &req, NULL, &o);
    settle();
    ck_assert_int_eq(o.end, NOT_YET);
    parts[0].end = 1;
    set_hw(1);
    wait_end(&o, REPLIED);
    ck_assert_int_eq(fetched(&o, 0)->records.len, 100);
    outcome_fini(&o);
    d[0].fetch_offset = 1;
    req.max_wait_ms = 20;
    call(1, 12, &req, &o);
    ck_assert_int_eq(fetched(&o, 0)->records.len, 0);
    ck_assert_int_eq(fetched(&o, 0)->error_code, KE_NONE);
    outcome_fini(&o);
}
END_TEST

START_TEST(min_bytes_are_waited_for)
{
    struct outcome o;
    struct kp_FetchRequest_FetchTopic t;
    fetch_data d[] = {{.partition = 0}};
    struct kp_FetchRequest req = fetch_of(&t, d, 1);
    req.min_bytes = 250;
    parts[0].end = 5;
    send_on(1, 1, 4, &req, NULL, &o);
    set_hw(1);
    settle();
    set_hw(2);
    settle();
    ck_assert_int_eq(o.end, NOT_YET);
    set_hw(3);
    wait_end(&o, REPLIED);
    ck_assert_int_eq(fetched(&o, 0)->records.len, 300);
    outcome_fini(&o);
}
END_TEST

START_TEST(an_error_is_answered_at_once)
{
    struct outcome o;
    struct kp_FetchRequest_FetchTopic t;
    fetch_data d[] = {
        {.partition = 0}, {.partition = 1, .fetch_offset = 9}, {.partition = PARTITIONS}};
    struct kp_FetchRequest req = fetch_of(&t, d, 3);
    call(1, 17, &req, &o);
    ck_assert_int_eq(fetched(&o, 0)->error_code, KE_NONE);
    ck_assert_int_eq(fetched(&o, 1)->error_code, KE_OFFSET_OUT_OF_RANGE);
    ck_assert_int_eq(fetched(&o, 1)->high_watermark, -1);
    ck_assert_int_eq(fetched(&o, 2)->error_code, KE_NOT_LEADER_OR_FOLLOWER);
    ck_assert_int_eq(fetched(&o, 2)->current_leader.leader_id, 1);
    ck_assert_int_eq(o.u.fetch.node_endpoints_count, 1);
    outcome_fini(&o);
    t.topic_id.b[0] = '?';
    call(1, 17, &req, &o);
    ck_assert_int_eq(fetched(&o, 0)->error_code, KE_UNKNOWN_TOPIC_ID);
    outcome_fini(&o);
}
END_TEST

START_TEST(a_session_tells_only_what_is_new)
{
    struct outcome o;
    struct kp_FetchRequest_FetchTopic t;
    fetch_data d[] = {{.partition = 0}, {.partition = 1}, {.partition = 2}};
    struct kp_FetchRequest req = fetch_of(&t, d, 3);
    req.session_epoch = 0;
    req.max_wait_ms = 0;
    call(1, 13, &req, &o);
    ck_assert_int_eq(o.u.fetch.responses[0].partitions_count, 3);
    int32_t id = o.u.fetch.session_id;
    ck_assert_int_gt(id, 0);
    outcome_fini(&o);

    struct kp_FetchRequest next = fetch_of(&t, d, 0);
    next.session_id = id;
    next.session_epoch = 1;
    next.max_wait_ms = 0;
    call(1, 13, &next, &o);
    ck_assert_int_eq(o.u.fetch.error_code, KE_NONE);
    ck_assert_int_eq(o.u.fetch.responses_count, 0);
    outcome_fini(&o);

    next.session_epoch = 2;
    next.max_wait_ms = 20000;
    parts[0].end = 4;
    send_on(1, 1, 13, &next, NULL, &o);
    settle();
    ck_assert_int_eq(o.end, NOT_YET);
    set_hw(2);
    wait_end(&o, REPLIED);
    ck_assert_int_eq(o.u.fetch.responses[0].partitions_count, 1);
    ck_assert_int_eq(fetched(&o, 0)->records.len, 200);
    outcome_fini(&o);

    /* the same epoch again, and one that is too far */
    call(1, 13, &next, &o);
    ck_assert_int_eq(o.u.fetch.error_code, KE_INVALID_FETCH_SESSION_EPOCH);
    ck_assert_int_eq(o.u.fetch.responses_count, 0);
    outcome_fini(&o);

    /* it goes on from its new position */
    fetch_data moved[] = {{.partition = 0, .fetch_offset = 2}};
    struct kp_FetchRequest third = fetch_of(&t, moved, 1);
    third.session_id = id;
    third.session_epoch = 3;
    third.max_wait_ms = 0;
    call(1, 13, &third, &o);
    ck_assert_int_eq(o.u.fetch.responses_count, 0);
    outcome_fini(&o);

    /* by name what began by id */
    third.session_epoch = 4;
    call(1, 12, &third, &o);
    ck_assert_int_eq(o.u.fetch.error_code, KE_FETCH_SESSION_TOPIC_ID_ERROR);
    outcome_fini(&o);

    /* closed */
    third.session_epoch = -1;
    call(1, 13, &third, &o);
    ck_assert_int_eq(o.u.fetch.session_id, 0);
    outcome_fini(&o);
    third.session_epoch = 4;
    call(1, 13, &third, &o);
    ck_assert_int_eq(o.u.fetch.error_code, KE_FETCH_SESSION_ID_NOT_FOUND);
    outcome_fini(&o);
}
END_TEST

static void quiet_news(void *arg)
{
    struct partition_watch *w;
    LIST_FOREACH (w, &((struct partition *)arg)->watches, link)
        watch_list_put(w->list, w);
}

START_TEST(a_follower_with_news_while_it_waits_is_recorded_by_its_next_fetch)
{
    struct outcome o;
    struct kp_FetchRequest_FetchTopic t;
    fetch_data d[] = {{.partition = 0}, {.partition = 1}};
    struct kp_FetchRequest req = fetch_of(&t, d, 2);
    req.replica_state.replica_id = 2;
    req.session_epoch = 0;
    req.max_wait_ms = 0;
    call(1, 15, &req, &o);
    struct kp_FetchRequest next = fetch_of(&t, d, 0);
    next.replica_state.replica_id = 2;
    next.session_id = o.u.fetch.session_id;
    outcome_fini(&o);
    ck_assert_int_eq(parts[0].recorded, 1);
    ck_assert_int_eq(parts[1].recorded, 1);

    next.session_epoch = 1; /* nothing to say of either */
    next.max_wait_ms = 40;
    send_on(1, 1, 15, &next, NULL, &o);
    loop_call(broker.loops[0], quiet_news, &parts[0]);
    wait_end(&o, REPLIED);
    ck_assert_int_eq(parts[0].recorded, 1);
    outcome_fini(&o);

    next.max_wait_ms = 0;
    for (next.session_epoch = 2; next.session_epoch < 4; next.session_epoch++) {
        call(1, 15, &next, &o);
        ck_assert_int_eq(o.u.fetch.error_code, KE_NONE);
        ck_assert_int_eq(parts[0].recorded, 2); /* once, then it rests again */
        ck_assert_int_eq(parts[1].recorded, 1);
        outcome_fini(&o);
    }
}
END_TEST

START_TEST(what_did_not_fit_is_first_in_the_next_answer)
{
    struct outcome o;
    struct kp_FetchRequest_FetchTopic t;
    fetch_data d[] = {{.partition = 0}, {.partition = 1}, {.partition = 2}};
    for (int i = 0; i < 3; i++)
        parts[i].end = parts[i].hw = 10;
    struct kp_FetchRequest req = fetch_of(&t, d, 3);
    req.session_epoch = 0;
    req.max_bytes = 1024;
    call(1, 12, &req, &o);
    ck_assert_int_eq(fetched(&o, 0)->records.len, 1000);
    ck_assert_int_eq(fetched(&o, 1)->records.len, 0);
    struct kp_FetchRequest next = fetch_of(&t, d, 0);
    next.session_id = o.u.fetch.session_id;
    next.session_epoch = 1;
    next.max_bytes = 1024;
    outcome_fini(&o);
    call(1, 12, &next, &o);
    ck_assert_int_eq(fetched(&o, 0)->partition_index, 1);
    ck_assert_int_eq(fetched(&o, 0)->records.len, 1000);
    outcome_fini(&o);
    next.session_epoch = 2;
    call(1, 12, &next, &o);
    ck_assert_int_eq(fetched(&o, 0)->partition_index, 2);
    outcome_fini(&o);
}
END_TEST

START_TEST(a_waiting_fetch_is_dropped_with_its_connection)
{
    struct outcome o;
    struct kp_FetchRequest_FetchTopic t;
    fetch_data d[] = {{.partition = 0}};
    struct kp_FetchRequest req = fetch_of(&t, d, 1);
    struct request *r = send_on(1, 1, 12, &req, NULL, &o);
    loop_call(broker.loops[0], cancel, r);
    ck_assert_int_eq(o.end, DROPPED);
    ck_assert(LIST_EMPTY(&parts[0].watches));
    outcome_fini(&o);
}
END_TEST

/* ---- fetch of old formats */

/* Appends a batch of count records with values of value_bytes, and the markers of transactions. */
static void store(struct partition *p, enum codec codec, int count, size_t value_bytes, int markers)
{
    struct batch_options o;
    struct batch_builder b;
    uint8_t *value = calloc(1, value_bytes);
    batch_options_init(&o);
    o.codec = codec;
    o.base_offset = p->end;
    batch_builder_init(&b, &o);
    for (int i = 0; i < count; i++)
        batch_builder_add(&b, 1000 + i, BYTES_NULL, (struct bytes){value, (int64_t)value_bytes},
                          NULL, 0);
    if (count > 0)
        ck_assert_int_eq(batch_builder_finish(&b, &p->batches), ERR_OK);
    batch_builder_fini(&b);
    p->end += count;
    o.producer_id = 1;
    o.producer_epoch = 0;
    for (int i = 0; i < markers; i++) {
        o.base_offset = p->end++;
        batch_build_marker(&o, true, 1, 1000, &p->batches);
    }
    p->hw = p->end;
    free(value);
}

/* First and last offset, how many; all whole. */
struct old_messages {
    int64_t first, last;
    int count;
    int8_t magic;
    unsigned codec;
};

static struct old_messages old_of(const struct kp_FetchResponse_PartitionData *d)
{
    struct legacy_iter it = {d->records.p, d->records.p + d->records.len};
    struct old_messages o = {.first = -1, .last = -1, .magic = -1};
    struct legacy_message m;
    enum err rc;
    while ((rc = legacy_next(&it, &m)) == ERR_OK) {
        o.first = o.count++ == 0 ? m.offset : o.first;
        o.last = m.offset;
        o.magic = m.magic;
        o.codec = m.codec;
    }
    ck_assert_int_eq(rc, ERR_NOT_FOUND);
    return o;
}

START_TEST(old_versions_get_messages_of_their_format)
{
    store(&parts[0], CODEC_NONE, 3, 10, 0);
    store(&parts[0], CODEC_GZIP, 3, 10, 1);
    store(&parts[0], CODEC_NONE, 2, 10, 0);
    for (int16_t v = 0; v <= 3; v++) {
        struct outcome o;
        struct kp_FetchRequest_FetchTopic t;
        fetch_data d[] = {{.partition = 0, .fetch_offset = 1}};
        struct kp_FetchRequest req = fetch_of(&t, d, 1);
        req.max_bytes = v < 3 ? INT32_MAX : 10000;
        call(1, v, &req, &o);
        ck_assert_int_eq(fetched(&o, 0)->error_code, KE_NONE);
        ck_assert_int_eq(fetched(&o, 0)->high_watermark, 9);
        struct old_messages m = old_of(fetched(&o, 0));
        ck_assert_int_eq(m.magic, v < 2 ? 0 : 1);
        ck_assert_int_eq(m.first, 1);
        ck_assert_int_eq(m.last, 8);
        ck_assert_int_eq(m.count, 2 + 1 + 2); /* the packed ones are one */
        outcome_fini(&o);
    }
}
END_TEST

START_TEST(a_message_over_the_limit_is_cut_before_version_3_and_whole_from_then_on)
{
    store(&parts[0], CODEC_NONE, 2, 3000, 0);
    store(&parts[1], CODEC_NONE, 2, 3000, 0);
    for (int16_t v = 0; v <= 3; v++) {
        struct outcome o;
        struct kp_FetchRequest_FetchTopic t;
        fetch_data d[] = {{.partition = 0, .partition_max_bytes = 2000},
                          {.partition = 1, .partition_max_bytes = 4000}};
        struct kp_FetchRequest req = fetch_of(&t, d, 2);
        req.max_bytes = 2000;
        call(1, v, &req, &o);
        if (v < 3) {
            ck_assert_int_eq(fetched(&o, 0)->records.len, 2000);
        } else {
            ck_assert_int_eq(old_of(fetched(&o, 0)).count, 1);
            ck_assert_int_eq(fetched(&o, 1)->records.len, 0);
        }
        outcome_fini(&o);
        d[0].partition_max_bytes = 0; /* nothing asked of this one */
        req.max_bytes = INT32_MAX;
        t.partitions = &d[1];
        t.partitions_count = 1;
        call(1, v, &req, &o);
        ck_assert_int_eq(old_of(fetched(&o, 0)).count, 1); /* whole messages where one fits */
        outcome_fini(&o);
    }
}
END_TEST

START_TEST(many_messages_of_one_batch_come_in_pieces)
{
    store(&parts[0], CODEC_NONE, 100, 50, 0);
    int64_t at = 0;
    for (int fetches = 0; at < 100; fetches++) {
        struct outcome o;
        struct kp_FetchRequest_FetchTopic t;
        fetch_data d[] = {{.partition = 0, .fetch_offset = at, .partition_max_bytes = 500}};
        struct kp_FetchRequest req = fetch_of(&t, d, 1);
        call(1, 2, &req, &o);
        struct old_messages m = old_of(fetched(&o, 0));
        ck_assert_int_eq(m.first, at);
        ck_assert_int_gt(m.count, 1);
        ck_assert_int_le(fetched(&o, 0)->records.len, 500);
        at = m.last + 1;
        ck_assert_int_lt(fetches, 100);
        outcome_fini(&o);
    }
    ck_assert_int_eq(at, 100);
}
END_TEST

static void see_watched(void *arg)
{
    *(bool *)arg = !LIST_EMPTY(&parts[0].watches);
}

START_TEST(control_batches_are_passed_over_and_then_the_fetch_waits)
{
    struct outcome o;
    struct kp_FetchRequest_FetchTopic t;
    fetch_data d[] = {{.partition = 0}, {.partition = 1}};
    struct kp_FetchRequest req = fetch_of(&t, d, 2);
    store(&parts[0], CODEC_NONE, 0, 0, 2000); /* more than one look takes */
    store(&parts[0], CODEC_NONE, 1, 10, 0);
    call(1, 1, &req, &o);
    ck_assert_int_eq(old_of(fetched(&o, 0)).first, 2000);
    outcome_fini(&o);

    d[0].fetch_offset = 2001;
    store(&parts[0], CODEC_NONE, 0, 0, 3);
    struct request *r = send_on(1, 1, 1, &req, NULL, &o);
    bool is_watched = false;
    for (int i = 0; i < 2000 && !is_watched; i++)
        loop_call(broker.loops[0], see_watched, &is_watched);
    ck_assert(is_watched);
    settle();
    ck_assert_int_eq(o.end, NOT_YET);
    loop_call(broker.loops[0], cancel_if_there, r);
    wait_end(&o, DROPPED);
    outcome_fini(&o);

    req.max_wait_ms = 0; /* and does not wait when it must not */
    call(1, 1, &req, &o);
    ck_assert_int_eq(fetched(&o, 0)->records.len, 0);
    ck_assert_int_eq(fetched(&o, 0)->error_code, KE_NONE);
    outcome_fini(&o);
}
END_TEST

START_TEST(what_cannot_be_converted_is_an_error_of_its_partition)
{
    struct outcome o;
    struct kp_FetchRequest_FetchTopic t;
    fetch_data d[] = {{.partition = 0}, {.partition = 1}, {.partition = 2}};
    struct kp_FetchRequest req = fetch_of(&t, d, 3);
    req.min_bytes = 0;
    store(&parts[0], CODEC_ZSTD, 3, 10, 0);
    store(&parts[1], CODEC_NONE, 3, 10, 0);
    store(&parts[2], CODEC_NONE, 3, 10, 0);
    parts[2].batches.p[parts[2].batches.len - 1] ^= 1;
    call(1, 3, &req, &o);
    ck_assert_int_eq(fetched(&o, 0)->error_code, KE_UNSUPPORTED_COMPRESSION_TYPE);
    ck_assert_int_eq(fetched(&o, 0)->high_watermark, -1);
    ck_assert_int_eq(fetched(&o, 1)->error_code, KE_NONE);
    ck_assert_int_eq(old_of(fetched(&o, 1)).count, 3);
    ck_assert_int_eq(fetched(&o, 2)->error_code, KE_CORRUPT_MESSAGE);
    outcome_fini(&o);

    parts[1].is_downconversion_disabled = true;
    parts[2].compression_type = CODEC_ZSTD;
    call(1, 3, &req, &o);
    ck_assert_int_eq(fetched(&o, 1)->error_code, KE_UNSUPPORTED_VERSION);
    ck_assert_int_eq(fetched(&o, 2)->error_code, KE_UNSUPPORTED_COMPRESSION_TYPE);
    outcome_fini(&o);
    call(1, 9, &req, &o);
    ck_assert_int_eq(fetched(&o, 0)->error_code, KE_NONE);
    ck_assert_int_eq(fetched(&o, 1)->error_code, KE_NONE);
    ck_assert_int_eq(fetched(&o, 2)->error_code, KE_UNSUPPORTED_COMPRESSION_TYPE);
    outcome_fini(&o);
    call(1, 10, &req, &o);
    ck_assert_int_eq(fetched(&o, 2)->error_code, KE_NONE);
    outcome_fini(&o);
}
END_TEST

START_TEST(what_unfolds_to_too_much_is_refused_and_what_is_large_is_not)
{
    struct outcome o;
    struct kp_FetchRequest_FetchTopic t;
    fetch_data d[] = {{.partition = 0}, {.partition = 1}};
    struct kp_FetchRequest req = fetch_of(&t, d, 2);
    store(&parts[0], CODEC_GZIP, 8, 1 << 20, 0);
    store(&parts[1], CODEC_GZIP, 65, 1 << 20, 0);
    req.max_bytes = 1 << 20;
    d[0].partition_max_bytes = d[1].partition_max_bytes = 1 << 20;
    call(1, 3, &req, &o);
    ck_assert_int_eq(old_of(fetched(&o, 0)).codec, CODEC_GZIP);
    ck_assert_int_eq(fetched(&o, 1)->error_code, KE_MESSAGE_TOO_LARGE);
    outcome_fini(&o);
}
END_TEST

START_TEST(a_conversion_outlives_its_connection)
{
    struct outcome o[3];
    struct kp_FetchRequest_FetchTopic t;
    fetch_data d[] = {{.partition = 0}};
    struct kp_FetchRequest req = fetch_of(&t, d, 1);
    struct request *r[3];
    store(&parts[0], CODEC_NONE, 3, 10, 0);
    use_read_gate = true;
    for (int i = 0; i < 3; i++) /* more than may run at a time */
        r[i] = send_on(1 + i, 1, 0, &req, NULL, &o[i]);
    for (int i = 0; i < 2000 && reads_gated == 0; i++)
        poll(NULL, 0, 1);
    for (int i = 0; i < 3; i++) {
        ck_assert_int_eq(o[i].end, NOT_YET);
        loop_call(broker.loops[0], cancel, r[i]);
    }
    use_read_gate = false;
    for (int i = 0; i < 3; i++) {
        wait_end(&o[i], DROPPED);
        outcome_fini(&o[i]);
    }
}
END_TEST

START_TEST(before_version_3_no_partition_starves)
{
    /* each answer has room for one partition's records; every fetch begins with another */
    struct kp_FetchRequest_FetchTopic t;
    fetch_data d[] = {{.partition = 0, .partition_max_bytes = 1 << 20},
                      {.partition = 1, .partition_max_bytes = 1 << 20},
                      {.partition = 2, .partition_max_bytes = 1 << 20}};
    struct kp_FetchRequest req = fetch_of(&t, d, 3);
    int told[PARTITIONS] = {0};
    ((struct config *)(uintptr_t)broker.config)->kafuka_fetch_conversion_bytes = 65536;
    for (int i = 0; i < PARTITIONS; i++)
        store(&parts[i], CODEC_NONE, 1, 65536, 0);
    for (int i = 0; i < 2 * PARTITIONS; i++) {
        struct outcome o;
        correlation_id = i;
        call(1, 1, &req, &o);
        for (int k = 0; k < o.u.fetch.responses_count; k++)
            for (int j = 0; j < o.u.fetch.responses[k].partitions_count; j++) {
                const struct kp_FetchResponse_PartitionData *p =
                    &o.u.fetch.responses[k].partitions[j];
                told[p->partition_index] += p->records.len > 0;
            }
        outcome_fini(&o);
    }
    for (int i = 0; i < PARTITIONS; i++)
        ck_assert_int_eq(told[i], 2);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {
        data_are_answered_at_once_in_every_version,
        a_fetch_without_news_waits_for_them_or_for_its_time,
        min_bytes_are_waited_for,
        an_error_is_answered_at_once,
        a_session_tells_only_what_is_new,
        a_follower_with_news_while_it_waits_is_recorded_by_its_next_fetch,
        what_did_not_fit_is_first_in_the_next_answer,
        a_waiting_fetch_is_dropped_with_its_connection,
        old_versions_get_messages_of_their_format,
        a_message_over_the_limit_is_cut_before_version_3_and_whole_from_then_on,
        many_messages_of_one_batch_come_in_pieces,
        control_batches_are_passed_over_and_then_the_fetch_waits,
        what_cannot_be_converted_is_an_error_of_its_partition,
        what_unfolds_to_too_much_is_refused_and_what_is_large_is_not,
        a_conversion_outlives_its_connection,
        before_version_3_no_partition_starves,
    };

    return api_run("api-fetch", tests, ARRAY_LEN(tests), 1);
}
