/* SPDX-License-Identifier: Apache-2.0 */
/* base - what every file includes: language helpers, ASSERT, error codes, memory, lists. No state,
 * any thread. Read common/base/README.md first. */
#ifndef COMMON_BASE_BASE_H
#define COMMON_BASE_BASE_H

#include <inttypes.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/types.h>

#define NODISCARD                       __attribute__((warn_unused_result))
#define PRINTF_LIKE(fmt, args)          __attribute__((format(printf, fmt, args)))
#define UNUSED                          __attribute__((unused))
#define LIKELY(x)                       __builtin_expect(!!(x), 1)
#define UNLIKELY(x)                     __builtin_expect(!!(x), 0)
#define ARRAY_LEN(a)                    (sizeof(a) / sizeof((a)[0]))
#define CONTAINER_OF(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

/* Lock discipline, checked by clang -Wthread-safety; nothing under gcc. */
#ifdef __clang__
#define TS_ATTR(x) __attribute__((x))
#else
#define TS_ATTR(x)
#endif
#define CAPABILITY(name) TS_ATTR(capability(name))
#define REQUIRES(...)    TS_ATTR(requires_capability(__VA_ARGS__))
#define EXCLUDES(...)    TS_ATTR(locks_excluded(__VA_ARGS__))
#define ACQUIRE(...)     TS_ATTR(acquire_capability(__VA_ARGS__))
#define RELEASE(...)     TS_ATTR(release_capability(__VA_ARGS__))
#define NO_THREAD_SAFETY TS_ATTR(no_thread_safety_analysis)

#include "common/base/check.h"
#include "common/base/err.h"
#include "common/base/mem.h"

static inline int32_t i32_min(int32_t a, int32_t b)
{
    return a < b ? a : b;
}
static inline int32_t i32_max(int32_t a, int32_t b)
{
    return a > b ? a : b;
}
static inline int64_t i64_min(int64_t a, int64_t b)
{
    return a < b ? a : b;
}
static inline int64_t i64_max(int64_t a, int64_t b)
{
    return a > b ? a : b;
}
static inline size_t size_min(size_t a, size_t b)
{
    return a < b ? a : b;
}
static inline size_t size_max(size_t a, size_t b)
{
    return a > b ? a : b;
}

/* Big-endian loads and stores at any alignment: the byte order of the wire and of every file. */
static inline uint16_t be16_load(const void *p)
{
    uint16_t v;
    memcpy(&v, p, sizeof v);
    return __builtin_bswap16(v);
}
static inline uint32_t be32_load(const void *p)
{
    uint32_t v;
    memcpy(&v, p, sizeof v);
    return __builtin_bswap32(v);
}
static inline uint64_t be64_load(const void *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof v);
    return __builtin_bswap64(v);
}
static inline void be16_store(void *p, uint16_t v)
{
    v = __builtin_bswap16(v);
    memcpy(p, &v, sizeof v);
}
static inline void be32_store(void *p, uint32_t v)
{
    v = __builtin_bswap32(v);
    memcpy(p, &v, sizeof v);
}
static inline void be64_store(void *p, uint64_t v)
{
    v = __builtin_bswap64(v);
    memcpy(p, &v, sizeof v);
}

#endif
