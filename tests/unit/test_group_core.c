/* SPDX-License-Identifier: Apache-2.0 */
/* The rules of the group coordinator, one by one, in the order of the tables of Kafka's classic
 * protocol. */
#include "group_core_bench.h"

#define WAITS(g) ck_assert_int_eq((g)->times, 0)
#define ENDS(g, e)                                                                                 \
    do {                                                                                           \
        const struct got *ended = (g);                                                             \
        ck_assert_int_eq(ended->times, 1);                                                         \
        ck_assert_int_eq(ended->error, (e));                                                       \
    } while (0)
#define STATE(s) ck_assert_str_eq(group_state_name(view("g").state), group_state_name(s))

/* ---- groups to begin with */

/* A member that is added at once, as a client before KIP-394. */
static struct group_join old_joiner(const char *suffix)
{
    struct group_join j = joiner("");

    j.needs_known_id = false;
    j.new_id_suffix = str_of(suffix);
    return j;
}

static struct group_join static_joiner(const char *instance, const char *suffix)
{
    struct group_join j = old_joiner(suffix);

    j.instance_id = str_of(instance);
    return j;
}

static struct group_sync assigning(const char *member_id, int32_t generation,
                                   const struct group_assignment *v, int32_t count)
{
    struct group_sync s = syncer(member_id, generation);

    s.assignments = v;
    s.assignment_count = count;
    return s;
}

/* Members c-0001 (the leader) and c-0002, generation 1, Stable. Calls 1 to 4. */
static void two_members(void)
{
    struct group_assignment v[] = {{STR_LIT("c-0001"), {(const uint8_t *)"one", 3}},
                                   {STR_LIT("c-0002"), {(const uint8_t *)"two", 3}}};

    join(1, old_joiner("0001"));
    join(2, old_joiner("0002"));
    pass(6000);
    ENDS(&b.got[1], KE_NONE);
    ENDS(&b.got[2], KE_NONE);
    WAITS(sync_with(3, syncer("c-0002", 1)));
    ENDS(sync_with(4, assigning("c-0001", 1, v, 2)), KE_NONE);
    ENDS(&b.got[3], KE_NONE);
    STATE(GROUP_STABLE);
}

/* Static members i1 (leader i1-0001) and i2, Stable. */
static void two_static_members(void)
{
    struct group_assignment v[] = {{STR_LIT("i1-0001"), {(const uint8_t *)"one", 3}},
                                   {STR_LIT("i2-0002"), {(const uint8_t *)"two", 3}}};

    join(1, static_joiner("i1", "0001"));
    join(2, static_joiner("i2", "0002"));
    pass(6000);
    sync_with(3, syncer("i2-0002", 1));
    ENDS(sync_with(4, assigning("i1-0001", 1, v, 2)), KE_NONE);
    STATE(GROUP_STABLE);
}

/* ---- the typical first start */

START_TEST(a_first_consumer_gets_its_id_waits_the_initial_delay_and_leads)
{
    const struct got *g = join(1, joiner(""));

    ENDS(g, KE_MEMBER_ID_REQUIRED);
    ck_assert_str_eq(g->member_id, "c-0001");
    ck_assert_int_eq(g->generation, -1);
    STATE(GROUP_EMPTY);
    WAITS(join(2, joiner("c-0001")));
    STATE(GROUP_PREPARING_REBALANCE);
    pass(2999);
    WAITS(&b.got[2]);
    pass(1);
    g = &b.got[2];
    ENDS(g, KE_NONE);
    ck_assert_int_eq(g->generation, 1);
    ck_assert_str_eq(g->leader, "c-0001");
    ck_assert_str_eq(g->member_id, "c-0001");
    ck_assert_str_eq(g->protocol, "range");
    ck_assert_str_eq(g->type, "consumer");
    ck_assert_int_eq(g->member_count, 1);
    ck_assert_str_eq(g->members[0], "c-0001");
    ck_assert_str_eq(g->metadata[0], "meta");
    STATE(GROUP_COMPLETING_REBALANCE);
    struct group_assignment v = {STR_LIT("c-0001"), {(const uint8_t *)"all", 3}};
    g = sync_with(3, assigning("c-0001", 1, &v, 1));
    ENDS(g, KE_NONE);
    ck_assert_str_eq(g->assignment, "all");
    STATE(GROUP_STABLE);
    ENDS(heartbeat(4, "c-0001", 1), KE_NONE);
}
END_TEST

START_TEST(a_second_member_makes_the_first_rejoin)
{
    two_members();
    WAITS(join(10, old_joiner("0003")));
    STATE(GROUP_PREPARING_REBALANCE);
    ENDS(heartbeat(11, "c-0001", 1), KE_REBALANCE_IN_PROGRESS);
    WAITS(join(12, joiner("c-0001")));
    ENDS(join(13, joiner("c-0002")), KE_NONE);
    ENDS(&b.got[12], KE_NONE);
    ENDS(&b.got[10], KE_NONE);
    ck_assert_int_eq(b.got[12].generation, 2);
    ck_assert_int_eq(b.got[12].member_count, 3);
    ck_assert_int_eq(b.got[13].member_count, 0);
    ck_assert_str_eq(b.got[10].leader, "c-0001");
}
END_TEST

/* ---- docs/reference/group-coordinator.md, "JoinGroup" */

START_TEST(a_group_id_must_be_there)
{
    struct group_join j = joiner("");

    j.group = STR_NULL;
    ENDS(join(1, j), KE_INVALID_GROUP_ID);
    j.group = STR_LIT("");
    ENDS(join(2, j), KE_INVALID_GROUP_ID);
    ENDS(commit_as(3, "", "", -1, "t", 0, value_of(1)), KE_NONE);
    step((struct group_event){.kind = GEV_DELETE_GROUP, .call = 4, .delete_group = STR_LIT("")});
    ENDS(&b.got[4], KE_NONE);
    step((struct group_event){.kind = GEV_DELETE_GROUP, .call = 5, .delete_group = STR_NULL});
    ENDS(&b.got[5], KE_INVALID_GROUP_ID);
}
END_TEST

START_TEST(a_session_timeout_must_be_within_the_limits)
{
    struct group_join j = joiner("");

    j.session_ms = 5999;
    ENDS(join(1, j), KE_INVALID_SESSION_TIMEOUT);
    j.session_ms = 1800001;
    ENDS(join(2, j), KE_INVALID_SESSION_TIMEOUT);
    ck_assert_int_eq(view("g").state, GROUP_DEAD); /* nothing was made */
    j.session_ms = 6000;
    ENDS(join(3, j), KE_MEMBER_ID_REQUIRED);
}
END_TEST

START_TEST(an_id_for_a_group_that_does_not_exist_is_unknown)
{
    const struct got *g = join(1, joiner("c-1"));

    ENDS(g, KE_UNKNOWN_MEMBER_ID);
    ck_assert_str_eq(g->member_id, "c-1");
    ck_assert_int_eq(g->generation, -1);
    ck_assert_int_eq(view("g").state, GROUP_DEAD);
}
END_TEST

START_TEST(an_id_that_is_not_a_member_is_unknown)
{
    two_members();
    ENDS(join(10, joiner("c-9")), KE_UNKNOWN_MEMBER_ID);
    STATE(GROUP_STABLE);
}
END_TEST

START_TEST(an_unknown_instance_with_an_id_is_unknown_and_another_ones_is_fenced)
{
    struct group_join j = static_joiner("i9", "0009");

    two_static_members();
    j.member_id = STR_LIT("i1-0001");
    ENDS(join(10, j), KE_UNKNOWN_MEMBER_ID);
    j.instance_id = STR_LIT("i2");
    ENDS(join(11, j), KE_FENCED_INSTANCE_ID);
    STATE(GROUP_STABLE);
}
END_TEST

START_TEST(a_pending_id_with_an_instance_is_unknown)
{
    struct group_join j = joiner("");

    ENDS(join(1, j), KE_MEMBER_ID_REQUIRED);
    j.member_id = STR_LIT("c-0001");
    j.instance_id = STR_LIT("i1");
    ENDS(join(2, j), KE_UNKNOWN_MEMBER_ID);
}
END_TEST

START_TEST(versions_before_four_are_added_at_once)
{
    WAITS(join(1, old_joiner("0001")));
    STATE(GROUP_PREPARING_REBALANCE);
    ck_assert_int_eq(view("g").member_count, 1);
}
END_TEST

START_TEST(protocols_must_not_be_empty_and_must_meet_those_of_the_group)
{
    static const struct group_protocol rr[] = {{{"rr", 2}, {NULL, 0}}};
    struct group_join j = old_joiner("0001");

    j.protocol_count = 0;
    ENDS(join(1, j), KE_INCONSISTENT_GROUP_PROTOCOL);
    j = old_joiner("0001");
    j.protocol_type = STR_LIT("");
    ENDS(join(2, j), KE_INCONSISTENT_GROUP_PROTOCOL);
    ck_assert_int_eq(view("g").state, GROUP_DEAD);
    WAITS(join(3, old_joiner("0001")));
    j = old_joiner("0002");
    j.protocol_type = STR_LIT("connect");
    ENDS(join(4, j), KE_INCONSISTENT_GROUP_PROTOCOL);
    ck_assert_str_eq(b.got[4].member_id, "");
    j = old_joiner("0002");
    j.protocols = rr;
    ENDS(join(5, j), KE_INCONSISTENT_GROUP_PROTOCOL);
    j = joiner("c-0001");
    j.protocols = rr;
    ENDS(join(6, j), KE_INCONSISTENT_GROUP_PROTOCOL);
    ck_assert_str_eq(b.got[6].member_id, "c-0001");
    ck_assert_int_eq(view("g").member_count, 1);
}
END_TEST

START_TEST(the_protocol_that_most_members_prefer_of_those_all_know_wins)
{
    static const struct group_protocol a[] = {
        {{"own", 3}, {NULL, 0}}, {{"range", 5}, {NULL, 0}}, {{"rr", 2}, {(const uint8_t *)"a", 1}}};
    static const struct group_protocol others[] = {{{"rr", 2}, {(const uint8_t *)"b", 1}},
                                                   {{"range", 5}, {NULL, 0}}};
    struct group_join j = old_joiner("0001");

    j.protocols = a;
    j.protocol_count = 3;
    join(1, j);
    j = old_joiner("0002");
    j.protocols = others;
    j.protocol_count = 2;
    join(2, j);
    j.new_id_suffix = STR_LIT("0003");
    join(3, j);
    pass(9000);
    ENDS(&b.got[1], KE_NONE);
    ck_assert_str_eq(b.got[1].protocol, "rr");
    ck_assert_str_eq(b.got[1].metadata[0], "a");
    ck_assert_str_eq(b.got[1].metadata[2], "b");
}
END_TEST

START_TEST(a_protocol_that_is_named_twice_counts_once)
{
    static const struct group_protocol twice[] = {{{"range", 5}, {(const uint8_t *)"1", 1}},
                                                  {{"range", 5}, {(const uint8_t *)"2", 1}}};
    struct group_join j = old_joiner("0001");

    j.protocols = twice;
    j.protocol_count = 2;
    join(1, j);
    join(2, old_joiner("0002"));
    pass(6000);
    ENDS(&b.got[2], KE_NONE);
    ck_assert_str_eq(b.got[2].protocol, "range");
    leave(3, "c-0001", NULL);
    WAITS(join(4, old_joiner("0003")));
}
END_TEST

