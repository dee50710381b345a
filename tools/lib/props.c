/* SPDX-License-Identifier: Apache-2.0 */
/* Properties files as java.util.Properties reads them: comments with # or !, a backslash at the end
 * of a line continues it, key and value are parted by '=', ':' or blanks. */
#include "tools/lib/props.h"

#include "common/base/fsx.h"

#include <strings.h>

enum { PROPS_FILE_MAX = 4 * 1024 * 1024 };

void props_fini(struct props *p)
{
    for (size_t i = 0; i < p->count; i++) {
        mem_free(p->items[i].key);
        mem_free(p->items[i].value);
    }
    FREE_NULL(&p->items);
    p->count = 0;
}

static struct prop *find(const struct props *p, const char *key)
{
    for (size_t i = 0; i < p->count; i++)
        if (strcmp(p->items[i].key, key) == 0)
            return &p->items[i];
    return NULL;
}

void props_set(struct props *p, const char *key, const char *value)
{
    struct prop *found = find(p, key);

    if (found != NULL) {
        mem_free(found->value);
        found->value = xstrdup(value);
        return;
    }
    p->items = xrealloc(p->items, (p->count + 1) * sizeof *p->items);
    p->items[p->count++] = (struct prop){xstrdup(key), xstrdup(value)};
}

const char *props_get(const struct props *p, const char *key, const char *otherwise)
{
    const struct prop *found = find(p, key);

    return found == NULL ? otherwise : found->value;
}

enum err props_add_pair(struct props *p, const char *pair, struct errtext *why)
{
    const char *equals = strchr(pair, '=');
    char *key;

    if (equals == NULL || equals == pair) {
        errtext_set(why, "'%s' is not of the form key=value", pair);
        return ERR_INVALID;
    }
    key = xstrndup(pair, (size_t)(equals - pair));
    props_set(p, key, equals + 1);
    mem_free(key);
    return ERR_OK;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\f';
}

/* One character behind a backslash. */
static char unescape(char c)
{
    switch (c) {
    case 't':
        return '\t';
    case 'n':
        return '\n';
    case 'r':
        return '\r';
    case 'f':
        return '\f';
    default:
        return c;
    }
}

/* Appends the next logical line to out (continued lines joined, escapes kept); false at the end. */
static bool next_line(const char **at, const char *end, struct buf *out)
{
    out->len = 0;
    if (*at >= end)
        return false;
    for (;;) {
        const char *p = *at;
        const char *stop = memchr(p, '\n', (size_t)(end - p));
        const char *line_end = stop == NULL ? end : stop;
        size_t backslashes = 0;

        *at = stop == NULL ? end : stop + 1;
        while (p < line_end && is_blank(*p))
            p++;
        if (line_end > p && line_end[-1] == '\r')
            line_end--;
        if (out->len == 0 && p < line_end && (*p == '#' || *p == '!'))
            return true;
        while (line_end - backslashes > p && line_end[-1 - (ptrdiff_t)backslashes] == '\\')
            backslashes++;
        if (backslashes % 2 == 0 || *at >= end) {
            buf_add(out, p, (size_t)(line_end - p) - backslashes % 2);
            return true;
        }
        buf_add(out, p, (size_t)(line_end - p) - 1);
    }
}

static void parse_line(struct props *p, const char *line, size_t len)
{
    struct buf key = {0}, value = {0};
    size_t i = 0;

    for (; i < len && line[i] != '=' && line[i] != ':' && !is_blank(line[i]); i++) {
        char c = line[i];

        if (c == '\\' && i + 1 < len)
            c = unescape(line[++i]);
        buf_add(&key, &c, 1);
    }
    while (i < len && is_blank(line[i]))
        i++;
    if (i < len && (line[i] == '=' || line[i] == ':'))
        i++;
    while (i < len && is_blank(line[i]))
        i++;
    for (; i < len; i++) {
        char c = line[i];

        if (c == '\\' && i + 1 < len)
            c = unescape(line[++i]);
        buf_add(&value, &c, 1);
    }
    /* blanks at the end are never meant (Java would keep them) */
    while (value.len > 0 && is_blank((char)value.p[value.len - 1]))
        value.len--;
    props_set(p, buf_cstr(&key), buf_cstr(&value));
    buf_fini(&key);
    buf_fini(&value);
}

enum err props_parse(struct props *p, const char *text, size_t len, const char *origin,
                     struct errtext *why)
{
    const char *at = text;
    struct buf line = {0};
    enum err rc = ERR_OK;

    if (memchr(text, '\0', len) != NULL) {
        errtext_set(why, "%s is not a properties file: it has zero bytes", origin);
        return ERR_INVALID;
    }
    while (next_line(&at, text + len, &line))
        if (line.len > 0)
            parse_line(p, (const char *)line.p, line.len);
    buf_fini(&line);
    return rc;
}

enum err props_load(struct props *p, const char *path, struct errtext *why)
{
    struct buf text = {0};
    enum err rc = fsx_read_file(path, PROPS_FILE_MAX, &text);

    if (rc != ERR_OK)
        errtext_set(why, "properties file %s: %s", path, err_reason(rc));
    else if (text.len > 0)
        rc = props_parse(p, (const char *)text.p, text.len, path, why);
    buf_fini(&text);
    return rc;
}

enum err props_bool(const struct props *p, const char *key, bool otherwise, bool *out,
                    struct errtext *why)
{
    const char *v = props_get(p, key, NULL);

    *out = otherwise;
    if (v == NULL)
        return ERR_OK;
    if (strcasecmp(v, "true") == 0) {
        *out = true;
        return ERR_OK;
    }
    if (strcasecmp(v, "false") == 0) {
        *out = false;
        return ERR_OK;
    }
    errtext_set(why, "%s is true or false, not '%s'", key, v);
    return ERR_INVALID;
}
