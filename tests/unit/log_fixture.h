/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of broker/log share: a log dir in a temporary folder, and batches to put there. */
#ifndef TESTS_UNIT_LOG_FIXTURE_H
#define TESTS_UNIT_LOG_FIXTURE_H

#include "broker/log/log_internal.h"
#include "common/base/clock.h"
#include "common/base/fsx.h"
#include "common/record/builder.h"
#include "common/record/compress.h"

#include <check.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define T0 1700000000000

static char fix_path[256];
static struct log_dir fix_dir;
static struct log_config fix_config;
static struct log *fix_log;
static struct errtext fix_why;
static int64_t fix_hw, fix_recovery_point, fix_start;

static inline void fix_setup(void)
{
    const char *tmp = getenv("TMPDIR");
    snprintf(fix_path, sizeof fix_path, "%s/kafuka-test-log-XXXXXX", tmp == NULL ? "/tmp" : tmp);
    ck_assert_ptr_nonnull(mkdtemp(fix_path));
    fix_dir = (struct log_dir){.path = fix_path, .lock_fd = -1};
    log_config_defaults(&fix_config);
    fix_hw = fix_recovery_point = fix_start = 0;
    fix_log = NULL;
}

static inline void fix_teardown(void)
{
    if (fix_log != NULL)
        log_free(&fix_log);
    ck_assert_int_eq(fsx_remove_tree(fix_path), ERR_OK);
    unsetenv("KAFUKA_FAULT");
    fault_init();
}

static inline enum err fix_try_open(bool was_clean)
{
    struct log_open_args a = {.dir = &fix_dir,
                              .topic = STR_LIT("t"),
                              .partition = 0,
                              .config = &fix_config,
                              .high_watermark = fix_hw,
                              .recovery_point = fix_recovery_point,
                              .start_offset = fix_start,
                              .was_clean = was_clean,
                              .create = true};
    return log_open(&a, &fix_log, &fix_why);
}

static inline void fix_open(bool was_clean)
{
    ck_assert_msg(fix_try_open(was_clean) == ERR_OK, "%s", fix_why.text);
}

/* Ends the log as a clean stop, or as a crash would leave it, and opens it again. */
static inline void fix_reopen(bool clean)
{
    fix_hw = fix_log->high_watermark;
    fix_start = fix_log->start_offset;
    if (clean) {
        ck_assert_int_eq(log_prepare_close(fix_log), ERR_OK);
        log_free(&fix_log);
    } else {
        fix_recovery_point = fix_log->recovery_point;
        log_free(&fix_log);
    }
    fix_open(clean);
}

static inline struct buf fix_batch_of(const struct batch_options *o, int count, int value_bytes,
                                      int64_t timestamp_ms)
{
    struct batch_builder b;
    struct buf out = {0};
    uint8_t *value = malloc((size_t)value_bytes + 1);

    memset(value, 'v', (size_t)value_bytes);
    batch_builder_init(&b, o);
    for (int i = 0; i < count; i++)
        batch_builder_add(&b, timestamp_ms + i, (struct bytes){(const uint8_t *)"key", 3},
                          (struct bytes){value, value_bytes}, NULL, 0);
    ck_assert_int_eq(batch_builder_finish(&b, &out), ERR_OK);
    batch_builder_fini(&b);
    free(value);
    return out;
}

static inline struct buf fix_batch(int count, int value_bytes, int64_t timestamp_ms)
{
    struct batch_options o;
    batch_options_init(&o);
    return fix_batch_of(&o, count, value_bytes, timestamp_ms);
}

static inline int16_t fix_append_buf(struct buf *b, int32_t epoch, struct log_append_result *res)
{
    int16_t code = log_append_leader(fix_log, b->p, b->len, epoch, LOG_FROM_CLIENT, 9, T0, res);
    buf_fini(b);
    return code;
}

/* Appends a batch of count records of 100 bytes; the base offset it got. */
static inline int64_t fix_append_at(int count, int64_t timestamp_ms, int32_t epoch)
{
    struct log_append_result res;
    struct buf b = fix_batch(count, 100, timestamp_ms);
    int16_t code = fix_append_buf(&b, epoch, &res);
    ck_assert_msg(code == KE_NONE, "%s: %s", kerr_name(code), res.error_message);
    return res.base_offset;
}

