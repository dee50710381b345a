/* SPDX-License-Identifier: Apache-2.0 */
/* One table says what every property name of Kafka and of Kafka 0.8 means to librdkafka. */
#include "tools/lib/rdkafka.h"

#include "common/base/clock.h"
#include "common/net/transport.h"
#include "tools/lib/admin.h"
#include "tools/lib/zookeeper.h"

#include <ctype.h>
#include <signal.h>
#include <stdio.h>
#include <strings.h>

enum {
    WARNING_INTERVAL_MS = 5000,
    CHECK_TIMEOUT_MS = 10000,
    TOPIC_WAIT_MS = 10000,
    TOPIC_RETRY_MS = 20
};

enum { BOTH = RDKAFKA_PRODUCER | RDKAFKA_CONSUMER };
enum change {
    SAME,      /* the value stays */
    TO_KIB,    /* bytes -> KiB */
    CODEC,     /* 0.8 wrote codecs as numbers too */
    NO_HTTPS,  /* empty means none */
    MINUS_ONE, /* "-1", meaning forever, is a large number */
    ASSIGNORS  /* class names of assignors */
};

static const struct row {
    const char *name;
    int kinds;
    enum rdkafka_action action;
    const char *to;
    enum change change;
} rows[] = {
    /* the same thing under another name */
    {"metadata.broker.list", BOTH, RDKAFKA_SET, "bootstrap.servers", SAME},
    {"request.required.acks", RDKAFKA_PRODUCER, RDKAFKA_SET, "acks", SAME},
    {"acks", RDKAFKA_PRODUCER, RDKAFKA_SET, "acks", SAME},
    {"compression.codec", RDKAFKA_PRODUCER, RDKAFKA_SET, "compression.type", CODEC},
    {"compression.type", RDKAFKA_PRODUCER, RDKAFKA_SET, "compression.type", CODEC},
    {"queue.buffering.max.ms", RDKAFKA_PRODUCER, RDKAFKA_SET, "linger.ms", SAME},
    {"message.send.max.retries", RDKAFKA_PRODUCER, RDKAFKA_SET, "retries", SAME},
    {"retries", RDKAFKA_PRODUCER, RDKAFKA_SET, "retries", MINUS_ONE},
    {"buffer.memory", RDKAFKA_PRODUCER, RDKAFKA_SET, "queue.buffering.max.kbytes", TO_KIB},
    {"max.request.size", RDKAFKA_PRODUCER, RDKAFKA_SET, "message.max.bytes", SAME},
    {"send.buffer.bytes", BOTH, RDKAFKA_SET, "socket.send.buffer.bytes", SAME},
    {"receive.buffer.bytes", BOTH, RDKAFKA_SET, "socket.receive.buffer.bytes", SAME},
    {"socket.receive.buffer.bytes", BOTH, RDKAFKA_SET, "socket.receive.buffer.bytes", SAME},
    {"max.in.flight.requests.per.connection", RDKAFKA_PRODUCER, RDKAFKA_SET, "max.in.flight", SAME},
    {"fetch.max.wait.ms", RDKAFKA_CONSUMER, RDKAFKA_SET, "fetch.wait.max.ms", SAME},
    {"auto.commit.enable", RDKAFKA_CONSUMER, RDKAFKA_SET, "enable.auto.commit", SAME},
    {"partition.assignment.strategy", RDKAFKA_CONSUMER, RDKAFKA_SET,
     "partition.assignment.strategy", ASSIGNORS},
    {"ssl.truststore.location", BOTH, RDKAFKA_SET, "ssl.ca.location", SAME},
    {"ssl.endpoint.identification.algorithm", BOTH, RDKAFKA_SET,
     "ssl.endpoint.identification.algorithm", NO_HTTPS},
    {"sasl.jaas.config", BOTH, RDKAFKA_JAAS, NULL, SAME},
    {"sasl.mechanism", BOTH, RDKAFKA_SET, "sasl.mechanism", SAME},
    {"reconnect.backoff.max.ms", BOTH, RDKAFKA_SET, "reconnect.backoff.max.ms", SAME},
    {"metadata.max.age.ms", BOTH, RDKAFKA_SET, "metadata.max.age.ms", SAME},
    {"topic.metadata.refresh.interval.ms", BOTH, RDKAFKA_SET, "topic.metadata.refresh.interval.ms",
     SAME},
    /* what the command itself reads */
    {"consumer.timeout.ms", RDKAFKA_CONSUMER, RDKAFKA_QUIET, NULL, SAME},
    {"zookeeper.connect", BOTH, RDKAFKA_QUIET, NULL, SAME},
    {"producer.type", RDKAFKA_PRODUCER, RDKAFKA_QUIET, NULL, SAME},
    /* about Java classes, or about things that need no setting here */
    {"key.serializer", RDKAFKA_PRODUCER, RDKAFKA_QUIET, NULL, SAME},
    {"value.serializer", RDKAFKA_PRODUCER, RDKAFKA_QUIET, NULL, SAME},
    {"serializer.class", RDKAFKA_PRODUCER, RDKAFKA_QUIET, NULL, SAME},
    {"key.serializer.class", RDKAFKA_PRODUCER, RDKAFKA_QUIET, NULL, SAME},
    {"key.deserializer", RDKAFKA_CONSUMER, RDKAFKA_QUIET, NULL, SAME},
    {"value.deserializer", RDKAFKA_CONSUMER, RDKAFKA_QUIET, NULL, SAME},
    {"ssl.truststore.password", BOTH, RDKAFKA_QUIET, NULL, SAME},
    {"ssl.truststore.type", BOTH, RDKAFKA_QUIET, NULL, SAME},
    {"ssl.keystore.type", BOTH, RDKAFKA_QUIET, NULL, SAME},
    {"ssl.protocol", BOTH, RDKAFKA_QUIET, NULL, SAME},
    {"metric.reporters", BOTH, RDKAFKA_QUIET, NULL, SAME},
    {"metrics.num.samples", BOTH, RDKAFKA_QUIET, NULL, SAME},
    {"metrics.sample.window.ms", BOTH, RDKAFKA_QUIET, NULL, SAME},
    {"auto.include.jmx.reporter", BOTH, RDKAFKA_QUIET, NULL, SAME},
    {"enable.metrics.push", BOTH, RDKAFKA_QUIET, NULL, SAME},
    {"zookeeper.connection.timeout.ms", RDKAFKA_CONSUMER, RDKAFKA_QUIET, NULL, SAME},
    {"exclude.internal.topics", RDKAFKA_CONSUMER, RDKAFKA_QUIET, NULL, SAME},
    /* known, without effect */
    {"max.poll.records", RDKAFKA_CONSUMER, RDKAFKA_NO_EFFECT, NULL, SAME},
    {"max.block.ms", RDKAFKA_PRODUCER, RDKAFKA_NO_EFFECT, NULL, SAME},
    {"interceptor.classes", BOTH, RDKAFKA_NO_EFFECT, NULL, SAME},
    {"partitioner.class", RDKAFKA_PRODUCER, RDKAFKA_NO_EFFECT, NULL, SAME},
    {"partitioner.ignore.keys", RDKAFKA_PRODUCER, RDKAFKA_NO_EFFECT, NULL, SAME},
    {"partitioner.adaptive.partitioning.enable", RDKAFKA_PRODUCER, RDKAFKA_NO_EFFECT, NULL, SAME},
    {"partitioner.availability.timeout.ms", RDKAFKA_PRODUCER, RDKAFKA_NO_EFFECT, NULL, SAME},
    {"default.api.timeout.ms", RDKAFKA_CONSUMER, RDKAFKA_NO_EFFECT, NULL, SAME},
    {"compressed.topics", RDKAFKA_PRODUCER, RDKAFKA_NO_EFFECT, NULL, SAME},
    {"queue.enqueue.timeout.ms", RDKAFKA_PRODUCER, RDKAFKA_NO_EFFECT, NULL, SAME},
    {"num.consumer.fetchers", RDKAFKA_CONSUMER, RDKAFKA_NO_EFFECT, NULL, SAME},
    {"queued.max.message.chunks", RDKAFKA_CONSUMER, RDKAFKA_NO_EFFECT, NULL, SAME},
    {"rebalance.max.retries", RDKAFKA_CONSUMER, RDKAFKA_NO_EFFECT, NULL, SAME},
    {"rebalance.backoff.ms", RDKAFKA_CONSUMER, RDKAFKA_NO_EFFECT, NULL, SAME},
    {"refresh.leader.backoff.ms", RDKAFKA_CONSUMER, RDKAFKA_NO_EFFECT, NULL, SAME},
    {"offsets.storage", RDKAFKA_CONSUMER, RDKAFKA_NO_EFFECT, NULL, SAME},
    {"dual.commit.enabled", RDKAFKA_CONSUMER, RDKAFKA_NO_EFFECT, NULL, SAME},
    {"zookeeper.session.timeout.ms", RDKAFKA_CONSUMER, RDKAFKA_NO_EFFECT, NULL, SAME},
    {"zookeeper.sync.time.ms", RDKAFKA_CONSUMER, RDKAFKA_NO_EFFECT, NULL, SAME},
    {"consumer.id", RDKAFKA_CONSUMER, RDKAFKA_NO_EFFECT, NULL, SAME},
};

