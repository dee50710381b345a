/* SPDX-License-Identifier: Apache-2.0 */
/* Requests of consumer groups, and offsets kept in the coordination service. */
#include "tests/unit/api_fixture.h"

/* ---- groups */

/* One partition of __consumer_offsets, led and loaded. */
static void coordinate(void)
{
    struct kp_ListGroupsRequest req = {.states_filter_count = 0};
    struct outcome o = {.end = NOT_YET};
    TAILQ_INIT(&offsets_part.waits);
    offsets_part.topic = "__consumer_offsets";
    publish("__consumer_offsets", 1, 1);
    settle();
    coordinator_role_changed(broker.groups, STR_LIT("__consumer_offsets"), 0);
    for (bool is_loading = true; is_loading;) { /* 14 until it is loaded; a limit is the test's */
        call(16, 5, &req, &o);
        is_loading = o.u.list.error_code != KE_NONE;
        outcome_fini(&o);
    }
}

static char member[128];

static struct kp_JoinGroupRequest
join_request(struct kp_JoinGroupRequest_JoinGroupRequestProtocol *p)
{
    *p = (struct kp_JoinGroupRequest_JoinGroupRequestProtocol){
        .name = STR_LIT("range"), .metadata = {(const uint8_t *)"meta", 4}};
    return (struct kp_JoinGroupRequest){.group_id = STR_LIT("g"),
                                        .session_timeout_ms = 10000,
                                        .rebalance_timeout_ms = 10000,
                                        .member_id = str_of(member),
                                        .group_instance_id = STR_NULL,
                                        .protocol_type = STR_LIT("consumer"),
                                        .protocols = p,
                                        .protocols_count = 1,
                                        .reason = STR_NULL};
}

static void keep_member(const struct outcome *o)
{
    snprintf(member, sizeof member, "%.*s", STR_ARG(o->u.join.member_id));
    ck_assert_uint_gt(strlen(member), 36);
    ck_assert_mem_eq(member, "test-", 5); /* the client's id, then a UUID */
}

static int32_t join(int16_t version)
{
    struct kp_JoinGroupRequest_JoinGroupRequestProtocol p;
    struct outcome o;
    member[0] = 0;
    struct kp_JoinGroupRequest req = join_request(&p);
    call(11, version, &req, &o);
    keep_member(&o);
    if (version >= 4) { /* KIP-394 */
        ck_assert_int_eq(o.u.join.error_code, KE_MEMBER_ID_REQUIRED);
        ck_assert_int_eq(o.u.join.generation_id, -1);
        outcome_fini(&o);
        req = join_request(&p);
        call(11, version, &req, &o);
    }
    ck_assert_int_eq(o.u.join.error_code, KE_NONE);
    ck_assert(str_eq_z(o.u.join.leader, member));
    ck_assert(str_eq_z(o.u.join.protocol_name, "range"));
    ck_assert(version < 7 || str_eq_z(o.u.join.protocol_type, "consumer"));
    ck_assert_int_eq(o.u.join.members_count, 1);
    ck_assert_int_eq(o.u.join.members[0].metadata.len, 4);
    int32_t generation = o.u.join.generation_id;
    outcome_fini(&o);
    return generation;
}

static void sync_group(int16_t version, int32_t generation)
{
    struct kp_SyncGroupRequest_SyncGroupRequestAssignment a = {
        .member_id = str_of(member), .assignment = {(const uint8_t *)"mine", 4}};
    struct kp_SyncGroupRequest req = {.group_id = STR_LIT("g"),
                                      .generation_id = generation,
                                      .member_id = str_of(member),
                                      .group_instance_id = STR_NULL,
                                      .protocol_type = STR_NULL,
                                      .protocol_name = STR_NULL,
                                      .assignments = &a,
                                      .assignments_count = 1};
    struct outcome o;
    if (version >= 5) {
        call(14, version, &req, &o);
        ck_assert_int_eq(o.u.sync.error_code, KE_INCONSISTENT_GROUP_PROTOCOL);
        outcome_fini(&o);
        req.protocol_type = STR_LIT("consumer");
        req.protocol_name = STR_LIT("range");
    }
    call(14, version, &req, &o);
    ck_assert_int_eq(o.u.sync.error_code, KE_NONE);
    ck_assert_int_eq(o.u.sync.assignment.len, 4);
    ck_assert(version < 5 || str_eq_z(o.u.sync.protocol_name, "range"));
    outcome_fini(&o);
}

