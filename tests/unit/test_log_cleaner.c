/* SPDX-License-Identifier: Apache-2.0 */
/* The cleaner: its map, what it keeps of a log, and random lives of compacted logs with faults at
 * each of its steps against a model. Seeds are the test's index; more by KAFUKA_MODEL_SEEDS (how
 * many) and KAFUKA_MODEL_FIRST; KAFUKA_MODEL_TRACE prints the steps. */
#include "broker/log/cleaner.h"
#include "common/base/slog.h"
#include "log_fixture.h"

enum { RECORDS_MAX = 40000, KEYS = 25, PRODUCERS = 3 };

/* ---- the model: what was appended at each offset */
enum status { NOTHING, COMMITTED, ABORTED, OPEN };
struct model_record {
    int64_t timestamp_ms;
    int32_t key, value, epoch; /* value -1: a tombstone */
    enum status status;
    int8_t producer; /* -1 */
};
static struct model_record model[RECORDS_MAX];
static int64_t model_end, cleaned_upto;
static int32_t epoch;
static struct {
    int16_t epoch;
    int32_t sequence;
    bool in_txn;
    int64_t txn_first;
} producers[PRODUCERS];
static uint64_t rng;
static int64_t now_ms;
static int32_t next_value;
static struct clean_stats stats;

static uint32_t below(uint32_t n)
{
    rng = rng * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)((rng >> 33) % n);
}

static void setup(void)
{
    fix_setup();
    fix_config.is_compact = true;
    fix_config.is_delete = false;
    fix_config.segment_bytes = 2000;
    fix_config.index_interval_bytes = 300;
    fix_config.delete_retention_ms = 1000;
    memset(model, 0, sizeof model);
    memset(producers, 0, sizeof producers);
    model_end = cleaned_upto = 0;
    epoch = 0;
    now_ms = T0;
    next_value = 0;
    slog_min_level = SLOG_ERROR + 1;
    fix_open(true);
}

/* Appends a batch of count records of random keys; key >= 0: that key. producer -1: without id. */
static void append(int count, int key, bool tombstone, int producer, bool txn, enum codec codec)
{
    struct batch_options o;
    struct batch_builder b;
    struct buf out = {0};
    struct log_append_result res;

    batch_options_init(&o);
    o.codec = codec;
    if (producer >= 0) {
        o.producer_id = 1000 + producer;
        o.producer_epoch = producers[producer].epoch;
        o.base_sequence = producers[producer].sequence;
        o.is_transactional = txn;
    }
    batch_builder_init(&b, &o);
    for (int i = 0; i < count; i++) {
        struct model_record *m = &model[model_end + i];
        char k[32], v[80];
        *m = (struct model_record){.timestamp_ms = now_ms + below(50),
                                   .key = key >= 0 ? key : (int32_t)below(KEYS),
                                   .value = tombstone || below(6) == 0 ? -1 : next_value++,
                                   .epoch = epoch,
                                   .status = txn ? OPEN : COMMITTED,
                                   .producer = (int8_t)producer};
        int kn = snprintf(k, sizeof k, "key-%d", (int)m->key);
        int vn = snprintf(v, sizeof v, "value-%d-%0*d", (int)m->value, (int)below(40) + 1, 0);
        struct batch_header h = {{(const uint8_t *)"h", 1}, {(const uint8_t *)k, kn}};
        batch_builder_add(&b, m->timestamp_ms, (struct bytes){(uint8_t *)k, kn},
                          m->value < 0 ? BYTES_NULL : (struct bytes){(uint8_t *)v, vn}, &h,
                          (int)below(2));
    }
    ck_assert_int_eq(batch_builder_finish(&b, &out), ERR_OK);
    batch_builder_fini(&b);
    int16_t code = fix_append_buf(&out, epoch, &res);
    ck_assert_msg(code == KE_NONE, "%s: %s", kerr_name(code), res.error_message);
    ck_assert_int_eq(res.base_offset, model_end);
    if (producer >= 0) {
        if (txn && !producers[producer].in_txn) {
            producers[producer].in_txn = true;
            producers[producer].txn_first = model_end;
        }
        producers[producer].sequence += count;
    }
    model_end += count;
}

static void end_txn(int producer, bool commit)
{
    struct batch_options o;
    struct log_append_result res;
    struct buf out = {0};

    batch_options_init(&o);
    o.producer_id = 1000 + producer;
    o.producer_epoch = producers[producer].epoch;
    batch_build_marker(&o, commit, 1, now_ms, &out);
    ck_assert_int_eq(
        log_append_leader(fix_log, out.p, out.len, epoch, LOG_FROM_COORDINATOR, 9, T0, &res),
        KE_NONE);
    buf_fini(&out);
    model[model_end] = (struct model_record){.epoch = epoch, .producer = -1};
    for (int64_t i = producers[producer].txn_first; producers[producer].in_txn && i < model_end;
         i++)
        if (model[i].status == OPEN && model[i].producer == producer)
            model[i].status = commit ? COMMITTED : ABORTED;
    producers[producer].in_txn = false;
    model_end++;
}

