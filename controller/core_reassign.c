/* SPDX-License-Identifier: Apache-2.0 */
/* Reassignment (KIP-455). The plan stands in the topic's znode (replicas = target and origin,
 * adding, removing), is carried out in two phases, and is taken out of the znode last, so that a
 * new controller repeats what was cut off:
 *   A  the leader epoch is raised, the adding replicas are told; they follow and join the ISR;
 *   B  once all of the target is in the ISR: one write gives a leader of the target and drops the
 *      others from the ISR; the removed replicas are deleted; the znode gets the target alone. */
#include "controller/core_model.h"

bool core_is_reassigning(const struct core_partition *p)
{
    return p->adding.count > 0 || p->removing.count > 0;
}

static bool is_target(const struct core_partition *p, int32_t id)
{
    return !core_ids_has(&p->removing, id);
}

static bool target_is_in_sync(const struct core_partition *p)
{
    for (int32_t i = 0; i < p->assignment.count; i++) {
        int32_t id = p->assignment.v[i];

        if (is_target(p, id) && !core_ids_has(&p->state.isr, id))
            return false;
    }
    return true;
}

static int32_t target_leader(const struct core_partition *p)
{
    if (p->state.leader != -1 && is_target(p, p->state.leader) &&
        core_is_usable(p, p->state.leader))
        return p->state.leader;
    for (int32_t i = 0; i < p->assignment.count; i++) {
        int32_t id = p->assignment.v[i];

        if (is_target(p, id) && core_is_usable(p, id) && core_ids_has(&p->state.isr, id))
            return id;
    }
    return -1;
}

/* Phase B. */
static void propose_end(struct controller_core *core, struct core_partition *p)
{
    struct core_state next = {.leader = -1};

    core_state_copy(&next, &p->state);
    next.leader = target_leader(p);
    for (int32_t i = 0; i < p->removing.count; i++)
        core_ids_remove(&next.isr, p->removing.v[i]);
    if (next.leader != -1) {
        next.leader_epoch++;
        core_propose(core, p, WHY_REASSIGN, &next)->ends_reassignment = true;
    }
    core_state_fini(&next);
}

void core_reassign_step(struct controller_core *core, struct core_partition *p)
{
    if (core->phase != CORE_ACTIVE || p->change != NULL || !p->has_state ||
        !p->is_reassign_written || !core_is_reassigning(p) || p->topic->is_deleting ||
        !p->topic->is_id_written)
        return;
    if (target_is_in_sync(p)) {
        propose_end(core, p);
    } else if (!p->is_reassign_begun) {
        p->is_reassign_begun = true;
        p->must_bump = true;
        core_decide(core, p, 0);
    }
}

void core_reassign_committed(struct controller_core *core, struct core_partition *p)
{
    struct core_ids target = {0};

    core_ids_set(&target, p->assignment.v, p->assignment.count);
    for (int32_t i = 0; i < p->removing.count; i++) {
        struct core_replica *r = core_replica_find(p, p->removing.v[i]);

        core_ids_remove(&target, p->removing.v[i]);
        if (r != NULL)
            core_out_delete(r);
    }
    core_partition_assign(core, p, target.v, target.count);
    core_ids_fini(&target);
    core_ids_fini(&p->adding);
    core_ids_fini(&p->removing);
    p->is_reassign_begun = p->is_reassign_written = false;
    (void)core_trace(core, TRACE_REASSIGN, p, "done");
    core_write_topic(core, p->topic);
}

/* ---- requests */
static int16_t check_target(const struct controller_core *core, const struct core_partition *p,
                            const struct core_reassign_item *it, const char **message)
{
    *message = NULL;
    if (it->replica_count <= 0 || it->replica_count > CORE_REPLICAS_MAX) {
        *message = "the list of replicas is empty or too long";
        return KE_INVALID_REPLICA_ASSIGNMENT;
    }
    for (int32_t i = 0; i < it->replica_count; i++) {
        const struct core_broker *b = core_broker_find(core, it->replicas[i]);

        for (int32_t k = 0; k < i; k++) {
            if (it->replicas[k] == it->replicas[i]) {
                *message = "a broker is named twice";
                return KE_INVALID_REPLICA_ASSIGNMENT;
            }
        }
        if (it->replicas[i] < 0) {
            *message = "a broker id is negative";
            return KE_INVALID_REPLICA_ASSIGNMENT;
        }
        if (!core_ids_has(&p->assignment, it->replicas[i]) && (b == NULL || !b->is_registered)) {
            *message = "a broker that would be added is not alive";
            return KE_INVALID_REPLICA_ASSIGNMENT;
        }
    }
    return KE_NONE;
}

