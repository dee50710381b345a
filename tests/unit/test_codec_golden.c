/* SPDX-License-Identifier: Apache-2.0 */
/* Frames of real clients and brokers (tests/golden): decoded, encoded again to the same bytes, and
 * cut off at every byte. */
#include "common/protocol/messages.h"
#include "tests/golden/frames.h"

#include <check.h>
#include <stdlib.h>

static struct frame *frames;
static size_t frame_count;

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
    ck_assert_msg((int64_t)out.len == f->bytes.len && memcmp(out.p, f->bytes.p, out.len) == 0,
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

    for (int64_t n = 0; n < body.len; n++) {
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

int main(void)
{
    if (!frames_read(GOLDEN_DIR "/frames.txt", &frames, &frame_count))
        return EXIT_FAILURE;
    Suite *s = suite_create("codec, real frames");
    TCase *c = tcase_create("frames");
    tcase_add_test(c, nearly_every_api_is_among_the_frames);
    tcase_add_test(c, frames_are_decoded_and_encoded_to_the_same_bytes);
    tcase_add_test(c, frames_cut_off_at_any_byte_are_refused);
    tcase_add_test(c, frames_print_as_json);
    tcase_set_timeout(c, 60);
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    frames_free(frames, frame_count);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
