/* SPDX-License-Identifier: Apache-2.0 */
/* Documents of topics: assignment, partition state, lists of partitions. */
#include "common/zk/zkdoc.h"

#include "common/base/json_writer.h"
#include "common/zk/zkdoc_json.h"

#include <stdio.h>
#include <stdlib.h>

/* ---- assignment */

static int partition_order(const void *a, const void *b)
{
    int32_t x = ((const struct zkdoc_partition *)a)->index;
    int32_t y = ((const struct zkdoc_partition *)b)->index;

    return (x > y) - (x < y);
}

static void read_partitions(struct zkjson *j, const json_t *partitions, struct zkdoc_topic *out)
{
    const char *key;
    const json_t *value;
    int32_t n = 0;

    if (json_object_size(partitions) > ZKDOC_PARTITIONS_MAX)
        zkjson_bad(j, "partitions", "has too many elements");
    struct zkdoc_partition *list =
        zkjson_alloc(j, (int64_t)json_object_size(partitions), sizeof *list);
    if (list == NULL)
        return;
    json_object_foreach((json_t *)(uintptr_t)partitions, key, value)
    {
        int64_t index = 0;
        if (!zkjson_parse_int(key, strlen(key), 0, INT32_MAX, &index))
            zkjson_bad(j, key, "is not a partition number");
        list[n].index = (int32_t)index;
        list[n].replicas = zkjson_ids(j, value, key, ZKDOC_REPLICAS_MAX, &list[n].replica_count);
        if (j->err != ERR_OK)
            return;
        n++;
    }
    if (n > 0)
        qsort(list, (size_t)n, sizeof *list, partition_order);
    for (int32_t i = 1; i < n; i++) /* "1" and "01" */
        if (list[i].index == list[i - 1].index)
            zkjson_bad(j, "partitions", "holds a partition twice");
    out->partitions = list;
    out->partition_count = n;
}

static void read_changes(struct zkjson *j, const struct zkdoc_topic *t, const char *name,
                         bool is_adding)
{
    const json_t *changes = zkjson_object(j, j->root, name);
    const json_t *value;
    const char *key;

    json_object_foreach((json_t *)(uintptr_t)changes, key, value)
    {
        int64_t index;
        int32_t count;
        if (!zkjson_parse_int(key, strlen(key), 0, INT32_MAX, &index)) {
            zkjson_bad(j, name, "holds something that is not a partition number");
            return;
        }
        const int32_t *ids = zkjson_ids(j, value, name, ZKDOC_REPLICAS_MAX, &count);
        struct zkdoc_partition *p =
            (struct zkdoc_partition *)(uintptr_t)zkdoc_topic_partition(t, (int32_t)index);
        if (j->err != ERR_OK)
            return;
        if (p == NULL) /* Kafka's readers look these up by partition, so it has no effect */
            continue;
        *(is_adding ? &p->adding : &p->removing) = ids;
        *(is_adding ? &p->adding_count : &p->removing_count) = count;
    }
}

enum err zkdoc_topic_parse(struct bytes data, struct arena *a, struct zkdoc_topic *out,
                           struct errtext *why)
{
    struct zkjson j;

    *out = (struct zkdoc_topic){0};
    zkjson_begin(&j, data, a, why);
    const json_t *partitions = zkjson_object(&j, j.root, "partitions");
    if (partitions == NULL)
        zkjson_bad(&j, "partitions", "is missing");
    read_partitions(&j, partitions, out);
    read_changes(&j, out, "adding_replicas", true);
    read_changes(&j, out, "removing_replicas", false);
    const char *id = zkjson_string(&j, j.root, "topic_id");
    if (id != NULL && !uuid_parse(str_of(id), &out->topic_id))
        zkjson_bad(&j, "topic_id", "is not a topic id");
    if (j.err != ERR_OK)
        *out = (struct zkdoc_topic){0};
    return zkjson_end(&j);
}

const struct zkdoc_partition *zkdoc_topic_partition(const struct zkdoc_topic *d, int32_t index)
{
    const struct zkdoc_partition key = {.index = index};

    return d->partition_count == 0 ? NULL
                                   : bsearch(&key, d->partitions, (size_t)d->partition_count,
                                             sizeof key, partition_order);
}

enum part { REPLICAS, ADDING, REMOVING };

static void write_partitions(struct json_writer *w, const char *key, const struct zkdoc_topic *d,
                             enum part part)
{
    json_write_object(w, key);
    for (int32_t i = 0; i < d->partition_count; i++) {
        const struct zkdoc_partition *p = &d->partitions[i];
        const int32_t *ids = part == REPLICAS ? p->replicas
                             : part == ADDING ? p->adding
                                              : p->removing;
        int32_t count = part == REPLICAS ? p->replica_count
                        : part == ADDING ? p->adding_count
                                         : p->removing_count;
        char index[16];
        if (part != REPLICAS && count == 0)
            continue;
        (void)snprintf(index, sizeof index, "%" PRId32, p->index);
        json_write_ints(w, index, ids, count);
    }
    json_write_end(w);
}

