/* SPDX-License-Identifier: Apache-2.0 */
/* Topics come and grow by their znodes, whoever wrote them: our API, an old tool, a person with
 * zkCli. A znode without a topic id gets one before the topic comes to life. */
#include "controller/core_model.h"

#include "common/base/topic_name.h"

static void topic_new(struct controller_core *core, struct str name)
{
    struct core_topic *t = core_topic_add(core, name);

    t->seen = core->topics_generation;
    /* A person with zkCli can make any node; a name that cannot be a folder's would take brokers'
     * log directories offline. It is noted, so that it is said once, and can be deleted. */
    if (!topic_name_is_valid(str_of(t->name))) {
        core_trace_topic(core, TRACE_TOPIC_INVALID, t->name, "its name is not legal");
        return;
    }
    core_trace_topic(core, TRACE_TOPIC_NEW, t->name, NULL);
    core_fx_topic(core, FX_READ_TOPIC, t->name, -1);
}

static void topic_gone(struct controller_core *core, struct core_topic *t)
{
    core_trace_topic(core, TRACE_TOPIC_GONE, t->name, "its znode was removed");
    core_topic_drop(core, t);
}

void core_on_topics(struct controller_core *core, const struct controller_event *ev)
{
    struct core_topic *t, *next;

    core->topics_generation++;
    for (int32_t i = 0; i < ev->u.names.count; i++) {
        t = core_topic_find(core, ev->u.names.v[i]);
        if (t == NULL)
            topic_new(core, ev->u.names.v[i]);
        else
            t->seen = core->topics_generation;
    }
    HASH_ITER (by_name, core->topics, t, next) {
        if (t->seen != core->topics_generation && !t->is_erasing)
            topic_gone(core, t);
    }
    core_resolve_deletes(core);
}

/* ---- one topic's znode */
static bool partition_is_sane(const struct zkdoc_partition *p)
{
    if (p->index < 0 || p->replica_count < 1 || p->replica_count > CORE_REPLICAS_MAX)
        return false;
    for (int32_t i = 0; i < p->replica_count; i++) {
        if (p->replicas[i] < 0)
            return false;
        for (int32_t k = 0; k < i; k++) {
            if (p->replicas[k] == p->replicas[i])
                return false;
        }
    }
    return true;
}

static const char *doc_fault(const struct zkdoc_topic *doc)
{
    if (doc == NULL)
        return "the znode's JSON is not that of a topic";
    if (doc->partition_count == 0)
        return "it has no partitions";
    for (int32_t i = 0; i < doc->partition_count; i++) {
        if (!partition_is_sane(&doc->partitions[i]))
            return "a partition has no replicas, a broker twice, or a negative id";
    }
    return NULL;
}

static void partition_new(struct controller_core *core, struct core_topic *t,
                          const struct zkdoc_partition *doc)
{
    struct core_partition *p = core_partition_add(core, t, doc);

    p->is_reassign_written = core_is_reassigning(p);
    if (core->phase == CORE_LOADING)
        core_fx_topic(core, FX_READ_STATE, t->name, p->index);
    else
        core_start_partition(core, p);
}

static void topic_load(struct controller_core *core, struct core_topic *t,
                       const struct controller_event *ev)
{
    const struct zkdoc_topic *doc = ev->u.topic_data.doc;

    t->is_loaded = true;
    t->is_id_written = !uuid_is_zero(doc->topic_id);
    t->id = t->is_id_written ? doc->topic_id : ev->u.topic_data.fresh_id;
    core_topic_index_id(core, t);
    for (int32_t i = 0; i < doc->partition_count; i++)
        partition_new(core, t, &doc->partitions[i]);
    if (!t->is_id_written && !t->is_deleting)
        core_write_topic(core, t);
}

static void topic_update(struct controller_core *core, struct core_topic *t,
                         const struct controller_event *ev)
{
    const struct zkdoc_topic *doc = ev->u.topic_data.doc;
    bool had_id = !uuid_is_zero(doc->topic_id);

    if (t->is_deleting)
        return;
    if (!t->is_id_written && had_id) { /* somebody else gave it one first */
        t->is_id_written = true;
        t->id = doc->topic_id;
        core_topic_index_id(core, t);
        for (int32_t i = 0; core->phase == CORE_ACTIVE && i < t->partition_count; i++)
            core_start_partition(core, t->partitions[i]);
    }
    for (int32_t i = 0; i < doc->partition_count; i++) {
        if (core_partition_find(t, doc->partitions[i].index) == NULL)
            partition_new(core, t, &doc->partitions[i]);
    }
    if (t->write == NULL && (t->rewrite || !had_id))
        core_write_topic(core, t); /* an old tool that changes partitions leaves the id out */
}

void core_on_topic_data(struct controller_core *core, const struct controller_event *ev)
{
    struct core_topic *t = core_topic_find(core, ev->u.topic_data.topic);
    const struct zkdoc_topic *doc = ev->u.topic_data.doc;
    const char *fault;

    if (t == NULL || t->is_erasing)
        return;
    if (!ev->u.topic_data.exists) {
        topic_gone(core, t);
        (void)core_fx_add(core, FX_READ_TOPICS); /* it may have come back unseen */
        return;
    }
    fault = doc_fault(doc);
    if (fault != NULL) {
        core_trace_topic(core, TRACE_TOPIC_INVALID, t->name, fault);
        return;
    }
    if (t->is_loaded && t->is_id_written && !uuid_is_zero(doc->topic_id) &&
        !uuid_eq(t->id, doc->topic_id)) { /* deleted and made anew between two looks */
        topic_gone(core, t);
        t = core_topic_add(core, ev->u.topic_data.topic);
        t->seen = core->topics_generation;
        core_trace_topic(core, TRACE_TOPIC_NEW, t->name, NULL);
    }
    if (t->write == NULL)
        t->version = ev->u.topic_data.version;
    if (t->is_loaded)
        topic_update(core, t, ev);
    else
        topic_load(core, t, ev);
}

void core_topic_written(struct controller_core *core, struct core_topic *t, int32_t version)
{
    bool starts = !t->is_id_written;

    t->version = version;
    t->is_id_written = true;
    if (t->rewrite && !t->is_deleting)
        core_write_topic(core, t);
    if (t->write == NULL)
        core_topic_waiters_done(core, t, KE_NONE);
    if (core->phase != CORE_ACTIVE)
        return;
    for (int32_t i = 0; i < t->partition_count; i++) {
        struct core_partition *p = t->partitions[i];

        if (core_is_reassigning(p) && t->write == NULL)
            p->is_reassign_written = true;
        if (starts)
            core_start_partition(core, p);
        else if (p->change == NULL && !t->is_deleting)
            core_reassign_step(core, p);
    }
    if (t->is_deleting)
        core_delete_step(core, t);
}

void core_topic_write_failed(struct controller_core *core, struct core_topic *t)
{
    t->rewrite = true;
    core_fx_topic(core, FX_READ_TOPIC, t->name, -1);
    if (t->is_deleting) /* it will not be written any more */
        core_topic_waiters_done(core, t, KE_UNKNOWN_TOPIC_OR_PARTITION);
    if (t->is_deleting)
        core_delete_step(core, t);
}
