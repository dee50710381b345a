/* SPDX-License-Identifier: Apache-2.0 */
/* kafuka-dump-log: indexes, compared with their log, and the small state files. */
#include "tools/dump_log.h"

#include "common/base/fsx.h"
#include "common/record/batch.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    FILE_BYTES_MAX = 1 << 30,
    OFFSET_ENTRY_BYTES = 8,
    TIME_ENTRY_BYTES = 12,
    TXN_ENTRY_BYTES = 34,
    SNAPSHOT_HEADER_BYTES = 10,
    SNAPSHOT_ENTRY_BYTES = 46,
};

/* An index file in memory, with the log beside it. */
struct index_file {
    const char *path;
    struct buf bytes;
    int64_t base_offset;
    int log_fd; /* -1: there is no log beside it */
    int64_t log_size;
};

static enum err open_beside(struct index_file *f, const char *suffix)
{
    size_t stem = strlen(f->path) - strlen(suffix);
    char *path = xasprintf("%.*s.log", (int)stem, f->path);
    struct stat st;

    enum err rc = fsx_open(path, O_RDONLY, 0, &f->log_fd);
    if (rc == ERR_OK && fstat(f->log_fd, &st) != 0)
        rc = ERR_IO;
    if (rc == ERR_OK)
        f->log_size = st.st_size;
    mem_free(path);
    return rc;
}

static void index_close(struct index_file *f)
{
    buf_fini(&f->bytes);
    if (f->log_fd >= 0)
        (void)close(f->log_fd);
}

static enum err index_open(struct index_file *f, const char *path, const char *suffix,
                           size_t entry_bytes, const struct dump_options *o, struct errtext *why)
{
    *f = (struct index_file){.path = path, .log_fd = -1};
    enum err rc = fsx_read_file(path, FILE_BYTES_MAX, &f->bytes);

    if (rc != ERR_OK) {
        errtext_set(why, "%s", err_reason(rc));
        return rc;
    }
    if (!dump_base_offset(path, &f->base_offset)) {
        errtext_set(why, "the name does not tell the base offset");
        return ERR_INVALID;
    }
    if (f->bytes.len % entry_bytes != 0) {
        errtext_set(why, "%zu bytes are not whole entries of %zu", f->bytes.len, entry_bytes);
        return ERR_CORRUPT;
    }
    if (o->sanity_only)
        return ERR_OK;
    rc = open_beside(f, suffix);
    if (rc != ERR_OK)
        errtext_set(why, "the log beside it: %s", err_reason(rc));
    return rc;
}

static void add_mismatch(struct dump_mismatches *m, int64_t index_value, int64_t log_value)
{
    m->list = xrealloc(m->list, (m->count + 1) * sizeof *m->list);
    m->list[m->count++] = (struct dump_mismatch){index_value, log_value};
}

static enum err print_sane(const struct index_file *f, bool is_sane, struct errtext *why)
{
    if (!is_sane) {
        errtext_set(why, "entries are below the base offset or fall");
        return ERR_CORRUPT;
    }
    printf("%s passed sanity check.\n", f->path);
    return ERR_OK;
}

/* ---- .index */
static int64_t offset_entry(const struct index_file *f, size_t at, int64_t *position)
{
    *position = (int32_t)be32_load(f->bytes.p + at + 4);
    return f->base_offset + (int32_t)be32_load(f->bytes.p + at);
}

enum err dump_offset_index(const char *path, const struct dump_options *o,
                           struct dump_mismatches *m, struct errtext *why)
{
    struct index_file f;
    uint8_t header[BATCH_HEADER_BYTES];
    int64_t position;
    size_t total;

