/* SPDX-License-Identifier: Apache-2.0 */
/* fetch - Fetch (1), of consumers and followers, with and without a session.
 *
 * A fetch looks at the partitions of its list that are dirty (named by the client, with news since
 * the last look, or not told completely) and answers at once if there is enough, an error, or no
 * time to wait; else it waits for the list's news, or its time, and looks again. So an incremental
 * fetch costs what is listed plus what has news, not what the session holds. A fetch without a
 * session, and a session's first, tell of every partition, so they look at all.
 *
 * Data are ranges of segment files; the connection sends them with sendfile, and has an io thread
 * read in what is not in the page cache. Versions 0-3 know no record batches: their answers are
 * converted first (fetch_convert.h). If nothing is left then, because all were control batches, the
 * fetch goes on behind them. */
#include "broker/api/api.h"
#include "broker/api/fetch_convert.h"
#include "broker/api/fetch_session.h"
#include "broker/api/handlers.h"
#include "broker/api/new_topics.h"
#include "broker/config/config.h"
#include "broker/http/metrics.h"
#include "broker/replica/partition.h"
#include "common/base/slog.h"
#include "common/protocol/codec.h"
#include "common/protocol/messages.h"
#include "common/record/batch.h"

enum {
    FETCH_MAGIC = 0x66657463,
    /* the first versions with a limit for the whole answer, with record batches, with zstd */
    VERSION_MAX_BYTES = 3,
    VERSION_BATCHES = 4,
    VERSION_ZSTD = 10,
    FORMAT_BATCHES = 2,
    OLD_READ_BYTES_MIN = 65536 /* so that a run of control batches does not take many looks */
};

struct fetch_hit { /* what one look found in one partition */
    struct fetch_part *part;
    struct partition_read_result res;
    struct fetch_conversion_part *converted; /* NULL: sent as it is in the file */
    bool is_refused;                         /* before it was read */
};

/* What one partition takes of a look and of the answer; a follower may name a hundred thousand. */
enum {
    HIT_BYTES = sizeof(struct fetch_hit) + sizeof(struct kp_FetchResponse_FetchableTopicResponse) +
                sizeof(struct kp_FetchResponse_PartitionData) + sizeof(struct log_range) + 64
};

struct fetch {
    unsigned magic;
    struct request *request;
    const struct kp_FetchRequest *req;
    struct fetch_session *session; /* NULL: none */
    struct fetch_list *list;       /* the session's, or the request's own */
    bool is_full, is_denied, has_looked, is_waiting, is_converting, is_hurried, has_timer;
    int8_t format; /* FORMAT_BATCHES, or the old message format that the client reads */
    int32_t replica_id;
    int64_t replica_epoch;
    int32_t max_bytes, min_bytes;
    struct fetch_hit *hits;
    int32_t hit_count, hit_cap;
    int64_t bytes; /* of records in the hits */
    bool must_answer;
    int32_t refused;
    struct loop_timer timer;
    struct kp_FetchResponse response;
    struct log_range *ranges;
    size_t range_count;
    struct fetch_conversion conversion;
};

static void fetch_look(struct fetch *f, bool force);

static bool is_old(const struct fetch *f)
{
    return UNLIKELY(f->format != FORMAT_BATCHES);
}

/* ---- one partition */

/* The partition's topic by the client's name or id, and what forbids to read it. A follower may
 * know a topic that the metadata lack: LeaderAndIsr named it to both brokers. The replica itself
 * says whether it leads. */
