/* SPDX-License-Identifier: Apache-2.0 */
/* The manager's thread: what may wait for the disk and nobody waits for. One log at a time, so the
 * disk is never asked for everything at once. The queue is as long as there are logs, each at most
 * once in it. */
#include "broker/log/log_manager_internal.h"

#include "common/base/clock.h"
#include "common/base/fsx.h"
#include "common/base/slog.h"

#include <stdio.h>
#include <stdlib.h>

enum { TICK_MS = 1000, TAIL_IDLE_MS = 60000 };

void log_manager_post(struct log *l, unsigned work)
{
    struct log_manager *m = l->dir->manager;

    if (m == NULL)
        return;
    lock_take(&m->lock);
    if (l->is_open) {
        if (l->work == 0)
            TAILQ_INSERT_TAIL(&m->queue, l, work_link);
        m->flush_waiting += (work & ~l->work & LOG_WORK_FLUSH) != 0;
        l->work |= work;
        (void)pthread_cond_broadcast(&m->changed);
    }
    lock_release(&m->lock);
}

void log_manager_dir_failed(struct log_manager *m)
{
    if (m == NULL)
        return;
    lock_take(&m->lock);
    m->has_failed_dirs = true;
    (void)pthread_cond_broadcast(&m->changed);
    lock_release(&m->lock);
}

void log_manager_lock_files(struct log_manager *m) NO_THREAD_SAFETY
{
    if (m != NULL)
        lock_take(&m->checkpoint_lock);
}
void log_manager_unlock_files(struct log_manager *m) NO_THREAD_SAFETY
{
    if (m != NULL)
        lock_release(&m->checkpoint_lock);
}

static void lock_user(struct log_manager *m, struct log *l)
{
    if (m->user_lock != NULL && l->user != NULL)
        m->user_lock(l->user);
}
static void unlock_user(struct log_manager *m, struct log *l)
{
    if (m->user_unlock != NULL && l->user != NULL)
        m->user_unlock(l->user);
}

/* ---- work on one log */
static void flush_one(struct log_manager *m, struct log *l)
{
    if (log_is_offline(l))
        return;
    lock_user(m, l);
    struct log_flush_job *j = log_flush_begin(l);
    unlock_user(m, l);
    enum err rc = log_flush_run(j);
    lock_user(m, l);
    log_flush_end(l, &j, rc);
    unlock_user(m, l);
}

void log_group_add(struct log_group *g, struct log *l)
{
    if (g->count == g->cap) {
        g->cap = g->cap == 0 ? 64 : g->cap * 2;
        g->logs = xrealloc(g->logs, g->cap * sizeof(struct log *));
    }
    g->logs[g->count++] = l;
}

void log_group_fini(struct log_group *g)
{
    FREE_NULL(&g->logs);
    FREE_NULL(&g->jobs);
    g->count = g->cap = 0;
}

enum err log_group_flush(struct log_manager *m, struct log_group *g)
{
    enum err rc = ERR_OK;

    g->jobs = xcalloc(g->count + 1, sizeof(struct log_flush_job *));
    for (size_t i = 0; i < g->count; i++) {
        struct log *l = g->logs[i];
        if (log_is_offline(l))
            continue;
        lock_user(m, l);
        g->jobs[i] = log_flush_begin(l);
        unlock_user(m, l);
        enum err one = log_flush_run_grouped(g->jobs[i]);
        if (one != ERR_OK)
            log_dir_fail_midway(l->dir, "flush", one);
    }
    for (int d = 0; d < m->dir_count; d++)
        if (!log_dir_is_offline(m->dirs[d]) && log_dir_sync(m->dirs[d]) != ERR_OK)
            rc = ERR_IO;
    for (size_t i = 0; i < g->count; i++) {
        struct log *l = g->logs[i];
        if (g->jobs[i] == NULL)
            continue;
        lock_user(m, l);
        log_flush_end(l, &g->jobs[i], log_is_offline(l) ? ERR_OFFLINE : ERR_OK);
        unlock_user(m, l);
    }
    return rc;
}

