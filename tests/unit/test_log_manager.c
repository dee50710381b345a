/* SPDX-License-Identifier: Apache-2.0 */
/* The log dirs: locks, identity, loading, checkpoints, deletion, a dir that fails. */
#include "broker/log/log_manager_internal.h"
#include "common/base/clock.h"
#include "common/base/fsx.h"
#include "common/base/lock.h"
#include "common/record/builder.h"

#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define T0 1700000000000

static char root[200], dir_a[256], dir_b[256];
static char *dirs[2] = {dir_a, dir_b};
static struct log_manager_options options;
static struct log_manager *m;
static struct errtext why;
static _Atomic int failed_dirs;

static struct lock partition_lock; /* one for all logs will do */

static void take(void *user)
{
    lock_take(user);
}
static void give(void *user)
{
    lock_release(user);
}

static void dir_failed(void *arg, const char *dir)
{
    failed_dirs++;
}

static void setup(void)
{
    const char *tmp = getenv("TMPDIR");
    snprintf(root, sizeof root, "%s/kafuka-test-logs-XXXXXX", tmp == NULL ? "/tmp" : tmp);
    ck_assert_ptr_nonnull(mkdtemp(root));
    snprintf(dir_a, sizeof dir_a, "%s/a", root);
    snprintf(dir_b, sizeof dir_b, "%s/b", root);
    options = (struct log_manager_options){.dirs = dirs,
                                           .dir_count = 2,
                                           .recovery_threads_per_dir = 3,
                                           .retention_check_interval_ms = 300000,
                                           .checkpoint_interval_ms = 60000,
                                           .flush_scheduler_interval_ms = INT64_MAX,
                                           .dir_failed = dir_failed};
    log_config_defaults(&options.defaults);
    failed_dirs = 0;
    lock_init(&partition_lock, LOCK_PARTITION);
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
}

static struct log *create(const char *topic, int32_t partition)
{
    struct log *l;
    ck_assert_msg(log_manager_get_or_create(m, str_of(topic), partition, uuid_random(),
                                            &options.defaults, true, &partition_lock, &l,
                                            &why) == ERR_OK,
                  "%s", why.text);
    return l;
}

static int16_t append(struct log *l, int count)
{
    struct batch_options o;
    struct batch_builder b;
    struct buf out = {0};
    struct log_append_result res;

    batch_options_init(&o);
    batch_builder_init(&b, &o);
    for (int i = 0; i < count; i++)
        batch_builder_add(&b, T0, BYTES_NULL, (struct bytes){(const uint8_t *)"v", 1}, NULL, 0);
    ck_assert_int_eq(batch_builder_finish(&b, &out), ERR_OK);
    lock_take(&partition_lock);
    int16_t code = log_append_leader(l, out.p, out.len, 0, LOG_FROM_CLIENT, 9, T0, &res);
    lock_release(&partition_lock);
    batch_builder_fini(&b);
    buf_fini(&out);
    return code;
}

START_TEST(logs_are_found_again_after_a_clean_stop)
{
    struct uuid ids[20];

    start();
    for (int i = 0; i < 20; i++) {
        struct log *l = create("a-topic.with-dashes", i);
        ids[i] = log_topic_id(l);
        ck_assert_int_eq(append(l, i + 1), KE_NONE);
        log_set_high_watermark(l, i);
    }
    ck_assert_int_eq(log_manager_close(&m, 77), ERR_OK);
    start();
    ck_assert(m->dirs[0]->was_clean && m->dirs[1]->was_clean);
    size_t in_a = 0;
    for (int i = 0; i < 20; i++) {
        struct log *l = log_manager_find(m, STR_LIT("a-topic.with-dashes"), i);
        ck_assert_ptr_nonnull(l);
        ck_assert_int_eq(log_end_offset(l), i + 1);
        ck_assert_int_eq(log_high_watermark(l), i);
        ck_assert(uuid_eq(log_topic_id(l), ids[i]));
        in_a += strcmp(log_dir_of(l), dir_a) == 0;
    }
    ck_assert_uint_eq(in_a, 10); /* spread over both dirs */
    ck_assert_ptr_null(log_manager_find(m, STR_LIT("a-topic.with-dashes"), 20));
    ck_assert_int_eq(log_manager_close(&m, 77), ERR_OK);
}
END_TEST

