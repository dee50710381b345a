/* SPDX-License-Identifier: Apache-2.0 */
/* Unit tests of common/base. */
#include "common/base/base.h"
#include "common/base/clock.h"
#include "common/base/fsx.h"
#include "common/base/json_writer.h"
#include "common/base/keyed_hash.h"
#include "common/base/lock.h"
#include "common/base/mailbox.h"
#include "common/base/slog.h"
#include "common/base/topic_name.h"
#include "common/base/uuid.h"

#include <errno.h>
#include <check.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

START_TEST(error_text_wraps_from_inside_out)
{
    struct errtext e;

    errtext_set(&e, "batch at %d: crc mismatch", 8192);
    errtext_wrap(&e, "segment %s", "000.log");
    errtext_wrap(&e, "recover partition t-3");
    ck_assert_str_eq(e.text, "recover partition t-3: segment 000.log: batch at 8192: crc mismatch");
    for (int i = 0; i < 100; i++)
        errtext_wrap(&e, "a rather long piece of context number %d", i);
    ck_assert_uint_lt(strlen(e.text), sizeof e.text);
    errtext_set(NULL, "nobody listens");
}
END_TEST

START_TEST(error_codes_are_those_of_the_protocol)
{
    ck_assert_int_eq(KE_NONE, 0);
    ck_assert_int_eq(KE_NOT_LEADER_OR_FOLLOWER, 6);
    ck_assert_int_eq(KE_FENCED_LEADER_EPOCH, 74);
    ck_assert_int_eq(KE_INVALID_RECORD, 87);
    ck_assert_int_eq(err_to_kerr(ERR_OK), 0);
    ck_assert_int_eq(err_to_kerr(ERR_IO), KE_KAFKA_STORAGE_ERROR);
    ck_assert_str_eq(kerr_name(KE_UNKNOWN_TOPIC_ID), "UNKNOWN_TOPIC_ID");
    ck_assert_str_eq(kerr_name(12345), "UNKNOWN");
    ck_assert(kerr_is_retriable(KE_NOT_LEADER_OR_FOLLOWER));
    ck_assert(!kerr_is_retriable(KE_INVALID_RECORD));
    for (int e = 0; e <= ERR_UNKNOWN_OUTCOME; e++)
        ck_assert_uint_gt(strlen(err_text((enum err)e)), 0);
}
END_TEST

START_TEST(big_endian_survives_any_alignment)
{
    uint8_t b[16] = {0};

    be64_store(b + 3, 0x0102030405060708);
    ck_assert_uint_eq(b[3], 1);
    ck_assert_uint_eq(b[10], 8);
    ck_assert_uint_eq(be64_load(b + 3), 0x0102030405060708);
    ck_assert_uint_eq(be32_load(b + 4), 0x02030405);
    ck_assert_uint_eq(be16_load(b + 9), 0x0708);
}
END_TEST

START_TEST(buffer_grows_and_prints)
{
    struct buf b = {0};

    for (int i = 0; i < 1000; i++)
        buf_printf(&b, "%d,", i);
    buf_add(&b, "end", 3);
    const char *s = buf_cstr(&b);
    ck_assert_uint_eq(strlen(s), b.len);
    ck_assert_int_eq(strncmp(s, "0,1,2,", 6), 0);
    ck_assert_str_eq(s + b.len - 7, "999,end");
    buf_fini(&b);
    ck_assert_ptr_null(b.p);
}
END_TEST

START_TEST(arena_zeroes_aligns_and_keeps_its_limit)
{
    struct arena a = {.limit = 10000};
    size_t sizes[] = {1, 15, 16, 17, 4000, 5000};

    for (int round = 0; round < 3; round++) {
        for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
            unsigned char *p = arena_alloc(&a, sizes[i]);
            ck_assert_ptr_nonnull(p);
            ck_assert_uint_eq((uintptr_t)p % 16, 0);
            for (size_t k = 0; k < sizes[i]; k++)
                ck_assert_uint_eq(p[k], 0);
            memset(p, 0xff, sizes[i]);
        }
        ck_assert_ptr_null(arena_alloc(&a, 5000)); /* over the limit */
        ck_assert_ptr_null(arena_alloc(&a, SIZE_MAX));
        ck_assert_str_eq(arena_strdup(&a, "hello", 5), "hello");
        arena_reset(&a);
    }
    arena_fini(&a);
}
END_TEST

