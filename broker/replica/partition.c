/* SPDX-License-Identifier: Apache-2.0 */
/* A partition: its log and its repl_core under one lock. Each function takes the lock, asks the
 * core, uses the log, steps the core, carries the effects out, and tells waiters and watchers after
 * the lock is released (they are collected in a struct wake). */
#include "broker/replica/partition_internal.h"

#include "common/base/clock.h"
#include "common/base/slog.h"

#include <stdio.h>

/* ---- life */

struct partition *partition_new(struct replicas *owner, struct str topic, int32_t index,
                                uint32_t hash)
{
    struct partition *p = xcalloc(1, sizeof *p + (size_t)topic.len + 1);

    p->magic = PARTITION_MAGIC;
    atomic_init(&p->refs, 1);
    p->owner = owner;
    lock_init(&p->lock, LOCK_PARTITION);
    repl_init(&p->core, replicas_options_of(owner)->broker_id);
    for (size_t i = 0; i < ARRAY_LEN(p->watches); i++)
        LIST_INIT(&p->watches[i]);
    TAILQ_INIT(&p->waits_hw);
    TAILQ_INIT(&p->waits_count);
    STAILQ_INIT(&p->deferred);
    SLIST_INIT(&p->sleepers);
    p->fetching_from = -1;
    p->told_epoch = -1;
    p->index = index;
    p->hash = hash;
    p->topic_len = topic.len;
    memcpy(p->topic, topic.p, (size_t)topic.len);
    return p;
}

struct partition *partition_ref(struct partition *p)
{
    CHECK_OBJ(p, PARTITION_MAGIC);
    MUST(atomic_fetch_add_explicit(&p->refs, 1, memory_order_relaxed) > 0);
    return p;
}

static void partition_destroy(struct partition *p)
{
    ASSERT(TAILQ_EMPTY(&p->waits_hw) && TAILQ_EMPTY(&p->waits_count));
    ASSERT(LIST_EMPTY(&p->watches[WATCH_LEO]) && LIST_EMPTY(&p->watches[WATCH_HW]));
    ASSERT(STAILQ_EMPTY(&p->deferred) && SLIST_EMPTY(&p->sleepers));
    ASSERT(!p->is_busy && !p->is_proposing);
    repl_fini(&p->core);
    lock_fini(&p->lock);
    p->magic = 0;
    mem_free(p);
}

void partition_unref(struct partition **pp)
{
    struct partition *p = *pp;

    *pp = NULL;
    if (p == NULL)
        return;
    CHECK_OBJ(p, PARTITION_MAGIC);
    if (atomic_fetch_sub_explicit(&p->refs, 1, memory_order_acq_rel) == 1)
        partition_destroy(p);
}

void partition_dump(int fd, void *arg UNUSED)
{
    struct lock *l = lock_held(LOCK_PARTITION);
    const struct partition *p = l == NULL ? NULL : CONTAINER_OF(l, struct partition, lock);
    const struct repl_core *c = p == NULL ? NULL : &p->core;

    if (p == NULL || p->magic != PARTITION_MAGIC) {
        (void)dprintf(fd, "partition: this thread holds none\n");
        return;
    }
    (void)dprintf(fd,
                  "partition: %.*s-%d role=%d leader=%d leader_epoch=%d partition_epoch=%d "
                  "start_offset=%" PRId64 " hw_offset=%" PRId64 " end_offset=%" PRId64
                  " isr_count=%d isr_state=%d is_truncating=%d is_busy=%d is_offline=%d\n",
                  p->topic_len, p->topic, p->index, (int)c->role, c->leader_id, c->leader_epoch,
                  c->partition_epoch, c->start_offset, c->hw_offset, c->end_offset, c->isr_count,
                  (int)c->isr_state, c->is_truncating, p->is_busy, p->is_offline);
}

struct str partition_topic(const struct partition *p)
{
    return (struct str){p->topic, p->topic_len};
}

int32_t partition_index(const struct partition *p)
{
    return p->index;
}

/* ---- waking */

static void waits_delivered(struct mail *m)
{
    struct partition_wait *w = CONTAINER_OF(m, struct partition_wait, mail);

    while (w != NULL) {
        struct partition_wait *next = w->next_woken;
        struct partition *p = w->partition;
        w->partition = NULL;
        w->woken(w); /* may free w */
        partition_unref(&p);
        w = next;
    }
}

static void post_waits(struct loop *loop, struct partition_wait *first)
{
    first->mail.deliver = waits_delivered;
    loop_post(loop, &first->mail);
}

/* The wait is out of its list and decided: it goes to its loop, in one mail with the others of that
 * loop. */
static void wake_add_wait(struct wake *w, struct partition_wait *wait)
{
    int i = 0;

    wait->next_woken = NULL;
    while (i < w->chain_count && w->chains[i].loop != wait->loop)
        i++;
    if (i == WAKE_LOOPS_MAX) {
        post_waits(wait->loop, wait);
        return;
    }
    if (i == w->chain_count) {
        w->chains[i].loop = wait->loop;
        w->chains[i].first = wait;
        w->chain_count++;
    } else {
        w->chains[i].last->next_woken = wait;
    }
    w->chains[i].last = wait;
}

static void wake_send(struct wake *w)
{
    for (int i = 0; i < w->list_count; i++)
        watch_list_post(w->lists[i]);
    for (int i = 0; i < w->chain_count; i++)
        post_waits(w->chains[i].loop, w->chains[i].first);
}

