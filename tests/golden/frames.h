/* SPDX-License-Identifier: Apache-2.0 */
/* frames - reads the captured frames of frames.txt; for unit tests and the fuzz target. */
#ifndef TESTS_GOLDEN_FRAMES_H
#define TESTS_GOLDEN_FRAMES_H

#include "common/base/base.h"

#include <stdio.h>
#include <stdlib.h>

struct frame {
    bool is_request;
    int16_t key, version;
    struct bytes bytes; /* header and body; owned */
    int line;           /* in the file */
};

static inline void frames_free(struct frame *frames, size_t count)
{
    for (size_t i = 0; i < count; i++)
        mem_free((void *)(uintptr_t)frames[i].bytes.p);
    mem_free(frames);
}

/* One line; false if it is not a frame. */
static inline bool frame_parse(const char *text, struct frame *out)
{
    char kind[16];
    int key, version, at = 0;

    if (sscanf(text, "%15s %d %d %n", kind, &key, &version, &at) != 3 || at == 0)
        return false;
    size_t digits = strspn(text + at, "0123456789abcdef");
    uint8_t *p = xmalloc(digits / 2 + 1);
    for (size_t i = 0; i < digits / 2; i++) {
        unsigned v = 0;
        (void)sscanf(text + at + 2 * i, "%2x", &v);
        p[i] = (uint8_t)v;
    }
    out->is_request = strcmp(kind, "request") == 0;
    out->key = (int16_t)key;
    out->version = (int16_t)version;
    out->bytes = (struct bytes){p, (int64_t)(digits / 2)};
    return true;
}

/* False, with a message, when the file cannot be read. Free with frames_free(). */
static inline bool frames_read(const char *path, struct frame **frames_out, size_t *count_out)
{
    FILE *f = fopen(path, "r");
    struct frame *frames = NULL;
    size_t count = 0, size = 0;
    char *text = NULL;

    if (f == NULL) {
        perror(path);
        return false;
    }
    for (int line = 1; getline(&text, &size, f) >= 0; line++) {
        if (text[0] == '#')
            continue;
        frames = xrealloc(frames, (count + 1) * sizeof *frames);
        if (!frame_parse(text, &frames[count])) {
            (void)fprintf(stderr, "%s:%d: not a frame\n", path, line);
            exit(EXIT_FAILURE);
        }
        frames[count++].line = line;
    }
    mem_free(text);
    (void)fclose(f);
    *frames_out = frames;
    *count_out = count;
    return true;
}

#endif
