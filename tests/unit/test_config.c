/* SPDX-License-Identifier: Apache-2.0 */
/* Properties files, the option tables, what several options say together, topic configs. */
#include "broker/config/config.h"
#include "broker/server/listener.h"
#include "broker/config/topic_config.h"
#include "common/base/fsx.h"
#include "common/base/slog.h"

#include <check.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* ---- properties */

static const struct {
    const char *text, *key, *value;
} good[] = {
    {"a=b", "a", "b"},
    {"a = b ", "a", "b "},
    {"  a:b\n", "a", "b"},
    {"a b", "a", "b"},
    {"a", "a", ""},
    {"a=\n", "a", ""},
    {"# c\n! d\n\n\r\n \t\na=b", "a", "b"},
    {"a=b\\\n   c", "a", "bc"},
    {"a=b\\\r\n\tc\nd=e", "d", "e"},
    {"a=b\\\\\nd=e", "a", "b\\"},
    {"a\\=b=c", "a=b", "c"},
    {"a\\ b=c\\td\\n\\q", "a b", "c\td\nq"},
    {"a=\\u00e4\\u20AC", "a", "\xc3\xa4\xe2\x82\xac"},
    {"a=b=c:d", "a", "b=c:d"},
    {"a=1\ra=2", "a", "2"},
    {"a=x#y", "a", "x#y"},
    {"a=b\\", "a", "b"},
};

START_TEST(a_properties_file_is_read_as_java_does)
{
    struct props p = {0};
    struct errtext why;

    ck_assert_int_eq(props_parse(&p, str_of(good[_i].text), &why), ERR_OK);
    const struct prop *q = props_find(&p, good[_i].key);
    ck_assert_ptr_nonnull(q);
    ck_assert_str_eq(q->value, good[_i].value);
    props_fini(&p);
}
END_TEST

static const struct {
    const char *text, *why;
} bad[] = {{"a=b\nc=\\u00g0", "line 2: a bad \\u escape"},
           {"\n\n=x", "line 3: no key before the separator"},
           {"a=\\u12", "line 1: a bad \\u escape"},
           {"a=\\u0000", "line 1: a bad \\u escape"}};

START_TEST(a_fault_names_the_line)
{
    struct props p = {0};
    struct errtext why;

    ck_assert_int_eq(props_parse(&p, str_of(bad[_i].text), &why), ERR_INVALID);
    ck_assert_str_eq(why.text, bad[_i].why);
    props_fini(&p);
}
END_TEST

START_TEST(any_bytes_are_parsed_without_harm)
{
    srand(3);
    for (int round = 0; round < 3000; round++) {
        char text[40];
        struct props p = {0};
        struct errtext why;
        int n = rand() % 40;
        for (int i = 0; i < n; i++)
            text[i] = "a=: \\\n\r#u0\t!x"[rand() % 13];
        char *copy = malloc((size_t)n + 1);
        memcpy(copy, text, (size_t)n);
        enum err rc = props_parse(&p, (struct str){copy, n}, &why);
        ck_assert(rc == ERR_OK || rc == ERR_INVALID);
        free(copy);
        props_fini(&p);
    }
}
END_TEST

/* ---- options */

/* A help text is a sentence of its own, and what has no effect says why. */
static void describes_itself(const struct option *o)
{
    unsigned state = o->flags & (OPTION_NOT_YET | OPTION_IGNORED | OPTION_STOPS);

    ck_assert_msg(strlen(o->help) > 20 && o->help[strlen(o->help) - 1] != '.', "%s", o->name);
    ck_assert_msg(o->help[0] >= 'A' && o->help[0] <= 'Z', "%s", o->name);
    ck_assert_msg(strstr(o->help, "The same") == NULL && strstr(o->help, "Old name") == NULL, "%s",
                  o->name);
    ck_assert_msg((state & (state - 1)) == 0, "%s: one state only", o->name);
    ck_assert_msg((state == 0) == (o->why == NULL), "%s", o->name);
}