START_TEST(strings_compare_with_null_and_empty)
{
    ck_assert(str_eq(STR_NULL, str_of(NULL)));
    ck_assert(!str_eq(STR_NULL, STR_LIT("")));
    ck_assert(str_eq_z(STR_LIT("abc"), "abc"));
    ck_assert_int_lt(str_cmp(STR_LIT("ab"), STR_LIT("abc")), 0);
    ck_assert_int_gt(str_cmp(STR_LIT("b"), STR_LIT("abc")), 0);
    ck_assert_int_lt(str_cmp(STR_NULL, STR_LIT("")), 0);
    ck_assert_ptr_null(str_dup(STR_NULL));
}
END_TEST

START_TEST(uuid_text_is_that_of_kafka)
{
    /* Uuid(0x1122334455667788L, 0x99aabbccddeeff00L).toString() */
    struct uuid u = {{0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd,
                      0xee, 0xff, 0x00}};
    struct uuid back;
    char text[UUID_TEXT_LEN + 1];

    uuid_format(u, text);
    ck_assert_str_eq(text, "ESIzRFVmd4iZqrvM3e7_AA");
    ck_assert(uuid_parse(str_of(text), &back));
    ck_assert(uuid_eq(u, back));
    uuid_format(UUID_ZERO, text);
    ck_assert_str_eq(text, "AAAAAAAAAAAAAAAAAAAAAA");
    for (int i = 0; i < 1000; i++) {
        struct uuid r = uuid_random();
        uuid_format(r, text);
        ck_assert_int_ne(text[0], '-');
        ck_assert(uuid_parse(str_of(text), &back) && uuid_eq(r, back));
    }
    ck_assert(!uuid_parse(STR_LIT("too short"), &back));
    ck_assert(!uuid_parse(STR_LIT("ESIzRFVmd4iZqrvM3e7+AA"), &back));
}
END_TEST

struct letter {
    struct mail mail;
    int sender, number;
};
static int last_of[4];
static int received;
static void letter_deliver(struct mail *m)
{
    struct letter *l = CONTAINER_OF(m, struct letter, mail);

    ck_assert_int_eq(l->number, last_of[l->sender] + 1); /* in order for each sender */
    last_of[l->sender] = l->number;
    received++;
    free(l);
}
struct sender {
    struct mailbox *box;
    int id;
};
enum { LETTERS = 5000 };
static void *send_letters(void *arg)
{
    struct sender *s = arg;

    for (int i = 1; i <= LETTERS; i++) {
        struct letter *l = xcalloc(1, sizeof *l);
        l->mail.deliver = letter_deliver;
        l->sender = s->id;
        l->number = i;
        mailbox_post(s->box, &l->mail);
    }
    return NULL;
}

START_TEST(mailbox_keeps_each_senders_order_and_loses_nothing)
{
    struct mailbox box;
    pthread_t threads[4];
    struct sender senders[4];

    received = 0;
    memset(last_of, 0, sizeof last_of);
    ck_assert_int_eq(mailbox_init(&box), ERR_OK);
    for (int i = 0; i < 4; i++) {
        senders[i] = (struct sender){&box, i};
        ck_assert_int_eq(pthread_create(&threads[i], NULL, send_letters, &senders[i]), 0);
    }
    while (received < 4 * LETTERS) {
        struct pollfd p = {.fd = box.fd, .events = POLLIN};
        ck_assert_int_eq(poll(&p, 1, 10000), 1); /* a lost wake-up would show here */
        mailbox_deliver(&box);
    }
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    ck_assert_uint_eq(mailbox_deliver(&box), 0);
    mailbox_fini(&box);
}
END_TEST

/* Runs f in a child; its wait status. */
static int status_of(void (*f)(void))
{
    int status = 0;
    pid_t child = fork();

    ck_assert_int_ge(child, 0);
    if (child == 0) {
        int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
        dup2(null, STDERR_FILENO);
        f();
        _exit(0);
    }
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    return status;
}

