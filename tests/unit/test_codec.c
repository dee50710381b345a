/* SPDX-License-Identifier: Apache-2.0 */
/* The codec against itself: random messages of every version there and back, damaged bytes, and a
 * few messages whose bytes were written by hand. */
#include "common/protocol/messages.h"
#include "common/protocol/schema.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>

enum { ROUNDS = 6, DAMAGED_PLACES = 8 };

/* Hex with spaces to bytes. */
static struct bytes unhex(const char *hex, uint8_t *to)
{
    size_t n = 0;
    for (; *hex != 0; hex++) {
        unsigned v;
        if (*hex == ' ')
            continue;
        ck_assert_int_eq(sscanf(hex, "%2x", &v), 1);
        to[n++] = (uint8_t)v;
        hex++;
    }
    return (struct bytes){to, (int64_t)n};
}

static struct bytes of_buf(const struct buf *b)
{
    return (struct bytes){b->p, (int64_t)b->len};
}

static void assert_same_bytes(const char *what, int version, struct bytes a, struct bytes b)
{
    ck_assert_msg(a.len == b.len && (a.len == 0 || memcmp(a.p, b.p, (size_t)a.len) == 0),
                  "%s version %d: %d bytes became %d different ones", what, version, (int)a.len,
                  (int)b.len);
}

/* Encodes, decodes, compares, encodes again. */
static void assert_round_trip(const struct kp_schema *s, int16_t version, const void *msg)
{
    struct buf first = {0}, second = {0};
    struct arena a = {0};
    struct errtext why = {""};
    void *back = malloc(s->size);

    memset(back, 0xa5, s->size);
    ck_assert_msg(kp_encode(s, version, msg, &first, &why) == ERR_OK, "%s", why.text);
    ck_assert_int_ge((int)first.len, kp_plan_for(s, version)->min_bytes);
    ck_assert_msg(kp_decode(s, version, of_buf(&first), &a, back, &why) == ERR_OK, "%s", why.text);
    ck_assert_msg(kp_equal(s, version, msg, back), "%s version %d differs", s->name, version);
    ck_assert_msg(kp_encode(s, version, back, &second, &why) == ERR_OK, "%s", why.text);
    assert_same_bytes(s->name, version, of_buf(&first), of_buf(&second));
    free(back);
    buf_fini(&first);
    buf_fini(&second);
    arena_fini(&a);
}

START_TEST(every_message_of_every_version_survives_a_round_trip)
{
    const struct kp_schema *s = kp_schemas[_i];
    void *msg = malloc(s->size);
    uint64_t rng = (uint64_t)_i;

    for (int16_t v = s->min_version; v <= s->max_version; v++) {
        kp_defaults(s, msg);
        for (int n = 0; n < ROUNDS; n++) {
            struct arena a = {0};
            kp_random(s, v, &rng, &a, msg);
            assert_round_trip(s, v, msg);
            arena_fini(&a);
        }
    }
    free(msg);
}
END_TEST

/* A copy of exactly n bytes, so that AddressSanitizer sees a read behind them. */
static struct bytes exact(const uint8_t *p, size_t n)
{
    uint8_t *copy = malloc(n == 0 ? 1 : n);
    if (n > 0)
        memcpy(copy, p, n);
    return (struct bytes){copy, (int64_t)n};
}

START_TEST(a_message_cut_off_at_any_byte_is_refused)
{
    const struct kp_schema *s = kp_schemas[_i];
    void *msg = malloc(s->size);
    uint64_t rng = 7;

    for (int16_t v = s->min_version; v <= s->max_version; v++) {
        struct arena a = {0};
        struct buf b = {0};
        kp_random(s, v, &rng, &a, msg);
        ck_assert_int_eq(kp_encode(s, v, msg, &b, NULL), ERR_OK);
        for (size_t n = 0; n < b.len; n++) {
            struct errtext why = {""};
            struct bytes cut = exact(b.p, n);
            ck_assert_msg(kp_decode(s, v, cut, &a, msg, &why) == ERR_PROTOCOL,
                          "%s version %d cut to %zu of %zu bytes", s->name, v, n, b.len);
            ck_assert_ptr_nonnull(strstr(why.text, s->name));
            free((void *)(uintptr_t)cut.p);
        }
        buf_add(&b, "x", 1); /* but bytes behind it are not read */
        ck_assert_int_eq(kp_decode(s, v, of_buf(&b), &a, msg, NULL), ERR_OK);
        buf_fini(&b);
        arena_fini(&a);
    }
    free(msg);
}
END_TEST

