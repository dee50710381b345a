/* SPDX-License-Identifier: Apache-2.0 */
/* props - properties: key and value pairs from files (Java's .properties format) and from
 * key=value words. Later values replace earlier ones; order of first appearance is kept. One
 * thread. */
#ifndef TOOLS_LIB_PROPS_H
#define TOOLS_LIB_PROPS_H

#include "common/base/base.h"

struct prop {
    char *key, *value;
};
struct props {
    struct prop *items;
    size_t count;
};

void props_fini(struct props *p);
void props_set(struct props *p, const char *key, const char *value);
const char *props_get(const struct props *p, const char *key, const char *otherwise);
/* "key=value"; a word without '=' is INVALID with text. Text behind the first '=' is the value. */
NODISCARD enum err props_add_pair(struct props *p, const char *pair, struct errtext *why);
/* All pairs of a file. NOT_FOUND, INVALID (what and where), IO, with text. */
NODISCARD enum err props_load(struct props *p, const char *path, struct errtext *why);
/* The same from text; origin names it in errors. */
NODISCARD enum err props_parse(struct props *p, const char *text, size_t len, const char *origin,
                               struct errtext *why);
/* "true" or "false", in any case; otherwise when it is not set. INVALID with text. */
NODISCARD enum err props_bool(const struct props *p, const char *key, bool otherwise, bool *out,
                              struct errtext *why);

#endif
