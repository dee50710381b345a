/* SPDX-License-Identifier: Apache-2.0 */
/* The driver: one thread, one mailbox. Answers of ZooKeeper, fired watches and session changes come
 * as mail and become events of the core; its effects become calls. An event that arises while
 * effects are being carried out waits in `pending`, so the core is never entered twice.
 *
 * Every write that assumes something is a multi which checks it: a claim and a release that our
 * registration is there (only this session has written it), a commit in addition that the owner's
 * znode is. So a write that was made under one session and carried out under the next changes
 * nothing, and a former owner's late commit cannot move an offset back. */
#include "tools/zkconsumer/zkc_shell.h"

#include "common/base/clock.h"
#include "common/base/slog.h"

#include <poll.h>
#include <stdarg.h>
#include <stdio.h>

enum {
    IDLE_MS = 1000,          /* the longest sleep: librdkafka's callbacks want to be served */
    BROKERS_AGAIN_MS = 1000, /* between two reads of their addresses */
    CLAIM_TRIES_MAX = 3,
    LINE_MAX_BYTES = 1024
};

/* ---- log */

static enum slog_level slog_level_of(enum kafuka_zkc_level level)
{
    switch (level) {
    case KAFUKA_ZKC_DEBUG:
        return SLOG_DEBUG;
    case KAFUKA_ZKC_INFO:
        return SLOG_INFO;
    case KAFUKA_ZKC_WARN:
        return SLOG_WARN;
    case KAFUKA_ZKC_ERROR_LEVEL:
        return SLOG_ERROR;
    }
    UNREACHABLE();
}

void zkc_log(struct kafuka_zkc *z, enum kafuka_zkc_level level, const char *fmt, ...)
{
    char text[LINE_MAX_BYTES];
    va_list ap;

    if (level < z->log_level)
        return;
    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (z->log != NULL)
        z->log(z->log_arg, level, text);
    else
        slog_write(slog_level_of(level), "zkconsumer", text,
                   (const struct slog_kv[]){KV_S("member", z->member_id), {0}});
}

/* ---- events */

struct pending_event {
    struct pending_event *next;
    struct zkc_event ev;
    char topic[256]; /* what ev.part.topic points to */
};

static void perform(struct kafuka_zkc *z, const struct zkc_effect *effects);

static void perform_all(struct kafuka_zkc *z, const struct zkc_event *ev)
{
    struct zkc_effects effects = {0};

    zkc_core_step(&z->core, ev, &effects);
    for (int32_t i = 0; i < effects.count; i++)
        perform(z, &effects.v[i]);
    zkc_effects_fini(&effects);
    zkc_fetch_set_lease(z->fetch, zkc_core_lease_ms(&z->core));
}

static void step(struct kafuka_zkc *z, struct zkc_event ev)
{
    if (z->is_closed)
        return;
    ASSERT(!z->is_stepping);
    z->is_stepping = true;
    ev.now_ms = clock_mono_ms();
    perform_all(z, &ev);
    while (z->pending != NULL) {
        struct pending_event *p = z->pending;

        z->pending = p->next;
        if (z->pending == NULL)
            z->pending_end = &z->pending;
        p->ev.now_ms = clock_mono_ms();
        if (!z->is_closed)
            perform_all(z, &p->ev);
        mem_free(p);
    }
    z->is_stepping = false;
}

/* An event about a partition, for after the present one. */
static void later(struct kafuka_zkc *z, enum zkc_event_kind kind, const struct zkc_effect *effects,
                  enum zkc_result result, int64_t offset)
{
    struct pending_event *p = xcalloc(1, sizeof *p);

    (void)snprintf(p->topic, sizeof p->topic, "%s", effects->topic);
    p->ev = (struct zkc_event){.kind = kind,
                               .result = result,
                               .part = {.topic = p->topic,
                                        .partition = effects->partition,
                                        .seq = effects->seq,
                                        .offset = offset}};
    *z->pending_end = p;
    z->pending_end = &p->next;
}

/* ---- calls */

#define ZKC_CALL_MAGIC 0x7a6b6363u

/* One effect on its way through ZooKeeper, perhaps in several steps. */
struct call {
    unsigned magic;
    struct kafuka_zkc *z;
    enum zkc_effect_kind kind;
    enum zkc_read what;
    char *name;                /* of a member or topic */
    int32_t partition, stream; /* BROKERS: stream is the wanted protocol */
    uint32_t seq;
    int64_t offset, sent_ms;
    bool is_create;
    int tries;
    char *path, *data; /* of the znode that it is about */
};

static char *path_of(const struct kafuka_zkc *z, const char *what, const char *topic,
                     int32_t partition)
{
    if (topic == NULL)
        return xasprintf("/consumers/%s/%s", z->settings.group_id, what);
    return xasprintf("/consumers/%s/%s/%s/%d", z->settings.group_id, what, topic, partition);
}

static char *registration_path(const struct kafuka_zkc *z)
{
    return xasprintf("/consumers/%s/ids/%s", z->settings.group_id, z->member_id);
}

