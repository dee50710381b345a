/* SPDX-License-Identifier: Apache-2.0 */
/* What the group core costs: nanoseconds of CPU per heartbeat and per commit (with its record, its
 * append and the append's answer), and the memory of a group, for many groups of one member; then a
 * group of many members that comes together. Run alone: `make bench_group_core &&
 * ./bench_group_core`. */
#include "broker/group/group_core.h"

#include <malloc.h>
#include <stdio.h>
#include <time.h>

enum { GROUPS = 10000, MEMBERS = 10000, ROUNDS = 100 };

static struct group_core *core;
static int64_t now = 1000, log_end, bytes;

static void step(struct group_event ev)
{
    struct group_effects fx;
    uint64_t appends[4];
    int count = 0;

    ev.now_ms = now;
    ev.wall_ms = INT64_C(1700000000000) + now;
    group_core_step(core, &ev, &fx);
    for (int32_t i = 0; i < fx.count; i++) {
        if (fx.v[i].kind == GFX_APPEND && count < 4) {
            appends[count++] = fx.v[i].append.append_id;
            bytes += fx.v[i].append.records[0].value.len;
        }
    }
    for (int i = 0; i < count; i++)
        step((struct group_event){.kind = GEV_APPENDED,
                                  .appended = {appends[i], KE_NONE, log_end++}});
}

static void join(struct str group, int number)
{
    static const struct group_protocol range[] = {{{"range", 5}, {(const uint8_t *)"metadata", 8}}};
    char suffix[16];

    (void)snprintf(suffix, sizeof suffix, "%d", number);
    step((struct group_event){.kind = GEV_JOIN,
                              .call = 1,
                              .join = {.group = group,
                                       .member_id = STR_LIT(""),
                                       .instance_id = STR_NULL,
                                       .client_id = STR_LIT("consumer"),
                                       .client_host = STR_LIT("/127.0.0.1"),
                                       .protocol_type = STR_LIT("consumer"),
                                       .protocols = range,
                                       .protocol_count = 1,
                                       .session_ms = 45000,
                                       .rebalance_ms = 300000,
                                       .new_id_suffix = str_of(suffix),
                                       .reason = STR_NULL}});
}

static struct str name_of(char *buf, size_t n, int number)
{
    (void)snprintf(buf, n, "group-%d", number);
    return str_of(buf);
}

static void sync_leader(struct str group, int number)
{
    char id[32];

    (void)snprintf(id, sizeof id, "consumer-%d", number);
    step((struct group_event){.kind = GEV_SYNC,
                              .call = 1,
                              .sync = {.group = group,
                                       .member_id = str_of(id),
                                       .instance_id = STR_NULL,
                                       .generation = 1,
                                       .protocol_type = STR_NULL,
                                       .protocol = STR_NULL}});
}

static void tick(int64_t ms)
{
    now += ms;
    step((struct group_event){.kind = GEV_TICK});
}

/* CPU time: the machine may be busy. */
static int64_t cpu_us(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static void report(const char *what, int64_t began_us, double count)
{
    printf("%-48s %10.0f ns\n", what, 1000.0 * (double)(cpu_us() - began_us) / count);
}

static void many_groups(void)
{
    char name[32], id[32];
    size_t before = mallinfo2().uordblks;

    for (int i = 0; i < GROUPS; i++)
        join(name_of(name, sizeof name, i), i);
    tick(3000);
    for (int i = 0; i < GROUPS; i++)
        sync_leader(name_of(name, sizeof name, i), i);
    printf("%-48s %10zu bytes\n", "a group of one member",
           (mallinfo2().uordblks - before) / GROUPS);
    int64_t began = cpu_us();
    for (int k = 0; k < ROUNDS; k++) {
        for (int i = 0; i < GROUPS; i++) {
            (void)snprintf(id, sizeof id, "consumer-%d", i);
            step((struct group_event){
                .kind = GEV_HEARTBEAT,
                .call = 1,
                .heartbeat = {name_of(name, sizeof name, i), str_of(id), STR_NULL, 1}});
        }
        tick(10);
    }
    report("heartbeat", began, (double)ROUNDS * GROUPS);
    began = cpu_us();
    for (int k = 0; k < ROUNDS; k++) {
        for (int i = 0; i < GROUPS; i++) {
            struct group_commit_item item = {
                STR_LIT("topic"), k % 10, {k, -1, STR_LIT(""), now, -1}};
            (void)snprintf(id, sizeof id, "consumer-%d", i);
            step((struct group_event){
                .kind = GEV_COMMIT,
                .call = 1,
                .commit = {name_of(name, sizeof name, i), str_of(id), STR_NULL, 1, &item, 1}});
        }
    }
    report("commit of one partition", began, (double)ROUNDS * GROUPS);
    began = cpu_us();
    step((struct group_event){.kind = GEV_EXPIRE});
    report("first slice of a sweep", began, 1);
}

static void one_large_group(void)
{
    int64_t began = cpu_us();

    for (int i = 0; i < MEMBERS; i++)
        join(STR_LIT("large"), i);
    report("a join of a group of 10,000", began, MEMBERS);
    began = cpu_us();
    tick(3000);
    tick(3000);
    report("its join completed, each member answered", began, MEMBERS);
    began = cpu_us();
    sync_leader(STR_LIT("large"), 0);
    report("its assignment written", began, 1);
}

int main(void)
{
    struct group_limits limits = {.min_session_ms = 6000,
                                  .max_session_ms = 1800000,
                                  .initial_rebalance_delay_ms = 3000,
                                  .max_size = INT32_MAX,
                                  .metadata_max = 4096,
                                  .retention_ms = 10080 * INT64_C(60000),
                                  .history_max = 20,
                                  .append_bytes_max = 1000000};

    core = group_core_new(&limits, now);
    step((struct group_event){.kind = GEV_LOADED});
    many_groups();
    group_core_free(&core);
    core = group_core_new(&limits, now);
    step((struct group_event){.kind = GEV_LOADED});
    one_large_group();
    group_core_free(&core);
    return bytes == 0;
}
