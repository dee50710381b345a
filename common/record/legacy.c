/* SPDX-License-Identifier: Apache-2.0 */
/* Message formats 0 and 1. */
#include "common/record/legacy.h"

#include "common/record/builder.h"
#include "common/record/compress.h"
#include "common/record/lz4_frame.h"

#include <zlib.h>

bool legacy_crc_is_right(const uint8_t *message, size_t total)
{
    enum { AT_CRC = 12, AT_MAGIC = 16 };

    ASSERT(total > AT_MAGIC);
    return be32_load(message + AT_CRC) ==
           (uint32_t)crc32_z(0, message + AT_MAGIC, total - AT_MAGIC);
}

/* int32 length and bytes at *p; -1 is null. */
static bool take_bytes(const uint8_t **p, const uint8_t *end, struct bytes *out)
{
    if (end - *p < 4)
        return false;
    int32_t len = (int32_t)be32_load(*p);
    *p += 4;
    *out = BYTES_NULL;
    if (len == -1)
        return true;
    if (len < 0 || len > end - *p)
        return false;
    *out = (struct bytes){*p, len};
    *p += len;
    return true;
}

enum err legacy_next(struct legacy_iter *it, struct legacy_message *out)
{
    enum { AT_MAGIC = 16, AT_ATTRIBUTES = 17, AT_TIMESTAMP = 18, TIMESTAMP_BYTES = 8 };
    size_t total;

    if (it->p == it->end)
        return ERR_NOT_FOUND;
    const uint8_t *m = it->p;
    enum batch_peek peek = batch_peek(m, (size_t)(it->end - m), &total);
    if (peek == BATCH_WHOLE)
        return ERR_INVALID;
    if (peek != BATCH_LEGACY || !legacy_crc_is_right(m, total))
        return ERR_CORRUPT;
    const uint8_t *p = m + AT_TIMESTAMP, *end = m + total;
    *out = (struct legacy_message){.offset = batch_base_offset(m),
                                   .timestamp_ms = -1,
                                   .magic = (int8_t)m[AT_MAGIC],
                                   .codec = m[AT_ATTRIBUTES] & BATCH_CODEC_MASK};
    if (out->magic == 1) {
        if (end - p < TIMESTAMP_BYTES)
            return ERR_CORRUPT;
        out->timestamp_ms = (int64_t)be64_load(p);
        p += TIMESTAMP_BYTES;
    }
    if (!take_bytes(&p, end, &out->key) || !take_bytes(&p, end, &out->value) || p != end)
        return ERR_CORRUPT;
    it->p = end;
    return ERR_OK;
}

/* Adds the messages of a set, none of them a wrapper, all of one magic. */
static enum err add_plain(struct batch_builder *b, const uint8_t *p, size_t n, int8_t magic)
{
    struct legacy_iter it = {p, p + n};
    struct legacy_message m;
    enum err rc;

    while ((rc = legacy_next(&it, &m)) == ERR_OK) {
        if (m.codec != CODEC_NONE || m.magic != magic)
            return ERR_INVALID;
        if (m.timestamp_ms < -1)
            return ERR_OUT_OF_RANGE;
        batch_builder_add(b, m.timestamp_ms, m.key, m.value, NULL, 0);
    }
    return rc == ERR_NOT_FOUND ? ERR_OK : rc;
}

enum err legacy_to_batch(const uint8_t *p, size_t n, size_t unfolded_max, struct buf *out)
{
    struct legacy_iter it = {p, p + n};
    struct legacy_message first;
    struct batch_options o;
    struct batch_builder b;
    struct buf inner = {0};

    enum err rc = legacy_next(&it, &first);
    if (rc != ERR_OK)
        return rc == ERR_NOT_FOUND ? ERR_INVALID : rc;
    if (first.codec > CODEC_LZ4 ||
        (first.codec != CODEC_NONE && (it.p != it.end || first.value.len < 0)))
        return ERR_INVALID;
    batch_options_init(&o);
    o.codec = (enum codec)first.codec;
    batch_builder_init(&b, &o);
    if (first.codec != CODEC_NONE)
        rc = codec_decompress(first.codec, first.magic, first.value.p, (size_t)first.value.len,
                              unfolded_max, &inner);
    if (rc == ERR_OK)
        rc = first.codec == CODEC_NONE ? add_plain(&b, p, n, first.magic)
                                       : add_plain(&b, inner.p, inner.len, first.magic);
    if (rc == ERR_OK && b.count == 0)
        rc = ERR_INVALID;
    if (rc == ERR_OK)
        rc = batch_builder_finish(&b, out);
    batch_builder_fini(&b);
    buf_fini(&inner);
    return rc;
}

/* ---- the other way */
static void add_length_and_bytes(struct buf *out, struct bytes b)
{
    uint8_t len[4];

    be32_store(len, (uint32_t)b.len); /* -1: null */
    buf_add(out, len, sizeof len);
    if (b.len > 0)
        buf_add(out, b.p, (size_t)b.len);
}

