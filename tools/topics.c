/* SPDX-License-Identifier: Apache-2.0 */
/* kafuka-topics: creates, lists, describes, alters and deletes topics, through a broker (here) or
 * through ZooKeeper (topics_zk.c). */
#include "tools/lib/topic_config.h"
#include "tools/lib/topics.h"

#include "common/base/clock.h"
#include "tools/lib/admin.h"
#include "tools/lib/tool.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

enum { CONFIG_RESOURCE_TOPIC = 2, CONFIG_SOURCE_DEFAULT = 5, CONFIGS_PER_REQUEST = 500 };

static const struct opt_spec specs[] = {
    ADMIN_OPTIONS,
    {"zookeeper", OPT_TEXT, "host:port,.../chroot",
     "In place of --bootstrap-server: read and write the znodes of the cluster directly.", 0, 0},
    {"create", OPT_FLAG, NULL, "Create a new topic.", 0, 0},
    {"list", OPT_FLAG, NULL, "List the names of all topics.", 0, 0},
    {"describe", OPT_FLAG, NULL,
     "Show the partitions of topics, with leaders, replicas and in-sync replicas.", 0, 0},
    {"alter", OPT_FLAG, NULL,
     "Raise the number of partitions of a topic; with --zookeeper also change its configuration.",
     0, 0},
    {"delete", OPT_FLAG, NULL, "Delete a topic.", 0, 0},
    {"topic", OPT_TEXT, "topic",
     "The topic to create, alter, describe or delete. With all but --create it may be a regular "
     "expression that matches the whole name, like 'orders.*' or 'a|b'; put \\ before a literal "
     "dot.",
     0, 0},
    {"topic-id", OPT_TEXT, "topic-id",
     "The id of the topic to describe; only with --bootstrap-server.", 0, 0},
    {"partitions", OPT_COUNT, "number",
     "The number of partitions that the topic is created with or raised to; without it a new topic "
     "gets the cluster's default. More partitions change which partition a key goes to.",
     INT32_MIN, INT32_MAX},
    {"replication-factor", OPT_COUNT, "number",
     "The number of replicas of each partition of a new topic; the cluster's default if not given.",
     INT16_MIN, INT16_MAX},
    {"replica-assignment", OPT_TEXT, "1:2,2:3",
     "Which brokers hold which partition: broker ids separated by colons for each partition, "
     "partitions separated by commas.",
     0, 0},
    {"config", OPT_LIST, "name=value", "Set a configuration of the topic; may be repeated.", 0, 0},
    {"delete-config", OPT_LIST, "name",
     "Remove a configuration of the topic; only with --alter and --zookeeper.", 0, 0},
    {"if-exists", OPT_FLAG, NULL, "Succeed without doing anything when the topic does not exist.",
     0, 0},
    {"if-not-exists", OPT_FLAG, NULL,
     "With --create: succeed without doing anything when the topic exists already.", 0, 0},
    {"under-replicated-partitions", OPT_FLAG, NULL,
     "Describe only partitions with fewer in-sync replicas than replicas.", 0, 0},
    {"unavailable-partitions", OPT_FLAG, NULL, "Describe only partitions without a live leader.", 0,
     0},
    {"under-min-isr-partitions", OPT_FLAG, NULL,
     "Describe only partitions with fewer in-sync replicas than min.insync.replicas.", 0, 0},
    {"at-min-isr-partitions", OPT_FLAG, NULL,
     "Describe only partitions with exactly min.insync.replicas in-sync replicas.", 0, 0},
    {"topics-with-overrides", OPT_FLAG, NULL,
     "Describe only topics that have a configuration of their own.", 0, 0},
    {"exclude-internal", OPT_FLAG, NULL, "Leave out internal topics, such as __consumer_offsets.",
     0, 0},
    {"disable-rack-aware", OPT_FLAG, NULL,
     "With --zookeeper: place replicas without regard to the brokers' racks.", 0, 0},
    {"partition-size-limit-per-response", OPT_INT, "number",
     "Has no effect: all partitions are asked for in one request.", 1, INT32_MAX},
    {"force", OPT_FLAG, NULL, "Has no effect: no command asks for confirmation.", 0, 0},
};