static int16_t heartbeat(int16_t version, int32_t generation)
{
    struct kp_HeartbeatRequest req = {.group_id = STR_LIT("g"),
                                      .generation_id = generation,
                                      .member_id = str_of(member),
                                      .group_instance_id = STR_NULL};
    struct outcome o;
    call(12, version, &req, &o);
    int16_t error = o.u.heartbeat.error_code;
    outcome_fini(&o);
    return error;
}

static int16_t leave(int16_t version)
{
    struct kp_LeaveGroupRequest_MemberIdentity who[] = {
        {.member_id = str_of(member), .group_instance_id = STR_NULL, .reason = STR_NULL},
        {.member_id = STR_LIT("x"), .group_instance_id = STR_NULL, .reason = STR_LIT("bye")}};
    struct kp_LeaveGroupRequest req = {
        .group_id = STR_LIT("g"), .member_id = str_of(member), .members = who, .members_count = 2};
    struct outcome o;
    call(13, version, &req, &o);
    int16_t error = o.u.leave.error_code;
    if (version >= 3) {
        ck_assert_int_eq(error, KE_NONE);
        ck_assert_int_eq(o.u.leave.members_count, 2);
        ck_assert_int_eq(o.u.leave.members[1].error_code, KE_UNKNOWN_MEMBER_ID);
        error = o.u.leave.members[0].error_code;
    }
    outcome_fini(&o);
    return error;
}

START_TEST(members_join_and_leave_in_every_version)
{
    coordinate();
    for (int16_t v = 0; v <= 9; v++) {
        int32_t generation = join(v);
        ck_assert_int_gt(generation, 0);
        ck_assert_int_eq(heartbeat(i32_min(v, 4), generation), KE_NONE);
        sync_group(i32_min(v, 5), generation);
        ck_assert_int_eq(heartbeat(i32_min(v, 4), generation), KE_NONE);
        ck_assert_int_eq(heartbeat(i32_min(v, 4), generation + 1), KE_ILLEGAL_GENERATION);
        ck_assert_int_eq(leave(i32_min(v, 5)), KE_NONE);
        ck_assert_int_eq(leave(i32_min(v, 5)), KE_UNKNOWN_MEMBER_ID);
        ck_assert_int_eq(heartbeat(i32_min(v, 4), generation), KE_UNKNOWN_MEMBER_ID);
    }
}
END_TEST

static void member_commits(int16_t version, int32_t generation, int64_t offset)
{
    struct kp_OffsetCommitRequest_OffsetCommitRequestPartition p[] = {
        {.partition_index = 0,
         .committed_offset = offset,
         .committed_leader_epoch = version >= 6 ? 7 : -1,
         .commit_timestamp = -1,
         .committed_metadata = STR_NULL},
        {.partition_index = 77, .committed_leader_epoch = -1, .committed_metadata = STR_LIT("x")}};
    struct kp_OffsetCommitRequest_OffsetCommitRequestTopic t[] = {
        {.name = STR_LIT("t"), .partitions = p, .partitions_count = 2},
        {.name = STR_LIT("none"), .partitions = p, .partitions_count = 1}};
    struct kp_OffsetCommitRequest req = {.group_id = STR_LIT("g"),
                                         .generation_id_or_member_epoch = generation,
                                         .member_id = str_of(member),
                                         .group_instance_id = STR_NULL,
                                         .retention_time_ms = -1,
                                         .topics = t,
                                         .topics_count = 2};
    struct outcome o;
    call(8, version, &req, &o);
    ck_assert_int_eq(o.u.commit.topics_count, 2);
    ck_assert_int_eq(o.u.commit.topics[0].partitions[0].error_code, KE_NONE);
    ck_assert_int_eq(o.u.commit.topics[0].partitions[1].error_code, KE_UNKNOWN_TOPIC_OR_PARTITION);
    ck_assert_int_eq(o.u.commit.topics[1].partitions[0].error_code, KE_UNKNOWN_TOPIC_OR_PARTITION);
    outcome_fini(&o);
}

