/* SPDX-License-Identifier: Apache-2.0 */
/* Reading typed values out of untrusted JSON. */
#include "common/zk/zkdoc_json.h"

#include "common/zk/zkdoc.h"

/* The parser itself would go 2048 deep; brackets in strings do not count. */
static bool is_too_deep(struct bytes data)
{
    int depth = 0;
    bool in_string = false;

    for (int64_t i = 0; i < data.len; i++) {
        uint8_t ch = data.p[i];
        if (in_string) {
            i += ch == '\\'; /* whatever is escaped does not end the string */
            in_string = ch != '"';
        } else if (ch == '"') {
            in_string = true;
        } else if (ch == '{' || ch == '[') {
            if (++depth > ZKDOC_DEPTH_MAX)
                return true;
        } else if (ch == '}' || ch == ']') {
            depth--;
        }
    }
    return false;
}

void zkjson_bad(struct zkjson *j, const char *key, const char *problem)
{
    if (j->err != ERR_OK)
        return;
    j->err = ERR_CORRUPT;
    errtext_set(j->why, "\"%.100s\" %s", key, problem);
}

void zkjson_begin(struct zkjson *j, struct bytes data, struct arena *a, struct errtext *why)
{
    json_error_t e;

    *j = (struct zkjson){.err = ERR_CORRUPT, .why = why, .arena = a};
    if (data.p == NULL || data.len <= 0) {
        errtext_set(why, "there is no data");
        return;
    }
    if (data.len > ZKDOC_BYTES_MAX) {
        errtext_set(why, "%" PRId64 " bytes are more than the limit of %d", data.len,
                    ZKDOC_BYTES_MAX);
        return;
    }
    if (is_too_deep(data)) {
        errtext_set(why, "nested deeper than %d levels", ZKDOC_DEPTH_MAX);
        return;
    }
    j->root = json_loadb((const char *)data.p, (size_t)data.len, 0, &e);
    if (j->root == NULL)
        errtext_set(why, "not JSON: %s at byte %d", e.text, e.position);
    else if (!json_is_object(j->root))
        errtext_set(why, "not a JSON object");
    else
        j->err = ERR_OK;
}

enum err zkjson_end(struct zkjson *j)
{
    json_decref(j->root);
    j->root = NULL;
    return j->err;
}

void *zkjson_alloc(struct zkjson *j, int64_t count, size_t size)
{
    void *p = NULL;

    if (j->err == ERR_OK) {
        p = arena_alloc(j->arena, (size_t)count * size + 1);
        if (p == NULL) {
            j->err = ERR_NO_MEMORY;
            errtext_set(j->why, "over the memory limit of this request");
        }
    }
    return p;
}

static const json_t *member(struct zkjson *j, const json_t *in, const char *key)
{
    const json_t *v = j->err == ERR_OK && in != NULL ? json_object_get(in, key) : NULL;

    return json_is_null(v) ? NULL : v;
}

const json_t *zkjson_object(struct zkjson *j, const json_t *in, const char *key)
{
    const json_t *v = member(j, in, key);

    if (v == NULL || json_is_object(v))
        return v;
    zkjson_bad(j, key, "is not an object");
    return NULL;
}

const json_t *zkjson_array(struct zkjson *j, const json_t *in, const char *key)
{
    const json_t *v = member(j, in, key);

    if (v == NULL || json_is_array(v))
        return v;
    zkjson_bad(j, key, "is not an array");
    return NULL;
}

const char *zkjson_copy(struct zkjson *j, const json_t *string, const char *key)
{
    if (!json_is_string(string)) {
        zkjson_bad(j, key, "is not a string");
        return NULL;
    }
    size_t n = json_string_length(string);
    char *p = zkjson_alloc(j, (int64_t)n + 1, 1);
    if (p != NULL) {
        memcpy(p, json_string_value(string), n);
        p[n] = 0;
    }
    return p;
}

const char *zkjson_string(struct zkjson *j, const json_t *in, const char *key)
{
    const json_t *v = member(j, in, key);

    return v == NULL ? NULL : zkjson_copy(j, v, key);
}

bool zkjson_parse_int(const char *p, size_t n, int64_t min, int64_t max, int64_t *out)
{
    bool is_negative = n > 0 && p[0] == '-';
    size_t i = is_negative;
    int64_t v = 0;

    if (i == n || n > 20)
        return false;
    for (; i < n; i++)
        if (p[i] < '0' || p[i] > '9' || __builtin_mul_overflow(v, 10, &v) ||
            __builtin_sub_overflow(v, p[i] - '0', &v)) /* downwards: INT64_MIN has no positive */
            return false;
    if (!is_negative && __builtin_sub_overflow(0, v, &v))
        return false;
    *out = v;
    return v >= min && v <= max;
}

static int64_t int_of(struct zkjson *j, const json_t *v, const char *key, int64_t min, int64_t max)
{
    int64_t n = 0;

    if (json_is_string(v)) {
        if (!zkjson_parse_int(json_string_value(v), json_string_length(v), min, max, &n))
            zkjson_bad(j, key, "is not a number in its range");
    } else if (!json_is_integer(v)) {
        zkjson_bad(j, key, "is not a number");
    } else {
        n = json_integer_value(v);
        if (n < min || n > max)
            zkjson_bad(j, key, "is out of range");
    }
    return j->err == ERR_OK ? n : 0;
}

int64_t zkjson_int(struct zkjson *j, const json_t *in, const char *key, int64_t min, int64_t max,
                   int64_t missing)
{
    const json_t *v = member(j, in, key);

    return v == NULL ? missing : int_of(j, v, key, min, max);
}

int64_t zkjson_required_int(struct zkjson *j, const json_t *in, const char *key, int64_t min,
                            int64_t max)
{
    const json_t *v = member(j, in, key);

    if (v == NULL)
        zkjson_bad(j, key, "is missing");
    return v == NULL ? 0 : int_of(j, v, key, min, max);
}

const int32_t *zkjson_ids(struct zkjson *j, const json_t *array, const char *key, int32_t max,
                          int32_t *count_out)
{
    size_t n = json_array_size(array);

    *count_out = 0;
    if (j->err == ERR_OK && !json_is_array(array))
        zkjson_bad(j, key, "is not an array");
    if (j->err == ERR_OK && n > (size_t)max)
        zkjson_bad(j, key, "has too many elements");
    int32_t *ids = zkjson_alloc(j, (int64_t)n, sizeof *ids);
    if (ids == NULL)
        return NULL;
    for (size_t i = 0; i < n; i++) {
        const json_t *v = json_array_get(array, i);
        json_int_t id = json_integer_value(v);
        if (!json_is_integer(v) || id < -1 || id > INT32_MAX) {
            zkjson_bad(j, key, "holds something that is not a broker id");
            return NULL;
        }
        ids[i] = (int32_t)id;
    }
    *count_out = (int32_t)n;
    return ids;
}
