/* SPDX-License-Identifier: Apache-2.0 */
/* Writes on their way. Changes of partitions are gathered into multis of up to CORE_BATCH_MAX; when
 * one of them meets somebody else's change the whole multi has failed, so each is tried again
 * alone; and one that fails alone is read and decided anew. A write whose outcome is unknown is
 * settled by reading, too. */
#include "controller/core_model.h"

static struct core_write *write_new(struct controller_core *core, enum core_write_kind kind,
                                    struct core_topic *t)
{
    struct core_write *w = xcalloc(1, sizeof *w);

    w->id = ++core->next_id;
    w->kind = kind;
    w->topic = t;
    HASH_ADD(hh, core->writes, id, sizeof w->id, w);
    return w;
}

static void write_free(struct controller_core *core, struct core_write *w)
{
    HASH_DEL(core->writes, w);
    mem_free(w);
}

/* ---- effects */
static struct core_op *op_set(struct core_op *op, enum core_op_kind kind, const char *topic,
                              int32_t partition)
{
    *op = (struct core_op){.kind = kind, .topic = topic, .partition = partition, .version = -1};
    return op;
}

static void op_state(struct controller_core *core, struct core_op *op, const struct core_change *c,
                     int32_t version)
{
    int32_t *isr = core_fx_alloc(core, (size_t)c->next.isr.count * sizeof *isr);

    memcpy(isr, c->next.isr.v, (size_t)c->next.isr.count * sizeof *isr);
    op->version = version;
    op->state = (struct zkdoc_state){.leader = c->next.leader,
                                     .leader_epoch = c->next.leader_epoch,
                                     .controller_epoch = c->next.controller_epoch,
                                     .leader_recovery_state = c->next.recovery_state,
                                     .isr = isr,
                                     .isr_count = c->next.isr.count};
}

/* The ops of one partition's change; returns how many. The topic's "partitions" node is made by the
 * first multi of a new topic; those behind it in the pipeline find it. */
static int32_t ops_fill(struct controller_core *core, struct core_partition *p, struct core_op *ops)
{
    const char *name = arena_strdup(&core->fx->arena, p->topic->name, strlen(p->topic->name));
    int32_t n = 0;

    if (!p->change->is_create) {
        op_state(core, op_set(&ops[n++], CORE_OP_SET_STATE, name, p->index), p->change,
                 p->state.partition_epoch);
        return n;
    }
    if (!p->topic->has_partitions_node) {
        (void)op_set(&ops[n++], CORE_OP_CREATE_PARTITIONS_NODE, name, -1);
        p->topic->has_partitions_node = true;
    }
    if (!p->has_node)
        (void)op_set(&ops[n++], CORE_OP_CREATE_PARTITION_NODE, name, p->index);
    op_state(core, op_set(&ops[n++], CORE_OP_CREATE_STATE, name, p->index), p->change, -1);
    return n;
}

static void write_send(struct controller_core *core, struct core_write *w)
{
    struct core_op *ops = core_fx_alloc(core, (size_t)w->count * 3 * sizeof *ops);
    struct core_fx *f;

    w->op_count = 0;
    for (int32_t i = 0; i < w->count; i++) {
        w->op_count += ops_fill(core, w->partitions[i], ops + w->op_count);
        w->state_op[i] = w->op_count - 1;
    }
    f = core_fx_add(core, FX_WRITE);
    f->u.write.id = w->id;
    f->u.write.ops = ops;
    f->u.write.count = w->op_count;
}

void core_flush_batch(struct controller_core *core)
{
    struct core_write *w = core->batch;

    core->batch = NULL;
    if (w != NULL)
        write_send(core, w);
}

static void batch_add(struct controller_core *core, struct core_partition *p)
{
    if (core->batch == NULL)
        core->batch = write_new(core, WRITE_STATES, NULL);
    p->change->write = core->batch;
    core->batch->partitions[core->batch->count++] = p;
    if (core->batch->count == CORE_BATCH_MAX)
        core_flush_batch(core);
}