START_TEST(in_completing_rebalance_equal_metadata_is_answered_at_once)
{
    join(1, old_joiner("0001"));
    join(2, old_joiner("0002"));
    pass(6000);
    STATE(GROUP_COMPLETING_REBALANCE);
    ENDS(join(3, joiner("c-0001")), KE_NONE);
    ck_assert_int_eq(b.got[3].generation, 1);
    ck_assert_int_eq(b.got[3].member_count, 2);
    ENDS(join(4, joiner("c-0002")), KE_NONE);
    ck_assert_int_eq(b.got[4].member_count, 0);
    STATE(GROUP_COMPLETING_REBALANCE);
}
END_TEST

static struct group_join changed_joiner(const char *member_id)
{
    static const struct group_protocol changed[] = {{{"range", 5}, {(const uint8_t *)"new", 3}}};
    struct group_join j = joiner(member_id);

    j.protocols = changed;
    return j;
}

START_TEST(in_completing_rebalance_other_metadata_rebalances_and_answers_the_syncs)
{
    join(1, old_joiner("0001"));
    join(2, old_joiner("0002"));
    pass(6000);
    WAITS(sync_with(3, syncer("c-0002", 1)));
    WAITS(join(4, changed_joiner("c-0001")));
    ENDS(&b.got[3], KE_REBALANCE_IN_PROGRESS);
    STATE(GROUP_PREPARING_REBALANCE);
}
END_TEST

START_TEST(a_leader_that_rejoins_a_stable_group_always_rebalances)
{
    two_members();
    WAITS(join(10, joiner("c-0001")));
    STATE(GROUP_PREPARING_REBALANCE);
    ck_assert_str_eq(b.reason, "leader c-0001 rejoined");
}
END_TEST

START_TEST(a_follower_that_rejoins_a_stable_group_rebalances_only_with_other_metadata)
{
    two_members();
    ENDS(join(10, joiner("c-0002")), KE_NONE);
    ck_assert_int_eq(b.got[10].generation, 1);
    ck_assert_int_eq(b.got[10].member_count, 0);
    ck_assert_str_eq(b.got[10].leader, "c-0001");
    STATE(GROUP_STABLE);
    WAITS(join(11, changed_joiner("c-0002")));
    STATE(GROUP_PREPARING_REBALANCE);
    ck_assert_str_eq(b.reason, "member c-0002 rejoined with other protocols or topics");
}
END_TEST

START_TEST(a_member_of_an_empty_group_is_unknown)
{
    two_members();
    leave(10, "c-0001", NULL);
    leave(11, "c-0002", NULL);
    STATE(GROUP_EMPTY);
    ENDS(join(12, joiner("c-0001")), KE_UNKNOWN_MEMBER_ID);
}
END_TEST

START_TEST(a_join_that_is_sent_again_answers_the_first)
{
    two_members();
    WAITS(join(10, joiner("c-0001")));
    WAITS(join(11, joiner("c-0001")));
    ENDS(&b.got[10], KE_REBALANCE_IN_PROGRESS);
    join(12, joiner("c-0002"));
    ENDS(&b.got[11], KE_NONE);
}
END_TEST

START_TEST(a_full_group_takes_no_new_member)
{
    b.limits.max_size = 2;
    group_core_set_limits(b.core, &b.limits);
    two_members();
    ENDS(join(10, old_joiner("0003")), KE_GROUP_MAX_SIZE_REACHED);
    ck_assert_str_eq(b.got[10].member_id, "");
    ENDS(join(11, joiner("c-0002")), KE_NONE);
    STATE(GROUP_STABLE);
}
END_TEST

START_TEST(while_members_gather_those_who_wait_count_and_the_last_is_out)
{
    two_members();
    b.limits.max_size = 1;
    group_core_set_limits(b.core, &b.limits);
    WAITS(join(10, joiner("c-0001")));
    ENDS(join(11, joiner("c-0002")), KE_GROUP_MAX_SIZE_REACHED);
    ENDS(&b.got[10], KE_NONE);
    ck_assert_int_eq(view("g").member_count, 1);
}
END_TEST

START_TEST(a_negative_or_huge_rebalance_timeout_is_taken_sensibly)
{
    struct group_join j = old_joiner("0001");

    j.rebalance_ms = -1;
    join(1, j);
    j = old_joiner("0002");
    j.rebalance_ms = INT32_MAX;
    join(2, j);
    pass(6000);
    ENDS(&b.got[1], KE_NONE);
    ENDS(&b.got[2], KE_NONE);
}
END_TEST

/* ---- static members, KIP-345 and 814 */

START_TEST(a_static_member_that_comes_back_gets_its_assignment_without_a_rebalance)
{
    int appends;

    two_static_members();
    appends = b.appends;
    ENDS(join(10, static_joiner("i2", "0012")), KE_NONE);
    ck_assert_int_eq(b.appends, appends + 1);
    ck_assert_str_eq(b.got[10].member_id, "i2-0012");
    ck_assert_int_eq(b.got[10].generation, 1);
    ck_assert_str_eq(b.got[10].leader, "i1-0001");
    STATE(GROUP_STABLE);
    ENDS(sync_with(11, syncer("i2-0012", 1)), KE_NONE);
    ck_assert_str_eq(b.got[11].assignment, "two");
    struct group_sync s = syncer("i2-0002", 1);
    s.instance_id = STR_LIT("i2");
    ENDS(sync_with(12, s), KE_FENCED_INSTANCE_ID);
    ENDS(heartbeat(13, "i2-0002", 1), KE_UNKNOWN_MEMBER_ID);
}
END_TEST

START_TEST(an_older_static_leader_is_told_the_old_leader_id)
{
    two_static_members();
    ENDS(join(10, static_joiner("i1", "0011")), KE_NONE);
    ck_assert_str_eq(b.got[10].leader, "i1-0001");
    ck_assert_int_eq(b.got[10].member_count, 0);
    ck_assert(!b.got[10].skip_assignment);
    ck_assert(str_eq_z(view("g").leader, "i1-0011"));
}
END_TEST

START_TEST(a_static_leader_of_version_nine_leads_and_skips_the_assignment)
{
    struct group_join j = static_joiner("i1", "0011");

    two_static_members();
    j.can_skip_assignment = true;
    ENDS(join(10, j), KE_NONE);
    ck_assert_str_eq(b.got[10].leader, "i1-0011");
    ck_assert_int_eq(b.got[10].member_count, 2);
    ck_assert(b.got[10].skip_assignment);
    j = static_joiner("i2", "0012");
    j.can_skip_assignment = true;
    ENDS(join(11, j), KE_NONE);
    ck_assert(!b.got[11].skip_assignment);
    ck_assert_int_eq(b.got[11].member_count, 0);
}
END_TEST

START_TEST(a_replacement_that_cannot_be_written_is_taken_back)
{
    struct group_join j = static_joiner("i2", "0012");

    two_static_members();
    j.session_ms = 20000;
    b.append_error = KE_NOT_ENOUGH_REPLICAS;
    ENDS(join(10, j), KE_COORDINATOR_NOT_AVAILABLE);
    ck_assert_str_eq(b.got[10].member_id, "");
    ENDS(heartbeat(11, "i2-0002", 1), KE_NONE);
    ENDS(heartbeat(12, "i2-0012", 1), KE_UNKNOWN_MEMBER_ID);
    STATE(GROUP_STABLE);
    b.append_error = KE_NONE;
    ENDS(join(13, static_joiner("i2", "0022")), KE_NONE);
    j.new_id_suffix = STR_LIT("0032");
    b.append_error = KE_NOT_ENOUGH_REPLICAS;
    ENDS(join(14, j), KE_COORDINATOR_NOT_AVAILABLE);
    b.append_error = KE_NONE;
    pass(9000);
    heartbeat(15, "i1-0001", 1);
    pass(1000); /* its session is as long as it was */
    ck_assert_int_eq(view("g").member_count, 1);
}
END_TEST

START_TEST(a_replacement_that_may_have_been_written_is_overwritten)
{
    two_static_members();
    b.holds_appends = true;
    WAITS(join(10, static_joiner("i2", "0012")));
    /* in the log, but the answer says nothing of it */
    b.log[b.log_count++] = b.waiting[0].records[0];
    b.log[b.log_count - 1].batch_offset = b.log_end++;
    b.waiting_count = 0;
    step((struct group_event){.kind = GEV_APPENDED,
                              .appended = {b.waiting[0].id, KE_REQUEST_TIMED_OUT, -1}});
    ENDS(&b.got[10], KE_REBALANCE_IN_PROGRESS);
    ck_assert_int_eq(b.waiting_count, 1);
    appended(0, KE_NONE);
    b.holds_appends = false;
    reload();
    struct group_sync s = syncer("i2-0002", 1);
    s.instance_id = STR_LIT("i2");
    ENDS(sync_with(11, s), KE_NONE);
}
END_TEST

START_TEST(a_rebalance_while_a_replacement_is_written_answers_it)
{
    two_static_members();
    b.holds_appends = true;
    WAITS(join(10, static_joiner("i2", "0012")));
    ENDS(join(11, joiner("i1-0001")), KE_NONE); /* the leader: rebalance */
    ENDS(&b.got[10], KE_NONE);
    ck_assert_int_eq(b.got[10].generation, 2);
    appended(0, KE_NOT_ENOUGH_REPLICAS); /* too late to matter */
    ck_assert_int_eq(view("g").member_count, 2);
    ENDS(heartbeat(12, "i2-0012", 2), KE_NONE);
}
END_TEST

START_TEST(a_second_replacement_fences_the_first_that_is_being_written)
{
    two_static_members();
    b.holds_appends = true;
    WAITS(join(10, static_joiner("i2", "0012")));
    WAITS(join(11, static_joiner("i2", "0022")));
    ENDS(&b.got[10], KE_FENCED_INSTANCE_ID);
    appended(0, KE_NONE);
    WAITS(&b.got[11]);
    appended(0, KE_NONE);
    ENDS(&b.got[11], KE_NONE);
    ck_assert_str_eq(b.got[11].member_id, "i2-0022");
}
END_TEST

START_TEST(a_replacement_that_changes_the_choice_rebalances)
{
    static const struct group_protocol both[] = {{{"rr", 2}, {NULL, 0}}, {{"range", 5}, {NULL, 0}}};
    struct group_join j = static_joiner("i1", "0001");

    j.protocols = both;
    j.protocol_count = 2;
    join(1, j);
    pass(3000);
    ck_assert_str_eq(b.got[1].protocol, "rr");
    ENDS(sync_with(2, syncer("i1-0001", 1)), KE_NONE);
    ENDS(join(3, static_joiner("i1", "0011")), KE_NONE); /* alone: joined at once */
    ck_assert_int_eq(b.got[3].generation, 2);
    STATE(GROUP_COMPLETING_REBALANCE);
}
END_TEST

