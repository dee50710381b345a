/* SPDX-License-Identifier: Apache-2.0 */
/* zk_offsets - see zk_offsets.h. Source: KafkaApis (commitOffsetsToZookeeper,
 * fetchOffsetsFromZookeeper), KafkaZkClient (setOrCreateConsumerOffset). */
#include "broker/api/zk_offsets.h"
#include "broker/api/api.h"
#include "broker/api/task.h"
#include "broker/config/config.h"
#include "common/base/mailbox.h"
#include "common/protocol/codec.h"
#include "common/protocol/messages.h"
#include "common/zk/coord.h"

#include <inttypes.h>
#include <stdio.h>

enum {
    CALLS_MAX = 256, /* at a time, of one request */
    GROUP_BYTES_MAX = 1024,
    DECIMAL_BYTES = 24
};

struct offset_item { /* one partition that is written or read */
    struct offsets_task *task;
    const char *path;
    int16_t *error;           /* of the answer */
    int64_t *offset;          /* NULL: it is written */
    bool is_creating;         /* the node was not there */
    uint8_t len;              /* of text */
    char text[DECIMAL_BYTES]; /* the offset to write */
};
struct offsets_task {
    struct task task;
    bool is_commit;
    int32_t count, pending;
    struct offset_item *items;
    struct mailbox box;
    union {
        struct kp_OffsetCommitResponse commit;
        struct kp_OffsetFetchResponse fetch;
    } response;
};

/* ---- at the coordination service; an io thread */

static int16_t error_of(enum err rc)
{
    switch (rc) {
    case ERR_OK:
        return KE_NONE;
    case ERR_DENIED:
        return KE_GROUP_AUTHORIZATION_FAILED;
    case ERR_INVALID: /* a name that can be no znode */
        return KE_INVALID_GROUP_ID;
    case ERR_UNREACHABLE:
    case ERR_UNKNOWN_OUTCOME: /* the client writes the same once more */
    case ERR_CLOSED:
    case ERR_LIMIT:
        return KE_REQUEST_TIMED_OUT;
    default:
        return KE_UNKNOWN_SERVER_ERROR;
    }
}

static void item_write(struct offset_item *it);

static void item_written(void *arg, const struct coord_result *r)
{
    struct offset_item *it = arg;
    struct offsets_task *t = it->task;
    struct coord *c = t->task.request->broker->coord;
    if (r->err == ERR_NOT_FOUND && !it->is_creating) {
        it->is_creating = true;
        coord_create_recursive(c, it->path, (struct bytes){(const uint8_t *)it->text, it->len},
                               &t->box, item_written, it);
        return;
    }
    if (r->err == ERR_EXISTS && it->is_creating) { /* somebody was faster: ours is newer */
        item_write(it);
        return;
    }
    *it->error = error_of(r->err);
    t->pending--;
}

/* No version: the last one to commit wins, as with the clients that write there themselves. */
static void item_write(struct offset_item *it)
{
    struct coord_op op = {.kind = COORD_OP_SET,
                          .path = it->path,
                          .data = {(const uint8_t *)it->text, it->len},
                          .version = -1};
    coord_multi(it->task->task.request->broker->coord, &op, 1, &it->task->box, item_written, it);
}

/* Decimal text, as any program may have written it. */
static bool offset_parse(struct bytes b, int64_t *out)
{
    char text[DECIMAL_BYTES], after;
    if (b.len <= 0 || b.len >= DECIMAL_BYTES)
        return false;
    memcpy(text, b.p, (size_t)b.len);
    text[b.len] = '\0';
    return sscanf(text, "%" SCNd64 "%c", out, &after) == 1;
}

static void item_read(void *arg, const struct coord_result *r)
{
    struct offset_item *it = arg;
    if (r->err == ERR_NOT_FOUND)
        *it->error = KE_UNKNOWN_TOPIC_OR_PARTITION;
    else if (r->err != ERR_OK)
        *it->error = error_of(r->err);
    else if (!offset_parse(r->data, it->offset))
        *it->error = KE_UNKNOWN_SERVER_ERROR;
    if (*it->error != KE_NONE)
        *it->offset = -1;
    it->task->pending--;
}

