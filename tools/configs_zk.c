/* SPDX-License-Identifier: Apache-2.0 */
/* kafuka-configs --zookeeper: configurations of topics in their znodes, as up to Kafka 2.8. The
 * change notification tells the brokers. */
#include "tools/configs.h"

#include "common/zk/zkadmin.h"
#include "tools/lib/topic_config.h"
#include "tools/lib/zookeeper.h"

#include <stdio.h>

static int describe(struct coord *c, struct arena *a, const struct opts *o, const char *topic)
{
    struct zkdoc_config config;
    struct errtext why = {{0}};

    if (zkadmin_read_entity_config(c, "topics", topic, a, &config, &why) != KE_NONE)
        return opts_fail(o, "%s", why.text);
    printf("Configs for topic '%s' are ", topic);
    for (int32_t i = 0; i < config.count; i++)
        printf("%s%s=%s", i == 0 ? "" : ",", config.entries[i].key, config.entries[i].value);
    printf("\n");
    return 0;
}

static int describe_all(struct coord *c, struct arena *a, const struct opts *o)
{
    struct errtext why = {{0}};
    const char **names;
    int32_t count;
    int rc = 0;

    if (zkadmin_list_topics(c, a, &names, &count, &why) != KE_NONE)
        return opts_fail(o, "%s", why.text);
    for (int32_t i = 0; rc == 0 && i < count; i++)
        rc = describe(c, a, o, names[i]);
    return rc;
}

/* The text of names that are to be deleted but are not set; empty when all are. */
static void find_unset(const struct zkdoc_config *config, const struct configs_change *change,
                       struct buf *out)
{
    for (size_t i = 0; i < change->remove_count; i++)
        if (zkdoc_config_value(config, change->remove[i]) == NULL)
            buf_printf(out, "%s%s", out->len == 0 ? "" : ",", change->remove[i]);
}

static int alter(struct coord *c, struct arena *a, const struct opts *o, const char *topic,
                 const struct configs_change *change)
{
    const char **pairs = arena_alloc(a, (change->add.count + 1) * sizeof *pairs);
    struct zkdoc_topic doc;
    struct zkdoc_config config;
    struct errtext why = {{0}};
    struct buf unset = {0};
    int rc;

    ASSERT(pairs != NULL);
    if (zkadmin_read_topic(c, topic, a, &doc, NULL, &why) == KE_UNKNOWN_TOPIC_OR_PARTITION)
        return opts_fail(o, "Topic '%s' does not exist.", topic);
    if (zkadmin_read_entity_config(c, "topics", topic, a, &config, &why) != KE_NONE)
        return opts_fail(o, "%s", why.text);
    find_unset(&config, change, &unset);
    rc = unset.len > 0 ? opts_fail(o, "Invalid config(s): %s (not set, so it cannot be deleted)",
                                   buf_cstr(&unset))
                       : 0;
    buf_fini(&unset);
    if (rc != 0)
        return rc;
    for (size_t i = 0; i < change->add.count; i++) {
        struct buf pair = {0};

        buf_printf(&pair, "%s=%s", change->add.list[i].key, change->add.list[i].value);
        pairs[i] = arena_strdup(a, buf_cstr(&pair), pair.len);
        buf_fini(&pair);
    }
    if (topic_config_change(&config, pairs, change->add.count, (const char *const *)change->remove,
                            change->remove_count, a, &why) != ERR_OK ||
        zkadmin_set_entity_config(c, "topics", topic, &config, false, &why) != KE_NONE)
        return opts_fail(o, "%s", why.text);
    printf("Completed updating config for entity: topic '%s'.\n", topic);
    for (size_t i = 0; i < change->add.count; i++)
        topic_config_tell_no_effect(change->add.list[i].key, change->add.list[i].value);
    return 0;
}

int configs_with_zookeeper(const struct opts *o, const char *topic,
                           const struct configs_change *change)
{
    struct arena a = {0};
    struct coord *c;
    int rc;

    printf("Warning: --zookeeper is deprecated and will be removed in a future version of Kafka.\n"
           "Use --bootstrap-server instead to specify a broker to connect to.\n");
    rc = zk_start(o, &c);
    if (rc >= 0)
        return rc;
    if (opts_has(o, "alter"))
        rc = alter(c, &a, o, topic, change);
    else if (topic != NULL)
        rc = describe(c, &a, o, topic);
    else
        rc = describe_all(c, &a, o);
    coord_close(&c);
    arena_fini(&a);
    return rc;
}
