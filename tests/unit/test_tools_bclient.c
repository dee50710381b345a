/* SPDX-License-Identifier: Apache-2.0 */
/* The blocking client against a broker of a few lines that answers wrongly in every way: each time
 * an error with a text in due time, never a hang. */
#include "common/base/clock.h"
#include "common/net/bclient.h"
#include "common/net/transport.h"
#include "common/protocol/codec.h"
#include "common/protocol/messages.h"

#include <arpa/inet.h>
#include <check.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum { METADATA = KP_API_METADATA, TIMEOUT_MS = 1500 };

/* One connection of the fake broker: serve() has it until it returns. */
struct fake {
    int listener;
    int32_t port;
    pthread_t thread;
    void (*serve)(int fd);
};

static void *fake_run(void *arg)
{
    struct fake *f = arg;
    int fd = accept(f->listener, NULL, NULL);

    if (fd >= 0) {
        f->serve(fd);
        close(fd);
    }
    return NULL;
}

static void fake_start(struct fake *f, void (*serve)(int fd))
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof a;

    f->serve = serve;
    f->listener = socket(AF_INET, SOCK_STREAM, 0);
    ck_assert_int_eq(bind(f->listener, (struct sockaddr *)&a, len), 0);
    ck_assert_int_eq(listen(f->listener, 1), 0);
    ck_assert_int_eq(getsockname(f->listener, (struct sockaddr *)&a, &len), 0);
    f->port = ntohs(a.sin_port);
    ck_assert_int_eq(pthread_create(&f->thread, NULL, fake_run, f), 0);
}

static void fake_stop(struct fake *f)
{
    shutdown(f->listener, SHUT_RDWR);
    pthread_join(f->thread, NULL);
    close(f->listener);
}

static bool read_all(int fd, void *p, size_t n)
{
    return recv(fd, p, n, MSG_WAITALL) == (ssize_t)n;
}

/* Reads a request; false at the end of the connection. */
static bool read_request(int fd, struct kp_request_header *h)
{
    static _Thread_local uint8_t frame[4096];
    struct bytes body;
    uint8_t size[4];

    if (!read_all(fd, size, 4) || be32_load(size) > sizeof frame ||
        !read_all(fd, frame, be32_load(size)))
        return false;
    return kp_request_header_decode((struct bytes){frame, be32_load(size)}, h, &body, NULL) ==
           ERR_OK;
}

static void write_slowly(int fd, const uint8_t *p, size_t n, size_t step)
{
    for (size_t i = 0; i < n; i += step)
        if (send(fd, p + i, size_min(step, n - i), MSG_NOSIGNAL) < 0)
            return;
}

/* Answers with msg; delta is added to the correlation id. */
static void answer(int fd, const struct kp_request_header *h, int16_t version, const void *msg,
                   int32_t delta, size_t step)
{
    struct buf out = {0};

    buf_add(&out, "\0\0\0\0", 4);
    kp_response_header_encode(h->api_key, version, h->correlation_id + delta, &out);
    ck_assert_int_eq(kp_encode(kp_api_find(h->api_key)->response, version, msg, &out, NULL),
                     ERR_OK);
    be32_store(out.p, (uint32_t)(out.len - 4));
    write_slowly(fd, out.p, out.len, step);
    buf_fini(&out);
}

static void answer_versions(int fd, const struct kp_request_header *h, int16_t version,
                            int16_t error)
{
    struct kp_ApiVersionsResponse_ApiVersion keys[] = {
        {.api_key = METADATA, .min_version = 1, .max_version = 99},
        {.api_key = KP_API_API_VERSIONS, .min_version = 0, .max_version = 3},
        {.api_key = 19, .min_version = 50, .max_version = 60},
        {.api_key = 5000, .min_version = 0, .max_version = 1}};
    struct kp_ApiVersionsResponse r;

    kp_defaults(&kp_ApiVersionsResponse_schema, &r);
    r.error_code = error;
    r.api_keys = keys;
    r.api_keys_count = ARRAY_LEN(keys);
    answer(fd, h, version, &r, 0, 1);
}