struct core_change *core_propose(struct controller_core *core, struct core_partition *p,
                                 enum core_why why, const struct core_state *next)
{
    struct core_change *c = xcalloc(1, sizeof *c);
    const struct core_replica *leader = core_replica_find(p, next->leader);

    ASSERT(p->change == NULL && !p->topic->is_gone);
    ASSERT(next->isr.count > 0);
    ASSERT(next->leader == -1 || core_ids_has(&next->isr, next->leader));
    core_state_copy(&c->next, next);
    c->next.controller_epoch = core->epoch;
    c->why = why;
    c->leader_must_leave = leader == NULL ? 0 : leader->must_leave;
    c->is_create = !p->has_state;
    p->change = c;
    p->topic->change_count++;
    p->topic->create_count += c->is_create;
    batch_add(core, p);
    return c;
}

/* Again, alone: a multi that was met by somebody else's change says nothing about the others. */
static void write_again_alone(struct controller_core *core, struct core_partition *p)
{
    struct core_write *w = write_new(core, WRITE_STATES, NULL);

    w->partitions[w->count++] = p;
    p->change->write = w;
    p->change->is_checking = false;
    write_send(core, w);
}

static struct core_change *change_take(struct core_partition *p)
{
    struct core_change *c = p->change;

    p->change = NULL;
    p->topic->change_count--;
    p->topic->create_count -= c->is_create;
    return c;
}

static void change_free(struct core_change *c)
{
    core_state_fini(&c->next);
    mem_free(c);
}

/* It surely did not take effect and is to be done again: as it was, or, when something happened
 * meanwhile, decided anew; a leader's proposal is then judged anew after that. */
static void change_redo(struct controller_core *core, struct core_partition *p)
{
    struct core_change *c;

    if (!p->recheck) {
        write_again_alone(core, p);
        return;
    }
    c = change_take(p);
    if (c->alter != NULL) {
        TAILQ_INSERT_HEAD(&p->waiters, c->alter, link);
        p->waiter_count++;
    }
    change_free(c);
    core_settle(core, p);
}

/* ---- results */
static void trace_change(struct controller_core *core, const struct core_partition *p,
                         const struct core_state *old)
{
    static const char *const why[] = {
        [WHY_NEW] = "new partition",          [WHY_LEADER_FAILED] = "leader failed",
        [WHY_UNCLEAN] = "unclean election",   [WHY_SHRINK] = "replica failed",
        [WHY_PREFERRED] = "preferred leader", [WHY_REASSIGN] = "reassignment",
        [WHY_BUMP] = "state was changed",     [WHY_ALTER] = "asked for by the leader",
    };
    const struct core_state *s = &p->state;
    enum core_trace_kind kind = p->change->is_create       ? TRACE_CREATED
                                : s->leader == -1          ? TRACE_NO_LEADER
                                : s->leader != old->leader ? TRACE_LEADER
                                                           : TRACE_ISR;
    int32_t *isr = core_fx_alloc(core, (size_t)s->isr.count * sizeof *isr);
    struct core_trace *t = core_trace(core, kind, p, why[p->change->why]);

    memcpy(isr, s->isr.v, (size_t)s->isr.count * sizeof *isr);
    t->is_unclean = p->change->why == WHY_UNCLEAN;
    t->leader_old = old->leader;
    t->leader_new = s->leader;
    t->epoch_old = old->leader_epoch;
    t->epoch_new = s->leader_epoch;
    t->isr = isr;
    t->isr_count = s->isr.count;
}

/* A replica that had to leave the ISR has left, or was elected again with a new epoch. */
static void clear_must_leave(struct core_partition *p, const struct core_change *c)
{
    for (int32_t i = 0; i < p->assignment.count; i++) {
        struct core_replica *r = p->replicas[i];

        if (!core_ids_has(&p->state.isr, r->broker->id) ||
            (p->state.leader == r->broker->id && r->must_leave == c->leader_must_leave))
            r->must_leave = 0;
    }
}

