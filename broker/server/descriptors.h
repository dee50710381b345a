/* SPDX-License-Identifier: Apache-2.0 */
/* descriptors - how many file descriptors the process may have, and how they are shared between
 * segment files, connections and everything else (loops, locks, ZooKeeper, other brokers), so that
 * neither connections nor files take what the others need. */
#ifndef BROKER_SERVER_DESCRIPTORS_H
#define BROKER_SERVER_DESCRIPTORS_H

#include "common/base/base.h"

struct descriptors {
    int64_t limit;       /* of the process */
    int64_t files;       /* segment files that are kept open */
    int64_t connections; /* of clients and other brokers to this one */
};

/* Raises the soft limit on open files to the hard one. Returns the limit that holds now. */
int64_t descriptors_raise_limit(void);
/* Shares limit out. files_max: kafuka.open.files.max. */
struct descriptors descriptors_share(int64_t limit, int64_t files_max);

#endif
