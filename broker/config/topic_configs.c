/* SPDX-License-Identifier: Apache-2.0 */
/* A hash of the topics that have overrides. */
#include "broker/config/topic_configs.h"

#include "common/base/lock.h"

#include "common/base/hash.h"

struct entry {
    UT_hash_handle hh;
    struct topic_override *overrides; /* strings owned */
    size_t count;
    struct log_config made;
    char *name;
};

struct topic_configs {
    struct lock mtx;
    const struct config *config; /* guarded by mtx, as all below */
    struct log_config defaults;
    struct entry *entries;
};

static void make(const struct topic_configs *t, struct entry *e)
{
    topic_config_make_lenient(t->config, str_of(e->name), e->overrides, e->count, &e->made);
}

static void entry_free(struct entry *e)
{
    for (size_t i = 0; i < e->count; i++) {
        char *name, *value; /* our copies: the overrides have them const */
        memcpy(&name, &e->overrides[i].name, sizeof name);
        memcpy(&value, &e->overrides[i].value, sizeof value);
        mem_free(name);
        mem_free(value);
    }
    mem_free(e->overrides);
    mem_free(e->name);
    mem_free(e);
}

static struct entry *entry_new(struct str topic, const struct zkdoc_config *config)
{
    struct entry *e = xcalloc(1, sizeof *e);

    e->name = str_dup(topic);
    e->count = (size_t)config->count;
    e->overrides = xcalloc(e->count, sizeof e->overrides[0]);
    for (size_t i = 0; i < e->count; i++)
        e->overrides[i] = (struct topic_override){xstrdup(config->entries[i].key),
                                                  xstrdup(config->entries[i].value)};
    return e;
}

struct topic_configs *topic_configs_new(const struct config *c)
{
    struct topic_configs *t = xcalloc(1, sizeof *t);

    lock_init(&t->mtx, LOCK_LEAF);
    t->config = c;
    topic_config_make_lenient(c, STR_LIT(""), NULL, 0, &t->defaults);
    return t;
}

void topic_configs_free(struct topic_configs **topics)
{
    struct topic_configs *t = *topics;
    struct entry *e, *next;

    if (t == NULL)
        return;
    HASH_ITER (hh, t->entries, e, next) {
        HASH_DEL(t->entries, e);
        entry_free(e);
    }
    lock_fini(&t->mtx);
    FREE_NULL(topics);
}

static struct entry *find(struct topic_configs *t, struct str topic)
{
    struct entry *e = NULL;

    ASSERT(topic.len >= 0);
    HASH_FIND(hh, t->entries, topic.p, (size_t)topic.len, e);
    return e;
}

void topic_configs_get(struct topic_configs *t, struct str topic, struct log_config *out)
{
    lock_take(&t->mtx);
    const struct entry *e = find(t, topic);
    *out = e == NULL ? t->defaults : e->made;
    lock_release(&t->mtx);
}

void topic_configs_set(struct topic_configs *t, struct str topic, const struct zkdoc_config *config,
                       struct log_config *out)
{
    struct entry *e = config->count == 0 ? NULL : entry_new(topic, config);

    lock_take(&t->mtx);
    struct entry *old = find(t, topic);
    if (old != NULL)
        HASH_DEL(t->entries, old);
    if (e != NULL) {
        make(t, e);
        HASH_ADD_KEYPTR(hh, t->entries, e->name, strlen(e->name), e);
    }
    *out = e == NULL ? t->defaults : e->made;
    lock_release(&t->mtx);
    if (old != NULL)
        entry_free(old);
}

void topic_configs_rebase(struct topic_configs *t, const struct config *c)
{
    struct entry *e, *next;

    lock_take(&t->mtx);
    t->config = c;
    topic_config_make_lenient(c, STR_LIT(""), NULL, 0, &t->defaults);
    HASH_ITER (hh, t->entries, e, next)
        make(t, e);
    lock_release(&t->mtx);
}
