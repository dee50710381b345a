/* SPDX-License-Identifier: Apache-2.0 */
/* kafuka-consumer-groups --describe: offsets with lag, members, states, in the columns of
 * Kafka 3.9; of groups in ZooKeeper alone in those of Kafka 1.1. */
#include "tools/consumer_groups.h"

#include "common/base/clock.h"
#include "tools/lib/mem.h"

#include <stdio.h>
#include <stdlib.h>

enum { COLUMN_MIN = 15, INSTANCE_MIN = 17, COORDINATOR_MIN = 25, NUMBER_TEXT = 24, MS = 1000 };

/* One line of --offsets. */
struct row {
    const char *topic;
    int32_t partition;
    const char *id, *host, *client;
    int64_t committed, end, lag; /* -1: not known */
    int64_t lag_ms;              /* -1: not known */
};
struct rows {
    struct row *items;
    int32_t count;
};

/* "\nError: ..." or a word on stderr, as Kafka does; whether there is something to show. *failed:
 * set when the group could not be described. */
static bool announce(const struct group *g, int32_t row_count, bool *failed)
{
    (void)fflush(stdout);
    if (g->error != KE_NONE && g->error != KE_GROUP_ID_NOT_FOUND) {
        *failed = true;
        (void)group_tool_error("Consumer group '%s' cannot be described: %s", g->name,
                               g->why != NULL ? g->why : group_code_text(g->error));
        return false;
    }
    if (!group_exists(g)) {
        *failed = true;
        (void)group_tool_error("Consumer group '%s' does not exist.", g->name);
        return false;
    }
    if (strcmp(g->state, "Empty") == 0)
        fprintf(stderr, "\nConsumer group '%s' has no active members.\n", g->name);
    else if (strcmp(g->state, "Stable") != 0)
        fprintf(stderr, "\nWarning: Consumer group '%s' is rebalancing.\n", g->name);
    return row_count > 0;
}

/* ---- offsets */

static void add_row(struct rows *r, const struct group *g, const struct group_member *m,
                    const char *topic, int32_t partition)
{
    const struct group_commit *c = group_find_commit(g, topic, partition);

    r->items[r->count++] = (struct row){
        .topic = topic,
        .partition = partition,
        .id = m == NULL ? "-" : m->id,
        .host = m == NULL ? "-" : m->host,
        .client = m == NULL ? "-" : m->client_id,
        .committed = c == NULL ? -1 : c->offset,
        .end = -1,
        .lag = -1,
        .lag_ms = -1,
    };
}

static int most_partitions_first(const void *x, const void *y)
{
    const struct group_member *const *a = x, *const *b = y;

    if ((*a)->partition_count != (*b)->partition_count)
        return (*a)->partition_count < (*b)->partition_count ? 1 : -1;
    return strcmp((*a)->id, (*b)->id);
}

static int by_partition(const void *x, const void *y)
{
    const struct row *a = x, *b = y;
    int c = strcmp(a->topic, b->topic);

    return c != 0 ? c : (a->partition > b->partition) - (a->partition < b->partition);
}

/* The members' partitions, those of the member that has most first, then the rest. */
static struct rows make_rows(struct group_tool *t, const struct group *g)
{
    const struct group_member **members =
        tool_alloc(&t->arena, (size_t)g->member_count, sizeof(struct group_member *));
    struct rows r = {0};
    int32_t n = g->commit_count + g->other_count;

    for (int32_t i = 0; i < g->member_count; i++) {
        members[i] = &g->members[i];
        n += g->members[i].partition_count;
    }
    if (g->member_count > 1)
        qsort(members, (size_t)g->member_count, sizeof(struct group_member *),
              most_partitions_first);
    r.items = tool_alloc(&t->arena, (size_t)n, sizeof *r.items);
    for (int32_t i = 0; i < g->member_count; i++)
        for (int32_t p = 0; p < members[i]->partition_count; p++)
            add_row(&r, g, members[i], members[i]->partitions[p].topic,
                    members[i]->partitions[p].partition);
    for (int32_t i = 0; i < g->commit_count; i++)
        if (!group_is_assigned(g, g->commits[i].topic, g->commits[i].partition))
            add_row(&r, g, NULL, g->commits[i].topic, g->commits[i].partition);
    for (int32_t i = 0; i < g->other_count; i++)
        add_row(&r, g, NULL, g->others[i].topic, g->others[i].partition);
    if (group_tool_is_zk_only(t) && r.count > 1)
        qsort(r.items, (size_t)r.count, sizeof *r.items, by_partition);
    return r;
}

