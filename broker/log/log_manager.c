/* SPDX-License-Identifier: Apache-2.0 */
/* The table of logs: loading, finding, creating, deleting, closing. */
#include "broker/log/log_manager_internal.h"

#include "broker/log/checkpoint.h"
#include "common/base/clock.h"
#include "common/base/fsx.h"
#include "common/base/slog.h"
#include "common/base/topic_name.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { NAME_MAX_BYTES = 255 };

enum err log_manager_open(const struct log_manager_options *o, struct log_manager **out,
                          struct errtext *why)
{
    struct log_manager *m = xcalloc(1, sizeof *m);

    m->options = *o;
    m->options.dirs = NULL;
    m->broker_id = -1;
    if (m->options.producer_id_expiration_ms == 0)
        m->options.producer_id_expiration_ms = 24LL * 3600 * 1000;
    if (o->open_files_max > 0)
        fd_cache_set_max(o->open_files_max);
    lock_init(&m->lock, LOCK_LEAF);
    lock_init(&m->checkpoint_lock, LOCK_CHECKPOINT);
    lock_init(&m->clean_lock, LOCK_LOG_MANAGER);
    lock_cond_init(&m->changed);
    lock_cond_init(&m->clean_changed);
    TAILQ_INIT(&m->queue);
    TAILQ_INIT(&m->unlinks);
    TAILQ_INIT(&m->cleans);
    STAILQ_INIT(&m->doomed);
    *out = m;
    enum err rc = log_dirs_open(m, o->dirs, o->dir_count, why);
    if (rc != ERR_OK) {
        log_dirs_close(m);
        lock_fini(&m->lock);
        lock_fini(&m->checkpoint_lock);
        lock_fini(&m->clean_lock);
        (void)pthread_cond_destroy(&m->changed);
        (void)pthread_cond_destroy(&m->clean_changed);
        FREE_NULL(out);
    }
    return rc;
}

int32_t log_manager_broker_id(const struct log_manager *m)
{
    return m->broker_id;
}
const char *log_manager_cluster_id(const struct log_manager *m)
{
    return m->cluster_id;
}

void log_set_user(struct log *l, void *user)
{
    l->user = user;
}

/* ---- the table */
struct log *log_manager_find(struct log_manager *m, struct str topic, int32_t partition)
{
    char name[NAME_MAX_BYTES + 16];
    struct log *l = NULL;

    int n = snprintf(name, sizeof name, "%.*s-%" PRId32, STR_ARG(topic), partition);
    if (n < 0 || (size_t)n >= sizeof name)
        return NULL;
    lock_take(&m->lock);
    HASH_FIND(hh, m->logs, name, (unsigned)n, l);
    lock_release(&m->lock);
    return l;
}

/* False when the table has one of that name already. */
static bool table_add(struct log_manager *m, struct log *l)
{
    unsigned n = (unsigned)strlen(l->name);
    struct log *other;

    lock_take(&m->lock);
    HASH_FIND(hh, m->logs, l->name, n, other);
    if (other == NULL) {
        HASH_ADD_KEYPTR(hh, m->logs, l->name, n, l);
        l->is_open = true;
    }
    lock_release(&m->lock);
    if (other == NULL)
        log_manager_post_clean(l);
    return other == NULL;
}

struct log **log_manager_pin_all(struct log_manager *m, size_t *count_out)
{
    struct log *l, *tmp;
    size_t n = 0;

    lock_take(&m->lock);
    struct log **all = xcalloc(HASH_COUNT(m->logs) + 1, sizeof(struct log *));
    HASH_ITER (hh, m->logs, l, tmp) {
        l->pins++;
        all[n++] = l;
    }
    lock_release(&m->lock);
    *count_out = n;
    return all;
}

void log_manager_unpin(struct log_manager *m, struct log *l)
{
    lock_take(&m->lock);
    ASSERT(l->pins > 0);
    if (--l->pins == 0)
        (void)pthread_cond_broadcast(&m->changed);
    lock_release(&m->lock);
}

void log_manager_each(struct log_manager *m, void (*visit)(void *arg, struct log *l), void *arg)
{
    size_t n;
    struct log **all = log_manager_pin_all(m, &n);

    for (size_t i = 0; i < n; i++) {
        visit(arg, all[i]);
        log_manager_unpin(m, all[i]);
    }
    mem_free(all);
}