START_TEST(a_replacement_before_the_group_is_stable_rebalances)
{
    join(1, static_joiner("i1", "0001"));
    join(2, static_joiner("i2", "0002"));
    pass(6000);
    WAITS(sync_with(3, syncer("i2-0002", 1)));
    WAITS(join(4, static_joiner("i2", "0012")));
    ENDS(&b.got[3], KE_FENCED_INSTANCE_ID);
    STATE(GROUP_PREPARING_REBALANCE);
    WAITS(join(5, static_joiner("i2", "0022")));
    ENDS(&b.got[4], KE_FENCED_INSTANCE_ID);
    ck_assert_str_eq(b.got[4].member_id, "i2-0012");
    ENDS(join(6, joiner("i1-0001")), KE_NONE);
    ENDS(&b.got[5], KE_NONE);
}
END_TEST

/* ---- docs/reference/group-coordinator.md, "Timers" */

START_TEST(a_session_that_ends_rebalances_and_a_heartbeat_begins_it_anew)
{
    two_members();
    pass(9000);
    ENDS(heartbeat(10, "c-0001", 1), KE_NONE);
    pass(999);
    ck_assert_int_eq(view("g").member_count, 2);
    pass(1);
    ck_assert_int_eq(view("g").member_count, 1);
    STATE(GROUP_PREPARING_REBALANCE);
    ck_assert_str_eq(b.reason, "member c-0002 did not heartbeat for 10000 ms");
    struct group_numbers n;
    group_core_count(b.core, &n);
    ck_assert_int_eq(n.expired_members, 1);
    ck_assert_int_eq(n.members, 1);
    ck_assert_int_eq(n.by_state[GROUP_PREPARING_REBALANCE], 1);
}
END_TEST

START_TEST(a_member_that_waits_does_not_lose_its_session)
{
    two_members();
    WAITS(join(10, joiner("c-0001")));
    for (int i = 0; i < 5; i++) {
        pass(9000);
        ENDS(heartbeat(20 + (uint64_t)i, "c-0002", 1), KE_REBALANCE_IN_PROGRESS);
        ENDS(heartbeat(30 + (uint64_t)i, "c-0001", 1), KE_REBALANCE_IN_PROGRESS);
    }
    WAITS(&b.got[10]);
    ck_assert_int_eq(view("g").member_count, 2);
}
END_TEST

START_TEST(after_a_stop_of_the_broker_members_have_time_to_be_heard)
{
    two_members();
    b.now += 15000; /* and no tick on the way */
    step((struct group_event){.kind = GEV_TICK});
    STATE(GROUP_STABLE);
    ENDS(heartbeat(10, "c-0001", 1), KE_NONE);
    pass(4999);
    STATE(GROUP_STABLE);
    pass(1);
    ck_assert_int_eq(view("g").member_count, 1); /* c-0002 was not heard */
}
END_TEST

START_TEST(ticks_that_are_always_late_end_sessions_all_the_same)
{
    two_members();
    b.now += 15000;
    step((struct group_event){.kind = GEV_TICK});
    STATE(GROUP_STABLE);
    b.now += 15000;
    step((struct group_event){.kind = GEV_TICK});
    STATE(GROUP_EMPTY);
}
END_TEST

START_TEST(a_stop_gives_no_more_than_ten_seconds)
{
    two_members();
    b.now += 1000000;
    step((struct group_event){.kind = GEV_TICK});
    ck_assert_int_eq(group_core_deadline_ms(b.core), b.now + 10000);
    pass(10000);
    STATE(GROUP_EMPTY);
}
END_TEST

START_TEST(a_new_member_that_is_not_answered_for_five_minutes_is_out)
{
    struct group_join j = old_joiner("0001");

    j.rebalance_ms = 1000000;
    j.session_ms = 1000000;
    join(1, j);
    pass(3000);
    sync_with(2, syncer("c-0001", 1));
    WAITS(join(3, old_joiner("0002")));
    pass(299999);
    WAITS(&b.got[3]);
    pass(1);
    ENDS(&b.got[3], KE_UNKNOWN_MEMBER_ID);
    ck_assert_str_eq(b.got[3].member_id, "");
    ck_assert_int_eq(view("g").member_count, 1);
}
END_TEST

START_TEST(a_pending_id_is_forgotten_after_its_session_timeout)
{
    ENDS(join(1, joiner("")), KE_MEMBER_ID_REQUIRED);
    pass(10000);
    ENDS(join(2, joiner("c-0001")), KE_UNKNOWN_MEMBER_ID);
    ck_assert_int_eq(view("g").state, GROUP_DEAD); /* nothing speaks for the group any more */
}
END_TEST

START_TEST(a_pending_id_holds_up_a_normal_join_until_it_is_forgotten)
{
    struct group_join j = joiner("");

    two_members();
    j.new_id_suffix = STR_LIT("0003");
    ENDS(join(10, j), KE_MEMBER_ID_REQUIRED);
    WAITS(join(11, joiner("c-0001")));
    WAITS(join(12, joiner("c-0002")));
    STATE(GROUP_PREPARING_REBALANCE);
    pass(10000);
    ENDS(&b.got[11], KE_NONE);
    ENDS(&b.got[12], KE_NONE);
}
END_TEST

START_TEST(a_normal_join_ends_without_those_who_did_not_come)
{
    two_members();
    WAITS(join(10, old_joiner("0003")));
    for (int i = 0; i < 7; i++) { /* they live, but do not rejoin */
        pass(9000);
        heartbeat(20 + (uint64_t)i, "c-0001", 1);
        heartbeat(30 + (uint64_t)i, "c-0002", 1);
    }
    ENDS(&b.got[10], KE_NONE);
    ck_assert_str_eq(b.got[10].leader, "c-0003");
    ck_assert_int_eq(b.got[10].member_count, 1);
    ENDS(&b.got[26], KE_UNKNOWN_MEMBER_ID);
}
END_TEST

START_TEST(a_static_member_that_did_not_come_stays_until_its_session_ends)
{
    struct group_join j = static_joiner("i3", "0003");

    two_static_members();
    j.member_id = STR_LIT("");
    WAITS(join(10, j));
    pass(500);
    WAITS(join(11, joiner("i1-0001")));
    for (int i = 0; i < 6; i++) {
        pass(9000);
        heartbeat(20 + (uint64_t)i, "i2-0002", 1);
    }
    pass(5500);
    ENDS(&b.got[10], KE_NONE);
    ENDS(&b.got[11], KE_NONE);
    ck_assert_int_eq(b.got[11].member_count, 3);
    STATE(GROUP_COMPLETING_REBALANCE);
}
END_TEST

START_TEST(a_static_leader_that_did_not_come_stays_and_another_leads)
{
    two_static_members();
    pass(500);
    WAITS(join(10, static_joiner("i3", "0003")));
    for (int i = 0; i < 6; i++) {
        pass(9000);
        heartbeat(20 + (uint64_t)i, "i1-0001", 1);
        heartbeat(30 + (uint64_t)i, "i2-0002", 1);
    }
    pass(6000);
    ENDS(&b.got[10], KE_NONE);
    ck_assert_str_eq(b.got[10].leader, "i3-0003");
    ck_assert_int_eq(b.got[10].member_count, 3);
}
END_TEST

START_TEST(static_members_who_are_all_absent_keep_the_join_open_until_their_sessions_end)
{
    two_static_members();
    leave(10, "", "i1");
    STATE(GROUP_PREPARING_REBALANCE);
    ck_assert_int_eq(view("g").member_count, 1);
    for (int i = 0; i < 8; i++) {
        pass(9000);
        ENDS(heartbeat(20 + (uint64_t)i, "i2-0002", 1), KE_REBALANCE_IN_PROGRESS);
    }
    pass(10000);
    STATE(GROUP_EMPTY);
    ck_assert_int_eq(view("g").generation, 2);
}
END_TEST

START_TEST(the_initial_join_is_extended_while_members_come_up_to_the_rebalance_timeout)
{
    struct group_join j = old_joiner("0001");
    char suffix[8];

    j.rebalance_ms = 8000;
    join(1, j);
    for (uint64_t i = 2; i < 8; i++) {
        pass(2000);
        (void)snprintf(suffix, sizeof suffix, "%04d", (int)i);
        j.new_id_suffix = str_of(suffix);
        join(i, j);
        if (b.got[1].times > 0)
            break;
    }
    ENDS(&b.got[1], KE_NONE);
    ck_assert_int_le(b.now - 5000, 3000 + 3000 + 3000 + 2000);
    ck_assert_int_ge(b.got[1].member_count, 4);
}
END_TEST

START_TEST(without_an_initial_delay_the_first_member_is_answered_at_once)
{
    b.limits.initial_rebalance_delay_ms = 0;
    group_core_set_limits(b.core, &b.limits);
    ENDS(join(1, old_joiner("0001")), KE_NONE);
}
END_TEST

START_TEST(members_that_send_no_sync_are_removed_after_the_rebalance_timeout)
{
    join(1, old_joiner("0001"));
    join(2, old_joiner("0002"));
    pass(6000);
    WAITS(sync_with(3, syncer("c-0002", 1)));
    for (int i = 0; i < 6; i++) {
        pass(9999);
        heartbeat(20 + (uint64_t)i, "c-0001", 1);
    }
    pass(60006 - 6 * 9999 - 6);
    ENDS(&b.got[3], KE_REBALANCE_IN_PROGRESS);
    STATE(GROUP_PREPARING_REBALANCE);
    ck_assert_int_eq(view("g").member_count, 1);
}
END_TEST

/* ---- docs/reference/group-coordinator.md, "SyncGroup (14), Heartbeat (12), LeaveGroup (13)" */

START_TEST(the_table_of_sync_group)
{
    struct group_sync s = syncer("c-0001", 1);

    ENDS(sync_with(1, s), KE_UNKNOWN_MEMBER_ID); /* no such group */
    join(2, joiner(""));
    ENDS(sync_with(3, syncer("c-0001", 0)), KE_UNKNOWN_MEMBER_ID); /* pending */
    join(4, joiner("c-0001"));
    ENDS(sync_with(5, syncer("c-0001", 0)), KE_REBALANCE_IN_PROGRESS);
    ENDS(sync_with(6, syncer("c-0001", 1)), KE_ILLEGAL_GENERATION);
    pass(3000);
    s.protocol_type = STR_LIT("connect");
    ENDS(sync_with(7, s), KE_INCONSISTENT_GROUP_PROTOCOL);
    s.protocol_type = STR_LIT("consumer");
    s.protocol = STR_LIT("rr");
    ENDS(sync_with(8, s), KE_INCONSISTENT_GROUP_PROTOCOL);
    s.protocol = STR_NULL;
    s.needs_protocol = true;
    ENDS(sync_with(9, s), KE_INCONSISTENT_GROUP_PROTOCOL);
    s.protocol = STR_LIT("range");
    ENDS(sync_with(10, s), KE_NONE);
    ENDS(sync_with(11, s), KE_NONE); /* Stable */
    s.generation = 2;
    ENDS(sync_with(12, s), KE_ILLEGAL_GENERATION);
    s.instance_id = STR_LIT("i");
    ENDS(sync_with(13, s), KE_UNKNOWN_MEMBER_ID);
}
END_TEST

