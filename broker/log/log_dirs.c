/* SPDX-License-Identifier: Apache-2.0 */
/* The log dirs: locks, meta.properties, clean marks, checkpoint files. */
#include "broker/log/log_manager_internal.h"

#include "broker/log/checkpoint.h"
#include "common/base/fsx.h"
#include "common/base/json_writer.h"
#include "common/base/slog.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/statvfs.h>
#include <unistd.h>

static const char clean_mark_name[] = ".kafka_cleanshutdown";
static const char *const checkpoint_names[CHECKPOINT_KINDS] = {
    "recovery-point-offset-checkpoint", "log-start-offset-checkpoint",
    "replication-offset-checkpoint", "cleaner-offset-checkpoint"};

/* ---- opening */
/* POSIX locks, as Java's FileChannel.lock takes them, so that a Kafka broker and we exclude each
 * other. */
static enum err lock_dir(struct log_dir *d, struct errtext *why)
{
    struct flock f = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    char *path = xasprintf("%s/.lock", d->path);

    enum err rc = fsx_open(path, O_RDWR | O_CREAT, 0644, &d->lock_fd);
    if (rc != ERR_OK) {
        errtext_set(why, "open %s: %s", path, err_reason(rc));
    } else if (fcntl(d->lock_fd, F_SETLK, &f) != 0) {
        rc = errno == EACCES || errno == EAGAIN ? ERR_EXISTS : err_from_errno(errno);
        errtext_set(why, "%s is locked by another process", path);
    }
    mem_free(path);
    return rc;
}

static void dir_free(struct log_dir *d)
{
    if (d->lock_fd >= 0)
        (void)close(d->lock_fd); /* ends the lock */
    mem_free(d->path);
    mem_free(d);
}

static enum err open_dir(struct log_manager *m, const char *path, struct log_dir **out,
                         struct errtext *why)
{
    struct log_dir *d = xcalloc(1, sizeof *d);

    d->path = xstrdup(path);
    for (size_t n = strlen(d->path); n > 1 && d->path[n - 1] == '/'; n--)
        d->path[n - 1] = 0;
    d->lock_fd = -1;
    d->manager = m;
    enum err rc = fsx_mkdir_p(d->path, 0755);
    if (rc != ERR_OK)
        errtext_set(why, "make %s: %s", path, err_reason(rc));
    else
        rc = lock_dir(d, why);
    if (rc != ERR_OK) {
        dir_free(d);
        d = NULL;
    }
    *out = d;
    return rc;
}

/* INVALID when this dir and the others name different brokers or clusters. */
static enum err check_meta(struct log_manager *m, const struct log_dir *d, struct errtext *why)
{
    struct meta_properties p;

    enum err rc = meta_properties_read(d->path, &p, why);
    if (rc == ERR_NOT_FOUND)
        return ERR_OK;
    if (rc != ERR_OK)
        return rc;
    if (m->broker_id >= 0 && p.broker_id >= 0 && m->broker_id != p.broker_id) {
        errtext_set(why, "%s belongs to broker %" PRId32 ", other log dirs to %" PRId32, d->path,
                    p.broker_id, m->broker_id);
        return ERR_INVALID;
    }
    if (m->cluster_id[0] != 0 && p.cluster_id[0] != 0 && strcmp(m->cluster_id, p.cluster_id) != 0) {
        errtext_set(why, "%s belongs to cluster %s, other log dirs to %s", d->path, p.cluster_id,
                    m->cluster_id);
        return ERR_INVALID;
    }
    if (p.broker_id >= 0)
        m->broker_id = p.broker_id;
    if (p.cluster_id[0] != 0)
        memcpy(m->cluster_id, p.cluster_id, sizeof m->cluster_id);
    return ERR_OK;
}

enum err log_dirs_open(struct log_manager *m, char *const *paths, int count, struct errtext *why)
{
    m->dirs = xcalloc((size_t)i32_max(count, 1), sizeof(struct log_dir *));
    enum err rc = ERR_INVALID;

