/* SPDX-License-Identifier: Apache-2.0 */
/* coord on a real ZooKeeper: calls, watches, sessions, and each trap of the client library. */
#include "common/base/clock.h"
#include "common/base/slog.h"
#include "common/zk/zk_session_internal.h"
#include "tests/unit/zk_fixture.h"

#include <check.h>
#include <arpa/inet.h>
#include <dlfcn.h>
#include <limits.h>
#include <netdb.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static struct zk_server server;

/* ---- names resolve by our rules: counted, and "later.test" only from some try on */
static atomic_int resolved_count;
static atomic_int resolves_at = INT_MAX;

int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints,
                struct addrinfo **res)
{
    static int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **);

    int tries = atomic_fetch_add(&resolved_count, 1) + 1;
    if (real == NULL)
        real = (int (*)(const char *, const char *, const struct addrinfo *,
                        struct addrinfo **))dlsym(RTLD_NEXT, "getaddrinfo");
    if (node != NULL && strcmp(node, "later.test") == 0) {
        if (tries < atomic_load(&resolves_at))
            return EAI_NONAME;
        node = "127.0.0.1";
    }
    return real(node, service, hints, res);
}

/* ---- one coord with what it has told */
struct client {
    struct coord *coord;
    struct mailbox mailbox;
    int disconnected, connected, expired, new_sessions;
    int changes;
    enum coord_change last_kind;
    char last_path[300];
    int done;
    enum err last_err;
    int ok, unknown, closed, limited, not_found;
};

static void on_state(void *arg, enum coord_state s, bool session_is_new)
{
    struct client *k = arg;

    k->disconnected += s == COORD_DISCONNECTED;
    k->expired += s == COORD_EXPIRED;
    k->connected += s == COORD_CONNECTED;
    k->new_sessions += s == COORD_CONNECTED && session_is_new;
}

static void on_change(void *arg, enum coord_change kind, const char *path)
{
    struct client *k = arg;

    k->changes++;
    k->last_kind = kind;
    snprintf(k->last_path, sizeof k->last_path, "%s", path);
}

static void on_done(void *arg, const struct coord_result *r)
{
    struct client *k = arg;

    k->done++;
    k->last_err = r->err;
    k->ok += r->err == ERR_OK;
    k->unknown += r->err == ERR_UNKNOWN_OUTCOME;
    k->closed += r->err == ERR_CLOSED;
    k->limited += r->err == ERR_LIMIT;
    k->not_found += r->err == ERR_NOT_FOUND;
}

static void client_open_at(struct client *k, const char *connect, int64_t session_timeout_ms)
{
    struct coord_options o = {.connect = connect,
                              .session_timeout_ms = session_timeout_ms,
                              .connection_timeout_ms = 20000,
                              .mailbox = &k->mailbox,
                              .on_state = on_state,
                              .arg = k};
    struct errtext why = {""};

    memset(k, 0, sizeof *k);
    ck_assert_int_eq(mailbox_init(&k->mailbox), ERR_OK);
    ck_assert_msg(coord_open(&o, &k->coord, &why) == ERR_OK, "%s", why.text);
}

static void client_open(struct client *k)
{
    client_open_at(k, server.connect, 5000);
}

static void client_close(struct client *k)
{
    coord_close(&k->coord);
    mailbox_deliver(&k->mailbox);
    mailbox_fini(&k->mailbox);
}

static struct bytes text(const char *z)
{
    return (struct bytes){(const uint8_t *)z, (int64_t)strlen(z)};
}

/* A fresh folder in the server for each test. */
static const char *fresh(struct client *k)
{
    static char path[32];
    static int n;

    snprintf(path, sizeof path, "/test%d", ++n);
    ck_assert_int_eq(coord_create_wait(k->coord, path, BYTES_NULL, COORD_PERSISTENT, NULL), ERR_OK);
    return path;
}

static const char *at(const char *dir, const char *name)
{
    static char paths[8][600];
    static int n;
    char *p = paths[n++ % 8];

    snprintf(p, sizeof paths[0], "%s/%s", dir, name);
    return p;
}

