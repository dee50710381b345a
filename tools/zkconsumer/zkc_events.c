/* SPDX-License-Identifier: Apache-2.0 */
/* Events go into the core one at a time; one that arises while effects are being carried out waits
 * in `pending`, so the core is never entered twice. A call is an effect on its way through
 * ZooKeeper; its answer becomes an event. */
#include "tools/zkconsumer/zkc_shell_internal.h"

#include "common/base/clock.h"
#include "common/base/slog.h"

#include <stdarg.h>
#include <stdio.h>

enum { LINE_MAX_BYTES = 1024 };

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

static void perform_all(struct kafuka_zkc *z, const struct zkc_event *ev)
{
    struct zkc_effects effects = {0};

    zkc_core_step(&z->core, ev, &effects);
    for (int32_t i = 0; i < effects.count; i++)
        z->perform(z, &effects.v[i]);
    zkc_effects_fini(&effects);
    zkc_fetch_set_lease(z->fetch, zkc_core_lease_ms(&z->core));
}

void zkc_step(struct kafuka_zkc *z, struct zkc_event ev)
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
void zkc_later(struct kafuka_zkc *z, enum zkc_event_kind kind, const struct zkc_effect *effects,
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

char *zkc_path(const struct kafuka_zkc *z, const char *what, const char *topic, int32_t partition)
{
    if (topic == NULL)
        return xasprintf("/consumers/%s/%s", z->settings.group_id, what);
    return xasprintf("/consumers/%s/%s/%s/%d", z->settings.group_id, what, topic, partition);
}

char *zkc_registration_path(const struct kafuka_zkc *z)
{
    return xasprintf("/consumers/%s/ids/%s", z->settings.group_id, z->member_id);
}

struct zkc_call *zkc_call_new(struct kafuka_zkc *z, const struct zkc_effect *effects)
{
    struct zkc_call *k = xcalloc(1, sizeof *k);
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

void zkc_call_free(struct zkc_call *k)
{
    mem_free(k->name);
    mem_free(k->path);
    mem_free(k->data);
    k->magic = 0;
    mem_free(k);
}

/* Ends a call about a partition with this event. */
void zkc_call_finish(struct zkc_call *k, enum zkc_event_kind kind, enum zkc_result result)
{
    struct zkc_event ev = {
        .kind = kind,
        .result = result,
        .part = {.topic = k->name, .partition = k->partition, .seq = k->seq, .offset = k->offset}};

    zkc_step(k->z, ev);
    zkc_call_free(k);
}

/* Ends a call that shows whether the server knows us. */
void zkc_call_finish_alive(struct zkc_call *k, enum zkc_event_kind kind, enum zkc_result result)
{
    struct zkc_event ev = {.kind = kind, .result = result, .alive = {.sent_ms = k->sent_ms}};

    zkc_step(k->z, ev);
    zkc_call_free(k);
}

enum zkc_result zkc_failure(enum err e)
{
    return e == ERR_UNKNOWN_OUTCOME ? ZKC_UNKNOWN : ZKC_FAILED;
}

/* Which operation of a multi failed; -1: it is not known, or none did. */
int32_t zkc_failed_op(const struct coord_result *r)
{
    for (int32_t i = 0; i < r->op_count; i++)
        if (r->op_errs[i] != ERR_OK && r->op_errs[i] != ERR_NOT_ATTEMPTED)
            return i;
    return -1;
}

/* The call that was answered. NULL: we have left meanwhile, it is released, and nothing is to be
 * done (the session may be closed already). */
struct zkc_call *zkc_call_of(void *arg)
{
    struct zkc_call *k;

    CAST_OBJ(k, arg, ZKC_CALL_MAGIC);
    if (!k->z->is_closed)
        return k;
    zkc_call_free(k);
    return NULL;
}

/* The parents of k->path, then again. */
void zkc_make_parents(struct zkc_call *k, coord_done done)
{
    char *parent = xstrdup(k->path);
    char *slash = strrchr(parent, '/');

    ASSERT(slash != NULL && slash != parent);
    *slash = 0;
    coord_create_recursive(k->z->coord, parent, BYTES_NULL, &k->z->mailbox, done, k);
    mem_free(parent);
}
