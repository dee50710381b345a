/* SPDX-License-Identifier: Apache-2.0 */
/* Administration of topics. */
#include "common/zk/zkadmin_internal.h"

#include "common/base/topic_name.h"

#include <stdlib.h>

/* ---- checks */

int16_t zkadmin_check_topic_name(const char *name, struct errtext *why)
{
    const char *fault = topic_name_fault(str_of(name));

    if (fault == NULL)
        return KE_NONE;
    errtext_set(why, "the name \"%.260s\": %s", name, fault);
    return KE_INVALID_TOPIC_EXCEPTION;
}

bool zkadmin_names_collide(const char *a, const char *b)
{
    bool differ = false;

    for (; *a != 0 && *b != 0; a++, b++) {
        bool is_mark = (*a == '.' || *a == '_') && (*b == '.' || *b == '_');
        if (*a != *b && !is_mark)
            return false;
        differ |= *a != *b;
    }
    return *a == *b && differ;
}

static int16_t check_collision(struct coord *c, const char *name, struct errtext *why)
{
    struct arena a = {0};
    const char **names;
    int32_t count;

    if (strpbrk(name, "._") == NULL)
        return KE_NONE;
    int16_t code = zkadmin_list_topics(c, &a, &names, &count, why);
    for (int32_t i = 0; code == KE_NONE && i < count; i++)
        if (zkadmin_names_collide(name, names[i])) {
            errtext_set(why,
                        "topic \"%s\" collides with the existing topic \"%s\": they differ only in "
                        "'.' against '_'",
                        name, names[i]);
            code = KE_INVALID_TOPIC_EXCEPTION;
        }
    arena_fini(&a);
    return code;
}

static int16_t check_replicas(const struct zkdoc_partition *p, int32_t factor, struct errtext *why)
{
    if (p->replica_count < 1 || p->replica_count != factor) {
        errtext_set(why, "partition %" PRId32 " has %" PRId32 " replicas instead of %" PRId32,
                    p->index, p->replica_count, factor);
        return KE_INVALID_REPLICA_ASSIGNMENT;
    }
    for (int32_t i = 0; i < p->replica_count; i++)
        for (int32_t k = 0; k <= i; k++)
            if (p->replicas[i] < 0 || (k < i && p->replicas[k] == p->replicas[i])) {
                errtext_set(
                    why, "partition %" PRId32 ": broker %" PRId32 " is %s in the replica list",
                    p->index, p->replicas[i], p->replicas[i] < 0 ? "not a broker id but" : "twice");
                return KE_INVALID_REPLICA_ASSIGNMENT;
            }
    return KE_NONE;
}

/* Indexes rise from first without a gap, each with factor distinct brokers. */
static int16_t check_partitions(const struct zkdoc_partition *list, int32_t count, int32_t first,
                                int32_t factor, struct errtext *why)
{
    int16_t code = KE_NONE;

    if (count < 1 || count > ZKDOC_PARTITIONS_MAX) {
        errtext_set(why, "%" PRId32 " partitions are not possible", count);
        return KE_INVALID_PARTITIONS;
    }
    for (int32_t i = 0; i < count && code == KE_NONE; i++) {
        if (list[i].index != first + i) {
            errtext_set(why, "partitions must be numbered from %" PRId32 " without a gap", first);
            return KE_INVALID_REPLICA_ASSIGNMENT;
        }
        code = check_replicas(&list[i], factor, why);
    }
    return code;
}

/* ---- create */

static int16_t check_new(struct coord *c, const char *name, struct errtext *why)
{
    struct buf path = {0};
    int16_t code = KE_NONE;

    enum err rc = coord_exists_wait(c, zkadmin_path(&path, "/brokers/topics/%s", name), NULL);
    if (rc == ERR_OK) {
        rc = coord_exists_wait(c, zkadmin_path(&path, "/admin/delete_topics/%s", name), NULL);
        errtext_set(why,
                    rc == ERR_OK ? "topic \"%s\" is being deleted; try again when it is gone"
                                 : "topic \"%s\" exists already",
                    name);
        code = KE_TOPIC_ALREADY_EXISTS;
    } else if (rc != ERR_NOT_FOUND) {
        code = zkadmin_error(rc, "looking for", path.p == NULL ? "" : buf_cstr(&path), why);
    }
    buf_fini(&path);
    return code == KE_NONE ? check_collision(c, name, why) : code;
}