    errtext_set(why, "no log dir");
    for (int i = 0; i < count; i++) {
        struct log_dir *d;
        rc = open_dir(m, paths[i], &d, why);
        if (rc == ERR_EXISTS)
            return rc;
        if (rc != ERR_OK) {
            SLOG(ERROR, "log", "log dir not usable", KV_S("dir", paths[i]), KV_S("why", why->text));
            continue;
        }
        m->dirs[m->dir_count++] = d;
        rc = check_meta(m, d, why);
        if (rc != ERR_OK)
            return rc;
    }
    return m->dir_count > 0 ? ERR_OK : rc;
}

void log_dirs_close(struct log_manager *m)
{
    for (int i = 0; i < m->dir_count; i++)
        dir_free(m->dirs[i]);
    FREE_NULL(&m->dirs);
    m->dir_count = 0;
}

enum err log_manager_write_meta(struct log_manager *m, int32_t broker_id, const char *cluster_id)
{
    struct meta_properties want = {.broker_id = broker_id}, have;
    struct errtext why;

    if (strlen(cluster_id) >= sizeof want.cluster_id)
        return ERR_INVALID;
    (void)snprintf(want.cluster_id, sizeof want.cluster_id, "%s", cluster_id);
    for (int i = 0; i < m->dir_count; i++) {
        struct log_dir *d = m->dirs[i];
        enum err rc = meta_properties_read(d->path, &have, &why);
        if (rc == ERR_OK && have.broker_id == broker_id && strcmp(have.cluster_id, cluster_id) == 0)
            continue;
        rc = meta_properties_write(d->path, &want);
        if (rc != ERR_OK) {
            log_dir_fail(d, "write meta.properties", rc);
            return rc;
        }
    }
    m->broker_id = broker_id;
    memcpy(m->cluster_id, want.cluster_id, sizeof m->cluster_id);
    return ERR_OK;
}

int log_manager_dirs(struct log_manager *m, struct log_dir_info *out, int max)
{
    int n = 0;

    for (; n < m->dir_count && n < max; n++) {
        struct statvfs v;
        out[n] = (struct log_dir_info){.path = m->dirs[n]->path,
                                       .is_offline = log_dir_is_offline(m->dirs[n]),
                                       .total_bytes = -1,
                                       .usable_bytes = -1};
        if (statvfs(m->dirs[n]->path, &v) == 0) {
            out[n].total_bytes = (int64_t)(v.f_blocks * v.f_frsize);
            out[n].usable_bytes = (int64_t)(v.f_bavail * v.f_frsize);
        }
    }
    return n;
}

/* ---- clean marks */
enum err log_dir_take_clean_mark(struct log_dir *d)
{
    char *path = xasprintf("%s/%s", d->path, clean_mark_name);
    enum err rc = ERR_OK;

    d->was_clean = access(path, F_OK) == 0;
    if (d->was_clean && unlink(path) != 0)
        rc = err_from_errno(errno);
    if (d->was_clean && rc == ERR_OK)
        rc = fsx_sync_dir(d->path); /* a crash from here on must be seen as one */
    mem_free(path);
    return rc;
}

enum err log_dir_write_clean_mark(struct log_dir *d, int64_t broker_epoch)
{
    char *path = xasprintf("%s/%s", d->path, clean_mark_name);
    struct buf b = {0};
    struct json_writer w = json_write_to(&b);

    json_write_object(&w, NULL);
    json_write_int(&w, "version", 0);
    json_write_int(&w, "brokerEpoch", broker_epoch);
    json_write_end(&w);
    json_write_done(&w);
    enum err rc = fsx_replace_durably(path, b.p, b.len, 0644);
    buf_fini(&b);
    mem_free(path);
    return rc;
}

/* ---- checkpoints */
struct checkpoint_reader {
    struct saved_offsets *table;
    enum checkpoint_kind kind;
};

