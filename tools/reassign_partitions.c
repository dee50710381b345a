/* SPDX-License-Identifier: Apache-2.0 */
/* kafuka-reassign-partitions: moves replicas between brokers, as JSON files say. What it prints is
 * Kafka's; errors of a run go to stdout as Kafka's do. */
#include "common/base/clock.h"
#include "tools/lib/admin.h"
#include "tools/lib/json_file.h"
#include "tools/lib/mem.h"
#include "tools/lib/tool.h"
#include "tools/reassign_plan.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum { RESOURCE_TOPIC = 2, RESOURCE_BROKER = 4 };
enum { OP_SET = 0, OP_DELETE = 1 };

static const char leader_rate[] = "leader.replication.throttled.rate";
static const char follower_rate[] = "follower.replication.throttled.rate";
static const char log_dirs_rate[] = "replica.alter.log.dirs.io.max.bytes.per.second";
static const char leader_replicas[] = "leader.replication.throttled.replicas";
static const char follower_replicas[] = "follower.replication.throttled.replicas";

static const struct opt_spec specs[] = {
    ADMIN_OPTIONS,
    {"generate", OPT_FLAG, NULL,
     "Propose new replicas for all partitions of some topics; changes nothing. Needs "
     "--topics-to-move-json-file and --broker-list.",
     0, 0},
    {"execute", OPT_FLAG, NULL,
     "Start the reassignment that --reassignment-json-file describes. The replicas are copied "
     "after the command has ended.",
     0, 0},
    {"verify", OPT_FLAG, NULL,
     "Show how far the reassignment of --reassignment-json-file is; once no reassignment is under "
     "way, remove the throttles.",
     0, 0},
    {"cancel", OPT_FLAG, NULL,
     "Stop the reassignments of the partitions in --reassignment-json-file that are under way: "
     "these partitions keep their old replicas. Removes the throttles.",
     0, 0},
    {"list", OPT_FLAG, NULL, "List all reassignments that are under way.", 0, 0},
    {"reassignment-json-file", OPT_TEXT, "file",
     "The replicas that partitions get; the first of each list becomes the preferred leader: "
     "{\"partitions\": "
     "[{\"topic\": \"foo\", \"partition\": 1, \"replicas\": [1,2,3]}], \"version\": 1}.",
     0, 0},
    {"topics-to-move-json-file", OPT_TEXT, "file",
     "The topics that --generate plans for: {\"topics\": [{\"topic\": \"foo\"}], \"version\": 1}.",
     0, 0},
    {"broker-list", OPT_TEXT, "id,...",
     "The ids of the brokers that --generate may place replicas on, for example 0,1,2.", 0, 0},
    {"disable-rack-aware", OPT_FLAG, NULL, "With --generate: do not look at the brokers' racks.", 0,
     0},
    {"additional", OPT_FLAG, NULL,
     "With --execute: start it although other reassignments are under way.", 0, 0},
    {"throttle", OPT_INT, "bytes/s",
     "With --execute: limit the copying between brokers. Kafuka's brokers store the limit but do "
     "not keep to it yet; Kafka's do.",
     -1, INT64_MAX},
    {"replica-alter-log-dirs-throttle", OPT_INT, "bytes/s",
     "With --execute: limit the copying between the log directories of one broker. Without effect, "
     "as replicas cannot be moved between log directories yet.",
     -1, INT64_MAX},
    {"preserve-throttles", OPT_FLAG, NULL, "With --verify or --cancel: leave the throttles.", 0, 0},
    {"timeout", OPT_INT, "ms",
     "With --execute or --cancel: how long Kafka waits for moves between log directories to begin. "
     "Without effect, as there are none yet.",
     0, INT64_MAX},
    {"bootstrap-controller", OPT_TEXT, "host:port,...",
     "Refused, as only Kafka clusters with KRaft controllers have such addresses: use "
     "--bootstrap-server.",
     0, 0},
};

static const struct opt_command command = {
    .name = "reassign-partitions",
    .summary = "moves the replicas of partitions between brokers.",
    .specs = specs,
    .spec_count = ARRAY_LEN(specs),
    .examples =
        "--bootstrap-server localhost:9092 --generate --topics-to-move-json-file topics.json "
        "--broker-list 1,2,3\n"
        "--bootstrap-server localhost:9092 --execute --reassignment-json-file plan.json\n"
        "--bootstrap-server localhost:9092 --verify --reassignment-json-file plan.json\n"
        "--bootstrap-server localhost:9092 --list\n",
};