struct creation {
    const char *name;
    struct buf config_path, topic_path, config_doc, topic_doc;
    bool config_exists;
};

static void creation_init(struct creation *k, const struct zkadmin_new_topic *t)
{
    struct zkdoc_config config = {(struct zkdoc_kv *)(uintptr_t)t->configs, t->config_count};
    struct zkdoc_topic doc = {.topic_id = t->topic_id,
                              .partitions = (struct zkdoc_partition *)(uintptr_t)t->partitions,
                              .partition_count = t->partition_count};

    *k = (struct creation){.name = t->name};
    (void)zkadmin_path(&k->config_path, "/config/topics/%s", t->name);
    (void)zkadmin_path(&k->topic_path, "/brokers/topics/%s", t->name);
    zkdoc_config_format(&config, &k->config_doc);
    zkdoc_topic_format(&doc, &k->topic_doc);
}

static void creation_fini(struct creation *k)
{
    buf_fini(&k->config_path);
    buf_fini(&k->topic_path);
    buf_fini(&k->config_doc);
    buf_fini(&k->topic_doc);
}

/* One try: config and topic in one multi, so that of two creators only one leaves its config.
 * ERR_BUSY: try again. */
static enum err creation_try(struct coord *c, struct creation *k, struct errtext *why)
{
    enum err errs[2];
    struct coord_op ops[2] = {{.kind = k->config_exists ? COORD_OP_SET : COORD_OP_CREATE,
                               .path = buf_cstr(&k->config_path),
                               .data = {k->config_doc.p, (int64_t)k->config_doc.len},
                               .version = -1},
                              {.kind = COORD_OP_CREATE,
                               .path = buf_cstr(&k->topic_path),
                               .data = {k->topic_doc.p, (int64_t)k->topic_doc.len}}};

    enum err rc = coord_multi_wait(c, ops, 2, errs, NULL);
    if (rc == ERR_EXISTS && errs[0] == ERR_EXISTS) {
        k->config_exists = true; /* left over from a deleted topic, or made in advance */
        return ERR_BUSY;
    }
    if (rc == ERR_NOT_FOUND && errs[0] == ERR_NOT_FOUND && k->config_exists) {
        k->config_exists = false;
        return ERR_BUSY;
    }
    if (rc == ERR_NOT_FOUND) /* no broker was ever started here */
        return zkadmin_ensure(c, "/config/topics", why) == KE_NONE &&
                       zkadmin_ensure(c, "/brokers/topics", why) == KE_NONE
                   ? ERR_BUSY
                   : ERR_UNREACHABLE;
    if (rc == ERR_UNKNOWN_OUTCOME) {
        struct buf found = {0};
        rc = coord_get_wait(c, buf_cstr(&k->topic_path), &found, NULL);
        if (rc == ERR_NOT_FOUND)
            rc = ERR_BUSY;
        else if (rc == ERR_OK &&
                 (found.len != k->topic_doc.len || memcmp(found.p, k->topic_doc.p, found.len) != 0))
            rc = ERR_EXISTS;
        buf_fini(&found);
    }
    return rc;
}

int16_t zkadmin_create_topic(struct coord *c, const struct zkadmin_new_topic *t,
                             struct errtext *why)
{
    struct creation k;
    enum err rc = ERR_BUSY;

    int16_t code = zkadmin_check_topic_name(t->name, why);
    if (code == KE_NONE)
        code = check_partitions(t->partitions, t->partition_count, 0,
                                t->partition_count > 0 ? t->partitions[0].replica_count : 0, why);
    if (code == KE_NONE)
        code = check_new(c, t->name, why);
    if (code != KE_NONE || t->validate_only)
        return code;
    creation_init(&k, t);
    for (int i = 0; i < ZKADMIN_ATTEMPTS_MAX && rc == ERR_BUSY; i++)
        rc = creation_try(c, &k, why);
    creation_fini(&k);
    if (rc != ERR_EXISTS)
        return zkadmin_error(rc, "creating topic", t->name, why);
    errtext_set(why, "topic \"%s\" exists already", t->name);
    return KE_TOPIC_ALREADY_EXISTS;
}

/* ---- delete */

