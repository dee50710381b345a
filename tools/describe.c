/* SPDX-License-Identifier: Apache-2.0 */
/* kafuka-describe: the whole cluster on one page, what is wrong with it and what to do about it.
 * The exit status says whether it is healthy. */
#include "common/base/clock.h"
#include "tools/lib/admin.h"
#include "tools/lib/rdkafka.h"
#include "tools/lib/tool.h"
#include "tools/lib/view.h"
#include "tools/lib/zookeeper.h"

#include <stdio.h>
#include <time.h>
#include <unistd.h>

static const struct opt_spec specs[] = {
    ADMIN_OPTIONS,
    {"zookeeper", OPT_TEXT, "host:port,.../chroot",
     "In place of --bootstrap-server: read the znodes; this works when no broker answers.", 0, 0},
    {"json", OPT_FLAG, NULL, "Print one JSON object instead of the page.", 0, 0},
    {"watch", OPT_INT, "seconds",
     "Print the page again each time this many seconds have passed, until interrupted.", 1, 86400},
    {"topics", OPT_FLAG, NULL,
     "List all topics and groups, not only those in trouble and the first twenty.", 0, 0},
    {"no-groups", OPT_FLAG, NULL, "Leave out consumer groups.", 0, 0},
};

static const struct opt_command command = {
    .name = "describe",
    .summary =
        "shows the whole cluster on one page, and what is wrong with it. Exit status 0: healthy, "
        "1: not.",
    .specs = specs,
    .spec_count = ARRAY_LEN(specs),
    .examples = "--bootstrap-server localhost:9092\n"
                "--bootstrap-server localhost:9092 --watch 2\n"
                "--bootstrap-server localhost:9092 --json | jq .problems\n"
                "--zookeeper localhost:2181\n",
};

enum { GROUPS_WAIT_MS = 1000, ZK_FOUND_TIMEOUT_MS = 500 };

/* How far behind the groups are, those in ZooKeeper too. a or zk may be NULL. */
static void read_groups(const struct opts *o, struct admin *a, struct coord *zk,
                        struct arena *arena, struct view *v)
{
    struct coord *found = NULL;
    struct errtext why = {{0}};
    const char *connect;

    if (opts_has(o, "no-groups"))
        return;
    if (zk == NULL && a != NULL) {
        connect = groups_zookeeper_of(a);
        if (connect != NULL && zk_open(connect, ZK_FOUND_TIMEOUT_MS, &found, &why) != ERR_OK)
            errtext_wrap(&why, "those in ZooKeeper");
    }
    group_lags_read(a, zk != NULL ? zk : found, arena, clock_mono_ms() + GROUPS_WAIT_MS,
                    &v->groups);
    if (v->groups.unknown == NULL && why.text[0] != '\0')
        v->groups.unknown = arena_strdup(arena, why.text, strlen(why.text));
    coord_close(&found);
}

/* From the znodes, with the sizes of the log directories if the brokers answer. */
static int read_zookeeper(const struct opts *o, struct admin *a, struct arena *arena,
                          struct view *v)
{
    struct errtext why = {{0}};
    struct buf list = {0};
    struct coord *c;
    int rc = zk_start(o, &c);

    if (rc >= 0)
        return rc;
    if (view_read_zookeeper(c, arena, v, &why) != ERR_OK)
        rc = opts_fail(o, "%s", why.text);
    for (int32_t i = 0; rc < 0 && i < v->broker_count; i++)
        buf_printf(&list, "%s%s:%d", list.len == 0 ? "" : ",", v->brokers[i].host,
                   v->brokers[i].port);
    if (rc < 0 && list.len > 0 &&
        admin_init(a, arena_strdup(arena, buf_cstr(&list), list.len),
                   opts_text(o, "command-config", NULL), opts_int(o, "timeout-ms", 5000),
                   &why) == ERR_OK &&
        admin_brokers(a, &why) == ERR_OK) {
        view_read_dirs(a, arena, v);
        read_groups(o, a, c, arena, v);
    } else if (rc < 0) {
        read_groups(o, NULL, c, arena, v);
    }
    coord_close(&c);
    buf_fini(&list);
    return rc;
}

