/* SPDX-License-Identifier: Apache-2.0 */
/* Topic configs are parsed into a struct of their own by the option table, then become a
 * log_config. */
#include "broker/config/topic_config.h"

#include "common/base/slog.h"

#include <stdio.h>
#include <strings.h>

struct topic_values {
    struct optab_list cleanup_policy, leader_throttled, follower_throttled;
    char *compression_type, *message_timestamp_type, *message_format_version;
    int32_t gzip_level, lz4_level, zstd_level;
    int64_t delete_retention_ms, min_compaction_lag_ms, max_compaction_lag_ms, file_delete_delay_ms;
    int64_t flush_messages, flush_ms, timestamp_before_max_ms, timestamp_after_max_ms,
        timestamp_difference_max_ms;
    int64_t retention_bytes, retention_ms, segment_ms, segment_jitter_ms, local_retention_ms,
        local_retention_bytes;
    double min_cleanable_dirty_ratio;
    int32_t index_interval_bytes, segment_index_bytes, max_message_bytes, min_insync_replicas,
        segment_bytes;
    bool downconversion_enable, unclean_leader_election_enable, preallocate, remote_storage_enable,
        remote_copy_disable, remote_delete_on_disable;
};

/* clang-format off */
#define AT(f) offsetof(struct topic_values, f)
#define NUM(f, n, type, def, min, max, help, ...) {{n, type, def, min, max, NULL, 0, help, AT(f)}, {__VA_ARGS__}},
#define TEXT(f, n, type, def, choices, help, ...) {{n, type, def, 0, 0, choices, 0, help, AT(f)}, {__VA_ARGS__}},
#define LONG_MAX_TEXT "9223372036854775807"
const struct topic_option topic_options[] = {
TEXT(cleanup_policy, "cleanup.policy", OPT_LIST, "delete", "delete|compact", "What happens to old records: delete, compact, or both", "log.cleanup.policy")
NUM(gzip_level, "compression.gzip.level", OPT_INT, "-1", -1, 9, "Level when the broker compresses with gzip", "compression.gzip.level")
NUM(lz4_level, "compression.lz4.level", OPT_INT, "9", 1, 17, "Level of lz4", "compression.lz4.level")
TEXT(compression_type, "compression.type", OPT_STRING, "producer", "uncompressed|zstd|lz4|snappy|gzip|producer", "The codec of stored batches; producer: as they came", "compression.type")
NUM(zstd_level, "compression.zstd.level", OPT_INT, "3", -131072, 22, "Level of zstd", "compression.zstd.level")
NUM(delete_retention_ms, "delete.retention.ms", OPT_LONG, "86400000", 0, INT64_MAX, "How long a delete marker stays in a compacted log", "log.cleaner.delete.retention.ms")
NUM(file_delete_delay_ms, "file.delete.delay.ms", OPT_LONG, "60000", 0, INT64_MAX, "How long a removed segment stays on the disk", "log.segment.delete.delay.ms")
NUM(flush_messages, "flush.messages", OPT_LONG, LONG_MAX_TEXT, 1, INT64_MAX, "Records after which the partition is flushed", "log.flush.interval.messages")
NUM(flush_ms, "flush.ms", OPT_LONG, LONG_MAX_TEXT, 0, INT64_MAX, "Time after which the partition is flushed", "log.flush.interval.ms", "log.flush.scheduler.interval.ms")
TEXT(follower_throttled, "follower.replication.throttled.replicas", OPT_LIST, "", NULL, "Followers whose replication is throttled: partition:broker,... or *", NULL)
NUM(index_interval_bytes, "index.interval.bytes", OPT_INT, "4096", 0, INT32_MAX, "An index entry each that many bytes", "log.index.interval.bytes")
TEXT(leader_throttled, "leader.replication.throttled.replicas", OPT_LIST, "", NULL, "Leaders whose replication is throttled: partition:broker,... or *", NULL)
NUM(local_retention_bytes, "local.retention.bytes", OPT_LONG, "-2", -2, INT64_MAX, "Of tiered storage", "log.local.retention.bytes")
NUM(local_retention_ms, "local.retention.ms", OPT_LONG, "-2", -2, INT64_MAX, "Of tiered storage", "log.local.retention.ms")
NUM(max_compaction_lag_ms, "max.compaction.lag.ms", OPT_LONG, LONG_MAX_TEXT, 1, INT64_MAX, "Records stay uncompacted at most that long", "log.cleaner.max.compaction.lag.ms")
NUM(max_message_bytes, "max.message.bytes", OPT_INT, "1048588", 0, INT32_MAX, "The largest record batch", "message.max.bytes")
NUM(downconversion_enable, "message.downconversion.enable", OPT_BOOL, "true", 0, 0, "Serve old clients by converting to their formats", "log.message.downconversion.enable")
TEXT(message_format_version, "message.format.version", OPT_STRING, "3.0-IV1", NULL, "Ignored: the format is always v2", "log.message.format.version")
NUM(timestamp_after_max_ms, "message.timestamp.after.max.ms", OPT_LONG, LONG_MAX_TEXT, 0, INT64_MAX, "How much newer than now a timestamp may be", "log.message.timestamp.after.max.ms")
NUM(timestamp_before_max_ms, "message.timestamp.before.max.ms", OPT_LONG, LONG_MAX_TEXT, 0, INT64_MAX, "How much older than now a timestamp may be", "log.message.timestamp.before.max.ms")
NUM(timestamp_difference_max_ms, "message.timestamp.difference.max.ms", OPT_LONG, LONG_MAX_TEXT, 0, INT64_MAX, "Old name of both", "log.message.timestamp.difference.max.ms")
TEXT(message_timestamp_type, "message.timestamp.type", OPT_STRING, "CreateTime", "CreateTime|LogAppendTime", "Timestamps of records: the producer's or the time of the append", "log.message.timestamp.type")
NUM(min_cleanable_dirty_ratio, "min.cleanable.dirty.ratio", OPT_DOUBLE, "0.5", 0, 1000, "The log is compacted when that part of it is new", "log.cleaner.min.cleanable.ratio")
NUM(min_compaction_lag_ms, "min.compaction.lag.ms", OPT_LONG, "0", 0, INT64_MAX, "Records stay uncompacted at least that long", "log.cleaner.min.compaction.lag.ms")
NUM(min_insync_replicas, "min.insync.replicas", OPT_INT, "1", 1, INT32_MAX, "acks=all is refused with fewer replicas in sync", "min.insync.replicas")
NUM(preallocate, "preallocate", OPT_BOOL, "false", 0, 0, "Reserve the disk space of a segment at once", "log.preallocate")
NUM(remote_copy_disable, "remote.log.copy.disable", OPT_BOOL, "false", 0, 0, "Of tiered storage", NULL)
NUM(remote_delete_on_disable, "remote.log.delete.on.disable", OPT_BOOL, "false", 0, 0, "Of tiered storage", NULL)
NUM(remote_storage_enable, "remote.storage.enable", OPT_BOOL, "false", 0, 0, "Of tiered storage", NULL)
NUM(retention_bytes, "retention.bytes", OPT_LONG, "-1", -1, INT64_MAX, "The largest size of a partition; -1: any", "log.retention.bytes")
NUM(retention_ms, "retention.ms", OPT_LONG, "604800000", -1, INT64_MAX, "How long records are kept; -1: for ever", "log.retention.ms", "log.retention.minutes", "log.retention.hours")
NUM(segment_bytes, "segment.bytes", OPT_INT, "1073741824", 14, INT32_MAX, "The size of a segment", "log.segment.bytes")
NUM(segment_index_bytes, "segment.index.bytes", OPT_INT, "10485760", 4, INT32_MAX, "The size of an index", "log.index.size.max.bytes")
NUM(segment_jitter_ms, "segment.jitter.ms", OPT_LONG, "0", 0, INT64_MAX, "Random time taken off segment.ms", "log.roll.jitter.ms", "log.roll.jitter.hours")
NUM(segment_ms, "segment.ms", OPT_LONG, "604800000", 1, INT64_MAX, "After that time a new segment begins", "log.roll.ms", "log.roll.hours")
NUM(unclean_leader_election_enable, "unclean.leader.election.enable", OPT_BOOL, "false", 0, 0, "May a replica that is not in sync become leader? It may lose acknowledged records", "unclean.leader.election.enable")
};
/* clang-format on */
const size_t topic_option_count = ARRAY_LEN(topic_options);