static void check_told(const struct outcome *o, int16_t version, int64_t offset, bool names_two)
{
    if (version >= 8) {
        const struct kp_OffsetFetchResponse_OffsetFetchResponseGroup *g = o->u.committed.groups;
        ck_assert_int_eq(o->u.committed.groups_count, 2);
        ck_assert(str_eq_z(g[1].group_id, "never"));
        ck_assert_int_eq(g[0].topics_count, 1);
        ck_assert_int_eq(g[0].topics[0].partitions_count, names_two ? 2 : 1);
        ck_assert_int_eq(g[0].topics[0].partitions[0].committed_offset, offset);
        ck_assert_int_eq(g[1].topics[0].partitions[0].committed_offset, -1);
        return;
    }
    const struct kp_OffsetFetchResponse_OffsetFetchResponseTopic *t = o->u.committed.topics;
    ck_assert_int_eq(o->u.committed.topics_count, 1);
    ck_assert_int_eq(t->partitions_count, names_two ? 2 : 1);
    ck_assert_int_eq(t->partitions[0].committed_offset, offset);
    ck_assert_int_eq(t->partitions[0].committed_leader_epoch, version >= 5 ? 7 : -1);
    ck_assert_int_eq(t->partitions[0].metadata.len, 0);
    ck_assert_int_eq(t->partitions[0].error_code, KE_NONE);
    if (names_two)
        ck_assert_int_eq(t->partitions[1].committed_offset, -1);
}

static void group_fetches(int16_t version, int64_t offset, bool all)
{
    int32_t two[] = {0, 5};
    struct kp_OffsetFetchRequest_OffsetFetchRequestTopic t = {
        .name = STR_LIT("t"), .partition_indexes = two, .partition_indexes_count = 2};
    struct kp_OffsetFetchRequest_OffsetFetchRequestTopics t8 = {
        .name = STR_LIT("t"), .partition_indexes = two, .partition_indexes_count = 2};
    struct kp_OffsetFetchRequest_OffsetFetchRequestGroup groups[] = {{.group_id = STR_LIT("g"),
                                                                      .member_id = STR_NULL,
                                                                      .member_epoch = -1,
                                                                      .topics = &t8,
                                                                      .topics_count = all ? -1 : 1},
                                                                     {.group_id = STR_LIT("never"),
                                                                      .member_id = STR_NULL,
                                                                      .member_epoch = -1,
                                                                      .topics = &t8,
                                                                      .topics_count = 1}};
    struct kp_OffsetFetchRequest req = {.group_id = version < 8 ? STR_LIT("g") : STR_LIT(""),
                                        .topics = version < 8 ? &t : NULL,
                                        .topics_count = version >= 8 ? 0
                                                        : all        ? -1
                                                                     : 1,
                                        .groups = groups,
                                        .groups_count = version >= 8 ? 2 : 0,
                                        .require_stable = version >= 7};
    struct outcome o;
    call(9, version, &req, &o);
    check_told(&o, version, offset, !all);
    outcome_fini(&o);
}

START_TEST(offsets_are_committed_and_fetched_in_every_version)
{
    coordinate();
    int32_t generation = join(3);
    sync_group(2, generation);
    member_commits(9, generation, 1);
    for (int16_t v = 1; v <= 9; v++) {
        member_commits(v, generation, 100 + v);
        member_commits(9, generation, 100 + v); /* the leader epoch too */
        group_fetches(v, 100 + v, false);
        if (v >= 2)
            group_fetches(v, 100 + v, true);
    }
}
END_TEST

