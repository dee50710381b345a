/* SPDX-License-Identifier: Apache-2.0 */
/* Groups that a broker coordinates. Each broker lists those that it coordinates; everything about
 * one group is asked of its coordinator, and asked again elsewhere when that moves. */
#include "tools/lib/groups.h"

#include "common/base/clock.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum {
    RETRY_PAUSE_MS = 50,
    ONE_KEY_VERSION = 3,   /* of FindCoordinator: the last that takes one key */
    ONE_GROUP_VERSION = 7, /* of OffsetFetch: the last that takes one group */
    OFFSET_COMMIT_VERSION = 8,
    ASSIGNMENT_VERSION_MAX = 3,
    RESOURCE_BROKER = 4
};

int group_partition_order(const void *x, const void *y)
{
    const struct group_partition *a = x, *b = y;
    int c = strcmp(a->topic, b->topic);

    return c != 0 ? c : (a->partition > b->partition) - (a->partition < b->partition);
}

int group_commit_order(const void *x, const void *y)
{
    const struct group_commit *a = x, *b = y;
    int c = strcmp(a->topic, b->topic);

    return c != 0 ? c : (a->partition > b->partition) - (a->partition < b->partition);
}

int group_listing_order(const void *x, const void *y)
{
    const struct group_listing *a = x, *b = y;
    int c = strcmp(a->name, b->name);

    return c != 0 ? c : (int)a->kind - (int)b->kind;
}

bool group_exists(const struct group *g)
{
    return g->error == KE_NONE && strcmp(g->state, "Dead") != 0;
}

const struct group_commit *group_find_commit(const struct group *g, const char *topic,
                                             int32_t partition)
{
    struct group_commit key = {.topic = topic, .partition = partition};

    return g->commit_count == 0
               ? NULL
               : bsearch(&key, g->commits, (size_t)g->commit_count, sizeof key, group_commit_order);
}

bool group_is_assigned(const struct group *g, const char *topic, int32_t partition)
{
    struct group_partition key = {topic, partition};

    for (int32_t i = 0; i < g->member_count; i++)
        if (g->members[i].partition_count > 0 &&
            bsearch(&key, g->members[i].partitions, (size_t)g->members[i].partition_count,
                    sizeof key, group_partition_order) != NULL)
            return true;
    return false;
}

static const char *copy_str(struct admin *a, struct str s)
{
    return s.len <= 0 ? "" : arena_strdup(&a->arena, s.p, (size_t)s.len);
}

static bool pause_before(int64_t deadline_ms)
{
    struct timespec pause = {0, RETRY_PAUSE_MS * 1000000L};

    if (clock_mono_ms() + RETRY_PAUSE_MS >= deadline_ms)
        return false;
    (void)nanosleep(&pause, NULL);
    return true;
}

/* ---- coordinators */

static bool coordinator_moves(int16_t code)
{
    return code == KE_COORDINATOR_LOAD_IN_PROGRESS || code == KE_COORDINATOR_NOT_AVAILABLE ||
           code == KE_NOT_COORDINATOR;
}

/* Once. NETWORK_EXCEPTION with text: nobody answers. */
static int16_t find_coordinator(struct admin *a, const char *name, int32_t *node_out,
                                struct errtext *why)
{
    struct kp_FindCoordinatorRequest request;
    struct kp_FindCoordinatorResponse response;
    bool is_known = false;

    kp_defaults(&kp_FindCoordinatorRequest_schema, &request);
    request.key = str_of(name);
    if (admin_call(a, ADMIN_ANY, KP_API_FIND_COORDINATOR, ONE_KEY_VERSION, &request, &response,
                   NULL, why) != ERR_OK)
        return KE_NETWORK_EXCEPTION;
    if (response.error_code != KE_NONE) {
        errtext_set(why, "%s", admin_error(a, response.error_code, response.error_message));
        return response.error_code;
    }
    *node_out = response.node_id;
    for (int32_t i = 0; i < a->metadata.brokers_count; i++)
        is_known |= a->metadata.brokers[i].node_id == response.node_id;
    if (!is_known && admin_brokers(a, why) != ERR_OK)
        return KE_NETWORK_EXCEPTION;
    return KE_NONE;
}