START_TEST(every_default_is_allowed_and_every_name_is_there_once)
{
    struct config *c = config_new();
    struct errtext why;

    for (size_t i = 0; i < config_options.count; i++) {
        const struct option *o = &config_options.rows[i];
        ck_assert_ptr_eq(optab_find(&config_options, str_of(o->name)), o);
        describes_itself(o);
    }
    for (size_t i = 0; i < topic_options.count; i++) {
        const struct option *o = &topic_options.rows[i];
        ck_assert_ptr_eq(optab_find(&topic_options, str_of(o->name)), o);
        describes_itself(o);
        ck_assert_int_eq(optab_check(o, o->default_text, &why), ERR_OK);
        for (const char *const *name = topic_option_broker_names(o); *name != NULL; name++) {
            const struct option *broker = optab_find(&config_options, str_of(*name));
            ck_assert_msg(broker != NULL, "%s", *name);
            ck_assert_msg(option_has_effect(broker) == option_has_effect(o), "%s", *name);
        }
    }
    ck_assert_int_eq(c->num_network_threads, 3);
    ck_assert_int_eq(c->log_segment_bytes, 1073741824);
    ck_assert_str_eq(c->compression_type, "producer");
    ck_assert_int_eq(c->listener_security_protocol_map.count, 4);
    config_free(&c);
}
END_TEST

static const struct {
    const char *name, *value, *why; /* why NULL: allowed */
} values[] = {
    {"num.network.threads", " 4 ", NULL},
    {"num.network.threads", "0",
     "num.network.threads=0 is not allowed: it must be a whole number from 1 on"},
    {"num.network.threads", "4x", ""},
    {"num.network.threads", "", ""},
    {"num.network.threads", "99999999999999999999", ""},
    {"auto.create.topics.enable", "TRUE", NULL},
    {"auto.create.topics.enable", "yes",
     "auto.create.topics.enable=yes is not allowed: it must be true or false"},
    {"compression.type", "lz4", NULL},
    {"compression.type", "brotli", ""},
    {"log.cleanup.policy", "compact, delete", NULL},
    {"log.cleanup.policy", "compact,shred", ""},
    {"log.cleaner.min.cleanable.ratio", "0.25", NULL},
    {"log.cleaner.min.cleanable.ratio", "1.5",
     "log.cleaner.min.cleanable.ratio=1.5 is not allowed: it must be a number from 0 to 1"},
    {"log.cleaner.min.cleanable.ratio", "nan", ""},
    {"log.retention.ms", "-1", NULL},
    {"compression.type", "LZ4", ""},
    {"log.cleanup.policy", "compact,,delete", ""},
    {"log.cleanup.policy", "", NULL},
    {"log.level", "WARN", NULL},
    {"compression.gzip.level", "0",
     "compression.gzip.level=0 is not allowed: it must be a whole number from -1 to 9 but not 0"},
    {"max.connections.per.ip.overrides", "10.0.0.1:7, host:2", NULL},
    {"max.connections.per.ip.overrides", "10.0.0.1",
     "max.connections.per.ip.overrides=10.0.0.1 is not allowed: it must be "
     "host:number,host:number,..."},
    {"inter.broker.protocol.version", "2.8.1", NULL},
    {"inter.broker.protocol.version", "0.10", ""},
    {"ssl.key.password", "anything", NULL},
};

START_TEST(a_bad_value_says_what_is_allowed)
{
    struct config *c = config_new();
    struct errtext why;
    enum err rc = config_set(c, values[_i].name, values[_i].value, CONFIG_SOURCE_STATIC, &why);

    ck_assert_int_eq(rc, values[_i].why == NULL ? ERR_OK : ERR_INVALID);
    if (values[_i].why != NULL && values[_i].why[0] != 0)
        ck_assert_str_eq(why.text, values[_i].why);
    config_free(&c);
}
END_TEST

/* Values come from clients: exact in their memory, any bytes but zero. */
START_TEST(any_value_of_any_option_is_checked_without_harm)
{
    static const char letters[] = "0123456789-+.,:*|= \t\\eEnaifIV%/[]\xc3\xa4";
    const struct optab *const tables[] = {&config_options, &topic_options};

    srand(5);
    for (int round = 0; round < 20000; round++) {
        const struct optab *t = tables[rand() % 2];
        const struct option *o = &t->rows[(size_t)rand() % t->count];
        size_t n = (size_t)rand() % 24;
        char *text = malloc(n + 1);
        struct errtext why;
        for (size_t i = 0; i < n; i++)
            text[i] = letters[(size_t)rand() % (sizeof letters - 1)];
        text[n] = 0;
        enum err rc = optab_check(o, text, &why);
        ck_assert(rc == ERR_OK || rc == ERR_INVALID);
        (void)option_is_default(o, text);
        (void)optab_nearest(t, text);
        free(text);
    }
}
END_TEST

