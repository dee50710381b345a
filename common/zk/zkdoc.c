/* SPDX-License-Identifier: Apache-2.0 */
/* Znode documents but those of topics and brokers (zkdoc_topic.c, zkdoc_broker.c). */
#include "common/zk/zkdoc.h"

#include "common/base/json_writer.h"
#include "common/zk/zkdoc_json.h"

#include <stdlib.h>

enum { NUMBER_CHARS_MAX = 20 };

/* ---- controller, numbers */

enum err zkdoc_controller_parse(struct bytes data, struct zkdoc_controller *out,
                                struct errtext *why)
{
    struct zkjson j;

    zkjson_begin(&j, data, NULL, why);
    out->broker_id = (int32_t)zkjson_required_int(&j, j.root, "brokerid", -1, INT32_MAX);
    out->timestamp_ms = zkjson_int(&j, j.root, "timestamp", INT64_MIN, INT64_MAX, -1);
    out->kraft_controller_epoch =
        (int32_t)zkjson_int(&j, j.root, "kraftControllerEpoch", INT32_MIN, INT32_MAX, -1);
    return zkjson_end(&j);
}

void zkdoc_controller_format(const struct zkdoc_controller *d, struct buf *out)
{
    struct json_writer w = json_write_to(out);

    json_write_object(&w, NULL);
    json_write_int(&w, "version", 2);
    json_write_int(&w, "brokerid", d->broker_id);
    json_write_int_text(&w, "timestamp", d->timestamp_ms);
    json_write_int(&w, "kraftControllerEpoch", d->kraft_controller_epoch);
    json_write_end(&w);
    json_write_done(&w);
}

enum err zkdoc_number_parse(struct bytes data, int64_t min, int64_t max, int64_t *out,
                            struct errtext *why)
{
    if (data.p == NULL || data.len < 1 || data.len > NUMBER_CHARS_MAX ||
        !zkjson_parse_int((const char *)data.p, (size_t)data.len, min, max, out)) {
        errtext_set(why, "not a number in its range");
        return ERR_CORRUPT;
    }
    return ERR_OK;
}

void zkdoc_number_format(int64_t n, struct buf *out)
{
    buf_printf(out, "%" PRId64, n);
}

/* ---- configs */

static int kv_order(const void *a, const void *b)
{
    return strcmp(((const struct zkdoc_kv *)a)->key, ((const struct zkdoc_kv *)b)->key);
}

enum err zkdoc_config_parse(struct bytes data, struct arena *a, struct zkdoc_config *out,
                            struct errtext *why)
{
    struct zkjson j;
    const json_t *config, *value;
    const char *key;
    int32_t n = 0;

    *out = (struct zkdoc_config){0};
    if (data.p == NULL || data.len <= 0)
        return ERR_OK;
    zkjson_begin(&j, data, a, why);
    config = zkjson_object(&j, j.root, "config");
    struct zkdoc_kv *entries = zkjson_alloc(&j, (int64_t)json_object_size(config), sizeof *entries);
    json_object_foreach((json_t *)(uintptr_t)config, key, value)
    {
        const char *value_copy = zkjson_copy(&j, value, key);
        char *key_copy = zkjson_alloc(&j, (int64_t)strlen(key) + 1, 1);
        if (key_copy == NULL)
            break;
        memcpy(key_copy, key, strlen(key) + 1);
        entries[n++] = (struct zkdoc_kv){key_copy, value_copy};
    }
    if (j.err == ERR_OK && n > 0)
        qsort(entries, (size_t)n, sizeof *entries, kv_order);
    if (j.err == ERR_OK)
        *out = (struct zkdoc_config){entries, n};
    return zkjson_end(&j);
}

