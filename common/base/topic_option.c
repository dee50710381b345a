/* SPDX-License-Identifier: Apache-2.0 */
/* The table of topic_option.def, as rows and as the names of the broker's options beside them. */
#include "common/base/topic_option.h"

#include <float.h>

enum { BROKER_NAMES_MAX = 3 };

#define ROW(field, id, kind, text, lo, hi, words, bits, lowest, highest, about, reason, ...)       \
    {.name = id,                                                                                   \
     .type = kind,                                                                                 \
     .default_text = text,                                                                         \
     .min = lo,                                                                                    \
     .max = hi,                                                                                    \
     .choices = words,                                                                             \
     .flags = bits,                                                                                \
     .help = about,                                                                                \
     .offset = offsetof(struct topic_values, field),                                               \
     .why = reason,                                                                                \
     .low = lowest,                                                                                \
     .high = highest},
#define BOOL(f, n, d, fl, names, ...)                                                              \
    ROW(f, n, OPTION_BOOL, d, 0, 0, NULL, fl, 0, 0, __VA_ARGS__, NULL, 0)
#define INT(f, n, d, lo, hi, fl, names, ...)                                                       \
    ROW(f, n, OPTION_INT, d, lo, hi, NULL, fl, 0, 0, __VA_ARGS__, NULL, 0)
#define LONG(f, n, d, lo, hi, fl, names, ...)                                                      \
    ROW(f, n, OPTION_LONG, d, lo, hi, NULL, fl, 0, 0, __VA_ARGS__, NULL, 0)
#define DOUBLE(f, n, d, lo, hi, fl, names, ...)                                                    \
    ROW(f, n, OPTION_DOUBLE, d, 0, 0, NULL, fl, lo, hi, __VA_ARGS__, NULL, 0)
#define STRING(f, n, d, choices, fl, names, ...)                                                   \
    ROW(f, n, OPTION_STRING, d, 0, 0, choices, fl, 0, 0, __VA_ARGS__, NULL, 0)
#define LIST(f, n, d, choices, fl, names, ...)                                                     \
    ROW(f, n, OPTION_LIST, d, 0, 0, choices, fl, 0, 0, __VA_ARGS__, NULL, 0)
static const struct option rows[] = {
#include "common/base/topic_option.def"
};
#undef BOOL
#undef INT
#undef LONG
#undef DOUBLE
#undef STRING
#undef LIST
const struct optab topic_options = {rows, ARRAY_LEN(rows)};

#define UNPACK(...)                              __VA_ARGS__
#define BOOL(f, n, d, fl, names, ...)            {UNPACK names, NULL},
#define INT(f, n, d, lo, hi, fl, names, ...)     {UNPACK names, NULL},
#define LONG(f, n, d, lo, hi, fl, names, ...)    {UNPACK names, NULL},
#define DOUBLE(f, n, d, lo, hi, fl, names, ...)  {UNPACK names, NULL},
#define STRING(f, n, d, choices, fl, names, ...) {UNPACK names, NULL},
#define LIST(f, n, d, choices, fl, names, ...)   {UNPACK names, NULL},
static const char *const broker_names[][BROKER_NAMES_MAX + 1] = {
#include "common/base/topic_option.def"
};
_Static_assert(ARRAY_LEN(broker_names) == ARRAY_LEN(rows), "one list of names a row");

const char *const *topic_option_broker_names(const struct option *o)
{
    ASSERT(o >= rows && o < rows + ARRAY_LEN(rows));
    return broker_names[o - rows];
}

void topic_option_unknown(const char *name, struct errtext *why)
{
    char near[128];

    optab_did_you_mean(&topic_options, name, near, sizeof near);
    errtext_set(why, "Unknown topic config name: %s%s", name, near);
}

enum err topic_option_check(const char *name, const char *value, struct errtext *why)
{
    const struct option *o = optab_find(&topic_options, str_of(name));

    if (o == NULL) {
        topic_option_unknown(name, why);
        return ERR_INVALID;
    }
    enum err rc = optab_check(o, value, why);
    if (rc == ERR_OK && (o->flags & OPTION_STOPS) != 0 && !option_is_default(o, value)) {
        errtext_set(why, "%s=%s is not possible: %s", name, value, o->why);
        rc = ERR_INVALID;
    }
    return rc;
}