struct reassign {
    struct admin admin;
    const struct opts *o;
    struct reassign_plan plan;      /* of --reassignment-json-file, sorted */
    struct reassign_plan under_way; /* sorted */
};

/* Kafka's line for a mistake that it explains, on stdout. Returns the exit status. */
static int refuse(const char *fmt, ...) PRINTF_LIKE(1, 2);
static int refuse(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    (void)vprintf(fmt, ap);
    printf("\n");
    va_end(ap);
    (void)fflush(stdout);
    return 1;
}

static void print_name(const struct reassign_part *p, struct buf *out)
{
    buf_printf(out, "%s%s-%d", out->len == 0 ? "" : ",", p->topic, p->partition);
}

/* ---- what the cluster is asked */

static struct reassign_ids ids_of(const int32_t *ids, int32_t count)
{
    return (struct reassign_ids){ids, i32_max(count, 0)};
}

static int list_under_way(struct reassign *r)
{
    struct kp_ListPartitionReassignmentsRequest request;
    struct kp_ListPartitionReassignmentsResponse response;
    int64_t deadline_ms = clock_mono_ms() + r->admin.timeout_ms;
    struct errtext why = {{0}};
    int32_t total = 0;

    kp_defaults(&kp_ListPartitionReassignmentsRequest_schema, &request);
    request.topics_count = -1;
    do {
        if (admin_call(&r->admin, ADMIN_CONTROLLER, KP_API_LIST_PARTITION_REASSIGNMENTS,
                       BCLIENT_NEWEST, &request, &response, NULL, &why) != ERR_OK)
            return refuse("Error: %s", why.text);
    } while (response.error_code == KE_NOT_CONTROLLER &&
             admin_retry_controller(&r->admin, deadline_ms));
    if (response.error_code != KE_NONE)
        return refuse("Error: %s",
                      admin_error(&r->admin, response.error_code, response.error_message));
    for (int32_t t = 0; t < response.topics_count; t++)
        total += i32_max(response.topics[t].partitions_count, 0);
    r->under_way.parts = admin_alloc(&r->admin, (size_t)total, sizeof *r->under_way.parts);
    for (int32_t t = 0; t < response.topics_count; t++) {
        struct str name = response.topics[t].name;
        const char *topic = arena_strdup(&r->admin.arena, name.p, (size_t)i32_max(name.len, 0));

        for (int32_t i = 0; i < response.topics[t].partitions_count; i++) {
            const struct kp_ListPartitionReassignmentsResponse_OngoingPartitionReassignment *p =
                &response.topics[t].partitions[i];

            r->under_way.parts[r->under_way.count++] = (struct reassign_part){
                .topic = topic,
                .partition = p->partition_index,
                .replicas = ids_of(p->replicas, p->replicas_count),
                .adding = ids_of(p->adding_replicas, p->adding_replicas_count),
                .removing = ids_of(p->removing_replicas, p->removing_replicas_count),
            };
        }
    }
    reassign_sort(&r->under_way);
    return 0;
}

/* The replicas of all partitions of these topics, sorted. must_exist: a missing topic is a mistake.
 */
static int read_current(struct reassign *r, const char *const *names, int32_t count,
                        bool must_exist, struct reassign_plan *out)
{
    struct kp_MetadataResponse m;
    struct errtext why = {{0}};
    int32_t total = 0;

    if (admin_metadata(&r->admin, names, (size_t)count, &m, &why) != ERR_OK)
        return refuse("Error: %s", why.text);
    for (int32_t t = 0; t < m.topics_count; t++) {
        const struct kp_MetadataResponse_MetadataResponseTopic *topic = &m.topics[t];

        if (topic->error_code == KE_UNKNOWN_TOPIC_OR_PARTITION && must_exist)
            return refuse("Error: Topic %.*s not found.", STR_ARG(topic->name));
        if (topic->error_code != KE_NONE && topic->error_code != KE_UNKNOWN_TOPIC_OR_PARTITION)
            return refuse("Error: topic %.*s: %s", STR_ARG(topic->name),
                          kerr_text(topic->error_code));
        total += i32_max(topic->partitions_count, 0);
    }
    *out = (struct reassign_plan){
        .parts = admin_alloc(&r->admin, (size_t)total, sizeof *out->parts),
    };
    for (int32_t t = 0; t < m.topics_count; t++) {
        struct str name = m.topics[t].name;
        const char *topic = arena_strdup(&r->admin.arena, name.p, (size_t)i32_max(name.len, 0));

        for (int32_t i = 0; i < m.topics[t].partitions_count; i++) {
            const struct kp_MetadataResponse_MetadataResponsePartition *p =
                &m.topics[t].partitions[i];

            out->parts[out->count++] = (struct reassign_part){
                .topic = topic,
                .partition = p->partition_index,
                .replicas = ids_of(p->replica_nodes, p->replica_nodes_count),
            };
        }
    }
    reassign_sort(out);
    return 0;
}

