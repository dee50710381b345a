/* SPDX-License-Identifier: Apache-2.0 */
/* The member: session, registration, lease, rounds, rebalances, leaving.
 *
 * A change of anything that is watched begins a round, which reads everything anew; a round that is
 * overtaken by a further change is read again (a few times) before it is acted upon. Then each
 * partition goes its own way (zkc_core_part.c). Nothing here waits for all partitions: one that
 * somebody else still holds does not keep the others from being read. */
#include "tools/zkconsumer/zkc_core_internal.h"

#include <stdio.h>

/* ---- effects */

void zkc_effects_reset(struct zkc_effects *effects)
{
    effects->count = 0;
    arena_reset(&effects->arena);
}

void zkc_effects_fini(struct zkc_effects *effects)
{
    mem_free(effects->v);
    arena_fini(&effects->arena);
    *effects = (struct zkc_effects){0};
}

/* Valid until the next one is added. */
struct zkc_effect *zkc_effect_add(struct zkc_effects *effects, enum zkc_effect_kind kind)
{
    if (effects->count == effects->cap) {
        effects->cap = effects->cap * 2 + 16;
        effects->v = xrealloc(effects->v, (size_t)effects->cap * sizeof *effects->v);
    }
    effects->v[effects->count] = (struct zkc_effect){.kind = kind, .partition = -1, .offset = -1};
    return &effects->v[effects->count++];
}

struct zkc_effect *zkc_trace(struct zkc_effects *effects, enum zkc_trace_kind kind,
                             const char *text)
{
    struct zkc_effect *e = zkc_effect_add(effects, ZKC_EFFECT_TRACE);

    e->trace = kind;
    e->text =
        arena_strdup(&effects->arena, text == NULL ? "" : text, text == NULL ? 0 : strlen(text));
    return e;
}

uint32_t zkc_seq(struct zkc_core *c)
{
    if (++c->next_seq == 0)
        c->next_seq = 1;
    return c->next_seq;
}

/* ---- life */

void zkc_core_init(struct zkc_core *c, const struct zkc_options *o, int64_t now_ms)
{
    *c = (struct zkc_core){.o = o,
                           .lease_ms = INT64_MIN,
                           .heartbeat_ms = ZKC_NEVER_MS,
                           .register_ms = ZKC_NEVER_MS,
                           .round_ms = ZKC_NEVER_MS,
                           .leave_ms = ZKC_NEVER_MS,
                           .is_settled = true};
    c->commit_ms = o->auto_commit ? now_ms + o->auto_commit_interval_ms : ZKC_NEVER_MS;
}

void zkc_core_fini(struct zkc_core *c)
{
    for (int32_t i = 0; i < c->part_count; i++)
        mem_free(c->parts[i].topic);
    mem_free(c->parts);
    zkc_snapshot_fini(&c->now);
    zkc_snapshot_fini(&c->next);
    *c = (struct zkc_core){0};
}

int64_t zkc_core_lease_ms(const struct zkc_core *c)
{
    return c->lease_ms;
}

const struct zkc_rebalance *zkc_core_history(const struct zkc_core *c, int32_t i)
{
    if (i < 0 || i >= c->rebalance_count || i >= ZKC_HISTORY_MAX)
        return NULL;
    return &c->history[(c->rebalance_count - 1 - i) % ZKC_HISTORY_MAX];
}

/* ---- session and registration */

static void forget_round(struct zkc_core *c)
{
    zkc_snapshot_fini(&c->next);
    c->is_reading = c->is_dirty = false;
    c->round = 0;
    c->round_ms = ZKC_NEVER_MS;
    c->restarts = 0;
}

static void register_now(struct zkc_core *c, struct zkc_effects *effects)
{
    c->register_ms = ZKC_NEVER_MS;
    (void)zkc_effect_add(effects, ZKC_EFFECT_REGISTER);
}