static void commit_all(void)
{
    log_set_high_watermark(fix_log, log_end_offset(fix_log));
    ck_assert_int_eq(log_flush(fix_log), ERR_OK);
}

static enum err clean_with(size_t map_bytes)
{
    struct clean_env env = {.map_bytes_max = map_bytes, .buffer_bytes = 1000, .load_factor = 0.9};
    enum err rc = log_clean(fix_log, &env, now_ms, &stats, &fix_why);
    if (rc == ERR_OK)
        cleaned_upto = i64_max(cleaned_upto, stats.end_offset);
    return rc;
}

static void clean(void)
{
    enum err rc = clean_with(1 << 20);
    ck_assert_msg(rc == ERR_OK, "%s: %s", err_text(rc), fix_why.text);
}

/* ---- looking: a consumer that reads committed records up to the LSO, and compares each with the
 * model. seen[offset]. */
static bool seen[RECORDS_MAX];
static int64_t seen_batches, seen_empty, seen_bytes;

struct reader {
    bool is_aborted[PRODUCERS];
    struct log_aborted *aborted;
    int32_t count, next;
};

static void see_records(const uint8_t *b, size_t len)
{
    struct buf plain = {0};
    struct record_iter it;
    struct record r;
    int32_t last_delta = -1;
    char k[32];

    ck_assert_int_eq(clean_records_of(b, len, &plain, &it), ERR_OK);
    while (clean_record_next(&it, b, &last_delta, &r) == ERR_OK) {
        if (r.offset < log_start_offset(fix_log))
            continue;
        const struct model_record *m = &model[r.offset];
        int kn = snprintf(k, sizeof k, "key-%d", (int)m->key);
        ck_assert_int_eq(m->status, COMMITTED);
        ck_assert_int_eq(r.timestamp_ms, m->timestamp_ms);
        ck_assert_int_eq(r.key.len, kn);
        ck_assert_mem_eq(r.key.p, k, (size_t)kn);
        ck_assert_int_eq(r.value.len >= 0, m->value >= 0);
        if (m->value >= 0) {
            char v[32];
            int vn = snprintf(v, sizeof v, "value-%d-", (int)m->value);
            ck_assert_mem_eq(r.value.p, v, (size_t)vn);
        }
        ck_assert_int_eq(batch_leader_epoch(b), m->epoch);
        seen[r.offset] = true;
    }
    ck_assert_int_eq(it.left, 0);
    buf_fini(&plain);
}

static void see_batch(struct reader *rd, const uint8_t *b, size_t len)
{
    bool commit;
    int32_t ce;
    int p = (int)(batch_producer_id(b) - 1000);

    ck_assert_uint_eq(batch_crc(b), batch_crc_compute(b));
    seen_batches++;
    seen_empty += batch_count(b) == 0;
    seen_bytes += (int64_t)len;
    for (; rd->next < rd->count && rd->aborted[rd->next].first_offset <= batch_last_offset(b);
         rd->next++)
        rd->is_aborted[rd->aborted[rd->next].producer_id - 1000] = true;
    if ((batch_attributes(b) & BATCH_CONTROL) != 0) {
        if (batch_count(b) > 0) {
            ck_assert(marker_parse(b, &commit, &ce));
            if (!commit)
                rd->is_aborted[p] = false;
        }
        return;
    }
    /* the time of tombstones begins with the run that takes the values before them away */
    if ((batch_attributes(b) & BATCH_DELETE_HORIZON) != 0)
        ck_assert_int_lt(batch_base_offset(b), cleaned_upto);
    if ((batch_attributes(b) & BATCH_TRANSACTIONAL) != 0 && rd->is_aborted[p])
        return;
    see_records(b, len);
}

static int by_first(const void *a, const void *b)
{
    int64_t x = ((const struct log_aborted *)a)->first_offset,
            y = ((const struct log_aborted *)b)->first_offset;
    return x < y ? -1 : x > y;
}

static void look(void)
{
    int64_t next = log_start_offset(fix_log), limit = log_last_stable_offset(fix_log);

    memset(seen, 0, sizeof seen);
    seen_batches = seen_empty = seen_bytes = 0;
    while (next < limit) {
        struct reader rd = {.count = 0};
        struct log_range r;
        size_t total;
        ck_assert_int_eq(log_read(fix_log, next, limit, 700, LOG_READ_AT_LEAST_ONE, &r), ERR_OK);
        if (r.length == 0)
            break;
        ck_assert_int_eq(log_aborted_find(fix_log, next, &r, &rd.aborted, &rd.count), ERR_OK);
        if (rd.count > 1)
            qsort(rd.aborted, (size_t)rd.count, sizeof *rd.aborted, by_first);
        struct buf b = fix_bytes(&r);
        int64_t from = next;
        for (size_t at = 0; at < b.len; at += total) {
            if (batch_peek(b.p + at, b.len - at, &total) != BATCH_WHOLE)
                break;
            ck_assert_int_ge(batch_last_offset(b.p + at), next);
            see_batch(&rd, b.p + at, total);
            next = batch_last_offset(b.p + at) + 1;
        }
        ck_assert_int_gt(next, from);
        buf_fini(&b);
        mem_free(rd.aborted);
        log_range_release(&r);
    }
}

