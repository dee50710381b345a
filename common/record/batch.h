/* SPDX-License-Identifier: Apache-2.0 */
/* batch - record batches of format v2 (magic 2), read and patched in place: header fields,
 * CRC, walking over batches and over the records of one. Nothing is copied or allocated. Any
 * thread; no state. Layout: README. Source of the format: DefaultRecordBatch, DefaultRecord. */
#ifndef COMMON_RECORD_BATCH_H
#define COMMON_RECORD_BATCH_H

#include "common/base/base.h"

enum {
    BATCH_AT_BASE_OFFSET = 0,
    BATCH_AT_LENGTH = 8,
    BATCH_AT_LEADER_EPOCH = 12,
    BATCH_AT_MAGIC = 16,
    BATCH_AT_CRC = 17,
    BATCH_AT_ATTRIBUTES = 21,
    BATCH_AT_LAST_OFFSET_DELTA = 23,
    BATCH_AT_BASE_TIMESTAMP = 27,
    BATCH_AT_MAX_TIMESTAMP = 35,
    BATCH_AT_PRODUCER_ID = 43,
    BATCH_AT_PRODUCER_EPOCH = 51,
    BATCH_AT_BASE_SEQUENCE = 53,
    BATCH_AT_COUNT = 57,
    BATCH_HEADER_BYTES = 61,
    /* offset and length, which the length field does not count; the same in all formats */
    BATCH_OVERHEAD_BYTES = 12,
    /* up to and with the magic: what tells how to parse */
    BATCH_PREFIX_BYTES = 17,
};

enum codec { CODEC_NONE, CODEC_GZIP, CODEC_SNAPPY, CODEC_LZ4, CODEC_ZSTD, CODEC_COUNT };
enum {
    BATCH_CODEC_MASK = 0x07,
    BATCH_LOG_APPEND_TIME = 0x08,
    BATCH_TRANSACTIONAL = 0x10,
    BATCH_CONTROL = 0x20,
    BATCH_DELETE_HORIZON = 0x40,
};

/* Header fields of a batch whose BATCH_HEADER_BYTES (the first four: BATCH_PREFIX_BYTES) bytes are
 * there. */
static inline int64_t batch_base_offset(const uint8_t *b)
{
    return (int64_t)be64_load(b + BATCH_AT_BASE_OFFSET);
}
/* Of the whole batch; only after batch_peek has checked the length field. */
static inline size_t batch_total_bytes(const uint8_t *b)
{
    return (size_t)be32_load(b + BATCH_AT_LENGTH) + BATCH_OVERHEAD_BYTES;
}
static inline int32_t batch_leader_epoch(const uint8_t *b)
{
    return (int32_t)be32_load(b + BATCH_AT_LEADER_EPOCH);
}
static inline int8_t batch_magic(const uint8_t *b)
{
    return (int8_t)b[BATCH_AT_MAGIC];
}
static inline uint32_t batch_crc(const uint8_t *b)
{
    return be32_load(b + BATCH_AT_CRC);
}
static inline uint16_t batch_attributes(const uint8_t *b)
{
    return be16_load(b + BATCH_AT_ATTRIBUTES);
}
/* May be out of enum codec's range in bytes that are not checked: 0-7. */
static inline unsigned batch_codec(const uint8_t *b)
{
    return batch_attributes(b) & BATCH_CODEC_MASK;
}
static inline int32_t batch_last_offset_delta(const uint8_t *b)
{
    return (int32_t)be32_load(b + BATCH_AT_LAST_OFFSET_DELTA);
}
static inline int64_t batch_last_offset(const uint8_t *b)
{
    return batch_base_offset(b) + batch_last_offset_delta(b);
}
static inline int64_t batch_base_timestamp(const uint8_t *b)
{
    return (int64_t)be64_load(b + BATCH_AT_BASE_TIMESTAMP);
}
static inline int64_t batch_max_timestamp(const uint8_t *b)
{
    return (int64_t)be64_load(b + BATCH_AT_MAX_TIMESTAMP);
}
static inline int64_t batch_producer_id(const uint8_t *b)
{
    return (int64_t)be64_load(b + BATCH_AT_PRODUCER_ID);
}
static inline int16_t batch_producer_epoch(const uint8_t *b)
{
    return (int16_t)be16_load(b + BATCH_AT_PRODUCER_EPOCH);
}
static inline int32_t batch_base_sequence(const uint8_t *b)
{
    return (int32_t)be32_load(b + BATCH_AT_BASE_SEQUENCE);
}
static inline int32_t batch_count(const uint8_t *b)
{
    return (int32_t)be32_load(b + BATCH_AT_COUNT);
}
/* Sequence numbers run on from 2147483647 to 0. */
static inline int32_t sequence_add(int32_t sequence, int32_t n)
{
    return (int32_t)(((uint32_t)sequence + (uint32_t)n) & 0x7fffffff);
}