static const struct opt_command command = {
    .name = "topics",
    .summary = "creates, lists, describes, alters and deletes topics.",
    .specs = specs,
    .spec_count = ARRAY_LEN(specs),
    .examples = "--bootstrap-server localhost:9092 --create --topic orders --partitions 6 "
                "--replication-factor 3\n"
                "--bootstrap-server localhost:9092 --list\n"
                "--bootstrap-server localhost:9092 --describe --topic orders\n"
                "--bootstrap-server localhost:9092 --describe --under-replicated-partitions\n"
                "--bootstrap-server localhost:9092 --alter --topic orders --partitions 12\n"
                "--zookeeper localhost:2181 --describe --topic orders\n",
};

/* What a broker knows, in the model of topics.h. */
struct listing {
    struct topic_info *topics;
    int32_t count;
};

static bool is_live(const struct kp_MetadataResponse *m, int32_t id)
{
    for (int32_t i = 0; i < m->brokers_count; i++)
        if (m->brokers[i].node_id == id)
            return true;
    return false;
}

static int by_index(const void *x, const void *y)
{
    const struct topic_partition_info *a = x, *b = y;

    return (a->index > b->index) - (a->index < b->index);
}

static void fill_partitions(struct admin *a, const struct kp_MetadataResponse *m,
                            const struct kp_MetadataResponse_MetadataResponseTopic *t,
                            struct topic_info *out)
{
    struct topic_partition_info *parts =
        admin_alloc(a, (size_t)i32_max(t->partitions_count, 0), sizeof *parts);

    out->partitions = parts;
    out->partition_count = i32_max(t->partitions_count, 0);
    for (int32_t i = 0; i < out->partition_count; i++) {
        const struct kp_MetadataResponse_MetadataResponsePartition *p = &t->partitions[i];

        parts[i] = (struct topic_partition_info){
            .index = p->partition_index,
            .leader = p->leader_id,
            .leader_is_live = is_live(m, p->leader_id),
            .replicas = p->replica_nodes,
            .replica_count = i32_max(p->replica_nodes_count, 0),
            .isr = p->isr_nodes,
            .isr_count = i32_max(p->isr_nodes_count, 0),
        };
    }
    if (out->partition_count > 1)
        qsort(parts, (size_t)out->partition_count, sizeof *parts, by_index);
}

static int by_name(const void *x, const void *y)
{
    const struct topic_info *a = x, *b = y;

    return strcmp(a->name, b->name);
}

/* The topics that the options mean, by name. */
static enum err find_topics(struct admin *a, const struct opts *o, struct listing *out,
                            struct errtext *why)
{
    struct topics_pattern pattern;
    struct kp_MetadataResponse m;
    struct uuid id = UUID_ZERO;
    const char *id_text = opts_text(o, "topic-id", NULL);
    enum err rc = topics_pattern_init(&pattern, opts_text(o, "topic", NULL), why);

