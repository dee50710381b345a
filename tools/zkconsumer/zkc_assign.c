/* SPDX-License-Identifier: Apache-2.0 */
/* Range, round robin and topic filters. */
#include "tools/zkconsumer/zkc_assign.h"

#include <stdio.h>
#include <stdlib.h>

/* ---- range */

void zkc_assign_range(enum zkc_rule rule, int32_t partition_count, int32_t thread_count,
                      int32_t thread, int32_t *first_out, int32_t *count_out)
{
    int64_t p = partition_count, c = thread_count, i = thread;
    int64_t first, end;

    ASSERT(c > 0 && i >= 0 && i < c && p >= 0);
    if (rule == ZKC_RULE_CEIL) {
        int64_t n = (p + c - 1) / c;
        first = i64_min(i * n, p);
        end = i64_min((i + 1) * n, p);
    } else {
        first = p / c * i + i64_min(i, p % c);
        end = first + p / c + (i < p % c ? 1 : 0);
    }
    *first_out = (int32_t)first;
    *count_out = (int32_t)(end - first);
}

static void assign_range(enum zkc_rule rule, const struct zkc_topic_view *t, int32_t *owners)
{
    for (int32_t p = 0; p < t->partition_count; p++)
        owners[p] = -1;
    for (int32_t i = 0; i < t->thread_count; i++) {
        int32_t first, count;

        zkc_assign_range(rule, t->partition_count, t->thread_count, i, &first, &count);
        for (int32_t k = 0; k < count; k++)
            owners[first + k] = i;
    }
}

/* ---- round robin */

int32_t zkc_java_hash(const char *text)
{
    uint32_t h = 0;

    for (const unsigned char *p = (const unsigned char *)text; *p != 0; p++)
        h = 31 * h + *p;
    return (int32_t)h;
}

struct dealt {
    int32_t hash;
    int32_t topic, index; /* of the partition in its topic */
    int32_t place;        /* in owners_out */
};

static int by_hash(const void *x, const void *y)
{
    const struct dealt *a = x, *b = y;

    if (a->hash != b->hash)
        return a->hash < b->hash ? -1 : 1;
    return a->place < b->place ? -1 : a->place > b->place;
}

static int by_text(const void *x, const void *y)
{
    return strcmp(*(const char *const *)x, *(const char *const *)y);
}

static int32_t find_thread(const struct zkc_topic_view *t, const char *id)
{
    const char *const *found =
        t->thread_count == 0
            ? NULL
            : bsearch(&id, t->threads, (size_t)t->thread_count, sizeof *t->threads, by_text);

    return found == NULL ? -1 : (int32_t)(found - t->threads);
}

/* All threads of all topics in string order, each once. */
static const char **union_of_threads(const struct zkc_topic_view *topics, int32_t topic_count,
                                     int32_t *count_out)
{
    size_t total = 0, n = 0;
    const char **all;

    for (int32_t t = 0; t < topic_count; t++)
        total += (size_t)topics[t].thread_count;
    all = xcalloc(total + 1, sizeof *all);
    for (int32_t t = 0; t < topic_count; t++)
        for (int32_t i = 0; i < topics[t].thread_count; i++)
            all[n++] = topics[t].threads[i];
    if (n > 0)
        qsort(all, n, sizeof *all, by_text);
    total = n;
    n = 0;
    for (size_t i = 0; i < total; i++)
        if (n == 0 || strcmp(all[n - 1], all[i]) != 0)
            all[n++] = all[i];
    *count_out = (int32_t)n;
    return all;
}

static struct dealt *in_order_of_hash(enum zkc_hash_text text, const struct zkc_topic_view *topics,
                                      int32_t topic_count, int32_t *count_out)
{
    size_t total = 0;
    struct dealt *all;
    int32_t n = 0;

    for (int32_t t = 0; t < topic_count; t++)
        total += (size_t)topics[t].partition_count;
    all = xcalloc(total + 1, sizeof *all);
    for (int32_t t = 0; t < topic_count; t++)
        for (int32_t i = 0; i < topics[t].partition_count; i++) {
            char name[512];

            (void)snprintf(name, sizeof name, text == ZKC_TEXT_DASH ? "%s-%d" : "[%s,%d]",
                           topics[t].name, topics[t].partitions[i]);
            all[n] = (struct dealt){zkc_java_hash(name), t, i, n};
            n++;
        }
    if (n > 0)
        qsort(all, (size_t)n, sizeof *all, by_hash);
    *count_out = n;
    return all;
}

/* As Kafka 0.10.2 and later: dealt to the threads in a circle, skipping those that did not
 * subscribe to the topic. */
static void assign_round_robin(enum zkc_hash_text text, const struct zkc_topic_view *topics,
                               int32_t topic_count, int32_t *owners)
{
    int32_t thread_count, partition_count, next = 0;
    const char **threads = union_of_threads(topics, topic_count, &thread_count);
    struct dealt *dealt = in_order_of_hash(text, topics, topic_count, &partition_count);

    for (int32_t i = 0; i < partition_count; i++) {
        const struct zkc_topic_view *t = &topics[dealt[i].topic];
        int32_t found = -1;

        for (int32_t tries = 0; tries < thread_count && t->thread_count > 0 && found < 0; tries++) {
            found = find_thread(t, threads[next]);
            next = (next + 1) % thread_count;
        }
        owners[dealt[i].place] = found;
    }
    mem_free(threads);
    mem_free(dealt);
}