START_TEST(the_table_of_heartbeat)
{
    ENDS(heartbeat(1, "c-0001", 1), KE_UNKNOWN_MEMBER_ID);
    join(2, joiner(""));
    ENDS(heartbeat(3, "c-0001", 0), KE_UNKNOWN_MEMBER_ID);
    join(4, joiner("c-0001"));
    ENDS(heartbeat(5, "c-0001", 0), KE_REBALANCE_IN_PROGRESS);
    pass(3000);
    STATE(GROUP_COMPLETING_REBALANCE);
    ENDS(heartbeat(6, "c-0001", 1), KE_NONE);
    ENDS(heartbeat(7, "c-0001", 0), KE_ILLEGAL_GENERATION);
    sync_with(8, syncer("c-0001", 1));
    ENDS(heartbeat(9, "c-0001", 1), KE_NONE);
    ENDS(heartbeat(10, "c-0009", 1), KE_UNKNOWN_MEMBER_ID);
}
END_TEST

START_TEST(members_that_the_leader_leaves_out_get_no_bytes_and_strangers_are_ignored)
{
    struct group_assignment v[] = {{STR_LIT("x"), {(const uint8_t *)"no", 2}},
                                   {STR_LIT("c-0001"), {(const uint8_t *)"all", 3}}};

    join(1, old_joiner("0001"));
    join(2, old_joiner("0002"));
    pass(6000);
    sync_with(3, assigning("c-0002", 1, v, 2)); /* a follower's are ignored */
    ENDS(sync_with(4, assigning("c-0001", 1, v, 2)), KE_NONE);
    ck_assert_str_eq(b.got[4].assignment, "all");
    ENDS(&b.got[3], KE_NONE);
    ck_assert_str_eq(b.got[3].assignment, "");
}
END_TEST

START_TEST(an_assignment_that_cannot_be_written_is_an_error_for_all_and_rebalances)
{
    static const int16_t map[][2] = {
        {KE_UNKNOWN_TOPIC_OR_PARTITION, KE_COORDINATOR_NOT_AVAILABLE},
        {KE_NOT_ENOUGH_REPLICAS, KE_COORDINATOR_NOT_AVAILABLE},
        {KE_NOT_ENOUGH_REPLICAS_AFTER_APPEND, KE_COORDINATOR_NOT_AVAILABLE},
        {KE_NOT_LEADER_OR_FOLLOWER, KE_NOT_COORDINATOR},
        {KE_KAFKA_STORAGE_ERROR, KE_NOT_COORDINATOR},
        {KE_REQUEST_TIMED_OUT, KE_REBALANCE_IN_PROGRESS},
        {KE_MESSAGE_TOO_LARGE, KE_UNKNOWN_SERVER_ERROR},
        {KE_RECORD_LIST_TOO_LARGE, KE_UNKNOWN_SERVER_ERROR},
        {KE_INVALID_FETCH_SIZE, KE_UNKNOWN_SERVER_ERROR},
        {KE_CORRUPT_MESSAGE, KE_CORRUPT_MESSAGE}};
    uint64_t call = 10;

    join(1, old_joiner("0001"));
    join(2, old_joiner("0002"));
    pass(6000);
    for (size_t i = 0; i < ARRAY_LEN(map); i++) {
        int32_t generation = view("g").generation;
        b.append_error = map[i][0];
        WAITS(sync_with(call, syncer("c-0002", generation)));
        ENDS(sync_with(call + 1, syncer("c-0001", generation)), map[i][1]);
        ENDS(&b.got[call], map[i][1]);
        STATE(GROUP_PREPARING_REBALANCE);
        b.append_error = KE_NONE;
        join(call + 2, joiner("c-0001"));
        ENDS(join(call + 3, joiner("c-0002")), KE_NONE);
        call += 4;
    }
}
END_TEST

START_TEST(a_write_that_ends_after_the_group_has_moved_on_changes_nothing)
{
    join(1, old_joiner("0001"));
    join(2, old_joiner("0002"));
    pass(6000);
    b.holds_appends = true;
    WAITS(sync_with(3, syncer("c-0001", 1)));
    join(4, old_joiner("0003"));
    ENDS(&b.got[3], KE_REBALANCE_IN_PROGRESS);
    appended(0, KE_NONE);
    STATE(GROUP_PREPARING_REBALANCE);
    join(5, joiner("c-0001"));
    join(6, joiner("c-0002"));
    STATE(GROUP_COMPLETING_REBALANCE);
    WAITS(sync_with(7, syncer("c-0001", 2)));
    join(8, old_joiner("0004"));
    join(9, joiner("c-0001"));
    join(10, joiner("c-0002"));
    ENDS(join(11, joiner("c-0003")), KE_NONE);
    WAITS(sync_with(12, syncer("c-0001", 3)));
    appended(0, KE_NONE); /* of generation 2 */
    STATE(GROUP_COMPLETING_REBALANCE);
    WAITS(&b.got[12]);
    appended(0, KE_NONE);
    ENDS(&b.got[12], KE_NONE);
}
END_TEST

START_TEST(a_leader_that_repeats_its_sync_waits_for_the_first)
{
    struct group_assignment one = {STR_LIT("c-0001"), {(const uint8_t *)"one", 3}};
    struct group_assignment two = {STR_LIT("c-0001"), {(const uint8_t *)"two", 3}};

    join(1, old_joiner("0001"));
    pass(3000);
    b.holds_appends = true;
    WAITS(sync_with(2, assigning("c-0001", 1, &one, 1)));
    WAITS(sync_with(3, assigning("c-0001", 1, &two, 1)));
    ENDS(&b.got[2], KE_REBALANCE_IN_PROGRESS);
    ck_assert_int_eq(b.waiting_count, 1);
    appended(0, KE_NONE);
    ENDS(&b.got[3], KE_NONE);
    ck_assert_str_eq(b.got[3].assignment, "one");
}
END_TEST

START_TEST(the_table_of_leave_group)
{
    ENDS(leave(9, "x", NULL), KE_NONE); /* no such group */
    ck_assert_int_eq(b.got[9].errors[0], KE_UNKNOWN_MEMBER_ID);
    two_static_members();
    leave(10, "", "i9");
    ck_assert_int_eq(b.got[10].errors[0], KE_UNKNOWN_MEMBER_ID);
    leave(11, "", NULL);
    ck_assert_int_eq(b.got[11].errors[0], KE_UNKNOWN_MEMBER_ID);
    leave(12, "i1-0001", "i2");
    ck_assert_int_eq(b.got[12].errors[0], KE_FENCED_INSTANCE_ID);
    leave(13, "i1-0009", NULL);
    ck_assert_int_eq(b.got[13].errors[0], KE_UNKNOWN_MEMBER_ID);
    leave(14, "", "i1");
    ck_assert_int_eq(b.got[14].errors[0], KE_NONE);
    ck_assert_str_eq(b.reason, "member i1-0001 was removed by an administrator");
    leave(15, "i2-0002", "i2");
    ck_assert_int_eq(b.got[15].errors[0], KE_NONE);
    STATE(GROUP_EMPTY);
    ENDS(join(16, joiner("")), KE_MEMBER_ID_REQUIRED);
    leave(17, "c-0001", NULL);
    ck_assert_int_eq(b.got[17].errors[0], KE_NONE);
    ENDS(join(18, joiner("c-0001")), KE_UNKNOWN_MEMBER_ID);
}
END_TEST

START_TEST(a_member_that_leaves_is_answered_what_it_waits_for)
{
    two_members();
    WAITS(join(10, joiner("c-0001")));
    leave(11, "c-0001", NULL);
    ENDS(&b.got[10], KE_UNKNOWN_MEMBER_ID);
    ENDS(join(12, joiner("c-0002")), KE_NONE);
    ck_assert_str_eq(b.got[12].leader, "c-0002");
    WAITS(join(13, old_joiner("0003")));
    join(14, joiner("c-0002"));
    ENDS(&b.got[13], KE_NONE);
    WAITS(sync_with(15, syncer("c-0003", 3)));
    leave(16, "c-0003", NULL);
    ENDS(&b.got[15], KE_UNKNOWN_MEMBER_ID);
}
END_TEST

START_TEST(when_the_last_member_leaves_the_group_is_empty_and_that_is_written)
{
    int appends;

    two_members();
    leave(10, "c-0002", NULL);
    appends = b.appends;
    leave(11, "c-0001", NULL);
    STATE(GROUP_EMPTY);
    ck_assert_int_eq(b.appends, appends + 1);
    ck_assert_int_eq(view("g").generation, 2);
    ck_assert_int_eq(view("g").protocol.len, -1);
    ck_assert(str_eq_z(view("g").protocol_type, "consumer"));
    reload();
    STATE(GROUP_EMPTY);
    ck_assert_int_eq(view("g").generation, 2);
}
END_TEST

/* ---- docs/reference/group-coordinator.md, "Offsets: commit" */

START_TEST(the_table_of_offset_commit)
{
    ENDS(commit_as(8, "s", "", -1, "t", 0, value_of(10)), KE_NONE); /* a simple group */
    ck_assert_int_eq(b.got[8].errors[0], KE_NONE);
    ck_assert_int_eq(view("s").protocol_type.len, -1);
    ck_assert_int_eq(committed("s", "t", 0), 10);
    ENDS(commit_as(9, "n", "m", 1, "t", 0, value_of(10)), KE_ILLEGAL_GENERATION);
    two_members();
    ENDS(commit_as(10, "g", "c-0001", 1, "t", 0, value_of(5)), KE_NONE);
    ENDS(commit_as(11, "g", "c-0001", 0, "t", 0, value_of(5)), KE_ILLEGAL_GENERATION);
    ENDS(commit_as(12, "g", "c-0009", 1, "t", 0, value_of(5)), KE_UNKNOWN_MEMBER_ID);
    ENDS(commit_as(13, "g", "", -1, "t", 0, value_of(5)), KE_UNKNOWN_MEMBER_ID);
    join(14, joiner("c-0001"));
    ENDS(commit_as(15, "g", "c-0002", 1, "t", 0, value_of(6)), KE_NONE); /* Preparing */
    join(16, joiner("c-0002"));
    STATE(GROUP_COMPLETING_REBALANCE);
    ENDS(commit_as(17, "g", "c-0001", 2, "t", 0, value_of(7)), KE_REBALANCE_IN_PROGRESS);
    leave(18, "c-0001", NULL);
    leave(19, "c-0002", NULL);
    STATE(GROUP_EMPTY);
    ENDS(commit_as(20, "g", "", -1, "t", 0, value_of(8)), KE_NONE);
    ENDS(commit_as(21, "g", "c-0001", 2, "t", 0, value_of(9)), KE_UNKNOWN_MEMBER_ID);
    ck_assert_int_eq(committed("g", "t", 0), 8);
}
END_TEST

START_TEST(a_commit_begins_the_session_anew)
{
    two_members();
    pass(9000);
    heartbeat(10, "c-0002", 1);
    commit_as(11, "g", "c-0001", 1, "t", 0, value_of(1));
    pass(9000);
    ck_assert_int_eq(view("g").member_count, 2);
}
END_TEST

