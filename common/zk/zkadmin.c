/* SPDX-License-Identifier: Apache-2.0 */
/* Administration: what the other zkadmin files share, brokers and the cluster, requests of old
 * tools. */
#include "common/zk/zkadmin.h"

#include "common/base/slog.h"
#include "common/zk/zkadmin_internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

int16_t zkadmin_error(enum err e, const char *doing, const char *path, struct errtext *why)
{
    switch (e) {
    case ERR_OK:
        return KE_NONE;
    case ERR_UNREACHABLE:
    case ERR_CLOSED:
        errtext_set(why, "%s %s: no connection to ZooKeeper", doing, path);
        return KE_REQUEST_TIMED_OUT;
    case ERR_UNKNOWN_OUTCOME:
        errtext_set(why,
                    "%s %s: the connection to ZooKeeper was lost before the answer came; look "
                    "whether it took effect",
                    doing, path);
        return KE_REQUEST_TIMED_OUT;
    case ERR_DENIED:
        errtext_set(why, "%s %s: the node's ACL in ZooKeeper does not allow it", doing, path);
        return KE_CLUSTER_AUTHORIZATION_FAILED;
    case ERR_BUSY:
    case ERR_LIMIT:
    case ERR_BAD_VERSION:
        errtext_set(why, "%s %s: %s; try again", doing, path, err_text(e));
        return KE_REQUEST_TIMED_OUT;
    case ERR_TOO_LARGE:
        errtext_set(why, "%s %s: larger than ZooKeeper's limit", doing, path);
        return KE_INVALID_REQUEST;
    default:
        errtext_set(why, "%s %s: %s", doing, path, err_text(e));
        return KE_UNKNOWN_SERVER_ERROR;
    }
}

const char *zkadmin_path(struct buf *b, const char *fmt, ...)
{
    char part[COORD_PATH_BYTES_MAX + 1];
    va_list ap;

    va_start(ap, fmt);
    int n = vsnprintf(part, sizeof part, fmt, ap);
    va_end(ap);
    ASSERT(n >= 0);
    b->len = 0;
    buf_add(b, part, strlen(part)); /* a longer one was cut: then the node is not found */
    return buf_cstr(b);
}