/* "a.b.RangeAssignor,a.b.StickyAssignor" -> "range,..." in librdkafka's words. */
static enum err change_assignors(const char *value, struct rdkafka_translation *t,
                                 struct errtext *why)
{
    static const struct {
        const char *class_name, *name;
    } known[] = {{"CooperativeStickyAssignor", "cooperative-sticky"},
                 {"RangeAssignor", "range"},
                 {"RoundRobinAssignor", "roundrobin"},
                 {"range", "range"},
                 {"roundrobin", "roundrobin"},
                 {"cooperative-sticky", "cooperative-sticky"}};
    size_t used = 0;

    t->is_changed = true;
    t->value[0] = '\0';
    while (*value != '\0') {
        size_t len = strcspn(value, ", ");
        const char *found = NULL;

        for (size_t i = 0; i < ARRAY_LEN(known) && found == NULL; i++) {
            size_t n = strlen(known[i].class_name);

            if (len >= n && strncmp(value + len - n, known[i].class_name, n) == 0)
                found = known[i].name;
        }
        if (len > 0 && found == NULL) {
            errtext_set(why,
                        "partition.assignment.strategy: '%.*s' is not known here: "
                        "RangeAssignor, RoundRobinAssignor or CooperativeStickyAssignor",
                        (int)len, value);
            return ERR_INVALID;
        }
        if (len > 0)
            used += (size_t)snprintf(t->value + used, sizeof t->value - used, "%s%s",
                                     used == 0 ? "" : ",", found);
        if (used >= sizeof t->value) {
            errtext_set(why, "partition.assignment.strategy is too long");
            return ERR_INVALID;
        }
        value += len + strspn(value + len, ", ");
    }
    return ERR_OK;
}

