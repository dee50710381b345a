/* SPDX-License-Identifier: Apache-2.0 */
/* Record batches in place: CRC, patches, walking over records. */
#include "common/record/batch.h"

#include <isa-l/crc.h>

enum { VARINT_BYTES_MAX = 5, VARLONG_BYTES_MAX = 10 };

uint32_t crc32c(uint32_t crc, const void *p, size_t n)
{
    unsigned char *bytes = (unsigned char *)(uintptr_t)p; /* isa-l lacks the const, it only reads */
    const size_t step = 1U << 30;                         /* its length is an int */

    /* isa-l's iSCSI CRC leaves both inversions to the caller */
    crc = ~crc;
    for (; n > step; n -= step, bytes += step)
        crc = crc32_iscsi(bytes, (int)step, crc);
    return ~crc32_iscsi(bytes, (int)n, crc);
}

uint32_t batch_crc_compute(const uint8_t *b)
{
    return crc32c(0, b + BATCH_AT_ATTRIBUTES, batch_total_bytes(b) - BATCH_AT_ATTRIBUTES);
}

void batch_patch_offset_and_epoch(uint8_t *b, int64_t base_offset, int32_t leader_epoch)
{
    be64_store(b + BATCH_AT_BASE_OFFSET, (uint64_t)base_offset);
    be32_store(b + BATCH_AT_LEADER_EPOCH, (uint32_t)leader_epoch);
}

void batch_set_times(uint8_t *b, bool log_append_time, int64_t max_timestamp_ms)
{
    unsigned attributes = batch_attributes(b) & ~(unsigned)BATCH_LOG_APPEND_TIME;

    if (log_append_time)
        attributes |= BATCH_LOG_APPEND_TIME;
    be16_store(b + BATCH_AT_ATTRIBUTES, (uint16_t)attributes);
    be64_store(b + BATCH_AT_MAX_TIMESTAMP, (uint64_t)max_timestamp_ms);
    be32_store(b + BATCH_AT_CRC, batch_crc_compute(b));
}

enum batch_peek batch_peek(const uint8_t *p, size_t n, size_t *total_out)
{
    enum { LEGACY_BYTES_MIN = 14 }; /* size field of the smallest message: crc to value length */

    *total_out = 0;
    if (n < BATCH_PREFIX_BYTES)
        return BATCH_PARTIAL;
    int32_t length = (int32_t)be32_load(p + BATCH_AT_LENGTH);
    int8_t magic = batch_magic(p);
    if (magic < 0 || magic > 2 || length < LEGACY_BYTES_MIN ||
        (magic == 2 && length < BATCH_HEADER_BYTES - BATCH_OVERHEAD_BYTES))
        return BATCH_BAD;
    *total_out = (size_t)length + BATCH_OVERHEAD_BYTES;
    if (magic < 2)
        return n < *total_out ? BATCH_PARTIAL : BATCH_LEGACY;
    if (n < *total_out)
        return BATCH_PARTIAL;
    if (batch_base_offset(p) < 0 || batch_last_offset_delta(p) < 0 || batch_count(p) < 0 ||
        batch_base_offset(p) > INT64_MAX - INT32_MAX - 1)
        return BATCH_BAD;
    return BATCH_WHOLE;
}

size_t varlong_decode(const uint8_t *p, const uint8_t *end, int64_t *out)
{
    uint64_t v = 0;
    size_t n = 0;

    for (unsigned shift = 0; p + n < end && n < VARLONG_BYTES_MAX; shift += 7) {
        uint8_t c = p[n++];
        v |= (uint64_t)(c & 0x7f) << shift;
        if (c < 0x80) {
            *out = (int64_t)(v >> 1) ^ -(int64_t)(v & 1);
            return n;
        }
    }
    return 0;
}

size_t varint_decode(const uint8_t *p, const uint8_t *end, int32_t *out)
{
    uint32_t v = 0;
    size_t n = 0;

    for (unsigned shift = 0; p + n < end && n < VARINT_BYTES_MAX; shift += 7) {
        uint8_t c = p[n++];
        v |= (uint32_t)(c & 0x7f) << shift;
        if (c < 0x80) {
            *out = (int32_t)(v >> 1) ^ -(int32_t)(v & 1);
            return n;
        }
    }
    return 0;
}

/* As varint_decode, with one and two bytes decoded in line: nearly all there are, and walking over
 * records is decoding varints. */