START_TEST(metadata_that_is_too_long_fails_for_its_partition_only)
{
    struct group_commit_item items[2] = {{STR_LIT("t"), 0, value_of(1)},
                                         {STR_LIT("t"), 1, value_of(2)}};

    b.limits.metadata_max = 4;
    group_core_set_limits(b.core, &b.limits);
    items[0].value.metadata = STR_LIT("12345");
    items[1].value.metadata = STR_LIT("\xC3\xA9\xF0\x9F\x98\x80x"); /* 1 + 2 + 1 units */
    step((struct group_event){.kind = GEV_COMMIT,
                              .call = 1,
                              .commit = {STR_LIT("s"), STR_LIT(""), STR_NULL, -1, items, 2}});
    ENDS(&b.got[1], KE_NONE);
    ck_assert_int_eq(b.got[1].errors[0], KE_OFFSET_METADATA_TOO_LARGE);
    ck_assert_int_eq(b.got[1].errors[1], KE_NONE);
    ck_assert_int_eq(committed("s", "t", 0), -1);
    ck_assert_int_eq(committed("s", "t", 1), 2);
    struct group_offset too_long = value_of(3);
    too_long.metadata = STR_LIT("\xF0\x9F\x98\x80\xF0\x9F\x98\x80x"); /* 2 + 2 + 1 */
    commit_as(2, "none", "", -1, "t", 0, too_long);
    ck_assert_int_eq(b.got[2].errors[0], KE_OFFSET_METADATA_TOO_LARGE);
    ck_assert_int_eq(view("none").state, GROUP_DEAD);
}
END_TEST

START_TEST(the_errors_of_a_commit_that_cannot_be_written)
{
    static const int16_t map[][2] = {
        {KE_UNKNOWN_TOPIC_OR_PARTITION, KE_COORDINATOR_NOT_AVAILABLE},
        {KE_NOT_ENOUGH_REPLICAS, KE_COORDINATOR_NOT_AVAILABLE},
        {KE_NOT_ENOUGH_REPLICAS_AFTER_APPEND, KE_COORDINATOR_NOT_AVAILABLE},
        {KE_NOT_LEADER_OR_FOLLOWER, KE_NOT_COORDINATOR},
        {KE_KAFKA_STORAGE_ERROR, KE_NOT_COORDINATOR},
        {KE_MESSAGE_TOO_LARGE, KE_INVALID_COMMIT_OFFSET_SIZE},
        {KE_RECORD_LIST_TOO_LARGE, KE_INVALID_COMMIT_OFFSET_SIZE},
        {KE_INVALID_FETCH_SIZE, KE_INVALID_COMMIT_OFFSET_SIZE},
        {KE_NETWORK_EXCEPTION, KE_COORDINATOR_LOAD_IN_PROGRESS},
        {KE_REQUEST_TIMED_OUT, KE_REQUEST_TIMED_OUT}};

    for (size_t i = 0; i < ARRAY_LEN(map); i++) {
        b.append_error = map[i][0];
        commit_as(1 + i, "s", "", -1, "t", 0, value_of(1));
        ENDS(&b.got[1 + i], KE_NONE);
        ck_assert_int_eq(b.got[1 + i].errors[0], map[i][1]);
        ck_assert_int_eq(view("s").state, GROUP_DEAD); /* as if it had not been */
    }
}
END_TEST

START_TEST(an_offset_is_seen_when_it_is_written_and_is_pending_before)
{
    struct group_offset o;

    commit_as(1, "s", "", -1, "t", 0, value_of(1));
    b.holds_appends = true;
    commit_as(2, "s", "", -1, "t", 0, value_of(2));
    ck_assert_int_eq(group_core_offset(b.core, STR_LIT("s"), STR_LIT("t"), 0, &o),
                     GROUP_OFFSET_PENDING);
    ck_assert_int_eq(o.offset, 1);
    commit_as(3, "s", "", -1, "u", 0, value_of(2));
    ck_assert_int_eq(group_core_offset(b.core, STR_LIT("s"), STR_LIT("u"), 0, &o),
                     GROUP_OFFSET_PENDING);
    ck_assert_int_eq(o.offset, -1);
    appended(0, KE_NOT_ENOUGH_REPLICAS);
    ck_assert_int_eq(group_core_offset(b.core, STR_LIT("s"), STR_LIT("t"), 0, &o),
                     GROUP_OFFSET_STABLE);
    ck_assert_int_eq(o.offset, 1);
    appended(0, KE_NONE);
    ck_assert_int_eq(committed("s", "u", 0), 2);
    ck_assert_int_eq(group_core_offset(b.core, STR_LIT("s"), STR_LIT("v"), 0, &o),
                     GROUP_OFFSET_NONE);
}
END_TEST

START_TEST(of_two_commits_in_flight_the_later_in_the_log_wins_whichever_is_answered_first)
{
    b.holds_appends = true;
    commit_as(1, "s", "", -1, "t", 0, value_of(1));
    commit_as(2, "s", "", -1, "t", 0, value_of(2));
    step((struct group_event){.kind = GEV_APPENDED, .appended = {b.waiting[1].id, KE_NONE, 8}});
    ck_assert_int_eq(committed("s", "t", 0), 2);
    step((struct group_event){.kind = GEV_APPENDED, .appended = {b.waiting[0].id, KE_NONE, 7}});
    ck_assert_int_eq(committed("s", "t", 0), 2);
}
END_TEST

START_TEST(a_partition_that_is_named_twice_in_a_commit_has_the_last)
{
    struct group_commit_item items[2] = {{STR_LIT("t"), 0, value_of(1)},
                                         {STR_LIT("t"), 0, value_of(2)}};

    step((struct group_event){.kind = GEV_COMMIT,
                              .call = 1,
                              .commit = {STR_LIT("s"), STR_LIT(""), STR_NULL, -1, items, 2}});
    ck_assert_int_eq(committed("s", "t", 0), 2);
    reload();
    ck_assert_int_eq(committed("s", "t", 0), 2);
}
END_TEST

/* ---- docs/reference/group-coordinator.md, "Describe, list, delete groups" and "Expiry" */

static const struct got *delete_offsets(uint64_t call, const char *group, const char *topic)
{
    struct group_partition p[2] = {{str_of(topic), 0}, {str_of(topic), 1}};

    step((struct group_event){
        .kind = GEV_OFFSET_DELETE, .call = call, .offset_delete = {str_of(group), p, 2}});
    return &b.got[call];
}

static const struct got *delete_group(uint64_t call, const char *group)
{
    step((struct group_event){
        .kind = GEV_DELETE_GROUP, .call = call, .delete_group = str_of(group)});
    return &b.got[call];
}

START_TEST(the_table_of_delete_groups)
{
    ENDS(delete_group(9, "none"), KE_GROUP_ID_NOT_FOUND);
    two_members();
    commit_as(10, "g", "c-0001", 1, "t", 0, value_of(1));
    ENDS(delete_group(11, "g"), KE_NON_EMPTY_GROUP);
    leave(12, "c-0001", NULL);
    leave(13, "c-0002", NULL);
    b.append_error = KE_NOT_ENOUGH_REPLICAS;
    ENDS(delete_group(14, "g"), KE_COORDINATOR_NOT_AVAILABLE);
    STATE(GROUP_EMPTY);
    ck_assert_int_eq(committed("g", "t", 0), 1);
    b.append_error = KE_NONE;
    ENDS(delete_group(15, "g"), KE_NONE);
    ck_assert_int_eq(view("g").state, GROUP_DEAD);
    reload();
    ck_assert_int_eq(view("g").state, GROUP_DEAD);
    ck_assert_int_eq(committed("g", "t", 0), -1);
}
END_TEST

START_TEST(a_commit_behind_a_deletion_stays)
{
    commit_as(1, "s", "", -1, "t", 0, value_of(1));
    b.holds_appends = true;
    commit_as(2, "s", "", -1, "t", 1, value_of(2)); /* before: goes */
    WAITS(delete_group(3, "s"));
    commit_as(4, "s", "", -1, "t", 0, value_of(3)); /* behind: stays */
    while (b.waiting_count > 0)
        appended(0, KE_NONE);
    ENDS(&b.got[3], KE_NONE);
    ck_assert_int_eq(committed("s", "t", 0), 3);
    ck_assert_int_eq(committed("s", "t", 1), -1);
    b.holds_appends = false;
    reload();
    ck_assert_int_eq(committed("s", "t", 0), 3);
    ck_assert_int_eq(committed("s", "t", 1), -1);
}
END_TEST

START_TEST(a_group_that_gets_a_commit_behind_its_deletion_stays)
{
    two_members();
    commit_as(10, "g", "c-0001", 1, "t", 0, value_of(1));
    leave(11, "c-0001", NULL);
    leave(12, "c-0002", NULL);
    b.holds_appends = true;
    WAITS(delete_group(13, "g"));
    WAITS(commit_as(14, "g", "", -1, "t", 0, value_of(2)));
    appended(0, KE_NONE);
    ENDS(&b.got[13], KE_NONE);
    STATE(GROUP_EMPTY);
    appended(0, KE_NONE);
    ck_assert_int_eq(committed("g", "t", 0), 2);
}
END_TEST

START_TEST(the_answer_of_a_deletion_that_comes_after_that_of_a_later_commit_takes_nothing)
{
    commit_as(1, "s", "", -1, "t", 0, value_of(1));
    b.holds_appends = true;
    WAITS(delete_group(2, "s"));
    WAITS(commit_as(3, "s", "", -1, "t", 0, value_of(2)));
    step((struct group_event){.kind = GEV_APPENDED, .appended = {b.waiting[1].id, KE_NONE, 8}});
    step((struct group_event){.kind = GEV_APPENDED, .appended = {b.waiting[0].id, KE_NONE, 7}});
    ENDS(&b.got[2], KE_NONE);
    ck_assert_int_eq(committed("s", "t", 0), 2);
}
END_TEST

START_TEST(a_large_deletion_goes_in_several_appends_and_is_answered_once)
{
    for (int32_t i = 0; i < 40; i++)
        commit_as(1 + (uint64_t)i, "s", "", -1, "t", i, value_of(i));
    b.limits.append_bytes_max = 200;
    group_core_set_limits(b.core, &b.limits);
    b.max_append_records = b.appends = 0;
    ENDS(delete_group(100, "s"), KE_NONE);
    ck_assert_int_gt(b.appends, 5);
    ck_assert_int_le(b.max_append_records, 8);
    ck_assert_int_eq(view("s").state, GROUP_DEAD);
}
END_TEST

/* The metadata of a consumer that subscribes the topic t. */
static const struct group_protocol subscribes_t[] = {
    {{"range", 5}, {(const uint8_t *)"\0\0\0\0\0\1\0\1t\377\377\377\377", 13}}};

static void stable_subscriber(uint64_t call)
{
    struct group_join j = old_joiner("0001");

    j.protocols = subscribes_t;
    join(call, j);
    pass(3000);
    ENDS(sync_with(call + 1, syncer("c-0001", view("g").generation)), KE_NONE);
}

