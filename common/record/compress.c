/* SPDX-License-Identifier: Apache-2.0 */
/* Compression with Kafka's framings. Decompression is in unpack.c. */
#include "common/record/compress.h"

#include "common/record/snappy_frame.h"

#include <lz4.h>
#include <lz4frame.h>
#include <lz4hc.h>
#include <snappy-c.h>
#include <zlib.h>
#include <zstd.h>

static const char *const codec_names[CODEC_COUNT] = {"none", "gzip", "snappy", "lz4", "zstd"};

const char *codec_name(unsigned codec)
{
    return codec < CODEC_COUNT ? codec_names[codec] : "unknown";
}

bool codec_parse(struct str name, enum codec *out)
{
    for (unsigned i = 0; i < CODEC_COUNT; i++)
        if (str_eq_z(name, codec_names[i])) {
            *out = (enum codec)i;
            return true;
        }
    return false;
}

static int clamp(int level, int lowest, int highest, int fallback)
{
    if (level == CODEC_LEVEL_DEFAULT)
        return fallback;
    return level < lowest ? lowest : level > highest ? highest : level;
}

static enum err gzip_compress(int level, const uint8_t *p, size_t n, struct buf *out)
{
    enum { GZIP_WRAPPER = 16, MEM_LEVEL = 8 };
    z_stream z = {0};

    level = level == -1 ? Z_DEFAULT_COMPRESSION : clamp(level, 0, 9, Z_DEFAULT_COMPRESSION);
    if (n > UINT32_MAX)
        return ERR_TOO_LARGE;
    if (deflateInit2(&z, level, Z_DEFLATED, MAX_WBITS + GZIP_WRAPPER, MEM_LEVEL,
                     Z_DEFAULT_STRATEGY) != Z_OK)
        return ERR_NO_MEMORY;
    size_t bound = deflateBound(&z, n);
    buf_reserve(out, bound);
    z.next_in = (unsigned char *)(uintptr_t)p; /* zlib does not write there */
    z.avail_in = (unsigned)n;
    z.next_out = out->p + out->len;
    z.avail_out = (unsigned)bound;
    int rc = deflate(&z, Z_FINISH);
    out->len += bound - z.avail_out;
    (void)deflateEnd(&z);
    ASSERT(rc == Z_STREAM_END); /* deflateBound is enough */
    return ERR_OK;
}

/* The xerial stream, as Java's clients write it. */
static enum err snappy_frame_compress(const uint8_t *p, size_t n, struct buf *out)
{
    enum { BLOCK_BYTES = 32 * 1024 };
    uint8_t version[8];

    be32_store(version, SNAPPY_FRAME_VERSION);
    be32_store(version + 4, SNAPPY_FRAME_VERSION);
    buf_add(out, SNAPPY_FRAME_MAGIC, SNAPPY_FRAME_MAGIC_BYTES);
    buf_add(out, version, sizeof version);
    for (size_t at = 0; at < n; at += BLOCK_BYTES) {
        size_t len = size_min(BLOCK_BYTES, n - at);
        size_t room = snappy_max_compressed_length(len);
        buf_reserve(out, room + 4);
        snappy_status rc =
            snappy_compress((const char *)p + at, len, (char *)out->p + out->len + 4, &room);
        ASSERT(rc == SNAPPY_OK);
        be32_store(out->p + out->len, (uint32_t)room);
        out->len += room + 4;
    }
    return ERR_OK;
}

static enum err lz4_compress(int level, const uint8_t *p, size_t n, struct buf *out)
{
    enum { FAST_LEVEL = 9 }; /* Kafka's default, and what it means by it */
    LZ4F_preferences_t prefs = {
        .frameInfo = {.blockSizeID = LZ4F_max64KB, .blockMode = LZ4F_blockIndependent}};

    level = clamp(level, 1, 17, FAST_LEVEL);
    prefs.compressionLevel = level == FAST_LEVEL ? 0 : i32_min(level, LZ4HC_CLEVEL_MAX);
    size_t bound = LZ4F_compressFrameBound(n, &prefs);
    buf_reserve(out, bound);
    size_t len = LZ4F_compressFrame(out->p + out->len, bound, p, n, &prefs);
    if (LZ4F_isError(len))
        return ERR_NO_MEMORY;
    out->len += len;
    return ERR_OK;
}

static enum err zstd_compress(int level, const uint8_t *p, size_t n, struct buf *out)
{
    size_t bound = ZSTD_compressBound(n);

    level = clamp(level, ZSTD_minCLevel(), ZSTD_maxCLevel(), ZSTD_CLEVEL_DEFAULT);
    buf_reserve(out, bound);
    size_t len = ZSTD_compress(out->p + out->len, bound, p, n, level);
    if (ZSTD_isError(len))
        return ERR_NO_MEMORY;
    out->len += len;
    return ERR_OK;
}

enum err codec_compress(enum codec codec, int level, const uint8_t *p, size_t n, struct buf *out)
{
    switch (codec) {
    case CODEC_NONE:
        buf_add(out, p, n);
        return ERR_OK;
    case CODEC_GZIP:
        return gzip_compress(level, p, n, out);
    case CODEC_SNAPPY:
        return snappy_frame_compress(p, n, out);
    case CODEC_LZ4:
        return lz4_compress(level, p, n, out);
    case CODEC_ZSTD:
        return zstd_compress(level, p, n, out);
    case CODEC_COUNT:
        break;
    }
    return ERR_UNSUPPORTED;
}
