/* SPDX-License-Identifier: Apache-2.0 */
/* The panic report. */
#include "common/base/check.h"

#include <execinfo.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { DUMPERS_MAX = 16, FRAMES_MAX = 64 };

static struct {
    void (*dump)(int fd, void *arg);
    void *arg;
} dumpers[DUMPERS_MAX];
static int dumper_count;
static atomic_flag panicking = ATOMIC_FLAG_INIT;

void check_add_dumper(void (*dump)(int fd, void *arg), void *arg)
{
    ASSERT(dumper_count < DUMPERS_MAX);
    dumpers[dumper_count].dump = dump;
    dumpers[dumper_count].arg = arg;
    dumper_count++;
}

void check_panic(const char *file, int line, const char *func, const char *what)
{
    char text[512];
    void *frames[FRAMES_MAX];

    int n = snprintf(text, sizeof text, "PANIC at %s:%d in %s(): assertion failed: %s\n", file,
                     line, func, what);
    if (n > 0)
        (void)!write(STDERR_FILENO, text, strlen(text));
    if (!atomic_flag_test_and_set(
            &panicking)) { /* a second panic, in a dumper say, goes straight to abort */
        backtrace_symbols_fd(frames, backtrace(frames, FRAMES_MAX), STDERR_FILENO);
        for (int i = 0; i < dumper_count; i++)
            dumpers[i].dump(STDERR_FILENO, dumpers[i].arg);
    }
    abort();
}
