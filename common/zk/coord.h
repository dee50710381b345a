/* SPDX-License-Identifier: Apache-2.0 */
/* coord - everything the cluster asks of its coordination service: read, create, conditional write,
 * multi, watch. One implementation speaks to ZooKeeper (zk_session.c); a local store will stand
 * behind the same interface (docs/decisions/0006).
 *
 * Any thread may call. Results come to the given mailbox: done(arg...) runs on that mailbox's
 * owner. Nothing here blocks, except coord_open and the _wait forms, which are for start-up, tools
 * and tests. A call made while disconnected waits for the connection. Reads lost with a connection
 * are repeated; a write whose answer was lost ends in UNKNOWN_OUTCOME: the caller reads and
 * decides. Paths are relative to the chroot. */
#ifndef COMMON_ZK_COORD_H
#define COMMON_ZK_COORD_H

#include "common/base/base.h"
#include "common/base/mailbox.h"

struct coord;

struct coord_stat {
    int64_t czxid, mzxid, ctime_ms, mtime_ms;
    int32_t version; /* dataVersion */
    int32_t child_count;
    int64_t ephemeral_owner; /* session id, 0 for persistent */
};

enum coord_state { COORD_DISCONNECTED, COORD_CONNECTED, COORD_EXPIRED, COORD_CLOSED };

struct coord_options {
    const char *connect;    /* "h1:p1,h2:p2/chroot"; the chroot is made if missing, but: */
    bool chroot_must_exist; /* a chroot that is missing is NOT_FOUND, and is not made */
    int64_t session_timeout_ms;
    int64_t connection_timeout_ms; /* of coord_open and of the _wait forms; -1: without end */
    struct mailbox *mailbox;       /* for session events; NULL in tools */
    /* On the mailbox's owner: the state changed. EXPIRED: all watches and ephemerals are gone; a
     * new session is being made; then CONNECTED comes with session_is_new. */
    void (*on_state)(void *arg, enum coord_state s, bool session_is_new);
    void *arg;
    int64_t old_session_id; /* re-attach to this session first (0: none), with its password; has it
                               ended, a new one is made: compare coord_session_id() */
    uint8_t old_session_password[16];
    int32_t waiting_max;      /* calls that may wait; 0: COORD_WAITING_MAX */
    const _Atomic bool *stop; /* NULL, or ends the waiting of coord_open and of the _wait forms */
};
enum {
    COORD_DATA_BYTES_MAX = 4 << 20, /* of one call, both ways; Kafka's jute.maxbuffer */
    COORD_PATH_BYTES_MAX = 4096,
    COORD_WAITING_MAX = 250000, /* calls that wait for the connection or their turn; then LIMIT */
    COORD_OPS_MAX = 1000,       /* of one multi */
};
/* Refuses a zookeeper.* setting that asks for what this client cannot do (TLS, SASL, ACLs that need
 * them) with UNSUPPORTED and text; OK for every other. */
NODISCARD enum err coord_check_setting(const char *name, const char *value, struct errtext *why);
/* The rules of a connect string ("h1:p1,h2:p2/chroot"): INVALID with text. */
NODISCARD enum err coord_check_connect(const char *connect, struct errtext *why);
/* Waits for the connection up to its timeout, trying all the while and saying so. INVALID: the
 * connect string; UNREACHABLE; NOT_FOUND: chroot_must_exist; CLOSED: *stop became true; all with
 * text. Fork (--daemon) before the first call: the library starts threads. */
NODISCARD enum err coord_open(const struct coord_options *o, struct coord **out,
                              struct errtext *why);
/* Ends the session: the request is with the server when this returns; ephemerals go as it is
 * carried out. Every call made before gets its done (CLOSED if nothing better); those mails are in
 * their mailboxes when this returns. on_state and on_change are not called by deliveries that begin
 * after it. Not on a library thread; no other thread may use c meanwhile. NULL is fine. */
void coord_close(struct coord **c);
int64_t coord_session_id(const struct coord *c);
void coord_session_password(const struct coord *c, uint8_t out[16]);
/* As negotiated: the server has bounds of its own. Before the first connection: as asked for. */
int64_t coord_session_timeout_ms(const struct coord *c);
enum coord_state coord_state_now(const struct coord *c);

/* Statistics, for metrics. */
struct coord_counters {
    int64_t calls, reads_repeated, writes_unknown, refused; /* since coord_open */
    int64_t disconnections, expirations, watches_fired;
    int32_t waiting, in_flight, watched_paths, handles; /* now */
    bool is_connected;
};
void coord_count(const struct coord *c, struct coord_counters *out);

enum coord_create_mode { COORD_PERSISTENT, COORD_EPHEMERAL, COORD_SEQUENTIAL };
enum coord_op_kind { COORD_OP_CREATE, COORD_OP_SET, COORD_OP_DELETE, COORD_OP_CHECK };
/* One operation of a multi, or alone. data p NULL: null data. version -1: any. Strings are copied
 * by coord_multi. */
