/* SPDX-License-Identifier: Apache-2.0 */
/* kafuka-configs: shows and changes configurations of topics and brokers, through a broker (here)
 * or, for topics, through ZooKeeper (configs_zk.c). */
#include "tools/configs.h"

#include "common/base/fsx.h"
#include "tools/lib/admin.h"
#include "tools/lib/tool.h"
#include "tools/lib/topic_config.h"
#include "tools/lib/topics.h"

#include <stdio.h>
#include <stdlib.h>

enum { RESOURCE_TOPIC = 2, RESOURCE_BROKER = 4 };
enum { OP_SET = 0, OP_DELETE = 1 };
enum {
    SOURCE_TOPIC = 1,
    SOURCE_DYNAMIC_BROKER = 2,
    SOURCE_DYNAMIC_DEFAULT = 3,
};

static const struct opt_spec specs[] = {
    ADMIN_OPTIONS,
    {"zookeeper", OPT_TEXT, "host:port,.../chroot",
     "In place of --bootstrap-server, for topics only: read and write the znodes directly.", 0, 0},
    {"describe", OPT_FLAG, NULL, "Show the configuration of a topic or broker.", 0, 0},
    {"alter", OPT_FLAG, NULL, "Change the configuration of a topic or broker.", 0, 0},
    {"entity-type", OPT_TEXT, "type", "The kind of what is shown or changed: topics or brokers.", 0,
     0},
    {"entity-name", OPT_TEXT, "name", "The name of the topic, or the id of the broker.", 0, 0},
    {"entity-default", OPT_FLAG, NULL,
     "The configurations of all brokers together: each wins over the properties file of a broker, "
     "but not over what is set for the broker itself.",
     0, 0},
    {"topic", OPT_TEXT, "topic",
     "The topic with this name; short for --entity-type topics --entity-name.", 0, 0},
    {"broker", OPT_TEXT, "id",
     "The broker with this id; short for --entity-type brokers --entity-name.", 0, 0},
    {"broker-defaults", OPT_FLAG, NULL,
     "The configurations of all brokers together; short for --entity-type brokers "
     "--entity-default.",
     0, 0},
    {"all", OPT_FLAG, NULL,
     "With --describe: show also the configurations that are not set, with their defaults.", 0, 0},
    {"add-config", OPT_LIST, "name=value,...",
     "With --alter: set these configurations. A value with commas stands in brackets: "
     "cleanup.policy=[compact,delete].",
     0, 0},
    {"add-config-file", OPT_TEXT, "file",
     "With --alter: set the configurations in this properties file.", 0, 0},
    {"delete-config", OPT_LIST, "name,...",
     "With --alter: remove these configurations, so that their defaults apply again.", 0, 0},
    {"force", OPT_FLAG, NULL, "Has no effect: no command asks for confirmation.", 0, 0},
};

static const struct opt_command command = {
    .name = "configs",
    .summary = "shows and changes configurations of topics and brokers.",
    .specs = specs,
    .spec_count = ARRAY_LEN(specs),
    .examples = "--bootstrap-server localhost:9092 --describe --topic orders\n"
                "--bootstrap-server localhost:9092 --describe --topic orders --all\n"
                "--bootstrap-server localhost:9092 --alter --topic orders --add-config "
                "retention.ms=3600000\n"
                "--bootstrap-server localhost:9092 --alter --topic orders --delete-config "
                "retention.ms\n"
                "--bootstrap-server localhost:9092 --describe --entity-type brokers\n",
};

enum err configs_parse_add(const char *text, struct props *out, struct errtext *why)
{
    while (*text != '\0') {
        size_t name_len = strcspn(text, "=,"), value_len;
        const char *value;
        char *name, *copy;

        if (text[name_len] != '=' || name_len == 0) {
            errtext_set(why, "--add-config takes name=value[,name=value...], not '%s'", text);
            return ERR_INVALID;
        }
        value = text + name_len + 1;
        if (*value == '[') {
            const char *end = strchr(value, ']');

            if (end == NULL || (end[1] != '\0' && end[1] != ',')) {
                errtext_set(why, "--add-config: the bracket of %.*s does not end before a comma",
                            (int)name_len, text);
                return ERR_INVALID;
            }
            value_len = (size_t)(end - ++value);
            text = end + 1;
        } else {
            value_len = strcspn(value, ",");
            text = value + value_len;
        }
        name = xstrndup(value - (value[-1] == '[') - 1 - name_len, name_len);
        copy = xstrndup(value, value_len);
        props_set(out, name, copy, 0);
        mem_free(name);
        mem_free(copy);
        text += *text == ',';
    }
    return ERR_OK;
}

