/* SPDX-License-Identifier: Apache-2.0 */
/* A server's connection over a socket pair: framing at every cut, order and running ahead, slow
 * readers, file ranges, limits, closing. The first byte of a frame's content is its class: 'p' may
 * overlap, anything else may not. */
#include "common/base/clock.h"
#include "common/base/pool.h"
#include "common/net/conn.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MAX = 4096 };

struct item {
    struct exchange x;
    uint8_t *copy;
    size_t len;
};

static struct loop *loop;
static struct pool *pool;
static struct conn *conn;
static struct conn_stats stats;
static int peer;
static pthread_mutex_t mtx = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static struct item *items[MAX]; /* guarded by mtx, as all below */
static _Atomic int item_count, cancelled, closed, released;
static enum conn_end closed_why;
static bool echo;
static int file_fd;

static bool may_overlap(const uint8_t *head, size_t len)
{
    return len > 0 && head[0] == 'p';
}

static void answer(struct item *i)
{
    struct buf b = {0};
    buf_add(&b, i->copy, i->len);
    conn_reply(&i->x, &b, NULL, NULL, 0, NULL);
}

static void on_frame(struct conn *c, struct frame *f, bool overlap)
{
    struct item *i = calloc(1, sizeof *i);
    i->copy = malloc(f->len + 1);
    i->len = f->len;
    memcpy(i->copy, f->p, f->len);
    conn_begin(c, &i->x, f, overlap);
    pthread_mutex_lock(&mtx);
    items[item_count++] = i;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&mtx);
    if (echo)
        answer(i);
}

static void on_cancel(struct exchange *x)
{
    conn_abandon(x);
    pthread_mutex_lock(&mtx);
    cancelled++;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&mtx);
}

static void on_close(struct conn *c UNUSED, enum conn_end why, int errnum UNUSED)
{
    pthread_mutex_lock(&mtx);
    closed++;
    closed_why = why;
    conn = NULL;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&mtx);
}

static int range_fd(struct conn_range *r UNUSED)
{
    return file_fd;
}

static void range_release(struct conn_range *r)
{
    ck_assert_ptr_nonnull(r->owner);
    pthread_mutex_lock(&mtx);
    released++;
    pthread_mutex_unlock(&mtx);
}

static int no_fd(struct conn_range *r UNUSED)
{
    return -1;
}

static struct exchange *pressed; /* guarded by mtx */
static bool answers_press;
static void answer(struct item *i);
static void on_press(struct exchange *x)
{
    struct item *i = CONTAINER_OF(x, struct item, x);
    bool answers;

    pthread_mutex_lock(&mtx);
    pressed = x;
    answers = answers_press;
    pthread_mutex_unlock(&mtx);
    if (answers)
        answer(i);
}

static struct conn_range_ops range_ops = {range_fd, range_fd, range_release};
static struct conn_server server = {.frame_max = 3000000,
                                    .memory_max_bytes = 1 << 30,
                                    .stats = &stats,
                                    .range_ops = &range_ops,
                                    .may_overlap = may_overlap,
                                    .on_frame = on_frame,
                                    .on_press = on_press,
                                    .on_cancel = on_cancel,
                                    .on_close = on_close};

static void open_on_loop(void *arg)
{
    conn = conn_open(&server, loop, *(int *)arg, NULL, NULL);
}

static void set_up(void)
{
    int pair[2];

    item_count = cancelled = closed = released = 0;
    echo = answers_press = false;
    pressed = NULL;
    server.idle_ms = 0;
    server.memory_max_bytes = 1 << 30;
    range_ops.try_fd = range_fd;
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    ck_assert_int_eq(pool_start("io", 1, 10, &pool), ERR_OK);
    server.pool = pool;
    ck_assert_int_eq(loop_start("loop", &loop), ERR_OK);
    peer = pair[0];
    loop_call(loop, open_on_loop, &pair[1]);
}

static void close_on_loop(void *arg UNUSED)
{
    if (conn != NULL)
        conn_close(conn);
}