static int read_broker(const struct opts *o, struct admin *a, struct arena *arena, struct view *v)
{
    struct errtext why = {{0}};
    int rc = admin_start(a, o);

    if (rc >= 0)
        return rc;
    if (view_read(a, arena, v, &why) != ERR_OK)
        return opts_fail(o, "%s", why.text);
    view_read_dirs(a, arena, v);
    read_groups(o, a, NULL, arena, v);
    return -1;
}

/* What the look before said of a group, for --watch. */
struct seen {
    char *name;
    int64_t records;
    int32_t grown;
};
struct memory {
    struct seen groups[GROUP_LAG_MAX * 2];
    int32_t count;
};

static void forget(struct memory *m)
{
    for (int32_t i = 0; i < m->count; i++)
        mem_free(m->groups[i].name);
    m->count = 0;
}

/* Counts for how many looks in a row each group has fallen further behind. */
static void compare(struct memory *m, struct group_lags *now)
{
    struct memory *next = xcalloc(1, sizeof *next);

    for (int32_t i = 0; i < now->count; i++) {
        struct group_lag *g = &now->items[i];

        for (int32_t k = 0; k < m->count; k++)
            if (strcmp(m->groups[k].name, g->name) == 0 && g->records > m->groups[k].records &&
                m->groups[k].records >= 0)
                g->grown = m->groups[k].grown + 1;
        next->groups[next->count++] = (struct seen){xstrdup(g->name), g->records, g->grown};
    }
    forget(m);
    *m = *next;
    mem_free(next);
}

/* One page. memory: of the looks before, or NULL. 0 healthy, 1 not. */
static int show(const struct opts *o, bool clears, struct memory *memory)
{
    struct admin a = {0};
    struct arena arena = {0};
    struct buf out = {0};
    struct view v;
    int rc = opts_has(o, "zookeeper") ? read_zookeeper(o, &a, &arena, &v)
                                      : read_broker(o, &a, &arena, &v);

    if (clears)
        printf("\033[H\033[2J");
    if (rc < 0) {
        if (memory != NULL)
            compare(memory, &v.groups);
        view_judge(&v, &arena);
        if (opts_has(o, "json"))
            view_print_json(&v, &out);
        else
            view_print(&v, opts_has(o, "topics"), &out);
        (void)fwrite(out.p, 1, out.len, stdout);
        rc = v.is_healthy ? 0 : 1;
    }
    (void)fflush(stdout);
    buf_fini(&out);
    admin_close(&a);
    arena_fini(&arena);
    return rc;
}

static int watch(const struct opts *o)
{
    bool clears = isatty(STDOUT_FILENO) == 1 && !opts_has(o, "json");
    struct timespec pause = {(time_t)opts_int(o, "watch", 1), 0};
    struct memory *memory = xcalloc(1, sizeof *memory);
    int rc;

    rdkafka_catch_signals();
    do {
        rc = show(o, clears, memory);
        if (!rdkafka_stop_requested())
            (void)nanosleep(&pause, NULL);
    } while (!rdkafka_stop_requested());
    forget(memory);
    mem_free(memory);
    return rc;
}

int cmd_describe(int argc, char **argv)
{
    struct opts o;
    int rc = opts_start(&o, &command, argc, argv);

    if (rc < 0 && opts_has(&o, "bootstrap-server") == opts_has(&o, "zookeeper"))
        rc = opts_fail(&o, "exactly one of --bootstrap-server and --zookeeper must be specified, "
                           "for example --bootstrap-server localhost:9092");
    if (rc < 0)
        rc = opts_has(&o, "watch") ? watch(&o) : show(&o, false, NULL);
    opts_fini(&o);
    return rc;
}
