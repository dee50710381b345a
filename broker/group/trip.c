/* SPDX-License-Identifier: Apache-2.0 */
/* trip - a request's way over the loops that own the shards it concerns, one loop after the other,
 * and home. On one loop all its calls run at once; it goes on when the last has its answer. */
#include "broker/group/coordinator_internal.h"

#include "common/base/clock.h"

void group_trip_init(struct group_trip *t, struct request *r, void (*finish)(struct group_trip *t))
{
    *t = (struct group_trip){
        .magic = TRIP_MAGIC, .coordinator = r->broker->groups, .request = r, .finish = finish};
    TAILQ_INIT(&t->calls);
}

void group_trip_add(struct group_trip *t, struct group_call *c, struct str group)
{
    struct request *r = t->request;
    struct metadata *m = metadata_cache_on(r->broker->metadata, r->loop);

    c->trip = t;
    /* LeaderAndIsr may come before the UpdateMetadata that names the topic: what the group would
     * commit in the partition that it had by the configured number would be lost */
    if (metadata_topic(m, STR_LIT(OFFSETS_TOPIC)) == NULL) {
        c->error = KE_NOT_COORDINATOR;
        return;
    }
    c->magic = CALL_MAGIC;
    c->partition = coordinator_partition_of(group, coordinator_partition_count(t->coordinator, m));
    TAILQ_INSERT_TAIL(&t->calls, c, link);
}

/* ---- on one loop */

static void one_less(struct seat *s, struct group_trip *t)
{
    ASSERT(t->waiting > 0);
    if (--t->waiting > 0)
        return;
    /* not from here: the core's effects are being carried out */
    TAILQ_INSERT_TAIL(&s->ended, t, link);
    loop_defer(s->loop, &s->ended_job);
}

void group_call_answer(struct group_call *c, const struct group_reply *reply)
{
    CHECK_OBJ(c, CALL_MAGIC);
    struct group_trip *t = c->trip;
    CHECK_OBJ(t, TRIP_MAGIC);
    c->magic = 0; /* once */
    c->replied(c, reply);
    one_less(&t->coordinator->seats[t->at], t);
}

static int16_t first_check(const struct seat *s, const struct shard *shard)
{
    if (s->is_quitting)
        return KE_COORDINATOR_NOT_AVAILABLE;
    if (shard == NULL)
        return KE_NOT_COORDINATOR;
    if (shard->state == SHARD_LOADING || shard->calls >= SHARD_CALLS_MAX)
        return KE_COORDINATOR_LOAD_IN_PROGRESS;
    return KE_NONE;
}

static void call_start(struct seat *s, struct group_call *c)
{
    struct shard *shard = seat_find(s, c->partition);

    CHECK_OBJ(c, CALL_MAGIC);
    c->error = first_check(s, shard);
    if (c->error != KE_NONE || c->ask != NULL) {
        if (c->error == KE_NONE)
            c->ask(c, shard->core);
        c->magic = 0;
        one_less(s, c->trip);
        return;
    }
    shard->calls++;
    c->event.call = (uint64_t)(uintptr_t)c;
    shard_step(shard, &c->event);
}

static void visit_shards(struct seat *s, struct group_trip *t)
{
    for (int32_t i = 0; i < s->shard_cap; i++)
        if (s->shards[i] != NULL)
            t->visit(t, s->shards[i]->core);
}

static void run_here(struct seat *s, struct group_trip *t)
{
    struct group_call *c, *next;

    t->waiting = 1; /* until all have begun */
    for (c = TAILQ_FIRST(&t->calls); c != NULL; c = next) {
        next = TAILQ_NEXT(c, link);
        if (seat_of_partition(t->coordinator, c->partition) != s)
            continue;
        t->waiting++;
        call_start(s, c);
    }
    if (t->visit != NULL)
        visit_shards(s, t);
    one_less(s, t);
}

/* ---- the way */

static void go_on(struct group_trip *t);

static void trip_arrived(struct mail *m)
{
    struct group_trip *t = CONTAINER_OF(m, struct group_trip, mail);

    CHECK_OBJ(t, TRIP_MAGIC);
    run_here(&t->coordinator->seats[t->at], t);
}

static void go_home(struct request *r)
{
    struct group_trip *t;

    CAST_OBJ(t, r->handler_data, TRIP_MAGIC);
    t->magic = 0;
    atomic_fetch_sub(&t->coordinator->trips, 1);
    t->finish(t);
}

static bool has_work(const struct group_trip *t, int loop)
{
    const struct group_call *c;

    if (t->visit != NULL)
        return true;
    TAILQ_FOREACH (c, &t->calls, link)
        if (c->partition % t->coordinator->seat_count == loop)
            return true;
    return false;
}

static void go_on(struct group_trip *t)
{
    struct coordinator *c = t->coordinator;

    while (t->at < c->seat_count && !has_work(t, t->at))
        t->at++;
    if (t->at == c->seat_count) {
        if (loop_is_current(t->request->loop))
            go_home(t->request);
        else
            request_post(t->request, go_home);
        return;
    }
    if (loop_is_current(c->seats[t->at].loop)) {
        run_here(&c->seats[t->at], t);
        return;
    }
    t->mail.deliver = trip_arrived;
    loop_post(c->seats[t->at].loop, &t->mail);
}

void seat_run_ended(struct loop_deferred *d)
{
    struct seat *s = CONTAINER_OF(d, struct seat, ended_job);
    struct group_trip *t;

    while ((t = TAILQ_FIRST(&s->ended)) != NULL) {
        CHECK_OBJ(t, TRIP_MAGIC);
        TAILQ_REMOVE(&s->ended, t, link);
        t->at++;
        go_on(t);
    }
}

void group_trip_start(struct group_trip *t)
{
    t->request->handler_data = t;
    atomic_fetch_add(&t->coordinator->trips, 1);
    go_on(t);
}
