/* SPDX-License-Identifier: Apache-2.0 */
/* kafuka-log-dirs: what lies in the log directories of the brokers, as JSON. */
#include "tools/lib/admin.h"
#include "tools/lib/tool.h"

#include "common/base/json_writer.h"

#include <stdio.h>

static const struct opt_spec specs[] = {
    ADMIN_OPTIONS,
    {"describe", OPT_FLAG, NULL, "REQUIRED: show the log directories.", 0, 0},
    {"topic-list", OPT_TEXT, "topic,...", "Show only the partitions of these topics.", 0, 0},
    {"broker-list", OPT_TEXT, "id,...",
     "Show only the log directories of the brokers with these ids.", 0, 0},
};

static const struct opt_command command = {
    .name = "log-dirs",
    .summary = "prints what lies in the log directories of the brokers, as JSON.",
    .specs = specs,
    .spec_count = ARRAY_LEN(specs),
    .examples = "--bootstrap-server localhost:9092 --describe\n"
                "--bootstrap-server localhost:9092 --describe --topic-list orders --broker-list "
                "0,1\n",
};

/* The brokers to ask into ids; their number, -1: a line was printed. */
static int32_t choose_brokers(struct admin *a, const struct opts *o, int32_t *ids)
{
    const char *text = opts_text(o, "broker-list", NULL);
    struct buf missing = {0}, live = {0};
    int32_t n = 0;

    for (int32_t i = 0; i < a->metadata.brokers_count; i++)
        buf_printf(&live, "%s%d", i == 0 ? "" : ",", a->metadata.brokers[i].node_id);
    for (int32_t i = 0; text == NULL && i < a->metadata.brokers_count; i++)
        ids[n++] = a->metadata.brokers[i].node_id;
    while (text != NULL && *text != '\0' && n >= 0) {
        size_t len = strcspn(text, ",");
        char number[16];
        int64_t id = -1;
        bool is_live = false, is_repeated = false;

        (void)snprintf(number, sizeof number, "%.*s", (int)size_min(len, 15), text);
        if (!opt_number(number, 0, INT32_MAX, &id)) {
            (void)opts_fail(o, "--broker-list takes broker ids separated by commas, not '%s'",
                            opts_text(o, "broker-list", ""));
            n = -1;
            break;
        }
        for (int32_t i = 0; i < a->metadata.brokers_count; i++)
            is_live |= a->metadata.brokers[i].node_id == id;
        for (int32_t i = 0; i < n; i++)
            is_repeated |= ids[i] == id;
        if (is_live && !is_repeated)
            ids[n++] = (int32_t)id;
        else if (!is_live)
            buf_printf(&missing, "%s%" PRId64, missing.len == 0 ? "" : ",", id);
        text += len + (text[len] == ',');
    }
    if (n >= 0 && missing.len > 0) {
        fprintf(stderr,
                "ERROR: The given brokers do not exist from --broker-list: %s. Current "
                "existent brokers: %s\n",
                buf_cstr(&missing), buf_cstr(&live));
        n = -1;
    }
    buf_fini(&missing);
    buf_fini(&live);
    return n;
}

static enum err describe(struct admin *a, int32_t id, const struct kp_MetadataResponse *m,
                         bool all_topics, struct kp_DescribeLogDirsResponse *out,
                         struct errtext *why)
{
    struct kp_DescribeLogDirsRequest request;

    kp_defaults(&kp_DescribeLogDirsRequest_schema, &request);
    request.topics_count = all_topics ? -1 : m->topics_count;
    if (!all_topics)
        request.topics = admin_alloc(a, (size_t)m->topics_count, sizeof *request.topics);
    for (int32_t i = 0; i < request.topics_count; i++) {
        const struct kp_MetadataResponse_MetadataResponseTopic *t = &m->topics[i];

        kp_defaults(&kp_DescribeLogDirsRequest_DescribableLogDirTopic_schema, &request.topics[i]);
        request.topics[i].topic = t->name;
        request.topics[i].partitions_count = i32_max(t->partitions_count, 0);
        request.topics[i].partitions =
            admin_alloc(a, (size_t)request.topics[i].partitions_count, sizeof(int32_t));
        for (int32_t p = 0; p < t->partitions_count; p++)
            request.topics[i].partitions[p] = t->partitions[p].partition_index;
    }
    return admin_call(a, id, KP_API_DESCRIBE_LOG_DIRS, BCLIENT_NEWEST, &request, out, NULL, why);
}

