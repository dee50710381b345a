/* SPDX-License-Identifier: Apache-2.0 */
/* Frames of real clients and brokers (tests/golden): decoded, encoded again to the same bytes, and
 * cut off at every byte. Both files are read as one list, the newest clients' requests behind. */
#include "common/protocol/messages.h"
#include "tests/golden/frames.h"

#include <check.h>
#include <stdlib.h>

static struct frame *frames;
static size_t frame_count;
static size_t old_count;    /* of these, in front: the frames of frames.txt */
static struct frame *newer; /* requests of a version that Kafka 3.9 does not have */
static size_t newer_count;

static const struct kp_schema *schema_of(const struct frame *f)
{
    const struct kp_api *api = kp_api_find(f->key);
    ck_assert_ptr_nonnull(api);
    return f->is_request ? api->request : api->response;
}

/* The body of the frame; its header, encoded again, goes to header_out. */
static struct bytes strip_header(const struct frame *f, struct buf *header_out)
{
    struct kp_request_header h;
    struct bytes body;
    struct errtext why = {""};
    int32_t id;

    if (f->is_request) {
        ck_assert_msg(kp_request_header_decode(f->bytes, &h, &body, &why) == ERR_OK, "%s",
                      why.text);
        ck_assert_int_eq(h.api_key, f->key);
        ck_assert_int_eq(h.api_version, f->version);
        kp_request_header_encode(h.api_key, h.api_version, h.correlation_id, h.client_id,
                                 header_out);
    } else {
        ck_assert_msg(kp_response_header_decode(f->key, f->version, f->bytes, &id, &body, &why) ==
                          ERR_OK,
                      "%s", why.text);
        kp_response_header_encode(f->key, f->version, id, header_out);
    }
    return body;
}

/* How many bytes of the frame's body its message takes; the others are left behind. */
static size_t used_by(const struct frame *f, struct bytes body)
{
    struct arena a = {0};
    struct errtext why = {""};
    void *msg = malloc(64 * 1024);
    size_t used = 0;

    ck_assert_msg(kp_decode_prefix(schema_of(f), f->version, body, &a, msg, &used, &why) == ERR_OK,
                  "line %d: %s", f->line, why.text);
    free(msg);
    arena_fini(&a);
    return used;
}

static void check_round_trip(const struct frame *f)
{
    const struct kp_schema *s = schema_of(f);
    struct arena a = {0};
    struct buf out = {0};
    struct errtext why = {""};
    void *msg = malloc(64 * 1024);

    struct bytes body = strip_header(f, &out);
    ck_assert_msg(kp_decode(s, f->version, body, &a, msg, &why) == ERR_OK, "line %d: %s", f->line,
                  why.text);
    ck_assert_msg(kp_encode(s, f->version, msg, &out, &why) == ERR_OK, "line %d: %s", f->line,
                  why.text);
    size_t left = (size_t)body.len - used_by(f, body);
    ck_assert_msg(out.len + left == (size_t)f->bytes.len && memcmp(out.p, f->bytes.p, out.len) == 0,
                  "line %d: key %d version %d differs", f->line, f->key, f->version);
    free(msg);
    buf_fini(&out);
    arena_fini(&a);
}

START_TEST(frames_are_decoded_and_encoded_to_the_same_bytes)
{
    for (size_t i = 0; i < frame_count; i++)
        check_round_trip(&frames[i]);
}
END_TEST

static void check_cut(const struct frame *f)
{
    const struct kp_schema *s = schema_of(f);
    struct buf header = {0};
    struct bytes body = strip_header(f, &header);
    void *msg = malloc(64 * 1024);
    int64_t used = (int64_t)used_by(f, body);

    for (int64_t n = 0; n < used; n++) {
        struct arena a = {.limit = 1 << 20};
        uint8_t *cut = malloc((size_t)n + 1);
        uint8_t *at = cut + 1; /* ends where the allocation ends */
        memcpy(at, body.p, (size_t)n);
        ck_assert_msg(kp_decode(s, f->version, (struct bytes){at, n}, &a, msg, NULL) ==
                          ERR_PROTOCOL,
                      "line %d cut to %d bytes", f->line, (int)n);
        free(cut);
        arena_fini(&a);
    }
    free(msg);
    buf_fini(&header);
}

START_TEST(frames_cut_off_at_any_byte_are_refused)
{
    for (size_t i = 0; i < frame_count; i++)
        check_cut(&frames[i]);
}
END_TEST