START_TEST(after_a_crash_logs_are_recovered)
{
    pid_t child = fork();

    if (child == 0) {
        start();
        for (int i = 0; i < 10; i++) {
            struct log *l = create("t", i);
            for (int k = 0; k < 5; k++)
                ck_assert_int_eq(append(l, 1), KE_NONE);
        }
        _exit(0); /* without a word */
    }
    int status;
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert_int_eq(status, 0);
    start();
    ck_assert(!m->dirs[0]->was_clean);
    for (int i = 0; i < 10; i++)
        ck_assert_int_eq(log_end_offset(log_manager_find(m, STR_LIT("t"), i)), 5);
    ck_assert_int_eq(log_manager_close(&m, 1), ERR_OK);
}
END_TEST

START_TEST(a_dir_in_use_by_another_process_is_refused)
{
    int ready[2], status;
    char c;

    ck_assert_int_eq(pipe(ready), 0);
    pid_t child = fork();
    if (child == 0) {
        start();
        (void)!write(ready[1], "x", 1);
        (void)pause();
    }
    ck_assert_int_eq(read(ready[0], &c, 1), 1);
    ck_assert_int_eq(log_manager_open(&options, &m, &why), ERR_EXISTS);
    ck_assert_ptr_null(m);
    ck_assert_int_eq(kill(child, SIGKILL), 0);
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    start();
    ck_assert_int_eq(log_manager_close(&m, 1), ERR_OK);
}
END_TEST

START_TEST(identity_is_kept_and_must_agree)
{
    char path[300];
    static const char other[] = "version=0\nbroker.id=4\ncluster.id=xyz\n";

    start();
    ck_assert_int_eq(log_manager_broker_id(m), -1);
    ck_assert_str_eq(log_manager_cluster_id(m), "");
    ck_assert_int_eq(log_manager_write_meta(m, 3, "abcdefghijklmnopqrstuv"), ERR_OK);
    ck_assert_int_eq(log_manager_close(&m, 1), ERR_OK);
    ck_assert_int_eq(log_manager_open(&options, &m, &why), ERR_OK);
    ck_assert_int_eq(log_manager_broker_id(m), 3);
    ck_assert_str_eq(log_manager_cluster_id(m), "abcdefghijklmnopqrstuv");
    ck_assert_int_eq(log_manager_close(&m, 1), ERR_OK);
    snprintf(path, sizeof path, "%s/meta.properties", dir_b);
    ck_assert_int_eq(fsx_replace_durably(path, other, sizeof other - 1, 0644), ERR_OK);
    ck_assert_int_eq(log_manager_open(&options, &m, &why), ERR_INVALID);
    ck_assert_ptr_nonnull(strstr(why.text, "broker 4"));
}
END_TEST

START_TEST(a_partition_in_two_dirs_is_refused)
{
    char path[300];

    start();
    ck_assert_int_eq(log_manager_close(&m, 1), ERR_OK);
    for (int i = 0; i < 2; i++) {
        snprintf(path, sizeof path, "%s/t-0", dirs[i]);
        ck_assert_int_eq(fsx_mkdir_p(path, 0755), ERR_OK);
    }
    ck_assert_int_eq(log_manager_open(&options, &m, &why), ERR_OK);
    ck_assert_int_eq(log_manager_load(m, &why), ERR_INVALID);
    ck_assert_int_eq(log_manager_close(&m, 1), ERR_OK);
}
END_TEST