void partition_wake_locked(struct partition *p, enum partition_watch_kind kind, struct wake *w)
{
    struct partition_watch *watch;

    LIST_FOREACH (watch, &p->watches[kind], link) {
        if (!watch_list_mark(watch))
            continue;
        if (w->list_count < WAKE_LISTS_MAX)
            w->lists[w->list_count++] = watch->list;
        else
            watch_list_post(watch->list);
    }
}

static int16_t lost_code(const struct partition *p)
{
    return p->is_offline ? KE_KAFKA_STORAGE_ERROR : KE_NOT_LEADER_OR_FOLLOWER;
}

/* Ordered by offset: stops at the first that has to wait on. */
static void finish_waits(struct partition *p, struct partition_wait_list *list, bool in_order,
                         struct wake *w)
{
    struct partition_wait *wait = TAILQ_FIRST(list);

    while (wait != NULL) {
        struct partition_wait *next = TAILQ_NEXT(wait, link);
        if (repl_is_replicated(&p->core, wait->leader_epoch, wait->required_offset, wait->acks,
                               &wait->result)) {
            if (wait->result == KE_NOT_LEADER_OR_FOLLOWER)
                wait->result = lost_code(p);
            TAILQ_REMOVE(list, wait, link);
            wait->is_waiting = false;
            wake_add_wait(w, wait);
        } else if (in_order) {
            return;
        }
        wait = next;
    }
}

/* ---- lock, step, effects */

void partition_lock(struct partition *p, struct wake *w) NO_THREAD_SAFETY
{
    CHECK_OBJ(p, PARTITION_MAGIC);
    w->list_count = 0;
    w->chain_count = 0;
    lock_take(&p->lock);
}

void partition_unlock(struct partition *p, struct wake *w) NO_THREAD_SAFETY
{
    lock_release(&p->lock);
    wake_send(w);
}

static void log_role(const struct partition *p, const char *message)
{
    SLOG(INFO, "replica", message, KV_STR("topic", partition_topic(p)), KV_I("partition", p->index),
         KV_I("leader", p->core.leader_id), KV_I("leader_epoch", p->core.leader_epoch),
         KV_I("start", p->core.start_offset), KV_I("hw", p->core.hw_offset),
         KV_I("end", p->core.end_offset));
}

struct blocking_job {
    struct pool_job job;
    struct partition *partition;
    enum repl_effect_kind kind; /* TRUNCATE, RESTART_AT, SET_START */
    int64_t offset;
};

static void blocking_job_end(struct blocking_job *b)
{
    struct replicas *r = b->partition->owner;

    partition_unref(&b->partition);
    mem_free(b);
    replicas_job_ended(r);
}

/* Below HW only after an unclean election: what was committed once is gone then. */
static void log_truncation(const struct blocking_job *b, int64_t from)
{
    const struct partition *p = b->partition;
    const struct slog_kv kvs[] = {KV_STR("topic", partition_topic(p)),
                                  KV_I("partition", p->index),
                                  KV_I("from", from),
                                  KV_I("to", b->offset),
                                  KV_I("hw", p->core.hw_offset),
                                  KV_I("leader", p->core.leader_id),
                                  KV_I("leader_epoch", p->core.leader_epoch),
                                  {0}};
    const char *what = b->kind == REPL_FX_TRUNCATE ? "truncated" : "restarted the log";

    if (b->offset < p->core.hw_offset)
        slog_write(SLOG_WARN, "replica", "truncated below the high watermark", kvs);
    else if (SLOG_INFO >= slog_min_level)
        slog_write(SLOG_INFO, "replica", what, kvs);
}

/* On the pool. p->log is this thread's alone while is_busy. */
static void truncate_run(struct pool_job *j)
{
    struct blocking_job *b = CONTAINER_OF(j, struct blocking_job, job);
    struct partition *p = b->partition;
    struct errtext why = {""};
    struct wake w;
    int64_t from = log_end_offset(p->log);
    enum err rc = b->kind == REPL_FX_TRUNCATE ? log_truncate_to(p->log, b->offset, &why)
                                              : log_truncate_fully_at(p->log, b->offset, &why);

    partition_lock(p, &w);
    p->is_busy = false;
    if (rc != ERR_OK) {
        SLOG(ERROR, "replica", "truncation failed, the partition is offline",
             KV_STR("topic", partition_topic(p)), KV_I("partition", p->index), KV_ERR(rc),
             KV_S("why", why.text));
        partition_fail_locked(p, &w);
    } else {
        log_truncation(b, from);
        partition_step_locked(
            p,
            &(struct repl_event){.kind = REPL_EV_TRUNCATED,
                                 .truncated = {log_start_offset(p->log), log_end_offset(p->log)}},
            &w);
    }
    partition_unlock_and_run(p, &w);
    blocking_job_end(b);
}

/* The leader deleted records up to here: segments may go, which blocks. */
static void set_start_run(struct pool_job *j)
{
    struct blocking_job *b = CONTAINER_OF(j, struct blocking_job, job);
    struct partition *p = b->partition;
    struct wake w;

    partition_lock(p, &w);
    if (!p->is_busy && p->log != NULL && !p->is_offline && p->core.role == REPL_FOLLOWER &&
        b->offset > log_start_offset(p->log) && b->offset <= p->core.hw_offset &&
        log_set_start_offset(p->log, b->offset) != ERR_OK)
        partition_fail_locked(p, &w);
    partition_unlock(p, &w);
    blocking_job_end(b);
}

