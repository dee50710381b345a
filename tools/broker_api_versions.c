/* SPDX-License-Identifier: Apache-2.0 */
/* kafuka-broker-api-versions: which requests, in which versions, each broker understands. */
#include "tools/lib/admin.h"
#include "tools/lib/tool.h"

#include <stdio.h>

static const struct opt_spec specs[] = {ADMIN_OPTIONS};

static const struct opt_command command = {
    .name = "broker-api-versions",
    .summary = "lists which requests, in which versions, each broker understands.",
    .specs = specs,
    .spec_count = ARRAY_LEN(specs),
    .examples = "--bootstrap-server localhost:9092\n",
};

/* One API of one broker, without the end of the line. */
static void add_api(const struct bclient *c, const struct kp_api *api, struct buf *out)
{
    int16_t min, max, usable = bclient_version(c, api->key, BCLIENT_NEWEST);

    buf_printf(out, "\t%s(%d): ", api->name, api->key);
    if (!bclient_range(c, api->key, &min, &max)) {
        buf_printf(out, "UNSUPPORTED");
        return;
    }
    if (min == max)
        buf_printf(out, "%d", min);
    else
        buf_printf(out, "%d to %d", min, max);
    if (usable >= 0)
        buf_printf(out, " [usable: %d]", usable);
    else
        buf_printf(out, " [unusable: node too %s]", max < api->min_version ? "old" : "new");
}

static int show_broker(struct admin *a, const struct opts *o, int32_t i)
{
    const struct kp_MetadataResponse_MetadataResponseBroker *b = &a->metadata.brokers[i];
    struct buf out = {0};
    struct errtext why = {{0}};
    struct bclient *c;

    if (admin_client(a, b->node_id, &c, &why) != ERR_OK)
        return opts_fail(o, "%s", why.text);
    buf_printf(&out, "%.*s:%d (id: %d rack: %.*s) -> (\n", STR_ARG(b->host), b->port, b->node_id,
               STR_ARG(b->rack.len < 0 ? STR_LIT("null") : b->rack));
    for (size_t k = 0; k < kp_api_count; k++) {
        add_api(c, &kp_apis[k], &out);
        buf_printf(&out, "%s\n", k + 1 < kp_api_count ? "," : "");
    }
    buf_printf(&out, ")\n");
    (void)fwrite(out.p, 1, out.len, stdout);
    buf_fini(&out);
    return 0;
}

int cmd_broker_api_versions(int argc, char **argv)
{
    struct errtext why = {{0}};
    struct admin a = {0};
    struct opts o;
    int rc = opts_start(&o, &command, argc, argv);

    if (rc < 0)
        rc = admin_start(&a, &o);
    if (rc < 0)
        rc = admin_brokers(&a, &why) == ERR_OK ? 0 : opts_fail(&o, "%s", why.text);
    for (int32_t i = 0; rc == 0 && i < a.metadata.brokers_count; i++)
        rc = show_broker(&a, &o, i);
    admin_close(&a);
    opts_fini(&o);
    return rc;
}
