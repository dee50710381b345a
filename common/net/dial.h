/* SPDX-License-Identifier: Apache-2.0 */
/* dial - a blocking connect to a host by name, every wait with a deadline: for command line tools.
 * Never on an event loop. */
#ifndef COMMON_NET_DIAL_H
#define COMMON_NET_DIAL_H

#include "common/base/base.h"

struct dial_progress {
    bool is_resolved; /* the name has addresses */
    int errnum;       /* why the connect failed, ETIMEDOUT also at the deadline; 0: it did not */
};

/* Tries each address of host in turn. fd_out: non-blocking, without delay of small writes, the
 * caller's to close; -1 on error. *progress is filled unless it is NULL. UNREACHABLE (no such name,
 * refused) or TIMEOUT, with text that names host and port. */
NODISCARD enum err dial(const char *host, int32_t port, int64_t timeout_ms, int *fd_out,
                        struct dial_progress *progress, struct errtext *why);
/* OK when fd is ready for events (of poll), TIMEOUT at the deadline (of clock_mono_ms). */
NODISCARD enum err dial_wait(int fd, short events, int64_t deadline_ms);

#endif
