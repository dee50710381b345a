/* SPDX-License-Identifier: Apache-2.0 */
/* partition - one replica on this broker: its log, its place in the cluster (repl_core), and who
 * waits for it.
 *
 * Counted; any thread. Each function takes the partition's lock itself. Protocol errors are int16_t
 * KE_* codes. While the partition changes its role or is truncated (work that may block, on an io
 * thread, without the lock) it answers NOT_LEADER_OR_FOLLOWER. */
#ifndef BROKER_REPLICA_PARTITION_H
#define BROKER_REPLICA_PARTITION_H

#include "broker/log/log.h"
#include "common/base/base.h"
#include "common/net/loop.h"

struct partition;
struct replicas; /* the table of this broker's partitions; replicas.h */

/* NULL when this broker has no such replica. Adds a reference. Does not take a lock that an append
 * holds. */
struct partition *replicas_find(struct replicas *r, struct str topic, int32_t partition);
struct partition *partition_ref(struct partition *p);
void partition_unref(struct partition **p);
/* Writes the partition whose lock this thread holds to fd, one line; a dumper
 * (common/base/check.h). */
void partition_dump(int fd, void *arg); /* NULL-safe */
struct str partition_topic(const struct partition *p);
int32_t partition_index(const struct partition *p);

/* ---- produce */
struct partition_append {
    uint8_t *records; /* writable, patched in place */
    size_t len;
    int16_t acks; /* 0, 1, -1, or n > 1: that many replicas (the historic meaning) */
    int16_t produce_version;
    enum log_append_origin origin;
    int64_t now_ms; /* wall clock, for timestamps */
};
/* KE_NONE: appended; watchers are woken. Else nothing was. NOT_LEADER, NOT_ENOUGH_REPLICAS, and
 * what log_append_leader says. */
NODISCARD int16_t partition_append(struct partition *p, const struct partition_append *a,
                                   struct log_append_result *out);

/* The two halves of partition_append, for batches whose validation decompresses: partition_policy
 * and log_needs_decompression on the loop, log_validate on an io thread, partition_append_validated
 * on the loop again. The batch stays the caller's. False: there is no log here. */
NODISCARD bool partition_policy(struct partition *p, struct log_policy *out);
NODISCARD int16_t partition_append_validated(struct partition *p, struct log_batch *batch,
                                             int16_t acks, int64_t now_ms,
                                             struct log_append_result *out);

/* A wait for replication. Embedded in the caller's request state; woken at most once, on its loop.
 */
struct partition_wait {
    struct partition *partition; /* the wait's own reference while it is in the list */
    int64_t required_offset;     /* last appended offset + 1 */
    int32_t leader_epoch;        /* log_append_result.leader_epoch: in which it was appended */
    int16_t acks;                /* -1 or n > 1 */
    int16_t result;              /* when woken: KE_NONE, NOT_ENOUGH_REPLICAS_AFTER_APPEND,
                                    NOT_LEADER_OR_FOLLOWER, ... */
    struct loop *loop;
    void (*woken)(struct partition_wait *w); /* on loop */
    struct mail mail;
    TAILQ_ENTRY(partition_wait) link;
    struct partition_wait *next_woken; /* one mail for all of a loop */
    bool is_waiting;                   /* guarded by the partition's lock */
};
/* True: it waits. False: already decided, see result; woken is not called. */
NODISCARD bool partition_wait_start(struct partition *p, struct partition_wait *w);
/* On the wait's loop, before woken was called. True: it is out of the list and woken will not be
 * called. False: woken is on its way by mail. */
NODISCARD bool partition_wait_cancel(struct partition_wait *w);

/* ---- fetch */
enum { REPLICA_CONSUMER = -1, REPLICA_DEBUG = -2 };
struct partition_read {
    int32_t replica_id;    /* follower >= 0, or REPLICA_CONSUMER, REPLICA_DEBUG */
    int64_t replica_epoch; /* broker epoch, -1 */
    int64_t fetch_offset;
    int64_t follower_start_offset;
    int32_t current_leader_epoch; /* -1: not checked */
    int32_t last_fetched_epoch;   /* -1: none */
    int64_t max_bytes;            /* <= 0: no records, only the state */
    bool at_least_one;            /* the first batch whole */
    bool read_committed;
    bool leader_required;
    bool update_follower; /* the first look at a follower's fetch: record its offset
                             (docs/reference/replication.md, "Leader side") */
    struct uuid topic_id; /* zero: not checked */
    int64_t now_ms;       /* monotonic: loop_now_ms */
};
struct partition_aborted {
    int64_t producer_id, first_offset;
};
struct partition_read_result {
    int16_t error;
    int64_t high_watermark, last_stable_offset, log_start_offset, log_end_offset;
    int32_t diverging_epoch; /* -1: none */
    int64_t diverging_end_offset;
    int32_t leader_id, leader_epoch; /* for errors that tell the current leader */
    struct log_range range;          /* the caller's to release or send */
    int64_t bytes_available;         /* up to the limit, for min_bytes */
    bool is_older_segment; /* the fetch offset lies in an older segment than the limit: answer at
                              once */
    int16_t preferred_replica;      /* -1 */
    int8_t compression_type;        /* the topic's: -1 the producer's, else a codec */
    bool is_downconversion_enabled; /* the topic's message.downconversion.enable */
    struct partition_aborted
        *aborted; /* read_committed: allocated, the caller frees with mem_free */
    int32_t aborted_count;
};
void partition_read(struct partition *p, const struct partition_read *in,
                    struct partition_read_result *out);

