/* SPDX-License-Identifier: Apache-2.0 */
/* Fuzz target: bytes as a segment file that a crash left, as a produce request's records, of a new
 * or an old version, and as batches that are converted for an old consumer. The first byte chooses
 * (bits 0-1) and says whether the CRCs are made right first (bit 2), without which no change gets
 * past them. Configured with --enable-fuzz it is a libFuzzer program;
 * otherwise it replays batches of every codec and seeded mutations of them, or the files named as
 * arguments. */
#include "broker/log/log_internal.h"
#include "common/base/fsx.h"
#include "common/base/slog.h"
#include "common/record/builder.h"
#include "common/record/compress.h"
#include "common/record/legacy.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define NOW 1700000000000

static void mend_crcs(uint8_t *p, size_t n)
{
    enum { OLD_AT_CRC = 12, OLD_AT_MAGIC = 16 };
    enum batch_peek peek;
    size_t total;

    for (; (peek = batch_peek(p, n, &total)) == BATCH_WHOLE || peek == BATCH_LEGACY;
         p += total, n -= total)
        if (peek == BATCH_WHOLE)
            be32_store(p + BATCH_AT_CRC, batch_crc_compute(p));
        else
            be32_store(p + OLD_AT_CRC,
                       (uint32_t)crc32_z(0, p + OLD_AT_MAGIC, total - OLD_AT_MAGIC));
}

/* What was accepted holds what the log relies on. */
static void check_accepted(const struct log_policy *policy, const struct log_batch *b)
{
    struct buf plain = {0};
    struct record_iter it;
    struct record r;
    size_t total;
    enum err rc;

    MUST(batch_peek(b->records, b->len, &total) == BATCH_WHOLE && total == b->len);
    ASSERT(batch_crc(b->records) == batch_crc_compute(b->records));
    ASSERT(batch_count(b->records) == b->record_count && b->record_count > 0);
    ASSERT(batch_last_offset_delta(b->records) == b->record_count - 1);
    ASSERT(policy->compression_type < 0 || b->is_control ||
           batch_codec(b->records) == (unsigned)policy->compression_type);
    MUST(codec_decompress(batch_codec(b->records), 2, b->records + BATCH_HEADER_BYTES,
                          b->len - BATCH_HEADER_BYTES, SIZE_MAX, &plain) == ERR_OK);
    record_iter_init(&it, b->records, plain.p, plain.len);
    for (int32_t i = 0; (rc = record_next(&it, &r)) == ERR_OK; i++) {
        ASSERT(r.offset_delta == i);
        ASSERT(r.timestamp_ms <= b->max_timestamp_ms);
        ASSERT(r.key.len >= 0 || !policy->is_compact);
    }
    ASSERT(rc == ERR_NOT_FOUND);
    buf_fini(&plain);
}

static void fuzz_validate(uint8_t *p, size_t n, unsigned variant, int16_t version)
{
    struct log_policy policy = {.timestamp_before_max_ms = INT64_MAX,
                                .timestamp_after_max_ms = INT64_MAX,
                                .max_message_bytes = 1 << 20,
                                .compression_type = (int8_t)((int)(variant % 6) - 1),
                                .is_compact = (variant & 1) != 0,
                                .is_log_append_time = (variant & 2) != 0};
    struct log_append_result res;
    struct log_batch b;

    int16_t code = log_validate(&policy, p, n, LOG_FROM_CLIENT, version, NOW, &b, &res);
    if (code == KE_NONE) {
        check_accepted(&policy, &b);
        log_batch_fini(&b);
    } else {
        ASSERT(b.owned == NULL);
        ASSERT(res.error_message != NULL);
        log_append_result_fini(&res);
    }
}

/* ---- conversion for old consumers */

/* What came out is messages of the format, in rising order, and only the first is over the limit.
 */
static void check_messages(const struct legacy_down *d, const struct buf *out)
{
    struct legacy_iter it = {out->p, out->p + out->len};
    struct legacy_message m;
    enum err rc;
    int count = 0;

    for (; (rc = legacy_next(&it, &m)) == ERR_OK; count++)
        ASSERT(m.magic == d->magic);
    ASSERT(rc == ERR_NOT_FOUND);
    ASSERT(out->len <= d->out_max || count == 1);
}

