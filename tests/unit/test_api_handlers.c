/* SPDX-License-Identifier: Apache-2.0 */
/* Handlers against stand-ins for the layers below: partitions that are two offsets in memory, a
 * coordination service that answers by an update of the metadata, replies that are encoded for the
 * request's version and decoded again. */
#include "broker/api/api.h"
#include "broker/api/handlers.h"
#include "broker/config/config.h"
#include "broker/group/coordinator.h"
#include "broker/replica/replicas.h"
#include "broker/replica/watch.h"
#include "common/base/lock.h"
#include "common/base/pool.h"
#include "common/protocol/codec.h"
#include "common/protocol/messages.h"
#include "common/protocol/schema.h"
#include "common/record/builder.h"
#include "common/record/legacy.h"
#include "common/zk/zkadmin.h"
#include "controller/controller.h"

#include <check.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- partitions */

struct partition {
    const char *topic;
    int32_t index;
    _Atomic int refs;
    int16_t append_error;
    int64_t end, hw;
    int recorded; /* reads that record a follower's position */
    struct log_policy policy;
    TAILQ_HEAD(, partition_wait) waits;
    LIST_HEAD(, partition_watch) watches;
    int64_t appended[16]; /* lengths, in order */
    int append_count;
    struct buf batches; /* what is in the log: for fetches of old formats */
    bool is_downconversion_disabled;
    int8_t compression_type;
};

enum { PARTITIONS = 3, FILE_BYTES_MAX = 1 << 24 };
static struct partition parts[PARTITIONS];
static struct partition offsets_part; /* of __consumer_offsets, once it leads */
static pthread_barrier_t append_gate; /* when use_gate: heavy appends wait here */
static bool use_gate;
static bool is_controller = true, may = true;
static _Atomic int released;

struct partition *replicas_find(struct replicas *r UNUSED, struct str topic, int32_t index)
{
    for (int i = 0; i < PARTITIONS; i++)
        if (str_eq_z(topic, parts[i].topic) && parts[i].index == index)
            return partition_ref(&parts[i]);
    if (offsets_part.topic != NULL && str_eq_z(topic, offsets_part.topic) && index == 0)
        return partition_ref(&offsets_part);
    return NULL;
}

struct partition *partition_ref(struct partition *p)
{
    p->refs++;
    return p;
}

void partition_unref(struct partition **p)
{
    if (*p != NULL)
        (*p)->refs--;
    *p = NULL;
}

struct str partition_topic(const struct partition *p)
{
    return str_of(p->topic);
}

int32_t partition_index(const struct partition *p)
{
    return p->index;
}

bool partition_policy(struct partition *p, struct log_policy *out)
{
    *out = p->policy;
    return true;
}

bool log_needs_decompression(const struct log_policy *policy UNUSED, const uint8_t *records,
                             size_t len)
{
    return len > 22 && (records[22] & 7) != 0;
}

static void news(struct partition *p)
{
    struct partition_watch *w;
    LIST_FOREACH (w, &p->watches, link)
        if (watch_list_mark(w))
            watch_list_post(w->list);
}

int16_t partition_append(struct partition *p, const struct partition_append *a,
                         struct log_append_result *out)
{
    if (use_gate && log_needs_decompression(NULL, a->records, a->len))
        pthread_barrier_wait(&append_gate);
    if (p->append_error != KE_NONE)
        return p->append_error;
    if (p->append_count < (int)ARRAY_LEN(p->appended))
        p->appended[p->append_count++] = (int64_t)a->len;
    out->base_offset = p->end;
    out->last_offset = p->end;
    out->log_append_time_ms = -1;
    out->log_start_offset = 0;
    p->end++;
    if (p == &offsets_part)
        p->hw = p->end; /* replicated at once */
    return KE_NONE;
}

bool partition_wait_start(struct partition *p, struct partition_wait *w)
{
    if (p->hw >= w->required_offset) {
        w->result = KE_NONE;
        return false;
    }
    w->partition = p;
    w->is_waiting = true;
    TAILQ_INSERT_TAIL(&p->waits, w, link);
    return true;
}

bool partition_wait_cancel(struct partition_wait *w)
{
    if (!w->is_waiting)
        return false;
    TAILQ_REMOVE(&w->partition->waits, w, link);
    w->is_waiting = false;
    return true;
}

static void raise_hw(struct partition *p, int64_t hw)
{
    struct partition_wait *w, *next;
    p->hw = hw;
    for (w = TAILQ_FIRST(&p->waits); w != NULL; w = next) {
        next = TAILQ_NEXT(w, link);
        if (w->required_offset > hw)
            continue;
        TAILQ_REMOVE(&p->waits, w, link);
        w->is_waiting = false;
        w->result = KE_NONE;
        w->woken(w);
    }
    news(p);
}

/* As the log does it; the position in the file tells the partition too. */
static void read_batches(struct partition *p, const struct partition_read *in,
                         struct partition_read_result *out)
{
    const struct buf *b = &p->batches;
    size_t at = 0, end;
    while (at < b->len && batch_last_offset(b->p + at) < in->fetch_offset)
        at += batch_total_bytes(b->p + at);
    for (end = at; end < b->len && batch_last_offset(b->p + end) < p->hw;)
        end += batch_total_bytes(b->p + end);
    if (in->fetch_offset >= p->hw || at == end || in->max_bytes <= 0)
        return;
    out->range = (struct log_range){.position = (int64_t)at + p->index * FILE_BYTES_MAX,
                                    .length = i64_min((int64_t)(end - at), in->max_bytes)};
    if (in->at_least_one)
        out->range.length = i64_max(out->range.length, (int64_t)batch_total_bytes(b->p + at));
}

static _Atomic int reads_gated; /* conversions that read; they wait while use_read_gate */
static _Atomic bool use_read_gate;

enum err log_range_read(struct log_range *r UNUSED, int64_t at, void *dst, size_t n,
                        size_t *got_out)
{
    const struct buf *b = &parts[at / FILE_BYTES_MAX].batches;
    size_t from = (size_t)(at % FILE_BYTES_MAX);
    reads_gated++;
    while (use_read_gate)
        poll(NULL, 0, 1);
    *got_out = from >= b->len ? 0 : size_min(n, b->len - from);
    if (*got_out > 0)
        memcpy(dst, b->p + from, *got_out);
    return ERR_OK;
}

void partition_read(struct partition *p, const struct partition_read *in,
                    struct partition_read_result *out)
{
    *out =
        (struct partition_read_result){.high_watermark = p->hw,
                                       .last_stable_offset = p->hw,
                                       .log_end_offset = p->end,
                                       .diverging_epoch = -1,
                                       .leader_id = 1,
                                       .preferred_replica = -1,
                                       .compression_type = p->compression_type,
                                       .is_downconversion_enabled = !p->is_downconversion_disabled};
    p->recorded += in->update_follower;
    if (p->batches.len > 0)
        read_batches(p, in, out);
    else if (in->fetch_offset < 0 || in->fetch_offset > p->end)
        out->error = KE_OFFSET_OUT_OF_RANGE;
    else if (in->fetch_offset < p->hw) {
        out->bytes_available = (p->hw - in->fetch_offset) * 100;
        if (in->max_bytes > 0)
            out->range = (struct log_range){
                .length = i64_min(out->bytes_available, i64_max(in->max_bytes, 100))};
        if (in->max_bytes < 100 && !in->at_least_one)
            out->range.length = 0;
    }
}

void log_range_release(struct log_range *r UNUSED)
{
    released++;
}

void partition_watch_add(struct partition *p, struct partition_watch *w)
{
    w->partition = partition_ref(p);
    LIST_INSERT_HEAD(&p->watches, w, link);
}

void partition_watch_remove(struct partition_watch *w)
{
    LIST_REMOVE(w, link);
    watch_list_forget(w);
    partition_unref(&w->partition);
}

int16_t partition_read_log(struct partition *p UNUSED, int32_t epoch UNUSED, int64_t offset,
                           int64_t max UNUSED, struct buf *out, int64_t *next_out)
{
    out->len = 0;
    *next_out = offset;
    return KE_NONE;
}

int16_t partition_list_offset(struct partition *p, int64_t timestamp, bool read_committed UNUSED,
                              int32_t replica_id UNUSED, int32_t epoch UNUSED, bool leader UNUSED,
                              struct log_time_offset *out)
{
    *out = (struct log_time_offset){.timestamp_ms = timestamp >= 0 ? timestamp : -1,
                                    .offset = timestamp == -1 ? p->hw : 0,
                                    .leader_epoch = 3};
    return KE_NONE;
}

int16_t partition_list_marks(struct partition *p, int64_t timestamp UNUSED, int32_t max,
                             int32_t replica_id UNUSED, int64_t now_ms UNUSED, int64_t **out,
                             int32_t *count_out)
{
    int64_t marks[] = {p->hw, 2, 0};
    *count_out = i32_max(i32_min(max, 3), 0);
    *out = xmalloc(sizeof marks);
    memcpy(*out, marks, sizeof marks);
    return KE_NONE;
}

int16_t partition_epoch_end(struct partition *p, int32_t current UNUSED, int32_t epoch,
                            int32_t *epoch_out, int64_t *end_out)
{
    *epoch_out = epoch;
    *end_out = p->end;
    return KE_NONE;
}

int16_t partition_delete_records(struct partition *p UNUSED, int64_t offset, int64_t *low_out)
{
    *low_out = offset;
    return KE_NONE;
}

void partition_describe(struct partition *p, struct partition_info *out)
{
    *out = (struct partition_info){
        .log_end_offset = p->end, .high_watermark = p->hw, .log_dir = "/d", .size_bytes = 7};
    out->is_leader = p == &offsets_part;
}

/* ---- the rest of the broker */

void replicas_each(struct replicas *r UNUSED, void (*visit)(void *arg, struct partition *p),
                   void *arg)
{
    for (int i = 0; i < PARTITIONS; i++)
        visit(arg, &parts[i]);
}

void replicas_count(struct replicas *r UNUSED, struct replicas_numbers *out)
{
    *out = (struct replicas_numbers){.partitions = PARTITIONS};
}

int log_manager_dirs(struct log_manager *m UNUSED, struct log_dir_info *out, int max UNUSED)
{
    out[0] = (struct log_dir_info){.path = "/d", .total_bytes = 100, .usable_bytes = 50};
    return 1;
}

int16_t replicas_admit_controller(struct replicas *r UNUSED, int32_t controller_epoch,
                                  int64_t broker_epoch UNUSED)
{
    return controller_epoch < 5 ? KE_STALE_CONTROLLER_EPOCH : KE_NONE;
}

void replicas_metadata_changed(struct replicas *r UNUSED, const struct metadata *m UNUSED)
{
}

void replicas_carry_out(struct replicas *r UNUSED, struct replicas_order *o UNUSED,
                        int32_t n UNUSED, void (*done)(void *arg), void *arg)
{
    done(arg);
}

void replicas_note_leader(struct replicas *r UNUSED, int32_t id UNUSED, struct str host UNUSED,
                          int32_t port UNUSED)
{
}

bool controller_is_active(const struct controller *c UNUSED)
{
    return is_controller;
}

void controller_request(struct controller *c UNUSED, int16_t key, int16_t version UNUSED,
                        const void *req UNUSED, struct mailbox *to UNUSED,
                        void (*done)(void *arg, const void *response), void *arg)
{
    static int64_t next;
    struct kp_AllocateProducerIdsResponse a = {.producer_id_start = next, .producer_id_len = 10};
    ck_assert_int_eq(key, 67);
    next += 10;
    done(arg, &a);
}

bool authorize(const struct request *r UNUSED, enum acl_operation op UNUSED,
               enum acl_resource type UNUSED, struct str name UNUSED)
{
    return may;
}

/* ---- coordination: what is created shows in the metadata */

static struct broker broker;
static struct listener listener = {.name = (char[]){"PLAINTEXT"}};
static _Atomic int created;
static struct zkdoc_config stored; /* of every topic */

static void publish(const char *topic, int32_t partitions, int32_t leader)
{
    static int32_t replicas[] = {1};
    struct kp_UpdateMetadataRequest_UpdateMetadataPartitionState *s =
        calloc((size_t)partitions, sizeof *s);
    for (int32_t i = 0; i < partitions; i++)
        s[i] = (struct kp_UpdateMetadataRequest_UpdateMetadataPartitionState){.partition_index = i,
                                                                              .leader = leader,
                                                                              .replicas = replicas,
                                                                              .replicas_count = 1,
                                                                              .isr = replicas,
                                                                              .isr_count = 1};
    struct kp_UpdateMetadataRequest_UpdateMetadataTopicState t = {
        .topic_name = str_of(topic), .partition_states = s, .partition_states_count = partitions};
    t.topic_id.b[0] = (uint8_t)topic[0];
    struct kp_UpdateMetadataRequest_UpdateMetadataEndpoint e = {
        .host = STR_LIT("h"), .port = 9, .listener = STR_LIT("PLAINTEXT")};
    struct kp_UpdateMetadataRequest_UpdateMetadataBroker b = {
        .id = 1, .endpoints = &e, .endpoints_count = 1, .rack = STR_NULL};
    struct kp_UpdateMetadataRequest req = {.controller_id = 1,
                                           .topic_states = &t,
                                           .topic_states_count = partitions > 0,
                                           .live_brokers = &b,
                                           .live_brokers_count = 1};
    ck_assert_int_eq(
        metadata_cache_update(broker.metadata, &req, broker.loops[0], NULL, NULL, NULL), ERR_OK);
    free(s);
}

static void publish_brokers(void)
{
    publish("none", 0, 1);
}

static bool coord_is_away;

enum coord_state coord_state_now(const struct coord *c UNUSED)
{
    return coord_is_away ? COORD_DISCONNECTED : COORD_CONNECTED;
}

/* A few nodes; each call is answered at once. */
enum { ZNODES_MAX = 8 };
static struct znode {
    char *path, *data;
} znodes[ZNODES_MAX];
static enum err coord_error;         /* of every call */
static const char *somebody_creates; /* this data, as we are about to */

static struct znode *znode(const char *path)
{
    for (int i = 0; path != NULL && i < ZNODES_MAX; i++)
        if (znodes[i].path != NULL && strcmp(znodes[i].path, path) == 0)
            return &znodes[i];
    return NULL;
}

static void znode_set(const char *path, const char *data, size_t n)
{
    struct znode *z = znode(path);
    for (int i = 0; z == NULL && i < ZNODES_MAX; i++)
        if (znodes[i].path == NULL)
            z = &znodes[i];
    ck_assert_ptr_nonnull(z);
    if (z->path == NULL)
        z->path = strdup(path);
    free(z->data);
    z->data = strndup(data, n);
}

static void znodes_clear(void)
{
    for (int i = 0; i < ZNODES_MAX; i++) {
        free(znodes[i].path);
        free(znodes[i].data);
        znodes[i] = (struct znode){NULL, NULL};
    }
}

