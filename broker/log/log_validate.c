/* SPDX-License-Identifier: Apache-2.0 */
/* The first half of an append as leader: checks a produce request's bytes, without lock or log.
 * The rules and their error codes are Kafka's LogValidator;
 * docs/reference/storage-format.md, "Timestamps and conversion". */
#include "broker/log/log.h"

#include "common/record/builder.h"
#include "common/record/compress.h"
#include "common/record/legacy.h"
#include "common/record/scan.h"

#include <stdio.h>

enum { ZSTD_FIRST_PRODUCE_VERSION = 7, BATCHES_FIRST_PRODUCE_VERSION = 3 };

/* What is learnt from walking over the records. */
struct walk {
    const struct log_policy *policy;
    struct log_append_result *res;
    int64_t now_ms, max_timestamp_ms;
    bool marked_append_time, in_sequence, from_client, is_any_time_wrong;
};

const char *log_record_error_text(const struct log_record_errors *e, int32_t i)
{
    static const char *const texts[] = {
        [LOG_RECORD_WITHOUT_KEY] = "a compacted topic accepts no record without a key",
        [LOG_RECORD_MARKED] = "clients may not mark a batch LogAppendTime"};

    ASSERT(i >= 0 && i < e->count);
    return e->list[i].fault == LOG_RECORD_OUT_OF_TIME ? e->out_of_time : texts[e->list[i].fault];
}

void log_append_result_fini(struct log_append_result *res)
{
    if (res->record_errors == NULL)
        return;
    FREE_NULL(&res->record_errors);
    res->error_message = NULL;
}

static int16_t reject(struct log_append_result *res, int16_t code, int32_t record, const char *why)
{
    res->record_error_index = record;
    res->error_message = why;
    return code;
}

static int16_t check_header(const struct log_policy *policy, const uint8_t *b, size_t len,
                            enum log_append_origin origin, int16_t version,
                            struct log_append_result *res)
{
    bool is_control = (batch_attributes(b) & BATCH_CONTROL) != 0;
    bool from_client = origin == LOG_FROM_CLIENT;

    if (len > (size_t)policy->max_message_bytes)
        return reject(res, KE_MESSAGE_TOO_LARGE, -1, "the batch is larger than max.message.bytes");
    if (from_client && batch_base_offset(b) != 0)
        return reject(res, KE_INVALID_RECORD, -1, "the base offset of the batch is not 0");
    if (batch_count(b) < 1)
        return reject(res, KE_INVALID_RECORD, -1, "the batch has no records");
    if (batch_count(b) - 1 != batch_last_offset_delta(b))
        return reject(res, KE_INVALID_RECORD, -1, "lastOffsetDelta and record count do not agree");
    if (from_client && is_control)
        return reject(res, KE_INVALID_RECORD, -1, "clients may not write control batches");
    if (batch_producer_id(b) >= 0 && batch_base_sequence(b) < 0 && !is_control)
        return reject(res, KE_INVALID_RECORD, -1, "a producer id without a sequence number");
    if (batch_producer_id(b) >= 0 && batch_producer_epoch(b) < 0)
        return reject(res, KE_INVALID_RECORD, -1, "a producer id without an epoch");
    if ((batch_attributes(b) & BATCH_TRANSACTIONAL) != 0 && batch_producer_id(b) < 0)
        return reject(res, KE_INVALID_RECORD, -1, "a transactional batch without a producer id");
    if (batch_crc_compute(b) != batch_crc(b))
        return reject(res, KE_CORRUPT_MESSAGE, -1, "the CRC of the batch does not match");
    if (batch_codec(b) >= CODEC_COUNT)
        return reject(res, KE_UNSUPPORTED_COMPRESSION_TYPE, -1, "unknown codec");
    if (batch_codec(b) == CODEC_ZSTD && from_client && version < ZSTD_FIRST_PRODUCE_VERSION)
        return reject(res, KE_UNSUPPORTED_COMPRESSION_TYPE, -1, "zstd needs Produce version 7");
    return KE_NONE;
}

/* The times that the topic allows, as Kafka compares them: both differences may wrap. */
static bool is_out_of_time(const struct walk *w, int64_t timestamp_ms)
{
    const struct log_policy *p = w->policy;
    int64_t age_ms = (int64_t)((uint64_t)w->now_ms - (uint64_t)timestamp_ms);

    return age_ms > p->timestamp_before_max_ms ||
           (int64_t)(0 - (uint64_t)age_ms) > p->timestamp_after_max_ms;
}

static struct log_record_errors *errors_new(const struct walk *w)
{
    const struct log_policy *p = w->policy;
    struct log_record_errors *e = xcalloc(1, sizeof *e + sizeof e->list[0]);
    int64_t first, last;

