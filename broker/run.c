/* SPDX-License-Identifier: Apache-2.0 */
/* Start: sockets, loops and pool; log dirs; ZooKeeper, cluster id, broker id; configs; logs;
 * controller, replicas, api; registration; only then connections are accepted (until then they wait
 * in the sockets' queues). Stop: controlled shutdown while everything still serves; then
 * connections, replication, controller, pool, loops, logs, and the session last, so that our znode
 * stands until nothing of ours runs.
 *
 * Each step's resource is noted in struct run; take_down() releases in reverse whatever is there,
 * so a start that fails half-way ends the same way as a stop. */
#include "broker/run.h"

#include "broker/api/api.h"
#include "broker/api/handlers.h"
#include "broker/broker.h"
#include "broker/config/config_changes.h"
#include "broker/group/coordinator.h"
#include "broker/group/lag.h"
#include "broker/http/http.h"
#include "broker/http/metrics.h"
#include "broker/log/log_manager.h"
#include "broker/cluster/metadata_cache.h"
#include "broker/notify.h"
#include "broker/cluster/reach.h"
#include "broker/cluster/registration.h"
#include "broker/replica/replicas.h"
#include "broker/server/server.h"
#include "broker/shutdown.h"
#include "broker/config/topic_configs.h"
#include "broker/cluster/wanted_topics.h"
#include "common/base/clock.h"
#include "common/base/lock.h"
#include "common/base/pool.h"
#include "common/base/slog.h"
#include "common/zk/zkadmin.h"
#include "controller/controller.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum { LOG_DIRS_SHOWN = 32, CONFIGS_KEPT_MAX = 1000, FRESH_TOPICS_MAX = 32, FRESH_READS_MAX = 4 };

struct run {
    struct broker broker;
    struct config *static_config;
    struct config *configs[CONFIGS_KEPT_MAX]; /* all that were current: readers may hold any */
    int config_count;
    struct props cluster_props, own_props; /* dynamic options; owner: session thread after start */
    struct server *server;
    struct registration *registration;
    struct topic_configs *topics;
    _Atomic int64_t topic_changes; /* config notifications of topics so far */
    struct lock fresh_mtx;
    struct uuid
        fresh[FRESH_TOPICS_MAX]; /* guarded by fresh_mtx: topics whose config was just read */
    int fresh_next;
    struct config_changes *changes;
    struct http *http;
    struct lag_monitor *lag;         /* NULL: nobody asks for it */
    struct metadata_wait ready_wait; /* owner: first loop */
    struct wanted_topics *wanted;    /* NULL: none; owner: first loop */
    bool is_asking;                  /* wanted has been started */
    bool is_replicas_started;
    int64_t begun_us;
    void (*started)(void);
};

/* What signals ask for; the handler only touches these. */
static _Atomic int stop_count;
static _Atomic(struct broker *) stopping_broker;
static int stop_fd = -1;

void run_wake(void)
{
    uint64_t one = 1;

    if (stop_fd >= 0)
        (void)!write(stop_fd, &one, sizeof one);
}

void run_stop(void)
{
    struct broker *b = atomic_load(&stopping_broker);
    int saved = errno;

    atomic_fetch_add(&stop_count, 1);
    if (b != NULL) /* a start that waits for ZooKeeper gives up */
        atomic_store(&b->is_stopping, true);
    run_wake();
    errno = saved;
}

/* ---- configs */

static void topic_config(void *arg, struct str topic, struct log_config *out)
{
    struct run *r = arg;

    topic_configs_get(r->topics, topic, out);
}

/* A new topic's config is written without a notification, so it is read when its first log is made
 * here. Many partitions of one topic are made at once: one read serves them. */
static bool is_fresh(struct run *r, struct uuid topic_id, bool note)
{
    bool found = false;

    if (uuid_is_zero(topic_id))
        return false;
    lock_take(&r->fresh_mtx);
    for (int i = 0; i < FRESH_TOPICS_MAX && !found; i++)
        found = uuid_eq(r->fresh[i], topic_id);
    if (note && !found) {
        r->fresh[r->fresh_next] = topic_id;
        r->fresh_next = (r->fresh_next + 1) % FRESH_TOPICS_MAX;
    }
    lock_release(&r->fresh_mtx);
    return found;
}

