/* SPDX-License-Identifier: Apache-2.0 */
/* opt - command lines as Kafka's scripts take them: --name value, --name=value, flags, options that
 * may be repeated. A command is a table of options; a mistake is one line that names the option and
 * what would be right. One thread. */
#ifndef TOOLS_LIB_OPT_H
#define TOOLS_LIB_OPT_H

#include "common/base/base.h"

#include <stdio.h>

enum opt_kind {
    OPT_FLAG,       /* no value */
    OPT_TEXT,       /* one value */
    OPT_MAYBE,      /* a value, or none: the next word if it does not begin with '-' */
    OPT_LIST,       /* may be repeated */
    OPT_WORDS,      /* as OPT_LIST, but takes all words up to the next option */
    OPT_INT,        /* a number within min..max */
    OPT_COUNT,      /* a number within min..max that should be 1 or more: the command says so */
    OPT_DEPRECATED, /* a value that has no effect any more: accepted with a warning */
    OPT_DEPRECATED_FLAG
};

struct opt_spec {
    const char *name; /* without the dashes */
    enum opt_kind kind;
    const char *value; /* what the help calls the value; NULL for flags */
    const char *help;
    int64_t min, max; /* OPT_INT, OPT_COUNT */
};

struct opt_command {
    const char *name;    /* "topics" */
    const char *summary; /* one sentence for the help */
    const struct opt_spec *specs;
    size_t spec_count;
    const char *examples;   /* lines, without the program's name; each ends in a newline */
    const char *positional; /* NULL: words that are no option are a mistake */
};

enum { OPT_SPECS_MAX = 64 };

struct opt_value {
    bool is_set;
    const char *text; /* the last value; NULL for flags */
    int64_t number;
    const char **list; /* OPT_LIST, OPT_WORDS: owned array of borrowed strings */
    size_t list_count;
};

struct opts {
    const struct opt_command *command;
    struct opt_value values[OPT_SPECS_MAX];
    const char **words; /* positional arguments; owned array */
    size_t word_count;
    bool wants_help, wants_version;
};

/* Fills o from argv[1..]; the strings of argv must outlive it. INVALID with one line of text. Fills
 * o so that opts_fini() is right in either case. */
NODISCARD enum err opts_parse(struct opts *o, const struct opt_command *c, int argc, char **argv,
                              struct errtext *why);
void opts_fini(struct opts *o);

/* Parses and deals with --help, --version and mistakes (on stderr). Returns -1 to go on, or the
 * exit status. */
int opts_start(struct opts *o, const struct opt_command *c, int argc, char **argv);
void opts_help(const struct opt_command *c, FILE *to);

/* By name; the name must be in the table. */
bool opts_has(const struct opts *o, const char *name);
const char *opts_text(const struct opts *o, const char *name, const char *otherwise);
int64_t opts_int(const struct opts *o, const char *name, int64_t otherwise);
const char *const *opts_list(const struct opts *o, const char *name, size_t *count_out);

/* One line on stderr: "kafuka-<command>: <text>". Returns the exit status 1, for
 * `return opts_fail(...)`. */
int opts_fail(const struct opts *o, const char *fmt, ...) PRINTF_LIKE(2, 3);
void opts_warn(const struct opts *o, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* The candidate that a mistyped word most likely meant; NULL: none is near. */
const char *opt_nearest(const char *word, const char *const *candidates, size_t count);
/* A whole decimal number within min..max. */
bool opt_number(const char *text, int64_t min, int64_t max, int64_t *out);

#endif