void zkc_registration_lost(struct zkc_core *c, struct zkc_effects *effects)
{
    if (c->state != ZKC_JOINED)
        return;
    (void)zkc_trace(effects, ZKC_TRACE_REGISTRATION_LOST, NULL);
    forget_round(c);
    c->state = ZKC_REGISTERING;
    c->round_reason = "our registration was deleted and written again";
    register_now(c, effects);
}

static void session_began(struct zkc_core *c, const struct zkc_event *ev,
                          struct zkc_effects *effects)
{
    if (c->state != ZKC_OFFLINE)
        return;
    ASSERT(ev->session.timeout_ms > 0);
    c->session_timeout_ms = ev->session.timeout_ms;
    c->state = ZKC_REGISTERING;
    register_now(c, effects);
}

static void session_expired(struct zkc_core *c, struct zkc_effects *effects)
{
    if (c->state == ZKC_OFFLINE || c->state == ZKC_CLOSED)
        return;
    zkc_trace(effects, ZKC_TRACE_EXPIRED, NULL)->a = c->part_count;
    zkc_parts_drop(c, effects);
    forget_round(c);
    zkc_snapshot_fini(&c->now);
    c->has_snapshot = false;
    c->lease_ms = INT64_MIN;
    c->heartbeat_ms = c->register_ms = ZKC_NEVER_MS;
    c->round_reason = "our session had expired";
    if (c->state != ZKC_LEAVING)
        c->state = ZKC_OFFLINE;
}

/* The server answered a call that was made at sent_ms. */
static void renew_lease(struct zkc_core *c, int64_t sent_ms)
{
    c->lease_ms = i64_max(c->lease_ms, sent_ms + c->session_timeout_ms * 2 / 3);
}

static void registered(struct zkc_core *c, const struct zkc_event *ev, struct zkc_effects *effects)
{
    if (c->state != ZKC_REGISTERING)
        return;
    if (ev->result != ZKC_OK) {
        if (ev->result == ZKC_EXISTS)
            (void)zkc_trace(effects, ZKC_TRACE_ID_TAKEN, NULL);
        c->register_ms = ev->now_ms + (ev->result == ZKC_EXISTS ? c->o->backoff_ms : ZKC_RETRY_MS);
        return;
    }
    (void)zkc_trace(effects, ZKC_TRACE_REGISTERED, NULL);
    c->state = ZKC_JOINED;
    renew_lease(c, ev->alive.sent_ms);
    c->heartbeat_ms = i64_min(c->heartbeat_ms, ev->now_ms);
    zkc_round_begin(c, c->round_reason == NULL ? "joined the group" : NULL, ev->now_ms, effects);
}

static void heard(struct zkc_core *c, const struct zkc_event *ev, struct zkc_effects *effects)
{
    if (c->state == ZKC_OFFLINE || c->state == ZKC_CLOSED)
        return;
    if (ev->result == ZKC_OK) {
        renew_lease(c, ev->alive.sent_ms);
        c->heartbeat_ms = i64_max(ev->alive.sent_ms + c->session_timeout_ms / 6, ev->now_ms);
        return;
    }
    c->heartbeat_ms = ev->now_ms + ZKC_RETRY_MS;
    if (ev->result == ZKC_NOT_FOUND || ev->result == ZKC_EXISTS)
        zkc_registration_lost(c, effects);
}

/* ---- rebalance */

static bool same_names(const char **a, int32_t a_count, const char **b, int32_t b_count)
{
    if (a_count != b_count)
        return false;
    for (int32_t i = 0; i < a_count; i++)
        if (strcmp(a[i], b[i]) != 0)
            return false;
    return true;
}

static struct zkc_rebalance *add_history(struct zkc_core *c, int64_t now_ms, const char *reason)
{
    struct zkc_rebalance *r = &c->history[c->rebalance_count % ZKC_HISTORY_MAX];

    c->rebalance_count++;
    *r = (struct zkc_rebalance){.began_ms = now_ms, .took_ms = -1};
    (void)snprintf(r->reason, sizeof r->reason, "%s", reason);
    return r;
}

