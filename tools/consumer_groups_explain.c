/* SPDX-License-Identifier: Apache-2.0 */
/* kafuka-consumer-groups --explain: how a group is, what is remarkable about it, and the history of
 * its rebalances with their reasons. The history is the coordinator's; it is asked for on the
 * broker's page (http.listener): GET /groups/history?group=G. */
#include "tools/consumer_groups.h"

#include "tools/lib/http_get.h"
#include "tools/lib/mem.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { REBALANCES_MAX = 10000, TIME_TEXT = 40, MS = 1000, STORM = 5, STORM_MS = 10 * 60 * 1000 };

struct rebalance {
    int64_t time_ms, duration_ms;
    int64_t generation, before, after; /* -1: under way */
    int64_t further;                   /* reasons that came on top of the first */
    const char *reason;
    bool is_complete;
};
struct history {
    struct rebalance *items; /* the oldest first */
    int32_t count;
};

static const char *time_text(int64_t ms, char out[TIME_TEXT])
{
    time_t s = (time_t)(ms / MS);
    struct tm tm;
    size_t n = gmtime_r(&s, &tm) == NULL ? 0 : strftime(out, TIME_TEXT, "%Y-%m-%dT%H:%M:%S", &tm);

    (void)snprintf(out + n, TIME_TEXT - n, ".%03dZ", (int)(ms % MS));
    return out;
}

/* ---- the history */

static int64_t number_of(const json_t *object, const char *key, int64_t otherwise)
{
    const json_t *v = json_object_get(object, key);

    return json_is_integer(v) ? (int64_t)json_integer_value(v) : otherwise;
}

/* Ids of clients may be any bytes; JSON wants UTF-8. */
static json_t *load_json(struct buf *body, json_error_t *e)
{
    json_t *root = json_loadb((const char *)body->p, body->len, 0, e);

    for (size_t i = 0; root == NULL && i < body->len; i++)
        if (body->p[i] >= 0x80)
            body->p[i] = '?';
    return root != NULL ? root : json_loadb((const char *)body->p, body->len, 0, e);
}

static enum err take_history(struct arena *a, struct buf *body, struct history *out,
                             struct errtext *why)
{
    json_error_t e;
    json_t *root = load_json(body, &e);
    const json_t *list = json_object_get(root, "rebalances");
    size_t count = json_array_size(list);

    if (!json_is_array(list) || count > REBALANCES_MAX) {
        errtext_set(why, "the answer is not a history of rebalances: %s",
                    root == NULL ? e.text : "no rebalances");
        json_decref(root);
        return ERR_PROTOCOL;
    }
    out->items = tool_alloc(a, count, sizeof *out->items);
    for (size_t i = 0; i < count; i++) {
        const json_t *r = json_array_get(list, i);
        const char *reason = json_string_value(json_object_get(r, "reason"));

        reason = reason == NULL ? "(no reason)" : reason;
        out->items[out->count++] = (struct rebalance){
            .time_ms = number_of(r, "time_ms", 0),
            .duration_ms = number_of(r, "duration_ms", -1),
            .generation = number_of(r, "generation", -1),
            .before = number_of(r, "members_before", -1),
            .after = number_of(r, "members_after", -1),
            .further = number_of(r, "further", 0),
            .reason = arena_strdup(a, reason, strlen(reason)),
            .is_complete = !json_is_false(json_object_get(r, "is_complete")),
        };
    }
    json_decref(root);
    return ERR_OK;
}

/* "host:port" of http.listener; a host that means all addresses is the one that the broker
 * advertises. False: not to be used. */
