/* SPDX-License-Identifier: Apache-2.0 */
/* A log by itself: appending, reading, truncation, recovery, retention, faults. */
#include "log_fixture.h"

#include <zlib.h>

/* ---- appending and reading */
START_TEST(offsets_go_on_from_batch_to_batch)
{
    fix_open(true);
    ck_assert_int_eq(fix_append(3), 0);
    ck_assert_int_eq(fix_append(1), 3);
    ck_assert_int_eq(fix_append(2), 4);
    ck_assert_int_eq(log_end_offset(fix_log), 6);
    ck_assert_int_eq(fix_count_from(0), 6);
    ck_assert_int_eq(fix_count_from(4), 2);
}
END_TEST

START_TEST(every_offset_is_found_again)
{
    fix_config.segment_bytes = 20000;
    fix_config.index_interval_bytes = 500;
    fix_open(true);
    for (int i = 0; i < 300; i++)
        fix_append_at(1 + i % 4, T0 + i, 0);
    ck_assert_int_gt(fix_log->segment_count, 3);
    for (int pass = 0; pass < 2; pass++) {
        for (int64_t o = 0; o < log_end_offset(fix_log); o++) {
            struct log_range r;
            size_t total;
            ck_assert_int_eq(log_read(fix_log, o, INT64_MAX, 1, LOG_READ_AT_LEAST_ONE, &r), ERR_OK);
            struct buf b = fix_bytes(&r);
            ck_assert_int_eq(batch_peek(b.p, b.len, &total), BATCH_WHOLE);
            ck_assert_uint_eq(total, b.len);
            ck_assert_int_le(batch_base_offset(b.p), o);
            ck_assert_int_ge(batch_last_offset(b.p), o);
            buf_fini(&b);
            log_range_release(&r);
        }
        fix_reopen(true); /* the second time without the ring of recent batches */
    }
}
END_TEST

START_TEST(reads_end_at_the_limit_offset)
{
    fix_open(true);
    for (int i = 0; i < 200; i++)
        fix_append(1);
    for (int64_t limit = 0; limit <= 200; limit++) {
        struct log_range r;
        int64_t last = -1;
        size_t total;
        ck_assert_int_eq(log_read(fix_log, 0, limit, INT64_MAX, 0, &r), ERR_OK);
        struct buf b = fix_bytes(&r);
        for (size_t at = 0; at < b.len; at += total) {
            ck_assert_int_eq(batch_peek(b.p + at, b.len - at, &total), BATCH_WHOLE);
            last = batch_last_offset(b.p + at);
        }
        ck_assert_int_eq(last, limit - 1);
        buf_fini(&b);
        log_range_release(&r);
    }
}
END_TEST

START_TEST(reads_outside_are_refused)
{
    struct log_range r;

    fix_open(true);
    fix_append(5);
    log_set_high_watermark(fix_log, 5);
    ck_assert_int_eq(log_set_start_offset(fix_log, 3), ERR_OK);
    ck_assert_int_eq(log_read(fix_log, 2, 5, 100, 0, &r), ERR_OUT_OF_RANGE);
    ck_assert_int_eq(log_read(fix_log, 6, 5, 100, 0, &r), ERR_OUT_OF_RANGE);
    ck_assert_int_eq(log_read(fix_log, 5, 5, 100, 0, &r), ERR_OK);
    ck_assert_int_eq(r.length, 0);
    ck_assert_int_eq(log_set_start_offset(fix_log, 6), ERR_OUT_OF_RANGE);
}
END_TEST

START_TEST(a_range_outlives_its_segment)
{
    struct log_range r;

    fix_config.segment_bytes = 2000;
    fix_config.file_delete_delay_ms = 0;
    fix_open(true);
    for (int i = 0; i < 100; i++)
        fix_append(1);
    ck_assert_int_eq(log_read(fix_log, 0, 100, 1000, 0, &r), ERR_OK);
    log_set_high_watermark(fix_log, 100);
    ck_assert_int_eq(log_set_start_offset(fix_log, 100), ERR_OK);
    ck_assert_int_eq(log_flush(fix_log), ERR_OK);
    ck_assert_int_gt(log_delete_old(fix_log, T0), 0);
    int64_t bases[1];
    ck_assert_int_eq(log_take_deleted(fix_log, clock_wall_ms(), false, bases, 1), 1);
    segment_unlink_deleted(fix_log->folder->path, bases[0]);
    log_unlink_deleted(fix_log);
    ck_assert_int_lt(fix_file_size("00000000000000000000.log"), 0);
    struct buf b = fix_bytes(&r);
    ck_assert_int_eq(batch_base_offset(b.p), 0);
    ck_assert_uint_eq(batch_crc(b.p), batch_crc_compute(b.p));
    buf_fini(&b);
    log_range_release(&r);
}
END_TEST

START_TEST(a_follower_appends_what_the_leader_has)
{
    struct log_range r;

    fix_open(true);
    for (int i = 0; i < 50; i++)
        fix_append_at(2, T0 + i, i / 10);
    ck_assert_int_eq(log_read(fix_log, 0, 100, INT64_MAX, 0, &r), ERR_OK);
    struct buf b = fix_bytes(&r);
    log_range_release(&r);
    ck_assert_int_eq(log_truncate_to(fix_log, 0, &fix_why), ERR_OK);
    ck_assert_int_eq(log_end_offset(fix_log), 0);
    /* cut anywhere: whole batches are taken, the rest comes with the next fetch */
    size_t at = 0;
    for (size_t take = 1; at < b.len; take = take * 2 + 7) {
        size_t n = size_min(take, b.len - at), whole = 0, total;
        while (batch_peek(b.p + at + whole, n - whole, &total) == BATCH_WHOLE)
            whole += total;
        ck_assert_int_eq(log_append_follower(fix_log, b.p + at, n, T0, &fix_why), ERR_OK);
        at += whole;
    }
    ck_assert_int_eq(log_end_offset(fix_log), 100);
    ck_assert_int_eq(log_epoch_latest(fix_log), 4);
    ck_assert_int_eq(log_epoch_of(fix_log, 45), 2);
    ck_assert_int_eq(fix_count_from(0), 100);
    /* the same again begins below the end */
    ck_assert_int_eq(log_append_follower(fix_log, b.p, b.len, T0, &fix_why), ERR_OUT_OF_RANGE);
    buf_fini(&b);
}
END_TEST

START_TEST(a_follower_refuses_damaged_bytes)
{
    struct log_range r;

    fix_open(true);
    fix_append(3);
    ck_assert_int_eq(log_read(fix_log, 0, 3, INT64_MAX, 0, &r), ERR_OK);
    struct buf b = fix_bytes(&r);
    log_range_release(&r);
    ck_assert_int_eq(log_truncate_to(fix_log, 0, &fix_why), ERR_OK);
    for (size_t i = BATCH_AT_MAGIC; i < b.len; i++) {
        b.p[i] ^= 0x40;
        ck_assert_int_eq(log_append_follower(fix_log, b.p, b.len, T0, &fix_why), ERR_CORRUPT);
        ck_assert_int_eq(log_end_offset(fix_log), 0);
        b.p[i] ^= 0x40;
    }
    buf_fini(&b);
}
END_TEST

START_TEST(segments_roll_by_bytes_and_time)
{
    fix_config.segment_ms = 1000;
    fix_open(true);
    fix_append_at(1, T0, 0);
    fix_append_at(1, T0 + 1000, 0);
    ck_assert_int_eq(fix_log->segment_count, 1);
    fix_append_at(1, T0 + 1001, 0);
    ck_assert_int_eq(fix_log->segment_count, 2);
    fix_config.segment_bytes = 400;
    log_set_config(fix_log, &fix_config);
    fix_append_at(1, T0 + 1002, 0);
    fix_append_at(1, T0 + 1002, 0);
    ck_assert_int_eq(fix_log->segment_count, 3);
    struct buf b = fix_batch(10, 100, T0);
    struct log_append_result res;
    ck_assert_int_eq(fix_append_buf(&b, 0, &res), KE_RECORD_LIST_TOO_LARGE);
    ck_assert_int_eq(fix_count_from(0), 5);
}
END_TEST

