/* SPDX-License-Identifier: Apache-2.0 */
/* producer_state - what a log remembers of idempotent and transactional producers: the last batches
 * (to see duplicates and gaps), open transactions (for the last stable offset), and its snapshots.
 * In memory only; the log reads and writes the files. Guarded by the partition's lock. A NULL state
 * is an empty one, so that a log without such producers has none. KAFKA: ProducerStateManager. */
#ifndef BROKER_LOG_PRODUCER_STATE_H
#define BROKER_LOG_PRODUCER_STATE_H

#include "broker/log/log.h"
#include "common/base/base.h"

enum { PRODUCER_BATCHES_KEPT = 5 };

struct producer_batch {
    int64_t last_offset, timestamp_ms;
    int32_t last_sequence, offset_delta;
};
struct producer_state;

/* A transaction that ended: its marker is at last_offset. */
struct txn_completed {
    int64_t producer_id, first_offset, last_offset;
    bool is_aborted;
};

/* The checks of a client's batch (docs/reference/transactions.md, "Sequences and epochs"). KE_NONE
 * to append; is_duplicate with the batch as it was then; or INVALID_PRODUCER_EPOCH,
 * OUT_OF_ORDER_SEQUENCE_NUMBER, INVALID_TXN_STATE, TRANSACTION_COORDINATOR_FENCED (markers). Only
 * for batches with an id. */
struct producer_claim {
    int64_t producer_id;
    int32_t base_sequence, last_offset_delta;
    int32_t coordinator_epoch; /* of a marker */
    int16_t producer_epoch;
    bool is_transactional, is_control;
    enum log_append_origin origin;
};
NODISCARD int16_t producer_state_check(const struct producer_state *s,
                                       const struct producer_claim *c, bool *is_duplicate_out,
                                       struct producer_batch *duplicate_out);

/* Takes note of a whole batch at its final offsets (leader's, follower's, or in recovery), without
 * checks. True: it was a marker that ended an open transaction, told in completed_out. */
bool producer_state_update(struct producer_state **s, const uint8_t *batch,
                           struct txn_completed *completed_out);

/* First offset of the oldest transaction that is open or ended with a marker at or above hw; -1. */
int64_t producer_state_first_unstable(const struct producer_state *s);
/* The LSO that an abort's index entry records: first offset of the next open transaction, else the
 * marker's offset + 1. After producer_state_update. */
int64_t producer_state_lso_after(const struct producer_state *s, const struct txn_completed *c);
/* Forgets ended transactions whose marker is below hw. */
void producer_state_set_hw(struct producer_state *s, int64_t hw);
/* Drops producers without an open transaction that were silent since before_ms. */
int32_t producer_state_expire(struct producer_state **s, int64_t before_ms);
bool producer_state_is_empty(const struct producer_state *s);
void producer_state_free(struct producer_state **s);
int32_t producer_state_list(const struct producer_state *s, struct log_producer **out);

/* Snapshot file, version 1. */
void producer_state_encode(const struct producer_state *s, struct buf *out);
/* Into an empty state. CORRUPT: version, CRC or size is wrong, nothing is kept. */
NODISCARD enum err producer_state_decode(struct producer_state **s, const uint8_t *p, size_t n);

/* One entry of a snapshot, for dump tools. False past the end; *at begins at 0. */
struct producer_snapshot_entry {
    int64_t producer_id, last_offset, timestamp_ms, txn_first_offset;
    int32_t last_sequence, offset_delta, coordinator_epoch;
    int16_t epoch;
};
NODISCARD enum err producer_snapshot_check(const uint8_t *p, size_t n, int32_t *count_out);
void producer_snapshot_entry(const uint8_t *p, int32_t i, struct producer_snapshot_entry *out);

/* The end marker in a control batch: false when it holds something else or is not well formed. */
bool marker_parse(const uint8_t *batch, bool *commit_out, int32_t *coordinator_epoch_out);

#endif