/* What every log must hold, compacted or not. */
static void check(void)
{
    int64_t last[KEYS], start = log_start_offset(fix_log), lso = log_last_stable_offset(fix_log);

    look();
    for (int k = 0; k < KEYS; k++)
        last[k] = -1;
    for (int64_t i = 0; i < lso; i++)
        if (model[i].status == COMMITTED)
            last[model[i].key] = i;
    for (int64_t i = start; i < lso; i++) {
        const struct model_record *m = &model[i];
        if (m->status != COMMITTED)
            continue;
        bool is_last = last[m->key] == i;
        /* nothing that was not cleaned is missing, nor any key's last value */
        if (i >= cleaned_upto || (is_last && m->value >= 0))
            ck_assert_msg(seen[i], "offset %d is missing", (int)i);
        /* when a deleted key's tombstone is gone, so is all before it */
        if (!is_last && seen[i] && model[last[m->key]].value < 0)
            ck_assert_msg(seen[last[m->key]], "offset %d has come back", (int)i);
    }
    for (int64_t i = start; i < log_end_offset(fix_log); i++)
        if (seen[i])
            ck_assert_int_eq(log_epoch_of(fix_log, i), model[i].epoch);
    fix_check_indexes();
    log_check(fix_log);
}

/* After a run over everything up to its end: only each key's last record below it is there. */
static void check_compact(int64_t upto)
{
    int64_t last[KEYS];

    for (int k = 0; k < KEYS; k++)
        last[k] = -1;
    for (int64_t i = 0; i < upto; i++)
        if (model[i].status == COMMITTED)
            last[model[i].key] = i;
    for (int64_t i = log_start_offset(fix_log); i < upto; i++)
        if (model[i].status == COMMITTED && last[model[i].key] != i)
            ck_assert_msg(!seen[i], "offset %d should have gone", (int)i);
}

/* ---- the map */
START_TEST(the_map_knows_each_keys_last_offset)
{
    struct offset_map m;
    char k[16];

    offset_map_init(&m, 8 << 20, 0.9);
    ck_assert_int_eq(offset_map_get(&m, (struct bytes){(const uint8_t *)"x", 1}), -1);
    for (int64_t i = 0; i < 200000; i++) {
        int n = snprintf(k, sizeof k, "%d", (int)(i % 90000));
        ck_assert(offset_map_put(&m, (struct bytes){(uint8_t *)k, n}, i));
    }
    ck_assert_int_eq(m.count, 90000);
    ck_assert_uint_le(m.bytes, 90000 * 24 * 2); /* sized to what it holds */
    for (int64_t i = 0; i < 90000; i++) {
        int n = snprintf(k, sizeof k, "%d", (int)i);
        int64_t want = i < 20000 ? i + 180000 : i + 90000;
        ck_assert_int_eq(offset_map_get(&m, (struct bytes){(uint8_t *)k, n}), want);
    }
    ck_assert_int_eq(offset_map_get(&m, (struct bytes){(const uint8_t *)"90000", 5}), -1);
    ck_assert_int_eq(offset_map_get(&m, (struct bytes){NULL, 0}), -1);
    offset_map_fini(&m);
}
END_TEST

START_TEST(a_full_map_says_so_and_uses_most_of_its_limit)
{
    struct offset_map m;
    char k[16];
    int64_t i = 0;

    offset_map_init(&m, 1 << 20, 0.9);
    for (;; i++) {
        int n = snprintf(k, sizeof k, "%d", (int)i);
        if (!offset_map_put(&m, (struct bytes){(uint8_t *)k, n}, i))
            break;
    }
    ck_assert_uint_le(m.bytes, 1 << 20);
    ck_assert_int_gt(i, (1 << 20) / 24 / 2);
    ck_assert_int_eq(offset_map_get(&m, (struct bytes){(const uint8_t *)"7", 1}), 7);
    ck_assert_int_eq(offset_map_get(&m, (struct bytes){(uint8_t *)k, (int64_t)strlen(k)}), -1);
    offset_map_fini(&m);
}
END_TEST

/* ---- one log */
START_TEST(a_log_shrinks_to_the_last_record_of_each_key)
{
    for (int i = 0; i < 400; i++)
        append(1 + (int)below(4), -1, false, -1, false, (enum codec)below(CODEC_COUNT));
    commit_all();
    int64_t before = log_size(fix_log), segments = fix_log->segment_count;
    clean();
    ck_assert_int_gt(segments, 10);
    ck_assert_int_eq(stats.end_offset, log_active(fix_log)->base_offset);
    ck_assert_int_lt(log_size(fix_log), before / 5);
    ck_assert_int_le(fix_log->segment_count, segments);
    check();
    check_compact(stats.end_offset);
    ck_assert_int_eq(fix_log->clean_offset, stats.end_offset);
    /* nothing is dirty now */
    clean();
    ck_assert_int_eq(stats.bytes_read, 0);
    /* segments that have become small are put together by the next run */
    append(1, -1, false, -1, false, CODEC_NONE);
    ck_assert_int_eq(log_roll(fix_log, now_ms), ERR_OK);
    commit_all();
    clean();
    ck_assert_int_le(fix_log->segment_count, 6);
    check();
    for (int k = 0; k < 4; k++) {
        fix_reopen(k % 2 == 0);
        check();
        check_compact(cleaned_upto);
    }
}
END_TEST

