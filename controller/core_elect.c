/* SPDX-License-Identifier: Apache-2.0 */
/* Who leads. One function compares a partition's confirmed state with the brokers that can serve
 * and proposes the difference; broker death, suspicion, controlled shutdown, failed disks and
 * returning brokers all come down to calling it again. */
#include "controller/core_model.h"

/* Its process and disk are there, whatever it intends. */
static bool is_serving(const struct core_replica *r)
{
    return r->broker->is_registered && !r->is_offline_dir;
}

bool core_replica_is_staying(const struct core_replica *r)
{
    return is_serving(r) && !r->broker->is_shutting_down && !r->broker->is_suspected;
}

/* The plan that brings it is not in ZooKeeper yet: the next controller would not know it. */
static bool is_only_planned(const struct core_replica *r)
{
    const struct core_partition *p = r->partition;

    return !p->is_reassign_written && core_ids_has(&p->adding, r->broker->id);
}

bool core_replica_is_usable(const struct core_replica *r)
{
    if (is_only_planned(r))
        return false;
    return core_replica_is_staying(r) && r->must_leave == 0;
}

bool core_is_usable(const struct core_partition *p, int32_t broker_id)
{
    const struct core_replica *r = core_replica_find(p, broker_id);

    return r != NULL && core_replica_is_usable(r);
}

/* ---- new partitions */
static void propose_create(struct controller_core *core, struct core_partition *p)
{
    struct core_state next = {.leader = -1, .leader_epoch = p->first_epoch};

    next.isr.v = xmalloc(((size_t)p->assignment.count + 1) * sizeof *next.isr.v);
    for (int32_t i = 0; i < p->assignment.count; i++) {
        if (core_replica_is_usable(p->replicas[i]))
            next.isr.v[next.isr.count++] = p->assignment.v[i];
    }
    if (next.isr.count > 0) {
        next.leader = next.isr.v[0];
        (void)core_propose(core, p, WHY_NEW, &next);
    }
    core_state_fini(&next);
}

/* ---- elections */

/* First replica in the order of assignment that is in the ISR and passes; NULL: none. */
static const struct core_replica *first_in_isr(const struct core_partition *p,
                                               bool (*passes)(const struct core_replica *r))
{
    for (int32_t i = 0; i < p->assignment.count; i++) {
        if (core_ids_has(&p->state.isr, p->assignment.v[i]) && passes(p->replicas[i]))
            return p->replicas[i];
    }
    return NULL;
}

static const struct core_replica *first_usable(const struct core_partition *p)
{
    for (int32_t i = 0; i < p->assignment.count; i++) {
        if (core_replica_is_usable(p->replicas[i]))
            return p->replicas[i];
    }
    return NULL;
}

static void isr_only(struct core_state *s, int32_t id)
{
    s->isr.v[0] = id;
    s->isr.count = 1;
}

/* The leader can go on. */
static bool keep_leader(const struct core_partition *p, int flags, struct core_state *next,
                        enum core_why *why)
{
    int32_t preferred = p->assignment.v[0];
    bool shrinks = next->isr.count < p->state.isr.count; /* next has the usable ones */

    if ((flags & DECIDE_PREFERRED) != 0 && preferred != next->leader &&
        core_ids_has(&next->isr, preferred)) {
        next->leader = preferred;
        *why = WHY_PREFERRED;
        return true;
    }
    *why = shrinks ? WHY_SHRINK : WHY_BUMP;
    return shrinks || p->must_bump;
}

/* The members of the ISR that were not restarted since: they have all that was acknowledged. Who
 * serves is surely so (it only means to stop, or is suspected); who is absent may come back with
 * less, and counts when nobody serves. */
static void isr_intact(const struct core_partition *p, struct core_state *next)
{
    for (int pass = 0; pass < 2; pass++) {
        next->isr.count = 0;
        for (int32_t i = 0; i < p->state.isr.count; i++) {
            const struct core_replica *r = core_replica_find(p, p->state.isr.v[i]);

            if (r != NULL && r->must_leave == 0 && (pass == 1 || is_serving(r)))
                next->isr.v[next->isr.count++] = p->state.isr.v[i];
        }
        if (next->isr.count > 0)
            return;
    }
}

/* It cannot: the next leader, in order of what is lost by it. False: nothing to change. */
static bool replace_leader(struct controller_core *core, struct core_partition *p, int flags,
                           struct core_state *next, enum core_why *why)
{
    const struct core_replica *old = core_replica_find(p, p->state.leader);
    const struct core_replica *r = first_in_isr(p, core_replica_is_usable);