static int folders_named(const char *dir, const char *end)
{
    DIR *d = opendir(dir);
    const struct dirent *e;
    int n = 0;
    while ((e = readdir(d)) != NULL)
        n += strlen(e->d_name) > strlen(end) &&
             strcmp(e->d_name + strlen(e->d_name) - strlen(end), end) == 0;
    closedir(d);
    return n;
}

START_TEST(a_deleted_log_is_gone_but_its_ranges_stay)
{
    struct log_range r;
    char byte;

    options.dir_count = 1;
    start();
    struct log *l = create("t", 0);
    ck_assert_int_eq(append(l, 5), KE_NONE);
    ck_assert_int_eq(log_read(l, 0, 5, 1000, 0, &r), ERR_OK);
    ck_assert_int_eq(log_manager_delete(m, l), ERR_OK);
    ck_assert_ptr_null(log_manager_find(m, STR_LIT("t"), 0));
    ck_assert_int_eq(folders_named(dir_a, "-delete"), 1);
    l = create("t", 0); /* a new one of the same name */
    ck_assert_int_eq(log_end_offset(l), 0);
    log_background_remove_doomed(m, 0, true);
    ck_assert_int_eq(folders_named(dir_a, "-delete"), 0);
    ck_assert_int_eq(pread(log_range_fd(&r), &byte, 1, r.position), 1);
    log_range_release(&r);
    ck_assert_int_eq(log_manager_close(&m, 1), ERR_OK);
}
END_TEST

static void crash(void (*life)(void))
{
    pid_t child = fork();
    int status;

    if (child == 0) {
        life();
        _exit(0); /* without a word */
    }
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert_int_eq(status, 0);
}

/* A log with everything that the checkpoints tell. */
static struct log *create_with_checkpoints(void)
{
    struct log *l = create("t", 0);

    for (int i = 0; i < 10; i++)
        ck_assert_int_eq(append(l, 1), KE_NONE);
    log_set_high_watermark(l, 10);
    ck_assert_int_eq(log_set_start_offset(l, 8), ERR_OK);
    ck_assert_int_eq(log_flush(l), ERR_OK);
    l->clean_offset = 9;
    for (int k = 0; k < CHECKPOINT_KINDS; k++)
        ck_assert_int_eq(log_dir_checkpoint(m, m->dirs[0], (enum checkpoint_kind)k), ERR_OK);
    return l;
}

static void life_with_a_new_log_of_the_same_name(void)
{
    start();
    ck_assert_int_eq(log_manager_delete(m, create_with_checkpoints()), ERR_OK);
    for (int i = 0; i < 10; i++)
        ck_assert_int_eq(append(create("u", i), 1), KE_NONE);
    struct log *l = create("t", 0);
    for (int i = 0; i < 5; i++)
        ck_assert_int_eq(append(l, 1), KE_NONE);
}
START_TEST(checkpoints_of_a_deleted_log_say_nothing_of_the_next)
{
    options.dir_count = 1;
    crash(life_with_a_new_log_of_the_same_name);
    start();
    struct log *l = log_manager_find(m, STR_LIT("t"), 0);
    ck_assert_int_eq(log_start_offset(l), 0);
    ck_assert_int_eq(log_end_offset(l), 5);
    ck_assert_int_eq(log_high_watermark(l), 0);
    ck_assert_int_eq(l->clean_offset, 0);
    ck_assert_int_eq(log_manager_close(&m, 1), ERR_OK);
}
END_TEST

static void life_with_a_deletion(void)
{
    start();
    ck_assert_int_eq(log_manager_delete(m, create_with_checkpoints()), ERR_OK);
}
static void life_with_a_new_log(void)
{
    start();
    struct log *l = create("t", 0);
    for (int i = 0; i < 5; i++)
        ck_assert_int_eq(append(l, 1), KE_NONE);
}
START_TEST(nor_do_they_after_a_crash)
{
    options.dir_count = 1;
    crash(life_with_a_deletion);
    crash(life_with_a_new_log);
    start();
    struct log *l = log_manager_find(m, STR_LIT("t"), 0);
    ck_assert_int_eq(log_start_offset(l), 0);
    ck_assert_int_eq(log_end_offset(l), 5);
    ck_assert_int_eq(l->clean_offset, 0);
    ck_assert_int_eq(log_manager_close(&m, 1), ERR_OK);
}
END_TEST