/* Acts on the snapshot. reason NULL: nothing is different from the last one. */
static void rebalance(struct zkc_core *c, int64_t now_ms, const char *reason,
                      struct zkc_effects *effects)
{
    int32_t kept = 0, lost = 0, gained = 0;

    zkc_round_assign(c, effects);
    for (int32_t i = 0; i < c->part_count; i++) {
        const struct zkc_part *p = &c->parts[i];
        kept += p->wanted >= 0 && p->wanted == p->previous;
        lost += p->previous >= 0 && p->wanted != p->previous;
        gained += p->wanted >= 0 && p->wanted != p->previous;
    }
    if (reason != NULL || lost + gained > 0) {
        const char *text = reason != NULL ? reason : c->round_reason;
        struct zkc_rebalance *r = add_history(c, now_ms, text == NULL ? "" : text);
        struct zkc_effect *t = zkc_trace(effects, ZKC_TRACE_REBALANCE, r->reason);

        r->members = c->now.member_count;
        r->kept = kept;
        r->released = lost;
        r->claimed = gained;
        t->a = kept;
        t->b = lost;
        t->c = gained;
        c->is_settled = false;
    }
    zkc_parts_drive(c, effects);
}

static bool has_own_member(const struct zkc_core *c, const struct zkc_snapshot *s)
{
    for (int32_t i = 0; i < s->member_count; i++)
        if (strcmp(s->members[i].id, c->o->member_id) == 0)
            return true;
    return false;
}

static void round_ended(struct zkc_core *c, int64_t now_ms, struct zkc_effects *effects)
{
    bool is_first = !c->has_snapshot, has_brokers_changed;
    char reason[ZKC_REASON_MAX];

    c->is_reading = false;
    if (c->has_failed) {
        c->round_ms = i64_min(c->round_ms, now_ms + c->o->backoff_ms);
        return;
    }
    if (c->is_dirty && c->restarts < ZKC_RESTARTS_MAX) {
        c->restarts++;
        zkc_round_begin(c, NULL, now_ms, effects);
        return;
    }
    c->restarts = 0;
    if (!has_own_member(c, &c->next)) {
        zkc_registration_lost(c, effects);
        return;
    }
    reason[0] = 0;
    if (!is_first)
        zkc_difference(&c->now, &c->next, reason, sizeof reason, "");
    else if (c->round_reason != NULL)
        (void)snprintf(reason, sizeof reason, "%s", c->round_reason);
    has_brokers_changed = is_first || !same_names(c->now.brokers, c->now.broker_count,
                                                  c->next.brokers, c->next.broker_count);
    zkc_snapshot_fini(&c->now);
    c->now = c->next;
    c->next = (struct zkc_snapshot){0};
    c->has_snapshot = true;
    if (has_brokers_changed)
        (void)zkc_effect_add(effects, ZKC_EFFECT_BROKERS);
    if (c->now.broker_count > 0) {
        rebalance(c, now_ms, reason[0] == 0 ? NULL : reason, effects);
        c->round_reason = "a watch fired";
    } else if (has_brokers_changed) {
        (void)zkc_trace(effects, ZKC_TRACE_NO_BROKERS, NULL); /* what we have we keep */
    }
    if (c->is_dirty)
        zkc_round_begin(c, NULL, now_ms, effects);
}

static bool is_round_complete(const struct zkc_core *c)
{
    return c->is_reading && c->next.pending == 0 && (c->has_failed || c->next.has_asked_topics);
}

static void changed(struct zkc_core *c, int64_t now_ms, struct zkc_effects *effects)
{
    if (c->state != ZKC_JOINED)
        return;
    if (c->is_reading)
        c->is_dirty = true;
    else
        zkc_round_begin(c, "a watch fired", now_ms, effects);
}

static int32_t blocked_count(const struct zkc_core *c)
{
    int32_t n = 0;

    for (int32_t i = 0; i < c->part_count; i++)
        n += c->parts[i].state == ZKC_PART_BLOCKED;
    return n;
}

