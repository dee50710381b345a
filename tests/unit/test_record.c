/* SPDX-License-Identifier: Apache-2.0 */
/* Record batches: golden bytes, CRC, walking, building, and each codec both ways. */
#include "common/record/batch.h"
#include "common/record/builder.h"
#include "common/record/compress.h"
#include "common/record/legacy.h"

#include <check.h>
#include <lz4frame.h>
#include <snappy-c.h>
#include <stdio.h>
#include <stdlib.h>
#include <zlib.h>

#define T0           1700000000000
#define BYTES_LIT(s) ((struct bytes){(const uint8_t *)(s), (int64_t)sizeof(s) - 1})

static size_t unhex(const char *hex, uint8_t *out)
{
    size_t n = 0;
    unsigned v;
    for (; sscanf(hex, "%2x", &v) == 1; hex += 2)
        out[n++] = (uint8_t)v;
    return n;
}

static const char two_records[] =
    "00000000000000000000004a0000000002a94f3d630000000000010000018bcfe568000000018bcfe56805"
    "ffffffffffffffffffffffffffff0000000210000000026b0276001e000a02010a68656c6c6f0202680278";
static const char commit_marker[] =
    "0000000000000007000000420000000302068d70800030000000000000018bcfe568640000018bcfe56864"
    "00000000000003e80005ffffffff000000012000000008000000010c00000000000900";

START_TEST(crc32c_is_that_of_the_iscsi_vectors)
{
    uint8_t zeros[32] = {0};

    ck_assert_uint_eq(crc32c(0, "123456789", 9), 0xe3069283);
    ck_assert_uint_eq(crc32c(0, zeros, 32), 0x8a9136aa);
    ck_assert_uint_eq(crc32c(crc32c(0, "1234", 4), "56789", 5), 0xe3069283);
}
END_TEST

START_TEST(golden_batch_is_read)
{
    uint8_t b[128];
    size_t n = unhex(two_records, b), total;
    struct record_iter it;
    struct record r;
    struct bytes name, value;

    ck_assert_int_eq(batch_peek(b, n, &total), BATCH_WHOLE);
    ck_assert_uint_eq(total, n);
    ck_assert_uint_eq(batch_crc_compute(b), batch_crc(b));
    ck_assert_int_eq(batch_count(b), 2);
    record_iter_init(&it, b, b + BATCH_HEADER_BYTES, n - BATCH_HEADER_BYTES);
    ck_assert_int_eq(record_next(&it, &r), ERR_OK);
    ck_assert_int_eq(r.key.len, 1);
    ck_assert_int_eq(r.timestamp_ms, T0);
    ck_assert_int_eq(record_next(&it, &r), ERR_OK);
    ck_assert_int_eq(r.key.len, -1);
    ck_assert_mem_eq(r.value.p, "hello", 5);
    ck_assert_int_eq(r.offset, 1);
    ck_assert_int_eq(r.timestamp_ms, T0 + 5);
    const uint8_t *at = r.headers;
    ck_assert(record_header_next(&at, &r, &name, &value));
    ck_assert_mem_eq(name.p, "h", 1);
    ck_assert_mem_eq(value.p, "x", 1);
    ck_assert(!record_header_next(&at, &r, &name, &value));
    ck_assert_int_eq(record_next(&it, &r), ERR_NOT_FOUND);
}
END_TEST

START_TEST(builder_makes_the_golden_batches)
{
    uint8_t want[128];
    size_t n = unhex(two_records, want);
    struct batch_options o;
    struct batch_builder b;
    struct buf out = {0};
    struct batch_header h = {BYTES_LIT("h"), BYTES_LIT("x")};

    batch_options_init(&o);
    o.leader_epoch = 0;
    batch_builder_init(&b, &o);
    batch_builder_add(&b, T0, BYTES_LIT("k"), BYTES_LIT("v"), NULL, 0);
    batch_builder_add(&b, T0 + 5, BYTES_NULL, BYTES_LIT("hello"), &h, 1);
    ck_assert_int_eq(batch_builder_finish(&b, &out), ERR_OK);
    ck_assert_uint_eq(out.len, n);
    ck_assert_mem_eq(out.p, want, n);

    n = unhex(commit_marker, want);
    out.len = 0;
    o.base_offset = 7;
    o.leader_epoch = 3;
    o.producer_id = 1000;
    o.producer_epoch = 5;
    batch_build_marker(&o, true, 9, T0 + 100, &out);
    ck_assert_uint_eq(out.len, n);
    ck_assert_mem_eq(out.p, want, n);
    batch_builder_fini(&b);
    buf_fini(&out);
}
END_TEST

