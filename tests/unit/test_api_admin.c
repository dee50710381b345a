/* SPDX-License-Identifier: Apache-2.0 */
/* ListOffsets, InitProducerId, configs, log dirs, the cluster, coordinators. */
#include "tests/unit/api_fixture.h"

/* ---- the others */

START_TEST(ends_of_a_log_and_times)
{
    struct kp_ListOffsetsRequest_ListOffsetsPartition p[] = {
        {.partition_index = 0, .timestamp = -1, .max_num_offsets = 2},
        {.partition_index = 1, .timestamp = 1234, .max_num_offsets = -1},
        {.partition_index = 9, .timestamp = -2, .max_num_offsets = 1},
        {.partition_index = 2, .timestamp = -9, .max_num_offsets = 1}};
    struct kp_ListOffsetsRequest_ListOffsetsTopic t = {
        .name = STR_LIT("t"), .partitions = p, .partitions_count = 4};
    struct kp_ListOffsetsRequest req = {.replica_id = -1, .topics = &t, .topics_count = 1};
    parts[0].end = parts[0].hw = 4;
    for (int16_t v = 0; v <= 9; v++) {
        struct outcome o;
        call(2, v, &req, &o);
        const struct kp_ListOffsetsResponse_ListOffsetsPartitionResponse *a =
            o.u.offsets.topics[0].partitions;
        if (v == 0) {
            ck_assert_int_eq(a[0].old_style_offsets_count, 2);
            ck_assert_int_eq(a[0].old_style_offsets[0], 4);
            ck_assert_int_eq(a[0].old_style_offsets[1], 2);
            ck_assert_int_eq(a[1].old_style_offsets_count, 0);
        } else {
            ck_assert_int_eq(a[0].offset, 4);
        }
        ck_assert_int_eq(a[1].error_code, KE_NONE);
        ck_assert_int_eq(a[2].error_code, KE_UNKNOWN_TOPIC_OR_PARTITION);
        ck_assert_int_eq(a[3].error_code, KE_UNSUPPORTED_VERSION);
        outcome_fini(&o);
    }
    struct outcome o;
    p[1].partition_index = 0;
    call(2, 5, &req, &o);
    ck_assert_int_eq(o.u.offsets.topics[0].partitions[0].error_code, KE_INVALID_REQUEST);
    ck_assert_int_eq(o.u.offsets.topics[0].partitions[1].error_code, KE_INVALID_REQUEST);
    outcome_fini(&o);
}
END_TEST

START_TEST(producer_ids_are_unique_across_blocks)
{
    struct kp_InitProducerIdRequest req = {
        .transactional_id = STR_NULL, .producer_id = -1, .producer_epoch = -1};
    bool seen[64] = {false};
    for (int i = 0; i < 35; i++) {
        struct outcome o;
        call(22, 4, &req, &o);
        ck_assert_int_eq(o.u.id.error_code, KE_NONE);
        ck_assert_int_eq(o.u.id.producer_epoch, 0);
        ck_assert_int_lt(o.u.id.producer_id, 64);
        ck_assert(!seen[o.u.id.producer_id]);
        seen[o.u.id.producer_id] = true;
        outcome_fini(&o);
    }
}
END_TEST

