/* SPDX-License-Identifier: Apache-2.0 */
/* A server with two small handlers, spoken to in raw bytes: what is answered, what closes, in which
 * order, the limits, the metrics page. */
#include "broker/config/config.h"
#include "broker/server/dispatch.h"
#include "broker/http/http.h"
#include "broker/http/metrics.h"
#include "broker/server/server.h"
#include "common/base/clock.h"
#include "common/base/pool.h"
#include "common/base/slog.h"
#include "common/protocol/codec.h"
#include "common/protocol/messages.h"

#include <arpa/inet.h>
#include <check.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static struct broker broker;
static struct server *server;
static struct config *config;
static struct http *http;
static struct request *_Atomic kept_request;
static _Atomic int throttle_ms;
static bool shall_panic; /* the next Metadata */

/* Metadata: at once. Produce: acks 1 at once, acks -1 when the test says so, acks 0 never. */
static void metadata(struct request *r)
{
    struct kp_MetadataResponse m;

    ASSERT(!shall_panic);
    kp_defaults(&kp_MetadataResponse_schema, &m);
    m.controller_id = 4711;
    r->throttle_ms = throttle_ms;
    request_reply(r, &m);
}

static void cancelled(struct request *r)
{
    atomic_store(&kept_request, NULL);
    request_drop(r);
}

static void produce(struct request *r)
{
    const struct kp_ProduceRequest *req = r->body;
    struct kp_ProduceResponse m;

    kp_defaults(&kp_ProduceResponse_schema, &m);
    if (req->acks == 0) {
        request_reply_none(r);
    } else if (req->acks == -1) {
        r->on_cancel = cancelled;
        atomic_store(&kept_request, r);
    } else {
        request_reply(r, &m);
    }
}

static const struct api_row rows[] = {{0, 3, 11, produce, 0}, {3, 0, 12, metadata, 0}};

static void start_with(const char *options)
{
    struct props p = {0};
    struct errtext why = {""};
    char text[500];

    (void)snprintf(text, sizeof text,
                   "zookeeper.connect=127.0.0.1:1\nlisteners=PLAINTEXT://"
                   "127.0.0.1:0\nhttp.listener=127.0.0.1:0\n%s",
                   options);
    config = config_new();
    ck_assert_int_eq(props_parse(&p, str_of(text), &why), ERR_OK);
    ck_assert_msg(config_set_all(config, &p, CONFIG_SOURCE_STATIC, &why) == ERR_OK, "%s", why.text);
    ck_assert_msg(config_finish(config, &why) == ERR_OK, "%s", why.text);
    props_fini(&p);
    memset(&metrics, 0, sizeof metrics);
    atomic_store(&throttle_ms, 0);
    atomic_store(&kept_request, NULL);
    broker =
        (struct broker){.config = config, .id = 1, .descriptors = descriptors_share(4096, 1000)};
    ck_assert_msg(server_bind(&broker, &server, &why) == ERR_OK, "%s", why.text);
    ck_assert_int_eq(pool_start("io", 1, 10, &broker.io_pool), ERR_OK);
    broker.loops = xcalloc(2, sizeof broker.loops[0]);
    for (int i = 0; i < 2; i++)
        ck_assert_int_eq(loop_start("loop", &broker.loops[i]), ERR_OK);
    broker.loop_count = 2;
    dispatch_init(rows, ARRAY_LEN(rows));
    server_start(server);
    ck_assert_msg(http_start(server_stats(server), config->http_listener, &http, &why) == ERR_OK,
                  "%s", why.text);
}

static void set_up(void)
{
    slog_set_fd(open("/dev/null", O_WRONLY | O_CLOEXEC));
    start_with("socket.request.max.bytes=100000");
}

static void tear_down(void)
{
    http_stop(&http);
    server_stop_accepting(server);
    server_close_connections(server);
    ck_assert_int_eq(METRIC_GET(requests_in_flight), 0);
    ck_assert_int_eq(METRIC_GET(connections), 0);
    pool_stop(&broker.io_pool);
    for (int i = 0; i < 2; i++)
        loop_stop(&broker.loops[i]);
    mem_free(broker.loops);
    server_free(&server);
    config_free(&config);
    ck_assert_int_eq(frame_bytes_in_use(), 0);
}