static void submit_blocking(struct partition *p, const struct repl_effect *fx,
                            void (*run)(struct pool_job *j))
{
    struct blocking_job *b = xcalloc(1, sizeof *b);
    bool may = replicas_job_begins(p->owner);

    ASSERT(may); /* only orders and fetchers lead here, and they have ended before */
    b->job.run = run;
    b->partition = partition_ref(p);
    b->kind = fx->kind;
    b->offset = fx->offset;
    pool_submit_always(replicas_options_of(p->owner)->pool, &b->job); /* one a partition */
}

static void stop_fetch(struct partition *p)
{
    if (p->fetching_from >= 0)
        fetchers_forget(replicas_fetchers(p->owner), p, p->fetching_from);
    p->fetching_from = -1;
}

static struct partition_position position_locked(const struct partition *p)
{
    return (struct partition_position){p->core.end_offset, p->core.start_offset,
                                       log_epoch_latest(p->log)};
}

static void follow(struct partition *p)
{
    struct partition_position pos = position_locked(p);

    p->fetching_from = p->core.leader_id;
    fetchers_follow(replicas_fetchers(p->owner), p, p->core.leader_id, p->core.leader_epoch, &pos);
}

static void write_epoch(struct partition *p, const struct repl_effect *fx, struct wake *w)
    REQUIRES(p->lock)
{
    enum err rc = log_epoch_assign(p->log, fx->epoch, fx->offset);

    if (rc != ERR_OK) {
        SLOG(ERROR, "replica", "the leader epoch cannot be written, the partition is offline",
             KV_STR("topic", partition_topic(p)), KV_I("partition", p->index), KV_ERR(rc));
        partition_fail_locked(p, w);
        return;
    }
    partition_step_locked(
        p, &(struct repl_event){.kind = REPL_EV_EPOCH_WRITTEN, .epoch_written = {fx->epoch}}, w);
}

static void note_quietly(struct partition *p, enum partition_watch_kind kind)
{
    struct partition_watch *watch;

    LIST_FOREACH (watch, &p->watches[kind], link)
        watch_list_put(watch->list, watch);
}

static void set_hw(struct partition *p, int64_t hw, struct wake *w) REQUIRES(p->lock)
{
    log_set_high_watermark(p->log, hw);
    replicas_note_hw(p->owner);
    partition_wake_locked(p, WATCH_HW, w);
    note_quietly(p, WATCH_LEO); /* followers learn the HW with their next answer */
    finish_waits(p, &p->waits_hw, true, w);
}

static void do_effect(struct partition *p, const struct repl_effect *fx, struct wake *w)
    REQUIRES(p->lock)
{
    switch (fx->kind) {
    case REPL_FX_WRITE_EPOCH:
        write_epoch(p, fx, w);
        break;
    case REPL_FX_LED:
        log_role(p, "became leader");
        break;
    case REPL_FX_FOLLOW:
        follow(p);
        break;
    case REPL_FX_STOP_FETCH:
        stop_fetch(p);
        break;
    case REPL_FX_TRUNCATE:
    case REPL_FX_RESTART_AT:
        partition_busy_begin_locked(p);
        submit_blocking(p, fx, truncate_run);
        break;
    case REPL_FX_ASK_LEADER_START:
        break; /* read by partition_leader_offset */
    case REPL_FX_SET_HW:
        set_hw(p, fx->offset, w);
        break;
    case REPL_FX_SET_START:
        submit_blocking(p, fx, set_start_run);
        break;
    case REPL_FX_PROPOSE_ISR:
        isr_sender_propose_locked(replicas_isr_sender(p->owner), p);
        break;
    case REPL_FX_FAIL_WAITS:
        finish_waits(p, &p->waits_hw, false, w);
        finish_waits(p, &p->waits_count, false, w);
        break;
    case REPL_FX_EPOCH_CHANGED:
        partition_wake_locked(p, WATCH_LEO, w);
        partition_wake_locked(p, WATCH_HW, w);
        break;
    }
}

/* After which the next fetch of each follower has to be looked at, though it may have no news of
 * records: the answer tells a new start, or a replica that could not join the ISR before (not yet
 * known to be alive, another change in flight) may join by it. */
static bool concerns_followers(const struct partition *p, const struct repl_event *ev)
{
    switch (ev->kind) {
    case REPL_EV_START_MOVED:
        return true;
    case REPL_EV_TICK:
    case REPL_EV_ISR_RESULT:
        return p->core.isr_state == REPL_ISR_COMMITTED && repl_is_under_replicated(&p->core);
    default:
        return false;
    }
}

/* HW goes into the log before anything is woken by it; the log's own HW must never be above its
 * end, which the core has checked. */
static void step(struct partition *p, struct repl_event *ev, struct repl_effects *fx,
                 struct wake *w) REQUIRES(p->lock)
{
    ev->now_ms = replicas_now_ms(p->owner);
    ev->live = replicas_live(p->owner);
    ev->limits = &replicas_options_of(p->owner)->limits;
    repl_step(&p->core, ev, fx);
    for (int i = 0; i < fx->count; i++)
        do_effect(p, &fx->v[i], w);
    if (concerns_followers(p, ev))
        note_quietly(p, WATCH_LEO);
}

void partition_step_locked(struct partition *p, struct repl_event *ev, struct wake *w)
{
    struct repl_effects fx;

    lock_assert_held(&p->lock);
    step(p, ev, &fx, w);
}

