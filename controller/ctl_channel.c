/* SPDX-License-Identifier: Apache-2.0 */
/* One channel to each registered broker: one connection, one request on its way, repeated until it
 * is answered or the broker leaves. The core never has more than one for a broker. */
#include "controller/ctl.h"

#include "common/base/slog.h"
#include "common/protocol/codec.h"
#include "common/protocol/messages.h"

enum {
    RETRY_MS = 100,       /* pause between attempts while something waits to be sent */
    RETRY_IDLE_MS = 1000, /* and when nothing does */
    LEADER_AND_ISR_VERSION = 7,
    UPDATE_METADATA_VERSION = 8,
    STOP_REPLICA_VERSION = 4
};

static void channel_connect(struct ctl_channel *ch);

/* ---- building messages; everything in the channel's arena, since it may be sent again later */
static void *take(struct ctl_channel *ch, size_t n)
{
    void *p = arena_alloc(&ch->arena, n == 0 ? 1 : n);

    ASSERT(p != NULL); /* no limit */
    return p;
}

static struct str take_str(struct ctl_channel *ch, const char *z)
{
    size_t n = strlen(z);

    return (struct str){arena_strdup(&ch->arena, z, n), (int32_t)n};
}

static int32_t *take_ids(struct ctl_channel *ch, const int32_t *ids, int32_t count)
{
    int32_t *v = take(ch, (size_t)count * sizeof *v);

    if (count > 0)
        memcpy(v, ids, (size_t)count * sizeof *v);
    return v;
}

/* How many of the items from at on belong to one topic. */
static int32_t run_length(const struct core_fx *f, int32_t at)
{
    const struct core_send_item *it = f->u.send.items;
    int32_t n = 1;

    while (at + n < f->u.send.count && strcmp(it[at].topic, it[at + n].topic) == 0 &&
           uuid_eq(it[at].topic_id, it[at + n].topic_id))
        n++;
    return n;
}

static int32_t topic_count(const struct core_fx *f)
{
    int32_t n = 0;

    for (int32_t i = 0; i < f->u.send.count; i += run_length(f, i))
        n++;
    return n;
}

static void leader_and_isr_partition(struct ctl_channel *ch, const struct core_send_item *it,
                                     struct kp_LeaderAndIsrRequest_LeaderAndIsrPartitionState *p)
{
    kp_defaults(&kp_LeaderAndIsrRequest_LeaderAndIsrPartitionState_schema, p);
    p->partition_index = it->partition;
    p->controller_epoch = it->controller_epoch;
    p->leader = it->leader;
    p->leader_epoch = it->leader_epoch;
    p->isr = take_ids(ch, it->isr, it->isr_count);
    p->isr_count = it->isr_count;
    p->partition_epoch = it->partition_epoch;
    p->replicas = take_ids(ch, it->replicas, it->replica_count);
    p->replicas_count = it->replica_count;
    p->adding_replicas = take_ids(ch, it->adding, it->adding_count);
    p->adding_replicas_count = it->adding_count;
    p->removing_replicas = take_ids(ch, it->removing, it->removing_count);
    p->removing_replicas_count = it->removing_count;
    p->is_new = it->is_new;
    p->leader_recovery_state = it->recovery_state;
}

/* The leaders that the request names, with their place on the inter-broker listener. */
static void live_leaders(struct ctl_channel *ch, const struct core_fx *f,
                         struct kp_LeaderAndIsrRequest *m)
{
    struct controller *c = ch->c;
    bool *is_named = xcalloc((size_t)c->broker_count + 1, sizeof *is_named);

    for (int32_t i = 0; i < f->u.send.count; i++) {
        for (int32_t k = 0; k < c->broker_count; k++)
            is_named[k] |= c->brokers[k]->id == f->u.send.items[i].leader;
    }
    m->live_leaders = take(ch, (size_t)c->broker_count * sizeof *m->live_leaders);
    for (int32_t k = 0; k < c->broker_count; k++) {
        const struct zkdoc_endpoint *e =
            zkdoc_broker_endpoint(&c->brokers[k]->doc, c->listener_name);
        struct kp_LeaderAndIsrRequest_LeaderAndIsrLiveLeader *l;

        if (!is_named[k] || e == NULL)
            continue;
        l = &m->live_leaders[m->live_leaders_count++];
        kp_defaults(&kp_LeaderAndIsrRequest_LeaderAndIsrLiveLeader_schema, l);
        l->broker_id = c->brokers[k]->id;
        l->host_name = take_str(ch, e->host);
        l->port = e->port;
    }
    mem_free(is_named);
}

