/* SPDX-License-Identifier: Apache-2.0 */
/* Lists of partitions with replicas. They are sorted once and then searched. */
#include "tools/reassign_plan.h"

#include "common/base/json_writer.h"
#include "tools/lib/mem.h"
#include "tools/lib/opt.h"

#include <stdlib.h>

enum { FILE_VERSION = 1, PAIR_TEXT_MAX = 24 };
static const char any_log_dir[] = "any";

/* ---- files */

static enum err check_version(const json_t *root, struct errtext *why)
{
    const json_t *version = json_object_get(root, "version");

    if (version == NULL ||
        (json_is_integer(version) && json_integer_value(version) == FILE_VERSION))
        return ERR_OK;
    if (json_is_integer(version))
        errtext_set(why, "Not supported version field value %" JSON_INTEGER_FORMAT,
                    json_integer_value(version));
    else
        errtext_set(why, "\"version\" is not a number: 1 is expected");
    return ERR_INVALID;
}

/* Ids of a JSON array; false: it holds something else. */
static bool take_ids(const json_t *list, struct arena *a, struct reassign_ids *out)
{
    size_t count = json_array_size(list);
    int32_t *ids = tool_alloc(a, count, sizeof *ids);

    if (!json_is_array(list) || count > INT32_MAX)
        return false;
    for (size_t i = 0; i < count; i++) {
        const json_t *id = json_array_get(list, i);

        if (!json_is_integer(id) || json_integer_value(id) < INT32_MIN ||
            json_integer_value(id) > INT32_MAX)
            return false;
        ids[i] = (int32_t)json_integer_value(id);
    }
    *out = (struct reassign_ids){ids, (int32_t)count};
    return true;
}

static enum err take_log_dirs(const json_t *list, struct arena *a, struct reassign_part *part,
                              struct errtext *why)
{
    if (list == NULL)
        return ERR_OK;
    if (!json_is_array(list) || json_array_size(list) != (size_t)part->replicas.count) {
        errtext_set(why,
                    "%s-%d has %d replicas, but \"log_dirs\" is no list of as many folders: each "
                    "is \"any\" or a path",
                    part->topic, part->partition, part->replicas.count);
        return ERR_INVALID;
    }
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *dir = json_array_get(list, i);

        if (!json_is_string(dir)) {
            errtext_set(why, "%s-%d: \"log_dirs\" holds something that is no text", part->topic,
                        part->partition);
            return ERR_INVALID;
        }
        if (part->log_dir == NULL && strcmp(json_string_value(dir), any_log_dir) != 0)
            part->log_dir = arena_strdup(a, json_string_value(dir), json_string_length(dir));
    }
    return ERR_OK;
}

static enum err take_part(const json_t *item, size_t index, struct arena *a,
                          struct reassign_part *out, struct errtext *why)
{
    const json_t *topic = json_object_get(item, "topic");
    const json_t *partition = json_object_get(item, "partition");

    *out = (struct reassign_part){0};
    if (!json_is_string(topic) || !json_is_integer(partition) ||
        json_integer_value(partition) < 0 || json_integer_value(partition) > INT32_MAX ||
        !take_ids(json_object_get(item, "replicas"), a, &out->replicas)) {
        errtext_set(why,
                    "entry %zu of \"partitions\" needs a \"topic\", a \"partition\" (a number from "
                    "0) and \"replicas\" (a list of broker ids)",
                    index);
        return ERR_INVALID;
    }
    out->topic = arena_strdup(a, json_string_value(topic), json_string_length(topic));
    out->partition = (int32_t)json_integer_value(partition);
    return take_log_dirs(json_object_get(item, "log_dirs"), a, out, why);
}

enum err reassign_parse(const json_t *root, struct arena *a, struct reassign_plan *out,
                        struct errtext *why)
{
    const json_t *list = json_object_get(root, "partitions");
    enum err rc = check_version(root, why);