/* So that a log whose records replace each other is compacted long before segment.bytes, and one
 * that has large compacted segments is not compacted all the time. */
START_TEST(a_compacted_log_rolls_early_when_the_active_segment_outweighs_the_rest)
{
    fix_config.is_compact = true;
    fix_config.early_roll_bytes = 500;
    fix_open(true);
    for (int i = 0; i < 100; i++)
        fix_append(1);
    ck_assert_int_ge(fix_log->segment_count, 3);
    for (int32_t i = 0; i + 1 < fix_log->segment_count; i++) {
        int64_t before = 0;
        for (int32_t k = 0; k < i; k++)
            before += fix_log->segments[k]->size;
        int64_t limit = i64_max(before, fix_config.early_roll_bytes);
        ck_assert_int_ge(fix_log->segments[i]->size, limit);
        ck_assert_int_lt(fix_log->segments[i]->size, limit + 200);
    }
    fix_config.is_compact = false;
    log_set_config(fix_log, &fix_config);
    int32_t count = fix_log->segment_count;
    for (int i = 0; i < 100; i++)
        fix_append(1);
    ck_assert_int_eq(fix_log->segment_count, count);
}
END_TEST

/* ---- validation */
struct bad_batch {
    const char *what;
    int at, size;
    int64_t value;
    int16_t want;
};
static const struct bad_batch bad_batches[] = {
    {"base offset", BATCH_AT_BASE_OFFSET, 8, 1, KE_INVALID_RECORD},
    {"no records", BATCH_AT_COUNT, 4, 0, KE_INVALID_RECORD},
    {"negative count", BATCH_AT_COUNT, 4, -1, KE_INVALID_RECORD},
    {"count above the records", BATCH_AT_COUNT, 4, 4, KE_INVALID_RECORD},
    {"offset delta", BATCH_AT_LAST_OFFSET_DELTA, 4, 5, KE_INVALID_RECORD},
    {"control", BATCH_AT_ATTRIBUTES, 2, BATCH_CONTROL, KE_INVALID_RECORD},
    {"transactional without producer", BATCH_AT_ATTRIBUTES, 2, BATCH_TRANSACTIONAL,
     KE_INVALID_RECORD},
    {"unknown codec", BATCH_AT_ATTRIBUTES, 2, 5, KE_UNSUPPORTED_COMPRESSION_TYPE},
    {"not gzip", BATCH_AT_ATTRIBUTES, 2, CODEC_GZIP, KE_INVALID_RECORD},
    {"not zstd", BATCH_AT_ATTRIBUTES, 2, CODEC_ZSTD, KE_INVALID_RECORD},
    {"producer without sequence", BATCH_AT_PRODUCER_ID, 8, 7, KE_INVALID_RECORD},
    {"magic 1", BATCH_AT_MAGIC, 1, 1, KE_INVALID_RECORD},
    {"magic 9", BATCH_AT_MAGIC, 1, 9, KE_CORRUPT_MESSAGE},
    {"negative base offset", BATCH_AT_BASE_OFFSET, 8, -1, KE_INVALID_RECORD},
    {"length", BATCH_AT_LENGTH, 4, 49, KE_CORRUPT_MESSAGE},
};

START_TEST(bad_batches_are_refused)
{
    const struct bad_batch *bad = &bad_batches[_i];
    struct buf b = fix_batch(3, 10, T0);
    struct log_append_result res;

    for (int i = 0; i < bad->size; i++)
        b.p[bad->at + i] = (uint8_t)(bad->value >> 8 * (bad->size - 1 - i));
    size_t total = (size_t)be32_load(b.p + BATCH_AT_LENGTH) + BATCH_OVERHEAD_BYTES;
    if (total <= b.len)
        be32_store(b.p + BATCH_AT_CRC,
                   crc32c(0, b.p + BATCH_AT_ATTRIBUTES, total - BATCH_AT_ATTRIBUTES));
    fix_open(true);
    int16_t code = fix_append_buf(&b, 0, &res);
    ck_assert_msg(code == bad->want, "%s: %s", bad->what, kerr_name(code));
    ck_assert_int_eq(log_end_offset(fix_log), 0);
}
END_TEST

START_TEST(a_wrong_crc_is_corrupt_and_a_cut_batch_is_none)
{
    struct buf b = fix_batch(3, 10, T0);
    struct log_append_result res;

    fix_open(true);
    for (size_t n = 0; n < b.len; n++) {
        uint8_t *copy = malloc(n + 1);
        memcpy(copy, b.p, n);
        int16_t code = log_append_leader(fix_log, copy, n, 0, LOG_FROM_CLIENT, 9, T0, &res);
        ck_assert_int_eq(code, KE_INVALID_RECORD);
        free(copy);
    }
    b.p[b.len - 1] ^= 1;
    ck_assert_int_eq(fix_append_buf(&b, 0, &res), KE_CORRUPT_MESSAGE);
}
END_TEST

START_TEST(compressed_batches_are_checked_inside)
{
    struct batch_options o;
    struct log_append_result res;

    fix_open(true);
    batch_options_init(&o);
    o.codec = (enum codec)_i;
    struct buf b = fix_batch_of(&o, 10, 50, T0);
    ck_assert_int_eq(fix_append_buf(&b, 0, &res), KE_NONE);
    b = fix_batch_of(&o, 10, 50, T0);
    be32_store(b.p + BATCH_AT_COUNT, 11); /* one more than there are */
    be32_store(b.p + BATCH_AT_LAST_OFFSET_DELTA, 10);
    be32_store(b.p + BATCH_AT_CRC, batch_crc_compute(b.p));
    ck_assert_int_eq(fix_append_buf(&b, 0, &res), KE_INVALID_RECORD);
    b = fix_batch_of(&o, 10, 50, T0);
    be32_store(b.p + BATCH_AT_COUNT, 9);
    be32_store(b.p + BATCH_AT_LAST_OFFSET_DELTA, 8);
    be32_store(b.p + BATCH_AT_CRC, batch_crc_compute(b.p));
    ck_assert_int_eq(fix_append_buf(&b, 0, &res), KE_INVALID_RECORD);
    ck_assert_int_eq(log_end_offset(fix_log), 10);
}
END_TEST

START_TEST(a_topic_codec_makes_the_broker_recompress)
{
    struct batch_options o;
    struct log_append_result res;
    struct log_range r;

    fix_config.compression_type = CODEC_ZSTD;
    fix_open(true);
    batch_options_init(&o);
    o.codec = (enum codec)_i;
    o.producer_id = 9;
    o.producer_epoch = 1;
    o.base_sequence = 0;
    struct buf b = fix_batch_of(&o, 20, 50, T0);
    ck_assert_int_eq(fix_append_buf(&b, 3, &res), KE_NONE);
    ck_assert_int_eq(log_read(fix_log, 0, 20, INT64_MAX, 0, &r), ERR_OK);
    b = fix_bytes(&r);
    log_range_release(&r);
    ck_assert_int_eq(batch_codec(b.p), CODEC_ZSTD);
    ck_assert_int_eq(batch_count(b.p), 20);
    ck_assert_int_eq(batch_producer_id(b.p), 9);
    ck_assert_int_eq(batch_leader_epoch(b.p), 3);
    ck_assert_uint_eq(batch_crc(b.p), batch_crc_compute(b.p));
    buf_fini(&b);
}
END_TEST

