/* SPDX-License-Identifier: Apache-2.0 */
/* brokers - see brokers.h; and DescribeCluster (60). */
#include "broker/api/brokers.h"
#include "broker/api/handlers.h"
#include "broker/config/config.h"
#include "common/net/conn.h"
#include "common/protocol/codec.h"
#include "common/protocol/messages.h"

/* Nothing is said about the address that clients shall use: neither what is advertised nor what is
 * bound. */
static bool is_address_free(const struct request *r)
{
    const struct config *c = r->broker->config;
    const char *bound = r->listener->bind_host;
    return !config_is_given(c, CONFIG_advertised_listeners) &&
           !config_is_given(c, CONFIG_advertised_host_name) && bound != NULL &&
           (bound[0] == 0 || strcmp(bound, "0.0.0.0") == 0 || strcmp(bound, "::") == 0);
}

/* A lone broker is reached again by the address by which the client reached it. With others it must
 * tell the same as they do (docs/decisions/0007). */
static void answer_reached_address(struct broker_list *l, struct request *r)
{
    if (l->count != 1 || l->nodes[0].id != r->broker->id || r->conn == NULL || !is_address_free(r))
        return;
    l->nodes[0].host = api_strdup(r, conn_local_host(r->conn));
    l->nodes[0].port = r->listener->port;
}

bool broker_list_make(struct broker_list *out, struct request *r, const struct metadata *m)
{
    int32_t count = metadata_broker_count(m);
    out->count = 0;
    out->nodes = api_alloc(r, (size_t)count, sizeof *out->nodes);
    if (out->nodes == NULL)
        return false;
    for (int32_t i = 0; i < count; i++) {
        const struct metadata_broker *b = metadata_broker_at(m, i);
        const struct metadata_endpoint *e = metadata_endpoint(b, r->listener->name);
        if (e == NULL)
            continue;
        out->nodes[out->count++] = (struct api_node){
            .id = b->id, .host = str_of(e->host), .port = e->port, .rack = str_of(b->rack)};
    }
    answer_reached_address(out, r);
    return true;
}

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
