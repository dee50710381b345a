/* SPDX-License-Identifier: Apache-2.0 */
/* brokers - the live brokers as a client of one listener sees them; for Metadata, DescribeCluster
 * and FindCoordinator. */
#ifndef BROKER_API_BROKERS_H
#define BROKER_API_BROKERS_H

#include "broker/api/api.h"

struct broker_list {
    struct api_node *nodes; /* sorted by id */
    int32_t count;
};
/* Those with an endpoint on the request's listener. Borrowed from m and the request. False: no
 * memory. */
bool broker_list_make(struct broker_list *out, struct request *r, const struct metadata *m);

#endif