void zkdoc_config_format(const struct zkdoc_config *d, struct buf *out)
{
    struct json_writer w = json_write_to(out);

    json_write_object(&w, NULL);
    json_write_int(&w, "version", 1);
    json_write_object(&w, "config");
    for (int32_t i = 0; i < d->count; i++)
        json_write_text(&w, d->entries[i].key, d->entries[i].value);
    json_write_end(&w);
    json_write_end(&w);
    json_write_done(&w);
}

const char *zkdoc_config_value(const struct zkdoc_config *d, const char *key)
{
    for (int32_t i = 0; i < d->count; i++)
        if (strcmp(d->entries[i].key, key) == 0)
            return d->entries[i].value;
    return NULL;
}

/* "topics/t" -> type and name; the name may hold slashes ("users/u/clients/c"). */
static void split_entity_path(struct zkjson *j, char *path, struct zkdoc_config_change *out)
{
    char *slash = strchr(path, '/');

    if (slash == NULL || slash == path || slash[1] == 0) {
        zkjson_bad(j, "entity_path", "is not type/name");
        return;
    }
    *slash = 0;
    out->type = path;
    out->name = slash + 1;
}

enum err zkdoc_config_change_parse(struct bytes data, struct arena *a,
                                   struct zkdoc_config_change *out, struct errtext *why)
{
    struct zkjson j;

    *out = (struct zkdoc_config_change){0};
    zkjson_begin(&j, data, a, why);
    int64_t version = zkjson_required_int(&j, j.root, "version", 1, 2);
    if (j.err == ERR_OK && version == 2) {
        char *path = (char *)(uintptr_t)zkjson_string(&j, j.root, "entity_path");
        if (path == NULL)
            zkjson_bad(&j, "entity_path", "is missing");
        else
            split_entity_path(&j, path, out);
    } else if (j.err == ERR_OK) {
        out->type = zkjson_string(&j, j.root, "entity_type");
        out->name = zkjson_string(&j, j.root, "entity_name");
        if (out->type == NULL || out->name == NULL || out->type[0] == 0 || out->name[0] == 0)
            zkjson_bad(&j, "entity_type", "or entity_name is missing");
        else if (strcmp(out->type, "topics") != 0 && strcmp(out->type, "clients") != 0)
            zkjson_bad(&j, "entity_type", "is neither topics nor clients");
    }
    return zkjson_end(&j);
}

void zkdoc_config_change_format(const struct zkdoc_config_change *d, struct buf *out)
{
    struct json_writer w = json_write_to(out);
    struct buf path = {0};

    buf_printf(&path, "%s/%s", d->type, d->name);
    json_write_object(&w, NULL);
    json_write_int(&w, "version", 2);
    json_write_text(&w, "entity_path", buf_cstr(&path));
    json_write_end(&w);
    json_write_done(&w);
    buf_fini(&path);
}

/* ---- cluster id */

enum err zkdoc_cluster_id_parse(struct bytes data, struct arena *a, const char **id_out,
                                struct errtext *why)
{
    struct zkjson j;

    *id_out = NULL;
    zkjson_begin(&j, data, a, why);
    const char *id = zkjson_string(&j, j.root, "id");
    if (id == NULL || id[0] == 0)
        zkjson_bad(&j, "id", "is missing");
    else
        *id_out = id;
    return zkjson_end(&j);
}

void zkdoc_cluster_id_format(const char *id, struct buf *out)
{
    struct json_writer w = json_write_to(out);

    json_write_object(&w, NULL);
    json_write_text(&w, "version", "1");
    json_write_text(&w, "id", id);
    json_write_end(&w);
    json_write_done(&w);
}

/* ---- log dir events, producer ids */

enum err zkdoc_log_dir_event_parse(struct bytes data, struct zkdoc_log_dir_event *out,
                                   struct errtext *why)
{
    struct zkjson j;

    zkjson_begin(&j, data, NULL, why);
    out->broker_id = (int32_t)zkjson_required_int(&j, j.root, "broker", 0, INT32_MAX);
    out->event = (int32_t)zkjson_int(&j, j.root, "event", INT32_MIN, INT32_MAX, 0);
    return zkjson_end(&j);
}

