/* SPDX-License-Identifier: Apache-2.0 */
/* kafuka-consumer-groups: --reset-offsets, --delete and --delete-offsets. Nothing is changed of a
 * group that has members. */
#include "tools/consumer_groups.h"

#include "common/base/clock.h"
#include "common/base/fsx.h"
#include "tools/lib/mem.h"
#include "tools/reset_plan.h"

#include <stdio.h>
#include <stdlib.h>

/* A reset under way. */
struct reset {
    struct group_tool *t;
    struct group_commit *list; /* of the group at hand: offsets to be, by topic and partition */
    int32_t count;
    int64_t time_ms; /* of --to-datetime or --by-duration */
    struct reset_line *plan;
    int32_t plan_count;
    struct buf lines; /* what is printed in the end */
};

/* ---- which kind of group is meant */

/* Why a group is not to be changed this way: it lives in the other place, or in both. Returns true
 * when a line was printed. */
static bool is_elsewhere(struct group_tool *t, const struct group *g, const struct group *other)
{
    if (group_tool_is_zk_only(t) || t->zk_is_given) {
        if (other != NULL && group_exists(g) && group_exists(other)) {
            if (other < g) /* said already */
                return true;
            (void)group_tool_error("There are two groups '%s', one of the brokers and one in "
                                   "ZooKeeper: give only one of --bootstrap-server and --zookeeper "
                                   "to say which is meant.",
                                   g->name);
            return true;
        }
        return false;
    }
    if (g->kind == GROUP_OF_ZOOKEEPER) {
        (void)group_tool_error("'%s' is not a group of the brokers: it lives in ZooKeeper "
                               "(/consumers/%s). Give --zookeeper in place of --bootstrap-server "
                               "to change it.",
                               g->name, g->name);
        return true;
    }
    return false;
}

/* A group that is missing in ZooKeeper and that the brokers have. */
static bool is_of_brokers(struct group_tool *t, const struct group *g)
{
    struct group other = {.name = g->name};
    struct errtext why = {{0}};

    if (group_exists(g) || !group_tool_is_zk_only(t) || !t->has_brokers)
        return false;
    if (groups_describe(&t->admin, t->deadline_ms, &other, 1, &why) != ERR_OK ||
        other.error != KE_NONE || !group_exists(&other))
        return false;
    (void)group_tool_error("'%s' is not a group in ZooKeeper but one of the brokers. Give "
                           "--bootstrap-server %s in place of --zookeeper to change it.",
                           g->name, t->admin.bootstrap);
    return true;
}

/* Whether groups[i] may be changed; else a line was printed. */
static bool may_change(struct group_tool *t, const struct group *groups, int32_t count, int32_t i)
{
    const struct group *g = &groups[i], *other = NULL;

    if (i > 0 && strcmp(groups[i - 1].name, g->name) == 0)
        other = &groups[i - 1];
    else if (i + 1 < count && strcmp(groups[i + 1].name, g->name) == 0)
        other = &groups[i + 1];
    if (g->error != KE_NONE && g->error != KE_GROUP_ID_NOT_FOUND) {
        (void)group_tool_error("Consumer group '%s': %s", g->name,
                               g->why != NULL ? g->why : group_code_text(g->error));
        return false;
    }
    return !is_elsewhere(t, g, other) && !is_of_brokers(t, g);
}

/* The groups to change: all that were asked for, or none. */
static int select_all(struct group_tool *t, struct group **out, int32_t *count_out)
{
    bool failed = false;
    int rc = group_tool_select(t, out, count_out, &failed);

    return rc < 0 && failed ? opts_fail(t->o, "nothing is changed") : rc;
}

/* ---- reset: which partitions */

static void add_partition(struct reset *r, const char *topic, int32_t partition, int64_t offset)
{
    r->list[r->count++] = (struct group_commit){topic, partition, offset};
}

/* Sorted, without doubles. */
static void tidy(struct reset *r)
{
    int32_t n = 0;

    if (r->count > 1)
        qsort(r->list, (size_t)r->count, sizeof *r->list, group_commit_order);
    for (int32_t i = 0; i < r->count; i++)
        if (n == 0 || group_commit_order(&r->list[n - 1], &r->list[i]) != 0)
            r->list[n++] = r->list[i];
    r->count = n;
}

