/* SPDX-License-Identifier: Apache-2.0 */
/* The records of docs/reference/group-coordinator.md, "Records in __consumer_offsets", by way of
 * the tables of common/protocol/record.kmsg. */
#include "broker/group/group_records.h"

#include "common/protocol/messages.h"

enum { OFFSET_KEY_VERSION = 1, GROUP_KEY_VERSION = 2, OFFSET_VALUE_VERSION = 3 };
enum { OFFSET_VALUE_VERSION_EXPIRING = 1, GROUP_VALUE_VERSION = 3, VALUE_VERSION_MAX = 4 };

/* ---- writing */

static void encode(const struct kp_schema *s, int16_t version, const void *msg, struct buf *out)
{
    struct errtext why;
    enum err rc = kp_record_encode(s, version, msg, out, &why);

    ASSERT(rc == ERR_OK); /* strings of requests and records are never longer than 32767 bytes */
}

void group_records_offset_key(struct buf *out, struct str group, struct str topic,
                              int32_t partition)
{
    struct kp_OffsetCommitKey k = {.group = group, .topic = topic, .partition = partition};

    encode(&kp_OffsetCommitKey_schema, OFFSET_KEY_VERSION, &k, out);
}

/* Version 3 has no place for an expire timestamp, version 1 none for the epoch: as Kafka writes. */
void group_records_offset_value(struct buf *out, const struct group_offset *o)
{
    bool expires = o->expire_wall_ms >= 0;
    struct kp_OffsetCommitValue v = {.offset = o->offset,
                                     .leader_epoch = expires ? -1 : o->leader_epoch,
                                     .metadata = o->metadata,
                                     .commit_timestamp = o->commit_wall_ms,
                                     .expire_timestamp = expires ? o->expire_wall_ms : -1};

    encode(&kp_OffsetCommitValue_schema,
           expires ? OFFSET_VALUE_VERSION_EXPIRING : OFFSET_VALUE_VERSION, &v, out);
}

void group_records_group_key(struct buf *out, struct str group)
{
    struct kp_GroupMetadataKey k = {.group = group};

    encode(&kp_GroupMetadataKey_schema, GROUP_KEY_VERSION, &k, out);
}

void group_records_group_value(struct buf *out, const struct group_load_group *g)
{
    size_t n = (size_t)i32_max(g->member_count, 0);
    struct kp_GroupMetadataValue_MemberMetadata *members = xcalloc(n, sizeof *members);
    struct kp_GroupMetadataValue v = {.protocol_type = g->protocol_type,
                                      .generation = g->generation,
                                      .protocol = g->protocol,
                                      .leader = g->leader,
                                      .current_state_timestamp = g->state_wall_ms,
                                      .members = members,
                                      .members_count = (int32_t)n};

    for (size_t i = 0; i < n; i++) {
        const struct group_member_view *m = &g->members[i];
        members[i] = (struct kp_GroupMetadataValue_MemberMetadata){
            .member_id = m->member_id,
            .group_instance_id = m->instance_id,
            .client_id = m->client_id,
            .client_host = m->client_host,
            .rebalance_timeout = m->rebalance_ms,
            .session_timeout = m->session_ms,
            .subscription = m->metadata,
            .assignment = m->assignment,
        };
    }
    encode(&kp_GroupMetadataValue_schema, GROUP_VALUE_VERSION, &v, out);
    mem_free(members);
}

/* ---- reading */

static enum err fail(enum err rc, const char *what, struct errtext *why)
{
    if (rc == ERR_OK)
        return ERR_OK;
    errtext_wrap(why, "%s", what);
    return rc == ERR_NO_MEMORY ? rc : ERR_CORRUPT;
}

static enum err check_value_version(struct bytes value, struct errtext *why)
{
    int16_t version;

    if (value.len < 2) {
        errtext_set(why, "a value of %lld bytes", (long long)value.len);
        return ERR_CORRUPT;
    }
    version = (int16_t)be16_load(value.p);
    if (version >= 0 && version <= VALUE_VERSION_MAX)
        return ERR_OK;
    errtext_set(why, "value version %d is not known", (int)version);
    return ERR_PROTOCOL;
}

static enum err decode_offset_value(struct bytes value, struct arena *arena,
                                    struct group_load_offset *l, struct errtext *why)
{
    struct kp_OffsetCommitValue v;
    struct group_offset *o;
    int16_t version;
    enum err rc = check_value_version(value, why);

    if (rc != ERR_OK)
        return rc;
    rc = kp_record_decode(&kp_OffsetCommitValue_schema, value, arena, &version, &v, why);
    o = rc == ERR_OK ? arena_alloc(arena, sizeof *o) : NULL;
    if (rc == ERR_OK && o == NULL)
        rc = ERR_NO_MEMORY;
    if (rc != ERR_OK)
        return fail(rc, "value of an offset", why);
    *o = (struct group_offset){v.offset, v.leader_epoch, v.metadata, v.commit_timestamp,
                               v.expire_timestamp < 0 ? -1 : v.expire_timestamp};
    l->value = o;
    return ERR_OK;
}

static enum err decode_offset(struct bytes key, struct bytes value, struct arena *arena,
                              struct group_event *ev, struct errtext *why)
{
    struct group_load_offset *l = &ev->load_offset;
    struct kp_OffsetCommitKey k;
    int16_t version;
    enum err rc = kp_record_decode(&kp_OffsetCommitKey_schema, key, arena, &version, &k, why);