START_TEST(peek_tells_partial_from_bad_at_every_length)
{
    uint8_t b[128];
    size_t n = unhex(two_records, b), total;

    for (size_t i = 0; i < n; i++) {
        ck_assert_int_eq(batch_peek(b, i, &total), BATCH_PARTIAL);
        ck_assert_uint_eq(total, i < BATCH_PREFIX_BYTES ? 0 : n);
    }
    be32_store(b + BATCH_AT_LENGTH, 48);
    ck_assert_int_eq(batch_peek(b, n, &total), BATCH_BAD);
    be32_store(b + BATCH_AT_LENGTH, 0x80000000);
    ck_assert_int_eq(batch_peek(b, n, &total), BATCH_BAD);
    unhex(two_records, b);
    b[BATCH_AT_MAGIC] = 3;
    ck_assert_int_eq(batch_peek(b, n, &total), BATCH_BAD);
    b[BATCH_AT_MAGIC] = 1;
    ck_assert_int_eq(batch_peek(b, n, &total), BATCH_LEGACY);
}
END_TEST

START_TEST(patches_leave_a_valid_crc)
{
    uint8_t b[128];

    unhex(two_records, b);
    batch_patch_offset_and_epoch(b, 123456789012, 77);
    ck_assert_int_eq(batch_base_offset(b), 123456789012);
    ck_assert_int_eq(batch_leader_epoch(b), 77);
    ck_assert_uint_eq(batch_crc_compute(b), batch_crc(b));
    batch_set_times(b, true, T0 + 1000);
    ck_assert_int_eq(batch_attributes(b), BATCH_LOG_APPEND_TIME);
    ck_assert_int_eq(batch_max_timestamp(b), T0 + 1000);
    ck_assert_uint_eq(batch_crc_compute(b), batch_crc(b));
}
END_TEST

/* Whatever one byte of the records becomes, walking ends and stays inside. */
START_TEST(walking_over_damaged_records_ends)
{
    uint8_t b[128];
    size_t n = unhex(two_records, b);

    for (size_t i = BATCH_HEADER_BYTES; i < n; i++)
        for (unsigned v = 0; v < 256; v++) {
            uint8_t *copy = malloc(n); /* of the exact size: the sanitizer watches the end */
            struct record_iter it;
            struct record r;
            int count = 0;
            memcpy(copy, b, n);
            copy[i] = (uint8_t)v;
            record_iter_init(&it, copy, copy + BATCH_HEADER_BYTES, n - BATCH_HEADER_BYTES);
            while (record_next(&it, &r) == ERR_OK)
                count++;
            ck_assert_int_le(count, 2);
            free(copy);
        }
}
END_TEST

START_TEST(varints_go_both_ways)
{
    static const int64_t values[] = {0,   -1,        1,         63,        64,       -64,
                                     -65, INT32_MAX, INT32_MIN, INT64_MAX, INT64_MIN};
    uint8_t out[10];
    int64_t back;
    int32_t back32;

    for (size_t i = 0; i < ARRAY_LEN(values); i++) {
        size_t n = varlong_encode(out, values[i]);
        ck_assert_uint_eq(varlong_decode(out, out + n, &back), n);
        ck_assert_int_eq(back, values[i]);
        ck_assert_uint_eq(varlong_decode(out, out + n - 1, &back), 0);
        if (values[i] == (int32_t)values[i]) {
            ck_assert_uint_eq(varint_decode(out, out + n, &back32), n);
            ck_assert_int_eq(back32, values[i]);
        }
    }
    memset(out, 0xff, sizeof out);
    ck_assert_uint_eq(varlong_decode(out, out + 10, &back), 0);
    ck_assert_uint_eq(varint_decode(out, out + 10, &back32), 0);
}
END_TEST

START_TEST(sequences_wrap_to_zero)
{
    ck_assert_int_eq(sequence_add(INT32_MAX, 1), 0);
    ck_assert_int_eq(sequence_add(INT32_MAX - 1, 5), 3);
    ck_assert_int_eq(sequence_add(7, 5), 12);
}
END_TEST

/* Data that compress well, with some that do not. */
static struct buf sample(size_t n)
{
    struct buf b = {0};
    uint32_t rng = 1;

    while (b.len < n) {
        rng = rng * 1664525 + 1013904223;
        uint8_t c = rng & 0x80000000 ? 'a' : (uint8_t)(rng >> 16);
        buf_add(&b, &c, 1);
    }
    return b;
}

static const size_t sizes[] = {0, 1, 100, 32 * 1024, 32 * 1024 + 1, 300000};

START_TEST(every_codec_gives_back_what_it_got)
{
    enum codec c = (enum codec)(_i / (int)ARRAY_LEN(sizes));
    struct buf in = sample(sizes[(size_t)_i % ARRAY_LEN(sizes)]), packed = {0}, out = {0};
    buf_reserve(&in, 1);

    ck_assert_int_eq(codec_compress(c, CODEC_LEVEL_DEFAULT, in.p, in.len, &packed), ERR_OK);
    buf_reserve(&packed, 1);
    ck_assert_int_eq(codec_decompress(c, 2, packed.p, packed.len, in.len, &out), ERR_OK);
    ck_assert_uint_eq(out.len, in.len);
    if (in.len > 0)
        ck_assert_mem_eq(out.p, in.p, in.len);
    out.len = 0;
    if (in.len > 0)
        ck_assert_int_eq(codec_decompress(c, 2, packed.p, packed.len, in.len - 1, &out),
                         ERR_TOO_LARGE);
    buf_fini(&in);
    buf_fini(&packed);
    buf_fini(&out);
}
END_TEST

