/* SPDX-License-Identifier: Apache-2.0 */
/* compress - the four codecs of record batches in Kafka's framings: gzip, snappy (xerial stream or
 * one raw block), LZ4 frame, zstd. Decompression is a stream read in pieces of the caller's
 * choice, so that a small batch that unfolds to gigabytes costs time in proportion to what the
 * caller is willing to read, and never memory. Any thread; blocking work, keep it off the loops. */
#ifndef COMMON_RECORD_COMPRESS_H
#define COMMON_RECORD_COMPRESS_H

#include "common/base/base.h"
#include "common/record/batch.h"

const char *codec_name(unsigned codec); /* "gzip"; "unknown" beyond the table */
/* "none", "gzip", ...; false when it is none of them. */
bool codec_parse(struct str name, enum codec *out);

enum { CODEC_LEVEL_DEFAULT = INT32_MIN };

/* Appends the compressed form of n bytes to out. level: CODEC_LEVEL_DEFAULT, or within the codec's
 * range (others are clamped). UNSUPPORTED: LZ4 or zstd in a format that lacks it is for the caller
 * to refuse; here only an unknown codec. */
NODISCARD enum err codec_compress(enum codec codec, int level, const uint8_t *p, size_t n,
                                  struct buf *out);

struct unpack; /* one decompression */
/* Begins to decompress n bytes at p, which stay valid until unpack_close. CODEC_NONE copies. magic
 * is the format's: LZ4 of magic 0 has a header checksum that nobody checks. UNSUPPORTED: unknown
 * codec. */
NODISCARD enum err unpack_open(unsigned codec, int8_t magic, const uint8_t *p, size_t n,
                               struct unpack **out);
/* Up to cap bytes into dst; got_out 0 at the end. CORRUPT: the stream is damaged or cut;
 * NO_MEMORY. After an error only unpack_close. */
NODISCARD enum err unpack_read(struct unpack *u, uint8_t *dst, size_t cap, size_t *got_out);
void unpack_close(struct unpack **u);

/* All of it, appended to out. TOO_LARGE: more than max bytes. */
NODISCARD enum err codec_decompress(unsigned codec, int8_t magic, const uint8_t *p, size_t n,
                                    size_t max, struct buf *out);

#endif
