/* SPDX-License-Identifier: Apache-2.0 */
/* Command lines: tables in, values or one clear line out. */
#include "tools/lib/opt.h"

#include "config.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>

enum { NEAREST_WORD_MAX = 64, HELP_COLUMN = 34, HELP_WIDTH = 96 };

bool opt_number(const char *text, int64_t min, int64_t max, int64_t *out)
{
    char *end = NULL;
    long long n;

    ASSERT(min <= max);
    if (text[0] == '\0' || text[0] == ' ')
        return false;
    errno = 0;
    n = strtoll(text, &end, 10);
    if (errno != 0 || *end != '\0' || n < min || n > max)
        return false;
    *out = n;
    return true;
}

/* How many letters must be put in, taken out, changed or swapped with their neighbour. */
static size_t edit_distance(const char *a, const char *b)
{
    size_t rows[3][NEAREST_WORD_MAX + 1];
    size_t la = strlen(a), lb = strlen(b);

    if (la > NEAREST_WORD_MAX || lb > NEAREST_WORD_MAX)
        return SIZE_MAX;
    for (size_t j = 0; j <= lb; j++)
        rows[0][j] = j;
    for (size_t i = 1; i <= la; i++) {
        size_t *now = rows[i % 3], *last = rows[(i - 1) % 3], *before = rows[(i + 1) % 3];

        now[0] = i;
        for (size_t j = 1; j <= lb; j++) {
            size_t d = last[j - 1] + (a[i - 1] != b[j - 1]);

            d = size_min(d, size_min(last[j], now[j - 1]) + 1);
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                d = size_min(d, before[j - 2] + 1);
            now[j] = d;
        }
    }
    return rows[la % 3][lb];
}

const char *opt_nearest(const char *word, const char *const *candidates, size_t count)
{
    const char *best = NULL;
    size_t best_distance = SIZE_MAX;

    for (size_t i = 0; i < count; i++) {
        size_t d = edit_distance(word, candidates[i]);

        /* a word that is the beginning of the other counts as near */
        if (d > 1 && strlen(word) >= 3 && strncmp(candidates[i], word, strlen(word)) == 0)
            d = 1;
        if (d < best_distance) {
            best_distance = d;
            best = candidates[i];
        }
    }
    return best_distance <= size_max(2, strlen(word) / 3) ? best : NULL;
}

static const struct opt_spec *find_spec(const struct opt_command *c, const char *name, size_t len,
                                        size_t *index_out)
{
    for (size_t i = 0; i < c->spec_count; i++) {
        if (strncmp(c->specs[i].name, name, len) == 0 && c->specs[i].name[len] == '\0') {
            *index_out = i;
            return &c->specs[i];
        }
    }
    return NULL;
}

static enum err unknown_option(const struct opt_command *c, const char *name, size_t len,
                               struct errtext *why)
{
    const char *names[OPT_SPECS_MAX];
    char *word = xstrndup(name, len);
    const char *near;

    for (size_t i = 0; i < c->spec_count; i++)
        names[i] = c->specs[i].name;
    near = opt_nearest(word, names, c->spec_count);
    if (near != NULL)
        errtext_set(why, "--%s is not a recognized option; did you mean --%s?", word, near);
    else
        errtext_set(why, "--%s is not a recognized option; --help lists them all", word);
    mem_free(word);
    return ERR_INVALID;
}

static enum err set_value(const struct opt_spec *s, struct opt_value *v, const char *text,
                          struct errtext *why)
{
    if (s->kind == OPT_COUNT && !opt_number(text, s->min, s->max, &v->number)) {
        errtext_set(why, "--%s takes a whole number from 1, not '%s'", s->name, text);
        return ERR_INVALID;
    }
    if (s->kind == OPT_INT && !opt_number(text, s->min, s->max, &v->number)) {
        bool has_max = s->max != INT64_MAX && s->max != INT32_MAX;

        if (s->min == INT64_MIN && !has_max)
            errtext_set(why, "--%s takes a whole number, not '%s'", s->name, text);
        else if (!has_max)
            errtext_set(why, "--%s takes a whole number from %" PRId64 ", not '%s'", s->name,
                        s->min, text);
        else
            errtext_set(why, "--%s takes a whole number from %" PRId64 " to %" PRId64 ", not '%s'",
                        s->name, s->min, s->max, text);
        return ERR_INVALID;
    }
    if (v->is_set && s->kind != OPT_LIST && s->kind != OPT_WORDS && s->kind != OPT_DEPRECATED &&
        strcmp(v->text == NULL ? "" : v->text, text) != 0) {
        errtext_set(why, "--%s is given twice, as '%s' and as '%s'; it takes one value", s->name,
                    v->text == NULL ? "" : v->text, text);
        return ERR_INVALID;
    }
    if (s->kind == OPT_LIST || s->kind == OPT_WORDS) {
        v->list = xrealloc(v->list, (v->list_count + 1) * sizeof *v->list);
        v->list[v->list_count++] = text;
    }
    v->is_set = true;
    v->text = text;
    return ERR_OK;
}

