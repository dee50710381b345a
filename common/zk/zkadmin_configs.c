/* SPDX-License-Identifier: Apache-2.0 */
/* Administration of entity configs. */
#include "common/zk/zkadmin_internal.h"

#include <stdio.h>
#include <stdlib.h>

static bool type_is_known(const char *type)
{
    static const char *const types[] = {"topics", "brokers", "clients", "users", "ips"};

    for (size_t i = 0; i < ARRAY_LEN(types); i++)
        if (strcmp(type, types[i]) == 0)
            return true;
    return false;
}

static int16_t config_path(struct buf *path, const char *type, const char *name,
                           struct errtext *why)
{
    if (!type_is_known(type) || name[0] == 0 || name[0] == '/') {
        errtext_set(why, "there is no config entity %s/%s", type, name);
        return KE_INVALID_REQUEST;
    }
    (void)zkadmin_path(path, "/config/%s/%s", type, name);
    return KE_NONE;
}

/* ---- reads */

static int16_t parse_config(const char *type, const char *name, struct bytes data, struct arena *a,
                            struct zkdoc_config *out, struct errtext *why)
{
    enum err rc = zkdoc_config_parse(data, a, out, why);

    if (rc == ERR_OK)
        return KE_NONE;
    errtext_wrap(why, "the config of %s/%.249s in ZooKeeper is broken", type, name);
    return KE_UNKNOWN_SERVER_ERROR;
}

int16_t zkadmin_read_entity_config(struct coord *c, const char *type, const char *name,
                                   struct arena *a, struct zkdoc_config *out, struct errtext *why)
{
    struct buf path = {0}, data = {0};

    *out = (struct zkdoc_config){0};
    int16_t code = config_path(&path, type, name, why);
    if (code == KE_NONE) {
        enum err rc = coord_get_wait(c, buf_cstr(&path), &data, NULL);
        if (rc == ERR_OK)
            code = parse_config(type, name, (struct bytes){data.p, (int64_t)data.len}, a, out, why);
        else if (rc != ERR_NOT_FOUND)
            code = zkadmin_error(rc, "reading", buf_cstr(&path), why);
    }
    buf_fini(&path);
    buf_fini(&data);
    return code;
}

int16_t zkadmin_list_entities(struct coord *c, const char *type, struct arena *a,
                              const char ***names_out, int32_t *count_out, struct errtext *why)
{
    struct buf path = {0};

    *names_out = NULL;
    *count_out = 0;
    int16_t code = config_path(&path, type, "x", why);
    if (code == KE_NONE)
        code = zkadmin_children(c, zkadmin_path(&path, "/config/%s", type), a, names_out, count_out,
                                why);
    buf_fini(&path);
    return code;
}

struct entity_reads {
    const char *type;
    struct zkadmin_entity *entities;
    struct arena *arena;
};

static const char *entity_path(void *arg, int32_t i, struct buf *b)
{
    const struct entity_reads *r = arg;

    return zkadmin_path(b, "/config/%s/%s", r->type, r->entities[i].name);
}

static void entity_got(void *arg, int32_t i, const struct coord_result *r)
{
    const struct entity_reads *reads = arg;
    struct zkadmin_entity *e = &reads->entities[i];

    e->config = (struct zkdoc_config){0};
    if (r->err == ERR_OK)
        e->error = parse_config(reads->type, e->name, r->data, reads->arena, &e->config, NULL);
    else
        e->error = r->err == ERR_NOT_FOUND ? KE_NONE : KE_UNKNOWN_SERVER_ERROR;
}

int16_t zkadmin_read_entity_configs(struct coord *c, const char *type,
                                    struct zkadmin_entity *entities, int32_t count, struct arena *a,
                                    struct errtext *why)
{
    struct entity_reads r = {type, entities, a};
    struct buf path = {0};
    int16_t code = config_path(&path, type, "x", why);

    buf_fini(&path);
    return code == KE_NONE ? zkadmin_read_many(c, count, entity_path, entity_got, &r, why) : code;
}

/* ---- writes */

/* The version of /controller, for the check against a switch to a KRaft controller. */
static int16_t controller_version(struct coord *c, int32_t *version_out, struct errtext *why)
{
    struct zkdoc_controller doc;
    struct coord_stat stat;
    struct buf data = {0};
    int16_t code = KE_NONE;

    enum err rc = coord_get_wait(c, "/controller", &data, &stat);
    if (rc == ERR_OK)
        rc = zkdoc_controller_parse((struct bytes){data.p, (int64_t)data.len}, &doc, why);
    buf_fini(&data);
    if (rc == ERR_NOT_FOUND) {
        errtext_set(why, "there is no controller at the moment; try again");
        code = KE_NOT_CONTROLLER;
    } else if (rc != ERR_OK) {
        code = zkadmin_error(rc, "reading", "/controller", why);
    } else if (doc.kraft_controller_epoch > 0) {
        errtext_set(why, "a KRaft controller has taken over this cluster");
        code = KE_NOT_CONTROLLER;
    }
    *version_out = stat.version;
    return code;
}

