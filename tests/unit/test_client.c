/* SPDX-License-Identifier: Apache-2.0 */
/* The asynchronous client against a server of our own connections, plain and TLS, and against peers
 * that misbehave. */
#include "common/net/client.h"
#include "common/net/conn.h"
#include "common/net/transport.h"
#include "common/protocol/codec.h"
#include "common/protocol/messages.h"

#include <arpa/inet.h>
#include <check.h>
#include <dlfcn.h>
#include <netdb.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { KEY = 3, VERSION = 1 }; /* Metadata: topics in, topics out */

static struct loop *server_loop, *client_loop;
static int listening;
static int32_t port;
static struct client *client;
static struct conn *conn;
static struct tls_context *server_tls, *client_tls;
static pthread_mutex_t mtx = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static _Atomic int opened, answered, failed, closed;
static enum client_end end_why;
static enum err last_err;
static int32_t order[64];
static bool close_in_callback, with_file;
static size_t body_len;
static uint32_t body_sum;
static int file_fd;

static void tell(_Atomic int *what)
{
    pthread_mutex_lock(&mtx);
    (*what)++;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&mtx);
}

static void until(_Atomic int *value, int at_least)
{
    struct timespec t;

    clock_gettime(CLOCK_REALTIME, &t);
    t.tv_sec += 20;
    pthread_mutex_lock(&mtx);
    while (*value < at_least)
        ck_assert_int_eq(pthread_cond_timedwait(&changed, &mtx, &t), 0);
    pthread_mutex_unlock(&mtx);
}

/* ---- the server: answers Metadata with an empty answer, or with a frame that a file fills */

static bool may_overlap(const uint8_t *head, size_t len)
{
    return false;
}

static int range_fd(struct conn_range *r)
{
    return file_fd;
}

static void range_release(struct conn_range *r)
{
}

static const struct conn_range_ops range_ops = {range_fd, range_fd, range_release};

static void on_frame(struct conn *c, struct frame *f, bool overlap)
{
    struct exchange x = {0};
    struct kp_request_header h;
    struct bytes body;
    struct errtext why;
    struct buf out = {0};
    struct kp_MetadataResponse answer;
    struct conn_range range = {&range, 0, 3000000, false};
    static const struct conn_server ops = {.range_ops = &range_ops};

    ck_assert_int_eq(
        kp_request_header_decode((struct bytes){f->p, (int64_t)f->len}, &h, &body, &why), ERR_OK);
    ck_assert(str_eq_z(h.client_id, "me"));
    conn_begin(c, &x, f, overlap);
    kp_response_header_encode(h.api_key, h.api_version, h.correlation_id, &out);
    if (with_file) {
        size_t at = out.len;
        buf_add(&out, "end", 3);
        conn_reply(&x, &out, &range, &at, 1, &ops);
        return;
    }
    kp_defaults(&kp_MetadataResponse_schema, &answer);
    answer.controller_id = h.correlation_id;
    ck_assert_int_eq(kp_encode(&kp_MetadataResponse_schema, h.api_version, &answer, &out, &why),
                     ERR_OK);
    conn_reply(&x, &out, NULL, NULL, 0, &ops);
}

static void on_cancel(struct exchange *x)
{
    conn_abandon(x);
}

static void on_conn_close(struct conn *c, enum conn_end why, int errnum)
{
    conn = NULL;
}

static struct conn_server server = {.frame_max = 1000000,
                                    .memory_max_bytes = 1 << 30,
                                    .range_ops = &range_ops,
                                    .may_overlap = may_overlap,
                                    .on_frame = on_frame,
                                    .on_cancel = on_cancel,
                                    .on_close = on_conn_close};

static void open_conn(void *arg)
{
    conn = conn_open(&server, server_loop, *(int *)arg, server_tls, NULL);
}

static void close_conn(void *arg)
{
    if (conn != NULL)
        conn_close(conn);
}

static void accept_one(void)
{
    int fd = accept(listening, NULL, NULL);
    ck_assert_int_ge(fd, 0);
    loop_call(server_loop, open_conn, &fd);
}

