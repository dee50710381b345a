/* SPDX-License-Identifier: Apache-2.0 */
/* The pure parts of kafuka-consumer-groups: what a user writes to say where a group goes on, and
 * the age of a record in fetched bytes. */
#include "common/base/fsx.h"
#include "common/protocol/codec.h"
#include "common/protocol/messages.h"
#include "common/record/builder.h"
#include "tools/lib/formatter.h"
#include "tools/lib/group_records.h"
#include "tools/lib/http_get.h"
#include "tools/lib/log_offsets.h"
#include "tools/reset_plan.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>

static struct arena arena;
static struct errtext why;

static void teardown(void)
{
    arena_fini(&arena);
    why.text[0] = '\0';
}

/* ---- durations and times: the values are java.time.Duration's and Kafka's Utils.getDateTime's */

static const struct {
    const char *text;
    int64_t ms;
    bool is_good;
} durations[] = {
    {"P1D", 86400000, true},
    {"PT1H", 3600000, true},
    {"PT30M", 1800000, true},
    {"PT0.5S", 500, true},
    {"PT1.2345S", 1234, true},
    {"P1DT1H1M1S", 90061000, true},
    {"p1dt2h", 93600000, true},
    {"PT-6H", -21600000, true},
    {"-PT6H", -21600000, true},
    {"-PT-6H", 21600000, true},
    {"P0D", 0, true},
    {"PT36H", 129600000, true},
    {"", 0, false},
    {"P", 0, false},
    {"PT", 0, false},
    {"P1DT", 0, false},
    {"1D", 0, false},
    {"P1", 0, false},
    {"P1H", 0, false},
    {"PT1D", 0, false},
    {"PT1M1H", 0, false},
    {"PT1.5H", 0, false},
    {"P1Y", 0, false},
    {"P1D ", 0, false},
    {"PT1H30", 0, false},
    {"P99999999999999999999D", 0, false},
    {"P106751991168D", 0, false},
};

START_TEST(durations_are_read_as_java_reads_them)
{
    int64_t ms = -1;
    enum err rc = reset_parse_duration(durations[_i].text, &ms, &why);

    ck_assert_msg((rc == ERR_OK) == durations[_i].is_good, "'%s'", durations[_i].text);
    if (rc == ERR_OK)
        ck_assert_msg(ms == durations[_i].ms, "'%s' is %lld", durations[_i].text, (long long)ms);
    else
        ck_assert_ptr_nonnull(strstr(why.text, "P1DT12H"));
}
END_TEST

static const struct {
    const char *text;
    int64_t ms;
    bool is_good;
} times[] = {
    {"1970-01-01T00:00:00.000", 0, true},
    {"1970-01-01T00:00:00.000Z", 0, true},
    {"2024-05-01T13:00:00.123", 1714568400123, true},
    {"2024-05-01T13:00:00.123+02:00", 1714561200123, true},
    {"2024-05-01T13:00:00.123-0130", 1714573800123, true},
    {"2024-05-01T13:00:00.5+02", 1714561200500, true},
    {"2024-05-01T13:00:00", 1714568400000, true},
    {"2024-05-01T13:00", 1714568400000, true},
    {"2024-02-29T00:00:00.000", 1709164800000, true},
    {"2023-02-29T00:00:00.000", 0, false},
    {"2024-13-01T00:00:00.000", 0, false},
    {"2024-05-01T24:00:00.000", 0, false},
    {"2024-05-01T13:60:00.000", 0, false},
    {"2024-05-01 13:00:00.000", 0, false},
    {"2024-05-01", 0, false},
    {"2024-5-1T13:00:00.000", 0, false},
    {"2024-05-01T13:00:00.", 0, false},
    {"2024-05-01T13:00:00.000X", 0, false},
    {"2024-05-01T13:00:00.000+2", 0, false},
    {"1714568400123", 0, false},
    {"", 0, false},
};

START_TEST(times_are_read_in_utc_or_their_zone)
{
    int64_t ms = -1;
    enum err rc = reset_parse_datetime(times[_i].text, &ms, &why);

    ck_assert_msg((rc == ERR_OK) == times[_i].is_good, "'%s'", times[_i].text);
    if (rc == ERR_OK)
        ck_assert_msg(ms == times[_i].ms, "'%s' is %lld", times[_i].text, (long long)ms);
    else
        ck_assert_ptr_nonnull(strstr(why.text, times[_i].text));
}
END_TEST