/* The change stands in ZooKeeper at this version: it takes effect. */
static void change_committed(struct controller_core *core, struct core_partition *p,
                             int32_t version)
{
    struct core_change *c;
    struct core_state old = {.leader = p->state.leader, .leader_epoch = p->state.leader_epoch};
    struct core_waiter *alter = p->change->alter;

    core_state_copy(&p->state, &p->change->next);
    p->state.partition_epoch = version;
    p->has_state = p->has_node = true;
    trace_change(core, p, &old);
    c = change_take(p);
    if (c->why != WHY_ALTER) {
        p->must_bump = false;
        clear_must_leave(p, c);
    }
    if (!p->topic->is_deleting) {
        if (c->ends_reassignment)
            core_reassign_committed(core, p);
        core_metadata_touch(core, p);
        if (c->is_create)
            core_metadata_created(core, p->topic);
        if (p->recheck && !c->is_create) {
            p->must_announce = true; /* after the next decision: a leader in it may have died */
        } else if (c->why != WHY_ALTER) {
            core_out_all_replicas(p, c->is_create);
            p->must_announce = false;
        }
    }
    change_free(c);
    if (alter != NULL)
        core_alter_committed(core, alter);
    core_settle(core, p);
}

/* It did not take effect. alter_error: what a leader that asked for it is told. */
static void change_dropped(struct controller_core *core, struct core_partition *p,
                           int16_t alter_error)
{
    struct core_change *c = change_take(p);
    struct core_waiter *alter = c->alter;

    if (c->is_create)
        core_metadata_created(core, p->topic);
    change_free(c);
    if (alter != NULL)
        core_alter_failed(core, alter, alter_error);
    core_settle(core, p);
}

void core_change_abandon(struct controller_core *core, struct core_partition *p)
{
    if (p->change != NULL && p->change->is_checking)
        change_dropped(core, p, KE_UNKNOWN_TOPIC_OR_PARTITION);
}

static void change_check(struct controller_core *core, struct core_partition *p)
{
    p->change->is_checking = true;
    p->change->write = NULL;
    core_fx_topic(core, FX_READ_STATE, p->topic->name, p->index);
}

static bool is_settled_by_reading(enum err e)
{
    return e != ERR_OK && e != ERR_BAD_VERSION && e != ERR_NOT_FOUND && e != ERR_EXISTS;
}

/* One partition's write failed alone, in a known way. */
static void failed_alone(struct controller_core *core, struct core_partition *p, enum err err,
                         bool is_state_op)
{
    if (p->change->is_create && err == ERR_EXISTS && !is_state_op) {
        p->has_node = true; /* a controller before us began it */
        change_redo(core, p);
    } else if (p->change->is_create && err == ERR_NOT_FOUND) {
        (void)core_trace(core, TRACE_WRITE_RETRY, p, "the topic's znode is gone");
        change_dropped(core, p, KE_UNKNOWN_TOPIC_OR_PARTITION); /* the list of topics will say */
    } else {
        (void)core_trace(core, TRACE_WRITE_RETRY, p, err_text(err));
        change_check(core, p);
    }
}

/* A multi of several failed in a known way. For new partitions the parents are made sure of first:
 * a write of its own, whose failure says nothing. */
static void failed_together(struct controller_core *core, const struct core_write *w)
{
    const struct core_topic *last = NULL;

    for (int32_t i = 0; i < w->count; i++) {
        struct core_partition *p = w->partitions[i];

        if (p->change->is_create && p->topic != last) {
            struct core_op *op = core_fx_alloc(core, sizeof *op);
            struct core_write *node = write_new(core, WRITE_NODE, NULL);
            struct core_fx *f;

            (void)op_set(op, CORE_OP_CREATE_PARTITIONS_NODE,
                         arena_strdup(&core->fx->arena, p->topic->name, strlen(p->topic->name)),
                         -1);
            f = core_fx_add(core, FX_WRITE);
            f->u.write.id = node->id;
            f->u.write.ops = op;
            f->u.write.count = 1;
            p->topic->has_partitions_node = true;
            last = p->topic;
        }
        p->change->are_parents_tried = true;
        change_redo(core, p);
    }
}

