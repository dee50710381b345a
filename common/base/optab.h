/* SPDX-License-Identifier: Apache-2.0 */
/* optab - a typed table of options: one row an option, from which come parsing, range errors, the
 * values in a struct, DescribeConfigs and --help-config. Pure, any thread. */
#ifndef COMMON_BASE_OPTAB_H
#define COMMON_BASE_OPTAB_H

#include "common/base/base.h"

enum option_type { /* numbers: the protocol's config types */
                   OPT_BOOL = 1,
                   OPT_STRING = 2,
                   OPT_INT = 3,
                   OPT_SHORT = 4,
                   OPT_LONG = 5,
                   OPT_DOUBLE = 6,
                   OPT_LIST = 7,
                   OPT_CLASS = 8,
                   OPT_PASSWORD = 9
};

enum {
    OPTION_DYNAMIC = 1,    /* may be changed while running, for one broker or for all */
    OPTION_PER_BROKER = 2, /* with DYNAMIC: only for one broker */
    OPTION_NOT_YET = 4,    /* accepted and checked, but without effect in this version */
    OPTION_OLD_NAME = 8,   /* of another option; kept for old files */
    OPTION_IGNORED = 16,   /* belongs to the JVM or to a feature that has no meaning here */
};

/* A list value; owned by the struct. */
struct optab_list {
    char **items;
    int32_t count;
};

/* The field at offset is bool, int32_t (INT), int16_t (SHORT), int64_t, double, char * (STRING,
 * CLASS and PASSWORD; NULL when there is no default and none is given), struct optab_list. A number
 * without a default that is not given is the type's minimum (not possible as a value: see min). */
struct option {
    const char *name;
    enum option_type type;
    const char *default_text; /* NULL: none */
    int64_t min, max;         /* numbers; DOUBLE: in thousandths */
    const char *choices;      /* strings and list items: "a|b|c"; NULL: any */
    unsigned flags;
    const char *help;
    size_t offset;
};

struct optab {
    const struct option *rows;
    size_t count;
};

const struct option *optab_find(const struct optab *t, struct str name); /* NULL: unknown */
/* The known name that looks most alike; NULL when none is near. */
const struct option *optab_nearest(const struct optab *t, const char *name);
/* Sets the field in object from text; text NULL is "not given". What the field held is freed.
 * INVALID with text: "name=value: what is allowed". */
NODISCARD enum err optab_set(const struct option *o, void *object, const char *text,
                             struct errtext *why);
/* Only checks. */
NODISCARD enum err optab_check(const struct option *o, const char *text, struct errtext *why);
/* Every field to its default. object is zeroed before. */
void optab_defaults(const struct optab *t, void *object);
void optab_fini(const struct optab *t, void *object);
const char *option_type_name(enum option_type t); /* "boolean", "int", ... */
/* What is allowed, for people: "0 to 2147483647", "one of a|b|c", "" for anything. */
void option_allowed(const struct option *o, char *out, size_t out_size);
/* All rows as help text. */
void optab_help(const struct optab *t, struct buf *out);
/* The same as a Markdown table, for docs/options.md. */
void optab_markdown(const struct optab *t, struct buf *out);
/* "a, b ,c" to items, blanks trimmed, empty ones left out. */
void optab_list_parse(const char *text, struct optab_list *out);
void optab_list_fini(struct optab_list *l);

#endif