/* Keeps the log in the list of those with files to unlink as long as there are some. */
static void unlink_one(struct log_manager *m, struct log *l, int64_t now_wall_ms)
{
    enum { AT_A_TIME = 16 };
    int64_t bases[AT_A_TIME];
    int32_t n;
    bool more;

    do {
        lock_user(m, l);
        n = log_take_deleted(l, now_wall_ms, false, bases, AT_A_TIME);
        more = l->deleted_count > 0;
        unlock_user(m, l);
        for (int32_t i = 0; i < n; i++)
            segment_unlink_deleted(l->folder->path, bases[i]);
    } while (n == AT_A_TIME);
    lock_take(&m->lock);
    if (more && !l->is_unlinking && l->is_open)
        TAILQ_INSERT_TAIL(&m->unlinks, l, unlink_link);
    else if (!more && l->is_unlinking)
        TAILQ_REMOVE(&m->unlinks, l, unlink_link);
    l->is_unlinking = more && l->is_open;
    lock_release(&m->lock);
}

/* The next log with work, pinned; NULL when deadline comes first or the thread is to stop. */
static struct log *next_work(struct log_manager *m, int64_t deadline_mono_ms, unsigned *work_out)
{
    struct log *l = NULL;

    lock_take(&m->lock);
    while (!m->is_stopping && !m->has_failed_dirs && (l = TAILQ_FIRST(&m->queue)) == NULL)
        if (!lock_wait(&m->lock, &m->changed, deadline_mono_ms * 1000))
            break;
    if (m->is_stopping || m->has_failed_dirs)
        l = NULL;
    if (l != NULL) {
        TAILQ_REMOVE(&m->queue, l, work_link);
        m->flush_waiting -= (l->work & LOG_WORK_FLUSH) != 0;
        *work_out = l->work;
        l->work = 0;
        l->pins++;
    }
    lock_release(&m->lock);
    return l;
}

/* When many logs wait for a flush (after a pass over all of them, or a wave of rolls) they are
 * taken together. True: it was so. */
static bool flush_many(struct log_manager *m)
{
    enum { MANY = 32, AT_A_TIME = 1000 };
    struct log_group g = {0};
    struct log *l, *next;
    size_t waiting = 0;

    lock_take(&m->lock);
    TAILQ_FOREACH (l, &m->queue, work_link)
        waiting += (l->work & LOG_WORK_FLUSH) != 0;
    for (l = TAILQ_FIRST(&m->queue); waiting >= MANY && l != NULL && g.count < AT_A_TIME;
         l = next) {
        next = TAILQ_NEXT(l, work_link);
        if ((l->work & LOG_WORK_FLUSH) == 0)
            continue;
        m->flush_waiting--;
        l->work &= ~(unsigned)LOG_WORK_FLUSH;
        if (l->work == 0)
            TAILQ_REMOVE(&m->queue, l, work_link);
        l->pins++;
        log_group_add(&g, l);
    }
    lock_release(&m->lock);
    bool any = g.count > 0;
    if (any && log_group_flush(m, &g) != ERR_OK)
        SLOG(ERROR, "log", "flush failed", KV_I("logs", g.count));
    for (size_t i = 0; i < g.count; i++)
        log_manager_unpin(m, g.logs[i]);
    log_group_fini(&g);
    return any;
}

static void do_work(struct log_manager *m, struct log *l, unsigned work)
{
    if ((work & LOG_WORK_FLUSH) != 0)
        flush_one(m, l);
    if ((work & LOG_WORK_UNLINK) != 0)
        unlink_one(m, l, clock_wall_ms());
    log_manager_unpin(m, l);
}

