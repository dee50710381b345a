/* SPDX-License-Identifier: Apache-2.0 */
/* Calls. A call waits in its handle's list until the handle is connected and the window has room;
 * then it is with the library; then its completion gives it to the caller's mailbox. When the
 * connection is lost, a read goes back to its place in the list and a write ends in
 * UNKNOWN_OUTCOME.
 *
 * Completions run on a library thread, or on the thread that closes the handle. They copy the
 * answer, take the coord's lock for the books, and post. */
#include "common/zk/zk_session_internal.h"

bool zk_session_path_is_valid(const char *path)
{
    size_t n = path == NULL ? 0 : strnlen(path, COORD_PATH_BYTES_MAX + 1);

    if (n == 0 || n > COORD_PATH_BYTES_MAX || path[0] != '/')
        return false;
    if (n == 1)
        return true;
    for (const char *p = path; *p != 0;) {
        size_t part = strcspn(p + 1, "/"); /* p is at a slash */
        if (part == 0 || (part <= 2 && strspn(p + 1, ".") == part))
            return false;
        for (size_t i = 1; i <= part; i++)
            if ((unsigned char)p[i] < ' ' || p[i] == 127)
                return false;
        p += part + 1;
    }
    return true;
}

enum err zk_session_err(int rc)
{
    switch (rc) {
    case ZOK:
        return ERR_OK;
    case ZNONODE:
        return ERR_NOT_FOUND;
    case ZNODEEXISTS:
        return ERR_EXISTS;
    case ZBADVERSION:
        return ERR_BAD_VERSION;
    case ZNOTEMPTY:
        return ERR_BUSY;
    case ZNOAUTH:
    case ZINVALIDACL:
    case ZNOTREADONLY:
    case ZSESSIONCLOSEDREQUIRESASLAUTH:
        return ERR_DENIED;
    case ZRUNTIMEINCONSISTENCY:
        return ERR_NOT_ATTEMPTED;
    case ZTHROTTLEDOP:
        return ERR_LIMIT;
    case ZUNIMPLEMENTED:
        return ERR_UNSUPPORTED;
    case ZBADARGUMENTS:
    case ZNOCHILDRENFOREPHEMERALS:
        return ERR_INVALID;
    default:
        return ERR_PROTOCOL;
    }
}

/* The answer did not come: the connection or the session ended first. */
static bool is_lost(int rc)
{
    return rc == ZCONNECTIONLOSS || rc == ZOPERATIONTIMEOUT || rc == ZSESSIONEXPIRED ||
           rc == ZSESSIONMOVED || rc == ZCLOSING || rc == ZINVALIDSTATE || rc == ZAUTHFAILED ||
           rc == ZMARSHALLINGERROR || rc == ZSYSTEMERROR;
}

/* ---- life of a call */

static void call_free(struct zk_session_call *call)
{
    for (int32_t i = 0; i < call->result.child_count; i++)
        mem_free(call->result.children[i]);
    mem_free((void *)(uintptr_t)call->result.children);
    mem_free((void *)(uintptr_t)call->result.data.p);
    mem_free((void *)(uintptr_t)call->result.op_errs);
    mem_free((void *)(uintptr_t)call->result.op_stats);
    mem_free(call->ops);
    mem_free(call->results);
    mem_free(call->stats);
    mem_free(call->blob);
    mem_free(call->created);
    mem_free(call->path);
    call->magic = 0;
    mem_free(call);
}

static void call_deliver(struct mail *m)
{
    struct zk_session_call *call = CONTAINER_OF(m, struct zk_session_call, mail);

    CHECK_OBJ(call, ZK_SESSION_CALL_MAGIC);
    ASSERT(!call->is_waiting && call->done != NULL);
    call->result.path = call->path;
    call->done(call->arg, &call->result);
    call_free(call);
}

static void call_finish(struct zk_session_call *call)
{
    if (call->to != NULL)
        mailbox_post(call->to, &call->mail);
    else
        call_deliver(&call->mail);
}

void zk_session_finish_all(struct zk_session_call_list *calls)
{
    struct zk_session_call *call;

    while ((call = TAILQ_FIRST(calls)) != NULL) {
        TAILQ_REMOVE(calls, call, link);
        call_finish(call);
    }
}

