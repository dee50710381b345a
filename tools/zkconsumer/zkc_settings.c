/* SPDX-License-Identifier: Apache-2.0 */
/* Every property by name. What is neither in the table nor librdkafka's is refused with the nearest
 * name; nothing is ignored silently. */
#include "tools/zkconsumer/zkc_settings.h"

#include "common/base/optab.h"

#include <stdio.h>

enum { DAY_MS = 86400000, HOUR_MS = 3600000 };

#define IN_ZOOKEEPER        "offsets are committed to ZooKeeper only"
#define AT(field)           WITHOUT(field, NULL)
#define WITHOUT(field, why) offsetof(struct zkc_settings, field), why, 0, 0
static const struct option rows[] = {
    {"group.id", OPTION_STRING, NULL, 0, 0, NULL, 0,
     "Name of the consumer group: letters, digits, '.', '_' and '-'", AT(group_id)},
    {"zookeeper.connect", OPTION_STRING, NULL, 0, 0, NULL, 0,
     "Addresses of the ZooKeeper servers: host:port[,host:port...][/chroot]",
     AT(zookeeper_connect)},
    {"zookeeper.session.timeout.ms", OPTION_LONG, "6000", 100, DAY_MS, NULL, 0,
     "Milliseconds after a member's death before its partitions go to others. A member that cannot "
     "reach ZooKeeper goes on for two thirds of this time",
     AT(session_timeout_ms)},
    {"zookeeper.connection.timeout.ms", OPTION_LONG, NULL, 1, DAY_MS, NULL, 0,
     "Milliseconds to wait for the first connection to ZooKeeper; not set: "
     "zookeeper.session.timeout.ms",
     AT(connection_timeout_ms)},
    {"zookeeper.sync.time.ms", OPTION_LONG, "2000", 1, DAY_MS, NULL, 0,
     "Milliseconds that rebalance.backoff.ms is when it is not set; nothing else reads it",
     AT(sync_time_ms)},
    {"rebalance.max.retries", OPTION_INT, "4", 0, INT32_MAX, NULL, 0,
     "Number of attempts to claim a partition that another member still owns, after which the "
     "attempts become eight times as rare; they never end",
     AT(max_retries)},
    {"rebalance.backoff.ms", OPTION_LONG, NULL, 1, DAY_MS, NULL, 0,
     "Milliseconds between two attempts to claim a partition that another member still owns; not "
     "set: zookeeper.sync.time.ms. The end of the owner's session is noticed at once",
     AT(backoff_ms)},
    {"auto.commit.enable", OPTION_BOOL, "true", 0, 0, NULL, 0,
     "Whether offsets are committed without a call: each auto.commit.interval.ms, when a partition "
     "moves, and when the member leaves",
     AT(auto_commit)},
    {"enable.auto.commit", OPTION_BOOL, "true", 0, 0, NULL, OPTION_OLD_NAME,
     "Another name of auto.commit.enable", AT(auto_commit)},
    {"auto.commit.interval.ms", OPTION_LONG, "60000", 1, DAY_MS, NULL, 0,
     "Milliseconds between two commits of offsets, with auto.commit.enable",
     AT(auto_commit_interval_ms)},
    {"auto.offset.reset", OPTION_STRING, "largest", 0, 0, "largest|smallest|latest|earliest",
     OPTION_ANY_CASE, "Where to begin in a partition that has no valid committed offset",
     AT(offset_reset)},
    {"consumer.timeout.ms", OPTION_LONG, "-1", -1, INT32_MAX, NULL, 0,
     "Milliseconds for which a stream waits for a record before it gives up; -1: for ever",
     AT(consumer_timeout_ms)},
    {"consumer.id", OPTION_STRING, NULL, 0, 0, NULL, 0,
     "Text that stands in the member's name in place of host, time and a random number",
     AT(consumer_id)},
    {"client.id", OPTION_STRING, NULL, 0, 0, NULL, 0,
     "Name that the brokers' logs show for this client; not set: group.id", AT(client_id)},
    {"exclude.internal.topics", OPTION_BOOL, "true", 0, 0, NULL, 0,
     "Whether topic filters leave out __consumer_offsets and __transaction_state",
     AT(exclude_internal)},
    {"partition.assignment.strategy", OPTION_STRING, "range", 0, 0, "range|roundrobin",
     OPTION_ANY_CASE,
     "Rule by which the partitions are shared out among the members; all members need the same",
     AT(strategy)},
    {"offsets.storage", OPTION_STRING, "zookeeper", 0, 0, "zookeeper", OPTION_ANY_CASE,
     "Where offsets are committed: only ZooKeeper is possible; for offsets in the brokers use a "
     "group of the brokers",
     AT(offsets_storage)},
    {"fetch.message.max.bytes", OPTION_LONG, "1048576", 1, 1000000000, NULL, 0,
     "Largest number of bytes of one partition in the answer to a fetch request",
     AT(message_max_bytes)},
    {"fetch.min.bytes", OPTION_LONG, "1", 1, 100000000, NULL, 0,
     "Least number of bytes that a broker collects before it answers a fetch request, at most for "
     "fetch.wait.max.ms",
     AT(fetch_min_bytes)},
    {"fetch.wait.max.ms", OPTION_LONG, "100", 0, 300000, NULL, 0,
     "Largest number of milliseconds for which a broker waits until it has fetch.min.bytes",
     AT(fetch_wait_ms)},
    {"kafuka.assignment", OPTION_STRING, "ceil", 0, 0, "ceil|kafka", OPTION_ANY_CASE,
     "Arithmetic of the range strategy: ceil gives each thread ceil(partitions / threads), as long "
     "as all members know this rule; kafka is the rule of Kafka's own old consumer",
     AT(assignment)},
    {"kafuka.roundrobin.hash", OPTION_STRING, "topic-partition", 0, 0,
     "topic-partition|[topic,partition]", OPTION_ANY_CASE,
     "Text that the roundrobin strategy hashes: topic-partition as Kafka 1.0 and 1.1, "
     "[topic,partition] as Kafka 0.8 to 0.11",
     AT(hash_text)},
    {"kafuka.done.explicit", OPTION_BOOL, "false", 0, 0, NULL, 0,
     "Whether a record counts as done only after kafuka_zkc_done(), not with the next call",
     AT(done_explicit)},
    {"kafuka.drain.max.ms", OPTION_LONG, "1000", 0, HOUR_MS, NULL, 0,
     "Milliseconds for which a partition that goes to another member waits for its records in use "
     "here; those that are not done by then are handed out again there",
     AT(drain_max_ms)},
    {"kafuka.resync.ms", OPTION_LONG, "60000", 100, DAY_MS, NULL, 0,
     "Milliseconds after which the group is read again from ZooKeeper, whatever its watches say",
     AT(resync_ms)},
    {"kafuka.leave.max.ms", OPTION_LONG, "5000", 0, HOUR_MS, NULL, 0,
     "Milliseconds for which leaving the group waits for the last commits", AT(leave_max_ms)},
    {"kafuka.log.level", OPTION_STRING, "warn", 0, 0, "debug|info|warn|error", OPTION_ANY_CASE,
     "Least level of the lines that are logged", AT(log_level)},
    /* of the old consumer, without a meaning here */
    {"num.consumer.fetchers", OPTION_LONG, NULL, 1, INT32_MAX, NULL, OPTION_IGNORED,
     "Number of threads that fetch",
     WITHOUT(ignored_number, "one connection per broker is enough")},
    {"queued.max.message.chunks", OPTION_LONG, NULL, 1, INT32_MAX, NULL, OPTION_IGNORED,
     "Number of fetched chunks that wait for the application",
     WITHOUT(ignored_number, "librdkafka's queued.min.messages takes its place")},
    {"refresh.leader.backoff.ms", OPTION_LONG, NULL, 0, INT32_MAX, NULL, OPTION_IGNORED,
     "Milliseconds before the leader of a partition is looked for again",
     WITHOUT(ignored_number,
             "librdkafka's topic.metadata.refresh.fast.interval.ms takes its place")},
    {"dual.commit.enabled", OPTION_BOOL, NULL, 0, 0, NULL, OPTION_IGNORED,
     "Whether offsets are committed to ZooKeeper and to the brokers",
     WITHOUT(ignored_bool, IN_ZOOKEEPER)},
    {"offsets.channel.backoff.ms", OPTION_LONG, NULL, 0, INT32_MAX, NULL, OPTION_IGNORED,
     "Milliseconds between two attempts to reach the group's broker",
     WITHOUT(ignored_number, IN_ZOOKEEPER)},
    {"offsets.channel.socket.timeout.ms", OPTION_LONG, NULL, 0, INT32_MAX, NULL, OPTION_IGNORED,
     "Milliseconds for which an answer of the group's broker is waited for",
     WITHOUT(ignored_number, IN_ZOOKEEPER)},
    {"offsets.commit.max.retries", OPTION_LONG, NULL, 0, INT32_MAX, NULL, OPTION_IGNORED,
     "Number of attempts to commit offsets to the brokers", WITHOUT(ignored_number, IN_ZOOKEEPER)},
};
static const struct optab table = {rows, ARRAY_LEN(rows)};

