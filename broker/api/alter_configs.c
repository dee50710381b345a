/* SPDX-License-Identifier: Apache-2.0 */
/* alter_configs - AlterConfigs (33), which replaces all overrides of a resource, and
 * IncrementalAlterConfigs (44), which changes some. Any broker writes them to the coordination
 * service itself; all hear of it through the change notification. */
#include "broker/api/api.h"
#include "broker/api/config_entries.h"
#include "broker/api/handlers.h"
#include "broker/api/task.h"
#include "broker/config/config.h"
#include "common/base/slog.h"
#include "common/protocol/codec.h"
#include "common/zk/zkadmin.h"

#include <stdio.h>
#include <stdlib.h>

enum { RESOURCES_MAX = 4000, CHANGES_MAX = 1000 }; /* of a request; of a resource */
enum alter_op { OP_SET = 0, OP_DELETE = 1, OP_APPEND = 2, OP_SUBTRACT = 3 };

struct alter_change {
    struct str name, value;
    int8_t op;
};
struct alter_item {
    int8_t type;
    struct str name;
    struct alter_change *changes;
    int32_t count;
    int16_t error;
    const char *message;
};
struct alter_task {
    struct task task;
    bool is_incremental, validate_only;
    struct alter_item *items;
    int32_t count;
};

static void fail(struct alter_item *it, int16_t error, const char *message)
{
    if (it->error != KE_NONE)
        return;
    it->error = error;
    it->message = message;
}

static void fail_text(struct alter_task *t, struct alter_item *it, int16_t error,
                      const struct errtext *why)
{
    fail(it, error, api_strdup(t->task.request, why->text).p);
}

static const struct option *option_of(const struct alter_item *it, struct str name)
{
    return optab_find(it->type == CONFIG_TOPIC ? &topic_options : &config_options, name);
}

/* ---- building the new config, on an io thread */

static struct zkdoc_kv *find_entry(struct zkdoc_config *c, const char *key)
{
    for (int32_t i = 0; i < c->count; i++)
        if (strcmp(c->entries[i].key, key) == 0)
            return &c->entries[i];
    return NULL;
}

static bool list_has(const struct optab_list *l, const char *item)
{
    for (int32_t i = 0; i < l->count; i++)
        if (strcmp(l->items[i], item) == 0)
            return true;
    return false;
}

static void join_item(struct buf *out, const char *item)
{
    buf_printf(out, "%s%s", out->len == 0 ? "" : ",", item);
}

/* base with the items of change added, or taken out. */
static const char *list_change(struct alter_task *t, const char *base, const char *change,
                               bool is_append)
{
    struct optab_list have, delta;
    struct buf out = {0};
    optab_list_parse(base, &have);
    optab_list_parse(change, &delta);
    for (int32_t i = 0; i < have.count; i++)
        if (is_append || !list_has(&delta, have.items[i]))
            join_item(&out, have.items[i]);
    for (int32_t i = 0; is_append && i < delta.count; i++)
        if (!list_has(&have, delta.items[i]))
            join_item(&out, delta.items[i]);
    const char *text = arena_strdup(&t->task.request->arena, buf_cstr(&out), out.len);
    buf_fini(&out);
    optab_list_fini(&have);
    optab_list_fini(&delta);
    return text;
}

/* What APPEND and SUBTRACT begin with: the override, else the inherited value. */
static const char *list_base(struct alter_task *t, const struct alter_item *it,
                             const struct option *o, const struct zkdoc_kv *entry)
{
    enum config_source source;
    const char *text;
    if (entry != NULL)
        return entry->value;
    text = it->type != CONFIG_TOPIC
               ? config_text(t->task.request->broker->config, o)
               : topic_config_default(t->task.request->broker->config, o, &source);
    return text == NULL ? "" : api_strdup(t->task.request, text).p;
}

