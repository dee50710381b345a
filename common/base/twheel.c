/* SPDX-License-Identifier: Apache-2.0 */
/* Level l has 64 slots of 64^l ms. A timer lies on the lowest level whose span still reaches its
 * deadline, in the slot of the deadline's digit of that level. When the wheel's time enters a slot
 * of a higher level, the timers of that slot are put in again and so move down. Beyond the top
 * level (139 years) deadlines are clipped. */
#include "common/base/twheel.h"

_Static_assert(TWHEEL_SLOTS == 64, "a level's slots are one 64-bit word");

static int level_shift(int level)
{
    return level * TWHEEL_SLOT_BITS;
}

void twheel_init(struct twheel *w, int64_t now_ms)
{
    memset(w, 0, sizeof *w);
    w->now_ms = now_ms;
}

/* The level of the highest digit in which the deadline differs from now: all digits above are the
 * same, so the slot is entered within this turn of the level. */
static int level_of(const struct twheel *w, int64_t deadline_ms)
{
    uint64_t differs = (uint64_t)deadline_ms ^ (uint64_t)w->now_ms;
    int level = differs == 0 ? 0 : (63 - __builtin_clzll(differs)) / TWHEEL_SLOT_BITS;

    return level < TWHEEL_LEVELS ? level : TWHEEL_LEVELS - 1;
}

static void put(struct twheel *w, struct twheel_timer *t)
{
    if (t->deadline_ms <= w->now_ms) {
        t->level = -1;
        LIST_INSERT_HEAD(&w->expired, t, link);
        return;
    }
    int level = level_of(w, t->deadline_ms);
    unsigned slot =
        (unsigned)((uint64_t)t->deadline_ms >> level_shift(level)) & (TWHEEL_SLOTS - 1u);
    t->level = (int8_t)level;
    t->slot = (uint8_t)slot;
    LIST_INSERT_HEAD(&w->slots[level][slot], t, link);
    w->used[level] |= UINT64_C(1) << slot;
}

void twheel_arm(struct twheel *w, struct twheel_timer *t, int64_t deadline_ms)
{
    ASSERT(!t->is_armed && w->count >= 0 && w->now_ms >= 0);
    /* far future is clipped so that no digit lies above the top level */
    int64_t span = INT64_C(1) << level_shift(TWHEEL_LEVELS);
    int64_t last = (w->now_ms | (span - 1));
    t->deadline_ms = i64_min(deadline_ms, last);
    t->is_armed = true;
    w->count++;
    put(w, t);
}

void twheel_cancel(struct twheel *w, struct twheel_timer *t)
{
    if (!t->is_armed)
        return;
    ASSERT(w->count > 0 && t->level >= -1 && t->level < TWHEEL_LEVELS && t->slot < TWHEEL_SLOTS);
    ASSERT(t->level < 0 || (w->used[t->level] >> t->slot & 1) != 0);
    LIST_REMOVE(t, link);
    t->is_armed = false;
    w->count--;
    if (t->level >= 0 && LIST_EMPTY(&w->slots[t->level][t->slot]))
        w->used[t->level] &= ~(UINT64_C(1) << t->slot);
}

/* The first moment at which a used slot is entered; INT64_MAX without one. */
static int64_t next_slot_ms(const struct twheel *w)
{
    int64_t best = INT64_MAX;

    for (int level = 0; level < TWHEEL_LEVELS; level++) {
        if (w->used[level] == 0)
            continue;
        /* digits at or below the current one were emptied when they were entered, so the used slots
         * are all ahead within this turn */
        int shift = level_shift(level);
        int64_t base = w->now_ms >> (shift + TWHEEL_SLOT_BITS) << (shift + TWHEEL_SLOT_BITS);
        int64_t at = base + ((int64_t)__builtin_ctzll(w->used[level]) << shift);
        best = i64_min(best, at);
    }
    return best;
}

static void empty_slot(struct twheel *w, int level, unsigned slot)
{
    struct twheel_timer *t;

    while ((t = LIST_FIRST(&w->slots[level][slot])) != NULL) {
        ASSERT(t->is_armed && t->level == level && t->slot == slot);
        LIST_REMOVE(t, link);
        put(w, t);
    }
    w->used[level] &= ~(UINT64_C(1) << slot);
}

void twheel_advance(struct twheel *w, int64_t now_ms)
{
    while (w->now_ms < now_ms) {
        int64_t at = next_slot_ms(w);
        if (at > now_ms) {
            w->now_ms = now_ms;
            return;
        }
        ASSERT(at > w->now_ms);
        w->now_ms = at;
        for (int level = TWHEEL_LEVELS - 1; level >= 0; level--) {
            unsigned slot = (unsigned)((uint64_t)at >> level_shift(level)) & (TWHEEL_SLOTS - 1u);
            if ((w->used[level] >> slot & 1) != 0)
                empty_slot(w, level, slot);
        }
    }
}

struct twheel_timer *twheel_pop(struct twheel *w)
{
    struct twheel_timer *t = LIST_FIRST(&w->expired);

    if (t != NULL) {
        ASSERT(t->is_armed && t->deadline_ms <= w->now_ms);
        twheel_cancel(w, t);
    }
    return t;
}

void twheel_check(const struct twheel *w)
{
    const struct twheel_timer *t;
    int64_t count = 0;

    LIST_FOREACH (t, &w->expired, link) {
        ASSERT(t->is_armed && t->level == -1 && t->deadline_ms <= w->now_ms);
        count++;
    }
    for (int level = 0; level < TWHEEL_LEVELS; level++)
        for (unsigned slot = 0; slot < TWHEEL_SLOTS; slot++) {
            ASSERT(LIST_EMPTY(&w->slots[level][slot]) == ((w->used[level] >> slot & 1) == 0));
            LIST_FOREACH (t, &w->slots[level][slot], link) {
                ASSERT(t->is_armed && t->level == level && t->slot == slot);
                ASSERT(t->deadline_ms > w->now_ms);
                count++;
            }
        }
    ASSERT(count == w->count);
}

/* All deadlines of a level come before those of the levels above, and within it those of the first
 * used slot: only the timers of one slot are looked at. */
int64_t twheel_next_ms(const struct twheel *w)
{
    const struct twheel_timer *t;
    int64_t first = INT64_MAX;

    ASSERT(w->count >= 0);
    if (w->count == 0)
        return -1;
    if (!LIST_EMPTY(&w->expired))
        return w->now_ms;
    for (int level = 0; level < TWHEEL_LEVELS; level++) {
        if (w->used[level] == 0)
            continue;
        LIST_FOREACH (t, &w->slots[level][__builtin_ctzll(w->used[level])], link)
            first = i64_min(first, t->deadline_ms);
        return first;
    }
    UNREACHABLE();
}
