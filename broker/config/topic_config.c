/* SPDX-License-Identifier: Apache-2.0 */
/* Topic configs are parsed into struct topic_values by their table, then become a log_config. */
#include "broker/config/topic_config.h"

#include "common/base/slog.h"

#include <stdio.h>
#include <strings.h>

/* The broker's value where it is not simply the text of the first synonym. NULL: it is. */
static const char *computed(const struct config *c, const char *name, char *out, size_t out_size)
{
    int64_t v;

    if (strcmp(name, "retention.ms") == 0)
        v = c->log_retention_ms;
    else if (strcmp(name, "segment.ms") == 0)
        v = c->log_roll_ms;
    else if (strcmp(name, "segment.jitter.ms") == 0)
        v = c->log_roll_jitter_ms;
    else if (strcmp(name, "flush.ms") == 0)
        v = c->log_flush_interval_ms;
    else
        return NULL;
    (void)snprintf(out, out_size, "%" PRId64, v);
    return out;
}

const char *topic_config_default(const struct config *c, const struct option *o,
                                 enum config_source *source_out)
{
    static _Thread_local char number[32];
    const char *const *names = topic_option_broker_names(o);
    const struct option *broker = NULL;

    *source_out = CONFIG_SOURCE_DEFAULT;
    for (size_t i = 0; names[i] != NULL && *source_out == CONFIG_SOURCE_DEFAULT; i++) {
        broker = optab_find(&config_options, str_of(names[i]));
        ASSERT(broker != NULL);
        *source_out = config_source_of(c, broker);
    }
    if (broker == NULL)
        return o->default_text;
    const char *text = computed(c, o->name, number, sizeof number);
    return text != NULL ? text : config_text(c, broker);
}

static int8_t codec_of(const char *name)
{
    static const char *const names[] = {"uncompressed", "gzip", "snappy", "lz4", "zstd"};

    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (strcasecmp(name, names[i]) == 0)
            return (int8_t)i;
    return -1;
}

static bool has_item(const struct optab_list *l, const char *item)
{
    for (int32_t i = 0; i < l->count; i++)
        if (strcmp(l->items[i], item) == 0)
            return true;
    return false;
}

static void to_log_config(const struct topic_values *v, struct log_config *out)
{
    *out = (struct log_config){
        .segment_bytes = v->segment_bytes,
        .segment_ms = v->segment_ms,
        .segment_jitter_ms = v->segment_jitter_ms,
        .retention_bytes = i64_max(v->retention_bytes, -1),
        .retention_ms = v->retention_ms,
        .flush_messages = v->flush_messages,
        .flush_ms = v->flush_ms,
        .file_delete_delay_ms = v->file_delete_delay_ms,
        .delete_retention_ms = v->delete_retention_ms,
        .min_compaction_lag_ms = v->min_compaction_lag_ms,
        .max_compaction_lag_ms = v->max_compaction_lag_ms,
        .timestamp_before_max_ms = v->message_timestamp_before_max_ms != INT64_MAX
                                       ? v->message_timestamp_before_max_ms
                                       : v->message_timestamp_difference_max_ms,
        .timestamp_after_max_ms = v->message_timestamp_after_max_ms != INT64_MAX
                                      ? v->message_timestamp_after_max_ms
                                      : v->message_timestamp_difference_max_ms,
        .min_cleanable_dirty_ratio = v->min_cleanable_dirty_ratio,
        .max_message_bytes = v->max_message_bytes,
        .index_interval_bytes = v->index_interval_bytes,
        .segment_index_bytes = v->segment_index_bytes,
        .min_insync_replicas = v->min_insync_replicas,
        .compression_type = codec_of(v->compression_type),
        .is_compact = has_item(&v->cleanup_policy, "compact"),
        .is_delete = has_item(&v->cleanup_policy, "delete"),
        .is_log_append_time = strcasecmp(v->message_timestamp_type, "LogAppendTime") == 0,
        .preallocate = v->preallocate,
        .unclean_leader_election = v->unclean_leader_election_enable,
        .downconversion_enable = v->message_downconversion_enable};
}

static void values_default(const struct config *c, struct topic_values *v)
{
    memset(v, 0, sizeof *v);
    for (size_t i = 0; i < topic_options.count; i++) {
        const struct option *o = &topic_options.rows[i];
        enum config_source source;
        if (optab_set(o, v, topic_config_default(c, o, &source), NULL) != ERR_OK)
            MUST(optab_set(o, v, o->default_text, NULL) == ERR_OK);
    }
}

static enum err apply(struct topic_values *v, const struct topic_override *o, struct errtext *why)
{
    enum err rc = topic_option_check(o->name, o->value, why);

    return rc != ERR_OK ? rc
                        : optab_set(optab_find(&topic_options, str_of(o->name)), v, o->value, why);
}

static enum err check_together(const struct topic_values *v, struct errtext *why)
{
    if (v->min_compaction_lag_ms > v->max_compaction_lag_ms) {
        errtext_set(why,
                    "conflict: min.compaction.lag.ms (%" PRId64
                    ") is larger than max.compaction.lag.ms (%" PRId64 ")",
                    v->min_compaction_lag_ms, v->max_compaction_lag_ms);
        return ERR_INVALID;
    }
    return ERR_OK;
}

enum err topic_config_make(const struct config *c, const struct topic_override *overrides,
                           size_t count, struct log_config *out, struct errtext *why)
{
    struct topic_values v;
    enum err rc = ERR_OK;

    values_default(c, &v);
    for (size_t i = 0; i < count && rc == ERR_OK; i++)
        rc = apply(&v, &overrides[i], why);
    if (rc == ERR_OK)
        rc = check_together(&v, why);
    if (rc == ERR_OK)
        to_log_config(&v, out);
    optab_fini(&topic_options, &v);
    return rc;
}

void topic_config_make_lenient(const struct config *c, struct str topic,
                               const struct topic_override *overrides, size_t count,
                               struct log_config *out)
{
    struct topic_values v;
    struct errtext why;

    values_default(c, &v);
    for (size_t i = 0; i < count; i++)
        if (apply(&v, &overrides[i], &why) != ERR_OK)
            SLOG(WARN, "config", "a topic config in ZooKeeper is not valid and has no effect",
                 KV_STR("topic", topic), KV_S("error", why.text));
    to_log_config(&v, out);
    if (str_eq_z(topic, "__consumer_offsets"))
        out->early_roll_bytes = c->kafuka_offsets_compact_bytes;
    optab_fini(&topic_options, &v);
}