    if (__builtin_sub_overflow(w->now_ms, p->timestamp_before_max_ms, &first))
        first = INT64_MIN;
    if (__builtin_add_overflow(w->now_ms, p->timestamp_after_max_ms, &last))
        last = INT64_MAX;
    (void)snprintf(e->out_of_time, sizeof e->out_of_time,
                   "the timestamp is not within [%" PRId64 ", %" PRId64 "]", first, last);
    return e;
}

/* Cold: the memory for errors is taken only where there are some, and grows by doubling. */
static void note_fault(struct walk *w, int32_t index, enum log_record_fault fault)
{
    struct log_record_errors *e = w->res->record_errors;

    if (e == NULL)
        w->res->record_errors = e = errors_new(w);
    e->total++;
    w->is_any_time_wrong |= fault != LOG_RECORD_WITHOUT_KEY;
    if (e->count == LOG_RECORD_ERRORS_MAX)
        return;
    if (e->count > 0 && (e->count & (e->count - 1)) == 0) { /* full at each power of two */
        e = xrealloc(e, sizeof *e + 2 * (size_t)e->count * sizeof e->list[0]);
        w->res->record_errors = e;
    }
    e->list[e->count].index = index;
    e->list[e->count].fault = fault;
    e->count++;
}

/* After the walk: the batch's own error when records were refused. */
static int16_t settle_errors(const struct walk *w, int32_t record_count)
{
    struct log_record_errors *e = w->res->record_errors;

    if (LIKELY(e == NULL))
        return KE_NONE;
    (void)snprintf(e->summary, sizeof e->summary,
                   "%d of %d records were refused, the others with them; record %d: %s", e->total,
                   record_count, e->list[0].index, log_record_error_text(e, 0));
    return reject(w->res, w->is_any_time_wrong ? KE_INVALID_TIMESTAMP : KE_INVALID_RECORD,
                  e->list[0].index, e->summary);
}

static inline void check_record(struct walk *w, int32_t index, int32_t offset_delta,
                                int64_t timestamp_ms, bool has_key)
{
    w->in_sequence &= offset_delta == index;
    w->max_timestamp_ms = i64_max(w->max_timestamp_ms, timestamp_ms);
    if (!w->from_client)
        return;
    if (UNLIKELY(w->policy->is_compact && !has_key))
        note_fault(w, index, LOG_RECORD_WITHOUT_KEY);
    else if (!w->policy->is_log_append_time && timestamp_ms != -1) {
        if (UNLIKELY(is_out_of_time(w, timestamp_ms)))
            note_fault(w, index, LOG_RECORD_OUT_OF_TIME);
    } else if (UNLIKELY(w->marked_append_time))
        note_fault(w, index, LOG_RECORD_MARKED);
}

static int16_t walk_plain(struct walk *w, const uint8_t *b, size_t len)
{
    struct record_iter it;
    struct record r;
    enum err rc;

    record_iter_init(&it, b, b + BATCH_HEADER_BYTES, len - BATCH_HEADER_BYTES);
    while ((rc = record_next(&it, &r)) == ERR_OK)
        check_record(w, it.at - 1, r.offset_delta, r.timestamp_ms, r.key.len >= 0);
    if (rc == ERR_NOT_FOUND)
        return settle_errors(w, it.at);
    log_append_result_fini(w->res);
    return reject(w->res, KE_INVALID_RECORD, it.at, "a record is not well formed");
}

static int16_t walk_compressed(struct walk *w, const uint8_t *b, size_t len)
{
    struct record_scan *scan;
    struct record_brief r;
    int32_t index = 0;

    enum err rc = record_scan_open(b, len, &scan);
    while (rc == ERR_OK) {
        rc = record_scan_next(scan, &r);
        if (rc == ERR_OK)
            check_record(w, index++, r.offset_delta, r.timestamp_ms, r.has_key);
    }
    record_scan_close(&scan);
    if (rc == ERR_NOT_FOUND)
        return settle_errors(w, index);
    log_append_result_fini(w->res);
    return reject(w->res, rc == ERR_NO_MEMORY ? KE_UNKNOWN_SERVER_ERROR : KE_INVALID_RECORD, index,
                  "the compressed records are not well formed");
}

/* How much a batch may unfold to where the whole must be in memory. */
static size_t unfolded_max(const struct log_policy *p)
{
    enum { UNFOLDED_BYTES_MIN = 64 << 20 };
    return size_max(UNFOLDED_BYTES_MIN, (size_t)p->max_message_bytes * 4);
}

