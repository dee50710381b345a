/* SPDX-License-Identifier: Apache-2.0 */
/* Recursive create and delete, as series of calls whose done() runs on the completing thread.
 *
 * Create tries the whole path first; while a parent is missing it goes up, then down again. One
 * call is under way at a time.
 *
 * Delete lists breadth first, with many lists under way, then deletes from the last found to the
 * first in multis: a session's writes are carried out in order, so children go before parents even
 * when several multis are under way. If somebody interferes (a node gone or a new child) or an
 * answer is lost, it begins anew. */
#include "common/zk/zk_session_internal.h"

enum {
    CREATE_STEPS_MAX = 4 * ZK_SESSION_TREE_DEPTH_MAX,
    LISTS_UNDERWAY_MAX = 256,
    DELETES_UNDERWAY_MAX = 8,
    DELETES_PER_MULTI = 100,
    DELETE_ATTEMPTS_MAX = 10,
    DELETE_NODES_MAX = 1 << 21,
};

/* ---- create */

struct create {
    struct coord *coord;
    struct mailbox *to;
    coord_done done;
    void *arg;
    char *path;
    struct buf data;
    bool data_is_null;
    size_t at; /* the part of the path that is being created */
    int steps;
};

static void create_step(struct create *t);

static void create_finish(struct create *t, enum err e)
{
    zk_session_answer(t->path, e, t->to, t->done, t->arg);
    buf_fini(&t->data);
    mem_free(t->path);
    mem_free(t);
}

static void create_done(void *arg, const struct coord_result *r)
{
    struct create *t = arg;
    size_t full = strlen(t->path);
    bool is_parent = t->at < full;

    if (r->err == ERR_NOT_FOUND) { /* its parent is missing */
        size_t up = t->at - 1;
        while (up > 0 && t->path[up] != '/')
            up--;
        if (up == 0) { /* not even the root: the chroot was deleted */
            create_finish(t, ERR_NOT_FOUND);
            return;
        }
        t->at = up;
    } else if (is_parent && (r->err == ERR_OK || r->err == ERR_EXISTS)) {
        t->at += 1 + strcspn(t->path + t->at + 1, "/");
    } else if (!is_parent || r->err != ERR_UNKNOWN_OUTCOME) { /* a parent is simply tried again */
        create_finish(t, r->err);
        return;
    }
    if (++t->steps > CREATE_STEPS_MAX)
        create_finish(t, ERR_BUSY);
    else
        create_step(t);
}

static void create_step(struct create *t)
{
    bool is_parent = t->at < strlen(t->path);
    char *part = xstrndup(t->path, t->at);
    struct coord_op op = {.kind = COORD_OP_CREATE, .mode = COORD_PERSISTENT, .path = part};

    op.data =
        is_parent || t->data_is_null ? BYTES_NULL : (struct bytes){t->data.p, (int64_t)t->data.len};
    struct zk_session_call *call = zk_session_call_multi(&op, 1, NULL, create_done, t);
    call->group = t->to == NULL ? t->arg : t->to;
    mem_free(part);
    zk_session_submit(t->coord, call);
}

void zk_session_create_recursive(struct coord *c, const char *path, struct bytes data,
                                 struct mailbox *to, coord_done done, void *arg)
{
    if (!zk_session_path_is_valid(path) || data.len > COORD_DATA_BYTES_MAX) {
        zk_session_answer(path, zk_session_path_is_valid(path) ? ERR_TOO_LARGE : ERR_INVALID, to,
                          done, arg);
        return;
    }
    struct create *t = xcalloc(1, sizeof *t);
    t->coord = c;
    t->to = to;
    t->done = done;
    t->arg = arg;
    t->path = xstrdup(path);
    t->at = strlen(path);
    t->data_is_null = data.p == NULL;
    buf_reserve(&t->data, 1); /* empty data is not null data */
    if (data.len > 0)
        buf_add(&t->data, data.p, (size_t)data.len);
    create_step(t);
}

void coord_create_recursive(struct coord *c, const char *path, struct bytes data,
                            struct mailbox *to, coord_done done, void *arg)
{
    ASSERT(to != NULL);
    zk_session_create_recursive(c, path, data, to, done, arg);
}

/* ---- delete */

struct removal {
    struct lock lock; /* answers may come on two threads while calls are cancelled */
    struct coord *coord;
    struct mailbox *to;
    coord_done done;
    void *arg;
    /* guarded by lock */
    char **paths; /* [0] is the root; parents before children */
    size_t count, cap;
    size_t next; /* listing: to be listed next; deleting: end of what is to be deleted */
    int underway;
    int attempts;
    bool is_deleting;
    bool begin_anew;
    bool is_advancing; /* one thread decides at a time; the others leave it a note */
    bool advance_again;
    bool is_gone; /* the root was not there at a listing */
    enum err err;
};

static void removal_add_locked(struct removal *t, char *path)
{
    if (t->count == t->cap) {
        t->cap = t->cap == 0 ? 64 : 2 * t->cap;
        t->paths = xrealloc(t->paths, t->cap * sizeof *t->paths);
    }
    t->paths[t->count++] = path;
}

