/* SPDX-License-Identifier: Apache-2.0 */
/* group_request - see group_request.h. */
#include "broker/api/group_request.h"

#include "broker/config/config.h"

enum {
    PIECE_OVERHEAD_BYTES = 32, /* alignment and terminator in the arena */
    ANSWER_SHARE = 16          /* times kafuka.request.memory.bytes: 256 MiB */
};

void group_request_init(struct group_request *g, struct request *r, enum group_event_kind kind,
                        void (*replied)(struct group_call *c, const struct group_reply *reply),
                        void (*finish)(struct group_trip *t))
{
    CHECK_OBJ(r, REQUEST_MAGIC);
    ASSERT(replied != NULL && finish != NULL);
    group_trip_init(&g->trip, r, finish);
    g->call.event.kind = kind;
    g->call.replied = replied;
}

void group_request_start(struct group_request *g, struct str group)
{
    CHECK_OBJ(g->trip.request, REQUEST_MAGIC);
    ASSERT(g->call.replied != NULL && g->trip.finish != NULL);
    group_trip_add(&g->trip, &g->call, group);
    group_trip_start(&g->trip);
}

void *group_alloc(struct request *r, size_t count, size_t size)
{
    CHECK_OBJ(r, REQUEST_MAGIC);
    api_raise_limit(r, 1, PIECE_OVERHEAD_BYTES);
    api_raise_limit(r, count, size);
    void *p = api_alloc(r, count, size);
    ASSERT(p != NULL);
    return p;
}

struct str group_copy_str(struct request *r, struct str s)
{
    CHECK_OBJ(r, REQUEST_MAGIC);
    if (s.len < 0)
        return STR_NULL;
    char *p = group_alloc(r, (size_t)s.len + 1, 1);
    if (s.len > 0)
        memcpy(p, s.p, (size_t)s.len);
    return (struct str){p, s.len};
}

struct bytes group_copy_bytes(struct request *r, struct bytes b)
{
    CHECK_OBJ(r, REQUEST_MAGIC);
    if (b.p == NULL || b.len < 0)
        return BYTES_NULL;
    uint8_t *p = group_alloc(r, (size_t)b.len + 1, 1);
    memcpy(p, b.p, (size_t)b.len);
    return (struct bytes){p, b.len};
}

bool group_answer_is_full(const struct request *r)
{
    CHECK_OBJ(r, REQUEST_MAGIC);
    return r->arena.used / ANSWER_SHARE > (size_t)r->broker->config->kafuka_request_memory_bytes;
}

bool group_allowed(const struct request *r, enum acl_operation op, struct str group)
{
    CHECK_OBJ(r, REQUEST_MAGIC);
    return authorize(r, op, ACL_GROUP, group);
}
