/* SPDX-License-Identifier: Apache-2.0 */
/* Groups that live in ZooKeeper, as the consumers of Kafka 0.8 to 1.1 and our own keep them:
 * /consumers/G/ids/ID (ephemeral), /consumers/G/owners/T/P (ephemeral, the id of a stream) and
 * /consumers/G/offsets/T/P (a number). */
#include "tools/lib/groups.h"
#include "tools/lib/mem.h"

#include "common/zk/zkadmin.h"
#include "common/zk/zkdoc.h"

#include <stdio.h>
#include <stdlib.h>

enum { PATH_MAX_BYTES = 1024 };

/* "/consumers/G/dir/T/P"; false: too long to be a znode of ours. NULL ends the parts. */
static bool make_path(char out[PATH_MAX_BYTES], const char *group, const char *dir,
                      const char *topic, const char *partition)
{
    const char *const parts[] = {group, dir, topic, partition};
    int n = snprintf(out, PATH_MAX_BYTES, "/consumers");

    for (size_t i = 0; i < ARRAY_LEN(parts) && parts[i] != NULL && n < PATH_MAX_BYTES; i++)
        n += snprintf(out + n, (size_t)(PATH_MAX_BYTES - n), "/%s", parts[i]);
    return n < PATH_MAX_BYTES;
}

static enum err explain_zk(enum err rc, const char *path, struct errtext *why)
{
    if (rc == ERR_OK || rc == ERR_NOT_FOUND)
        return rc;
    errtext_set(why, "ZooKeeper, %s: %s", path, err_text(rc));
    return ERR_UNREACHABLE;
}

/* Children, in the arena; none when the node is not there. */
static enum err read_children(struct coord *zk, struct arena *a, const char *path,
                              const char ***out, int32_t *count_out, struct errtext *why)
{
    char **names = NULL;
    int32_t count = 0;
    enum err rc = coord_children_wait(zk, path, &names, &count);

    *out = NULL;
    *count_out = 0;
    if (rc == ERR_OK) {
        *out = tool_alloc(a, (size_t)count, sizeof(char *));
        for (int32_t i = 0; i < count; i++)
            (*out)[i] = arena_strdup(a, names[i], strlen(names[i]));
        *count_out = count;
        coord_names_free(names, count);
    }
    rc = explain_zk(rc, path, why);
    return rc == ERR_NOT_FOUND ? ERR_OK : rc;
}

/* What a group has of one kind: /consumers/G/dir/T/P with its text. */
struct leaf {
    const char *topic, *text;
    int32_t partition;
};
struct leaves {
    struct leaf *items;
    int32_t count;
};

static enum err read_topic_leaves(struct coord *zk, struct arena *a, const char *group,
                                  const char *dir, const char *topic, struct leaves *out,
                                  struct errtext *why)
{
    struct leaf *grown;
    const char **names;
    char path[PATH_MAX_BYTES];
    int32_t count;
    enum err rc;

    if (!make_path(path, group, dir, topic, NULL))
        return ERR_OK;
    rc = read_children(zk, a, path, &names, &count, why);
    if (rc != ERR_OK)
        return rc;
    grown = tool_alloc(a, (size_t)out->count + (size_t)count, sizeof *grown);
    if (out->count > 0)
        memcpy(grown, out->items, (size_t)out->count * sizeof *grown);
    out->items = grown;
    for (int32_t i = 0; i < count; i++) {
        struct buf data = {0};
        int64_t number;

        /* Kafka 0.7 named partitions "broker-number": nothing that can be shown here */
        if (!opt_number(names[i], 0, INT32_MAX, &number) ||
            !make_path(path, group, dir, topic, names[i]))
            continue;
        rc = explain_zk(coord_get_wait(zk, path, &data, NULL), path, why);
        if (rc == ERR_OK)
            out->items[out->count++] =
                (struct leaf){topic, arena_strdup(a, buf_cstr(&data), data.len), (int32_t)number};
        buf_fini(&data);
        if (rc != ERR_OK && rc != ERR_NOT_FOUND) /* gone meanwhile */
            return rc;
    }
    return ERR_OK;
}