/* The names of the topics in a sorted plan, once each. */
static const char **topics_of(struct reassign *r, const struct reassign_plan *p, int32_t *count_out)
{
    const char **names = admin_alloc(&r->admin, (size_t)p->count, sizeof *names);
    int32_t n = 0;

    for (int32_t i = 0; i < p->count; i++)
        if (n == 0 || strcmp(names[n - 1], p->parts[i].topic) != 0)
            names[n++] = p->parts[i].topic;
    *count_out = n;
    return names;
}

struct config_change {
    const char *name;
    const char *value; /* NULL: the config is deleted */
};

static void add_resource(struct admin *a, struct kp_IncrementalAlterConfigsRequest *request,
                         int8_t type, const char *name, const struct config_change *changes,
                         int32_t count)
{
    struct kp_IncrementalAlterConfigsRequest_AlterConfigsResource *r =
        &request->resources[request->resources_count++];

    kp_defaults(&kp_IncrementalAlterConfigsRequest_AlterConfigsResource_schema, r);
    r->resource_type = type;
    r->resource_name = str_of(name);
    r->configs = admin_alloc(a, (size_t)count, sizeof *r->configs);
    r->configs_count = count;
    for (int32_t i = 0; i < count; i++) {
        r->configs[i].name = str_of(changes[i].name);
        r->configs[i].value = changes[i].value == NULL ? STR_NULL : str_of(changes[i].value);
        r->configs[i].config_operation = changes[i].value == NULL ? OP_DELETE : OP_SET;
    }
}

/* Sends the changes of configurations to node. */
static int alter_configs(struct admin *a, int32_t node,
                         const struct kp_IncrementalAlterConfigsRequest *request)
{
    struct kp_IncrementalAlterConfigsResponse response;
    struct errtext why = {{0}};

    if (request->resources_count == 0)
        return 0;
    if (admin_call(a, node, KP_API_INCREMENTAL_ALTER_CONFIGS, BCLIENT_NEWEST, request, &response,
                   NULL, &why) != ERR_OK)
        return refuse("Error: %s", why.text);
    for (int32_t i = 0; i < response.responses_count; i++)
        if (response.responses[i].error_code != KE_NONE)
            return refuse("Error: the configuration of %s %.*s: %s",
                          response.responses[i].resource_type == RESOURCE_TOPIC ? "topic"
                                                                                : "broker",
                          STR_ARG(response.responses[i].resource_name),
                          admin_error(a, response.responses[i].error_code,
                                      response.responses[i].error_message));
    return 0;
}

/* The same changes on each of these brokers. */
static int alter_brokers(struct reassign *r, struct reassign_ids brokers,
                         const struct config_change *changes, int32_t count)
{
    int rc = 0;

    for (int32_t i = 0; rc == 0 && i < brokers.count; i++) {
        struct kp_IncrementalAlterConfigsRequest request;
        struct kp_IncrementalAlterConfigsRequest_AlterConfigsResource resource;
        char id[16];

        (void)snprintf(id, sizeof id, "%d", brokers.ids[i]);
        kp_defaults(&kp_IncrementalAlterConfigsRequest_schema, &request);
        request.resources = &resource;
        add_resource(&r->admin, &request, RESOURCE_BROKER, id, changes, count);
        rc = alter_configs(&r->admin, brokers.ids[i], &request);
    }
    return rc;
}

static int by_id(const void *x, const void *y)
{
    const int32_t *a = x, *b = y;

    return (*a > *b) - (*a < *b);
}

/* Adds the ids that are not there yet. */
static void add_ids(struct reassign_ids more, int32_t *ids, int32_t *count)
{
    for (int32_t i = 0; i < more.count; i++)
        if (!reassign_has((struct reassign_ids){ids, *count}, more.ids[i]))
            ids[(*count)++] = more.ids[i];
}

/* ---- throttles */

