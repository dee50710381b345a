/* SPDX-License-Identifier: Apache-2.0 */
/* Metadata and what makes, changes and removes topics. */
#include "tests/unit/api_fixture.h"

/* ---- metadata and topics */

START_TEST(version_0_means_all_by_an_empty_list_and_version_1_none)
{
    struct outcome o;
    struct kp_MetadataRequest req = {.topics_count = 0};
    call(3, 0, &req, &o);
    ck_assert_int_eq(o.u.metadata.topics_count, 1);
    ck_assert_int_eq(o.u.metadata.brokers_count, 1);
    ck_assert_int_eq(o.u.metadata.topics[0].partitions_count, PARTITIONS + 1);
    ck_assert_int_eq(o.u.metadata.topics[0].partitions[0].leader_id, 1);
    outcome_fini(&o);
    call(3, 1, &req, &o);
    ck_assert_int_eq(o.u.metadata.topics_count, 0);
    outcome_fini(&o);
    req.topics_count = -1;
    for (int16_t v = 1; v <= 12; v++) {
        call(3, v, &req, &o);
        ck_assert_int_eq(o.u.metadata.topics_count, 1);
        ck_assert_int_eq(o.u.metadata.controller_id, 1);
        outcome_fini(&o);
    }
}
END_TEST

/* A broker that listens, but has not been told of the cluster yet. */
static void forget_the_cluster(void)
{
    broker.is_informed = false;
    metadata_cache_free(&broker.metadata);
    broker.metadata = metadata_cache_new(broker.loops, 1);
}

START_TEST(metadata_wait_for_the_first_that_the_controller_says)
{
    struct outcome o, gone;
    struct kp_MetadataRequest_MetadataRequestTopic t = {.name = STR_LIT("t")};
    struct kp_MetadataRequest req = {.topics = &t, .topics_count = 1};
    forget_the_cluster();
    send_on(1, 3, 9, &req, NULL, &o);
    struct request *r = send_on(2, 3, 9, &req, NULL, &gone);
    settle();
    ck_assert_int_eq(o.end, NOT_YET);
    loop_call(broker.loops[0], cancel, r);
    ck_assert_int_eq(gone.end, DROPPED);
    publish("t", 2, 1);
    wait_end(&o, REPLIED);
    ck_assert_int_eq(o.u.metadata.topics[0].error_code, KE_NONE);
    ck_assert_int_eq(o.u.metadata.topics[0].partitions_count, 2);
    outcome_fini(&o);
    outcome_fini(&gone);
}
END_TEST

/* A new controller says who lives before it says who leads. */
START_TEST(a_broker_with_logs_waits_until_it_is_told_of_topics)
{
    struct outcome o;
    struct kp_MetadataRequest req = {.topics_count = -1};
    forget_the_cluster();
    broker.had_logs = true;
    send_on(1, 3, 9, &req, NULL, &o);
    publish_brokers();
    settle();
    ck_assert_int_eq(o.end, NOT_YET);
    publish("t", 2, 1);
    wait_end(&o, REPLIED);
    ck_assert_int_eq(o.u.metadata.topics_count, 1);
    outcome_fini(&o);
    forget_the_cluster(); /* the data folder is new: perhaps there are no topics */
    broker.had_logs = false;
    send_on(1, 3, 9, &req, NULL, &o);
    publish_brokers();
    wait_end(&o, REPLIED);
    ck_assert_int_eq(o.u.metadata.topics_count, 0);
    outcome_fini(&o);
}
END_TEST

START_TEST(a_missing_topic_is_created_and_has_its_leader_in_the_same_answer)
{
    struct outcome o;
    struct kp_MetadataRequest_MetadataRequestTopic names[] = {
        {.name = STR_LIT("fresh")}, {.name = STR_LIT("not valid")}, {.name = STR_LIT("refused")}};
    struct kp_MetadataRequest req = {
        .topics = names, .topics_count = 3, .allow_auto_topic_creation = true};
    call(3, 9, &req, &o);
    ck_assert_int_eq(o.u.metadata.topics[0].error_code, KE_NONE);
    ck_assert_int_eq(o.u.metadata.topics[0].partitions[0].leader_id, 1);
    ck_assert_int_eq(o.u.metadata.topics[1].error_code, KE_INVALID_TOPIC_EXCEPTION);
    ck_assert_int_eq(o.u.metadata.topics[2].error_code, KE_LEADER_NOT_AVAILABLE);
    ck_assert_int_eq(created, 1);
    outcome_fini(&o);
    names[0].name = STR_LIT("raced");
    req.topics_count = 1;
    call(3, 9, &req, &o);
    ck_assert_int_eq(o.u.metadata.topics[0].error_code, KE_NONE);
    ck_assert_int_eq(o.u.metadata.topics[0].partitions_count, 2);
    outcome_fini(&o);
    names[0].name = STR_LIT("other");
    req.allow_auto_topic_creation = false;
    req.topics_count = 1;
    call(3, 9, &req, &o);
    ck_assert_int_eq(o.u.metadata.topics[0].error_code, KE_UNKNOWN_TOPIC_OR_PARTITION);
    ck_assert_int_eq(created, 1);
    outcome_fini(&o);
}
END_TEST