static struct call *call_new(struct kafuka_zkc *z, const struct zkc_effect *effects)
{
    struct call *k = xcalloc(1, sizeof *k);
    const char *name = effects->name != NULL ? effects->name : effects->topic;

    k->magic = ZKC_CALL_MAGIC;
    k->z = z;
    k->kind = effects->kind;
    k->what = effects->what;
    k->name = name == NULL ? NULL : xstrdup(name);
    k->partition = effects->partition;
    k->stream = effects->stream;
    k->seq = effects->seq;
    k->offset = effects->offset;
    k->is_create = effects->is_create;
    k->sent_ms = clock_mono_ms();
    return k;
}

static void call_free(struct call *k)
{
    mem_free(k->name);
    mem_free(k->path);
    mem_free(k->data);
    k->magic = 0;
    mem_free(k);
}

/* Ends a call about a partition with this event. */
static void finish(struct call *k, enum zkc_event_kind kind, enum zkc_result result)
{
    struct zkc_event ev = {
        .kind = kind,
        .result = result,
        .part = {.topic = k->name, .partition = k->partition, .seq = k->seq, .offset = k->offset}};

    step(k->z, ev);
    call_free(k);
}

/* Ends a call that shows whether the server knows us. */
static void finish_alive(struct call *k, enum zkc_event_kind kind, enum zkc_result result)
{
    struct zkc_event ev = {.kind = kind, .result = result, .alive = {.sent_ms = k->sent_ms}};

    step(k->z, ev);
    call_free(k);
}

static enum zkc_result failure(enum err e)
{
    return e == ERR_UNKNOWN_OUTCOME ? ZKC_UNKNOWN : ZKC_FAILED;
}

/* Which operation of a multi failed; -1: it is not known, or none did. */
static int32_t failed_op(const struct coord_result *r)
{
    for (int32_t i = 0; i < r->op_count; i++)
        if (r->op_errs[i] != ERR_OK && r->op_errs[i] != ERR_NOT_ATTEMPTED)
            return i;
    return -1;
}

/* The call that was answered. NULL: we have left meanwhile, it is released, and nothing is to be
 * done (the session may be closed already). */
static struct call *call_of(void *arg)
{
    struct call *k;

    CAST_OBJ(k, arg, ZKC_CALL_MAGIC);
    if (!k->z->is_closed)
        return k;
    call_free(k);
    return NULL;
}

/* The parents of k->path, then again. */
static void make_parents(struct call *k, coord_done done)
{
    char *parent = xstrdup(k->path);
    char *slash = strrchr(parent, '/');

    ASSERT(slash != NULL && slash != parent);
    *slash = 0;
    coord_create_recursive(k->z->coord, parent, BYTES_NULL, &k->z->mailbox, done, k);
    mem_free(parent);
}

/* ---- registration */

static void register_checked(void *arg, const struct coord_result *r)
{
    struct call *k = call_of(arg);
    bool is_ours;

    if (k == NULL)
        return;
    is_ours = r->err == ERR_OK && r->stat.ephemeral_owner == coord_session_id(k->z->coord);
    finish_alive(k, ZKC_EV_REGISTERED,
                 is_ours            ? ZKC_OK
                 : r->err == ERR_OK ? ZKC_EXISTS
                                    : ZKC_FAILED);
}

static void register_created(void *arg, const struct coord_result *r)
{
    struct call *k = call_of(arg);

    if (k == NULL)
        return;
    if (r->err == ERR_EXISTS) /* an earlier try that took effect, or another session's */
        coord_exists(k->z->coord, k->path, false, &k->z->mailbox, register_checked, k);
    else
        finish_alive(k, ZKC_EV_REGISTERED, r->err == ERR_OK ? ZKC_OK : failure(r->err));
}

static void register_parents_made(void *arg, const struct coord_result *r)
{
    struct call *k = call_of(arg);
    struct kafuka_zkc *z;
    struct buf doc = {0};
    struct zkdoc_consumer d;
    struct coord_op op;

    if (k == NULL)
        return;
    z = k->z;
    if (r->err != ERR_OK && r->err != ERR_EXISTS) {
        zkc_log(z, KAFUKA_ZKC_WARN, "cannot register: %s", err_text(r->err));
        finish_alive(k, ZKC_EV_REGISTERED, ZKC_FAILED);
        return;
    }
    d = (struct zkdoc_consumer){.pattern = z->pattern,
                                .subscriptions = z->subscriptions,
                                .subscription_count = z->subscription_count,
                                .timestamp_ms = clock_wall_ms(),
                                .is_ceil = z->options.is_ceil};
    zkdoc_consumer_format(&d, &doc);
    op = (struct coord_op){.kind = COORD_OP_CREATE,
                           .mode = COORD_EPHEMERAL,
                           .path = k->path,
                           .data = {doc.p, (int64_t)doc.len}};
    k->sent_ms = clock_mono_ms();
    coord_multi(z->coord, &op, 1, &z->mailbox, register_created, k);
    buf_fini(&doc);
}

