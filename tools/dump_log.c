/* SPDX-License-Identifier: Apache-2.0 */
/* kafuka-dump-log: prints and checks the files of a partition. */
#include "tools/dump_log.h"

#include "tools/lib/opt.h"
#include "tools/lib/tool.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

static const struct opt_spec specs[] = {
    {"files", OPT_TEXT, "path,...",
     "REQUIRED: the files to print: .log, .index, .timeindex, .txnindex, .snapshot, "
     "leader-epoch-checkpoint.",
     0, 0},
    {"print-data-log", OPT_FLAG, NULL,
     "Print the records of a .log file with their keys and values.", 0, 0},
    {"deep-iteration", OPT_FLAG, NULL, "Print the records of a .log file, not only its batches.", 0,
     0},
    {"index-sanity-check", OPT_FLAG, NULL,
     "Check only the size and the last entry of an index, and print no entries.", 0, 0},
    {"verify-index-only", OPT_FLAG, NULL,
     "Compare an index with its .log file, and do not print its entries.", 0, 0},
    {"skip-record-metadata", OPT_FLAG, NULL,
     "With --print-data-log or --offsets-decoder: print only the keys and values of records, not "
     "their offsets, times and headers.",
     0, 0},
    {"max-bytes", OPT_INT, "bytes", "Read at most this many bytes of each .log file.", 1,
     INT64_MAX},
    {"max-message-size", OPT_DEPRECATED, "bytes", "batches of any size are read", 0, 0},
    {"value-decoder-class", OPT_DEPRECATED, "class", "values are printed as they are", 0, 0},
    {"key-decoder-class", OPT_DEPRECATED, "class", "keys are printed as they are", 0, 0},
    {"offsets-decoder", OPT_FLAG, NULL,
     "Print what the records of __consumer_offsets mean: committed offsets and the states of "
     "groups.",
     0, 0},
    {"transaction-log-decoder", OPT_DEPRECATED_FLAG, NULL, "values are printed as they are", 0, 0},
};

static const struct opt_command command = {
    .name = "dump-log",
    .summary = "prints and checks segment files, indexes and state files of a partition.",
    .specs = specs,
    .spec_count = ARRAY_LEN(specs),
    .examples = "--files /var/lib/kafuka/orders-0/00000000000000000000.log --print-data-log\n"
                "--files /var/lib/kafuka/__consumer_offsets-7/00000000000000000000.log "
                "--offsets-decoder\n"
                "--files "
                "/var/lib/kafuka/orders-0/00000000000000000000.index,/var/lib/kafuka/orders-0/"
                "00000000000000000000.timeindex --verify-index-only\n",
};

enum { DIGITS = 20 };

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash == NULL ? path : slash + 1;
}

bool dump_base_offset(const char *path, int64_t *out)
{
    char text[DIGITS + 1];
    const char *name = base_name(path);

    if (strlen(name) < DIGITS || strspn(name, "0123456789") != DIGITS)
        return false;
    memcpy(text, name, DIGITS);
    text[DIGITS] = 0;
    errno = 0;
    *out = strtoll(text, NULL, 10);
    return errno == 0;
}

static bool ends_with(const char *s, const char *end)
{
    size_t n = strlen(s), m = strlen(end);
    return n >= m && strcmp(s + n - m, end) == 0;
}

/* What the whole run found. */
struct findings {
    struct dump_mismatches *offsets, *times; /* one a file */
    size_t offset_count, time_count;
    bool found_bad;
};

static struct dump_mismatches *next_slot(struct dump_mismatches **list, size_t *count)
{
    *list = xrealloc(*list, (*count + 1) * sizeof **list);
    (*list)[*count] = (struct dump_mismatches){0};
    return &(*list)[(*count)++];
}