START_TEST(damaged_bytes_are_refused_or_read_as_another_valid_message)
{
    const struct kp_schema *s = kp_schemas[_i];
    void *msg = malloc(s->size);
    uint64_t rng = 99;

    for (int16_t v = s->min_version; v <= s->max_version; v++) {
        struct arena a = {0};
        struct buf b = {0};
        kp_random(s, v, &rng, &a, msg);
        ck_assert_int_eq(kp_encode(s, v, msg, &b, NULL), ERR_OK);
        for (size_t n = 0; n < b.len; n += 1 + b.len / DAMAGED_PLACES) {
            static const uint8_t evil[] = {0x00, 0x7f, 0x80, 0xff};
            for (size_t e = 0; e < ARRAY_LEN(evil); e++) {
                struct bytes in = exact(b.p, b.len);
                ((uint8_t *)(uintptr_t)in.p)[n] = evil[e];
                struct arena limited = {.limit = 1 << 20};
                struct errtext why = {""};
                enum err rc = kp_decode(s, v, in, &limited, msg, &why);
                if (rc == ERR_OK) {
                    assert_round_trip(s, v, msg);
                } else {
                    ck_assert(rc == ERR_PROTOCOL || rc == ERR_NO_MEMORY);
                    ck_assert_int_ne(why.text[0], 0);
                }
                arena_fini(&limited);
                free((void *)(uintptr_t)in.p);
            }
        }
        buf_fini(&b);
        arena_fini(&a);
    }
    free(msg);
}
END_TEST

START_TEST(versions_outside_the_range_are_unsupported)
{
    const struct kp_schema *s = kp_schemas[_i];
    void *msg = malloc(s->size);
    const int16_t bad[] = {-1, (int16_t)(s->min_version - 1), (int16_t)(s->max_version + 1), 32767,
                           -32768};
    struct arena a = {0};
    struct buf b = {0};

    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        memset(msg, 0xa5, s->size);
        ck_assert_int_eq(kp_decode(s, bad[i], (struct bytes){NULL, 0}, &a, msg, NULL),
                         ERR_UNSUPPORTED);
        ck_assert_int_eq(kp_encode(s, bad[i], msg, &b, NULL), ERR_UNSUPPORTED);
        ck_assert_int_eq((int)b.len, 0);
    }
    free(msg);
    buf_fini(&b);
    arena_fini(&a);
}
END_TEST

/* ---------------------------------------------------------------- bytes written by hand */

START_TEST(api_versions_request_v3_is_as_the_documentation_shows)
{
    uint8_t raw[64];
    struct bytes frame = unhex("0012 0003 00000001 0001 63 00 02 78 02 31 00", raw), body;
    struct kp_request_header h;
    struct kp_ApiVersionsRequest m;
    struct arena a = {0};
    struct buf out = {0};

    ck_assert_int_eq(kp_request_header_decode(frame, &h, &body, NULL), ERR_OK);
    ck_assert_int_eq(h.api_key, KP_API_API_VERSIONS);
    ck_assert_int_eq(h.api_version, 3);
    ck_assert_int_eq(h.correlation_id, 1);
    ck_assert(str_eq_z(h.client_id, "c"));
    ck_assert_int_eq(kp_decode(&kp_ApiVersionsRequest_schema, 3, body, &a, &m, NULL), ERR_OK);
    ck_assert(str_eq_z(m.client_software_name, "x"));
    ck_assert(str_eq_z(m.client_software_version, "1"));

    kp_request_header_encode(18, 3, 1, STR_LIT("c"), &out);
    ck_assert_int_eq(kp_encode(&kp_ApiVersionsRequest_schema, 3, &m, &out, NULL), ERR_OK);
    assert_same_bytes("ApiVersionsRequest", 3, frame, of_buf(&out));
    buf_fini(&out);
    arena_fini(&a);
}
END_TEST

START_TEST(fetch_request_v4_has_the_old_encodings)
{
    uint8_t raw[128];
    struct bytes in = unhex("ffffffff 000001f4 00000001 00100000 01" /* replica, wait, min, max */
                            "00000001 0001 74"                       /* one topic "t" */
                            "00000001 00000003 0000000000000007 00000400",
                            raw);
    struct kp_FetchRequest m;
    struct arena a = {0};

    ck_assert_int_eq(kp_decode(&kp_FetchRequest_schema, 4, in, &a, &m, NULL), ERR_OK);
    ck_assert_int_eq(m.replica_id, -1);
    ck_assert_int_eq(m.max_wait_ms, 500);
    ck_assert_int_eq(m.max_bytes, 1 << 20);
    ck_assert_int_eq(m.isolation_level, 1);
    ck_assert_int_eq(m.topics_count, 1);
    ck_assert(str_eq_z(m.topics[0].topic, "t"));
    ck_assert_int_eq(m.topics[0].partitions_count, 1);
    ck_assert_int_eq(m.topics[0].partitions[0].partition, 3);
    ck_assert_int_eq((int)m.topics[0].partitions[0].fetch_offset, 7);
    ck_assert_int_eq(m.topics[0].partitions[0].partition_max_bytes, 1024);
    /* what version 4 lacks has its default */
    ck_assert_int_eq(m.session_epoch, -1);
    ck_assert_int_eq(m.topics[0].partitions[0].current_leader_epoch, -1);
    ck_assert_int_eq((int)m.topics[0].partitions[0].log_start_offset, -1);
    ck_assert_int_eq(m.cluster_id.len, -1);
    ck_assert_int_eq(m.replica_state.replica_id, -1);
    ck_assert_int_eq((int)m.replica_state.replica_epoch, -1);
    ck_assert_int_eq(m.forgotten_topics_data_count, 0);
    assert_round_trip(&kp_FetchRequest_schema, 4, &m);
    arena_fini(&a);
}
END_TEST