static void do_register(struct kafuka_zkc *z, const struct zkc_effect *effects)
{
    struct call *k = call_new(z, effects);

    k->path = registration_path(z);
    make_parents(k, register_parents_made);
}

static void heartbeat_done(void *arg, const struct coord_result *r)
{
    struct call *k = call_of(arg);
    bool is_ours;

    if (k == NULL)
        return;
    is_ours = r->err == ERR_OK && r->stat.ephemeral_owner == coord_session_id(k->z->coord);
    finish_alive(k, ZKC_EV_HEARTBEAT,
                 is_ours                   ? ZKC_OK
                 : r->err == ERR_OK        ? ZKC_EXISTS
                 : r->err == ERR_NOT_FOUND ? ZKC_NOT_FOUND
                                           : ZKC_FAILED);
}

static void do_heartbeat(struct kafuka_zkc *z, const struct zkc_effect *effects)
{
    struct call *k = call_new(z, effects);

    k->path = registration_path(z);
    coord_exists(z->coord, k->path, false, &z->mailbox, heartbeat_done, k);
}

/* ---- reading */

static void read_done(void *arg, const struct coord_result *r);

static void finish_read(struct call *k, const struct coord_result *r, enum zkc_result result)
{
    struct zkc_event ev = {.kind = ZKC_EV_READ,
                           .result = result,
                           .read = {.round = k->seq, .what = k->what, .name = k->name}};

    ev.read.data = r->data;
    ev.read.children = r->children;
    ev.read.child_count = r->child_count;
    step(k->z, ev);
    call_free(k);
}

static void read_call(struct call *k)
{
    struct coord *c = k->z->coord;

    if (k->what == ZKC_MEMBER || k->what == ZKC_TOPIC)
        coord_get(c, k->path, k->what == ZKC_TOPIC, &k->z->mailbox, read_done, k);
    else
        coord_children(c, k->path, true, &k->z->mailbox, read_done, k);
}

/* What is not there was watched by looking whether it is. */
static void absence_watched(void *arg, const struct coord_result *r)
{
    struct call *k = call_of(arg);

    if (k == NULL)
        return;
    if (r->err == ERR_OK && k->tries++ < CLAIM_TRIES_MAX)
        read_call(k); /* it has come meanwhile */
    else
        finish_read(k, &(struct coord_result){0},
                    r->err == ERR_NOT_FOUND ? ZKC_NOT_FOUND : ZKC_FAILED);
}

static void read_done(void *arg, const struct coord_result *r)
{
    struct call *k = call_of(arg);

    if (k == NULL)
        return;
    if (r->err == ERR_NOT_FOUND && k->what != ZKC_MEMBER)
        coord_exists(k->z->coord, k->path, true, &k->z->mailbox, absence_watched, k);
    else
        finish_read(k, r,
                    r->err == ERR_OK          ? ZKC_OK
                    : r->err == ERR_NOT_FOUND ? ZKC_NOT_FOUND
                                              : ZKC_FAILED);
}

static void do_read(struct kafuka_zkc *z, const struct zkc_effect *effects)
{
    struct call *k = call_new(z, effects);

    switch (k->what) {
    case ZKC_MEMBERS:
        k->path = path_of(z, "ids", NULL, 0);
        break;
    case ZKC_MEMBER:
        k->path = xasprintf("/consumers/%s/ids/%s", z->settings.group_id, k->name);
        break;
    case ZKC_TOPICS:
        k->path = xstrdup("/brokers/topics");
        break;
    case ZKC_TOPIC:
        k->path = xasprintf("/brokers/topics/%s", k->name);
        break;
    case ZKC_BROKERS:
        k->path = xstrdup("/brokers/ids");
        break;
    }
    read_call(k);
}

/* ---- claims */

static void claim_done(void *arg, const struct coord_result *r);

static void claim_call(struct call *k)
{
    char *registration = registration_path(k->z);
    struct coord_op ops[] = {
        {.kind = COORD_OP_CHECK, .path = registration, .version = -1},
        {.kind = COORD_OP_CREATE,
         .mode = COORD_EPHEMERAL,
         .path = k->path,
         .data = {(const uint8_t *)k->data, (int64_t)strlen(k->data)}},
    };

    coord_multi(k->z->coord, ops, ARRAY_LEN(ops), &k->z->mailbox, claim_done, k);
    mem_free(registration);
}

static void claim_again(void *arg, const struct coord_result *r)
{
    struct call *k = call_of(arg);

    if (k == NULL)
        return;
    if (r->err == ERR_OK || r->err == ERR_EXISTS)
        claim_call(k);
    else
        finish(k, ZKC_EV_CLAIMED, ZKC_FAILED);
}