static int dial(int32_t port)
{
    struct sockaddr_in a = {.sin_family = AF_INET,
                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                            .sin_port = htons((uint16_t)port)};
    struct timeval limit = {20, 0};
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    ck_assert_int_eq(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit), 0);
    ck_assert_int_eq(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
    return fd;
}

static int connect_broker(void)
{
    return dial(broker.listeners[0].port);
}

static void frame_begin(struct buf *b, int16_t key, int16_t version, int32_t correlation)
{
    uint8_t size[4] = {0};

    b->len = 0;
    buf_add(b, size, 4);
    if (kp_api_find(key) != NULL && version >= 0 && version <= kp_api_find(key)->max_version) {
        kp_request_header_encode(key, version, correlation, STR_LIT("t"), b);
        return;
    }
    uint8_t h[10];
    be16_store(h, (uint16_t)key);
    be16_store(h + 2, (uint16_t)version);
    be32_store(h + 4, (uint32_t)correlation);
    be16_store(h + 8, 0xffff);
    buf_add(b, h, sizeof h);
}

static void frame_send(int fd, struct buf *b)
{
    be32_store(b->p, (uint32_t)b->len - 4);
    ck_assert_int_eq(send(fd, b->p, b->len, MSG_NOSIGNAL), (ssize_t)b->len);
}

static void send_message(int fd, int16_t key, int16_t version, int32_t correlation, const void *m)
{
    struct buf b = {0};
    struct errtext why;

    frame_begin(&b, key, version, correlation);
    ck_assert_int_eq(kp_encode(kp_api_find(key)->request, version, m, &b, &why), ERR_OK);
    frame_send(fd, &b);
    buf_fini(&b);
}

static void send_metadata(int fd, int32_t correlation)
{
    struct kp_MetadataRequest m;

    kp_defaults(&kp_MetadataRequest_schema, &m);
    send_message(fd, 3, 9, correlation, &m);
}

static void send_produce(int fd, int16_t acks, int32_t correlation)
{
    struct kp_ProduceRequest m;

    kp_defaults(&kp_ProduceRequest_schema, &m);
    m.acks = acks;
    send_message(fd, 0, 7, correlation, &m);
}

/* The next answer's frame; its correlation id is checked. */
static struct buf receive(int fd, int32_t correlation)
{
    struct buf b = {0};
    uint8_t size[4];

    ck_assert_int_eq(recv(fd, size, 4, MSG_WAITALL), 4);
    b.len = be32_load(size);
    ck_assert_uint_lt(b.len, 100000);
    b.p = xmalloc(b.len);
    b.cap = b.len;
    ck_assert_int_eq(recv(fd, b.p, b.len, MSG_WAITALL), (ssize_t)b.len);
    ck_assert_int_eq((int32_t)be32_load(b.p), correlation);
    return b;
}

static void expect(int fd, int32_t correlation)
{
    struct buf b = receive(fd, correlation);
    buf_fini(&b);
}

static void expect_closed(int fd)
{
    char c;
    ck_assert_int_le(recv(fd, &c, 1, 0), 0);
    close(fd);
}

static void ask_api_versions(int fd, int16_t version, struct kp_ApiVersionsResponse *out,
                             struct arena *a, const char *software)
{
    struct kp_ApiVersionsRequest m;
    struct errtext why;

    kp_defaults(&kp_ApiVersionsRequest_schema, &m);
    m.client_software_name = str_of(software);
    m.client_software_version = str_of("1.0");
    send_message(fd, 18, version, 5, &m);
    struct buf b = receive(fd, 5);
    struct buf *kept = xcalloc(1, sizeof *kept); /* strings of out would point into it */
    *kept = b;
    ck_assert_int_eq(kp_decode(&kp_ApiVersionsResponse_schema, version,
                               (struct bytes){b.p + 4, (int64_t)b.len - 4}, a, out, &why),
                     ERR_OK);
    buf_fini(kept);
    mem_free(kept);
}

START_TEST(api_versions_tells_what_the_table_offers)
{
    struct kp_ApiVersionsResponse m;
    struct arena a = {0};
    int fd = connect_broker();

    ask_api_versions(fd, (int16_t)_i, &m, &a, "kcat");
    ck_assert_int_eq(m.error_code, KE_NONE);
    ck_assert_int_eq(m.api_keys_count, 3);
    ck_assert_int_eq(m.api_keys[0].api_key, 0);
    ck_assert_int_eq(m.api_keys[0].min_version, 3);
    ck_assert_int_eq(m.api_keys[0].max_version, 11);
    ck_assert_int_eq(m.api_keys[1].api_key, 3);
    ck_assert_int_eq(m.api_keys[2].api_key, 18);
    ck_assert_int_eq(m.api_keys[2].max_version, 4);
    arena_fini(&a);
    close(fd);
}
END_TEST