static const struct kp_MetadataResponse_MetadataResponseTopic *
topic_of(const struct kp_MetadataResponse *m, const char *topic)
{
    for (int32_t i = 0; i < m->topics_count; i++)
        if (str_eq_z(m->topics[i].name, topic) && m->topics[i].partitions_count > 0)
            return &m->topics[i];
    return NULL;
}

/* The partitions that --topic means. */
static enum err scope_of_topics(struct reset *r, struct errtext *why)
{
    struct group_tool *t = r->t;
    size_t count = 0;
    const char *const *texts = opts_list(t->o, "topic", &count);
    struct reset_topic *topics = tool_alloc(&t->arena, count, sizeof *topics);
    const char **names = tool_alloc(&t->arena, count, sizeof(char *));
    struct kp_MetadataResponse m;
    int32_t n = 0;
    enum err rc = ERR_OK;

    for (size_t i = 0; rc == ERR_OK && i < count; i++) {
        rc = reset_parse_topic(texts[i], &t->arena, &topics[i], why);
        names[i] = topics[i].topic;
        n += i32_max(topics[i].count, 0);
    }
    if (rc == ERR_OK)
        rc = admin_metadata(&t->admin, names, count, &m, why);
    if (rc != ERR_OK)
        return rc;
    for (size_t i = 0; i < count; i++)
        if (topics[i].count < 0 && topic_of(&m, names[i]) != NULL)
            n += topic_of(&m, names[i])->partitions_count;
    r->list = tool_alloc(&t->arena, (size_t)n, sizeof *r->list);
    for (size_t i = 0; i < count; i++) {
        const struct kp_MetadataResponse_MetadataResponseTopic *mt = topic_of(&m, names[i]);

        if (mt == NULL) {
            errtext_set(why, "topic '%s' does not exist", names[i]);
            return ERR_NOT_FOUND;
        }
        for (int32_t p = 0; p < topics[i].count; p++) {
            if (topics[i].partitions[p] >= mt->partitions_count) {
                errtext_set(why,
                            "partition %d of topic '%s' does not exist: it has the partitions 0 "
                            "to %d",
                            topics[i].partitions[p], names[i], mt->partitions_count - 1);
                return ERR_NOT_FOUND;
            }
            add_partition(r, names[i], topics[i].partitions[p], -1);
        }
        for (int32_t p = 0; topics[i].count < 0 && p < mt->partitions_count; p++)
            add_partition(r, names[i], mt->partitions[p].partition_index, -1);
    }
    return ERR_OK;
}

static enum err choose_scope(struct reset *r, const struct group *g, struct errtext *why)
{
    enum err rc = ERR_OK;
    int32_t in_plan = 0;

    r->count = 0;
    if (opts_has(r->t->o, "from-file")) {
        r->list = tool_alloc(&r->t->arena, (size_t)r->plan_count, sizeof *r->list);
        for (int32_t i = 0; i < r->plan_count; i++) {
            if (strcmp(r->plan[i].group, g->name) != 0)
                continue;
            add_partition(r, r->plan[i].topic, r->plan[i].partition, r->plan[i].offset);
            in_plan++;
        }
        tidy(r);
        if (in_plan == 0)
            errtext_set(why, "No reset plan for group %s found in %s", g->name,
                        opts_text(r->t->o, "from-file", ""));
        else if (r->count != in_plan)
            errtext_set(why, "%s names a partition of group %s twice",
                        opts_text(r->t->o, "from-file", ""), g->name);
        return in_plan > 0 && r->count == in_plan ? ERR_OK : ERR_INVALID;
    }
    if (opts_has(r->t->o, "all-topics")) {
        r->list = tool_alloc(&r->t->arena, (size_t)g->commit_count, sizeof *r->list);
        for (int32_t i = 0; i < g->commit_count; i++)
            add_partition(r, g->commits[i].topic, g->commits[i].partition, -1);
    } else {
        rc = scope_of_topics(r, why);
    }
    tidy(r);
    return rc;
}

/* ---- reset: to where */

/* The offsets of r->list at a time, or what the log says; in the order of r->list. */
static enum err look_up(struct reset *r, int64_t time, struct log_partition **out,
                        struct errtext *why)
{
    struct log_partition *l = tool_alloc(&r->t->arena, (size_t)r->count, sizeof *l);
    enum err rc;

