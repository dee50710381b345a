/* SPDX-License-Identifier: Apache-2.0 */
/* The rules of replication. One function for each event; each is a screen and cites the rule. */
#include "broker/replica/repl_core.h"

/* ---- live brokers */

void repl_live_set(struct repl_live *l, int32_t broker_id, bool is_alive)
{
    uint64_t bit;

    if (broker_id < 0 || broker_id >= REPL_LIVE_IDS)
        return;
    bit = UINT64_C(1) << (broker_id % 64);
    if (is_alive)
        atomic_fetch_or_explicit(&l->bits[broker_id / 64], bit, memory_order_relaxed);
    else
        atomic_fetch_and_explicit(&l->bits[broker_id / 64], ~bit, memory_order_relaxed);
}

bool repl_live_has(const struct repl_live *l, int32_t broker_id)
{
    if (broker_id < 0)
        return false;
    if (broker_id >= REPL_LIVE_IDS)
        return true;
    return (atomic_load_explicit(&l->bits[broker_id / 64], memory_order_relaxed) >>
            (broker_id % 64)) &
           1;
}

/* ---- small helpers */

static bool ids_have(const int32_t *ids, int32_t count, int32_t id)
{
    for (int32_t i = 0; i < count; i++) {
        if (ids[i] == id)
            return true;
    }
    return false;
}

/* What a peer sent: a set of at most REPL_REPLICAS_MAX ids? */
static bool are_ids(const int32_t *ids, int32_t count)
{
    if (count < 0 || count > REPL_REPLICAS_MAX)
        return false;
    for (int32_t i = 0; i < count; i++) {
        if (ids[i] < 0 || ids_have(ids, i, ids[i]))
            return false;
    }
    return true;
}

static void ids_set(int32_t **ids, int16_t *count, const int32_t *from, int32_t from_count)
{
    ASSERT(from_count <= REPL_REPLICAS_MAX);
    if (from_count == 0) {
        FREE_NULL(ids);
    } else {
        if (*count != from_count)
            *ids = xrealloc(*ids, (size_t)from_count * sizeof **ids);
        memcpy(*ids, from, (size_t)from_count * sizeof **ids);
    }
    *count = (int16_t)from_count;
}

static void effect(struct repl_effects *fx, enum repl_effect_kind kind, int32_t epoch,
                   int64_t offset)
{
    ASSERT(fx->count < REPL_EFFECTS_MAX);
    fx->v[fx->count++] = (struct repl_effect){kind, epoch, offset};
}

static struct repl_replica *remote_of(const struct repl_core *r, int32_t id)
{
    for (int16_t i = 0; i < r->remote_count; i++) {
        if (r->remotes[i].id == id)
            return &r->remotes[i];
    }
    return NULL;
}

/* The ISR that may be in force: the committed one, and whoever is being added. A replica that is
 * being removed still counts, since the controller may refuse (docs/reference/replication.md, "High
 * watermark, ISR"). */
static bool in_maximal_isr(const struct repl_core *r, int32_t id)
{
    return ids_have(r->isr, r->isr_count, id) ||
           (r->isr_state == REPL_ISR_EXPANDING && ids_have(r->proposed, r->proposed_count, id));
}

static int16_t maximal_isr_count(const struct repl_core *r)
{
    return r->isr_state == REPL_ISR_EXPANDING ? r->proposed_count : r->isr_count;
}

/* Equal ends are in sync however long ago the last fetch was (KAFKA-4485): the topic is idle. */
static bool is_caught_up(const struct repl_core *r, const struct repl_replica *rep,
                         const struct repl_limits *limits, int64_t now_ms)
{
    return rep->end_offset == r->end_offset ||
           now_ms - rep->last_caught_up_ms <= limits->lag_time_max_ms;
}

static bool is_out_of_sync(const struct repl_core *r, const struct repl_replica *rep,
                           const struct repl_limits *limits, int64_t now_ms)
{
    if (limits->lag_messages > 0 && r->end_offset - rep->end_offset > limits->lag_messages)
        return true;
    return !is_caught_up(r, rep, limits, now_ms);
}

