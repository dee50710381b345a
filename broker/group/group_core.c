/* SPDX-License-Identifier: Apache-2.0 */
/* The core's frame: memory, effects, timers, the table of groups, and which event goes where. */
#include "broker/group/group_core_internal.h"

/* ---- memory */

void coord_retire(struct group_core *c, void *p)
{
    if (p == NULL)
        return;
    if (c->retired_count == c->retired_cap) {
        c->retired_cap = size_max(c->retired_cap * 2, 64);
        c->retired = xrealloc(c->retired, c->retired_cap * sizeof *c->retired);
    }
    c->retired[c->retired_count++] = p;
}

static void free_retired(struct group_core *c)
{
    for (size_t i = 0; i < c->retired_count; i++)
        mem_free(c->retired[i]);
    c->retired_count = 0;
}

/* What is empty owns nothing. */
static const char no_bytes[1];

struct str coord_str_copy(struct str s)
{
    char *p;

    if (s.len <= 0)
        return (struct str){s.len < 0 ? NULL : no_bytes, s.len < 0 ? -1 : 0};
    p = xmalloc((size_t)s.len);
    memcpy(p, s.p, (size_t)s.len);
    return (struct str){p, s.len};
}

void coord_str_retire(struct group_core *c, struct str *s)
{
    if (s->len > 0)
        coord_retire(c, (void *)(uintptr_t)s->p);
    *s = STR_NULL;
}

struct bytes coord_bytes_copy(struct bytes b)
{
    uint8_t *p;

    if (b.len <= 0)
        return (struct bytes){(const uint8_t *)no_bytes, 0};
    p = xmalloc((size_t)b.len);
    memcpy(p, b.p, (size_t)b.len);
    return (struct bytes){p, b.len};
}

void coord_bytes_retire(struct group_core *c, struct bytes *b)
{
    if (b->len > 0)
        coord_retire(c, (void *)(uintptr_t)b->p);
    *b = (struct bytes){(const uint8_t *)no_bytes, 0};
}

void *coord_alloc(struct group_core *c, size_t n)
{
    void *p = arena_alloc(&c->arena, n);
    ASSERT(p != NULL); /* the arena has no limit */
    return p;
}

struct str coord_str_lend(struct group_core *c, struct str s)
{
    char *p;

    if (s.len <= 0)
        return (struct str){s.len < 0 ? NULL : no_bytes, s.len < 0 ? -1 : 0};
    p = coord_alloc(c, (size_t)s.len);
    memcpy(p, s.p, (size_t)s.len);
    return (struct str){p, s.len};
}

struct bytes coord_scratch_take(struct group_core *c)
{
    uint8_t *p = coord_alloc(c, size_max(c->scratch.len, 1));
    int64_t len = (int64_t)c->scratch.len;

    if (len > 0)
        memcpy(p, c->scratch.p, (size_t)len);
    c->scratch.len = 0;
    return (struct bytes){p, len};
}

/* ---- effects */

struct group_effect *coord_effect(struct group_core *c, enum group_effect_kind kind)
{
    struct group_effect *e;

    ASSERT(c->fx_count < INT32_MAX / 2);
    if (c->fx_count == c->fx_cap) {
        c->fx_cap = i32_max(c->fx_cap * 2, 16);
        c->fx = xrealloc(c->fx, (size_t)c->fx_cap * sizeof *c->fx);
    }
    e = &c->fx[c->fx_count++];
    memset(e, 0, sizeof *e);
    e->kind = kind;
    return e;
}

void coord_reply(struct group_core *c, enum group_reply_kind kind, uint64_t call, int16_t error)
{
    struct group_reply *r = &coord_effect(c, GFX_REPLY)->reply;

    r->kind = kind;
    r->call = call;
    r->error = error;
    if (kind == GROUP_REPLY_SYNC) {
        r->sync.protocol_type = STR_NULL;
        r->sync.protocol = STR_NULL;
        r->sync.assignment = (struct bytes){(const uint8_t *)no_bytes, 0};
    }
}

void coord_reply_items(struct group_core *c, enum group_reply_kind kind, uint64_t call,
                       const int16_t *errors, int32_t count)
{
    int16_t *copy = coord_alloc(c, (size_t)i32_max(count, 1) * sizeof *copy);
    struct group_reply *r;

    if (count > 0)
        memcpy(copy, errors, (size_t)count * sizeof *copy);
    r = &coord_effect(c, GFX_REPLY)->reply;
    r->kind = kind;
    r->call = call;
    r->items.errors = copy;
    r->items.count = count;
}

/* ---- timers */

void coord_timer_arm(struct group_core *c, struct coord_timer *t, int64_t delay_ms)
{
    int64_t deadline_ms = c->now_ms + i64_max(delay_ms, 0);

    twheel_cancel(&c->wheel, &t->t);
    twheel_arm(&c->wheel, &t->t, deadline_ms);
    if (c->deadline_ms < 0 || deadline_ms < c->deadline_ms)
        c->deadline_ms = deadline_ms;
}

void coord_timer_cancel(struct group_core *c, struct coord_timer *t)
{
    twheel_cancel(&c->wheel, &t->t);
}

