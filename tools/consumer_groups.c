/* SPDX-License-Identifier: Apache-2.0 */
/* kafuka-consumer-groups: lists, describes, explains, resets and deletes consumer groups, those of
 * the brokers and those in ZooKeeper. Here: options, connections, --list. */
#include "tools/consumer_groups.h"

#include "common/base/clock.h"
#include "tools/lib/mem.h"
#include "tools/lib/tool.h"
#include "tools/lib/topics.h"
#include "tools/lib/zookeeper.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

enum { DEFAULT_TIMEOUT_MS = 5000, ZK_FOUND_TIMEOUT_MS = 1000, GROUP_WIDTH = 15, GROUP_GAP = 10 };

static const struct opt_spec specs[] = {
    {"bootstrap-server", OPT_TEXT, "host:port,...",
     "One or more brokers of the cluster; the others are found through them.", 0, 0},
    {"zookeeper", OPT_TEXT, "host:port,.../chroot",
     "Show the groups whose consumers share their work through ZooKeeper, as those of Kafka 0.8 to "
     "1.1 do. Together with --bootstrap-server: both kinds of group.",
     0, 0},
    {"no-zookeeper", OPT_FLAG, NULL,
     "With --bootstrap-server: do not look for groups in the ZooKeeper that the brokers use.", 0,
     0},
    {"command-config", OPT_TEXT, "file",
     "A properties file for the connection: security.protocol, ssl.ca.location and the like.", 0,
     0},
    {"list", OPT_FLAG, NULL, "List the names of all consumer groups.", 0, 0},
    {"describe", OPT_FLAG, NULL,
     "Show for each partition of a group the committed offset and the lag: the number of records "
     "from that offset on.",
     0, 0},
    {"explain", OPT_FLAG, NULL,
     "Show the state of a group and its latest rebalances with their reasons, as its coordinator "
     "remembers them.",
     0, 0},
    {"reset-offsets", OPT_FLAG, NULL,
     "Set the offsets of a group that has no members. Without --execute it is only shown what "
     "would change.",
     0, 0},
    {"delete", OPT_FLAG, NULL, "Delete groups that have no members, with all their offsets.", 0, 0},
    {"delete-offsets", OPT_FLAG, NULL,
     "Delete the offsets that a group has committed for some topics.", 0, 0},
    {"validate-regex", OPT_TEXT, "regex", "Say whether this regular expression is valid, and end.",
     0, 0},
    {"group", OPT_LIST, "group", "The consumer group to work on; may be repeated.", 0, 0},
    {"all-groups", OPT_FLAG, NULL, "Work on all consumer groups.", 0, 0},
    {"topic", OPT_LIST, "topic[:0,1]",
     "A topic, or some of its partitions, whose offsets are reset or deleted; may be repeated.", 0,
     0},
    {"all-topics", OPT_FLAG, NULL,
     "With --reset-offsets: reset all partitions that the group has committed offsets for.", 0, 0},
    {"members", OPT_FLAG, NULL, "With --describe: show the members instead of the offsets.", 0, 0},
    {"offsets", OPT_FLAG, NULL, "With --describe: show the offsets. This is the default.", 0, 0},
    {"state", OPT_MAYBE, "state,...",
     "With --describe: show the state and the coordinator of the group. With --list: show the "
     "state of each group, or only the groups in these states (stable, empty, ...).",
     0, 0},
    {"type", OPT_MAYBE, "type,...",
     "With --list: show the type of each group, or only the groups of these types: classic, "
     "consumer, zookeeper.",
     0, 0},
    {"verbose", OPT_FLAG, NULL,
     "With --describe: show also the partitions of each member, and beside offsets how old the "
     "first unread record is, in seconds.",
     0, 0},
    {"dry-run", OPT_FLAG, NULL,
     "With --reset-offsets: only show what would change. This is the default.", 0, 0},
    {"execute", OPT_FLAG, NULL, "With --reset-offsets: change the offsets.", 0, 0},
    {"export", OPT_FLAG, NULL,
     "With --reset-offsets: print the new offsets as CSV, which --from-file reads.", 0, 0},
    {"to-offset", OPT_INT, "offset", "With --reset-offsets: set all partitions to this offset.",
     INT64_MIN, INT64_MAX},
    {"to-earliest", OPT_FLAG, NULL, "With --reset-offsets: set each partition to its first record.",
     0, 0},
    {"to-latest", OPT_FLAG, NULL,
     "With --reset-offsets: set each partition to the offset after its last record.", 0, 0},
    {"to-current", OPT_FLAG, NULL,
     "With --reset-offsets: set each partition to the offset that is committed now.", 0, 0},
    {"shift-by", OPT_INT, "number",
     "With --reset-offsets: move each offset by this number of records; a negative number moves it "
     "back.",
     INT64_MIN, INT64_MAX},
    {"to-datetime", OPT_TEXT, "YYYY-MM-DDTHH:mm:SS.sss",
     "With --reset-offsets: set each partition to its first record that is not older than this "
     "time.",
     0, 0},
    {"by-duration", OPT_TEXT, "PnDTnHnMnS",
     "With --reset-offsets: set each partition to its first record that is not older than this "
     "duration.",
     0, 0},
    {"from-file", OPT_TEXT, "file",
     "With --reset-offsets: set the offsets that this CSV file lists.", 0, 0},
    {"timeout", OPT_INT, "ms",
     "Give up when a broker or ZooKeeper does not answer, or a coordinator is not ready, within "
     "this time (default 5000).",
     1, INT32_MAX},
    {"new-consumer", OPT_DEPRECATED_FLAG, NULL, "--bootstrap-server says it already", 0, 0},
};

