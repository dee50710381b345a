/* SPDX-License-Identifier: Apache-2.0 */
/* The records of __consumer_offsets: Kafka's bytes, all versions that are read, damage. */
#include "broker/group/group_records.h"

#include <check.h>
#include <stdio.h>

static uint8_t bytes[1024];

static struct bytes unhex(const char *hex)
{
    size_t n = 0;
    unsigned value;

    for (const char *p = hex; *p != 0; p++) {
        if (*p == ' ')
            continue;
        ck_assert_int_eq(sscanf(p, "%2x", &value), 1);
        bytes[n++] = (uint8_t)value;
        p++;
    }
    return (struct bytes){bytes, (int64_t)n};
}

static void is_hex(struct buf *out, const char *hex)
{
    struct bytes want = unhex(hex);

    ck_assert_uint_eq(out->len, (size_t)want.len);
    ck_assert_mem_eq(out->p, want.p, out->len);
    buf_fini(out);
}

#define OFFSET_KEY "0001 0002 6731 0001 74 00000003"
#define GROUP_KEY  "0002 0002 6731"
#define TIME       "0000018bcfe56800"
#define GROUP_VALUE                                                                                \
    "0003 0008636f6e73756d6572 00000001 000572616e6765 00026d31 " TIME                             \
    " 00000001 00026d31 ffff 000163 000a2f3132372e302e302e31 000493e0 0000afc8 "                   \
    "0000000d 000000000001000141ffffffff "                                                         \
    "00000019 000000000001000141000000020000000000000001ffffffff"

static struct arena arena;
static struct group_event ev;
static enum group_record_kind kind;
static struct errtext why;

static void setup(void)
{
    memset(&arena, 0, sizeof arena);
}

static void teardown(void)
{
    arena_fini(&arena);
}

/* value_hex NULL: a tombstone. */
static enum err decode(const char *key_hex, const char *value_hex)
{
    static uint8_t key[512], value[512];
    struct bytes k = unhex(key_hex), v = BYTES_NULL;

    memcpy(key, k.p, (size_t)k.len);
    k.p = key;
    if (value_hex != NULL) {
        v = unhex(value_hex);
        memcpy(value, v.p, (size_t)v.len);
        v.p = value;
    }
    return group_records_decode(k, v, &arena, &kind, &ev, &why);
}

START_TEST(the_worked_examples_are_written_byte_for_byte)
{
    struct group_offset o = {42, 7, STR_LIT(""), INT64_C(1700000000000), -1};
    struct buf out = {0};

    group_records_offset_key(&out, STR_LIT("g1"), STR_LIT("t"), 3);
    is_hex(&out, OFFSET_KEY);
    group_records_offset_value(&out, &o);
    is_hex(&out, "0003 000000000000002a 00000007 0000 " TIME);
    group_records_group_key(&out, STR_LIT("g1"));
    is_hex(&out, GROUP_KEY);
}
END_TEST

START_TEST(an_offset_that_expires_is_written_as_version_one)
{
    struct group_offset o = {42, 7, STR_LIT("x"), INT64_C(1700000000000), INT64_C(1700000000001)};
    struct buf out = {0};

    group_records_offset_value(&out, &o);
    is_hex(&out, "0001 000000000000002a 000178 " TIME " 0000018bcfe56801");
}
END_TEST

START_TEST(a_group_is_read_and_written_again_as_the_same_bytes)
{
    struct buf out = {0};

    ck_assert_int_eq(decode(GROUP_KEY, GROUP_VALUE), ERR_OK);
    ck_assert_int_eq(kind, GROUP_RECORD_GROUP);
    ck_assert_int_eq(ev.kind, GEV_LOAD_GROUP);
    ck_assert(!ev.load_group.is_tombstone);
    ck_assert(str_eq_z(ev.load_group.group, "g1"));
    ck_assert(str_eq_z(ev.load_group.protocol_type, "consumer"));
    ck_assert(str_eq_z(ev.load_group.protocol, "range"));
    ck_assert(str_eq_z(ev.load_group.leader, "m1"));
    ck_assert_int_eq(ev.load_group.generation, 1);
    ck_assert_int_eq(ev.load_group.state_wall_ms, INT64_C(1700000000000));
    ck_assert_int_eq(ev.load_group.member_count, 1);
    const struct group_member_view *m = &ev.load_group.members[0];
    ck_assert(str_eq_z(m->member_id, "m1"));
    ck_assert_int_eq(m->instance_id.len, -1);
    ck_assert(str_eq_z(m->client_host, "/127.0.0.1"));
    ck_assert_int_eq(m->rebalance_ms, 300000);
    ck_assert_int_eq(m->session_ms, 45000);
    ck_assert_int_eq(m->metadata.len, 13);
    ck_assert_int_eq(m->assignment.len, 25);
    group_records_group_value(&out, &ev.load_group);
    is_hex(&out, GROUP_VALUE);
}
END_TEST