static void claim_owner_read(void *arg, const struct coord_result *r)
{
    struct call *k = call_of(arg);
    struct zkc_event ev = {.kind = ZKC_EV_CLAIMED, .result = ZKC_EXISTS};
    char *owner;

    if (k == NULL)
        return;
    if (r->err != ERR_OK) { /* gone again, or not to be read: from the beginning */
        if (r->err == ERR_NOT_FOUND && k->tries++ < CLAIM_TRIES_MAX)
            claim_call(k);
        else
            finish(k, ZKC_EV_CLAIMED, ZKC_FAILED);
        return;
    }
    owner = r->data.len > 0 ? xstrndup((const char *)r->data.p, (size_t)r->data.len) : xstrdup("");
    ev.part.topic = k->name;
    ev.part.partition = k->partition;
    ev.part.seq = k->seq;
    ev.part.owner = owner;
    ev.part.is_our_session = r->stat.ephemeral_owner == coord_session_id(k->z->coord);
    step(k->z, ev);
    mem_free(owner);
    call_free(k);
}

static void claim_done(void *arg, const struct coord_result *r)
{
    struct call *k = call_of(arg);
    int32_t op = failed_op(r);

    if (k == NULL)
        return;
    if (r->err == ERR_OK)
        finish(k, ZKC_EV_CLAIMED, ZKC_OK);
    else if (r->err == ERR_NOT_FOUND && op == 0)
        finish(k, ZKC_EV_CLAIMED, ZKC_UNREGISTERED);
    else if (r->err == ERR_NOT_FOUND && op == 1 && k->tries++ < CLAIM_TRIES_MAX)
        make_parents(k, claim_again);
    else if (r->err == ERR_EXISTS)
        coord_get(k->z->coord, k->path, true, &k->z->mailbox, claim_owner_read, k);
    else
        finish(k, ZKC_EV_CLAIMED, failure(r->err));
}

static void do_claim(struct kafuka_zkc *z, const struct zkc_effect *effects)
{
    struct call *k = call_new(z, effects);

    k->path = path_of(z, "owners", k->name, k->partition);
    k->data = xasprintf("%s-%d", z->member_id, k->stream);
    claim_call(k);
}

/* ---- offsets */

static void offset_done(void *arg, const struct coord_result *r)
{
    struct call *k = call_of(arg);
    struct errtext why = {{0}};
    int64_t offset = -1;

    if (k == NULL)
        return;
    if (r->err == ERR_OK &&
        (zkdoc_number_parse(r->data, INT64_MIN, INT64_MAX, &offset, &why) != ERR_OK ||
         offset < 0)) {
        zkc_log(k->z, KAFUKA_ZKC_WARN, "%s holds no offset; beginning by auto.offset.reset",
                k->path);
        finish(k, ZKC_EV_OFFSET, ZKC_NOT_FOUND);
        return;
    }
    k->offset = offset;
    finish(k, ZKC_EV_OFFSET,
           r->err == ERR_OK          ? ZKC_OK
           : r->err == ERR_NOT_FOUND ? ZKC_NOT_FOUND
                                     : ZKC_FAILED);
}

static void do_read_offset(struct kafuka_zkc *z, const struct zkc_effect *effects)
{
    struct call *k = call_new(z, effects);

    k->path = path_of(z, "offsets", k->name, k->partition);
    coord_get(z->coord, k->path, false, &z->mailbox, offset_done, k);
}

static void commit_done(void *arg, const struct coord_result *r);

static void commit_call(struct call *k)
{
    char *registration = registration_path(k->z);
    char *owner = path_of(k->z, "owners", k->name, k->partition);
    struct coord_op ops[] = {
        {.kind = COORD_OP_CHECK, .path = registration, .version = -1},
        {.kind = COORD_OP_CHECK, .path = owner, .version = 0}, /* we create it and never write it */
        {.kind = k->is_create ? COORD_OP_CREATE : COORD_OP_SET,
         .mode = COORD_PERSISTENT,
         .path = k->path,
         .data = {(const uint8_t *)k->data, (int64_t)strlen(k->data)},
         .version = -1},
    };

    coord_multi(k->z->coord, ops, ARRAY_LEN(ops), &k->z->mailbox, commit_done, k);
    mem_free(registration);
    mem_free(owner);
}

static void commit_again(void *arg, const struct coord_result *r)
{
    struct call *k = call_of(arg);

    if (k == NULL)
        return;
    if (r->err == ERR_OK || r->err == ERR_EXISTS)
        commit_call(k);
    else
        finish(k, ZKC_EV_COMMITTED, ZKC_FAILED);
}

static void commit_done(void *arg, const struct coord_result *r)
{
    struct call *k = call_of(arg);
    int32_t op = failed_op(r);

    if (k == NULL)
        return;
    if (r->err == ERR_OK)
        finish(k, ZKC_EV_COMMITTED, ZKC_OK);
    else if (r->err == ERR_NOT_FOUND && op == 0)
        finish(k, ZKC_EV_COMMITTED, ZKC_UNREGISTERED);
    else if ((r->err == ERR_NOT_FOUND || r->err == ERR_BAD_VERSION) && op == 1)
        finish(k, ZKC_EV_COMMITTED, ZKC_FENCED);
    else if (r->err == ERR_NOT_FOUND && op == 2 && k->is_create && k->tries++ < CLAIM_TRIES_MAX)
        make_parents(k, commit_again);
    else if (r->err == ERR_NOT_FOUND && op == 2)
        finish(k, ZKC_EV_COMMITTED, ZKC_NOT_FOUND);
    else if (r->err == ERR_EXISTS && op == 2)
        finish(k, ZKC_EV_COMMITTED, ZKC_EXISTS);
    else
        finish(k, ZKC_EV_COMMITTED, failure(r->err));
}

