/* SPDX-License-Identifier: Apache-2.0 */
/* Log lines: formatted into a buffer on the stack, written with one write(). */
#include "common/base/slog.h"

#include "common/base/clock.h"

#include <stdatomic.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

enum { LINE_MAX_BYTES = 4096 };

enum slog_level slog_min_level = SLOG_INFO;
static int slog_fd = STDERR_FILENO;
static const char *const level_names[] = {"DEBUG", "INFO", "WARN", "ERROR"};

struct line {
    char text[LINE_MAX_BYTES];
    size_t len;
};

static void line_char(struct line *l, char c)
{
    if (l->len < sizeof l->text - 1) /* the last byte is kept for the newline */
        l->text[l->len++] = c;
}

static void line_str(struct line *l, const char *s)
{
    while (*s != 0)
        line_char(l, *s++);
}

static bool is_plain(struct str s)
{
    for (int32_t i = 0; i < s.len; i++)
        if (s.p[i] <= ' ' || s.p[i] == '"' || s.p[i] == '=' || s.p[i] == '\\' || s.p[i] > '~')
            return false;
    return s.len > 0;
}

static void line_value(struct line *l, struct str s)
{
    bool plain = s.len >= 0 && is_plain(s);
    if (s.len < 0) {
        line_str(l, "null");
        return;
    }
    if (!plain)
        line_char(l, '"');
    for (int32_t i = 0; i < s.len; i++) {
        unsigned char c = (unsigned char)s.p[i];
        char hex[8];
        if (c == '"' || c == '\\') {
            line_char(l, '\\');
            line_char(l, (char)c);
        } else if (c < ' ' || c == 127) {
            (void)snprintf(hex, sizeof hex, "\\x%02x", c);
            line_str(l, hex);
        } else {
            line_char(l, (char)c);
        }
    }
    if (!plain)
        line_char(l, '"');
}

void slog_set_fd(int fd)
{
    slog_fd = fd;
}

bool slog_level_parse(const char *name, enum slog_level *level_out)
{
    static const char *const names[] = {"debug", "info", "warn", "error"};

    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (strcmp(name, names[i]) == 0) {
            *level_out = (enum slog_level)i;
            return true;
        }
    return false;
}

void slog_write(enum slog_level level, const char *module, const char *message,
                const struct slog_kv *kvs)
{
    struct line l;
    char head[96];
    struct tm tm;
    int64_t now_ms = clock_wall_ms();
    time_t now_s = (time_t)(now_ms / 1000);

    l.len = 0;
    (void)localtime_r(&now_s, &tm);
    (void)snprintf(head, sizeof head, "%04d-%02d-%02d %02d:%02d:%02d.%03d %-5s ", tm.tm_year + 1900,
                   tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec,
                   (int)(now_ms % 1000), level_names[level]);
    line_str(&l, head);
    line_str(&l, module);
    line_char(&l, ' ');
    line_str(&l, message);
    for (; kvs->kind != SLOG_KV_END; kvs++) {
        if (strcmp(kvs->key, "suppressed") == 0 && kvs->i == 0)
            continue;
        line_char(&l, ' ');
        line_str(&l, kvs->key);
        line_char(&l, '=');
        if (kvs->kind == SLOG_KV_INT) {
            (void)snprintf(head, sizeof head, "%" PRId64, kvs->i);
            line_str(&l, head);
        } else {
            line_value(&l, kvs->s);
        }
    }
    l.text[l.len++] = '\n';
    (void)!write(slog_fd, l.text, l.len); /* a log that cannot be written has nobody to tell */
}

bool slog_limiter_pass(struct slog_limiter *l, int64_t interval_ms, int64_t *suppressed_out)
{
    int64_t now = clock_mono_ms();
    int64_t next = atomic_load_explicit(&l->next_ms, memory_order_relaxed);

    if (now < next || !atomic_compare_exchange_strong(&l->next_ms, &next, now + interval_ms)) {
        atomic_fetch_add_explicit(&l->suppressed, 1, memory_order_relaxed);
        return false;
    }
    *suppressed_out = atomic_exchange(&l->suppressed, 0);
    return true;
}