static void tear_down(void)
{
    loop_call(loop, close_on_loop, NULL);
    close(peer);
    pool_stop(&pool);
    loop_stop(&loop);
    for (int i = 0; i < item_count; i++) {
        free(items[i]->copy);
        free(items[i]);
    }
    ck_assert_int_eq(frame_bytes_in_use(), 0);
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

/* The loop has handled all that was sent before: a round trip of mail behind an empty socket. */
static void nothing(void *arg UNUSED)
{
}
static void settle(void)
{
    int left = 1;

    while (left > 0) {
        loop_call(loop, nothing, NULL);
        ck_assert_int_eq(ioctl(peer, TIOCOUTQ, &left), 0);
        if (left > 0 && closed == 0)
            usleep(100);
        else
            break;
    }
    for (int i = 0; i < 3; i++)
        loop_call(loop, nothing, NULL);
}

static void send_all(const void *p, size_t n)
{
    const char *c = p;
    while (n > 0) {
        ssize_t k = send(peer, c, n, MSG_NOSIGNAL);
        ck_assert_int_gt(k, 0);
        c += k;
        n -= (size_t)k;
    }
}

static void put_frame(struct buf *b, char class, size_t len, unsigned seed)
{
    uint8_t head[4];
    be32_store(head, (uint32_t)len);
    buf_add(b, head, 4);
    for (size_t i = 0; i < len; i++) {
        uint8_t v = i == 0 ? (uint8_t) class : (uint8_t)(seed + i * 7);
        buf_add(b, &v, 1);
    }
}

static void receive(void *p, size_t n)
{
    char *c = p;
    while (n > 0) {
        ssize_t k = recv(peer, c, n, 0);
        ck_assert_int_gt(k, 0);
        c += k;
        n -= (size_t)k;
    }
}

static void *receive_thread(void *arg)
{
    struct buf *b = arg;
    receive(b->p, b->len);
    return NULL;
}

/* Sends everything in pieces of the given size and expects it back. */
static void expect_echo(struct buf *out, size_t piece)
{
    struct buf in = {0};
    pthread_t t;

    buf_reserve(&in, out->len);
    in.len = out->len;
    ck_assert_int_eq(pthread_create(&t, NULL, receive_thread, &in), 0);
    for (size_t at = 0; at < out->len; at += piece)
        send_all(out->p + at, size_min(piece, out->len - at));
    pthread_join(t, NULL);
    ck_assert(memcmp(in.p, out->p, out->len) == 0);
    buf_fini(&in);
}

START_TEST(frames_come_whole_however_the_bytes_are_cut)
{
    static const size_t pieces[] = {1, 2, 3, 4, 5, 7, 1000, 4099, 65536, 1000000};
    static const size_t sizes[] = {1,     0,     3,     100,   4095,  4096, 5000,
                                   20000, 64000, 65507, 65508, 65509, 70000};
    struct buf out = {0};

    echo = true;
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++)
        put_frame(&out, i % 3 == 0 ? 'x' : 'p', sizes[i], (unsigned)i);
    expect_echo(&out, pieces[_i]);
    buf_fini(&out);
}
END_TEST

START_TEST(large_frames_grow_and_share_nothing)
{
    struct buf out = {0};

    echo = true;
    for (int i = 0; i < 4; i++) {
        put_frame(&out, 'p', 1200000 + (size_t)i, (unsigned)i);
        put_frame(&out, 'p', 10, (unsigned)i);
        put_frame(&out, 'x', 200000, (unsigned)i);
    }
    expect_echo(&out, 777777);
    expect_echo(&out, 50000); /* once more, out of recycled blocks */
    buf_fini(&out);
}
END_TEST

START_TEST(a_bad_size_ends_the_connection)
{
    static const uint32_t sizes[] = {0xffffffff, 0x80000000, 3000001, 0x7fffffff};
    uint8_t head[4];

    be32_store(head, sizes[_i]);
    send_all(head, 4);
    until(&closed, 1);
    ck_assert_int_eq(closed_why, CONN_END_BAD_FRAME);
    ck_assert_int_eq(item_count, 0);
    ck_assert_int_eq(recv(peer, head, 1, 0), 0);
}
END_TEST

START_TEST(a_cut_frame_at_the_end_is_an_end)
{
    struct buf out = {0};

    put_frame(&out, 'x', 100, 1);
    send_all(out.p, 50);
    shutdown(peer, SHUT_WR);
    until(&closed, 1);
    ck_assert_int_eq(closed_why, CONN_END_EOF);
    ck_assert_int_eq(item_count, 0);
    buf_fini(&out);
}
END_TEST

static void answer_on_loop(void *arg)
{
    answer(arg);
}

