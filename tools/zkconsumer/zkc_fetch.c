/* SPDX-License-Identifier: Apache-2.0 */
/* Topics and their partitions are kept for good (a member meets few of them), so that what
 * librdkafka points to from its messages (the topic's opaque) is always there.
 *
 * The lock guards the tables and the positions; it is never held across a call of librdkafka but
 * those that only read a message or wake a queue. A worker thread asks for first and last offsets,
 * because librdkafka blocks meanwhile. */
#include "tools/zkconsumer/zkc_fetch.h"

#include "common/base/clock.h"
#include "common/base/lock.h"

#include <stdio.h>

enum {
    BATCH_MAX = 500,     /* taken from a stream's queue at once */
    NEXT_SLICE_MS = 100, /* one wait for a record; a close is noticed in between */
    RESOLVE_TIMEOUT_MS = 1000,
    RESOLVE_BATCH_MAX = 1000,
    PATIENCE_MS = 3000,
    COMPLAINT_MS = 5000, /* between two of librdkafka's complaints that are told */
};

struct fetch_part {
    struct fetch_topic *topic;
    int32_t partition;
    struct zkc_stream *stream;
    bool is_started, is_stopping, is_out_of_range, is_told;
    uint32_t start_seq, stop_seq;
    uint64_t first_pull; /* pulls with a lower number may hold records of an earlier start */
    bool was_started;    /* ever */
    int64_t drain_until_ms;
    int64_t handed, done; /* behind the last record handed out, and done with */
    bool is_dirty;        /* handed out and not done: in the stream's list */
    struct fetch_part *next_dirty;
};

struct fetch_topic {
    char *name;
    rd_kafka_topic_t *rkt;
    struct fetch_part **parts; /* by partition; NULL: never met */
    int32_t part_count;
};

struct zkc_stream {
    struct zkc_fetch *fetch;
    rd_kafka_queue_t *queue;
    /* taken from the queue and not looked at yet; its thread's */
    rd_kafka_message_t *batch[BATCH_MAX];
    ssize_t batch_next, batch_count;
    uint64_t batch_number;    /* of the pull that took it: see zkc_fetch_start */
    bool is_pulling;          /* guarded by lock */
    struct fetch_part *dirty; /* guarded by lock */
};

struct wish {
    char *topic;
    int32_t partition;
    uint32_t seq;
    int64_t offset;
    struct wish *next;
};

struct zkc_fetch {
    struct zkc_fetch_options o;
    rd_kafka_t *rk;
    _Atomic int64_t lease_ms;
    _Atomic bool is_closed;
    _Atomic bool wants_brokers;
    int64_t next_complaint_ms;
    int64_t offsets_failing_ms, next_offset_complaint_ms; /* owner: the worker */
    struct lock lock;
    pthread_cond_t wake_streams; /* the lease was renewed, or closed */
    pthread_cond_t wake_worker;
    pthread_cond_t pull_ended;
    pthread_t worker;
    /* guarded by lock */
    struct fetch_topic **topics;
    int32_t topic_count;
    struct zkc_stream **streams;
    int32_t stream_count;
    struct fetch_part **stopping; /* to be collected when drained */
    int32_t stopping_count, stopping_cap;
    int32_t out_of_range_count;
    struct wish *wishes, *answers;
    bool worker_stops;
    uint64_t pulls;            /* numbers them */
    struct zkc_stream *barred; /* no pull from this one begins */
};

/* ---- tables */

static struct fetch_topic *find_topic_locked(struct zkc_fetch *f, const char *name)
{
    for (int32_t i = 0; i < f->topic_count; i++)
        if (strcmp(f->topics[i]->name, name) == 0)
            return f->topics[i];
    return NULL;
}

static struct fetch_part *find_part_locked(struct zkc_fetch *f, const char *name, int32_t partition)
{
    struct fetch_topic *t = find_topic_locked(f, name);

    if (t == NULL || partition < 0 || partition >= t->part_count)
        return NULL;
    return t->parts[partition];
}

