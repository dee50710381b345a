/* SPDX-License-Identifier: Apache-2.0 */
/* handlers - one function for each request that this broker answers, and the table of them.
 *
 * A handler is called on the connection's loop with a decoded request, owns it and ends it with one
 * of the request_reply functions (broker/server/request.h). */
#ifndef BROKER_API_HANDLERS_H
#define BROKER_API_HANDLERS_H

#include "broker/server/dispatch.h"
#include "broker/server/request.h"

extern const struct api_row api_rows[];
extern const size_t api_row_count;

void api_produce(struct request *r);
void api_fetch(struct request *r);
void api_list_offsets(struct request *r);
void api_metadata(struct request *r);
void api_update_metadata(struct request *r);
void api_find_coordinator(struct request *r);
void api_join_group(struct request *r);
void api_sync_group(struct request *r);
void api_heartbeat(struct request *r);
void api_leave_group(struct request *r);
void api_offset_commit(struct request *r);
void api_offset_fetch(struct request *r);
void api_offset_delete(struct request *r);
void api_describe_groups(struct request *r);
void api_list_groups(struct request *r);
void api_delete_groups(struct request *r);
void api_create_topics(struct request *r);
void api_delete_topics(struct request *r);
void api_delete_records(struct request *r);
void api_init_producer_id(struct request *r);
void api_offset_for_leader_epoch(struct request *r);
void api_describe_configs(struct request *r);
void api_alter_configs(struct request *r);
void api_incremental_alter_configs(struct request *r);
void api_describe_log_dirs(struct request *r);
void api_create_partitions(struct request *r);
void api_describe_cluster(struct request *r);
void api_describe_acls(struct request *r);
void api_create_acls(struct request *r);
void api_delete_acls(struct request *r);
void api_create_delegation_token(struct request *r);
void api_renew_delegation_token(struct request *r);
void api_expire_delegation_token(struct request *r);
void api_describe_delegation_token(struct request *r);
void api_describe_client_quotas(struct request *r);
void api_alter_client_quotas(struct request *r);
void api_describe_user_scram_credentials(struct request *r);
void api_alter_user_scram_credentials(struct request *r);
void api_describe_producers(struct request *r);
void api_describe_transactions(struct request *r);
void api_list_transactions(struct request *r);
/* ControlledShutdown, AlterPartition, AllocateProducerIds, ElectLeaders, reassignments. */
void api_to_controller(struct request *r);
void api_leader_and_isr(struct request *r);
void api_stop_replica(struct request *r);

#endif
