/* SPDX-License-Identifier: Apache-2.0 */
/* Keys of version 0 and 1 are commits, of version 2 groups. */
#include "tools/lib/group_records.h"

#include "common/base/json_writer.h"

#include "common/protocol/codec.h"
#include "common/protocol/messages.h"

#include <jansson.h>
#include <stdlib.h>

enum { COMMIT_KEY_MAX = 1, GROUP_KEY = 2, VALUE_MAX = 4 };

static const struct {
    const char *class_name; /* its last part when it begins with "." */
    enum group_records_style style;
} styles[] = {
    {"kafka.server.OffsetManager$OffsetsMessageFormatter", GROUP_RECORDS_OFFSETS_0_8_2},
    {"kafka.coordinator.GroupMetadataManager$OffsetsMessageFormatter", GROUP_RECORDS_OFFSETS_0_10},
    {"kafka.coordinator.GroupMetadataManager$GroupMetadataMessageFormatter",
     GROUP_RECORDS_GROUPS_TEXT},
    {".GroupMetadataManager$OffsetsMessageFormatter", GROUP_RECORDS_OFFSETS_TEXT},
    {".GroupMetadataManager$GroupMetadataMessageFormatter", GROUP_RECORDS_GROUPS_TEXT},
    {".OffsetsMessageFormatter", GROUP_RECORDS_OFFSETS},
    {".GroupMetadataMessageFormatter", GROUP_RECORDS_GROUPS},
};

enum group_records_style group_records_style_of(const char *class_name)
{
    const char *dot = strrchr(class_name, '.');

    for (size_t i = 0; i < ARRAY_LEN(styles); i++) {
        const char *name = styles[i].class_name;

        if (strcmp(class_name, name) == 0 ||
            (name[0] == '.' &&
             (strcmp(class_name, name + 1) == 0 || (dot != NULL && strcmp(dot, name) == 0))))
            return styles[i].style;
    }
    return GROUP_RECORDS_NONE;
}

/* The version that stands in front; -1: too short. */
static int version_of(struct bytes b)
{
    return b.len < (int64_t)sizeof(int16_t) ? -1 : (int16_t)be16_load(b.p);
}

/* A decoded record. */
struct group_record {
    struct arena arena;
    int key_version, value_version; /* value -1: a tombstone */
    struct kp_OffsetCommitKey commit_key;
    struct kp_OffsetCommitValue commit;
    struct kp_GroupMetadataKey group_key;
    struct kp_GroupMetadataValue group;
};

static bool is_commit(const struct group_record *r)
{
    return r->key_version >= 0 && r->key_version <= COMMIT_KEY_MAX;
}

/* UNSUPPORTED: a kind of record, or a version of its value, that is not known. */
static enum err decode(struct bytes key, struct bytes value, struct group_record *r,
                       struct errtext *why)
{
    int16_t version;
    enum err rc;

    *r = (struct group_record){.key_version = version_of(key), .value_version = -1};
    if (r->key_version < 0 || r->key_version > GROUP_KEY) {
        errtext_set(why, "record type %d is not known", r->key_version);
        return ERR_UNSUPPORTED;
    }
    rc = is_commit(r) ? kp_record_decode(&kp_OffsetCommitKey_schema, key, &r->arena, &version,
                                         &r->commit_key, why)
                      : kp_record_decode(&kp_GroupMetadataKey_schema, key, &r->arena, &version,
                                         &r->group_key, why);
    if (rc != ERR_OK || value.len < 0)
        return rc == ERR_OK ? ERR_OK : ERR_INVALID;
    r->value_version = version_of(value);
    if (r->value_version < 0 || r->value_version > VALUE_MAX) {
        errtext_set(why, "version %d of the value is not known", r->value_version);
        return ERR_UNSUPPORTED;
    }
    rc = is_commit(r) ? kp_record_decode(&kp_OffsetCommitValue_schema, value, &r->arena, &version,
                                         &r->commit, why)
                      : kp_record_decode(&kp_GroupMetadataValue_schema, value, &r->arena, &version,
                                         &r->group, why);
    return rc == ERR_OK ? ERR_OK : ERR_INVALID;
}

static void print_key(const struct group_record *r, struct buf *out)
{
    if (is_commit(r))
        kp_print(&kp_OffsetCommitKey_schema, (int16_t)r->key_version, &r->commit_key, out);
    else
        kp_print(&kp_GroupMetadataKey_schema, (int16_t)r->key_version, &r->group_key, out);
}

static void print_value(const struct group_record *r, struct buf *out)
{
    if (is_commit(r))
        kp_print(&kp_OffsetCommitValue_schema, (int16_t)r->value_version, &r->commit, out);
    else
        kp_print(&kp_GroupMetadataValue_schema, (int16_t)r->value_version, &r->group, out);
}