START_TEST(groups_are_described_listed_and_deleted_in_every_version)
{
    struct outcome o;
    struct str names[] = {STR_LIT("g"), STR_LIT("never"), STR_LIT("g")};
    struct str filter = STR_LIT("sTaBle");
    coordinate();
    int32_t generation = join(3);
    sync_group(2, generation);
    member_commits(2, generation, 5);
    for (int16_t v = 0; v <= 5; v++) {
        struct kp_DescribeGroupsRequest req = {
            .groups = names, .groups_count = 2, .include_authorized_operations = v >= 3};
        call(15, v, &req, &o);
        const struct kp_DescribeGroupsResponse_DescribedGroup *g = o.u.groups.groups;
        ck_assert_int_eq(g[0].error_code, KE_NONE);
        ck_assert(str_eq_z(g[0].group_state, "Stable") && str_eq_z(g[0].protocol_data, "range"));
        ck_assert_int_eq(g[0].members_count, 1);
        ck_assert_int_eq(g[0].members[0].member_assignment.len, 4);
        ck_assert(str_eq_z(g[0].members[0].client_id, "test"));
        ck_assert(str_eq_z(g[1].group_state, "Dead"));
        ck_assert_int_eq(g[1].error_code, KE_NONE);
        if (v >= 3) /* read, delete, describe */
            ck_assert_int_eq(g[0].authorized_operations, 1 << 3 | 1 << 6 | 1 << 8);
        outcome_fini(&o);
        struct kp_ListGroupsRequest list = {.states_filter = &filter,
                                            .states_filter_count = v >= 4 ? 1 : 0};
        call(16, v, &list, &o);
        ck_assert_int_eq(o.u.list.groups_count, 1);
        ck_assert(v < 4 || str_eq_z(o.u.list.groups[0].group_state, "Stable"));
        ck_assert(v < 5 || str_eq_z(o.u.list.groups[0].group_type, "classic"));
        outcome_fini(&o);
    }
    struct str wrong = STR_LIT("consumer");
    struct kp_ListGroupsRequest list = {.types_filter = &wrong, .types_filter_count = 1};
    call(16, 5, &list, &o);
    ck_assert_int_eq(o.u.list.groups_count, 0);
    outcome_fini(&o);
    struct kp_DeleteGroupsRequest del = {.groups_names = names, .groups_names_count = 3};
    for (int16_t v = 0; v <= 2; v++) {
        call(42, v, &del, &o);
        ck_assert_int_eq(o.u.delete_groups.results_count, 2);
        ck_assert_int_eq(o.u.delete_groups.results[0].error_code, KE_NON_EMPTY_GROUP);
        ck_assert_int_eq(o.u.delete_groups.results[1].error_code, KE_GROUP_ID_NOT_FOUND);
        outcome_fini(&o);
    }
    ck_assert_int_eq(leave(1), KE_NONE);
    /* with its last offset the group would go too */
    struct kp_OffsetDeleteRequest_OffsetDeleteRequestPartition p[] = {{1}, {77}};
    struct kp_OffsetDeleteRequest_OffsetDeleteRequestTopic t = {
        .name = STR_LIT("t"), .partitions = p, .partitions_count = 2};
    struct kp_OffsetDeleteRequest drop = {
        .group_id = STR_LIT("g"), .topics = &t, .topics_count = 1};
    call(47, 0, &drop, &o);
    ck_assert_int_eq(o.u.offset_delete.error_code, KE_NONE);
    ck_assert_int_eq(o.u.offset_delete.topics[0].partitions[0].error_code, KE_NONE);
    ck_assert_int_eq(o.u.offset_delete.topics[0].partitions[1].error_code,
                     KE_UNKNOWN_TOPIC_OR_PARTITION);
    outcome_fini(&o);
    drop.group_id = STR_LIT("never");
    call(47, 0, &drop, &o);
    ck_assert_int_eq(o.u.offset_delete.error_code, KE_GROUP_ID_NOT_FOUND);
    outcome_fini(&o);
    call(42, 2, &del, &o);
    ck_assert_int_eq(o.u.delete_groups.results[0].error_code, KE_NONE);
    outcome_fini(&o);
    call(16, 5, &(struct kp_ListGroupsRequest){.types_filter_count = 0}, &o);
    ck_assert_int_eq(o.u.list.groups_count, 0);
    outcome_fini(&o);
}
END_TEST

