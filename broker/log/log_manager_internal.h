/* SPDX-License-Identifier: Apache-2.0 */
/* log_manager_internal - the inside of the log manager, shared by its three files. */
#ifndef BROKER_LOG_LOG_MANAGER_INTERNAL_H
#define BROKER_LOG_LOG_MANAGER_INTERNAL_H

#include "broker/log/log_internal.h"
#include "broker/log/log_manager.h"
#include "common/base/lock.h"

TAILQ_HEAD(log_queue, log);

/* A folder renamed to -delete, removed when its time comes. */
struct doomed_folder {
    STAILQ_ENTRY(doomed_folder) link;
    int64_t due_mono_ms;
    char path[];
};

/* A deleted log that checkpoint files may still tell of. They say so no more before one of the same
 * name is made in that dir: a crash would give it the other's offsets. */
struct gone_log {
    UT_hash_handle hh; /* by folder */
    struct log_dir *dir;
    unsigned files;   /* bits by enum checkpoint_kind: may tell of it */
    unsigned writing; /* those that are being written without it */
    char folder[];
};

struct log_manager {
    struct log_manager_options options; /* dirs: not kept */
    struct log_dir **dirs;
    int dir_count;
    int32_t broker_id;
    char cluster_id[64];

    struct lock lock; /* LEAF: table, queue, pins; memory only, never across I/O */
    pthread_cond_t changed;
    struct log *logs;                    /* guarded by lock */
    struct log_queue queue;              /* guarded by lock */
    size_t flush_waiting;                /* logs in it with LOG_WORK_FLUSH; guarded by lock */
    struct log_queue unlinks;            /* guarded by lock */
    struct gone_log *gone;               /* guarded by lock */
    bool is_stopping;                    /* guarded by lock */
    bool has_failed_dirs;                /* guarded by lock */
    STAILQ_HEAD(, doomed_folder) doomed; /* guarded by lock */

    /* the cleaner: cleaner_thread.c */
    struct log_queue cleans;                  /* logs that a look may find dirty; guarded by lock */
    pthread_cond_t clean_changed;             /* something ends a cleaner's wait; with lock */
    bool clean_stopping;                      /* guarded by lock */
    int64_t clean_free_us;                    /* when the next byte may be moved; guarded by lock */
    struct lock clean_lock;                   /* LOG_MANAGER: one thread looks for work at a time */
    pthread_t *clean_threads;                 /* owner: who starts and stops them */
    int32_t clean_thread_count;               /* the same */
    struct log_cleaner_numbers clean_numbers; /* guarded by lock */
    int64_t clean_checkpoint_ms;              /* guarded by clean_lock: of the last writing */
    bool has_cleaned;                         /* guarded by lock: the checkpoint files are behind */

    struct lock checkpoint_lock; /* CHECKPOINT: one writer of checkpoint files at a time */

    bool is_running; /* main only */
    pthread_t thread;
    void (*user_lock)(void *user);
    void (*user_unlock)(void *user);
};

/* ---- log_dirs.c */
NODISCARD enum err log_dirs_open(struct log_manager *m, char *const *paths, int count,
                                 struct errtext *why);
void log_dirs_close(struct log_manager *m);
/* Notes and deletes the clean marker. */
NODISCARD enum err log_dir_take_clean_mark(struct log_dir *d);
NODISCARD enum err log_dir_write_clean_mark(struct log_dir *d, int64_t broker_epoch);

enum checkpoint_kind {
    CHECKPOINT_RECOVERY,
    CHECKPOINT_START,
    CHECKPOINT_HW,
    CHECKPOINT_CLEANER,
    CHECKPOINT_KINDS
};
/* Writes one checkpoint file of one dir from the logs in the table. */
NODISCARD enum err log_dir_checkpoint(struct log_manager *m, struct log_dir *d,
                                      enum checkpoint_kind kind);
/* A log is deleted; its folder's path. */
void log_dir_note_gone(struct log_manager *m, struct log_dir *d, const char *folder);
/* Writes the files that may tell of an earlier log in that folder, if there are any; with NULL, of
 * any in the dir. */
NODISCARD enum err log_dir_forget_gone(struct log_manager *m, struct log_dir *d,
                                       const char *folder);

/* The checkpoint files of a dir, as read at load. */
struct saved_offsets {
    UT_hash_handle hh;
    int64_t offset[CHECKPOINT_KINDS]; /* -1: no entry */
    char name[];                      /* "<topic>-<partition>" */
};
struct saved_offsets *log_dir_read_checkpoints(const struct log_dir *d);
void saved_offsets_free(struct saved_offsets **table);

/* ---- log_background.c */
void log_background_start(struct log_manager *m);
void log_background_stop(struct log_manager *m);
/* Renames nothing: the folder is there already, to be removed after delay. */
void log_background_doom(struct log_manager *m, const char *path, int64_t delay_ms);
void log_background_remove_doomed(struct log_manager *m, int64_t now_mono_ms, bool all);

/* ---- cleaner_thread.c */
void log_cleaner_start(struct log_manager *m);
void log_cleaner_stop(struct log_manager *m); /* in the middle of a run too */

/* Logs to flush together. */
struct log_group {
    struct log **logs;
    struct log_flush_job **jobs;
    size_t count, cap;
};
void log_group_add(struct log_group *g, struct log *l);
/* Writes all, syncs each dir once, advances the recovery points. Takes and gives the users' locks.
 * A log with very many unflushed segments may have some left. */
NODISCARD enum err log_group_flush(struct log_manager *m, struct log_group *g);
void log_group_fini(struct log_group *g);

/* The logs, each with a pin; count_out of them. The caller unpins each and frees the array. */
struct log **log_manager_pin_all(struct log_manager *m, size_t *count_out);
void log_manager_unpin(struct log_manager *m, struct log *l);

#endif
