/* SPDX-License-Identifier: Apache-2.0 */
/* Options: numbers are parsed strictly (the whole text), booleans are true or false in any case. */
#include "common/base/optab.h"

#include <ctype.h>
#include <errno.h>
#include <float.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

enum { NAME_MAX_BYTES = 96, NEAR_MAX = 5 };

const char *option_type_name(enum option_type t)
{
    switch (t) {
    case OPTION_BOOL:
        return "boolean";
    case OPTION_STRING:
        return "string";
    case OPTION_INT:
        return "int";
    case OPTION_SHORT:
        return "short";
    case OPTION_LONG:
        return "long";
    case OPTION_DOUBLE:
        return "double";
    case OPTION_LIST:
        return "list";
    case OPTION_CLASS:
        return "class";
    case OPTION_PASSWORD:
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

/* Text without the blanks around it. */
static struct str trim(struct str s)
{
    while (s.len > 0 && isspace((unsigned char)s.p[0])) {
        s.p++;
        s.len--;
    }
    while (s.len > 0 && isspace((unsigned char)s.p[s.len - 1]))
        s.len--;
    return s;
}

static struct str trimmed(const char *text)
{
    return trim(str_of(text));
}

void optab_did_you_mean(const struct optab *t, const char *name, char *out, size_t out_size)
{
    const struct option *near = optab_nearest(t, name);

    out[0] = 0;
    if (near != NULL)
        (void)snprintf(out, out_size, " (did you mean %s?)", near->name);
}

/* What a form allows, for people. NULL: no form of its own. */
static const char *form_text(const struct option *o)
{
    switch (o->flags & FORM_MASK) {
    case FORM_NOT_EMPTY:
        return "not empty";
    case FORM_VERSION:
        return "a version of Kafka, such as 2.8 or 3.9-IV0";
    case FORM_REPLICAS:
        return "partition:broker,partition:broker,... or * for all";
    case FORM_HOST_COUNTS:
        return "host:number,host:number,...";
    default:
        return NULL;
    }
}

static void allowed_whole(const struct option *o, char *out, size_t out_size)
{
    int64_t least = o->type == OPTION_INT     ? INT32_MIN
                    : o->type == OPTION_SHORT ? INT16_MIN
                                              : INT64_MIN;
    int64_t most = o->type == OPTION_INT     ? INT32_MAX
                   : o->type == OPTION_SHORT ? INT16_MAX
                                             : INT64_MAX;
    const char *but = (o->flags & FORM_MASK) == FORM_NOT_ZERO ? " but not 0" : "";

    if (o->min == least && o->max == most)
        (void)snprintf(out, out_size, "a whole number%s", but);
    else if (o->max == most)
        (void)snprintf(out, out_size, "a whole number from %" PRId64 " on%s", o->min, but);
    else
        (void)snprintf(out, out_size, "a whole number from %" PRId64 " to %" PRId64 "%s", o->min,
                       o->max, but);
}

void option_allowed(const struct option *o, char *out, size_t out_size)
{
    out[0] = 0;
    if (form_text(o) != NULL)
        (void)snprintf(out, out_size, "%s", form_text(o));
    else if (o->choices != NULL)
        (void)snprintf(out, out_size, "%s %s", o->type == OPTION_LIST ? "some of" : "one of",
                       o->choices);
    else if (o->type == OPTION_BOOL)
        (void)snprintf(out, out_size, "true or false");
    else if (o->type == OPTION_INT || o->type == OPTION_SHORT || o->type == OPTION_LONG)
        allowed_whole(o, out, out_size);
    else if (o->type == OPTION_DOUBLE && o->high < DBL_MAX)
        (void)snprintf(out, out_size, "a number from %g to %g", o->low, o->high);
    else if (o->type == OPTION_DOUBLE)
        (void)snprintf(out, out_size, "a number");
}

bool option_is_default(const struct option *o, const char *text)
{
    struct str s = trimmed(text), d = trimmed(o->default_text == NULL ? "" : o->default_text);

    if (s.len == 0 || (s.len == d.len && memcmp(s.p, d.p, (size_t)s.len) == 0))
        return true;
    return o->type == OPTION_BOOL && s.len == d.len && strncasecmp(s.p, d.p, (size_t)s.len) == 0;
}

const char *option_state(const struct option *o)
{
    return (o->flags & OPTION_STOPS) != 0     ? "stops the start"
           : (o->flags & OPTION_NOT_YET) != 0 ? "no effect yet"
           : (o->flags & OPTION_IGNORED) != 0 ? "no meaning here"
                                              : "works";
}

bool option_has_effect(const struct option *o)
{
    return (o->flags & (OPTION_STOPS | OPTION_NOT_YET | OPTION_IGNORED)) == 0;
}

static enum err not_allowed(const struct option *o, const char *text, struct errtext *why)
{
    char allowed[256];

    option_allowed(o, allowed, sizeof allowed);
    errtext_set(why, "%s=%s is not allowed: it must be %s", o->name,
                o->type == OPTION_PASSWORD ? "..." : text, allowed);
    return ERR_INVALID;
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
    if (strpbrk(digits, "nNiI") != NULL) /* nan, inf */
        return false;
    *out = strtod(digits, &end);
    /* what is too large is infinite, as in Java; DBL_MAX is no bound */
    return *end == 0 && (*out >= o->low || o->low <= -DBL_MAX) &&
           (*out <= o->high || o->high >= DBL_MAX);
}

/* The choice that s is, as it is spelled in the table. NULL p: none. */
static struct str find_choice(const struct option *o, struct str s)
{
    const char *choices = o->choices;
    bool any_case = (o->flags & OPTION_ANY_CASE) != 0;

    while (choices != NULL) {
        const char *bar = strchr(choices, '|');
        size_t n = bar == NULL ? strlen(choices) : (size_t)(bar - choices);
        if ((size_t)s.len == n &&
            (any_case ? strncasecmp(choices, s.p, n) == 0 : memcmp(choices, s.p, n) == 0))
            return (struct str){choices, s.len};
        choices = bar == NULL ? NULL : bar + 1;
    }
    return STR_NULL;
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

/* Every item, the empty one between two commas too, is one of the choices. */
static bool are_choices(const struct option *o, struct str s)
{
    const char *end = s.p + s.len;

    for (const char *p = s.p; s.len > 0; p++) {
        const char *comma = memchr(p, ',', (size_t)(end - p));
        struct str item = {p, (int32_t)((comma == NULL ? end : comma) - p)};
        if (find_choice(o, trim(item)).p == NULL)
            return false;
        if (comma == NULL)
            return true;
        p = comma;
    }
    return true;
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
    case OPTION_BOOL:
        is_fine = parse_bool(s, &v->b);
        break;
    case OPTION_INT:
    case OPTION_SHORT:
    case OPTION_LONG:
        is_fine = parse_number(s, o, &v->i);
        break;
    case OPTION_DOUBLE:
        is_fine = parse_double(s, o, &v->d);
        break;
    case OPTION_LIST:
        is_fine = o->choices == NULL || are_choices(o, s);
        break;
    case OPTION_STRING:
    case OPTION_CLASS:
    case OPTION_PASSWORD:
        is_fine = o->choices == NULL || find_choice(o, s).p != NULL;
        break;
    }
    is_fine = is_fine && option_form_fits(o->flags, s);
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
    case OPTION_BOOL:
        memcpy(field, &v->b, sizeof v->b);
        break;
    case OPTION_INT: {
        int32_t i = (int32_t)v->i;
        memcpy(field, &i, sizeof i);
        break;
    }
    case OPTION_SHORT: {
        int16_t i = (int16_t)v->i;
        memcpy(field, &i, sizeof i);
        break;
    }
    case OPTION_LONG:
        memcpy(field, &v->i, sizeof v->i);
        break;
    case OPTION_DOUBLE:
        memcpy(field, &v->d, sizeof v->d);
        break;
    case OPTION_LIST:
    case OPTION_STRING:
    case OPTION_CLASS:
    case OPTION_PASSWORD:
        UNREACHABLE();
    }
}

static void store_text(const struct option *o, void *field, const char *text)
{
    if (o->type == OPTION_LIST) {
        struct optab_list *l = field;
        optab_list_fini(l);
        optab_list_parse(text, l);
        return;
    }
    char **s = field;
    mem_free(*s);
    *s = text == NULL         ? NULL
         : o->choices != NULL ? str_dup(find_choice(o, trimmed(text)))
                              : str_dup(trimmed(text));
}

enum err optab_set(const struct option *o, void *object, const char *text, struct errtext *why)
{
    void *field = (char *)object + o->offset;
    bool is_text = o->type == OPTION_LIST || o->type == OPTION_STRING || o->type == OPTION_CLASS ||
                   o->type == OPTION_PASSWORD;
    union value v = {0};

    if (text == NULL && !is_text) { /* "not given" is the type's minimum */
        v.i = o->type == OPTION_INT ? INT32_MIN : o->type == OPTION_SHORT ? INT16_MIN : INT64_MIN;
        if (o->type == OPTION_BOOL || o->type == OPTION_DOUBLE)
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
        if (o->type == OPTION_LIST || o->type == OPTION_STRING || o->type == OPTION_CLASS ||
            o->type == OPTION_PASSWORD)
            store_text(o, (char *)object + o->offset, NULL);
    }
}

static const char *default_shown(const struct option *o)
{
    return o->default_text == NULL ? "none" : o->default_text[0] == 0 ? "empty" : o->default_text;
}

static const char *change_shown(const struct option *o)
{
    return (o->flags & OPTION_DYNAMIC) == 0 || !option_has_effect(o)
               ? ""
               : "; can be changed while running";
}

void optab_help(const struct optab *t, struct buf *out)
{
    for (size_t i = 0; i < t->count; i++) {
        const struct option *o = &t->rows[i];
        char allowed[256];
        option_allowed(o, allowed, sizeof allowed);
        buf_printf(out, "%s\n    %s.\n    %s, default %s%s%s\n    %s%s%s%s\n", o->name, o->help,
                   option_type_name(o->type), default_shown(o), allowed[0] == 0 ? "" : "; ",
                   allowed, option_state(o), o->why == NULL ? "" : ": ",
                   o->why == NULL ? "" : o->why, change_shown(o));
    }
}

/* Text for a cell: what would end it is escaped. */
static void add_cell(struct buf *out, const char *text)
{
    for (; *text != 0; text++)
        buf_printf(out, *text == '|' ? "\\%c" : "%c", *text);
    buf_printf(out, " | ");
}

void optab_markdown(const struct optab *t, struct buf *out)
{
    buf_printf(out, "| option | type | default | allowed | what it does | effect |\n"
                    "|---|---|---|---|---|---|\n");
    for (size_t i = 0; i < t->count; i++) {
        const struct option *o = &t->rows[i];
        char allowed[256];
        option_allowed(o, allowed, sizeof allowed);
        buf_printf(out, "| `%s` | %s | ", o->name, option_type_name(o->type));
        add_cell(out, default_shown(o));
        add_cell(out, allowed);
        add_cell(out, o->help);
        buf_printf(out, "%s%s%s%s%s |\n", option_has_effect(o) ? "" : "**", option_state(o),
                   option_has_effect(o) ? "" : "**: ", o->why == NULL ? "" : o->why,
                   change_shown(o));
    }
}