    for (int32_t i = 0; i < r->count; i++)
        l[i] = (struct log_partition){.topic = r->list[i].topic, .partition = r->list[i].partition};
    rc = log_list_offsets(&r->t->admin, l, r->count, time, why);
    for (int32_t i = 0; rc == ERR_OK && i < r->count; i++) {
        if (l[i].error == KE_NONE)
            continue;
        errtext_set(why, "the offsets of %s-%d are not known: %s", l[i].topic, l[i].partition,
                    group_code_text(l[i].error));
        rc = ERR_NOT_FOUND;
    }
    *out = l;
    return rc;
}

static enum err to_time(struct reset *r, int64_t time, struct errtext *why)
{
    struct log_partition *l, *ends = NULL;
    enum err rc = look_up(r, time, &l, why);

    for (int32_t i = 0; rc == ERR_OK && i < r->count; i++) {
        if (l[i].offset < 0 && ends == NULL)
            rc = look_up(r, LOG_LATEST, &ends, why);
        if (rc == ERR_OK && l[i].offset < 0) {
            /* an exported plan is read by programs: nothing else may stand in it */
            fprintf(opts_has(r->t->o, "export") ? stderr : stdout,
                    "\nWarn: Partition %d from topic %s is empty. Falling back to latest known "
                    "offset.\n",
                    l[i].partition, l[i].topic);
            l[i].offset = ends[i].offset;
        }
        r->list[i].offset = l[i].offset;
    }
    return rc;
}

/* Into the range that the log has. */
static enum err clamp(struct reset *r, struct errtext *why)
{
    struct log_partition *first, *end;
    enum err rc = look_up(r, LOG_EARLIEST, &first, why);

    if (rc == ERR_OK)
        rc = look_up(r, LOG_LATEST, &end, why);
    for (int32_t i = 0; rc == ERR_OK && i < r->count; i++) {
        struct group_commit *c = &r->list[i];
        int64_t within = i64_max(i64_min(c->offset, end[i].offset), first[i].offset);

        if (within != c->offset)
            opts_warn(r->t->o,
                      "New offset (%" PRId64 ") is %s offset for topic partition %s-%d. Value will "
                      "be set to %" PRId64,
                      c->offset, within < c->offset ? "higher than latest" : "lower than earliest",
                      c->topic, c->partition, within);
        c->offset = within;
    }
    return rc;
}

static enum err shift(struct reset *r, const struct group *g, struct errtext *why)
{
    int64_t by = opts_int(r->t->o, "shift-by", 0);

    for (int32_t i = 0; i < r->count; i++) {
        const struct group_commit *c = group_find_commit(g, r->list[i].topic, r->list[i].partition);

        if (c == NULL) {
            errtext_set(why,
                        "Cannot shift offset for partition %s-%d since there is no current "
                        "committed offset",
                        r->list[i].topic, r->list[i].partition);
            return ERR_NOT_FOUND;
        }
        if (__builtin_add_overflow(c->offset, by, &r->list[i].offset))
            r->list[i].offset = by < 0 ? 0 : INT64_MAX;
    }
    return clamp(r, why);
}

static enum err to_current(struct reset *r, const struct group *g, struct errtext *why)
{
    struct log_partition *ends;
    enum err rc = look_up(r, LOG_LATEST, &ends, why);

    for (int32_t i = 0; rc == ERR_OK && i < r->count; i++) {
        const struct group_commit *c = group_find_commit(g, r->list[i].topic, r->list[i].partition);

        r->list[i].offset = c == NULL ? ends[i].offset : c->offset;
    }
    return rc;
}

static enum err choose_offsets(struct reset *r, const struct group *g, struct errtext *why)
{
    const struct opts *o = r->t->o;

    if (opts_has(o, "to-earliest"))
        return to_time(r, LOG_EARLIEST, why);
    if (opts_has(o, "to-latest"))
        return to_time(r, LOG_LATEST, why);
    if (opts_has(o, "to-datetime") || opts_has(o, "by-duration"))
        return to_time(r, r->time_ms, why);
    if (opts_has(o, "shift-by"))
        return shift(r, g, why);
    if (opts_has(o, "to-current"))
        return to_current(r, g, why);
    for (int32_t i = 0; opts_has(o, "to-offset") && i < r->count; i++)
        r->list[i].offset = opts_int(o, "to-offset", 0);
    return clamp(r, why); /* --to-offset, --from-file */
}