START_TEST(tombstones_go_when_their_time_has_come)
{
    for (int k = 0; k < KEYS; k++)
        append(1, k, false, -1, false, CODEC_NONE);
    append(1, 3, true, -1, false, CODEC_NONE);
    int64_t tombstone = model_end - 1;
    ck_assert_int_eq(log_roll(fix_log, now_ms), ERR_OK);
    append(1, 4, false, -1, false, CODEC_NONE);
    commit_all();
    clean(); /* gives it its horizon */
    check();
    ck_assert(seen[tombstone]);
    now_ms += fix_config.delete_retention_ms - 1;
    for (int pass = 0; pass < 2; pass++) {
        append(1, 5, false, -1, false, CODEC_NONE); /* something dirty */
        ck_assert_int_eq(log_roll(fix_log, now_ms), ERR_OK);
        append(1, 4, false, -1, false, CODEC_NONE);
        commit_all();
        clean();
        check();
        ck_assert_int_eq(seen[tombstone], pass == 0);
        now_ms++;
    }
    for (int64_t i = 0; i < model_end; i++)
        ck_assert(!seen[i] || model[i].key != 3);
}
END_TEST

START_TEST(what_is_not_committed_old_enough_or_closed_stays)
{
    for (int i = 0; i < 100; i++)
        append(2, -1, false, -1, false, CODEC_NONE);
    ck_assert_int_eq(log_flush(fix_log), ERR_OK);
    int64_t before = log_size(fix_log);
    clean(); /* HW is 0 */
    ck_assert_int_eq(log_size(fix_log), before);
    log_set_high_watermark(fix_log, 100);
    clean();
    ck_assert_int_le(stats.end_offset, 100);
    ck_assert_int_gt(stats.end_offset, 60);
    int64_t end = stats.end_offset;
    commit_all();
    fix_log->config.min_compaction_lag_ms = 60000;
    clean();
    ck_assert_int_eq(stats.bytes_read, 0);
    now_ms += 70000;
    clean();
    ck_assert_int_gt(stats.end_offset, end);
    check();
    ck_assert(log_active(fix_log)->size > 0);
}
END_TEST

START_TEST(an_open_transaction_stops_the_cleaner)
{
    for (int i = 0; i < 50; i++)
        append(2, -1, false, -1, false, CODEC_NONE);
    append(1, -1, false, 0, true, CODEC_NONE);
    int64_t first = model_end - 1;
    for (int i = 0; i < 50; i++)
        append(2, -1, false, -1, false, CODEC_NONE);
    commit_all();
    clean();
    ck_assert_int_le(stats.end_offset, first);
    ck_assert_int_gt(stats.end_offset, 0);
    end_txn(0, false);
    commit_all();
    clean();
    ck_assert_int_gt(stats.end_offset, first);
    check();
}
END_TEST

/* An aborted record is no key's last one, and a log without its snapshots still knows each
 * producer's last sequence number. */
START_TEST(transactions_and_producers_survive)
{
    struct log_producer *before, *after;
    char command[600];

    append(1, 7, false, -1, false, CODEC_NONE);
    int64_t good = model_end - 1;
    append(1, 7, false, 0, true, CODEC_NONE);
    end_txn(0, false);
    append(3, 8, false, 1, true, CODEC_GZIP);
    end_txn(1, true);
    append(2, 9, false, 2, false, CODEC_NONE);
    for (int i = 0; i < 100; i++)
        append(2, 8 + (i & 1), false, -1, false, CODEC_NONE);
    commit_all();
    int32_t n = log_producers(fix_log, &before);
    for (int round = 0; round < 4; round++) {
        clean();
        check();
        ck_assert(seen[good] || model[good].value < 0);
        append(2, 10, false, -1, false, CODEC_NONE);
        ck_assert_int_eq(log_roll(fix_log, now_ms), ERR_OK);
        append(1, 10, false, -1, false, CODEC_NONE);
        commit_all();
        now_ms += 2000;
    }
    ck_assert_int_ge(seen_empty, 1);
    snprintf(command, sizeof command, "rm -f %s/t-0/*.snapshot", fix_path);
    ck_assert_int_eq(system(command), 0);
    fix_hw = fix_log->high_watermark;
    log_free(&fix_log);
    fix_recovery_point = 0;
    fix_open(false);
    check();
    ck_assert_int_eq(log_producers(fix_log, &after), n);
    for (int32_t i = 0; i < n; i++)
        for (int32_t k = 0; k < n; k++)
            if (after[k].producer_id == before[i].producer_id) {
                ck_assert_int_eq(after[k].last_sequence, before[i].last_sequence);
                ck_assert_int_eq(after[k].epoch, before[i].epoch);
                ck_assert_int_eq(after[k].txn_start_offset, -1);
            }
    mem_free(before);
    mem_free(after);
}
END_TEST

