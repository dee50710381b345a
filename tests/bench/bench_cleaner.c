/* SPDX-License-Identifier: Apache-2.0 */
/* bench_cleaner - what a compaction costs: writes records of some keys, one a batch as offset
 * commits are, or many, and cleans the log. Arguments: folder, records (in millions), keys, records
 * a batch, codec name. Prints sizes, time, CPU time and the map's memory. */
#include "broker/log/cleaner.h"
#include "common/base/clock.h"
#include "common/base/fsx.h"
#include "common/record/builder.h"
#include "common/record/compress.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

static double cpu_s(void)
{
    struct rusage u;

    (void)getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
           (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static void fill(struct log *l, int64_t records, int64_t keys, int64_t a_batch, enum codec codec)
{
    struct batch_options o;
    struct batch_builder b;
    struct buf out = {0};
    struct log_append_result res;
    char key[64], value[64];

    batch_options_init(&o);
    o.codec = codec;
    batch_builder_init(&b, &o);
    for (int64_t i = 0; i < records; i++) {
        int kn = snprintf(key, sizeof key, "group-%06d topic-of-some-name", (int)(i * 7 % keys));
        int vn = snprintf(value, sizeof value, "%024d", (int)i);
        batch_builder_add(&b, 1700000000000 + i, (struct bytes){(uint8_t *)key, kn},
                          (struct bytes){(uint8_t *)value, vn}, NULL, 0);
        if ((i + 1) % a_batch != 0)
            continue;
        out.len = 0;
        if (batch_builder_finish(&b, &out) != ERR_OK ||
            log_append_leader(l, out.p, out.len, 0, LOG_FROM_CLIENT, 9, clock_wall_ms(), &res) !=
                KE_NONE)
            abort();
    }
    batch_builder_fini(&b);
    buf_fini(&out);
    log_set_high_watermark(l, log_end_offset(l));
    if (log_roll(l, clock_wall_ms()) != ERR_OK || log_flush(l) != ERR_OK)
        abort();
}

int main(int argc, char **argv)
{
    static struct log_dir dir;
    struct log_config config;
    struct errtext why = {""};
    struct log *l;
    char *folder = xasprintf("%s/bench_cleaner-XXXXXX", argc > 1 ? argv[1] : "/tmp");
    int64_t records = argc > 2 ? (int64_t)(atof(argv[2]) * 1e6) : 1000000;
    int64_t keys = argc > 3 ? atol(argv[3]) : 1000, a_batch = argc > 4 ? atol(argv[4]) : 1;
    enum codec codec = CODEC_NONE;
    struct clean_env env = {
        .map_bytes_max = 128 << 20, .buffer_bytes = 512 << 10, .load_factor = 0.9};
    struct clean_stats s;

    if (mkdtemp(folder) == NULL || keys < 1 || a_batch < 1 ||
        (argc > 5 && !codec_parse(str_of(argv[5]), &codec)))
        return 1;
    dir = (struct log_dir){.path = folder, .lock_fd = -1};
    log_config_defaults(&config);
    config.is_compact = true;
    config.segment_bytes = 100 << 20;
    struct log_open_args a = {.dir = &dir,
                              .topic = STR_LIT("bench"),
                              .config = &config,
                              .was_clean = true,
                              .create = true};
    if (log_open(&a, &l, &why) != ERR_OK)
        return 1;
    fill(l, records, keys, a_batch, codec);
    int64_t before = log_size(l), began_us = clock_mono_us();
    double cpu = cpu_s();
    if (log_clean(l, &env, clock_wall_ms(), &s, &why) != ERR_OK) {
        fprintf(stderr, "bench_cleaner: %s\n", why.text);
        return 1;
    }
    cpu = cpu_s() - cpu;
    printf("%.1f MB became %.2f MB in %.2f s, %.2f CPU s: %.0f MB of log a CPU s, %.2f M records a "
           "CPU s; %" PRId64 " keys in %.2f MB of map\n",
           (double)before / 1e6, (double)log_size(l) / 1e6,
           (double)(clock_mono_us() - began_us) / 1e6, cpu, (double)before / 1e6 / cpu,
           (double)records / 1e6 / cpu, s.keys, (double)s.map_bytes / 1e6);
    log_free(&l);
    if (fsx_remove_tree(folder) != ERR_OK)
        return 1;
    mem_free(folder);
    return 0;
}
