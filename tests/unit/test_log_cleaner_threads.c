/* SPDX-License-Identifier: Apache-2.0 */
/* The cleaner's threads at work in a manager: which logs they take, one that is damaged, limits,
 * stops in the middle of a run, and appends, reads, truncations and deletions meanwhile. */
#include "broker/log/log_manager_internal.h"
#include "common/base/clock.h"
#include "common/base/fsx.h"
#include "common/base/lock.h"
#include "common/base/slog.h"
#include "common/record/builder.h"

#include <check.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { LOGS = 4, KEYS = 20 };

static char root[200];
static char *dirs[1] = {root};
static struct log_manager_options options;
static struct log_manager *m;
static struct errtext why;
static struct lock locks[LOGS];
static struct log *logs[LOGS];
static int64_t next_value[LOGS];

static void take(void *user)
{
    lock_take(user);
}
static void give(void *user)
{
    lock_release(user);
}

static void setup(void)
{
    const char *tmp = getenv("TMPDIR");
    snprintf(root, sizeof root, "%s/kafuka-test-cleaner-XXXXXX", tmp == NULL ? "/tmp" : tmp);
    ck_assert_ptr_nonnull(mkdtemp(root));
    options = (struct log_manager_options){.dirs = dirs,
                                           .dir_count = 1,
                                           .recovery_threads_per_dir = 1,
                                           .retention_check_interval_ms = 300000,
                                           .checkpoint_interval_ms = 60000,
                                           .flush_scheduler_interval_ms = INT64_MAX,
                                           .cleaner = {.is_enabled = true,
                                                       .threads = 2,
                                                       .dedupe_bytes = 4 << 20,
                                                       .buffer_bytes = 20000,
                                                       .backoff_ms = 5,
                                                       .load_factor = 0.9,
                                                       .bytes_per_second_max = 1e300}};
    log_config_defaults(&options.defaults);
    options.defaults.is_compact = true;
    options.defaults.is_delete = false;
    options.defaults.segment_bytes = 4000;
    options.defaults.file_delete_delay_ms = 0;
    slog_min_level = SLOG_ERROR + 1;
    for (int i = 0; i < LOGS; i++)
        lock_init(&locks[i], LOCK_PARTITION);
    memset(next_value, 0, sizeof next_value);
}

static void teardown(void)
{
    unsetenv("KAFUKA_FAULT");
    fault_init();
    ck_assert_int_eq(fsx_remove_tree(root), ERR_OK);
}

static void start(void)
{
    ck_assert_msg(log_manager_open(&options, &m, &why) == ERR_OK, "%s", why.text);
    ck_assert_msg(log_manager_load(m, &why) == ERR_OK, "%s", why.text);
    for (int i = 0; i < LOGS; i++) {
        ck_assert_msg(log_manager_get_or_create(m, STR_LIT("t"), i, uuid_random(),
                                                &options.defaults, true, &locks[i], &logs[i],
                                                &why) == ERR_OK,
                      "%s", why.text);
        log_set_user(logs[i], &locks[i]);
    }
}

/* A batch of one record; HW follows but for the last keep_back records. */
static void append(int i, int64_t keep_back)
{
    struct log *l = logs[i];
    struct batch_options o;
    struct batch_builder b;
    struct buf out = {0};
    struct log_append_result res;
    char k[32], v[64];

    batch_options_init(&o);
    batch_builder_init(&b, &o);
    int kn = snprintf(k, sizeof k, "%d", (int)(next_value[i] % KEYS));
    int vn = snprintf(v, sizeof v, "%040d", (int)next_value[i]++);
    batch_builder_add(&b, 1700000000000, (struct bytes){(uint8_t *)k, kn},
                      (struct bytes){(uint8_t *)v, vn}, NULL, 0);
    ck_assert_int_eq(batch_builder_finish(&b, &out), ERR_OK);
    lock_take(&locks[i]);
    ck_assert_int_eq(
        log_append_leader(l, out.p, out.len, 0, LOG_FROM_CLIENT, 9, 1700000000000, &res), KE_NONE);
    if (log_end_offset(l) - keep_back > log_high_watermark(l))
        log_set_high_watermark(l, log_end_offset(l) - keep_back);
    lock_release(&locks[i]);
    batch_builder_fini(&b);
    buf_fini(&out);
}