static void life_with_a_truncation(void)
{
    start();
    struct log *l = create_with_checkpoints();
    ck_assert_int_eq(log_truncate_to(l, 8, &why), ERR_OK);
    for (int i = 0; i < 5; i++)
        ck_assert_int_eq(append(l, 1), KE_NONE);
}
/* What was appended in the place of what was clean is not. */
START_TEST(a_truncation_takes_the_clean_offset_with_it)
{
    options.dir_count = 1;
    crash(life_with_a_truncation);
    start();
    struct log *l = log_manager_find(m, STR_LIT("t"), 0);
    ck_assert_int_eq(log_end_offset(l), 13);
    ck_assert_int_eq(l->clean_offset, 8);
    ck_assert_int_eq(log_manager_close(&m, 1), ERR_OK);
}
END_TEST

START_TEST(folders_left_to_delete_go_after_a_restart)
{
    char path[400];

    options.dir_count = 1;
    start();
    ck_assert_int_eq(log_manager_close(&m, 1), ERR_OK);
    snprintf(path, sizeof path, "%s/t-0.0123456789abcdef0123456789abcdef-delete", dir_a);
    ck_assert_int_eq(fsx_mkdir_p(path, 0755), ERR_OK);
    start();
    ck_assert_ptr_null(log_manager_find(m, STR_LIT("t"), 0));
    ck_assert_int_eq(log_manager_close(&m, 1), ERR_OK);
    ck_assert_int_eq(access(path, F_OK), -1);
}
END_TEST

START_TEST(a_failed_dir_is_told_once_and_the_other_goes_on)
{
    struct log_dir_info info[2];

    start();
    log_manager_start(m, take, give);
    struct log *first = create("t", 0), *second = create("t", 1);
    ck_assert_str_ne(log_dir_of(first), log_dir_of(second));
    setenv("KAFUKA_FAULT", "log.append.write=eio", 1);
    fault_init();
    ck_assert_int_eq(append(first, 1), KE_KAFKA_STORAGE_ERROR);
    unsetenv("KAFUKA_FAULT");
    fault_init();
    ck_assert_int_eq(append(first, 1), KE_KAFKA_STORAGE_ERROR);
    ck_assert_int_eq(append(second, 1), KE_NONE);
    struct log *l;
    ck_assert_int_eq(log_manager_get_or_create(m, STR_LIT("t"), 2, UUID_ZERO, &options.defaults,
                                               false, NULL, &l, &why),
                     ERR_OFFLINE);
    ck_assert_str_eq(log_dir_of(create("t", 2)), log_dir_of(second));
    ck_assert_int_eq(log_manager_dirs(m, info, 2), 2);
    ck_assert(info[0].is_offline != info[1].is_offline);
    for (int i = 0; i < 5000 && failed_dirs == 0; i++)
        usleep(1000);
    ck_assert_int_eq(failed_dirs, 1);
    ck_assert_int_eq(log_manager_close(&m, 1), ERR_OK);
    ck_assert_int_eq(failed_dirs, 1);
    /* the dir that failed is not marked clean */
    start();
    ck_assert(m->dirs[0]->was_clean != m->dirs[1]->was_clean);
    ck_assert_int_eq(log_manager_close(&m, 1), ERR_OK);
}
END_TEST

START_TEST(rolled_segments_are_flushed_in_the_background)
{
    options.defaults.segment_bytes = 500;
    start();
    log_manager_start(m, take, give);
    struct log *l = create("t", 0);
    for (int i = 0; i < 50; i++)
        ck_assert_int_eq(append(l, 1), KE_NONE);
    for (int i = 0; i < 5000 && atomic_load(&l->recovery_point) < 40; i++)
        usleep(1000);
    ck_assert_int_ge(l->recovery_point, 40);
    ck_assert_int_eq(log_manager_close(&m, 1), ERR_OK);
}
END_TEST