static int16_t part_resolve(struct fetch *f, struct fetch_part *p, struct str *topic_out)
{
    struct request *r = f->request;
    struct metadata *m = metadata_current(r);
    const struct metadata_topic *t = f->list->uses_ids ? metadata_topic_by_id(m, p->topic->id)
                                                       : metadata_topic(m, p->topic->name);
    bool is_follower = f->replica_id >= 0;
    *topic_out = !f->list->uses_ids ? p->topic->name
                 : t != NULL        ? t->name
                 : is_follower
                     ? new_topics_find(r->broker->api->new_topics, p->topic->id, &r->arena)
                     : STR_NULL;
    if (topic_out->len < 0)
        return KE_UNKNOWN_TOPIC_ID;
    if (f->is_denied || (!is_follower && !authorize(r, ACL_READ, ACL_TOPIC, *topic_out)))
        return KE_TOPIC_AUTHORIZATION_FAILED;
    if (!is_follower && metadata_partition_of(t, p->index) == NULL)
        return KE_UNKNOWN_TOPIC_OR_PARTITION;
    return KE_NONE;
}

static void part_failed(struct fetch_hit *h, int16_t error)
{
    h->res = (struct partition_read_result){.error = error,
                                            .high_watermark = -1,
                                            .last_stable_offset = -1,
                                            .log_start_offset = -1,
                                            .diverging_epoch = -1,
                                            .leader_id = -1,
                                            .leader_epoch = -1,
                                            .preferred_replica = -1};
}

static void part_read(struct fetch *f, struct fetch_hit *h, struct partition *partition,
                      int64_t max_bytes)
{
    const struct fetch_part *p = h->part;
    struct partition_read in = {
        .replica_id = f->replica_id,
        .replica_epoch = f->replica_epoch,
        .fetch_offset = p->fetch_offset,
        .follower_start_offset = p->follower_start,
        .current_leader_epoch = p->current_leader_epoch,
        .last_fetched_epoch = p->last_fetched_epoch,
        .max_bytes = max_bytes,
        .at_least_one = f->bytes == 0,
        .read_committed = f->req->isolation_level == 1,
        .leader_required = f->replica_id >= 0 ||
                           (f->replica_id == REPLICA_CONSUMER && f->request->api_version < 11),
        .update_follower = f->replica_id >= 0 && !f->has_looked,
        .topic_id = p->topic->id,
        .now_ms = loop_now_ms(f->request->loop),
    };
    partition_read(partition, &in, &h->res);
    h->part->is_recorded |= f->replica_id < 0 || !f->has_looked;
}

/* The same for a client of an old format, whose limits count converted. Before version 3 every
 * partition begins with its first message. */
static void part_read_old(struct fetch *f, struct fetch_hit *h, struct partition *partition)
{
    int64_t left = f->max_bytes - f->bytes;
    int64_t limit = i64_max(i64_min(h->part->max_bytes, left), OLD_READ_BYTES_MIN);
    bool is_hard = f->request->api_version < VERSION_MAX_BYTES;
    int64_t bytes = f->bytes;
    if ((f->bytes > 0 && left <= 0) || (is_hard && h->part->max_bytes <= 0))
        limit = 0;
    if (is_hard)
        f->bytes = 0; /* each is a first one */
    part_read(f, h, partition, limit);
    f->bytes = bytes;
}

/* What a topic's settings forbid to clients of this version. */
static int16_t old_version_check(const struct fetch *f, const struct partition_read_result *res)
{
    if (res->compression_type == CODEC_ZSTD)
        return KE_UNSUPPORTED_COMPRESSION_TYPE;
    if (is_old(f) && f->replica_id < 0 && !res->is_downconversion_enabled)
        return KE_UNSUPPORTED_VERSION;
    return KE_NONE;
}

static void hit_release(struct fetch_hit *h)
{
    log_range_release(&h->res.range);
    FREE_NULL(&h->res.aborted);
}

