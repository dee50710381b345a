/* SPDX-License-Identifier: Apache-2.0 */
/* mem - memory: x* abort when there is none (small control structures), arenas for what dies with a
 * request, growable buffers, and borrowed strings. What a peer or a file sizes is bounded first and
 * may use the try_ forms. */
#ifndef COMMON_BASE_MEM_H
#define COMMON_BASE_MEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

void *xmalloc(size_t n) __attribute__((malloc, returns_nonnull));
void *xcalloc(size_t n, size_t size) __attribute__((malloc, returns_nonnull));
void *xrealloc(void *p, size_t n) __attribute__((returns_nonnull));
char *xstrdup(const char *s) __attribute__((malloc, returns_nonnull));
char *xstrndup(const char *s, size_t n) __attribute__((malloc, returns_nonnull));
char *xasprintf(const char *fmt, ...)
    __attribute__((format(printf, 1, 2), malloc, returns_nonnull));
void *try_malloc(size_t n);           /* NULL when there is no memory */
void *try_realloc(void *p, size_t n); /* NULL: p is as it was */
void mem_free(void *p);               /* free(); NULL is fine */
/* Frees *pp and sets it to NULL. */
#define FREE_NULL(pp)                                                                              \
    do {                                                                                           \
        mem_free(*(pp));                                                                           \
        *(pp) = NULL;                                                                              \
    } while (0)

/* A borrowed string, not terminated; len -1 is null. The owner is said where one is stored. */
struct str {
    const char *p;
    int32_t len;
};
#define STR_LIT(literal) ((struct str){(literal), (int32_t)sizeof(literal) - 1})
#define STR_NULL         ((struct str){NULL, -1})
/* printf("%.*s", STR_ARG(s)) */
#define STR_ARG(s) ((s).len < 0 ? 0 : (int)(s).len), ((s).p == NULL ? "" : (s).p)
struct str str_of(const char *z); /* NULL gives null */
bool str_eq(struct str a, struct str b);
bool str_eq_z(struct str a, const char *z);
int str_cmp(struct str a, struct str b);             /* by bytes, then length; null first */
char *str_dup(struct str s) __attribute__((malloc)); /* terminated copy; NULL for null */

/* Borrowed bytes; p NULL with len -1 is null. */
struct bytes {
    const uint8_t *p;
    int64_t len;
};
#define BYTES_NULL ((struct bytes){NULL, -1})

/* A growable buffer. Zero-initialised is empty; buf_fini() frees. */
struct buf {
    uint8_t *p;
    size_t len;
    size_t cap;
};
/* Asserts that the content fits. */
void buf_check(const struct buf *b);
void buf_fini(struct buf *b);
void buf_reserve(struct buf *b, size_t more); /* room for that many bytes after len */
void buf_add(struct buf *b, const void *p, size_t n);
void buf_printf(struct buf *b, const char *fmt, ...)
    __attribute__((format(printf, 2, 3))); /* no terminator is counted */
/* The content as a terminated string that the buffer keeps. */
const char *buf_cstr(struct buf *b);

/* An arena: many small pieces, freed together. Zero-initialised is empty. limit 0 is none; over the
 * limit arena_alloc returns NULL (the request that asked is refused), memory of its pieces is
 * zeroed and aligned to 16. */
struct arena {
    struct arena_block *blocks;
    size_t used;  /* bytes handed out */
    size_t limit; /* 0: none */
};
/* Asserts that what was handed out is there and below the limit. */
void arena_check(const struct arena *a);
void arena_fini(struct arena *a);
void arena_reset(struct arena *a); /* frees all but the first block */
void *arena_alloc(struct arena *a, size_t n);
char *arena_strdup(struct arena *a, const char *s, size_t n); /* terminated copy */

#endif
