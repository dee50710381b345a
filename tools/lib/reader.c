/* SPDX-License-Identifier: Apache-2.0 */
/* All partitions feed one queue. librdkafka follows leader changes by itself. Without a group it
 * does not notice new partitions and topics, so the metadata are read again now and then.
 */
#include "tools/lib/reader.h"

#include "common/base/clock.h"
#include "tools/lib/rdkafka.h"

#include <stdio.h>

enum {
    REFRESH_MS = 5000,        /* while something is being read */
    REFRESH_WAITING_MS = 500, /* while nothing is there yet */
    METADATA_TIMEOUT_MS = 10000,
    OFFSETS_TIMEOUT_MS = 3000,
    BATCH_MAX = 2000
};

struct reader_topic {
    rd_kafka_topic_t *handle;
    char *name;
    bool *is_reading; /* by partition */
    int32_t partition_count;
};
struct reader {
    struct reader_options ro;
    rd_kafka_queue_t *queue;
    rd_kafka_message_t **batch;
    struct reader_topic *topics;
    size_t topic_count;
    int32_t reading_count;
    int64_t next_refresh_ms;
    bool is_first; /* partitions found later are read from their beginning */
    bool has_warned;
};

int32_t reader_partition_count(const struct reader *r)
{
    return r->reading_count;
}

static struct reader_topic *find_topic(struct reader *r, const char *name)
{
    for (size_t i = 0; i < r->topic_count; i++)
        if (strcmp(r->topics[i].name, name) == 0)
            return &r->topics[i];
    return NULL;
}

static struct reader_topic *add_topic(struct reader *r, const char *name)
{
    rd_kafka_topic_t *handle = rd_kafka_topic_new(r->ro.rk, name, NULL);

    if (handle == NULL) {
        (void)opts_fail(r->ro.o, "topic '%s': %s", name, rd_kafka_err2str(rd_kafka_last_error()));
        return NULL;
    }
    r->topics = xrealloc(r->topics, (r->topic_count + 1) * sizeof *r->topics);
    r->topics[r->topic_count] = (struct reader_topic){.handle = handle, .name = xstrdup(name)};
    return &r->topics[r->topic_count++];
}

/* Adds the partitions of mt that are not read yet to fresh. False: a line was printed. */
static bool collect_partitions(struct reader *r, struct reader_topic *t,
                               const struct rd_kafka_metadata_topic *mt,
                               rd_kafka_topic_partition_list_t *fresh)
{
    int32_t count = mt->partition_cnt;

    if (count > t->partition_count) {
        t->is_reading = xrealloc(t->is_reading, (size_t)count * sizeof *t->is_reading);
        for (int32_t i = t->partition_count; i < count; i++)
            t->is_reading[i] = false;
        t->partition_count = count;
    }
    if (r->ro.partition >= count) {
        (void)opts_fail(r->ro.o,
                        "partition %d of topic %s does not exist: it has the partitions 0 "
                        "to %d",
                        r->ro.partition, t->name, count - 1);
        return false;
    }
    for (int32_t i = 0; i < count; i++) {
        int32_t p = mt->partitions[i].id;
        rd_kafka_topic_partition_t *tp;

        if (p < 0 || p >= count || t->is_reading[p] ||
            (r->ro.partition >= 0 && p != r->ro.partition))
            continue;
        tp = rd_kafka_topic_partition_list_add(fresh, t->name, p);
        tp->offset = r->is_first ? r->ro.offset : RD_KAFKA_OFFSET_BEGINNING;
        /* remembered here: without a leader there is nobody to ask for offsets */
        tp->err = mt->partitions[i].leader < 0 ? RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE
                                               : RD_KAFKA_RESP_ERR_NO_ERROR;
    }
    return true;
}

/* Turns "beginning" and "end" into numbers, one request to each leader. Left to librdkafka, each
 * partition asks for itself, and one that asks before its broker is known waits half a second. What
 * fails here stays as it is and is left to librdkafka after all. */
static void resolve_offsets(struct reader *r, rd_kafka_topic_partition_list_t *fresh)
{
    rd_kafka_topic_partition_list_t *asked = rd_kafka_topic_partition_list_new(fresh->cnt);

    for (int i = 0; i < fresh->cnt; i++) {
        const rd_kafka_topic_partition_t *tp = &fresh->elems[i];

        if (tp->offset < 0 && tp->err == RD_KAFKA_RESP_ERR_NO_ERROR)
            rd_kafka_topic_partition_list_add(asked, tp->topic, tp->partition)->offset = tp->offset;
    }
    if (asked->cnt > 0 && rd_kafka_offsets_for_times(r->ro.rk, asked, OFFSETS_TIMEOUT_MS) ==
                              RD_KAFKA_RESP_ERR_NO_ERROR) {
        for (int i = 0; i < asked->cnt; i++) {
            const rd_kafka_topic_partition_t *a = &asked->elems[i];
            rd_kafka_topic_partition_t *tp =
                rd_kafka_topic_partition_list_find(fresh, a->topic, a->partition);

            if (a->err == RD_KAFKA_RESP_ERR_NO_ERROR && a->offset >= 0 && tp != NULL)
                tp->offset = a->offset;
        }
    }
    rd_kafka_topic_partition_list_destroy(asked);
}