/* A writer, a reader that keeps its ranges for a while, truncation, retention and the background
 * thread on one log of tiny segments. For the sanitizers. */
static _Atomic bool reader_stops;

static void *read_all_the_time(void *arg)
{
    struct log *l = arg;
    struct log_range held[8] = {0};
    unsigned at = 0;
    uint8_t header[BATCH_HEADER_BYTES];

    while (!atomic_load(&reader_stops)) {
        struct log_range *r = &held[at++ % ARRAY_LEN(held)];
        if (r->length > 0) {
            int fd = log_range_fd(r);
            ck_assert_int_ge(fd, 0);
            /* short when a truncation cut it meanwhile */
            ssize_t got = pread(fd, header, sizeof header, r->position);
            ck_assert_int_ge(got, 0);
        }
        log_range_release(r);
        lock_take(&partition_lock);
        enum err rc =
            log_read(l, log_start_offset(l), log_end_offset(l), 1, LOG_READ_AT_LEAST_ONE, r);
        lock_release(&partition_lock);
        ck_assert_int_eq(rc, ERR_OK);
    }
    for (size_t i = 0; i < ARRAY_LEN(held); i++)
        log_range_release(&held[i]);
    return NULL;
}

START_TEST(threads_do_not_disturb_each_other)
{
    pthread_t reader;

    options.dir_count = 1;
    options.defaults.segment_bytes = 500;
    options.defaults.retention_bytes = 2000;
    options.defaults.file_delete_delay_ms = 0;
    fd_cache_set_max(3);
    start();
    log_manager_start(m, take, give);
    struct log *l = create("t", 0);
    atomic_store(&reader_stops, false);
    ck_assert_int_eq(pthread_create(&reader, NULL, read_all_the_time, l), 0);
    for (int i = 0; i < 600; i++) {
        ck_assert_int_eq(append(l, 1), KE_NONE);
        lock_take(&partition_lock);
        if (i % 10 == 9) {
            ck_assert_int_eq(log_epoch_assign(l, i, log_end_offset(l)), ERR_OK);
            ck_assert_int_eq(
                log_truncate_to(l, i64_max(log_end_offset(l) - 7, log_high_watermark(l)), &why),
                ERR_OK);
        }
        if (i % 10 == 5) {
            log_set_high_watermark(l, i64_max(log_high_watermark(l), log_end_offset(l) - 3));
            (void)log_delete_old(l, T0);
        }
        lock_release(&partition_lock);
    }
    atomic_store(&reader_stops, true);
    ck_assert_int_eq(pthread_join(reader, NULL), 0);
    int64_t end = log_end_offset(l), from = log_start_offset(l);
    ck_assert_int_eq(log_manager_close(&m, 1), ERR_OK);
    start();
    l = log_manager_find(m, STR_LIT("t"), 0);
    ck_assert_int_eq(log_end_offset(l), end);
    ck_assert_int_eq(log_start_offset(l), from);
    ck_assert_int_eq(log_manager_close(&m, 1), ERR_OK);
}
END_TEST

/* Takes every descriptor below a new, lower limit. */
static struct rlimit own_limit;
static int taken[128], taken_count;

static void take_descriptors(void)
{
    struct rlimit low;

    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &own_limit), 0);
    low = own_limit;
    taken_count = 0;
    taken[taken_count++] = open("/dev/null", O_RDONLY | O_CLOEXEC);
    low.rlim_cur = (rlim_t)taken[0] + 8;
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &low), 0);
    while (taken_count < (int)ARRAY_LEN(taken) &&
           (taken[taken_count] = open("/dev/null", O_RDONLY | O_CLOEXEC)) >= 0)
        taken_count++;
    ck_assert_int_eq(errno, EMFILE);
}

