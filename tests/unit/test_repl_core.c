/* SPDX-License-Identifier: Apache-2.0 */
/* The replication rules, one by one: worked examples of the protocol and the bugs that others had.
 */
#include "broker/replica/repl_core.h"

#include <check.h>

static struct repl_core core;
static struct repl_live live;
static struct repl_limits limits;
static struct repl_effects fx;
static int64_t now;

static void setup(void)
{
    limits = (struct repl_limits){.lag_time_max_ms = 30000};
    now = 5000; /* less than the lag limit: a machine that has just been started */
    for (int32_t id = 0; id < 10; id++)
        repl_live_set(&live, id, true);
    repl_init(&core, 1);
}

static void teardown(void)
{
    repl_fini(&core);
}

static void step(struct repl_event ev)
{
    ev.now_ms = now;
    ev.live = &live;
    ev.limits = &limits;
    repl_step(&core, &ev, &fx);
    repl_check(&core);
}

static const struct repl_effect *has(enum repl_effect_kind kind)
{
    for (int i = 0; i < fx.count; i++) {
        if (fx.v[i].kind == kind)
            return &fx.v[i];
    }
    return NULL;
}

#define IDS(...) (const int32_t[]){__VA_ARGS__}, sizeof((int32_t[]){__VA_ARGS__}) / sizeof(int32_t)

static void become(int32_t leader, int32_t epoch, const int32_t *isr, size_t isr_count,
                   const int32_t *replicas, size_t replica_count, int32_t min_isr, int64_t start,
                   int64_t hw, int64_t end, bool has_epochs)
{
    struct repl_state st = {.leader_id = leader,
                            .leader_epoch = epoch,
                            .partition_epoch = epoch,
                            .isr = isr,
                            .isr_count = (int32_t)isr_count,
                            .replicas = replicas,
                            .replica_count = (int32_t)replica_count};
    bool skip;
    ck_assert_int_eq(repl_admit(&core, &st, &skip), KE_NONE);
    ck_assert(!skip);
    step((struct repl_event){.kind = REPL_EV_BECOME,
                             .become = {&st, min_isr, start, hw, end, has_epochs}});
}

/* Leader 1 of {1,2,3}, all in sync, with the given offsets. */
static void lead(int32_t epoch, int32_t min_isr, int64_t hw, int64_t end)
{
    become(1, epoch, IDS(1, 2, 3), IDS(1, 2, 3), min_isr, 0, hw, end, true);
    step((struct repl_event){.kind = REPL_EV_EPOCH_WRITTEN, .epoch_written = {epoch}});
}

static void append(int64_t end)
{
    step((struct repl_event){.kind = REPL_EV_APPENDED, .appended = {end}});
}

static void fetch(int32_t id, int64_t offset)
{
    step((struct repl_event){.kind = REPL_EV_FETCH, .fetch = {id, 7, offset, 0}});
}

static void tick(void)
{
    step((struct repl_event){.kind = REPL_EV_TICK});
}

static void isr_result(int16_t error, int32_t pe, const int32_t *isr, size_t count)
{
    step((struct repl_event){
        .kind = REPL_EV_ISR_RESULT,
        .isr_result = {core.change_id, error, core.leader_epoch, pe, isr, (int32_t)count}});
}

static void follow(int32_t leader, int32_t epoch, int64_t hw, int64_t end, bool has_epochs)
{
    become(leader, epoch, IDS(1, 2, 3), IDS(1, 2, 3), 1, 0, hw, end, has_epochs);
}

/* ---- leader */

START_TEST(leader_writes_its_epoch_at_its_end_before_it_acts)
{
    become(1, 4, IDS(1, 2), IDS(1, 2), 1, 0, 3, 10, true);
    ck_assert_int_eq(core.role, REPL_ELECTED);
    ck_assert_ptr_nonnull(has(REPL_FX_WRITE_EPOCH));
    ck_assert_int_eq(has(REPL_FX_WRITE_EPOCH)->epoch, 4);
    ck_assert_int_eq(has(REPL_FX_WRITE_EPOCH)->offset, 10);
    ck_assert_int_eq(repl_admit_append(&core, 1), KE_NOT_LEADER_OR_FOLLOWER);
    ck_assert_int_eq(repl_admit_read(&core, 4, 2, true), KE_NOT_LEADER_OR_FOLLOWER);
    step((struct repl_event){.kind = REPL_EV_EPOCH_WRITTEN, .epoch_written = {4}});
    ck_assert_int_eq(core.role, REPL_LEADER);
    ck_assert_int_eq(repl_admit_append(&core, 1), KE_NONE);
    ck_assert_int_eq(core.hw_offset, 3);
}
END_TEST

START_TEST(an_epoch_written_for_an_older_election_does_not_make_a_leader)
{
    become(1, 4, IDS(1, 2), IDS(1, 2), 1, 0, 3, 10, true);
    become(1, 6, IDS(1, 2), IDS(1, 2), 1, 0, 3, 10, true);
    step((struct repl_event){.kind = REPL_EV_EPOCH_WRITTEN, .epoch_written = {4}});
    ck_assert_int_eq(core.role, REPL_ELECTED);
}
END_TEST

