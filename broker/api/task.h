/* SPDX-License-Identifier: Apache-2.0 */
/* task - a request whose work blocks, or that has to wait until the metadata show its effect: first
 * io() on an io thread, then is_ready() on the loop after every change of the metadata, until true
 * or until the time is up, then finish() on the loop, which ends the request.
 *
 * The task lives in its request's arena (embedded in what the handler allocates), and so may all
 * that io() makes: nobody else uses the arena meanwhile. */
#ifndef BROKER_API_TASK_H
#define BROKER_API_TASK_H

#include "broker/api/api.h"
#include "common/base/pool.h"

enum task_state { TASK_NEW, TASK_IO, TASK_WAITING, TASK_DONE };

struct task {
    unsigned magic;
    enum task_state state;
    bool is_cancelled;
    struct request *request;
    struct metadata *metadata; /* held from start until io() is done; io's view of the cluster */
    struct pool_job job;
    struct metadata_wait wait;
    struct loop_timer timer;
    int64_t deadline_ms;    /* loop_now_ms */
    TAILQ_ENTRY(task) link; /* api's tasks that wait for their turn at the coordination service */
    /* All given by the handler before task_start. io NULL: nothing that blocks. */
    void (*io)(struct task *t);
    bool needs_coord; /* io asks the coordination service: such tasks have at most half of the io
                         threads, so that its absence does not stop what the others do */
    /* m: a snapshot that every loop has. NULL: ready at once. */
    bool (*is_ready)(struct task *t, const struct metadata *m);
    int64_t timeout_ms; /* for is_ready, from task_start */
    int64_t retry_ms; /* > 0: not the metadata tell when it is ready, but io() once more, after that
                         time, until the time is up */
    void (*finish)(struct task *t, bool is_timed_out);
    /* The connection is gone: instead of finish, gives back what the task holds. May be NULL. */
    void (*dropped)(struct task *t);
};

/* Loop thread; takes the request over. finish may run before this returns. LIMIT: the io queue is
 * full; UNREACHABLE: the coordination service is needed and away. Then nothing was done and the
 * request is still the handler's. */
NODISCARD enum err task_start(struct task *t, struct request *r);
/* What to tell the client of a task that did not start. */
const char *task_refusal_text(enum err e);

#endif
