/* SPDX-License-Identifier: Apache-2.0 */
/* Options: numbers are parsed strictly (the whole text), booleans are true or false in any case. */
#include "common/base/optab.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

enum { NAME_MAX_BYTES = 96, NEAR_MAX = 5 };

const char *option_type_name(enum option_type t)
{
    switch (t) {
    case OPT_BOOL:
        return "boolean";
    case OPT_STRING:
        return "string";
    case OPT_INT:
        return "int";
    case OPT_SHORT:
        return "short";
    case OPT_LONG:
        return "long";
    case OPT_DOUBLE:
        return "double";
    case OPT_LIST:
        return "list";
    case OPT_CLASS:
        return "class";
    case OPT_PASSWORD:
        return "password";
    }
    UNREACHABLE();
}

const struct option *optab_find(const struct optab *t, struct str name)
{
    for (size_t i = 0; i < t->count; i++)
        if (str_eq_z(name, t->rows[i].name))
            return &t->rows[i];
    return NULL;
}

/* Edits (one character added, dropped or changed) that lead from a to b; both cut at
 * NAME_MAX_BYTES. */
static size_t distance(const char *a, const char *b)
{
    size_t row[NAME_MAX_BYTES + 1], m = strnlen(a, NAME_MAX_BYTES), n = strnlen(b, NAME_MAX_BYTES);

    for (size_t j = 0; j <= n; j++)
        row[j] = j;
    for (size_t i = 1; i <= m; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= n; j++) {
            size_t change = diagonal + (a[i - 1] != b[j - 1]);
            diagonal = row[j];
            row[j] = size_min(change, size_min(row[j], row[j - 1]) + 1);
        }
    }
    return row[n];
}

const struct option *optab_nearest(const struct optab *t, const char *name)
{
    const struct option *best = NULL;
    size_t best_distance = size_min(NEAR_MAX, strlen(name) / 3 + 1) + 1;

    for (size_t i = 0; i < t->count; i++) {
        size_t d = distance(name, t->rows[i].name);
        if (d < best_distance) {
            best_distance = d;
            best = &t->rows[i];
        }
    }
    return best;
}

void option_allowed(const struct option *o, char *out, size_t out_size)
{
    out[0] = 0;
    if (o->choices != NULL)
        (void)snprintf(out, out_size, "one of %s", o->choices);
    else if (o->type == OPT_BOOL)
        (void)snprintf(out, out_size, "true or false");
    else if (o->type == OPT_INT || o->type == OPT_SHORT || o->type == OPT_LONG)
        (void)snprintf(out, out_size, "a whole number from %" PRId64 " to %" PRId64, o->min,
                       o->max);
    else if (o->type == OPT_DOUBLE)
        (void)snprintf(out, out_size, "a number from %g to %g", (double)o->min / 1000,
                       (double)o->max / 1000);
}

static enum err not_allowed(const struct option *o, const char *text, struct errtext *why)
{
    char allowed[256];

    option_allowed(o, allowed, sizeof allowed);
    errtext_set(why, "%s=%s is not allowed: it must be %s", o->name, text, allowed);
    return ERR_INVALID;
}

/* Text without the blanks around it. */
static struct str trimmed(const char *text)
{
    struct str s = str_of(text);

    while (s.len > 0 && isspace((unsigned char)s.p[0])) {
        s.p++;
        s.len--;
    }
    while (s.len > 0 && isspace((unsigned char)s.p[s.len - 1]))
        s.len--;
    return s;
}

static bool parse_bool(struct str s, bool *out)
{
    *out = s.len == 4 && strncasecmp(s.p, "true", 4) == 0;
    return *out || (s.len == 5 && strncasecmp(s.p, "false", 5) == 0);
}

static bool parse_number(struct str s, const struct option *o, int64_t *out)
{
    char digits[32], *end;

    if (s.len <= 0 || (size_t)s.len >= sizeof digits ||
        !(isdigit((unsigned char)s.p[0]) || s.p[0] == '-' || s.p[0] == '+'))
        return false;
    memcpy(digits, s.p, (size_t)s.len);
    digits[s.len] = 0;
    errno = 0;
    *out = strtoll(digits, &end, 10);
    return errno == 0 && *end == 0 && end != digits && *out >= o->min && *out <= o->max;
}

