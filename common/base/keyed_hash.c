/* SPDX-License-Identifier: Apache-2.0 */
/* SipHash as its authors' reference has it, little-endian words; c and d are the rounds a word and
 * the rounds at the end. */
#include "common/base/keyed_hash.h"

#include "common/base/uuid.h"

#include <pthread.h>
#include <sys/random.h>

struct sip {
    uint64_t v[4];
    int c;
};

static uint64_t process_secret[2];
static pthread_once_t once = PTHREAD_ONCE_INIT;

static uint64_t le64_load(const uint8_t *p)
{
    return __builtin_bswap64(be64_load(p));
}

static uint64_t rotate(uint64_t x, unsigned by)
{
    return x << by | x >> (64 - by);
}

static void sip_rounds(uint64_t v[4], int count)
{
    for (int i = 0; i < count; i++) {
        v[0] += v[1];
        v[1] = rotate(v[1], 13) ^ v[0];
        v[0] = rotate(v[0], 32);
        v[2] += v[3];
        v[3] = rotate(v[3], 16) ^ v[2];
        v[0] += v[3];
        v[3] = rotate(v[3], 21) ^ v[0];
        v[2] += v[1];
        v[1] = rotate(v[1], 17) ^ v[2];
        v[2] = rotate(v[2], 32);
    }
}

static struct sip sip_begin(const uint64_t secret[2], int c)
{
    return (struct sip){
        .v = {UINT64_C(0x736f6d6570736575) ^ secret[0], UINT64_C(0x646f72616e646f6d) ^ secret[1],
              UINT64_C(0x6c7967656e657261) ^ secret[0], UINT64_C(0x7465646279746573) ^ secret[1]},
        .c = c};
}

static void sip_word(struct sip *s, uint64_t word)
{
    s->v[3] ^= word;
    sip_rounds(s->v, s->c);
    s->v[0] ^= word;
}

/* The words of p, and the last one with the length. */
static void sip_bytes(struct sip *s, const uint8_t *p, size_t n)
{
    uint8_t last[8] = {0};
    size_t at = 0;

    for (; at + 8 <= n; at += 8)
        sip_word(s, le64_load(p + at));
    if (at < n)
        memcpy(last, p + at, n - at);
    last[7] = (uint8_t)n;
    sip_word(s, le64_load(last));
}

static uint64_t sip_end(struct sip *s, uint64_t mark, int d)
{
    s->v[2] ^= mark;
    sip_rounds(s->v, d);
    return s->v[0] ^ s->v[1] ^ s->v[2] ^ s->v[3];
}

void siphash128(const uint64_t secret[2], const uint8_t *p, size_t n, uint64_t out[2])
{
    struct sip s = sip_begin(secret, 2);

    s.v[1] ^= 0xee;
    sip_bytes(&s, p, n);
    out[0] = sip_end(&s, 0xee, 4);
    s.v[1] ^= 0xdd;
    out[1] = sip_end(&s, 0, 4);
}

uint64_t siphash64(const uint64_t secret[2], const uint8_t *p, size_t n)
{
    struct sip s = sip_begin(secret, 2);

    sip_bytes(&s, p, n);
    return sip_end(&s, 0xff, 4);
}

/* ---- the secret of this process */

static void make_secret(void)
{
    MUST(getrandom(process_secret, sizeof process_secret, 0) == (ssize_t)sizeof process_secret);
}

uint64_t keyed_hash(const void *p, size_t n)
{
    struct sip s;

    ASSERT(p != NULL || n == 0);
    MUST(pthread_once(&once, make_secret) == 0);
    s = sip_begin(process_secret, 1);
    sip_bytes(&s, p, n);
    return sip_end(&s, 0xff, 3);
}

uint64_t keyed_hash_with(const void *p, size_t n, uint64_t more)
{
    struct sip s;

    ASSERT(p != NULL || n == 0);
    MUST(pthread_once(&once, make_secret) == 0);
    s = sip_begin(process_secret, 1);
    sip_word(&s, more);
    sip_bytes(&s, p, n);
    return sip_end(&s, 0xff, 3);
}
