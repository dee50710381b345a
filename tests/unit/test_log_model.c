/* SPDX-License-Identifier: Apache-2.0 */
/* Random lives of a log against a model of it: appends, truncations, retention, flushes, clean
 * stops and crashes. A crash keeps all that was flushed, and of the rest what it likes, of each
 * file for itself: nothing, all, or a part with a torn or zeroed end. Seeds are the test's index;
 * more by KAFUKA_MODEL_SEEDS (how many) and KAFUKA_MODEL_FIRST; KAFUKA_MODEL_TRACE prints the
 * steps. */
#include "log_fixture.h"

#include "common/base/slog.h"

#include <dirent.h>

enum { BATCHES_MAX = 4000, STEPS = 120, PRODUCERS = 3 };

struct model_batch {
    int64_t base, last, producer_id;
    uint32_t crc;
    int32_t epoch, sequence;
};
static struct model_batch model[BATCHES_MAX];
static int model_count;
static int64_t model_start, flushed_end, saved_recovery_point;
static int32_t epoch;
static uint64_t rng;
static char durable[300]; /* a copy of the folder as it was at the last flush */

static uint32_t below(uint32_t n)
{
    rng = rng * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)((rng >> 33) % n);
}

/* ---- the disk */
static void copy_file(const char *from, const char *to, int64_t max)
{
    struct buf b = {0};
    int fd;

    ck_assert_int_eq(fsx_read_file(from, 1 << 26, &b), ERR_OK);
    ck_assert_int_eq(fsx_open(to, O_WRONLY | O_CREAT | O_TRUNC, 0644, &fd), ERR_OK);
    ck_assert_int_eq(fsx_pwrite_all(fd, b.p, (size_t)i64_min((int64_t)b.len, max), 0), ERR_OK);
    close(fd);
    buf_fini(&b);
}

static void copy_folder(const char *from, const char *to)
{
    DIR *d = opendir(from);
    const struct dirent *e;
    char a[600], b[600];

    ck_assert_int_eq(fsx_remove_tree(to), ERR_OK);
    ck_assert_int_eq(mkdir(to, 0755), 0);
    while ((e = readdir(d)) != NULL) {
        if (e->d_name[0] == '.')
            continue;
        snprintf(a, sizeof a, "%s/%s", from, e->d_name);
        snprintf(b, sizeof b, "%s/%s", to, e->d_name);
        copy_file(a, b, INT64_MAX);
    }
    closedir(d);
}

static int64_t size_of(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 ? (int64_t)st.st_size : -1;
}

/* The end of what a file got since the flush: cut, or zeroed, or damaged. */
static void tear(const char *path, int64_t from)
{
    int64_t size = size_of(path);
    uint8_t junk[64];
    int fd;

    if (size <= from)
        return;
    int64_t at = from + below((uint32_t)(size - from));
    switch (below(3)) {
    case 0:
        ck_assert_int_eq(truncate(path, at), 0);
        return;
    case 1:
        memset(junk, 0, sizeof junk);
        break;
    default:
        memset(junk, (int)below(256), sizeof junk);
        break;
    }
    ck_assert_int_eq(fsx_open(path, O_WRONLY, 0, &fd), ERR_OK);
    ck_assert_int_eq(fsx_pwrite_all(fd, junk, (size_t)i64_min(sizeof junk, size - at), at), ERR_OK);
    close(fd);
}

static bool ends_with(const char *s, const char *end)
{
    size_t n = strlen(s), m = strlen(end);
    return n >= m && strcmp(s + n - m, end) == 0;
}

/* Power fails: what was flushed is there, of the rest a whim of the disk. */
static void lose_power(const char *folder)
{
    DIR *d = opendir(folder);
    const struct dirent *e;
    char now[600], then[600];

    while ((e = readdir(d)) != NULL) {
        if (e->d_name[0] == '.')
            continue;
        snprintf(now, sizeof now, "%s/%s", folder, e->d_name);
        snprintf(then, sizeof then, "%s/%s", durable, e->d_name);
        int64_t flushed = size_of(then);
        bool only_grows = ends_with(now, ".log") || ends_with(now, "index");
        switch (below(3)) {
        case 0:
            break; /* it made it to the disk */
        case 1:
            if (flushed >= 0)
                copy_file(then, now, INT64_MAX);
            else
                unlink(now);
            break;
        default:
            if (only_grows)
                tear(now, flushed < 0 ? 0 : flushed);
            else if (flushed < 0)
                tear(now, 0);
            break;
        }
    }
    closedir(d);
}

/* The process dies: everything written is there, but the last write may be cut short. */
static void kill_process(void)
{
    char path[SEGMENT_PATH_MAX], then[600];

    segment_path(log_active(fix_log), ".log", path);
    snprintf(then, sizeof then, "%s%s", durable, strrchr(path, '/'));
    int64_t size = size_of(path), floor = i64_max(size_of(then), 0);
    if (below(2) == 0 && size > floor)
        ck_assert_int_eq(truncate(path, i64_max(size - below(200), floor)), 0);
}