static bool parse_double(struct str s, const struct option *o, double *out)
{
    char digits[64], *end;

    if (s.len <= 0 || (size_t)s.len >= sizeof digits || isalpha((unsigned char)s.p[0]))
        return false;
    memcpy(digits, s.p, (size_t)s.len);
    digits[s.len] = 0;
    errno = 0;
    *out = strtod(digits, &end);
    return errno == 0 && *end == 0 && *out >= (double)o->min / 1000 &&
           (o->max == INT64_MAX || *out <= (double)o->max / 1000);
}

/* The choice that s is in any case of letters, as it is spelled in the table. NULL p: none. */
static struct str find_choice(const char *choices, struct str s)
{
    while (choices != NULL) {
        const char *bar = strchr(choices, '|');
        size_t n = bar == NULL ? strlen(choices) : (size_t)(bar - choices);
        if ((size_t)s.len == n && strncasecmp(choices, s.p, n) == 0)
            return (struct str){choices, s.len};
        choices = bar == NULL ? NULL : bar + 1;
    }
    return STR_NULL;
}

static bool is_exact_choice(const char *choices, const char *item)
{
    return str_eq_z(find_choice(choices, str_of(item)), item);
}

void optab_list_parse(const char *text, struct optab_list *out)
{
    *out = (struct optab_list){0};
    while (text != NULL && *text != 0) {
        const char *comma = strchrnul(text, ',');
        char *item = xstrndup(text, (size_t)(comma - text));
        struct str s = trimmed(item);
        if (s.len > 0) {
            out->items = xrealloc(out->items, ((size_t)out->count + 1) * sizeof out->items[0]);
            out->items[out->count++] = str_dup(s);
        }
        mem_free(item);
        text = *comma == 0 ? comma : comma + 1;
    }
}

void optab_list_fini(struct optab_list *l)
{
    for (int32_t i = 0; i < l->count; i++)
        mem_free(l->items[i]);
    mem_free(l->items);
    *l = (struct optab_list){0};
}

static enum err check_list(const struct option *o, const char *text, struct errtext *why)
{
    struct optab_list l;
    enum err rc = ERR_OK;

    optab_list_parse(text, &l);
    for (int32_t i = 0; i < l.count && rc == ERR_OK; i++)
        if (o->choices != NULL && !is_exact_choice(o->choices, l.items[i]))
            rc = not_allowed(o, text, why);
    optab_list_fini(&l);
    return rc;
}

union value {
    bool b;
    int64_t i;
    double d;
};

static enum err parse(const struct option *o, const char *text, union value *v, struct errtext *why)
{
    struct str s = trimmed(text);
    bool is_fine = true;

    switch (o->type) {
    case OPT_BOOL:
        is_fine = parse_bool(s, &v->b);
        break;
    case OPT_INT:
    case OPT_SHORT:
    case OPT_LONG:
        is_fine = parse_number(s, o, &v->i);
        break;
    case OPT_DOUBLE:
        is_fine = parse_double(s, o, &v->d);
        break;
    case OPT_LIST:
        return check_list(o, text, why);
    case OPT_STRING:
    case OPT_CLASS:
    case OPT_PASSWORD:
        is_fine = o->choices == NULL || find_choice(o->choices, s).p != NULL;
        break;
    }
    return is_fine ? ERR_OK : not_allowed(o, text, why);
}

enum err optab_check(const struct option *o, const char *text, struct errtext *why)
{
    union value v;

    return parse(o, text, &v, why);
}

static void store(const struct option *o, void *field, const union value *v)
{
    switch (o->type) {
    case OPT_BOOL:
        memcpy(field, &v->b, sizeof v->b);
        break;
    case OPT_INT: {
        int32_t i = (int32_t)v->i;
        memcpy(field, &i, sizeof i);
        break;
    }
    case OPT_SHORT: {
        int16_t i = (int16_t)v->i;
        memcpy(field, &i, sizeof i);
        break;
    }
    case OPT_LONG:
        memcpy(field, &v->i, sizeof v->i);
        break;
    case OPT_DOUBLE:
        memcpy(field, &v->d, sizeof v->d);
        break;
    case OPT_LIST:
    case OPT_STRING:
    case OPT_CLASS:
    case OPT_PASSWORD:
        UNREACHABLE();
    }
}