    *why = WHY_LEADER_FAILED;
    if (r != NULL) {
        next->leader = r->broker->id; /* next->isr has the usable ones */
        return true;
    }
    isr_intact(p, next); /* absent, perhaps, but worth waiting for */
    if (next->isr.count == 0) {
        core_ids_set(&next->isr, p->state.isr.v, p->state.isr.count);
        r = first_in_isr(p, core_replica_is_staying);
    }
    if (r != NULL) { /* all were restarted: one that is here has as much as any */
        next->leader = r->broker->id;
        isr_only(next, r->broker->id);
        return true;
    }
    if (old != NULL && is_serving(old) && old->must_leave == 0 &&
        core_ids_has(&next->isr, old->broker->id)) {
        *why =
            next->isr.count > 1 ? WHY_SHRINK : WHY_BUMP; /* stopping, and nobody can relieve it */
        isr_only(next, old->broker->id);
        return *why == WHY_SHRINK || p->must_bump;
    }
    r = first_usable(p);
    if (r != NULL && (flags & DECIDE_UNCLEAN) != 0) {
        *why = WHY_UNCLEAN;
        next->leader = r->broker->id;
        next->recovery_state = 1;
        isr_only(next, r->broker->id);
        return true;
    }
    if (r != NULL && !p->topic->is_config_reading) {
        p->topic->is_config_reading = true;
        core_fx_topic(core, FX_READ_TOPIC_CONFIG, p->topic->name, -1);
    }
    next->leader = -1;
    return p->state.leader != -1 || next->isr.count < p->state.isr.count || p->must_bump;
}

static void decide_existing(struct controller_core *core, struct core_partition *p, int flags)
{
    struct core_state next = {.leader = -1};
    enum core_why why;
    bool changes;

    core_state_copy(&next, &p->state);
    next.isr.count = 0;
    for (int32_t i = 0; i < p->state.isr.count; i++) {
        if (core_is_usable(p, p->state.isr.v[i]))
            next.isr.v[next.isr.count++] = p->state.isr.v[i];
    }
    if (next.leader != -1 && core_ids_has(&next.isr, next.leader))
        changes = keep_leader(p, flags, &next, &why);
    else
        changes = replace_leader(core, p, flags, &next, &why);
    if (changes) {
        next.leader_epoch++;
        (void)core_propose(core, p, why, &next);
    }
    core_state_fini(&next);
}

/* Who is not in the ISR need not leave it. */
static void forget_leavers(struct core_partition *p)
{
    for (int32_t i = 0; i < p->assignment.count; i++) {
        if (!p->has_state || !core_ids_has(&p->state.isr, p->assignment.v[i]))
            p->replicas[i]->must_leave = 0;
    }
}

void core_decide(struct controller_core *core, struct core_partition *p, int flags)
{
    const struct core_topic *t = p->topic;

    if (core->phase != CORE_ACTIVE || !t->is_loaded || !t->is_id_written || t->is_deleting ||
        t->is_gone)
        return;
    if (p->change != NULL) {
        p->recheck = true;
        p->recheck_unclean |= (flags & DECIDE_UNCLEAN) != 0;
        p->recheck_preferred |= (flags & DECIDE_PREFERRED) != 0;
        return;
    }
    forget_leavers(p);
    if (p->has_state)
        decide_existing(core, p, flags);
    else
        propose_create(core, p);
}

void core_start_partition(struct controller_core *core, struct core_partition *p)
{
    if (p->has_state && !p->topic->is_deleting) {
        p->must_announce = true;
        core_metadata_touch(core, p);
    }
    core_decide(core, p, 0);
    if (p->change == NULL)
        core_settle(core, p);
}

static void decide_again(struct controller_core *core, struct core_partition *p)
{
    int flags =
        (p->recheck_unclean ? DECIDE_UNCLEAN : 0) | (p->recheck_preferred ? DECIDE_PREFERRED : 0);

    if (!p->recheck)
        return;
    p->recheck = p->recheck_unclean = p->recheck_preferred = false;
    core_decide(core, p, flags);
}

void core_settle(struct controller_core *core, struct core_partition *p)
{
    struct core_topic *t = p->topic;
    struct core_waiter *w;

    if (t->is_gone) {
        core_topic_release(t);
        return;
    }
    if (p->change == NULL)
        decide_again(core, p);
    while (p->change == NULL && (w = TAILQ_FIRST(&p->waiters)) != NULL) {
        TAILQ_REMOVE(&p->waiters, w, link);
        p->waiter_count--;
        if (w->kind == WAIT_ALTER)
            core_alter_run(core, w);
        else
            core_join_done(core, w);
    }
    if (p->change != NULL)
        return;
    if (t->is_deleting) {
        core_delete_step(core, t);
        return;
    }
    if (p->must_announce && p->has_state && t->is_id_written) {
        p->must_announce = false;
        core_out_all_replicas(p, false);
    }
    core_reassign_step(core, p);
}

/* ---- elections by request */
static int16_t elect_outcome(const struct core_partition *p, enum core_election_kind kind)
{
    if (kind == CORE_ELECT_PREFERRED)
        return p->state.leader == p->assignment.v[0] ? KE_NONE : KE_PREFERRED_LEADER_NOT_AVAILABLE;
    return p->state.leader != -1 ? KE_NONE : KE_ELIGIBLE_LEADERS_NOT_AVAILABLE;
}

static bool elect_is_needed(const struct core_partition *p, enum core_election_kind kind)
{
    const struct core_replica *leader = core_replica_find(p, p->state.leader);

    if (kind == CORE_ELECT_PREFERRED)
        return p->state.leader != p->assignment.v[0];
    return leader == NULL || !is_serving(leader);
}