    *out = (struct listing){0};
    if (rc != ERR_OK)
        return rc;
    if (id_text != NULL && !uuid_parse(str_of(id_text), &id)) {
        errtext_set(why, "--topic-id: '%s' is not an id of 22 characters, as --describe shows",
                    id_text);
        rc = ERR_INVALID;
        goto out;
    }
    rc = pattern.plain != NULL ? admin_metadata(a, &pattern.plain, 1, &m, why)
                               : admin_metadata(a, NULL, 0, &m, why);
    if (rc != ERR_OK)
        goto out;
    out->topics = admin_alloc(a, (size_t)i32_max(m.topics_count, 0), sizeof *out->topics);
    for (int32_t i = 0; i < m.topics_count; i++) {
        const struct kp_MetadataResponse_MetadataResponseTopic *t = &m.topics[i];
        struct topic_info *info = &out->topics[out->count];

        if (t->error_code == KE_UNKNOWN_TOPIC_OR_PARTITION ||
            t->error_code == KE_INVALID_TOPIC_EXCEPTION || t->name.len <= 0)
            continue;
        *info = (struct topic_info){
            .name = arena_strdup(&a->arena, t->name.p, (size_t)t->name.len),
            .id = t->topic_id,
            .configs = "",
        };
        info->is_internal = t->is_internal || topics_is_internal(info->name);
        if (!topics_pattern_matches(&pattern, info->name) ||
            (info->is_internal && opts_has(o, "exclude-internal")) ||
            (id_text != NULL && !uuid_eq(id, t->topic_id)))
            continue;
        fill_partitions(a, &m, t, info);
        out->count++;
    }
    if (out->count > 0)
        qsort(out->topics, (size_t)out->count, sizeof *out->topics, by_name);
out:
    topics_pattern_fini(&pattern);
    return rc;
}

/* --topic or --topic-id named something that is not there. */
static int fail_missing(const struct opts *o)
{
    if (opts_has(o, "if-exists"))
        return 0;
    if (opts_has(o, "topic-id"))
        return topics_fail("TopicId '%s' does not exist as expected", opts_text(o, "topic-id", ""));
    return topics_fail("Topic '%s' does not exist as expected", opts_text(o, "topic", ""));
}

static int run_list(struct admin *a, const struct opts *o)
{
    struct listing l;
    struct errtext why = {{0}};

    if (find_topics(a, o, &l, &why) != ERR_OK)
        return topics_fail("%s", why.text);
    for (int32_t i = 0; i < l.count; i++)
        printf("%s\n", l.topics[i].name);
    return 0;
}

static int config_by_name(const void *x, const void *y)
{
    const struct kp_DescribeConfigsResponse_DescribeConfigsResourceResult *a = x, *b = y;

    return str_cmp(a->name, b->name);
}

static void take_configs(struct admin *a,
                         const struct kp_DescribeConfigsResponse_DescribeConfigsResult *r,
                         struct topic_info *t)
{
    struct buf text = {0};

    if (r->configs_count > 1)
        qsort(r->configs, (size_t)r->configs_count, sizeof *r->configs, config_by_name);
    for (int32_t i = 0; i < r->configs_count; i++) {
        const struct kp_DescribeConfigsResponse_DescribeConfigsResourceResult *c = &r->configs[i];

        if (c->config_source != CONFIG_SOURCE_DEFAULT && !c->is_default)
            buf_printf(&text, "%s%.*s=%.*s", text.len == 0 ? "" : ",", STR_ARG(c->name),
                       STR_ARG(c->value));
        if (str_eq_z(c->name, "min.insync.replicas") && c->value.len > 0 && c->value.len < 12)
            t->min_isr = (int32_t)strtol(arena_strdup(&a->arena, c->value.p, (size_t)c->value.len),
                                         NULL, 10);
    }
    t->configs = arena_strdup(&a->arena, buf_cstr(&text), text.len);
    buf_fini(&text);
}

/* Asks for the configurations of topics[from..from+n-1]. */
static enum err read_configs(struct admin *a, struct topic_info *topics, int32_t n,
                             struct errtext *why)
{
    struct kp_DescribeConfigsRequest request;
    struct kp_DescribeConfigsResponse response;
    enum err rc;

    kp_defaults(&kp_DescribeConfigsRequest_schema, &request);
    request.resources_count = n;
    request.resources = admin_alloc(a, (size_t)n, sizeof *request.resources);
    for (int32_t i = 0; i < n; i++) {
        kp_defaults(&kp_DescribeConfigsRequest_DescribeConfigsResource_schema,
                    &request.resources[i]);
        request.resources[i].resource_type = CONFIG_RESOURCE_TOPIC;
        request.resources[i].resource_name = str_of(topics[i].name);
        request.resources[i].configuration_keys_count = -1;
    }
    rc = admin_call(a, ADMIN_ANY, KP_API_DESCRIBE_CONFIGS, BCLIENT_NEWEST, &request, &response,
                    NULL, why);
    if (rc != ERR_OK)
        return rc;
    for (int32_t r = 0; r < response.results_count; r++)
        for (int32_t i = 0; i < n; i++)
            if (response.results[r].error_code == KE_NONE &&
                str_eq_z(response.results[r].resource_name, topics[i].name))
                take_configs(a, &response.results[r], &topics[i]);
    return ERR_OK;
}