START_TEST(a_node_is_created_read_set_listed_and_deleted)
{
    static struct client k;
    struct coord_stat stat;
    struct buf data = {0};
    char **names;
    int32_t count;

    client_open(&k);
    const char *dir = fresh(&k), *n = at(dir, "n");
    ck_assert_int_eq(coord_create_wait(k.coord, n, text("one"), COORD_PERSISTENT, NULL), ERR_OK);
    ck_assert_int_eq(coord_create_wait(k.coord, n, text("one"), COORD_PERSISTENT, NULL),
                     ERR_EXISTS);
    ck_assert_int_eq(coord_get_wait(k.coord, n, &data, &stat), ERR_OK);
    ck_assert_str_eq(buf_cstr(&data), "one");
    ck_assert_int_eq(stat.version, 0);
    ck_assert_int_eq(stat.ephemeral_owner, 0);
    ck_assert_int_eq(coord_set_wait(k.coord, n, text("two"), 0, &stat), ERR_OK);
    ck_assert_int_eq(stat.version, 1);
    ck_assert_int_ne(stat.czxid, stat.mzxid);
    ck_assert_int_eq(coord_set_wait(k.coord, n, text("three"), 0, NULL), ERR_BAD_VERSION);
    ck_assert_int_eq(coord_children_wait(k.coord, dir, &names, &count), ERR_OK);
    ck_assert_int_eq(count, 1);
    ck_assert_str_eq(names[0], "n");
    coord_names_free(names, count);
    ck_assert_int_eq(coord_delete_wait(k.coord, dir, -1), ERR_BUSY);
    ck_assert_int_eq(coord_delete_wait(k.coord, n, 1), ERR_OK);
    ck_assert_int_eq(coord_exists_wait(k.coord, n, NULL), ERR_NOT_FOUND);
    ck_assert_int_eq(coord_get_wait(k.coord, n, &data, NULL), ERR_NOT_FOUND);
    buf_fini(&data);
    client_close(&k);
}
END_TEST

static int64_t seen_len;

static void note_len(void *arg, const struct coord_result *r)
{
    seen_len = r->data.len;
    on_done(arg, r);
}

START_TEST(null_data_and_empty_data_are_told_apart)
{
    static struct client k;

    client_open(&k);
    const char *dir = fresh(&k);
    ck_assert_int_eq(coord_create_wait(k.coord, at(dir, "empty"), text(""), COORD_PERSISTENT, NULL),
                     ERR_OK);
    coord_get(k.coord, dir, false, &k.mailbox, note_len, &k);
    zk_deliver_until(&k.mailbox, &k.done, 1, "get");
    ck_assert_int_eq(seen_len, -1);
    coord_get(k.coord, at(dir, "empty"), false, &k.mailbox, note_len, &k);
    zk_deliver_until(&k.mailbox, &k.done, 2, "get");
    ck_assert_int_eq(seen_len, 0);
    client_close(&k);
}
END_TEST

START_TEST(a_multi_is_all_or_nothing_and_says_which_op_failed)
{
    static struct client k;
    struct coord_stat stats[3];
    enum err errs[3];

    client_open(&k);
    const char *dir = fresh(&k), *a = at(dir, "a"), *b = at(dir, "b");
    struct coord_op make[] = {
        {.kind = COORD_OP_CREATE, .mode = COORD_EPHEMERAL, .path = a, .data = BYTES_NULL},
        {.kind = COORD_OP_SET, .path = a, .data = text("x"), .version = 0}};
    ck_assert_int_eq(coord_multi_wait(k.coord, make, 2, errs, stats), ERR_OK);
    ck_assert_int_gt(stats[1].czxid, 0);
    ck_assert_int_eq(stats[1].version, 1);
    ck_assert_int_eq(stats[1].ephemeral_owner, coord_session_id(k.coord));

    struct coord_op bad[] = {{.kind = COORD_OP_CHECK, .path = dir, .version = 0},
                             {.kind = COORD_OP_SET, .path = a, .data = text("y"), .version = 7},
                             {.kind = COORD_OP_CREATE, .path = b, .data = text("z")}};
    ck_assert_int_eq(coord_multi_wait(k.coord, bad, 3, errs, stats), ERR_BAD_VERSION);
    ck_assert_int_eq(errs[0], ERR_OK);
    ck_assert_int_eq(errs[1], ERR_BAD_VERSION);
    ck_assert_int_eq(errs[2], ERR_NOT_ATTEMPTED);
    ck_assert_int_eq(coord_exists_wait(k.coord, b, NULL), ERR_NOT_FOUND);
    client_close(&k);
}
END_TEST

START_TEST(the_chroot_is_made_and_does_not_show)
{
    static struct client top, k;
    struct mailbox *b = &k.mailbox;
    char connect[100], *created;

    client_open(&top);
    const char *dir = fresh(&top);
    snprintf(connect, sizeof connect, "%s%s/a/b", server.connect, dir);
    client_open_at(&k, connect, 5000);
    ck_assert_int_eq(coord_create_wait(k.coord, "/s-", text("1"), COORD_SEQUENTIAL, &created),
                     ERR_OK);
    ck_assert_str_eq(created, "/s-0000000000");
    free(created);
    ck_assert_int_eq(coord_exists_wait(top.coord, at(dir, "a/b/s-0000000000"), NULL), ERR_OK);
    coord_watch(k.coord, "/", b, on_change, &k);
    coord_exists(k.coord, "/w", true, b, on_done, &k);
    zk_deliver_until(b, &k.done, 1, "exists");
    ck_assert_int_eq(coord_create_wait(k.coord, "/w", BYTES_NULL, COORD_PERSISTENT, NULL), ERR_OK);
    zk_deliver_until(b, &k.changes, 1, "watch");
    ck_assert_str_eq(k.last_path, "/w");
    client_close(&k);
    client_close(&top);
}
END_TEST

