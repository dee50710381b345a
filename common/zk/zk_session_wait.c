/* SPDX-License-Identifier: Apache-2.0 */
/* Blocking forms: the asynchronous call with a waiter instead of a mailbox. A waiter gives up only
 * while its call still waits for a connection; a call that is with the library always comes back.
 */
#include "common/base/clock.h"
#include "common/zk/zk_session_internal.h"

#include <poll.h>

struct waiter {
    struct lock lock;
    pthread_cond_t cond;
    bool is_done;
    enum err err;
    /* where the answer is copied, each may be NULL */
    struct buf *data;
    struct coord_stat *stat;
    char ***names;
    int32_t *name_count;
    enum err *op_errs;
    struct coord_stat *op_stats;
    char **created_path;
};

static void copy_answer(struct waiter *w, const struct coord_result *r)
{
    size_t ops = (size_t)r->op_count;

    w->err = r->err;
    if (w->data != NULL && r->data.len > 0)
        buf_add(w->data, r->data.p, (size_t)r->data.len);
    if (w->stat != NULL)
        *w->stat = r->stat;
    if (w->names != NULL && r->err == ERR_OK) {
        *w->names = xcalloc((size_t)r->child_count + 1, sizeof **w->names);
        for (int32_t i = 0; i < r->child_count; i++)
            (*w->names)[i] = xstrdup(r->children[i]);
        *w->name_count = r->child_count;
    }
    if (w->op_errs != NULL && ops > 0)
        memcpy(w->op_errs, r->op_errs, ops * sizeof *w->op_errs);
    if (w->op_stats != NULL && ops > 0)
        memcpy(w->op_stats, r->op_stats, ops * sizeof *w->op_stats);
    if (w->created_path != NULL && r->err == ERR_OK && r->created_path != NULL)
        *w->created_path = xstrdup(r->created_path);
}

static void waiter_done(void *arg, const struct coord_result *r)
{
    struct waiter *w = arg;

    lock_take(&w->lock);
    copy_answer(w, r);
    w->is_done = true;
    MUST(pthread_cond_signal(&w->cond) == 0);
    lock_release(&w->lock); /* the waiter may be gone from here on */
}

static void waiter_init(struct waiter *w)
{
    memset(w, 0, sizeof *w);
    lock_init(&w->lock, LOCK_LEAF);
    lock_cond_init(&w->cond);
}

static enum err waiter_fini(struct waiter *w)
{
    MUST(pthread_cond_destroy(&w->cond) == 0);
    lock_fini(&w->lock);
    return w->err;
}

static bool is_done_by(struct waiter *w, int64_t deadline_us)
{
    lock_take(&w->lock);
    while (!w->is_done && lock_wait(&w->lock, &w->cond, deadline_us))
        continue;
    bool is_done = w->is_done;
    lock_release(&w->lock);
    return is_done;
}

/* Somebody waits; since_ms: since when without a connection (advanced here). */
static bool is_hopeless(struct coord *c, int64_t *since_ms)
{
    int64_t now = clock_mono_ms();

    if (coord_state_now(c) == COORD_CONNECTED)
        *since_ms = now;
    return (c->connection_timeout_ms >= 0 && now - *since_ms >= c->connection_timeout_ms) ||
           (c->stop != NULL && atomic_load(c->stop));
}

static enum err wait_done(struct coord *c, struct waiter *w)
{
    int64_t since_ms = clock_mono_ms();

    while (!is_done_by(w, clock_mono_us() + ZK_SESSION_POLL_STOP_MS * 1000))
        if (is_hopeless(c, &since_ms))
            zk_session_cancel_waiting(c, w); /* what is with the library comes back */
    return waiter_fini(w);
}

void coord_wait_all(struct coord *c, struct mailbox *to, const int32_t *pending)
{
    struct pollfd p = {.fd = to->fd, .events = POLLIN};
    int64_t since_ms = clock_mono_ms();

    (void)mailbox_deliver(to);
    while (*pending > 0) {
        if (poll(&p, 1, ZK_SESSION_POLL_STOP_MS) == 0 && is_hopeless(c, &since_ms))
            zk_session_cancel_waiting(c, to);
        (void)mailbox_deliver(to);
    }
}

