/* SPDX-License-Identifier: Apache-2.0 */
/* replay - runs a libFuzzer target without libFuzzer: over files, and over seeded mutations of
 * them. The same seed gives the same inputs. Included by the target, inside #ifndef FUZZ_LIBFUZZER.
 */
#ifndef TESTS_FUZZ_REPLAY_H
#define TESTS_FUZZ_REPLAY_H

#include "common/base/base.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct replay {
    struct bytes *inputs; /* owned */
    size_t count;
    uint64_t rng;
};

static inline void replay_add(struct replay *r, const uint8_t *p, size_t n)
{
    uint8_t *copy = xmalloc(n + 1);

    if (n > 0)
        memcpy(copy, p, n);
    r->inputs = xrealloc(r->inputs, (r->count + 1) * sizeof *r->inputs);
    r->inputs[r->count++] = (struct bytes){copy, (int64_t)n};
}

static inline void replay_fini(struct replay *r)
{
    for (size_t i = 0; i < r->count; i++)
        mem_free((void *)(uintptr_t)r->inputs[i].p);
    mem_free(r->inputs);
}

static inline bool replay_add_file(struct replay *r, const char *path)
{
    uint8_t *p = xmalloc(1 << 20);
    FILE *f = fopen(path, "rb");

    if (f == NULL) {
        perror(path);
        mem_free(p);
        return false;
    }
    replay_add(r, p, fread(p, 1, 1 << 20, f));
    (void)fclose(f);
    mem_free(p);
    return true;
}

/* Names in order, so that a seed means the same everywhere. */
static inline bool replay_add_folder(struct replay *r, const char *folder)
{
    struct dirent **entries;
    bool ok = true;
    int n = scandir(folder, &entries, NULL, alphasort);

    if (n < 0) {
        perror(folder);
        return false;
    }
    for (int i = 0; i < n; i++) {
        char path[4096];
        if (entries[i]->d_name[0] != '.') {
            (void)snprintf(path, sizeof path, "%s/%s", folder, entries[i]->d_name);
            ok = replay_add_file(r, path) && ok;
        }
        mem_free(entries[i]);
    }
    mem_free(entries);
    return ok;
}

static inline uint32_t replay_below(struct replay *r, size_t n)
{
    r->rng = r->rng * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)((r->rng >> 33) % n);
}

/* Exactly n bytes on the heap, so that AddressSanitizer sees a read behind them. */
static inline void replay_one(const uint8_t *p, size_t n)
{
    uint8_t *copy = xmalloc(n == 0 ? 1 : n);

    if (n > 0)
        memcpy(copy, p, n);
    (void)LLVMFuzzerTestOneInput(copy, n);
    mem_free(copy);
}

/* One to four changes: a bit, an extreme byte, a copy of another place, a piece cut out, the end
 * cut off. */
static inline void replay_mutated(struct replay *r, struct bytes in)
{
    static const uint8_t extreme[] = {0x00, 0x01, 0x7f, 0x80, 0xfe, 0xff};
    size_t n = (size_t)in.len;
    uint8_t *p = xmalloc(n + 1);

    if (n > 0)
        memcpy(p, in.p, n);
    for (uint32_t changes = 1 + replay_below(r, 4); changes > 0 && n > 1; changes--) {
        size_t at = replay_below(r, n), from = replay_below(r, n);
        size_t len = 1 + replay_below(r, size_min(8, n - (at > from ? at : from)));
        switch (replay_below(r, 5)) {
        case 0:
            p[at] ^= (uint8_t)(1 << replay_below(r, 8));
            break;
        case 1:
            p[at] = extreme[replay_below(r, sizeof extreme)];
            break;
        case 2:
            memmove(p + at, p + from, len);
            break;
        case 3:
            memmove(p + at, p + at + len, n - at - len);
            n -= len;
            break;
        default:
            n = at;
            break;
        }
    }
    replay_one(p, n);
    mem_free(p);
}

/* All inputs as they are, then that many mutations. REPLAY_SEED in the environment replaces the
 * seed. */
static inline int replay_run(struct replay *r, uint64_t seed, int mutations)
{
    const char *text = getenv("REPLAY_SEED");

    r->rng = text == NULL ? seed : strtoull(text, NULL, 0);
    (void)printf("%zu inputs, %d mutations, seed %" PRIu64 "\n", r->count, mutations, r->rng);
    for (size_t i = 0; i < r->count; i++)
        replay_one(r->inputs[i].p, (size_t)r->inputs[i].len);
    for (int i = 0; i < mutations && r->count > 0; i++)
        replay_mutated(r, r->inputs[replay_below(r, r->count)]);
    replay_fini(r);
    return EXIT_SUCCESS;
}

#endif