START_TEST(an_unknown_option_has_a_nearest_name)
{
    ck_assert_str_eq(optab_nearest(&config_options, "zookeper.conect")->name, "zookeeper.connect");
    ck_assert_str_eq(optab_nearest(&config_options, "log.retention.hour")->name,
                     "log.retention.hours");
    ck_assert_ptr_null(optab_nearest(&config_options, "com.example.plugin.colour"));
}
END_TEST

static struct config *made(const char *text, enum err expected, struct errtext *why)
{
    struct props p = {0};
    struct config *c = config_new();

    ck_assert_int_eq(props_parse(&p, str_of(text), why), ERR_OK);
    enum err rc = config_set_all(c, &p, CONFIG_SOURCE_STATIC, why);
    if (rc == ERR_OK)
        rc = config_finish(c, why);
    ck_assert_int_eq(rc, expected);
    props_fini(&p);
    return c;
}

START_TEST(retention_and_roll_take_the_finest_unit_that_is_given)
{
    static const struct {
        const char *text;
        int64_t retention_ms, roll_ms;
    } t[] = {{"", 604800000, 604800000},
             {"log.retention.hours=2", 7200000, 604800000},
             {"log.retention.hours=2\nlog.retention.minutes=5", 300000, 604800000},
             {"log.retention.minutes=5\nlog.retention.ms=7\nlog.roll.hours=1", 7, 3600000},
             {"log.retention.hours=-1\nlog.roll.ms=9", -1, 9},
             {"log.retention.ms=-2", -1, 604800000}};
    struct errtext why;
    char text[256];

    (void)snprintf(text, sizeof text, "zookeeper.connect=z\n%s", t[_i].text);
    struct config *c = made(text, ERR_OK, &why);
    ck_assert_int_eq(c->log_retention_ms, t[_i].retention_ms);
    ck_assert_int_eq(c->log_roll_ms, t[_i].roll_ms);
    struct log_config lc;
    ck_assert_int_eq(topic_config_make(c, NULL, 0, &lc, &why), ERR_OK);
    ck_assert_int_eq(lc.retention_ms, t[_i].retention_ms);
    ck_assert_int_eq(lc.segment_ms, t[_i].roll_ms);
    config_free(&c);
}
END_TEST

START_TEST(options_that_contradict_each_other_stop_the_start)
{
    static const char *const t[] = {"",
                                    "zookeeper.connect=z\nlog.retention.ms=0",
                                    "zookeeper.connect=z\nbroker.id=5000",
                                    "zookeeper.connect=z\nprocess.roles=broker",
                                    "zookeeper.connect=z\nreplica.fetch.wait.max.ms=40000",
                                    "zookeeper.connect=z\nzookeeper.ssl.client.enable=true"};
    struct errtext why = {""};
    struct config *c = made(t[_i], ERR_INVALID, &why);

    ck_assert_str_ne(why.text, "");
    config_free(&c);
}
END_TEST