/* Appends to ids those of more that it lacks. */
static void ids_union(struct core_ids *ids, const struct core_ids *more)
{
    for (int32_t i = 0; i < more->count; i++) {
        if (core_ids_has(ids, more->v[i]))
            continue;
        ids->v = xrealloc(ids->v, ((size_t)ids->count + 1) * sizeof *ids->v);
        ids->v[ids->count++] = more->v[i];
    }
}

static void ids_minus(struct core_ids *out, const struct core_ids *a, const struct core_ids *b)
{
    core_ids_set(out, a->v, a->count);
    for (int32_t i = 0; i < b->count; i++)
        core_ids_remove(out, b->v[i]);
}

/* The plan enters the model; its znode is written, and only then carried out. What an older plan
 * was adding stays until phase B, in both lists: it may by now be the one that has all the data, so
 * it is removed like any other, when the target is in sync. */
static void plan(struct controller_core *core, struct core_partition *p,
                 const struct core_ids *target)
{
    struct core_ids origin = {0}, all = {0};

    ids_minus(&origin, &p->assignment, &p->adding);
    core_ids_set(&all, target->v, target->count);
    ids_union(&all, &origin);
    ids_union(&all, &p->assignment);
    core_partition_assign(core, p, all.v, all.count);
    ids_minus(&p->adding, &all, &origin);
    ids_minus(&p->removing, &all, target);
    p->is_reassign_begun = p->is_reassign_written = false;
    if (p->change != NULL)
        p->change->ends_reassignment = false; /* it was the end of the older plan */
    (void)core_trace(core, TRACE_REASSIGN, p, core_is_reassigning(p) ? "begun" : "another order");
    if (!core_is_reassigning(p)) { /* only another order: brokers learn it at once */
        p->must_bump = true;
        core_decide(core, p, 0);
    }
    core_write_topic(core, p->topic);
    core_ids_fini(&origin);
    core_ids_fini(&all);
}

static int16_t reassign_item(struct controller_core *core, const struct core_reassign_item *it,
                             const char **message, struct core_topic **written_out)
{
    struct core_topic *t;
    struct core_partition *p = core_request_resolve(core, &it->at, &t);
    struct core_ids target = {0};
    int16_t error = KE_NONE;

    *message = NULL;
    *written_out = NULL;
    if (p == NULL || t->is_deleting || !t->is_id_written) {
        *message = "there is no such partition, or its topic is being deleted";
        return KE_UNKNOWN_TOPIC_OR_PARTITION;
    }
    if (it->replicas != NULL) {
        error = check_target(core, p, it, message);
        core_ids_set(&target, it->replicas, error == KE_NONE ? it->replica_count : 0);
    } else if (core_is_reassigning(p)) {
        ids_minus(&target, &p->assignment, &p->adding);
    } else {
        *message = "no reassignment of the partition is in progress";
        error = KE_NO_REASSIGNMENT_IN_PROGRESS;
    }
    if (error == KE_NONE &&
        (core_is_reassigning(p) || !core_ids_eq(&target, p->assignment.v, p->assignment.count))) {
        plan(core, p, &target);
        *written_out = t;
    }
    core_ids_fini(&target);
    return error;
}

void core_on_reassign(struct controller_core *core, const struct controller_event *ev)
{
    struct core_request *r;

    if (core->phase != CORE_ACTIVE) {
        core_answer_error(core, ev->u.reassign.handle, CORE_ANSWER_REASSIGN, KE_NOT_CONTROLLER);
        return;
    }
    r = core_request_new(core, ev->u.reassign.handle, CORE_ANSWER_REASSIGN, ev->u.reassign.count);
    for (int32_t i = 0; i < r->count; i++) {
        struct core_topic *written;

        core_request_item_at(&r->items[i], &ev->u.reassign.items[i].at);
        r->items[i].error =
            reassign_item(core, &ev->u.reassign.items[i], &r->items[i].message, &written);
        if (written != NULL)
            core_request_wait_topic(r, i,
                                    written); /* "begun" is said when it stands in ZooKeeper */
    }
    core_request_item_done(core, r);
}