static void take_out_of_order(void)
{
    struct lock high, low;

    lock_init(&high, LOCK_LEAF);
    lock_init(&low, LOCK_PARTITION);
    lock_take(&high);
    lock_take(&low);
}
static void take_in_order(void)
{
    struct lock high, low;

    lock_init(&high, LOCK_LEAF);
    lock_init(&low, LOCK_PARTITION);
    for (int i = 0; i < 3; i++) {
        lock_take(&low);
        lock_take(&high);
        lock_assert_held(&low);
        lock_release(&low); /* any order of release */
        lock_release(&high);
    }
    lock_fini(&high);
    lock_fini(&low);
}
static void cast_a_dead_object(void)
{
    struct thing {
        unsigned magic;
    } t = {0xdead}, *p;

    CAST_OBJ(p, (void *)&t, 0xbeef);
}

START_TEST(locks_out_of_rank_and_wrong_magic_panic)
{
    ck_assert_int_eq(status_of(take_in_order), 0);
    int status = status_of(take_out_of_order);
    ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    status = status_of(cast_a_dead_object);
    ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}
END_TEST

static char folder[64];
static void make_folder(void)
{
    strcpy(folder, "/tmp/kafuka-base-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
}
static void remove_folder(void)
{
    ck_assert_int_eq(fsx_remove_tree(folder), ERR_OK);
    ck_assert_int_eq(access(folder, F_OK), -1);
    ck_assert_int_eq(fsx_remove_tree(folder), ERR_OK); /* gone already */
}

START_TEST(a_pipe_is_read_to_its_end)
{
    struct buf b = {0};
    char *path;
    int ends[2];

    ck_assert_int_eq(pipe(ends), 0);
    path = xasprintf("/dev/fd/%d", ends[0]);
    ck_assert_int_eq(write(ends[1], "{\"version\"", 10), 10);
    ck_assert_int_eq(write(ends[1], ": 1}", 4), 4);
    ck_assert_int_eq(close(ends[1]), 0);
    ck_assert_int_eq(fsx_read_file(path, 100, &b), ERR_OK);
    ck_assert_str_eq(buf_cstr(&b), "{\"version\": 1}");
    ck_assert_int_eq(close(ends[0]), 0);
    free(path);
    ck_assert_int_eq(pipe(ends), 0);
    path = xasprintf("/dev/fd/%d", ends[0]);
    ck_assert_int_eq(write(ends[1], "0123456789", 10), 10);
    ck_assert_int_eq(close(ends[1]), 0);
    ck_assert_int_eq(fsx_read_file(path, 9, &b), ERR_TOO_LARGE);
    ck_assert_int_eq(close(ends[0]), 0);
    free(path);
    buf_fini(&b);
}
END_TEST

START_TEST(an_errno_speaks_for_itself)
{
    ck_assert_str_eq(err_reason(err_from_errno(EACCES)), "Permission denied");
    ck_assert_str_eq(err_reason(err_from_errno(EROFS)), "Read-only file system");
    ck_assert_str_eq(err_reason(err_from_errno(ENOSPC)), err_text(ERR_NO_SPACE));
    ck_assert_str_eq(err_reason(ERR_TIMEOUT), err_text(ERR_TIMEOUT));
}
END_TEST

START_TEST(replacing_a_file_is_all_or_nothing)
{
    struct buf b = {0};
    char *path = xasprintf("%s/checkpoint", folder), *tmp = xasprintf("%s/checkpoint.tmp", folder);

    ck_assert_int_eq(fsx_read_file(path, 100, &b), ERR_NOT_FOUND);
    ck_assert_int_eq(fsx_replace_durably(path, "old", 3, 0644), ERR_OK);
    setenv("KAFUKA_FAULT", "fsx.replace.before_sync=eio:2", 1);
    fault_init();
    ck_assert_int_eq(fsx_replace_durably(path, "new", 3, 0644), ERR_OK);
    ck_assert_int_eq(fsx_replace_durably(path, "lost", 4, 0644),
                     ERR_IO); /* the second pass fails */
    ck_assert_int_eq(access(tmp, F_OK), -1);
    ck_assert_int_eq(fsx_read_file(path, 100, &b), ERR_OK);
    ck_assert_str_eq(buf_cstr(&b), "new");
    ck_assert_int_eq(fsx_read_file(path, 2, &b), ERR_TOO_LARGE);
    unsetenv("KAFUKA_FAULT");
    fault_init();
    buf_fini(&b);
    free(path);
    free(tmp);
}
END_TEST

START_TEST(vectors_are_written_whole_and_trees_removed)
{
    char *deep = xasprintf("%s/a/b/c", folder), *file = xasprintf("%s/a/b/c/f", folder);
    char got[16];
    size_t n;
    int fd;

    ck_assert_int_eq(fsx_mkdir_p(deep, 0755), ERR_OK);
    ck_assert_int_eq(fsx_mkdir_p(deep, 0755), ERR_OK);
    ck_assert_int_eq(fsx_open(file, O_RDWR | O_CREAT, 0644, &fd), ERR_OK);
    struct iovec v[] = {{(void *)"ab", 2}, {(void *)"", 0}, {(void *)"cdef", 4}};
    ck_assert_int_eq(fsx_pwritev_all(fd, v, 3, 1), ERR_OK);
    ck_assert_int_eq(fsx_pread(fd, got, sizeof got, 0, &n), ERR_OK);
    ck_assert_uint_eq(n, 7);
    ck_assert_int_eq(memcmp(got, "\0abcdef", 7), 0);
    close(fd);
    free(deep);
    free(file);
}
END_TEST

START_TEST(log_lines_quote_what_could_break_them)
{
    char path[128], text[512];
    struct buf b = {0};
    int fd;

    snprintf(path, sizeof path, "%s/log", folder);
    ck_assert_int_eq(fsx_open(path, O_RDWR | O_CREAT, 0644, &fd), ERR_OK);
    slog_set_fd(fd);
    SLOG(INFO, "test", "something happened", KV_S("plain", "a-b"), KV_S("odd", "say \"hi\"\n"),
         KV_I("n", -5), KV_S("none", NULL));
    SLOG(DEBUG, "test", "not shown", KV_I("n", 1));
    for (int i = 0; i < 3; i++)
        SLOG_EVERY(100000, WARN, "test", "limited", KV_I("i", i));
    slog_set_fd(STDERR_FILENO);
    close(fd);
    ck_assert_int_eq(fsx_read_file(path, 10000, &b), ERR_OK);
    snprintf(text, sizeof text, "%s", buf_cstr(&b));
    char *first = strstr(
        text,
        "INFO  test something happened plain=a-b odd=\"say \\\"hi\\\"\\x0a\" n=-5 none=null\n");
    ck_assert_ptr_nonnull(first);
    ck_assert_ptr_null(strstr(text, "not shown"));
    char *limited = strstr(text, "limited i=0\n");
    ck_assert_ptr_nonnull(limited);
    ck_assert_ptr_null(strstr(limited + 1, "limited"));
    buf_fini(&b);
}
END_TEST

START_TEST(siphash_is_the_published_one)
{
    /* secret 00 01 .. 0f; inputs of 0, 1 and 15 bytes 00 01 02 ... */
    const uint64_t secret[2] = {UINT64_C(0x0706050403020100), UINT64_C(0x0f0e0d0c0b0a0908)};
    const uint8_t p[15] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14};
    uint64_t h[2];

    siphash128(secret, p, 0, h);
    ck_assert_uint_eq(h[0], UINT64_C(0xe6a825ba047f81a3));
    ck_assert_uint_eq(h[1], UINT64_C(0x930255c71472f66d));
    siphash128(secret, p, 1, h);
    ck_assert_uint_eq(h[0], UINT64_C(0x44af996bd8c187da));
    ck_assert_uint_eq(h[1], UINT64_C(0x45fc229b11597634));
    siphash128(secret, p, 15, h);
    ck_assert_uint_eq(h[0], UINT64_C(0x11a8b03399e99354));
    ck_assert_uint_eq(h[1], UINT64_C(0xd9c3cf970fec087e));
    ck_assert_uint_eq(siphash64(secret, p, 15), UINT64_C(0xa129ca6149be45e5));
    ck_assert_uint_eq(siphash64(secret, p, 0), UINT64_C(0x726fdb47dd0e0e31));
}
END_TEST

