/* SPDX-License-Identifier: Apache-2.0 */
/* The controller core's entry: dispatch of events, the end of each step, and the invariants. */
#include "controller/core_model.h"

#include <stdio.h>

enum { BALANCE_FIRST_MS = 5000 };

struct controller_core *controller_core_new(const struct core_options *o)
{
    struct controller_core *core = xcalloc(1, sizeof *core);

    core->o = *o;
    core->next_balance_ms = -1;
    TAILQ_INIT(&core->metadata);
    TAILQ_INIT(&core->metadata_dead);
    TAILQ_INIT(&core->requests);
    TAILQ_INIT(&core->delete_names);
    return core;
}

void controller_core_free(struct controller_core **core)
{
    struct controller_effects fx = {0};

    if (*core == NULL)
        return;
    (*core)->fx = &fx;
    core_model_clear(*core);
    controller_effects_fini(&fx);
    FREE_NULL(core);
}

/* The snapshot is complete. Every live broker hears of the brokers, then of all its replicas; what
 * the snapshot shows to be out of order is decided. */
static void on_loaded(struct controller_core *core)
{
    struct core_topic *t, *next;

    core->phase = CORE_ACTIVE;
    core->brokers_seq++;
    if (core->o.is_auto_balanced)
        core->next_balance_ms = core->now_ms + BALANCE_FIRST_MS;
    for (int32_t i = 0; i < core->broker_count; i++) {
        if (core->brokers[i]->is_registered) {
            struct core_fx *f = core_fx_add(core, FX_CHANNEL_OPEN);

            f->broker_id = core->brokers[i]->id;
            f->broker_epoch = core->brokers[i]->epoch;
        }
    }
    HASH_ITER (by_name, core->topics, t, next) {
        for (int32_t i = 0; t->is_id_written && i < t->partition_count; i++)
            core_start_partition(core, t->partitions[i]);
        core_delete_step(core, t);
    }
}

static void on_tick(struct controller_core *core)
{
    if (core->next_balance_ms < 0 || core->now_ms < core->next_balance_ms)
        return;
    core->next_balance_ms = core->now_ms + core->o.imbalance_interval_ms;
    core_balance(core);
}

static void on_elected(struct controller_core *core, int32_t epoch)
{
    ASSERT(core->phase == CORE_IDLE);
    core->phase = CORE_LOADING;
    core->epoch = epoch;
}

/* Requests are answered in every phase; all else concerns a controller. */
static bool is_request(enum controller_event_kind k)
{
    return k == CEV_ALTER_PARTITION || k == CEV_CONTROLLED_SHUTDOWN || k == CEV_ELECT_LEADERS ||
           k == CEV_REASSIGN;
}

static void dispatch(struct controller_core *core, const struct controller_event *ev)
{
    switch (ev->kind) {
    case CEV_ELECTED:
        on_elected(core, ev->u.epoch);
        break;
    case CEV_RESIGNED:
        core_model_clear(core);
        break;
    case CEV_BROKERS:
        core_on_brokers(core, ev);
        break;
    case CEV_TOPICS:
        core_on_topics(core, ev);
        break;
    case CEV_TOPIC_DATA:
        core_on_topic_data(core, ev);
        break;
    case CEV_STATE_READ:
        core_on_state_read(core, ev);
        break;
    case CEV_DELETE_TOPICS:
        core_on_delete_topics(core, ev);
        break;
    case CEV_LOADED:
        if (core->phase == CORE_LOADING)
            on_loaded(core);
        break;
    case CEV_TOPIC_CONFIG:
        core_on_topic_config(core, ev);
        break;
    case CEV_TOPIC_ERASED:
        core_on_erased(core, ev);
        break;
    case CEV_WRITE_RESULT:
        core_on_write_result(core, ev);
        break;
    case CEV_RPC_REPLY:
        core_on_rpc_reply(core, ev);
        break;
    case CEV_ALTER_PARTITION:
        core_on_alter(core, ev);
        break;
    case CEV_CONTROLLED_SHUTDOWN:
        core_on_shutdown(core, ev);
        break;
    case CEV_ELECT_LEADERS:
        core_on_elect(core, ev);
        break;
    case CEV_REASSIGN:
        core_on_reassign(core, ev);
        break;
    case CEV_LOG_DIR:
        core_on_log_dir(core, ev);
        break;
    case CEV_SUSPECT:
    case CEV_SUSPICION_LIFTED:
        core_on_suspect(core, ev);
        break;
    case CEV_TICK:
        on_tick(core);
        break;
    }
}