static int run_describe(struct admin *a, const struct opts *o)
{
    struct topics_filter f;
    struct errtext why = {{0}};
    struct buf out = {0};
    struct listing l;
    enum err rc = find_topics(a, o, &l, &why);

    if (rc != ERR_OK)
        return topics_fail("%s", why.text);
    if (l.count == 0 && (opts_has(o, "topic") || opts_has(o, "topic-id")))
        return fail_missing(o);
    topics_filter_from(o, &f);
    /* the configurations are shown with whole topics, and give min.insync.replicas */
    if (!f.under_replicated && !f.unavailable)
        for (int32_t i = 0; rc == ERR_OK && i < l.count; i += CONFIGS_PER_REQUEST)
            rc = read_configs(a, l.topics + i, i32_min(CONFIGS_PER_REQUEST, l.count - i), &why);
    if (rc != ERR_OK)
        return topics_fail("%s", why.text);
    for (int32_t i = 0; i < l.count; i++)
        topics_describe(&l.topics[i], TOPICS_KAFKA_39, &f, &out);
    (void)fwrite(out.p == NULL ? (const uint8_t *)"" : out.p, 1, out.len, stdout);
    buf_fini(&out);
    return 0;
}

/* Fills one topic of a CreateTopics request from the options. */
static enum err fill_new_topic(struct admin *a, const struct opts *o,
                               struct kp_CreateTopicsRequest_CreatableTopic *t, struct errtext *why)
{
    struct topics_assignment assignment = {0};
    size_t configs;
    const char *const *config = opts_list(o, "config", &configs);
    enum err rc = ERR_OK;

    kp_defaults(&kp_CreateTopicsRequest_CreatableTopic_schema, t);
    t->name = str_of(opts_text(o, "topic", NULL));
    t->num_partitions = (int32_t)opts_int(o, "partitions", -1);
    t->replication_factor = (int16_t)opts_int(o, "replication-factor", -1);
    if (opts_has(o, "replica-assignment"))
        rc = topics_parse_assignment(opts_text(o, "replica-assignment", ""), &a->arena, &assignment,
                                     why);
    if (rc != ERR_OK)
        return rc;
    t->assignments_count = assignment.partition_count;
    t->assignments = admin_alloc(a, (size_t)assignment.partition_count, sizeof *t->assignments);
    for (int32_t i = 0; i < assignment.partition_count; i++) {
        t->assignments[i].partition_index = i;
        t->assignments[i].broker_ids = assignment.replicas[i];
        t->assignments[i].broker_ids_count = assignment.factor;
    }
    t->configs_count = (int32_t)configs;
    t->configs = admin_alloc(a, configs, sizeof *t->configs);
    for (size_t i = 0; i < configs; i++) {
        const char *equals = strchr(config[i], '=');

        if (equals == NULL || equals == config[i]) {
            errtext_set(why, "--config takes name=value, not '%s'", config[i]);
            return ERR_INVALID;
        }
        t->configs[i].name = (struct str){config[i], (int32_t)(equals - config[i])};
        t->configs[i].value = str_of(equals + 1);
    }
    return ERR_OK;
}

