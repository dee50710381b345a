/* SPDX-License-Identifier: Apache-2.0 */
/* kafuka-dump-log: data segments, in the words of Kafka's DumpLogSegments. */
#include "tools/dump_log.h"

#include "common/base/fsx.h"
#include "common/record/batch.h"
#include "common/record/compress.h"
#include "tools/lib/group_records.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

enum { UNFOLDED_BYTES_MAX = 1 << 30 };

/* A dump of one file under way. */
struct dump {
    const char *path;
    const struct dump_options *o;
    int fd;
    int64_t position, size;
    int64_t last_offset; /* of the record before; -1: none */
    struct buf batch, plain;
    struct dump_mismatches gaps; /* deep: offsets that do not follow each other */
    bool found_bad;
};

enum err dump_header_at(int fd, int64_t position, int64_t size, uint8_t *batch_out,
                        size_t *total_out)
{
    size_t got;

    enum err rc = fsx_pread(fd, batch_out, BATCH_HEADER_BYTES, position, &got);
    if (rc != ERR_OK)
        return rc;
    memset(batch_out + got, 0, BATCH_HEADER_BYTES - got);
    if (got < BATCH_PREFIX_BYTES)
        return ERR_NOT_FOUND;
    switch (batch_peek(batch_out, (size_t)(size - position), total_out)) {
    case BATCH_WHOLE:
        return ERR_OK;
    case BATCH_PARTIAL:
        return ERR_NOT_FOUND;
    case BATCH_LEGACY:
        return ERR_UNSUPPORTED;
    case BATCH_BAD:
        break;
    }
    return ERR_CORRUPT;
}

static const char *time_name(const uint8_t *b)
{
    return (batch_attributes(b) & BATCH_LOG_APPEND_TIME) != 0 ? "LogAppendTime" : "CreateTime";
}

static const char *yes(bool b)
{
    return b ? "true" : "false";
}

static void print_batch(const uint8_t *b, int64_t position, bool is_valid)
{
    uint16_t attributes = batch_attributes(b);
    int32_t base_sequence = batch_base_sequence(b);
    char horizon[64] = "OptionalLong.empty";

    if ((attributes & BATCH_DELETE_HORIZON) != 0)
        (void)snprintf(horizon, sizeof horizon, "OptionalLong[%" PRId64 "]",
                       batch_base_timestamp(b));
    printf("baseOffset: %" PRId64 " lastOffset: %" PRId64 " count: %" PRId32
           " baseSequence: %" PRId32 " lastSequence: %" PRId32 " producerId: %" PRId64
           " producerEpoch: %d partitionLeaderEpoch: %" PRId32
           " isTransactional: %s isControl: %s deleteHorizonMs: %s position: %" PRId64
           " %s: %" PRId64 " size: %zu magic: %d compresscodec: %s crc: %" PRIu32 " isvalid: %s\n",
           batch_base_offset(b), batch_last_offset(b), batch_count(b), base_sequence,
           base_sequence < 0 ? -1 : sequence_add(base_sequence, batch_last_offset_delta(b)),
           batch_producer_id(b), batch_producer_epoch(b), batch_leader_epoch(b),
           yes((attributes & BATCH_TRANSACTIONAL) != 0), yes((attributes & BATCH_CONTROL) != 0),
           horizon, position, time_name(b), batch_max_timestamp(b), batch_total_bytes(b),
           batch_magic(b), codec_name(batch_codec(b)), batch_crc(b), yes(is_valid));
}

static void print_bytes(const char *label, struct bytes b)
{
    if (b.len < 0)
        return;
    printf(" %s: ", label);
    (void)fwrite(b.p, 1, (size_t)b.len, stdout); /* errors are seen when stdout is flushed */
}

static void print_headers(const struct record *r)
{
    const uint8_t *at = r->headers;
    const char *comma = "";
    struct bytes name, value;

    printf(" headerKeys: [");
    while (record_header_next(&at, r, &name, &value)) {
        printf("%s%.*s", comma, (int)name.len, (const char *)name.p);
        comma = ",";
    }
    printf("]");
}

static void print_marker(const struct record *r)
{
    enum { KEY_BYTES_MIN = 4, VALUE_BYTES_MIN = 6 };

    if (r->key.len < KEY_BYTES_MIN)
        return;
    uint16_t type = be16_load(r->key.p + 2);
    if (type <= 1 && r->value.len >= VALUE_BYTES_MIN)
        printf(" endTxnMarker: %s coordinatorEpoch: %" PRId32, type == 1 ? "COMMIT" : "ABORT",
               (int32_t)be32_load(r->value.p + 2));
    else
        printf(" controlType: %u", type);
}

/* A record of __consumer_offsets. */
static void print_decoded(const struct record *r)
{
    struct buf key = {0}, payload = {0};
    bool has_payload = group_records_decode(r->key, r->value, r->offset, &key, &payload);

    print_bytes("key", (struct bytes){key.p, (int64_t)key.len});
    if (has_payload)
        print_bytes("payload", (struct bytes){payload.p, (int64_t)payload.len});
    buf_fini(&key);
    buf_fini(&payload);
}

