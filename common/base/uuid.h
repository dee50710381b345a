/* SPDX-License-Identifier: Apache-2.0 */
/* uuid - topic ids and cluster ids: 16 random bytes, shown as 22 characters of URL-safe base64. Any
 * thread. */
#ifndef COMMON_BASE_UUID_H
#define COMMON_BASE_UUID_H

#include "common/base/base.h"

enum { UUID_TEXT_LEN = 22 };

struct uuid {
    uint8_t b[16];
};
#define UUID_ZERO ((struct uuid){{0}})

/* A new random id: never zero or one, never with text that starts with '-'. Source: Uuid.java. */
struct uuid uuid_random(void);
bool uuid_eq(struct uuid a, struct uuid b);
bool uuid_is_zero(struct uuid u);
/* text_out gets 22 characters and a terminator. */
void uuid_format(struct uuid u, char text_out[UUID_TEXT_LEN + 1]);
/* False when text is not 22 characters of the alphabet. */
NODISCARD bool uuid_parse(struct str text, struct uuid *out);

#endif