/* What of librdkafka's makes sense here; the rest (groups, producers) would have no effect. */
static const char *const passed[] = {
    "security.",
    "ssl.",
    "sasl.",
    "socket.",
    "broker.",
    "reconnect.",
    "metadata.",
    "topic.metadata.",
    "queued.",
    "fetch.",
    "api.",
    "client.rack",
    "check.crcs",
    "debug",
    "isolation.level",
    "enable.ssl",
    "enable.sasl",
    "message.max.bytes",
    "receive.message.max.bytes",
    "max.in.flight",
    "resolve.",
    "connections.max.idle.ms",
};

/* What librdkafka does otherwise than it suits us; a property of the same name wins. */
static const char *const defaults[][2] = {
    {"fetch.error.backoff.ms", "50"},
    {"allow.auto.create.topics", "false"},
    {"topic.metadata.refresh.fast.interval.ms", "100"},
    /* new partitions and topics are heard of from ZooKeeper; this is how soon librdkafka knows */
    {"topic.metadata.refresh.interval.ms", "10000"},
    {"reconnect.backoff.ms", "50"},
    {"reconnect.backoff.max.ms", "1000"},
    /* over this many (of a stream) it stops fetching, and looks again only a second later; the
     * 64 MiB of a partition (queued.max.messages.kbytes) are what bounds the memory */
    {"queued.min.messages", "1000000"},
};

