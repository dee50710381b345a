/* SPDX-License-Identifier: Apache-2.0 */
/* What the core wants to read: members, topics, owners; and the brokers' addresses for the reader
 * of records. */
#include "tools/zkconsumer/zkc_shell_internal.h"

#include "common/base/clock.h"

#include <stdio.h>

/* ---- reading */

static void read_done(void *arg, const struct coord_result *r);

static void finish_read(struct zkc_call *k, const struct coord_result *r, enum zkc_result result)
{
    struct zkc_event ev = {.kind = ZKC_EV_READ,
                           .result = result,
                           .read = {.round = k->seq, .what = k->what, .name = k->name}};

    ev.read.data = r->data;
    ev.read.children = r->children;
    ev.read.child_count = r->child_count;
    zkc_step(k->z, ev);
    zkc_call_free(k);
}

static void read_call(struct zkc_call *k)
{
    struct coord *c = k->z->coord;

    if (k->what == ZKC_MEMBER || k->what == ZKC_TOPIC)
        coord_get(c, k->path, k->what == ZKC_TOPIC, &k->z->mailbox, read_done, k);
    else
        coord_children(c, k->path, true, &k->z->mailbox, read_done, k);
}

/* What is not there was watched by looking whether it is. */
static void absence_watched(void *arg, const struct coord_result *r)
{
    struct zkc_call *k = zkc_call_of(arg);

    if (k == NULL)
        return;
    if (r->err == ERR_OK && k->tries++ < CLAIM_TRIES_MAX)
        read_call(k); /* it has come meanwhile */
    else
        finish_read(k, &(struct coord_result){0},
                    r->err == ERR_NOT_FOUND ? ZKC_NOT_FOUND : ZKC_FAILED);
}

static void read_done(void *arg, const struct coord_result *r)
{
    struct zkc_call *k = zkc_call_of(arg);

    if (k == NULL)
        return;
    if (r->err == ERR_NOT_FOUND && k->what != ZKC_MEMBER)
        coord_exists(k->z->coord, k->path, true, &k->z->mailbox, absence_watched, k);
    else
        finish_read(k, r,
                    r->err == ERR_OK          ? ZKC_OK
                    : r->err == ERR_NOT_FOUND ? ZKC_NOT_FOUND
                                              : ZKC_FAILED);
}

void zkc_do_read(struct kafuka_zkc *z, const struct zkc_effect *effects)
{
    struct zkc_call *k = zkc_call_new(z, effects);

    switch (k->what) {
    case ZKC_MEMBERS:
        k->path = zkc_path(z, "ids", NULL, 0);
        break;
    case ZKC_MEMBER:
        k->path = xasprintf("/consumers/%s/ids/%s", z->settings.group_id, k->name);
        break;
    case ZKC_TOPICS:
        k->path = xstrdup("/brokers/topics");
        break;
    case ZKC_TOPIC:
        k->path = xasprintf("/brokers/topics/%s", k->name);
        break;
    case ZKC_BROKERS:
        k->path = xstrdup("/brokers/ids");
        break;
    }
    read_call(k);
}

/* ---- the brokers' addresses */

static int16_t wanted_protocol(const struct kafuka_zkc *z)
{
    int16_t protocol = ZKDOC_PLAINTEXT;
    char value[64];
    size_t size = sizeof value;

    if (rd_kafka_conf_get(z->settings.rk, "security.protocol", value, &size) == RD_KAFKA_CONF_OK) {
        for (char *p = value; *p != 0; p++)
            if (*p >= 'a' && *p <= 'z')
                *p = (char)(*p - 'a' + 'A');
        (void)zkdoc_protocol_parse(value, &protocol);
    }
    return protocol;
}

static void broker_read(void *arg, const struct coord_result *r)
{
    struct zkc_call *k = zkc_call_of(arg);
    struct arena a = {0};
    struct errtext why = {{0}};
    struct zkdoc_broker doc;

    if (k == NULL)
        return;
    if (r->err == ERR_OK && zkdoc_broker_parse(r->data, &a, &doc, &why) == ERR_OK) {
        for (int32_t i = 0; i < doc.endpoint_count; i++)
            if (doc.endpoints[i].protocol == k->stream && doc.endpoints[i].host[0] != 0) {
                char *address =
                    xasprintf(strchr(doc.endpoints[i].host, ':') == NULL ? "%s:%d" : "[%s]:%d",
                              doc.endpoints[i].host, doc.endpoints[i].port);
                zkc_fetch_add_broker(k->z->fetch, address);
                mem_free(address);
            }
    } else if (r->err == ERR_OK) {
        zkc_log(k->z, KAFUKA_ZKC_WARN, "broker %s is left out: %s", k->name, why.text);
    }
    arena_fini(&a);
    zkc_call_free(k);
}

void zkc_do_brokers(struct kafuka_zkc *z)
{
    z->brokers_ms = clock_mono_ms();
    for (int32_t i = 0; i < z->core.now.broker_count; i++) {
        struct zkc_effect effects = {.kind = ZKC_EFFECT_BROKERS, .name = z->core.now.brokers[i]};
        struct zkc_call *k = zkc_call_new(z, &effects);

        k->stream = wanted_protocol(z);
        k->path = xasprintf("/brokers/ids/%s", k->name);
        coord_get(z->coord, k->path, false, &z->mailbox, broker_read, k);
    }
}
