/* SPDX-License-Identifier: Apache-2.0 */
/* zk_offsets - OffsetCommit (8) and OffsetFetch (9) of version 0: offsets of old groups, kept in
 * ZooKeeper as /consumers/<group>/offsets/<topic>/<partition>, where consumers of Kafka 0.8 to 1.1
 * and their tools look for them too. Any broker answers; no coordinator takes part. */
#ifndef BROKER_API_ZK_OFFSETS_H
#define BROKER_API_ZK_OFFSETS_H

struct request;

/* Loop thread, as handlers: each takes a request of version 0 and ends it. */
void zk_offset_commit(struct request *r);
void zk_offset_fetch(struct request *r);

#endif
