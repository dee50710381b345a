/* SPDX-License-Identifier: Apache-2.0 */
/* The page of kafuka-describe, for people and as JSON. */
#include "tools/lib/view.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

enum { TOPICS_SHOWN = 20, GROUPS_SHOWN = 20, NAME_WIDTH_MIN = 5, NAME_WIDTH_MAX = 48 };

/* "1.2 GB"; "-" when not known */
static const char *size_text(int64_t bytes, char out[16])
{
    static const char *const units[] = {"B", "kB", "MB", "GB", "TB", "PB"};
    double n = (double)bytes;
    size_t u = 0;

    if (bytes < 0) {
        (void)snprintf(out, 16, "-");
        return out;
    }
    while (n >= 1000.0 && u + 1 < ARRAY_LEN(units)) {
        n /= 1000.0;
        u++;
    }
    (void)snprintf(out, 16, u == 0 ? "%.0f %s" : "%.1f %s", n, units[u]);
    return out;
}

static void sum_dirs(const struct view_broker *b, int64_t *bytes, int64_t *usable, int64_t *total)
{
    *bytes = b->dir_count == 0 ? -1 : 0;
    *usable = *total = b->dir_count == 0 ? -1 : 0;
    for (int32_t i = 0; i < b->dir_count; i++) {
        *bytes += b->dirs[i].bytes;
        *usable += i64_max(b->dirs[i].usable_bytes, 0);
        *total += i64_max(b->dirs[i].total_bytes, 0);
    }
}

static void print_broker(const struct view *v, const struct view_broker *b, struct buf *out)
{
    char address[300], size[16], free[16], capacity[16];
    int64_t bytes, usable, total;

    sum_dirs(b, &bytes, &usable, &total);
    if (b->is_live)
        (void)snprintf(address, sizeof address, "%s:%d", b->host, b->port);
    else
        (void)snprintf(address, sizeof address, "-");
    buf_printf(out, "  %4d  %-28s %-10s %-11s %7d %8d %7d  %9s", b->id, address,
               b->rack == NULL ? "-" : b->rack,
               !b->is_live                 ? "DOWN"
               : b->unreachable != NULL    ? "NO ANSWER"
               : b->id == v->controller_id ? "controller"
                                           : "up",
               b->leaders, b->replicas, b->missing, size_text(bytes, size));
    if (total > 0)
        buf_printf(out, "  %s of %s", size_text(usable, free), size_text(total, capacity));
    buf_printf(out, "\n");
}

static bool is_topic_well(const struct view_topic *t)
{
    return t->offline == 0 && t->below_min_isr == 0 && t->under_replicated == 0;
}

static void print_topic(const struct view_topic *t, int width, struct buf *out)
{
    char size[16];

    buf_printf(out, "  %-*s %10d %8d %9s  ", width, t->info.name, t->info.partition_count,
               t->info.partition_count == 0 ? 0 : t->info.partitions[0].replica_count,
               size_text(t->bytes, size));
    if (is_topic_well(t))
        buf_printf(out, "ok");
    if (t->offline > 0)
        buf_printf(out, "%d offline ", t->offline);
    if (t->below_min_isr > 0)
        buf_printf(out, "%d below min.insync.replicas ", t->below_min_isr);
    if (t->under_replicated > 0)
        buf_printf(out, "%d under-replicated", t->under_replicated);
    if (t->info.is_marked_for_deletion)
        buf_printf(out, " marked for deletion");
    buf_printf(out, "\n");
}

/* Sick topics first and always; well ones as far as there is room. */
static void print_topics(const struct view *v, bool all, struct buf *out)
{
    int32_t shown = 0;
    int width = NAME_WIDTH_MIN;

    for (int32_t i = 0; i < v->topic_count; i++) {
        int len = (int)strlen(v->topics[i].info.name);

        width = i32_max(width, i32_min(len, NAME_WIDTH_MAX));
    }
    buf_printf(out,
               "\nTOPICS  %d topic%s, %d partition%s, %d replica%s: %d offline, %d below "
               "min.insync.replicas, %d under-replicated\n",
               v->topic_count, v->topic_count == 1 ? "" : "s", v->partitions,
               v->partitions == 1 ? "" : "s", v->replicas, v->replicas == 1 ? "" : "s", v->offline,
               v->below_min_isr, v->under_replicated);
    if (v->topic_count == 0)
        return;
    buf_printf(out, "  %-*s %10s %8s %9s  state\n", width, "topic", "partitions", "replicas",
               "size");
    for (int pass = 0; pass < 2; pass++) {
        for (int32_t i = 0; i < v->topic_count; i++) {
            if (is_topic_well(&v->topics[i]) != (pass == 1))
                continue;
            if (pass == 1 && !all && shown >= TOPICS_SHOWN)
                continue;
            print_topic(&v->topics[i], width, out);
            shown++;
        }
    }
    if (shown < v->topic_count)
        buf_printf(out, "  ... and %d more that are ok (--topics shows all)\n",
                   v->topic_count - shown);
}