void controller_step(struct controller_core *core, const struct controller_event *ev,
                     struct controller_effects *fx)
{
    arena_reset(&fx->arena);
    fx->count = 0;
    core->fx = fx;
    core->now_ms = ev->now_ms;
    if (core->phase != CORE_IDLE || ev->kind == CEV_ELECTED || is_request(ev->kind))
        dispatch(core, ev);
    core_flush_batch(core);
    core_flush_brokers(core);
    core->fx = NULL;
}

int64_t controller_deadline_ms(const struct controller_core *core)
{
    return core->phase == CORE_ACTIVE ? core->next_balance_ms : -1;
}

/* ---- looking in */
bool controller_core_is_active(const struct controller_core *core)
{
    return core->phase == CORE_ACTIVE;
}

bool controller_core_is_quiet(const struct controller_core *core)
{
    if (core->writes != NULL || !TAILQ_EMPTY(&core->requests))
        return false;
    for (int32_t i = 0; i < core->broker_count; i++) {
        if (core->brokers[i]->is_rpc_in_flight ||
            (core->brokers[i]->is_registered && !TAILQ_EMPTY(&core->brokers[i]->outbox)))
            return false;
    }
    for (const struct core_topic *t = core->topics; t != NULL; t = t->by_name.next) {
        if (t->change_count > 0 || t->is_erasing || t->rewrite ||
            (!t->is_loaded && !t->is_deleting))
            return false;
    }
    return true;
}

static void view_fill(const struct core_partition *p, struct core_view *out)
{
    const struct core_state *s = &p->state;

    *out = (struct core_view){.has_state = p->has_state,
                              .state = {.leader = s->leader,
                                        .leader_epoch = s->leader_epoch,
                                        .controller_epoch = s->controller_epoch,
                                        .leader_recovery_state = s->recovery_state,
                                        .isr = s->isr.v,
                                        .isr_count = s->isr.count},
                              .partition_epoch = s->partition_epoch,
                              .replicas = p->assignment.v,
                              .adding = p->adding.v,
                              .removing = p->removing.v,
                              .replica_count = p->assignment.count,
                              .adding_count = p->adding.count,
                              .removing_count = p->removing.count};
}

bool controller_core_view(const struct controller_core *core, struct str topic, int32_t partition,
                          struct core_view *out)
{
    const struct core_topic *t = core_topic_find(core, topic);
    const struct core_partition *p = t == NULL ? NULL : core_partition_find(t, partition);

    if (p != NULL)
        view_fill(p, out);
    return p != NULL;
}

void controller_core_each_reassignment(const struct controller_core *core,
                                       void (*visit)(void *arg, const char *topic,
                                                     int32_t partition, const struct core_view *v),
                                       void *arg)
{
    for (const struct core_topic *t = core->topics; t != NULL; t = t->by_name.next) {
        for (int32_t i = 0; i < t->partition_count; i++) {
            const struct core_partition *p = t->partitions[i];
            struct core_view v;

            if (!core_is_reassigning(p))
                continue;
            view_fill(p, &v);
            visit(arg, t->name, p->index, &v);
        }
    }
}

int32_t controller_core_live_brokers(const struct controller_core *core, int32_t *ids_out,
                                     int32_t max)
{
    int32_t n = 0;

    for (int32_t i = 0; i < core->broker_count && n < max; i++) {
        const struct core_broker *b = core->brokers[i];

        if (b->is_registered && !b->is_shutting_down && !b->is_suspected)
            ids_out[n++] = b->id;
    }
    return n;
}