static struct fetch_part *add_part_locked(struct fetch_topic *t, int32_t partition)
{
    if (partition >= t->part_count) {
        t->parts = xrealloc(t->parts, ((size_t)partition + 1) * sizeof(struct fetch_part *));
        for (int32_t i = t->part_count; i <= partition; i++)
            t->parts[i] = NULL;
        t->part_count = partition + 1;
    }
    if (t->parts[partition] == NULL) {
        t->parts[partition] = xcalloc(1, sizeof **t->parts);
        t->parts[partition]->topic = t;
        t->parts[partition]->partition = partition;
    }
    return t->parts[partition];
}

/* With a handle of librdkafka's, which is made outside of the lock. NULL: it was told. */
static struct fetch_topic *need_topic(struct zkc_fetch *f, const char *name)
{
    struct fetch_topic *t;
    rd_kafka_topic_conf_t *conf;
    char text[256];

    lock_take(&f->lock);
    t = find_topic_locked(f, name);
    lock_release(&f->lock);
    if (t != NULL)
        return t;
    t = xcalloc(1, sizeof *t);
    t->name = xstrdup(name);
    conf = rd_kafka_topic_conf_new();
    rd_kafka_topic_conf_set_opaque(conf, t);
    /* we are told, and reset it ourselves, with a log line */
    MUST(rd_kafka_topic_conf_set(conf, "auto.offset.reset", "error", text, sizeof text) ==
         RD_KAFKA_CONF_OK);
    MUST(rd_kafka_topic_conf_set(conf, "auto.commit.enable", "false", text, sizeof text) ==
         RD_KAFKA_CONF_OK);
    t->rkt = rd_kafka_topic_new(f->rk, name, conf);
    if (t->rkt == NULL) {
        (void)snprintf(text, sizeof text, "topic '%.100s': %s", name,
                       rd_kafka_err2str(rd_kafka_last_error()));
        f->o.tell(f->o.arg, true, text);
        rd_kafka_topic_conf_destroy(conf);
        mem_free(t->name);
        mem_free(t);
        return NULL;
    }
    lock_take(&f->lock);
    f->topics = xrealloc(f->topics, ((size_t)f->topic_count + 1) * sizeof(struct fetch_topic *));
    f->topics[f->topic_count++] = t;
    lock_release(&f->lock);
    return t;
}

/* ---- start and stop */

static void remove_dirty_locked(struct fetch_part *p)
{
    if (!p->is_dirty)
        return;
    for (struct fetch_part **at = &p->stream->dirty; *at != NULL; at = &(*at)->next_dirty)
        if (*at == p) {
            *at = p->next_dirty;
            break;
        }
    p->is_dirty = false;
    p->next_dirty = NULL;
}

static void stop_rdkafka(struct fetch_part *p)
{
    /* drops what is queued of it; -1 only when it was not started */
    (void)rd_kafka_consume_stop(p->topic->rkt, p->partition);
}

/* A partition that was here before begins again, perhaps at an earlier offset. What a stream has
 * pulled from librdkafka of the earlier start must not be handed out: it would pass over what comes
 * again. So no pull is under way and none begins while the new start is made, and pulls are
 * numbered: one with a lower number than the start's is older than it. (What is still in the queue
 * librdkafka knows to be outdated.) */
static void bar(struct zkc_fetch *f, struct zkc_stream *s)
{
    lock_take(&f->lock);
    f->barred = s;
    if (s != NULL && s->is_pulling)
        rd_kafka_queue_yield(s->queue); /* it may be waiting for a record */
    while (s != NULL && s->is_pulling)
        (void)lock_wait(&f->lock, &f->pull_ended, clock_mono_us() + NEXT_SLICE_MS * 1000);
    lock_release(&f->lock);
}

static void unbar(struct zkc_fetch *f)
{
    lock_take(&f->lock);
    f->barred = NULL;
    MUST(pthread_cond_broadcast(&f->wake_streams) == 0);
    lock_release(&f->lock);
}

