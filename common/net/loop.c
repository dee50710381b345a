/* SPDX-License-Identifier: Apache-2.0 */
/* A loop's turn: one socket event, the mail or the due timers; then the deferred work, which is
 * mostly the writing of what the turn queued. The wheel is driven by one timerfd for its next
 * deadline (libevent's own timers go by the coarse clock, up to 4 ms off); it is set earlier when
 * needed, and never taken back (it then wakes once for nothing). */
#include "common/net/loop.h"

#include "common/base/clock.h"
#include "common/base/fsx.h"
#include "common/base/lock.h"
#include "common/net/frame.h"

#include <event2/event.h>
#include <malloc.h>
#include <stdio.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

enum {
    LOOP_MAGIC = 0x6c6f6f70,
    STACK_BYTES = 512 * 1024,
    TRIM_AFTER_MS = 5000 /* kept blocks are given back when the loop did nothing for that long */
};

struct loop {
    unsigned magic;
    char name[16];
    pthread_t thread;
    struct event_base *base;
    struct mailbox mailbox;
    struct event *mail_event, *wheel_event, *deferred_event;
    int timer_fd; /* wheel_event's */
    struct twheel wheel;
    int64_t wheel_event_ms; /* when wheel_event fires; -1: not set */
    int64_t now_ms;         /* read at the beginning of a turn */
    int depth;              /* of loop_enter */
    bool is_stopping;
    TAILQ_HEAD(, loop_deferred) deferred;
    struct frame_store store;
    struct loop_timer trim_timer;
    uint64_t takes_at_trim; /* store.takes when trim_timer was armed */
};

static _Thread_local struct loop *current;

bool loop_is_current(const struct loop *l)
{
    return l == current;
}

struct loop *loop_current(void)
{
    return current;
}

struct event_base *loop_base(struct loop *l)
{
    ASSERT(loop_is_current(l));
    return l->base;
}

void loop_post(struct loop *l, struct mail *m)
{
    CHECK_OBJ(l, LOOP_MAGIC);
    mailbox_post(&l->mailbox, m);
}

struct mailbox *loop_mailbox(struct loop *l)
{
    CHECK_OBJ(l, LOOP_MAGIC);
    return &l->mailbox;
}

int64_t loop_now_ms(const struct loop *l)
{
    return l->now_ms;
}

/* ---- timers */

/* Has the wheel looked at again at that time, unless it will be earlier anyway. */
static void set_wheel_event(struct loop *l, int64_t at_ms)
{
    if (at_ms < 0 || (l->wheel_event_ms >= 0 && l->wheel_event_ms <= at_ms))
        return;
    /* absolute; a time that has passed fires at once, zero would disarm */
    struct itimerspec when = {
        .it_value = {.tv_sec = at_ms / 1000, .tv_nsec = at_ms % 1000 * 1000000 + 1}};
    MUST(timerfd_settime(l->timer_fd, TFD_TIMER_ABSTIME, &when, NULL) == 0);
    l->wheel_event_ms = at_ms;
}

void loop_timer_arm(struct loop *l, struct loop_timer *t, int64_t delay_ms)
{
    ASSERT(loop_is_current(l) && t->fire != NULL && t->is_armed == t->node.is_armed);
    twheel_cancel(&l->wheel, &t->node);
    /* The turn's time may be old by some ms, and a tick may have begun: never fire early. */
    twheel_arm(&l->wheel, &t->node, l->now_ms + i64_max(delay_ms, 0) + (delay_ms > 0));
    t->is_armed = true;
    set_wheel_event(l, t->node.deadline_ms);
}

void loop_timer_cancel(struct loop *l, struct loop_timer *t)
{
    ASSERT(!t->is_armed || loop_is_current(l));
    ASSERT(t->is_armed == t->node.is_armed);
    twheel_cancel(&l->wheel, &t->node);
    t->is_armed = false;
}

static void fire_due(struct loop *l)
{
    struct twheel_timer *node;

    twheel_advance(&l->wheel, l->now_ms);
    while ((node = twheel_pop(&l->wheel)) != NULL) {
        struct loop_timer *t = CONTAINER_OF(node, struct loop_timer, node);
        ASSERT(t->is_armed && t->fire != NULL);
        t->is_armed = false;
        t->fire(t);
    }
}