/* ---- high watermark */

/* A leader's HW only rises. Under min ISR it stands still: otherwise what an acks=1 reader has seen
 * could be lost in a later election (KAFKA-15583). */
static void advance_hw(struct repl_core *r, const struct repl_event *ev, struct repl_effects *fx)
{
    int64_t hw = r->end_offset;

    if (r->role != REPL_LEADER || r->isr_count < repl_effective_min_isr(r))
        return;
    for (int16_t i = 0; i < r->remote_count; i++) {
        const struct repl_replica *rep = &r->remotes[i];
        /* One that is about to join holds HW too, or it could never reach it; but not a dead one
         * (KAFKA-15021). */
        if (rep->end_offset < hw &&
            (in_maximal_isr(r, rep->id) ||
             (is_caught_up(r, rep, ev->limits, ev->now_ms) && repl_live_has(ev->live, rep->id))))
            hw = rep->end_offset;
    }
    if (hw > r->hw_offset) {
        r->hw_offset = hw;
        effect(fx, REPL_FX_SET_HW, 0, hw);
    }
}

/* A follower's HW is its leader's, within its own log; it may go down. */
static void set_follower_hw(struct repl_core *r, int64_t hw, struct repl_effects *fx)
{
    hw = i64_max(r->start_offset, i64_min(hw, r->end_offset));
    if (hw != r->hw_offset) {
        r->hw_offset = hw;
        effect(fx, REPL_FX_SET_HW, 0, hw);
    }
}

/* ---- ISR */

static void propose(struct repl_core *r, enum repl_isr_state state, struct repl_effects *fx)
{
    r->isr_state = state;
    r->change_id++;
    effect(fx, REPL_FX_PROPOSE_ISR, r->leader_epoch, 0);
}

static void drop_proposal(struct repl_core *r)
{
    r->isr_state = REPL_ISR_COMMITTED;
    ids_set(&r->proposed, &r->proposed_count, NULL, 0);
}

/* May the follower that has just fetched join? HW alone is not enough: after an election it can be
 * stale and low (KAFKA-7128). rep is the state of this very fetch (KAFKA-15221). */
static void maybe_expand(struct repl_core *r, const struct repl_event *ev,
                         const struct repl_replica *rep, struct repl_effects *fx)
{
    int32_t isr[REPL_REPLICAS_MAX];

    if (r->isr_state != REPL_ISR_COMMITTED || ids_have(r->isr, r->isr_count, rep->id) ||
        r->isr_count >= REPL_REPLICAS_MAX || !repl_live_has(ev->live, rep->id))
        return;
    if (rep->end_offset < r->hw_offset || rep->end_offset < r->leader_start_offset)
        return;
    if (is_out_of_sync(r, rep, ev->limits, ev->now_ms) && ev->limits->lag_messages > 0)
        return; /* it would be thrown out again at once */
    memcpy(isr, r->isr, (size_t)r->isr_count * sizeof *isr);
    isr[r->isr_count] = rep->id;
    r->joiner_epoch = rep->broker_epoch;
    ids_set(&r->proposed, &r->proposed_count, isr, r->isr_count + 1);
    propose(r, REPL_ISR_EXPANDING, fx);
}

static void maybe_shrink(struct repl_core *r, const struct repl_event *ev, struct repl_effects *fx)
{
    int32_t isr[REPL_REPLICAS_MAX];
    int16_t count = 0;

    if (r->role != REPL_LEADER || r->isr_state != REPL_ISR_COMMITTED)
        return;
    for (int16_t i = 0; i < r->isr_count; i++) {
        const struct repl_replica *rep = remote_of(r, r->isr[i]);
        /* A member outside of the replicas is thrown out (KAFKA-9672). */
        if (r->isr[i] == r->me || (rep != NULL && !is_out_of_sync(r, rep, ev->limits, ev->now_ms)))
            isr[count++] = r->isr[i];
    }
    if (count == r->isr_count || count == 0)
        return;
    ids_set(&r->proposed, &r->proposed_count, isr, count);
    propose(r, REPL_ISR_SHRINKING, fx);
}