/* Where the logs of all rows of all groups end, in one request to each leader; with the age of the
 * first record that is not read, if that is asked for. */
static void fill_ends(struct group_tool *t, struct rows *rows, int32_t group_count)
{
    struct log_partition *list;
    struct errtext why = {{0}};
    int32_t n = 0;

    for (int32_t g = 0; g < group_count; g++)
        n += rows[g].count;
    list = tool_alloc(&t->arena, (size_t)n, sizeof *list);
    n = 0;
    for (int32_t g = 0; g < group_count; g++)
        for (int32_t i = 0; i < rows[g].count; i++)
            list[n++] = (struct log_partition){.topic = rows[g].items[i].topic,
                                               .partition = rows[g].items[i].partition};
    n = log_partitions_sort(list, n);
    if (!t->has_brokers || n == 0)
        return;
    if (log_list_offsets(&t->admin, list, n, LOG_LATEST, &why) != ERR_OK) {
        opts_warn(t->o, "the ends of the logs are not known: %s", why.text);
        return;
    }
    for (int32_t i = 0; i < n; i++)
        if (list[i].error != KE_NONE)
            opts_warn(t->o, "the end of %s-%d is not known: %s", list[i].topic, list[i].partition,
                      group_code_text(list[i].error));
    for (int32_t g = 0; g < group_count; g++) {
        for (int32_t i = 0; i < rows[g].count; i++) {
            struct row *r = &rows[g].items[i];
            const struct log_partition *p = log_partition_find(list, n, r->topic, r->partition);

            if (p == NULL || p->error != KE_NONE)
                continue;
            r->end = p->offset;
            if (r->committed >= 0)
                r->lag = r->end - r->committed;
        }
    }
}

/* The age of the first record that the group has not read, of one group's rows: a partition may
 * stand at another offset for each group. */
static void fill_ages(struct group_tool *t, struct rows *rows)
{
    struct log_partition *list = tool_alloc(&t->arena, (size_t)rows->count, sizeof *list);
    struct errtext why = {{0}};
    int64_t now_ms = clock_wall_ms();
    int32_t n = 0;

    for (int32_t i = 0; i < rows->count; i++) {
        rows->items[i].lag_ms = rows->items[i].lag == 0 ? 0 : -1;
        if (rows->items[i].lag > 0)
            list[n++] = (struct log_partition){.topic = rows->items[i].topic,
                                               .partition = rows->items[i].partition};
    }
    n = log_partitions_sort(list, n);
    if (n == 0 || log_list_offsets(&t->admin, list, n, LOG_EARLIEST, &why) != ERR_OK)
        return;
    for (int32_t i = 0; i < rows->count; i++) {
        struct log_partition *p =
            log_partition_find(list, n, rows->items[i].topic, rows->items[i].partition);

        if (p != NULL) /* what was deleted meanwhile will not be read any more */
            p->offset = i64_max(p->offset, rows->items[i].committed);
    }
    log_read_times(&t->admin, list, n);
    for (int32_t i = 0; i < rows->count; i++) {
        const struct log_partition *p =
            log_partition_find(list, n, rows->items[i].topic, rows->items[i].partition);

        if (p != NULL && p->timestamp_ms >= 0)
            rows->items[i].lag_ms = i64_max(now_ms - p->timestamp_ms, 0);
    }
}

static const char *number_text(int64_t n, bool is_known, char out[NUMBER_TEXT])
{
    if (is_known)
        (void)snprintf(out, NUMBER_TEXT, "%" PRId64, n);
    else
        (void)snprintf(out, NUMBER_TEXT, "-");
    return out;
}

static int wider(int width, const char *text)
{
    return i32_max(width, (int)strlen(text));
}

/* "-" for what is not known. A lag below 0 is one: the log was cut, or made anew. */
static void print_row(const struct row *r, bool with_age)
{
    char partition[NUMBER_TEXT], committed[NUMBER_TEXT], end[NUMBER_TEXT], lag[NUMBER_TEXT],
        age[NUMBER_TEXT];

    printf("%-10s %-15s %-15s %-15s ", number_text(r->partition, true, partition),
           number_text(r->committed, r->committed >= 0, committed),
           number_text(r->end, r->end >= 0, end),
           number_text(r->lag, r->end >= 0 && r->committed >= 0, lag));
    if (with_age)
        printf("%-12s ", number_text(r->lag_ms / MS, r->lag_ms >= 0, age));
}