/* The value that the change gives its option; NULL with the item failed. */
static const char *changed_value(struct alter_task *t, struct alter_item *it,
                                 const struct alter_change *c, const char *key,
                                 const struct zkdoc_kv *entry)
{
    const struct option *o = option_of(it, c->name);
    const char *value = api_strdup_str(t->task.request, c->value);
    if (c->op == OP_SET || value == NULL)
        return value;
    if (o == NULL || o->type != OPTION_LIST) {
        struct errtext why;
        errtext_set(&why, "%s is no list: APPEND and SUBTRACT are for lists", key);
        fail_text(t, it, KE_INVALID_CONFIG, &why);
        return NULL;
    }
    return list_change(t, list_base(t, it, o, entry), value, c->op == OP_APPEND);
}

static void apply_change(struct alter_task *t, struct alter_item *it, const struct alter_change *c,
                         struct zkdoc_config *config)
{
    const char *key = api_strdup_str(t->task.request, c->name);
    struct zkdoc_kv *entry = key == NULL ? NULL : find_entry(config, key);
    if (key == NULL) {
        fail(it, KE_UNKNOWN_SERVER_ERROR, "not enough memory for the request");
        return;
    }
    if (c->op == OP_DELETE) {
        if (entry != NULL)
            *entry = config->entries[--config->count];
        return;
    }
    const char *value = changed_value(t, it, c, key, entry);
    if (value == NULL) {
        fail(it, KE_UNKNOWN_SERVER_ERROR, "not enough memory for the request");
        return;
    }
    if (entry == NULL)
        entry = &config->entries[config->count++];
    *entry = (struct zkdoc_kv){key, value};
}

static int kv_cmp(const void *a, const void *b)
{
    const struct zkdoc_kv *x = a, *y = b;
    return strcmp(x->key, y->key);
}

static void check_topic_config(struct alter_task *t, struct alter_item *it,
                               const struct zkdoc_config *config)
{
    struct request *r = t->task.request;
    struct topic_override *o = api_alloc(r, (size_t)config->count, sizeof *o);
    struct log_config made;
    struct errtext why;
    if (o == NULL) {
        fail(it, KE_UNKNOWN_SERVER_ERROR, "not enough memory for the request");
        return;
    }
    for (int32_t i = 0; i < config->count; i++)
        o[i] = (struct topic_override){config->entries[i].key, config->entries[i].value};
    if (topic_config_make(r->broker->config, o, (size_t)config->count, &made, &why) != ERR_OK)
        fail_text(t, it, KE_INVALID_CONFIG, &why);
}

/* Kafka accepts an option that none of its classes knows, since a plug-in may know it. But a name
 * that is nearly a known one is a mistake. */
static enum err check_unknown(const char *name, struct errtext *why)
{
    char near[128];

    optab_did_you_mean(&config_options, name, near, sizeof near);
    errtext_set(why, "%s is not an option of the broker%s", name, near);
    return near[0] == 0 ? ERR_OK : ERR_INVALID;
}

static enum err check_broker_change(struct alter_task *t, const struct alter_item *it,
                                    const struct alter_change *c, struct errtext *why)
{
    const struct option *o = option_of(it, c->name);
    const char *value = api_strdup_str(t->task.request, c->value);
    const char *name = api_strdup_str(t->task.request, c->name);
    if (o == NULL)
        return name == NULL ? ERR_INVALID : check_unknown(name, why);
    if ((o->flags & OPTION_DYNAMIC) == 0) {
        errtext_set(why,
                    "%s can't be changed while the broker runs: set it in the properties file and "
                    "restart",
                    o->name);
        return ERR_INVALID;
    }
    if ((o->flags & OPTION_PER_BROKER) != 0 && it->name.len == 0) {
        errtext_set(why, "%s is set for one broker, not for all: name the broker", o->name);
        return ERR_INVALID;
    }
    if (o->type == OPTION_PASSWORD) {
        errtext_set(why, "%s is a secret: set it in the properties file and restart", o->name);
        return ERR_INVALID;
    }
    return c->op != OP_SET || value == NULL
               ? ERR_OK
               : config_check_change(t->task.request->broker->config, o, value, why);
}