static enum err change_value(const struct row *r, const char *value, struct rdkafka_translation *t,
                             struct errtext *why)
{
    static const char *const codecs[] = {"none", "gzip", "snappy", "lz4", "zstd"};
    int64_t n;

    switch (r->change) {
    case SAME:
        return ERR_OK;
    case TO_KIB:
        if (!opt_number(value, 1, INT64_C(1) << 41, &n)) {
            errtext_set(why, "%s is a number of bytes, not '%s'", r->name, value);
            return ERR_INVALID;
        }
        t->is_changed = true;
        (void)snprintf(t->value, sizeof t->value, "%" PRId64,
                       i64_min(i64_max(n / 1024, 1), INT32_MAX));
        return ERR_OK;
    case CODEC:
        if (opt_number(value, 0, (int64_t)ARRAY_LEN(codecs) - 1, &n)) {
            t->is_changed = true;
            (void)snprintf(t->value, sizeof t->value, "%s", codecs[n]);
            return ERR_OK;
        }
        for (size_t i = 0; i < ARRAY_LEN(codecs); i++)
            if (strcmp(codecs[i], value) == 0)
                return ERR_OK;
        errtext_set(why, "%s is one of none, gzip, snappy, lz4, zstd, not '%s'", r->name, value);
        return ERR_INVALID;
    case NO_HTTPS:
        if (value[0] == '\0') {
            t->is_changed = true;
            (void)snprintf(t->value, sizeof t->value, "none");
        }
        return ERR_OK;
    case MINUS_ONE:
        if (strcmp(value, "-1") == 0) {
            t->is_changed = true;
            (void)snprintf(t->value, sizeof t->value, "%d", INT32_MAX);
        }
        return ERR_OK;
    case ASSIGNORS:
        return change_assignors(value, t, why);
    }
    return ERR_OK;
}

