/* SPDX-License-Identifier: Apache-2.0 */
/* lag_table - how far the ends of partitions moved when, and what that says of a committed offset:
 * its lag in records, and in seconds since the first record behind it came. Pure: time comes in.
 * One owner. */
#ifndef BROKER_GROUP_LAG_TABLE_H
#define BROKER_GROUP_LAG_TABLE_H

#include "common/base/base.h"

enum { LAG_SAMPLES = 64 };

/* The end of one partition at some times, oldest first. When it is full every second sample of the
 * older half goes: the reach doubles there, the recent past stays exact. */
struct lag_history {
    struct lag_sample {
        int64_t wall_ms, end_offset;
    } v[LAG_SAMPLES];
    int32_t count;
};
/* A sample that is not newer than the last one is ignored. An end that fell (the topic was made
 * anew, records were lost) starts over. An end that did not move only renews the last sample. */
void lag_history_add(struct lag_history *h, int64_t wall_ms, int64_t end_offset);

struct lag {
    int64_t records;  /* between the offset and the end; -1: the end is unknown */
    int64_t ms;       /* since the first of them came, by interpolation; 0 with none */
    bool is_at_least; /* it came before the history begins: ms is a lower bound */
};
/* offset: the next to be read. */
struct lag lag_of(const struct lag_history *h, int64_t offset, int64_t now_wall_ms);

struct lag_table;
struct lag_table *lag_table_new(void);
void lag_table_free(struct lag_table **t); /* NULL-safe */
/* NULL: nothing is known of that partition. */
const struct lag_history *lag_table_find(const struct lag_table *t, struct str topic,
                                         int32_t partition);
/* Of the partitions asked for in this round; made when it is new. */
struct lag_history *lag_table_want(struct lag_table *t, struct str topic, int32_t partition);
/* Forgets what lag_table_want was not asked for since the last call. */
void lag_table_sweep(struct lag_table *t);
int32_t lag_table_count(const struct lag_table *t);

#endif