START_TEST(every_codec_refuses_a_cut_stream)
{
    enum codec c = (enum codec)_i;
    struct buf in = sample(5000), packed = {0}, out = {0};

    ck_assert_int_eq(codec_compress(c, CODEC_LEVEL_DEFAULT, in.p, in.len, &packed), ERR_OK);
    for (size_t n = 1; n < packed.len; n++) {
        uint8_t *copy = malloc(n);
        memcpy(copy, packed.p, n);
        out.len = 0;
        enum err rc = codec_decompress(c, 2, copy, n, 1 << 20, &out);
        /* a snappy stream that ends between two blocks is whole, with less in it */
        ck_assert(rc == ERR_CORRUPT || (c == CODEC_SNAPPY && out.len < in.len));
        free(copy);
    }
    buf_fini(&in);
    buf_fini(&packed);
    buf_fini(&out);
}
END_TEST

START_TEST(a_small_bomb_is_stopped_at_the_limit)
{
    enum codec c = (enum codec)_i;
    struct buf packed = {0}, out = {0};
    uint8_t *zeros = calloc(1, 64 << 20);

    ck_assert_int_eq(codec_compress(c, CODEC_LEVEL_DEFAULT, zeros, 64 << 20, &packed), ERR_OK);
    free(zeros);
    ck_assert_int_eq(codec_decompress(c, 2, packed.p, packed.len, 1 << 20, &out), ERR_TOO_LARGE);
    ck_assert_uint_le(out.cap, 4 << 20);
    buf_fini(&packed);
    buf_fini(&out);
}
END_TEST

START_TEST(snappy_without_a_frame_is_read)
{
    struct buf in = sample(10000), out = {0};
    size_t n = snappy_max_compressed_length(in.len);
    char *raw = malloc(n);

    ck_assert_int_eq(snappy_compress((char *)in.p, in.len, raw, &n), SNAPPY_OK);
    ck_assert_int_eq(codec_decompress(CODEC_SNAPPY, 2, (uint8_t *)raw, n, in.len, &out), ERR_OK);
    ck_assert_uint_eq(out.len, in.len);
    ck_assert_mem_eq(out.p, in.p, in.len);
    /* a block that claims four gigabytes is refused before any memory is asked for */
    static const uint8_t liar[] = {0xff, 0xff, 0xff, 0xff, 0x0f, 0, 'a'};
    out.len = 0;
    ck_assert_int_eq(codec_decompress(CODEC_SNAPPY, 2, liar, sizeof liar, 1 << 20, &out),
                     ERR_CORRUPT);
    free(raw);
    buf_fini(&in);
    buf_fini(&out);
}
END_TEST

START_TEST(framings_are_those_of_java)
{
    static const uint8_t xerial[] = {0x82, 'S', 'N', 'A', 'P', 'P', 'Y', 0, 0, 0, 0, 1, 0, 0, 0, 1};
    static const uint8_t lz4[] = {0x04, 0x22, 0x4d, 0x18, 0x60, 0x40, 0x82};
    struct buf in = sample(100), out = {0};

    ck_assert_int_eq(codec_compress(CODEC_SNAPPY, CODEC_LEVEL_DEFAULT, in.p, in.len, &out), ERR_OK);
    ck_assert_mem_eq(out.p, xerial, sizeof xerial);
    out.len = 0;
    ck_assert_int_eq(codec_compress(CODEC_LZ4, CODEC_LEVEL_DEFAULT, in.p, in.len, &out), ERR_OK);
    ck_assert_mem_eq(out.p, lz4, sizeof lz4);
    buf_fini(&in);
    buf_fini(&out);
}
END_TEST

START_TEST(lz4_of_magic_0_with_a_wrong_header_checksum_is_read)
{
    struct buf in = sample(1000), packed = {0}, out = {0};

    ck_assert_int_eq(codec_compress(CODEC_LZ4, CODEC_LEVEL_DEFAULT, in.p, in.len, &packed), ERR_OK);
    packed.p[6] ^= 0x5a;
    ck_assert_int_eq(codec_decompress(CODEC_LZ4, 1, packed.p, packed.len, 1 << 20, &out),
                     ERR_CORRUPT);
    out.len = 0;
    ck_assert_int_eq(codec_decompress(CODEC_LZ4, 0, packed.p, packed.len, 1 << 20, &out), ERR_OK);
    ck_assert_uint_eq(out.len, in.len);
    buf_fini(&in);
    buf_fini(&packed);
    buf_fini(&out);
}
END_TEST