static int by_emptiness(const void *x, const void *y, void *opaque UNUSED)
{
    const rd_kafka_topic_partition_t *a = x, *b = y;

    return (a->opaque != NULL) - (b->opaque != NULL);
}

/* Partitions with records come first. A broker that is asked for an empty one alone waits for a
 * record (fetch.wait.max.ms), and librdkafka cannot ask it for the others meanwhile. */
static void put_empty_last(struct reader *r, rd_kafka_topic_partition_list_t *fresh)
{
    rd_kafka_topic_partition_list_t *ends = rd_kafka_topic_partition_list_new(fresh->cnt);

    for (int i = 0; i < fresh->cnt; i++)
        if (fresh->elems[i].offset >= 0)
            rd_kafka_topic_partition_list_add(ends, fresh->elems[i].topic,
                                              fresh->elems[i].partition)
                ->offset = RD_KAFKA_OFFSET_END;
    if (ends->cnt > 1 && rd_kafka_offsets_for_times(r->ro.rk, ends, OFFSETS_TIMEOUT_MS) ==
                             RD_KAFKA_RESP_ERR_NO_ERROR) {
        for (int i = 0; i < ends->cnt; i++) {
            rd_kafka_topic_partition_t *tp = rd_kafka_topic_partition_list_find(
                fresh, ends->elems[i].topic, ends->elems[i].partition);

            if (tp != NULL && ends->elems[i].offset >= 0 && tp->offset >= ends->elems[i].offset)
                tp->opaque = r; /* marks it */
        }
        rd_kafka_topic_partition_list_sort(fresh, by_emptiness, NULL);
    }
    rd_kafka_topic_partition_list_destroy(ends);
}

/* False: a line was printed. */
static bool begin_partitions(struct reader *r, rd_kafka_topic_partition_list_t *fresh)
{
    if (fresh->cnt > 0)
        resolve_offsets(r, fresh);
    if (fresh->cnt > 1 && r->ro.offset != RD_KAFKA_OFFSET_END)
        put_empty_last(r, fresh);
    for (int i = 0; i < fresh->cnt; i++) {
        const rd_kafka_topic_partition_t *tp = &fresh->elems[i];
        struct reader_topic *t = find_topic(r, tp->topic);

        if (rd_kafka_consume_start_queue(t->handle, tp->partition, tp->offset, r->queue) != 0) {
            (void)opts_fail(r->ro.o, "topic %s partition %d: %s", tp->topic, tp->partition,
                            rd_kafka_err2str(rd_kafka_last_error()));
            return false;
        }
        t->is_reading[tp->partition] = true;
        r->reading_count++;
    }
    return true;
}

static bool is_wanted(const struct reader *r, const char *name)
{
    if (r->ro.topic != NULL)
        return strcmp(r->ro.topic, name) == 0;
    return topics_pattern_matches(r->ro.pattern, name) != r->ro.is_excluding &&
           (r->ro.with_internal || !topics_is_internal(name));
}

static bool take_metadata(struct reader *r, const struct rd_kafka_metadata *m,
                          rd_kafka_topic_partition_list_t *fresh)
{
    for (int i = 0; i < m->topic_cnt; i++) {
        const struct rd_kafka_metadata_topic *mt = &m->topics[i];
        struct reader_topic *t;

        if (!is_wanted(r, mt->topic))
            continue;
        if (mt->err == RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED ||
            mt->err == RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION) {
            (void)opts_fail(r->ro.o, "topic '%s': %s", mt->topic, rd_kafka_err2str(mt->err));
            return false;
        }
        if (mt->partition_cnt == 0) {
            if (!r->has_warned && !r->ro.has_told_missing)
                opts_warn(r->ro.o, "topic %s is not there yet (%s); waiting for it", mt->topic,
                          rd_kafka_err2name(mt->err));
            r->has_warned = true;
            continue;
        }
        t = find_topic(r, mt->topic);
        if (t == NULL)
            t = add_topic(r, mt->topic);
        if (t == NULL || !collect_partitions(r, t, mt, fresh))
            return false;
    }
    return true;
}

