/* SPDX-License-Identifier: Apache-2.0 */
/* The table of partitions: shards of chained buckets, each with a short lock of its own that is
 * never held while a partition's lock is taken or anything blocks. Timers walk shard by shard. */
#include "broker/replica/replicas_internal.h"

#include "common/base/clock.h"
#include "common/base/keyed_hash.h"
#include "common/base/slog.h"
#include "common/zk/coord.h"
#include "common/zk/zkdoc.h"

#include <stdio.h>

/* ---- shards */

static uint32_t hash_of(struct str topic, int32_t partition)
{
    return (uint32_t)keyed_hash_with(topic.p, (size_t)i32_max(topic.len, 0), (uint32_t)partition);
}

static struct shard *shard_of(struct replicas *r, uint32_t hash)
{
    return &r->shards[hash % REPLICAS_SHARDS];
}

static struct partition **bucket_of(struct shard *s, uint32_t hash)
{
    return &s->buckets[(hash / REPLICAS_SHARDS) & (s->bucket_count - 1)];
}

static struct partition *find_locked(struct shard *s, struct str topic, int32_t partition,
                                     uint32_t hash)
{
    struct partition *p = *bucket_of(s, hash);

    while (p != NULL &&
           !(p->hash == hash && p->index == partition && str_eq(partition_topic(p), topic)))
        p = p->next_in_shard;
    return p;
}

static void grow_locked(struct shard *s)
{
    struct partition **old = s->buckets;
    size_t old_count = s->bucket_count;

    s->bucket_count = old_count * 2;
    s->buckets = xcalloc(s->bucket_count, sizeof *s->buckets);
    for (size_t i = 0; i < old_count; i++) {
        struct partition *p = old[i];
        while (p != NULL) {
            struct partition *next = p->next_in_shard;
            struct partition **to = bucket_of(s, p->hash);
            p->next_in_shard = *to;
            *to = p;
            p = next;
        }
    }
    mem_free(old);
}

struct partition *replicas_find(struct replicas *r, struct str topic, int32_t partition)
{
    uint32_t hash = hash_of(topic, partition);
    struct shard *s = shard_of(r, hash);
    struct partition *p;

    if (topic.len < 0)
        return NULL;
    lock_take(&s->lock);
    p = find_locked(s, topic, partition, hash);
    if (p != NULL)
        partition_ref(p);
    lock_release(&s->lock);
    return p;
}

struct partition *replicas_find_or_add(struct replicas *r, struct str topic, int32_t partition)
{
    uint32_t hash = hash_of(topic, partition);
    struct shard *s = shard_of(r, hash);
    struct partition *p;

    lock_take(&s->lock);
    p = find_locked(s, topic, partition, hash);
    if (p == NULL) {
        if (s->count >= s->bucket_count)
            grow_locked(s);
        p = partition_new(r, topic, partition, hash); /* the table's reference */
        p->next_in_shard = *bucket_of(s, hash);
        *bucket_of(s, hash) = p;
        s->count++;
    }
    partition_ref(p);
    lock_release(&s->lock);
    return p;
}

void replicas_remove(struct replicas *r, struct partition *p)
{
    struct shard *s = shard_of(r, p->hash);
    struct partition **at;

    lock_take(&s->lock);
    at = bucket_of(s, p->hash);
    while (*at != NULL && *at != p)
        at = &(*at)->next_in_shard;
    if (*at == p) {
        *at = p->next_in_shard;
        s->count--;
    } else {
        p = NULL;
    }
    lock_release(&s->lock);
    partition_unref(&p);
}

static void shard_each(struct shard *s, void (*visit)(void *arg, struct partition *p), void *arg)
{
    struct partition **all;
    size_t n = 0;

    lock_take(&s->lock);
    all = xcalloc(s->count + 1, sizeof *all);
    for (size_t i = 0; i < s->bucket_count; i++) {
        for (struct partition *p = s->buckets[i]; p != NULL; p = p->next_in_shard)
            all[n++] = partition_ref(p);
    }
    lock_release(&s->lock);
    for (size_t i = 0; i < n; i++) {
        visit(arg, all[i]);
        partition_unref(&all[i]);
    }
    mem_free(all);
}

void replicas_each(struct replicas *r, void (*visit)(void *arg, struct partition *p), void *arg)
{
    for (size_t i = 0; i < REPLICAS_SHARDS; i++)
        shard_each(&r->shards[i], visit, arg);
}