static void give_descriptors(void)
{
    while (taken_count > 0)
        ck_assert_int_eq(close(taken[--taken_count]), 0);
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &own_limit), 0);
}

START_TEST(a_lack_of_descriptors_is_no_failure_of_the_disk)
{
    struct log *l, *late;

    options.dir_count = 1;
    options.defaults.segment_bytes = 100;
    start();
    l = create("t", 0);
    ck_assert_int_eq(append(l, 1), KE_NONE);
    while (fd_cache_shed())
        ;
    take_descriptors();
    /* it needs a new segment; a partition goes offline for good with KAFKA_STORAGE_ERROR */
    ck_assert_int_eq(append(l, 1), KE_REQUEST_TIMED_OUT);
    ck_assert_int_eq(log_manager_get_or_create(m, STR_LIT("t"), 1, uuid_random(),
                                               &options.defaults, true, &partition_lock, &late,
                                               &why),
                     ERR_NO_DESCRIPTORS);
    ck_assert_int_eq(log_dir_checkpoint(m, m->dirs[0], CHECKPOINT_START), ERR_NO_DESCRIPTORS);
    give_descriptors();
    ck_assert(!log_is_offline(l));
    ck_assert_int_eq(failed_dirs, 0);
    ck_assert_int_eq(log_end_offset(l), 1);
    ck_assert_int_eq(append(l, 2), KE_NONE);
    late = create("t", 1);
    ck_assert_int_eq(append(late, 1), KE_NONE);
    ck_assert_int_eq(log_manager_close(&m, 1), ERR_OK);
    start();
    ck_assert(m->dirs[0]->was_clean);
    ck_assert_int_eq(log_end_offset(log_manager_find(m, STR_LIT("t"), 0)), 3);
    ck_assert_int_eq(log_end_offset(log_manager_find(m, STR_LIT("t"), 1)), 1);
    ck_assert_int_eq(log_manager_close(&m, 1), ERR_OK);
}
END_TEST

/* A flush has taken the epochs and snapshots that were to be written, a truncation has moved the
 * end: without a way back the dir goes offline, for want of descriptors as for any other reason. */
static bool shed_nothing(void)
{
    errno = ENOENT; /* as the libraries that it calls may leave it */
    return false;
}

/* Slow readers keep the segments open that they read. Those who write must find a descriptor all
 * the same: they wait with a partition's lock held, which the readers' loops may wait for. */
START_TEST(files_that_readers_want_leave_the_last_descriptors_to_others)
{
    enum { LIMIT_MORE = 64 };
    struct rlimit own, low;
    int fds[LIMIT_MORE], count = 0, fd;

    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &own), 0);
    low = own;
    fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    low.rlim_cur = (rlim_t)fd + LIMIT_MORE;
    ck_assert_int_eq(close(fd), 0);
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &low), 0);
    fsx_spares_keep(shed_nothing);
    while (count < LIMIT_MORE &&
           fsx_open_optional("/dev/null", O_RDONLY, &fds[count]) == ERR_OK)
        count++;
    ck_assert_int_gt(count, 0);
    /* nor is its failure told as that the file is not there: an index would be taken for empty */
    ck_assert_int_eq(fsx_open_optional("/dev/null", O_RDONLY, &fd), ERR_NO_DESCRIPTORS);
    fd = open("/dev/null", O_RDONLY | O_CLOEXEC); /* not by taking a spare */
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(close(fd), 0);
    while (count > 0)
        ck_assert_int_eq(close(fds[--count]), 0);
    fsx_spares_drop();
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &own), 0);
}
END_TEST