static enum err read_leaves(struct coord *zk, struct arena *a, const char *group, const char *dir,
                            const char **topics, int32_t topic_count, struct leaves *out,
                            struct errtext *why)
{
    enum err rc = ERR_OK;

    for (int32_t i = 0; rc == ERR_OK && i < topic_count; i++)
        rc = read_topic_leaves(zk, a, group, dir, topics[i], out, why);
    return rc;
}

/* "g_web01-1731000000000-3f2b9c1d" -> "web01" */
static const char *host_of(struct arena *a, const char *group, const char *id)
{
    const char *from = id + (strncmp(id, group, strlen(group)) == 0 ? strlen(group) : 0);
    const char *end = strrchr(from, '-');

    from += *from == '_';
    while (end != NULL && end > from && end[-1] != '-')
        end--;
    if (end == NULL || end <= from + 1)
        return "-";
    return arena_strdup(a, from, (size_t)(end - 1 - from));
}

/* Whose stream it is: the id of the stream is the member's with "-n" behind it. */
static struct group_member *member_of(struct group *g, const char *owner)
{
    const char *dash = strrchr(owner, '-');

    for (int32_t i = 0; dash != NULL && i < g->member_count; i++)
        if (strlen(g->members[i].id) == (size_t)(dash - owner) &&
            strncmp(g->members[i].id, owner, (size_t)(dash - owner)) == 0)
            return &g->members[i];
    return NULL;
}

static void take_owners(struct arena *a, struct group *g, const struct leaves *owners)
{
    for (int32_t i = 0; i < g->member_count; i++)
        g->members[i].partitions =
            tool_alloc(a, (size_t)owners->count, sizeof *g->members[i].partitions);
    for (int32_t i = 0; i < owners->count; i++) {
        struct group_member *m = member_of(g, owners->items[i].text);

        if (m != NULL)
            m->partitions[m->partition_count++] =
                (struct group_partition){owners->items[i].topic, owners->items[i].partition};
    }
    for (int32_t i = 0; i < g->member_count; i++)
        if (g->members[i].partition_count > 1)
            qsort(g->members[i].partitions, (size_t)g->members[i].partition_count,
                  sizeof *g->members[i].partitions, group_partition_order);
}

static void take_offsets(struct arena *a, struct group *g, const struct leaves *offsets,
                         struct errtext *why)
{
    g->commits = tool_alloc(a, (size_t)offsets->count, sizeof *g->commits);
    for (int32_t i = 0; i < offsets->count; i++) {
        int64_t offset;

        if (opt_number(offsets->items[i].text, 0, INT64_MAX, &offset))
            g->commits[g->commit_count++] =
                (struct group_commit){offsets->items[i].topic, offsets->items[i].partition, offset};
        else
            errtext_set(why, "/consumers/%s/offsets/%s/%d holds '%.40s', which is no offset",
                        g->name, offsets->items[i].topic, offsets->items[i].partition,
                        offsets->items[i].text);
    }
    if (g->commit_count > 1)
        qsort(g->commits, (size_t)g->commit_count, sizeof *g->commits, group_commit_order);
}

/* The partitions of the group's topics that nobody owns and nothing was committed for. */
static void take_others(struct coord *zk, struct arena *a, struct group *g, const char **topics,
                        int32_t topic_count)
{
    struct zkdoc_topic *docs = tool_alloc(a, (size_t)topic_count, sizeof *docs);
    struct errtext unimportant = {{0}};
    int32_t n = 0;

    for (int32_t t = 0; t < topic_count; t++) {
        if (zkadmin_read_topic(zk, topics[t], a, &docs[t], NULL, &unimportant) != KE_NONE)
            docs[t] = (struct zkdoc_topic){0}; /* deleted */
        n += docs[t].partition_count;
    }
    g->others = tool_alloc(a, (size_t)n, sizeof *g->others);
    for (int32_t t = 0; t < topic_count; t++) {
        for (int32_t i = 0; i < docs[t].partition_count; i++) {
            struct group_partition p = {topics[t], docs[t].partitions[i].index};

            if (!group_is_assigned(g, p.topic, p.partition) &&
                group_find_commit(g, p.topic, p.partition) == NULL)
                g->others[g->other_count++] = p;
        }
    }
    if (g->other_count > 1)
        qsort(g->others, (size_t)g->other_count, sizeof *g->others, group_partition_order);
}

