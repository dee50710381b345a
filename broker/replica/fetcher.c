/* SPDX-License-Identifier: Apache-2.0 */
/* Follower fetchers. One for each (leader, fetcher id), on one loop, with one connection: a Fetch
 * waits at the leader for news; its answer is appended straight from the frame, one pwritev a
 * partition, and the next Fetch leaves at once. One at a time: a second would be made without the
 * positions that the answer to the first brings, and its answer would bring the same records again.
 * Only when partitions join while a Fetch waits at the leader, one more is sent behind it, at which
 * our leaders answer the first (request.on_press): a new leader's acks=all producers do not wait
 * for our long poll. What the first answer moves then comes twice, once.
 *
 *     start: FOLLOW -> entry WANTED -> named in a Fetch -> LISTED -> records -> WANTED -> ...
 *     diverging epoch -> PAUSED; the partition truncates on the pool; FOLLOW again
 *     offset out of range -> PAUSED; ListOffsets LATEST, perhaps EARLIEST; FOLLOW again
 *     leader not ready, corrupt batch -> DELAYED, from 10 ms doubling to replica.fetch.backoff.ms
 *     fenced -> PAUSED until the next LeaderAndIsr
 *     connection lost -> everything is named again on the next one
 *
 * All state is the loop's; commands come by mail in the order of the partition's lock. */
#include "broker/replica/fetch_set.h"
#include "broker/replica/replicas_internal.h"
#include "common/base/slog.h"
#include "common/net/client.h"

#include <stdio.h>

enum {
    FETCHER_MAGIC = 0x66746368,
    DELAY_FIRST_MS = 10,
    CONNECT_DELAY_FIRST_MS = 10,
    EMPTY_MS = 1000,    /* a new leader epoch takes a partition out and puts it in again */
    IN_FLIGHT_MAX = 64, /* two fetches, ListOffsets */
    LIST_OFFSETS_VERSION = 7,
    TIMESTAMP_LATEST = -1,
    TIMESTAMP_EARLIEST = -2
};

struct fetch_loop;

struct fetcher {
    unsigned magic;
    struct fetch_loop *home;
    int32_t leader_id, fetcher_id;
    struct client *client; /* NULL: not connected, see connect_timer */
    struct fetch_set set;
    LIST_HEAD(, fetch_call) calls; /* in flight; their number is fetches */
    LIST_HEAD(, lookup) looks;     /* ListOffsets in flight */
    int32_t fetches;
    int64_t connect_delay_ms;
    bool must_wait;  /* for connect_timer */
    bool has_joined; /* partitions came since the Fetch in flight was sent */
    struct loop_timer connect_timer, delay_timer;
    struct loop_timer empty_timer; /* armed while there is nothing to fetch */
    struct loop_deferred work;
    struct arena arena; /* of the request being built, or the answer being handled */
    LIST_ENTRY(fetcher) link;
};

struct fetch_loop { /* the fetchers of one loop */
    struct fetchers *all;
    struct loop *loop;
    LIST_HEAD(, fetcher) fetchers;
    bool is_stopped;
};

struct fetchers {
    struct replicas *replicas;
    const struct replicas_options *o;
    int count;
    struct fetch_loop loops[];
};

struct fetch_call { /* a request in flight */
    LIST_ENTRY(fetch_call) link;
    struct fetcher *fetcher;
    uint32_t seq;
    int16_t version;
    bool is_full;
};

struct lookup { /* a ListOffsets in flight */
    LIST_ENTRY(lookup) link;
    struct fetcher *fetcher;
    struct partition *partition; /* reference */
    int32_t leader_epoch;
    bool is_start;
};

/* ---- which fetcher */

/* Kafka's own spreading, so that mixed clusters look alike: String.hashCode of the topic. */
static int32_t fetcher_id_of(const struct fetchers *f, const struct partition *p)
{
    uint32_t h = 0;
    int32_t id;

    for (int32_t i = 0; i < p->topic_len; i++)
        h = h * 31 + (uint8_t)p->topic[i]; /* topic names are ASCII */
    id = (int32_t)(h * 31 + (uint32_t)p->index);
    if (id == INT32_MIN)
        id = 0;
    return (id < 0 ? -id : id) % i32_max(1, f->o->fetchers_per_leader);
}

