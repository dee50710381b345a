/* SPDX-License-Identifier: Apache-2.0 */
/* Config change notifications.
 *
 * A look lists /config/changes with a watch. Nodes with a higher number than the last one that was
 * taken are read, in order, and for each the config that it names; both reads keep their order, as
 * all reads of a session do. One look is under way at a time; a watch that fires meanwhile makes
 * another one follow. Once a minute at most, a look also reads the old nodes to see their age. */
#include "broker/config/config_changes.h"

#include "common/base/clock.h"
#include "common/base/slog.h"
#include "common/zk/zkadmin.h"

#include <stdio.h>
#include <stdlib.h>

#define CHANGES_PATH   "/config/changes"
#define CHANGES_PREFIX "config_change_"

enum { KEEP_MS = 15 * 60 * 1000, SWEEP_EVERY_MS = 60 * 1000, PATH_BYTES_MAX = 4096 };

struct config_changes {
    struct coord *coord;
    struct mailbox *to;
    config_changed on_change;
    void *arg;
    /* owner: the mailbox's thread */
    int refs; /* the user's and one for each read or delete under way */
    bool is_stopped;
    bool is_listing, look_again;
    int64_t last_seq; /* the highest number that was taken; -1: none */
    int64_t swept_ms; /* when old nodes were looked at; 0: never */
};

static void look(struct config_changes *cc);

static void unref(struct config_changes *cc)
{
    ASSERT(cc->refs > 0);
    if (--cc->refs == 0)
        mem_free(cc);
}

/* ---- the config itself */

struct entity { /* a read of one config */
    struct config_changes *cc;
    struct arena arena;
    struct zkdoc_config_change change;
};

static void tell(const struct entity *e, const struct coord_result *r)
{
    struct config_changes *cc = e->cc;
    struct arena a = {0};
    struct zkdoc_config config = {0};
    struct errtext why = {""};

    if (r->err != ERR_OK && r->err != ERR_NOT_FOUND)
        SLOG(WARN, "config",
             "cannot read a changed config in ZooKeeper, the former one stays in effect",
             KV_S("path", r->path), KV_ERR(r->err));
    else if (r->err == ERR_OK && zkdoc_config_parse(r->data, &a, &config, &why) != ERR_OK)
        SLOG(ERROR, "config",
             "a changed config in ZooKeeper is not valid, the former one stays in effect",
             KV_S("path", r->path), KV_S("reason", why.text));
    else
        cc->on_change(cc->arg, e->change.type, e->change.name, &config);
    arena_fini(&a);
}

static void entity_got(void *arg, const struct coord_result *r)
{
    struct entity *e = arg;

    if (!e->cc->is_stopped)
        tell(e, r);
    unref(e->cc);
    arena_fini(&e->arena);
    mem_free(e);
}

static void read_entity(struct config_changes *cc, struct bytes notification, const char *path)
{
    char entity_path[PATH_BYTES_MAX];
    struct entity *e = xcalloc(1, sizeof *e);
    struct errtext why = {""};

    if (zkdoc_config_change_parse(notification, &e->arena, &e->change, &why) != ERR_OK) {
        SLOG(WARN, "config",
             "a notification of a config change in ZooKeeper is not valid, nothing is changed",
             KV_S("path", path), KV_S("reason", why.text));
        arena_fini(&e->arena);
        mem_free(e);
        return;
    }
    e->cc = cc;
    cc->refs++;
    (void)snprintf(entity_path, sizeof entity_path, "/config/%s/%s", e->change.type,
                   e->change.name); /* too long a one is cut, and not found */
    coord_get(cc->coord, entity_path, false, cc->to, entity_got, e);
}

/* ---- one notification */

static int64_t seq_of(const char *name)
{
    size_t prefix = strlen(CHANGES_PREFIX);
    char *end;

    if (strncmp(name, CHANGES_PREFIX, prefix) != 0)
        return -1;
    long long seq = strtoll(name + prefix, &end, 10);
    return end == name + prefix || *end != 0 || seq < 0 ? -1 : seq;
}

struct notification { /* a read of one, or its deletion */
    struct config_changes *cc;
    bool is_new;
};

static void purged(void *arg, const struct coord_result *r)
{
    (void)r; /* another broker may have been first */
    unref(arg);
}

static void purge_if_old(struct config_changes *cc, const struct coord_result *r)
{
    struct coord_op op = {
        .kind = COORD_OP_DELETE, .path = r->path, .data = BYTES_NULL, .version = -1};

    if (clock_wall_ms() - r->stat.ctime_ms <= KEEP_MS)
        return;
    cc->refs++;
    coord_multi(cc->coord, &op, 1, cc->to, purged, cc);
}

