/* SPDX-License-Identifier: Apache-2.0 */
/* Producers of a log: sequences, transactions, snapshots. */
#include "broker/log/producer_state.h"

#include "common/record/batch.h"

#include "common/base/hash.h"

struct producer_entry {
    UT_hash_handle hh;
    int64_t producer_id;
    int64_t last_timestamp_ms;
    int64_t txn_first_offset; /* -1: no transaction open */
    int32_t coordinator_epoch;
    int16_t epoch;
    uint8_t batch_count;
    struct producer_batch batches[PRODUCER_BATCHES_KEPT]; /* oldest first */
    TAILQ_ENTRY(producer_entry) open_link;                /* when a transaction is open */
};

/* An ended transaction whose marker is not known to be replicated. */
struct txn_unreplicated {
    int64_t first_offset, last_offset;
    TAILQ_ENTRY(txn_unreplicated) link;
};

struct producer_state {
    struct producer_entry *by_id;
    TAILQ_HEAD(open_list, producer_entry) open; /* by first offset: they open in log order */
    TAILQ_HEAD(unreplicated_list, txn_unreplicated) unreplicated; /* by first offset */
};

static struct producer_state *state_of(struct producer_state **s)
{
    if (*s == NULL) {
        *s = xcalloc(1, sizeof **s);
        TAILQ_INIT(&(*s)->open);
        TAILQ_INIT(&(*s)->unreplicated);
    }
    return *s;
}

static struct producer_entry *find(const struct producer_state *s, int64_t id)
{
    struct producer_entry *e = NULL;

    if (s != NULL)
        HASH_FIND(hh, s->by_id, &id, sizeof id, e);
    return e;
}

static struct producer_entry *find_or_add(struct producer_state *s, int64_t id)
{
    struct producer_entry *e = find(s, id);

    if (e != NULL)
        return e;
    e = xcalloc(1, sizeof *e);
    e->producer_id = id;
    e->epoch = -1;
    e->coordinator_epoch = -1;
    e->txn_first_offset = -1;
    e->last_timestamp_ms = -1;
    HASH_ADD(hh, s->by_id, producer_id, sizeof e->producer_id, e);
    return e;
}

bool marker_parse(const uint8_t *batch, bool *commit_out, int32_t *coordinator_epoch_out)
{
    enum { KEY_BYTES_MIN = 4, VALUE_BYTES_MIN = 6, TYPE_ABORT = 0, TYPE_COMMIT = 1 };
    struct record_iter it;
    struct record r;

    if ((batch_attributes(batch) & BATCH_CONTROL) == 0 || batch_codec(batch) != CODEC_NONE)
        return false;
    record_iter_init(&it, batch, batch + BATCH_HEADER_BYTES,
                     batch_total_bytes(batch) - BATCH_HEADER_BYTES);
    if (record_next(&it, &r) != ERR_OK || r.key.len < KEY_BYTES_MIN ||
        r.value.len < VALUE_BYTES_MIN)
        return false;
    uint16_t type = be16_load(r.key.p + 2);
    *commit_out = type == TYPE_COMMIT;
    *coordinator_epoch_out = (int32_t)be32_load(r.value.p + 2);
    return type == TYPE_ABORT || type == TYPE_COMMIT;
}

/* ---- checks */
static int32_t batch_first_sequence(const struct producer_batch *b)
{
    return (int32_t)(((uint32_t)b->last_sequence - (uint32_t)b->offset_delta) & 0x7fffffff);
}

static const struct producer_batch *find_duplicate(const struct producer_entry *e,
                                                   const struct producer_claim *c)
{
    int32_t last = sequence_add(c->base_sequence, c->last_offset_delta);

    if (e->epoch != c->producer_epoch)
        return NULL;
    for (int i = 0; i < e->batch_count; i++)
        if (batch_first_sequence(&e->batches[i]) == c->base_sequence &&
            e->batches[i].last_sequence == last)
            return &e->batches[i];
    return NULL;
}

static int16_t check_sequence(const struct producer_entry *e, const struct producer_claim *c)
{
    if (c->producer_epoch != e->epoch) /* higher, then: it begins at 0 */
        return c->base_sequence == 0 || e->epoch == -1 ? KE_NONE : KE_OUT_OF_ORDER_SEQUENCE_NUMBER;
    int32_t next =
        e->batch_count == 0 ? 0 : sequence_add(e->batches[e->batch_count - 1].last_sequence, 1);
    return c->base_sequence == next ? KE_NONE : KE_OUT_OF_ORDER_SEQUENCE_NUMBER;
}

