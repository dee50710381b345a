/* SPDX-License-Identifier: Apache-2.0 */
/* offset_fetch - OffsetFetch (9): what groups have committed. All versions are answered in the form
 * of version 8, a list of groups; older ones take the first group out of it. */
#include "broker/api/group_request.h"
#include "broker/api/handlers.h"
#include "broker/api/zk_offsets.h"
#include "common/protocol/codec.h"
#include "common/protocol/messages.h"

#include <stdlib.h>

enum { GROUP_ERROR_FROM = 2, STABLE_FROM = 7, LIST_FROM = 8 };

typedef struct kp_OffsetFetchRequest_OffsetFetchRequestTopics wanted_topic;
typedef struct kp_OffsetFetchResponse_OffsetFetchResponseTopics told_topic;
typedef struct kp_OffsetFetchResponse_OffsetFetchResponsePartitions told_partition;
typedef struct kp_OffsetFetchResponse_OffsetFetchResponseGroup told_group;

struct fetch_group {
    struct group_call call;
    struct str group;
    const wanted_topic *topics;
    int32_t topic_count; /* -1: all that there is */
    bool require_stable;
    told_group *answer;
};
struct offset_fetch {
    struct group_trip trip;
    struct kp_OffsetFetchResponse response;
    struct fetch_group *groups;
    told_group *answers;
    int32_t count;
};

/* ---- on the shard's loop */

static void tell(struct request *r, told_partition *a, enum group_offset_state state,
                 const struct group_offset *o, bool require_stable)
{
    a->committed_offset = -1;
    a->committed_leader_epoch = -1;
    a->metadata = STR_LIT("");
    if (state == GROUP_OFFSET_PENDING && require_stable) {
        a->error_code = KE_UNSTABLE_OFFSET_COMMIT;
    } else if (state != GROUP_OFFSET_NONE) { /* what is not settled yet is told as none */
        a->committed_offset = o->offset;
        a->committed_leader_epoch = o->leader_epoch;
        a->metadata = group_copy_str(r, o->metadata);
    }
}

static void ask_named(struct fetch_group *g, const struct group_core *core)
{
    for (int32_t t = 0; t < g->answer->topics_count; t++) {
        told_topic *topic = &g->answer->topics[t];
        for (int32_t i = 0; i < topic->partitions_count; i++) {
            told_partition *a = &topic->partitions[i];
            struct group_offset o = {.offset = -1};
            if (a->error_code != KE_NONE)
                continue;
            enum group_offset_state state =
                group_core_offset(core, g->group, topic->name, a->partition_index, &o);
            if (group_answer_is_full(g->call.trip->request))
                a->error_code = KE_INVALID_REQUEST;
            else
                tell(g->call.trip->request, a, state, &o, g->require_stable);
        }
    }
}

struct found { /* an offset of a group whose topics are all wanted */
    struct str topic;
    told_partition told;
};
struct all_offsets {
    struct fetch_group *group;
    struct found *found;
    int32_t count, cap;
};

static void count_offset(void *arg, struct str topic UNUSED, int32_t partition UNUSED,
                         enum group_offset_state s UNUSED, const struct group_offset *o UNUSED)
{
    ((struct all_offsets *)arg)->cap++;
}

static void take_offset(void *arg, struct str topic, int32_t partition, enum group_offset_state s,
                        const struct group_offset *o)
{
    struct all_offsets *all = arg;
    struct request *r = all->group->call.trip->request;

    ASSERT(all->count < all->cap);
    if (s == GROUP_OFFSET_PENDING && o->offset < 0 && !all->group->require_stable)
        return; /* nothing settled yet */
    struct found *f = &all->found[all->count++];
    f->topic = group_copy_str(r, topic);
    f->told.partition_index = partition;
    tell(r, &f->told, s, o, all->group->require_stable);
}

