/* SPDX-License-Identifier: Apache-2.0 */
/* zkc_shell - carries out what the core decides: ZooKeeper through common/zk, records through
 * zkc_fetch, on one thread of its own. Used by zkconsumer.c only. */
#ifndef TOOLS_ZKCONSUMER_ZKC_SHELL_H
#define TOOLS_ZKCONSUMER_ZKC_SHELL_H

#include "common/base/lock.h"
#include "common/base/mailbox.h"
#include "common/zk/coord.h"
#include "tools/zkconsumer/zkc_core.h"
#include "tools/zkconsumer/zkc_fetch.h"
#include "tools/zkconsumer/zkc_settings.h"
#include "tools/zkconsumer/zkconsumer.h"

#include <pthread.h>

/* A subscription's streams, in its order. */
struct zkc_streams {
    char *topic; /* NULL: of the filter */
    struct zkc_stream **v;
    int32_t count;
};

/* The application's wait for a commit; counted, because the wait may give up. */
struct zkc_commit {
    struct mail mail;
    struct kafuka_zkc *shell;
    struct zkc_commit *next;
    _Atomic int refs;
    bool is_done; /* guarded by the shell's lock */
    enum kafuka_zkc_status status;
};

struct zkc_poke {
    struct mail mail;
    struct kafuka_zkc *shell;
    _Atomic bool is_posted;
};

#define KAFUKA_ZKC_MAGIC 0x7a6b6330u

struct kafuka_zkc {
    unsigned magic;
    struct zkc_settings settings;
    void (*log)(void *arg, enum kafuka_zkc_level level, const char *text);
    void *log_arg;
    enum kafuka_zkc_level log_level;
    char *member_id;
    /* what was subscribed to; fixed from the start on */
    enum zkdoc_pattern pattern;
    struct zkdoc_subscription *subscriptions;
    struct zkc_streams *streams;
    int32_t subscription_count;
    bool is_started;

    struct zkc_options options;
    struct zkc_fetch *fetch;
    struct coord *coord;
    struct mailbox mailbox;
    pthread_t thread;
    struct zkc_poke poke, stop;
    /* owner: the thread */
    struct zkc_core core;
    void (*perform)(struct kafuka_zkc *z, const struct zkc_effect *e); /* carries an effect out */
    struct pending_event *pending, **pending_end;
    bool is_stepping, is_closed;
    int64_t brokers_ms; /* when their addresses were last read */
    struct zkc_commit *commits, **commits_end;
    uint32_t next_request;
    /* guarded by lock */
    struct lock lock;
    pthread_cond_t changed;
    struct zkc_rebalance history[ZKC_HISTORY_MAX]; /* a copy of the core's, newest first */
    int64_t history_wall_ms[ZKC_HISTORY_MAX];
    int32_t history_count;
    bool has_left;
};

/* Connects and starts the thread. UNREACHABLE, INVALID, ... with text. */
NODISCARD enum err zkc_shell_start(struct kafuka_zkc *z, struct errtext *why);
/* Leaves, joins the thread. */
void zkc_shell_stop(struct kafuka_zkc *z);
void zkc_commit_unref(struct zkc_commit *k);
void zkc_log(struct kafuka_zkc *z, enum kafuka_zkc_level level, const char *fmt, ...)
    PRINTF_LIKE(3, 4);
/* zkc_text.c: a trace as a line. */
enum kafuka_zkc_level zkc_trace_text(const struct zkc_effect *e, struct buf *out);

#endif