START_TEST(topic_names_are_those_of_kafka)
{
    char longest[TOPIC_NAME_MAX + 2];

    memset(longest, 'x', sizeof longest - 1);
    longest[sizeof longest - 1] = 0;
    ck_assert_str_eq(topic_name_fault(str_of(longest)), "a topic name has at most 249 characters");
    ck_assert(topic_name_is_valid(str_of(longest + 1)));
    ck_assert(topic_name_is_valid(STR_LIT("a.B_9-...")));
    ck_assert_ptr_nonnull(topic_name_fault(STR_NULL));
    ck_assert(!topic_name_is_valid(STR_LIT("")));
    ck_assert(!topic_name_is_valid(STR_LIT(".")));
    ck_assert(!topic_name_is_valid(STR_LIT("..")));
    ck_assert(!topic_name_is_valid(STR_LIT("a/b")));
    ck_assert(!topic_name_is_valid((struct str){"a\0b", 3}));
    ck_assert(!topic_name_is_valid(STR_LIT("\xc3\xa4")));
}
END_TEST

START_TEST(json_is_written_with_its_commas_and_escapes)
{
    static const int32_t ids[] = {1, -1};
    struct buf out = {0};
    struct json_writer w = json_write_to(&out);

    json_write_object(&w, NULL);
    json_write_text(&w, "a\"b", "\b\n\x01\x7f\\ \xff");
    json_write_str(&w, "nul", (struct str){"x\0y", 3});
    json_write_text(&w, "none", NULL);
    json_write_ints(&w, "ids", ids, 2);
    json_write_ints(&w, "no_ids", ids, 0);
    json_write_array(&w, "list");
    json_write_object(&w, NULL);
    json_write_end(&w);
    json_write_object(&w, NULL);
    json_write_int(&w, "n", INT64_MIN);
    json_write_end(&w);
    json_write_bool(&w, NULL, true);
    json_write_int_text(&w, NULL, 7);
    json_write_raw(&w, NULL);
    buf_add(&out, "{}", 2);
    json_write_end(&w);
    json_write_end(&w);
    json_write_done(&w);
    ck_assert_str_eq(buf_cstr(&out),
                     "{\"a\\\"b\":\"\\b\\n\\u0001\x7f\\\\ \xef\xbf\xbd\",\"nul\":\"x\\u0000y\","
                     "\"none\":null,\"ids\":[1,-1],\"no_ids\":[],"
                     "\"list\":[{},{\"n\":-9223372036854775808},true,\"7\",{}]}");
    buf_fini(&out);
}
END_TEST