/* "1204", "-" when not known */
static const char *records_text(int64_t n, char out[24])
{
    if (n < 0)
        (void)snprintf(out, 24, "-");
    else
        (void)snprintf(out, 24, "%" PRId64, n);
    return out;
}

/* "12.3 s", "4.2 h" */
static const char *age_text(int64_t ms, char out[24])
{
    double s = (double)ms / 1000.0;

    if (ms < 0)
        (void)snprintf(out, 24, "-");
    else if (s < 600)
        (void)snprintf(out, 24, "%.1f s", s);
    else if (s < 36000)
        (void)snprintf(out, 24, "%.0f min", s / 60);
    else if (s < 864000)
        (void)snprintf(out, 24, "%.1f h", s / 3600);
    else
        (void)snprintf(out, 24, "%.0f d", s / 86400);
    return out;
}

static bool is_caught_up(const struct group_lag *g)
{
    return g->records == 0 && g->member_count > 0 && strcmp(g->state, "Stable") == 0;
}

/* Those that are behind, rebalancing or without members first. */
static void print_groups(const struct view *v, bool all, struct buf *out)
{
    const struct group_lags *groups = &v->groups;
    int32_t shown = 0;
    int width = NAME_WIDTH_MIN;

    if (groups->count == 0)
        return;
    for (int32_t i = 0; i < groups->count; i++)
        width = i32_max(width, i32_min((int)strlen(groups->items[i].name), NAME_WIDTH_MAX));
    buf_printf(out, "\nGROUPS  %d group%s%s\n  %-*s %-9s %-19s %7s %10s %12s %9s  %s\n",
               groups->count + groups->left_out, groups->count + groups->left_out == 1 ? "" : "s",
               groups->left_out > 0 ? ", not all looked at" : "", width, "group", "kind", "state",
               "members", "partitions", "lag records", "lag time", "most behind");
    for (int pass = 0; pass < 2; pass++) {
        for (int32_t i = 0; i < groups->count; i++) {
            const struct group_lag *g = &groups->items[i];
            char records[24], age[24];

            if (is_caught_up(g) != (pass == 1) || (!all && shown >= GROUPS_SHOWN))
                continue;
            buf_printf(out, "  %-*s %-9s %-19s %7d %10d %12s %9s", width, g->name,
                       g->kind == GROUP_OF_ZOOKEEPER ? "zookeeper" : "broker", g->state,
                       g->member_count, g->partition_count, records_text(g->records, records),
                       age_text(g->age_ms, age));
            if (g->worst != NULL)
                buf_printf(out, "  %s (%" PRId64 ")", g->worst, g->worst_records);
            buf_printf(out, "\n");
            shown++;
        }
    }
    if (shown < groups->count + groups->left_out)
        buf_printf(out, "  ... and %d more (kafuka-consumer-groups --describe --all-groups)\n",
                   groups->count + groups->left_out - shown);
}

static void print_findings(const struct view *v, enum view_severity severity, const char *title,
                           struct buf *out)
{
    bool is_first = true;

    for (int32_t i = 0; i < v->finding_count; i++) {
        if (v->findings[i].severity != severity)
            continue;
        if (is_first)
            buf_printf(out, "\n%s\n", title);
        is_first = false;
        buf_printf(out, "  %s %s\n      -> %s\n", severity == VIEW_PROBLEM ? "!" : "-",
                   v->findings[i].what, v->findings[i].cure);
    }
}

void view_print(const struct view *v, bool all_topics, struct buf *out)
{
    int32_t live = 0;

    for (int32_t i = 0; i < v->broker_count; i++)
        live += v->brokers[i].is_live;
    buf_printf(out, "Cluster %s: %s, %d of %d broker%s up, controller ", v->cluster_id,
               v->is_healthy ? "healthy" : "UNHEALTHY", live, v->broker_count,
               v->broker_count == 1 ? "" : "s");
    if (v->controller_id >= 0)
        buf_printf(out, "%d\n", v->controller_id);
    else
        buf_printf(out, "none\n");
    buf_printf(out, "\nBROKERS\n  %4s  %-28s %-10s %-11s %7s %8s %7s  %9s  %s\n", "id", "address",
               "rack", "state", "leaders", "replicas", "missing", "size", "disk free");
    for (int32_t i = 0; i < v->broker_count; i++)
        print_broker(v, &v->brokers[i], out);
    print_topics(v, all_topics, out);
    print_groups(v, all_topics, out);
    print_findings(v, VIEW_PROBLEM, "PROBLEMS", out);
    print_findings(v, VIEW_NOTE, "NOTES", out);
}

/* A JSON string of any bytes; what is no UTF-8 becomes null. */
static json_t *json_text(const char *s)
{
    json_t *j = s == NULL ? json_null() : json_string(s);

    return j == NULL ? json_null() : j;
}

static json_t *ids_json(const int32_t *ids, int32_t count)
{
    json_t *j = json_array();

    for (int32_t i = 0; i < count; i++)
        (void)json_array_append_new(j, json_integer(ids[i]));
    return j;
}