void coord_get(struct coord *c UNUSED, const char *path, bool watch UNUSED,
               struct mailbox *to UNUSED, coord_done done, void *arg)
{
    const struct znode *z = znode(path);
    struct coord_result r = {.err = coord_error != ERR_OK ? coord_error
                                    : z == NULL           ? ERR_NOT_FOUND
                                                          : ERR_OK};
    if (r.err == ERR_OK)
        r.data = (struct bytes){(const uint8_t *)z->data, (int64_t)strlen(z->data)};
    done(arg, &r);
}

void coord_multi(struct coord *c UNUSED, const struct coord_op *ops, int32_t count,
                 struct mailbox *to UNUSED, coord_done done, void *arg)
{
    struct coord_result r = {.err = coord_error};
    ck_assert_int_eq(count, 1);
    ck_assert_int_eq(ops->kind, COORD_OP_SET);
    ck_assert_int_eq(ops->version, -1);
    if (r.err == ERR_OK && znode(ops->path) == NULL)
        r.err = ERR_NOT_FOUND;
    if (r.err == ERR_OK)
        znode_set(ops->path, (const char *)ops->data.p, (size_t)ops->data.len);
    done(arg, &r);
}

void coord_create_recursive(struct coord *c UNUSED, const char *path, struct bytes data,
                            struct mailbox *to UNUSED, coord_done done, void *arg)
{
    struct coord_result r = {.err = ERR_OK};
    if (somebody_creates != NULL) {
        znode_set(path, somebody_creates, strlen(somebody_creates));
        r.err = ERR_EXISTS;
    } else {
        znode_set(path, (const char *)data.p, (size_t)data.len);
    }
    done(arg, &r);
}

void coord_wait_all(struct coord *c UNUSED, struct mailbox *to UNUSED, const int32_t *pending)
{
    ck_assert_int_eq(*pending, 0);
}

int16_t zkadmin_create_topic(struct coord *c UNUSED, const struct zkadmin_new_topic *t,
                             struct errtext *why)
{
    if (strcmp(t->name, "raced") == 0) { /* another request was first, and is half done */
        publish(t->name, 2, -1);
        publish(t->name, 2, 1);
        return KE_TOPIC_ALREADY_EXISTS;
    }
    if (strcmp(t->name, "refused") == 0) {
        errtext_set(why, "because");
        return KE_TOPIC_ALREADY_EXISTS;
    }
    created++;
    if (!t->validate_only && strcmp(t->name, "slow") != 0) {
        publish(t->name, t->partition_count, -1); /* first without, then with leaders */
        publish(t->name, t->partition_count, 1);
    }
    return KE_NONE;
}

int16_t zkadmin_delete_topic(struct coord *c UNUSED, const char *name, struct errtext *why UNUSED)
{
    if (strcmp(name, "stuck") != 0)
        publish(name, 2, METADATA_LEADER_DELETED);
    return KE_NONE;
}

int16_t zkadmin_read_topic(struct coord *c UNUSED, const char *name UNUSED, struct arena *a UNUSED,
                           struct zkdoc_topic *out, int32_t *version UNUSED,
                           struct errtext *why UNUSED)
{
    static const int32_t replicas[] = {1};
    static struct zkdoc_partition two[] = {{.index = 0, .replicas = replicas, .replica_count = 1},
                                           {.index = 1, .replicas = replicas, .replica_count = 1}};
    *out = (struct zkdoc_topic){.partitions = two, .partition_count = 2};
    return KE_NONE;
}

int16_t zkadmin_add_partitions(struct coord *c UNUSED, const char *name,
                               const struct zkdoc_partition *added, int32_t n, bool validate UNUSED,
                               struct errtext *why UNUSED)
{
    publish(name, added[0].index + n, 1);
    return KE_NONE;
}

int16_t zkadmin_read_entity_config(struct coord *c UNUSED, const char *type UNUSED,
                                   const char *name UNUSED, struct arena *a UNUSED,
                                   struct zkdoc_config *out, struct errtext *why UNUSED)
{
    *out = stored;
    return KE_NONE;
}

int16_t zkadmin_set_entity_config(struct coord *c UNUSED, const char *type UNUSED,
                                  const char *name UNUSED, const struct zkdoc_config *config,
                                  bool check UNUSED, struct errtext *why UNUSED)
{
    for (int32_t i = 0; i < stored.count; i++) {
        free((void *)(uintptr_t)stored.entries[i].key);
        free((void *)(uintptr_t)stored.entries[i].value);
    }
    free(stored.entries);
    stored.entries = calloc((size_t)config->count + 1, sizeof *stored.entries);
    stored.count = config->count;
    for (int32_t i = 0; i < config->count; i++)
        stored.entries[i] =
            (struct zkdoc_kv){xstrdup(config->entries[i].key), xstrdup(config->entries[i].value)};
    return KE_NONE;
}

const char *zkdoc_config_value(const struct zkdoc_config *d, const char *key)
{
    for (int32_t i = 0; i < d->count; i++)
        if (strcmp(d->entries[i].key, key) == 0)
            return d->entries[i].value;
    return NULL;
}

/* ---- requests and replies */

enum end { NOT_YET, REPLIED, REPLIED_NONE, CLOSED, DROPPED };
struct outcome {
    _Atomic int end;
    struct arena arena;
    struct buf bytes;
    union {
        struct kp_ProduceResponse produce;
        struct kp_FetchResponse fetch;
        struct kp_MetadataResponse metadata;
        struct kp_CreateTopicsResponse create;
        struct kp_DeleteTopicsResponse delete;
        struct kp_CreatePartitionsResponse grow;
        struct kp_ListOffsetsResponse offsets;
        struct kp_DescribeConfigsResponse describe;
        struct kp_AlterConfigsResponse alter;
        struct kp_IncrementalAlterConfigsResponse incremental;
        struct kp_InitProducerIdResponse id;
        struct kp_DescribeLogDirsResponse dirs;
        struct kp_UpdateMetadataResponse update;
        struct kp_OffsetForLeaderEpochResponse epochs;
        struct kp_DeleteRecordsResponse records;
        struct kp_DescribeClusterResponse cluster;
        struct kp_FindCoordinatorResponse coordinator;
        struct kp_JoinGroupResponse join;
        struct kp_SyncGroupResponse sync;
        struct kp_HeartbeatResponse heartbeat;
        struct kp_LeaveGroupResponse leave;
        struct kp_OffsetCommitResponse commit;
        struct kp_OffsetFetchResponse committed;
        struct kp_OffsetDeleteResponse offset_delete;
        struct kp_DescribeGroupsResponse groups;
        struct kp_ListGroupsResponse list;
        struct kp_DeleteGroupsResponse delete_groups;
    } u;
    size_t range_count;
};
struct fake_request {
    struct request r;
    struct outcome *o;
};

static struct request *open_request; /* the last one sent, until it ends; owner: the loop */

static void finish(struct request *r, enum end end)
{
    struct outcome *o = CONTAINER_OF(r, struct fake_request, r)->o;
    if (open_request == r)
        open_request = NULL;
    arena_fini(&r->arena);
    free(CONTAINER_OF(r, struct fake_request, r));
    o->end = end;
}

static void capture(struct request *r, const void *msg)
{
    struct outcome *o = CONTAINER_OF(r, struct fake_request, r)->o;
    const struct kp_api *api = kp_api_find(r->api_key);
    struct errtext why = {.text = ""};
    struct kp_hole_at holes[64];
    enum err rc = kp_encode_holes(api->response, r->api_version, msg, &o->bytes, holes, 64,
                                  &o->range_count, &why);
    ck_assert_msg(rc == ERR_OK, "encode: %s", why.text);
    /* the ranges' bytes, so that it can be decoded */
    for (size_t i = o->range_count; i-- > 0;) {
        size_t tail = o->bytes.len - holes[i].at, n = (size_t)holes[i].len;
        buf_reserve(&o->bytes, n);
        memmove(o->bytes.p + holes[i].at + n, o->bytes.p + holes[i].at, tail);
        memset(o->bytes.p + holes[i].at, 'x', n);
        o->bytes.len += n;
    }
    rc = kp_decode(api->response, r->api_version, (struct bytes){o->bytes.p, (int64_t)o->bytes.len},
                   &o->arena, &o->u, &why);
    ck_assert_msg(rc == ERR_OK, "decode: %s", why.text);
}

void request_reply(struct request *r, const void *msg)
{
    capture(r, msg);
    finish(r, REPLIED);
}

void request_reply_ranges(struct request *r, const void *msg, struct log_range *ranges,
                          size_t count)
{
    capture(r, msg);
    ck_assert_uint_eq(CONTAINER_OF(r, struct fake_request, r)->o->range_count, count);
    for (size_t i = 0; i < count; i++)
        log_range_release(&ranges[i]);
    finish(r, REPLIED);
}

void request_reply_none(struct request *r)
{
    finish(r, REPLIED_NONE);
}

static struct request *closed_too; /* of the same connection, when it closes */

void request_close(struct request *r, const char *why UNUSED)
{
    struct request *other = closed_too;
    finish(r, CLOSED);
    closed_too = NULL;
    if (other != NULL) {
        other->conn = NULL;
        other->on_cancel(other);
    }
}

void request_drop(struct request *r)
{
    finish(r, DROPPED);
}

static void posted(struct mail *m)
{
    struct request *r = CONTAINER_OF(m, struct request, mail);
    r->run(r);
}

void request_post(struct request *r, void (*run)(struct request *r))
{
    r->run = run;
    r->mail.deliver = posted;
    loop_post(r->loop, &r->mail);
}

static void handle(void *arg)
{
    struct request *r = arg;
    open_request = r;
    for (size_t i = 0; i < api_row_count; i++)
        if (api_rows[i].key == r->api_key) {
            ck_assert_int_le(r->api_version, api_rows[i].max_version);
            api_rows[i].handle(r);
            return;
        }
    ck_abort_msg("key %d is not offered", r->api_key);
}

static int32_t correlation_id; /* of the requests to come */

static struct request *send_on(int conn, int16_t key, int16_t version, const void *body,
                               void *records, struct outcome *o)
{
    struct fake_request *f = calloc(1, sizeof *f);
    *o = (struct outcome){.end = NOT_YET};
    f->o = o;
    f->r = (struct request){.magic = REQUEST_MAGIC,
                            .api_key = key,
                            .api_version = version,
                            .correlation_id = correlation_id,
                            .broker = &broker,
                            .loop = broker.loops[0],
                            .conn = (struct conn *)(uintptr_t)(unsigned)conn,
                            .listener = &listener,
                            .client_id = STR_LIT("test"),
                            .body = (void *)(uintptr_t)body,
                            .frame = records};
    loop_call(broker.loops[0], handle, &f->r);
    return &f->r;
}

static void wait_end(struct outcome *o, enum end end)
{
    for (int i = 0; i < 5000 && o->end == NOT_YET; i++)
        poll(NULL, 0, 1);
    ck_assert_int_eq(o->end, end);
}

static void outcome_fini(struct outcome *o)
{
    arena_fini(&o->arena);
    buf_fini(&o->bytes);
}

static void call(int16_t key, int16_t version, const void *body, struct outcome *o)
{
    send_on(1, key, version, body, NULL, o);
    wait_end(o, REPLIED);
}

/* ---- fixture */

static void cancel(void *arg)
{
    struct request *r = arg;
    r->conn = NULL;
    if (r->on_cancel != NULL)
        r->on_cancel(r);
}

static void cancel_if_there(void *arg)
{
    if (open_request == arg)
        cancel(arg);
}

static void hw_of_0(void *arg)
{
    raise_hw(&parts[0], *(int64_t *)arg);
}

static void set_hw(int64_t hw)
{
    loop_call(broker.loops[0], hw_of_0, &hw);
}

static void nothing(void *arg UNUSED)
{
}

static void settle(void)
{
    for (int i = 0; i < 3; i++)
        loop_call(broker.loops[0], nothing, NULL);
}

static void start(void)
{
    struct errtext why;
    struct config *c = config_new();
    ck_assert_int_eq(config_set(c, "zookeeper.connect", "z:1", CONFIG_SOURCE_STATIC, &why), ERR_OK);
    ck_assert_int_eq(
        config_set(c, "group.initial.rebalance.delay.ms", "0", CONFIG_SOURCE_STATIC, &why), ERR_OK);
    ck_assert_int_eq(config_finish(c, &why), ERR_OK);
    broker = (struct broker){.config = c, .id = 1, .loop_count = 1, .cluster_id = "c"};
    broker.loops = calloc(1, sizeof *broker.loops);
    broker.inter_broker_listener = &listener;
    ck_assert_int_eq(loop_start("test", &broker.loops[0]), ERR_OK);
    ck_assert_int_eq(pool_start("io", 2, 100, &broker.io_pool), ERR_OK);
    api_start(&broker);
    coordinator_start(&broker);
    memset(parts, 0, sizeof parts);
    memset(&offsets_part, 0, sizeof offsets_part);
    for (int i = 0; i < PARTITIONS; i++) {
        parts[i].topic = "t";
        parts[i].index = i;
        parts[i].compression_type = -1;
        TAILQ_INIT(&parts[i].waits);
    }
    released = created = reads_gated = 0;
    use_read_gate = false;
    is_controller = may = true;
    use_gate = false;
    coord_is_away = false;
    coord_error = ERR_OK;
    somebody_creates = NULL;
    publish("t", PARTITIONS + 1, 1); /* the last is not on this broker */
    settle();
}

static void stop(void)
{
    znodes_clear();
    coordinator_quit(broker.groups);
    loop_stop(&broker.loops[0]);
    pool_stop(&broker.io_pool);
    api_stop(&broker);
    coordinator_free(&broker.groups);
    for (int i = 0; i < PARTITIONS; i++) {
        ck_assert_int_eq(parts[i].refs, 0);
        buf_fini(&parts[i].batches);
    }
    struct config *c = (struct config *)(uintptr_t)broker.config;
    config_free(&c);
    free(broker.loops);
}

/* ---- produce */

typedef struct kp_ProduceRequest_PartitionProduceData produce_data;

static uint8_t batch[100];

static struct kp_ProduceRequest produce_of(struct kp_ProduceRequest_TopicProduceData *t,
                                           produce_data *d, int32_t count, int16_t acks)
{
    for (int32_t i = 0; i < count; i++)
        if (d[i].records.p == NULL)
            d[i].records = (struct bytes){batch, sizeof batch};
    batch[16] = 2;
    *t = (struct kp_ProduceRequest_TopicProduceData){
        .name = STR_LIT("t"), .partition_data = d, .partition_data_count = count};
    return (struct kp_ProduceRequest){.transactional_id = STR_NULL,
                                      .acks = acks,
                                      .timeout_ms = 20000,
                                      .topic_data = t,
                                      .topic_data_count = 1};
}

