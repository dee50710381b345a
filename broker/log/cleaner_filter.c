/* SPDX-License-Identifier: Apache-2.0 */
/* What stays of one batch. KAFKA: Cleaner.cleanInto, MemoryRecords.filterTo. */
#include "broker/log/cleaner.h"

#include "common/record/batch.h"
#include "common/record/builder.h"
#include "common/record/compress.h"

#include <stdlib.h>

enum { UNFOLDED_BYTES_MAX = 256 << 20 };

enum err clean_records_of(const uint8_t *batch, size_t len, struct buf *plain,
                          struct record_iter *it)
{
    const uint8_t *records = batch + BATCH_HEADER_BYTES;
    size_t n = len - BATCH_HEADER_BYTES;

    if (batch_codec(batch) != CODEC_NONE && batch_count(batch) > 0) {
        plain->len = 0;
        enum err rc =
            codec_decompress(batch_codec(batch), 2, records, n, UNFOLDED_BYTES_MAX, plain);
        if (rc != ERR_OK)
            return rc;
        records = plain->p;
        n = plain->len;
    } else if (batch_count(batch) == 0) {
        n = 0; /* some writers leave an empty stream of their codec */
    }
    record_iter_init(it, batch, records, n);
    return ERR_OK;
}

enum err clean_record_next(struct record_iter *it, const uint8_t *batch, int32_t *last_delta,
                           struct record *out)
{
    enum err rc = record_next(it, out);

    if (rc != ERR_OK)
        return rc;
    if (out->offset_delta <= *last_delta || out->offset_delta > batch_last_offset_delta(batch))
        return ERR_CORRUPT;
    *last_delta = out->offset_delta;
    return ERR_OK;
}

/* ---- the batch */
static int by_id(const void *key, const void *entry)
{
    int64_t id = *(const int64_t *)key, other = ((const struct clean_producer *)entry)->producer_id;
    return id < other ? -1 : id > other;
}

/* The batch that has a known producer's last sequence number; or, if it wrote nothing else, a
 * marker that has its epoch. */
static bool is_last_of_producer(const struct clean_filter *f, const uint8_t *batch)
{
    int64_t id = batch_producer_id(batch);

    if (id < 0 || f->producer_count == 0)
        return false;
    const struct clean_producer *p =
        bsearch(&id, f->producers, f->producer_count, sizeof *f->producers, by_id);
    if (p == NULL)
        return false;
    if (p->last_data_offset >= 0)
        return batch_last_offset(batch) == p->last_data_offset;
    return (batch_attributes(batch) & BATCH_CONTROL) != 0 &&
           batch_producer_epoch(batch) == p->epoch;
}

static bool horizon_is_past(const struct clean_filter *f, const uint8_t *batch)
{
    return (batch_attributes(batch) & BATCH_DELETE_HORIZON) != 0 &&
           batch_base_timestamp(batch) <= f->now_ms;
}

static bool keep_record(const struct clean_filter *f, const uint8_t *batch, const struct record *r)
{
    if (r->offset >= f->map_end_offset)
        return true;
    if (r->key.len < 0 || r->offset < offset_map_get(f->map, r->key))
        return false;
    return r->value.len >= 0 || !horizon_is_past(f, batch);
}

/* Fills f->keep with a byte a record. */
struct choice {
    int32_t read, kept;
    bool has_tombstone; /* among those kept and below the map's end */
};
static enum err choose(struct clean_filter *f, const uint8_t *batch, size_t len, struct choice *out)
{
    bool is_control = (batch_attributes(batch) & BATCH_CONTROL) != 0;
    struct record_iter it;
    struct record r;
    int32_t last_delta = -1;

    *out = (struct choice){0};
    f->keep.len = 0;
    enum err rc = clean_records_of(batch, len, &f->plain, &it);
    while (rc == ERR_OK && (rc = clean_record_next(&it, batch, &last_delta, &r)) == ERR_OK) {
        uint8_t keep = is_control || keep_record(f, batch, &r);
        buf_add(&f->keep, &keep, 1);
        out->read++;
        out->kept += keep;
        out->has_tombstone |= keep && r.value.len < 0 && r.offset < f->map_end_offset;
    }
    return rc == ERR_NOT_FOUND ? ERR_OK : rc;
}

/* ---- writing it anew */
static void options_of(const uint8_t *batch, struct batch_options *o)
{
    uint16_t attributes = batch_attributes(batch);

    batch_options_init(o);
    o->codec = (enum codec)batch_codec(batch);
    o->base_offset = batch_base_offset(batch);
    o->leader_epoch = batch_leader_epoch(batch);
    o->producer_id = batch_producer_id(batch);
    o->producer_epoch = batch_producer_epoch(batch);
    o->base_sequence = batch_base_sequence(batch);
    o->is_transactional = (attributes & BATCH_TRANSACTIONAL) != 0;
    o->is_control = (attributes & BATCH_CONTROL) != 0;
    o->log_append_time_ms =
        (attributes & BATCH_LOG_APPEND_TIME) != 0 ? batch_max_timestamp(batch) : -1;
    o->has_delete_horizon = (attributes & BATCH_DELETE_HORIZON) != 0;
    o->delete_horizon_ms = batch_base_timestamp(batch);
}