START_TEST(leader_alone_in_the_isr_raises_hw_at_once)
{
    become(1, 1, IDS(1), IDS(1, 2, 3), 1, 0, 0, 10, true);
    step((struct repl_event){.kind = REPL_EV_EPOCH_WRITTEN, .epoch_written = {1}});
    ck_assert_int_eq(core.hw_offset, 10);
    ck_assert_ptr_nonnull(has(REPL_FX_SET_HW));
}
END_TEST

START_TEST(hw_is_the_smallest_end_in_the_isr)
{
    lead(1, 1, 0, 0);
    append(100);
    ck_assert_ptr_null(has(REPL_FX_SET_HW));
    fetch(2, 100);
    ck_assert_ptr_null(has(REPL_FX_SET_HW));
    fetch(3, 80);
    ck_assert_int_eq(has(REPL_FX_SET_HW)->offset, 80);
    fetch(3, 100);
    ck_assert_int_eq(has(REPL_FX_SET_HW)->offset, 100);
    ck_assert_int_eq(core.hw_offset, 100);
}
END_TEST

START_TEST(worked_example_shrink_then_min_isr_freezes_hw)
{
    int16_t code;

    lead(1, 2, 0, 0);
    append(100);
    fetch(2, 100);
    fetch(3, 80);
    ck_assert_int_eq(core.hw_offset, 80);
    now += 30001;
    fetch(2, 100);
    tick();
    ck_assert_ptr_nonnull(has(REPL_FX_PROPOSE_ISR));
    ck_assert_int_eq(core.isr_state, REPL_ISR_SHRINKING);
    ck_assert_int_eq(core.proposed_count, 2);
    ck_assert_int_eq(core.hw_offset, 80);
    isr_result(KE_NONE, 2, IDS(1, 2));
    ck_assert_int_eq(core.hw_offset, 100);
    ck_assert_int_eq(has(REPL_FX_SET_HW)->offset, 100);
    append(110);
    now += 30001;
    tick();
    isr_result(KE_NONE, 3, IDS(1));
    ck_assert_int_eq(core.hw_offset, 100);
    ck_assert_int_eq(repl_admit_append(&core, -1), KE_NOT_ENOUGH_REPLICAS);
    ck_assert_int_eq(repl_admit_append(&core, 1), KE_NONE);
    append(120);
    ck_assert_int_eq(core.hw_offset, 100);
    ck_assert(!repl_is_replicated(&core, core.leader_epoch, 120, -1, &code));
}
END_TEST

START_TEST(min_isr_above_the_replication_factor_does_not_block)
{
    lead(1, 5, 0, 0);
    ck_assert_int_eq(repl_effective_min_isr(&core), 3);
    ck_assert_int_eq(repl_admit_append(&core, -1), KE_NONE);
}
END_TEST

START_TEST(a_lower_min_isr_lets_hw_go_on)
{
    become(1, 1, IDS(1), IDS(1, 2, 3), 2, 0, 0, 10, true);
    step((struct repl_event){.kind = REPL_EV_EPOCH_WRITTEN, .epoch_written = {1}});
    ck_assert_int_eq(core.hw_offset, 0);
    step((struct repl_event){.kind = REPL_EV_MIN_ISR, .min_isr = {1}});
    ck_assert_int_eq(core.hw_offset, 10);
}
END_TEST

START_TEST(enough_in_hw_but_too_few_in_isr_gives_after_append)
{
    int16_t code;

    become(1, 1, IDS(1, 2), IDS(1, 2), 2, 0, 0, 0, true);
    step((struct repl_event){.kind = REPL_EV_EPOCH_WRITTEN, .epoch_written = {1}});
    append(10);
    fetch(2, 10);
    ck_assert(repl_is_replicated(&core, core.leader_epoch, 10, -1, &code));
    ck_assert_int_eq(code, KE_NONE);
    append(20);
    now += 40000;
    tick();
    isr_result(KE_NONE, 2, IDS(1));
    ck_assert(repl_is_replicated(&core, core.leader_epoch, 10, -1, &code));
    ck_assert_int_eq(code, KE_NOT_ENOUGH_REPLICAS_AFTER_APPEND);
}
END_TEST

START_TEST(a_follower_of_an_idle_partition_was_caught_up_until_the_append)
{
    become(1, 1, IDS(1, 2), IDS(1, 2), 1, 0, 0, 0, true);
    step((struct repl_event){.kind = REPL_EV_EPOCH_WRITTEN, .epoch_written = {1}});
    append(10);
    fetch(2, 10);
    now += 400000; /* its session names no partition without news */
    append(20);
    tick();
    ck_assert_int_eq(core.isr_state, REPL_ISR_COMMITTED);
    now += 30001;
    tick();
    ck_assert_int_ne(core.isr_state, REPL_ISR_COMMITTED);
}
END_TEST

START_TEST(historic_acks_count_replicas_with_the_leader)
{
    int16_t code;

    lead(1, 1, 0, 0);
    append(10);
    ck_assert(!repl_is_replicated(&core, core.leader_epoch, 10, 2, &code));
    fetch(3, 10);
    ck_assert(repl_is_replicated(&core, core.leader_epoch, 10, 2, &code));
    ck_assert_int_eq(code, KE_NONE);
    ck_assert(!repl_is_replicated(&core, core.leader_epoch, 10, 3, &code));
    fetch(2, 10);
    ck_assert(repl_is_replicated(&core, core.leader_epoch, 10, 3, &code));
    ck_assert(!repl_is_replicated(&core, core.leader_epoch, 10, 4, &code));
}
END_TEST

