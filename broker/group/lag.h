/* SPDX-License-Identifier: Apache-2.0 */
/* lag - how far each group is behind, in records and in seconds, for /metrics: of the groups that
 * this broker coordinates and, on the active controller, of those in ZooKeeper. A thread of its
 * own looks each kafuka.lag.interval.ms, asking the leaders for the ends of the partitions. */
#ifndef BROKER_GROUP_LAG_H
#define BROKER_GROUP_LAG_H

#include "common/base/base.h"

struct broker;
struct lag_monitor;
struct lag_round;

enum lag_kind { LAG_BROKER_GROUP, LAG_ZOOKEEPER_GROUP };

/* One committed offset of a group; copied. member: who reads the partition, "" if nobody. For the
 * sources, on the monitor's thread. */
void lag_claim_add(struct lag_round *r, enum lag_kind kind, struct str group, struct str topic,
                   int32_t partition, int64_t offset, struct str member);
/* No more claims fit; a source may stop then. */
bool lag_round_is_full(const struct lag_round *r);

struct lag_options {
    struct broker *broker; /* outlives the monitor */
    int64_t interval_ms;   /* kafuka.lag.interval.ms, > 0 */
    int32_t claims_max;    /* kafuka.lag.partitions.max */
    /* Each adds its claims; may block. NULL ends the list. */
    void (*sources[3])(struct broker *b, struct lag_round *r);
};
NODISCARD enum err lag_monitor_start(const struct lag_options *o, struct lag_monitor **out);
/* While the loops still run. NULL is fine. */
void lag_monitor_stop(struct lag_monitor **m);
/* Any thread: the last round as Prometheus text. m NULL: nothing. */
void lag_monitor_print(struct lag_monitor *m, struct buf *out);

/* Source: the groups that this broker coordinates. */
void lag_source_broker_groups(struct broker *b, struct lag_round *r);
/* Source: the groups in ZooKeeper, on the active controller only. */
void lag_source_zookeeper(struct broker *b, struct lag_round *r);

#endif
