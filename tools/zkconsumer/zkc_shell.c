/* SPDX-License-Identifier: Apache-2.0 */
/* The driver: one thread, one mailbox. Answers of ZooKeeper, fired watches and session changes come
 * as mail and become events of the core; its effects become calls. */
#include "tools/zkconsumer/zkc_shell_internal.h"

#include "common/base/clock.h"

#include <poll.h>

enum {
    IDLE_MS = 1000,         /* the longest sleep: librdkafka's callbacks want to be served */
    BROKERS_AGAIN_MS = 1000 /* between two reads of their addresses */
};

/* ---- effects */

static struct zkc_stream *stream_of(struct kafuka_zkc *z, const char *topic, int32_t i)
{
    for (int32_t s = 0; s < z->subscription_count; s++) {
        struct zkc_streams *g = &z->streams[s];

        if ((g->topic == NULL || strcmp(g->topic, topic) == 0) && i >= 0 && i < g->count)
            return g->v[i];
    }
    return NULL;
}

static void commit_finished(struct kafuka_zkc *z, enum kafuka_zkc_status status)
{
    struct zkc_commit *k = z->commits;

    if (k == NULL)
        return;
    z->commits = k->next;
    if (z->commits == NULL)
        z->commits_end = &z->commits;
    lock_take(&z->lock);
    k->is_done = true;
    k->status = status;
    MUST(pthread_cond_broadcast(&z->changed) == 0);
    lock_release(&z->lock);
    zkc_commit_unref(k);
}

/* A copy for kafuka_zkc_history(), which may be asked by any thread. */
static void copy_history(struct kafuka_zkc *z)
{
    int64_t now = clock_mono_ms(), wall = clock_wall_ms();

    lock_take(&z->lock);
    z->history_count = 0;
    for (int32_t i = 0; zkc_core_history(&z->core, i) != NULL; i++) {
        z->history[i] = *zkc_core_history(&z->core, i);
        z->history_wall_ms[i] = wall - (now - z->history[i].began_ms);
        z->history_count++;
    }
    lock_release(&z->lock);
}

static void do_trace(struct kafuka_zkc *z, const struct zkc_effect *effects)
{
    struct buf line = {0};
    enum kafuka_zkc_level level = zkc_trace_text(effects, &line);

    zkc_log(z, level, "%s", buf_cstr(&line));
    buf_fini(&line);
    if (effects->trace == ZKC_TRACE_REBALANCE || effects->trace == ZKC_TRACE_REBALANCED)
        copy_history(z);
}

static void perform(struct kafuka_zkc *z, const struct zkc_effect *effects)
{
    switch (effects->kind) {
    case ZKC_EFFECT_REGISTER:
        zkc_do_register(z, effects);
        break;
    case ZKC_EFFECT_HEARTBEAT:
        zkc_do_heartbeat(z, effects);
        break;
    case ZKC_EFFECT_READ:
        zkc_do_read(z, effects);
        break;
    case ZKC_EFFECT_CLAIM:
        zkc_do_claim(z, effects);
        break;
    case ZKC_EFFECT_READ_OFFSET:
        zkc_do_read_offset(z, effects);
        break;
    case ZKC_EFFECT_RESOLVE:
        zkc_fetch_resolve(z->fetch, effects->topic, effects->partition, effects->seq);
        break;
    case ZKC_EFFECT_START_FETCH: {
        struct zkc_stream *s = stream_of(z, effects->topic, effects->stream);

        ASSERT(s != NULL); /* the core only assigns what we subscribed to */
        zkc_fetch_start(z->fetch, effects->topic, effects->partition, s, effects->offset,
                        effects->seq);
        break;
    }
    case ZKC_EFFECT_STOP_FETCH:
        zkc_fetch_stop(z->fetch, effects->topic, effects->partition, effects->seq, clock_mono_ms());
        break;
    case ZKC_EFFECT_DROP_FETCH:
        zkc_fetch_drop(z->fetch, effects->topic, effects->partition);
        break;
    case ZKC_EFFECT_COMMIT:
        zkc_do_commit(z, effects);
        break;
    case ZKC_EFFECT_RELEASE:
        zkc_do_release(z, effects);
        break;
    case ZKC_EFFECT_BROKERS:
        zkc_do_brokers(z);
        break;
    case ZKC_EFFECT_COMMIT_DONE:
        commit_finished(z, effects->offset == 0 ? KAFUKA_ZKC_OK : KAFUKA_ZKC_ERROR);
        break;
    case ZKC_EFFECT_CLOSE:
        z->is_closed = true;
        break;
    case ZKC_EFFECT_TRACE:
        do_trace(z, effects);
        break;
    }
}