void zkc_settings_init(struct zkc_settings *s)
{
    char text[256];

    optab_defaults(&table, s);
    s->rk = rd_kafka_conf_new();
    for (size_t i = 0; i < ARRAY_LEN(defaults); i++)
        MUST(rd_kafka_conf_set(s->rk, defaults[i][0], defaults[i][1], text, sizeof text) ==
             RD_KAFKA_CONF_OK);
}

void zkc_settings_fini(struct zkc_settings *s)
{
    optab_fini(&table, s);
    if (s->rk != NULL)
        rd_kafka_conf_destroy(s->rk);
    s->rk = NULL;
}

static bool is_passed(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(passed); i++)
        if (strncmp(name, passed[i], strlen(passed[i])) == 0)
            return true;
    return false;
}

enum err zkc_settings_set(struct zkc_settings *s, const char *name, const char *value,
                          struct errtext *why)
{
    const struct option *o = optab_find(&table, str_of(name));
    char text[512];

    if (o != NULL && (o->flags & OPTION_IGNORED) != 0) {
        errtext_set(why, "the property %s has no effect here: %s", name, o->help);
        return ERR_NOT_FOUND;
    }
    if (o != NULL)
        return optab_set(o, s, value, why);
    if (strcmp(name, "bootstrap.servers") == 0 || strcmp(name, "metadata.broker.list") == 0) {
        errtext_set(why, "%s: the brokers are found in ZooKeeper", name);
        return ERR_UNSUPPORTED;
    }
    if (is_passed(name)) {
        switch (rd_kafka_conf_set(s->rk, name, value, text, sizeof text)) {
        case RD_KAFKA_CONF_OK:
            return ERR_OK;
        case RD_KAFKA_CONF_INVALID:
            errtext_set(why, "%s=%.100s: %s", name, value, text);
            return ERR_INVALID;
        case RD_KAFKA_CONF_UNKNOWN:
            break;
        }
    }
    o = optab_nearest(&table, name);
    errtext_set(why, "the property '%.100s' is not known%s%s%s", name,
                o == NULL ? "" : "; did you mean '", o == NULL ? "" : o->name,
                o == NULL ? "" : "'?");
    return ERR_NOT_FOUND;
}