START_TEST(without_the_coordination_service_nothing_waits_for_it)
{
    struct outcome o;
    struct kp_MetadataRequest_MetadataRequestTopic names[] = {{.name = STR_LIT("fresh")}};
    struct kp_MetadataRequest req = {
        .topics = names, .topics_count = 1, .allow_auto_topic_creation = true};
    coord_is_away = true;
    call(3, 9, &req, &o);
    ck_assert_int_eq(o.u.metadata.topics[0].error_code, KE_LEADER_NOT_AVAILABLE);
    outcome_fini(&o);
    struct kp_DescribeConfigsRequest_DescribeConfigsResource what = {
        .resource_type = 2, .resource_name = STR_LIT("t"), .configuration_keys_count = -1};
    struct kp_DescribeConfigsRequest ask = {.resources = &what, .resources_count = 1};
    call(32, 1, &ask, &o);
    ck_assert_int_eq(o.u.describe.results[0].error_code, KE_REQUEST_TIMED_OUT);
    ck_assert_int_gt(o.u.describe.results[0].error_message.len, 10);
    outcome_fini(&o);
    coord_is_away = false;
}
END_TEST

START_TEST(topics_are_asked_for_by_id_in_version_12)
{
    struct outcome o;
    struct kp_MetadataRequest_MetadataRequestTopic ids[] = {{.name = STR_NULL}, {.name = STR_NULL}};
    struct kp_MetadataRequest req = {.topics = ids, .topics_count = 2};
    ids[0].topic_id.b[0] = 't';
    ids[1].topic_id.b[0] = 9;
    call(3, 12, &req, &o);
    ck_assert(str_eq_z(o.u.metadata.topics[0].name, "t"));
    ck_assert_int_eq(o.u.metadata.topics[1].error_code, KE_UNKNOWN_TOPIC_ID);
    ck_assert_int_eq(o.u.metadata.topics[1].name.len, -1);
    outcome_fini(&o);
    call(3, 10, &req, &o);
    ck_assert_int_eq(o.u.metadata.topics[0].error_code, KE_INVALID_REQUEST);
    outcome_fini(&o);
}
END_TEST

typedef struct kp_CreateTopicsRequest_CreatableTopic creatable;

START_TEST(created_topics_are_answered_with_leaders_and_refusals_with_words)
{
    struct kp_CreateTopicsRequest_CreatableTopicConfig bad[] = {
        {.name = STR_LIT("no.such"), .value = STR_LIT("1")}};
    struct kp_CreateTopicsRequest_CreatableTopicConfig good[] = {
        {.name = STR_LIT("retention.ms"), .value = STR_LIT("5000")}};
    struct kp_CreateTopicsRequest_CreatableTopicConfig lags[] = {
        {.name = STR_LIT("min.compaction.lag.ms"), .value = STR_LIT("10")},
        {.name = STR_LIT("max.compaction.lag.ms"), .value = STR_LIT("5")}};
    creatable topics[] = {
        {.name = STR_LIT("new"),
         .num_partitions = 2,
         .replication_factor = 1,
         .configs = good,
         .configs_count = 1},
        {.name = STR_LIT("lags"),
         .num_partitions = 1,
         .replication_factor = 1,
         .configs = lags,
         .configs_count = 2},
        {.name = STR_LIT("a/b"), .num_partitions = 1, .replication_factor = 1},
        {.name = STR_LIT("twice"), .num_partitions = 1, .replication_factor = 1},
        {.name = STR_LIT("twice"), .num_partitions = 1, .replication_factor = 1},
        {.name = STR_LIT("wide"), .num_partitions = 1, .replication_factor = 3},
        {.name = STR_LIT("none"), .num_partitions = 0, .replication_factor = 1},
        {.name = STR_LIT("conf"),
         .num_partitions = 1,
         .replication_factor = 1,
         .configs = bad,
         .configs_count = 1},
        {.name = STR_LIT("refused"), .num_partitions = 1, .replication_factor = 1},
        {.name = STR_LIT("t"), .num_partitions = 1, .replication_factor = 1}};
    static const int16_t errors[] = {KE_NONE,
                                     KE_INVALID_CONFIG,
                                     KE_INVALID_TOPIC_EXCEPTION,
                                     KE_INVALID_REQUEST,
                                     KE_INVALID_REQUEST,
                                     KE_INVALID_REPLICATION_FACTOR,
                                     KE_INVALID_PARTITIONS,
                                     KE_INVALID_CONFIG,
                                     KE_TOPIC_ALREADY_EXISTS,
                                     KE_TOPIC_ALREADY_EXISTS};
    struct kp_CreateTopicsRequest req = {
        .topics = topics, .topics_count = ARRAY_LEN(topics), .timeout_ms = 20000};
    struct outcome o;
    call(19, 7, &req, &o);
    for (size_t i = 0; i < ARRAY_LEN(errors); i++) {
        ck_assert_int_eq(o.u.create.topics[i].error_code, errors[i]);
        if (errors[i] != KE_NONE)
            ck_assert_int_gt(o.u.create.topics[i].error_message.len, 5);
    }
    ck_assert_int_eq(o.u.create.topics[0].num_partitions, 2);
    bool seen = false;
    for (int32_t i = 0; i < o.u.create.topics[0].configs_count; i++)
        seen |= str_eq_z(o.u.create.topics[0].configs[i].name, "retention.ms") &&
                str_eq_z(o.u.create.topics[0].configs[i].value, "5000") &&
                o.u.create.topics[0].configs[i].config_source == CONFIG_SOURCE_TOPIC;
    ck_assert(seen);
    outcome_fini(&o);
}
END_TEST