/* Reads the partition into a new hit. */
static void part_look(struct fetch *f, struct fetch_part *p)
{
    struct fetch_hit *h = &f->hits[f->hit_count++];
    *h = (struct fetch_hit){.part = p};
    struct str topic; /* borrowed from the snapshot or the list */
    int16_t error = part_resolve(f, p, &topic);
    if (error != KE_NONE) {
        part_failed(h, error);
        h->is_refused = true;
        f->refused++;
        fetch_part_unwatch(p);
        return;
    }
    struct partition *partition = replicas_find(f->request->broker->replicas, topic, p->index);
    if (partition == NULL) {
        part_failed(h, KE_NOT_LEADER_OR_FOLLOWER);
        f->must_answer = true;
        fetch_part_unwatch(p);
        return;
    }
    if (f->session != NULL || f->list->news != NULL || f->has_looked)
        fetch_part_watch(f->list, p, partition); /* before the look, so that nothing is missed */
    int64_t limit = i64_min(p->max_bytes, f->max_bytes - f->bytes);
    if (is_old(f))
        part_read_old(f, h, partition);
    else
        part_read(f, h, partition, f->bytes == 0 ? i64_max(limit, 1) : i64_max(limit, 0));
    partition_unref(&partition);
    if (UNLIKELY(f->request->api_version < VERSION_ZSTD) && h->res.error == KE_NONE &&
        (error = old_version_check(f, &h->res)) != KE_NONE) {
        hit_release(h);
        part_failed(h, error);
    }
    f->bytes += h->res.range.length;
    /* DeleteRecords waits for the followers' starts: they hear of the leader's at once */
    f->must_answer |= f->replica_id >= 0 && p->sent_start >= 0 && h->res.error == KE_NONE &&
                      h->res.log_start_offset > p->sent_start;
    f->must_answer |= h->res.error != KE_NONE || h->res.diverging_epoch >= 0 ||
                      h->res.preferred_replica >= 0 || h->res.is_older_segment;
    if (h->res.error != KE_NONE)
        fetch_part_unwatch(p); /* looked up again next time: it may be another replica by then */
}

/* ---- looking */

static void hits_release(struct fetch *f)
{
    for (int32_t i = 0; i < f->hit_count; i++)
        hit_release(&f->hits[i]);
    f->hit_count = 0;
    f->bytes = 0;
    f->refused = 0;
    f->must_answer = false;
}

static bool hits_reserve(struct fetch *f, int32_t count)
{
    if (count <= f->hit_cap)
        return true;
    int32_t cap = i32_max(count, f->hit_cap * 2);
    api_raise_limit(f->request, (size_t)cap, HIT_BYTES);
    struct fetch_hit *hits = api_alloc(f->request, (size_t)cap, sizeof *hits);
    if (hits == NULL)
        return false;
    f->hits = hits;
    f->hit_cap = cap;
    return true;
}

static bool look_at_parts(struct fetch *f)
{
    struct fetch_part *p;
    fetch_list_collect(f->list);
    hits_release(f);
    if (!hits_reserve(f, f->is_full ? f->list->count : f->list->dirty_count))
        return false;
    if (f->is_full) {
        TAILQ_FOREACH (p, &f->list->all, all)
            part_look(f, p);
        return true;
    }
    TAILQ_FOREACH (p, &f->list->dirty, dirty) {
        if (f->bytes > 0 && f->bytes >= f->max_bytes)
            break; /* they stay dirty and are first the next time */
        part_look(f, p);
    }
    return true;
}

static bool is_enough(const struct fetch *f)
{
    if (f->must_answer || f->req->max_wait_ms <= 0 || f->bytes >= f->min_bytes)
        return true;
    return f->refused == f->list->count; /* nothing that could bring news */
}

/* ---- the answer */

static bool hit_is_told(const struct fetch *f, const struct fetch_hit *h)
{
    const struct partition_read_result *r = &h->res;
    if (f->is_full || r->error != KE_NONE || r->range.length > 0 || r->diverging_epoch >= 0 ||
        r->preferred_replica >= 0)
        return true;
    return r->high_watermark != h->part->sent_hw || r->log_start_offset != h->part->sent_start;
}

/* Is there nothing for it to read now? Then only news make it worth a look. But a follower's that
 * had news while the fetch was waiting is looked at once more by the next request, which says anew
 * where the follower is: the news may be that the leader wants to hear that (it may join the ISR
 * now). */