void zkc_assign(enum zkc_strategy strategy, enum zkc_rule rule, enum zkc_hash_text text,
                const struct zkc_topic_view *topics, int32_t topic_count, int32_t *owners_out)
{
    if (strategy == ZKC_ROUND_ROBIN) {
        assign_round_robin(text, topics, topic_count, owners_out);
        return;
    }
    for (int32_t t = 0; t < topic_count; t++) {
        assign_range(rule, &topics[t], owners_out);
        owners_out += topics[t].partition_count;
    }
}

/* ---- filters */

bool zkc_is_internal(const char *topic)
{
    return strcmp(topic, "__consumer_offsets") == 0 || strcmp(topic, "__transaction_state") == 0;
}

/* Kafka's TopicFilter: trimmed, ',' means '|', no blanks, no quotes around it. */
static char *normalise(const char *text)
{
    char *out = xmalloc(strlen(text) + 1);
    size_t n = 0, begin = 0;

    for (; *text != 0; text++)
        if (strchr(" \t\r\n", *text) == NULL)
            out[n++] = *text == ',' ? '|' : *text;
    while (begin < n && (out[begin] == '"' || out[begin] == '\''))
        begin++;
    while (n > begin && (out[n - 1] == '"' || out[n - 1] == '\''))
        n--;
    memmove(out, out + begin, n - begin);
    out[n - begin] = 0;
    return out;
}

/* What glibc would expand without measure, or match in exponential time, or understand otherwise
 * than Java does. */
static const char *refused(const char *re)
{
    int64_t product = 1;
    bool in_brackets = false;

    for (const char *p = re; *p != 0; p++) {
        in_brackets = *p == '[' || (in_brackets && *p != ']');
        if (*p == '\\') {
            p++;
            if (*p == 0)
                return "ends in a backslash";
            if (*p >= '0' && *p <= '9')
                return "has a back-reference";
            if ((*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z'))
                if (strchr(in_brackets ? "d" : "dDwWsSbB", *p) == NULL)
                    return "has an escape that is not known here";
        } else if (*p == '{') {
            int64_t most = 0;

            for (const char *q = p + 1; *q != 0 && *q != '}'; q++) {
                int64_t n = strtol(q, NULL, 10);
                most = i64_max(most, n);
            }
            product *= i64_max(i64_min(most, ZKC_FILTER_REPEAT_MAX + 1), 1);
            if (product > ZKC_FILTER_REPEAT_MAX)
                return "repeats too often";
        } else if (*p == '(' && p[1] == '?') {
            return "has (?...), which is not known here";
        } else if (strchr("*+?}", *p) != NULL && (p[1] == '+' || p[1] == '?')) {
            return "has a lazy or possessive repetition, which is not known here";
        }
    }
    return NULL;
}

/* To POSIX: anchored, with \d spelled out. */
static void translate(const char *re, struct buf *out)
{
    bool in_brackets = false;

    buf_printf(out, "^(");
    for (const char *p = re; *p != 0; p++) {
        if (*p == '\\' && (p[1] == 'd' || p[1] == 'D')) {
            p++;
            buf_printf(out, "%s", in_brackets ? "0-9" : *p == 'd' ? "[0-9]" : "[^0-9]");
            continue;
        }
        if (*p == '\\' && !in_brackets) {
            buf_add(out, p, 2);
            p++;
            continue;
        }
        if (*p == '[')
            in_brackets = true;
        else if (*p == ']')
            in_brackets = false;
        if (*p == '\\') /* in brackets POSIX takes it as itself, Java as an escape */
            continue;
        buf_add(out, p, 1);
    }
    buf_printf(out, ")$");
}

enum err zkc_filter_init(struct zkc_filter *f, const char *text, struct errtext *why)
{
    struct buf re = {0};
    const char *problem;
    enum err rc = ERR_INVALID;
    int code;

    f->text = normalise(text);
    problem = refused(f->text);
    if (f->text[0] == 0)
        problem = "is empty";
    else if (strlen(f->text) > ZKC_FILTER_CHARS_MAX)
        problem = "is longer than 1000 characters";
    if (problem != NULL) {
        errtext_set(why, "the topic filter '%.100s' %s", f->text, problem);
        goto out;
    }
    translate(f->text, &re);
    code = regcomp(&f->re, buf_cstr(&re), REG_EXTENDED | REG_NOSUB);
    if (code == 0) {
        rc = ERR_OK;
    } else {
        char message[128];

        (void)regerror(code, &f->re, message, sizeof message);
        errtext_set(why, "the topic filter '%.100s': %s", f->text, message);
    }
out:
    if (rc != ERR_OK)
        FREE_NULL(&f->text);
    buf_fini(&re);
    return rc;
}

void zkc_filter_fini(struct zkc_filter *f)
{
    if (f->text != NULL)
        regfree(&f->re);
    FREE_NULL(&f->text);
}

bool zkc_filter_matches(const struct zkc_filter *f, const char *topic)
{
    return regexec(&f->re, topic, 0, NULL, 0) == 0;
}