static void answer_metadata(int fd, const struct kp_request_header *h, int32_t delta)
{
    struct kp_MetadataResponse_MetadataResponseBroker b = {
        .node_id = 7, .host = STR_LIT("h"), .port = 9092, .rack = STR_NULL};
    struct kp_MetadataResponse r;

    kp_defaults(&kp_MetadataResponse_schema, &r);
    r.brokers = &b;
    r.brokers_count = 1;
    r.controller_id = 7;
    answer(fd, h, h->api_version, &r, delta, 3);
}

static void serve_well(int fd)
{
    struct kp_request_header h;

    while (read_request(fd, &h)) {
        if (h.api_key == KP_API_API_VERSIONS)
            answer_versions(fd, &h, 3, KE_NONE);
        else
            answer_metadata(fd, &h, 0);
    }
}

static void serve_old(int fd)
{
    struct kp_request_header h;

    while (read_request(fd, &h)) {
        if (h.api_key == KP_API_API_VERSIONS)
            answer_versions(fd, &h, 0, h.api_version > 0 ? KE_UNSUPPORTED_VERSION : KE_NONE);
        else
            answer_metadata(fd, &h, 0);
    }
}

static void serve_wrong_correlation(int fd)
{
    struct kp_request_header h;

    while (read_request(fd, &h)) {
        if (h.api_key == KP_API_API_VERSIONS)
            answer_versions(fd, &h, 3, KE_NONE);
        else
            answer_metadata(fd, &h, 1);
    }
}

static void serve_half_an_answer(int fd)
{
    struct kp_request_header h;

    while (read_request(fd, &h)) {
        if (h.api_key == KP_API_API_VERSIONS)
            answer_versions(fd, &h, 3, KE_NONE);
        else
            write_slowly(fd, (const uint8_t *)"\0\0\0\100\0\0\0\2abc", 11, 11);
    }
}

static void serve_silence(int fd)
{
    struct kp_request_header h;

    while (read_request(fd, &h)) {
    }
}

static void serve_goodbye(int fd)
{
    struct kp_request_header h;

    (void)read_request(fd, &h);
}

static void serve_http(int fd)
{
    struct kp_request_header h;

    (void)read_request(fd, &h);
    write_slowly(fd, (const uint8_t *)"HTTP/1.1 400 Bad Request\r\n\r\n", 28, 28);
    (void)read_request(fd, &h);
}

static void serve_tiny_frame(int fd)
{
    struct kp_request_header h;

    (void)read_request(fd, &h);
    write_slowly(fd, (const uint8_t *)"\0\0\0\1x", 5, 5);
    (void)read_request(fd, &h);
}

static struct fake fake;
static struct errtext why;

static enum err open_fake(void (*serve)(int fd), struct bclient **c)
{
    struct bclient_options o = {.host = "127.0.0.1",
                                .client_id = "test",
                                .connect_timeout_ms = TIMEOUT_MS,
                                .request_timeout_ms = TIMEOUT_MS};

    fake_start(&fake, serve);
    o.port = fake.port;
    return bclient_open(&o, c, &why);
}

static enum err ask_metadata(struct bclient *c, struct arena *a, struct kp_MetadataResponse *out,
                             int16_t *version)
{
    struct kp_MetadataRequest request;

    kp_defaults(&kp_MetadataRequest_schema, &request);
    return bclient_call(c, METADATA, BCLIENT_NEWEST, &request, a, out, version, &why);
}

START_TEST(nothing_listens_is_unreachable)
{
    struct bclient_options o = {
        .host = "127.0.0.1", .connect_timeout_ms = TIMEOUT_MS, .request_timeout_ms = TIMEOUT_MS};
    struct bclient *c;
    char text[128];

    fake_start(&fake, serve_goodbye);
    fake_stop(&fake);
    o.port = fake.port;
    ck_assert_int_eq(bclient_open(&o, &c, &why), ERR_UNREACHABLE);
    ck_assert_ptr_null(c);
    snprintf(text, sizeof text, "127.0.0.1:%d: connection refused, nothing listens there", o.port);
    ck_assert_str_eq(why.text, text);
    bclient_close(&c);
}
END_TEST