/* ---- steps */
static void note_flushed(void)
{
    flushed_end = log_end_offset(fix_log);
    ck_assert_int_eq(log_recovery_point(fix_log), flushed_end);
    if (below(3) > 0) /* the checkpoint may be older */
        saved_recovery_point = flushed_end;
    copy_folder(fix_log->folder->path, durable);
}

static void flush(void)
{
    if (below(4) == 0)
        log_take_snapshot(fix_log, log_end_offset(fix_log));
    ck_assert_int_eq(log_flush(fix_log), ERR_OK);
    note_flushed();
}

static int32_t next_sequence(int64_t producer_id)
{
    for (int i = model_count; i > 0; i--)
        if (model[i - 1].producer_id == producer_id)
            return sequence_add(model[i - 1].sequence,
                                (int32_t)(model[i - 1].last - model[i - 1].base) + 1);
    return 0;
}

static void append(void)
{
    struct batch_options o;
    struct log_append_result res;

    if (model_count == BATCHES_MAX)
        return;
    batch_options_init(&o);
    o.codec = below(4) == 0 ? (enum codec)below(CODEC_COUNT) : CODEC_NONE;
    if (below(3) == 0) {
        o.producer_id = below(PRODUCERS);
        o.producer_epoch = 0;
        o.base_sequence = next_sequence(o.producer_id);
    }
    if (below(20) == 0)
        epoch += 1 + (int32_t)below(2);
    struct buf b = fix_batch_of(&o, 1 + (int)below(4), (int)below(200), T0 + below(1000));
    int16_t code = log_append_leader(fix_log, b.p, b.len, epoch, LOG_FROM_CLIENT, 9, T0, &res);
    ck_assert_msg(code == KE_NONE, "%s %s", kerr_name(code), res.error_message);
    ck_assert(!res.is_duplicate);
    model[model_count++] = (struct model_batch){.base = res.base_offset,
                                                .last = res.last_offset,
                                                .producer_id = o.producer_id,
                                                .crc = batch_crc(b.p),
                                                .epoch = epoch,
                                                .sequence = o.base_sequence};
    buf_fini(&b);
}

/* What a fetch would bring: some batches at once, with their own offsets and epochs. */
static void append_as_follower(void)
{
    struct buf b = {0};
    int64_t next = log_end_offset(fix_log);

    for (uint32_t n = 1 + below(4); n > 0 && model_count < BATCHES_MAX; n--) {
        struct batch_options o;
        batch_options_init(&o);
        o.base_offset = next;
        o.leader_epoch = epoch;
        struct buf one = fix_batch_of(&o, 1 + (int)below(4), (int)below(200), T0 + below(1000));
        model[model_count++] = (struct model_batch){.base = next,
                                                    .last = batch_last_offset(one.p),
                                                    .producer_id = -1,
                                                    .crc = batch_crc(one.p),
                                                    .epoch = epoch,
                                                    .sequence = -1};
        next = batch_last_offset(one.p) + 1;
        buf_add(&b, one.p, one.len);
        buf_fini(&one);
        if (below(8) == 0)
            epoch++;
    }
    ck_assert_int_eq(log_append_follower(fix_log, b.p, b.len, T0, &fix_why), ERR_OK);
    ck_assert_int_eq(log_end_offset(fix_log), next);
    buf_fini(&b);
}

static void forget_from(int64_t offset)
{
    while (model_count > 0 && model[model_count - 1].last >= offset)
        model_count--;
    epoch = model_count == 0 ? epoch : i32_max(epoch, model[model_count - 1].epoch + 1);
}

static void cut(void)
{
    int64_t end = log_end_offset(fix_log);
    int64_t to = i64_max(end - below(30), model_start);

    ck_assert_int_eq(log_truncate_to(fix_log, to, &fix_why), ERR_OK);
    forget_from(to);
    model_start = i64_min(model_start, log_end_offset(fix_log)); /* a cut inside a batch */
    if (to < end)
        epoch++;                               /* a new leader */
    if (log_end_offset(fix_log) < flushed_end) /* the log has flushed what it changed */
        note_flushed();
    saved_recovery_point = i64_min(saved_recovery_point, log_recovery_point(fix_log));
}

static void raise_start(void)
{
    int64_t end = log_end_offset(fix_log);

    log_set_high_watermark(fix_log, i64_max(log_high_watermark(fix_log), end - below(20)));
    int64_t start = i64_min(log_start_offset(fix_log) + below(20), log_high_watermark(fix_log));
    ck_assert_int_eq(log_set_start_offset(fix_log, start), ERR_OK);
    if (below(2) == 0)
        flush();
    (void)log_delete_old(fix_log, T0);
    model_start = log_start_offset(fix_log);
}