static bool hit_is_at_end(const struct fetch *f, const struct fetch_hit *h)
{
    const struct partition_read_result *r = &h->res;
    int64_t limit = f->replica_id != REPLICA_CONSUMER ? r->log_end_offset
                    : f->req->isolation_level == 1    ? r->last_stable_offset
                                                      : r->high_watermark;
    return r->error == KE_NONE && r->diverging_epoch < 0 && h->part->fetch_offset >= limit &&
           h->part->is_recorded;
}

/* After the answer: what the client knows now, and what has to be looked at again. */
static void hit_told(struct fetch *f, struct fetch_hit *h, bool is_told)
{
    struct fetch_part *p = h->part;
    const struct partition_read_result *r = &h->res;
    if (is_told) {
        p->sent_hw = r->error == KE_NONE ? r->high_watermark : -1;
        p->sent_start = r->error == KE_NONE ? r->log_start_offset : -1;
    }
    if (r->range.length > 0)
        fetch_part_touch(f->list, p); /* others are first the next time */
    else if (hit_is_at_end(f, h))
        fetch_part_settle(f->list, p);
}

static int16_t error_for_version(int16_t error, int16_t version)
{
    if (error == KE_KAFKA_STORAGE_ERROR && version <= 5)
        return KE_NOT_LEADER_OR_FOLLOWER;
    return error;
}

static void answer_aborted(const struct fetch *f, const struct partition_read_result *res,
                           struct kp_FetchResponse_PartitionData *d)
{
    d->aborted_transactions_count = -1;
    if (f->req->isolation_level != 1 || res->error != KE_NONE)
        return;
    struct kp_FetchResponse_AbortedTransaction *a =
        api_alloc(f->request, (size_t)res->aborted_count, sizeof *a);
    d->aborted_transactions = a;
    d->aborted_transactions_count = a == NULL ? 0 : res->aborted_count;
    for (int32_t i = 0; i < d->aborted_transactions_count; i++) {
        a[i].producer_id = res->aborted[i].producer_id;
        a[i].first_offset = res->aborted[i].first_offset;
    }
}

static void answer_part(struct fetch *f, struct fetch_hit *h,
                        struct kp_FetchResponse_PartitionData *d)
{
    static const uint8_t empty[1];
    const struct partition_read_result *res = &h->res;
    kp_defaults(&kp_FetchResponse_PartitionData_schema, d);
    d->partition_index = h->part->index;
    d->error_code = error_for_version(res->error, f->request->api_version);
    d->high_watermark = res->high_watermark;
    d->last_stable_offset = res->last_stable_offset;
    d->log_start_offset = res->log_start_offset;
    d->preferred_read_replica = res->preferred_replica;
    d->records = (struct bytes){empty, 0};
    if (res->diverging_epoch >= 0) {
        d->diverging_epoch.epoch = res->diverging_epoch;
        d->diverging_epoch.end_offset = res->diverging_end_offset;
    }
    if (res->error != KE_NONE)
        d->high_watermark = d->last_stable_offset = d->log_start_offset = -1;
    answer_aborted(f, res, d);
    if (h->converted != NULL) {
        d->records = (struct bytes){h->converted->out.p, (int64_t)h->converted->out.len};
        if (d->records.p == NULL)
            d->records.p = empty;
    } else if (res->range.length > 0) {
        d->records = (struct bytes){kp_hole, res->range.length};
        f->ranges[f->range_count++] = res->range;
        h->res.range = (struct log_range){0}; /* the answer's now */
    }
}

