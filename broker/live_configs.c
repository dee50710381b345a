/* SPDX-License-Identifier: Apache-2.0 */
/* The configs that change while the broker runs: options in /config/brokers make a new struct
 * config, overrides in /config/topics change what the logs are given. */
#include "broker/live_configs.h"

#include "broker/broker.h"
#include "broker/config/config_changes.h"
#include "broker/config/topic_configs.h"
#include "broker/http/metrics.h"
#include "broker/log/log_manager.h"
#include "broker/replica/replicas.h"
#include "common/base/lock.h"
#include "common/base/slog.h"
#include "common/zk/zkadmin.h"
#include "controller/controller.h"

#include <errno.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum { CONFIGS_KEPT_MAX = 1000, FRESH_TOPICS_MAX = 32, FRESH_READS_MAX = 4 };

struct live_configs {
    struct broker *broker;
    struct config *static_config;
    struct config *configs[CONFIGS_KEPT_MAX]; /* all that were current: readers may hold any */
    int config_count;
    struct props cluster_props, own_props; /* dynamic options; owner: session thread after start */
    struct topic_configs *topics;
    _Atomic int64_t topic_changes; /* config notifications of topics so far */
    struct lock fresh_mtx;
    struct uuid
        fresh[FRESH_TOPICS_MAX]; /* guarded by fresh_mtx: topics whose config was just read */
    int fresh_next;
    struct config_changes *changes; /* owner: session thread */
};

struct live_configs *live_configs_new(struct broker *b, struct config *static_config)
{
    struct live_configs *l = xcalloc(1, sizeof *l);

    ASSERT(b != NULL && static_config != NULL);
    l->broker = b;
    l->static_config = static_config;
    l->configs[l->config_count++] = static_config;
    lock_init(&l->fresh_mtx, LOCK_LEAF);
    b->config = static_config;
    return l;
}

void live_configs_of_topic(struct live_configs *l, struct str topic, struct log_config *out)
{
    topic_configs_get(l->topics, topic, out);
}

/* A new topic's config is written without a notification, so it is read when its first log is made
 * here. Many partitions of one topic are made at once: one read serves them. */
static bool is_fresh(struct live_configs *l, struct uuid topic_id, bool note)
{
    bool found = false;

    if (uuid_is_zero(topic_id))
        return false;
    lock_take(&l->fresh_mtx);
    for (int i = 0; i < FRESH_TOPICS_MAX && !found; i++)
        found = uuid_eq(l->fresh[i], topic_id);
    if (note && !found) {
        l->fresh[l->fresh_next] = topic_id;
        l->fresh_next = (l->fresh_next + 1) % FRESH_TOPICS_MAX;
    }
    lock_release(&l->fresh_mtx);
    return found;
}

static int16_t read_topic_config(struct live_configs *l, struct str topic)
{
    char *name = str_dup(topic);
    struct errtext why = {""};
    struct log_config made;
    int16_t rc = KE_NONE;
    int64_t changes;
    int reads = 0;

    do { /* what a notification brings meanwhile is newer than what was read: read again */
        struct arena a = {0};
        struct zkdoc_config config = {0};
        changes = atomic_load(&l->topic_changes);
        rc = zkadmin_read_entity_config(l->broker->coord, "topics", name, &a, &config, &why);
        if (rc == KE_NONE)
            topic_configs_set(l->topics, topic, &config, &made);
        arena_fini(&a);
    } while (rc == KE_NONE && changes != atomic_load(&l->topic_changes) &&
             ++reads < FRESH_READS_MAX);
    if (rc != KE_NONE)
        SLOG(WARN, "broker",
             "cannot read the config of a new topic, its last known config stays in effect",
             KV_STR("topic", topic), KV_KERR(rc), KV_S("why", why.text));
    mem_free(name);
    return rc;
}

void live_configs_of_new_log(struct live_configs *l, struct str topic, struct uuid topic_id,
                             struct log_config *out)
{
    if (!is_fresh(l, topic_id, false) && read_topic_config(l, topic) == KE_NONE)
        (void)is_fresh(l, topic_id, true);
    topic_configs_get(l->topics, topic, out);
}

static void set_props(struct props *p, const struct zkdoc_config *config)
{
    props_fini(p);
    for (int32_t i = 0; i < config->count; i++)
        props_set(p, config->entries[i].key, config->entries[i].value, 0);
}

static bool is_own_config(struct live_configs *l, const char *name, struct props **props_out)
{
    char id[16];

    (void)snprintf(id, sizeof id, "%d", l->broker->id);
    *props_out = strcmp(name, "<default>") == 0 ? &l->cluster_props
                 : strcmp(name, id) == 0        ? &l->own_props
                                                : NULL;
    return *props_out != NULL;
}

struct log_cleaner_options live_configs_cleaner(const struct config *c)
{
    return (struct log_cleaner_options){
        .is_enabled = c->log_cleaner_enable,
        .threads = c->log_cleaner_threads,
        .dedupe_bytes = c->log_cleaner_dedupe_buffer_size,
        .buffer_bytes = c->log_cleaner_io_buffer_size,
        .backoff_ms = c->log_cleaner_backoff_ms,
        .load_factor = c->log_cleaner_io_buffer_load_factor,
        .bytes_per_second_max = c->log_cleaner_io_max_bytes_per_second,
    };
}