static enum err rebuild(struct clean_filter *f, const uint8_t *batch, size_t len, bool set_horizon,
                        struct clean_batch *out)
{
    struct batch_options o;
    struct batch_builder b;
    struct record_iter it;
    struct record r;

    options_of(batch, &o);
    if (set_horizon) {
        o.has_delete_horizon = true;
        o.delete_horizon_ms = f->delete_retention_ms > INT64_MAX - f->now_ms
                                  ? INT64_MAX
                                  : f->now_ms + f->delete_retention_ms;
    }
    batch_builder_init(&b, &o);
    enum err rc = ERR_OK;
    if (batch_codec(batch) == CODEC_NONE)
        record_iter_init(&it, batch, batch + BATCH_HEADER_BYTES, len - BATCH_HEADER_BYTES);
    else
        record_iter_init(&it, batch, f->plain.p, f->plain.len); /* as choose left it */
    for (size_t i = 0; rc == ERR_OK && i < f->keep.len; i++) {
        rc = record_next(&it, &r);
        if (rc == ERR_OK && f->keep.p[i])
            batch_builder_keep_record(&b, &r);
    }
    if (rc == ERR_OK) {
        batch_builder_end_at(&b, batch_last_offset(batch));
        f->rebuilt.len = 0;
        rc = batch_builder_finish(&b, &f->rebuilt);
    }
    batch_builder_fini(&b);
    *out = (struct clean_batch){
        .verdict = CLEAN_REWRITE, .bytes = f->rebuilt.p, .len = f->rebuilt.len};
    return rc;
}

/* The header alone: no codec, no horizon, no records; the rest as it was. */
static void make_empty(struct clean_filter *f, const uint8_t *batch, struct clean_batch *out)
{
    enum { KEPT = BATCH_LOG_APPEND_TIME | BATCH_TRANSACTIONAL | BATCH_CONTROL };

    f->rebuilt.len = 0;
    buf_add(&f->rebuilt, batch, BATCH_HEADER_BYTES);
    uint8_t *b = f->rebuilt.p;
    be32_store(b + BATCH_AT_LENGTH, BATCH_HEADER_BYTES - BATCH_OVERHEAD_BYTES);
    be16_store(b + BATCH_AT_ATTRIBUTES, (uint16_t)(batch_attributes(batch) & KEPT));
    be64_store(b + BATCH_AT_BASE_TIMESTAMP, (uint64_t)-1);
    be32_store(b + BATCH_AT_COUNT, 0);
    be32_store(b + BATCH_AT_CRC, batch_crc_compute(b));
    *out = (struct clean_batch){.verdict = CLEAN_REWRITE, .bytes = b, .len = BATCH_HEADER_BYTES};
}

enum err clean_filter_batch(struct clean_filter *f, const uint8_t *batch, size_t len,
                            bool keep_empty, struct clean_batch *out)
{
    bool is_control = (batch_attributes(batch) & BATCH_CONTROL) != 0, is_void, is_over = false;
    const struct index_txn_entry *aborted = NULL;
    struct choice c = {0};

    if (is_control) {
        is_over = clean_txns_marker(&f->txns, batch, &aborted);
        is_void = is_over && (batch_count(batch) == 0 || horizon_is_past(f, batch));
        if (f->txns.lacks_aborted)
            return ERR_CORRUPT;
    } else {
        is_void = clean_txns_data(&f->txns, batch);
    }
    *out = (struct clean_batch){.verdict = CLEAN_DROP};
    enum err rc = is_void ? ERR_OK : choose(f, batch, len, &c);
    if (rc != ERR_OK)
        return rc;
    if (c.kept > 0) {
        bool has_horizon = (batch_attributes(batch) & BATCH_DELETE_HORIZON) != 0;
        bool set_horizon = !has_horizon && (c.has_tombstone || is_over);
        if (c.kept == c.read && !set_horizon)
            *out = (struct clean_batch){.verdict = CLEAN_KEEP, .bytes = batch, .len = len};
        else
            rc = rebuild(f, batch, len, set_horizon, out);
    } else if (keep_empty || is_last_of_producer(f, batch)) {
        if (len == BATCH_HEADER_BYTES) /* empty already */
            *out = (struct clean_batch){.verdict = CLEAN_KEEP, .bytes = batch, .len = len};
        else
            make_empty(f, batch, out);
    }
    out->records_read = batch_count(batch);
    out->records_kept = c.kept;
    out->aborted = aborted;
    return rc;
}

void clean_filter_fini(struct clean_filter *f)
{
    clean_txns_fini(&f->txns);
    buf_fini(&f->plain);
    buf_fini(&f->rebuilt);
    buf_fini(&f->keep);
}