static int16_t produced(const struct outcome *o, int i)
{
    return o->u.produce.responses[0].partition_responses[i].error_code;
}

START_TEST(acks_1_is_answered_after_the_append_and_partitions_are_independent)
{
    struct outcome o;
    struct kp_ProduceRequest_TopicProduceData t;
    produce_data d[] = {{.index = 0},
                        {.index = 77},
                        {.index = PARTITIONS},
                        {.index = 1},
                        {.index = 2, .records = {batch, 0}}};
    parts[1].append_error = KE_MESSAGE_TOO_LARGE;
    struct kp_ProduceRequest req = produce_of(&t, d, 5, 1);
    send_on(1, 0, 11, &req, batch, &o);
    wait_end(&o, REPLIED);
    ck_assert_int_eq(produced(&o, 0), KE_NONE);
    ck_assert_int_eq(o.u.produce.responses[0].partition_responses[0].base_offset, 0);
    ck_assert_int_eq(produced(&o, 1), KE_UNKNOWN_TOPIC_OR_PARTITION);
    ck_assert_int_eq(produced(&o, 2), KE_NOT_LEADER_OR_FOLLOWER);
    ck_assert_int_eq(o.u.produce.responses[0].partition_responses[2].current_leader.leader_id, 1);
    ck_assert_int_eq(o.u.produce.node_endpoints_count, 1);
    ck_assert_int_eq(produced(&o, 3), KE_MESSAGE_TOO_LARGE);
    ck_assert_int_eq(o.u.produce.responses[0].partition_responses[3].base_offset, -1);
    ck_assert_int_eq(produced(&o, 4), KE_INVALID_RECORD);
    outcome_fini(&o);
}
END_TEST

START_TEST(acks_all_waits_for_the_high_watermark)
{
    struct outcome o;
    struct kp_ProduceRequest_TopicProduceData t;
    produce_data d[] = {{.index = 0}};
    struct kp_ProduceRequest req = produce_of(&t, d, 1, -1);
    send_on(1, 0, 7, &req, batch, &o);
    ck_assert_int_eq(o.end, NOT_YET);
    set_hw(1);
    wait_end(&o, REPLIED);
    ck_assert_int_eq(produced(&o, 0), KE_NONE);
    outcome_fini(&o);
}
END_TEST

START_TEST(an_empty_message_set_is_fine_before_version_3)
{
    for (int16_t v = 0; v <= 3; v++) {
        struct outcome o;
        struct kp_ProduceRequest_TopicProduceData t;
        produce_data d[] = {{.index = 0, .records = {batch, 0}}};
        struct kp_ProduceRequest req = produce_of(&t, d, 1, -1);
        send_on(1, 0, v, &req, batch, &o);
        wait_end(&o, REPLIED);
        ck_assert_int_eq(produced(&o, 0), v < 3 ? KE_NONE : KE_INVALID_RECORD);
        ck_assert_int_eq(o.u.produce.responses[0].partition_responses[0].base_offset, -1);
        ck_assert_int_eq(parts[0].append_count, 0);
        outcome_fini(&o);
    }
}
END_TEST

START_TEST(acks_all_times_out_with_the_records_in_the_log)
{
    struct outcome o;
    struct kp_ProduceRequest_TopicProduceData t;
    produce_data d[] = {{.index = 0}, {.index = 1}};
    struct kp_ProduceRequest req = produce_of(&t, d, 2, -1);
    req.timeout_ms = 20;
    parts[1].hw = 1;
    send_on(1, 0, 7, &req, batch, &o);
    wait_end(&o, REPLIED);
    ck_assert_int_eq(produced(&o, 0), KE_REQUEST_TIMED_OUT);
    ck_assert_int_eq(produced(&o, 1), KE_NONE);
    ck_assert_int_eq(parts[0].append_count, 1);
    outcome_fini(&o);
}
END_TEST

START_TEST(acks_0_is_not_answered_and_an_error_closes)
{
    struct outcome o;
    struct kp_ProduceRequest_TopicProduceData t;
    produce_data d[] = {{.index = 0}};
    struct kp_ProduceRequest req = produce_of(&t, d, 1, 0);
    send_on(1, 0, 7, &req, batch, &o);
    wait_end(&o, REPLIED_NONE);
    outcome_fini(&o);
    parts[0].append_error = KE_CORRUPT_MESSAGE;
    send_on(1, 0, 7, &req, batch, &o);
    wait_end(&o, CLOSED);
    outcome_fini(&o);
}
END_TEST

START_TEST(a_light_batch_does_not_overtake_a_heavy_one_of_its_connection)
{
    static uint8_t heavy[300];
    struct outcome o[3];
    struct kp_ProduceRequest_TopicProduceData t[3];
    produce_data h[] = {{.index = 0, .records = {heavy, sizeof heavy}}}, l[] = {{.index = 0}},
                 other[] = {{.index = 1}};
    heavy[16] = 2;
    heavy[22] = 1; /* gzip */
    struct kp_ProduceRequest a = produce_of(&t[0], h, 1, 1), b = produce_of(&t[1], l, 1, 1),
                             c = produce_of(&t[2], other, 1, 1);
    use_gate = true;
    pthread_barrier_init(&append_gate, NULL, 2);
    send_on(1, 0, 7, &a, heavy, &o[0]);
    send_on(1, 0, 7, &b, batch, &o[1]);
    send_on(2, 0, 7, &c, batch, &o[2]); /* another connection does not wait */
    wait_end(&o[2], REPLIED);
    ck_assert_int_eq(o[1].end, NOT_YET);
    pthread_barrier_wait(&append_gate);
    wait_end(&o[0], REPLIED);
    wait_end(&o[1], REPLIED);
    ck_assert_int_eq(parts[0].appended[0], sizeof heavy);
    ck_assert_int_eq(parts[0].appended[1], sizeof batch);
    pthread_barrier_destroy(&append_gate);
    for (int i = 0; i < 3; i++)
        outcome_fini(&o[i]);
}
END_TEST

START_TEST(a_failure_among_the_queued_takes_those_behind_it_along)
{
    static uint8_t heavy[300];
    struct outcome o[3];
    struct kp_ProduceRequest_TopicProduceData t[3];
    produce_data h[] = {{.index = 0, .records = {heavy, sizeof heavy}}}, l[] = {{.index = 1}},
                 m[] = {{.index = 2}};
    heavy[16] = 2;
    heavy[22] = 1; /* gzip */
    struct kp_ProduceRequest a = produce_of(&t[0], h, 1, 0), b = produce_of(&t[1], l, 1, 0),
                             c = produce_of(&t[2], m, 1, 0);
    use_gate = true;
    pthread_barrier_init(&append_gate, NULL, 2);
    parts[1].append_error = KE_CORRUPT_MESSAGE;
    send_on(1, 0, 7, &a, heavy, &o[0]);
    send_on(1, 0, 7, &b, batch, &o[1]);
    closed_too = send_on(1, 0, 7, &c, batch, &o[2]);
    pthread_barrier_wait(&append_gate);
    wait_end(&o[0], REPLIED_NONE);
    wait_end(&o[1], CLOSED);
    wait_end(&o[2], DROPPED);
    ck_assert_int_eq(parts[2].append_count, 0);
    pthread_barrier_destroy(&append_gate);
    for (int i = 0; i < 3; i++)
        outcome_fini(&o[i]);
}
END_TEST

START_TEST(a_closed_connection_takes_its_waiting_requests_with_it)
{
    struct outcome o;
    struct kp_ProduceRequest_TopicProduceData t;
    produce_data d[] = {{.index = 0}};
    struct kp_ProduceRequest req = produce_of(&t, d, 1, -1);
    struct request *r = send_on(1, 0, 7, &req, batch, &o);
    loop_call(broker.loops[0], cancel, r);
    ck_assert_int_eq(o.end, DROPPED);
    ck_assert(TAILQ_EMPTY(&parts[0].waits));
    outcome_fini(&o);
}
END_TEST

/* ---- fetch */

typedef struct kp_FetchRequest_FetchPartition fetch_data;

static struct kp_FetchRequest fetch_of(struct kp_FetchRequest_FetchTopic *t, fetch_data *d,
                                       int32_t count)
{
    for (int32_t i = 0; i < count; i++) {
        if (d[i].partition_max_bytes == 0)
            d[i].partition_max_bytes = 1000;
        d[i].current_leader_epoch = d[i].last_fetched_epoch = -1;
    }
    *t = (struct kp_FetchRequest_FetchTopic){
        .topic = STR_LIT("t"), .partitions = d, .partitions_count = count};
    t->topic_id.b[0] = 't';
    return (struct kp_FetchRequest){.replica_id = -1,
                                    .replica_state = {-1, -1},
                                    .max_wait_ms = 20000,
                                    .min_bytes = 1,
                                    .max_bytes = 10000,
                                    .session_epoch = -1,
                                    .topics = t,
                                    .topics_count = count > 0};
}

static const struct kp_FetchResponse_PartitionData *fetched(const struct outcome *o, int i)
{
    ck_assert_int_eq(o->u.fetch.responses_count, 1);
    ck_assert_int_lt(i, o->u.fetch.responses[0].partitions_count);
    return &o->u.fetch.responses[0].partitions[i];
}

START_TEST(data_are_answered_at_once_in_every_version)
{
    parts[0].end = parts[0].hw = 3;
    for (int16_t v = 4; v <= 17; v++) {
        struct outcome o;
        struct kp_FetchRequest_FetchTopic t;
        fetch_data d[] = {{.partition = 0, .fetch_offset = 1}, {.partition = 1}};
        struct kp_FetchRequest req = fetch_of(&t, d, 2);
        call(1, v, &req, &o);
        ck_assert_int_eq(fetched(&o, 0)->records.len, 200);
        ck_assert_int_eq(fetched(&o, 0)->high_watermark, 3);
        ck_assert_int_eq(fetched(&o, 0)->aborted_transactions_count, -1);
        ck_assert_int_eq(fetched(&o, 1)->records.len, 0); /* a full answer tells of all */
        ck_assert_int_eq(o.u.fetch.session_id, 0);
        outcome_fini(&o);
    }
}
END_TEST

START_TEST(a_fetch_without_news_waits_for_them_or_for_its_time)
{
    struct outcome o;
    struct kp_FetchRequest_FetchTopic t;
    fetch_data d[] = {{.partition = 0}};
    struct kp_FetchRequest req = fetch_of(&t, d, 1);
    send_on(1, 1, 12, &req, NULL, &o);
    settle();
    ck_assert_int_eq(o.end, NOT_YET);
    parts[0].end = 1;
    set_hw(1);
    wait_end(&o, REPLIED);
    ck_assert_int_eq(fetched(&o, 0)->records.len, 100);
    outcome_fini(&o);
    d[0].fetch_offset = 1;
    req.max_wait_ms = 20;
    call(1, 12, &req, &o);
    ck_assert_int_eq(fetched(&o, 0)->records.len, 0);
    ck_assert_int_eq(fetched(&o, 0)->error_code, KE_NONE);
    outcome_fini(&o);
}
END_TEST

START_TEST(min_bytes_are_waited_for)
{
    struct outcome o;
    struct kp_FetchRequest_FetchTopic t;
    fetch_data d[] = {{.partition = 0}};
    struct kp_FetchRequest req = fetch_of(&t, d, 1);
    req.min_bytes = 250;
    parts[0].end = 5;
    send_on(1, 1, 4, &req, NULL, &o);
    set_hw(1);
    settle();
    set_hw(2);
    settle();
    ck_assert_int_eq(o.end, NOT_YET);
    set_hw(3);
    wait_end(&o, REPLIED);
    ck_assert_int_eq(fetched(&o, 0)->records.len, 300);
    outcome_fini(&o);
}
END_TEST

START_TEST(an_error_is_answered_at_once)
{
    struct outcome o;
    struct kp_FetchRequest_FetchTopic t;
    fetch_data d[] = {
        {.partition = 0}, {.partition = 1, .fetch_offset = 9}, {.partition = PARTITIONS}};
    struct kp_FetchRequest req = fetch_of(&t, d, 3);
    call(1, 17, &req, &o);
    ck_assert_int_eq(fetched(&o, 0)->error_code, KE_NONE);
    ck_assert_int_eq(fetched(&o, 1)->error_code, KE_OFFSET_OUT_OF_RANGE);
    ck_assert_int_eq(fetched(&o, 1)->high_watermark, -1);
    ck_assert_int_eq(fetched(&o, 2)->error_code, KE_NOT_LEADER_OR_FOLLOWER);
    ck_assert_int_eq(fetched(&o, 2)->current_leader.leader_id, 1);
    ck_assert_int_eq(o.u.fetch.node_endpoints_count, 1);
    outcome_fini(&o);
    t.topic_id.b[0] = '?';
    call(1, 17, &req, &o);
    ck_assert_int_eq(fetched(&o, 0)->error_code, KE_UNKNOWN_TOPIC_ID);
    outcome_fini(&o);
}
END_TEST

START_TEST(a_session_tells_only_what_is_new)
{
    struct outcome o;
    struct kp_FetchRequest_FetchTopic t;
    fetch_data d[] = {{.partition = 0}, {.partition = 1}, {.partition = 2}};
    struct kp_FetchRequest req = fetch_of(&t, d, 3);
    req.session_epoch = 0;
    req.max_wait_ms = 0;
    call(1, 13, &req, &o);
    ck_assert_int_eq(o.u.fetch.responses[0].partitions_count, 3);
    int32_t id = o.u.fetch.session_id;
    ck_assert_int_gt(id, 0);
    outcome_fini(&o);

    struct kp_FetchRequest next = fetch_of(&t, d, 0);
    next.session_id = id;
    next.session_epoch = 1;
    next.max_wait_ms = 0;
    call(1, 13, &next, &o);
    ck_assert_int_eq(o.u.fetch.error_code, KE_NONE);
    ck_assert_int_eq(o.u.fetch.responses_count, 0);
    outcome_fini(&o);

    next.session_epoch = 2;
    next.max_wait_ms = 20000;
    parts[0].end = 4;
    send_on(1, 1, 13, &next, NULL, &o);
    settle();
    ck_assert_int_eq(o.end, NOT_YET);
    set_hw(2);
    wait_end(&o, REPLIED);
    ck_assert_int_eq(o.u.fetch.responses[0].partitions_count, 1);
    ck_assert_int_eq(fetched(&o, 0)->records.len, 200);
    outcome_fini(&o);

    /* the same epoch again, and one that is too far */
    call(1, 13, &next, &o);
    ck_assert_int_eq(o.u.fetch.error_code, KE_INVALID_FETCH_SESSION_EPOCH);
    ck_assert_int_eq(o.u.fetch.responses_count, 0);
    outcome_fini(&o);

    /* it goes on from its new position */
    fetch_data moved[] = {{.partition = 0, .fetch_offset = 2}};
    struct kp_FetchRequest third = fetch_of(&t, moved, 1);
    third.session_id = id;
    third.session_epoch = 3;
    third.max_wait_ms = 0;
    call(1, 13, &third, &o);
    ck_assert_int_eq(o.u.fetch.responses_count, 0);
    outcome_fini(&o);

    /* by name what began by id */
    third.session_epoch = 4;
    call(1, 12, &third, &o);
    ck_assert_int_eq(o.u.fetch.error_code, KE_FETCH_SESSION_TOPIC_ID_ERROR);
    outcome_fini(&o);

    /* closed */
    third.session_epoch = -1;
    call(1, 13, &third, &o);
    ck_assert_int_eq(o.u.fetch.session_id, 0);
    outcome_fini(&o);
    third.session_epoch = 4;
    call(1, 13, &third, &o);
    ck_assert_int_eq(o.u.fetch.error_code, KE_FETCH_SESSION_ID_NOT_FOUND);
    outcome_fini(&o);
}
END_TEST