void partition_fail_locked(struct partition *p, struct wake *w)
{
    if (p->is_offline)
        return;
    p->is_offline = true;
    log_role(p, "partition is offline, its disk failed");
    partition_step_locked(p, &(struct repl_event){.kind = REPL_EV_STOP, .stop = {true}}, w);
}

/* ---- blocking changes */

bool partition_is_free_locked(struct partition *p, struct partition_job *j)
{
    if (!p->is_busy)
        return true;
    STAILQ_INSERT_TAIL(&p->deferred, j, link);
    return false;
}

void partition_busy_begin_locked(struct partition *p)
{
    ASSERT(!p->is_busy);
    p->is_busy = true;
}

void partition_unlock_and_run(struct partition *p, struct wake *w) NO_THREAD_SAFETY
{
    struct partition_job_list jobs = STAILQ_HEAD_INITIALIZER(jobs);
    struct partition_sleeper *s;

    if (!p->is_busy) {
        STAILQ_CONCAT(&jobs, &p->deferred);
        while ((s = SLIST_FIRST(&p->sleepers)) != NULL) {
            SLIST_REMOVE_HEAD(&p->sleepers, link);
            s->is_woken = true;
            MUST(pthread_cond_signal(&s->cond) == 0);
        }
    }
    partition_unlock(p, w);
    while (!STAILQ_EMPTY(&jobs)) {
        struct partition_job *j = STAILQ_FIRST(&jobs);
        STAILQ_REMOVE_HEAD(&jobs, link);
        j->run(j); /* queues itself again if the partition is busy again */
    }
}

/* The log's background thread: waits for the end of a truncation, which is not done under the
 * lock. */
void replicas_log_lock(void *user) NO_THREAD_SAFETY
{
    struct partition *p = user;

    if (p == NULL)
        return;
    CHECK_OBJ(p, PARTITION_MAGIC);
    lock_take(&p->lock);
    while (p->is_busy) {
        struct partition_sleeper s = {.is_woken = false};
        lock_cond_init(&s.cond);
        SLIST_INSERT_HEAD(&p->sleepers, &s, link);
        while (!s.is_woken)
            (void)lock_wait(&p->lock, &s.cond, -1);
        MUST(pthread_cond_destroy(&s.cond) == 0);
    }
}

/* Retention may have moved the start. */
void replicas_log_unlock(void *user) NO_THREAD_SAFETY
{
    struct partition *p = user;
    struct wake w = {.list_count = 0};

    if (p == NULL)
        return;
    if (p->log != NULL && p->core.role != REPL_STOPPED &&
        log_start_offset(p->log) > p->core.start_offset)
        partition_step_locked(p,
                              &(struct repl_event){.kind = REPL_EV_START_MOVED,
                                                   .start_moved = {log_start_offset(p->log)}},
                              &w);
    partition_unlock(p, &w);
}

/* ---- produce */

/* No log, or not ours at the moment. */
static int16_t usable(const struct partition *p)
{
    if (p->is_offline || (p->log != NULL && !p->is_busy && log_is_offline(p->log)))
        return KE_KAFKA_STORAGE_ERROR;
    if (p->log == NULL || p->is_busy)
        return KE_NOT_LEADER_OR_FOLLOWER;
    return KE_NONE;
}

bool partition_policy(struct partition *p, struct log_policy *out)
{
    struct wake w;
    bool is_here;

    partition_lock(p, &w);
    is_here = usable(p) == KE_NONE;
    if (is_here)
        log_policy_of(p->log, out);
    partition_unlock(p, &w);
    return is_here;
}

int16_t partition_append_validated(struct partition *p, struct log_batch *batch, int16_t acks,
                                   int64_t now_ms, struct log_append_result *out)
{
    struct wake w;
    int16_t rc;

    partition_lock(p, &w);
    rc = usable(p);
    if (rc == KE_NONE)
        rc = repl_admit_append(&p->core, acks);
    if (rc == KE_NONE)
        rc = log_append_validated(p->log, batch, p->core.leader_epoch, now_ms, out);
    out->leader_epoch = p->core.leader_epoch;
    if (rc == KE_NONE && !out->is_duplicate) {
        partition_wake_locked(p, WATCH_LEO, &w);
        partition_step_locked(
            p, &(struct repl_event){.kind = REPL_EV_APPENDED, .appended = {log_end_offset(p->log)}},
            &w);
    } else if (rc == KE_KAFKA_STORAGE_ERROR) {
        partition_fail_locked(p, &w);
    }
    partition_unlock(p, &w);
    return rc;
}

int16_t partition_append(struct partition *p, const struct partition_append *a,
                         struct log_append_result *out)
{
    struct log_policy policy;
    struct log_batch batch;
    int16_t rc;

    *out = (struct log_append_result){.base_offset = -1,
                                      .last_offset = -1,
                                      .log_append_time_ms = -1,
                                      .log_start_offset = -1,
                                      .record_error_index = -1};
    if (!partition_policy(p, &policy)) {
        struct wake w;
        partition_lock(p, &w);
        rc = usable(p);
        partition_unlock(p, &w);
        return rc == KE_NONE ? KE_NOT_LEADER_OR_FOLLOWER : rc;
    }
    rc = log_validate(&policy, a->records, a->len, a->origin, a->produce_version, a->now_ms, &batch,
                      out);
    if (rc != KE_NONE)
        return rc;
    rc = partition_append_validated(p, &batch, a->acks, a->now_ms, out);
    log_batch_fini(&batch);
    return rc;
}