/* ---- what comes in */

static void on_state(void *arg, enum coord_state s, bool session_is_new)
{
    struct kafuka_zkc *z;
    struct zkc_event ev = {.kind = ZKC_EV_EXPIRED};

    CAST_OBJ(z, arg, KAFUKA_ZKC_MAGIC);
    if (s == COORD_EXPIRED)
        zkc_step(z, ev);
    else if (s == COORD_DISCONNECTED && !z->is_closed)
        zkc_log(z, KAFUKA_ZKC_INFO,
                "ZooKeeper cannot be reached; records are handed out as long "
                "as nobody else can own their partitions");
    if (s != COORD_CONNECTED || !session_is_new || z->coord == NULL)
        return;
    ev.kind = ZKC_EV_SESSION;
    ev.session.timeout_ms = coord_session_timeout_ms(z->coord);
    zkc_step(z, ev);
}

/* "/consumers/<g>/owners/<t>/<p>" */
static void owner_changed(struct kafuka_zkc *z, const char *rest)
{
    const char *slash = strrchr(rest, '/');
    struct zkc_event ev = {.kind = ZKC_EV_OWNER_GONE};
    int64_t partition;
    char *topic;
    struct bytes number;

    if (slash == NULL)
        return;
    number = (struct bytes){(const uint8_t *)slash + 1, (int64_t)strlen(slash + 1)};
    if (zkdoc_number_parse(number, 0, INT32_MAX, &partition, NULL) != ERR_OK)
        return;
    topic = xstrndup(rest, (size_t)(slash - rest));
    ev.part.topic = topic;
    ev.part.partition = (int32_t)partition;
    zkc_step(z, ev);
    mem_free(topic);
}

static void on_change(void *arg, enum coord_change kind UNUSED, const char *path)
{
    struct kafuka_zkc *z;
    struct zkc_event ev = {.kind = ZKC_EV_CHANGED, .changed = {.what = ZKC_TOPIC}};
    const char *group;
    size_t len;

    CAST_OBJ(z, arg, KAFUKA_ZKC_MAGIC);
    group = z->settings.group_id;
    len = strlen(group);
    if (strncmp(path, "/consumers/", 11) == 0 && strncmp(path + 11, group, len) == 0 &&
        path[11 + len] == '/') {
        const char *rest = path + 11 + len + 1;

        if (strncmp(rest, "owners/", 7) == 0)
            owner_changed(z, rest + 7);
        if (strcmp(rest, "ids") != 0)
            return;
        ev.changed.what = ZKC_MEMBERS;
    } else if (strcmp(path, "/brokers/ids") == 0) {
        ev.changed.what = ZKC_BROKERS;
    } else if (strcmp(path, "/brokers/topics") == 0) {
        ev.changed.what = ZKC_TOPICS;
    } else if (strncmp(path, "/brokers/topics/", 16) != 0) {
        return;
    }
    zkc_step(z, ev);
}