static const struct {
    const char *line, *why; /* why NULL: taken */
} promises[] = {
    {"authorizer.class.name=kafka.security.authorizer.AclAuthorizer",
     "authorizer.class.name=kafka.security.authorizer.AclAuthorizer is not possible: this version "
     "has no authorizer, so every client could do everything"},
    {"authorizer.class.name=", NULL},
    {"super.users=User:admin", "super.users=User:admin is not possible: "},
    {"super.users=", NULL},
    {"allow.everyone.if.no.acl.found=true", "allow.everyone.if.no.acl.found=true is not possible"},
    {"allow.everyone.if.no.acl.found=False", NULL},
    {"zookeeper.set.acl=true", "the znodes would stay open to everybody"},
    {"zookeeper.set.acl=false", NULL},
    {"zookeeper.clientCnxnSocket=org.apache.zookeeper.ClientCnxnSocketNetty", "no TLS"},
    {"zookeeper.clientCnxnSocket=org.apache.zookeeper.ClientCnxnSocketNIO", NULL},
    {"create.topic.policy.class.name=org.example.Policy", "against the policy"},
    {"alter.config.policy.class.name=org.example.Policy", "against the policy"},
    {"alter.config.policy.class.name=", NULL},
    {"ssl.keystore.key=-----BEGIN", "ssl.keystore.key=... is not possible: "},
    {"ssl.cipher.suites=TLS_AES_128_GCM_SHA256", NULL},
    {"process.roles=broker", "zookeeper.connect"},
    {"remote.log.storage.system.enable=true", "no tiered storage"},
    {"listener.name.inside.ssl.client.auth=required",
     "line 2: listener.name.inside.ssl.client.auth is not possible"},
    {"ssl.client.auth=required\nlistener.name.inside.ssl.client.auth=required", NULL},
    {"listener.name.inside.max.connections=5", NULL},
    {"max.connection.creation.rate=5", NULL},
    {"replica.selector.class=org.example.Selector", NULL},
};

START_TEST(an_option_that_promises_what_is_missing_stops_the_start)
{
    struct errtext why = {""};
    char text[256];

    slog_set_fd(open("/dev/null", O_WRONLY));
    (void)snprintf(text, sizeof text, "zookeeper.connect=z\n%s", promises[_i].line);
    struct config *c = made(text, promises[_i].why == NULL ? ERR_OK : ERR_INVALID, &why);
    if (promises[_i].why != NULL)
        ck_assert_msg(strstr(why.text, promises[_i].why) != NULL, "%s", why.text);
    config_free(&c);
}
END_TEST

START_TEST(what_zookeeper_holds_never_stops_a_start)
{
    struct errtext why;
    struct config *base = made("zookeeper.connect=z", ERR_OK, &why);
    struct props cluster = {0}, own = {0};

    slog_set_fd(open("/dev/null", O_WRONLY));
    props_set(&cluster, "authorizer.class.name", "kafka.security.authorizer.AclAuthorizer", 0);
    props_set(&own, "ssl.truststore.certificates", "-----BEGIN", 0);
    props_set(&own, "log.segment.bytes", "3000", 0);
    struct config *c = config_with_dynamic(base, &cluster, &own);
    ck_assert_int_eq(c->log_segment_bytes, 3000);
    ck_assert_ptr_null(c->ssl_truststore_certificates);
    props_fini(&cluster);
    props_fini(&own);
    config_free(&c);
    config_free(&base);
}
END_TEST

static const char *logged(void (*log)(const struct config *c), const struct config *c)
{
    static char text[2048];
    FILE *f = tmpfile();
    size_t n;

    ck_assert_ptr_nonnull(f);
    slog_set_fd(fileno(f));
    log(c);
    slog_set_fd(STDERR_FILENO);
    rewind(f);
    n = fread(text, 1, sizeof text - 1, f);
    text[n] = 0;
    (void)fclose(f);
    return text;
}

static void log_static(const struct config *c)
{
    config_log_no_effect(c, 1U << CONFIG_SOURCE_STATIC);
}

START_TEST(options_without_effect_are_said_in_one_line)
{
    struct errtext why;
    struct config *c = made("zookeeper.connect=z\nmax.connection.creation.rate=5\n"
                            "producer.id.expiration.check.interval.ms=600000\n"
                            "compression.gzip.level=3\nssl.protocol=TLS",
                            ERR_OK, &why);
    const char *text = logged(log_static, c);

    ck_assert_msg(strstr(text, "WARN") != NULL && strstr(text, "no effect in this version") != NULL,
                  "%s", text);
    ck_assert_msg(strstr(text, "options=max.connection.creation.rate,compression.gzip.level") !=
                      NULL,
                  "%s", text);
    ck_assert_ptr_null(strstr(text, "producer.id.expiration")); /* the default */
    ck_assert_msg(strstr(text, "no meaning here options=ssl.protocol") != NULL, "%s", text);
    config_free(&c);
}
END_TEST