/* One try to set or create the node. ERR_BUSY: try again. */
static enum err write_config(struct coord *c, const char *path, const struct buf *doc,
                             const int32_t *check_version, bool *create, struct errtext *why)
{
    struct coord_op ops[2];
    enum err errs[2] = {ERR_OK, ERR_OK};
    int32_t n = 0;

    if (check_version != NULL)
        ops[n++] = (struct coord_op){
            .kind = COORD_OP_CHECK, .path = "/controller", .version = *check_version};
    ops[n++] = (struct coord_op){.kind = *create ? COORD_OP_CREATE : COORD_OP_SET,
                                 .path = path,
                                 .data = {doc->p, (int64_t)doc->len},
                                 .version = -1};
    enum err rc = coord_multi_wait(c, ops, n, errs, NULL);
    if (n == 2 && rc != ERR_OK && errs[0] != ERR_OK)
        return rc == ERR_BAD_VERSION || rc == ERR_NOT_FOUND || rc == ERR_UNKNOWN_OUTCOME ? ERR_BUSY
                                                                                         : rc;
    if (rc == ERR_UNKNOWN_OUTCOME) /* the same again does no harm */
        return ERR_BUSY;
    if (rc == ERR_EXISTS) {
        *create = false;
        return ERR_BUSY;
    }
    if (rc == ERR_NOT_FOUND && *create) { /* a parent */
        struct buf parent = {0};
        buf_add(&parent, path, (size_t)(strrchr(path, '/') - path));
        int16_t code = zkadmin_ensure(c, buf_cstr(&parent), why);
        buf_fini(&parent);
        return code == KE_NONE ? ERR_BUSY : ERR_UNREACHABLE;
    }
    if (rc == ERR_NOT_FOUND) {
        *create = true;
        return ERR_BUSY;
    }
    return rc;
}

static int16_t set_node(struct coord *c, const char *path, const struct zkdoc_config *config,
                        bool with_check, struct errtext *why)
{
    struct buf doc = {0};
    enum err rc = ERR_BUSY;
    int16_t code = KE_NONE;
    int32_t version = 0;
    bool create = false;

    zkdoc_config_format(config, &doc);
    for (int i = 0; i < 2 * ZKADMIN_ATTEMPTS_MAX && rc == ERR_BUSY && code == KE_NONE; i++) {
        if (with_check)
            code = controller_version(c, &version, why);
        if (code == KE_NONE)
            rc = write_config(c, path, &doc, with_check ? &version : NULL, &create, why);
    }
    buf_fini(&doc);
    return code != KE_NONE ? code : zkadmin_error(rc, "writing", path, why);
}

/* An empty quota entity is removed, unless something is below it; then its empty parents. Returns
 * false when the node must be written instead. */
static bool remove_empty(struct coord *c, const char *type, const char *path, int16_t *code,
                         struct errtext *why)
{
    struct buf at = {0};
    struct buf top = {0};

    if (strcmp(type, "clients") != 0 && strcmp(type, "users") != 0 && strcmp(type, "ips") != 0)
        return false;
    enum err rc = coord_delete_wait(c, path, -1);
    if (rc == ERR_BUSY)
        return false;
    *code = rc == ERR_NOT_FOUND || rc == ERR_UNKNOWN_OUTCOME
                ? KE_NONE
                : zkadmin_error(rc, "deleting", path, why);
    (void)zkadmin_path(&top, "/config/%s", type);
    buf_add(&at, path, strlen(path));
    while (*code == KE_NONE) { /* /config/users/U/clients, then /config/users/U if it is empty */
        char *slash = strrchr(buf_cstr(&at), '/');
        at.len = (size_t)(slash - (char *)at.p);
        struct zkdoc_config config;
        struct arena a = {0};
        struct buf data = {0};
        bool is_empty =
            at.len > top.len && coord_get_wait(c, buf_cstr(&at), &data, NULL) == ERR_OK &&
            zkdoc_config_parse((struct bytes){data.p, (int64_t)data.len}, &a, &config, NULL) ==
                ERR_OK &&
            config.count == 0 && coord_delete_wait(c, buf_cstr(&at), -1) == ERR_OK;
        buf_fini(&data);
        arena_fini(&a);
        if (!is_empty)
            break;
    }
    buf_fini(&at);
    buf_fini(&top);
    return true;
}

static int16_t notify(struct coord *c, const char *type, const char *name, struct errtext *why)
{
    struct zkdoc_config_change change = {type, name};
    struct buf doc = {0};
    enum err rc = ERR_UNKNOWN_OUTCOME;
    int16_t code = KE_NONE;

    zkdoc_config_change_format(&change, &doc);
    for (int i = 0; i < ZKADMIN_ATTEMPTS_MAX && code == KE_NONE &&
                    (rc == ERR_UNKNOWN_OUTCOME || rc == ERR_NOT_FOUND);
         i++) {
        if (rc == ERR_NOT_FOUND)
            code = zkadmin_ensure(c, "/config/changes", why);
        if (code == KE_NONE) /* told twice does no harm */
            rc = coord_create_wait(c, "/config/changes/config_change_",
                                   (struct bytes){doc.p, (int64_t)doc.len}, COORD_SEQUENTIAL, NULL);
    }
    buf_fini(&doc);
    return code != KE_NONE ? code : zkadmin_error(rc, "creating", "/config/changes/…", why);
}

int16_t zkadmin_set_entity_config(struct coord *c, const char *type, const char *name,
                                  const struct zkdoc_config *config, bool with_controller_check,
                                  struct errtext *why)
{
    struct buf path = {0};
    int16_t code = config_path(&path, type, name, why);

    if (code == KE_NONE &&
        (config->count > 0 || !remove_empty(c, type, buf_cstr(&path), &code, why)))
        code = set_node(c, buf_cstr(&path), config, with_controller_check, why);
    if (code == KE_NONE)
        code = notify(c, type, name, why);
    buf_fini(&path);
    return code;
}

void zkadmin_sanitize(const char *name, struct buf *out)
{
    for (const unsigned char *p = (const unsigned char *)name; *p != 0; p++) {
        bool is_plain = (*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') ||
                        (*p >= '0' && *p <= '9') || *p == '.' || *p == '-' || *p == '_';
        if (is_plain)
            buf_add(out, p, 1);
        else
            buf_printf(out, "%%%02X", *p);
    }
}
