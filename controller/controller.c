/* SPDX-License-Identifier: Apache-2.0 */
/* The controller's shell: its thread, the election, the mail from other threads.
 *
 * Happy path: the broker registers; look at /controller (exists, with watch); nobody there: read
 * /controller_epoch, one multi creates /controller and raises the epoch; load (ctl_load.c); act.
 * Failures: another was quicker, or the answer was lost: look again; the check of a write fails: we
 * were deposed, resign at once and look; the session expired: resign, wait for the registration. */
#include "controller/ctl.h"

#include "common/base/clock.h"
#include "common/base/lock.h"
#include "common/base/slog.h"

#include <stdio.h>

enum { STOP_WAIT_MS = 2000 };

/* ---- calls */
struct ctl_call *ctl_call_new(struct controller *c, const char *topic, int32_t partition,
                              void (*done)(struct ctl_call *, const struct coord_result *))
{
    struct ctl_call *call = xcalloc(1, sizeof *call);

    call->magic = CTL_CALL_MAGIC;
    call->c = c;
    call->term = c->term;
    call->topic = topic == NULL ? NULL : xstrdup(topic);
    call->partition = partition;
    call->done = done;
    call->is_loading = c->role == CTL_LOADING;
    c->calls++;
    c->load_pending += call->is_loading ? 1 : 0;
    return call;
}

void ctl_call_done(void *arg, const struct coord_result *r)
{
    struct ctl_call *call;
    struct controller *c;

    CAST_OBJ(call, arg, CTL_CALL_MAGIC);
    c = call->c;
    CHECK_OBJ(c, CTL_MAGIC);
    c->calls--;
    if (call->term == c->term) {
        call->done(call, r);
        if (call->is_loading && call->term == c->term) {
            c->load_pending--;
            ctl_load_check(c);
        }
    }
    call->magic = 0;
    mem_free(call->extra);
    mem_free(call->topic);
    mem_free(call);
}

void ctl_get(struct controller *c, const char *path, bool watch, struct ctl_call *call)
{
    coord_get(c->o.coord, path, watch, loop_mailbox(c->loop), ctl_call_done, call);
}

void ctl_children(struct controller *c, const char *path, bool watch, struct ctl_call *call)
{
    coord_children(c->o.coord, path, watch, loop_mailbox(c->loop), ctl_call_done, call);
}

void ctl_exists(struct controller *c, const char *path, bool watch, struct ctl_call *call)
{
    coord_exists(c->o.coord, path, watch, loop_mailbox(c->loop), ctl_call_done, call);
}

void ctl_checked(struct controller *c, const struct coord_op *ops, int32_t count,
                 struct ctl_call *call)
{
    struct coord_op *all = xcalloc((size_t)count + 1, sizeof *all);

    all[0] = (struct coord_op){
        .kind = COORD_OP_CHECK, .path = "/controller_epoch", .version = c->epoch_version};
    memcpy(all + 1, ops, (size_t)count * sizeof *ops);
    coord_multi(c->o.coord, all, count + 1, loop_mailbox(c->loop), ctl_call_done, call);
    mem_free(all);
}

bool ctl_is_fenced(struct controller *c, const struct coord_result *r)
{
    if (r->err == ERR_OK || r->op_count < 1 ||
        (r->op_errs[0] != ERR_BAD_VERSION && r->op_errs[0] != ERR_NOT_FOUND))
        return false;
    ctl_resign(c, "another controller has taken over");
    ctl_look(c);
    return true;
}

/* ---- steps of the core */
static void on_tick(struct loop_timer *t)
{
    struct controller *c = CONTAINER_OF(t, struct controller, tick);
    struct controller_event ev = {.kind = CEV_TICK};

    ctl_step(c, &ev);
}

void ctl_step(struct controller *c, struct controller_event *ev)
{
    int64_t deadline_ms;

    ASSERT(!c->is_in_step); /* effects never call back at once */
    c->is_in_step = true;
    ev->now_ms = loop_now_ms(c->loop);
    controller_step(c->core, ev, &c->fx);
    ctl_effects_run(c);
    c->is_in_step = false;
    deadline_ms = controller_deadline_ms(c->core);
    if (deadline_ms < 0)
        loop_timer_cancel(c->loop, &c->tick);
    else
        loop_timer_arm(c->loop, &c->tick, i64_max(deadline_ms - loop_now_ms(c->loop), 1));
}