static void on_isr_result(struct repl_core *r, const struct repl_event *ev, struct repl_effects *fx)
{
    if (r->role != REPL_LEADER || r->isr_state == REPL_ISR_COMMITTED ||
        ev->isr_result.change_id != r->change_id)
        return; /* a LeaderAndIsr came meanwhile (KAFKA-12686) */
    switch (ev->isr_result.error) {
    case KE_NONE:
        if (ev->isr_result.leader_epoch != r->leader_epoch ||
            ev->isr_result.partition_epoch < r->partition_epoch ||
            !are_ids(ev->isr_result.isr, ev->isr_result.isr_count) ||
            !ids_have(ev->isr_result.isr, ev->isr_result.isr_count, r->me))
            return;
        ids_set(&r->isr, &r->isr_count, ev->isr_result.isr, ev->isr_result.isr_count);
        r->partition_epoch = ev->isr_result.partition_epoch;
        drop_proposal(r);
        advance_hw(r, ev, fx); /* KAFKA-13091 */
        return;
    case KE_OPERATION_NOT_ATTEMPTED:
    case KE_INELIGIBLE_REPLICA:
        drop_proposal(r);
        advance_hw(r, ev, fx);
        return;
    case KE_UNKNOWN_TOPIC_OR_PARTITION:
    case KE_UNKNOWN_TOPIC_ID:
    case KE_FENCED_LEADER_EPOCH:
    case KE_INVALID_UPDATE_VERSION:
    case KE_INVALID_REQUEST:
    case KE_NEW_LEADER_ELECTED:
        return; /* our state is old: the maximal ISR stays in force until LeaderAndIsr tells */
    default:
        effect(fx, REPL_FX_PROPOSE_ISR, r->leader_epoch, 0); /* the same change again */
        return;
    }
}

/* ---- roles */

static void reset_remote(const struct repl_core *r, struct repl_replica *rep, bool keeps_offsets,
                         int64_t now_ms)
{
    bool in_isr = ids_have(r->isr, r->isr_count, rep->id);

    rep->last_caught_up_ms = in_isr ? now_ms : REPL_NEVER_MS;
    if (keeps_offsets) {
        rep->last_fetch_leader_end = r->leader_start_offset;
        rep->last_fetch_ms = in_isr ? now_ms : REPL_NEVER_MS;
    } else {
        rep->end_offset = -1;
        rep->start_offset = -1;
        rep->last_fetch_leader_end = -1;
        rep->last_fetch_ms = REPL_NEVER_MS;
        rep->broker_epoch = -1;
    }
}

static void set_remotes(struct repl_core *r, const struct repl_event *ev)
{
    struct repl_replica *old = r->remotes;
    struct repl_core before = {.remotes = old, .remote_count = r->remote_count};
    int16_t count = 0;

    r->remotes = ev->become.state->replica_count > 1
                     ? xcalloc((size_t)ev->become.state->replica_count - 1, sizeof *r->remotes)
                     : NULL;
    for (int32_t i = 0; i < ev->become.state->replica_count; i++) {
        int32_t id = ev->become.state->replicas[i];
        const struct repl_replica *known = remote_of(&before, id);
        bool keeps = r->was_leader && known != NULL;

        if (id == r->me)
            continue;
        ASSERT(count < ev->become.state->replica_count - 1);
        if (keeps)
            r->remotes[count] = *known;
        r->remotes[count].id = id;
        reset_remote(r, &r->remotes[count], keeps, ev->now_ms);
        count++;
    }
    r->remote_count = count;
    mem_free(old);
}

static void forget_leadership(struct repl_core *r)
{
    FREE_NULL(&r->remotes);
    r->remote_count = 0;
    ids_set(&r->isr, &r->isr_count, NULL, 0);
    drop_proposal(r);
    r->leader_start_offset = -1;
    r->was_leader = false;
}