START_TEST(a_watch_tells_once_what_happened_and_to_whom_it_may_concern)
{
    static struct client k, other;
    struct mailbox *b = &k.mailbox;

    client_open(&k);
    client_open(&other);
    const char *dir = fresh(&k), *n = at(dir, "n");
    coord_watch(k.coord, dir, b, on_change, &k);
    coord_watch(k.coord, "/elsewhere", &other.mailbox, on_change, &other);
    coord_exists(k.coord, n, true, b, on_done, &k);
    coord_children(k.coord, dir, true, b, on_done, &k);
    zk_deliver_until(b, &k.done, 2, "reads");
    ck_assert_int_eq(coord_create_wait(other.coord, n, text("1"), COORD_PERSISTENT, NULL), ERR_OK);
    zk_deliver_until(b, &k.changes, 2, "created and child");

    coord_get(k.coord, n, true, b, on_done, &k);
    zk_deliver_until(b, &k.done, 3, "get");
    ck_assert_int_eq(coord_set_wait(other.coord, n, text("2"), -1, NULL), ERR_OK);
    zk_deliver_until(b, &k.changes, 3, "changed");
    ck_assert_int_eq(k.last_kind, COORD_NODE_CHANGED);
    ck_assert_str_eq(k.last_path, n);
    ck_assert_int_eq(coord_set_wait(other.coord, n, text("3"), -1, NULL), ERR_OK); /* not armed */
    coord_get(k.coord, n, true, b, on_done, &k);
    zk_deliver_until(b, &k.done, 4, "get");
    ck_assert_int_eq(k.changes, 3);
    ck_assert_int_eq(coord_delete_wait(other.coord, n, -1), ERR_OK);
    zk_deliver_until(b, &k.changes, 4, "deleted");
    ck_assert_int_eq(k.last_kind, COORD_NODE_DELETED);
    mailbox_deliver(&other.mailbox);
    ck_assert_int_eq(other.changes, 0);

    coord_exists(k.coord, n, true, b, on_done, &k);
    zk_deliver_until(b, &k.done, 5, "exists");
    coord_unwatch(k.coord, &k);
    ck_assert_int_eq(coord_create_wait(k.coord, n, text("1"), COORD_PERSISTENT, NULL), ERR_OK);
    mailbox_deliver(b);
    ck_assert_int_eq(k.changes, 4);
    client_close(&other);
    client_close(&k);
}
END_TEST

START_TEST(an_expired_session_is_told_and_replaced_and_its_ephemerals_are_gone)
{
    static struct client k;
    struct mailbox *b = &k.mailbox;

    client_open(&k);
    const char *dir = fresh(&k), *e = at(dir, "e");
    int64_t id = coord_session_id(k.coord);
    ck_assert_int_eq(coord_create_wait(k.coord, e, BYTES_NULL, COORD_EPHEMERAL, NULL), ERR_OK);
    coord_watch(k.coord, dir, b, on_change, &k);
    coord_exists(k.coord, e, true, b, on_done, &k);
    zk_deliver_until(b, &k.done, 1, "exists");
    zk_expire(&server, k.coord);
    zk_deliver_until(b, &k.expired, 1, "expired");
    zk_deliver_until(b, &k.new_sessions, 1, "a new session");
    ck_assert_int_ne(coord_session_id(k.coord), id);
    ck_assert_int_eq(coord_exists_wait(k.coord, e, NULL), ERR_NOT_FOUND);

    int changes = k.changes; /* deletion may have been told before the expiry */
    coord_exists(k.coord, e, true, b, on_done, &k); /* armed again by its owner */
    zk_deliver_until(b, &k.done, 2, "exists");
    ck_assert_int_eq(coord_create_wait(k.coord, e, BYTES_NULL, COORD_EPHEMERAL, NULL), ERR_OK);
    zk_deliver_until(b, &k.changes, changes + 1, "created");
    client_close(&k);
}
END_TEST

START_TEST(an_ended_old_session_leads_to_a_new_one)
{
    static struct client k;
    struct coord_options o = {
        .connect = server.connect, .session_timeout_ms = 5000, .connection_timeout_ms = 20000};
    struct errtext why;
    struct coord *c;

    client_open(&k);
    o.old_session_id = coord_session_id(k.coord);
    coord_session_password(k.coord, o.old_session_password);
    client_close(&k);
    ck_assert_int_eq(coord_open(&o, &c, &why), ERR_OK);
    ck_assert_int_ne(coord_session_id(c), o.old_session_id);
    coord_close(&c);
}
END_TEST

START_TEST(calls_made_while_the_server_is_away_wait_for_it)
{
    static struct client k;
    struct mailbox *b = &k.mailbox;

    client_open_at(&k, server.connect, 30000);
    const char *dir = fresh(&k), *n = at(dir, "n");
    struct coord_op create = {.kind = COORD_OP_CREATE, .path = n, .data = text("1")};
    zk_server_kill(&server);
    zk_deliver_until(b, &k.disconnected, 1, "disconnected");
    coord_multi(k.coord, &create, 1, b, on_done, &k);
    coord_get(k.coord, n, false, b, on_done, &k);
    zk_server_start(&server);
    zk_deliver_until(b, &k.done, 2, "both answers");
    ck_assert_int_eq(k.ok, 2);
    ck_assert_int_eq(k.expired, 0);
    client_close(&k);
}
END_TEST