/* ---- taking and leaving office */
static void set_role(struct controller *c, enum ctl_role role)
{
    c->role = role;
    atomic_store(&c->is_active_now, role == CTL_LOADING || role == CTL_ACTIVE);
}

void ctl_resign(struct controller *c, const char *why)
{
    struct controller_event ev = {.kind = CEV_RESIGNED};
    bool was_controller = c->role == CTL_LOADING || c->role == CTL_ACTIVE;

    c->term++; /* nothing that is on its way concerns us any more */
    c->load_pending = 0;
    set_role(c, CTL_FOLLOWER);
    c->is_listing_brokers = c->list_brokers_again = false;
    c->is_listing_topics = c->list_topics_again = false;
    ctl_brokers_free(c->listing, c->listing_count);
    c->listing = NULL;
    c->listing_count = c->listing_left = 0;
    c->is_looking = c->look_again = false;
    if (!was_controller)
        return;
    SLOG(INFO, "controller", "resigned", KV_I("epoch", c->epoch), KV_S("why", why));
    ctl_step(c, &ev);
    ctl_channel_close_all(c);
    ctl_brokers_free(c->brokers, c->broker_count);
    c->brokers = NULL;
    c->broker_count = 0;
}

static void on_nothing(struct ctl_call *call, const struct coord_result *r)
{
    (void)call;
    (void)r;
}

/* Deletes /controller if it is still of our epoch; the watch says the rest. */
static void leave_office(struct controller *c)
{
    const struct coord_op op = {.kind = COORD_OP_DELETE, .path = "/controller", .version = -1};

    ctl_checked(c, &op, 1, ctl_call_new(c, NULL, -1, on_nothing));
}

void ctl_fail(struct controller *c, const char *why, enum err e)
{
    SLOG(ERROR, "controller", "resigning as controller because of an error", KV_S("why", why),
         KV_ERR(e));
    if (c->role == CTL_LOADING || c->role == CTL_ACTIVE)
        leave_office(c);
    ctl_resign(c, why);
    ctl_look(c);
}

static void won(struct controller *c, int32_t epoch, int32_t epoch_version)
{
    struct controller_event ev = {.kind = CEV_ELECTED, .u.epoch = epoch};

    c->term++;
    c->load_pending = 0;
    c->epoch = epoch;
    c->epoch_version = epoch_version;
    c->load_began_ms = clock_mono_ms();
    atomic_store(&c->epoch_now, epoch);
    atomic_store(&c->known_id, c->o.broker_id);
    set_role(c, CTL_LOADING);
    SLOG(INFO, "controller", "elected", KV_I("epoch", epoch));
    ctl_step(c, &ev);
    ctl_load(c);
}

/* ---- election */
struct election {
    int32_t epoch; /* the one we try to make */
};

static void on_won_epoch(struct ctl_call *call, const struct coord_result *r)
{
    const struct election *e = call->extra;
    struct controller *c = call->c;
    int64_t epoch;

    if (r->err == ERR_OK && zkdoc_number_parse(r->data, 0, INT32_MAX, &epoch, NULL) == ERR_OK &&
        epoch == e->epoch) {
        won(c, e->epoch, r->stat.version);
        return;
    }
    set_role(c, CTL_FOLLOWER);
    ctl_look(c);
}

/* Was the write whose answer was lost ours? Then /controller belongs to our session and the epoch
 * is the one we wrote. */
static void on_won_controller(struct ctl_call *call, const struct coord_result *r)
{
    const struct election *e = call->extra;
    struct controller *c = call->c;
    struct election *next;
    struct ctl_call *again;

    if (r->err != ERR_OK || r->stat.ephemeral_owner != coord_session_id(c->o.coord)) {
        set_role(c, CTL_FOLLOWER);
        ctl_look(c);
        return;
    }
    again = ctl_call_new(c, NULL, -1, on_won_epoch);
    again->extra = next = xcalloc(1, sizeof *next);
    *next = *e;
    ctl_get(c, "/controller_epoch", false, again);
}