static inline size_t take_varint(const uint8_t *p, const uint8_t *end, int32_t *out)
{
    if (LIKELY(end - p >= 2)) {
        uint32_t v = p[0];
        if (LIKELY(v < 0x80)) {
            *out = (int32_t)(v >> 1) ^ -(int32_t)(v & 1);
            return 1;
        }
        if (LIKELY(p[1] < 0x80)) {
            v = (v & 0x7f) | (uint32_t)p[1] << 7;
            *out = (int32_t)(v >> 1) ^ -(int32_t)(v & 1);
            return 2;
        }
    }
    return varint_decode(p, end, out);
}

static inline size_t take_varlong(const uint8_t *p, const uint8_t *end, int64_t *out)
{
    if (LIKELY(p < end && *p < 0x80)) {
        *out = (*p >> 1) ^ -(*p & 1);
        return 1;
    }
    return varlong_decode(p, end, out);
}

size_t varlong_encode(uint8_t *out, int64_t v)
{
    uint64_t u = ((uint64_t)v << 1) ^ (uint64_t)(v >> 63);
    size_t n = 0;

    while (u >= 0x80) {
        out[n++] = (uint8_t)(u | 0x80);
        u >>= 7;
    }
    out[n++] = (uint8_t)u;
    return n;
}

void record_iter_init(struct record_iter *it, const uint8_t *batch, const uint8_t *records,
                      size_t len)
{
    it->p = records;
    it->end = records + len;
    it->base_offset = batch_base_offset(batch);
    it->base_timestamp_ms = batch_base_timestamp(batch);
    it->append_time_ms =
        (batch_attributes(batch) & BATCH_LOG_APPEND_TIME) != 0 ? batch_max_timestamp(batch) : -1;
    it->left = batch_count(batch);
    it->at = 0;
}

/* Length-prefixed bytes at *p; any negative length is null, as Kafka reads it, where null is
 * allowed. False: they do not fit. */
static inline bool take_bytes(const uint8_t **p, const uint8_t *end, bool nullable,
                              struct bytes *out)
{
    int32_t len;
    size_t used = take_varint(*p, end, &len);

    if (used == 0 || (len < 0 && !nullable))
        return false;
    *p += used;
    *out = BYTES_NULL;
    if (len < 0)
        return true;
    if (end - *p < len)
        return false;
    *out = (struct bytes){*p, len};
    *p += len;
    return true;
}

bool record_header_next(const uint8_t **at, const struct record *r, struct bytes *name,
                        struct bytes *value)
{
    return *at < r->headers_end && take_bytes(at, r->headers_end, false, name) &&
           take_bytes(at, r->headers_end, true, value);
}

static bool headers_well_formed(const struct record *r)
{
    const uint8_t *p = r->headers;
    struct bytes name, value;

    for (int32_t i = 0; i < r->header_count; i++)
        if (!take_bytes(&p, r->headers_end, false, &name) ||
            !take_bytes(&p, r->headers_end, true, &value))
            return false;
    return p == r->headers_end;
}

enum err record_next(struct record_iter *it, struct record *out)
{
    int32_t body, offset_delta, header_count;
    int64_t timestamp_delta;
    size_t used;

    if (it->left == 0)
        return it->p == it->end ? ERR_NOT_FOUND : ERR_CORRUPT;
    used = take_varint(it->p, it->end, &body);
    if (used == 0 || body < 0 || it->end - it->p - (ptrdiff_t)used < body || body == 0)
        return ERR_CORRUPT;
    const uint8_t *p = it->p + used, *end = p + body;
    p++; /* attributes: unused in this format */
    used = take_varlong(p, end, &timestamp_delta);
    if (used == 0)
        return ERR_CORRUPT;
    p += used;
    used = take_varint(p, end, &offset_delta);
    if (used == 0)
        return ERR_CORRUPT;
    p += used;
    if (!take_bytes(&p, end, true, &out->key) || !take_bytes(&p, end, true, &out->value))
        return ERR_CORRUPT;
    used = take_varint(p, end, &header_count);
    if (used == 0 || header_count < 0 || header_count > end - p)
        return ERR_CORRUPT;
    out->headers = p + used;
    out->headers_end = end;
    out->header_count = header_count;
    if (header_count == 0 ? out->headers != end : !headers_well_formed(out))
        return ERR_CORRUPT;
    out->offset_delta = offset_delta;
    out->offset = it->base_offset + offset_delta;
    /* unsigned: a hostile delta may wrap, which is only a wrong time */
    out->timestamp_ms =
        it->append_time_ms >= 0
            ? it->append_time_ms
            : (int64_t)((uint64_t)it->base_timestamp_ms + (uint64_t)timestamp_delta);
    it->p = end;
    it->left--;
    it->at++;
    return ERR_OK;
}