/* Of single values only what the request names: those that are there already are another's. */
static void check_broker_changes(struct alter_task *t, struct alter_item *it,
                                 const struct zkdoc_config *config)
{
    struct errtext why = {""};
    struct props all = {0};
    for (int32_t i = 0; i < it->count && it->error == KE_NONE; i++)
        if (check_broker_change(t, it, &it->changes[i], &why) != ERR_OK)
            fail_text(t, it, KE_INVALID_REQUEST, &why);
    for (int32_t i = 0; i < config->count; i++)
        props_set(&all, config->entries[i].key, config->entries[i].value, 0);
    if (it->error == KE_NONE &&
        config_check_dynamic(t->task.request->broker->config, &all, &why) != ERR_OK)
        fail_text(t, it, KE_INVALID_REQUEST, &why);
    props_fini(&all);
}

static void alter_one(struct alter_task *t, struct alter_item *it)
{
    struct request *r = t->task.request;
    const char *type = it->type == CONFIG_TOPIC ? "topics" : "brokers";
    const char *name = it->name.len == 0 ? ZKADMIN_DEFAULT_ENTITY : api_strdup_str(r, it->name);
    struct zkdoc_config old = {NULL, 0}, config = {NULL, 0};
    struct errtext why = {.text = ""};
    int16_t error = name == NULL ? (int16_t)KE_UNKNOWN_SERVER_ERROR : (int16_t)KE_NONE;
    if (error == KE_NONE && t->is_incremental)
        error = zkadmin_read_entity_config(r->broker->coord, type, name, &r->arena, &old, &why);
    if (error != KE_NONE) {
        fail_text(t, it, error, &why);
        return;
    }
    config.entries = api_alloc(r, (size_t)old.count + (size_t)it->count, sizeof *config.entries);
    if (config.entries == NULL) {
        fail(it, KE_UNKNOWN_SERVER_ERROR, "not enough memory for the request");
        return;
    }
    for (int32_t i = 0; i < old.count; i++)
        config.entries[config.count++] = old.entries[i];
    for (int32_t i = 0; i < it->count; i++)
        apply_change(t, it, &it->changes[i], &config);
    qsort(config.entries, (size_t)config.count, sizeof *config.entries, kv_cmp);
    if (it->type == CONFIG_TOPIC)
        check_topic_config(t, it, &config);
    else
        check_broker_changes(t, it, &config);
    if (it->error != KE_NONE || t->validate_only)
        return;
    error = zkadmin_set_entity_config(r->broker->coord, type, name, &config, true, &why);
    if (error != KE_NONE)
        fail_text(t, it, error, &why);
    else
        SLOG(INFO, "api", "altered configs", KV_S("type", type), KV_S("name", name),
             KV_STR("client_id", r->client_id), KV_STR("host", r->client_host));
}

static void alter_io(struct task *task)
{
    struct alter_task *t = CONTAINER_OF(task, struct alter_task, task);
    for (int32_t i = 0; i < t->count; i++)
        if (t->items[i].error == KE_NONE)
            alter_one(t, &t->items[i]);
}

/* ---- checks, on the loop */

