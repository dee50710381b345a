/* SPDX-License-Identifier: Apache-2.0 */
/* What applications see: checks of arguments, names, waiting. */
#include "tools/zkconsumer/zkconsumer.h"

#include "common/base/clock.h"
#include "common/base/slog.h"
#include "common/base/topic_name.h"
#include "tools/zkconsumer/zkc_shell.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

enum { HOST_CHARS_MAX = 256, STREAMS_MAX = 1000 };

struct kafuka_zkc_conf {
    struct zkc_settings settings;
    void (*log)(void *arg, enum kafuka_zkc_level level, const char *text);
    void *log_arg;
};

static enum kafuka_zkc_status say(char *error, size_t size, const char *text)
{
    if (error != NULL && size > 0)
        (void)snprintf(error, size, "%s", text);
    return KAFUKA_ZKC_ERROR;
}

/* ---- properties */

struct kafuka_zkc_conf *kafuka_zkc_conf_new(void)
{
    struct kafuka_zkc_conf *conf = xcalloc(1, sizeof *conf);

    zkc_settings_init(&conf->settings);
    return conf;
}

void kafuka_zkc_conf_free(struct kafuka_zkc_conf *conf)
{
    if (conf == NULL)
        return;
    zkc_settings_fini(&conf->settings);
    mem_free(conf);
}

enum kafuka_zkc_status kafuka_zkc_conf_set(struct kafuka_zkc_conf *conf, const char *name,
                                           const char *value, char *error, size_t error_size)
{
    struct errtext why = {{0}};
    enum err rc = zkc_settings_set(&conf->settings, name, value, &why);

    if (rc == ERR_OK)
        return KAFUKA_ZKC_OK;
    (void)say(error, error_size, why.text);
    return rc == ERR_NOT_FOUND ? KAFUKA_ZKC_UNKNOWN : KAFUKA_ZKC_ERROR;
}

void kafuka_zkc_conf_set_log(struct kafuka_zkc_conf *conf,
                             void (*log)(void *arg, enum kafuka_zkc_level level, const char *text),
                             void *arg)
{
    conf->log = log;
    conf->log_arg = arg;
}

/* ---- names */

/* "<group>_<host>-<ms>-<8 hex digits>", as Kafka's. */
static char *make_member_id(const struct zkc_settings *s)
{
    char host[HOST_CHARS_MAX] = "";
    uint32_t random = 0;

    if (s->consumer_id != NULL)
        return xasprintf("%s_%s", s->group_id, s->consumer_id);
    if (gethostname(host, sizeof host - 1) != 0 || host[0] == 0)
        (void)snprintf(host, sizeof host, "localhost");
    for (char *p = host; *p != 0; p++)
        if (*p == '/')
            *p = '_';
    if (getrandom(&random, sizeof random, 0) != (ssize_t)sizeof random)
        random = (uint32_t)clock_mono_us() ^ (uint32_t)getpid() << 16;
    return xasprintf("%s_%s-%" PRId64 "-%08" PRIx32, s->group_id, host, clock_wall_ms(), random);
}

/* ---- life */

struct kafuka_zkc *kafuka_zkc_new(struct kafuka_zkc_conf *conf, char *error, size_t error_size)
{
    struct errtext why = {{0}};
    struct kafuka_zkc *z;
    enum slog_level level = SLOG_WARN;

    if (zkc_settings_finish(&conf->settings, &why) != ERR_OK ||
        coord_check_connect(conf->settings.zookeeper_connect, &why) != ERR_OK) {
        (void)say(error, error_size, why.text);
        kafuka_zkc_conf_free(conf);
        return NULL;
    }
    z = xcalloc(1, sizeof *z);
    z->magic = KAFUKA_ZKC_MAGIC;
    if (mailbox_init(&z->mailbox) != ERR_OK) {
        (void)say(error, error_size, "no file descriptor is left");
        kafuka_zkc_conf_free(conf);
        mem_free(z);
        return NULL;
    }
    z->settings = conf->settings; /* moved */
    z->log = conf->log;
    z->log_arg = conf->log_arg;
    mem_free(conf);
    (void)slog_level_parse(z->settings.log_level, &level);
    z->log_level = (enum kafuka_zkc_level)level;
    z->member_id = make_member_id(&z->settings);
    lock_init(&z->lock, LOCK_LEAF);
    lock_cond_init(&z->changed);
    return z;
}

static void add_subscription(struct kafuka_zkc *z, char *topic, char *name, int streams)
{
    size_t n = (size_t)z->subscription_count + 1;

    z->subscriptions = xrealloc(z->subscriptions, n * sizeof *z->subscriptions);
    z->streams = xrealloc(z->streams, n * sizeof *z->streams);
    z->subscriptions[n - 1] = (struct zkdoc_subscription){name, streams};
    z->streams[n - 1] = (struct zkc_streams){.topic = topic};
    z->subscription_count++;
}