static void do_commit(struct kafuka_zkc *z, const struct zkc_effect *effects)
{
    int64_t offset = effects->offset >= 0
                         ? effects->offset
                         : zkc_fetch_position(z->fetch, effects->topic, effects->partition);
    struct call *k;

    if (offset < 0 || offset == effects->committed) {
        later(z, ZKC_EV_COMMITTED, effects, ZKC_OK, effects->committed);
        return;
    }
    k = call_new(z, effects);
    k->offset = offset;
    k->path = path_of(z, "offsets", k->name, k->partition);
    k->data = xasprintf("%" PRId64, offset);
    commit_call(k);
}

/* ---- releases */

static void release_done(void *arg, const struct coord_result *r)
{
    struct call *k = call_of(arg);

    if (k == NULL)
        return;
    if (r->err == ERR_NOT_FOUND)
        finish(k, ZKC_EV_RELEASED, failed_op(r) == 0 ? ZKC_UNREGISTERED : ZKC_NOT_FOUND);
    else
        finish(k, ZKC_EV_RELEASED, r->err == ERR_OK ? ZKC_OK : failure(r->err));
}

static void release_call(struct call *k)
{
    char *registration = registration_path(k->z);
    struct coord_op ops[] = {
        {.kind = COORD_OP_CHECK, .path = registration, .version = -1},
        {.kind = COORD_OP_DELETE, .path = k->path, .version = -1},
    };

    coord_multi(k->z->coord, ops, ARRAY_LEN(ops), &k->z->mailbox, release_done, k);
    mem_free(registration);
}

static void release_verified(void *arg, const struct coord_result *r)
{
    struct call *k = call_of(arg);

    if (k == NULL)
        return;
    if (r->err == ERR_OK && r->stat.ephemeral_owner == coord_session_id(k->z->coord))
        release_call(k);
    else
        finish(k, ZKC_EV_RELEASED,
               r->err == ERR_OK || r->err == ERR_NOT_FOUND ? ZKC_NOT_FOUND : ZKC_FAILED);
}

static void do_release(struct kafuka_zkc *z, const struct zkc_effect *effects)
{
    struct call *k = call_new(z, effects);

    k->path = path_of(z, "owners", k->name, k->partition);
    if (effects->verify)
        coord_exists(z->coord, k->path, false, &z->mailbox, release_verified, k);
    else
        release_call(k);
}

/* ---- the brokers' addresses */

static int16_t wanted_protocol(const struct kafuka_zkc *z)
{
    int16_t protocol = ZKDOC_PLAINTEXT;
    char value[64];
    size_t size = sizeof value;

    if (rd_kafka_conf_get(z->settings.rk, "security.protocol", value, &size) == RD_KAFKA_CONF_OK) {
        for (char *p = value; *p != 0; p++)
            if (*p >= 'a' && *p <= 'z')
                *p = (char)(*p - 'a' + 'A');
        (void)zkdoc_protocol_parse(value, &protocol);
    }
    return protocol;
}

static void broker_read(void *arg, const struct coord_result *r)
{
    struct call *k = call_of(arg);
    struct arena a = {0};
    struct errtext why = {{0}};
    struct zkdoc_broker doc;

    if (k == NULL)
        return;
    if (r->err == ERR_OK && zkdoc_broker_parse(r->data, &a, &doc, &why) == ERR_OK) {
        for (int32_t i = 0; i < doc.endpoint_count; i++)
            if (doc.endpoints[i].protocol == k->stream && doc.endpoints[i].host[0] != 0) {
                char *address =
                    xasprintf(strchr(doc.endpoints[i].host, ':') == NULL ? "%s:%d" : "[%s]:%d",
                              doc.endpoints[i].host, doc.endpoints[i].port);
                zkc_fetch_add_broker(k->z->fetch, address);
                mem_free(address);
            }
    } else if (r->err == ERR_OK) {
        zkc_log(k->z, KAFUKA_ZKC_WARN, "broker %s is left out: %s", k->name, why.text);
    }
    arena_fini(&a);
    call_free(k);
}

static void do_brokers(struct kafuka_zkc *z)
{
    z->brokers_ms = clock_mono_ms();
    for (int32_t i = 0; i < z->core.now.broker_count; i++) {
        struct zkc_effect effects = {.kind = ZKC_EFFECT_BROKERS, .name = z->core.now.brokers[i]};
        struct call *k = call_new(z, &effects);

        k->stream = wanted_protocol(z);
        k->path = xasprintf("/brokers/ids/%s", k->name);
        coord_get(z->coord, k->path, false, &z->mailbox, broker_read, k);
    }
}