START_TEST(follower_at_the_end_of_an_idle_log_stays_in_sync)
{
    lead(1, 1, 0, 0);
    append(10);
    fetch(2, 10);
    fetch(3, 10);
    ck_assert_int_eq(repl_deadline_ms(&core, &limits), INT64_MAX);
    now += 1000000;
    tick();
    ck_assert_int_eq(fx.count, 0);
}
END_TEST

START_TEST(follower_that_reaches_the_end_of_its_last_fetch_is_caught_up)
{
    /* it never reaches the moving end, but each fetch has all that there was at the fetch before */
    lead(1, 1, 0, 0);
    for (int64_t i = 1; i < 20; i++) {
        append(i * 100);
        fetch(2, (i - 1) * 100);
        fetch(3, i * 100);
        now += 10000;
        tick();
        ck_assert_ptr_null(has(REPL_FX_PROPOSE_ISR));
    }
}
END_TEST

START_TEST(follower_that_fetches_but_lags_is_thrown_out)
{
    lead(1, 1, 0, 0);
    append(1000);
    for (int i = 0; i < 4; i++) {
        fetch(2, core.end_offset);
        fetch(3, 1 + i);
        append(core.end_offset + 1000);
        fetch(2, core.end_offset);
        now += 10000;
        tick();
    }
    ck_assert_int_eq(core.isr_state, REPL_ISR_SHRINKING);
    ck_assert_int_eq(core.proposed_count, 2);
    ck_assert_int_eq(core.proposed[1], 2);
}
END_TEST

START_TEST(deadline_is_when_the_first_member_falls_out)
{
    lead(1, 1, 0, 0);
    append(10);
    fetch(2, 10);
    int64_t at = repl_deadline_ms(&core, &limits);
    ck_assert_int_eq(at, 5000 + 30001);
    now = at - 1;
    tick();
    ck_assert_int_eq(fx.count, 0);
    now = at;
    tick();
    ck_assert_ptr_nonnull(has(REPL_FX_PROPOSE_ISR));
}
END_TEST

START_TEST(lag_in_messages_is_off_by_default_and_works_when_set)
{
    lead(1, 1, 0, 0);
    fetch(2, 0);
    append(5001);
    fetch(3, 5001);
    tick();
    ck_assert_ptr_null(has(REPL_FX_PROPOSE_ISR));
    limits.lag_messages = 5000;
    tick();
    ck_assert_ptr_nonnull(has(REPL_FX_PROPOSE_ISR));
    ck_assert_int_eq(core.proposed_count, 2);
    isr_result(KE_NONE, 2, IDS(1, 3));
    fetch(2, 0); /* it would be thrown out again at once */
    ck_assert_ptr_null(has(REPL_FX_PROPOSE_ISR));
    fetch(2, 5001);
    ck_assert_ptr_nonnull(has(REPL_FX_PROPOSE_ISR));
}
END_TEST

START_TEST(isr_member_outside_of_the_replicas_is_thrown_out)
{
    become(1, 1, IDS(1, 2, 9), IDS(1, 2), 1, 0, 0, 0, true);
    step((struct repl_event){.kind = REPL_EV_EPOCH_WRITTEN, .epoch_written = {1}});
    ck_assert_int_lt(repl_deadline_ms(&core, &limits), now);
    tick();
    ck_assert_int_eq(core.proposed_count, 2);
    isr_result(KE_NONE, 2, IDS(1, 2));
    ck_assert(!repl_in_isr(&core, 9));
}
END_TEST

START_TEST(follower_joins_the_isr_at_hw)
{
    become(1, 1, IDS(1), IDS(1, 2), 1, 0, 0, 0, true);
    step((struct repl_event){.kind = REPL_EV_EPOCH_WRITTEN, .epoch_written = {1}});
    append(100);
    ck_assert_int_eq(core.hw_offset, 100);
    fetch(2, 50);
    ck_assert_ptr_null(has(REPL_FX_PROPOSE_ISR));
    fetch(2, 100);
    ck_assert_ptr_nonnull(has(REPL_FX_PROPOSE_ISR));
    ck_assert_int_eq(core.isr_state, REPL_ISR_EXPANDING);
    /* it is in the maximal ISR from now on: HW waits for it */
    append(200);
    ck_assert_int_eq(core.hw_offset, 100);
    isr_result(KE_NONE, 2, IDS(1, 2));
    ck_assert(repl_in_isr(&core, 2));
    fetch(2, 200);
    ck_assert_int_eq(core.hw_offset, 200);
}
END_TEST

START_TEST(follower_below_the_start_of_the_epoch_does_not_join_by_a_stale_hw)
{
    /* KAFKA-7128: the new leader's HW is old and low */
    become(1, 3, IDS(1), IDS(1, 2), 2, 0, 10, 100, true);
    step((struct repl_event){.kind = REPL_EV_EPOCH_WRITTEN, .epoch_written = {3}});
    ck_assert_int_eq(core.hw_offset, 10); /* min ISR 2 keeps it there */
    fetch(2, 50);
    ck_assert_ptr_null(has(REPL_FX_PROPOSE_ISR));
    fetch(2, 100);
    ck_assert_ptr_nonnull(has(REPL_FX_PROPOSE_ISR));
}
END_TEST