START_TEST(configs_are_described_and_altered)
{
    struct kp_IncrementalAlterConfigsRequest_AlterableConfig c[] = {
        {.name = STR_LIT("cleanup.policy"), .config_operation = 2, .value = STR_LIT("compact")},
        {.name = STR_LIT("retention.ms"), .config_operation = 0, .value = STR_LIT("77")}};
    struct kp_IncrementalAlterConfigsRequest_AlterConfigsResource res = {
        .resource_type = 2, .resource_name = STR_LIT("t"), .configs = c, .configs_count = 2};
    struct kp_IncrementalAlterConfigsRequest req = {.resources = &res, .resources_count = 1};
    struct outcome o;
    call(44, 1, &req, &o);
    ck_assert_int_eq(o.u.incremental.responses[0].error_code, KE_NONE);
    outcome_fini(&o);
    ck_assert_str_eq(zkdoc_config_value(&stored, "cleanup.policy"), "delete,compact");
    c[0].config_operation = 3;
    c[0].value = STR_LIT("delete");
    c[1].config_operation = 1;
    c[1].value = STR_NULL;
    call(44, 0, &req, &o);
    ck_assert_int_eq(o.u.incremental.responses[0].error_code, KE_NONE);
    outcome_fini(&o);
    ck_assert_int_eq(stored.count, 1);
    ck_assert_str_eq(zkdoc_config_value(&stored, "cleanup.policy"), "compact");
    c[1].config_operation = 2;
    c[1].value = STR_LIT("5");
    call(44, 0, &req, &o);
    ck_assert_int_eq(o.u.incremental.responses[0].error_code, KE_INVALID_CONFIG);
    outcome_fini(&o);

    struct str keys[] = {STR_LIT("cleanup.policy"), STR_LIT("segment.bytes")};
    struct kp_DescribeConfigsRequest_DescribeConfigsResource what[] = {
        {.resource_type = 2,
         .resource_name = STR_LIT("t"),
         .configuration_keys = keys,
         .configuration_keys_count = 2},
        {.resource_type = 4, .resource_name = STR_LIT("1"), .configuration_keys_count = -1},
        {.resource_type = 4, .resource_name = STR_LIT("2"), .configuration_keys_count = -1},
        {.resource_type = 2, .resource_name = STR_LIT("never"), .configuration_keys_count = -1}};
    struct kp_DescribeConfigsRequest ask = {
        .resources = what, .resources_count = 4, .include_synonyms = true};
    for (int16_t v = 0; v <= 4; v++) {
        call(32, v, &ask, &o);
        const struct kp_DescribeConfigsResponse_DescribeConfigsResult *a = o.u.describe.results;
        ck_assert_int_eq(a[0].configs_count, 2);
        for (int i = 0; i < 2; i++) {
            bool is_policy = str_eq_z(a[0].configs[i].name, "cleanup.policy");
            ck_assert(str_eq_z(a[0].configs[i].value, is_policy ? "compact" : "1073741824"));
            if (v >= 1)
                ck_assert_int_eq(a[0].configs[i].config_source,
                                 is_policy ? CONFIG_SOURCE_TOPIC : CONFIG_SOURCE_DEFAULT);
        }
        ck_assert_int_gt(a[1].configs_count, 100);
        ck_assert_int_eq(a[2].error_code, KE_INVALID_REQUEST);
        ck_assert_int_eq(a[3].error_code, KE_UNKNOWN_TOPIC_OR_PARTITION);
        outcome_fini(&o);
    }
    struct zkdoc_config none = {NULL, 0};
    ck_assert_int_eq(zkadmin_set_entity_config(NULL, "", "", &none, true, NULL), KE_NONE);
    free(stored.entries);
    stored = none;
}
END_TEST

START_TEST(log_dirs_epochs_deletions_and_the_cluster)
{
    struct outcome o;
    struct kp_DescribeLogDirsRequest all = {.topics_count = -1};
    call(35, 4, &all, &o);
    ck_assert_int_eq(o.u.dirs.results_count, 1);
    ck_assert_int_eq(o.u.dirs.results[0].usable_bytes, 50);
    ck_assert_int_eq(o.u.dirs.results[0].topics_count, 1);
    ck_assert_int_eq(o.u.dirs.results[0].topics[0].partitions_count, PARTITIONS);
    outcome_fini(&o);
    struct kp_OffsetForLeaderEpochRequest_OffsetForLeaderPartition ep = {
        .partition = 0, .current_leader_epoch = -1, .leader_epoch = 3};
    struct kp_OffsetForLeaderEpochRequest_OffsetForLeaderTopic et = {
        .topic = STR_LIT("t"), .partitions = &ep, .partitions_count = 1};
    struct kp_OffsetForLeaderEpochRequest epochs = {
        .replica_id = -1, .topics = &et, .topics_count = 1};
    parts[0].end = 6;
    call(23, 4, &epochs, &o);
    ck_assert_int_eq(o.u.epochs.topics[0].partitions[0].end_offset, 6);
    outcome_fini(&o);
    parts[0].hw = 5;
    struct kp_DeleteRecordsRequest_DeleteRecordsPartition dp = {.partition_index = 0, .offset = -1};
    struct kp_DeleteRecordsRequest_DeleteRecordsTopic dt = {
        .name = STR_LIT("t"), .partitions = &dp, .partitions_count = 1};
    struct kp_DeleteRecordsRequest records = {
        .topics = &dt, .topics_count = 1, .timeout_ms = 20000};
    call(21, 2, &records, &o);
    ck_assert_int_eq(o.u.records.topics[0].partitions[0].low_watermark, 5);
    outcome_fini(&o);
    struct kp_DescribeClusterRequest cluster = {.endpoint_type = 1};
    call(60, 1, &cluster, &o);
    ck_assert_int_eq(o.u.cluster.brokers_count, 1);
    ck_assert_int_eq(o.u.cluster.controller_id, 1);
    outcome_fini(&o);
    struct str key[] = {STR_LIT("g")};
    struct kp_FindCoordinatorRequest find = {
        .key = STR_LIT("g"), .coordinator_keys = key, .coordinator_keys_count = 1};
    find.key_type = 1;
    call(10, 3, &find, &o);
    ck_assert_int_eq(o.u.coordinator.error_code, KE_TRANSACTIONAL_ID_AUTHORIZATION_FAILED);
    outcome_fini(&o);
}
END_TEST