static const struct {
    void (*serve)(int fd);
    enum err rc;
    const char *text;
} broken_greetings[] = {
    {serve_silence, ERR_TIMEOUT, "no answer in time"},
    {serve_goodbye, ERR_CLOSED, "closed the connection without an answer"},
    {serve_http, ERR_PROTOCOL, "does not speak the Kafka protocol"},
    {serve_tiny_frame, ERR_PROTOCOL, "does not speak the Kafka protocol"},
};
START_TEST(whatever_answers_the_greeting_wrongly_is_an_error_in_time)
{
    int64_t start_ms = clock_mono_ms();
    struct bclient *c;

    ck_assert_int_eq(open_fake(broken_greetings[_i].serve, &c), broken_greetings[_i].rc);
    ck_assert_msg(strstr(why.text, broken_greetings[_i].text) != NULL, "%s", why.text);
    ck_assert_int_lt(clock_mono_ms() - start_ms, 3 * TIMEOUT_MS);
    fake_stop(&fake);
}
END_TEST

START_TEST(answers_in_single_bytes_are_put_together)
{
    struct kp_MetadataResponse m;
    struct arena a = {0};
    struct bclient *c;
    int16_t version = -1, min, max;

    ck_assert_int_eq(open_fake(serve_well, &c), ERR_OK);
    for (int i = 0; i < 3; i++) {
        ck_assert_int_eq(ask_metadata(c, &a, &m, &version), ERR_OK);
        ck_assert_int_eq(version, kp_api_find(METADATA)->max_version);
        ck_assert_int_eq(m.brokers_count, 1);
        ck_assert_int_eq(m.brokers[0].node_id, 7);
    }
    ck_assert_int_eq(bclient_version(c, METADATA, 4), 4);
    ck_assert_int_eq(bclient_version(c, METADATA, 0), -1);        /* below the broker's minimum */
    ck_assert_int_eq(bclient_version(c, 19, BCLIENT_NEWEST), -1); /* beyond what we know */
    ck_assert_int_eq(bclient_version(c, 20, BCLIENT_NEWEST), -1); /* not offered */
    ck_assert(bclient_range(c, METADATA, &min, &max));
    ck_assert_int_eq(min, 1);
    ck_assert_int_eq(max, 99);
    ck_assert(!bclient_range(c, 5000, &min, &max));
    bclient_close(&c);
    fake_stop(&fake);
    arena_fini(&a);
}
END_TEST

START_TEST(missing_api_is_unsupported_and_harmless)
{
    struct kp_DeleteTopicsRequest request;
    struct kp_DeleteTopicsResponse response;
    struct kp_MetadataResponse m;
    struct arena a = {0};
    struct bclient *c;

    ck_assert_int_eq(open_fake(serve_well, &c), ERR_OK);
    kp_defaults(&kp_DeleteTopicsRequest_schema, &request);
    ck_assert_int_eq(bclient_call(c, 20, BCLIENT_NEWEST, &request, &a, &response, NULL, &why),
                     ERR_UNSUPPORTED);
    ck_assert_ptr_nonnull(strstr(why.text, "does not offer DeleteTopics"));
    ck_assert_int_eq(ask_metadata(c, &a, &m, NULL), ERR_OK);
    bclient_close(&c);
    fake_stop(&fake);
    arena_fini(&a);
}
END_TEST

START_TEST(old_broker_is_asked_again_in_version_0)
{
    struct kp_MetadataResponse m;
    struct arena a = {0};
    struct bclient *c;

    ck_assert_int_eq(open_fake(serve_old, &c), ERR_OK);
    ck_assert_int_eq(ask_metadata(c, &a, &m, NULL), ERR_OK);
    bclient_close(&c);
    fake_stop(&fake);
    arena_fini(&a);
}
END_TEST