START_TEST(creation_answers_timed_out_validates_only_and_sends_to_the_controller)
{
    creatable topics[] = {{.name = STR_LIT("slow"), .num_partitions = 1, .replication_factor = 1}};
    struct kp_CreateTopicsRequest req = {.topics = topics, .topics_count = 1, .timeout_ms = 20};
    struct outcome o;
    call(19, 4, &req, &o);
    ck_assert_int_eq(o.u.create.topics[0].error_code, KE_REQUEST_TIMED_OUT);
    outcome_fini(&o);
    req.validate_only = true;
    call(19, 5, &req, &o);
    ck_assert_int_eq(o.u.create.topics[0].error_code, KE_NONE);
    outcome_fini(&o);
    is_controller = false;
    call(19, 0, &req, &o);
    ck_assert_int_eq(o.u.create.topics[0].error_code, KE_NOT_CONTROLLER);
    outcome_fini(&o);
}
END_TEST

START_TEST(deletion_waits_until_the_topic_is_gone)
{
    struct str names[] = {STR_LIT("gone"), STR_LIT("never"), STR_LIT("stuck")};
    struct kp_DeleteTopicsRequest req = {
        .topic_names = names, .topic_names_count = 2, .timeout_ms = 20000};
    struct outcome o;
    publish("gone", 2, 1);
    publish("stuck", 1, 1);
    settle();
    call(20, 5, &req, &o);
    ck_assert_int_eq(o.u.delete.responses[0].error_code, KE_NONE);
    ck_assert_int_eq(o.u.delete.responses[1].error_code, KE_UNKNOWN_TOPIC_OR_PARTITION);
    outcome_fini(&o);
    req.topic_names = &names[2];
    req.topic_names_count = 1;
    req.timeout_ms = 10;
    call(20, 5, &req, &o);
    ck_assert_int_eq(o.u.delete.responses[0].error_code, KE_REQUEST_TIMED_OUT);
    ck_assert_int_gt(o.u.delete.responses[0].error_message.len, 5);
    outcome_fini(&o);
    struct kp_DeleteTopicsRequest_DeleteTopicState ids[] = {{.name = STR_NULL}, {.name = STR_NULL}};
    struct kp_DeleteTopicsRequest by_id = {.topics = ids, .topics_count = 2, .timeout_ms = 20000};
    publish("gone", 2, 1);
    settle();
    ids[0].topic_id.b[0] = 'g';
    ids[1].topic_id.b[0] = 1;
    call(20, 6, &by_id, &o);
    ck_assert_int_eq(o.u.delete.responses[0].error_code, KE_NONE);
    ck_assert(str_eq_z(o.u.delete.responses[0].name, "gone"));
    ck_assert_int_eq(o.u.delete.responses[1].error_code, KE_UNKNOWN_TOPIC_ID);
    outcome_fini(&o);
}
END_TEST

START_TEST(partitions_are_added)
{
    struct kp_CreatePartitionsRequest_CreatePartitionsTopic topics[] = {
        {.name = STR_LIT("p"), .count = 5, .assignments_count = -1},
        {.name = STR_LIT("q"), .count = 2, .assignments_count = -1},
        {.name = STR_LIT("never"), .count = 2, .assignments_count = -1}};
    struct kp_CreatePartitionsRequest req = {
        .topics = topics, .topics_count = 3, .timeout_ms = 20000};
    struct outcome o;
    publish("p", 2, 1);
    publish("q", 2, 1);
    settle();
    call(37, 3, &req, &o);
    ck_assert_int_eq(o.u.grow.results[0].error_code, KE_NONE);
    ck_assert_int_eq(o.u.grow.results[1].error_code, KE_INVALID_PARTITIONS);
    ck_assert_int_eq(o.u.grow.results[2].error_code, KE_UNKNOWN_TOPIC_OR_PARTITION);
    outcome_fini(&o);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {
        version_0_means_all_by_an_empty_list_and_version_1_none,
        metadata_wait_for_the_first_that_the_controller_says,
        a_broker_with_logs_waits_until_it_is_told_of_topics,
        a_missing_topic_is_created_and_has_its_leader_in_the_same_answer,
        without_the_coordination_service_nothing_waits_for_it,
        topics_are_asked_for_by_id_in_version_12,
        created_topics_are_answered_with_leaders_and_refusals_with_words,
        creation_answers_timed_out_validates_only_and_sends_to_the_controller,
        deletion_waits_until_the_topic_is_gone,
        partitions_are_added,
    };

    return api_run("api-topics", tests, ARRAY_LEN(tests), 1);
}
