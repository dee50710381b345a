/* SPDX-License-Identifier: Apache-2.0 */
/* watch - the ready list of one fetch context (an incremental session, or a single request): which
 * of its partitions have news.
 *
 * Partitions put watches on it from any thread; the context takes them from it on its own loop. One
 * mail tells the loop, however many watches became ready meanwhile. */
#ifndef BROKER_REPLICA_WATCH_H
#define BROKER_REPLICA_WATCH_H

#include "broker/replica/partition.h"
#include "common/base/lock.h"

#include <stdatomic.h>

enum { WATCH_LIST_MAGIC = 0x77617463 };
TAILQ_HEAD(partition_watch_queue, partition_watch);

struct watch_list {
    unsigned magic;
    struct lock lock;                   /* rank SESSION: taken while a partition's lock is held */
    struct partition_watch_queue ready; /* guarded by lock */
    bool is_mailed;                     /* guarded by lock: the mail is on its way */
    bool is_closed;                     /* guarded by lock: freed by the mail that is on its way */
    struct loop *loop;
    struct mail mail;
    void (*on_ready)(void *arg); /* on loop */
    void *arg;
};

/* on_ready(arg) runs on the loop after watches became ready; it takes them with watch_list_take.
 * Not called again for watches that become ready before it has run. */
struct watch_list *watch_list_new(struct loop *loop, void (*on_ready)(void *arg), void *arg);
/* Loop thread, with all watches removed. on_ready is not called any more. */
void watch_list_free(struct watch_list **l);
/* Loop thread. The first ready watch, taken from the list; NULL when there is none. From now on
 * news of its partition make it ready again. */
struct partition_watch *watch_list_take(struct watch_list *l);
/* Any thread: puts a watch on the list without telling the loop: news that are no reason to answer,
 * but belong into the next answer (a follower hears of a new HW that way). */
void watch_list_put(struct watch_list *l, struct partition_watch *w);
/* Any thread: nothing is ready. */
bool watch_list_is_empty(struct watch_list *l);

/* ---- for partition.c */

/* True: the list's mail has to be posted by the caller (watch_list_post), which may be done after
 * the partition's lock is released: the list lives until that mail has been delivered. */
NODISCARD bool watch_list_mark(struct partition_watch *w);
void watch_list_post(struct watch_list *l);
/* Takes the watch off its list if it is on it. */
void watch_list_forget(struct partition_watch *w);

#endif
