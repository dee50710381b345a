/* SPDX-License-Identifier: Apache-2.0 */
/* topic_create - see topic_create.h. */
#include "broker/api/topic_create.h"
#include "broker/config/config.h"
#include "broker/group/coordinator.h"
#include "common/base/slog.h"
#include "controller/placement.h"

#include <stdio.h>

enum { PARTITIONS_MAX = 100000, REPLICAS_MAX = 1000, OFFSETS_TOPIC_CONFIGS = 3 };

bool topic_create_init(struct topic_create *c, struct request *r, int32_t cap)
{
    CHECK_OBJ(r, REQUEST_MAGIC);
    ASSERT(cap >= 0);
    *c = (struct topic_create){.request = r, .cap = cap};
    c->items = api_alloc(r, (size_t)cap, sizeof *c->items);
    return c->items != NULL;
}

/* However the topic of the groups' offsets comes into being, it is made as they need it. KAFKA:
 * AutoTopicCreationManager.creatableTopic, GroupCoordinator.offsetsTopicConfigs. */
static bool make_offsets_topic(struct topic_create *c, struct topic_create_item *item)
{
    const struct config *config = c->request->broker->config;
    struct zkdoc_kv *kv = api_alloc(c->request, OFFSETS_TOPIC_CONFIGS, sizeof *kv);
    char bytes[16];
    if (kv == NULL)
        return false;
    (void)snprintf(bytes, sizeof bytes, "%d", config->offsets_topic_segment_bytes);
    kv[0] = (struct zkdoc_kv){"cleanup.policy", "compact"};
    kv[1] = (struct zkdoc_kv){"compression.type", "producer"};
    kv[2] = (struct zkdoc_kv){"segment.bytes", api_strdup(c->request, bytes).p};
    item->partition_count = config->offsets_topic_num_partitions;
    item->replication_factor = config->offsets_topic_replication_factor;
    item->configs = kv;
    item->config_count = OFFSETS_TOPIC_CONFIGS;
    return true;
}

bool topic_create_add_default(struct topic_create *c, struct str name)
{
    CHECK_OBJ(c->request, REQUEST_MAGIC);
    ASSERT(c->count >= 0 && c->count < c->cap && c->items != NULL);
    struct topic_create_item *item = &c->items[c->count++];
    *item =
        (struct topic_create_item){.name = name, .partition_count = -1, .replication_factor = -1};
    return !str_eq_z(name, OFFSETS_TOPIC) || make_offsets_topic(c, item);
}

struct topic_create_item *topic_create_find(const struct topic_create *c, struct str name)
{
    ASSERT(c->count >= 0 && c->count <= c->cap);
    for (int32_t i = 0; i < c->count; i++)
        if (str_eq(c->items[i].name, name))
            return &c->items[i];
    return NULL;
}

void topic_create_fail(struct topic_create_item *item, int16_t error, const char *message)
{
    ASSERT(error != KE_NONE); /* it would count as done */
    if (item->error != KE_NONE)
        return;
    item->error = error;
    item->message = message;
}

static void fail_text(struct topic_create *c, struct topic_create_item *item, int16_t error,
                      const struct errtext *why)
{
    topic_create_fail(item, error, api_strdup(c->request, why->text).p);
}

/* ---- placement */

static struct placement_broker *live_brokers(struct topic_create *c, const struct metadata *m,
                                             int32_t *count_out)
{
    int32_t count = metadata_broker_count(m);
    struct placement_broker *b = api_alloc(c->request, (size_t)count, sizeof *b);
    for (int32_t i = 0; b != NULL && i < count; i++) {
        const struct metadata_broker *from = metadata_broker_at(m, i);
        b[i] = (struct placement_broker){.id = from->id, .rack = str_of(from->rack)};
    }
    *count_out = b == NULL ? 0 : count;
    return b;
}