START_TEST(a_software_name_that_is_none_is_invalid)
{
    static const char *const names[] = {"", "-a", "a-", "a b", "\xc3\xa4"};
    struct kp_ApiVersionsResponse m;
    struct arena a = {0};
    int fd = connect_broker();

    ask_api_versions(fd, 3, &m, &a, names[_i]);
    ck_assert_int_eq(m.error_code, KE_INVALID_REQUEST);
    arena_fini(&a);
    close(fd);
}
END_TEST

START_TEST(api_versions_of_the_future_are_answered_in_version_0)
{
    static const uint8_t answer[] = {0, 0, 0, 9, 0, 35, 0, 0, 0, 1, 0, 18, 0, 0, 0, 4};
    struct buf b = {0};
    int fd = connect_broker();

    frame_begin(&b, 18, 77, 9);
    buf_add(&b, "\1\2\3 anything", 12);
    frame_send(fd, &b);
    buf_fini(&b);
    b = receive(fd, 9);
    ck_assert_uint_eq(b.len, sizeof answer);
    ck_assert(memcmp(b.p, answer, sizeof answer) == 0);
    buf_fini(&b);
    send_metadata(fd, 10); /* and the connection goes on */
    expect(fd, 10);
    close(fd);
}
END_TEST

START_TEST(api_versions_below_0_are_answered_in_version_0)
{
    struct buf b = {0};
    int fd = connect_broker();

    frame_begin(&b, 18, -1, 9);
    frame_send(fd, &b);
    buf_fini(&b);
    b = receive(fd, 9);
    ck_assert_int_eq((int16_t)be16_load(b.p + 4), KE_UNSUPPORTED_VERSION);
    buf_fini(&b);
    close(fd);
}
END_TEST

/* librdkafka 2.15 and 2.16: Metadata 12 for all topics. */
START_TEST(bytes_behind_a_request_are_ignored)
{
    static const uint8_t body[] = {0, 1, 0, 0, 0, 0, 0}; /* the last three are behind */
    struct buf b = {0};
    int fd = connect_broker();

    frame_begin(&b, 3, 12, 9);
    buf_add(&b, body, sizeof body);
    frame_send(fd, &b);
    expect(fd, 9);
    send_metadata(fd, 10); /* and the connection goes on */
    expect(fd, 10);
    buf_fini(&b);
    close(fd);
}
END_TEST

static const struct {
    int16_t key, version;
    size_t junk;
} refused[] = {
    {4, 0, 0},               /* known, not offered */
    {999, 0, 10},            /* unknown */
    {-1, 0, 10},  {0, 2, 0}, /* below the offered range */
    {0, 12, 10},             /* above it */
    {3, -1, 0},   {3, 1, 3}, /* a body that ends early */
    {3, 9, 50},              /* a body that is none */
};

START_TEST(what_cannot_be_answered_closes_the_connection_and_only_that)
{
    struct buf b = {0};
    int fd = connect_broker(), other = connect_broker();

    frame_begin(&b, refused[_i].key, refused[_i].version, 1);
    for (size_t i = 0; i < refused[_i].junk; i++)
        buf_add(&b, "\xff", 1);
    frame_send(fd, &b);
    expect_closed(fd);
    send_metadata(other, 2);
    expect(other, 2);
    close(other);
    ck_assert_int_eq(METRIC_GET(requests_refused), 1);
    buf_fini(&b);
}
END_TEST

START_TEST(a_frame_over_the_limit_closes_the_connection)
{
    uint8_t size[4];
    int fd = connect_broker();

    be32_store(size, _i == 0 ? 100001 : 0xfffffff0);
    ck_assert_int_eq(send(fd, size, 4, 0), 4);
    expect_closed(fd);
}
END_TEST

static void answer_kept(struct request *r)
{
    struct kp_ProduceResponse m;
    kp_defaults(&kp_ProduceResponse_schema, &m);
    request_reply(r, &m);
}

