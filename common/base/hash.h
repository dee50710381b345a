/* SPDX-License-Identifier: Apache-2.0 */
/* hash - uthash as everybody here uses it: with the FNV hash (the default one makes clang warn of
 * fall-through) and our memory functions. */
#ifndef COMMON_BASE_HASH_H
#define COMMON_BASE_HASH_H

#include "common/base/mem.h"

#define HASH_FUNCTION     HASH_FNV
#define uthash_malloc(n)  xmalloc(n)
#define uthash_free(p, n) mem_free(p)

#include <uthash.h>

#endif