/* Is every partition where it shall be? */
static void look_whether_settled(struct zkc_core *c, int64_t now_ms, struct zkc_effects *effects)
{
    struct zkc_rebalance *r;
    struct zkc_effect *t;

    if (c->state != ZKC_JOINED || !c->has_snapshot || c->is_settled || c->rebalance_count == 0)
        return;
    for (int32_t i = 0; i < c->part_count; i++)
        if (c->parts[i].state != ZKC_PART_FETCHING || c->parts[i].wanted != c->parts[i].stream)
            return;
    c->is_settled = true;
    c->blocked_rounds = 0;
    c->has_told_blocked = false;
    r = &c->history[(c->rebalance_count - 1) % ZKC_HISTORY_MAX];
    if (r->took_ms >= 0)
        return;
    r->took_ms = now_ms - r->began_ms;
    t = zkc_trace(effects, ZKC_TRACE_REBALANCED, r->reason);
    t->a = c->part_count;
    t->b = c->now.member_count;
    t->c = r->took_ms;
}

/* ---- commits and leaving */

static void commit_asked(struct zkc_core *c, uint32_t request, struct zkc_effects *effects)
{
    struct zkc_effect *e;

    ASSERT(c->request == 0); /* the driver asks one after the other */
    c->request = request;
    c->request_left = 0;
    c->request_failed = c->lost_commits;
    c->lost_commits = 0;
    zkc_parts_commit(c, true, effects);
    if (c->request_left > 0)
        return;
    c->request = 0;
    e = zkc_effect_add(effects, ZKC_EFFECT_COMMIT_DONE);
    e->seq = request;
    e->offset = c->request_failed;
}

static void leave(struct zkc_core *c, int64_t now_ms, struct zkc_effects *effects)
{
    if (c->state == ZKC_LEAVING || c->state == ZKC_CLOSED)
        return;
    forget_round(c);
    c->state = ZKC_LEAVING;
    c->leave_ms = now_ms + c->o->leave_max_ms;
    c->register_ms = ZKC_NEVER_MS;
    zkc_parts_leave(c, effects);
}

static void close_if_left(struct zkc_core *c, int64_t now_ms, struct zkc_effects *effects)
{
    if (c->state != ZKC_LEAVING)
        return;
    if (now_ms >= c->leave_ms)
        zkc_parts_drop(c, effects);
    if (c->part_count > 0)
        return;
    c->state = ZKC_CLOSED;
    c->lease_ms = INT64_MIN;
    c->heartbeat_ms = c->commit_ms = c->leave_ms = ZKC_NEVER_MS;
    (void)zkc_trace(effects, ZKC_TRACE_LEFT, NULL);
    (void)zkc_effect_add(effects, ZKC_EFFECT_CLOSE);
}

/* ---- time */

static void tick(struct zkc_core *c, int64_t now_ms, struct zkc_effects *effects)
{
    if (c->heartbeat_ms <= now_ms) {
        c->heartbeat_ms = ZKC_NEVER_MS;
        (void)zkc_effect_add(effects, ZKC_EFFECT_HEARTBEAT);
    }
    if (c->register_ms <= now_ms)
        register_now(c, effects);
    if (c->round_ms <= now_ms && c->state == ZKC_JOINED && !c->is_reading) {
        bool is_blocked = blocked_count(c) > 0;

        c->blocked_rounds += is_blocked && c->blocked_rounds < INT32_MAX;
        zkc_round_begin(c, is_blocked ? "another try at what others still own" : "periodic check",
                        now_ms, effects);
    }
    if (c->commit_ms <= now_ms) {
        c->commit_ms = now_ms + c->o->auto_commit_interval_ms;
        zkc_parts_commit(c, false, effects);
    }
    zkc_parts_tick(c, now_ms, effects);
}