static const struct opt_command command = {
    .name = "consumer-groups",
    .summary = "lists, describes, explains, resets and deletes consumer groups.",
    .specs = specs,
    .spec_count = ARRAY_LEN(specs),
    .examples =
        "--bootstrap-server localhost:9092 --list --state\n"
        "--bootstrap-server localhost:9092 --describe --group billing\n"
        "--bootstrap-server localhost:9092 --describe --all-groups --verbose\n"
        "--bootstrap-server localhost:9092 --describe --group billing --members --verbose\n"
        "--bootstrap-server localhost:9092 --explain --group billing\n"
        "--bootstrap-server localhost:9092 --reset-offsets --group billing --topic orders:0,1 "
        "--to-datetime 2024-05-01T00:00:00.000 --dry-run\n"
        "--bootstrap-server localhost:9092 --reset-offsets --group billing --all-topics --shift-by "
        "-100 --execute\n"
        "--bootstrap-server localhost:9092 --delete-offsets --group billing --topic orders\n"
        "--bootstrap-server localhost:9092 --delete --group billing\n"
        "--zookeeper localhost:2181 --describe --group old-billing\n",
};

int group_tool_error(const char *fmt, ...)
{
    va_list ap;

    printf("\nError: ");
    va_start(ap, fmt);
    (void)vprintf(fmt, ap);
    va_end(ap);
    printf("\n");
    return 1;
}

const char *group_code_text(int16_t code)
{
    switch (code) {
    case KE_GROUP_ID_NOT_FOUND:
        return "The group id does not exist.";
    case KE_NON_EMPTY_GROUP:
        return "The group is not empty.";
    case KE_INVALID_GROUP_ID:
        return "The group id is invalid.";
    case KE_GROUP_SUBSCRIBED_TO_TOPIC:
        return "Deleting offsets of a topic is forbidden while the consumer group is actively "
               "subscribed to it.";
    case KE_UNKNOWN_TOPIC_OR_PARTITION:
        return "This server does not host this topic-partition.";
    case KE_GROUP_AUTHORIZATION_FAILED:
        return "Not authorized to access the group.";
    case KE_COORDINATOR_NOT_AVAILABLE:
        return "The coordinator is not available; is the topic __consumer_offsets online? Try "
               "again, or give a longer --timeout.";
    case KE_COORDINATOR_LOAD_IN_PROGRESS:
        return "The coordinator is loading the group; try again, or give a longer --timeout.";
    case KE_NETWORK_EXCEPTION:
        return "The coordinator does not answer.";
    default:
        return kerr_text(code);
    }
}

bool group_tool_is_zk_only(const struct group_tool *t)
{
    return !opts_has(t->o, "bootstrap-server");
}

void group_tool_restart_clock(struct group_tool *t)
{
    t->deadline_ms = clock_mono_ms() + t->timeout_ms;
}

/* ---- ZooKeeper */