START_TEST(tagged_fields_are_written_by_tag_with_their_sizes)
{
    uint8_t raw[128];
    struct bytes want = unhex("00000000 00000000 7fffffff 00 00000000 ffffffff 01 01 01" /* empty */
                              "02 00 03 03 7879" /* two tagged fields: cluster id "xy" */
                              "01 0d 00000005 0000000000000009 00", /* and replica state */
                              raw);
    struct kp_FetchRequest m;
    struct buf out = {0};
    struct errtext why;

    kp_defaults(&kp_FetchRequest_schema, &m);
    m.replica_state.replica_id = 5;
    m.replica_state.replica_epoch = 9;
    m.cluster_id = STR_LIT("xy");
    ck_assert_msg(kp_encode(&kp_FetchRequest_schema, 15, &m, &out, &why) == ERR_OK, "%s", why.text);
    assert_same_bytes("FetchRequest", 15, want, of_buf(&out));
    buf_fini(&out);
}
END_TEST

START_TEST(unknown_tagged_fields_are_skipped)
{
    /* SyncGroup's cousin with the fewest fields: Heartbeat v4 response, throttle, error, tags */
    uint8_t raw[64];
    struct kp_HeartbeatResponse m;
    struct arena a = {0};

    ck_assert_int_eq(kp_decode(&kp_HeartbeatResponse_schema, 4,
                               unhex("00000001 0002 02 05 03 aabbcc ffffffff0f 00", raw), &a, &m,
                               NULL),
                     ERR_OK);
    ck_assert_int_eq(m.throttle_time_ms, 1);
    ck_assert_int_eq(m.error_code, 2);
    arena_fini(&a);
}
END_TEST

static const struct {
    const char *what, *hex;
} bad_heartbeats[] = {
    {"nothing", ""},
    {"no tag section", "00000001 0002"},
    {"a tag without size", "00000001 0002 01 05"},
    {"a tag larger than the message", "00000001 0002 01 05 03 aabb"},
    {"a size near 4 GiB", "00000001 0002 01 05 ffffffff0f aabb"},
    {"more tags than there are", "00000001 0002 02 05 01 aa"},
    {"two billion tags", "00000001 0002 ffffffff07 05 01 aa"},
    {"a varint of six bytes", "00000001 0002 808080808000"},
    {"a varint whose fifth byte goes on", "00000001 0002 ffffffff8f00"},
    {"a varint that does not end", "00000001 0002 80"},
};

START_TEST(broken_tag_sections_are_refused)
{
    uint8_t raw[64];
    struct kp_HeartbeatResponse m;
    struct arena a = {0};

    ck_assert_msg(kp_decode(&kp_HeartbeatResponse_schema, 4, unhex(bad_heartbeats[_i].hex, raw), &a,
                            &m, NULL) == ERR_PROTOCOL,
                  "%s", bad_heartbeats[_i].what);
    arena_fini(&a);
}
END_TEST

static const struct {
    const char *what, *hex;
    int16_t version;
} bad_metadata[] = {
    {"a count of 2147483647", "7fffffff 0001 74", 1},
    {"a count of -2 in version 0", "fffffffe", 0},
    {"null topics in version 0", "ffffffff", 0},
    {"a count one too high", "00000002 0001 74", 1},
    {"a null name", "00000001 ffff", 1},
    {"a name of length -2", "00000001 fffe", 1},
    {"a name longer than the message", "00000001 0002 74", 1},
    {"a compact count of 2147483646", "ffffffff07 0000", 9},
    {"a compact count of 2147483647", "8080808008 0000", 9},
    {"a null array of names in a compact count", "02 ffffffff0f 01 00 00 00", 9},
    {"a compact name longer than the message", "02 05 7400 01 00 00 00", 9},
    {"a null name where an id may stand", "02 00 00 01 00 00 00", 9},
};