static void fuzz_down(const uint8_t *p, size_t n, unsigned variant)
{
    static const size_t limits[] = {0, 100, 1000, SIZE_MAX};
    struct legacy_down d = {.magic = (int8_t)(variant & 1),
                            .first_offset = (variant & 2) != 0 ? 4 : 0,
                            .out_max = limits[variant >> 2 & 3],
                            .unfolded_max = 1 << 20};
    struct buf out = {0};
    enum err rc = ERR_OK;
    size_t total;

    for (; rc == ERR_OK && batch_peek(p, n, &total) == BATCH_WHOLE; p += total, n -= total) {
        size_t before = out.len;
        rc = legacy_down_batch(&d, p, total, &out);
        ASSERT(rc == ERR_OK || rc == ERR_LIMIT || out.len == before);
        check_messages(&d, &out);
    }
    legacy_down_fini(&d);
    buf_fini(&out);
}

/* ---- recovery */
static char *folder;
static struct log_dir dir;

static struct log *open_log(bool was_clean)
{
    struct log_config config;
    struct errtext why;
    struct log *l;

    log_config_defaults(&config);
    config.index_interval_bytes = 100;
    struct log_open_args a = {.dir = &dir,
                              .topic = STR_LIT("t"),
                              .partition = 0,
                              .config = &config,
                              .was_clean = was_clean};
    return log_open(&a, &l, &why) == ERR_OK ? l : NULL;
}

static void walk(struct log *l)
{
    struct log_time_offset t;
    struct log_range r;

    for (int64_t o = log_start_offset(l), i = 0; o < log_end_offset(l) && i < 100; i++, o++) {
        MUST(log_read(l, o, INT64_MAX, 1, LOG_READ_AT_LEAST_ONE, &r) == ERR_OK);
        ASSERT(r.position >= 0 && r.position + r.length <= r.segment->size);
        log_range_release(&r);
    }
    (void)!log_offset_for_time(l, NOW, &t); /* may be CORRUPT: the records are not checked inside */
}

/* Is a message of an old format behind whole batches? Such a file is refused, not cut. */
static bool holds_old_message(const uint8_t *p, size_t n)
{
    enum batch_peek peek;
    size_t total;

    while ((peek = batch_peek(p, n, &total)) == BATCH_WHOLE) {
        p += total;
        n -= total;
    }
    return peek == BATCH_LEGACY && legacy_crc_is_right(p, total);
}

static void fuzz_recovery(const uint8_t *p, size_t n, bool was_clean)
{
    char path[4200];
    int fd;

    if (folder == NULL) {
        folder = xstrdup("/tmp/fuzz_records-XXXXXX");
        MUST(mkdtemp(folder) != NULL);
        dir = (struct log_dir){.path = folder, .lock_fd = -1};
        slog_min_level = SLOG_ERROR + 1;
    }
    (void)snprintf(path, sizeof path, "%s/t-0", folder);
    MUST(fsx_remove_tree(path) == ERR_OK);
    MUST(fsx_mkdir_p(path, 0755) == ERR_OK);
    (void)snprintf(path, sizeof path, "%s/t-0/%020d.log", folder, 0);
    MUST(fsx_open(path, O_CREAT | O_RDWR, 0644, &fd) == ERR_OK);
    MUST(fsx_pwrite_all(fd, p, n, 0) == ERR_OK);
    (void)close(fd);
    struct log *l = open_log(was_clean);
    if (l == NULL && holds_old_message(p, n))
        return;
    ASSERT(l != NULL); /* a damaged file is cut, never a reason to fail */
    int64_t end = log_end_offset(l), size = log_size(l);
    log_check(l);
    walk(l);
    MUST(log_prepare_close(l) == ERR_OK);
    log_free(&l);
    l = open_log(true);
    ASSERT(l != NULL && log_end_offset(l) == end && log_size(l) == size);
    log_free(&l);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    uint8_t *p = xmalloc(size - 1);
    memcpy(p, data + 1, size - 1);
    if ((data[0] & 4) != 0)
        mend_crcs(p, size - 1);
    enum { RECOVERY, NEW_PRODUCE, OLD_PRODUCE };
    switch (data[0] & 3) {
    case RECOVERY:
        fuzz_recovery(p, size - 1, (data[0] & 8) != 0);
        break;
    case NEW_PRODUCE:
        fuzz_validate(p, size - 1, data[0] >> 3, 9);
        break;
    case OLD_PRODUCE:
        fuzz_validate(p, size - 1, data[0] >> 3, (int16_t)(data[0] >> 3) % 3);
        break;
    default:
        fuzz_down(p, size - 1, data[0] >> 3);
    }
    mem_free(p);
    return 0;
}