static void quiet_news(void *arg)
{
    struct partition_watch *w;
    LIST_FOREACH (w, &((struct partition *)arg)->watches, link)
        watch_list_put(w->list, w);
}

START_TEST(a_follower_with_news_while_it_waits_is_recorded_by_its_next_fetch)
{
    struct outcome o;
    struct kp_FetchRequest_FetchTopic t;
    fetch_data d[] = {{.partition = 0}, {.partition = 1}};
    struct kp_FetchRequest req = fetch_of(&t, d, 2);
    req.replica_state.replica_id = 2;
    req.session_epoch = 0;
    req.max_wait_ms = 0;
    call(1, 15, &req, &o);
    struct kp_FetchRequest next = fetch_of(&t, d, 0);
    next.replica_state.replica_id = 2;
    next.session_id = o.u.fetch.session_id;
    outcome_fini(&o);
    ck_assert_int_eq(parts[0].recorded, 1);
    ck_assert_int_eq(parts[1].recorded, 1);

    next.session_epoch = 1; /* nothing to say of either */
    next.max_wait_ms = 40;
    send_on(1, 1, 15, &next, NULL, &o);
    loop_call(broker.loops[0], quiet_news, &parts[0]);
    wait_end(&o, REPLIED);
    ck_assert_int_eq(parts[0].recorded, 1);
    outcome_fini(&o);

    next.max_wait_ms = 0;
    for (next.session_epoch = 2; next.session_epoch < 4; next.session_epoch++) {
        call(1, 15, &next, &o);
        ck_assert_int_eq(o.u.fetch.error_code, KE_NONE);
        ck_assert_int_eq(parts[0].recorded, 2); /* once, then it rests again */
        ck_assert_int_eq(parts[1].recorded, 1);
        outcome_fini(&o);
    }
}
END_TEST

START_TEST(what_did_not_fit_is_first_in_the_next_answer)
{
    struct outcome o;
    struct kp_FetchRequest_FetchTopic t;
    fetch_data d[] = {{.partition = 0}, {.partition = 1}, {.partition = 2}};
    for (int i = 0; i < 3; i++)
        parts[i].end = parts[i].hw = 10;
    struct kp_FetchRequest req = fetch_of(&t, d, 3);
    req.session_epoch = 0;
    req.max_bytes = 1024;
    call(1, 12, &req, &o);
    ck_assert_int_eq(fetched(&o, 0)->records.len, 1000);
    ck_assert_int_eq(fetched(&o, 1)->records.len, 0);
    struct kp_FetchRequest next = fetch_of(&t, d, 0);
    next.session_id = o.u.fetch.session_id;
    next.session_epoch = 1;
    next.max_bytes = 1024;
    outcome_fini(&o);
    call(1, 12, &next, &o);
    ck_assert_int_eq(fetched(&o, 0)->partition_index, 1);
    ck_assert_int_eq(fetched(&o, 0)->records.len, 1000);
    outcome_fini(&o);
    next.session_epoch = 2;
    call(1, 12, &next, &o);
    ck_assert_int_eq(fetched(&o, 0)->partition_index, 2);
    outcome_fini(&o);
}
END_TEST

START_TEST(a_waiting_fetch_is_dropped_with_its_connection)
{
    struct outcome o;
    struct kp_FetchRequest_FetchTopic t;
    fetch_data d[] = {{.partition = 0}};
    struct kp_FetchRequest req = fetch_of(&t, d, 1);
    struct request *r = send_on(1, 1, 12, &req, NULL, &o);
    loop_call(broker.loops[0], cancel, r);
    ck_assert_int_eq(o.end, DROPPED);
    ck_assert(LIST_EMPTY(&parts[0].watches));
    outcome_fini(&o);
}
END_TEST

/* ---- fetch of old formats */

/* Appends a batch of count records with values of value_bytes, and the markers of transactions. */
static void store(struct partition *p, enum codec codec, int count, size_t value_bytes, int markers)
{
    struct batch_options o;
    struct batch_builder b;
    uint8_t *value = calloc(1, value_bytes);
    batch_options_init(&o);
    o.codec = codec;
    o.base_offset = p->end;
    batch_builder_init(&b, &o);
    for (int i = 0; i < count; i++)
        batch_builder_add(&b, 1000 + i, BYTES_NULL, (struct bytes){value, (int64_t)value_bytes},
                          NULL, 0);
    if (count > 0)
        ck_assert_int_eq(batch_builder_finish(&b, &p->batches), ERR_OK);
    batch_builder_fini(&b);
    p->end += count;
    o.producer_id = 1;
    o.producer_epoch = 0;
    for (int i = 0; i < markers; i++) {
        o.base_offset = p->end++;
        batch_build_marker(&o, true, 1, 1000, &p->batches);
    }
    p->hw = p->end;
    free(value);
}

/* First and last offset, how many; all whole. */
struct old_messages {
    int64_t first, last;
    int count;
    int8_t magic;
    unsigned codec;
};

static struct old_messages old_of(const struct kp_FetchResponse_PartitionData *d)
{
    struct legacy_iter it = {d->records.p, d->records.p + d->records.len};
    struct old_messages o = {.first = -1, .last = -1, .magic = -1};
    struct legacy_message m;
    enum err rc;
    while ((rc = legacy_next(&it, &m)) == ERR_OK) {
        o.first = o.count++ == 0 ? m.offset : o.first;
        o.last = m.offset;
        o.magic = m.magic;
        o.codec = m.codec;
    }
    ck_assert_int_eq(rc, ERR_NOT_FOUND);
    return o;
}

START_TEST(old_versions_get_messages_of_their_format)
{
    store(&parts[0], CODEC_NONE, 3, 10, 0);
    store(&parts[0], CODEC_GZIP, 3, 10, 1);
    store(&parts[0], CODEC_NONE, 2, 10, 0);
    for (int16_t v = 0; v <= 3; v++) {
        struct outcome o;
        struct kp_FetchRequest_FetchTopic t;
        fetch_data d[] = {{.partition = 0, .fetch_offset = 1}};
        struct kp_FetchRequest req = fetch_of(&t, d, 1);
        req.max_bytes = v < 3 ? INT32_MAX : 10000;
        call(1, v, &req, &o);
        ck_assert_int_eq(fetched(&o, 0)->error_code, KE_NONE);
        ck_assert_int_eq(fetched(&o, 0)->high_watermark, 9);
        struct old_messages m = old_of(fetched(&o, 0));
        ck_assert_int_eq(m.magic, v < 2 ? 0 : 1);
        ck_assert_int_eq(m.first, 1);
        ck_assert_int_eq(m.last, 8);
        ck_assert_int_eq(m.count, 2 + 1 + 2); /* the packed ones are one */
        outcome_fini(&o);
    }
}
END_TEST

START_TEST(a_message_over_the_limit_is_cut_before_version_3_and_whole_from_then_on)
{
    store(&parts[0], CODEC_NONE, 2, 3000, 0);
    store(&parts[1], CODEC_NONE, 2, 3000, 0);
    for (int16_t v = 0; v <= 3; v++) {
        struct outcome o;
        struct kp_FetchRequest_FetchTopic t;
        fetch_data d[] = {{.partition = 0, .partition_max_bytes = 2000},
                          {.partition = 1, .partition_max_bytes = 4000}};
        struct kp_FetchRequest req = fetch_of(&t, d, 2);
        req.max_bytes = 2000;
        call(1, v, &req, &o);
        if (v < 3) {
            ck_assert_int_eq(fetched(&o, 0)->records.len, 2000);
        } else {
            ck_assert_int_eq(old_of(fetched(&o, 0)).count, 1);
            ck_assert_int_eq(fetched(&o, 1)->records.len, 0);
        }
        outcome_fini(&o);
        d[0].partition_max_bytes = 0; /* nothing asked of this one */
        req.max_bytes = INT32_MAX;
        t.partitions = &d[1];
        t.partitions_count = 1;
        call(1, v, &req, &o);
        ck_assert_int_eq(old_of(fetched(&o, 0)).count, 1); /* whole messages where one fits */
        outcome_fini(&o);
    }
}
END_TEST

START_TEST(many_messages_of_one_batch_come_in_pieces)
{
    store(&parts[0], CODEC_NONE, 100, 50, 0);
    int64_t at = 0;
    for (int fetches = 0; at < 100; fetches++) {
        struct outcome o;
        struct kp_FetchRequest_FetchTopic t;
        fetch_data d[] = {{.partition = 0, .fetch_offset = at, .partition_max_bytes = 500}};
        struct kp_FetchRequest req = fetch_of(&t, d, 1);
        call(1, 2, &req, &o);
        struct old_messages m = old_of(fetched(&o, 0));
        ck_assert_int_eq(m.first, at);
        ck_assert_int_gt(m.count, 1);
        ck_assert_int_le(fetched(&o, 0)->records.len, 500);
        at = m.last + 1;
        ck_assert_int_lt(fetches, 100);
        outcome_fini(&o);
    }
    ck_assert_int_eq(at, 100);
}
END_TEST

static void see_watched(void *arg)
{
    *(bool *)arg = !LIST_EMPTY(&parts[0].watches);
}

START_TEST(control_batches_are_passed_over_and_then_the_fetch_waits)
{
    struct outcome o;
    struct kp_FetchRequest_FetchTopic t;
    fetch_data d[] = {{.partition = 0}, {.partition = 1}};
    struct kp_FetchRequest req = fetch_of(&t, d, 2);
    store(&parts[0], CODEC_NONE, 0, 0, 2000); /* more than one look takes */
    store(&parts[0], CODEC_NONE, 1, 10, 0);
    call(1, 1, &req, &o);
    ck_assert_int_eq(old_of(fetched(&o, 0)).first, 2000);
    outcome_fini(&o);

    d[0].fetch_offset = 2001;
    store(&parts[0], CODEC_NONE, 0, 0, 3);
    struct request *r = send_on(1, 1, 1, &req, NULL, &o);
    bool is_watched = false;
    for (int i = 0; i < 2000 && !is_watched; i++)
        loop_call(broker.loops[0], see_watched, &is_watched);
    ck_assert(is_watched);
    settle();
    ck_assert_int_eq(o.end, NOT_YET);
    loop_call(broker.loops[0], cancel_if_there, r);
    wait_end(&o, DROPPED);
    outcome_fini(&o);

    req.max_wait_ms = 0; /* and does not wait when it must not */
    call(1, 1, &req, &o);
    ck_assert_int_eq(fetched(&o, 0)->records.len, 0);
    ck_assert_int_eq(fetched(&o, 0)->error_code, KE_NONE);
    outcome_fini(&o);
}
END_TEST

START_TEST(what_cannot_be_converted_is_an_error_of_its_partition)
{
    struct outcome o;
    struct kp_FetchRequest_FetchTopic t;
    fetch_data d[] = {{.partition = 0}, {.partition = 1}, {.partition = 2}};
    struct kp_FetchRequest req = fetch_of(&t, d, 3);
    req.min_bytes = 0;
    store(&parts[0], CODEC_ZSTD, 3, 10, 0);
    store(&parts[1], CODEC_NONE, 3, 10, 0);
    store(&parts[2], CODEC_NONE, 3, 10, 0);
    parts[2].batches.p[parts[2].batches.len - 1] ^= 1;
    call(1, 3, &req, &o);
    ck_assert_int_eq(fetched(&o, 0)->error_code, KE_UNSUPPORTED_COMPRESSION_TYPE);
    ck_assert_int_eq(fetched(&o, 0)->high_watermark, -1);
    ck_assert_int_eq(fetched(&o, 1)->error_code, KE_NONE);
    ck_assert_int_eq(old_of(fetched(&o, 1)).count, 3);
    ck_assert_int_eq(fetched(&o, 2)->error_code, KE_CORRUPT_MESSAGE);
    outcome_fini(&o);

    parts[1].is_downconversion_disabled = true;
    parts[2].compression_type = CODEC_ZSTD;
    call(1, 3, &req, &o);
    ck_assert_int_eq(fetched(&o, 1)->error_code, KE_UNSUPPORTED_VERSION);
    ck_assert_int_eq(fetched(&o, 2)->error_code, KE_UNSUPPORTED_COMPRESSION_TYPE);
    outcome_fini(&o);
    call(1, 9, &req, &o);
    ck_assert_int_eq(fetched(&o, 0)->error_code, KE_NONE);
    ck_assert_int_eq(fetched(&o, 1)->error_code, KE_NONE);
    ck_assert_int_eq(fetched(&o, 2)->error_code, KE_UNSUPPORTED_COMPRESSION_TYPE);
    outcome_fini(&o);
    call(1, 10, &req, &o);
    ck_assert_int_eq(fetched(&o, 2)->error_code, KE_NONE);
    outcome_fini(&o);
}
END_TEST

START_TEST(what_unfolds_to_too_much_is_refused_and_what_is_large_is_not)
{
    struct outcome o;
    struct kp_FetchRequest_FetchTopic t;
    fetch_data d[] = {{.partition = 0}, {.partition = 1}};
    struct kp_FetchRequest req = fetch_of(&t, d, 2);
    store(&parts[0], CODEC_GZIP, 8, 1 << 20, 0);
    store(&parts[1], CODEC_GZIP, 65, 1 << 20, 0);
    req.max_bytes = 1 << 20;
    d[0].partition_max_bytes = d[1].partition_max_bytes = 1 << 20;
    call(1, 3, &req, &o);
    ck_assert_int_eq(old_of(fetched(&o, 0)).codec, CODEC_GZIP);
    ck_assert_int_eq(fetched(&o, 1)->error_code, KE_MESSAGE_TOO_LARGE);
    outcome_fini(&o);
}
END_TEST

