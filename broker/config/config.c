/* SPDX-License-Identifier: Apache-2.0 */
/* The table of config.def, and what depends on more than one option. */
#include "broker/config/config.h"

#include "common/base/slog.h"

#include <float.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <unistd.h>

#define ROW(field, id, kind, text, lo, hi, words, bits, lowest, highest, about, reason, ...)       \
    {.name = id,                                                                                   \
     .type = kind,                                                                                 \
     .default_text = text,                                                                         \
     .min = lo,                                                                                    \
     .max = hi,                                                                                    \
     .choices = words,                                                                             \
     .flags = bits,                                                                                \
     .help = about,                                                                                \
     .offset = offsetof(struct config, field),                                                     \
     .why = reason,                                                                                \
     .low = lowest,                                                                                \
     .high = highest},
#define TEXT(f, n, type, d, choices, fl, ...)                                                      \
    ROW(f, n, type, d, 0, 0, choices, fl, 0, 0, __VA_ARGS__, NULL, 0)
#define WHOLE(f, n, type, d, lo, hi, fl, ...)                                                      \
    ROW(f, n, type, d, lo, hi, NULL, fl, 0, 0, __VA_ARGS__, NULL, 0)
#define BOOL(f, n, d, fl, ...)            WHOLE(f, n, OPTION_BOOL, d, 0, 0, fl, __VA_ARGS__)
#define INT(f, n, d, lo, hi, fl, ...)     WHOLE(f, n, OPTION_INT, d, lo, hi, fl, __VA_ARGS__)
#define SHORT(f, n, d, lo, hi, fl, ...)   WHOLE(f, n, OPTION_SHORT, d, lo, hi, fl, __VA_ARGS__)
#define LONG(f, n, d, lo, hi, fl, ...)    WHOLE(f, n, OPTION_LONG, d, lo, hi, fl, __VA_ARGS__)
#define STRING(f, n, d, words, fl, ...)   TEXT(f, n, OPTION_STRING, d, words, fl, __VA_ARGS__)
#define CLASS(f, n, d, words, fl, ...)    TEXT(f, n, OPTION_CLASS, d, words, fl, __VA_ARGS__)
#define LIST(f, n, d, words, fl, ...)     TEXT(f, n, OPTION_LIST, d, words, fl, __VA_ARGS__)
#define PASSWORD(f, n, d, words, fl, ...) TEXT(f, n, OPTION_PASSWORD, d, words, fl, __VA_ARGS__)
#define DOUBLE(f, n, d, lo, hi, fl, ...)                                                           \
    ROW(f, n, OPTION_DOUBLE, d, 0, 0, NULL, fl, lo, hi, __VA_ARGS__, NULL, 0)
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
    return c;
}

void config_free(struct config **c)
{
    if (*c == NULL)
        return;
    optab_fini(&config_options, *c);
    for (size_t i = 0; i < CONFIG_OPTION_COUNT; i++)
        for (size_t k = 0; k < CONFIG_LAYER_COUNT; k++)
            mem_free((*c)->texts[i][k]);
    FREE_NULL(c);
}

static char **text_at(struct config *c, const struct option *o, enum config_source source)
{
    ASSERT(source >= CONFIG_SOURCE_DYNAMIC_BROKER && source <= CONFIG_SOURCE_STATIC);
    return &c->texts[index_of(o)][source - CONFIG_SOURCE_DYNAMIC_BROKER];
}

/* Sources are set in the order of their weight, the heaviest last. */
static enum err set_option(struct config *c, const struct option *o, const char *value,
                           enum config_source source, struct errtext *why)
{
    char **text = text_at(c, o, source);
    enum err rc = optab_set(o, c, value, why);

    if (rc != ERR_OK)
        return rc;
    mem_free(*text);
    *text = xstrdup(value);
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

static void warn_unknown(const char *name)
{
    const struct option *near = optab_nearest(&config_options, name);

    if (near != NULL)
        SLOG(WARN, "config", "unknown option, it has no effect", KV_S("option", name),
             KV_S("did_you_mean", near->name));
    else
        SLOG(WARN, "config", "unknown option, it has no effect; no known option has a similar name",
             KV_S("option", name));
}

/* Kafka's options for one listener, listener.name.NAME.OPTION. Those that protect stop the start,
 * unless they say the same as the option for all listeners. */
static enum err check_listener_option(const struct props *p, const struct prop *q,
                                      struct errtext *why)
{
    const char *option = strchr(q->key + strlen("listener.name."), '.');
    const struct prop *general = option == NULL ? NULL : props_find(p, option + 1);

