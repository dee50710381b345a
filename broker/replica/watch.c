/* SPDX-License-Identifier: Apache-2.0 */
/* Ready lists of fetch contexts. The mail is a member of the list, so a list outlives its owner's
 * interest until a mail that is on its way has arrived. */
#include "broker/replica/watch.h"

static void watch_list_destroy(struct watch_list *l)
{
    ASSERT(TAILQ_EMPTY(&l->ready));
    lock_fini(&l->lock);
    l->magic = 0;
    mem_free(l);
}

static void watch_list_delivered(struct mail *m)
{
    struct watch_list *l = CONTAINER_OF(m, struct watch_list, mail);
    bool is_closed;

    CHECK_OBJ(l, WATCH_LIST_MAGIC);
    lock_take(&l->lock);
    l->is_mailed = false; /* before the context looks: later news mail again */
    is_closed = l->is_closed;
    lock_release(&l->lock);
    if (is_closed)
        watch_list_destroy(l);
    else
        l->on_ready(l->arg);
}

struct watch_list *watch_list_new(struct loop *loop, void (*on_ready)(void *arg), void *arg)
{
    struct watch_list *l = xcalloc(1, sizeof *l);

    ASSERT(on_ready != NULL);
    l->magic = WATCH_LIST_MAGIC;
    lock_init(&l->lock, LOCK_SESSION);
    TAILQ_INIT(&l->ready);
    l->loop = loop;
    l->mail.deliver = watch_list_delivered;
    l->on_ready = on_ready;
    l->arg = arg;
    return l;
}

void watch_list_free(struct watch_list **lp)
{
    struct watch_list *l = *lp;
    bool is_mailed;

    *lp = NULL;
    if (l == NULL)
        return;
    CHECK_OBJ(l, WATCH_LIST_MAGIC);
    lock_take(&l->lock);
    ASSERT(TAILQ_EMPTY(&l->ready));
    l->is_closed = true;
    is_mailed = l->is_mailed;
    lock_release(&l->lock);
    if (!is_mailed)
        watch_list_destroy(l);
}

struct partition_watch *watch_list_take(struct watch_list *l)
{
    struct partition_watch *w;

    CHECK_OBJ(l, WATCH_LIST_MAGIC);
    lock_take(&l->lock);
    w = TAILQ_FIRST(&l->ready);
    if (w != NULL) {
        TAILQ_REMOVE(&l->ready, w, ready);
        w->is_ready = false;
    }
    lock_release(&l->lock);
    return w;
}

void watch_list_put(struct watch_list *l, struct partition_watch *w)
{
    CHECK_OBJ(l, WATCH_LIST_MAGIC);
    ASSERT(w->list == l);
    lock_take(&l->lock);
    if (!w->is_ready) {
        w->is_ready = true;
        w->is_quiet = true;
        TAILQ_INSERT_TAIL(&l->ready, w, ready);
    }
    lock_release(&l->lock);
}

bool watch_list_is_empty(struct watch_list *l)
{
    bool is_empty;

    CHECK_OBJ(l, WATCH_LIST_MAGIC);
    lock_take(&l->lock);
    is_empty = TAILQ_EMPTY(&l->ready);
    lock_release(&l->lock);
    return is_empty;
}

bool watch_list_mark(struct partition_watch *w)
{
    struct watch_list *l = w->list;
    bool must_post = false;

    CHECK_OBJ(l, WATCH_LIST_MAGIC);
    lock_take(&l->lock);
    ASSERT(!l->is_closed);
    if (!w->is_ready || w->is_quiet) {
        if (!w->is_ready)
            TAILQ_INSERT_TAIL(&l->ready, w, ready);
        w->is_ready = true;
        w->is_quiet = false;
        must_post = !l->is_mailed;
        l->is_mailed = true;
    }
    lock_release(&l->lock);
    return must_post;
}

void watch_list_post(struct watch_list *l)
{
    loop_post(l->loop, &l->mail);
}

void watch_list_forget(struct partition_watch *w)
{
    struct watch_list *l = w->list;

    CHECK_OBJ(l, WATCH_LIST_MAGIC);
    lock_take(&l->lock);
    if (w->is_ready) {
        TAILQ_REMOVE(&l->ready, w, ready);
        w->is_ready = false;
    }
    lock_release(&l->lock);
}