static void states_written(struct controller_core *core, struct core_write *w,
                           const struct core_write_result *res)
{
    const struct core_partition *first = w->partitions[0];
    bool is_alone = w->count == 1 && w->op_count <= 2 &&
                    (!first->change->is_create || first->change->are_parents_tried);

    for (int32_t i = 0; i < w->count; i++) {
        struct core_partition *p = w->partitions[i];

        ASSERT(p->change != NULL && p->change->write == w);
        if (p->topic->is_gone) {
            change_dropped(core, p, KE_UNKNOWN_TOPIC_OR_PARTITION);
            w->count--;
            w->partitions[i] = w->partitions[w->count];
            w->state_op[i--] = w->state_op[w->count];
        } else if (res->err == ERR_OK) {
            change_committed(core, p, res->versions[w->state_op[i]]);
        } else if (is_settled_by_reading(res->err)) {
            change_check(core, p);
        } else if (is_alone) {
            failed_alone(core, p, res->err, res->failed_op == w->state_op[i]);
        }
    }
    if (res->err != ERR_OK && !is_settled_by_reading(res->err) && !is_alone)
        failed_together(core, w);
}

void core_on_write_result(struct controller_core *core, const struct controller_event *ev)
{
    const struct core_write_result *res = &ev->u.write_result;
    struct core_write *w = NULL;

    HASH_FIND(hh, core->writes, &res->id, sizeof res->id, w);
    if (w == NULL)
        return; /* of an earlier term */
    if (w->kind == WRITE_STATES) {
        states_written(core, w, res);
    } else if (w->kind == WRITE_TOPIC) {
        w->topic->write = NULL;
        if (w->topic->is_gone)
            core_topic_release(w->topic);
        else if (res->err == ERR_OK)
            core_topic_written(core, w->topic, res->versions[0]);
        else
            core_topic_write_failed(core, w->topic);
    }
    write_free(core, w);
}

/* ---- states read */
static bool state_is(const struct core_state *s, const struct zkdoc_state *doc)
{
    return s->leader == doc->leader && s->leader_epoch == doc->leader_epoch &&
           s->controller_epoch == doc->controller_epoch &&
           s->recovery_state == doc->leader_recovery_state &&
           core_ids_eq(&s->isr, doc->isr, doc->isr_count);
}

static void state_adopt(struct core_partition *p, const struct zkdoc_state *doc, int32_t version)
{
    p->state.leader = doc->leader;
    p->state.leader_epoch = doc->leader_epoch;
    p->state.controller_epoch = doc->controller_epoch;
    p->state.recovery_state = doc->leader_recovery_state;
    p->state.partition_epoch = version;
    core_ids_set(&p->state.isr, doc->isr, doc->isr_count);
    p->has_state = p->has_node = true;
}

/* What a znode says is usable when its ISR is not empty and holds the leader. */
static bool state_is_sane(const struct zkdoc_state *doc)
{
    if (doc == NULL || doc->isr_count <= 0 || doc->isr_count > CORE_REPLICAS_MAX ||
        doc->leader < -1 || doc->leader_epoch < 0)
        return false;
    for (int32_t i = 0; i < doc->isr_count; i++) {
        if (doc->isr[i] == doc->leader)
            return true;
    }
    return doc->leader == -1;
}