const struct topic_option *topic_option_find(struct str name)
{
    for (size_t i = 0; i < topic_option_count; i++)
        if (str_eq_z(name, topic_options[i].option.name))
            return &topic_options[i];
    return NULL;
}

enum err topic_config_check(const char *name, const char *value, struct errtext *why)
{
    const struct topic_option *o = topic_option_find(str_of(name));

    if (o == NULL) {
        errtext_set(why, "unknown topic config name: %s", name);
        return ERR_INVALID;
    }
    return optab_check(&o->option, value, why);
}

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

const char *topic_config_default(const struct config *c, const struct topic_option *o,
                                 enum config_source *source_out, const char **synonym_out)
{
    static _Thread_local char number[32];
    const struct option *broker = NULL;

    *source_out = CONFIG_SOURCE_DEFAULT;
    *synonym_out = o->synonyms[0];
    for (size_t i = 0; i < ARRAY_LEN(o->synonyms) && o->synonyms[i] != NULL; i++) {
        broker = optab_find(&config_options, str_of(o->synonyms[i]));
        ASSERT(broker != NULL);
        if (config_source_of(c, broker) == CONFIG_SOURCE_DEFAULT)
            continue;
        *source_out = config_source_of(c, broker);
        *synonym_out = o->synonyms[i];
        break;
    }
    if (broker == NULL)
        return o->option.default_text;
    const char *text = computed(c, o->option.name, number, sizeof number);
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
    *out = (struct log_config){.segment_bytes = v->segment_bytes,
                               .segment_ms = v->segment_ms,
                               .segment_jitter_ms = v->segment_jitter_ms,
                               .retention_bytes = v->retention_bytes,
                               .retention_ms = v->retention_ms,
                               .flush_messages = v->flush_messages,
                               .flush_ms = v->flush_ms,
                               .file_delete_delay_ms = v->file_delete_delay_ms,
                               .delete_retention_ms = v->delete_retention_ms,
                               .min_compaction_lag_ms = v->min_compaction_lag_ms,
                               .max_compaction_lag_ms = v->max_compaction_lag_ms,
                               .timestamp_before_max_ms = v->timestamp_before_max_ms != INT64_MAX
                                                              ? v->timestamp_before_max_ms
                                                              : v->timestamp_difference_max_ms,
                               .timestamp_after_max_ms = v->timestamp_after_max_ms != INT64_MAX
                                                             ? v->timestamp_after_max_ms
                                                             : v->timestamp_difference_max_ms,
                               .min_cleanable_dirty_ratio = v->min_cleanable_dirty_ratio,
                               .max_message_bytes = v->max_message_bytes,
                               .index_interval_bytes = v->index_interval_bytes,
                               .segment_index_bytes = v->segment_index_bytes,
                               .min_insync_replicas = v->min_insync_replicas,
                               .compression_type = codec_of(v->compression_type),
                               .is_compact = has_item(&v->cleanup_policy, "compact"),
                               .is_delete = has_item(&v->cleanup_policy, "delete"),
                               .is_log_append_time =
                                   strcasecmp(v->message_timestamp_type, "LogAppendTime") == 0,
                               .preallocate = v->preallocate,
                               .unclean_leader_election = v->unclean_leader_election_enable,
                               .downconversion_enable = v->downconversion_enable};
}

