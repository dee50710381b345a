/* SPDX-License-Identifier: Apache-2.0 */
/* codec - encodes and decodes every message of the protocol from tables that the generator makes of
 * the *.kmsg files.
 *
 * A message X has struct kp_X (union of the fields of all versions, snake_case names) and a table
 * kp_X_schema. Strings are struct str, bytes and records struct bytes, both pointing into the
 * input; arrays are pointer + <name>_count (-1 null) in the arena. Fields that a version lacks get
 * their default. A nested struct of type T has struct kp_X_T and kp_X_T_schema; one that may be
 * null is kept by pointer. Any thread; no state. The structs are in messages.h, made at build time.
 */
#ifndef COMMON_PROTOCOL_CODEC_H
#define COMMON_PROTOCOL_CODEC_H

#include "common/base/base.h"
#include "common/base/uuid.h"

struct kp_schema; /* generated tables; see codec.c */

/* Decodes the message at the start of in. out: struct kp_X, fully set. Counts and lengths are
 * checked against the bytes that are left before anything is allocated. Bytes after the message
 * are ignored, as Kafka does, with a debug line: librdkafka 2.15 sends some. PROTOCOL with text:
 * not a valid message; NO_MEMORY: the arena's limit. */
NODISCARD enum err kp_decode(const struct kp_schema *s, int16_t version, struct bytes in,
                             struct arena *a, void *out, struct errtext *why);
/* As kp_decode, but tells what it read: used_out bytes. For headers and embedded messages, after
 * which something may follow. */
NODISCARD enum err kp_decode_prefix(const struct kp_schema *s, int16_t version, struct bytes in,
                                    struct arena *a, void *out, size_t *used_out,
                                    struct errtext *why);
size_t kp_size(const struct kp_schema *s); /* of struct kp_X */
/* Sets every field to its default. Callers build messages by kp_defaults and then the fields they
 * mean. */
void kp_defaults(const struct kp_schema *s, void *msg);
/* Appends the encoding to out. A field that the version lacks is left out if it is ignorable or has
 * its default. UNSUPPORTED with text: some other field is set that the version has no place for, or
 * is null where the version wants a value. TOO_LARGE: a string above 32767 bytes. On error out is
 * as before. Tagged fields with their default are not written. */
NODISCARD enum err kp_encode(const struct kp_schema *s, int16_t version, const void *msg,
                             struct buf *out, struct errtext *why);

/* Records that are not in memory: a records field with p == kp_hole gets only its length written;
 * holes_out receives, in order, the position in out where the len bytes belong. */
extern const uint8_t kp_hole[1];
struct kp_hole_at {
    size_t at; /* offset in out */
    int64_t len;
};
NODISCARD enum err kp_encode_holes(const struct kp_schema *s, int16_t version, const void *msg,
                                   struct buf *out, struct kp_hole_at *holes_out, size_t holes_max,
                                   size_t *hole_count_out, struct errtext *why);

/* What is kept in internal topics and inside other messages (the schemas of record.kmsg) carries
 * its version in front, as an int16. Errors as kp_decode and kp_encode; *version_out is -1 when
 * there is none. */
NODISCARD enum err kp_record_decode(const struct kp_schema *s, struct bytes in, struct arena *a,
                                    int16_t *version_out, void *out, struct errtext *why);
NODISCARD enum err kp_record_encode(const struct kp_schema *s, int16_t version, const void *msg,
                                    struct buf *out, struct errtext *why);

/* The APIs by key. NULL: no such key. min and max are what the codec knows; what the broker offers
 * is broker/api's table. */
struct kp_api {
    int16_t key;
    const char *name;
    int16_t min_version, max_version, first_flexible; /* first_flexible 32767: none */
    const struct kp_schema *request, *response;
};
const struct kp_api *kp_api_find(int16_t key);
extern const struct kp_api kp_apis[];
extern const size_t kp_api_count;

/* Headers. Request header version: 0 (ControlledShutdown v0), 1, or 2 when flexible; response 0 or
 * 1; ApiVersions responses always 0. Source: ApiMessageType. */
struct kp_request_header {
    int16_t api_key, api_version;
    int32_t correlation_id;
    struct str client_id;
};
/* Reads the header at the start of a frame (without its size field). body_out: what follows.
 * UNSUPPORTED: key or version not known to the codec (header fields before client_id are set even
 * then). */
NODISCARD enum err kp_request_header_decode(struct bytes frame, struct kp_request_header *h,
                                            struct bytes *body_out, struct errtext *why);
void kp_request_header_encode(int16_t api_key, int16_t version, int32_t correlation_id,
                              struct str client_id, struct buf *out);
void kp_response_header_encode(int16_t api_key, int16_t version, int32_t correlation_id,
                               struct buf *out);
NODISCARD enum err kp_response_header_decode(int16_t api_key, int16_t version, struct bytes frame,
                                             int32_t *correlation_id_out, struct bytes *body_out,
                                             struct errtext *why);

/* For tools, logs and tests. */
void kp_print(const struct kp_schema *s, int16_t version, const void *msg,
              struct buf *out); /* as JSON */
bool kp_equal(const struct kp_schema *s, int16_t version, const void *a, const void *b);
/* A random valid message of that version; rng state is the caller's. */
void kp_random(const struct kp_schema *s, int16_t version, uint64_t *rng, struct arena *a,
               void *out);

#endif