int64_t zkc_core_deadline_ms(const struct zkc_core *c)
{
    int64_t deadline = i64_min(c->heartbeat_ms, c->register_ms);

    if (!c->is_reading && c->state == ZKC_JOINED)
        deadline = i64_min(deadline, c->round_ms);
    deadline = i64_min(deadline, i64_min(c->commit_ms, c->leave_ms));
    return i64_min(deadline, zkc_parts_deadline_ms(c));
}

void zkc_core_step(struct zkc_core *c, const struct zkc_event *ev, struct zkc_effects *effects)
{
    switch (ev->kind) {
    case ZKC_EV_SESSION:
        session_began(c, ev, effects);
        break;
    case ZKC_EV_EXPIRED:
        session_expired(c, effects);
        break;
    case ZKC_EV_REGISTERED:
        registered(c, ev, effects);
        break;
    case ZKC_EV_HEARTBEAT:
        heard(c, ev, effects);
        break;
    case ZKC_EV_READ:
        zkc_round_read(c, ev, effects);
        break;
    case ZKC_EV_CHANGED:
        changed(c, ev->now_ms, effects);
        break;
    case ZKC_EV_CLAIMED:
    case ZKC_EV_OWNER_GONE:
    case ZKC_EV_OFFSET:
    case ZKC_EV_RESOLVED:
    case ZKC_EV_OUT_OF_RANGE:
    case ZKC_EV_STOPPED:
    case ZKC_EV_COMMITTED:
    case ZKC_EV_RELEASED:
        zkc_parts_event(c, ev, effects);
        break;
    case ZKC_EV_COMMIT:
        commit_asked(c, ev->commit.request, effects);
        break;
    case ZKC_EV_STOP:
        leave(c, ev->now_ms, effects);
        break;
    case ZKC_EV_TICK:
        tick(c, ev->now_ms, effects);
        break;
    }
    if (is_round_complete(c))
        round_ended(c, ev->now_ms, effects);
    look_whether_settled(c, ev->now_ms, effects);
    close_if_left(c, ev->now_ms, effects);
}

/* ---- invariants */

static void check_part(const struct zkc_core *c, const struct zkc_part *p)
{
    bool is_under_way = p->seq != 0 || p->retry_ms != ZKC_NEVER_MS;

    ASSERT(p->wanted >= -1);
    switch (p->state) {
    case ZKC_PART_FREE:
        ASSERT(!p->is_started && (is_under_way || c->state == ZKC_REGISTERING || c->is_reading ||
                                  c->round_ms != ZKC_NEVER_MS));
        break;
    case ZKC_PART_BLOCKED:
        ASSERT(!p->is_started);
        break;
    case ZKC_PART_CLAIMING:
    case ZKC_PART_LOADING:
    case ZKC_PART_RELEASING:
        ASSERT(is_under_way && !p->is_started);
        break;
    case ZKC_PART_RESOLVING:
        ASSERT(is_under_way);
        break;
    case ZKC_PART_FETCHING:
    case ZKC_PART_STOPPING:
        ASSERT(p->is_started && p->seq != 0);
        break;
    case ZKC_PART_COMMITTING:
        ASSERT(!p->is_started && (p->commit_seq != 0 || p->commit_retry_ms != ZKC_NEVER_MS));
        break;
    }
}

void zkc_core_check(const struct zkc_core *c)
{
    int32_t in_request = 0;

    for (int32_t i = 0; i < c->part_count; i++) {
        const struct zkc_part *p = &c->parts[i];

        check_part(c, p);
        in_request += p->in_request;
        if (i > 0) {
            int order = strcmp(p[-1].topic, p->topic);
            ASSERT(order < 0 || (order == 0 && p[-1].partition < p->partition));
        }
    }
    ASSERT(in_request == c->request_left);
    ASSERT((c->request != 0) == (c->request_left > 0));
    ASSERT(c->part_count == 0 || (c->state != ZKC_OFFLINE && c->state != ZKC_CLOSED));
    ASSERT(!c->is_reading || c->state == ZKC_JOINED);
    ASSERT(c->state != ZKC_JOINED || c->is_reading || c->round_ms != ZKC_NEVER_MS);
}