    *out = (struct reassign_plan){0};
    if (rc != ERR_OK)
        return rc;
    if (!json_is_object(root) || (list != NULL && !json_is_array(list)) ||
        json_array_size(list) > INT32_MAX) {
        errtext_set(why, "{\"version\": 1, \"partitions\": [...]} is expected");
        return ERR_INVALID;
    }
    out->parts = tool_alloc(a, json_array_size(list), sizeof *out->parts);
    for (size_t i = 0; rc == ERR_OK && i < json_array_size(list); i++)
        rc = take_part(json_array_get(list, i), i, a, &out->parts[i], why);
    if (rc == ERR_OK)
        out->count = (int32_t)json_array_size(list);
    return rc;
}

static int by_text(const void *x, const void *y)
{
    const char *const *a = x, *const *b = y;

    return strcmp(*a, *b);
}

enum err reassign_parse_topics(const json_t *root, struct arena *a, const char ***names_out,
                               int32_t *count_out, struct errtext *why)
{
    const json_t *list = json_object_get(root, "topics");
    size_t count = json_array_size(list);
    enum err rc = check_version(root, why);

    *count_out = 0;
    *names_out = tool_alloc(a, count, sizeof **names_out);
    if (rc != ERR_OK)
        return rc;
    for (size_t i = 0; i < count; i++) {
        const json_t *name = json_object_get(json_array_get(list, i), "topic");

        if (!json_is_string(name)) {
            errtext_set(why, "entry %zu of \"topics\" needs a \"topic\"", i);
            return ERR_INVALID;
        }
        (*names_out)[i] = arena_strdup(a, json_string_value(name), json_string_length(name));
    }
    if (count == 0 || count > INT32_MAX) {
        errtext_set(why, "{\"topics\": [{\"topic\": \"foo\"}], \"version\": 1} is expected, with "
                         "one topic or more");
        return ERR_INVALID;
    }
    qsort(*names_out, count, sizeof **names_out, by_text);
    for (size_t i = 1; i < count; i++) {
        if (strcmp((*names_out)[i - 1], (*names_out)[i]) == 0) {
            errtext_set(why, "List of topics to reassign contains duplicate entries: [%s]",
                        (*names_out)[i]);
            return ERR_INVALID;
        }
    }
    *count_out = (int32_t)count;
    return ERR_OK;
}

enum err reassign_parse_brokers(const char *text, struct arena *a, int32_t **ids_out,
                                int32_t *count_out, struct errtext *why)
{
    const char *rest = text;

    *ids_out = tool_alloc(a, strlen(text) / 2 + 1, sizeof **ids_out);
    *count_out = 0;
    do {
        size_t len = strcspn(rest, ",");
        char *word = arena_strdup(a, rest, len);
        int64_t id;

        if (!opt_number(word, 0, INT32_MAX, &id)) {
            errtext_set(why, "--broker-list takes broker ids separated by commas, not '%s'", text);
            return ERR_INVALID;
        }
        if (reassign_has((struct reassign_ids){*ids_out, *count_out}, (int32_t)id)) {
            errtext_set(why, "Broker list contains duplicate entries: [%" PRId64 "]", id);
            return ERR_INVALID;
        }
        (*ids_out)[(*count_out)++] = (int32_t)id;
        rest += len;
    } while (*rest++ == ',');
    return ERR_OK;
}

static int by_partition(const void *x, const void *y)
{
    const struct reassign_part *a = x, *b = y;
    int order = strcmp(a->topic, b->topic);

    return order != 0 ? order : (a->partition > b->partition) - (a->partition < b->partition);
}

/* Entries of one partition may stand beside each other: --execute refuses them. */
static bool is_sorted(const struct reassign_plan *p)
{
    for (int32_t i = 1; i < p->count; i++)
        if (by_partition(&p->parts[i - 1], &p->parts[i]) > 0)
            return false;
    return true;
}