START_TEST(old_names_become_listeners)
{
    struct errtext why;
    struct config *c =
        made("zookeeper.connect=z\nport=9099\nhost.name=h\nadvertised.host.name=x", ERR_OK, &why);

    ck_assert_int_eq(c->listeners.count, 1);
    ck_assert_str_eq(c->listeners.items[0], "PLAINTEXT://h:9099");
    ck_assert_str_eq(c->advertised_listeners.items[0], "PLAINTEXT://x:9099");
    ck_assert_str_eq(c->log_dirs.items[0], "/tmp/kafka-logs");
    config_free(&c);
}
END_TEST

START_TEST(dynamic_options_come_over_static_ones_and_say_where_they_are_from)
{
    struct errtext why;
    struct config *base =
        made("zookeeper.connect=z\nlog.segment.bytes=1000\nmessage.max.bytes=77", ERR_OK, &why);
    struct props cluster = {0}, own = {0};

    props_set(&cluster, "log.segment.bytes", "2000", 0);
    props_set(&cluster, "log.index.interval.bytes", "10", 0);
    props_set(&own, "log.segment.bytes", "3000", 0);
    props_set(&own, "num.network.threads", "9", 0);
    props_set(&own, "log.roll.ms", "nonsense", 0);
    struct config *c = config_with_dynamic(base, &cluster, &own);
    ck_assert_int_eq(c->log_segment_bytes, 3000);
    ck_assert_int_eq(c->log_index_interval_bytes, 10);
    ck_assert_int_eq(c->message_max_bytes, 77);
    ck_assert_int_eq(c->num_network_threads, 3);
    const struct option *o = optab_find(&config_options, STR_LIT("log.segment.bytes"));
    ck_assert_int_eq(config_source_of(c, o), CONFIG_SOURCE_DYNAMIC_BROKER);
    ck_assert_str_eq(config_text(c, o), "3000");
    ck_assert_str_eq(config_text_of(c, o, CONFIG_SOURCE_DYNAMIC_DEFAULT), "2000");
    ck_assert_str_eq(config_text_of(c, o, CONFIG_SOURCE_STATIC), "1000");
    ck_assert_str_eq(config_text_of(c, o, CONFIG_SOURCE_DEFAULT), "1073741824");
    props_fini(&cluster);
    props_fini(&own);
    config_free(&c);
    config_free(&base);
}
END_TEST

static void page_holds(const char *path, const struct optab *t, const char *option)
{
    struct buf page = {0}, table = {0};

    ck_assert_msg(fsx_read_file(path, 1 << 20, &page) == ERR_OK, "%s", path);
    optab_markdown(t, &table);
    ck_assert_msg(strstr(buf_cstr(&page), buf_cstr(&table)) != NULL,
                  "%s is stale: its table is made by kafuka-broker %s", path, option);
    buf_fini(&page);
    buf_fini(&table);
}

START_TEST(the_documentation_pages_are_the_tables)
{
    page_holds(DOCS "/options.md", &config_options, "--help-config-markdown");
    page_holds(DOCS "/topic-options.md", &topic_options, "--help-topic-config-markdown");
}
END_TEST

/* ---- topics */

START_TEST(overrides_come_over_the_brokers_values)
{
    struct errtext why;
    struct config *c = made(
        "zookeeper.connect=z\nlog.segment.bytes=1000\nlog.cleanup.policy=compact", ERR_OK, &why);
    const struct topic_override o[] = {{"retention.ms", "5"},
                                       {"cleanup.policy", "compact,delete"},
                                       {"compression.type", "zstd"},
                                       {"message.timestamp.type", "LogAppendTime"}};
    struct log_config lc;

    ck_assert_int_eq(topic_config_make(c, o, 4, &lc, &why), ERR_OK);
    ck_assert_int_eq(lc.segment_bytes, 1000);
    ck_assert_int_eq(lc.retention_ms, 5);
    ck_assert(lc.is_compact && lc.is_delete && lc.is_log_append_time);
    ck_assert_int_eq(lc.compression_type, 4);
    ck_assert_int_eq(lc.max_message_bytes, 1048588);
    ck_assert_int_eq(lc.flush_ms, INT64_MAX);
    ck_assert_int_eq(topic_config_make(c, NULL, 0, &lc, &why), ERR_OK);
    ck_assert(lc.is_compact && !lc.is_delete && lc.compression_type == -1);

    enum config_source source;
    const struct option *bytes = optab_find(&topic_options, STR_LIT("segment.bytes"));
    ck_assert_str_eq(topic_config_default(c, bytes, &source), "1000");
    ck_assert_int_eq(source, CONFIG_SOURCE_STATIC);
    const struct option *ms = optab_find(&topic_options, STR_LIT("retention.ms"));
    ck_assert_str_eq(topic_config_default(c, ms, &source), "604800000");
    ck_assert_int_eq(source, CONFIG_SOURCE_DEFAULT);
    config_free(&c);
}
END_TEST

