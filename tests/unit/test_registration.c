/* SPDX-License-Identifier: Apache-2.0 */
/* registration and config_changes on a real ZooKeeper. */
#include "broker/cluster/registration.h"

#include "broker/config/config_changes.h"
#include "broker/cluster/registration_internal.h"
#include "common/base/clock.h"
#include "common/base/fsx.h"
#include "tests/unit/zk_fixture.h"

#include <arpa/inet.h>
#include <check.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static struct zk_server server;

#if defined(__SANITIZE_THREAD__)
/* the broker that is killed is a fork of the test */
const char *__tsan_default_options(void);
const char *__tsan_default_options(void)
{
    return "die_after_fork=0";
}
#endif

/* ---- the wall clock can be moved (linked with --wrap) */
static _Atomic int64_t clock_ahead_ms;
int64_t __real_clock_wall_ms(void);
int64_t __wrap_clock_wall_ms(void);
int64_t __wrap_clock_wall_ms(void)
{
    return __real_clock_wall_ms() + atomic_load(&clock_ahead_ms);
}

/* ---- a broker's identity */
struct node {
    struct broker broker;
    struct listener listener;
    struct registration *reg;
    char dir[64];
    _Atomic int expired, registered, disconnected, connected;
    _Atomic int64_t told_epoch;
};

static void on_event(void *arg, enum registration_event event, int64_t epoch)
{
    struct node *n = arg;

    atomic_fetch_add(&n->expired, event == REGISTRATION_EXPIRED);
    atomic_fetch_add(&n->disconnected, event == REGISTRATION_DISCONNECTED);
    atomic_fetch_add(&n->connected, event == REGISTRATION_CONNECTED);
    if (event == REGISTRATION_REGISTERED) {
        atomic_store(&n->told_epoch, epoch);
        atomic_fetch_add(&n->registered, 1);
    }
}