static void add_message(const struct legacy_down *d, struct buf *out, int64_t offset,
                        unsigned codec, int64_t timestamp_ms, struct bytes key, struct bytes value)
{
    enum { AT_SIZE = 8, AT_CRC = 12, AT_MAGIC = 16, HEAD_BYTES = 18, APPEND_TIME = 8 };
    size_t start = out->len;
    uint8_t head[HEAD_BYTES] = {0}, time[8];

    be64_store(head, (uint64_t)offset);
    head[AT_MAGIC] = (uint8_t)d->magic;
    head[AT_MAGIC + 1] = (uint8_t)(codec | (d->magic == 1 && d->append_time ? APPEND_TIME : 0));
    buf_add(out, head, sizeof head);
    if (d->magic == 1) {
        be64_store(time, (uint64_t)timestamp_ms);
        buf_add(out, time, sizeof time);
    }
    add_length_and_bytes(out, key);
    add_length_and_bytes(out, value);
    uint8_t *m = out->p + start;
    size_t total = out->len - start;
    be32_store(m + AT_SIZE, (uint32_t)(total - BATCH_OVERHEAD_BYTES));
    be32_store(m + AT_CRC, (uint32_t)crc32_z(0, m + AT_MAGIC, total - AT_MAGIC));
}

/* A message that makes out too long goes again, unless it is the first. */
static enum err fit(const struct legacy_down *d, size_t before, struct buf *out)
{
    if (out->len <= d->out_max || before == 0)
        return ERR_OK;
    out->len = before;
    return ERR_LIMIT;
}

static enum err add_wrapper(const struct legacy_down *d, unsigned codec, int64_t last_offset,
                            int64_t max_timestamp_ms, struct buf *out)
{
    enum { LZ4_AT_CHECKSUM = 6 };
    struct buf packed = {0};
    size_t before = out->len;

    enum err rc =
        codec_compress((enum codec)codec, CODEC_LEVEL_DEFAULT, d->set.p, d->set.len, &packed);
    if (rc == ERR_OK && codec == CODEC_LZ4 && d->magic == 0) /* an old bug that readers count on */
        packed.p[LZ4_AT_CHECKSUM] = (uint8_t)(xxh32(packed.p, LZ4_AT_CHECKSUM) >> 8);
    if (rc == ERR_OK) {
        add_message(d, out, last_offset, codec, max_timestamp_ms, BYTES_NULL,
                    (struct bytes){packed.p, (int64_t)packed.len});
        rc = fit(d, before, out);
    }
    buf_fini(&packed);
    return rc;
}

static enum err down_plain(const struct legacy_down *d, struct record_iter *it, struct buf *out)
{
    size_t start = out->len;
    struct record r;
    enum err rc;

    while ((rc = record_next(it, &r)) == ERR_OK) {
        size_t before = out->len;
        if (r.offset < d->first_offset)
            continue;
        add_message(d, out, r.offset, CODEC_NONE, r.timestamp_ms, r.key, r.value);
        rc = fit(d, before, out);
        if (rc != ERR_OK)
            return rc;
    }
    if (rc == ERR_NOT_FOUND)
        return ERR_OK;
    out->len = start;
    return rc;
}

static enum err down_packed(struct legacy_down *d, unsigned codec, struct record_iter *it,
                            struct buf *out)
{
    int64_t last_offset = -1, max_timestamp_ms = -1;
    struct record r;
    enum err rc;

    d->set.len = 0;
    while ((rc = record_next(it, &r)) == ERR_OK) {
        /* inner offsets: absolute in magic 0, relative to the batch in magic 1 */
        add_message(d, &d->set, d->magic == 1 ? r.offset_delta : r.offset, CODEC_NONE,
                    r.timestamp_ms, r.key, r.value);
        if (d->set.len > d->unfolded_max)
            return ERR_TOO_LARGE;
        last_offset = r.offset;
        max_timestamp_ms = i64_max(max_timestamp_ms, r.timestamp_ms);
    }
    if (rc != ERR_NOT_FOUND)
        return rc;
    /* what a cleaner left of a batch may end below the reader, who would go back to its end */
    return last_offset < d->first_offset || d->set.len == 0
               ? ERR_OK
               : add_wrapper(d, codec, last_offset, max_timestamp_ms, out);
}

enum err legacy_down_batch(struct legacy_down *d, const uint8_t *batch, size_t total,
                           struct buf *out)
{
    struct record_iter it;
    unsigned codec = batch_codec(batch);

    ASSERT(d->magic == 0 || d->magic == 1);
    if (batch_crc(batch) != batch_crc_compute(batch))
        return ERR_CORRUPT;
    if ((batch_attributes(batch) & BATCH_CONTROL) != 0 || batch_count(batch) == 0)
        return ERR_OK;
    if (codec > CODEC_LZ4)
        return ERR_UNSUPPORTED;
    d->append_time = (batch_attributes(batch) & BATCH_LOG_APPEND_TIME) != 0;
    if (codec == CODEC_NONE) {
        record_iter_init(&it, batch, batch + BATCH_HEADER_BYTES, total - BATCH_HEADER_BYTES);
        return down_plain(d, &it, out);
    }
    d->plain.len = 0;
    enum err rc = codec_decompress(codec, 2, batch + BATCH_HEADER_BYTES, total - BATCH_HEADER_BYTES,
                                   d->unfolded_max, &d->plain);
    if (rc != ERR_OK)
        return rc;
    record_iter_init(&it, batch, d->plain.p, d->plain.len);
    return down_packed(d, codec, &it, out);
}

void legacy_down_fini(struct legacy_down *d)
{
    buf_fini(&d->plain);
    buf_fini(&d->set);
}
