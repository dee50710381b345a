/* SPDX-License-Identifier: Apache-2.0 */
/* Compact JSON, escaped as Kafka's own writer (Jackson) does it. */
#include "common/base/json_writer.h"

/* ---- strings */

/* The length of the UTF-8 character at p, 0 if it is not one. */
static size_t utf8_len(const uint8_t *p, size_t left)
{
    size_t n = p[0] < 0x80 ? 1 : p[0] >= 0xf0 ? 4 : p[0] >= 0xe0 ? 3 : 2;

    if (n == 1)
        return 1;
    if (p[0] < 0xc2 || p[0] > 0xf4 || n > left)
        return 0;
    for (size_t i = 1; i < n; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) ||
        (p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] > 0x8f))
        return 0; /* overlong, surrogate, beyond U+10FFFF */
    return n;
}

static void add_character(struct buf *out, const uint8_t *p, size_t n)
{
    static const char shorts[] = "\b\t\n\f\r", letters[] = "btnfr";
    const char *s = *p == 0 ? NULL : strchr(shorts, *p);

    if (n == 0)
        buf_add(out, "\xef\xbf\xbd", 3);
    else if (*p == '"' || *p == '\\')
        buf_printf(out, "\\%c", *p);
    else if (s != NULL)
        buf_printf(out, "\\%c", letters[s - shorts]);
    else if (*p < ' ')
        buf_printf(out, "\\u%04X", *p);
    else
        buf_add(out, p, n);
}

void json_write_quoted(struct buf *out, struct str text)
{
    const uint8_t *p = (const uint8_t *)text.p;
    size_t left = text.len < 0 ? 0 : (size_t)text.len;

    buf_add(out, "\"", 1);
    while (left > 0) {
        size_t n = utf8_len(p, left), taken = n == 0 ? 1 : n;
        add_character(out, p, n);
        p += taken;
        left -= taken;
    }
    buf_add(out, "\"", 1);
}

/* ---- structure */

struct json_writer json_write_to(struct buf *out)
{
    ASSERT(out != NULL);
    return (struct json_writer){.out = out};
}

void json_write_done(const struct json_writer *w)
{
    ASSERT(w->depth == 0 && w->has_item);
}

/* A comma where one belongs, and the name. */
static void begin_item(struct json_writer *w, const char *key)
{
    bool is_in_object = w->depth > 0 && (w->objects >> w->depth & 1) != 0;

    ASSERT(w->depth >= 0 && w->depth <= JSON_DEPTH_MAX);
    ASSERT((key != NULL) == is_in_object);
    ASSERT(w->depth > 0 || !w->has_item); /* one text has one value */
    if (w->has_item)
        buf_add(w->out, ",", 1);
    w->has_item = true;
    if (key != NULL) {
        json_write_quoted(w->out, str_of(key));
        buf_add(w->out, ":", 1);
    }
}

static void open_level(struct json_writer *w, const char *key, bool is_object)
{
    begin_item(w, key);
    ASSERT(w->depth < JSON_DEPTH_MAX);
    w->depth++;
    w->objects &= ~(UINT32_C(1) << w->depth);
    w->objects |= (uint32_t)is_object << w->depth;
    w->has_item = false;
    buf_add(w->out, is_object ? "{" : "[", 1);
}

void json_write_object(struct json_writer *w, const char *key)
{
    open_level(w, key, true);
}

void json_write_array(struct json_writer *w, const char *key)
{
    open_level(w, key, false);
}

void json_write_end(struct json_writer *w)
{
    ASSERT(w->depth > 0);
    buf_add(w->out, (w->objects >> w->depth & 1) != 0 ? "}" : "]", 1);
    w->depth--;
    w->has_item = true;
}

/* ---- values */

void json_write_raw(struct json_writer *w, const char *key)
{
    begin_item(w, key);
}

void json_write_str(struct json_writer *w, const char *key, struct str text)
{
    if (text.len < 0) {
        json_write_null(w, key);
        return;
    }
    begin_item(w, key);
    json_write_quoted(w->out, text);
}

void json_write_text(struct json_writer *w, const char *key, const char *text)
{
    json_write_str(w, key, text == NULL ? STR_NULL : str_of(text));
}

void json_write_int(struct json_writer *w, const char *key, int64_t n)
{
    begin_item(w, key);
    buf_printf(w->out, "%" PRId64, n);
}

void json_write_int_text(struct json_writer *w, const char *key, int64_t n)
{
    begin_item(w, key);
    buf_printf(w->out, "\"%" PRId64 "\"", n);
}

void json_write_bool(struct json_writer *w, const char *key, bool b)
{
    begin_item(w, key);
    buf_printf(w->out, "%s", b ? "true" : "false");
}

void json_write_null(struct json_writer *w, const char *key)
{
    begin_item(w, key);
    buf_add(w->out, "null", 4);
}

void json_write_ints(struct json_writer *w, const char *key, const int32_t *n, int32_t count)
{
    ASSERT(count >= 0);
    json_write_array(w, key);
    for (int32_t i = 0; i < count; i++)
        json_write_int(w, NULL, n[i]);
    json_write_end(w);
}