START_TEST(only_overlapping_frames_run_ahead)
{
    struct buf out = {0};
    const char *classes = "pppxpp";
    char got[6];

    for (int i = 0; i < 6; i++)
        put_frame(&out, classes[i], 1, 0);
    send_all(out.p, out.len);
    until(&item_count, 3);
    settle();
    ck_assert_int_eq(item_count, 3); /* x waits */
    loop_call(loop, answer_on_loop, items[2]);
    loop_call(loop, answer_on_loop, items[1]);
    settle();
    ck_assert_int_eq(item_count, 3);
    ck_assert_int_eq(recv(peer, got, 1, MSG_DONTWAIT), -1); /* answers wait for the first */
    loop_call(loop, answer_on_loop, items[0]);
    until(&item_count, 4);
    settle();
    ck_assert_int_eq(item_count, 4); /* nothing overtakes x */
    loop_call(loop, answer_on_loop, items[3]);
    until(&item_count, 6);
    buf_fini(&out);
}
END_TEST

START_TEST(a_frame_that_waits_presses_the_oldest_unanswered)
{
    struct buf out = {0};

    put_frame(&out, 'x', 1, 0);
    send_all(out.p, out.len);
    until(&item_count, 1);
    settle();
    ck_assert_ptr_null(pressed); /* nothing waits */
    send_all(out.p, out.len);
    settle();
    ck_assert_ptr_eq(pressed, &items[0]->x);
    ck_assert_int_eq(item_count, 1);
    pthread_mutex_lock(&mtx);
    answers_press = true;
    pthread_mutex_unlock(&mtx);
    send_all(out.p, out.len);
    until(&item_count, 3); /* the first two gave way */
    buf_fini(&out);
}
END_TEST

START_TEST(answers_leave_in_the_order_of_the_frames)
{
    struct buf out = {0}, in = {0};

    for (unsigned i = 0; i < 20; i++)
        put_frame(&out, 'p', 5 + i, i);
    send_all(out.p, out.len);
    until(&item_count, 20);
    for (int i = 19; i >= 0; i--)
        loop_call(loop, answer_on_loop, items[i]);
    buf_reserve(&in, out.len);
    receive(in.p, out.len);
    ck_assert(memcmp(in.p, out.p, out.len) == 0);
    buf_fini(&in);
    buf_fini(&out);
}
END_TEST

START_TEST(at_most_32_are_in_flight)
{
    struct buf out = {0};

    for (unsigned i = 0; i < 100; i++)
        put_frame(&out, 'p', 8, i);
    send_all(out.p, out.len);
    until(&item_count, 32);
    settle();
    ck_assert_int_eq(item_count, 32);
    for (int i = 0; i < 100; i++) {
        until(&item_count, i + 1);
        loop_call(loop, answer_on_loop, items[i]);
    }
    ck_assert_int_eq(item_count, 100);
    buf_fini(&out);
}
END_TEST

START_TEST(a_slow_reader_stops_its_own_requests)
{
    struct buf out = {0}, in = {0};
    int frames = 40;

    echo = true;
    for (int i = 0; i < frames; i++)
        put_frame(&out, 'x', 200000, (unsigned)i);
    int flags = fcntl(peer, F_GETFL);
    fcntl(peer, F_SETFL, flags | O_NONBLOCK);
    size_t sent = 0;
    for (int stuck = 0; stuck < 50;) { /* until neither side moves */
        ssize_t n = send(peer, out.p + sent, out.len - sent, MSG_NOSIGNAL);
        if (n > 0) {
            sent += (size_t)n;
            stuck = 0;
        } else {
            loop_call(loop, nothing, NULL);
            stuck++;
        }
    }
    ck_assert_uint_lt(sent, out.len);
    ck_assert_int_lt(item_count, 12); /* 1 MiB unsent, and what the sockets hold */
    ck_assert_int_gt(conn_large_answers_bytes(), 1024 * 1024);
    ck_assert_int_lt(conn_large_answers_bytes(), 12 * 200000);
    fcntl(peer, F_SETFL, flags);
    pthread_t t;
    buf_reserve(&in, out.len);
    in.len = out.len;
    ck_assert_int_eq(pthread_create(&t, NULL, receive_thread, &in), 0);
    send_all(out.p + sent, out.len - sent);
    pthread_join(t, NULL);
    ck_assert(memcmp(in.p, out.p, out.len) == 0);
    loop_call(loop, nothing, NULL);
    ck_assert_int_eq(conn_large_answers_bytes(), 0);
    buf_fini(&in);
    buf_fini(&out);
}
END_TEST

