/* SPDX-License-Identifier: Apache-2.0 */
/* describe_configs - DescribeConfigs (32). Overrides of topics are read from the coordination
 * service by an io thread; the broker's own values are at hand. */
#include "broker/api/api.h"
#include "broker/api/config_entries.h"
#include "broker/api/handlers.h"
#include "broker/api/task.h"
#include "broker/config/config.h"
#include "common/base/topic_name.h"
#include "common/protocol/codec.h"
#include "common/zk/zkadmin.h"

#include <stdio.h>

struct describe_task {
    struct task task;
    struct kp_DescribeConfigsResponse response;
    bool no_memory;
};
typedef struct kp_DescribeConfigsResponse_DescribeConfigsResult result;

static const struct kp_DescribeConfigsRequest *req_of(const struct describe_task *t)
{
    return t->task.request->body;
}

static void fail(result *a, int16_t error, const char *message)
{
    a->error_code = error;
    a->error_message = str_of(message);
}

/* ---- entries */

static bool is_wanted(const struct kp_DescribeConfigsRequest_DescribeConfigsResource *from,
                      const char *name)
{
    if (from->configuration_keys_count <= 0)
        return true; /* null or empty: all */
    for (int32_t i = 0; i < from->configuration_keys_count; i++)
        if (str_eq_z(from->configuration_keys[i], name))
            return true;
    return false;
}

static void add_synonyms(struct describe_task *t, const struct config_entry *e,
                         struct kp_DescribeConfigsResponse_DescribeConfigsResourceResult *a)
{
    struct kp_DescribeConfigsResponse_DescribeConfigsSynonym *s =
        api_alloc(t->task.request, (size_t)e->layer_count, sizeof *s);
    t->no_memory |= s == NULL;
    if (s == NULL)
        return;
    for (int32_t i = 0; i < e->layer_count; i++)
        s[i] = (struct kp_DescribeConfigsResponse_DescribeConfigsSynonym){
            .name = str_of(e->layers[i].name),
            .value = str_of(e->layers[i].value),
            .source = (int8_t)e->layers[i].source};
    a->synonyms = s;
    a->synonyms_count = e->layer_count;
}

static struct str documentation(struct describe_task *t, const struct option *o)
{
    struct buf text = {0};
    if (o == NULL)
        return STR_LIT("It " OPTION_NO_EFFECT "this broker does not know it");
    if (option_has_effect(o))
        return str_of(o->help);
    buf_printf(&text, "%s. It " OPTION_NO_EFFECT "%s", o->help, o->why);
    struct str copy = api_strdup(t->task.request, buf_cstr(&text));
    t->no_memory |= copy.p == NULL;
    buf_fini(&text);
    return copy;
}

static int8_t told_type(const struct option *o)
{
    return o == NULL                                 ? 0
           : (o->flags & OPTION_TOLD_AS_STRING) != 0 ? (int8_t)OPTION_STRING
                                                     : (int8_t)o->type;
}

static void add_entry(struct describe_task *t, result *to, const struct config_entry *e)
{
    struct kp_DescribeConfigsResponse_DescribeConfigsResourceResult *a =
        &to->configs[to->configs_count++];
    kp_defaults(&kp_DescribeConfigsResponse_DescribeConfigsResourceResult_schema, a);
    a->name = str_of(e->name);
    a->value = str_of(e->value);
    a->read_only = e->is_read_only;
    a->is_default = t->task.request->api_version == 0 && e->source == CONFIG_SOURCE_DEFAULT;
    a->config_source = (int8_t)e->source;
    a->is_sensitive = e->is_sensitive;
    a->config_type = told_type(e->option);
    a->documentation = req_of(t)->include_documentation ? documentation(t, e->option) : STR_NULL;
    if (req_of(t)->include_synonyms)
        add_synonyms(t, e, a);
}

static bool alloc_entries(struct describe_task *t, result *to, size_t max)
{
    to->configs = api_alloc(t->task.request, max, sizeof *to->configs);
    t->no_memory |= to->configs == NULL;
    return to->configs != NULL;
}

/* ---- resources, on an io thread */

static void read_overrides(struct describe_task *t, const char *type, const char *name, result *to,
                           struct zkdoc_config *out)
{
    struct request *r = t->task.request;
    struct errtext why = {.text = ""};
    int16_t error = zkadmin_read_entity_config(r->broker->coord, type, name, &r->arena, out, &why);
    if (error != KE_NONE)
        fail(to, error, api_strdup(r, why.text).p);
}

static void describe_topic(struct describe_task *t,
                           const struct kp_DescribeConfigsRequest_DescribeConfigsResource *from,
                           result *to)
{
    struct zkdoc_config overrides;
    const char *name = api_strdup_str(t->task.request, from->resource_name);
    t->no_memory |= name == NULL;
    if (name == NULL || !alloc_entries(t, to, topic_options.count))
        return;
    read_overrides(t, "topics", name, to, &overrides);
    for (size_t i = 0; to->error_code == KE_NONE && i < topic_options.count; i++) {
        struct config_entry e;
        if (!is_wanted(from, topic_options.rows[i].name))
            continue;
        if (!config_entry_topic(t->task.request, &topic_options.rows[i], &overrides, &e))
            t->no_memory = true;
        else
            add_entry(t, to, &e);
    }
}

