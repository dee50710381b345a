/* SPDX-License-Identifier: Apache-2.0 */
/* control - orders of the controller to this broker's replicas: LeaderAndIsr (4) and StopReplica
 * (5). Handlers of api_rows. */
#ifndef BROKER_API_CONTROL_H
#define BROKER_API_CONTROL_H

#include "broker/request.h"

void api_leader_and_isr(struct request *r);
void api_stop_replica(struct request *r);

#endif