/* ---- effects */

static struct zkc_stream *stream_of(struct kafuka_zkc *z, const char *topic, int32_t i)
{
    for (int32_t s = 0; s < z->subscription_count; s++) {
        struct zkc_streams *g = &z->streams[s];

        if ((g->topic == NULL || strcmp(g->topic, topic) == 0) && i >= 0 && i < g->count)
            return g->v[i];
    }
    return NULL;
}

static void commit_finished(struct kafuka_zkc *z, enum kafuka_zkc_status status)
{
    struct zkc_commit *k = z->commits;

    if (k == NULL)
        return;
    z->commits = k->next;
    if (z->commits == NULL)
        z->commits_end = &z->commits;
    lock_take(&z->lock);
    k->is_done = true;
    k->status = status;
    MUST(pthread_cond_broadcast(&z->changed) == 0);
    lock_release(&z->lock);
    zkc_commit_unref(k);
}

/* A copy for kafuka_zkc_history(), which may be asked by any thread. */
static void copy_history(struct kafuka_zkc *z)
{
    int64_t now = clock_mono_ms(), wall = clock_wall_ms();

    lock_take(&z->lock);
    z->history_count = 0;
    for (int32_t i = 0; zkc_core_history(&z->core, i) != NULL; i++) {
        z->history[i] = *zkc_core_history(&z->core, i);
        z->history_wall_ms[i] = wall - (now - z->history[i].began_ms);
        z->history_count++;
    }
    lock_release(&z->lock);
}

static void do_trace(struct kafuka_zkc *z, const struct zkc_effect *effects)
{
    struct buf line = {0};
    enum kafuka_zkc_level level = zkc_trace_text(effects, &line);

    zkc_log(z, level, "%s", buf_cstr(&line));
    buf_fini(&line);
    if (effects->trace == ZKC_TRACE_REBALANCE || effects->trace == ZKC_TRACE_REBALANCED)
        copy_history(z);
}

static void perform(struct kafuka_zkc *z, const struct zkc_effect *effects)
{
    switch (effects->kind) {
    case ZKC_EFFECT_REGISTER:
        do_register(z, effects);
        break;
    case ZKC_EFFECT_HEARTBEAT:
        do_heartbeat(z, effects);
        break;
    case ZKC_EFFECT_READ:
        do_read(z, effects);
        break;
    case ZKC_EFFECT_CLAIM:
        do_claim(z, effects);
        break;
    case ZKC_EFFECT_READ_OFFSET:
        do_read_offset(z, effects);
        break;
    case ZKC_EFFECT_RESOLVE:
        zkc_fetch_resolve(z->fetch, effects->topic, effects->partition, effects->seq);
        break;
    case ZKC_EFFECT_START_FETCH: {
        struct zkc_stream *s = stream_of(z, effects->topic, effects->stream);

        ASSERT(s != NULL); /* the core only assigns what we subscribed to */
        zkc_fetch_start(z->fetch, effects->topic, effects->partition, s, effects->offset,
                        effects->seq);
        break;
    }
    case ZKC_EFFECT_STOP_FETCH:
        zkc_fetch_stop(z->fetch, effects->topic, effects->partition, effects->seq, clock_mono_ms());
        break;
    case ZKC_EFFECT_DROP_FETCH:
        zkc_fetch_drop(z->fetch, effects->topic, effects->partition);
        break;
    case ZKC_EFFECT_COMMIT:
        do_commit(z, effects);
        break;
    case ZKC_EFFECT_RELEASE:
        do_release(z, effects);
        break;
    case ZKC_EFFECT_BROKERS:
        do_brokers(z);
        break;
    case ZKC_EFFECT_COMMIT_DONE:
        commit_finished(z, effects->offset == 0 ? KAFUKA_ZKC_OK : KAFUKA_ZKC_ERROR);
        break;
    case ZKC_EFFECT_CLOSE:
        z->is_closed = true;
        break;
    case ZKC_EFFECT_TRACE:
        do_trace(z, effects);
        break;
    }
}

/* ---- what comes in */

static void on_state(void *arg, enum coord_state s, bool session_is_new)
{
    struct kafuka_zkc *z;
    struct zkc_event ev = {.kind = ZKC_EV_EXPIRED};

    CAST_OBJ(z, arg, KAFUKA_ZKC_MAGIC);
    if (s == COORD_EXPIRED)
        step(z, ev);
    else if (s == COORD_DISCONNECTED && !z->is_closed)
        zkc_log(z, KAFUKA_ZKC_INFO,
                "ZooKeeper cannot be reached; records are handed out as long "
                "as nobody else can own their partitions");
    if (s != COORD_CONNECTED || !session_is_new || z->coord == NULL)
        return;
    ev.kind = ZKC_EV_SESSION;
    ev.session.timeout_ms = coord_session_timeout_ms(z->coord);
    step(z, ev);
}

