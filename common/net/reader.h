/* SPDX-License-Identifier: Apache-2.0 */
/* reader - cuts frames out of the bytes of a socket. For conn.c and client.c; owner: their loop. */
#ifndef COMMON_NET_READER_H
#define COMMON_NET_READER_H

#include "common/net/frame.h"
#include "common/net/transport.h"

/* Zero-initialised but for frame_max is ready. */
struct reader {
    size_t frame_max;
    struct frame_block *block; /* received bytes [start, end) */
    size_t start, end;
    struct frame_block *next; /* the bytes after a large frame that the same read brought */
    size_t next_end;
};
void reader_fini(struct reader *r);

enum reader_state {
    READER_PARTIAL, /* no whole frame */
    READER_FRAME,
    READER_BAD /* a size that is negative or over frame_max */
};
/* The first frame: where it is. p_out is valid until the next call that takes or reads. */
enum reader_state reader_peek(const struct reader *r, const uint8_t **p_out, size_t *size_out);
/* The first frame (peek said FRAME) as a frame of its own. False: no memory. */
NODISCARD bool reader_take(struct reader *r, struct frame *f);
bool reader_is_between(const struct reader *r); /* no byte of a frame is here */

enum reader_result {
    READER_MORE,    /* bytes came, and there may be more */
    READER_DRAINED, /* bytes came, and the socket is empty */
    READER_AGAIN,
    READER_FULL, /* no room: a whole frame has to be taken first */
    READER_EOF,
    READER_FAILED,
    READER_NO_MEMORY
};
/* One read. After READER_PARTIAL or any number of takes; peek before reading again. */
enum reader_result reader_read(struct reader *r, struct transport *t, size_t *got_out);
/* Gives the block back unless frames share it, which then goes on to be filled. */
void reader_rest(struct reader *r);

#endif
