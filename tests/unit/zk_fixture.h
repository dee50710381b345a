/* SPDX-License-Identifier: Apache-2.0 */
/* zk_fixture - a real ZooKeeper server for a unit test, on a free port of 127.0.0.1, with its data
 * in a temporary folder. Needs java and Debian's zookeeper package (or KAFUKA_ZOOKEEPER_JAR);
 * without them the test fails. The server dies with the thread that started it. */
#ifndef TESTS_UNIT_ZK_FIXTURE_H
#define TESTS_UNIT_ZK_FIXTURE_H

#include "common/base/mailbox.h"
#include "common/zk/coord.h"

#include <sys/types.h>

struct zk_server {
    char dir[64];
    char connect[32]; /* "127.0.0.1:port" */
    int port;
    pid_t pid; /* 0: not running */
};

void zk_server_start(struct zk_server *s); /* returns when it answers; again after a stop */
void zk_server_kill(struct zk_server *s);  /* SIGKILL; the data stays */
void zk_server_signal(struct zk_server *s, int signal); /* SIGSTOP, SIGCONT */
void zk_server_fini(struct zk_server *s);

/* Delivers the mailbox until *flag is at least want; fails the test after 20 s. */
void zk_deliver_until(struct mailbox *b, const int *flag, int want, const char *what);
/* Ends the coord's session from outside, as a server does that has not heard of it in time. */
void zk_expire(const struct zk_server *s, const struct coord *c);

#endif
