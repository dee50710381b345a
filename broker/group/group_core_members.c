/* SPDX-License-Identifier: Apache-2.0 */
/* Members of a group: tables, counters, protocols, sessions. Nothing here begins a rebalance. */
#include "broker/group/group_core_internal.h"

/* ---- lookups */

struct coord_member *coord_member_find(const struct coord_group *g, struct str id)
{
    struct coord_member *m = NULL;

    HASH_FIND(hh, g->by_id, coord_key(id), coord_key_len(id), m);
    return m;
}

struct coord_member *coord_member_of_instance(const struct coord_group *g, struct str instance_id)
{
    struct coord_member *m = NULL;

    HASH_FIND(hh_instance, g->by_instance, coord_key(instance_id), coord_key_len(instance_id), m);
    return m;
}

struct coord_pending *coord_pending_find(const struct coord_group *g, struct str id)
{
    struct coord_pending *p = NULL;

    HASH_FIND(hh, g->pending, coord_key(id), coord_key_len(id), p);
    return p;
}

/* KIP-345: whoever names an instance must be its newest member. */
int16_t coord_member_check(const struct coord_group *g, struct str id, struct str instance_id,
                           struct coord_member **out)
{
    struct coord_member *m;

    *out = NULL;
    if (instance_id.len >= 0) {
        m = coord_member_of_instance(g, instance_id);
        if (m != NULL && !str_eq(m->id, id))
            return KE_FENCED_INSTANCE_ID;
    } else {
        m = coord_member_find(g, id);
    }
    *out = m;
    return m == NULL ? KE_UNKNOWN_MEMBER_ID : KE_NONE;
}

/* ---- protocols */

struct group_protocol *coord_protocols_copy(const struct group_protocol *protocols, int32_t count)
{
    size_t n = (size_t)i32_max(count, 0);
    size_t bytes = n * sizeof *protocols;
    struct group_protocol *copy;
    uint8_t *to;

    for (size_t i = 0; i < n; i++)
        bytes += coord_key_len(protocols[i].name) + (size_t)i64_max(protocols[i].metadata.len, 0);
    copy = xmalloc(bytes);
    to = (uint8_t *)(copy + n);
    for (size_t i = 0; i < n; i++) {
        size_t name_len = coord_key_len(protocols[i].name);
        size_t metadata_len = (size_t)i64_max(protocols[i].metadata.len, 0);
        memcpy(to, coord_key(protocols[i].name), name_len);
        copy[i].name = (struct str){(const char *)to, (int32_t)name_len};
        to += name_len;
        if (metadata_len > 0)
            memcpy(to, protocols[i].metadata.p, metadata_len);
        copy[i].metadata = (struct bytes){to, (int64_t)metadata_len};
        to += metadata_len;
    }
    return copy;
}

static struct coord_protocol *protocol_find(const struct coord_group *g, struct str name)
{
    struct coord_protocol *p = NULL;

    HASH_FIND(hh, g->protocols, coord_key(name), coord_key_len(name), p);
    return p;
}

static void protocols_count(struct group_core *c, struct coord_member *m)
{
    uint64_t stamp = ++c->next_stamp;

    for (int32_t i = 0; i < m->protocol_count; i++) {
        struct coord_protocol *p = protocol_find(m->group, m->protocols[i].name);
        if (p == NULL) {
            p = xcalloc(1, sizeof *p);
            p->name = coord_str_copy(m->protocols[i].name);
            HASH_ADD_KEYPTR(hh, m->group->protocols, coord_key(p->name), coord_key_len(p->name), p);
        }
        if (p->stamp == stamp)
            continue;
        p->stamp = stamp;
        p->members++;
    }
}

static void protocols_uncount(struct group_core *c, struct coord_member *m)
{
    uint64_t stamp = ++c->next_stamp;

    for (int32_t i = 0; i < m->protocol_count; i++) {
        struct coord_protocol *p = protocol_find(m->group, m->protocols[i].name);
        if (p == NULL || p->stamp == stamp)
            continue; /* named twice */
        p->stamp = stamp;
        ASSERT(p->members > 0);
        if (--p->members == 0) {
            HASH_DELETE(hh, m->group->protocols, p);
            coord_str_retire(c, &p->name);
            coord_retire(c, p);
        }
    }
}

void coord_member_set_protocols(struct group_core *c, struct coord_member *m,
                                struct group_protocol *protocols, int32_t count)
{
    protocols_uncount(c, m);
    m->protocols = protocols;
    m->protocol_count = count;
    protocols_count(c, m);
}

