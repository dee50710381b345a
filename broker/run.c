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
#include "broker/cluster/metadata_cache.h"
#include "broker/cluster/reach.h"
#include "broker/cluster/registration.h"
#include "broker/cluster/wanted_topics.h"
#include "broker/config/topic_config.h"
#include "broker/group/coordinator.h"
#include "broker/group/lag.h"
#include "broker/http/http.h"
#include "broker/http/metrics.h"
#include "broker/live_configs.h"
#include "broker/log/fd_cache.h"
#include "broker/log/log_manager.h"
#include "broker/metrics_page.h"
#include "broker/notify.h"
#include "broker/panic.h"
#include "broker/replica/replicas.h"
#include "broker/server/server.h"
#include "broker/shutdown.h"
#include "common/base/clock.h"
#include "common/base/fsx.h"
#include "common/base/pool.h"
#include "common/base/slog.h"
#include "controller/controller.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct run {
    struct broker broker;
    struct live_configs *configs;
    struct config *static_config;
    struct server *server;
    struct registration *registration;
    struct http *http;
    struct lag_monitor *lag; /* NULL: nobody asks for it */
    struct metrics_page page;
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

static void topic_config(void *arg, struct str topic, struct log_config *out)
{
    struct run *r = arg;

    live_configs_of_topic(r->configs, topic, out);
}

static void topic_config_of_new_log(void *arg, struct str topic, struct uuid topic_id,
                                    struct log_config *out)
{
    struct run *r = arg;

    live_configs_of_new_log(r->configs, topic, topic_id, out);
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
    SLOG(ERROR, "broker", "all log dirs are offline: the broker stops");
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
        .producer_id_expiration_ms = c->producer_id_expiration_ms,
        .checkpoint_interval_ms = i64_min(c->log_flush_offset_checkpoint_interval_ms,
                                          c->log_flush_start_offset_checkpoint_interval_ms),
        .open_files_max = r->broker.descriptors.files,
        .cleaner = live_configs_cleaner(c),
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
        SLOG(WARN, "broker",
             "lost the connection to ZooKeeper: serving goes on, but no leader and no topic can "
             "change");
        break;
    case REGISTRATION_CONNECTED:
        SLOG(INFO, "broker", "connected to ZooKeeper again, in the same session");
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
        live_configs_session_renewed(r->configs);
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
        errtext_set(why, "cannot write meta.properties: %s", err_reason(rc));
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
    live_configs_watch(r->configs, registration_mailbox(r->registration));
    server_start(r->server);
    rc = start_lag(r, why);
    if (rc != ERR_OK)
        return rc;
    r->page = (struct metrics_page){.broker = b, .lag = r->lag};
    metrics_page_start(&r->page, r->http);
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

static void share_descriptors(struct broker *b)
{
    b->descriptors = descriptors_share(descriptors_raise_limit(), b->config->kafuka_open_files_max);
    fsx_spares_keep(fd_cache_shed);
    SLOG(INFO, "broker", "shared out the limit on open files", KV_I("limit", b->descriptors.limit),
         KV_I("segment_files_max", b->descriptors.files),
         KV_I("connections_max", b->descriptors.connections));
}

static enum err start(struct run *r, struct errtext *why)
{
    struct broker *b = &r->broker;

    share_descriptors(b);
    enum err rc = wanted_topics_parse(b->config, &r->wanted, why);

    if (rc == ERR_OK)
        rc = server_bind(b, &r->server, why);

    if (rc == ERR_OK)
        rc = start_threads(r, why);
    if (rc == ERR_OK)
        rc = http_start(server_stats(r->server), b->config->http_listener, &r->http, why);
    if (rc == ERR_OK)
        rc = open_logs(r, why);
    if (rc == ERR_OK)
        rc = connect_coordination(r, why);
    if (rc == ERR_OK)
        rc = check_identity(r, why);
    if (rc == ERR_OK)
        rc = choose_id(r, why);
    if (rc == ERR_OK)
        rc = live_configs_load(r->configs, why);
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
    if (r->registration != NULL)
        live_configs_stop(r->configs, registration_mailbox(r->registration));
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
             "cannot close all logs cleanly: they will be checked at the "
             "next start");
    if (b->replicas != NULL)
        replicas_free(&b->replicas); /* not before: the logs' thread locks partitions until then */
    registration_stop(&r->registration);
    live_configs_forget_topics(r->configs);
    wanted_topics_free(&r->wanted);
    mem_free(b->loops);
    b->loops = NULL;
    fsx_spares_drop();
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
    panic_describe(&r->broker);
    r->begun_us = clock_mono_us();
    r->started = started;
    r->static_config = c;
    r->configs = live_configs_new(&r->broker, c);
    r->broker.id = c->broker_id;
    config_log_no_effect(c, 1U << CONFIG_SOURCE_STATIC);
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
    panic_describe_no_more();
    live_configs_free(&r->configs);
    mem_free(r);
    (void)close(stop_fd);
    stop_fd = -1;
    return rc;
}
