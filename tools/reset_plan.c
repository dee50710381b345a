/* SPDX-License-Identifier: Apache-2.0 */
/* Parsers by hand: strptime() knows no fractions and no zones, and takes too much. */
#include "tools/reset_plan.h"

#include "tools/lib/mem.h"
#include "tools/lib/opt.h"

#include <ctype.h>
#include <stdlib.h>
#include <time.h>

enum { FIELDS = 4, MS = 1000, MINUTE_S = 60, HOUR_S = 3600, DAY_S = 86400 };

/* ---- topics */

enum err reset_parse_topic(const char *text, struct arena *a, struct reset_topic *out,
                           struct errtext *why)
{
    const char *colon = strchr(text, ':'), *at;
    int32_t n = 1;

    *out = (struct reset_topic){.topic = text, .count = -1};
    if (text[0] == '\0' || colon == text) {
        errtext_set(why, "Invalid topic arg '%s', expected topic name and partitions", text);
        return ERR_INVALID;
    }
    if (colon == NULL)
        return ERR_OK;
    if (strchr(colon + 1, ':') != NULL || colon[1] == '\0') {
        errtext_set(why,
                    "Invalid topic arg '%s', expected topic name and partitions, for example "
                    "orders:0,1",
                    text);
        return ERR_INVALID;
    }
    for (at = colon + 1; *at != '\0'; at++)
        n += *at == ',';
    out->topic = arena_strdup(a, text, (size_t)(colon - text));
    out->partitions = tool_alloc(a, (size_t)n, sizeof *out->partitions);
    out->count = 0;
    for (at = colon + 1;;) {
        size_t len = strcspn(at, ",");
        char *number = arena_strdup(a, at, len);
        int64_t value;

        if (!opt_number(number, 0, INT32_MAX, &value)) {
            errtext_set(why,
                        "Invalid partition '%s' specified in topic arg '%s': partitions are "
                        "numbers from 0 on, with commas between",
                        number, text);
            return ERR_INVALID;
        }
        out->partitions[out->count++] = (int32_t)value;
        if (at[len] == '\0')
            return ERR_OK;
        at += len + 1;
    }
}

/* ---- durations */

/* A number at *at, signed, perhaps with a fraction (in ms). */
static bool take_number(const char **at, int64_t *whole_out, int64_t *ms_out, bool *has_fraction)
{
    const char *p = *at;
    bool is_negative = *p == '-';
    int64_t n = 0, fraction = 0, unit = MS / 10;

    p += *p == '-' || *p == '+';
    if (!isdigit((unsigned char)*p))
        return false;
    for (; isdigit((unsigned char)*p); p++) {
        if (n > INT64_MAX / 100)
            return false;
        n = n * 10 + (*p - '0');
    }
    *has_fraction = *p == '.' || *p == ',';
    if (*has_fraction) {
        for (p++; isdigit((unsigned char)*p); p++) {
            fraction += (*p - '0') * unit;
            unit /= 10;
        }
    }
    *whole_out = is_negative ? -n : n;
    *ms_out = is_negative ? -fraction : fraction;
    *at = p;
    return true;
}

/* The parts behind P, or behind T: numbers with these units in this order. */
static bool take_parts(const char **at, const char *units, const int64_t *seconds, int64_t *ms,
                       int *parts)
{
    const char *p = *at;

    for (; *units != '\0'; units++, seconds++) {
        const char *from = p;
        int64_t whole, fraction, product;
        bool has_fraction;

        if (!take_number(&p, &whole, &fraction, &has_fraction))
            break;
        if (toupper((unsigned char)*p) != *units) {
            p = from; /* perhaps the next unit's */
            continue;
        }
        if (has_fraction && *units != 'S')
            return false;
        p++;
        if (__builtin_mul_overflow(whole, *seconds * MS, &product) ||
            __builtin_add_overflow(*ms, product + fraction, ms))
            return false;
        (*parts)++;
    }
    *at = p;
    return true;
}