START_TEST(a_small_map_takes_several_runs)
{
    for (int i = 0; i < 300; i++)
        append(2, -1, false, -1, false, CODEC_NONE);
    commit_all();
    int runs = 0;
    int64_t end = log_active(fix_log)->base_offset;
    do {
        ck_assert_int_eq(clean_with(15 * 8 * 24), ERR_OK);
        check();
        ck_assert_int_gt(stats.end_offset, stats.dirty_offset);
        runs++;
    } while (stats.end_offset < end);
    ck_assert_int_gt(runs, 3);
    ck_assert_int_eq(clean_with(1), ERR_OK); /* nothing dirty, no map */
    append(2, -1, false, -1, false, CODEC_NONE);
    ck_assert_int_eq(log_roll(fix_log, now_ms), ERR_OK);
    commit_all();
    ck_assert_int_eq(clean_with(1), ERR_NO_MEMORY);
    ck_assert(!fix_log->is_uncleanable);
}
END_TEST

START_TEST(a_reader_of_the_old_segments_goes_on)
{
    struct log_range r;

    for (int i = 0; i < 100; i++)
        append(2, -1, false, -1, false, CODEC_NONE);
    commit_all();
    ck_assert_int_eq(log_read(fix_log, 3, 190, 1000, LOG_READ_AT_LEAST_ONE, &r), ERR_OK);
    struct buf before = fix_bytes(&r);
    clean();
    log_unlink_deleted(fix_log);
    r.has_fd = false;
    struct buf after = fix_bytes(&r);
    ck_assert_uint_eq(before.len, after.len);
    ck_assert_mem_eq(before.p, after.p, before.len);
    segment_fd_done(r.segment); /* the first descriptor's */
    log_range_release(&r);
    buf_fini(&before);
    buf_fini(&after);
    check();
}
END_TEST

/* docs/decisions/0011: the others go on; this one waits for bytes to be taken away, or a start. */
START_TEST(damage_sets_the_log_aside_untouched)
{
    for (int i = 0; i < 100; i++)
        append(2, -1, false, -1, false, CODEC_NONE);
    commit_all();
    char *path = fix_file("00000000000000000000.log");
    struct buf b = {0};
    int fd;
    ck_assert_int_eq(fsx_read_file(path, 1 << 20, &b), ERR_OK);
    uint8_t was = b.p[300];
    ck_assert_int_eq(fsx_open(path, O_WRONLY, 0, &fd), ERR_OK);
    b.p[300] ^= 0x40;
    ck_assert_int_eq(fsx_pwrite_all(fd, b.p + 300, 1, 300), ERR_OK);
    int64_t before = log_size(fix_log);
    ck_assert_int_eq(clean_with(1 << 20), ERR_CORRUPT);
    ck_assert(strstr(fix_why.text, "segment 0") != NULL);
    ck_assert(fix_log->is_uncleanable);
    ck_assert_int_eq(log_size(fix_log), before);
    ck_assert(!fix_dir.is_offline);
    ck_assert_int_eq(clean_with(1 << 20), ERR_OK); /* not looked at again */
    ck_assert_int_eq(stats.bytes_read, 0);
    /* repaired, and something was truncated: it is tried again */
    ck_assert_int_eq(fsx_pwrite_all(fd, &was, 1, 300), ERR_OK);
    close(fd);
    buf_fini(&b);
    ck_assert_int_eq(log_truncate_to(fix_log, 195, &fix_why), ERR_OK);
    model_end = log_end_offset(fix_log);
    ck_assert(!fix_log->is_uncleanable);
    clean();
    check();
    /* a read fault is the same */
    for (int i = 0; i < 50; i++)
        append(2, -1, false, -1, false, CODEC_NONE);
    commit_all();
    fix_fault("log.clean.read=eio:5");
    ck_assert_int_eq(clean_with(1 << 20), ERR_IO);
    ck_assert(fix_log->is_uncleanable && !fix_dir.is_offline);
    check();
}
END_TEST

/* Whoever left such files: it is damage, not a reason to end the process, again after each start.
 */
START_TEST(segments_that_overlap_set_the_log_aside)
{
    fix_config.segment_bytes = 20000;
    log_set_config(fix_log, &fix_config);
    append(1, 7, false, -1, false, CODEC_NONE);
    int64_t half = log_size(fix_log);
    append(1, 7, false, -1, false, CODEC_NONE);
    int64_t whole = log_size(fix_log);
    for (int i = 0; i < 3; i++) {
        ck_assert_int_eq(log_roll(fix_log, now_ms), ERR_OK);
        append(1, 3, false, -1, false, CODEC_NONE);
    }
    commit_all();
    ck_assert_int_eq(log_prepare_close(fix_log), ERR_OK);
    log_free(&fix_log);
    struct buf b = {0};
    ck_assert_int_eq(fsx_read_file(fix_file("00000000000000000000.log"), 1 << 20, &b), ERR_OK);
    ck_assert_int_eq(b.len, whole);
    ck_assert_int_eq(fsx_replace_durably(fix_file("00000000000000000001.log"), b.p + half,
                                         b.len - (size_t)half, 0644),
                     ERR_OK);
    buf_fini(&b);
    fix_open(true);
    log_set_high_watermark(fix_log, log_end_offset(fix_log));
    ck_assert_int_eq(clean_with(1 << 20), ERR_CORRUPT);
    ck_assert(fix_log->is_uncleanable);
}
END_TEST

