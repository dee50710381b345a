/* SPDX-License-Identifier: Apache-2.0 */
/* The table of config.def, and what depends on more than one option. */
#include "broker/config/config.h"

#include "common/base/slog.h"

#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <unistd.h>

#define ROW(field, name, type, def, min, max, choices, flags, help)                                \
    {name, type, def, min, max, choices, flags, help, offsetof(struct config, field)},
#define BOOL(f, n, d, fl, h)              ROW(f, n, OPT_BOOL, d, 0, 0, NULL, fl, h)
#define INT(f, n, d, lo, hi, fl, h)       ROW(f, n, OPT_INT, d, lo, hi, NULL, fl, h)
#define SHORT(f, n, d, lo, hi, fl, h)     ROW(f, n, OPT_SHORT, d, lo, hi, NULL, fl, h)
#define LONG(f, n, d, lo, hi, fl, h)      ROW(f, n, OPT_LONG, d, lo, hi, NULL, fl, h)
#define DOUBLE(f, n, d, lo, hi, fl, h)    ROW(f, n, OPT_DOUBLE, d, lo, hi, NULL, fl, h)
#define STRING(f, n, d, choices, fl, h)   ROW(f, n, OPT_STRING, d, 0, 0, choices, fl, h)
#define CLASS(f, n, d, choices, fl, h)    ROW(f, n, OPT_CLASS, d, 0, 0, choices, fl, h)
#define LIST(f, n, d, choices, fl, h)     ROW(f, n, OPT_LIST, d, 0, 0, choices, fl, h)
#define PASSWORD(f, n, d, choices, fl, h) ROW(f, n, OPT_PASSWORD, d, 0, 0, choices, fl, h)
static const struct option rows[] = {
#include "broker/config/config.def"
};
const struct optab config_options = {rows, ARRAY_LEN(rows)};
_Static_assert(ARRAY_LEN(rows) == CONFIG_OPTION_COUNT, "one row an option");

static size_t index_of(const struct option *o)
{
    ASSERT(o >= rows && o < rows + ARRAY_LEN(rows));
    return (size_t)(o - rows);
}

struct config *config_new(void)
{
    struct config *c = xcalloc(1, sizeof *c);

    optab_defaults(&config_options, c);
    for (size_t i = 0; i < CONFIG_OPTION_COUNT; i++)
        c->sources[i] = CONFIG_SOURCE_DEFAULT;
    return c;
}

void config_free(struct config **c)
{
    if (*c == NULL)
        return;
    optab_fini(&config_options, *c);
    for (size_t i = 0; i < CONFIG_OPTION_COUNT; i++)
        mem_free((*c)->texts[i]);
    FREE_NULL(c);
}

static enum err set_option(struct config *c, const struct option *o, const char *value,
                           enum config_source source, struct errtext *why)
{
    size_t i = index_of(o);
    enum err rc = optab_set(o, c, value, why);

    if (rc != ERR_OK)
        return rc;
    mem_free(c->texts[i]);
    c->texts[i] = xstrdup(value);
    c->sources[i] = (uint8_t)source;
    return ERR_OK;
}

enum err config_set(struct config *c, const char *name, const char *value,
                    enum config_source source, struct errtext *why)
{
    const struct option *o = optab_find(&config_options, str_of(name));

    ASSERT(!c->is_finished);
    if (o == NULL) {
        errtext_set(why, "%s is not an option", name);
        return ERR_NOT_FOUND;
    }
    return set_option(c, o, value, source, why);
}

/* Options of Kafka's clients and of KAFKA_* variables of images that nobody means as broker
 * options. */
static void warn_unknown(const char *name)
{
    const struct option *near = optab_nearest(&config_options, name);

    SLOG(WARN, "config", "unknown option", KV_S("option", name),
         KV_S("did_you_mean", near == NULL ? "" : near->name));
}

static bool is_default(const struct option *o, const char *value)
{
    return o->default_text == NULL ? value[0] == 0 : strcmp(o->default_text, value) == 0;
}

enum err config_set_all(struct config *c, const struct props *p, enum config_source source,
                        struct errtext *why)
{
    for (size_t i = 0; i < p->count; i++) {
        const struct prop *q = &p->list[i];
        const struct option *o = optab_find(&config_options, str_of(q->key));
        if (o == NULL) {
            warn_unknown(q->key);
            continue;
        }
        enum err rc = set_option(c, o, q->value, source, why);
        if (rc != ERR_OK) {
            if (q->line > 0)
                errtext_wrap(why, "line %d", q->line);
            return rc;
        }
        if ((o->flags & OPTION_NOT_YET) != 0 && !is_default(o, q->value))
            SLOG(INFO, "config", "option is not yet in effect", KV_S("option", q->key));
        if ((o->flags & OPTION_IGNORED) != 0 && !is_default(o, q->value))
            SLOG(INFO, "config", "option has no meaning here", KV_S("option", q->key));
    }
    return ERR_OK;
}