void zkc_fetch_start(struct zkc_fetch *f, const char *topic, int32_t partition,
                     struct zkc_stream *s, int64_t offset, uint32_t seq)
{
    struct fetch_topic *t = need_topic(f, topic);
    struct fetch_part *p;
    bool was_started;

    if (t == NULL)
        return;
    lock_take(&f->lock);
    p = add_part_locked(t, partition);
    was_started = p->is_started;
    p->is_started = false;
    if (p->stream != NULL)
        remove_dirty_locked(p);
    lock_release(&f->lock);
    if (was_started)
        stop_rdkafka(p);
    bar(f, p->was_started ? s : NULL);
    lock_take(&f->lock);
    p->first_pull = p->was_started ? f->pulls + 1 : 0;
    p->was_started = true;
    p->stream = s;
    p->is_started = true;
    p->is_stopping = p->is_told = false;
    f->out_of_range_count -= p->is_out_of_range;
    p->is_out_of_range = false;
    p->start_seq = seq;
    p->handed = p->done = offset;
    lock_release(&f->lock);
    if (rd_kafka_consume_start_queue(t->rkt, partition, offset, s->queue) != 0) {
        char text[256];

        (void)snprintf(text, sizeof text, "topic %.100s partition %d cannot be read: %s", topic,
                       partition, rd_kafka_err2str(rd_kafka_last_error()));
        f->o.tell(f->o.arg, true, text);
    }
    unbar(f);
}

/* Not started any more. True: librdkafka has to be told. */
static bool end_locked(struct zkc_fetch *f, struct fetch_part *p)
{
    bool was_started = p->is_started;

    p->is_started = p->is_stopping = false;
    f->out_of_range_count -= p->is_out_of_range;
    p->is_out_of_range = false;
    remove_dirty_locked(p);
    for (int32_t i = 0; i < f->stopping_count; i++)
        if (f->stopping[i] == p)
            f->stopping[i--] = f->stopping[--f->stopping_count];
    return was_started;
}

void zkc_fetch_stop(struct zkc_fetch *f, const char *topic, int32_t partition, uint32_t seq,
                    int64_t now_ms)
{
    struct fetch_part *p;

    lock_take(&f->lock);
    p = find_part_locked(f, topic, partition);
    if (p != NULL && p->is_started && !p->is_stopping) {
        p->is_stopping = true;
        p->stop_seq = seq;
        p->drain_until_ms = now_ms + f->o.drain_max_ms;
        if (f->stopping_count == f->stopping_cap) {
            f->stopping_cap = f->stopping_cap * 2 + 8;
            f->stopping =
                xrealloc(f->stopping, (size_t)f->stopping_cap * sizeof(struct fetch_part *));
        }
        f->stopping[f->stopping_count++] = p;
    }
    lock_release(&f->lock);
}

void zkc_fetch_drop(struct zkc_fetch *f, const char *topic, int32_t partition)
{
    struct fetch_part *p;
    bool was_started;

    lock_take(&f->lock);
    p = find_part_locked(f, topic, partition);
    was_started = p != NULL && end_locked(f, p);
    lock_release(&f->lock);
    if (was_started)
        stop_rdkafka(p);
}

int64_t zkc_fetch_position(struct zkc_fetch *f, const char *topic, int32_t partition)
{
    lock_take(&f->lock);
    const struct fetch_part *p = find_part_locked(f, topic, partition);
    int64_t offset = p != NULL && p->is_started ? p->done : -1;
    lock_release(&f->lock);
    return offset;
}

/* ---- first and last offsets */

void zkc_fetch_resolve(struct zkc_fetch *f, const char *topic, int32_t partition, uint32_t seq)
{
    struct wish *w = xcalloc(1, sizeof *w);

    (void)need_topic(f, topic); /* the worker looks it up */
    w->topic = xstrdup(topic);
    w->partition = partition;
    w->seq = seq;
    w->offset = -1;
    lock_take(&f->lock);
    w->next = f->wishes;
    f->wishes = w;
    MUST(pthread_cond_signal(&f->wake_worker) == 0);
    lock_release(&f->lock);
}