/* "record" in a frame of one stored block, with something odd. What Kafka's reader takes is taken.
 */
static const struct {
    const char *what;
    uint8_t frame[48];
    size_t len;
    enum err want;
} lz4_frames[] = {
#define LZ4_FRAME(...)                                                                             \
    {                                                                                              \
        0x04, 0x22, 0x4d, 0x18, __VA_ARGS__                                                        \
    }
#define LZ4_BLOCK 6, 0, 0, 0x80, 'r', 'e', 'c', 'o', 'r', 'd'
    {"plain", LZ4_FRAME(0x60, 0x40, 0x82, LZ4_BLOCK, 0, 0, 0, 0), 21, ERR_OK},
    {"bytes behind", LZ4_FRAME(0x60, 0x40, 0x82, LZ4_BLOCK, 0, 0, 0, 0, 9), 22, ERR_OK},
    {"linked blocks", LZ4_FRAME(0x40, 0x40, 0xc0, LZ4_BLOCK, 0, 0, 0, 0), 21, ERR_CORRUPT},
    {"version 2", LZ4_FRAME(0xa0, 0x40, 0x0f, LZ4_BLOCK, 0, 0, 0, 0), 21, ERR_CORRUPT},
    {"a reserved flag", LZ4_FRAME(0x62, 0x40, 0xf0, LZ4_BLOCK, 0, 0, 0, 0), 21, ERR_CORRUPT},
    {"a dictionary", LZ4_FRAME(0x61, 0x40, 0xa1, LZ4_BLOCK, 0, 0, 0, 0), 21, ERR_CORRUPT},
    {"blocks of 16 KiB", LZ4_FRAME(0x60, 0x30, 0xd4, LZ4_BLOCK, 0, 0, 0, 0), 21, ERR_CORRUPT},
    {"wrong header checksum", LZ4_FRAME(0x60, 0x40, 0x83, LZ4_BLOCK, 0, 0, 0, 0), 21, ERR_CORRUPT},
    {"no end mark", LZ4_FRAME(0x60, 0x40, 0x82, LZ4_BLOCK), 17, ERR_CORRUPT},
    {"content size 7", LZ4_FRAME(0x68, 0x40, 7, 0, 0, 0, 0, 0, 0, 0, 0xb0, LZ4_BLOCK, 0, 0, 0, 0),
     29, ERR_OK},
    {"content checksum 1", LZ4_FRAME(0x64, 0x40, 0xa7, LZ4_BLOCK, 0, 0, 0, 0, 1, 0, 0, 0), 25,
     ERR_OK},
    {"half a content checksum", LZ4_FRAME(0x64, 0x40, 0xa7, LZ4_BLOCK, 0, 0, 0, 0, 1, 0), 23,
     ERR_CORRUPT},
    {"block checksum", LZ4_FRAME(0x70, 0x40, 0xad, LZ4_BLOCK, 0, 0, 0, 0, 0, 0, 0, 0), 25,
     ERR_CORRUPT},
};

START_TEST(lz4_frames_are_read_as_kafka_reads_them)
{
    struct buf out = {0};

    for (int8_t magic = 0; magic <= 2; magic++) {
        bool is_unchecked = magic == 0 && strstr(lz4_frames[_i].what, "header checksum") != NULL;
        out.len = 0;
        enum err rc = codec_decompress(CODEC_LZ4, magic, lz4_frames[_i].frame, lz4_frames[_i].len,
                                       1 << 20, &out);
        ck_assert_msg(rc == (is_unchecked ? ERR_OK : lz4_frames[_i].want), "%s, magic %d: %s",
                      lz4_frames[_i].what, magic, err_name(rc));
        if (rc == ERR_OK)
            ck_assert_mem_eq(out.p, "record", 6);
    }
    buf_fini(&out);
}
END_TEST

