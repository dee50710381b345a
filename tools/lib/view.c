/* SPDX-License-Identifier: Apache-2.0 */
/* What is wrong with a cluster, and what to do about it. Each finding says the fact with names,
 * then the cure. */
#include "tools/lib/mem.h"
#include "tools/lib/view.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    FINDINGS_MAX = 256,
    NAMES_MAX = 8,          /* partitions named in one finding */
    GROUPS_NAMED_MAX = 20,  /* findings about groups */
    GROWN_MIN = 3,          /* looks in a row */
    IMBALANCE_PERCENT = 10, /* as leader.imbalance.per.broker.percentage */
    DISK_FREE_PERCENT_MIN = 10
};

static char *text(struct arena *a, const char *fmt, ...) PRINTF_LIKE(2, 3);

static char *text(struct arena *a, const char *fmt, ...)
{
    char line[2048];
    va_list ap;

    va_start(ap, fmt);
    (void)vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    return arena_strdup(a, line, strlen(line));
}

static void find(struct view *v, enum view_severity severity, const char *what, const char *cure)
{
    if (v->finding_count < FINDINGS_MAX)
        v->findings[v->finding_count++] = (struct view_finding){severity, what, cure};
    if (severity == VIEW_PROBLEM)
        v->is_healthy = false;
}

static struct view_broker *broker_of(struct view *v, int32_t id)
{
    for (int32_t i = 0; i < v->broker_count; i++)
        if (v->brokers[i].id == id)
            return &v->brokers[i];
    return NULL;
}

static int by_id(const void *x, const void *y)
{
    const struct view_broker *a = x, *b = y;

    return (a->id > b->id) - (a->id < b->id);
}

/* A broker that holds replicas but is not registered. */
static struct view_broker *add_dead(struct view *v, struct arena *a, int32_t id)
{
    struct view_broker *grown = tool_alloc(a, (size_t)v->broker_count + 1, sizeof *grown);

    memcpy(grown, v->brokers, (size_t)v->broker_count * sizeof *grown);
    grown[v->broker_count] = (struct view_broker){.id = id, .host = ""};
    v->brokers = grown;
    return &v->brokers[v->broker_count++];
}

static bool has(const int32_t *ids, int32_t count, int32_t id)
{
    for (int32_t i = 0; i < count; i++)
        if (ids[i] == id)
            return true;
    return false;
}

static void count_partition(struct view *v, struct arena *a, struct view_topic *t,
                            const struct topic_partition_info *p)
{
    struct view_broker *b;

    v->partitions++;
    v->replicas += p->replica_count;
    for (int32_t i = 0; i < p->replica_count; i++) {
        bool is_in_isr = has(p->isr, p->isr_count, p->replicas[i]);

        b = broker_of(v, p->replicas[i]);
        if (b == NULL)
            b = add_dead(v, a, p->replicas[i]);
        b->replicas++;
        b->missing += !is_in_isr || !b->is_live;
        if (i == 0) {
            b->preferred++;
            b->not_leading += is_in_isr && b->is_live && p->leader != b->id;
        }
    }
    b = p->leader < 0 ? NULL : broker_of(v, p->leader);
    if (b != NULL)
        b->leaders++;
    t->under_replicated += p->isr_count < p->replica_count - p->adding_count;
    t->offline += b == NULL || !b->is_live;
    t->below_min_isr += t->info.min_isr > 0 && p->isr_count < t->info.min_isr;
}

/* "t-0, t-1, ... and 4 more" of the partitions that is_hit() picks. */
static const char *name_partitions(const struct view *v, struct arena *a,
                                   bool (*is_hit)(const struct view *v, const struct view_topic *t,
                                                  const struct topic_partition_info *p),
                                   int32_t total)
{
    struct buf out = {0};
    int32_t named = 0;
    const char *copy;

    for (int32_t t = 0; t < v->topic_count && named < NAMES_MAX; t++) {
        for (int32_t i = 0; i < v->topics[t].info.partition_count && named < NAMES_MAX; i++) {
            const struct topic_partition_info *p = &v->topics[t].info.partitions[i];

            if (is_hit(v, &v->topics[t], p))
                buf_printf(&out, "%s%s-%d", named++ == 0 ? "" : ", ", v->topics[t].info.name,
                           p->index);
        }
    }
    if (total > named)
        buf_printf(&out, " and %d more", total - named);
    copy = arena_strdup(a, buf_cstr(&out), out.len);
    buf_fini(&out);
    return copy;
}

static bool is_offline(const struct view *v UNUSED, const struct view_topic *t UNUSED,
                       const struct topic_partition_info *p)
{
    return p->leader < 0 || !p->leader_is_live;
}

static bool is_under_replicated(const struct view *v UNUSED, const struct view_topic *t UNUSED,
                                const struct topic_partition_info *p)
{
    return p->isr_count < p->replica_count - p->adding_count;
}

static bool is_below_min_isr(const struct view *v UNUSED, const struct view_topic *t,
                             const struct topic_partition_info *p)
{
    return t->info.min_isr > 0 && p->isr_count < t->info.min_isr;
}