static void insert_wait(struct partition_wait_list *list, struct partition_wait *w)
{
    struct partition_wait *at = TAILQ_LAST(list, partition_wait_list);

    while (at != NULL && at->required_offset > w->required_offset)
        at = TAILQ_PREV(at, partition_wait_list, link);
    if (at == NULL)
        TAILQ_INSERT_HEAD(list, w, link);
    else
        TAILQ_INSERT_AFTER(list, at, w, link);
}

bool partition_wait_start(struct partition *p, struct partition_wait *wait)
{
    struct wake w;
    bool is_done;

    ASSERT(wait->acks == -1 || wait->acks > 1);
    ASSERT(wait->loop != NULL && wait->woken != NULL);
    partition_lock(p, &w);
    is_done = repl_is_replicated(&p->core, wait->leader_epoch, wait->required_offset, wait->acks,
                                 &wait->result);
    wait->is_waiting = !is_done;
    if (!is_done) {
        wait->partition = partition_ref(p);
        insert_wait(wait->acks == -1 ? &p->waits_hw : &p->waits_count, wait);
    } else if (wait->result == KE_NOT_LEADER_OR_FOLLOWER) {
        wait->result = lost_code(p);
    }
    partition_unlock(p, &w);
    return !is_done;
}

bool partition_wait_cancel(struct partition_wait *wait)
{
    struct partition *p = wait->partition;
    struct wake w;
    bool was_waiting;

    ASSERT(p != NULL);
    partition_lock(p, &w);
    was_waiting = wait->is_waiting;
    if (was_waiting) {
        TAILQ_REMOVE(wait->acks == -1 ? &p->waits_hw : &p->waits_count, wait, link);
        wait->is_waiting = false;
    }
    partition_unlock(p, &w);
    if (was_waiting) {
        wait->partition = NULL;
        partition_unref(&p);
    }
    return was_waiting;
}

/* ---- fetch */

static int64_t read_limit(const struct partition *p, const struct partition_read *in,
                          const struct partition_read_result *out)
{
    if (in->replica_id >= 0 || in->replica_id == REPLICA_DEBUG)
        return p->core.end_offset;
    return in->read_committed ? out->last_stable_offset : p->core.hw_offset;
}

/* Does the reader's last epoch end where it believes? NONE with diverging_epoch set when not. */
static int16_t check_divergence(const struct partition *p, const struct partition_read *in,
                                struct partition_read_result *out)
{
    int32_t epoch;
    int64_t end;

    log_epoch_end(p->log, in->last_fetched_epoch, &epoch, &end);
    if (end < 0 || in->fetch_offset < out->log_start_offset) /* KAFKA-12996 */
        return KE_OFFSET_OUT_OF_RANGE;
    if (epoch < in->last_fetched_epoch || end < in->fetch_offset) {
        out->diverging_epoch = epoch;
        out->diverging_end_offset = end;
    }
    return KE_NONE;
}

static int16_t read_aborted(const struct partition *p, const struct partition_read *in,
                            struct partition_read_result *out)
{
    struct log_aborted *found = NULL;
    enum err rc =
        log_aborted_find(p->log, in->fetch_offset, &out->range, &found, &out->aborted_count);

    if (rc != ERR_OK)
        return err_to_kerr(rc);
    if (out->aborted_count > 0) {
        out->aborted = xcalloc((size_t)out->aborted_count, sizeof *out->aborted);
        for (int32_t i = 0; i < out->aborted_count; i++)
            out->aborted[i] =
                (struct partition_aborted){found[i].producer_id, found[i].first_offset};
    }
    mem_free(found);
    return KE_NONE;
}

static int16_t read_records(const struct partition *p, const struct partition_read *in,
                            struct partition_read_result *out)
{
    int64_t limit = read_limit(p, in, out);
    enum err rc;

    if (in->fetch_offset < out->log_start_offset || in->fetch_offset > out->log_end_offset)
        return KE_OFFSET_OUT_OF_RANGE;
    if (in->fetch_offset >= limit)
        return KE_NONE;
    out->is_older_segment = !log_same_segment(p->log, in->fetch_offset, limit);
    if (in->max_bytes <= 0) {
        out->bytes_available = log_bytes_between(p->log, in->fetch_offset, limit);
        return KE_NONE;
    }
    rc = log_read(p->log, in->fetch_offset, limit, in->max_bytes,
                  in->at_least_one ? LOG_READ_AT_LEAST_ONE : 0, &out->range);
    if (rc != ERR_OK)
        return err_to_kerr(rc);
    out->bytes_available = out->range.length;
    if (in->read_committed && out->range.length > 0)
        return read_aborted(p, in, out);
    return KE_NONE;
}

static int16_t read_locked(struct partition *p, const struct partition_read *in,
                           struct partition_read_result *out)
{
    int16_t rc = usable(p);