/* ---- periodic */
static void unlink_due(struct log_manager *m)
{
    struct log *l;
    size_t n = 0;

    lock_take(&m->lock);
    size_t total = 0;
    TAILQ_FOREACH (l, &m->unlinks, unlink_link)
        total++;
    struct log **due = xcalloc(total + 1, sizeof(struct log *));
    TAILQ_FOREACH (l, &m->unlinks, unlink_link) {
        l->pins++;
        due[n++] = l;
    }
    lock_release(&m->lock);
    for (size_t i = 0; i < n; i++) {
        unlink_one(m, due[i], clock_wall_ms());
        log_manager_unpin(m, due[i]);
    }
    mem_free(due);
}

static void retention_one(void *arg, struct log *l)
{
    struct log_manager *m = arg;
    int64_t now_ms = clock_wall_ms();

    lock_user(m, l);
    (void)log_delete_old(l, now_ms);
    (void)producer_state_expire(&l->producers, now_ms - m->options.producer_id_expiration_ms);
    unlock_user(m, l);
}

static void rest_one(void *arg, struct log *l)
{
    struct log_manager *m = arg;

    if (log_is_offline(l))
        return;
    lock_user(m, l);
    if (l->tail != NULL && clock_wall_ms() - l->tail->used_ms > TAIL_IDLE_MS &&
        tail_drop(l) != ERR_OK)
        SLOG(WARN, "log", "index not written", KV_S("log", l->name));
    bool unflushed = log_has_unflushed(l);
    unlock_user(m, l);
    if (unflushed)
        log_manager_post(l, LOG_WORK_FLUSH);
}

static void flush_ms_one(void *arg, struct log *l)
{
    struct log_manager *m = arg;

    lock_user(m, l);
    bool due = log_has_unflushed(l) && clock_mono_ms() - l->flushed_mono_ms >= l->config.flush_ms;
    unlock_user(m, l);
    if (due)
        log_manager_post(l, LOG_WORK_FLUSH);
}

static void write_checkpoints(struct log_manager *m, bool recovery, bool start)
{
    for (int i = 0; i < m->dir_count; i++) {
        enum err rc = recovery ? log_dir_checkpoint(m, m->dirs[i], CHECKPOINT_RECOVERY) : ERR_OK;
        if (rc == ERR_OK && start)
            rc = log_dir_checkpoint(m, m->dirs[i], CHECKPOINT_START);
        if (rc == ERR_OK && start)
            rc = log_dir_forget_gone(m, m->dirs[i], NULL);
        if (rc != ERR_OK && rc != ERR_OFFLINE)
            SLOG(ERROR, "log", "checkpoint not written", KV_S("dir", m->dirs[i]->path), KV_ERR(rc));
    }
}

static void tell_failed_dirs(struct log_manager *m)
{
    lock_take(&m->lock);
    bool any = m->has_failed_dirs;
    m->has_failed_dirs = false;
    lock_release(&m->lock);
    for (int i = 0; any && i < m->dir_count; i++) {
        struct log_dir *d = m->dirs[i];
        if (!log_dir_is_offline(d) || d->is_failure_told)
            continue;
        d->is_failure_told = true;
        if (m->options.dir_failed != NULL)
            m->options.dir_failed(m->options.arg, d->path);
    }
}

/* ---- folders to remove */
void log_background_doom(struct log_manager *m, const char *path, int64_t delay_ms)
{
    size_t n = strlen(path) + 1;
    struct doomed_folder *f = xmalloc(sizeof *f + n);

    f->due_mono_ms = clock_mono_ms() + delay_ms;
    memcpy(f->path, path, n);
    lock_take(&m->lock);
    STAILQ_INSERT_TAIL(&m->doomed, f, link);
    lock_release(&m->lock);
}