START_TEST(timestamps_follow_the_topic)
{
    struct log_append_result res;
    struct log_range r;
    struct buf b = fix_batch(3, 10, T0 - 5000);

    fix_open(true);
    fix_config.timestamp_before_max_ms = 1000;
    log_set_config(fix_log, &fix_config);
    ck_assert_int_eq(fix_append_buf(&b, 0, &res), KE_INVALID_TIMESTAMP);
    ck_assert_int_eq(res.record_error_index, 0);
    log_append_result_fini(&res);
    fix_config.is_log_append_time = true;
    log_set_config(fix_log, &fix_config);
    b = fix_batch(3, 10, T0 - 5000);
    ck_assert_int_eq(fix_append_buf(&b, 0, &res), KE_NONE);
    ck_assert_int_eq(res.log_append_time_ms, T0);
    ck_assert_int_eq(log_read(fix_log, 0, 3, INT64_MAX, 0, &r), ERR_OK);
    b = fix_bytes(&r);
    log_range_release(&r);
    ck_assert_int_eq(batch_max_timestamp(b.p), T0);
    ck_assert_int_eq(batch_attributes(b.p), BATCH_LOG_APPEND_TIME);
    ck_assert_uint_eq(batch_crc(b.p), batch_crc_compute(b.p));
    buf_fini(&b);
}
END_TEST

/* A batch of count records of which each third one has a key. */
static struct buf batch_with_few_keys(enum codec codec, int32_t count)
{
    struct batch_options o;
    struct batch_builder builder;
    struct buf b = {0};

    batch_options_init(&o);
    o.codec = codec;
    batch_builder_init(&builder, &o);
    for (int32_t i = 0; i < count; i++)
        batch_builder_add(&builder, T0 + i,
                          i % 3 == 0 ? (struct bytes){(const uint8_t *)"k", 1} : BYTES_NULL,
                          (struct bytes){(const uint8_t *)"v", 1}, NULL, 0);
    ck_assert_int_eq(batch_builder_finish(&builder, &b), ERR_OK);
    batch_builder_fini(&builder);
    return b;
}

START_TEST(every_record_without_a_key_is_named_in_a_compacted_topic)
{
    struct log_append_result res;
    struct buf b = batch_with_few_keys((enum codec)_i, 100);

    fix_config.is_compact = true;
    fix_open(true);
    ck_assert_int_eq(fix_append_buf(&b, 0, &res), KE_INVALID_RECORD);
    ck_assert_int_eq(res.record_error_index, 1);
    ck_assert_int_eq(res.record_errors->total, 66);
    ck_assert_int_eq(res.record_errors->count, 66);
    for (int32_t i = 0; i < 66; i++) {
        ck_assert_int_eq(res.record_errors->list[i].index, i / 2 * 3 + 1 + i % 2);
        ck_assert_ptr_nonnull(strstr(log_record_error_text(res.record_errors, i), "without a key"));
    }
    ck_assert_ptr_nonnull(strstr(res.error_message, "66 of 100 records were refused"));
    ck_assert_int_eq(log_end_offset(fix_log), 0);
    log_append_result_fini(&res);
    ck_assert_ptr_null(res.record_errors);
    log_append_result_fini(&res);
}
END_TEST

START_TEST(refused_records_are_named_up_to_a_bound)
{
    enum { COUNT = 4 * LOG_RECORD_ERRORS_MAX };
    struct log_append_result res;
    struct buf b = batch_with_few_keys((enum codec)_i, COUNT);

    fix_config.is_compact = true;
    fix_open(true);
    ck_assert_int_eq(fix_append_buf(&b, 0, &res), KE_INVALID_RECORD);
    ck_assert_int_eq(res.record_errors->count, LOG_RECORD_ERRORS_MAX);
    ck_assert_int_eq(res.record_errors->total, COUNT - (COUNT + 2) / 3);
    ck_assert_int_eq(res.record_errors->list[LOG_RECORD_ERRORS_MAX - 1].index,
                     (LOG_RECORD_ERRORS_MAX - 1) / 2 * 3 + 2);
    log_append_result_fini(&res);
}
END_TEST

START_TEST(records_refused_for_their_key_and_for_their_time_are_told_apart)
{
    struct log_append_result res;
    struct buf b = batch_with_few_keys((enum codec)_i, 6);

    fix_config.is_compact = true;
    fix_config.timestamp_before_max_ms = 10;
    fix_open(true);
    log_set_config(fix_log, &fix_config);
    struct log_policy policy;
    struct log_batch batch;
    log_policy_of(fix_log, &policy);
    int16_t code = log_validate(&policy, b.p, b.len, LOG_FROM_CLIENT, 9, T0 + 11, &batch, &res);
    ck_assert_int_eq(code, KE_INVALID_TIMESTAMP); /* record 0 is too old, 3 is not */
    ck_assert_int_eq(res.record_errors->count, 5);
    ck_assert_ptr_nonnull(strstr(log_record_error_text(res.record_errors, 0), "not within ["));
    ck_assert_ptr_nonnull(strstr(log_record_error_text(res.record_errors, 1), "without a key"));
    ck_assert_int_eq(res.record_errors->list[3].index, 4);
    log_append_result_fini(&res);
    buf_fini(&b);
}
END_TEST

/* As Kafka: what is no whole batch behind the first one is left out. */
START_TEST(bytes_behind_a_batch_are_not_stored)
{
    static const struct {
        const char *what;
        size_t len;
        uint8_t bytes[61];
        int16_t code;
    } behind[] = {{"three bytes", 3, {0}, KE_NONE},
                  {"a cut batch", 40, {[11] = 100, [16] = 2}, KE_NONE},
                  {"a length of 0", 17, {0}, KE_CORRUPT_MESSAGE},
                  {"magic 3", 17, {[11] = 100, [16] = 3}, KE_CORRUPT_MESSAGE},
                  {"a second batch", 61, {[11] = 49, [16] = 2}, KE_INVALID_RECORD}};
    struct log_append_result res;
    struct buf b = fix_batch(2, 10, T0);
    size_t alone = b.len;

    buf_add(&b, behind[_i].bytes, behind[_i].len);
    fix_open(true);
    ck_assert_msg(fix_append_buf(&b, 0, &res) == behind[_i].code, "%s", behind[_i].what);
    ck_assert_int_eq(log_end_offset(fix_log), behind[_i].code == KE_NONE ? 2 : 0);
    if (behind[_i].code == KE_NONE) {
        struct log_range r;
        ck_assert_int_eq(log_read(fix_log, 0, 2, INT64_MAX, 0, &r), ERR_OK);
        ck_assert_int_eq(r.length, (int64_t)alone);
        log_range_release(&r);
    }
}
END_TEST

START_TEST(batches_over_the_limit_are_too_large)
{
    struct buf b = fix_batch(10, 100, T0);
    struct log_append_result res;

    fix_config.max_message_bytes = (int32_t)b.len - 1;
    fix_open(true);
    ck_assert_int_eq(fix_append_buf(&b, 0, &res), KE_MESSAGE_TOO_LARGE);
}
END_TEST

/* ---- producers */
static int32_t leader_epoch;

static int16_t produce(int64_t id, int16_t epoch, int32_t sequence, int count, bool transactional,
                       struct log_append_result *res)
{
    struct batch_options o;
    batch_options_init(&o);
    o.producer_id = id;
    o.producer_epoch = epoch;
    o.base_sequence = sequence;
    o.is_transactional = transactional;
    struct buf b = fix_batch_of(&o, count, 10, T0);
    return fix_append_buf(&b, leader_epoch, res);
}

static int16_t end_transaction(int64_t id, int16_t epoch, bool commit, int32_t coordinator_epoch)
{
    struct batch_options o;
    struct log_append_result res;
    struct buf b = {0};

    batch_options_init(&o);
    o.producer_id = id;
    o.producer_epoch = epoch;
    batch_build_marker(&o, commit, coordinator_epoch, T0, &b);
    int16_t code = log_append_leader(fix_log, b.p, b.len, 0, LOG_FROM_COORDINATOR, 9, T0, &res);
    buf_fini(&b);
    return code;
}