enum err configs_collect(const struct opts *o, struct configs_change *out, struct errtext *why)
{
    size_t count;
    const char *const *list = opts_list(o, "add-config", &count);
    enum err rc = ERR_OK;

    *out = (struct configs_change){0};
    if (opts_has(o, "add-config-file"))
        rc = props_read_file(&out->add, opts_text(o, "add-config-file", ""), why);
    for (size_t i = 0; rc == ERR_OK && i < count; i++)
        rc = configs_parse_add(list[i], &out->add, why);
    list = opts_list(o, "delete-config", &count);
    for (size_t i = 0; rc == ERR_OK && i < count; i++) {
        for (const char *p = list[i]; *p != '\0';) {
            size_t len = strcspn(p, ",");

            if (len > 0) {
                out->remove = xrealloc(out->remove, (out->remove_count + 1) * sizeof *out->remove);
                out->remove[out->remove_count++] = xstrndup(p, len);
            }
            p += len + (p[len] == ',');
        }
    }
    return rc;
}

void configs_change_fini(struct configs_change *c)
{
    props_fini(&c->add);
    for (size_t i = 0; i < c->remove_count; i++)
        mem_free(c->remove[i]);
    FREE_NULL(&c->remove);
}

static const char *source_name(int8_t source)
{
    static const char *const names[] = {"UNKNOWN",
                                        "DYNAMIC_TOPIC_CONFIG",
                                        "DYNAMIC_BROKER_CONFIG",
                                        "DYNAMIC_DEFAULT_BROKER_CONFIG",
                                        "STATIC_BROKER_CONFIG",
                                        "DEFAULT_CONFIG",
                                        "DYNAMIC_BROKER_LOGGER_CONFIG"};
    size_t i = source < 0 ? 0 : (size_t)source;

    return i < ARRAY_LEN(names) ? names[i] : names[0];
}

static int by_name(const void *x, const void *y)
{
    const struct kp_DescribeConfigsResponse_DescribeConfigsResourceResult *a = x, *b = y;

    return str_cmp(a->name, b->name);
}

void configs_print_entry(const struct kp_DescribeConfigsResponse_DescribeConfigsResourceResult *c,
                         struct buf *out)
{
    buf_printf(out, "  %.*s=%.*s sensitive=%s synonyms={", STR_ARG(c->name),
               STR_ARG(c->value.len < 0 ? STR_LIT("null") : c->value),
               c->is_sensitive ? "true" : "false");
    for (int32_t i = 0; i < c->synonyms_count; i++) {
        const struct kp_DescribeConfigsResponse_DescribeConfigsSynonym *s = &c->synonyms[i];

        buf_printf(out, "%s%s:%.*s=%.*s", i == 0 ? "" : ", ", source_name(s->source),
                   STR_ARG(s->name), STR_ARG(s->value.len < 0 ? STR_LIT("null") : s->value));
    }
    buf_printf(out, "}\n");
}

/* Whether an entry was set for this entity itself. */
static bool is_own(const struct kp_DescribeConfigsResponse_DescribeConfigsResourceResult *c,
                   int8_t type, const char *name)
{
    if (type == RESOURCE_TOPIC)
        return c->config_source == SOURCE_TOPIC;
    return c->config_source == (name[0] == '\0' ? SOURCE_DYNAMIC_DEFAULT : SOURCE_DYNAMIC_BROKER);
}

static int32_t broker_node(int8_t type, const char *name)
{
    int64_t id;

    if (type == RESOURCE_BROKER && opt_number(name, 0, INT32_MAX, &id))
        return (int32_t)id;
    return ADMIN_ANY;
}

