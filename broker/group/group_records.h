/* SPDX-License-Identifier: Apache-2.0 */
/* group_records - the records of __consumer_offsets: what the coordinator writes (offset key 1,
 * value 3, or 1 with an expire timestamp; group key 2, value 3) and what it reads (all versions).
 * Kafka's own bytes: common/protocol/record.kmsg. Pure; any thread. */
#ifndef BROKER_GROUP_GROUP_RECORDS_H
#define BROKER_GROUP_GROUP_RECORDS_H

#include "broker/group/group_core.h"
#include "common/base/base.h"
#include "common/base/mem.h"

/* Appends the encoding to out. */
void group_records_offset_key(struct buf *out, struct str group, struct str topic,
                              int32_t partition);
void group_records_offset_value(struct buf *out, const struct group_offset *o);
void group_records_group_key(struct buf *out, struct str group);
/* g: as it is to be loaded; strings at most 32767 bytes long (the caller's invariant). */
void group_records_group_value(struct buf *out, const struct group_load_group *g);

enum group_record_kind {
    GROUP_RECORD_OFFSET,
    GROUP_RECORD_GROUP,
    GROUP_RECORD_OTHER /* a key version of newer group types: to be skipped with a warning */
};
/* Decodes one record into the event that loads it (kind LOAD_OFFSET or LOAD_GROUP; batch_offset and
 * producer_id are the caller's to set). value.p NULL: a tombstone. What the event points to lies in
 * key, value and arena. CORRUPT with text: to be skipped with a warning too; PROTOCOL: an unknown
 * value version. */
NODISCARD enum err group_records_decode(struct bytes key, struct bytes value, struct arena *arena,
                                        enum group_record_kind *kind_out,
                                        struct group_event *ev_out, struct errtext *why);

/* Visits the topics that the metadata of a consumer protocol member names
 * (ConsumerProtocolSubscription, read as its version 0 prefix). False: the metadata cannot be read
 * (then some may have been visited), and must be taken to name every topic. KAFKA: GroupMetadata.
 */
NODISCARD bool group_records_each_topic(struct bytes metadata,
                                        void (*visit)(void *arg, struct str topic), void *arg);

#endif