START_TEST(sequences_are_checked_as_kafka_does)
{
    struct log_append_result res;

    fix_open(true);
    for (int s = 0; s < 15; s += 5)
        ck_assert_int_eq(produce(7, 3, s, 5, false, &res), KE_NONE);
    ck_assert_int_eq(produce(7, 3, 5, 5, false, &res), KE_NONE);
    ck_assert(res.is_duplicate);
    ck_assert_int_eq(res.base_offset, 5);
    ck_assert_int_eq(res.last_offset, 9);
    ck_assert_int_eq(log_end_offset(fix_log), 15);
    ck_assert_int_eq(produce(7, 3, 5, 8, false, &res), KE_OUT_OF_ORDER_SEQUENCE_NUMBER);
    ck_assert_int_eq(produce(7, 3, 20, 5, false, &res), KE_OUT_OF_ORDER_SEQUENCE_NUMBER);
    ck_assert_int_eq(produce(7, 4, 15, 5, false, &res), KE_OUT_OF_ORDER_SEQUENCE_NUMBER);
    ck_assert_int_eq(produce(7, 2, 15, 5, false, &res), KE_INVALID_PRODUCER_EPOCH);
    ck_assert_int_eq(produce(7, 3, 15, 5, false, &res), KE_NONE);
    ck_assert(!res.is_duplicate);
    ck_assert_int_eq(produce(7, 4, 0, 3, false, &res), KE_NONE);
    ck_assert_int_eq(produce(7, 3, 20, 5, false, &res), KE_INVALID_PRODUCER_EPOCH);
    ck_assert_int_eq(produce(8, 0, 1234, 1, false, &res), KE_NONE); /* unknown: any sequence */
}
END_TEST

START_TEST(only_the_last_five_batches_are_remembered)
{
    struct log_append_result res;

    fix_open(true);
    for (int s = 0; s < 6; s++)
        ck_assert_int_eq(produce(7, 0, s, 1, false, &res), KE_NONE);
    ck_assert_int_eq(produce(7, 0, 1, 1, false, &res), KE_NONE);
    ck_assert(res.is_duplicate);
    ck_assert_int_eq(produce(7, 0, 0, 1, false, &res), KE_OUT_OF_ORDER_SEQUENCE_NUMBER);
}
END_TEST

START_TEST(sequences_survive_clean_stop_crash_and_truncation)
{
    struct log_append_result res;

    fix_open(true);
    for (int s = 0; s < 10; s++)
        ck_assert_int_eq(produce(7, 0, s, 1, false, &res), KE_NONE);
    fix_reopen(_i == 0);
    ck_assert_int_eq(produce(7, 0, 9, 1, false, &res), KE_NONE);
    ck_assert(res.is_duplicate);
    ck_assert_int_eq(log_truncate_to(fix_log, 5, &fix_why), ERR_OK);
    ck_assert_int_eq(produce(7, 0, 9, 1, false, &res), KE_OUT_OF_ORDER_SEQUENCE_NUMBER);
    ck_assert_int_eq(produce(7, 0, 5, 1, false, &res), KE_NONE);
    ck_assert(!res.is_duplicate);
    ck_assert_int_eq(res.base_offset, 5);
}
END_TEST

START_TEST(open_transactions_hold_the_last_stable_offset)
{
    struct log_append_result res;

    fix_open(true);
    fix_append(2);
    ck_assert_int_eq(produce(7, 0, 0, 2, true, &res), KE_NONE); /* 2, 3 */
    ck_assert_int_eq(produce(8, 0, 0, 2, true, &res), KE_NONE); /* 4, 5 */
    ck_assert_int_eq(produce(7, 0, 2, 1, false, &res), KE_INVALID_TXN_STATE);
    log_set_high_watermark(fix_log, 6);
    ck_assert_int_eq(log_last_stable_offset(fix_log), 2);
    ck_assert_int_eq(end_transaction(7, 0, true, 1), KE_NONE); /* 6 */
    ck_assert_int_eq(log_last_stable_offset(fix_log), 2);      /* the marker is not replicated */
    log_set_high_watermark(fix_log, 7);
    ck_assert_int_eq(log_last_stable_offset(fix_log), 4);
    ck_assert_int_eq(end_transaction(8, 0, false, 1), KE_NONE); /* 7 */
    log_set_high_watermark(fix_log, 8);
    ck_assert_int_eq(log_last_stable_offset(fix_log), 8);
    ck_assert_int_eq(log_first_unstable_offset(fix_log), -1);
    ck_assert_int_eq(end_transaction(8, 0, false, 0), KE_TRANSACTION_COORDINATOR_FENCED);
    ck_assert_int_eq(produce(8, 0, 2, 1, true, &res), KE_NONE); /* sequences run on */
}
END_TEST

START_TEST(aborted_transactions_are_told_to_readers)
{
    struct log_append_result res;
    struct log_aborted *a;
    struct log_range r;
    int32_t n;

    fix_open(true);
    ck_assert_int_eq(produce(7, 0, 0, 2, true, &res), KE_NONE);
    ck_assert_int_eq(end_transaction(7, 0, false, 1), KE_NONE); /* 2 */
    ck_assert_int_eq(produce(8, 0, 0, 2, true, &res), KE_NONE);
    ck_assert_int_eq(end_transaction(8, 0, true, 1), KE_NONE); /* 5 */
    for (int pass = 0; pass < 3; pass++) {
        ck_assert_int_eq(log_read(fix_log, 0, 6, INT64_MAX, 0, &r), ERR_OK);
        ck_assert_int_eq(log_aborted_find(fix_log, 0, &r, &a, &n), ERR_OK);
        ck_assert_int_eq(n, 1);
        ck_assert_int_eq(a[0].producer_id, 7);
        ck_assert_int_eq(a[0].first_offset, 0);
        mem_free(a);
        ck_assert_int_eq(log_aborted_find(fix_log, 3, &r, &a, &n), ERR_OK);
        ck_assert_int_eq(n, 0);
        mem_free(a);
        log_range_release(&r);
        fix_reopen(pass == 0); /* the index is found, or made, again */
    }
    ck_assert_int_eq(fix_file_size("00000000000000000000.txnindex"), INDEX_TXN_ENTRY);
}
END_TEST

/* ---- recovery */
START_TEST(a_clean_log_is_opened_as_it_was)
{
    fix_config.segment_bytes = 5000;
    fix_open(true);
    for (int i = 0; i < 100; i++)
        fix_append_at(1, T0 + i, i / 30);
    fix_reopen(true);
    ck_assert_int_eq(log_end_offset(fix_log), 100);
    ck_assert_int_eq(log_recovery_point(fix_log), 100);
    ck_assert_int_eq(log_epoch_latest(fix_log), 3);
    ck_assert_int_eq(fix_count_from(0), 100);
    ck_assert_int_eq(fix_append(1), 100);
    ck_assert_int_eq(fix_count_from(50), 51);
}
END_TEST

START_TEST(a_torn_tail_is_cut_at_every_byte)
{
    fix_open(true);
    fix_append(2);
    int64_t keep = fix_file_size("00000000000000000000.log");
    fix_append(1);
    int64_t full = fix_file_size("00000000000000000000.log");
    for (int64_t size = full; size >= keep; size--) {
        log_free(&fix_log);
        ck_assert_int_eq(truncate(fix_file("00000000000000000000.log"), size), 0);
        fix_open(false);
        ck_assert_int_eq(log_end_offset(fix_log), size == full ? 3 : 2);
        ck_assert_int_eq(fix_file_size("00000000000000000000.log"), size == full ? full : keep);
    }
    ck_assert_int_eq(fix_append(1), 2);
    ck_assert_int_eq(fix_count_from(0), 3);
}
END_TEST

