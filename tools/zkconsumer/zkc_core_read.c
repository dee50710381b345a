/* SPDX-License-Identifier: Apache-2.0 */
/* One round reads the group: members and their documents, brokers, topics; each with a watch. Then
 * the assignment is a pure function of it. What cannot be read as it should (broken JSON, a filter
 * in a syntax that is not known here) is left out with a trace: the group goes on. */
#include "tools/zkconsumer/zkc_core_internal.h"

#include <stdio.h>
#include <stdlib.h>

/* ---- snapshots */

void zkc_snapshot_fini(struct zkc_snapshot *s)
{
    for (int32_t i = 0; i < s->filter_count; i++)
        zkc_filter_fini(&s->filters[i]);
    mem_free(s->filters);
    mem_free(s->topics);
    arena_fini(&s->arena);
    *s = (struct zkc_snapshot){0};
}

static int by_name(const void *x, const void *y)
{
    return strcmp(*(const char *const *)x, *(const char *const *)y);
}

static const char **sorted_copy(struct arena *a, char *const *names, int32_t count)
{
    const char **out = arena_alloc(a, ((size_t)count + 1) * sizeof *out);

    for (int32_t i = 0; i < count; i++)
        out[i] = arena_strdup(a, names[i], strlen(names[i]));
    if (count > 0)
        qsort(out, (size_t)count, sizeof *out, by_name);
    return out;
}

static int by_member_id(const void *x, const void *y)
{
    const struct zkc_member *a = x, *b = y;

    return strcmp(a->id, b->id);
}

static struct zkc_member *find_member(const struct zkc_snapshot *s, const char *id)
{
    struct zkc_member key = {.id = id};

    if (s->member_count == 0)
        return NULL;
    return bsearch(&key, s->members, (size_t)s->member_count, sizeof *s->members, by_member_id);
}