/* ---- folder names */
/* "<topic>-<partition>"; the last '-' parts them. */
static bool name_parse(const char *name, struct str *topic, int32_t *partition)
{
    const char *dash = strrchr(name, '-');
    int64_t n;

    if (dash == NULL || dash == name || dash - name > TOPIC_NAME_MAX)
        return false;
    struct str number = str_of(dash + 1);
    if (!checkpoint_number(number, &n) || n < 0 || n > INT32_MAX ||
        !isdigit((unsigned char)dash[1]))
        return false;
    *topic = (struct str){name, (int32_t)(dash - name)};
    *partition = (int32_t)n;
    return true;
}

static bool has_suffix(const char *name, const char *suffix)
{
    size_t n = strlen(name), m = strlen(suffix);
    return n > m && strcmp(name + n - m, suffix) == 0 && strchr(name, '.') != NULL;
}

/* ---- loading */
struct load {
    struct log_manager *m;
    struct log_dir *dir;
    struct saved_offsets *saved; /* read only while the threads run */
    char **names;
    size_t count, cap;
    _Atomic size_t next, done;
    struct lock lock; /* LEAF */
    enum err rc;      /* guarded by lock: the first failure */
    struct errtext why;
};

static void note_failure(struct load *ld, enum err rc, const struct errtext *why)
{
    lock_take(&ld->lock);
    if (ld->rc == ERR_OK) {
        ld->rc = rc;
        ld->why = *why;
    }
    lock_release(&ld->lock);
}

static int64_t saved_value(const struct saved_offsets *s, enum checkpoint_kind kind)
{
    return s == NULL ? 0 : i64_max(s->offset[kind], 0);
}

static enum err load_one(struct load *ld, const char *name, struct errtext *why)
{
    struct log_config config = ld->m->options.defaults;
    struct log_open_args a = {.dir = ld->dir, .config = &config, .was_clean = ld->dir->was_clean};
    struct saved_offsets *s;
    struct log *l;

    if (!name_parse(name, &a.topic, &a.partition)) {
        SLOG(WARN, "log", "ignoring a folder whose name is not that of a partition",
             KV_S("dir", ld->dir->path), KV_S("name", name));
        return ERR_OK;
    }
    if (ld->m->options.topic_config != NULL)
        ld->m->options.topic_config(ld->m->options.arg, a.topic, &config);
    HASH_FIND_STR(ld->saved, name, s);
    a.recovery_point = saved_value(s, CHECKPOINT_RECOVERY);
    a.start_offset = saved_value(s, CHECKPOINT_START);
    a.high_watermark = saved_value(s, CHECKPOINT_HW);
    a.clean_offset = saved_value(s, CHECKPOINT_CLEANER);
    enum err rc = log_open(&a, &l, why);
    if (rc == ERR_IO || rc == ERR_NO_SPACE || rc == ERR_OFFLINE) {
        log_dir_fail(ld->dir, "load a log", rc);
        SLOG(ERROR, "log", "log not loaded", KV_S("why", why->text));
        return ERR_OK; /* the others go on */
    }
    if (rc == ERR_OK && l->clean_offset < a.clean_offset) { /* the file is told at the next look */
        lock_take(&ld->m->lock);
        ld->m->has_cleaned = true;
        lock_release(&ld->m->lock);
    }
    if (rc == ERR_OK && !table_add(ld->m, l)) {
        errtext_set(why, "%s is in two log dirs, one of them %s", name, ld->dir->path);
        log_free(&l);
        rc = ERR_INVALID;
    }
    return rc;
}

static void *load_thread(void *arg)
{
    struct load *ld = arg;
    struct errtext why;
    size_t i;

    while ((i = atomic_fetch_add(&ld->next, 1)) < ld->count) {
        if (log_dir_is_offline(ld->dir))
            break;
        enum err rc = load_one(ld, ld->names[i], &why);
        if (rc != ERR_OK)
            note_failure(ld, rc, &why);
        size_t done = atomic_fetch_add(&ld->done, 1) + 1;
        if (!ld->dir->was_clean && done < ld->count)
            SLOG_EVERY(5000, INFO, "log", "recovering logs", KV_S("dir", ld->dir->path),
                       KV_I("done", done), KV_I("of", ld->count));
    }
    return NULL;
}

