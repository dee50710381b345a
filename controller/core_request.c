/* SPDX-License-Identifier: Apache-2.0 */
/* Requests that wait: each counts what it waits for and is answered when nothing is left. */
#include "controller/core_model.h"

struct core_request *core_request_new(struct controller_core *core, void *handle,
                                      enum core_answer_kind kind, int32_t count)
{
    struct core_request *r = xcalloc(1, sizeof *r);

    r->handle = handle;
    r->kind = kind;
    r->count = count;
    r->items = xcalloc((size_t)count + 1, sizeof *r->items);
    r->outstanding = 1; /* the caller's own, until it has gone through the items */
    TAILQ_INSERT_TAIL(&core->requests, r, link);
    return r;
}

void core_request_item_at(struct core_request_item *it, const struct core_partition_ref *at)
{
    it->topic = str_dup(at->topic);
    it->topic_id = at->topic_id;
    it->partition = at->partition;
}

struct core_partition *core_request_resolve(const struct controller_core *core,
                                            const struct core_partition_ref *at,
                                            struct core_topic **topic_out)
{
    *topic_out = uuid_is_zero(at->topic_id) ? core_topic_find(core, at->topic)
                                            : core_topic_find_id(core, at->topic_id);
    return *topic_out == NULL ? NULL : core_partition_find(*topic_out, at->partition);
}

void core_request_wait(struct core_request *r, int32_t item, enum core_waiter_kind kind,
                       struct core_partition *p)
{
    struct core_waiter *w = xcalloc(1, sizeof *w);

    w->kind = kind;
    w->request = r;
    w->item = item;
    w->partition = p;
    TAILQ_INSERT_TAIL(&p->waiters, w, link);
    p->waiter_count++;
    r->outstanding++;
}

void core_request_wait_topic(struct core_request *r, int32_t item, struct core_topic *t)
{
    struct core_waiter *w = xcalloc(1, sizeof *w);

    w->kind = WAIT_TOPIC;
    w->request = r;
    w->item = item;
    TAILQ_INSERT_TAIL(&t->waiters, w, link);
    r->outstanding++;
}

void core_topic_waiters_done(struct controller_core *core, struct core_topic *t, int16_t error)
{
    struct core_waiter *w;

    while ((w = TAILQ_FIRST(&t->waiters)) != NULL) {
        struct core_request *r = w->request;

        TAILQ_REMOVE(&t->waiters, w, link);
        if (error != KE_NONE)
            r->items[w->item].error = error;
        core_waiter_free(w);
        core_request_item_done(core, r);
    }
}

void core_waiter_free(struct core_waiter *w)
{
    mem_free(w);
}

static void request_free(struct controller_core *core, struct core_request *r)
{
    TAILQ_REMOVE(&core->requests, r, link);
    for (int32_t i = 0; i < r->count; i++) {
        mem_free(r->items[i].topic);
        mem_free(r->items[i].isr);
        mem_free(r->items[i].isr_epochs);
    }
    mem_free(r->items);
    mem_free(r);
}

static bool is_left_out(const struct core_request *r, const struct core_request_item *it)
{
    return r->kind == CORE_ANSWER_ELECT && r->is_all && it->error == KE_ELECTION_NOT_NEEDED;
}

void core_request_answer(struct controller_core *core, struct core_request *r, int16_t error)
{
    struct core_answer_item *items = core_fx_alloc(core, (size_t)r->count * sizeof *items);
    int32_t n = 0;
    struct core_fx *f;

    for (int32_t i = 0; i < r->count; i++) {
        const struct core_request_item *it = &r->items[i];
        struct core_answer_item *a;
        int32_t *isr;

        if (is_left_out(r, it))
            continue;
        a = &items[n++];
        isr = core_fx_alloc(core, (size_t)it->answer_isr_count * sizeof *isr);
        if (it->answer_isr_count > 0)
            memcpy(isr, it->isr, (size_t)it->answer_isr_count * sizeof *isr);
        *a = (struct core_answer_item){
            .topic = it->topic == NULL
                         ? ""
                         : arena_strdup(&core->fx->arena, it->topic, strlen(it->topic)),
            .topic_id = it->topic_id,
            .partition = it->partition,
            .error = error != KE_NONE ? error : it->error,
            .message = it->message,
            .leader = it->leader,
            .leader_epoch = it->leader_epoch,
            .partition_epoch = it->partition_epoch,
            .recovery_state = it->recovery_state,
            .isr = isr,
            .isr_count = it->answer_isr_count};
    }
    f = core_fx_add(core, FX_ANSWER);
    f->u.answer.handle = r->handle;
    f->u.answer.kind = r->kind;
    f->u.answer.error = error;
    f->u.answer.items = items;
    f->u.answer.count = n;
    request_free(core, r);
}

void core_request_item_done(struct controller_core *core, struct core_request *r)
{
    ASSERT(r->outstanding > 0);
    if (--r->outstanding > 0)
        return;
    if (r->kind == CORE_ANSWER_SHUTDOWN)
        core_shutdown_answer(core, r);
    else
        core_request_answer(core, r, KE_NONE);
}

void core_answer_error(struct controller_core *core, void *handle, enum core_answer_kind kind,
                       int16_t error)
{
    struct core_fx *f = core_fx_add(core, FX_ANSWER);

    f->u.answer.handle = handle;
    f->u.answer.kind = kind;
    f->u.answer.error = error;
}

/* Not the controller any more. The waiters are gone already. */
void core_requests_abort(struct controller_core *core)
{
    struct core_request *r;

    while ((r = TAILQ_FIRST(&core->requests)) != NULL)
        core_request_answer(core, r,
                            r->kind == CORE_ANSWER_SHUTDOWN ? KE_STALE_CONTROLLER_EPOCH
                                                            : KE_NOT_CONTROLLER);
}
