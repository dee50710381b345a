/* SPDX-License-Identifier: Apache-2.0 */
/* loop - one thread with a libevent base, a mailbox and a timer wheel. Owns its connections.
 * Nothing that blocks runs here: no fsync, open, roll, truncate, getaddrinfo, large decompression.
 */
#ifndef COMMON_NET_LOOP_H
#define COMMON_NET_LOOP_H

#include "common/base/base.h"
#include "common/base/mailbox.h"

struct event_base;
struct loop;

/* Starts the thread. name: at most 15 characters, copied. */
NODISCARD enum err loop_start(const char *name, struct loop **loop_out);
/* Asks the loop to end, waits for it, frees it. Everything that lives on it must be closed before.
 */
void loop_stop(struct loop **loop);
bool loop_is_current(const struct loop *l);
struct event_base *loop_base(struct loop *l);
/* Any thread: m->deliver runs on the loop. */
void loop_post(struct loop *l, struct mail *m);
/* The loop's monotonic time, read once a turn. Loop thread. */
int64_t loop_now_ms(const struct loop *l);

/* A timer of the loop's wheel (1 ms ticks). Embedded; zero-initialised is unarmed. Loop thread
 * only. */
struct loop_timer {
    LIST_ENTRY(loop_timer) link;
    int64_t deadline_ms;
    bool is_armed;
    void (*fire)(struct loop_timer *t);
};
void loop_timer_arm(struct loop *l, struct loop_timer *t,
                    int64_t delay_ms);                        /* arms again if armed */
void loop_timer_cancel(struct loop *l, struct loop_timer *t); /* unarmed is fine */

#endif
