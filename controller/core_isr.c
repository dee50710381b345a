/* SPDX-License-Identifier: Apache-2.0 */
/* AlterPartition: a leader asks for another ISR. The rules stand in the order of KIP-497 and the
 * fixes to it (KAFKA-14144, KAFKA-14154, KAFKA-14140); the first that matches answers. */
#include "controller/core_model.h"

static void answer_state(struct core_request_item *it, const struct core_partition *p)
{
    const struct core_state *s = &p->state;

    mem_free(it->isr);
    it->isr = xmalloc(((size_t)s->isr.count + 1) * sizeof *it->isr);
    memcpy(it->isr, s->isr.v, (size_t)s->isr.count * sizeof *it->isr);
    it->answer_isr_count = s->isr.count;
    it->leader = s->leader;
    it->leader_epoch = s->leader_epoch;
    it->partition_epoch = s->partition_epoch;
    it->recovery_state = s->recovery_state;
    it->error = KE_NONE;
}

/* What cannot be an ISR of this leader at all. */
static bool is_malformed(const struct core_request *r, const struct core_alter_item *a)
{
    bool has_sender = false;

    if (a->isr_count <= 0 || a->isr_count > CORE_REPLICAS_MAX ||
        (a->recovery_state != 0 && a->recovery_state != 1))
        return true;
    for (int32_t i = 0; i < a->isr_count; i++) {
        has_sender |= a->isr[i] == r->broker_id;
        for (int32_t k = 0; k < i; k++) {
            if (a->isr[k] == a->isr[i])
                return true;
        }
    }
    return !has_sender;
}

/* A member that joins must be assigned here and able to serve; one that is in already may be a
 * replica that a reassignment removes (KAFKA-9672), but must live, too. */
static bool is_eligible(const struct controller_core *core, const struct core_partition *p,
                        int32_t id, int64_t epoch)
{
    const struct core_broker *b = core_broker_find(core, id);

    if (b == NULL || (epoch != -1 && epoch != b->epoch))
        return false;
    return core_is_usable(p, id);
}

static bool has_ineligible(const struct controller_core *core, const struct core_partition *p,
                           const struct core_alter_item *a)
{
    for (int32_t i = 0; i < a->isr_count; i++) {
        if (!is_eligible(core, p, a->isr[i], a->isr_epochs == NULL ? -1 : a->isr_epochs[i]))
            return true;
    }
    return false;
}

/* KE_NONE: to be written. is_repeat_out: it stands already. */
static int16_t judge(const struct controller_core *core, const struct core_request *r,
                     const struct core_partition *p, const struct core_alter_item *a,
                     bool *is_repeat_out)
{
    const struct core_state *s = &p->state;

    *is_repeat_out = false;
    if (!p->has_state || p->topic->is_deleting)
        return KE_UNKNOWN_TOPIC_OR_PARTITION;
    if (a->partition_epoch > s->partition_epoch || a->leader_epoch > s->leader_epoch)
        return KE_NOT_CONTROLLER; /* it knows more than we do: we are the zombie */
    if (a->leader_epoch < s->leader_epoch)
        return KE_FENCED_LEADER_EPOCH;
    if (s->leader == r->broker_id && a->recovery_state == s->recovery_state &&
        core_ids_eq(&s->isr, a->isr, a->isr_count)) {
        *is_repeat_out = true; /* before the next rule: the answer to the first try was lost */
        return KE_NONE;
    }
    if (a->partition_epoch < s->partition_epoch)
        return KE_INVALID_UPDATE_VERSION;
    if (s->leader != r->broker_id || is_malformed(r, a) ||
        (a->recovery_state == 1 && (a->isr_count > 1 || s->recovery_state == 0)))
        return KE_INVALID_REQUEST;
    if (has_ineligible(core, p, a))
        return KE_INELIGIBLE_REPLICA;
    return KE_NONE;
}