int16_t groups_coordinator(struct admin *a, int64_t deadline_ms, const char *name,
                           int32_t *node_out, struct errtext *why)
{
    int16_t code;

    *node_out = -1;
    do {
        code = find_coordinator(a, name, node_out, why);
    } while (coordinator_moves(code) && pause_before(deadline_ms));
    return code;
}

/* A request about one group: which API, and how to see from the response that the coordinator is
 * another or not ready. */
struct group_call {
    const char *name;
    int16_t api_key, max_version;
    const void *request;
    void *response;
    int16_t (*code)(const void *response);
};

/* Asks the coordinator, and again while it moves. The code of the response, or why there is none
 * (with text). *node: known or -1; who answered. */
static int16_t call_coordinator(struct admin *a, int64_t deadline_ms, const struct group_call *c,
                                int32_t *node, struct errtext *why)
{
    int16_t code;

    do {
        enum err rc;

        if (*node < 0) {
            code = groups_coordinator(a, deadline_ms, c->name, node, why);
            if (code != KE_NONE)
                return code;
        }
        rc = admin_call(a, *node, c->api_key, c->max_version, c->request, c->response, NULL, why);
        code = rc == ERR_OK            ? c->code(c->response)
               : rc == ERR_UNSUPPORTED ? KE_UNSUPPORTED_VERSION
                                       : KE_NETWORK_EXCEPTION;
        if (code == KE_NONE || (!coordinator_moves(code) && code != KE_NETWORK_EXCEPTION))
            return code;
        if (rc == ERR_OK)
            errtext_set(why, "broker %d: %s", *node, kerr_text(code));
        *node = -1; /* it may have died: who is it now? */
    } while (pause_before(deadline_ms));
    return code;
}

/* ---- list */

/* "classic" on the wire, "Classic" where Kafka prints it. */
static const char *type_text(struct admin *a, struct str type)
{
    char *copy;

    if (type.len <= 0)
        return "Classic"; /* older brokers know no other */
    copy = arena_strdup(&a->arena, type.p, (size_t)type.len);
    copy[0] = (char)toupper((unsigned char)copy[0]);
    return copy;
}

static bool is_of_consumers(struct str protocol_type)
{
    return protocol_type.len <= 0 || str_eq_z(protocol_type, "consumer");
}

struct listings {
    struct group_listing *items;
    int32_t count, capacity;
};

static void take_listing(struct admin *a, struct listings *l,
                         const struct kp_ListGroupsResponse_ListedGroup *g)
{
    if (!is_of_consumers(g->protocol_type))
        return;
    if (l->count == l->capacity) {
        struct group_listing *grown;

        l->capacity = l->capacity == 0 ? 64 : l->capacity * 2;
        grown = admin_alloc(a, (size_t)l->capacity, sizeof *grown);
        if (l->count > 0)
            memcpy(grown, l->items, (size_t)l->count * sizeof *grown);
        l->items = grown;
    }
    l->items[l->count++] = (struct group_listing){
        .name = copy_str(a, g->group_id),
        .kind = GROUP_OF_BROKERS,
        .type = type_text(a, g->group_type),
        .state = copy_str(a, g->group_state),
    };
}

static enum err list_of_broker(struct admin *a, int64_t deadline_ms, int32_t node,
                               struct listings *l, struct errtext *why)
{
    struct kp_ListGroupsRequest request;
    struct kp_ListGroupsResponse response;

    kp_defaults(&kp_ListGroupsRequest_schema, &request);
    do {
        enum err rc =
            admin_call(a, node, KP_API_LIST_GROUPS, BCLIENT_NEWEST, &request, &response, NULL, why);

        if (rc != ERR_OK)
            return rc;
    } while (coordinator_moves(response.error_code) && pause_before(deadline_ms));
    for (int32_t i = 0; i < response.groups_count; i++)
        take_listing(a, l, &response.groups[i]);
    if (response.error_code == KE_NONE)
        return ERR_OK;
    errtext_set(why, "broker %d: %s", node, kerr_text(response.error_code));
    return ERR_UNREACHABLE;
}