    enum err rc = index_open(&f, path, ".index", OFFSET_ENTRY_BYTES, o, why);
    m->path = path;
    if (rc == ERR_OK && o->sanity_only) {
        bool is_sane = f.bytes.len == 0 || offset_entry(&f, f.bytes.len - OFFSET_ENTRY_BYTES,
                                                        &position) >= f.base_offset;
        rc = print_sane(&f, is_sane, why);
        index_close(&f);
        return rc;
    }
    for (size_t at = 0; rc == ERR_OK && at < f.bytes.len; at += OFFSET_ENTRY_BYTES) {
        int64_t offset = offset_entry(&f, at, &position);
        /* what Kafka preallocates is full of zeros behind the last entry */
        if (offset == f.base_offset && at > 0)
            break;
        int64_t in_log = -1;
        if (position >= 0 && position < f.log_size &&
            dump_header_at(f.log_fd, position, f.log_size, header, &total) == ERR_OK)
            in_log = batch_last_offset(header);
        if (in_log != offset)
            add_mismatch(m, offset, in_log);
        if (!o->verify_only)
            printf("offset: %" PRId64 " position: %" PRId64 "\n", offset, position);
    }
    index_close(&f);
    return rc;
}

/* ---- .timeindex */
struct time_entry {
    int64_t timestamp_ms, offset;
};

static struct time_entry time_entry(const struct index_file *f, size_t at)
{
    return (struct time_entry){(int64_t)be64_load(f->bytes.p + at),
                               f->base_offset + (int32_t)be32_load(f->bytes.p + at + 8)};
}

/* The largest timestamp of the batch that ends at or holds offset, searched from *from on. */
static int64_t timestamp_at(const struct index_file *f, int64_t offset, int64_t *from)
{
    uint8_t header[BATCH_HEADER_BYTES];
    size_t total;

    while (*from < f->log_size &&
           dump_header_at(f->log_fd, *from, f->log_size, header, &total) == ERR_OK) {
        if (batch_last_offset(header) >= offset)
            return batch_last_offset(header) == offset ? batch_max_timestamp(header) : -1;
        *from += (int64_t)total;
    }
    return -1;
}

enum err dump_time_index(const char *path, const struct dump_options *o, struct dump_mismatches *m,
                         bool *found_bad, struct errtext *why)
{
    struct index_file f;
    int64_t last_ms = -1, from = 0;

    enum err rc = index_open(&f, path, ".timeindex", TIME_ENTRY_BYTES, o, why);
    m->path = path;
    if (rc == ERR_OK && o->sanity_only) {
        bool is_sane = true;
        if (f.bytes.len > 0) {
            struct time_entry first = time_entry(&f, 0);
            struct time_entry last = time_entry(&f, f.bytes.len - TIME_ENTRY_BYTES);
            is_sane = last.offset >= f.base_offset && last.timestamp_ms >= first.timestamp_ms;
        }
        rc = print_sane(&f, is_sane, why);
        index_close(&f);
        return rc;
    }
    for (size_t at = 0; rc == ERR_OK && at < f.bytes.len; at += TIME_ENTRY_BYTES) {
        struct time_entry e = time_entry(&f, at);
        if (at > 0 && e.offset == f.base_offset && e.timestamp_ms <= 0)
            break; /* preallocated zeros */
        int64_t in_log = timestamp_at(&f, e.offset, &from);
        if (in_log != e.timestamp_ms)
            add_mismatch(m, e.timestamp_ms, in_log);
        if (e.timestamp_ms <= last_ms) {
            fprintf(stderr,
                    "Found out of order timestamp in :%s\n  Index timestamp: %" PRId64
                    ", Previously indexed timestamp: %" PRId64 "\n",
                    path, e.timestamp_ms, last_ms);
            *found_bad = true;
        }
        last_ms = e.timestamp_ms;
        if (!o->verify_only)
            printf("timestamp: %" PRId64 " offset: %" PRId64 "\n", e.timestamp_ms, e.offset);
    }
    index_close(&f);
    return rc;
}

/* ---- .txnindex */
enum err dump_txn_index(const char *path, struct errtext *why)
{
    struct buf b = {0};