/* ---- shared inputs of the partitions */

int64_t replicas_now_ms(const struct replicas *r)
{
    return r->test_now_ms >= 0 ? r->test_now_ms : clock_mono_ms();
}

const struct replicas_options *replicas_options_of(const struct replicas *r)
{
    return &r->o;
}

const struct repl_live *replicas_live(const struct replicas *r)
{
    return &r->live;
}

struct fetchers *replicas_fetchers(const struct replicas *r)
{
    return r->fetchers;
}

struct isr_sender *replicas_isr_sender(const struct replicas *r)
{
    return r->isr_sender;
}

void replicas_note_hw(struct replicas *r)
{
    if (!atomic_load_explicit(&r->hw_is_dirty, memory_order_relaxed))
        atomic_store_explicit(&r->hw_is_dirty, true, memory_order_relaxed);
}

/* ---- endpoints */

bool replicas_endpoint(struct replicas *r, int32_t broker_id, char *host_out, int32_t *port_out)
{
    bool is_known = false;

    lock_take(&r->endpoint_lock);
    for (int32_t i = 0; i < r->endpoint_count && !is_known; i++) {
        if (r->endpoints[i].id != broker_id)
            continue;
        (void)snprintf(host_out, REPLICAS_HOST_MAX, "%s", r->endpoints[i].host);
        *port_out = r->endpoints[i].port;
        is_known = true;
    }
    lock_release(&r->endpoint_lock);
    return is_known;
}

/* Replaces the endpoints. changed_out: some broker is new, moved or gone. */
void replicas_set_endpoints(struct replicas *r, struct replicas_endpoint *list, int32_t count,
                            bool *changed_out)
{
    struct replicas_endpoint *old;
    int32_t old_count;
    int32_t same = 0;

    lock_take(&r->endpoint_lock);
    old = r->endpoints;
    old_count = r->endpoint_count;
    for (int32_t i = 0; i < old_count; i++) {
        bool is_there = false;
        for (int32_t j = 0; j < count; j++) {
            if (old[i].id != list[j].id)
                continue;
            is_there = true;
            if (old[i].port == list[j].port && strcmp(old[i].host, list[j].host) == 0)
                same++;
        }
        if (!is_there)
            repl_live_set(&r->live, old[i].id, false);
    }
    for (int32_t j = 0; j < count; j++)
        repl_live_set(&r->live, list[j].id, true);
    r->endpoints = list;
    r->endpoint_count = count;
    lock_release(&r->endpoint_lock);
    *changed_out = same != old_count || same != count;
    mem_free(old);
}

void replicas_note_leader(struct replicas *r, int32_t broker_id, struct str host, int32_t port)
{
    bool is_known = false;

    if (host.len <= 0 || host.len >= REPLICAS_HOST_MAX || port <= 0 || port > UINT16_MAX ||
        broker_id < 0)
        return;
    lock_take(&r->endpoint_lock);
    for (int32_t i = 0; i < r->endpoint_count; i++)
        is_known |= r->endpoints[i].id == broker_id;
    if (!is_known && r->endpoint_count < REPLICAS_BROKERS_MAX) {
        struct replicas_endpoint *e;
        r->endpoints =
            xrealloc(r->endpoints, ((size_t)r->endpoint_count + 1) * sizeof *r->endpoints);
        e = &r->endpoints[r->endpoint_count++];
        e->id = broker_id;
        e->port = port;
        (void)snprintf(e->host, sizeof e->host, "%.*s", STR_ARG(host));
        repl_live_set(&r->live, broker_id, true);
    }
    lock_release(&r->endpoint_lock);
    if (is_known)
        return;
    fetchers_endpoints_changed(r->fetchers);
    replicas_brokers_changed(r);
}

/* ---- lag timer */

static void tick_visit(void *arg, struct partition *p)
{
    struct wake w;

    (void)arg;
    partition_lock(p, &w);
    if (p->core.role == REPL_LEADER)
        partition_step_locked(p, &(struct repl_event){.kind = REPL_EV_TICK}, &w);
    partition_unlock(p, &w);
}

void replicas_tick_all(struct replicas *r)
{
    replicas_each(r, tick_visit, NULL);
}