START_TEST(a_lost_read_is_repeated_and_a_lost_write_has_an_unknown_outcome)
{
    static struct client k;
    struct mailbox *b = &k.mailbox;

    client_open_at(&k, server.connect, 30000);
    const char *dir = fresh(&k), *n = at(dir, "n");
    struct coord_op create = {.kind = COORD_OP_CREATE, .path = n, .data = text("1")};
    zk_server_signal(&server, SIGSTOP); /* the calls are with the server, unanswered */
    coord_multi(k.coord, &create, 1, b, on_done, &k);
    for (int i = 0; i < 3000; i++) /* more than the window */
        coord_exists(k.coord, dir, false, b, on_done, &k);
    zk_server_kill(&server);
    zk_deliver_until(b, &k.done, 1, "the write's end");
    ck_assert_int_eq(k.unknown, 1);
    zk_server_start(&server);
    zk_deliver_until(b, &k.done, 3001, "all reads");
    ck_assert_int_eq(k.ok, 3000);
    struct coord_counters now;
    coord_count(k.coord, &now);
    ck_assert(now.is_connected);
    ck_assert_int_eq(now.writes_unknown, 1);
    ck_assert_int_ge(now.reads_repeated, 1);
    ck_assert_int_ge(now.disconnections, 1);
    ck_assert_int_eq(now.calls, 3000 + 2);
    ck_assert_int_eq(now.waiting + now.in_flight, 0);
    ck_assert_int_eq(now.handles, 1);
    client_close(&k);
}
END_TEST

START_TEST(writes_that_wait_when_the_session_expires_end_in_closed_and_reads_go_on)
{
    static struct client k;
    struct mailbox *b = &k.mailbox;

    client_open_at(&k, server.connect, 400);
    const char *dir = fresh(&k), *n = at(dir, "n");
    struct coord_op create = {.kind = COORD_OP_CREATE, .path = n, .data = text("1")};
    zk_server_kill(&server);
    zk_deliver_until(b, &k.disconnected, 1, "disconnected");
    coord_multi(k.coord, &create, 1, b, on_done, &k);
    coord_exists(k.coord, n, true, b, on_done, &k);
    zk_server_start(&server);
    /* a fresh server gives sessions their whole timeout again; so end it by hand if it lives */
    zk_deliver_until(b, &k.connected, 1, "connected");
    if (k.expired == 0)
        zk_deliver_until(b, &k.done, 2, "answers");
    else
        zk_deliver_until(b, &k.new_sessions, 1, "a new session");
    zk_deliver_until(b, &k.done, 2, "answers");
    ck_assert_int_eq(k.unknown, 0);
    if (k.expired > 0) {
        ck_assert_int_eq(k.closed, 1);
        ck_assert_int_eq(k.not_found, 1);
    }
    client_close(&k);
}
END_TEST

START_TEST(too_many_waiting_calls_are_refused)
{
    static struct client k;
    struct coord_options o = {.connect = server.connect,
                              .session_timeout_ms = 30000,
                              .connection_timeout_ms = 600,
                              .waiting_max = 10,
                              .mailbox = &k.mailbox,
                              .on_state = on_state,
                              .arg = &k};
    struct errtext why;
    struct mailbox *b = &k.mailbox;

    memset(&k, 0, sizeof k);
    ck_assert_int_eq(mailbox_init(b), ERR_OK);
    ck_assert_int_eq(coord_open(&o, &k.coord, &why), ERR_OK);
    zk_server_signal(&server, SIGSTOP);
    zk_server_kill(&server);
    zk_deliver_until(b, &k.disconnected, 1, "disconnected");
    for (int i = 0; i < 15; i++)
        coord_exists(k.coord, "/", false, b, on_done, &k);
    zk_deliver_until(b, &k.limited, 5, "refusals");
    ck_assert_int_eq(k.done, 5);
    coord_close(&k.coord);
    mailbox_deliver(b);
    ck_assert_int_eq(k.closed, 10);
    mailbox_fini(b);
    zk_server_start(&server);
}
END_TEST

START_TEST(the_blocking_forms_give_up_after_the_connection_timeout)
{
    static struct client k;
    struct coord_options o = {.connect = server.connect,
                              .session_timeout_ms = 30000,
                              .connection_timeout_ms = 600,
                              .mailbox = &k.mailbox,
                              .on_state = on_state,
                              .arg = &k};
    struct errtext why;
    char **names;
    int32_t count;

    memset(&k, 0, sizeof k);
    ck_assert_int_eq(mailbox_init(&k.mailbox), ERR_OK);
    ck_assert_int_eq(coord_open(&o, &k.coord, &why), ERR_OK);
    zk_server_kill(&server);
    zk_deliver_until(&k.mailbox, &k.disconnected, 1, "disconnected");
    ck_assert_int_eq(coord_exists_wait(k.coord, "/x", NULL), ERR_UNREACHABLE);
    ck_assert_int_eq(coord_children_wait(k.coord, "/x", &names, &count), ERR_UNREACHABLE);
    ck_assert_int_eq(coord_create_wait(k.coord, "/x", BYTES_NULL, COORD_PERSISTENT, NULL),
                     ERR_UNREACHABLE);
    ck_assert_int_eq(coord_create_recursive_wait(k.coord, "/x/y", BYTES_NULL), ERR_UNREACHABLE);
    ck_assert_int_eq(coord_delete_recursive_wait(k.coord, "/x"), ERR_UNREACHABLE);
    zk_server_start(&server);
    client_close(&k);
}
END_TEST