int16_t zkadmin_delete_topic(struct coord *c, const char *name, struct errtext *why)
{
    struct buf path = {0};
    enum err rc = ERR_UNKNOWN_OUTCOME;

    int16_t code = zkadmin_check_topic_name(name, why);
    if (code != KE_NONE)
        return code;
    rc = coord_exists_wait(c, zkadmin_path(&path, "/brokers/topics/%s", name), NULL);
    if (rc == ERR_NOT_FOUND) {
        errtext_set(why, "topic \"%s\" does not exist", name);
        code = KE_UNKNOWN_TOPIC_OR_PARTITION;
    } else if (rc == ERR_OK) {
        code = zkadmin_ensure(c, zkadmin_path(&path, "/admin/delete_topics/%s", name), why);
    } else {
        code = zkadmin_error(rc, "looking for topic", name, why);
    }
    buf_fini(&path);
    return code;
}

/* ---- add partitions */

static int16_t read_topic(struct coord *c, const char *name, struct arena *a,
                          struct zkdoc_topic *out, struct coord_stat *stat, struct errtext *why)
{
    struct buf path = {0}, data = {0};
    int16_t code;

    *out = (struct zkdoc_topic){0};
    enum err rc = coord_get_wait(c, zkadmin_path(&path, "/brokers/topics/%s", name), &data, stat);
    if (rc == ERR_NOT_FOUND || rc == ERR_INVALID) {
        errtext_set(why, "topic \"%.249s\" does not exist", name);
        code = KE_UNKNOWN_TOPIC_OR_PARTITION;
    } else if (rc == ERR_OK) {
        rc = zkdoc_topic_parse((struct bytes){data.p, (int64_t)data.len}, a, out, why);
        code = rc == ERR_OK ? KE_NONE : KE_UNKNOWN_SERVER_ERROR;
        if (rc != ERR_OK)
            errtext_wrap(why, "the assignment of topic \"%.249s\" in ZooKeeper is broken", name);
    } else {
        code = zkadmin_error(rc, "reading topic", name, why);
    }
    buf_fini(&path);
    buf_fini(&data);
    return code;
}

static int16_t check_growth(const char *name, const struct zkdoc_topic *t,
                            const struct zkdoc_partition *added, int32_t added_count,
                            struct errtext *why)
{
    int32_t now = t->partition_count;

    if (now == 0) {
        errtext_set(why, "topic \"%s\" has no partitions", name);
        return KE_INVALID_PARTITIONS;
    }
    for (int32_t i = 0; i < now; i++)
        if (t->partitions[i].adding_count > 0 || t->partitions[i].removing_count > 0) {
            errtext_set(why, "partition %" PRId32 " of topic \"%s\" is being reassigned",
                        t->partitions[i].index, name);
            return KE_REASSIGNMENT_IN_PROGRESS;
        }
    if (added_count < 1 || added[0].index != now) {
        errtext_set(why, "topic \"%s\" has %" PRId32 " partitions; new ones must begin there", name,
                    now);
        return KE_INVALID_PARTITIONS;
    }
    return check_partitions(added, added_count, now, t->partitions[0].replica_count, why);
}

/* ERR_BAD_VERSION: read and try again. A lost answer too: then the growth check tells. */
static enum err write_growth(struct coord *c, const char *name, struct zkdoc_topic *t,
                             const struct zkdoc_partition *added, int32_t added_count,
                             int32_t version)
{
    struct buf path = {0}, doc = {0};
    size_t now = (size_t)t->partition_count, more = (size_t)added_count;
    struct zkdoc_partition *all = xcalloc(now + more, sizeof *all);
    struct zkdoc_topic grown = *t;

    memcpy(all, t->partitions, now * sizeof *all);
    memcpy(all + now, added, more * sizeof *all);
    grown.partitions = all;
    grown.partition_count += added_count;
    zkdoc_topic_format(&grown, &doc);
    enum err rc = coord_set_wait(c, zkadmin_path(&path, "/brokers/topics/%s", name),
                                 (struct bytes){doc.p, (int64_t)doc.len}, version, NULL);
    mem_free(all);
    buf_fini(&path);
    buf_fini(&doc);
    return rc;
}

static bool has_grown_so(const struct zkdoc_topic *t, const struct zkdoc_partition *added,
                         int32_t added_count)
{
    for (int32_t i = 0; i < added_count; i++) {
        const struct zkdoc_partition *p = zkdoc_topic_partition(t, added[i].index);
        if (p == NULL || p->replica_count != added[i].replica_count ||
            memcmp(p->replicas, added[i].replicas,
                   (size_t)p->replica_count * sizeof *p->replicas) != 0)
            return false;
    }
    return true;
}