START_TEST(dead_broker_does_not_join_and_does_not_hold_hw)
{
    become(1, 1, IDS(1, 3), IDS(1, 2, 3), 1, 0, 0, 0, true);
    step((struct repl_event){.kind = REPL_EV_EPOCH_WRITTEN, .epoch_written = {1}});
    fetch(2, 0); /* caught up with an empty log: would join */
    ck_assert_ptr_nonnull(has(REPL_FX_PROPOSE_ISR));
    isr_result(KE_INELIGIBLE_REPLICA, -1, NULL, 0);
    append(10);
    fetch(3, 10);
    ck_assert_int_eq(core.hw_offset, 0); /* 2 is caught up in time and alive: HW waits */
    repl_live_set(&live, 2, false);
    tick();
    ck_assert_int_eq(core.hw_offset, 10); /* KAFKA-15021 */
    fetch(2, 10);
    ck_assert_ptr_null(has(REPL_FX_PROPOSE_ISR));
}
END_TEST

START_TEST(one_isr_change_at_a_time)
{
    become(1, 1, IDS(1), IDS(1, 2, 3), 1, 0, 0, 0, true);
    step((struct repl_event){.kind = REPL_EV_EPOCH_WRITTEN, .epoch_written = {1}});
    fetch(2, 0);
    ck_assert_ptr_nonnull(has(REPL_FX_PROPOSE_ISR));
    fetch(3, 0);
    ck_assert_ptr_null(has(REPL_FX_PROPOSE_ISR));
    isr_result(KE_NONE, 2, IDS(1, 2));
    fetch(3, 0);
    ck_assert_ptr_nonnull(has(REPL_FX_PROPOSE_ISR));
}
END_TEST

static const struct {
    int16_t error;
    enum repl_isr_state after;
    bool again;
} isr_errors[] = {
    {KE_OPERATION_NOT_ATTEMPTED, REPL_ISR_COMMITTED, false},
    {KE_INELIGIBLE_REPLICA, REPL_ISR_COMMITTED, false},
    {KE_UNKNOWN_TOPIC_OR_PARTITION, REPL_ISR_EXPANDING, false},
    {KE_UNKNOWN_TOPIC_ID, REPL_ISR_EXPANDING, false},
    {KE_FENCED_LEADER_EPOCH, REPL_ISR_EXPANDING, false},
    {KE_INVALID_UPDATE_VERSION, REPL_ISR_EXPANDING, false},
    {KE_INVALID_REQUEST, REPL_ISR_EXPANDING, false},
    {KE_NEW_LEADER_ELECTED, REPL_ISR_EXPANDING, false},
    {KE_UNKNOWN_SERVER_ERROR, REPL_ISR_EXPANDING, true},
    {KE_KAFKA_STORAGE_ERROR, REPL_ISR_EXPANDING, true},
};
START_TEST(each_answer_to_an_isr_change)
{
    become(1, 1, IDS(1), IDS(1, 2), 1, 0, 0, 0, true);
    step((struct repl_event){.kind = REPL_EV_EPOCH_WRITTEN, .epoch_written = {1}});
    fetch(2, 0);
    isr_result(isr_errors[_i].error, -1, NULL, 0);
    ck_assert_int_eq(core.isr_state, isr_errors[_i].after);
    ck_assert_int_eq(has(REPL_FX_PROPOSE_ISR) != NULL, isr_errors[_i].again);
    ck_assert_int_eq(core.isr_count, 1);
}
END_TEST

START_TEST(answer_to_an_older_isr_change_is_ignored)
{
    struct repl_event late;

    become(1, 1, IDS(1), IDS(1, 2), 1, 0, 0, 0, true);
    step((struct repl_event){.kind = REPL_EV_EPOCH_WRITTEN, .epoch_written = {1}});
    fetch(2, 0);
    late = (struct repl_event){
        .kind = REPL_EV_ISR_RESULT,
        .isr_result = {core.change_id, KE_NONE, 1, 9, (const int32_t[]){1, 2}, 2}};
    /* LeaderAndIsr overtakes (KAFKA-12686) */
    become(1, 2, IDS(1), IDS(1, 2), 1, 0, 0, 0, true);
    step((struct repl_event){.kind = REPL_EV_EPOCH_WRITTEN, .epoch_written = {2}});
    step(late);
    ck_assert_int_eq(core.isr_count, 1);
    ck_assert_int_eq(core.partition_epoch, 2);
    /* and a new proposal must not take the answer to the old one */
    fetch(2, 0);
    ck_assert_int_eq(core.isr_state, REPL_ISR_EXPANDING);
    step(late);
    ck_assert_int_eq(core.isr_state, REPL_ISR_EXPANDING);
}
END_TEST

START_TEST(repeated_answer_with_equal_partition_epoch_is_accepted)
{
    become(1, 1, IDS(1), IDS(1, 2), 1, 0, 0, 0, true);
    step((struct repl_event){.kind = REPL_EV_EPOCH_WRITTEN, .epoch_written = {1}});
    fetch(2, 0);
    isr_result(KE_NONE, 1, IDS(1, 2)); /* KAFKA-12751 */
    ck_assert_int_eq(core.isr_state, REPL_ISR_COMMITTED);
    ck_assert_int_eq(core.isr_count, 2);
}
END_TEST

START_TEST(answer_without_us_in_the_isr_is_not_believed)
{
    lead(1, 1, 0, 0);
    append(5);
    now += 40000;
    tick();
    isr_result(KE_NONE, 2, IDS(2, 3));
    ck_assert_int_eq(core.isr_state, REPL_ISR_SHRINKING);
    isr_result(KE_NONE, 2, IDS(1, 1));
    ck_assert_int_eq(core.isr_state, REPL_ISR_SHRINKING);
}
END_TEST

