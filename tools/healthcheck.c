/* SPDX-License-Identifier: Apache-2.0 */
/* kafuka-healthcheck: does a broker answer, and does it belong to a cluster? One line, and the exit
 * status for containers and scripts: 0 healthy, 1 not. */
#include "common/base/clock.h"
#include "tools/lib/admin.h"
#include "tools/lib/tool.h"

#include <stdio.h>

enum { DEFAULT_CHECK_TIMEOUT_MS = 5000 };

static const struct opt_spec specs[] = {
    {"bootstrap-server", OPT_TEXT, "host:port,...", "The broker to ask (default localhost:9092).",
     0, 0},
    {"command-config", OPT_TEXT, "file",
     "A properties file for the connection: security.protocol, ssl.ca.location and the like.", 0,
     0},
    {"timeout-ms", OPT_INT, "ms", "How long the broker may take to answer (default 5000).", 1,
     INT32_MAX},
};

static const struct opt_command command = {
    .name = "healthcheck",
    .summary = "tells whether a broker answers, belongs to a cluster and reaches ZooKeeper: exit "
               "status 0, else 1.",
    .specs = specs,
    .spec_count = ARRAY_LEN(specs),
    .examples = "--bootstrap-server localhost:9092\n"
                "--bootstrap-server localhost:9092 --timeout-ms 1000 && echo ready\n",
};

static int check(struct admin *a, const struct opts *o, int64_t started_us)
{
    struct errtext why = {{0}};
    const char *away;

    if (admin_brokers(a, &why) != ERR_OK || admin_zookeeper(a, ADMIN_ANY, &away, &why) != ERR_OK)
        return opts_fail(o, "%s", why.text);
    if (a->metadata.brokers_count <= 0)
        return opts_fail(o, "the broker answers but is not registered in a cluster yet");
    if (a->metadata.controller_id < 0)
        return opts_fail(o, "the broker answers but knows no controller yet");
    if (away != NULL)
        return opts_fail(o, "the broker answers but is without ZooKeeper: %s", away);
    printf("healthy: %d broker%s, controller %d, cluster %.*s, answered in %.1f ms\n",
           a->metadata.brokers_count, a->metadata.brokers_count == 1 ? "" : "s",
           a->metadata.controller_id, STR_ARG(a->metadata.cluster_id),
           (double)(clock_mono_us() - started_us) / 1000.0);
    return 0;
}

static int run(const struct opts *o)
{
    int64_t started_us = clock_mono_us();
    struct errtext why = {{0}};
    struct admin a;
    int rc;

    if (admin_init(&a, opts_text(o, "bootstrap-server", "localhost:9092"),
                   opts_text(o, "command-config", NULL),
                   opts_int(o, "timeout-ms", DEFAULT_CHECK_TIMEOUT_MS), &why) != ERR_OK)
        rc = opts_fail(o, "%s", why.text);
    else
        rc = check(&a, o, started_us);
    admin_close(&a);
    return rc;
}

int cmd_healthcheck(int argc, char **argv)
{
    struct opts o;
    int rc = opts_start(&o, &command, argc, argv);

    if (rc < 0)
        rc = run(&o);
    opts_fini(&o);
    return rc;
}
