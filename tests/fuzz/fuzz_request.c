/* SPDX-License-Identifier: Apache-2.0 */
/* Fuzz target: bytes of a peer as a request frame, and its body as the response of the same
 * version. What decodes must encode, decode again and be equal. Configured with --enable-fuzz it is
 * a libFuzzer program: fuzz_request -dict=.. tests/fuzz/corpus/request; otherwise it replays the
 * corpus, the golden frames and seeded mutations of them, or the files named as arguments. */
#include "common/protocol/messages.h"
#include "common/protocol/schema.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MESSAGE_BYTES_MAX = 1024, ARENA_BYTES_MAX = 16 << 20 };

static void check_message(const struct kp_schema *s, int16_t version, struct bytes body)
{
    /* where the members of struct kp_* may stand */
    _Alignas(16) uint8_t first[MESSAGE_BYTES_MAX], second[MESSAGE_BYTES_MAX];
    struct arena a = {.limit = ARENA_BYTES_MAX};
    struct buf out = {0}, again = {0}, text = {0};
    struct errtext why = {""};
    size_t used;

    ASSERT(s->size <= MESSAGE_BYTES_MAX);
    enum err rc = kp_decode_prefix(s, version, body, &a, first, &used, &why);
    if (rc == ERR_OK) {
        ASSERT((int64_t)used <= body.len);
        MUST(kp_encode(s, version, first, &out, &why) == ERR_OK);
        MUST(kp_decode(s, version, (struct bytes){out.p, (int64_t)out.len}, &a, second, &why) ==
             ERR_OK);
        ASSERT(kp_equal(s, version, first, second));
        MUST(kp_encode(s, version, second, &again, &why) == ERR_OK);
        ASSERT(out.len == again.len && (out.len == 0 || memcmp(out.p, again.p, out.len) == 0));
        kp_print(s, version, second, &text);
    } else {
        ASSERT(rc == ERR_PROTOCOL || rc == ERR_NO_MEMORY);
        ASSERT(why.text[0] != 0);
    }
    buf_fini(&out);
    buf_fini(&again);
    buf_fini(&text);
    arena_fini(&a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct kp_request_header h;
    struct bytes body;
    struct errtext why = {""};
    enum err rc = kp_request_header_decode((struct bytes){data, (int64_t)size}, &h, &body, &why);

    if (rc != ERR_OK) {
        ASSERT(rc == ERR_PROTOCOL || rc == ERR_UNSUPPORTED);
        return 0;
    }
    const struct kp_api *api = kp_api_find(h.api_key);
    ASSERT(api != NULL && h.api_version <= api->max_version);
    check_message(api->request, h.api_version, body);
    check_message(api->response, h.api_version, body);
    /* any other message, stored records too, chosen by the correlation id */
    uint32_t any = (uint32_t)h.correlation_id;
    const struct kp_schema *s = kp_schemas[any % kp_schema_count];
    uint32_t versions = (uint32_t)(s->max_version - s->min_version) + 1;
    check_message(s, (int16_t)(s->min_version + (int)(any / kp_schema_count % versions)), body);
    return 0;
}

#ifndef FUZZ_LIBFUZZER
#include "tests/fuzz/replay.h"
#include "tests/golden/frames.h"

enum { MUTATIONS = 200000 };

/* A golden response becomes a request frame with its body behind a header of that version. */
static void add_frame(struct replay *r, const struct frame *f)
{
    struct buf b = {0};
    struct bytes body;
    struct errtext why;
    int32_t id;

    if (f->is_request) {
        replay_add(r, f->bytes.p, (size_t)f->bytes.len);
        return;
    }
    MUST(kp_response_header_decode(f->key, f->version, f->bytes, &id, &body, &why) == ERR_OK);
    kp_request_header_encode(f->key, f->version, id, STR_LIT(""), &b);
    buf_add(&b, body.p, (size_t)body.len);
    replay_add(r, b.p, b.len);
    buf_fini(&b);
}

int main(int argc, char **argv)
{
    struct replay r = {0};
    struct frame *frames;
    size_t count;

    for (int i = 1; i < argc; i++)
        if (!replay_add_file(&r, argv[i]))
            return EXIT_FAILURE;
    if (argc > 1)
        return replay_run(&r, 0, 0);
    if (!replay_add_folder(&r, FUZZ_DIR "/corpus/request") ||
        !frames_read(GOLDEN_DIR "/frames.txt", &frames, &count))
        return EXIT_FAILURE;
    for (size_t i = 0; i < count; i++)
        add_frame(&r, &frames[i]);
    frames_free(frames, count);
    return replay_run(&r, 1, MUTATIONS);
}
#endif
