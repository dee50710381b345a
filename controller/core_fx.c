/* SPDX-License-Identifier: Apache-2.0 */
/* The list of effects of one step. Strings are copied into its arena: the objects that they come
 * from may be freed later in the same step. */
#include "controller/core_model.h"

void controller_effects_fini(struct controller_effects *fx)
{
    arena_fini(&fx->arena);
    mem_free(fx->v);
    *fx = (struct controller_effects){0};
}

void *core_fx_alloc(struct controller_core *core, size_t n)
{
    void *p = arena_alloc(&core->fx->arena, n == 0 ? 1 : n);

    ASSERT(p != NULL); /* the arena has no limit */
    return p;
}

static const char *copy_z(struct controller_core *core, const char *z)
{
    return z == NULL ? NULL : arena_strdup(&core->fx->arena, z, strlen(z));
}

struct core_fx *core_fx_add(struct controller_core *core, enum core_fx_kind kind)
{
    struct controller_effects *fx = core->fx;
    struct core_fx *f;

    if (fx->count == fx->capacity) {
        fx->capacity = fx->capacity == 0 ? 64 : fx->capacity * 2;
        fx->v = xrealloc(fx->v, (size_t)fx->capacity * sizeof *fx->v);
    }
    f = &fx->v[fx->count++];
    *f = (struct core_fx){.kind = kind, .partition = -1, .broker_id = -1, .broker_epoch = -1};
    return f;
}

void core_fx_topic(struct controller_core *core, enum core_fx_kind kind, const char *topic,
                   int32_t partition)
{
    struct core_fx *f = core_fx_add(core, kind);

    f->topic = copy_z(core, topic);
    f->partition = partition;
}

/* The result is valid until the next effect is added. */
static struct core_trace *trace_add(struct controller_core *core, enum core_trace_kind kind,
                                    const char *topic, const char *text)
{
    const char *name = copy_z(core, topic);
    struct core_trace *t = &core_fx_add(core, FX_TRACE)->u.trace;

    *t = (struct core_trace){.kind = kind,
                             .topic = name,
                             .partition = -1,
                             .broker_id = -1,
                             .leader_old = -1,
                             .leader_new = -1,
                             .epoch_old = -1,
                             .epoch_new = -1,
                             .text = text};
    return t;
}

struct core_trace *core_trace(struct controller_core *core, enum core_trace_kind kind,
                              const struct core_partition *p, const char *text)
{
    struct core_trace *t = trace_add(core, kind, p->topic->name, text);

    t->partition = p->index;
    return t;
}

void core_trace_broker(struct controller_core *core, enum core_trace_kind kind, int32_t id,
                       int16_t error, const char *text)
{
    struct core_trace *t = trace_add(core, kind, NULL, text);

    t->broker_id = id;
    t->error = error;
}

void core_trace_topic(struct controller_core *core, enum core_trace_kind kind, const char *topic,
                      const char *text)
{
    (void)trace_add(core, kind, topic, text);
}
