/* SPDX-License-Identifier: Apache-2.0 */
/* Blocks in power-of-two classes. A thread that is no loop frees; a loop keeps. */
#include "common/net/frame.h"

#include <stdlib.h>

_Static_assert(sizeof(struct frame_block) == 24, "block sizes are classes minus this header");

static _Thread_local struct frame_store *own_store;
static _Atomic int64_t bytes_in_use;

void frame_store_use(struct frame_store *s)
{
    own_store = s;
}

void frame_store_empty(struct frame_store *s)
{
    for (int i = 0; i < FRAME_CLASSES; i++) {
        struct frame_block *b = s->free[i];
        s->free[i] = NULL;
        while (b != NULL) {
            struct frame_block *next = b->next;
            mem_free(b);
            b = next;
        }
    }
    s->kept_bytes = 0;
}

int64_t frame_bytes_in_use(void)
{
    return atomic_load_explicit(&bytes_in_use, memory_order_relaxed);
}

static void count_use(int64_t bytes)
{
    MUST(atomic_fetch_add_explicit(&bytes_in_use, bytes, memory_order_relaxed) + bytes >= 0);
}

/* The class whose blocks hold total bytes with their header, or -1. */
static int32_t class_of(size_t total)
{
    if (total > (size_t)1 << FRAME_BLOCK_MAX_LOG2)
        return -1;
    if (total <= (size_t)1 << FRAME_BLOCK_MIN_LOG2)
        return 0;
    return (int32_t)(64 - __builtin_clzll((unsigned long long)total - 1) - FRAME_BLOCK_MIN_LOG2);
}

/* Bytes of a block of that class with its header. */
static size_t total_of(int32_t size_class, size_t cap)
{
    return size_class < 0 ? sizeof(struct frame_block) + cap
                          : (size_t)1 << (size_class + FRAME_BLOCK_MIN_LOG2);
}

/* refs: what is counted by whoever looks. */
static void block_check(const struct frame_block *b, int32_t refs)
{
    ASSERT(b->size_class >= -1 && b->size_class < FRAME_CLASSES && refs > 0);
    ASSERT(sizeof *b + b->cap == total_of(b->size_class, b->cap));
}

static struct frame_block *take_kept(int32_t size_class)
{
    struct frame_store *s = own_store;

    if (s == NULL)
        return NULL;
    s->takes++;
    if (size_class < 0 || s->free[size_class] == NULL)
        return NULL;
    struct frame_block *b = s->free[size_class];
    ASSERT(b->size_class == size_class && s->kept_bytes >= sizeof *b + b->cap);
    ASSERT(atomic_load_explicit(&b->refs, memory_order_relaxed) == 0);
    s->free[size_class] = b->next;
    s->kept_bytes -= sizeof *b + b->cap;
    return b;
}

struct frame_block *frame_block_take(size_t cap)
{
    if (cap > SIZE_MAX / 4)
        return NULL;
    int32_t size_class = class_of(sizeof(struct frame_block) + cap);
    struct frame_block *b = take_kept(size_class);

    if (b == NULL) {
        size_t total =
            size_class < 0 ? sizeof *b + cap : (size_t)1 << (size_class + FRAME_BLOCK_MIN_LOG2);
        b = try_malloc(total);
        if (b == NULL)
            return NULL;
        b->cap = total - sizeof *b;
        b->size_class = size_class;
    }
    b->next = NULL;
    atomic_init(&b->refs, 1);
    count_use((int64_t)b->cap);
    return b;
}

bool frame_block_is_kept(size_t cap)
{
    if (cap > SIZE_MAX / 4 || own_store == NULL)
        return false;
    int32_t size_class = class_of(sizeof(struct frame_block) + cap);
    return size_class >= 0 && own_store->free[size_class] != NULL;
}

bool frame_block_grow(struct frame_block **b, size_t used, size_t cap)
{
    struct frame_block *old = *b;
    struct frame_block *bigger;

    ASSERT(used <= old->cap && used <= cap && cap <= SIZE_MAX / 4);
    ASSERT(atomic_load_explicit(&old->refs, memory_order_relaxed) == 1);
    if (frame_block_is_kept(cap) || used < old->cap / 2) {
        bigger = frame_block_take(cap);
        if (bigger == NULL)
            return false;
        memcpy(bigger->data, old->data, used);
        frame_block_unref(b);
    } else { /* large ones are moved by the page table, not by copying */
        int32_t size_class = class_of(sizeof *old + cap);
        size_t total = total_of(size_class, cap);
        count_use(-(int64_t)old->cap);
        bigger = try_realloc(old, total);
        if (bigger == NULL) {
            count_use((int64_t)old->cap);
            return false;
        }
        bigger->cap = total - sizeof *bigger;
        bigger->size_class = size_class;
        count_use((int64_t)bigger->cap);
    }
    *b = bigger;
    return true;
}

struct frame_block *frame_block_ref(struct frame_block *b)
{
    int32_t before = atomic_fetch_add_explicit(&b->refs, 1, memory_order_relaxed);
    ASSERT(before > 0 && before < INT32_MAX);
    return b;
}

static bool keep(struct frame_block *b)
{
    struct frame_store *s = own_store;
    size_t total = sizeof *b + b->cap;

    ASSERT(b->next == NULL);
    if (s == NULL || b->size_class < 0 || s->kept_bytes + total > FRAME_KEEP_BYTES)
        return false;
    b->next = s->free[b->size_class];
    s->free[b->size_class] = b;
    s->kept_bytes += total;
    return true;
}

void frame_block_unref(struct frame_block **block)
{
    struct frame_block *b = *block;

    *block = NULL;
    if (b == NULL)
        return;
    int32_t before = atomic_fetch_sub_explicit(&b->refs, 1, memory_order_acq_rel);
    block_check(b, before);
    if (before > 1)
        return;
    count_use(-(int64_t)b->cap);
    if (!keep(b))
        mem_free(b);
}

void frame_release(struct frame *f)
{
    ASSERT((f->block == NULL) == (f->p == NULL));
    ASSERT(f->block == NULL || (f->p >= f->block->data && f->len <= f->block->cap &&
                                f->p + f->len <= f->block->data + f->block->cap));
    frame_block_unref(&f->block);
    *f = (struct frame){0};
}