START_TEST(closing_cancels_what_is_unanswered_and_late_answers_are_dropped)
{
    struct buf out = {0};

    for (unsigned i = 0; i < 3; i++)
        put_frame(&out, 'p', 8, i);
    send_all(out.p, out.len);
    until(&item_count, 3);
    loop_call(loop, answer_on_loop, items[1]); /* behind the first */
    shutdown(peer, SHUT_RDWR);
    until(&closed, 1);
    ck_assert_int_eq(cancelled, 2);
    loop_call(loop, answer_on_loop, items[0]);
    buf_fini(&out);
}
END_TEST

static void none_on_loop(void *arg)
{
    struct item *i = arg;
    conn_reply_none(&i->x);
}

START_TEST(without_an_answer_the_next_goes_on)
{
    struct buf out = {0};
    uint8_t in[4 + 3];

    put_frame(&out, 'p', 8, 0);
    put_frame(&out, 'x', 3, 0);
    send_all(out.p, out.len);
    until(&item_count, 1);
    loop_call(loop, none_on_loop, items[0]);
    until(&item_count, 2);
    loop_call(loop, answer_on_loop, items[1]);
    receive(in, sizeof in);
    ck_assert_int_eq(in[4], 'x');
    buf_fini(&out);
}
END_TEST

struct ranges {
    struct item *item;
    const size_t *lens;
    size_t count, head;
};

static void ranges_on_loop(void *arg)
{
    struct ranges *r = arg;
    struct buf b = {0};
    struct conn_range ranges[8];
    size_t holes[8];
    int64_t position = 0;

    for (size_t i = 0; i < r->count; i++) {
        for (size_t k = 0; k < r->head; k++)
            buf_add(&b, "h", 1);
        holes[i] = b.len;
        ranges[i] = (struct conn_range){&ranges[i], position, (int64_t)r->lens[i], false};
        position += (int64_t)r->lens[i];
    }
    buf_add(&b, "end", 3);
    conn_reply(&r->item->x, &b, ranges, holes, r->count, &server);
}

/* cold 0: descriptor at hand; 1: it must be opened on the pool */
START_TEST(file_ranges_are_sent_between_the_bytes)
{
    static const size_t lens[][4] = {
        {100, 0, 16384, 5}, {32769, 100000, 3, 0}, {0, 0, 0, 0}, {1500000, 1, 2000000, 17000}};
    struct buf out = {0}, in = {0};
    size_t file_len = 4000000, head = _i % 2 == 0 ? 7 : 0, total = 3;
    uint8_t *file = malloc(file_len);
    char path[] = "/tmp/kafuka-test-conn-XXXXXX";

    if (_i >= 4)
        range_ops.try_fd = no_fd;
    file_fd = mkstemp(path);
    for (size_t i = 0; i < file_len; i++)
        file[i] = (uint8_t)(i * 31 >> 3);
    ck_assert_int_eq(write(file_fd, file, file_len), (ssize_t)file_len);
    put_frame(&out, 'x', 8, 0);
    send_all(out.p, out.len);
    until(&item_count, 1);
    struct ranges r = {items[0], lens[_i % 4], 4, head};
    loop_call(loop, ranges_on_loop, &r);
    for (int i = 0; i < 4; i++)
        total += head + r.lens[i];
    buf_reserve(&in, total + 4);
    receive(in.p, total + 4);
    ck_assert_uint_eq(be32_load(in.p), total);
    uint8_t *p = in.p + 4, *f = file;
    for (int i = 0; i < 4; i++) {
        for (size_t k = 0; k < head; k++)
            ck_assert_int_eq(*p++, 'h');
        ck_assert(memcmp(p, f, r.lens[i]) == 0);
        p += r.lens[i];
        f += r.lens[i];
    }
    ck_assert(memcmp(p, "end", 3) == 0);
    settle();
    ck_assert_int_eq(released, 4);
    if (_i >= 4 && total > 3 + 4 * head)
        ck_assert_int_gt(atomic_load(&stats.cold_reads), 0);
    free(file);
    close(file_fd);
    unlink(path);
    buf_fini(&in);
    buf_fini(&out);
}
END_TEST