static struct zk_session_call *call_new(enum zk_session_kind kind, const char *path,
                                        struct mailbox *to, coord_done done, void *arg)
{
    struct zk_session_call *call = xcalloc(1, sizeof *call);

    call->magic = ZK_SESSION_CALL_MAGIC;
    call->mail.deliver = call_deliver;
    call->kind = kind;
    call->to = to;
    call->group = to;
    call->done = done;
    call->arg = arg;
    call->path = xstrdup(path == NULL ? "" : path);
    call->result.data = BYTES_NULL;
    if (!zk_session_path_is_valid(path))
        call->result.err = ERR_INVALID;
    return call;
}

struct zk_session_call *zk_session_call_read(enum zk_session_kind kind, const char *path,
                                             bool watch, struct mailbox *to, coord_done done,
                                             void *arg)
{
    struct zk_session_call *call = call_new(kind, path, to, done, arg);

    call->watch = watch;
    call->bytes = strlen(call->path);
    return call;
}

static void op_copy(struct zk_session_call *call, int32_t i, const struct coord_op *op, char **at)
{
    zoo_op_t *z = &call->ops[i];
    size_t path_len = strlen(op->path) + 1;
    const char *path = memcpy(*at, op->path, path_len);
    const char *data = NULL;
    int data_len = -1;

    *at += path_len;
    if (op->data.p != NULL) {
        data_len = (int)op->data.len;
        data = memcpy(*at, op->data.p, (size_t)data_len);
        *at += data_len;
    }
    switch (op->kind) {
    case COORD_OP_CREATE: {
        int mode = op->mode == COORD_EPHEMERAL    ? ZOO_EPHEMERAL
                   : op->mode == COORD_SEQUENTIAL ? ZOO_PERSISTENT_SEQUENTIAL
                                                  : ZOO_PERSISTENT;
        bool is_first = call->created == NULL;
        int room = is_first ? COORD_PATH_BYTES_MAX + 32 : 0;
        if (is_first)
            call->created = xcalloc(1, (size_t)room);
        zoo_create_op_init(z, path, data, data_len, &ZOO_OPEN_ACL_UNSAFE, mode,
                           is_first ? call->created : NULL, room);
        break;
    }
    case COORD_OP_SET:
        zoo_set_op_init(z, path, data, data_len, op->version, &call->stats[i]);
        break;
    case COORD_OP_DELETE:
        zoo_delete_op_init(z, path, op->version);
        break;
    case COORD_OP_CHECK:
        zoo_check_op_init(z, path, op->version);
        break;
    }
}

struct zk_session_call *zk_session_call_multi(const struct coord_op *ops, int32_t count,
                                              struct mailbox *to, coord_done done, void *arg)
{
    struct zk_session_call *call =
        call_new(ZK_SESSION_MULTI, count > 0 ? ops[0].path : NULL, to, done, arg);
    size_t bytes = 0;

    if (count < 1 || count > COORD_OPS_MAX)
        call->result.err = ERR_INVALID;
    for (int32_t i = 0; call->result.err == ERR_OK && i < count; i++) {
        if (!zk_session_path_is_valid(ops[i].path))
            call->result.err = ERR_INVALID;
        else if (ops[i].data.len > COORD_DATA_BYTES_MAX)
            call->result.err = ERR_TOO_LARGE;
        else
            bytes +=
                strlen(ops[i].path) + 1 + (ops[i].data.p == NULL ? 0 : (size_t)ops[i].data.len);
    }
    if (bytes > COORD_DATA_BYTES_MAX)
        call->result.err = ERR_TOO_LARGE;
    size_t n = count < 1 || count > COORD_OPS_MAX ? 0 : (size_t)count;
    enum err *op_errs = xcalloc(n + 1, sizeof *op_errs);
    struct coord_stat *op_stats = xcalloc(n + 1, sizeof *op_stats);
    call->result.op_errs = op_errs;
    call->result.op_stats = op_stats;
    call->result.op_count = (int32_t)n;
    if (call->result.err != ERR_OK) {
        for (size_t i = 0; i < n; i++)
            op_errs[i] = call->result.err;
        return call;
    }
    call->bytes = bytes;
    call->ops = xcalloc(n, sizeof *call->ops);
    call->results = xcalloc(n, sizeof *call->results);
    call->stats = xcalloc(n, sizeof *call->stats);
    call->blob = xmalloc(bytes);
    char *at = call->blob;
    for (int32_t i = 0; i < count; i++)
        op_copy(call, i, &ops[i], &at);
    return call;
}