static void *build_leader_and_isr(struct ctl_channel *ch, const struct core_fx *f)
{
    struct kp_LeaderAndIsrRequest *m = take(ch, sizeof *m);
    int32_t at = 0;

    kp_defaults(&kp_LeaderAndIsrRequest_schema, m);
    m->controller_id = ch->c->o.broker_id;
    m->controller_epoch = ch->c->epoch;
    m->broker_epoch = ch->broker_epoch;
    m->topic_states_count = topic_count(f);
    m->topic_states = take(ch, (size_t)m->topic_states_count * sizeof *m->topic_states);
    for (int32_t t = 0; t < m->topic_states_count; t++) {
        struct kp_LeaderAndIsrRequest_LeaderAndIsrTopicState *ts = &m->topic_states[t];
        const struct core_send_item *it = &f->u.send.items[at];
        int32_t n = run_length(f, at);

        kp_defaults(&kp_LeaderAndIsrRequest_LeaderAndIsrTopicState_schema, ts);
        ts->topic_name = take_str(ch, it->topic);
        ts->topic_id = it->topic_id;
        ts->partition_states = take(ch, (size_t)n * sizeof *ts->partition_states);
        ts->partition_states_count = n;
        for (int32_t i = 0; i < n; i++)
            leader_and_isr_partition(ch, &it[i], &ts->partition_states[i]);
        at += n;
    }
    m->live_leaders_count = 0;
    live_leaders(ch, f, m);
    return m;
}

static void metadata_broker(struct ctl_channel *ch, const struct ctl_broker *b,
                            struct kp_UpdateMetadataRequest_UpdateMetadataBroker *out)
{
    kp_defaults(&kp_UpdateMetadataRequest_UpdateMetadataBroker_schema, out);
    out->id = b->id;
    out->rack = b->doc.rack == NULL ? STR_NULL : take_str(ch, b->doc.rack);
    out->endpoints = take(ch, (size_t)b->doc.endpoint_count * sizeof *out->endpoints);
    out->endpoints_count = b->doc.endpoint_count;
    for (int32_t i = 0; i < b->doc.endpoint_count; i++) {
        const struct zkdoc_endpoint *e = &b->doc.endpoints[i];
        struct kp_UpdateMetadataRequest_UpdateMetadataEndpoint *o = &out->endpoints[i];

        kp_defaults(&kp_UpdateMetadataRequest_UpdateMetadataEndpoint_schema, o);
        o->port = e->port;
        o->host = take_str(ch, e->host);
        o->listener = take_str(ch, e->listener);
        o->security_protocol = e->protocol;
    }
}

static void metadata_partition(struct ctl_channel *ch, const struct core_send_item *it,
                               struct kp_UpdateMetadataRequest_UpdateMetadataPartitionState *p)
{
    kp_defaults(&kp_UpdateMetadataRequest_UpdateMetadataPartitionState_schema, p);
    p->partition_index = it->partition;
    p->controller_epoch = it->controller_epoch;
    p->leader = it->leader;
    p->leader_epoch = it->leader_epoch;
    p->isr = take_ids(ch, it->isr, it->isr_count);
    p->isr_count = it->isr_count;
    p->zk_version = it->partition_epoch;
    p->replicas = take_ids(ch, it->replicas, it->replica_count);
    p->replicas_count = it->replica_count;
    p->offline_replicas = take_ids(ch, it->offline, it->offline_count);
    p->offline_replicas_count = it->offline_count;
}

