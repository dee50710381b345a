/* SPDX-License-Identifier: Apache-2.0 */
/* A timer looks at the metadata; while something is missing, one CreateTopics at a time goes to the
 * controller that the metadata name. */
#include "broker/cluster/wanted_topics.h"

#include "broker/config/config.h"
#include "broker/cluster/metadata.h"
#include "broker/cluster/metadata_cache.h"
#include "broker/config/topic_config.h"
#include "common/base/slog.h"
#include "common/base/topic_name.h"
#include "common/net/client.h"
#include "common/protocol/messages.h"

#include <stdlib.h>

enum { VERSION = 5, LOOK_MS = 250, ANSWER_MAX_MS = 30000, WANTED_MAX = 1000 };

struct wanted {
    char *name;
    int32_t partitions, replicas;
    char *cleanup_policy; /* NULL: the default */
    bool is_given_up;
};

struct wanted_topics {
    struct broker *broker;
    struct tls_context *tls;
    void (*given_up)(void *arg);
    void *arg;
    struct client *client; /* while a request is on its way */
    struct loop_timer timer;
    int32_t count;
    struct wanted list[];
};

/* ---- the option */

/* A positive number, or the default for an empty text. */
static bool parse_count(const char *text, int32_t when_empty, int32_t max, int32_t *out)
{
    char *end;
    long v = text[0] == 0 ? when_empty : strtol(text, &end, 10);

    if (text[0] != 0 && *end != 0)
        return false;
    *out = (int32_t)v;
    return v >= 1 && v <= max;
}

/* Cuts text at its colons, which become ends of strings. */
static int split(char *text, char **fields, int max)
{
    int n = 0;

    while (text != NULL && n < max) {
        fields[n++] = text;
        text = strchr(text, ':');
        if (text != NULL)
            *text++ = 0;
    }
    return text == NULL ? n : max + 1;
}

static enum err parse_one(const struct config *c, const char *item, struct wanted *w,
                          struct errtext *why)
{
    char *copy = xstrdup(item), *fields[4] = {NULL};
    char none[1] = "";
    int n = split(copy, fields, 4);
    enum err rc = ERR_OK;

    if (n > 4 || !topic_name_is_valid(str_of(fields[0])) ||
        !parse_count(n > 1 ? fields[1] : none, c->num_partitions, 100000, &w->partitions) ||
        !parse_count(n > 2 ? fields[2] : none, c->default_replication_factor, 32767,
                     &w->replicas)) {
        errtext_set(why, "topics: name:partitions:replicas is needed, not %s", item);
        rc = ERR_INVALID;
    } else if (n > 3) {
        rc = topic_option_check("cleanup.policy", fields[3], why);
        if (rc != ERR_OK)
            errtext_wrap(why, "topics: %s", item);
        else
            w->cleanup_policy = xstrdup(fields[3]);
    }
    if (rc == ERR_OK)
        w->name = xstrdup(fields[0]);
    mem_free(copy);
    return rc;
}

enum err wanted_topics_parse(const struct config *c, struct wanted_topics **out,
                             struct errtext *why)
{
    struct wanted_topics *w;
    enum err rc = ERR_OK;

    *out = NULL;
    if (c->topics.count == 0)
        return ERR_OK;
    if (c->topics.count > WANTED_MAX) {
        errtext_set(why, "topics: at most %d", WANTED_MAX);
        return ERR_INVALID;
    }
    w = xcalloc(1, sizeof *w + (size_t)c->topics.count * sizeof w->list[0]);
    w->count = c->topics.count;
    for (int32_t i = 0; i < w->count && rc == ERR_OK; i++)
        rc = parse_one(c, c->topics.items[i], &w->list[i], why);
    if (rc == ERR_OK)
        *out = w;
    else
        wanted_topics_free(&w);
    return rc;
}

void wanted_topics_free(struct wanted_topics **w)
{
    if (*w == NULL)
        return;
    ASSERT((*w)->client == NULL && !(*w)->timer.is_armed);
    for (int32_t i = 0; i < (*w)->count; i++) {
        mem_free((*w)->list[i].name);
        mem_free((*w)->list[i].cleanup_policy);
    }
    FREE_NULL(w);
}

/* ---- are they there? */

static bool exists(const struct wanted *t, const struct metadata *m)
{
    const struct metadata_topic *topic = metadata_topic(m, str_of(t->name));

    for (int32_t p = 0; topic != NULL && p < topic->partition_count; p++)
        if (!topic->partitions[p].exists || topic->partitions[p].leader < 0)
            return false;
    return topic != NULL && topic->partition_count > 0;
}

bool wanted_topics_exist(const struct wanted_topics *w, const struct metadata *m)
{
    for (int32_t i = 0; w != NULL && i < w->count; i++)
        if (!w->list[i].is_given_up && !exists(&w->list[i], m))
            return false;
    return true;
}

/* ---- asking */

static struct wanted *find(struct wanted_topics *w, struct str name)
{
    for (int32_t i = 0; i < w->count; i++)
        if (str_eq_z(name, w->list[i].name))
            return &w->list[i];
    return NULL;
}

/* What more brokers, a controller or time can cure is tried again. */
static bool is_worth_trying_again(int16_t error)
{
    return error == KE_INVALID_REPLICATION_FACTOR || error == KE_NOT_CONTROLLER ||
           error == KE_REQUEST_TIMED_OUT || kerr_is_retriable(error);
}

