/* SPDX-License-Identifier: Apache-2.0 */
/* Whole batches of a segment file in order, for recovery and replays. */
#include "broker/log/log_internal.h"

#include "common/base/fsx.h"
#include "common/record/batch.h"
#include "common/record/legacy.h"

enum err segment_reader_open(struct segment_reader *r, struct log_segment *s, int64_t position,
                             int64_t size)
{
    *r = (struct segment_reader){
        .segment = s, .fd = -1, .position = position, .size = size, .window_at = position};
    return segment_fd(s, 0, &r->fd);
}

void segment_reader_close(struct segment_reader *r)
{
    if (r->fd >= 0)
        segment_fd_done(r->segment);
    r->fd = -1;
    buf_fini(&r->window);
}

/* Makes at least need bytes at position available, if the file has them. */
static enum err fill(struct segment_reader *r, size_t need)
{
    enum { WINDOW_BYTES = 256 * 1024 };
    size_t want = size_max(need, WINDOW_BYTES), got;

    want = (size_t)i64_min((int64_t)want, r->size - r->position);
    r->window.len = 0;
    r->window_at = r->position;
    buf_reserve(&r->window, want);
    enum err rc = fsx_pread(r->fd, r->window.p, want, r->position, &got);
    if (rc == ERR_OK)
        r->window.len = got;
    return rc;
}

enum err segment_reader_next(struct segment_reader *r, const uint8_t **batch_out, size_t *len_out)
{
    size_t total = 0;

    for (int pass = 0; pass < 3; pass++) {
        size_t skip = (size_t)(r->position - r->window_at);
        size_t have = r->window.len > skip ? r->window.len - skip : 0;
        enum batch_peek peek =
            have == 0 ? BATCH_PARTIAL : batch_peek(r->window.p + skip, have, &total);
        if (peek == BATCH_WHOLE) {
            *batch_out = r->window.p + skip;
            *len_out = total;
            r->position += (int64_t)total;
            return ERR_OK;
        }
        if (peek == BATCH_LEGACY && legacy_crc_is_right(r->window.p + skip, total))
            return ERR_UNSUPPORTED;
        if (peek != BATCH_PARTIAL)
            return ERR_CORRUPT;
        if ((int64_t)total > r->size - r->position || r->position >= r->size)
            return ERR_NOT_FOUND;
        enum err rc = fill(r, total);
        if (rc != ERR_OK)
            return rc;
    }
    return ERR_NOT_FOUND;
}
