/* SPDX-License-Identifier: Apache-2.0 */
/* kafuka-topics --zookeeper: works on the znodes as Kafka's scripts did up to 2.8; the controller
 * takes up what is written. Output is Kafka 2.8's. */
#include "tools/lib/topics.h"

#include "common/zk/zkadmin.h"
#include "controller/placement.h"
#include "tools/lib/mem.h"
#include "tools/lib/topic_config.h"
#include "tools/lib/zookeeper.h"

#include <stdio.h>
#include <stdlib.h>

/* What a command reads of the cluster before it acts. */
struct zk_brokers {
    struct zkadmin_broker *items;
    int32_t count;
};

/* The names that --topic means, into *names_out. */
static int16_t find_names(struct coord *c, struct arena *a, const struct opts *o,
                          const char ***names_out, int32_t *count_out, struct errtext *why)
{
    struct topics_pattern pattern;
    const char **names;
    int32_t count, kept = 0;
    int16_t code = zkadmin_list_topics(c, a, &names, &count, why);

    *count_out = 0;
    if (code != KE_NONE)
        return code;
    if (topics_pattern_init(&pattern, opts_text(o, "topic", NULL), why) != ERR_OK)
        return KE_INVALID_REQUEST;
    for (int32_t i = 0; i < count; i++)
        if (topics_pattern_matches(&pattern, names[i]) &&
            !(opts_has(o, "exclude-internal") && topics_is_internal(names[i])))
            names[kept++] = names[i];
    topics_pattern_fini(&pattern);
    *names_out = names;
    *count_out = kept;
    return KE_NONE;
}

static bool is_marked(const char *const *deletions, int32_t count, const char *name)
{
    for (int32_t i = 0; i < count; i++)
        if (strcmp(deletions[i], name) == 0)
            return true;
    return false;
}

static int run_list(struct coord *c, struct arena *a, const struct opts *o)
{
    const char **names, **deletions;
    int32_t count, deletion_count;
    struct errtext why = {{0}};

    if (find_names(c, a, o, &names, &count, &why) != KE_NONE ||
        zkadmin_list_deletions(c, a, &deletions, &deletion_count, &why) != KE_NONE)
        return topics_fail("%s", why.text);
    for (int32_t i = 0; i < count; i++)
        printf("%s%s\n", names[i],
               is_marked(deletions, deletion_count, names[i]) ? " - marked for deletion" : "");
    return 0;
}

/* "a=b,c=d" */
static const char *config_text(struct arena *a, const struct zkdoc_config *config)
{
    struct buf text = {0};
    char *copy;

    for (int32_t i = 0; i < config->count; i++)
        buf_printf(&text, "%s%s=%s", i == 0 ? "" : ",", config->entries[i].key,
                   config->entries[i].value);
    copy = arena_strdup(a, buf_cstr(&text), text.len);
    buf_fini(&text);
    ASSERT(copy != NULL);
    return copy;
}

static int16_t describe_all(struct coord *c, struct arena *a, const char **names, int32_t count,
                            const struct topics_filter *f, struct buf *out, struct errtext *why)
{
    struct zkadmin_topic *topics = tool_alloc(a, (size_t)count, sizeof *topics);
    struct zkadmin_entity *configs = tool_alloc(a, (size_t)count, sizeof *configs);
    struct topic_info *infos = tool_alloc(a, (size_t)count, sizeof *infos);
    struct topic_info **places = tool_alloc(a, (size_t)count, sizeof *places);
    const char **deletions;
    int32_t deletion_count;
    struct zk_brokers brokers;
    int16_t code;

    for (int32_t i = 0; i < count; i++) {
        topics[i].name = names[i];
        configs[i].name = names[i];
        places[i] = &infos[i];
    }
    code = zkadmin_brokers(c, a, &brokers.items, &brokers.count, why);
    if (code == KE_NONE)
        code = zkadmin_list_deletions(c, a, &deletions, &deletion_count, why);
    if (code == KE_NONE)
        code = zkadmin_read_topics(c, topics, count, a, why);
    if (code == KE_NONE)
        code = zkadmin_read_entity_configs(c, "topics", configs, count, a, why);
    if (code == KE_NONE)
        code = zk_read_partitions(c, a, topics, count, brokers.items, brokers.count, places, why);
    for (int32_t i = 0; code == KE_NONE && i < count; i++) {
        if (topics[i].error != KE_NONE)
            continue; /* gone meanwhile */
        infos[i].name = names[i];
        infos[i].is_marked_for_deletion = is_marked(deletions, deletion_count, names[i]);
        infos[i].configs = configs[i].error == KE_NONE ? config_text(a, &configs[i].config) : "";
        topics_describe(&infos[i], TOPICS_KAFKA_28, f, out);
    }
    return code;
}

