/* SPDX-License-Identifier: Apache-2.0 */
/* append - the records of a shard's effects, written as batches and waited for.
 *
 * What the core wants to append within one turn of the loop goes into one batch: a thousand members
 * that commit at once cost a few writes and replication rounds, not a thousand. Effects keep their
 * order: in the batch, from batch to batch, and in the answers.
 *
 * Failures: a batch that is refused as a whole (no leader, too few replicas, disk) fails each of
 * its appends; one that is too large is written again append by append, so that only the one at
 * fault fails. A wait that takes longer than offsets.commit.timeout.ms ends with REQUEST_TIMED_OUT;
 * the records stay in the log and may yet be replicated, as with any timed out write. */
#include "broker/group/coordinator_internal.h"

#include "common/base/clock.h"
#include "common/base/slog.h"
#include "common/record/builder.h"

struct pending_record { /* into the batch's bytes */
    size_t key_at, value_at;
    int64_t key_len, value_len; /* value_len -1: a tombstone */
};
struct pending_append {
    uint64_t id;
    int32_t first, count; /* records */
};

struct append_batch {
    unsigned magic;
    struct shard *shard; /* NULL: nobody cares any more */
    struct buf bytes;
    struct pending_record *records;
    int32_t record_count, record_cap;
    struct pending_append *appends;
    int32_t append_count, append_cap;
    int64_t base_offset, deadline_ms;
    struct partition_wait wait;
    TAILQ_ENTRY(append_batch) link;
};

static void batch_free(struct append_batch *b)
{
    CHECK_OBJ(b, BATCH_MAGIC);
    b->magic = 0;
    buf_fini(&b->bytes);
    mem_free(b->records);
    mem_free(b->appends);
    mem_free(b);
}

/* ---- filling */

static struct append_batch *batch_new(struct shard *s)
{
    struct append_batch *b = xcalloc(1, sizeof *b);

    b->magic = BATCH_MAGIC;
    b->shard = s;
    TAILQ_INSERT_TAIL(&s->filling, b, link);
    return b;
}

static size_t bytes_of(const struct group_append *a)
{
    size_t n = 0;

    for (int32_t i = 0; i < a->count; i++)
        n += (size_t)a->records[i].key.len + (size_t)i64_max(a->records[i].value.len, 0);
    return n;
}

static void add_record(struct append_batch *b, const struct group_record *r)
{
    if (b->record_count == b->record_cap) {
        b->record_cap = i32_max(16, b->record_cap * 2);
        b->records = xrealloc(b->records, (size_t)b->record_cap * sizeof *b->records);
    }
    struct pending_record *to = &b->records[b->record_count++];
    *to = (struct pending_record){.key_at = b->bytes.len, .key_len = r->key.len, .value_len = -1};
    buf_add(&b->bytes, r->key.p, (size_t)r->key.len);
    if (r->value.p == NULL)
        return;
    to->value_at = b->bytes.len;
    to->value_len = r->value.len;
    buf_add(&b->bytes, r->value.p, (size_t)r->value.len);
}

void shard_append(struct shard *s, const struct group_append *a)
{
    struct append_batch *b = TAILQ_LAST(&s->filling, append_list);

    if (b == NULL || b->bytes.len + bytes_of(a) > MERGED_BYTES_MAX)
        b = batch_new(s);
    if (b->append_count == b->append_cap) {
        b->append_cap = i32_max(8, b->append_cap * 2);
        b->appends = xrealloc(b->appends, (size_t)b->append_cap * sizeof *b->appends);
    }
    b->appends[b->append_count++] =
        (struct pending_append){.id = a->append_id, .first = b->record_count, .count = a->count};
    for (int32_t i = 0; i < a->count; i++)
        add_record(b, &a->records[i]);
    loop_defer(s->seat->loop, &s->flush);
}

/* ---- results */