START_TEST(what_java_ignores_behind_a_stream_is_ignored)
{
    static const struct {
        enum codec codec;
        size_t len;
        uint8_t behind[32];
        enum err want;
    } cases[] = {
        {CODEC_GZIP, 7, "garbage", ERR_OK},
        {CODEC_GZIP, 18, {0x1f, 0x8b, 8}, ERR_OK}, /* too short for a member */
        {CODEC_GZIP, 32, "no header of a member", ERR_OK},
        {CODEC_GZIP, 32, {0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0, 0xff}, ERR_CORRUPT},
        {CODEC_SNAPPY, 3, {0, 0, 1}, ERR_OK},
        {CODEC_SNAPPY, 16, {0x82, 'S', 'N', 'A', 'P', 'P', 'Y', 0, 0, 0, 0, 1, 0, 0, 0, 1}, ERR_OK},
        {CODEC_SNAPPY, 8, {0x82, 'S', 'N', 'A', 'P', 'P', 'Y', 0}, ERR_CORRUPT},
        {CODEC_SNAPPY, 4, {0, 0, 0, 0}, ERR_CORRUPT},
        {CODEC_ZSTD, 1, {0}, ERR_CORRUPT},
    };
    struct buf in = sample(1000), packed = {0}, out = {0};

    ck_assert_int_eq(codec_compress(cases[_i].codec, CODEC_LEVEL_DEFAULT, in.p, in.len, &packed),
                     ERR_OK);
    buf_add(&packed, cases[_i].behind, cases[_i].len);
    ck_assert_int_eq(codec_decompress(cases[_i].codec, 2, packed.p, packed.len, 1 << 20, &out),
                     cases[_i].want);
    if (cases[_i].want == ERR_OK) {
        ck_assert_uint_eq(out.len, in.len);
        ck_assert_mem_eq(out.p, in.p, in.len);
    }
    buf_fini(&in);
    buf_fini(&packed);
    buf_fini(&out);
}
END_TEST

START_TEST(gzip_members_laid_end_to_end_are_read)
{
    struct buf in = sample(1000), packed = {0}, out = {0};

    for (int i = 0; i < 2; i++)
        ck_assert_int_eq(codec_compress(CODEC_GZIP, 9, in.p, in.len, &packed), ERR_OK);
    ck_assert_int_eq(codec_decompress(CODEC_GZIP, 2, packed.p, packed.len, 1 << 20, &out), ERR_OK);
    ck_assert_uint_eq(out.len, 2 * in.len);
    buf_fini(&in);
    buf_fini(&packed);
    buf_fini(&out);
}
END_TEST

START_TEST(compressed_batches_are_built_and_read)
{
    struct batch_options o;
    struct batch_builder b;
    struct buf out = {0}, records = {0};
    struct record_iter it;
    struct record r;
    size_t total;

    batch_options_init(&o);
    o.codec = (enum codec)_i;
    o.base_offset = 1000;
    batch_builder_init(&b, &o);
    for (int i = 0; i < 100; i++)
        batch_builder_add(&b, T0 - i, BYTES_NULL, BYTES_LIT("some value that repeats"), NULL, 0);
    ck_assert_int_eq(batch_builder_finish(&b, &out), ERR_OK);
    ck_assert_int_eq(batch_peek(out.p, out.len, &total), BATCH_WHOLE);
    ck_assert_int_eq(batch_codec(out.p), _i);
    ck_assert_int_eq(batch_max_timestamp(out.p), T0);
    ck_assert_int_eq(codec_decompress((unsigned)_i, 2, out.p + BATCH_HEADER_BYTES,
                                      out.len - BATCH_HEADER_BYTES, 1 << 20, &records),
                     ERR_OK);
    record_iter_init(&it, out.p, records.p, records.len);
    for (int i = 0; i < 100; i++) {
        ck_assert_int_eq(record_next(&it, &r), ERR_OK);
        ck_assert_int_eq(r.offset, 1000 + i);
        ck_assert_int_eq(r.timestamp_ms, T0 - i);
    }
    ck_assert_int_eq(record_next(&it, &r), ERR_NOT_FOUND);
    batch_builder_fini(&b);
    buf_fini(&out);
    buf_fini(&records);
}
END_TEST

/* A message of magic 0 or 1. */
static void add_old(struct buf *out, int8_t magic, unsigned codec, int64_t offset, const char *key,
                    const void *value, int32_t value_len)
{
    struct buf m = {0};
    uint8_t head[8];
    size_t start = out->len;

    uint8_t lead[2] = {(uint8_t)magic, (uint8_t)codec};
    buf_add(&m, lead, 2);
    be64_store(head, T0 + (uint64_t)offset);
    if (magic == 1)
        buf_add(&m, head, 8);
    be32_store(head, key == NULL ? 0xffffffff : (uint32_t)strlen(key));
    buf_add(&m, head, 4);
    if (key != NULL)
        buf_add(&m, key, strlen(key));
    be32_store(head, (uint32_t)value_len);
    buf_add(&m, head, 4);
    if (value_len > 0)
        buf_add(&m, value, (size_t)value_len);
    be64_store(head, (uint64_t)offset);
    buf_add(out, head, 8);
    be32_store(head, (uint32_t)m.len + 4);
    be32_store(head + 4, (uint32_t)crc32(0, m.p, (unsigned)m.len));
    buf_add(out, head, 8);
    buf_add(out, m.p, m.len);
    ck_assert_uint_eq(out->len - start, m.len + 16);
    buf_fini(&m);
}

static struct buf old_set(int8_t magic, unsigned codec, int count)
{
    struct buf plain = {0}, packed = {0}, out = {0};