/* The epoch goes into the epoch cache before anything is appended in it (KAFKA-7415). HW stays that
 * of follower times until followers fetch. */
static void become_leader(struct repl_core *r, const struct repl_event *ev, struct repl_effects *fx)
{
    r->was_leader = r->role == REPL_LEADER || (r->role == REPL_ELECTED && r->was_leader);
    if (r->role != REPL_LEADER && r->role != REPL_ELECTED)
        r->led_since_epoch = r->leader_epoch;
    r->role = REPL_ELECTED;
    r->leader_start_offset = r->end_offset;
    ids_set(&r->isr, &r->isr_count, ev->become.state->isr, ev->become.state->isr_count);
    drop_proposal(r);
    set_remotes(r, ev);
    effect(fx, REPL_FX_STOP_FETCH, 0, 0);
    effect(fx, REPL_FX_WRITE_EPOCH, r->leader_epoch, r->end_offset);
}

static void become_follower(struct repl_core *r, const struct repl_event *ev,
                            struct repl_effects *fx)
{
    bool led = r->role == REPL_LEADER || r->role == REPL_ELECTED;

    r->role = REPL_FOLLOWER;
    forget_leadership(r);
    effect(fx, REPL_FX_STOP_FETCH, 0, 0);
    if (led)
        effect(fx, REPL_FX_FAIL_WAITS, 0, 0);
    effect(fx, REPL_FX_EPOCH_CHANGED, 0, 0);
    if (r->leader_id < 0)
        return;
    /* Without any epoch of its own the log can't be compared: what is above HW is not known to be
     * the leader's. */
    if (!ev->become.has_epochs && r->end_offset > r->hw_offset) {
        r->is_truncating = true;
        effect(fx, REPL_FX_TRUNCATE, 0, r->hw_offset);
    }
    if (!r->is_truncating)
        effect(fx, REPL_FX_FOLLOW, r->leader_epoch, r->end_offset);
}

static void on_become(struct repl_core *r, const struct repl_event *ev, struct repl_effects *fx)
{
    ASSERT(r->role != REPL_STOPPED);
    ASSERT(!r->is_truncating); /* the driver finishes that first */
    ASSERT(ev->become.state->leader_epoch > r->leader_epoch);
    ASSERT(ev->become.state->partition_epoch >= r->partition_epoch);
    r->start_offset = ev->become.start_offset;
    r->end_offset = ev->become.end_offset;
    r->hw_offset = ev->become.hw_offset;
    r->leader_id = ev->become.state->leader_id;
    r->leader_epoch = ev->become.state->leader_epoch;
    r->partition_epoch = ev->become.state->partition_epoch;
    r->min_isr = ev->become.min_isr;
    if (r->leader_id == r->me)
        become_leader(r, ev, fx);
    else
        become_follower(r, ev, fx);
}

static void on_epoch_written(struct repl_core *r, const struct repl_event *ev,
                             struct repl_effects *fx)
{
    if (r->role != REPL_ELECTED || ev->epoch_written.leader_epoch != r->leader_epoch)
        return;
    r->role = REPL_LEADER;
    r->was_leader = false;
    effect(fx, REPL_FX_LED, r->leader_epoch, r->leader_start_offset);
    advance_hw(r, ev, fx); /* the ISR may be only us */
    effect(fx, REPL_FX_EPOCH_CHANGED, 0, 0);
}

static void on_stop(struct repl_core *r, const struct repl_event *ev, struct repl_effects *fx)
{
    bool led = r->role == REPL_LEADER || r->role == REPL_ELECTED;

    ASSERT(!r->is_truncating || ev->stop.is_final);
    r->role = ev->stop.is_final ? REPL_STOPPED : REPL_IDLE;
    r->leader_id = -1;
    r->is_truncating = false;
    forget_leadership(r);
    effect(fx, REPL_FX_STOP_FETCH, 0, 0);
    if (led)
        effect(fx, REPL_FX_FAIL_WAITS, 0, 0);
    effect(fx, REPL_FX_EPOCH_CHANGED, 0, 0);
}