static const char *plural(int32_t n)
{
    return n == 1 ? "" : "s";
}

/* "0, 2": the brokers whose return would give offline partitions a leader: their last ISR. */
static const char *isr_of_offline(const struct view *v, struct arena *a)
{
    struct buf out = {0};
    const char *copy;

    for (int32_t b = 0; b < v->broker_count; b++) {
        bool is_wanted = false;

        for (int32_t t = 0; t < v->topic_count && !is_wanted; t++)
            for (int32_t i = 0; i < v->topics[t].info.partition_count && !is_wanted; i++) {
                const struct topic_partition_info *p = &v->topics[t].info.partitions[i];

                is_wanted = is_offline(v, NULL, p) && !v->brokers[b].is_live &&
                            has(p->isr, p->isr_count, v->brokers[b].id);
            }
        if (is_wanted)
            buf_printf(&out, "%s%d", out.len == 0 ? "" : ", ", v->brokers[b].id);
    }
    copy = arena_strdup(a, buf_cstr(&out), out.len);
    buf_fini(&out);
    return copy;
}

static void judge_partitions(struct view *v, struct arena *a)
{
    if (v->offline > 0) {
        const char *ids = isr_of_offline(v, a);

        find(v, VIEW_PROBLEM,
             text(a, "%d partition%s no leader and can neither be written nor read: %s", v->offline,
                  v->offline == 1 ? " has" : "s have",
                  name_partitions(v, a, is_offline, v->offline)),
             ids[0] != '\0' ? text(a, "start broker %s: only in-sync replicas may lead", ids)
                            : "wait for the controller; if it lasts, read the controller's log");
    }
    if (v->below_min_isr > 0)
        find(v, VIEW_PROBLEM,
             text(a,
                  "%d partition%s fewer in-sync replicas than min.insync.replicas, producers "
                  "with acks=all are refused: %s",
                  v->below_min_isr, v->below_min_isr == 1 ? " has" : "s have",
                  name_partitions(v, a, is_below_min_isr, v->below_min_isr)),
             "bring the missing brokers back (below), or lower min.insync.replicas of the topic");
    if (v->under_replicated > 0)
        find(v, VIEW_PROBLEM,
             text(a, "%d partition%s not fully replicated: %s", v->under_replicated,
                  v->under_replicated == 1 ? " is" : "s are",
                  name_partitions(v, a, is_under_replicated, v->under_replicated)),
             "replicas come back by themselves once their broker runs and has caught up");
}

static void judge_zookeeper(struct view *v, struct arena *a)
{
    const char *said = NULL;
    struct buf ids = {0};
    int32_t count = 0;

    for (int32_t i = 0; i < v->broker_count; i++) {
        if (v->brokers[i].no_zookeeper == NULL)
            continue;
        said = v->brokers[i].no_zookeeper;
        buf_printf(&ids, "%s%d", count++ == 0 ? "" : ", ", v->brokers[i].id);
    }
    if (count > 0)
        find(v, VIEW_PROBLEM,
             text(a, "broker%s %s %s no connection to ZooKeeper: %s", plural(count), buf_cstr(&ids),
                  count == 1 ? "has" : "have", said),
             "start ZooKeeper, or mend the network to it: records are written and read meanwhile, "
             "but no leader, ISR, topic or configuration can change");
    buf_fini(&ids);
}

static void judge_dirs(struct view *v, struct arena *a, const struct view_broker *b)
{
    for (int32_t i = 0; i < b->dir_count; i++) {
        const struct view_dir *d = &b->dirs[i];

        if (d->error != KE_NONE)
            find(v, VIEW_PROBLEM,
                 text(a, "broker %d: the log directory %s is offline: %s", b->id, d->path,
                      kerr_text(d->error)),
                 "look at the disk, then restart the broker; its replicas there are rebuilt from "
                 "the leaders");
        else if (d->total_bytes > 0 &&
                 d->usable_bytes * 100 < d->total_bytes * DISK_FREE_PERCENT_MIN)
            find(v, VIEW_PROBLEM,
                 text(a, "broker %d: the disk of %s is nearly full: %.1f of %.1f GB free", b->id,
                      d->path, (double)d->usable_bytes / 1e9, (double)d->total_bytes / 1e9),
                 "lower retention.ms or retention.bytes of large topics, delete topics, or add "
                 "space");
    }
}

static void judge_brokers(struct view *v, struct arena *a)
{
    for (int32_t i = 0; i < v->broker_count; i++) {
        const struct view_broker *b = &v->brokers[i];

        if (!b->is_live)
            find(v, VIEW_PROBLEM,
                 text(a, "broker %d is not running: %d replica%s missing", b->id, b->replicas,
                      b->replicas == 1 ? " is" : "s are"),
                 text(a, "start broker %d; or move its replicas to other brokers", b->id));
        else if (b->unreachable != NULL)
            find(v, VIEW_PROBLEM,
                 text(a, "broker %d is registered but does not answer: %s", b->id, b->unreachable),
                 "if it has just died, it leaves when its ZooKeeper session ends; else check its "
                 "advertised.listeners and the network from here");
        else if (b->missing > 0)
            find(v, VIEW_PROBLEM,
                 text(a, "broker %d runs, but %d of its %d replica%s out of sync", b->id,
                      b->missing, b->replicas, b->replicas == 1 ? " is" : "s are"),
                 "it is catching up, or it cannot: look at its log, its disk and its network");
        judge_dirs(v, a, b);
    }
}