    if (option == NULL || strncmp(option + 1, "ssl.", 4) != 0) {
        SLOG(WARN, "config", "an option for one listener has no effect in this version",
             KV_S("option", q->key));
        return ERR_OK;
    }
    if (general != NULL && strcmp(general->value, q->value) == 0)
        return ERR_OK;
    errtext_set(why,
                "%s is not possible: this version has no TLS options of single listeners; set %s, "
                "which is for all of them",
                q->key, option + 1);
    return ERR_INVALID;
}

static enum err set_property(struct config *c, const struct props *p, const struct prop *q,
                             enum config_source source, struct errtext *why)
{
    const struct option *o = optab_find(&config_options, str_of(q->key));

    if (o != NULL)
        return set_option(c, o, q->value, source, why);
    if (strncmp(q->key, "listener.name.", strlen("listener.name.")) == 0)
        return check_listener_option(p, q, why);
    warn_unknown(q->key);
    return ERR_OK;
}

enum err config_set_all(struct config *c, const struct props *p, enum config_source source,
                        struct errtext *why)
{
    for (size_t i = 0; i < p->count; i++) {
        const struct prop *q = &p->list[i];
        enum err rc = set_property(c, p, q, source, why);
        if (rc != ERR_OK) {
            if (q->line > 0)
                errtext_wrap(why, "line %d", q->line);
            return rc;
        }
    }
    return ERR_OK;
}

static void name_all(const struct config *c, unsigned sources, unsigned flag, struct buf *out)
{
    for (size_t i = 0; i < CONFIG_OPTION_COUNT; i++) {
        const struct option *o = &rows[i];
        if ((o->flags & flag) != 0 && (sources & 1U << config_source_of(c, o)) != 0 &&
            !option_is_default(o, config_text(c, o)))
            buf_printf(out, "%s%s", out->len == 0 ? "" : ",", o->name);
    }
}

void config_log_no_effect(const struct config *c, unsigned sources)
{
    struct buf not_yet = {0}, ignored = {0};

    name_all(c, sources, OPTION_NOT_YET, &not_yet);
    name_all(c, sources, OPTION_IGNORED, &ignored);
    if (not_yet.len > 0)
        SLOG(WARN, "config", "these options are set but have no effect in this version",
             KV_S("options", buf_cstr(&not_yet)));
    if (ignored.len > 0)
        SLOG(INFO, "config", "these options are set but have no meaning here",
             KV_S("options", buf_cstr(&ignored)));
    buf_fini(&not_yet);
    buf_fini(&ignored);
}

const char *config_text_of(const struct config *c, const struct option *o,
                           enum config_source source)
{
    if (source == CONFIG_SOURCE_DEFAULT)
        return o->default_text;
    ASSERT(source >= CONFIG_SOURCE_DYNAMIC_BROKER && source <= CONFIG_SOURCE_STATIC);
    return c->texts[index_of(o)][source - CONFIG_SOURCE_DYNAMIC_BROKER];
}

enum config_source config_source_of(const struct config *c, const struct option *o)
{
    enum config_source source = CONFIG_SOURCE_DYNAMIC_BROKER;

