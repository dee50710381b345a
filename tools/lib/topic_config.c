/* SPDX-License-Identifier: Apache-2.0 */
/* One table of names, types and ranges. */
#include "tools/lib/topic_config.h"

#include "tools/lib/opt.h"

#include <stdlib.h>
#include <strings.h>

enum config_type { LONG, BOOL, DOUBLE, CHOICE, CHOICES, TEXT };

static const struct topic_config_row {
    const char *name;
    enum config_type type;
    int64_t min, max;
    const char *choices; /* parted by blanks */
} rows[] = {
    {"cleanup.policy", CHOICES, 0, 0, "compact delete"},
    {"compression.gzip.level", LONG, -1, 9, NULL},
    {"compression.lz4.level", LONG, 1, 17, NULL},
    {"compression.type", CHOICE, 0, 0, "uncompressed zstd lz4 snappy gzip producer"},
    {"compression.zstd.level", LONG, -131072, 22, NULL},
    {"delete.retention.ms", LONG, 0, INT64_MAX, NULL},
    {"file.delete.delay.ms", LONG, 0, INT64_MAX, NULL},
    {"flush.messages", LONG, 1, INT64_MAX, NULL},
    {"flush.ms", LONG, 0, INT64_MAX, NULL},
    {"follower.replication.throttled.replicas", TEXT, 0, 0, NULL},
    {"index.interval.bytes", LONG, 0, INT32_MAX, NULL},
    {"leader.replication.throttled.replicas", TEXT, 0, 0, NULL},
    {"local.retention.bytes", LONG, -2, INT64_MAX, NULL},
    {"local.retention.ms", LONG, -2, INT64_MAX, NULL},
    {"max.compaction.lag.ms", LONG, 1, INT64_MAX, NULL},
    {"max.message.bytes", LONG, 0, INT32_MAX, NULL},
    {"message.downconversion.enable", BOOL, 0, 0, NULL},
    {"message.format.version", TEXT, 0, 0, NULL},
    {"message.timestamp.after.max.ms", LONG, 0, INT64_MAX, NULL},
    {"message.timestamp.before.max.ms", LONG, 0, INT64_MAX, NULL},
    {"message.timestamp.difference.max.ms", LONG, 0, INT64_MAX, NULL},
    {"message.timestamp.type", CHOICE, 0, 0, "CreateTime LogAppendTime"},
    {"min.cleanable.dirty.ratio", DOUBLE, 0, 1, NULL},
    {"min.compaction.lag.ms", LONG, 0, INT64_MAX, NULL},
    {"min.insync.replicas", LONG, 1, INT32_MAX, NULL},
    {"preallocate", BOOL, 0, 0, NULL},
    {"remote.log.copy.disable", BOOL, 0, 0, NULL},
    {"remote.log.delete.on.disable", BOOL, 0, 0, NULL},
    {"remote.storage.enable", BOOL, 0, 0, NULL},
    {"retention.bytes", LONG, -1, INT64_MAX, NULL},
    {"retention.ms", LONG, -1, INT64_MAX, NULL},
    {"segment.bytes", LONG, 14, INT32_MAX, NULL},
    {"segment.index.bytes", LONG, 4, INT32_MAX, NULL},
    {"segment.jitter.ms", LONG, 0, INT64_MAX, NULL},
    {"segment.ms", LONG, 1, INT64_MAX, NULL},
    {"unclean.leader.election.enable", BOOL, 0, 0, NULL},
};

static bool is_choice(const char *choices, const char *word, size_t len)
{
    for (const char *p = choices; *p != '\0';) {
        size_t n = strcspn(p, " ");

        if (n == len && strncmp(p, word, len) == 0)
            return true;
        p += n + (p[n] == ' ');
    }
    return false;
}

static bool are_choices(const char *choices, const char *value)
{
    for (const char *p = value;; p++) {
        size_t n = strcspn(p, ",");

        if (!is_choice(choices, p, n))
            return false;
        p += n;
        if (*p == '\0')
            return true;
    }
}

