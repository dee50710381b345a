/* SPDX-License-Identifier: Apache-2.0 */
/* Text and checks of kafuka-topics. The output is read by scripts: it is Kafka's, byte for byte. */
#include "tools/lib/topics.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>

enum { ASSIGNMENT_REPLICAS_MAX = 1000, ASSIGNMENT_PARTITIONS_MAX = 100000 };

void topics_filter_from(const struct opts *o, struct topics_filter *out)
{
    out->under_replicated = opts_has(o, "under-replicated-partitions");
    out->unavailable = opts_has(o, "unavailable-partitions");
    out->under_min_isr = opts_has(o, "under-min-isr-partitions");
    out->at_min_isr = opts_has(o, "at-min-isr-partitions");
    out->with_overrides = opts_has(o, "topics-with-overrides");
}

static void add_ids(struct buf *out, const char *label, const int32_t *ids, int32_t count)
{
    buf_printf(out, "\t%s: ", label);
    for (int32_t i = 0; i < count; i++)
        buf_printf(out, "%s%d", i == 0 ? "" : ",", ids[i]);
}

static bool filters_partitions(const struct topics_filter *f)
{
    return f->under_replicated || f->unavailable || f->under_min_isr || f->at_min_isr;
}

static bool is_wanted(const struct topic_info *t, const struct topic_partition_info *p,
                      const struct topics_filter *f)
{
    /* what a reassignment adds is not yet owed to the partition */
    int32_t owed = p->replica_count - p->adding_count;

    if (!filters_partitions(f))
        return true;
    if (f->under_replicated && p->isr_count < owed)
        return true;
    if (f->unavailable && (p->leader < 0 || !p->leader_is_live))
        return true;
    if (f->under_min_isr && t->min_isr > 0 && p->isr_count < t->min_isr)
        return true;
    return f->at_min_isr && t->min_isr > 0 && p->isr_count == t->min_isr;
}

static void describe_partition(const struct topic_info *t, const struct topic_partition_info *p,
                               enum topics_style style, struct buf *out)
{
    buf_printf(out, "\tTopic: %s\tPartition: %d\tLeader: ", t->name, p->index);
    if (p->leader >= 0)
        buf_printf(out, "%d", p->leader);
    else
        buf_printf(out, "none");
    add_ids(out, "Replicas", p->replicas, p->replica_count);
    add_ids(out, "Isr", p->isr, p->isr_count);
    if (p->adding_count > 0)
        add_ids(out, "Adding Replicas", p->adding, p->adding_count);
    if (p->removing_count > 0)
        add_ids(out, "Removing Replicas", p->removing, p->removing_count);
    if (style == TOPICS_KAFKA_39)
        buf_printf(out, "\tElr: N/A\tLastKnownElr: N/A");
    if (t->is_marked_for_deletion)
        buf_printf(out, "\tMarkedForDeletion: true");
    buf_printf(out, "\n");
}

void topics_describe(const struct topic_info *t, enum topics_style style,
                     const struct topics_filter *f, struct buf *out)
{
    if (f->with_overrides && t->configs[0] == '\0')
        return;
    if (!filters_partitions(f)) {
        buf_printf(out, "Topic: %s", t->name);
        if (style == TOPICS_KAFKA_39) {
            char id[UUID_TEXT_LEN + 1];

            uuid_format(t->id, id);
            buf_printf(out, "\tTopicId: %s", id);
        }
        buf_printf(out, "\tPartitionCount: %d\tReplicationFactor: %d\tConfigs: %s%s\n",
                   t->partition_count, t->partition_count == 0 ? 0 : t->partitions[0].replica_count,
                   t->configs, t->is_marked_for_deletion ? "\tMarkedForDeletion: true" : "");
    }
    for (int32_t i = 0; !f->with_overrides && i < t->partition_count; i++)
        if (is_wanted(t, &t->partitions[i], f))
            describe_partition(t, &t->partitions[i], style, out);
}

/* Java's \d and \w, and commas as alternatives, in the words of POSIX. */
static void translate_pattern(const char *text, struct buf *out)
{
    int braces = 0;

    buf_printf(out, "^(");
    for (const char *p = text; *p != '\0'; p++) {
        if (*p == '\\' && (p[1] == 'd' || p[1] == 'w')) {
            buf_printf(out, "%s", p[1] == 'd' ? "[0-9]" : "[A-Za-z0-9_]");
            p++;
        } else if (*p == '\\' && p[1] != '\0') {
            buf_add(out, p, 2);
            p++;
        } else if (*p == ',' && braces == 0) {
            buf_printf(out, "|");
        } else if (strchr(" \"'", *p) == NULL) {
            braces += *p == '{' ? 1 : *p == '}' && braces > 0 ? -1 : 0;
            buf_add(out, p, 1);
        }
    }
    buf_printf(out, ")$");
}