enum err reset_parse_duration(const char *text, int64_t *ms_out, struct errtext *why)
{
    static const int64_t days[] = {DAY_S}, times[] = {HOUR_S, MINUTE_S, 1};
    const char *p = text;
    bool is_negative = *p == '-', ok;
    int64_t ms = 0;
    int parts = 0;

    p += *p == '-' || *p == '+';
    ok = toupper((unsigned char)*p) == 'P';
    if (ok) {
        p++;
        ok = take_parts(&p, "D", days, &ms, &parts);
    }
    if (ok && toupper((unsigned char)*p) == 'T') {
        int before = parts;

        p++;
        ok = take_parts(&p, "HMS", times, &ms, &parts) && parts > before;
    }
    if (!ok || parts == 0 || *p != '\0') {
        errtext_set(
            why,
            "'%s' is not a duration: PnDTnHnMnS is expected, for example P1D, PT6H, PT30M or "
            "P1DT12H",
            text);
        return ERR_INVALID;
    }
    *ms_out = is_negative ? -ms : ms;
    return ERR_OK;
}

/* ---- times */

/* Exactly digits digits, within min..max. */
static bool take_digits(const char **at, int digits, int min, int max, int *out)
{
    int n = 0;

    for (int i = 0; i < digits; i++) {
        if (!isdigit((unsigned char)(*at)[i]))
            return false;
        n = n * 10 + ((*at)[i] - '0');
    }
    *at += digits;
    *out = n;
    return n >= min && n <= max;
}

static bool take_char(const char **at, char c)
{
    if (**at != c)
        return false;
    (*at)++;
    return true;
}

/* Z, +hh, +hhmm, +hh:mm or nothing, in seconds east of Greenwich. */
static bool take_zone(const char **at, int *seconds_out)
{
    int hours, minutes = 0, sign;

    *seconds_out = 0;
    if (**at == '\0' || take_char(at, 'Z'))
        return true;
    if (**at != '+' && **at != '-')
        return false;
    sign = **at == '-' ? -1 : 1;
    (*at)++;
    if (!take_digits(at, 2, 0, 23, &hours))
        return false;
    if (**at != '\0') {
        (void)take_char(at, ':');
        if (!take_digits(at, 2, 0, 59, &minutes))
            return false;
    }
    *seconds_out = sign * (hours * HOUR_S + minutes * MINUTE_S);
    return true;
}

static int days_in_month(int year, int month)
{
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool is_leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;

    return days[month - 1] + (month == 2 && is_leap);
}

enum err reset_parse_datetime(const char *text, int64_t *ms_out, struct errtext *why)
{
    struct tm tm = {0};
    const char *p = text;
    int year = 0, month = 0, zone_s = 0, ms = 0;
    bool ok = take_digits(&p, 4, 1, 9999, &year) && take_char(&p, '-') &&
              take_digits(&p, 2, 1, 12, &month) && take_char(&p, '-') &&
              take_digits(&p, 2, 1, days_in_month(year, month), &tm.tm_mday) &&
              take_char(&p, 'T') && take_digits(&p, 2, 0, 23, &tm.tm_hour) && take_char(&p, ':') &&
              take_digits(&p, 2, 0, 59, &tm.tm_min);

    if (ok && take_char(&p, ':')) {
        ok = take_digits(&p, 2, 0, 59, &tm.tm_sec);
        if (ok && take_char(&p, '.')) {
            ok = isdigit((unsigned char)*p);
            for (int unit = MS / 10; isdigit((unsigned char)*p); unit /= 10)
                ms += (*p++ - '0') * unit;
        }
    }
    ok = ok && take_zone(&p, &zone_s) && *p == '\0';
    if (!ok) {
        errtext_set(why,
                    "'%s' is not a time: YYYY-MM-DDTHH:mm:SS.sss is expected (in UTC, or followed "
                    "by a zone like +02:00), for example 2024-05-01T13:00:00.000",
                    text);
        return ERR_INVALID;
    }
    tm.tm_year = year - 1900;
    tm.tm_mon = month - 1;
    *ms_out = ((int64_t)timegm(&tm) - zone_s) * MS + ms;
    return ERR_OK;
}

