/* SPDX-License-Identifier: Apache-2.0 */
/* placement - which brokers hold which replica. Pure. Partition i's j-th replica goes to broker
 * (i+j) mod N of the sorted brokers; with racks, brokers are interleaved by rack first and no rack
 * gets a second replica while another has none. */
#ifndef CONTROLLER_PLACEMENT_H
#define CONTROLLER_PLACEMENT_H

#include "common/base/base.h"

struct placement_broker {
    int32_t id;
    struct str rack; /* null: none */
};
/* replicas_out: partition_count * replication_factor ids, partition by partition, for partitions
 * first_partition and up. start: index in the sorted (with racks: interleaved) brokers that
 * partition 0 begins with: 0 for new topics, placement_start() when a topic grows. INVALID with
 * text: factor out of 1..broker_count, no partitions, a broker id twice, or racks on only some
 * brokers. */
NODISCARD enum err placement_assign(const struct placement_broker *brokers, int32_t broker_count,
                                    int32_t first_partition, int32_t partition_count,
                                    int32_t replication_factor, int32_t start,
                                    int32_t *replicas_out, struct errtext *why);
/* The start that continues a topic whose partition 0 has that first replica: the index of the first
 * broker with an id not below it, 0 when there is none. */
int32_t placement_start(const struct placement_broker *brokers, int32_t broker_count,
                        int32_t first_replica);

#endif