struct coord *group_tool_zk(struct group_tool *t)
{
    struct errtext why = {{0}};
    const char *connect;

    if (t->zk != NULL || t->zk_was_tried || opts_has(t->o, "no-zookeeper"))
        return t->zk;
    t->zk_was_tried = true;
    connect = groups_zookeeper_of(&t->admin);
    if (connect != NULL &&
        zk_open(connect, i64_min(t->timeout_ms, ZK_FOUND_TIMEOUT_MS), &t->zk, &why) != ERR_OK)
        opts_warn(t->o,
                  "groups in ZooKeeper are not looked at (%s); --zookeeper says another address, "
                  "--no-zookeeper leaves them out",
                  why.text);
    return t->zk;
}

/* Brokers for what ZooKeeper does not know: the ends of logs. Without them it is left out. */
static void find_brokers(struct group_tool *t)
{
    struct zkadmin_broker *brokers;
    struct buf list = {0};
    struct errtext why = {{0}};
    struct bclient *c;
    int32_t count;

    if (zkadmin_brokers(t->zk, &t->arena, &brokers, &count, &why) == KE_NONE) {
        for (int32_t i = 0; i < count; i++)
            for (int32_t e = 0; e < brokers[i].doc.endpoint_count; e++)
                if (brokers[i].doc.endpoints[e].protocol == ZKDOC_PLAINTEXT)
                    buf_printf(&list, "%s%s:%d", list.len == 0 ? "" : ",",
                               brokers[i].doc.endpoints[e].host, brokers[i].doc.endpoints[e].port);
    }
    t->has_brokers =
        list.len > 0 &&
        admin_init(&t->admin, arena_strdup(&t->arena, buf_cstr(&list), list.len),
                   opts_text(t->o, "command-config", NULL), t->timeout_ms, &why) == ERR_OK &&
        admin_client(&t->admin, ADMIN_ANY, &c, &why) == ERR_OK;
    if (!t->has_brokers)
        opts_warn(t->o, "ends of logs are not known: %s",
                  why.text[0] != '\0' ? why.text : "no broker is registered in ZooKeeper");
    buf_fini(&list);
}

static int connect_all(struct group_tool *t)
{
    const char *bootstrap = opts_text(t->o, "bootstrap-server", NULL);
    const char *zookeeper = opts_text(t->o, "zookeeper", NULL);
    struct errtext why = {{0}};
    struct bclient *c;

    if (bootstrap != NULL) {
        if (admin_init(&t->admin, bootstrap, opts_text(t->o, "command-config", NULL), t->timeout_ms,
                       &why) != ERR_OK ||
            admin_client(&t->admin, ADMIN_ANY, &c, &why) != ERR_OK)
            return opts_fail(t->o, "%s", why.text);
        t->has_brokers = true;
    }
    if (zookeeper != NULL) {
        t->zk_is_given = t->zk_was_tried = true;
        if (zk_open(zookeeper, t->timeout_ms, &t->zk, &why) != ERR_OK)
            return opts_fail(t->o, "%s", why.text);
        if (bootstrap == NULL)
            find_brokers(t);
    }
    return -1;
}

/* ---- list and select */

void group_tool_list(struct group_tool *t, struct group_listing **out, int32_t *count_out,
                     bool *failed)
{
    struct group_listing *of_brokers = NULL, *of_zk = NULL;
    int32_t broker_count = 0, zk_count = 0;
    struct errtext why = {{0}};
    struct coord *zk;

    if (!group_tool_is_zk_only(t) &&
        groups_list(&t->admin, t->deadline_ms, &of_brokers, &broker_count, &why) != ERR_OK) {
        *failed = true;
        (void)opts_fail(t->o, "the list is not complete: %s", why.text);
    }
    zk = group_tool_zk(t);
    if (zk != NULL && zk_groups_list(zk, &t->arena, &of_zk, &zk_count, &why) != ERR_OK) {
        *failed = true;
        zk_count = 0;
        (void)opts_fail(t->o, "the list is not complete: %s", why.text);
    }
    *count_out = broker_count + zk_count;
    *out = tool_alloc(&t->arena, (size_t)*count_out, sizeof **out);
    if (broker_count > 0)
        memcpy(*out, of_brokers, (size_t)broker_count * sizeof **out);
    if (zk_count > 0)
        memcpy(*out + broker_count, of_zk, (size_t)zk_count * sizeof **out);
    if (*count_out > 1)
        qsort(*out, (size_t)*count_out, sizeof **out, group_listing_order);
}