static const char *why_not(const struct kafuka_zkc *z, int streams)
{
    if (z->is_started)
        return "subscriptions are made before the start";
    if (streams < 1 || streams > STREAMS_MAX)
        return "the number of streams must be 1 to 1000";
    if (z->subscription_count > 0 && z->pattern != ZKDOC_STATIC)
        return "a filter is the only subscription of its consumer";
    if (z->subscription_count == ZKDOC_SUBSCRIPTIONS_MAX)
        return "too many topics";
    return NULL;
}

enum kafuka_zkc_status kafuka_zkc_subscribe(struct kafuka_zkc *z, const char *topic, int streams,
                                            char *error, size_t error_size)
{
    const char *problem = why_not(z, streams);

    if (problem == NULL)
        problem = topic_name_fault(str_of(topic));
    for (int32_t i = 0; problem == NULL && i < z->subscription_count; i++)
        if (strcmp(z->streams[i].topic, topic) == 0)
            problem = "the topic is subscribed to already";
    if (problem != NULL)
        return say(error, error_size, problem);
    add_subscription(z, xstrdup(topic), xstrdup(topic), streams);
    return KAFUKA_ZKC_OK;
}

enum kafuka_zkc_status kafuka_zkc_subscribe_filter(struct kafuka_zkc *z,
                                                   enum kafuka_zkc_filter kind, const char *regex,
                                                   int streams, char *error, size_t error_size)
{
    const char *problem = why_not(z, streams);
    struct errtext why = {{0}};
    struct zkc_filter f;

    if (problem == NULL && z->subscription_count > 0)
        problem = "a filter is the only subscription of its consumer";
    if (problem != NULL)
        return say(error, error_size, problem);
    if (zkc_filter_init(&f, regex, &why) != ERR_OK)
        return say(error, error_size, why.text);
    z->pattern = kind == KAFUKA_ZKC_WHITE_LIST ? ZKDOC_WHITE_LIST : ZKDOC_BLACK_LIST;
    add_subscription(z, NULL, xstrdup(f.text), streams);
    zkc_filter_fini(&f);
    return KAFUKA_ZKC_OK;
}

enum kafuka_zkc_status kafuka_zkc_start(struct kafuka_zkc *z, char *error, size_t error_size)
{
    struct errtext why = {{0}};

    if (z->is_started || z->subscription_count == 0)
        return say(error, error_size,
                   z->is_started ? "it is started already" : "nothing is subscribed to");
    if (zkc_shell_start(z, &why) != ERR_OK)
        return say(error, error_size, why.text);
    return KAFUKA_ZKC_OK;
}

void kafuka_zkc_close(struct kafuka_zkc *z)
{
    if (z == NULL)
        return;
    CHECK_OBJ(z, KAFUKA_ZKC_MAGIC);
    zkc_shell_stop(z);
    for (int32_t i = 0; i < z->subscription_count; i++) {
        mem_free((char *)(uintptr_t)z->subscriptions[i].name);
        mem_free(z->streams[i].topic);
        mem_free(z->streams[i].v);
    }
    mem_free(z->subscriptions);
    mem_free(z->streams);
    mem_free(z->member_id);
    zkc_settings_fini(&z->settings);
    mailbox_fini(&z->mailbox);
    MUST(pthread_cond_destroy(&z->changed) == 0);
    lock_fini(&z->lock);
    z->magic = 0;
    mem_free(z);
}

const char *kafuka_zkc_member_id(const struct kafuka_zkc *z)
{
    return z->member_id;
}

/* ---- records; a stream of the API is one of the fetcher's */

static struct zkc_stream *inner(struct kafuka_zkc_stream *s)
{
    return (struct zkc_stream *)s;
}

struct kafuka_zkc_stream *kafuka_zkc_stream(struct kafuka_zkc *z, const char *topic, int i)
{
    for (int32_t s = 0; s < z->subscription_count; s++) {
        const struct zkc_streams *g = &z->streams[s];
        bool is_it =
            topic == NULL ? g->topic == NULL : g->topic != NULL && strcmp(g->topic, topic) == 0;

        if (is_it && i >= 0 && i < g->count)
            return (struct kafuka_zkc_stream *)g->v[i];
    }
    return NULL;
}

enum kafuka_zkc_status kafuka_zkc_next(struct kafuka_zkc_stream *stream, int timeout_ms,
                                       struct kafuka_zkc_message *m)
{
    struct zkc_stream *s = inner(stream);
    rd_kafka_message_t *rm = zkc_fetch_next(s, timeout_ms);
    rd_kafka_timestamp_type_t kind;