/* librdkafka remembers that a topic was unknown, or where its leader was, and answers from memory
 * until its own refresh: ask now. */
static void refresh_topic(struct zkc_fetch *f, const char *name)
{
    const struct rd_kafka_metadata *m = NULL;
    struct fetch_topic *t;

    lock_take(&f->lock);
    t = find_topic_locked(f, name);
    lock_release(&f->lock);
    if (t != NULL &&
        rd_kafka_metadata(f->rk, 0, t->rkt, &m, RESOLVE_TIMEOUT_MS) == RD_KAFKA_RESP_ERR_NO_ERROR)
        rd_kafka_metadata_destroy(m);
}

/* One line in a while, of what goes on for longer than a new leader takes; it is tried again all
 * the time. */
static void complain(struct zkc_fetch *f, const struct wish *w, rd_kafka_resp_err_t e)
{
    int64_t now = clock_mono_ms();
    char text[512];

    if (f->offsets_failing_ms == 0)
        f->offsets_failing_ms = now;
    if (now - f->offsets_failing_ms < PATIENCE_MS || now < f->next_offset_complaint_ms)
        return;
    f->next_offset_complaint_ms = now + COMPLAINT_MS;
    (void)snprintf(text, sizeof text, "%s-%d: its %s offset could not be asked for: %s; trying on",
                   w->topic, w->partition, f->o.from_smallest ? "first" : "last",
                   rd_kafka_err2str(e));
    f->o.tell(f->o.arg, false, text);
}

static void ask_offsets(struct zkc_fetch *f, struct wish *wishes)
{
    const char *refreshed = NULL;
    rd_kafka_resp_err_t e;
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(RESOLVE_BATCH_MAX);

    for (struct wish *w = wishes; w != NULL; w = w->next)
        rd_kafka_topic_partition_list_add(list, w->topic, w->partition)->offset =
            f->o.from_smallest ? RD_KAFKA_OFFSET_BEGINNING : RD_KAFKA_OFFSET_END;
    /* what has no answer keeps an error, or the negative number that we put there */
    e = rd_kafka_offsets_for_times(f->rk, list, RESOLVE_TIMEOUT_MS);
    for (struct wish *w = wishes; w != NULL; w = w->next) {
        const rd_kafka_topic_partition_t *tp =
            rd_kafka_topic_partition_list_find(list, w->topic, w->partition);

        if (tp != NULL && tp->err == RD_KAFKA_RESP_ERR_NO_ERROR && tp->offset >= 0) {
            w->offset = tp->offset;
            f->offsets_failing_ms = 0;
            continue;
        }
        complain(f, w, tp != NULL && tp->err != RD_KAFKA_RESP_ERR_NO_ERROR ? tp->err : e);
        if (refreshed == NULL || strcmp(refreshed, w->topic) != 0)
            refresh_topic(f, w->topic);
        refreshed = w->topic;
    }
    rd_kafka_topic_partition_list_destroy(list);
}

static void *worker_main(void *arg)
{
    struct zkc_fetch *f = arg;

    for (;;) {
        struct wish *wishes = NULL, **end = &wishes;

        lock_take(&f->lock);
        while (f->wishes == NULL && !f->worker_stops)
            (void)lock_wait(&f->lock, &f->wake_worker, -1);
        if (f->worker_stops) {
            lock_release(&f->lock);
            return NULL;
        }
        for (int i = 0; i < RESOLVE_BATCH_MAX && f->wishes != NULL; i++) {
            *end = f->wishes;
            f->wishes = f->wishes->next;
            end = &(*end)->next;
        }
        *end = NULL;
        lock_release(&f->lock);
        ask_offsets(f, wishes);
        lock_take(&f->lock);
        *end = f->answers;
        f->answers = wishes;
        lock_release(&f->lock);
        f->o.wake(f->o.arg);
    }
}

