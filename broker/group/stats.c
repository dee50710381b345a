/* SPDX-License-Identifier: Apache-2.0 */
/* stats - what people are told of the groups here: the history of a group's rebalances as JSON, and
 * the numbers for /metrics. Asked by the http thread, answered by the loops. */
#include "broker/group/coordinator_internal.h"

#include "broker/http/metrics.h"
#include "common/base/json_writer.h"
#include "broker/cluster/metadata_cache.h"

#include <stdio.h>

/* ---- history */

struct history {
    struct coordinator *coordinator;
    struct str group;
    struct json_writer json;
    bool is_found;
};

static void add_rebalance(void *arg, const struct group_rebalance *r)
{
    struct history *h = arg;
    struct json_writer *w = &h->json;
    bool is_complete = r->ended_wall_ms >= 0;

    json_write_object(w, NULL);
    json_write_int(w, "time_ms", r->began_wall_ms);
    json_write_int(w, "generation", r->generation);
    json_write_str(w, "reason", r->reason);
    json_write_int(w, "further", r->further);
    json_write_int(w, "members_before", r->members_before);
    json_write_int(w, "members_after", r->members_after);
    json_write_int(w, "duration_ms", is_complete ? r->ended_wall_ms - r->began_wall_ms : -1);
    json_write_bool(w, "is_complete", is_complete);
    json_write_end(w);
}

static void add_error(struct history *h, const char *why, int32_t leader)
{
    struct json_writer *w = &h->json;

    json_write_object(w, NULL);
    json_write_text(w, "error", why);
    json_write_str(w, "group", h->group);
    json_write_int(w, "coordinator", leader);
    json_write_end(w);
}

/* On the loop that would own the group's shard. */
static void add_group(struct history *h, const struct shard *s, int32_t leader)
{
    struct group_view v;

    if (s == NULL) {
        add_error(h, "the coordinator of the group is another broker", leader);
        return;
    }
    if (s->state != SHARD_ACTIVE) {
        add_error(h, "the coordinator of the group is still loading", leader);
        return;
    }
    if (!group_core_find(s->core, h->group, &v)) {
        add_error(h, "there is no such group", leader);
        return;
    }
    h->is_found = true;
    json_write_object(&h->json, NULL);
    json_write_str(&h->json, "group", h->group);
    json_write_text(&h->json, "state", group_state_name(v.state));
    json_write_int(&h->json, "generation", v.generation);
    json_write_array(&h->json, "rebalances");
    group_core_each_rebalance(s->core, h->group, add_rebalance, h);
    json_write_end(&h->json);
    json_write_end(&h->json);
}

struct at_loop {
    struct history *history;
    struct seat *seat;
    int32_t partition; /* out of the first step */
};

static void find_partition(void *arg)
{
    struct at_loop *a = arg;
    struct coordinator *c = a->history->coordinator;
    struct metadata *m = metadata_cache_on(c->broker->metadata, a->seat->loop);

    a->partition = coordinator_partition_of(a->history->group, coordinator_partition_count(c, m));
}

static void history_on_loop(void *arg)
{
    struct at_loop *a = arg;
    struct coordinator *c = a->history->coordinator;
    const struct metadata_partition *mp =
        metadata_partition(metadata_cache_on(c->broker->metadata, a->seat->loop),
                           STR_LIT(OFFSETS_TOPIC), a->partition);

    add_group(a->history, seat_find(a->seat, a->partition), mp == NULL ? -1 : mp->leader);
}

bool coordinator_history_json(struct coordinator *c, struct str group, struct buf *out)
{
    struct history h = {.coordinator = c, .group = group, .json = json_write_to(out)};
    struct at_loop a = {.history = &h, .seat = &c->seats[0]};

    CHECK_OBJ(c, COORDINATOR_MAGIC);
    loop_call(a.seat->loop, find_partition, &a);
    a.seat = seat_of_partition(c, a.partition);
    loop_call(a.seat->loop, history_on_loop, &a);
    json_write_done(&h.json);
    buf_add(out, "\n", 1);
    return h.is_found;
}

/* ---- numbers */

struct count {
    struct seat *seat;
    struct group_numbers sum;
    int32_t loading, active;
    int64_t calls;
};

