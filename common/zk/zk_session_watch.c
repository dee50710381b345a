/* SPDX-License-Identifier: Apache-2.0 */
/* Watched paths. After a reconnect the library sends all watches of a handle in one packet, and a
 * server refuses packets over its jute.maxbuffer (1 MiB), which ends in an endless reconnect loop.
 * So the paths are counted, a handle takes 480 KiB of them, and what is beyond goes to further
 * handles. The count is never too low while watches are armed or being armed: a path is counted
 * when its read is submitted and given back when the read armed nothing, or the watch fired. */
#include "common/zk/zk_session_internal.h"

#include "common/base/hash.h"

struct zk_session_watched {
    UT_hash_handle hh;
    struct zk_session_handle *handle;
    int kinds;    /* ZK_SESSION_WATCH_*: counted in the handle's watched_bytes */
    int underway; /* reads with a watch that have not ended */
    char path[];
};

static size_t kind_bytes(const struct zk_session_watched *w)
{
    return w->handle->coord->chroot_len + strlen(w->path) + sizeof(int32_t); /* as it is sent */
}

static int kind_of(const struct zk_session_call *call)
{
    return call->kind == ZK_SESSION_CHILDREN ? ZK_SESSION_WATCH_CHILDREN : ZK_SESSION_WATCH_DATA;
}

static void add_kind(struct zk_session_watched *w, int kind)
{
    if (w->kinds & kind)
        return;
    w->kinds |= kind;
    w->handle->watched_bytes += kind_bytes(w);
}

static void drop_kinds(struct coord *c, struct zk_session_watched *w, int kinds)
{
    for (int kind = ZK_SESSION_WATCH_DATA; kind <= ZK_SESSION_WATCH_CHILDREN; kind <<= 1)
        if (w->kinds & kinds & kind) {
            ASSERT(w->handle->watched_bytes >= kind_bytes(w));
            w->handle->watched_bytes -= kind_bytes(w);
        }
    w->kinds &= ~kinds;
    if (w->kinds == 0 && w->underway == 0) {
        HASH_DEL(c->watched, w);
        mem_free(w);
    }
}

static struct zk_session_watched *find(struct coord *c, const char *path)
{
    struct zk_session_watched *w;

    HASH_FIND_STR(c->watched, path, w);
    return w;
}

static struct zk_session_handle *handle_with_room(struct coord *c, size_t more)
{
    for (int i = 0; i < ZK_SESSION_HANDLES_MAX; i++) {
        struct zk_session_handle *h = &c->handles[i];
        if (h->watched_bytes + more > ZK_SESSION_WATCHED_BYTES_MAX)
            continue;
        return h;
    }
    return NULL;
}

static void want(struct zk_session_handle *h)
{
    if (h->is_wanted)
        return;
    h->is_wanted = true;
    h->open_at_ms = 0;
    MUST(pthread_cond_broadcast(&h->coord->wake) == 0);
}

struct zk_session_handle *zk_session_watch_begin_locked(struct coord *c,
                                                        struct zk_session_call *call)
{
    struct zk_session_watched *w = find(c, call->path);

    lock_assert_held(&c->lock);
    if (w == NULL) {
        size_t n = strlen(call->path) + 1;
        struct zk_session_handle *h = handle_with_room(c, c->chroot_len + n + sizeof(int32_t));
        if (h == NULL)
            return NULL;
        w = xcalloc(1, sizeof *w + n);
        memcpy(w->path, call->path, n);
        w->handle = h;
        HASH_ADD_KEYPTR(hh, c->watched, w->path, n - 1, w);
    }
    want(w->handle);
    call->watch_is_new = (w->kinds & kind_of(call)) == 0;
    add_kind(w, kind_of(call));
    w->underway++;
    return w->handle;
}

void zk_session_watch_end_locked(struct coord *c, struct zk_session_call *call, bool is_armed)
{
    struct zk_session_watched *w = find(c, call->path);

    lock_assert_held(&c->lock);
    ASSERT(w != NULL && w->underway > 0);
    w->underway--;
    if (is_armed)
        add_kind(w, kind_of(call));
    drop_kinds(c, w, !is_armed && call->watch_is_new && w->underway == 0 ? kind_of(call) : 0);
}

int32_t zk_session_watched_count_locked(const struct coord *c)
{
    return (int32_t)HASH_COUNT(c->watched);
}

/* ---- who hears */

struct zk_session_listener *zk_session_listener_new(struct mailbox *to, void *arg)
{
    struct zk_session_listener *l = xcalloc(1, sizeof *l);

    atomic_init(&l->refs, 1);
    atomic_init(&l->is_closed, false);
    l->to = to;
    l->arg = arg;
    return l;
}

static void listener_unref(struct zk_session_listener *l)
{
    if (atomic_fetch_sub(&l->refs, 1) != 1)
        return;
    mem_free(l->prefix);
    mem_free(l);
}

struct news {
    struct mail mail;
    struct zk_session_listener *listener;
    enum coord_change kind;
    enum coord_state state;
    bool session_is_new;
    char path[];
};