/* Nobody knows any more which brokers were sources: all live ones, and all that the plan names. */
static int clear_throttles(struct reassign *r)
{
    static const struct config_change of_broker[] = {
        {leader_rate, NULL}, {follower_rate, NULL}, {log_dirs_rate, NULL}};
    static const struct config_change of_topic[] = {{leader_replicas, NULL},
                                                    {follower_replicas, NULL}};
    struct kp_IncrementalAlterConfigsRequest request;
    size_t most = (size_t)i32_max(r->admin.metadata.brokers_count, 0);
    struct buf text = {0};
    int32_t *ids, count = 0, topic_count = 0;
    const char **topics = topics_of(r, &r->plan, &topic_count);
    int rc;

    for (int32_t i = 0; i < r->plan.count; i++)
        most += (size_t)r->plan.parts[i].replicas.count;
    ids = admin_alloc(&r->admin, most, sizeof *ids);
    for (int32_t i = 0; i < r->admin.metadata.brokers_count; i++)
        ids[count++] = r->admin.metadata.brokers[i].node_id;
    for (int32_t i = 0; i < r->plan.count; i++)
        add_ids(r->plan.parts[i].replicas, ids, &count);
    if (count > 1)
        qsort(ids, (size_t)count, sizeof *ids, by_id);
    reassign_print_ids((struct reassign_ids){ids, count}, &text);
    printf("Clearing broker-level throttles on broker%s %s\n", count == 1 ? "" : "s",
           buf_cstr(&text));
    rc = alter_brokers(r, (struct reassign_ids){ids, count}, of_broker, ARRAY_LEN(of_broker));
    buf_fini(&text);
    if (rc != 0)
        return rc;
    kp_defaults(&kp_IncrementalAlterConfigsRequest_schema, &request);
    request.resources = admin_alloc(&r->admin, (size_t)topic_count, sizeof *request.resources);
    printf("Clearing topic-level throttles on topic%s ", topic_count == 1 ? "" : "s");
    for (int32_t i = 0; i < topic_count; i++) {
        printf("%s%s", i == 0 ? "" : ",", topics[i]);
        add_resource(&r->admin, &request, RESOURCE_TOPIC, topics[i], of_topic, ARRAY_LEN(of_topic));
    }
    printf("\n");
    return alter_configs(&r->admin, ADMIN_ANY, &request);
}

/* Names the moving replicas in the configurations of their topics. */
static int throttle_topics(struct reassign *r, const struct reassign_flow *flows, int32_t count)
{
    struct kp_IncrementalAlterConfigsRequest request;
    int32_t end;

    kp_defaults(&kp_IncrementalAlterConfigsRequest_schema, &request);
    request.resources = admin_alloc(&r->admin, (size_t)count, sizeof *request.resources);
    for (int32_t first = 0; first < count; first = end) {
        struct config_change changes[] = {{leader_replicas, NULL}, {follower_replicas, NULL}};

        end = first;
        while (end < count && strcmp(flows[end].topic, flows[first].topic) == 0)
            end++;
        for (size_t i = 0; i < ARRAY_LEN(changes); i++) {
            struct buf text = {0};

            reassign_print_throttled(&flows[first], end - first, i == 0, &text);
            changes[i].value = arena_strdup(&r->admin.arena, buf_cstr(&text), text.len);
            buf_fini(&text);
        }
        add_resource(&r->admin, &request, RESOURCE_TOPIC, flows[first].topic, changes,
                     ARRAY_LEN(changes));
    }
    return alter_configs(&r->admin, ADMIN_ANY, &request);
}

static int set_throttles(struct reassign *r, const struct reassign_plan *current)
{
    int64_t rate = opts_int(r->o, "throttle", -1);
    int64_t dirs_rate = opts_int(r->o, "replica-alter-log-dirs-throttle", -1);
    char *value = xasprintf("%" PRId64, rate);
    const struct config_change changes[] = {{leader_rate, value}, {follower_rate, value}};
    struct reassign_flow *flows;
    int32_t *ids, count, id_count = 0;
    size_t most = 0;
    int rc = 0;

    if (rate >= 0 || dirs_rate >= 0)
        printf("Warning: You must run --verify periodically, until the reassignment completes, to "
               "ensure the throttle is removed.\n");
    if (rate >= 0) {
        reassign_flows(&r->under_way, &r->plan, current, &r->admin.arena, &flows, &count);
        for (int32_t i = 0; i < count; i++)
            most += (size_t)(flows[i].sources.count + flows[i].destinations.count);
        ids = admin_alloc(&r->admin, most, sizeof *ids);
        for (int32_t i = 0; i < count; i++) {
            add_ids(flows[i].sources, ids, &id_count);
            add_ids(flows[i].destinations, ids, &id_count);
        }
        rc = throttle_topics(r, flows, count);
        if (rc == 0)
            rc =
                alter_brokers(r, (struct reassign_ids){ids, id_count}, changes, ARRAY_LEN(changes));
        if (rc == 0) {
            printf("The inter-broker throttle limit was set to %" PRId64 " B/s\n", rate);
            opts_warn(r->o, "kafuka's brokers store this limit but do not keep to it yet; only "
                            "Kafka's brokers do");
        }
    }
    if (rc == 0 && dirs_rate >= 0) {
        printf("The replica-alter-dir throttle limit was set to %" PRId64 " B/s\n", dirs_rate);
        opts_warn(r->o, "--replica-alter-log-dirs-throttle has no effect: no replica moves between "
                        "log directories");
    }
    mem_free(value);
    return rc;
}