/* Every field but early_roll_bytes, which no config sets. */
static bool same_log_config(const struct log_config *a, const struct log_config *b)
{
#define SAME(field) (a->field == b->field)
    return SAME(segment_bytes) && SAME(segment_ms) && SAME(segment_jitter_ms) &&
           SAME(retention_bytes) && SAME(retention_ms) && SAME(flush_messages) && SAME(flush_ms) &&
           SAME(file_delete_delay_ms) && SAME(delete_retention_ms) && SAME(min_compaction_lag_ms) &&
           SAME(max_compaction_lag_ms) && SAME(timestamp_before_max_ms) &&
           SAME(timestamp_after_max_ms) &&
           !(a->min_cleanable_dirty_ratio < b->min_cleanable_dirty_ratio) &&
           !(a->min_cleanable_dirty_ratio > b->min_cleanable_dirty_ratio) &&
           SAME(max_message_bytes) && SAME(index_interval_bytes) && SAME(segment_index_bytes) &&
           SAME(min_insync_replicas) && SAME(compression_type) && SAME(is_compact) &&
           SAME(is_delete) && SAME(is_log_append_time) && SAME(preallocate) &&
           SAME(unclean_leader_election) && SAME(downconversion_enable);
#undef SAME
}

/* A value that is allowed and not the default; NULL: none of these is. */
static const char *other_value(const struct option *o)
{
    static const char *const tries[] = {"17",   "0.25",    "false",        "true",
                                        "zstd", "compact", "LogAppendTime"};
    struct errtext why;

    for (size_t i = 0; i < ARRAY_LEN(tries); i++)
        if (optab_check(o, tries[i], &why) == ERR_OK && !option_is_default(o, tries[i]))
            return tries[i];
    return NULL;
}

START_TEST(every_topic_config_that_works_reaches_the_log)
{
    struct errtext why = {""};
    struct config *c = made("zookeeper.connect=z", ERR_OK, &why);
    struct log_config plain, lc, without_topic;

    log_config_defaults(&without_topic);
    ck_assert_int_eq(topic_config_make(c, NULL, 0, &plain, &why), ERR_OK);
    ck_assert_msg(same_log_config(&plain, &without_topic),
                  "log_config_defaults (broker/log/log.c) differs from the defaults of the table");
    for (size_t i = 0; i < topic_options.count; i++) {
        const struct option *o = &topic_options.rows[i];
        const struct topic_override set = {o->name, other_value(o)};
        if ((o->flags & (OPTION_NOT_YET | OPTION_IGNORED | OPTION_STOPS)) != 0)
            continue;
        ck_assert_msg(set.value != NULL, "add a value for %s to other_value", o->name);
        ck_assert_int_eq(topic_config_make(c, &set, 1, &lc, &why), ERR_OK);
        ck_assert_msg(!same_log_config(&plain, &lc),
                      "%s=%s does not reach struct log_config: to_log_config "
                      "(broker/config/topic_config.c), or same_log_config here",
                      o->name, set.value);
    }
    config_free(&c);
}
END_TEST