static struct request *wait_kept(void)
{
    struct request *r;
    while ((r = atomic_load(&kept_request)) == NULL)
        usleep(100);
    return r;
}

START_TEST(produces_run_ahead_and_a_metadata_waits)
{
    int fd = connect_broker();
    char c;

    send_produce(fd, -1, 1);
    send_produce(fd, 1, 2);
    send_produce(fd, 0, 3); /* never answered */
    send_metadata(fd, 4);
    struct request *r = wait_kept();
    while (METRIC_GET(requests) < 3)
        usleep(100);
    ck_assert_int_eq(recv(fd, &c, 1, MSG_DONTWAIT), -1);
    ck_assert_int_eq(METRIC_GET(requests), 3);
    request_post(r, answer_kept);
    expect(fd, 1);
    expect(fd, 2);
    expect(fd, 4);
    close(fd);
}
END_TEST

START_TEST(a_client_that_leaves_cancels_what_waits)
{
    int fd = connect_broker();

    send_produce(fd, -1, 1);
    (void)wait_kept();
    close(fd);
    while (METRIC_GET(requests_cancelled) == 0)
        usleep(100);
    while (METRIC_GET(connections) != 0)
        usleep(100);
    ck_assert_ptr_null(atomic_load(&kept_request));
}
END_TEST

START_TEST(a_throttled_client_gets_its_answer_at_once_and_the_next_one_later)
{
    int fd = connect_broker();
    int64_t start = clock_mono_ms();

    atomic_store(&throttle_ms, 150);
    send_metadata(fd, 1);
    expect(fd, 1);
    send_metadata(fd, 2);
    expect(fd, 2);
    ck_assert_int_ge(clock_mono_ms() - start, 150);
    close(fd);
}
END_TEST

START_TEST(connections_over_the_limit_are_closed)
{
    static const char *const limits[] = {"max.connections=2", "max.connections.per.ip=2"};
    int fds[3];

    tear_down();
    start_with(limits[_i]);
    for (int i = 0; i < 2; i++) {
        fds[i] = connect_broker();
        send_metadata(fds[i], i);
        expect(fds[i], i);
    }
    fds[2] = connect_broker();
    expect_closed(fds[2]);
    ck_assert_int_eq(METRIC_GET(connections_refused), 1);
    close(fds[0]);
    while (METRIC_GET(connections) != 1)
        usleep(100);
    fds[0] = connect_broker(); /* room again */
    send_metadata(fds[0], 7);
    expect(fds[0], 7);
    close(fds[0]);
    close(fds[1]);
}
END_TEST

START_TEST(a_taken_port_is_one_line)
{
    struct errtext why = {""};
    struct broker second = {0};
    struct server *s;
    struct props p = {0};
    struct config *c = config_new();
    char text[60];

    (void)snprintf(text, sizeof text, "PLAINTEXT://127.0.0.1:%d", broker.listeners[0].port);
    props_set(&p, "listeners", text, 0);
    props_set(&p, "zookeeper.connect", "z", 0);
    ck_assert_int_eq(config_set_all(c, &p, CONFIG_SOURCE_STATIC, &why), ERR_OK);
    ck_assert_int_eq(config_finish(c, &why), ERR_OK);
    second.config = c;
    ck_assert_int_eq(server_bind(&second, &s, &why), ERR_IO);
    ck_assert_ptr_nonnull(strstr(why.text, "the port is taken by another process"));
    config_free(&c);
    props_fini(&p);
}
END_TEST

/* ---- metrics */

static void get(const char *path, char *out, size_t size)
{
    int fd = dial(http_port(http));
    char request[100];
    size_t at = 0;
    ssize_t n;

    int len = snprintf(request, sizeof request, "GET %s HTTP/1.0\r\n\r\n", path);
    ck_assert_int_eq(send(fd, request, (size_t)len, 0), len);
    while ((n = recv(fd, out + at, size - 1 - at, 0)) > 0)
        at += (size_t)n;
    out[at] = 0;
    close(fd);
}

static const char *no_coordination(void *arg UNUSED)
{
    return "something is away";
}