/* ---- the client */

static void on_open(void *arg, struct client *c)
{
    tell(&opened);
}

static void on_close(void *arg, struct client *c, enum client_end why, int errnum)
{
    end_why = why;
    client = NULL;
    tell(&closed);
}

static void done(void *arg, enum err err, struct frame *f, struct bytes body)
{
    last_err = err;
    if (err != ERR_OK) {
        ck_assert_ptr_null(f->block);
        tell(&failed);
        return;
    }
    ck_assert_ptr_nonnull(f->block);
    body_len = (size_t)body.len;
    body_sum = 0;
    for (int64_t i = 0; i < body.len; i++)
        body_sum = body_sum * 31 + body.p[i];
    order[answered] = (int32_t)(intptr_t)arg;
    if (close_in_callback)
        client_close(&client);
    tell(&answered);
}

struct send {
    int count;
    int64_t timeout_ms;
};

static void send_some(void *arg)
{
    const struct send *s = arg;
    struct kp_MetadataRequest m;
    struct errtext why;

    kp_defaults(&kp_MetadataRequest_schema, &m);
    for (int i = 0; i < s->count; i++)
        ck_assert_int_eq(
            client_send(client, KEY, VERSION, &m, s->timeout_ms, done, (void *)(intptr_t)i, &why),
            ERR_OK);
}

static struct client_options options;

/* Names ending in .hangs.test are unknown, but that is said only once hangs is false. */
enum { HUNG_CLIENTS = 20 };
static struct client *hung[HUNG_CLIENTS];
static atomic_bool hangs;
static atomic_int lookups_hung;

int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints,
                struct addrinfo **res)
{
    static int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **);

    if (node != NULL && strstr(node, ".hangs.test") != NULL) {
        atomic_fetch_add(&lookups_hung, 1);
        while (atomic_load(&hangs))
            (void)poll(NULL, 0, 1);
        return EAI_NONAME;
    }
    if (real == NULL)
        real = (int (*)(const char *, const char *, const struct addrinfo *,
                        struct addrinfo **))dlsym(RTLD_NEXT, "getaddrinfo");
    return real(node, service, hints, res);
}

static void close_hung(void *arg)
{
    for (int i = 0; i < HUNG_CLIENTS; i++)
        client_close(&hung[i]);
}

static void open_client(void *arg)
{
    options.loop = client_loop;
    options.port = port;
    options.client_id = "me";
    options.on_open = on_open;
    options.on_close = on_close;
    options.tls = client_tls;
    client = client_open(&options);
}

static void close_client(void *arg)
{
    client_close(&client);
}

static void set_up(void)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof a;

    opened = answered = failed = closed = 0;
    close_in_callback = with_file = false;
    options = (struct client_options){.host = "127.0.0.1"};
    ck_assert_int_eq(loop_start("server", &server_loop), ERR_OK);
    ck_assert_int_eq(loop_start("client", &client_loop), ERR_OK);
    listening = socket(AF_INET, SOCK_STREAM, 0);
    ck_assert_int_eq(bind(listening, (struct sockaddr *)&a, sizeof a), 0);
    ck_assert_int_eq(listen(listening, 10), 0);
    ck_assert_int_eq(getsockname(listening, (struct sockaddr *)&a, &len), 0);
    port = ntohs(a.sin_port);
}

static void tear_down(void)
{
    loop_call(client_loop, close_client, NULL);
    loop_call(server_loop, close_conn, NULL);
    loop_stop(&client_loop);
    loop_stop(&server_loop);
    if (listening >= 0)
        close(listening);
    tls_context_free(&server_tls);
    tls_context_free(&client_tls);
    ck_assert_int_eq(frame_bytes_in_use(), 0);
}