    for (int i = 0; i < count; i++)
        add_old(&plain, magic, 0, i, i % 2 == 0 ? "key" : NULL, "value", i == 3 ? -1 : 5);
    if (codec == CODEC_NONE)
        return plain;
    ck_assert_int_eq(
        codec_compress((enum codec)codec, CODEC_LEVEL_DEFAULT, plain.p, plain.len, &packed),
        ERR_OK);
    add_old(&out, magic, codec, count - 1, NULL, packed.p, (int32_t)packed.len);
    buf_fini(&plain);
    buf_fini(&packed);
    return out;
}

START_TEST(old_message_sets_become_one_batch)
{
    int8_t magic = (int8_t)(_i / 4);
    unsigned codec = (unsigned)_i % 4;
    struct buf set = old_set(magic, codec, 5), batch = {0}, records = {0};
    struct record_iter it;
    struct record r;
    size_t total;

    ck_assert_int_eq(legacy_to_batch(set.p, set.len, 1 << 20, &batch), ERR_OK);
    ck_assert_int_eq(batch_peek(batch.p, batch.len, &total), BATCH_WHOLE);
    ck_assert_uint_eq(batch_codec(batch.p), codec);
    ck_assert_uint_eq(batch_crc(batch.p), batch_crc_compute(batch.p));
    ck_assert_int_eq(codec_decompress(codec, 2, batch.p + BATCH_HEADER_BYTES,
                                      batch.len - BATCH_HEADER_BYTES, 1 << 20, &records),
                     ERR_OK);
    record_iter_init(&it, batch.p, records.p, records.len);
    for (int i = 0; i < 5; i++) {
        ck_assert_int_eq(record_next(&it, &r), ERR_OK);
        ck_assert_int_eq(r.offset, i);
        ck_assert_int_eq(r.timestamp_ms, magic == 0 ? -1 : T0 + i);
        ck_assert_int_eq(r.key.len, i % 2 == 0 ? 3 : -1);
        ck_assert_int_eq(r.value.len, i == 3 ? -1 : 5);
    }
    /* cut anywhere, or with any byte changed, it is refused */
    for (size_t n = 1; n < set.len; n++) {
        uint8_t *copy = malloc(n);
        memcpy(copy, set.p, n);
        struct legacy_iter whole = {copy, copy + n};
        struct legacy_message m;
        enum err rc;
        while ((rc = legacy_next(&whole, &m)) == ERR_OK)
            continue;
        batch.len = 0;
        ck_assert_int_eq(legacy_to_batch(copy, n, 1 << 20, &batch),
                         rc == ERR_NOT_FOUND ? ERR_OK : ERR_CORRUPT);
        free(copy);
    }
    for (size_t i = 12; i < set.len && codec != CODEC_NONE; i++) {
        set.p[i] ^= 0x10;
        batch.len = 0;
        ck_assert_int_ne(legacy_to_batch(set.p, set.len, 1 << 20, &batch), ERR_OK);
        set.p[i] ^= 0x10;
    }
    buf_fini(&set);
    buf_fini(&batch);
    buf_fini(&records);
}
END_TEST

/* All batches in n bytes, a cut one at the end left out. */
static enum err down_all(const uint8_t *p, size_t n, int8_t magic, int64_t first_offset,
                         size_t out_max, struct buf *out)
{
    struct legacy_down d = {
        .magic = magic, .first_offset = first_offset, .out_max = out_max, .unfolded_max = 1 << 20};
    enum err rc = ERR_OK;
    size_t total;

    for (; rc == ERR_OK && batch_peek(p, n, &total) == BATCH_WHOLE; p += total, n -= total)
        rc = legacy_down_batch(&d, p, total, out);
    legacy_down_fini(&d);
    return rc;
}