START_TEST(a_full_disk_is_waited_for_and_a_bad_one_is_left)
{
    for (int i = 0; i < 100; i++)
        append(2, -1, false, -1, false, CODEC_NONE);
    commit_all();
    fix_fault("log.clean.write=enospc:2");
    cleaned_upto = model_end; /* groups before the fault were put in place */
    ck_assert_int_eq(clean_with(1 << 20), ERR_NO_SPACE);
    ck_assert(!fix_dir.is_offline && !fix_log->is_uncleanable);
    check();
    ck_assert_int_eq(fix_file_size("00000000000000000000.log.cleaned"), -1);
    fix_fault("log.clean.sync=eio");
    ck_assert_int_eq(clean_with(1 << 20), ERR_OFFLINE);
    ck_assert(fix_dir.is_offline);
}
END_TEST

static void reopen_after_fault(void)
{
    fix_hw = fix_log->high_watermark;
    fix_start = fix_log->start_offset;
    fix_recovery_point = fix_log->recovery_point;
    log_free(&fix_log);
    fix_fault("");
    unsetenv("KAFUKA_FAULT");
    fault_init();
    fix_dir.is_offline = false;
    fix_open(false);
}

/* A follower gets batches with gaps between them. When the topic is not compacted any more, a crash
 * must not take what lies behind a gap for what lost its beginning. */
START_TEST(gaps_of_a_compacted_leader_are_no_damage)
{
    struct batch_options o;

    for (int64_t base = 0; base < 4000; base += 100) {
        batch_options_init(&o);
        o.base_offset = base;
        o.leader_epoch = 0;
        struct buf b = fix_batch_of(&o, 3, 100, now_ms);
        ck_assert_int_eq(log_append_follower(fix_log, b.p, b.len, now_ms, &fix_why), ERR_OK);
        buf_fini(&b);
    }
    ck_assert_int_eq(log_end_offset(fix_log), 3903);
    ck_assert_int_gt(fix_log->segment_count, 3);
    fix_config.is_compact = false;
    fix_recovery_point = 0;
    log_free(&fix_log);
    fix_open(false);
    ck_assert_int_eq(log_end_offset(fix_log), 3903);
}
END_TEST

START_TEST(a_lost_file_replaces_nothing)
{
    for (int i = 0; i < 100; i++)
        append(2, -1, false, -1, false, CODEC_NONE);
    commit_all();
    int64_t size = fix_file_size("00000000000000000000.log");
    struct log_segment *s = segment_new(fix_log->folder, 0, now_ms); /* no .cleaned files */
    ck_assert_int_eq(log_replace_segments(fix_log, 0, 1, s), ERR_OFFLINE);
    ck_assert(fix_dir.is_offline);
    ck_assert_int_eq(fix_file_size("00000000000000000000.log"), size);
    reopen_after_fault();
    check();
}
END_TEST

/* Truncation and retention between the steps of a run: it gives up, and nothing comes back. */
static int paces;
static bool cut_at_pace(void *arg, struct log *l, int64_t bytes)
{
    (void)bytes;
    if (--paces == 0)
        ck_assert_int_eq(log_truncate_to(l, *(int64_t *)arg, &fix_why), ERR_OK);
    return true;
}
START_TEST(a_truncation_under_way_ends_the_run)
{
    fix_config.segment_bytes = 200000;
    log_set_config(fix_log, &fix_config);
    for (int i = 0; i < 4000; i++)
        append(4, -1, false, -1, false, CODEC_NONE);
    commit_all();
    int64_t to = model_end / 2;
    paces = _i;
    struct clean_env env = {.map_bytes_max = 1 << 20,
                            .buffer_bytes = 1000,
                            .load_factor = 0.9,
                            .go_on = cut_at_pace,
                            .arg = &to};
    enum err rc = log_clean(fix_log, &env, now_ms, &stats, &fix_why);
    ck_assert_msg(paces <= 0, "the run has only %d paces", _i - paces);
    ck_assert_int_eq(rc, ERR_BAD_VERSION);
    model_end = log_end_offset(fix_log);
    cleaned_upto = model_end; /* groups before the cut were put in place */
    check();
    clean();
    check();
}
END_TEST

/* Retention and DeleteRecords only take the oldest segments: the run goes on with the others, or a
 * log with cleanup.policy=compact,delete whose runs take long would never be compacted. */
static bool retain_at_pace(void *arg, struct log *l, int64_t bytes)
{
    (void)bytes;
    if (--paces == 0) {
        ck_assert_int_eq(log_set_start_offset(l, *(int64_t *)arg), ERR_OK);
        ck_assert_int_gt(log_delete_old(l, now_ms), 0);
    }
    return true;
}
/* What they ended does not come back. */
static void let_tombstones_go(void)
{
    for (int i = 0; i < 2; i++) {
        now_ms += fix_config.delete_retention_ms + 1;
        append(1, -1, false, -1, false, CODEC_NONE);
        ck_assert_int_eq(log_roll(fix_log, now_ms), ERR_OK);
        append(1, -1, false, -1, false, CODEC_NONE);
        commit_all();
        clean();
        check();
    }
}