START_TEST(bad_topic_configs_are_refused_or_left_out)
{
    static const struct topic_override bad_ones[] = {
        {"retention.ms", "x"},
        {"no.such", "1"},
        {"leader.replication.throttled.replicas", "0-1"},
        {"cleanup.policy", "shred"},
        {"min.insync.replicas", "0"}};
    struct errtext why = {""};
    struct config *c = made("zookeeper.connect=z", ERR_OK, &why);
    struct log_config lc;

    slog_set_fd(open("/dev/null", O_WRONLY));
    for (size_t i = 0; i < ARRAY_LEN(bad_ones); i++) {
        ck_assert_int_eq(topic_config_make(c, &bad_ones[i], 1, &lc, &why), ERR_INVALID);
        ck_assert_int_eq(topic_option_check(bad_ones[i].name, bad_ones[i].value, &why),
                         ERR_INVALID);
    }
    topic_config_make_lenient(c, STR_LIT("t"), bad_ones, ARRAY_LEN(bad_ones), &lc);
    ck_assert_int_eq(lc.retention_ms, 604800000);
    ck_assert(lc.is_delete);
    const struct topic_override lags[] = {{"min.compaction.lag.ms", "10"},
                                          {"max.compaction.lag.ms", "5"}};
    ck_assert_int_eq(topic_config_make(c, lags, 2, &lc, &why), ERR_INVALID);
    config_free(&c);
}
END_TEST

START_TEST(only_the_offsets_topic_is_closed_early_for_compaction)
{
    static const struct topic_override compact = {"cleanup.policy", "compact"};
    struct errtext why = {""};
    struct config *c = made("zookeeper.connect=z", ERR_OK, &why);
    struct log_config lc;

    topic_config_make_lenient(c, STR_LIT("__consumer_offsets"), &compact, 1, &lc);
    ck_assert_int_eq(lc.early_roll_bytes, 262144);
    topic_config_make_lenient(c, STR_LIT("other"), &compact, 1, &lc);
    ck_assert_int_eq(lc.early_roll_bytes, 0);
    config_free(&c);
}
END_TEST

/* ---- listeners */

static const struct {
    const char *text, *name, *host;
    int port; /* -1: refused */
} endpoints[] = {
    {"PLAINTEXT://h:1", "PLAINTEXT", "h", 1},
    {"plaintext://:0", "PLAINTEXT", "", 0},
    {"SSL://[::1]:9093", "SSL", "::1", 9093},
    {"A_b-c.1://10.0.0.1:65535", "A_B-C.1", "10.0.0.1", 65535},
    {"PLAINTEXT://h", NULL, NULL, -1},
    {"PLAINTEXT:h:1", NULL, NULL, -1},
    {"://h:1", NULL, NULL, -1},
    {"P L://h:1", NULL, NULL, -1},
    {"PLAINTEXT://h:65536", NULL, NULL, -1},
    {"PLAINTEXT://h:-1", NULL, NULL, -1},
    {"PLAINTEXT://h:1x", NULL, NULL, -1},
    {"PLAINTEXT://h:", NULL, NULL, -1},
    {"PLAINTEXT://::1:9092", NULL, NULL, -1},
    {"", NULL, NULL, -1},
};

START_TEST(an_endpoint_is_name_host_and_port)
{
    char *name = NULL, *host = NULL;
    int32_t port;

    bool is_fine = listener_parse_endpoint(endpoints[_i].text, &name, &host, &port);
    ck_assert_int_eq(is_fine, endpoints[_i].port >= 0);
    if (is_fine) {
        ck_assert_str_eq(name, endpoints[_i].name);
        ck_assert_str_eq(host, endpoints[_i].host);
        ck_assert_int_eq(port, endpoints[_i].port);
        mem_free(name);
        mem_free(host);
    }
}
END_TEST

START_TEST(listeners_have_protocols_advertised_hosts_and_one_for_brokers)
{
    struct errtext why;
    struct listener *l;
    int count;
    struct config *c =
        made("zookeeper.connect=z\nlisteners=IN://:1,OUT://0.0.0.0:2\nadvertised.listeners=OUT://"
             "kafka.example:99\nlistener.security.protocol.map=IN:PLAINTEXT,OUT:SSL\ninter.broker."
             "listener.name=IN",
             ERR_OK, &why);

    ck_assert_int_eq(listeners_from_config(c, &l, &count, &why), ERR_OK);
    ck_assert_int_eq(count, 2);
    ck_assert(l[0].is_inter_broker && !l[1].is_inter_broker);
    ck_assert_int_eq(l[0].security_protocol, PROTOCOL_PLAINTEXT);
    ck_assert_int_eq(l[1].security_protocol, PROTOCOL_SSL);
    ck_assert_str_eq(l[0].advertised_host, "");
    ck_assert_str_eq(l[1].advertised_host, "kafka.example");
    ck_assert_int_eq(l[1].advertised_port, 99);
    listeners_free(&l, count);
    config_free(&c);
}
END_TEST