START_TEST(batches_become_old_messages_for_old_readers)
{
    int8_t magic = (int8_t)(_i / 4);
    unsigned codec = (unsigned)_i % 4;
    struct batch_options o;
    struct batch_builder b;
    struct buf batches = {0}, old = {0}, inner = {0};
    struct batch_header h = {BYTES_LIT("h"), BYTES_LIT("x")};
    struct legacy_iter it;
    struct legacy_message m;

    batch_options_init(&o);
    o.codec = (enum codec)codec;
    o.base_offset = 100;
    batch_builder_init(&b, &o);
    for (int i = 0; i < 5; i++)
        batch_builder_add(&b, T0 + i, BYTES_LIT("key"), i == 2 ? BYTES_NULL : BYTES_LIT("value"),
                          &h, i == 1);
    ck_assert_int_eq(batch_builder_finish(&b, &batches), ERR_OK);
    batch_builder_fini(&b);
    size_t whole = batches.len;
    o.base_offset = 105;
    o.producer_id = 1;
    o.producer_epoch = 0;
    batch_build_marker(&o, true, 1, T0, &batches);
    uint8_t cut[80];
    memcpy(cut, batches.p, sizeof cut);
    buf_add(&batches, cut, sizeof cut); /* a cut batch at the end */
    ck_assert_int_eq(down_all(batches.p, batches.len, magic, 102, 1 << 20, &old), ERR_OK);
    it = (struct legacy_iter){old.p, old.p + old.len};
    int64_t shift = 0;
    int first = codec == CODEC_NONE ? 2 : 0;
    if (codec != CODEC_NONE) {
        ck_assert_int_eq(legacy_next(&it, &m), ERR_OK);
        ck_assert_int_eq(m.codec, codec);
        ck_assert_int_eq(m.offset, 104);
        ck_assert_int_eq(m.timestamp_ms, magic == 0 ? -1 : T0 + 4);
        ck_assert_int_eq(legacy_next(&it, &(struct legacy_message){0}), ERR_NOT_FOUND);
        ck_assert_int_eq(
            codec_decompress(codec, magic, m.value.p, (size_t)m.value.len, 1 << 20, &inner),
            ERR_OK);
        it = (struct legacy_iter){inner.p, inner.p + inner.len};
        shift = magic == 1 ? 100 : 0;
    }
    for (int i = first; i < 5; i++) {
        ck_assert_int_eq(legacy_next(&it, &m), ERR_OK);
        ck_assert_int_eq(m.offset + shift, 100 + i);
        ck_assert_int_eq(m.timestamp_ms, magic == 0 ? -1 : T0 + i);
        ck_assert_int_eq(m.value.len, i == 2 ? -1 : 5);
    }
    ck_assert_int_eq(legacy_next(&it, &m), ERR_NOT_FOUND);
    /* and back */
    struct buf again = {0};
    ck_assert_int_eq(legacy_to_batch(old.p, old.len, 1 << 20, &again), ERR_OK);
    ck_assert_int_eq(batch_count(again.p), 5 - first);
    buf_fini(&again);
    /* behind the end nothing is left, and what is damaged stays so */
    old.len = 0;
    ck_assert_int_eq(down_all(batches.p, batches.len, magic, 105, 1 << 20, &old), ERR_OK);
    ck_assert_uint_eq(old.len, 0);
    batches.p[whole - 1] ^= 1;
    ck_assert_int_eq(down_all(batches.p, whole, magic, 0, 1 << 20, &old), ERR_CORRUPT);
    be16_store(batches.p + BATCH_AT_ATTRIBUTES, CODEC_ZSTD);
    be32_store(batches.p + BATCH_AT_CRC, batch_crc_compute(batches.p));
    ck_assert_int_eq(down_all(batches.p, whole, magic, 0, 1 << 20, &old), ERR_UNSUPPORTED);
    ck_assert_uint_eq(old.len, 0);
    buf_fini(&batches);
    buf_fini(&old);
    buf_fini(&inner);
}
END_TEST

START_TEST(old_readers_get_whole_messages_up_to_their_limit)
{
    int8_t magic = (int8_t)(_i % 2);
    bool is_packed = _i >= 2;
    struct batch_options o;
    struct batch_builder b;
    struct buf batches = {0}, all = {0}, some = {0};
    struct legacy_message m;
    int messages = 0;

    batch_options_init(&o);
    o.codec = is_packed ? CODEC_GZIP : CODEC_NONE;
    o.log_append_time_ms = T0 + 7;
    for (o.base_offset = 0; o.base_offset < 9; o.base_offset += 3) {
        batch_builder_init(&b, &o);
        for (int i = 0; i < 3; i++)
            batch_builder_add(&b, T0, BYTES_NULL, BYTES_LIT("value"), NULL, 0);
        ck_assert_int_eq(batch_builder_finish(&b, &batches), ERR_OK);
        batch_builder_fini(&b);
    }
    ck_assert_int_eq(down_all(batches.p, batches.len, magic, 0, SIZE_MAX, &all), ERR_OK);
    for (size_t max = 0; max <= all.len; max++) {
        some.len = 0;
        enum err rc = down_all(batches.p, batches.len, magic, 0, max, &some);
        ck_assert_int_eq(rc, max == all.len ? ERR_OK : ERR_LIMIT);
        ck_assert(some.len <= max || max < all.len / (is_packed ? 3 : 9));
        ck_assert_int_eq(memcmp(some.p, all.p, some.len), 0);
        struct legacy_iter it = {some.p, some.p + some.len};
        for (messages = 0; (rc = legacy_next(&it, &m)) == ERR_OK; messages++)
            ck_assert_int_eq(m.timestamp_ms, magic == 0 ? -1 : T0 + 7);
        ck_assert_int_eq(rc, ERR_NOT_FOUND);
        ck_assert_int_ge(messages, 1);
    }
    ck_assert_int_eq(messages, is_packed ? 3 : 9);
    buf_fini(&batches);
    buf_fini(&all);
    buf_fini(&some);
}
END_TEST