/* ---- reset: do it */

static void add_lines(struct reset *r, const struct group *g, const int16_t *errors)
{
    size_t given = 0;

    (void)opts_list(r->t->o, "group", &given);
    for (int32_t i = 0; i < r->count; i++) {
        const struct group_commit *c = &r->list[i];

        if (errors != NULL && errors[i] != KE_NONE)
            continue;
        if (!opts_has(r->t->o, "export")) {
            buf_printf(&r->lines, "%-30s %-30s %-10d %-15" PRId64 "\n", g->name, c->topic,
                       c->partition, c->offset);
            continue;
        }
        if (given != 1) {
            reset_add_csv(&r->lines, g->name);
            buf_printf(&r->lines, ",");
        }
        reset_add_csv(&r->lines, c->topic);
        buf_printf(&r->lines, ",%d,%" PRId64 "\n", c->partition, c->offset);
    }
}

/* Writes r->list. errors: what of it failed, with lines printed. */
static bool execute(struct reset *r, const struct group *g, int16_t *errors)
{
    struct group_tool *t = r->t;
    struct errtext why = {{0}};
    bool ok = true;
    int16_t code;

    if (g->kind == GROUP_OF_ZOOKEEPER) {
        enum err rc = zk_group_commit(t->zk, g->name, r->list, r->count, &why);

        if (rc != ERR_OK)
            (void)group_tool_error("%s", why.text);
        return rc == ERR_OK;
    }
    if (r->count == 0)
        return true;
    code = groups_commit(&t->admin, t->deadline_ms, g->name, r->list, r->count, errors);
    if (code != KE_NONE) {
        (void)group_tool_error("The offsets of group '%s' are not reset: %s", g->name,
                               group_code_text(code));
        for (int32_t i = 0; i < r->count; i++)
            errors[i] = code;
        return false;
    }
    for (int32_t i = 0; i < r->count; i++) {
        if (errors[i] == KE_NONE)
            continue;
        ok = false;
        (void)group_tool_error("%s-%d of group '%s' is not reset: %s", r->list[i].topic,
                               r->list[i].partition, g->name,
                               errors[i] == KE_UNKNOWN_MEMBER_ID
                                   ? "a member has joined meanwhile; stop the members first"
                                   : group_code_text(errors[i]));
    }
    return ok;
}

static bool reset_group(struct reset *r, struct group *g)
{
    struct group_tool *t = r->t;
    struct errtext why = {{0}};
    int16_t *errors;
    bool ok = true;

    if (group_exists(g) && strcmp(g->state, "Empty") != 0) {
        (void)group_tool_error("Assignments can only be reset if the group '%s' is inactive, but "
                               "the current state is %s.",
                               g->name, g->state);
        return false;
    }
    if (g->kind == GROUP_OF_ZOOKEEPER && !group_exists(g) && !opts_has(t->o, "bootstrap-server")) {
        (void)group_tool_error("Consumer group '%s' does not exist.", g->name);
        return false;
    }
    if ((g->kind == GROUP_OF_BROKERS && group_exists(g) &&
         groups_read_commits(&t->admin, t->deadline_ms, g, 1, &why) != ERR_OK) ||
        choose_scope(r, g, &why) != ERR_OK || choose_offsets(r, g, &why) != ERR_OK) {
        (void)group_tool_error("%s", why.text);
        return false;
    }
    if (r->count == 0)
        opts_warn(t->o,
                  "group '%s' has committed nothing: there is nothing to reset; --topic "
                  "names topics to set offsets for",
                  g->name);
    errors = tool_alloc(&t->arena, (size_t)r->count, sizeof *errors);
    if (opts_has(t->o, "execute"))
        ok = execute(r, g, errors);
    add_lines(r, g, opts_has(t->o, "execute") ? errors : NULL);
    return ok;
}

/* Wrong values of options are reported before any broker is asked. */
static enum err parse_values(struct reset *r, struct errtext *why)
{
    const struct opts *o = r->t->o;
    const char *file = opts_text(o, "from-file", NULL);
    size_t given = 0;
    const char *const *groups = opts_list(o, "group", &given);
    struct buf text = {0};
    int64_t ago_ms = 0;
    enum err rc = ERR_OK;

