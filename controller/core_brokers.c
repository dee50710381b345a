/* SPDX-License-Identifier: Apache-2.0 */
/* Brokers come, go, and come back: the list in /brokers/ids is compared with what is known. A
 * broker whose czxid is larger than known has died and returned between two looks; it is handled as
 * both (KAFKA-7235). */
#include "controller/core_model.h"

enum fate { FATE_NONE, FATE_NEW, FATE_BOUNCED, FATE_DEAD, FATE_CHANGED };

static void broker_reset(struct core_broker *b)
{
    struct core_replica *r;

    core_out_clear(b);
    b->is_shutting_down = b->is_suspected = false;
    b->brokers_sent_seq = b->metadata_sent_seq = b->dead_sent_seq = 0;
    TAILQ_FOREACH (r, &b->replicas, of_broker) {
        r->is_offline_dir = r->is_stopped = false;
        if (r->deletion == DELETION_STARTED || r->deletion == DELETION_FAILED)
            r->deletion = DELETION_NONE;
    }
}

static void all_must_leave(struct controller_core *core, struct core_broker *b)
{
    struct core_replica *r;
    uint64_t number = ++core->next_id;

    TAILQ_FOREACH (r, &b->replicas, of_broker)
        r->must_leave = number; /* decide() forgets it where it was not in the ISR */
}

/* It is back before its death was written everywhere: where it still leads or is in the ISR of a
 * leader that lives it is as if it had bounced. (Without a leader it was kept on purpose.) */
static void unhandled_must_leave(struct controller_core *core, struct core_broker *b)
{
    struct core_replica *r;
    uint64_t number = ++core->next_id;

    TAILQ_FOREACH (r, &b->replicas, of_broker) {
        const struct core_partition *p = r->partition;

        if (p->has_state && p->state.leader != -1 && core_ids_has(&p->state.isr, b->id))
            r->must_leave = number;
    }
}

static void channel_open(struct controller_core *core, const struct core_broker *b)
{
    struct core_fx *f = core_fx_add(core, FX_CHANNEL_OPEN);

    f->broker_id = b->id;
    f->broker_epoch = b->epoch;
}

static void channel_close(struct controller_core *core, const struct core_broker *b)
{
    core_fx_add(core, FX_CHANNEL_CLOSE)->broker_id = b->id;
}

static enum fate broker_register(struct controller_core *core, struct core_broker *b,
                                 const struct core_broker_info *info)
{
    enum fate fate = FATE_NONE;

    if (!b->is_registered)
        fate = FATE_NEW;
    else if (info->epoch != b->epoch)
        fate = FATE_BOUNCED;
    else if (info->info_version != b->info_version)
        fate = FATE_CHANGED;
    b->epoch = info->epoch;
    b->info_version = info->info_version;
    b->is_registered = true;
    if (fate == FATE_NEW || fate == FATE_BOUNCED) {
        broker_reset(b);
        b->is_uninformed = core->phase == CORE_ACTIVE;
    }
    if (fate == FATE_BOUNCED)
        all_must_leave(core, b);
    if (fate == FATE_NEW && core->phase == CORE_ACTIVE)
        unhandled_must_leave(core, b);
    return fate;
}

/* First the partitions that have no leader now, then those that only lose a member. */
static void decide_all(struct controller_core *core, struct core_broker *b)
{
    struct core_replica *r;

    TAILQ_FOREACH (r, &b->replicas, of_broker) {
        if (r->partition->has_state && r->partition->state.leader == b->id)
            core_decide(core, r->partition, 0);
    }
    TAILQ_FOREACH (r, &b->replicas, of_broker) {
        if (!r->partition->has_state || r->partition->state.leader != b->id)
            core_decide(core, r->partition, 0);
    }
}

/* It is back: it hears of all its replicas, may lead what nobody else can, goes on with what waited
 * for it. A partition with a write on its way is announced when that has settled: until then the
 * confirmed state may name the broker's earlier life as leader. */
static void broker_returned(struct controller_core *core, struct core_broker *b)
{
    struct core_replica *r;

    TAILQ_FOREACH (r, &b->replicas, of_broker) {
        struct core_partition *p = r->partition;

        if (p->topic->is_deleting) {
            if (p->topic->is_deletion_begun)
                core_delete_replica(core, r);
            continue;
        }
        core_decide(core, p, 0);
        if (p->change != NULL) {
            p->must_announce = true;
        } else if (p->has_state && p->topic->is_id_written) {
            core_out_leader_and_isr(r, false);
            core_reassign_step(core, p);
        }
    }
}