static void node_init(struct node *n, int32_t id, int32_t port)
{
    static char plaintext[] = "PLAINTEXT", host[] = "127.0.0.1";

    memset(n, 0, sizeof *n);
    n->listener = (struct listener){
        .name = plaintext, .advertised_host = host, .advertised_port = port, .port = port};
    n->broker.id = id;
    n->broker.listeners = &n->listener;
    n->broker.listener_count = 1;
    snprintf(n->dir, sizeof n->dir, "/tmp/kafuka-reg-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(n->dir));
}

static void node_start(struct node *n, int64_t session_timeout_ms)
{
    struct registration_options o = {.connect = server.connect,
                                     .session_timeout_ms = session_timeout_ms,
                                     .connection_timeout_ms = 20000,
                                     .session_dir = n->dir,
                                     .on_event = on_event,
                                     .arg = n};
    struct errtext why = {""};

    ck_assert_msg(registration_start(&n->broker, &o, &n->reg, &why) == ERR_OK, "%s", why.text);
    ck_assert_ptr_nonnull(n->broker.coord);
}

static void node_fini(struct node *n)
{
    registration_stop(&n->reg);
    ck_assert_int_eq(fsx_remove_tree(n->dir), ERR_OK);
}

static void wait_for(_Atomic int *count, int want, const char *what)
{
    int64_t deadline = clock_mono_ms() + 20000;

    while (atomic_load(count) < want) {
        if (clock_mono_ms() > deadline)
            ck_abort_msg("waited for %s", what);
        poll(NULL, 0, 5);
    }
}

static struct coord *plain_coord(int64_t session_timeout_ms)
{
    struct coord_options o = {.connect = server.connect,
                              .session_timeout_ms = session_timeout_ms,
                              .connection_timeout_ms = 20000};
    struct errtext why = {""};
    struct coord *c;

    ck_assert_msg(coord_open(&o, &c, &why) == ERR_OK, "%s", why.text);
    return c;
}

/* A broker process that registers and is killed. with_file: its session file stays in n's dir. */
static void leave_a_dead_broker(const struct node *n, int64_t session_timeout_ms, bool with_file)
{
    int pipe_fds[2];
    char ready;

    ck_assert_int_eq(pipe(pipe_fds), 0);
    pid_t pid = fork();
    if (pid == 0) {
        struct node dead = *n;
        dead.broker.listeners = &dead.listener;
        struct registration_options o = {.connect = server.connect,
                                         .session_timeout_ms = session_timeout_ms,
                                         .connection_timeout_ms = 20000,
                                         .session_dir = dead.dir};
        struct errtext why;
        if (registration_start(&dead.broker, &o, &dead.reg, &why) == ERR_OK &&
            registration_register(dead.reg, NULL, &why) == ERR_OK)
            (void)!write(pipe_fds[1], "x", 1);
        for (;;)
            pause();
    }
    close(pipe_fds[1]);
    ck_assert_int_eq(read(pipe_fds[0], &ready, 1), 1);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    close(pipe_fds[0]);
    if (!with_file)
        session_file_remove(n->dir);
}

START_TEST(a_registration_has_the_form_kafka_gives_it_and_goes_with_the_broker)
{
    static struct node n;
    struct coord *c = plain_coord(5000);
    struct coord_stat stat, parent;
    struct buf data = {0};
    struct arena a = {0};
    struct zkdoc_broker doc;
    struct errtext why = {""};
    struct session_secret secret;
    struct stat file;
    char path[128];

    node_init(&n, 1, 9092);
    node_start(&n, 5000);
    ck_assert_int_eq(coord_exists_wait(c, "/latest_producer_id_block", &parent), ERR_OK);
    ck_assert_int_eq(coord_exists_wait(c, "/config/ips", &parent), ERR_OK);
    ck_assert_msg(registration_register(n.reg, "r1", &why) == ERR_OK, "%s", why.text);
    ck_assert_int_eq(coord_get_wait(c, "/brokers/ids/1", &data, &stat), ERR_OK);
    ck_assert_int_eq(stat.version, 1);
    ck_assert_int_eq(stat.czxid, atomic_load(&n.broker.epoch));
    ck_assert_int_eq(stat.ephemeral_owner, coord_session_id(n.broker.coord));
    ck_assert_int_eq(zkdoc_broker_parse((struct bytes){data.p, (int64_t)data.len}, &a, &doc, &why),
                     ERR_OK);
    ck_assert_str_eq(doc.rack, "r1");
    ck_assert_int_eq(doc.port, 9092);
    snprintf(path, sizeof path, "%s/.zookeeper-session", n.dir);
    ck_assert_int_eq(stat.ephemeral_owner != 0 ? lstat(path, &file) : -1, 0);
    ck_assert_int_eq(file.st_mode & 0777, 0600);
    ck_assert_int_eq(session_file_read(n.dir, &secret), ERR_OK);
    ck_assert_int_eq(secret.id, stat.ephemeral_owner);
    registration_stop(&n.reg);
    ck_assert_ptr_null(n.broker.coord);
    ck_assert_int_ne(lstat(path, &file), 0);
    ck_assert_int_eq(coord_exists_wait(c, "/brokers/ids/1", NULL), ERR_NOT_FOUND);
    buf_fini(&data);
    arena_fini(&a);
    coord_close(&c);
    node_fini(&n);
}
END_TEST

START_TEST(the_cluster_id_is_made_once_and_ids_are_generated_upwards)
{
    static struct node a, b;
    struct errtext why = {""};
    int32_t first, second;

    node_init(&a, 1, 9092);
    node_init(&b, 2, 9093);
    node_start(&a, 5000);
    node_start(&b, 5000);
    ck_assert_msg(registration_cluster_id(a.reg, &why) == ERR_OK, "%s", why.text);
    ck_assert_int_eq(registration_cluster_id(b.reg, &why), ERR_OK);
    ck_assert_int_eq(strlen(a.broker.cluster_id), 22);
    ck_assert_str_eq(a.broker.cluster_id, b.broker.cluster_id);
    ck_assert_int_eq(registration_generate_id(a.reg, 1000, &first, &why), ERR_OK);
    ck_assert_int_eq(registration_generate_id(b.reg, 1000, &second, &why), ERR_OK);
    ck_assert_int_eq(first, 1001);
    ck_assert_int_eq(second, 1002);
    node_fini(&a);
    node_fini(&b);
}
END_TEST

START_TEST(a_restart_ends_the_session_of_the_killed_process_and_makes_a_new_node)
{
    static struct node n;
    struct coord *c = plain_coord(5000);
    struct coord_stat old, new;
    struct errtext why = {""};
    int64_t since;

    node_init(&n, 1, 9092);
    leave_a_dead_broker(&n, 30000, true);
    ck_assert_int_eq(coord_exists_wait(c, "/brokers/ids/1", &old), ERR_OK);
    since = clock_mono_ms();
    node_start(&n, 30000);
    ck_assert_msg(registration_register(n.reg, NULL, &why) == ERR_OK, "%s", why.text);
    ck_assert_int_lt(clock_mono_ms() - since, 10000); /* not the 30 s of the session */
    ck_assert_int_eq(coord_exists_wait(c, "/brokers/ids/1", &new), ERR_OK);
    ck_assert_int_gt(new.czxid, old.czxid);
    ck_assert_int_ne(new.ephemeral_owner, old.ephemeral_owner);
    ck_assert_int_eq(new.czxid, atomic_load(&n.broker.epoch));
    node_fini(&n);
    coord_close(&c);
}
END_TEST

START_TEST(without_the_session_file_the_old_session_is_waited_for)
{
    static struct node n;
    struct errtext why = {""};

    node_init(&n, 1, 1); /* nothing answers at port 1 */
    leave_a_dead_broker(&n, 1500, false);
    node_start(&n, 5000);
    ck_assert_msg(registration_register(n.reg, NULL, &why) == ERR_OK, "%s", why.text);
    node_fini(&n);
}
END_TEST

START_TEST(the_wait_for_an_old_session_ends_when_the_broker_is_stopped)
{
    static struct node n;
    struct coord *c = plain_coord(5000);
    struct errtext why = {""};

    node_init(&n, 7, 1);
    ck_assert_int_eq(coord_create_wait(c, "/brokers/ids/7", BYTES_NULL, COORD_EPHEMERAL, NULL),
                     ERR_OK);
    node_start(&n, 5000);
    atomic_store(&n.broker.is_stopping, true);
    ck_assert_int_eq(registration_register(n.reg, NULL, &why), ERR_CLOSED);
    node_fini(&n);
    coord_close(&c);
}
END_TEST

/* ---- somebody who answers ApiVersions */
struct answerer {
    int fd, port;
    pthread_t thread;
};

static void answer_one(int fd)
{
    uint8_t in[512], out[64];
    uint8_t *p = out + 4;

    for (;;) {
        if (recv(fd, in, 4, MSG_WAITALL) != 4)
            return;
        size_t len = be32_load(in);
        if (len > sizeof in || len < 8 || recv(fd, in, len, MSG_WAITALL) != (ssize_t)len)
            return;
        bool is_v0 = be16_load(in + 2) == 0;
        p = out + 4;
        memcpy(p, in + 4, 4); /* correlation id */
        be16_store(p + 4, is_v0 ? 0 : 35);
        be32_store(p + 6, 1);
        be16_store(p + 10, 18);
        be16_store(p + 12, 0);
        be16_store(p + 14, 0);
        be32_store(out, 16);
        if (send(fd, out, 20, MSG_NOSIGNAL) != 20)
            return;
    }
}

static void *answer_main(void *arg)
{
    struct answerer *a = arg;
    int fd;

    while ((fd = accept(a->fd, NULL, NULL)) >= 0) {
        answer_one(fd);
        close(fd);
    }
    return NULL;
}

static void answerer_start(struct answerer *a, bool answers)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof addr;

    a->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(bind(a->fd, (struct sockaddr *)&addr, sizeof addr), 0);
    ck_assert_int_eq(listen(a->fd, 10), 0);
    ck_assert_int_eq(getsockname(a->fd, (struct sockaddr *)&addr, &len), 0);
    a->port = ntohs(addr.sin_port);
    if (answers)
        ck_assert_int_eq(pthread_create(&a->thread, NULL, answer_main, a), 0);
}