    if (opts_has(o, "to-datetime"))
        rc = reset_parse_datetime(opts_text(o, "to-datetime", ""), &r->time_ms, why);
    if (opts_has(o, "by-duration")) {
        rc = reset_parse_duration(opts_text(o, "by-duration", ""), &ago_ms, why);
        /* below 0 are the numbers that mean something else to a broker */
        if (__builtin_sub_overflow(clock_wall_ms(), ago_ms, &r->time_ms))
            r->time_ms = ago_ms < 0 ? INT64_MAX : 0;
        r->time_ms = i64_max(r->time_ms, 0);
    }
    if (rc != ERR_OK || file == NULL)
        return rc;
    rc = fsx_read_file(file, RESET_PLAN_BYTES_MAX, &text);
    if (rc != ERR_OK)
        errtext_set(why, "--from-file %s: %s", file, err_reason(rc));
    else {
        rc = reset_parse_plan(buf_cstr(&text), text.len, given == 1 ? groups[0] : NULL,
                              &r->t->arena, &r->plan, &r->plan_count, why);
        if (rc != ERR_OK)
            errtext_wrap(why, "--from-file %s", file);
    }
    buf_fini(&text);
    return rc;
}

int group_tool_reset(struct group_tool *t)
{
    struct reset r = {.t = t};
    struct errtext why = {{0}};
    struct group *groups;
    bool failed = false;
    int32_t count;
    int rc;

    if (parse_values(&r, &why) != ERR_OK)
        return opts_fail(t->o, "%s", why.text);
    if (!t->has_brokers)
        return opts_fail(t->o, "the brokers must be asked where the logs begin and end, and none "
                               "can be reached");
    rc = select_all(t, &groups, &count);
    if (rc >= 0)
        return rc;
    for (int32_t i = 0; i < count; i++)
        if (!may_change(t, groups, count, i) || !reset_group(&r, &groups[i]))
            failed = true;
    if (r.lines.len > 0 && !opts_has(t->o, "export"))
        printf("\n%-30s %-30s %-10s %-15s\n", "GROUP", "TOPIC", "PARTITION", "NEW-OFFSET");
    if (r.lines.len > 0)
        (void)fwrite(r.lines.p, 1, r.lines.len, stdout);
    buf_fini(&r.lines);
    return failed ? 1 : 0;
}

/* ---- delete */

/* A group in ZooKeeper; the sentences are Kafka 1.1's. */
static bool delete_in_zk(struct group_tool *t, const struct group *g)
{
    size_t topic_count = 0;
    const char *const *topics = opts_list(t->o, "topic", &topic_count);
    struct errtext why = {{0}};
    enum err rc;

    if (!group_exists(g)) {
        (void)group_tool_error("Delete for group '%s' failed because group does not exist.",
                               g->name);
        return false;
    }
    if (g->member_count > 0) {
        (void)group_tool_error("Delete for group '%s' failed because its consumers are still "
                               "active.",
                               g->name);
        return false;
    }
    for (size_t i = 0; i < topic_count; i++) {
        rc = zk_group_delete_offset(t->zk, g->name, topics[i], -1, &why);
        if (rc != ERR_OK) {
            (void)group_tool_error(
                "Delete for group '%s' topic '%s' failed: %s", g->name, topics[i],
                rc == ERR_NOT_FOUND ? "the group has nothing of that topic." : why.text);
            return false;
        }
        printf("Deleted consumer group information for group '%s' topic '%s' in zookeeper.\n",
               g->name, topics[i]);
    }
    if (topic_count > 0)
        return true;
    rc = zk_group_delete(t->zk, g->name, &why);
    if (rc != ERR_OK && rc != ERR_NOT_FOUND) {
        (void)group_tool_error("Delete for group '%s' failed: %s", g->name, why.text);
        return false;
    }
    printf("Deleted all consumer group information for group '%s' in zookeeper.\n", g->name);
    return true;
}

static void add_name(struct buf *names, const char *name)
{
    buf_printf(names, "%s%s", names->len == 0 ? "" : ", ", name);
}