/* One entity's configurations, fetched. */
static enum err fetch(struct admin *a, int8_t type, const char *name,
                      struct kp_DescribeConfigsResponse *out, struct errtext *why)
{
    struct kp_DescribeConfigsRequest request;
    struct kp_DescribeConfigsRequest_DescribeConfigsResource resource;
    enum err rc;

    kp_defaults(&kp_DescribeConfigsRequest_schema, &request);
    kp_defaults(&kp_DescribeConfigsRequest_DescribeConfigsResource_schema, &resource);
    resource.resource_type = type;
    resource.resource_name = str_of(name);
    resource.configuration_keys_count = -1;
    request.resources = &resource;
    request.resources_count = 1;
    request.include_synonyms = true;
    request.include_documentation = true;
    rc = admin_call(a, broker_node(type, name), KP_API_DESCRIBE_CONFIGS, BCLIENT_NEWEST, &request,
                    out, NULL, why);
    if (rc != ERR_OK)
        return rc;
    if (out->results_count != 1) {
        errtext_set(why, "the broker answered for %d entities instead of 1", out->results_count);
        return ERR_PROTOCOL;
    }
    if (out->results[0].error_code != KE_NONE) {
        errtext_set(why, "%s %s: %s", type == RESOURCE_TOPIC ? "topic" : "broker", name,
                    admin_error(a, out->results[0].error_code, out->results[0].error_message));
        return ERR_NOT_FOUND;
    }
    return ERR_OK;
}

static int describe_one(struct admin *a, const struct opts *o, int8_t type, const char *name)
{
    struct kp_DescribeConfigsResponse response;
    struct kp_DescribeConfigsResponse_DescribeConfigsResult *r;
    struct errtext why = {{0}};
    struct buf out = {0};
    bool all = opts_has(o, "all");

    if (name[0] == '\0')
        printf("%s configs for brokers in the cluster are:\n", all ? "All" : "Default");
    else
        printf("%s configs for %s %s are:\n", all ? "All" : "Dynamic",
               type == RESOURCE_TOPIC ? "topic" : "broker", name);
    if (fetch(a, type, name, &response, &why) != ERR_OK)
        return opts_fail(o, "%s", why.text);
    r = &response.results[0];
    if (r->configs_count > 1)
        qsort(r->configs, (size_t)r->configs_count, sizeof *r->configs, by_name);
    for (int32_t i = 0; i < r->configs_count; i++)
        if (all || is_own(&r->configs[i], type, name))
            configs_print_entry(&r->configs[i], &out);
    if (out.len > 0)
        (void)fwrite(out.p, 1, out.len, stdout);
    buf_fini(&out);
    return 0;
}

static int describe_topics(struct admin *a, const struct opts *o)
{
    struct kp_MetadataResponse m;
    struct errtext why = {{0}};
    const char **names;
    int rc = 0;

    if (admin_metadata(a, NULL, 0, &m, &why) != ERR_OK)
        return opts_fail(o, "%s", why.text);
    names = admin_alloc(a, (size_t)i32_max(m.topics_count, 0), sizeof *names);
    for (int32_t i = 0; i < m.topics_count; i++)
        names[i] = m.topics[i].name.len <= 0
                       ? ""
                       : arena_strdup(&a->arena, m.topics[i].name.p, (size_t)m.topics[i].name.len);
    if (m.topics_count > 1)
        qsort(names, (size_t)m.topics_count, sizeof *names, configs_by_text);
    for (int32_t i = 0; rc == 0 && i < m.topics_count; i++)
        if (names[i][0] != '\0')
            rc = describe_one(a, o, RESOURCE_TOPIC, names[i]);
    return rc;
}

static int describe_brokers(struct admin *a, const struct opts *o)
{
    struct errtext why = {{0}};
    int rc = 0;

    if (admin_brokers(a, &why) != ERR_OK)
        return opts_fail(o, "%s", why.text);
    for (int32_t i = 0; rc == 0 && i < a->metadata.brokers_count; i++) {
        char id[16];

        (void)snprintf(id, sizeof id, "%d", a->metadata.brokers[i].node_id);
        rc = describe_one(a, o, RESOURCE_BROKER, id);
    }
    return rc != 0 ? rc : describe_one(a, o, RESOURCE_BROKER, "");
}

