/* SPDX-License-Identifier: Apache-2.0 */
/* Controlled shutdown: leaders move away and the broker leaves the ISRs while it still serves. */
#include "controller/core_model.h"

static bool concerns_shutdown(const struct core_partition *p)
{
    return p->assignment.count > 1 && p->has_state && !p->topic->is_deleting;
}

void core_on_shutdown(struct controller_core *core, const struct controller_event *ev)
{
    struct core_broker *b = core_broker_find(core, ev->u.shutdown.broker_id);
    int64_t epoch = ev->u.shutdown.broker_epoch;
    struct core_request *req;
    struct core_replica *r;
    int16_t error = KE_NONE;

    if (core->phase != CORE_ACTIVE)
        error = KE_STALE_CONTROLLER_EPOCH;
    else if (b == NULL || !b->is_registered)
        error = epoch == -1 ? KE_BROKER_NOT_AVAILABLE : KE_UNKNOWN_SERVER_ERROR;
    else if (epoch != -1 && epoch < b->epoch)
        error = KE_STALE_BROKER_EPOCH;
    if (error != KE_NONE) {
        core_answer_error(core, ev->u.shutdown.handle, CORE_ANSWER_SHUTDOWN, error);
        return;
    }
    if (!b->is_shutting_down)
        core_trace_broker(core, TRACE_BROKER_SHUTDOWN, b->id, KE_NONE, NULL);
    b->is_shutting_down = true;
    req = core_request_new(core, ev->u.shutdown.handle, CORE_ANSWER_SHUTDOWN, 0);
    req->broker_id = b->id;
    TAILQ_FOREACH (r, &b->replicas, of_broker) {
        struct core_partition *p = r->partition;

        if (!concerns_shutdown(p))
            continue;
        if (p->state.leader != b->id)
            core_out_stop(r, false);
        core_decide(core, p, 0);
        if (p->change != NULL)
            core_request_wait(req, -1, WAIT_JOIN, p);
    }
    core_request_item_done(core, req);
}

/* Somebody else could lead it now or when it has caught up. Without that there is nothing to wait
 * for: the last broker of a cluster that stops need not use up its attempts. */
static bool has_heir(const struct core_partition *p, int32_t broker_id)
{
    for (int32_t i = 0; i < p->assignment.count; i++) {
        if (p->assignment.v[i] != broker_id && core_replica_is_staying(p->replicas[i]))
            return true;
    }
    return false;
}

/* Every write has settled: what does it still lead? */
void core_shutdown_answer(struct controller_core *core, struct core_request *req)
{
    struct core_broker *b = core_broker_find(core, req->broker_id);
    struct core_replica *r;
    int32_t n = 0;

    ASSERT(b != NULL && req->count == 0);
    mem_free(req->items);
    req->items = xcalloc((size_t)b->replica_count + 1, sizeof *req->items);
    TAILQ_FOREACH (r, &b->replicas, of_broker) {
        struct core_partition_ref at = {.topic = str_of(r->partition->topic->name),
                                        .partition = r->partition->index};

        if (concerns_shutdown(r->partition) && r->partition->state.leader == b->id &&
            has_heir(r->partition, b->id))
            core_request_item_at(&req->items[n++], &at);
    }
    req->count = n;
    core_request_answer(core, req, KE_NONE);
}