/* Each partition is looked at twice in the lag time; a slice of the shards at a time. */
static void on_lag_timer(struct loop_timer *t)
{
    struct replicas *r = CONTAINER_OF(t, struct replicas, lag_timer);

    for (size_t i = 0; i < REPLICAS_SHARDS / LAG_SLICES; i++) {
        shard_each(&r->shards[r->lag_shard], tick_visit, NULL);
        r->lag_shard = (r->lag_shard + 1) % REPLICAS_SHARDS;
    }
    loop_timer_arm(r->o.loops[0], &r->lag_timer,
                   i64_max(1, r->o.limits.lag_time_max_ms / 2 / LAG_SLICES));
}

static void lost_run(struct pool_job *j)
{
    struct replicas *r = CONTAINER_OF(j, struct replicas, lost_job);

    atomic_store(&r->lost_is_queued, false);
    replicas_tick_all(r);
    replicas_job_ended(r);
}

/* A broker has gone or come: partitions whose HW waited for it look again, and replicas that were
 * not known to be alive when they fetched may join the ISR. */
void replicas_brokers_changed(struct replicas *r)
{
    if (atomic_exchange(&r->lost_is_queued, true) || !replicas_job_begins(r))
        return;
    pool_submit_always(r->o.pool, &r->lost_job);
}

/* ---- jobs of our own on the pool: stop waits for them */

bool replicas_job_begins(struct replicas *r)
{
    bool may;

    lock_take(&r->job_lock);
    may = !r->is_stopped;
    r->jobs += may;
    lock_release(&r->job_lock);
    return may;
}

void replicas_job_ended(struct replicas *r)
{
    lock_take(&r->job_lock);
    ASSERT(r->jobs > 0);
    r->jobs--;
    if (r->jobs == 0)
        MUST(pthread_cond_broadcast(&r->job_cond) == 0);
    lock_release(&r->job_lock);
}

static void wait_for_jobs(struct replicas *r)
{
    lock_take(&r->job_lock);
    while (r->jobs > 0)
        (void)lock_wait(&r->job_lock, &r->job_cond, -1);
    r->is_stopped = true;
    lock_release(&r->job_lock);
}

/* ---- checkpoint of high watermarks */

static void checkpoint(struct replicas *r)
{
    enum err rc = log_manager_checkpoint_hw(r->o.logs);

    if (rc == ERR_OK)
        return;
    replicas_note_hw(r); /* once more with the next */
    SLOG(ERROR, "replica", "the checkpoint of high watermarks failed", KV_ERR(rc));
}

static void checkpoint_run(struct pool_job *j)
{
    struct replicas *r = CONTAINER_OF(j, struct replicas, checkpoint_job);

    checkpoint(r);
    atomic_store(&r->checkpoint_is_queued, false);
    replicas_job_ended(r);
}

/* Not before the first LeaderAndIsr: until then the log's HW is what the file says. */
static void on_checkpoint_timer(struct loop_timer *t)
{
    struct replicas *r = CONTAINER_OF(t, struct replicas, checkpoint_timer);

    /* while one is being written, the mark of what it may have missed stays */
    if (atomic_load(&r->has_orders) && !atomic_load(&r->checkpoint_is_queued) &&
        atomic_exchange(&r->hw_is_dirty, false) && replicas_job_begins(r)) {
        atomic_store(&r->checkpoint_is_queued, true);
        pool_submit_always(r->o.pool, &r->checkpoint_job);
    }
    loop_timer_arm(r->o.loops[0], &r->checkpoint_timer, r->o.hw_checkpoint_interval_ms);
}

/* ---- news of roles */

void replicas_tell_role(struct replicas *r, struct partition *p)
{
    struct wake w;
    bool is_leader, is_news;
    int32_t epoch;

    partition_lock(p, &w);
    is_leader = p->core.role == REPL_LEADER;
    epoch = p->core.leader_epoch;
    is_news = is_leader ? p->told_epoch != epoch : p->told_epoch >= 0;
    p->told_epoch = is_leader ? epoch : -1;
    partition_unlock(p, &w);
    if (is_news && r->o.role_changed != NULL)
        r->o.role_changed(r->o.arg, partition_topic(p), p->index, is_leader, epoch);
}

/* ---- failed log dirs */

struct dir_failure {
    struct pool_job job;
    struct replicas *replicas;
    char *dir;
    int32_t partitions;
};