static enum err call_and_wait(struct coord *c, struct waiter *w, struct zk_session_call *call)
{
    call->group = w;
    zk_session_submit(c, call);
    return wait_done(c, w);
}

enum err coord_get_wait(struct coord *c, const char *path, struct buf *data_out,
                        struct coord_stat *stat_out)
{
    struct waiter w;

    waiter_init(&w);
    w.data = data_out;
    w.stat = stat_out;
    if (data_out != NULL)
        data_out->len = 0;
    return call_and_wait(c, &w,
                         zk_session_call_read(ZK_SESSION_GET, path, false, NULL, waiter_done, &w));
}

enum err coord_exists_wait(struct coord *c, const char *path, struct coord_stat *stat_out)
{
    struct waiter w;

    waiter_init(&w);
    w.stat = stat_out;
    return call_and_wait(
        c, &w, zk_session_call_read(ZK_SESSION_EXISTS, path, false, NULL, waiter_done, &w));
}

enum err coord_children_wait(struct coord *c, const char *path, char ***names_out,
                             int32_t *count_out)
{
    struct waiter w;

    *names_out = NULL;
    *count_out = 0;
    waiter_init(&w);
    w.names = names_out;
    w.name_count = count_out;
    return call_and_wait(
        c, &w, zk_session_call_read(ZK_SESSION_CHILDREN, path, false, NULL, waiter_done, &w));
}

void coord_names_free(char **names, int32_t count)
{
    for (int32_t i = 0; i < count; i++)
        mem_free(names[i]);
    mem_free(names);
}

static enum err multi_wait(struct coord *c, struct waiter *w, const struct coord_op *ops,
                           int32_t count)
{
    return call_and_wait(c, w, zk_session_call_multi(ops, count, NULL, waiter_done, w));
}

enum err coord_multi_wait(struct coord *c, const struct coord_op *ops, int32_t count,
                          enum err *op_errs, struct coord_stat *op_stats)
{
    struct waiter w;

    waiter_init(&w);
    w.op_errs = op_errs;
    w.op_stats = op_stats;
    return multi_wait(c, &w, ops, count);
}

enum err coord_create_wait(struct coord *c, const char *path, struct bytes data,
                           enum coord_create_mode mode, char **created_path_out)
{
    struct coord_op op = {.kind = COORD_OP_CREATE, .mode = mode, .path = path, .data = data};
    struct waiter w;

    if (created_path_out != NULL)
        *created_path_out = NULL;
    waiter_init(&w);
    w.created_path = created_path_out;
    return multi_wait(c, &w, &op, 1);
}

enum err coord_set_wait(struct coord *c, const char *path, struct bytes data, int32_t version,
                        struct coord_stat *stat_out)
{
    struct coord_op op = {.kind = COORD_OP_SET, .path = path, .data = data, .version = version};
    struct waiter w;

    waiter_init(&w);
    w.stat = stat_out;
    return multi_wait(c, &w, &op, 1);
}

enum err coord_delete_wait(struct coord *c, const char *path, int32_t version)
{
    struct coord_op op = {.kind = COORD_OP_DELETE, .path = path, .version = version};
    struct waiter w;

    waiter_init(&w);
    return multi_wait(c, &w, &op, 1);
}

enum err coord_create_recursive_wait(struct coord *c, const char *path, struct bytes data)
{
    struct waiter w;

    waiter_init(&w);
    zk_session_create_recursive(c, path, data, NULL, waiter_done, &w);
    return wait_done(c, &w);
}

enum err coord_delete_recursive_wait(struct coord *c, const char *path)
{
    struct waiter w;

    waiter_init(&w);
    zk_session_delete_recursive(c, path, NULL, waiter_done, &w);
    return wait_done(c, &w);
}