START_TEST(a_flipped_bit_cuts_the_log_there)
{
    uint8_t byte;
    size_t got;
    int fd;

    fix_config.segment_bytes = 1500;
    fix_open(true);
    for (int i = 0; i < 20; i++)
        fix_append(1);
    ck_assert_int_gt(fix_log->segment_count, 2);
    int64_t second = fix_log->segments[1]->base_offset;
    char name[64];
    snprintf(name, sizeof name, "%020" PRId64 ".log", second);
    log_free(&fix_log);
    ck_assert_int_eq(fsx_open(fix_file(name), O_RDWR, 0, &fd), ERR_OK);
    ck_assert_int_eq(fsx_pread(fd, &byte, 1, 100, &got), ERR_OK);
    byte ^= 4;
    ck_assert_int_eq(fsx_pwrite_all(fd, &byte, 1, 100), ERR_OK);
    close(fd);
    fix_open(false);
    ck_assert_int_eq(log_end_offset(fix_log), second);
    ck_assert_int_eq(fix_log->segment_count, 2);
    ck_assert_int_eq(fix_count_from(0), second);
    ck_assert_int_eq(fix_append(1), second);
}
END_TEST

START_TEST(what_lies_below_the_recovery_point_is_not_read_again)
{
    fix_config.segment_bytes = 1500;
    fix_open(true);
    for (int i = 0; i < 20; i++)
        fix_append(1);
    ck_assert_int_eq(log_flush(fix_log), ERR_OK);
    ck_assert_int_eq(log_recovery_point(fix_log), 20);
    int64_t index = fix_file_size("00000000000000000000.index");
    ck_assert_int_ge(index, 0);
    fix_reopen(false);
    ck_assert_int_eq(log_end_offset(fix_log), 20);
    ck_assert_int_eq(fix_count_from(0), 20);
}
END_TEST

static void flip_byte(const char *name, int64_t at)
{
    uint8_t byte;
    size_t got;
    int fd;

    ck_assert_int_eq(fsx_open(fix_file(name), O_RDWR, 0, &fd), ERR_OK);
    ck_assert_int_eq(fsx_pread(fd, &byte, 1, at, &got), ERR_OK);
    byte ^= 4;
    ck_assert_int_eq(fsx_pwrite_all(fd, &byte, 1, at), ERR_OK);
    close(fd);
}

START_TEST(recovery_begins_at_the_recovery_point_inside_a_segment)
{
    struct log_append_result res;
    struct log_time_offset t;

    fix_config.index_interval_bytes = 300;
    fix_open(true);
    for (int s = 0; s < 50; s++) {
        leader_epoch = s / 10;
        ck_assert_int_eq(produce(7, 0, s, 1, false, &res), KE_NONE);
        fix_append_at(1, T0 + s, s / 10);
        if (s == 30) {
            log_take_snapshot(fix_log, log_end_offset(fix_log));
            ck_assert_int_eq(log_flush(fix_log), ERR_OK);
        }
    }
    ck_assert_int_eq(log_recovery_point(fix_log), 62);
    fix_recovery_point = 62;
    log_free(&fix_log);
    flip_byte("00000000000000000000.log", 500); /* below: not looked at */
    fix_open(false);
    ck_assert_int_eq(log_end_offset(fix_log), 100);
    ck_assert_int_eq(log_epoch_of(fix_log, 99), 4);
    ck_assert_int_eq(log_epoch_of(fix_log, 61), 3);
    ck_assert_int_eq(produce(7, 0, 49, 1, false, &res), KE_NONE);
    ck_assert(res.is_duplicate);
    ck_assert_int_eq(log_offset_for_time(fix_log, T0 + 45, &t), ERR_OK);
    ck_assert_int_eq(t.offset, 91);
    fix_check_indexes();
    /* above: the log is cut there */
    log_free(&fix_log);
    flip_byte("00000000000000000000.log", fix_file_size("00000000000000000000.log") - 200);
    fix_open(false);
    ck_assert_int_lt(log_end_offset(fix_log), 100);
    ck_assert_int_ge(log_end_offset(fix_log), 62);
    fix_check_indexes();
}
END_TEST

START_TEST(a_recovery_point_that_cannot_be_right_is_not_believed)
{
    static const char zeros[4096];
    int fd;

    fix_config.index_interval_bytes = 300;
    fix_open(true);
    for (int s = 0; s < 50; s++)
        fix_append_at(2, T0 + s, 0);
    ck_assert_int_eq(log_flush(fix_log), ERR_OK);
    int64_t end = log_end_offset(fix_log);
    int64_t index = fix_file_size("00000000000000000000.index");
    log_free(&fix_log);
    fix_recovery_point = end;
    switch (_i) {
    case 0: /* bytes below it are missing */
        ck_assert_int_eq(truncate(fix_file("00000000000000000000.log"), 300), 0);
        end = 2;
        break;
    case 1: /* it lies inside a batch */
        fix_recovery_point = 51;
        break;
    case 2: /* the index ends with zeros, as Kafka's preallocated ones */
        ck_assert_int_eq(fsx_open(fix_file("00000000000000000000.index"), O_RDWR, 0, &fd), ERR_OK);
        ck_assert_int_eq(fsx_pwrite_all(fd, zeros, sizeof zeros, index), ERR_OK);
        close(fd);
        break;
    case 3: /* beyond everything */
        fix_recovery_point = 1000000;
        break;
    default: /* no index at all */
        ck_assert_int_eq(unlink(fix_file("00000000000000000000.index")), 0);
        break;
    }
    fix_open(false);
    ck_assert_int_eq(log_end_offset(fix_log), end);
    ck_assert_int_eq(fix_count_from(0), end);
    ck_assert_int_le(log_recovery_point(fix_log), end);
    fix_check_indexes();
    if (_i > 0)
        ck_assert_int_eq(fix_file_size("00000000000000000000.index"), index);
    fix_append(1);
    ck_assert_int_eq(fix_count_from(0), end + 1);
}
END_TEST

START_TEST(old_producers_messages_are_stored_as_batches)
{
    uint8_t m[36] = {0};
    struct log_append_result res;
    struct log_range r;

    be32_store(m + 8, sizeof m - 12);
    m[16] = 1;
    be64_store(m + 18, T0);
    be32_store(m + 26, 1);
    m[30] = 'k';
    be32_store(m + 31, 1);
    m[35] = 'v';
    be32_store(m + 12, (uint32_t)crc32(0, m + 16, sizeof m - 16));
    if (_i == 1)
        fix_config.compression_type = CODEC_LZ4;
    fix_open(true);
    ck_assert_int_eq(log_append_leader(fix_log, m, sizeof m, 0, LOG_FROM_CLIENT, 3, T0, &res),
                     KE_INVALID_RECORD);
    ck_assert_int_eq(log_append_leader(fix_log, m, sizeof m, 0, LOG_FROM_CLIENT, 2, T0, &res),
                     KE_NONE);
    ck_assert_int_eq(log_end_offset(fix_log), 1);
    ck_assert_int_eq(log_read(fix_log, 0, 1, INT64_MAX, 0, &r), ERR_OK);
    struct buf b = fix_bytes(&r);
    log_range_release(&r);
    ck_assert_int_eq(batch_magic(b.p), 2);
    ck_assert_int_eq(batch_codec(b.p), _i == 1 ? CODEC_LZ4 : CODEC_NONE);
    ck_assert_int_eq(batch_max_timestamp(b.p), T0);
    buf_fini(&b);
    m[35] = 'w';
    ck_assert_int_eq(log_append_leader(fix_log, m, sizeof m, 0, LOG_FROM_CLIENT, 2, T0, &res),
                     KE_CORRUPT_MESSAGE);
}
END_TEST