/* ---- actions */

/* Asks for the replicas of parts (none: cancel). heading: Kafka's line before the errors. */
static int alter(struct reassign *r, const struct reassign_plan *parts, bool is_cancel,
                 const char *heading)
{
    struct kp_AlterPartitionReassignmentsRequest request;
    struct kp_AlterPartitionReassignmentsResponse response;
    int64_t deadline_ms = clock_mono_ms() + r->admin.timeout_ms;
    struct errtext why = {{0}};
    bool failed = false;

    kp_defaults(&kp_AlterPartitionReassignmentsRequest_schema, &request);
    request.timeout_ms = (int32_t)i64_min(r->admin.timeout_ms, INT32_MAX);
    request.topics = admin_alloc(&r->admin, (size_t)parts->count, sizeof *request.topics);
    for (int32_t i = 0; i < parts->count; i++) {
        struct kp_AlterPartitionReassignmentsRequest_ReassignableTopic *t =
            &request.topics[i32_max(request.topics_count - 1, 0)];
        struct kp_AlterPartitionReassignmentsRequest_ReassignablePartition *p;

        if (request.topics_count == 0 || !str_eq_z(t->name, parts->parts[i].topic)) {
            t = &request.topics[request.topics_count++];
            kp_defaults(&kp_AlterPartitionReassignmentsRequest_ReassignableTopic_schema, t);
            t->name = str_of(parts->parts[i].topic);
            t->partitions = admin_alloc(&r->admin, (size_t)(parts->count - i), sizeof *p);
        }
        p = &t->partitions[t->partitions_count++];
        kp_defaults(&kp_AlterPartitionReassignmentsRequest_ReassignablePartition_schema, p);
        p->partition_index = parts->parts[i].partition;
        p->replicas = is_cancel ? NULL : tool_unconst(parts->parts[i].replicas.ids);
        p->replicas_count = is_cancel ? -1 : parts->parts[i].replicas.count;
    }
    do {
        if (admin_call(&r->admin, ADMIN_CONTROLLER, KP_API_ALTER_PARTITION_REASSIGNMENTS,
                       BCLIENT_NEWEST, &request, &response, NULL, &why) != ERR_OK)
            return refuse("Error: %s", why.text);
    } while (response.error_code == KE_NOT_CONTROLLER &&
             admin_retry_controller(&r->admin, deadline_ms));
    if (response.error_code != KE_NONE)
        return refuse("Error: %s",
                      admin_error(&r->admin, response.error_code, response.error_message));
    for (int32_t t = 0; t < response.responses_count; t++) {
        for (int32_t i = 0; i < response.responses[t].partitions_count; i++) {
            const struct kp_AlterPartitionReassignmentsResponse_ReassignablePartitionResponse *p =
                &response.responses[t].partitions[i];

            if (p->error_code == KE_NONE)
                continue;
            if (!failed)
                printf("%s\n", heading);
            failed = true;
            (void)refuse("%.*s-%d: %s", STR_ARG(response.responses[t].name), p->partition_index,
                         admin_error(&r->admin, p->error_code, p->error_message));
        }
    }
    return failed;
}

/* Prints "<what><s> <between> a-0,a-1". */
static void print_done(const char *what, const char *between, const struct reassign_plan *parts)
{
    struct buf names = {0};

    for (int32_t i = 0; i < parts->count; i++)
        print_name(&parts->parts[i], &names);
    printf("%s%s %s %s\n", what, parts->count == 1 ? "" : "s", between, buf_cstr(&names));
    buf_fini(&names);
}