void zkdoc_topic_format(const struct zkdoc_topic *d, struct buf *out)
{
    struct json_writer w = json_write_to(out);
    char id[UUID_TEXT_LEN + 1];

    json_write_object(&w, NULL);
    write_partitions(&w, "partitions", d, REPLICAS);
    if (!uuid_is_zero(d->topic_id)) {
        uuid_format(d->topic_id, id);
        json_write_text(&w, "topic_id", id);
    }
    write_partitions(&w, "adding_replicas", d, ADDING);
    write_partitions(&w, "removing_replicas", d, REMOVING);
    json_write_int(&w, "version", 3);
    json_write_end(&w);
    json_write_done(&w);
}

/* ---- partition state */

enum err zkdoc_state_parse(struct bytes data, struct arena *a, struct zkdoc_state *out,
                           struct errtext *why)
{
    struct zkjson j;

    *out = (struct zkdoc_state){0};
    zkjson_begin(&j, data, a, why);
    out->leader = (int32_t)zkjson_required_int(&j, j.root, "leader", -2, INT32_MAX);
    out->leader_epoch = (int32_t)zkjson_required_int(&j, j.root, "leader_epoch", 0, INT32_MAX);
    out->controller_epoch =
        (int32_t)zkjson_required_int(&j, j.root, "controller_epoch", 0, INT32_MAX);
    out->leader_recovery_state = (int8_t)zkjson_int(&j, j.root, "leader_recovery_state", 0, 1, 0);
    const json_t *isr = zkjson_array(&j, j.root, "isr");
    if (isr == NULL)
        zkjson_bad(&j, "isr", "is missing");
    else
        out->isr = zkjson_ids(&j, isr, "isr", ZKDOC_REPLICAS_MAX, &out->isr_count);
    return zkjson_end(&j);
}

void zkdoc_state_format(const struct zkdoc_state *d, struct buf *out)
{
    struct json_writer w = json_write_to(out);

    json_write_object(&w, NULL);
    json_write_int(&w, "controller_epoch", d->controller_epoch);
    json_write_int(&w, "leader", d->leader);
    json_write_int(&w, "version", 1);
    if (d->leader_recovery_state != 0)
        json_write_int(&w, "leader_recovery_state", 1);
    json_write_int(&w, "leader_epoch", d->leader_epoch);
    json_write_ints(&w, "isr", d->isr, d->isr_count);
    json_write_end(&w);
    json_write_done(&w);
}

/* ---- lists of partitions */

static void read_item(struct zkjson *j, const json_t *v, struct zkdoc_topic_partition *item)
{
    if (!json_is_object(v)) {
        zkjson_bad(j, "partitions", "holds something that is not an object");
        return;
    }
    item->topic = zkjson_string(j, v, "topic");
    if (item->topic == NULL)
        zkjson_bad(j, "topic", "is missing");
    item->partition = (int32_t)zkjson_required_int(j, v, "partition", 0, INT32_MAX);
    const json_t *replicas = zkjson_array(j, v, "replicas");
    if (replicas != NULL)
        item->replicas =
            zkjson_ids(j, replicas, "replicas", ZKDOC_REPLICAS_MAX, &item->replica_count);
}

enum err zkdoc_partition_list_parse(struct bytes data, struct arena *a,
                                    struct zkdoc_partition_list *out, struct errtext *why)
{
    struct zkjson j;

    *out = (struct zkdoc_partition_list){0};
    zkjson_begin(&j, data, a, why);
    const json_t *list = zkjson_array(&j, j.root, "partitions");
    size_t n = json_array_size(list);
    if (n > ZKDOC_PARTITIONS_MAX)
        zkjson_bad(&j, "partitions", "has too many elements");
    struct zkdoc_topic_partition *items = zkjson_alloc(&j, (int64_t)n, sizeof *items);
    for (size_t i = 0; i < n && j.err == ERR_OK; i++)
        read_item(&j, json_array_get(list, i), &items[i]);
    if (j.err == ERR_OK)
        *out = (struct zkdoc_partition_list){items, (int32_t)n};
    return zkjson_end(&j);
}

void zkdoc_partition_list_format(const struct zkdoc_partition_list *d, bool with_replicas,
                                 struct buf *out)
{
    struct json_writer w = json_write_to(out);

    json_write_object(&w, NULL);
    json_write_int(&w, "version", 1);
    json_write_array(&w, "partitions");
    for (int32_t i = 0; i < d->count; i++) {
        json_write_object(&w, NULL);
        json_write_text(&w, "topic", d->items[i].topic);
        json_write_int(&w, "partition", d->items[i].partition);
        if (with_replicas)
            json_write_ints(&w, "replicas", d->items[i].replicas, d->items[i].replica_count);
        json_write_end(&w);
    }
    json_write_end(&w);
    json_write_end(&w);
    json_write_done(&w);
}