/* A new batch of the same records in another codec, or with offsets 0..n-1. */
static int16_t rebuild(const struct log_policy *policy, const uint8_t *b, size_t len,
                       enum codec codec, struct buf *out, struct log_append_result *res)
{
    struct buf plain = {0};
    struct batch_options o;
    struct batch_builder builder;
    struct record_iter it;
    struct record r;

    batch_options_init(&o);
    o.codec = codec;
    o.producer_id = batch_producer_id(b);
    o.producer_epoch = batch_producer_epoch(b);
    o.base_sequence = batch_base_sequence(b);
    o.is_transactional = (batch_attributes(b) & BATCH_TRANSACTIONAL) != 0;
    o.is_control = (batch_attributes(b) & BATCH_CONTROL) != 0;
    batch_builder_init(&builder, &o);
    enum err rc = codec_decompress(batch_codec(b), 2, b + BATCH_HEADER_BYTES,
                                   len - BATCH_HEADER_BYTES, unfolded_max(policy), &plain);
    if (rc == ERR_OK) {
        record_iter_init(&it, b, plain.p, plain.len);
        while ((rc = record_next(&it, &r)) == ERR_OK)
            batch_builder_add_record(&builder, &r);
        if (rc == ERR_NOT_FOUND)
            rc = batch_builder_finish(&builder, out);
    }
    buf_fini(&plain);
    batch_builder_fini(&builder);
    if (rc == ERR_TOO_LARGE || (rc == ERR_OK && out->len > (size_t)policy->max_message_bytes))
        return reject(res, KE_MESSAGE_TOO_LARGE, -1,
                      "the recompressed batch is larger than max.message.bytes");
    return rc == ERR_OK ? KE_NONE
                        : reject(res, KE_INVALID_RECORD, -1, "the records are not well formed");
}

/* The codec that the topic wants the batch in. */
static enum codec target_codec(const struct log_policy *policy, const uint8_t *b)
{
    if (policy->compression_type < 0 || (batch_attributes(b) & BATCH_CONTROL) != 0)
        return (enum codec)batch_codec(b);
    return (enum codec)policy->compression_type;
}

static void settle_times(struct log_batch *out, const struct walk *w)
{
    uint8_t *b = out->records;
    bool marked = (batch_attributes(b) & BATCH_LOG_APPEND_TIME) != 0;

    out->log_append_time_ms = -1;
    out->max_timestamp_ms = w->max_timestamp_ms;
    if (w->policy->is_log_append_time) {
        out->max_timestamp_ms = out->log_append_time_ms = w->now_ms;
        batch_set_times(b, true, w->now_ms);
    } else if (marked || batch_max_timestamp(b) != w->max_timestamp_ms) {
        batch_set_times(b, false, w->max_timestamp_ms);
    }
}

static void describe(struct log_batch *out, enum log_append_origin origin)
{
    const uint8_t *b = out->records;

    out->producer_id = batch_producer_id(b);
    out->producer_epoch = batch_producer_epoch(b);
    out->base_sequence = batch_base_sequence(b);
    out->last_offset_delta = batch_last_offset_delta(b);
    out->record_count = batch_count(b);
    out->is_transactional = (batch_attributes(b) & BATCH_TRANSACTIONAL) != 0;
    out->is_control = (batch_attributes(b) & BATCH_CONTROL) != 0;
    out->origin = origin;
}

/* Whether bytes begin with a whole batch, whatever it is. */
enum frame { FRAME_NONE, FRAME_BAD, FRAME_WHOLE };

static enum frame frame_at(const uint8_t *p, size_t n, size_t *total_out)
{
    switch (batch_peek(p, n, total_out)) {
    case BATCH_PARTIAL:
        return FRAME_NONE;
    case BATCH_BAD: /* its length is right where only its counts are not */
        return *total_out == 0 ? FRAME_BAD : *total_out <= n ? FRAME_WHOLE : FRAME_NONE;
    case BATCH_LEGACY:
    case BATCH_WHOLE:
        break;
    }
    return FRAME_WHOLE;
}

/* One whole batch of format 2 is wanted. What stands behind it is left out when it is not even a
 * whole batch, as in Kafka's ByteBufferLogInputStream; *len becomes the batch's own length. */
static int16_t check_frame(const uint8_t *records, size_t *len, struct log_append_result *res)
{
    size_t total, next;
    enum frame frame = frame_at(records, *len, &total);

    if (frame == FRAME_NONE)
        return reject(res, KE_INVALID_RECORD, -1,
                      *len == 0 ? "no record batch" : "the record batch is cut");
    if (frame == FRAME_BAD)
        return reject(res, KE_CORRUPT_MESSAGE, -1, "the record batch is malformed");
    if (batch_magic(records) < 2)
        return reject(res, KE_INVALID_RECORD, -1, "Produce 3 and above carry format 2");
    frame = frame_at(records + total, *len - total, &next);
    if (frame == FRAME_BAD)
        return reject(res, KE_CORRUPT_MESSAGE, -1, "what stands behind the batch is malformed");
    if (frame == FRAME_WHOLE)
        return reject(res, KE_INVALID_RECORD, -1, "exactly one record batch is allowed");
    *len = total;
    return KE_NONE;
}