/* One "--name[=value]" at argv[*at]; moves *at past the words it used but the last. */
static enum err parse_option(struct opts *o, int argc, char **argv, int *at, struct errtext *why)
{
    const char *name = argv[*at] + 2;
    const char *equals = strchr(name, '=');
    size_t len = equals == NULL ? strlen(name) : (size_t)(equals - name);
    const struct opt_spec *s;
    const char *text = equals == NULL ? NULL : equals + 1;
    enum err rc;
    size_t i = 0;

    if (len == 4 && strncmp(name, "help", 4) == 0) {
        o->wants_help = true;
        return ERR_OK;
    }
    if (len == 7 && strncmp(name, "version", 7) == 0) {
        o->wants_version = true;
        return ERR_OK;
    }
    s = find_spec(o->command, name, len, &i);
    if (s == NULL)
        return unknown_option(o->command, name, len, why);
    if (s->kind == OPT_FLAG || s->kind == OPT_DEPRECATED_FLAG) {
        if (text != NULL) {
            errtext_set(why, "--%s takes no value, but was given '%s'", s->name, text);
            return ERR_INVALID;
        }
        o->values[i].is_set = true;
        return ERR_OK;
    }
    if (text == NULL && *at + 1 < argc && strncmp(argv[*at + 1], "--", 2) != 0 &&
        (s->kind != OPT_MAYBE || argv[*at + 1][0] != '-'))
        text = argv[++*at];
    if (text == NULL && s->kind == OPT_MAYBE) {
        o->values[i].is_set = true;
        return ERR_OK;
    }
    if (text == NULL) {
        errtext_set(why, "--%s needs a value: --%s <%s>", s->name, s->name,
                    s->value == NULL ? "value" : s->value);
        return ERR_INVALID;
    }
    rc = set_value(s, &o->values[i], text, why);
    while (rc == ERR_OK && s->kind == OPT_WORDS && *at + 1 < argc &&
           strncmp(argv[*at + 1], "--", 2) != 0)
        rc = set_value(s, &o->values[i], argv[++*at], why);
    return rc;
}

enum err opts_parse(struct opts *o, const struct opt_command *c, int argc, char **argv,
                    struct errtext *why)
{
    ASSERT(c->spec_count <= OPT_SPECS_MAX);
    *o = (struct opts){.command = c};
    for (int at = 1; at < argc; at++) {
        enum err rc = ERR_OK;

        if (strcmp(argv[at], "-h") == 0) {
            o->wants_help = true;
        } else if (strncmp(argv[at], "--", 2) == 0 && argv[at][2] != '\0') {
            rc = parse_option(o, argc, argv, &at, why);
        } else if (c->positional != NULL) {
            o->words = xrealloc(o->words, (o->word_count + 1) * sizeof *o->words);
            o->words[o->word_count++] = argv[at];
        } else {
            errtext_set(why, "'%s' is not expected here: options begin with --, --help lists them",
                        argv[at]);
            rc = ERR_INVALID;
        }
        if (o->wants_help)
            return ERR_OK;
        if (rc != ERR_OK)
            return rc;
    }
    return ERR_OK;
}

void opts_fini(struct opts *o)
{
    for (size_t i = 0; i < OPT_SPECS_MAX; i++)
        FREE_NULL(&o->values[i].list);
    FREE_NULL(&o->words);
}

/* Prints text from the help column on, broken at spaces. */
static void print_wrapped(FILE *to, int column, const char *text)
{
    int at = column;

    while (*text != '\0') {
        int len = (int)strcspn(text, " \n");

        if (at > HELP_COLUMN && at + 1 + len > HELP_WIDTH) {
            fprintf(to, "\n%*s", HELP_COLUMN, "");
            at = HELP_COLUMN;
        }
        if (at > HELP_COLUMN) {
            fputc(' ', to);
            at++;
        }
        fprintf(to, "%.*s", len, text);
        at += len;
        text += len;
        while (*text == ' ' || *text == '\n')
            text++;
    }
    fputc('\n', to);
}

