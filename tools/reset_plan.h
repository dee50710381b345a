/* SPDX-License-Identifier: Apache-2.0 */
/* reset_plan - what a user writes to say where a group shall go on: topics with partitions, times,
 * durations, plans in CSV. Pure; results live in the arena. Each error is one line that names the
 * text and what would be right. */
#ifndef TOOLS_RESET_PLAN_H
#define TOOLS_RESET_PLAN_H

#include "common/base/base.h"

/* "topic" (count -1: all partitions) or "topic:0,1". INVALID with text. */
struct reset_topic {
    const char *topic;
    int32_t *partitions;
    int32_t count;
};
NODISCARD enum err reset_parse_topic(const char *text, struct arena *a, struct reset_topic *out,
                                     struct errtext *why);

/* ISO 8601 as Java reads it: P1D, PT1H30M, P1DT12H, PT0.5S, -PT6H; to ms. INVALID with text. */
NODISCARD enum err reset_parse_duration(const char *text, int64_t *ms_out, struct errtext *why);

/* 2024-05-01T13:00:00.000 with an optional zone (Z, +02, +0200, +02:00; UTC without one); seconds
 * and their fraction may be missing. To ms since 1970. INVALID with text. */
NODISCARD enum err reset_parse_datetime(const char *text, int64_t *ms_out, struct errtext *why);

/* A plan: lines of topic,partition,offset (for the one group given) or
 * group,topic,partition,offset, as --export writes them. Fields may be quoted. */
struct reset_line {
    const char *group, *topic;
    int32_t partition;
    int64_t offset;
};
enum { RESET_PLAN_BYTES_MAX = 64 << 20 };
/* group NULL: every line must name its own. INVALID with text: the line's number and what is wrong
 * with it. */
NODISCARD enum err reset_parse_plan(const char *text, size_t len, const char *group,
                                    struct arena *a, struct reset_line **out, int32_t *count_out,
                                    struct errtext *why);
/* A field as CSV takes it: quoted when it has to be. */
void reset_add_csv(struct buf *out, const char *field);

#endif