static void wish_free(struct wish *w)
{
    while (w != NULL) {
        struct wish *next = w->next;

        mem_free(w->topic);
        mem_free(w);
        w = next;
    }
}

/* ---- collecting */

static void fill(struct zkc_fetch_result *out, enum zkc_fetched kind, const char *topic,
                 int32_t partition, uint32_t seq, int64_t offset)
{
    *out = (struct zkc_fetch_result){
        .kind = kind, .partition = partition, .seq = seq, .offset = offset};
    (void)snprintf(out->topic, sizeof out->topic, "%s", topic);
}

static bool collect_answer_locked(struct zkc_fetch *f, struct zkc_fetch_result *out)
{
    struct wish *w = f->answers;

    if (w == NULL)
        return false;
    f->answers = w->next;
    w->next = NULL;
    fill(out, ZKC_FETCHED_RESOLVED, w->topic, w->partition, w->seq, w->offset);
    wish_free(w);
    return true;
}

static struct fetch_part *drained_locked(struct zkc_fetch *f, int64_t now_ms)
{
    for (int32_t i = 0; i < f->stopping_count; i++)
        if (!f->stopping[i]->is_dirty || f->stopping[i]->drain_until_ms <= now_ms)
            return f->stopping[i];
    return NULL;
}

static bool collect_out_of_range_locked(struct zkc_fetch *f, struct zkc_fetch_result *out)
{
    for (int32_t t = 0; t < f->topic_count && f->out_of_range_count > 0; t++)
        for (int32_t i = 0; i < f->topics[t]->part_count; i++) {
            struct fetch_part *p = f->topics[t]->parts[i];

            if (p == NULL || !p->is_out_of_range)
                continue;
            p->is_out_of_range = false;
            f->out_of_range_count--;
            fill(out, ZKC_FETCHED_OUT_OF_RANGE, p->topic->name, p->partition, p->start_seq,
                 p->handed);
            return true;
        }
    return false;
}

bool zkc_fetch_collect(struct zkc_fetch *f, int64_t now_ms, struct zkc_fetch_result *out)
{
    struct fetch_part *p;
    bool is_found;

    lock_take(&f->lock);
    is_found = collect_answer_locked(f, out) || collect_out_of_range_locked(f, out);
    p = is_found ? NULL : drained_locked(f, now_ms);
    if (p != NULL) {
        fill(out, ZKC_FETCHED_STOPPED, p->topic->name, p->partition, p->stop_seq, p->done);
        (void)end_locked(f, p);
        is_found = true;
    }
    lock_release(&f->lock);
    if (p != NULL)
        stop_rdkafka(p);
    return is_found;
}

int64_t zkc_fetch_deadline_ms(struct zkc_fetch *f)
{
    int64_t deadline = INT64_MAX;

    lock_take(&f->lock);
    if (f->answers != NULL || f->out_of_range_count > 0)
        deadline = 0;
    for (int32_t i = 0; i < f->stopping_count; i++)
        deadline = i64_min(deadline, f->stopping[i]->is_dirty ? f->stopping[i]->drain_until_ms : 0);
    lock_release(&f->lock);
    return deadline;
}

/* ---- handing out */

static struct fetch_part *part_of_locked(const rd_kafka_message_t *m)
{
    struct fetch_topic *t = m->rkt == NULL ? NULL : rd_kafka_topic_opaque(m->rkt);

    if (t == NULL || m->partition < 0 || m->partition >= t->part_count)
        return NULL;
    return t->parts[m->partition];
}

