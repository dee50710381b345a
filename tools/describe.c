/* SPDX-License-Identifier: Apache-2.0 */
/* kafuka-describe: the whole cluster on one page, what is wrong with it and what to do about it.
 * The exit status says whether it is healthy. */
#include "tools/admin.h"
#include "tools/rk.h"
#include "tools/tool.h"
#include "tools/view.h"
#include "tools/zk.h"

#include <stdio.h>
#include <time.h>
#include <unistd.h>

static const struct opt_spec specs[] = {
    ADMIN_OPTIONS,
    {"zookeeper", OPT_TEXT, "host:port,.../chroot",
     "In place of --bootstrap-server: read the znodes; works when no broker does.", 0, 0},
    {"json", OPT_FLAG, NULL, "One JSON object instead of the page.", 0, 0},
    {"watch", OPT_INT, "seconds", "Again every so many seconds, until interrupted.", 1, 86400},
    {"topics", OPT_FLAG, NULL, "List all topics, not only the sick and the first ones.", 0, 0},
};

static const struct opt_command command = {
    .name = "describe",
    .summary = "the whole cluster on one page, and what is wrong with it. Exit status 0: healthy, "
               "1: not.",
    .specs = specs,
    .spec_count = ARRAY_LEN(specs),
    .examples = "--bootstrap-server localhost:9092\n"
                "--bootstrap-server localhost:9092 --watch 2\n"
                "--bootstrap-server localhost:9092 --json | jq .problems\n"
                "--zookeeper localhost:2181\n",
};

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
    coord_close(&c);
    for (int32_t i = 0; rc < 0 && i < v->broker_count; i++)
        buf_printf(&list, "%s%s:%d", list.len == 0 ? "" : ",", v->brokers[i].host,
                   v->brokers[i].port);
    if (rc < 0 && list.len > 0 &&
        admin_init(a, arena_strdup(arena, buf_cstr(&list), list.len),
                   opts_text(o, "command-config", NULL), opts_int(o, "timeout-ms", 5000),
                   &why) == ERR_OK &&
        admin_brokers(a, &why) == ERR_OK)
        view_read_dirs(a, arena, v);
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
    return -1;
}

/* One page. 0 healthy, 1 not. */
static int show(const struct opts *o, bool clears)
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
    int rc;

    rk_catch_signals();
    do {
        rc = show(o, clears);
        if (!rk_stop_requested())
            (void)nanosleep(&pause, NULL);
    } while (!rk_stop_requested());
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
        rc = opts_has(&o, "watch") ? watch(&o) : show(&o, false);
    opts_fini(&o);
    return rc;
}