static void broker_act(struct controller_core *core, struct core_broker *b, enum fate fate)
{
    static const enum core_trace_kind trace[] = {[FATE_NEW] = TRACE_BROKER_NEW,
                                                 [FATE_BOUNCED] = TRACE_BROKER_BOUNCED,
                                                 [FATE_DEAD] = TRACE_BROKER_GONE};

    if (fate == FATE_NONE)
        return;
    core->brokers_seq++;
    if (fate != FATE_CHANGED)
        core_trace_broker(core, trace[fate], b->id, KE_NONE, NULL);
    if (core->phase != CORE_ACTIVE)
        return;
    if (fate == FATE_DEAD || fate == FATE_BOUNCED) {
        channel_close(core, b);
        decide_all(core, b);
    }
    if (fate != FATE_DEAD)
        channel_open(core, b);
    if (fate == FATE_NEW || fate == FATE_BOUNCED)
        broker_returned(core, b);
}

static const struct core_broker_info *info_find(const struct controller_event *ev, int32_t id)
{
    for (int32_t i = 0; i < ev->u.brokers.count; i++) {
        if (ev->u.brokers.v[i].id == id)
            return &ev->u.brokers.v[i];
    }
    return NULL;
}

/* All flags first, so that nobody is elected who is dead in the same list. */
void core_on_brokers(struct controller_core *core, const struct controller_event *ev)
{
    enum fate *fates;
    int32_t count;

    for (int32_t i = 0; i < ev->u.brokers.count; i++)
        (void)core_broker_get(core, ev->u.brokers.v[i].id);
    count = core->broker_count;
    fates = xcalloc((size_t)count + 1, sizeof *fates);
    for (int32_t i = 0; i < count; i++) {
        struct core_broker *b = core->brokers[i];
        const struct core_broker_info *info = info_find(ev, b->id);

        if (info != NULL) {
            fates[i] = broker_register(core, b, info);
        } else if (b->is_registered) {
            fates[i] = FATE_DEAD;
            b->is_registered = false;
            broker_reset(b);
        }
    }
    for (int32_t i = 0; i < count; i++)
        broker_act(core, core->brokers[i], fates[i]);
    mem_free(fates);
}

/* ---- disks */
void core_replica_failed(struct controller_core *core, struct core_replica *r)
{
    struct core_trace *t;

    if (r->is_offline_dir)
        return;
    r->is_offline_dir = true;
    t = core_trace(core, TRACE_LOG_DIR, r->partition, NULL);
    t->broker_id = r->broker->id;
    core_out_stop(r, false);
    if (r->partition->has_state)
        core_metadata_touch(core, r->partition); /* its list of offline replicas */
    core_decide(core, r->partition, 0);
}

/* The broker is asked about each of its replicas: those on the dead directory say so. */
void core_on_log_dir(struct controller_core *core, const struct controller_event *ev)
{
    struct core_broker *b = core_broker_find(core, ev->u.broker_id);
    struct core_replica *r;

    if (core->phase != CORE_ACTIVE || b == NULL || !b->is_registered)
        return;
    TAILQ_FOREACH (r, &b->replicas, of_broker) {
        if (r->partition->has_state && !r->partition->topic->is_deleting)
            core_out_leader_and_isr(r, false);
    }
}

/* ---- suspicion (docs/decisions/0005): counts as stopping, and leaves every ISR */
void core_on_suspect(struct controller_core *core, const struct controller_event *ev)
{
    struct core_broker *b = core_broker_find(core, ev->u.broker_id);
    bool begins = ev->kind == CEV_SUSPECT;

    if (core->phase != CORE_ACTIVE || b == NULL || !b->is_registered || b->is_suspected == begins)
        return;
    b->is_suspected = begins;
    core_trace_broker(core, TRACE_BROKER_SUSPECT, b->id, KE_NONE, begins ? "suspected" : "lifted");
    if (begins) {
        decide_all(core, b);
    } else {
        all_must_leave(core, b);
        broker_returned(core, b);
    }
}