START_TEST(a_conversion_outlives_its_connection)
{
    struct outcome o[3];
    struct kp_FetchRequest_FetchTopic t;
    fetch_data d[] = {{.partition = 0}};
    struct kp_FetchRequest req = fetch_of(&t, d, 1);
    struct request *r[3];
    store(&parts[0], CODEC_NONE, 3, 10, 0);
    use_read_gate = true;
    for (int i = 0; i < 3; i++) /* more than may run at a time */
        r[i] = send_on(1 + i, 1, 0, &req, NULL, &o[i]);
    for (int i = 0; i < 2000 && reads_gated == 0; i++)
        poll(NULL, 0, 1);
    for (int i = 0; i < 3; i++) {
        ck_assert_int_eq(o[i].end, NOT_YET);
        loop_call(broker.loops[0], cancel, r[i]);
    }
    use_read_gate = false;
    for (int i = 0; i < 3; i++) {
        wait_end(&o[i], DROPPED);
        outcome_fini(&o[i]);
    }
}
END_TEST

START_TEST(before_version_3_no_partition_starves)
{
    /* each answer has room for one partition's records; every fetch begins with another */
    struct kp_FetchRequest_FetchTopic t;
    fetch_data d[] = {{.partition = 0, .partition_max_bytes = 1 << 20},
                      {.partition = 1, .partition_max_bytes = 1 << 20},
                      {.partition = 2, .partition_max_bytes = 1 << 20}};
    struct kp_FetchRequest req = fetch_of(&t, d, 3);
    int told[PARTITIONS] = {0};
    ((struct config *)(uintptr_t)broker.config)->kafuka_fetch_conversion_bytes = 65536;
    for (int i = 0; i < PARTITIONS; i++)
        store(&parts[i], CODEC_NONE, 1, 65536, 0);
    for (int i = 0; i < 2 * PARTITIONS; i++) {
        struct outcome o;
        correlation_id = i;
        call(1, 1, &req, &o);
        for (int k = 0; k < o.u.fetch.responses_count; k++)
            for (int j = 0; j < o.u.fetch.responses[k].partitions_count; j++) {
                const struct kp_FetchResponse_PartitionData *p =
                    &o.u.fetch.responses[k].partitions[j];
                told[p->partition_index] += p->records.len > 0;
            }
        outcome_fini(&o);
    }
    for (int i = 0; i < PARTITIONS; i++)
        ck_assert_int_eq(told[i], 2);
}
END_TEST

/* ---- metadata and topics */

START_TEST(version_0_means_all_by_an_empty_list_and_version_1_none)
{
    struct outcome o;
    struct kp_MetadataRequest req = {.topics_count = 0};
    call(3, 0, &req, &o);
    ck_assert_int_eq(o.u.metadata.topics_count, 1);
    ck_assert_int_eq(o.u.metadata.brokers_count, 1);
    ck_assert_int_eq(o.u.metadata.topics[0].partitions_count, PARTITIONS + 1);
    ck_assert_int_eq(o.u.metadata.topics[0].partitions[0].leader_id, 1);
    outcome_fini(&o);
    call(3, 1, &req, &o);
    ck_assert_int_eq(o.u.metadata.topics_count, 0);
    outcome_fini(&o);
    req.topics_count = -1;
    for (int16_t v = 1; v <= 12; v++) {
        call(3, v, &req, &o);
        ck_assert_int_eq(o.u.metadata.topics_count, 1);
        ck_assert_int_eq(o.u.metadata.controller_id, 1);
        outcome_fini(&o);
    }
}
END_TEST

/* A broker that listens, but has not been told of the cluster yet. */
static void forget_the_cluster(void)
{
    broker.is_informed = false;
    metadata_cache_free(&broker.metadata);
    broker.metadata = metadata_cache_new(broker.loops, 1);
}

START_TEST(metadata_wait_for_the_first_that_the_controller_says)
{
    struct outcome o, gone;
    struct kp_MetadataRequest_MetadataRequestTopic t = {.name = STR_LIT("t")};
    struct kp_MetadataRequest req = {.topics = &t, .topics_count = 1};
    forget_the_cluster();
    send_on(1, 3, 9, &req, NULL, &o);
    struct request *r = send_on(2, 3, 9, &req, NULL, &gone);
    settle();
    ck_assert_int_eq(o.end, NOT_YET);
    loop_call(broker.loops[0], cancel, r);
    ck_assert_int_eq(gone.end, DROPPED);
    publish("t", 2, 1);
    wait_end(&o, REPLIED);
    ck_assert_int_eq(o.u.metadata.topics[0].error_code, KE_NONE);
    ck_assert_int_eq(o.u.metadata.topics[0].partitions_count, 2);
    outcome_fini(&o);
    outcome_fini(&gone);
}
END_TEST

/* A new controller says who lives before it says who leads. */
START_TEST(a_broker_with_logs_waits_until_it_is_told_of_topics)
{
    struct outcome o;
    struct kp_MetadataRequest req = {.topics_count = -1};
    forget_the_cluster();
    broker.had_logs = true;
    send_on(1, 3, 9, &req, NULL, &o);
    publish_brokers();
    settle();
    ck_assert_int_eq(o.end, NOT_YET);
    publish("t", 2, 1);
    wait_end(&o, REPLIED);
    ck_assert_int_eq(o.u.metadata.topics_count, 1);
    outcome_fini(&o);
    forget_the_cluster(); /* the data folder is new: perhaps there are no topics */
    broker.had_logs = false;
    send_on(1, 3, 9, &req, NULL, &o);
    publish_brokers();
    wait_end(&o, REPLIED);
    ck_assert_int_eq(o.u.metadata.topics_count, 0);
    outcome_fini(&o);
}
END_TEST

START_TEST(a_missing_topic_is_created_and_has_its_leader_in_the_same_answer)
{
    struct outcome o;
    struct kp_MetadataRequest_MetadataRequestTopic names[] = {
        {.name = STR_LIT("fresh")}, {.name = STR_LIT("not valid")}, {.name = STR_LIT("refused")}};
    struct kp_MetadataRequest req = {
        .topics = names, .topics_count = 3, .allow_auto_topic_creation = true};
    call(3, 9, &req, &o);
    ck_assert_int_eq(o.u.metadata.topics[0].error_code, KE_NONE);
    ck_assert_int_eq(o.u.metadata.topics[0].partitions[0].leader_id, 1);
    ck_assert_int_eq(o.u.metadata.topics[1].error_code, KE_INVALID_TOPIC_EXCEPTION);
    ck_assert_int_eq(o.u.metadata.topics[2].error_code, KE_LEADER_NOT_AVAILABLE);
    ck_assert_int_eq(created, 1);
    outcome_fini(&o);
    names[0].name = STR_LIT("raced");
    req.topics_count = 1;
    call(3, 9, &req, &o);
    ck_assert_int_eq(o.u.metadata.topics[0].error_code, KE_NONE);
    ck_assert_int_eq(o.u.metadata.topics[0].partitions_count, 2);
    outcome_fini(&o);
    names[0].name = STR_LIT("other");
    req.allow_auto_topic_creation = false;
    req.topics_count = 1;
    call(3, 9, &req, &o);
    ck_assert_int_eq(o.u.metadata.topics[0].error_code, KE_UNKNOWN_TOPIC_OR_PARTITION);
    ck_assert_int_eq(created, 1);
    outcome_fini(&o);
}
END_TEST

START_TEST(without_the_coordination_service_nothing_waits_for_it)
{
    struct outcome o;
    struct kp_MetadataRequest_MetadataRequestTopic names[] = {{.name = STR_LIT("fresh")}};
    struct kp_MetadataRequest req = {
        .topics = names, .topics_count = 1, .allow_auto_topic_creation = true};
    coord_is_away = true;
    call(3, 9, &req, &o);
    ck_assert_int_eq(o.u.metadata.topics[0].error_code, KE_LEADER_NOT_AVAILABLE);
    outcome_fini(&o);
    struct kp_DescribeConfigsRequest_DescribeConfigsResource what = {
        .resource_type = 2, .resource_name = STR_LIT("t"), .configuration_keys_count = -1};
    struct kp_DescribeConfigsRequest ask = {.resources = &what, .resources_count = 1};
    call(32, 1, &ask, &o);
    ck_assert_int_eq(o.u.describe.results[0].error_code, KE_REQUEST_TIMED_OUT);
    ck_assert_int_gt(o.u.describe.results[0].error_message.len, 10);
    outcome_fini(&o);
    coord_is_away = false;
}
END_TEST

START_TEST(topics_are_asked_for_by_id_in_version_12)
{
    struct outcome o;
    struct kp_MetadataRequest_MetadataRequestTopic ids[] = {{.name = STR_NULL}, {.name = STR_NULL}};
    struct kp_MetadataRequest req = {.topics = ids, .topics_count = 2};
    ids[0].topic_id.b[0] = 't';
    ids[1].topic_id.b[0] = 9;
    call(3, 12, &req, &o);
    ck_assert(str_eq_z(o.u.metadata.topics[0].name, "t"));
    ck_assert_int_eq(o.u.metadata.topics[1].error_code, KE_UNKNOWN_TOPIC_ID);
    ck_assert_int_eq(o.u.metadata.topics[1].name.len, -1);
    outcome_fini(&o);
    call(3, 10, &req, &o);
    ck_assert_int_eq(o.u.metadata.topics[0].error_code, KE_INVALID_REQUEST);
    outcome_fini(&o);
}
END_TEST

typedef struct kp_CreateTopicsRequest_CreatableTopic creatable;

START_TEST(created_topics_are_answered_with_leaders_and_refusals_with_words)
{
    struct kp_CreateTopicsRequest_CreatableTopicConfig bad[] = {
        {.name = STR_LIT("no.such"), .value = STR_LIT("1")}};
    struct kp_CreateTopicsRequest_CreatableTopicConfig good[] = {
        {.name = STR_LIT("retention.ms"), .value = STR_LIT("5000")}};
    struct kp_CreateTopicsRequest_CreatableTopicConfig lags[] = {
        {.name = STR_LIT("min.compaction.lag.ms"), .value = STR_LIT("10")},
        {.name = STR_LIT("max.compaction.lag.ms"), .value = STR_LIT("5")}};
    creatable topics[] = {
        {.name = STR_LIT("new"),
         .num_partitions = 2,
         .replication_factor = 1,
         .configs = good,
         .configs_count = 1},
        {.name = STR_LIT("lags"),
         .num_partitions = 1,
         .replication_factor = 1,
         .configs = lags,
         .configs_count = 2},
        {.name = STR_LIT("a/b"), .num_partitions = 1, .replication_factor = 1},
        {.name = STR_LIT("twice"), .num_partitions = 1, .replication_factor = 1},
        {.name = STR_LIT("twice"), .num_partitions = 1, .replication_factor = 1},
        {.name = STR_LIT("wide"), .num_partitions = 1, .replication_factor = 3},
        {.name = STR_LIT("none"), .num_partitions = 0, .replication_factor = 1},
        {.name = STR_LIT("conf"),
         .num_partitions = 1,
         .replication_factor = 1,
         .configs = bad,
         .configs_count = 1},
        {.name = STR_LIT("refused"), .num_partitions = 1, .replication_factor = 1},
        {.name = STR_LIT("t"), .num_partitions = 1, .replication_factor = 1}};
    static const int16_t errors[] = {KE_NONE,
                                     KE_INVALID_CONFIG,
                                     KE_INVALID_TOPIC_EXCEPTION,
                                     KE_INVALID_REQUEST,
                                     KE_INVALID_REQUEST,
                                     KE_INVALID_REPLICATION_FACTOR,
                                     KE_INVALID_PARTITIONS,
                                     KE_INVALID_CONFIG,
                                     KE_TOPIC_ALREADY_EXISTS,
                                     KE_TOPIC_ALREADY_EXISTS};
    struct kp_CreateTopicsRequest req = {
        .topics = topics, .topics_count = ARRAY_LEN(topics), .timeout_ms = 20000};
    struct outcome o;
    call(19, 7, &req, &o);
    for (size_t i = 0; i < ARRAY_LEN(errors); i++) {
        ck_assert_int_eq(o.u.create.topics[i].error_code, errors[i]);
        if (errors[i] != KE_NONE)
            ck_assert_int_gt(o.u.create.topics[i].error_message.len, 5);
    }
    ck_assert_int_eq(o.u.create.topics[0].num_partitions, 2);
    bool seen = false;
    for (int32_t i = 0; i < o.u.create.topics[0].configs_count; i++)
        seen |= str_eq_z(o.u.create.topics[0].configs[i].name, "retention.ms") &&
                str_eq_z(o.u.create.topics[0].configs[i].value, "5000") &&
                o.u.create.topics[0].configs[i].config_source == CONFIG_SOURCE_TOPIC;
    ck_assert(seen);
    outcome_fini(&o);
}
END_TEST

START_TEST(creation_answers_timed_out_validates_only_and_sends_to_the_controller)
{
    creatable topics[] = {{.name = STR_LIT("slow"), .num_partitions = 1, .replication_factor = 1}};
    struct kp_CreateTopicsRequest req = {.topics = topics, .topics_count = 1, .timeout_ms = 20};
    struct outcome o;
    call(19, 4, &req, &o);
    ck_assert_int_eq(o.u.create.topics[0].error_code, KE_REQUEST_TIMED_OUT);
    outcome_fini(&o);
    req.validate_only = true;
    call(19, 5, &req, &o);
    ck_assert_int_eq(o.u.create.topics[0].error_code, KE_NONE);
    outcome_fini(&o);
    is_controller = false;
    call(19, 0, &req, &o);
    ck_assert_int_eq(o.u.create.topics[0].error_code, KE_NOT_CONTROLLER);
    outcome_fini(&o);
}
END_TEST

START_TEST(deletion_waits_until_the_topic_is_gone)
{
    struct str names[] = {STR_LIT("gone"), STR_LIT("never"), STR_LIT("stuck")};
    struct kp_DeleteTopicsRequest req = {
        .topic_names = names, .topic_names_count = 2, .timeout_ms = 20000};
    struct outcome o;
    publish("gone", 2, 1);
    publish("stuck", 1, 1);
    settle();
    call(20, 5, &req, &o);
    ck_assert_int_eq(o.u.delete.responses[0].error_code, KE_NONE);
    ck_assert_int_eq(o.u.delete.responses[1].error_code, KE_UNKNOWN_TOPIC_OR_PARTITION);
    outcome_fini(&o);
    req.topic_names = &names[2];
    req.topic_names_count = 1;
    req.timeout_ms = 10;
    call(20, 5, &req, &o);
    ck_assert_int_eq(o.u.delete.responses[0].error_code, KE_REQUEST_TIMED_OUT);
    ck_assert_int_gt(o.u.delete.responses[0].error_message.len, 5);
    outcome_fini(&o);
    struct kp_DeleteTopicsRequest_DeleteTopicState ids[] = {{.name = STR_NULL}, {.name = STR_NULL}};
    struct kp_DeleteTopicsRequest by_id = {.topics = ids, .topics_count = 2, .timeout_ms = 20000};
    publish("gone", 2, 1);
    settle();
    ids[0].topic_id.b[0] = 'g';
    ids[1].topic_id.b[0] = 1;
    call(20, 6, &by_id, &o);
    ck_assert_int_eq(o.u.delete.responses[0].error_code, KE_NONE);
    ck_assert(str_eq_z(o.u.delete.responses[0].name, "gone"));
    ck_assert_int_eq(o.u.delete.responses[1].error_code, KE_UNKNOWN_TOPIC_ID);
    outcome_fini(&o);
}
END_TEST