START_TEST(leader_again_keeps_what_it_knows_of_its_followers)
{
    lead(1, 1, 0, 0);
    append(100);
    fetch(2, 100);
    fetch(3, 90);
    lead(2, 1, core.hw_offset, core.end_offset);
    ck_assert_ptr_null(has(REPL_FX_FAIL_WAITS));
    ck_assert_int_eq(repl_remote(&core, 2)->end_offset, 100);
    ck_assert_int_eq(repl_remote(&core, 3)->last_fetch_leader_end, 100);
    ck_assert_int_eq(core.hw_offset, 90);
    fetch(3, 100);
    ck_assert_int_eq(core.hw_offset, 100);
}
END_TEST

START_TEST(new_leader_knows_nothing_of_its_followers)
{
    follow(2, 1, 50, 100, true);
    lead(2, 1, 50, 100);
    ck_assert_int_eq(repl_remote(&core, 2)->end_offset, -1);
    ck_assert_int_eq(core.hw_offset, 50);
    fetch(2, 100);
    ck_assert_int_eq(core.hw_offset, 50);
    fetch(3, 60);
    ck_assert_int_eq(core.hw_offset, 60);
}
END_TEST

START_TEST(leader_that_becomes_follower_fails_its_waits)
{
    int16_t code;

    lead(1, 1, 0, 0);
    append(10);
    follow(2, 2, 0, 10, true);
    ck_assert_ptr_nonnull(has(REPL_FX_FAIL_WAITS));
    ck_assert(repl_is_replicated(&core, core.leader_epoch, 10, -1, &code));
    ck_assert_int_eq(code, KE_NOT_LEADER_OR_FOLLOWER);
}
END_TEST

START_TEST(stopped_partition_takes_no_event)
{
    lead(1, 1, 0, 0);
    append(10);
    step((struct repl_event){.kind = REPL_EV_STOP, .stop = {true}});
    ck_assert_ptr_nonnull(has(REPL_FX_FAIL_WAITS));
    ck_assert_ptr_nonnull(has(REPL_FX_STOP_FETCH));
    fetch(2, 10);
    ck_assert_int_eq(fx.count, 0);
    ck_assert_int_eq(repl_admit_append(&core, 1), KE_NOT_LEADER_OR_FOLLOWER);
}
END_TEST

START_TEST(replica_that_was_stopped_for_now_comes_back)
{
    lead(1, 1, 0, 0);
    step((struct repl_event){.kind = REPL_EV_STOP, .stop = {false}});
    ck_assert_int_eq(core.role, REPL_IDLE);
    ck_assert_int_eq(repl_admit_append(&core, 1), KE_NOT_LEADER_OR_FOLLOWER);
    lead(2, 1, 0, 0);
    ck_assert_int_eq(repl_admit_append(&core, 1), KE_NONE);
}
END_TEST

START_TEST(a_wait_outlives_an_epoch_only_while_we_lead_without_a_break)
{
    int16_t code;

    become(1, 1, IDS(1, 2), IDS(1, 2), 1, 0, 0, 0, true);
    step((struct repl_event){.kind = REPL_EV_EPOCH_WRITTEN, .epoch_written = {1}});
    append(10);
    become(1, 2, IDS(1, 2), IDS(1, 2), 1, 0, 0, 10, true);
    ck_assert(!repl_is_replicated(&core, 1, 10, -1, &code)); /* elected: it goes on waiting */
    step((struct repl_event){.kind = REPL_EV_EPOCH_WRITTEN, .epoch_written = {2}});
    fetch(2, 10);
    ck_assert(repl_is_replicated(&core, 1, 10, -1, &code));
    ck_assert_int_eq(code, KE_NONE);
    /* follower for a while: the record may be another one now */
    follow(2, 3, 10, 10, true);
    become(1, 4, IDS(1), IDS(1, 2), 1, 0, 10, 10, true);
    step((struct repl_event){.kind = REPL_EV_EPOCH_WRITTEN, .epoch_written = {4}});
    ck_assert(repl_is_replicated(&core, 1, 10, -1, &code));
    ck_assert_int_eq(code, KE_NOT_LEADER_OR_FOLLOWER);
    ck_assert(repl_is_replicated(&core, 4, 10, -1, &code));
    ck_assert_int_eq(code, KE_NONE);
}
END_TEST

/* ---- LeaderAndIsr */

START_TEST(only_a_higher_leader_epoch_is_admitted)
{
    struct repl_state st = {.leader_id = 2,
                            .leader_epoch = 3,
                            .partition_epoch = 9,
                            .isr = (const int32_t[]){2},
                            .isr_count = 1,
                            .replicas = (const int32_t[]){1, 2},
                            .replica_count = 2};
    bool skip;

    follow(2, 3, 0, 0, true);
    ck_assert_int_eq(repl_admit(&core, &st, &skip), KE_STALE_CONTROLLER_EPOCH);
    st.leader_epoch = 2;
    ck_assert_int_eq(repl_admit(&core, &st, &skip), KE_STALE_CONTROLLER_EPOCH);
    st.leader_epoch = 4;
    ck_assert_int_eq(repl_admit(&core, &st, &skip), KE_NONE);
    ck_assert(!skip);
    st.partition_epoch = 2;
    ck_assert_int_eq(repl_admit(&core, &st, &skip), KE_NONE);
    ck_assert(skip);
    st.replicas = (const int32_t[]){2, 3};
    ck_assert_int_eq(repl_admit(&core, &st, &skip), KE_UNKNOWN_TOPIC_OR_PARTITION);
}
END_TEST

