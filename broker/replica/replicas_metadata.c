/* SPDX-License-Identifier: Apache-2.0 */
/* What the replicas take from a metadata snapshot: who is alive, and where. */
#include "broker/cluster/metadata.h"
#include "broker/replica/replicas_internal.h"

#include <stdio.h>

void replicas_metadata_changed(struct replicas *r, const struct metadata *m)
{
    int32_t broker_count = metadata_broker_count(m);
    struct replicas_endpoint *list = xcalloc((size_t)broker_count + 1, sizeof *list);
    int32_t count = 0;
    bool has_changed;

    for (int32_t i = 0; i < broker_count; i++) {
        const struct metadata_broker *b = metadata_broker_at(m, i);
        const struct metadata_endpoint *e = metadata_endpoint(b, r->o.listener_name);
        if (e == NULL || strlen(e->host) >= REPLICAS_HOST_MAX)
            continue;
        list[count].id = b->id;
        list[count].port = e->port;
        (void)snprintf(list[count].host, sizeof list[count].host, "%s", e->host);
        count++;
    }
    replicas_set_endpoints(r, list, count, &has_changed);
    if (!has_changed)
        return;
    fetchers_endpoints_changed(r->fetchers);
    replicas_brokers_changed(r);
}
