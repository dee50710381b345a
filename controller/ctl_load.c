/* SPDX-License-Identifier: Apache-2.0 */
/* Reading the cluster: all of it after an election, then what watches point at. Every read arms its
 * watch again; a watch that fires while a list is being read makes it be read once more.
 *
 * After an election the reads are a pipeline (brokers; topics, each topic's znode, each partition's
 * state; deletions): when nothing is on its way any more the snapshot is complete. */
#include "controller/ctl.h"

#include "common/base/clock.h"
#include "common/base/slog.h"

#include <stdlib.h>

static void on_ignored(struct ctl_call *call, const struct coord_result *r)
{
    (void)ctl_is_fenced(call->c, r);
}

/* A read that cannot be done: of a call whose session ended nothing more is to be said, else the
 * office is given up (LIMIT, DENIED: it would act on half a picture). */
static void read_failed(struct controller *c, const char *what, enum err e)
{
    if (e != ERR_CLOSED)
        ctl_fail(c, what, e);
}

/* ---- brokers */
static int broker_cmp(const void *a, const void *b)
{
    const struct ctl_broker *x = *(struct ctl_broker *const *)a;
    const struct ctl_broker *y = *(struct ctl_broker *const *)b;

    return (x->id > y->id) - (x->id < y->id);
}

void ctl_brokers_free(struct ctl_broker **v, int32_t count)
{
    for (int32_t i = 0; i < count; i++) {
        arena_fini(&v[i]->arena);
        mem_free(v[i]);
    }
    mem_free(v);
}

const struct ctl_broker *ctl_broker_find(const struct controller *c, int32_t id)
{
    for (int32_t i = 0; i < c->broker_count; i++) {
        if (c->brokers[i]->id == id)
            return c->brokers[i];
    }
    return NULL;
}

static void listing_done(struct controller *c)
{
    struct core_broker_info *infos = xcalloc((size_t)c->listing_count + 1, sizeof *infos);
    struct controller_event ev = {.kind = CEV_BROKERS};

    if (c->listing_count > 1)
        qsort(c->listing, (size_t)c->listing_count, sizeof(struct ctl_broker *), broker_cmp);
    ctl_brokers_free(c->brokers, c->broker_count);
    c->brokers = c->listing;
    c->broker_count = c->listing_count;
    c->listing = NULL;
    c->listing_count = 0;
    c->is_listing_brokers = false;
    for (int32_t i = 0; i < c->broker_count; i++)
        infos[i] = (struct core_broker_info){.id = c->brokers[i]->id,
                                             .epoch = c->brokers[i]->epoch,
                                             .info_version = c->brokers[i]->version};
    ev.u.brokers.v = infos;
    ev.u.brokers.count = c->broker_count;
    ctl_step(c, &ev);
    mem_free(infos);
    if (c->list_brokers_again) {
        c->list_brokers_again = false;
        ctl_list_brokers(c);
    }
}

static void broker_add(struct controller *c, int32_t id, const struct coord_result *r)
{
    struct ctl_broker *b = xcalloc(1, sizeof *b);
    struct errtext why = {""};

    b->id = id;
    b->epoch = r->stat.czxid;
    b->version = r->stat.version;
    if (zkdoc_broker_parse(r->data, &b->arena, &b->doc, &why) != ERR_OK) {
        /* between the two operations of a registration it is empty: the watch comes again */
        SLOG(WARN, "controller", "cannot read the registration of a broker in ZooKeeper",
             KV_I("broker", id), KV_S("error", why.text));
        arena_fini(&b->arena);
        mem_free(b);
        return;
    }
    c->listing[c->listing_count++] = b;
}

static void on_broker(struct ctl_call *call, const struct coord_result *r)
{
    struct controller *c = call->c;

    if (r->err == ERR_OK) {
        broker_add(c, call->partition, r);
    } else if (r->err != ERR_NOT_FOUND) {
        read_failed(c, "cannot read the registration of a broker in ZooKeeper", r->err);
        return;
    }
    if (--c->listing_left == 0)
        listing_done(c);
}

static bool id_parse(const char *name, int32_t *id_out)
{
    int64_t id;

    if (zkdoc_number_parse((struct bytes){(const uint8_t *)name, (int64_t)strlen(name)}, 0,
                           INT32_MAX, &id, NULL) != ERR_OK)
        return false;
    *id_out = (int32_t)id;
    return true;
}