START_TEST(requests_are_answered_in_order)
{
    struct send s = {20, 10000};

    if (_i == 1)
        options.host = "localhost"; /* through the name service */
    loop_call(client_loop, open_client, NULL);
    loop_call(client_loop, send_some, &s); /* before it stands */
    accept_one();
    until(&answered, 20);
    loop_call(client_loop, send_some, &s);
    until(&answered, 40);
    ck_assert_int_eq(opened, 1);
    for (int i = 0; i < 40; i++)
        ck_assert_int_eq(order[i], i % 20);
    ck_assert_str_eq(client_address(client), "127.0.0.1");
}
END_TEST

START_TEST(a_refused_connect_says_so)
{
    close(listening);
    listening = -1;
    struct send s = {2, 10000};
    loop_call(client_loop, open_client, NULL);
    until(&closed, 1);
    ck_assert_int_eq(end_why, CLIENT_REFUSED);
    ck_assert_int_eq(opened, 0);
    (void)s;
}
END_TEST

START_TEST(an_unknown_name_says_so)
{
    options.host = _i == 0 ? "no-such-host.invalid" : "::zz";
    loop_call(client_loop, open_client, NULL);
    until(&closed, 1);
    ck_assert_int_eq(end_why, CLIENT_UNRESOLVED);
}
END_TEST

/* ---- names that hang */

START_TEST(a_name_that_hangs_delays_no_other)
{
    atomic_store(&hangs, true);
    for (int i = 0; i < HUNG_CLIENTS; i++) {
        options.host = i % 2 == 0 ? "one.hangs.test" : "two.hangs.test";
        loop_call(client_loop, open_client, NULL);
        hung[i] = client;
    }
    ck_assert_int_le(atomic_load(&lookups_hung), 2); /* one for each name */
    options.host = "localhost";
    loop_call(client_loop, open_client, NULL);
    accept_one();
    struct send s = {3, 10000};
    loop_call(client_loop, send_some, &s);
    until(&answered, 3);
    loop_call(client_loop, close_hung, NULL); /* what comes later finds nobody */
    atomic_store(&hangs, false);
}
END_TEST

START_TEST(a_name_that_hangs_ends_the_client_in_time_as_unresolved)
{
    atomic_store(&hangs, true);
    options.host = "three.hangs.test";
    options.connect_timeout_ms = 30;
    loop_call(client_loop, open_client, NULL);
    until(&closed, 1);
    ck_assert_int_eq(end_why, CLIENT_UNRESOLVED);
    atomic_store(&hangs, false);
}
END_TEST

START_TEST(who_asks_for_a_name_meanwhile_gets_the_same_answer)
{
    atomic_store(&hangs, true);
    options.host = "no.hangs.test";
    for (int i = 0; i < 3; i++)
        loop_call(client_loop, open_client, NULL);
    atomic_store(&hangs, false);
    until(&closed, 3);
    ck_assert_int_eq(end_why, CLIENT_UNRESOLVED);
}
END_TEST

START_TEST(a_request_without_answer_times_out_and_takes_the_others_with_it)
{
    struct send s = {3, 60};
    loop_call(client_loop, open_client, NULL);
    int fd = accept(listening, NULL, NULL); /* never answers */
    loop_call(client_loop, send_some, &s);
    until(&closed, 1);
    ck_assert_int_eq(end_why, CLIENT_REQUEST_TIMEOUT);
    ck_assert_int_eq(failed, 3);
    ck_assert_int_eq(last_err, ERR_TIMEOUT);
    close(fd);
}
END_TEST