enum err reassign_check(const struct reassign_plan *p, struct errtext *why)
{
    ASSERT(is_sorted(p));
    if (p->count == 0) {
        errtext_set(why, "Partition reassignment list cannot be empty");
        return ERR_INVALID;
    }
    for (int32_t i = 0; i < p->count; i++) {
        const struct reassign_part *part = &p->parts[i];

        if (part->replicas.count == 0) {
            errtext_set(why, "Partition replica list cannot be empty (%s-%d)", part->topic,
                        part->partition);
            return ERR_INVALID;
        }
        if (i > 0 && strcmp(part[-1].topic, part->topic) == 0 &&
            part[-1].partition == part->partition) {
            errtext_set(why, "Partition reassignment contains duplicate topic partitions: %s-%d",
                        part->topic, part->partition);
            return ERR_INVALID;
        }
        for (int32_t k = 1; k < part->replicas.count; k++) {
            struct reassign_ids before = {part->replicas.ids, k};

            if (reassign_has(before, part->replicas.ids[k])) {
                errtext_set(why,
                            "Partition replica lists may not contain duplicate entries: %s-%d "
                            "contains multiple entries for %d",
                            part->topic, part->partition, part->replicas.ids[k]);
                return ERR_INVALID;
            }
        }
    }
    return ERR_OK;
}

/* ---- lists */

void reassign_sort(struct reassign_plan *p)
{
    if (p->count > 1)
        qsort(p->parts, (size_t)p->count, sizeof *p->parts, by_partition);
}

struct reassign_part *reassign_find(const struct reassign_plan *p, const char *topic,
                                    int32_t partition)
{
    struct reassign_part key = {.topic = topic, .partition = partition};

    if (p->count == 0)
        return NULL;
    return bsearch(&key, p->parts, (size_t)p->count, sizeof key, by_partition);
}

bool reassign_same(struct reassign_ids a, struct reassign_ids b)
{
    return a.count == b.count &&
           (a.count == 0 || memcmp(a.ids, b.ids, (size_t)a.count * sizeof *a.ids) == 0);
}

bool reassign_has(struct reassign_ids list, int32_t id)
{
    for (int32_t i = 0; i < list.count; i++)
        if (list.ids[i] == id)
            return true;
    return false;
}

void reassign_print_ids(struct reassign_ids list, struct buf *out)
{
    for (int32_t i = 0; i < list.count; i++)
        buf_printf(out, "%s%d", i == 0 ? "" : ",", list.ids[i]);
}

void reassign_print_json(const struct reassign_plan *p, struct buf *out)
{
    struct json_writer w = json_write_to(out);

    json_write_object(&w, NULL);
    json_write_int(&w, "version", 1);
    json_write_array(&w, "partitions");
    for (int32_t i = 0; i < p->count; i++) {
        const struct reassign_part *part = &p->parts[i];

        json_write_object(&w, NULL);
        json_write_text(&w, "topic", part->topic);
        json_write_int(&w, "partition", part->partition);
        json_write_ints(&w, "replicas", part->replicas.ids, part->replicas.count);
        json_write_array(&w, "log_dirs");
        for (int32_t k = 0; k < part->replicas.count; k++)
            json_write_text(&w, NULL, any_log_dir);
        json_write_end(&w);
        json_write_end(&w);
    }
    json_write_end(&w);
    json_write_end(&w);
    json_write_done(&w);
}

/* The end of the topic that begins at first. */
static int32_t topic_end(const struct reassign_plan *p, int32_t first)
{
    int32_t end = first;

    while (end < p->count && strcmp(p->parts[end].topic, p->parts[first].topic) == 0)
        end++;
    return end;
}

enum err reassign_propose(const struct reassign_plan *current,
                          const struct placement_broker *brokers, int32_t broker_count,
                          struct arena *a, struct reassign_plan *out, struct errtext *why)
{
    int32_t end;