static struct fetch_loop *home_of(struct fetchers *f, int32_t leader_id, int32_t fetcher_id)
{
    return &f->loops[(uint32_t)(leader_id + fetcher_id) % (uint32_t)f->count];
}

static void fetcher_wake(struct fetcher *f)
{
    loop_defer(f->home->loop, &f->work);
}

/* ---- delays */

static void delay_fired(struct loop_timer *t);

static void entry_delay(struct fetcher *f, struct fetch_entry *e)
{
    int64_t max_ms = i64_max(f->home->all->o->fetch_backoff_ms, DELAY_FIRST_MS);

    e->delay_ms = e->delay_ms == 0 ? DELAY_FIRST_MS : (int32_t)i64_min(e->delay_ms * 2, max_ms);
    e->delay_until_ms = loop_now_ms(f->home->loop) + e->delay_ms;
    fetch_set_move(&f->set, e, FETCH_DELAYED);
    if (!f->delay_timer.is_armed)
        loop_timer_arm(f->home->loop, &f->delay_timer, e->delay_ms);
}

static void entry_go_on(struct fetcher *f, struct fetch_entry *e,
                        const struct partition_position *pos)
{
    e->offset = pos->offset;
    e->start_offset = pos->start_offset;
    e->last_epoch = pos->last_epoch;
    fetch_set_move(&f->set, e, FETCH_WANTED);
}

static void entry_join(struct fetcher *f, struct fetch_entry *e,
                       const struct partition_position *pos)
{
    entry_go_on(f, e, pos);
    f->has_joined = true;
}

/* The position is asked anew: what went wrong may have been our idea of it. */
static void delay_fired(struct loop_timer *t)
{
    struct fetcher *f = CONTAINER_OF(t, struct fetcher, delay_timer);
    int64_t now = loop_now_ms(f->home->loop);
    int64_t next = INT64_MAX;
    struct fetch_entry *e = TAILQ_FIRST(&f->set.lists[FETCH_DELAYED]);

    while (e != NULL) {
        struct fetch_entry *after = TAILQ_NEXT(e, link);
        struct partition_position pos;
        if (e->delay_until_ms > now)
            next = i64_min(next, e->delay_until_ms);
        else if (partition_position(e->partition, e->leader_epoch, &pos))
            entry_join(f, e, &pos);
        else
            fetch_set_move(&f->set, e, FETCH_PAUSED); /* a command is on its way */
        e = after;
    }
    if (next != INT64_MAX)
        loop_timer_arm(f->home->loop, &f->delay_timer, i64_max(1, next - now));
    fetcher_wake(f);
}

/* ---- connection */

static void connect_fired(struct loop_timer *t)
{
    struct fetcher *f = CONTAINER_OF(t, struct fetcher, connect_timer);

    f->must_wait = false;
    fetcher_wake(f);
}

static void fetcher_retry_later(struct fetcher *f)
{
    f->must_wait = true;
    loop_timer_arm(f->home->loop, &f->connect_timer, f->connect_delay_ms);
    f->connect_delay_ms =
        i64_min(f->connect_delay_ms * 2, i64_max(f->home->all->o->fetch_backoff_ms, 1));
}

static void on_close(void *arg, struct client *c, enum client_end why, int errnum)
{
    struct fetcher *f;

    (void)c;
    (void)errnum;
    CAST_OBJ(f, arg, FETCHER_MAGIC);
    SLOG_EVERY(1000, INFO, "fetcher", "the connection to the leader ended",
               KV_I("leader", f->leader_id), KV_I("fetcher", f->fetcher_id),
               KV_S("why", client_end_text(why)));
    f->client = NULL;
    ASSERT(f->fetches == 0 && LIST_EMPTY(&f->looks));
    fetch_set_disconnected(&f->set);
    fetcher_retry_later(f);
}