    while (source < CONFIG_SOURCE_DEFAULT && config_text_of(c, o, source) == NULL)
        source++;
    return source;
}

const char *config_text(const struct config *c, const struct option *o)
{
    return config_text_of(c, o, config_source_of(c, o));
}

bool config_is_given(const struct config *c, enum config_option o)
{
    return config_source_of(c, &rows[o]) != CONFIG_SOURCE_DEFAULT;
}

void config_synonyms(const struct option *o, const char *out[CONFIG_SYNONYMS_MAX + 1])
{
    static const char *const families[][CONFIG_SYNONYMS_MAX + 1] = {
        {"log.retention.ms", "log.retention.minutes", "log.retention.hours", NULL},
        {"log.roll.ms", "log.roll.hours", NULL},
        {"log.roll.jitter.ms", "log.roll.jitter.hours", NULL},
        {"log.flush.interval.ms", "log.flush.scheduler.interval.ms", NULL},
    };

    for (size_t i = 0; i < ARRAY_LEN(families); i++)
        for (size_t k = 0; families[i][k] != NULL; k++)
            if (strcmp(families[i][k], o->name) == 0) {
                memcpy(out, families[i], sizeof families[i]);
                return;
            }
    out[0] = o->name;
    out[1] = NULL;
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

/* of: ms where it is given, else the larger unit times factor; negative ones are -1. */
static int64_t in_ms(int64_t ms, int64_t larger, int64_t factor)
{
    return ms != INT64_MIN ? i64_max(ms, -1) : larger < 0 ? -1 : larger * factor;
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
    if (c->ssl_enabled_protocols.count == 0)
        list_set_one(&c->ssl_enabled_protocols, rows[CONFIG_ssl_enabled_protocols].default_text);
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

/* Options that promise what this version lacks, above all protection: nobody may believe to have
 * it. What ZooKeeper holds does not come here (apply_dynamic leaves it out). */
static enum err check_promises(const struct config *c, struct errtext *why)
{
    for (size_t i = 0; i < CONFIG_OPTION_COUNT; i++) {
        const struct option *o = &rows[i];
        const char *text = config_text_of(c, o, CONFIG_SOURCE_STATIC);
        if ((o->flags & OPTION_STOPS) == 0 || text == NULL || option_is_default(o, text))
            continue;
        if (i == CONFIG_zookeeper_clientCnxnSocket && strstr(text, "ClientCnxnSocketNIO") != NULL)
            continue; /* Kafka's default by its name: no TLS */
        errtext_set(why, "%s=%s is not possible: %s", o->name,
                    o->type == OPTION_PASSWORD ? "..." : text, o->why);
        return ERR_INVALID;
    }
    return ERR_OK;
}

/* What Kafka takes in a file but what means nothing, or more than is possible here. */
static const struct {
    enum config_option option;
    int64_t least, most;
} limits[] = {
    {CONFIG_zookeeper_session_timeout_ms, 1, INT32_MAX},
    {CONFIG_zookeeper_connection_timeout_ms, 1, INT32_MAX},
    {CONFIG_num_network_threads, 1, 256},
    {CONFIG_num_io_threads, 1, 1024},
    {CONFIG_num_recovery_threads_per_data_dir, 1, 1024},
    {CONFIG_num_replica_fetchers, 1, 256},
    {CONFIG_socket_send_buffer_bytes, -1, INT32_MAX},
    {CONFIG_socket_receive_buffer_bytes, -1, INT32_MAX},
    {CONFIG_replica_socket_receive_buffer_bytes, -1, INT32_MAX},
    {CONFIG_socket_listen_backlog_size, 1, 65535},
    {CONFIG_connections_max_idle_ms, -1, INT64_MAX},
    {CONFIG_request_timeout_ms, 1, INT32_MAX},
    {CONFIG_controller_socket_timeout_ms, 1, INT32_MAX},
    {CONFIG_replica_socket_timeout_ms, 1, INT32_MAX},
    {CONFIG_default_replication_factor, 1, INT16_MAX},
    {CONFIG_log_flush_offset_checkpoint_interval_ms, 1, INT32_MAX},
    {CONFIG_log_flush_start_offset_checkpoint_interval_ms, 1, INT32_MAX},
    {CONFIG_log_cleaner_dedupe_buffer_size, 0, INT64_MAX},
    {CONFIG_log_retention_bytes, -1, INT64_MAX},
    {CONFIG_replica_lag_time_max_ms, 1, INT64_MAX},
    {CONFIG_replica_fetch_min_bytes, 0, INT32_MAX},
    {CONFIG_replica_fetch_wait_max_ms, 0, INT32_MAX},
    {CONFIG_replica_high_watermark_checkpoint_interval_ms, 1, INT64_MAX},
    {CONFIG_leader_imbalance_per_broker_percentage, 0, 100},
    {CONFIG_controlled_shutdown_max_retries, 0, INT32_MAX},
    {CONFIG_controlled_shutdown_retry_backoff_ms, 0, INT64_MAX},
    {CONFIG_offset_metadata_max_bytes, 0, INT32_MAX},
    {CONFIG_group_min_session_timeout_ms, 0, INT32_MAX},
    {CONFIG_group_max_session_timeout_ms, 0, INT32_MAX},
    {CONFIG_group_initial_rebalance_delay_ms, 0, INT32_MAX},
};

static int64_t number_at(const struct config *c, const struct option *o)
{
    const void *field = (const char *)c + o->offset;
    int32_t i;
    int64_t l;

    if (o->type == OPTION_INT) {
        memcpy(&i, field, sizeof i);
        return i;
    }
    ASSERT(o->type == OPTION_LONG);
    memcpy(&l, field, sizeof l);
    return l;
}

static void bring_into_limits(struct config *c)
{
    for (size_t i = 0; i < ARRAY_LEN(limits); i++) {
        const struct option *o = &rows[limits[i].option];
        int64_t given = number_at(c, o);
        int64_t used = i64_max(limits[i].least, i64_min(limits[i].most, given));
        char text[32];
        if (used == given || !config_is_given(c, limits[i].option))
            continue;
        (void)snprintf(text, sizeof text, "%" PRId64, used);
        MUST(optab_set(o, c, text, NULL) == ERR_OK);
        if (given >= 0) /* negative ones are a way to say none */
            SLOG(WARN, "config",
                 "value is outside the range that works here, the nearest one in it is used",
                 KV_S("option", o->name), KV_I("given", given), KV_I("used", used));
    }
}

/* The first must not be larger than the second. */
static const enum config_option ordered[][2] = {
    {CONFIG_log_cleaner_min_compaction_lag_ms, CONFIG_log_cleaner_max_compaction_lag_ms},
    {CONFIG_replica_fetch_wait_max_ms, CONFIG_replica_socket_timeout_ms},
    {CONFIG_replica_fetch_wait_max_ms, CONFIG_replica_lag_time_max_ms},
    {CONFIG_group_consumer_min_heartbeat_interval_ms, CONFIG_group_consumer_heartbeat_interval_ms},
    {CONFIG_group_consumer_heartbeat_interval_ms, CONFIG_group_consumer_max_heartbeat_interval_ms},
    {CONFIG_group_consumer_min_session_timeout_ms, CONFIG_group_consumer_session_timeout_ms},
    {CONFIG_group_consumer_session_timeout_ms, CONFIG_group_consumer_max_session_timeout_ms},
    {CONFIG_group_share_min_heartbeat_interval_ms, CONFIG_group_share_heartbeat_interval_ms},
    {CONFIG_group_share_heartbeat_interval_ms, CONFIG_group_share_max_heartbeat_interval_ms},
    {CONFIG_group_share_min_session_timeout_ms, CONFIG_group_share_session_timeout_ms},
    {CONFIG_group_share_session_timeout_ms, CONFIG_group_share_max_session_timeout_ms},
    {CONFIG_group_share_min_record_lock_duration_ms, CONFIG_group_share_record_lock_duration_ms},
    {CONFIG_group_share_record_lock_duration_ms, CONFIG_group_share_max_record_lock_duration_ms},
};

static enum err check_order(const struct config *c, struct errtext *why)
{
    for (size_t i = 0; i < ARRAY_LEN(ordered); i++) {
        const struct option *a = &rows[ordered[i][0]], *b = &rows[ordered[i][1]];
        int64_t x = number_at(c, a), y = number_at(c, b);
        if (x <= y)
            continue;
        errtext_set(why, "%s (%" PRId64 ") must not be larger than %s (%" PRId64 ")", a->name, x,
                    b->name, y);
        return ERR_INVALID;
    }
    return ERR_OK;
}

static enum err check_together(const struct config *c, struct errtext *why)
{
    enum err rc = check_promises(c, why);

    if (rc != ERR_OK)
        return rc;
    if (c->zookeeper_connect == NULL || c->zookeeper_connect[0] == 0)
        return refuse(why, "zookeeper.connect is needed: host:port,host:port, with /path for a "
                           "chroot at the end");
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
    if (c->log_cleaner_threads == 0)
        return refuse(why, "log.cleaner.threads must be at least 1; log.cleaner.enable=false stops "
                           "compaction");
    if (c->log_cleaner_dedupe_buffer_size / c->log_cleaner_threads <= 1 << 20)
        return refuse(why, "log.cleaner.dedupe.buffer.size must be more than 1048576 for each of "
                           "log.cleaner.threads");
    if (c->security_inter_broker_protocol != NULL &&
        config_is_given(c, CONFIG_security_inter_broker_protocol) &&
        config_is_given(c, CONFIG_inter_broker_listener_name))
        return refuse(why, "only one of inter.broker.listener.name and "
                           "security.inter.broker.protocol can be set");
    if (config_is_given(c, CONFIG_node_id) && config_is_given(c, CONFIG_broker_id) &&
        c->node_id != c->broker_id)
        return refuse(why, "node.id is another name of broker.id: both must be the same");
    if (c->offsets_commit_required_acks > c->offsets_topic_replication_factor)
        return refuse(why, "offsets.commit.required.acks must not be larger than "
                           "offsets.topic.replication.factor");
    if (c->max_connections_per_ip == 0 && c->max_connections_per_ip_overrides.count == 0)
        return refuse(why, "max.connections.per.ip=0 needs max.connections.per.ip.overrides, or "
                           "nobody could connect");
    int64_t queued = strtoll(config_text(c, &rows[CONFIG_queued_max_request_bytes]), NULL, 10);
    if (queued > 0 && queued < c->socket_request_max_bytes)
        return refuse(why, "queued.max.request.bytes must be at least socket.request.max.bytes");
    if (c->connections_max_idle_ms >= 0 &&
        c->connections_max_idle_ms <= c->connection_failed_authentication_delay_ms)
        return refuse(why, "connections.max.idle.ms must be larger than "
                           "connection.failed.authentication.delay.ms");
    return check_order(c, why);
}

enum err config_finish(struct config *c, struct errtext *why)
{
    ASSERT(!c->is_finished);
    map_old_names(c);
    bring_into_limits(c);
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
        if (o != NULL && (o->flags & OPTION_STOPS) != 0)
            SLOG(WARN, "config",
                 "an option set in ZooKeeper is not possible in this version and has no effect",
                 KV_S("option", o->name), KV_S("why", o->why));
        else if (o == NULL)
            warn_unknown(p->list[i].key);
        else if ((o->flags & OPTION_DYNAMIC) == 0)
            SLOG(WARN, "config",
                 "an option set in ZooKeeper cannot be changed while the broker runs, and has no "
                 "effect",
                 KV_S("option", p->list[i].key));
        else if (set_option(c, o, p->list[i].value, source, &why) != ERR_OK)
            SLOG(WARN, "config", "an option set in ZooKeeper is not valid and has no effect",
                 KV_S("error", why.text));
    }
}

static struct config *config_static_copy(const struct config *base)
{
    struct config *c = config_new();

    for (size_t i = 0; i < CONFIG_OPTION_COUNT; i++)
        if (config_text_of(base, &rows[i], CONFIG_SOURCE_STATIC) != NULL)
            MUST(set_option(c, &rows[i], config_text_of(base, &rows[i], CONFIG_SOURCE_STATIC),
                            CONFIG_SOURCE_STATIC, NULL) == ERR_OK);
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
        SLOG(WARN, "config",
             "the options set in ZooKeeper are not valid together, none of them has an effect",
             KV_S("error", why.text));
        config_free(&c);
        c = config_static_copy(base);
        MUST(config_finish(c, NULL) == ERR_OK); /* the start had accepted these */
    }
    c->broker_id = base->broker_id; /* may have been generated */
    return c;
}

enum err config_check_dynamic(const struct config *base, const struct props *dynamic,
                              struct errtext *why)
{
    struct config *c = config_static_copy(base);