bool coord_member_matches(const struct coord_member *m, const struct group_join *j)
{
    if (m->protocol_count != j->protocol_count)
        return false;
    for (int32_t i = 0; i < m->protocol_count; i++) {
        const struct group_protocol *a = &m->protocols[i], *b = &j->protocols[i];
        int64_t len = i64_max(b->metadata.len, 0);
        if (!str_eq(a->name, b->name) || a->metadata.len != len ||
            (len > 0 && memcmp(a->metadata.p, b->metadata.p, (size_t)len) != 0))
            return false;
    }
    return true;
}

struct bytes coord_member_metadata(const struct coord_member *m, struct str protocol)
{
    for (int32_t i = 0; i < m->protocol_count; i++) {
        if (str_eq(m->protocols[i].name, protocol))
            return m->protocols[i].metadata;
    }
    return BYTES_NULL;
}

/* What a group accepts: docs/reference/group-coordinator.md, "Fields and membership". */
bool coord_supports(const struct coord_group *g, const struct group_join *j)
{
    if (g == NULL || g->state == GROUP_EMPTY)
        return j->protocol_type.len > 0 && j->protocol_count > 0;
    if (!str_eq(g->protocol_type, j->protocol_type))
        return false;
    for (int32_t i = 0; i < j->protocol_count; i++) {
        const struct coord_protocol *p = protocol_find(g, j->protocols[i].name);
        if ((p == NULL ? 0 : p->members) == g->member_count)
            return true;
    }
    return false;
}

/* Since every member was let in with a name that all others knew, and changed its own only so,
 * there is one that all know. Ties: the name that was first known to the group. */
struct str coord_choose_protocol(struct group_core *c, struct coord_group *g)
{
    struct coord_protocol *p, *tmp, *best = NULL;
    struct coord_member *m;

    (void)c;
    HASH_ITER (hh, g->protocols, p, tmp)
        p->votes = 0;
    TAILQ_FOREACH (m, &g->members, link) {
        for (int32_t i = 0; i < m->protocol_count; i++) {
            p = protocol_find(g, m->protocols[i].name);
            if (p->members == g->member_count) {
                p->votes++;
                break;
            }
        }
    }
    HASH_ITER (hh, g->protocols, p, tmp) {
        if (p->members == g->member_count && (best == NULL || p->votes > best->votes))
            best = p;
    }
    ASSERT(best != NULL);
    return best->name;
}

/* ---- members */

static struct coord_member *member_link(struct group_core *c, struct coord_group *g, struct str id,
                                        struct str instance_id)
{
    struct coord_member *m = xcalloc(1, sizeof *m);

    m->group = g;
    m->session.kind = COORD_TIMER_SESSION;
    m->id = coord_str_copy(id);
    m->instance_id = coord_str_copy(instance_id);
    m->assignment = coord_bytes_copy(BYTES_NULL);
    m->next_assignment = coord_bytes_copy(BYTES_NULL);
    HASH_ADD_KEYPTR(hh, g->by_id, coord_key(m->id), coord_key_len(m->id), m);
    if (m->instance_id.len >= 0)
        HASH_ADD_KEYPTR(hh_instance, g->by_instance, coord_key(m->instance_id),
                        coord_key_len(m->instance_id), m);
    TAILQ_INSERT_TAIL(&g->members, m, link);
    g->member_count++;
    c->member_total++;
    if (g->leader == NULL)
        g->leader = m;
    return m;
}

struct coord_member *coord_member_add(struct group_core *c, struct coord_group *g, struct str id,
                                      const struct group_join *j)
{
    struct coord_member *m;
    struct coord_pending *p = coord_pending_find(g, id);

    ASSERT(coord_member_find(g, id) == NULL);
    ASSERT(j->instance_id.len < 0 || coord_member_of_instance(g, j->instance_id) == NULL);
    if (g->member_count == 0) {
        coord_str_retire(c, &g->protocol_type);
        g->protocol_type = coord_str_copy(j->protocol_type);
    }
    m = member_link(c, g, id, j->instance_id);
    m->client_id = coord_str_copy(j->client_id.len < 0 ? STR_LIT("") : j->client_id);
    m->client_host = coord_str_copy(j->client_host.len < 0 ? STR_LIT("") : j->client_host);
    coord_member_set_protocols(c, m, coord_protocols_copy(j->protocols, j->protocol_count),
                               j->protocol_count);
    m->is_new = true;
    if (p != NULL)
        coord_pending_remove(c, p);
    return m;
}