START_TEST(a_file_that_ends_early_ends_the_connection)
{
    static const size_t lens[] = {50000};
    struct buf out = {0};
    char path[] = "/tmp/kafuka-test-conn-XXXXXX";

    file_fd = mkstemp(path);
    ck_assert_int_eq(ftruncate(file_fd, _i == 0 ? 0 : 30000), 0);
    put_frame(&out, 'x', 8, 0);
    send_all(out.p, out.len);
    until(&item_count, 1);
    struct ranges r = {items[0], lens, 1, 7};
    loop_call(loop, ranges_on_loop, &r);
    until(&closed, 1);
    ck_assert_int_eq(closed_why, CONN_END_ERROR);
    settle();
    ck_assert_int_eq(released, 1);
    close(file_fd);
    unlink(path);
    buf_fini(&out);
}
END_TEST

static void mute_on_loop(void *arg UNUSED)
{
    conn_mute(conn, 80);
}

START_TEST(a_muted_connection_is_not_read_until_its_time_is_over)
{
    struct buf out = {0};
    int64_t start = clock_mono_ms();

    loop_call(loop, mute_on_loop, NULL);
    put_frame(&out, 'x', 8, 0);
    send_all(out.p, out.len);
    until(&item_count, 1);
    ck_assert_int_ge(clock_mono_ms() - start, 80);
    buf_fini(&out);
}
END_TEST

static void limit_memory_on_loop(void *arg UNUSED) /* which reads the limit */
{
    server.memory_max_bytes = 100000;
}

START_TEST(over_the_memory_limit_reading_pauses)
{
    struct buf out = {0};

    loop_call(loop, limit_memory_on_loop, NULL);
    for (unsigned i = 0; i < 30; i++)
        put_frame(&out, 'p', 5000, i);
    send_all(out.p, out.len);
    until(&item_count, 10);
    for (int i = 0; i < 30; i++) {
        until(&item_count, i + 1);
        ck_assert_int_le(frame_bytes_in_use(), 200000 + FRAME_RECEIVE_BYTES);
        loop_call(loop, answer_on_loop, items[i]);
    }
    buf_fini(&out);
}
END_TEST

static void open_idle_on_loop(void *arg)
{
    server.idle_ms = 30;
    conn = conn_open(&server, loop, *(int *)arg, NULL, NULL);
}

START_TEST(an_idle_connection_is_closed)
{
    int pair[2];

    loop_call(loop, close_on_loop, NULL);
    close(peer);
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    peer = pair[0];
    loop_call(loop, open_idle_on_loop, &pair[1]);
    until(&closed, 2);
    ck_assert_int_eq(closed_why, CONN_END_IDLE);
}
END_TEST

static void last_on_loop(void *arg)
{
    answer(arg);
    conn_close_after_replies(conn);
}

START_TEST(closing_after_replies_sends_them_first)
{
    struct buf out = {0};
    uint8_t in[12];

    put_frame(&out, 'x', 8, 0);
    send_all(out.p, out.len);
    until(&item_count, 1);
    loop_call(loop, last_on_loop, items[0]);
    until(&closed, 1);
    ck_assert_int_eq(closed_why, CONN_END_SERVER);
    receive(in, sizeof in);
    ck_assert_int_eq(recv(peer, in, 1, 0), 0);
    buf_fini(&out);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("conn");
    TCase *c = tcase_create("conn");

    tcase_add_checked_fixture(c, set_up, tear_down);
    tcase_set_timeout(c, 60);
    tcase_add_loop_test(c, frames_come_whole_however_the_bytes_are_cut, 0, 10);
    tcase_add_test(c, large_frames_grow_and_share_nothing);
    tcase_add_loop_test(c, a_bad_size_ends_the_connection, 0, 4);
    tcase_add_test(c, a_cut_frame_at_the_end_is_an_end);
    tcase_add_test(c, only_overlapping_frames_run_ahead);
    tcase_add_test(c, a_frame_that_waits_presses_the_oldest_unanswered);
    tcase_add_test(c, answers_leave_in_the_order_of_the_frames);
    tcase_add_test(c, at_most_32_are_in_flight);
    tcase_add_test(c, a_slow_reader_stops_its_own_requests);
    tcase_add_test(c, closing_cancels_what_is_unanswered_and_late_answers_are_dropped);
    tcase_add_test(c, without_an_answer_the_next_goes_on);
    tcase_add_loop_test(c, file_ranges_are_sent_between_the_bytes, 0, 8);
    tcase_add_loop_test(c, a_file_that_ends_early_ends_the_connection, 0, 2);
    tcase_add_test(c, a_muted_connection_is_not_read_until_its_time_is_over);
    tcase_add_test(c, over_the_memory_limit_reading_pauses);
    tcase_add_test(c, an_idle_connection_is_closed);
    tcase_add_test(c, closing_after_replies_sends_them_first);
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