static void answerer_stop(struct answerer *a, bool answers)
{
    shutdown(a->fd, SHUT_RDWR);
    if (answers)
        pthread_join(a->thread, NULL);
    close(a->fd);
}

START_TEST(a_second_broker_with_a_living_one_s_id_is_told_so)
{
    static struct node first, second;
    struct answerer a;
    struct errtext why = {""};

    answerer_start(&a, true);
    node_init(&first, 1, a.port);
    node_init(&second, 1, 1);
    node_start(&first, 5000);
    node_start(&second, 5000);
    ck_assert_msg(registration_register(first.reg, NULL, &why) == ERR_OK, "%s", why.text);
    ck_assert_int_eq(registration_register(second.reg, NULL, &why), ERR_EXISTS);
    ck_assert_msg(strstr(why.text, "is alive and answers at 127.0.0.1") != NULL, "%s", why.text);
    ck_assert_int_eq(coord_exists_wait(first.broker.coord, "/brokers/ids/1", NULL), ERR_OK);
    node_fini(&second);
    node_fini(&first);
    answerer_stop(&a, true);
}
END_TEST

static void *serve_later(void *arg)
{
    struct answerer *a = arg;

    poll(NULL, 0, 3000); /* past the first probe */
    ck_assert_int_eq(pthread_create(&a->thread, NULL, answer_main, a), 0);
    return NULL;
}