static int16_t read_topic_config(struct run *r, struct str topic)
{
    char *name = str_dup(topic);
    struct errtext why = {""};
    struct log_config made;
    int16_t rc = KE_NONE;
    int64_t changes;
    int reads = 0;

    do { /* what a notification brings meanwhile is newer than what was read: read again */
        struct arena a = {0};
        struct zkdoc_config config = {0};
        changes = atomic_load(&r->topic_changes);
        rc = zkadmin_read_entity_config(r->broker.coord, "topics", name, &a, &config, &why);
        if (rc == KE_NONE)
            topic_configs_set(r->topics, topic, &config, &made);
        arena_fini(&a);
    } while (rc == KE_NONE && changes != atomic_load(&r->topic_changes) &&
             ++reads < FRESH_READS_MAX);
    if (rc != KE_NONE)
        SLOG(WARN, "broker", "the config of a new topic cannot be read, the last known one holds",
             KV_STR("topic", topic), KV_KERR(rc), KV_S("why", why.text));
    mem_free(name);
    return rc;
}

static void topic_config_of_new_log(void *arg, struct str topic, struct uuid topic_id,
                                    struct log_config *out)
{
    struct run *r = arg;

    if (!is_fresh(r, topic_id, false) && read_topic_config(r, topic) == KE_NONE)
        (void)is_fresh(r, topic_id, true);
    topic_configs_get(r->topics, topic, out);
}

static void set_props(struct props *p, const struct zkdoc_config *config)
{
    props_fini(p);
    for (int32_t i = 0; i < config->count; i++)
        props_set(p, config->entries[i].key, config->entries[i].value, 0);
}

static bool is_own_config(struct run *r, const char *name, struct props **props_out)
{
    char id[16];

    (void)snprintf(id, sizeof id, "%d", r->broker.id);
    *props_out = strcmp(name, "<default>") == 0 ? &r->cluster_props
                 : strcmp(name, id) == 0        ? &r->own_props
                                                : NULL;
    return *props_out != NULL;
}

static struct log_cleaner_options cleaner_options(const struct config *c)
{
    return (struct log_cleaner_options){
        .is_enabled = c->log_cleaner_enable,
        .threads = c->log_cleaner_threads,
        .dedupe_bytes = c->log_cleaner_dedupe_buffer_size,
        .buffer_bytes = c->log_cleaner_io_buffer_size,
        .backoff_ms = c->log_cleaner_backoff_ms,
        .load_factor = c->log_cleaner_io_buffer_load_factor,
        .bytes_per_second_max = c->log_cleaner_io_max_bytes_per_second,
    };
}

/* Makes the dynamic options current. */
static void switch_config(struct run *r)
{
    if (r->config_count == CONFIGS_KEPT_MAX) {
        SLOG(ERROR, "config", "too many dynamic changes since the start: restart the broker");
        return;
    }
    struct config *c = config_with_dynamic(r->static_config, &r->cluster_props, &r->own_props);
    r->configs[r->config_count++] = c;
    r->broker.config = c;
    if (r->topics != NULL)
        topic_configs_rebase(r->topics, c);
    if (r->broker.logs != NULL && !atomic_load(&r->broker.is_stopping)) {
        struct log_cleaner_options o = cleaner_options(c);
        log_manager_set_cleaner(r->broker.logs, &o);
    }
}

static void on_config_at_start(void *arg, const char *type, const char *name,
                               const struct zkdoc_config *config)
{
    struct run *r = arg;
    struct log_config ignored;
    struct props *props;

    if (strcmp(type, "topics") == 0)
        topic_configs_set(r->topics, str_of(name), config, &ignored);
    else if (strcmp(type, "brokers") == 0 && is_own_config(r, name, &props))
        set_props(props, config);
}

/* On the session thread. */
static void on_config_changed(void *arg, const char *type, const char *name,
                              const struct zkdoc_config *config)
{
    struct run *r = arg;
    struct log_config made;
    struct props *props;

    METRIC_ADD(config_changes, 1);
    if (strcmp(type, "topics") == 0) {
        atomic_fetch_add(&r->topic_changes, 1);
        topic_configs_set(r->topics, str_of(name), config, &made);
        replicas_topic_config_changed(r->broker.replicas, str_of(name), &made);
        controller_topic_config_changed(r->broker.controller, name);
        SLOG(INFO, "broker", "topic config changed", KV_S("topic", name),
             KV_I("overrides", config->count));
    } else if (strcmp(type, "brokers") == 0 && is_own_config(r, name, &props)) {
        set_props(props, config);
        switch_config(r);
        replicas_all_configs_changed(r->broker.replicas, topic_config, r);
        SLOG(INFO, "broker", "broker config changed", KV_S("entity", name),
             KV_I("options", config->count));
    }
}

