/* SPDX-License-Identifier: Apache-2.0 */
/* bench_groups - the load that tests/bench/groups puts on a group coordinator.
 *   bench_groups commits    -b HOST:PORT[,..] -t TOPIC [-p 10] [-g 1000] [-n 1000000] [-r RATE] [-c
 * CONNECTIONS-A-BROKER] -n 0: until the end of the standard input. TOPIC has -p partitions.
 *   bench_groups rebalances -b HOST:PORT [-m 100] [-k ROUNDS] [-i HEARTBEAT-MS]
 *   bench_groups heartbeats -b HOST:PORT [-m 1000] [-i HEARTBEAT-MS]   until the end of its input
 *   -s SECONDS: the program ends in failure when it takes longer (600). Addresses are numeric. */
#include "bench_wire.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static int64_t number(const char *s, int64_t min, int64_t max)
{
    char *end;
    long long v = strtoll(s, &end, 10);

    if (*s == '\0' || *end != '\0' || v < min || v > max)
        bench_die("%s: a number from %" PRId64 " to %" PRId64, s, min, max);
    return v;
}

static void parse_hosts(char *s, struct bench_args *a)
{
    char *save = NULL;

    for (char *h = strtok_r(s, ",", &save); h != NULL; h = strtok_r(NULL, ",", &save)) {
        char *colon = strrchr(h, ':');

        if (colon == NULL || a->host_count == (int)ARRAY_LEN(a->hosts))
            bench_die("%s: HOST:PORT, at most %zu", h, ARRAY_LEN(a->hosts));
        *colon = '\0';
        a->hosts[a->host_count] = h;
        a->ports[a->host_count++] = (int)number(colon + 1, 1, 65535);
    }
}

int main(int argc, char **argv)
{
    struct bench_args a = {.topic = "bench",
                           .partitions = 10,
                           .groups = 1000,
                           .members = 100,
                           .rounds = 30,
                           .connections = 400,
                           .count = 1000000,
                           .heartbeat_ms = 3000,
                           .seconds_max = 600};
    int c;

    if (argc < 2)
        bench_die("commits, rebalances or heartbeats; see the top of bench_groups.c");
    while ((c = getopt(argc - 1, argv + 1, "b:t:p:g:m:k:c:n:r:i:s:")) != -1) {
        switch (c) {
        case 'b':
            parse_hosts(optarg, &a);
            break;
        case 't':
            a.topic = optarg;
            break;
        case 'p':
            a.partitions = (int)number(optarg, 1, 1000);
            break;
        case 'g':
            a.groups = (int)number(optarg, 1, 1000000);
            break;
        case 'm':
            a.members = (int)number(optarg, 2, 10000);
            break;
        case 'k':
            a.rounds = (int)number(optarg, 1, 10000);
            break;
        case 'c':
            a.connections = (int)number(optarg, 1, 1000);
            break;
        case 'n':
            a.count = number(optarg, 0, INT64_MAX);
            break;
        case 'r':
            a.rate = number(optarg, 0, 10000000);
            break;
        case 'i':
            a.heartbeat_ms = number(optarg, 1, 60000);
            break;
        case 's':
            a.seconds_max = number(optarg, 1, 100000);
            break;
        default:
            return EXIT_FAILURE;
        }
    }
    a.until_eof = a.count == 0;
    if (a.host_count == 0)
        bench_die("-b HOST:PORT is needed");
    if (strcmp(argv[1], "commits") == 0)
        return bench_commits(&a);
    if (strcmp(argv[1], "rebalances") == 0)
        return bench_rebalances(&a);
    if (strcmp(argv[1], "heartbeats") == 0)
        return bench_heartbeats(&a);
    bench_die("%s: commits, rebalances or heartbeats", argv[1]);
}
