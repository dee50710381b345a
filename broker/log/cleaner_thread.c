/* SPDX-License-Identifier: Apache-2.0 */
/* The cleaner's threads: which log is next, how fast, and what is told of it. A log is in the list
 * m->cleans from the roll that closes a dirty segment until a look finds nothing dirty, so that a
 * look costs nothing for logs at rest. A thread never ends because of a log. */
#include "broker/log/cleaner.h"
#include "broker/log/log_manager_internal.h"

#include "common/base/clock.h"
#include "common/base/fsx.h"
#include "common/base/slog.h"

#include <stdlib.h>

enum { CHECKPOINT_MS = 5000, THREADS_MAX = 64, BACKOFF_MS_MAX = 24 * 3600 * 1000 };

void log_manager_post_clean(struct log *l)
{
    struct log_manager *m = l->dir->manager;

    if (m == NULL || !l->config.is_compact || l->segment_count < 2)
        return;
    lock_take(&m->lock);
    if (l->is_open && !l->is_in_clean) {
        TAILQ_INSERT_TAIL(&m->cleans, l, clean_link);
        l->is_in_clean = true;
    }
    lock_release(&m->lock);
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

/* ---- choosing */
/* Empties the list: what stays dirty is put back. Each log is pinned. */
static struct log **take_list(struct log_manager *m, size_t *count_out)
{
    struct log *l, *next;
    size_t n = 0;

    lock_take(&m->lock);
    TAILQ_FOREACH (l, &m->cleans, clean_link)
        n += !l->is_cleaning;
    struct log **all = xcalloc(n + 1, sizeof(struct log *));
    *count_out = n;
    n = 0;
    for (l = TAILQ_FIRST(&m->cleans); l != NULL; l = next) {
        next = TAILQ_NEXT(l, clean_link);
        if (l->is_cleaning) /* by another thread; it looks again afterwards */
            continue;
        TAILQ_REMOVE(&m->cleans, l, clean_link);
        l->is_in_clean = false;
        l->pins++;
        all[n++] = l;
    }
    lock_release(&m->lock);
    return all;
}

/* The ratio by which the log is worth cleaning; negative: it is not. */
static double look(struct log_manager *m, struct log *l, int64_t now_ms)
{
    struct clean_plan plan;
    double worth = -1;
    bool has_more;

    lock_user(m, l);
    bool any = clean_plan(l, now_ms, &plan, &has_more);
    if (any && clock_mono_ms() >= l->clean_after_mono_ms && clean_plan_is_due(&plan, &l->config))
        worth = clean_plan_ratio(&plan);
    if (any || has_more)
        log_manager_post_clean(l);
    unlock_user(m, l);
    return worth;
}

/* The dirtiest log that is worth it, pinned and marked; NULL: none is. */
static struct log *choose(struct log_manager *m)
{
    int64_t now_ms = clock_wall_ms();
    struct log *best = NULL;
    double best_worth = -1;
    size_t n;

    lock_take(&m->clean_lock);
    struct log **all = take_list(m, &n);
    for (size_t i = 0; i < n; i++) {
        double worth = look(m, all[i], now_ms);
        if (worth > best_worth) {
            best_worth = worth;
            best = all[i];
        }
    }
    lock_take(&m->lock);
    if (best != NULL) {
        best->is_cleaning = true;
        best->pins++;
    }
    lock_release(&m->lock);
    for (size_t i = 0; i < n; i++)
        log_manager_unpin(m, all[i]);
    lock_release(&m->clean_lock);
    mem_free(all);
    return best;
}

/* ---- a run */
static void take_log(void *arg, struct log *l)
{
    lock_user(arg, l);
}
static void give_log(void *arg, struct log *l)
{
    unlock_user(arg, l);
}

/* Bytes are moved at a steady rate, by all threads together. */
static bool go_on(void *arg, struct log *l, int64_t bytes)
{
    struct log_manager *m = arg;
    double rate = m->options.cleaner.bytes_per_second_max;

    lock_take(&m->lock);
    int64_t now_us = clock_mono_us(), until_us = 0;
    if (rate < 1e15) { /* else the sums are no numbers of microseconds any more */
        double us = (double)bytes * 1e6 / (rate < 1 ? 1 : rate);
        m->clean_free_us = i64_max(m->clean_free_us, now_us) + (int64_t)us;
        until_us = m->clean_free_us;
    }
    while (!m->clean_stopping && l->is_open && until_us > clock_mono_us())
        (void)lock_wait(&m->lock, &m->clean_changed, until_us);
    bool may = !m->clean_stopping && l->is_open;
    lock_release(&m->lock);
    return may;
}

static void count(struct log_manager *m, const struct clean_stats *s, enum err rc, int64_t us)
{
    struct log_cleaner_numbers *n = &m->clean_numbers;

    lock_take(&m->lock);
    n->runs += rc == ERR_OK;
    n->failed_runs += rc != ERR_OK && rc != ERR_BUSY && rc != ERR_BAD_VERSION;
    n->bytes_read += s->bytes_read;
    n->bytes_written += s->bytes_written;
    n->records_read += s->records_read;
    n->records_kept += s->records_kept;
    n->busy_us += us;
    n->map_bytes_max = i64_max(n->map_bytes_max, (int64_t)s->map_bytes);
    if (rc == ERR_OK) {
        n->last_run_ms = us / 1000;
        n->last_run_wall_ms = clock_wall_ms();
        m->has_cleaned = true;
    }
    lock_release(&m->lock);
}

static void tell(const struct log *l, const struct clean_stats *s, enum err rc,
                 const struct errtext *why, int64_t us)
{
    if (rc == ERR_OK)
        SLOG(INFO, "log", "compacted", KV_STR("topic", log_topic(l)),
             KV_I("partition", l->partition), KV_I("from", s->dirty_offset),
             KV_I("to", s->end_offset), KV_I("segments", s->segments_before),
             KV_I("became", s->segments_after), KV_I("records", s->records_read),
             KV_I("kept", s->records_kept), KV_I("bytes_written", s->bytes_written),
             KV_I("ms", us / 1000));
    else if (l->is_uncleanable)
        SLOG(ERROR, "log", "a log can't be compacted and is set aside",
             KV_STR("topic", log_topic(l)), KV_I("partition", l->partition), KV_ERR(rc),
             KV_S("why", why->text));
    else if (rc != ERR_BUSY && rc != ERR_BAD_VERSION && rc != ERR_OFFLINE)
        SLOG_EVERY(60000, WARN, "log", "a log could not be compacted now",
                   KV_STR("topic", log_topic(l)), KV_I("partition", l->partition), KV_ERR(rc));
}

static void clean_one(struct log_manager *m, struct log *l)
{
    const struct log_cleaner_options *o = &m->options.cleaner;
    struct clean_env env = {.map_bytes_max = (size_t)(o->dedupe_bytes / m->clean_thread_count),
                            .buffer_bytes = (size_t)(o->buffer_bytes / m->clean_thread_count),
                            .load_factor = o->load_factor,
                            .lock = take_log,
                            .unlock = give_log,
                            .go_on = go_on,
                            .arg = m};
    struct clean_stats stats;
    struct errtext why = {""};
    int64_t began_us = clock_mono_us();

    enum err rc = log_clean(l, &env, clock_wall_ms(), &stats, &why);
    int64_t us = clock_mono_us() - began_us;
    count(m, &stats, rc, us);
    tell(l, &stats, rc, &why, us);
    lock_user(m, l);
    /* what failed for want of something is left alone for a while, lest it be chosen for ever */
    l->clean_after_mono_ms =
        rc == ERR_OK ? 0 : clock_mono_ms() + i64_min(o->backoff_ms, BACKOFF_MS_MAX);
    log_manager_post_clean(l); /* the next look tells whether it is dirty still */
    unlock_user(m, l);
    lock_take(&m->lock);
    l->is_cleaning = false;
    lock_release(&m->lock);
    log_manager_unpin(m, l);
}

/* ---- the threads */
static void checkpoint(struct log_manager *m, bool now)
{
    lock_take(&m->lock);
    bool due = m->has_cleaned && (now || clock_mono_ms() - m->clean_checkpoint_ms >= CHECKPOINT_MS);
    if (due) {
        m->has_cleaned = false;
        m->clean_checkpoint_ms = clock_mono_ms();
    }
    lock_release(&m->lock);
    for (int i = 0; due && i < m->dir_count; i++) {
        enum err rc = log_dir_checkpoint(m, m->dirs[i], CHECKPOINT_CLEANER);
        if (rc != ERR_OK && rc != ERR_OFFLINE)
            SLOG(ERROR, "log", "checkpoint not written", KV_S("dir", m->dirs[i]->path), KV_ERR(rc));
    }
}

/* False: the thread is to stop. */
static bool wait_a_while(struct log_manager *m)
{
    lock_take(&m->lock);
    int64_t until_us =
        clock_mono_us() + i64_min(m->options.cleaner.backoff_ms, BACKOFF_MS_MAX) * 1000;
    while (!m->clean_stopping && clock_mono_us() < until_us)
        (void)lock_wait(&m->lock, &m->clean_changed, until_us);
    bool go = !m->clean_stopping;
    lock_release(&m->lock);
    return go;
}

static bool is_stopping(struct log_manager *m)
{
    lock_take(&m->lock);
    bool stop = m->clean_stopping;
    lock_release(&m->lock);
    return stop;
}

static void *cleaner(void *arg)
{
    struct log_manager *m = arg;

    while (!is_stopping(m)) {
        struct log *l = choose(m);
        if (l != NULL)
            clean_one(m, l);
        checkpoint(m, l == NULL);
        if (l == NULL && !wait_a_while(m))
            break;
    }
    return NULL;
}

void log_cleaner_start(struct log_manager *m)
{
    const struct log_cleaner_options *o = &m->options.cleaner;
    int32_t n = o->is_enabled ? i32_min(o->threads, THREADS_MAX) : 0;

    ASSERT(m->clean_thread_count == 0);
    if (n <= 0)
        return;
    lock_take(&m->lock);
    m->clean_stopping = false;
    lock_release(&m->lock);
    m->clean_threads = xcalloc((size_t)n, sizeof(pthread_t));
    m->clean_thread_count = n; /* before they start: they divide by it */
    for (int32_t i = 0; i < n; i++)
        MUST(pthread_create(&m->clean_threads[i], NULL, cleaner, m) == 0);
}

void log_cleaner_stop(struct log_manager *m)
{
    lock_take(&m->lock);
    m->clean_stopping = true;
    (void)pthread_cond_broadcast(&m->clean_changed);
    lock_release(&m->lock);
    for (int32_t i = 0; i < m->clean_thread_count; i++)
        MUST(pthread_join(m->clean_threads[i], NULL) == 0);
    FREE_NULL(&m->clean_threads);
    m->clean_thread_count = 0;
}

static bool is_same(const struct log_cleaner_options *a, const struct log_cleaner_options *b)
{
    return a->is_enabled == b->is_enabled && a->threads == b->threads &&
           a->dedupe_bytes == b->dedupe_bytes && a->buffer_bytes == b->buffer_bytes &&
           a->backoff_ms == b->backoff_ms && !(a->load_factor < b->load_factor) &&
           !(a->load_factor > b->load_factor) &&
           !(a->bytes_per_second_max < b->bytes_per_second_max) &&
           !(a->bytes_per_second_max > b->bytes_per_second_max);
}

void log_manager_set_cleaner(struct log_manager *m, const struct log_cleaner_options *o)
{
    if (is_same(&m->options.cleaner, o))
        return;
    log_cleaner_stop(m);
    m->options.cleaner = *o;
    if (m->is_running)
        log_cleaner_start(m);
}

void log_manager_cleaner_numbers(struct log_manager *m, struct log_cleaner_numbers *out)
{
    struct log *l, *tmp;

    lock_take(&m->lock);
    *out = m->clean_numbers;
    out->waiting = out->uncleanable = 0;
    TAILQ_FOREACH (l, &m->cleans, clean_link)
        out->waiting++;
    HASH_ITER (hh, m->logs, l, tmp)
        out->uncleanable += atomic_load_explicit(&l->is_uncleanable, memory_order_relaxed);
    lock_release(&m->lock);
}