/* ---- leader */

static void on_appended(struct repl_core *r, const struct repl_event *ev, struct repl_effects *fx)
{
    ASSERT(r->role == REPL_LEADER);
    ASSERT(ev->appended.end_offset >= r->end_offset);
    /* Who had everything was caught up until now. Its last fetch may be long ago: a fetch session
     * does not name partitions without news. */
    for (int16_t i = 0; i < r->remote_count; i++)
        if (r->remotes[i].end_offset == r->end_offset)
            r->remotes[i].last_caught_up_ms = i64_max(r->remotes[i].last_caught_up_ms, ev->now_ms);
    r->end_offset = ev->appended.end_offset;
    advance_hw(r, ev, fx);
}

/* A follower asks for fetch_offset: it has everything before. */
static void on_fetch(struct repl_core *r, const struct repl_event *ev, struct repl_effects *fx)
{
    struct repl_replica *rep = remote_of(r, ev->fetch.replica_id);
    int64_t offset = ev->fetch.fetch_offset;
    bool moved;

    if (r->role != REPL_LEADER || rep == NULL)
        return;
    ASSERT(offset >= 0 && offset <= r->end_offset);
    if (offset >= r->end_offset)
        rep->last_caught_up_ms = i64_max(rep->last_caught_up_ms, ev->now_ms);
    else if (offset >= rep->last_fetch_leader_end && rep->last_fetch_leader_end >= 0)
        /* it has all that there was when it asked the last time */
        rep->last_caught_up_ms = i64_max(rep->last_caught_up_ms, rep->last_fetch_ms);
    moved = rep->end_offset != offset;
    rep->end_offset = offset;
    rep->start_offset = ev->fetch.start_offset;
    rep->broker_epoch = ev->fetch.broker_epoch;
    rep->last_fetch_leader_end = i64_max(r->end_offset, rep->last_fetch_leader_end);
    rep->last_fetch_ms = ev->now_ms;
    maybe_expand(r, ev, rep, fx);
    if (moved)
        advance_hw(r, ev, fx);
}

/* ---- follower */

static bool is_following(const struct repl_core *r, int32_t leader_epoch)
{
    /* an answer to a request of another epoch is stale (KAFKA-7786) */
    return r->role == REPL_FOLLOWER && r->leader_epoch == leader_epoch && !r->is_truncating;
}

static void truncate(struct repl_core *r, int64_t offset, struct repl_effects *fx)
{
    r->is_truncating = true;
    effect(fx, REPL_FX_TRUNCATE, 0, i64_max(offset, 0));
}

/* The table of docs/reference/replication.md, "Truncation". Where the epochs do not match yet the
 * next fetch asks again, with the new last epoch. Nothing else of such an answer is used
 * (KAFKA-14704). */
static void on_diverged(struct repl_core *r, const struct repl_event *ev, struct repl_effects *fx)
{
    int64_t offset;

    if (!is_following(r, ev->diverged.leader_epoch))
        return;
    if (ev->diverged.end_offset < 0)
        offset = r->hw_offset;
    else if (ev->diverged.epoch < 0 || ev->diverged.own_epoch < 0)
        offset = ev->diverged.end_offset;
    else if (ev->diverged.own_epoch == ev->diverged.epoch)
        offset = i64_min(ev->diverged.own_epoch_end, ev->diverged.end_offset);
    else
        offset = ev->diverged.own_epoch_end;
    truncate(r, i64_min(offset, r->end_offset), fx);
}

/* HW follows the log down. */
static void on_truncated(struct repl_core *r, const struct repl_event *ev, struct repl_effects *fx)
{
    ASSERT(r->is_truncating);
    r->is_truncating = false;
    r->start_offset = ev->truncated.start_offset;
    r->end_offset = ev->truncated.end_offset;
    set_follower_hw(r, r->hw_offset, fx);
    effect(fx, REPL_FX_FOLLOW, r->leader_epoch, r->end_offset);
}

