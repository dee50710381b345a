/* SPDX-License-Identifier: Apache-2.0 */
/* Reading a whole log for what this broker keeps in its own topics. */
#include "broker/replica/partition.h"

#include "common/base/fsx.h"
#include "common/record/batch.h"

/* The range's bytes. No lock is held. */
static int16_t copy_range(struct log_range *range, struct buf *out)
{
    size_t got = 0;

    int fd = log_range_fd(range);
    if (fd < 0)
        return KE_KAFKA_STORAGE_ERROR;
    buf_reserve(out, (size_t)range->length);
    enum err rc = fsx_pread(fd, out->p, (size_t)range->length, range->position, &got);
    if (rc == ERR_OK && got < (size_t)range->length)
        rc = ERR_CORRUPT;
    out->len = rc == ERR_OK ? got : 0;
    return rc == ERR_OK ? KE_NONE : err_to_kerr(rc);
}

/* Cuts what is not a whole batch off the end. need_out: of the first batch, when not even that is
 * whole. */
static int16_t keep_whole(struct buf *b, int64_t *next_offset, int64_t *need_out)
{
    size_t at = 0, total;

    *need_out = 0;
    while (at < b->len) {
        enum batch_peek peek = batch_peek(b->p + at, b->len - at, &total);
        if (peek == BATCH_PARTIAL) {
            *need_out = at == 0 ? (int64_t)total : 0;
            break;
        }
        if (peek != BATCH_WHOLE || batch_crc_compute(b->p + at) != batch_crc(b->p + at))
            return KE_CORRUPT_MESSAGE;
        *next_offset = batch_last_offset(b->p + at) + 1;
        at += total;
    }
    b->len = at;
    return KE_NONE;
}

static int16_t read_once(struct partition *p, const struct partition_read *in, struct buf *out,
                         int64_t *next_offset, int64_t *start_offset_out, int64_t *need_out)
{
    struct partition_read_result res;

    out->len = 0;
    *need_out = 0;
    partition_read(p, in, &res);
    *start_offset_out = res.log_start_offset;
    if (res.error != KE_NONE)
        return res.error;
    if (res.range.length == 0) /* the last offsets may have no batch any more */
        *next_offset = res.log_end_offset;
    else
        res.error = copy_range(&res.range, out);
    log_range_release(&res.range);
    return res.error == KE_NONE ? keep_whole(out, next_offset, need_out) : res.error;
}

int16_t partition_read_log(struct partition *p, int32_t leader_epoch, int64_t offset,
                           int64_t max_bytes, struct buf *out, int64_t *next_offset_out)
{
    struct partition_read in = {.replica_id = REPLICA_DEBUG, /* it sees what is not committed */
                                .replica_epoch = -1,
                                .fetch_offset = offset,
                                .current_leader_epoch = leader_epoch,
                                .last_fetched_epoch = -1,
                                .max_bytes = max_bytes,
                                .at_least_one = true,
                                .leader_required = true};
    int64_t start, need;

    ASSERT(offset >= 0 && max_bytes > 0);
    *next_offset_out = offset;
    int16_t rc = read_once(p, &in, out, next_offset_out, &start, &need);
    if (rc == KE_OFFSET_OUT_OF_RANGE && offset < start) { /* records were deleted */
        in.fetch_offset = *next_offset_out = start;
        rc = read_once(p, &in, out, next_offset_out, &start, &need);
    }
    if (rc == KE_NONE && need > 0) { /* a batch that is larger than max.message.bytes is now */
        in.max_bytes = need;
        rc = read_once(p, &in, out, next_offset_out, &start, &need);
        if (rc == KE_NONE && need > 0)
            rc = KE_CORRUPT_MESSAGE;
    }
    if (rc != KE_NONE)
        out->len = 0;
    return rc;
}