/* v16+ (KIP-951). Topics of the answer have their ids or names. */
static void answer_leaders(struct fetch *f)
{
    struct request *r = f->request;
    struct metadata *m = metadata_current(r);
    struct api_leaders leaders;
    if (r->api_version < 16 || !api_leaders_init(&leaders, r, f->hit_count))
        return;
    for (int32_t t = 0; t < f->response.responses_count; t++) {
        struct kp_FetchResponse_FetchableTopicResponse *topic = &f->response.responses[t];
        for (int32_t i = 0; i < topic->partitions_count; i++) {
            struct kp_FetchResponse_PartitionData *d = &topic->partitions[i];
            if (d->error_code != KE_NOT_LEADER_OR_FOLLOWER &&
                d->error_code != KE_FENCED_LEADER_EPOCH)
                continue;
            const struct metadata_partition *mp =
                metadata_partition_of(metadata_topic_by_id(m, topic->topic_id), d->partition_index);
            if (mp == NULL || mp->leader < 0)
                continue;
            d->current_leader.leader_id = mp->leader;
            d->current_leader.leader_epoch = mp->leader_epoch;
            api_leaders_add(&leaders, mp->leader);
        }
    }
    struct kp_FetchResponse_NodeEndpoint *nodes =
        api_alloc(r, (size_t)leaders.count, sizeof *nodes);
    for (int32_t i = 0; nodes != NULL && i < leaders.count; i++)
        nodes[i] = (struct kp_FetchResponse_NodeEndpoint){.node_id = leaders.nodes[i].id,
                                                          .host = leaders.nodes[i].host,
                                                          .port = leaders.nodes[i].port,
                                                          .rack = leaders.nodes[i].rack};
    f->response.node_endpoints = nodes;
    f->response.node_endpoints_count = nodes == NULL ? 0 : leaders.count;
}

/* The list may be gone when the answer is encoded: names are copied. */
static bool answer_topic(struct fetch *f, const struct fetch_topic *t,
                         struct kp_FetchResponse_FetchableTopicResponse *to,
                         struct kp_FetchResponse_PartitionData *parts)
{
    to->topic_id = t->id;
    to->partitions = parts;
    if (f->list->uses_ids)
        return true;
    const char *name = arena_strdup(&f->request->arena, t->name.p, (size_t)t->name.len);
    to->topic = (struct str){name, t->name.len};
    return name != NULL;
}

/* Partitions that follow each other and are of one topic share its entry. False: no memory. */
static bool answer_build(struct fetch *f)
{
    struct request *r = f->request;
    size_t max = (size_t)f->hit_count;
    struct kp_FetchResponse_FetchableTopicResponse *topics = api_alloc(r, max, sizeof *topics);
    struct kp_FetchResponse_PartitionData *parts = api_alloc(r, max, sizeof *parts);
    f->ranges = api_alloc(r, max, sizeof *f->ranges);
    if (topics == NULL || parts == NULL || f->ranges == NULL)
        return false;
    const struct fetch_topic *last = NULL;
    int32_t topic_count = 0;
    for (int32_t i = 0; i < f->hit_count; i++) {
        struct fetch_hit *h = &f->hits[i];
        bool is_told = hit_is_told(f, h);
        if (f->session != NULL)
            hit_told(f, h, is_told);
        if (!is_told)
            continue;
        if (last != h->part->topic) {
            last = h->part->topic;
            if (!answer_topic(f, last, &topics[topic_count++], parts))
                return false;
        }
        answer_part(f, h, parts++);
        topics[topic_count - 1].partitions_count++;
    }
    f->response.responses = topics;
    f->response.responses_count = topic_count;
    answer_leaders(f);
    return true;
}

/* Lets go of everything but the answer. f lives on in the request's arena. */
static void fetch_end(struct fetch *f)
{
    struct request *r = f->request;
    loop_timer_cancel(r->loop, &f->timer);
    hits_release(f);
    r->on_cancel = NULL;
    r->on_press = NULL;
    if (f->session != NULL) {
        fetch_session_done(r->broker->api->sessions, f->session);
    } else {
        fetch_list_fini(f->list);
        mem_free(f->list);
    }
    f->session = NULL;
    f->list = NULL;
}

static void conversion_free(struct fetch *f)
{
    fetch_conversion_parts_free(f->conversion.parts, f->conversion.count);
    f->conversion.parts = NULL;
    f->conversion.count = 0;
}

static void fetch_refuse_memory(struct fetch *f)
{
    conversion_free(f);
    for (size_t i = 0; i < f->range_count; i++)
        log_range_release(&f->ranges[i]);
    fetch_end(f);
    api_no_memory(f->request);
}