/* "/consumers/<g>/owners/<t>/<p>" */
static void owner_changed(struct kafuka_zkc *z, const char *rest)
{
    const char *slash = strrchr(rest, '/');
    struct zkc_event ev = {.kind = ZKC_EV_OWNER_GONE};
    int64_t partition;
    char *topic;
    struct bytes number;

    if (slash == NULL)
        return;
    number = (struct bytes){(const uint8_t *)slash + 1, (int64_t)strlen(slash + 1)};
    if (zkdoc_number_parse(number, 0, INT32_MAX, &partition, NULL) != ERR_OK)
        return;
    topic = xstrndup(rest, (size_t)(slash - rest));
    ev.part.topic = topic;
    ev.part.partition = (int32_t)partition;
    step(z, ev);
    mem_free(topic);
}

static void on_change(void *arg, enum coord_change kind UNUSED, const char *path)
{
    struct kafuka_zkc *z;
    struct zkc_event ev = {.kind = ZKC_EV_CHANGED, .changed = {.what = ZKC_TOPIC}};
    const char *group;
    size_t len;

    CAST_OBJ(z, arg, KAFUKA_ZKC_MAGIC);
    group = z->settings.group_id;
    len = strlen(group);
    if (strncmp(path, "/consumers/", 11) == 0 && strncmp(path + 11, group, len) == 0 &&
        path[11 + len] == '/') {
        const char *rest = path + 11 + len + 1;

        if (strncmp(rest, "owners/", 7) == 0)
            owner_changed(z, rest + 7);
        if (strcmp(rest, "ids") != 0)
            return;
        ev.changed.what = ZKC_MEMBERS;
    } else if (strcmp(path, "/brokers/ids") == 0) {
        ev.changed.what = ZKC_BROKERS;
    } else if (strcmp(path, "/brokers/topics") == 0) {
        ev.changed.what = ZKC_TOPICS;
    } else if (strncmp(path, "/brokers/topics/", 16) != 0) {
        return;
    }
    step(z, ev);
}

static void collect(struct kafuka_zkc *z)
{
    struct zkc_fetch_result r;

    while (!z->is_closed && zkc_fetch_collect(z->fetch, clock_mono_ms(), &r)) {
        struct zkc_event ev = {
            .part = {.topic = r.topic, .partition = r.partition, .seq = r.seq, .offset = r.offset}};

        switch (r.kind) {
        case ZKC_FETCHED_STOPPED:
            ev.kind = ZKC_EV_STOPPED;
            break;
        case ZKC_FETCHED_OUT_OF_RANGE:
            zkc_log(z, KAFUKA_ZKC_WARN, "%s-%d: offset %" PRId64 " is not in the log", r.topic,
                    r.partition, r.offset);
            ev.kind = ZKC_EV_OUT_OF_RANGE;
            break;
        case ZKC_FETCHED_RESOLVED:
            ev.kind = ZKC_EV_RESOLVED;
            ev.result = r.offset >= 0 ? ZKC_OK : ZKC_FAILED;
            break;
        }
        step(z, ev);
    }
}

static void poked(struct mail *m)
{
    struct zkc_poke *p = CONTAINER_OF(m, struct zkc_poke, mail);

    atomic_store(&p->is_posted, false); /* before the look: a later poke comes again */
    collect(p->shell);
}

static void poke(struct zkc_poke *p)
{
    if (!atomic_exchange(&p->is_posted, true))
        mailbox_post(&p->shell->mailbox, &p->mail);
}

static void wake_cb(void *arg)
{
    struct kafuka_zkc *z = arg;

    poke(&z->poke);
}

static void tell_cb(void *arg, bool is_error, const char *text)
{
    struct kafuka_zkc *z = arg;

    zkc_log(z, is_error ? KAFUKA_ZKC_ERROR_LEVEL : KAFUKA_ZKC_WARN, "%s", text);
}

static void stop_asked(struct mail *m)
{
    struct zkc_poke *p = CONTAINER_OF(m, struct zkc_poke, mail);

    step(p->shell, (struct zkc_event){.kind = ZKC_EV_STOP});
}

/* The application's commits, one after the other. */
static void begin_commits(struct kafuka_zkc *z)
{
    while (!z->is_closed && z->commits != NULL && z->core.request == 0) {
        struct zkc_event ev = {.kind = ZKC_EV_COMMIT};

        if (++z->next_request == 0)
            z->next_request = 1;
        ev.commit.request = z->next_request;
        step(z, ev); /* takes the first one off the list when it is done */
    }
}

/* ---- the thread */

static int64_t sleep_ms(struct kafuka_zkc *z)
{
    int64_t now = clock_mono_ms();
    int64_t until = i64_min(zkc_core_deadline_ms(&z->core), zkc_fetch_deadline_ms(z->fetch));

    return until <= now ? 0 : i64_min(until - now, IDLE_MS);
}