int16_t producer_state_check(const struct producer_state *s, const struct producer_claim *c,
                             bool *is_duplicate_out, struct producer_batch *duplicate_out)
{
    const struct producer_entry *e = find(s, c->producer_id);

    *is_duplicate_out = false;
    if (e == NULL)
        return KE_NONE;
    if (c->is_control) {
        if (c->producer_epoch < e->epoch)
            return KE_INVALID_PRODUCER_EPOCH;
        return c->coordinator_epoch < e->coordinator_epoch ? KE_TRANSACTION_COORDINATOR_FENCED
                                                           : KE_NONE;
    }
    if (c->origin == LOG_FROM_CLIENT) {
        const struct producer_batch *d = find_duplicate(e, c);
        if (d != NULL) {
            *is_duplicate_out = true;
            *duplicate_out = *d;
            return KE_NONE;
        }
    }
    if (c->producer_epoch < e->epoch)
        return KE_INVALID_PRODUCER_EPOCH;
    if (c->origin == LOG_FROM_CLIENT) {
        int16_t code = check_sequence(e, c);
        if (code != KE_NONE)
            return code;
    }
    if (!c->is_transactional && e->txn_first_offset >= 0)
        return KE_INVALID_TXN_STATE;
    return KE_NONE;
}

/* ---- updates */
static void open_transaction(struct producer_state *s, struct producer_entry *e, int64_t offset)
{
    struct producer_entry *before = TAILQ_LAST(&s->open, open_list);

    e->txn_first_offset = offset;
    while (before != NULL && before->txn_first_offset > offset) /* only from a snapshot's order */
        before = TAILQ_PREV(before, open_list, open_link);
    if (before == NULL)
        TAILQ_INSERT_HEAD(&s->open, e, open_link);
    else
        TAILQ_INSERT_AFTER(&s->open, before, e, open_link);
}

static void set_epoch(struct producer_entry *e, int16_t epoch)
{
    if (epoch != e->epoch) {
        e->epoch = epoch;
        e->batch_count = 0;
    }
}

static void add_batch(struct producer_entry *e, const struct producer_batch *b)
{
    if (e->batch_count == PRODUCER_BATCHES_KEPT)
        memmove(e->batches, e->batches + 1, sizeof e->batches[0] * --e->batch_count);
    e->batches[e->batch_count++] = *b;
}

static void add_unreplicated(struct producer_state *s, const struct txn_completed *c)
{
    struct txn_unreplicated *u = xcalloc(1, sizeof *u), *before;

    u->first_offset = c->first_offset;
    u->last_offset = c->last_offset;
    before = TAILQ_LAST(&s->unreplicated, unreplicated_list);
    while (before != NULL && before->first_offset > u->first_offset)
        before = TAILQ_PREV(before, unreplicated_list, link);
    if (before == NULL)
        TAILQ_INSERT_HEAD(&s->unreplicated, u, link);
    else
        TAILQ_INSERT_AFTER(&s->unreplicated, before, u, link);
}

static bool apply_marker(struct producer_state *s, struct producer_entry *e, const uint8_t *batch,
                         struct txn_completed *out)
{
    bool commit;
    int32_t coordinator_epoch;

    if (batch_count(batch) == 0) { /* compaction left its header, for the epoch's sake */
        set_epoch(e, batch_producer_epoch(batch));
        e->last_timestamp_ms = batch_max_timestamp(batch);
        return false;
    }
    if (!marker_parse(batch, &commit, &coordinator_epoch))
        return false;
    set_epoch(e, batch_producer_epoch(batch));
    e->coordinator_epoch = coordinator_epoch;
    e->last_timestamp_ms = batch_max_timestamp(batch);
    if (e->txn_first_offset < 0)
        return false;
    *out = (struct txn_completed){.producer_id = e->producer_id,
                                  .first_offset = e->txn_first_offset,
                                  .last_offset = batch_last_offset(batch),
                                  .is_aborted = !commit};
    TAILQ_REMOVE(&s->open, e, open_link);
    e->txn_first_offset = -1;
    add_unreplicated(s, out);
    return true;
}

bool producer_state_update(struct producer_state **sp, const uint8_t *batch,
                           struct txn_completed *completed_out)
{
    if (LIKELY(batch_producer_id(batch) < 0))
        return false;
    struct producer_state *s = state_of(sp);
    struct producer_entry *e = find_or_add(s, batch_producer_id(batch));
    if ((batch_attributes(batch) & BATCH_CONTROL) != 0)
        return apply_marker(s, e, batch, completed_out);
    struct producer_batch b = {
        .last_offset = batch_last_offset(batch),
        .timestamp_ms = batch_max_timestamp(batch),
        .offset_delta = batch_last_offset_delta(batch),
        .last_sequence = sequence_add(batch_base_sequence(batch), batch_last_offset_delta(batch))};
    set_epoch(e, batch_producer_epoch(batch));
    add_batch(e, &b);
    e->last_timestamp_ms = b.timestamp_ms;
    if ((batch_attributes(batch) & BATCH_TRANSACTIONAL) != 0 && e->txn_first_offset < 0)
        open_transaction(s, e, batch_base_offset(batch));
    return false;
}

