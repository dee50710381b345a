/* SPDX-License-Identifier: Apache-2.0 */
/* zk - the way of the --zookeeper commands into ZooKeeper. */
#ifndef TOOLS_ZK_H
#define TOOLS_ZK_H

#include "common/zk/coord.h"
#include "tools/opt.h"

/* Opens the session that --zookeeper (and --timeout-ms) name: -1 to go on, else an exit status (the
 * line is printed). */
int zk_start(const struct opts *o, struct coord **out);

/* "host:port,host:port" of the registered brokers, plain listeners; the caller frees. NULL with a
 * line printed. */
char *zk_find_brokers(const struct opts *o);

#endif