static void on_broker_ids(struct ctl_call *call, const struct coord_result *r)
{
    struct controller *c = call->c;

    if (r->err != ERR_OK && r->err != ERR_NOT_FOUND) {
        read_failed(c, "/brokers/ids cannot be listed", r->err);
        return;
    }
    c->listing = xcalloc((size_t)r->child_count + 1, sizeof(struct ctl_broker *));
    c->listing_count = c->listing_left = 0;
    for (int32_t i = 0; i < r->child_count; i++) {
        struct buf path = {0};
        int32_t id;

        if (!id_parse(r->children[i], &id))
            continue;
        buf_printf(&path, "/brokers/ids/%d", id);
        c->listing_left++;
        ctl_get(c, buf_cstr(&path), true, ctl_call_new(c, NULL, id, on_broker));
        buf_fini(&path);
    }
    if (c->listing_left == 0)
        listing_done(c);
}

void ctl_list_brokers(struct controller *c)
{
    if (c->is_listing_brokers) {
        c->list_brokers_again = true;
        return;
    }
    c->is_listing_brokers = true;
    ctl_children(c, "/brokers/ids", true, ctl_call_new(c, NULL, -1, on_broker_ids));
}

/* ---- names of topics, and of topics to delete */
static void names_event(struct controller *c, enum controller_event_kind kind,
                        const struct coord_result *r)
{
    struct str *names = xcalloc((size_t)r->child_count + 1, sizeof *names);
    struct controller_event ev = {.kind = kind};

    for (int32_t i = 0; i < r->child_count; i++)
        names[i] = str_of(r->children[i]);
    ev.u.names.v = names;
    ev.u.names.count = r->child_count;
    ctl_step(c, &ev);
    mem_free(names);
}

static void on_topics(struct ctl_call *call, const struct coord_result *r)
{
    struct controller *c = call->c;

    c->is_listing_topics = false;
    if (r->err != ERR_OK && r->err != ERR_NOT_FOUND) {
        read_failed(c, "/brokers/topics cannot be listed", r->err);
        return;
    }
    names_event(c, CEV_TOPICS, r);
    if (c->list_topics_again) {
        c->list_topics_again = false;
        ctl_list_topics(c);
    }
}

void ctl_list_topics(struct controller *c)
{
    if (c->is_listing_topics) {
        c->list_topics_again = true;
        return;
    }
    c->is_listing_topics = true;
    ctl_children(c, "/brokers/topics", true, ctl_call_new(c, NULL, -1, on_topics));
}

static void on_deletes(struct ctl_call *call, const struct coord_result *r)
{
    if (r->err == ERR_OK && r->child_count > 0)
        names_event(call->c, CEV_DELETE_TOPICS, r);
    else if (r->err != ERR_OK && r->err != ERR_NOT_FOUND)
        read_failed(call->c, "/admin/delete_topics cannot be listed", r->err);
}

void ctl_list_deletes(struct controller *c)
{
    ctl_children(c, "/admin/delete_topics", true, ctl_call_new(c, NULL, -1, on_deletes));
}

/* ---- one topic */
static void on_topic(struct ctl_call *call, const struct coord_result *r)
{
    struct controller *c = call->c;
    struct controller_event ev = {.kind = CEV_TOPIC_DATA};
    struct arena arena = {0};
    struct zkdoc_topic doc;
    struct errtext why = {""};

    if (r->err != ERR_OK && r->err != ERR_NOT_FOUND) {
        read_failed(c, "a topic's znode cannot be read", r->err);
        return;
    }
    ev.u.topic_data.topic = str_of(call->topic);
    ev.u.topic_data.exists = r->err == ERR_OK;
    ev.u.topic_data.version = r->stat.version;
    if (r->err == ERR_OK) {
        if (zkdoc_topic_parse(r->data, &arena, &doc, &why) == ERR_OK)
            ev.u.topic_data.doc = &doc;
        else
            SLOG(WARN, "controller", "topic ignored: cannot parse its znode",
                 KV_S("topic", call->topic), KV_S("error", why.text));
        ev.u.topic_data.fresh_id = uuid_random();
    }
    ctl_step(c, &ev);
    arena_fini(&arena);
}

