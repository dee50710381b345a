/* SPDX-License-Identifier: Apache-2.0 */
/* new_topics - the names of topics that this broker knows from LeaderAndIsr but not yet from
 * UpdateMetadata. Followers fetch by topic id as soon as they have their LeaderAndIsr;
 * UpdateMetadata comes when all brokers have answered theirs, which takes a while for a topic of
 * thousands of partitions. Any thread. */
#ifndef BROKER_API_NEW_TOPICS_H
#define BROKER_API_NEW_TOPICS_H

#include "common/base/base.h"
#include "common/base/uuid.h"

struct new_topics;
struct kp_LeaderAndIsrRequest;
struct kp_UpdateMetadataRequest;

enum { NEW_TOPICS_MAX = 10000 }; /* remembered; the oldest give way */

struct new_topics *new_topics_new(void);
void new_topics_free(struct new_topics **n);
void new_topics_note(struct new_topics *n, const struct kp_LeaderAndIsrRequest *req);
void new_topics_forget(struct new_topics *n, const struct kp_UpdateMetadataRequest *req);
/* A copy of the name in the arena; null when the id is unknown (or there is no memory). */
struct str new_topics_find(struct new_topics *n, struct uuid id, struct arena *a);

#endif