/* The brokers and partitions of the plan must be there; prints where the replicas are now. */
static int check_targets(struct reassign *r, struct reassign_plan *current)
{
    int32_t topic_count = 0;
    const char **topics = topics_of(r, &r->plan, &topic_count);
    struct reassign_plan before = {0};
    struct buf text = {0};
    int rc = read_current(r, topics, topic_count, true, current);

    if (rc != 0)
        return rc;
    before.parts = admin_alloc(&r->admin, (size_t)r->plan.count, sizeof *before.parts);
    for (int32_t i = 0; i < r->plan.count; i++) {
        const struct reassign_part *p = &r->plan.parts[i];
        const struct reassign_part *now = reassign_find(current, p->topic, p->partition);

        for (int32_t k = 0; k < p->replicas.count; k++) {
            bool is_live = false;

            for (int32_t b = 0; b < r->admin.metadata.brokers_count; b++)
                is_live |= r->admin.metadata.brokers[b].node_id == p->replicas.ids[k];
            if (!is_live)
                return refuse("Error: Unknown broker id %d", p->replicas.ids[k]);
        }
        if (now == NULL)
            return refuse("Error: Unable to find partition: %s-%d", p->topic, p->partition);
        before.parts[before.count++] = *now;
    }
    reassign_print_json(&before, &text);
    printf("Current partition replica assignment\n\n%s\n\nSave this to use as the "
           "--reassignment-json-file option during rollback\n",
           buf_cstr(&text));
    buf_fini(&text);
    return 0;
}

static int execute(struct reassign *r)
{
    struct reassign_plan current = {0};
    struct errtext why = {{0}};
    int rc;

    if (reassign_check(&r->plan, &why) != ERR_OK)
        return refuse("Error: %s", why.text);
    rc = list_under_way(r);
    if (rc == 0 && r->under_way.count > 0 && !opts_has(r->o, "additional"))
        return refuse("Cannot execute because there is an existing partition assignment.  Use "
                      "--additional to override this and create a new partition assignment in "
                      "addition to the existing one. The --additional flag can also be used to "
                      "change the throttle by resubmitting the current reassignment.");
    if (rc == 0)
        rc = check_targets(r, &current);
    if (rc == 0)
        rc = set_throttles(r, &current);
    if (rc == 0)
        rc = alter(r, &r->plan, false, "Error reassigning partition(s):");
    if (rc == 0)
        print_done("Successfully started partition reassignment", "for", &r->plan);
    return rc;
}

static void print_state(const struct reassign_part *wanted, const struct reassign_part *moving,
                        const struct reassign_part *now)
{
    struct reassign_ids have = now == NULL ? (struct reassign_ids){0} : now->replicas;
    struct buf is = {0}, want = {0};

    if (moving != NULL) {
        printf("Reassignment of partition %s-%d is still in progress.\n", wanted->topic,
               wanted->partition);
    } else if (reassign_same(have, wanted->replicas)) {
        printf("Reassignment of partition %s-%d is completed.\n", wanted->topic, wanted->partition);
    } else {
        reassign_print_ids(have, &is);
        reassign_print_ids(wanted->replicas, &want);
        printf("There is no active reassignment of partition %s-%d, but replica set is %s rather "
               "than %s.\n",
               wanted->topic, wanted->partition, buf_cstr(&is), buf_cstr(&want));
    }
    buf_fini(&is);
    buf_fini(&want);
}

static int verify(struct reassign *r)
{
    int32_t topic_count = 0;
    const char **topics = topics_of(r, &r->plan, &topic_count);
    struct reassign_plan current;
    int rc = list_under_way(r);

    if (rc == 0)
        rc = read_current(r, topics, topic_count, false, &current);
    if (rc != 0)
        return rc;
    printf("Status of partition reassignment:\n");
    for (int32_t i = 0; i < r->plan.count; i++) {
        const struct reassign_part *p = &r->plan.parts[i];

        print_state(p, reassign_find(&r->under_way, p->topic, p->partition),
                    reassign_find(&current, p->topic, p->partition));
    }
    printf("\n"); /* Kafka's place for moves between log directories */
    if (r->under_way.count > 0 || opts_has(r->o, "preserve-throttles"))
        return 0;
    return clear_throttles(r);
}

static int cancel(struct reassign *r)
{
    struct reassign_plan active = {0};
    int rc = list_under_way(r);

    if (rc != 0)
        return rc;
    active.parts = admin_alloc(&r->admin, (size_t)r->plan.count, sizeof *active.parts);
    for (int32_t i = 0; i < r->plan.count; i++) {
        const struct reassign_part *p = &r->plan.parts[i];

        if (reassign_find(&r->under_way, p->topic, p->partition) != NULL &&
            reassign_find(&active, p->topic, p->partition) == NULL)
            active.parts[active.count++] = *p;
    }
    if (active.count == 0)
        printf("None of the specified partition reassignments are active.\n");
    else
        rc = alter(r, &active, true, "Error cancelling partition reassignments for:");
    if (rc != 0)
        return rc;
    if (active.count > 0)
        print_done("Successfully cancelled partition reassignment", "for:", &active);
    printf("None of the specified partition moves are active.\n");
    return opts_has(r->o, "preserve-throttles") ? 0 : clear_throttles(r);
}

