/* SPDX-License-Identifier: Apache-2.0 */
/* A real ZooKeeper server for a unit test. */
#include "tests/unit/zk_fixture.h"

#include "common/base/clock.h"
#include "common/base/fsx.h"

#include <arpa/inet.h>
#include <check.h>
#include <dirent.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { START_TIMEOUT_MS = 60000, WAIT_TIMEOUT_MS = 20000 };

static int free_port(void)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof a;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
    ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&a, &len), 0);
    close(fd);
    return ntohs(a.sin_port);
}

static bool is_ok(int port)
{
    struct sockaddr_in a = {.sin_family = AF_INET,
                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                            .sin_port = htons((uint16_t)port)};
    char answer[8] = "";
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool ok = fd >= 0 && connect(fd, (struct sockaddr *)&a, sizeof a) == 0 &&
              write(fd, "srvr", 4) == 4 && read(fd, answer, 4) == 4 &&
              memcmp(answer, "Zook", 4) == 0;

    if (fd >= 0)
        close(fd);
    return ok;
}

static void write_config(const struct zk_server *s, const char *path)
{
    FILE *f = fopen(path, "w");

    ck_assert_ptr_nonnull(f);
    fprintf(f,
            "tickTime=100\nminSessionTimeout=300\nmaxSessionTimeout=60000\nclientPort=%d\n"
            "clientPortAddress=127.0.0.1\ndataDir=%s\nadmin.enableServer=false\n"
            "maxClientCnxns=0\n4lw.commands.whitelist=srvr\npreAllocSize=1024\n",
            s->port, s->dir);
    ck_assert_int_eq(fclose(f), 0);
}

static void run_java(const char *config, const char *log)
{
    const char *jar = getenv("KAFUKA_ZOOKEEPER_JAR");
    int fd = open(log, O_WRONLY | O_CREAT | O_APPEND, 0644);

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    dup2(fd, 1);
    dup2(fd, 2);
    execlp("java", "java", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1",
           "-Djute.maxbuffer=8388608", "-Dzookeeper.forceSync=no", "-cp",
           jar == NULL ? "/usr/share/java/zookeeper.jar" : jar,
           "org.apache.zookeeper.server.quorum.QuorumPeerMain", config, (char *)NULL);
    perror("java is needed for this test");
    _exit(127);
}

void zk_server_start(struct zk_server *s)
{
    char config[128], log[128];
    int64_t deadline = clock_mono_ms() + START_TIMEOUT_MS;

    if (s->dir[0] == 0) {
        snprintf(s->dir, sizeof s->dir, "/tmp/kafuka-zk-XXXXXX");
        ck_assert_ptr_nonnull(mkdtemp(s->dir));
        s->port = free_port();
        snprintf(s->connect, sizeof s->connect, "127.0.0.1:%d", s->port);
    }
    snprintf(config, sizeof config, "%s/zoo.cfg", s->dir);
    snprintf(log, sizeof log, "%s/log", s->dir);
    write_config(s, config);
    s->pid = fork();
    ck_assert_int_ge(s->pid, 0);
    if (s->pid == 0)
        run_java(config, log);
    while (!is_ok(s->port)) {
        if (waitpid(s->pid, NULL, WNOHANG) != 0 || clock_mono_ms() > deadline) {
            s->pid = 0;
            ck_abort_msg("ZooKeeper does not start; see %s", log);
        }
        poll(NULL, 0, 20);
    }
}

/* Does the state of every thread say stopped? */
static bool is_stopped(pid_t pid)
{
    char path[64], text[512];
    struct dirent *e;
    bool all = true;

    snprintf(path, sizeof path, "/proc/%d/task", (int)pid);
    DIR *d = opendir(path);
    ck_assert_ptr_nonnull(d);
    while (all && (e = readdir(d)) != NULL) {
        char stat[384];
        if (e->d_name[0] == '.')
            continue;
        snprintf(stat, sizeof stat, "%s/%s/stat", path, e->d_name);
        FILE *f = fopen(stat, "r");
        if (f == NULL)
            continue; /* that thread has just ended */
        const char *end = fgets(text, sizeof text, f) == NULL ? NULL : strrchr(text, ')');
        all = end != NULL && end[1] == ' ' && end[2] == 'T';
        fclose(f);
    }
    closedir(d);
    return all;
}

/* After SIGSTOP no thread of the server runs any more: it takes a moment. */
void zk_server_signal(struct zk_server *s, int signal)
{
    ck_assert_int_eq(kill(s->pid, signal), 0);
    for (int i = 0; signal == SIGSTOP && !is_stopped(s->pid); i++) {
        ck_assert_int_lt(i, 5000);
        usleep(1000);
    }
}

void zk_server_kill(struct zk_server *s)
{
    if (s->pid == 0)
        return;
    kill(s->pid, SIGKILL);
    waitpid(s->pid, NULL, 0);
    s->pid = 0;
}

void zk_server_fini(struct zk_server *s)
{
    zk_server_kill(s);
    ck_assert_int_eq(fsx_remove_tree(s->dir), ERR_OK);
    memset(s, 0, sizeof *s);
}

void zk_deliver_until(struct mailbox *b, const int *flag, int want, const char *what)
{
    int64_t deadline = clock_mono_ms() + WAIT_TIMEOUT_MS;

    mailbox_deliver(b);
    while (*flag < want) {
        struct pollfd p = {.fd = b->fd, .events = POLLIN};
        if (clock_mono_ms() > deadline)
            ck_abort_msg("waited for %s: %d of %d", what, *flag, want);
        poll(&p, 1, 100);
        mailbox_deliver(b);
    }
}

/* A second handle takes the session and closes it. The first one takes it back at once, so it is a
 * race that is run until it is won. */
void zk_expire(const struct zk_server *s, const struct coord *c)
{
    struct coord_options o = {.connect = s->connect,
                              .session_timeout_ms = 5000,
                              .connection_timeout_ms = 20000,
                              .old_session_id = coord_session_id(c)};
    int64_t deadline = clock_mono_ms() + WAIT_TIMEOUT_MS;
    struct errtext why = {""};
    struct coord *twin;

    coord_session_password(c, o.old_session_password);
    while (coord_session_id(c) == o.old_session_id && coord_state_now(c) != COORD_EXPIRED) {
        ck_assert_int_lt(clock_mono_ms(), deadline);
        ck_assert_msg(coord_open(&o, &twin, &why) == ERR_OK, "%s", why.text);
        coord_close(&twin);
    }
}