static void store_text(const struct option *o, void *field, const char *text)
{
    if (o->type == OPT_LIST) {
        struct optab_list *l = field;
        optab_list_fini(l);
        optab_list_parse(text, l);
        return;
    }
    char **s = field;
    mem_free(*s);
    *s = text == NULL              ? NULL
         : o->type == OPT_PASSWORD ? xstrdup(text)
         : o->choices != NULL      ? str_dup(find_choice(o->choices, trimmed(text)))
                                   : str_dup(trimmed(text));
}

enum err optab_set(const struct option *o, void *object, const char *text, struct errtext *why)
{
    void *field = (char *)object + o->offset;
    bool is_text = o->type == OPT_LIST || o->type == OPT_STRING || o->type == OPT_CLASS ||
                   o->type == OPT_PASSWORD;
    union value v = {0};

    if (text == NULL && !is_text) { /* "not given" is the type's minimum */
        v.i = o->type == OPT_INT ? INT32_MIN : o->type == OPT_SHORT ? INT16_MIN : INT64_MIN;
        if (o->type == OPT_BOOL || o->type == OPT_DOUBLE)
            v.i = 0;
    } else if (text != NULL) {
        enum err rc = parse(o, text, &v, why);
        if (rc != ERR_OK)
            return rc;
    }
    if (is_text)
        store_text(o, field, text);
    else
        store(o, field, &v);
    return ERR_OK;
}

void optab_defaults(const struct optab *t, void *object)
{
    for (size_t i = 0; i < t->count; i++)
        MUST(optab_set(&t->rows[i], object, t->rows[i].default_text, NULL) == ERR_OK);
}

void optab_fini(const struct optab *t, void *object)
{
    for (size_t i = 0; i < t->count; i++) {
        const struct option *o = &t->rows[i];
        if (o->type == OPT_LIST || o->type == OPT_STRING || o->type == OPT_CLASS ||
            o->type == OPT_PASSWORD)
            store_text(o, (char *)object + o->offset, NULL);
    }
}

void optab_help(const struct optab *t, struct buf *out)
{
    for (size_t i = 0; i < t->count; i++) {
        const struct option *o = &t->rows[i];
        char allowed[256];
        if ((o->flags & (OPTION_IGNORED | OPTION_OLD_NAME)) != 0)
            continue;
        option_allowed(o, allowed, sizeof allowed);
        buf_printf(out, "%s\n    %s.\n    %s, default %s%s%s%s%s\n", o->name, o->help,
                   option_type_name(o->type),
                   o->default_text == NULL   ? "none"
                   : o->default_text[0] == 0 ? "empty"
                                             : o->default_text,
                   allowed[0] == 0 ? "" : "; ", allowed,
                   (o->flags & OPTION_DYNAMIC) != 0 ? "; can be changed while running" : "",
                   (o->flags & OPTION_NOT_YET) != 0 ? "; not yet in effect" : "");
    }
}

/* Text for a cell: what would end it is escaped. */
static void add_cell(struct buf *out, const char *text)
{
    for (; *text != 0; text++)
        buf_printf(out, *text == '|' ? "\\%c" : "%c", *text);
}

void optab_markdown(const struct optab *t, struct buf *out)
{
    buf_printf(out,
               "| option | type | default | allowed | what it does |\n|---|---|---|---|---|\n");
    for (size_t i = 0; i < t->count; i++) {
        const struct option *o = &t->rows[i];
        char allowed[256];
        if ((o->flags & OPTION_IGNORED) != 0)
            continue;
        option_allowed(o, allowed, sizeof allowed);
        buf_printf(out, "| `%s` | %s | %s | ", o->name, option_type_name(o->type),
                   o->default_text == NULL   ? "none"
                   : o->default_text[0] == 0 ? "empty"
                                             : o->default_text);
        add_cell(out, allowed);
        buf_printf(out, " | ");
        add_cell(out, o->help);
        buf_printf(out, "%s%s |\n",
                   (o->flags & OPTION_NOT_YET) != 0 ? ". **Not yet in effect**" : "",
                   (o->flags & (OPTION_DYNAMIC | OPTION_NOT_YET)) == OPTION_DYNAMIC
                       ? ". Can be changed while running"
                       : "");
    }
}