static void *build_update_metadata(struct ctl_channel *ch, const struct core_fx *f)
{
    struct kp_UpdateMetadataRequest *m = take(ch, sizeof *m);
    struct controller *c = ch->c;
    int32_t at = 0;

    kp_defaults(&kp_UpdateMetadataRequest_schema, m);
    m->controller_id = c->o.broker_id;
    m->controller_epoch = c->epoch;
    m->broker_epoch = ch->broker_epoch;
    m->live_brokers = take(ch, (size_t)c->broker_count * sizeof *m->live_brokers);
    m->live_brokers_count = c->broker_count;
    for (int32_t i = 0; i < c->broker_count; i++)
        metadata_broker(ch, c->brokers[i], &m->live_brokers[i]);
    m->topic_states_count = topic_count(f);
    m->topic_states = take(ch, (size_t)m->topic_states_count * sizeof *m->topic_states);
    for (int32_t t = 0; t < m->topic_states_count; t++) {
        struct kp_UpdateMetadataRequest_UpdateMetadataTopicState *ts = &m->topic_states[t];
        const struct core_send_item *it = &f->u.send.items[at];
        int32_t n = run_length(f, at);

        kp_defaults(&kp_UpdateMetadataRequest_UpdateMetadataTopicState_schema, ts);
        ts->topic_name = take_str(ch, it->topic);
        ts->topic_id = it->topic_id;
        ts->partition_states = take(ch, (size_t)n * sizeof *ts->partition_states);
        ts->partition_states_count = n;
        for (int32_t i = 0; i < n; i++)
            metadata_partition(ch, &it[i], &ts->partition_states[i]);
        at += n;
    }
    return m;
}

static void *build_stop_replica(struct ctl_channel *ch, const struct core_fx *f)
{
    struct kp_StopReplicaRequest *m = take(ch, sizeof *m);
    int32_t at = 0;

    kp_defaults(&kp_StopReplicaRequest_schema, m);
    m->controller_id = ch->c->o.broker_id;
    m->controller_epoch = ch->c->epoch;
    m->broker_epoch = ch->broker_epoch;
    m->topic_states_count = topic_count(f);
    m->topic_states = take(ch, (size_t)m->topic_states_count * sizeof *m->topic_states);
    for (int32_t t = 0; t < m->topic_states_count; t++) {
        struct kp_StopReplicaRequest_StopReplicaTopicState *ts = &m->topic_states[t];
        const struct core_send_item *it = &f->u.send.items[at];
        int32_t n = run_length(f, at);

        kp_defaults(&kp_StopReplicaRequest_StopReplicaTopicState_schema, ts);
        ts->topic_name = take_str(ch, it->topic);
        ts->partition_states = take(ch, (size_t)n * sizeof *ts->partition_states);
        ts->partition_states_count = n;
        for (int32_t i = 0; i < n; i++) {
            struct kp_StopReplicaRequest_StopReplicaPartitionState *p = &ts->partition_states[i];

            kp_defaults(&kp_StopReplicaRequest_StopReplicaPartitionState_schema, p);
            p->partition_index = it[i].partition;
            p->leader_epoch = it[i].leader_epoch;
            p->delete_partition = it[i].is_delete;
        }
        at += n;
    }
    return m;
}

/* ---- answers */
static int16_t api_key_of(enum core_rpc rpc, int16_t *version_out)
{
    switch (rpc) {
    case CORE_LEADER_AND_ISR:
        *version_out = LEADER_AND_ISR_VERSION;
        return KP_API_LEADER_AND_ISR;
    case CORE_UPDATE_METADATA:
        *version_out = UPDATE_METADATA_VERSION;
        return KP_API_UPDATE_METADATA;
    case CORE_STOP_REPLICA:
        *version_out = STOP_REPLICA_VERSION;
        return KP_API_STOP_REPLICA;
    }
    UNREACHABLE();
}

static int32_t leader_and_isr_items(const struct kp_LeaderAndIsrResponse *m,
                                    struct core_reply_item **items_out)
{
    int32_t n = 0, at = 0;

    for (int32_t t = 0; t < m->topics_count; t++)
        n += i32_max(m->topics[t].partition_errors_count, 0);
    *items_out = xcalloc((size_t)n + 1, sizeof **items_out);
    for (int32_t t = 0; t < m->topics_count; t++) {
        for (int32_t i = 0; i < m->topics[t].partition_errors_count; i++)
            (*items_out)[at++] = (struct core_reply_item){
                .at = {.topic = STR_NULL,
                       .topic_id = m->topics[t].topic_id,
                       .partition = m->topics[t].partition_errors[i].partition_index},
                .error = m->topics[t].partition_errors[i].error_code};
    }
    return n;
}

static int32_t stop_replica_items(const struct kp_StopReplicaResponse *m,
                                  struct core_reply_item **items_out)
{
    int32_t n = i32_max(m->partition_errors_count, 0);