enum err topic_config_check(const char *name, const char *value, struct errtext *why)
{
    const struct topic_config_row *row = NULL;
    const char *names[ARRAY_LEN(rows)];
    const char *near;
    int64_t n;
    char *end;
    double d;

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        names[i] = rows[i].name;
        if (strcmp(rows[i].name, name) == 0)
            row = &rows[i];
    }
    if (row == NULL) {
        near = opt_nearest(name, names, ARRAY_LEN(rows));
        errtext_set(why, "Unknown topic config name: %s%s%s%s", name,
                    near == NULL ? "" : " (did you mean ", near == NULL ? "" : near,
                    near == NULL ? "" : "?)");
        return ERR_INVALID;
    }
    switch (row->type) {
    case LONG:
        if (opt_number(value, row->min, row->max, &n))
            return ERR_OK;
        errtext_set(why,
                    "Invalid value %s for configuration %s: a number from %" PRId64 " to %" PRId64
                    " is wanted",
                    value, name, row->min, row->max);
        return ERR_INVALID;
    case BOOL:
        if (strcasecmp(value, "true") == 0 || strcasecmp(value, "false") == 0)
            return ERR_OK;
        errtext_set(why, "Invalid value %s for configuration %s: true or false is wanted", value,
                    name);
        return ERR_INVALID;
    case DOUBLE:
        d = strtod(value, &end);
        if (value[0] != '\0' && *end == '\0' && d >= 0 && d <= 1)
            return ERR_OK;
        errtext_set(why, "Invalid value %s for configuration %s: a number from 0 to 1 is wanted",
                    value, name);
        return ERR_INVALID;
    case CHOICE:
    case CHOICES:
        if (row->type == CHOICES ? are_choices(row->choices, value)
                                 : is_choice(row->choices, value, strlen(value)))
            return ERR_OK;
        errtext_set(why, "Invalid value %s for configuration %s: %s of: %s is wanted", value, name,
                    row->type == CHOICES ? "one or more, parted by commas," : "one", row->choices);
        return ERR_INVALID;
    case TEXT:
        return ERR_OK;
    }
    return ERR_OK;
}

static int by_key(const void *x, const void *y)
{
    const struct zkdoc_kv *a = x, *b = y;

    return strcmp(a->key, b->key);
}

static void put(struct zkdoc_config *config, const char *key, const char *value)
{
    for (int32_t i = 0; i < config->count; i++) {
        if (strcmp(config->entries[i].key, key) == 0) {
            config->entries[i].value = value;
            return;
        }
    }
    config->entries[config->count++] = (struct zkdoc_kv){key, value};
}

static void take(struct zkdoc_config *config, const char *key)
{
    for (int32_t i = 0; i < config->count; i++)
        if (strcmp(config->entries[i].key, key) == 0) {
            config->entries[i] = config->entries[--config->count];
            return;
        }
}

enum err topic_config_change(struct zkdoc_config *config, const char *const *pairs,
                             size_t pair_count, const char *const *removals, size_t removal_count,
                             struct arena *a, struct errtext *why)
{
    struct zkdoc_config now = {0};

    now.entries = arena_alloc(a, ((size_t)config->count + pair_count + 1) * sizeof *now.entries);
    ASSERT(now.entries != NULL);
    for (int32_t i = 0; i < config->count; i++)
        now.entries[now.count++] = config->entries[i];
    for (size_t i = 0; i < pair_count; i++) {
        const char *equals = strchr(pairs[i], '=');
        const char *key;
        enum err rc;

        if (equals == NULL || equals == pairs[i]) {
            errtext_set(why, "a configuration is name=value, not '%s'", pairs[i]);
            return ERR_INVALID;
        }
        key = arena_strdup(a, pairs[i], (size_t)(equals - pairs[i]));
        rc = topic_config_check(key, equals + 1, why);
        if (rc != ERR_OK)
            return rc;
        put(&now, key, equals + 1);
    }
    for (size_t i = 0; i < removal_count; i++)
        take(&now, removals[i]);
    if (now.count > 1)
        qsort(now.entries, (size_t)now.count, sizeof *now.entries, by_key);
    *config = now;
    return ERR_OK;
}

enum err topic_config_parse(const char *const *pairs, size_t count, struct arena *a,
                            struct zkdoc_config *out, struct errtext *why)
{
    *out = (struct zkdoc_config){0};
    return topic_config_change(out, pairs, count, NULL, 0, a, why);
}