START_TEST(messages_of_old_formats_are_not_cut)
{
    /* magic 1, offset 0, null key, value "v", timestamp T0 */
    uint8_t m[35] = {0};
    int fd;

    be32_store(m + 8, sizeof m - 12);
    m[16] = 1;
    be64_store(m + 18, T0);
    be32_store(m + 26, 0xffffffff);
    be32_store(m + 30, 1);
    m[34] = 'v';
    be32_store(m + 12, (uint32_t)crc32(0, m + 16, sizeof m - 16));
    if (_i >= 2)
        m[34] = 'w'; /* not a message, then, but junk */
    ck_assert_int_eq(fsx_mkdir_p(fix_file(""), 0755), ERR_OK);
    ck_assert_int_eq(fsx_open(fix_file("00000000000000000000.log"), O_CREAT | O_RDWR, 0644, &fd),
                     ERR_OK);
    ck_assert_int_eq(fsx_pwrite_all(fd, m, sizeof m, 0), ERR_OK);
    close(fd);
    ck_assert_int_eq(fix_try_open(_i % 2 == 0), _i < 2 ? ERR_UNSUPPORTED : ERR_OK);
    ck_assert_int_eq(fix_file_size("00000000000000000000.log"), _i < 2 ? (int64_t)sizeof m : 0);
}
END_TEST

START_TEST(lost_indexes_are_made_again)
{
    fix_config.segment_bytes = 20000;
    fix_config.index_interval_bytes = 300;
    fix_open(true);
    for (int i = 0; i < 400; i++)
        fix_append_at(1, T0 + i, 0);
    ck_assert_int_eq(log_prepare_close(fix_log), ERR_OK);
    int64_t index = fix_file_size("00000000000000000000.index");
    int64_t times = fix_file_size("00000000000000000000.timeindex");
    ck_assert_int_gt(index, 0);
    fix_reopen(true);
    log_free(&fix_log);
    unlink(fix_file("00000000000000000000.index"));
    if (_i == 1)
        unlink(fix_file("00000000000000000000.timeindex"));
    fix_open(true);
    ck_assert_int_eq(fix_file_size("00000000000000000000.index"), index);
    ck_assert_int_eq(fix_file_size("00000000000000000000.timeindex"), times);
    ck_assert_int_eq(fix_count_from(0), 400);
    ck_assert_int_eq(fix_count_from(123), 277);
}
END_TEST

START_TEST(a_lost_index_costs_neither_aborts_nor_data_behind_damage)
{
    struct log_append_result res;
    struct log_aborted *a;
    struct log_range r;
    int32_t n;

    fix_config.segment_bytes = 2000;
    fix_open(true);
    ck_assert_int_eq(produce(7, 0, 0, 2, true, &res), KE_NONE); /* in the first segment */
    while (fix_log->segment_count < 2)
        fix_append(1);
    int64_t second = fix_log->segments[1]->base_offset;
    ck_assert_int_eq(end_transaction(7, 0, false, 1), KE_NONE); /* aborted in the second */
    for (int i = 0; i < 20; i++)
        fix_append(1);
    ck_assert_int_gt(fix_log->segment_count, 2);
    int64_t end = log_end_offset(fix_log);
    ck_assert_int_eq(log_prepare_close(fix_log), ERR_OK);
    log_free(&fix_log);
    char name[64];
    snprintf(name, sizeof name, "%020" PRId64 ".index", second);
    ck_assert_int_eq(unlink(fix_file(name)), 0);
    snprintf(name, sizeof name, "%020" PRId64 ".log", second);
    int64_t size = fix_file_size(name);
    flip_byte(name, size - 300);
    fix_open(true);
    ck_assert_int_eq(fix_file_size(name), size);
    ck_assert_int_eq(log_end_offset(fix_log), end);
    ck_assert_int_eq(log_read(fix_log, 0, end, INT64_MAX, 0, &r), ERR_OK);
    ck_assert_int_eq(log_aborted_find(fix_log, 0, &r, &a, &n), ERR_OK);
    log_range_release(&r);
    mem_free(a);
    ck_assert_int_eq(log_read(fix_log, second, end, INT64_MAX, 0, &r), ERR_OK);
    ck_assert_int_eq(r.length, size);
    ck_assert_int_eq(log_aborted_find(fix_log, second, &r, &a, &n), ERR_OK);
    ck_assert_int_eq(n, 1);
    ck_assert_int_eq(a[0].first_offset, 0);
    log_range_release(&r);
    mem_free(a);
}
END_TEST

START_TEST(a_lying_index_does_not_lead_astray)
{
    uint8_t junk[64];
    int fd;

    fix_config.index_interval_bytes = 100;
    fix_open(true);
    for (int i = 0; i < 50; i++)
        fix_append(1);
    ck_assert_int_eq(log_prepare_close(fix_log), ERR_OK);
    log_free(&fix_log);
    memset(junk, _i == 0 ? 0 : _i == 1 ? 0xff : 0x11, sizeof junk);
    ck_assert_int_eq(fsx_open(fix_file("00000000000000000000.index"), O_RDWR, 0, &fd), ERR_OK);
    ck_assert_int_eq(ftruncate(fd, 0), 0);
    ck_assert_int_eq(fsx_pwrite_all(fd, junk, sizeof junk, 0), ERR_OK);
    close(fd);
    fix_open(true);
    ck_assert_int_eq(log_end_offset(fix_log), 50);
    for (int64_t o = 0; o < 50; o++)
        ck_assert_int_eq(fix_count_from(o), 50 - o);
}
END_TEST

START_TEST(leftovers_are_removed_and_swaps_put_in_place)
{
    fix_config.segment_bytes = 1500;
    fix_open(true);
    for (int i = 0; i < 20; i++)
        fix_append(1);
    ck_assert_int_eq(log_prepare_close(fix_log), ERR_OK);
    int64_t second = fix_log->segments[1]->base_offset;
    char name[64], swap[64];
    char from[512];
    snprintf(name, sizeof name, "%020" PRId64 ".log", second);
    snprintf(swap, sizeof swap, "%020" PRId64 ".log.swap", second);
    log_free(&fix_log);
    snprintf(from, sizeof from, "%s", fix_file(name));
    ck_assert_int_eq(rename(from, fix_file(swap)), 0);
    int fd;
    ck_assert_int_eq(
        fsx_open(fix_file("00000000000000000000.log.deleted"), O_CREAT | O_RDWR, 0644, &fd),
        ERR_OK);
    close(fd);
    ck_assert_int_eq(
        fsx_open(fix_file("00000000000000000099.log.cleaned"), O_CREAT | O_RDWR, 0644, &fd),
        ERR_OK);
    close(fd);
    fix_open(true);
    ck_assert_int_eq(log_end_offset(fix_log), 20);
    ck_assert_int_eq(fix_count_from(0), 20);
    ck_assert_int_lt(fix_file_size(swap), 0);
    ck_assert_int_lt(fix_file_size("00000000000000000000.log.deleted"), 0);
    ck_assert_int_lt(fix_file_size("00000000000000000099.log.cleaned"), 0);
}
END_TEST

START_TEST(a_log_that_ends_below_its_start_begins_again_there)
{
    fix_open(true);
    fix_append(5);
    log_free(&fix_log);
    fix_start = 100;
    fix_open(false);
    ck_assert_int_eq(log_start_offset(fix_log), 100);
    ck_assert_int_eq(log_end_offset(fix_log), 100);
    ck_assert_int_eq(fix_append(1), 100);
    ck_assert_int_eq(fix_count_from(100), 1);
}
END_TEST

/* ---- truncation */
START_TEST(truncation_cuts_at_any_offset)
{
    fix_config.segment_bytes = 1500;
    fix_config.index_interval_bytes = 100;
    fix_open(true);
    for (int i = 0; i < 40; i++)
        fix_append_at(1, T0 + i, i / 7);
    log_set_high_watermark(fix_log, 40);
    ck_assert_int_eq(log_truncate_to(fix_log, _i, &fix_why), ERR_OK);
    ck_assert_int_eq(log_end_offset(fix_log), _i);
    ck_assert_int_eq(log_high_watermark(fix_log), _i);
    ck_assert_int_eq(log_epoch_latest(fix_log), _i == 0 ? -1 : (_i - 1) / 7);
    ck_assert_int_eq(fix_count_from(0), _i);
    ck_assert_int_eq(fix_append_at(2, T0 + 100, 9), _i);
    ck_assert_int_eq(fix_count_from(0), _i + 2);
    fix_reopen(_i % 2 == 0);
    ck_assert_int_eq(fix_count_from(0), _i + 2);
    ck_assert_int_eq(log_epoch_of(fix_log, _i), 9);
    fix_check_indexes();
}
END_TEST

