/* SPDX-License-Identifier: Apache-2.0 */
/* slog - structured log lines: one line an event, `2026-11-22 10:00:00.123 INFO  replica became
 * leader topic=t partition=0`. Constant lower-case message, no full stop; values as key=value,
 * quoted by the encoder. Any thread; a line is one write.
 *
 *     SLOG(INFO, "replica", "became leader", KV_S("topic", t), KV_I("partition", p),
 * KV_I("leader_epoch", e));
 *
 * Arguments are evaluated only when the level is enabled. Hot paths and per-peer errors use
 * SLOG_EVERY(ms, ...): at most one line in that time for each place, with the number of suppressed
 * ones. */
#ifndef COMMON_BASE_SLOG_H
#define COMMON_BASE_SLOG_H

#include "common/base/base.h"

enum slog_level { SLOG_DEBUG, SLOG_INFO, SLOG_WARN, SLOG_ERROR };

struct slog_kv {
    const char *key;
    enum { SLOG_KV_END, SLOG_KV_INT, SLOG_KV_STR } kind;
    int64_t i;
    struct str s;
};
#define KV_I(k, v)    ((struct slog_kv){.key = (k), .kind = SLOG_KV_INT, .i = (int64_t)(v)})
#define KV_S(k, z)    ((struct slog_kv){.key = (k), .kind = SLOG_KV_STR, .s = str_of(z)})
#define KV_STR(k, v)  ((struct slog_kv){.key = (k), .kind = SLOG_KV_STR, .s = (v)})
#define KV_ERR(e)     KV_S("error", err_text(e))
#define KV_KERR(code) KV_S("error", kerr_name(code))
#define KV_ERRNO()    KV_S("errno", strerror(errno))

extern enum slog_level slog_min_level; /* set before threads start, or racily: a level only */

/* Sends lines to fd (default 2). Set before threads start. */
void slog_set_fd(int fd);
/* "debug", "info", "warn", "error"; false when it is none of these. */
bool slog_level_parse(const char *name, enum slog_level *level_out);
void slog_write(enum slog_level level, const char *module, const char *message,
                const struct slog_kv *kvs);

struct slog_limiter {
    _Atomic int64_t next_ms;
    _Atomic int64_t suppressed;
};
/* True when a line may be written now; suppressed_out: how many were swallowed since the last one.
 */
bool slog_limiter_pass(struct slog_limiter *l, int64_t interval_ms, int64_t *suppressed_out);

#define SLOG(level, module, ...)                                                                   \
    do {                                                                                           \
        if (SLOG_##level >= slog_min_level)                                                        \
            SLOG_WRITE_(SLOG_##level, module, __VA_ARGS__, ((struct slog_kv){0}));                 \
    } while (0)
#define SLOG_WRITE_(level, module, message, ...)                                                   \
    slog_write(level, module, message, (const struct slog_kv[]){__VA_ARGS__})

#define SLOG_EVERY(interval_ms, level, module, ...)                                                \
    do {                                                                                           \
        static struct slog_limiter slog_limiter_;                                                  \
        int64_t slog_suppressed_;                                                                  \
        if (SLOG_##level >= slog_min_level &&                                                      \
            slog_limiter_pass(&slog_limiter_, (interval_ms), &slog_suppressed_))                   \
            SLOG_WRITE_(SLOG_##level, module, __VA_ARGS__, KV_I("suppressed", slog_suppressed_),   \
                        ((struct slog_kv){0}));                                                    \
    } while (0)

#endif