/* ---- answers */

static struct coord_stat stat_of(const struct Stat *s)
{
    return (struct coord_stat){.czxid = s->czxid,
                               .mzxid = s->mzxid,
                               .ctime_ms = s->ctime,
                               .mtime_ms = s->mtime,
                               .version = s->version,
                               .child_count = s->numChildren,
                               .ephemeral_owner = s->ephemeralOwner};
}

void zk_session_call_fail(struct zk_session_call *call, enum err e)
{
    call->result.err = e;
    enum err *op_errs = (enum err *)(uintptr_t)call->result.op_errs;
    for (int32_t i = 0; i < call->result.op_count; i++)
        op_errs[i] = e;
}

/* The call has come back from the library with rc; everything else of its answer is in it. */
static void came_back(struct zk_session_call *call, int rc)
{
    struct coord *c = call->coord;
    struct zk_session_call_list failed = TAILQ_HEAD_INITIALIZER(failed);
    struct zk_session_handle *h = call->handle;
    bool is_read = call->kind != ZK_SESSION_MULTI;
    bool again = false;

    lock_take(&c->lock);
    CHECK_OBJ(call, ZK_SESSION_CALL_MAGIC);
    ASSERT(h->in_flight > 0 && h->in_flight_bytes >= call->bytes && !call->is_waiting);
    h->in_flight--;
    h->in_flight_bytes -= call->bytes;
    TAILQ_REMOVE(&h->sent, call, link);
    if (h->in_flight == 0 && h->is_draining)
        MUST(pthread_cond_broadcast(&c->wake) == 0);
    if (call->watch) /* an exists that finds nothing has armed its watch too */
        zk_session_watch_end_locked(
            c, call, rc == ZOK || (rc == ZNONODE && call->kind == ZK_SESSION_EXISTS));
    if (is_lost(rc) && is_read && !c->is_closing && call->repeats < ZK_SESSION_REPEATS_MAX) {
        call->repeats++;
        c->counters.reads_repeated++;
        again = true;
        zk_session_wait_again_locked(c, call, &failed);
    } else if (is_lost(rc)) {
        c->counters.writes_unknown += !is_read;
        zk_session_call_fail(call, is_read ? ERR_CLOSED : ERR_UNKNOWN_OUTCOME);
    }
    zk_session_pump_locked(h, &failed);
    lock_release(&c->lock);
    if (!again)
        call_finish(call);
    zk_session_finish_all(&failed);
}

void zk_session_forgotten(struct zk_session_handle *h)
{
    struct coord *c = h->coord;
    struct zk_session_call *call;

    do { /* nobody else takes calls off this list now: the library's threads have ended */
        lock_take(&c->lock);
        call = TAILQ_FIRST(&h->sent);
        lock_release(&c->lock);
        if (call != NULL)
            came_back(call, ZCLOSING);
    } while (call != NULL);
}

static struct zk_session_call *call_of(const void *data)
{
    struct zk_session_call *call = (struct zk_session_call *)(uintptr_t)data;

    CHECK_OBJ(call, ZK_SESSION_CALL_MAGIC);
    return call;
}

static void got_cb(int rc, const char *value, int value_len, const struct Stat *stat,
                   const void *data)
{
    struct zk_session_call *call = call_of(data);

    call->result.err = zk_session_err(rc);
    if (rc == ZOK) {
        call->result.stat = stat_of(stat);
        if (value_len > COORD_DATA_BYTES_MAX) {
            call->result.err = ERR_TOO_LARGE;
        } else if (value_len >= 0) {
            uint8_t *copy = xmalloc((size_t)value_len + 1); /* a terminator helps text parsers */
            if (value_len > 0)
                memcpy(copy, value, (size_t)value_len);
            copy[value_len] = 0;
            call->result.data = (struct bytes){copy, value_len};
        }
    }
    came_back(call, rc);
}

