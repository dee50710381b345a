/* SPDX-License-Identifier: Apache-2.0 */
/* A short ZooKeeper session for one command. */
#include "tools/lib/zookeeper.h"

#include "common/net/dial.h"
#include "tools/lib/admin.h"
#include "tools/lib/mem.h"

#include <stdio.h>
#include <unistd.h>

enum {
    CONNECT_TIMEOUT_MS = 10000,
    SESSION_TIMEOUT_MS = 10000,
    FIRST_TRY_MS = 400,
    ZOOKEEPER_PORT = 2181
};

struct servers {
    int64_t timeout_ms;
    bool one_listens;
    struct buf refusals;
};

static enum err try_server(void *arg, const char *host, int32_t port, struct errtext *why UNUSED)
{
    struct servers *s = arg;
    struct errtext one = {{0}};
    int fd;

    if (s->one_listens)
        return ERR_OK;
    if (dial(host, port, s->timeout_ms, &fd, NULL, &one) == ERR_OK) {
        s->one_listens = true;
        (void)close(fd);
    } else {
        buf_printf(&s->refusals, "%s%s", s->refusals.len == 0 ? "" : "; ", one.text);
    }
    return ERR_OK;
}

/* The client library would try for the whole timeout what is refused at once. Only asked after it
 * has failed once: a connection without a session is a warning in ZooKeeper's log. */
static enum err check_listens(const char *connect, int64_t timeout_ms, struct errtext *why)
{
    struct servers s = {.timeout_ms = timeout_ms};
    char *hosts = xstrndup(connect, strcspn(connect, "/"));
    enum err rc = admin_each_address(hosts, ZOOKEEPER_PORT, try_server, &s, why);

    if (rc == ERR_OK && !s.one_listens) {
        errtext_set(why, "ZooKeeper cannot be reached: %s", buf_cstr(&s.refusals));
        rc = ERR_UNREACHABLE;
    }
    mem_free(hosts);
    buf_fini(&s.refusals);
    return rc;
}

enum err zk_open(const char *connect, int64_t timeout_ms, struct coord **out, struct errtext *why)
{
    struct coord_options options = {
        .connect = connect,
        .chroot_must_exist = true,
        .session_timeout_ms = SESSION_TIMEOUT_MS,
    };

    enum err rc;

    ASSERT(timeout_ms > 0);
    *out = NULL;
    if (connect == NULL || connect[0] == '\0' || connect[0] == '/') {
        errtext_set(why, "--zookeeper takes host:port[,host:port...][/chroot], not '%s'",
                    connect == NULL ? "" : connect);
        return ERR_INVALID;
    }
    options.connection_timeout_ms = i64_min(timeout_ms, FIRST_TRY_MS);
    rc = coord_open(&options, out, why);
    if (rc != ERR_UNREACHABLE || timeout_ms <= FIRST_TRY_MS)
        return rc;
    rc = check_listens(connect, timeout_ms, why);
    options.connection_timeout_ms = timeout_ms - FIRST_TRY_MS;
    return rc == ERR_OK ? coord_open(&options, out, why) : rc;
}

int zk_start(const struct opts *o, struct coord **out)
{
    struct errtext why = {{0}};

    if (zk_open(opts_text(o, "zookeeper", NULL), opts_int(o, "timeout-ms", CONNECT_TIMEOUT_MS), out,
                &why) != ERR_OK)
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

    /* --timeout-ms of a consumer is about records */
    if (zk_open(opts_text(o, "zookeeper", NULL), CONNECT_TIMEOUT_MS, &c, &why) != ERR_OK) {
        (void)opts_fail(o, "%s", why.text);
        return NULL;
    }
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

static bool is_live(const struct zkadmin_broker *live, int32_t count, int32_t id)
{
    for (int32_t i = 0; i < count; i++)
        if (live[i].id == id)
            return true;
    return false;
}

static struct topic_partition_info partition_info(const struct zkdoc_partition *p,
                                                  const struct zkadmin_state *s)
{
    bool has_state = s->error == KE_NONE;

    return (struct topic_partition_info){
        .index = p->index,
        .leader = has_state ? s->doc.leader : -1,
        .replicas = p->replicas,
        .replica_count = p->replica_count,
        .adding = p->adding,
        .adding_count = p->adding_count,
        .removing = p->removing,
        .removing_count = p->removing_count,
        .isr = has_state ? s->doc.isr : NULL,
        .isr_count = has_state ? s->doc.isr_count : 0,
    };
}

int16_t zk_read_partitions(struct coord *c, struct arena *a, const struct zkadmin_topic *topics,
                           int32_t count, const struct zkadmin_broker *live, int32_t live_count,
                           struct topic_info *const *infos, struct errtext *why)
{
    struct zkadmin_state *states;
    int32_t total = 0, n = 0;
    int16_t code;

    for (int32_t t = 0; t < count; t++)
        total += topics[t].doc.partition_count;
    states = tool_alloc(a, (size_t)total, sizeof *states);
    for (int32_t t = 0; t < count; t++)
        for (int32_t i = 0; i < topics[t].doc.partition_count; i++)
            states[n++] = (struct zkadmin_state){.topic = topics[t].name,
                                                 .partition = topics[t].doc.partitions[i].index};
    code = zkadmin_partition_states(c, states, total, a, why);
    n = 0;
    for (int32_t t = 0; code == KE_NONE && t < count; t++) {
        int32_t partitions = topics[t].doc.partition_count;
        struct topic_partition_info *parts = tool_alloc(a, (size_t)partitions, sizeof *parts);

        for (int32_t i = 0; i < partitions; i++) {
            parts[i] = partition_info(&topics[t].doc.partitions[i], &states[n++]);
            parts[i].leader_is_live = is_live(live, live_count, parts[i].leader);
        }
        infos[t]->partitions = parts;
        infos[t]->partition_count = partitions;
    }
    return code;
}