static void fetch_answer(struct fetch *f)
{
    struct request *r = f->request;
    if (!answer_build(f)) {
        fetch_refuse_memory(f);
        return;
    }
    f->response.session_id = f->session == NULL ? FETCH_SESSION_NONE : f->session->id;
    if (f->replica_id < 0)
        METRIC_ADD(fetch_bytes, f->bytes);
    else
        METRIC_ADD(replica_fetch_bytes, f->bytes);
    fetch_end(f);
    struct fetch_conversion_part *parts = f->conversion.parts; /* f ends with the request */
    int32_t count = f->conversion.count;
    request_reply_ranges(r, &f->response, f->ranges, f->range_count);
    if (UNLIKELY(parts != NULL))
        fetch_conversion_parts_free(parts, count);
}

/* ---- converting */

/* Nothing came out of any part, nor did an error, but a part can go on behind what was left out. */
static bool converted_to_nothing(struct fetch *f)
{
    bool can_go_on = false;
    for (int32_t i = 0; i < f->hit_count; i++) {
        const struct fetch_hit *h = &f->hits[i];
        if (h->res.error != KE_NONE || (h->converted != NULL && h->converted->out.len > 0))
            return false;
        can_go_on |= h->converted != NULL && h->converted->next_offset > h->part->fetch_offset;
    }
    for (int32_t i = 0; can_go_on && i < f->hit_count; i++) {
        struct fetch_hit *h = &f->hits[i];
        if (h->converted != NULL)
            h->part->fetch_offset = i64_max(h->part->fetch_offset, h->converted->next_offset);
    }
    return can_go_on;
}

static void conversion_failed(const struct fetch *f, struct fetch_hit *h)
{
    int16_t error = h->converted->error;
    METRIC_ADD(fetch_conversion_errors, 1);
    SLOG_EVERY(1000, WARN, "api", "cannot convert records to the message format of an old client",
               KV_STR("topic", h->part->topic->name), KV_I("partition", h->part->index),
               KV_I("offset", h->part->fetch_offset), KV_S("error", kerr_name(error)),
               KV_STR("client", f->request->client_host));
    part_failed(h, error);
}

/* The loop again, with the hits as they were. */
static void fetch_converted(struct request *r)
{
    struct fetch *f;
    CAST_OBJ(f, r->handler_data, FETCH_MAGIC);
    f->is_converting = false;
    if (atomic_load(&f->conversion.is_cancelled)) {
        conversion_free(f);
        fetch_end(f);
        request_drop(r);
        return;
    }
    METRIC_ADD(fetch_conversions, f->conversion.count);
    f->bytes = 0;
    for (int32_t i = 0; i < f->hit_count; i++) {
        struct fetch_hit *h = &f->hits[i];
        if (h->converted == NULL)
            continue;
        f->bytes += (int64_t)h->converted->out.len;
        if (h->converted->error != KE_NONE)
            conversion_failed(f, h);
    }
    if (!converted_to_nothing(f)) {
        fetch_answer(f);
        return;
    }
    conversion_free(f);
    fetch_look(f, f->is_hurried);
}

/* False: there is nothing to convert. */
static bool fetch_convert(struct fetch *f)
{
    struct request *r = f->request;
    int32_t count = 0;
    for (int32_t i = 0; i < f->hit_count; i++)
        count += f->hits[i].res.range.length > 0;
    if (count == 0)
        return false;
    /* on the heap: the parts outlive the request by a moment */
    struct fetch_conversion_part *parts = xcalloc((size_t)count, sizeof *parts);
    f->conversion = (struct fetch_conversion){.request = r,
                                              .format = f->format,
                                              .bytes_max = f->max_bytes,
                                              .is_cut = r->api_version < VERSION_MAX_BYTES,
                                              .parts = parts,
                                              .done = fetch_converted};
    for (int32_t i = 0; i < f->hit_count; i++) {
        struct fetch_hit *h = &f->hits[i];
        if (h->res.range.length == 0)
            continue;
        h->converted = &parts[f->conversion.count++];
        *h->converted = (struct fetch_conversion_part){.range = h->res.range,
                                                       .first_offset = h->part->fetch_offset,
                                                       .bytes_max = h->part->max_bytes};
        h->res.range = (struct log_range){0}; /* the conversion's now */
    }
    f->is_converting = true;
    fetch_conversion_start(&f->conversion);
    return true;
}