enum err groups_list(struct admin *a, int64_t deadline_ms, struct group_listing **out,
                     int32_t *count_out, struct errtext *why)
{
    struct listings l = {0};
    enum err rc = admin_brokers(a, why);
    bool has_failed = false;
    int32_t n = 0;

    *out = NULL;
    *count_out = 0;
    if (rc != ERR_OK)
        return rc;
    for (int32_t i = 0; i < a->metadata.brokers_count; i++)
        has_failed |=
            list_of_broker(a, deadline_ms, a->metadata.brokers[i].node_id, &l, why) != ERR_OK;
    if (l.count > 1)
        qsort(l.items, (size_t)l.count, sizeof *l.items, group_listing_order);
    for (int32_t i = 0; i < l.count; i++) /* one that moved meanwhile is listed by two brokers */
        if (n == 0 || strcmp(l.items[n - 1].name, l.items[i].name) != 0)
            l.items[n++] = l.items[i];
    *out = l.items;
    *count_out = n;
    return has_failed ? ERR_UNREACHABLE : ERR_OK;
}

/* ---- describe */

static int16_t describe_code(const void *response)
{
    const struct kp_DescribeGroupsResponse *r = response;

    return r->groups_count == 1 ? r->groups[0].error_code : KE_UNKNOWN_SERVER_ERROR;
}

/* The partitions in a member's assignment. What is not an assignment of consumers gives none. */
static void take_assignment(struct admin *a, struct bytes in, struct group_member *m)
{
    struct kp_ConsumerProtocolAssignment assignment;
    struct errtext why = {{0}};
    int16_t version;
    size_t used;
    int32_t n = 0;

    if (in.len < (int64_t)sizeof version)
        return;
    /* a newer version begins as the ones we know */
    version = (int16_t)i32_min((int16_t)be16_load(in.p), ASSIGNMENT_VERSION_MAX);
    in.p += sizeof version;
    in.len -= (int64_t)sizeof version;
    if (version < 0 || kp_decode_prefix(&kp_ConsumerProtocolAssignment_schema, version, in,
                                        &a->arena, &assignment, &used, &why) != ERR_OK)
        return;
    for (int32_t t = 0; t < assignment.assigned_partitions_count; t++)
        n += i32_max(assignment.assigned_partitions[t].partitions_count, 0);
    m->partitions = admin_alloc(a, (size_t)n, sizeof *m->partitions);
    for (int32_t t = 0; t < assignment.assigned_partitions_count; t++) {
        const char *topic = copy_str(a, assignment.assigned_partitions[t].topic);

        for (int32_t p = 0; p < assignment.assigned_partitions[t].partitions_count; p++)
            m->partitions[m->partition_count++] =
                (struct group_partition){topic, assignment.assigned_partitions[t].partitions[p]};
    }
    if (n > 1)
        qsort(m->partitions, (size_t)n, sizeof *m->partitions, group_partition_order);
}

static void take_group(struct admin *a, const struct kp_DescribeGroupsResponse_DescribedGroup *d,
                       struct group *g)
{
    g->state = copy_str(a, d->group_state);
    g->assignor = copy_str(a, d->protocol_data);
    g->member_count = i32_max(d->members_count, 0);
    g->members = admin_alloc(a, (size_t)g->member_count, sizeof *g->members);
    for (int32_t i = 0; i < g->member_count; i++) {
        const struct kp_DescribeGroupsResponse_DescribedGroupMember *m = &d->members[i];

        g->members[i] = (struct group_member){
            .id = copy_str(a, m->member_id),
            .instance_id = m->group_instance_id.len < 0 ? NULL : copy_str(a, m->group_instance_id),
            .client_id = copy_str(a, m->client_id),
            .host = copy_str(a, m->client_host),
        };
        if (is_of_consumers(d->protocol_type))
            take_assignment(a, m->member_assignment, &g->members[i]);
    }
    if (!is_of_consumers(d->protocol_type)) {
        g->error = KE_INVALID_GROUP_ID;
        g->why = arena_strdup(&a->arena, "it is no group of consumers", 27);
    }
}

