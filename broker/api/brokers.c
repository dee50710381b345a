/* SPDX-License-Identifier: Apache-2.0 */
/* brokers - see brokers.h. */
#include "broker/api/brokers.h"
#include "broker/config/config.h"
#include "common/net/conn.h"

/* No address for clients is configured: no advertised listener or host, and the listener is bound
 * to every interface. */
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
    CHECK_OBJ(r, REQUEST_MAGIC);
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