START_TEST(listeners_that_cannot_be_are_refused)
{
    static const char *const t[] = {
        "listeners=X://:1",
        "listeners=PLAINTEXT://:1,PLAINTEXT://:2",
        "listeners=PLAINTEXT://:1,SSL://:1",
        "listeners=SASL_SSL://:1\nsecurity.inter.broker.protocol=SASL_SSL",
        "advertised.listeners=OTHER://h:1",
        "advertised.listeners=PLAINTEXT://0.0.0.0:1",
        "listeners=SSL://:1",
        "listeners=",
    };
    struct errtext why = {""};
    struct listener *l;
    int count;
    char text[300];

    (void)snprintf(text, sizeof text, "zookeeper.connect=z\n%s", t[_i]);
    struct config *c = made(text, ERR_OK, &why);
    ck_assert_int_eq(listeners_from_config(c, &l, &count, &why), ERR_INVALID);
    ck_assert_str_ne(why.text, "");
    ck_assert_ptr_null(l);
    config_free(&c);
}
END_TEST

START_TEST(our_own_address_is_the_one_towards_zookeeper)
{
    char own[46];

    listener_own_address("127.0.0.1:2181,other:2181/chroot", own, sizeof own);
    ck_assert_str_eq(own, "127.0.0.1");
    listener_own_address("no-such-host.invalid:2181", own, sizeof own);
    ck_assert_str_ne(own, "");
}
END_TEST

int main(void)
{
    Suite *s = suite_create("config");
    TCase *c = tcase_create("config");

    tcase_add_loop_test(c, a_properties_file_is_read_as_java_does, 0, ARRAY_LEN(good));
    tcase_add_loop_test(c, a_fault_names_the_line, 0, ARRAY_LEN(bad));
    tcase_add_test(c, any_bytes_are_parsed_without_harm);
    tcase_add_test(c, every_default_is_allowed_and_every_name_is_there_once);
    tcase_add_loop_test(c, a_bad_value_says_what_is_allowed, 0, ARRAY_LEN(values));
    tcase_add_test(c, any_value_of_any_option_is_checked_without_harm);
    tcase_add_test(c, an_unknown_option_has_a_nearest_name);
    tcase_add_test(c, the_documentation_pages_are_the_tables);
    tcase_add_loop_test(c, an_option_that_promises_what_is_missing_stops_the_start, 0,
                        ARRAY_LEN(promises));
    tcase_add_test(c, what_zookeeper_holds_never_stops_a_start);
    tcase_add_test(c, options_without_effect_are_said_in_one_line);
    tcase_add_loop_test(c, retention_and_roll_take_the_finest_unit_that_is_given, 0, 6);
    tcase_add_loop_test(c, options_that_contradict_each_other_stop_the_start, 0, 6);
    tcase_add_test(c, old_names_become_listeners);
    tcase_add_test(c, dynamic_options_come_over_static_ones_and_say_where_they_are_from);
    tcase_add_test(c, overrides_come_over_the_brokers_values);
    tcase_add_test(c, every_topic_config_that_works_reaches_the_log);
    tcase_add_test(c, bad_topic_configs_are_refused_or_left_out);
    tcase_add_test(c, only_the_offsets_topic_is_closed_early_for_compaction);
    tcase_add_loop_test(c, an_endpoint_is_name_host_and_port, 0, ARRAY_LEN(endpoints));
    tcase_add_test(c, listeners_have_protocols_advertised_hosts_and_one_for_brokers);
    tcase_add_loop_test(c, listeners_that_cannot_be_are_refused, 0, 8);
    tcase_add_test(c, our_own_address_is_the_one_towards_zookeeper);
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
