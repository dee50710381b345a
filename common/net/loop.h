/* SPDX-License-Identifier: Apache-2.0 */
/* loop - one thread with a libevent base, a mailbox and a timer wheel. Owns its connections.
 * Nothing that blocks runs here: no fsync, open, roll, truncate, getaddrinfo, large decompression.
 * An idle loop sleeps until the next armed timer: it never ticks. */
#ifndef COMMON_NET_LOOP_H
#define COMMON_NET_LOOP_H

#include "common/base/base.h"
#include "common/base/mailbox.h"
#include "common/base/twheel.h"

struct event_base;
struct loop;

/* Starts the thread. name: at most 15 characters, copied. */
NODISCARD enum err loop_start(const char *name, struct loop **loop_out);
/* Asks the loop to end, waits for it, frees it. Everything that lives on it must be closed before.
 * Mail that is in the box is still delivered. NULL is fine. */
void loop_stop(struct loop **loop);
bool loop_is_current(const struct loop *l);
struct loop *loop_current(void); /* NULL on a thread that is no loop */
/* Made without locks: for the loop thread only. */
struct event_base *loop_base(struct loop *l);
/* Any thread: m->deliver runs on the loop. */
void loop_post(struct loop *l, struct mail *m);
/* For those who deliver to a mailbox (coord, controller_request): it lives as long as the loop. */
struct mailbox *loop_mailbox(struct loop *l);
/* Any thread but the loop's own: runs run(arg) on the loop and waits until it has returned. For
 * start, stop and tests. */
void loop_call(struct loop *l, void (*run)(void *arg), void *arg);
/* The loop's monotonic time, read once a turn. Loop thread. */
int64_t loop_now_ms(const struct loop *l);

/* A timer of the loop's wheel (1 ms ticks). Embedded; zero-initialised is unarmed. Loop thread
 * only. fire never runs before its time, and may arm it again or free it. */
struct loop_timer {
    struct twheel_timer node;
    bool is_armed;
    void (*fire)(struct loop_timer *t);
};
void loop_timer_arm(struct loop *l, struct loop_timer *t,
                    int64_t delay_ms);                        /* arms again if armed */
void loop_timer_cancel(struct loop *l, struct loop_timer *t); /* unarmed is fine */

/* Work for the end of the loop's turn, after the mail, timer or socket event that is being handled:
 * lets several answers leave in one write. Once queued, a second loop_defer changes nothing until
 * it has run. Loop thread. */
struct loop_deferred {
    TAILQ_ENTRY(loop_deferred) link;
    bool is_queued;
    void (*run)(struct loop_deferred *d);
};
void loop_defer(struct loop *l, struct loop_deferred *d);
void loop_defer_cancel(struct loop *l, struct loop_deferred *d);
/* Every libevent callback on the loop begins and ends with these two, so that deferred work runs
 * without another turn. (Without them it runs too, a little later.) */
void loop_enter(struct loop *l);
void loop_leave(struct loop *l);

#endif