START_TEST(the_offsets_topic_is_created_and_its_leader_told)
{
    struct outcome o;
    struct str keys[] = {STR_LIT("g"), STR_LIT("h")};
    struct kp_FindCoordinatorRequest find = {.key = STR_LIT("g")};
    struct kp_FindCoordinatorRequest many = {.coordinator_keys = keys, .coordinator_keys_count = 2};
    /* one broker is alive, and the default factor is 3 */
    call(10, 2, &find, &o);
    ck_assert_int_eq(o.u.coordinator.error_code, KE_COORDINATOR_NOT_AVAILABLE);
    ck_assert_int_eq(o.u.coordinator.node_id, -1);
    ck_assert_ptr_nonnull(
        strstr(o.u.coordinator.error_message.p, "offsets.topic.replication.factor 3"));
    outcome_fini(&o);
    ck_assert_int_eq(created, 0);
    ((struct config *)(uintptr_t)broker.config)->offsets_topic_replication_factor = 1;
    for (int16_t v = 0; v <= 6; v++) {
        call(10, v, v < 4 ? &find : &many, &o);
        if (v >= 4) {
            ck_assert_int_eq(o.u.coordinator.coordinators_count, 2);
            ck_assert_int_eq(o.u.coordinator.coordinators[1].error_code, KE_NONE);
            ck_assert_int_eq(o.u.coordinator.coordinators[1].node_id, 1);
            ck_assert_int_eq(o.u.coordinator.coordinators[1].port, 9);
        } else {
            ck_assert_int_eq(o.u.coordinator.error_code, KE_NONE);
            ck_assert_int_eq(o.u.coordinator.node_id, 1);
        }
        outcome_fini(&o);
    }
    ck_assert_int_eq(created, 1);
    struct metadata *m = metadata_cache_latest(broker.metadata);
    ck_assert_int_eq(metadata_topic(m, STR_LIT("__consumer_offsets"))->partition_count, 50);
    metadata_unref(&m);
}
END_TEST

/* A client that looks it up must not bring it into being with one partition. */
START_TEST(the_offsets_topic_is_the_same_by_metadata)
{
    struct outcome o;
    struct kp_MetadataRequest_MetadataRequestTopic t = {.name = STR_LIT("__consumer_offsets")};
    struct kp_MetadataRequest req = {
        .topics = &t, .topics_count = 1, .allow_auto_topic_creation = true};
    ((struct config *)(uintptr_t)broker.config)->offsets_topic_replication_factor = 1;
    call(3, 9, &req, &o);
    ck_assert_int_eq(o.u.metadata.topics[0].error_code, KE_NONE);
    ck_assert_int_eq(o.u.metadata.topics[0].partitions_count, 50);
    outcome_fini(&o);
    struct kp_CreatePartitionsRequest_CreatePartitionsTopic more = {
        .name = STR_LIT("__consumer_offsets"), .count = 60, .assignments_count = -1};
    struct kp_CreatePartitionsRequest grow = {
        .topics = &more, .topics_count = 1, .timeout_ms = 20000};
    call(37, 3, &grow, &o);
    ck_assert_int_eq(o.u.grow.results[0].error_code, KE_INVALID_PARTITIONS);
    outcome_fini(&o);
}
END_TEST

START_TEST(an_update_of_the_metadata_needs_the_newest_controller)
{
    struct outcome o;
    struct kp_UpdateMetadataRequest req = {.controller_id = 3, .controller_epoch = 4};
    call(6, 8, &req, &o);
    ck_assert_int_eq(o.u.update.error_code, KE_STALE_CONTROLLER_EPOCH);
    outcome_fini(&o);
    req.controller_epoch = 5;
    call(6, 8, &req, &o);
    ck_assert_int_eq(o.u.update.error_code, KE_NONE);
    struct metadata *m = metadata_cache_latest(broker.metadata);
    ck_assert_int_eq(metadata_controller_id(m), 3);
    metadata_unref(&m);
    outcome_fini(&o);
}
END_TEST

START_TEST(without_permission_nothing_is_told)
{
    struct outcome o;
    struct kp_ProduceRequest_TopicProduceData t;
    produce_data d[] = {{.index = 0}};
    struct kp_ProduceRequest req = produce_of(&t, d, 1, 1);
    is_authorized = false;
    send_on(1, 0, 7, &req, batch, &o);
    wait_end(&o, REPLIED);
    ck_assert_int_eq(produced(&o, 0), KE_TOPIC_AUTHORIZATION_FAILED);
    outcome_fini(&o);
    struct kp_MetadataRequest all = {.topics_count = -1};
    call(3, 9, &all, &o);
    ck_assert_int_eq(o.u.metadata.topics_count, 0);
    outcome_fini(&o);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {
        ends_of_a_log_and_times,
        producer_ids_are_unique_across_blocks,
        configs_are_described_and_altered,
        log_dirs_epochs_deletions_and_the_cluster,
        the_offsets_topic_is_created_and_its_leader_told,
        the_offsets_topic_is_the_same_by_metadata,
        an_update_of_the_metadata_needs_the_newest_controller,
        without_permission_nothing_is_told,
    };

    return api_run("api-admin", tests, ARRAY_LEN(tests), 1);
}