static void on_fetched(struct repl_core *r, const struct repl_event *ev, struct repl_effects *fx)
{
    int64_t start;

    if (!is_following(r, ev->fetched.leader_epoch))
        return;
    ASSERT(ev->fetched.end_offset >= r->end_offset);
    r->end_offset = ev->fetched.end_offset;
    set_follower_hw(r, ev->fetched.leader_hw, fx);
    start = i64_min(ev->fetched.leader_start, r->hw_offset);
    if (start > r->start_offset) {
        r->start_offset = start;
        effect(fx, REPL_FX_SET_START, 0, start);
    }
}

static void on_leader_end(struct repl_core *r, const struct repl_event *ev, struct repl_effects *fx)
{
    if (!is_following(r, ev->leader_end.leader_epoch))
        return;
    if (ev->leader_end.offset < r->end_offset)
        truncate(r, ev->leader_end.offset, fx);
    else
        effect(fx, REPL_FX_ASK_LEADER_START, r->leader_epoch, 0);
}

static void on_leader_start(struct repl_core *r, const struct repl_event *ev,
                            struct repl_effects *fx)
{
    if (!is_following(r, ev->leader_start.leader_epoch))
        return;
    if (ev->leader_start.offset > r->end_offset) {
        r->is_truncating = true;
        effect(fx, REPL_FX_RESTART_AT, 0, ev->leader_start.offset);
    } else {
        effect(fx, REPL_FX_FOLLOW, r->leader_epoch, r->end_offset);
    }
}

static void on_restart(struct repl_core *r, const struct repl_event *ev, struct repl_effects *fx)
{
    if (!is_following(r, ev->restart.leader_epoch) || r->start_offset != r->end_offset)
        return;
    r->is_truncating = true;
    effect(fx, REPL_FX_RESTART_AT, 0, ev->restart.offset);
}

static void on_start_moved(struct repl_core *r, const struct repl_event *ev)
{
    ASSERT(ev->start_moved.start_offset <= r->end_offset);
    r->start_offset = ev->start_moved.start_offset;
    r->hw_offset = i64_max(r->hw_offset, r->start_offset);
}

/* ---- */

void repl_init(struct repl_core *r, int32_t me)
{
    *r = (struct repl_core){.me = me,
                            .role = REPL_IDLE,
                            .leader_id = -1,
                            .leader_epoch = -1,
                            .partition_epoch = -1,
                            .leader_start_offset = -1,
                            .led_since_epoch = -1,
                            .min_isr = 1};
}

void repl_fini(struct repl_core *r)
{
    forget_leadership(r);
}

int16_t repl_admit(const struct repl_core *r, const struct repl_state *st, bool *skip_out)
{
    *skip_out = false;
    if (st->leader_epoch < 0 || st->replica_count <= 0 ||
        !are_ids(st->replicas, st->replica_count) || !are_ids(st->isr, st->isr_count))
        return KE_INVALID_REQUEST;
    if (st->leader_epoch <= r->leader_epoch)
        return KE_STALE_CONTROLLER_EPOCH;
    if (!ids_have(st->replicas, st->replica_count, r->me))
        return KE_UNKNOWN_TOPIC_OR_PARTITION;
    if (st->leader_id == r->me && !ids_have(st->isr, st->isr_count, r->me))
        return KE_INVALID_REQUEST;
    *skip_out = st->partition_epoch < r->partition_epoch;
    return KE_NONE;
}

