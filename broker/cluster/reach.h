/* SPDX-License-Identifier: Apache-2.0 */
/* reach - looks once, after the start, whether clients can use what this broker advertises: does
 * the name resolve, does the port answer. Only log lines come of it. */
#ifndef BROKER_CLUSTER_REACH_H
#define BROKER_CLUSTER_REACH_H

#include "broker/broker.h"

/* One job on b->io_pool, which ends early once b->is_stopping. */
void reach_check(struct broker *b);

#endif