START_TEST(nobody_answers_says_so_in_time)
{
    struct coord_options o = {
        .connect = "127.0.0.1:1", .session_timeout_ms = 5000, .connection_timeout_ms = 500};
    struct errtext why = {""};
    struct coord *c;
    int64_t since = clock_mono_ms();

    ck_assert_int_eq(coord_open(&o, &c, &why), ERR_UNREACHABLE);
    ck_assert_ptr_null(c);
    ck_assert_msg(strstr(why.text, "127.0.0.1:1 did not answer within 500 ms") != NULL, "%s",
                  why.text);
    ck_assert_msg(strstr(why.text, "refused") != NULL, "%s", why.text);
    ck_assert_int_lt(clock_mono_ms() - since, 5000);
}
END_TEST

START_TEST(the_library_s_complaints_are_few)
{
    struct coord_options o = {
        .connect = "127.0.0.1:1", .session_timeout_ms = 5000, .connection_timeout_ms = 2000};
    struct errtext why;
    struct coord *c;
    int pipe_fds[2];
    char lines[65536];

    ck_assert_int_eq(pipe(pipe_fds), 0);
    slog_set_fd(pipe_fds[1]);
    ck_assert_int_eq(coord_open(&o, &c, &why), ERR_UNREACHABLE);
    slog_set_fd(2);
    close(pipe_fds[1]);
    ssize_t n = read(pipe_fds[0], lines, sizeof lines - 1);
    close(pipe_fds[0]);
    lines[n < 0 ? 0 : n] = 0;
    int count = 0;
    for (const char *p = lines; (p = strstr(p, "client library reports")) != NULL; p++)
        count++;
    ck_assert_int_le(count, 1);
}
END_TEST

START_TEST(a_name_that_resolves_later_is_waited_for)
{
    struct coord_options o = {.session_timeout_ms = 5000, .connection_timeout_ms = 20000};
    struct errtext why = {""};
    struct coord *c;
    char connect[64];

    snprintf(connect, sizeof connect, "later.test:%d", server.port);
    o.connect = connect;
    o.connection_timeout_ms = 300;
    ck_assert_int_eq(coord_open(&o, &c, &why), ERR_UNREACHABLE);
    o.connection_timeout_ms = 20000;
    resolves_at = atomic_load(&resolved_count) + 2; /* the second try finds it */
    ck_assert_int_eq(coord_open(&o, &c, &why), ERR_OK);
    coord_close(&c);
}
END_TEST

/* A server that is just starting: the first `mute` connections are taken and never answered, the
 * others go to the real one. */
struct proxy {
    int fd, port, mute;
    pthread_t thread;
};

static void *copy_main(void *arg)
{
    int *fds = arg;
    uint8_t bytes[65536];
    ssize_t n;

    while ((n = recv(fds[0], bytes, sizeof bytes, 0)) > 0)
        if (send(fds[1], bytes, (size_t)n, MSG_NOSIGNAL) != n)
            break;
    shutdown(fds[0], SHUT_RDWR);
    shutdown(fds[1], SHUT_RDWR);
    return NULL;
}

static void *proxy_main(void *arg)
{
    struct proxy *p = arg;
    static int fds[32][4];
    pthread_t threads[64];
    int n = 0, fd;

    while (n < 32 && (fd = accept(p->fd, NULL, NULL)) >= 0) {
        struct sockaddr_in a = {.sin_family = AF_INET,
                                .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                                .sin_port = htons((uint16_t)server.port)};
        int to = n < p->mute ? dup(fd) : socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        fds[n][0] = fds[n][3] = fd;
        fds[n][1] = fds[n][2] = to;
        if (n >= p->mute && connect(to, (struct sockaddr *)&a, sizeof a) == 0) {
            pthread_create(&threads[2 * n], NULL, copy_main, &fds[n][0]);
            pthread_create(&threads[2 * n + 1], NULL, copy_main, &fds[n][2]);
        }
        n++;
    }
    for (int i = 0; i < n; i++) {
        shutdown(fds[i][0], SHUT_RDWR);
        for (int k = 0; i >= p->mute && k < 2; k++)
            pthread_join(threads[2 * i + k], NULL);
        close(fds[i][0]);
        close(fds[i][1]);
    }
    return NULL;
}