static void exists_cb(int rc, const struct Stat *stat, const void *data)
{
    struct zk_session_call *call = call_of(data);

    call->result.err = zk_session_err(rc);
    if (rc == ZOK)
        call->result.stat = stat_of(stat);
    came_back(call, rc);
}

static void children_cb(int rc, const struct String_vector *strings, const struct Stat *stat,
                        const void *data)
{
    struct zk_session_call *call = call_of(data);

    call->result.err = zk_session_err(rc);
    if (rc == ZOK) {
        char **names = xcalloc((size_t)strings->count + 1, sizeof *names);
        for (int32_t i = 0; i < strings->count; i++)
            names[i] = xstrdup(strings->data[i]);
        call->result.children = names;
        call->result.child_count = strings->count;
        call->result.stat = stat_of(stat);
    }
    came_back(call, rc);
}

static void multi_cb(int rc, const void *data)
{
    struct zk_session_call *call = call_of(data);
    enum err *op_errs = (enum err *)(uintptr_t)call->result.op_errs;
    struct coord_stat *op_stats = (struct coord_stat *)(uintptr_t)call->result.op_stats;

    call->result.err = zk_session_err(rc);
    for (int32_t i = 0; i < call->result.op_count; i++) {
        op_errs[i] = zk_session_err(call->results[i].err);
        if (rc == ZOK && call->results[i].stat != NULL)
            op_stats[i] = stat_of(&call->stats[i]);
        if (rc == ZOK && call->ops[i].type == ZOO_SETDATA_OP && call->result.stat.czxid == 0)
            call->result.stat = op_stats[i];
    }
    if (rc == ZOK)
        call->result.created_path = call->created;
    came_back(call, rc);
}

static int send_call(struct zk_session_handle *h, struct zk_session_call *call)
{
    switch (call->kind) {
    case ZK_SESSION_GET:
        return zoo_aget(h->zh, call->path, call->watch, got_cb, call);
    case ZK_SESSION_EXISTS:
        return zoo_aexists(h->zh, call->path, call->watch, exists_cb, call);
    case ZK_SESSION_CHILDREN:
        return zoo_aget_children2(h->zh, call->path, call->watch, children_cb, call);
    case ZK_SESSION_MULTI:
        return zoo_amulti(h->zh, call->result.op_count, call->ops, call->results, multi_cb, call);
    }
    UNREACHABLE();
}

/* ---- waiting and sending */

void zk_session_unwait_locked(struct zk_session_call *call)
{
    struct coord *c = call->coord;

    lock_assert_held(&c->lock);
    ASSERT(call->is_waiting);
    call->is_waiting = false;
    TAILQ_REMOVE(&call->handle->waiting, call, link);
    ASSERT(c->waiting_count > 0 && c->waiting_bytes >= call->bytes);
    c->waiting_count--;
    c->waiting_bytes -= call->bytes;
}

void zk_session_pump_locked(struct zk_session_handle *h, struct zk_session_call_list *failed)
{
    struct zk_session_call *call;

    lock_assert_held(&h->coord->lock);
    while (h->is_connected && !h->is_draining && (call = TAILQ_FIRST(&h->waiting)) != NULL &&
           h->in_flight < ZK_SESSION_WINDOW_CALLS &&
           (h->in_flight == 0 || h->in_flight_bytes + call->bytes <= ZK_SESSION_WINDOW_BYTES)) {
        /* its completion may run at once on another thread: it waits for our lock */
        int rc = send_call(h, call);
        if (rc == ZINVALIDSTATE) /* the session has ended; its event is under way */
            return;
        zk_session_unwait_locked(call);
        if (rc == ZOK) {
            h->in_flight++;
            h->in_flight_bytes += call->bytes;
            TAILQ_INSERT_TAIL(&h->sent, call, link);
            continue;
        }
        if (call->watch)
            zk_session_watch_end_locked(h->coord, call, false);
        zk_session_call_fail(call, zk_session_err(rc));
        TAILQ_INSERT_TAIL(failed, call, link);
    }
}