static struct saved_offsets *saved_for(struct saved_offsets **table, struct str topic,
                                       int64_t partition)
{
    char name[512];
    struct saved_offsets *s;

    int n = snprintf(name, sizeof name, "%.*s-%" PRId64, STR_ARG(topic), partition);
    if (n < 0 || (size_t)n >= sizeof name)
        return NULL;
    HASH_FIND_STR(*table, name, s);
    if (s != NULL)
        return s;
    s = xcalloc(1, sizeof *s + (size_t)n + 1);
    memcpy(s->name, name, (size_t)n + 1);
    for (int k = 0; k < CHECKPOINT_KINDS; k++)
        s->offset[k] = -1;
    HASH_ADD_STR(*table, name, s);
    return s;
}

static bool read_line(void *arg, const struct str *words)
{
    struct checkpoint_reader *r = arg;
    int64_t partition, offset;

    if (!checkpoint_number(words[1], &partition) || !checkpoint_number(words[2], &offset) ||
        partition < 0 || partition > INT32_MAX || offset < 0)
        return false;
    struct saved_offsets *s = saved_for(&r->table, words[0], partition);
    if (s != NULL)
        s->offset[r->kind] = offset;
    return s != NULL;
}

struct saved_offsets *log_dir_read_checkpoints(const struct log_dir *d)
{
    struct checkpoint_reader r = {0};
    struct saved_offsets *s, *tmp;
    struct errtext why;

    for (int k = 0; k < CHECKPOINT_KINDS; k++) {
        char *path = xasprintf("%s/%s", d->path, checkpoint_names[k]);
        r.kind = (enum checkpoint_kind)k;
        enum err rc = checkpoint_read(path, 3, read_line, &r, &why);
        if (rc != ERR_OK && rc != ERR_NOT_FOUND) {
            SLOG(WARN, "log", "checkpoint not readable, going on without it",
                 KV_S("why", why.text));
            HASH_ITER (hh, r.table, s, tmp)
                s->offset[k] = -1;
        }
        mem_free(path);
    }
    return r.table;
}

void saved_offsets_free(struct saved_offsets **table)
{
    struct saved_offsets *s, *tmp;

    HASH_ITER (hh, *table, s, tmp) {
        HASH_DEL(*table, s);
        mem_free(s);
    }
}

static int64_t value_of(const struct log *l, enum checkpoint_kind kind)
{
    switch (kind) {
    case CHECKPOINT_RECOVERY:
        return atomic_load_explicit(&l->recovery_point, memory_order_relaxed);
    case CHECKPOINT_HW:
        return atomic_load_explicit(&l->high_watermark, memory_order_relaxed);
    case CHECKPOINT_START:
        /* Kafka lists only logs that begin inside their first segment; more entries do no harm */
        return atomic_load_explicit(&l->start_offset, memory_order_relaxed);
    case CHECKPOINT_CLEANER:
        return atomic_load_explicit(&l->clean_offset, memory_order_relaxed);
    case CHECKPOINT_KINDS:
        break;
    }
    UNREACHABLE();
}

/* ---- checkpoints of deleted logs */
void log_dir_note_gone(struct log_manager *m, struct log_dir *d, const char *folder)
{
    size_t n = strlen(folder);
    struct gone_log *g;

    lock_take(&m->lock);
    HASH_FIND(hh, m->gone, folder, (unsigned)n, g);
    if (g == NULL) {
        g = xcalloc(1, sizeof *g + n + 1);
        memcpy(g->folder, folder, n);
        g->dir = d;
        HASH_ADD_KEYPTR(hh, m->gone, g->folder, (unsigned)n, g);
    }
    g->files = (1u << CHECKPOINT_KINDS) - 1;
    g->writing = 0;
    lock_release(&m->lock);
}

enum err log_dir_forget_gone(struct log_manager *m, struct log_dir *d, const char *folder)
{
    struct gone_log *g, *tmp;
    unsigned files = 0;
    enum err rc = ERR_OK;