    out->leader_id = p->core.leader_id;
    out->leader_epoch = p->core.leader_epoch;
    if (rc != KE_NONE)
        return rc;
    if (!uuid_is_zero(in->topic_id) && !uuid_is_zero(p->topic_id) &&
        !uuid_eq(in->topic_id, p->topic_id))
        return KE_INCONSISTENT_TOPIC_ID;
    rc = repl_admit_read(&p->core, in->current_leader_epoch, in->replica_id, in->leader_required);
    if (rc != KE_NONE)
        return rc;
    /* as they were before the read */
    out->high_watermark = p->core.hw_offset;
    out->last_stable_offset = log_last_stable_offset(p->log);
    out->log_start_offset = log_start_offset(p->log);
    out->log_end_offset = p->core.end_offset;
    out->compression_type = log_config_of(p->log)->compression_type;
    out->is_downconversion_enabled = log_config_of(p->log)->downconversion_enable;
    if (in->last_fetched_epoch >= 0) {
        rc = check_divergence(p, in, out);
        if (rc != KE_NONE || out->diverging_epoch >= 0)
            return rc;
    }
    return read_records(p, in, out);
}

void partition_read(struct partition *p, const struct partition_read *in,
                    struct partition_read_result *out)
{
    struct wake w;

    *out = (struct partition_read_result){.high_watermark = -1,
                                          .last_stable_offset = -1,
                                          .log_start_offset = -1,
                                          .log_end_offset = -1,
                                          .diverging_epoch = -1,
                                          .diverging_end_offset = -1,
                                          .leader_id = -1,
                                          .leader_epoch = -1,
                                          .preferred_replica = -1,
                                          .compression_type = -1};
    partition_lock(p, &w);
    out->error = read_locked(p, in, out);
    if (out->error == KE_KAFKA_STORAGE_ERROR)
        partition_fail_locked(p, &w);
    /* only what was read well counts (KAFKA-8400) */
    if (in->update_follower && in->replica_id >= 0 && out->error == KE_NONE &&
        out->diverging_epoch < 0) {
        partition_step_locked(
            p,
            &(struct repl_event){.kind = REPL_EV_FETCH,
                                 .fetch = {in->replica_id, in->replica_epoch, in->fetch_offset,
                                           in->follower_start_offset}},
            &w);
        finish_waits(p, &p->waits_count, false, &w);
    }
    partition_unlock(p, &w);
    if (out->error != KE_NONE) {
        log_range_release(&out->range);
        out->range = (struct log_range){.segment = NULL};
    }
}

void partition_watch_add(struct partition *p, struct partition_watch *watch)
{
    struct wake w;

    ASSERT(watch->list != NULL && watch->partition == NULL);
    watch->partition = partition_ref(p);
    partition_lock(p, &w);
    LIST_INSERT_HEAD(&p->watches[watch->kind], watch, link);
    partition_unlock(p, &w);
}

void partition_watch_remove(struct partition_watch *watch)
{
    struct wake w;

    partition_lock(watch->partition, &w);
    LIST_REMOVE(watch, link);
    watch_list_forget(watch); /* nobody can mark it any more */
    partition_unlock(watch->partition, &w);
    partition_unref(&watch->partition);
}

/* ---- follower */

/* DeleteRecords may cut inside a batch: an empty follower then gets a first batch that begins below
 * its start (KAFKA-6975). Its log begins again at that batch. */
static bool restart_at_batch(struct partition *p, const struct partition_fetched *f, struct wake *w)
    REQUIRES(p->lock)
{
    int64_t base;

    if (f->len < 8 || p->core.start_offset != p->core.end_offset)
        return false;
    base = (int64_t)be64_load(f->records);
    if (base < 0 || base >= p->core.start_offset)
        return false;
    partition_step_locked(
        p, &(struct repl_event){.kind = REPL_EV_RESTART, .restart = {f->leader_epoch, base}}, w);
    return p->core.is_truncating;
}

bool partition_position(struct partition *p, int32_t leader_epoch,
                        struct partition_position *pos_out)
{
    struct wake w;
    bool follows;

    partition_lock(p, &w);
    follows = usable(p) == KE_NONE && p->core.role == REPL_FOLLOWER && !p->core.is_truncating &&
              p->core.leader_epoch == leader_epoch;
    if (follows)
        *pos_out = position_locked(p);
    partition_unlock(p, &w);
    return follows;
}

enum partition_fetch_result partition_append_fetched(struct partition *p,
                                                     const struct partition_fetched *f,
                                                     struct partition_position *pos_out)
{
    enum partition_fetch_result result = FETCHED_OK;
    struct errtext why = {""};
    struct wake w;
    enum err rc = ERR_OK;

    partition_lock(p, &w);
    if (usable(p) != KE_NONE || p->core.role != REPL_FOLLOWER || p->core.is_truncating ||
        p->core.leader_epoch != f->leader_epoch || p->core.end_offset != f->fetch_offset) {
        partition_unlock(p, &w);
        return FETCHED_STALE;
    }
    if (f->len > 0)
        rc = log_append_follower(p->log, f->records, f->len, clock_wall_ms(), &why);
    if (rc == ERR_OUT_OF_RANGE && restart_at_batch(p, f, &w)) {
        result = FETCHED_RESTART;
    } else if (rc == ERR_OK) {
        if (log_end_offset(p->log) != p->core.end_offset)
            partition_wake_locked(p, WATCH_LEO, &w);
        partition_step_locked(
            p,
            &(struct repl_event){.kind = REPL_EV_FETCHED,
                                 .fetched = {f->leader_epoch, log_end_offset(p->log), f->leader_hw,
                                             f->leader_start}},
            &w);
        p->lag = i64_max(0, f->leader_hw - p->core.end_offset);
        *pos_out = position_locked(p);
    } else if (rc == ERR_IO || rc == ERR_NO_SPACE || rc == ERR_OFFLINE) {
        partition_fail_locked(p, &w);
        result = FETCHED_FAILED;
    } else {
        SLOG_EVERY(1000, WARN, "replica", "the leader's answer cannot be appended",
                   KV_STR("topic", partition_topic(p)), KV_I("partition", p->index), KV_ERR(rc),
                   KV_S("why", why.text), KV_I("offset", f->fetch_offset));
        result = FETCHED_CORRUPT;
    }
    partition_unlock(p, &w);
    return result;
}

