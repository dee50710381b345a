/* SPDX-License-Identifier: Apache-2.0 */
/* api - the table of what is offered, and what the handlers share. */
#include "broker/api/api.h"
#include "broker/api/control.h"
#include "broker/api/fetch_session.h"
#include "broker/api/new_topics.h"
#include "broker/api/producer_id.h"
#include "broker/config.h"
#include "common/protocol/messages.h"

enum { SESSION_EVICTION_MS = 120000, TOPIC_NAME_MAX = 249 };

/* Sorted by key. The ranges are what the handlers do, not what the codec knows. */
const struct api_row api_rows[] = {
    {0, 0, 11, api_produce, 0},
    {1, 0, 17, api_fetch, 0},
    {2, 0, 9, api_list_offsets, 0},
    {3, 0, 12, api_metadata, 0},
    {4, 0, 7, api_leader_and_isr, API_INTER_BROKER},
    {5, 0, 4, api_stop_replica, API_INTER_BROKER},
    {6, 0, 8, api_update_metadata, API_INTER_BROKER},
    {7, 0, 3, api_to_controller, API_INTER_BROKER},
    {8, 0, 9, api_offset_commit, 0},
    {9, 0, 9, api_offset_fetch, 0},
    {10, 0, 6, api_find_coordinator, 0},
    {11, 0, 9, api_join_group, 0},
    {12, 0, 4, api_heartbeat, 0},
    {13, 0, 5, api_leave_group, 0},
    {14, 0, 5, api_sync_group, 0},
    {15, 0, 5, api_describe_groups, 0},
    {16, 0, 5, api_list_groups, 0},
    {19, 0, 7, api_create_topics, 0},
    {20, 0, 6, api_delete_topics, 0},
    {21, 0, 2, api_delete_records, 0},
    {22, 0, 5, api_init_producer_id, 0},
    {23, 0, 4, api_offset_for_leader_epoch, 0},
    {32, 0, 4, api_describe_configs, 0},
    {33, 0, 2, api_alter_configs, 0},
    {35, 0, 4, api_describe_log_dirs, 0},
    {37, 0, 3, api_create_partitions, 0},
    {42, 0, 2, api_delete_groups, 0},
    {43, 0, 2, api_to_controller, 0},
    {44, 0, 1, api_incremental_alter_configs, 0},
    {45, 0, 0, api_to_controller, 0},
    {46, 0, 0, api_to_controller, 0},
    {47, 0, 0, api_offset_delete, 0},
    {56, 0, 3, api_to_controller, API_INTER_BROKER},
    {60, 0, 1, api_describe_cluster, 0},
    {67, 0, 0, api_to_controller, API_INTER_BROKER},
};
const size_t api_row_count = ARRAY_LEN(api_rows);

void api_start(struct broker *b)
{
    struct api *a = xcalloc(1, sizeof *a + (size_t)b->loop_count * sizeof a->seats[0]);
    a->broker = b;
    a->seat_count = b->loop_count;
    for (int i = 0; i < b->loop_count; i++) {
        a->seats[i].loop = b->loops[i];
        TAILQ_INIT(&a->seats[i].appending);
    }
    a->sessions = fetch_session_cache_new(b->config->max_incremental_fetch_session_cache_slots,
                                          SESSION_EVICTION_MS);
    a->producer_ids = producer_ids_new(b);
    a->new_topics = new_topics_new();
    lock_init(&a->turns_lock, LOCK_METADATA); /* the pool's is taken inside */
    TAILQ_INIT(&a->turns);
    lock_init(&a->conversions_lock, LOCK_METADATA); /* as above */
    TAILQ_INIT(&a->conversions);
    lock_init(&a->large_conversion_lock, LOCK_LEAF);
    b->metadata = metadata_cache_new(b->loops, b->loop_count);
    b->api = a;
}

static void nothing(void *arg UNUSED)
{
}

void api_quit(struct broker *b)
{
    enum { EXCHANGE_STEPS = 3 };
    if (b->api == NULL)
        return;
    producer_ids_quit(b->api->producer_ids);
    /* an exchange of the metadata that is under way takes two mails to each loop */
    for (int step = 0; step < EXCHANGE_STEPS; step++)
        for (int i = 0; i < b->loop_count; i++)
            loop_call(b->loops[i], nothing, NULL);
}

void api_stop(struct broker *b)
{
    struct api *a = b->api;
    b->api = NULL;
    if (a != NULL) {
        for (int i = 0; i < a->seat_count; i++)
            ASSERT(TAILQ_EMPTY(&a->seats[i].appending));
        fetch_session_close_all(a->sessions);
        fetch_session_cache_free(&a->sessions);
        producer_ids_free(&a->producer_ids);
        new_topics_free(&a->new_topics);
        ASSERT(TAILQ_EMPTY(&a->turns));
        lock_fini(&a->turns_lock);
        ASSERT(TAILQ_EMPTY(&a->conversions) && a->conversions_running == 0);
        lock_fini(&a->conversions_lock);
        lock_fini(&a->large_conversion_lock);
        mem_free(a);
    }
    metadata_cache_free(&b->metadata);
}