static void proxy_start(struct proxy *p, int mute)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof a;

    p->mute = mute;
    p->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(bind(p->fd, (struct sockaddr *)&a, sizeof a), 0);
    ck_assert_int_eq(listen(p->fd, 10), 0);
    ck_assert_int_eq(getsockname(p->fd, (struct sockaddr *)&a, &len), 0);
    p->port = ntohs(a.sin_port);
    ck_assert_int_eq(pthread_create(&p->thread, NULL, proxy_main, p), 0);
}

static void proxy_stop(struct proxy *p)
{
    shutdown(p->fd, SHUT_RDWR);
    pthread_join(p->thread, NULL);
    close(p->fd);
}

START_TEST(a_server_that_takes_the_connection_and_is_mute_is_left)
{
    static struct client k;
    struct proxy p;
    char connect[64];
    int64_t since = clock_mono_ms();

    proxy_start(&p, 1);
    snprintf(connect, sizeof connect, "127.0.0.1:%d", p.port);
    client_open_at(&k, connect, 30000); /* the library alone would take 20 s */
    ck_assert_int_lt(clock_mono_ms() - since, 10000);
    client_close(&k);
    proxy_stop(&p);
}
END_TEST

START_TEST(names_are_not_resolved_on_every_pass_of_the_library)
{
    static struct client k;
    struct mailbox *b = &k.mailbox;

    client_open(&k);
    int before = atomic_load(&resolved_count);
    int64_t since = clock_mono_ms();
    for (int i = 0; i < 2000; i++) {
        coord_exists(k.coord, "/", false, b, on_done, &k);
        zk_deliver_until(b, &k.done, i + 1, "exists");
    }
    int64_t seconds = (clock_mono_ms() - since) / 1000 + 1;
    ck_assert_int_le(atomic_load(&resolved_count) - before, seconds + 1);
    client_close(&k);
}
END_TEST

static void long_path(char *out, size_t size, const char *dir, int i)
{
    snprintf(out, size, "%s/%0200d", dir, i);
}

/* Owners of watches that read again when told of a change, as all owners do. */
enum { PATHS = 8000, CREATED = 40 }; /* 1.7 MB of paths; the server takes 1 MiB by default */
static struct {
    bool found[PATHS];
    int found_count;
} armed;

static void on_reread(void *arg, const struct coord_result *r)
{
    int i = atoi(strrchr(r->path, '/') + 1);

    on_done(arg, r);
    if (r->err == ERR_OK && !armed.found[i]) {
        armed.found[i] = true;
        armed.found_count++;
    }
}

static void on_change_read_again(void *arg, enum coord_change kind, const char *path)
{
    struct client *k = arg;

    coord_exists(k->coord, path, true, &k->mailbox, on_reread, k);
}

START_TEST(more_watches_than_fit_into_one_packet_survive_a_reconnect)
{
    static struct client k;
    struct mailbox *b = &k.mailbox;
    char path[300];

    client_open_at(&k, server.connect, 30000);
    const char *dir = fresh(&k);
    coord_watch(k.coord, dir, b, on_change_read_again, &k);
    for (int i = 0; i < PATHS; i++) {
        long_path(path, sizeof path, dir, i);
        coord_exists(k.coord, path, true, b, on_done, &k);
    }
    zk_deliver_until(b, &k.not_found, PATHS, "armed watches");
    struct coord_counters now;
    coord_count(k.coord, &now);
    ck_assert_int_eq(now.watched_paths, PATHS);
    ck_assert_int_eq(now.handles, 4);
    zk_server_kill(&server);
    zk_deliver_until(b, &k.disconnected, 1, "disconnected");
    zk_server_start(&server);
    zk_deliver_until(b, &k.connected, 1, "connected");
    for (int i = 0; i < PATHS; i += PATHS / CREATED) {
        long_path(path, sizeof path, dir, i);
        ck_assert_int_eq(coord_create_wait(k.coord, path, BYTES_NULL, COORD_PERSISTENT, NULL),
                         ERR_OK);
    }
    zk_deliver_until(b, &armed.found_count, CREATED, "watches that fired");
    ck_assert_int_eq(armed.found_count, CREATED);
    client_close(&k);
}
END_TEST

START_TEST(ten_thousand_reads_outlive_restarts_of_the_server_under_them)
{
    enum { READS = 10000, ROUNDS = 4 };
    static struct client k;
    struct mailbox *b = &k.mailbox;
    int writes = 0;

    client_open_at(&k, server.connect, 30000);
    const char *dir = fresh(&k);
    for (int round = 0; round < ROUNDS; round++) {
        int before = k.done;
        for (int i = 0; i < READS; i++) {
            struct coord_op set = {
                .kind = COORD_OP_SET, .path = dir, .data = text("1"), .version = -1};
            coord_exists(k.coord, dir, i % 2 == 0, b, on_done, &k);
            if (i % 100 == 0) {
                coord_multi(k.coord, &set, 1, b, on_done, &k);
                writes++;
            }
        }
        /* in the middle of them, at a place that differs each time */
        zk_deliver_until(b, &k.done, before + 1 + round * 1500, "some answers");
        zk_server_kill(&server);
        mailbox_deliver(b);
        zk_server_start(&server);
    }
    zk_deliver_until(b, &k.done, ROUNDS * READS + writes, "all answers");
    ck_assert_int_eq(k.ok + k.unknown, ROUNDS * READS + writes);
    ck_assert_int_le(k.unknown, ROUNDS * 20); /* of the window only */
    ck_assert_int_eq(k.expired, 0);
    client_close(&k);
}
END_TEST

