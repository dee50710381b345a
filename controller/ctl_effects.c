/* SPDX-License-Identifier: Apache-2.0 */
/* Carries out what the core decided: writes behind the epoch check, reads, requests to brokers,
 * answers, log lines. Nothing here calls back into the core at once. */
#include "controller/ctl.h"

#include "common/base/slog.h"

enum { ERASE_BATCH = 100 }; /* partitions in one multi */

/* ---- writes */
struct write_extra {
    int32_t count;
    bool is_set[]; /* has a version in the answer */
};

static void on_write(struct ctl_call *call, const struct coord_result *r)
{
    struct controller *c = call->c;
    const struct write_extra *w = call->extra;
    struct controller_event ev = {.kind = CEV_WRITE_RESULT};
    int32_t *versions = NULL;

    if (ctl_is_fenced(c, r))
        return;
    ev.u.write_result = (struct core_write_result){
        .id = call->id, .err = r->err, .failed_op = -1, .versions = NULL};
    if (r->err == ERR_OK) {
        versions = xcalloc((size_t)w->count + 1, sizeof *versions);
        for (int32_t i = 0; i < w->count; i++)
            versions[i] = w->is_set[i] ? r->op_stats[i + 1].version : 0;
        ev.u.write_result.versions = versions;
    }
    for (int32_t i = 1; r->err != ERR_OK && i < r->op_count; i++) {
        if (r->op_errs[i] != ERR_OK && ev.u.write_result.failed_op < 0)
            ev.u.write_result.failed_op = i - 1;
    }
    ctl_step(c, &ev);
    mem_free(versions);
}

static char *op_path(const struct core_op *op)
{
    switch (op->kind) {
    case CORE_OP_SET_TOPIC:
        return xasprintf("/brokers/topics/%s", op->topic);
    case CORE_OP_CREATE_PARTITIONS_NODE:
        return xasprintf("/brokers/topics/%s/partitions", op->topic);
    case CORE_OP_CREATE_PARTITION_NODE:
        return xasprintf("/brokers/topics/%s/partitions/%d", op->topic, op->partition);
    case CORE_OP_SET_STATE:
    case CORE_OP_CREATE_STATE:
        return xasprintf("/brokers/topics/%s/partitions/%d/state", op->topic, op->partition);
    }
    UNREACHABLE();
}

/* Appends the op's document to docs; its place is filled in when docs does not grow any more. */
static void op_build(const struct core_op *op, struct coord_op *out, struct buf *docs)
{
    bool is_set = op->kind == CORE_OP_SET_STATE || op->kind == CORE_OP_SET_TOPIC;
    size_t at = docs->len;

    *out = (struct coord_op){.kind = is_set ? COORD_OP_SET : COORD_OP_CREATE,
                             .mode = COORD_PERSISTENT,
                             .path = op_path(op),
                             .data = BYTES_NULL,
                             .version = is_set ? op->version : -1};
    if (op->kind == CORE_OP_SET_TOPIC)
        zkdoc_topic_format(&op->doc, docs);
    else if (op->kind == CORE_OP_SET_STATE || op->kind == CORE_OP_CREATE_STATE)
        zkdoc_state_format(&op->state, docs);
    else
        return;
    out->data.len = (int64_t)(docs->len - at);
}

static void run_write(struct controller *c, const struct core_fx *f)
{
    int32_t n = f->u.write.count;
    struct ctl_call *call = ctl_call_new(c, NULL, -1, on_write);
    struct write_extra *w = xcalloc(1, sizeof *w + (size_t)n * sizeof w->is_set[0]);
    struct coord_op *ops = xcalloc((size_t)n, sizeof *ops);
    struct buf docs = {0};
    size_t at = 0;

    call->id = f->u.write.id;
    call->extra = w;
    w->count = n;
    for (int32_t i = 0; i < n; i++) {
        op_build(&f->u.write.ops[i], &ops[i], &docs);
        w->is_set[i] = ops[i].kind == COORD_OP_SET;
    }
    for (int32_t i = 0; i < n; i++) {
        if (ops[i].data.len < 0)
            continue;
        ops[i].data.p = docs.p + at;
        at += (size_t)ops[i].data.len;
    }
    ctl_checked(c, ops, n, call);
    for (int32_t i = 0; i < n; i++)
        mem_free((void *)(uintptr_t)ops[i].path);
    mem_free(ops);
    buf_fini(&docs);
}