enum err rdkafka_translate(enum rdkafka_kind kind, const char *name, const char *value,
                           struct rdkafka_translation *out, struct errtext *why)
{
    *out = (struct rdkafka_translation){.action = RDKAFKA_UNKNOWN};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        if ((rows[i].kinds & (int)kind) == 0 || strcmp(rows[i].name, name) != 0)
            continue;
        out->action = rows[i].action;
        if (rows[i].to != NULL)
            (void)snprintf(out->name, sizeof out->name, "%s", rows[i].to);
        return change_value(&rows[i], value, out, why);
    }
    return ERR_OK;
}

enum err rdkafka_set(rd_kafka_conf_t *conf, const char *name, const char *value,
                     struct errtext *why)
{
    char text[512];

    if (rd_kafka_conf_set(conf, name, value, text, sizeof text) == RD_KAFKA_CONF_OK)
        return ERR_OK;
    errtext_set(why, "%s=%s: %s", name, value, text);
    return ERR_INVALID;
}

/* The value of username="..." or password="..." in a line of sasl.jaas.config. */
static bool jaas_value(const char *line, const char *name, char *out, size_t size)
{
    const char *at = strstr(line, name);
    char quote;
    size_t n = 0;

    if (at == NULL)
        return false;
    at += strlen(name);
    at += strspn(at, " ");
    if (*at != '=')
        return false;
    at += 1 + strspn(at + 1, " ");
    quote = *at++;
    if (quote != '"' && quote != '\'')
        return false;
    for (; *at != quote && *at != '\0' && n + 1 < size; at++) {
        if (*at == '\\' && at[1] != '\0')
            at++;
        out[n++] = *at;
    }
    out[n] = '\0';
    return *at == quote;
}

/* Java's login line in librdkafka's words. */
static enum err apply_jaas(rd_kafka_conf_t *conf, const char *line, struct errtext *why)
{
    char user[256], password[256];
    enum err rc;

    if ((strstr(line, "PlainLoginModule") == NULL && strstr(line, "ScramLoginModule") == NULL) ||
        !jaas_value(line, "username", user, sizeof user) ||
        !jaas_value(line, "password", password, sizeof password)) {
        errtext_set(why, "sasl.jaas.config is understood here as PlainLoginModule or "
                         "ScramLoginModule with username=\"...\" and password=\"...\" only");
        return ERR_UNSUPPORTED;
    }
    rc = rdkafka_set(conf, "sasl.username", user, why);
    return rc == ERR_OK ? rdkafka_set(conf, "sasl.password", password, why) : rc;
}

/* What librdkafka would say in its own words, or OpenSSL in its. */
static enum err check_security(const struct props *p, struct errtext *why)
{
    static const struct {
        const char *name;
        bool takes_pkcs12;
    } stores[] = {{"ssl.ca.location", false},
                  {"ssl.truststore.location", false},
                  {"ssl.certificate.location", false},
                  {"ssl.key.location", false},
                  {"ssl.keystore.location", true}};
    const char *protocol = props_get(p, "security.protocol", "PLAINTEXT");
    const char *mechanism = props_get(p, "sasl.mechanism", props_get(p, "sasl.mechanisms", NULL));
    bool uses_ssl = strcasestr(protocol, "SSL") != NULL;