START_TEST(foreign_or_half_answer_ends_the_connection_for_good)
{
    void (*const serves[])(int fd) = {serve_wrong_correlation, serve_half_an_answer};
    const enum err expected[] = {ERR_PROTOCOL, ERR_TIMEOUT};
    struct kp_MetadataResponse m;
    struct arena a = {0};
    struct bclient *c;

    ck_assert_int_eq(open_fake(serves[_i], &c), ERR_OK);
    ck_assert_int_eq(ask_metadata(c, &a, &m, NULL), expected[_i]);
    ck_assert_int_eq(ask_metadata(c, &a, &m, NULL), ERR_CLOSED);
    bclient_close(&c);
    fake_stop(&fake);
    arena_fini(&a);
}
END_TEST

/* ---- key stores that are not PEM */

START_TEST(stores_are_told_by_their_first_bytes)
{
    static const struct {
        const char *bytes;
        bool takes_pkcs12;
        const char *said; /* NULL: it may be PEM */
    } files[] = {
        {"\xfe\xed\xfe\xed\1\1", false, "is a Java key store (JKS), but PEM is needed"},
        {"\xfe\xed\xfe\xed\1\1", true, "keytool -importkeystore -srckeystore /"},
        {"\xce\xce\xce\xce\1\1", true, "-srcstoretype JCEKS"},
        {"\x30\x82\1\1\2\1\3", false, "openssl pkcs12 -in /"},
        {"\x30\x82\1\1\2\1\3", true, NULL},
        {"-----BEGIN CERTIFICATE-----", false, NULL},
        {"0", false, NULL},
    };
    char path[] = "/tmp/kafuka-store-XXXXXX";
    struct errtext why = {{0}};
    int fd = mkstemp(path), ends[2];
    char *pipe_path;
    enum err rc;

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(pwrite(fd, files[_i].bytes, strlen(files[_i].bytes), 0),
                     (ssize_t)strlen(files[_i].bytes));
    rc = tls_check_store("certificate chain", path, files[_i].takes_pkcs12, &why);
    ck_assert_int_eq(rc, files[_i].said == NULL ? ERR_OK : ERR_INVALID);
    ck_assert_msg(files[_i].said == NULL || strstr(why.text, files[_i].said) != NULL, "%s",
                  why.text);
    ck_assert_int_eq(close(fd), 0);
    ck_assert_int_eq(unlink(path), 0);
    ck_assert_int_eq(tls_check_store("certificate chain", path, false, &why), ERR_INVALID);
    ck_assert_msg(strstr(why.text, "not found") != NULL, "%s", why.text);
    /* what is read from a pipe is gone for OpenSSL */
    ck_assert_int_eq(pipe(ends), 0);
    ck_assert_int_eq(write(ends[1], "x", 1), 1);
    pipe_path = xasprintf("/dev/fd/%d", ends[0]);
    ck_assert_int_eq(tls_check_store("certificate chain", pipe_path, false, &why), ERR_OK);
    ck_assert_int_eq(close(ends[0]) + close(ends[1]), 0);
    free(pipe_path);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("bclient");
    TCase *t = tcase_create("bclient");
    SRunner *r;
    int failed;

    tcase_add_loop_test(t, stores_are_told_by_their_first_bytes, 0, 7);

    tcase_add_test(t, nothing_listens_is_unreachable);
    tcase_add_loop_test(t, whatever_answers_the_greeting_wrongly_is_an_error_in_time, 0,
                        (int)ARRAY_LEN(broken_greetings));
    tcase_add_test(t, answers_in_single_bytes_are_put_together);
    tcase_add_test(t, missing_api_is_unsupported_and_harmless);
    tcase_add_test(t, old_broker_is_asked_again_in_version_0);
    tcase_add_loop_test(t, foreign_or_half_answer_ends_the_connection_for_good, 0, 2);
    suite_add_tcase(s, t);
    r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? 0 : 1;
}