/* No write of p is on its way. Takes w. */
void core_alter_run(struct controller_core *core, struct core_waiter *w)
{
    struct core_request *r = w->request;
    struct core_request_item *it = &r->items[w->item];
    struct core_partition *p = w->partition;
    struct core_state next = {.leader = -1};
    bool is_repeat;
    int16_t error = judge(core, r, p, &it->alter, &is_repeat);

    ASSERT(p->change == NULL);
    if (error != KE_NONE) {
        core_alter_failed(core, w, error);
        if (error == KE_INVALID_UPDATE_VERSION) { /* the leader missed a version (somebody wrote the
                                                     state by hand): it waits for LeaderAndIsr */
            p->must_bump = true;
            core_decide(core, p, 0);
        }
        return;
    }
    if (is_repeat) {
        core_alter_committed(core, w);
        return;
    }
    core_state_copy(&next, &p->state);
    core_ids_set(&next.isr, it->alter.isr, it->alter.isr_count);
    next.recovery_state = it->alter.recovery_state;
    core_propose(core, p, WHY_ALTER, &next)->alter = w;
    core_state_fini(&next);
}

void core_alter_committed(struct controller_core *core, struct core_waiter *w)
{
    struct core_request *r = w->request;

    answer_state(&r->items[w->item], w->partition);
    core_waiter_free(w);
    core_request_item_done(core, r);
}

void core_alter_failed(struct controller_core *core, struct core_waiter *w, int16_t error)
{
    struct core_request *r = w->request;

    r->items[w->item].error = error;
    core_waiter_free(w);
    core_request_item_done(core, r);
}

static void alter_item(struct controller_core *core, struct core_request *r, int32_t i,
                       const struct core_alter_item *a)
{
    struct core_request_item *it = &r->items[i];
    struct core_topic *t;
    struct core_partition *p = core_request_resolve(core, &a->at, &t);

    core_request_item_at(it, &a->at);
    if (t == NULL && !uuid_is_zero(a->at.topic_id)) {
        it->error = KE_UNKNOWN_TOPIC_ID;
        return;
    }
    if (p == NULL) {
        it->error = KE_UNKNOWN_TOPIC_OR_PARTITION;
        return;
    }
    if (p->waiter_count >= CORE_WAITERS_MAX) {
        it->error = KE_REQUEST_TIMED_OUT; /* the leader asks again */
        return;
    }
    it->alter = *a;
    it->isr = xmalloc(((size_t)i32_max(a->isr_count, 0) + 1) * sizeof *it->isr);
    if (a->isr_count > 0)
        memcpy(it->isr, a->isr, (size_t)a->isr_count * sizeof *it->isr);
    it->alter.isr = it->isr;
    if (a->isr_epochs != NULL && a->isr_count > 0) {
        it->isr_epochs = xmalloc((size_t)a->isr_count * sizeof *it->isr_epochs);
        memcpy(it->isr_epochs, a->isr_epochs, (size_t)a->isr_count * sizeof *it->isr_epochs);
    }
    it->alter.isr_epochs = it->isr_epochs;
    core_request_wait(r, i, WAIT_ALTER, p);
    if (p->change == NULL)
        core_settle(core, p);
}

void core_on_alter(struct controller_core *core, const struct controller_event *ev)
{
    struct core_broker *b = core_broker_find(core, ev->u.alter.broker_id);
    struct core_request *r;

    if (core->phase != CORE_ACTIVE) {
        core_answer_error(core, ev->u.alter.handle, CORE_ANSWER_ALTER, KE_NOT_CONTROLLER);
        return;
    }
    if (b == NULL || !b->is_registered || b->epoch != ev->u.alter.broker_epoch) {
        core_answer_error(core, ev->u.alter.handle, CORE_ANSWER_ALTER, KE_STALE_BROKER_EPOCH);
        return;
    }
    r = core_request_new(core, ev->u.alter.handle, CORE_ANSWER_ALTER, ev->u.alter.count);
    r->broker_id = b->id;
    for (int32_t i = 0; i < r->count; i++)
        alter_item(core, r, i, &ev->u.alter.items[i]);
    core_request_item_done(core, r);
}