    lock_take(&m->lock);
    if (folder != NULL) {
        HASH_FIND(hh, m->gone, folder, (unsigned)strlen(folder), g);
        files = g == NULL ? 0 : g->files;
    } else {
        HASH_ITER (hh, m->gone, g, tmp)
            files |= g->dir == d ? g->files : 0;
    }
    lock_release(&m->lock);
    for (unsigned k = 0; rc == ERR_OK && k < CHECKPOINT_KINDS; k++)
        if ((files & 1u << k) != 0)
            rc = log_dir_checkpoint(m, d, (enum checkpoint_kind)k);
    return rc;
}

/* The lines of a file were made: it says nothing of the logs that are gone by now. Lock held. */
static void begin_forgetting(struct log_manager *m, const struct log_dir *d, unsigned file)
{
    struct gone_log *g, *tmp;

    HASH_ITER (hh, m->gone, g, tmp)
        if (g->dir == d)
            g->writing |= file;
}

static void end_forgetting(struct log_manager *m, const struct log_dir *d, unsigned file)
{
    struct gone_log *g, *tmp;

    lock_take(&m->lock);
    HASH_ITER (hh, m->gone, g, tmp) {
        if (g->dir != d || (g->writing & file) == 0)
            continue;
        g->files &= ~file;
        g->writing &= ~file;
        if (g->files == 0) {
            HASH_DEL(m->gone, g);
            mem_free(g);
        }
    }
    lock_release(&m->lock);
}

enum err log_dir_checkpoint(struct log_manager *m, struct log_dir *d, enum checkpoint_kind kind)
{
    struct buf lines = {0}, text = {0};
    size_t count = 0;
    bool skips_zero = kind == CHECKPOINT_START || kind == CHECKPOINT_CLEANER;
    struct log *l, *tmp;

    if (log_dir_is_offline(d))
        return ERR_OFFLINE;
    lock_take(&m->checkpoint_lock);
    lock_take(&m->lock);
    HASH_ITER (hh, m->logs, l, tmp) {
        int64_t value = value_of(l, kind);
        if (l->dir != d || (skips_zero && value == 0))
            continue;
        buf_printf(&lines, "%.*s %" PRId32 " %" PRId64 "\n", STR_ARG(log_topic(l)), l->partition,
                   value);
        count++;
    }
    begin_forgetting(m, d, 1u << kind);
    lock_release(&m->lock);
    checkpoint_begin(&text, count);
    buf_add(&text, lines.p == NULL ? (const uint8_t *)"" : lines.p, lines.len);
    char *path = xasprintf("%s/%s", d->path, checkpoint_names[kind]);
    enum err rc = fault_point("log.checkpoint.write");
    if (rc == ERR_OK)
        rc = fsx_replace_durably(path, text.p, text.len, 0644);
    if (rc == ERR_OK)
        end_forgetting(m, d, 1u << kind);
    lock_release(&m->checkpoint_lock);
    if (rc != ERR_OK)
        log_dir_fail(d, "write a checkpoint", rc);
    mem_free(path);
    buf_fini(&lines);
    buf_fini(&text);
    return rc;
}

enum err log_manager_checkpoint_recovery(struct log_manager *m, struct log_dir *d)
{
    return log_dir_checkpoint(m, d, CHECKPOINT_RECOVERY);
}

enum err log_manager_checkpoint_cleaner(struct log_manager *m, struct log_dir *d)
{
    return log_dir_checkpoint(m, d, CHECKPOINT_CLEANER);
}

enum err log_manager_checkpoint_hw(struct log_manager *m)
{
    enum err rc = ERR_OK;

    for (int i = 0; i < m->dir_count; i++) {
        enum err one = log_dir_checkpoint(m, m->dirs[i], CHECKPOINT_HW);
        if (one != ERR_OK && one != ERR_OFFLINE)
            rc = one;
    }
    return rc;
}
