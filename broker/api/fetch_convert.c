/* SPDX-License-Identifier: Apache-2.0 */
/* fetch_convert - see fetch_convert.h. Rules: RecordsUtil, LazyDownConversionRecords. Unlike there,
 * the CRC of every batch is checked, for the messages get new ones. */
#include "broker/api/fetch_convert.h"
#include "broker/api/api.h"
#include "broker/config/config.h"
#include "common/record/batch.h"
#include "common/record/legacy.h"

enum {
    READ_BYTES = 256 * 1024,
    UNFOLDED_SMALL_BYTES = 4 << 20,  /* any number of conversions at a time */
    UNFOLDED_LARGE_BYTES = 64 << 20, /* one at a time */
    BATCH_BYTES_MAX = 64 << 20,
    UNSENT_ANSWERS_MAX = 16, /* of kafuka.fetch.conversion.bytes each, before answers get small */
};

static _Atomic int64_t converted_bytes; /* that are not in an answer yet */

struct converter {
    struct fetch_conversion *conversion;
    struct legacy_down down;
    struct buf window; /* bytes of the part's file from window_at on */
    int64_t window_at;
};

/* Makes need bytes at position available, and more of the range where that costs no more.
 * NOT_FOUND: the file ends before. */
static enum err fill(struct converter *v, struct log_range *range, int64_t position, size_t need)
{
    size_t rest = (size_t)i64_max(range->position + range->length - position, 0);
    size_t want = size_max(need, size_min(rest, READ_BYTES)), got;

    if (need > BATCH_BYTES_MAX)
        return ERR_TOO_LARGE;
    v->window.len = 0;
    v->window_at = position;
    buf_reserve(&v->window, want);
    enum err rc = log_range_read(range, position, v->window.p, want, &got);
    if (rc != ERR_OK)
        return rc;
    v->window.len = got;
    return got < need ? ERR_NOT_FOUND : ERR_OK;
}

/* The batch at position. NOT_FOUND: only a part of it is in the range; the first may reach beyond,
 * where whole batches are. */
static enum err batch_at(struct converter *v, struct log_range *range, int64_t position,
                         const uint8_t **batch_out, size_t *total_out)
{
    int64_t end = range->position + range->length;

    for (;;) {
        size_t skip = (size_t)(position - v->window_at);
        size_t have = v->window.len > skip ? v->window.len - skip : 0, total = 0;
        enum batch_peek peek =
            have == 0 ? BATCH_PARTIAL : batch_peek(v->window.p + skip, have, &total);
        if (peek == BATCH_WHOLE) {
            *batch_out = v->window.p + skip;
            *total_out = total;
            return ERR_OK;
        }
        if (peek != BATCH_PARTIAL)
            return ERR_CORRUPT;
        size_t need = total != 0 ? total : BATCH_HEADER_BYTES;
        if (position != range->position && (int64_t)need > end - position)
            return ERR_NOT_FOUND;
        if (have >= need) /* cannot be: it would have been whole, or more needed */
            return ERR_CORRUPT;
        enum err rc = fill(v, range, position, need);
        if (rc != ERR_OK)
            return rc;
    }
}

static enum err convert_batch(struct converter *v, const uint8_t *batch, size_t total,
                              struct buf *out)
{
    struct lock *large = &v->conversion->request->broker->api->large_conversion_lock;

    v->down.unfolded_max = UNFOLDED_SMALL_BYTES;
    enum err rc = legacy_down_batch(&v->down, batch, total, out);
    if (rc != ERR_TOO_LARGE)
        return rc;
    lock_take(large);
    v->down.unfolded_max = UNFOLDED_LARGE_BYTES;
    rc = legacy_down_batch(&v->down, batch, total, out);
    legacy_down_fini(&v->down); /* not kept: the next one may be small */
    lock_release(large);
    return rc;
}

static enum err convert_range(struct converter *v, struct fetch_conversion_part *p)
{
    int64_t position = p->range.position, end = position + p->range.length;
    const uint8_t *batch;
    size_t total;

    v->window.len = 0;
    v->window_at = position;
    while (position < end && !atomic_load(&v->conversion->is_cancelled)) {
        enum err rc = batch_at(v, &p->range, position, &batch, &total);
        if (rc == ERR_OK)
            rc = convert_batch(v, batch, total, &p->out);
        if (rc == ERR_NOT_FOUND || rc == ERR_LIMIT)
            return ERR_OK;
        if (rc != ERR_OK)
            return p->out.len > 0 ? ERR_OK : rc; /* the next fetch begins with it */
        p->next_offset = batch_last_offset(batch) + 1;
        position += (int64_t)total;
    }
    return ERR_OK;
}

