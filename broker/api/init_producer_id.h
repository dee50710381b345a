/* SPDX-License-Identifier: Apache-2.0 */
/* init_producer_id - hands out producer ids from blocks that the controller allocates. */
#ifndef BROKER_API_INIT_PRODUCER_ID_H
#define BROKER_API_INIT_PRODUCER_ID_H

#include "broker/broker.h"

struct producer_ids;

struct producer_ids *producer_ids_new(struct broker *b);
/* While the loops still run and no requests come any more: ends what is under way. Main thread. */
void producer_ids_quit(struct producer_ids *p);
void producer_ids_free(struct producer_ids **p);

#endif