START_TEST(retention_under_way_does_not_end_the_run)
{
    fix_config.segment_bytes = 40000;
    log_set_config(fix_log, &fix_config);
    for (int i = 0; i < 4000; i++)
        append(4, -1, false, -1, false, CODEC_NONE);
    commit_all();
    int64_t to = model_end / 2;
    paces = _i;
    struct clean_env env = {.map_bytes_max = 1 << 20,
                            .buffer_bytes = 1000,
                            .load_factor = 0.9,
                            .go_on = retain_at_pace,
                            .arg = &to};
    enum err rc = log_clean(fix_log, &env, now_ms, &stats, &fix_why);
    ck_assert_msg(paces <= 0, "the run has only %d paces", _i - paces);
    ck_assert_msg(rc == ERR_OK, "%s: %s", err_text(rc), fix_why.text);
    ck_assert_int_eq(fix_log->clean_offset, log_active(fix_log)->base_offset);
    ck_assert_int_ge(log_start_offset(fix_log), to);
    cleaned_upto = stats.end_offset;
    check();
    check_compact(stats.end_offset);
    ck_assert_int_eq(fix_file_size("00000000000000000000.log.cleaned"), -1);
    fix_reopen(_i % 2 == 0);
    check();
    check_compact(stats.end_offset);
    let_tombstones_go();
}
END_TEST

/* Some segments of a group go while it is copied: what the others still hold is not clean. */
START_TEST(retention_in_a_group_under_way_ends_the_run)
{
    fix_config.segment_bytes = 8000;
    log_set_config(fix_log, &fix_config);
    for (int i = 0; i < 4000; i++)
        append(4, -1, false, -1, false, CODEC_NONE);
    commit_all();
    fix_config.segment_bytes = 1 << 20;
    log_set_config(fix_log, &fix_config);
    int64_t to = log_segment_end(fix_log, 50);
    struct clean_env env = {.map_bytes_max = 1 << 20,
                            .buffer_bytes = 1000,
                            .load_factor = 0.9,
                            .go_on = retain_at_pace,
                            .arg = &to};
    paces = (int)(log_size(fix_log) / (64 << 10)) + 3; /* after the map, in the first group */
    ck_assert_int_eq(log_clean(fix_log, &env, now_ms, &stats, &fix_why), ERR_BAD_VERSION);
    ck_assert_int_le(paces, 0);
    ck_assert_int_eq(log_start_offset(fix_log), to);
    ck_assert_int_eq(fix_log->clean_offset, 0);
    check();
    clean();
    check();
    check_compact(stats.end_offset);
    let_tombstones_go();
}
END_TEST

static bool stop_at_pace(void *arg, struct log *l, int64_t bytes)
{
    (void)arg;
    (void)l;
    (void)bytes;
    return --paces != 0;
}
START_TEST(a_run_can_be_stopped)
{
    for (int i = 0; i < 3000; i++)
        append(4, -1, false, -1, false, CODEC_NONE);
    commit_all();
    for (int k = 1; k < 8; k++) {
        struct clean_env env = {.map_bytes_max = 1 << 20,
                                .buffer_bytes = 1000,
                                .load_factor = 0.9,
                                .go_on = stop_at_pace};
        paces = k;
        ck_assert_int_eq(log_clean(fix_log, &env, now_ms, &stats, &fix_why), ERR_BUSY);
        cleaned_upto = model_end;
        check();
        ck_assert_int_eq(fix_log->clean_offset, 0);
    }
}
END_TEST

/* ---- random lives */
static const char *const faults[] = {"log.clean.create",    "log.clean.write",  "log.clean.index",
                                     "log.clean.sync",      "log.clean.rename", "log.clean.delete",
                                     "log.clean.after_swap"};

static void faulty_clean(void)
{
    char spec[80];
    const char *name = faults[below(ARRAY_LEN(faults))];

    snprintf(spec, sizeof spec, "%s=eio:%d", name, 1 + (int)below(20));
    fix_fault(spec);
    cleaned_upto = i64_max(cleaned_upto, log_active(fix_log)->base_offset); /* or not */
    enum err rc = clean_with(1 << 20);
    ck_assert(rc == ERR_OK || rc == ERR_OFFLINE);
    reopen_after_fault();
    ck_assert_int_eq(log_end_offset(fix_log), model_end);
}

static void truncate_some(void)
{
    int64_t to = log_high_watermark(fix_log) +
                 below((uint32_t)(model_end - log_high_watermark(fix_log)) + 1);

    for (int p = 0; p < PRODUCERS; p++)
        if (producers[p].sequence > 0)
            return; /* the model does not go back in them */
    ck_assert_int_eq(log_truncate_to(fix_log, to, &fix_why), ERR_OK);
    model_end = log_end_offset(fix_log);
    epoch++;
}

