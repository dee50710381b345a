/* SPDX-License-Identifier: Apache-2.0 */
/* reach - looks once, after the start, whether clients can use what this broker advertises: does
 * the name resolve, does the port answer. Only log lines come of it. */
#ifndef BROKER_CLUSTER_REACH_H
#define BROKER_CLUSTER_REACH_H

#include "broker/broker.h"

/* Starts the look in a thread of its own and returns at once: a name may take long to resolve.
 * Nobody waits for the thread to end. */
void reach_check(const struct broker *b);

#endif