START_TEST(impossible_lengths_are_refused_before_memory_is_taken)
{
    uint8_t raw[64];
    struct kp_MetadataRequest m;
    struct arena a = {.limit = 4096};

    ck_assert_msg(kp_decode(&kp_MetadataRequest_schema, bad_metadata[_i].version,
                            unhex(bad_metadata[_i].hex, raw), &a, &m, NULL) == ERR_PROTOCOL,
                  "%s", bad_metadata[_i].what);
    ck_assert_int_le((int)a.used, 2 * (int)sizeof *m.topics);
    arena_fini(&a);
}
END_TEST

/* Kafka's classes take these too, and mean the same by them. */
static const struct {
    const char *what, *hex;
    int16_t version;
    int32_t topics_count;
    bool may_create;
} odd_metadata[] = {
    {"librdkafka 2.15: three bytes behind", "00 01 00 00 000000", 12, -1, true},
    {"a count of -2 where null is allowed", "fffffffe", 1, -1, true},
    {"a compact count above 31 bits", "ffffffff0f 01 00 00 00", 9, -1, true},
    {"bits above the 32nd of a varint", "8180808070 00 00 00 00", 9, 0, false},
    {"a count of tags above 31 bits", "00 01 00 00 ffffffff0f", 9, -1, true},
    {"a duplicate unknown tag", "00 01 00 00 02 05 01 aa 05 01 bb", 9, -1, true},
};

START_TEST(what_kafka_takes_is_taken)
{
    uint8_t raw[64];
    struct kp_MetadataRequest m;
    struct arena a = {0};
    struct errtext why = {""};

    ck_assert_msg(kp_decode(&kp_MetadataRequest_schema, odd_metadata[_i].version,
                            unhex(odd_metadata[_i].hex, raw), &a, &m, &why) == ERR_OK,
                  "%s: %s", odd_metadata[_i].what, why.text);
    ck_assert_int_eq(m.topics_count, odd_metadata[_i].topics_count);
    ck_assert_int_eq(m.allow_auto_topic_creation, odd_metadata[_i].may_create);
    arena_fini(&a);
}
END_TEST

START_TEST(the_size_of_a_known_tagged_field_is_not_looked_at)
{
    /* Fetch 12 with a cluster id of "c" that says to have 9 bytes, and 0 */
    static const char *const hex[] = {
        "ffffffff 00000000 00000000 00000001 00 00000000 00000000 01 01 01 01 00 09 02 63",
        "ffffffff 00000000 00000000 00000001 00 00000000 00000000 01 01 01 01 00 00 02 63"};
    uint8_t raw[64];
    struct kp_FetchRequest m;
    struct arena a = {0};
    struct errtext why = {""};

    ck_assert_msg(kp_decode(&kp_FetchRequest_schema, 12, unhex(hex[_i], raw), &a, &m, &why) ==
                      ERR_OK,
                  "%s", why.text);
    ck_assert(str_eq_z(m.cluster_id, "c"));
    arena_fini(&a);
}
END_TEST

START_TEST(the_limit_of_the_arena_holds)
{
    enum { COUNT = 10000 };
    struct kp_DeleteTopicsRequest m;
    struct arena a = {.limit = 1000};
    struct buf b = {0};
    struct errtext why;

    kp_defaults(&kp_DeleteTopicsRequest_schema, &m);
    m.topic_names_count = COUNT;
    m.topic_names = calloc(COUNT, sizeof *m.topic_names);
    ck_assert_int_eq(kp_encode(&kp_DeleteTopicsRequest_schema, 4, &m, &b, NULL), ERR_OK);
    free(m.topic_names);
    ck_assert_int_eq(kp_decode(&kp_DeleteTopicsRequest_schema, 4, of_buf(&b), &a, &m, &why),
                     ERR_NO_MEMORY);
    ck_assert_ptr_nonnull(strstr(why.text, "topicNames"));
    buf_fini(&b);
    arena_fini(&a);
}
END_TEST

START_TEST(null_and_empty_arrays_differ)
{
    struct kp_MetadataRequest m;
    struct arena a = {0};
    uint8_t raw[16];

    ck_assert_int_eq(kp_decode(&kp_MetadataRequest_schema, 1, unhex("ffffffff", raw), &a, &m, NULL),
                     ERR_OK);
    ck_assert_int_eq(m.topics_count, -1);
    ck_assert(m.allow_auto_topic_creation); /* the default, and version 1 lacks it */
    ck_assert_int_eq(kp_decode(&kp_MetadataRequest_schema, 1, unhex("00000000", raw), &a, &m, NULL),
                     ERR_OK);
    ck_assert_int_eq(m.topics_count, 0);
    arena_fini(&a);
}
END_TEST