static void describe_one(struct admin *a, int64_t deadline_ms, struct group *g, struct errtext *why)
{
    struct kp_DescribeGroupsRequest request;
    struct kp_DescribeGroupsResponse response;
    struct str name = str_of(g->name);
    struct group_call call = {g->name,   KP_API_DESCRIBE_GROUPS, BCLIENT_NEWEST, &request,
                              &response, describe_code};

    kp_defaults(&kp_DescribeGroupsRequest_schema, &request);
    request.groups = &name;
    request.groups_count = 1;
    g->kind = GROUP_OF_BROKERS;
    g->state = "Dead";
    g->assignor = "";
    g->coordinator = -1;
    g->error = call_coordinator(a, deadline_ms, &call, &g->coordinator, why);
    if (g->error == KE_GROUP_ID_NOT_FOUND) { /* DescribeGroups 6 of newer brokers */
        g->error = KE_NONE;
        return;
    }
    if (g->error != KE_NONE) {
        if (why->text[0] != '\0')
            g->why = arena_strdup(&a->arena, why->text, strlen(why->text));
        return;
    }
    take_group(a, &response.groups[0], g);
    for (int32_t i = 0; i < a->metadata.brokers_count; i++) {
        if (a->metadata.brokers[i].node_id == g->coordinator) {
            g->coordinator_host = copy_str(a, a->metadata.brokers[i].host);
            g->coordinator_port = a->metadata.brokers[i].port;
        }
    }
}

enum err groups_describe(struct admin *a, int64_t deadline_ms, struct group *groups, int32_t count,
                         struct errtext *why)
{
    enum err rc = admin_brokers(a, why);

    for (int32_t i = 0; rc == ERR_OK && i < count; i++) {
        struct errtext one = {{0}};

        describe_one(a, deadline_ms, &groups[i], &one);
    }
    return rc;
}

/* ---- offsets */

static int16_t offset_fetch_code(const void *response)
{
    const struct kp_OffsetFetchResponse *r = response;
    int16_t code = r->error_code;

    /* below version 2 there is only the code of each partition */
    for (int32_t t = 0; code == KE_NONE && t < r->topics_count; t++)
        for (int32_t p = 0; code == KE_NONE && p < r->topics[t].partitions_count; p++)
            code = r->topics[t].partitions[p].error_code;
    return code;
}

static void take_commits(struct admin *a, const struct kp_OffsetFetchResponse *r, struct group *g)
{
    int32_t n = 0;

    for (int32_t t = 0; t < r->topics_count; t++)
        n += i32_max(r->topics[t].partitions_count, 0);
    g->commits = admin_alloc(a, (size_t)n, sizeof *g->commits);
    g->commit_count = 0;
    for (int32_t t = 0; t < r->topics_count; t++) {
        const char *topic = copy_str(a, r->topics[t].name);

        for (int32_t p = 0; p < r->topics[t].partitions_count; p++) {
            const struct kp_OffsetFetchResponse_OffsetFetchResponsePartition *o =
                &r->topics[t].partitions[p];

            if (o->committed_offset >= 0)
                g->commits[g->commit_count++] =
                    (struct group_commit){topic, o->partition_index, o->committed_offset};
        }
    }
    if (g->commit_count > 1)
        qsort(g->commits, (size_t)g->commit_count, sizeof *g->commits, group_commit_order);
}

enum err groups_read_commits(struct admin *a, int64_t deadline_ms, struct group *groups,
                             int32_t count, struct errtext *why)
{
    for (int32_t i = 0; i < count; i++) {
        struct kp_OffsetFetchRequest request;
        struct kp_OffsetFetchResponse response;
        struct group_call call = {groups[i].name, KP_API_OFFSET_FETCH, ONE_GROUP_VERSION,
                                  &request,       &response,           offset_fetch_code};

        if (groups[i].error != KE_NONE)
            continue;
        kp_defaults(&kp_OffsetFetchRequest_schema, &request);
        request.group_id = str_of(groups[i].name);
        request.topics_count = -1; /* all */
        groups[i].error = call_coordinator(a, deadline_ms, &call, &groups[i].coordinator, why);
        if (groups[i].error == KE_NETWORK_EXCEPTION)
            return ERR_UNREACHABLE;
        if (groups[i].error == KE_NONE)
            take_commits(a, &response, &groups[i]);
    }
    return ERR_OK;
}