START_TEST(what_stops_midway_takes_the_dir_offline)
{
    for (int what = 0; what < 3; what++) {
        struct log *l;
        enum err rc;

        options.dir_count = 1;
        start();
        l = create("t", what);
        ck_assert_int_eq(append(l, 2), KE_NONE);
        ck_assert_int_eq(append(l, 2), KE_NONE);
        while (fd_cache_shed())
            ;
        take_descriptors();
        if (what == 0)
            rc = log_flush(l);
        else if (what == 1)
            rc = log_truncate_to(l, 2, &why);
        else
            rc = log_truncate_fully_at(l, 9, &why);
        give_descriptors();
        ck_assert_int_eq(rc, ERR_NO_DESCRIPTORS);
        ck_assert(log_is_offline(l));
        ck_assert_int_eq(append(l, 1), KE_KAFKA_STORAGE_ERROR);
        ck_assert_int_eq(log_manager_close(&m, 1), ERR_OK);
        start();
        ck_assert(!m->dirs[0]->was_clean);
        ck_assert_int_eq(log_end_offset(log_manager_find(m, STR_LIT("t"), what)), what < 2 ? 4 : 0);
        ck_assert_int_eq(log_manager_close(&m, 1), ERR_OK);
    }
}
END_TEST

START_TEST(files_take_the_descriptors_of_files_at_rest_and_then_the_spares)
{
    enum { ROLLS = 5 };
    struct log *l;

    options.dir_count = 1;
    options.defaults.segment_bytes = 100;
    start();
    l = create("t", 0);
    ck_assert_int_eq(append(l, 1), KE_NONE);
    fsx_spares_keep(fd_cache_shed);
    take_descriptors();
    ck_assert_int_gt(fd_cache_open_count(), 0);
    for (int i = 0; i < ROLLS; i++)
        ck_assert_int_eq(append(l, 1), KE_NONE);
    ck_assert_int_eq(log_dir_checkpoint(m, m->dirs[0], CHECKPOINT_START), ERR_OK);
    while (fd_cache_shed())
        taken[taken_count++] = open("/dev/null", O_RDONLY | O_CLOEXEC);
    (void)fsx_thread_may_wait(false); /* the spares are what is left */
    ck_assert_int_eq(append(l, 1), KE_NONE);
    (void)fsx_thread_may_wait(true);
    give_descriptors();
    fsx_spares_refill();
    ck_assert(!log_is_offline(l));
    ck_assert_int_eq(log_end_offset(l), ROLLS + 2);
    fsx_spares_drop();
    ck_assert_int_eq(log_manager_close(&m, 1), ERR_OK);
}
END_TEST

/* As if another thread closed a descriptor while this one waits. */
static int sheds;

static bool shed_at_third_call(void)
{
    if (++sheds == 3)
        ck_assert_int_eq(close(taken[--taken_count]), 0);
    return false;
}

START_TEST(a_thread_that_may_wait_waits_for_a_descriptor)
{
    struct log *l;

    options.dir_count = 1;
    start();
    l = create("t", 0);
    while (fd_cache_shed())
        ;
    take_descriptors();
    sheds = 0;
    fsx_spares_keep(shed_at_third_call); /* there is room for no spare */
    ck_assert_int_eq(append(l, 1), KE_NONE);
    ck_assert_int_eq(sheds, 3);
    fsx_spares_drop();
    give_descriptors();
    ck_assert_int_eq(log_manager_close(&m, 1), ERR_OK);
}
END_TEST

