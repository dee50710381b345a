/* SPDX-License-Identifier: Apache-2.0 */
/* twheel - a hierarchical timer wheel with 1 ms ticks: arm, cancel and expiry at constant cost,
 * whatever the number of timers. Pure: time comes in. Not thread-safe. */
#ifndef COMMON_BASE_TWHEEL_H
#define COMMON_BASE_TWHEEL_H

#include "common/base/base.h"

enum { TWHEEL_SLOT_BITS = 6, TWHEEL_SLOTS = 1 << TWHEEL_SLOT_BITS, TWHEEL_LEVELS = 7 };

/* Embedded. Zero-initialised is unarmed. */
struct twheel_timer {
    LIST_ENTRY(twheel_timer) link;
    int64_t deadline_ms;
    int8_t level; /* -1: in the list of expired ones */
    uint8_t slot;
    bool is_armed;
};
LIST_HEAD(twheel_list, twheel_timer);

struct twheel {
    int64_t now_ms; /* all before are expired */
    int64_t count;
    uint64_t used[TWHEEL_LEVELS]; /* bit i: slot i has timers */
    struct twheel_list slots[TWHEEL_LEVELS][TWHEEL_SLOTS];
    struct twheel_list expired;
};

void twheel_init(struct twheel *w, int64_t now_ms);
/* A deadline that has passed expires at the next twheel_advance. t must be unarmed. */
void twheel_arm(struct twheel *w, struct twheel_timer *t, int64_t deadline_ms);
void twheel_cancel(struct twheel *w, struct twheel_timer *t); /* unarmed is fine */
/* Moves the wheel to now_ms (earlier than before: no move). Then twheel_pop gives the timers whose
 * deadline is at or before it, unarmed; NULL when there are no more. Between pops timers may be
 * armed and cancelled, those not yet popped too. */
void twheel_advance(struct twheel *w, int64_t now_ms);
struct twheel_timer *twheel_pop(struct twheel *w);
/* Asserts every invariant: looks at all timers. For tests and after damage is suspected. */
void twheel_check(const struct twheel *w);
/* The first deadline; -1: no timers. Costs a look at the timers that lie near it: for after a
 * twheel_advance, not for each twheel_arm. */
int64_t twheel_next_ms(const struct twheel *w);

#endif
