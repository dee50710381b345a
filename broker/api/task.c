/* SPDX-License-Identifier: Apache-2.0 */
/* task - see task.h. */
#include "broker/api/task.h"
#include "broker/config/config.h"
#include "common/zk/coord.h"

enum { TASK_MAGIC = 0x7461736b, TURNS_WAITING_MAX = 1000, FIRST_METADATA_MS = 2000 };

/* On the loop; state: where the task has to be. */
static void task_check(const struct task *t, enum task_state state)
{
    CHECK_OBJ(t, TASK_MAGIC);
    CHECK_OBJ(t->request, REQUEST_MAGIC);
    ASSERT(loop_is_current(t->request->loop) && t->state == state);
    ASSERT(t->request->handler_data == t && t->metadata != NULL);
    ASSERT(state == TASK_WAITING || (!t->timer.is_armed && !t->wait.is_waiting));
}

static void task_finish(struct task *t, bool is_timed_out)
{
    struct request *r = t->request;
    ASSERT(t->state == TASK_IO || t->state == TASK_WAITING);
    t->state = TASK_DONE;
    loop_timer_cancel(r->loop, &t->timer);
    metadata_wait_remove(r->broker->metadata, r->loop, &t->wait);
    metadata_unref(&t->metadata);
    r->on_cancel = NULL;
    if (!t->is_cancelled) {
        t->finish(t, is_timed_out);
        return;
    }
    if (t->dropped != NULL)
        t->dropped(t);
    request_drop(r);
}

static void task_changed(struct metadata_wait *w, const struct metadata *now)
{
    struct task *t = CONTAINER_OF(w, struct task, wait);
    task_check(t, TASK_WAITING);
    if (t->is_ready(t, now))
        task_finish(t, false);
}

static void task_timeout(struct loop_timer *timer)
{
    struct task *t = CONTAINER_OF(timer, struct task, timer);
    task_check(t, TASK_WAITING);
    if (t->retry_ms <= 0 || loop_now_ms(t->request->loop) >= t->deadline_ms) {
        task_finish(t, true);
        return;
    }
    t->state = TASK_IO;
    pool_submit_always(t->request->broker->io_pool, &t->job); /* bounded: one a connection */
}

static void task_io_done(struct request *r)
{
    struct task *t;
    CAST_OBJ(t, r->handler_data, TASK_MAGIC);
    task_check(t, TASK_IO);
    if (t->is_cancelled || t->is_ready == NULL) {
        task_finish(t, false);
        return;
    }
    if (t->is_ready(t, metadata_cache_settled(r->broker->metadata, r->loop))) {
        task_finish(t, false);
        return;
    }
    int64_t left_ms = t->deadline_ms - loop_now_ms(r->loop);
    if (left_ms <= 0) {
        task_finish(t, true);
        return;
    }
    t->state = TASK_WAITING;
    t->timer.fire = task_timeout;
    if (t->retry_ms > 0) {
        loop_timer_arm(r->loop, &t->timer, i64_min(left_ms, t->retry_ms));
        return;
    }
    t->wait.changed = task_changed;
    metadata_wait_add(r->broker->metadata, r->loop, &t->wait);
    loop_timer_arm(r->loop, &t->timer, left_ms);
}

/* ---- turns at the coordination service */

/* With the lock held. */
static void turns_check(const struct api *a)
{
    ASSERT(a->turns_taken >= 0 && a->turns_waiting >= 0 && a->turns_waiting <= TURNS_WAITING_MAX);
    ASSERT((a->turns_waiting == 0) == TAILQ_EMPTY(&a->turns));
}

static enum err turn_take(struct api *a, struct task *t)
{
    int32_t most = i32_max(a->broker->config->num_io_threads / 2, 1);
    enum err rc = ERR_OK;
    lock_take(&a->turns_lock);
    turns_check(a);
    if (a->turns_taken < most) {
        a->turns_taken++;
        rc = pool_submit(a->broker->io_pool, &t->job);
        a->turns_taken -= rc != ERR_OK;
    } else if (a->turns_waiting < TURNS_WAITING_MAX) {
        TAILQ_INSERT_TAIL(&a->turns, t, link);
        a->turns_waiting++;
    } else {
        rc = ERR_LIMIT;
    }
    lock_release(&a->turns_lock);
    return rc;
}

/* An io thread: the next one has the turn. */
static void turn_give(struct api *a)
{
    lock_take(&a->turns_lock);
    turns_check(a);
    ASSERT(a->turns_taken > 0);
    struct task *next = TAILQ_FIRST(&a->turns);
    if (next != NULL) {
        TAILQ_REMOVE(&a->turns, next, link);
        a->turns_waiting--;
        pool_submit_always(a->broker->io_pool, &next->job); /* bounded by the turns */
    } else {
        a->turns_taken--;
    }
    lock_release(&a->turns_lock);
}

