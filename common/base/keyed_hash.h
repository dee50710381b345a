/* SPDX-License-Identifier: Apache-2.0 */
/* keyed_hash - SipHash (Aumasson, Bernstein) with a secret: whoever chooses the keys of a table,
 * as clients do with their groups, members and topics, cannot choose where they collide. */
#ifndef COMMON_BASE_KEYED_HASH_H
#define COMMON_BASE_KEYED_HASH_H

#include "common/base/base.h"

/* SipHash-1-3 with the secret of this process, for tables in memory. The result differs from run to
 * run: it is never stored or sent, and no order that anybody sees comes from it. Any thread. */
uint64_t keyed_hash(const void *p, size_t n);
/* The same of the bytes and a number: a topic and its partition. */
uint64_t keyed_hash_with(const void *p, size_t n, uint64_t more);

/* SipHash-2-4 with a secret of the caller's: 64 and 128 bits of result. */
uint64_t siphash64(const uint64_t secret[2], const uint8_t *p, size_t n);
void siphash128(const uint64_t secret[2], const uint8_t *p, size_t n, uint64_t out[2]);

#endif
