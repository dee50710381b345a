/* SPDX-License-Identifier: Apache-2.0 */
/* config_entries - see config_entries.h. */
#include "broker/api/config_entries.h"
#include "broker/config/config.h"

static void add_layer(struct config_entry *e, const char *name, const char *value,
                      enum config_source source)
{
    ASSERT(e->layer_count < CONFIG_LAYERS_MAX);
    e->layers[e->layer_count++] =
        (struct config_layer){name, e->is_sensitive ? NULL : value, source};
}

/* What the broker's options of these names say, by the weight of the source. */
static void add_layers(const struct config *c, const char *const *names, struct config_entry *e)
{
    for (enum config_source s = CONFIG_SOURCE_DYNAMIC_BROKER; s <= CONFIG_SOURCE_DEFAULT; s++)
        for (size_t i = 0; names[i] != NULL; i++) {
            const struct option *o = optab_find(&config_options, str_of(names[i]));
            const char *value = config_text_of(c, o, s);
            if (value != NULL)
                add_layer(e, o->name, value, s);
        }
}

bool config_entry_topic(struct request *r, const struct option *o,
                        const struct zkdoc_config *overrides, struct config_entry *e)
{
    CHECK_OBJ(r, REQUEST_MAGIC);
    const char *own = zkdoc_config_value(overrides, o->name);
    *e = (struct config_entry){
        .name = o->name, .option = o, .value = own, .source = CONFIG_SOURCE_TOPIC};
    if (own != NULL)
        add_layer(e, o->name, own, CONFIG_SOURCE_TOPIC);
    add_layers(r->broker->config, topic_option_broker_names(o), e);
    if (own != NULL)
        return true;
    const char *text = topic_config_default(r->broker->config, o, &e->source);
    if (text != NULL) { /* the next call's text may take its place */
        text = arena_strdup(&r->arena, text, strlen(text));
        if (text == NULL)
            return false;
    }
    e->value = text;
    return true;
}

void config_entry_broker(struct request *r, const struct option *o, struct config_entry *e)
{
    CHECK_OBJ(r, REQUEST_MAGIC);
    const struct config *c = r->broker->config;
    const char *names[CONFIG_SYNONYMS_MAX + 1];
    bool is_sensitive = o->type == OPTION_PASSWORD;
    int32_t drop = 0;
    *e = (struct config_entry){.name = o->name,
                               .option = o,
                               .source = config_source_of(c, o),
                               .value = is_sensitive ? NULL : config_text(c, o),
                               .is_sensitive = is_sensitive,
                               .is_read_only = (o->flags & OPTION_DYNAMIC) == 0};
    config_synonyms(o, names);
    add_layers(c, names, e);
    /* as Kafka: what stands before the option's own first layer is left out */
    while (drop < e->layer_count && strcmp(e->layers[drop].name, o->name) != 0)
        drop++;
    e->layer_count -= drop;
    memmove(e->layers, e->layers + drop, (size_t)e->layer_count * sizeof e->layers[0]);
}

void config_entry_default(const struct zkdoc_kv *kv, struct config_entry *e)
{
    const struct option *o = optab_find(&config_options, str_of(kv->key));
    bool is_secret = o == NULL || o->type == OPTION_PASSWORD;
    *e = (struct config_entry){.name = kv->key,
                               .option = o,
                               .value = is_secret ? NULL : kv->value,
                               .source = CONFIG_SOURCE_DYNAMIC_DEFAULT,
                               .is_sensitive = is_secret,
                               .is_read_only = o == NULL};
    add_layer(e, e->name, kv->value, e->source);
}

void config_entries_created(struct request *r, const struct topic_create_item *item,
                            struct kp_CreateTopicsResponse_CreatableTopicResult *t)
{
    CHECK_OBJ(r, REQUEST_MAGIC);
    struct zkdoc_config overrides = {item->configs, item->config_count};
    t->configs = api_alloc(r, topic_options.count, sizeof *t->configs);
    t->configs_count = t->configs == NULL ? -1 : 0;
    for (size_t i = 0; t->configs != NULL && i < topic_options.count; i++) {
        struct config_entry e;
        if (!config_entry_topic(r, &topic_options.rows[i], &overrides, &e))
            continue;
        t->configs[t->configs_count++] = (struct kp_CreateTopicsResponse_CreatableTopicConfigs){
            .name = str_of(e.name),
            .value = str_of(e.value),
            .config_source = (int8_t)e.source,
        };
    }
}