static void fill(int i, int n)
{
    for (int k = 0; k < n; k++)
        append(i, 0);
}

static int64_t size_of(int i)
{
    lock_take(&locks[i]);
    int64_t n = log_size(logs[i]);
    lock_release(&locks[i]);
    return n;
}

/* Is all of it but the active segment clean, and small? */
static bool is_clean(int i)
{
    lock_take(&locks[i]);
    bool clean = logs[i]->clean_offset == log_active(logs[i])->base_offset;
    lock_release(&locks[i]);
    return clean;
}

static void wait_clean(int i)
{
    for (int k = 0; k < 10000 && !is_clean(i); k++)
        usleep(1000);
    ck_assert(is_clean(i));
}

static struct log_cleaner_numbers numbers(void)
{
    struct log_cleaner_numbers n;
    log_manager_cleaner_numbers(m, &n);
    return n;
}

/* The values of all keys from the log's start: the last one of each. */
static void read_values(int i, int64_t values[KEYS])
{
    struct log *l = logs[i];
    int64_t next = log_start_offset(l);

    for (int k = 0; k < KEYS; k++)
        values[k] = -1;
    while (next < log_end_offset(l)) {
        struct log_range r;
        struct record_iter it;
        struct record rec;
        size_t total, got;
        lock_take(&locks[i]);
        ck_assert_int_eq(log_read(l, next, log_end_offset(l), 3000, LOG_READ_AT_LEAST_ONE, &r),
                         ERR_OK);
        lock_release(&locks[i]);
        if (r.length == 0)
            return;
        uint8_t *p = malloc((size_t)r.length);
        int fd = log_range_fd(&r);
        ck_assert_int_ge(fd, 0);
        ck_assert_int_eq(fsx_pread(fd, p, (size_t)r.length, r.position, &got), ERR_OK);
        for (size_t at = 0; at < got && batch_peek(p + at, got - at, &total) == BATCH_WHOLE;
             at += total) {
            ck_assert_uint_eq(batch_crc(p + at), batch_crc_compute(p + at));
            record_iter_init(&it, p + at, p + at + BATCH_HEADER_BYTES, total - BATCH_HEADER_BYTES);
            while (record_next(&it, &rec) == ERR_OK) {
                char k[32] = "", v[64] = "";
                memcpy(k, rec.key.p, (size_t)rec.key.len);
                memcpy(v, rec.value.p, (size_t)rec.value.len);
                values[atoi(k)] = atoi(v);
            }
            next = batch_last_offset(p + at) + 1;
        }
        free(p);
        log_range_release(&r);
    }
}

START_TEST(dirty_logs_are_found_and_cleaned_and_the_checkpoint_tells)
{
    int64_t values[KEYS];

    start();
    log_manager_start(m, take, give);
    fill(0, 500);
    fill(2, 500);
    fill(3, 10); /* one segment: nothing to do */
    wait_clean(0);
    wait_clean(2);
    ck_assert_int_lt(size_of(0), 500 * 100 / 5);
    ck_assert_int_eq(logs[3]->clean_offset, 0);
    for (int k = 0; k < 3000 && numbers().waiting > 0; k++)
        usleep(1000);
    struct log_cleaner_numbers n = numbers();
    ck_assert_int_eq(n.waiting, 0); /* logs at rest are not looked at */
    ck_assert_int_ge(n.runs, 2);
    ck_assert_int_gt(n.bytes_read, n.bytes_written);
    ck_assert_int_eq(n.uncleanable, 0);
    ck_assert_int_gt(n.last_run_wall_ms, 0);
    int64_t clean_offset = logs[0]->clean_offset;
    read_values(0, values);
    for (int k = 0; k < KEYS; k++)
        ck_assert_int_eq(values[k], 480 + k);
    ck_assert_int_eq(log_manager_close(&m, 1), ERR_OK);
    start();
    ck_assert_int_eq(logs[0]->clean_offset, clean_offset);
    ck_assert_int_eq(logs[3]->clean_offset, 0);
    log_manager_start(m, take, give);
    usleep(50000);
    ck_assert_int_eq(numbers().runs, 0);
    ck_assert_int_eq(log_manager_close(&m, 1), ERR_OK);
}
END_TEST