/* ---- topics */

START_TEST(topics_come_with_or_without_partitions)
{
    struct reset_topic t;

    ck_assert_int_eq(reset_parse_topic("orders", &arena, &t, &why), ERR_OK);
    ck_assert_str_eq(t.topic, "orders");
    ck_assert_int_eq(t.count, -1);
    ck_assert_int_eq(reset_parse_topic("orders:0,12", &arena, &t, &why), ERR_OK);
    ck_assert_str_eq(t.topic, "orders");
    ck_assert_int_eq(t.count, 2);
    ck_assert_int_eq(t.partitions[0], 0);
    ck_assert_int_eq(t.partitions[1], 12);
}
END_TEST

static const struct {
    const char *text, *said;
} bad_topics[] = {
    {"", "Invalid topic arg ''"},
    {":0", "Invalid topic arg ':0'"},
    {"orders:", "orders:0,1"},
    {"orders:0:1", "Invalid topic arg 'orders:0:1'"},
    {"orders:x", "Invalid partition 'x' specified in topic arg 'orders:x'"},
    {"orders:1,", "Invalid partition ''"},
    {"orders:-1", "Invalid partition '-1'"},
    {"orders:99999999999", "Invalid partition '99999999999'"},
};

START_TEST(bad_topics_are_said)
{
    struct reset_topic t;

    ck_assert_int_eq(reset_parse_topic(bad_topics[_i].text, &arena, &t, &why), ERR_INVALID);
    ck_assert_msg(strstr(why.text, bad_topics[_i].said) != NULL, "%s", why.text);
}
END_TEST

/* ---- plans */

static enum err plan(const char *text, const char *group, struct reset_line **out, int32_t *count)
{
    return reset_parse_plan(text, strlen(text), group, &arena, out, count, &why);
}

START_TEST(plans_are_read_in_both_forms)
{
    struct reset_line *l;
    int32_t n;

    ck_assert_int_eq(plan("t1,0,10\nt1,1,20\n\n", "g", &l, &n), ERR_OK);
    ck_assert_int_eq(n, 2);
    ck_assert_str_eq(l[1].group, "g");
    ck_assert_str_eq(l[1].topic, "t1");
    ck_assert_int_eq(l[1].partition, 1);
    ck_assert_int_eq(l[1].offset, 20);
    ck_assert_int_eq(plan("g1,t1,0,10\r\n\"g, \"\"2\"\"\",t2,3,0", NULL, &l, &n), ERR_OK);
    ck_assert_int_eq(n, 2);
    ck_assert_str_eq(l[0].group, "g1");
    ck_assert_str_eq(l[1].group, "g, \"2\"");
    ck_assert_str_eq(l[1].topic, "t2");
    ck_assert_int_eq(plan("", "g", &l, &n), ERR_OK);
    ck_assert_int_eq(n, 0);
}
END_TEST

START_TEST(plans_come_back_as_they_were_exported)
{
    static const char *const names[] = {"plain", "with, comma", "a \"quote\"", "sp ace"};

    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        struct buf line = {0};
        struct reset_line *l;
        int32_t n;

        reset_add_csv(&line, names[i]);
        buf_printf(&line, ",t,0,1\n");
        ck_assert_int_eq(plan(buf_cstr(&line), NULL, &l, &n), ERR_OK);
        ck_assert_int_eq(n, 1);
        ck_assert_str_eq(l[0].group, names[i]);
        buf_fini(&line);
    }
}
END_TEST

static const struct {
    const char *text, *group, *said;
} bad_plans[] = {
    {"t1,0,10\nt1,0\n", "g", "line 2: 't1,0' is no line of a plan"},
    {"t1,0,10\n", NULL, "line 1: 't1,0,10' names no group"},
    {"a,b,c,d,e\n", "g", "is no line of a plan"},
    {"t1,x,10\n", "g", "line 1: 't1,x,10': a topic, a partition and an offset"},
    {"t1,0,-1\n", "g", "an offset from 0"},
    {"t1,0,\n", "g", "an offset from 0"},
    {",0,1\n", "g", "a topic"},
    {"t1,99999999999,1\n", "g", "a partition"},
    {"\"t1,0,1\n", "g", "is no line of a plan"},
    {"topic,partition,offset\n", "g", "line 1"},
};