/* ---- deleting a topic's znodes: states and partitions in batches, then the topic; ZooKeeper
 * carries them out in order, so all are sent at once, and what was gone already does not matter.
 * The config and the delete request go when the topic's znode is surely gone: while the request
 * stands nobody makes the topic anew, so that an attempt may be repeated. */
static void run_erase(struct controller *c, const char *topic);

static void erase_op(struct controller *c, struct ctl_call *call, char *path)
{
    struct coord_op op = {.kind = COORD_OP_DELETE, .version = -1, .path = path};

    ctl_checked(c, &op, 1, call);
    mem_free(path);
}

static void on_erased_part(struct ctl_call *call, const struct coord_result *r)
{
    struct controller *c = call->c;

    if (ctl_is_fenced(c, r) || r->err == ERR_OK || r->err == ERR_NOT_FOUND || r->err == ERR_CLOSED)
        return;
    SLOG(WARN, "controller", "cannot remove a znode of a deleted topic", KV_S("topic", call->topic),
         KV_ERR(r->err));
}

static void erase_request(struct controller *c, const char *topic,
                          void (*done)(struct ctl_call *, const struct coord_result *))
{
    erase_op(c, ctl_call_new(c, topic, -1, done), xasprintf("/admin/delete_topics/%s", topic));
}

static void on_erased_request(struct ctl_call *call, const struct coord_result *r)
{
    struct controller *c = call->c;
    struct controller_event ev = {.kind = CEV_TOPIC_ERASED};

    if (ctl_is_fenced(c, r))
        return;
    if (r->err == ERR_UNKNOWN_OUTCOME) {
        erase_request(c, call->topic, on_erased_request);
        return;
    }
    ev.u.name = str_of(call->topic);
    ctl_step(c, &ev);
}

static void erase_rest(struct controller *c, const char *topic)
{
    erase_op(c, ctl_call_new(c, topic, -1, on_erased_part), xasprintf("/config/topics/%s", topic));
    erase_request(c, topic, on_erased_request);
}

static void on_erased_tree(struct ctl_call *call, const struct coord_result *r)
{
    if (r->err == ERR_OK || r->err == ERR_NOT_FOUND)
        erase_rest(call->c, call->topic);
    else if (r->err == ERR_UNKNOWN_OUTCOME)
        run_erase(call->c, call->topic);
    else
        on_erased_part(call, r);
}

/* /brokers/topics/T: BUSY when somebody has put something below it. */
static void on_erased_node(struct ctl_call *call, const struct coord_result *r)
{
    struct controller *c = call->c;

    if (ctl_is_fenced(c, r))
        return;
    if (r->err != ERR_BUSY) {
        on_erased_tree(call, r);
        return;
    }
    SLOG(WARN, "controller",
         "removing the znode of a deleted topic with children that are not kafuka's",
         KV_S("topic", call->topic));
    {
        char *path = xasprintf("/brokers/topics/%s", call->topic);

        coord_delete_recursive(c->o.coord, path, loop_mailbox(c->loop), ctl_call_done,
                               ctl_call_new(c, call->topic, -1, on_erased_tree));
        mem_free(path);
    }
}

static void erase_ends(struct controller *c, const char *topic)
{
    erase_op(c, ctl_call_new(c, topic, -1, on_erased_part),
             xasprintf("/brokers/topics/%s/partitions", topic));
    erase_op(c, ctl_call_new(c, topic, -1, on_erased_node), xasprintf("/brokers/topics/%s", topic));
}

struct erase_extra { /* the partitions of one batch */
    int32_t count;
    int32_t partitions[ERASE_BATCH];
    bool is_last;
};