START_TEST(impossible_states_are_refused)
{
    int32_t many[REPL_REPLICAS_MAX + 1];
    bool skip;
    struct repl_state good = {.leader_id = 1,
                              .leader_epoch = 3,
                              .isr = (const int32_t[]){1},
                              .isr_count = 1,
                              .replicas = (const int32_t[]){1, 2},
                              .replica_count = 2};
    struct repl_state st = good;

    for (int i = 0; i <= REPL_REPLICAS_MAX; i++)
        many[i] = i;
    ck_assert_int_eq(repl_admit(&core, &st, &skip), KE_NONE);
    st.isr = (const int32_t[]){2};
    ck_assert_int_eq(repl_admit(&core, &st, &skip), KE_INVALID_REQUEST);
    st = good;
    st.replicas = (const int32_t[]){1, 1};
    ck_assert_int_eq(repl_admit(&core, &st, &skip), KE_INVALID_REQUEST);
    st = good;
    st.replicas = many;
    st.replica_count = REPL_REPLICAS_MAX + 1;
    ck_assert_int_eq(repl_admit(&core, &st, &skip), KE_INVALID_REQUEST);
    st = good;
    st.replica_count = 0;
    ck_assert_int_eq(repl_admit(&core, &st, &skip), KE_INVALID_REQUEST);
    st = good;
    st.isr_count = -1;
    ck_assert_int_eq(repl_admit(&core, &st, &skip), KE_INVALID_REQUEST);
    st = good;
    st.leader_epoch = -1;
    ck_assert_int_eq(repl_admit(&core, &st, &skip), KE_INVALID_REQUEST);
}
END_TEST

START_TEST(reads_are_checked_in_the_order_of_the_protocol)
{
    ck_assert_int_eq(repl_admit_read(&core, -1, -1, true), KE_NOT_LEADER_OR_FOLLOWER);
    lead(5, 1, 0, 0);
    ck_assert_int_eq(repl_admit_read(&core, 4, -1, true), KE_FENCED_LEADER_EPOCH);
    ck_assert_int_eq(repl_admit_read(&core, 6, -1, true), KE_UNKNOWN_LEADER_EPOCH);
    ck_assert_int_eq(repl_admit_read(&core, 5, 2, true), KE_NONE);
    ck_assert_int_eq(repl_admit_read(&core, 5, 9, true), KE_UNKNOWN_LEADER_EPOCH);
    ck_assert_int_eq(repl_admit_read(&core, -1, 9, true), KE_NOT_LEADER_OR_FOLLOWER);
    follow(2, 6, 0, 0, true);
    ck_assert_int_eq(repl_admit_read(&core, 5, -1, true), KE_FENCED_LEADER_EPOCH);
    ck_assert_int_eq(repl_admit_read(&core, -1, -1, true), KE_NOT_LEADER_OR_FOLLOWER);
    ck_assert_int_eq(repl_admit_read(&core, 6, -1, false), KE_NONE);
}
END_TEST

/* ---- follower */

START_TEST(follower_with_epochs_fetches_from_its_end_without_truncation)
{
    follow(2, 1, 50, 100, true);
    ck_assert_ptr_null(has(REPL_FX_TRUNCATE));
    ck_assert_int_eq(has(REPL_FX_FOLLOW)->offset, 100);
}
END_TEST

START_TEST(follower_without_epochs_truncates_to_hw_first)
{
    follow(2, 1, 50, 100, false);
    ck_assert_int_eq(has(REPL_FX_TRUNCATE)->offset, 50);
    ck_assert_ptr_null(has(REPL_FX_FOLLOW));
    step((struct repl_event){.kind = REPL_EV_TRUNCATED, .truncated = {0, 50}});
    ck_assert_int_eq(has(REPL_FX_FOLLOW)->offset, 50);
}
END_TEST

START_TEST(follower_of_nobody_waits)
{
    follow(-1, 1, 50, 100, false);
    ck_assert_ptr_null(has(REPL_FX_FOLLOW));
    ck_assert_ptr_null(has(REPL_FX_TRUNCATE));
    ck_assert_ptr_nonnull(has(REPL_FX_STOP_FETCH));
}
END_TEST

START_TEST(follower_hw_is_the_leaders_within_its_own_log_and_may_fall)
{
    follow(2, 1, 50, 100, true);
    step((struct repl_event){.kind = REPL_EV_FETCHED, .fetched = {1, 110, 500, 0}});
    ck_assert_int_eq(core.hw_offset, 110);
    step((struct repl_event){.kind = REPL_EV_FETCHED, .fetched = {1, 110, 70, 0}});
    ck_assert_int_eq(core.hw_offset, 70);
    ck_assert_int_eq(has(REPL_FX_SET_HW)->offset, 70);
}
END_TEST

