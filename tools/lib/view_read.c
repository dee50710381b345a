/* SPDX-License-Identifier: Apache-2.0 */
/* Fills a view from a broker's metadata or from the znodes. Both give the same model. */
#include "tools/lib/admin.h"
#include "tools/lib/mem.h"
#include "tools/lib/view.h"
#include "tools/lib/zookeeper.h"

#include <stdio.h>
#include <stdlib.h>

enum { RESOURCE_TOPIC = 2, CONFIGS_PER_REQUEST = 1000, DEFAULT_MIN_ISR = 1 };

static char *copy_str(struct arena *a, struct str s)
{
    return s.len < 0 ? NULL : arena_strdup(a, s.p, (size_t)s.len);
}

static int by_name(const void *x, const void *y)
{
    const struct view_topic *a = x, *b = y;

    return strcmp(a->info.name, b->info.name);
}

static int by_index(const void *x, const void *y)
{
    const struct topic_partition_info *a = x, *b = y;

    return (a->index > b->index) - (a->index < b->index);
}

static bool is_live(const struct view *v, int32_t id)
{
    for (int32_t i = 0; i < v->broker_count; i++)
        if (v->brokers[i].id == id)
            return v->brokers[i].is_live;
    return false;
}

static struct view_topic *find_topic(struct view *v, struct str name)
{
    char *z = str_dup(name);
    struct view_topic key = {.info = {.name = z == NULL ? "" : z}}, *found = NULL;

    if (v->topic_count > 0)
        found = bsearch(&key, v->topics, (size_t)v->topic_count, sizeof key, by_name);
    mem_free(z);
    return found;
}

/* ---- from a broker */

static void take_brokers(const struct kp_MetadataResponse *m, struct arena *arena, struct view *v)
{
    v->broker_count = i32_max(m->brokers_count, 0);
    v->brokers = tool_alloc(arena, (size_t)v->broker_count, sizeof *v->brokers);
    for (int32_t i = 0; i < v->broker_count; i++)
        v->brokers[i] = (struct view_broker){
            .id = m->brokers[i].node_id,
            .host = copy_str(arena, m->brokers[i].host),
            .port = m->brokers[i].port,
            .rack = copy_str(arena, m->brokers[i].rack),
            .is_live = true,
        };
}

static void take_topic(const struct kp_MetadataResponse_MetadataResponseTopic *t,
                       struct arena *arena, const struct view *v, struct view_topic *out)
{
    int32_t count = i32_max(t->partitions_count, 0);
    struct topic_partition_info *parts = tool_alloc(arena, (size_t)count, sizeof *parts);

    *out = (struct view_topic){
        .info =
            {
                .name = copy_str(arena, t->name),
                .id = t->topic_id,
                .partitions = parts,
                .partition_count = count,
                .configs = "",
            },
        .bytes = -1,
    };
    out->info.is_internal = t->is_internal || topics_is_internal(out->info.name);
    for (int32_t i = 0; i < count; i++) {
        const struct kp_MetadataResponse_MetadataResponsePartition *p = &t->partitions[i];

        parts[i] = (struct topic_partition_info){
            .index = p->partition_index,
            .leader = p->leader_id,
            .leader_is_live = is_live(v, p->leader_id),
            .replicas = p->replica_nodes,
            .replica_count = i32_max(p->replica_nodes_count, 0),
            .isr = p->isr_nodes,
            .isr_count = i32_max(p->isr_nodes_count, 0),
        };
    }
    if (count > 1)
        qsort(parts, (size_t)count, sizeof *parts, by_index);
}

/* min.insync.replicas of n topics. */
static enum err read_min_isr(struct admin *a, struct view *v, int32_t first, int32_t n,
                             struct errtext *why)
{
    struct str key = STR_LIT("min.insync.replicas");
    struct kp_DescribeConfigsRequest request;
    struct kp_DescribeConfigsResponse response;
    enum err rc;