static int16_t offset_commit_code(const void *response)
{
    const struct kp_OffsetCommitResponse *r = response;

    /* a coordinator that moves says so for each partition */
    return r->topics_count > 0 && r->topics[0].partitions_count > 0 &&
                   coordinator_moves(r->topics[0].partitions[0].error_code)
               ? r->topics[0].partitions[0].error_code
               : KE_NONE;
}

/* The code of one partition; commits are sorted. What was not asked for is left out. */
static void take_code(int16_t *errors, const struct group_commit *commits, int32_t count,
                      struct str topic, int32_t partition, int16_t code)
{
    char *z = str_dup(topic);
    struct group_commit key = {.topic = z == NULL ? "" : z, .partition = partition};
    const struct group_commit *found =
        count == 0 ? NULL : bsearch(&key, commits, (size_t)count, sizeof key, group_commit_order);

    mem_free(z);
    if (found != NULL)
        errors[found - commits] = code;
}

/* Each partition once, in order. */
static bool is_sorted(const struct group_commit *commits, int32_t count)
{
    for (int32_t i = 1; i < count; i++)
        if (group_commit_order(&commits[i - 1], &commits[i]) >= 0)
            return false;
    return true;
}

/* Behind the last partition of the topic that begins at first. */
static int32_t topic_end(const struct group_commit *commits, int32_t count, int32_t first)
{
    int32_t end = first;

    while (end < count && strcmp(commits[end].topic, commits[first].topic) == 0)
        end++;
    return end;
}

int16_t groups_commit(struct admin *a, int64_t deadline_ms, const char *name,
                      const struct group_commit *commits, int32_t count, int16_t *errors)
{
    struct kp_OffsetCommitRequest request;
    struct kp_OffsetCommitResponse response;
    struct kp_OffsetCommitRequest_OffsetCommitRequestPartition *parts =
        admin_alloc(a, (size_t)count, sizeof *parts);
    struct group_call call = {name,      KP_API_OFFSET_COMMIT, OFFSET_COMMIT_VERSION, &request,
                              &response, offset_commit_code};
    struct errtext why = {{0}};
    int32_t node = -1;
    int16_t code;

    ASSERT(is_sorted(commits, count));
    kp_defaults(&kp_OffsetCommitRequest_schema, &request);
    request.group_id = str_of(name);
    request.member_id = STR_LIT("");
    request.topics = admin_alloc(a, (size_t)count, sizeof *request.topics);
    for (int32_t i = 0; i < count; i++) {
        kp_defaults(&kp_OffsetCommitRequest_OffsetCommitRequestPartition_schema, &parts[i]);
        parts[i].partition_index = commits[i].partition;
        parts[i].committed_offset = commits[i].offset;
        parts[i].committed_metadata = STR_LIT("");
        errors[i] = KE_UNKNOWN_SERVER_ERROR;
    }
    for (int32_t i = 0, end; i < count; i = end) {
        struct kp_OffsetCommitRequest_OffsetCommitRequestTopic *t =
            &request.topics[request.topics_count++];

        end = topic_end(commits, count, i);
        kp_defaults(&kp_OffsetCommitRequest_OffsetCommitRequestTopic_schema, t);
        t->name = str_of(commits[i].topic);
        t->partitions = &parts[i];
        t->partitions_count = end - i;
    }
    code = call_coordinator(a, deadline_ms, &call, &node, &why);
    for (int32_t t = 0; code == KE_NONE && t < response.topics_count; t++)
        for (int32_t p = 0; p < response.topics[t].partitions_count; p++)
            take_code(errors, commits, count, response.topics[t].name,
                      response.topics[t].partitions[p].partition_index,
                      response.topics[t].partitions[p].error_code);
    return code;
}

static int16_t delete_code(const void *response)
{
    const struct kp_DeleteGroupsResponse *r = response;

    return r->results_count == 1 ? r->results[0].error_code : KE_UNKNOWN_SERVER_ERROR;
}

int16_t groups_delete(struct admin *a, int64_t deadline_ms, const char *name)
{
    struct kp_DeleteGroupsRequest request;
    struct kp_DeleteGroupsResponse response;
    struct str one = str_of(name);
    struct group_call call = {name,      KP_API_DELETE_GROUPS, BCLIENT_NEWEST, &request,
                              &response, delete_code};
    struct errtext why = {{0}};
    int32_t node = -1;

    kp_defaults(&kp_DeleteGroupsRequest_schema, &request);
    request.groups_names = &one;
    request.groups_names_count = 1;
    return call_coordinator(a, deadline_ms, &call, &node, &why);
}