struct coord_op {
    enum coord_op_kind kind;
    enum coord_create_mode mode;
    const char *path;
    struct bytes data;
    int32_t version;
};

/* A finished call, delivered to the mailbox of its caller; valid during done() only. err:
 *   NOT_FOUND, EXISTS, BAD_VERSION, BUSY (delete of a node with children), DENIED (an ACL): the
 *     server's answer; nothing changed
 *   UNKNOWN_OUTCOME: a write whose answer was lost with the connection
 *   CLOSED: coord_close, or a write that waited for a connection until its session expired; a write
 *     that ends so did not take effect
 *   LIMIT: too many calls wait; TOO_LARGE: over COORD_DATA_BYTES_MAX; INVALID: a path; UNREACHABLE
 *     (_wait forms only): no connection for connection_timeout_ms, nothing was sent
 * Of a failed multi, op_errs holds OK for the ops before the failing one, NOT_ATTEMPTED after it,
 * and err is that of the failing one. */
struct coord_result {
    enum err err;
    const char *path;
    struct bytes data;      /* get */
    struct coord_stat stat; /* get, exists, set */
    char *const *children;  /* children */
    int32_t child_count;
    const enum err *op_errs; /* multi: one for each op (docs/reference/zookeeper-layout.md,
                               "Multi operations") */
    const struct coord_stat *op_stats;
    int32_t op_count;
    const char *created_path; /* of the first create of a multi, with its sequence number */
};
typedef void (*coord_done)(void *arg, const struct coord_result *r);

/* watch true: the next change of that path is told to the coord's watcher (coord_watch), once;
 * re-arm by reading again. A get or children that ends in NOT_FOUND arms nothing, an exists does. A
 * node that is deleted tells its data watch and its children watch as one NODE_DELETED. */
void coord_get(struct coord *c, const char *path, bool watch, struct mailbox *to, coord_done done,
               void *arg);
void coord_exists(struct coord *c, const char *path, bool watch, struct mailbox *to,
                  coord_done done, void *arg);
void coord_children(struct coord *c, const char *path, bool watch, struct mailbox *to,
                    coord_done done, void *arg);
void coord_multi(struct coord *c, const struct coord_op *ops, int32_t count, struct mailbox *to,
                 coord_done done, void *arg);
/* Creates the path (persistent) with all missing parents (null data, persistent). */
void coord_create_recursive(struct coord *c, const char *path, struct bytes data,
                            struct mailbox *to, coord_done done, void *arg);
/* Everything below the path, then the path. NOT_FOUND when it was not there. */
void coord_delete_recursive(struct coord *c, const char *path, struct mailbox *to, coord_done done,
                            void *arg);

/* Who hears of fired watches: on_change on to's owner, for every watched path that is prefix or
 * below it ("/" is above all). kind says what happened; it may come without a change (a session of
 * the implementation's own was lost): re-read and decide. */
enum coord_change {
    COORD_NODE_CREATED,
    COORD_NODE_DELETED,
    COORD_NODE_CHANGED,
    COORD_CHILDREN_CHANGED
};
void coord_watch(struct coord *c, const char *prefix, struct mailbox *to,
                 void (*on_change)(void *arg, enum coord_change kind, const char *path), void *arg);
/* Takes back every coord_watch with this arg. Called by to's owner: on_change is not called again.
 */
void coord_unwatch(struct coord *c, void *arg);

/* For who makes many calls and waits for all: delivers to's mail on this thread until *pending is
 * 0. Calls to that mailbox that have no connection for connection_timeout_ms end in UNREACHABLE. */
void coord_wait_all(struct coord *c, struct mailbox *to, const int32_t *pending);

/* Blocking forms for start-up, tools and tests; never on a loop or a library thread. op_errs and
 * op_stats may be NULL. created_path_out (may be NULL): free it. */
NODISCARD enum err coord_get_wait(struct coord *c, const char *path, struct buf *data_out,
                                  struct coord_stat *stat_out);
NODISCARD enum err coord_children_wait(struct coord *c, const char *path, char ***names_out,
                                       int32_t *count_out);
void coord_names_free(char **names, int32_t count);
NODISCARD enum err coord_multi_wait(struct coord *c, const struct coord_op *ops, int32_t count,
                                    enum err *op_errs, struct coord_stat *op_stats);
NODISCARD enum err coord_exists_wait(struct coord *c, const char *path,
                                     struct coord_stat *stat_out);
NODISCARD enum err coord_create_wait(struct coord *c, const char *path, struct bytes data,
                                     enum coord_create_mode mode, char **created_path_out);
NODISCARD enum err coord_set_wait(struct coord *c, const char *path, struct bytes data,
                                  int32_t version, struct coord_stat *stat_out);
NODISCARD enum err coord_delete_wait(struct coord *c, const char *path, int32_t version);
NODISCARD enum err coord_create_recursive_wait(struct coord *c, const char *path,
                                               struct bytes data);
NODISCARD enum err coord_delete_recursive_wait(struct coord *c, const char *path);

#endif