static enum err load_configs(struct run *r, struct errtext *why)
{
    enum err rc = config_changes_load(r->broker.coord, "brokers", on_config_at_start, r, why);

    if (rc != ERR_OK)
        return rc;
    if (r->cluster_props.count + r->own_props.count > 0)
        switch_config(r);
    lock_init(&r->fresh_mtx, LOCK_LEAF);
    r->topics = topic_configs_new(r->broker.config);
    return config_changes_load(r->broker.coord, "topics", on_config_at_start, r, why);
}

/* ---- start */

static enum err start_threads(struct run *r, struct errtext *why)
{
    struct broker *b = &r->broker;
    int count = b->config->num_network_threads;
    enum err rc = pool_start("io", b->config->num_io_threads,
                             (size_t)b->config->queued_max_requests, &b->io_pool);

    b->loops = xcalloc((size_t)count, sizeof b->loops[0]);
    for (int i = 0; i < count && rc == ERR_OK; i++) {
        char name[16];
        (void)snprintf(name, sizeof name, "loop-%hhu", (unsigned char)i);
        rc = loop_start(name, &b->loops[i]);
        b->loop_count += rc == ERR_OK;
    }
    if (rc != ERR_OK)
        errtext_set(why, "cannot start threads: %s", err_text(rc));
    return rc;
}

static void dir_failed(void *arg, const char *dir)
{
    struct run *r = arg;

    /* while stopping nothing is acknowledged any more, and the threads to tell it on may be gone */
    if (r->broker.replicas != NULL && !atomic_load(&r->broker.is_stopping))
        replicas_dir_failed(r->broker.replicas, dir);
}

static void no_dir_left(void *arg UNUSED)
{
    SLOG(ERROR, "broker", "no log dir is left: stopping");
    run_stop();
}

/* Locks the folders; what the topics' configs are is asked later, when they are loaded. */
static enum err open_logs(struct run *r, struct errtext *why)
{
    const struct config *c = r->broker.config;
    struct log_manager_options o = {
        .dirs = c->log_dirs.items,
        .dir_count = c->log_dirs.count,
        .recovery_threads_per_dir = c->num_recovery_threads_per_data_dir,
        .flush_scheduler_interval_ms = c->log_flush_scheduler_interval_ms,
        .retention_check_interval_ms = c->log_retention_check_interval_ms,
        .checkpoint_interval_ms = i64_min(c->log_flush_offset_checkpoint_interval_ms,
                                          c->log_flush_start_offset_checkpoint_interval_ms),
        .open_files_max = c->kafuka_open_files_max,
        .cleaner = cleaner_options(c),
        .topic_config = topic_config,
        .dir_failed = dir_failed,
        .arg = r,
    };

    topic_config_make_lenient(c, STR_LIT(""), NULL, 0, &o.defaults);
    enum err rc = log_manager_open(&o, &r->broker.logs, why);
    if (rc != ERR_OK)
        errtext_wrap(why, "log.dirs");
    return rc;
}

static void on_session(void *arg, enum registration_event event, int64_t broker_epoch)
{
    struct run *r = arg;

    switch (event) {
    case REGISTRATION_DISCONNECTED:
        SLOG(WARN, "broker", "ZooKeeper is away: this broker keeps serving");
        break;
    case REGISTRATION_CONNECTED:
        SLOG(INFO, "broker", "ZooKeeper is back, in the same session");
        break;
    case REGISTRATION_EXPIRED:
        METRIC_ADD(session_expirations, 1);
        SLOG(WARN, "broker", "the ZooKeeper session has expired: registering again");
        if (r->broker.controller != NULL)
            controller_session_expired(r->broker.controller);
        break;
    case REGISTRATION_REGISTERED:
        SLOG(INFO, "broker", "registered again", KV_I("broker_epoch", broker_epoch));
        if (r->broker.controller != NULL)
            controller_broker_registered(r->broker.controller, broker_epoch);
        if (r->changes != NULL)
            config_changes_session_renewed(r->changes);
        break;
    }
}

static enum err connect_coordination(struct run *r, struct errtext *why)
{
    const struct config *c = r->broker.config;
    struct registration_options o = {
        .connect = c->zookeeper_connect,
        .session_timeout_ms = c->zookeeper_session_timeout_ms,
        .connection_timeout_ms = c->zookeeper_connection_timeout_ms,
        .session_dir = c->log_dirs.items[0],
        .on_event = on_session,
        .arg = r,
    };
    enum err rc = registration_start(&r->broker, &o, &r->registration, why);

