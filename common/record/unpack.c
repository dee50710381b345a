/* SPDX-License-Identifier: Apache-2.0 */
/* Decompression as a stream, with bounded memory whatever the bytes claim. */
#include "common/record/compress.h"
#include "common/record/lz4_frame.h"
#include "common/record/snappy_frame.h"

#include <snappy-c.h>
#include <zlib.h>
#include <zstd.h>

struct unpack {
    unsigned codec;
    bool at_end;
    const uint8_t *p, *end; /* compressed bytes not read yet */
    union {
        struct {
            z_stream z;
            gz_header header; /* of a member behind the first */
            bool is_first;
        } gzip;
        struct lz4_frame lz4;
        ZSTD_DStream *zstd;
        struct {
            uint8_t *block; /* the current block, decompressed */
            size_t block_len, block_cap, block_at;
            bool is_framed;
        } snappy;
    } s;
};

/* ---- gzip: RFC 1952, members laid end to end are read on. As for java.util.zip.GZIPInputStream,
 * what follows a member and is no member's header, or too short for a member, is ignored. */
enum { GZIP_REST_IGNORED_BYTES = 18 };

static enum err gzip_open(struct unpack *u)
{
    enum { GZIP_WRAPPER = 16 };
    u->s.gzip.is_first = true;
    return inflateInit2(&u->s.gzip.z, MAX_WBITS + GZIP_WRAPPER) == Z_OK ? ERR_OK : ERR_NO_MEMORY;
}

/* A member has ended: at_end, or ready for the next one. */
static enum err gzip_next_member(struct unpack *u)
{
    if (u->end - u->p <= GZIP_REST_IGNORED_BYTES) {
        u->at_end = true;
        return ERR_OK;
    }
    u->s.gzip.is_first = false;
    memset(&u->s.gzip.header, 0, sizeof u->s.gzip.header);
    if (inflateReset(&u->s.gzip.z) != Z_OK ||
        inflateGetHeader(&u->s.gzip.z, &u->s.gzip.header) != Z_OK)
        return ERR_CORRUPT;
    return ERR_OK;
}

static enum err gzip_read(struct unpack *u, uint8_t *dst, size_t cap, size_t *got)
{
    z_stream *z = &u->s.gzip.z;
    enum err err = ERR_OK;

    z->next_out = dst;
    z->avail_out = (unsigned)size_min(cap, UINT32_MAX);
    unsigned room = z->avail_out;
    while (err == ERR_OK && z->avail_out > 0 && !u->at_end) {
        z->next_in = (unsigned char *)(uintptr_t)u->p; /* zlib does not write there */
        z->avail_in = (unsigned)size_min((size_t)(u->end - u->p), UINT32_MAX);
        int rc = inflate(z, Z_NO_FLUSH);
        u->p = z->next_in;
        if (rc == Z_MEM_ERROR)
            return ERR_NO_MEMORY;
        if (rc == Z_STREAM_END)
            err = gzip_next_member(u);
        else if (rc != Z_OK && !u->s.gzip.is_first && u->s.gzip.header.done != 1)
            u->at_end = true; /* what follows is no member */
        else if (rc != Z_OK)
            err = ERR_CORRUPT; /* also Z_BUF_ERROR: the input is cut */
    }
    *got = room - z->avail_out;
    return err;
}

/* ---- snappy: xerial blocks (Java), or one raw block (librdkafka). As for Java's reader
 * (org.xerial.snappy.SnappyInputStream) a header may stand again between blocks, and up to three
 * bytes behind the last block are ignored. */
static bool snappy_at_header(const struct unpack *u)
{
    return u->end - u->p >= SNAPPY_FRAME_HEADER_BYTES &&
           memcmp(u->p, SNAPPY_FRAME_MAGIC, SNAPPY_FRAME_MAGIC_BYTES) == 0;
}

static void snappy_open(struct unpack *u)
{
    u->s.snappy.is_framed = snappy_at_header(u);
}

static enum err snappy_next_block(struct unpack *u)
{
    /* Snappy's densest element makes 64 bytes of 3: what claims more is lying, and is not given
     * the memory it asks for. */
    enum { RATIO_MAX = 22, SLACK_BYTES = 64 };
    size_t len = (size_t)(u->end - u->p), out_len;

    if (u->s.snappy.is_framed) {
        if (len < 4 || be32_load(u->p) > len - 4)
            return ERR_CORRUPT;
        len = be32_load(u->p);
        u->p += 4;
    }
    if (snappy_uncompressed_length((const char *)u->p, len, &out_len) != SNAPPY_OK ||
        out_len > len * RATIO_MAX + SLACK_BYTES)
        return ERR_CORRUPT;
    if (out_len > u->s.snappy.block_cap) {
        mem_free(u->s.snappy.block);
        u->s.snappy.block_cap = 0;
        u->s.snappy.block = try_malloc(out_len);
        if (u->s.snappy.block == NULL)
            return ERR_NO_MEMORY;
        u->s.snappy.block_cap = out_len;
    }
    u->s.snappy.block_at = 0;
    u->s.snappy.block_len = out_len;
    char none;
    if (snappy_uncompress((const char *)u->p, len, out_len == 0 ? &none : (char *)u->s.snappy.block,
                          &u->s.snappy.block_len) != SNAPPY_OK)
        return ERR_CORRUPT;
    u->p += len;
    return ERR_OK;
}

