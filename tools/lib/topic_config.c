/* SPDX-License-Identifier: Apache-2.0 */
/* The table is common/base/topic_option.def. */
#include "tools/lib/topic_config.h"

#include "common/base/topic_option.h"

#include <stdio.h>
#include <stdlib.h>

bool topic_config_has_no_effect(const char *name, const char *value)
{
    const struct option *o = optab_find(&topic_options, str_of(name));

    return o != NULL && !option_has_effect(o) && !option_is_default(o, value);
}

void topic_config_tell_no_effect(const char *name, const char *value)
{
    if (topic_config_has_no_effect(name, value))
        (void)fprintf(stderr, "%s " OPTION_NO_EFFECT "%s\n", name,
                      optab_find(&topic_options, str_of(name))->why);
}

void topic_config_tell_documented(const char *name, struct str documentation)
{
    const char *at = documentation.len <= 0 ? NULL
                                            : memmem(documentation.p, (size_t)documentation.len,
                                                     OPTION_NO_EFFECT, strlen(OPTION_NO_EFFECT));

    if (at != NULL)
        (void)fprintf(stderr, "%s %.*s\n", name, (int)(documentation.p + documentation.len - at),
                      at);
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
        rc = topic_option_check(key, equals + 1, why);
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