static bool parse_listener(const struct group *g, const char *listener, char *host,
                           size_t host_size, int32_t *port)
{
    const char *colon = strrchr(listener, ':');
    int64_t number;
    size_t len;

    if (colon == NULL || !opt_number(colon + 1, 1, 65535, &number))
        return false;
    *port = (int32_t)number;
    len = (size_t)(colon - listener);
    if (len >= 2 && listener[0] == '[' && listener[len - 1] == ']') {
        listener++;
        len -= 2;
    }
    if (len == 0 || (len == 7 && strncmp(listener, "0.0.0.0", len) == 0) ||
        (len == 2 && strncmp(listener, "::", len) == 0))
        return snprintf(host, host_size, "%s",
                        g->coordinator_host == NULL ? "" : g->coordinator_host) < (int)host_size;
    return snprintf(host, host_size, "%.*s", (int)len, listener) < (int)host_size;
}

/* What a page that has no history says of it. */
static const char *refusal_text(struct arena *a, struct buf *body)
{
    json_error_t e;
    json_t *root = load_json(body, &e);
    const char *text = json_string_value(json_object_get(root, "error"));
    const char *copy =
        text == NULL ? "is it a kafuka broker?" : arena_strdup(a, text, strlen(text));

    json_decref(root);
    return copy;
}

static enum err read_history(struct group_tool *t, const struct group *g, struct history *out,
                             struct errtext *why)
{
    const char *listener = groups_broker_config(&t->admin, g->coordinator, "http.listener");
    struct buf path = {0}, body = {0};
    char host[256];
    int32_t port;
    enum err rc;

    if (listener == NULL) {
        errtext_set(
            why,
            "broker %d, the group's coordinator, has no page to ask: set http.listener "
            "(for example http.listener=0.0.0.0:9080) in its server.properties; until "
            "then its log has the same in the lines 'group rebalance' with the group's name",
            g->coordinator);
        return ERR_UNSUPPORTED;
    }
    if (!parse_listener(g, listener, host, sizeof host, &port)) {
        errtext_set(why,
                    "broker %d, the group's coordinator, chose the port of its page itself "
                    "(http.listener=%s), so that it cannot be found from here: give http.listener "
                    "a port",
                    g->coordinator, listener);
        return ERR_INVALID;
    }
    buf_printf(&path, "/groups/history?group=");
    http_add_encoded(&path, g->name);
    rc = http_get(host, port, buf_cstr(&path), t->timeout_ms, &body, why);
    if (rc == ERR_OK)
        rc = take_history(&t->arena, &body, out, why);
    if (rc == ERR_NOT_FOUND)
        errtext_set(why, "broker %d has no history of this group: %s", g->coordinator,
                    refusal_text(&t->arena, &body));
    else if (rc == ERR_UNREACHABLE)
        errtext_wrap(why, "the coordinator's page (http.listener of broker %d)", g->coordinator);
    buf_fini(&path);
    buf_fini(&body);
    return rc;
}

static void print_history(const struct group *g, const struct history *h)
{
    int32_t storm = 0;

    if (h->count == 0) {
        printf("  no rebalance since broker %d became the coordinator\n", g->coordinator);
        return;
    }
    printf("  %-24s %10s %9s %11s  %s\n", "time", "generation", "members", "took", "reason");
    for (int32_t i = 0; i < h->count; i++) {
        const struct rebalance *r = &h->items[i];
        char when[TIME_TEXT], generation[24] = "-", members[48], took[32] = "under way";

        (void)snprintf(members, sizeof members, "%" PRId64 "->", r->before);
        if (r->is_complete) {
            (void)snprintf(generation, sizeof generation, "%" PRId64, r->generation);
            (void)snprintf(members, sizeof members, "%" PRId64 "->%" PRId64, r->before, r->after);
            (void)snprintf(took, sizeof took, "%" PRId64 " ms", r->duration_ms);
        }
        printf("  %-24s %10s %9s %11s  %s", time_text(r->time_ms, when), generation, members, took,
               r->reason);
        if (r->further > 0)
            printf(" (and %" PRId64 " more)", r->further);
        printf("\n");
        storm += h->items[h->count - 1].time_ms - r->time_ms <= STORM_MS;
    }
    if (storm >= STORM)
        printf(
            "  ! %d rebalances within ten minutes: no record is read while members rebalance. If "
            "members time out, raise session.timeout.ms or max.poll.interval.ms, or have poll() "
            "return fewer records (max.poll.records); if they come and go, give them "
            "group.instance.id\n",
            storm);
}