START_TEST(many_logs_are_flushed_together)
{
    enum { LOGS = 200 };
    struct log *logs[LOGS];

    start();
    for (int i = 0; i < LOGS; i++) {
        logs[i] = create("t", i);
        ck_assert_int_eq(append(logs[i], 2), KE_NONE);
        log_manager_post(logs[i], LOG_WORK_FLUSH);
    }
    log_manager_start(m, take, give);
    for (int i = 0; i < LOGS; i++)
        for (int k = 0; k < 5000 && atomic_load(&logs[i]->recovery_point) < 2; k++)
            usleep(1000);
    lock_take(&partition_lock);
    for (int i = 0; i < LOGS; i++) {
        ck_assert_int_eq(logs[i]->recovery_point, 2);
        ck_assert(!log_has_unflushed(logs[i]));
    }
    lock_release(&partition_lock);
    for (int i = 0; i < LOGS; i++)
        ck_assert_int_eq(append(logs[i], 1), KE_NONE);
    ck_assert_int_eq(log_manager_close(&m, 1), ERR_OK);
    start();
    for (int i = 0; i < LOGS; i++)
        ck_assert_int_eq(log_end_offset(log_manager_find(m, STR_LIT("t"), i)), 3);
    /* a sync that fails is the end of both dirs, and no clean mark is written */
    for (int i = 0; i < LOGS; i++)
        ck_assert_int_eq(append(log_manager_find(m, STR_LIT("t"), i), 1), KE_NONE);
    setenv("KAFUKA_FAULT", "log.flush.sync=eio,log.flush.sync=eio", 1);
    fault_init();
    ck_assert_int_ne(log_manager_close(&m, 1), ERR_OK);
    unsetenv("KAFUKA_FAULT");
    fault_init();
    start();
    ck_assert(!m->dirs[0]->was_clean && !m->dirs[1]->was_clean);
    ck_assert_int_eq(log_manager_close(&m, 1), ERR_OK);
}
END_TEST

START_TEST(a_damaged_checkpoint_is_not_believed)
{
    char path[300];

    options.dir_count = 1;
    start();
    ck_assert_int_eq(append(create("t", 0), 5), KE_NONE);
    ck_assert_int_eq(log_manager_close(&m, 1), ERR_OK);
    snprintf(path, sizeof path, "%s/replication-offset-checkpoint", dir_a);
    static const char *const texts[] = {"0\n2\nt 0 3\n",  "1\n1\nt 0 3\n",   "0\n1\nt 0\n",
                                        "0\n1\nt 0 -3\n", "0\n1\nt 0 3 4\n", "\n"};
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        ck_assert_int_eq(fsx_replace_durably(path, texts[i], strlen(texts[i]), 0644), ERR_OK);
        start();
        struct log *l = log_manager_find(m, STR_LIT("t"), 0);
        ck_assert_int_eq(log_high_watermark(l), 0);
        ck_assert_int_eq(log_end_offset(l), 5);
        ck_assert_int_eq(log_manager_close(&m, 1), ERR_OK);
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("log_manager");
    TCase *t = tcase_create("manager");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, 60);
    tcase_add_test(t, logs_are_found_again_after_a_clean_stop);
    tcase_add_test(t, after_a_crash_logs_are_recovered);
    tcase_add_test(t, a_dir_in_use_by_another_process_is_refused);
    tcase_add_test(t, identity_is_kept_and_must_agree);
    tcase_add_test(t, a_partition_in_two_dirs_is_refused);
    tcase_add_test(t, a_deleted_log_is_gone_but_its_ranges_stay);
    tcase_add_test(t, checkpoints_of_a_deleted_log_say_nothing_of_the_next);
    tcase_add_test(t, nor_do_they_after_a_crash);
    tcase_add_test(t, a_truncation_takes_the_clean_offset_with_it);
    tcase_add_test(t, folders_left_to_delete_go_after_a_restart);
    tcase_add_test(t, a_failed_dir_is_told_once_and_the_other_goes_on);
    tcase_add_test(t, rolled_segments_are_flushed_in_the_background);
    tcase_add_test(t, threads_do_not_disturb_each_other);
    tcase_add_test(t, a_lack_of_descriptors_is_no_failure_of_the_disk);
    tcase_add_test(t, files_that_readers_want_leave_the_last_descriptors_to_others);
    tcase_add_test(t, what_stops_midway_takes_the_dir_offline);
    tcase_add_test(t, files_take_the_descriptors_of_files_at_rest_and_then_the_spares);
    tcase_add_test(t, a_thread_that_may_wait_waits_for_a_descriptor);
    tcase_add_test(t, many_logs_are_flushed_together);
    tcase_add_test(t, a_damaged_checkpoint_is_not_believed);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? 0 : 1;
}