static void count_on_loop(void *arg)
{
    struct count *n = arg;
    const struct seat *s = n->seat;

    for (int32_t i = 0; i < s->shard_cap; i++) {
        const struct shard *shard = s->shards[i];
        struct group_numbers g;
        if (shard == NULL)
            continue;
        n->loading += shard->state == SHARD_LOADING;
        n->active += shard->state == SHARD_ACTIVE;
        n->calls += shard->calls;
        if (shard->state != SHARD_ACTIVE)
            continue;
        group_core_count(shard->core, &g);
        n->sum.groups += g.groups;
        n->sum.members += g.members;
        n->sum.offsets += g.offsets;
        n->sum.rebalances += g.rebalances;
        n->sum.expired_members += g.expired_members;
        n->sum.expired_offsets += g.expired_offsets;
        n->sum.commits += g.commits;
        for (int state = 0; state <= GROUP_DEAD; state++)
            n->sum.by_state[state] += g.by_state[state];
    }
    n->sum.rebalances += s->rebalances;
    n->sum.expired_members += s->expired_members;
    n->sum.expired_offsets += s->expired_offsets;
    n->sum.commits += s->commits;
}

static void print_states(struct buf *out, const struct group_numbers *n)
{
    buf_printf(out, "# HELP kafuka_groups Consumer groups whose coordinator is this broker, by state\n# TYPE kafuka_groups gauge\n");
    for (int state = 0; state < GROUP_DEAD; state++)
        buf_printf(out, "kafuka_groups{state=\"%s\"} %" PRId64 "\n",
                   group_state_name((enum group_state)state), n->by_state[state]);
}

static void print_work(struct buf *out, struct coordinator *c, const struct count *n)
{
    metrics_print_one(out, false, "kafuka_group_partitions",
                      "Partitions of __consumer_offsets that this broker leads and has loaded",
                      n->active);
    metrics_print_one(out, false, "kafuka_group_partitions_loading",
                      "Partitions of __consumer_offsets that this broker is loading", n->loading);
    metrics_print_one(out, false, "kafuka_group_requests_waiting",
                      "Requests of group members (JoinGroup, SyncGroup, OffsetCommit) that are not answered yet", n->calls);
    metrics_print_one(out, true, "kafuka_group_loads_total",
                      "Times that this broker loaded a partition of __consumer_offsets", atomic_load(&c->loads));
    metrics_print_one(out, true, "kafuka_group_loads_failed_total",
                      "Times that loading a partition of __consumer_offsets failed",
                      atomic_load(&c->loads_failed));
    metrics_print_seconds(out, false, "kafuka_group_load_seconds",
                          "Duration of the last load of a partition of __consumer_offsets",
                          atomic_load(&c->load_ms_last) * 1000);
    metrics_print_seconds(out, false, "kafuka_group_load_max_seconds",
                          "Duration of the longest load of a partition of __consumer_offsets",
                          atomic_load(&c->load_ms_max) * 1000);
    metrics_print_one(out, true, "kafuka_group_appends_total",
                      "Requests and group changes that were written to __consumer_offsets",
                      atomic_load(&c->appends));
    metrics_print_one(out, true, "kafuka_group_append_batches_total",
                      "Record batches written to __consumer_offsets by the coordinator", atomic_load(&c->append_batches));
    metrics_print_one(out, true, "kafuka_group_append_errors_total",
                      "Requests and group changes that could not be written to __consumer_offsets",
                      atomic_load(&c->append_errors));
}

void coordinator_print_metrics(struct coordinator *c, struct buf *out)
{
    struct count n = {.loading = 0};

    CHECK_OBJ(c, COORDINATOR_MAGIC);
    for (int i = 0; i < c->seat_count; i++) {
        n.seat = &c->seats[i];
        loop_call(n.seat->loop, count_on_loop, &n);
    }
    print_states(out, &n.sum);
    metrics_print_one(out, false, "kafuka_group_members", "Members of the groups whose coordinator is this broker",
                      n.sum.members);
    metrics_print_one(out, false, "kafuka_group_offsets", "Committed offsets of the groups whose coordinator is this broker",
                      n.sum.offsets);
    metrics_print_one(out, true, "kafuka_group_rebalances_total", "Rebalances of the groups whose coordinator is this broker",
                      n.sum.rebalances);
    metrics_print_one(out, true, "kafuka_group_members_expired_total",
                      "Group members removed because their session or rebalance timeout passed", n.sum.expired_members);
    metrics_print_one(out, true, "kafuka_group_commits_total", "Offsets committed by groups", n.sum.commits);
    metrics_print_one(out, true, "kafuka_group_offsets_expired_total",
                      "Committed offsets removed after offsets.retention.minutes", n.sum.expired_offsets);
    print_work(out, c, &n);
}
