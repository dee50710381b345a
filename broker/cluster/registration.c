/* SPDX-License-Identifier: Apache-2.0 */
/* The session thread: session events, and the registration after an expiry. What a start does once
 * (registration_start, cluster id, broker id) runs on main's thread; making the node and its
 * conflicts are in registration_node.c, the session file in session_file.c. */
#include "broker/cluster/registration.h"

#include "broker/cluster/registration_internal.h"
#include "common/base/clock.h"
#include "common/base/slog.h"

#include <poll.h>

enum { AGAIN_MS = 1000 };

static const char *const top_level_paths[] = {
    "/consumers",
    "/brokers/ids",
    "/brokers/topics",
    "/config/changes",
    "/admin/delete_topics",
    "/brokers/seqid",
    "/isr_change_notification",
    "/latest_producer_id_block",
    "/log_dir_event_notification",
    "/config/topics",
    "/config/clients",
    "/config/users",
    "/config/brokers",
    "/config/ips",
};

static void tell(struct registration *r, enum registration_event event, int64_t broker_epoch)
{
    if (r->on_event != NULL)
        r->on_event(r->arg, event, broker_epoch);
}

/* ---- the session thread */

static void on_state(void *arg, enum coord_state s, bool session_is_new)
{
    struct registration *r = arg;

    switch (s) {
    case COORD_DISCONNECTED:
        tell(r, REGISTRATION_DISCONNECTED, -1);
        break;
    case COORD_EXPIRED:
        r->must_register = false; /* until there is a session */
        tell(r, REGISTRATION_EXPIRED, -1);
        break;
    case COORD_CONNECTED:
        if (!session_is_new) {
            tell(r, REGISTRATION_CONNECTED, -1);
        } else if (atomic_load(&r->was_registered)) {
            r->must_register = true;
            r->register_at_ms = 0;
        }
        break;
    case COORD_CLOSED:
        break;
    }
}

static void register_again(struct registration *r)
{
    struct errtext why = {""};

    enum err rc = registration_make_node(r, false, &why);
    if (rc == ERR_OK) {
        r->must_register = false;
        tell(r, REGISTRATION_REGISTERED, atomic_load(&r->broker->epoch));
        return;
    }
    SLOG_EVERY(5000, ERROR, "registration", "cannot register again, trying on",
               KV_I("broker", r->broker->id), KV_ERR(rc), KV_S("reason", why.text));
    r->register_at_ms = clock_mono_ms() + AGAIN_MS;
}

static void *session_main(void *arg)
{
    struct registration *r = arg;
    struct pollfd p = {.fd = r->mailbox.fd, .events = POLLIN};

    (void)pthread_setname_np(pthread_self(), "session");
    for (;;) {
        (void)mailbox_deliver(&r->mailbox);
        /* after the mail: is_ending is set before the mail that tells of it is posted */
        if (atomic_load(&r->is_ending))
            break;
        int64_t wait_ms = -1;
        if (r->must_register) {
            wait_ms = i64_max(0, r->register_at_ms - clock_mono_ms());
            if (wait_ms == 0) {
                register_again(r);
                continue;
            }
        }
        (void)poll(&p, 1, (int)wait_ms);
    }
    return NULL;
}

struct wake {
    struct mail mail;
    struct registration *r;
};

/* Ends a sleep of the thread; and if the session was renewed while main registered, nobody has told
 * us to register again. */
static void wake_deliver(struct mail *m)
{
    struct wake *w = CONTAINER_OF(m, struct wake, mail);
    struct registration *r = w->r;

    if (atomic_load(&r->was_registered) && coord_state_now(r->coord) == COORD_CONNECTED &&
        coord_session_id(r->coord) != r->own_session)
        r->must_register = true;
    mem_free(w);
}

static void wake(struct registration *r)
{
    struct wake *w = xcalloc(1, sizeof *w);

    w->mail.deliver = wake_deliver;
    w->r = r;
    mailbox_post(&r->mailbox, &w->mail);
}

/* ---- start and stop */

static enum err make_top_level(struct coord *c, struct errtext *why)
{
    for (size_t i = 0; i < ARRAY_LEN(top_level_paths); i++) {
        enum err rc = coord_exists_wait(c, top_level_paths[i], NULL);
        if (rc == ERR_NOT_FOUND)
            rc = coord_create_recursive_wait(c, top_level_paths[i], BYTES_NULL);
        if (rc == ERR_UNKNOWN_OUTCOME) { /* look again */
            i--;
            continue;
        }
        if (rc != ERR_OK && rc != ERR_EXISTS) {
            errtext_set(why, "cannot create %s in ZooKeeper: %s", top_level_paths[i], err_text(rc));
            return rc;
        }
    }
    return ERR_OK;
}

static enum err open_coord(struct registration *r, struct errtext *why)
{
    struct coord_options o = {.connect = r->connect,
                              .session_timeout_ms = r->session_timeout_ms,
                              .connection_timeout_ms = r->connection_timeout_ms,
                              .mailbox = &r->mailbox,
                              .on_state = on_state,
                              .arg = r,
                              .stop = &r->broker->is_stopping};

    return coord_open(&o, &r->coord, why);
}