int group_tool_delete(struct group_tool *t)
{
    struct buf deleted = {0}, refused = {0};
    struct group *groups;
    bool failed = false;
    int32_t count;
    int rc = select_all(t, &groups, &count);

    if (rc >= 0)
        return rc;
    for (int32_t i = 0; i < count; i++) {
        int16_t code;

        if (!may_change(t, groups, count, i)) {
            failed = true;
        } else if (groups[i].kind == GROUP_OF_ZOOKEEPER || group_tool_is_zk_only(t)) {
            failed |= !delete_in_zk(t, &groups[i]);
        } else {
            code = groups_delete(&t->admin, t->deadline_ms, groups[i].name);
            if (code == KE_NONE)
                add_name(&deleted, groups[i].name);
            else
                buf_printf(&refused, "* Group '%s' could not be deleted due to: %s\n",
                           groups[i].name, group_code_text(code));
        }
    }
    if (refused.len > 0) {
        (void)group_tool_error("Deletion of some consumer groups failed:");
        (void)fwrite(refused.p, 1, refused.len, stdout);
        if (deleted.len > 0)
            printf("\nThese consumer groups were deleted successfully: '%s'\n", buf_cstr(&deleted));
    } else if (deleted.len > 0) {
        printf("Deletion of requested consumer groups ('%s') was successful.\n",
               buf_cstr(&deleted));
    }
    failed |= refused.len > 0;
    buf_fini(&deleted);
    buf_fini(&refused);
    return failed ? 1 : 0;
}

/* ---- delete offsets */

/* All partitions of a topic: those that it has, and those that the group committed for (it may have
 * been deleted). Appends to list, which has room. */
static void add_whole_topic(const struct kp_MetadataResponse *m, const struct group *g,
                            const char *topic, struct group_partition *list, int32_t *count)
{
    const struct kp_MetadataResponse_MetadataResponseTopic *mt = topic_of(m, topic);

    for (int32_t p = 0; mt != NULL && p < mt->partitions_count; p++)
        list[(*count)++] = (struct group_partition){topic, mt->partitions[p].partition_index};
    for (int32_t c = 0; c < g->commit_count; c++)
        if (strcmp(g->commits[c].topic, topic) == 0)
            list[(*count)++] = (struct group_partition){topic, g->commits[c].partition};
}

static int32_t tidy_partitions(struct group_partition *list, int32_t count)
{
    int32_t n = 0;

    if (count > 1)
        qsort(list, (size_t)count, sizeof *list, group_partition_order);
    for (int32_t i = 0; i < count; i++)
        if (n == 0 || group_partition_order(&list[n - 1], &list[i]) != 0)
            list[n++] = list[i];
    return n;
}

/* The partitions that --topic names, sorted. */
static enum err offsets_to_delete(struct group_tool *t, const struct group *g,
                                  struct group_partition **out, int32_t *count_out,
                                  struct errtext *why)
{
    size_t topic_count = 0;
    const char *const *texts = opts_list(t->o, "topic", &topic_count);
    struct reset_topic *topics = tool_alloc(&t->arena, topic_count, sizeof *topics);
    const char **names = tool_alloc(&t->arena, topic_count, sizeof(char *));
    struct kp_MetadataResponse m = {0};
    size_t most = 0;
    int32_t n = 0;

    for (size_t i = 0; i < topic_count; i++) {
        if (reset_parse_topic(texts[i], &t->arena, &topics[i], why) != ERR_OK)
            return ERR_INVALID;
        names[i] = topics[i].topic;
    }
    if (t->has_brokers && admin_metadata(&t->admin, names, topic_count, &m, why) != ERR_OK)
        return ERR_UNREACHABLE;
    for (size_t i = 0; i < topic_count; i++) {
        const struct kp_MetadataResponse_MetadataResponseTopic *mt = topic_of(&m, names[i]);

        most += topics[i].count >= 0
                    ? (size_t)topics[i].count
                    : (size_t)g->commit_count + (size_t)(mt == NULL ? 0 : mt->partitions_count);
    }
    *out = tool_alloc(&t->arena, most, sizeof **out);
    for (size_t i = 0; i < topic_count; i++) {
        int32_t before = n;

        for (int32_t p = 0; p < topics[i].count; p++)
            (*out)[n++] = (struct group_partition){topics[i].topic, topics[i].partitions[p]};
        if (topics[i].count < 0)
            add_whole_topic(&m, g, topics[i].topic, *out, &n);
        if (n == before) {
            errtext_set(why,
                        "topic '%s' does not exist, and group '%s' has committed nothing for it",
                        topics[i].topic, g->name);
            return ERR_NOT_FOUND;
        }
    }
    *count_out = tidy_partitions(*out, n);
    return ERR_OK;
}

