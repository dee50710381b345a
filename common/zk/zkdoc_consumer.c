/* SPDX-License-Identifier: Apache-2.0 */
/* What the members of a ZooKeeper consumer group write below /consumers. */
#include "common/zk/zkdoc.h"

#include "common/base/json_writer.h"
#include "common/zk/zkdoc_json.h"

enum { OWNER_CHARS_MAX = 4096 };

static const char *const pattern_names[] = {"static", "white_list", "black_list"};

const char *zkdoc_pattern_name(enum zkdoc_pattern p)
{
    ASSERT((size_t)p < ARRAY_LEN(pattern_names));
    return pattern_names[p];
}

static void read_pattern(struct zkjson *j, struct zkdoc_consumer *out)
{
    const char *name = zkjson_string(j, j->root, "pattern");

    for (size_t i = 0; name != NULL && i < ARRAY_LEN(pattern_names); i++)
        if (strcmp(name, pattern_names[i]) == 0) {
            out->pattern = (enum zkdoc_pattern)i;
            return;
        }
    zkjson_bad(j, "pattern",
               name == NULL ? "is missing" : "is none of static, white_list, black_list");
}

/* In the order of the document: a filter is the first and only entry. */
static void read_subscription(struct zkjson *j, struct zkdoc_consumer *out)
{
    const json_t *map = zkjson_object(j, j->root, "subscription");
    const json_t *value;
    const char *key;
    int32_t n = 0;

    if (map == NULL)
        zkjson_bad(j, "subscription", "is missing");
    if (json_object_size(map) > ZKDOC_SUBSCRIPTIONS_MAX)
        zkjson_bad(j, "subscription", "has too many elements");
    struct zkdoc_subscription *list = zkjson_alloc(j, (int64_t)json_object_size(map), sizeof *list);
    json_object_foreach((json_t *)(uintptr_t)map, key, value)
    {
        char *name = zkjson_alloc(j, (int64_t)strlen(key) + 1, 1);
        int64_t streams = json_integer_value(value);
        if (!json_is_integer(value) || streams < 0 || streams > ZKDOC_STREAMS_MAX)
            zkjson_bad(j, key, "has no number of streams in its range");
        if (j->err != ERR_OK || name == NULL)
            return;
        memcpy(name, key, strlen(key) + 1);
        list[n++] = (struct zkdoc_subscription){name, (int32_t)streams};
    }
    out->subscriptions = list;
    out->subscription_count = n;
}

enum err zkdoc_consumer_parse(struct bytes data, struct arena *a, struct zkdoc_consumer *out,
                              struct errtext *why)
{
    struct zkjson j;

    *out = (struct zkdoc_consumer){0};
    zkjson_begin(&j, data, a, why);
    read_pattern(&j, out);
    read_subscription(&j, out);
    if (j.err == ERR_OK && out->pattern != ZKDOC_STATIC && out->subscription_count != 1)
        zkjson_bad(&j, "subscription", "of a filter is not one regular expression");
    out->timestamp_ms = zkjson_int(&j, j.root, "timestamp", INT64_MIN, INT64_MAX, -1);
    const json_t *assignment = j.err == ERR_OK ? json_object_get(j.root, "assignment") : NULL;
    out->is_ceil = json_is_string(assignment) && strcmp(json_string_value(assignment), "ceil") == 0;
    if (j.err != ERR_OK)
        *out = (struct zkdoc_consumer){0};
    return zkjson_end(&j);
}

void zkdoc_consumer_format(const struct zkdoc_consumer *d, struct buf *out)
{
    struct json_writer w = json_write_to(out);

    json_write_object(&w, NULL);
    json_write_int(&w, "version", 1);
    json_write_object(&w, "subscription");
    for (int32_t i = 0; i < d->subscription_count; i++)
        json_write_int(&w, d->subscriptions[i].name, d->subscriptions[i].streams);
    json_write_end(&w);
    json_write_text(&w, "pattern", zkdoc_pattern_name(d->pattern));
    json_write_int_text(&w, "timestamp", d->timestamp_ms);
    if (d->is_ceil)
        json_write_text(&w, "assignment", "ceil");
    json_write_end(&w);
    json_write_done(&w);
}

enum err zkdoc_owner_parse(struct bytes data, struct arena *a, struct zkdoc_owner *out,
                           struct errtext *why)
{
    int64_t stream, dash = data.len - 1;

    *out = (struct zkdoc_owner){0};
    if (data.p == NULL || data.len < 1 || data.len > OWNER_CHARS_MAX ||
        memchr(data.p, 0, (size_t)data.len) != NULL) {
        errtext_set(why, "not the name of an owner");
        return ERR_CORRUPT;
    }
    while (dash > 0 && data.p[dash] != '-')
        dash--;
    if (dash == 0 || !zkjson_parse_int((const char *)data.p + dash + 1,
                                       (size_t)(data.len - dash - 1), 0, INT32_MAX, &stream)) {
        errtext_set(why, "not a consumer's id, '-' and a number");
        return ERR_CORRUPT;
    }
    out->consumer_id = arena_strdup(a, (const char *)data.p, (size_t)dash);
    if (out->consumer_id == NULL) {
        errtext_set(why, "over the memory limit of this request");
        return ERR_NO_MEMORY;
    }
    out->stream = (int32_t)stream;
    return ERR_OK;
}

void zkdoc_owner_format(const struct zkdoc_owner *d, struct buf *out)
{
    buf_printf(out, "%s-%" PRId32, d->consumer_id, d->stream);
}