static int fail_missing(const struct opts *o)
{
    if (opts_has(o, "if-exists"))
        return 0;
    return topics_fail("Topic '%s' does not exist as expected", opts_text(o, "topic", ""));
}

static int run_describe(struct coord *c, struct arena *a, const struct opts *o)
{
    struct topics_filter f;
    struct buf out = {0};
    struct errtext why = {{0}};
    const char **names;
    int32_t count;
    int rc = 0;

    topics_filter_from(o, &f);
    if (find_names(c, a, o, &names, &count, &why) != KE_NONE)
        return topics_fail("%s", why.text);
    if (count == 0 && opts_has(o, "topic"))
        return fail_missing(o);
    if (describe_all(c, a, names, count, &f, &out, &why) != KE_NONE)
        rc = topics_fail("%s", why.text);
    else if (out.len > 0)
        (void)fwrite(out.p, 1, out.len, stdout);
    buf_fini(&out);
    return rc;
}

/* The live brokers as placement wants them. */
static enum err placement_brokers(const struct zk_brokers *brokers, struct arena *a,
                                  bool is_rack_aware, struct placement_broker **out)
{
    *out = tool_alloc(a, (size_t)brokers->count, sizeof **out);
    for (int32_t i = 0; i < brokers->count; i++) {
        (*out)[i].id = brokers->items[i].id;
        (*out)[i].rack = is_rack_aware ? str_of(brokers->items[i].doc.rack) : STR_NULL;
    }
    return ERR_OK;
}

/* Places partitions first..first+count-1 into documents of the arena. */
static enum err place(struct coord *c, struct arena *a, const struct opts *o, int32_t first,
                      int32_t count, int32_t factor, const int32_t *first_replica,
                      struct zkdoc_partition **out, struct errtext *why)
{
    struct zk_brokers brokers;
    struct placement_broker *candidates;
    int32_t *ids;
    enum err rc;

    if (zkadmin_brokers(c, a, &brokers.items, &brokers.count, why) != KE_NONE)
        return ERR_UNREACHABLE;
    if (factor > brokers.count) {
        errtext_set(why, "Replication factor: %d larger than available brokers: %d.", factor,
                    brokers.count);
        return ERR_INVALID;
    }
    rc = placement_brokers(&brokers, a, !opts_has(o, "disable-rack-aware"), &candidates);
    if (rc != ERR_OK)
        return rc;
    ids = tool_alloc(a, (size_t)count * (size_t)factor, sizeof *ids);
    rc = placement_assign(
        candidates, brokers.count, first, count, factor,
        first_replica == NULL ? 0 : placement_start(candidates, brokers.count, *first_replica), ids,
        why);
    if (rc != ERR_OK)
        return rc;
    *out = tool_alloc(a, (size_t)count, sizeof **out);
    for (int32_t i = 0; i < count; i++)
        (*out)[i] = (struct zkdoc_partition){.index = first + i,
                                             .replicas = ids + (size_t)i * (size_t)factor,
                                             .replica_count = factor};
    return ERR_OK;
}

/* Partitions from --replica-assignment, from index first on. */
static enum err from_assignment(const struct opts *o, struct arena *a, int32_t first,
                                struct zkdoc_partition **out, int32_t *count_out,
                                struct errtext *why)
{
    struct topics_assignment as;
    enum err rc = topics_parse_assignment(opts_text(o, "replica-assignment", ""), a, &as, why);