START_TEST(the_table_of_offset_delete)
{
    ENDS(delete_offsets(1, "none", "t"), KE_GROUP_ID_NOT_FOUND);
    commit_as(2, "g", "", -1, "t", 0, value_of(1));
    commit_as(3, "g", "", -1, "u", 0, value_of(1));
    commit_as(4, "g", "", -1, "v", 0, value_of(1));
    ENDS(delete_offsets(5, "g", "v"), KE_NONE); /* Empty: all */
    ck_assert_int_eq(committed("g", "v", 0), -1);
    stable_subscriber(6);
    ENDS(delete_offsets(8, "g", "t"), KE_NONE);
    ck_assert_int_eq(b.got[8].errors[0], KE_GROUP_SUBSCRIBED_TO_TOPIC);
    ck_assert_int_eq(committed("g", "t", 0), 1);
    ENDS(delete_offsets(9, "g", "u"), KE_NONE);
    ck_assert_int_eq(b.got[9].errors[0], KE_NONE);
    ck_assert_int_eq(committed("g", "u", 0), -1);
    struct group_join j = old_joiner("0001");
    j.group = STR_LIT("w");
    j.protocol_type = STR_LIT("connect");
    join(10, j);
    ENDS(delete_offsets(11, "w", "t"), KE_NON_EMPTY_GROUP);
}
END_TEST

START_TEST(a_partition_that_is_named_twice_is_deleted_once)
{
    struct group_partition p[2] = {{STR_LIT("t"), 0}, {STR_LIT("t"), 0}};

    commit_as(1, "s", "", -1, "t", 0, value_of(1));
    commit_as(2, "s", "", -1, "t", 1, value_of(1));
    b.max_append_records = 0;
    step((struct group_event){
        .kind = GEV_OFFSET_DELETE, .call = 3, .offset_delete = {STR_LIT("s"), p, 2}});
    ENDS(&b.got[3], KE_NONE);
    ck_assert_int_eq(b.max_append_records, 1);
    ck_assert_int_eq(committed("s", "t", 1), 1);
}
END_TEST

START_TEST(members_whose_metadata_cannot_be_read_subscribe_everything)
{
    two_members();
    commit_as(10, "g", "c-0001", 1, "t", 0, value_of(1));
    ENDS(delete_offsets(11, "g", "t"), KE_NONE);
    ck_assert_int_eq(b.got[11].errors[0], KE_GROUP_SUBSCRIBED_TO_TOPIC);
}
END_TEST

START_TEST(offsets_of_deleted_topics_go_from_every_group)
{
    struct str names[] = {STR_LIT("t"), STR_LIT("x"), STR_LIT("t")};

    two_members();
    commit_as(10, "g", "c-0001", 1, "t", 0, value_of(1));
    commit_as(11, "g", "c-0001", 1, "u", 0, value_of(2));
    commit_as(12, "s", "", -1, "t", 3, value_of(3));      /* fewer topics than are deleted */
    commit_as(13, "g", "c-0001", 1, "v", 0, value_of(4)); /* more */
    b.max_append_records = 0;
    step((struct group_event){.kind = GEV_TOPICS_DELETED, .topics = {names, 3}});
    ck_assert_int_eq(b.max_append_records, 2);
    ck_assert_int_eq(committed("g", "t", 0), -1);
    ck_assert_int_eq(committed("g", "u", 0), 2);
    ck_assert_int_eq(committed("g", "v", 0), 4);
    ck_assert_int_eq(view("s").state, GROUP_DEAD);
    STATE(GROUP_STABLE);
}
END_TEST

static void expire(void)
{
    step((struct group_event){.kind = GEV_EXPIRE});
    pass(10);
}

START_TEST(offsets_of_a_simple_group_expire_by_their_commit_time)
{
    commit_as(1, "s", "", -1, "t", 0, value_of(1));
    b.wall += 1000;
    commit_as(2, "s", "", -1, "t", 1, value_of(2));
    b.wall += b.limits.retention_ms - 1001;
    expire();
    ck_assert_int_eq(committed("s", "t", 0), 1);
    b.wall += 1;
    expire();
    ck_assert_int_eq(committed("s", "t", 0), -1);
    ck_assert_int_eq(committed("s", "t", 1), 2);
    b.wall += 1000;
    expire();
    ck_assert_int_eq(view("s").state, GROUP_DEAD);
    struct group_numbers n;
    group_core_count(b.core, &n);
    ck_assert_int_eq(n.expired_offsets, 2);
    reload();
    ck_assert_int_eq(view("s").state, GROUP_DEAD);
}
END_TEST

START_TEST(offsets_of_an_empty_group_expire_by_when_it_became_empty)
{
    two_members();
    commit_as(10, "g", "c-0001", 1, "t", 0, value_of(1));
    b.wall += b.limits.retention_ms * 2;
    expire();
    ck_assert_int_eq(committed("g", "t", 0), 1); /* docs/decisions/0008: it has members */
    leave(11, "c-0001", NULL);
    leave(12, "c-0002", NULL);
    b.wall += b.limits.retention_ms - 100;
    expire();
    ck_assert_int_eq(committed("g", "t", 0), 1);
    reload(); /* the time is in the record */
    b.wall += 100;
    expire();
    ck_assert_int_eq(view("g").state, GROUP_DEAD);
    reload();
    ck_assert_int_eq(view("g").state, GROUP_DEAD);
}
END_TEST

START_TEST(of_a_stable_consumer_group_only_topics_that_nobody_subscribes_expire)
{
    stable_subscriber(1);
    commit_as(10, "g", "c-0001", 1, "t", 0, value_of(1));
    commit_as(11, "g", "c-0001", 1, "u", 0, value_of(1));
    b.wall += b.limits.retention_ms;
    expire();
    ck_assert_int_eq(committed("g", "t", 0), 1);
    ck_assert_int_eq(committed("g", "u", 0), -1);
}
END_TEST

START_TEST(an_expire_timestamp_replaces_the_rule)
{
    struct group_offset o = value_of(1);

    o.expire_wall_ms = b.wall + 500;
    commit_as(1, "s", "", -1, "t", 0, o);
    reload();
    b.wall += 499;
    expire();
    ck_assert_int_eq(committed("s", "t", 0), 1);
    b.wall += 1;
    expire();
    ck_assert_int_eq(committed("s", "t", 0), -1);
}
END_TEST

START_TEST(an_offset_with_a_commit_on_its_way_does_not_expire)
{
    commit_as(1, "s", "", -1, "t", 0, value_of(1));
    b.wall += b.limits.retention_ms;
    b.holds_appends = true;
    commit_as(2, "s", "", -1, "t", 0, value_of(2));
    expire();
    ck_assert_int_eq(b.waiting_count, 1);
    appended(0, KE_NONE);
    ck_assert_int_eq(committed("s", "t", 0), 2);
}
END_TEST

START_TEST(an_empty_group_without_offsets_vanishes_at_the_next_sweep)
{
    two_members();
    leave(10, "c-0001", NULL);
    leave(11, "c-0002", NULL);
    expire();
    ck_assert_int_eq(view("g").state, GROUP_DEAD);
    reload();
    ck_assert_int_eq(view("g").state, GROUP_DEAD);
}
END_TEST

START_TEST(a_group_that_is_joined_while_its_tombstone_is_written_stays)
{
    two_members();
    leave(10, "c-0001", NULL);
    leave(11, "c-0002", NULL);
    b.holds_appends = true;
    expire();
    ck_assert_int_eq(b.waiting_count, 1);
    WAITS(join(12, old_joiner("0003")));
    appended(0, KE_NONE);
    STATE(GROUP_PREPARING_REBALANCE);
    pass(3000);
    ENDS(&b.got[12], KE_NONE);
}
END_TEST

START_TEST(a_group_that_was_used_while_its_tombstone_was_written_stays)
{
    int at = 0;

    two_members();
    leave(10, "c-0001", NULL);
    leave(11, "c-0002", NULL);
    b.holds_appends = true;
    expire();
    WAITS(join(12, old_joiner("0003")));
    leave(13, "c-0003", NULL);
    pass(3000);
    STATE(GROUP_EMPTY); /* again, and its record is behind the tombstone */
    appended(at, KE_NONE);
    STATE(GROUP_EMPTY);
    appended(at, KE_NONE);
    b.holds_appends = false;
    reload();
    STATE(GROUP_EMPTY);
}
END_TEST

/* A step without the check of all: for many groups. */
static int32_t bare_step(struct group_event ev, uint64_t *append_out)
{
    struct group_effects fx;
    int32_t records = 0;

    ev.now_ms = b.now;
    ev.wall_ms = b.wall;
    group_core_step(b.core, &ev, &fx);
    for (int32_t i = 0; i < fx.count; i++) {
        if (fx.v[i].kind != GFX_APPEND)
            continue;
        records += fx.v[i].append.count;
        *append_out = fx.v[i].append.append_id;
    }
    return records;
}

/* Simple groups s0, s1, ... with one offset each, that have outlived the retention. */
static void make_old_groups(int count)
{
    struct group_commit_item item = {STR_LIT("t"), 0, value_of(1)};
    char name[16];
    uint64_t id = 0;

    b.limits.append_bytes_max = INT32_MAX;
    group_core_set_limits(b.core, &b.limits);
    for (int i = 0; i < count; i++) {
        (void)snprintf(name, sizeof name, "s%d", i);
        bare_step(
            (struct group_event){.kind = GEV_COMMIT,
                                 .call = 1,
                                 .commit = {str_of(name), STR_LIT(""), STR_NULL, -1, &item, 1}},
            &id);
        bare_step((struct group_event){.kind = GEV_APPENDED, .appended = {id, KE_NONE, i}}, &id);
    }
    b.wall += b.limits.retention_ms;
}

enum { SWEEP_SLICE_GROUPS = 10000 };

START_TEST(a_sweep_whose_next_group_is_the_last_and_goes_is_over)
{
    uint64_t id = 0;

    make_old_groups(SWEEP_SLICE_GROUPS + 1);
    bare_step((struct group_event){.kind = GEV_EXPIRE}, &id);
    bare_step((struct group_event){.kind = GEV_APPENDED, .appended = {id, KE_NONE, 1 << 20}}, &id);
    bare_step((struct group_event){.kind = GEV_DELETE_GROUP,
                                   .call = 2,
                                   .delete_group = STR_LIT("s10000")},
              &id);
    bare_step((struct group_event){.kind = GEV_APPENDED, .appended = {id, KE_NONE, 2 << 20}}, &id);
    group_core_check(b.core);
    b.now++;
    bare_step((struct group_event){.kind = GEV_TICK}, &id);
    ck_assert_int_eq(group_core_deadline_ms(b.core), -1);
}
END_TEST