static void load_add_name(struct load *ld, const char *name)
{
    if (ld->count == ld->cap) {
        ld->cap = ld->cap == 0 ? 64 : ld->cap * 2;
        ld->names = xrealloc(ld->names, ld->cap * sizeof(char *));
    }
    ld->names[ld->count++] = xstrdup(name);
}

static enum err list_dir(struct load *ld)
{
    const struct dirent *e;
    DIR *d;

    enum err rc = fsx_opendir(ld->dir->path, &d);
    if (rc != ERR_OK)
        return rc;
    while ((e = readdir(d)) != NULL) {
        char path[SEGMENT_PATH_MAX];
        struct stat st;
        if (e->d_name[0] == '.' || e->d_type == DT_REG)
            continue;
        (void)snprintf(path, sizeof path, "%s/%s", ld->dir->path, e->d_name);
        if (e->d_type != DT_DIR && (stat(path, &st) != 0 || !S_ISDIR(st.st_mode)))
            continue;
        if (has_suffix(e->d_name, "-delete"))
            log_background_doom(ld->m, path, ld->m->options.defaults.file_delete_delay_ms);
        else if (has_suffix(e->d_name, "-future") || has_suffix(e->d_name, "-stray"))
            SLOG(WARN, "log", "ignoring a folder left behind by Kafka (-future, -stray)",
                 KV_S("path", path));
        else if (strcmp(e->d_name, "remote-log-index-cache") != 0)
            load_add_name(ld, e->d_name);
    }
    (void)closedir(d);
    return ERR_OK;
}

static void run_threads(struct load *ld, int threads)
{
    enum { THREADS_MAX = 64 };
    pthread_t t[THREADS_MAX];
    int started = 0;

    threads = i32_min(i32_min(threads, THREADS_MAX), (int32_t)size_min(ld->count, THREADS_MAX));
    while (started < threads - 1 && pthread_create(&t[started], NULL, load_thread, ld) == 0)
        started++;
    (void)load_thread(ld); /* this thread helps; alone if there are no more */
    while (started > 0)
        MUST(pthread_join(t[--started], NULL) == 0);
}

/* Deleted before the checkpoints were written again, and then came a crash. */
static void note_gone(struct load *ld)
{
    struct saved_offsets *s, *tmp;
    struct log *l;

    HASH_ITER (hh, ld->saved, s, tmp) {
        lock_take(&ld->m->lock);
        HASH_FIND(hh, ld->m->logs, s->name, (unsigned)strlen(s->name), l);
        lock_release(&ld->m->lock);
        if (l != NULL && l->dir == ld->dir)
            continue;
        char *folder = xasprintf("%s/%s", ld->dir->path, s->name);
        log_dir_note_gone(ld->m, ld->dir, folder);
        mem_free(folder);
    }
}

static enum err load_dir(struct log_manager *m, struct log_dir *d, struct errtext *why)
{
    struct load ld = {.m = m, .dir = d};
    int64_t began_ms = clock_mono_ms();

    lock_init(&ld.lock, LOCK_LEAF);
    enum err rc = log_dir_take_clean_mark(d);
    if (rc == ERR_OK)
        rc = list_dir(&ld);
    if (rc == ERR_OK) {
        ld.saved = log_dir_read_checkpoints(d);
        run_threads(&ld, m->options.recovery_threads_per_dir);
        note_gone(&ld);
        rc = ld.rc;
        *why = ld.why;
        SLOG(INFO, "log", "log dir loaded", KV_S("dir", d->path), KV_I("logs", ld.count),
             KV_S("after", d->was_clean ? "clean stop" : "unclean stop or first start"),
             KV_I("ms", clock_mono_ms() - began_ms));
    } else {
        log_dir_fail_midway(d, "load", rc);
        rc = ERR_OK; /* the other dirs go on */
    }
    saved_offsets_free(&ld.saved);
    for (size_t i = 0; i < ld.count; i++)
        mem_free(ld.names[i]);
    mem_free(ld.names);
    lock_fini(&ld.lock);
    return rc;
}

struct dir_thread {
    pthread_t thread;
    struct log_manager *m;
    struct log_dir *dir;
    enum err rc;
    struct errtext why;
    bool is_started;
};

static void *dir_thread(void *arg)
{
    struct dir_thread *t = arg;

    t->rc = load_dir(t->m, t->dir, &t->why);
    return NULL;
}