    ASSERT(is_sorted(current) && broker_count >= 0);
    out->parts = tool_alloc(a, (size_t)current->count, sizeof *out->parts);
    out->count = current->count;
    if (broker_count == 0) {
        errtext_set(why, "none of the brokers in --broker-list is alive");
        return ERR_INVALID;
    }
    for (int32_t first = 0; first < current->count; first = end) {
        int32_t factor = current->parts[first].replicas.count;
        int32_t *ids;
        enum err rc;

        end = topic_end(current, first);
        ids = tool_alloc(a, (size_t)(end - first) * (size_t)factor, sizeof *ids);
        rc = placement_assign(brokers, broker_count, 0, end - first, factor, first % broker_count,
                              ids, why);
        if (rc != ERR_OK) {
            errtext_wrap(why, "topic %s", current->parts[first].topic);
            return rc;
        }
        for (int32_t i = first; i < end; i++) {
            out->parts[i] = (struct reassign_part){.topic = current->parts[i].topic,
                                                   .partition = current->parts[i].partition};
            out->parts[i].replicas = (struct reassign_ids){&ids[(i - first) * factor], factor};
        }
    }
    return ERR_OK;
}

/* ---- throttles */

/* The ids of list that are not among those without. */
static struct reassign_ids minus(struct reassign_ids list, struct reassign_ids without,
                                 struct arena *a)
{
    int32_t *ids = tool_alloc(a, (size_t)list.count, sizeof *ids);
    int32_t n = 0;

    for (int32_t i = 0; i < list.count; i++)
        if (!reassign_has(without, list.ids[i]))
            ids[n++] = list.ids[i];
    return (struct reassign_ids){ids, n};
}

void reassign_flows(const struct reassign_plan *under_way, const struct reassign_plan *proposed,
                    const struct reassign_plan *current, struct arena *a,
                    struct reassign_flow **out, int32_t *count_out)
{
    struct reassign_flow *flows =
        tool_alloc(a, (size_t)(under_way->count + proposed->count), sizeof *flows);
    int32_t n = 0, at = 0;

    ASSERT(is_sorted(under_way) && is_sorted(proposed) && is_sorted(current));
    for (int32_t i = 0; i < proposed->count || at < under_way->count; n++) {
        const struct reassign_part *moving = at < under_way->count ? &under_way->parts[at] : NULL;
        const struct reassign_part *wanted = i < proposed->count ? &proposed->parts[i] : NULL;
        int order = moving == NULL ? 1 : wanted == NULL ? -1 : by_partition(moving, wanted);
        struct reassign_flow *f = &flows[n];

        if (order <= 0) {
            *f = (struct reassign_flow){moving->topic, moving->partition,
                                        minus(moving->replicas, moving->adding, a), moving->adding};
            at++;
        } else {
            const struct reassign_part *now =
                reassign_find(current, wanted->topic, wanted->partition);

            *f = (struct reassign_flow){.topic = wanted->topic, .partition = wanted->partition};
            if (now != NULL)
                f->sources = now->replicas;
        }
        if (order >= 0) {
            f->destinations = minus(wanted->replicas, f->sources, a);
            i++;
        }
    }
    *out = flows;
    *count_out = n;
}

static int by_pair(const void *x, const void *y)
{
    return strcmp(x, y);
}

void reassign_print_throttled(const struct reassign_flow *flows, int32_t count, bool of_sources,
                              struct buf *out)
{
    char(*pairs)[PAIR_TEXT_MAX] = NULL;
    size_t n = 0;

    for (int32_t i = 0; i < count; i++) {
        struct reassign_ids who = of_sources ? flows[i].sources : flows[i].destinations;

        pairs = xrealloc(pairs, (n + (size_t)who.count + 1) * sizeof *pairs);
        for (int32_t k = 0; k < who.count; k++)
            (void)snprintf(pairs[n++], sizeof *pairs, "%d:%d", flows[i].partition, who.ids[k]);
    }
    if (n > 1)
        qsort(pairs, n, sizeof *pairs, by_pair);
    for (size_t i = 0; i < n; i++)
        buf_printf(out, "%s%s", i == 0 ? "" : ",", pairs[i]);
    mem_free(pairs);
}