static char *topic_path(const char *parent, const char *topic)
{
    return xasprintf("%s/%s", parent, topic);
}

void ctl_read_topic(struct controller *c, const char *topic)
{
    char *path = topic_path("/brokers/topics", topic);

    ctl_get(c, path, true, ctl_call_new(c, topic, -1, on_topic));
    mem_free(path);
}

static void on_state(struct ctl_call *call, const struct coord_result *r)
{
    struct controller *c = call->c;
    struct controller_event ev = {.kind = CEV_STATE_READ};
    struct arena arena = {0};
    struct zkdoc_state doc;
    struct errtext why = {""};

    if (r->err != ERR_OK && r->err != ERR_NOT_FOUND) {
        read_failed(c, "a partition's state cannot be read", r->err);
        return;
    }
    ev.u.state_read.topic = str_of(call->topic);
    ev.u.state_read.partition = call->partition;
    ev.u.state_read.exists = r->err == ERR_OK;
    ev.u.state_read.version = r->stat.version;
    if (r->err == ERR_OK) {
        if (zkdoc_state_parse(r->data, &arena, &doc, &why) == ERR_OK)
            ev.u.state_read.doc = &doc;
        else
            SLOG(WARN, "controller", "cannot parse the state of a partition in ZooKeeper",
                 KV_S("topic", call->topic), KV_I("partition", call->partition),
                 KV_S("error", why.text));
    }
    ctl_step(c, &ev);
    arena_fini(&arena);
}

void ctl_read_state(struct controller *c, const char *topic, int32_t partition)
{
    char *path = xasprintf("/brokers/topics/%s/partitions/%d/state", topic, partition);

    ctl_get(c, path, false, ctl_call_new(c, topic, partition, on_state));
    mem_free(path);
}

static void on_topic_config(struct ctl_call *call, const struct coord_result *r)
{
    struct controller *c = call->c;
    struct controller_event ev = {.kind = CEV_TOPIC_CONFIG};
    struct arena arena = {0};
    struct zkdoc_config doc = {0};
    const char *value = NULL;

    if (r->err == ERR_OK && zkdoc_config_parse(r->data, &arena, &doc, NULL) == ERR_OK)
        value = zkdoc_config_value(&doc, "unclean.leader.election.enable");
    ev.u.topic_config.topic = str_of(call->topic);
    ev.u.topic_config.is_unclean =
        value == NULL ? c->o.unclean_leader_election : strcmp(value, "true") == 0;
    ctl_step(c, &ev);
    arena_fini(&arena);
}

void ctl_read_topic_config(struct controller *c, const char *topic)
{
    char *path = topic_path("/config/topics", topic);

    ctl_get(c, path, false, ctl_call_new(c, topic, -1, on_topic_config));
    mem_free(path);
}

/* ---- notifications of failed log directories */
static void on_log_dir_event(struct ctl_call *call, const struct coord_result *r)
{
    struct controller *c = call->c;
    struct controller_event ev = {.kind = CEV_LOG_DIR};
    struct zkdoc_log_dir_event doc;
    struct coord_op op = {.kind = COORD_OP_DELETE, .path = r->path, .version = -1};

    if (r->err != ERR_OK)
        return;
    if (c->role == CTL_ACTIVE && zkdoc_log_dir_event_parse(r->data, &doc, NULL) == ERR_OK) {
        SLOG(INFO, "controller", "a broker reported a failed log dir",
             KV_I("broker", doc.broker_id));
        ev.u.broker_id = doc.broker_id;
        ctl_step(c, &ev);
    }
    ctl_checked(c, &op, 1, ctl_call_new(c, NULL, -1, on_ignored));
}

static void on_log_dir_events(struct ctl_call *call, const struct coord_result *r)
{
    for (int32_t i = 0; r->err == ERR_OK && i < r->child_count; i++) {
        char *path = topic_path("/log_dir_event_notification", r->children[i]);

        ctl_get(call->c, path, false, ctl_call_new(call->c, NULL, -1, on_log_dir_event));
        mem_free(path);
    }
}