    kp_defaults(&kp_DescribeConfigsRequest_schema, &request);
    request.resources_count = n;
    request.resources = admin_alloc(a, (size_t)n, sizeof *request.resources);
    for (int32_t i = 0; i < n; i++) {
        request.resources[i].resource_type = RESOURCE_TOPIC;
        request.resources[i].resource_name = str_of(v->topics[first + i].info.name);
        request.resources[i].configuration_keys = &key;
        request.resources[i].configuration_keys_count = 1;
    }
    rc = admin_call(a, ADMIN_ANY, KP_API_DESCRIBE_CONFIGS, BCLIENT_NEWEST, &request, &response,
                    NULL, why);
    for (int32_t r = 0; rc == ERR_OK && r < response.results_count; r++) {
        struct view_topic *t = find_topic(v, response.results[r].resource_name);
        int64_t value;
        char *number;

        if (t == NULL || response.results[r].configs_count != 1)
            continue;
        number = str_dup(response.results[r].configs[0].value);
        if (number != NULL && opt_number(number, 1, INT32_MAX, &value))
            t->info.min_isr = (int32_t)value;
        mem_free(number);
    }
    return rc;
}

enum err view_read(struct admin *a, struct arena *arena, struct view *out, struct errtext *why)
{
    struct kp_MetadataResponse m;
    enum err rc = admin_metadata(a, NULL, 0, &m, why);

    *out = (struct view){.cluster_id = "", .controller_id = -1};
    if (rc != ERR_OK)
        return rc;
    if (m.cluster_id.len > 0)
        out->cluster_id = copy_str(arena, m.cluster_id);
    out->controller_id = m.controller_id;
    take_brokers(&m, arena, out);
    out->topics = tool_alloc(arena, (size_t)i32_max(m.topics_count, 0), sizeof *out->topics);
    for (int32_t i = 0; i < m.topics_count; i++)
        if (m.topics[i].name.len > 0)
            take_topic(&m.topics[i], arena, out, &out->topics[out->topic_count++]);
    if (out->topic_count > 1)
        qsort(out->topics, (size_t)out->topic_count, sizeof *out->topics, by_name);
    for (int32_t i = 0; rc == ERR_OK && i < out->topic_count; i += CONFIGS_PER_REQUEST)
        rc = read_min_isr(a, out, i, i32_min(CONFIGS_PER_REQUEST, out->topic_count - i), why);
    return rc;
}

/* ---- log directories */

static void take_dirs(const struct kp_DescribeLogDirsResponse *r, struct arena *arena,
                      struct view *v, struct view_broker *b)
{
    b->dir_count = i32_max(r->results_count, 0);
    b->dirs = tool_alloc(arena, (size_t)b->dir_count, sizeof *b->dirs);
    for (int32_t i = 0; i < b->dir_count; i++) {
        const struct kp_DescribeLogDirsResponse_DescribeLogDirsResult *d = &r->results[i];

        b->dirs[i] = (struct view_dir){
            .path = copy_str(arena, d->log_dir),
            .error = d->error_code,
            .total_bytes = d->total_bytes,
            .usable_bytes = d->usable_bytes,
        };
        for (int32_t t = 0; t < d->topics_count; t++) {
            struct view_topic *topic = find_topic(v, d->topics[t].name);

            for (int32_t p = 0; p < d->topics[t].partitions_count; p++) {
                b->dirs[i].bytes += d->topics[t].partitions[p].partition_size;
                if (topic != NULL)
                    topic->bytes =
                        i64_max(topic->bytes, 0) + d->topics[t].partitions[p].partition_size;
            }
        }
    }
}

void view_read_dirs(struct admin *a, struct arena *arena, struct view *v)
{
    struct kp_DescribeLogDirsRequest request;

    kp_defaults(&kp_DescribeLogDirsRequest_schema, &request);
    request.topics_count = -1;
    for (int32_t i = 0; i < v->broker_count; i++) {
        struct kp_DescribeLogDirsResponse response;
        struct errtext why = {{0}};
        enum err rc;

        if (!v->brokers[i].is_live)
            continue;
        rc = admin_call(a, v->brokers[i].id, KP_API_DESCRIBE_LOG_DIRS, BCLIENT_NEWEST, &request,
                        &response, NULL, &why);
        if (rc == ERR_OK && response.error_code == KE_NONE)
            take_dirs(&response, arena, v, &v->brokers[i]);
        if (rc == ERR_OK)
            rc = admin_zookeeper(a, v->brokers[i].id, &v->brokers[i].no_zookeeper, &why);
        if (rc != ERR_OK && rc != ERR_UNSUPPORTED)
            v->brokers[i].unreachable = arena_strdup(arena, why.text, strlen(why.text));
    }
}

/* ---- from ZooKeeper */