static void fetcher_connect(struct fetcher *f)
{
    const struct replicas_options *o = f->home->all->o;
    char host[REPLICAS_HOST_MAX];
    char client_id[64];
    int32_t port;
    struct client_options c = {.loop = f->home->loop,
                               .host = host,
                               .client_id = client_id,
                               .tls = o->tls,
                               .connect_timeout_ms = o->socket_timeout_ms,
                               .receive_buffer_bytes = o->receive_buffer_bytes,
                               .in_flight_max = IN_FLIGHT_MAX,
                               .on_close = on_close,
                               .arg = f};

    if (!replicas_endpoint(f->home->all->replicas, f->leader_id, host, &port)) {
        SLOG_EVERY(1000, INFO, "fetcher", "the leader's address is not known yet",
                   KV_I("leader", f->leader_id));
        fetcher_retry_later(f);
        return;
    }
    (void)snprintf(client_id, sizeof client_id, "broker-%d-fetcher-%d", (int)o->broker_id,
                   (int)f->fetcher_id);
    c.port = port;
    /* room for the first batches that are over the limits */
    c.frame_max = (size_t)o->fetch_response_max_bytes + ((size_t)128 << 20);
    f->client = client_open(&c);
}

static void call_free(struct fetch_call *c)
{
    c->fetcher->fetches--;
    LIST_REMOVE(c, link);
    mem_free(c);
}

static void lookup_free(struct lookup *l)
{
    partition_unref(&l->partition);
    LIST_REMOVE(l, link);
    mem_free(l);
}

/* Ends the connection and what is in flight on it. */
static void fetcher_disconnect(struct fetcher *f)
{
    client_close(&f->client); /* without callbacks */
    while (!LIST_EMPTY(&f->calls))
        call_free(LIST_FIRST(&f->calls));
    while (!LIST_EMPTY(&f->looks))
        lookup_free(LIST_FIRST(&f->looks));
    fetch_set_disconnected(&f->set);
}

static void release_partition(void *arg, struct partition *p)
{
    (void)arg;
    partition_unref(&p);
}

static void fetcher_free(struct fetcher *f)
{
    struct loop *loop = f->home->loop;

    fetcher_disconnect(f);
    loop_timer_cancel(loop, &f->connect_timer);
    loop_timer_cancel(loop, &f->delay_timer);
    loop_timer_cancel(loop, &f->empty_timer);
    loop_defer_cancel(loop, &f->work);
    fetch_set_fini(&f->set, release_partition, NULL);
    arena_fini(&f->arena);
    LIST_REMOVE(f, link);
    f->magic = 0;
    mem_free(f);
}

/* ---- out of range: ListOffsets */

static void lookup_send(struct fetcher *f, struct fetch_entry *e, bool is_start);

static struct fetch_entry *entry_of(struct fetcher *f, const struct partition *p,
                                    int32_t leader_epoch)
{
    struct fetch_entry *e = fetch_set_find(&f->set, partition_topic(p), p->index);

    return e != NULL && e->partition == p && e->leader_epoch == leader_epoch ? e : NULL;
}

static void lookup_result(struct fetcher *f, const struct lookup *l, int16_t error, int64_t offset)
{
    struct fetch_entry *e = entry_of(f, l->partition, l->leader_epoch);
    bool asks_start;

    if (e == NULL || e->state != FETCH_PAUSED)
        return; /* it has moved on */
    if (error == KE_FENCED_LEADER_EPOCH)
        return; /* paused until LeaderAndIsr */
    if (error != KE_NONE || offset < 0) {
        entry_delay(f, e);
        return;
    }
    SLOG(INFO, "fetcher", "fetch offset out of range", KV_STR("topic", e->topic),
         KV_I("partition", e->index), KV_I("offset", e->offset),
         KV_I(l->is_start ? "leader_start" : "leader_end", offset));
    if (!partition_leader_offset(l->partition, l->leader_epoch, l->is_start, offset, &asks_start))
        return; /* a command is on its way */
    if (asks_start)
        lookup_send(f, e, true);
}

static void on_list_offsets(void *arg, enum err err, struct frame *frame, struct bytes body)
{
    struct lookup *l = arg;
    struct fetcher *f = l->fetcher;
    struct kp_ListOffsetsResponse resp;
    struct errtext why = {""};
    int16_t error = KE_UNKNOWN_SERVER_ERROR;
    int64_t offset = -1;

    (void)frame;
    CHECK_OBJ(f, FETCHER_MAGIC);
    arena_reset(&f->arena);
    if (err == ERR_OK)
        err = kp_decode(&kp_ListOffsetsResponse_schema, LIST_OFFSETS_VERSION, body, &f->arena,
                        &resp, &why);
    if (err == ERR_OK && resp.topics_count == 1 && resp.topics[0].partitions_count == 1) {
        error = resp.topics[0].partitions[0].error_code;
        offset = resp.topics[0].partitions[0].offset;
    }
    lookup_result(f, l, error, offset);
    lookup_free(l);
    fetcher_wake(f);
}

