/* SPDX-License-Identifier: Apache-2.0 */
/* zookeeper - the ZooKeeper session of a command with --zookeeper, and what it reads there. */
#ifndef TOOLS_LIB_ZOOKEEPER_H
#define TOOLS_LIB_ZOOKEEPER_H

#include "common/zk/coord.h"
#include "common/zk/zkadmin.h"
#include "tools/lib/opt.h"
#include "tools/lib/topics.h"

/* Opens a session for a command. INVALID, UNREACHABLE (at once when no server takes a connection),
 * NOT_FOUND (the chroot: tools do not make it), with text. */
NODISCARD enum err zk_open(const char *connect, int64_t timeout_ms, struct coord **out,
                           struct errtext *why);
/* Opens the session that --zookeeper (and --timeout-ms) name: -1 to go on, else an exit status (the
 * line is printed). */
int zk_start(const struct opts *o, struct coord **out);

/* "host:port,host:port" of the registered brokers, plain listeners; the caller frees. NULL with a
 * line printed. */
char *zk_find_brokers(const struct opts *o);

/* Reads the states of all partitions of topics[0..count-1] (with their documents) at once and fills
 * partitions of *infos[i]; live: the registered brokers. */
NODISCARD int16_t zk_read_partitions(struct coord *c, struct arena *a,
                                     const struct zkadmin_topic *topics, int32_t count,
                                     const struct zkadmin_broker *live, int32_t live_count,
                                     struct topic_info *const *infos, struct errtext *why);

#endif
