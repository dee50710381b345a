/* SPDX-License-Identifier: Apache-2.0 */
/* The part of /metrics that the broker's modules count; the rows are metrics_page.def. */
#include "broker/metrics_page.h"

#include "broker/broker.h"
#include "broker/cluster/metadata_cache.h"
#include "broker/group/coordinator.h"
#include "broker/group/lag.h"
#include "broker/http/http.h"
#include "broker/http/metrics.h"
#include "broker/log/log_manager.h"
#include "broker/replica/replicas.h"
#include "common/base/pool.h"
#include "common/zk/coord.h"
#include "controller/controller.h"

enum { LOG_DIRS_SHOWN = 32 };
enum kind { GAUGE, COUNTER, GAUGE_SECONDS, COUNTER_SECONDS };

static void print(struct buf *out, enum kind kind, const char *name, const char *help,
                  int64_t value)
{
    if (kind == GAUGE || kind == COUNTER)
        metrics_print_one(out, kind == COUNTER, name, help, value);
    else
        metrics_print_seconds(out, kind == COUNTER_SECONDS, name, help, value);
}

#define PRINT(kind, value, name, help) print(out, kind, name, help, (int64_t)(value));

static void print_log_dirs(const struct broker *b, struct buf *out)
{
    struct log_dir_info dirs[LOG_DIRS_SHOWN];
    int count = log_manager_dirs(b->logs, dirs, LOG_DIRS_SHOWN);

    buf_printf(out, "# HELP kafuka_log_dir_usable_bytes Free space in the file system of the "
                    "log dir\n"
                    "# TYPE kafuka_log_dir_usable_bytes gauge\n");
    for (int i = 0; i < count; i++)
        buf_printf(out, "kafuka_log_dir_usable_bytes{dir=\"%s\"} %" PRId64 "\n", dirs[i].path,
                   dirs[i].usable_bytes);
    buf_printf(out, "# HELP kafuka_log_dir_offline 1 when the log dir is offline because a read or "
                    "write failed, otherwise 0\n"
                    "# TYPE kafuka_log_dir_offline gauge\n");
    for (int i = 0; i < count; i++)
        buf_printf(out, "kafuka_log_dir_offline{dir=\"%s\"} %d\n", dirs[i].path,
                   dirs[i].is_offline);
}

static void print_coordination(const struct coord *c, struct buf *out)
{
    struct coord_counters n;

    coord_count(c, &n);
#define ZOOKEEPER PRINT
#include "broker/metrics_page.def"
}

static void print_replicas(struct replicas *r, struct buf *out)
{
    struct replicas_numbers n;

    replicas_count(r, &n);
#define REPLICAS PRINT
#include "broker/metrics_page.def"
}

static void print_broker(const struct broker *b, struct buf *out)
{
#define BROKER PRINT
#include "broker/metrics_page.def"
}

struct controller_numbers {
    int64_t topics, partitions, offline_partitions, brokers, elections, unclean_elections;
};

/* A walk over this broker's snapshot of the cluster, by the http thread of the one broker that is
 * the controller. */
static void count_cluster(const struct broker *b, struct controller_numbers *n)
{
    struct metadata *m = metadata_cache_latest(b->metadata);

    n->brokers = metadata_broker_count(m);
    n->topics = metadata_topic_count(m);
    for (int32_t i = 0; i < metadata_topic_count(m); i++) {
        const struct metadata_topic *t = metadata_topic_at(m, i);
        for (int32_t p = 0; p < t->partition_count; p++) {
            n->partitions += t->partitions[p].exists;
            n->offline_partitions += t->partitions[p].exists && t->partitions[p].leader < 0;
        }
    }
    metadata_unref(&m);
}

static void print_controller(const struct broker *b, struct buf *out)
{
    struct controller_numbers n = {0};

    controller_elections(b->controller, &n.elections, &n.unclean_elections);
    if (controller_is_active(b->controller))
        count_cluster(b, &n);
#define CONTROLLER PRINT
#include "broker/metrics_page.def"
}

static void print_cleaner(struct log_manager *logs, struct buf *out)
{
    struct log_cleaner_numbers n;

    log_manager_cleaner_numbers(logs, &n);
#define CLEANER PRINT
#include "broker/metrics_page.def"
}

/* On the http thread. */
static void print_modules(void *arg, struct buf *out)
{
    const struct metrics_page *p = arg;
    const struct broker *b = p->broker;

    print_coordination(b->coord, out);
    print_replicas(b->replicas, out);
    print_broker(b, out);
    print_controller(b, out);
    print_cleaner(b->logs, out);
    coordinator_print_metrics(b->groups, out);
    lag_monitor_print(p->lag, out);
    print_log_dirs(b, out);
}

static bool group_history(void *arg, struct str group, struct buf *out)
{
    const struct metrics_page *p = arg;

    return coordinator_history_json(p->broker->groups, group, out);
}

/* The log goes on being read and written without ZooKeeper, but no leader and no topic changes. */
static const char *why_not_ready(void *arg)
{
    const struct metrics_page *p = arg;

    return coord_state_now(p->broker->coord) == COORD_CONNECTED
               ? NULL
               : "the broker has no connection to ZooKeeper";
}

void metrics_page_start(struct metrics_page *p, struct http *h)
{
    ASSERT(p->broker != NULL && p->broker->replicas != NULL && p->broker->groups != NULL);
    http_add_metrics(h, print_modules, p);
    http_add_history(h, group_history, p);
    http_add_reason(h, why_not_ready, p);
}