START_TEST(the_pages_tell_what_happened)
{
    static char text[100000];
    int fd = connect_broker();

    send_metadata(fd, 1);
    expect(fd, 1);
    get("/metrics", text, sizeof text);
    ck_assert_ptr_nonnull(strstr(text, "200 OK"));
    ck_assert_ptr_nonnull(strstr(text, "\nkafuka_requests_total 1\n"));
    ck_assert_ptr_nonnull(strstr(text, "\nkafuka_connections 1\n"));
    ck_assert_ptr_nonnull(strstr(text, "kafuka_request_seconds_count{api=\"Metadata\"} 1\n"));
    ck_assert_ptr_nonnull(strstr(text, "process_resident_memory_bytes"));
    get("/live", text, sizeof text);
    ck_assert_ptr_nonnull(strstr(text, "200 OK"));
    get("/ready", text, sizeof text);
    ck_assert_ptr_nonnull(strstr(text, "503"));
    METRIC_SET(is_ready, 1);
    get("/ready", text, sizeof text);
    ck_assert_ptr_nonnull(strstr(text, "200 OK"));
    http_add_reason(http, no_coordination, NULL);
    get("/ready", text, sizeof text);
    ck_assert_ptr_nonnull(strstr(text, "503"));
    ck_assert_ptr_nonnull(strstr(text, "\r\n\r\nnot ready: something is away\n"));
    get("/", text, sizeof text);
    ck_assert_ptr_nonnull(strstr(text, "<a href=\"/metrics\">"));
    get("/nothing", text, sizeof text);
    ck_assert_ptr_nonnull(strstr(text, "404"));
    close(fd);
}
END_TEST

/* In a child of its own, made before there are threads. */
START_TEST(a_panic_names_the_request)
{
    int pair[2];
    char text[1 << 14];
    size_t len = 0;
    ssize_t n;

    ck_assert_int_eq(pipe(pair), 0);
    pid_t child = fork();
    if (child == 0) {
        (void)dup2(pair[1], STDERR_FILENO);
        (void)close(pair[0]);
        (void)close(pair[1]);
        check_add_dumper(request_dump, NULL);
        set_up();
        int fd = connect_broker();
        send_metadata(fd, 41); /* has ended: it is not the one */
        expect(fd, 41);
        shall_panic = true;
        send_metadata(fd, 42);
        expect_closed(fd);
        _exit(0);
    }
    (void)close(pair[1]);
    while (len < sizeof text - 1 && (n = read(pair[0], text + len, sizeof text - 1 - len)) > 0)
        len += (size_t)n;
    text[len] = 0;
    (void)close(pair[0]);
    ck_assert_int_eq(waitpid(child, NULL, 0), child);
    ck_assert_msg(strstr(text, "assertion failed: !shall_panic") != NULL, "%s", text);
    ck_assert_msg(strstr(text, "request: api=Metadata key=3 version=9 correlation_id=42 "
                               "client_id=\"t\" client_host=127.0.0.1 listener=PLAINTEXT "
                               "connection=open") != NULL,
                  "%s", text);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("dispatch");
    TCase *panic = tcase_create("panic");
    TCase *c = tcase_create("dispatch");

    tcase_add_checked_fixture(c, set_up, tear_down);
    tcase_set_timeout(c, 60);
    tcase_add_loop_test(c, api_versions_tells_what_the_table_offers, 0, 5);
    tcase_add_loop_test(c, a_software_name_that_is_none_is_invalid, 0, 5);
    tcase_add_test(c, api_versions_of_the_future_are_answered_in_version_0);
    tcase_add_test(c, api_versions_below_0_are_answered_in_version_0);
    tcase_add_test(c, bytes_behind_a_request_are_ignored);
    tcase_add_loop_test(c, what_cannot_be_answered_closes_the_connection_and_only_that, 0,
                        ARRAY_LEN(refused));
    tcase_add_loop_test(c, a_frame_over_the_limit_closes_the_connection, 0, 2);
    tcase_add_test(c, produces_run_ahead_and_a_metadata_waits);
    tcase_add_test(c, a_client_that_leaves_cancels_what_waits);
    tcase_add_test(c, a_throttled_client_gets_its_answer_at_once_and_the_next_one_later);
    tcase_add_loop_test(c, connections_over_the_limit_are_closed, 0, 2);
    tcase_add_test(c, a_taken_port_is_one_line);
    tcase_add_test(c, the_pages_tell_what_happened);
    suite_add_tcase(s, c);
    tcase_add_test(panic, a_panic_names_the_request);
    suite_add_tcase(s, panic);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