static void news_deliver(struct mail *m)
{
    struct news *n = CONTAINER_OF(m, struct news, mail);
    struct zk_session_listener *l = n->listener;

    if (!atomic_load(&l->is_closed)) {
        if (l->prefix != NULL)
            l->on_change(l->arg, n->kind, n->path);
        else
            l->on_state(l->arg, n->state, n->session_is_new);
    }
    listener_unref(l);
    mem_free(n);
}

static struct news *news_new(struct zk_session_listener *l, const char *path)
{
    size_t len = strlen(path) + 1;
    struct news *n = xcalloc(1, sizeof *n + len);

    memcpy(n->path, path, len);
    n->mail.deliver = news_deliver;
    n->listener = l;
    atomic_fetch_add(&l->refs, 1);
    return n;
}

static bool is_at_or_below(const char *path, const char *prefix)
{
    size_t n = strlen(prefix);

    if (n == 1)
        return true; /* "/" */
    return strncmp(path, prefix, n) == 0 && (path[n] == 0 || path[n] == '/');
}

static void tell_change_locked(struct coord *c, enum coord_change kind, const char *path)
{
    struct zk_session_listener *l;

    LIST_FOREACH (l, &c->listeners, link) {
        if (l->prefix == NULL || !is_at_or_below(path, l->prefix))
            continue;
        struct news *n = news_new(l, path);
        n->kind = kind;
        mailbox_post(l->to, &n->mail);
    }
}

void zk_session_tell_state_locked(struct coord *c, enum coord_state s, bool session_is_new)
{
    struct zk_session_listener *l;

    lock_assert_held(&c->lock);
    LIST_FOREACH (l, &c->listeners, link) {
        if (l->prefix != NULL)
            continue;
        struct news *n = news_new(l, "");
        n->state = s;
        n->session_is_new = session_is_new;
        mailbox_post(l->to, &n->mail);
    }
}

void zk_session_watch_fired(struct zk_session_handle *h, int zoo_event, const char *path)
{
    struct coord *c = h->coord;
    enum coord_change kind;
    int kinds;

    if (zoo_event == ZOO_CREATED_EVENT) {
        kind = COORD_NODE_CREATED;
        kinds = ZK_SESSION_WATCH_DATA;
    } else if (zoo_event == ZOO_DELETED_EVENT) {
        kind = COORD_NODE_DELETED;
        kinds = ZK_SESSION_WATCH_DATA | ZK_SESSION_WATCH_CHILDREN;
    } else if (zoo_event == ZOO_CHANGED_EVENT) {
        kind = COORD_NODE_CHANGED;
        kinds = ZK_SESSION_WATCH_DATA;
    } else if (zoo_event == ZOO_CHILD_EVENT) {
        kind = COORD_CHILDREN_CHANGED;
        kinds = ZK_SESSION_WATCH_CHILDREN;
    } else {
        return; /* watches are never removed by hand */
    }
    lock_take(&c->lock);
    c->counters.watches_fired++;
    struct zk_session_watched *w = find(c, path);
    if (w != NULL && w->handle == h)
        drop_kinds(c, w, kinds);
    tell_change_locked(c, kind, path);
    lock_release(&c->lock);
}

void zk_session_watch_forget_locked(struct zk_session_handle *h, bool tell)
{
    struct coord *c = h->coord;
    struct zk_session_watched *w, *next;

    lock_assert_held(&c->lock);
    HASH_ITER (hh, c->watched, w, next) {
        if (w->handle != h)
            continue;
        if (tell && (w->kinds & ZK_SESSION_WATCH_DATA))
            tell_change_locked(c, COORD_NODE_CHANGED, w->path);
        if (tell && (w->kinds & ZK_SESSION_WATCH_CHILDREN))
            tell_change_locked(c, COORD_CHILDREN_CHANGED, w->path);
        drop_kinds(c, w, w->kinds); /* reads under way keep the entry */
    }
    ASSERT(h->watched_bytes == 0);
}

void coord_watch(struct coord *c, const char *prefix, struct mailbox *to,
                 void (*on_change)(void *arg, enum coord_change kind, const char *path), void *arg)
{
    struct zk_session_listener *l = zk_session_listener_new(to, arg);

    ASSERT(prefix[0] == '/' && to != NULL);
    l->prefix = xstrdup(prefix);
    l->on_change = on_change;
    lock_take(&c->lock);
    LIST_INSERT_HEAD(&c->listeners, l, link);
    lock_release(&c->lock);
}

/* Takes out those with this arg (all: every one). */
static void listeners_close(struct coord *c, const void *arg, bool all)
{
    struct zk_session_listener *l, *next;

    lock_take(&c->lock);
    for (l = LIST_FIRST(&c->listeners); l != NULL; l = next) {
        next = LIST_NEXT(l, link);
        if (!all && (l->prefix == NULL || l->arg != arg))
            continue;
        atomic_store(&l->is_closed, true);
        LIST_REMOVE(l, link);
        listener_unref(l);
    }
    lock_release(&c->lock);
}

void coord_unwatch(struct coord *c, void *arg)
{
    listeners_close(c, arg, false);
}

void zk_session_listeners_close(struct coord *c)
{
    listeners_close(c, NULL, true);
}
