/* SPDX-License-Identifier: Apache-2.0 */
/* Forms of option values: what Kafka 3.9 checks besides type, bounds and choices. */
#include "common/base/optab.h"

#include <ctype.h>
#include <strings.h>

/* Kafka's versions up to 3.9; iv_count: 3.7-IV0 to 3.7-IV4 are five; 0: the bare name only. */
static const struct {
    const char *name;
    int iv_count;
} versions[] = {
    {"0.8.0", 0},   {"0.8.1", 0},  {"0.8.2", 0}, {"0.9.0", 0}, {"0.10.0", 2}, {"0.10.1", 3},
    {"0.10.2", 1},  {"0.11.0", 3}, {"1.0", 1},   {"1.1", 1},   {"2.0", 2},    {"2.1", 3},
    {"2.2", 2},     {"2.3", 2},    {"2.4", 2},   {"2.5", 1},   {"2.6", 1},    {"2.7", 3},
    {"2.8", 2},     {"3.0", 2},    {"3.1", 1},   {"3.2", 1},   {"3.3", 4},    {"3.4", 1},
    {"3.5", 3},     {"3.6", 3},    {"3.7", 5},   {"3.8", 1},   {"3.9", 1},    {"4.0-IV0", 0},
    {"4.0-IV1", 0},
};

/* What of a version counts: three parts of 0.x, two of others; "2.8.1" is "2.8". */
static struct str version_key(struct str s)
{
    int parts = s.len > 1 && s.p[0] == '0' && s.p[1] == '.' ? 3 : 2;

    for (int32_t i = 0; i < s.len; i++)
        if (s.p[i] == '.' && --parts == 0)
            return s.p[s.len - 1] == '.' ? s : (struct str){s.p, i};
    return s;
}

static bool is_version(struct str s)
{
    struct str key = version_key(s);

    for (size_t i = 0; i < ARRAY_LEN(versions); i++) {
        int32_t n = (int32_t)strlen(versions[i].name);
        if (key.len < n || memcmp(key.p, versions[i].name, (size_t)n) != 0)
            continue;
        if (key.len == n)
            return true;
        if (key.len == n + 4 && memcmp(key.p + n, "-IV", 3) == 0 &&
            isdigit((unsigned char)key.p[n + 3]) && key.p[n + 3] - '0' < versions[i].iv_count)
            return true;
    }
    return false;
}

static bool are_digits(struct str s)
{
    for (int32_t i = 0; i < s.len; i++)
        if (!isdigit((unsigned char)s.p[i]))
            return false;
    return s.len > 0;
}

static struct str without_blanks(struct str s)
{
    while (s.len > 0 && isspace((unsigned char)s.p[0])) {
        s.p++;
        s.len--;
    }
    while (s.len > 0 && isspace((unsigned char)s.p[s.len - 1]))
        s.len--;
    return s;
}

/* The next item of a list, without blanks around it; false at the end. */
static bool next_item(struct str *rest, struct str *item)
{
    if (rest->p == NULL)
        return false;
    const char *comma = memchr(rest->p, ',', (size_t)rest->len);
    int32_t n = comma == NULL ? rest->len : (int32_t)(comma - rest->p);
    *item = without_blanks((struct str){rest->p, n});
    *rest = comma == NULL ? STR_NULL : (struct str){comma + 1, rest->len - n - 1};
    return true;
}

static bool is_replica(struct str s)
{
    const char *colon = s.len == 0 ? NULL : memchr(s.p, ':', (size_t)s.len);

    if (s.len == 0) /* between two commas */
        return true;
    if (colon == NULL)
        return false;
    int32_t n = (int32_t)(colon - s.p);
    return are_digits((struct str){s.p, n}) && are_digits((struct str){colon + 1, s.len - n - 1});
}

static bool are_replicas(struct str s)
{
    struct str item;

    if (str_eq_z(s, "*"))
        return true;
    while (next_item(&s, &item))
        if (!is_replica(item))
            return false;
    return true;
}

/* An int as Java reads it. */
static bool is_count(struct str s)
{
    int64_t n = 0;
    bool is_signed = s.len > 0 && (s.p[0] == '-' || s.p[0] == '+');
    bool is_negative = is_signed && s.p[0] == '-';

    s.p += is_signed;
    s.len -= is_signed;
    if (!are_digits(s))
        return false;
    for (int32_t i = 0; i < s.len; i++) {
        n = n * 10 + (s.p[i] - '0');
        if (n > (int64_t)INT32_MAX + is_negative)
            return false;
    }
    return true;
}

static bool is_host(struct str s)
{
    for (int32_t i = 0; i < s.len; i++)
        if (!isalnum((unsigned char)s.p[i]) && strchr("-%._:", s.p[i]) == NULL)
            return false;
    return true;
}

static bool is_host_count(struct str s)
{
    const char *colon = s.len == 0 ? NULL : memrchr(s.p, ':', (size_t)s.len);

    if (colon == NULL)
        return false;
    int32_t n = (int32_t)(colon - s.p);
    return is_host(without_blanks((struct str){s.p, n})) &&
           is_count(without_blanks((struct str){colon + 1, s.len - n - 1}));
}

static bool are_host_counts(struct str s)
{
    struct str item;

    if (s.len == 0)
        return true;
    while (next_item(&s, &item))
        if (!is_host_count(item))
            return false;
    return true;
}

bool option_form_fits(unsigned flags, struct str text)
{
    struct str digits = text;

    switch (flags & FORM_MASK) {
    case FORM_NOT_ZERO:
        while (digits.len > 0 && strchr("+-0", digits.p[0]) != NULL) {
            digits.p++;
            digits.len--;
        }
        return digits.len > 0;
    case FORM_NOT_EMPTY:
        return text.len > 0;
    case FORM_VERSION:
        return is_version(text);
    case FORM_REPLICAS:
        return are_replicas(text);
    case FORM_HOST_COUNTS:
        return are_host_counts(text);
    default:
        return true;
    }
}