static int16_t delete_offsets_of(struct group_tool *t, const struct group *g,
                                 const struct group_partition *list, int32_t count, int16_t *errors)
{
    struct errtext why = {{0}};

    if (g->kind == GROUP_OF_BROKERS)
        return groups_delete_offsets(&t->admin, t->deadline_ms, g->name, list, count, errors);
    for (int32_t i = 0; i < count; i++) {
        enum err rc =
            zk_group_delete_offset(t->zk, g->name, list[i].topic, list[i].partition, &why);

        errors[i] = rc == ERR_OK          ? KE_NONE
                    : rc == ERR_NOT_FOUND ? KE_UNKNOWN_TOPIC_OR_PARTITION
                                          : KE_UNKNOWN_SERVER_ERROR;
    }
    return KE_NONE;
}

static void print_deletion(const char *group, const struct group_partition *list, int32_t count,
                           int16_t code, const int16_t *errors, const char *topics)
{
    bool has_error = false;

    for (int32_t i = 0; code == KE_NONE && i < count; i++)
        has_error |= errors[i] != KE_NONE;
    if (code == KE_GROUP_ID_NOT_FOUND)
        (void)group_tool_error("'%s' does not exist.", group);
    else if (code == KE_NON_EMPTY_GROUP)
        (void)group_tool_error(
            "Deleting offsets of a consumer group '%s' is forbidden if the group "
            "is not empty.",
            group);
    else if (code != KE_NONE)
        (void)group_tool_error("The offsets of group '%s' are not deleted: %s", group,
                               group_code_text(code));
    else if (has_error)
        (void)group_tool_error("Encounter some partition level error, see the follow-up details:");
    else
        printf("Request succeed for deleting offsets with topic %s group %s\n", topics, group);
    printf("\n%-30s %-15s %-15s\n", "TOPIC", "PARTITION", "STATUS");
    for (int32_t i = 0; i < count; i++) {
        int16_t e = code != KE_NONE ? code : errors[i];

        if (e == KE_NONE)
            printf("%-30s %-15d %-15s\n", list[i].topic, list[i].partition, "Successful");
        else
            printf("%-30s %-15d Error: %s\n", list[i].topic, list[i].partition, group_code_text(e));
    }
}

int group_tool_delete_offsets(struct group_tool *t)
{
    size_t given = 0, topic_count = 0;
    const char *const *topics = opts_list(t->o, "topic", &topic_count);
    struct group_partition *list;
    struct errtext why = {{0}};
    struct group *groups;
    struct buf names = {0};
    int16_t *errors, code;
    int32_t count, n = 0;
    bool failed = false;
    int rc;

    (void)opts_list(t->o, "group", &given);
    if (given != 1)
        return opts_fail(t->o, "--delete-offsets takes one --group, not %zu", given);
    rc = select_all(t, &groups, &count);
    if (rc >= 0)
        return rc;
    if (!may_change(t, groups, count, 0))
        return 1;
    if (!group_exists(&groups[0]))
        return group_tool_error("'%s' does not exist.", groups[0].name);
    if (groups[0].kind == GROUP_OF_ZOOKEEPER && groups[0].member_count > 0)
        return group_tool_error("Deleting offsets of a consumer group '%s' is forbidden if the "
                                "group is not empty.",
                                groups[0].name);
    if ((groups[0].kind == GROUP_OF_BROKERS &&
         groups_read_commits(&t->admin, t->deadline_ms, groups, 1, &why) != ERR_OK) ||
        offsets_to_delete(t, &groups[0], &list, &n, &why) != ERR_OK)
        return group_tool_error("%s", why.text);
    errors = tool_alloc(&t->arena, (size_t)n, sizeof *errors);
    code = delete_offsets_of(t, &groups[0], list, n, errors);
    for (size_t i = 0; i < topic_count; i++)
        add_name(&names, topics[i]);
    print_deletion(groups[0].name, list, n, code, errors, buf_cstr(&names));
    for (int32_t i = 0; i < n; i++)
        failed |= errors[i] != KE_NONE;
    buf_fini(&names);
    return failed || code != KE_NONE ? 1 : 0;
}
