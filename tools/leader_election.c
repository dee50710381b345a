/* SPDX-License-Identifier: Apache-2.0 */
/* kafuka-leader-election: has the controller elect leaders of partitions, preferred or unclean
 * ones.
 */
#include "common/base/clock.h"
#include "tools/lib/admin.h"
#include "tools/lib/json_file.h"
#include "tools/lib/tool.h"

#include <stdio.h>
#include <strings.h>

enum { ELECT_PREFERRED = 0, ELECT_UNCLEAN = 1 };

static const struct opt_spec specs[] = {
    ADMIN_OPTIONS,
    {"election-type", OPT_TEXT, "type",
     "REQUIRED: preferred has the first replica of a partition lead if it is in sync; unclean "
     "gives a partition without a leader one that is not in sync, which can lose records.",
     0, 0},
    {"all-topic-partitions", OPT_FLAG, NULL, "Elect leaders of all partitions of all topics.", 0,
     0},
    {"topic", OPT_TEXT, "topic",
     "Elect the leader of one partition of this topic; needs --partition.", 0, 0},
    {"partition", OPT_INT, "number", "The number of the partition of --topic.", 0, INT32_MAX},
    {"path-to-json-file", OPT_TEXT, "file",
     "Elect the leaders of the partitions in this file: {\"partitions\": [{\"topic\": \"foo\", "
     "\"partition\": 1}]}",
     0, 0},
    {"admin.config", OPT_TEXT, "file", "The older name of --command-config.", 0, 0},
};

static const struct opt_command command = {
    .name = "leader-election",
    .summary = "has the controller elect leaders of partitions.",
    .specs = specs,
    .spec_count = ARRAY_LEN(specs),
    .examples = "--bootstrap-server localhost:9092 --election-type preferred "
                "--all-topic-partitions\n"
                "--bootstrap-server localhost:9092 --election-type preferred --topic orders "
                "--partition 0\n"
                "--bootstrap-server localhost:9092 --election-type unclean --path-to-json-file "
                "lost.json\n",
};

/* What Kafka's script refuses before it connects; -1 to go on. */
static int check_options(const struct opts *o, int8_t *type_out)
{
    const char *type = opts_text(o, "election-type", NULL);
    bool has_bootstrap = opts_has(o, "bootstrap-server");

    if (type == NULL || !has_bootstrap)
        return opts_fail(
            o, "Missing required option(s): %s%s%s", has_bootstrap ? "" : "bootstrap-server",
            type == NULL && !has_bootstrap ? ", " : "", type == NULL ? "election-type" : "");
    if (strcasecmp(type, "preferred") == 0)
        *type_out = ELECT_PREFERRED;
    else if (strcasecmp(type, "unclean") == 0)
        *type_out = ELECT_UNCLEAN;
    else
        return opts_fail(o, "--election-type is preferred or unclean, not '%s'", type);
    if (opts_has(o, "topic") + opts_has(o, "all-topic-partitions") +
            opts_has(o, "path-to-json-file") !=
        1)
        return opts_fail(o, "One and only one of the following options is required: topic, "
                            "all-topic-partitions, path-to-json-file");
    if (opts_has(o, "topic") && !opts_has(o, "partition"))
        return opts_fail(o, "Missing required option(s): partition (--topic goes with it)");
    if (opts_has(o, "partition") && !opts_has(o, "topic"))
        return opts_fail(o, "Option partition is only allowed if topic is used");
    if (opts_has(o, "command-config") && opts_has(o, "admin.config"))
        return opts_fail(o, "--command-config and --admin.config are the same: give one of them");
    return -1;
}

static void add_partition(struct admin *a, struct kp_ElectLeadersRequest *request,
                          const char *topic, int32_t partition)
{
    struct kp_ElectLeadersRequest_TopicPartitions *t =
        &request->topic_partitions[request->topic_partitions_count++];

    kp_defaults(&kp_ElectLeadersRequest_TopicPartitions_schema, t);
    t->topic = str_of(topic);
    t->partitions = admin_alloc(a, 1, sizeof *t->partitions);
    t->partitions[0] = partition;
    t->partitions_count = 1;
}

/* The partitions that the file lists, each once. */
static enum err read_file(struct admin *a, const char *path, struct kp_ElectLeadersRequest *request,
                          struct errtext *why)
{
    json_t *root = NULL, *list;
    enum err rc = json_file_read("path-to-json-file", path, &root, why);