static int list(struct reassign *r)
{
    struct buf out = {0};
    int rc = list_under_way(r);

    if (rc != 0)
        return rc;
    for (int32_t i = 0; i < r->under_way.count; i++) {
        const struct reassign_part *p = &r->under_way.parts[i];

        buf_printf(&out, "%s-%d: replicas: ", p->topic, p->partition);
        reassign_print_ids(p->replicas, &out);
        buf_printf(&out, ".");
        if (p->adding.count > 0) {
            buf_printf(&out, " adding: ");
            reassign_print_ids(p->adding, &out);
            buf_printf(&out, ".");
        }
        if (p->removing.count > 0) {
            buf_printf(&out, " removing: ");
            reassign_print_ids(p->removing, &out);
            buf_printf(&out, ".");
        }
        buf_printf(&out, "\n");
    }
    if (r->under_way.count == 0)
        printf("No partition reassignments found.\n");
    else
        printf("Current partition reassignments:\n%s", buf_cstr(&out));
    buf_fini(&out);
    return 0;
}

/* The live ones of --broker-list; false with a line printed: racks on only some of them. */
static bool choose_brokers(struct reassign *r, struct reassign_ids wanted,
                           struct placement_broker *brokers, int32_t *count_out)
{
    bool use_racks = !opts_has(r->o, "disable-rack-aware");
    int32_t n = 0, racks = 0;

    for (int32_t i = 0; i < wanted.count; i++) {
        int32_t at = 0;

        while (at < r->admin.metadata.brokers_count &&
               r->admin.metadata.brokers[at].node_id != wanted.ids[i])
            at++;
        if (at == r->admin.metadata.brokers_count) {
            opts_warn(r->o, "broker %d of --broker-list is not alive: it gets no replica",
                      wanted.ids[i]);
            continue;
        }
        brokers[n] = (struct placement_broker){wanted.ids[i], STR_NULL};
        if (use_racks)
            brokers[n].rack = r->admin.metadata.brokers[at].rack;
        racks += brokers[n++].rack.len >= 0;
    }
    *count_out = n;
    if (racks != 0 && racks != n) {
        (void)refuse("Error: Not all brokers have rack information. Add --disable-rack-aware in "
                     "command line to make replica assignment without rack information.");
        return false;
    }
    return true;
}

static int generate(struct reassign *r)
{
    struct reassign_plan current, proposed;
    struct placement_broker *brokers;
    struct buf text = {0};
    struct errtext why = {{0}};
    json_t *root = NULL;
    const char **names;
    int32_t *ids, id_count, name_count, live_count;
    int rc;

    if (reassign_parse_brokers(opts_text(r->o, "broker-list", ""), &r->admin.arena, &ids, &id_count,
                               &why) != ERR_OK)
        return refuse("Error: %s", why.text);
    if (json_file_read("topics-to-move-json-file", opts_text(r->o, "topics-to-move-json-file", ""),
                       &root, &why) != ERR_OK)
        return refuse("Error: %s", why.text);
    if (reassign_parse_topics(root, &r->admin.arena, &names, &name_count, &why) != ERR_OK) {
        json_decref(root);
        return refuse("Error: --topics-to-move-json-file %s: %s",
                      opts_text(r->o, "topics-to-move-json-file", ""), why.text);
    }
    json_decref(root);
    rc = read_current(r, names, name_count, true, &current);
    brokers = admin_alloc(&r->admin, (size_t)id_count, sizeof *brokers);
    if (rc == 0 && !choose_brokers(r, (struct reassign_ids){ids, id_count}, brokers, &live_count))
        rc = 1;
    if (rc != 0)
        return rc;
    if (reassign_propose(&current, brokers, live_count, &r->admin.arena, &proposed, &why) != ERR_OK)
        return refuse("Error: %s", why.text);
    reassign_print_json(&current, &text);
    printf("Current partition replica assignment\n%s\n\n", buf_cstr(&text));
    text.len = 0;
    reassign_print_json(&proposed, &text);
    printf("Proposed partition reassignment configuration\n%s\n", buf_cstr(&text));
    buf_fini(&text);
    return 0;
}