enum err topics_pattern_init(struct topics_pattern *p, const char *text, struct errtext *why)
{
    struct buf re = {0};
    char message[128];
    int e;

    *p = (struct topics_pattern){.is_all = text == NULL};
    if (p->is_all)
        return ERR_OK;
    if (text[0] != '\0' && text[strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                             "0123456789_-")] == '\0')
        p->plain = text;
    translate_pattern(text, &re);
    e = regcomp(&p->re, buf_cstr(&re), REG_EXTENDED | REG_NOSUB);
    if (e != 0) {
        (void)regerror(e, &p->re, message, sizeof message);
        errtext_set(why, "'%s' is not a valid regular expression: %s", text, message);
        p->is_all = true; /* nothing to free */
    }
    buf_fini(&re);
    return e == 0 ? ERR_OK : ERR_INVALID;
}

void topics_pattern_fini(struct topics_pattern *p)
{
    if (!p->is_all)
        regfree(&p->re);
    p->is_all = true;
}

bool topics_pattern_matches(const struct topics_pattern *p, const char *name)
{
    return p->is_all || regexec(&p->re, name, 0, NULL, 0) == 0;
}

bool topics_is_internal(const char *name)
{
    return strcmp(name, "__consumer_offsets") == 0 || strcmp(name, "__transaction_state") == 0 ||
           strcmp(name, "__share_group_state") == 0;
}

/* One "1:2:3" of len bytes into ids; the number of ids, or -1 with text. */
static int32_t parse_replicas(const char *p, size_t len, int32_t *ids, struct errtext *why)
{
    int32_t count = 0;
    const char *end = p + len;

    while (p <= end) {
        size_t n = 0;
        char number[12];
        int64_t id;

        while (p + n < end && p[n] != ':')
            n++;
        while (n > 0 && isspace((unsigned char)*p)) {
            p++;
            n--;
        }
        while (n > 0 && isspace((unsigned char)p[n - 1]))
            n--;
        if (n >= sizeof number || count == ASSIGNMENT_REPLICAS_MAX)
            goto bad;
        memcpy(number, p, n);
        number[n] = '\0';
        if (!opt_number(number, 0, INT32_MAX, &id))
            goto bad;
        for (int32_t i = 0; i < count; i++) {
            if (ids[i] == id) {
                errtext_set(
                    why, "Partition replica lists may not contain duplicate entries: %" PRId64, id);
                return -1;
            }
        }
        ids[count++] = (int32_t)id;
        p = memchr(p, ':', (size_t)(end - p));
        p = p == NULL ? end + 1 : p + 1;
    }
    return count;
bad:
    errtext_set(why,
                "--replica-assignment takes broker ids with ':' between those of a partition and "
                "',' between partitions, like 0:1,1:2");
    return -1;
}

enum err topics_parse_assignment(const char *text, struct arena *a, struct topics_assignment *out,
                                 struct errtext *why)
{
    int32_t ids[ASSIGNMENT_REPLICAS_MAX];
    int32_t count = 1;

    *out = (struct topics_assignment){0};
    for (const char *p = text; *p != '\0'; p++)
        count += *p == ',';
    if (count > ASSIGNMENT_PARTITIONS_MAX) {
        errtext_set(why, "--replica-assignment has more than %d partitions",
                    ASSIGNMENT_PARTITIONS_MAX);
        return ERR_INVALID;
    }
    out->replicas = arena_alloc(a, (size_t)count * sizeof *out->replicas);
    ASSERT(out->replicas != NULL);
    for (int32_t i = 0; i < count; i++) {
        size_t len = strcspn(text, ",");
        int32_t n = parse_replicas(text, len, ids, why);

        if (n < 0)
            return ERR_INVALID;
        if (i > 0 && n != out->factor) {
            errtext_set(why,
                        "Partition %d has different replication factor: %d, the others have "
                        "%d",
                        i, n, out->factor);
            return ERR_INVALID;
        }
        out->factor = n;
        out->replicas[i] = arena_alloc(a, (size_t)n * sizeof **out->replicas);
        ASSERT(out->replicas[i] != NULL);
        memcpy(out->replicas[i], ids, (size_t)n * sizeof *ids);
        text += len + (text[len] == ',');
    }
    out->partition_count = count;
    return ERR_OK;
}

void topics_warn_of_collisions(const char *name)
{
    if (strpbrk(name, "._") != NULL)
        printf("WARNING: Due to limitations in metric names, topics with a period ('.') or "
               "underscore ('_') could collide. To avoid issues it is best to use either, but not "
               "both.\n");
}

int topics_fail(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    printf("Error while executing topic command : ");
    (void)vprintf(fmt, ap);
    printf("\n");
    va_end(ap);
    (void)fflush(stdout);
    return 1;
}
