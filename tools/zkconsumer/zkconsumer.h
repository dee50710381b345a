/* SPDX-License-Identifier: Apache-2.0 */
/* kafuka/zkconsumer.h - a member of a consumer group that is coordinated through ZooKeeper, as
 * Kafka 0.8 to 1.1 had it ("high-level consumer"). Members register at /consumers/<group>/ids,
 * divide the partitions of their topics among themselves, and commit offsets to ZooKeeper. Groups
 * may be shared with Kafka's own old consumer. Link with `pkg-config --cflags --libs
 * kafuka-zkconsumer`.
 *
 *     struct kafuka_zkc_conf *conf = kafuka_zkc_conf_new();
 *     kafuka_zkc_conf_set(conf, "group.id", "g1", error, sizeof error);
 *     kafuka_zkc_conf_set(conf, "zookeeper.connect", "localhost:2181", error, sizeof error);
 *     struct kafuka_zkc *c = kafuka_zkc_new(conf, error, sizeof error);
 *     kafuka_zkc_subscribe(c, "orders", 1, error, sizeof error);
 *     kafuka_zkc_start(c, error, sizeof error);
 *     struct kafuka_zkc_stream *s = kafuka_zkc_stream(c, "orders", 0);
 *     while (running && (rc = kafuka_zkc_next(s, 1000, &m)) != KAFUKA_ZKC_CLOSED)
 *         if (rc == KAFUKA_ZKC_OK) { use(&m); kafuka_zkc_message_release(&m); }
 *     kafuka_zkc_close(c);
 *
 * Every record is handed out at least once to the group. A record counts as done when its stream is
 * asked for the next one (or kafuka_zkc_done() is called, with kafuka.done.explicit=true); only
 * what is done is committed. A partition has one owner at a time: a member that cannot reach
 * ZooKeeper stops handing out records after two thirds of its session timeout, before the server
 * can give its partitions to another.
 *
 * Threads: each stream belongs to one thread at a time; different streams may be used at the same
 * time; every other function may be called from any thread, but nothing during or after
 * kafuka_zkc_close(). Error texts are one line, always terminated. No function ends the process or
 * touches signals. */
#ifndef TOOLS_ZKCONSUMER_ZKCONSUMER_H
#define TOOLS_ZKCONSUMER_ZKCONSUMER_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define KAFUKA_ZKC_API __attribute__((visibility("default")))

struct kafuka_zkc_conf;   /* properties */
struct kafuka_zkc;        /* a consumer: one member of one group */
struct kafuka_zkc_stream; /* a sequence of records; the unit of assignment */

enum kafuka_zkc_status {
    KAFUKA_ZKC_OK = 0,
    KAFUKA_ZKC_TIMEOUT = 1, /* nothing came in that time */
    KAFUKA_ZKC_CLOSED = 2,  /* the member has left or could not go on */
    KAFUKA_ZKC_ERROR = -1,  /* the text says what */
    KAFUKA_ZKC_UNKNOWN = -2 /* no such property, or one of the old consumer's that has no effect
                               here; the text says which, and the nearest name */
};

/* ---- properties: the old consumer's names (group.id, zookeeper.connect, auto.commit.enable,
 * auto.commit.interval.ms, auto.offset.reset, rebalance.max.retries, rebalance.backoff.ms,
 * zookeeper.session.timeout.ms, consumer.timeout.ms, partition.assignment.strategy, ...), kafuka.*,
 * and what librdkafka needs to reach the brokers (security.protocol, ssl.*, sasl.*, ...).
 * kafuka-zkconsumer(3) lists them. */
KAFUKA_ZKC_API struct kafuka_zkc_conf *kafuka_zkc_conf_new(void);
KAFUKA_ZKC_API void kafuka_zkc_conf_free(struct kafuka_zkc_conf *conf); /* NULL is fine */
/* OK, UNKNOWN, or ERROR: the value is not allowed, or the property cannot have an effect here. */
KAFUKA_ZKC_API enum kafuka_zkc_status kafuka_zkc_conf_set(struct kafuka_zkc_conf *conf,
                                                          const char *name, const char *value,
                                                          char *error, size_t error_size);
enum kafuka_zkc_level {
    KAFUKA_ZKC_DEBUG,
    KAFUKA_ZKC_INFO, /* joins, rebalances with their reasons, claims, releases, resets */
    KAFUKA_ZKC_WARN,
    KAFUKA_ZKC_ERROR_LEVEL
};
/* Where lines go that are at least of kafuka.log.level (default warn); without it to stderr. Called
 * by any thread, also by several at once; it must not call back into the library. */