static void expire(struct group_core *c, struct coord_timer *t)
{
    if (c->grace_ms > 0 && t->kind != COORD_TIMER_SWEEP) {
        coord_timer_arm(c, t, c->grace_ms);
        return;
    }
    switch (t->kind) {
    case COORD_TIMER_SESSION:
        coord_session_expired(c, CONTAINER_OF(t, struct coord_member, session));
        break;
    case COORD_TIMER_PENDING: {
        struct coord_pending *p = CONTAINER_OF(t, struct coord_pending, timer);
        struct coord_group *g = p->group;
        coord_pending_remove(c, p);
        coord_after_removal(c, g);
        break;
    }
    case COORD_TIMER_JOIN:
        coord_join_expired(c, CONTAINER_OF(t, struct coord_group, join_timer));
        break;
    case COORD_TIMER_SYNC:
        coord_sync_expired(c, CONTAINER_OF(t, struct coord_group, sync_timer));
        break;
    case COORD_TIMER_SWEEP:
        coord_sweep_on(c);
        break;
    }
}

/* A broker that was stopped for a while finds all sessions over, while the heartbeats of its
 * clients wait in the sockets. It must not throw everybody out before it has read them: what is due
 * gets as much time again as was lost; once a minute, so that a loop that always lags ends sessions
 * too. */
static void on_tick(struct group_core *c)
{
    struct twheel_timer *t;
    int64_t late_ms = c->deadline_ms < 0 ? 0 : c->now_ms - c->deadline_ms;

    c->grace_ms = 0;
    if (late_ms >= COORD_STALL_MS && c->now_ms >= c->next_grace_ms) {
        c->grace_ms = i64_min(late_ms, COORD_GRACE_MAX_MS);
        c->next_grace_ms = c->now_ms + COORD_GRACE_EVERY_MS;
    }
    twheel_advance(&c->wheel, c->now_ms);
    while ((t = twheel_pop(&c->wheel)) != NULL)
        expire(c, CONTAINER_OF(t, struct coord_timer, t));
    c->deadline_ms = twheel_next_ms(&c->wheel);
}

/* ---- groups */

struct coord_group *coord_find(const struct group_core *c, struct str id)
{
    struct coord_group *g = NULL;

    HASH_FIND(hh, c->groups, coord_key(id), coord_key_len(id), g);
    return g;
}

struct coord_group *coord_find_or_add(struct group_core *c, struct str id)
{
    struct coord_group *g = coord_find(c, id);

    if (g != NULL)
        return g;
    g = xcalloc(1, sizeof *g);
    g->id = coord_str_copy(id);
    g->state = GROUP_EMPTY;
    g->state_wall_ms = c->wall_ms;
    g->protocol_type = STR_NULL;
    g->protocol = STR_NULL;
    TAILQ_INIT(&g->members);
    TAILQ_INIT(&g->history);
    g->join_timer.kind = COORD_TIMER_JOIN;
    g->sync_timer.kind = COORD_TIMER_SYNC;
    HASH_ADD_KEYPTR(hh, c->groups, coord_key(g->id), coord_key_len(g->id), g);
    return g;
}

const char *group_state_name(enum group_state s)
{
    static const char *const names[] = {"Empty", "PreparingRebalance", "CompletingRebalance",
                                        "Stable", "Dead"};
    ASSERT(s <= GROUP_DEAD);
    return names[s];
}

/* From where a state may be entered: docs/reference/group-coordinator.md, "Group states". */
void coord_set_state(struct group_core *c, struct coord_group *g, enum group_state to)
{
    static const unsigned from[] = {
        [GROUP_EMPTY] = 1u << GROUP_PREPARING_REBALANCE,
        [GROUP_PREPARING_REBALANCE] =
            1u << GROUP_STABLE | 1u << GROUP_COMPLETING_REBALANCE | 1u << GROUP_EMPTY,
        [GROUP_COMPLETING_REBALANCE] = 1u << GROUP_PREPARING_REBALANCE,
        [GROUP_STABLE] = 1u << GROUP_COMPLETING_REBALANCE,
        [GROUP_DEAD] = 1u << GROUP_EMPTY,
    };

    ASSERT((from[to] >> g->state & 1) != 0);
    g->state = to;
    g->state_wall_ms = c->wall_ms;
}

void coord_ref(struct coord_group *g)
{
    g->refs++;
}

void coord_group_free(struct group_core *c, struct coord_group *g)
{
    struct coord_member *m;

    while (g->pending != NULL)
        coord_pending_remove(c, g->pending);
    while ((m = TAILQ_FIRST(&g->members)) != NULL)
        coord_member_remove(c, m, KE_NONE);
    coord_timer_cancel(c, &g->join_timer);
    coord_timer_cancel(c, &g->sync_timer);
    coord_topics_free(c, g);
    coord_history_clear(c, g);
    coord_str_retire(c, &g->protocol_type);
    coord_str_retire(c, &g->protocol);
    coord_str_retire(c, &g->id);
    coord_retire(c, g);
}

void coord_unref(struct group_core *c, struct coord_group *g)
{
    ASSERT(g->refs > 0);
    g->refs--;
    if (g->refs == 0 && g->state == GROUP_DEAD)
        coord_group_free(c, g);
}