START_TEST(partitions_are_added)
{
    struct kp_CreatePartitionsRequest_CreatePartitionsTopic topics[] = {
        {.name = STR_LIT("p"), .count = 5, .assignments_count = -1},
        {.name = STR_LIT("q"), .count = 2, .assignments_count = -1},
        {.name = STR_LIT("never"), .count = 2, .assignments_count = -1}};
    struct kp_CreatePartitionsRequest req = {
        .topics = topics, .topics_count = 3, .timeout_ms = 20000};
    struct outcome o;
    publish("p", 2, 1);
    publish("q", 2, 1);
    settle();
    call(37, 3, &req, &o);
    ck_assert_int_eq(o.u.grow.results[0].error_code, KE_NONE);
    ck_assert_int_eq(o.u.grow.results[1].error_code, KE_INVALID_PARTITIONS);
    ck_assert_int_eq(o.u.grow.results[2].error_code, KE_UNKNOWN_TOPIC_OR_PARTITION);
    outcome_fini(&o);
}
END_TEST

/* ---- the others */

START_TEST(ends_of_a_log_and_times)
{
    struct kp_ListOffsetsRequest_ListOffsetsPartition p[] = {
        {.partition_index = 0, .timestamp = -1, .max_num_offsets = 2},
        {.partition_index = 1, .timestamp = 1234, .max_num_offsets = -1},
        {.partition_index = 9, .timestamp = -2, .max_num_offsets = 1},
        {.partition_index = 2, .timestamp = -9, .max_num_offsets = 1}};
    struct kp_ListOffsetsRequest_ListOffsetsTopic t = {
        .name = STR_LIT("t"), .partitions = p, .partitions_count = 4};
    struct kp_ListOffsetsRequest req = {.replica_id = -1, .topics = &t, .topics_count = 1};
    parts[0].end = parts[0].hw = 4;
    for (int16_t v = 0; v <= 9; v++) {
        struct outcome o;
        call(2, v, &req, &o);
        const struct kp_ListOffsetsResponse_ListOffsetsPartitionResponse *a =
            o.u.offsets.topics[0].partitions;
        if (v == 0) {
            ck_assert_int_eq(a[0].old_style_offsets_count, 2);
            ck_assert_int_eq(a[0].old_style_offsets[0], 4);
            ck_assert_int_eq(a[0].old_style_offsets[1], 2);
            ck_assert_int_eq(a[1].old_style_offsets_count, 0);
        } else {
            ck_assert_int_eq(a[0].offset, 4);
        }
        ck_assert_int_eq(a[1].error_code, KE_NONE);
        ck_assert_int_eq(a[2].error_code, KE_UNKNOWN_TOPIC_OR_PARTITION);
        ck_assert_int_eq(a[3].error_code, KE_UNSUPPORTED_VERSION);
        outcome_fini(&o);
    }
    struct outcome o;
    p[1].partition_index = 0;
    call(2, 5, &req, &o);
    ck_assert_int_eq(o.u.offsets.topics[0].partitions[0].error_code, KE_INVALID_REQUEST);
    ck_assert_int_eq(o.u.offsets.topics[0].partitions[1].error_code, KE_INVALID_REQUEST);
    outcome_fini(&o);
}
END_TEST

START_TEST(producer_ids_are_unique_across_blocks)
{
    struct kp_InitProducerIdRequest req = {
        .transactional_id = STR_NULL, .producer_id = -1, .producer_epoch = -1};
    bool seen[64] = {false};
    for (int i = 0; i < 35; i++) {
        struct outcome o;
        call(22, 4, &req, &o);
        ck_assert_int_eq(o.u.id.error_code, KE_NONE);
        ck_assert_int_eq(o.u.id.producer_epoch, 0);
        ck_assert_int_lt(o.u.id.producer_id, 64);
        ck_assert(!seen[o.u.id.producer_id]);
        seen[o.u.id.producer_id] = true;
        outcome_fini(&o);
    }
}
END_TEST

START_TEST(configs_are_described_and_altered)
{
    struct kp_IncrementalAlterConfigsRequest_AlterableConfig c[] = {
        {.name = STR_LIT("cleanup.policy"), .config_operation = 2, .value = STR_LIT("compact")},
        {.name = STR_LIT("retention.ms"), .config_operation = 0, .value = STR_LIT("77")}};
    struct kp_IncrementalAlterConfigsRequest_AlterConfigsResource res = {
        .resource_type = 2, .resource_name = STR_LIT("t"), .configs = c, .configs_count = 2};
    struct kp_IncrementalAlterConfigsRequest req = {.resources = &res, .resources_count = 1};
    struct outcome o;
    call(44, 1, &req, &o);
    ck_assert_int_eq(o.u.incremental.responses[0].error_code, KE_NONE);
    outcome_fini(&o);
    ck_assert_str_eq(zkdoc_config_value(&stored, "cleanup.policy"), "delete,compact");
    c[0].config_operation = 3;
    c[0].value = STR_LIT("delete");
    c[1].config_operation = 1;
    c[1].value = STR_NULL;
    call(44, 0, &req, &o);
    ck_assert_int_eq(o.u.incremental.responses[0].error_code, KE_NONE);
    outcome_fini(&o);
    ck_assert_int_eq(stored.count, 1);
    ck_assert_str_eq(zkdoc_config_value(&stored, "cleanup.policy"), "compact");
    c[1].config_operation = 2;
    c[1].value = STR_LIT("5");
    call(44, 0, &req, &o);
    ck_assert_int_eq(o.u.incremental.responses[0].error_code, KE_INVALID_CONFIG);
    outcome_fini(&o);

    struct str keys[] = {STR_LIT("cleanup.policy"), STR_LIT("segment.bytes")};
    struct kp_DescribeConfigsRequest_DescribeConfigsResource what[] = {
        {.resource_type = 2,
         .resource_name = STR_LIT("t"),
         .configuration_keys = keys,
         .configuration_keys_count = 2},
        {.resource_type = 4, .resource_name = STR_LIT("1"), .configuration_keys_count = -1},
        {.resource_type = 4, .resource_name = STR_LIT("2"), .configuration_keys_count = -1},
        {.resource_type = 2, .resource_name = STR_LIT("never"), .configuration_keys_count = -1}};
    struct kp_DescribeConfigsRequest ask = {
        .resources = what, .resources_count = 4, .include_synonyms = true};
    for (int16_t v = 0; v <= 4; v++) {
        call(32, v, &ask, &o);
        const struct kp_DescribeConfigsResponse_DescribeConfigsResult *a = o.u.describe.results;
        ck_assert_int_eq(a[0].configs_count, 2);
        for (int i = 0; i < 2; i++) {
            bool is_policy = str_eq_z(a[0].configs[i].name, "cleanup.policy");
            ck_assert(str_eq_z(a[0].configs[i].value, is_policy ? "compact" : "1073741824"));
            if (v >= 1)
                ck_assert_int_eq(a[0].configs[i].config_source,
                                 is_policy ? CONFIG_SOURCE_TOPIC : CONFIG_SOURCE_DEFAULT);
        }
        ck_assert_int_gt(a[1].configs_count, 100);
        ck_assert_int_eq(a[2].error_code, KE_INVALID_REQUEST);
        ck_assert_int_eq(a[3].error_code, KE_UNKNOWN_TOPIC_OR_PARTITION);
        outcome_fini(&o);
    }
    struct zkdoc_config none = {NULL, 0};
    ck_assert_int_eq(zkadmin_set_entity_config(NULL, "", "", &none, true, NULL), KE_NONE);
    free(stored.entries);
    stored = none;
}
END_TEST

START_TEST(log_dirs_epochs_deletions_and_the_cluster)
{
    struct outcome o;
    struct kp_DescribeLogDirsRequest all = {.topics_count = -1};
    call(35, 4, &all, &o);
    ck_assert_int_eq(o.u.dirs.results_count, 1);
    ck_assert_int_eq(o.u.dirs.results[0].usable_bytes, 50);
    ck_assert_int_eq(o.u.dirs.results[0].topics_count, 1);
    ck_assert_int_eq(o.u.dirs.results[0].topics[0].partitions_count, PARTITIONS);
    outcome_fini(&o);
    struct kp_OffsetForLeaderEpochRequest_OffsetForLeaderPartition ep = {
        .partition = 0, .current_leader_epoch = -1, .leader_epoch = 3};
    struct kp_OffsetForLeaderEpochRequest_OffsetForLeaderTopic et = {
        .topic = STR_LIT("t"), .partitions = &ep, .partitions_count = 1};
    struct kp_OffsetForLeaderEpochRequest epochs = {
        .replica_id = -1, .topics = &et, .topics_count = 1};
    parts[0].end = 6;
    call(23, 4, &epochs, &o);
    ck_assert_int_eq(o.u.epochs.topics[0].partitions[0].end_offset, 6);
    outcome_fini(&o);
    parts[0].hw = 5;
    struct kp_DeleteRecordsRequest_DeleteRecordsPartition dp = {.partition_index = 0, .offset = -1};
    struct kp_DeleteRecordsRequest_DeleteRecordsTopic dt = {
        .name = STR_LIT("t"), .partitions = &dp, .partitions_count = 1};
    struct kp_DeleteRecordsRequest records = {
        .topics = &dt, .topics_count = 1, .timeout_ms = 20000};
    call(21, 2, &records, &o);
    ck_assert_int_eq(o.u.records.topics[0].partitions[0].low_watermark, 5);
    outcome_fini(&o);
    struct kp_DescribeClusterRequest cluster = {.endpoint_type = 1};
    call(60, 1, &cluster, &o);
    ck_assert_int_eq(o.u.cluster.brokers_count, 1);
    ck_assert_int_eq(o.u.cluster.controller_id, 1);
    outcome_fini(&o);
    struct str key[] = {STR_LIT("g")};
    struct kp_FindCoordinatorRequest find = {
        .key = STR_LIT("g"), .coordinator_keys = key, .coordinator_keys_count = 1};
    find.key_type = 1;
    call(10, 3, &find, &o);
    ck_assert_int_eq(o.u.coordinator.error_code, KE_COORDINATOR_NOT_AVAILABLE);
    outcome_fini(&o);
}
END_TEST

START_TEST(the_offsets_topic_is_created_and_its_leader_told)
{
    struct outcome o;
    struct str keys[] = {STR_LIT("g"), STR_LIT("h")};
    struct kp_FindCoordinatorRequest find = {.key = STR_LIT("g")};
    struct kp_FindCoordinatorRequest many = {.coordinator_keys = keys, .coordinator_keys_count = 2};
    /* one broker is alive, and the default factor is 3 */
    call(10, 2, &find, &o);
    ck_assert_int_eq(o.u.coordinator.error_code, KE_COORDINATOR_NOT_AVAILABLE);
    ck_assert_int_eq(o.u.coordinator.node_id, -1);
    ck_assert_ptr_nonnull(
        strstr(o.u.coordinator.error_message.p, "offsets.topic.replication.factor 3"));
    outcome_fini(&o);
    ck_assert_int_eq(created, 0);
    ((struct config *)(uintptr_t)broker.config)->offsets_topic_replication_factor = 1;
    for (int16_t v = 0; v <= 6; v++) {
        call(10, v, v < 4 ? &find : &many, &o);
        if (v >= 4) {
            ck_assert_int_eq(o.u.coordinator.coordinators_count, 2);
            ck_assert_int_eq(o.u.coordinator.coordinators[1].error_code, KE_NONE);
            ck_assert_int_eq(o.u.coordinator.coordinators[1].node_id, 1);
            ck_assert_int_eq(o.u.coordinator.coordinators[1].port, 9);
        } else {
            ck_assert_int_eq(o.u.coordinator.error_code, KE_NONE);
            ck_assert_int_eq(o.u.coordinator.node_id, 1);
        }
        outcome_fini(&o);
    }
    ck_assert_int_eq(created, 1);
    struct metadata *m = metadata_cache_latest(broker.metadata);
    ck_assert_int_eq(metadata_topic(m, STR_LIT("__consumer_offsets"))->partition_count, 50);
    metadata_unref(&m);
}
END_TEST

/* A client that looks it up must not bring it into being with one partition. */
START_TEST(the_offsets_topic_is_the_same_by_metadata)
{
    struct outcome o;
    struct kp_MetadataRequest_MetadataRequestTopic t = {.name = STR_LIT("__consumer_offsets")};
    struct kp_MetadataRequest req = {
        .topics = &t, .topics_count = 1, .allow_auto_topic_creation = true};
    ((struct config *)(uintptr_t)broker.config)->offsets_topic_replication_factor = 1;
    call(3, 9, &req, &o);
    ck_assert_int_eq(o.u.metadata.topics[0].error_code, KE_NONE);
    ck_assert_int_eq(o.u.metadata.topics[0].partitions_count, 50);
    outcome_fini(&o);
    struct kp_CreatePartitionsRequest_CreatePartitionsTopic more = {
        .name = STR_LIT("__consumer_offsets"), .count = 60, .assignments_count = -1};
    struct kp_CreatePartitionsRequest grow = {
        .topics = &more, .topics_count = 1, .timeout_ms = 20000};
    call(37, 3, &grow, &o);
    ck_assert_int_eq(o.u.grow.results[0].error_code, KE_INVALID_PARTITIONS);
    outcome_fini(&o);
}
END_TEST

START_TEST(an_update_of_the_metadata_needs_the_newest_controller)
{
    struct outcome o;
    struct kp_UpdateMetadataRequest req = {.controller_id = 3, .controller_epoch = 4};
    call(6, 8, &req, &o);
    ck_assert_int_eq(o.u.update.error_code, KE_STALE_CONTROLLER_EPOCH);
    outcome_fini(&o);
    req.controller_epoch = 5;
    call(6, 8, &req, &o);
    ck_assert_int_eq(o.u.update.error_code, KE_NONE);
    struct metadata *m = metadata_cache_latest(broker.metadata);
    ck_assert_int_eq(metadata_controller_id(m), 3);
    metadata_unref(&m);
    outcome_fini(&o);
}
END_TEST

