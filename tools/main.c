/* SPDX-License-Identifier: Apache-2.0 */
/* main - kafuka: the one executable behind every command. The command is the first argument
 * (`kafuka topics ...`) or the name it was called by: kafuka-topics, kafka-topics, kafka-topics.sh.
 * `kafka-run-class.sh kafka.admin.TopicCommand ...` works too. */
#include "config.h"

#include "common/base/base.h"
#include "common/base/slog.h"
#include "tools/lib/opt.h"
#include "tools/lib/tool.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

static const struct tool {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *summary;
    const char *class_name; /* last part of Kafka's class; NULL: none */
} tools[] = {
    {"broker-api-versions", cmd_broker_api_versions, "lists which requests each broker understands",
     "BrokerApiVersionsCommand"},
    {"cluster", cmd_cluster, "prints the id of the cluster", "ClusterTool"},
    {"configs", cmd_configs, "shows and changes configurations of topics and brokers",
     "ConfigCommand"},
    {"console-consumer", cmd_console_consumer, "prints the records of topics", "ConsoleConsumer"},
    {"console-producer", cmd_console_producer, "sends each line of the standard input as a record",
     "ConsoleProducer"},
    {"consumer-groups", cmd_consumer_groups,
     "lists, describes, explains, resets and deletes consumer groups", "ConsumerGroupCommand"},
    {"consumer-perf-test", cmd_consumer_perf_test, "measures how fast records are consumed",
     "ConsumerPerformance"},
    {"delete-records", cmd_delete_records, "deletes the records of partitions before an offset",
     "DeleteRecordsCommand"},
    {"describe", cmd_describe, "shows the whole cluster on one page, and what is wrong with it",
     NULL},
    {"doctor", cmd_doctor, "finds out why a client does not connect, and says what to change",
     NULL},
    {"dump-log", cmd_dump_log, "prints segments, indexes and checkpoints of a log",
     "DumpLogSegments"},
    {"get-offsets", cmd_get_offsets,
     "prints the first and last offsets of partitions, or those of a time", "GetOffsetShell"},
    {"healthcheck", cmd_healthcheck,
     "tells whether a broker answers, belongs to a cluster and reaches ZooKeeper", NULL},
    {"leader-election", cmd_leader_election, "has the controller elect leaders of partitions",
     "LeaderElectionCommand"},
    {"log-dirs", cmd_log_dirs, "shows what lies in the log directories of the brokers",
     "LogDirsCommand"},
    {"producer-perf-test", cmd_producer_perf_test, "measures how fast records are produced",
     "ProducerPerformance"},
    {"reassign-partitions", cmd_reassign_partitions,
     "moves the replicas of partitions between brokers", "ReassignPartitionsCommand"},
    {"topics", cmd_topics, "creates, lists, describes, alters and deletes topics", "TopicCommand"},
};

static void print_usage(FILE *to)
{
    fprintf(to, "kafuka: the tools of a kafuka or Kafka cluster\n\n"
                "Usage: kafuka <command> [options]     (or kafuka-<command> [options])\n\n");
    for (size_t i = 0; i < ARRAY_LEN(tools); i++)
        fprintf(to, "  %-21s %s\n", tools[i].name, tools[i].summary);
    fprintf(to, "\n`kafuka <command> --help` lists the options of a command, with examples.\n");
}

static const struct tool *find_tool(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(tools); i++)
        if (strcmp(tools[i].name, name) == 0)
            return &tools[i];
    return NULL;
}

/* "kafka.admin.TopicCommand" -> topics */
static const struct tool *find_class(const char *name)
{
    const char *dot = strrchr(name, '.');

    for (size_t i = 0; dot != NULL && i < ARRAY_LEN(tools); i++)
        if (tools[i].class_name != NULL && strcmp(tools[i].class_name, dot + 1) == 0)
            return &tools[i];
    return NULL;
}

/* The command in the name of the program: "/usr/bin/kafka-topics.sh" -> "topics"; NULL: none. The
 * caller frees. */
static char *command_of_path(const char *path)
{
    const char *base = strrchr(path, '/');
    size_t len;

    base = base == NULL ? path : base + 1;
    if (strncmp(base, "lt-", 3) == 0)
        base += 3;
    if (strncmp(base, "kafuka-", 7) == 0)
        base += 7;
    else if (strncmp(base, "kafka-", 6) == 0)
        base += 6;
    else
        return NULL;
    len = strlen(base);
    if (len > 3 && strcmp(base + len - 3, ".sh") == 0)
        len -= 3;
    return xstrndup(base, len);
}

static int fail_unknown(const char *word)
{
    const char *names[ARRAY_LEN(tools)];
    const char *near;

    for (size_t i = 0; i < ARRAY_LEN(tools); i++)
        names[i] = tools[i].name;
    near = opt_nearest(word, names, ARRAY_LEN(tools));
    if (near != NULL)
        fprintf(stderr, "kafuka: there is no command '%s'; did you mean '%s'?\n", word, near);
    else
        fprintf(stderr, "kafuka: there is no command '%s'; 'kafuka --help' lists them\n", word);
    return 1;
}

static int run(int argc, char **argv)
{
    char *name = argc > 0 ? command_of_path(argv[0]) : NULL;
    const struct tool *t = NULL;
    int rc;

    if (name != NULL && strcmp(name, "run-class") != 0) {
        t = find_tool(name);
        rc = t != NULL ? t->run(argc, argv) : fail_unknown(name);
        mem_free(name);
        return rc;
    }
    mem_free(name);
    if (argc < 2) {
        print_usage(stderr);
        return 1;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 ||
        strcmp(argv[1], "help") == 0) {
        print_usage(stdout);
        return 0;
    }
    if (strcmp(argv[1], "--version") == 0) {
        printf("kafuka %s\n", PACKAGE_VERSION);
        return 0;
    }
    t = find_tool(argv[1]);
    if (t == NULL)
        t = find_class(argv[1]);
    return t != NULL ? t->run(argc - 1, argv + 1) : fail_unknown(argv[1]);
}

int main(int argc, char **argv)
{
    int rc;

    /* a reader that went away ends the output, not by a signal but by a failed write */
    (void)signal(SIGPIPE, SIG_IGN);
    slog_min_level = SLOG_ERROR;
    rc = run(argc, argv);
    if (fflush(stdout) == 0 && !ferror(stdout))
        return rc;
    /* `kafuka-topics --list | head` is not an error: the reader has all it needs */
    if (errno != EPIPE)
        fprintf(stderr, "kafuka: the output could not be written: %s\n", strerror(errno));
    return 1;
}