bool log_needs_decompression(const struct log_policy *policy, const uint8_t *records, size_t len)
{
    if (len < BATCH_PREFIX_BYTES)
        return false;
    if (batch_magic(records) != 2) /* an old message set is rebuilt */
        return batch_magic(records) >= 0 && batch_magic(records) < 2;
    if (len < BATCH_HEADER_BYTES)
        return false;
    return batch_codec(records) != CODEC_NONE || policy->compression_type > CODEC_NONE;
}

static int16_t validate_batch(const struct log_policy *policy, uint8_t *records, size_t len,
                              enum log_append_origin origin, int16_t produce_version,
                              int64_t now_ms, struct log_batch *out, struct log_append_result *res)
{
    struct walk w = {.policy = policy,
                     .res = res,
                     .now_ms = now_ms,
                     .max_timestamp_ms = -1,
                     .in_sequence = true,
                     .from_client = origin == LOG_FROM_CLIENT};
    struct buf rebuilt = {0};

    int16_t code = check_frame(records, &len, res);
    *out = (struct log_batch){.records = records, .len = len};
    if (code == KE_NONE)
        code = check_header(policy, records, len, origin, produce_version, res);
    if (code != KE_NONE)
        return code;
    w.marked_append_time = (batch_attributes(records) & BATCH_LOG_APPEND_TIME) != 0;
    bool is_plain = batch_codec(records) == CODEC_NONE;
    code = is_plain ? walk_plain(&w, records, len) : walk_compressed(&w, records, len);
    if (code != KE_NONE)
        return code;
    enum codec codec = target_codec(policy, records);
    if (codec != batch_codec(records) || !w.in_sequence) {
        code = rebuild(policy, records, len, codec, &rebuilt, res);
        if (code != KE_NONE) {
            buf_fini(&rebuilt);
            return code;
        }
        out->owned = out->records = rebuilt.p;
        out->len = rebuilt.len;
    }
    settle_times(out, &w);
    describe(out, origin);
    return KE_NONE;
}

static bool is_old_message_set(const uint8_t *records, size_t len)
{
    size_t total;
    return batch_peek(records, len, &total) == BATCH_LEGACY;
}

/* Messages of format 0 or 1 become one v2 batch, which is then checked like any other. */
static int16_t validate_old(const struct log_policy *policy, const uint8_t *records, size_t len,
                            int64_t now_ms, struct log_batch *out, struct log_append_result *res)
{
    struct buf batch = {0};

    enum err rc = legacy_to_batch(records, len, unfolded_max(policy), &batch);
    if (rc != ERR_OK) {
        buf_fini(&batch);
        *out = (struct log_batch){0};
        if (rc == ERR_TOO_LARGE)
            return reject(res, KE_MESSAGE_TOO_LARGE, -1, "the message set unfolds to too much");
        if (rc == ERR_OUT_OF_RANGE)
            return reject(res, KE_INVALID_TIMESTAMP, -1, "a timestamp is negative");
        return reject(res, rc == ERR_CORRUPT ? KE_CORRUPT_MESSAGE : KE_INVALID_RECORD, -1,
                      "the message set is not well formed");
    }
    int16_t code = validate_batch(policy, batch.p, batch.len, LOG_FROM_CLIENT,
                                  BATCHES_FIRST_PRODUCE_VERSION, now_ms, out, res);
    if (code == KE_NONE && out->owned == NULL)
        out->owned = batch.p;
    else
        buf_fini(&batch);
    return code;
}

int16_t log_validate(const struct log_policy *policy, uint8_t *records, size_t len,
                     enum log_append_origin origin, int16_t produce_version, int64_t now_ms,
                     struct log_batch *out, struct log_append_result *res)
{
    *res = (struct log_append_result){.base_offset = -1,
                                      .last_offset = -1,
                                      .log_append_time_ms = -1,
                                      .log_start_offset = -1,
                                      .record_error_index = -1};
    if (origin == LOG_FROM_CLIENT && produce_version < BATCHES_FIRST_PRODUCE_VERSION &&
        is_old_message_set(records, len))
        return validate_old(policy, records, len, now_ms, out, res);
    return validate_batch(policy, records, len, origin, produce_version, now_ms, out, res);
}

void log_batch_fini(struct log_batch *b)
{
    FREE_NULL(&b->owned);
}