enum err log_manager_load(struct log_manager *m, struct errtext *why)
{
    struct dir_thread *t = xcalloc((size_t)m->dir_count, sizeof *t);
    enum err rc = ERR_OK;
    int online = 0;

    for (int i = 0; i < m->dir_count; i++) {
        t[i].m = m;
        t[i].dir = m->dirs[i];
        t[i].is_started = i > 0 && pthread_create(&t[i].thread, NULL, dir_thread, &t[i]) == 0;
    }
    for (int i = 0; i < m->dir_count; i++) {
        if (t[i].is_started)
            MUST(pthread_join(t[i].thread, NULL) == 0);
        else
            (void)dir_thread(&t[i]);
        if (t[i].rc != ERR_OK && rc == ERR_OK) {
            rc = t[i].rc;
            *why = t[i].why;
        }
        online += !log_dir_is_offline(m->dirs[i]);
    }
    mem_free(t);
    if (rc == ERR_OK && online == 0) {
        errtext_set(why, "no log dir is usable");
        rc = ERR_OFFLINE;
    }
    return rc;
}

/* ---- creating */
/* The live dir with the fewest logs. */
static struct log_dir *choose_dir(struct log_manager *m)
{
    size_t *counts = xcalloc((size_t)m->dir_count, sizeof *counts);
    struct log_dir *best = NULL;
    struct log *l, *tmp;
    size_t best_count = SIZE_MAX;

    if (m->dir_count > 1) {
        lock_take(&m->lock);
        HASH_ITER (hh, m->logs, l, tmp)
            for (int i = 0; i < m->dir_count; i++)
                counts[i] += l->dir == m->dirs[i];
        lock_release(&m->lock);
    }
    for (int i = 0; i < m->dir_count; i++)
        if (!log_dir_is_offline(m->dirs[i]) && counts[i] < best_count) {
            best = m->dirs[i];
            best_count = counts[i];
        }
    mem_free(counts);
    return best;
}

static bool any_offline(const struct log_manager *m)
{
    for (int i = 0; i < m->dir_count; i++)
        if (log_dir_is_offline(m->dirs[i]))
            return true;
    return false;
}

enum err log_manager_get_or_create(struct log_manager *m, struct str topic, int32_t partition,
                                   struct uuid topic_id, const struct log_config *c, bool is_new,
                                   void *user, struct log **out, struct errtext *why)
{
    *out = log_manager_find(m, topic, partition);
    if (*out != NULL)
        return log_is_offline(*out) ? ERR_OFFLINE : ERR_OK;
    struct log_dir *d = choose_dir(m);
    if (d == NULL || (!is_new && any_offline(m))) {
        errtext_set(why, "a log dir is offline");
        return ERR_OFFLINE;
    }
    struct log_open_args a = {.dir = d,
                              .topic = topic,
                              .partition = partition,
                              .config = c,
                              .was_clean = true,
                              .create = true};
    struct log *l = NULL;
    char *folder = xasprintf("%s/%.*s-%" PRId32, d->path, STR_ARG(topic), partition);
    enum err rc = log_dir_forget_gone(m, d, folder);
    mem_free(folder);
    if (rc == ERR_OK)
        rc = log_open(&a, &l, why);
    if (rc == ERR_OK && !uuid_is_zero(topic_id))
        rc = log_set_topic_id(l, topic_id);
    if (rc != ERR_OK) {
        log_dir_fail(d, "create a log", rc);
        if (l != NULL)
            log_free(&l);
        return rc;
    }
    l->user = user;
    bool added = table_add(m, l);
    ASSERT(added); /* the caller does not create the same one twice at a time */
    *out = l;
    return ERR_OK;
}

/* ---- deleting */
static void take_out(struct log_manager *m, struct log *l)
{
    lock_take(&m->lock);
    HASH_DEL(m->logs, l);
    l->is_open = false;
    m->flush_waiting -= (l->work & LOG_WORK_FLUSH) != 0;
    if (l->work != 0)
        TAILQ_REMOVE(&m->queue, l, work_link);
    if (l->is_unlinking)
        TAILQ_REMOVE(&m->unlinks, l, unlink_link);
    if (l->is_in_clean)
        TAILQ_REMOVE(&m->cleans, l, clean_link);
    l->work = 0;
    l->is_unlinking = l->is_in_clean = false;
    (void)pthread_cond_broadcast(&m->clean_changed); /* a run over it ends */
    while (l->pins > 0)
        (void)lock_wait(&m->lock, &m->changed, -1);
    lock_release(&m->lock);
}