static int by_text(const void *x, const void *y)
{
    const char *const *a = x, *const *b = y;

    return strcmp(*a, *b);
}

/* The topics below owners and offsets, each once. */
static enum err read_topics(struct coord *zk, struct arena *a, const char *group, const char ***out,
                            int32_t *count_out, struct errtext *why)
{
    static const char *const dirs[] = {"owners", "offsets"};
    const char **all = NULL;
    int32_t count = 0, n = 0;

    for (size_t d = 0; d < ARRAY_LEN(dirs); d++) {
        const char **names, **grown;
        char path[PATH_MAX_BYTES];
        int32_t more;
        enum err rc;

        if (!make_path(path, group, dirs[d], NULL, NULL))
            continue;
        rc = read_children(zk, a, path, &names, &more, why);
        if (rc != ERR_OK)
            return rc;
        grown = tool_alloc(a, (size_t)count + (size_t)more, sizeof(char *));
        if (count > 0)
            memcpy(grown, all, (size_t)count * sizeof(char *));
        if (more > 0)
            memcpy(grown + count, names, (size_t)more * sizeof(char *));
        all = grown;
        count += more;
    }
    if (count > 1)
        qsort(all, (size_t)count, sizeof(char *), by_text);
    for (int32_t i = 0; i < count; i++)
        if (n == 0 || strcmp(all[n - 1], all[i]) != 0)
            all[n++] = all[i];
    *out = all;
    *count_out = n;
    return ERR_OK;
}

static bool is_group_name(const char *name)
{
    return name[0] != '\0' && strchr(name, '/') == NULL && strcmp(name, ".") != 0 &&
           strcmp(name, "..") != 0;
}

enum err zk_group_read(struct coord *zk, struct arena *a, const char *name, struct group *out,
                       struct errtext *why)
{
    struct leaves owners = {0}, offsets = {0};
    const char **ids = NULL, **topics = NULL;
    int32_t id_count = 0, topic_count = 0;
    char path[PATH_MAX_BYTES];
    enum err rc;

    *out = (struct group){.name = name,
                          .kind = GROUP_OF_ZOOKEEPER,
                          .error = KE_GROUP_ID_NOT_FOUND,
                          .state = "Dead",
                          .assignor = "",
                          .coordinator = -1};
    if (!is_group_name(name) || !make_path(path, name, NULL, NULL, NULL))
        return ERR_OK;
    rc = explain_zk(coord_exists_wait(zk, path, NULL), path, why);
    if (rc == ERR_NOT_FOUND)
        return ERR_OK;
    if (rc == ERR_OK && make_path(path, name, "ids", NULL, NULL))
        rc = read_children(zk, a, path, &ids, &id_count, why);
    if (rc == ERR_OK)
        rc = read_topics(zk, a, name, &topics, &topic_count, why);
    if (rc == ERR_OK)
        rc = read_leaves(zk, a, name, "owners", topics, topic_count, &owners, why);
    if (rc == ERR_OK)
        rc = read_leaves(zk, a, name, "offsets", topics, topic_count, &offsets, why);
    if (rc != ERR_OK)
        return rc;
    if (id_count > 1)
        qsort(ids, (size_t)id_count, sizeof(char *), by_text);
    out->error = KE_NONE;
    out->state = id_count == 0 ? "Empty" : "Stable";
    out->member_count = id_count;
    out->members = tool_alloc(a, (size_t)id_count, sizeof *out->members);
    for (int32_t i = 0; i < id_count; i++)
        out->members[i] =
            (struct group_member){.id = ids[i], .client_id = "-", .host = host_of(a, name, ids[i])};
    take_owners(a, out, &owners);
    take_offsets(a, out, &offsets, why);
    take_others(zk, a, out, topics, topic_count);
    return ERR_OK;
}