    return rc != ERR_OK ? rc : registration_cluster_id(r->registration, why);
}

/* The folder belongs to one cluster and one broker. */
static enum err check_identity(const struct run *r, struct errtext *why)
{
    const struct broker *b = &r->broker;
    const char *stored = log_manager_cluster_id(b->logs);
    const char *dir = b->config->log_dirs.items[0];

    if (stored[0] != 0 && strcmp(stored, b->cluster_id) != 0) {
        errtext_set(
            why,
            "the log dirs belong to cluster %s (%s/meta.properties), but ZooKeeper (%s) has "
            "cluster %s: if ZooKeeper was set up anew and these data shall join it, remove "
            "the line cluster.id from meta.properties in every log dir; to begin empty, "
            "empty the log dirs; else correct zookeeper.connect",
            stored, dir, b->config->zookeeper_connect, b->cluster_id);
        return ERR_INVALID;
    }
    return ERR_OK;
}

static enum err choose_id(struct run *r, struct errtext *why)
{
    struct broker *b = &r->broker;
    int32_t stored = log_manager_broker_id(b->logs), wanted = b->config->broker_id;

    if (wanted >= 0 && stored >= 0 && wanted != stored) {
        errtext_set(why,
                    "broker.id is %d in the configuration, but %d in %s/meta.properties: set "
                    "broker.id=%d, or give this broker a log dir of its own",
                    wanted, stored, b->config->log_dirs.items[0], stored);
        return ERR_INVALID;
    }
    b->id = wanted >= 0 ? wanted : stored;
    if (b->id < 0) {
        enum err rc = registration_generate_id(r->registration, b->config->reserved_broker_max_id,
                                               &b->id, why);
        if (rc != ERR_OK)
            return rc;
    }
    r->static_config->broker_id = b->id; /* nobody else reads it yet */
    enum err rc = log_manager_write_meta(b->logs, b->id, b->cluster_id);
    if (rc != ERR_OK)
        errtext_set(why, "cannot write meta.properties: %s", err_text(rc));
    return rc;
}

static enum err start_controller(struct run *r, struct errtext *why)
{
    struct broker *b = &r->broker;
    const struct config *c = b->config;
    struct controller_options o = {
        .broker_id = b->id,
        .listener_name = b->inter_broker_listener->name,
        .socket_timeout_ms = c->controller_socket_timeout_ms,
        .delete_topic_enable = c->delete_topic_enable,
        .unclean_leader_election = c->unclean_leader_election_enable,
        .auto_leader_rebalance = c->auto_leader_rebalance_enable,
        .imbalance_percentage = c->leader_imbalance_per_broker_percentage,
        .imbalance_check_interval_s = c->leader_imbalance_check_interval_seconds,
        .coord = b->coord,
        .pool = b->io_pool,
        .tls = server_client_tls(r->server),
    };
    enum err rc = controller_start(&o, &b->controller);

    if (rc != ERR_OK)
        errtext_set(why, "cannot start the controller module: %s", err_text(rc));
    return rc;
}

static void role_changed(void *arg, struct str topic, int32_t partition, bool is_leader UNUSED,
                         int32_t leader_epoch UNUSED)
{
    struct run *r = arg;

    coordinator_role_changed(r->broker.groups, topic, partition);
}

static void make_replicas(struct run *r)
{
    struct broker *b = &r->broker;
    const struct config *c = b->config;
    struct replicas_options o = {
        .broker_id = b->id,
        .loops = b->loops,
        .loop_count = b->loop_count,
        .pool = b->io_pool,
        .logs = b->logs,
        .controller = b->controller,
        .coord = b->coord,
        .listener_name = b->inter_broker_listener->name,
        .tls = server_client_tls(r->server),
        .limits = {.lag_time_max_ms = c->replica_lag_time_max_ms,
                   .lag_messages =
                       c->replica_lag_max_messages == INT64_MIN ? 0 : c->replica_lag_max_messages},
        .hw_checkpoint_interval_ms = c->replica_high_watermark_checkpoint_interval_ms,
        .fetchers_per_leader = c->num_replica_fetchers,
        .fetch_partition_max_bytes = c->replica_fetch_max_bytes,
        .fetch_response_max_bytes = c->replica_fetch_response_max_bytes,
        .fetch_min_bytes = c->replica_fetch_min_bytes,
        .fetch_wait_max_ms = c->replica_fetch_wait_max_ms,
        .fetch_backoff_ms = c->replica_fetch_backoff_ms,
        .socket_timeout_ms = c->replica_socket_timeout_ms,
        .receive_buffer_bytes = config_is_given(c, CONFIG_replica_socket_receive_buffer_bytes)
                                    ? c->replica_socket_receive_buffer_bytes
                                    : -1, /* else the kernel tunes it */
        .broker_epoch = &b->epoch,
        .topic_config = topic_config_of_new_log,
        .role_changed = role_changed,
        .no_dir_left = no_dir_left,
        .arg = r,
    };

    b->replicas = replicas_new(&o);
}