START_TEST(without_permission_groups_tell_nothing)
{
    struct outcome o;
    struct str name = STR_LIT("g");
    coordinate();
    int32_t generation = join(3);
    sync_group(2, generation);
    is_authorized = false;
    ck_assert_int_eq(heartbeat(4, generation), KE_GROUP_AUTHORIZATION_FAILED);
    struct kp_DescribeGroupsRequest describe = {.groups = &name, .groups_count = 1};
    call(15, 5, &describe, &o);
    ck_assert_int_eq(o.u.groups.groups[0].error_code, KE_GROUP_AUTHORIZATION_FAILED);
    ck_assert_int_eq(o.u.groups.groups[0].members_count, 0);
    outcome_fini(&o);
    call(16, 5, &(struct kp_ListGroupsRequest){.types_filter_count = 0}, &o);
    ck_assert_int_eq(o.u.list.groups_count, 0);
    outcome_fini(&o);
    struct kp_DeleteGroupsRequest del = {.groups_names = &name, .groups_names_count = 1};
    call(42, 2, &del, &o);
    ck_assert_int_eq(o.u.delete_groups.results[0].error_code, KE_GROUP_AUTHORIZATION_FAILED);
    outcome_fini(&o);
    struct kp_JoinGroupRequest_JoinGroupRequestProtocol p;
    struct kp_JoinGroupRequest req = join_request(&p);
    for (int16_t v = 0; v <= 9; v++) {
        call(11, v, &req, &o);
        ck_assert_int_eq(o.u.join.error_code, KE_GROUP_AUTHORIZATION_FAILED);
        outcome_fini(&o);
    }
    is_authorized = true;
    ck_assert_int_eq(heartbeat(4, generation), KE_NONE);
}
END_TEST

/* ---- offsets of old groups */

typedef struct kp_OffsetCommitRequest_OffsetCommitRequestPartition commit_data;

static void commit(const char *group, commit_data *d, int32_t count, struct outcome *o)
{
    struct kp_OffsetCommitRequest_OffsetCommitRequestTopic t = {
        .name = STR_LIT("t"), .partitions = d, .partitions_count = count};
    struct kp_OffsetCommitRequest req = {
        .group_id = str_of(group), .topics = &t, .topics_count = 1};
    call(8, 0, &req, o);
}

static int16_t commit_error(const struct outcome *o, int i)
{
    return o->u.commit.topics[0].partitions[i].error_code;
}

static void fetch_offsets(const char *group, int32_t *indexes, int32_t count, struct outcome *o)
{
    struct kp_OffsetFetchRequest_OffsetFetchRequestTopic t = {
        .name = STR_LIT("t"), .partition_indexes = indexes, .partition_indexes_count = count};
    struct kp_OffsetFetchRequest req = {.group_id = str_of(group), .topics = &t, .topics_count = 1};
    call(9, 0, &req, o);
}

static const struct kp_OffsetFetchResponse_OffsetFetchResponsePartition *
offset_of(const struct outcome *o, int i)
{
    return &o->u.committed.topics[0].partitions[i];
}

static const char *stored_at(const char *path)
{
    const struct znode *z = znode(path);
    return z == NULL ? "" : z->data;
}