START_TEST(what_a_version_cannot_say_is_an_error)
{
    struct kp_MetadataRequest m;
    struct kp_MetadataRequest_MetadataRequestTopic topic;
    struct buf b = {0};
    struct errtext why;

    kp_defaults(&kp_MetadataRequest_schema, &m);
    m.topics_count = -1; /* version 0 has no null */
    ck_assert_int_eq(kp_encode(&kp_MetadataRequest_schema, 0, &m, &b, &why), ERR_UNSUPPORTED);
    ck_assert_ptr_nonnull(strstr(why.text, "topics"));
    m.topics_count = 0;
    m.allow_auto_topic_creation = false; /* since version 4, not ignorable */
    ck_assert_int_eq(kp_encode(&kp_MetadataRequest_schema, 3, &m, &b, &why), ERR_UNSUPPORTED);
    ck_assert_int_eq(kp_encode(&kp_MetadataRequest_schema, 4, &m, &b, &why), ERR_OK);
    buf_fini(&b);

    /* ignorable: dropped without a word */
    kp_defaults(&kp_MetadataRequest_MetadataRequestTopic_schema, &topic);
    topic.name = STR_LIT("t");
    topic.topic_id.b[0] = 1;
    kp_defaults(&kp_MetadataRequest_schema, &m);
    m.topics = &topic;
    m.topics_count = 1;
    ck_assert_int_eq(kp_encode(&kp_MetadataRequest_schema, 1, &m, &b, &why), ERR_OK);
    topic.name = STR_NULL;
    size_t len = b.len;
    ck_assert_int_eq(kp_encode(&kp_MetadataRequest_schema, 1, &m, &b, &why), ERR_UNSUPPORTED);
    ck_assert_int_eq((int)b.len, (int)len);
    buf_fini(&b);
}
END_TEST

START_TEST(a_string_above_32767_bytes_is_refused)
{
    struct kp_ApiVersionsRequest m;
    struct buf b = {0};
    char *big = calloc(1, 32768);

    kp_defaults(&kp_ApiVersionsRequest_schema, &m);
    m.client_software_name = (struct str){big, 32768};
    ck_assert_int_eq(kp_encode(&kp_ApiVersionsRequest_schema, 3, &m, &b, NULL), ERR_TOO_LARGE);
    m.client_software_name.len = 32767;
    ck_assert_int_eq(kp_encode(&kp_ApiVersionsRequest_schema, 3, &m, &b, NULL), ERR_OK);
    free(big);
    buf_fini(&b);
}
END_TEST

START_TEST(a_nullable_struct_is_kept_by_pointer)
{
    uint8_t raw[64];
    struct kp_ConsumerGroupHeartbeatResponse m;
    struct arena a = {0};

    struct bytes none = unhex("00000000 0000 00 00 00000000 00000000 ff 00", raw);
    ck_assert_int_eq(kp_decode(&kp_ConsumerGroupHeartbeatResponse_schema, 0, none, &a, &m, NULL),
                     ERR_OK);
    ck_assert_ptr_null(m.assignment);
    assert_round_trip(&kp_ConsumerGroupHeartbeatResponse_schema, 0, &m);
    struct bytes some = unhex("00000000 0000 00 00 00000000 00000000 01 01 00 00", raw);
    ck_assert_int_eq(kp_decode(&kp_ConsumerGroupHeartbeatResponse_schema, 0, some, &a, &m, NULL),
                     ERR_OK);
    ck_assert_ptr_nonnull(m.assignment);
    ck_assert_int_eq(m.assignment->topic_partitions_count, 0);
    assert_round_trip(&kp_ConsumerGroupHeartbeatResponse_schema, 0, &m);
    arena_fini(&a);
}
END_TEST

/* A fetch response with two partitions whose records are elsewhere. */
static void fill_fetch_response(struct kp_FetchResponse *m,
                                struct kp_FetchResponse_FetchableTopicResponse *topic,
                                struct kp_FetchResponse_PartitionData parts[2], struct bytes first,
                                struct bytes second)
{
    kp_defaults(&kp_FetchResponse_schema, m);
    kp_defaults(&kp_FetchResponse_FetchableTopicResponse_schema, topic);
    for (int i = 0; i < 2; i++) {
        kp_defaults(&kp_FetchResponse_PartitionData_schema, &parts[i]);
        parts[i].partition_index = i;
    }
    parts[0].records = first;
    parts[1].records = second;
    topic->partitions = parts;
    topic->partitions_count = 2;
    m->responses = topic;
    m->responses_count = 1;
}