static void offsets_io(struct task *task)
{
    struct offsets_task *t = CONTAINER_OF(task, struct offsets_task, task);
    struct coord *c = task->request->broker->coord;
    enum err rc = mailbox_init(&t->box);
    for (int32_t i = 0; rc != ERR_OK && i < t->count; i++)
        *t->items[i].error = error_of(rc);
    for (int32_t i = 0; rc == ERR_OK && i < t->count;) {
        for (; i < t->count && t->pending < CALLS_MAX; i++) {
            struct offset_item *it = &t->items[i];
            t->pending++;
            if (t->is_commit)
                item_write(it);
            else
                coord_get(c, it->path, false, &t->box, item_read, it);
        }
        coord_wait_all(c, &t->box, &t->pending);
    }
    if (rc == ERR_OK)
        mailbox_fini(&t->box);
}

/* ---- the request; the loop */

static void offsets_finish(struct task *task, bool is_timed_out)
{
    struct offsets_task *t = CONTAINER_OF(task, struct offsets_task, task);
    (void)is_timed_out;
    request_reply(task->request, &t->response);
}

/* The group's name becomes a znode. */
static bool group_is_valid(struct str group)
{
    if (group.len <= 0 || group.len > GROUP_BYTES_MAX || str_eq_z(group, ".") ||
        str_eq_z(group, ".."))
        return false;
    for (int32_t i = 0; i < group.len; i++)
        if (group.p[i] == '/' || (unsigned char)group.p[i] < ' ' || group.p[i] == 127)
            return false;
    return true;
}

/* For all partitions of the request, or KE_NONE. */
static int16_t group_check(const struct request *r, struct str group, enum acl_operation op)
{
    if (!authorize(r, op, ACL_GROUP, group))
        return KE_GROUP_AUTHORIZATION_FAILED;
    return group_is_valid(group) ? KE_NONE : KE_INVALID_GROUP_ID;
}

static int16_t partition_check(const struct request *r, struct str topic, int32_t index,
                               int16_t group_error, bool may)
{
    if (group_error != KE_NONE)
        return group_error;
    if (!may)
        return KE_TOPIC_AUTHORIZATION_FAILED;
    return metadata_partition(metadata_current(r), topic, index) == NULL
               ? KE_UNKNOWN_TOPIC_OR_PARTITION
               : KE_NONE;
}

/* A new item; NULL: no memory. */
static struct offset_item *item_add(struct offsets_task *t, struct request *r, struct str group,
                                    struct str topic, int32_t index, int16_t *error)
{
    static const char format[] = "/consumers/%.*s/offsets/%.*s/%" PRId32;
    size_t room = sizeof format + (size_t)group.len + (size_t)topic.len + DECIMAL_BYTES;
    char *path = api_alloc(r, room, 1);
    if (path == NULL)
        return NULL;
    (void)snprintf(path, room, format, (int)group.len, group.p, (int)topic.len, topic.p, index);
    struct offset_item *it = &t->items[t->count++];
    *it = (struct offset_item){.task = t, .path = path, .error = error};
    return it;
}

static void offsets_start(struct offsets_task *t, struct request *r)
{
    t->task.io = offsets_io;
    t->task.needs_coord = true;
    t->task.finish = offsets_finish;
    if (t->count > 0 && task_start(&t->task, r) == ERR_OK)
        return;
    for (int32_t i = 0; i < t->count; i++)
        *t->items[i].error = KE_REQUEST_TIMED_OUT;
    request_reply(r, &t->response);
}

/* ---- OffsetCommit */

static int16_t metadata_check(const struct request *r, struct str text)
{
    return text.len > r->broker->config->offset_metadata_max_bytes ? KE_OFFSET_METADATA_TOO_LARGE
                                                                   : KE_NONE;
}

static bool commit_topic(struct offsets_task *t, struct request *r, int16_t group_error,
                         const struct kp_OffsetCommitRequest_OffsetCommitRequestTopic *from,
                         struct kp_OffsetCommitResponse_OffsetCommitResponseTopic *to)
{
    const struct kp_OffsetCommitRequest *req = r->body;
    bool may = authorize(r, ACL_READ, ACL_TOPIC, from->name);
    int32_t count = i32_max(from->partitions_count, 0);
    to->name = from->name;
    to->partitions = api_alloc(r, (size_t)count, sizeof *to->partitions);
    if (to->partitions == NULL)
        return false;
    to->partitions_count = count;
    for (int32_t i = 0; i < count; i++) {
        const struct kp_OffsetCommitRequest_OffsetCommitRequestPartition *p = &from->partitions[i];
        int16_t *error = &to->partitions[i].error_code;
        to->partitions[i].partition_index = p->partition_index;
        *error = partition_check(r, from->name, p->partition_index, group_error, may);
        if (*error == KE_NONE)
            *error = metadata_check(r, p->committed_metadata);
        if (*error != KE_NONE)
            continue;
        struct offset_item *it =
            item_add(t, r, req->group_id, from->name, p->partition_index, error);
        if (it == NULL)
            return false;
        it->len = (uint8_t)snprintf(it->text, sizeof it->text, "%" PRId64, p->committed_offset);
    }
    return true;
}