static inline int64_t fix_append(int count)
{
    return fix_append_at(count, T0, 0);
}

/* The bytes of a range. */
static inline struct buf fix_bytes(struct log_range *r)
{
    struct buf b = {0};
    size_t got;
    if (r->length > 0) {
        int fd = log_range_fd(r);
        ck_assert_int_ge(fd, 0);
        buf_reserve(&b, (size_t)r->length);
        ck_assert_int_eq(fsx_pread(fd, b.p, (size_t)r->length, r->position, &got), ERR_OK);
        b.len = got;
        ck_assert_uint_eq(got, (size_t)r->length);
    }
    return b;
}

/* Reads from offset to the end of the log, batch by batch, checking that offsets go on; the number
 * of records. */
static inline int64_t fix_count_from(int64_t offset)
{
    int64_t n = 0, next = offset;
    while (next < log_end_offset(fix_log)) {
        struct log_range r;
        size_t total;
        ck_assert_int_eq(
            log_read(fix_log, next, log_end_offset(fix_log), 100000, LOG_READ_AT_LEAST_ONE, &r),
            ERR_OK);
        ck_assert_int_gt(r.length, 0);
        struct buf b = fix_bytes(&r);
        for (size_t at = 0; at < b.len; at += total) {
            if (batch_peek(b.p + at, b.len - at, &total) != BATCH_WHOLE)
                break;
            ck_assert_uint_eq(batch_crc(b.p + at), batch_crc_compute(b.p + at));
            ck_assert_int_ge(batch_last_offset(b.p + at), next);
            if (batch_base_offset(b.p + at) > next)
                ck_assert_int_eq(n, 0); /* only before the first */
            n += batch_count(b.p + at);
            next = batch_last_offset(b.p + at) + 1;
        }
        buf_fini(&b);
        log_range_release(&r);
    }
    return n;
}

static inline char *fix_file(const char *name)
{
    static char path[512];
    snprintf(path, sizeof path, "%s/t-0/%s", fix_path, name);
    return path;
}

static inline int64_t fix_file_size(const char *name)
{
    struct stat st;
    return stat(fix_file(name), &st) == 0 ? (int64_t)st.st_size : -1;
}

/* What Kafka's DumpLogSegments --verify-index-only would check. */
static inline void fix_check_indexes(void)
{
    for (int32_t i = 0; i < fix_log->segment_count; i++) {
        struct log_segment *s = fix_log->segments[i];
        struct buf b = {0};
        struct batch_at at;
        char path[SEGMENT_PATH_MAX];
        int64_t last = -1;
        segment_path(s, ".index", path);
        if (fsx_read_file(path, 1 << 24, &b) == ERR_OK)
            for (size_t k = 0; k < b.len; k += INDEX_OFFSET_ENTRY) {
                int64_t offset = s->base_offset + be32_load(b.p + k);
                ck_assert_int_eq(segment_header_at(s, be32_load(b.p + k + 4), s->size, &at),
                                 ERR_OK);
                ck_assert_int_eq(at.last_offset, offset);
                ck_assert_int_gt(offset, last);
                last = offset;
            }
        segment_path(s, ".timeindex", path);
        last = -1;
        if (fsx_read_file(path, 1 << 24, &b) == ERR_OK)
            for (size_t k = 0; k < b.len; k += INDEX_TIME_ENTRY) {
                int64_t offset = s->base_offset + be32_load(b.p + k + 8);
                ck_assert_int_eq(segment_find_from(s, 0, s->size, offset, &at), ERR_OK);
                ck_assert_int_eq(at.last_offset, offset);
                ck_assert_int_eq(at.max_timestamp_ms, (int64_t)be64_load(b.p + k));
                ck_assert_int_gt(at.max_timestamp_ms, last);
                last = at.max_timestamp_ms;
            }
        buf_fini(&b);
    }
}

static inline void fix_fault(const char *spec)
{
    setenv("KAFUKA_FAULT", spec, 1);
    fault_init();
}

#endif
