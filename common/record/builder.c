/* SPDX-License-Identifier: Apache-2.0 */
/* Builds record batches. */
#include "common/record/builder.h"

#include "common/record/compress.h"

void batch_options_init(struct batch_options *o)
{
    *o = (struct batch_options){.codec = CODEC_NONE,
                                .level = CODEC_LEVEL_DEFAULT,
                                .producer_id = -1,
                                .log_append_time_ms = -1,
                                .leader_epoch = -1,
                                .base_sequence = -1,
                                .producer_epoch = -1};
}

void batch_builder_init(struct batch_builder *b, const struct batch_options *o)
{
    *b = (struct batch_builder){
        .options = *o, .base_timestamp_ms = -1, .max_timestamp_ms = -1, .last_offset_delta = -1};
}

void batch_builder_fini(struct batch_builder *b)
{
    buf_fini(&b->records);
}

static size_t varlong_size(int64_t v)
{
    uint8_t scratch[10];
    return varlong_encode(scratch, v);
}

static void add_varlong(struct buf *out, int64_t v)
{
    buf_reserve(out, 10);
    out->len += varlong_encode(out->p + out->len, v);
}

static void add_bytes(struct buf *out, struct bytes b)
{
    add_varlong(out, b.len);
    if (b.len > 0)
        buf_add(out, b.p, (size_t)b.len);
}

static int64_t bytes_size(struct bytes b)
{
    return (int64_t)varlong_size(b.len) + i64_max(b.len, 0);
}

/* Everything of a record up to its header count, for a record whose encoded headers are
 * headers_bytes long. */
static void add_front(struct batch_builder *b, int32_t offset_delta, int64_t timestamp_ms,
                      struct bytes key, struct bytes value, int64_t headers_bytes)
{
    ASSERT(offset_delta > b->last_offset_delta && b->count < INT32_MAX);
    ASSERT(key.len <= INT32_MAX && value.len <= INT32_MAX);
    if (b->count == 0)
        b->base_timestamp_ms =
            b->options.has_delete_horizon ? b->options.delete_horizon_ms : timestamp_ms;
    int64_t timestamp_delta = (int64_t)((uint64_t)timestamp_ms - (uint64_t)b->base_timestamp_ms);
    int64_t size = 1 + (int64_t)varlong_size(timestamp_delta) +
                   (int64_t)varlong_size(offset_delta) + bytes_size(key) + bytes_size(value) +
                   headers_bytes;
    add_varlong(&b->records, size);
    buf_add(&b->records, "", 1); /* attributes */
    add_varlong(&b->records, timestamp_delta);
    add_varlong(&b->records, offset_delta);
    add_bytes(&b->records, key);
    add_bytes(&b->records, value);
    b->max_timestamp_ms = i64_max(b->max_timestamp_ms, timestamp_ms);
    b->last_offset_delta = offset_delta;
    b->count++;
}

void batch_builder_add_at(struct batch_builder *b, int64_t offset, int64_t timestamp_ms,
                          struct bytes key, struct bytes value, const struct batch_header *headers,
                          int32_t count)
{
    int64_t headers_bytes = (int64_t)varlong_size(count);

    for (int32_t i = 0; i < count; i++)
        headers_bytes += bytes_size(headers[i].name) + bytes_size(headers[i].value);
    ASSERT(offset >= b->options.base_offset && offset - b->options.base_offset <= INT32_MAX);
    add_front(b, (int32_t)(offset - b->options.base_offset), timestamp_ms, key, value,
              headers_bytes);
    add_varlong(&b->records, count);
    for (int32_t i = 0; i < count; i++) {
        add_bytes(&b->records, headers[i].name);
        add_bytes(&b->records, headers[i].value);
    }
}

void batch_builder_add(struct batch_builder *b, int64_t timestamp_ms, struct bytes key,
                       struct bytes value, const struct batch_header *headers, int32_t count)
{
    batch_builder_add_at(b, b->options.base_offset + b->last_offset_delta + 1, timestamp_ms, key,
                         value, headers, count);
}

static void add_record(struct batch_builder *b, int32_t offset_delta, const struct record *r)
{
    size_t headers_len = (size_t)(r->headers_end - r->headers);

    add_front(b, offset_delta, r->timestamp_ms, r->key, r->value,
              (int64_t)(varlong_size(r->header_count) + headers_len));
    add_varlong(&b->records, r->header_count);
    buf_add(&b->records, r->headers, headers_len);
}