static void tell(struct shard *s, const struct append_batch *b, int16_t error)
{
    struct coordinator *c = s->seat->coordinator;

    if (error != KE_NONE)
        atomic_fetch_add(&c->append_errors, b->append_count);
    for (int32_t i = 0; i < b->append_count; i++) {
        struct group_event ev = {.kind = GEV_APPENDED};
        ev.appended.append_id = b->appends[i].id;
        ev.appended.error = error;
        ev.appended.base_offset = error == KE_NONE ? b->base_offset : -1;
        shard_step(s, &ev);
    }
    if (error != KE_NONE)
        SLOG_EVERY(1000, WARN, "group", "records of groups cannot be written",
                   KV_I("partition", s->index), KV_KERR(error), KV_I("appends", b->append_count));
}

static void arm_timer(struct shard *s)
{
    const struct append_batch *first = TAILQ_FIRST(&s->waiting);
    struct loop *loop = s->seat->loop;

    if (first != NULL)
        loop_timer_arm(loop, &s->append_timer, i64_max(first->deadline_ms - loop_now_ms(loop), 0));
    else
        loop_timer_cancel(loop, &s->append_timer);
}

static void on_woken(struct partition_wait *w)
{
    struct append_batch *b = CONTAINER_OF(w, struct append_batch, wait);
    struct shard *s = b->shard;

    CHECK_OBJ(b, BATCH_MAGIC);
    if (s != NULL) {
        TAILQ_REMOVE(&s->waiting, b, link);
        if (!s->append_timer.is_armed || TAILQ_EMPTY(&s->waiting))
            arm_timer(s);
        tell(s, b, w->result);
    }
    batch_free(b);
}

static void on_timeout(struct loop_timer *t)
{
    struct shard *s = CONTAINER_OF(t, struct shard, append_timer);
    struct append_batch *b;

    CHECK_OBJ(s, SHARD_MAGIC);
    while ((b = TAILQ_FIRST(&s->waiting)) != NULL && b->deadline_ms <= loop_now_ms(s->seat->loop)) {
        if (!partition_wait_cancel(&b->wait))
            return; /* it is decided, its wake is on the way, and those behind it follow */
        TAILQ_REMOVE(&s->waiting, b, link);
        tell(s, b, KE_REQUEST_TIMED_OUT);
        batch_free(b);
    }
    arm_timer(s);
}

/* ---- writing */

/* The news that leadership went may still be on its way when it has come back: another coordinator
 * has written meanwhile, of which this shard knows nothing. */
static bool still_leads(const struct shard *s)
{
    struct partition_info info;

    partition_describe(s->partition, &info);
    return info.is_leader && info.led_since_epoch == s->since_epoch;
}

static int16_t write_once(struct shard *s, const struct append_batch *b, int32_t first,
                          int32_t count, struct log_append_result *out)
{
    struct coordinator *c = s->seat->coordinator;
    struct batch_builder builder;
    struct batch_options o;
    struct buf bytes = {0};
    int64_t now_ms = clock_wall_ms();
    int32_t end = b->appends[first + count - 1].first + b->appends[first + count - 1].count;

    batch_options_init(&o);
    o.codec = c->codec;
    batch_builder_init(&builder, &o);
    for (int32_t i = b->appends[first].first; i < end; i++) {
        const struct pending_record *r = &b->records[i];
        struct bytes key = {b->bytes.p + r->key_at, r->key_len};
        struct bytes value =
            r->value_len < 0 ? BYTES_NULL : (struct bytes){b->bytes.p + r->value_at, r->value_len};
        batch_builder_add(&builder, now_ms, key, value, NULL, 0);
    }
    enum err rc = batch_builder_finish(&builder, &bytes);
    int16_t error = err_to_kerr(rc);
    if (rc == ERR_OK && !still_leads(s)) {
        error = KE_NOT_LEADER_OR_FOLLOWER;
    } else if (rc == ERR_OK) {
        struct partition_append a = {.records = bytes.p,
                                     .len = bytes.len,
                                     .acks = c->acks,
                                     .produce_version = INT16_MAX,
                                     .origin = LOG_FROM_COORDINATOR,
                                     .now_ms = now_ms};
        error = partition_append(s->partition, &a, out);
    }
    batch_builder_fini(&builder);
    buf_fini(&bytes);
    atomic_fetch_add_explicit(&c->append_batches, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&c->appends, count, memory_order_relaxed);
    return error;
}