static void check_print(const struct frame *f)
{
    const struct kp_schema *s = schema_of(f);
    struct arena a = {0};
    struct buf header = {0}, text = {0};
    struct bytes body = strip_header(f, &header);
    void *msg = malloc(64 * 1024);

    ck_assert_int_eq(kp_decode(s, f->version, body, &a, msg, NULL), ERR_OK);
    kp_print(s, f->version, msg, &text);
    ck_assert(text.len >= 2 && text.p[0] == '{' && text.p[text.len - 1] == '}');
    free(msg);
    buf_fini(&header);
    buf_fini(&text);
    arena_fini(&a);
}

START_TEST(frames_print_as_json)
{
    for (size_t i = 0; i < frame_count; i++)
        check_print(&frames[i]);
}
END_TEST

/* Java 4.4 and franz-go begin with a version of ApiVersions that Kafka 3.9 does not have, and go on
 * with the versions that the refusal lists. */
START_TEST(only_api_versions_is_asked_for_in_a_newer_version)
{
    for (size_t i = 0; i < newer_count; i++) {
        struct kp_request_header h;
        struct bytes body;
        struct errtext why = {""};
        ck_assert_int_eq(kp_request_header_decode(newer[i].bytes, &h, &body, &why),
                         ERR_UNSUPPORTED);
        ck_assert_str_eq(why.text, "ApiVersions has no version 5");
    }
    ck_assert_int_ge((int)newer_count, 2);
}
END_TEST

/* librdkafka 2.11 to 2.16 sends the count of a Metadata request for all topics as four bytes where
 * version 12 has one: what is meant for the flags stays behind, and Kafka ignores it. */
START_TEST(only_librdkafkas_metadata_request_leaves_bytes_behind)
{
    size_t found = 0;

    for (size_t i = 0; i < frame_count; i++) {
        const struct frame *f = &frames[i];
        struct buf header = {0};
        struct bytes body = strip_header(f, &header);
        size_t left = (size_t)body.len - used_by(f, body);
        buf_fini(&header);
        if (left == 0)
            continue;
        ck_assert_msg(i >= old_count && f->is_request && f->key == KP_API_METADATA &&
                          f->version == 12 && left == 3,
                      "line %d: %d bytes are left", f->line, (int)left);
        found++;
    }
    ck_assert_int_ge((int)found, 6); /* six clients are librdkafka inside */
}
END_TEST

START_TEST(nearly_every_api_is_among_the_frames)
{
    size_t have = 0;

    for (size_t i = 0; i < kp_api_count; i++) {
        bool requests = false, responses = false;
        for (size_t n = 0; n < frame_count; n++) {
            requests |= frames[n].key == kp_apis[i].key && frames[n].is_request;
            responses |= frames[n].key == kp_apis[i].key && !frames[n].is_request;
        }
        have += requests && responses;
    }
    ck_assert_int_ge((int)have + 2, (int)kp_api_count); /* lacks OffsetForLeaderEpoch, Envelope */
}
END_TEST

static bool frames_of_both(void)
{
    struct frame *newest;
    size_t newest_count;

    if (!frames_read(GOLDEN_DIR "/frames.txt", &frames, &old_count) ||
        !frames_read(GOLDEN_DIR "/newest.txt", &newest, &newest_count))
        return false;
    frame_count = old_count;
    frames = xrealloc(frames, (old_count + newest_count) * sizeof *frames);
    newer = xcalloc(newest_count, sizeof *newer);
    for (size_t i = 0; i < newest_count; i++) {
        const struct kp_api *api = kp_api_find(newest[i].key);
        if (api != NULL && newest[i].version > api->max_version)
            newer[newer_count++] = newest[i];
        else
            frames[frame_count++] = newest[i];
    }
    mem_free(newest);
    return true;
}

int main(void)
{
    if (!frames_of_both())
        return EXIT_FAILURE;
    Suite *s = suite_create("codec, real frames");
    TCase *c = tcase_create("frames");
    tcase_add_test(c, nearly_every_api_is_among_the_frames);
    tcase_add_test(c, frames_are_decoded_and_encoded_to_the_same_bytes);
    tcase_add_test(c, frames_cut_off_at_any_byte_are_refused);
    tcase_add_test(c, frames_print_as_json);
    tcase_add_test(c, only_api_versions_is_asked_for_in_a_newer_version);
    tcase_add_test(c, only_librdkafkas_metadata_request_leaves_bytes_behind);
    tcase_set_timeout(c, 60);
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    frames_free(frames, frame_count);
    frames_free(newer, newer_count);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