static void describe_broker(struct describe_task *t,
                            const struct kp_DescribeConfigsRequest_DescribeConfigsResource *from,
                            result *to)
{
    if (!alloc_entries(t, to, config_options.count))
        return;
    for (size_t i = 0; i < config_options.count; i++) {
        const struct option *o = &config_options.rows[i];
        struct config_entry e;
        if ((o->flags & OPTION_OLD_NAME) != 0 || !is_wanted(from, o->name))
            continue;
        config_entry_broker(t->task.request, o, &e);
        add_entry(t, to, &e);
    }
}

/* The cluster-wide dynamic values: only what is set. */
static void describe_default(struct describe_task *t,
                             const struct kp_DescribeConfigsRequest_DescribeConfigsResource *from,
                             result *to)
{
    struct zkdoc_config set;
    read_overrides(t, "brokers", ZKADMIN_DEFAULT_ENTITY, to, &set);
    if (to->error_code != KE_NONE || !alloc_entries(t, to, (size_t)set.count))
        return;
    for (int32_t i = 0; i < set.count; i++) {
        struct config_entry e;
        config_entry_default(&set.entries[i], &e);
        if (is_wanted(from, e.name))
            add_entry(t, to, &e);
    }
}

static void describe_io(struct task *task)
{
    struct describe_task *t = CONTAINER_OF(task, struct describe_task, task);
    for (int32_t i = 0; i < t->response.results_count; i++) {
        const struct kp_DescribeConfigsRequest_DescribeConfigsResource *from =
            &req_of(t)->resources[i];
        result *to = &t->response.results[i];
        if (to->error_code != KE_NONE)
            continue;
        if (from->resource_type == CONFIG_TOPIC)
            describe_topic(t, from, to);
        else if (from->resource_name.len <= 0)
            describe_default(t, from, to);
        else
            describe_broker(t, from, to);
    }
}

static void describe_finish(struct task *task, bool is_timed_out)
{
    struct describe_task *t = CONTAINER_OF(task, struct describe_task, task);
    (void)is_timed_out;
    if (t->no_memory)
        api_no_memory(task->request);
    else
        request_reply(task->request, &t->response);
}

/* ---- checks, on the loop */

static void check_topic(struct request *r, struct str name, result *to)
{
    if (!authorize(r, ACL_DESCRIBE_CONFIGS, ACL_TOPIC, name))
        fail(to, KE_TOPIC_AUTHORIZATION_FAILED, "not allowed to describe this topic's configs");
    else if (!topic_name_is_valid(name))
        fail(to, KE_INVALID_TOPIC_EXCEPTION, topic_name_fault(name));
    else if (metadata_topic(metadata_current(r), name) == NULL)
        fail(to, KE_UNKNOWN_TOPIC_OR_PARTITION, "no topic has this name");
}

static void check_broker(struct request *r, struct str name, result *to)
{
    char id[16];
    snprintf(id, sizeof id, "%d", r->broker->id);
    if (!api_cluster_allowed(r, ACL_DESCRIBE_CONFIGS))
        fail(to, KE_CLUSTER_AUTHORIZATION_FAILED, "not allowed to describe the brokers' configs");
    else if (name.len > 0 && !str_eq_z(name, id))
        fail(to, KE_INVALID_REQUEST,
             "a broker's configs are told by that broker only: ask it, or \"\" for the cluster's");
}

static void check(struct request *r,
                  const struct kp_DescribeConfigsRequest_DescribeConfigsResource *from, result *to)
{
    kp_defaults(&kp_DescribeConfigsResponse_DescribeConfigsResult_schema, to);
    to->resource_type = from->resource_type;
    to->resource_name = from->resource_name;
    to->error_message = STR_NULL;
    if (from->resource_type == CONFIG_TOPIC)
        check_topic(r, from->resource_name, to);
    else if (from->resource_type == CONFIG_BROKER)
        check_broker(r, from->resource_name, to);
    else
        fail(to, KE_INVALID_REQUEST,
             "this resource type has no configs here: 2 (topic) and 4 (broker) have");
}

void api_describe_configs(struct request *r)
{
    CHECK_OBJ(r, REQUEST_MAGIC);
    const struct kp_DescribeConfigsRequest *req = r->body;
    struct describe_task *t = api_alloc(r, 1, sizeof *t);
    size_t count = (size_t)i32_max(req->resources_count, 0);
    result *results = api_alloc(r, count, sizeof *results);
    if (t == NULL || results == NULL) {
        api_no_memory(r);
        return;
    }
    kp_defaults(&kp_DescribeConfigsResponse_schema, &t->response);
    t->response.results = results;
    t->response.results_count = (int32_t)count;
    for (size_t i = 0; i < count; i++) {
        check(r, &req->resources[i], &results[i]);
        t->task.needs_coord |=
            results[i].error_code == KE_NONE && (req->resources[i].resource_type == CONFIG_TOPIC ||
                                                 req->resources[i].resource_name.len <= 0);
    }
    t->task.io = describe_io;
    t->task.finish = describe_finish;
    enum err rc = task_start(&t->task, r);
    if (rc == ERR_OK)
        return;
    for (size_t i = 0; i < count; i++)
        if (results[i].error_code == KE_NONE)
            fail(&results[i], KE_REQUEST_TIMED_OUT, task_refusal_text(rc));
    request_reply(r, &t->response);
}