/* What was set and does nothing, as the broker's documentation says of its own configs. */
static void tell_no_effect(struct admin *a, const struct opts *o, const char *topic)
{
    struct kp_DescribeConfigsRequest request;
    struct kp_DescribeConfigsRequest_DescribeConfigsResource resource;
    struct kp_DescribeConfigsResponse response;
    struct errtext why = {{0}};
    size_t count;
    const char *const *config = opts_list(o, "config", &count);
    int32_t n = 0;

    kp_defaults(&kp_DescribeConfigsRequest_schema, &request);
    kp_defaults(&kp_DescribeConfigsRequest_DescribeConfigsResource_schema, &resource);
    resource.configuration_keys = admin_alloc(a, count, sizeof *resource.configuration_keys);
    for (size_t i = 0; i < count; i++) {
        size_t name_len = strcspn(config[i], "=");
        const char *name = arena_strdup(&a->arena, config[i], name_len);

        if (topic_config_has_no_effect(name, config[i] + name_len + 1))
            resource.configuration_keys[n++] = str_of(name);
    }
    resource.configuration_keys_count = n;
    resource.resource_type = 2; /* a topic */
    resource.resource_name = str_of(topic);
    request.resources = &resource;
    request.resources_count = 1;
    request.include_documentation = true;
    for (int tries = 0; n > 0 && tries < 100; tries++) {
        if (admin_call(a, ADMIN_ANY, KP_API_DESCRIBE_CONFIGS, BCLIENT_NEWEST, &request, &response,
                       NULL, &why) != ERR_OK ||
            response.results_count != 1)
            return;
        if (response.results[0].error_code != KE_UNKNOWN_TOPIC_OR_PARTITION)
            break;
        (void)poll(NULL, 0, 20); /* the broker has not heard of it yet */
    }
    for (int32_t i = 0; n > 0 && i < response.results[0].configs_count; i++)
        topic_config_tell_documented(
            arena_strdup(&a->arena, response.results[0].configs[i].name.p,
                         (size_t)i32_max(response.results[0].configs[i].name.len, 0)),
            response.results[0].configs[i].documentation);
}

static int run_create(struct admin *a, const struct opts *o)
{
    int64_t deadline_ms = clock_mono_ms() + a->timeout_ms;
    const char *name = opts_text(o, "topic", NULL);
    struct kp_CreateTopicsRequest request;
    struct kp_CreateTopicsResponse response;
    struct kp_CreateTopicsRequest_CreatableTopic topic;
    struct errtext why = {{0}};
    int16_t code;

    if (opts_int(o, "partitions", 1) < 1)
        return topics_fail("The partitions must be greater than 0");
    if (opts_int(o, "replication-factor", 1) < 1)
        return topics_fail("The replication factor must be between 1 and 32767 inclusive");
    kp_defaults(&kp_CreateTopicsRequest_schema, &request);
    request.topics = &topic;
    request.topics_count = 1;
    request.timeout_ms = (int32_t)i64_min(a->timeout_ms, INT32_MAX);
    if (fill_new_topic(a, o, &topic, &why) != ERR_OK)
        return topics_fail("%s", why.text);
    topics_warn_of_collisions(name);
    do {
        if (admin_call(a, ADMIN_CONTROLLER, KP_API_CREATE_TOPICS, BCLIENT_NEWEST, &request,
                       &response, NULL, &why) != ERR_OK)
            return topics_fail("%s", why.text);
        if (response.topics_count != 1)
            return topics_fail("the broker answered for %d topics instead of 1",
                               response.topics_count);
        code = response.topics[0].error_code;
    } while (code == KE_NOT_CONTROLLER && admin_retry_controller(a, deadline_ms));
    if (code == KE_TOPIC_ALREADY_EXISTS && opts_has(o, "if-not-exists"))
        return 0;
    /* Kafka's words, which scripts look for, whatever the broker's are */
    if (code == KE_TOPIC_ALREADY_EXISTS)
        return topics_fail("Topic '%s' already exists.", name);
    if (code != KE_NONE)
        return topics_fail("%s", admin_error(a, code, response.topics[0].error_message));
    printf("Created topic %s.\n", name);
    tell_no_effect(a, o, name);
    return 0;
}