KAFUKA_ZKC_API void kafuka_zkc_conf_set_log(struct kafuka_zkc_conf *conf,
                                            void (*log)(void *arg, enum kafuka_zkc_level level,
                                                        const char *text),
                                            void *arg);

/* ---- a consumer's life */

/* Takes conf, whatever comes of it. NULL: error says why. Reaches out to nobody yet. */
KAFUKA_ZKC_API struct kafuka_zkc *kafuka_zkc_new(struct kafuka_zkc_conf *conf, char *error,
                                                 size_t error_size);
/* What to consume, before the start: any number of topics with their numbers of streams, or one
 * filter, whose streams share all topics whose names match (white list) or do not match (black
 * list). A topic need not exist yet. */
KAFUKA_ZKC_API enum kafuka_zkc_status kafuka_zkc_subscribe(struct kafuka_zkc *c, const char *topic,
                                                           int streams, char *error,
                                                           size_t error_size);
enum kafuka_zkc_filter { KAFUKA_ZKC_WHITE_LIST, KAFUKA_ZKC_BLACK_LIST };
KAFUKA_ZKC_API enum kafuka_zkc_status kafuka_zkc_subscribe_filter(struct kafuka_zkc *c,
                                                                  enum kafuka_zkc_filter kind,
                                                                  const char *regex, int streams,
                                                                  char *error, size_t error_size);
/* Connects to ZooKeeper (at most zookeeper.connection.timeout.ms) and begins to join. */
KAFUKA_ZKC_API enum kafuka_zkc_status kafuka_zkc_start(struct kafuka_zkc *c, char *error,
                                                       size_t error_size);
/* Leaves the group: stops handing out, waits a little for records that are still in use, commits if
 * auto.commit.enable, ends the session, so that the others take over at once; frees c and its
 * streams. Messages must have been released. At most kafuka.leave.max.ms and a few seconds. NULL is
 * fine. */
KAFUKA_ZKC_API void kafuka_zkc_close(struct kafuka_zkc *c);
/* "<group>_<host>-<ms>-<random>": the name below /consumers/<group>/ids. Lives as long as c. */
KAFUKA_ZKC_API const char *kafuka_zkc_member_id(const struct kafuka_zkc *c);

/* ---- records */

struct kafuka_zkc_message {
    const char *topic;
    int32_t partition;
    int64_t offset;
    int64_t timestamp_ms; /* -1: none */
    int is_append_time;   /* the timestamp is the broker's, not the producer's */
    const void *key;      /* NULL: none */
    size_t key_size;
    const void *value; /* NULL: a tombstone */
    size_t value_size;
    void *opaque; /* the library's */
};
/* Stream i (from 0) of a topic, of a filter with topic NULL. NULL: there is none. Borrowed. */
KAFUKA_ZKC_API struct kafuka_zkc_stream *kafuka_zkc_stream(struct kafuka_zkc *c, const char *topic,
                                                           int i);
/* The next record; what was handed out before is done (unless kafuka.done.explicit). timeout_ms -1:
 * consumer.timeout.ms, which is forever by default. OK: release m. TIMEOUT: ask again if you like.
 * CLOSED: no more will come. */
KAFUKA_ZKC_API enum kafuka_zkc_status kafuka_zkc_next(struct kafuka_zkc_stream *s, int timeout_ms,
                                                      struct kafuka_zkc_message *m);
KAFUKA_ZKC_API void kafuka_zkc_message_release(struct kafuka_zkc_message *m);
/* Header i of a message: 0 when there is none. The pointers live as long as the message. */
KAFUKA_ZKC_API int kafuka_zkc_message_header(const struct kafuka_zkc_message *m, size_t i,
                                             const char **name, const void **value, size_t *size);
/* All that this stream has handed out is done. */
KAFUKA_ZKC_API void kafuka_zkc_done(struct kafuka_zkc_stream *s);
/* Commits what is done, of all streams, and waits for it. ERROR: some partitions could not be
 * committed (they may belong to another member by now). TIMEOUT: it goes on. CLOSED. */
KAFUKA_ZKC_API enum kafuka_zkc_status kafuka_zkc_commit(struct kafuka_zkc *c, int timeout_ms);

/* ---- what happened */

/* One line about a rebalance of this member: when, why, what it got; i 0 is the last one. Returns
 * its length, 0: there is none (some 30 are kept). */
KAFUKA_ZKC_API size_t kafuka_zkc_history(struct kafuka_zkc *c, int i, char *text, size_t size);

#ifdef __cplusplus
}
#endif

#endif