    enum err rc = fsx_read_file(path, FILE_BYTES_MAX, &b);
    if (rc != ERR_OK)
        errtext_set(why, "%s", err_reason(rc));
    for (size_t at = 0; rc == ERR_OK && at + TXN_ENTRY_BYTES <= b.len; at += TXN_ENTRY_BYTES)
        printf("version: %d producerId: %" PRId64 " firstOffset: %" PRId64 " lastOffset: %" PRId64
               " lastStableOffset: %" PRId64 "\n",
               (int16_t)be16_load(b.p + at), (int64_t)be64_load(b.p + at + 2),
               (int64_t)be64_load(b.p + at + 10), (int64_t)be64_load(b.p + at + 18),
               (int64_t)be64_load(b.p + at + 26));
    if (rc == ERR_OK && b.len % TXN_ENTRY_BYTES != 0) {
        errtext_set(why, "%zu bytes at its end are no whole entry", b.len % TXN_ENTRY_BYTES);
        rc = ERR_CORRUPT;
    }
    buf_fini(&b);
    return rc;
}

/* ---- .snapshot */
static void print_producer(const uint8_t *e)
{
    int32_t last_sequence = (int32_t)be32_load(e + 10);
    int32_t delta = (int32_t)be32_load(e + 22);
    int64_t first_offset = (int64_t)be64_load(e + 38);
    int64_t timestamp_ms = (int64_t)be64_load(e + 26);
    char txn[64] = "OptionalLong.empty";

    if (first_offset >= 0)
        (void)snprintf(txn, sizeof txn, "OptionalLong[%" PRId64 "]", first_offset);
    printf("producerId: %" PRId64 " producerEpoch: %d coordinatorEpoch: %" PRId32
           " currentTxnFirstOffset: %s lastTimestamp: %" PRId64 " ",
           (int64_t)be64_load(e), (int16_t)be16_load(e + 8), (int32_t)be32_load(e + 34), txn,
           timestamp_ms);
    if (last_sequence >= 0)
        printf("firstSequence: %" PRIu32 " lastSequence: %" PRId32 " lastOffset: %" PRId64
               " offsetDelta: %" PRId32 " timestamp: %" PRId64,
               ((uint32_t)last_sequence - (uint32_t)delta) & 0x7fffffff, last_sequence,
               (int64_t)be64_load(e + 14), delta, timestamp_ms);
    printf("\n");
}

enum err dump_snapshot(const char *path, struct errtext *why)
{
    struct buf b = {0};

    enum err rc = fsx_read_file(path, FILE_BYTES_MAX, &b);
    if (rc != ERR_OK) {
        errtext_set(why, "%s", err_reason(rc));
        goto out;
    }
    rc = ERR_CORRUPT;
    if (b.len < SNAPSHOT_HEADER_BYTES || be16_load(b.p) != 1)
        errtext_set(why, "not a snapshot of version 1");
    else if (be32_load(b.p + 2) != crc32c(0, b.p + 6, b.len - 6))
        errtext_set(why, "the CRC does not match");
    else if ((b.len - SNAPSHOT_HEADER_BYTES) / SNAPSHOT_ENTRY_BYTES != be32_load(b.p + 6) ||
             (b.len - SNAPSHOT_HEADER_BYTES) % SNAPSHOT_ENTRY_BYTES != 0)
        errtext_set(why, "the number of entries does not fit the size");
    else
        rc = ERR_OK;
    for (size_t at = SNAPSHOT_HEADER_BYTES; rc == ERR_OK && at < b.len; at += SNAPSHOT_ENTRY_BYTES)
        print_producer(b.p + at);
out:
    buf_fini(&b);
    return rc;
}

/* ---- leader-epoch-checkpoint: text already */
enum err dump_epochs(const char *path, struct errtext *why)
{
    struct buf b = {0};

    enum err rc = fsx_read_file(path, FILE_BYTES_MAX, &b);
    if (rc != ERR_OK)
        errtext_set(why, "%s", err_reason(rc));
    char *save = NULL;
    int line = 0;
    for (char *l = rc != ERR_OK ? NULL : strtok_r((char *)(uintptr_t)buf_cstr(&b), "\n", &save);
         l != NULL; l = strtok_r(NULL, "\n", &save), line++) {
        const char *space = strchr(l, ' ');
        if (line >= 2 && space != NULL) /* behind version and count */
            printf("epoch: %.*s startOffset: %s\n", (int)(space - l), l, space + 1);
    }
    buf_fini(&b);
    return rc;
}