/* CRC-32C (Castagnoli) as every format here means it: crc32c(0, "123456789", 9) is 0xe3069283.
 * crc: 0, or the result for what came before. */
uint32_t crc32c(uint32_t crc, const void *p, size_t n);
uint32_t batch_crc_compute(const uint8_t *b); /* over a whole batch */

/* These lie outside the CRC. */
void batch_patch_offset_and_epoch(uint8_t *b, int64_t base_offset, int32_t leader_epoch);
/* This one is inside: recomputes the CRC. */
void batch_set_times(uint8_t *b, bool log_append_time, int64_t max_timestamp_ms);

enum batch_peek {
    BATCH_WHOLE,   /* a whole v2 batch whose sizes and counts are sane */
    BATCH_LEGACY,  /* a whole entry of magic 0 or 1 */
    BATCH_PARTIAL, /* more bytes are needed: total_out tells how many, or 0 when not known yet */
    BATCH_BAD,     /* not a batch */
};
/* Looks at the first batch in n bytes: length, magic, and for v2 that count and lastOffsetDelta
 * make sense. Not the CRC. total_out: bytes of the whole batch, also for PARTIAL when its prefix
 * is there. */
enum batch_peek batch_peek(const uint8_t *p, size_t n, size_t *total_out);

/* One record. Points into its batch. Timestamp and offset are absolute. */
struct record {
    int64_t offset, timestamp_ms;
    struct bytes key, value; /* p NULL, len -1: null */
    const uint8_t *headers;  /* encoded headers, up to headers_end: record_header_next */
    const uint8_t *headers_end;
    int32_t header_count;
    int32_t offset_delta;
};
struct record_iter {
    const uint8_t *p, *end;
    int64_t base_offset, base_timestamp_ms, append_time_ms; /* the last -1: CreateTime */
    int32_t left;                                           /* records still to come */
    int32_t at;                                             /* index of the next record */
};
/* Over the records of a batch that was peeked whole: uncompressed, or with records pointing to its
 * decompressed records of len bytes. */
void record_iter_init(struct record_iter *it, const uint8_t *batch, const uint8_t *records,
                      size_t len);
/* OK: out is set. NOT_FOUND: no more (and nothing is left over). CORRUPT: the records are not well
 * formed. */
NODISCARD enum err record_next(struct record_iter *it, struct record *out);
/* Walks *at over a record's headers; false at the end. Only on a record from record_next. */
bool record_header_next(const uint8_t **at, const struct record *r, struct bytes *name,
                        struct bytes *value);

/* Zigzag varints. Decoding returns how many bytes were used, 0 when the bytes end or the number is
 * too long. out must have room for 5 or 10 bytes. */
size_t varint_decode(const uint8_t *p, const uint8_t *end, int32_t *out);
size_t varlong_decode(const uint8_t *p, const uint8_t *end, int64_t *out);
size_t varlong_encode(uint8_t *out, int64_t v);

#endif