START_TEST(a_broker_that_began_to_serve_after_the_first_probe_is_noticed)
{
    static struct node first, second;
    struct answerer a;
    struct errtext why = {""};
    pthread_t later;

    answerer_start(&a, false);
    node_init(&first, 1, a.port);
    node_init(&second, 1, 1);
    node_start(&first, 5000);
    node_start(&second, 5000);
    ck_assert_int_eq(registration_register(first.reg, NULL, &why), ERR_OK);
    ck_assert_int_eq(pthread_create(&later, NULL, serve_later, &a), 0);
    ck_assert_int_eq(registration_register(second.reg, NULL, &why), ERR_EXISTS);
    ck_assert_msg(strstr(why.text, "is alive and answers") != NULL, "%s", why.text);
    pthread_join(later, NULL);
    node_fini(&second);
    node_fini(&first);
    answerer_stop(&a, true);
}
END_TEST

/* The thread of the session may be about to sleep when it is told to end. */
START_TEST(a_stop_at_any_moment_ends_the_session_s_thread)
{
    enum { ROUNDS = 300, HANGS_S = 120 };
    static struct node n;

    (void)alarm(HANGS_S); /* a stop that hangs ends the program */
    for (int i = 0; i < ROUNDS; i++) {
        node_init(&n, 1, 9092);
        node_start(&n, 5000);
        for (volatile int spin = 0; spin < i * 200; spin++) /* another moment each round */
            ;
        node_fini(&n);
    }
    (void)alarm(0);
}
END_TEST

START_TEST(our_own_bound_but_silent_socket_is_no_living_broker)
{
    static struct node n;
    struct answerer a;
    struct errtext why = {""};

    answerer_start(&a, false);
    node_init(&n, 1, a.port);
    leave_a_dead_broker(&n, 1500, false);
    node_start(&n, 5000);
    ck_assert_msg(registration_register(n.reg, NULL, &why) == ERR_OK, "%s", why.text);
    node_fini(&n);
    answerer_stop(&a, false);
}
END_TEST

START_TEST(two_brokers_cannot_have_one_endpoint)
{
    static struct node a, b;
    struct errtext why = {""};

    node_init(&a, 1, 9092);
    node_init(&b, 2, 9092);
    node_start(&a, 5000);
    node_start(&b, 5000);
    ck_assert_int_eq(registration_register(a.reg, NULL, &why), ERR_OK);
    ck_assert_int_eq(registration_register(b.reg, NULL, &why), ERR_EXISTS);
    ck_assert_msg(strstr(why.text, "broker 1 is registered with our advertised endpoint") != NULL,
                  "%s", why.text);
    node_fini(&b);
    node_fini(&a);
}
END_TEST

