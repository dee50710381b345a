/* SPDX-License-Identifier: Apache-2.0 */
/* One partition on its way to us and away from us:
 *
 *   FREE -> CLAIMING -> LOADING (-> RESOLVING) -> FETCHING -> STOPPING -> COMMITTING -> RELEASING
 *              \-> BLOCKED -> CLAIMING
 *
 * Each on its own: a partition that stays ours is not disturbed by a rebalance. The order of the
 * second half is what makes it safe: nothing is handed out any more before the last commit is made,
 * and that is made before the znode is deleted, so the next owner begins where we ended. */
#include "tools/zkconsumer/zkc_core_internal.h"

#include <stdio.h>

/* ---- the table */

/* Where (topic, partition) is or would be. */
static int32_t place_of(const struct zkc_core *c, const char *topic, int32_t partition,
                        bool *found_out)
{
    int32_t lo = 0, hi = c->part_count;

    *found_out = false;
    while (lo < hi) {
        int32_t mid = lo + (hi - lo) / 2;
        const struct zkc_part *p = &c->parts[mid];
        int order = strcmp(p->topic, topic);

        if (order == 0)
            order = p->partition < partition ? -1 : p->partition > partition;
        *found_out |= order == 0;
        if (order < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

struct zkc_part *zkc_part_find(struct zkc_core *c, const char *topic, int32_t partition)
{
    bool is_found;
    int32_t place = place_of(c, topic, partition, &is_found);

    return is_found ? &c->parts[place] : NULL;
}

struct zkc_part *zkc_part_add(struct zkc_core *c, const char *topic, int32_t partition)
{
    bool is_found;
    int32_t place = place_of(c, topic, partition, &is_found);
    struct zkc_part *p;

    ASSERT(!is_found);
    if (c->part_count == c->part_cap) {
        c->part_cap = c->part_cap * 2 + 8;
        c->parts = xrealloc(c->parts, (size_t)c->part_cap * sizeof *c->parts);
    }
    p = &c->parts[place];
    memmove(p + 1, p, (size_t)(c->part_count - place) * sizeof *p);
    c->part_count++;
    *p = (struct zkc_part){.topic = xstrdup(topic),
                           .partition = partition,
                           .wanted = -1,
                           .previous = -1,
                           .retry_ms = ZKC_NEVER_MS,
                           .commit_retry_ms = ZKC_NEVER_MS,
                           .committed = -1,
                           .final_offset = -1};
    return p;
}

static void request_done(struct zkc_core *c, struct zkc_part *p, bool has_failed,
                         struct zkc_effects *effects)
{
    if (!p->in_request)
        return;
    p->in_request = false;
    c->request_failed += has_failed;
    ASSERT(c->request_left > 0);
    if (--c->request_left == 0) {
        struct zkc_effect *e = zkc_effect_add(effects, ZKC_EFFECT_COMMIT_DONE);

        e->seq = c->request;
        e->offset = c->request_failed;
        c->request = 0;
    }
}

/* What was done and is not committed is another's now, or will be handed out again: the
 * application that asks for commits hears of it, at the latest by its next one. */
static void commit_lost(struct zkc_core *c, struct zkc_part *p, struct zkc_effects *effects)
{
    if (p->in_request)
        request_done(c, p, true, effects);
    else if (c->lost_commits < INT32_MAX)
        c->lost_commits++;
}

static void remove_part(struct zkc_core *c, struct zkc_part *p, struct zkc_effects *effects)
{
    ptrdiff_t place = p - c->parts;

    request_done(c, p, true, effects);
    mem_free(p->topic);
    memmove(p, p + 1, (size_t)(c->part_count - place - 1) * sizeof *p);
    c->part_count--;
}

/* ---- effects about a partition */

static struct zkc_effect *part_fx(const struct zkc_part *p, enum zkc_effect_kind kind,
                                  struct zkc_effects *effects)
{
    struct zkc_effect *e = zkc_effect_add(effects, kind);

    e->topic = arena_strdup(&effects->arena, p->topic, strlen(p->topic));
    e->partition = p->partition;
    e->stream = p->stream;
    e->seq = p->seq;
    return e;
}

static struct zkc_effect *part_trace(const struct zkc_part *p, enum zkc_trace_kind kind,
                                     const char *text, struct zkc_effects *effects)
{
    struct zkc_effect *e = zkc_trace(effects, kind, text);

    e->topic = arena_strdup(&effects->arena, p->topic, strlen(p->topic));
    e->partition = p->partition;
    e->stream = p->stream;
    return e;
}

static void drop_fetch(struct zkc_part *p, struct zkc_effects *effects)
{
    if (p->is_started)
        (void)part_fx(p, ZKC_EFFECT_DROP_FETCH, effects);
    p->is_started = false;
}

static void begin_commit(struct zkc_core *c, struct zkc_part *p, struct zkc_effects *effects)
{
    struct zkc_effect *e;

    if (p->commit_seq != 0) { /* one at a time: two could overtake each other */
        p->commit_again = true;
        return;
    }
    p->commit_again = false;
    p->commit_retry_ms = ZKC_NEVER_MS;
    p->commit_seq = zkc_seq(c);
    e = part_fx(p, ZKC_EFFECT_COMMIT, effects);
    e->seq = p->commit_seq;
    e->committed = p->committed;
    e->is_create = !p->has_offset_node;
    e->offset = p->state == ZKC_PART_COMMITTING ? p->final_offset : -1;
}

static void begin_claim(struct zkc_core *c, struct zkc_part *p, struct zkc_effects *effects)
{
    p->stream = p->wanted;
    p->committed = p->final_offset = -1;
    p->has_offset_node = p->verify_release = false;
    p->commit_tries = 0;
    p->seq = zkc_seq(c);
    (void)part_fx(p, ZKC_EFFECT_CLAIM, effects);
}

static void begin_release(struct zkc_core *c, struct zkc_part *p, struct zkc_effects *effects)
{
    p->seq = zkc_seq(c);
    part_fx(p, ZKC_EFFECT_RELEASE, effects)->verify = p->verify_release;
}

/* Enters a state and does what it is about. */
static void enter(struct zkc_core *c, struct zkc_part *p, enum zkc_part_state state,
                  struct zkc_effects *effects)
{
    p->state = state;
    p->seq = 0;
    p->retry_ms = ZKC_NEVER_MS;
    switch (state) {
    case ZKC_PART_FREE:
    case ZKC_PART_BLOCKED:
    case ZKC_PART_FETCHING:
        break;
    case ZKC_PART_CLAIMING:
        begin_claim(c, p, effects);
        break;
    case ZKC_PART_LOADING:
        p->seq = zkc_seq(c);
        (void)part_fx(p, ZKC_EFFECT_READ_OFFSET, effects);
        break;
    case ZKC_PART_RESOLVING:
        p->seq = zkc_seq(c);
        (void)part_fx(p, ZKC_EFFECT_RESOLVE, effects);
        break;
    case ZKC_PART_STOPPING:
        p->seq = zkc_seq(c);
        (void)part_fx(p, ZKC_EFFECT_STOP_FETCH, effects);
        break;
    case ZKC_PART_COMMITTING:
        p->commit_tries = 0;
        begin_commit(c, p, effects);
        break;
    case ZKC_PART_RELEASING:
        begin_release(c, p, effects);
        break;
    }
}

static void retry_later(struct zkc_part *p, int64_t now_ms)
{
    p->seq = 0;
    p->retry_ms = now_ms + ZKC_RETRY_MS;
}

/* ---- towards what is wanted */

/* The part is ours no more (or never was). True: it is gone from the table. */
static bool is_free(struct zkc_core *c, struct zkc_part *p, struct zkc_effects *effects)
{
    if (p->wanted >= 0 && c->state == ZKC_JOINED) {
        enter(c, p, ZKC_PART_CLAIMING, effects);
        return false;
    }
    if (p->wanted >= 0 && c->state == ZKC_REGISTERING) { /* claimed when we are a member again */
        enter(c, p, ZKC_PART_FREE, effects);
        return false;
    }
    remove_part(c, p, effects);
    return true;
}

static bool release(struct zkc_core *c, struct zkc_part *p, struct zkc_effects *effects)
{
    if (c->state == ZKC_LEAVING) { /* it goes with the session */
        remove_part(c, p, effects);
        return true;
    }
    enter(c, p, ZKC_PART_RELEASING, effects);
    return false;
}

bool zkc_part_drive(struct zkc_core *c, struct zkc_part *p, struct zkc_effects *effects)
{
    switch (p->state) {
    case ZKC_PART_FREE:
    case ZKC_PART_BLOCKED:
        return is_free(c, p, effects);
    case ZKC_PART_LOADING:
    case ZKC_PART_RESOLVING:
    case ZKC_PART_FETCHING:
        if (p->wanted == p->stream)
            return false;
        if (p->is_started) {
            enter(c, p, ZKC_PART_STOPPING, effects);
            return false;
        }
        return release(c, p, effects);
    case ZKC_PART_CLAIMING: /* an answer comes, and then it is looked at again */
    case ZKC_PART_STOPPING:
    case ZKC_PART_COMMITTING:
    case ZKC_PART_RELEASING:
        return false;
    }
    UNREACHABLE();
}

void zkc_parts_drive(struct zkc_core *c, struct zkc_effects *effects)
{
    for (int32_t i = 0; i < c->part_count;)
        i += !zkc_part_drive(c, &c->parts[i], effects);
}

/* ---- answers */

static const char *thread_id(const struct zkc_core *c, const struct zkc_part *p, struct arena *a)
{
    size_t size = strlen(c->o->member_id) + 16;
    char *id = arena_alloc(a, size);

    (void)snprintf(id, size, "%s-%d", c->o->member_id, p->stream);
    return id;
}

/* Somebody else has it: his znode is watched. Should that watch be lost or our picture be wrong,
 * everything is read again after the backoff. */
static void blocked(struct zkc_core *c, struct zkc_part *p, const struct zkc_event *ev,
                    struct zkc_effects *effects)
{
    int64_t pace_ms = c->o->backoff_ms;

    enter(c, p, ZKC_PART_BLOCKED, effects);
    c->is_settled = false;
    (void)part_trace(p, ZKC_TRACE_BLOCKED, ev->part.owner, effects);
    if (c->blocked_rounds >= c->o->max_retries) {
        pace_ms *= ZKC_SLOW_FACTOR;
        if (!c->has_told_blocked)
            part_trace(p, ZKC_TRACE_STILL_BLOCKED, ev->part.owner, effects)->a = pace_ms;
        c->has_told_blocked = true;
    }
    c->round_ms = i64_min(c->round_ms, ev->now_ms + pace_ms);
}

static void claimed(struct zkc_core *c, struct zkc_part *p, const struct zkc_event *ev,
                    struct zkc_effects *effects)
{
    switch (ev->result) {
    case ZKC_OK:
        enter(c, p, ZKC_PART_LOADING, effects);
        (void)zkc_part_drive(c, p, effects);
        return;
    case ZKC_EXISTS:
        if (!ev->part.is_our_session) {
            if (p->wanted < 0) {
                (void)is_free(c, p, effects);
                return;
            }
            blocked(c, p, ev, effects);
            return;
        }
        if (ev->part.owner != NULL &&
            strcmp(ev->part.owner, thread_id(c, p, &effects->arena)) == 0) {
            enter(c, p, ZKC_PART_LOADING, effects); /* an earlier try of ours had taken effect */
            (void)zkc_part_drive(c, p, effects);
        } else { /* ours, for another stream: away with it first */
            p->verify_release = true;
            enter(c, p, ZKC_PART_RELEASING, effects);
        }
        return;
    case ZKC_UNREGISTERED:
        retry_later(p, ev->now_ms);
        zkc_registration_lost(c, effects);
        return;
    case ZKC_NOT_FOUND:
    case ZKC_FENCED:
    case ZKC_UNKNOWN:
    case ZKC_FAILED:
        retry_later(p, ev->now_ms);
        return;
    }
}

static void start(struct zkc_core *c, struct zkc_part *p, int64_t offset,
                  struct zkc_effects *effects)
{
    enter(c, p, ZKC_PART_FETCHING, effects);
    p->is_started = true;
    p->seq = zkc_seq(c); /* OUT_OF_RANGE names it */
    part_fx(p, ZKC_EFFECT_START_FETCH, effects)->offset = offset;
}

static void offset_read(struct zkc_core *c, struct zkc_part *p, const struct zkc_event *ev,
                        struct zkc_effects *effects)
{
    if (ev->result == ZKC_OK) {
        p->has_offset_node = true;
        p->committed = ev->part.offset;
        part_trace(p, ZKC_TRACE_CLAIMED, thread_id(c, p, &effects->arena), effects)->a =
            ev->part.offset;
        start(c, p, ev->part.offset, effects);
    } else if (ev->result == ZKC_NOT_FOUND) {
        enter(c, p, ZKC_PART_RESOLVING, effects);
    } else {
        retry_later(p, ev->now_ms);
    }
}

static void resolved(struct zkc_core *c, struct zkc_part *p, const struct zkc_event *ev,
                     struct zkc_effects *effects)
{
    struct zkc_effect *t;

    if (ev->result != ZKC_OK) {
        retry_later(p, ev->now_ms);
        return;
    }
    t = part_trace(p, ZKC_TRACE_RESET, NULL, effects);
    t->a = p->committed;
    t->b = ev->part.offset;
    if (!p->is_started)
        part_trace(p, ZKC_TRACE_CLAIMED, thread_id(c, p, &effects->arena), effects)->a =
            ev->part.offset;
    start(c, p, ev->part.offset, effects);
    /* at once: who takes over without it would begin at another "largest" and miss the difference
     */
    if (c->o->auto_commit)
        begin_commit(c, p, effects);
}

/* What follows when nothing is handed out any more. */
static void stopped(struct zkc_core *c, struct zkc_part *p, const struct zkc_event *ev,
                    struct zkc_effects *effects)
{
    bool is_to_commit = c->o->auto_commit || p->in_request;

    p->is_started = false;
    p->final_offset = is_to_commit ? ev->part.offset : -1;
    if (p->commit_seq != 0 || (p->final_offset >= 0 && p->final_offset != p->committed)) {
        enter(c, p, ZKC_PART_COMMITTING, effects);
        return;
    }
    if (!is_to_commit && ev->part.offset >= 0 && ev->part.offset != p->committed)
        commit_lost(c, p, effects);
    request_done(c, p, false, effects);
    (void)release(c, p, effects);
}

/* Somebody deleted our znode, perhaps has the partition by now. */
static void ownership_lost(struct zkc_core *c, struct zkc_part *p, int64_t now_ms,
                           struct zkc_effects *effects)
{
    (void)part_trace(p, ZKC_TRACE_OWNERSHIP_LOST, NULL, effects);
    c->is_settled = false;
    drop_fetch(p, effects);
    p->commit_seq = 0;
    commit_lost(c, p, effects);
    enter(c, p, ZKC_PART_FREE, effects);
    p->retry_ms = now_ms + ZKC_RETRY_MS;
}

/* The commit before the release is over, whatever became of it. */
static void last_commit_done(struct zkc_core *c, struct zkc_part *p, struct zkc_effects *effects)
{
    bool has_failed = p->final_offset >= 0 && p->final_offset != p->committed;

    if (has_failed) {
        (void)part_trace(p, ZKC_TRACE_COMMIT_FAILED, NULL, effects);
        commit_lost(c, p, effects);
    }
    request_done(c, p, false, effects);
    (void)release(c, p, effects);
}

static void commit_retry(struct zkc_core *c, struct zkc_part *p, int64_t now_ms,
                         struct zkc_effects *effects)
{
    if (++p->commit_tries < ZKC_COMMIT_TRIES_MAX) {
        p->commit_retry_ms = now_ms + ZKC_RETRY_MS;
        return;
    }
    p->commit_tries = 0;
    if (p->state == ZKC_PART_COMMITTING)
        last_commit_done(c, p, effects);
    else
        request_done(c, p, true, effects); /* the next auto commit tries again */
}

static void committed(struct zkc_core *c, struct zkc_part *p, const struct zkc_event *ev,
                      struct zkc_effects *effects)
{
    bool is_again = p->commit_again;

    p->commit_seq = 0;
    switch (ev->result) {
    case ZKC_OK:
        p->commit_tries = 0;
        if (ev->part.offset >= 0) {
            p->has_offset_node |= ev->part.offset != p->committed;
            p->committed = ev->part.offset;
        }
        if (p->state == ZKC_PART_COMMITTING) {
            if (p->final_offset < 0 || p->final_offset == p->committed)
                last_commit_done(c, p, effects);
            else
                begin_commit(c, p, effects); /* an earlier one was under way when we stopped */
        } else if (is_again) {
            begin_commit(c, p, effects);
        } else {
            request_done(c, p, false, effects);
        }
        return;
    case ZKC_EXISTS:
    case ZKC_NOT_FOUND:
        p->has_offset_node = ev->result == ZKC_EXISTS;
        commit_retry(c, p, ev->now_ms - ZKC_RETRY_MS, effects); /* at once */
        return;
    case ZKC_FENCED:
        if (p->state == ZKC_PART_RELEASING || p->state == ZKC_PART_STOPPING ||
            p->state == ZKC_PART_COMMITTING || p->is_started)
            ownership_lost(c, p, ev->now_ms, effects);
        return;
    case ZKC_UNREGISTERED:
        zkc_registration_lost(c, effects);
        commit_retry(c, p, ev->now_ms, effects);
        return;
    case ZKC_UNKNOWN:
    case ZKC_FAILED:
        commit_retry(c, p, ev->now_ms, effects);
        return;
    }
}

static void released(struct zkc_core *c, struct zkc_part *p, const struct zkc_event *ev,
                     struct zkc_effects *effects)
{
    switch (ev->result) {
    case ZKC_OK:
    case ZKC_NOT_FOUND:
        part_trace(p, ZKC_TRACE_RELEASED, NULL, effects)->a = p->committed;
        (void)is_free(c, p, effects);
        return;
    case ZKC_UNREGISTERED:
        zkc_registration_lost(c, effects);
        retry_later(p, ev->now_ms);
        return;
    case ZKC_EXISTS:
    case ZKC_FENCED:
    case ZKC_UNKNOWN:
    case ZKC_FAILED:
        /* it may be deleted, and then somebody else's may be there by now */
        p->verify_release |= ev->result == ZKC_UNKNOWN;
        retry_later(p, ev->now_ms);
        return;
    }
}

void zkc_parts_event(struct zkc_core *c, const struct zkc_event *ev, struct zkc_effects *effects)
{
    struct zkc_part *p = zkc_part_find(c, ev->part.topic, ev->part.partition);

    if (p == NULL)
        return;
    if (ev->kind == ZKC_EV_OWNER_GONE) {
        if (p->state == ZKC_PART_BLOCKED)
            (void)is_free(c, p, effects);
        return;
    }
    if (ev->kind == ZKC_EV_COMMITTED) {
        if (p->commit_seq == ev->part.seq && p->commit_seq != 0)
            committed(c, p, ev, effects);
        return;
    }
    if (p->seq == 0 || p->seq != ev->part.seq)
        return;
    switch (ev->kind) {
    case ZKC_EV_CLAIMED:
        claimed(c, p, ev, effects);
        break;
    case ZKC_EV_OFFSET:
        offset_read(c, p, ev, effects);
        break;
    case ZKC_EV_RESOLVED:
        resolved(c, p, ev, effects);
        break;
    case ZKC_EV_OUT_OF_RANGE:
        if (p->state == ZKC_PART_FETCHING)
            enter(c, p, ZKC_PART_RESOLVING, effects);
        break;
    case ZKC_EV_STOPPED:
        stopped(c, p, ev, effects);
        break;
    case ZKC_EV_RELEASED:
        released(c, p, ev, effects);
        break;
    default: /* not about a partition */
        break;
    }
}

/* ---- all of them */

void zkc_parts_tick(struct zkc_core *c, int64_t now_ms, struct zkc_effects *effects)
{
    for (int32_t i = 0; i < c->part_count;) {
        struct zkc_part *p = &c->parts[i];
        int32_t count = c->part_count;

        if (p->commit_retry_ms <= now_ms)
            begin_commit(c, p, effects);
        if (p->retry_ms <= now_ms) {
            p->retry_ms = ZKC_NEVER_MS;
            if (p->state == ZKC_PART_FREE || p->state == ZKC_PART_CLAIMING) {
                /* whether it was claimed is not known: look, if it is not wanted any more */
                if (p->state == ZKC_PART_CLAIMING && p->wanted != p->stream) {
                    p->verify_release = true;
                    enter(c, p, ZKC_PART_RELEASING, effects);
                } else if (c->state == ZKC_REGISTERING) {
                    p->retry_ms = now_ms + ZKC_RETRY_MS;
                } else {
                    (void)is_free(c, p, effects);
                }
            } else if (p->state != ZKC_PART_FETCHING) {
                enter(c, p, p->state, effects);
            }
        }
        i += count == c->part_count;
    }
}

int64_t zkc_parts_deadline_ms(const struct zkc_core *c)
{
    int64_t deadline = ZKC_NEVER_MS;

    for (int32_t i = 0; i < c->part_count; i++)
        deadline = i64_min(deadline, i64_min(c->parts[i].retry_ms, c->parts[i].commit_retry_ms));
    return deadline;
}

void zkc_parts_commit(struct zkc_core *c, bool is_request, struct zkc_effects *effects)
{
    if (is_request)
        for (int32_t i = 0; i < c->part_count; i++) {
            struct zkc_part *p = &c->parts[i];

            p->in_request = p->is_started || p->state == ZKC_PART_COMMITTING;
            c->request_left += p->in_request;
        }
    for (int32_t i = 0; i < c->part_count; i++) {
        const struct zkc_part *p = &c->parts[i];

        if (p->is_started && (p->state == ZKC_PART_FETCHING || p->state == ZKC_PART_RESOLVING))
            begin_commit(c, &c->parts[i], effects); /* the others commit when they have stopped */
    }
}

void zkc_parts_drop(struct zkc_core *c, struct zkc_effects *effects)
{
    while (c->part_count > 0) {
        struct zkc_part *p = &c->parts[c->part_count - 1];

        if (p->is_started || p->state == ZKC_PART_COMMITTING)
            commit_lost(c, p, effects);
        if (p->is_started || p->state == ZKC_PART_STOPPING)
            (void)part_fx(p, ZKC_EFFECT_DROP_FETCH, effects);
        remove_part(c, p, effects);
    }
}

void zkc_parts_leave(struct zkc_core *c, struct zkc_effects *effects)
{
    for (int32_t i = 0; i < c->part_count;) {
        struct zkc_part *p = &c->parts[i];
        int32_t count = c->part_count;

        p->wanted = -1;
        if (p->state == ZKC_PART_CLAIMING || p->state == ZKC_PART_RELEASING)
            remove_part(c, p, effects);
        else
            (void)zkc_part_drive(c, p, effects);
        i += count == c->part_count;
    }
}