static void add_dir(const struct kp_DescribeLogDirsResponse_DescribeLogDirsResult *d,
                    struct json_writer *w)
{
    struct buf name = {0};

    json_write_object(w, NULL);
    json_write_array(w, "partitions");
    for (int32_t t = 0; t < d->topics_count; t++) {
        for (int32_t p = 0; p < d->topics[t].partitions_count; p++) {
            const struct kp_DescribeLogDirsResponse_DescribeLogDirsPartition *part =
                &d->topics[t].partitions[p];

            name.len = 0;
            buf_printf(&name, "%.*s-%d", STR_ARG(d->topics[t].name), part->partition_index);
            json_write_object(w, NULL);
            json_write_text(w, "partition", buf_cstr(&name));
            json_write_int(w, "size", part->partition_size);
            json_write_int(w, "offsetLag", part->offset_lag);
            json_write_bool(w, "isFuture", part->is_future_key);
            json_write_end(w);
        }
    }
    json_write_end(w);
    json_write_text(w, "error", d->error_code == KE_NONE ? NULL : kerr_text(d->error_code));
    json_write_str(w, "logDir", d->log_dir.len < 0 ? STR_LIT("") : d->log_dir);
    json_write_end(w);
    buf_fini(&name);
}

/* Topics named on the command line into names; their number. */
static size_t split_topics(struct admin *a, const char *text, const char **names)
{
    size_t n = 0;

    while (*text != '\0') {
        size_t len = strcspn(text, ",");

        if (len > 0)
            names[n++] = arena_strdup(&a->arena, text, len);
        text += len + (text[len] == ',');
    }
    return n;
}

static int run(struct admin *a, const struct opts *o)
{
    const char *topics = opts_text(o, "topic-list", NULL);
    struct kp_MetadataResponse m;
    struct errtext why = {{0}};
    struct buf out = {0};
    struct json_writer w = json_write_to(&out);
    int32_t *ids, count;
    int rc = 0;
    const char **names = admin_alloc(a, topics == NULL ? 0 : strlen(topics) + 1, sizeof *names);
    size_t name_count = topics == NULL ? 0 : split_topics(a, topics, names);

    if (!opts_has(o, "describe"))
        return opts_fail(o, "Missing required argument \"[describe]\": --describe");
    if (admin_metadata(a, names, name_count, &m, &why) != ERR_OK)
        return opts_fail(o, "%s", why.text);
    ids = admin_alloc(a, (size_t)i32_max(m.brokers_count, 0), sizeof *ids);
    count = choose_brokers(a, o, ids);
    if (count < 0)
        return 1;
    printf("Querying brokers for log directories information\n");
    buf_printf(&out, "Received log directory information from brokers ");
    for (int32_t i = 0; i < count; i++)
        buf_printf(&out, "%s%d", i == 0 ? "" : ",", ids[i]);
    buf_add(&out, "\n", 1);
    json_write_object(&w, NULL);
    json_write_array(&w, "brokers");
    for (int32_t i = 0; rc == 0 && i < count; i++) {
        struct kp_DescribeLogDirsResponse response;

        if (describe(a, ids[i], &m, topics == NULL, &response, &why) != ERR_OK) {
            rc = opts_fail(o, "%s", why.text);
            break;
        }
        if (response.error_code != KE_NONE) {
            rc = opts_fail(o, "broker %d: %s", ids[i], kerr_text(response.error_code));
            break;
        }
        json_write_object(&w, NULL);
        json_write_int(&w, "broker", ids[i]);
        json_write_array(&w, "logDirs");
        for (int32_t d = 0; d < response.results_count; d++)
            add_dir(&response.results[d], &w);
        json_write_end(&w);
        json_write_end(&w);
    }
    json_write_end(&w);
    json_write_int(&w, "version", 1);
    json_write_end(&w);
    json_write_done(&w);
    buf_add(&out, "\n", 1);
    if (rc == 0)
        (void)fwrite(out.p, 1, out.len, stdout);
    buf_fini(&out);
    return rc;
}

int cmd_log_dirs(int argc, char **argv)
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