static void on_metadata(struct metadata_wait *w, const struct metadata *now);

static void on_wanted_given_up(void *arg)
{
    struct run *r = arg;

    if (r->ready_wait.is_waiting)
        on_metadata(&r->ready_wait, metadata_cache_on(r->broker.metadata, r->broker.loops[0]));
}

/* On the first loop: the controller has told us of ourselves, and the wanted topics are there. */
static void on_metadata(struct metadata_wait *w, const struct metadata *now)
{
    struct run *r = CONTAINER_OF(w, struct run, ready_wait);
    struct broker *b = &r->broker;

    if (metadata_broker(now, b->id) == NULL)
        return;
    if (r->wanted != NULL && !r->is_asking) {
        r->is_asking = true;
        wanted_topics_start(r->wanted, b, server_client_tls(r->server), on_wanted_given_up, r);
    }
    if (!wanted_topics_exist(r->wanted, now))
        return;
    metadata_wait_remove(b->metadata, b->loops[0], w);
    METRIC_SET(is_ready, 1);
    notify_service("READY=1");
    SLOG(INFO, "broker", "ready", KV_I("broker", b->id),
         KV_I("ms_since_start", (clock_mono_us() - r->begun_us) / 1000));
}

static void wait_for_metadata(void *arg)
{
    struct run *r = arg;

    r->ready_wait.changed = on_metadata;
    metadata_wait_add(r->broker.metadata, r->broker.loops[0], &r->ready_wait);
}

static void print_log_dirs(const struct broker *b, struct buf *out)
{
    struct log_dir_info dirs[LOG_DIRS_SHOWN];
    int count = log_manager_dirs(b->logs, dirs, LOG_DIRS_SHOWN);

    buf_printf(out, "# HELP kafuka_log_dir_usable_bytes Free space\n"
                    "# TYPE kafuka_log_dir_usable_bytes gauge\n");
    for (int i = 0; i < count; i++)
        buf_printf(out, "kafuka_log_dir_usable_bytes{dir=\"%s\"} %" PRId64 "\n", dirs[i].path,
                   dirs[i].usable_bytes);
    buf_printf(out, "# HELP kafuka_log_dir_offline 1 after a failed write\n"
                    "# TYPE kafuka_log_dir_offline gauge\n");
    for (int i = 0; i < count; i++)
        buf_printf(out, "kafuka_log_dir_offline{dir=\"%s\"} %d\n", dirs[i].path,
                   dirs[i].is_offline);
}

/* What the modules count, for /metrics. On the http thread. */
static void print_coordination(const struct coord *c, struct buf *out)
{
    struct coord_counters n;

    coord_count(c, &n);
    metrics_print_one(out, false, "kafuka_zookeeper_connected", "1 while connected",
                      n.is_connected);
    metrics_print_one(out, true, "kafuka_zookeeper_disconnections_total",
                      "Times the connection to ZooKeeper was lost", n.disconnections);
    metrics_print_one(out, true, "kafuka_zookeeper_calls_total", "Reads and writes of znodes",
                      n.calls);
    metrics_print_one(out, false, "kafuka_zookeeper_calls_waiting",
                      "Calls that wait for the connection or their turn", n.waiting);
    metrics_print_one(out, true, "kafuka_zookeeper_reads_repeated_total",
                      "Reads repeated because the connection was lost under them",
                      n.reads_repeated);
    metrics_print_one(out, true, "kafuka_zookeeper_writes_unknown_total",
                      "Writes whose answer was lost with the connection", n.writes_unknown);
    metrics_print_one(out, true, "kafuka_zookeeper_calls_refused_total",
                      "Calls refused because too many waited", n.refused);
    metrics_print_one(out, false, "kafuka_zookeeper_watched_paths", "Paths with a watch",
                      n.watched_paths);
}