int16_t zkadmin_add_partitions(struct coord *c, const char *name,
                               const struct zkdoc_partition *added, int32_t added_count,
                               bool validate_only, struct errtext *why)
{
    enum err rc = ERR_BAD_VERSION;
    bool was_lost = false;

    for (int i = 0; i < ZKADMIN_ATTEMPTS_MAX; i++) {
        struct arena a = {0};
        struct zkdoc_topic t;
        struct coord_stat stat;
        int16_t code = read_topic(c, name, &a, &t, &stat, why);
        bool is_done = code == KE_NONE && was_lost && has_grown_so(&t, added, added_count);
        if (code == KE_NONE && !is_done)
            code = check_growth(name, &t, added, added_count, why);
        if (code == KE_NONE && !is_done && !validate_only)
            rc = write_growth(c, name, &t, added, added_count, stat.version);
        arena_fini(&a);
        if (code != KE_NONE || is_done || validate_only)
            return code;
        was_lost = rc == ERR_UNKNOWN_OUTCOME;
        if (rc != ERR_BAD_VERSION && !was_lost)
            break;
    }
    return zkadmin_error(rc, "adding partitions to topic", name, why);
}

/* ---- lists and reads */

int16_t zkadmin_list_topics(struct coord *c, struct arena *a, const char ***names_out,
                            int32_t *count_out, struct errtext *why)
{
    return zkadmin_children(c, "/brokers/topics", a, names_out, count_out, why);
}

int16_t zkadmin_list_deletions(struct coord *c, struct arena *a, const char ***names_out,
                               int32_t *count_out, struct errtext *why)
{
    return zkadmin_children(c, "/admin/delete_topics", a, names_out, count_out, why);
}

int16_t zkadmin_read_topic(struct coord *c, const char *name, struct arena *a,
                           struct zkdoc_topic *out, int32_t *version_out, struct errtext *why)
{
    struct coord_stat stat = {0};
    int16_t code = read_topic(c, name, a, out, &stat, why);

    if (version_out != NULL)
        *version_out = stat.version;
    return code;
}

struct topic_reads {
    struct zkadmin_topic *topics;
    struct arena *arena;
};

static const char *topic_path(void *arg, int32_t i, struct buf *b)
{
    const struct topic_reads *r = arg;

    return zkadmin_path(b, "/brokers/topics/%s", r->topics[i].name);
}

static void topic_got(void *arg, int32_t i, const struct coord_result *r)
{
    const struct topic_reads *reads = arg;
    struct zkadmin_topic *t = &reads->topics[i];

    t->error = r->err == ERR_OK && zkdoc_topic_parse(r->data, reads->arena, &t->doc, NULL) == ERR_OK
                   ? KE_NONE
               : r->err == ERR_NOT_FOUND ? KE_UNKNOWN_TOPIC_OR_PARTITION
                                         : KE_UNKNOWN_SERVER_ERROR;
}

int16_t zkadmin_read_topics(struct coord *c, struct zkadmin_topic *topics, int32_t count,
                            struct arena *a, struct errtext *why)
{
    struct topic_reads r = {topics, a};

    return zkadmin_read_many(c, count, topic_path, topic_got, &r, why);
}

struct state_reads {
    struct zkadmin_state *states;
    struct arena *arena;
};

static const char *state_path(void *arg, int32_t i, struct buf *b)
{
    const struct state_reads *r = arg;

    return zkadmin_path(b, "/brokers/topics/%s/partitions/%" PRId32 "/state", r->states[i].topic,
                        r->states[i].partition);
}

static void state_got(void *arg, int32_t i, const struct coord_result *r)
{
    const struct state_reads *reads = arg;
    struct zkadmin_state *s = &reads->states[i];

    s->version = r->stat.version;
    s->error = r->err == ERR_OK && zkdoc_state_parse(r->data, reads->arena, &s->doc, NULL) == ERR_OK
                   ? KE_NONE
               : r->err == ERR_NOT_FOUND ? KE_LEADER_NOT_AVAILABLE
                                         : KE_UNKNOWN_SERVER_ERROR;
}

int16_t zkadmin_partition_states(struct coord *c, struct zkadmin_state *states, int32_t count,
                                 struct arena *a, struct errtext *why)
{
    struct state_reads r = {states, a};

    return zkadmin_read_many(c, count, state_path, state_got, &r, why);
}