    *items_out = xcalloc((size_t)n + 1, sizeof **items_out);
    for (int32_t i = 0; i < n; i++)
        (*items_out)[i] =
            (struct core_reply_item){.at = {.topic = m->partition_errors[i].topic_name,
                                            .partition = m->partition_errors[i].partition_index},
                                     .error = m->partition_errors[i].error_code};
    return n;
}

static void reply_event(struct ctl_channel *ch, const void *msg)
{
    struct controller_event ev = {.kind = CEV_RPC_REPLY};
    struct core_reply_item *items = NULL;
    struct controller *c = ch->c;

    ev.u.rpc_reply.broker_id = ch->broker_id;
    ev.u.rpc_reply.rpc_id = ch->rpc_id;
    switch (ch->rpc) {
    case CORE_LEADER_AND_ISR:
        ev.u.rpc_reply.error = ((const struct kp_LeaderAndIsrResponse *)msg)->error_code;
        ev.u.rpc_reply.count = leader_and_isr_items(msg, &items);
        break;
    case CORE_UPDATE_METADATA:
        ev.u.rpc_reply.error = ((const struct kp_UpdateMetadataResponse *)msg)->error_code;
        break;
    case CORE_STOP_REPLICA:
        ev.u.rpc_reply.error = ((const struct kp_StopReplicaResponse *)msg)->error_code;
        ev.u.rpc_reply.count = stop_replica_items(msg, &items);
        break;
    }
    ev.u.rpc_reply.items = items;
    ctl_step(c, &ev); /* may send the next message, or close the channel */
    mem_free(items);
}

static void on_reply(void *arg, enum err err, struct frame *frame, struct bytes body)
{
    struct ctl_channel *ch;
    struct arena arena = {0};
    struct errtext why = {""};
    const struct kp_api *api;
    int16_t version;
    void *msg;

    (void)frame;
    CAST_OBJ(ch, arg, CTL_CHANNEL_MAGIC);
    ch->is_sent = false;
    if (err != ERR_OK)
        return; /* on_close follows */
    api = kp_api_find(api_key_of(ch->rpc, &version));
    msg = arena_alloc(&arena, 512); /* larger than each of the three responses */
    ASSERT(msg != NULL && sizeof(struct kp_LeaderAndIsrResponse) <= 512 &&
           sizeof(struct kp_StopReplicaResponse) <= 512);
    kp_defaults(api->response, msg);
    if (kp_decode(api->response, version, body, &arena, msg, &why) != ERR_OK) {
        SLOG(WARN, "controller", "cannot decode the answer of a broker, sending the request again",
             KV_I("broker", ch->broker_id), KV_S("error", why.text));
        client_close(&ch->client);
        loop_timer_arm(ch->c->loop, &ch->retry, RETRY_MS);
    } else {
        ch->has_message = false;
        arena_reset(&ch->arena);
        reply_event(ch, msg);
    }
    arena_fini(&arena);
}

/* ---- the connection */
static void channel_send(struct ctl_channel *ch)
{
    struct errtext why = {""};
    int16_t version, key = api_key_of(ch->rpc, &version);

    ASSERT(ch->has_message && !ch->is_sent && ch->client != NULL);
    if (client_send(ch->client, key, version, ch->message, ch->c->o.socket_timeout_ms, on_reply, ch,
                    &why) != ERR_OK) {
        SLOG(ERROR, "controller", "cannot encode a request to a broker",
             KV_I("broker", ch->broker_id), KV_S("error", why.text));
        UNREACHABLE(); /* the core's values always fit these versions */
    }
    ch->is_sent = true;
}

static void on_close(void *arg, struct client *client, enum client_end why, int errnum)
{
    struct ctl_channel *ch;

    (void)errnum;
    CAST_OBJ(ch, arg, CTL_CHANNEL_MAGIC);
    ASSERT(ch->client == client);
    SLOG_EVERY(5000, INFO, "controller", "the controller's connection to a broker ended",
               KV_I("broker", ch->broker_id), KV_S("host", ch->host), KV_I("port", ch->port),
               KV_S("why", client_end_text(why)));
    ch->client = NULL;
    ch->is_sent = false;
    loop_timer_arm(ch->c->loop, &ch->retry, ch->has_message ? RETRY_MS : RETRY_IDLE_MS);
}

