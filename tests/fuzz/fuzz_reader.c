/* SPDX-License-Identifier: Apache-2.0 */
/* Fuzz target: a byte stream cut into frames. The input's first byte chooses how it is cut into
 * reads, the rest is the stream; the frames that come out are compared with a plain walk over the
 * same bytes. With --enable-fuzz a libFuzzer program, otherwise it replays streams and mutations.
 */
#include "common/net/reader.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { FRAME_MAX = 200000, PIECES = 8 };

struct stream { /* what must come out */
    const uint8_t *p;
    size_t len, at;
};

/* The next frame by a plain walk: PARTIAL at the end. */
static enum reader_state walk(struct stream *s, const uint8_t **p, size_t *size)
{
    if (s->len - s->at < 4)
        return READER_PARTIAL;
    uint32_t n = be32_load(s->p + s->at);
    if (n > FRAME_MAX)
        return READER_BAD;
    if (s->len - s->at - 4 < n)
        return READER_PARTIAL;
    *p = s->p + s->at + 4;
    *size = n;
    s->at += 4 + n;
    return READER_FRAME;
}

/* Takes all whole frames. False: a bad size came. */
static bool take_all(struct reader *r, struct stream *expected, struct frame *kept, size_t *count)
{
    const uint8_t *p, *want;
    size_t size, want_size;

    for (;;) {
        enum reader_state state = reader_peek(r, &p, &size);
        if (state == READER_PARTIAL)
            return true;
        MUST(walk(expected, &want, &want_size) == state);
        if (state == READER_BAD)
            return false;
        ASSERT(size == want_size && memcmp(p, want, size) == 0);
        struct frame f;
        MUST(reader_take(r, &f));
        ASSERT(f.len == want_size && memcmp(f.p, want, f.len) == 0);
        frame_release(&kept[*count % PIECES]); /* some live on, so that blocks are shared */
        kept[*count % PIECES] = f;
        (*count)++;
    }
}

static void run(const uint8_t *data, size_t size, size_t piece)
{
    struct stream expected = {.p = data, .len = size};
    struct reader r = {.frame_max = FRAME_MAX};
    struct transport t;
    struct frame kept[PIECES] = {{0}};
    size_t count = 0, got;
    int pair[2];
    bool is_good = true;

    MUST(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair) == 0);
    MUST(transport_init(&t, pair[1], NULL, NULL));
    for (size_t at = 0; at < size && is_good;) {
        ssize_t n = send(pair[0], data + at, size_min(piece, size - at), MSG_NOSIGNAL);
        ASSERT(n > 0);
        at += (size_t)n;
        for (;;) {
            enum reader_result result = reader_read(&r, &t, &got);
            ASSERT(result == READER_MORE || result == READER_DRAINED || result == READER_AGAIN);
            ASSERT((result == READER_AGAIN) == (got == 0));
            is_good = take_all(&r, &expected, kept, &count);
            if (result != READER_MORE || !is_good)
                break;
        }
        reader_rest(&r);
        /* memory by what came, not by what is claimed */
        ASSERT(frame_bytes_in_use() <= (int64_t)(4 * size + PIECES * 70000 + 400000));
    }
    const uint8_t *p;
    size_t frame_size;
    if (is_good)
        MUST(walk(&expected, &p, &frame_size) == READER_PARTIAL); /* nothing was left behind */
    reader_fini(&r);
    for (size_t i = 0; i < PIECES; i++)
        frame_release(&kept[i]);
    ASSERT(frame_bytes_in_use() == 0);
    transport_fini(&t);
    (void)close(pair[0]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const size_t pieces[] = {1, 3, 4, 7, 100, 4096, 65512, 65536, 150000};

    if (size > 1)
        run(data + 1, size - 1, pieces[data[0] % ARRAY_LEN(pieces)]);
    return 0;
}

#ifndef FUZZ_LIBFUZZER
#include "tests/fuzz/replay.h"

enum { MUTATIONS = 3000 };

int main(int argc, char **argv)
{
    static const size_t sizes[][4] = {{0, 1, 2, 3},         {100, 4095, 4096, 5000},
                                      {65507, 65508, 8, 9}, {65509, 10, 70000, 20},
                                      {190000, 5, 5, 5},    {20000, 20000, 20000, 20000}};
    struct replay r = {0};

    for (int i = 1; i < argc; i++)
        if (!replay_add_file(&r, argv[i]))
            return EXIT_FAILURE;
    if (argc > 1)
        return replay_run(&r, 0, 0);
    for (size_t i = 0; i < 9 * ARRAY_LEN(sizes); i++) {
        struct buf b = {0};
        uint8_t byte = (uint8_t)(i % 9), head[4];
        /* one byte at a time only for what is small */
        if (byte < 4 && i / 9 > 1)
            continue;
        buf_add(&b, &byte, 1);
        for (size_t k = 0; k < 4; k++) {
            be32_store(head, (uint32_t)sizes[i / 9][k]);
            buf_add(&b, head, 4);
            buf_reserve(&b, sizes[i / 9][k]);
            memset(b.p + b.len, (int)k + 1, sizes[i / 9][k]);
            b.len += sizes[i / 9][k];
        }
        replay_add(&r, b.p, b.len);
        buf_fini(&b);
    }
    return replay_run(&r, 1, MUTATIONS);
}
#endif
