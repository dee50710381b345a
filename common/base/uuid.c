/* SPDX-License-Identifier: Apache-2.0 */
/* Random ids and their text. */
#include "common/base/uuid.h"

#include <sys/random.h>

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

bool uuid_eq(struct uuid a, struct uuid b)
{
    return memcmp(a.b, b.b, sizeof a.b) == 0;
}

bool uuid_is_zero(struct uuid u)
{
    return uuid_eq(u, UUID_ZERO);
}

struct uuid uuid_random(void)
{
    static const struct uuid one = {{[15] = 1}};
    char text[UUID_TEXT_LEN + 1];
    struct uuid u;

    do {
        MUST(getrandom(u.b, sizeof u.b, 0) == (ssize_t)sizeof u.b);
        u.b[6] = (uint8_t)((u.b[6] & 0x0f) | 0x40); /* RFC 4122 version 4 */
        u.b[8] = (uint8_t)((u.b[8] & 0x3f) | 0x80);
        uuid_format(u, text);
    } while (uuid_is_zero(u) || uuid_eq(u, one) || text[0] == '-');
    return u;
}

void uuid_format(struct uuid u, char text_out[UUID_TEXT_LEN + 1])
{
    for (int i = 0; i < UUID_TEXT_LEN; i++) {
        int bit = i * 6;
        unsigned v = (unsigned)u.b[bit / 8] << 8;
        if (bit / 8 + 1 < 16)
            v |= u.b[bit / 8 + 1];
        text_out[i] = alphabet[(v >> (10 - bit % 8)) & 63];
    }
    text_out[UUID_TEXT_LEN] = 0;
}

bool uuid_parse(struct str text, struct uuid *out)
{
    struct uuid u = UUID_ZERO;

    *out = UUID_ZERO;
    if (text.len != UUID_TEXT_LEN)
        return false;
    for (int i = 0; i < UUID_TEXT_LEN; i++) {
        const char *at = memchr(alphabet, text.p[i], sizeof alphabet - 1);
        if (at == NULL)
            return false;
        unsigned v = (unsigned)(at - alphabet) << (10 - i * 6 % 8);
        int byte = i * 6 / 8;
        u.b[byte] = (uint8_t)(u.b[byte] | v >> 8);
        if (byte + 1 < 16)
            u.b[byte + 1] = (uint8_t)(u.b[byte + 1] | (v & 255));
    }
    *out = u;
    return true;
}