static void collect(struct kafuka_zkc *z)
{
    struct zkc_fetch_result r;

    while (!z->is_closed && zkc_fetch_collect(z->fetch, clock_mono_ms(), &r)) {
        struct zkc_event ev = {
            .part = {.topic = r.topic, .partition = r.partition, .seq = r.seq, .offset = r.offset}};

        switch (r.kind) {
        case ZKC_FETCHED_STOPPED:
            ev.kind = ZKC_EV_STOPPED;
            break;
        case ZKC_FETCHED_OUT_OF_RANGE:
            zkc_log(z, KAFUKA_ZKC_WARN, "%s-%d: offset %" PRId64 " is not in the log", r.topic,
                    r.partition, r.offset);
            ev.kind = ZKC_EV_OUT_OF_RANGE;
            break;
        case ZKC_FETCHED_RESOLVED:
            ev.kind = ZKC_EV_RESOLVED;
            ev.result = r.offset >= 0 ? ZKC_OK : ZKC_FAILED;
            break;
        }
        zkc_step(z, ev);
    }
}

static void poked(struct mail *m)
{
    struct zkc_poke *p = CONTAINER_OF(m, struct zkc_poke, mail);

    atomic_store(&p->is_posted, false); /* before the look: a later poke comes again */
    collect(p->shell);
}

static void poke(struct zkc_poke *p)
{
    if (!atomic_exchange(&p->is_posted, true))
        mailbox_post(&p->shell->mailbox, &p->mail);
}

static void wake_cb(void *arg)
{
    struct kafuka_zkc *z = arg;

    poke(&z->poke);
}

static void tell_cb(void *arg, bool is_error, const char *text)
{
    struct kafuka_zkc *z = arg;

    zkc_log(z, is_error ? KAFUKA_ZKC_ERROR_LEVEL : KAFUKA_ZKC_WARN, "%s", text);
}

static void stop_asked(struct mail *m)
{
    struct zkc_poke *p = CONTAINER_OF(m, struct zkc_poke, mail);

    zkc_step(p->shell, (struct zkc_event){.kind = ZKC_EV_STOP});
}

/* The application's commits, one after the other. */
static void begin_commits(struct kafuka_zkc *z)
{
    while (!z->is_closed && z->commits != NULL && z->core.request == 0) {
        struct zkc_event ev = {.kind = ZKC_EV_COMMIT};

        if (++z->next_request == 0)
            z->next_request = 1;
        ev.commit.request = z->next_request;
        zkc_step(z, ev); /* takes the first one off the list when it is done */
    }
}

/* ---- the thread */

static int64_t sleep_ms(struct kafuka_zkc *z)
{
    int64_t now = clock_mono_ms();
    int64_t until = i64_min(zkc_core_deadline_ms(&z->core), zkc_fetch_deadline_ms(z->fetch));

    return until <= now ? 0 : i64_min(until - now, IDLE_MS);
}

static void *thread_main(void *arg)
{
    struct kafuka_zkc *z = arg;

    zkc_step(z, (struct zkc_event){.kind = ZKC_EV_SESSION,
                                   .session = {.timeout_ms = coord_session_timeout_ms(z->coord)}});
    while (!z->is_closed) {
        struct pollfd p = {.fd = z->mailbox.fd, .events = POLLIN};

        (void)poll(&p, 1, (int)sleep_ms(z));
        (void)mailbox_deliver(&z->mailbox);
        collect(z);
        if (zkc_fetch_poll(z->fetch) && clock_mono_ms() - z->brokers_ms >= BROKERS_AGAIN_MS &&
            !z->is_closed)
            zkc_do_brokers(z);
        if (!z->is_closed && zkc_core_deadline_ms(&z->core) <= clock_mono_ms())
            zkc_step(z, (struct zkc_event){.kind = ZKC_EV_TICK});
        begin_commits(z);
    }
    zkc_fetch_close(z->fetch);
    coord_unwatch(z->coord, z);
    coord_close(&z->coord);
    (void)mailbox_deliver(&z->mailbox); /* the calls that were on their way */
    while (z->commits != NULL)
        commit_finished(z, KAFUKA_ZKC_CLOSED);
    lock_take(&z->lock);
    z->has_left = true;
    lock_release(&z->lock);
    (void)mailbox_deliver(&z->mailbox); /* commits that were asked for until then */
    return NULL;
}