    *m = (struct kafuka_zkc_message){.partition = -1, .offset = -1, .timestamp_ms = -1};
    if (rm == NULL)
        return zkc_stream_is_closed(s) ? KAFUKA_ZKC_CLOSED : KAFUKA_ZKC_TIMEOUT;
    m->topic = rd_kafka_topic_name(rm->rkt);
    m->partition = rm->partition;
    m->offset = rm->offset;
    m->key = rm->key;
    m->key_size = rm->key == NULL ? 0 : rm->key_len;
    m->value = rm->payload;
    m->value_size = rm->payload == NULL ? 0 : rm->len;
    m->timestamp_ms = rd_kafka_message_timestamp(rm, &kind);
    m->is_append_time = kind == RD_KAFKA_TIMESTAMP_LOG_APPEND_TIME;
    m->opaque = rm;
    return KAFUKA_ZKC_OK;
}

void kafuka_zkc_message_release(struct kafuka_zkc_message *m)
{
    if (m->opaque != NULL)
        rd_kafka_message_destroy(m->opaque);
    *m = (struct kafuka_zkc_message){.partition = -1, .offset = -1, .timestamp_ms = -1};
}

int kafuka_zkc_message_header(const struct kafuka_zkc_message *m, size_t i, const char **name,
                              const void **value, size_t *size)
{
    rd_kafka_headers_t *h = NULL;

    return m->opaque != NULL &&
           rd_kafka_message_headers(m->opaque, &h) == RD_KAFKA_RESP_ERR_NO_ERROR &&
           rd_kafka_header_get_all(h, i, name, value, size) == RD_KAFKA_RESP_ERR_NO_ERROR;
}

void kafuka_zkc_done(struct kafuka_zkc_stream *s)
{
    zkc_fetch_done(inner(s));
}

/* ---- commits */

static void commit_asked(struct mail *mail)
{
    struct zkc_commit *k = CONTAINER_OF(mail, struct zkc_commit, mail);

    if (k->shell->is_closed) {
        lock_take(&k->shell->lock);
        k->is_done = true;
        k->status = KAFUKA_ZKC_CLOSED;
        MUST(pthread_cond_broadcast(&k->shell->changed) == 0);
        lock_release(&k->shell->lock);
        zkc_commit_unref(k);
        return;
    }
    *k->shell->commits_end = k;
    k->shell->commits_end = &k->next;
}

enum kafuka_zkc_status kafuka_zkc_commit(struct kafuka_zkc *z, int timeout_ms)
{
    int64_t until_us = timeout_ms < 0 ? -1 : clock_mono_us() + (int64_t)timeout_ms * 1000;
    struct zkc_commit *k;
    enum kafuka_zkc_status status;

    if (!z->is_started)
        return KAFUKA_ZKC_CLOSED;
    k = xcalloc(1, sizeof *k);
    k->mail.deliver = commit_asked;
    k->shell = z;
    atomic_init(&k->refs, 2);
    lock_take(&z->lock);
    if (z->has_left) {
        lock_release(&z->lock);
        mem_free(k);
        return KAFUKA_ZKC_CLOSED;
    }
    mailbox_post(&z->mailbox, &k->mail); /* under the lock: the thread looks a last time after it */
    while (!k->is_done && lock_wait(&z->lock, &z->changed, until_us))
        continue;
    status = k->is_done ? k->status : KAFUKA_ZKC_TIMEOUT;
    lock_release(&z->lock);
    zkc_commit_unref(k);
    return status;
}

/* ---- history */

size_t kafuka_zkc_history(struct kafuka_zkc *z, int i, char *text, size_t size)
{
    struct zkc_rebalance r;
    int64_t wall_ms;
    time_t seconds;
    struct tm tm;
    char when[40];
    int n;

    if (size > 0)
        text[0] = 0;
    lock_take(&z->lock);
    if (i < 0 || i >= z->history_count) {
        lock_release(&z->lock);
        return 0;
    }
    r = z->history[i];
    wall_ms = z->history_wall_ms[i];
    lock_release(&z->lock);
    seconds = (time_t)(wall_ms / 1000);
    if (localtime_r(&seconds, &tm) == NULL || strftime(when, sizeof when, "%F %T", &tm) == 0)
        when[0] = 0;
    n = snprintf(text, size,
                 "%s.%03d %s: %d partitions stayed, %d released, %d claimed, %d members", when,
                 (int)(wall_ms % 1000), r.reason, r.kept, r.released, r.claimed, r.members);
    if (n > 0 && (size_t)n < size && r.took_ms >= 0)
        n += snprintf(text + n, size - (size_t)n, ", %" PRId64 " ms", r.took_ms);
    return n < 0 ? 0 : (size_t)n;
}