void log_background_remove_doomed(struct log_manager *m, int64_t now_mono_ms, bool all)
{
    for (;;) {
        lock_take(&m->lock);
        struct doomed_folder *f = STAILQ_FIRST(&m->doomed);
        if (f != NULL && !all && f->due_mono_ms > now_mono_ms)
            f = NULL;
        if (f != NULL)
            STAILQ_REMOVE_HEAD(&m->doomed, link);
        lock_release(&m->lock);
        if (f == NULL)
            return;
        enum err rc = fsx_remove_tree(f->path);
        if (rc != ERR_OK)
            SLOG(WARN, "log", "folder not removed", KV_S("path", f->path), KV_ERR(rc));
        mem_free(f);
    }
}

/* ---- the thread */
struct period {
    int64_t interval_ms, next_ms;
};

static bool is_due(struct period *p, int64_t now_ms)
{
    if (p->interval_ms <= 0 || p->interval_ms >= INT64_MAX / 2 || now_ms < p->next_ms)
        return false;
    p->next_ms = now_ms + p->interval_ms;
    return true;
}

static bool is_stopping(struct log_manager *m)
{
    lock_take(&m->lock);
    bool stop = m->is_stopping;
    lock_release(&m->lock);
    return stop;
}

static void *background(void *arg)
{
    enum { FIRST_RETENTION_MS = 30000, RECOVERY_POINT_MS = 5000 };
    struct log_manager *m = arg;
    int64_t now_ms = clock_mono_ms();
    struct period tick = {TICK_MS, now_ms + TICK_MS};
    struct period checkpoint = {m->options.checkpoint_interval_ms,
                                now_ms + m->options.checkpoint_interval_ms};
    struct period retention = {
        m->options.retention_check_interval_ms,
        now_ms + i64_min(FIRST_RETENTION_MS, m->options.retention_check_interval_ms)};
    /* what was flushed is of use to a recovery only when the checkpoint tells it */
    struct period recovery = {i64_min(RECOVERY_POINT_MS, m->options.checkpoint_interval_ms),
                              now_ms};
    int64_t flushes = 0; /* since that checkpoint */
    struct period flush = {m->options.flush_scheduler_interval_ms, now_ms};

    while (!is_stopping(m)) {
        unsigned work;
        struct log *l = next_work(m, tick.next_ms, &work);
        flushes += flush_many(m);
        if (l != NULL) {
            flushes += (work & LOG_WORK_FLUSH) != 0;
            do_work(m, l, work);
        }
        tell_failed_dirs(m);
        now_ms = clock_mono_ms();
        if (!is_due(&tick, now_ms))
            continue;
        fsx_spares_refill();
        unlink_due(m);
        log_background_remove_doomed(m, now_ms, false);
        if (is_due(&flush, now_ms))
            log_manager_each(m, flush_ms_one, m);
        if (is_due(&retention, now_ms))
            log_manager_each(m, retention_one, m);
        if (is_due(&checkpoint, now_ms)) {
            log_manager_each(m, rest_one, m);
            write_checkpoints(m, true, true);
            flushes = 0;
        }
        if (flushes > 0 && is_due(&recovery, now_ms)) {
            write_checkpoints(m, true, false);
            flushes = 0;
        }
    }
    return NULL;
}

void log_manager_start(struct log_manager *m, void (*lock)(void *user), void (*unlock)(void *user))
{
    m->user_lock = lock;
    m->user_unlock = unlock;
    log_background_start(m);
    log_cleaner_start(m);
}

void log_background_start(struct log_manager *m)
{
    ASSERT(!m->is_running);
    MUST(pthread_create(&m->thread, NULL, background, m) == 0);
    m->is_running = true;
}

void log_background_stop(struct log_manager *m)
{
    if (!m->is_running)
        return;
    lock_take(&m->lock);
    m->is_stopping = true;
    (void)pthread_cond_broadcast(&m->changed);
    lock_release(&m->lock);
    MUST(pthread_join(m->thread, NULL) == 0);
    m->is_running = false;
    tell_failed_dirs(m);
}