static json_t *broker_json(const struct view_broker *b)
{
    json_t *dirs = json_array();

    for (int32_t i = 0; i < b->dir_count; i++) {
        const struct view_dir *d = &b->dirs[i];

        (void)json_array_append_new(
            dirs,
            json_pack("{s:o,s:o,s:I,s:I,s:I}", "path", json_text(d->path), "error",
                      d->error == KE_NONE ? json_null() : json_text(kerr_name(d->error)), "bytes",
                      (json_int_t)d->bytes, "total_bytes", (json_int_t)d->total_bytes,
                      "usable_bytes", (json_int_t)d->usable_bytes));
    }
    return json_pack("{s:i,s:o,s:i,s:o,s:b,s:o,s:o,s:i,s:i,s:i,s:i,s:i,s:o}", "id", b->id, "host",
                     json_text(b->is_live ? b->host : NULL), "port", b->is_live ? b->port : -1,
                     "rack", json_text(b->rack), "live", (int)b->is_live, "unreachable",
                     json_text(b->unreachable), "no_zookeeper", json_text(b->no_zookeeper),
                     "leaders", b->leaders, "preferred_leaders", b->preferred, "not_leading",
                     b->not_leading, "replicas", b->replicas, "missing_replicas", b->missing,
                     "log_dirs", dirs);
}

static json_t *topic_json(const struct view_topic *t)
{
    json_t *partitions = json_array();
    char id[UUID_TEXT_LEN + 1] = "";

    for (int32_t i = 0; i < t->info.partition_count; i++) {
        const struct topic_partition_info *p = &t->info.partitions[i];

        (void)json_array_append_new(partitions, json_pack("{s:i,s:i,s:o,s:o}", "partition",
                                                          p->index, "leader", p->leader, "replicas",
                                                          ids_json(p->replicas, p->replica_count),
                                                          "isr", ids_json(p->isr, p->isr_count)));
    }
    if (!uuid_is_zero(t->info.id))
        uuid_format(t->info.id, id);
    return json_pack("{s:o,s:o,s:b,s:I,s:i,s:i,s:i,s:i,s:o}", "name", json_text(t->info.name),
                     "topic_id", json_text(id[0] == '\0' ? NULL : id), "internal",
                     (int)t->info.is_internal, "bytes", (json_int_t)t->bytes, "min_insync_replicas",
                     t->info.min_isr, "offline", t->offline, "below_min_isr", t->below_min_isr,
                     "under_replicated", t->under_replicated, "partitions", partitions);
}

static json_t *known_json(int64_t n)
{
    return n < 0 ? json_null() : json_integer((json_int_t)n);
}

static json_t *group_json(const struct group_lag *g)
{
    return json_pack("{s:o,s:s,s:o,s:i,s:i,s:o,s:o,s:o}", "name", json_text(g->name), "kind",
                     g->kind == GROUP_OF_ZOOKEEPER ? "zookeeper" : "broker", "state",
                     json_text(g->state), "members", g->member_count, "partitions",
                     g->partition_count, "lag_records", known_json(g->records), "lag_ms",
                     known_json(g->age_ms), "most_behind", json_text(g->worst));
}

void view_print_json(const struct view *v, struct buf *out)
{
    json_t *brokers = json_array(), *topics = json_array(), *problems = json_array(),
           *notes = json_array(), *groups = json_array(), *root;
    char *dump;

    for (int32_t i = 0; i < v->broker_count; i++)
        (void)json_array_append_new(brokers, broker_json(&v->brokers[i]));
    for (int32_t i = 0; i < v->topic_count; i++)
        (void)json_array_append_new(topics, topic_json(&v->topics[i]));
    for (int32_t i = 0; i < v->groups.count; i++)
        (void)json_array_append_new(groups, group_json(&v->groups.items[i]));
    for (int32_t i = 0; i < v->finding_count; i++)
        (void)json_array_append_new(v->findings[i].severity == VIEW_PROBLEM ? problems : notes,
                                    json_pack("{s:o,s:o}", "what", json_text(v->findings[i].what),
                                              "cure", json_text(v->findings[i].cure)));
    root =
        json_pack("{s:o,s:b,s:i,s:i,s:i,s:i,s:i,s:i,s:o,s:o,s:o,s:i,s:o,s:o}", "cluster_id",
                  json_text(v->cluster_id), "healthy", (int)v->is_healthy, "controller",
                  v->controller_id, "partition_count", v->partitions, "replica_count", v->replicas,
                  "offline", v->offline, "below_min_isr", v->below_min_isr, "under_replicated",
                  v->under_replicated, "brokers", brokers, "topics", topics, "groups", groups,
                  "groups_left_out", v->groups.left_out, "problems", problems, "notes", notes);
    ASSERT(root != NULL);
    dump = json_dumps(root, JSON_COMPACT);
    ASSERT(dump != NULL);
    buf_add(out, dump, strlen(dump));
    buf_add(out, "\n", 1);
    mem_free(dump); /* jansson's, by malloc */
    json_decref(root);
}
