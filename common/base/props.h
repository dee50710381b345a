/* SPDX-License-Identifier: Apache-2.0 */
/* props - Java properties files: key=value, key:value, key value; # and ! comments; a backslash at
 * the end of a line continues it; \t \n \r \f \uXXXX and any other escaped character. Pure. */
#ifndef COMMON_BASE_PROPS_H
#define COMMON_BASE_PROPS_H

#include "common/base/base.h"

enum { PROPS_FILE_MAX_BYTES = 4 << 20 };

struct prop {
    char *key, *value;
    int line; /* where it begins; 0: not from a file */
};
/* Zero-initialised is empty. */
struct props {
    struct prop *list;
    size_t count, cap;
};
void props_fini(struct props *p);
/* A later one of the same key replaces the earlier value. Copies. */
void props_set(struct props *p, const char *key, const char *value, int line);
const struct prop *props_find(const struct props *p, const char *key); /* NULL: none */
const char *props_get(const struct props *p, const char *key, const char *otherwise);
/* "true" or "false", in any case; otherwise when it is not set. INVALID with text. */
NODISCARD enum err props_bool(const struct props *p, const char *key, bool otherwise, bool *out,
                              struct errtext *why);
/* "key=value"; a word without '=' is INVALID with text. Text after the first '=' is the value. */
NODISCARD enum err props_add_pair(struct props *p, const char *pair, struct errtext *why);
/* Adds what text holds. INVALID with text that names the line: a bad \u escape, an empty key, a
 * zero byte. What was before the fault is added. */
NODISCARD enum err props_parse(struct props *p, struct str text, struct errtext *why);
/* NOT_FOUND, IO, TOO_LARGE, INVALID, with text that names the file. */
NODISCARD enum err props_read_file(struct props *p, const char *path, struct errtext *why);

#endif
