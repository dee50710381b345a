/* SPDX-License-Identifier: Apache-2.0 */
/* The limit on open files, and its shares. */
#include "broker/server/descriptors.h"

#include <sys/resource.h>

/* What else is open: loops, log dirs' locks, the session with ZooKeeper, connections to other
 * brokers, the files that io, cleaner and recovery threads have open for a moment, the spares. */
enum { OTHERS = 128, FILES_MIN = 16, CONNECTIONS_MIN = 16 };

int64_t descriptors_raise_limit(void)
{
    struct rlimit l;

    MUST(getrlimit(RLIMIT_NOFILE, &l) == 0);
    if (l.rlim_cur < l.rlim_max) {
        rlim_t soft = l.rlim_cur;
        l.rlim_cur = l.rlim_max;
        if (setrlimit(RLIMIT_NOFILE, &l) != 0)
            l.rlim_cur = soft; /* it holds as it was */
    }
    return l.rlim_cur > INT32_MAX ? INT32_MAX : (int64_t)l.rlim_cur;
}

struct descriptors descriptors_share(int64_t limit, int64_t files_max)
{
    struct descriptors d = {.limit = limit};
    int64_t room = limit - i64_min(OTHERS, limit / 2);

    ASSERT(limit >= 0 && files_max > 0);
    d.files = i64_min(i64_max(room / 4, FILES_MIN), files_max);
    d.connections = i64_max(room - d.files, CONNECTIONS_MIN);
    return d;
}