int configs_by_text(const void *x, const void *y)
{
    const char *const *a = x, *const *b = y;

    return strcmp(*a, *b);
}

/* What was set and does nothing, as the broker's documentation says of its own options. */
static void tell_no_effect(struct admin *a, int8_t type, const char *name,
                           const struct configs_change *change)
{
    struct kp_DescribeConfigsResponse now;
    struct errtext why = {{0}};

    if (change->add.count == 0 || fetch(a, type, name, &now, &why) != ERR_OK)
        return;
    for (size_t i = 0; i < change->add.count; i++)
        for (int32_t k = 0; k < now.results[0].configs_count; k++)
            if (str_eq_z(now.results[0].configs[k].name, change->add.list[i].key))
                topic_config_tell_documented(change->add.list[i].key,
                                             now.results[0].configs[k].documentation);
}

static int alter(struct admin *a, const struct opts *o, int8_t type, const char *name,
                 const struct configs_change *change)
{
    struct kp_IncrementalAlterConfigsRequest request;
    struct kp_IncrementalAlterConfigsRequest_AlterConfigsResource resource;
    struct kp_IncrementalAlterConfigsResponse response;
    struct kp_DescribeConfigsResponse now;
    struct errtext why = {{0}};
    struct buf unset = {0};
    size_t n = 0;

    if (fetch(a, type, name, &now, &why) != ERR_OK)
        return opts_fail(o, "%s", why.text);
    for (size_t i = 0; i < change->remove_count; i++) {
        bool is_set = false;

        for (int32_t k = 0; k < now.results[0].configs_count; k++)
            is_set |= str_eq_z(now.results[0].configs[k].name, change->remove[i]) &&
                      is_own(&now.results[0].configs[k], type, name);
        if (!is_set)
            buf_printf(&unset, "%s%s", unset.len == 0 ? "" : ",", change->remove[i]);
    }
    if (unset.len > 0) {
        (void)opts_fail(o, "Invalid config(s): %s (not set, so it cannot be deleted)",
                        buf_cstr(&unset));
        buf_fini(&unset);
        return 1;
    }
    kp_defaults(&kp_IncrementalAlterConfigsRequest_schema, &request);
    kp_defaults(&kp_IncrementalAlterConfigsRequest_AlterConfigsResource_schema, &resource);
    request.resources = &resource;
    request.resources_count = 1;
    resource.resource_type = type;
    resource.resource_name = str_of(name);
    resource.configs =
        admin_alloc(a, change->add.count + change->remove_count, sizeof *resource.configs);
    for (size_t i = 0; i < change->add.count; i++, n++) {
        resource.configs[n].name = str_of(change->add.list[i].key);
        resource.configs[n].value = str_of(change->add.list[i].value);
        resource.configs[n].config_operation = OP_SET;
    }
    for (size_t i = 0; i < change->remove_count; i++, n++) {
        resource.configs[n].name = str_of(change->remove[i]);
        resource.configs[n].value = STR_NULL;
        resource.configs[n].config_operation = OP_DELETE;
    }
    resource.configs_count = (int32_t)n;
    if (admin_call(a, broker_node(type, name), KP_API_INCREMENTAL_ALTER_CONFIGS, BCLIENT_NEWEST,
                   &request, &response, NULL, &why) != ERR_OK)
        return opts_fail(o, "%s", why.text);
    if (response.responses_count != 1 || response.responses[0].error_code != KE_NONE)
        return opts_fail(o, "%s",
                         response.responses_count != 1
                             ? "the broker's answer is incomplete"
                             : admin_error(a, response.responses[0].error_code,
                                           response.responses[0].error_message));
    if (name[0] == '\0')
        printf("Completed updating default config for brokers in the cluster.\n");
    else
        printf("Completed updating config for %s %s.\n",
               type == RESOURCE_TOPIC ? "topic" : "broker", name);
    tell_no_effect(a, type, name, change);
    return 0;
}