START_TEST(wrappers_stand_alone_and_are_not_nested)
{
    struct buf set = old_set(1, CODEC_GZIP, 3), nested = {0}, packed = {0}, batch = {0};

    ck_assert_int_eq(codec_compress(CODEC_GZIP, 1, set.p, set.len, &packed), ERR_OK);
    add_old(&nested, 1, CODEC_GZIP, 2, NULL, packed.p, (int32_t)packed.len);
    ck_assert_int_eq(legacy_to_batch(nested.p, nested.len, 1 << 20, &batch), ERR_INVALID);
    add_old(&set, 1, 0, 3, NULL, "x", 1);
    ck_assert_int_eq(legacy_to_batch(set.p, set.len, 1 << 20, &batch), ERR_INVALID);
    /* a batch among them; a time before all times */
    struct batch_options o;
    struct batch_builder b;
    batch_options_init(&o);
    batch_builder_init(&b, &o);
    batch_builder_add(&b, -5, BYTES_NULL, BYTES_LIT("x"), NULL, 0);
    nested.len = 0;
    ck_assert_int_eq(batch_builder_finish(&b, &nested), ERR_OK);
    batch_builder_fini(&b);
    ck_assert_int_eq(legacy_to_batch(nested.p, nested.len, 1 << 20, &batch), ERR_INVALID);
    struct buf before = {0};
    ck_assert_int_eq(down_all(nested.p, nested.len, 1, 0, 1 << 20, &before), ERR_OK);
    ck_assert_int_eq(legacy_to_batch(before.p, before.len, 1 << 20, &batch), ERR_OUT_OF_RANGE);
    buf_fini(&before);
    nested.len = 0;
    add_old(&nested, 1, CODEC_ZSTD, 2, NULL, packed.p, (int32_t)packed.len);
    ck_assert_int_eq(legacy_to_batch(nested.p, nested.len, 1 << 20, &batch), ERR_INVALID);
    buf_fini(&set);
    set = old_set(1, CODEC_GZIP, 1000);
    ck_assert_int_eq(legacy_to_batch(set.p, set.len, 1000, &batch), ERR_TOO_LARGE);
    buf_fini(&set);
    buf_fini(&nested);
    buf_fini(&packed);
    buf_fini(&batch);
}
END_TEST

START_TEST(codec_names_are_kafkas)
{
    enum codec c;

    ck_assert(codec_parse(STR_LIT("zstd"), &c) && c == CODEC_ZSTD);
    ck_assert(!codec_parse(STR_LIT("producer"), &c));
    ck_assert_str_eq(codec_name(1), "gzip");
    ck_assert_str_eq(codec_name(7), "unknown");
}
END_TEST

int main(void)
{
    Suite *s = suite_create("record");
    TCase *t = tcase_create("batch");
    tcase_add_test(t, crc32c_is_that_of_the_iscsi_vectors);
    tcase_add_test(t, golden_batch_is_read);
    tcase_add_test(t, builder_makes_the_golden_batches);
    tcase_add_test(t, peek_tells_partial_from_bad_at_every_length);
    tcase_add_test(t, patches_leave_a_valid_crc);
    tcase_add_test(t, walking_over_damaged_records_ends);
    tcase_add_test(t, varints_go_both_ways);
    tcase_add_test(t, sequences_wrap_to_zero);
    suite_add_tcase(s, t);
    t = tcase_create("codecs");
    tcase_set_timeout(t, 60);
    tcase_add_loop_test(t, every_codec_gives_back_what_it_got, 0,
                        CODEC_COUNT * (int)ARRAY_LEN(sizes));
    tcase_add_loop_test(t, every_codec_refuses_a_cut_stream, CODEC_GZIP, CODEC_COUNT);
    tcase_add_loop_test(t, a_small_bomb_is_stopped_at_the_limit, CODEC_GZIP, CODEC_COUNT);
    tcase_add_test(t, snappy_without_a_frame_is_read);
    tcase_add_test(t, framings_are_those_of_java);
    tcase_add_test(t, lz4_of_magic_0_with_a_wrong_header_checksum_is_read);
    tcase_add_loop_test(t, lz4_frames_are_read_as_kafka_reads_them, 0, ARRAY_LEN(lz4_frames));
    tcase_add_loop_test(t, what_java_ignores_behind_a_stream_is_ignored, 0, 9);
    tcase_add_test(t, gzip_members_laid_end_to_end_are_read);
    tcase_add_loop_test(t, compressed_batches_are_built_and_read, CODEC_NONE, CODEC_COUNT);
    tcase_add_loop_test(t, old_message_sets_become_one_batch, 0, 8);
    tcase_add_loop_test(t, batches_become_old_messages_for_old_readers, 0, 8);
    tcase_add_loop_test(t, old_readers_get_whole_messages_up_to_their_limit, 0, 4);
    tcase_add_test(t, wrappers_stand_alone_and_are_not_nested);
    tcase_add_test(t, codec_names_are_kafkas);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? 0 : 1;
}
