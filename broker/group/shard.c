/* SPDX-License-Identifier: Apache-2.0 */
/* shard - one partition of __consumer_offsets that this broker leads: from the load to the loss of
 * leadership. Everything on the loop that owns it.
 *
 * Happy path: the replica leads (seat_look) -> an io thread loads -> shard_loaded: LOADED, timers
 * -> calls, appends, ticks -> the replica leads no more: UNLOAD, whoever waits is answered, gone.
 */
#include "broker/group/coordinator_internal.h"

#include "broker/replica/replicas.h"
#include "common/base/clock.h"
#include "common/base/slog.h"

enum { RETRY_FIRST_MS = 1000, RETRY_MAX_MS = 30000 };

/* ---- the table of one loop */

struct shard *seat_find(const struct seat *s, int32_t partition)
{
    int32_t at = partition / s->coordinator->seat_count;

    ASSERT(partition % s->coordinator->seat_count == s->index);
    return at < s->shard_cap ? s->shards[at] : NULL;
}

static void seat_put(struct seat *s, struct shard *shard)
{
    int32_t at = shard->index / s->coordinator->seat_count;

    if (at >= s->shard_cap) {
        int32_t cap = i32_max(at + 1, s->shard_cap * 2);
        s->shards = xrealloc(s->shards, (size_t)cap * sizeof *s->shards);
        for (int32_t i = s->shard_cap; i < cap; i++)
            s->shards[i] = NULL;
        s->shard_cap = cap;
    }
    ASSERT(s->shards[at] == NULL);
    s->shards[at] = shard;
    s->shard_count++;
}

/* ---- timers */

static void on_tick(struct loop_timer *t)
{
    struct shard *s = CONTAINER_OF(t, struct shard, tick);
    struct group_event ev = {.kind = GEV_TICK};

    CHECK_OBJ(s, SHARD_MAGIC);
    s->tick_at_ms = -1;
    shard_step(s, &ev); /* early is fine: it was put off; the core then does nothing */
}

/* Heartbeats put deadlines off all the time; the timer is only ever moved forward, and when it
 * comes too early it is armed again. */
static void arm_tick(struct shard *s)
{
    int64_t at = group_core_deadline_ms(s->core);

    if (at < 0 || (s->tick_at_ms >= 0 && s->tick_at_ms <= at))
        return;
    s->tick_at_ms = at;
    loop_timer_arm(s->seat->loop, &s->tick, i64_max(at - loop_now_ms(s->seat->loop), 0));
}

static void on_expire(struct loop_timer *t)
{
    struct seat *s = CONTAINER_OF(t, struct seat, expire);

    for (int32_t i = 0; i < s->shard_cap; i++) {
        struct group_event ev = {.kind = GEV_EXPIRE};
        if (s->shards[i] != NULL && s->shards[i]->state == SHARD_ACTIVE)
            shard_step(s->shards[i], &ev);
    }
    if (s->shard_count > 0)
        loop_timer_arm(s->loop, t, s->coordinator->expire_interval_ms);
}

/* ---- steps */

static void log_rebalance(const struct group_rebalance *r)
{
    if (r->ended_wall_ms < 0) {
        SLOG(INFO, "group", "rebalance begins", KV_STR("group", r->group),
             KV_STR("reason", r->reason), KV_I("members", r->members_before));
        return;
    }
    SLOG(INFO, "group", "rebalance", KV_STR("group", r->group), KV_I("generation", r->generation),
         KV_STR("reason", r->reason), KV_I("further_reasons", r->further),
         KV_I("members_before", r->members_before), KV_I("members", r->members_after),
         KV_I("ms", r->ended_wall_ms - r->began_wall_ms));
}

static void carry_out(struct shard *s, const struct group_effects *fx)
{
    for (int32_t i = 0; i < fx->count; i++) {
        const struct group_effect *f = &fx->v[i];
        switch (f->kind) {
        case GFX_REPLY:
            ASSERT(s->calls > 0);
            s->calls--;
            group_call_answer((struct group_call *)(uintptr_t)f->reply.call, &f->reply);
            break;
        case GFX_APPEND:
            shard_append(s, &f->append);
            break;
        case GFX_REBALANCE:
            log_rebalance(&f->rebalance);
            break;
        }
    }
}

void shard_step(struct shard *s, struct group_event *ev)
{
    struct group_effects fx;

    CHECK_OBJ(s, SHARD_MAGIC);
    ASSERT(s->state == SHARD_ACTIVE);
    ev->now_ms = loop_now_ms(s->seat->loop);
    ev->wall_ms = clock_wall_ms();
    group_core_step(s->core, ev, &fx);
    carry_out(s, &fx);
    if (ev->kind != GEV_UNLOAD)
        arm_tick(s);
}