static void print_record(const struct dump *d, const uint8_t *b, const struct record *r)
{
    if (!d->o->skip_metadata) {
        int32_t base_sequence = batch_base_sequence(b);
        printf("| offset: %" PRId64 " %s: %" PRId64 " keySize: %" PRId64 " valueSize: %" PRId64
               " sequence: %" PRId32,
               r->offset, time_name(b), r->timestamp_ms, r->key.len, r->value.len,
               base_sequence < 0 ? -1 : sequence_add(base_sequence, r->offset_delta));
        print_headers(r);
    } else {
        printf("|");
    }
    if ((batch_attributes(b) & BATCH_CONTROL) != 0 && !d->o->skip_metadata) {
        print_marker(r);
    } else if (d->o->decode_groups) {
        print_decoded(r);
    } else if (d->o->print_data) {
        print_bytes("key", r->key);
        print_bytes("payload", r->value);
    }
    printf("\n");
}

static void note_gap(struct dump *d, int64_t offset)
{
    if (d->last_offset >= 0 && offset != d->last_offset + 1) {
        d->gaps.list = xrealloc(d->gaps.list, (d->gaps.count + 1) * sizeof *d->gaps.list);
        d->gaps.list[d->gaps.count++] =
            (struct dump_mismatch){.index_value = d->last_offset, .log_value = offset};
    }
    d->last_offset = offset;
}

static enum err print_records(struct dump *d)
{
    const uint8_t *b = d->batch.p;
    struct record_iter it;
    struct record r;

    d->plain.len = 0;
    enum err rc =
        codec_decompress(batch_codec(b), 2, b + BATCH_HEADER_BYTES,
                         d->batch.len - BATCH_HEADER_BYTES, UNFOLDED_BYTES_MAX, &d->plain);
    if (rc != ERR_OK)
        return rc;
    record_iter_init(&it, b, d->plain.p, d->plain.len);
    while ((rc = record_next(&it, &r)) == ERR_OK) {
        note_gap(d, r.offset);
        print_record(d, b, &r);
    }
    return rc == ERR_NOT_FOUND ? ERR_OK : rc;
}

static enum err read_batch(struct dump *d, size_t total)
{
    size_t got;

    d->batch.len = 0;
    buf_reserve(&d->batch, total);
    enum err rc = fsx_pread(d->fd, d->batch.p, total, d->position, &got);
    if (rc == ERR_OK && got < total)
        rc = ERR_NOT_FOUND;
    if (rc == ERR_OK)
        d->batch.len = total;
    return rc;
}

static enum err dump_batches(struct dump *d, struct errtext *why)
{
    uint8_t header[BATCH_HEADER_BYTES];
    size_t total;
    enum err rc = ERR_OK;

    while (d->position < d->size && d->position < d->o->max_bytes) {
        rc = dump_header_at(d->fd, d->position, d->size, header, &total);
        if (rc == ERR_OK)
            rc = read_batch(d, total);
        if (rc != ERR_OK)
            break;
        bool is_valid = batch_crc_compute(d->batch.p) == batch_crc(d->batch.p);
        d->found_bad |= !is_valid;
        print_batch(d->batch.p, d->position, is_valid);
        if (d->o->deep)
            rc = print_records(d);
        if (rc != ERR_OK)
            break;
        d->position += (int64_t)total;
    }
    if (rc == ERR_UNSUPPORTED)
        errtext_set(why, "at position %" PRId64 ": message format %d is not read", d->position,
                    batch_magic(header));
    else if (rc == ERR_CORRUPT)
        errtext_set(why, "at position %" PRId64 ": the batch or its records are damaged",
                    d->position);
    else if (rc != ERR_OK && rc != ERR_NOT_FOUND)
        errtext_set(why, "at position %" PRId64 ": %s", d->position, err_reason(rc));
    return rc == ERR_NOT_FOUND ? ERR_OK : rc;
}

static void print_findings(struct dump *d)
{
    const char *slash = strrchr(d->path, '/');

    if (d->position < d->size && d->position < d->o->max_bytes) {
        printf("Found %" PRId64 " invalid bytes at the end of %s\n", d->size - d->position,
               slash == NULL ? d->path : slash + 1);
        d->found_bad = true;
    }
    (void)fflush(stdout); /* an error stays set and is seen at the end */
    /* gaps are what compaction leaves; worth a word, not an error */
    for (size_t i = 0; i < d->gaps.count; i++) {
        if (i == 0)
            fprintf(stderr, "Non-consecutive offsets in %s\n", d->path);
        fprintf(stderr, "  %" PRId64 " is followed by %" PRId64 "\n", d->gaps.list[i].index_value,
                d->gaps.list[i].log_value);
    }
}

enum err dump_data(const char *path, const struct dump_options *o, bool *found_bad,
                   struct errtext *why)
{
    struct dump d = {.path = path, .o = o, .fd = -1, .last_offset = -1};
    struct stat st;
    int64_t base_offset;

    if (dump_base_offset(path, &base_offset))
        printf("Log starting offset: %" PRId64 "\n", base_offset);
    enum err rc = fsx_open(path, O_RDONLY, 0, &d.fd);
    if (rc == ERR_OK && fstat(d.fd, &st) != 0)
        rc = ERR_IO;
    if (rc != ERR_OK) {
        errtext_set(why, "%s", err_reason(rc));
    } else {
        d.size = st.st_size;
        rc = dump_batches(&d, why);
        if (rc == ERR_OK)
            print_findings(&d);
    }
    if (d.fd >= 0)
        (void)close(d.fd);
    mem_free(d.gaps.list);
    buf_fini(&d.batch);
    buf_fini(&d.plain);
    *found_bad |= d.found_bad;
    return rc;
}
