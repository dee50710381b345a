/* SPDX-License-Identifier: Apache-2.0 */
/* Deletion: all brokers forget the topic, every replica is removed (those on absent brokers when
 * they come back), then the znodes go. */
#include "controller/core_model.h"

static void delete_begin(struct controller_core *core, struct core_topic *t)
{
    t->is_deletion_begun = true;
    for (int32_t i = 0; i < t->partition_count; i++) {
        struct core_partition *p = t->partitions[i];

        core_metadata_bury(core, p);
        for (int32_t k = 0; k < p->assignment.count; k++) {
            t->undeleted++;
            core_delete_replica(core, p->replicas[k]);
        }
    }
}

void core_delete_step(struct controller_core *core, struct core_topic *t)
{
    if (core->phase != CORE_ACTIVE || !t->is_deleting || t->is_erasing || t->change_count > 0 ||
        t->write != NULL)
        return;
    if (!t->is_deletion_begun)
        delete_begin(core, t);
    if (t->undeleted == 0) {
        t->is_erasing = true;
        core_fx_topic(core, FX_ERASE_TOPIC, t->name, t->partition_count);
    }
}

void core_delete_replica(struct controller_core *core, struct core_replica *r)
{
    (void)core;
    if (r->deletion == DELETION_DONE)
        return;
    r->deletion = DELETION_NONE;
    if (r->broker->is_registered) {
        core_out_stop(r, true);
        r->deletion = DELETION_STARTED;
    }
}

/* Called for answers to StopReplica only. Queued again: the answer is to an earlier one. */
void core_delete_reply(struct controller_core *core, struct core_replica *r, int16_t error)
{
    struct core_topic *t = r->partition->topic;

    if (r->deletion != DELETION_STARTED || r->out != OUT_NONE)
        return;
    if (error != KE_NONE) {
        struct core_trace *trace;

        r->deletion = DELETION_FAILED; /* again when the broker comes back */
        trace = core_trace(core, TRACE_RPC_ERROR, r->partition, "the replica was not deleted");
        trace->broker_id = r->broker->id;
        trace->error = error;
        return;
    }
    r->deletion = DELETION_DONE;
    t->undeleted--;
    core_delete_step(core, t);
}

/* ---- requests in /admin/delete_topics */
static void delete_topic(struct controller_core *core, struct core_topic *t)
{
    if (t->is_deleting)
        return;
    t->is_deleting = true;
    core_trace_topic(core, TRACE_TOPIC_DELETING, t->name, NULL);
    core_delete_step(core, t);
}

static bool name_is_noted(const struct controller_core *core, struct str name)
{
    const struct core_name *n;

    TAILQ_FOREACH (n, &core->delete_names, link) {
        if (str_eq_z(name, n->name))
            return true;
    }
    return false;
}

void core_on_delete_topics(struct controller_core *core, const struct controller_event *ev)
{
    bool has_unknown = false;

    for (int32_t i = 0; i < ev->u.names.count; i++) {
        struct str name = ev->u.names.v[i];
        struct core_topic *t = core_topic_find(core, name);

        if (!core->o.is_delete_enabled) {
            char *z = str_dup(name);

            core_fx_topic(core, FX_ERASE_DELETE_REQUEST, z, -1);
            mem_free(z);
        } else if (t != NULL) {
            delete_topic(core, t);
        } else if (!name_is_noted(core, name)) { /* its creation may not have been seen yet */
            struct core_name *n = xcalloc(1, sizeof *n);

            n->name = str_dup(name);
            TAILQ_INSERT_TAIL(&core->delete_names, n, link);
            has_unknown = true;
        }
    }
    if (has_unknown)
        (void)core_fx_add(core, FX_READ_TOPICS);
}

/* A new list of topics is here. */
void core_resolve_deletes(struct controller_core *core)
{
    struct core_name *n;

    while ((n = TAILQ_FIRST(&core->delete_names)) != NULL) {
        struct core_topic *t = core_topic_find(core, str_of(n->name));

        TAILQ_REMOVE(&core->delete_names, n, link);
        if (t != NULL)
            delete_topic(core, t);
        else
            core_fx_topic(core, FX_ERASE_DELETE_REQUEST, n->name, -1);
        mem_free(n->name);
        mem_free(n);
    }
}

void core_on_erased(struct controller_core *core, const struct controller_event *ev)
{
    struct core_topic *t = core_topic_find(core, ev->u.name);

    if (t == NULL || !t->is_erasing)
        return;
    core_trace_topic(core, TRACE_TOPIC_GONE, t->name, "deleted");
    core_topic_drop(core, t);
    (void)core_fx_add(core, FX_READ_TOPICS); /* it may have been made anew already */
}