static void on_wheel_event(evutil_socket_t fd, short what UNUSED, void *arg)
{
    struct loop *l;

    uint64_t expirations;

    CAST_OBJ(l, arg, LOOP_MAGIC);
    (void)!read(fd, &expirations, sizeof expirations);
    loop_enter(l);
    l->wheel_event_ms = 0; /* what is armed meanwhile need not set it: that is done once, below */
    fire_due(l);
    l->wheel_event_ms = -1;
    set_wheel_event(l, twheel_next_ms(&l->wheel));
    loop_leave(l);
}

/* ---- deferred work */

void loop_defer(struct loop *l, struct loop_deferred *d)
{
    ASSERT(loop_is_current(l) && d->run != NULL);
    ASSERT(l->depth >= 0);
    if (d->is_queued)
        return;
    d->is_queued = true;
    TAILQ_INSERT_TAIL(&l->deferred, d, link);
    if (l->depth == 0)
        event_active(l->deferred_event, EV_TIMEOUT, 0);
}

void loop_defer_cancel(struct loop *l, struct loop_deferred *d)
{
    if (!d->is_queued)
        return;
    ASSERT(loop_is_current(l));
    d->is_queued = false;
    TAILQ_REMOVE(&l->deferred, d, link);
}

/* What is deferred while this runs runs too; nothing defers itself without end: a connection whose
 * budget of a turn is used up waits for its socket event instead. */
static void run_deferred(struct loop *l)
{
    struct loop_deferred *d;

    while ((d = TAILQ_FIRST(&l->deferred)) != NULL) {
        ASSERT(d->is_queued && d->run != NULL);
        TAILQ_REMOVE(&l->deferred, d, link);
        d->is_queued = false;
        d->run(d);
    }
}

void loop_enter(struct loop *l)
{
    CHECK_OBJ(l, LOOP_MAGIC);
    ASSERT(loop_is_current(l) && l->depth >= 0);
    if (l->depth++ > 0)
        return;
    int64_t now = clock_mono_ms();
    ASSERT(now >= l->now_ms); /* it is read from a clock that never goes back */
    l->now_ms = now;
}

void loop_leave(struct loop *l)
{
    ASSERT(loop_is_current(l) && l->depth > 0);
    if (l->depth == 1) {
        run_deferred(l);
        if (!l->trim_timer.is_armed && l->store.kept_bytes > 0) {
            loop_timer_arm(l, &l->trim_timer, TRIM_AFTER_MS);
            l->takes_at_trim = l->store.takes;
        }
    }
    l->depth--;
}

static void on_deferred_event(evutil_socket_t fd UNUSED, short what UNUSED, void *arg)
{
    struct loop *l;

    CAST_OBJ(l, arg, LOOP_MAGIC);
    loop_enter(l);
    loop_leave(l);
}

/* Under AddressSanitizer the C library's allocator is not in use, and malloc_trim sets it up: two
 * loops that do so at one time crash in it. */
static void heap_trim(void)
{
#ifndef __SANITIZE_ADDRESS__
    (void)malloc_trim(0);
#endif
}

static void on_trim(struct loop_timer *t)
{
    struct loop *l = CONTAINER_OF(t, struct loop, trim_timer);

    if (l->store.takes != l->takes_at_trim) { /* traffic: keep, look again later */
        l->takes_at_trim = l->store.takes;
        loop_timer_arm(l, t, TRIM_AFTER_MS);
        return;
    }
    frame_store_empty(&l->store);
    heap_trim();
}

/* ---- mail */

static void on_mail_event(evutil_socket_t fd UNUSED, short what UNUSED, void *arg)
{
    struct loop *l;

    CAST_OBJ(l, arg, LOOP_MAGIC);
    loop_enter(l);
    (void)mailbox_deliver(&l->mailbox);
    loop_leave(l);
}

struct call {
    struct mail mail;
    void (*run)(void *arg);
    void *arg;
    struct lock mtx;
    pthread_cond_t done;
    bool is_done;
};

static void deliver_call(struct mail *m)
{
    struct call *c = CONTAINER_OF(m, struct call, mail);

    c->run(c->arg);
    lock_take(&c->mtx);
    c->is_done = true;
    MUST(pthread_cond_signal(&c->done) == 0);
    lock_release(&c->mtx);
}

void loop_call(struct loop *l, void (*run)(void *arg), void *arg)
{
    struct call c = {.mail = {.deliver = deliver_call}, .run = run, .arg = arg};

    CHECK_OBJ(l, LOOP_MAGIC);
    ASSERT(!loop_is_current(l) && run != NULL); /* it would wait for itself */
    lock_init(&c.mtx, LOCK_LEAF);
    lock_cond_init(&c.done);
    loop_post(l, &c.mail);
    lock_take(&c.mtx);
    while (!c.is_done)
        (void)lock_wait(&c.mtx, &c.done, -1);
    lock_release(&c.mtx);
    MUST(pthread_cond_destroy(&c.done) == 0);
    lock_fini(&c.mtx);
}

