/* SPDX-License-Identifier: Apache-2.0 */
/* metadata_cache - which metadata snapshot is current: one reference for each loop, exchanged by
 * mail, and one for other threads. Also who waits for a change (topic creation, deletion,
 * election).
 */
#ifndef BROKER_CLUSTER_METADATA_CACHE_H
#define BROKER_CLUSTER_METADATA_CACHE_H

#include "broker/cluster/metadata.h"
#include "common/base/mailbox.h"
#include "common/net/loop.h"

struct metadata_cache;
struct kp_UpdateMetadataRequest;

/* Before requests come: every loop begins with an empty snapshot. loops: borrowed, they outlive the
 * cache. */
struct metadata_cache *metadata_cache_new(struct loop *const *loops, int loop_count);
/* After the loops have ended; nobody waits any more. Nulls the pointer. */
void metadata_cache_free(struct metadata_cache **c);

/* The snapshot of the calling thread's loop. Borrowed for this turn of the loop; who keeps it
 * longer takes a reference. */
struct metadata *metadata_cache_on(struct metadata_cache *c, const struct loop *l);
/* The newest snapshot that every loop has switched to, as this loop knows it: what it shows is
 * found by any request on any loop. Borrowed for this turn, too. */
struct metadata *metadata_cache_settled(struct metadata_cache *c, const struct loop *l);
/* Any thread: the newest snapshot, with a reference. */
struct metadata *metadata_cache_latest(struct metadata_cache *c);

/* Applies the request to the newest snapshot and hands the result to every loop. switched(arg) runs
 * on loop `to` when all have it; not called when an error is returned (INVALID with text). Any
 * thread. */
NODISCARD enum err metadata_cache_update(struct metadata_cache *c,
                                         const struct kp_UpdateMetadataRequest *req,
                                         struct loop *to, void (*switched)(void *arg), void *arg,
                                         struct errtext *why);

/* Was the topic deleted less than ms ago, as this broker heard? Remembers the last few hundred. Any
 * thread. */
bool metadata_cache_deleted_within(struct metadata_cache *c, struct str topic, int64_t ms);

/* Told after each update that every loop has switched to. Embedded; loop thread only. changed may
 * remove any wait. */
struct metadata_wait {
    void (*changed)(struct metadata_wait *w, const struct metadata *now);
    LIST_ENTRY(metadata_wait) link;
    bool is_waiting;
};
void metadata_wait_add(struct metadata_cache *c, struct loop *l, struct metadata_wait *w);
void metadata_wait_remove(struct metadata_cache *c, struct loop *l, struct metadata_wait *w);

#endif
