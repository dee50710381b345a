/* SPDX-License-Identifier: Apache-2.0 */
/* kafuka-get-offsets: first, last or timed offsets of partitions, one line each. */
#include "tools/lib/log_offsets.h"
#include "tools/lib/tool.h"
#include "tools/lib/topics.h"

#include <stdio.h>
#include <stdlib.h>

enum { TIME_LOWEST = -5, RANGES_MAX = 1000 };

static const struct opt_spec specs[] = {
    ADMIN_OPTIONS,
    {"broker-list", OPT_TEXT, "host:port,...", "The older name of --bootstrap-server.", 0, 0},
    {"topic", OPT_TEXT, "regex",
     "Print the offsets of the topics whose whole names match this regular expression.", 0, 0},
    {"partitions", OPT_TEXT, "0,1,...", "Print the offsets of these partitions only.", 0, 0},
    {"topic-partitions", OPT_TEXT, "topic:0-3,...",
     "Print the offsets of these topics or partitions: topic, topic:partition, topic:from-to "
     "(from included, to not), topic:from-, or :partition for that partition of all topics.",
     0, 0},
    {"time", OPT_TEXT, "time",
     "Which offset is printed: latest or -1 (the default), earliest or -2, max-timestamp or -3, or "
     "a time in milliseconds since 1970 for the first record that is not older.",
     0, 0},
    {"exclude-internal-topics", OPT_FLAG, NULL,
     "Leave out internal topics, such as __consumer_offsets.", 0, 0},
    {"offsets", OPT_DEPRECATED, "number", "one offset is given for each partition", 0, 0},
    {"max-wait-ms", OPT_DEPRECATED, "ms", "the broker answers at once", 0, 0},
};

static const struct opt_command command = {
    .name = "get-offsets",
    .summary = "prints topic:partition:offset; the offset is the one after the last record unless "
               "--time is given.",
    .specs = specs,
    .spec_count = ARRAY_LEN(specs),
    .examples = "--bootstrap-server localhost:9092 --topic orders\n"
                "--bootstrap-server localhost:9092 --topic orders --time earliest\n"
                "--bootstrap-server localhost:9092 --topic-partitions orders:0-3,payments\n",
};

/* One item of --topic-partitions, or all of --topic with --partitions. */
struct range {
    struct topics_pattern pattern;
    int32_t from, upto; /* upto not included */
};
struct filter {
    struct range ranges[RANGES_MAX];
    size_t count;
    bool excludes_internal;
};

struct line {
    char *name; /* "topic-partition": what Kafka sorts by */
    const char *topic;
    int32_t partition;
};

static enum err add_range(struct filter *f, const char *topic, int32_t from, int32_t upto,
                          struct errtext *why)
{
    enum err rc;

    if (f->count == RANGES_MAX) {
        errtext_set(why, "more than %d ranges of partitions", RANGES_MAX);
        return ERR_INVALID;
    }
    rc = topics_pattern_init(&f->ranges[f->count].pattern, topic, why);
    if (rc != ERR_OK)
        return rc;
    f->ranges[f->count].from = from;
    f->ranges[f->count].upto = upto;
    f->count++;
    return ERR_OK;
}

/* "topic:0-3", "topic:1", "topic:2-", "topic:-3", "topic", ":1" */
static enum err parse_item(struct filter *f, struct admin *a, const char *text, size_t len,
                           struct errtext *why)
{
    char *item = arena_strdup(&a->arena, text, len);
    char *colon = strchr(item, ':'), *dash;
    int64_t from = 0, upto = INT32_MAX;
    bool ok = true;

    if (colon != NULL) {
        *colon++ = '\0';
        dash = strchr(colon, '-');
        if (dash != NULL)
            *dash++ = '\0';
        if (*colon != '\0')
            ok = opt_number(colon, 0, INT32_MAX - 1, &from);
        if (ok && dash == NULL)
            upto = from + 1;
        else if (ok && *dash != '\0')
            ok = opt_number(dash, 0, INT32_MAX, &upto);
    }
    if (!ok) {
        errtext_set(why,
                    "Invalid topic partition list: '%.*s'; topic, topic:partition, "
                    "topic:from-to or topic:from- is expected",
                    (int)len, text);
        return ERR_INVALID;
    }
    return add_range(f, item[0] == '\0' ? NULL : item, (int32_t)from, (int32_t)upto, why);
}

static enum err parse_partitions(struct filter *f, const struct opts *o, struct errtext *why)
{
    const char *text = opts_text(o, "partitions", NULL), *topic = opts_text(o, "topic", NULL);
    enum err rc = ERR_OK;

    if (text == NULL)
        return add_range(f, topic, 0, INT32_MAX, why);
    while (rc == ERR_OK && *text != '\0') {
        size_t len = strcspn(text, ",");
        char number[16];
        int64_t n;

        (void)snprintf(number, sizeof number, "%.*s", (int)size_min(len, 15), text);
        if (!opt_number(number, 0, INT32_MAX - 1, &n)) {
            errtext_set(why,
                        "--partitions expects a comma separated list of numeric partition "
                        "ids, but received: %s",
                        opts_text(o, "partitions", ""));
            return ERR_INVALID;
        }
        rc = add_range(f, topic, (int32_t)n, (int32_t)n + 1, why);
        text += len + (text[len] == ',');
    }
    return rc;
}

static enum err parse_filter(struct filter *f, struct admin *a, const struct opts *o,
                             struct errtext *why)
{
    const char *text = opts_text(o, "topic-partitions", NULL);
    enum err rc = ERR_OK;