START_TEST(without_permission_nothing_is_told)
{
    struct outcome o;
    struct kp_ProduceRequest_TopicProduceData t;
    produce_data d[] = {{.index = 0}};
    struct kp_ProduceRequest req = produce_of(&t, d, 1, 1);
    may = false;
    send_on(1, 0, 7, &req, batch, &o);
    wait_end(&o, REPLIED);
    ck_assert_int_eq(produced(&o, 0), KE_TOPIC_AUTHORIZATION_FAILED);
    outcome_fini(&o);
    struct kp_MetadataRequest all = {.topics_count = -1};
    call(3, 9, &all, &o);
    ck_assert_int_eq(o.u.metadata.topics_count, 0);
    outcome_fini(&o);
}
END_TEST

/* ---- groups */

/* One partition of __consumer_offsets, led and loaded. */
static void coordinate(void)
{
    struct kp_ListGroupsRequest req = {.states_filter_count = 0};
    struct outcome o = {.end = NOT_YET};
    TAILQ_INIT(&offsets_part.waits);
    offsets_part.topic = "__consumer_offsets";
    publish("__consumer_offsets", 1, 1);
    settle();
    coordinator_role_changed(broker.groups, STR_LIT("__consumer_offsets"), 0);
    for (bool is_loading = true; is_loading;) { /* 14 until it is loaded; a limit is the test's */
        call(16, 5, &req, &o);
        is_loading = o.u.list.error_code != KE_NONE;
        outcome_fini(&o);
    }
}

static char member[128];

static struct kp_JoinGroupRequest
join_request(struct kp_JoinGroupRequest_JoinGroupRequestProtocol *p)
{
    *p = (struct kp_JoinGroupRequest_JoinGroupRequestProtocol){
        .name = STR_LIT("range"), .metadata = {(const uint8_t *)"meta", 4}};
    return (struct kp_JoinGroupRequest){.group_id = STR_LIT("g"),
                                        .session_timeout_ms = 10000,
                                        .rebalance_timeout_ms = 10000,
                                        .member_id = str_of(member),
                                        .group_instance_id = STR_NULL,
                                        .protocol_type = STR_LIT("consumer"),
                                        .protocols = p,
                                        .protocols_count = 1,
                                        .reason = STR_NULL};
}

static void keep_member(const struct outcome *o)
{
    snprintf(member, sizeof member, "%.*s", STR_ARG(o->u.join.member_id));
    ck_assert_uint_gt(strlen(member), 36);
    ck_assert_mem_eq(member, "test-", 5); /* the client's id, then a UUID */
}

static int32_t join(int16_t version)
{
    struct kp_JoinGroupRequest_JoinGroupRequestProtocol p;
    struct outcome o;
    member[0] = 0;
    struct kp_JoinGroupRequest req = join_request(&p);
    call(11, version, &req, &o);
    keep_member(&o);
    if (version >= 4) { /* KIP-394 */
        ck_assert_int_eq(o.u.join.error_code, KE_MEMBER_ID_REQUIRED);
        ck_assert_int_eq(o.u.join.generation_id, -1);
        outcome_fini(&o);
        req = join_request(&p);
        call(11, version, &req, &o);
    }
    ck_assert_int_eq(o.u.join.error_code, KE_NONE);
    ck_assert(str_eq_z(o.u.join.leader, member));
    ck_assert(str_eq_z(o.u.join.protocol_name, "range"));
    ck_assert(version < 7 || str_eq_z(o.u.join.protocol_type, "consumer"));
    ck_assert_int_eq(o.u.join.members_count, 1);
    ck_assert_int_eq(o.u.join.members[0].metadata.len, 4);
    int32_t generation = o.u.join.generation_id;
    outcome_fini(&o);
    return generation;
}

static void sync_group(int16_t version, int32_t generation)
{
    struct kp_SyncGroupRequest_SyncGroupRequestAssignment a = {
        .member_id = str_of(member), .assignment = {(const uint8_t *)"mine", 4}};
    struct kp_SyncGroupRequest req = {.group_id = STR_LIT("g"),
                                      .generation_id = generation,
                                      .member_id = str_of(member),
                                      .group_instance_id = STR_NULL,
                                      .protocol_type = STR_NULL,
                                      .protocol_name = STR_NULL,
                                      .assignments = &a,
                                      .assignments_count = 1};
    struct outcome o;
    if (version >= 5) {
        call(14, version, &req, &o);
        ck_assert_int_eq(o.u.sync.error_code, KE_INCONSISTENT_GROUP_PROTOCOL);
        outcome_fini(&o);
        req.protocol_type = STR_LIT("consumer");
        req.protocol_name = STR_LIT("range");
    }
    call(14, version, &req, &o);
    ck_assert_int_eq(o.u.sync.error_code, KE_NONE);
    ck_assert_int_eq(o.u.sync.assignment.len, 4);
    ck_assert(version < 5 || str_eq_z(o.u.sync.protocol_name, "range"));
    outcome_fini(&o);
}

static int16_t heartbeat(int16_t version, int32_t generation)
{
    struct kp_HeartbeatRequest req = {.group_id = STR_LIT("g"),
                                      .generation_id = generation,
                                      .member_id = str_of(member),
                                      .group_instance_id = STR_NULL};
    struct outcome o;
    call(12, version, &req, &o);
    int16_t error = o.u.heartbeat.error_code;
    outcome_fini(&o);
    return error;
}

static int16_t leave(int16_t version)
{
    struct kp_LeaveGroupRequest_MemberIdentity who[] = {
        {.member_id = str_of(member), .group_instance_id = STR_NULL, .reason = STR_NULL},
        {.member_id = STR_LIT("x"), .group_instance_id = STR_NULL, .reason = STR_LIT("bye")}};
    struct kp_LeaveGroupRequest req = {
        .group_id = STR_LIT("g"), .member_id = str_of(member), .members = who, .members_count = 2};
    struct outcome o;
    call(13, version, &req, &o);
    int16_t error = o.u.leave.error_code;
    if (version >= 3) {
        ck_assert_int_eq(error, KE_NONE);
        ck_assert_int_eq(o.u.leave.members_count, 2);
        ck_assert_int_eq(o.u.leave.members[1].error_code, KE_UNKNOWN_MEMBER_ID);
        error = o.u.leave.members[0].error_code;
    }
    outcome_fini(&o);
    return error;
}

START_TEST(members_join_and_leave_in_every_version)
{
    coordinate();
    for (int16_t v = 0; v <= 9; v++) {
        int32_t generation = join(v);
        ck_assert_int_gt(generation, 0);
        ck_assert_int_eq(heartbeat(i32_min(v, 4), generation), KE_NONE);
        sync_group(i32_min(v, 5), generation);
        ck_assert_int_eq(heartbeat(i32_min(v, 4), generation), KE_NONE);
        ck_assert_int_eq(heartbeat(i32_min(v, 4), generation + 1), KE_ILLEGAL_GENERATION);
        ck_assert_int_eq(leave(i32_min(v, 5)), KE_NONE);
        ck_assert_int_eq(leave(i32_min(v, 5)), KE_UNKNOWN_MEMBER_ID);
        ck_assert_int_eq(heartbeat(i32_min(v, 4), generation), KE_UNKNOWN_MEMBER_ID);
    }
}
END_TEST

static void member_commits(int16_t version, int32_t generation, int64_t offset)
{
    struct kp_OffsetCommitRequest_OffsetCommitRequestPartition p[] = {
        {.partition_index = 0,
         .committed_offset = offset,
         .committed_leader_epoch = version >= 6 ? 7 : -1,
         .commit_timestamp = -1,
         .committed_metadata = STR_NULL},
        {.partition_index = 77, .committed_leader_epoch = -1, .committed_metadata = STR_LIT("x")}};
    struct kp_OffsetCommitRequest_OffsetCommitRequestTopic t[] = {
        {.name = STR_LIT("t"), .partitions = p, .partitions_count = 2},
        {.name = STR_LIT("none"), .partitions = p, .partitions_count = 1}};
    struct kp_OffsetCommitRequest req = {.group_id = STR_LIT("g"),
                                         .generation_id_or_member_epoch = generation,
                                         .member_id = str_of(member),
                                         .group_instance_id = STR_NULL,
                                         .retention_time_ms = -1,
                                         .topics = t,
                                         .topics_count = 2};
    struct outcome o;
    call(8, version, &req, &o);
    ck_assert_int_eq(o.u.commit.topics_count, 2);
    ck_assert_int_eq(o.u.commit.topics[0].partitions[0].error_code, KE_NONE);
    ck_assert_int_eq(o.u.commit.topics[0].partitions[1].error_code, KE_UNKNOWN_TOPIC_OR_PARTITION);
    ck_assert_int_eq(o.u.commit.topics[1].partitions[0].error_code, KE_UNKNOWN_TOPIC_OR_PARTITION);
    outcome_fini(&o);
}

static void check_told(const struct outcome *o, int16_t version, int64_t offset, bool names_two)
{
    if (version >= 8) {
        const struct kp_OffsetFetchResponse_OffsetFetchResponseGroup *g = o->u.committed.groups;
        ck_assert_int_eq(o->u.committed.groups_count, 2);
        ck_assert(str_eq_z(g[1].group_id, "never"));
        ck_assert_int_eq(g[0].topics_count, 1);
        ck_assert_int_eq(g[0].topics[0].partitions_count, names_two ? 2 : 1);
        ck_assert_int_eq(g[0].topics[0].partitions[0].committed_offset, offset);
        ck_assert_int_eq(g[1].topics[0].partitions[0].committed_offset, -1);
        return;
    }
    const struct kp_OffsetFetchResponse_OffsetFetchResponseTopic *t = o->u.committed.topics;
    ck_assert_int_eq(o->u.committed.topics_count, 1);
    ck_assert_int_eq(t->partitions_count, names_two ? 2 : 1);
    ck_assert_int_eq(t->partitions[0].committed_offset, offset);
    ck_assert_int_eq(t->partitions[0].committed_leader_epoch, version >= 5 ? 7 : -1);
    ck_assert_int_eq(t->partitions[0].metadata.len, 0);
    ck_assert_int_eq(t->partitions[0].error_code, KE_NONE);
    if (names_two)
        ck_assert_int_eq(t->partitions[1].committed_offset, -1);
}

static void group_fetches(int16_t version, int64_t offset, bool all)
{
    int32_t two[] = {0, 5};
    struct kp_OffsetFetchRequest_OffsetFetchRequestTopic t = {
        .name = STR_LIT("t"), .partition_indexes = two, .partition_indexes_count = 2};
    struct kp_OffsetFetchRequest_OffsetFetchRequestTopics t8 = {
        .name = STR_LIT("t"), .partition_indexes = two, .partition_indexes_count = 2};
    struct kp_OffsetFetchRequest_OffsetFetchRequestGroup groups[] = {{.group_id = STR_LIT("g"),
                                                                      .member_id = STR_NULL,
                                                                      .member_epoch = -1,
                                                                      .topics = &t8,
                                                                      .topics_count = all ? -1 : 1},
                                                                     {.group_id = STR_LIT("never"),
                                                                      .member_id = STR_NULL,
                                                                      .member_epoch = -1,
                                                                      .topics = &t8,
                                                                      .topics_count = 1}};
    struct kp_OffsetFetchRequest req = {.group_id = version < 8 ? STR_LIT("g") : STR_LIT(""),
                                        .topics = version < 8 ? &t : NULL,
                                        .topics_count = version >= 8 ? 0
                                                        : all        ? -1
                                                                     : 1,
                                        .groups = groups,
                                        .groups_count = version >= 8 ? 2 : 0,
                                        .require_stable = version >= 7};
    struct outcome o;
    call(9, version, &req, &o);
    check_told(&o, version, offset, !all);
    outcome_fini(&o);
}

START_TEST(offsets_are_committed_and_fetched_in_every_version)
{
    coordinate();
    int32_t generation = join(3);
    sync_group(2, generation);
    member_commits(9, generation, 1);
    for (int16_t v = 1; v <= 9; v++) {
        member_commits(v, generation, 100 + v);
        member_commits(9, generation, 100 + v); /* the leader epoch too */
        group_fetches(v, 100 + v, false);
        if (v >= 2)
            group_fetches(v, 100 + v, true);
    }
}
END_TEST

START_TEST(groups_are_described_listed_and_deleted_in_every_version)
{
    struct outcome o;
    struct str names[] = {STR_LIT("g"), STR_LIT("never"), STR_LIT("g")};
    struct str filter = STR_LIT("sTaBle");
    coordinate();
    int32_t generation = join(3);
    sync_group(2, generation);
    member_commits(2, generation, 5);
    for (int16_t v = 0; v <= 5; v++) {
        struct kp_DescribeGroupsRequest req = {
            .groups = names, .groups_count = 2, .include_authorized_operations = v >= 3};
        call(15, v, &req, &o);
        const struct kp_DescribeGroupsResponse_DescribedGroup *g = o.u.groups.groups;
        ck_assert_int_eq(g[0].error_code, KE_NONE);
        ck_assert(str_eq_z(g[0].group_state, "Stable") && str_eq_z(g[0].protocol_data, "range"));
        ck_assert_int_eq(g[0].members_count, 1);
        ck_assert_int_eq(g[0].members[0].member_assignment.len, 4);
        ck_assert(str_eq_z(g[0].members[0].client_id, "test"));
        ck_assert(str_eq_z(g[1].group_state, "Dead"));
        ck_assert_int_eq(g[1].error_code, KE_NONE);
        if (v >= 3) /* read, delete, describe */
            ck_assert_int_eq(g[0].authorized_operations, 1 << 3 | 1 << 6 | 1 << 8);
        outcome_fini(&o);
        struct kp_ListGroupsRequest list = {.states_filter = &filter,
                                            .states_filter_count = v >= 4 ? 1 : 0};
        call(16, v, &list, &o);
        ck_assert_int_eq(o.u.list.groups_count, 1);
        ck_assert(v < 4 || str_eq_z(o.u.list.groups[0].group_state, "Stable"));
        ck_assert(v < 5 || str_eq_z(o.u.list.groups[0].group_type, "classic"));
        outcome_fini(&o);
    }
    struct str wrong = STR_LIT("consumer");
    struct kp_ListGroupsRequest list = {.types_filter = &wrong, .types_filter_count = 1};
    call(16, 5, &list, &o);
    ck_assert_int_eq(o.u.list.groups_count, 0);
    outcome_fini(&o);
    struct kp_DeleteGroupsRequest del = {.groups_names = names, .groups_names_count = 3};
    for (int16_t v = 0; v <= 2; v++) {
        call(42, v, &del, &o);
        ck_assert_int_eq(o.u.delete_groups.results_count, 2);
        ck_assert_int_eq(o.u.delete_groups.results[0].error_code, KE_NON_EMPTY_GROUP);
        ck_assert_int_eq(o.u.delete_groups.results[1].error_code, KE_GROUP_ID_NOT_FOUND);
        outcome_fini(&o);
    }
    ck_assert_int_eq(leave(1), KE_NONE);
    /* with its last offset the group would go too */
    struct kp_OffsetDeleteRequest_OffsetDeleteRequestPartition p[] = {{1}, {77}};
    struct kp_OffsetDeleteRequest_OffsetDeleteRequestTopic t = {
        .name = STR_LIT("t"), .partitions = p, .partitions_count = 2};
    struct kp_OffsetDeleteRequest drop = {
        .group_id = STR_LIT("g"), .topics = &t, .topics_count = 1};
    call(47, 0, &drop, &o);
    ck_assert_int_eq(o.u.offset_delete.error_code, KE_NONE);
    ck_assert_int_eq(o.u.offset_delete.topics[0].partitions[0].error_code, KE_NONE);
    ck_assert_int_eq(o.u.offset_delete.topics[0].partitions[1].error_code,
                     KE_UNKNOWN_TOPIC_OR_PARTITION);
    outcome_fini(&o);
    drop.group_id = STR_LIT("never");
    call(47, 0, &drop, &o);
    ck_assert_int_eq(o.u.offset_delete.error_code, KE_GROUP_ID_NOT_FOUND);
    outcome_fini(&o);
    call(42, 2, &del, &o);
    ck_assert_int_eq(o.u.delete_groups.results[0].error_code, KE_NONE);
    outcome_fini(&o);
    call(16, 5, &(struct kp_ListGroupsRequest){.types_filter_count = 0}, &o);
    ck_assert_int_eq(o.u.list.groups_count, 0);
    outcome_fini(&o);
}
END_TEST

