/* SPDX-License-Identifier: Apache-2.0 */
/* zk_session_internal - what the files of the ZooKeeper implementation of coord share; see
 * README.md. zk_session.c: sessions. zk_session_call.c: calls. zk_session_watch.c: watched paths
 * and who hears of them. zk_session_tree.c: recursive create and delete. zk_session_wait.c:
 * blocking forms. zk_session_log.c: the library's log lines. */
#ifndef COMMON_ZK_ZK_SESSION_INTERNAL_H
#define COMMON_ZK_ZK_SESSION_INTERNAL_H

#include "common/base/lock.h"
#include "common/zk/coord.h"

#include <pthread.h>
#include <stdatomic.h>
#include <zookeeper/zookeeper.h>

enum {
    ZK_SESSION_HANDLES_MAX = 64,
    /* of one handle: all go in one packet after a reconnect, and a path with both kinds of watch
     * counts once when it is taken: so less than half of the server's 1 MiB */
    ZK_SESSION_WATCHED_BYTES_MAX = 480 << 10,
    ZK_SESSION_WINDOW_CALLS =
        1000, /* calls with the library at a time: what one lost connection can lose */
    ZK_SESSION_WINDOW_BYTES = 8 << 20,
    ZK_SESSION_WAITING_BYTES_MAX = 256 << 20,
    ZK_SESSION_REPEATS_MAX = 1000, /* of one read */
    ZK_SESSION_RESOLUTION_DELAY_MS = 1000,
    ZK_SESSION_REOPEN_DELAY_MS = 1000,
    ZK_SESSION_SAY_FIRST_MS = 1000,
    ZK_SESSION_SAY_SO_MS = 5000,
    ZK_SESSION_PATIENCE_MS = 1500,
    ZK_SESSION_LOOK_MS = 250, /* at handles that are not connected */
    ZK_SESSION_POLL_STOP_MS = 100,
    ZK_SESSION_DRAIN_MS = 2000,
    ZK_SESSION_TREE_DEPTH_MAX = 64,
};

enum zk_session_kind { ZK_SESSION_GET, ZK_SESSION_EXISTS, ZK_SESSION_CHILDREN, ZK_SESSION_MULTI };
/* Which of its watches a path has. */
enum { ZK_SESSION_WATCH_DATA = 1, ZK_SESSION_WATCH_CHILDREN = 2 };

#define ZK_SESSION_CALL_MAGIC 0x7a6b6331u

/* One call, from its making to the end of its done(). The caller's strings are copied into it. */
struct zk_session_call {
    unsigned magic;
    struct mail mail; /* to the caller's mailbox, at the end */
    struct coord *coord;
    struct zk_session_handle *handle;
    uint64_t seq;                      /* order of calls; repeated reads keep theirs */
    TAILQ_ENTRY(zk_session_call) link; /* waiting, or failed */
    enum zk_session_kind kind;
    bool is_waiting;
    bool watch, watch_is_new; /* watch_is_new: it was this call that counted the path */
    int repeats;
    size_t bytes;
    struct mailbox *to; /* NULL: done runs on the completing thread (internal steps, _wait forms) */
    coord_done done;
    void *arg;
    const void *group; /* the waiter that may cancel it; only compared */
    char *path;        /* of a multi: the first operation's */
    zoo_op_t *ops;     /* of a multi, with what they point to, in blob */
    char *blob;
    zoo_op_result_t *results;
    struct Stat *stats;
    struct coord_result result; /* its arrays are ours */
    char *created;              /* buffer for the path of the first create */
};
TAILQ_HEAD(zk_session_call_list, zk_session_call);

#define ZK_SESSION_HANDLE_MAGIC 0x7a6b6832u

/* One session. Handle 0 is the coord's own; further ones only read with watches. Fields are guarded
 * by the coord's lock; the object lives as long as the coord. */
struct zk_session_handle {
    unsigned magic;
    struct coord *coord;
    int index;
    zhandle_t *zh;  /* NULL: none at the moment */
    bool is_wanted; /* the service thread opens it */
    bool is_connected, is_expired;
    bool is_draining;         /* being closed: nothing more goes to the library */
    int64_t open_at_ms;       /* not before */
    int64_t shaking_since_ms; /* the server took the connection and has not answered; 0: not so */
    int64_t patience_ms;      /* with that; grows while it does not help */
    int32_t in_flight;
    size_t in_flight_bytes;
    size_t watched_bytes;
    struct zk_session_call_list waiting; /* by rising seq */
    struct zk_session_call_list sent; /* with the library; it may forget them when it is closed */
};

/* Somebody who hears of state changes or of changed nodes. Counted: the coord holds one, each mail
 * under way holds one. */
struct zk_session_listener {
    _Atomic int refs;
    _Atomic bool is_closed; /* no call begins after it is set */
    LIST_ENTRY(zk_session_listener) link;
    char *prefix; /* NULL: state changes */
    struct mailbox *to;
    void (*on_change)(void *arg, enum coord_change kind, const char *path);
    void (*on_state)(void *arg, enum coord_state s, bool session_is_new);
    void *arg;
};