START_TEST(an_empty_group_is_written_with_nulls)
{
    struct group_load_group g = {.protocol_type = STR_LIT("consumer"),
                                 .generation = 2,
                                 .protocol = STR_NULL,
                                 .leader = STR_NULL,
                                 .state_wall_ms = INT64_C(1700000000000)};
    struct buf out = {0};

    group_records_group_value(&out, &g);
    is_hex(&out, "0003 0008636f6e73756d6572 00000002 ffff ffff " TIME " 00000000");
}
END_TEST

static const struct group_offset *offset_of(const char *value_hex)
{
    ck_assert_int_eq(decode(OFFSET_KEY, value_hex), ERR_OK);
    ck_assert_int_eq(kind, GROUP_RECORD_OFFSET);
    ck_assert_int_eq(ev.kind, GEV_LOAD_OFFSET);
    ck_assert(str_eq_z(ev.load_offset.group, "g1"));
    ck_assert(str_eq_z(ev.load_offset.topic, "t"));
    ck_assert_int_eq(ev.load_offset.partition, 3);
    ck_assert_int_eq(ev.load_offset.producer_id, -1);
    ck_assert_ptr_nonnull(ev.load_offset.value);
    ck_assert_int_eq(ev.load_offset.value->offset, 42);
    ck_assert_int_eq(ev.load_offset.value->commit_wall_ms, INT64_C(1700000000000));
    return ev.load_offset.value;
}

START_TEST(offset_values_of_every_version_are_read)
{
    const struct group_offset *o = offset_of("0000 000000000000002a 000178 " TIME);

    ck_assert(str_eq_z(o->metadata, "x"));
    ck_assert_int_eq(o->leader_epoch, -1);
    ck_assert_int_eq(o->expire_wall_ms, -1);
    o = offset_of("0001 000000000000002a 000178 " TIME " 0000018bcfe56801");
    ck_assert_int_eq(o->expire_wall_ms, INT64_C(1700000000001));
    o = offset_of("0001 000000000000002a 000178 " TIME " ffffffffffffffff");
    ck_assert_int_eq(o->expire_wall_ms, -1);
    o = offset_of("0002 000000000000002a 0000 " TIME);
    ck_assert_int_eq(o->metadata.len, 0);
    o = offset_of("0003 000000000000002a 00000007 0000 " TIME);
    ck_assert_int_eq(o->leader_epoch, 7);
    o = offset_of("0004 000000000000002a 00000007 0278 " TIME " 00");
    ck_assert_int_eq(o->leader_epoch, 7);
    ck_assert(str_eq_z(o->metadata, "x"));
}
END_TEST

START_TEST(a_key_of_version_zero_is_the_same_offset)
{
    ck_assert_int_eq(decode("0000 0002 6731 0001 74 00000003", NULL), ERR_OK);
    ck_assert_int_eq(kind, GROUP_RECORD_OFFSET);
    ck_assert_int_eq(ev.load_offset.partition, 3);
}
END_TEST

START_TEST(group_values_of_every_version_are_read)
{
    static const char *const values[] = {
        "0000 000163 00000001 000172 00026d31 00000001 00026d31 000163 000168 0000afc8 00000000 "
        "00000000",
        "0001 000163 00000001 000172 00026d31 00000001 00026d31 000163 000168 000493e0 0000afc8 "
        "00000000 00000000",
        "0002 000163 00000001 000172 00026d31 " TIME
        " 00000001 00026d31 000163 000168 000493e0 0000afc8 00000000 00000000",
        "0003 000163 00000001 000172 00026d31 " TIME
        " 00000001 00026d31 000169 000163 000168 000493e0 0000afc8 00000000 00000000",
        "0004 0263 00000001 0272 036d31 " TIME
        " 02 036d31 0269 0263 0268 000493e0 0000afc8 01 01 00 00"};

    for (size_t i = 0; i < ARRAY_LEN(values); i++) {
        const struct group_member_view *m;
        ck_assert_int_eq(decode(GROUP_KEY, values[i]), ERR_OK);
        ck_assert_int_eq(ev.load_group.member_count, 1);
        m = &ev.load_group.members[0];
        ck_assert(str_eq_z(m->member_id, "m1"));
        ck_assert_int_eq(m->session_ms, 45000);
        ck_assert_int_eq(m->rebalance_ms, i == 0 ? 45000 : 300000);
        ck_assert_int_eq(m->instance_id.len, i >= 3 ? 1 : -1);
        ck_assert_int_eq(ev.load_group.state_wall_ms, i >= 2 ? INT64_C(1700000000000) : -1);
    }
}
END_TEST