static void write_key(struct json_writer *w, struct bytes key, const struct group_record *r)
{
    if (key.len < 0) {
        json_write_null(w, "key");
        return;
    }
    json_write_object(w, "key");
    json_write_int(w, "version", r->key_version);
    if (r->key_version >= 0 && r->key_version <= GROUP_KEY) {
        json_write_raw(w, "data");
        print_key(r, w->out);
    } else {
        json_write_text(w, "data", "unknown");
    }
    json_write_end(w);
}

/* r: NULL when the value cannot be decoded. */
static void write_value(struct json_writer *w, struct bytes value, const struct group_record *r)
{
    if (value.len < 0) {
        json_write_null(w, "value");
        return;
    }
    json_write_object(w, "value");
    json_write_int(w, "version", version_of(value));
    if (r != NULL) {
        json_write_raw(w, "data");
        print_value(r, w->out);
    } else {
        json_write_text(w, "data", "unknown");
    }
    json_write_end(w);
}

/* ---- formatters */

/* {"key":{"version":1,"data":{...}},"value":{"version":3,"data":{...}}} */
static enum err format_json(bool wants_commits, struct bytes key, struct bytes value,
                            struct buf *out, struct errtext *why)
{
    struct json_writer w;
    struct group_record r = {.value_version = -1};
    enum err rc = ERR_OK;

    if (key.len >= 0)
        rc = decode(key, value, &r, why);
    if (rc == ERR_INVALID ||
        (key.len >= 0 && r.key_version <= GROUP_KEY && is_commit(&r) != wants_commits)) {
        arena_fini(&r.arena);
        return rc == ERR_INVALID && is_commit(&r) == wants_commits ? rc : ERR_OK;
    }
    w = json_write_to(out);
    json_write_object(&w, NULL);
    write_key(&w, key, &r);
    write_value(&w, value, rc == ERR_OK && key.len >= 0 ? &r : NULL);
    json_write_end(&w);
    json_write_done(&w);
    buf_add(out, "\n", 1);
    arena_fini(&r.arena);
    return ERR_OK;
}

static void format_commit(enum group_records_style style, const struct group_record *r,
                          struct buf *out)
{
    const struct kp_OffsetCommitValue *v = &r->commit;
    struct str note = v->metadata.len > 0 ? v->metadata : STR_LIT("NO_METADATA");

    buf_printf(out, "[%.*s,%.*s,%d]::", STR_ARG(r->commit_key.group), STR_ARG(r->commit_key.topic),
               r->commit_key.partition);
    if (r->value_version < 0) {
        buf_printf(out, "NULL\n");
    } else if (style == GROUP_RECORDS_OFFSETS_0_8_2) {
        buf_printf(out, "OffsetAndMetadata[%" PRId64 ",%.*s,%" PRId64 "]\n", v->offset,
                   STR_ARG(note), v->commit_timestamp);
    } else if (style == GROUP_RECORDS_OFFSETS_0_10) {
        buf_printf(out,
                   "[OffsetMetadata[%" PRId64 ",%.*s],CommitTime %" PRId64
                   ",ExpirationTime %" PRId64 "]\n",
                   v->offset, STR_ARG(note), v->commit_timestamp, v->expire_timestamp);
    } else {
        buf_printf(out, "OffsetAndMetadata(offset=%" PRId64 ", leaderEpoch=", v->offset);
        if (v->leader_epoch < 0)
            buf_printf(out, "Optional.empty");
        else
            buf_printf(out, "Optional[%d]", v->leader_epoch);
        buf_printf(out, ", metadata=%.*s, commitTimestamp=%" PRId64 ", expireTimestamp=",
                   STR_ARG(v->metadata), v->commit_timestamp);
        if (v->expire_timestamp < 0)
            buf_printf(out, "None)\n");
        else
            buf_printf(out, "Some(%" PRId64 "))\n", v->expire_timestamp);
    }
}

static void add_option(struct buf *out, struct str s)
{
    if (s.len <= 0)
        buf_printf(out, "None");
    else
        buf_printf(out, "Some(%.*s)", STR_ARG(s));
}

static void format_group(const struct group_record *r, struct buf *out)
{
    const struct kp_GroupMetadataValue *v = &r->group;

    buf_printf(out, "%.*s::", STR_ARG(r->group_key.group));
    if (r->value_version < 0) {
        buf_printf(out, "NULL\n");
        return;
    }
    buf_printf(out, "GroupMetadata(groupId=%.*s, generation=%d, protocolType=",
               STR_ARG(r->group_key.group), v->generation);
    add_option(out, v->protocol_type);
    buf_printf(out, ", currentState=%s, members=HashMap(",
               v->members_count > 0 ? "Stable" : "Empty");
    for (int32_t i = 0; i < v->members_count; i++) {
        const struct kp_GroupMetadataValue_MemberMetadata *m = &v->members[i];

        buf_printf(out,
                   "%s%.*s -> MemberMetadata(memberId=%.*s, groupInstanceId=", i == 0 ? "" : ", ",
                   STR_ARG(m->member_id), STR_ARG(m->member_id));
        add_option(out, m->group_instance_id);
        buf_printf(out,
                   ", clientId=%.*s, clientHost=%.*s, sessionTimeoutMs=%d, rebalanceTimeoutMs=%d, "
                   "supportedProtocols=List(%.*s))",
                   STR_ARG(m->client_id), STR_ARG(m->client_host), m->session_timeout,
                   m->rebalance_timeout < 0 ? m->session_timeout : m->rebalance_timeout,
                   STR_ARG(v->protocol));
    }
    buf_printf(out, "))\n");
}