bool config_is_given(const struct config *c, enum config_option o)
{
    return c->sources[o] != CONFIG_SOURCE_DEFAULT;
}

const char *config_text(const struct config *c, const struct option *o)
{
    const char *text = c->texts[index_of(o)];

    return text != NULL ? text : o->default_text;
}

enum config_source config_source_of(const struct config *c, const struct option *o)
{
    return (enum config_source)c->sources[index_of(o)];
}

/* ---- what several options say together */

static enum err refuse(struct errtext *why, const char *text)
{
    errtext_set(why, "%s", text);
    return ERR_INVALID;
}

static void list_set_one(struct optab_list *l, const char *text)
{
    optab_list_fini(l);
    optab_list_parse(text, l);
}

/* port, host.name and their advertised twins stand in for listeners where those are not given. */
static void map_old_names(struct config *c)
{
    char *text;

    if (c->node_id >= 0 && c->broker_id < 0)
        c->broker_id = c->node_id;
    if (!config_is_given(c, CONFIG_listeners)) {
        text = xasprintf("PLAINTEXT://%s:%d", c->host_name == NULL ? "" : c->host_name,
                         c->port == INT32_MIN ? 9092 : c->port);
        list_set_one(&c->listeners, text);
        mem_free(text);
    }
    if (!config_is_given(c, CONFIG_advertised_listeners) &&
        (c->advertised_host_name != NULL || c->advertised_port != INT32_MIN)) {
        text = xasprintf("PLAINTEXT://%s:%d",
                         c->advertised_host_name != NULL ? c->advertised_host_name
                         : c->host_name != NULL          ? c->host_name
                                                         : "",
                         c->advertised_port != INT32_MIN ? c->advertised_port
                         : c->port != INT32_MIN          ? c->port
                                                         : 9092);
        list_set_one(&c->advertised_listeners, text);
        mem_free(text);
    }
}

/* of: ms where it is given, else the larger unit times factor; -1 stays -1. */
static int64_t in_ms(int64_t ms, int64_t larger, int64_t factor)
{
    return ms != INT64_MIN ? ms : larger < 0 ? -1 : larger * factor;
}

enum { MINUTE_MS = 60 * 1000, HOUR_MS = 60 * MINUTE_MS };

static int64_t default_memory(void)
{
    int64_t floor = INT64_C(64) << 20;
    int64_t total = (int64_t)sysconf(_SC_PHYS_PAGES) * sysconf(_SC_PAGESIZE);
    FILE *f = fopen("/sys/fs/cgroup/memory.max", "re");
    char text[32] = "";

    if (f != NULL) {
        int64_t limit = fgets(text, sizeof text, f) == NULL ? 0 : strtoll(text, NULL, 10);
        if (limit > 0)
            total = i64_min(total, limit);
        (void)fclose(f);
    }
    return i64_max(total / 4, i64_min(floor, total / 2));
}

static void fill_defaults(struct config *c)
{
    if (c->log_dirs.count == 0)
        list_set_one(&c->log_dirs, c->log_dir);
    if (c->zookeeper_connection_timeout_ms == INT32_MIN)
        c->zookeeper_connection_timeout_ms = c->zookeeper_session_timeout_ms;
    if (c->queued_max_request_bytes <= 0)
        c->queued_max_request_bytes = default_memory();
    c->log_retention_ms =
        in_ms(c->log_retention_ms,
              in_ms(c->log_retention_minutes == INT32_MIN ? INT64_MIN : c->log_retention_minutes,
                    c->log_retention_hours, 60),
              MINUTE_MS);
    c->log_roll_ms = in_ms(c->log_roll_ms, c->log_roll_hours, HOUR_MS);
    c->log_roll_jitter_ms = in_ms(c->log_roll_jitter_ms, c->log_roll_jitter_hours, HOUR_MS);
    if (c->log_flush_interval_ms == INT64_MIN)
        c->log_flush_interval_ms = c->log_flush_scheduler_interval_ms;
    if (c->inter_broker_listener_name == NULL)
        c->inter_broker_listener_name = xstrdup(c->security_inter_broker_protocol);
}

