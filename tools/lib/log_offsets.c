/* SPDX-License-Identifier: Apache-2.0 */
/* One request to each leader for all of its partitions. */
#include "tools/lib/log_offsets.h"

#include "common/base/clock.h"
#include "common/record/legacy.h"
#include "common/record/scan.h"

#include <stdlib.h>
#include <time.h>

enum {
    TRIES_MAX = 10, /* while leaders move */
    RETRY_PAUSE_MS = 100,
    LEADER_NOT_ASKED = -2,
    /* of log_read_times */
    FETCH_VERSION = 12, /* the last that names topics by name */
    FETCH_PARTITIONS = 200,
    FETCH_PARTITION_BYTES = 32 * 1024, /* usually one batch */
    FETCH_BYTES = 8 * 1024 * 1024,
    FETCH_ROUNDS_MAX = 25,
    FETCH_SINGLES_MAX = 200 /* partitions whose batch did not fit, asked one by one */
};

static int by_partition(const void *x, const void *y)
{
    const struct log_partition *a = x, *b = y;
    int c = strcmp(a->topic, b->topic);

    return c != 0 ? c : (a->partition > b->partition) - (a->partition < b->partition);
}

int32_t log_partitions_sort(struct log_partition *list, int32_t count)
{
    int32_t n = 0;

    if (count > 1)
        qsort(list, (size_t)count, sizeof *list, by_partition);
    for (int32_t i = 0; i < count; i++)
        if (n == 0 || by_partition(&list[n - 1], &list[i]) != 0)
            list[n++] = list[i];
    return n;
}

struct log_partition *log_partition_find(const struct log_partition *list, int32_t count,
                                         const char *topic, int32_t partition)
{
    struct log_partition key = {.topic = topic, .partition = partition};

    return count == 0 ? NULL : bsearch(&key, list, (size_t)count, sizeof key, by_partition);
}

static struct log_partition *find_str(const struct log_partition *list, int32_t count,
                                      struct str topic, int32_t partition)
{
    char *z = str_dup(topic);
    struct log_partition *p = z == NULL ? NULL : log_partition_find(list, count, z, partition);

    mem_free(z);
    return p;
}

/* Those whose error says "ask again" (or that were not asked yet) get their leader. */
static enum err find_leaders(struct admin *a, struct log_partition *list, int32_t count,
                             struct errtext *why)
{
    const char **names = admin_alloc(a, (size_t)count, sizeof *names);
    struct kp_MetadataResponse m;
    size_t name_count = 0;
    enum err rc;

    for (int32_t i = 0; i < count; i++) {
        if (list[i].leader != LEADER_NOT_ASKED)
            continue;
        list[i].leader = -1;
        list[i].error = KE_UNKNOWN_TOPIC_OR_PARTITION;
        if (name_count == 0 || strcmp(names[name_count - 1], list[i].topic) != 0)
            names[name_count++] = list[i].topic;
    }
    rc = admin_metadata(a, names, name_count, &m, why);
    for (int32_t t = 0; rc == ERR_OK && t < m.topics_count; t++) {
        for (int32_t p = 0; p < m.topics[t].partitions_count; p++) {
            const struct kp_MetadataResponse_MetadataResponsePartition *mp =
                &m.topics[t].partitions[p];
            struct log_partition *lp = find_str(list, count, m.topics[t].name, mp->partition_index);

            if (lp == NULL || lp->error != KE_UNKNOWN_TOPIC_OR_PARTITION)
                continue;
            lp->leader = mp->leader_id;
            lp->error = mp->leader_id < 0 ? KE_LEADER_NOT_AVAILABLE : KE_NONE;
        }
    }
    return rc;
}

static void take_offsets(struct log_partition *list, int32_t count,
                         const struct kp_ListOffsetsResponse *r)
{
    for (int32_t t = 0; t < r->topics_count; t++) {
        const struct kp_ListOffsetsResponse_ListOffsetsTopicResponse *rt = &r->topics[t];

        for (int32_t p = 0; p < rt->partitions_count; p++) {
            const struct kp_ListOffsetsResponse_ListOffsetsPartitionResponse *rp =
                &rt->partitions[p];
            struct log_partition *lp = find_str(list, count, rt->name, rp->partition_index);

            if (lp == NULL)
                continue;
            lp->error = rp->error_code;
            lp->offset = rp->offset;
        }
    }
}

/* One leader's partitions among list[from..]. Its answers; a leader that does not answer leaves
 * NETWORK_EXCEPTION. */