static void fail_visit(void *arg, struct partition *p)
{
    struct dir_failure *f = arg;
    struct wake w;
    bool is_there;

    partition_lock(p, &w);
    is_there = p->log != NULL && strcmp(log_dir_of(p->log), f->dir) == 0;
    if (is_there)
        partition_fail_locked(p, &w);
    partition_unlock(p, &w);
    f->partitions += is_there;
    if (is_there)
        replicas_tell_role(f->replicas, p);
}

static bool any_dir_left(struct replicas *r)
{
    struct log_dir_info dirs[64];
    int count = log_manager_dirs(r->o.logs, dirs, (int)ARRAY_LEN(dirs));

    for (int i = 0; i < count; i++) {
        if (!dirs[i].is_offline)
            return true;
    }
    return false;
}

/* The controller asks everybody on this broker again and learns which partitions are offline. */
static void tell_dir_failure(struct replicas *r)
{
    struct zkdoc_log_dir_event event = {.broker_id = r->o.broker_id, .event = 1};
    struct buf data = {0};
    enum err rc;

    if (r->o.coord == NULL)
        return;
    zkdoc_log_dir_event_format(&event, &data);
    rc = coord_create_wait(r->o.coord, "/log_dir_event_notification/log_dir_event_",
                           (struct bytes){data.p, (int64_t)data.len}, COORD_SEQUENTIAL, NULL);
    if (rc != ERR_OK)
        SLOG(ERROR, "replica", "the controller cannot be told of the failed log dir", KV_ERR(rc));
    buf_fini(&data);
}

static void dir_failed_run(struct pool_job *j)
{
    struct dir_failure *f = CONTAINER_OF(j, struct dir_failure, job);
    struct replicas *r = f->replicas;

    replicas_each(r, fail_visit, f);
    SLOG(ERROR, "replica", "log dir is offline", KV_S("dir", f->dir),
         KV_I("partitions", f->partitions));
    if (any_dir_left(r))
        tell_dir_failure(r);
    else if (r->o.no_dir_left != NULL)
        r->o.no_dir_left(r->o.arg);
    mem_free(f->dir);
    mem_free(f);
    replicas_job_ended(r);
}

/* The failed write may have been made under a partition's lock, so the work is done elsewhere. */
void replicas_dir_failed(void *arg, const char *dir)
{
    struct replicas *r = arg;
    struct dir_failure *f;

    if (!replicas_job_begins(r))
        return; /* nothing is served any more */
    f = xcalloc(1, sizeof *f);
    f->job.run = dir_failed_run;
    f->replicas = r;
    f->dir = xstrdup(dir);
    pool_submit_always(r->o.pool, &f->job);
}

/* ---- settings of a topic */

struct config_change { /* of one topic, or of all by get */
    struct str topic;
    const struct log_config *config;
    void (*get)(void *arg, struct str topic, struct log_config *out);
    void *arg;
};

static void set_config(struct partition *p, const struct log_config *config) NO_THREAD_SAFETY
{
    struct wake w;

    replicas_log_lock(p); /* waits for a truncation */
    if (p->log != NULL)
        log_set_config(p->log, config);
    w.list_count = 0;
    w.chain_count = 0;
    partition_step_locked(
        p, &(struct repl_event){.kind = REPL_EV_MIN_ISR, .min_isr = {config->min_insync_replicas}},
        &w);
    partition_unlock(p, &w);
}

static void config_visit(void *arg, struct partition *p)
{
    const struct config_change *c = arg;
    struct log_config config;

    if (c->get != NULL) {
        c->get(c->arg, partition_topic(p), &config);
        set_config(p, &config);
    } else if (str_eq(partition_topic(p), c->topic)) {
        set_config(p, c->config);
    }
}

void replicas_all_configs_changed(struct replicas *r,
                                  void (*get)(void *arg, struct str topic, struct log_config *out),
                                  void *arg)
{
    replicas_each(r, config_visit, &(struct config_change){.get = get, .arg = arg});
}

void replicas_topic_config_changed(struct replicas *r, struct str topic, const struct log_config *c)
{
    replicas_each(r, config_visit, &(struct config_change){.topic = topic, .config = c});
}

/* ---- numbers */

static void count_visit(void *arg, struct partition *p)
{
    struct replicas_numbers *n = arg;
    struct wake w;

    partition_lock(p, &w);
    n->partitions++;
    n->offline += p->is_offline;
    if (p->core.role == REPL_FOLLOWER)
        n->max_follower_lag = i64_max(n->max_follower_lag, p->lag);
    if (p->core.role == REPL_LEADER) {
        int16_t min_isr = repl_effective_min_isr(&p->core);
        n->leaders++;
        n->under_replicated += repl_is_under_replicated(&p->core);
        n->under_min_isr += p->core.isr_count < min_isr;
        n->at_min_isr += p->core.isr_count == min_isr;
    }
    partition_unlock(p, &w);
}