/* ---- invariants */
static void check_partition(const struct controller_core *core, const struct core_partition *p,
                            int32_t *changes, int32_t *creates)
{
    ASSERT(p->assignment.count > 0);
    ASSERT(p->waiter_count == 0 || p->change != NULL);
    *changes += p->change != NULL ? 1 : 0;
    *creates += p->change != NULL && p->change->is_create ? 1 : 0;
    for (int32_t i = 0; i < p->assignment.count; i++) {
        const struct core_replica *r = p->replicas[i];

        ASSERT(r->partition == p && r->broker->id == p->assignment.v[i]);
        ASSERT(core_broker_find(core, r->broker->id) == r->broker);
        ASSERT(!r->is_detached && (r->out == OUT_NONE || r->broker->is_registered));
    }
    if (p->change != NULL) {
        const struct core_state *n = &p->change->next;

        ASSERT(n->controller_epoch == core->epoch);
        ASSERT(n->isr.count > 0 && (n->leader == -1 || core_ids_has(&n->isr, n->leader)));
        ASSERT(!p->has_state || n->leader_epoch >= p->state.leader_epoch);
        /* a new leader never without a new epoch */
        ASSERT(!p->has_state || n->leader == p->state.leader ||
               n->leader_epoch > p->state.leader_epoch);
    }
    if (!p->has_state)
        return;
    ASSERT(p->state.isr.count > 0);
    ASSERT(p->state.leader >= -1 && p->state.leader_epoch >= 0);
    ASSERT(p->state.leader == -1 || core_ids_has(&p->state.isr, p->state.leader));
}

static void check_broker(const struct core_broker *b)
{
    const struct core_replica *r;
    int32_t replicas = 0, leaders = 0, stops = 0, detached = 0;

    TAILQ_FOREACH (r, &b->replicas, of_broker) {
        ASSERT(r->broker == b);
        replicas++;
    }
    TAILQ_FOREACH (r, &b->outbox, of_outbox) {
        ASSERT(r->broker == b && r->out != OUT_NONE);
        leaders += r->out == OUT_LEADER_AND_ISR ? 1 : 0;
        stops += r->out == OUT_STOP ? 1 : 0;
        detached += r->is_detached ? 1 : 0;
    }
    ASSERT(replicas == b->replica_count);
    ASSERT(leaders == b->outbox_leader_count && stops == b->outbox_stop_count);
    ASSERT(b->is_registered || (leaders == 0 && stops == detached && !b->is_rpc_in_flight));
}

static void check_metadata(const struct core_partition_list *list, enum core_place place)
{
    const struct core_partition *p;
    uint64_t last = 0;

    TAILQ_FOREACH (p, list, of_metadata) {
        ASSERT(p->place == place && p->metadata_seq > last);
        last = p->metadata_seq;
    }
}

void controller_check(const struct controller_core *core)
{
    ASSERT(core->batch == NULL);
    ASSERT(core->phase != CORE_IDLE || (core->topics == NULL && core->broker_count == 0));
    for (int32_t i = 0; i < core->broker_count; i++) {
        ASSERT(i == 0 || core->brokers[i - 1]->id < core->brokers[i]->id);
        check_broker(core->brokers[i]);
    }
    for (const struct core_topic *t = core->topics; t != NULL; t = t->by_name.next) {
        int32_t changes = 0, creates = 0;

        ASSERT(!t->is_gone && (!t->is_erasing || t->is_deleting));
        for (int32_t i = 0; i < t->partition_count; i++) {
            ASSERT(i == 0 || t->partitions[i - 1]->index < t->partitions[i]->index);
            ASSERT(t->partitions[i]->topic == t);
            check_partition(core, t->partitions[i], &changes, &creates);
        }
        ASSERT(changes == t->change_count && creates == t->create_count);
    }
    check_metadata(&core->metadata, PLACE_LIVE);
    check_metadata(&core->metadata_dead, PLACE_DEAD);
}

void controller_core_summary(const struct controller_core *core, char *out, size_t out_size)
{
    static const char *const phases[] = {"idle", "loading", "active"};

    (void)snprintf(out, out_size,
                   "phase=%s epoch=%d brokers=%d topics=%u writes=%u metadata_seq=%" PRIu64
                   " next_id=%" PRIu64 " requests_wait=%d",
                   phases[core->phase], core->epoch, core->broker_count,
                   (unsigned)HASH_CNT(by_name, core->topics), (unsigned)HASH_CNT(hh, core->writes),
                   core->metadata_seq, core->next_id, !TAILQ_EMPTY(&core->requests));
}