static void print_offsets(const struct group_tool *t, const struct group *g, const struct rows *r)
{
    bool zk_only = group_tool_is_zk_only(t), with_age = opts_has(t->o, "verbose");
    int group = wider(COLUMN_MIN, g->name), topic = COLUMN_MIN, id = COLUMN_MIN, host = COLUMN_MIN;

    for (int32_t i = 0; i < r->count; i++) {
        topic = wider(topic, r->items[i].topic);
        id = wider(id, r->items[i].id);
        host = wider(host, r->items[i].host);
    }
    printf("\n");
    if (!zk_only)
        printf("%-*s ", group, "GROUP");
    printf("%-*s %-10s %-15s %-15s %-15s ", topic, "TOPIC", "PARTITION", "CURRENT-OFFSET",
           "LOG-END-OFFSET", "LAG");
    if (with_age)
        printf("%-12s ", "LAG-SECONDS");
    printf("%-*s ", id, "CONSUMER-ID");
    if (!zk_only)
        printf("%-*s %s", host, "HOST", "CLIENT-ID");
    for (int32_t i = 0; i < r->count; i++) {
        const struct row *row = &r->items[i];

        printf("\n");
        if (!zk_only)
            printf("%-*s ", group, g->name);
        printf("%-*s ", topic, row->topic);
        print_row(row, with_age);
        printf("%-*s ", id, row->id);
        if (!zk_only)
            printf("%-*s %s", host, row->host, row->client);
    }
}

static void describe_offsets(struct group_tool *t, struct group *groups, int32_t count,
                             bool *failed)
{
    struct rows *rows = tool_alloc(&t->arena, (size_t)count, sizeof *rows);
    bool any = false;

    for (int32_t i = 0; i < count; i++)
        rows[i] = make_rows(t, &groups[i]);
    fill_ends(t, rows, count);
    for (int32_t i = 0; i < count; i++) {
        if (!announce(&groups[i], rows[i].count, failed))
            continue;
        if (opts_has(t->o, "verbose") && t->has_brokers)
            fill_ages(t, &rows[i]);
        print_offsets(t, &groups[i], &rows[i]);
        any = true;
    }
    if (any)
        printf("\n");
}

/* ---- members */

static int by_text(const void *x, const void *y)
{
    const char *const *a = x, *const *b = y;

    return strcmp(*a, *b);
}

/* Sorted texts with a separator between. */
static void join(struct buf *out, const char **texts, int32_t count, const char *separator)
{
    if (count > 1)
        qsort(texts, (size_t)count, sizeof(char *), by_text);
    for (int32_t i = 0; i < count; i++)
        buf_printf(out, "%s%s", i == 0 ? "" : separator, texts[i]);
}

/* "(0,1), (2)": each topic's partitions, all sorted as text, as Kafka 3.9 prints them. */
static const char *assignment_text(struct arena *a, const struct group_member *m)
{
    const char **topics = tool_alloc(a, (size_t)m->partition_count, sizeof(char *));
    const char **numbers = tool_alloc(a, (size_t)m->partition_count, sizeof(char *));
    struct buf out = {0};
    int32_t topic_count = 0;
    const char *copy;

    for (int32_t i = 0; i < m->partition_count;) {
        struct buf one = {0};
        int32_t n = 0;

        for (const char *topic = m->partitions[i].topic;
             i < m->partition_count && strcmp(m->partitions[i].topic, topic) == 0; i++) {
            char number[NUMBER_TEXT];

            (void)snprintf(number, sizeof number, "%d", m->partitions[i].partition);
            numbers[n++] = arena_strdup(a, number, strlen(number));
        }
        buf_printf(&one, "(");
        join(&one, numbers, n, ",");
        buf_printf(&one, ")");
        topics[topic_count++] = arena_strdup(a, buf_cstr(&one), one.len);
        buf_fini(&one);
    }
    join(&out, topics, topic_count, ", ");
    copy = m->partition_count == 0 ? "-" : arena_strdup(a, buf_cstr(&out), out.len);
    buf_fini(&out);
    return copy;
}