/* The place of a topic among the sorted ones; *found_out: it is there. */
static int32_t topic_place(const struct zkc_snapshot *s, const char *name, bool *found_out)
{
    int32_t lo = 0, hi = s->topic_count;

    *found_out = false;
    while (lo < hi) {
        int32_t mid = lo + (hi - lo) / 2;
        int order = strcmp(s->topics[mid].name, name);

        *found_out |= order == 0;
        if (order < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

static struct zkc_topic *find_topic(const struct zkc_snapshot *s, const char *name)
{
    bool is_found;
    int32_t place = topic_place(s, name, &is_found);

    return is_found ? &s->topics[place] : NULL;
}

/* ---- asking */

static void ask(struct zkc_core *c, enum zkc_read what, const char *name,
                struct zkc_effects *effects)
{
    struct zkc_effect *e = zkc_effect_add(effects, ZKC_EFFECT_READ);

    e->what = what;
    e->name = name == NULL ? NULL : arena_strdup(&effects->arena, name, strlen(name));
    e->seq = c->round;
    c->next.pending++;
}

static bool is_filter(const struct zkc_options *o)
{
    return o->pattern != ZKDOC_STATIC;
}

void zkc_round_begin(struct zkc_core *c, const char *reason, int64_t now_ms,
                     struct zkc_effects *effects)
{
    zkc_snapshot_fini(&c->next);
    c->round = zkc_seq(c);
    c->is_reading = true;
    c->is_dirty = false;
    c->has_failed = false;
    if (reason != NULL)
        c->round_reason = reason;
    c->round_ms = now_ms + c->o->resync_ms;
    ask(c, ZKC_MEMBERS, NULL, effects);
    ask(c, ZKC_BROKERS, NULL, effects);
    if (is_filter(c->o) || c->o->strategy == ZKC_ROUND_ROBIN)
        ask(c, ZKC_TOPICS, NULL, effects);
    else
        c->next.has_topic_names = true;
}

/* ---- subscriptions */

/* The streams that a member has for a topic. */
static int32_t streams_of(const struct zkc_core *c, const struct zkc_snapshot *s,
                          const struct zkc_member *m, const char *topic)
{
    if (!m->is_ok)
        return 0;
    if (m->filter >= 0) {
        bool matches = zkc_filter_matches(&s->filters[m->filter], topic);
        bool is_wanted = matches == (m->doc.pattern == ZKDOC_WHITE_LIST) &&
                         !(c->o->exclude_internal && zkc_is_internal(topic));
        return is_wanted ? m->doc.subscriptions[0].streams : 0;
    }
    for (int32_t i = 0; i < m->doc.subscription_count; i++)
        if (strcmp(m->doc.subscriptions[i].name, topic) == 0)
            return m->doc.subscriptions[i].streams;
    return 0;
}

/* Members of one kind share one compiled expression. -1: it cannot be used. */
static int32_t use_filter(struct zkc_snapshot *s, const char *text, struct errtext *why)
{
    struct zkc_filter f;
    bool is_new = true;
    int32_t found = -1;

    if (zkc_filter_init(&f, text, why) != ERR_OK)
        return -1;
    for (int32_t i = 0; i < s->filter_count && is_new; i++)
        if (strcmp(s->filters[i].text, f.text) == 0) {
            found = i;
            is_new = false;
        }
    if (!is_new) {
        zkc_filter_fini(&f);
        return found;
    }
    s->filters = xrealloc(s->filters, ((size_t)s->filter_count + 1) * sizeof *s->filters);
    s->filters[s->filter_count] = f;
    return s->filter_count++;
}

static void want_topic(struct zkc_core *c, const char *name, struct zkc_effects *effects)
{
    struct zkc_snapshot *s = &c->next;
    bool is_found;
    int32_t place = topic_place(s, name, &is_found);

    if (is_found || strlen(name) > TOPIC_NAME_MAX) /* no broker has a topic of such a name */
        return;
    if (s->topic_count == s->topic_cap) {
        s->topic_cap = s->topic_cap * 2 + 8;
        s->topics = xrealloc(s->topics, (size_t)s->topic_cap * sizeof *s->topics);
    }
    memmove(&s->topics[place + 1], &s->topics[place],
            (size_t)(s->topic_count - place) * sizeof *s->topics);
    s->topics[place] = (struct zkc_topic){.name = arena_strdup(&s->arena, name, strlen(name))};
    s->topic_count++;
    ask(c, ZKC_TOPIC, name, effects);
}

/* The topics that matter: under range our own, under round robin those of anybody. */
static void ask_topics(struct zkc_core *c, struct zkc_effects *effects)
{
    struct zkc_snapshot *s = &c->next;
    bool is_round_robin = c->o->strategy == ZKC_ROUND_ROBIN;
    const struct zkc_member *me;

    if (s->has_asked_topics || !s->has_members || s->members_left > 0 || !s->has_topic_names)
        return;
    s->has_asked_topics = true;
    me = find_member(s, c->o->member_id);
    for (int32_t m = 0; m < s->member_count; m++) {
        const struct zkc_member *member = &s->members[m];

        if (!member->is_ok || (member != me && !is_round_robin))
            continue;
        for (int32_t i = 0; member->filter < 0 && i < member->doc.subscription_count; i++)
            want_topic(c, member->doc.subscriptions[i].name, effects);
        for (int32_t i = 0; member->filter >= 0 && i < s->topic_name_count; i++)
            if (streams_of(c, s, member, s->topic_names[i]) > 0)
                want_topic(c, s->topic_names[i], effects);
    }
}

/* ---- answers */

static void take_members(struct zkc_core *c, const struct zkc_event *ev,
                         struct zkc_effects *effects)
{
    struct zkc_snapshot *s = &c->next;
    int32_t n = ev->result == ZKC_OK ? ev->read.child_count : 0;

    s->has_members = true;
    s->members = arena_alloc(&s->arena, ((size_t)n + 1) * sizeof *s->members);
    for (int32_t i = 0; i < n; i++)
        s->members[i] = (struct zkc_member){
            .id = arena_strdup(&s->arena, ev->read.children[i], strlen(ev->read.children[i])),
            .filter = -1};
    if (n > 0)
        qsort(s->members, (size_t)n, sizeof *s->members, by_member_id);
    s->member_count = n;
    s->members_left = n;
    for (int32_t i = 0; i < n; i++)
        ask(c, ZKC_MEMBER, s->members[i].id, effects);
}

static void member_broken(const struct zkc_member *m, const char *why, struct zkc_effects *effects)
{
    char text[768];

    (void)snprintf(text, sizeof text, "%.200s: %s", m->id, why);
    (void)zkc_trace(effects, ZKC_TRACE_MEMBER_BROKEN, text);
}

static void take_member(struct zkc_core *c, const struct zkc_event *ev, struct zkc_effects *effects)
{
    struct zkc_snapshot *s = &c->next;
    struct zkc_member *m = find_member(s, ev->read.name);
    struct errtext why = {{0}};

    if (m == NULL || s->members_left == 0)
        return;
    s->members_left--;
    if (ev->result == ZKC_NOT_FOUND) /* it has just left; the watch on the members says so too */
        return;
    if (zkdoc_consumer_parse(ev->read.data, &s->arena, &m->doc, &why) != ERR_OK) {
        member_broken(m, why.text, effects);
        return;
    }
    if (m->doc.pattern != ZKDOC_STATIC) {
        m->filter = use_filter(s, m->doc.subscriptions[0].name, &why);
        if (m->filter < 0) {
            member_broken(m, why.text, effects);
            return;
        }
    }
    m->is_ok = true;
}

static void take_topic(struct zkc_core *c, const struct zkc_event *ev, struct zkc_effects *effects)
{
    struct zkc_snapshot *s = &c->next;
    struct zkc_topic *t = find_topic(s, ev->read.name);
    struct errtext why = {{0}};
    struct zkdoc_topic doc;
    int32_t *ids;

    if (t == NULL || t->is_read)
        return;
    t->is_read = true;
    if (ev->result == ZKC_NOT_FOUND) /* not there yet: no partitions; its creation is watched */
        return;
    if (zkdoc_topic_parse(ev->read.data, &s->arena, &doc, &why) != ERR_OK) {
        zkc_trace(effects, ZKC_TRACE_TOPIC_BROKEN, why.text)->topic =
            arena_strdup(&effects->arena, t->name, strlen(t->name));
        return;
    }
    ids = arena_alloc(&s->arena, ((size_t)doc.partition_count + 1) * sizeof *ids);
    for (int32_t i = 0; i < doc.partition_count; i++)
        ids[i] = doc.partitions[i].index;
    t->partitions = ids;
    t->partition_count = doc.partition_count;
}

void zkc_round_read(struct zkc_core *c, const struct zkc_event *ev, struct zkc_effects *effects)
{
    struct zkc_snapshot *s = &c->next;
    int32_t n = ev->result == ZKC_OK ? ev->read.child_count : 0;

    if (!c->is_reading || ev->read.round != c->round)
        return;
    ASSERT(s->pending > 0);
    s->pending--;
    if (ev->result != ZKC_OK && ev->result != ZKC_NOT_FOUND) {
        c->has_failed = true;
        return;
    }
    switch (ev->read.what) {
    case ZKC_MEMBERS:
        take_members(c, ev, effects);
        break;
    case ZKC_MEMBER:
        take_member(c, ev, effects);
        break;
    case ZKC_TOPICS:
        s->topic_names = sorted_copy(&s->arena, ev->read.children, n);
        s->topic_name_count = n;
        s->has_topic_names = true;
        break;
    case ZKC_TOPIC:
        take_topic(c, ev, effects);
        break;
    case ZKC_BROKERS:
        s->brokers = sorted_copy(&s->arena, ev->read.children, n);
        s->broker_count = n;
        s->has_brokers = true;
        break;
    }
    ask_topics(c, effects);
}

/* ---- assignment */

struct thread {
    const char *id;
    bool is_mine;
    int32_t stream;
};

static int by_thread_id(const void *x, const void *y)
{
    const struct thread *a = x, *b = y;

    return strcmp(a->id, b->id);
}

/* The threads of all members for one topic, in string order. */
static struct thread *threads_of(struct zkc_core *c, struct arena *a, const char *topic,
                                 int32_t *count_out)
{
    const struct zkc_snapshot *s = &c->now;
    struct thread *threads;
    int64_t total = 0;
    int32_t n = 0;

    for (int32_t m = 0; m < s->member_count; m++)
        total += streams_of(c, s, &s->members[m], topic);
    threads = arena_alloc(a, ((size_t)total + 1) * sizeof *threads);
    for (int32_t m = 0; m < s->member_count; m++) {
        int32_t streams = streams_of(c, s, &s->members[m], topic);
        bool is_mine = strcmp(s->members[m].id, c->o->member_id) == 0;

        for (int32_t i = 0; i < streams; i++) {
            size_t len = strlen(s->members[m].id) + 16;
            char *id = arena_alloc(a, len);

            (void)snprintf(id, len, "%s-%d", s->members[m].id, i);
            threads[n++] = (struct thread){id, is_mine, i};
        }
    }
    if (n > 0)
        qsort(threads, (size_t)n, sizeof *threads, by_thread_id);
    *count_out = n;
    return threads;
}

/* Ceil only if everybody that counts writes that it knows it. NULL: it holds. */
static const char *who_is_old(const struct zkc_core *c)
{
    for (int32_t m = 0; m < c->now.member_count; m++)
        if (c->now.members[m].is_ok && !c->now.members[m].doc.is_ceil)
            return c->now.members[m].id;
    return NULL;
}

static int32_t own_streams(const struct zkc_core *c, const char *topic)
{
    if (c->o->pattern != ZKDOC_STATIC)
        return c->o->subscriptions[0].streams;
    for (int32_t i = 0; i < c->o->subscription_count; i++)
        if (strcmp(c->o->subscriptions[i].name, topic) == 0)
            return c->o->subscriptions[i].streams;
    return 0;
}

static void take_assignment(struct zkc_core *c, const struct zkc_topic_view *views,
                            struct thread *const *threads, const int32_t *owners)
{
    for (int32_t t = 0; t < c->now.topic_count; t++) {
        for (int32_t i = 0; i < views[t].partition_count; i++, owners++) {
            const struct thread *owner = *owners < 0 ? NULL : &threads[t][*owners];
            struct zkc_part *p;

            /* a registration that somebody edited may name streams that do not exist */
            if (owner == NULL || !owner->is_mine || owner->stream >= own_streams(c, views[t].name))
                continue;
            p = zkc_part_find(c, views[t].name, views[t].partitions[i]);
            if (p == NULL)
                p = zkc_part_add(c, views[t].name, views[t].partitions[i]);
            p->wanted = owner->stream;
        }
    }
}

void zkc_round_assign(struct zkc_core *c, struct zkc_effects *effects)
{
    const struct zkc_snapshot *s = &c->now;
    size_t topics = (size_t)s->topic_count + 1, total = 1;
    struct arena a = {0};
    struct zkc_topic_view *views = arena_alloc(&a, topics * sizeof *views);
    struct thread **threads = arena_alloc(&a, topics * sizeof *threads);
    const char *old = who_is_old(c);
    int32_t *owners;

    for (int32_t t = 0; t < s->topic_count; t++) {
        int32_t count;
        const char **ids;

        threads[t] = threads_of(c, &a, s->topics[t].name, &count);
        ids = arena_alloc(&a, ((size_t)count + 1) * sizeof *ids);
        for (int32_t i = 0; i < count; i++)
            ids[i] = threads[t][i].id;
        views[t] = (struct zkc_topic_view){s->topics[t].name, s->topics[t].partitions,
                                           s->topics[t].partition_count, ids, count};
        total += (size_t)s->topics[t].partition_count;
    }
    if (c->o->is_ceil && c->o->strategy == ZKC_RANGE && old != NULL && !c->has_told_old_rule)
        (void)zkc_trace(effects, ZKC_TRACE_OLD_RULE, old);
    c->has_told_old_rule = old != NULL;
    owners = arena_alloc(&a, total * sizeof *owners);
    zkc_assign(c->o->strategy, c->o->is_ceil && old == NULL ? ZKC_RULE_CEIL : ZKC_RULE_KAFKA,
               c->o->hash_text, views, s->topic_count, owners);
    for (int32_t i = 0; i < c->part_count; i++) {
        c->parts[i].previous = c->parts[i].wanted;
        c->parts[i].wanted = -1;
    }
    take_assignment(c, views, threads, owners);
    arena_fini(&a);
}

/* ---- reasons */

/* Adds a phrase, as long as there is room; what no longer fits is "...". */
static void add_phrase(char *out, size_t size, const char *kind, const char *name, const char *what)
{
    size_t used = strlen(out);
    char phrase[200];

    (void)snprintf(phrase, sizeof phrase, "%s%s %.100s %s", used == 0 ? "" : ", ", kind, name,
                   what);
    if (used + strlen(phrase) + sizeof ", ..." <= size)
        (void)snprintf(out + used, size - used, "%s", phrase);
    else if (used >= 3 && used + sizeof ", ..." <= size && strcmp(out + used - 3, "...") != 0)
        (void)snprintf(out + used, size - used, ", ...");
}

/* Two sorted lists. */
static void compare_names(const char **old, int32_t old_count, const char **now, int32_t now_count,
                          const char *kind, const char *came, const char *went, char *out,
                          size_t size)
{
    int32_t i = 0, k = 0;

    while (i < old_count || k < now_count) {
        int order = i == old_count ? 1 : k == now_count ? -1 : strcmp(old[i], now[k]);

        if (order < 0)
            add_phrase(out, size, kind, old[i], went);
        else if (order > 0)
            add_phrase(out, size, kind, now[k], came);
        i += order <= 0;
        k += order >= 0;
    }
}

static const char **good_members(struct arena *a, const struct zkc_snapshot *s, int32_t *count_out)
{
    const char **ids = arena_alloc(a, ((size_t)s->member_count + 1) * sizeof *ids);
    int32_t n = 0;

    for (int32_t i = 0; i < s->member_count; i++)
        if (s->members[i].is_ok)
            ids[n++] = s->members[i].id;
    *count_out = n;
    return ids;
}

static void compare_topics(const struct zkc_snapshot *old, const struct zkc_snapshot *now,
                           char *out, size_t size)
{
    for (int32_t i = 0; i < now->topic_count; i++) {
        const struct zkc_topic *was = find_topic(old, now->topics[i].name);
        int32_t before = was == NULL ? 0 : was->partition_count;
        char what[64];

        if (before == now->topics[i].partition_count)
            continue;
        (void)snprintf(what, sizeof what, "has %d partitions (had %d)",
                       now->topics[i].partition_count, before);
        add_phrase(out, size, "topic", now->topics[i].name, what);
    }
    for (int32_t i = 0; i < old->topic_count; i++)
        if (old->topics[i].partition_count > 0 && find_topic(now, old->topics[i].name) == NULL)
            add_phrase(out, size, "topic", old->topics[i].name, "is gone");
}

void zkc_difference(const struct zkc_snapshot *old, const struct zkc_snapshot *now, char *out,
                    size_t size, const char *fallback)
{
    struct arena a = {0};
    int32_t old_count, now_count;
    const char **was = good_members(&a, old, &old_count), **is = good_members(&a, now, &now_count);

    out[0] = 0;
    compare_names(was, old_count, is, now_count, "member", "joined", "left", out, size);
    compare_names(old->brokers, old->broker_count, now->brokers, now->broker_count, "broker",
                  "came", "left", out, size);
    compare_topics(old, now, out, size);
    if (out[0] == 0)
        (void)snprintf(out, size, "%s", fallback);
    arena_fini(&a);
}