void repl_step(struct repl_core *r, const struct repl_event *ev, struct repl_effects *fx_out)
{
    fx_out->count = 0;
    if (r->role == REPL_STOPPED)
        return;
    switch (ev->kind) {
    case REPL_EV_BECOME:
        on_become(r, ev, fx_out);
        break;
    case REPL_EV_EPOCH_WRITTEN:
        on_epoch_written(r, ev, fx_out);
        break;
    case REPL_EV_APPENDED:
        on_appended(r, ev, fx_out);
        break;
    case REPL_EV_FETCH:
        on_fetch(r, ev, fx_out);
        break;
    case REPL_EV_ISR_RESULT:
        on_isr_result(r, ev, fx_out);
        break;
    case REPL_EV_TICK:
        maybe_shrink(r, ev, fx_out);
        advance_hw(r, ev, fx_out); /* one that was only caught up may hold HW no longer */
        break;
    case REPL_EV_MIN_ISR:
        r->min_isr = ev->min_isr.min_isr;
        advance_hw(r, ev, fx_out);
        break;
    case REPL_EV_DIVERGED:
        on_diverged(r, ev, fx_out);
        break;
    case REPL_EV_TRUNCATED:
        on_truncated(r, ev, fx_out);
        break;
    case REPL_EV_FETCHED:
        on_fetched(r, ev, fx_out);
        break;
    case REPL_EV_LEADER_END:
        on_leader_end(r, ev, fx_out);
        break;
    case REPL_EV_LEADER_START:
        on_leader_start(r, ev, fx_out);
        break;
    case REPL_EV_RESTART:
        on_restart(r, ev, fx_out);
        break;
    case REPL_EV_START_MOVED:
        on_start_moved(r, ev);
        break;
    case REPL_EV_STOP:
        on_stop(r, ev, fx_out);
        break;
    }
}

int64_t repl_deadline_ms(const struct repl_core *r, const struct repl_limits *limits)
{
    int64_t first = INT64_MAX;

    if (r->role != REPL_LEADER || r->isr_state != REPL_ISR_COMMITTED)
        return first;
    for (int16_t i = 0; i < r->isr_count; i++) {
        const struct repl_replica *rep = remote_of(r, r->isr[i]);
        if (rep == NULL && r->isr[i] != r->me)
            return REPL_NEVER_MS; /* at once */
        if (rep != NULL && rep->end_offset != r->end_offset)
            first = i64_min(first, rep->last_caught_up_ms + limits->lag_time_max_ms + 1);
    }
    return first;
}

static void check_ids(const int32_t *ids, int16_t count)
{
    ASSERT(count >= 0 && count <= REPL_REPLICAS_MAX);
    ASSERT((count == 0) == (ids == NULL));
    for (int16_t i = 0; i < count; i++)
        ASSERT(!ids_have(ids, i, ids[i]));
}

static void check_leader(const struct repl_core *r)
{
    ASSERT(r->leader_id == r->me);
    ASSERT(!r->is_truncating);
    ASSERT(ids_have(r->isr, r->isr_count, r->me)); /* LeaderInIsr */
    ASSERT(r->leader_start_offset >= 0 && r->leader_start_offset <= r->end_offset);
    if (r->isr_state != REPL_ISR_COMMITTED)
        ASSERT(ids_have(r->proposed, r->proposed_count, r->me));
    for (int16_t i = 0; i < r->remote_count; i++) {
        const struct repl_replica *rep = &r->remotes[i];
        ASSERT(rep->id != r->me);
        ASSERT(rep->end_offset <= r->end_offset);
        ASSERT(rep->last_fetch_leader_end <= r->end_offset);
        for (int16_t j = 0; j < i; j++)
            ASSERT(r->remotes[j].id != rep->id);
    }
    if (r->isr_state == REPL_ISR_EXPANDING) {
        ASSERT(r->proposed_count == r->isr_count + 1);
        for (int16_t i = 0; i < r->isr_count; i++)
            ASSERT(ids_have(r->proposed, r->proposed_count, r->isr[i]));
    }
    if (r->isr_state == REPL_ISR_SHRINKING) {
        ASSERT(r->proposed_count < r->isr_count);
        for (int16_t i = 0; i < r->proposed_count; i++)
            ASSERT(ids_have(r->isr, r->isr_count, r->proposed[i]));
    }
}

