/* SPDX-License-Identifier: Apache-2.0 */
/* kafuka-delete-records: deletes the records of partitions before an offset, as a JSON file says.
 */
#include "tools/lib/admin.h"
#include "tools/lib/json_file.h"
#include "tools/lib/tool.h"

#include <stdio.h>

static const struct opt_spec specs[] = {
    ADMIN_OPTIONS,
    {"offset-json-file", OPT_TEXT, "file",
     "REQUIRED: a file that says for each partition before which offset its records are deleted; "
     "-1 deletes all that are there now. {\"partitions\": [{\"topic\": \"t\", \"partition\": 0, "
     "\"offset\": 42}], \"version\": 1}",
     0, 0},
};

static const struct opt_command command = {
    .name = "delete-records",
    .summary = "deletes the records of partitions before an offset.",
    .specs = specs,
    .spec_count = ARRAY_LEN(specs),
    .examples = "--bootstrap-server localhost:9092 --offset-json-file before.json\n",
};

struct cut {
    const char *topic;
    int32_t partition, leader;
    int64_t offset;
    int64_t low_watermark;
    int16_t error;
    bool is_done;
};

static enum err take_cut(struct admin *a, const json_t *item, size_t index, struct cut *out,
                         struct errtext *why)
{
    const json_t *topic = json_object_get(item, "topic");
    const json_t *partition = json_object_get(item, "partition");
    const json_t *offset = json_object_get(item, "offset");

    if (!json_is_string(topic) || !json_is_integer(partition) || !json_is_integer(offset) ||
        json_integer_value(partition) < 0 || json_integer_value(partition) > INT32_MAX ||
        json_integer_value(offset) < -1) {
        errtext_set(why,
                    "entry %zu of \"partitions\" needs a \"topic\", a \"partition\" and an "
                    "\"offset\" (-1 or more)",
                    index);
        return ERR_INVALID;
    }
    *out = (struct cut){
        .topic = arena_strdup(&a->arena, json_string_value(topic), json_string_length(topic)),
        .partition = (int32_t)json_integer_value(partition),
        .leader = -1,
        .offset = json_integer_value(offset),
        .low_watermark = -1,
        .error = KE_UNKNOWN_TOPIC_OR_PARTITION,
    };
    return ERR_OK;
}

static enum err read_file(struct admin *a, const char *path, struct cut **cuts_out,
                          size_t *count_out, struct errtext *why)
{
    json_t *root = NULL, *list;
    enum err rc = json_file_read("offset-json-file", path, &root, why);

    *count_out = 0;
    if (rc != ERR_OK)
        return rc;
    list = json_object_get(root, "partitions");
    if (!json_is_array(list)) {
        errtext_set(why, "--offset-json-file %s: it has no array \"partitions\"", path);
        rc = ERR_INVALID;
        goto out;
    }
    *count_out = json_array_size(list);
    *cuts_out = admin_alloc(a, *count_out, sizeof **cuts_out);
    for (size_t i = 0; rc == ERR_OK && i < *count_out; i++) {
        rc = take_cut(a, json_array_get(list, i), i, &(*cuts_out)[i], why);
        for (size_t k = 0; rc == ERR_OK && k < i; k++) {
            if ((*cuts_out)[k].partition == (*cuts_out)[i].partition &&
                strcmp((*cuts_out)[k].topic, (*cuts_out)[i].topic) == 0) {
                errtext_set(why, "Offset json file contains duplicate topic partitions: %s-%d",
                            (*cuts_out)[i].topic, (*cuts_out)[i].partition);
                rc = ERR_INVALID;
            }
        }
    }
out:
    json_decref(root);
    return rc;
}

static void find_leaders(const struct kp_MetadataResponse *m, struct cut *cuts, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        for (int32_t t = 0; t < m->topics_count; t++) {
            if (!str_eq_z(m->topics[t].name, cuts[i].topic))
                continue;
            for (int32_t p = 0; p < m->topics[t].partitions_count; p++) {
                if (m->topics[t].partitions[p].partition_index == cuts[i].partition) {
                    cuts[i].leader = m->topics[t].partitions[p].leader_id;
                    cuts[i].error = KE_LEADER_NOT_AVAILABLE;
                }
            }
        }
    }
}