/* True: an offset that is not in the log; the shell is to be woken. */
static bool take_error_locked(struct zkc_stream *s, const rd_kafka_message_t *m, char *text,
                              size_t size)
{
    struct zkc_fetch *f = s->fetch;
    struct fetch_part *p = part_of_locked(m);

    switch (m->err) {
    case RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET:
    case RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE:
        if (p == NULL || !p->is_started || p->is_stopping || p->is_out_of_range)
            return false;
        if (p->stream != s || s->batch_number < p->first_pull)
            return false; /* of an earlier start: a reset would pass over the present one's records
                           */
        p->is_out_of_range = true;
        f->out_of_range_count++;
        return true;
    case RD_KAFKA_RESP_ERR__PARTITION_EOF:
    case RD_KAFKA_RESP_ERR__TRANSPORT:
    case RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN:
    case RD_KAFKA_RESP_ERR__RESOLVE:
    case RD_KAFKA_RESP_ERR__TIMED_OUT:
    case RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE:
    case RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION:
        return false; /* it goes on by itself */
    default:
        if (p == NULL || !p->is_told)
            (void)snprintf(text, size, "topic %.100s partition %d: %s",
                           m->rkt == NULL ? "?" : rd_kafka_topic_name(m->rkt), m->partition,
                           rd_kafka_message_errstr(m));
        if (p != NULL)
            p->is_told = true; /* once a start */
        return false;
    }
}

enum verdict { HAND_OUT, DROP, WAIT_FOR_LEASE };

/* The one place where a record becomes the application's. */
static enum verdict judge_locked(struct zkc_stream *s, const rd_kafka_message_t *m)
{
    struct fetch_part *p = part_of_locked(m);

    if (p == NULL || !p->is_started || p->is_stopping || p->stream != s || m->offset < p->handed)
        return DROP; /* of an earlier start, or not ours to hand out any more */
    if (s->batch_number < p->first_pull)
        return DROP; /* the records before it come again, and would be passed over */
    if (clock_mono_ms() >= atomic_load(&s->fetch->lease_ms))
        return WAIT_FOR_LEASE;
    p->handed = m->offset + 1;
    if (!p->is_dirty) {
        p->is_dirty = true;
        p->next_dirty = s->dirty;
        s->dirty = p;
    }
    return HAND_OUT;
}

/* Looks at the next message of the batch. True: it is handed out. Else it is destroyed, or stays.
 */
static bool offer(struct zkc_stream *s, rd_kafka_message_t *m, int64_t until_ms)
{
    struct zkc_fetch *f = s->fetch;
    char text[512] = "";
    enum verdict v = DROP;
    bool is_to_wake = false;

    lock_take(&f->lock);
    if (m->err != RD_KAFKA_RESP_ERR_NO_ERROR)
        is_to_wake = take_error_locked(s, m, text, sizeof text);
    else
        v = judge_locked(s, m);
    if (v == WAIT_FOR_LEASE && !atomic_load(&f->is_closed))
        (void)lock_wait(&f->lock, &f->wake_streams,
                        i64_min(until_ms, clock_mono_ms() + NEXT_SLICE_MS) * 1000);
    lock_release(&f->lock);
    if (is_to_wake)
        f->o.wake(f->o.arg);
    if (text[0] != 0)
        f->o.tell(f->o.arg, true, text);
    s->batch_next += v != WAIT_FOR_LEASE;
    if (v == DROP)
        rd_kafka_message_destroy(m);
    return v == HAND_OUT;
}

static bool begin_pull(struct zkc_stream *s)
{
    struct zkc_fetch *f = s->fetch;

    lock_take(&f->lock);
    while (f->barred == s && !atomic_load(&f->is_closed))
        (void)lock_wait(&f->lock, &f->wake_streams, clock_mono_us() + NEXT_SLICE_MS * 1000);
    s->is_pulling = !atomic_load(&f->is_closed);
    s->batch_number = ++f->pulls;
    lock_release(&f->lock);
    return s->is_pulling;
}

static void end_pull(struct zkc_stream *s)
{
    struct zkc_fetch *f = s->fetch;

    lock_take(&f->lock);
    s->is_pulling = false;
    MUST(pthread_cond_broadcast(&f->pull_ended) == 0);
    lock_release(&f->lock);
}

/* Waits for one, and takes with it what is there (librdkafka's batch call alone would wait until it
 * has a whole batch). */