static void *thread_main(void *arg)
{
    struct kafuka_zkc *z = arg;

    step(z, (struct zkc_event){.kind = ZKC_EV_SESSION,
                               .session = {.timeout_ms = coord_session_timeout_ms(z->coord)}});
    while (!z->is_closed) {
        struct pollfd p = {.fd = z->mailbox.fd, .events = POLLIN};

        (void)poll(&p, 1, (int)sleep_ms(z));
        (void)mailbox_deliver(&z->mailbox);
        collect(z);
        if (zkc_fetch_poll(z->fetch) && clock_mono_ms() - z->brokers_ms >= BROKERS_AGAIN_MS &&
            !z->is_closed)
            do_brokers(z);
        if (!z->is_closed && zkc_core_deadline_ms(&z->core) <= clock_mono_ms())
            step(z, (struct zkc_event){.kind = ZKC_EV_TICK});
        begin_commits(z);
    }
    zkc_fetch_close(z->fetch);
    coord_unwatch(z->coord, z);
    coord_close(&z->coord);
    (void)mailbox_deliver(&z->mailbox); /* the calls that were on their way */
    while (z->commits != NULL)
        commit_finished(z, KAFUKA_ZKC_CLOSED);
    lock_take(&z->lock);
    z->has_left = true;
    lock_release(&z->lock);
    (void)mailbox_deliver(&z->mailbox); /* commits that were asked for until then */
    return NULL;
}

static void fill_options(struct kafuka_zkc *z)
{
    const struct zkc_settings *s = &z->settings;

    z->options = (struct zkc_options){
        .member_id = z->member_id,
        .pattern = z->pattern,
        .subscriptions = z->subscriptions,
        .subscription_count = z->subscription_count,
        .strategy = strcmp(s->strategy, "range") == 0 ? ZKC_RANGE : ZKC_ROUND_ROBIN,
        .hash_text = s->hash_text[0] == '[' ? ZKC_TEXT_BRACKETS : ZKC_TEXT_DASH,
        .is_ceil = strcmp(s->assignment, "ceil") == 0,
        .exclude_internal = s->exclude_internal,
        .auto_commit = s->auto_commit,
        .auto_commit_interval_ms = s->auto_commit_interval_ms,
        .backoff_ms = s->backoff_ms,
        .max_retries = s->max_retries,
        .resync_ms = s->resync_ms,
        .leave_max_ms = s->leave_max_ms,
    };
}

static enum err open_fetch(struct kafuka_zkc *z, struct errtext *why)
{
    struct zkc_fetch_options o = {
        .conf = rd_kafka_conf_dup(z->settings.rk), /* ours is looked at later */
        .from_smallest = strcmp(z->settings.offset_reset, "smallest") == 0 ||
                         strcmp(z->settings.offset_reset, "earliest") == 0,
        .done_explicit = z->settings.done_explicit,
        .drain_max_ms = z->settings.drain_max_ms,
        .next_max_ms = z->settings.consumer_timeout_ms,
        .wake = wake_cb,
        .tell = tell_cb,
        .arg = z,
    };
    enum err rc = zkc_fetch_new(&o, &z->fetch, why);

    for (int32_t s = 0; rc == ERR_OK && s < z->subscription_count; s++) {
        struct zkc_streams *g = &z->streams[s];

        g->count = z->subscriptions[s].streams;
        g->v = xcalloc((size_t)g->count + 1, sizeof(struct zkc_stream *));
        for (int32_t i = 0; i < g->count; i++)
            g->v[i] = zkc_fetch_add_stream(z->fetch);
    }
    return rc;
}

enum err zkc_shell_start(struct kafuka_zkc *z, struct errtext *why)
{
    struct coord_options co = {
        .connect = z->settings.zookeeper_connect,
        .session_timeout_ms = z->settings.session_timeout_ms,
        .connection_timeout_ms = z->settings.connection_timeout_ms,
        .mailbox = &z->mailbox,
        .on_state = on_state,
        .arg = z,
    };
    enum err rc = open_fetch(z, why);

    if (rc != ERR_OK)
        return rc;
    fill_options(z);
    rc = coord_open(&co, &z->coord, why);
    if (rc != ERR_OK) {
        (void)mailbox_deliver(&z->mailbox);
        return rc;
    }
    coord_watch(z->coord, "/", &z->mailbox, on_change, z);
    z->pending_end = &z->pending;
    z->commits_end = &z->commits;
    z->poke.mail.deliver = poked;
    z->poke.shell = z;
    z->stop.mail.deliver = stop_asked;
    z->stop.shell = z;
    zkc_core_init(&z->core, &z->options, clock_mono_ms());
    MUST(pthread_create(&z->thread, NULL, thread_main, z) == 0);
    z->is_started = true;
    return ERR_OK;
}

void zkc_shell_stop(struct kafuka_zkc *z)
{
    if (z->is_started) {
        poke(&z->stop);
        MUST(pthread_join(z->thread, NULL) == 0);
        zkc_fetch_free(&z->fetch); /* its worker may poke until here */
        (void)mailbox_deliver(&z->mailbox);
        zkc_core_fini(&z->core);
    }
    zkc_fetch_free(&z->fetch);
}

void zkc_commit_unref(struct zkc_commit *k)
{
    if (atomic_fetch_sub(&k->refs, 1) == 1)
        mem_free(k);
}
