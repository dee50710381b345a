/* SPDX-License-Identifier: Apache-2.0 */
/* The groups of /consumers: what each has committed, and who owns which partition. Read by the
 * active controller only, so that each group is told once. The znodes of one topic are asked for
 * together and waited for. */
#include "broker/broker.h"
#include "broker/group/lag.h"
#include "common/base/slog.h"
#include "common/zk/coord.h"
#include "common/zk/zkdoc.h"
#include "controller/controller.h"

#include <stdio.h>

enum {
    PATH_BYTES = 1024,
    GROUPS_MAX = 10000, /* looked at in one round */
    TOPICS_MAX = 10000  /* of one group */
};

struct zk_partition {
    struct zk_topic *topic;
    int32_t index;
    int64_t offset;   /* -1: not read */
    char member[512]; /* "": nobody owns it */
};

struct zk_topic {
    struct broker *broker;
    const char *group, *name;
    struct mailbox box;
    struct zk_partition *v;
    int32_t count, pending;
};

static bool make_path(char out[PATH_BYTES], const char *group, const char *dir, const char *topic,
                      const char *partition)
{
    int n = snprintf(out, PATH_BYTES, "/consumers/%s/%s/%s%s%s", group, dir, topic,
                     partition[0] == 0 ? "" : "/", partition);

    return n > 0 && n < PATH_BYTES;
}

static void on_offset(void *arg, const struct coord_result *r)
{
    struct zk_partition *p = arg;

    p->topic->pending--;
    if (r->err != ERR_OK || zkdoc_number_parse(r->data, 0, INT64_MAX, &p->offset, NULL) != ERR_OK)
        p->offset = -1;
}

/* The owner of a partition is a stream of a member: "<member>-<stream>". */
static void on_owner(void *arg, const struct coord_result *r)
{
    struct zk_partition *p = arg;
    struct arena a = {0};
    struct zkdoc_owner owner;

    p->topic->pending--;
    if (r->err == ERR_OK && zkdoc_owner_parse(r->data, &a, &owner, NULL) == ERR_OK)
        (void)snprintf(p->member, sizeof p->member, "%s", owner.consumer_id);
    arena_fini(&a);
}

static void ask(struct zk_topic *t, const char *dir, struct zk_partition *p, coord_done done)
{
    char path[PATH_BYTES], number[16];

    (void)snprintf(number, sizeof number, "%d", p->index);
    if (!make_path(path, t->group, dir, t->name, number))
        return;
    t->pending++;
    coord_get(t->broker->coord, path, false, &t->box, done, p);
}

static void read_topic(struct zk_topic *t, char *const *names, int32_t count, struct lag_round *r)
{
    if (mailbox_init(&t->box) != ERR_OK)
        return; /* no descriptor: the next round may have one */
    t->v = xcalloc((size_t)i32_max(count, 1), sizeof *t->v);
    for (int32_t i = 0; i < count; i++) {
        struct zk_partition *p = &t->v[t->count];
        struct bytes name = {(const uint8_t *)names[i], (int64_t)strlen(names[i])};
        int64_t index;

        if (zkdoc_number_parse(name, 0, INT32_MAX, &index, NULL) != ERR_OK)
            continue; /* Kafka 0.7 named them "broker-number" */
        *p = (struct zk_partition){.topic = t, .index = (int32_t)index, .offset = -1};
        t->count++;
        ask(t, "offsets", p, on_offset);
        ask(t, "owners", p, on_owner);
    }
    coord_wait_all(t->broker->coord, &t->box, &t->pending);
    for (int32_t i = 0; i < t->count; i++)
        if (t->v[i].offset >= 0)
            lag_claim_add(r, LAG_ZOOKEEPER_GROUP, str_of(t->group), str_of(t->name), t->v[i].index,
                          t->v[i].offset, str_of(t->v[i].member));
    mem_free(t->v);
    mailbox_fini(&t->box);
}

static void read_group(struct broker *b, const char *group, struct lag_round *r)
{
    char path[PATH_BYTES], **topics = NULL, **partitions = NULL;
    int32_t topic_count = 0, count = 0;

    if (snprintf(path, sizeof path, "/consumers/%s/offsets", group) >= PATH_BYTES ||
        coord_children_wait(b->coord, path, &topics, &topic_count) != ERR_OK)
        return; /* it has none, or has gone */
    for (int32_t i = 0; i < i32_min(topic_count, TOPICS_MAX) && !lag_round_is_full(r); i++) {
        struct zk_topic t = {.broker = b, .group = group, .name = topics[i]};

        if (atomic_load(&b->is_stopping) || !make_path(path, group, "offsets", topics[i], "") ||
            coord_children_wait(b->coord, path, &partitions, &count) != ERR_OK)
            continue;
        read_topic(&t, partitions, count, r);
        coord_names_free(partitions, count);
    }
    coord_names_free(topics, topic_count);
}

void lag_source_zookeeper(struct broker *b, struct lag_round *r)
{
    char **groups = NULL;
    int32_t count = 0;

    if (b->controller == NULL || !controller_is_active(b->controller) ||
        coord_state_now(b->coord) != COORD_CONNECTED)
        return;
    enum err rc = coord_children_wait(b->coord, "/consumers", &groups, &count);
    if (rc != ERR_OK) {
        if (rc != ERR_NOT_FOUND && !atomic_load(&b->is_stopping))
            SLOG(WARN, "lag", "the groups in ZooKeeper cannot be listed", KV_ERR(rc));
        return;
    }
    for (int32_t i = 0; i < i32_min(count, GROUPS_MAX) && !lag_round_is_full(r); i++)
        if (!atomic_load(&b->is_stopping))
            read_group(b, groups[i], r);
    coord_names_free(groups, count);
}