static void on_office(struct ctl_call *call, const struct coord_result *r)
{
    const struct election *e = call->extra;
    struct controller *c = call->c;

    if (r->err == ERR_OK) {
        won(c, e->epoch, r->op_stats[1].version);
    } else if (r->err == ERR_UNKNOWN_OUTCOME) {
        struct ctl_call *check = ctl_call_new(c, NULL, -1, on_won_controller);
        struct election *copy = xcalloc(1, sizeof *copy);

        *copy = *e;
        check->extra = copy;
        ctl_get(c, "/controller", false, check);
    } else {
        set_role(c, CTL_FOLLOWER);
        if (r->err != ERR_CLOSED)
            ctl_look(c);
    }
}

static void take_office(struct controller *c, int32_t epoch, int32_t version)
{
    struct zkdoc_controller doc = {
        .broker_id = c->o.broker_id, .timestamp_ms = clock_wall_ms(), .kraft_controller_epoch = -1};
    struct ctl_call *call = ctl_call_new(c, NULL, -1, on_office);
    struct election *e = xcalloc(1, sizeof *e);
    struct buf node = {0}, number = {0};
    struct coord_op ops[2];

    zkdoc_controller_format(&doc, &node);
    zkdoc_number_format(epoch, &number);
    ops[0] = (struct coord_op){.kind = COORD_OP_CREATE,
                               .mode = COORD_EPHEMERAL,
                               .path = "/controller",
                               .data = {node.p, (int64_t)node.len},
                               .version = -1};
    ops[1] = (struct coord_op){.kind = COORD_OP_SET,
                               .path = "/controller_epoch",
                               .data = {number.p, (int64_t)number.len},
                               .version = version};
    e->epoch = epoch;
    call->extra = e;
    coord_multi(c->o.coord, ops, 2, loop_mailbox(c->loop), ctl_call_done, call);
    buf_fini(&node);
    buf_fini(&number);
}

static void read_epoch(struct controller *c);

static void on_epoch_made(struct ctl_call *call, const struct coord_result *r)
{
    if (r->err != ERR_OK && r->err != ERR_EXISTS && r->err != ERR_UNKNOWN_OUTCOME) {
        set_role(call->c, CTL_FOLLOWER);
        return;
    }
    read_epoch(call->c);
}

static void on_epoch(struct ctl_call *call, const struct coord_result *r)
{
    struct controller *c = call->c;
    struct errtext why = {""};
    int64_t epoch;

    if (r->err == ERR_NOT_FOUND) {
        const struct coord_op op = {.kind = COORD_OP_CREATE,
                                    .path = "/controller_epoch",
                                    .data = {(const uint8_t *)"0", 1},
                                    .version = -1};

        coord_multi(c->o.coord, &op, 1, loop_mailbox(c->loop), ctl_call_done,
                    ctl_call_new(c, NULL, -1, on_epoch_made));
        return;
    }
    if (r->err == ERR_OK && zkdoc_number_parse(r->data, 0, INT32_MAX - 1, &epoch, &why) == ERR_OK) {
        take_office(c, (int32_t)epoch + 1, r->stat.version);
        return;
    }
    set_role(c, CTL_FOLLOWER);
    if (r->err == ERR_OK)
        SLOG(ERROR, "controller",
             "/controller_epoch in ZooKeeper is not a number: no controller can be elected",
             KV_S("error", why.text));
}

static void read_epoch(struct controller *c)
{
    ctl_get(c, "/controller_epoch", false, ctl_call_new(c, NULL, -1, on_epoch));
}

/* ---- who is it? */
static void look_done(struct controller *c)
{
    c->is_looking = false;
    if (c->look_again) {
        c->look_again = false;
        ctl_look(c);
    }
}