START_TEST(no_answer_to_the_connect_times_out)
{
    /* a full accept queue: further SYNs are dropped */
    int fds[30];
    struct sockaddr_in a = {.sin_family = AF_INET,
                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                            .sin_port = htons((uint16_t)port)};
    ck_assert_int_eq(listen(listening, 0), 0);
    for (int i = 0; i < 30; i++) {
        fds[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        (void)!connect(fds[i], (struct sockaddr *)&a, sizeof a);
    }
    options.connect_timeout_ms = 100;
    loop_call(client_loop, open_client, NULL);
    until(&closed, 1);
    ck_assert_int_eq(end_why, CLIENT_CONNECT_TIMEOUT);
    for (int i = 0; i < 30; i++)
        close(fds[i]);
}
END_TEST

static const struct {
    const char *bytes;
    size_t len;
    enum client_end why;
} bad[] = {
    {"", 0, CLIENT_EOF},
    {"\0\0", 2, CLIENT_EOF},
    {"\0\0\0\4\0\0\0\7", 8, CLIENT_BAD_FRAME}, /* another correlation id */
    {"\377\377\377\377", 4, CLIENT_BAD_FRAME}, /* negative */
    {"\0\17\102\101", 4, CLIENT_BAD_FRAME},    /* over frame_max */
    {"\0\0\0\2\0\0", 6, CLIENT_BAD_FRAME},     /* too short for its header */
};

START_TEST(a_bad_peer_ends_it)
{
    char request[200];
    struct send s = {1, 10000};

    options.frame_max = 1000000;
    loop_call(client_loop, open_client, NULL);
    int fd = accept(listening, NULL, NULL);
    loop_call(client_loop, send_some, &s);
    ck_assert_int_gt(recv(fd, request, sizeof request, 0), 0);
    ck_assert_int_eq(send(fd, bad[_i].bytes, bad[_i].len, 0), (ssize_t)bad[_i].len);
    shutdown(fd, SHUT_WR);
    until(&closed, 1);
    ck_assert_int_eq(end_why, bad[_i].why);
    ck_assert_int_eq(failed, 1);
    ck_assert_int_eq(last_err, ERR_CLOSED);
    close(fd);
}
END_TEST

START_TEST(a_reset_is_told)
{
    struct linger l = {1, 0};
    struct send s = {1, 10000};
    char request[200];

    loop_call(client_loop, open_client, NULL);
    int fd = accept(listening, NULL, NULL);
    loop_call(client_loop, send_some, &s);
    ck_assert_int_gt(recv(fd, request, sizeof request, 0), 0);
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &l, sizeof l);
    close(fd);
    until(&closed, 1);
    ck_assert_int_eq(end_why, CLIENT_RESET);
}
END_TEST

START_TEST(it_may_be_closed_from_its_callback)
{
    struct send s = {5, 10000};

    close_in_callback = true;
    loop_call(client_loop, open_client, NULL);
    loop_call(client_loop, send_some, &s);
    accept_one();
    until(&answered, 1);
    loop_call(client_loop, close_client, NULL);
    ck_assert_int_eq(answered, 1);
    ck_assert_int_eq(closed, 0);
}
END_TEST

static void make_file(void)
{
    char path[] = "/tmp/kafuka-test-client-XXXXXX";
    char *bytes = malloc(3000000);

    for (int i = 0; i < 3000000; i++)
        bytes[i] = (char)(i * 7 >> 4);
    file_fd = mkstemp(path);
    ck_assert_int_eq(write(file_fd, bytes, 3000000), 3000000);
    unlink(path);
    free(bytes);
}

static uint32_t expected_sum(void)
{
    uint32_t sum = 0;
    for (int i = 0; i < 3000000; i++)
        sum = sum * 31 + (uint8_t)(char)(i * 7 >> 4);
    for (int i = 0; i < 3; i++)
        sum = sum * 31 + (uint8_t) "end"[i];
    return sum;
}

START_TEST(a_large_answer_out_of_a_file_comes_whole)
{
    struct send s = {3, 20000};

    make_file();
    with_file = true;
    loop_call(client_loop, open_client, NULL);
    loop_call(client_loop, send_some, &s);
    accept_one();
    until(&answered, 3);
    ck_assert_uint_eq(body_len, 3000003);
    ck_assert_uint_eq(body_sum, expected_sum());
    close(file_fd);
}
END_TEST

/* ---- TLS */