void coord_member_load(struct group_core *c, struct coord_group *g, struct str protocol,
                       const struct group_member_view *v)
{
    struct group_protocol one = {protocol, v->metadata};
    struct coord_member *m;

    if (coord_member_find(g, v->member_id) != NULL ||
        (v->instance_id.len >= 0 && coord_member_of_instance(g, v->instance_id) != NULL))
        return; /* a record that names one twice was not written by a coordinator */
    m = member_link(c, g, v->member_id, v->instance_id);
    m->client_id = coord_str_copy(v->client_id);
    m->client_host = coord_str_copy(v->client_host);
    m->session_ms = i32_max(v->session_ms, 0);
    m->rebalance_ms = v->rebalance_ms < 0 ? m->session_ms : v->rebalance_ms;
    m->assignment = coord_bytes_copy(v->assignment);
    coord_member_set_protocols(c, m, coord_protocols_copy(&one, 1), 1);
}

/* Whoever waits is answered first: it may still be there. */
static void member_answer(struct group_core *c, struct coord_member *m, int16_t error)
{
    if (m->is_joining && error != KE_NONE) /* a new member gets no id: it was never used */
        coord_reply_join_error(c, m->join_call, error,
                               error == KE_UNKNOWN_MEMBER_ID ? STR_LIT("") : m->id);
    if (m->is_syncing && error != KE_NONE)
        coord_reply(c, GROUP_REPLY_SYNC, m->sync_call, error);
}

void coord_member_remove(struct group_core *c, struct coord_member *m, int16_t error)
{
    struct coord_group *g = m->group;

    member_answer(c, m, error);
    coord_timer_cancel(c, &m->session);
    g->joining_count -= m->is_joining;
    if (m->owes_sync && --g->owes_sync_count == 0)
        coord_timer_cancel(c, &g->sync_timer);
    protocols_uncount(c, m);
    HASH_DELETE(hh, g->by_id, m);
    if (m->instance_id.len >= 0)
        HASH_DELETE(hh_instance, g->by_instance, m);
    TAILQ_REMOVE(&g->members, m, link);
    g->member_count--;
    c->member_total--;
    if (g->leader == m)
        g->leader = TAILQ_FIRST(&g->members);
    coord_retire(c, m->protocols);
    coord_bytes_retire(c, &m->assignment);
    coord_bytes_retire(c, &m->next_assignment);
    coord_str_retire(c, &m->id);
    coord_str_retire(c, &m->instance_id);
    coord_str_retire(c, &m->client_id);
    coord_str_retire(c, &m->client_host);
    coord_retire(c, m);
}

void coord_member_rename(struct group_core *c, struct coord_member *m, struct str id)
{
    HASH_DELETE(hh, m->group->by_id, m);
    coord_str_retire(c, &m->id);
    m->id = coord_str_copy(id);
    HASH_ADD_KEYPTR(hh, m->group->by_id, coord_key(m->id), coord_key_len(m->id), m);
}

void coord_member_set_assignment(struct group_core *c, struct bytes *to, struct bytes from)
{
    coord_bytes_retire(c, to);
    *to = coord_bytes_copy(from);
}

void coord_session_touch(struct group_core *c, struct coord_member *m)
{
    if (!m->is_joining && !m->is_syncing)
        coord_timer_arm(c, &m->session, m->session_ms);
}

/* ---- pending members (KIP-394) */

void coord_pending_add(struct group_core *c, struct coord_group *g, struct str id, int32_t ms)
{
    struct coord_pending *p = xcalloc(1, sizeof *p);

    ASSERT(coord_pending_find(g, id) == NULL && coord_member_find(g, id) == NULL);
    p->group = g;
    p->id = coord_str_copy(id);
    p->timer.kind = COORD_TIMER_PENDING;
    HASH_ADD_KEYPTR(hh, g->pending, coord_key(p->id), coord_key_len(p->id), p);
    g->pending_count++;
    coord_timer_arm(c, &p->timer, ms);
}

void coord_pending_remove(struct group_core *c, struct coord_pending *p)
{
    coord_timer_cancel(c, &p->timer);
    HASH_DELETE(hh, p->group->pending, p);
    p->group->pending_count--;
    coord_str_retire(c, &p->id);
    coord_retire(c, p);
}
