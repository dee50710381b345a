/* SPDX-License-Identifier: Apache-2.0 */
/* Small frames are copied into blocks of their own, so that one that waits long does not pin a
 * large block; larger ones share the block that they came in; a frame larger than a block gets its
 * own, which grows as bytes arrive, and what follows it in the same read comes into the next one.
 */
#include "common/net/reader.h"

enum {
    SIZE_BYTES = 4,             /* the frame's size field */
    COPY_BELOW_BYTES = 4096,    /* smaller frames are copied */
    ROOM_MIN_BYTES = 17 * 1024, /* with less room left an empty block is replaced */
    RECEIVE_CAP = FRAME_RECEIVE_BYTES - sizeof(struct frame_block),
    CLAIM_MAX_CAP = 128 * 1024 - sizeof(struct frame_block) /* first buffer of a large frame */
};

/* What is unread lies within the blocks. */
static void reader_check(const struct reader *r)
{
    ASSERT(r->start <= r->end && r->end <= (r->block == NULL ? 0 : r->block->cap));
    ASSERT(r->next_end <= (r->next == NULL ? 0 : r->next->cap));
}

void reader_fini(struct reader *r)
{
    frame_block_unref(&r->block);
    frame_block_unref(&r->next);
    r->start = r->end = r->next_end = 0;
}

bool reader_is_between(const struct reader *r)
{
    return r->start == r->end;
}

/* Bytes that the first frame takes with its size field, as far as is known. */
static size_t needed(const struct reader *r)
{
    if (r->end - r->start < SIZE_BYTES)
        return SIZE_BYTES;
    return SIZE_BYTES + (size_t)be32_load(r->block->data + r->start);
}

enum reader_state reader_peek(const struct reader *r, const uint8_t **p_out, size_t *size_out)
{
    size_t have = r->end - r->start;

    reader_check(r);
    if (have < SIZE_BYTES)
        return READER_PARTIAL;
    size_t need = needed(r);
    if (need - SIZE_BYTES > r->frame_max) /* (a negative size is a huge one) */
        return READER_BAD;
    if (have < need)
        return READER_PARTIAL;
    *p_out = r->block->data + r->start + SIZE_BYTES;
    *size_out = need - SIZE_BYTES;
    return READER_FRAME;
}

/* Nothing unread is in the block: goes on with the next one, if there is one. */
static void switch_block(struct reader *r)
{
    frame_block_unref(&r->block);
    r->block = r->next;
    r->start = 0;
    r->end = r->next_end;
    r->next = NULL;
    r->next_end = 0;
}

bool reader_take(struct reader *r, struct frame *f)
{
    size_t need = needed(r), size = need - SIZE_BYTES;
    uint8_t *p = r->block->data + r->start + SIZE_BYTES;

    reader_check(r);
    ASSERT(r->end - r->start >= need);
    *f = (struct frame){.p = p, .len = size};
    if (size < COPY_BELOW_BYTES) {
        f->block = frame_block_take(size);
        if (f->block == NULL)
            return false;
        memcpy(f->block->data, p, size);
        f->p = f->block->data;
    } else {
        f->block = frame_block_ref(r->block);
    }
    r->start += need;
    if (r->start == r->end && (r->next != NULL || r->block->cap > RECEIVE_CAP))
        switch_block(r); /* a large frame has its block for itself */
    return true;
}

/* Moves the unread bytes into a block with room for cap bytes. */
static bool move(struct reader *r, size_t cap)
{
    size_t have = r->end - r->start;
    struct frame_block *b;

    if (have > 0 && r->start == 0 &&
        atomic_load_explicit(&r->block->refs, memory_order_acquire) == 1)
        return frame_block_grow(&r->block, have, cap);
    b = frame_block_take(cap);
    if (b == NULL)
        return false;
    if (have > 0)
        memcpy(b->data, r->block->data + r->start, have);
    frame_block_unref(&r->block);
    r->block = b;
    r->start = 0;
    r->end = have;
    return true;
}

/* Makes room to read into. False: no memory. */
static bool make_room(struct reader *r)
{
    size_t have = r->end - r->start, need = needed(r);

    if (r->block == NULL)
        return move(r, RECEIVE_CAP);
    if (have == 0 && atomic_load_explicit(&r->block->refs, memory_order_acquire) == 1)
        r->start = r->end = 0; /* the frames that shared it are gone */
    if (have == 0)
        return r->block->cap - r->end >= ROOM_MIN_BYTES || move(r, RECEIVE_CAP);
    if (have >= need || r->block->cap - r->start >= need)
        return true;
    if (need <= RECEIVE_CAP)
        return move(r, RECEIVE_CAP);
    if (frame_block_is_kept(need))
        return move(r, need);
    /* by what has arrived, not by what is claimed */
    if (r->start > 0 || r->end == r->block->cap)
        return move(r, size_min(need, size_max(have * 2, CLAIM_MAX_CAP)));
    return true;
}

enum reader_result reader_read(struct reader *r, struct transport *t, size_t *got_out)
{
    size_t got, have, need, room;

    reader_check(r);
    *got_out = 0;
    if (r->next != NULL)
        return READER_FULL; /* the large frame waits */
    if (!make_room(r))
        return READER_NO_MEMORY;
    have = r->end - r->start;
    need = needed(r);
    room = r->block->cap - r->end;
    if (room == 0)
        return READER_FULL;
    if (need > RECEIVE_CAP && have < need && r->block->cap - r->start >= need) {
        room = need - have;
        r->next = frame_block_take(RECEIVE_CAP); /* without memory: a read more */
    }
    struct iovec iov[2] = {
        {r->block->data + r->end, room},
        {r->next == NULL ? NULL : r->next->data, r->next == NULL ? 0 : r->next->cap}};
    enum io_status status = transport_readv(t, iov, r->next == NULL ? 1 : 2, &got);
    ASSERT(got <= room + iov[1].iov_len);
    r->end += size_min(got, room);
    if (got > room)
        r->next_end = got - room;
    else
        frame_block_unref(&r->next);
    *got_out = got;
    switch (status) {
    case IO_OK:
        return got < room + iov[1].iov_len ? READER_DRAINED : READER_MORE;
    case IO_AGAIN:
        return READER_AGAIN;
    case IO_EOF:
        return READER_EOF;
    case IO_FAILED:
        return READER_FAILED;
    }
    UNREACHABLE();
}

void reader_rest(struct reader *r)
{
    if (r->block != NULL && r->start == r->end && r->next == NULL &&
        atomic_load_explicit(&r->block->refs, memory_order_relaxed) == 1)
        reader_fini(r);
}