static void fill_batch(struct zkc_stream *s, int64_t wait_ms)
{
    ssize_t more;

    s->batch_next = s->batch_count = 0;
    if (!begin_pull(s))
        return;
    s->batch[0] = rd_kafka_consume_queue(s->queue, (int)wait_ms);
    s->batch_count = s->batch[0] != NULL;
    if (s->batch_count > 0) {
        more = rd_kafka_consume_batch_queue(s->queue, 0, s->batch + 1, BATCH_MAX - 1);
        s->batch_count += more > 0 ? more : 0;
    }
    end_pull(s);
}

rd_kafka_message_t *zkc_fetch_next(struct zkc_stream *s, int64_t timeout_ms)
{
    struct zkc_fetch *f = s->fetch;
    int64_t max_ms = timeout_ms < 0 ? f->o.next_max_ms : timeout_ms;
    int64_t now = clock_mono_ms(), until = max_ms < 0 ? INT64_MAX / 2000 : now + max_ms;

    if (!f->o.done_explicit)
        zkc_fetch_done(s);
    while (!atomic_load(&f->is_closed)) {
        if (s->batch_next == s->batch_count)
            fill_batch(s, i64_max(0, i64_min(until - now, NEXT_SLICE_MS)));
        if (s->batch_next < s->batch_count) {
            rd_kafka_message_t *m = s->batch[s->batch_next];

            if (offer(s, m, until))
                return m;
        }
        now = clock_mono_ms();
        if (now >= until)
            break;
    }
    return NULL;
}

bool zkc_fetch_holds(const struct zkc_stream *s)
{
    return s->batch_next < s->batch_count;
}

void zkc_fetch_done(struct zkc_stream *s)
{
    struct zkc_fetch *f = s->fetch;
    bool is_to_wake = false;

    lock_take(&f->lock);
    while (s->dirty != NULL) {
        struct fetch_part *p = s->dirty;

        s->dirty = p->next_dirty;
        p->next_dirty = NULL;
        p->is_dirty = false;
        p->done = p->handed;
        is_to_wake |= p->is_stopping;
    }
    lock_release(&f->lock);
    if (is_to_wake)
        f->o.wake(f->o.arg);
}

void zkc_fetch_set_lease(struct zkc_fetch *f, int64_t lease_ms)
{
    if (atomic_exchange(&f->lease_ms, lease_ms) == lease_ms)
        return;
    lock_take(&f->lock);
    MUST(pthread_cond_broadcast(&f->wake_streams) == 0);
    lock_release(&f->lock);
}

/* ---- librdkafka */

static void on_error(rd_kafka_t *rk UNUSED, int error, const char *reason, void *opaque)
{
    struct zkc_fetch *f = opaque;
    int64_t now = clock_mono_ms();
    const char *guess = strstr(reason, ": verify that");
    char text[512];

    if (error == RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN || error == RD_KAFKA_RESP_ERR__TRANSPORT ||
        error == RD_KAFKA_RESP_ERR__RESOLVE)
        atomic_store(&f->wants_brokers, true);
    if (now < f->next_complaint_ms)
        return;
    f->next_complaint_ms = now + COMPLAINT_MS;
    /* librdkafka guesses at causes; a broker that was stopped is the usual one */
    (void)snprintf(text, sizeof text, "%.*s; trying on",
                   guess == NULL ? (int)strlen(reason) : (int)(guess - reason), reason);
    f->o.tell(f->o.arg, false, text);
}

static void on_log(const rd_kafka_t *rk UNUSED, int level UNUSED, const char *facility UNUSED,
                   const char *text UNUSED)
{
    /* what matters comes through on_error, once */
}

void zkc_fetch_add_broker(struct zkc_fetch *f, const char *address)
{
    (void)rd_kafka_brokers_add(f->rk, address);
}

bool zkc_fetch_poll(struct zkc_fetch *f)
{
    (void)rd_kafka_poll(f->rk, 0);
    return atomic_exchange(&f->wants_brokers, false);
}