enum err group_records_format(enum group_records_style style, struct bytes key, struct bytes value,
                              struct buf *out, struct errtext *why)
{
    bool wants_commits = style != GROUP_RECORDS_GROUPS && style != GROUP_RECORDS_GROUPS_TEXT;
    struct group_record r;
    enum err rc;

    if (style == GROUP_RECORDS_OFFSETS || style == GROUP_RECORDS_GROUPS)
        return format_json(wants_commits, key, value, out, why);
    rc = decode(key, value, &r, why);
    if (is_commit(&r) != wants_commits || r.key_version < 0 || r.key_version > GROUP_KEY)
        rc = ERR_OK; /* another kind of record */
    else if (rc == ERR_OK && wants_commits)
        format_commit(style, &r, out);
    else if (rc == ERR_OK)
        format_group(&r, out);
    arena_fini(&r.arena);
    return rc == ERR_OK ? ERR_OK : ERR_INVALID;
}

/* ---- dump-log */

/* Bytes in a member that hold a message with its version in front, as that message. NULL: they do
 * not; they stay as they are. */
static json_t *decode_embedded(const struct kp_schema *s, struct bytes in, void *message)
{
    struct arena a = {0};
    struct buf text = {0};
    struct errtext why = {{0}};
    json_t *json = NULL;
    int16_t version;

    if (kp_record_decode(s, in, &a, &version, message, &why) == ERR_OK) {
        kp_print(s, version, message, &text);
        json = json_loadb((const char *)text.p, text.len, 0, NULL);
    }
    buf_fini(&text);
    arena_fini(&a);
    return json;
}

static void set_embedded(json_t *member, const char *key, json_t *value)
{
    if (value != NULL)
        (void)json_object_set_new(member, key, value);
}

/* The value of a group of consumers, with subscriptions and assignments decoded. */
static void print_group_deep(const struct group_record *r, struct buf *out)
{
    struct buf text = {0};
    json_t *root, *members;
    char *dump = NULL;

    print_value(r, &text);
    root = json_loadb((const char *)text.p, text.len, 0, NULL);
    members = json_object_get(root, "members");
    for (int32_t i = 0; str_eq_z(r->group.protocol_type, "consumer") && i < r->group.members_count;
         i++) {
        json_t *m = json_array_get(members, (size_t)i);
        struct kp_ConsumerProtocolSubscription subscription;
        struct kp_ConsumerProtocolAssignment assignment;

        set_embedded(m, "subscription",
                     decode_embedded(&kp_ConsumerProtocolSubscription_schema,
                                     r->group.members[i].subscription, &subscription));
        set_embedded(m, "assignment",
                     decode_embedded(&kp_ConsumerProtocolAssignment_schema,
                                     r->group.members[i].assignment, &assignment));
    }
    if (root != NULL)
        dump = json_dumps(root, JSON_COMPACT);
    if (dump != NULL)
        buf_add(out, dump, strlen(dump));
    else
        buf_add(out, text.p, text.len);
    mem_free(dump); /* jansson's, by malloc */
    json_decref(root);
    buf_fini(&text);
}

static void begin_data(struct json_writer *w, struct buf *out, const char *kind, int32_t version)
{
    *w = json_write_to(out);
    json_write_object(w, NULL);
    json_write_int_text(w, kind, version);
    json_write_raw(w, "data");
}

static void end_data(struct json_writer *w)
{
    json_write_end(w);
    json_write_done(w);
}

bool group_records_decode(struct bytes key, struct bytes value, int64_t offset, struct buf *key_out,
                          struct buf *payload_out)
{
    struct group_record r;
    struct json_writer w;
    struct errtext why = {{0}};
    enum err rc = decode(key, value, &r, &why);

    if (rc == ERR_OK) {
        begin_data(&w, key_out, "type", r.key_version);
        print_key(&r, key_out);
        end_data(&w);
        if (r.value_version < 0) {
            buf_printf(payload_out, "<DELETE>");
        } else {
            begin_data(&w, payload_out, "version", r.value_version);
            if (is_commit(&r))
                print_value(&r, payload_out);
            else
                print_group_deep(&r, payload_out);
            end_data(&w);
        }
    } else if (rc == ERR_UNSUPPORTED && r.value_version < 0) {
        buf_printf(key_out, "Unknown record type %d at offset %" PRId64 ", skipping.",
                   r.key_version, offset);
    } else {
        buf_printf(key_out, "Error at offset %" PRId64 ", skipping. %s", offset, why.text);
    }
    arena_fini(&r.arena);
    return rc == ERR_OK;
}
