/* SPDX-License-Identifier: Apache-2.0 */
/* load - reads a partition of __consumer_offsets from its start to its end, committed or not, into
 * a new core: on an io thread, which owns the core meanwhile.
 *
 * At most half of the io threads load at a time, so that a broker that takes over many partitions
 * goes on serving. What cannot be decoded is skipped with a warning; what cannot be read makes the
 * load fail, and it is tried again: answers from half of the offsets would be wrong ones.
 * KAFKA: GroupMetadataManager.loadGroupsAndOffsets, which serves what it has got so far. */
#include "broker/group/coordinator_internal.h"

#include "broker/config/config.h"
#include "broker/group/group_records.h"
#include "common/base/clock.h"
#include "common/base/slog.h"
#include "common/record/batch.h"

enum {
    UNFOLDED_MAX_BYTES = 512 << 20, /* of one compressed batch */
    CONTROL_KEY_BYTES = 4,          /* version, type */
    CONTROL_ABORT = 0,
    CONTROL_COMMIT = 1
};

struct load {
    unsigned magic;
    struct coordinator *coordinator;
    struct loop *loop;
    struct shard *shard; /* owner: the loop; NULL: abandoned */
    _Atomic bool is_abandoned;
    struct partition *partition; /* reference */
    int32_t index;
    struct pool_job job;
    struct mail mail;
    TAILQ_ENTRY(load) link;
    /* the io thread's */
    struct group_core *core;
    struct arena arena;
    struct buf unfolded;
    int64_t began_ms, records, skipped, bytes;
};

/* ---- one batch */

static void step(struct load *l, struct group_event *ev)
{
    struct group_effects fx;

    ev->now_ms = clock_mono_ms();
    ev->wall_ms = clock_wall_ms();
    group_core_step(l->core, ev, &fx);
    ASSERT(fx.count == 0);
}

static void skip(struct load *l, int64_t offset, const char *why)
{
    l->skipped++;
    SLOG_EVERY(1000, WARN, "group", "a record of __consumer_offsets cannot be used and is skipped",
               KV_I("partition", l->index), KV_I("offset", offset), KV_S("why", why));
}

static void load_marker(struct load *l, const uint8_t *batch, const struct record *r)
{
    struct group_event ev = {.kind = GEV_LOAD_MARKER};

    if (r->key.len < CONTROL_KEY_BYTES) {
        skip(l, r->offset, "a control record with a key that is too short");
        return;
    }
    uint16_t type = be16_load(r->key.p + 2);
    if (type != CONTROL_ABORT && type != CONTROL_COMMIT)
        return; /* of other kinds: not of transactions */
    ev.load_marker.producer_id = batch_producer_id(batch);
    ev.load_marker.is_commit = type == CONTROL_COMMIT;
    step(l, &ev);
}

static void load_record(struct load *l, const uint8_t *batch, const struct record *r)
{
    struct group_event ev;
    struct errtext why = {""};
    enum group_record_kind kind;

    if (r->key.p == NULL) {
        skip(l, r->offset, "a record without a key");
        return;
    }
    if (group_records_decode(r->key, r->value, &l->arena, &kind, &ev, &why) != ERR_OK) {
        skip(l, r->offset, why.text);
        return;
    }
    switch (kind) {
    case GROUP_RECORD_OTHER:
        skip(l, r->offset, "a kind of key that belongs to a newer version");
        return;
    case GROUP_RECORD_OFFSET:
        ev.load_offset.batch_offset = batch_base_offset(batch);
        ev.load_offset.producer_id =
            (batch_attributes(batch) & BATCH_TRANSACTIONAL) != 0 ? batch_producer_id(batch) : -1;
        break;
    case GROUP_RECORD_GROUP:
        break;
    }
    step(l, &ev);
}

/* The records' bytes, unfolded if need be. False: they cannot be. */
static bool records_of(struct load *l, const uint8_t *batch, size_t total, struct bytes *out)
{
    unsigned codec = batch_codec(batch);

    *out = (struct bytes){batch + BATCH_HEADER_BYTES, (int64_t)(total - BATCH_HEADER_BYTES)};
    if (codec == CODEC_NONE)
        return true;
    l->unfolded.len = 0;
    enum err rc =
        codec_decompress(codec, 2, out->p, (size_t)out->len, UNFOLDED_MAX_BYTES, &l->unfolded);
    if (rc != ERR_OK) {
        skip(l, batch_base_offset(batch), "a batch that cannot be decompressed");
        return false;
    }
    *out = (struct bytes){l->unfolded.p, (int64_t)l->unfolded.len};
    return true;
}

static void load_batch(struct load *l, const uint8_t *batch, size_t total)
{
    struct record_iter it;
    struct record r;
    struct bytes records;
    enum err rc;

    if (!records_of(l, batch, total, &records))
        return;
    record_iter_init(&it, batch, records.p, (size_t)records.len);
    while ((rc = record_next(&it, &r)) == ERR_OK) {
        l->records++;
        if ((batch_attributes(batch) & BATCH_CONTROL) != 0)
            load_marker(l, batch, &r);
        else
            load_record(l, batch, &r);
    }
    if (rc != ERR_NOT_FOUND)
        skip(l, batch_base_offset(batch), "a batch with records that are not well formed");
    arena_reset(&l->arena);
}