/* Adds the options' partitions to the topics in l; 0, or the code and its text. */
static enum err add_partitions(struct admin *a, const struct opts *o, const struct listing *l,
                               int16_t *code_out, struct errtext *why)
{
    int32_t wanted = (int32_t)opts_int(o, "partitions", 0);
    struct kp_CreatePartitionsRequest request;
    struct kp_CreatePartitionsResponse response;
    struct topics_assignment as = {0};
    enum err rc = ERR_OK;

    kp_defaults(&kp_CreatePartitionsRequest_schema, &request);
    request.timeout_ms = (int32_t)i64_min(a->timeout_ms, INT32_MAX);
    request.topics_count = l->count;
    request.topics = admin_alloc(a, (size_t)l->count, sizeof *request.topics);
    if (opts_has(o, "replica-assignment"))
        rc = topics_parse_assignment(opts_text(o, "replica-assignment", ""), &a->arena, &as, why);
    for (int32_t i = 0; rc == ERR_OK && i < l->count; i++) {
        struct kp_CreatePartitionsRequest_CreatePartitionsTopic *t = &request.topics[i];
        int32_t first = l->topics[i].partition_count;

        kp_defaults(&kp_CreatePartitionsRequest_CreatePartitionsTopic_schema, t);
        t->name = str_of(l->topics[i].name);
        t->count = wanted;
        t->assignments_count = -1;
        if (as.partition_count == 0)
            continue;
        t->assignments_count = i32_max(as.partition_count - first, 0);
        t->assignments = admin_alloc(a, (size_t)t->assignments_count, sizeof *t->assignments);
        for (int32_t p = 0; p < t->assignments_count; p++) {
            t->assignments[p].broker_ids = as.replicas[first + p];
            t->assignments[p].broker_ids_count = as.factor;
        }
    }
    if (rc == ERR_OK)
        rc = admin_call(a, ADMIN_CONTROLLER, KP_API_CREATE_PARTITIONS, BCLIENT_NEWEST, &request,
                        &response, NULL, why);
    *code_out = KE_NONE;
    for (int32_t i = 0; rc == ERR_OK && i < response.results_count; i++) {
        if (response.results[i].error_code != KE_NONE) {
            *code_out = response.results[i].error_code;
            errtext_set(why, "%s", admin_error(a, *code_out, response.results[i].error_message));
            break;
        }
    }
    return rc;
}

static int run_alter(struct admin *a, const struct opts *o)
{
    int64_t deadline_ms = clock_mono_ms() + a->timeout_ms;
    struct errtext why = {{0}};
    struct listing l;
    int16_t code;

    if (find_topics(a, o, &l, &why) != ERR_OK)
        return topics_fail("%s", why.text);
    if (l.count == 0)
        return fail_missing(o);
    do {
        if (add_partitions(a, o, &l, &code, &why) != ERR_OK)
            return topics_fail("%s", why.text);
    } while (code == KE_NOT_CONTROLLER && admin_retry_controller(a, deadline_ms));
    return code == KE_NONE ? 0 : topics_fail("%s", why.text);
}

/* DeleteTopics by name: its versions from 6 on carry the names in another field. */
static enum err delete_topics(struct admin *a, const struct listing *l, int16_t *code_out,
                              struct errtext *why)
{
    struct kp_DeleteTopicsRequest request;
    struct kp_DeleteTopicsResponse response;
    enum err rc;

    kp_defaults(&kp_DeleteTopicsRequest_schema, &request);
    request.timeout_ms = (int32_t)i64_min(a->timeout_ms, INT32_MAX);
    request.topic_names_count = l->count;
    request.topic_names = admin_alloc(a, (size_t)l->count, sizeof *request.topic_names);
    for (int32_t i = 0; i < l->count; i++)
        request.topic_names[i] = str_of(l->topics[i].name);
    rc = admin_call(a, ADMIN_CONTROLLER, KP_API_DELETE_TOPICS, 5, &request, &response, NULL, why);
    *code_out = KE_NONE;
    for (int32_t i = 0; rc == ERR_OK && i < response.responses_count; i++) {
        if (response.responses[i].error_code != KE_NONE) {
            *code_out = response.responses[i].error_code;
            errtext_set(why, "%.*s: %s", STR_ARG(response.responses[i].name),
                        admin_error(a, *code_out, response.responses[i].error_message));
            break;
        }
    }
    return rc;
}

