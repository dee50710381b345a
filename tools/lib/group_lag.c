/* SPDX-License-Identifier: Apache-2.0 */
/* All groups of both kinds, the ends of the logs in one request to each leader, and the ages of the
 * first unread records of those that are behind. */
#include "tools/lib/group_lag.h"

#include "common/base/clock.h"
#include "tools/lib/log_offsets.h"
#include "tools/lib/mem.h"

#include <stdio.h>
#include <stdlib.h>

enum { AGES_MAX = 50 /* partitions of a group whose first unread record is looked at */ };

static void note_unknown(struct group_lags *out, struct arena *arena, const struct errtext *why)
{
    if (out->unknown == NULL)
        out->unknown = arena_strdup(arena, why->text, strlen(why->text));
}

/* Those that brokers coordinate, up to the limit. */
static void read_of_brokers(struct admin *a, int64_t deadline_ms, struct arena *arena,
                            struct group *groups, int32_t *count, struct group_lags *out)
{
    struct group_listing *list;
    struct errtext why = {{0}};
    int32_t listed, n;

    if (groups_list(a, deadline_ms, &list, &listed, &why) != ERR_OK)
        note_unknown(out, arena, &why);
    n = i32_min(listed, GROUP_LAG_MAX);
    out->left_out += listed - n;
    for (int32_t i = 0; i < n; i++)
        groups[i] = (struct group){.name = list[i].name};
    if (groups_describe(a, deadline_ms, groups, n, &why) != ERR_OK ||
        groups_read_commits(a, deadline_ms, groups, n, &why) != ERR_OK)
        note_unknown(out, arena, &why);
    *count = n;
}

static void read_of_zk(struct coord *zk, struct arena *arena, struct group *groups, int32_t *count,
                       struct group_lags *out)
{
    struct group_listing *list;
    struct errtext why = {{0}};
    int32_t listed = 0, n;

    if (zk_groups_list(zk, arena, &list, &listed, &why) != ERR_OK) {
        note_unknown(out, arena, &why);
        return;
    }
    n = i32_min(listed, GROUP_LAG_MAX);
    out->left_out += listed - n;
    for (int32_t i = 0; i < n; i++) {
        struct errtext broken = {{0}};

        if (zk_group_read(zk, arena, list[i].name, &groups[*count], &broken) == ERR_OK)
            (*count)++;
        if (broken.text[0] != '\0')
            note_unknown(out, arena, &broken);
    }
}

/* The ends of all partitions that any group has committed for. */
static struct log_partition *read_ends(struct admin *a, struct arena *arena,
                                       const struct group *groups, int32_t group_count,
                                       int32_t *count_out, struct group_lags *out)
{
    struct log_partition *list;
    struct errtext why = {{0}};
    int32_t n = 0;

    for (int32_t g = 0; g < group_count; g++)
        n += groups[g].commit_count;
    list = tool_alloc(arena, (size_t)n, sizeof *list);
    n = 0;
    for (int32_t g = 0; g < group_count; g++)
        for (int32_t i = 0; i < groups[g].commit_count; i++)
            list[n++] = (struct log_partition){.topic = groups[g].commits[i].topic,
                                               .partition = groups[g].commits[i].partition,
                                               .error = KE_NETWORK_EXCEPTION};
    n = log_partitions_sort(list, n);
    if (a != NULL && n > 0 && log_list_offsets(a, list, n, LOG_LATEST, &why) != ERR_OK)
        note_unknown(out, arena, &why);
    *count_out = n;
    return list;
}

static int most_behind_first(const void *x, const void *y)
{
    const struct log_partition *a = x, *b = y;

    return (a->timestamp_ms < b->timestamp_ms) - (a->timestamp_ms > b->timestamp_ms);
}

/* behind: the partitions with their lag in timestamp_ms, offset: what is committed. */
static int64_t oldest_age(struct admin *a, struct log_partition *behind, int32_t count)
{
    int64_t now_ms = clock_wall_ms(), age_ms = -1;

    if (count > AGES_MAX)
        qsort(behind, (size_t)count, sizeof *behind, most_behind_first);
    count = log_partitions_sort(behind, i32_min(count, AGES_MAX));
    log_read_times(a, behind, count);
    for (int32_t i = 0; i < count; i++)
        if (behind[i].timestamp_ms >= 0)
            age_ms = i64_max(age_ms, i64_max(now_ms - behind[i].timestamp_ms, 0));
    return age_ms;
}

static void measure(struct admin *a, struct arena *arena, const struct group *g,
                    const struct log_partition *ends, int32_t end_count, struct group_lag *out)
{
    struct log_partition *behind = tool_alloc(arena, (size_t)g->commit_count, sizeof *behind);
    int32_t n = 0;

    *out = (struct group_lag){.name = g->name,
                              .kind = g->kind,
                              .state = g->state,
                              .member_count = g->member_count,
                              .partition_count = g->commit_count};
    for (int32_t i = 0; i < g->commit_count; i++) {
        const struct group_commit *c = &g->commits[i];
        const struct log_partition *end =
            log_partition_find(ends, end_count, c->topic, c->partition);
        int64_t lag;

        if (end == NULL || end->error != KE_NONE) {
            if (end != NULL && end->error == KE_UNKNOWN_TOPIC_OR_PARTITION)
                continue; /* deleted: nothing is left to be read */
            out->records = -1;
            break;
        }
        lag = i64_max(end->offset - c->offset, 0);
        out->records += lag;
        if (lag == 0)
            continue;
        behind[n] = *end;
        behind[n].offset = c->offset;
        behind[n++].timestamp_ms = lag;
        if (lag > out->worst_records) {
            char name[300];
            int len = snprintf(name, sizeof name, "%s-%d", c->topic, c->partition);

            out->worst_records = lag;
            out->worst = arena_strdup(arena, name, (size_t)i32_min(len, (int)sizeof name - 1));
        }
    }
    out->age_ms = out->records == 0 ? 0 : a != NULL && n > 0 ? oldest_age(a, behind, n) : -1;
}

void group_lags_read(struct admin *a, struct coord *zk, struct arena *arena, int64_t deadline_ms,
                     struct group_lags *out)
{
    struct group *groups = tool_alloc(arena, (size_t)GROUP_LAG_MAX * 2, sizeof *groups);
    struct log_partition *ends;
    int32_t count = 0, end_count;

    *out = (struct group_lags){0};
    if (a != NULL)
        read_of_brokers(a, deadline_ms, arena, groups, &count, out);
    if (zk != NULL)
        read_of_zk(zk, arena, groups, &count, out);
    ends = read_ends(a, arena, groups, count, &end_count, out);
    out->items = tool_alloc(arena, (size_t)count, sizeof *out->items);
    for (int32_t i = 0; i < count; i++) {
        if (groups[i].error != KE_NONE) {
            struct errtext why = {{0}};

            errtext_set(&why, "group '%s': %s", groups[i].name,
                        groups[i].why != NULL ? groups[i].why : kerr_text(groups[i].error));
            note_unknown(out, arena, &why);
            continue;
        }
        if (group_exists(&groups[i])) /* else it went meanwhile */
            measure(a, arena, &groups[i], ends, end_count, &out->items[out->count++]);
    }
}