/* For this broker's own use of a topic (a coordinator that loads its state): whole batches, their
 * CRCs checked, from the one that holds offset on up to the log's end, committed or not. Blocks: an
 * io thread. The first batch may begin below offset; offsets that were compacted or deleted are
 * skipped. out is reset first, about max_bytes, one batch at least. next_offset_out: where to go
 * on; out empty and KE_NONE: this was the log's end, and it is next_offset_out. Errors as
 * partition_read's for that leader epoch (-1: any): NOT_LEADER_OR_FOLLOWER and FENCED_LEADER_EPOCH
 * when leadership has gone, OFFSET_OUT_OF_RANGE beyond the end, CORRUPT_MESSAGE,
 * KAFKA_STORAGE_ERROR. */
NODISCARD int16_t partition_read_log(struct partition *p, int32_t leader_epoch, int64_t offset,
                                     int64_t max_bytes, struct buf *out, int64_t *next_offset_out);

/* News of a partition for one fetch context (a session or a single request). When the limit that
 * matters for it moves (LEO for followers, HW or LSO for consumers), or leadership changes, the
 * watch goes on its context's ready list, once until it is taken from there. Embedded in the fetch
 * context's partition. */
enum partition_watch_kind { WATCH_LEO, WATCH_HW };
struct watch_list; /* ready list of one context, with a lock of its own and the loop to tell;
                      broker/replica/watch.h */
struct partition_watch {
    struct partition *partition; /* reference while registered */
    struct watch_list *list;
    enum partition_watch_kind kind;
    LIST_ENTRY(partition_watch) link; /* the partition's watches; guarded by the partition's lock */
    TAILQ_ENTRY(partition_watch) ready; /* the context's ready list; guarded by the list's lock */
    bool is_ready;
    bool is_quiet; /* ready, but the loop was not told */
};
/* w->list and w->kind are set by the caller, the rest zero. Takes its own reference to p. Starts
 * not ready: add first, then look (partition_read), so that nothing is missed in between. */
void partition_watch_add(struct partition *p, struct partition_watch *w);
/* On the list's loop. Also from the ready list; gives the reference back. */
void partition_watch_remove(struct partition_watch *w);

/* ---- others */
NODISCARD int16_t partition_list_offset(struct partition *p, int64_t timestamp, bool read_committed,
                                        int32_t replica_id, int32_t current_leader_epoch,
                                        bool leader_required, struct log_time_offset *out);
/* ListOffsets 0: at most max of the log's marks (log.h), newest first, from the newest one on that
 * was not written to after timestamp; -1: from the end, -2: the oldest. Consumers see the high
 * watermark for what lies beyond. Allocated, NULL when there are none. Blocks for a timestamp >= 0.
 */
NODISCARD int16_t partition_list_marks(struct partition *p, int64_t timestamp, int32_t max,
                                       int32_t replica_id, int64_t now_ms, int64_t **offsets_out,
                                       int32_t *count_out);
NODISCARD int16_t partition_epoch_end(struct partition *p, int32_t current_leader_epoch,
                                      int32_t epoch, int32_t *epoch_out, int64_t *end_out);
/* The producers that the leader's log remembers. Allocated, NULL when there are none. */
NODISCARD int16_t partition_producers(struct partition *p, struct log_producer **out,
                                      int32_t *count_out);
/* DeleteRecords on the leader: offset -1 is the HW. low_watermark_out: the smallest start offset of
 * the live replicas. Repeat it to see the low watermark rise. May block: an io thread. */
NODISCARD int16_t partition_delete_records(struct partition *p, int64_t offset,
                                           int64_t *low_watermark_out);
struct partition_info {
    int32_t leader_id, leader_epoch, partition_epoch;
    int32_t led_since_epoch; /* leader: without a break since this leader epoch */
    int64_t log_start_offset, log_end_offset, high_watermark, size_bytes;
    int32_t isr[64];
    int32_t isr_count;
    bool is_leader, is_offline;
    const char *log_dir;
};
void partition_describe(struct partition *p, struct partition_info *out);

#endif