START_TEST(follower_start_follows_the_leaders_up_to_hw)
{
    follow(2, 1, 50, 100, true);
    step((struct repl_event){.kind = REPL_EV_FETCHED, .fetched = {1, 100, 80, 30}});
    ck_assert_int_eq(has(REPL_FX_SET_START)->offset, 30);
    step((struct repl_event){.kind = REPL_EV_FETCHED, .fetched = {1, 100, 80, 90}});
    ck_assert_int_eq(has(REPL_FX_SET_START)->offset, 80);
    step((struct repl_event){.kind = REPL_EV_FETCHED, .fetched = {1, 100, 80, 10}});
    ck_assert_ptr_null(has(REPL_FX_SET_START));
}
END_TEST

START_TEST(answers_of_an_older_epoch_are_dropped)
{
    follow(2, 1, 50, 100, true);
    follow(3, 2, 50, 100, true);
    step((struct repl_event){.kind = REPL_EV_FETCHED, .fetched = {1, 100, 60, 0}});
    ck_assert_int_eq(core.hw_offset, 50);
    step((struct repl_event){.kind = REPL_EV_DIVERGED, .diverged = {1, 0, 3, 0, 3}});
    ck_assert_int_eq(fx.count, 0); /* KAFKA-7786 */
}
END_TEST

static const struct {
    int32_t epoch;
    int64_t end;
    int32_t own;
    int64_t own_end;
    int64_t cut_at;
} cuts[] = {
    {-1, -1, -1, -1, 50},                       /* nothing known: HW */
    {-1, 70, -1, -1, 70},                       /* a leader that does not say its epoch */
    {3, 70, 3, 80, 70},                         /* same epoch: the shorter */
    {3, 90, 3, 80, 80},    {3, 70, 2, 60, 60},  /* not finished: the next fetch asks with epoch 2 */
    {3, 300, 2, 200, 100}, {1, 20, -1, -1, 20}, /* below HW, after an unclean election */
};
START_TEST(each_way_to_diverge)
{
    follow(2, 5, 50, 100, true);
    step((struct repl_event){
        .kind = REPL_EV_DIVERGED,
        .diverged = {5, cuts[_i].epoch, cuts[_i].end, cuts[_i].own, cuts[_i].own_end}});
    ck_assert_int_eq(has(REPL_FX_TRUNCATE)->offset, cuts[_i].cut_at);
    ck_assert_ptr_null(has(REPL_FX_SET_HW)); /* truncate before touching HW (KAFKA-14704) */
    ck_assert(core.is_truncating);
    step((struct repl_event){.kind = REPL_EV_FETCHED, .fetched = {5, 100, 100, 0}});
    ck_assert_int_eq(core.hw_offset, 50);
    ck_assert_int_eq(repl_admit_read(&core, 5, -1, false), KE_NOT_LEADER_OR_FOLLOWER);
    step((struct repl_event){.kind = REPL_EV_TRUNCATED, .truncated = {0, cuts[_i].cut_at}});
    ck_assert_int_eq(core.hw_offset, i64_min(50, cuts[_i].cut_at));
    ck_assert_int_eq(has(REPL_FX_FOLLOW)->offset, cuts[_i].cut_at);
}
END_TEST

START_TEST(kip_279_two_quick_elections)
{
    /* B is 0:0 1:0 2:2 with cache 0->0, 2->2; the leader of epoch 3 says: epoch 1 ends at 4 */
    follow(2, 3, 0, 3, true);
    step((struct repl_event){.kind = REPL_EV_DIVERGED, .diverged = {3, 1, 4, 0, 2}});
    ck_assert_int_eq(has(REPL_FX_TRUNCATE)->offset, 2);
    step((struct repl_event){.kind = REPL_EV_TRUNCATED, .truncated = {0, 2}});
    step((struct repl_event){.kind = REPL_EV_FETCHED, .fetched = {3, 4, 4, 0}});
    ck_assert_int_eq(core.end_offset, 4);
    ck_assert_int_eq(core.hw_offset, 4);
}
END_TEST

START_TEST(out_of_range_above_the_leaders_end_cuts_to_it)
{
    follow(2, 5, 50, 100, true);
    step((struct repl_event){.kind = REPL_EV_LEADER_END, .leader_end = {5, 80}});
    ck_assert_int_eq(has(REPL_FX_TRUNCATE)->offset, 80);
}
END_TEST

START_TEST(out_of_range_below_the_leaders_start_restarts_the_log)
{
    follow(2, 5, 50, 100, true);
    step((struct repl_event){.kind = REPL_EV_LEADER_END, .leader_end = {5, 500}});
    ck_assert_ptr_nonnull(has(REPL_FX_ASK_LEADER_START));
    step((struct repl_event){.kind = REPL_EV_LEADER_START, .leader_start = {5, 300}});
    ck_assert_int_eq(has(REPL_FX_RESTART_AT)->offset, 300);
    step((struct repl_event){.kind = REPL_EV_TRUNCATED, .truncated = {300, 300}});
    ck_assert_int_eq(core.start_offset, 300);
    ck_assert_int_eq(core.hw_offset, 300); /* KAFKA-9491 */
    ck_assert_int_eq(has(REPL_FX_FOLLOW)->offset, 300);
}
END_TEST

START_TEST(out_of_range_that_has_passed_fetches_on)
{
    follow(2, 5, 50, 100, true);
    step((struct repl_event){.kind = REPL_EV_LEADER_START, .leader_start = {5, 40}});
    ck_assert_int_eq(has(REPL_FX_FOLLOW)->offset, 100);
}
END_TEST