    if (rc != ERR_OK)
        return rc;
    *count_out = i32_max(as.partition_count - first, 0);
    *out = tool_alloc(a, (size_t)*count_out, sizeof **out);
    for (int32_t i = 0; i < *count_out; i++)
        (*out)[i] = (struct zkdoc_partition){
            .index = first + i, .replicas = as.replicas[first + i], .replica_count = as.factor};
    return ERR_OK;
}

static int run_create(struct coord *c, struct arena *a, const struct opts *o)
{
    struct zkadmin_new_topic t = {.name = opts_text(o, "topic", NULL)};
    struct zkdoc_partition *partitions = NULL;
    struct zkdoc_config config = {0};
    struct errtext why = {{0}};
    size_t pairs;
    const char *const *pair = opts_list(o, "config", &pairs);
    enum err rc;
    int16_t code;

    if (!opts_has(o, "replica-assignment") &&
        (!opts_has(o, "partitions") || !opts_has(o, "replication-factor")))
        return opts_fail(o,
                         "Missing required argument \"[%s]\": with --zookeeper the cluster's "
                         "default is not known",
                         opts_has(o, "partitions") ? "replication-factor" : "partitions");
    if (opts_int(o, "partitions", 1) < 1)
        return topics_fail("The partitions must be greater than 0");
    if (opts_int(o, "replication-factor", 1) < 1)
        return topics_fail("The replication factor must be between 1 and 32767 inclusive");
    topics_warn_of_collisions(t.name);
    rc = topic_config_parse(pair, pairs, a, &config, &why);
    t.partition_count = (int32_t)opts_int(o, "partitions", 0);
    if (rc == ERR_OK && opts_has(o, "replica-assignment"))
        rc = from_assignment(o, a, 0, &partitions, &t.partition_count, &why);
    else if (rc == ERR_OK)
        rc = place(c, a, o, 0, t.partition_count, (int32_t)opts_int(o, "replication-factor", 1),
                   NULL, &partitions, &why);
    if (rc != ERR_OK)
        return topics_fail("%s", why.text);
    t.partitions = partitions;
    t.configs = config.entries;
    t.config_count = config.count;
    code = zkadmin_create_topic(c, &t, &why);
    if (code == KE_TOPIC_ALREADY_EXISTS && opts_has(o, "if-not-exists"))
        return 0;
    if (code == KE_TOPIC_ALREADY_EXISTS && strstr(why.text, "delet") == NULL)
        return topics_fail("Topic '%s' already exists.", t.name);
    if (code != KE_NONE)
        return topics_fail("%s", why.text);
    printf("Created topic %s.\n", t.name);
    for (int32_t i = 0; i < config.count; i++)
        topic_config_tell_no_effect(config.entries[i].key, config.entries[i].value);
    return 0;
}

static int alter_config(struct coord *c, struct arena *a, const struct opts *o, const char *name)
{
    struct zkdoc_config config = {0};
    struct errtext why = {{0}};
    size_t pairs, removals;
    const char *const *pair = opts_list(o, "config", &pairs);
    const char *const *removal = opts_list(o, "delete-config", &removals);

    printf("WARNING: Altering topic configuration from this script has been deprecated and may be "
           "removed in future releases.\n         Going forward, please use kafka-configs.sh for "
           "this functionality\n");
    if (zkadmin_read_entity_config(c, "topics", name, a, &config, &why) != KE_NONE ||
        topic_config_change(&config, pair, pairs, removal, removals, a, &why) != ERR_OK ||
        zkadmin_set_entity_config(c, "topics", name, &config, false, &why) != KE_NONE)
        return topics_fail("%s", why.text);
    printf("Updated config for topic %s.\n", name);
    for (int32_t i = 0; i < config.count; i++)
        topic_config_tell_no_effect(config.entries[i].key, config.entries[i].value);
    return 0;
}