static int16_t error_of(enum err rc)
{
    switch (rc) {
    case ERR_OK:
        return KE_NONE;
    case ERR_CORRUPT:
        return KE_CORRUPT_MESSAGE;
    case ERR_UNSUPPORTED:
        return KE_UNSUPPORTED_COMPRESSION_TYPE;
    case ERR_TOO_LARGE:
        return KE_MESSAGE_TOO_LARGE;
    default:
        return KE_KAFKA_STORAGE_ERROR;
    }
}

/* used: bytes of the answer so far. */
static void convert_part(struct converter *v, struct fetch_conversion_part *p, int64_t used)
{
    const struct fetch_conversion *c = v->conversion;
    int64_t left = i64_max(c->bytes_max - used, 0);
    bool first_is_whole = used == 0 || (c->is_cut && left > 0);

    p->next_offset = p->first_offset;
    if (left > 0 || first_is_whole) {
        v->down.first_offset = p->first_offset;
        v->down.out_max = (size_t)i64_max(i64_min(p->bytes_max, left), 0);
        p->error = error_of(convert_range(v, p));
    }
    if (!first_is_whole && (int64_t)p->out.len > left)
        buf_fini(&p->out);
    if (c->is_cut)
        p->out.len = size_min(p->out.len, (size_t)i64_max(p->bytes_max, 0));
    log_range_release(&p->range);
}

/* Clients that do not read what they asked for have it in our memory: then all get little. */
static int64_t bytes_allowed(const struct fetch_conversion *c)
{
    int64_t most = c->request->broker->config->kafuka_fetch_conversion_bytes;
    int64_t unsent = atomic_load(&converted_bytes) + conn_large_answers_bytes();

    return unsent > UNSENT_ANSWERS_MAX * most ? i64_min(c->bytes_max, CONN_LARGE_ANSWER_BYTES)
                                              : c->bytes_max;
}

static void convert_all(struct fetch_conversion *c)
{
    struct converter v = {.conversion = c, .down = {.magic = c->format}};
    int64_t used = 0;

    c->bytes_max = bytes_allowed(c);
    for (int32_t i = 0; i < c->count; i++) {
        convert_part(&v, &c->parts[i], used);
        used += (int64_t)c->parts[i].out.len;
    }
    (void)atomic_fetch_add(&converted_bytes, used);
    legacy_down_fini(&v.down);
    buf_fini(&v.window);
}

/* ---- turns */

static void submit(struct api *a, struct fetch_conversion *c)
{
    pool_submit_always(a->broker->io_pool, &c->job); /* bounded by the turns */
}

static void convert_on_pool(struct pool_job *j)
{
    struct fetch_conversion *c = CONTAINER_OF(j, struct fetch_conversion, job);
    struct api *a = c->request->broker->api;

    convert_all(c);
    lock_take(&a->conversions_lock);
    struct fetch_conversion *next = TAILQ_FIRST(&a->conversions);
    if (next != NULL) {
        TAILQ_REMOVE(&a->conversions, next, link);
        submit(a, next);
    } else {
        a->conversions_running--;
    }
    lock_release(&a->conversions_lock);
    request_post(c->request, c->done); /* c is the loop's now */
}

void fetch_conversion_start(struct fetch_conversion *c)
{
    struct api *a = c->request->broker->api;
    int32_t most = i32_max(a->broker->config->num_io_threads / 2, 1);

    ASSERT(c->format == 0 || c->format == 1);
    atomic_init(&c->is_cancelled, false);
    c->job.run = convert_on_pool;
    lock_take(&a->conversions_lock);
    if (a->conversions_running < most) {
        a->conversions_running++;
        submit(a, c);
    } else {
        TAILQ_INSERT_TAIL(&a->conversions, c, link);
    }
    lock_release(&a->conversions_lock);
}

void fetch_conversion_cancel(struct fetch_conversion *c)
{
    atomic_store(&c->is_cancelled, true);
}

void fetch_conversion_parts_free(struct fetch_conversion_part *parts, int32_t count)
{
    for (int32_t i = 0; i < count; i++) {
        ASSERT(parts[i].range.segment == NULL);
        (void)atomic_fetch_sub(&converted_bytes, (int64_t)parts[i].out.len);
        buf_fini(&parts[i].out);
    }
    mem_free(parts);
}