/* Looks for partitions. When the brokers do not answer this time, the next time will do. */
static bool refresh(struct reader *r)
{
    const struct rd_kafka_metadata *m = NULL;
    rd_kafka_topic_partition_list_t *fresh;
    rd_kafka_resp_err_t e;
    bool ok = true;

    if (r->ro.topic != NULL && r->topic_count == 0 && add_topic(r, r->ro.topic) == NULL)
        return false;
    fresh = rd_kafka_topic_partition_list_new(0);
    e = rd_kafka_metadata(r->ro.rk, r->ro.topic == NULL,
                          r->ro.topic == NULL ? NULL : r->topics[0].handle, &m,
                          METADATA_TIMEOUT_MS);
    if (e == RD_KAFKA_RESP_ERR_NO_ERROR)
        ok = take_metadata(r, m, fresh) && begin_partitions(r, fresh);
    else if (r->is_first && rd_kafka_poll(r->ro.rk, 0) == 0) /* else its own reason was printed */
        opts_warn(r->ro.o, "no metadata: %s; trying on", rd_kafka_err2str(e));
    if (m != NULL)
        rd_kafka_metadata_destroy(m);
    rd_kafka_topic_partition_list_destroy(fresh);
    if (r->reading_count > 0 || (e == RD_KAFKA_RESP_ERR_NO_ERROR && r->ro.topic == NULL))
        r->is_first = false;
    r->next_refresh_ms =
        clock_mono_ms() + (r->reading_count == 0
                               ? REFRESH_WAITING_MS
                               : (r->ro.refresh_ms > 0 ? r->ro.refresh_ms : REFRESH_MS));
    return ok;
}

struct reader *reader_open(const struct reader_options *ro)
{
    struct reader *r = xcalloc(1, sizeof *r);

    ASSERT(ro->o != NULL && ro->rk != NULL && ro->partition >= -1);
    ASSERT(ro->topic != NULL || (ro->pattern != NULL && ro->partition == -1));
    r->ro = *ro;
    r->is_first = true;
    r->queue = rd_kafka_queue_new(ro->rk);
    r->batch = xcalloc(BATCH_MAX, sizeof(rd_kafka_message_t *));
    if (!refresh(r))
        reader_close(&r);
    return r;
}

/* Errors travel in the queue like records. False: it ends the reading. */
static bool take_error(struct reader *r, const rd_kafka_message_t *m)
{
    switch (m->err) {
    case RD_KAFKA_RESP_ERR__PARTITION_EOF:
    case RD_KAFKA_RESP_ERR__TRANSPORT:
    case RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN:
    case RD_KAFKA_RESP_ERR__RESOLVE:
    case RD_KAFKA_RESP_ERR__TIMED_OUT:
    case RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE:
    case RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION:
        return true; /* it goes on by itself */
    case RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION:
    case RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC:
    case RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART:
        opts_warn(r->ro.o, "%s; trying on", rd_kafka_message_errstr(m));
        return true;
    default:
        (void)opts_fail(r->ro.o, "%s [%d]: %s",
                        m->rkt == NULL ? "consumer" : rd_kafka_topic_name(m->rkt), m->partition,
                        rd_kafka_message_errstr(m));
        return false;
    }
}

/* What has arrived, waiting for the first of it only: rd_kafka_consume_batch_queue() waits for a
 * full batch. */
static ssize_t take_batch(struct reader *r, int timeout_ms)
{
    ssize_t n = rd_kafka_consume_batch_queue(r->queue, 0, r->batch, BATCH_MAX);

    if (n != 0)
        return n;
    r->batch[0] = rd_kafka_consume_queue(r->queue, timeout_ms);
    if (r->batch[0] == NULL)
        return 0;
    n = rd_kafka_consume_batch_queue(r->queue, 0, r->batch + 1, BATCH_MAX - 1);
    return 1 + (n > 0 ? n : 0);
}

ssize_t reader_poll(struct reader *r, int timeout_ms,
                    bool (*found)(void *arg, rd_kafka_message_t *m), void *arg)
{
    int64_t now = clock_mono_ms();
    bool wants_more = true, has_failed = false;
    ssize_t n, records = 0;

    ASSERT(found != NULL && timeout_ms >= 0);
    if (now >= r->next_refresh_ms) {
        if (!refresh(r))
            return -1;
        now = clock_mono_ms();
    }
    if (now + timeout_ms > r->next_refresh_ms)
        timeout_ms = (int)i64_max(r->next_refresh_ms - now, 0);
    (void)rd_kafka_poll(r->ro.rk, 0);
    n = take_batch(r, timeout_ms);
    for (ssize_t i = 0; i < n; i++) {
        rd_kafka_message_t *m = r->batch[i];

        if (m->err != RD_KAFKA_RESP_ERR_NO_ERROR) {
            has_failed |= !take_error(r, m);
        } else if (wants_more && !has_failed) {
            records++;
            wants_more = found(arg, m);
        }
        rd_kafka_message_destroy(m);
    }
    return has_failed ? -1 : records;
}

void reader_close(struct reader **rp)
{
    struct reader *r = *rp;

    if (r == NULL)
        return;
    for (size_t i = 0; i < r->topic_count; i++) {
        struct reader_topic *t = &r->topics[i];

        for (int32_t p = 0; p < t->partition_count; p++)
            if (t->is_reading[p])
                (void)rd_kafka_consume_stop(t->handle, p);
        rd_kafka_topic_destroy(t->handle);
        mem_free(t->name);
        mem_free(t->is_reading);
    }
    mem_free(r->topics);
    mem_free(r->batch);
    rd_kafka_queue_destroy(r->queue);
    mem_free(r);
    *rp = NULL;
}