static void values_default(const struct config *c, struct topic_values *v)
{
    memset(v, 0, sizeof *v);
    for (size_t i = 0; i < topic_option_count; i++) {
        enum config_source source;
        const char *synonym;
        const char *text = topic_config_default(c, &topic_options[i], &source, &synonym);
        if (optab_set(&topic_options[i].option, v, text, NULL) != ERR_OK)
            MUST(optab_set(&topic_options[i].option, v, topic_options[i].option.default_text,
                           NULL) == ERR_OK);
    }
}

static void values_fini(struct topic_values *v)
{
    for (size_t i = 0; i < topic_option_count; i++) {
        struct optab one = {&topic_options[i].option, 1};
        optab_fini(&one, v);
    }
}

static enum err apply(struct topic_values *v, const struct topic_override *o, struct errtext *why)
{
    const struct topic_option *t = topic_option_find(str_of(o->name));

    if (t == NULL) {
        errtext_set(why, "unknown topic config name: %s", o->name);
        return ERR_INVALID;
    }
    return optab_set(&t->option, v, o->value, why);
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
    if (v->remote_storage_enable) {
        errtext_set(why, "remote.storage.enable=true is not possible: there is no tiered storage");
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
    values_fini(&v);
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
            SLOG(WARN, "config", "stored topic config is ignored", KV_STR("topic", topic),
                 KV_S("error", why.text));
    to_log_config(&v, out);
    if (str_eq_z(topic, "__consumer_offsets"))
        out->early_roll_bytes = c->kafuka_offsets_compact_bytes;
    values_fini(&v);
}