static void on_erased_batch(struct ctl_call *call, const struct coord_result *r)
{
    struct controller *c = call->c;
    const struct erase_extra *e = call->extra;

    if (ctl_is_fenced(c, r))
        return;
    for (int32_t i = 0; r->err != ERR_OK && i < e->count; i++) { /* one by one: some are gone */
        erase_op(
            c, ctl_call_new(c, call->topic, -1, on_erased_part),
            xasprintf("/brokers/topics/%s/partitions/%d/state", call->topic, e->partitions[i]));
        erase_op(c, ctl_call_new(c, call->topic, -1, on_erased_part),
                 xasprintf("/brokers/topics/%s/partitions/%d", call->topic, e->partitions[i]));
    }
    if (e->is_last)
        erase_ends(c, call->topic);
}

static void erase_batch(struct controller *c, const char *topic, const struct erase_extra *e)
{
    struct ctl_call *call = ctl_call_new(c, topic, -1, on_erased_batch);
    struct coord_op *ops = xcalloc((size_t)e->count * 2, sizeof *ops);
    struct erase_extra *copy = xcalloc(1, sizeof *copy);

    *copy = *e;
    call->extra = copy;
    for (int32_t i = 0; i < e->count * 2; i++)
        ops[i] =
            (struct coord_op){.kind = COORD_OP_DELETE,
                              .version = -1,
                              .path = xasprintf("/brokers/topics/%s/partitions/%d%s", topic,
                                                e->partitions[i / 2], i % 2 == 0 ? "/state" : "")};
    ctl_checked(c, ops, e->count * 2, call);
    for (int32_t i = 0; i < e->count * 2; i++)
        mem_free((void *)(uintptr_t)ops[i].path);
    mem_free(ops);
}

static void on_erase_children(struct ctl_call *call, const struct coord_result *r)
{
    struct controller *c = call->c;
    struct erase_extra e = {0};
    bool is_sent = false;

    for (int32_t i = 0; r->err == ERR_OK && i < r->child_count; i++) {
        const char *name = r->children[i];
        int64_t index;

        if (zkdoc_number_parse((struct bytes){(const uint8_t *)name, (int64_t)strlen(name)}, 0,
                               INT32_MAX, &index, NULL) == ERR_OK)
            e.partitions[e.count++] = (int32_t)index;
        e.is_last = i + 1 == r->child_count;
        if (e.count == ERASE_BATCH || (e.is_last && e.count > 0)) {
            erase_batch(c, call->topic, &e);
            is_sent = e.is_last;
            e.count = 0;
        }
    }
    if (!is_sent)
        erase_ends(c, call->topic);
}

static void run_erase(struct controller *c, const char *topic)
{
    char *path = xasprintf("/brokers/topics/%s/partitions", topic);

    ctl_children(c, path, false, ctl_call_new(c, topic, -1, on_erase_children));
    mem_free(path);
}

/* ---- log lines */
static void isr_text(const struct core_trace *t, struct buf *out)
{
    for (int32_t i = 0; i < t->isr_count; i++)
        buf_printf(out, "%s%d", i == 0 ? "" : ",", t->isr[i]);
}

static void trace_state(const struct core_trace *t, const char *message)
{
    struct buf isr = {0};

    isr_text(t, &isr);
    SLOG(INFO, "controller", message, KV_S("topic", t->topic), KV_I("partition", t->partition),
         KV_I("leader", t->leader_new), KV_I("leader_epoch", t->epoch_new),
         KV_S("isr", buf_cstr(&isr)), KV_I("old_leader", t->leader_old), KV_S("why", t->text));
    buf_fini(&isr);
}

static void trace_broker(const struct core_trace *t, const char *message)
{
    SLOG(INFO, "controller", message, KV_I("broker", t->broker_id));
}

static void trace_topic(const struct core_trace *t, const char *message)
{
    if (t->text == NULL)
        SLOG(INFO, "controller", message, KV_S("topic", t->topic));
    else
        SLOG(INFO, "controller", message, KV_S("topic", t->topic), KV_S("why", t->text));
}