/* What the options name: type and name; name NULL: all of the type. -1 to go on. */
static int choose_entity(const struct opts *o, int8_t *type_out, const char **name_out)
{
    const char *type = opts_text(o, "entity-type", NULL);
    const char *name = opts_text(o, "entity-name", NULL);
    int64_t id;

    if (opts_has(o, "topic") + opts_has(o, "broker") + opts_has(o, "broker-defaults") +
            (type != NULL) !=
        1)
        return opts_fail(o, "At least one entity type must be specified, and only one: --topic, "
                            "--broker, --broker-defaults or --entity-type");
    if (opts_has(o, "topic")) {
        type = "topics";
        name = opts_text(o, "topic", NULL);
    } else if (opts_has(o, "broker") || opts_has(o, "broker-defaults")) {
        type = "brokers";
        name = opts_text(o, "broker", "");
    } else if (opts_has(o, "entity-default")) {
        name = "";
    }
    if (strcmp(type, "topics") == 0)
        *type_out = RESOURCE_TOPIC;
    else if (strcmp(type, "brokers") == 0)
        *type_out = RESOURCE_BROKER;
    else
        return opts_fail(o, "--entity-type '%s' is not supported yet: topics or brokers", type);
    if (*type_out == RESOURCE_TOPIC && name != NULL && name[0] == '\0')
        return opts_fail(o, "topics have no default of their own: set it in the brokers' "
                            "configuration");
    if (*type_out == RESOURCE_BROKER && name != NULL && name[0] != '\0' &&
        !opt_number(name, 0, INT32_MAX, &id))
        return opts_fail(o,
                         "The entity name for brokers must be a valid integer broker id, found: "
                         "%s",
                         name);
    *name_out = name;
    return -1;
}

static int run_with_broker(const struct opts *o, int8_t type, const char *name,
                           const struct configs_change *change)
{
    struct admin a;
    struct errtext why = {{0}};
    int rc = admin_start(&a, o);

    if (rc >= 0)
        return rc;
    if (admin_brokers(&a, &why) != ERR_OK)
        rc = opts_fail(o, "%s", why.text);
    else if (opts_has(o, "alter"))
        rc = alter(&a, o, type, name, change);
    else if (name != NULL)
        rc = describe_one(&a, o, type, name);
    else
        rc = type == RESOURCE_TOPIC ? describe_topics(&a, o) : describe_brokers(&a, o);
    admin_close(&a);
    return rc;
}

static int run(const struct opts *o)
{
    struct configs_change change;
    struct errtext why = {{0}};
    const char *name = NULL;
    int8_t type = 0;
    int rc;

    if (opts_has(o, "alter") == opts_has(o, "describe"))
        return opts_fail(o, "Command must include exactly one action: --describe, --alter");
    if (opts_has(o, "bootstrap-server") == opts_has(o, "zookeeper"))
        return opts_fail(o, "exactly one of --bootstrap-server and --zookeeper must be specified, "
                            "for example --bootstrap-server localhost:9092");
    rc = choose_entity(o, &type, &name);
    if (rc >= 0)
        return rc;
    if (opts_has(o, "alter") && name == NULL)
        return opts_fail(o, "an entity name must be specified with --alter: --entity-name <name>");
    if (configs_collect(o, &change, &why) != ERR_OK)
        rc = opts_fail(o, "%s", why.text);
    else if (opts_has(o, "alter") && change.add.count == 0 && change.remove_count == 0)
        rc = opts_fail(o, "At least one of --add-config, --add-config-file, or --delete-config "
                          "must be specified with --alter");
    else if (opts_has(o, "zookeeper") && type != RESOURCE_TOPIC)
        rc = opts_fail(o, "--zookeeper is for topics: brokers need --bootstrap-server");
    else if (opts_has(o, "zookeeper"))
        rc = configs_with_zookeeper(o, name, &change);
    else
        rc = run_with_broker(o, type, name, &change);
    configs_change_fini(&change);
    return rc;
}

int cmd_configs(int argc, char **argv)
{
    struct opts o;
    int rc = opts_start(&o, &command, argc, argv);

    if (rc < 0)
        rc = run(&o);
    opts_fini(&o);
    return rc;
}
