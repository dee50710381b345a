/* SPDX-License-Identifier: Apache-2.0 */
/* Streaming walk over compressed records. */
#include "common/record/scan.h"

#include "common/record/compress.h"

enum { WINDOW_BYTES = 16 * 1024 };

struct record_scan {
    struct unpack *unpack;
    int64_t base_timestamp_ms, append_time_ms; /* the last -1: CreateTime */
    int64_t unfolded;                          /* bytes so far; limited */
    int32_t left;
    enum err failed;   /* sticky: reads return 0 from then on */
    int64_t body_left; /* bytes of the current record */
    size_t at, len;    /* in window */
    uint8_t window[WINDOW_BYTES];
};

enum err record_scan_open(const uint8_t *batch, size_t len, struct record_scan **out)
{
    struct record_scan *s = xmalloc(sizeof *s);

    s->base_timestamp_ms = batch_base_timestamp(batch);
    s->append_time_ms =
        (batch_attributes(batch) & BATCH_LOG_APPEND_TIME) != 0 ? batch_max_timestamp(batch) : -1;
    s->left = batch_count(batch);
    s->failed = ERR_OK;
    s->unfolded = s->body_left = 0;
    s->at = s->len = 0;
    enum err rc = unpack_open(batch_codec(batch), 2, batch + BATCH_HEADER_BYTES,
                              len - BATCH_HEADER_BYTES, &s->unpack);
    if (rc != ERR_OK)
        FREE_NULL(&s);
    *out = s;
    return rc;
}

void record_scan_close(struct record_scan **s)
{
    if (*s != NULL)
        unpack_close(&(*s)->unpack);
    FREE_NULL(s);
}

/* Makes the window non-empty; false at the end of the stream or after a failure. */
static bool fill(struct record_scan *s)
{
    if (s->at < s->len)
        return true;
    if (s->failed != ERR_OK)
        return false;
    s->at = 0;
    s->failed = unpack_read(s->unpack, s->window, sizeof s->window, &s->len);
    if (s->failed != ERR_OK)
        s->len = 0;
    s->unfolded += (int64_t)s->len;
    if (s->unfolded > INT32_MAX) { /* more than a client could ever put into a batch */
        s->failed = ERR_CORRUPT;
        s->len = 0;
    }
    return s->len > 0;
}

enum { VARINT_BYTES_MAX = 5, VARLONG_BYTES_MAX = 10 };

/* A varint of at most bytes_max bytes, not folded yet; within_body counts it against the record. */
static uint64_t take_raw(struct record_scan *s, unsigned bytes_max, bool within_body)
{
    uint64_t v = 0;

    for (unsigned i = 0; i < bytes_max; i++) {
        if (!fill(s) || (within_body && s->body_left == 0))
            break;
        uint8_t c = s->window[s->at++];
        s->body_left -= within_body;
        v |= (uint64_t)(c & 0x7f) << 7 * i;
        if (c < 0x80)
            return v;
    }
    if (s->failed == ERR_OK)
        s->failed = ERR_CORRUPT;
    return 0;
}

static int32_t take_varint(struct record_scan *s, bool within_body)
{
    uint32_t v = (uint32_t)take_raw(s, VARINT_BYTES_MAX, within_body);
    return (int32_t)(v >> 1) ^ -(int32_t)(v & 1);
}

static int64_t take_varlong(struct record_scan *s)
{
    uint64_t v = take_raw(s, VARLONG_BYTES_MAX, true);
    return (int64_t)(v >> 1) ^ -(int64_t)(v & 1);
}

static void skip(struct record_scan *s, int64_t n)
{
    if (n < 0 || n > s->body_left) {
        if (s->failed == ERR_OK)
            s->failed = ERR_CORRUPT;
        return;
    }
    s->body_left -= n;
    while (n > 0 && fill(s)) {
        size_t step = size_min((size_t)n, s->len - s->at);
        s->at += step;
        n -= (int64_t)step;
    }
    if (n > 0 && s->failed == ERR_OK)
        s->failed = ERR_CORRUPT;
}

/* Skips length-prefixed bytes; false when they are null: any negative length, as Kafka reads it. */
static bool skip_bytes(struct record_scan *s, bool nullable)
{
    int32_t len = take_varint(s, true);

    if (len < 0 && nullable)
        return false;
    skip(s, len);
    return true;
}

enum err record_scan_next(struct record_scan *s, struct record_brief *out)
{
    if (s->failed != ERR_OK)
        return s->failed;
    if (s->left == 0) {
        if (fill(s))
            return ERR_CORRUPT; /* bytes are left over */
        return s->failed == ERR_OK ? ERR_NOT_FOUND : s->failed;
    }
    s->body_left = take_varint(s, false);
    if (s->body_left < 0)
        s->body_left = 0; /* the next read fails */
    skip(s, 1);           /* attributes */
    int64_t timestamp_delta = take_varlong(s);
    int32_t offset_delta = take_varint(s, true);
    out->has_key = skip_bytes(s, true);
    out->has_value = skip_bytes(s, true);
    int32_t headers = take_varint(s, true);
    if (headers < 0 || headers > s->body_left)
        return s->failed = s->failed == ERR_OK ? ERR_CORRUPT : s->failed;
    for (int32_t i = 0; i < headers && s->failed == ERR_OK; i++) {
        (void)skip_bytes(s, false);
        (void)skip_bytes(s, true);
    }
    if (s->failed != ERR_OK)
        return s->failed;
    if (s->body_left != 0)
        return s->failed = ERR_CORRUPT;
    out->offset_delta = offset_delta;
    out->timestamp_ms = s->append_time_ms >= 0
                            ? s->append_time_ms
                            : (int64_t)((uint64_t)s->base_timestamp_ms + (uint64_t)timestamp_delta);
    s->left--;
    return ERR_OK;
}