static void found_controller(struct controller *c, const struct zkdoc_controller *doc,
                             const struct coord_result *r)
{
    bool is_mine =
        doc->broker_id == c->o.broker_id && r->stat.ephemeral_owner == coord_session_id(c->o.coord);

    if (atomic_exchange(&c->known_id, doc->broker_id) != doc->broker_id)
        SLOG(INFO, "controller", "the controller of the cluster is now",
             KV_I("broker", doc->broker_id));
    if (!is_mine && (c->role == CTL_LOADING || c->role == CTL_ACTIVE)) {
        ctl_resign(c, "another broker is controller");
    } else if (is_mine && c->role == CTL_FOLLOWER && !c->is_stopping) {
        /* ours, and we do not act: what is left of a failed beginning. Begin anew. */
        const struct coord_op op = {
            .kind = COORD_OP_DELETE, .path = "/controller", .version = r->stat.version};

        coord_multi(c->o.coord, &op, 1, loop_mailbox(c->loop), ctl_call_done,
                    ctl_call_new(c, NULL, -1, on_nothing));
    }
}

static void on_controller_read(struct ctl_call *call, const struct coord_result *r)
{
    struct controller *c = call->c;
    struct zkdoc_controller doc;
    struct errtext why = {""};

    c->is_looking = false;
    if (r->err == ERR_NOT_FOUND) { /* gone between the two looks */
        c->look_again = false;
        ctl_look(c);
        return;
    }
    if (r->err == ERR_OK && zkdoc_controller_parse(r->data, &doc, &why) == ERR_OK)
        found_controller(c, &doc, r);
    else
        SLOG(ERROR, "controller", "cannot read /controller in ZooKeeper",
             KV_S("error", r->err == ERR_OK ? why.text : err_text(r->err)));
    look_done(c);
}

static void on_controller_exists(struct ctl_call *call, const struct coord_result *r)
{
    struct controller *c = call->c;

    if (r->err == ERR_OK) {
        ctl_get(c, "/controller", false, ctl_call_new(c, NULL, -1, on_controller_read));
        return;
    }
    c->is_looking = false;
    if (r->err == ERR_NOT_FOUND) {
        atomic_store(&c->known_id, -1);
        if (c->role == CTL_LOADING || c->role == CTL_ACTIVE)
            ctl_resign(c, "/controller was removed");
        if (c->role == CTL_FOLLOWER && c->is_registered && !c->is_stopping) {
            set_role(c, CTL_ELECTING);
            read_epoch(c);
        }
    }
    look_done(c);
}

void ctl_look(struct controller *c)
{
    if (c->is_looking) {
        c->look_again = true;
        return;
    }
    c->is_looking = true;
    ctl_exists(c, "/controller", true, ctl_call_new(c, NULL, -1, on_controller_exists));
}

/* ---- watches */
static bool path_is_below(const char *path, const char *parent, const char **name_out)
{
    size_t n = strlen(parent);

    if (strncmp(path, parent, n) != 0 || path[n] != '/' || strchr(path + n + 1, '/') != NULL)
        return false;
    *name_out = path + n + 1;
    return true;
}

static void on_change(void *arg, enum coord_change kind, const char *path)
{
    struct controller *c;
    const char *name;

    CAST_OBJ(c, arg, CTL_MAGIC);
    if (strcmp(path, "/controller") == 0) {
        if (!c->is_stopping)
            ctl_look(c);
        return;
    }
    if (c->role != CTL_LOADING && c->role != CTL_ACTIVE)
        return;
    if (strcmp(path, "/brokers/ids") == 0 || path_is_below(path, "/brokers/ids", &name))
        ctl_list_brokers(c);
    else if (strcmp(path, "/brokers/topics") == 0)
        ctl_list_topics(c);
    else if (path_is_below(path, "/brokers/topics", &name) && kind != COORD_CHILDREN_CHANGED)
        ctl_read_topic(c, name);
    else if (strcmp(path, "/admin/delete_topics") == 0)
        ctl_list_deletes(c);
    else if (strcmp(path, "/log_dir_event_notification") == 0)
        ctl_list_log_dir_events(c);
    else if (strcmp(path, "/admin/preferred_replica_election") == 0 ||
             strcmp(path, "/admin/reassign_partitions") == 0)
        ctl_read_admin(c, path);
}

/* ---- mail from other threads */
struct note {
    struct mail mail;
    struct controller *c;
    int64_t value;
};