START_TEST(after_an_expiry_the_broker_registers_again_by_itself)
{
    static struct node n;
    struct errtext why = {""};
    struct coord_stat stat;
    struct session_secret secret;

    node_init(&n, 1, 9092);
    node_start(&n, 5000);
    ck_assert_int_eq(registration_register(n.reg, NULL, &why), ERR_OK);
    int64_t epoch = atomic_load(&n.broker.epoch);
    zk_expire(&server, n.broker.coord);
    wait_for(&n.registered, 1, "the new registration");
    ck_assert_int_ge(atomic_load(&n.expired), 1);
    ck_assert_int_eq(coord_exists_wait(n.broker.coord, "/brokers/ids/1", &stat), ERR_OK);
    ck_assert_int_gt(stat.czxid, epoch);
    ck_assert_int_eq(stat.czxid, atomic_load(&n.told_epoch));
    ck_assert_int_eq(stat.czxid, atomic_load(&n.broker.epoch));
    ck_assert_int_eq(session_file_read(n.dir, &secret), ERR_OK);
    ck_assert_int_eq(secret.id, coord_session_id(n.broker.coord));
    node_fini(&n);
}
END_TEST

START_TEST(a_restart_of_zookeeper_keeps_the_registration)
{
    static struct node n;
    struct errtext why = {""};
    struct coord_stat stat;

    node_init(&n, 1, 9092);
    node_start(&n, 30000);
    ck_assert_int_eq(registration_register(n.reg, NULL, &why), ERR_OK);
    zk_server_kill(&server);
    wait_for(&n.disconnected, 1, "the disconnection");
    zk_server_start(&server);
    wait_for(&n.connected, 1, "the connection");
    ck_assert_int_eq(coord_exists_wait(n.broker.coord, "/brokers/ids/1", &stat), ERR_OK);
    ck_assert_int_eq(stat.czxid, atomic_load(&n.broker.epoch));
    ck_assert_int_eq(atomic_load(&n.expired), 0);
    node_fini(&n);
}
END_TEST

START_TEST(a_damaged_session_file_is_refused_and_a_good_one_read)
{
    static const char *const bad[] = {"",
                                      "x",
                                      "session=1\n",
                                      "session=0\npassword=",
                                      "session=12",
                                      "session=12\npassword=00\n",
                                      "session=1\npassword=000102030405060708090a0b0c0d0e0g\n",
                                      "session=1\npassword=000102030405060708090a0b0c0d0e0f"};
    static struct node n;
    struct session_secret s = {.id = -5, .password = {1, 2, 255}}, got;
    char path[128];

    node_init(&n, 1, 9092);
    ck_assert_int_eq(session_file_read(n.dir, &got), ERR_OK);
    ck_assert_int_eq(got.id, 0);
    ck_assert_int_eq(session_file_write(n.dir, &s), ERR_OK);
    ck_assert_int_eq(session_file_read(n.dir, &got), ERR_OK);
    ck_assert_int_eq(got.id, -5);
    ck_assert_mem_eq(got.password, s.password, 16);
    snprintf(path, sizeof path, "%s/.zookeeper-session", n.dir);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        ck_assert_int_eq(fsx_replace_durably(path, bad[i], strlen(bad[i]), 0600), ERR_OK);
        ck_assert_msg(session_file_read(n.dir, &got) == ERR_CORRUPT, "%s", bad[i]);
        ck_assert_int_eq(got.id, 0);
    }
    ck_assert_int_eq(fsx_remove_tree(n.dir), ERR_OK);
}
END_TEST

/* ---- config changes */
struct heard {
    int count;
    char last[200];
};

static void on_config(void *arg, const char *type, const char *name,
                      const struct zkdoc_config *config)
{
    struct heard *h = arg;
    const char *v = zkdoc_config_value(config, "retention.ms");

    snprintf(h->last, sizeof h->last, "%s/%s=%s", type, name, v == NULL ? "none" : v);
    h->count++;
}

static void set_retention(struct coord *c, const char *type, const char *name, const char *value)
{
    struct zkdoc_kv kv = {"retention.ms", value};
    struct zkdoc_config config = {&kv, value == NULL ? 0 : 1};
    struct errtext why = {""};

    ck_assert_msg(zkadmin_set_entity_config(c, type, name, &config, false, &why) == KE_NONE, "%s",
                  why.text);
}