START_TEST(a_damaged_log_is_set_aside_and_the_others_go_on)
{
    char path[400];
    int fd;

    start();
    fill(0, 400);
    fill(1, 200); /* less dirty: it would come after the damaged one */
    snprintf(path, sizeof path, "%s/t-0/00000000000000000000.log", root);
    ck_assert_int_eq(fsx_open(path, O_WRONLY, 0, &fd), ERR_OK);
    ck_assert_int_eq(fsx_pwrite_all(fd, "!", 1, 100), ERR_OK);
    close(fd);
    int64_t before = size_of(0);
    log_manager_start(m, take, give);
    for (int i = 0; i < LOGS; i++)
        log_manager_post(logs[i], LOG_WORK_FLUSH);
    wait_clean(1);
    for (int k = 0; k < 10000 && numbers().uncleanable == 0; k++)
        usleep(1000);
    ck_assert_int_eq(numbers().uncleanable, 1);
    ck_assert_int_eq(numbers().failed_runs, 1);
    fill(2, 400);
    wait_clean(2);
    ck_assert_int_eq(size_of(0), before);
    ck_assert_int_eq(numbers().failed_runs, 1); /* it is left alone */
    ck_assert(!m->dirs[0]->is_offline);
    ck_assert_int_eq(log_manager_close(&m, 1), ERR_OK);
}
END_TEST

START_TEST(a_limit_of_bytes_is_kept_and_a_slow_run_is_left_at_once)
{
    options.cleaner.bytes_per_second_max = 400000;
    options.defaults.segment_bytes = 1 << 20;
    start();
    fill(0, 4000); /* some 450 kB: twice read, once over the limit */
    lock_take(&locks[0]);
    ck_assert_int_eq(log_roll(logs[0], 0), ERR_OK);
    int64_t bytes = log_size(logs[0]);
    lock_release(&locks[0]);
    int64_t began = clock_mono_ms();
    log_manager_start(m, take, give);
    wait_clean(0);
    int64_t took = clock_mono_ms() - began;
    ck_assert_int_ge(took, 2 * bytes * 1000 / 400000 * 7 / 10);
    /* a run that would take hours ends with the deletion of its log, and with the manager */
    struct log_cleaner_options slow = options.cleaner;
    slow.bytes_per_second_max = 10;
    log_manager_set_cleaner(m, &slow);
    for (int i = 1; i < 3; i++) {
        fill(i, 4000);
        lock_take(&locks[i]);
        ck_assert_int_eq(log_roll(logs[i], 0), ERR_OK);
        lock_release(&locks[i]);
    }
    bool both = false;
    for (int k = 0; k < 10000 && !both; k++) {
        lock_take(&m->lock);
        both = logs[1]->is_cleaning && logs[2]->is_cleaning;
        lock_release(&m->lock);
        usleep(1000);
    }
    ck_assert(both);
    began = clock_mono_ms();
    ck_assert_int_eq(log_manager_delete(m, logs[1]), ERR_OK);
    ck_assert_int_lt(clock_mono_ms() - began, 5000);
    began = clock_mono_ms();
    ck_assert_int_eq(log_manager_close(&m, 1), ERR_OK);
    ck_assert_int_lt(clock_mono_ms() - began, 5000);
}
END_TEST

/* ---- all at a time */
static _Atomic bool stops;