START_TEST(without_permission_groups_tell_nothing)
{
    struct outcome o;
    struct str name = STR_LIT("g");
    coordinate();
    int32_t generation = join(3);
    sync_group(2, generation);
    may = false;
    ck_assert_int_eq(heartbeat(4, generation), KE_GROUP_AUTHORIZATION_FAILED);
    struct kp_DescribeGroupsRequest describe = {.groups = &name, .groups_count = 1};
    call(15, 5, &describe, &o);
    ck_assert_int_eq(o.u.groups.groups[0].error_code, KE_GROUP_AUTHORIZATION_FAILED);
    ck_assert_int_eq(o.u.groups.groups[0].members_count, 0);
    outcome_fini(&o);
    call(16, 5, &(struct kp_ListGroupsRequest){.types_filter_count = 0}, &o);
    ck_assert_int_eq(o.u.list.groups_count, 0);
    outcome_fini(&o);
    struct kp_DeleteGroupsRequest del = {.groups_names = &name, .groups_names_count = 1};
    call(42, 2, &del, &o);
    ck_assert_int_eq(o.u.delete_groups.results[0].error_code, KE_GROUP_AUTHORIZATION_FAILED);
    outcome_fini(&o);
    struct kp_JoinGroupRequest_JoinGroupRequestProtocol p;
    struct kp_JoinGroupRequest req = join_request(&p);
    for (int16_t v = 0; v <= 9; v++) {
        call(11, v, &req, &o);
        ck_assert_int_eq(o.u.join.error_code, KE_GROUP_AUTHORIZATION_FAILED);
        outcome_fini(&o);
    }
    may = true;
    ck_assert_int_eq(heartbeat(4, generation), KE_NONE);
}
END_TEST

/* ---- any valid request */

static uint64_t seed = 1;

static uint64_t roll(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed;
}

static void familiar(const struct kp_schema *s, uint8_t *msg);

static void familiar_value(const struct kp_field *f, uint8_t *at)
{
    if (f->type == KP_STRUCT)
        familiar(f->sub, at);
    else if (f->type == KP_STRING && ((struct str *)(void *)at)->len >= 0 && roll() % 2 == 0)
        *(struct str *)(void *)at = STR_LIT("t");
    else if (f->type == KP_INT32 && roll() % 2 == 0)
        *(int32_t *)(void *)at = (int32_t)(roll() % 3);
}

/* Names and numbers that mean something here, in place of half of the random ones. */
static void familiar(const struct kp_schema *s, uint8_t *msg)
{
    for (int i = 0; i < s->field_count; i++) {
        const struct kp_field *f = &s->fields[i];
        uint8_t *at = msg + f->offset, *sub;
        if (f->shape == KP_SINGLE) {
            familiar_value(f, at);
            continue;
        }
        memcpy(&sub, at, sizeof sub);
        if (f->shape == KP_POINTER && sub != NULL)
            familiar(f->sub, sub);
        if (f->shape != KP_ARRAY)
            continue;
        size_t size = f->type == KP_STRUCT ? f->sub->size : kp_type_size((enum kp_type)f->type);
        int32_t count;
        memcpy(&count, msg + f->count_offset, sizeof count);
        for (int32_t j = 0; j < count; j++)
            familiar_value(f, sub + (size_t)j * size);
    }
}

static void any_request(const struct api_row *row, int16_t version)
{
    const struct kp_api *api = kp_api_find(row->key);
    struct arena arena = {0};
    struct outcome o;
    uint64_t rng = roll();
    void *body = arena_alloc(&arena, kp_size(api->request));
    kp_random(api->request, version, &rng, &arena, body);
    familiar(api->request, body);
    struct request *r = send_on(1, row->key, version, body, batch, &o);
    for (int i = 0; i < 20 && o.end == NOT_YET; i++)
        settle();         /* what is done by io threads or by mail */
    if (o.end == NOT_YET) /* it waits: the client goes away */
        loop_call(broker.loops[0], cancel_if_there, r);
    for (int i = 0; i < 5000 && o.end == NOT_YET; i++)
        poll(NULL, 0, 1);
    ck_assert_msg(o.end != NOT_YET, "key %d version %d did not end", row->key, version);
    outcome_fini(&o);
    arena_fini(&arena);
}

START_TEST(any_valid_request_is_ended_and_its_answer_can_be_encoded)
{
    seed = (uint64_t)_i * 7919 + 1;
    for (size_t i = 0; i < api_row_count; i++)
        for (int16_t v = api_rows[i].min_version; v <= api_rows[i].max_version; v++)
            for (int n = 0; n < 4 && api_rows[i].handle != api_to_controller; n++)
                any_request(&api_rows[i], v);
}
END_TEST

/* ---- offsets of old groups */

typedef struct kp_OffsetCommitRequest_OffsetCommitRequestPartition commit_data;

static void commit(const char *group, commit_data *d, int32_t count, struct outcome *o)
{
    struct kp_OffsetCommitRequest_OffsetCommitRequestTopic t = {
        .name = STR_LIT("t"), .partitions = d, .partitions_count = count};
    struct kp_OffsetCommitRequest req = {
        .group_id = str_of(group), .topics = &t, .topics_count = 1};
    call(8, 0, &req, o);
}

static int16_t commit_error(const struct outcome *o, int i)
{
    return o->u.commit.topics[0].partitions[i].error_code;
}

static void fetch_offsets(const char *group, int32_t *indexes, int32_t count, struct outcome *o)
{
    struct kp_OffsetFetchRequest_OffsetFetchRequestTopic t = {
        .name = STR_LIT("t"), .partition_indexes = indexes, .partition_indexes_count = count};
    struct kp_OffsetFetchRequest req = {.group_id = str_of(group), .topics = &t, .topics_count = 1};
    call(9, 0, &req, o);
}

static const struct kp_OffsetFetchResponse_OffsetFetchResponsePartition *
offset_of(const struct outcome *o, int i)
{
    return &o->u.committed.topics[0].partitions[i];
}

static const char *stored_at(const char *path)
{
    const struct znode *z = znode(path);
    return z == NULL ? "" : z->data;
}

START_TEST(old_offsets_are_decimal_text_in_the_coordination_service)
{
    struct outcome o;
    commit_data d[] = {{.partition_index = 0, .committed_offset = 1523},
                       {.partition_index = 2, .committed_offset = INT64_MAX},
                       {.partition_index = 77, .committed_offset = 5}};
    commit("g", d, 3, &o);
    ck_assert_int_eq(commit_error(&o, 0), KE_NONE);
    ck_assert_int_eq(commit_error(&o, 1), KE_NONE);
    ck_assert_int_eq(commit_error(&o, 2), KE_UNKNOWN_TOPIC_OR_PARTITION);
    outcome_fini(&o);
    ck_assert_str_eq(stored_at("/consumers/g/offsets/t/0"), "1523");
    ck_assert_str_eq(stored_at("/consumers/g/offsets/t/2"), "9223372036854775807");
    d[0].committed_offset = 7; /* back again, and by somebody who was first to create it */
    somebody_creates = "1";
    d[1].partition_index = 1;
    d[1].committed_offset = 2;
    commit("g", d, 2, &o);
    outcome_fini(&o);
    ck_assert_str_eq(stored_at("/consumers/g/offsets/t/0"), "7");
    ck_assert_str_eq(stored_at("/consumers/g/offsets/t/1"), "2");

    int32_t indexes[] = {2, 0, 77, 3};
    znode_set("/consumers/g/offsets/t/0", "12x", 3);
    fetch_offsets("g", indexes, 4, &o);
    ck_assert_int_eq(offset_of(&o, 0)->committed_offset, INT64_MAX);
    ck_assert_int_eq(offset_of(&o, 0)->error_code, KE_NONE);
    ck_assert_int_eq(offset_of(&o, 0)->metadata.len, 0);
    ck_assert_int_eq(offset_of(&o, 1)->error_code, KE_UNKNOWN_SERVER_ERROR); /* no number */
    for (int i = 1; i < 4; i++)
        ck_assert_int_eq(offset_of(&o, i)->committed_offset, -1);
    for (int i = 2; i < 4; i++) /* no such partition; no offset of it */
        ck_assert_int_eq(offset_of(&o, i)->error_code, KE_UNKNOWN_TOPIC_OR_PARTITION);
    outcome_fini(&o);
}
END_TEST

START_TEST(old_offsets_that_cannot_be_kept_are_refused_one_by_one)
{
    static const char *const bad[] = {"", "a/b", ".", "..", "a\nb"};
    static char text[4098];
    struct outcome o;
    int32_t index = 0;
    commit_data d[] = {{.partition_index = 0}, {.partition_index = 1}};
    memset(text, 'x', sizeof text - 1);
    d[0].committed_metadata = (struct str){text, 4097};
    d[1].committed_metadata = (struct str){text, 4096};
    commit("g", d, 2, &o);
    ck_assert_int_eq(commit_error(&o, 0), KE_OFFSET_METADATA_TOO_LARGE);
    ck_assert_int_eq(commit_error(&o, 1), KE_NONE);
    outcome_fini(&o);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        commit(bad[i], d, 2, &o);
        ck_assert_int_eq(commit_error(&o, 1), KE_INVALID_GROUP_ID);
        outcome_fini(&o);
        fetch_offsets(bad[i], &index, 1, &o);
        ck_assert_int_eq(offset_of(&o, 0)->error_code, KE_INVALID_GROUP_ID);
        outcome_fini(&o);
    }
    coord_error = ERR_UNKNOWN_OUTCOME;
    commit("g", d, 2, &o);
    ck_assert_int_eq(commit_error(&o, 1), KE_REQUEST_TIMED_OUT);
    outcome_fini(&o);
    coord_is_away = true;
    fetch_offsets("g", &index, 1, &o);
    ck_assert_int_eq(offset_of(&o, 0)->error_code, KE_REQUEST_TIMED_OUT);
    ck_assert_int_eq(offset_of(&o, 0)->committed_offset, -1);
    outcome_fini(&o);
    may = false;
    commit("g", d, 2, &o);
    ck_assert_int_eq(commit_error(&o, 1), KE_GROUP_AUTHORIZATION_FAILED);
    outcome_fini(&o);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {
        acks_1_is_answered_after_the_append_and_partitions_are_independent,
        acks_all_waits_for_the_high_watermark,
        an_empty_message_set_is_fine_before_version_3,
        acks_all_times_out_with_the_records_in_the_log,
        acks_0_is_not_answered_and_an_error_closes,
        a_light_batch_does_not_overtake_a_heavy_one_of_its_connection,
        a_failure_among_the_queued_takes_those_behind_it_along,
        a_closed_connection_takes_its_waiting_requests_with_it,
        data_are_answered_at_once_in_every_version,
        a_fetch_without_news_waits_for_them_or_for_its_time,
        min_bytes_are_waited_for,
        an_error_is_answered_at_once,
        a_session_tells_only_what_is_new,
        a_follower_with_news_while_it_waits_is_recorded_by_its_next_fetch,
        what_did_not_fit_is_first_in_the_next_answer,
        a_waiting_fetch_is_dropped_with_its_connection,
        old_versions_get_messages_of_their_format,
        a_message_over_the_limit_is_cut_before_version_3_and_whole_from_then_on,
        many_messages_of_one_batch_come_in_pieces,
        control_batches_are_passed_over_and_then_the_fetch_waits,
        what_cannot_be_converted_is_an_error_of_its_partition,
        what_unfolds_to_too_much_is_refused_and_what_is_large_is_not,
        a_conversion_outlives_its_connection,
        before_version_3_no_partition_starves,
        version_0_means_all_by_an_empty_list_and_version_1_none,
        metadata_wait_for_the_first_that_the_controller_says,
        a_broker_with_logs_waits_until_it_is_told_of_topics,
        a_missing_topic_is_created_and_has_its_leader_in_the_same_answer,
        without_the_coordination_service_nothing_waits_for_it,
        topics_are_asked_for_by_id_in_version_12,
        created_topics_are_answered_with_leaders_and_refusals_with_words,
        creation_answers_timed_out_validates_only_and_sends_to_the_controller,
        deletion_waits_until_the_topic_is_gone,
        partitions_are_added,
        ends_of_a_log_and_times,
        producer_ids_are_unique_across_blocks,
        configs_are_described_and_altered,
        log_dirs_epochs_deletions_and_the_cluster,
        the_offsets_topic_is_created_and_its_leader_told,
        the_offsets_topic_is_the_same_by_metadata,
        an_update_of_the_metadata_needs_the_newest_controller,
        without_permission_nothing_is_told,
        members_join_and_leave_in_every_version,
        offsets_are_committed_and_fetched_in_every_version,
        groups_are_described_listed_and_deleted_in_every_version,
        without_permission_groups_tell_nothing,
        old_offsets_are_decimal_text_in_the_coordination_service,
        old_offsets_that_cannot_be_kept_are_refused_one_by_one,
    };
    Suite *s = suite_create("api");
    TCase *t = tcase_create("handlers");
    tcase_add_checked_fixture(t, start, stop);
    for (size_t i = 0; i < ARRAY_LEN(tests); i++)
        tcase_add_test(t, tests[i]);
    suite_add_tcase(s, t);
    t = tcase_create("random");
    tcase_set_timeout(t, 120);
    tcase_add_checked_fixture(t, start, stop);
    tcase_add_loop_test(t, any_valid_request_is_ended_and_its_answer_can_be_encoded, 0, 20);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? 0 : 1;
}