START_TEST(a_sweep_goes_in_slices_and_lives_through_deletions_on_its_way)
{
    enum { MANY = 25000 };
    uint64_t id = 0;
    int32_t gone;

    make_old_groups(MANY);
    gone = bare_step((struct group_event){.kind = GEV_EXPIRE}, &id);
    ck_assert_int_eq(gone, SWEEP_SLICE_GROUPS);
    bare_step((struct group_event){.kind = GEV_APPENDED, .appended = {id, KE_NONE, MANY}}, &id);
    /* the next that the sweep would look at goes before it comes */
    bare_step((struct group_event){.kind = GEV_DELETE_GROUP,
                                   .call = 2,
                                   .delete_group = STR_LIT("s10000")},
              &id);
    bare_step((struct group_event){.kind = GEV_APPENDED, .appended = {id, KE_NONE, MANY + 1}}, &id);
    ck_assert_int_eq(view("s10000").state, GROUP_DEAD);
    ck_assert_int_eq(bare_step((struct group_event){.kind = GEV_EXPIRE}, &id),
                     0); /* one at a time */
    for (int i = 0; gone > 0 && i < 5; i++) {
        ck_assert_int_eq(group_core_deadline_ms(b.core), b.now + 1);
        b.now++;
        gone = bare_step((struct group_event){.kind = GEV_TICK}, &id);
        ck_assert_int_le(gone, SWEEP_SLICE_GROUPS);
        bare_step(
            (struct group_event){.kind = GEV_APPENDED, .appended = {id, KE_NONE, MANY + 2 + i}},
            &id);
        if (group_core_deadline_ms(b.core) < 0)
            break;
    }
    struct group_numbers n;
    group_core_count(b.core, &n);
    ck_assert_int_eq(n.groups, 0);
    ck_assert_int_eq(n.expired_offsets, MANY - 1);
    group_core_check(b.core);
}
END_TEST

/* A Stable group of so many members that subscribe nothing, with an offset that is old or not. */
static void load_subscribers(const char *group, int32_t count, bool is_old)
{
    static const uint8_t nothing[] = {0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff};
    struct group_member_view *v = xcalloc((size_t)count, sizeof *v);
    char(*ids)[16] = xcalloc((size_t)count, sizeof *ids);
    struct group_offset o = value_of(1);

    for (int32_t i = 0; i < count; i++) {
        (void)snprintf(ids[i], sizeof ids[i], "m%d", i);
        v[i] = (struct group_member_view){.member_id = str_of(ids[i]),
                                          .instance_id = STR_NULL,
                                          .client_id = STR_LIT("c"),
                                          .client_host = STR_LIT("/h"),
                                          .rebalance_ms = 60000,
                                          .session_ms = 60000,
                                          .metadata = {nothing, sizeof nothing}};
    }
    step((struct group_event){.kind = GEV_LOAD_GROUP,
                              .load_group = {.group = str_of(group),
                                             .protocol_type = STR_LIT("consumer"),
                                             .generation = 1,
                                             .protocol = STR_LIT("range"),
                                             .leader = STR_LIT("m0"),
                                             .state_wall_ms = b.wall,
                                             .members = v,
                                             .member_count = count}});
    o.commit_wall_ms = is_old ? b.wall - b.limits.retention_ms : b.wall;
    step((struct group_event){
        .kind = GEV_LOAD_OFFSET,
        .load_offset = {
            .group = str_of(group), .topic = STR_LIT("t"), .value = &o, .producer_id = -1}});
    mem_free(ids);
    mem_free(v);
}

START_TEST(subscriptions_are_read_for_old_offsets_only_and_count_as_looked_at)
{
    enum { MEMBERS = 15000 };

    group_core_free(&b.core);
    bench_core();
    load_subscribers("young1", MEMBERS, false);
    load_subscribers("young2", MEMBERS, false);
    load_subscribers("old1", MEMBERS, true);
    load_subscribers("old2", MEMBERS, true);
    load_subscribers("old3", 1, true);
    loaded();
    step((struct group_event){.kind = GEV_EXPIRE});
    ck_assert_int_eq(committed("young1", "t", 0), 1);
    ck_assert_int_eq(committed("old1", "t", 0), -1);
    ck_assert_int_eq(committed("old2", "t", 0), -1);
    ck_assert_int_eq(committed("old3", "t", 0), 1); /* the next slice's */
    ck_assert_int_eq(group_core_deadline_ms(b.core), b.now + 1);
    pass(1);
    ck_assert_int_eq(committed("old3", "t", 0), -1);
}
END_TEST

/* ---- docs/reference/group-coordinator.md, "Loading and unloading" */

START_TEST(a_loaded_group_is_stable_and_its_sessions_run)
{
    two_members();
    commit_as(10, "g", "c-0001", 1, "t", 0, value_of(7));
    reload();
    STATE(GROUP_STABLE);
    ck_assert_int_eq(view("g").generation, 1);
    ck_assert(str_eq_z(view("g").leader, "c-0001"));
    ck_assert_int_eq(committed("g", "t", 0), 7);
    ENDS(sync_with(12, syncer("c-0002", 1)), KE_NONE);
    ck_assert_str_eq(b.got[12].assignment, "two");
    pass(9999);
    ENDS(heartbeat(11, "c-0001", 1), KE_NONE);
    STATE(GROUP_STABLE);
    pass(1);
    ck_assert_int_eq(view("g").member_count, 1);
    STATE(GROUP_PREPARING_REBALANCE);
}
END_TEST

START_TEST(a_loaded_group_above_the_limit_rebalances)
{
    two_members();
    b.limits.max_size = 1;
    reload();
    STATE(GROUP_PREPARING_REBALANCE);
    ck_assert_str_eq(b.reason, "the loaded group has 2 members, group.max.size is 1");
    WAITS(join(10, joiner("c-0002")));
    ENDS(join(11, joiner("c-0001")), KE_GROUP_MAX_SIZE_REACHED);
    ENDS(&b.got[10], KE_NONE);
}
END_TEST

START_TEST(while_it_loads_calls_are_answered_so)
{
    group_core_free(&b.core);
    bench_core();
    ENDS(join(1, joiner("")), KE_COORDINATOR_LOAD_IN_PROGRESS);
    ENDS(sync_with(2, syncer("c", 1)), KE_REBALANCE_IN_PROGRESS);
    ENDS(heartbeat(3, "c", 1), KE_NONE);
    ENDS(leave(4, "c", NULL), KE_COORDINATOR_LOAD_IN_PROGRESS);
    ENDS(commit_as(5, "g", "", -1, "t", 0, value_of(1)), KE_COORDINATOR_LOAD_IN_PROGRESS);
    ENDS(delete_group(6, "g"), KE_COORDINATOR_LOAD_IN_PROGRESS);
    ENDS(delete_offsets(7, "g", "t"), KE_COORDINATOR_LOAD_IN_PROGRESS);
}
END_TEST

START_TEST(an_unload_answers_everybody)
{
    two_members();
    commit_as(9, "s", "", -1, "t", 0, value_of(1));
    WAITS(join(10, joiner("c-0001")));
    struct group_join j = old_joiner("0001");
    j.group = STR_LIT("h");
    join(11, j);
    pass(3000);
    b.holds_appends = true;
    struct group_sync s = syncer("c-0001", 1);
    s.group = STR_LIT("h");
    WAITS(sync_with(12, s));
    WAITS(commit_as(13, "g", "c-0002", 1, "t", 0, value_of(1)));
    WAITS(delete_group(14, "s"));
    step((struct group_event){.kind = GEV_UNLOAD});
    for (uint64_t i = 10; i <= 14; i++) {
        if (i != 11)
            ENDS(&b.got[i], KE_NOT_COORDINATOR);
    }
    ENDS(heartbeat(20, "c-0001", 1), KE_NOT_COORDINATOR);
    ENDS(commit_as(21, "g", "", -1, "t", 0, value_of(1)), KE_NOT_COORDINATOR);
    appended(0, KE_NONE); /* late */
    ck_assert_int_eq(group_core_deadline_ms(b.core), -1);
}
END_TEST

static void load_offset(const char *group, int64_t producer_id, int64_t batch_offset,
                        int64_t offset)
{
    struct group_offset o = value_of(offset);

    step((struct group_event){.kind = GEV_LOAD_OFFSET,
                              .load_offset = {str_of(group), STR_LIT("t"), 0,
                                              offset < 0 ? NULL : &o, batch_offset, producer_id}});
}

static void load_marker(int64_t producer_id, bool is_commit)
{
    step((struct group_event){.kind = GEV_LOAD_MARKER, .load_marker = {producer_id, is_commit}});
}

START_TEST(offsets_of_a_transaction_count_when_its_marker_comes)
{
    struct group_offset o;

    group_core_free(&b.core);
    bench_core();
    load_offset("a", -1, 0, 1);
    load_offset("a", 7, 1, 2);
    load_offset("b", 8, 2, 3);
    load_offset("c", 9, 3, 4);
    load_offset("d", 10, 4, 5);
    load_offset("d", -1, 5, 6);
    load_marker(7, true);
    load_marker(8, false);
    load_marker(10, true);
    loaded();
    ck_assert_int_eq(committed("a", "t", 0), 2);
    ck_assert_int_eq(view("b").state, GROUP_DEAD);
    ck_assert_int_eq(committed("d", "t", 0), 6); /* the plain commit is newer */
    ck_assert_int_eq(group_core_offset(b.core, STR_LIT("c"), STR_LIT("t"), 0, &o),
                     GROUP_OFFSET_PENDING);
    load_marker(9, true);
    ck_assert_int_eq(committed("c", "t", 0), 4);
    ck_assert_int_eq(group_core_offset(b.core, STR_LIT("c"), STR_LIT("t"), 0, &o),
                     GROUP_OFFSET_STABLE);
}
END_TEST

START_TEST(a_record_that_no_coordinator_wrote_does_no_harm)
{
    struct group_member_view m[3] = {{.member_id = STR_LIT("a"),
                                      .instance_id = STR_LIT("i"),
                                      .client_id = STR_LIT(""),
                                      .client_host = STR_LIT(""),
                                      .session_ms = -5,
                                      .rebalance_ms = -7}};
    m[2] = m[1] = m[0];
    m[1].member_id = STR_LIT("b");
    group_core_free(&b.core);
    bench_core();
    step((struct group_event){.kind = GEV_LOAD_GROUP,
                              .load_group = {.group = STR_LIT("g"),
                                             .protocol_type = STR_LIT(""),
                                             .generation = INT32_MAX,
                                             .protocol = STR_NULL,
                                             .leader = STR_LIT("z"),
                                             .state_wall_ms = -1,
                                             .members = m,
                                             .member_count = 3}});
    loaded();
    ck_assert_int_eq(view("g").member_count, 1);
    pass(1);
    STATE(GROUP_EMPTY);
    ck_assert_int_eq(view("g").generation, 1);
}
END_TEST

/* ---- history: docs/decisions/0010 */

static int history_count;
static struct group_rebalance history[8];
static char reasons[8][256];

static void visit_rebalance(void *arg, const struct group_rebalance *r)
{
    (void)arg;
    ck_assert_int_lt(history_count, 8);
    (void)snprintf(reasons[history_count], 256, "%.*s", STR_ARG(r->reason));
    history[history_count++] = *r;
}