static void print_cleaner(struct log_manager *logs, struct buf *out)
{
    struct log_cleaner_numbers n;

    log_manager_cleaner_numbers(logs, &n);
    metrics_print_one(out, true, "kafuka_log_cleaner_runs_total", "Logs that were compacted",
                      n.runs);
    metrics_print_one(out, true, "kafuka_log_cleaner_failed_runs_total",
                      "Compactions that failed: for want of space or memory, or the log was set "
                      "aside",
                      n.failed_runs);
    metrics_print_one(out, true, "kafuka_log_cleaner_read_bytes_total",
                      "Bytes read by compaction, the dirty part twice", n.bytes_read);
    metrics_print_one(out, true, "kafuka_log_cleaner_written_bytes_total",
                      "Bytes written by compaction", n.bytes_written);
    metrics_print_one(out, true, "kafuka_log_cleaner_records_read_total",
                      "Records that compaction decided on", n.records_read);
    metrics_print_one(out, true, "kafuka_log_cleaner_records_kept_total",
                      "Those of them that stayed", n.records_kept);
    metrics_print_one(out, true, "kafuka_log_cleaner_busy_milliseconds_total",
                      "Time spent compacting, with its pauses for the limit of bytes a second",
                      n.busy_us / 1000);
    metrics_print_one(out, false, "kafuka_log_cleaner_last_run_milliseconds",
                      "How long the last compaction of a log took", n.last_run_ms);
    metrics_print_one(out, false, "kafuka_log_cleaner_last_run_timestamp_seconds",
                      "When the last compaction of a log ended; 0: none",
                      n.last_run_wall_ms / 1000);
    metrics_print_one(out, false, "kafuka_log_cleaner_map_bytes_max",
                      "The largest map of keys that a compaction needed", n.map_bytes_max);
    metrics_print_one(out, false, "kafuka_log_cleaner_uncleanable_partitions",
                      "Logs set aside because their bytes can't be compacted", n.uncleanable);
    metrics_print_one(out, false, "kafuka_log_cleaner_waiting_partitions",
                      "Compacted logs with something dirty", n.waiting);
}

static void print_modules(void *arg, struct buf *out)
{
    const struct run *r = arg;
    const struct broker *b = &r->broker;
    struct replicas_numbers n;

    print_coordination(b->coord, out);
    replicas_count(b->replicas, &n);
    metrics_print_one(out, false, "kafuka_partitions", "Replicas on this broker", n.partitions);
    metrics_print_one(out, false, "kafuka_leaders", "Partitions that this broker leads", n.leaders);
    metrics_print_one(out, false, "kafuka_partitions_offline", "Replicas on failed log dirs",
                      n.offline);
    metrics_print_one(out, false, "kafuka_under_replicated_partitions",
                      "Partitions led here whose ISR lacks a replica", n.under_replicated);
    metrics_print_one(out, false, "kafuka_under_min_isr_partitions",
                      "Partitions led here that refuse acks=all", n.under_min_isr);
    metrics_print_one(out, false, "kafuka_at_min_isr_partitions",
                      "Partitions led here that one more lost replica would make refuse acks=all",
                      n.at_min_isr);
    metrics_print_one(out, true, "kafuka_isr_shrinks_total", "Followers taken out of an ISR",
                      n.isr_shrinks);
    metrics_print_one(out, true, "kafuka_isr_expands_total", "Followers taken into an ISR",
                      n.isr_expands);
    metrics_print_one(out, true, "kafuka_failed_isr_updates_total",
                      "ISR changes that the controller refused", n.failed_isr_updates);
    metrics_print_one(out, false, "kafuka_max_follower_lag_records",
                      "Records that the slowest follower of this broker's partitions is behind",
                      n.max_follower_lag);
    metrics_print_one(out, false, "kafuka_controller_active", "1 on the active controller",
                      controller_is_active(b->controller));
    metrics_print_one(out, false, "kafuka_io_jobs_waiting", "Jobs that wait for an io thread",
                      (int64_t)pool_waiting(b->io_pool));
    print_cleaner(b->logs, out);
    coordinator_print_metrics(b->groups, out);
    lag_monitor_print(r->lag, out);
    print_log_dirs(b, out);
}

static bool group_history(void *arg, struct str group, struct buf *out)
{
    const struct run *r = arg;

    return coordinator_history_json(r->broker.groups, group, out);
}

