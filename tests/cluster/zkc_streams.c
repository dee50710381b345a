/* SPDX-License-Identifier: Apache-2.0 */
/* An application of the installed kind: only the public header, linked with the shared object. One
 * topic, several streams, a thread each; prints "stream value" of each record. A stream that is
 * named slow takes one record and then does nothing for a long time.
 *
 *     zkc_streams <zookeeper> <group> <topic> <streams> <slow stream or -1> [property=value ...]
 *
 * Ends at SIGTERM: leaves the group and prints why there were rebalances. */
#include "tools/zkconsumer/zkconsumer.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { STREAMS_MAX = 16 };

static volatile sig_atomic_t is_stopping;
static struct {
    struct kafuka_zkc_stream *s;
    pthread_t thread;
    int number, is_slow;
} workers[STREAMS_MAX];

static void on_term(int number)
{
    (void)number;
    is_stopping = 1;
}

static void *work(void *arg)
{
    int i = *(int *)arg;
    struct kafuka_zkc_message m;
    enum kafuka_zkc_status rc;

    while (!is_stopping && (rc = kafuka_zkc_next(workers[i].s, 100, &m)) != KAFUKA_ZKC_CLOSED) {
        if (rc != KAFUKA_ZKC_OK)
            continue;
        printf("%d %.*s\n", i, (int)m.value_size, (const char *)m.value);
        fflush(stdout);
        kafuka_zkc_message_release(&m);
        while (workers[i].is_slow && !is_stopping)
            usleep(20000);
    }
    return NULL;
}

static void fail(const char *what, const char *error)
{
    fprintf(stderr, "%s: %s\n", what, error);
    exit(1);
}

int main(int argc, char **argv)
{
    struct kafuka_zkc_conf *conf = kafuka_zkc_conf_new();
    char error[512] = "", line[512];
    int count;

    if (argc < 6 || (count = atoi(argv[4])) < 1 || count > STREAMS_MAX)
        fail("usage", "zkc_streams zookeeper group topic streams slow [property=value ...]");
    signal(SIGTERM, on_term);
    if (kafuka_zkc_conf_set(conf, "zookeeper.connect", argv[1], error, sizeof error) != 0 ||
        kafuka_zkc_conf_set(conf, "group.id", argv[2], error, sizeof error) != 0)
        fail("conf", error);
    for (int i = 6; i < argc; i++) {
        char *equals = strchr(argv[i], '=');

        if (equals == NULL)
            fail("not a property", argv[i]);
        *equals = 0;
        if (kafuka_zkc_conf_set(conf, argv[i], equals + 1, error, sizeof error) != 0)
            fail("conf", error);
    }
    struct kafuka_zkc *c = kafuka_zkc_new(conf, error, sizeof error);
    if (c == NULL || kafuka_zkc_subscribe(c, argv[3], count, error, sizeof error) != 0 ||
        kafuka_zkc_start(c, error, sizeof error) != 0)
        fail("start", error);
    for (int i = 0; i < count; i++) {
        workers[i].s = kafuka_zkc_stream(c, argv[3], i);
        workers[i].number = i;
        workers[i].is_slow = i == atoi(argv[5]);
        pthread_create(&workers[i].thread, NULL, work, &workers[i].number);
    }
    while (!is_stopping) {
        usleep(200000);
        if (kafuka_zkc_commit(c, 1000) == KAFUKA_ZKC_CLOSED)
            break;
    }
    for (int i = 0; i < count; i++)
        pthread_join(workers[i].thread, NULL);
    for (int i = 0; kafuka_zkc_history(c, i, line, sizeof line) > 0; i++)
        printf("rebalance %s\n", line);
    kafuka_zkc_close(c);
    return 0;
}