static void note_post(struct controller *c, void (*deliver)(struct mail *m), int64_t value)
{
    struct note *n = xcalloc(1, sizeof *n);

    n->mail.deliver = deliver;
    n->c = c;
    n->value = value;
    loop_post(c->loop, &n->mail);
}

static struct controller *note_open(struct mail *m, int64_t *value_out)
{
    struct note *n = CONTAINER_OF(m, struct note, mail);
    struct controller *c = n->c;

    *value_out = n->value;
    mem_free(n);
    CHECK_OBJ(c, CTL_MAGIC);
    return c;
}

static void on_registered(struct mail *m)
{
    int64_t epoch;
    struct controller *c = note_open(m, &epoch);

    if (c->is_stopping)
        return;
    c->is_registered = true;
    ctl_look(c);
}

static void on_expired(struct mail *m)
{
    int64_t unused;
    struct controller *c = note_open(m, &unused);

    c->is_registered = false;
    atomic_store(&c->known_id, -1);
    ctl_resign(c, "the ZooKeeper session expired");
    if (!c->is_stopping)
        ctl_look(c); /* arms the watch anew */
}

static void on_connection_lost(struct mail *m)
{
    int64_t broker_id;
    struct controller *c = note_open(m, &broker_id);

    /* evidence only; acting on it comes with fast failover (docs/decisions/0005) */
    if (c->role == CTL_ACTIVE)
        SLOG(DEBUG, "controller", "a broker's connection was lost", KV_I("broker", broker_id));
}

void controller_broker_registered(struct controller *c, int64_t broker_epoch)
{
    note_post(c, on_registered, broker_epoch);
}

void controller_session_expired(struct controller *c)
{
    note_post(c, on_expired, 0);
}

void controller_connection_lost(struct controller *c, int32_t broker_id)
{
    note_post(c, on_connection_lost, broker_id);
}

struct topic_note {
    struct mail mail;
    struct controller *c;
    char topic[];
};

static void on_topic_config_note(struct mail *m)
{
    struct topic_note *n = CONTAINER_OF(m, struct topic_note, mail);

    CHECK_OBJ(n->c, CTL_MAGIC);
    if (n->c->role == CTL_ACTIVE)
        ctl_read_topic_config(n->c, n->topic);
    mem_free(n);
}

void controller_topic_config_changed(struct controller *c, const char *topic)
{
    size_t len = strlen(topic) + 1;
    struct topic_note *n = xcalloc(1, sizeof *n + len);

    n->c = c;
    n->mail.deliver = on_topic_config_note;
    memcpy(n->topic, topic, len);
    loop_post(c->loop, &n->mail);
}

void controller_dump(const struct controller *c, int fd)
{
    static const char *const roles[] = {"follower", "electing", "loading", "active"};
    char model[512] = "no model";

    if (c->magic != CTL_MAGIC) {
        (void)dprintf(fd, "controller: its memory is not a controller's\n");
        return;
    }
    if (c->core != NULL)
        controller_core_summary(c->core, model, sizeof model);
    (void)dprintf(fd,
                  "controller: role=%s term=%" PRIu64 " epoch=%d known_id=%d registered_brokers=%d "
                  "calls=%" PRId64 " load_pending=%" PRId64 " is_in_step=%d\n"
                  "controller model: %s\n",
                  roles[c->role], c->term, c->epoch, atomic_load(&c->known_id), c->broker_count,
                  c->calls, c->load_pending, c->is_in_step, model);
}

int32_t controller_id(const struct controller *c)
{
    return atomic_load(&c->known_id);
}

void controller_elections(const struct controller *c, int64_t *all, int64_t *unclean)
{
    *all = atomic_load_explicit(&c->elections, memory_order_relaxed);
    *unclean = atomic_load_explicit(&c->unclean_elections, memory_order_relaxed);
}

bool controller_is_active(const struct controller *c)
{
    return atomic_load(&c->is_active_now);
}

/* ---- start and stop */
static void on_start(struct mail *m)
{
    int64_t unused;
    struct controller *c = note_open(m, &unused);
    static const char *const prefixes[] = {"/controller", "/brokers", "/admin",
                                           "/log_dir_event_notification"};

    for (size_t i = 0; i < ARRAY_LEN(prefixes); i++)
        coord_watch(c->o.coord, prefixes[i], loop_mailbox(c->loop), on_change, c);
    ctl_look(c);
}