static int found_cmp(const void *a, const void *b)
{
    const struct found *x = a, *y = b;
    int c = str_cmp(x->topic, y->topic);

    return c != 0 ? c
           : x->told.partition_index < y->told.partition_index
               ? -1
               : x->told.partition_index > y->told.partition_index;
}

static void ask_all(struct fetch_group *g, const struct group_core *core)
{
    struct request *r = g->call.trip->request;
    struct all_offsets all = {.group = g};
    told_partition *partitions;

    group_core_each_offset(core, g->group, count_offset, &all);
    all.found = group_alloc(r, (size_t)all.cap, sizeof *all.found);
    group_core_each_offset(core, g->group, take_offset, &all);
    qsort(all.found, (size_t)all.count, sizeof *all.found, found_cmp);
    g->answer->topics = group_alloc(r, (size_t)all.count, sizeof *g->answer->topics);
    partitions = group_alloc(r, (size_t)all.count, sizeof *partitions);
    for (int32_t i = 0; i < all.count; i++) {
        if (i == 0 || !str_eq(all.found[i].topic, all.found[i - 1].topic))
            g->answer->topics[g->answer->topics_count++] =
                (told_topic){.name = all.found[i].topic, .partitions = &partitions[i]};
        partitions[i] = all.found[i].told;
        g->answer->topics[g->answer->topics_count - 1].partitions_count++;
    }
}

static void ask(struct group_call *c, const struct group_core *core)
{
    struct fetch_group *g = CONTAINER_OF(c, struct fetch_group, call);

    if (g->topic_count < 0)
        ask_all(g, core);
    else
        ask_named(g, core);
}

/* ---- the answer */

/* v1 has no place for a group's error. */
static void group_error(const struct request *r, told_group *a, int16_t error)
{
    if (r->api_version >= GROUP_ERROR_FROM) {
        a->error_code = error;
        a->topics_count = 0;
        return;
    }
    for (int32_t t = 0; t < a->topics_count; t++)
        for (int32_t i = 0; i < a->topics[t].partitions_count; i++)
            a->topics[t].partitions[i].error_code = error;
}

/* What is there need not be known to everybody. */
static void drop_hidden_topics(const struct request *r, told_group *a)
{
    int32_t kept = 0;

    for (int32_t t = 0; t < a->topics_count; t++)
        if (authorize(r, ACL_DESCRIBE, ACL_TOPIC, a->topics[t].name))
            a->topics[kept++] = a->topics[t];
    a->topics_count = kept;
}

static void answer_old(struct request *r, struct offset_fetch *f)
{
    const told_group *g = &f->answers[0];
    struct kp_OffsetFetchResponse *a = &f->response;

    a->error_code = g->error_code;
    a->topics_count = g->topics_count;
    a->topics = group_alloc(r, (size_t)g->topics_count, sizeof *a->topics);
    for (int32_t t = 0; t < g->topics_count; t++) {
        const told_topic *from = &g->topics[t];
        a->topics[t].name = from->name;
        a->topics[t].partitions_count = from->partitions_count;
        a->topics[t].partitions =
            group_alloc(r, (size_t)from->partitions_count, sizeof *a->topics[t].partitions);
        for (int32_t i = 0; i < from->partitions_count; i++) {
            const told_partition *p = &from->partitions[i];
            a->topics[t].partitions[i] =
                (struct kp_OffsetFetchResponse_OffsetFetchResponsePartition){
                    .partition_index = p->partition_index,
                    .committed_offset = p->committed_offset,
                    .committed_leader_epoch = r->api_version >= 5 ? p->committed_leader_epoch : -1,
                    .metadata = p->metadata,
                    .error_code = p->error_code};
        }
    }
}

static void finish(struct group_trip *t)
{
    struct offset_fetch *f = CONTAINER_OF(t, struct offset_fetch, trip);
    struct request *r = t->request;

    for (int32_t i = 0; i < f->count; i++) {
        struct fetch_group *g = &f->groups[i];
        if (g->call.error != KE_NONE)
            group_error(r, g->answer, g->call.error);
        if (g->topic_count < 0)
            drop_hidden_topics(r, g->answer);
    }
    if (r->api_version >= LIST_FROM) {
        f->response.groups = f->answers;
        f->response.groups_count = f->count;
    } else {
        answer_old(r, f);
    }
    request_reply(r, &f->response);
}