/* Whether a comma list holds the word, letters of either case; NULL or "" holds all. */
static bool list_holds(const char *list, const char *word)
{
    if (list == NULL || list[0] == '\0')
        return true;
    while (*list != '\0') {
        size_t lead = strspn(list, " ,"), len = strcspn(list + lead, " ,");

        if (len == strlen(word) && strncasecmp(list + lead, word, len) == 0)
            return true;
        list += lead + len;
    }
    return false;
}

/* Every word of the list must be among the names. */
static bool check_list(const struct opts *o, const char *what, const char *list,
                       const char *const *names, size_t count)
{
    const char *at = list;

    while (at != NULL && *at != '\0') {
        size_t lead = strspn(at, " ,"), len = strcspn(at + lead, " ,");
        bool is_known = len == 0;
        struct buf all = {0};

        for (size_t i = 0; i < count; i++) {
            is_known |= strlen(names[i]) == len && strncasecmp(at + lead, names[i], len) == 0;
            buf_printf(&all, "%s%s", i == 0 ? "" : ", ", names[i]);
        }
        if (!is_known)
            (void)opts_fail(o, "Invalid %s list '%s'. Valid %ss are: %s", what, list, what,
                            buf_cstr(&all));
        buf_fini(&all);
        if (!is_known)
            return false;
        at += lead + len;
    }
    return true;
}

static const char *const state_names[] = {
    "PreparingRebalance", "CompletingRebalance", "Stable", "Dead", "Empty",
    "Assigning",          "Reconciling"};
static const char *const type_names[] = {"Classic", "Consumer", "ZooKeeper"};

static int list_groups(struct group_tool *t)
{
    const char *states = opts_text(t->o, "state", NULL), *types = opts_text(t->o, "type", NULL);
    bool with_state = opts_has(t->o, "state"), with_type = opts_has(t->o, "type");
    struct group_listing *list;
    bool failed = false;
    int width = GROUP_WIDTH;
    int32_t count;

    if (!check_list(t->o, "state", states, state_names, ARRAY_LEN(state_names)) ||
        !check_list(t->o, "type", types, type_names, ARRAY_LEN(type_names)))
        return 1;
    group_tool_list(t, &list, &count, &failed);
    for (int32_t i = 0; i < count; i++)
        if (list_holds(states, list[i].state) && list_holds(types, list[i].type))
            width = i32_max(width, (int)strlen(list[i].name));
    width += GROUP_GAP;
    if (with_state || with_type)
        printf("%-*s%s%s\n", width, "GROUP", with_type ? " TYPE                " : "",
               with_state ? " STATE               " : "");
    for (int32_t i = 0; i < count; i++) {
        if (!list_holds(states, list[i].state) || !list_holds(types, list[i].type))
            continue;
        if (!with_state && !with_type) {
            if (i == 0 || strcmp(list[i - 1].name, list[i].name) != 0)
                printf("%s\n", list[i].name);
            continue;
        }
        printf("%-*s", width, list[i].name);
        if (with_type)
            printf(" %-20s", list[i].type);
        if (with_state)
            printf(" %-20s", list[i].state[0] == '\0' ? "Unknown" : list[i].state);
        printf("\n");
    }
    return failed ? 1 : 0;
}

/* The names, each once. */
static const char **wanted_names(struct group_tool *t, int32_t *count_out, bool *failed)
{
    size_t given = 0;
    const char *const *groups = opts_list(t->o, "group", &given);
    struct group_listing *list = NULL;
    const char **names;
    int32_t count = (int32_t)given, n = 0;

    if (opts_has(t->o, "all-groups"))
        group_tool_list(t, &list, &count, failed);
    names = tool_alloc(&t->arena, (size_t)count, sizeof(char *));
    for (int32_t i = 0; i < count; i++) {
        const char *name = list != NULL ? list[i].name : groups[i];
        bool is_new = true;

        for (int32_t k = list != NULL ? i32_max(n - 1, 0) : 0; k < n && is_new; k++)
            is_new = strcmp(names[k], name) != 0;
        if (is_new)
            names[n++] = name;
    }
    *count_out = n;
    return names;
}