/* ---- checks */
static const struct model_batch *find_batch(int64_t offset)
{
    for (int i = 0; i < model_count; i++)
        if (model[i].last >= offset)
            return &model[i];
    return NULL;
}

static void check_read(int64_t offset)
{
    const struct model_batch *want = find_batch(offset);
    struct log_range r;

    ck_assert_int_eq(
        log_read(fix_log, offset, log_end_offset(fix_log), 1, LOG_READ_AT_LEAST_ONE, &r), ERR_OK);
    ck_assert_ptr_nonnull(want);
    struct buf b = fix_bytes(&r);
    ck_assert_uint_ge(b.len, BATCH_HEADER_BYTES);
    ck_assert_int_eq(batch_base_offset(b.p), want->base);
    ck_assert_uint_eq(batch_crc(b.p), want->crc);
    ck_assert_uint_eq(batch_crc_compute(b.p), want->crc);
    ck_assert_int_eq(log_epoch_of(fix_log, offset), want->epoch);
    buf_fini(&b);
    log_range_release(&r);
}

static void check_producers(void)
{
    struct log_producer *p;
    int32_t n = log_producers(fix_log, &p);

    for (int32_t i = 0; i < n; i++)
        ck_assert_int_eq(sequence_add(p[i].last_sequence, 1), next_sequence(p[i].producer_id));
    mem_free(p);
}

static void check_all(void)
{
    log_check(fix_log);
    ck_assert_int_eq(log_start_offset(fix_log), model_start);
    for (int64_t o = model_start; o < log_end_offset(fix_log); o++)
        check_read(o);
    check_producers();
    fix_check_indexes();
}

/* ---- stops */
static void stop_cleanly(void)
{
    ck_assert_int_eq(log_prepare_close(fix_log), ERR_OK);
    note_flushed();
    fix_hw = log_high_watermark(fix_log);
    fix_start = log_start_offset(fix_log);
    int64_t end = log_end_offset(fix_log);
    log_free(&fix_log);
    fix_open(true);
    ck_assert_int_eq(log_end_offset(fix_log), end);
    saved_recovery_point = end;
}

static void crash(void)
{
    char folder[300];
    int64_t end = log_end_offset(fix_log);
    bool power = below(2) == 0;

    snprintf(folder, sizeof folder, "%s/t-0", fix_path);
    fix_hw = log_high_watermark(fix_log);
    fix_start = log_start_offset(fix_log);
    fix_recovery_point = saved_recovery_point;
    if (!power)
        kill_process();
    log_free(&fix_log);
    if (power)
        lose_power(folder);
    fix_open(false);
    ck_assert_int_le(log_end_offset(fix_log), end);
    if (fix_start <= log_end_offset(fix_log) && log_start_offset(fix_log) == fix_start)
        ck_assert_int_ge(log_end_offset(fix_log), flushed_end);
    model_start = log_start_offset(fix_log);
    forget_from(log_end_offset(fix_log));
    while (model_count > 0 && log_end_offset(fix_log) == model_start &&
           model[model_count - 1].last >= model_start)
        model_count--;
    epoch++;
    flush();
}

START_TEST(a_random_life)
{
    rng = (uint64_t)_i * 7919 + 1;
    model_count = 0;
    model_start = flushed_end = saved_recovery_point = 0;
    epoch = 0;
    snprintf(durable, sizeof durable, "%s/durable", fix_path);
    fix_config.segment_bytes = 1500 + below(5000);
    fix_config.index_interval_bytes = 100 + (int32_t)below(1000);
    fix_open(true);
    flush();
    for (int step = 0; step < STEPS; step++) {
        uint32_t what = below(100);
        if (getenv("KAFUKA_MODEL_TRACE") != NULL)
            fprintf(stderr, "%d: %u start %" PRId64 " end %" PRId64 " flushed %" PRId64 "\n", step,
                    what, log_start_offset(fix_log), log_end_offset(fix_log), flushed_end);
        if (what < 60)
            append();
        else if (what < 70)
            append_as_follower();
        else if (what < 80)
            flush();
        else if (what < 86)
            cut();
        else if (what < 90)
            raise_start();
        else if (what < 94)
            stop_cleanly();
        else if (what < 97)
            crash();
        else
            check_all();
    }
    check_all();
}
END_TEST

int main(void)
{
    const char *more = getenv("KAFUKA_MODEL_SEEDS"), *first = getenv("KAFUKA_MODEL_FIRST");
    int from = first == NULL ? 0 : atoi(first);
    Suite *s = suite_create("log_model");
    TCase *t = tcase_create("model");
    tcase_add_checked_fixture(t, fix_setup, fix_teardown);
    tcase_set_timeout(t, 60);
    tcase_add_loop_test(t, a_random_life, from, from + (more == NULL ? 15 : atoi(more)));
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    slog_min_level = SLOG_ERROR;
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? 0 : 1;
}