static void step(bool with_producers)
{
    int p = (int)below(PRODUCERS);

    switch (below(14)) {
    case 0:
        ck_assert_int_eq(log_roll(fix_log, now_ms), ERR_OK);
        break;
    case 1:
        commit_all();
        break;
    case 2:
        ck_assert_int_eq(log_flush(fix_log), ERR_OK);
        clean();
        check();
        check_compact(stats.end_offset);
        break;
    case 3:
        ck_assert_int_eq(log_flush(fix_log), ERR_OK);
        ck_assert_int_eq(clean_with((size_t)(64 * 8 * 24 / (1 + below(4)))), ERR_OK);
        check();
        break;
    case 4:
        commit_all();
        faulty_clean();
        check();
        break;
    case 5:
        if (log_end_offset(fix_log) == fix_log->recovery_point || below(2) == 0)
            commit_all();
        fix_reopen(below(2) == 0);
        ck_assert_int_eq(log_end_offset(fix_log), model_end);
        check();
        break;
    case 6:
        now_ms += below(1500);
        epoch += (int32_t)below(2);
        break;
    case 7:
        truncate_some();
        break;
    case 8:
        if (below(5) == 0) {
            int64_t to = log_start_offset(fix_log) + below(10);
            ck_assert_int_eq(log_set_start_offset(fix_log, to),
                             to <= log_high_watermark(fix_log) ? ERR_OK : ERR_OUT_OF_RANGE);
        }
        (void)log_delete_old(fix_log, now_ms);
        break;
    case 9:
        if (with_producers && producers[p].in_txn)
            end_txn(p, below(2) == 0);
        break;
    default:
        for (int n = (int)below(12); n >= 0; n--) {
            bool has_id = with_producers && below(3) == 0;
            bool txn = has_id && (producers[p].in_txn || (p > 0 && below(2) == 0));
            append(1 + (int)below(5), -1, false, has_id ? p : -1, txn,
                   (enum codec)below(CODEC_COUNT));
        }
        break;
    }
}

START_TEST(random_lives)
{
    enum { STEPS = 160 };
    int first = getenv("KAFUKA_MODEL_FIRST") != NULL ? atoi(getenv("KAFUKA_MODEL_FIRST")) : 0;

    rng = (uint64_t)(_i + first) * 7919 + 17;
    fix_config.segment_bytes = 900 + below(3000);
    log_set_config(fix_log, &fix_config);
    bool with_producers = below(3) != 0;
    for (int i = 0; i < STEPS; i++) {
        if (getenv("KAFUKA_MODEL_TRACE") != NULL)
            printf("seed %d step %d end %d\n", _i + first, i, (int)model_end);
        step(with_producers);
    }
    for (int p = 0; p < PRODUCERS; p++)
        if (producers[p].in_txn)
            end_txn(p, below(2) == 0);
    commit_all();
    clean();
    check();
    check_compact(stats.end_offset);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("log_cleaner");
    TCase *m = tcase_create("map"), *t = tcase_create("log"), *r = tcase_create("random");
    int seeds = getenv("KAFUKA_MODEL_SEEDS") != NULL ? atoi(getenv("KAFUKA_MODEL_SEEDS")) : 15;

    tcase_add_test(m, the_map_knows_each_keys_last_offset);
    tcase_add_test(m, a_full_map_says_so_and_uses_most_of_its_limit);
    suite_add_tcase(s, m);
    tcase_add_checked_fixture(t, setup, fix_teardown);
    tcase_set_timeout(t, 60);
    tcase_add_test(t, a_log_shrinks_to_the_last_record_of_each_key);
    tcase_add_test(t, tombstones_go_when_their_time_has_come);
    tcase_add_test(t, what_is_not_committed_old_enough_or_closed_stays);
    tcase_add_test(t, an_open_transaction_stops_the_cleaner);
    tcase_add_test(t, transactions_and_producers_survive);
    tcase_add_test(t, a_small_map_takes_several_runs);
    tcase_add_test(t, a_reader_of_the_old_segments_goes_on);
    tcase_add_test(t, damage_sets_the_log_aside_untouched);
    tcase_add_test(t, segments_that_overlap_set_the_log_aside);
    tcase_add_test(t, a_full_disk_is_waited_for_and_a_bad_one_is_left);
    tcase_add_test(t, gaps_of_a_compacted_leader_are_no_damage);
    tcase_add_test(t, a_lost_file_replaces_nothing);
    tcase_add_loop_test(t, a_truncation_under_way_ends_the_run, 1, 12);
    tcase_add_loop_test(t, retention_under_way_does_not_end_the_run, 1, 20);
    tcase_add_test(t, retention_in_a_group_under_way_ends_the_run);
    tcase_add_test(t, a_run_can_be_stopped);
    suite_add_tcase(s, t);
    tcase_add_checked_fixture(r, setup, fix_teardown);
    tcase_set_timeout(r, 120);
    tcase_add_loop_test(r, random_lives, 0, seeds);
    suite_add_tcase(s, r);
    SRunner *sr = srunner_create(s);
    srunner_run_all(sr, CK_ENV);
    int failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed != 0;
}