    if (strncasecmp(protocol, "SASL_", 5) == 0 &&
        (mechanism == NULL || strcasecmp(mechanism, "GSSAPI") == 0)) {
        errtext_set(why,
                    "security.protocol=%s needs sasl.mechanism=PLAIN, SCRAM-SHA-256 or "
                    "SCRAM-SHA-512: GSSAPI (Kerberos), %s, is not supported here",
                    protocol, mechanism == NULL ? "the default" : "which is given");
        return ERR_UNSUPPORTED;
    }
    for (size_t i = 0; uses_ssl && i < ARRAY_LEN(stores); i++) {
        const char *path = props_get(p, stores[i].name, NULL);

        if (path != NULL && path[0] != '\0' &&
            tls_check_store(stores[i].name, path, stores[i].takes_pkcs12, why) != ERR_OK)
            return ERR_INVALID;
    }
    return ERR_OK;
}

enum err rdkafka_apply(const struct opts *o, rd_kafka_conf_t *conf, enum rdkafka_kind kind,
                       const struct props *p, struct errtext *why)
{
    if (check_security(p, why) != ERR_OK)
        return ERR_INVALID;
    for (size_t i = 0; i < p->count; i++) {
        const char *name = p->list[i].key, *value = p->list[i].value;
        struct rdkafka_translation t;
        char text[512];
        enum err rc = rdkafka_translate(kind, name, value, &t, why);

        if (rc == ERR_OK && t.action == RDKAFKA_JAAS)
            rc = apply_jaas(conf, value, why);
        if (rc == ERR_OK && t.action == RDKAFKA_SET)
            rc = rdkafka_set(conf, t.name, t.is_changed ? t.value : value, why);
        if (rc != ERR_OK)
            return rc;
        if (t.action == RDKAFKA_NO_EFFECT)
            opts_warn(o, "the property %s has no effect here", name);
        if (t.action != RDKAFKA_UNKNOWN)
            continue;
        switch (rd_kafka_conf_set(conf, name, value, text, sizeof text)) {
        case RD_KAFKA_CONF_OK:
            break;
        case RD_KAFKA_CONF_UNKNOWN:
            opts_warn(o, "the property %s is not known and has no effect", name);
            break;
        case RD_KAFKA_CONF_INVALID:
            errtext_set(why, "property %s=%s: %s", name, value, text);
            return ERR_INVALID;
        }
    }
    return ERR_OK;
}

/* Kafka's clients read their values without the blanks behind them. */
static void cut_blanks(struct props *p)
{
    for (size_t i = 0; i < p->count; i++) {
        char *value = p->list[i].value;
        size_t n = strlen(value);
        while (n > 0 && isspace((unsigned char)value[n - 1]))
            value[--n] = 0;
    }
}

enum err rdkafka_load_props(const struct opts *o, const char *file_option, const char *pairs_option,
                            struct props *p, struct errtext *why)
{
    const char *path = opts_text(o, file_option, NULL);
    size_t count;
    const char *const *pairs = opts_list(o, pairs_option, &count);
    enum err rc = path == NULL ? ERR_OK : props_read_file(p, path, why);

    cut_blanks(p);
    for (size_t i = 0; rc == ERR_OK && i < count; i++) {
        rc = props_add_pair(p, pairs[i], why);
        if (rc != ERR_OK)
            errtext_wrap(why, "--%s", pairs_option);
    }
    return rc;
}

static enum err check_one(void *arg UNUSED, const char *host UNUSED, int32_t port UNUSED,
                          struct errtext *why UNUSED)
{
    return ERR_OK;
}

/* NULL: a line was printed. */
static char *choose_bootstrap(const struct opts *o, const struct props *p, bool has_zookeeper)
{
    const char *list = opts_text(o, "bootstrap-server", opts_text(o, "broker-list", NULL));
    struct errtext why = {{0}};

    if (list == NULL && has_zookeeper && opts_has(o, "zookeeper"))
        return zk_find_brokers(o);
    if (list == NULL)
        list = props_get(p, "bootstrap.servers", props_get(p, "metadata.broker.list", NULL));
    if (list == NULL) {
        (void)opts_fail(o, "--bootstrap-server must be specified, for example --bootstrap-server "
                           "localhost:9092");
        return NULL;
    }
    if (admin_each_address(list, 9092, check_one, NULL, &why) != ERR_OK) {
        (void)opts_fail(o, "--bootstrap-server: %s", why.text);
        return NULL;
    }
    return xstrdup(list);
}