/* The lag of groups is for the page only. */
static enum err start_lag(struct run *r, struct errtext *why)
{
    const struct config *c = r->broker.config;
    struct lag_options o = {.broker = &r->broker,
                            .interval_ms = c->kafuka_lag_interval_ms,
                            .claims_max = c->kafuka_lag_partitions_max,
                            .sources = {lag_source_broker_groups, lag_source_zookeeper}};

    if (r->http == NULL || o.interval_ms == 0)
        return ERR_OK;
    enum err rc = lag_monitor_start(&o, &r->lag);
    if (rc != ERR_OK)
        errtext_set(why, "cannot start the thread that looks at the lag of groups: %s",
                    err_text(rc));
    return rc;
}

static void log_start(const struct run *r)
{
    const struct broker *b = &r->broker;

    for (int i = 0; i < b->listener_count; i++)
        SLOG(INFO, "broker", "listening", KV_S("listener", b->listeners[i].name),
             KV_S("host", b->listeners[i].bind_host[0] == 0 ? "*" : b->listeners[i].bind_host),
             KV_I("port", b->listeners[i].port),
             KV_S("advertised_host", b->listeners[i].advertised_host),
             KV_I("advertised_port", b->listeners[i].advertised_port));
    SLOG(INFO, "broker", "started", KV_I("broker", b->id), KV_S("cluster", b->cluster_id),
         KV_I("broker_epoch", atomic_load(&b->epoch)),
         KV_I("ms", (clock_mono_us() - r->begun_us) / 1000));
}

static enum err start_serving(struct run *r, struct errtext *why)
{
    struct broker *b = &r->broker;
    enum err rc = start_controller(r, why);

    if (rc != ERR_OK)
        return rc;
    make_replicas(r);
    b->inter_broker_tls = server_client_tls(r->server);
    api_start(b);
    coordinator_start(b);
    dispatch_init(api_rows, api_row_count);
    loop_call(b->loops[0], wait_for_metadata, r);
    log_manager_start(b->logs, replicas_log_lock, replicas_log_unlock);
    replicas_start(b->replicas);
    r->is_replicas_started = true;
    rc = registration_register(r->registration, b->config->broker_rack, why);
    if (rc != ERR_OK)
        return rc;
    controller_broker_registered(b->controller, atomic_load(&b->epoch));
    config_changes_start(b->coord, registration_mailbox(r->registration), on_config_changed, r,
                         &r->changes);
    server_start(r->server);
    rc = start_lag(r, why);
    if (rc != ERR_OK)
        return rc;
    http_add_metrics(r->http, print_modules, r);
    http_add_history(r->http, group_history, r);
    reach_check(b);
    log_start(r);
    return ERR_OK;
}

static void had_log(void *arg, struct log *l)
{
    struct broker *b = arg;

    (void)l;
    b->had_logs = true;
}

static enum err start(struct run *r, struct errtext *why)
{
    struct broker *b = &r->broker;
    enum err rc = wanted_topics_parse(b->config, &r->wanted, why);

    if (rc == ERR_OK)
        rc = server_bind(b, &r->server, why);

    if (rc == ERR_OK)
        rc = start_threads(r, why);
    if (rc == ERR_OK)
        rc = http_start(r->server, b->config->http_listener, &r->http, why);
    if (rc == ERR_OK)
        rc = open_logs(r, why);
    if (rc == ERR_OK)
        rc = connect_coordination(r, why);
    if (rc == ERR_OK)
        rc = check_identity(r, why);
    if (rc == ERR_OK)
        rc = choose_id(r, why);
    if (rc == ERR_OK)
        rc = load_configs(r, why);
    if (rc == ERR_OK)
        rc = log_manager_load(b->logs, why);
    if (rc == ERR_OK)
        log_manager_each(b->logs, had_log, b);
    if (rc == ERR_OK)
        rc = start_serving(r, why);
    return rc;
}

/* ---- stop */

static void no_more_waits(void *arg)
{
    struct run *r = arg;

    if (r->ready_wait.is_waiting)
        metadata_wait_remove(r->broker.metadata, r->broker.loops[0], &r->ready_wait);
    if (r->wanted != NULL)
        wanted_topics_stop(r->wanted);
}

struct changes_stop {
    struct mail mail;
    struct run *run;
    int done_fd;
};

static void stop_changes_on_session(struct mail *m)
{
    struct changes_stop *s = CONTAINER_OF(m, struct changes_stop, mail);
    uint64_t one = 1;
    int fd = s->done_fd;

    config_changes_stop(&s->run->changes);
    (void)!write(fd, &one, sizeof one); /* s is gone for us after this */
}