START_TEST(bad_plans_name_the_line)
{
    struct reset_line *l;
    int32_t n;

    ck_assert_int_eq(plan(bad_plans[_i].text, bad_plans[_i].group, &l, &n), ERR_INVALID);
    ck_assert_msg(strstr(why.text, bad_plans[_i].said) != NULL, "%s", why.text);
}
END_TEST

/* ---- the age of a record */

/* A batch with offsets from base on, a record every 10 ms from time on. */
static void add_batch(struct buf *out, enum codec codec, int64_t base, int64_t time, int32_t count)
{
    struct batch_options options;
    struct batch_builder b;

    batch_options_init(&options);
    options.codec = codec;
    options.base_offset = base;
    batch_builder_init(&b, &options);
    for (int32_t i = 0; i < count; i++)
        batch_builder_add(&b, time + i * 10, BYTES_NULL, BYTES_NULL, NULL, 0);
    ck_assert_int_eq(batch_builder_finish(&b, out), ERR_OK);
    batch_builder_fini(&b);
}

START_TEST(first_unread_record_tells_its_time)
{
    struct buf bytes = {0};

    add_batch(&bytes, (enum codec)_i, 100, 5000, 10);
    add_batch(&bytes, (enum codec)_i, 110, 9000, 10);
    ck_assert_int_eq(log_first_time(bytes.p, bytes.len, 90), 5000);
    ck_assert_int_eq(log_first_time(bytes.p, bytes.len, 100), 5000);
    ck_assert_int_eq(log_first_time(bytes.p, bytes.len, 104), 5040);
    ck_assert_int_eq(log_first_time(bytes.p, bytes.len, 110), 9000);
    ck_assert_int_eq(log_first_time(bytes.p, bytes.len, 119), 9090);
    ck_assert_int_eq(log_first_time(bytes.p, bytes.len, 120), -1);
    buf_fini(&bytes);
}
END_TEST

START_TEST(cut_and_broken_batches_tell_what_they_can)
{
    struct buf bytes = {0};

    add_batch(&bytes, CODEC_NONE, 100, 5000, 10);
    for (size_t n = 0; n < bytes.len; n++) {
        int64_t t = log_first_time(bytes.p, n, 104);

        ck_assert_msg(t == (n < BATCH_HEADER_BYTES ? -1 : 5000), "%zu bytes: %lld", n,
                      (long long)t);
    }
    for (size_t i = 0; i < bytes.len; i++) { /* any byte may be wrong: no crash, no hang */
        uint8_t kept = bytes.p[i];

        for (int bit = 0; bit < 8; bit++) {
            bytes.p[i] = (uint8_t)(kept ^ (1 << bit));
            (void)log_first_time(bytes.p, bytes.len, 104);
        }
        bytes.p[i] = kept;
    }
    buf_fini(&bytes);
}
END_TEST

START_TEST(partitions_are_sorted_and_found)
{
    struct log_partition list[] = {
        {.topic = "b", .partition = 10}, {.topic = "b", .partition = 2},
        {.topic = "a", .partition = 3},  {.topic = "b", .partition = 10},
        {.topic = "ab", .partition = 0},
    };
    int32_t n = log_partitions_sort(list, 5);

    ck_assert_int_eq(n, 4);
    ck_assert_str_eq(list[0].topic, "a");
    ck_assert_str_eq(list[1].topic, "ab");
    ck_assert_int_eq(list[2].partition, 2);
    ck_assert_ptr_eq(log_partition_find(list, n, "b", 10), &list[3]);
    ck_assert_ptr_null(log_partition_find(list, n, "b", 3));
    ck_assert_ptr_null(log_partition_find(list, 0, "b", 3));
}
END_TEST