    if (rc != ERR_OK)
        return rc;
    list = json_object_get(root, "partitions");
    if (!json_is_array(list)) {
        errtext_set(why,
                    "--path-to-json-file %s: Replica election data is missing \"partitions\" "
                    "field",
                    path);
        rc = ERR_INVALID;
    }
    request->topic_partitions =
        admin_alloc(a, json_array_size(list), sizeof *request->topic_partitions);
    for (size_t i = 0; rc == ERR_OK && i < json_array_size(list); i++) {
        const json_t *topic = json_object_get(json_array_get(list, i), "topic");
        const json_t *partition = json_object_get(json_array_get(list, i), "partition");
        const char *name;

        if (!json_is_string(topic) || !json_is_integer(partition) ||
            json_integer_value(partition) < 0 || json_integer_value(partition) > INT32_MAX) {
            errtext_set(why,
                        "--path-to-json-file %s: entry %zu of \"partitions\" needs a \"topic\" and "
                        "a \"partition\" (a number from 0)",
                        path, i);
            rc = ERR_INVALID;
            break;
        }
        name = arena_strdup(&a->arena, json_string_value(topic), json_string_length(topic));
        for (int32_t k = 0; k < request->topic_partitions_count; k++)
            if (str_eq_z(request->topic_partitions[k].topic, name) &&
                request->topic_partitions[k].partitions[0] == json_integer_value(partition)) {
                errtext_set(why,
                            "--path-to-json-file %s: Replica election data contains duplicate "
                            "partitions: [%s-%d]",
                            path, name, request->topic_partitions[k].partitions[0]);
                rc = ERR_INVALID;
            }
        if (rc == ERR_OK)
            add_partition(a, request, name, (int32_t)json_integer_value(partition));
    }
    json_decref(root);
    return rc;
}

static enum err fill_request(struct admin *a, const struct opts *o, int8_t type,
                             struct kp_ElectLeadersRequest *request, struct errtext *why)
{
    kp_defaults(&kp_ElectLeadersRequest_schema, request);
    request->election_type = type;
    request->timeout_ms = (int32_t)i64_min(a->timeout_ms, INT32_MAX);
    if (opts_has(o, "path-to-json-file"))
        return read_file(a, opts_text(o, "path-to-json-file", ""), request, why);
    if (opts_has(o, "topic")) {
        request->topic_partitions = admin_alloc(a, 1, sizeof *request->topic_partitions);
        add_partition(a, request, opts_text(o, "topic", ""), (int32_t)opts_int(o, "partition", 0));
    } else {
        request->topic_partitions_count = -1;
    }
    return ERR_OK;
}

static void add_name(struct buf *out, struct str topic, int32_t partition)
{
    buf_printf(out, "%s%.*s-%d", out->len == 0 ? "" : ", ", STR_ARG(topic), partition);
}

/* Kafka's lines: done, not needed, failed. */
static int print_results(struct admin *a, const struct opts *o, const char *type,
                         const struct kp_ElectLeadersResponse *response)
{
    struct buf done = {0}, not_needed = {0}, errors = {0};
    int failed = 0;

    for (int32_t t = 0; t < response->replica_election_results_count; t++) {
        const struct kp_ElectLeadersResponse_ReplicaElectionResult *topic =
            &response->replica_election_results[t];

        for (int32_t i = 0; i < topic->partition_result_count; i++) {
            const struct kp_ElectLeadersResponse_PartitionResult *p = &topic->partition_result[i];

            if (p->error_code == KE_NONE) {
                add_name(&done, topic->topic, p->partition_id);
            } else if (p->error_code == KE_ELECTION_NOT_NEEDED) {
                add_name(&not_needed, topic->topic, p->partition_id);
            } else {
                buf_printf(&errors,
                           "Error completing leader election (%s) for partition: %.*s-%d: %s: "
                           "%s\n",
                           type, STR_ARG(topic->topic), p->partition_id, kerr_name(p->error_code),
                           admin_error(a, p->error_code, p->error_message));
                failed++;
            }
        }
    }
    if (done.len > 0)
        printf("Successfully completed leader election (%s) for partitions %s\n", type,
               buf_cstr(&done));
    if (not_needed.len > 0)
        printf("Valid replica already elected for partitions %s\n", buf_cstr(&not_needed));
    printf("%s", buf_cstr(&errors));
    buf_fini(&done);
    buf_fini(&not_needed);
    buf_fini(&errors);
    return failed == 0 ? 0 : opts_fail(o, "%d replica(s) could not be elected", failed);
}

static int run(struct admin *a, const struct opts *o, int8_t type)
{
    struct kp_ElectLeadersRequest request;
    struct kp_ElectLeadersResponse response;
    int64_t deadline_ms = clock_mono_ms() + a->timeout_ms;
    struct errtext why = {{0}};

    if (fill_request(a, o, type, &request, &why) != ERR_OK)
        return opts_fail(o, "%s", why.text);
    do {
        if (admin_call(a, ADMIN_CONTROLLER, KP_API_ELECT_LEADERS, BCLIENT_NEWEST, &request,
                       &response, NULL, &why) != ERR_OK)
            return opts_fail(o, "%s", why.text);
    } while (response.error_code == KE_NOT_CONTROLLER && admin_retry_controller(a, deadline_ms));
    if (response.error_code != KE_NONE)
        return opts_fail(o, "%s", kerr_text(response.error_code));
    return print_results(a, o, type == ELECT_PREFERRED ? "PREFERRED" : "UNCLEAN", &response);
}

int cmd_leader_election(int argc, char **argv)
{
    struct admin a = {0};
    int8_t type = ELECT_PREFERRED;
    struct opts o;
    int rc = opts_start(&o, &command, argc, argv);

    if (rc < 0)
        rc = check_options(&o, &type);
    if (rc < 0)
        rc = admin_start_at(&a, &o, opts_text(&o, "bootstrap-server", NULL),
                            opts_text(&o, "command-config", opts_text(&o, "admin.config", NULL)));
    if (rc < 0)
        rc = run(&a, &o, type);
    admin_close(&a);
    opts_fini(&o);
    return rc;
}