/* ---- life */

static void *thread_main(void *arg)
{
    struct loop *l;

    CAST_OBJ(l, arg, LOOP_MAGIC);
    current = l;
    (void)fsx_thread_may_wait(false);
    frame_store_use(&l->store);
    while (!l->is_stopping)
        MUST(event_base_loop(l->base, EVLOOP_NO_EXIT_ON_EMPTY) >= 0);
    loop_enter(l);
    (void)mailbox_deliver(&l->mailbox);
    loop_leave(l);
    loop_timer_cancel(l, &l->trim_timer);
    frame_store_empty(&l->store);
    frame_store_use(NULL);
    return NULL;
}

static void loop_free(struct loop *l)
{
    if (l->mail_event != NULL)
        event_free(l->mail_event);
    if (l->wheel_event != NULL)
        event_free(l->wheel_event);
    if (l->deferred_event != NULL)
        event_free(l->deferred_event);
    if (l->base != NULL)
        event_base_free(l->base);
    mailbox_fini(&l->mailbox);
    if (l->timer_fd >= 0)
        (void)close(l->timer_fd);
    l->magic = 0;
    mem_free(l);
}

static struct event_base *base_new(void)
{
    struct event_config *config = event_config_new();
    struct event_base *base = NULL;

    if (config == NULL)
        return NULL;
    /* (no changelist: it would name descriptors after they are closed, and perhaps reused) */
    if (event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK) == 0)
        base = event_base_new_with_config(config);
    event_config_free(config);
    return base;
}

static enum err start_thread(struct loop *l)
{
    pthread_attr_t attr;

    MUST(pthread_attr_init(&attr) == 0);
    MUST(pthread_attr_setstacksize(&attr, STACK_BYTES) == 0);
    int rc = pthread_create(&l->thread, &attr, thread_main, l);
    MUST(pthread_attr_destroy(&attr) == 0);
    if (rc != 0)
        return err_from_errno(rc);
    (void)pthread_setname_np(l->thread, l->name);
    return ERR_OK;
}

enum err loop_start(const char *name, struct loop **loop_out)
{
    struct loop *l = xcalloc(1, sizeof *l);
    enum err rc;

    *loop_out = NULL;
    l->magic = LOOP_MAGIC;
    l->wheel_event_ms = -1;
    l->timer_fd = -1;
    l->now_ms = clock_mono_ms();
    l->trim_timer.fire = on_trim;
    TAILQ_INIT(&l->deferred);
    twheel_init(&l->wheel, l->now_ms);
    (void)snprintf(l->name, sizeof l->name, "%s", name);
    rc = mailbox_init(&l->mailbox);
    if (rc != ERR_OK)
        goto out;
    rc = ERR_NO_MEMORY;
    l->base = base_new();
    l->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    if (l->base == NULL || l->timer_fd < 0)
        goto out;
    l->mail_event = event_new(l->base, l->mailbox.fd, EV_READ | EV_PERSIST, on_mail_event, l);
    l->wheel_event = event_new(l->base, l->timer_fd, EV_READ | EV_PERSIST, on_wheel_event, l);
    l->deferred_event = event_new(l->base, -1, 0, on_deferred_event, l);
    if (l->mail_event == NULL || l->wheel_event == NULL || l->deferred_event == NULL ||
        event_add(l->mail_event, NULL) != 0 || event_add(l->wheel_event, NULL) != 0)
        goto out;
    rc = start_thread(l);
    if (rc != ERR_OK)
        goto out;
    *loop_out = l;
    l = NULL;
out:
    if (l != NULL)
        loop_free(l);
    return rc;
}

static void deliver_stop(struct mail *m)
{
    struct loop *l = current;

    mem_free(m);
    l->is_stopping = true;
    (void)event_base_loopbreak(l->base);
}

void loop_stop(struct loop **loop)
{
    struct loop *l = *loop;

    if (l == NULL)
        return;
    CHECK_OBJ(l, LOOP_MAGIC);
    ASSERT(!loop_is_current(l));
    struct mail *m = xcalloc(1, sizeof *m);
    m->deliver = deliver_stop;
    loop_post(l, m);
    MUST(pthread_join(l->thread, NULL) == 0);
    ASSERT(l->wheel.count == 0 && TAILQ_EMPTY(&l->deferred));
    loop_free(l);
    *loop = NULL;
}