/* ---- the group itself */

static void print_findings(const struct group *g)
{
    int32_t idle = 0, assigned = 0, orphans = g->other_count;

    for (int32_t i = 0; i < g->commit_count; i++)
        orphans += !group_is_assigned(g, g->commits[i].topic, g->commits[i].partition);
    for (int32_t i = 0; i < g->member_count; i++) {
        idle += g->members[i].partition_count == 0;
        assigned += g->members[i].partition_count;
    }
    if (g->member_count == 0 && g->commit_count > 0)
        printf("  ! no member reads the %d partition%s with committed offsets\n", g->commit_count,
               g->commit_count == 1 ? "" : "s");
    if (idle > 0 && strcmp(g->state, "Stable") == 0)
        printf(
            "  ! %d of %d members %s no partition: there are %d partitions to share; more members "
            "than partitions only stand by\n",
            idle, g->member_count, idle == 1 ? "has" : "have", assigned);
    if (g->member_count > 0 && orphans > 0 && strcmp(g->state, "Stable") == 0)
        printf(
            "  ! %d partition%s of its topics %s no owner: %s\n", orphans, orphans == 1 ? "" : "s",
            orphans == 1 ? "has" : "have",
            g->kind == GROUP_OF_ZOOKEEPER
                ? "the members are rebalancing, or one cannot claim its share (its log says why)"
                : "nobody reads what was once committed for; was the topic deleted, or left out of "
                  "the subscription?");
    if (strcmp(g->state, "PreparingRebalance") == 0)
        printf("  ! it waits for its members to join again, each for up to its "
               "max.poll.interval.ms\n");
    if (strcmp(g->state, "CompletingRebalance") == 0)
        printf("  ! it waits for its leader to say who reads what\n");
}

static bool explain_one(struct group_tool *t, struct group *g)
{
    struct history h = {0};
    struct errtext why = {{0}};

    if (g->error != KE_NONE && g->error != KE_GROUP_ID_NOT_FOUND) {
        (void)group_tool_error("Consumer group '%s' cannot be explained: %s", g->name,
                               g->why != NULL ? g->why : group_code_text(g->error));
        return false;
    }
    if (!group_exists(g)) {
        (void)group_tool_error("Consumer group '%s' does not exist.", g->name);
        return false;
    }
    printf("\nGroup %s: %s, %d member%s", g->name, g->state, g->member_count,
           g->member_count == 1 ? "" : "s");
    if (g->kind == GROUP_OF_ZOOKEEPER) {
        printf(", kept in ZooKeeper (/consumers/%s)\n", g->name);
        print_findings(g);
        printf("Rebalances\n  its members agree by themselves, each says why in its own log\n");
        return true;
    }
    printf(", coordinator broker %d (%s:%d)%s%s\n", g->coordinator,
           g->coordinator_host == NULL ? "?" : g->coordinator_host, g->coordinator_port,
           g->assignor[0] == '\0' ? "" : ", assignor ", g->assignor);
    if (groups_read_commits(&t->admin, t->deadline_ms, g, 1, &why) != ERR_OK)
        opts_warn(t->o, "what it has committed is not known: %s", why.text);
    print_findings(g);
    printf("Rebalances\n");
    (void)fflush(stdout);
    if (read_history(t, g, &h, &why) != ERR_OK) {
        (void)opts_fail(t->o, "%s", why.text);
        return false;
    }
    print_history(g, &h);
    return true;
}

int group_tool_explain(struct group_tool *t)
{
    struct group *groups;
    bool failed = false;
    int32_t count;
    int rc = group_tool_select(t, &groups, &count, &failed);

    if (rc >= 0)
        return rc;
    for (int32_t i = 0; i < count; i++)
        failed |= !explain_one(t, &groups[i]);
    return failed ? 1 : 0;
}