static void judge_balance(struct view *v, struct arena *a)
{
    int32_t with_rack = 0, live = 0;

    for (int32_t i = 0; i < v->broker_count; i++) {
        const struct view_broker *b = &v->brokers[i];

        live += b->is_live;
        with_rack += b->is_live && b->rack != NULL;
        if (b->preferred > 0 && b->not_leading * 100 > b->preferred * IMBALANCE_PERCENT)
            find(v, VIEW_NOTE,
                 text(a, "broker %d leads %d partition%s but should lead %d more", b->id,
                      b->leaders, plural(b->leaders), b->not_leading),
                 "auto.leader.rebalance.enable moves leaders back within "
                 "leader.imbalance.check.interval.seconds (300)");
    }
    if (with_rack > 0 && with_rack < live)
        find(v, VIEW_NOTE, text(a, "%d of %d brokers have no broker.rack", live - with_rack, live),
             "set it on all brokers or on none: new topics are refused otherwise");
}

static void judge_single_copies(struct view *v, struct arena *a)
{
    int32_t single = 0;
    const char *first = "";

    for (int32_t t = 0; t < v->topic_count; t++) {
        const struct topic_info *info = &v->topics[t].info;

        if (info->partition_count > 0 && info->partitions[0].replica_count == 1 &&
            !info->is_internal && single++ == 0)
            first = info->name;
    }
    if (single > 0 && v->broker_count > 1)
        find(v, VIEW_NOTE,
             text(a, "%d topic%s only one replica: %s%s", single, single == 1 ? " has" : "s have",
                  first, single == 1 ? "" : ", ..."),
             "a lost broker takes such a topic with it; create topics with --replication-factor 3");
}

/* Findings about groups concern the consumers; they do not make the cluster unhealthy. */
static void judge_group(struct view *v, struct arena *a, const struct group_lag *g)
{
    if (g->member_count == 0 && g->records > 0)
        find(v, VIEW_NOTE,
             text(a, "group %s is %" PRId64 " record%s behind and has no members", g->name,
                  g->records, g->records == 1 ? "" : "s"),
             text(a,
                  "start its consumers, or delete the group if it is no longer needed: "
                  "kafuka-consumer-groups --delete "
                  "--group %s",
                  g->name));
    else if (g->grown >= GROWN_MIN)
        find(v, VIEW_NOTE,
             text(a, "group %s falls behind: %" PRId64 " records and growing, most in %s", g->name,
                  g->records, g->worst == NULL ? "?" : g->worst),
             "its consumers are too slow: more of them (up to one a partition), or less work a "
             "record");
    if (strcmp(g->state, "PreparingRebalance") == 0 || strcmp(g->state, "CompletingRebalance") == 0)
        find(v, VIEW_NOTE,
             text(a, "group %s is rebalancing: its members read nothing meanwhile", g->name),
             text(a, "kafuka-consumer-groups --explain --group %s says why", g->name));
}

static void judge_groups(struct view *v, struct arena *a)
{
    int32_t before = v->finding_count;

    if (v->groups.unknown != NULL)
        find(v, VIEW_NOTE, text(a, "not all consumer groups could be read: %s", v->groups.unknown),
             "kafuka-consumer-groups --list says more");
    for (int32_t i = 0; i < v->groups.count && v->finding_count - before < GROUPS_NAMED_MAX; i++)
        judge_group(v, a, &v->groups.items[i]);
}

void view_judge(struct view *v, struct arena *a)
{
    ASSERT(v->findings == NULL); /* judged once: counts are added up */
    v->findings = tool_alloc(a, FINDINGS_MAX, sizeof *v->findings);
    v->is_healthy = true;
    for (int32_t t = 0; t < v->topic_count; t++) {
        struct view_topic *topic = &v->topics[t];

        for (int32_t i = 0; i < topic->info.partition_count; i++)
            count_partition(v, a, topic, &topic->info.partitions[i]);
        v->under_replicated += topic->under_replicated;
        v->below_min_isr += topic->below_min_isr;
        v->offline += topic->offline;
    }
    if (v->broker_count > 1)
        qsort(v->brokers, (size_t)v->broker_count, sizeof *v->brokers, by_id);
    if (v->broker_count == 0)
        find(v, VIEW_PROBLEM, "no broker is registered", "start the brokers");
    if (v->controller_id < 0)
        find(v, VIEW_PROBLEM,
             "there is no controller: no leader can change, no topic can be created",
             "one is elected within moments; if not, check that the brokers reach ZooKeeper");
    judge_zookeeper(v, a);
    judge_partitions(v, a);
    judge_brokers(v, a);
    judge_balance(v, a);
    judge_single_copies(v, a);
    judge_groups(v, a);
}