void ctl_list_log_dir_events(struct controller *c)
{
    ctl_children(c, "/log_dir_event_notification", true,
                 ctl_call_new(c, NULL, -1, on_log_dir_events));
}

/* ---- requests that old tools write */
static void elect_event(struct controller *c, const struct zkdoc_partition_list *list)
{
    struct core_partition_ref *refs = xcalloc((size_t)list->count + 1, sizeof *refs);
    struct controller_event ev = {.kind = CEV_ELECT_LEADERS};

    for (int32_t i = 0; i < list->count; i++)
        refs[i] = (struct core_partition_ref){.topic = str_of(list->items[i].topic),
                                              .partition = list->items[i].partition};
    ev.u.elect.kind = CORE_ELECT_PREFERRED;
    ev.u.elect.items = refs;
    ev.u.elect.count = list->count;
    ctl_step(c, &ev);
    mem_free(refs);
}

static void reassign_event(struct controller *c, const struct zkdoc_partition_list *list)
{
    struct core_reassign_item *items = xcalloc((size_t)list->count + 1, sizeof *items);
    struct controller_event ev = {.kind = CEV_REASSIGN};

    for (int32_t i = 0; i < list->count; i++)
        items[i] = (struct core_reassign_item){
            .at = {.topic = str_of(list->items[i].topic), .partition = list->items[i].partition},
            .replicas = list->items[i].replicas,
            .replica_count = list->items[i].replica_count};
    ev.u.reassign.items = items;
    ev.u.reassign.count = list->count;
    ctl_step(c, &ev);
    mem_free(items);
}

/* The plans go into the topics' znodes, so the request need not be kept. */
static void on_admin(struct ctl_call *call, const struct coord_result *r)
{
    struct controller *c = call->c;
    struct coord_op op = {.kind = COORD_OP_DELETE, .path = r->path, .version = -1};
    struct zkdoc_partition_list list = {0};
    struct arena arena = {0};
    struct errtext why = {""};

    if (r->err != ERR_OK)
        return;
    if (zkdoc_partition_list_parse(r->data, &arena, &list, &why) != ERR_OK)
        SLOG(WARN, "controller", "cannot parse a request in ZooKeeper, removing it",
             KV_S("path", r->path), KV_S("error", why.text));
    else if (strcmp(r->path, "/admin/reassign_partitions") == 0)
        reassign_event(c, &list);
    else
        elect_event(c, &list);
    arena_fini(&arena);
    ctl_checked(c, &op, 1, ctl_call_new(c, NULL, -1, on_ignored));
}

static void on_admin_exists(struct ctl_call *call, const struct coord_result *r)
{
    struct controller *c = call->c;

    if (r->err == ERR_OK && c->role == CTL_ACTIVE)
        ctl_get(c, r->path, false, ctl_call_new(c, NULL, -1, on_admin));
}

void ctl_read_admin(struct controller *c, const char *path)
{
    ctl_exists(c, path, true, ctl_call_new(c, NULL, -1, on_admin_exists));
}

/* ---- the snapshot */
void ctl_load(struct controller *c)
{
    struct zkdoc_features features = {.status = 1};
    struct buf feature = {0};

    zkdoc_features_format(&features, &feature);
    coord_create_recursive(c->o.coord, "/feature", (struct bytes){feature.p, (int64_t)feature.len},
                           loop_mailbox(c->loop), ctl_call_done,
                           ctl_call_new(c, NULL, -1, on_ignored));
    buf_fini(&feature);
    ctl_list_log_dir_events(c); /* those of before are void: dropped */
    ctl_list_brokers(c);
    ctl_list_topics(c);
    ctl_list_deletes(c);
}

void ctl_load_check(struct controller *c)
{
    struct controller_event ev = {.kind = CEV_LOADED};

    if (c->role != CTL_LOADING || c->load_pending > 0)
        return;
    c->role = CTL_ACTIVE;
    SLOG(INFO, "controller", "active", KV_I("epoch", c->epoch), KV_I("brokers", c->broker_count),
         KV_I("load_ms", clock_mono_ms() - c->load_began_ms));
    ctl_step(c, &ev);
    ctl_read_admin(c, "/admin/reassign_partitions");
    ctl_read_admin(c, "/admin/preferred_replica_election");
}