static int by_name(const void *x, const void *y)
{
    const struct group *a = x, *b = y;
    int c = strcmp(a->name, b->name);

    return c != 0 ? c : (int)a->kind - (int)b->kind;
}

/* The group of ZooKeeper with that name into *out; false: there is none. */
static bool select_in_zk(struct group_tool *t, const char *name, struct group *out, bool *failed)
{
    struct errtext why = {{0}};

    if (group_tool_zk(t) == NULL)
        return false;
    if (zk_group_read(t->zk, &t->arena, name, out, &why) != ERR_OK) {
        *failed = true;
        (void)opts_fail(t->o, "%s", why.text);
        return false;
    }
    if (why.text[0] != '\0')
        opts_warn(t->o, "%s; it is left out", why.text);
    return group_exists(out);
}

int group_tool_select(struct group_tool *t, struct group **out, int32_t *count_out, bool *failed)
{
    bool zk_only = group_tool_is_zk_only(t);
    struct errtext why = {{0}};
    int32_t count, n;
    const char **names = wanted_names(t, &count, failed);
    struct group *groups = tool_alloc(&t->arena, (size_t)count * 2, sizeof *groups);

    for (int32_t i = 0; i < count; i++)
        groups[i] = (struct group){.name = names[i],
                                   .kind = zk_only ? GROUP_OF_ZOOKEEPER : GROUP_OF_BROKERS,
                                   .state = "Dead",
                                   .assignor = "",
                                   .coordinator = -1};
    if (!zk_only && groups_describe(&t->admin, t->deadline_ms, groups, count, &why) != ERR_OK)
        return opts_fail(t->o, "%s", why.text);
    n = count;
    for (int32_t i = 0; i < count; i++) {
        struct group found;

        /* a name that the brokers know is only looked for in ZooKeeper when that was asked for */
        if (!zk_only && !t->zk_is_given && groups[i].error == KE_NONE && group_exists(&groups[i]) &&
            !opts_has(t->o, "all-groups"))
            continue;
        if (!select_in_zk(t, names[i], &found, failed))
            continue;
        if (zk_only || (groups[i].error == KE_NONE && !group_exists(&groups[i])))
            groups[i] = found;
        else
            groups[n++] = found;
    }
    if (n > 1)
        qsort(groups, (size_t)n, sizeof *groups, by_name);
    *out = groups;
    *count_out = n;
    return -1;
}

/* ---- options */

static int check_describe(const struct opts *o)
{
    if (!opts_has(o, "group") && !opts_has(o, "all-groups"))
        return opts_fail(o, "--%s takes one of these options: --group, --all-groups",
                         opts_has(o, "describe") ? "describe" : "explain");
    if (opts_has(o, "members") + opts_has(o, "offsets") + opts_has(o, "state") > 1)
        return opts_fail(o, "--describe takes at most one of --members, --offsets, --state");
    if (opts_text(o, "state", NULL) != NULL)
        return opts_fail(o, "--describe does not take a value for --state, but was given '%s'",
                         opts_text(o, "state", ""));
    return -1;
}

static int check_reset(const struct opts *o)
{
    static const char *const rules[] = {"to-offset", "to-earliest", "to-latest",   "to-current",
                                        "shift-by",  "to-datetime", "by-duration", "from-file"};
    const char *given = NULL;

    if (opts_has(o, "dry-run") && opts_has(o, "execute"))
        return opts_fail(o, "--reset-offsets only accepts one of --execute and --dry-run");
    if (!opts_has(o, "group") && !opts_has(o, "all-groups"))
        return opts_fail(o, "--reset-offsets takes one of these options: --group, --all-groups");
    for (size_t i = 0; i < ARRAY_LEN(rules); i++) {
        if (!opts_has(o, rules[i]))
            continue;
        if (given != NULL)
            return opts_fail(o, "--%s can't be used with --%s", given, rules[i]);
        given = rules[i];
    }
    if (given == NULL)
        return opts_fail(o, "--reset-offsets requires one of --to-offset, --to-earliest, "
                            "--to-latest, --to-current, --shift-by, --to-datetime, --by-duration, "
                            "--from-file");
    if (!opts_has(o, "all-topics") && !opts_has(o, "topic") && !opts_has(o, "from-file"))
        return opts_fail(o, "One of the reset scopes should be defined: --all-topics, --topic.");
    if (opts_has(o, "all-topics") && opts_has(o, "topic"))
        return opts_fail(o, "--all-topics can't be used with --topic");
    if (!opts_has(o, "dry-run") && !opts_has(o, "execute"))
        opts_warn(o, "nothing is changed, as --execute is missing; --dry-run says that this is "
                     "meant");
    return -1;
}