START_TEST(a_cut_inside_a_batch_takes_the_batch)
{
    fix_open(true);
    fix_append(3);
    fix_append(5);
    ck_assert_int_eq(log_truncate_to(fix_log, 5, &fix_why), ERR_OK);
    ck_assert_int_eq(log_end_offset(fix_log), 3);
    ck_assert_int_eq(fix_append(1), 3);
}
END_TEST

START_TEST(full_truncation_begins_at_the_offset)
{
    fix_open(true);
    fix_append(10);
    ck_assert_int_eq(log_truncate_fully_at(fix_log, _i == 0 ? 0 : 1000, &fix_why), ERR_OK);
    int64_t at = _i == 0 ? 0 : 1000;
    ck_assert_int_eq(log_start_offset(fix_log), at);
    ck_assert_int_eq(log_high_watermark(fix_log), at);
    ck_assert_int_eq(fix_append(1), at);
    fix_reopen(true);
    ck_assert_int_eq(fix_count_from(at), 1);
}
END_TEST

/* ---- epochs */
START_TEST(epoch_ends_are_those_of_kafka)
{
    static const struct {
        int32_t ask, epoch;
        int64_t end;
    } want[] = {{-1, -1, -1}, {0, 0, 10}, {1, 1, 20}, {2, 1, 20},
                {3, 3, 30},   {5, 5, 40}, {6, -1, -1}};
    int32_t epoch;
    int64_t end;

    fix_open(true);
    for (int i = 0; i < 40; i++)
        fix_append_at(1, T0, i < 20 ? 1 : i < 30 ? 3 : 5);
    epoch_cache_truncate_start(&fix_log->epochs, 10);
    for (size_t i = 0; i < ARRAY_LEN(want); i++) {
        log_epoch_end(fix_log, want[i].ask, &epoch, &end);
        ck_assert_int_eq(epoch, want[i].epoch);
        ck_assert_int_eq(end, want[i].end);
    }
    /* elected twice without data: only the last epoch stays */
    ck_assert_int_eq(log_epoch_assign(fix_log, 6, 40), ERR_OK);
    ck_assert_int_eq(log_epoch_assign(fix_log, 8, 40), ERR_OK);
    ck_assert_int_eq(fix_log->epochs.count, 4);
    ck_assert_int_eq(log_epoch_latest(fix_log), 8);
}
END_TEST

/* ---- time */
START_TEST(offsets_are_found_by_time)
{
    struct log_time_offset t;

    fix_config.segment_bytes = 3000;
    fix_config.index_interval_bytes = 300;
    fix_open(true);
    for (int i = 0; i < 100; i++)
        fix_append_at(2, T0 + i * 10, 0); /* at i*10 and i*10+1 */
    for (int pass = 0; pass < 3; pass++) {
        for (int i = 0; i < 100; i++) {
            ck_assert_int_eq(log_offset_for_time(fix_log, T0 + i * 10 + 1, &t), ERR_OK);
            ck_assert_int_eq(t.offset, 2 * i + 1);
            ck_assert_int_eq(t.timestamp_ms, T0 + i * 10 + 1);
            ck_assert_int_eq(log_offset_for_time(fix_log, T0 + i * 10 - 3, &t), ERR_OK);
            ck_assert_int_eq(t.offset, 2 * i);
        }
        ck_assert_int_eq(log_offset_for_time(fix_log, T0 + 992, &t), ERR_OK);
        ck_assert_int_eq(t.offset, -1);
        ck_assert_int_eq(log_offset_for_time(fix_log, -3, &t), ERR_OK);
        ck_assert_int_eq(t.offset, 199);
        ck_assert_int_eq(t.timestamp_ms, T0 + 991);
        fix_reopen(pass == 0);
    }
}
END_TEST

START_TEST(a_log_is_entered_by_its_segments)
{
    struct log_mark *m;
    struct timespec times[2] = {{.tv_sec = 0}, {.tv_sec = 1234, .tv_nsec = 567000000}};
    char path[SEGMENT_PATH_MAX];

    fix_config.segment_bytes = 1000;
    fix_open(true);
    ck_assert_int_eq(log_marks(fix_log, &m), 1); /* empty: the start is all */
    ck_assert_int_eq(m[0].offset, 0);
    ck_assert_ptr_nonnull(m[0].segment);
    log_marks_free(m, 1);
    for (int i = 0; i < 30; i++)
        fix_append_at(1, T0 + i, 0);
    int32_t segments = fix_log->segment_count;
    ck_assert_int_gt(segments, 2);
    log_set_high_watermark(fix_log, 30);
    ck_assert_int_eq(log_set_start_offset(fix_log, 1), ERR_OK);
    segment_path(fix_log->segments[1], ".log", path);
    ck_assert_int_eq(utimensat(AT_FDCWD, path, times, 0), 0);
    ck_assert_int_eq(log_marks(fix_log, &m), segments + 1);
    ck_assert_int_eq(m[0].offset, 30);
    ck_assert_int_eq(log_mark_time(&m[0], 77), 77);
    for (int32_t i = 1; i <= segments; i++)
        ck_assert_int_eq(m[i].offset,
                         i == segments ? 1 : fix_log->segments[segments - i]->base_offset);
    ck_assert_int_eq(log_mark_time(&m[segments - 1], 77), 1234567);
    ck_assert_int_gt(log_mark_time(&m[segments], 77), 1234567);
    /* deleted meanwhile: not old */
    log_delete_old(fix_log, T0);
    ck_assert_int_eq(segment_mark_deleted(m[segments].segment), ERR_OK);
    ck_assert_int_eq(log_mark_time(&m[segments], 77), INT64_MAX);
    log_marks_free(m, segments + 1);
}
END_TEST

/* ---- retention */
START_TEST(old_segments_go_by_time_size_and_start_offset)
{
    fix_config.segment_bytes = 1000;
    fix_config.retention_ms = _i == 0 ? 1000 : -1;
    fix_open(true);
    for (int i = 0; i < 30; i++)
        fix_append_at(1, T0 + i, 0);
    int32_t segments = fix_log->segment_count;
    ck_assert_int_gt(segments, 3);
    ck_assert_int_eq(log_delete_old(fix_log, T0 + 100000), 0); /* not flushed yet */
    ck_assert_int_eq(log_flush(fix_log), ERR_OK);
    ck_assert_int_eq(log_delete_old(fix_log, T0 + 999), 0);
    log_set_high_watermark(fix_log, 15);
    if (_i == 0) {
        (void)log_delete_old(fix_log, T0 + 100000);
        ck_assert_int_le(log_start_offset(fix_log), 15); /* never past the high watermark */
        ck_assert_int_gt(log_start_offset(fix_log), 0);
        log_set_high_watermark(fix_log, 30);
        (void)log_delete_old(fix_log, T0 + 100000);
        ck_assert_int_eq(log_start_offset(fix_log), 30);
        ck_assert_int_eq(fix_log->segment_count, 1);
    } else if (_i == 1) {
        log_set_high_watermark(fix_log, 30);
        fix_config.retention_bytes = 1000;
        log_set_config(fix_log, &fix_config);
        ck_assert_int_gt(log_delete_old(fix_log, T0), 0);
        ck_assert_int_ge(log_size(fix_log), 1000);
        ck_assert_int_lt(log_size(fix_log), 2500);
    } else {
        ck_assert_int_eq(log_set_start_offset(fix_log, 15), ERR_OK);
        ck_assert_int_gt(log_delete_old(fix_log, T0), 0);
        ck_assert_int_eq(log_start_offset(fix_log), 15);
        ck_assert_int_le(fix_log->segments[0]->base_offset, 15);
    }
    fix_reopen(true);
    ck_assert_int_eq(log_end_offset(fix_log), 30);
    ck_assert_int_eq(fix_count_from(log_start_offset(fix_log)),
                     30 - (log_start_offset(fix_log) == 15 ? fix_log->segments[0]->base_offset
                                                           : log_start_offset(fix_log)));
}
END_TEST