struct api_seat *api_seat(const struct request *r)
{
    struct api *a = r->broker->api;
    for (int i = 0; i < a->seat_count; i++)
        if (a->seats[i].loop == r->loop)
            return &a->seats[i];
    UNREACHABLE();
}

struct metadata *metadata_current(const struct request *r)
{
    return metadata_cache_on(r->broker->metadata, r->loop);
}

void *api_alloc(struct request *r, size_t count, size_t size)
{
    size_t n;
    if (__builtin_mul_overflow(count, size, &n))
        return NULL;
    return arena_alloc(&r->arena, n == 0 ? 1 : n);
}

void api_raise_limit(struct request *r, size_t count, size_t size)
{
    size_t n;
    if (r->arena.limit != 0 && !__builtin_mul_overflow(count, size, &n) &&
        r->arena.limit <= SIZE_MAX - n)
        r->arena.limit += n;
}

void api_no_memory(struct request *r)
{
    request_close(r, "the answer needs more memory than one request may use");
}

struct str api_strdup(struct request *r, const char *text)
{
    size_t n = strlen(text);
    const char *copy = arena_strdup(&r->arena, text, n);
    return copy == NULL ? STR_LIT("") : (struct str){copy, (int32_t)n};
}

const char *api_strdup_str(struct request *r, struct str s)
{
    return arena_strdup(&r->arena, s.len > 0 ? s.p : "", (size_t)i32_max(s.len, 0));
}

const char *api_topic_name_fault(struct str name)
{
    if (name.len <= 0)
        return "a topic name must not be empty";
    if (name.len > TOPIC_NAME_MAX)
        return "a topic name has at most 249 characters";
    if (str_eq_z(name, ".") || str_eq_z(name, ".."))
        return "a topic must not be called '.' or '..'";
    for (int32_t i = 0; i < name.len; i++) {
        char c = name.p[i];
        bool is_fine = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       c == '.' || c == '_' || c == '-';
        if (!is_fine)
            return "a topic name consists of ASCII letters, digits, '.', '_' and '-'";
    }
    return NULL;
}

bool api_topic_name_is_valid(struct str name)
{
    return api_topic_name_fault(name) == NULL;
}

bool api_topic_is_internal(struct str name)
{
    return str_eq_z(name, "__consumer_offsets") || str_eq_z(name, "__transaction_state") ||
           str_eq_z(name, "__share_group_state");
}

bool api_cluster_allowed(const struct request *r, enum acl_operation op)
{
    return authorize(r, op, ACL_CLUSTER, STR_LIT("kafka-cluster"));
}

int32_t api_authorized_operations(const struct request *r, enum acl_resource type, struct str name)
{
    static const enum acl_operation topic_ops[] = {
        ACL_READ,  ACL_WRITE,    ACL_CREATE,           ACL_DELETE,
        ACL_ALTER, ACL_DESCRIBE, ACL_DESCRIBE_CONFIGS, ACL_ALTER_CONFIGS};
    static const enum acl_operation cluster_ops[] = {
        ACL_CREATE,           ACL_ALTER,         ACL_DESCRIBE,        ACL_CLUSTER_ACTION,
        ACL_DESCRIBE_CONFIGS, ACL_ALTER_CONFIGS, ACL_IDEMPOTENT_WRITE};
    const enum acl_operation *ops = type == ACL_TOPIC ? topic_ops : cluster_ops;
    size_t count = type == ACL_TOPIC ? ARRAY_LEN(topic_ops) : ARRAY_LEN(cluster_ops);
    int32_t bits = 0;
    for (size_t i = 0; i < count; i++)
        if (authorize(r, ops[i], type, name))
            bits |= (int32_t)(1u << ops[i]);
    return bits;
}

/* ---- leaders */

bool api_leaders_init(struct api_leaders *l, struct request *r, int32_t cap)
{
    /* no more than there are brokers, however many partitions name them */
    cap = i32_min(cap, metadata_broker_count(metadata_current(r)));
    *l = (struct api_leaders){
        .request = r, .cap = cap, .nodes = api_alloc(r, (size_t)cap, sizeof *l->nodes)};
    return l->nodes != NULL;
}

void api_leaders_add(struct api_leaders *l, int32_t broker_id)
{
    for (int32_t i = 0; i < l->count; i++)
        if (l->nodes[i].id == broker_id)
            return;
    const struct metadata_broker *b = metadata_broker(metadata_current(l->request), broker_id);
    const struct metadata_endpoint *e = metadata_endpoint(b, l->request->listener->name);
    if (e == NULL || l->count == l->cap)
        return;
    l->nodes[l->count++] = (struct api_node){
        .id = broker_id, .port = e->port, .host = str_of(e->host), .rack = str_of(b->rack)};
}