/* ---- the log */

static int16_t read_log(struct load *l)
{
    struct buf chunk = {0};
    int64_t offset = 0, next;
    int16_t rc;

    /* Any epoch: if leadership is lost meanwhile the shard goes, and what was loaded with it. */
    while ((rc = partition_read_log(l->partition, -1, offset, l->coordinator->load_buffer_bytes,
                                    &chunk, &next)) == KE_NONE &&
           chunk.len > 0 && !atomic_load(&l->is_abandoned)) {
        for (size_t at = 0, total; at < chunk.len; at += total) {
            MUST(batch_peek(chunk.p + at, chunk.len - at, &total) == BATCH_WHOLE);
            load_batch(l, chunk.p + at, total);
        }
        l->bytes += (int64_t)chunk.len;
        offset = next;
    }
    buf_fini(&chunk);
    return rc;
}

static void note_time(struct coordinator *c, int64_t ms)
{
    int64_t most = atomic_load(&c->load_ms_max);

    atomic_fetch_add(&c->loads, 1);
    atomic_store(&c->load_ms_last, ms);
    while (ms > most && !atomic_compare_exchange_weak(&c->load_ms_max, &most, ms)) {
    }
}

static void load_all(struct load *l)
{
    struct coordinator *c = l->coordinator;
    struct group_numbers n;

    l->core = group_core_new(&c->limits, clock_mono_ms());
    int16_t rc = read_log(l);
    if (atomic_load(&l->is_abandoned) || rc != KE_NONE) {
        group_core_free(&l->core);
        if (atomic_load(&l->is_abandoned))
            return;
        atomic_fetch_add(&c->loads_failed, 1);
        SLOG(ERROR, "group", "a partition of __consumer_offsets cannot be loaded; its groups wait",
             KV_I("partition", l->index), KV_KERR(rc), KV_I("records", l->records));
        return;
    }
    int64_t ms = clock_mono_ms() - l->began_ms;
    note_time(c, ms);
    group_core_count(l->core, &n);
    if (l->records == 0) /* a new topic: fifty times */
        SLOG(DEBUG, "group", "coordinator of an empty partition", KV_I("partition", l->index));
    else
        SLOG(INFO, "group", "coordinator loaded", KV_I("partition", l->index),
             KV_I("records", l->records), KV_I("skipped", l->skipped), KV_I("bytes", l->bytes),
             KV_I("groups", n.groups), KV_I("offsets", n.offsets), KV_I("ms", ms));
}

/* ---- threads */

static void load_run(struct pool_job *j);

static void submit(struct load *l)
{
    l->job.run = load_run;
    pool_submit_always(l->coordinator->broker->io_pool, &l->job); /* bounded by load_max */
}

static int32_t load_max(const struct coordinator *c)
{
    return i32_max(c->broker->config->num_io_threads / 2, 1);
}

static void queue(struct load *l)
{
    struct coordinator *c = l->coordinator;

    lock_take(&c->load_lock);
    if (c->loads_running < load_max(c)) {
        c->loads_running++;
        submit(l);
    } else {
        TAILQ_INSERT_TAIL(&c->load_queue, l, link); /* one for each partition at most */
    }
    lock_release(&c->load_lock);
}

static void start_next(struct coordinator *c)
{
    lock_take(&c->load_lock);
    struct load *next = TAILQ_FIRST(&c->load_queue);
    if (next != NULL) {
        TAILQ_REMOVE(&c->load_queue, next, link);
        submit(next);
    } else {
        c->loads_running--;
    }
    lock_release(&c->load_lock);
}

static void load_delivered(struct mail *m)
{
    struct load *l = CONTAINER_OF(m, struct load, mail);
    struct shard *s = l->shard;
    struct group_core *core = l->core;

    CHECK_OBJ(l, LOAD_MAGIC);
    l->magic = 0;
    mem_free(l);
    if (s == NULL) {
        group_core_free(&core);
        return;
    }
    s->load = NULL;
    shard_loaded(s, core);
}

static void load_run(struct pool_job *j)
{
    struct load *l = CONTAINER_OF(j, struct load, job);
    struct coordinator *c = l->coordinator;

    CHECK_OBJ(l, LOAD_MAGIC);
    if (!atomic_load(&l->is_abandoned))
        load_all(l);
    arena_fini(&l->arena);
    buf_fini(&l->unfolded);
    partition_unref(&l->partition);
    loop_post(l->loop, &l->mail); /* l is the loop's now */
    start_next(c);
}

void load_start(struct shard *s)
{
    struct load *l = xcalloc(1, sizeof *l);

    ASSERT(s->load == NULL);
    l->magic = LOAD_MAGIC;
    l->coordinator = s->seat->coordinator;
    l->loop = s->seat->loop;
    l->shard = s;
    l->partition = partition_ref(s->partition);
    l->index = s->index;
    l->mail.deliver = load_delivered;
    l->began_ms = clock_mono_ms();
    s->load = l;
    queue(l);
}

void load_abandon(struct load *l)
{
    if (l == NULL)
        return;
    CHECK_OBJ(l, LOAD_MAGIC);
    l->shard = NULL;
    atomic_store(&l->is_abandoned, true);
}