void partition_note_leader_offsets(struct partition *p, int32_t leader_epoch, int64_t leader_hw,
                                   int64_t leader_start)
{
    struct wake w;

    partition_lock(p, &w);
    if (usable(p) == KE_NONE)
        partition_step_locked(p,
                              &(struct repl_event){.kind = REPL_EV_FETCHED,
                                                   .fetched = {leader_epoch, p->core.end_offset,
                                                               leader_hw, leader_start}},
                              &w);
    partition_unlock(p, &w);
}

bool partition_diverged(struct partition *p, int32_t leader_epoch, int32_t epoch,
                        int64_t end_offset)
{
    struct repl_event ev = {.kind = REPL_EV_DIVERGED,
                            .diverged = {leader_epoch, epoch, end_offset, -1, -1}};
    struct wake w;
    bool is_truncating = false;

    partition_lock(p, &w);
    if (usable(p) == KE_NONE) {
        if (epoch >= 0)
            log_epoch_end(p->log, epoch, &ev.diverged.own_epoch, &ev.diverged.own_epoch_end);
        partition_step_locked(p, &ev, &w);
        is_truncating = p->core.is_truncating;
    }
    partition_unlock(p, &w);
    return is_truncating;
}

bool partition_leader_offset(struct partition *p, int32_t leader_epoch, bool is_start,
                             int64_t offset, bool *asks_start_out)
{
    struct repl_event ev = {.kind = is_start ? REPL_EV_LEADER_START : REPL_EV_LEADER_END};
    struct repl_effects fx = {.count = 0};
    struct wake w;

    *asks_start_out = false;
    ev.leader_end.leader_epoch = leader_epoch; /* the same place for both kinds */
    ev.leader_end.offset = offset;
    partition_lock(p, &w);
    if (usable(p) == KE_NONE)
        step(p, &ev, &fx, &w);
    for (int i = 0; i < fx.count; i++)
        *asks_start_out |= fx.v[i].kind == REPL_FX_ASK_LEADER_START;
    partition_unlock(p, &w);
    return fx.count > 0;
}

/* ---- others */

enum { TIME_LATEST = -1, TIME_EARLIEST = -2, TIME_MAX = -3, TIME_EARLIEST_LOCAL = -4 };

/* A new leader whose HW is not confirmed yet could show an end below one that was shown before. */
static bool is_end_unconfirmed(const struct partition *p)
{
    return p->core.role == REPL_LEADER && p->core.leader_start_offset > p->core.hw_offset;
}

static int16_t offset_for_time(struct partition *p, int64_t timestamp, int64_t limit,
                               struct log_time_offset *out)
{
    enum err rc = log_offset_for_time(p->log, timestamp, out);

    if (rc != ERR_OK)
        return err_to_kerr(rc);
    if (out->offset >= limit) {
        *out = (struct log_time_offset){-1, -1, -1};
        if (is_end_unconfirmed(p))
            return KE_OFFSET_NOT_AVAILABLE;
    }
    return KE_NONE;
}

static int16_t list_offset_locked(struct partition *p, int64_t timestamp, bool read_committed,
                                  int32_t replica_id, struct log_time_offset *out)
{
    bool is_consumer = replica_id == REPLICA_CONSUMER;
    int64_t limit = !is_consumer     ? p->core.end_offset
                    : read_committed ? log_last_stable_offset(p->log)
                                     : p->core.hw_offset;

    switch (timestamp) {
    case TIME_LATEST:
        if (is_consumer && is_end_unconfirmed(p))
            return KE_OFFSET_NOT_AVAILABLE;
        out->offset = limit;
        out->leader_epoch = log_epoch_latest(p->log);
        return KE_NONE;
    case TIME_EARLIEST:
    case TIME_EARLIEST_LOCAL:
        out->offset = log_start_offset(p->log);
        out->leader_epoch = log_epoch_of(p->log, out->offset);
        return KE_NONE;
    default:
        if (timestamp < TIME_MAX)
            return KE_UNSUPPORTED_VERSION;
        return offset_for_time(p, timestamp, limit, out);
    }
}

int16_t partition_list_offset(struct partition *p, int64_t timestamp, bool read_committed,
                              int32_t replica_id, int32_t current_leader_epoch,
                              bool leader_required, struct log_time_offset *out)
{
    struct wake w;
    int16_t rc;

    *out = (struct log_time_offset){-1, -1, -1};
    partition_lock(p, &w);
    rc = usable(p);
    if (rc == KE_NONE)
        /* a replica that asks need not be known as one of ours */
        rc = repl_admit_read(&p->core, current_leader_epoch, -1, leader_required);
    if (rc == KE_NONE)
        rc = list_offset_locked(p, timestamp, read_committed, replica_id, out);
    partition_unlock(p, &w);
    return rc;
}

