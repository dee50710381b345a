/* SPDX-License-Identifier: Apache-2.0 */
/* frame - one received frame of the Kafka protocol, without its size field: writable bytes in a
 * counted block. Blocks come from power-of-two free lists of the current loop (bounded, emptied
 * when the loop has been idle), so that steady traffic meets neither malloc nor new pages. Several
 * frames may share a block; a block goes back when the last of them is released. Any thread may
 * release. */
#ifndef COMMON_NET_FRAME_H
#define COMMON_NET_FRAME_H

#include "common/base/base.h"

#include <stdatomic.h>

enum {
    FRAME_BLOCK_MIN_LOG2 = 9,  /* 512 B */
    FRAME_BLOCK_MAX_LOG2 = 22, /* 4 MiB: larger ones are not kept */
    FRAME_CLASSES = FRAME_BLOCK_MAX_LOG2 - FRAME_BLOCK_MIN_LOG2 + 1,
    FRAME_RECEIVE_BYTES = 64 * 1024,   /* a connection reads that much at a time */
    FRAME_KEEP_BYTES = 8 * 1024 * 1024 /* most that one loop's free lists hold */
};

struct frame_block {
    struct frame_block *next; /* in a free list */
    size_t cap;               /* bytes of data */
    _Atomic int32_t refs;
    int32_t size_class; /* -1: not kept */
    uint8_t data[];
};

/* A frame owns one reference to its block. Zero is "none". */
struct frame {
    struct frame_block *block;
    uint8_t *p;
    size_t len;
};
void frame_release(struct frame *f); /* any thread; zeroes it; none is fine */

/* Free lists; each loop has one. Owner: its thread. */
struct frame_store {
    struct frame_block *free[FRAME_CLASSES];
    size_t kept_bytes;
    uint64_t takes; /* blocks handed out, ever: tells idle from busy */
};
/* The store of the thread; NULL on threads that are no loop. */
void frame_store_use(struct frame_store *s);
void frame_store_empty(struct frame_store *s);

/* One reference for the caller. At least cap bytes; NULL when there is no memory. */
struct frame_block *frame_block_take(size_t cap);
/* A larger block with the first used bytes of *b, which must have one reference and is replaced.
 * False: no memory, nothing changed. */
NODISCARD bool frame_block_grow(struct frame_block **b, size_t used, size_t cap);
/* Would frame_block_take(cap) be served from a free list? */
bool frame_block_is_kept(size_t cap);
struct frame_block *frame_block_ref(struct frame_block *b);
void frame_block_unref(struct frame_block **b); /* any thread; NULL is fine */

/* Bytes in blocks that are not in a free list, in the whole process. For the memory limit. */
int64_t frame_bytes_in_use(void);

#endif