static void fetch_reply(struct fetch *f)
{
    if (!is_old(f) || !fetch_convert(f))
        fetch_answer(f);
}

/* ---- looking and waiting */

/* Nothing is answered now: parts with nothing to tell need no second look before they have news. */
static void settle_quiet(struct fetch *f)
{
    if (!f->is_full)
        for (int32_t i = 0; i < f->hit_count; i++)
            if (!hit_is_told(f, &f->hits[i]) && hit_is_at_end(f, &f->hits[i]))
                fetch_part_settle(f->list, f->hits[i].part);
    hits_release(f);
}

/* Another request waits behind this one: a follower's fetcher that got more partitions to fetch, or
 * a client that wants something else. The answer leaves with what is there. */
static void fetch_pressed(struct request *r)
{
    struct fetch *f;
    CAST_OBJ(f, r->handler_data, FETCH_MAGIC);
    f->is_hurried |= f->is_converting;
    if (f->is_waiting)
        fetch_look(f, true);
}

static void fetch_timeout(struct loop_timer *t)
{
    struct fetch *f = CONTAINER_OF(t, struct fetch, timer);
    CHECK_OBJ(f, FETCH_MAGIC);
    if (f->is_converting)
        f->is_hurried = true;
    else
        fetch_look(f, true);
}

static void fetch_look(struct fetch *f, bool force)
{
    bool is_first = !f->has_looked;
    f->is_waiting = false;
    f->is_hurried |= force;
    if (!look_at_parts(f)) {
        fetch_refuse_memory(f);
        return;
    }
    f->has_looked = true;
    if (!force && is_first && f->session == NULL && !is_enough(f)) {
        /* it has to wait: watch the partitions and look again, so that no news is missed */
        if (!look_at_parts(f)) {
            fetch_refuse_memory(f);
            return;
        }
    }
    if (force || is_enough(f)) {
        fetch_reply(f);
        return;
    }
    settle_quiet(f);
    f->is_waiting = true;
    if (!f->has_timer) {
        f->has_timer = true;
        f->timer.fire = fetch_timeout;
        loop_timer_arm(f->request->loop, &f->timer, f->req->max_wait_ms);
    }
}

static void session_news(void *arg)
{
    struct fetch_session *s = arg;
    struct fetch *f = s->waiting;
    if (f != NULL && f->is_waiting)
        fetch_look(f, false);
}

static void own_news(void *arg)
{
    struct fetch *f;
    CAST_OBJ(f, arg, FETCH_MAGIC);
    if (f->is_waiting)
        fetch_look(f, false);
}

static void fetch_cancel(struct request *r)
{
    struct fetch *f;
    CAST_OBJ(f, r->handler_data, FETCH_MAGIC);
    if (f->is_converting) {
        fetch_conversion_cancel(&f->conversion); /* fetch_converted drops the request */
        return;
    }
    fetch_end(f);
    request_drop(r);
}

/* ---- beginning */

static int32_t partitions_named(const struct kp_FetchRequest *req)
{
    int64_t n = 0;
    for (int32_t i = 0; i < req->topics_count; i++)
        n += req->topics[i].partitions_count;
    return (int32_t)i64_min(n, INT32_MAX);
}

/* Finds or makes the session and puts the request's partitions into the list. An error is one for
 * the whole answer. */