/* By rising seq; new calls are the common case and go to the end. */
static void insert_waiting_locked(struct zk_session_handle *h, struct zk_session_call *call)
{
    struct zk_session_call *last = TAILQ_LAST(&h->waiting, zk_session_call_list);
    struct zk_session_call *at;

    call->handle = h;
    call->is_waiting = true;
    ASSERT(h->coord->waiting_count >= 0);
    h->coord->waiting_count++;
    h->coord->waiting_bytes += call->bytes;
    if (last == NULL || last->seq < call->seq) {
        TAILQ_INSERT_TAIL(&h->waiting, call, link);
        return;
    }
    TAILQ_FOREACH (at, &h->waiting, link) {
        if (at->seq > call->seq)
            break;
    }
    ASSERT(at != NULL);
    TAILQ_INSERT_BEFORE(at, call, link);
}

void zk_session_wait_again_locked(struct coord *c, struct zk_session_call *call,
                                  struct zk_session_call_list *failed)
{
    struct zk_session_handle *h =
        call->watch ? zk_session_watch_begin_locked(c, call) : &c->handles[0];

    call->coord = c;
    if (h == NULL) {
        zk_session_call_fail(call, ERR_LIMIT);
        TAILQ_INSERT_TAIL(failed, call, link);
        return;
    }
    insert_waiting_locked(h, call);
    zk_session_pump_locked(h, failed);
}

void zk_session_submit(struct coord *c, struct zk_session_call *call)
{
    struct zk_session_call_list failed = TAILQ_HEAD_INITIALIZER(failed);

    lock_take(&c->lock);
    c->counters.calls++;
    call->seq = ++c->next_seq;
    if (call->result.err == ERR_OK && c->is_closing)
        zk_session_call_fail(call, ERR_CLOSED);
    else if (call->result.err == ERR_OK && (c->waiting_count >= c->waiting_max ||
                                            c->waiting_bytes > ZK_SESSION_WAITING_BYTES_MAX))
        zk_session_call_fail(call, ERR_LIMIT);
    c->counters.refused += call->result.err == ERR_LIMIT;
    if (call->result.err == ERR_OK)
        zk_session_wait_again_locked(c, call, &failed);
    else
        TAILQ_INSERT_TAIL(&failed, call, link);
    lock_release(&c->lock);
    zk_session_finish_all(&failed);
}

void zk_session_cancel_waiting(struct coord *c, const void *group)
{
    struct zk_session_call_list cancelled = TAILQ_HEAD_INITIALIZER(cancelled);
    struct zk_session_call *call, *next;

    lock_take(&c->lock);
    for (int i = 0; i < ZK_SESSION_HANDLES_MAX; i++)
        for (call = TAILQ_FIRST(&c->handles[i].waiting); call != NULL; call = next) {
            next = TAILQ_NEXT(call, link);
            if (call->group != group)
                continue;
            zk_session_unwait_locked(call);
            if (call->watch)
                zk_session_watch_end_locked(c, call, false);
            zk_session_call_fail(call, ERR_UNREACHABLE);
            TAILQ_INSERT_TAIL(&cancelled, call, link);
        }
    lock_release(&c->lock);
    zk_session_finish_all(&cancelled);
}

void zk_session_answer(const char *path, enum err e, struct mailbox *to, coord_done done, void *arg)
{
    struct zk_session_call *call = call_new(ZK_SESSION_MULTI, path, to, done, arg);

    call->result.err = e;
    call_finish(call);
}

void coord_get(struct coord *c, const char *path, bool watch, struct mailbox *to, coord_done done,
               void *arg)
{
    ASSERT(to != NULL);
    (void)zk_session_submit(c, zk_session_call_read(ZK_SESSION_GET, path, watch, to, done, arg));
}

void coord_exists(struct coord *c, const char *path, bool watch, struct mailbox *to,
                  coord_done done, void *arg)
{
    ASSERT(to != NULL);
    (void)zk_session_submit(c, zk_session_call_read(ZK_SESSION_EXISTS, path, watch, to, done, arg));
}

void coord_children(struct coord *c, const char *path, bool watch, struct mailbox *to,
                    coord_done done, void *arg)
{
    ASSERT(to != NULL);
    (void)zk_session_submit(c,
                            zk_session_call_read(ZK_SESSION_CHILDREN, path, watch, to, done, arg));
}

void coord_multi(struct coord *c, const struct coord_op *ops, int32_t count, struct mailbox *to,
                 coord_done done, void *arg)
{
    ASSERT(to != NULL);
    (void)zk_session_submit(c, zk_session_call_multi(ops, count, to, done, arg));
}