/* config_changes belongs to the session thread: it is stopped there. */
static void stop_changes(struct run *r)
{
    struct changes_stop s = {.mail = {.deliver = stop_changes_on_session}, .run = r};
    uint64_t n;

    if (r->changes == NULL)
        return;
    s.done_fd = eventfd(0, EFD_CLOEXEC);
    ASSERT(s.done_fd >= 0);
    mailbox_post(registration_mailbox(r->registration), &s.mail);
    while (read(s.done_fd, &n, sizeof n) < 0)
        ASSERT(errno == EINTR);
    (void)close(s.done_fd);
}

static void stop_threads(struct run *r)
{
    struct broker *b = &r->broker;

    pool_stop(&b->io_pool);
    for (int i = 0; i < b->loop_count; i++)
        loop_stop(&b->loops[i]);
    b->loop_count = 0;
}

static void take_down(struct run *r)
{
    struct broker *b = &r->broker;
    int loops = b->loop_count;

    atomic_store(&b->is_stopping, true);
    http_stop(&r->http);
    if (r->server != NULL && loops > 0) {
        server_stop_accepting(r->server);
        server_close_connections(r->server);
    }
    if (b->metadata != NULL)
        loop_call(b->loops[0], no_more_waits, r);
    lag_monitor_stop(&r->lag);
    coordinator_quit(b->groups);
    stop_changes(r);
    if (r->is_replicas_started)
        replicas_stop(b->replicas);
    controller_stop(&b->controller);
    api_quit(b);
    stop_threads(r);
    if (b->api != NULL)
        api_stop(b);
    coordinator_free(&b->groups);
    server_free(&r->server);
    if (b->logs != NULL && log_manager_close(&b->logs, atomic_load(&b->epoch)) != ERR_OK)
        SLOG(ERROR, "broker",
             "the logs could not be closed in order: they will be checked at the "
             "next start");
    if (b->replicas != NULL)
        replicas_free(&b->replicas); /* not before: the logs' thread locks partitions until then */
    registration_stop(&r->registration);
    topic_configs_free(&r->topics);
    wanted_topics_free(&r->wanted);
    mem_free(b->loops);
    b->loops = NULL;
}

bool run_is_hurried(void)
{
    return atomic_load(&stop_count) > 1;
}

/* Sleeps until a signal, or for ms (-1: without end). */
void run_wait(int64_t ms)
{
    struct pollfd p = {.fd = stop_fd, .events = POLLIN};
    uint64_t n;

    if (poll(&p, 1, ms < 0 ? -1 : (int)i64_min(ms, INT32_MAX)) > 0)
        (void)!read(stop_fd, &n, sizeof n);
}

static void serve(struct run *r)
{
    struct broker *b = &r->broker;

    if (r->started != NULL)
        r->started();
    atomic_store(&stopping_broker, NULL); /* from now on a signal only wakes us */
    while (atomic_load(&stop_count) == 0)
        run_wait(-1);
    notify_service("STOPPING=1");
    METRIC_SET(is_ready, 0);
    SLOG(INFO, "broker", "stopping", KV_I("broker", b->id));
    if (b->config->controlled_shutdown_enable)
        shutdown_controlled(b, server_client_tls(r->server));
}

enum err run_broker(struct config *c, void (*started)(void), struct errtext *why)
{
    struct run *r = xcalloc(1, sizeof *r);
    enum err rc;

    stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    ASSERT(stop_fd >= 0);
    r->begun_us = clock_mono_us();
    r->started = started;
    r->static_config = c;
    r->configs[r->config_count++] = c;
    r->broker.config = c;
    r->broker.id = c->broker_id;
    atomic_store(&r->broker.epoch, -1);
    atomic_store(&stopping_broker, &r->broker);
    if (atomic_load(&stop_count) > 0)
        atomic_store(&r->broker.is_stopping, true);
    rc = start(r, why);
    if (rc == ERR_OK)
        serve(r);
    atomic_store(&stopping_broker, NULL);
    take_down(r);
    if (rc == ERR_CLOSED && atomic_load(&stop_count) > 0)
        rc = ERR_OK; /* the start was ended by a signal */
    if (rc == ERR_OK)
        SLOG(INFO, "broker", "stopped", KV_I("broker", r->broker.id));
    props_fini(&r->cluster_props);
    props_fini(&r->own_props);
    for (int i = 0; i < r->config_count; i++)
        config_free(&r->configs[i]);
    mem_free(r);
    (void)close(stop_fd);
    stop_fd = -1;
    return rc;
}
