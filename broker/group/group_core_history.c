/* SPDX-License-Identifier: Apache-2.0 */
/* What each rebalance was for: one entry from the first reason until the group is Stable or Empty
 * again, however many generations that takes. */
#include "broker/group/group_core_internal.h"

#include <stdarg.h>
#include <stdio.h>

struct str coord_said(struct str s)
{
    if (s.len < 0)
        return STR_LIT("");
    return (struct str){coord_key(s), i32_min(s.len, COORD_REASON_BYTES_MAX)};
}

static struct coord_rebalance *begin(struct group_core *c, struct coord_group *g)
{
    struct coord_rebalance *r = xcalloc(1, sizeof *r);

    r->r.group = g->id;
    r->r.began_wall_ms = c->wall_ms;
    r->r.ended_wall_ms = -1;
    r->r.generation = -1;
    r->r.members_before = g->settled_members;
    r->r.members_after = -1;
    TAILQ_INSERT_TAIL(&g->history, r, link);
    g->history_count++;
    g->rebalance = r;
    coord_history_trim(c, g);
    return r;
}

/* Only the first is written out: a thousand members that join at once are one text and a number. */
void coord_reason(struct group_core *c, struct coord_group *g, const char *fmt, ...)
{
    char text[4 * COORD_REASON_BYTES_MAX];
    struct coord_rebalance *r = g->rebalance;
    va_list ap;
    int n;

    if (r != NULL) {
        r->r.further += r->r.further < INT32_MAX;
        return;
    }
    va_start(ap, fmt);
    n = vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    ASSERT(n >= 0);
    r = begin(c, g);
    r->r.reason = coord_str_copy((struct str){text, (int32_t)size_min((size_t)n, sizeof text - 1)});
    coord_effect(c, GFX_REBALANCE)->rebalance = r->r;
}

void coord_history_end(struct group_core *c, struct coord_group *g)
{
    struct coord_rebalance *r = g->rebalance;

    ASSERT(r != NULL);
    r->r.ended_wall_ms = c->wall_ms;
    r->r.generation = g->generation;
    r->r.members_after = g->member_count;
    coord_effect(c, GFX_REBALANCE)->rebalance = r->r;
    g->rebalance = NULL;
    g->settled_members = g->member_count;
    c->numbers.rebalances++;
    coord_history_trim(c, g);
}

static void drop(struct group_core *c, struct coord_group *g, struct coord_rebalance *r)
{
    TAILQ_REMOVE(&g->history, r, link);
    g->history_count--;
    coord_str_retire(c, &r->r.reason);
    coord_retire(c, r);
}

/* The one under way is the newest and stays. */
void coord_history_trim(struct group_core *c, struct coord_group *g)
{
    while (g->history_count > i32_max(c->limits.history_max, g->rebalance != NULL))
        drop(c, g, TAILQ_FIRST(&g->history));
}

void coord_history_clear(struct group_core *c, struct coord_group *g)
{
    struct coord_rebalance *r;

    g->rebalance = NULL;
    while ((r = TAILQ_FIRST(&g->history)) != NULL)
        drop(c, g, r);
}
