/* SPDX-License-Identifier: Apache-2.0 */
/* lz4_frame - reads one LZ4 frame as Kafka's own reader does (Lz4BlockInputStream): it takes
 * exactly what a Java client can read. Unlike liblz4's frame reader it refuses blocks that depend
 * on earlier ones, and does not look at the content's size and checksum.
 *
 * Owned by common/record/unpack.c. One thread. Errors: CORRUPT, NO_MEMORY. */
#ifndef COMMON_RECORD_LZ4_FRAME_H
#define COMMON_RECORD_LZ4_FRAME_H

#include "common/base/base.h"

struct lz4_frame {
    const uint8_t *p, *end; /* not read yet */
    uint8_t *block;         /* block_max bytes once a compressed block has come */
    size_t block_max;
    const uint8_t *data; /* what the current block says: data_len bytes, data_at of them given */
    size_t data_len, data_at;
    bool has_block_checksums, has_content_checksum, is_finished;
};

/* Reads the header of the frame in n bytes at p, which must outlive f. Old clients computed the
 * header's checksum wrongly in messages of magic 0, so there it is not looked at. On error there is
 * nothing to free. */
NODISCARD enum err lz4_frame_open(struct lz4_frame *f, const uint8_t *p, size_t n,
                                  bool ignores_header_checksum);
/* At most cap bytes (cap > 0) into dst; *got_out is 0 at the end of the frame. What follows the
 * frame is ignored. */
NODISCARD enum err lz4_frame_read(struct lz4_frame *f, uint8_t *dst, size_t cap, size_t *got_out);
void lz4_frame_fini(struct lz4_frame *f);

/* The checksum of LZ4 frames, with seed 0. */
uint32_t xxh32(const uint8_t *p, size_t n);

#endif