START_TEST(each_rebalance_is_remembered_with_its_first_reason)
{
    struct group_join j = joiner("");

    j.reason = STR_LIT("because");
    ENDS(join(1, j), KE_MEMBER_ID_REQUIRED);
    j.member_id = STR_LIT("c-0001");
    join(2, j);
    join(3, old_joiner("0002"));
    pass(6000);
    sync_with(4, syncer("c-0001", 1));
    leave(5, "c-0002", NULL);
    history_count = 0;
    group_core_each_rebalance(b.core, STR_LIT("g"), visit_rebalance, NULL);
    ck_assert_int_eq(history_count, 2);
    ck_assert_str_eq(reasons[0], "member c-0001 joined: because");
    ck_assert_int_eq(history[0].further, 1);
    ck_assert_int_eq(history[0].members_before, 0);
    ck_assert_int_eq(history[0].members_after, 2);
    ck_assert_int_eq(history[0].generation, 1);
    ck_assert_int_eq(history[0].ended_wall_ms - history[0].began_wall_ms, 6000);
    ck_assert_str_eq(reasons[1], "member c-0002 left");
    ck_assert_int_eq(history[1].ended_wall_ms, -1);
    ck_assert_int_eq(b.rebalances_begun, 2);
    ck_assert_int_eq(b.rebalances_ended, 1);
}
END_TEST

START_TEST(the_history_is_bounded)
{
    two_members();
    for (uint64_t i = 0; i < 20; i++) {
        int32_t generation = view("g").generation;
        join(100 + i * 4, joiner("c-0001"));
        join(101 + i * 4, joiner("c-0002"));
        ENDS(sync_with(102 + i * 4, syncer("c-0001", generation + 1)), KE_NONE);
    }
    history_count = 0;
    group_core_each_rebalance(b.core, STR_LIT("g"), visit_rebalance, NULL);
    ck_assert_int_eq(history_count, 5);
    ck_assert_int_eq(history[4].generation, 21);
    ck_assert_int_eq(history[0].generation, 17);
}
END_TEST

/* ---- size */

START_TEST(a_group_of_ten_thousand_members_comes_together)
{
    struct group_join j = old_joiner("");
    struct group_effects fx;
    char suffix[16];

    for (int i = 0; i < 10000; i++) {
        struct group_event ev = {.kind = GEV_JOIN, .now_ms = b.now, .wall_ms = b.wall};
        (void)snprintf(suffix, sizeof suffix, "%05d", i);
        j.new_id_suffix = str_of(suffix);
        ev.call = (uint64_t)i;
        ev.join = j;
        group_core_step(b.core, &ev, &fx);
    }
    b.now += 70000;
    group_core_step(
        b.core, &(struct group_event){.kind = GEV_TICK, .now_ms = b.now, .wall_ms = b.wall}, &fx);
    while (view("g").state == GROUP_PREPARING_REBALANCE) {
        b.now = i64_max(b.now + 1, group_core_deadline_ms(b.core));
        group_core_step(b.core,
                        &(struct group_event){.kind = GEV_TICK, .now_ms = b.now, .wall_ms = b.wall},
                        &fx);
    }
    ck_assert_int_eq(fx.count, 10000);
    STATE(GROUP_COMPLETING_REBALANCE);
    group_core_check(b.core);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("group_core");
    TCase *t = tcase_create("rules");
    SRunner *sr;
    int failed;

    tcase_add_checked_fixture(t, bench_open, bench_close);
    tcase_set_timeout(t, 30);
    tcase_add_test(t, a_first_consumer_gets_its_id_waits_the_initial_delay_and_leads);
    tcase_add_test(t, a_second_member_makes_the_first_rejoin);
    tcase_add_test(t, a_group_id_must_be_there);
    tcase_add_test(t, a_session_timeout_must_be_within_the_limits);
    tcase_add_test(t, an_id_for_a_group_that_does_not_exist_is_unknown);
    tcase_add_test(t, an_id_that_is_not_a_member_is_unknown);
    tcase_add_test(t, an_unknown_instance_with_an_id_is_unknown_and_another_ones_is_fenced);
    tcase_add_test(t, a_pending_id_with_an_instance_is_unknown);
    tcase_add_test(t, versions_before_four_are_added_at_once);
    tcase_add_test(t, protocols_must_not_be_empty_and_must_meet_those_of_the_group);
    tcase_add_test(t, the_protocol_that_most_members_prefer_of_those_all_know_wins);
    tcase_add_test(t, a_protocol_that_is_named_twice_counts_once);
    tcase_add_test(t, in_completing_rebalance_equal_metadata_is_answered_at_once);
    tcase_add_test(t, in_completing_rebalance_other_metadata_rebalances_and_answers_the_syncs);
    tcase_add_test(t, a_leader_that_rejoins_a_stable_group_always_rebalances);
    tcase_add_test(t, a_follower_that_rejoins_a_stable_group_rebalances_only_with_other_metadata);
    tcase_add_test(t, a_member_of_an_empty_group_is_unknown);
    tcase_add_test(t, a_join_that_is_sent_again_answers_the_first);
    tcase_add_test(t, a_full_group_takes_no_new_member);
    tcase_add_test(t, while_members_gather_those_who_wait_count_and_the_last_is_out);
    tcase_add_test(t, a_negative_or_huge_rebalance_timeout_is_taken_sensibly);
    tcase_add_test(t, a_static_member_that_comes_back_gets_its_assignment_without_a_rebalance);
    tcase_add_test(t, an_older_static_leader_is_told_the_old_leader_id);
    tcase_add_test(t, a_static_leader_of_version_nine_leads_and_skips_the_assignment);
    tcase_add_test(t, a_replacement_that_cannot_be_written_is_taken_back);
    tcase_add_test(t, a_replacement_that_may_have_been_written_is_overwritten);
    tcase_add_test(t, a_rebalance_while_a_replacement_is_written_answers_it);
    tcase_add_test(t, a_second_replacement_fences_the_first_that_is_being_written);
    tcase_add_test(t, a_replacement_that_changes_the_choice_rebalances);
    tcase_add_test(t, a_replacement_before_the_group_is_stable_rebalances);
    tcase_add_test(t, a_session_that_ends_rebalances_and_a_heartbeat_begins_it_anew);
    tcase_add_test(t, a_member_that_waits_does_not_lose_its_session);
    tcase_add_test(t, after_a_stop_of_the_broker_members_have_time_to_be_heard);
    tcase_add_test(t, ticks_that_are_always_late_end_sessions_all_the_same);
    tcase_add_test(t, a_stop_gives_no_more_than_ten_seconds);
    tcase_add_test(t, a_new_member_that_is_not_answered_for_five_minutes_is_out);
    tcase_add_test(t, a_pending_id_is_forgotten_after_its_session_timeout);
    tcase_add_test(t, a_pending_id_holds_up_a_normal_join_until_it_is_forgotten);
    tcase_add_test(t, a_normal_join_ends_without_those_who_did_not_come);
    tcase_add_test(t, a_static_member_that_did_not_come_stays_until_its_session_ends);
    tcase_add_test(t, a_static_leader_that_did_not_come_stays_and_another_leads);
    tcase_add_test(t,
                   static_members_who_are_all_absent_keep_the_join_open_until_their_sessions_end);
    tcase_add_test(t, the_initial_join_is_extended_while_members_come_up_to_the_rebalance_timeout);
    tcase_add_test(t, without_an_initial_delay_the_first_member_is_answered_at_once);
    tcase_add_test(t, members_that_send_no_sync_are_removed_after_the_rebalance_timeout);
    tcase_add_test(t, the_table_of_sync_group);
    tcase_add_test(t, the_table_of_heartbeat);
    tcase_add_test(t, members_that_the_leader_leaves_out_get_no_bytes_and_strangers_are_ignored);
    tcase_add_test(t, an_assignment_that_cannot_be_written_is_an_error_for_all_and_rebalances);
    tcase_add_test(t, a_write_that_ends_after_the_group_has_moved_on_changes_nothing);
    tcase_add_test(t, a_leader_that_repeats_its_sync_waits_for_the_first);
    tcase_add_test(t, the_table_of_leave_group);
    tcase_add_test(t, a_member_that_leaves_is_answered_what_it_waits_for);
    tcase_add_test(t, when_the_last_member_leaves_the_group_is_empty_and_that_is_written);
    tcase_add_test(t, the_table_of_offset_commit);
    tcase_add_test(t, a_commit_begins_the_session_anew);
    tcase_add_test(t, metadata_that_is_too_long_fails_for_its_partition_only);
    tcase_add_test(t, the_errors_of_a_commit_that_cannot_be_written);
    tcase_add_test(t, an_offset_is_seen_when_it_is_written_and_is_pending_before);
    tcase_add_test(t,
                   of_two_commits_in_flight_the_later_in_the_log_wins_whichever_is_answered_first);
    tcase_add_test(t, a_partition_that_is_named_twice_in_a_commit_has_the_last);
    tcase_add_test(t, the_table_of_delete_groups);
    tcase_add_test(t, a_commit_behind_a_deletion_stays);
    tcase_add_test(t, a_group_that_gets_a_commit_behind_its_deletion_stays);
    tcase_add_test(t,
                   the_answer_of_a_deletion_that_comes_after_that_of_a_later_commit_takes_nothing);
    tcase_add_test(t, a_large_deletion_goes_in_several_appends_and_is_answered_once);
    tcase_add_test(t, the_table_of_offset_delete);
    tcase_add_test(t, a_partition_that_is_named_twice_is_deleted_once);
    tcase_add_test(t, members_whose_metadata_cannot_be_read_subscribe_everything);
    tcase_add_test(t, offsets_of_deleted_topics_go_from_every_group);
    tcase_add_test(t, offsets_of_a_simple_group_expire_by_their_commit_time);
    tcase_add_test(t, offsets_of_an_empty_group_expire_by_when_it_became_empty);
    tcase_add_test(t, of_a_stable_consumer_group_only_topics_that_nobody_subscribes_expire);
    tcase_add_test(t, an_expire_timestamp_replaces_the_rule);
    tcase_add_test(t, an_offset_with_a_commit_on_its_way_does_not_expire);
    tcase_add_test(t, an_empty_group_without_offsets_vanishes_at_the_next_sweep);
    tcase_add_test(t, a_group_that_is_joined_while_its_tombstone_is_written_stays);
    tcase_add_test(t, a_group_that_was_used_while_its_tombstone_was_written_stays);
    tcase_add_test(t, a_sweep_whose_next_group_is_the_last_and_goes_is_over);
    tcase_add_test(t, a_sweep_goes_in_slices_and_lives_through_deletions_on_its_way);
    tcase_add_test(t, subscriptions_are_read_for_old_offsets_only_and_count_as_looked_at);
    tcase_add_test(t, a_loaded_group_is_stable_and_its_sessions_run);
    tcase_add_test(t, a_loaded_group_above_the_limit_rebalances);
    tcase_add_test(t, while_it_loads_calls_are_answered_so);
    tcase_add_test(t, an_unload_answers_everybody);
    tcase_add_test(t, offsets_of_a_transaction_count_when_its_marker_comes);
    tcase_add_test(t, a_record_that_no_coordinator_wrote_does_no_harm);
    tcase_add_test(t, each_rebalance_is_remembered_with_its_first_reason);
    tcase_add_test(t, the_history_is_bounded);
    tcase_add_test(t, a_group_of_ten_thousand_members_comes_together);
    suite_add_tcase(s, t);
    sr = srunner_create(s);
    srunner_run_all(sr, CK_ENV);
    failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed != 0;
}