START_TEST(holes_are_where_the_records_belong)
{
    static uint8_t data[300];
    struct kp_FetchResponse m;
    struct kp_FetchResponse_FetchableTopicResponse topic;
    struct kp_FetchResponse_PartitionData parts[2];
    struct buf with = {0}, without = {0}, filled = {0};
    struct kp_hole_at holes[2];
    size_t count, at = 0;

    memset(data, 7, sizeof data);
    fill_fetch_response(&m, &topic, parts, (struct bytes){data, 300}, (struct bytes){data, 20});
    buf_add(&with, "head", 4);
    ck_assert_int_eq(kp_encode(&kp_FetchResponse_schema, (int16_t)_i, &m, &with, NULL), ERR_OK);
    fill_fetch_response(&m, &topic, parts, (struct bytes){kp_hole, 300},
                        (struct bytes){kp_hole, 20});
    buf_add(&without, "head", 4);
    ck_assert_int_eq(kp_encode_holes(&kp_FetchResponse_schema, (int16_t)_i, &m, &without, holes, 2,
                                     &count, NULL),
                     ERR_OK);
    ck_assert_int_eq((int)count, 2);
    for (size_t i = 0; i < count; i++) {
        buf_add(&filled, without.p + at, holes[i].at - at);
        buf_add(&filled, data, (size_t)holes[i].len);
        at = holes[i].at;
    }
    buf_add(&filled, without.p + at, without.len - at);
    assert_same_bytes("FetchResponse", _i, of_buf(&with), of_buf(&filled));

    size_t len = without.len;
    ck_assert_int_eq(kp_encode_holes(&kp_FetchResponse_schema, (int16_t)_i, &m, &without, holes, 1,
                                     &count, NULL),
                     ERR_LIMIT);
    ck_assert_int_eq((int)count, 0);
    ck_assert_int_eq((int)without.len, (int)len);
    buf_fini(&with);
    buf_fini(&without);
    buf_fini(&filled);
}
END_TEST

START_TEST(stored_records_carry_their_version)
{
    uint8_t raw[64];
    struct bytes in =
        unhex("0001 0001 67 0001 74 00000002", raw); /* group g, topic t, partition 2 */
    struct kp_OffsetCommitKey key;
    struct arena a = {0};
    struct buf out = {0};
    int16_t version;

    ck_assert_int_eq(kp_record_decode(&kp_OffsetCommitKey_schema, in, &a, &version, &key, NULL),
                     ERR_OK);
    ck_assert_int_eq(version, 1);
    ck_assert(str_eq_z(key.group, "g"));
    ck_assert(str_eq_z(key.topic, "t"));
    ck_assert_int_eq(key.partition, 2);
    ck_assert_int_eq(kp_record_encode(&kp_OffsetCommitKey_schema, 1, &key, &out, NULL), ERR_OK);
    assert_same_bytes("OffsetCommitKey", 1, in, of_buf(&out));

    in = unhex("0001 0001 67 0001 74 00000002 ff", raw); /* with a byte behind it */
    ck_assert_int_eq(kp_record_decode(&kp_OffsetCommitKey_schema, in, &a, &version, &key, NULL),
                     ERR_OK);
    ck_assert_int_eq(key.partition, 2);

    in = unhex("0002 0001 67", raw); /* a group's key, not an offset's */
    ck_assert_int_eq(kp_record_decode(&kp_OffsetCommitKey_schema, in, &a, &version, &key, NULL),
                     ERR_UNSUPPORTED);
    ck_assert_int_eq(version, 2);
    in = unhex("00", raw);
    ck_assert_int_eq(kp_record_decode(&kp_OffsetCommitKey_schema, in, &a, &version, &key, NULL),
                     ERR_PROTOCOL);
    buf_fini(&out);
    arena_fini(&a);
}
END_TEST

START_TEST(a_commit_marker_is_as_kafka_writes_it)
{
    uint8_t raw[16];
    struct kp_ControlRecordKey key = {.type = 1}; /* commit */
    struct kp_EndTxnMarker value = {.coordinator_epoch = 5};
    struct buf out = {0};

    ck_assert_int_eq(kp_record_encode(&kp_ControlRecordKey_schema, 0, &key, &out, NULL), ERR_OK);
    assert_same_bytes("ControlRecordKey", 0, unhex("0000 0001", raw), of_buf(&out));
    out.len = 0;
    ck_assert_int_eq(kp_record_encode(&kp_EndTxnMarker_schema, 0, &value, &out, NULL), ERR_OK);
    assert_same_bytes("EndTxnMarker", 0, unhex("0000 00000005", raw), of_buf(&out));
    buf_fini(&out);
}
END_TEST

/* ---------------------------------------------------------------- headers and the table of APIs */

