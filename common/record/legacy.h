/* SPDX-License-Identifier: Apache-2.0 */
/* legacy - message formats 0 and 1: offset 8, size 4, CRC-32 4, magic 1, attributes 1, (magic 1:
 * timestamp 8), key and value each with an int32 length. Any thread; no state. */
#ifndef COMMON_RECORD_LEGACY_H
#define COMMON_RECORD_LEGACY_H

#include "common/record/batch.h"

/* Is the CRC of a whole message (BATCH_LEGACY by batch_peek, of total bytes) right? What looks like
 * a message and has the wrong one is junk. */
bool legacy_crc_is_right(const uint8_t *message, size_t total);

struct legacy_message {
    int64_t offset, timestamp_ms; /* -1: none (magic 0) */
    struct bytes key, value;      /* p NULL, len -1: null; point into the set */
    uint8_t codec;                /* not CODEC_NONE: value is a compressed message set */
    int8_t magic;
};
struct legacy_iter {
    const uint8_t *p, *end;
};
/* OK; NOT_FOUND: no more; INVALID: a v2 batch; CORRUPT: cut, of no magic, a wrong CRC, lengths that
 * do not fit. Wrappers are not opened. */
NODISCARD enum err legacy_next(struct legacy_iter *it, struct legacy_message *out);

/* A produce request's message set as one v2 batch with offsets from 0, appended to out: plain
 * messages, or one wrapper with what is inside, in its codec. CORRUPT; INVALID: a wrapper beside
 * others, nested or empty ones, codecs that these formats lack; OUT_OF_RANGE: a negative timestamp
 * but -1; TOO_LARGE: it unfolds to more than unfolded_max. */
NODISCARD enum err legacy_to_batch(const uint8_t *p, size_t n, size_t unfolded_max,
                                   struct buf *out);

/* For readers of old Fetch versions: v2 batches as messages of magic 0 or 1, batch by batch. The
 * caller sets the first group; zero the rest. Not thread-safe; end it with legacy_down_fini. */
struct legacy_down {
    int8_t magic;
    int64_t first_offset; /* where the reader begins: what it has already is left out where that is
                             possible (wrappers stay whole) */
    size_t out_max;       /* bytes of out, but for its first message, which is always whole */
    size_t unfolded_max;  /* bytes that a compressed batch may unfold to, in either format */

    bool append_time; /* of the batch in work */
    struct buf plain; /* its records */
    struct buf set;   /* inner messages of its wrapper */
};
/* Appends the messages of a whole batch (BATCH_WHOLE by batch_peek, of total bytes) to out. Offsets
 * and the codec are kept, headers are lost, control batches and batches without records add
 * nothing. LIMIT: out is full; what did not fit is left out. UNSUPPORTED: zstd; TOO_LARGE:
 * unfolded_max; CORRUPT: also a wrong CRC, which the messages' own would hide. Then out is as it
 * was. */
NODISCARD enum err legacy_down_batch(struct legacy_down *d, const uint8_t *batch, size_t total,
                                     struct buf *out);
void legacy_down_fini(struct legacy_down *d);

#endif
