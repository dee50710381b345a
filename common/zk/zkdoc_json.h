/* SPDX-License-Identifier: Apache-2.0 */
/* zkdoc_json - reading typed values out of untrusted JSON, used by zkdoc only. Its writer is
 * common/base/json_writer.h. */
#ifndef COMMON_ZK_ZKDOC_JSON_H
#define COMMON_ZK_ZKDOC_JSON_H

#include "common/base/base.h"

#include <jansson.h>

/* A reader with a sticky error: the first problem is kept, everything after it reads as empty; look
 * at err once, at the end. */
struct zkjson {
    enum err err;
    struct errtext *why; /* may be NULL */
    struct arena *arena; /* NULL: nothing is allocated */
    json_t *root;
};

/* Parses data as one JSON object within the limits. Always followed by zkjson_end. */
void zkjson_begin(struct zkjson *j, struct bytes data, struct arena *a, struct errtext *why);
enum err zkjson_end(struct zkjson *j);
void zkjson_bad(struct zkjson *j, const char *key, const char *problem);
void *zkjson_alloc(struct zkjson *j, int64_t count, size_t size); /* NULL after an error */

/* NULL when missing or null; of another type: an error. */
const json_t *zkjson_object(struct zkjson *j, const json_t *in, const char *key);
const json_t *zkjson_array(struct zkjson *j, const json_t *in, const char *key);
const char *zkjson_string(struct zkjson *j, const json_t *in, const char *key); /* in the arena */
const char *zkjson_copy(struct zkjson *j, const json_t *string, const char *key);
/* A number, also as a string. Missing: the default, unless it is required. */
int64_t zkjson_int(struct zkjson *j, const json_t *in, const char *key, int64_t min, int64_t max,
                   int64_t missing);
int64_t zkjson_required_int(struct zkjson *j, const json_t *in, const char *key, int64_t min,
                            int64_t max);
/* An array of distinct or not broker ids, at most max. */
const int32_t *zkjson_ids(struct zkjson *j, const json_t *array, const char *key, int32_t max,
                          int32_t *count_out);
/* Text of only digits, with a sign. */
NODISCARD bool zkjson_parse_int(const char *p, size_t n, int64_t min, int64_t max, int64_t *out);

#endif