void zkdoc_log_dir_event_format(const struct zkdoc_log_dir_event *d, struct buf *out)
{
    struct json_writer w = json_write_to(out);

    json_write_object(&w, NULL);
    json_write_int(&w, "version", 1);
    json_write_int(&w, "broker", d->broker_id);
    json_write_int(&w, "event", d->event);
    json_write_end(&w);
    json_write_done(&w);
}

enum err zkdoc_producer_id_block_parse(struct bytes data, struct zkdoc_producer_id_block *out,
                                       struct errtext *why)
{
    struct zkjson j;

    if (data.p == NULL || data.len <= 0) {
        errtext_set(why, "no block was handed out yet");
        return ERR_NOT_FOUND;
    }
    zkjson_begin(&j, data, NULL, why);
    out->broker_id = (int32_t)zkjson_required_int(&j, j.root, "broker", -1, INT32_MAX);
    out->first_id = zkjson_required_int(&j, j.root, "block_start", 0, INT64_MAX);
    out->last_id = zkjson_required_int(&j, j.root, "block_end", 0, INT64_MAX);
    if (j.err == ERR_OK && out->last_id < out->first_id)
        zkjson_bad(&j, "block_end", "is before block_start");
    return zkjson_end(&j);
}

void zkdoc_producer_id_block_format(const struct zkdoc_producer_id_block *d, struct buf *out)
{
    struct json_writer w = json_write_to(out);

    json_write_object(&w, NULL);
    json_write_int(&w, "version", 1);
    json_write_int(&w, "broker", d->broker_id);
    json_write_int_text(&w, "block_start", d->first_id);
    json_write_int_text(&w, "block_end", d->last_id);
    json_write_end(&w);
    json_write_done(&w);
}

/* ---- features */

enum err zkdoc_features_parse(struct bytes data, struct arena *a, struct zkdoc_features *out,
                              struct errtext *why)
{
    struct zkjson j;
    const json_t *features, *value;
    const char *key;
    int32_t n = 0;

    *out = (struct zkdoc_features){0};
    zkjson_begin(&j, data, a, why);
    out->status = (int32_t)zkjson_required_int(&j, j.root, "status", 0, 1);
    features = zkjson_object(&j, j.root, "features");
    struct zkdoc_feature *list =
        zkjson_alloc(&j, (int64_t)json_object_size(features), sizeof *list);
    json_object_foreach((json_t *)(uintptr_t)features, key, value)
    {
        char *name = zkjson_alloc(&j, (int64_t)strlen(key) + 1, 1);
        if (!json_is_object(value))
            zkjson_bad(&j, key, "is not an object");
        if (j.err != ERR_OK || name == NULL)
            break;
        memcpy(name, key, strlen(key) + 1);
        list[n].name = name;
        list[n].min_version =
            (int16_t)zkjson_int(&j, value, "min_version_level", INT16_MIN, INT16_MAX, 0);
        list[n].max_version =
            (int16_t)zkjson_required_int(&j, value, "max_version_level", INT16_MIN, INT16_MAX);
        n++;
    }
    out->features = list;
    out->feature_count = j.err == ERR_OK ? n : 0;
    return zkjson_end(&j);
}

void zkdoc_features_format(const struct zkdoc_features *d, struct buf *out)
{
    struct json_writer w = json_write_to(out);

    json_write_object(&w, NULL);
    json_write_int(&w, "version", 2);
    json_write_int(&w, "status", d->status);
    json_write_object(&w, "features");
    for (int32_t i = 0; i < d->feature_count; i++) {
        json_write_object(&w, d->features[i].name);
        json_write_int(&w, "max_version_level", d->features[i].max_version);
        json_write_end(&w);
    }
    json_write_end(&w);
    json_write_end(&w);
    json_write_done(&w);
}