START_TEST(no_value_is_a_tombstone)
{
    ck_assert_int_eq(decode(OFFSET_KEY, NULL), ERR_OK);
    ck_assert_ptr_null(ev.load_offset.value);
    ck_assert_int_eq(decode(GROUP_KEY, NULL), ERR_OK);
    ck_assert(ev.load_group.is_tombstone);
}
END_TEST

START_TEST(keys_of_newer_groups_are_to_be_skipped)
{
    ck_assert_int_eq(decode("0003 0002 6731", "0000"), ERR_OK);
    ck_assert_int_eq(kind, GROUP_RECORD_OTHER);
    ck_assert_int_eq(decode("ffff 0002 6731", NULL), ERR_OK);
    ck_assert_int_eq(kind, GROUP_RECORD_OTHER);
}
END_TEST

START_TEST(an_unknown_value_version_is_told_from_damage)
{
    ck_assert_int_eq(decode(OFFSET_KEY, "0005 000000000000002a"), ERR_PROTOCOL);
    ck_assert_int_eq(decode(GROUP_KEY, "ffff 000000000000002a"), ERR_PROTOCOL);
    ck_assert_int_eq(decode(OFFSET_KEY, "0003 0000"), ERR_CORRUPT);
    ck_assert_int_eq(decode(OFFSET_KEY, "00"), ERR_CORRUPT);
    ck_assert_int_eq(decode("00", NULL), ERR_CORRUPT);
    ck_assert_int_eq(decode("0001 0002 67", NULL), ERR_CORRUPT);
    ck_assert_int_gt(strlen(why.text), 0);
}
END_TEST

START_TEST(a_record_cut_off_at_any_byte_is_refused)
{
    struct bytes whole = unhex(GROUP_VALUE);
    uint8_t *key = xmalloc(6);

    memcpy(key, "\0\2\0\2g1", 6);
    for (int64_t n = 0; n < whole.len; n++) {
        uint8_t *cut = xmalloc((size_t)n); /* of its own, so that reading behind it shows */
        memcpy(cut, whole.p, (size_t)n);
        ck_assert_int_eq(group_records_decode((struct bytes){key, 6}, (struct bytes){cut, n},
                                              &arena, &kind, &ev, &why),
                         ERR_CORRUPT);
        mem_free(cut);
    }
    mem_free(key);
}
END_TEST

static char topics[64];

static void visit(void *arg, struct str topic)
{
    (void)arg;
    (void)snprintf(topics + strlen(topics), sizeof topics - strlen(topics), "%.*s;",
                   STR_ARG(topic));
}

START_TEST(subscriptions_of_every_version_name_their_topics)
{
    ck_assert(group_records_each_topic(unhex("0000 00000001 000141 ffffffff"), visit, NULL));
    ck_assert(group_records_each_topic(
        unhex("0003 00000002 000142 00024343 ffffffff 00000000 ffffffff ffff"), visit, NULL));
    ck_assert_str_eq(topics, "A;B;CC;");
    ck_assert(!group_records_each_topic(unhex("0000 00000002 000141"), visit, NULL));
    ck_assert(!group_records_each_topic(unhex("0000 7fffffff 000141"), visit, NULL));
    ck_assert(!group_records_each_topic(unhex("0000 00000001 ffff"), visit, NULL));
    ck_assert(!group_records_each_topic(unhex("0000 00000001 000541"), visit, NULL));
    ck_assert(!group_records_each_topic(unhex("0000 0000"), visit, NULL));
    ck_assert(!group_records_each_topic(BYTES_NULL, visit, NULL));
}
END_TEST

int main(void)
{
    Suite *s = suite_create("group_records");
    TCase *t = tcase_create("records");
    SRunner *sr;
    int failed;

    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, the_worked_examples_are_written_byte_for_byte);
    tcase_add_test(t, an_offset_that_expires_is_written_as_version_one);
    tcase_add_test(t, a_group_is_read_and_written_again_as_the_same_bytes);
    tcase_add_test(t, an_empty_group_is_written_with_nulls);
    tcase_add_test(t, offset_values_of_every_version_are_read);
    tcase_add_test(t, a_key_of_version_zero_is_the_same_offset);
    tcase_add_test(t, group_values_of_every_version_are_read);
    tcase_add_test(t, no_value_is_a_tombstone);
    tcase_add_test(t, keys_of_newer_groups_are_to_be_skipped);
    tcase_add_test(t, an_unknown_value_version_is_told_from_damage);
    tcase_add_test(t, a_record_cut_off_at_any_byte_is_refused);
    tcase_add_test(t, subscriptions_of_every_version_name_their_topics);
    suite_add_tcase(s, t);
    sr = srunner_create(s);
    srunner_run_all(sr, CK_ENV);
    failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed != 0;
}