enum err controller_start(const struct controller_options *o, struct controller **out)
{
    const struct core_options core = {.broker_id = o->broker_id,
                                      .is_delete_enabled = o->delete_topic_enable,
                                      .is_unclean_default = o->unclean_leader_election,
                                      .is_auto_balanced = o->auto_leader_rebalance,
                                      .imbalance_percentage = o->imbalance_percentage,
                                      .imbalance_interval_ms =
                                          o->imbalance_check_interval_s * 1000};
    struct controller *c = xcalloc(1, sizeof *c);
    enum err rc;

    *out = NULL;
    c->magic = CTL_MAGIC;
    c->o = *o;
    c->listener_name = xstrdup(o->listener_name);
    c->core = controller_core_new(&core);
    c->tick.fire = on_tick;
    atomic_init(&c->known_id, -1);
    rc = loop_start("controller", &c->loop);
    if (rc != ERR_OK) {
        controller_core_free(&c->core);
        mem_free(c->listener_name);
        mem_free(c);
        return rc;
    }
    note_post(c, on_start, 0);
    *out = c;
    return ERR_OK;
}

/* The stopping thread waits here for the loop. */
struct ctl_stop {
    struct controller *c;
    struct lock lock;
    pthread_cond_t cond;
    bool is_done;
    struct loop_timer poll;
    int64_t until_ms;
    bool is_drained;
};

static void stop_finish(struct controller *c)
{
    struct ctl_stop *s = c->stopping;

    s->is_drained = c->calls == 0;
    loop_timer_cancel(c->loop, &c->tick);
    lock_take(&s->lock);
    s->is_done = true;
    (void)pthread_cond_signal(&s->cond);
    lock_release(&s->lock);
}

static void on_stop_poll(struct loop_timer *t)
{
    struct ctl_stop *s = CONTAINER_OF(t, struct ctl_stop, poll);
    struct controller *c = s->c;

    if (c->calls == 0 || loop_now_ms(c->loop) >= s->until_ms)
        stop_finish(c);
    else
        loop_timer_arm(c->loop, t, 1);
}

static void on_stop(struct mail *m)
{
    int64_t unused;
    struct controller *c = note_open(m, &unused);
    struct ctl_stop *s = c->stopping;

    c->is_stopping = true;
    if (c->role == CTL_LOADING || c->role == CTL_ACTIVE)
        leave_office(c);
    ctl_resign(c, "the broker stops");
    coord_unwatch(c->o.coord, c);
    s->until_ms = loop_now_ms(c->loop) + STOP_WAIT_MS;
    s->poll.fire = on_stop_poll;
    on_stop_poll(&s->poll);
}

/* A stopped controller whose calls to ZooKeeper were unanswered; one a process. */
static struct controller *volatile left_behind;

void controller_stop(struct controller **cp)
{
    struct controller *c = *cp;
    struct ctl_stop s = {.c = c};

    *cp = NULL;
    if (c == NULL)
        return;
    lock_init(&s.lock, LOCK_LEAF);
    lock_cond_init(&s.cond);
    c->stopping = &s;
    note_post(c, on_stop, 0);
    lock_take(&s.lock);
    while (!s.is_done)
        (void)lock_wait(&s.lock, &s.cond, -1);
    lock_release(&s.lock);
    c->stopping = NULL;
    (void)pthread_cond_destroy(&s.cond);
    lock_fini(&s.lock);
    if (!s.is_drained) { /* ZooKeeper is away: answers to our calls still come to the loop */
        SLOG(WARN, "controller",
             "stopping the controller before all calls to ZooKeeper were answered",
             KV_I("calls", c->calls));
        left_behind = c; /* lives until the process ends: its loop still runs */
        return;
    }
    loop_stop(&c->loop);
    controller_core_free(&c->core);
    controller_effects_fini(&c->fx);
    mem_free(c->listener_name);
    c->magic = 0;
    mem_free(c);
}