/* ---- plans */

/* One field from *at on, which is left at its comma or at the line's end. NULL: a quote that does
 * not end. */
static char *take_field(const char **at, const char *end, struct arena *a)
{
    const char *p = *at;
    struct buf out = {0};
    char *copy = NULL;
    bool is_quoted = p < end && *p == '"', is_open = is_quoted;

    p += is_quoted;
    while (p < end && (is_open || *p != ',')) {
        if (is_open && *p == '"') {
            if (p + 1 < end && p[1] == '"') {
                p++;
            } else {
                is_open = false;
                p++;
                continue;
            }
        }
        buf_add(&out, p++, 1);
    }
    if (!is_open)
        copy = arena_strdup(a, buf_cstr(&out), out.len);
    buf_fini(&out);
    *at = p;
    return copy;
}

static enum err parse_line(const char *p, const char *end, const char *group, struct arena *a,
                           struct reset_line *out, struct errtext *why)
{
    char *fields[FIELDS + 1];
    const char *line = p;
    int64_t partition;
    int n = 0;

    while (n <= FIELDS) {
        fields[n] = take_field(&p, end, a);
        if (fields[n++] == NULL)
            n = 0;
        if (n == 0 || p >= end)
            break;
        p++; /* the comma */
    }
    if (n != FIELDS && n != FIELDS - 1) {
        errtext_set(why,
                    "'%.*s' is no line of a plan: topic,partition,offset or "
                    "group,topic,partition,offset is expected",
                    (int)(end - line), line);
        return ERR_INVALID;
    }
    if (n == FIELDS - 1 && group == NULL) {
        errtext_set(why,
                    "'%.*s' names no group: with more than one group each line is "
                    "group,topic,partition,offset",
                    (int)(end - line), line);
        return ERR_INVALID;
    }
    out->group = n == FIELDS ? fields[0] : group;
    out->topic = fields[n - 3];
    if (out->topic[0] == '\0' || !opt_number(fields[n - 2], 0, INT32_MAX, &partition) ||
        !opt_number(fields[n - 1], 0, INT64_MAX, &out->offset)) {
        errtext_set(why,
                    "'%.*s': a topic, a partition and an offset from 0 are expected, not "
                    "'%s,%s,%s'",
                    (int)(end - line), line, out->topic, fields[n - 2], fields[n - 1]);
        return ERR_INVALID;
    }
    out->partition = (int32_t)partition;
    return ERR_OK;
}

enum err reset_parse_plan(const char *text, size_t len, const char *group, struct arena *a,
                          struct reset_line **out, int32_t *count_out, struct errtext *why)
{
    const char *end = text + len;
    int32_t lines = 1, number = 0;

    for (size_t i = 0; i < len; i++)
        lines += text[i] == '\n';
    *out = tool_alloc(a, (size_t)lines, sizeof **out);
    *count_out = 0;
    for (const char *p = text; p < end;) {
        const char *newline = memchr(p, '\n', (size_t)(end - p));
        const char *line_end = newline == NULL ? end : newline;
        const char *next = newline == NULL ? end : newline + 1;
        enum err rc;

        number++;
        while (line_end > p && isspace((unsigned char)line_end[-1]))
            line_end--;
        if (line_end > p) {
            rc = parse_line(p, line_end, group, a, &(*out)[*count_out], why);
            if (rc != ERR_OK) {
                errtext_wrap(why, "line %d", number);
                return rc;
            }
            (*count_out)++;
        }
        p = next;
    }
    return ERR_OK;
}

void reset_add_csv(struct buf *out, const char *field)
{
    if (strpbrk(field, ",\"\n\r ") == NULL) {
        buf_add(out, field, strlen(field));
        return;
    }
    buf_add(out, "\"", 1);
    for (; *field != '\0'; field++) {
        if (*field == '"')
            buf_add(out, "\"", 1);
        buf_add(out, field, 1);
    }
    buf_add(out, "\"", 1);
}