/* Takes the batch. */
static void settle(struct shard *s, struct append_batch *b, int16_t error,
                   const struct log_append_result *res)
{
    struct coordinator *c = s->seat->coordinator;

    b->base_offset = res->base_offset;
    if (error == KE_NONE && c->acks != 0 && c->acks != 1) {
        b->wait = (struct partition_wait){.required_offset = res->last_offset + 1,
                                          .leader_epoch = res->leader_epoch,
                                          .acks = c->acks,
                                          .loop = s->seat->loop,
                                          .woken = on_woken};
        if (partition_wait_start(s->partition, &b->wait)) {
            b->deadline_ms = loop_now_ms(s->seat->loop) + c->append_timeout_ms;
            TAILQ_INSERT_TAIL(&s->waiting, b, link);
            if (!s->append_timer.is_armed)
                arm_timer(s);
            return;
        }
        error = b->wait.result;
    }
    tell(s, b, error);
    batch_free(b);
}

/* One append of a batch as a batch of its own. */
static struct append_batch *split_off(const struct append_batch *b, int32_t i)
{
    struct append_batch *one = xcalloc(1, sizeof *one);

    one->magic = BATCH_MAGIC;
    one->shard = b->shard;
    one->appends = xcalloc(1, sizeof *one->appends);
    one->appends[0] = b->appends[i];
    one->append_count = one->append_cap = 1;
    return one;
}

static bool is_for_its_size(int16_t error)
{
    return error == KE_MESSAGE_TOO_LARGE || error == KE_RECORD_LIST_TOO_LARGE;
}

static void write_batch(struct shard *s, struct append_batch *b)
{
    struct log_append_result res = {.base_offset = -1, .last_offset = -1};
    int16_t error = write_once(s, b, 0, b->append_count, &res);

    if (!is_for_its_size(error) || b->append_count == 1) {
        settle(s, b, error, &res);
        return;
    }
    for (int32_t i = 0; i < b->append_count; i++) {
        error = write_once(s, b, i, 1, &res);
        settle(s, split_off(b, i), error, &res);
    }
    batch_free(b);
}

/* At the end of the turn. What the answers lead to is appended in a round of its own. */
static void on_flush(struct loop_deferred *d)
{
    struct shard *s = CONTAINER_OF(d, struct shard, flush);
    struct append_list now = TAILQ_HEAD_INITIALIZER(now);
    struct append_batch *b;

    CHECK_OBJ(s, SHARD_MAGIC);
    TAILQ_CONCAT(&now, &s->filling, link);
    while ((b = TAILQ_FIRST(&now)) != NULL) {
        TAILQ_REMOVE(&now, b, link);
        write_batch(s, b);
    }
}

/* ---- life */

void shard_append_init(struct shard *s)
{
    TAILQ_INIT(&s->filling);
    TAILQ_INIT(&s->waiting);
    s->flush.run = on_flush;
    s->append_timer.fire = on_timeout;
}

void shard_append_drop(struct shard *s)
{
    struct append_batch *b;

    loop_defer_cancel(s->seat->loop, &s->flush);
    loop_timer_cancel(s->seat->loop, &s->append_timer);
    while ((b = TAILQ_FIRST(&s->filling)) != NULL) {
        TAILQ_REMOVE(&s->filling, b, link);
        batch_free(b);
    }
    while ((b = TAILQ_FIRST(&s->waiting)) != NULL) {
        TAILQ_REMOVE(&s->waiting, b, link);
        b->shard = NULL; /* a wake that is on its way frees it */
        if (partition_wait_cancel(&b->wait))
            batch_free(b);
    }
}
