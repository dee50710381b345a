/* SPDX-License-Identifier: Apache-2.0 */
/* config_entries - see config_entries.h. */
#include "broker/api/config_entries.h"
#include "broker/config/config.h"

bool config_entry_topic(struct request *r, const struct topic_option *o,
                        const struct zkdoc_config *overrides, struct config_entry *e)
{
    const char *synonym = NULL, *text;
    enum config_source source = CONFIG_SOURCE_DEFAULT;
    const char *own = zkdoc_config_value(overrides, o->option.name);
    *e = (struct config_entry){.name = o->option.name,
                               .type = (int8_t)o->option.type,
                               .help = o->option.help,
                               .source = CONFIG_SOURCE_TOPIC,
                               .value = own};
    text = topic_config_default(r->broker->config, o, &source, &synonym);
    if (text != NULL) { /* the next call's text may take its place */
        text = arena_strdup(&r->arena, text, strlen(text));
        if (text == NULL)
            return false;
    }
    e->inherited = text;
    e->inherited_name = synonym;
    e->inherited_source = source;
    if (own == NULL) {
        e->value = text;
        e->source = source;
    }
    return true;
}

void config_entry_broker(struct request *r, const struct option *o, struct config_entry *e)
{
    const struct config *c = r->broker->config;
    bool is_sensitive = o->type == OPT_PASSWORD;
    *e = (struct config_entry){.name = o->name,
                               .type = (int8_t)o->type,
                               .help = o->help,
                               .source = config_source_of(c, o),
                               .value = is_sensitive ? NULL : config_text(c, o),
                               .is_sensitive = is_sensitive,
                               .is_read_only = (o->flags & OPTION_DYNAMIC) == 0};
    e->inherited = e->value;
    e->inherited_name = o->name;
    e->inherited_source = e->source;
}

void config_entries_created(struct request *r, const struct topic_create_item *item,
                            struct kp_CreateTopicsResponse_CreatableTopicResult *t)
{
    struct zkdoc_config overrides = {item->configs, item->config_count};
    t->configs = api_alloc(r, topic_option_count, sizeof *t->configs);
    t->configs_count = t->configs == NULL ? -1 : 0;
    for (size_t i = 0; t->configs != NULL && i < topic_option_count; i++) {
        struct config_entry e;
        if (!config_entry_topic(r, &topic_options[i], &overrides, &e))
            continue;
        t->configs[t->configs_count++] = (struct kp_CreateTopicsResponse_CreatableTopicConfigs){
            .name = str_of(e.name),
            .value = str_of(e.value),
            .config_source = (int8_t)e.source,
        };
    }
}