    if (rc != ERR_OK)
        return fail(rc, "key of an offset", why);
    ev->kind = GEV_LOAD_OFFSET;
    *l = (struct group_load_offset){.group = k.group,
                                    .topic = k.topic,
                                    .partition = k.partition,
                                    .batch_offset = -1,
                                    .producer_id = -1};
    return value.p == NULL ? ERR_OK : decode_offset_value(value, arena, l, why);
}

/* Version 0 of a member has no rebalance timeout: the session timeout takes its place. */
static struct group_member_view member_of(const struct kp_GroupMetadataValue_MemberMetadata *m)
{
    return (struct group_member_view){
        .member_id = m->member_id,
        .instance_id = m->group_instance_id,
        .client_id = m->client_id,
        .client_host = m->client_host,
        .rebalance_ms = m->rebalance_timeout < 0 ? m->session_timeout : m->rebalance_timeout,
        .session_ms = m->session_timeout,
        .metadata = m->subscription,
        .assignment = m->assignment,
    };
}

static enum err decode_group_value(struct bytes value, struct arena *arena,
                                   struct group_load_group *l, struct errtext *why)
{
    struct kp_GroupMetadataValue v;
    struct group_member_view *members;
    size_t n;
    int16_t version;
    enum err rc = check_value_version(value, why);

    if (rc != ERR_OK)
        return rc;
    rc = kp_record_decode(&kp_GroupMetadataValue_schema, value, arena, &version, &v, why);
    n = rc == ERR_OK ? (size_t)i32_max(v.members_count, 0) : 0;
    members = arena_alloc(arena, size_max(n, 1) * sizeof *members);
    if (rc == ERR_OK && members == NULL)
        rc = ERR_NO_MEMORY;
    if (rc != ERR_OK)
        return fail(rc, "value of a group", why);
    for (size_t i = 0; i < n; i++)
        members[i] = member_of(&v.members[i]);
    l->is_tombstone = false;
    l->protocol_type = v.protocol_type;
    l->generation = v.generation;
    l->protocol = v.protocol;
    l->leader = v.leader;
    l->state_wall_ms = v.current_state_timestamp < 0 ? -1 : v.current_state_timestamp;
    l->members = members;
    l->member_count = (int32_t)n;
    return ERR_OK;
}

static enum err decode_group(struct bytes key, struct bytes value, struct arena *arena,
                             struct group_event *ev, struct errtext *why)
{
    struct group_load_group *l = &ev->load_group;
    struct kp_GroupMetadataKey k;
    int16_t version;
    enum err rc = kp_record_decode(&kp_GroupMetadataKey_schema, key, arena, &version, &k, why);

    if (rc != ERR_OK)
        return fail(rc, "key of a group", why);
    ev->kind = GEV_LOAD_GROUP;
    *l = (struct group_load_group){.group = k.group,
                                   .is_tombstone = true,
                                   .protocol_type = STR_NULL,
                                   .protocol = STR_NULL,
                                   .leader = STR_NULL,
                                   .state_wall_ms = -1};
    return value.p == NULL ? ERR_OK : decode_group_value(value, arena, l, why);
}

enum err group_records_decode(struct bytes key, struct bytes value, struct arena *arena,
                              enum group_record_kind *kind_out, struct group_event *ev_out,
                              struct errtext *why)
{
    int16_t version;

    *kind_out = GROUP_RECORD_OTHER;
    memset(ev_out, 0, sizeof *ev_out);
    if (key.p == NULL || key.len < 2) {
        errtext_set(why, "a key of %lld bytes", (long long)key.len);
        return ERR_CORRUPT;
    }
    version = (int16_t)be16_load(key.p);
    if (version == 0 || version == OFFSET_KEY_VERSION) {
        *kind_out = GROUP_RECORD_OFFSET;
        return decode_offset(key, value, arena, ev_out, why);
    }
    if (version == GROUP_KEY_VERSION) {
        *kind_out = GROUP_RECORD_GROUP;
        return decode_group(key, value, arena, ev_out, why);
    }
    return ERR_OK;
}

/* ---- subscriptions */

/* By hand: it is asked for each member of large groups, and only the names are wanted. */
bool group_records_each_topic(struct bytes metadata, void (*visit)(void *arg, struct str topic),
                              void *arg)
{
    enum { HEAD_BYTES = 2 + 4, NAME_LEN_BYTES = 2 };
    const uint8_t *p, *end;
    int32_t count;

    if (metadata.p == NULL || metadata.len < HEAD_BYTES || (int16_t)be16_load(metadata.p) < 0)
        return false;
    count = (int32_t)be32_load(metadata.p + 2);
    p = metadata.p + HEAD_BYTES;
    end = metadata.p + metadata.len;
    if (count < 0 || count > (end - p) / NAME_LEN_BYTES)
        return false;
    for (int32_t i = 0; i < count; i++) {
        int16_t len;
        if (end - p < NAME_LEN_BYTES)
            return false;
        len = (int16_t)be16_load(p);
        p += NAME_LEN_BYTES;
        if (len < 0 || len > end - p)
            return false;
        visit(arg, (struct str){(const char *)p, len});
        p += len;
    }
    return true;
}