static int16_t delete_offsets_code(const void *response)
{
    const struct kp_OffsetDeleteResponse *r = response;

    return r->error_code;
}

int16_t groups_delete_offsets(struct admin *a, int64_t deadline_ms, const char *name,
                              const struct group_partition *list, int32_t count, int16_t *errors)
{
    struct kp_OffsetDeleteRequest request;
    struct kp_OffsetDeleteResponse response;
    struct kp_OffsetDeleteRequest_OffsetDeleteRequestPartition *parts =
        admin_alloc(a, (size_t)count, sizeof *parts);
    struct group_commit *keys = admin_alloc(a, (size_t)count, sizeof *keys);
    struct group_call call = {name,      KP_API_OFFSET_DELETE, BCLIENT_NEWEST, &request,
                              &response, delete_offsets_code};
    struct errtext why = {{0}};
    int32_t node = -1;
    int16_t code;

    kp_defaults(&kp_OffsetDeleteRequest_schema, &request);
    request.group_id = str_of(name);
    request.topics = admin_alloc(a, (size_t)count, sizeof *request.topics);
    for (int32_t i = 0; i < count; i++) {
        keys[i] = (struct group_commit){list[i].topic, list[i].partition, -1};
        errors[i] = KE_UNKNOWN_SERVER_ERROR;
        parts[i].partition_index = list[i].partition;
    }
    for (int32_t i = 0, end; i < count; i = end) {
        struct kp_OffsetDeleteRequest_OffsetDeleteRequestTopic *t =
            &request.topics[request.topics_count++];

        end = topic_end(keys, count, i);
        kp_defaults(&kp_OffsetDeleteRequest_OffsetDeleteRequestTopic_schema, t);
        t->name = str_of(list[i].topic);
        t->partitions = &parts[i];
        t->partitions_count = end - i;
    }
    ASSERT(is_sorted(keys, count));
    code = call_coordinator(a, deadline_ms, &call, &node, &why);
    for (int32_t t = 0; code == KE_NONE && t < response.topics_count; t++)
        for (int32_t p = 0; p < response.topics[t].partitions_count; p++)
            take_code(errors, keys, count, response.topics[t].name,
                      response.topics[t].partitions[p].partition_index,
                      response.topics[t].partitions[p].error_code);
    return code;
}

const char *groups_broker_config(struct admin *a, int32_t node, const char *key)
{
    struct kp_DescribeConfigsRequest request;
    struct kp_DescribeConfigsResponse response;
    struct kp_DescribeConfigsRequest_DescribeConfigsResource resource;
    struct str name = str_of(key);
    struct errtext why = {{0}};
    char id[12];

    (void)snprintf(id, sizeof id, "%d", node);
    kp_defaults(&kp_DescribeConfigsRequest_schema, &request);
    kp_defaults(&kp_DescribeConfigsRequest_DescribeConfigsResource_schema, &resource);
    resource.resource_type = RESOURCE_BROKER;
    resource.resource_name = str_of(id);
    resource.configuration_keys = &name;
    resource.configuration_keys_count = 1;
    request.resources = &resource;
    request.resources_count = 1;
    if (admin_call(a, node, KP_API_DESCRIBE_CONFIGS, BCLIENT_NEWEST, &request, &response, NULL,
                   &why) != ERR_OK ||
        response.results_count != 1 || response.results[0].configs_count != 1 ||
        response.results[0].configs[0].value.len <= 0)
        return NULL;
    return copy_str(a, response.results[0].configs[0].value);
}

const char *groups_zookeeper_of(struct admin *a)
{
    struct errtext why = {{0}};

    if (!a->has_metadata && admin_brokers(a, &why) != ERR_OK)
        return NULL;
    for (int32_t i = 0; i < a->metadata.brokers_count; i++) {
        struct bclient *c;

        if (admin_client(a, a->metadata.brokers[i].node_id, &c, &why) == ERR_OK)
            return groups_broker_config(a, a->metadata.brokers[i].node_id, "zookeeper.connect");
    }
    return NULL;
}