static void ask_leader(struct admin *a, struct log_partition *list, int32_t count, int32_t leader,
                       int64_t time)
{
    struct kp_ListOffsetsRequest request;
    struct kp_ListOffsetsResponse response;
    struct kp_ListOffsetsRequest_ListOffsetsPartition *parts =
        admin_alloc(a, (size_t)count, sizeof *parts);
    struct errtext why = {{0}};
    int32_t n = 0, part_count = 0;

    kp_defaults(&kp_ListOffsetsRequest_schema, &request);
    request.replica_id = -1;
    request.topics = admin_alloc(a, (size_t)count, sizeof *request.topics);
    for (int32_t i = 0; i < count; i++) {
        struct kp_ListOffsetsRequest_ListOffsetsPartition *p = &parts[part_count];

        if (list[i].leader != leader || list[i].error != KE_NONE)
            continue;
        kp_defaults(&kp_ListOffsetsRequest_ListOffsetsPartition_schema, p);
        p->partition_index = list[i].partition;
        p->timestamp = time;
        if (n == 0 || !str_eq_z(request.topics[n - 1].name, list[i].topic)) {
            kp_defaults(&kp_ListOffsetsRequest_ListOffsetsTopic_schema, &request.topics[n]);
            request.topics[n].name = str_of(list[i].topic);
            request.topics[n].partitions = p;
            request.topics[n++].partitions_count = 0;
        }
        request.topics[n - 1].partitions_count++;
        part_count++;
        list[i].error = KE_NETWORK_EXCEPTION; /* until it answers */
    }
    request.topics_count = n;
    if (admin_call(a, leader, KP_API_LIST_OFFSETS, BCLIENT_NEWEST, &request, &response, NULL,
                   &why) == ERR_OK)
        take_offsets(list, count, &response);
}

/* True when something is left to be asked again. */
static bool mark_for_retry(struct log_partition *list, int32_t count)
{
    bool any = false;

    for (int32_t i = 0; i < count; i++) {
        if (list[i].error == KE_NONE || !kerr_is_retriable(list[i].error) ||
            (list[i].error == KE_UNKNOWN_TOPIC_OR_PARTITION && list[i].leader < 0))
            continue; /* what the metadata does not have will not come */
        list[i].leader = LEADER_NOT_ASKED;
        any = true;
    }
    return any;
}

enum err log_list_offsets(struct admin *a, struct log_partition *list, int32_t count, int64_t time,
                          struct errtext *why)
{
    struct timespec pause = {0, RETRY_PAUSE_MS * 1000000L};
    int64_t deadline_ms = clock_mono_ms() + a->timeout_ms;

    for (int32_t i = 0; i < count; i++) {
        list[i].leader = LEADER_NOT_ASKED;
        list[i].offset = -1;
    }
    for (int tries = 0; count > 0; tries++) {
        enum err rc = find_leaders(a, list, count, why);

        if (rc != ERR_OK)
            return rc;
        for (int32_t b = 0; b < a->metadata.brokers_count; b++) {
            bool is_leader = false;

            for (int32_t i = 0; i < count && !is_leader; i++)
                is_leader = list[i].leader == a->metadata.brokers[b].node_id &&
                            list[i].error == KE_NONE && list[i].offset < 0;
            if (is_leader)
                ask_leader(a, list, count, a->metadata.brokers[b].node_id, time);
        }
        if (tries + 1 >= TRIES_MAX || clock_mono_ms() >= deadline_ms ||
            !mark_for_retry(list, count))
            break;
        (void)nanosleep(&pause, NULL);
    }
    return ERR_OK;
}

/* ---- the times of records */

/* In one v2 batch of total bytes, of which n are there. */
static int64_t time_in_batch(const uint8_t *b, size_t n, size_t total, int64_t offset)
{
    struct record_scan *s = NULL;
    struct record_brief r;
    int64_t found = -1;

    if ((batch_attributes(b) & BATCH_LOG_APPEND_TIME) != 0)
        return batch_max_timestamp(b);
    /* compaction may have taken the record that the base timestamp is of, and of a cut batch only
     * the header can be read; it is close, a producer's linger away at most */
    if (n < total || batch_base_offset(b) >= offset || record_scan_open(b, total, &s) != ERR_OK)
        return batch_base_timestamp(b);
    while (found < 0 && record_scan_next(s, &r) == ERR_OK)
        if (batch_base_offset(b) + r.offset_delta >= offset)
            found = r.timestamp_ms;
    record_scan_close(&s);
    return found;
}

