/* SPDX-License-Identifier: Apache-2.0 */
/* Leader epochs of a log. */
#include "broker/log/epoch_cache.h"

#include "broker/log/checkpoint.h"

void epoch_cache_fini(struct epoch_cache *c)
{
    FREE_NULL(&c->entries);
    c->count = c->cap = 0;
}

void epoch_cache_check(const struct epoch_cache *c)
{
    for (int32_t i = 1; i < c->count; i++) {
        ASSERT(c->entries[i - 1].epoch < c->entries[i].epoch);
        ASSERT(c->entries[i - 1].start_offset < c->entries[i].start_offset);
    }
}

static void push(struct epoch_cache *c, int32_t epoch, int64_t start_offset)
{
    if (c->count == c->cap) {
        c->cap = c->cap == 0 ? 2 : c->cap * 2;
        c->entries = xrealloc(c->entries, (size_t)c->cap * sizeof *c->entries);
    }
    c->entries[c->count++] = (struct epoch_entry){.start_offset = start_offset, .epoch = epoch};
}

bool epoch_cache_assign(struct epoch_cache *c, int32_t epoch, int64_t start_offset)
{
    const struct epoch_entry *last = c->count == 0 ? NULL : &c->entries[c->count - 1];

    ASSERT(epoch >= 0 && start_offset >= 0);
    if (LIKELY(last != NULL && last->epoch == epoch && last->start_offset <= start_offset))
        return false;
    while (c->count > 0 && (c->entries[c->count - 1].epoch >= epoch ||
                            c->entries[c->count - 1].start_offset >= start_offset))
        c->count--;
    push(c, epoch, start_offset);
    c->is_dirty = true;
    return true;
}

int32_t epoch_cache_latest(const struct epoch_cache *c)
{
    return c->count == 0 ? -1 : c->entries[c->count - 1].epoch;
}

/* Index of the first entry with an epoch above. */
static int32_t first_above(const struct epoch_cache *c, int32_t epoch)
{
    int32_t lo = 0, hi = c->count;

    while (lo < hi) {
        int32_t mid = lo + (hi - lo) / 2;
        if (c->entries[mid].epoch > epoch)
            hi = mid;
        else
            lo = mid + 1;
    }
    return lo;
}

void epoch_cache_end(const struct epoch_cache *c, int32_t epoch, int64_t log_end,
                     int32_t *epoch_out, int64_t *end_out)
{
    int32_t above = first_above(c, epoch);

    *epoch_out = -1;
    *end_out = -1;
    if (epoch < 0 || c->count == 0)
        return;
    if (epoch == epoch_cache_latest(c)) {
        *epoch_out = epoch;
        *end_out = log_end;
    } else if (above < c->count) {
        *epoch_out = above == 0 ? epoch : c->entries[above - 1].epoch;
        *end_out = c->entries[above].start_offset;
    }
}

int32_t epoch_cache_of(const struct epoch_cache *c, int64_t offset)
{
    int32_t found = -1;

    for (int32_t i = c->count - 1; i >= 0 && found < 0; i--)
        if (c->entries[i].start_offset <= offset)
            found = c->entries[i].epoch;
    return found;
}

void epoch_cache_truncate_end(struct epoch_cache *c, int64_t offset)
{
    while (c->count > 0 && c->entries[c->count - 1].start_offset >= offset) {
        c->count--;
        c->is_dirty = true;
    }
}

void epoch_cache_truncate_start(struct epoch_cache *c, int64_t offset)
{
    int32_t gone = 0; /* entries that begin at or below offset, but the last of them stays */

    while (gone + 1 < c->count && c->entries[gone + 1].start_offset <= offset)
        gone++;
    if (c->count == 0 || c->entries[gone].start_offset > offset ||
        (gone == 0 && c->entries[0].start_offset == offset))
        return;
    c->count -= gone;
    memmove(c->entries, c->entries + gone, (size_t)c->count * sizeof *c->entries);
    c->entries[0].start_offset = offset;
    c->is_dirty = true;
}

void epoch_cache_clear(struct epoch_cache *c)
{
    c->is_dirty |= c->count > 0;
    c->count = 0;
}

void epoch_cache_format(const struct epoch_cache *c, struct buf *out)
{
    checkpoint_begin(out, (size_t)c->count);
    for (int32_t i = 0; i < c->count; i++)
        buf_printf(out, "%" PRId32 " %" PRId64 "\n", c->entries[i].epoch,
                   c->entries[i].start_offset);
}

static bool add_line(void *arg, const struct str *words)
{
    struct epoch_cache *c = arg;
    int64_t epoch, start;

    if (!checkpoint_number(words[0], &epoch) || !checkpoint_number(words[1], &start) || epoch < 0 ||
        epoch > INT32_MAX || start < 0)
        return false;
    (void)epoch_cache_assign(c, (int32_t)epoch, start); /* drops what is out of order */
    return true;
}

enum err epoch_cache_read(struct epoch_cache *c, const char *path, struct errtext *why)
{
    c->count = 0;
    enum err rc = checkpoint_read(path, 2, add_line, c, why);
    if (rc != ERR_OK)
        c->count = 0;
    c->is_dirty = false;
    return rc;
}
