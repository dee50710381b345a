/* SPDX-License-Identifier: Apache-2.0 */
/* describe_cluster - DescribeCluster (60). */
#include "broker/api/brokers.h"
#include "broker/api/handlers.h"
#include "common/protocol/codec.h"
#include "common/protocol/messages.h"

enum { ENDPOINT_BROKERS = 1, ENDPOINT_CONTROLLERS = 2 };

static int16_t endpoint_error(const struct request *r)
{
    const struct kp_DescribeClusterRequest *req = r->body;
    if (req->endpoint_type == ENDPOINT_BROKERS)
        return KE_NONE;
    if (r->api_version == 0)
        return KE_INVALID_REQUEST;
    return req->endpoint_type == ENDPOINT_CONTROLLERS ? KE_MISMATCHED_ENDPOINT_TYPE
                                                      : KE_UNSUPPORTED_ENDPOINT_TYPE;
}

void api_describe_cluster(struct request *r)
{
    CHECK_OBJ(r, REQUEST_MAGIC);
    const struct kp_DescribeClusterRequest *req = r->body;
    struct metadata *m = metadata_current(r);
    struct kp_DescribeClusterResponse a;
    kp_defaults(&kp_DescribeClusterResponse_schema, &a);
    a.cluster_id = str_of(r->broker->cluster_id);
    a.error_code = endpoint_error(r);
    if (a.error_code != KE_NONE) {
        a.error_message = STR_LIT("only brokers can be described here: endpoint type 1");
        request_reply(r, &a);
        return;
    }
    struct broker_list list;
    if (!broker_list_make(&list, r, m) ||
        (a.brokers = api_alloc(r, (size_t)list.count, sizeof *a.brokers)) == NULL) {
        api_no_memory(r);
        return;
    }
    a.brokers_count = list.count;
    for (int32_t i = 0; i < list.count; i++) {
        a.brokers[i] =
            (struct kp_DescribeClusterResponse_DescribeClusterBroker){.broker_id = list.nodes[i].id,
                                                                      .host = list.nodes[i].host,
                                                                      .port = list.nodes[i].port,
                                                                      .rack = list.nodes[i].rack};
        if (list.nodes[i].id == metadata_controller_id(m))
            a.controller_id = list.nodes[i].id;
    }
    if (req->include_cluster_authorized_operations && api_cluster_allowed(r, ACL_DESCRIBE))
        a.cluster_authorized_operations =
            api_authorized_operations(r, ACL_CLUSTER, STR_LIT("kafka-cluster"));
    request_reply(r, &a);
}