/* Nothing comes of a mistyped topic, and the brokers may make it: say so. */
static bool warn_of_missing_topic(const struct opts *o, struct admin *a, const struct props *p,
                                  const char *topic)
{
    struct kp_MetadataResponse m;
    struct errtext why = {{0}};

    if (admin_metadata(a, &topic, 1, &m, &why) != ERR_OK || m.topics_count != 1 ||
        m.topics[0].error_code != KE_UNKNOWN_TOPIC_OR_PARTITION)
        return false;
    if (strcasecmp(props_get(p, "allow.auto.create.topics", "true"), "true") == 0)
        opts_warn(o,
                  "topic %s does not exist; the brokers are asked to create it, as Kafka's console "
                  "consumer asks them (allow.auto.create.topics=false prevents that)",
                  topic);
    else
        opts_warn(o, "topic %s does not exist; waiting for it", topic);
    return true;
}

static int check_reachable(const struct opts *o, const char *bootstrap, const struct props *p,
                           const char *topic, bool *is_missing_out)
{
    struct admin a;
    struct bclient *c;
    struct errtext why = {{0}};
    enum err rc;

    if (strcasecmp(props_get(p, "security.protocol", "PLAINTEXT"), "PLAINTEXT") != 0)
        return -1;
    rc = admin_init(&a, bootstrap, NULL, CHECK_TIMEOUT_MS, &why);
    if (rc == ERR_OK)
        rc = admin_client(&a, ADMIN_ANY, &c, &why);
    if (rc == ERR_OK && topic != NULL)
        *is_missing_out = warn_of_missing_topic(o, &a, p, topic);
    admin_close(&a);
    return rc == ERR_OK ? -1 : opts_fail(o, "%s", why.text);
}

int rdkafka_find_brokers(const struct opts *o, const struct props *p, bool has_zookeeper,
                         const char *topic, bool *is_missing_out, char **bootstrap_out)
{
    int rc;

    *bootstrap_out = choose_bootstrap(o, p, has_zookeeper);
    if (*bootstrap_out == NULL)
        return 1;
    rc = check_reachable(o, *bootstrap_out, p, topic, is_missing_out);
    if (rc >= 0)
        FREE_NULL(bootstrap_out);
    return rc;
}

/* What librdkafka carries for its callbacks. */
static struct rdkafka_context {
    const struct opts *o;
    void *arg;
} context;

void *rdkafka_arg(void *opaque)
{
    const struct rdkafka_context *c = opaque;

    return c->arg;
}

/* Errors that librdkafka meets on the way and retries: one line in five seconds at most. */
static void on_error(rd_kafka_t *rk, int error, const char *reason, void *opaque)
{
    static int64_t next_ms;
    const struct opts *o = ((const struct rdkafka_context *)opaque)->o;
    const char *guess;
    char text[512];

    if (error == RD_KAFKA_RESP_ERR__FATAL) {
        (void)rd_kafka_fatal_error(rk, text, sizeof text);
        opts_warn(o, "%s", text);
        return;
    }
    if (clock_mono_ms() < next_ms)
        return;
    next_ms = clock_mono_ms() + WARNING_INTERVAL_MS;
    /* librdkafka guesses at causes; a broker that was stopped is the usual one */
    guess = strstr(reason, ": verify that");
    opts_warn(o, "%.*s; trying on", guess == NULL ? (int)strlen(reason) : (int)(guess - reason),
              reason);
}

static void on_log(const rd_kafka_t *rk UNUSED, int level UNUSED, const char *facility UNUSED,
                   const char *text UNUSED)
{
    /* what matters comes through on_error, once */
}

