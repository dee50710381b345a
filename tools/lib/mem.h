/* SPDX-License-Identifier: Apache-2.0 */
/* mem - memory as commands take it: arenas without a limit, which never fail. */
#ifndef TOOLS_LIB_MEM_H
#define TOOLS_LIB_MEM_H

#include "common/base/base.h"

/* An array in an arena that has no limit; never NULL, zeroed. */
static inline void *tool_alloc(struct arena *a, size_t count, size_t size)
{
    void *p = arena_alloc(a, size_max(count, 1) * size);

    ASSERT(p != NULL);
    return p;
}

/* For C libraries that take what they only read as not const. */
static inline void *tool_unconst(const void *p)
{
    union {
        const void *in;
        void *out;
    } u = {p};

    return u.out;
}

#endif
