/* SPDX-License-Identifier: Apache-2.0 */
/* Stand-ins for what the handlers call: partitions that are two offsets in memory, a coordination
 * service of a few nodes that answers by an update of the metadata. */
#include "tests/unit/api_fixture.h"

/* ---- partitions */

enum { FILE_BYTES_MAX = 1 << 24 };
struct partition parts[PARTITIONS];
struct partition offsets_part;
pthread_barrier_t append_gate;
_Atomic int authorize_calls;
bool use_gate, is_controller = true, is_authorized = true;
_Atomic int released;

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

const char *log_record_error_text(const struct log_record_errors *e, int32_t i)
{
    return e->list[i].fault == LOG_RECORD_OUT_OF_TIME ? e->out_of_time : "no key";
}

void log_append_result_fini(struct log_append_result *res)
{
    FREE_NULL(&res->record_errors);
    res->error_message = NULL;
}

int16_t partition_append(struct partition *p, const struct partition_append *a,
                         struct log_append_result *out)
{
    if (use_gate && log_needs_decompression(NULL, a->records, a->len))
        pthread_barrier_wait(&append_gate);
    if (p->append_error != KE_NONE) {
        out->record_errors = p->record_errors;
        out->error_message = p->record_errors == NULL ? NULL : p->record_errors->summary;
        p->record_errors = NULL;
        return p->append_error;
    }
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

void raise_hw(struct partition *p, int64_t hw)
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

_Atomic int reads_gated;
_Atomic bool use_read_gate;

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
    atomic_fetch_add(&authorize_calls, 1);
    return is_authorized;
}

/* ---- coordination: what is created shows in the metadata */

struct broker broker;
struct listener listener = {.name = (char[]){"PLAINTEXT"}};
_Atomic int created;
struct zkdoc_config stored;

void publish(const char *topic, int32_t partitions, int32_t leader)
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

void publish_brokers(void)
{
    publish("none", 0, 1);
}

bool coord_is_away;

enum coord_state coord_state_now(const struct coord *c UNUSED)
{
    return coord_is_away ? COORD_DISCONNECTED : COORD_CONNECTED;
}

/* A few nodes; each call is answered at once. */
enum { ZNODES_MAX = 8 };
static struct znode znodes[ZNODES_MAX];
enum err coord_error;
const char *somebody_creates;

struct znode *znode(const char *path)
{
    for (int i = 0; path != NULL && i < ZNODES_MAX; i++)
        if (znodes[i].path != NULL && strcmp(znodes[i].path, path) == 0)
            return &znodes[i];
    return NULL;
}

void znode_set(const char *path, const char *data, size_t n)
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

void znodes_clear(void)
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

int16_t partition_producers(struct partition *p, struct log_producer **out, int32_t *count_out)
{
    *out = p->end == 0 ? NULL : xcalloc(1, sizeof **out);
    *count_out = p->end == 0 ? 0 : 1;
    if (p->end > 0)
        **out = (struct log_producer){.producer_id = 4711, .txn_start_offset = -1};
    return p->append_error;
}
