/* SPDX-License-Identifier: Apache-2.0 */
/* api - what the handlers share. */
#include <config.h>

#include "broker/api/api.h"
#include "common/protocol/messages.h"

const char api_no_transactions_text[] =
    "transactions are not supported by this version of kafuka (" PACKAGE_VERSION
    "): use a producer without transactional.id";

struct api_seat *api_seat(const struct request *r)
{
    CHECK_OBJ(r, REQUEST_MAGIC);
    struct api *a = r->broker->api;
    ASSERT(a != NULL && loop_is_current(r->loop));
    for (int i = 0; i < a->seat_count; i++)
        if (a->seats[i].loop == r->loop)
            return &a->seats[i];
    UNREACHABLE();
}

struct metadata *metadata_current(const struct request *r)
{
    CHECK_OBJ(r, REQUEST_MAGIC);
    return metadata_cache_on(r->broker->metadata, r->loop);
}

void *api_alloc(struct request *r, size_t count, size_t size)
{
    CHECK_OBJ(r, REQUEST_MAGIC);
    size_t n;
    if (__builtin_mul_overflow(count, size, &n))
        return NULL;
    return arena_alloc(&r->arena, n == 0 ? 1 : n);
}

void api_raise_limit(struct request *r, size_t count, size_t size)
{
    CHECK_OBJ(r, REQUEST_MAGIC);
    size_t n;
    if (r->arena.limit != 0 && !__builtin_mul_overflow(count, size, &n) &&
        r->arena.limit <= SIZE_MAX - n)
        r->arena.limit += n;
}

void api_no_memory(struct request *r)
{
    CHECK_OBJ(r, REQUEST_MAGIC);
    request_close(r, "the answer needs more memory than one request may use");
}

struct str api_strdup(struct request *r, const char *text)
{
    CHECK_OBJ(r, REQUEST_MAGIC);
    ASSERT(text != NULL);
    size_t n = strlen(text);
    const char *copy = arena_strdup(&r->arena, text, n);
    return copy == NULL ? STR_LIT("") : (struct str){copy, (int32_t)n};
}

const char *api_strdup_str(struct request *r, struct str s)
{
    CHECK_OBJ(r, REQUEST_MAGIC);
    return arena_strdup(&r->arena, s.len > 0 ? s.p : "", (size_t)i32_max(s.len, 0));
}

bool api_topic_is_internal(struct str name)
{
    return str_eq_z(name, "__consumer_offsets") || str_eq_z(name, "__transaction_state") ||
           str_eq_z(name, "__share_group_state");
}

bool api_cluster_allowed(const struct request *r, enum acl_operation op)
{
    CHECK_OBJ(r, REQUEST_MAGIC);
    return authorize(r, op, ACL_CLUSTER, STR_LIT("kafka-cluster"));
}

int32_t api_authorized_operations(const struct request *r, enum acl_resource type, struct str name)
{
    CHECK_OBJ(r, REQUEST_MAGIC);
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
    CHECK_OBJ(r, REQUEST_MAGIC);
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