static void take_result(struct wanted_topics *w,
                        const struct kp_CreateTopicsResponse_CreatableTopicResult *t)
{
    struct wanted *wanted = find(w, t->name);

    if (wanted == NULL || t->error_code == KE_TOPIC_ALREADY_EXISTS || t->error_code == KE_NONE)
        return;
    if (is_worth_trying_again(t->error_code)) {
        SLOG_EVERY(
            5000, INFO, "broker", "cannot create a topic that topics= names yet, trying again",
            KV_S("topic", wanted->name), KV_KERR(t->error_code), KV_STR("why", t->error_message));
        return;
    }
    wanted->is_given_up = true;
    SLOG(ERROR, "broker", "cannot create a topic named by the option topics, not trying again",
         KV_S("topic", wanted->name), KV_KERR(t->error_code), KV_STR("why", t->error_message));
}

static int32_t count_given_up(const struct wanted_topics *w)
{
    int32_t n = 0;

    for (int32_t i = 0; i < w->count; i++)
        n += w->list[i].is_given_up;
    return n;
}

static void answered(void *arg, enum err err, struct frame *frame UNUSED, struct bytes body)
{
    struct wanted_topics *w = arg;
    struct kp_CreateTopicsResponse m;
    struct arena arena = {.limit = 16 << 20};
    struct errtext why;

    int32_t before = count_given_up(w);

    if (err != ERR_OK)
        return; /* on_close follows */
    if (kp_decode(&kp_CreateTopicsResponse_schema, VERSION, body, &arena, &m, &why) == ERR_OK)
        for (int32_t i = 0; i < m.topics_count; i++)
            take_result(w, &m.topics[i]);
    arena_fini(&arena);
    client_close(&w->client);
    if (count_given_up(w) > before)
        w->given_up(w->arg);
}

static void connection_ended(void *arg, struct client *c UNUSED, enum client_end why UNUSED,
                             int errnum UNUSED)
{
    struct wanted_topics *w = arg;

    w->client = NULL; /* the timer tries again */
}

/* The missing ones, in arrays of the arena. */
static void fill_request(const struct wanted_topics *w, const struct metadata *m, struct arena *a,
                         struct kp_CreateTopicsRequest *out)
{
    kp_defaults(&kp_CreateTopicsRequest_schema, out);
    out->timeout_ms = ANSWER_MAX_MS / 2;
    out->topics = arena_alloc(a, (size_t)w->count * sizeof *out->topics);
    ASSERT(out->topics != NULL); /* no limit, WANTED_MAX of them */
    for (int32_t i = 0; i < w->count; i++) {
        const struct wanted *t = &w->list[i];
        if (t->is_given_up || metadata_topic(m, str_of(t->name)) != NULL)
            continue;
        struct kp_CreateTopicsRequest_CreatableTopic *to = &out->topics[out->topics_count++];
        to->name = str_of(t->name);
        to->num_partitions = t->partitions;
        to->replication_factor = (int16_t)t->replicas;
        if (t->cleanup_policy == NULL)
            continue;
        to->configs = arena_alloc(a, sizeof *to->configs);
        ASSERT(to->configs != NULL);
        to->configs[0].name = STR_LIT("cleanup.policy");
        to->configs[0].value = str_of(t->cleanup_policy);
        to->configs_count = 1;
    }
}

static void ask(struct wanted_topics *w, const struct metadata *m)
{
    struct broker *b = w->broker;
    const struct metadata_broker *mb = metadata_broker(m, metadata_controller_id(m));
    const struct metadata_endpoint *e =
        mb == NULL ? NULL : metadata_endpoint(mb, b->inter_broker_listener->name);
    struct kp_CreateTopicsRequest request;
    struct arena arena = {0};
    struct errtext why;

    if (e == NULL)
        return;
    fill_request(w, m, &arena, &request);
    struct client_options o = {.loop = b->loops[0],
                               .host = e->host,
                               .port = e->port,
                               .client_id = "wanted-topics",
                               .tls = w->tls,
                               .on_close = connection_ended,
                               .arg = w};
    w->client = client_open(&o);
    if (client_send(w->client, KP_API_CREATE_TOPICS, VERSION, &request, ANSWER_MAX_MS, answered, w,
                    &why) != ERR_OK) {
        SLOG(ERROR, "broker", "cannot send the request for the topics named by the option topics",
             KV_S("error", why.text));
        client_close(&w->client);
    }
    arena_fini(&arena);
}

static bool is_any_missing(const struct wanted_topics *w, const struct metadata *m)
{
    for (int32_t i = 0; i < w->count; i++)
        if (!w->list[i].is_given_up && metadata_topic(m, str_of(w->list[i].name)) == NULL)
            return true;
    return false;
}

static void look(struct loop_timer *t)
{
    struct wanted_topics *w = CONTAINER_OF(t, struct wanted_topics, timer);
    const struct metadata *m = metadata_cache_on(w->broker->metadata, w->broker->loops[0]);

    if (wanted_topics_exist(w, m))
        return;
    if (w->client == NULL && is_any_missing(w, m))
        ask(w, m);
    loop_timer_arm(w->broker->loops[0], t, LOOK_MS);
}

void wanted_topics_start(struct wanted_topics *w, struct broker *b, struct tls_context *tls,
                         void (*given_up)(void *arg), void *arg)
{
    w->given_up = given_up;
    w->arg = arg;
    w->broker = b;
    w->tls = tls;
    w->timer.fire = look;
    loop_timer_arm(b->loops[0], &w->timer, 0);
}

void wanted_topics_stop(struct wanted_topics *w)
{
    if (w->broker == NULL)
        return;
    loop_timer_cancel(w->broker->loops[0], &w->timer);
    client_close(&w->client);
}