static int run_delete(struct admin *a, const struct opts *o)
{
    int64_t deadline_ms = clock_mono_ms() + a->timeout_ms;
    struct errtext why = {{0}};
    struct listing l;
    int16_t code;

    if (find_topics(a, o, &l, &why) != ERR_OK)
        return topics_fail("%s", why.text);
    if (l.count == 0)
        return fail_missing(o);
    do {
        if (delete_topics(a, &l, &code, &why) != ERR_OK)
            return topics_fail("%s", why.text);
    } while (code == KE_NOT_CONTROLLER && admin_retry_controller(a, deadline_ms));
    return code == KE_NONE ? 0 : topics_fail("%s", why.text);
}

/* What Kafka's script refuses before it connects. */
static int check_options(const struct opts *o)
{
    static const char *const actions[] = {"list", "describe", "create", "alter", "delete"};
    int count = 0;

    for (size_t i = 0; i < ARRAY_LEN(actions); i++)
        count += opts_has(o, actions[i]);
    if (count != 1)
        return opts_fail(o, "Command must include exactly one action: --list, --describe, "
                            "--create, --alter or --delete");
    if (opts_has(o, "bootstrap-server") == opts_has(o, "zookeeper"))
        return opts_fail(o, "exactly one of --bootstrap-server and --zookeeper must be specified, "
                            "for example --bootstrap-server localhost:9092");
    if (!opts_has(o, "list") && !opts_has(o, "describe") && !opts_has(o, "topic"))
        return opts_fail(o, "Missing required argument \"[topic]\": --topic <name>");
    if (opts_has(o, "replica-assignment") && opts_has(o, "create") &&
        (opts_has(o, "partitions") || opts_has(o, "replication-factor")))
        return opts_fail(o, "--replica-assignment says the number of partitions and replicas: "
                            "--partitions and --replication-factor can't be used with it");
    if (opts_has(o, "bootstrap-server") && opts_has(o, "alter") &&
        (opts_has(o, "config") || opts_has(o, "delete-config")))
        return opts_fail(o, "Option combination \"[bootstrap-server],[config]\" can't be used with "
                            "option \"[alter]\": kafuka-configs alters topic configurations");
    if (opts_has(o, "bootstrap-server") && opts_has(o, "alter") && !opts_has(o, "partitions"))
        return opts_fail(o, "Missing required argument \"[partitions]\": --partitions <number>");
    if (opts_has(o, "if-not-exists") && !opts_has(o, "create"))
        return opts_fail(o, "--if-not-exists goes with --create only");
    if (opts_has(o, "if-exists") && (opts_has(o, "create") || opts_has(o, "list")))
        return opts_fail(o, "--if-exists goes with --describe, --alter and --delete only");
    return -1;
}

static int run_with_broker(const struct opts *o)
{
    struct admin a;
    int rc = admin_start(&a, o);

    if (rc >= 0)
        return rc;
    if (opts_has(o, "list"))
        rc = run_list(&a, o);
    else if (opts_has(o, "describe"))
        rc = run_describe(&a, o);
    else if (opts_has(o, "create"))
        rc = run_create(&a, o);
    else if (opts_has(o, "alter"))
        rc = run_alter(&a, o);
    else
        rc = run_delete(&a, o);
    admin_close(&a);
    return rc;
}

int cmd_topics(int argc, char **argv)
{
    struct opts o;
    int rc = opts_start(&o, &command, argc, argv);

    if (rc < 0)
        rc = check_options(&o);
    if (rc < 0)
        rc = opts_has(&o, "zookeeper") ? topics_with_zookeeper(&o) : run_with_broker(&o);
    opts_fini(&o);
    return rc;
}
