/* SPDX-License-Identifier: Apache-2.0 */
/* hash - uthash as everybody here uses it: with a keyed hash, as clients choose many of the keys,
 * and our memory functions. It lists items in the order they were added, whatever the secret is. */
#ifndef COMMON_BASE_HASH_H
#define COMMON_BASE_HASH_H

#include "common/base/keyed_hash.h"
#include "common/base/mem.h"

#define HASH_FUNCTION(key, n, hash) ((hash) = (unsigned)keyed_hash((key), (n)))
#define uthash_malloc(n)            xmalloc(n)
#define uthash_free(p, n)           mem_free(p)

#include <uthash.h>

#endif