static enum err dump_file(const char *path, const struct dump_options *o, struct findings *f,
                          struct errtext *why)
{
    if (ends_with(path, ".log"))
        return dump_data(path, o, &f->found_bad, why);
    if (ends_with(path, ".timeindex"))
        return dump_time_index(path, o, next_slot(&f->times, &f->time_count), &f->found_bad, why);
    if (ends_with(path, ".txnindex"))
        return dump_txn_index(path, why);
    if (ends_with(path, ".index"))
        return dump_offset_index(path, o, next_slot(&f->offsets, &f->offset_count), why);
    if (ends_with(path, ".snapshot"))
        return dump_snapshot(path, why);
    if (strcmp(base_name(path), "leader-epoch-checkpoint") == 0)
        return dump_epochs(path, why);
    errtext_set(why, "not a file that is understood: .log, .index, .timeindex, .txnindex, "
                     ".snapshot or leader-epoch-checkpoint");
    return ERR_INVALID;
}

/* On stderr, as Kafka does. */
static void print_mismatches(struct findings *f)
{
    for (size_t i = 0; i < f->offset_count; i++)
        for (size_t k = 0; k < f->offsets[i].count; k++) {
            if (k == 0)
                fprintf(stderr, "Mismatches in :%s\n", f->offsets[i].path);
            fprintf(stderr, "  Index offset: %" PRId64 ", log offset: %" PRId64 "\n",
                    f->offsets[i].list[k].index_value, f->offsets[i].list[k].log_value);
            f->found_bad = true;
        }
    for (size_t i = 0; i < f->time_count; i++)
        for (size_t k = 0; k < f->times[i].count; k++) {
            if (k == 0)
                fprintf(stderr, "Found timestamp mismatch in :%s\n", f->times[i].path);
            fprintf(stderr, "  Index timestamp: %" PRId64 ", log timestamp: %" PRId64 "\n",
                    f->times[i].list[k].index_value, f->times[i].list[k].log_value);
            f->found_bad = true;
        }
}

static void findings_fini(struct findings *f)
{
    for (size_t i = 0; i < f->offset_count; i++)
        mem_free(f->offsets[i].list);
    for (size_t i = 0; i < f->time_count; i++)
        mem_free(f->times[i].list);
    mem_free(f->offsets);
    mem_free(f->times);
}

static int dump_files(const struct opts *opts, const struct dump_options *o, char *files)
{
    struct findings f = {0};
    struct errtext why;
    char *save = NULL;
    int status = 0;

    for (char *path = strtok_r(files, ",", &save); path != NULL;
         path = strtok_r(NULL, ",", &save)) {
        printf("Dumping %s\n", path);
        errtext_set(&why, "unknown");
        if (dump_file(path, o, &f, &why) != ERR_OK) {
            (void)fflush(stdout); /* the message belongs behind what was printed; checked below */
            status = opts_fail(opts, "%s: %s", path, why.text);
        }
    }
    (void)fflush(stdout); /* checked below */
    print_mismatches(&f);
    if (f.found_bad)
        status = 1;
    findings_fini(&f);
    if (fflush(stdout) != 0)
        status = opts_fail(opts, "write the output: %s", strerror(errno));
    return status;
}

int cmd_dump_log(int argc, char **argv)
{
    struct opts opts;
    int status = opts_start(&opts, &command, argc, argv);

    if (status < 0) {
        struct dump_options o = {.print_data = opts_has(&opts, "print-data-log") ||
                                               opts_has(&opts, "offsets-decoder"),
                                 .decode_groups = opts_has(&opts, "offsets-decoder"),
                                 .skip_metadata = opts_has(&opts, "skip-record-metadata"),
                                 .sanity_only = opts_has(&opts, "index-sanity-check"),
                                 .verify_only = opts_has(&opts, "verify-index-only"),
                                 .max_bytes = opts_int(&opts, "max-bytes", INT64_MAX)};
        o.deep = o.print_data || opts_has(&opts, "deep-iteration");
        const char *files = opts_text(&opts, "files", NULL);
        if (files == NULL) {
            status = opts_fail(&opts, "--files is missing");
        } else {
            char *copy = xstrdup(files);
            status = dump_files(&opts, &o, copy);
            mem_free(copy);
        }
    }
    opts_fini(&opts);
    return status;
}