static void make_certificate(const char *path, const char *name)
{
    EVP_PKEY *key = EVP_RSA_gen(2048);
    X509 *cert = X509_new();
    FILE *f = fopen(path, "w");
    X509_NAME *n = X509_get_subject_name(cert);
    X509V3_CTX ctx;
    char san[64];

    ASN1_INTEGER_set(X509_get_serialNumber(cert), 1);
    X509_set_version(cert, 2);
    X509_gmtime_adj(X509_getm_notBefore(cert), -60);
    X509_gmtime_adj(X509_getm_notAfter(cert), 3600);
    X509_set_pubkey(cert, key);
    X509_NAME_add_entry_by_txt(n, "CN", MBSTRING_ASC, (const unsigned char *)name, -1, -1, 0);
    X509_set_issuer_name(cert, n);
    (void)snprintf(san, sizeof san, "IP:%s", name);
    X509V3_set_ctx(&ctx, cert, cert, NULL, NULL, 0);
    X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, &ctx, NID_subject_alt_name, san);
    X509_add_ext(cert, e, -1);
    X509_EXTENSION_free(e);
    if (X509_sign(cert, key, EVP_sha256()) == 0)
        abort();
    PEM_write_X509(f, cert);
    PEM_write_PrivateKey(f, key, NULL, NULL, 0, NULL, NULL);
    fclose(f);
    X509_free(cert);
    EVP_PKEY_free(key);
}

static char dir[] = "/tmp/kafuka-test-tls-XXXXXX";
static char good_pem[80], other_pem[80];

static void make_tls(const char *server_pem, const char *trusted_pem, bool mutual)
{
    struct errtext why;
    struct tls_options s = {.is_server = true,
                            .certificate_path = server_pem,
                            .trust_path = mutual ? good_pem : NULL,
                            .client_auth =
                                mutual ? TLS_CLIENT_AUTH_REQUIRED : TLS_CLIENT_AUTH_NONE};
    struct tls_options c = {.certificate_path = mutual ? good_pem : NULL,
                            .trust_path = trusted_pem,
                            .verify_host_name = true};

    ck_assert_msg(tls_context_new(&s, &server_tls, &why) == ERR_OK, "%s", why.text);
    ck_assert_msg(tls_context_new(&c, &client_tls, &why) == ERR_OK, "%s", why.text);
}

START_TEST(tls_carries_the_same)
{
    struct send s = {3, 20000};

    make_file();
    make_tls(good_pem, good_pem, _i == 1);
    with_file = true;
    loop_call(client_loop, open_client, NULL);
    loop_call(client_loop, send_some, &s);
    accept_one();
    until(&answered, 3);
    ck_assert_uint_eq(body_sum, expected_sum());
    with_file = false;
    s.count = 20;
    loop_call(client_loop, send_some, &s);
    until(&answered, 23);
    close(file_fd);
}
END_TEST

static void read_subject(void *arg)
{
    conn_peer_subject(conn, arg, 100);
}

START_TEST(the_subject_of_a_client_certificate_is_known)
{
    struct send s = {1, 20000};
    char subject[100];

    make_tls(good_pem, good_pem, true);
    loop_call(client_loop, open_client, NULL);
    loop_call(client_loop, send_some, &s);
    accept_one();
    until(&answered, 1);
    loop_call(server_loop, read_subject, subject);
    ck_assert_str_eq(subject, "CN=127.0.0.1");
}
END_TEST

START_TEST(a_certificate_that_is_not_trusted_ends_it)
{
    struct send s = {1, 20000};

    make_tls(other_pem, _i == 0 ? good_pem : other_pem, false); /* unknown issuer; another name */
    loop_call(client_loop, open_client, NULL);
    loop_call(client_loop, send_some, &s);
    accept_one();
    until(&closed, 1);
    ck_assert_int_eq(end_why, CLIENT_TLS_FAILED);
    ck_assert_int_eq(failed, 1);
}
END_TEST

START_TEST(a_plain_client_of_a_tls_server_is_closed)
{
    struct send s = {1, 20000};

    make_tls(good_pem, good_pem, false);
    tls_context_free(&client_tls);
    loop_call(client_loop, open_client, NULL);
    loop_call(client_loop, send_some, &s);
    accept_one();
    until(&closed, 1);
    ck_assert_int_eq(failed, 1);
}
END_TEST