static enum err ask_leader(struct admin *a, struct cut *cuts, size_t count, int32_t leader,
                           struct errtext *why)
{
    struct kp_DeleteRecordsRequest request;
    struct kp_DeleteRecordsResponse response;
    enum err rc;

    kp_defaults(&kp_DeleteRecordsRequest_schema, &request);
    request.timeout_ms = (int32_t)i64_min(a->timeout_ms, INT32_MAX);
    request.topics = admin_alloc(a, count, sizeof *request.topics);
    for (size_t i = 0; i < count; i++) {
        struct kp_DeleteRecordsRequest_DeleteRecordsPartition *p;

        if (cuts[i].leader != leader)
            continue;
        p = admin_alloc(a, 1, sizeof *p);
        p->partition_index = cuts[i].partition;
        p->offset = cuts[i].offset;
        request.topics[request.topics_count].name = str_of(cuts[i].topic);
        request.topics[request.topics_count].partitions = p;
        request.topics[request.topics_count++].partitions_count = 1;
        cuts[i].is_done = true;
    }
    rc = admin_call(a, leader, KP_API_DELETE_RECORDS, BCLIENT_NEWEST, &request, &response, NULL,
                    why);
    for (int32_t t = 0; rc == ERR_OK && t < response.topics_count; t++)
        for (int32_t p = 0; p < response.topics[t].partitions_count; p++)
            for (size_t i = 0; i < count; i++)
                if (str_eq_z(response.topics[t].name, cuts[i].topic) &&
                    response.topics[t].partitions[p].partition_index == cuts[i].partition) {
                    cuts[i].error = response.topics[t].partitions[p].error_code;
                    cuts[i].low_watermark = response.topics[t].partitions[p].low_watermark;
                }
    return rc;
}

static int run(struct admin *a, const struct opts *o)
{
    const char *path = opts_text(o, "offset-json-file", NULL);
    struct kp_MetadataResponse m;
    struct errtext why = {{0}};
    struct cut *cuts = NULL;
    const char **names;
    size_t count;
    int rc = 0;

    if (path == NULL)
        return opts_fail(o, "Missing required argument \"[offset-json-file]\": "
                            "--offset-json-file <file>");
    if (read_file(a, path, &cuts, &count, &why) != ERR_OK)
        return opts_fail(o, "%s", why.text);
    names = admin_alloc(a, count, sizeof *names);
    for (size_t i = 0; i < count; i++)
        names[i] = cuts[i].topic;
    printf("Executing records delete operation\n");
    if (admin_metadata(a, names, count, &m, &why) != ERR_OK)
        return opts_fail(o, "%s", why.text);
    find_leaders(&m, cuts, count);
    for (size_t i = 0; i < count; i++)
        if (!cuts[i].is_done && cuts[i].leader >= 0 &&
            ask_leader(a, cuts, count, cuts[i].leader, &why) != ERR_OK)
            return opts_fail(o, "%s", why.text);
    printf("Records delete operation completed:\n");
    for (size_t i = 0; i < count; i++) {
        if (cuts[i].error == KE_NONE)
            printf("partition: %s-%d\tlow_watermark: %" PRId64 "\n", cuts[i].topic,
                   cuts[i].partition, cuts[i].low_watermark);
        else
            printf("partition: %s-%d\terror: %s: %s\n", cuts[i].topic, cuts[i].partition,
                   kerr_name(cuts[i].error), kerr_text(cuts[i].error));
        rc |= cuts[i].error != KE_NONE;
    }
    return rc;
}

int cmd_delete_records(int argc, char **argv)
{
    struct admin a = {0};
    struct opts o;
    int rc = opts_start(&o, &command, argc, argv);

    if (rc < 0)
        rc = admin_start(&a, &o);
    if (rc < 0)
        rc = run(&a, &o);
    admin_close(&a);
    opts_fini(&o);
    return rc;
}