static enum err check_together(const struct config *c, struct errtext *why)
{
    if (!c->enable_zookeeper)
        return refuse(why, "enable.zookeeper=false is not possible yet: set zookeeper.connect");
    if (c->zookeeper_connect == NULL || c->zookeeper_connect[0] == 0)
        return refuse(why, "zookeeper.connect is needed: host:port,host:port, with /path for a "
                           "chroot at the end");
    if (c->zookeeper_ssl_client_enable)
        return refuse(why, "zookeeper.ssl.client.enable=true is not possible: the ZooKeeper client "
                           "library has no TLS");
    if (c->zookeeper_metadata_migration_enable)
        return refuse(why,
                      "zookeeper.metadata.migration.enable=true is not possible: kafuka has no "
                      "KRaft mode to migrate to");
    if (c->process_roles.count > 0)
        return refuse(why,
                      "process.roles belongs to KRaft, which kafuka does not have: leave it out "
                      "and set zookeeper.connect");
    if (c->broker_id > c->reserved_broker_max_id && config_is_given(c, CONFIG_broker_id) &&
        c->broker_id_generation_enable) {
        errtext_set(why,
                    "broker.id=%d is not allowed: it must be from 0 to %d "
                    "(reserved.broker.max.id), or set broker.id.generation.enable=false",
                    c->broker_id, c->reserved_broker_max_id);
        return ERR_INVALID;
    }
    if (c->broker_id < 0 && !c->broker_id_generation_enable)
        return refuse(why, "broker.id is needed, as broker.id.generation.enable is false");
    if (c->log_retention_ms == 0)
        return refuse(why, "log.retention.ms (or .minutes, .hours) must not be 0: -1 keeps records "
                           "for ever");
    if (c->log_roll_ms < 1)
        return refuse(why, "log.roll.ms must be at least 1");
    if (c->log_cleaner_threads > 0 &&
        c->log_cleaner_dedupe_buffer_size / c->log_cleaner_threads <= 1 << 20)
        return refuse(why, "log.cleaner.dedupe.buffer.size must be more than 1048576 for each of "
                           "log.cleaner.threads");
    if (c->log_cleaner_min_compaction_lag_ms > c->log_cleaner_max_compaction_lag_ms)
        return refuse(why, "log.cleaner.min.compaction.lag.ms must not be larger than "
                           "log.cleaner.max.compaction.lag.ms");
    if (c->security_inter_broker_protocol != NULL &&
        config_is_given(c, CONFIG_security_inter_broker_protocol) &&
        config_is_given(c, CONFIG_inter_broker_listener_name))
        return refuse(why, "only one of inter.broker.listener.name and "
                           "security.inter.broker.protocol can be set");
    if (c->replica_fetch_wait_max_ms > c->replica_socket_timeout_ms)
        return refuse(why, "replica.socket.timeout.ms must be at least replica.fetch.wait.max.ms");
    if (c->replica_fetch_wait_max_ms > c->replica_lag_time_max_ms)
        return refuse(why, "replica.lag.time.max.ms must be at least replica.fetch.wait.max.ms");
    return ERR_OK;
}

enum err config_finish(struct config *c, struct errtext *why)
{
    ASSERT(!c->is_finished);
    map_old_names(c);
    fill_defaults(c);
    c->is_finished = true;
    return check_together(c, why);
}

/* ---- dynamic changes */

static void apply_dynamic(struct config *c, const struct props *p, enum config_source source)
{
    for (size_t i = 0; i < p->count; i++) {
        const struct option *o = optab_find(&config_options, str_of(p->list[i].key));
        struct errtext why;
        if (o == NULL || (o->flags & OPTION_DYNAMIC) == 0)
            SLOG(WARN, "config", "option cannot be changed while running",
                 KV_S("option", p->list[i].key));
        else if (set_option(c, o, p->list[i].value, source, &why) != ERR_OK)
            SLOG(WARN, "config", "dynamic option is ignored", KV_S("error", why.text));
    }
}

static struct config *config_static_copy(const struct config *base)
{
    struct config *c = config_new();

    for (size_t i = 0; i < CONFIG_OPTION_COUNT; i++)
        if (base->sources[i] == CONFIG_SOURCE_STATIC)
            MUST(set_option(c, &rows[i], base->texts[i], CONFIG_SOURCE_STATIC, NULL) == ERR_OK);
    return c;
}

struct config *config_with_dynamic(const struct config *base, const struct props *cluster,
                                   const struct props *own)
{
    struct config *c = config_static_copy(base);
    struct errtext why;

    apply_dynamic(c, cluster, CONFIG_SOURCE_DYNAMIC_DEFAULT);
    apply_dynamic(c, own, CONFIG_SOURCE_DYNAMIC_BROKER);
    if (config_finish(c, &why) != ERR_OK) {
        SLOG(WARN, "config", "dynamic options are ignored", KV_S("error", why.text));
        config_free(&c);
        c = config_static_copy(base);
        MUST(config_finish(c, NULL) == ERR_OK); /* the start had accepted these */
    }
    c->broker_id = base->broker_id; /* may have been generated */
    return c;
}