static int32_t notifications(struct coord *c)
{
    char **names;
    int32_t count;

    ck_assert_int_eq(coord_children_wait(c, "/config/changes", &names, &count), ERR_OK);
    coord_names_free(names, count);
    return count;
}

START_TEST(config_changes_are_heard_in_order_and_old_notifications_removed)
{
    struct coord *c = plain_coord(30000);
    struct config_changes *cc;
    struct mailbox box;
    struct heard h = {0};
    struct errtext why;

    ck_assert_int_eq(mailbox_init(&box), ERR_OK);
    set_retention(c, "topics", "t1", "1");
    config_changes_start(c, &box, on_config, &h, &cc);
    zk_deliver_until(&box, &h.count, 1, "the change from before");
    ck_assert_str_eq(h.last, "topics/t1=1");
    set_retention(c, "topics", "t1", "2");
    zk_deliver_until(&box, &h.count, 2, "the second change");
    ck_assert_str_eq(h.last, "topics/t1=2");
    set_retention(c, "clients", "x", NULL);
    zk_deliver_until(&box, &h.count, 3, "an entity without config");
    ck_assert_str_eq(h.last, "clients/x=none");
    ck_assert_int_eq(coord_create_wait(c, "/config/changes/config_change_",
                                       (struct bytes){(const uint8_t *)"broken", 6},
                                       COORD_SEQUENTIAL, NULL),
                     ERR_OK);
    set_retention(c, "topics", "t2", "3");
    zk_deliver_until(&box, &h.count, 4, "the change behind a broken notification");
    ck_assert_int_ge(notifications(c), 5);
    config_changes_stop(&cc);

    atomic_store(&clock_ahead_ms, 16 * 60 * 1000);
    config_changes_start(c, &box, on_config, &h, &cc);
    zk_deliver_until(&box, &h.count, 8, "all changes again");
    int64_t deadline = clock_mono_ms() + 10000;
    while (notifications(c) > 0) {
        ck_assert_int_lt(clock_mono_ms(), deadline);
        mailbox_deliver(&box);
    }
    atomic_store(&clock_ahead_ms, 0);
    set_retention(c, "topics", "t3", "4"); /* a read is under way when it is stopped */
    config_changes_stop(&cc);
    h.count = 0;
    ck_assert_int_eq(config_changes_load(c, "topics", on_config, &h, &why), ERR_OK);
    ck_assert_int_eq(h.count, 3);
    coord_close(&c);
    mailbox_deliver(&box);
    ck_assert_int_eq(h.count, 3);
    mailbox_fini(&box);
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
    Suite *s = suite_create("registration");
    TCase *t = tcase_create("registration");

    alarm(300);
    tcase_add_unchecked_fixture(t, start_server, stop_server);
    tcase_add_test(t, a_damaged_session_file_is_refused_and_a_good_one_read);
    tcase_add_test(t, a_registration_has_the_form_kafka_gives_it_and_goes_with_the_broker);
    tcase_add_test(t, the_cluster_id_is_made_once_and_ids_are_generated_upwards);
    tcase_add_test(t, two_brokers_cannot_have_one_endpoint);
    tcase_add_test(t, a_second_broker_with_a_living_one_s_id_is_told_so);
    tcase_add_test(t, a_restart_ends_the_session_of_the_killed_process_and_makes_a_new_node);
    tcase_add_test(t, without_the_session_file_the_old_session_is_waited_for);
    tcase_add_test(t, a_broker_that_began_to_serve_after_the_first_probe_is_noticed);
    tcase_add_test(t, a_stop_at_any_moment_ends_the_session_s_thread);
    tcase_add_test(t, our_own_bound_but_silent_socket_is_no_living_broker);
    tcase_add_test(t, the_wait_for_an_old_session_ends_when_the_broker_is_stopped);
    tcase_add_test(t, after_an_expiry_the_broker_registers_again_by_itself);
    tcase_add_test(t, a_restart_of_zookeeper_keeps_the_registration);
    tcase_add_test(t, config_changes_are_heard_in_order_and_old_notifications_removed);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_set_fork_status(r, CK_NOFORK);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? 0 : 1;
}