/* ---- loading */

static void on_retry(struct loop_timer *t)
{
    struct shard *s = CONTAINER_OF(t, struct shard, retry);

    CHECK_OBJ(s, SHARD_MAGIC);
    load_start(s);
}

void shard_loaded(struct shard *s, struct group_core *core)
{
    struct group_event ev = {.kind = GEV_LOADED};
    struct loop *loop = s->seat->loop;

    ASSERT(s->state == SHARD_LOADING && s->load == NULL);
    if (core == NULL) {
        s->retry_ms = s->retry_ms == 0 ? RETRY_FIRST_MS : i64_min(s->retry_ms * 2, RETRY_MAX_MS);
        loop_timer_arm(loop, &s->retry, s->retry_ms);
        return;
    }
    s->core = core;
    s->state = SHARD_ACTIVE;
    shard_step(s, &ev);
    if (!s->seat->expire.is_armed)
        loop_timer_arm(loop, &s->seat->expire, s->seat->coordinator->expire_interval_ms);
}

static void shard_begin(struct seat *seat, int32_t index, struct partition *p, int32_t since_epoch)
{
    struct shard *s = xcalloc(1, sizeof *s);

    s->magic = SHARD_MAGIC;
    s->seat = seat;
    s->index = index;
    s->partition = partition_ref(p);
    s->since_epoch = since_epoch;
    s->state = SHARD_LOADING;
    s->tick_at_ms = -1;
    s->tick.fire = on_tick;
    s->retry.fire = on_retry;
    shard_append_init(s);
    seat_put(seat, s);
    load_start(s);
}

static void keep_numbers(struct shard *s)
{
    struct group_numbers n;

    group_core_count(s->core, &n);
    s->seat->rebalances += n.rebalances;
    s->seat->expired_members += n.expired_members;
    s->seat->expired_offsets += n.expired_offsets;
    s->seat->commits += n.commits;
}

static void shard_end(struct shard *s)
{
    struct seat *seat = s->seat;
    struct loop *loop = seat->loop;

    load_abandon(s->load);
    if (s->state == SHARD_ACTIVE) {
        struct group_event ev = {.kind = GEV_UNLOAD};
        shard_step(s, &ev);
        ASSERT(s->calls == 0);
        keep_numbers(s);
        SLOG(INFO, "group", "coordinator unloaded", KV_I("partition", s->index));
    }
    shard_append_drop(s);
    loop_timer_cancel(loop, &s->tick);
    loop_timer_cancel(loop, &s->retry);
    group_core_free(&s->core);
    partition_unref(&s->partition);
    seat->shards[s->index / seat->coordinator->seat_count] = NULL;
    seat->shard_count--;
    s->magic = 0;
    mem_free(s);
}

/* A newer leader epoch under the same leadership (the controller took a dead follower out of the
 * ISR) changes nothing: only we have written meanwhile, and waits for replicas go on. If others may
 * have led in between, what is in memory is worth nothing. */
void seat_look(struct seat *seat, int32_t partition)
{
    struct shard *s = seat_find(seat, partition);
    struct partition *p = NULL;
    struct partition_info info = {.is_leader = false};

    if (!seat->is_quitting)
        p = replicas_find(seat->coordinator->broker->replicas, STR_LIT(OFFSETS_TOPIC), partition);
    if (p != NULL)
        partition_describe(p, &info);
    if (s != NULL &&
        (!info.is_leader || s->partition != p || s->since_epoch != info.led_since_epoch)) {
        shard_end(s);
        s = NULL;
    }
    if (s == NULL && info.is_leader)
        shard_begin(seat, partition, p, info.led_since_epoch);
    partition_unref(&p);
}

void seat_init(struct seat *s, struct coordinator *c, int index)
{
    s->magic = SEAT_MAGIC;
    s->coordinator = c;
    s->loop = c->broker->loops[index];
    s->index = index;
    TAILQ_INIT(&s->ended);
    s->ended_job.run = seat_run_ended;
    s->expire.fire = on_expire;
}

void seat_quit(struct seat *seat)
{
    CHECK_OBJ(seat, SEAT_MAGIC);
    seat->is_quitting = true;
    loop_timer_cancel(seat->loop, &seat->expire);
    for (int32_t i = 0; i < seat->shard_cap; i++)
        if (seat->shards[i] != NULL)
            shard_end(seat->shards[i]);
}