int64_t log_first_time(const uint8_t *p, size_t n, int64_t offset)
{
    while (n >= BATCH_PREFIX_BYTES) {
        size_t total = 0;
        enum batch_peek peek = batch_peek(p, n, &total);
        int64_t found = -1;

        if (peek == BATCH_BAD)
            return -1;
        if (peek == BATCH_LEGACY) {
            struct legacy_iter it = {p, p + total};
            struct legacy_message m;

            if (legacy_next(&it, &m) == ERR_OK && m.offset >= offset)
                return m.timestamp_ms;
        } else if (batch_magic(p) == 2 && n >= BATCH_HEADER_BYTES &&
                   batch_last_offset(p) >= offset) {
            found = time_in_batch(p, n, total, offset);
        }
        if (found >= 0 || peek == BATCH_PARTIAL)
            return found;
        p += total;
        n -= total;
    }
    return -1;
}

struct times {
    struct admin *a;
    struct log_partition *list;
    int32_t count;
};

static void take_records(struct times *t, const struct kp_FetchResponse *r)
{
    for (int32_t i = 0; i < r->responses_count; i++) {
        for (int32_t k = 0; k < r->responses[i].partitions_count; k++) {
            const struct kp_FetchResponse_PartitionData *d = &r->responses[i].partitions[k];
            struct log_partition *p =
                find_str(t->list, t->count, r->responses[i].topic, d->partition_index);

            if (p == NULL)
                continue;
            if (d->error_code == KE_OFFSET_OUT_OF_RANGE && d->log_start_offset > p->offset)
                p->offset = d->log_start_offset; /* the oldest that is left; the next round asks */
            else if (d->error_code == KE_NONE && d->records.len > 0)
                p->timestamp_ms = log_first_time(d->records.p, (size_t)d->records.len, p->offset);
        }
    }
}

/* Fetches at most max partitions of one leader, those from *at on. False: the leader does not
 * answer. */
static bool fetch_into_arena(struct times *t, int32_t leader, int32_t *at, int32_t max)
{
    struct kp_FetchRequest request;
    struct kp_FetchResponse response;
    struct kp_FetchRequest_FetchPartition *parts = admin_alloc(t->a, (size_t)max, sizeof *parts);
    struct errtext why = {{0}};
    int32_t n = 0, part_count = 0;

    kp_defaults(&kp_FetchRequest_schema, &request);
    request.max_bytes = FETCH_BYTES;
    request.topics = admin_alloc(t->a, (size_t)max, sizeof *request.topics);
    for (; *at < t->count && part_count < max; (*at)++) {
        const struct log_partition *p = &t->list[*at];
        struct kp_FetchRequest_FetchPartition *fp = &parts[part_count];

        if (p->leader != leader || p->error != KE_NONE || p->offset < 0 || p->timestamp_ms >= 0)
            continue;
        kp_defaults(&kp_FetchRequest_FetchPartition_schema, fp);
        fp->partition = p->partition;
        fp->fetch_offset = p->offset;
        fp->partition_max_bytes = FETCH_PARTITION_BYTES;
        if (n == 0 || !str_eq_z(request.topics[n - 1].topic, p->topic)) {
            kp_defaults(&kp_FetchRequest_FetchTopic_schema, &request.topics[n]);
            request.topics[n].topic = str_of(p->topic);
            request.topics[n].partitions = fp;
            request.topics[n++].partitions_count = 0;
        }
        request.topics[n - 1].partitions_count++;
        part_count++;
    }
    request.topics_count = n;
    if (part_count == 0)
        return true;
    if (admin_call(t->a, leader, KP_API_FETCH, FETCH_VERSION, &request, &response, NULL, &why) !=
        ERR_OK)
        return false;
    take_records(t, &response);
    return true;
}

/* The records are let go again at once: a command asks for many. */
static bool fetch_some(struct times *t, int32_t leader, int32_t *at, int32_t max)
{
    struct arena kept = t->a->arena;
    bool answers;

    t->a->arena = (struct arena){0};
    answers = fetch_into_arena(t, leader, at, max);
    arena_fini(&t->a->arena);
    t->a->arena = kept;
    return answers;
}

void log_read_times(struct admin *a, struct log_partition *list, int32_t count)
{
    struct times t = {a, list, count};
    int32_t rounds = 0, singles = 0;

    for (int32_t i = 0; i < count; i++)
        list[i].timestamp_ms = -1;
    for (int32_t b = 0; b < a->metadata.brokers_count; b++) {
        int32_t leader = a->metadata.brokers[b].node_id;
        bool answers = true;

        for (int32_t at = 0; answers && at < count && rounds < FETCH_ROUNDS_MAX; rounds++)
            answers = fetch_some(&t, leader, &at, FETCH_PARTITIONS);
        /* a broker sends the first batch of a response whatever its size, so that those that were
         * too large for the round come when they are asked alone */
        for (int32_t at = 0; answers && at < count && singles < FETCH_SINGLES_MAX; singles++)
            answers = fetch_some(&t, leader, &at, 1);
    }
}