START_TEST(queries_are_encoded)
{
    struct buf out = {0};

    http_add_encoded(&out, "a-Z_0.~ /?&=%\xc3\xa4");
    ck_assert_str_eq(buf_cstr(&out), "a-Z_0.~%20%2F%3F%26%3D%25%C3%A4");
    buf_fini(&out);
}
END_TEST

/* ---- records of __consumer_offsets: the golden files are what Kafka 3.9.1's console consumer
 * printed for the partition whose segment lies beside them */

static const struct {
    const char *class_name, *file;
} formats[] = {
    {"org.apache.kafka.tools.consumer.OffsetsMessageFormatter", "formatter-offsets.txt"},
    {"org.apache.kafka.tools.consumer.GroupMetadataMessageFormatter", "formatter-groups.txt"},
    {"kafka.coordinator.group.GroupMetadataManager$OffsetsMessageFormatter",
     "formatter-offsets-text.txt"},
    {"kafka.coordinator.group.GroupMetadataManager$GroupMetadataMessageFormatter",
     "formatter-groups-text.txt"},
};

static void read_golden(const char *name, struct buf *out)
{
    char path[512];

    snprintf(path, sizeof path, "%s/dump-log/%s", GOLDEN_DIR, name);
    ck_assert_int_eq(fsx_read_file(path, 1 << 20, out), ERR_OK);
}

/* Kafka's JSON formatters forget the line ends. */
static void drop_line_ends(struct buf *b)
{
    size_t n = 0;

    for (size_t i = 0; i < b->len; i++)
        if (b->p[i] != '\n')
            b->p[n++] = b->p[i];
    b->len = n;
}

START_TEST(group_records_are_printed_as_kafkas_formatters_do)
{
    struct buf segment = {0}, want = {0}, got = {0};
    struct props none = {0};
    struct formatter f;
    size_t total;

    read_golden("00000000000000001000.log", &segment);
    read_golden(formats[_i].file, &want);
    ck_assert_int_eq(formatter_init(&f, formats[_i].class_name, &none, &why), ERR_OK);
    for (size_t at = 0; at < segment.len; at += total) {
        struct record_iter it;
        struct record r;

        ck_assert_int_eq(batch_peek(segment.p + at, segment.len - at, &total), BATCH_WHOLE);
        record_iter_init(&it, segment.p + at, segment.p + at + BATCH_HEADER_BYTES,
                         total - BATCH_HEADER_BYTES);
        while (record_next(&it, &r) == ERR_OK) {
            struct format_record fr = {.key = r.key, .value = r.value, .offset = r.offset};

            ck_assert_int_eq(formatter_print(&f, &fr, &got, &why), ERR_OK);
        }
    }
    drop_line_ends(&want);
    drop_line_ends(&got);
    ck_assert_uint_gt(want.len, 100);
    ck_assert_str_eq(buf_cstr(&got), buf_cstr(&want));
    buf_fini(&segment);
    buf_fini(&want);
    buf_fini(&got);
}
END_TEST

static struct bytes bytes_of(struct buf *b)
{
    return (struct bytes){b->p, (int64_t)b->len};
}

START_TEST(old_formatters_print_what_their_release_printed)
{
    static const char *const lines[][2] = {
        {"kafka.server.OffsetManager$OffsetsMessageFormatter",
         "[g,t,3]::OffsetAndMetadata[42,NO_METADATA,1000]\n"},
        {"kafka.coordinator.GroupMetadataManager$OffsetsMessageFormatter",
         "[g,t,3]::[OffsetMetadata[42,NO_METADATA],CommitTime 1000,ExpirationTime 2000]\n"},
        {"kafka.coordinator.group.GroupMetadataManager$OffsetsMessageFormatter",
         "[g,t,3]::OffsetAndMetadata(offset=42, leaderEpoch=Optional.empty, metadata=, "
         "commitTimestamp=1000, expireTimestamp=Some(2000))\n"},
    };
    struct kp_OffsetCommitKey k;
    struct kp_OffsetCommitValue v;
    struct buf key = {0}, value = {0};

    kp_defaults(&kp_OffsetCommitKey_schema, &k);
    kp_defaults(&kp_OffsetCommitValue_schema, &v);
    k.group = STR_LIT("g");
    k.topic = STR_LIT("t");
    k.partition = 3;
    v.offset = 42;
    v.metadata = STR_LIT("");
    v.commit_timestamp = 1000;
    v.expire_timestamp = 2000;
    ck_assert_int_eq(kp_record_encode(&kp_OffsetCommitKey_schema, 1, &k, &key, &why), ERR_OK);
    ck_assert_int_eq(kp_record_encode(&kp_OffsetCommitValue_schema, 1, &v, &value, &why), ERR_OK);
    for (size_t i = 0; i < ARRAY_LEN(lines); i++) {
        struct buf out = {0};

        ck_assert_int_eq(group_records_format(group_records_style_of(lines[i][0]), bytes_of(&key),
                                              bytes_of(&value), &out, &why),
                         ERR_OK);
        ck_assert_str_eq(buf_cstr(&out), lines[i][1]);
        buf_fini(&out);
    }
    buf_fini(&key);
    buf_fini(&value);
}
END_TEST