rd_kafka_t *rdkafka_new(const struct opts *o, enum rdkafka_kind kind, rd_kafka_conf_t *conf,
                        void *arg)
{
    char text[512];
    rd_kafka_t *rk;

    context = (struct rdkafka_context){o, arg};
    rd_kafka_conf_set_opaque(conf, &context);
    rd_kafka_conf_set_error_cb(conf, on_error);
    rd_kafka_conf_set_log_cb(conf, on_log);
    rk = rd_kafka_new(kind == RDKAFKA_PRODUCER ? RD_KAFKA_PRODUCER : RD_KAFKA_CONSUMER, conf, text,
                      sizeof text);
    if (rk == NULL) {
        rd_kafka_conf_destroy(conf);
        (void)opts_fail(o, "%s", text);
    }
    return rk;
}

bool rdkafka_wait_topic(const struct opts *o, rd_kafka_t *rk, rd_kafka_topic_t *topic)
{
    int64_t deadline_ms = clock_mono_ms() + TOPIC_WAIT_MS;
    rd_kafka_resp_err_t e;

    do {
        const struct rd_kafka_metadata *m = NULL;
        bool is_there = false;

        e = rd_kafka_metadata(rk, 0, topic, &m, TOPIC_WAIT_MS);
        if (e == RD_KAFKA_RESP_ERR_NO_ERROR && m->topic_cnt == 1) {
            e = m->topics[0].err;
            is_there = m->topics[0].partition_cnt > 0;
        }
        if (m != NULL)
            rd_kafka_metadata_destroy(m);
        if (is_there)
            return true;
        if (e == RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION ||
            e == RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED)
            break;
        (void)rd_kafka_poll(rk, TOPIC_RETRY_MS);
    } while (clock_mono_ms() < deadline_ms && !rdkafka_stop_requested());
    if (e == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART || e == RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC)
        (void)opts_fail(o,
                        "topic %s does not exist, and the broker does not create it by itself: "
                        "kafuka-topics --create --topic %s makes it",
                        rd_kafka_topic_name(topic), rd_kafka_topic_name(topic));
    else
        (void)opts_fail(o, "topic %s: %s", rd_kafka_topic_name(topic), rd_kafka_err2str(e));
    return false;
}

static volatile sig_atomic_t stop_requested;

static void on_signal(int number)
{
    stop_requested = 1;
    /* a second one ends the process whatever it is waiting for */
    (void)signal(number, SIG_DFL);
}

void rdkafka_catch_signals(void)
{
    struct sigaction sa = {.sa_handler = on_signal};

    (void)sigemptyset(&sa.sa_mask);
    (void)sigaction(SIGINT, &sa, NULL); /* no SA_RESTART: a read of the terminal ends */
    (void)sigaction(SIGTERM, &sa, NULL);
}

bool rdkafka_stop_requested(void)
{
    return stop_requested != 0;
}

const char *rdkafka_group_cure(rd_kafka_resp_err_t e)
{
    static const struct {
        rd_kafka_resp_err_t e;
        const char *cure;
    } cures[] = {
        {RD_KAFKA_RESP_ERR_INVALID_SESSION_TIMEOUT,
         "choose session.timeout.ms between the brokers' group.min.session.timeout.ms and "
         "group.max.session.timeout.ms"},
        {RD_KAFKA_RESP_ERR_INCONSISTENT_GROUP_PROTOCOL,
         "the other members of the group assign partitions in another way: choose a "
         "partition.assignment.strategy that they have, or another --group"},
        {RD_KAFKA_RESP_ERR_INVALID_GROUP_ID, "choose another --group"},
        {RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED, "have READ on the group allowed to you"},
        {RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED, "have READ on the topic allowed to you"},
        {RD_KAFKA_RESP_ERR_FENCED_INSTANCE_ID,
         "another member runs with the same group.instance.id: each needs its own"},
        {RD_KAFKA_RESP_ERR_GROUP_MAX_SIZE_REACHED,
         "the group has as many members as the brokers' group.max.size allows"},
        {RD_KAFKA_RESP_ERR__FATAL, "start again"},
    };

    for (size_t i = 0; i < ARRAY_LEN(cures); i++)
        if (cures[i].e == e)
            return cures[i].cure;
    return NULL;
}