    for (size_t i = 0; i < dynamic->count; i++) {
        const struct option *o = optab_find(&config_options, str_of(dynamic->list[i].key));
        struct errtext ignored;
        if (o != NULL && (o->flags & (OPTION_DYNAMIC | OPTION_STOPS)) == OPTION_DYNAMIC)
            (void)set_option(c, o, dynamic->list[i].value, CONFIG_SOURCE_DYNAMIC_BROKER, &ignored);
    }
    enum err rc = config_finish(c, why);
    config_free(&c);
    return rc;
}

/* Numbers of threads change to half or double at most, in Kafka. */
static enum err check_threads(const struct config *c, const struct option *o, int64_t wanted,
                              struct errtext *why)
{
    int64_t now = number_at(c, o);

    if (wanted == now || (wanted >= 1 && wanted >= now / 2 && wanted <= now * 2))
        return ERR_OK;
    errtext_set(why, "%s is %" PRId64 " now: in one step it may become %" PRId64 " to %" PRId64,
                o->name, now, i64_max(1, now / 2), now * 2);
    return ERR_INVALID;
}

enum err config_check_change(const struct config *c, const struct option *o, const char *value,
                             struct errtext *why)
{
    enum err rc = optab_check(o, value, why);

    if (rc != ERR_OK)
        return rc;
    size_t i = index_of(o);
    if ((o->flags & OPTION_STOPS) != 0 && !option_is_default(o, value)) {
        errtext_set(why, "%s=%s is not possible: %s", o->name,
                    o->type == OPTION_PASSWORD ? "..." : value, o->why);
        return ERR_INVALID;
    }
    if (i == CONFIG_background_threads || i == CONFIG_log_cleaner_threads)
        return check_threads(c, o, strtoll(value, NULL, 10), why);
    if ((i == CONFIG_max_connections || i == CONFIG_max_connection_creation_rate) &&
        strtoll(value, NULL, 10) < 1) {
        errtext_set(why, "%s=%s is not allowed while the broker runs: it must be at least 1",
                    o->name, value);
        return ERR_INVALID;
    }
    return ERR_OK;
}