START_TEST(any_bytes_are_survived_and_unknown_ones_named)
{
    static const uint8_t newer[] = {0, 9, 1, 2, 3};
    uint8_t junk[64];
    struct buf key = {0}, payload = {0};

    ck_assert(!group_records_decode((struct bytes){newer, 5}, BYTES_NULL, 7, &key, &payload));
    ck_assert_str_eq(buf_cstr(&key), "Unknown record type 9 at offset 7, skipping.");
    ck_assert_uint_eq(payload.len, 0);
    srandom(1);
    for (int round = 0; round < 20000; round++) {
        struct bytes k = {junk, random() % 32}, v = {junk + 32, random() % 33 - 1};

        for (size_t i = 0; i < sizeof junk; i++)
            junk[i] = (uint8_t)(random() % 4 == 0 ? random() : 0);
        junk[1] = (uint8_t)(random() % 4);
        junk[33] = (uint8_t)(random() % 6);
        if (v.len < 0)
            v = BYTES_NULL;
        key.len = payload.len = 0;
        (void)group_records_decode(k, v, 0, &key, &payload);
        for (int style = GROUP_RECORDS_OFFSETS; style <= GROUP_RECORDS_GROUPS_TEXT; style++) {
            payload.len = 0;
            if (group_records_format((enum group_records_style)style, k, v, &payload, &why) !=
                ERR_OK)
                ck_assert_uint_eq(payload.len, 0);
        }
    }
    buf_fini(&key);
    buf_fini(&payload);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("tools_groups");
    TCase *t = tcase_create("resets");

    tcase_add_checked_fixture(t, NULL, teardown);
    tcase_add_loop_test(t, durations_are_read_as_java_reads_them, 0, (int)ARRAY_LEN(durations));
    tcase_add_loop_test(t, times_are_read_in_utc_or_their_zone, 0, (int)ARRAY_LEN(times));
    tcase_add_test(t, topics_come_with_or_without_partitions);
    tcase_add_loop_test(t, bad_topics_are_said, 0, (int)ARRAY_LEN(bad_topics));
    tcase_add_test(t, plans_are_read_in_both_forms);
    tcase_add_test(t, plans_come_back_as_they_were_exported);
    tcase_add_loop_test(t, bad_plans_name_the_line, 0, (int)ARRAY_LEN(bad_plans));
    suite_add_tcase(s, t);

    t = tcase_create("lag");
    tcase_add_loop_test(t, first_unread_record_tells_its_time, 0, CODEC_COUNT);
    tcase_add_test(t, cut_and_broken_batches_tell_what_they_can);
    tcase_add_test(t, partitions_are_sorted_and_found);
    tcase_add_test(t, queries_are_encoded);
    suite_add_tcase(s, t);

    t = tcase_create("records");
    tcase_add_loop_test(t, group_records_are_printed_as_kafkas_formatters_do, 0,
                        (int)ARRAY_LEN(formats));
    tcase_add_test(t, old_formatters_print_what_their_release_printed);
    tcase_add_test(t, any_bytes_are_survived_and_unknown_ones_named);
    suite_add_tcase(s, t);
    return s;
}

int main(void)
{
    SRunner *r = srunner_create(suite());
    int failed;

    srunner_run_all(r, CK_NORMAL);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? 0 : 1;
}
