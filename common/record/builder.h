/* SPDX-License-Identifier: Apache-2.0 */
/* builder - makes one v2 record batch: for the coordinators' own records, recompression, tools and
 * tests. Not thread-safe; memory in proportion to the batch. */
#ifndef COMMON_RECORD_BUILDER_H
#define COMMON_RECORD_BUILDER_H

#include "common/record/batch.h"

/* What goes into the header. batch_options_init gives an ordinary batch of a producer without id.
 */
struct batch_options {
    enum codec codec;
    int level; /* CODEC_LEVEL_DEFAULT */
    int64_t base_offset, producer_id;
    int64_t log_append_time_ms; /* -1: CreateTime */
    int32_t leader_epoch, base_sequence;
    int16_t producer_epoch;
    bool is_transactional, is_control;
    bool has_delete_horizon; /* delete_horizon_ms is the base timestamp and marked as such */
    int64_t delete_horizon_ms;
};
void batch_options_init(struct batch_options *o);

struct batch_header { /* name: never null */
    struct bytes name, value;
};
struct batch_builder {
    struct buf records;
    struct batch_options options;
    int64_t base_timestamp_ms, max_timestamp_ms;
    int32_t count, last_offset_delta;
};
void batch_builder_init(struct batch_builder *b, const struct batch_options *o);
/* Appends a record at the next offset; key, value: bytes.len -1 for null. */
void batch_builder_add(struct batch_builder *b, int64_t timestamp_ms, struct bytes key,
                       struct bytes value, const struct batch_header *headers, int32_t count);
/* The same at a given offset: above that of the record before; for gaps. */
void batch_builder_add_at(struct batch_builder *b, int64_t offset, int64_t timestamp_ms,
                          struct bytes key, struct bytes value, const struct batch_header *headers,
                          int32_t count);
/* Copies a record of another batch to the next offset, with its headers. */
void batch_builder_add_record(struct batch_builder *b, const struct record *r);
/* The same, but the record keeps its own offset, above that of the record before: for compaction. */
void batch_builder_keep_record(struct batch_builder *b, const struct record *r);
/* The batch ends at that offset, at or above its last record's: for compaction. Before finish. */
void batch_builder_end_at(struct batch_builder *b, int64_t last_offset);
/* Appends the finished batch to out; the builder is empty again. Without a record: a batch of none,
 * which no producer may send. */
NODISCARD enum err batch_builder_finish(struct batch_builder *b, struct buf *out);
void batch_builder_fini(struct batch_builder *b);

/* A transaction's end marker as one control batch. o: producer, epoch, offset, leader epoch. */
void batch_build_marker(const struct batch_options *o, bool commit, int32_t coordinator_epoch,
                        int64_t timestamp_ms, struct buf *out);

#endif