static void check_changes(struct alter_task *t, struct alter_item *it)
{
    struct errtext why;
    if (it->count > CHANGES_MAX)
        fail(it, KE_INVALID_REQUEST, "at most 1000 configs of a resource in one request");
    for (int32_t i = 0; i < it->count && it->error == KE_NONE; i++) {
        const struct alter_change *c = &it->changes[i];
        for (int32_t j = 0; j < i; j++)
            if (str_eq(it->changes[j].name, c->name))
                fail(it, KE_INVALID_REQUEST, "the request names a config twice");
        if (c->op < OP_SET || c->op > OP_SUBTRACT)
            fail(it, KE_INVALID_REQUEST, "the operation must be SET, DELETE, APPEND or SUBTRACT");
        if (c->op == OP_DELETE)
            continue;
        if (c->value.len < 0) {
            errtext_set(&why, "%.*s: null is no value", STR_ARG(c->name));
            fail_text(t, it, KE_INVALID_REQUEST, &why);
        } else if (it->type == CONFIG_TOPIC && option_of(it, c->name) == NULL) {
            const char *name = api_strdup_str(t->task.request, c->name);
            topic_option_unknown(name == NULL ? "" : name, &why);
            fail_text(t, it, KE_INVALID_CONFIG, &why);
        }
    }
}

static void check_item(struct alter_task *t, struct request *r, struct alter_item *it)
{
    char id[16];
    snprintf(id, sizeof id, "%d", r->broker->id);
    if (t->count > RESOURCES_MAX) {
        fail(it, KE_INVALID_REQUEST, "at most 4000 resources in one request");
        return;
    }
    for (struct alter_item *other = t->items; other != it; other++)
        if (other->type == it->type && str_eq(other->name, it->name)) {
            fail(other, KE_INVALID_REQUEST, "the request names this resource twice");
            fail(it, KE_INVALID_REQUEST, "the request names this resource twice");
        }
    if (it->type == CONFIG_TOPIC) {
        if (!authorize(r, ACL_ALTER_CONFIGS, ACL_TOPIC, it->name))
            fail(it, KE_TOPIC_AUTHORIZATION_FAILED, "not allowed to alter this topic's configs");
        else if (it->name.len == 0)
            fail(it, KE_INVALID_REQUEST, "defaults of topics are options of the brokers");
        else if (metadata_topic(metadata_current(r), it->name) == NULL)
            fail(it, KE_UNKNOWN_TOPIC_OR_PARTITION, "no topic has this name");
    } else if (it->type == CONFIG_BROKER) {
        if (!api_cluster_allowed(r, ACL_ALTER_CONFIGS))
            fail(it, KE_CLUSTER_AUTHORIZATION_FAILED, "not allowed to alter the brokers' configs");
        else if (it->name.len > 0 && !str_eq_z(it->name, id))
            fail(it, KE_INVALID_REQUEST,
                 "a broker's configs are altered through that broker only; name \"\" for all");
    } else {
        fail(it, KE_INVALID_REQUEST,
             "configs of this resource type can't be altered here: 2 (topic) and 4 (broker) can");
    }
    if (it->error == KE_NONE)
        check_changes(t, it);
}

/* ---- answers */

static void answer_alter(struct alter_task *t)
{
    struct request *r = t->task.request;
    struct kp_AlterConfigsResponse a;
    kp_defaults(&kp_AlterConfigsResponse_schema, &a);
    a.responses = api_alloc(r, (size_t)t->count, sizeof *a.responses);
    if (a.responses == NULL) {
        api_no_memory(r);
        return;
    }
    a.responses_count = t->count;
    for (int32_t i = 0; i < t->count; i++)
        a.responses[i] = (struct kp_AlterConfigsResponse_AlterConfigsResourceResponse){
            .error_code = t->items[i].error,
            .error_message = str_of(t->items[i].message),
            .resource_type = t->items[i].type,
            .resource_name = t->items[i].name};
    request_reply(r, &a);
}

static void answer_incremental(struct alter_task *t)
{
    struct request *r = t->task.request;
    struct kp_IncrementalAlterConfigsResponse a;
    kp_defaults(&kp_IncrementalAlterConfigsResponse_schema, &a);
    a.responses = api_alloc(r, (size_t)t->count, sizeof *a.responses);
    if (a.responses == NULL) {
        api_no_memory(r);
        return;
    }
    a.responses_count = t->count;
    for (int32_t i = 0; i < t->count; i++)
        a.responses[i] = (struct kp_IncrementalAlterConfigsResponse_AlterConfigsResourceResponse){
            .error_code = t->items[i].error,
            .error_message = str_of(t->items[i].message),
            .resource_type = t->items[i].type,
            .resource_name = t->items[i].name};
    request_reply(r, &a);
}