static void channel_connect(struct ctl_channel *ch)
{
    const struct client_options o = {.loop = ch->c->loop,
                                     .host = ch->host,
                                     .port = ch->port,
                                     .client_id = "controller",
                                     .tls = ch->c->o.tls,
                                     .connect_timeout_ms = ch->c->o.socket_timeout_ms,
                                     .in_flight_max = 1,
                                     .on_close = on_close,
                                     .arg = ch};

    ASSERT(ch->client == NULL && !ch->is_sent);
    if (ch->host == NULL)
        return; /* its znode has no endpoint for us; another may come */
    ch->client = client_open(&o);
    if (ch->has_message)
        channel_send(ch);
}

static void on_retry(struct loop_timer *t)
{
    struct ctl_channel *ch = CONTAINER_OF(t, struct ctl_channel, retry);

    CHECK_OBJ(ch, CTL_CHANNEL_MAGIC);
    if (ch->client == NULL)
        channel_connect(ch);
}

/* ---- channels */
static struct ctl_channel *channel_find(struct controller *c, int32_t broker_id)
{
    struct ctl_channel *ch;

    HASH_FIND(hh, c->channels, &broker_id, sizeof broker_id, ch);
    return ch;
}

static void set_endpoint(struct ctl_channel *ch)
{
    const struct ctl_broker *b = ctl_broker_find(ch->c, ch->broker_id);
    const struct zkdoc_endpoint *e =
        b == NULL ? NULL : zkdoc_broker_endpoint(&b->doc, ch->c->listener_name);

    if (e == NULL) {
        SLOG(WARN, "controller",
             "a broker has registered no endpoint of the inter-broker listener: the controller "
             "cannot reach it",
             KV_I("broker", ch->broker_id), KV_S("listener", ch->c->listener_name));
        return;
    }
    if (ch->host != NULL && strcmp(ch->host, e->host) == 0 && ch->port == e->port)
        return;
    mem_free(ch->host);
    ch->host = xstrdup(e->host);
    ch->port = e->port;
    if (ch->client != NULL) { /* the old place is not right any more */
        client_close(&ch->client);
        ch->is_sent = false;
        loop_timer_arm(ch->c->loop, &ch->retry, 0);
    }
}

void ctl_channel_open(struct controller *c, int32_t broker_id, int64_t broker_epoch)
{
    struct ctl_channel *ch = channel_find(c, broker_id);

    if (ch == NULL) {
        ch = xcalloc(1, sizeof *ch);
        ch->magic = CTL_CHANNEL_MAGIC;
        ch->c = c;
        ch->broker_id = broker_id;
        ch->retry.fire = on_retry;
        HASH_ADD(hh, c->channels, broker_id, sizeof ch->broker_id, ch);
    }
    ch->broker_epoch = broker_epoch;
    set_endpoint(ch);
    if (ch->client == NULL && !ch->retry.is_armed)
        channel_connect(ch);
}

static void channel_free(struct ctl_channel *ch)
{
    HASH_DELETE(hh, ch->c->channels, ch);
    client_close(&ch->client);
    loop_timer_cancel(ch->c->loop, &ch->retry);
    arena_fini(&ch->arena);
    mem_free(ch->host);
    ch->magic = 0;
    mem_free(ch);
}

void ctl_channel_close(struct controller *c, int32_t broker_id)
{
    struct ctl_channel *ch = channel_find(c, broker_id);

    if (ch != NULL)
        channel_free(ch);
}

void ctl_channel_close_all(struct controller *c)
{
    struct ctl_channel *ch, *next;

    HASH_ITER (hh, c->channels, ch, next)
        channel_free(ch);
}

void ctl_channel_send(struct controller *c, const struct core_fx *f)
{
    struct ctl_channel *ch = channel_find(c, f->broker_id);

    ASSERT(ch != NULL && !ch->has_message);
    arena_reset(&ch->arena);
    ch->rpc = f->u.send.rpc;
    ch->rpc_id = f->u.send.id;
    switch (ch->rpc) {
    case CORE_LEADER_AND_ISR:
        ch->message = build_leader_and_isr(ch, f);
        break;
    case CORE_UPDATE_METADATA:
        ch->message = build_update_metadata(ch, f);
        break;
    case CORE_STOP_REPLICA:
        ch->message = build_stop_replica(ch, f);
        break;
    }
    ch->has_message = true;
    if (ch->client != NULL)
        channel_send(ch);
    else
        loop_timer_arm(c->loop, &ch->retry, 0);
}