static void removal_begin_locked(struct removal *t)
{
    for (size_t i = 1; i < t->count; i++)
        mem_free(t->paths[i]);
    t->count = 1;
    t->next = 0;
    t->is_deleting = t->begin_anew = false;
    t->attempts++;
}

static void removal_advance_locked(struct removal *t) RELEASE(t->lock);

static void listed(void *arg, const struct coord_result *r)
{
    struct removal *t = arg;

    lock_take(&t->lock);
    t->underway--;
    if (r->err == ERR_OK) {
        for (int32_t i = 0; i < r->child_count && t->err == ERR_OK; i++)
            if (t->count < DELETE_NODES_MAX)
                removal_add_locked(t, xasprintf("%s/%s", r->path, r->children[i]));
            else
                t->err = ERR_LIMIT;
    } else if (r->err == ERR_NOT_FOUND) {
        if (strcmp(r->path, t->paths[0]) == 0)
            t->is_gone = true;
        else
            t->begin_anew = true;
    } else {
        t->err = r->err;
    }
    removal_advance_locked(t);
}

static void deleted(void *arg, const struct coord_result *r)
{
    struct removal *t = arg;

    lock_take(&t->lock);
    t->underway--;
    if (r->err == ERR_NOT_FOUND || r->err == ERR_BUSY || r->err == ERR_UNKNOWN_OUTCOME)
        t->begin_anew = true;
    else if (r->err != ERR_OK)
        t->err = r->err;
    removal_advance_locked(t);
}

static struct zk_session_call *delete_call_locked(struct removal *t)
{
    struct coord_op ops[DELETES_PER_MULTI];
    int32_t n = 0;

    for (; n < DELETES_PER_MULTI && t->next > 0; n++)
        ops[n] = (struct coord_op){.kind = COORD_OP_DELETE,
                                   .path = t->paths[--t->next],
                                   .data = BYTES_NULL,
                                   .version = -1};
    return zk_session_call_multi(ops, n, NULL, deleted, t);
}

/* The next call to make; NULL: none now. */
static struct zk_session_call *next_call_locked(struct removal *t)
{
    if (t->err != ERR_OK || t->is_gone || t->begin_anew)
        return NULL;
    if (!t->is_deleting) {
        if (t->next < t->count)
            return t->underway >= LISTS_UNDERWAY_MAX
                       ? NULL
                       : zk_session_call_read(ZK_SESSION_CHILDREN, t->paths[t->next++], false, NULL,
                                              listed, t);
        if (t->underway > 0)
            return NULL;
        t->is_deleting = true;
        t->next = t->count;
    }
    return t->next == 0 || t->underway >= DELETES_UNDERWAY_MAX ? NULL : delete_call_locked(t);
}

static void removal_finish(struct removal *t)
{
    enum err e = t->err;

    if (e == ERR_OK && t->is_gone && t->attempts == 1)
        e = ERR_NOT_FOUND;
    zk_session_answer(t->paths[0], e, t->to, t->done, t->arg);
    for (size_t i = 0; i < t->count; i++)
        mem_free(t->paths[i]);
    mem_free(t->paths);
    lock_fini(&t->lock);
    mem_free(t);
}

/* Releases the lock. May free t. */
static void removal_advance_locked(struct removal *t)
{
    struct zk_session_call *call;

    if (t->is_advancing) {
        t->advance_again = true;
        lock_release(&t->lock);
        return;
    }
    t->is_advancing = true;
    do {
        t->advance_again = false;
        if (t->begin_anew && t->underway == 0 && t->err == ERR_OK) {
            if (t->attempts < DELETE_ATTEMPTS_MAX)
                removal_begin_locked(t);
            else
                t->err = ERR_BUSY;
        }
        while ((call = next_call_locked(t)) != NULL) {
            t->underway++;
            call->group = t->to == NULL ? t->arg : t->to;
            lock_release(&t->lock);
            zk_session_submit(t->coord, call);
            lock_take(&t->lock);
        }
    } while (t->advance_again);
    t->is_advancing = false;
    bool is_finished = t->underway == 0; /* nothing is under way and nothing was to be done */
    lock_release(&t->lock);
    if (is_finished)
        removal_finish(t);
}

void zk_session_delete_recursive(struct coord *c, const char *path, struct mailbox *to,
                                 coord_done done, void *arg)
{
    if (!zk_session_path_is_valid(path) || path[1] == 0) {
        zk_session_answer(path, ERR_INVALID, to, done, arg);
        return;
    }
    struct removal *t = xcalloc(1, sizeof *t);
    lock_init(&t->lock, LOCK_LEAF);
    t->coord = c;
    t->to = to;
    t->done = done;
    t->arg = arg;
    t->attempts = 1;
    removal_add_locked(t, xstrdup(path));
    lock_take(&t->lock);
    removal_advance_locked(t);
}

void coord_delete_recursive(struct coord *c, const char *path, struct mailbox *to, coord_done done,
                            void *arg)
{
    ASSERT(to != NULL);
    zk_session_delete_recursive(c, path, to, done, arg);
}
