/* SPDX-License-Identifier: Apache-2.0 */
/* Produce. */
#include "common/record/batch.h"
#include "tests/unit/api_fixture.h"

/* ---- produce */

START_TEST(acks_1_is_answered_after_the_append_and_partitions_are_independent)
{
    struct outcome o;
    struct kp_ProduceRequest_TopicProduceData t;
    produce_data d[] = {{.index = 0},
                        {.index = 77},
                        {.index = PARTITIONS},
                        {.index = 1},
                        {.index = 2, .records = {batch, 0}}};
    parts[1].append_error = KE_MESSAGE_TOO_LARGE;
    struct kp_ProduceRequest req = produce_of(&t, d, 5, 1);
    send_on(1, 0, 11, &req, batch, &o);
    wait_end(&o, REPLIED);
    ck_assert_int_eq(produced(&o, 0), KE_NONE);
    ck_assert_int_eq(o.u.produce.responses[0].partition_responses[0].base_offset, 0);
    ck_assert_int_eq(produced(&o, 1), KE_UNKNOWN_TOPIC_OR_PARTITION);
    ck_assert_int_eq(produced(&o, 2), KE_NOT_LEADER_OR_FOLLOWER);
    ck_assert_int_eq(o.u.produce.responses[0].partition_responses[2].current_leader.leader_id, 1);
    ck_assert_int_eq(o.u.produce.node_endpoints_count, 1);
    ck_assert_int_eq(produced(&o, 3), KE_MESSAGE_TOO_LARGE);
    ck_assert_int_eq(o.u.produce.responses[0].partition_responses[3].base_offset, -1);
    ck_assert_int_eq(produced(&o, 4), KE_INVALID_RECORD);
    outcome_fini(&o);
}
END_TEST

START_TEST(refused_records_are_named_one_by_one)
{
    struct outcome o;
    struct kp_ProduceRequest_TopicProduceData t;
    produce_data d[] = {{.index = 1}};
    struct log_record_errors *e = xcalloc(1, sizeof *e + 3 * sizeof e->list[0]);
    e->total = e->count = 3;
    for (int32_t i = 0; i < 3; i++)
        e->list[i].index = 10 * i;
    e->list[1].fault = LOG_RECORD_OUT_OF_TIME;
    strcpy(e->summary, "3 of 30");
    strcpy(e->out_of_time, "too late");
    parts[1].append_error = KE_INVALID_RECORD;
    parts[1].record_errors = e;
    struct kp_ProduceRequest req = produce_of(&t, d, 1, 1);
    send_on(1, 0, 11, &req, batch, &o);
    wait_end(&o, REPLIED);
    ck_assert_int_eq(produced(&o, 0), KE_INVALID_RECORD);
    const struct kp_ProduceResponse_PartitionProduceResponse *a =
        &o.u.produce.responses[0].partition_responses[0];
    ck_assert(str_eq_z(a->error_message, "3 of 30"));
    ck_assert_int_eq(a->record_errors_count, 3);
    for (int32_t i = 0; i < 3; i++) {
        ck_assert_int_eq(a->record_errors[i].batch_index, 10 * i);
        ck_assert(str_eq_z(a->record_errors[i].batch_index_error_message,
                           i == 1 ? "too late" : "no key"));
    }
    outcome_fini(&o);
}
END_TEST

START_TEST(a_transactional_batch_refuses_the_whole_request)
{
    uint8_t transactional[sizeof batch];
    struct outcome o;
    struct kp_ProduceRequest_TopicProduceData t;
    produce_data d[] = {{.index = 0}, {.index = 1}};
    memcpy(transactional, batch, sizeof batch);
    transactional[BATCH_AT_MAGIC] = 2;
    be16_store(transactional + BATCH_AT_ATTRIBUTES, BATCH_TRANSACTIONAL);
    d[1].records = (struct bytes){transactional, sizeof transactional};
    struct kp_ProduceRequest req = produce_of(&t, d, 2, 1);
    req.transactional_id = STR_LIT("t");
    send_on(1, 0, 11, &req, batch, &o);
    wait_end(&o, REPLIED);
    for (int i = 0; i < 2; i++) {
        ck_assert_int_eq(produced(&o, i), KE_TRANSACTIONAL_ID_AUTHORIZATION_FAILED);
        ck_assert_int_eq(parts[i].append_count, 0);
    }
    outcome_fini(&o);
}
END_TEST

START_TEST(acks_all_waits_for_the_high_watermark)
{
    struct outcome o;
    struct kp_ProduceRequest_TopicProduceData t;
    produce_data d[] = {{.index = 0}};
    struct kp_ProduceRequest req = produce_of(&t, d, 1, -1);
    send_on(1, 0, 7, &req, batch, &o);
    ck_assert_int_eq(o.end, NOT_YET);
    set_hw(1);
    wait_end(&o, REPLIED);
    ck_assert_int_eq(produced(&o, 0), KE_NONE);
    outcome_fini(&o);
}
END_TEST

START_TEST(an_empty_message_set_is_fine_before_version_3)
{
    for (int16_t v = 0; v <= 3; v++) {
        struct outcome o;
        struct kp_ProduceRequest_TopicProduceData t;
        produce_data d[] = {{.index = 0, .records = {batch, 0}}};
        struct kp_ProduceRequest req = produce_of(&t, d, 1, -1);
        send_on(1, 0, v, &req, batch, &o);
        wait_end(&o, REPLIED);
        ck_assert_int_eq(produced(&o, 0), v < 3 ? KE_NONE : KE_INVALID_RECORD);
        ck_assert_int_eq(o.u.produce.responses[0].partition_responses[0].base_offset, -1);
        ck_assert_int_eq(parts[0].append_count, 0);
        outcome_fini(&o);
    }
}
END_TEST

