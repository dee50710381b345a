/* SPDX-License-Identifier: Apache-2.0 */
/* fetch_set - the partitions that one fetcher asks one leader for, and its incremental fetch
 * session (KIP-227, the client's side): which of them have to be named in the next request, which
 * have to be forgotten, and which answers still fit. No I/O, no clock; owner: the fetcher's loop.
 *
 * Two requests may be on their way. An answer to request n is used for a partition only if the
 * leader knew its present position when it answered: it was last named in n or before and its
 * position has not moved since. */
#ifndef BROKER_REPLICA_FETCH_SET_H
#define BROKER_REPLICA_FETCH_SET_H

#include "common/base/base.h"
#include "common/base/uuid.h"
#include "common/protocol/messages.h"

struct partition;

enum fetch_state {
    FETCH_WANTED,  /* to be named in the next request */
    FETCH_LISTED,  /* the leader has its position */
    FETCH_DELAYED, /* until delay_until_ms; not in the session */
    FETCH_PAUSED,  /* until somebody says where to go on; not in the session */
    FETCH_GONE     /* only waits to be forgotten by the leader */
};
enum { FETCH_STATES = FETCH_GONE + 1 };

struct fetch_entry {
    struct partition *partition; /* the owner's reference; NULL when GONE */
    struct str topic;            /* owned */
    struct uuid topic_id;        /* zero: none */
    int32_t index;
    int32_t leader_epoch, last_epoch;
    int64_t offset, start_offset;
    enum fetch_state state;
    bool in_session;     /* the leader would answer for it */
    uint32_t listed_seq; /* request that named it last, or the next one after it was added */
    int64_t delay_until_ms;
    int32_t delay_ms;              /* of the last delay; doubles */
    TAILQ_ENTRY(fetch_entry) link; /* the list of its state */
    struct fetch_entry *next_by_name, *next_by_id;
};
TAILQ_HEAD(fetch_entry_list, fetch_entry);

struct fetch_set {
    struct fetch_entry_list lists[FETCH_STATES];
    int32_t counts[FETCH_STATES];
    struct fetch_entry **by_name, **by_id; /* by topic and index; by topic id and index */
    size_t bucket_count, entry_count;
    int32_t without_id;                /* entries that have no topic id: Fetch v12 then */
    int32_t session_id, session_epoch; /* epoch 0: the next request is a full one */
    bool session_has_ids;
    uint32_t seq; /* of the last request */
};

void fetch_set_init(struct fetch_set *s);
/* Gives each partition back by release(arg, partition). */
void fetch_set_fini(struct fetch_set *s, void (*release)(void *arg, struct partition *p),
                    void *arg);

struct fetch_entry *fetch_set_find(const struct fetch_set *s, struct str topic, int32_t index);
/* v13+: topics are known by id. */
struct fetch_entry *fetch_set_find_by_id(const struct fetch_set *s, struct uuid topic_id,
                                         int32_t index);
/* Adds, or revives one that is GONE: then partition is NULL or the old one, which the caller
 * replaces. The entry is WANTED; position fields are the caller's to set. */
struct fetch_entry *fetch_set_add(struct fetch_set *s, struct str topic, struct uuid topic_id,
                                  int32_t index);
/* The entry may be freed; take its partition out before. */
void fetch_set_remove(struct fetch_set *s, struct fetch_entry *e);
/* WANTED, DELAYED or PAUSED. */
void fetch_set_move(struct fetch_set *s, struct fetch_entry *e, enum fetch_state to);

/* Partitions that are there and not GONE. */
int32_t fetch_set_count(const struct fetch_set *s);
/* Is there anything to fetch? */
bool fetch_set_has_work(const struct fetch_set *s);
/* Fills session fields, topics and forgotten topics of a request, in the arena, and returns the
 * version to use, 17 or 12. Everything WANTED is LISTED then. strings point into the entries:
 * encode before anything is removed; then fetch_set_sent frees those that were forgotten.
 * NULL-free: arena without limit. seq_out: to be given with the answer. */
int16_t fetch_set_request(struct fetch_set *s, struct arena *a, int32_t partition_max_bytes,
                          struct kp_FetchRequest *req, uint32_t *seq_out);
void fetch_set_sent(struct fetch_set *s);

/* The session part of an answer. False: it carries no partitions to look at (session error). */
bool fetch_set_answer(struct fetch_set *s, uint32_t seq, bool was_full, int16_t error,
                      int32_t session_id);
/* Does an answer to seq speak of e's present position? */
bool fetch_entry_fits(const struct fetch_entry *e, uint32_t seq);
/* If not: are at least the leader's HW and start in it good? They are when e has moved on by
 * records of this leader epoch. Not when it was added anew: before its position is confirmed in the
 * new epoch its records may not be the leader's, and HW must not expose them (KAFKA-14704). */
bool fetch_entry_offsets_fit(const struct fetch_entry *e, uint32_t seq);
/* The connection is gone: everything has to be named again, in a new session. */
void fetch_set_disconnected(struct fetch_set *s);

#endif
