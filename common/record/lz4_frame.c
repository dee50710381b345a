/* SPDX-License-Identifier: Apache-2.0 */
/* One LZ4 frame: header, blocks, end mark. The rules are those of Kafka's Lz4BlockInputStream; the
 * bytes are described in docs/reference/storage-format.md, "Compression". */
#include "common/record/lz4_frame.h"

#include <lz4.h>

enum {
    MAGIC = 0x184d2204,
    HEADER_BYTES_MIN = 7, /* magic, flags, block size, checksum */
    FLAGS_AT = 4,
    BLOCK_SIZE_AT = 5,
    VERSION_MASK = 0xc0,
    VERSION_1 = 0x40,
    INDEPENDENT_BLOCKS = 0x20,
    BLOCK_CHECKSUMS = 0x10,
    CONTENT_SIZE = 0x08,
    CONTENT_CHECKSUM = 0x04,
    RESERVED_FLAGS = 0x03, /* the second one names a dictionary, which Kafka does not know */
    RESERVED_BLOCK_BITS = 0x8f,
    CHECKSUM_BYTES = 4
};

static inline uint32_t le32_load(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static inline uint32_t turn(uint32_t v, unsigned bits)
{
    return v << bits | v >> (32 - bits);
}

uint32_t xxh32(const uint8_t *p, size_t n)
{
    const uint32_t prime1 = 2654435761U, prime2 = 2246822519U, prime3 = 3266489917U,
                   prime4 = 668265263U, prime5 = 374761393U;
    uint32_t h = prime5, length = (uint32_t)n;

    if (n >= 16) {
        uint32_t lane[4] = {prime1 + prime2, prime2, 0, 0U - prime1};
        for (; n >= 16; n -= 16, p += 16)
            for (size_t i = 0; i < 4; i++)
                lane[i] = turn(lane[i] + le32_load(p + 4 * i) * prime2, 13) * prime1;
        h = turn(lane[0], 1) + turn(lane[1], 7) + turn(lane[2], 12) + turn(lane[3], 18);
    }
    h += length;
    for (; n >= 4; n -= 4, p += 4)
        h = turn(h + le32_load(p) * prime3, 17) * prime4;
    for (; n > 0; n--, p++)
        h = turn(h + *p * prime5, 11) * prime1;
    h = (h ^ h >> 15) * prime2;
    h = (h ^ h >> 13) * prime3;
    return h ^ h >> 16;
}

enum err lz4_frame_open(struct lz4_frame *f, const uint8_t *p, size_t n,
                        bool ignores_header_checksum)
{
    enum { SIZE_SHIFT = 4, SIZE_MIN = 4, BLOCK_SHIFT_BASE = 8, CONTENT_SIZE_BYTES = 8 };

    *f = (struct lz4_frame){.p = p, .end = p + n};
    if (n < HEADER_BYTES_MIN || le32_load(p) != MAGIC)
        return ERR_CORRUPT;
    uint8_t flags = p[FLAGS_AT], block_size = p[BLOCK_SIZE_AT];
    if ((flags & VERSION_MASK) != VERSION_1 || (flags & INDEPENDENT_BLOCKS) == 0 ||
        (flags & RESERVED_FLAGS) != 0 || (block_size & RESERVED_BLOCK_BITS) != 0 ||
        block_size >> SIZE_SHIFT < SIZE_MIN)
        return ERR_CORRUPT;
    size_t described = 2 + ((flags & CONTENT_SIZE) != 0 ? CONTENT_SIZE_BYTES : 0);
    if (n < FLAGS_AT + described + 1)
        return ERR_CORRUPT;
    const uint8_t *checksum = p + FLAGS_AT + described;
    if (!ignores_header_checksum && *checksum != (uint8_t)(xxh32(p + FLAGS_AT, described) >> 8))
        return ERR_CORRUPT;
    f->p = checksum + 1;
    f->block_max = (size_t)1 << (BLOCK_SHIFT_BASE + 2 * (block_size >> SIZE_SHIFT)); /* 64 KiB.. */
    f->has_block_checksums = (flags & BLOCK_CHECKSUMS) != 0;
    f->has_content_checksum = (flags & CONTENT_CHECKSUM) != 0;
    return ERR_OK;
}

static enum err unfold(struct lz4_frame *f, size_t size)
{
    if (f->block == NULL && (f->block = try_malloc(f->block_max)) == NULL)
        return ERR_NO_MEMORY;
    int got =
        LZ4_decompress_safe((const char *)f->p, (char *)f->block, (int)size, (int)f->block_max);
    if (got < 0)
        return ERR_CORRUPT;
    f->data = f->block;
    f->data_len = (size_t)got;
    return ERR_OK;
}

/* Sets data to the next block, or is_finished. */
static enum err next_block(struct lz4_frame *f)
{
    const uint32_t stored = 0x80000000U;
    enum err rc = ERR_OK;

    if (f->end - f->p < 4)
        return ERR_CORRUPT; /* the end mark is missing */
    uint32_t word = le32_load(f->p);
    size_t size = word & ~stored;
    f->p += 4;
    f->data_at = f->data_len = 0;
    if (size == 0) {
        f->is_finished = true;
        return f->has_content_checksum && f->end - f->p < CHECKSUM_BYTES ? ERR_CORRUPT : ERR_OK;
    }
    size_t with_checksum = size + (f->has_block_checksums ? CHECKSUM_BYTES : 0);
    if (size > f->block_max || (size_t)(f->end - f->p) < with_checksum)
        return ERR_CORRUPT;
    if (f->has_block_checksums && le32_load(f->p + size) != xxh32(f->p, size))
        return ERR_CORRUPT;
    if ((word & stored) != 0) {
        f->data = f->p;
        f->data_len = size;
    } else {
        rc = unfold(f, size);
    }
    f->p += with_checksum;
    f->is_finished = f->data_len == 0; /* Kafka's consumer takes a block of nothing for the end */
    return rc;
}

enum err lz4_frame_read(struct lz4_frame *f, uint8_t *dst, size_t cap, size_t *got_out)
{
    *got_out = 0;
    ASSERT(cap > 0);
    while (f->data_at == f->data_len) {
        if (f->is_finished)
            return ERR_OK;
        enum err rc = next_block(f);
        if (rc != ERR_OK)
            return rc;
    }
    *got_out = size_min(cap, f->data_len - f->data_at);
    memcpy(dst, f->data + f->data_at, *got_out);
    f->data_at += *got_out;
    return ERR_OK;
}

void lz4_frame_fini(struct lz4_frame *f)
{
    FREE_NULL(&f->block);
}