/* The mark to begin with; count: none. */
static int32_t first_mark(const struct log_mark *marks, int32_t count, int64_t timestamp,
                          int64_t now_ms)
{
    int32_t i = 0;

    if (timestamp == TIME_LATEST)
        return 0;
    if (timestamp == TIME_EARLIEST)
        return count - 1;
    while (i < count && (timestamp < 0 || log_mark_time(&marks[i], now_ms) > timestamp))
        i++;
    return i;
}

int16_t partition_list_marks(struct partition *p, int64_t timestamp, int32_t max,
                             int32_t replica_id, int64_t now_ms, int64_t **offsets_out,
                             int32_t *count_out)
{
    struct log_mark *marks = NULL;
    int32_t n = 0, count = 0;
    int64_t limit = INT64_MAX;
    struct wake w;
    int16_t rc;

    *offsets_out = NULL;
    *count_out = 0;
    partition_lock(p, &w);
    rc = usable(p);
    if (rc == KE_NONE)
        rc = repl_admit_read(&p->core, -1, -1, replica_id != REPLICA_DEBUG);
    if (rc == KE_NONE) {
        count = log_marks(p->log, &marks);
        if (replica_id == REPLICA_CONSUMER)
            limit = p->core.hw_offset;
    }
    partition_unlock(p, &w);
    int32_t i = first_mark(marks, count, timestamp, now_ms);
    int64_t *offsets = xcalloc((size_t)i32_max(i32_min(max, count - i), 1), sizeof *offsets);
    for (int32_t k = 0; k < max && i < count; k++, i++)
        if (k == 0 || marks[i].offset <= limit) /* one for all beyond the limit */
            offsets[n++] = i64_min(marks[i].offset, limit);
    log_marks_free(marks, count);
    *offsets_out = offsets;
    *count_out = n;
    return rc;
}

int16_t partition_epoch_end(struct partition *p, int32_t current_leader_epoch, int32_t epoch,
                            int32_t *epoch_out, int64_t *end_out)
{
    struct wake w;
    int16_t rc;

    *epoch_out = -1;
    *end_out = -1;
    partition_lock(p, &w);
    rc = usable(p);
    if (rc == KE_NONE)
        rc = repl_admit_read(&p->core, current_leader_epoch, -1, true);
    if (rc == KE_NONE && epoch >= 0)
        log_epoch_end(p->log, epoch, epoch_out, end_out);
    partition_unlock(p, &w);
    return rc;
}

int16_t partition_producers(struct partition *p, struct log_producer **out, int32_t *count_out)
{
    struct wake w;
    int16_t rc;

    *out = NULL;
    *count_out = 0;
    partition_lock(p, &w);
    rc = usable(p);
    if (rc == KE_NONE && p->core.role != REPL_LEADER)
        rc = KE_NOT_LEADER_OR_FOLLOWER;
    if (rc == KE_NONE)
        *count_out = log_producers(p->log, out);
    partition_unlock(p, &w);
    return rc;
}

static int16_t delete_records_locked(struct partition *p, int64_t offset, struct wake *w)
    REQUIRES(p->lock)
{
    enum err rc;

    if (p->core.role != REPL_LEADER)
        return KE_NOT_LEADER_OR_FOLLOWER;
    if (!log_config_of(p->log)->is_delete)
        return KE_POLICY_VIOLATION;
    if (offset == -1)
        offset = p->core.hw_offset;
    if (offset < 0 || offset > p->core.hw_offset)
        return KE_OFFSET_OUT_OF_RANGE;
    if (offset <= log_start_offset(p->log))
        return KE_NONE;
    rc = log_set_start_offset(p->log, offset);
    if (rc != ERR_OK) {
        partition_fail_locked(p, w);
        return err_to_kerr(rc);
    }
    partition_step_locked(p,
                          &(struct repl_event){.kind = REPL_EV_START_MOVED,
                                               .start_moved = {log_start_offset(p->log)}},
                          w);
    partition_wake_locked(p, WATCH_LEO, w); /* the followers have to follow, and say so */
    return KE_NONE;
}

int16_t partition_delete_records(struct partition *p, int64_t offset, int64_t *low_watermark_out)
{
    struct wake w;
    int16_t rc;

    *low_watermark_out = -1;
    partition_lock(p, &w);
    rc = usable(p);
    if (rc == KE_NONE)
        rc = delete_records_locked(p, offset, &w);
    if (rc == KE_NONE)
        *low_watermark_out = repl_low_watermark(&p->core, replicas_live(p->owner));
    partition_unlock(p, &w);
    return rc;
}

void partition_describe(struct partition *p, struct partition_info *out)
{
    struct wake w;

    partition_lock(p, &w);
    *out = (struct partition_info){.leader_id = p->core.leader_id,
                                   .leader_epoch = p->core.leader_epoch,
                                   .partition_epoch = p->core.partition_epoch,
                                   .led_since_epoch = p->core.led_since_epoch,
                                   .log_start_offset = p->core.start_offset,
                                   .log_end_offset = p->core.end_offset,
                                   .high_watermark = p->core.hw_offset,
                                   .isr_count = p->core.isr_count,
                                   .is_leader = p->core.role == REPL_LEADER,
                                   .is_offline = p->is_offline};
    ASSERT(p->core.isr_count <= (int16_t)ARRAY_LEN(out->isr));
    for (int16_t i = 0; i < p->core.isr_count; i++)
        out->isr[i] = p->core.isr[i];
    if (p->log != NULL && !p->is_busy) {
        out->size_bytes = log_size(p->log);
        out->log_dir = log_dir_of(p->log);
    }
    partition_unlock(p, &w);
}