static void elect_item(struct controller_core *core, struct core_request *r, int32_t i,
                       struct core_partition *p)
{
    struct core_request_item *it = &r->items[i];

    if (p == NULL || !p->has_state) {
        it->error = KE_UNKNOWN_TOPIC_OR_PARTITION;
        it->message = "there is no such partition";
    } else if (p->topic->is_deleting) {
        it->error = KE_INVALID_TOPIC_EXCEPTION;
        it->message = "the topic is being deleted";
    } else if (!elect_is_needed(p, r->election)) {
        it->error = KE_ELECTION_NOT_NEEDED;
        it->message = r->election == CORE_ELECT_PREFERRED ? "the preferred replica leads already"
                                                          : "the partition has a leader";
    } else {
        core_decide(core, p,
                    r->election == CORE_ELECT_PREFERRED ? DECIDE_PREFERRED : DECIDE_UNCLEAN);
        if (p->change != NULL)
            core_request_wait(r, i, WAIT_JOIN, p);
        else
            it->error = elect_outcome(p, r->election);
    }
}

void core_join_done(struct controller_core *core, struct core_waiter *w)
{
    struct core_request *r = w->request;

    if (r->kind == CORE_ANSWER_ELECT)
        r->items[w->item].error = w->partition->topic->is_gone
                                      ? KE_UNKNOWN_TOPIC_OR_PARTITION
                                      : elect_outcome(w->partition, r->election);
    core_waiter_free(w);
    core_request_item_done(core, r);
}

static int32_t all_partitions(const struct controller_core *core)
{
    int32_t n = 0;

    for (struct core_topic *t = core->topics; t != NULL; t = t->by_name.next)
        n += t->partition_count;
    return n;
}

void core_on_elect(struct controller_core *core, const struct controller_event *ev)
{
    struct core_request *r;
    bool is_all = ev->u.elect.items == NULL;
    int32_t n = 0;

    if (core->phase != CORE_ACTIVE) {
        core_answer_error(core, ev->u.elect.handle, CORE_ANSWER_ELECT, KE_NOT_CONTROLLER);
        return;
    }
    r = core_request_new(core, ev->u.elect.handle, CORE_ANSWER_ELECT,
                         is_all ? all_partitions(core) : ev->u.elect.count);
    r->election = ev->u.elect.kind;
    r->is_all = is_all;
    for (int32_t i = 0; !is_all && i < r->count; i++) {
        struct core_topic *t;

        core_request_item_at(&r->items[i], &ev->u.elect.items[i]);
        elect_item(core, r, i, core_request_resolve(core, &ev->u.elect.items[i], &t));
    }
    for (struct core_topic *t = is_all ? core->topics : NULL; t != NULL; t = t->by_name.next) {
        for (int32_t k = 0; k < t->partition_count; k++, n++) {
            struct core_partition_ref at = {.topic = str_of(t->name),
                                            .partition = t->partitions[k]->index};

            core_request_item_at(&r->items[n], &at);
            elect_item(core, r, n, t->partitions[k]);
        }
    }
    core_request_item_done(core, r);
}

void core_on_topic_config(struct controller_core *core, const struct controller_event *ev)
{
    struct core_topic *t = core_topic_find(core, ev->u.topic_config.topic);

    if (t == NULL)
        return;
    t->is_config_reading = false;
    for (int32_t i = 0; ev->u.topic_config.is_unclean && i < t->partition_count; i++) {
        if (t->partitions[i]->has_state && t->partitions[i]->state.leader == -1)
            core_decide(core, t->partitions[i], DECIDE_UNCLEAN);
        else if (t->partitions[i]->change != NULL)
            core_decide(core, t->partitions[i], DECIDE_UNCLEAN); /* its leader is just going */
    }
}

/* ---- giving leadership back */
static void balance_broker(struct controller_core *core, struct core_broker *b)
{
    struct core_replica *r;
    int64_t preferred = 0, elsewhere = 0;

    TAILQ_FOREACH (r, &b->replicas, of_broker) {
        const struct core_partition *p = r->partition;

        if (p->replicas[0] != r || !p->has_state || p->topic->is_deleting)
            continue;
        preferred++;
        elsewhere += p->state.leader != -1 && p->state.leader != b->id ? 1 : 0;
    }
    if (elsewhere == 0 || elsewhere * 100 <= preferred * core->o.imbalance_percentage)
        return;
    core_trace_broker(core, TRACE_BALANCE, b->id, KE_NONE, NULL);
    TAILQ_FOREACH (r, &b->replicas, of_broker) {
        struct core_partition *p = r->partition;

        if (p->replicas[0] == r && p->has_state && p->state.leader != b->id &&
            core_ids_has(&p->state.isr, b->id) && core_replica_is_usable(r))
            core_decide(core, p, DECIDE_PREFERRED);
    }
}

void core_balance(struct controller_core *core)
{
    for (int32_t i = 0; i < core->broker_count; i++) {
        struct core_broker *b = core->brokers[i];

        if (b->is_registered && !b->is_shutting_down && !b->is_suspected)
            balance_broker(core, b);
    }
}