static void place(struct topic_create *c, struct topic_create_item *item, const struct metadata *m)
{
    struct errtext why;
    int32_t live, n = item->partition_count, factor = item->replication_factor;
    struct placement_broker *brokers = live_brokers(c, m, &live);
    if (n <= 0 || n > PARTITIONS_MAX) {
        errtext_set(&why, "the number of partitions must be from 1 to %d, not %d", PARTITIONS_MAX,
                    n);
        fail_text(c, item, KE_INVALID_PARTITIONS, &why);
        return;
    }
    if (factor <= 0 || factor > live) {
        bool is_ours = str_eq_z(item->name, OFFSETS_TOPIC);
        errtext_set(&why, "%s %d is not possible: %d broker%s alive%s%s",
                    is_ours ? "offsets.topic.replication.factor" : "replication factor", factor,
                    live, live == 1 ? " is" : "s are",
                    factor > live ? "; start more brokers or " : "",
                    factor <= live ? ""
                    : is_ours      ? "set offsets.topic.replication.factor lower"
                                   : "ask for fewer replicas");
        fail_text(c, item, KE_INVALID_REPLICATION_FACTOR, &why);
        return;
    }
    size_t ids = (size_t)n * (size_t)factor;
    int32_t *replicas = api_alloc(c->request, ids, sizeof *replicas);
    item->assigned = api_alloc(c->request, (size_t)n, sizeof *item->assigned);
    if (brokers == NULL || replicas == NULL || item->assigned == NULL) {
        topic_create_fail(item, KE_UNKNOWN_SERVER_ERROR, "not enough memory for the request");
        return;
    }
    if (placement_assign(brokers, live, 0, n, factor, 0, replicas, &why) != ERR_OK) {
        fail_text(c, item, KE_UNKNOWN_SERVER_ERROR, &why);
        return;
    }
    for (int32_t i = 0; i < n; i++)
        item->assigned[i] = (struct zkdoc_partition){
            .index = i, .replica_count = factor, .replicas = replicas + (size_t)i * (size_t)factor};
}

/* ---- creating */

static void create_one(struct topic_create *c, struct topic_create_item *item,
                       const struct metadata *m)
{
    const struct config *config = c->request->broker->config;
    if (metadata_topic(m, item->name) != NULL) {
        topic_create_fail(item, KE_TOPIC_ALREADY_EXISTS, "the topic exists already");
        return;
    }
    if (item->assigned == NULL) {
        if (item->partition_count == -1)
            item->partition_count = config->num_partitions;
        if (item->replication_factor == -1)
            item->replication_factor = config->default_replication_factor;
        place(c, item, m);
        if (item->error != KE_NONE)
            return;
    }
    struct errtext why = {.text = ""};
    item->id = uuid_random();
    struct zkadmin_new_topic t = {
        .name = arena_strdup(&c->request->arena, item->name.p, (size_t)item->name.len),
        .partitions = item->assigned,
        .partition_count = item->partition_count,
        .configs = item->configs,
        .config_count = item->config_count,
        .topic_id = item->id,
        .validate_only = c->validate_only,
    };
    if (t.name == NULL) {
        topic_create_fail(item, KE_UNKNOWN_SERVER_ERROR, "not enough memory for the request");
        return;
    }
    int16_t error = zkadmin_create_topic(c->request->broker->coord, &t, &why);
    if (error != KE_NONE) {
        fail_text(c, item, error, &why);
        return;
    }
    if (!c->validate_only)
        SLOG(INFO, "api", "created topic", KV_STR("topic", item->name),
             KV_I("partitions", item->partition_count),
             KV_I("replication_factor", item->replication_factor),
             KV_STR("client_id", c->request->client_id), KV_STR("host", c->request->client_host));
}

void topic_create_run(struct topic_create *c, const struct metadata *m)
{
    for (int32_t i = 0; i < c->count; i++)
        if (c->items[i].error == KE_NONE)
            create_one(c, &c->items[i], m);
}

/* ---- waiting */

bool topic_create_item_has_leaders(struct topic_create_item *item, const struct metadata *m)
{
    const struct metadata_topic *t = metadata_topic(m, item->name);
    if (t == NULL)
        return false;
    /* how many partitions another's topic has, only the metadata say */
    int32_t count = item->error == KE_NONE ? item->partition_count : t->partition_count;
    if (t->partition_count < count)
        return false;
    for (; item->ready_through < count; item->ready_through++) {
        const struct metadata_partition *p = &t->partitions[item->ready_through];
        if (!p->exists || p->leader < 0)
            return false;
    }
    return true;
}

bool topic_create_has_leaders(struct topic_create *c, const struct metadata *m)
{
    if (c->validate_only)
        return true;
    for (int32_t i = 0; i < c->count; i++) {
        struct topic_create_item *item = &c->items[i];
        bool is_awaited = item->error == KE_NONE ||
                          (c->wait_for_existing && item->error == KE_TOPIC_ALREADY_EXISTS);
        if (is_awaited && !topic_create_item_has_leaders(item, m))
            return false;
    }
    return true;
}