static void run_trace(struct controller *c, const struct core_trace *t)
{
    switch (t->kind) {
    case TRACE_LEADER:
        (void)atomic_fetch_add_explicit(&c->elections, 1, memory_order_relaxed);
        (void)atomic_fetch_add_explicit(&c->unclean_elections, t->is_unclean, memory_order_relaxed);
        trace_state(t, "leader elected");
        break;
    case TRACE_ISR:
        trace_state(t, "isr changed");
        break;
    case TRACE_NO_LEADER:
        trace_state(t, "partition has no leader: no replica in its ISR is alive");
        break;
    case TRACE_CREATED:
        trace_state(t, "partition created");
        break;
    case TRACE_BROKER_NEW:
        trace_broker(t, "broker registered");
        break;
    case TRACE_BROKER_GONE:
        trace_broker(t, "broker unregistered");
        break;
    case TRACE_BROKER_BOUNCED:
        trace_broker(t, "broker registered anew");
        break;
    case TRACE_BROKER_SUSPECT:
        SLOG(WARN, "controller", "broker suspected to be dead", KV_I("broker", t->broker_id),
             KV_S("state", t->text));
        break;
    case TRACE_BROKER_SHUTDOWN:
        trace_broker(t, "broker is stopping");
        break;
    case TRACE_TOPIC_NEW:
        trace_topic(t, "new topic");
        break;
    case TRACE_TOPIC_INVALID:
        SLOG(WARN, "controller", "topic ignored: its znodes are not usable",
             KV_S("topic", t->topic), KV_I("partition", t->partition), KV_S("why", t->text));
        break;
    case TRACE_TOPIC_DELETING:
        trace_topic(t, "deleting topic");
        break;
    case TRACE_TOPIC_GONE:
        trace_topic(t, "topic deleted");
        break;
    case TRACE_LOG_DIR:
        SLOG(WARN, "controller", "replica is offline: its log dir failed", KV_S("topic", t->topic),
             KV_I("partition", t->partition), KV_I("broker", t->broker_id));
        break;
    case TRACE_RPC_ERROR:
        SLOG(WARN, "controller", "a broker answered with an error", KV_I("broker", t->broker_id),
             KV_S("topic", t->topic), KV_I("partition", t->partition), KV_KERR(t->error));
        break;
    case TRACE_WRITE_RETRY:
        SLOG(INFO, "controller", "partition state was changed by another writer, reading it again",
             KV_S("topic", t->topic), KV_I("partition", t->partition), KV_S("why", t->text));
        break;
    case TRACE_ZOMBIE:
        SLOG(WARN, "controller", "partition state was written by a newer controller",
             KV_S("topic", t->topic), KV_I("partition", t->partition));
        break;
    case TRACE_REASSIGN:
        SLOG(INFO, "controller", "reassignment", KV_S("topic", t->topic),
             KV_I("partition", t->partition), KV_S("state", t->text));
        break;
    case TRACE_BALANCE:
        trace_broker(t, "giving leaders back to their preferred broker");
        break;
    }
}

/* ---- all */
void ctl_effects_run(struct controller *c)
{
    for (int32_t i = 0; i < c->fx.count; i++) {
        const struct core_fx *f = &c->fx.v[i];

        switch (f->kind) {
        case FX_WRITE:
            run_write(c, f);
            break;
        case FX_READ_TOPICS:
            ctl_list_topics(c);
            break;
        case FX_READ_TOPIC:
            ctl_read_topic(c, f->topic);
            break;
        case FX_READ_STATE:
            ctl_read_state(c, f->topic, f->partition);
            break;
        case FX_READ_TOPIC_CONFIG:
            ctl_read_topic_config(c, f->topic);
            break;
        case FX_ERASE_TOPIC:
            run_erase(c, f->topic);
            break;
        case FX_ERASE_DELETE_REQUEST:
            erase_request(c, f->topic, on_erased_part);
            break;
        case FX_CHANNEL_OPEN:
            ctl_channel_open(c, f->broker_id, f->broker_epoch);
            break;
        case FX_CHANNEL_CLOSE:
            ctl_channel_close(c, f->broker_id);
            break;
        case FX_SEND:
            ctl_channel_send(c, f);
            break;
        case FX_ANSWER:
            ctl_answer(c, f);
            break;
        case FX_VERIFY_LEADERSHIP:
            ctl_look(c);
            break;
        case FX_TRACE:
            run_trace(c, &f->u.trace);
            break;
        }
    }
}