START_TEST(acks_all_times_out_with_the_records_in_the_log)
{
    struct outcome o;
    struct kp_ProduceRequest_TopicProduceData t;
    produce_data d[] = {{.index = 0}, {.index = 1}};
    struct kp_ProduceRequest req = produce_of(&t, d, 2, -1);
    req.timeout_ms = 20;
    parts[1].hw = 1;
    send_on(1, 0, 7, &req, batch, &o);
    wait_end(&o, REPLIED);
    ck_assert_int_eq(produced(&o, 0), KE_REQUEST_TIMED_OUT);
    ck_assert_int_eq(produced(&o, 1), KE_NONE);
    ck_assert_int_eq(parts[0].append_count, 1);
    outcome_fini(&o);
}
END_TEST

START_TEST(acks_0_is_not_answered_and_an_error_closes)
{
    struct outcome o;
    struct kp_ProduceRequest_TopicProduceData t;
    produce_data d[] = {{.index = 0}};
    struct kp_ProduceRequest req = produce_of(&t, d, 1, 0);
    send_on(1, 0, 7, &req, batch, &o);
    wait_end(&o, REPLIED_NONE);
    outcome_fini(&o);
    parts[0].append_error = KE_CORRUPT_MESSAGE;
    send_on(1, 0, 7, &req, batch, &o);
    wait_end(&o, CLOSED);
    outcome_fini(&o);
}
END_TEST

START_TEST(a_light_batch_does_not_overtake_a_heavy_one_of_its_connection)
{
    static uint8_t heavy[300];
    struct outcome o[3];
    struct kp_ProduceRequest_TopicProduceData t[3];
    produce_data h[] = {{.index = 0, .records = {heavy, sizeof heavy}}}, l[] = {{.index = 0}},
                 other[] = {{.index = 1}};
    heavy[16] = 2;
    heavy[22] = 1; /* gzip */
    struct kp_ProduceRequest a = produce_of(&t[0], h, 1, 1), b = produce_of(&t[1], l, 1, 1),
                             c = produce_of(&t[2], other, 1, 1);
    use_gate = true;
    pthread_barrier_init(&append_gate, NULL, 2);
    send_on(1, 0, 7, &a, heavy, &o[0]);
    send_on(1, 0, 7, &b, batch, &o[1]);
    send_on(2, 0, 7, &c, batch, &o[2]); /* another connection does not wait */
    wait_end(&o[2], REPLIED);
    ck_assert_int_eq(o[1].end, NOT_YET);
    pthread_barrier_wait(&append_gate);
    wait_end(&o[0], REPLIED);
    wait_end(&o[1], REPLIED);
    ck_assert_int_eq(parts[0].appended[0], sizeof heavy);
    ck_assert_int_eq(parts[0].appended[1], sizeof batch);
    pthread_barrier_destroy(&append_gate);
    for (int i = 0; i < 3; i++)
        outcome_fini(&o[i]);
}
END_TEST

START_TEST(a_failure_among_the_queued_takes_those_behind_it_along)
{
    static uint8_t heavy[300];
    struct outcome o[3];
    struct kp_ProduceRequest_TopicProduceData t[3];
    produce_data h[] = {{.index = 0, .records = {heavy, sizeof heavy}}}, l[] = {{.index = 1}},
                 m[] = {{.index = 2}};
    heavy[16] = 2;
    heavy[22] = 1; /* gzip */
    struct kp_ProduceRequest a = produce_of(&t[0], h, 1, 0), b = produce_of(&t[1], l, 1, 0),
                             c = produce_of(&t[2], m, 1, 0);
    use_gate = true;
    pthread_barrier_init(&append_gate, NULL, 2);
    parts[1].append_error = KE_CORRUPT_MESSAGE;
    send_on(1, 0, 7, &a, heavy, &o[0]);
    send_on(1, 0, 7, &b, batch, &o[1]);
    closed_too = send_on(1, 0, 7, &c, batch, &o[2]);
    pthread_barrier_wait(&append_gate);
    wait_end(&o[0], REPLIED_NONE);
    wait_end(&o[1], CLOSED);
    wait_end(&o[2], DROPPED);
    ck_assert_int_eq(parts[2].append_count, 0);
    pthread_barrier_destroy(&append_gate);
    for (int i = 0; i < 3; i++)
        outcome_fini(&o[i]);
}
END_TEST

START_TEST(a_closed_connection_takes_its_waiting_requests_with_it)
{
    struct outcome o;
    struct kp_ProduceRequest_TopicProduceData t;
    produce_data d[] = {{.index = 0}};
    struct kp_ProduceRequest req = produce_of(&t, d, 1, -1);
    struct request *r = send_on(1, 0, 7, &req, batch, &o);
    loop_call(broker.loops[0], cancel, r);
    ck_assert_int_eq(o.end, DROPPED);
    ck_assert(TAILQ_EMPTY(&parts[0].waits));
    outcome_fini(&o);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {
        acks_1_is_answered_after_the_append_and_partitions_are_independent,
        acks_all_waits_for_the_high_watermark,
        refused_records_are_named_one_by_one,
        a_transactional_batch_refuses_the_whole_request,
        an_empty_message_set_is_fine_before_version_3,
        acks_all_times_out_with_the_records_in_the_log,
        acks_0_is_not_answered_and_an_error_closes,
        a_light_batch_does_not_overtake_a_heavy_one_of_its_connection,
        a_failure_among_the_queued_takes_those_behind_it_along,
        a_closed_connection_takes_its_waiting_requests_with_it,
    };

    return api_run("api-produce", tests, ARRAY_LEN(tests), 1);
}