static void *read_all_the_time(void *arg)
{
    while (!atomic_load(&stops)) {
        int i = *(int *)arg;
        struct log *l = logs[i];
        struct log_range r;
        lock_take(&locks[i]);
        int64_t from = log_start_offset(l), to = log_high_watermark(l);
        enum err rc = log_read(l, from, to, 2000, LOG_READ_AT_LEAST_ONE, &r);
        lock_release(&locks[i]);
        ck_assert_int_eq(rc, ERR_OK);
        usleep(500); /* the segment may be compacted, renamed and unlinked meanwhile */
        if (r.length > 0) {
            uint8_t p[4096];
            size_t got, total;
            int fd = log_range_fd(&r);
            ck_assert_int_ge(fd, 0);
            ck_assert_int_eq(
                fsx_pread(fd, p, size_min(sizeof p, (size_t)r.length), r.position, &got), ERR_OK);
            for (size_t at = 0; at < got && batch_peek(p + at, got - at, &total) == BATCH_WHOLE;
                 at += total)
                ck_assert_uint_eq(batch_crc(p + at), batch_crc_compute(p + at));
        }
        log_range_release(&r);
    }
    return NULL;
}

START_TEST(cleaning_disturbs_nobody)
{
    pthread_t readers[2];
    int which[2] = {0, 1};
    int64_t values[2][KEYS], after[KEYS];
    struct log_cleaner_options changed;

    fd_cache_set_max(5);
    start();
    log_manager_start(m, take, give);
    atomic_store(&stops, false);
    for (int i = 0; i < 2; i++)
        ck_assert_int_eq(pthread_create(&readers[i], NULL, read_all_the_time, &which[i]), 0);
    int64_t until = clock_mono_ms() + 60000;
    for (int n = 0; (n < 1000 || numbers().runs < 10) && clock_mono_ms() < until; n++) {
        append(0, 30);
        append(1, 30);
        usleep(1000);        /* flushes, which the cleaner waits for, must keep up */
        if (n % 200 == 49) { /* what is not committed may be cut */
            lock_take(&locks[0]);
            ck_assert_int_eq(log_truncate_to(logs[0], log_end_offset(logs[0]) - 20, &why), ERR_OK);
            lock_release(&locks[0]);
        }
        if (n % 300 == 70) {
            lock_take(&locks[1]);
            ck_assert_int_eq(log_set_start_offset(logs[1], log_high_watermark(logs[1]) - 400 > 0
                                                               ? log_high_watermark(logs[1]) - 400
                                                               : 0),
                             ERR_OK);
            (void)log_delete_old(logs[1], 0);
            lock_release(&locks[1]);
        }
        if (n % 333 == 332) {
            changed = options.cleaner;
            changed.threads = 1 + n % 3;
            log_manager_set_cleaner(m, &changed);
        }
    }
    ck_assert_int_ge(numbers().runs, 10);
    atomic_store(&stops, true);
    for (int i = 0; i < 2; i++)
        ck_assert_int_eq(pthread_join(readers[i], NULL), 0);
    for (int i = 0; i < 2; i++)
        read_values(i, values[i]);
    ck_assert_int_eq(log_manager_close(&m, 1), ERR_OK);
    start();
    for (int i = 0; i < 2; i++) {
        read_values(i, after);
        ck_assert_mem_eq(after, values[i], sizeof after);
        for (int k = 0; k < KEYS; k++)
            ck_assert_int_ge(after[k], 0);
    }
    ck_assert_int_eq(log_manager_close(&m, 1), ERR_OK);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("log_cleaner_threads");
    TCase *t = tcase_create("threads");

    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, 90);
    tcase_add_test(t, dirty_logs_are_found_and_cleaned_and_the_checkpoint_tells);
    tcase_add_test(t, a_damaged_log_is_set_aside_and_the_others_go_on);
    tcase_add_test(t, a_limit_of_bytes_is_kept_and_a_slow_run_is_left_at_once);
    tcase_add_test(t, cleaning_disturbs_nobody);
    suite_add_tcase(s, t);
    SRunner *sr = srunner_create(s);
    srunner_run_all(sr, CK_ENV);
    int failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed != 0;
}