START_TEST(closing_answers_every_call_and_then_is_silent)
{
    static struct client k;

    client_open(&k);
    const char *dir = fresh(&k);
    coord_watch(k.coord, dir, &k.mailbox, on_change, &k);
    for (int i = 0; i < 5000; i++) {
        struct coord_op set = {.kind = COORD_OP_SET, .path = dir, .data = text("1"), .version = -1};
        coord_get(k.coord, dir, true, &k.mailbox, on_done, &k);
        coord_multi(k.coord, &set, 1, &k.mailbox, on_done, &k);
    }
    coord_close(&k.coord);
    mailbox_deliver(&k.mailbox);
    ck_assert_int_eq(k.done, 10000);
    ck_assert_int_eq(k.changes, 0);
    ck_assert_int_eq(k.ok + k.closed + k.unknown, 10000);
    mailbox_fini(&k.mailbox);
}
END_TEST

START_TEST(parents_are_created_and_whole_trees_deleted)
{
    static struct client k;
    char path[64];
    struct buf data = {0};

    client_open(&k);
    const char *dir = fresh(&k), *deep = at(dir, "a/b/c/d");
    ck_assert_int_eq(coord_create_recursive_wait(k.coord, deep, text("x")), ERR_OK);
    ck_assert_int_eq(coord_create_recursive_wait(k.coord, deep, text("y")), ERR_EXISTS);
    ck_assert_int_eq(coord_get_wait(k.coord, deep, &data, NULL), ERR_OK);
    ck_assert_str_eq(buf_cstr(&data), "x");
    for (int i = 0; i < 500; i++) {
        struct coord_op ops[2] = {{.kind = COORD_OP_CREATE, .path = path, .data = BYTES_NULL}};
        char child[80];
        snprintf(path, sizeof path, "%s/a/b/p%d", dir, i);
        snprintf(child, sizeof child, "%s/state", path);
        ops[1] = (struct coord_op){.kind = COORD_OP_CREATE, .path = child, .data = text("s")};
        coord_multi(k.coord, ops, 2, &k.mailbox, on_done, &k);
    }
    zk_deliver_until(&k.mailbox, &k.ok, 500, "the tree");
    ck_assert_int_eq(coord_delete_recursive_wait(k.coord, at(dir, "a")), ERR_OK);
    ck_assert_int_eq(coord_exists_wait(k.coord, at(dir, "a"), NULL), ERR_NOT_FOUND);
    ck_assert_int_eq(coord_delete_recursive_wait(k.coord, at(dir, "a")), ERR_NOT_FOUND);
    buf_fini(&data);
    client_close(&k);
}
END_TEST

START_TEST(data_up_to_four_mebibytes_pass_and_more_is_refused)
{
    static struct client k;
    static uint8_t big[COORD_DATA_BYTES_MAX + 1];
    struct buf data = {0};

    client_open(&k);
    const char *dir = fresh(&k), *n = at(dir, "n");
    memset(big, 'a', sizeof big);
    struct bytes three = {big, 3 << 20}, over = {big, sizeof big};
    ck_assert_int_eq(coord_create_wait(k.coord, n, three, COORD_PERSISTENT, NULL), ERR_OK);
    ck_assert_int_eq(coord_get_wait(k.coord, n, &data, NULL), ERR_OK);
    ck_assert_int_eq(data.len, 3 << 20);
    ck_assert_int_eq(coord_set_wait(k.coord, n, over, -1, NULL), ERR_TOO_LARGE);
    buf_fini(&data);
    client_close(&k);
}
END_TEST

START_TEST(broken_paths_are_refused_here)
{
    static const char *const bad[] = {"",     "x",     "/x/", "//",   "/a//b", "/.",
                                      "/a/.", "/a/..", "/..", "/a\n", "/./a",  NULL};
    static const char *const good[] = {"/", "/...", "/a.b", "/.a", "/<default>", NULL};
    static struct client k;

    client_open(&k);
    for (int i = 0; bad[i] != NULL; i++)
        ck_assert_msg(coord_exists_wait(k.coord, bad[i], NULL) == ERR_INVALID, "%s", bad[i]);
    for (int i = 0; good[i] != NULL; i++)
        ck_assert_msg(coord_exists_wait(k.coord, good[i], NULL) != ERR_INVALID, "%s", good[i]);
    client_close(&k);
}
END_TEST

