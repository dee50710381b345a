/* SPDX-License-Identifier: Apache-2.0 */
/* kafuka-cluster: the id of the cluster. */
#include "tools/lib/admin.h"
#include "tools/lib/tool.h"

#include <stdio.h>

static const struct opt_spec specs[] = {
    ADMIN_OPTIONS,
    {"config", OPT_TEXT, "file", "The older name of --command-config.", 0, 0},
};

static const struct opt_command command = {
    .name = "cluster",
    .summary = "prints the id of the cluster.",
    .specs = specs,
    .spec_count = ARRAY_LEN(specs),
    .examples = "cluster-id --bootstrap-server localhost:9092\n",
    .positional = "cluster-id",
};

static int run(const struct opts *o)
{
    struct errtext why = {{0}};
    struct admin a;
    int rc;

    if (o->word_count != 1 || strcmp(o->words[0], "cluster-id") != 0)
        return opts_fail(o, "give the sub-command cluster-id: it is the only one");
    rc = admin_start_at(&a, o, opts_text(o, "bootstrap-server", NULL),
                        opts_text(o, "command-config", opts_text(o, "config", NULL)));
    if (rc >= 0)
        return rc;
    if (admin_brokers(&a, &why) != ERR_OK)
        rc = opts_fail(o, "%s", why.text);
    else if (a.metadata.cluster_id.len < 0)
        rc = opts_fail(o, "No cluster ID found. The Kafka version is too old.");
    else
        rc = printf("Cluster ID: %.*s\n", STR_ARG(a.metadata.cluster_id)) < 0;
    admin_close(&a);
    return rc;
}

int cmd_cluster(int argc, char **argv)
{
    struct opts o;
    int rc = opts_start(&o, &command, argc, argv);

    if (rc < 0)
        rc = run(&o);
    opts_fini(&o);
    return rc;
}