static void print_members(struct group_tool *t, const struct group *g)
{
    bool is_verbose = opts_has(t->o, "verbose"), with_instance = false;
    int group = wider(COLUMN_MIN, g->name), id = COLUMN_MIN, instance = INSTANCE_MIN,
        host = COLUMN_MIN, client = COLUMN_MIN;

    for (int32_t i = 0; i < g->member_count; i++) {
        const struct group_member *m = &g->members[i];

        id = wider(id, m->id);
        instance = wider(instance, m->instance_id == NULL ? "" : m->instance_id);
        host = wider(host, m->host);
        client = wider(client, m->client_id);
        with_instance |= m->instance_id != NULL && m->instance_id[0] != '\0';
    }
    printf("\n%-*s %-*s ", group, "GROUP", id, "CONSUMER-ID");
    if (with_instance)
        printf("%-*s ", instance, "GROUP-INSTANCE-ID");
    printf("%-*s %-*s %-15s %s\n", host, "HOST", client, "CLIENT-ID", "#PARTITIONS",
           is_verbose ? "ASSIGNMENT" : "");
    for (int32_t i = 0; i < g->member_count; i++) {
        const struct group_member *m = &g->members[i];

        printf("%-*s %-*s ", group, g->name, id, m->id);
        if (with_instance)
            printf("%-*s ", instance, m->instance_id == NULL ? "" : m->instance_id);
        printf("%-*s %-*s %-15d %s\n", host, m->host, client, m->client_id, m->partition_count,
               is_verbose ? assignment_text(&t->arena, m) : "");
    }
}

/* ---- states */

static void print_state(const struct group *g)
{
    char coordinator[300];
    int width;

    if (g->kind == GROUP_OF_ZOOKEEPER)
        (void)snprintf(coordinator, sizeof coordinator, "ZooKeeper");
    else
        (void)snprintf(coordinator, sizeof coordinator, "%s:%d  (%d)",
                       g->coordinator_host == NULL ? "" : g->coordinator_host, g->coordinator_port,
                       g->coordinator);
    width = wider(COORDINATOR_MIN, coordinator);
    printf("\n%-*s %-25s %-20s %-15s %s", width, "GROUP", "COORDINATOR (ID)", "ASSIGNMENT-STRATEGY",
           "STATE", "#MEMBERS");
    printf("\n%-*s %-25s %-20s %-15s %d\n", width, g->name, coordinator, g->assignor, g->state,
           g->member_count);
}

/* ---- all */

/* What the groups have committed, wherever that is kept. */
static bool read_commits(struct group_tool *t, struct group *groups, int32_t count)
{
    for (int32_t i = 0; i < count; i++) {
        struct group shadow = {.name = groups[i].name, .coordinator = -1};
        struct errtext why = {{0}};
        bool of_brokers = groups[i].kind == GROUP_OF_BROKERS;

        /* consumers of Kafka 0.8.2 to 1.1 may work through ZooKeeper and commit to the brokers */
        if (!group_exists(&groups[i]) || !t->has_brokers ||
            (!of_brokers && groups[i].commit_count > 0))
            continue;
        if (groups_read_commits(&t->admin, t->deadline_ms, of_brokers ? &groups[i] : &shadow, 1,
                                &why) != ERR_OK &&
            of_brokers) {
            (void)opts_fail(t->o, "%s", why.text);
            return false;
        }
        if (!of_brokers) {
            groups[i].commits = shadow.commits;
            groups[i].commit_count = shadow.commit_count;
        }
    }
    return true;
}

/* A group that was looked for in ZooKeeper only, and that the brokers have. */
static void hint_at_brokers(struct group_tool *t, const struct group *g)
{
    struct group other = {.name = g->name};
    struct errtext why = {{0}};

    if (group_exists(g) || !group_tool_is_zk_only(t) || !t->has_brokers)
        return;
    if (groups_describe(&t->admin, t->deadline_ms, &other, 1, &why) == ERR_OK &&
        other.error == KE_NONE && group_exists(&other)) {
        (void)fflush(stdout);
        (void)opts_fail(t->o,
                        "'%s' is not a group in ZooKeeper but one of the brokers: use "
                        "--bootstrap-server %s",
                        g->name, t->admin.bootstrap);
    }
}

int group_tool_describe(struct group_tool *t)
{
    bool failed = false;
    struct group *groups;
    int32_t count;
    int rc = group_tool_select(t, &groups, &count, &failed);

    if (rc >= 0)
        return rc;
    if (group_tool_is_zk_only(t)) {
        fprintf(stderr, "Note: This will only show information about consumers that use ZooKeeper "
                        "(not those using the Java consumer API).\n");
        (void)fflush(stderr);
    }
    if (!opts_has(t->o, "members") && !opts_has(t->o, "state")) {
        if (!read_commits(t, groups, count))
            return 1;
        describe_offsets(t, groups, count, &failed);
    }
    for (int32_t i = 0; i < count; i++) {
        if (opts_has(t->o, "members") && announce(&groups[i], 1, &failed))
            print_members(t, &groups[i]);
        if (opts_has(t->o, "state") && announce(&groups[i], 1, &failed))
            print_state(&groups[i]);
        hint_at_brokers(t, &groups[i]);
    }
    return failed ? 1 : 0;
}
