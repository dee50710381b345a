/* SPDX-License-Identifier: Apache-2.0 */
/* One pass over the text: a logical line is unescaped into one buffer, with the end of its key
 * remembered. */
#include "common/base/props.h"

#include "common/base/fsx.h"

#include <strings.h>

struct scan {
    const char *p, *end;
    int line;
};

void props_fini(struct props *p)
{
    for (size_t i = 0; i < p->count; i++) {
        mem_free(p->list[i].key);
        mem_free(p->list[i].value);
    }
    mem_free(p->list);
    *p = (struct props){0};
}

const struct prop *props_find(const struct props *p, const char *key)
{
    for (size_t i = 0; i < p->count; i++)
        if (strcmp(p->list[i].key, key) == 0)
            return &p->list[i];
    return NULL;
}

const char *props_get(const struct props *p, const char *key, const char *otherwise)
{
    const struct prop *found = props_find(p, key);

    return found == NULL ? otherwise : found->value;
}

enum err props_bool(const struct props *p, const char *key, bool otherwise, bool *out,
                    struct errtext *why)
{
    const char *v = props_get(p, key, otherwise ? "true" : "false");

    *out = strcasecmp(v, "true") == 0;
    if (*out || strcasecmp(v, "false") == 0)
        return ERR_OK;
    *out = otherwise;
    errtext_set(why, "%s is true or false, not '%s'", key, v);
    return ERR_INVALID;
}

enum err props_add_pair(struct props *p, const char *pair, struct errtext *why)
{
    const char *equals = strchr(pair, '=');

    if (equals == NULL || equals == pair) {
        errtext_set(why, "'%s' is not of the form key=value", pair);
        return ERR_INVALID;
    }
    char *key = xstrndup(pair, (size_t)(equals - pair));
    props_set(p, key, equals + 1, 0);
    mem_free(key);
    return ERR_OK;
}

void props_set(struct props *p, const char *key, const char *value, int line)
{
    for (size_t i = 0; i < p->count; i++) {
        struct prop *q = &p->list[i];
        if (strcmp(q->key, key) != 0)
            continue;
        mem_free(q->value);
        q->value = xstrdup(value);
        q->line = line;
        return;
    }
    if (p->count == p->cap) {
        p->cap = p->cap == 0 ? 32 : p->cap * 2;
        p->list = xrealloc(p->list, p->cap * sizeof p->list[0]);
    }
    p->list[p->count++] = (struct prop){xstrdup(key), xstrdup(value), line};
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\f';
}

static void skip_blanks(struct scan *s)
{
    while (s->p < s->end && is_blank(*s->p))
        s->p++;
}

/* At a line end: steps over it (\n, \r or \r\n). False: not at one. */
static bool skip_line_end(struct scan *s)
{
    if (s->p == s->end || (*s->p != '\n' && *s->p != '\r'))
        return false;
    bool is_cr = *s->p++ == '\r';
    if (is_cr && s->p < s->end && *s->p == '\n')
        s->p++;
    s->line++;
    return true;
}

static void skip_comment(struct scan *s)
{
    while (s->p < s->end && *s->p != '\n' && *s->p != '\r')
        s->p++;
}

static void add_utf8(struct buf *out, unsigned c)
{
    uint8_t b[3];

    if (c < 0x80) {
        b[0] = (uint8_t)c;
        buf_add(out, b, 1);
    } else if (c < 0x800) {
        b[0] = (uint8_t)(0xc0 | c >> 6);
        b[1] = (uint8_t)(0x80 | (c & 0x3f));
        buf_add(out, b, 2);
    } else {
        b[0] = (uint8_t)(0xe0 | c >> 12);
        b[1] = (uint8_t)(0x80 | (c >> 6 & 0x3f));
        b[2] = (uint8_t)(0x80 | (c & 0x3f));
        buf_add(out, b, 3);
    }
}

static bool unescape_unicode(struct scan *s, struct buf *out)
{
    unsigned c = 0;

    if (s->end - s->p < 4)
        return false;
    for (int i = 0; i < 4; i++) {
        char d = *s->p++;
        unsigned v = d >= '0' && d <= '9'   ? (unsigned)(d - '0')
                     : d >= 'a' && d <= 'f' ? (unsigned)(d - 'a') + 10
                     : d >= 'A' && d <= 'F' ? (unsigned)(d - 'A') + 10
                                            : 16;
        if (v == 16)
            return false;
        c = c << 4 | v;
    }
    if (c == 0 || (c >= 0xd800 && c < 0xe000)) /* halves of pairs have no meaning in our options */
        return false;
    add_utf8(out, c);
    return true;
}

/* After a backslash. False: a bad escape. A continued line adds nothing. */
static bool unescape(struct scan *s, struct buf *out)
{
    if (s->p == s->end)
        return true;
    if (skip_line_end(s)) {
        skip_blanks(s);
        return true;
    }
    char c = *s->p++;
    switch (c) {
    case 'u':
        return unescape_unicode(s, out);
    case 't':
        c = '\t';
        break;
    case 'n':
        c = '\n';
        break;
    case 'r':
        c = '\r';
        break;
    case 'f':
        c = '\f';
        break;
    default:
        break;
    }
    buf_add(out, &c, 1);
    return true;
}

/* Unescapes up to the line's end, or, for a key, up to its separator. */
static const char *take(struct scan *s, struct buf *out, bool is_key)
{
    while (s->p < s->end && *s->p != '\n' && *s->p != '\r') {
        char c = *s->p;
        if (is_key && (c == '=' || c == ':' || is_blank(c)))
            return NULL;
        s->p++;
        if (c == 0)
            return "a zero byte";
        if (c != '\\')
            buf_add(out, &c, 1);
        else if (!unescape(s, out))
            return "a bad \\u escape";
    }
    return NULL;
}

static void skip_separator(struct scan *s)
{
    skip_blanks(s);
    if (s->p < s->end && (*s->p == '=' || *s->p == ':')) {
        s->p++;
        skip_blanks(s);
    }
}

enum err props_parse(struct props *p, struct str text, struct errtext *why)
{
    struct scan s = {text.p, text.p + text.len, 1};
    struct buf key = {0}, value = {0};
    enum err rc = ERR_OK;

    while (rc == ERR_OK && s.p < s.end) {
        int line = s.line;
        skip_blanks(&s);
        if (s.p < s.end && (*s.p == '#' || *s.p == '!'))
            skip_comment(&s);
        if (s.p == s.end || skip_line_end(&s))
            continue;
        key.len = value.len = 0;
        const char *fault = take(&s, &key, true);
        skip_separator(&s);
        if (fault == NULL)
            fault = take(&s, &value, false);
        if (fault == NULL && key.len == 0)
            fault = "no key before the separator";
        if (fault == NULL) {
            props_set(p, buf_cstr(&key), buf_cstr(&value), line);
            (void)skip_line_end(&s);
            continue;
        }
        errtext_set(why, "line %d: %s", s.line, fault);
        rc = ERR_INVALID;
    }
    buf_fini(&key);
    buf_fini(&value);
    return rc;
}

enum err props_read_file(struct props *p, const char *path, struct errtext *why)
{
    struct buf text = {0};
    enum err rc = fsx_read_file(path, PROPS_FILE_MAX_BYTES, &text);

    if (rc != ERR_OK)
        errtext_set(why, "%s", err_reason(rc));
    else
        rc = props_parse(p, (struct str){(const char *)text.p, (int32_t)text.len}, why);
    if (rc != ERR_OK)
        errtext_wrap(why, "%s", path);
    buf_fini(&text);
    return rc;
}