/* The read that settles a change: done, to be done again, or overtaken. */
static void check_done(struct controller_core *core, struct core_partition *p, bool exists,
                       const struct zkdoc_state *doc, int32_t version)
{
    struct core_change *c = p->change;

    if (p->topic->is_gone) {
        change_dropped(core, p, KE_UNKNOWN_TOPIC_OR_PARTITION);
    } else if (!exists) {
        if (c->is_create) {
            p->has_node = p->topic->has_partitions_node = false; /* nor may its parents */
            change_redo(core, p);
        } else { /* removed by hand: make it anew, with a higher epoch */
            p->has_state = p->has_node = false;
            p->first_epoch = p->state.leader_epoch + 1;
            p->recheck = true;
            change_dropped(core, p, KE_UNKNOWN_TOPIC_OR_PARTITION);
        }
    } else if (state_is_sane(doc) && state_is(&c->next, doc)) {
        change_committed(core, p, version);
    } else if (!c->is_create && version == p->state.partition_epoch) {
        change_redo(core, p); /* the lost write had not arrived */
    } else if (!state_is_sane(doc)) {
        (void)core_trace(core, TRACE_TOPIC_INVALID, p, "state znode cannot be used: replaced");
        p->has_state = true;
        p->state.partition_epoch = version;
        p->must_bump = p->recheck = true;
        change_dropped(core, p, KE_INVALID_UPDATE_VERSION);
    } else if (doc->controller_epoch > core->epoch) {
        (void)core_trace(core, TRACE_ZOMBIE, p, "state is of a newer controller");
        (void)core_fx_add(core, FX_VERIFY_LEADERSHIP);
        change_dropped(core, p, KE_NOT_CONTROLLER);
    } else {
        state_adopt(p, doc, version);
        p->must_bump = p->recheck = true;
        change_dropped(core, p, KE_INVALID_UPDATE_VERSION);
    }
}

void core_on_state_read(struct controller_core *core, const struct controller_event *ev)
{
    struct core_topic *t = core_topic_find(core, ev->u.state_read.topic);
    struct core_partition *p =
        t == NULL ? NULL : core_partition_find(t, ev->u.state_read.partition);
    const struct zkdoc_state *doc = ev->u.state_read.doc;

    if (p == NULL)
        return;
    if (p->change != NULL && p->change->is_checking) {
        check_done(core, p, ev->u.state_read.exists, doc, ev->u.state_read.version);
    } else if (core->phase == CORE_LOADING && ev->u.state_read.exists) {
        p->topic->has_partitions_node = true;
        if (state_is_sane(doc)) {
            state_adopt(p, doc, ev->u.state_read.version);
        } else { /* who has the data cannot be known: an election that may be unclean */
            (void)core_trace(core, TRACE_TOPIC_INVALID, p, "state znode cannot be used");
            p->has_state = p->has_node = true;
            p->state.leader = -1;
            p->state.partition_epoch = ev->u.state_read.version;
            core_ids_set(&p->state.isr, p->assignment.v, p->assignment.count);
        }
    }
}

/* ---- the topic's znode */
void core_write_topic(struct controller_core *core, struct core_topic *t)
{
    struct core_op *op;
    struct zkdoc_partition *parts;
    struct core_fx *f;

    if (t->write != NULL) {
        t->rewrite = true;
        return;
    }
    t->rewrite = false;
    t->write = write_new(core, WRITE_TOPIC, t);
    op = core_fx_alloc(core, sizeof *op);
    parts = core_fx_alloc(core, (size_t)t->partition_count * sizeof *parts);
    for (int32_t i = 0; i < t->partition_count; i++) {
        const struct core_partition *p = t->partitions[i];
        const struct core_ids *lists[] = {&p->assignment, &p->adding, &p->removing};
        int32_t *copies[3];

        for (int k = 0; k < 3; k++) {
            copies[k] = core_fx_alloc(core, (size_t)lists[k]->count * sizeof(int32_t));
            if (lists[k]->count > 0)
                memcpy(copies[k], lists[k]->v, (size_t)lists[k]->count * sizeof(int32_t));
        }
        parts[i] = (struct zkdoc_partition){.index = p->index,
                                            .replica_count = p->assignment.count,
                                            .adding_count = p->adding.count,
                                            .removing_count = p->removing.count,
                                            .replicas = copies[0],
                                            .adding = copies[1],
                                            .removing = copies[2]};
    }
    (void)op_set(op, CORE_OP_SET_TOPIC, arena_strdup(&core->fx->arena, t->name, strlen(t->name)),
                 -1);
    op->version = t->version;
    op->doc = (struct zkdoc_topic){
        .topic_id = t->id, .partitions = parts, .partition_count = t->partition_count};
    f = core_fx_add(core, FX_WRITE);
    f->u.write.id = t->write->id;
    f->u.write.ops = op;
    f->u.write.count = 1;
}