static void lookup_send(struct fetcher *f, struct fetch_entry *e, bool is_start)
{
    struct kp_ListOffsetsRequest req;
    struct kp_ListOffsetsRequest_ListOffsetsTopic topic;
    struct kp_ListOffsetsRequest_ListOffsetsPartition partition;
    struct errtext why = {""};
    struct lookup *l;

    if (f->client == NULL || client_in_flight(f->client) >= IN_FLIGHT_MAX - 2) {
        entry_delay(f, e);
        return;
    }
    kp_defaults(&kp_ListOffsetsRequest_schema, &req);
    kp_defaults(&kp_ListOffsetsRequest_ListOffsetsTopic_schema, &topic);
    kp_defaults(&kp_ListOffsetsRequest_ListOffsetsPartition_schema, &partition);
    req.replica_id = f->home->all->o->broker_id;
    req.topics = &topic;
    req.topics_count = 1;
    topic.name = e->topic;
    topic.partitions = &partition;
    topic.partitions_count = 1;
    partition.partition_index = e->index;
    partition.current_leader_epoch = e->leader_epoch;
    partition.timestamp = is_start ? TIMESTAMP_EARLIEST : TIMESTAMP_LATEST;
    l = xcalloc(1, sizeof *l);
    l->fetcher = f;
    l->partition = partition_ref(e->partition);
    l->leader_epoch = e->leader_epoch;
    l->is_start = is_start;
    LIST_INSERT_HEAD(&f->looks, l, link);
    if (client_send(f->client, KP_API_LIST_OFFSETS, LIST_OFFSETS_VERSION, &req,
                    f->home->all->o->socket_timeout_ms, on_list_offsets, l, &why) != ERR_OK) {
        SLOG(ERROR, "fetcher", "ListOffsets cannot be sent", KV_S("why", why.text));
        lookup_free(l);
        entry_delay(f, e);
    }
}

/* ---- answers */

static void append_answer(struct fetcher *f, struct fetch_entry *e,
                          const struct kp_FetchResponse_PartitionData *d, struct frame *frame)
{
    struct partition_fetched fetched = {.leader_epoch = e->leader_epoch,
                                        .fetch_offset = e->offset,
                                        .leader_hw = d->high_watermark,
                                        .leader_start = d->log_start_offset};
    struct partition_position pos;

    if (d->records.len > 0) {
        fetched.records = frame->p + (d->records.p - frame->p); /* the frame is writable */
        fetched.len = (size_t)d->records.len;
    }
    switch (partition_append_fetched(e->partition, &fetched, &pos)) {
    case FETCHED_OK:
        e->delay_ms = 0;
        if (pos.offset != e->offset || pos.start_offset != e->start_offset ||
            pos.last_epoch != e->last_epoch)
            entry_go_on(f, e, &pos);
        break;
    case FETCHED_STALE:
    case FETCHED_CORRUPT:
        entry_delay(f, e);
        break;
    case FETCHED_RESTART:
    case FETCHED_FAILED:
        fetch_set_move(&f->set, e, FETCH_PAUSED);
        break;
    }
}

/* The answer is older than our position, but the leader's offsets are as good as any. */
static void use_offsets_only(struct fetch_entry *e, uint32_t seq,
                             const struct kp_FetchResponse_PartitionData *d)
{
    if (fetch_entry_offsets_fit(e, seq) && d->error_code == KE_NONE &&
        d->diverging_epoch.end_offset < 0 && d->diverging_epoch.epoch < 0)
        partition_note_leader_offsets(e->partition, e->leader_epoch, d->high_watermark,
                                      d->log_start_offset);
}

static void log_fetch_error(const struct fetcher *f, const struct fetch_entry *e, int16_t error)
{
    SLOG_EVERY(1000, INFO, "fetcher", "the leader refused to send records",
               KV_I("leader", f->leader_id), KV_STR("topic", e->topic), KV_I("partition", e->index),
               KV_I("leader_epoch", e->leader_epoch), KV_I("offset", e->offset), KV_KERR(error));
}