static int16_t session_begin(struct fetch *f)
{
    struct request *r = f->request;
    const struct kp_FetchRequest *req = f->req;
    struct fetch_session_cache *cache = r->broker->api->sessions;
    bool uses_ids = r->api_version >= 13, is_follower = f->replica_id >= 0;
    int64_t now_ms = loop_now_ms(r->loop);
    int32_t named = partitions_named(req);
    f->is_full = req->session_epoch <= FETCH_EPOCH_INITIAL;
    if (!f->is_full) {
        int16_t error = fetch_session_use(cache, r->loop, req->session_id, req->session_epoch,
                                          uses_ids, now_ms, &f->session);
        if (error != KE_NONE)
            return error;
    } else {
        fetch_session_close(cache, r->loop, req->session_id);
        if (req->session_epoch == FETCH_EPOCH_INITIAL && r->api_version >= 7 && named > 0 &&
            named <= FETCH_SESSION_PARTS_MAX)
            f->session = fetch_session_open(cache, r->loop, uses_ids, is_follower, named, now_ms,
                                            session_news);
    }
    if (f->session != NULL) {
        f->session->waiting = f;
        f->list = &f->session->list;
    } else {
        f->list = xcalloc(1, sizeof *f->list);
        fetch_list_init(f->list, r->loop, uses_ids, is_follower, own_news, f);
    }
    if (fetch_list_apply(f->list, req, f->session == NULL ? INT32_MAX : FETCH_SESSION_PARTS_MAX) ==
        ERR_OK)
        return KE_NONE;
    fetch_session_close(cache, r->loop, req->session_id); /* grown too large */
    fetch_end(f);
    return KE_FETCH_SESSION_ID_NOT_FOUND;
}

/* Before version 3 an answer knew no limit, so those clients name their partitions always in the
 * same order: with ours, which they do not know of, the last ones could wait for ever. */
static void begin_elsewhere(struct fetch *f)
{
    uint32_t count = (uint32_t)f->list->count;
    uint32_t steps = count == 0 ? 0 : (uint32_t)f->request->correlation_id % count;
    for (; steps > 0; steps--) {
        struct fetch_part *p = TAILQ_FIRST(&f->list->all);
        TAILQ_REMOVE(&f->list->all, p, all);
        TAILQ_INSERT_TAIL(&f->list->all, p, all);
    }
}

/* Versions 0-3 read messages of format 0 or 1. */
static void format_choose(struct fetch *f)
{
    int16_t version = f->request->api_version;
    f->format = FORMAT_BATCHES;
    if (LIKELY(version >= VERSION_BATCHES))
        return;
    f->format = version < 2 ? 0 : 1;
    f->max_bytes = i32_min(f->max_bytes, f->request->broker->config->kafuka_fetch_conversion_bytes);
}

void api_fetch(struct request *r)
{
    CHECK_OBJ(r, REQUEST_MAGIC);
    const struct kp_FetchRequest *req = r->body;
    struct fetch *f = api_alloc(r, 1, sizeof *f);
    if (f == NULL) {
        api_no_memory(r);
        return;
    }
    f->magic = FETCH_MAGIC;
    f->request = r;
    f->req = req;
    f->replica_id = r->api_version >= 15 ? req->replica_state.replica_id : req->replica_id;
    r->is_from_follower = f->replica_id >= 0;
    f->replica_epoch = r->api_version >= 15 ? req->replica_state.replica_epoch : -1;
    f->is_denied = f->replica_id >= 0 && !api_cluster_allowed(r, ACL_CLUSTER_ACTION);
    f->max_bytes = i32_max(i32_min(req->max_bytes, r->broker->config->fetch_max_bytes), 0);
    format_choose(f);
    f->min_bytes = i32_min(req->min_bytes, f->max_bytes);
    kp_defaults(&kp_FetchResponse_schema, &f->response);
    r->handler_data = f;
    int16_t error = session_begin(f);
    if (error != KE_NONE) {
        f->response.error_code = error;
        request_reply(r, &f->response);
        return;
    }
    r->on_cancel = fetch_cancel;
    r->on_press = fetch_pressed;
    if (r->api_version < VERSION_MAX_BYTES)
        begin_elsewhere(f);
    fetch_look(f, false);
}