static void notification_got(void *arg, const struct coord_result *r)
{
    struct notification *n = arg;
    struct config_changes *cc = n->cc;

    if (!cc->is_stopped && r->err == ERR_OK) {
        if (n->is_new)
            read_entity(cc, r->data, r->path);
        purge_if_old(cc, r);
    } else if (!cc->is_stopped && r->err != ERR_NOT_FOUND) {
        SLOG(WARN, "config", "cannot read a notification of a config change", KV_S("path", r->path),
             KV_ERR(r->err));
    }
    unref(cc);
    mem_free(n);
}

static void read_notification(struct config_changes *cc, const char *name, bool is_new)
{
    char path[PATH_BYTES_MAX];
    struct notification *n = xcalloc(1, sizeof *n);

    n->cc = cc;
    n->is_new = is_new;
    cc->refs++;
    (void)snprintf(path, sizeof path, CHANGES_PATH "/%s", name);
    coord_get(cc->coord, path, false, cc->to, notification_got, n);
}

/* ---- a look */

static int seq_order(const void *a, const void *b)
{
    int64_t x = seq_of(*(const char *const *)a), y = seq_of(*(const char *const *)b);

    return (x > y) - (x < y);
}

static void take(struct config_changes *cc, const struct coord_result *r)
{
    size_t count = (size_t)r->child_count;
    const char **names = xcalloc(count + 1, sizeof *names);
    int64_t now = clock_mono_ms();
    bool sweep = cc->swept_ms == 0 || now - cc->swept_ms >= SWEEP_EVERY_MS;

    if (sweep)
        cc->swept_ms = now;
    for (size_t i = 0; i < count; i++)
        names[i] = r->children[i];
    if (count > 0)
        qsort(names, count, sizeof *names, seq_order);
    for (size_t i = 0; i < count; i++) {
        int64_t seq = seq_of(names[i]);
        bool is_new = seq > cc->last_seq;
        if (seq >= 0 && (is_new || sweep))
            read_notification(cc, names[i], is_new);
        cc->last_seq = i64_max(cc->last_seq, seq);
    }
    mem_free(names);
}

static void listed(void *arg, const struct coord_result *r)
{
    struct config_changes *cc = arg;

    cc->is_listing = false;
    if (!cc->is_stopped) {
        if (r->err == ERR_OK)
            take(cc, r);
        else if (r->err != ERR_CLOSED)
            SLOG(WARN, "config", "cannot list the notifications of config changes", KV_ERR(r->err));
        if (cc->look_again)
            look(cc);
    }
    unref(cc);
}

static void look(struct config_changes *cc)
{
    cc->look_again = cc->is_listing;
    if (cc->is_listing)
        return;
    cc->is_listing = true;
    cc->refs++;
    coord_children(cc->coord, CHANGES_PATH, true, cc->to, listed, cc);
}

static void on_watch(void *arg, enum coord_change kind, const char *path)
{
    (void)path;
    if (kind != COORD_NODE_DELETED) /* not our doing; a listing would find nothing to watch */
        look(arg);
}

void config_changes_start(struct coord *c, struct mailbox *to, config_changed on_change, void *arg,
                          struct config_changes **out)
{
    struct config_changes *cc = xcalloc(1, sizeof *cc);

    cc->coord = c;
    cc->to = to;
    cc->on_change = on_change;
    cc->arg = arg;
    cc->refs = 1;
    cc->last_seq = -1;
    *out = cc;
    /* the first look before the watch, whose owner may be another thread: from then on it is its */
    cc->is_listing = true;
    cc->refs++;
    coord_watch(c, CHANGES_PATH, to, on_watch, cc);
    coord_children(c, CHANGES_PATH, true, to, listed, cc);
}

void config_changes_session_renewed(struct config_changes *cc)
{
    look(cc);
}

void config_changes_stop(struct config_changes **ccp)
{
    struct config_changes *cc = *ccp;

    *ccp = NULL;
    if (cc == NULL)
        return;
    cc->is_stopped = true;
    coord_unwatch(cc->coord, cc);
    unref(cc);
}

/* ---- everything at start */

enum err config_changes_load(struct coord *c, const char *type, config_changed on_config, void *arg,
                             struct errtext *why)
{
    struct arena a = {0};
    const char **names;
    int32_t count;

    int16_t code = zkadmin_list_entities(c, type, &a, &names, &count, why);
    struct zkadmin_entity *entities = xcalloc((size_t)count + 1, sizeof *entities);
    for (int32_t i = 0; i < count; i++)
        entities[i].name = names[i];
    if (code == KE_NONE)
        code = zkadmin_read_entity_configs(c, type, entities, count, &a, why);
    for (int32_t i = 0; code == KE_NONE && i < count; i++) {
        if (entities[i].error != KE_NONE)
            SLOG(ERROR, "config", "a config in ZooKeeper is not valid and has no effect",
                 KV_S("type", type), KV_S("name", entities[i].name));
        else if (entities[i].config.count > 0)
            on_config(arg, type, entities[i].name, &entities[i].config);
    }
    mem_free(entities);
    arena_fini(&a);
    return code == KE_NONE ? ERR_OK : ERR_UNREACHABLE;
}