static int alter_partitions(struct coord *c, struct arena *a, const struct opts *o,
                            const char *name)
{
    int32_t wanted = (int32_t)opts_int(o, "partitions", 0), now, added;
    struct zkdoc_partition *partitions = NULL;
    struct zkdoc_topic topic;
    struct errtext why = {{0}};
    enum err rc;

    printf("WARNING: If partitions are increased for a topic that has a key, the partition logic "
           "or ordering of the messages will be affected\n");
    if (zkadmin_read_topic(c, name, a, &topic, NULL, &why) != KE_NONE)
        return topics_fail("%s", why.text);
    now = topic.partition_count;
    added = wanted - now;
    if (added <= 0)
        return topics_fail("The number of partitions for a topic can only be increased. Topic %s "
                           "currently has %d partitions, %d would not be an increase.",
                           name, now, wanted);
    if (now == 0 || topic.partitions[0].replica_count == 0)
        return topics_fail("the assignment of topic %s is empty", name);
    if (opts_has(o, "replica-assignment"))
        rc = from_assignment(o, a, now, &partitions, &added, &why);
    else
        rc = place(c, a, o, now, added, topic.partitions[0].replica_count,
                   &topic.partitions[0].replicas[0], &partitions, &why);
    if (rc == ERR_OK && added != wanted - now) {
        errtext_set(&why,
                    "--replica-assignment lists %d new partitions, but --partitions asks "
                    "for %d",
                    added, wanted - now);
        rc = ERR_INVALID;
    }
    if (rc != ERR_OK || zkadmin_add_partitions(c, name, partitions, added, false, &why) != KE_NONE)
        return topics_fail("%s", why.text);
    printf("Adding partitions succeeded!\n");
    return 0;
}

static int run_alter(struct coord *c, struct arena *a, const struct opts *o)
{
    struct errtext why = {{0}};
    const char **names;
    int32_t count;
    int rc = 0;

    if (!opts_has(o, "partitions") && !opts_has(o, "config") && !opts_has(o, "delete-config"))
        return opts_fail(o, "--alter needs something to change: --partitions, --config or "
                            "--delete-config");
    if (find_names(c, a, o, &names, &count, &why) != KE_NONE)
        return topics_fail("%s", why.text);
    if (count == 0)
        return fail_missing(o);
    for (int32_t i = 0; rc == 0 && i < count; i++) {
        if (opts_has(o, "config") || opts_has(o, "delete-config"))
            rc = alter_config(c, a, o, names[i]);
        if (rc == 0 && opts_has(o, "partitions"))
            rc = alter_partitions(c, a, o, names[i]);
    }
    return rc;
}

static int run_delete(struct coord *c, struct arena *a, const struct opts *o)
{
    struct errtext why = {{0}};
    const char **names;
    int32_t count;

    if (find_names(c, a, o, &names, &count, &why) != KE_NONE)
        return topics_fail("%s", why.text);
    if (count == 0)
        return fail_missing(o);
    for (int32_t i = 0; i < count; i++) {
        if (topics_is_internal(names[i]))
            return topics_fail("Topic %s is a kafka internal topic and is not allowed to be "
                               "marked for deletion.",
                               names[i]);
        if (zkadmin_delete_topic(c, names[i], &why) != KE_NONE)
            return topics_fail("%s", why.text);
        printf("Topic %s is marked for deletion.\n"
               "Note: This will have no impact if delete.topic.enable is not set to true.\n",
               names[i]);
    }
    return 0;
}

int topics_with_zookeeper(const struct opts *o)
{
    struct arena a = {0};
    struct coord *c = NULL;
    int rc;

    if (opts_has(o, "topic-id") || opts_has(o, "under-min-isr-partitions") ||
        opts_has(o, "at-min-isr-partitions"))
        return opts_fail(o, "--topic-id, --under-min-isr-partitions and --at-min-isr-partitions "
                            "need --bootstrap-server");
    rc = zk_start(o, &c);
    if (rc >= 0)
        return rc;
    if (opts_has(o, "list"))
        rc = run_list(c, &a, o);
    else if (opts_has(o, "describe"))
        rc = run_describe(c, &a, o);
    else if (opts_has(o, "create"))
        rc = run_create(c, &a, o);
    else if (opts_has(o, "alter"))
        rc = run_alter(c, &a, o);
    else
        rc = run_delete(c, &a, o);
    coord_close(&c);
    arena_fini(&a);
    return rc;
}