START_TEST(connect_strings_are_checked)
{
    static const struct {
        const char *connect;
        bool is_ok;
    } rows[] = {
        {"h:2181", true},  {"h1:1,h2:2/a/b", true}, {"h", true},         {"[::1]:2181/k", true},
        {"", false},       {"/a", false},           {"h:0", false},      {"h:65536", false},
        {"h:x", false},    {"h:1,", true},          {"h:1,,h:2", true},  {"h:1/a/", false},
        {"h:1//a", false}, {"h :1", false},         {"[::1", false},     {"h:99999999999", false},
        {", ,/a", false},  {" h:1 , h2 ", true},    {"h:1,h 2", false}};
    struct errtext why;

    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        ck_assert_msg((coord_check_connect(rows[i].connect, &why) == ERR_OK) == rows[i].is_ok, "%s",
                      rows[i].connect);
}
END_TEST

START_TEST(connect_strings_are_read_as_the_java_client_reads_them)
{
    static const char *const rows[][2] = {
        {"h", "h:2181"},
        {"h/a/b", "h:2181/a/b"},
        {"h:1", "h:1"},
        {"h1, h2:2 ,\th3/k", "h1:2181,h2:2,h3:2181/k"},
        {"h1:1,,h2:2,", "h1:1,h2:2"},
        {"[::1],[::2]:2/k", "[::1]:2181,[::2]:2/k"},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char *text = zk_session_library_connect(rows[i][0]);
        ck_assert_str_eq(text, rows[i][1]);
        mem_free(text);
    }
}
END_TEST

START_TEST(tls_and_acl_settings_are_refused_with_a_reason)
{
    struct errtext why = {""};

    ck_assert_int_eq(coord_check_setting("zookeeper.ssl.client.enable", "true", &why),
                     ERR_UNSUPPORTED);
    ck_assert_ptr_nonnull(strstr(why.text, "without TLS"));
    ck_assert_int_eq(coord_check_setting("zookeeper.set.acl", "true", &why), ERR_UNSUPPORTED);
    ck_assert_int_eq(coord_check_setting("zookeeper.clientCnxnSocket", "x.Netty", &why),
                     ERR_UNSUPPORTED);
    ck_assert_int_eq(coord_check_setting("zookeeper.set.acl", "false", &why), ERR_OK);
    ck_assert_int_eq(coord_check_setting("zookeeper.ssl.client.enable", "", &why), ERR_OK);
    ck_assert_int_eq(coord_check_setting("zookeeper.connect", "h:1", &why), ERR_OK);
}
END_TEST

static void start_server(void)
{
    zk_server_start(&server);
}

static void stop_server(void)
{
    zk_server_fini(&server);
}

int main(void)
{
    Suite *s = suite_create("zk");
    TCase *t = tcase_create("coord");

    tcase_add_unchecked_fixture(t, start_server, stop_server);
    alarm(300); /* without forks Check cannot end a test that hangs */
    tcase_add_test(t, connect_strings_are_checked);
    tcase_add_test(t, connect_strings_are_read_as_the_java_client_reads_them);
    tcase_add_test(t, tls_and_acl_settings_are_refused_with_a_reason);
    tcase_add_test(t, a_node_is_created_read_set_listed_and_deleted);
    tcase_add_test(t, null_data_and_empty_data_are_told_apart);
    tcase_add_test(t, broken_paths_are_refused_here);
    tcase_add_test(t, a_multi_is_all_or_nothing_and_says_which_op_failed);
    tcase_add_test(t, the_chroot_is_made_and_does_not_show);
    tcase_add_test(t, a_watch_tells_once_what_happened_and_to_whom_it_may_concern);
    tcase_add_test(t, parents_are_created_and_whole_trees_deleted);
    tcase_add_test(t, data_up_to_four_mebibytes_pass_and_more_is_refused);
    tcase_add_test(t, a_server_that_takes_the_connection_and_is_mute_is_left);
    tcase_add_test(t, names_are_not_resolved_on_every_pass_of_the_library);
    tcase_add_test(t, a_name_that_resolves_later_is_waited_for);
    tcase_add_test(t, nobody_answers_says_so_in_time);
    tcase_add_test(t, the_library_s_complaints_are_few);
    tcase_add_test(t, closing_answers_every_call_and_then_is_silent);
    tcase_add_test(t, an_ended_old_session_leads_to_a_new_one);
    tcase_add_test(t, an_expired_session_is_told_and_replaced_and_its_ephemerals_are_gone);
    tcase_add_test(t, calls_made_while_the_server_is_away_wait_for_it);
    tcase_add_test(t, a_lost_read_is_repeated_and_a_lost_write_has_an_unknown_outcome);
    tcase_add_test(t, writes_that_wait_when_the_session_expires_end_in_closed_and_reads_go_on);
    tcase_add_test(t, too_many_waiting_calls_are_refused);
    tcase_add_test(t, the_blocking_forms_give_up_after_the_connection_timeout);
    tcase_add_test(t, more_watches_than_fit_into_one_packet_survive_a_reconnect);
    suite_add_tcase(s, t);
    t = tcase_create("stress");
    tcase_add_unchecked_fixture(t, start_server, stop_server);
    tcase_add_test(t, ten_thousand_reads_outlive_restarts_of_the_server_under_them);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_set_fork_status(r, CK_NOFORK);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? 0 : 1;
}
