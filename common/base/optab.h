/* SPDX-License-Identifier: Apache-2.0 */
/* optab - a typed table of options: one row an option, from which come parsing, range errors, the
 * values in a struct, DescribeConfigs and --help-config. Pure, any thread. */
#ifndef COMMON_BASE_OPTAB_H
#define COMMON_BASE_OPTAB_H

#include "common/base/base.h"

enum option_type { /* numbers: the protocol's config types */
                   OPTION_BOOL = 1,
                   OPTION_STRING = 2,
                   OPTION_INT = 3,
                   OPTION_SHORT = 4,
                   OPTION_LONG = 5,
                   OPTION_DOUBLE = 6,
                   OPTION_LIST = 7,
                   OPTION_CLASS = 8,
                   OPTION_PASSWORD = 9
};

enum {
    OPTION_DYNAMIC = 1,    /* may be changed while running, for one broker or for all */
    OPTION_PER_BROKER = 2, /* with DYNAMIC: only for one broker */
    OPTION_NOT_YET = 4,    /* accepted, checked and stored, but without effect in this version */
    OPTION_OLD_NAME = 8,   /* of another option; kept for old files */
    OPTION_IGNORED = 16,   /* belongs to the JVM or to a feature that has no meaning here */
    OPTION_STOPS = 32, /* promises what this version lacks: only the default, or empty, is taken */
    OPTION_ANY_CASE = 64,        /* the letters of a choice may be small or capital */
    OPTION_TOLD_AS_STRING = 128, /* a list here, a string for DescribeConfigs, as in Kafka */
    /* what the value must look like, where type, bounds and choices do not say it all */
    FORM_NOT_ZERO = 1 << 8,    /* a number within the bounds, but not 0 */
    FORM_NOT_EMPTY = 2 << 8,   /* a text that is not empty */
    FORM_VERSION = 3 << 8,     /* a version of Kafka before 4: 2.8, 2.8-IV1, 0.10.2.1 */
    FORM_REPLICAS = 4 << 8,    /* partition:broker,partition:broker or * */
    FORM_HOST_COUNTS = 5 << 8, /* host:number,host:number */
    FORM_MASK = 15 << 8
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
    int64_t min, max;         /* whole numbers: both allowed */
    const char *choices;      /* strings and list items: "a|b|c"; NULL: any */
    unsigned flags;
    const char *help; /* what it is, for people; no full stop at the end */
    size_t offset;
    const char *why;  /* NOT_YET, IGNORED, STOPS: why it has no effect, "this version has no x" */
    double low, high; /* DOUBLE: both allowed */
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
/* Does text say the same as the default? An empty text is the default of an option without one. */
bool option_is_default(const struct option *o, const char *text);
/* "works", "no effect yet", "no meaning here" or "stops the start": every option is one of these.
 */
const char *option_state(const struct option *o);
bool option_has_effect(const struct option *o); /* state "works" */
/* Stands in the documentation that DescribeConfigs sends, before why, when there is no effect: by
 * this the tools know it of the broker that they talk to. */
#define OPTION_NO_EFFECT "has no effect in this version: "
/* Is text, without blanks around it, of the form in flags (FORM_*; 0: any)? */
bool option_form_fits(unsigned flags, struct str text);
/* For an error text: " (did you mean x?)", or "" when no name is near. */
void optab_did_you_mean(const struct optab *t, const char *name, char *out, size_t out_size);
/* What is allowed, for people: "a whole number from 0 on", "one of a|b|c", "" for anything. */
void option_allowed(const struct option *o, char *out, size_t out_size);
/* All rows as help text: the name, then indented the help, the type with what is allowed, and the
 * state with its reason ("works", "no effect yet: ..."). */
void optab_help(const struct optab *t, struct buf *out);
/* The same as a Markdown table, for docs/options.md and docs/topic-options.md. */
void optab_markdown(const struct optab *t, struct buf *out);
/* "a, b ,c" to items, blanks trimmed, empty ones left out. */
void optab_list_parse(const char *text, struct optab_list *out);
void optab_list_fini(struct optab_list *l);

#endif