static void alter_finish(struct task *task, bool is_timed_out)
{
    struct alter_task *t = CONTAINER_OF(task, struct alter_task, task);
    (void)is_timed_out;
    if (t->is_incremental)
        answer_incremental(t);
    else
        answer_alter(t);
}

static void alter_start(struct alter_task *t, struct request *r)
{
    t->task.request = r;
    for (int32_t i = 0; i < t->count; i++)
        check_item(t, r, &t->items[i]);
    t->task.io = alter_io;
    t->task.needs_coord = true;
    t->task.finish = alter_finish;
    enum err rc = task_start(&t->task, r);
    if (rc == ERR_OK)
        return;
    for (int32_t i = 0; i < t->count; i++)
        fail(&t->items[i], KE_REQUEST_TIMED_OUT, task_refusal_text(rc));
    alter_finish(&t->task, false);
}

/* Memory for count resources; NULL: none. */
static struct alter_task *alter_new(struct request *r, int32_t count)
{
    struct alter_task *t = api_alloc(r, 1, sizeof *t);
    struct alter_item *items = api_alloc(r, (size_t)i32_max(count, 0), sizeof *items);
    if (t == NULL || items == NULL)
        return NULL;
    t->items = items;
    t->count = i32_max(count, 0);
    return t;
}

void api_alter_configs(struct request *r)
{
    CHECK_OBJ(r, REQUEST_MAGIC);
    const struct kp_AlterConfigsRequest *req = r->body;
    struct alter_task *t = alter_new(r, req->resources_count);
    bool ok = t != NULL;
    for (int32_t i = 0; ok && i < t->count; i++) {
        const struct kp_AlterConfigsRequest_AlterConfigsResource *from = &req->resources[i];
        struct alter_item *it = &t->items[i];
        it->type = from->resource_type;
        it->name = from->resource_name;
        it->count = i32_max(from->configs_count, 0);
        it->changes = api_alloc(r, (size_t)it->count, sizeof *it->changes);
        ok = it->changes != NULL;
        for (int32_t j = 0; ok && j < it->count; j++)
            it->changes[j] = (struct alter_change){
                .name = from->configs[j].name, .value = from->configs[j].value, .op = OP_SET};
    }
    if (!ok) {
        api_no_memory(r);
        return;
    }
    t->validate_only = req->validate_only;
    alter_start(t, r);
}

void api_incremental_alter_configs(struct request *r)
{
    CHECK_OBJ(r, REQUEST_MAGIC);
    const struct kp_IncrementalAlterConfigsRequest *req = r->body;
    struct alter_task *t = alter_new(r, req->resources_count);
    bool ok = t != NULL;
    for (int32_t i = 0; ok && i < t->count; i++) {
        const struct kp_IncrementalAlterConfigsRequest_AlterConfigsResource *from =
            &req->resources[i];
        struct alter_item *it = &t->items[i];
        it->type = from->resource_type;
        it->name = from->resource_name;
        it->count = i32_max(from->configs_count, 0);
        it->changes = api_alloc(r, (size_t)it->count, sizeof *it->changes);
        ok = it->changes != NULL;
        for (int32_t j = 0; ok && j < it->count; j++)
            it->changes[j] = (struct alter_change){.name = from->configs[j].name,
                                                   .value = from->configs[j].value,
                                                   .op = from->configs[j].config_operation};
    }
    if (!ok) {
        api_no_memory(r);
        return;
    }
    t->is_incremental = true;
    t->validate_only = req->validate_only;
    alter_start(t, r);
}