#ifndef FUZZ_LIBFUZZER
#include "tests/fuzz/replay.h"

enum { MUTATIONS = 20000 };

static void add_batches(struct replay *r, enum codec codec, uint8_t mode, int batches)
{
    struct batch_options o;
    struct batch_builder b;
    struct buf out = {0};
    struct batch_header h = {{(const uint8_t *)"h", 1}, BYTES_NULL};

    buf_add(&out, &mode, 1);
    batch_options_init(&o);
    o.codec = codec;
    for (int k = 0; k < batches; k++) {
        o.producer_id = k % 2 == 0 ? 7 : -1;
        o.producer_epoch = k % 2 == 0 ? 1 : -1;
        o.base_sequence = k % 2 == 0 ? k * 3 : -1;
        o.is_transactional = k % 2 == 0;
        o.leader_epoch = k / 2;
        batch_builder_init(&b, &o);
        for (int i = 0; i < 3; i++)
            batch_builder_add(&b, NOW + i, (struct bytes){(const uint8_t *)"key", 3},
                              (struct bytes){(const uint8_t *)"some value, some value", 22}, &h,
                              i == 1);
        MUST(batch_builder_finish(&b, &out) == ERR_OK);
        batch_builder_fini(&b);
        o.base_offset += 3;
    }
    if (batches > 1) {
        o.producer_id = 7;
        o.producer_epoch = 1;
        batch_build_marker(&o, false, 3, NOW, &out);
    }
    replay_add(r, out.p, out.len);
    buf_fini(&out);
}

/* What an old producer would send: batches converted to its format. */
static void add_old_set(struct replay *r, enum codec codec, int8_t magic, uint8_t mode)
{
    struct replay one = {0};
    struct legacy_down d = {.magic = magic, .out_max = SIZE_MAX, .unfolded_max = 1 << 20};
    struct buf out = {0};

    add_batches(&one, codec, 0, 1);
    buf_add(&out, &mode, 1);
    MUST(legacy_down_batch(&d, one.inputs[0].p + 1, (size_t)one.inputs[0].len - 1, &out) == ERR_OK);
    replay_add(r, out.p, out.len);
    replay_fini(&one);
    legacy_down_fini(&d);
    buf_fini(&out);
}

int main(int argc, char **argv)
{
    struct replay r = {0};
    bool ok = true;

    for (int i = 1; i < argc; i++)
        ok = replay_add_file(&r, argv[i]) && ok;
    if (argc == 1)
        for (unsigned c = 0; c < CODEC_COUNT; c++) {
            /* validation under each policy, CRCs mended; recovery after a crash and a clean stop */
            for (uint8_t variant = 0; variant < 12; variant++)
                add_batches(&r, (enum codec)c, (uint8_t)(variant << 3 | 4 | 1), 1);
            add_batches(&r, (enum codec)c, 0, 4);
            add_batches(&r, (enum codec)c, 4, 4);
            add_batches(&r, (enum codec)c, 12, 4);
            for (uint8_t variant = 0; variant < 32; variant += 5)
                add_batches(&r, (enum codec)c, (uint8_t)(variant << 3 | 4 | 3), 4);
            for (uint8_t variant = 0; variant < 12 && c != CODEC_ZSTD; variant++)
                add_old_set(&r, (enum codec)c, (int8_t)(variant & 1),
                            (uint8_t)(variant << 3 | 4 | 2));
        }
    int status = replay_run(&r, 1, argc == 1 ? MUTATIONS : 0);
    if (folder != NULL)
        MUST(fsx_remove_tree(folder) == ERR_OK);
    mem_free(folder);
    return ok ? status : 1;
}
#endif