static void handle_partition(struct fetcher *f, struct fetch_entry *e, uint32_t seq,
                             const struct kp_FetchResponse_PartitionData *d, struct frame *frame)
{
    if (!fetch_entry_fits(e, seq)) {
        if (e->partition != NULL)
            use_offsets_only(e, seq, d);
        return;
    }
    switch (d->error_code) {
    case KE_NONE:
        if (d->diverging_epoch.end_offset < 0 && d->diverging_epoch.epoch < 0) {
            append_answer(f, e, d, frame);
            break;
        }
        /* nothing else of this answer is used (KAFKA-14704); FOLLOW comes after the truncation */
        fetch_set_move(&f->set, e, FETCH_PAUSED);
        (void)partition_diverged(e->partition, e->leader_epoch, d->diverging_epoch.epoch,
                                 d->diverging_epoch.end_offset);
        break;
    case KE_OFFSET_OUT_OF_RANGE:
        fetch_set_move(&f->set, e, FETCH_PAUSED);
        lookup_send(f, e, false);
        break;
    case KE_FENCED_LEADER_EPOCH:
        log_fetch_error(f, e, d->error_code);
        fetch_set_move(&f->set, e, FETCH_PAUSED);
        break;
    default:
        log_fetch_error(f, e, d->error_code);
        entry_delay(f, e);
        break;
    }
}

static void handle_answer(struct fetcher *f, const struct fetch_call *call,
                          const struct kp_FetchResponse *resp, struct frame *frame)
{
    bool by_id = call->version >= 13;

    if (!fetch_set_answer(&f->set, call->seq, call->is_full, resp->error_code, resp->session_id)) {
        SLOG_EVERY(1000, INFO, "fetcher", "the leader ended the fetch session",
                   KV_I("leader", f->leader_id), KV_KERR(resp->error_code));
        if (resp->error_code != KE_FETCH_SESSION_ID_NOT_FOUND &&
            resp->error_code != KE_INVALID_FETCH_SESSION_EPOCH && !f->must_wait)
            fetcher_retry_later(f);
        return;
    }
    f->connect_delay_ms = CONNECT_DELAY_FIRST_MS;
    for (int32_t i = 0; i < resp->responses_count; i++) {
        const struct kp_FetchResponse_FetchableTopicResponse *t = &resp->responses[i];
        for (int32_t j = 0; j < t->partitions_count; j++) {
            const struct kp_FetchResponse_PartitionData *d = &t->partitions[j];
            struct fetch_entry *e =
                by_id ? fetch_set_find_by_id(&f->set, t->topic_id, d->partition_index)
                      : fetch_set_find(&f->set, t->topic, d->partition_index);
            if (e != NULL)
                handle_partition(f, e, call->seq, d, frame);
        }
    }
}

static void on_fetch(void *arg, enum err err, struct frame *frame, struct bytes body)
{
    struct fetch_call *call = arg;
    struct fetcher *f = call->fetcher;
    struct kp_FetchResponse resp;
    struct errtext why = {""};

    CHECK_OBJ(f, FETCHER_MAGIC);
    if (err == ERR_OK) {
        arena_reset(&f->arena);
        err = kp_decode(&kp_FetchResponse_schema, call->version, body, &f->arena, &resp, &why);
        if (err == ERR_OK) {
            handle_answer(f, call, &resp, frame);
        } else {
            SLOG_EVERY(1000, WARN, "fetcher", "cannot decode an answer of the leader",
                       KV_I("leader", f->leader_id), KV_S("why", why.text));
            fetch_set_disconnected(&f->set); /* start over with a full fetch */
            if (!f->must_wait)
                fetcher_retry_later(f);
        }
        fetcher_wake(f);
    } /* else on_close follows */
    call_free(call);
}

/* ---- requests */

static bool may_fetch(const struct fetcher *f)
{
    if (f->fetches == 0)
        return true;
    return f->fetches == 1 && f->has_joined && f->set.counts[FETCH_WANTED] > 0 &&
           f->set.session_epoch > 0 && f->set.session_id != 0;
}