START_TEST(old_offsets_are_decimal_text_in_the_coordination_service)
{
    struct outcome o;
    commit_data d[] = {{.partition_index = 0, .committed_offset = 1523},
                       {.partition_index = 2, .committed_offset = INT64_MAX},
                       {.partition_index = 77, .committed_offset = 5}};
    commit("g", d, 3, &o);
    ck_assert_int_eq(commit_error(&o, 0), KE_NONE);
    ck_assert_int_eq(commit_error(&o, 1), KE_NONE);
    ck_assert_int_eq(commit_error(&o, 2), KE_UNKNOWN_TOPIC_OR_PARTITION);
    outcome_fini(&o);
    ck_assert_str_eq(stored_at("/consumers/g/offsets/t/0"), "1523");
    ck_assert_str_eq(stored_at("/consumers/g/offsets/t/2"), "9223372036854775807");
    d[0].committed_offset = 7; /* back again, and by somebody who was first to create it */
    somebody_creates = "1";
    d[1].partition_index = 1;
    d[1].committed_offset = 2;
    commit("g", d, 2, &o);
    outcome_fini(&o);
    ck_assert_str_eq(stored_at("/consumers/g/offsets/t/0"), "7");
    ck_assert_str_eq(stored_at("/consumers/g/offsets/t/1"), "2");

    int32_t indexes[] = {2, 0, 77, 3};
    znode_set("/consumers/g/offsets/t/0", "12x", 3);
    fetch_offsets("g", indexes, 4, &o);
    ck_assert_int_eq(offset_of(&o, 0)->committed_offset, INT64_MAX);
    ck_assert_int_eq(offset_of(&o, 0)->error_code, KE_NONE);
    ck_assert_int_eq(offset_of(&o, 0)->metadata.len, 0);
    ck_assert_int_eq(offset_of(&o, 1)->error_code, KE_UNKNOWN_SERVER_ERROR); /* no number */
    for (int i = 1; i < 4; i++)
        ck_assert_int_eq(offset_of(&o, i)->committed_offset, -1);
    for (int i = 2; i < 4; i++) /* no such partition; no offset of it */
        ck_assert_int_eq(offset_of(&o, i)->error_code, KE_UNKNOWN_TOPIC_OR_PARTITION);
    outcome_fini(&o);
}
END_TEST

START_TEST(old_offsets_that_cannot_be_kept_are_refused_one_by_one)
{
    static const char *const bad[] = {"", "a/b", ".", "..", "a\nb"};
    static char text[4098];
    struct outcome o;
    int32_t index = 0;
    commit_data d[] = {{.partition_index = 0}, {.partition_index = 1}};
    memset(text, 'x', sizeof text - 1);
    d[0].committed_metadata = (struct str){text, 4097};
    d[1].committed_metadata = (struct str){text, 4096};
    commit("g", d, 2, &o);
    ck_assert_int_eq(commit_error(&o, 0), KE_OFFSET_METADATA_TOO_LARGE);
    ck_assert_int_eq(commit_error(&o, 1), KE_NONE);
    outcome_fini(&o);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        commit(bad[i], d, 2, &o);
        ck_assert_int_eq(commit_error(&o, 1), KE_INVALID_GROUP_ID);
        outcome_fini(&o);
        fetch_offsets(bad[i], &index, 1, &o);
        ck_assert_int_eq(offset_of(&o, 0)->error_code, KE_INVALID_GROUP_ID);
        outcome_fini(&o);
    }
    coord_error = ERR_UNKNOWN_OUTCOME;
    commit("g", d, 2, &o);
    ck_assert_int_eq(commit_error(&o, 1), KE_REQUEST_TIMED_OUT);
    outcome_fini(&o);
    coord_is_away = true;
    fetch_offsets("g", &index, 1, &o);
    ck_assert_int_eq(offset_of(&o, 0)->error_code, KE_REQUEST_TIMED_OUT);
    ck_assert_int_eq(offset_of(&o, 0)->committed_offset, -1);
    outcome_fini(&o);
    is_authorized = false;
    commit("g", d, 2, &o);
    ck_assert_int_eq(commit_error(&o, 1), KE_GROUP_AUTHORIZATION_FAILED);
    outcome_fini(&o);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {
        members_join_and_leave_in_every_version,
        offsets_are_committed_and_fetched_in_every_version,
        groups_are_described_listed_and_deleted_in_every_version,
        without_permission_groups_tell_nothing,
        old_offsets_are_decimal_text_in_the_coordination_service,
        old_offsets_that_cannot_be_kept_are_refused_one_by_one,
    };

    return api_run("api-groups", tests, ARRAY_LEN(tests), 1);
}
