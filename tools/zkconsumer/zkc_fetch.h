/* SPDX-License-Identifier: Apache-2.0 */
/* zkc_fetch - the records of the partitions that this member owns, through librdkafka (single
 * partitions, no broker groups), in one queue a stream. Here, and only here, a record is handed
 * out: under the lock, if its partition is started and not stopping, and the lease lasts.
 *
 * Owner: the shell's thread, but for zkc_fetch_next and _done: those are of the threads that use
 * the streams. */
#ifndef TOOLS_ZKCONSUMER_ZKC_FETCH_H
#define TOOLS_ZKCONSUMER_ZKC_FETCH_H

#include "common/base/base.h"

#include <librdkafka/rdkafka.h>
#include <stdatomic.h>

struct zkc_fetch;
struct zkc_stream;

struct zkc_fetch_options {
    rd_kafka_conf_t *conf; /* taken */
    bool from_smallest;    /* auto.offset.reset */
    bool done_explicit;
    int64_t drain_max_ms;
    int64_t next_max_ms; /* consumer.timeout.ms; -1: none */
    /* Any thread: zkc_fetch_collect has something to give. */
    void (*wake)(void *arg);
    /* Any thread: something to tell. */
    void (*tell)(void *arg, bool is_error, const char *text);
    void *arg;
};
/* INVALID with text. */
NODISCARD enum err zkc_fetch_new(const struct zkc_fetch_options *o, struct zkc_fetch **out,
                                 struct errtext *why);
void zkc_fetch_free(struct zkc_fetch **f); /* nobody uses its streams any more */
/* Before the first start. Borrowed. */
struct zkc_stream *zkc_fetch_add_stream(struct zkc_fetch *f);

/* A broker's address, "host:port"; known ones may come again. */
void zkc_fetch_add_broker(struct zkc_fetch *f, const char *address);
/* Callbacks of librdkafka. True: no broker can be reached: look for their addresses. */
bool zkc_fetch_poll(struct zkc_fetch *f);
void zkc_fetch_set_lease(struct zkc_fetch *f, int64_t lease_ms);

/* From here on records of the partition are handed out on s. seq names this start. A start of what
 * is started (after OUT_OF_RANGE) moves it to offset. */
void zkc_fetch_start(struct zkc_fetch *f, const char *topic, int32_t partition,
                     struct zkc_stream *s, int64_t offset, uint32_t seq);
/* Nothing more is handed out. When what was handed out is done, or after drain_max_ms,
 * zkc_fetch_collect gives STOPPED with seq. */
void zkc_fetch_stop(struct zkc_fetch *f, const char *topic, int32_t partition, uint32_t seq,
                    int64_t now_ms);
/* As zkc_fetch_stop, but at once and without a result to collect. */
void zkc_fetch_drop(struct zkc_fetch *f, const char *topic, int32_t partition);
/* The offset after the last record that is done; -1: not started. */
int64_t zkc_fetch_position(struct zkc_fetch *f, const char *topic, int32_t partition);
/* Asks the leader for the first offset of the partition, or for the end (from_smallest decides).
 * zkc_fetch_collect gives the answer later, as RESOLVED with seq. */
void zkc_fetch_resolve(struct zkc_fetch *f, const char *topic, int32_t partition, uint32_t seq);

enum zkc_fetched { ZKC_FETCHED_STOPPED, ZKC_FETCHED_OUT_OF_RANGE, ZKC_FETCHED_RESOLVED };
struct zkc_fetch_result {
    enum zkc_fetched kind;
    char topic[256];
    int32_t partition;
    uint32_t seq;
    int64_t offset; /* RESOLVED: -1: could not be asked */
};
/* One after the other; false: none is left. */
bool zkc_fetch_collect(struct zkc_fetch *f, int64_t now_ms, struct zkc_fetch_result *out);
/* When zkc_fetch_collect has something without being woken; INT64_MAX. */
int64_t zkc_fetch_deadline_ms(struct zkc_fetch *f);

/* The streams' threads. A record, to be destroyed by the caller; NULL after timeout_ms (-1:
 * next_max_ms), or when closed. */
rd_kafka_message_t *zkc_fetch_next(struct zkc_stream *s, int64_t timeout_ms);
void zkc_fetch_done(struct zkc_stream *s);
/* Records wait in the stream, taken from librdkafka and not handed out. Its thread. */
bool zkc_fetch_holds(const struct zkc_stream *s);
/* Streams hand out nothing from here on, and nobody waits in them for long. */
void zkc_fetch_close(struct zkc_fetch *f);
bool zkc_stream_is_closed(const struct zkc_stream *s);

#endif