int64_t producer_state_first_unstable(const struct producer_state *s)
{
    if (LIKELY(s == NULL))
        return -1;
    const struct producer_entry *e = TAILQ_FIRST(&s->open);
    const struct txn_unreplicated *u = TAILQ_FIRST(&s->unreplicated);
    if (e == NULL)
        return u == NULL ? -1 : u->first_offset;
    return u == NULL ? e->txn_first_offset : i64_min(e->txn_first_offset, u->first_offset);
}

int64_t producer_state_lso_after(const struct producer_state *s, const struct txn_completed *c)
{
    const struct producer_entry *e = s == NULL ? NULL : TAILQ_FIRST(&s->open);
    return e == NULL ? c->last_offset + 1 : e->txn_first_offset;
}

void producer_state_set_hw(struct producer_state *s, int64_t hw)
{
    struct txn_unreplicated *u, *next;

    if (LIKELY(s == NULL))
        return;
    for (u = TAILQ_FIRST(&s->unreplicated); u != NULL; u = next) {
        next = TAILQ_NEXT(u, link);
        if (u->last_offset < hw) {
            TAILQ_REMOVE(&s->unreplicated, u, link);
            mem_free(u);
        }
    }
}

bool producer_state_is_empty(const struct producer_state *s)
{
    return s == NULL || s->by_id == NULL;
}

static void drop(struct producer_state *s, struct producer_entry *e)
{
    if (e->txn_first_offset >= 0)
        TAILQ_REMOVE(&s->open, e, open_link);
    HASH_DEL(s->by_id, e);
    mem_free(e);
}

int32_t producer_state_expire(struct producer_state **sp, int64_t before_ms)
{
    struct producer_entry *e, *tmp;
    int32_t n = 0;

    if (*sp == NULL)
        return 0;
    HASH_ITER (hh, (*sp)->by_id, e, tmp)
        if (e->txn_first_offset < 0 && e->last_timestamp_ms < before_ms) {
            drop(*sp, e);
            n++;
        }
    if ((*sp)->by_id == NULL && TAILQ_EMPTY(&(*sp)->unreplicated))
        producer_state_free(sp);
    return n;
}

void producer_state_free(struct producer_state **sp)
{
    struct producer_entry *e, *tmp;
    struct txn_unreplicated *u;

    if (*sp == NULL)
        return;
    HASH_ITER (hh, (*sp)->by_id, e, tmp)
        drop(*sp, e);
    while ((u = TAILQ_FIRST(&(*sp)->unreplicated)) != NULL) {
        TAILQ_REMOVE(&(*sp)->unreplicated, u, link);
        mem_free(u);
    }
    FREE_NULL(sp);
}

int32_t producer_state_list(const struct producer_state *s, struct log_producer **out)
{
    struct producer_entry *e, *tmp;
    int32_t n = 0;

    *out = NULL;
    if (producer_state_is_empty(s))
        return 0;
    *out = xcalloc(HASH_COUNT(s->by_id), sizeof **out);
    HASH_ITER (hh, s->by_id, e, tmp)
        (*out)[n++] = (struct log_producer){
            .producer_id = e->producer_id,
            .last_timestamp_ms = e->last_timestamp_ms,
            .txn_start_offset = e->txn_first_offset,
            .last_data_offset =
                e->batch_count == 0 ? -1 : e->batches[e->batch_count - 1].last_offset,
            .epoch = e->epoch,
            .last_sequence =
                e->batch_count == 0 ? -1 : e->batches[e->batch_count - 1].last_sequence,
            .coordinator_epoch = e->coordinator_epoch};
    return n;
}

/* ---- snapshots */
enum {
    SNAPSHOT_VERSION = 1,
    SNAPSHOT_AT_CRC = 2,
    SNAPSHOT_AT_COUNT = 6,
    SNAPSHOT_HEADER_BYTES = 10,
    SNAPSHOT_ENTRY_BYTES = 46,
};