/* ---- the question */

static void prepare_topics(struct request *r, struct fetch_group *g)
{
    g->answer->topics_count = i32_max(g->topic_count, 0);
    g->answer->topics = group_alloc(r, (size_t)g->answer->topics_count, sizeof *g->answer->topics);
    for (int32_t t = 0; t < g->topic_count; t++) {
        const wanted_topic *from = &g->topics[t];
        told_topic *to = &g->answer->topics[t];
        bool may = authorize(r, ACL_DESCRIBE, ACL_TOPIC, from->name);
        to->name = from->name;
        to->partitions_count = i32_max(from->partition_indexes_count, 0);
        to->partitions = group_alloc(r, (size_t)to->partitions_count, sizeof *to->partitions);
        for (int32_t i = 0; i < to->partitions_count; i++)
            to->partitions[i] =
                (told_partition){.partition_index = from->partition_indexes[i],
                                 .committed_offset = -1,
                                 .committed_leader_epoch = -1,
                                 .metadata = STR_LIT(""),
                                 .error_code = may ? KE_NONE : KE_TOPIC_AUTHORIZATION_FAILED};
    }
}

static void prepare(struct offset_fetch *f, struct request *r, struct str group,
                    const wanted_topic *topics, int32_t topic_count)
{
    const struct kp_OffsetFetchRequest *req = r->body;
    struct fetch_group *g = &f->groups[f->count];

    *g =
        (struct fetch_group){.group = group,
                             .topics = topics,
                             .topic_count = topic_count,
                             .require_stable = r->api_version >= STABLE_FROM && req->require_stable,
                             .answer = &f->answers[f->count]};
    f->count++;
    g->answer->group_id = group;
    prepare_topics(r, g);
    if (!group_allowed(r, ACL_DESCRIBE, group)) {
        group_error(r, g->answer, KE_GROUP_AUTHORIZATION_FAILED);
        return;
    }
    g->call.ask = ask;
    group_trip_add(&f->trip, &g->call, group);
}

/* The topics of v1 to v7, in the type of the newer versions. */
static wanted_topic *old_topics(struct request *r)
{
    const struct kp_OffsetFetchRequest *req = r->body;
    wanted_topic *topics = group_alloc(r, (size_t)i32_max(req->topics_count, 0), sizeof *topics);

    for (int32_t i = 0; i < req->topics_count; i++)
        topics[i] =
            (wanted_topic){.name = req->topics[i].name,
                           .partition_indexes = req->topics[i].partition_indexes,
                           .partition_indexes_count = req->topics[i].partition_indexes_count};
    return topics;
}

void api_offset_fetch(struct request *r)
{
    CHECK_OBJ(r, REQUEST_MAGIC);
    const struct kp_OffsetFetchRequest *req = r->body;
    if (r->api_version == 0) {
        zk_offset_fetch(r);
        return;
    }
    struct offset_fetch *f = group_alloc(r, 1, sizeof *f);
    int32_t count = r->api_version >= LIST_FROM ? i32_max(req->groups_count, 0) : 1;

    group_trip_init(&f->trip, r, finish);
    f->groups = group_alloc(r, (size_t)count, sizeof *f->groups);
    f->answers = group_alloc(r, (size_t)count, sizeof *f->answers);
    if (r->api_version < LIST_FROM)
        prepare(f, r, req->group_id, old_topics(r), req->topics_count);
    for (int32_t i = 0; r->api_version >= LIST_FROM && i < count; i++)
        prepare(f, r, req->groups[i].group_id, req->groups[i].topics, req->groups[i].topics_count);
    group_trip_start(&f->trip);
}
