/* SPDX-License-Identifier: Apache-2.0 */
/* fetch_session - what a fetch reads: a list of partitions with the client's position in each, for
 * one request or kept as an incremental session (KIP-227), and the cache of those sessions.
 *
 * A fetch list belongs to one loop and is touched by nobody else: a session is found only by
 * requests of the loop that made it (elsewhere the client hears FETCH_SESSION_ID_NOT_FOUND and
 * begins a new one). The cache's table is shared by all loops under one lock; who takes a session
 * out of it on another loop sends its owner a mail. */
#ifndef BROKER_API_FETCH_SESSION_H
#define BROKER_API_FETCH_SESSION_H

#include "broker/replica/partition.h"
#include "broker/replica/watch.h"
#include "common/base/base.h"
#include "common/base/uuid.h"
#include "common/net/loop.h"

struct fetch_session_cache;
struct kp_FetchRequest;

enum {
    FETCH_SESSION_NONE = 0,
    FETCH_EPOCH_INITIAL = 0,
    FETCH_EPOCH_FINAL = -1,
    FETCH_SESSION_PARTS_MAX = 1 << 18, /* partitions of one session; more: no session */
    FETCH_CACHE_PARTS_MAX = 1 << 20    /* of all sessions together */
};

struct fetch_topic { /* a topic named by the client, shared by its partitions */
    struct str name; /* null when the client uses ids; owned by the list */
    struct uuid id;  /* zero when it uses names */
    uint32_t hash;
    int32_t parts; /* that refer to it */
    LIST_ENTRY(fetch_topic) link;
};

struct fetch_part { /* one partition of the list */
    struct fetch_topic *topic;
    int32_t index;
    int32_t current_leader_epoch, last_fetched_epoch, max_bytes;
    int64_t fetch_offset, follower_start;
    int64_t sent_hw, sent_start;  /* last told to the client; -1: tell anew */
    struct partition_watch watch; /* watch.partition NULL: not watched */
    bool is_dirty;                /* has or may have something to tell: in the dirty list */
    bool is_recorded;             /* its position was recorded since the last news of it */
    TAILQ_ENTRY(fetch_part) all, dirty;
    LIST_ENTRY(fetch_part) bucket;
};
TAILQ_HEAD(fetch_parts, fetch_part);
LIST_HEAD(fetch_part_bucket, fetch_part);
LIST_HEAD(fetch_topic_bucket, fetch_topic);

struct fetch_list {
    struct fetch_parts all;   /* in the order in which the client named them */
    struct fetch_parts dirty; /* in the order in which they are to be read */
    int32_t count, dirty_count;
    bool uses_ids, is_follower;
    struct watch_list *news; /* made by the first watch */
    struct loop *loop;
    void (*on_news)(void *arg); /* watch_list's */
    void *arg;
    struct fetch_part_bucket *buckets; /* by topic and index */
    struct fetch_topic_bucket *topic_buckets;
    uint32_t bucket_count, topic_bucket_count, topic_count;
};

void fetch_list_init(struct fetch_list *l, struct loop *loop, bool uses_ids, bool is_follower,
                     void (*on_news)(void *arg), void *arg);
void fetch_list_fini(struct fetch_list *l);
/* Asserts every invariant: looks at all partitions. For tests. */
void fetch_list_check(const struct fetch_list *l);
/* The request's partitions: added, or changed if they are there, and marked dirty at the end of the
 * reading order; then its forgotten ones are taken out. LIMIT: more than FETCH_SESSION_PARTS_MAX.
 */
NODISCARD enum err fetch_list_apply(struct fetch_list *l, const struct kp_FetchRequest *req,
                                    int32_t parts_max);
struct fetch_part *fetch_list_find(struct fetch_list *l, struct str topic, struct uuid id,
                                   int32_t index);
/* Marks dirty, at the end; or moves to the end. */
void fetch_part_touch(struct fetch_list *l, struct fetch_part *p);
void fetch_part_settle(struct fetch_list *l, struct fetch_part *p); /* no longer dirty */
/* News become dirty. */
void fetch_list_collect(struct fetch_list *l);
void fetch_part_watch(struct fetch_list *l, struct fetch_part *p, struct partition *partition);
void fetch_part_unwatch(struct fetch_part *p);

/* ---- sessions */

struct fetch_session {
    unsigned magic;
    int32_t id;
    int32_t next_epoch; /* expected of the next incremental request */
    struct fetch_list list;
    void *waiting; /* the fetch that is using it; owner: the loop */
    /* guarded by the cache's lock */
    int64_t created_ms, used_ms;
    int32_t size; /* partitions when last used */
    bool is_follower, is_cached;
    bool is_mailed; /* taken out of the table elsewhere: the mail is on its way */
    LIST_ENTRY(fetch_session) bucket;
    TAILQ_ENTRY(fetch_session) used; /* least recently used first */
    struct mail mail;                /* evicted elsewhere: tells the owner */
};

/* 0, 1, ... 2^31-1, 1, ... */
int32_t fetch_epoch_after(int32_t epoch);

struct fetch_session_cache *fetch_session_cache_new(int32_t slots, int64_t eviction_ms);
void fetch_session_cache_free(struct fetch_session_cache **c); /* empty: see _close_all */

/* A new session with its list inited and epoch 1 expected next, or NULL when there is no slot and
 * no session may be evicted for it: unused for longer than eviction_ms, or a consumer's when a
 * follower asks, or older than that and smaller. size: partitions it will begin with. */
struct fetch_session *fetch_session_open(struct fetch_session_cache *c, struct loop *loop,
                                         bool uses_ids, bool is_follower, int32_t size,
                                         int64_t now_ms, void (*on_news)(void *arg));
/* The session for an incremental request: KE_NONE with it marked as used and the epoch advanced, or
 * FETCH_SESSION_ID_NOT_FOUND, INVALID_FETCH_SESSION_EPOCH, FETCH_SESSION_TOPIC_ID_ERROR. */
NODISCARD int16_t fetch_session_use(struct fetch_session_cache *c, struct loop *loop, int32_t id,
                                    int32_t epoch, bool uses_ids, int64_t now_ms,
                                    struct fetch_session **out);
/* After a use, on the owner: notes the size; frees the session when it was closed meanwhile. */
void fetch_session_done(struct fetch_session_cache *c, struct fetch_session *s);
/* Any loop: closes the session with that id if there is one. Session 0 is none. */
void fetch_session_close(struct fetch_session_cache *c, struct loop *loop, int32_t id);
/* At the end, when the loops no longer run. */
void fetch_session_close_all(struct fetch_session_cache *c);
int32_t fetch_session_count(struct fetch_session_cache *c); /* for metrics */

#endif
