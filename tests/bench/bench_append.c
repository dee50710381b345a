/* SPDX-License-Identifier: Apache-2.0 */
/* bench_append - what an append costs: validates and appends 16 KiB batches of 100-byte records to
 * one log, as a leader does, and prints records per CPU second. Arguments: folder, records (in
 * millions), codec name. The batch is copied in from a template first, as a socket would; that copy
 * is measured alone and told apart. */
#include "broker/log/log_internal.h"
#include "common/base/clock.h"
#include "common/base/fsx.h"
#include "common/record/builder.h"
#include "common/record/compress.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

enum { RECORD_BYTES = 100, BATCH_BYTES = 16 * 1024 };

static double cpu_s(void)
{
    struct rusage u;

    (void)getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
           (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static int32_t make_batch(enum codec codec, struct buf *out)
{
    struct batch_options o;
    struct batch_builder b;
    uint8_t value[RECORD_BYTES];
    uint32_t rng = 1;

    batch_options_init(&o);
    o.codec = codec;
    batch_builder_init(&b, &o);
    int32_t count = BATCH_BYTES / (RECORD_BYTES + 8);
    for (int32_t i = 0; i < count; i++) {
        for (size_t k = 0; k < sizeof value; k++) {
            rng = rng * 1664525 + 1013904223;
            value[k] = (uint8_t)('a' + (rng >> 28));
        }
        batch_builder_add(&b, 1700000000000 + i, BYTES_NULL,
                          (struct bytes){value, (int64_t)sizeof value}, NULL, 0);
    }
    if (batch_builder_finish(&b, out) != ERR_OK)
        abort();
    batch_builder_fini(&b);
    return count;
}

static struct log *open_log(const char *folder)
{
    static struct log_dir dir;
    struct log_config config;
    struct errtext why;
    struct log *l;
    char *path = xstrdup(folder);

    dir = (struct log_dir){.path = path, .lock_fd = -1};
    log_config_defaults(&config);
    struct log_open_args a = {.dir = &dir,
                              .topic = STR_LIT("bench"),
                              .partition = 0,
                              .config = &config,
                              .was_clean = true,
                              .create = true};
    if (log_open(&a, &l, &why) != ERR_OK) {
        fprintf(stderr, "bench_append: %s\n", why.text);
        exit(1);
    }
    return l;
}

int main(int argc, char **argv)
{
    const char *parent = argc > 1 ? argv[1] : "/tmp";
    int64_t records = (argc > 2 ? atol(argv[2]) : 10) * 1000000;
    enum codec codec = CODEC_NONE;
    struct buf template = {0};
    struct log_append_result res;
    char *folder = xasprintf("%s/bench_append-XXXXXX", parent);

    if (mkdtemp(folder) == NULL || (argc > 3 && !codec_parse(str_of(argv[3]), &codec))) {
        fprintf(stderr, "bench_append: cannot make a folder in %s, or unknown codec\n", parent);
        return 1;
    }
    int32_t count = make_batch(codec, &template);
    int64_t batches = records / count;
    uint8_t *frame = xmalloc(template.len);
    struct log *l = open_log(folder);
    double began = cpu_s();
    for (int64_t i = 0; i < batches; i++) {
        memcpy(frame, template.p, template.len);
        __asm__ volatile("" : : "r"(frame) : "memory");
    }
    double copied = cpu_s();
    for (int64_t i = 0; i < batches; i++) {
        memcpy(frame, template.p, template.len);
        if (log_append_leader(l, frame, template.len, 0, LOG_FROM_CLIENT, 9, clock_wall_ms(),
                              &res) != KE_NONE)
            return 1;
    }
    double done = cpu_s();
    double used = done - copied - (copied - began);
    printf("%.2f M records, %.0f MB, %.3f CPU s: %.2f M records per CPU s, %.2f us a batch\n",
           (double)(batches * count) / 1e6, (double)(batches * (int64_t) template.len) / 1e6, used,
           (double)(batches * count) / 1e6 / used, used * 1e6 / (double)batches);
    log_free(&l);
    if (fsx_remove_tree(folder) != ERR_OK)
        return 1;
    mem_free(frame);
    buf_fini(&template);
    mem_free(folder);
    return 0;
}