    f->excludes_internal = opts_has(o, "exclude-internal-topics");
    if (text == NULL)
        return parse_partitions(f, o, why);
    if (opts_has(o, "topic") || opts_has(o, "partitions")) {
        errtext_set(why, "--topic-partitions cannot be used with --topic or --partitions");
        return ERR_INVALID;
    }
    while (rc == ERR_OK && *text != '\0') {
        size_t len = strcspn(text, ",");

        if (len > 0)
            rc = parse_item(f, a, text, len, why);
        text += len + (text[len] == ',');
    }
    return rc;
}

static bool is_wanted(const struct filter *f, const char *topic, int32_t partition)
{
    if (f->excludes_internal && topics_is_internal(topic))
        return false;
    for (size_t i = 0; i < f->count; i++)
        if (partition >= f->ranges[i].from && partition < f->ranges[i].upto &&
            topics_pattern_matches(&f->ranges[i].pattern, topic))
            return true;
    return false;
}

static enum err parse_time(const char *text, int64_t *out, struct errtext *why)
{
    static const char *const names[] = {"latest", "earliest", "max-timestamp", "earliest-local",
                                        "latest-tiered"};

    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if (strcmp(text, names[i]) == 0) {
            *out = -1 - (int64_t)i;
            return ERR_OK;
        }
    }
    if (opt_number(text, TIME_LOWEST, INT64_MAX, out))
        return ERR_OK;
    errtext_set(why,
                "Malformed time argument %s. Please use -1 or latest / -2 or earliest / -3 or "
                "max-timestamp / -4 or earliest-local / -5 or latest-tiered, or a specified "
                "long format timestamp",
                text);
    return ERR_INVALID;
}

static int by_name(const void *x, const void *y)
{
    const struct line *a = x, *b = y;

    return strcmp(a->name, b->name);
}

/* The partitions that the filter leaves, sorted. */
static struct line *find_lines(struct admin *a, const struct filter *f,
                               const struct kp_MetadataResponse *m, int32_t *count_out)
{
    struct line *lines;
    int32_t total = 0, n = 0;

    for (int32_t t = 0; t < m->topics_count; t++)
        total += i32_max(m->topics[t].partitions_count, 0);
    lines = admin_alloc(a, (size_t)total, sizeof *lines);
    for (int32_t t = 0; t < m->topics_count; t++) {
        const struct kp_MetadataResponse_MetadataResponseTopic *mt = &m->topics[t];
        const char *topic =
            mt->name.len <= 0 ? "" : arena_strdup(&a->arena, mt->name.p, (size_t)mt->name.len);

        for (int32_t p = 0; p < mt->partitions_count; p++) {
            int32_t index = mt->partitions[p].partition_index;
            char name[300];

            if (topic[0] == '\0' || !is_wanted(f, topic, index))
                continue;
            (void)snprintf(name, sizeof name, "%s-%d", topic, index);
            lines[n++] = (struct line){
                .name = arena_strdup(&a->arena, name, strlen(name)),
                .topic = topic,
                .partition = index,
            };
        }
    }
    if (n > 1)
        qsort(lines, (size_t)n, sizeof *lines, by_name);
    *count_out = n;
    return lines;
}

static int print_offsets(struct admin *a, const struct opts *o, const struct line *lines,
                         int32_t count, int64_t time)
{
    struct log_partition *list = admin_alloc(a, (size_t)count, sizeof *list);
    struct errtext why = {{0}};
    int32_t n;

    for (int32_t i = 0; i < count; i++)
        list[i] = (struct log_partition){.topic = lines[i].topic, .partition = lines[i].partition};
    n = log_partitions_sort(list, count);
    if (log_list_offsets(a, list, n, time, &why) != ERR_OK)
        return opts_fail(o, "%s", why.text);
    for (int32_t i = 0; i < count; i++) {
        const struct log_partition *p =
            log_partition_find(list, n, lines[i].topic, lines[i].partition);

        if (p->error != KE_NONE)
            fprintf(stderr, "Skip getting offsets for topic-partition %s due to error: %s\n",
                    lines[i].name, kerr_text(p->error));
        else if (p->offset >= 0) /* else there is no record of that time: no line, as Kafka 3.9 */
            printf("%s:%d:%" PRId64 "\n", lines[i].topic, lines[i].partition, p->offset);
    }
    return 0;
}

static int run(struct admin *a, const struct opts *o, struct filter *f)
{
    struct kp_MetadataResponse m;
    struct errtext why = {{0}};
    struct line *lines;
    int32_t count;
    int64_t time;

    if (parse_time(opts_text(o, "time", "latest"), &time, &why) != ERR_OK ||
        parse_filter(f, a, o, &why) != ERR_OK || admin_metadata(a, NULL, 0, &m, &why) != ERR_OK) {
        fprintf(stderr, "Error occurred: %s\n", why.text);
        return 1;
    }
    lines = find_lines(a, f, &m, &count);
    if (count == 0) {
        fprintf(
            stderr,
            "Error occurred: Could not match any topic-partitions with the specified filters\n");
        return 1;
    }
    return print_offsets(a, o, lines, count, time);
}

int cmd_get_offsets(int argc, char **argv)
{
    struct filter *f = NULL;
    struct admin a = {0};
    struct opts o;
    int rc = opts_start(&o, &command, argc, argv);

    if (rc < 0)
        rc = admin_start_at(&a, &o,
                            opts_text(&o, "bootstrap-server", opts_text(&o, "broker-list", NULL)),
                            opts_text(&o, "command-config", NULL));
    if (rc < 0) {
        f = xcalloc(1, sizeof *f);
        rc = run(&a, &o, f);
        for (size_t i = 0; i < f->count; i++)
            topics_pattern_fini(&f->ranges[i].pattern);
    }
    mem_free(f);
    admin_close(&a);
    opts_fini(&o);
    return rc;
}