/* Makes the dynamic options current. */
static void switch_config(struct live_configs *l)
{
    if (l->config_count == CONFIGS_KEPT_MAX) {
        SLOG(ERROR, "config",
             "a changed option has no effect: there were too many changes since the start; restart "
             "the broker");
        return;
    }
    struct config *c = config_with_dynamic(l->static_config, &l->cluster_props, &l->own_props);
    l->configs[l->config_count++] = c;
    l->broker->config = c;
    config_log_no_effect(c,
                         1U << CONFIG_SOURCE_DYNAMIC_BROKER | 1U << CONFIG_SOURCE_DYNAMIC_DEFAULT);
    if (l->topics != NULL)
        topic_configs_rebase(l->topics, c);
    if (l->broker->logs != NULL && !atomic_load(&l->broker->is_stopping)) {
        struct log_cleaner_options o = live_configs_cleaner(c);
        log_manager_set_cleaner(l->broker->logs, &o);
    }
}

static void on_config_at_start(void *arg, const char *type, const char *name,
                               const struct zkdoc_config *config)
{
    struct live_configs *l = arg;
    struct log_config ignored;
    struct props *props;

    if (strcmp(type, "topics") == 0)
        topic_configs_set(l->topics, str_of(name), config, &ignored);
    else if (strcmp(type, "brokers") == 0 && is_own_config(l, name, &props))
        set_props(props, config);
}

static void topic_config(void *arg, struct str topic, struct log_config *out)
{
    live_configs_of_topic(arg, topic, out);
}

/* On the session thread. */
static void on_config_changed(void *arg, const char *type, const char *name,
                              const struct zkdoc_config *config)
{
    struct live_configs *l = arg;
    struct log_config made;
    struct props *props;

    METRIC_ADD(config_changes, 1);
    if (strcmp(type, "topics") == 0) {
        atomic_fetch_add(&l->topic_changes, 1);
        topic_configs_set(l->topics, str_of(name), config, &made);
        replicas_topic_config_changed(l->broker->replicas, str_of(name), &made);
        controller_topic_config_changed(l->broker->controller, name);
        SLOG(INFO, "broker", "topic config changed", KV_S("topic", name),
             KV_I("overrides", config->count));
    } else if (strcmp(type, "brokers") == 0 && is_own_config(l, name, &props)) {
        set_props(props, config);
        switch_config(l);
        replicas_all_configs_changed(l->broker->replicas, topic_config, l);
        SLOG(INFO, "broker", "broker config changed", KV_S("entity", name),
             KV_I("options", config->count));
    }
}

enum err live_configs_load(struct live_configs *l, struct errtext *why)
{
    enum err rc = config_changes_load(l->broker->coord, "brokers", on_config_at_start, l, why);

    if (rc != ERR_OK)
        return rc;
    if (l->cluster_props.count + l->own_props.count > 0)
        switch_config(l);
    l->topics = topic_configs_new(l->broker->config);
    return config_changes_load(l->broker->coord, "topics", on_config_at_start, l, why);
}

void live_configs_watch(struct live_configs *l, struct mailbox *session)
{
    ASSERT(l->changes == NULL && l->topics != NULL);
    config_changes_start(l->broker->coord, session, on_config_changed, l, &l->changes);
}

void live_configs_session_renewed(struct live_configs *l)
{
    if (l->changes != NULL)
        config_changes_session_renewed(l->changes);
}

struct changes_stop {
    struct mail mail;
    struct live_configs *configs;
    int done_fd;
};

static void stop_changes_on_session(struct mail *m)
{
    struct changes_stop *s = CONTAINER_OF(m, struct changes_stop, mail);
    uint64_t one = 1;
    int fd = s->done_fd;

    config_changes_stop(&s->configs->changes);
    (void)!write(fd, &one, sizeof one); /* s is gone for us after this */
}

/* config_changes belongs to the session thread: it is stopped there. */
void live_configs_stop(struct live_configs *l, struct mailbox *session)
{
    struct changes_stop s = {.mail = {.deliver = stop_changes_on_session}, .configs = l};
    uint64_t n;

    if (l->changes == NULL)
        return;
    s.done_fd = eventfd(0, EFD_CLOEXEC);
    ASSERT(s.done_fd >= 0);
    mailbox_post(session, &s.mail);
    while (read(s.done_fd, &n, sizeof n) < 0)
        ASSERT(errno == EINTR);
    (void)close(s.done_fd);
}

void live_configs_forget_topics(struct live_configs *l)
{
    topic_configs_free(&l->topics);
}

void live_configs_free(struct live_configs **l)
{
    struct live_configs *x = *l;

    ASSERT(x->changes == NULL && x->topics == NULL);
    props_fini(&x->cluster_props);
    props_fini(&x->own_props);
    for (int i = 0; i < x->config_count; i++)
        config_free(&x->configs[i]);
    mem_free(x);
    *l = NULL;
}