struct zk_session_watched; /* one watched path, in zk_session_watch.c */

struct coord {
    struct lock lock;
    pthread_cond_t wake; /* the service thread, and coord_open */
    pthread_t service;
    char *connect; /* with chroot */
    size_t chroot_len;
    int64_t session_timeout_ms, connection_timeout_ms;
    int32_t waiting_max;
    const _Atomic bool *stop; /* may be NULL */
    /* guarded by lock */
    enum coord_state state;
    bool is_open;    /* coord_open has returned or is about to: state changes are told */
    bool is_closing; /* no call is taken any more */
    int64_t negotiated_timeout_ms; /* of the main handle's session */
    clientid_t session;   /* the main handle's; before it is connected: one to attach to, or id 0 */
    bool session_is_over; /* it has expired: a new one is to be made */
    uint64_t next_seq;
    struct coord_counters counters; /* those since coord_open */
    int32_t waiting_count;
    size_t waiting_bytes;
    struct zk_session_handle handles[ZK_SESSION_HANDLES_MAX];
    struct zk_session_watched *watched; /* uthash by path */
    LIST_HEAD(zk_session_listener_list, zk_session_listener) listeners;
};

/* Functions with _locked want the coord's lock held, and assert it. */

/* ---- zk_session_call.c */
NODISCARD bool zk_session_path_is_valid(const char *path);
/* A valid connect string as the C library wants it: as ZooKeeper's Java client reads it, blanks and
 * empty entries between the commas are left out and a host without a port has 2181. The caller
 * frees. */
NODISCARD char *zk_session_library_connect(const char *connect);
enum err zk_session_err(int zoo_rc);
/* Takes the call. done runs on this thread only if to is NULL and the call fails at once. */
void zk_session_submit(struct coord *c, struct zk_session_call *call);
struct zk_session_call *zk_session_call_read(enum zk_session_kind kind, const char *path,
                                             bool watch, struct mailbox *to, coord_done done,
                                             void *arg);
/* ops may have been refused: then the call carries the error and submit finishes it. */
struct zk_session_call *zk_session_call_multi(const struct coord_op *ops, int32_t count,
                                              struct mailbox *to, coord_done done, void *arg);
/* Gives as many waiting calls to the library as may be; those that fail at once go to failed. */
void zk_session_pump_locked(struct zk_session_handle *h, struct zk_session_call_list *failed);
/* Sets the error of the call and of each of its operations. */
void zk_session_call_fail(struct zk_session_call *call, enum err e);
/* Ends the calls that the library forgot when it was closed, or has them wait again. */
void zk_session_forgotten(struct zk_session_handle *h);
/* Takes a call out of its waiting list. */
void zk_session_unwait_locked(struct zk_session_call *call);
/* Puts a read back in its place; picks the handle anew. */
void zk_session_wait_again_locked(struct coord *c, struct zk_session_call *call,
                                  struct zk_session_call_list *failed);
/* Ends all calls of the list; no lock held. */
void zk_session_finish_all(struct zk_session_call_list *calls);
/* Ends those calls of the group that were not sent yet; their result is UNREACHABLE. */
void zk_session_cancel_waiting(struct coord *c, const void *group);
/* Gives done the result e for a call that is not made at all. */
void zk_session_answer(const char *path, enum err e, struct mailbox *to, coord_done done,
                       void *arg);

/* ---- zk_session_watch.c */
/* The handle for a read with a watch; NULL: the limit is reached. */
struct zk_session_handle *zk_session_watch_begin_locked(struct coord *c,
                                                        struct zk_session_call *call);
/* The read has ended for good; is_armed: the server has the watch. */
void zk_session_watch_end_locked(struct coord *c, struct zk_session_call *call, bool is_armed);
/* An event of the library. */
void zk_session_watch_fired(struct zk_session_handle *h, int zoo_event, const char *path);
/* All watches of this handle are gone: forget them; with tell, their listeners hear of a change. */
void zk_session_watch_forget_locked(struct zk_session_handle *h, bool tell);
void zk_session_listeners_close(struct coord *c);
struct zk_session_listener *zk_session_listener_new(struct mailbox *to, void *arg);
void zk_session_tell_state_locked(struct coord *c, enum coord_state s, bool session_is_new);

int32_t zk_session_watched_count_locked(const struct coord *c);

/* ---- zk_session_tree.c: to NULL: done runs on the completing thread, and arg is the group of all
 * steps
 */
void zk_session_create_recursive(struct coord *c, const char *path, struct bytes data,
                                 struct mailbox *to, coord_done done, void *arg);
void zk_session_delete_recursive(struct coord *c, const char *path, struct mailbox *to,
                                 coord_done done, void *arg);

/* ---- zk_session_log.c */
void zk_session_log_setup(void);
void zk_session_log_line(const char *line); /* the library's callback */
/* The library's last complaint; "" when there was none. */
void zk_session_log_last(char *out, size_t size);
void zk_session_log_forget(void);

#endif
