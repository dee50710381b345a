/* SPDX-License-Identifier: Apache-2.0 */
/* fetch_convert - record batches as messages of format 0 or 1, for the answers to Fetch 0-3.
 *
 * It reads, decompresses and compresses, so it runs on an io thread. At most half of the io threads
 * convert at a time; further conversions wait in line, at most one for each connection. Memory: the
 * answer, one batch, and what that unfolds to; only one conversion at a time may unfold a large
 * one. */
#ifndef BROKER_API_FETCH_CONVERT_H
#define BROKER_API_FETCH_CONVERT_H

#include "broker/log/log.h"
#include "common/base/base.h"
#include "common/base/pool.h"

struct api;
struct request;

struct fetch_conversion_part {
    /* given */
    struct log_range range; /* batches, the first of them whole; released as it is done */
    int64_t first_offset;   /* where the reader begins */
    int64_t bytes_max;      /* of this part */
    /* result */
    struct buf out;
    int64_t next_offset; /* after what was looked at: where to go on when out is empty */
    int16_t error;       /* KE_CORRUPT_MESSAGE, KE_UNSUPPORTED_COMPRESSION_TYPE,
                            KE_MESSAGE_TOO_LARGE, KE_KAFKA_STORAGE_ERROR; out is empty then */
};

struct fetch_conversion {
    /* given */
    struct request *request;
    int8_t format;     /* 0 or 1 */
    int64_t bytes_max; /* of all parts; the first message of the answer comes whole in any case */
    bool is_cut; /* Fetch 0-2: every part begins with its first message, cut at the part's limit */
    struct fetch_conversion_part *parts; /* allocated */
    int32_t count;
    void (*done)(struct request *r); /* on the request's loop */
    /* own */
    _Atomic bool is_cancelled;
    struct pool_job job;
    TAILQ_ENTRY(fetch_conversion) link;
};

/* Loop thread; c lives until done. Nobody touches it or its request meanwhile. */
void fetch_conversion_start(struct fetch_conversion *c);
/* Nobody needs the result: done comes sooner. */
void fetch_conversion_cancel(struct fetch_conversion *c);
/* After done: frees the parts and what came out of them. NULL is fine. */
void fetch_conversion_parts_free(struct fetch_conversion_part *parts, int32_t count);

#endif