void repl_check(const struct repl_core *r)
{
    ASSERT(r->start_offset >= 0);
    ASSERT(r->start_offset <= r->hw_offset && r->hw_offset <= r->end_offset);
    check_ids(r->isr, r->isr_count);
    check_ids(r->proposed, r->proposed_count);
    ASSERT((r->isr_state == REPL_ISR_COMMITTED) == (r->proposed_count == 0));
    if (r->role == REPL_LEADER || r->role == REPL_ELECTED) {
        check_leader(r);
    } else {
        ASSERT(r->isr_count == 0 && r->remote_count == 0 && r->remotes == NULL);
        ASSERT(r->leader_id != r->me);
    }
    ASSERT(!r->is_truncating || r->role == REPL_FOLLOWER);
}

/* ---- questions */

int16_t repl_admit_read(const struct repl_core *r, int32_t current_leader_epoch, int32_t replica_id,
                        bool leader_required)
{
    if (r->role == REPL_STOPPED || r->role == REPL_IDLE)
        return KE_NOT_LEADER_OR_FOLLOWER;
    if (current_leader_epoch >= 0 && current_leader_epoch < r->leader_epoch)
        return KE_FENCED_LEADER_EPOCH;
    if (current_leader_epoch >= 0 && current_leader_epoch > r->leader_epoch)
        return KE_UNKNOWN_LEADER_EPOCH;
    if (r->is_truncating || (r->role != REPL_LEADER && (leader_required || replica_id >= 0)))
        return KE_NOT_LEADER_OR_FOLLOWER;
    /* A new follower may have seen its LeaderAndIsr before we see ours (KAFKA-13837). */
    if (replica_id >= 0 && remote_of(r, replica_id) == NULL)
        return current_leader_epoch >= 0 ? KE_UNKNOWN_LEADER_EPOCH : KE_NOT_LEADER_OR_FOLLOWER;
    return KE_NONE;
}

int16_t repl_admit_append(const struct repl_core *r, int16_t acks)
{
    if (r->role != REPL_LEADER)
        return KE_NOT_LEADER_OR_FOLLOWER;
    if (acks == -1 && r->isr_count < repl_effective_min_isr(r))
        return KE_NOT_ENOUGH_REPLICAS;
    return KE_NONE;
}

bool repl_is_replicated(const struct repl_core *r, int32_t leader_epoch, int64_t required_offset,
                        int16_t acks, int16_t *result_out)
{
    int16_t have = 1; /* us */

    *result_out = KE_NONE;
    if ((r->role != REPL_LEADER && r->role != REPL_ELECTED) || leader_epoch < r->led_since_epoch) {
        *result_out = KE_NOT_LEADER_OR_FOLLOWER;
        return true;
    }
    if (acks == -1) {
        if (r->hw_offset < required_offset)
            return false;
        if (maximal_isr_count(r) < repl_effective_min_isr(r))
            *result_out = KE_NOT_ENOUGH_REPLICAS_AFTER_APPEND;
        return true;
    }
    for (int16_t i = 0; i < r->remote_count; i++) {
        if (r->remotes[i].end_offset >= required_offset)
            have++;
    }
    return have >= acks;
}

int64_t repl_low_watermark(const struct repl_core *r, const struct repl_live *live)
{
    int64_t low = r->start_offset;

    for (int16_t i = 0; i < r->remote_count; i++) {
        if (repl_live_has(live, r->remotes[i].id))
            low = i64_min(low, r->remotes[i].start_offset);
    }
    return low;
}

const struct repl_replica *repl_remote(const struct repl_core *r, int32_t id)
{
    return remote_of(r, id);
}

bool repl_in_isr(const struct repl_core *r, int32_t id)
{
    return ids_have(r->isr, r->isr_count, id);
}

/* A setting above the replication factor does not block. */
int16_t repl_effective_min_isr(const struct repl_core *r)
{
    return (int16_t)i32_min(r->min_isr, r->remote_count + 1);
}

bool repl_is_under_replicated(const struct repl_core *r)
{
    return r->role == REPL_LEADER && r->isr_count < r->remote_count + 1;
}