void replicas_count(struct replicas *r, struct replicas_numbers *out)
{
    *out = (struct replicas_numbers){0};
    replicas_each(r, count_visit, out);
    isr_sender_count(r->isr_sender, out);
}

/* ---- life */

static void add_loaded(void *arg, struct log *l)
{
    struct replicas *r = arg;
    struct partition *p = replicas_find_or_add(r, log_topic(l), log_partition(l));

    replicas_attach_locked(p, l); /* nobody else knows it yet */
    log_set_user(l, p);
    partition_unref(&p);
}

void replicas_attach_locked(struct partition *p, struct log *l)
{
    p->log = l;
    p->topic_id = log_topic_id(l);
    p->core.start_offset = log_start_offset(l);
    p->core.hw_offset = log_high_watermark(l);
    p->core.end_offset = log_end_offset(l);
}

struct replicas *replicas_new(const struct replicas_options *o)
{
    struct replicas *r = xcalloc(1, sizeof *r);

    r->o = *o;
    r->test_now_ms = -1;
    r->controller_epoch = -1;
    for (size_t i = 0; i < REPLICAS_SHARDS; i++) {
        lock_init(&r->shards[i].lock, LOCK_REPLICA_TABLE);
        r->shards[i].bucket_count = 4;
        r->shards[i].buckets = xcalloc(4, sizeof *r->shards[i].buckets);
    }
    lock_init(&r->endpoint_lock, LOCK_LEAF);
    lock_init(&r->order_lock, LOCK_LEAF);
    lock_init(&r->job_lock, LOCK_LEAF);
    lock_cond_init(&r->job_cond);
    STAILQ_INIT(&r->batches);
    r->lag_timer.fire = on_lag_timer;
    r->checkpoint_timer.fire = on_checkpoint_timer;
    r->checkpoint_job.run = checkpoint_run;
    r->lost_job.run = lost_run;
    r->fetchers = fetchers_new(r);
    r->isr_sender = isr_sender_new(r);
    log_manager_each(o->logs, add_loaded, r);
    return r;
}

static void start_on_loop(void *arg)
{
    struct replicas *r = arg;

    loop_timer_arm(r->o.loops[0], &r->lag_timer,
                   i64_max(1, r->o.limits.lag_time_max_ms / 2 / LAG_SLICES));
    loop_timer_arm(r->o.loops[0], &r->checkpoint_timer, r->o.hw_checkpoint_interval_ms);
}

void replicas_start(struct replicas *r)
{
    loop_call(r->o.loops[0], start_on_loop, r);
}

static void stop_on_loop(void *arg)
{
    struct replicas *r = arg;

    loop_timer_cancel(r->o.loops[0], &r->lag_timer);
    loop_timer_cancel(r->o.loops[0], &r->checkpoint_timer);
}

void replicas_stop(struct replicas *r)
{
    loop_call(r->o.loops[0], stop_on_loop, r);
    fetchers_stop(r->fetchers);
    isr_sender_stop(r->isr_sender);
    wait_for_jobs(r);
    if (atomic_load(&r->has_orders))
        checkpoint(r);
}

static void detach_visit(void *arg, struct partition *p)
{
    (void)arg;
    p->log = NULL; /* freed by now */
    replicas_remove(p->owner, p);
}

void replicas_free(struct replicas **rp)
{
    struct replicas *r = *rp;

    *rp = NULL;
    if (r == NULL)
        return;
    replicas_each(r, detach_visit, NULL);
    fetchers_free(&r->fetchers);
    isr_sender_free(&r->isr_sender);
    for (size_t i = 0; i < REPLICAS_SHARDS; i++) {
        ASSERT(r->shards[i].count == 0);
        mem_free(r->shards[i].buckets);
        lock_fini(&r->shards[i].lock);
    }
    lock_fini(&r->endpoint_lock);
    lock_fini(&r->order_lock);
    lock_fini(&r->job_lock);
    MUST(pthread_cond_destroy(&r->job_cond) == 0);
    mem_free(r->endpoints);
    mem_free(r);
}