static int name_order(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

int16_t zkadmin_children(struct coord *c, const char *path, struct arena *a,
                         const char ***names_out, int32_t *count_out, struct errtext *why)
{
    char **names;
    int32_t count;
    int16_t code = KE_NONE;

    *names_out = NULL;
    *count_out = 0;
    enum err rc = coord_children_wait(c, path, &names, &count);
    if (rc == ERR_NOT_FOUND)
        return KE_NONE;
    if (rc != ERR_OK)
        return zkadmin_error(rc, "listing", path, why);
    const char **copy = arena_alloc(a, ((size_t)count + 1) * sizeof *copy);
    for (int32_t i = 0; copy != NULL && i < count; i++) {
        copy[i] = arena_strdup(a, names[i], strlen(names[i]));
        if (copy[i] == NULL)
            copy = NULL;
    }
    coord_names_free(names, count);
    if (copy == NULL)
        return zkadmin_error(ERR_NO_MEMORY, "listing", path, why);
    if (count > 0)
        qsort(copy, (size_t)count, sizeof *copy, name_order);
    *names_out = copy;
    *count_out = count;
    return code;
}

int16_t zkadmin_ensure(struct coord *c, const char *path, struct errtext *why)
{
    enum err rc = ERR_UNKNOWN_OUTCOME;

    for (int i = 0; i < ZKADMIN_ATTEMPTS_MAX && rc == ERR_UNKNOWN_OUTCOME; i++)
        rc = coord_create_recursive_wait(c, path, BYTES_NULL);
    return rc == ERR_EXISTS ? KE_NONE : zkadmin_error(rc, "creating", path, why);
}

/* ---- many reads */

struct many {
    void (*got)(void *arg, int32_t i, const struct coord_result *r);
    void *arg;
    int32_t pending;
    enum err lost; /* the first failure of the connection */
    struct one *ones;
};

struct one {
    struct many *many;
    int32_t index;
};

static void one_done(void *arg, const struct coord_result *r)
{
    struct one *o = arg;
    struct many *m = o->many;

    m->pending--;
    if (r->err != ERR_OK && r->err != ERR_NOT_FOUND && m->lost == ERR_OK)
        m->lost = r->err;
    m->got(m->arg, o->index, r);
}

int16_t zkadmin_read_many(struct coord *c, int32_t count,
                          const char *(*path_of)(void *arg, int32_t i, struct buf *b),
                          void (*got)(void *arg, int32_t i, const struct coord_result *r),
                          void *arg, struct errtext *why)
{
    struct many m = {.got = got, .arg = arg};
    struct mailbox box;
    struct buf path = {0};

    enum err rc = mailbox_init(&box);
    if (rc != ERR_OK) {
        errtext_set(why, "cannot make a mailbox: %s", err_text(rc));
        return KE_UNKNOWN_SERVER_ERROR;
    }
    m.ones = xcalloc((size_t)count + 1, sizeof *m.ones);
    for (int32_t i = 0; i < count; i++) {
        m.ones[i] = (struct one){&m, i};
        m.pending++;
        coord_get(c, path_of(arg, i, &path), false, &box, one_done, &m.ones[i]);
    }
    coord_wait_all(c, &box, &m.pending);
    mailbox_fini(&box);
    buf_fini(&path);
    mem_free(m.ones);
    return zkadmin_error(m.lost, "reading", "many nodes", why);
}

/* ---- brokers and the cluster */

struct broker_reads {
    const char **names;
    struct zkadmin_broker *brokers;
    struct arena *arena;
    int32_t count;
};

static const char *broker_path(void *arg, int32_t i, struct buf *b)
{
    const struct broker_reads *r = arg;

    return zkadmin_path(b, "/brokers/ids/%s", r->names[i]);
}

static void broker_got(void *arg, int32_t i, const struct coord_result *r)
{
    struct broker_reads *b = arg;
    struct zkadmin_broker *to = &b->brokers[b->count];
    struct errtext why = {""};
    char *end;

    if (r->err != ERR_OK) /* it went away */
        return;
    long id = strtol(b->names[i], &end, 10);
    if (*end != 0 || id < 0 || id > INT32_MAX ||
        zkdoc_broker_parse(r->data, b->arena, &to->doc, &why) != ERR_OK) {
        SLOG(WARN, "zk",
             "a broker's registration in ZooKeeper is not valid, the broker is left out",
             KV_S("path", r->path), KV_S("error", why.text));
        return;
    }
    to->id = (int32_t)id;
    to->epoch = r->stat.czxid;
    b->count++;
}

static int broker_order(const void *a, const void *b)
{
    int32_t x = ((const struct zkadmin_broker *)a)->id, y = ((const struct zkadmin_broker *)b)->id;

    return (x > y) - (x < y);
}

int16_t zkadmin_brokers(struct coord *c, struct arena *a, struct zkadmin_broker **brokers_out,
                        int32_t *count_out, struct errtext *why)
{
    struct broker_reads r = {.arena = a};
    int32_t count;

    *brokers_out = NULL;
    *count_out = 0;
    int16_t code = zkadmin_children(c, "/brokers/ids", a, &r.names, &count, why);
    if (code != KE_NONE)
        return code;
    r.brokers = arena_alloc(a, ((size_t)count + 1) * sizeof *r.brokers);
    if (r.brokers == NULL)
        return zkadmin_error(ERR_NO_MEMORY, "reading", "/brokers/ids", why);
    code = zkadmin_read_many(c, count, broker_path, broker_got, &r, why);
    if (code != KE_NONE)
        return code;
    if (r.count > 0)
        qsort(r.brokers, (size_t)r.count, sizeof *r.brokers, broker_order);
    *brokers_out = r.brokers;
    *count_out = r.count;
    return KE_NONE;
}

int16_t zkadmin_controller(struct coord *c, int32_t *broker_id_out, struct errtext *why)
{
    struct zkdoc_controller doc;
    struct buf data = {0};

    *broker_id_out = -1;
    enum err rc = coord_get_wait(c, "/controller", &data, NULL);
    int16_t code = KE_NONE;
    if (rc == ERR_OK)
        rc = zkdoc_controller_parse((struct bytes){data.p, (int64_t)data.len}, &doc, why);
    if (rc == ERR_OK)
        *broker_id_out = doc.broker_id;
    else if (rc != ERR_NOT_FOUND)
        code = zkadmin_error(rc, "reading", "/controller", why);
    buf_fini(&data);
    return code;
}

int16_t zkadmin_cluster_id(struct coord *c, struct arena *a, const char **id_out,
                           struct errtext *why)
{
    struct buf data = {0};

    *id_out = NULL;
    enum err rc = coord_get_wait(c, "/cluster/id", &data, NULL);
    if (rc == ERR_OK)
        rc = zkdoc_cluster_id_parse((struct bytes){data.p, (int64_t)data.len}, a, id_out, why);
    buf_fini(&data);
    return zkadmin_error(rc, "reading", "/cluster/id", why);
}

/* ---- requests of the old tools to the controller */

/* True when the node holds exactly this: a lost create was ours. */
static bool holds(struct coord *c, const char *path, const struct buf *expected)
{
    struct buf data = {0};
    bool same = coord_get_wait(c, path, &data, NULL) == ERR_OK && data.len == expected->len &&
                memcmp(data.p, expected->p, data.len) == 0;

    buf_fini(&data);
    return same;
}

static int16_t create_request(struct coord *c, const char *path, const struct buf *doc,
                              int16_t code_if_exists, struct errtext *why)
{
    struct bytes data = {doc->p, (int64_t)doc->len};

    enum err rc = coord_create_recursive_wait(c, path, data);
    if (rc == ERR_UNKNOWN_OUTCOME && holds(c, path, doc))
        rc = ERR_OK;
    if (rc != ERR_EXISTS)
        return zkadmin_error(rc, "creating", path, why);
    errtext_set(why, "%s exists: the controller has not finished an earlier request", path);
    return code_if_exists;
}

int16_t zkadmin_start_reassignment(struct coord *c, const struct zkdoc_partition_list *list,
                                   struct errtext *why)
{
    struct buf doc = {0};

    zkdoc_partition_list_format(list, true, &doc);
    int16_t code =
        create_request(c, "/admin/reassign_partitions", &doc, KE_REASSIGNMENT_IN_PROGRESS, why);
    buf_fini(&doc);
    return code;
}

int16_t zkadmin_start_preferred_election(struct coord *c, const struct zkdoc_partition_list *list,
                                         struct errtext *why)
{
    struct buf doc = {0};

    zkdoc_partition_list_format(list, false, &doc);
    int16_t code =
        create_request(c, "/admin/preferred_replica_election", &doc, KE_INVALID_REQUEST, why);
    buf_fini(&doc);
    return code;
}