void batch_builder_add_record(struct batch_builder *b, const struct record *r)
{
    add_record(b, b->last_offset_delta + 1, r);
}

void batch_builder_keep_record(struct batch_builder *b, const struct record *r)
{
    int64_t delta = r->offset - b->options.base_offset;

    ASSERT(delta >= 0 && delta <= INT32_MAX);
    add_record(b, (int32_t)delta, r);
}

void batch_builder_end_at(struct batch_builder *b, int64_t last_offset)
{
    int64_t delta = last_offset - b->options.base_offset;

    ASSERT(delta >= b->last_offset_delta && delta <= INT32_MAX);
    b->last_offset_delta = (int32_t)delta;
}

static void write_header(const struct batch_builder *b, uint8_t *h, size_t total)
{
    const struct batch_options *o = &b->options;
    bool append_time = o->log_append_time_ms >= 0;
    unsigned attributes = (unsigned)o->codec | (append_time ? BATCH_LOG_APPEND_TIME : 0) |
                          (o->is_transactional ? BATCH_TRANSACTIONAL : 0) |
                          (o->is_control ? BATCH_CONTROL : 0) |
                          (o->has_delete_horizon ? BATCH_DELETE_HORIZON : 0);

    be64_store(h + BATCH_AT_BASE_OFFSET, (uint64_t)o->base_offset);
    be32_store(h + BATCH_AT_LENGTH, (uint32_t)(total - BATCH_OVERHEAD_BYTES));
    be32_store(h + BATCH_AT_LEADER_EPOCH, (uint32_t)o->leader_epoch);
    h[BATCH_AT_MAGIC] = 2;
    be16_store(h + BATCH_AT_ATTRIBUTES, (uint16_t)attributes);
    be32_store(h + BATCH_AT_LAST_OFFSET_DELTA, (uint32_t)i32_max(b->last_offset_delta, 0));
    be64_store(h + BATCH_AT_BASE_TIMESTAMP, (uint64_t)b->base_timestamp_ms);
    be64_store(h + BATCH_AT_MAX_TIMESTAMP,
               (uint64_t)(append_time ? o->log_append_time_ms : b->max_timestamp_ms));
    be64_store(h + BATCH_AT_PRODUCER_ID, (uint64_t)o->producer_id);
    be16_store(h + BATCH_AT_PRODUCER_EPOCH, (uint16_t)o->producer_epoch);
    be32_store(h + BATCH_AT_BASE_SEQUENCE, (uint32_t)o->base_sequence);
    be32_store(h + BATCH_AT_COUNT, (uint32_t)b->count);
    be32_store(h + BATCH_AT_CRC, batch_crc_compute(h));
}

enum err batch_builder_finish(struct batch_builder *b, struct buf *out)
{
    size_t start = out->len;
    static const uint8_t empty[1];

    buf_reserve(out, BATCH_HEADER_BYTES);
    memset(out->p + start, 0, BATCH_HEADER_BYTES);
    out->len += BATCH_HEADER_BYTES;
    enum err rc = codec_compress(b->options.codec, b->options.level,
                                 b->records.len == 0 ? empty : b->records.p, b->records.len, out);
    if (rc == ERR_OK && out->len - start > INT32_MAX)
        rc = ERR_TOO_LARGE;
    if (rc == ERR_OK)
        write_header(b, out->p + start, out->len - start);
    else
        out->len = start;
    b->records.len = 0;
    b->count = 0;
    b->last_offset_delta = -1;
    b->base_timestamp_ms = b->max_timestamp_ms = -1;
    return rc;
}

void batch_build_marker(const struct batch_options *o, bool commit, int32_t coordinator_epoch,
                        int64_t timestamp_ms, struct buf *out)
{
    uint8_t key[4] = {0, 0, 0, commit ? 1 : 0};
    uint8_t value[6] = {0};
    struct batch_options marker = *o;
    struct batch_builder b;

    be32_store(value + 2, (uint32_t)coordinator_epoch);
    marker.codec = CODEC_NONE;
    marker.base_sequence = -1;
    marker.is_transactional = marker.is_control = true;
    batch_builder_init(&b, &marker);
    batch_builder_add(&b, timestamp_ms, (struct bytes){key, sizeof key},
                      (struct bytes){value, sizeof value}, NULL, 0);
    enum err rc = batch_builder_finish(&b, out);
    ASSERT(rc == ERR_OK);
    batch_builder_fini(&b);
}