/* As Kafka checks group and client ids. */
static bool is_legal(const char *id)
{
    for (const char *p = id; *p != 0; p++)
        if (strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-", *p) == NULL)
            return false;
    return id[0] != 0 && strcmp(id, ".") != 0 && strcmp(id, "..") != 0;
}

static enum err check_ids(const struct zkc_settings *s, struct errtext *why)
{
    const char *const ids[][2] = {
        {"group.id", s->group_id}, {"client.id", s->client_id}, {"consumer.id", s->consumer_id}};

    for (size_t i = 0; i < ARRAY_LEN(ids); i++)
        if (ids[i][1] != NULL && !is_legal(ids[i][1])) {
            errtext_set(why, "%s=%.100s: only letters, digits, '.', '_' and '-' are allowed",
                        ids[i][0], ids[i][1]);
            return ERR_INVALID;
        }
    if (s->group_id == NULL || s->zookeeper_connect == NULL) {
        errtext_set(why, "%s must be set", s->group_id == NULL ? "group.id" : "zookeeper.connect");
        return ERR_INVALID;
    }
    return ERR_OK;
}

static enum err give_librdkafka(struct zkc_settings *s, struct errtext *why)
{
    char numbers[3][24], text[512];
    const char *const pairs[][2] = {
        {"client.id", s->client_id != NULL ? s->client_id : s->group_id},
        {"fetch.message.max.bytes", numbers[0]},
        {"fetch.min.bytes", numbers[1]},
        {"fetch.wait.max.ms", numbers[2]},
    };

    (void)snprintf(numbers[0], sizeof numbers[0], "%" PRId64, s->message_max_bytes);
    (void)snprintf(numbers[1], sizeof numbers[1], "%" PRId64, s->fetch_min_bytes);
    (void)snprintf(numbers[2], sizeof numbers[2], "%" PRId64, s->fetch_wait_ms);
    for (size_t i = 0; i < ARRAY_LEN(pairs); i++)
        if (rd_kafka_conf_set(s->rk, pairs[i][0], pairs[i][1], text, sizeof text) !=
            RD_KAFKA_CONF_OK) {
            errtext_set(why, "%s=%.100s: %s", pairs[i][0], pairs[i][1], text);
            return ERR_INVALID;
        }
    return ERR_OK;
}

enum err zkc_settings_finish(struct zkc_settings *s, struct errtext *why)
{
    enum err rc = check_ids(s, why);

    if (rc != ERR_OK)
        return rc;
    if (s->connection_timeout_ms < 0)
        s->connection_timeout_ms = s->session_timeout_ms;
    if (s->backoff_ms < 0)
        s->backoff_ms = s->sync_time_ms;
    return give_librdkafka(s, why);
}

void zkc_settings_help(struct buf *out)
{
    optab_help(&table, out);
}