START_TEST(every_header_survives_a_round_trip)
{
    const struct kp_api *api = &kp_apis[_i];

    ck_assert_ptr_eq(kp_api_find(api->key), api);
    for (int16_t v = api->min_version; v <= api->max_version; v++) {
        struct buf b = {0};
        struct bytes body;
        struct kp_request_header h;
        int32_t id;

        kp_request_header_encode(api->key, v, 77, STR_LIT("client"), &b);
        buf_add(&b, "body", 4);
        ck_assert_int_eq(kp_request_header_decode(of_buf(&b), &h, &body, NULL), ERR_OK);
        ck_assert_int_eq(h.api_key, api->key);
        ck_assert_int_eq(h.api_version, v);
        ck_assert_int_eq(h.correlation_id, 77);
        bool no_client = api->key == KP_API_CONTROLLED_SHUTDOWN && v == 0;
        ck_assert(no_client ? h.client_id.len == -1 : str_eq_z(h.client_id, "client"));
        ck_assert(body.len == 4 && memcmp(body.p, "body", 4) == 0);
        for (int64_t n = 0; n < (int64_t)b.len - 4; n++)
            ck_assert_int_eq(kp_request_header_decode((struct bytes){b.p, n}, &h, &body, NULL),
                             ERR_PROTOCOL);

        b.len = 0;
        kp_response_header_encode(api->key, v, -5, &b);
        bool tags = v >= api->first_flexible && api->key != KP_API_API_VERSIONS;
        ck_assert_int_eq((int)b.len, tags ? 5 : 4);
        buf_add(&b, "body", 4);
        ck_assert_int_eq(kp_response_header_decode(api->key, v, of_buf(&b), &id, &body, NULL),
                         ERR_OK);
        ck_assert_int_eq(id, -5);
        ck_assert(body.len == 4 && memcmp(body.p, "body", 4) == 0);
        buf_fini(&b);
    }
}
END_TEST

START_TEST(a_header_of_an_unknown_api_or_version_still_gives_its_ids)
{
    uint8_t raw[64];
    struct kp_request_header h;
    struct bytes body;
    struct errtext why;

    ck_assert_int_eq(
        kp_request_header_decode(unhex("0012 0009 00000007 0001 63", raw), &h, &body, &why),
        ERR_UNSUPPORTED);
    ck_assert_int_eq(h.api_key, 18);
    ck_assert_int_eq(h.api_version, 9);
    ck_assert_int_eq(h.correlation_id, 7);
    ck_assert_int_eq(h.client_id.len, -1);
    ck_assert_int_eq(
        kp_request_header_decode(unhex("0034 0000 00000007 0001 63", raw), &h, &body, &why),
        ERR_UNSUPPORTED);
    ck_assert_int_eq(
        kp_request_header_decode(unhex("8000 0000 00000007 0001 63", raw), &h, &body, &why),
        ERR_UNSUPPORTED);
    ck_assert_int_eq(
        kp_request_header_decode(unhex("0003 ffff 00000007 0001 63", raw), &h, &body, &why),
        ERR_UNSUPPORTED);
}
END_TEST

START_TEST(the_table_of_apis_is_that_of_kafka_3_9)
{
    static const struct {
        int16_t key, max, flexible;
    } want[] = {
        {0, 11, 9}, {1, 17, 12}, {2, 9, 6},  {3, 12, 9},     {4, 7, 4},  {5, 4, 2},      {6, 8, 6},
        {7, 3, 3},  {8, 9, 8},   {9, 9, 6},  {10, 6, 3},     {11, 9, 6}, {12, 4, 4},     {13, 5, 4},
        {14, 5, 4}, {15, 5, 5},  {16, 5, 3}, {17, 1, 32767}, {18, 4, 3}, {19, 7, 5},     {20, 6, 4},
        {21, 2, 2}, {22, 5, 2},  {23, 4, 4}, {24, 5, 3},     {25, 4, 3}, {26, 4, 3},     {27, 1, 1},
        {28, 4, 3}, {29, 3, 2},  {30, 3, 2}, {31, 3, 2},     {32, 4, 4}, {33, 2, 2},     {34, 2, 2},
        {35, 4, 2}, {36, 2, 2},  {37, 3, 2}, {38, 3, 2},     {39, 2, 2}, {40, 2, 2},     {41, 3, 2},
        {42, 2, 2}, {43, 2, 2},  {44, 1, 1}, {45, 0, 0},     {46, 0, 0}, {47, 0, 32767}, {48, 1, 1},
        {49, 1, 1}, {50, 0, 0},  {51, 0, 0}, {56, 3, 0},     {57, 1, 0}, {58, 0, 0},     {60, 1, 0},
        {61, 0, 0}, {65, 0, 0},  {66, 1, 0}, {67, 0, 0},     {68, 0, 0}, {69, 0, 0},
    };

    ck_assert_int_eq((int)kp_api_count, (int)ARRAY_LEN(want));
    for (size_t i = 0; i < kp_api_count; i++) {
        ck_assert_int_eq(kp_apis[i].key, want[i].key);
        ck_assert_int_eq(kp_apis[i].min_version, 0);
        ck_assert_int_eq(kp_apis[i].max_version, want[i].max);
        ck_assert_int_eq(kp_apis[i].first_flexible, want[i].flexible);
    }
    ck_assert_ptr_null(kp_api_find(52));
    ck_assert_ptr_null(kp_api_find(-1));
    ck_assert_ptr_null(kp_api_find(32767));
}
END_TEST