START_TEST(retention_takes_hw_along)
{
    follow(2, 5, 50, 100, true);
    step((struct repl_event){.kind = REPL_EV_START_MOVED, .start_moved = {60}});
    ck_assert_int_eq(core.hw_offset, 60);
}
END_TEST

START_TEST(low_watermark_counts_live_replicas_only)
{
    lead(1, 1, 0, 0);
    append(100);
    step((struct repl_event){.kind = REPL_EV_FETCH, .fetch = {2, 7, 100, 40}});
    step((struct repl_event){.kind = REPL_EV_FETCH, .fetch = {3, 7, 100, 20}});
    step((struct repl_event){.kind = REPL_EV_START_MOVED, .start_moved = {60}});
    ck_assert_int_eq(repl_low_watermark(&core, &live), 20);
    repl_live_set(&live, 3, false);
    ck_assert_int_eq(repl_low_watermark(&core, &live), 40);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("repl_core");
    TCase *l = tcase_create("leader");
    TCase *c = tcase_create("control");
    TCase *f = tcase_create("follower");
    SRunner *sr;
    int failed;

    tcase_add_checked_fixture(l, setup, teardown);
    tcase_add_checked_fixture(c, setup, teardown);
    tcase_add_checked_fixture(f, setup, teardown);
    tcase_add_test(l, leader_writes_its_epoch_at_its_end_before_it_acts);
    tcase_add_test(l, an_epoch_written_for_an_older_election_does_not_make_a_leader);
    tcase_add_test(l, leader_alone_in_the_isr_raises_hw_at_once);
    tcase_add_test(l, hw_is_the_smallest_end_in_the_isr);
    tcase_add_test(l, worked_example_shrink_then_min_isr_freezes_hw);
    tcase_add_test(l, min_isr_above_the_replication_factor_does_not_block);
    tcase_add_test(l, a_lower_min_isr_lets_hw_go_on);
    tcase_add_test(l, enough_in_hw_but_too_few_in_isr_gives_after_append);
    tcase_add_test(l, a_follower_of_an_idle_partition_was_caught_up_until_the_append);
    tcase_add_test(l, historic_acks_count_replicas_with_the_leader);
    tcase_add_test(l, follower_at_the_end_of_an_idle_log_stays_in_sync);
    tcase_add_test(l, follower_that_reaches_the_end_of_its_last_fetch_is_caught_up);
    tcase_add_test(l, follower_that_fetches_but_lags_is_thrown_out);
    tcase_add_test(l, deadline_is_when_the_first_member_falls_out);
    tcase_add_test(l, lag_in_messages_is_off_by_default_and_works_when_set);
    tcase_add_test(l, isr_member_outside_of_the_replicas_is_thrown_out);
    tcase_add_test(l, follower_joins_the_isr_at_hw);
    tcase_add_test(l, follower_below_the_start_of_the_epoch_does_not_join_by_a_stale_hw);
    tcase_add_test(l, dead_broker_does_not_join_and_does_not_hold_hw);
    tcase_add_test(l, one_isr_change_at_a_time);
    tcase_add_loop_test(l, each_answer_to_an_isr_change, 0, (int)ARRAY_LEN(isr_errors));
    tcase_add_test(l, answer_to_an_older_isr_change_is_ignored);
    tcase_add_test(l, repeated_answer_with_equal_partition_epoch_is_accepted);
    tcase_add_test(l, answer_without_us_in_the_isr_is_not_believed);
    tcase_add_test(l, leader_again_keeps_what_it_knows_of_its_followers);
    tcase_add_test(l, new_leader_knows_nothing_of_its_followers);
    tcase_add_test(l, leader_that_becomes_follower_fails_its_waits);
    tcase_add_test(l, stopped_partition_takes_no_event);
    tcase_add_test(l, replica_that_was_stopped_for_now_comes_back);
    tcase_add_test(l, a_wait_outlives_an_epoch_only_while_we_lead_without_a_break);
    tcase_add_test(l, low_watermark_counts_live_replicas_only);
    suite_add_tcase(s, l);
    tcase_add_test(c, only_a_higher_leader_epoch_is_admitted);
    tcase_add_test(c, impossible_states_are_refused);
    tcase_add_test(c, reads_are_checked_in_the_order_of_the_protocol);
    suite_add_tcase(s, c);
    tcase_add_test(f, follower_with_epochs_fetches_from_its_end_without_truncation);
    tcase_add_test(f, follower_without_epochs_truncates_to_hw_first);
    tcase_add_test(f, follower_of_nobody_waits);
    tcase_add_test(f, follower_hw_is_the_leaders_within_its_own_log_and_may_fall);
    tcase_add_test(f, follower_start_follows_the_leaders_up_to_hw);
    tcase_add_test(f, answers_of_an_older_epoch_are_dropped);
    tcase_add_loop_test(f, each_way_to_diverge, 0, (int)ARRAY_LEN(cuts));
    tcase_add_test(f, kip_279_two_quick_elections);
    tcase_add_test(f, out_of_range_above_the_leaders_end_cuts_to_it);
    tcase_add_test(f, out_of_range_below_the_leaders_start_restarts_the_log);
    tcase_add_test(f, out_of_range_that_has_passed_fetches_on);
    tcase_add_test(f, retention_takes_hw_along);
    suite_add_tcase(s, f);
    sr = srunner_create(s);
    srunner_run_all(sr, CK_ENV);
    failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed != 0;
}