static void fetch_send(struct fetcher *f)
{
    const struct replicas_options *o = f->home->all->o;
    struct fetch_call *call = xcalloc(1, sizeof *call);
    struct kp_FetchRequest req;
    struct errtext why = {""};

    arena_reset(&f->arena);
    kp_defaults(&kp_FetchRequest_schema, &req);
    call->fetcher = f;
    LIST_INSERT_HEAD(&f->calls, call, link);
    f->fetches++;
    f->has_joined = false;
    call->version =
        fetch_set_request(&f->set, &f->arena, o->fetch_partition_max_bytes, &req, &call->seq);
    call->is_full = req.session_epoch == 0;
    if (call->version >= 15) {
        req.replica_state.replica_id = o->broker_id;
        req.replica_state.replica_epoch =
            o->broker_epoch == NULL ? -1 : atomic_load(o->broker_epoch);
    } else {
        req.replica_id = o->broker_id;
    }
    req.max_wait_ms = o->fetch_wait_max_ms;
    req.min_bytes = o->fetch_min_bytes;
    req.max_bytes = o->fetch_response_max_bytes;
    if (client_send(f->client, KP_API_FETCH, call->version, &req,
                    o->socket_timeout_ms + o->fetch_wait_max_ms, on_fetch, call, &why) == ERR_OK) {
        fetch_set_sent(&f->set);
        return;
    }
    SLOG(ERROR, "fetcher", "Fetch cannot be sent", KV_S("why", why.text));
    call_free(call);
    fetch_set_disconnected(&f->set);
    fetcher_retry_later(f);
}

static void empty_fired(struct loop_timer *t)
{
    struct fetcher *f = CONTAINER_OF(t, struct fetcher, empty_timer);

    if (fetch_set_count(&f->set) == 0)
        fetcher_free(f);
}

/* The end of a turn of the loop in which something happened. */
static void fetcher_work(struct loop_deferred *d)
{
    struct fetcher *f = CONTAINER_OF(d, struct fetcher, work);

    CHECK_OBJ(f, FETCHER_MAGIC);
    if (fetch_set_count(&f->set) == 0) {
        loop_timer_arm(f->home->loop, &f->empty_timer, EMPTY_MS);
        return;
    }
    loop_timer_cancel(f->home->loop, &f->empty_timer);
    if (f->must_wait || !fetch_set_has_work(&f->set))
        return;
    if (f->client == NULL)
        fetcher_connect(f);
    if (f->client != NULL && may_fetch(f))
        fetch_send(f);
}

/* ---- commands */

struct fetch_command {
    struct mail mail;
    struct fetch_loop *home;
    struct partition *partition; /* reference; NULL: endpoints changed */
    bool is_follow;
    int32_t leader_id, leader_epoch;
    struct partition_position pos;
    struct uuid topic_id;
};

static struct fetcher *find_fetcher(struct fetch_loop *home, int32_t leader_id, int32_t fetcher_id)
{
    struct fetcher *f;

    LIST_FOREACH (f, &home->fetchers, link) {
        if (f->leader_id == leader_id && f->fetcher_id == fetcher_id)
            return f;
    }
    return NULL;
}

static struct fetcher *add_fetcher(struct fetch_loop *home, int32_t leader_id, int32_t fetcher_id)
{
    struct fetcher *f = xcalloc(1, sizeof *f);

    f->magic = FETCHER_MAGIC;
    f->home = home;
    f->leader_id = leader_id;
    f->fetcher_id = fetcher_id;
    f->connect_delay_ms = CONNECT_DELAY_FIRST_MS;
    f->connect_timer.fire = connect_fired;
    f->delay_timer.fire = delay_fired;
    f->empty_timer.fire = empty_fired;
    f->work.run = fetcher_work;
    LIST_INIT(&f->calls);
    LIST_INIT(&f->looks);
    fetch_set_init(&f->set);
    LIST_INSERT_HEAD(&home->fetchers, f, link);
    return f;
}

/* Takes c->partition's reference. */
static void do_follow(struct fetch_command *c)
{
    int32_t id = fetcher_id_of(c->home->all, c->partition);
    struct fetcher *f = find_fetcher(c->home, c->leader_id, id);
    struct fetch_entry *e;

    if (f == NULL)
        f = add_fetcher(c->home, c->leader_id, id);
    e = fetch_set_add(&f->set, partition_topic(c->partition), c->topic_id, c->partition->index);
    partition_unref(&e->partition);
    e->partition = c->partition;
    c->partition = NULL;
    e->leader_epoch = c->leader_epoch;
    e->delay_ms = 0;
    entry_join(f, e, &c->pos);
    fetcher_wake(f);
}

