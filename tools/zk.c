/* SPDX-License-Identifier: Apache-2.0 */
/* A short ZooKeeper session for one command. */
#include "tools/zk.h"

#include "common/zk/zkadmin.h"

#include <stdio.h>

enum { CONNECT_TIMEOUT_MS = 10000, SESSION_TIMEOUT_MS = 10000 };

int zk_start(const struct opts *o, struct coord **out)
{
    const char *connect = opts_text(o, "zookeeper", NULL);
    struct coord_options options = {
        .connect = connect,
        .session_timeout_ms = SESSION_TIMEOUT_MS,
        .connection_timeout_ms = opts_int(o, "timeout-ms", CONNECT_TIMEOUT_MS),
    };
    struct errtext why = {{0}};

    *out = NULL;
    if (connect == NULL || connect[0] == '\0' || connect[0] == '/')
        return opts_fail(o, "--zookeeper takes host:port[,host:port...][/chroot], not '%s'",
                         connect == NULL ? "" : connect);
    if (coord_open(&options, out, &why) != ERR_OK)
        return opts_fail(o, "%s", why.text);
    return -1;
}

char *zk_find_brokers(const struct opts *o)
{
    struct arena a = {0};
    struct buf list = {0};
    struct errtext why = {{0}};
    struct zkadmin_broker *brokers;
    struct coord *c;
    char *found = NULL;
    int32_t count;

    if (zk_start(o, &c) >= 0)
        return NULL;
    if (zkadmin_brokers(c, &a, &brokers, &count, &why) != KE_NONE) {
        (void)opts_fail(o, "%s", why.text);
        goto out;
    }
    for (int32_t i = 0; i < count; i++)
        for (int32_t e = 0; e < brokers[i].doc.endpoint_count; e++)
            if (brokers[i].doc.endpoints[e].protocol == ZKDOC_PLAINTEXT)
                buf_printf(&list, "%s%s:%d", list.len == 0 ? "" : ",",
                           brokers[i].doc.endpoints[e].host, brokers[i].doc.endpoints[e].port);
    if (list.len == 0)
        (void)opts_fail(o,
                        "no broker with a PLAINTEXT listener is registered in %s: is one "
                        "running there, and is the chroot right?",
                        opts_text(o, "zookeeper", ""));
    else
        found = xstrdup(buf_cstr(&list));
out:
    coord_close(&c);
    buf_fini(&list);
    arena_fini(&a);
    return found;
}