START_TEST(a_bad_pem_names_the_file)
{
    struct errtext why = {""};
    struct tls_options o = {.is_server = true, .certificate_path = "/nonexistent/x.pem"};

    ck_assert_int_eq(tls_context_new(&o, &server_tls, &why), ERR_INVALID);
    ck_assert_ptr_nonnull(strstr(why.text, "/nonexistent/x.pem"));
}
END_TEST

static const struct {
    const char *names[2];
    bool no_tls12;
    const char *why; /* NULL: a context is made */
} suites[] = {
    {{"TLS_AES_128_GCM_SHA256", "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384"}, false, NULL},
    {{"TLS_AES_128_GCM_SHA256"}, true, NULL},
    {{"TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384"}, false, NULL},
    {{"TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384"}, true, "no cipher suite is left"},
    {{"TLS_NO_SUCH"}, false, "there is no cipher suite TLS_NO_SUCH"},
};

START_TEST(only_known_cipher_suites_of_allowed_versions_are_taken)
{
    struct errtext why = {""};
    struct tls_options o = {.is_server = true,
                            .certificate_path = good_pem,
                            .no_tls12 = suites[_i].no_tls12,
                            .cipher_suites = suites[_i].names,
                            .cipher_suite_count = suites[_i].names[1] != NULL ? 2 : 1};

    ck_assert_int_eq(tls_context_new(&o, &server_tls, &why),
                     suites[_i].why == NULL ? ERR_OK : ERR_INVALID);
    if (suites[_i].why != NULL)
        ck_assert_msg(strstr(why.text, suites[_i].why) != NULL, "%s", why.text);
    tls_context_free(&server_tls);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("client");
    TCase *c = tcase_create("client");

    if (mkdtemp(dir) == NULL)
        return 1;
    (void)snprintf(good_pem, sizeof good_pem, "%s/good.pem", dir);
    (void)snprintf(other_pem, sizeof other_pem, "%s/other.pem", dir);
    make_certificate(good_pem, "127.0.0.1");
    make_certificate(other_pem, "10.9.8.7");
    tcase_add_checked_fixture(c, set_up, tear_down);
    tcase_set_timeout(c, 60);
    tcase_add_loop_test(c, requests_are_answered_in_order, 0, 2);
    tcase_add_test(c, a_refused_connect_says_so);
    tcase_add_loop_test(c, an_unknown_name_says_so, 0, 2);
    tcase_add_test(c, a_name_that_hangs_delays_no_other);
    tcase_add_test(c, a_name_that_hangs_ends_the_client_in_time_as_unresolved);
    tcase_add_test(c, who_asks_for_a_name_meanwhile_gets_the_same_answer);
    tcase_add_test(c, a_request_without_answer_times_out_and_takes_the_others_with_it);
    tcase_add_test(c, no_answer_to_the_connect_times_out);
    tcase_add_loop_test(c, a_bad_peer_ends_it, 0, ARRAY_LEN(bad));
    tcase_add_test(c, a_reset_is_told);
    tcase_add_test(c, it_may_be_closed_from_its_callback);
    tcase_add_test(c, a_large_answer_out_of_a_file_comes_whole);
    tcase_add_loop_test(c, tls_carries_the_same, 0, 2);
    tcase_add_test(c, the_subject_of_a_client_certificate_is_known);
    tcase_add_loop_test(c, a_certificate_that_is_not_trusted_ends_it, 0, 2);
    tcase_add_test(c, a_plain_client_of_a_tls_server_is_closed);
    tcase_add_test(c, a_bad_pem_names_the_file);
    tcase_add_loop_test(c, only_known_cipher_suites_of_allowed_versions_are_taken, 0,
                        ARRAY_LEN(suites));
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failures = srunner_ntests_failed(r);
    srunner_free(r);
    unlink(good_pem);
    unlink(other_pem);
    rmdir(dir);
    return failures != 0;
}