enum err registration_start(struct broker *b, const struct registration_options *o,
                            struct registration **out, struct errtext *why)
{
    struct registration *r = xcalloc(1, sizeof *r);

    *out = NULL;
    r->broker = b;
    r->connect = xstrdup(o->connect);
    r->session_dir = xstrdup(o->session_dir);
    r->session_timeout_ms = o->session_timeout_ms;
    r->connection_timeout_ms = o->connection_timeout_ms;
    r->on_event = o->on_event;
    r->arg = o->arg;
    atomic_store(&b->epoch, -1);
    enum err rc = mailbox_init(&r->mailbox);
    if (rc != ERR_OK) {
        errtext_set(why, "cannot make a mailbox: %s", err_text(rc));
        goto out;
    }
    r->has_mailbox = true;
    rc = session_file_read(r->session_dir, &r->old_session);
    if (rc != ERR_OK)
        SLOG(WARN, "registration", "cannot use the session file", KV_S("dir", r->session_dir),
             KV_ERR(rc));
    rc = open_coord(r, why);
    if (rc == ERR_OK)
        rc = make_top_level(r->coord, why);
    if (rc != ERR_OK)
        goto out;
    b->coord = r->coord;
    MUST(pthread_create(&r->thread, NULL, session_main, r) == 0);
    r->has_thread = true;
    *out = r;
    r = NULL;
out:
    registration_stop(&r);
    return rc;
}

struct mailbox *registration_mailbox(struct registration *r)
{
    return &r->mailbox;
}

void registration_stop(struct registration **rp)
{
    struct registration *r = *rp;

    *rp = NULL;
    if (r == NULL)
        return;
    if (r->has_thread) {
        atomic_store(&r->is_ending, true);
        wake(r);
        MUST(pthread_join(r->thread, NULL) == 0);
        (void)mailbox_deliver(&r->mailbox); /* what came last, while there is a coord */
    }
    bool had_session = r->coord != NULL && coord_state_now(r->coord) == COORD_CONNECTED;
    r->broker->coord = NULL;
    coord_close(&r->coord);
    if (had_session && atomic_load(&r->was_registered))
        session_file_remove(r->session_dir); /* there is nothing to take back */
    if (r->has_mailbox) {
        (void)mailbox_deliver(&r->mailbox);
        mailbox_fini(&r->mailbox);
    }
    mem_free(r->rack);
    mem_free(r->connect);
    mem_free(r->session_dir);
    mem_free(r);
}

/* ---- identity */

enum err registration_cluster_id(struct registration *r, struct errtext *why)
{
    struct broker *b = r->broker;
    struct arena a = {0};
    struct buf data = {0};
    const char *id;
    enum err rc;

    do { /* ends: the node is there or is created; a lost answer is looked at again */
        rc = coord_get_wait(r->coord, "/cluster/id", &data, NULL);
        if (rc == ERR_NOT_FOUND) {
            char text[UUID_TEXT_LEN + 1];
            uuid_format(uuid_random(), text);
            data.len = 0;
            zkdoc_cluster_id_format(text, &data);
            rc = coord_create_recursive_wait(r->coord, "/cluster/id",
                                             (struct bytes){data.p, (int64_t)data.len});
        }
    } while (rc == ERR_EXISTS || rc == ERR_UNKNOWN_OUTCOME);
    if (rc == ERR_OK)
        rc = zkdoc_cluster_id_parse((struct bytes){data.p, (int64_t)data.len}, &a, &id, why);
    else
        errtext_set(why, "%s", err_text(rc));
    if (rc == ERR_OK && strlen(id) >= sizeof b->cluster_id) {
        errtext_set(why, "it is longer than %zu characters", sizeof b->cluster_id - 1);
        rc = ERR_CORRUPT;
    }
    if (rc == ERR_OK)
        memcpy(b->cluster_id, id, strlen(id) + 1);
    else
        errtext_wrap(why, "the cluster id in ZooKeeper (/cluster/id)");
    arena_fini(&a);
    buf_fini(&data);
    return rc;
}

enum err registration_generate_id(struct registration *r, int32_t reserved_broker_max_id,
                                  int32_t *id_out, struct errtext *why)
{
    static const uint8_t nothing[1];
    struct coord_stat stat;
    enum err rc;

    do /* a lost answer skips a number */
        rc = coord_set_wait(r->coord, "/brokers/seqid", (struct bytes){nothing, 0}, -1, &stat);
    while (rc == ERR_UNKNOWN_OUTCOME);
    if (rc == ERR_OK && __builtin_add_overflow(stat.version, reserved_broker_max_id, id_out))
        rc = ERR_LIMIT;
    if (rc != ERR_OK)
        errtext_set(why, "cannot generate a broker id from /brokers/seqid: %s", err_text(rc));
    return rc;
}

enum err registration_register(struct registration *r, const char *rack, struct errtext *why)
{
    mem_free(r->rack);
    r->rack = rack == NULL ? NULL : xstrdup(rack);
    enum err rc = registration_make_node(r, true, why);
    if (rc == ERR_OK) {
        atomic_store(&r->was_registered, true);
        wake(r);
    }
    return rc;
}
