/* SPDX-License-Identifier: Apache-2.0 */
/* Memory helpers. The arena takes a block of its own for each piece under AddressSanitizer, so that
 * overruns show. */
#include "common/base/mem.h"

#include "common/base/base.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum { ARENA_BLOCK_BYTES = 4096, ARENA_ALIGN = 16, BUF_MIN_BYTES = 64 };

static void out_of_memory(size_t n)
{
    (void)fprintf(stderr, "PANIC: out of memory, %zu bytes wanted\n", n);
    abort();
}

void *xmalloc(size_t n)
{
    void *p = malloc(n == 0 ? 1 : n);
    if (p == NULL)
        out_of_memory(n);
    return p;
}

void *xcalloc(size_t n, size_t size)
{
    void *p = calloc(n == 0 ? 1 : n, size == 0 ? 1 : size);
    if (p == NULL)
        out_of_memory(n * size);
    return p;
}

void *xrealloc(void *p, size_t n)
{
    p = realloc(p, n == 0 ? 1 : n);
    if (p == NULL)
        out_of_memory(n);
    return p;
}

char *xstrndup(const char *s, size_t n)
{
    ASSERT(s != NULL);
    n = strnlen(s, n);
    char *p = xmalloc(n + 1);
    memcpy(p, s, n);
    p[n] = 0;
    return p;
}

char *xstrdup(const char *s)
{
    ASSERT(s != NULL);
    return xstrndup(s, strlen(s));
}

char *xasprintf(const char *fmt, ...)
{
    char *p = NULL;
    va_list ap;

    va_start(ap, fmt);
    if (vasprintf(&p, fmt, ap) < 0)
        out_of_memory(0);
    va_end(ap);
    return p;
}

void *try_malloc(size_t n)
{
    return malloc(n == 0 ? 1 : n);
}

void *try_realloc(void *p, size_t n)
{
    return realloc(p, n == 0 ? 1 : n);
}

void mem_free(void *p)
{
    free(p);
}

struct str str_of(const char *z)
{
    return z == NULL ? STR_NULL : (struct str){z, (int32_t)strlen(z)};
}

bool str_eq(struct str a, struct str b)
{
    return a.len == b.len && (a.len <= 0 || memcmp(a.p, b.p, (size_t)a.len) == 0);
}

bool str_eq_z(struct str a, const char *z)
{
    return str_eq(a, str_of(z));
}

int str_cmp(struct str a, struct str b)
{
    int32_t n = i32_min(a.len, b.len);
    int c = n <= 0 ? 0 : memcmp(a.p, b.p, (size_t)n);
    return c != 0 ? c : (a.len > b.len) - (a.len < b.len);
}

char *str_dup(struct str s)
{
    return s.len < 0 ? NULL : s.len == 0 ? xstrdup("") : xstrndup(s.p, (size_t)s.len);
}

void buf_check(const struct buf *b)
{
    ASSERT(b != NULL && b->len <= b->cap && (b->p == NULL) == (b->cap == 0));
}

void buf_fini(struct buf *b)
{
    buf_check(b);
    free(b->p);
    *b = (struct buf){0};
}

void buf_reserve(struct buf *b, size_t more)
{
    buf_check(b);
    ASSERT(more < SIZE_MAX / 4 && b->len < SIZE_MAX / 4);
    if (b->cap - b->len >= more)
        return;
    size_t cap = size_max(size_max(b->cap * 2, b->len + more), BUF_MIN_BYTES);
    b->p = xrealloc(b->p, cap);
    b->cap = cap;
}

void buf_add(struct buf *b, const void *p, size_t n)
{
    if (n == 0)
        return;
    ASSERT(p != NULL);
    buf_reserve(b, n);
    memcpy(b->p + b->len, p, n);
    b->len += n;
}

void buf_printf(struct buf *b, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    ASSERT(n >= 0);
    buf_reserve(b, (size_t)n + 1);
    va_start(ap, fmt);
    (void)vsnprintf((char *)b->p + b->len, (size_t)n + 1, fmt, ap);
    va_end(ap);
    b->len += (size_t)n;
}

const char *buf_cstr(struct buf *b)
{
    buf_reserve(b, 1);
    b->p[b->len] = 0;
    return (const char *)b->p;
}

struct arena_block {
    struct arena_block *next;
    size_t used;
    size_t cap;
    size_t pad; /* keeps data[] aligned to ARENA_ALIGN */
    unsigned char data[];
};
_Static_assert(offsetof(struct arena_block, data) % ARENA_ALIGN == 0, "arena data is aligned");

static void blocks_free(struct arena_block *b)
{
    while (b != NULL) {
        struct arena_block *next = b->next;
        free(b);
        b = next;
    }
}

void arena_check(const struct arena *a)
{
    ASSERT(a != NULL && (a->limit == 0 || a->used <= a->limit));
    ASSERT(a->blocks != NULL || a->used == 0);
    ASSERT(a->blocks == NULL || a->blocks->used <= a->blocks->cap);
}

void arena_fini(struct arena *a)
{
    arena_check(a);
    blocks_free(a->blocks);
    a->blocks = NULL;
    a->used = 0;
}

void arena_reset(struct arena *a)
{
#ifdef __SANITIZE_ADDRESS__
    arena_fini(a);
#else
    struct arena_block *first = a->blocks;
    if (first == NULL)
        return;
    while (first->next != NULL) { /* the oldest block is the last of the list and has the standard
                                     size or is near it */
        struct arena_block *next = first->next;
        free(first);
        first = next;
    }
    memset(first->data, 0, first->used);
    first->used = 0;
    a->blocks = first;
    a->used = 0;
#endif
}

void *arena_alloc(struct arena *a, size_t n)
{
    arena_check(a);
    if (n > SIZE_MAX / 4 || (a->limit != 0 && (n > a->limit || a->used > a->limit - n)))
        return NULL;
    size_t need = (n + ARENA_ALIGN - 1) & ~(size_t)(ARENA_ALIGN - 1);
    struct arena_block *b = a->blocks;
#ifdef __SANITIZE_ADDRESS__
    size_t cap = n;
    b = NULL;
#else
    size_t cap = size_max(need, ARENA_BLOCK_BYTES - sizeof(struct arena_block));
#endif
    if (b == NULL || b->cap - b->used < need) {
        b = calloc(1, sizeof *b + cap);
        if (b == NULL)
            return NULL;
        b->cap = cap;
        b->next = a->blocks;
        a->blocks = b;
    }
    void *p = b->data + b->used;
    b->used += size_min(need, b->cap - b->used);
    a->used += n;
    return p;
}

char *arena_strdup(struct arena *a, const char *s, size_t n)
{
    ASSERT(s != NULL || n == 0);
    char *p = arena_alloc(a, n + 1);
    if (p != NULL && n != 0)
        memcpy(p, s, n);
    return p;
}