static void print_spec(FILE *to, const struct opt_spec *s)
{
    int n;

    if (s->kind == OPT_DEPRECATED || s->kind == OPT_DEPRECATED_FLAG)
        return;
    if (s->kind == OPT_MAYBE)
        n = fprintf(to, "  --%s [%s]", s->name, s->value);
    else if (s->value != NULL)
        n = fprintf(to, "  --%s <%s>", s->name, s->value);
    else
        n = fprintf(to, "  --%s", s->name);
    if (n >= HELP_COLUMN - 1) {
        fputc('\n', to);
        n = 0;
    }
    fprintf(to, "%*s", HELP_COLUMN - n, "");
    print_wrapped(to, HELP_COLUMN, s->help);
}

void opts_help(const struct opt_command *c, FILE *to)
{
    const char *line = c->examples;

    fprintf(to, "kafuka-%s: %s\n\nUsage: kafuka-%s [options]%s%s\n\n", c->name, c->summary, c->name,
            c->positional == NULL ? "" : " ", c->positional == NULL ? "" : c->positional);
    for (size_t i = 0; i < c->spec_count; i++)
        print_spec(to, &c->specs[i]);
    fprintf(to, "  --help%*sThis text.\n", HELP_COLUMN - 8, "");
    fprintf(to, "  --version%*sThe version of kafuka.\n", HELP_COLUMN - 11, "");
    if (line == NULL || *line == '\0')
        return;
    fputs("\nExamples:\n", to);
    while (*line != '\0') {
        int len = (int)strcspn(line, "\n");

        fprintf(to, "  kafuka-%s %.*s\n", c->name, len, line);
        line += len + (line[len] == '\n');
    }
}

int opts_start(struct opts *o, const struct opt_command *c, int argc, char **argv)
{
    struct errtext why = {{0}};
    enum err rc = opts_parse(o, c, argc, argv, &why);

    if (rc != ERR_OK)
        return opts_fail(o, "%s", why.text);
    if (o->wants_help) {
        opts_help(c, stdout);
        return 0;
    }
    if (o->wants_version) {
        printf("%s\n", PACKAGE_VERSION);
        return 0;
    }
    for (size_t i = 0; i < c->spec_count; i++)
        if (o->values[i].is_set &&
            (c->specs[i].kind == OPT_DEPRECATED || c->specs[i].kind == OPT_DEPRECATED_FLAG))
            opts_warn(o, "--%s has no effect: %s", c->specs[i].name, c->specs[i].help);
    return -1;
}

static const struct opt_value *find_value(const struct opts *o, const char *name,
                                          const struct opt_spec **spec_out)
{
    size_t i = 0;

    *spec_out = find_spec(o->command, name, strlen(name), &i);
    ASSERT(*spec_out != NULL);
    return &o->values[i];
}

bool opts_has(const struct opts *o, const char *name)
{
    const struct opt_spec *s;

    return find_value(o, name, &s)->is_set;
}

const char *opts_text(const struct opts *o, const char *name, const char *otherwise)
{
    const struct opt_spec *s;
    const struct opt_value *v = find_value(o, name, &s);

    ASSERT(s->kind != OPT_FLAG);
    return v->is_set && v->text != NULL ? v->text : otherwise;
}

int64_t opts_int(const struct opts *o, const char *name, int64_t otherwise)
{
    const struct opt_spec *s;
    const struct opt_value *v = find_value(o, name, &s);

    ASSERT(s->kind == OPT_INT || s->kind == OPT_COUNT);
    return v->is_set ? v->number : otherwise;
}

const char *const *opts_list(const struct opts *o, const char *name, size_t *count_out)
{
    const struct opt_spec *s;
    const struct opt_value *v = find_value(o, name, &s);

    ASSERT(s->kind == OPT_LIST || s->kind == OPT_WORDS);
    *count_out = v->list_count;
    return v->list;
}

static void print_line(const struct opts *o, const char *kind, const char *fmt, va_list ap)
    __attribute__((format(printf, 3, 0)));

static void print_line(const struct opts *o, const char *kind, const char *fmt, va_list ap)
{
    (void)fflush(stdout);
    fprintf(stderr, "kafuka-%s: %s", o->command->name, kind);
    (void)vfprintf(stderr, fmt, ap);
    fputc('\n', stderr);
}

int opts_fail(const struct opts *o, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    print_line(o, "", fmt, ap);
    va_end(ap);
    return 1;
}

void opts_warn(const struct opts *o, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    print_line(o, "warning: ", fmt, ap);
    va_end(ap);
}