static int check_options(const struct opts *o)
{
    static const char *const actions[] = {"list",          "describe",      "explain",
                                          "delete",        "reset-offsets", "delete-offsets",
                                          "validate-regex"};
    int count = 0;

    for (size_t i = 0; i < ARRAY_LEN(actions); i++)
        count += opts_has(o, actions[i]);
    if (count != 1)
        return opts_fail(o, "Command must include exactly one action: --list, --describe, "
                            "--explain, --delete, --reset-offsets, --delete-offsets, "
                            "--validate-regex");
    if (opts_has(o, "validate-regex"))
        return -1;
    if (!opts_has(o, "bootstrap-server") && !opts_has(o, "zookeeper"))
        return opts_fail(o, "--bootstrap-server must be specified (or --zookeeper, for groups "
                            "that live there), for example --bootstrap-server localhost:9092");
    if (opts_has(o, "zookeeper") && opts_has(o, "no-zookeeper"))
        return opts_fail(o, "--zookeeper can't be used with --no-zookeeper");
    if (opts_has(o, "group") && opts_has(o, "all-groups"))
        return opts_fail(o, "--group can't be used with --all-groups");
    if (opts_has(o, "list") && opts_has(o, "group"))
        return opts_fail(o, "--group can't be used with --list");
    if (opts_has(o, "topic") && (opts_has(o, "list") || opts_has(o, "describe")))
        return opts_fail(o, "--topic can't be used with --list or --describe");
    if (opts_has(o, "describe") || opts_has(o, "explain"))
        return check_describe(o);
    if (opts_has(o, "reset-offsets"))
        return check_reset(o);
    if (opts_has(o, "delete") && !opts_has(o, "group") && !opts_has(o, "all-groups"))
        return opts_fail(o, "--delete takes one of these options: --group, --all-groups");
    if (opts_has(o, "delete") && opts_has(o, "topic") && opts_has(o, "bootstrap-server"))
        return opts_fail(o, "--delete takes no --topic: --delete-offsets deletes the offsets of "
                            "one topic");
    if (opts_has(o, "delete-offsets") && (!opts_has(o, "group") || !opts_has(o, "topic")))
        return opts_fail(o, "--delete-offsets takes --group and --topic");
    return -1;
}

static int validate_regex(const struct opts *o)
{
    const char *text = opts_text(o, "validate-regex", "");
    struct topics_pattern pattern;
    struct errtext why = {{0}};

    if (topics_pattern_init(&pattern, text, &why) != ERR_OK) {
        printf("The regular expression `%s` is invalid: %s.\n", text, why.text);
        return 1;
    }
    topics_pattern_fini(&pattern);
    printf("The regular expression `%s` is valid.\n", text);
    return 0;
}

static int run(struct group_tool *t)
{
    int rc = check_options(t->o);

    if (rc >= 0)
        return rc;
    if (opts_has(t->o, "validate-regex"))
        return validate_regex(t->o);
    t->timeout_ms = opts_int(t->o, "timeout", DEFAULT_TIMEOUT_MS);
    group_tool_restart_clock(t);
    rc = connect_all(t);
    if (rc >= 0)
        return rc;
    if (opts_has(t->o, "list"))
        return list_groups(t);
    if (opts_has(t->o, "describe"))
        return group_tool_describe(t);
    if (opts_has(t->o, "explain"))
        return group_tool_explain(t);
    if (opts_has(t->o, "reset-offsets"))
        return group_tool_reset(t);
    return opts_has(t->o, "delete") ? group_tool_delete(t) : group_tool_delete_offsets(t);
}

int cmd_consumer_groups(int argc, char **argv)
{
    struct group_tool t = {0};
    struct opts o;
    int rc = opts_start(&o, &command, argc, argv);

    t.o = &o;
    if (rc < 0)
        rc = run(&t);
    admin_close(&t.admin);
    coord_close(&t.zk);
    arena_fini(&t.arena);
    opts_fini(&o);
    return rc;
}
