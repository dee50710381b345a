/* SPDX-License-Identifier: Apache-2.0 */
/* api_table - what this broker offers: the key, the versions and the handler of each request. */
#include "broker/api/handlers.h"
#include "common/protocol/messages.h"

/* Sorted by key. The ranges are what the handlers do, not what the codec knows. */
const struct api_row api_rows[] = {
    {KP_API_PRODUCE, 0, 11, api_produce, 0},
    {KP_API_FETCH, 0, 17, api_fetch, 0},
    {KP_API_LIST_OFFSETS, 0, 9, api_list_offsets, 0},
    {KP_API_METADATA, 0, 12, api_metadata, 0},
    {KP_API_LEADER_AND_ISR, 0, 7, api_leader_and_isr, API_INTER_BROKER},
    {KP_API_STOP_REPLICA, 0, 4, api_stop_replica, API_INTER_BROKER},
    {KP_API_UPDATE_METADATA, 0, 8, api_update_metadata, API_INTER_BROKER},
    {KP_API_CONTROLLED_SHUTDOWN, 0, 3, api_to_controller, API_INTER_BROKER},
    {KP_API_OFFSET_COMMIT, 0, 9, api_offset_commit, 0},
    {KP_API_OFFSET_FETCH, 0, 9, api_offset_fetch, 0},
    {KP_API_FIND_COORDINATOR, 0, 6, api_find_coordinator, 0},
    {KP_API_JOIN_GROUP, 0, 9, api_join_group, 0},
    {KP_API_HEARTBEAT, 0, 4, api_heartbeat, 0},
    {KP_API_LEAVE_GROUP, 0, 5, api_leave_group, 0},
    {KP_API_SYNC_GROUP, 0, 5, api_sync_group, 0},
    {KP_API_DESCRIBE_GROUPS, 0, 5, api_describe_groups, 0},
    {KP_API_LIST_GROUPS, 0, 5, api_list_groups, 0},
    {KP_API_CREATE_TOPICS, 0, 7, api_create_topics, 0},
    {KP_API_DELETE_TOPICS, 0, 6, api_delete_topics, 0},
    {KP_API_DELETE_RECORDS, 0, 2, api_delete_records, 0},
    {KP_API_INIT_PRODUCER_ID, 0, 5, api_init_producer_id, 0},
    {KP_API_OFFSET_FOR_LEADER_EPOCH, 0, 4, api_offset_for_leader_epoch, 0},
    {KP_API_DESCRIBE_CONFIGS, 0, 4, api_describe_configs, 0},
    {KP_API_ALTER_CONFIGS, 0, 2, api_alter_configs, 0},
    {KP_API_DESCRIBE_LOG_DIRS, 0, 4, api_describe_log_dirs, 0},
    {KP_API_CREATE_PARTITIONS, 0, 3, api_create_partitions, 0},
    {KP_API_DELETE_GROUPS, 0, 2, api_delete_groups, 0},
    {KP_API_ELECT_LEADERS, 0, 2, api_to_controller, 0},
    {KP_API_INCREMENTAL_ALTER_CONFIGS, 0, 1, api_incremental_alter_configs, 0},
    {KP_API_ALTER_PARTITION_REASSIGNMENTS, 0, 0, api_to_controller, 0},
    {KP_API_LIST_PARTITION_REASSIGNMENTS, 0, 0, api_to_controller, 0},
    {KP_API_OFFSET_DELETE, 0, 0, api_offset_delete, 0},
    {KP_API_ALTER_PARTITION, 0, 3, api_to_controller, API_INTER_BROKER},
    {KP_API_DESCRIBE_CLUSTER, 0, 1, api_describe_cluster, 0},
    {KP_API_ALLOCATE_PRODUCER_IDS, 0, 0, api_to_controller, API_INTER_BROKER},
};
const size_t api_row_count = ARRAY_LEN(api_rows);