enum err zk_groups_list(struct coord *zk, struct arena *a, struct group_listing **out,
                        int32_t *count_out, struct errtext *why)
{
    const char **names;
    enum err rc = read_children(zk, a, "/consumers", &names, count_out, why);

    if (rc != ERR_OK)
        return rc;
    *out = tool_alloc(a, (size_t)*count_out, sizeof **out);
    for (int32_t i = 0; rc == ERR_OK && i < *count_out; i++) {
        struct coord_stat ids = {0};
        char path[PATH_MAX_BYTES];

        if (!make_path(path, names[i], "ids", NULL, NULL))
            continue;
        rc = explain_zk(coord_exists_wait(zk, path, &ids), path, why);
        (*out)[i] = (struct group_listing){
            .name = names[i],
            .kind = GROUP_OF_ZOOKEEPER,
            .type = "ZooKeeper",
            .state = rc == ERR_OK && ids.child_count > 0 ? "Stable" : "Empty",
        };
        if (rc == ERR_NOT_FOUND)
            rc = ERR_OK;
    }
    if (*count_out > 1)
        qsort(*out, (size_t)*count_out, sizeof **out, group_listing_order);
    return rc;
}

/* ---- changes */

enum err zk_group_commit(struct coord *zk, const char *name, const struct group_commit *commits,
                         int32_t count, struct errtext *why)
{
    for (int32_t i = 0; i < count; i++) {
        char path[PATH_MAX_BYTES], partition[12], text[24];
        struct bytes data;
        enum err rc;

        (void)snprintf(partition, sizeof partition, "%d", commits[i].partition);
        data.len = snprintf(text, sizeof text, "%" PRId64, commits[i].offset);
        data.p = (const uint8_t *)text;
        if (!is_group_name(name) ||
            !make_path(path, name, "offsets", commits[i].topic, partition)) {
            errtext_set(why, "'%s' cannot be a group in ZooKeeper", name);
            return ERR_INVALID;
        }
        rc = coord_set_wait(zk, path, data, -1, NULL);
        if (rc == ERR_NOT_FOUND)
            rc = coord_create_recursive_wait(zk, path, data);
        if (rc != ERR_OK) {
            errtext_set(why, "ZooKeeper, %s: %s; %d of %d offsets are written", path, err_text(rc),
                        i, count);
            return rc;
        }
    }
    return ERR_OK;
}

enum err zk_group_delete(struct coord *zk, const char *name, struct errtext *why)
{
    char path[PATH_MAX_BYTES];
    enum err rc;

    if (!is_group_name(name) || !make_path(path, name, NULL, NULL, NULL))
        return ERR_NOT_FOUND;
    rc = coord_delete_recursive_wait(zk, path);
    if (rc != ERR_OK && rc != ERR_NOT_FOUND)
        errtext_set(why, "ZooKeeper, %s: %s", path, err_text(rc));
    return rc;
}

enum err zk_group_delete_offset(struct coord *zk, const char *name, const char *topic,
                                int32_t partition, struct errtext *why)
{
    static const char *const dirs[] = {"offsets", "owners"};
    char path[PATH_MAX_BYTES], number[12];
    enum err found = ERR_NOT_FOUND;

    (void)snprintf(number, sizeof number, "%d", partition);
    for (size_t i = 0; i < ARRAY_LEN(dirs); i++) {
        enum err rc;

        if (!is_group_name(name) || !is_group_name(topic) ||
            !make_path(path, name, dirs[i], topic, partition < 0 ? NULL : number))
            return ERR_NOT_FOUND;
        rc = coord_delete_recursive_wait(zk, path);
        if (rc == ERR_OK) {
            found = ERR_OK;
        } else if (rc != ERR_NOT_FOUND) {
            errtext_set(why, "ZooKeeper, %s: %s", path, err_text(rc));
            return rc;
        }
    }
    return found;
}