void coord_bury(struct group_core *c, struct coord_group *g)
{
    ASSERT(g->state == GROUP_EMPTY && g->member_count == 0);
    coord_set_state(c, g, GROUP_DEAD);
    if (c->sweep == g)
        c->sweep = g->hh.next;
    if (c->sweep == NULL)
        coord_timer_cancel(c, &c->sweep_timer);
    HASH_DELETE(hh, c->groups, g);
    while (g->pending != NULL)
        coord_pending_remove(c, g->pending);
    if (g->refs == 0)
        coord_group_free(c, g);
}

void coord_drop_if_useless(struct group_core *c, struct coord_group *g)
{
    if (g->state == GROUP_EMPTY && !g->has_record && g->entry_count == 0 && g->pending_count == 0 &&
        c->phase == COORD_ACTIVE)
        coord_bury(c, g);
}

/* ---- first check, dispatch */

int16_t coord_first_check(const struct group_core *c, struct str group, bool may_be_empty)
{
    if (group.len < 0 || (group.len == 0 && !may_be_empty))
        return KE_INVALID_GROUP_ID;
    if (c->phase == COORD_LOADING)
        return KE_COORDINATOR_LOAD_IN_PROGRESS;
    return c->phase == COORD_UNLOADED ? KE_NOT_COORDINATOR : KE_NONE;
}

static void dispatch_load(struct group_core *c, const struct group_event *ev)
{
    ASSERT(c->phase == COORD_LOADING || (c->phase == COORD_ACTIVE && ev->kind == GEV_LOAD_MARKER));
    if (ev->kind == GEV_LOAD_OFFSET)
        coord_on_load_offset(c, ev);
    else if (ev->kind == GEV_LOAD_GROUP)
        coord_on_load_group(c, ev);
    else if (ev->kind == GEV_LOAD_MARKER)
        coord_on_load_marker(c, ev);
    else
        coord_on_loaded(c);
}

/* What is not a call; nothing of it matters unless the core is active. */
static void dispatch_other(struct group_core *c, const struct group_event *ev)
{
    if (c->phase != COORD_ACTIVE)
        return;
    if (ev->kind == GEV_TOPICS_DELETED)
        coord_on_topics_deleted(c, ev);
    else if (ev->kind == GEV_APPENDED)
        coord_on_appended(c, ev);
    else if (ev->kind == GEV_EXPIRE)
        coord_on_expire(c);
    else
        on_tick(c);
}

static void dispatch(struct group_core *c, const struct group_event *ev)
{
    switch (ev->kind) {
    case GEV_LOAD_OFFSET:
    case GEV_LOAD_GROUP:
    case GEV_LOAD_MARKER:
    case GEV_LOADED:
        dispatch_load(c, ev);
        break;
    case GEV_UNLOAD:
        coord_on_unload(c);
        break;
    case GEV_JOIN:
        coord_on_join(c, ev);
        break;
    case GEV_SYNC:
        coord_on_sync(c, ev);
        break;
    case GEV_HEARTBEAT:
        coord_on_heartbeat(c, ev);
        break;
    case GEV_LEAVE:
        coord_on_leave(c, ev);
        break;
    case GEV_COMMIT:
        coord_on_commit(c, ev);
        break;
    case GEV_OFFSET_DELETE:
        coord_on_offset_delete(c, ev);
        break;
    case GEV_DELETE_GROUP:
        coord_on_delete_group(c, ev);
        break;
    case GEV_TOPICS_DELETED:
    case GEV_APPENDED:
    case GEV_EXPIRE:
    case GEV_TICK:
        dispatch_other(c, ev);
        break;
    }
}

void group_core_step(struct group_core *c, const struct group_event *ev,
                     struct group_effects *fx_out)
{
    free_retired(c);
    arena_reset(&c->arena);
    c->fx_count = 0;
    c->now_ms = i64_max(c->now_ms, ev->now_ms);
    c->wall_ms = ev->wall_ms;
    dispatch(c, ev);
    fx_out->v = c->fx;
    fx_out->count = c->fx_count;
}

int64_t group_core_deadline_ms(const struct group_core *c)
{
    return c->deadline_ms;
}

/* ---- life */

struct group_core *group_core_new(const struct group_limits *limits, int64_t now_ms)
{
    struct group_core *c = xcalloc(1, sizeof *c);

    c->limits = *limits;
    c->now_ms = now_ms;
    c->deadline_ms = -1;
    c->next_append_id = 1;
    c->sweep_timer.kind = COORD_TIMER_SWEEP;
    twheel_init(&c->wheel, now_ms);
    return c;
}

void group_core_free(struct group_core **c)
{
    struct group_core *core = *c;

    if (core == NULL)
        return;
    coord_clear(core);
    free_retired(core);
    mem_free(core->retired);
    mem_free(core->fx);
    arena_fini(&core->arena);
    buf_fini(&core->scratch);
    FREE_NULL(c);
}

void group_core_set_limits(struct group_core *c, const struct group_limits *limits)
{
    c->limits = *limits;
}