static struct offsets_task *commit_prepare(struct request *r)
{
    const struct kp_OffsetCommitRequest *req = r->body;
    size_t parts = 0, topics = (size_t)i32_max(req->topics_count, 0);
    for (size_t i = 0; i < topics; i++)
        parts += (size_t)i32_max(req->topics[i].partitions_count, 0);
    struct offsets_task *t = api_alloc(r, 1, sizeof *t);
    if (t == NULL)
        return NULL;
    t->is_commit = true;
    t->items = api_alloc(r, parts, sizeof *t->items);
    struct kp_OffsetCommitResponse *out = &t->response.commit;
    kp_defaults(&kp_OffsetCommitResponse_schema, out);
    out->topics = api_alloc(r, topics, sizeof *out->topics);
    if (t->items == NULL || out->topics == NULL)
        return NULL;
    out->topics_count = (int32_t)topics;
    int16_t group_error = group_check(r, req->group_id, ACL_READ);
    for (size_t i = 0; i < topics; i++)
        if (!commit_topic(t, r, group_error, &req->topics[i], &out->topics[i]))
            return NULL;
    return t;
}

void zk_offset_commit(struct request *r)
{
    CHECK_OBJ(r, REQUEST_MAGIC);
    ASSERT(r->api_version == 0);
    struct offsets_task *t = commit_prepare(r);
    if (t == NULL)
        api_no_memory(r);
    else
        offsets_start(t, r);
}

/* ---- OffsetFetch */

static bool fetch_topic(struct offsets_task *t, struct request *r, int16_t group_error,
                        const struct kp_OffsetFetchRequest_OffsetFetchRequestTopic *from,
                        struct kp_OffsetFetchResponse_OffsetFetchResponseTopic *to)
{
    const struct kp_OffsetFetchRequest *req = r->body;
    bool may = authorize(r, ACL_DESCRIBE, ACL_TOPIC, from->name);
    int32_t count = i32_max(from->partition_indexes_count, 0);
    to->name = from->name;
    to->partitions = api_alloc(r, (size_t)count, sizeof *to->partitions);
    if (to->partitions == NULL)
        return false;
    to->partitions_count = count;
    for (int32_t i = 0; i < count; i++) {
        int32_t index = from->partition_indexes[i];
        struct kp_OffsetFetchResponse_OffsetFetchResponsePartition *p = &to->partitions[i];
        kp_defaults(&kp_OffsetFetchResponse_OffsetFetchResponsePartition_schema, p);
        p->partition_index = index;
        p->committed_offset = -1;
        p->metadata = STR_LIT("");
        p->error_code = partition_check(r, from->name, index, group_error, may);
        if (p->error_code != KE_NONE)
            continue;
        struct offset_item *it = item_add(t, r, req->group_id, from->name, index, &p->error_code);
        if (it == NULL)
            return false;
        it->offset = &p->committed_offset;
    }
    return true;
}

static struct offsets_task *fetch_prepare(struct request *r)
{
    const struct kp_OffsetFetchRequest *req = r->body;
    size_t parts = 0, topics = (size_t)i32_max(req->topics_count, 0);
    for (size_t i = 0; i < topics; i++)
        parts += (size_t)i32_max(req->topics[i].partition_indexes_count, 0);
    struct offsets_task *t = api_alloc(r, 1, sizeof *t);
    if (t == NULL)
        return NULL;
    t->items = api_alloc(r, parts, sizeof *t->items);
    struct kp_OffsetFetchResponse *out = &t->response.fetch;
    kp_defaults(&kp_OffsetFetchResponse_schema, out);
    out->topics = api_alloc(r, topics, sizeof *out->topics);
    if (t->items == NULL || out->topics == NULL)
        return NULL;
    out->topics_count = (int32_t)topics;
    int16_t group_error = group_check(r, req->group_id, ACL_DESCRIBE);
    for (size_t i = 0; i < topics; i++)
        if (!fetch_topic(t, r, group_error, &req->topics[i], &out->topics[i]))
            return NULL;
    return t;
}

void zk_offset_fetch(struct request *r)
{
    CHECK_OBJ(r, REQUEST_MAGIC);
    ASSERT(r->api_version == 0);
    struct offsets_task *t = fetch_prepare(r);
    if (t == NULL)
        api_no_memory(r);
    else
        offsets_start(t, r);
}