START_TEST(must_evaluates_once_and_panics_with_its_text)
{
    int calls = 0, pipes[2], status;
    char text[512] = "";

    MUST(++calls == 1);
    ck_assert_int_eq(calls, 1);
    ck_assert_int_eq(pipe(pipes), 0);
    pid_t child = fork();
    if (child == 0) {
        (void)dup2(pipes[1], STDERR_FILENO);
        MUST(++calls == 1);
        _exit(0);
    }
    (void)close(pipes[1]);
    ck_assert_int_gt(read(pipes[0], text, sizeof text - 1), 0);
    (void)close(pipes[0]);
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    ck_assert_ptr_nonnull(strstr(text, "++calls == 1"));
}
END_TEST

int main(void)
{
    Suite *s = suite_create("base");
    TCase *plain = tcase_create("plain"), *files = tcase_create("files");

    tcase_add_test(plain, error_text_wraps_from_inside_out);
    tcase_add_test(plain, error_codes_are_those_of_the_protocol);
    tcase_add_test(plain, big_endian_survives_any_alignment);
    tcase_add_test(plain, buffer_grows_and_prints);
    tcase_add_test(plain, arena_zeroes_aligns_and_keeps_its_limit);
    tcase_add_test(plain, strings_compare_with_null_and_empty);
    tcase_add_test(plain, uuid_text_is_that_of_kafka);
    tcase_add_test(plain, mailbox_keeps_each_senders_order_and_loses_nothing);
    tcase_add_test(plain, locks_out_of_rank_and_wrong_magic_panic);
    tcase_add_test(plain, siphash_is_the_published_one);
    tcase_add_test(plain, topic_names_are_those_of_kafka);
    tcase_add_test(plain, json_is_written_with_its_commas_and_escapes);
    tcase_add_test(plain, must_evaluates_once_and_panics_with_its_text);
    tcase_add_checked_fixture(files, make_folder, remove_folder);
    tcase_add_test(files, a_pipe_is_read_to_its_end);
    tcase_add_test(files, an_errno_speaks_for_itself);
    tcase_add_test(files, replacing_a_file_is_all_or_nothing);
    tcase_add_test(files, vectors_are_written_whole_and_trees_removed);
    tcase_add_test(files, log_lines_quote_what_could_break_them);
    tcase_set_timeout(plain, 60);
    suite_add_tcase(s, plain);
    suite_add_tcase(s, files);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? 0 : 1;
}