static void fill_options(struct kafuka_zkc *z)
{
    const struct zkc_settings *s = &z->settings;

    z->options = (struct zkc_options){
        .member_id = z->member_id,
        .pattern = z->pattern,
        .subscriptions = z->subscriptions,
        .subscription_count = z->subscription_count,
        .strategy = strcmp(s->strategy, "range") == 0 ? ZKC_RANGE : ZKC_ROUND_ROBIN,
        .hash_text = s->hash_text[0] == '[' ? ZKC_TEXT_BRACKETS : ZKC_TEXT_DASH,
        .is_ceil = strcmp(s->assignment, "ceil") == 0,
        .exclude_internal = s->exclude_internal,
        .auto_commit = s->auto_commit,
        .auto_commit_interval_ms = s->auto_commit_interval_ms,
        .backoff_ms = s->backoff_ms,
        .max_retries = s->max_retries,
        .resync_ms = s->resync_ms,
        .leave_max_ms = s->leave_max_ms,
    };
}

static enum err open_fetch(struct kafuka_zkc *z, struct errtext *why)
{
    struct zkc_fetch_options o = {
        .conf = rd_kafka_conf_dup(z->settings.rk), /* ours is looked at later */
        .from_smallest = strcmp(z->settings.offset_reset, "smallest") == 0 ||
                         strcmp(z->settings.offset_reset, "earliest") == 0,
        .done_explicit = z->settings.done_explicit,
        .drain_max_ms = z->settings.drain_max_ms,
        .next_max_ms = z->settings.consumer_timeout_ms,
        .wake = wake_cb,
        .tell = tell_cb,
        .arg = z,
    };
    enum err rc = zkc_fetch_new(&o, &z->fetch, why);

    for (int32_t s = 0; rc == ERR_OK && s < z->subscription_count; s++) {
        struct zkc_streams *g = &z->streams[s];

        g->count = z->subscriptions[s].streams;
        g->v = xcalloc((size_t)g->count + 1, sizeof(struct zkc_stream *));
        for (int32_t i = 0; i < g->count; i++)
            g->v[i] = zkc_fetch_add_stream(z->fetch);
    }
    return rc;
}

enum err zkc_shell_start(struct kafuka_zkc *z, struct errtext *why)
{
    struct coord_options co = {
        .connect = z->settings.zookeeper_connect,
        .session_timeout_ms = z->settings.session_timeout_ms,
        .connection_timeout_ms = z->settings.connection_timeout_ms,
        .mailbox = &z->mailbox,
        .on_state = on_state,
        .arg = z,
    };
    enum err rc = open_fetch(z, why);

    if (rc != ERR_OK)
        return rc;
    fill_options(z);
    rc = coord_open(&co, &z->coord, why);
    if (rc != ERR_OK) {
        (void)mailbox_deliver(&z->mailbox);
        return rc;
    }
    coord_watch(z->coord, "/", &z->mailbox, on_change, z);
    z->perform = perform;
    z->pending_end = &z->pending;
    z->commits_end = &z->commits;
    z->poke.mail.deliver = poked;
    z->poke.shell = z;
    z->stop.mail.deliver = stop_asked;
    z->stop.shell = z;
    zkc_core_init(&z->core, &z->options, clock_mono_ms());
    MUST(pthread_create(&z->thread, NULL, thread_main, z) == 0);
    z->is_started = true;
    return ERR_OK;
}

void zkc_shell_stop(struct kafuka_zkc *z)
{
    if (z->is_started) {
        poke(&z->stop);
        MUST(pthread_join(z->thread, NULL) == 0);
        zkc_fetch_free(&z->fetch); /* its worker may poke until here */
        (void)mailbox_deliver(&z->mailbox);
        zkc_core_fini(&z->core);
    }
    zkc_fetch_free(&z->fetch);
}

void zkc_commit_unref(struct zkc_commit *k)
{
    if (atomic_fetch_sub(&k->refs, 1) == 1)
        mem_free(k);
}