static enum err snappy_read(struct unpack *u, uint8_t *dst, size_t cap, size_t *got)
{
    while (u->s.snappy.block_at == u->s.snappy.block_len) {
        while (u->s.snappy.is_framed && snappy_at_header(u))
            u->p += SNAPPY_FRAME_HEADER_BYTES;
        if (u->end - u->p < (u->s.snappy.is_framed ? 4 : 1)) {
            u->at_end = true;
            return ERR_OK;
        }
        enum err rc = snappy_next_block(u);
        if (rc != ERR_OK)
            return rc;
    }
    *got = size_min(cap, u->s.snappy.block_len - u->s.snappy.block_at);
    memcpy(dst, u->s.snappy.block + u->s.snappy.block_at, *got);
    u->s.snappy.block_at += *got;
    return ERR_OK;
}

/* ---- LZ4: one frame */
static enum err lz4_read(struct unpack *u, uint8_t *dst, size_t cap, size_t *got)
{
    enum err rc = lz4_frame_read(&u->s.lz4, dst, cap, got);
    u->at_end = rc == ERR_OK && *got == 0;
    return rc;
}

/* ---- zstd: frames laid end to end are read on */
static enum err zstd_open(struct unpack *u)
{
    u->s.zstd = ZSTD_createDStream();
    return u->s.zstd == NULL ? ERR_NO_MEMORY : ERR_OK;
}

static enum err zstd_read(struct unpack *u, uint8_t *dst, size_t cap, size_t *got)
{
    ZSTD_outBuffer out = {dst, cap, 0};

    while (out.pos == 0) {
        ZSTD_inBuffer in = {u->p, (size_t)(u->end - u->p), 0};
        size_t hint = ZSTD_decompressStream(u->s.zstd, &out, &in);
        if (ZSTD_isError(hint))
            return ERR_CORRUPT;
        u->p += in.pos;
        if (hint == 0 && u->p == u->end) {
            u->at_end = true;
            break;
        }
        if (in.pos == 0 && out.pos == 0)
            return ERR_CORRUPT; /* cut */
    }
    *got = out.pos;
    return ERR_OK;
}

/* ---- all */
static void copy_read(struct unpack *u, uint8_t *dst, size_t cap, size_t *got)
{
    *got = size_min(cap, (size_t)(u->end - u->p));
    memcpy(dst, u->p, *got);
    u->p += *got;
    u->at_end = *got == 0;
}

enum err unpack_open(unsigned codec, int8_t magic, const uint8_t *p, size_t n, struct unpack **out)
{
    struct unpack *u = xcalloc(1, sizeof *u);
    enum err rc = ERR_OK;

    u->codec = codec;
    u->p = p;
    u->end = p + n;
    switch (codec) {
    case CODEC_NONE:
        break;
    case CODEC_GZIP:
        rc = gzip_open(u);
        break;
    case CODEC_SNAPPY:
        snappy_open(u);
        break;
    case CODEC_LZ4:
        rc = lz4_frame_open(&u->s.lz4, p, n, magic == 0);
        break;
    case CODEC_ZSTD:
        rc = zstd_open(u);
        break;
    default:
        u->codec = CODEC_NONE; /* nothing to close */
        rc = ERR_UNSUPPORTED;
        break;
    }
    if (rc != ERR_OK)
        unpack_close(&u);
    *out = u;
    return rc;
}

enum err unpack_read(struct unpack *u, uint8_t *dst, size_t cap, size_t *got_out)
{
    *got_out = 0;
    if (u->at_end || cap == 0)
        return ERR_OK;
    switch (u->codec) {
    case CODEC_GZIP:
        return gzip_read(u, dst, cap, got_out);
    case CODEC_SNAPPY:
        return snappy_read(u, dst, cap, got_out);
    case CODEC_LZ4:
        return lz4_read(u, dst, cap, got_out);
    case CODEC_ZSTD:
        return zstd_read(u, dst, cap, got_out);
    default:
        copy_read(u, dst, cap, got_out);
        return ERR_OK;
    }
}

void unpack_close(struct unpack **up)
{
    struct unpack *u = *up;

    if (u == NULL)
        return;
    if (u->codec == CODEC_GZIP)
        (void)inflateEnd(&u->s.gzip.z);
    else if (u->codec == CODEC_SNAPPY)
        mem_free(u->s.snappy.block);
    else if (u->codec == CODEC_LZ4)
        lz4_frame_fini(&u->s.lz4);
    else if (u->codec == CODEC_ZSTD)
        (void)ZSTD_freeDStream(u->s.zstd);
    FREE_NULL(up);
}

enum err codec_decompress(unsigned codec, int8_t magic, const uint8_t *p, size_t n, size_t max,
                          struct buf *out)
{
    enum { STEP_BYTES = 64 * 1024 };
    struct unpack *u;
    size_t total = 0, got = 0;

    enum err rc = unpack_open(codec, magic, p, n, &u);
    while (rc == ERR_OK) {
        buf_reserve(out, STEP_BYTES);
        rc = unpack_read(u, out->p + out->len, out->cap - out->len, &got);
        if (rc == ERR_OK && got == 0)
            break;
        total += got;
        out->len += got;
        if (total > max)
            rc = ERR_TOO_LARGE;
    }
    unpack_close(&u);
    return rc;
}
