/* SPDX-License-Identifier: Apache-2.0 */
/* The order in a line is headers, key, value, as in Kafka. */
#include "tools/lib/line_reader.h"

static const char *const known[] = {
    "topic",         "parse.key",         "parse.headers",     "ignore.error",
    "key.separator", "headers.delimiter", "headers.separator", "headers.key.separator",
    "null.marker",
};

const char *line_format_unknown(const struct props *p)
{
    for (size_t i = 0; i < p->count; i++) {
        bool is_known = false;

        for (size_t k = 0; k < ARRAY_LEN(known) && !is_known; k++)
            is_known = strcmp(known[k], p->list[i].key) == 0;
        if (!is_known)
            return p->list[i].key;
    }
    return NULL;
}

static enum err separator(const struct props *p, const char *name, const char *otherwise,
                          const char **out, struct errtext *why)
{
    *out = props_get(p, name, otherwise);
    if (**out != '\0')
        return ERR_OK;
    errtext_set(why, "--property %s must not be empty", name);
    return ERR_INVALID;
}

enum err line_format_init(struct line_format *f, const struct props *p, struct errtext *why)
{
    enum err rc;

    *f = (struct line_format){.null_marker = props_get(p, "null.marker", NULL)};
    rc = props_bool(p, "parse.key", false, &f->parse_key, why);
    if (rc == ERR_OK)
        rc = props_bool(p, "parse.headers", false, &f->parse_headers, why);
    if (rc == ERR_OK)
        rc = props_bool(p, "ignore.error", false, &f->ignore_error, why);
    if (rc == ERR_OK)
        rc = separator(p, "key.separator", "\t", &f->key_separator, why);
    if (rc == ERR_OK)
        rc = separator(p, "headers.delimiter", "\t", &f->headers_delimiter, why);
    if (rc == ERR_OK)
        rc = separator(p, "headers.separator", ",", &f->headers_separator, why);
    if (rc == ERR_OK)
        rc = separator(p, "headers.key.separator", ":", &f->headers_key_separator, why);
    if (rc == ERR_OK && f->parse_headers &&
        strcmp(f->headers_delimiter, f->headers_separator) == 0) {
        errtext_set(why, "headers.delimiter and headers.separator may not be equal");
        rc = ERR_INVALID;
    }
    if (rc == ERR_OK && f->parse_headers &&
        strcmp(f->headers_separator, f->headers_key_separator) == 0) {
        errtext_set(why, "headers.separator and headers.key.separator may not be equal");
        rc = ERR_INVALID;
    }
    return rc;
}

/* The piece up to the separator; false: it is not there, nothing moved. */
static bool take_until(const char **at, const char *end, const char *sep, struct bytes *out)
{
    const char *found = memmem(*at, (size_t)(end - *at), sep, strlen(sep));

    if (found == NULL)
        return false;
    *out = (struct bytes){(const uint8_t *)*at, found - *at};
    *at = found + strlen(sep);
    return true;
}

static struct bytes or_null(const struct line_format *f, struct bytes b)
{
    size_t n = f->null_marker == NULL ? 0 : strlen(f->null_marker);

    if (f->null_marker != NULL && (size_t)b.len == n && memcmp(b.p, f->null_marker, n) == 0)
        return BYTES_NULL;
    return b;
}

static enum err parse_headers(const struct line_format *f, struct bytes text, int64_t line_number,
                              struct line_record *out, struct errtext *why)
{
    const char *at = (const char *)text.p, *end = at + text.len;

    while (at < end) {
        struct bytes pair, name;
        const char *p;

        if (!take_until(&at, end, f->headers_separator, &pair)) {
            pair = (struct bytes){(const uint8_t *)at, end - at};
            at = end;
        }
        p = (const char *)pair.p;
        if (out->header_count == LINE_HEADERS_MAX) {
            errtext_set(why, "More than %d headers on line number %" PRId64, LINE_HEADERS_MAX,
                        line_number);
            return ERR_INVALID;
        }
        if (!take_until(&p, (const char *)pair.p + pair.len, f->headers_key_separator, &name)) {
            if (!f->ignore_error) {
                errtext_set(why,
                            "No header key separator found in pair '%.*s' on line number %" PRId64,
                            (int)i64_min(pair.len, 200), (const char *)pair.p, line_number);
                return ERR_INVALID;
            }
            name = pair;
            out->headers[out->header_count++] =
                (struct line_header){{(const char *)name.p, (int32_t)name.len}, BYTES_NULL};
            continue;
        }
        out->headers[out->header_count++] = (struct line_header){
            {(const char *)name.p, (int32_t)name.len},
            or_null(f, (struct bytes){(const uint8_t *)p, (const char *)pair.p + pair.len - p})};
    }
    return ERR_OK;
}

enum err line_parse(const struct line_format *f, const char *line, size_t len, int64_t line_number,
                    struct line_record *out, struct errtext *why)
{
    const char *at = line, *end = line + len;
    struct bytes piece;
    enum err rc = ERR_OK;

    out->key = BYTES_NULL;
    out->header_count = 0;
    if (f->parse_headers) {
        if (take_until(&at, end, f->headers_delimiter, &piece)) {
            struct bytes headers = or_null(f, piece);

            if (headers.len > 0)
                rc = parse_headers(f, headers, line_number, out, why);
        } else if (!f->ignore_error) {
            errtext_set(why, "No headers delimiter found on line number %" PRId64 ": '%.*s'",
                        line_number, (int)size_min(len, 200), line);
            rc = ERR_INVALID;
        }
        if (rc != ERR_OK)
            return rc;
    }
    if (f->parse_key) {
        if (take_until(&at, end, f->key_separator, &piece)) {
            out->key = or_null(f, piece);
        } else if (!f->ignore_error) {
            errtext_set(why, "No key separator found on line number %" PRId64 ": '%.*s'",
                        line_number, (int)size_min(len, 200), line);
            return ERR_INVALID;
        }
    }
    out->value = or_null(f, (struct bytes){(const uint8_t *)at, end - at});
    return ERR_OK;
}