static void task_io(struct pool_job *j)
{
    struct task *t = CONTAINER_OF(j, struct task, job);
    CHECK_OBJ(t, TASK_MAGIC);
    CHECK_OBJ(t->request, REQUEST_MAGIC);
    ASSERT(t->state == TASK_IO && t->io != NULL && t->metadata != NULL);
    struct api *a = t->request->broker->api;
    bool had_turn = t->needs_coord;
    (void)request_work_on(t->request);
    t->io(t);
    (void)request_work_on(NULL);
    request_post(t->request, task_io_done); /* t is the loop's now */
    if (had_turn)
        turn_give(a);
}

static void task_cancel(struct request *r)
{
    struct task *t;
    CAST_OBJ(t, r->handler_data, TASK_MAGIC);
    ASSERT(t->request == r && !t->is_cancelled && t->state != TASK_DONE);
    t->is_cancelled = true;
    if (t->state == TASK_WAITING)
        task_finish(t, false);
}

enum err task_start(struct task *t, struct request *r)
{
    CHECK_OBJ(r, REQUEST_MAGIC);
    ASSERT(loop_is_current(r->loop) && t->state == TASK_NEW && t->finish != NULL);
    ASSERT(!t->needs_coord || (t->retry_ms == 0 && t->io != NULL));
    if (t->needs_coord && coord_state_now(r->broker->coord) != COORD_CONNECTED)
        return ERR_UNREACHABLE;
    t->magic = TASK_MAGIC;
    t->request = r;
    t->metadata = metadata_ref(metadata_current(r));
    t->deadline_ms = loop_now_ms(r->loop) + i64_max(t->timeout_ms, 0);
    r->handler_data = t;
    r->on_cancel = task_cancel;
    t->state = TASK_IO;
    if (t->io == NULL) {
        task_io_done(r);
        return ERR_OK;
    }
    t->job.run = task_io;
    enum err rc =
        t->needs_coord ? turn_take(r->broker->api, t) : pool_submit(r->broker->io_pool, &t->job);
    if (rc != ERR_OK) {
        r->on_cancel = NULL;
        t->state = TASK_NEW; /* nothing was done */
        metadata_unref(&t->metadata);
    }
    return rc;
}

const char *task_refusal_text(enum err e)
{
    return e == ERR_UNREACHABLE
               ? "ZooKeeper cannot be reached at the moment; what needs it has to be tried again"
               : "too many requests wait for the io threads; try again";
}

/* ---- a broker that has just started */

struct first_wait {
    struct task task;
    void (*serve)(struct request *r);
};

/* The first UpdateMetadata may name the brokers only (from a controller that has just been elected,
 * and from Kafka's): who has logs knows that there are topics, and waits for the one that names
 * them. */
static bool is_informed(struct task *t, const struct metadata *m)
{
    const struct broker *b = t->request->broker;
    return metadata_broker_count(m) > 0 && (!b->had_logs || metadata_topic_count(m) > 0);
}

/* All requests wait until one time, which begins with the first of them: less than the shortest
 * timeout that tools have (kafuka-doctor: 3 s), so that they are answered also when nobody tells
 * this broker anything, for example because its name cannot be resolved. */
static int64_t first_wait_ms(const struct request *r)
{
    int64_t now_ms = loop_now_ms(r->loop), none = 0, until_ms = now_ms + FIRST_METADATA_MS;

    if (!atomic_compare_exchange_strong(&r->broker->informed_by_ms, &none, until_ms))
        until_ms = none;
    return i64_max(until_ms - now_ms, 0);
}

static void first_finish(struct task *t, bool is_timed_out)
{
    (void)is_timed_out; /* nobody told us, or there is nothing to tell: so be it */
    t->request->broker->is_informed = true;
    CONTAINER_OF(t, struct first_wait, task)->serve(t->request);
}

void api_when_informed(struct request *r, void (*serve)(struct request *r))
{
    CHECK_OBJ(r, REQUEST_MAGIC);
    struct first_wait *w;
    if (!r->broker->is_informed && (w = api_alloc(r, 1, sizeof *w)) != NULL) {
        w->serve = serve;
        w->task.is_ready = is_informed;
        w->task.finish = first_finish;
        w->task.timeout_ms = first_wait_ms(r);
        if (task_start(&w->task, r) == ERR_OK)
            return;
    }
    serve(r);
}
