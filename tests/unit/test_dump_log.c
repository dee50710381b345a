/* SPDX-License-Identifier: Apache-2.0 */
/* dump-log prints what Kafka 3.9's DumpLogSegments prints for the same files. */
#include "common/base/base.h"
#include "common/base/fsx.h"
#include "tools/lib/tool.h"

#include <check.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define WHOLE   "00000000000000000000"
#define DAMAGED "00000000000000000500"
#define OFFSETS "00000000000000001000" /* of __consumer_offsets */

static const struct dump_case {
    const char *expected; /* file with Kafka's output */
    const char *files;
    const char *options[3];
    int status; /* ours: Kafka's program ends with 0 whatever it finds */
} cases[] = {
    {"whole.txt",
     WHOLE ".log," WHOLE ".index," WHOLE ".timeindex," WHOLE
           ".txnindex,00000000000000000037.snapshot",
     {"--deep-iteration", "--print-data-log"},
     0},
    {"batches.txt", WHOLE ".log", {NULL}, 0},
    {"sanity.txt", WHOLE ".index," WHOLE ".timeindex", {"--index-sanity-check"}, 0},
    {"verify.txt", WHOLE ".index," WHOLE ".timeindex", {"--verify-index-only"}, 0},
    {"damaged-log.txt", DAMAGED ".log", {"--deep-iteration"}, 1},
    {"damaged-index.txt", DAMAGED ".index," DAMAGED ".timeindex", {NULL}, 1},
    {"offsets.txt", OFFSETS ".log", {"--offsets-decoder"}, 0},
};

/* Runs the command with its stdout in a file; the text, and the exit status. */
static char *run(const struct dump_case *c, int *status_out)
{
    char *argv[8] = {(char *)"kafuka-dump-log", (char *)"--files", (char *)c->files};
    int argc = 3, fd;
    char path[] = "/tmp/kafuka-test-dump-XXXXXX";
    struct buf out = {0};

    for (int i = 0; i < 3 && c->options[i] != NULL; i++)
        argv[argc++] = (char *)c->options[i];
    fflush(stdout);
    int saved = dup(STDOUT_FILENO);
    fd = mkstemp(path);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_ge(dup2(fd, STDOUT_FILENO), 0);
    *status_out = cmd_dump_log(argc, argv);
    fflush(stdout);
    ck_assert_int_ge(dup2(saved, STDOUT_FILENO), 0);
    close(saved);
    close(fd);
    ck_assert_int_eq(fsx_read_file(path, 1 << 20, &out), ERR_OK);
    unlink(path);
    char *text = strdup(buf_cstr(&out));
    buf_fini(&out);
    return text;
}

START_TEST(output_is_that_of_kafkas_program)
{
    struct buf want = {0};
    int status;

    ck_assert_int_eq(chdir(GOLDEN_DIR "/dump-log"), 0);
    ck_assert_int_eq(fsx_read_file(cases[_i].expected, 1 << 20, &want), ERR_OK);
    char *got = run(&cases[_i], &status);
    ck_assert_str_eq(got, buf_cstr(&want));
    ck_assert_int_eq(status, cases[_i].status);
    free(got);
    buf_fini(&want);
}
END_TEST

START_TEST(files_that_cannot_be_read_end_with_1)
{
    static const struct dump_case bad[] = {
        {NULL, "00000000000000000007.log", {NULL}, 1},
        {NULL, "whole.txt", {NULL}, 1},
        {NULL, "00000000000000000007.index", {NULL}, 1},
        {NULL, WHOLE ".log", {"--no-such-option"}, 1},
    };
    int status;

    ck_assert_int_eq(chdir(GOLDEN_DIR "/dump-log"), 0);
    free(run(&bad[_i], &status));
    ck_assert_int_eq(status, 1);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("dump_log");
    TCase *t = tcase_create("golden");
    tcase_add_loop_test(t, output_is_that_of_kafkas_program, 0, ARRAY_LEN(cases));
    tcase_add_loop_test(t, files_that_cannot_be_read_end_with_1, 0, 4);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? 0 : 1;
}