/* ---- faults */
static const char *const faults[] = {"log.append.write", "log.index.write",
                                     "log.roll.create",  "log.snapshot.write",
                                     "log.flush.sync",   "fsx.replace.before_sync"};

/* The nth pass of a fault point fails: nothing after it is acknowledged, and what was acknowledged
 * before is there when the log is opened again. */
START_TEST(a_failed_write_takes_the_dir_offline)
{
    const char *name = faults[_i / 6];
    int nth = _i % 6 + 1;
    char spec[64];
    int64_t acknowledged = 0;
    struct log_append_result res;

    fix_config.segment_bytes = 3000;
    fix_config.index_interval_bytes = 100;
    fix_open(true);
    snprintf(spec, sizeof spec, "%s=eio:%d", name, nth);
    fix_fault(spec);
    for (int i = 0; i < 200; i++) {
        struct buf b = fix_batch(1, 100, T0 + i);
        bool was_offline = log_is_offline(fix_log);
        int16_t code = fix_append_buf(&b, i / 10, &res);
        if (code == KE_NONE) {
            ck_assert(!was_offline);
            acknowledged = res.last_offset + 1;
        } else {
            ck_assert_int_eq(code, KE_KAFKA_STORAGE_ERROR);
            ck_assert(log_is_offline(fix_log));
        }
        if (i % 5 == 4 && log_flush(fix_log) != ERR_OK)
            ck_assert(log_is_offline(fix_log));
    }
    ck_assert_msg(log_is_offline(fix_log), "fault %s was not reached", spec);
    ck_assert_int_lt(acknowledged, 200);
    unsetenv("KAFUKA_FAULT");
    fault_init();
    fix_recovery_point = fix_log->recovery_point;
    log_free(&fix_log);
    atomic_store(&fix_dir.is_offline, false);
    fix_open(false);
    ck_assert_int_ge(log_end_offset(fix_log), acknowledged);
    ck_assert_int_eq(fix_count_from(0), log_end_offset(fix_log));
    fix_check_indexes();
    ck_assert_int_eq(fix_append_at(1, T0, 99), log_end_offset(fix_log) - 1);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("log");
    TCase *t = tcase_create("append and read");
    tcase_add_checked_fixture(t, fix_setup, fix_teardown);
    tcase_set_timeout(t, 60);
    tcase_add_test(t, offsets_go_on_from_batch_to_batch);
    tcase_add_test(t, every_offset_is_found_again);
    tcase_add_test(t, reads_end_at_the_limit_offset);
    tcase_add_test(t, reads_outside_are_refused);
    tcase_add_test(t, a_range_outlives_its_segment);
    tcase_add_test(t, a_follower_appends_what_the_leader_has);
    tcase_add_test(t, a_follower_refuses_damaged_bytes);
    tcase_add_test(t, segments_roll_by_bytes_and_time);
    tcase_add_test(t, a_compacted_log_rolls_early_when_the_active_segment_outweighs_the_rest);
    suite_add_tcase(s, t);
    t = tcase_create("validation");
    tcase_add_checked_fixture(t, fix_setup, fix_teardown);
    tcase_add_loop_test(t, bad_batches_are_refused, 0, ARRAY_LEN(bad_batches));
    tcase_add_test(t, a_wrong_crc_is_corrupt_and_a_cut_batch_is_none);
    tcase_add_loop_test(t, compressed_batches_are_checked_inside, CODEC_NONE, CODEC_COUNT);
    tcase_add_loop_test(t, a_topic_codec_makes_the_broker_recompress, CODEC_NONE, CODEC_COUNT);
    tcase_add_test(t, timestamps_follow_the_topic);
    tcase_add_loop_test(t, every_record_without_a_key_is_named_in_a_compacted_topic, CODEC_NONE,
                        CODEC_COUNT);
    tcase_add_loop_test(t, refused_records_are_named_up_to_a_bound, CODEC_NONE, CODEC_COUNT);
    tcase_add_loop_test(t, records_refused_for_their_key_and_for_their_time_are_told_apart,
                        CODEC_NONE, CODEC_COUNT);
    tcase_add_loop_test(t, bytes_behind_a_batch_are_not_stored, 0, 5);
    tcase_add_loop_test(t, old_producers_messages_are_stored_as_batches, 0, 2);
    tcase_add_test(t, batches_over_the_limit_are_too_large);
    suite_add_tcase(s, t);
    t = tcase_create("producers");
    tcase_add_checked_fixture(t, fix_setup, fix_teardown);
    tcase_add_test(t, sequences_are_checked_as_kafka_does);
    tcase_add_test(t, only_the_last_five_batches_are_remembered);
    tcase_add_loop_test(t, sequences_survive_clean_stop_crash_and_truncation, 0, 2);
    tcase_add_test(t, open_transactions_hold_the_last_stable_offset);
    tcase_add_test(t, aborted_transactions_are_told_to_readers);
    suite_add_tcase(s, t);
    t = tcase_create("recovery");
    tcase_add_checked_fixture(t, fix_setup, fix_teardown);
    tcase_set_timeout(t, 60);
    tcase_add_test(t, a_clean_log_is_opened_as_it_was);
    tcase_add_test(t, a_torn_tail_is_cut_at_every_byte);
    tcase_add_test(t, a_flipped_bit_cuts_the_log_there);
    tcase_add_test(t, what_lies_below_the_recovery_point_is_not_read_again);
    tcase_add_test(t, recovery_begins_at_the_recovery_point_inside_a_segment);
    tcase_add_loop_test(t, a_recovery_point_that_cannot_be_right_is_not_believed, 0, 5);
    tcase_add_loop_test(t, messages_of_old_formats_are_not_cut, 0, 4);
    tcase_add_loop_test(t, lost_indexes_are_made_again, 0, 2);
    tcase_add_test(t, a_lost_index_costs_neither_aborts_nor_data_behind_damage);
    tcase_add_loop_test(t, a_lying_index_does_not_lead_astray, 0, 3);
    tcase_add_test(t, leftovers_are_removed_and_swaps_put_in_place);
    tcase_add_test(t, a_log_that_ends_below_its_start_begins_again_there);
    suite_add_tcase(s, t);
    t = tcase_create("truncation and retention");
    tcase_add_checked_fixture(t, fix_setup, fix_teardown);
    tcase_set_timeout(t, 60);
    tcase_add_loop_test(t, truncation_cuts_at_any_offset, 0, 40);
    tcase_add_test(t, a_cut_inside_a_batch_takes_the_batch);
    tcase_add_loop_test(t, full_truncation_begins_at_the_offset, 0, 2);
    tcase_add_test(t, epoch_ends_are_those_of_kafka);
    tcase_add_test(t, offsets_are_found_by_time);
    tcase_add_test(t, a_log_is_entered_by_its_segments);
    tcase_add_loop_test(t, old_segments_go_by_time_size_and_start_offset, 0, 3);
    suite_add_tcase(s, t);
    t = tcase_create("faults");
    tcase_add_checked_fixture(t, fix_setup, fix_teardown);
    tcase_set_timeout(t, 60);
    tcase_add_loop_test(t, a_failed_write_takes_the_dir_offline, 0, (int)ARRAY_LEN(faults) * 6);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? 0 : 1;
}