START_TEST(messages_print_as_json)
{
    struct kp_MetadataRequest_MetadataRequestTopic topic;
    struct kp_MetadataRequest m;
    struct buf b = {0};

    kp_defaults(&kp_MetadataRequest_schema, &m);
    kp_defaults(&kp_MetadataRequest_MetadataRequestTopic_schema, &topic);
    topic.name = STR_LIT("a\"\n\xc3\xa9\xff");
    m.topics = &topic;
    m.topics_count = 1;
    kp_print(&kp_MetadataRequest_schema, 12, &m, &b);
    ck_assert_str_eq(buf_cstr(&b), "{\"topics\":[{\"topicId\":\"AAAAAAAAAAAAAAAAAAAAAA\","
                                   "\"name\":\"a\\\"\\n\xc3\xa9\xef\xbf\xbd\"}],"
                                   "\"allowAutoTopicCreation\":true,"
                                   "\"includeTopicAuthorizedOperations\":false}");
    b.len = 0;
    m.topics_count = -1;
    kp_print(&kp_MetadataRequest_schema, 1, &m, &b);
    ck_assert_str_eq(buf_cstr(&b), "{\"topics\":null}");
    buf_fini(&b);
}
END_TEST

static Suite *codec_suite(void)
{
    Suite *s = suite_create("codec");
    TCase *hand = tcase_create("bytes");
    TCase *all = tcase_create("every message");
    int messages = (int)kp_schema_count;

    tcase_add_test(hand, the_table_of_apis_is_that_of_kafka_3_9);
    tcase_add_test(hand, api_versions_request_v3_is_as_the_documentation_shows);
    tcase_add_test(hand, fetch_request_v4_has_the_old_encodings);
    tcase_add_test(hand, tagged_fields_are_written_by_tag_with_their_sizes);
    tcase_add_test(hand, unknown_tagged_fields_are_skipped);
    tcase_add_loop_test(hand, broken_tag_sections_are_refused, 0, (int)ARRAY_LEN(bad_heartbeats));
    tcase_add_loop_test(hand, impossible_lengths_are_refused_before_memory_is_taken, 0,
                        (int)ARRAY_LEN(bad_metadata));
    tcase_add_test(hand, the_limit_of_the_arena_holds);
    tcase_add_test(hand, null_and_empty_arrays_differ);
    tcase_add_test(hand, what_a_version_cannot_say_is_an_error);
    tcase_add_test(hand, a_string_above_32767_bytes_is_refused);
    tcase_add_test(hand, a_nullable_struct_is_kept_by_pointer);
    tcase_add_loop_test(hand, what_kafka_takes_is_taken, 0, (int)ARRAY_LEN(odd_metadata));
    tcase_add_loop_test(hand, the_size_of_a_known_tagged_field_is_not_looked_at, 0, 2);
    tcase_add_loop_test(hand, holes_are_where_the_records_belong, 0, 18);
    tcase_add_test(hand, stored_records_carry_their_version);
    tcase_add_test(hand, a_commit_marker_is_as_kafka_writes_it);
    tcase_add_loop_test(hand, every_header_survives_a_round_trip, 0, (int)kp_api_count);
    tcase_add_test(hand, a_header_of_an_unknown_api_or_version_still_gives_its_ids);
    tcase_add_test(hand, messages_print_as_json);
    suite_add_tcase(s, hand);

    tcase_set_timeout(all, 60);
    tcase_add_loop_test(all, every_message_of_every_version_survives_a_round_trip, 0, messages);
    tcase_add_loop_test(all, a_message_cut_off_at_any_byte_is_refused, 0, messages);
    tcase_add_loop_test(all, damaged_bytes_are_refused_or_read_as_another_valid_message, 0,
                        messages);
    tcase_add_loop_test(all, versions_outside_the_range_are_unsupported, 0, messages);
    suite_add_tcase(s, all);
    return s;
}

int main(void)
{
    SRunner *r = srunner_create(codec_suite());
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
