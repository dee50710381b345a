/* SPDX-License-Identifier: Apache-2.0 */
/* bench_log_manager - how long many partitions take: create, one batch each, clean stop, load
 * again, and load after a crash; with the memory a partition at rest costs. Arguments: folder,
 * partitions.
 */
#include "broker/log/log_manager_internal.h"
#include "common/base/clock.h"
#include "common/base/fsx.h"
#include "common/base/slog.h"
#include "common/record/builder.h"

#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static struct log_manager *m;
static struct log_manager_options options;

static void step(const char *what, int64_t *began_us)
{
    int64_t now_us = clock_mono_us();

    printf("%-28s %8.1f ms\n", what, (double)(now_us - *began_us) / 1000);
    *began_us = clock_mono_us();
}

static void must(enum err rc, const char *what)
{
    if (rc != ERR_OK) {
        fprintf(stderr, "bench_log_manager: %s: %s\n", what, err_text(rc));
        exit(1);
    }
}

static void open_and_load(void)
{
    struct errtext why;

    must(log_manager_open(&options, &m, &why), "open");
    must(log_manager_load(m, &why), "load");
}

static void append_to_all(int partitions)
{
    struct batch_options o;
    struct batch_builder b;
    struct buf batch = {0}, copy = {0};
    struct log_append_result res;

    batch_options_init(&o);
    batch_builder_init(&b, &o);
    batch_builder_add(&b, 1700000000000, BYTES_NULL, (struct bytes){(const uint8_t *)"value", 5},
                      NULL, 0);
    must(batch_builder_finish(&b, &batch), "build");
    for (int i = 0; i < partitions; i++) {
        copy.len = 0;
        buf_add(&copy, batch.p, batch.len);
        if (log_append_leader(log_manager_find(m, STR_LIT("bench"), i), copy.p, copy.len, 0,
                              LOG_FROM_CLIENT, 9, clock_wall_ms(), &res) != KE_NONE)
            must(ERR_IO, "append");
    }
    batch_builder_fini(&b);
    buf_fini(&batch);
    buf_fini(&copy);
}

int main(int argc, char **argv)
{
    int partitions = argc > 2 ? atoi(argv[2]) : 3000;
    char *folder = xasprintf("%s/bench_logs-XXXXXX", argc > 1 ? argv[1] : "/tmp");
    struct errtext why;
    struct log *l;

    if (mkdtemp(folder) == NULL)
        must(ERR_IO, "make a folder");
    options = (struct log_manager_options){.dirs = &folder,
                                           .dir_count = 1,
                                           .recovery_threads_per_dir = 2,
                                           .retention_check_interval_ms = 300000,
                                           .checkpoint_interval_ms = 60000};
    log_config_defaults(&options.defaults);
    slog_min_level = SLOG_WARN;
    int64_t began_us = clock_mono_us();
    open_and_load();
    for (int i = 0; i < partitions; i++)
        must(log_manager_get_or_create(m, STR_LIT("bench"), i, uuid_random(), &options.defaults,
                                       true, NULL, &l, &why),
             "create");
    step("create", &began_us);
    append_to_all(partitions);
    step("append one batch to each", &began_us);
    must(log_manager_close(&m, 1), "close");
    step("clean stop", &began_us);
    size_t before = mallinfo2().uordblks;
    open_and_load();
    step("load", &began_us);
    printf("%-28s %8zu bytes a partition\n", "memory at rest",
           (mallinfo2().uordblks - before) / (size_t)partitions);
    append_to_all(partitions);
    step("append one batch to each", &began_us);
    for (int i = 0; i < m->dir_count; i++) /* as a crash would leave it: no close */
        must(log_dir_checkpoint(m, m->dirs[i], CHECKPOINT_RECOVERY), "checkpoint");
    began_us = clock_mono_us();
    open_and_load();
    step("load after a crash", &began_us);
    must(log_manager_close(&m, 1), "close");
    step("clean stop", &began_us);
    must(fsx_remove_tree(folder), "remove");
    return 0;
}