/* ---- life */

enum err zkc_fetch_new(const struct zkc_fetch_options *o, struct zkc_fetch **out,
                       struct errtext *why)
{
    struct zkc_fetch *f = xcalloc(1, sizeof *f);
    char text[512];

    *out = NULL;
    f->o = *o;
    atomic_init(&f->lease_ms, INT64_MIN);
    atomic_init(&f->is_closed, false);
    rd_kafka_conf_set_opaque(o->conf, f);
    rd_kafka_conf_set_error_cb(o->conf, on_error);
    rd_kafka_conf_set_log_cb(o->conf, on_log);
    f->rk = rd_kafka_new(RD_KAFKA_CONSUMER, o->conf, text, sizeof text);
    if (f->rk == NULL) {
        errtext_set(why, "%s", text);
        rd_kafka_conf_destroy(o->conf);
        mem_free(f);
        return ERR_INVALID;
    }
    lock_init(&f->lock, LOCK_LEAF);
    lock_cond_init(&f->wake_streams);
    lock_cond_init(&f->wake_worker);
    lock_cond_init(&f->pull_ended);
    MUST(pthread_create(&f->worker, NULL, worker_main, f) == 0);
    *out = f;
    return ERR_OK;
}

struct zkc_stream *zkc_fetch_add_stream(struct zkc_fetch *f)
{
    struct zkc_stream *s = xcalloc(1, sizeof *s);

    s->fetch = f;
    s->queue = rd_kafka_queue_new(f->rk);
    f->streams = xrealloc(f->streams, ((size_t)f->stream_count + 1) * sizeof(struct zkc_stream *));
    f->streams[f->stream_count++] = s;
    return s;
}

void zkc_fetch_close(struct zkc_fetch *f)
{
    atomic_store(&f->is_closed, true);
    lock_take(&f->lock);
    MUST(pthread_cond_broadcast(&f->wake_streams) == 0);
    lock_release(&f->lock);
}

bool zkc_stream_is_closed(const struct zkc_stream *s)
{
    return atomic_load(&s->fetch->is_closed);
}

static void topic_free(struct fetch_topic *t)
{
    for (int32_t i = 0; i < t->part_count; i++) {
        if (t->parts[i] != NULL && t->parts[i]->is_started)
            stop_rdkafka(t->parts[i]);
        mem_free(t->parts[i]);
    }
    rd_kafka_topic_destroy(t->rkt);
    mem_free(t->parts);
    mem_free(t->name);
    mem_free(t);
}

void zkc_fetch_free(struct zkc_fetch **fp)
{
    struct zkc_fetch *f = *fp;

    *fp = NULL;
    if (f == NULL)
        return;
    zkc_fetch_close(f);
    lock_take(&f->lock);
    f->worker_stops = true;
    MUST(pthread_cond_signal(&f->wake_worker) == 0);
    lock_release(&f->lock);
    MUST(pthread_join(f->worker, NULL) == 0);
    for (int32_t i = 0; i < f->topic_count; i++)
        topic_free(f->topics[i]);
    for (int32_t i = 0; i < f->stream_count; i++) {
        struct zkc_stream *st = f->streams[i];

        for (ssize_t k = st->batch_next; k < st->batch_count; k++)
            rd_kafka_message_destroy(st->batch[k]);
        rd_kafka_queue_destroy(f->streams[i]->queue);
        mem_free(f->streams[i]);
    }
    rd_kafka_destroy(f->rk);
    wish_free(f->wishes);
    wish_free(f->answers);
    mem_free(f->topics);
    mem_free(f->streams);
    mem_free(f->stopping);
    MUST(pthread_cond_destroy(&f->wake_streams) == 0);
    MUST(pthread_cond_destroy(&f->wake_worker) == 0);
    MUST(pthread_cond_destroy(&f->pull_ended) == 0);
    lock_fini(&f->lock);
    mem_free(f);
}