static char *doomed_path(const struct log *l)
{
    struct uuid u = uuid_random();
    char hex[33];

    for (size_t i = 0; i < sizeof u.b; i++)
        (void)snprintf(hex + 2 * i, 3, "%02x", u.b[i]);
    /* the topic's part is cut so that the whole name fits into a file name */
    int room = NAME_MAX_BYTES - (int)(sizeof "-.-delete" + sizeof hex + 10);
    return xasprintf("%s/%.*s-%" PRId32 ".%s-delete", l->dir->path, i32_min(l->topic_len, room),
                     l->name, l->partition, hex);
}

enum err log_manager_delete(struct log_manager *m, struct log *l)
{
    enum err rc = ERR_OK;

    take_out(m, l);
    log_dir_note_gone(m, l->dir, l->folder->path);
    for (int32_t i = 0; rc == ERR_OK && i < l->segment_count; i++)
        rc = segment_pin(l->segments[i]); /* ranges in flight stay good */
    char *path = doomed_path(l);
    if (rc == ERR_OK && rename(l->folder->path, path) != 0)
        rc = err_from_errno(errno);
    if (rc == ERR_OK)
        log_background_doom(m, path, l->config.file_delete_delay_ms);
    else
        log_dir_fail_midway(l->dir, "delete a log", rc);
    SLOG(INFO, "log", "log scheduled for deletion", KV_STR("topic", log_topic(l)),
         KV_I("partition", l->partition), KV_S("folder", path));
    mem_free(path);
    log_free(&l);
    return rc;
}

/* ---- the end */
/* Flushes what is not on disk yet: a few logs one by one, many with one sync for all. */
static enum err close_logs(struct log_manager *m)
{
    enum { FEW = 16 };
    struct log_group g = {0};
    struct log *l, *tmp;

    HASH_ITER (hh, m->logs, l, tmp) {
        if (log_is_offline(l))
            continue;
        enum err rc = log_finish_writing(l);
        if (rc != ERR_OK)
            log_dir_fail_midway(l->dir, "close a log", rc);
        else if (log_has_unflushed(l))
            log_group_add(&g, l);
    }
    enum err rc = ERR_OK;
    if (g.count > FEW)
        rc = log_group_flush(m, &g);
    /* what did not fit into one turn, and the few */
    for (size_t i = 0; i < g.count; i++) {
        enum err one = log_is_offline(g.logs[i]) ? ERR_OFFLINE : log_flush(g.logs[i]);
        rc = rc == ERR_OK ? one : rc;
    }
    log_group_fini(&g);
    return rc;
}

static void free_logs(struct log_manager *m)
{
    struct log *l, *tmp;
    struct gone_log *g, *next;

    HASH_ITER (hh, m->gone, g, next) {
        HASH_DEL(m->gone, g);
        mem_free(g);
    }

    HASH_ITER (hh, m->logs, l, tmp) {
        HASH_DEL(m->logs, l);
        log_free(&l);
    }
}

enum err log_manager_close(struct log_manager **mp, int64_t broker_epoch)
{
    struct log_manager *m = *mp;

    log_cleaner_stop(m);
    log_background_stop(m);
    enum err rc = close_logs(m);
    for (int i = 0; i < m->dir_count; i++) {
        struct log_dir *d = m->dirs[i];
        enum err one = ERR_OK;
        for (int k = 0; one == ERR_OK && k < CHECKPOINT_KINDS; k++)
            one = log_dir_checkpoint(m, d, (enum checkpoint_kind)k);
        if (one == ERR_OK)
            one = log_dir_write_clean_mark(d, broker_epoch);
        if (one != ERR_OK && one != ERR_OFFLINE)
            rc = one;
    }
    free_logs(m);
    log_background_remove_doomed(m, 0, true);
    log_dirs_close(m);
    lock_fini(&m->lock);
    lock_fini(&m->checkpoint_lock);
    lock_fini(&m->clean_lock);
    (void)pthread_cond_destroy(&m->changed);
    (void)pthread_cond_destroy(&m->clean_changed);
    FREE_NULL(mp);
    return rc;
}