static void take_zk_brokers(const struct zkadmin_broker *brokers, int32_t count,
                            struct arena *arena, struct view *out)
{
    out->broker_count = count;
    out->brokers = tool_alloc(arena, (size_t)count, sizeof *out->brokers);
    for (int32_t i = 0; i < count; i++) {
        const struct zkdoc_broker *d = &brokers[i].doc;

        out->brokers[i] = (struct view_broker){
            .id = brokers[i].id,
            .host = d->endpoint_count > 0 ? d->endpoints[0].host : "",
            .port = d->endpoint_count > 0 ? d->endpoints[0].port : -1,
            .rack = d->rack,
            .is_live = true,
        };
    }
}

/* The topics that are there, with their documents moved together in topics[]. */
static int16_t read_zk_documents(struct coord *c, struct arena *arena, struct view *out,
                                 struct zkadmin_topic **topics_out, struct errtext *why)
{
    const char **names;
    int32_t count, kept = 0;
    struct zkadmin_topic *topics;
    int16_t code = zkadmin_list_topics(c, arena, &names, &count, why);

    if (code != KE_NONE)
        return code;
    topics = tool_alloc(arena, (size_t)count, sizeof *topics);
    out->topics = tool_alloc(arena, (size_t)count, sizeof *out->topics);
    for (int32_t i = 0; i < count; i++)
        topics[i].name = names[i];
    code = zkadmin_read_topics(c, topics, count, arena, why);
    for (int32_t i = 0; code == KE_NONE && i < count; i++) {
        if (topics[i].error != KE_NONE)
            continue; /* gone meanwhile, or broken */
        topics[kept] = topics[i];
        out->topics[kept++] = (struct view_topic){
            .info = {.name = topics[i].name,
                     .id = topics[i].doc.topic_id,
                     .is_internal = topics_is_internal(topics[i].name),
                     .configs = ""},
            .bytes = -1,
        };
    }
    out->topic_count = kept;
    *topics_out = topics;
    return code;
}

static int16_t read_zk_topics(struct coord *c, struct arena *arena, struct view *out,
                              const struct zkadmin_broker *live, int32_t live_count,
                              struct errtext *why)
{
    struct zkadmin_topic *topics = NULL;
    struct zkadmin_entity *configs;
    struct topic_info **infos;
    int16_t code = read_zk_documents(c, arena, out, &topics, why);

    if (code != KE_NONE)
        return code;
    configs = tool_alloc(arena, (size_t)out->topic_count, sizeof *configs);
    infos = tool_alloc(arena, (size_t)out->topic_count, sizeof(struct topic_info *));
    for (int32_t i = 0; i < out->topic_count; i++) {
        configs[i].name = topics[i].name;
        infos[i] = &out->topics[i].info;
    }
    code = zkadmin_read_entity_configs(c, "topics", configs, out->topic_count, arena, why);
    for (int32_t i = 0; code == KE_NONE && i < out->topic_count; i++) {
        const char *text = configs[i].error == KE_NONE
                               ? zkdoc_config_value(&configs[i].config, "min.insync.replicas")
                               : NULL;
        int64_t n;

        out->topics[i].info.min_isr = DEFAULT_MIN_ISR;
        if (text != NULL && opt_number(text, 1, INT32_MAX, &n))
            out->topics[i].info.min_isr = (int32_t)n;
    }
    if (code == KE_NONE)
        code = zk_read_partitions(c, arena, topics, out->topic_count, live, live_count, infos, why);
    return code;
}

enum err view_read_zookeeper(struct coord *c, struct arena *arena, struct view *out,
                             struct errtext *why)
{
    struct errtext unimportant = {{0}};
    struct zkadmin_broker *brokers = NULL;
    int32_t broker_count = 0;
    int16_t code;

    *out = (struct view){.cluster_id = "", .controller_id = -1};
    if (zkadmin_cluster_id(c, arena, &out->cluster_id, &unimportant) != KE_NONE)
        out->cluster_id = "(none yet)";
    code = zkadmin_controller(c, &out->controller_id, why);
    if (code == KE_NONE)
        code = zkadmin_brokers(c, arena, &brokers, &broker_count, why);
    if (code == KE_NONE) {
        take_zk_brokers(brokers, broker_count, arena, out);
        code = read_zk_topics(c, arena, out, brokers, broker_count, why);
    }
    return code == KE_NONE ? ERR_OK : ERR_UNREACHABLE;
}