/* ---- options */

static const struct action {
    const char *name;
    int (*run)(struct reassign *r);
    const char *needs[2];
    const char *takes[4]; /* beyond what every action takes */
} actions[] = {
    {"generate", generate, {"topics-to-move-json-file", "broker-list"}, {"disable-rack-aware"}},
    {"execute",
     execute,
     {"reassignment-json-file"},
     {"additional", "throttle", "replica-alter-log-dirs-throttle", "timeout"}},
    {"verify", verify, {"reassignment-json-file"}, {"preserve-throttles"}},
    {"cancel", cancel, {"reassignment-json-file"}, {"preserve-throttles", "timeout"}},
    {"list", list, {NULL}, {NULL}},
};

static bool is_among(const char *name, const char *const *names, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (names[i] != NULL && strcmp(names[i], name) == 0)
            return true;
    return false;
}

/* What Kafka's script refuses before it connects. */
static int choose_action(const struct opts *o, const struct action **out)
{
    static const char *const any[] = {"bootstrap-server", "bootstrap-controller", "command-config",
                                      "timeout-ms"};
    const struct action *a = NULL;
    int count = 0;

    for (size_t i = 0; i < ARRAY_LEN(actions); i++) {
        if (!opts_has(o, actions[i].name))
            continue;
        a = &actions[i];
        count++;
    }
    if (count != 1)
        return opts_fail(o, "Command must include exactly one action: --generate, --execute, "
                            "--verify, --cancel, --list");
    if (opts_has(o, "bootstrap-controller"))
        return opts_fail(o, "--bootstrap-controller is for Kafka clusters with KRaft controllers: "
                            "give a broker with --bootstrap-server");
    if (!opts_has(o, "bootstrap-server"))
        return opts_fail(o, "Please specify --bootstrap-server, for example --bootstrap-server "
                            "localhost:9092");
    for (size_t i = 0; i < ARRAY_LEN(a->needs); i++)
        if (a->needs[i] != NULL && !opts_has(o, a->needs[i]))
            return opts_fail(o, "Missing required argument \"[%s]\": --%s needs --%s <%s>",
                             a->needs[i], a->name, a->needs[i],
                             strcmp(a->needs[i], "broker-list") == 0 ? "id,..." : "file");
    for (size_t i = 0; i < ARRAY_LEN(specs); i++)
        if (opts_has(o, specs[i].name) && strcmp(specs[i].name, a->name) != 0 &&
            !is_among(specs[i].name, any, ARRAY_LEN(any)) &&
            !is_among(specs[i].name, a->needs, ARRAY_LEN(a->needs)) &&
            !is_among(specs[i].name, a->takes, ARRAY_LEN(a->takes)))
            return opts_fail(o, "Option \"[%s]\" can't be used with action \"[%s]\"", specs[i].name,
                             a->name);
    *out = a;
    return -1;
}

static int read_plan(struct reassign *r)
{
    const char *path = opts_text(r->o, "reassignment-json-file", NULL);
    struct errtext why = {{0}};
    json_t *root = NULL;
    enum err rc;

    if (path == NULL)
        return 0;
    if (json_file_read("reassignment-json-file", path, &root, &why) != ERR_OK)
        return refuse("Error: %s", why.text);
    rc = reassign_parse(root, &r->admin.arena, &r->plan, &why);
    json_decref(root);
    if (rc != ERR_OK)
        return refuse("Error: --reassignment-json-file %s: %s", path, why.text);
    reassign_sort(&r->plan);
    for (int32_t i = 0; i < r->plan.count; i++)
        if (r->plan.parts[i].log_dir != NULL)
            return refuse(
                "Error: the plan puts %s-%d into the log directory %s, but replicas cannot be "
                "moved between the log directories of a broker yet: leave \"log_dirs\" "
                "out, or write \"any\"",
                r->plan.parts[i].topic, r->plan.parts[i].partition, r->plan.parts[i].log_dir);
    return 0;
}

int cmd_reassign_partitions(int argc, char **argv)
{
    struct reassign r = {.o = NULL};
    const struct action *action = NULL;
    struct opts o;
    int rc = opts_start(&o, &command, argc, argv);

    r.o = &o;
    if (rc < 0)
        rc = choose_action(&o, &action);
    if (rc < 0)
        rc = admin_start(&r.admin, &o);
    if (rc < 0) {
        rc = read_plan(&r);
        if (rc == 0)
            rc = action->run(&r);
    }
    admin_close(&r.admin);
    opts_fini(&o);
    return rc;
}