static void do_forget(struct fetch_command *c)
{
    struct fetcher *f =
        find_fetcher(c->home, c->leader_id, fetcher_id_of(c->home->all, c->partition));
    struct fetch_entry *e =
        f == NULL ? NULL
                  : fetch_set_find(&f->set, partition_topic(c->partition), c->partition->index);

    if (e == NULL || e->partition != c->partition)
        return;
    partition_unref(&e->partition);
    fetch_set_remove(&f->set, e);
    fetcher_wake(f);
}

/* A leader may have another address, or one at all. */
static void do_endpoints(struct fetch_loop *home)
{
    struct fetcher *f;

    LIST_FOREACH (f, &home->fetchers, link) {
        if (!f->must_wait)
            continue;
        loop_timer_cancel(home->loop, &f->connect_timer);
        f->must_wait = false;
        f->connect_delay_ms = CONNECT_DELAY_FIRST_MS;
        fetcher_wake(f);
    }
}

static void command_delivered(struct mail *m)
{
    struct fetch_command *c = CONTAINER_OF(m, struct fetch_command, mail);

    if (!c->home->is_stopped) {
        if (c->partition == NULL)
            do_endpoints(c->home);
        else if (c->is_follow)
            do_follow(c);
        else
            do_forget(c);
    }
    partition_unref(&c->partition);
    mem_free(c);
}

static struct fetch_command *command_new(struct fetch_loop *home)
{
    struct fetch_command *c = xcalloc(1, sizeof *c);

    c->mail.deliver = command_delivered;
    c->home = home;
    return c;
}

void fetchers_follow(struct fetchers *f, struct partition *p, int32_t leader_id,
                     int32_t leader_epoch, const struct partition_position *pos)
{
    struct fetch_command *c = command_new(home_of(f, leader_id, fetcher_id_of(f, p)));

    c->partition = partition_ref(p);
    c->is_follow = true;
    c->leader_id = leader_id;
    c->leader_epoch = leader_epoch;
    c->pos = *pos;
    c->topic_id = p->topic_id;
    loop_post(c->home->loop, &c->mail);
}

void fetchers_forget(struct fetchers *f, struct partition *p, int32_t leader_id)
{
    struct fetch_command *c = command_new(home_of(f, leader_id, fetcher_id_of(f, p)));

    c->partition = partition_ref(p);
    c->leader_id = leader_id;
    loop_post(c->home->loop, &c->mail);
}

void fetchers_endpoints_changed(struct fetchers *f)
{
    for (int i = 0; i < f->count; i++) {
        struct fetch_command *c = command_new(&f->loops[i]);
        loop_post(c->home->loop, &c->mail);
    }
}

/* ---- life */

struct fetchers *fetchers_new(struct replicas *r)
{
    const struct replicas_options *o = replicas_options_of(r);
    struct fetchers *f = xcalloc(1, sizeof *f + (size_t)o->loop_count * sizeof(struct fetch_loop));

    f->replicas = r;
    f->o = o;
    f->count = o->loop_count;
    for (int i = 0; i < f->count; i++) {
        f->loops[i].all = f;
        f->loops[i].loop = o->loops[i];
        LIST_INIT(&f->loops[i].fetchers);
    }
    return f;
}

static void stop_on_loop(void *arg)
{
    struct fetch_loop *home = arg;

    home->is_stopped = true;
    while (!LIST_EMPTY(&home->fetchers))
        fetcher_free(LIST_FIRST(&home->fetchers));
}

void fetchers_stop(struct fetchers *f)
{
    for (int i = 0; i < f->count; i++)
        loop_call(f->loops[i].loop, stop_on_loop, &f->loops[i]);
}

void fetchers_free(struct fetchers **fp)
{
    for (int i = 0; *fp != NULL && i < (*fp)->count; i++)
        ASSERT(LIST_EMPTY(&(*fp)->loops[i].fetchers));
    FREE_NULL(fp);
}