static void encode_entry(const struct producer_entry *e, uint8_t *p)
{
    static const struct producer_batch none = {.last_sequence = -1, .last_offset = -1};
    const struct producer_batch *b = e->batch_count == 0 ? &none : &e->batches[e->batch_count - 1];

    be64_store(p, (uint64_t)e->producer_id);
    be16_store(p + 8, (uint16_t)e->epoch);
    be32_store(p + 10, (uint32_t)b->last_sequence);
    be64_store(p + 14, (uint64_t)b->last_offset);
    be32_store(p + 22, (uint32_t)b->offset_delta);
    be64_store(p + 26, (uint64_t)e->last_timestamp_ms);
    be32_store(p + 34, (uint32_t)e->coordinator_epoch);
    be64_store(p + 38, (uint64_t)e->txn_first_offset);
}

void producer_state_encode(const struct producer_state *s, struct buf *out)
{
    struct producer_entry *e, *tmp;
    uint32_t count = s == NULL ? 0 : HASH_COUNT(s->by_id);
    size_t n = SNAPSHOT_HEADER_BYTES + (size_t)count * SNAPSHOT_ENTRY_BYTES;

    buf_reserve(out, n);
    uint8_t *p = out->p + out->len, *at = p + SNAPSHOT_HEADER_BYTES;
    be16_store(p, SNAPSHOT_VERSION);
    be32_store(p + SNAPSHOT_AT_COUNT, count);
    if (s != NULL)
        HASH_ITER (hh, s->by_id, e, tmp) {
            encode_entry(e, at);
            at += SNAPSHOT_ENTRY_BYTES;
        }
    be32_store(p + SNAPSHOT_AT_CRC, crc32c(0, p + SNAPSHOT_AT_COUNT, n - SNAPSHOT_AT_COUNT));
    out->len += n;
}

enum err producer_snapshot_check(const uint8_t *p, size_t n, int32_t *count_out)
{
    *count_out = 0;
    if (n < SNAPSHOT_HEADER_BYTES || be16_load(p) != SNAPSHOT_VERSION ||
        be32_load(p + SNAPSHOT_AT_CRC) != crc32c(0, p + SNAPSHOT_AT_COUNT, n - SNAPSHOT_AT_COUNT))
        return ERR_CORRUPT;
    uint32_t count = be32_load(p + SNAPSHOT_AT_COUNT);
    if ((n - SNAPSHOT_HEADER_BYTES) / SNAPSHOT_ENTRY_BYTES != count ||
        (n - SNAPSHOT_HEADER_BYTES) % SNAPSHOT_ENTRY_BYTES != 0 || count > INT32_MAX)
        return ERR_CORRUPT;
    *count_out = (int32_t)count;
    return ERR_OK;
}

void producer_snapshot_entry(const uint8_t *p, int32_t i, struct producer_snapshot_entry *out)
{
    p += SNAPSHOT_HEADER_BYTES + (size_t)i * SNAPSHOT_ENTRY_BYTES;
    out->producer_id = (int64_t)be64_load(p);
    out->epoch = (int16_t)be16_load(p + 8);
    out->last_sequence = (int32_t)be32_load(p + 10);
    out->last_offset = (int64_t)be64_load(p + 14);
    out->offset_delta = (int32_t)be32_load(p + 22);
    out->timestamp_ms = (int64_t)be64_load(p + 26);
    out->coordinator_epoch = (int32_t)be32_load(p + 34);
    out->txn_first_offset = (int64_t)be64_load(p + 38);
}

enum err producer_state_decode(struct producer_state **sp, const uint8_t *p, size_t n)
{
    struct producer_snapshot_entry x;
    int32_t count;

    ASSERT(*sp == NULL);
    enum err rc = producer_snapshot_check(p, n, &count);
    for (int32_t i = 0; rc == ERR_OK && i < count; i++) {
        producer_snapshot_entry(p, i, &x);
        if (x.producer_id < 0 || find(*sp, x.producer_id) != NULL) {
            rc = ERR_CORRUPT;
            break;
        }
        struct producer_entry *e = find_or_add(state_of(sp), x.producer_id);
        e->epoch = x.epoch;
        e->coordinator_epoch = x.coordinator_epoch;
        e->last_timestamp_ms = x.timestamp_ms;
        if (x.last_sequence >= 0)
            add_batch(e, &(struct producer_batch){.last_offset = x.last_offset,
                                                  .timestamp_ms = x.timestamp_ms,
                                                  .last_sequence = x.last_sequence,
                                                  .offset_delta = x.offset_delta});
        if (x.txn_first_offset >= 0)
            open_transaction(*sp, e, x.txn_first_offset);
    }
    if (rc != ERR_OK)
        producer_state_free(sp);
    return rc;
}
