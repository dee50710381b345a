/* SPDX-License-Identifier: Apache-2.0 */
/* group_lag - how far behind every group of a cluster is, for kafuka-describe: bounded work, best
 * effort. One command, one thread. */
#ifndef TOOLS_LIB_GROUP_LAG_H
#define TOOLS_LIB_GROUP_LAG_H

#include "tools/lib/groups.h"

enum { GROUP_LAG_MAX = 200 }; /* groups that are looked at; the others are only counted */

struct group_lag {
    const char *name;
    enum group_kind kind;
    const char *state;
    int32_t member_count;
    int32_t partition_count; /* with something committed */
    int64_t records;         /* not read; -1: not known */
    int64_t age_ms;          /* of the oldest record not read; 0: none, -1: not known */
    const char *worst;       /* "topic-partition" that is furthest behind; NULL: none is */
    int64_t worst_records;
    int32_t grown; /* looks in a row at which it was further behind than before (--watch) */
};
struct group_lags {
    struct group_lag *items; /* by name */
    int32_t count;
    int32_t left_out;
    const char *unknown; /* why groups are missing; NULL: none are */
};
/* a or zk may be NULL. What out points to lives in the arena and in a's. */
void group_lags_read(struct admin *a, struct coord *zk, struct arena *arena, int64_t deadline_ms,
                     struct group_lags *out);

#endif
