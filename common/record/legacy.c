/* SPDX-License-Identifier: Apache-2.0 */
/* Message formats 0 and 1. */
#include "common/record/legacy.h"

#include "common/record/builder.h"
#include "common/record/compress.h"

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
    if (batch_peek(m, (size_t)(it->end - m), &total) != BATCH_LEGACY ||
        !legacy_crc_is_right(m, total))
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
