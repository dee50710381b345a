/* SPDX-License-Identifier: Apache-2.0 */
/* log_manager - the log dirs: locks and meta.properties, loading and recovery, checkpoints,
 * flushing, retention, deletion. Functions may block and are called from main or io threads, unless
 * they say otherwise. */
#ifndef BROKER_LOG_LOG_MANAGER_H
#define BROKER_LOG_LOG_MANAGER_H

#include "broker/log/log.h"

struct log_manager;

/* log.cleaner.* */
struct log_cleaner_options {
    bool is_enabled;
    int32_t threads;
    int64_t dedupe_bytes, buffer_bytes; /* of all threads together */
    int64_t backoff_ms;
    double load_factor, bytes_per_second_max;
};

struct log_manager_options {
    char *const *dirs; /* log.dirs */
    int dir_count;
    int recovery_threads_per_dir;
    int64_t flush_scheduler_interval_ms, retention_check_interval_ms,
        checkpoint_interval_ms;        /* recovery point, start */
    int64_t producer_id_expiration_ms; /* 0: a day */
    int64_t open_files_max;            /* LRU of descriptors; 0: 10000 */
    struct log_config defaults;
    struct log_cleaner_options cleaner; /* zero: no compaction */
    /* Effective config of a topic, by name; called at load time. arg as given. */
    void (*topic_config)(void *arg, struct str topic, struct log_config *out);
    /* A dir went offline after a failed write or sync: called once a dir, on any thread, no lock
     * held. */
    void (*dir_failed)(void *arg, const char *dir);
    void *arg;
};

/* Locks the dirs and reads meta.properties. EXISTS: locked by another process. INVALID with text:
 * dirs disagree. Dirs that cannot be used are left out with a log line as long as one remains. */
NODISCARD enum err log_manager_open(const struct log_manager_options *o, struct log_manager **out,
                                    struct errtext *why);
/* broker.id and cluster.id as found in meta.properties: -1 and "" if there is none. */
int32_t log_manager_broker_id(const struct log_manager *m);
const char *log_manager_cluster_id(const struct log_manager *m);
NODISCARD enum err log_manager_write_meta(struct log_manager *m, int32_t broker_id,
                                          const char *cluster_id);
/* Loads every partition: recovery after an unclean stop, in parallel. Progress is logged. */
NODISCARD enum err log_manager_load(struct log_manager *m, struct errtext *why);
/* The partition's log; NULL if it is not here. The log stays valid until log_manager_delete or
 * close. */
struct log *log_manager_find(struct log_manager *m, struct str topic, int32_t partition);
/* Finds or creates; not at the same time for the same partition. is_new false with a dir offline:
 * OFFLINE (the log may be on the dead dir). HW is that of replication-offset-checkpoint, clamped.
 * user: as log_set_user, before the background thread can see the log. */
NODISCARD enum err log_manager_get_or_create(struct log_manager *m, struct str topic,
                                             int32_t partition, struct uuid topic_id,
                                             const struct log_config *c, bool is_new, void *user,
                                             struct log **out, struct errtext *why);
/* Renames the folder to -delete and removes it later. The caller has stopped all use of the log and
 * does not hold its lock (the background thread may be waiting for it); the log's user pointer is
 * not used any more afterwards. Ranges that were read before stay good. */
NODISCARD enum err log_manager_delete(struct log_manager *m, struct log *l);
/* Calls visit for every log; the caller's visit takes the partition's lock where it needs to. */
void log_manager_each(struct log_manager *m, void (*visit)(void *arg, struct log *l), void *arg);
NODISCARD enum err
log_manager_checkpoint_hw(struct log_manager *m); /* replication-offset-checkpoint of every dir */
/* Background work (flush, retention, checkpoints, delayed deletion) on a thread of its own until
 * close. lock/unlock: called around every use of a log, with the log's user pointer (log_set_user).
 */
void log_manager_start(struct log_manager *m, void (*lock)(void *user), void (*unlock)(void *user));
void log_set_user(struct log *l, void *user);
/* Flushes all, writes checkpoints and the clean-shutdown markers, unlocks. */
NODISCARD enum err log_manager_close(struct log_manager **m, int64_t broker_epoch);

/* New options while running: a run that is under way is given up and made again. Not from two threads
 * at a time, nor beside start or close. May block. */
void log_manager_set_cleaner(struct log_manager *m, const struct log_cleaner_options *o);
struct log_cleaner_numbers {
    int64_t runs, failed_runs, bytes_read, bytes_written, records_read, records_kept;
    int64_t busy_us;
    int64_t last_run_ms, last_run_wall_ms; /* how long, and when it ended; 0: none */
    int64_t map_bytes_max;                 /* the largest map so far */
    int64_t uncleanable;                   /* logs set aside */
    int64_t waiting;                       /* logs with something dirty */
};
void log_manager_cleaner_numbers(struct log_manager *m, struct log_cleaner_numbers *out);

struct log_dir_info {
    const char *path;
    bool is_offline;
    int64_t total_bytes, usable_bytes;
};
int log_manager_dirs(struct log_manager *m, struct log_dir_info *out, int max);

#endif
