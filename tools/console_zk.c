/* SPDX-License-Identifier: Apache-2.0 */
/* One stream, by a filter whose expression is the topic's name, as Kafka's old console consumer
 * does; a group of its own that is deleted at the end, unless one is named. What is printed counts
 * as done when it has been written out, so that nothing is committed that a kill could still lose.
 */
#include "tools/console_zk.h"

#include "common/base/clock.h"
#include "tools/lib/rdkafka.h"
#include "tools/lib/zookeeper.h"
#include "tools/zkconsumer/zkconsumer.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

enum {
    WAIT_MS = 100, /* one wait for records; signals are looked at in between */
    ZK_TIMEOUT_MS = 10000,
    JOIN_MAX_MS = 10000,
    JOIN_LOOK_MS = 5,
    HEADERS_MAX = 128,
    GROUP_NUMBERS = 100000
};

static void on_log(void *arg, enum kafuka_zkc_level level UNUSED, const char *text)
{
    const struct opts *o = arg;

    opts_warn(o, "%s", text);
}

/* ---- the group */

static char *generated_group(void)
{
    uint32_t n = 0;

    if (getrandom(&n, sizeof n, 0) != (ssize_t)sizeof n)
        n = (uint32_t)clock_mono_us();
    return xasprintf("console-consumer-%" PRIu32, n % GROUP_NUMBERS);
}

static enum err has_children(struct coord *c, const char *path, bool *out)
{
    char **names;
    int32_t count;
    enum err rc = coord_children_wait(c, path, &names, &count);

    coord_names_free(names, count);
    *out = count > 0;
    return rc == ERR_NOT_FOUND ? ERR_OK : rc;
}

/* --delete-consumer-offsets: not under the members of a living group. */
static int delete_group(const struct opts *o, struct coord *c, const char *group)
{
    char *ids = xasprintf("/consumers/%s/ids", group), *path = xasprintf("/consumers/%s", group);
    bool is_active = false;
    enum err rc = has_children(c, ids, &is_active);
    int status = -1;

    if (is_active) {
        status = opts_fail(o,
                           "the group %s has members: its offsets can only be deleted when they "
                           "have left",
                           group);
    } else {
        if (rc == ERR_OK)
            rc = coord_delete_recursive_wait(c, path);
        if (rc != ERR_OK && rc != ERR_NOT_FOUND)
            status = opts_fail(o, "group %s: %s", group, err_text(rc));
    }
    mem_free(ids);
    mem_free(path);
    return status;
}

/* What Kafka looks at before it begins. -1 to go on. */
static int prepare(const struct opts *o, const char *group)
{
    char *offsets = xasprintf("/consumers/%s/offsets", group);
    struct coord *c = NULL;
    struct errtext why = {{0}};
    int status = -1;

    if (zk_open(opts_text(o, "zookeeper", NULL), ZK_TIMEOUT_MS, &c, &why) != ERR_OK) {
        mem_free(offsets);
        return opts_fail(o, "%s", why.text);
    }
    if (coord_exists_wait(c, "/brokers/ids", NULL) == ERR_NOT_FOUND)
        status = opts_fail(o,
                           "no broker has ever been registered in %s: is the chroot right, and is "
                           "a broker running there?",
                           opts_text(o, "zookeeper", ""));
    else if (opts_has(o, "delete-consumer-offsets"))
        status = delete_group(o, c, group);
    else if (opts_has(o, "from-beginning") && coord_exists_wait(c, offsets, NULL) == ERR_OK)
        status = opts_fail(o,
                           "Found previous offset information for this group %s. Please use "
                           "--delete-consumer-offsets to delete previous offsets metadata",
                           group);
    coord_close(&c);
    mem_free(offsets);
    return status;
}

static void delete_generated(const struct opts *o, const char *group)
{
    char *path = xasprintf("/consumers/%s", group);
    struct coord *c = NULL;
    struct errtext why = {{0}};
    enum err rc = zk_open(opts_text(o, "zookeeper", NULL), ZK_TIMEOUT_MS, &c, &why);

    if (rc == ERR_OK)
        rc = coord_delete_recursive_wait(c, path);
    if (rc != ERR_OK && rc != ERR_NOT_FOUND)
        opts_warn(o, "%s was not deleted: %s", path, err_text(rc));
    coord_close(&c);
    mem_free(path);
}

/* ---- the consumer's properties */

/* False: a line was printed. */
static bool set(const struct console_zk *z, struct kafuka_zkc_conf *conf, const char *name,
                const char *value)
{
    char error[512];
    struct rdkafka_translation t;
    struct errtext why = {{0}};

    switch (kafuka_zkc_conf_set(conf, name, value, error, sizeof error)) {
    case KAFUKA_ZKC_OK:
        return true;
    case KAFUKA_ZKC_UNKNOWN: /* serializers and the like mean nothing and lose nothing */
        if (rdkafka_translate(RDKAFKA_CONSUMER, name, value, &t, &why) != ERR_OK ||
            t.action != RDKAFKA_QUIET)
            opts_warn(z->o, "%s", error);
        return true;
    case KAFUKA_ZKC_ERROR:
    case KAFUKA_ZKC_TIMEOUT:
    case KAFUKA_ZKC_CLOSED:
        break;
    }
    (void)opts_fail(z->o, "%s", error);
    return false;
}

static struct kafuka_zkc_conf *make_conf(const struct console_zk *z, const char *group)
{
    struct kafuka_zkc_conf *conf = kafuka_zkc_conf_new();
    bool ok =
        set(z, conf, "isolation.level", opts_text(z->o, "isolation-level", "read_uncommitted"));

    for (size_t i = 0; ok && i < z->p->count; i++)
        if (strcmp(z->p->list[i].key, "bootstrap.servers") == 0 ||
            strcmp(z->p->list[i].key, "metadata.broker.list") == 0)
            opts_warn(z->o, "%s has no effect: the brokers are found in ZooKeeper",
                      z->p->list[i].key);
        else if (strcmp(z->p->list[i].key, "consumer.timeout.ms") != 0) /* is ours */
            ok = set(z, conf, z->p->list[i].key, z->p->list[i].value);
    if (ok && opts_has(z->o, "from-beginning"))
        ok = set(z, conf, "auto.offset.reset", "smallest");
    if (ok && opts_has(z->o, "autocommit.interval.ms"))
        ok = set(z, conf, "auto.commit.interval.ms", opts_text(z->o, "autocommit.interval.ms", ""));
    ok = ok && set(z, conf, "group.id", group) &&
         set(z, conf, "zookeeper.connect", opts_text(z->o, "zookeeper", "")) &&
         set(z, conf, "kafuka.done.explicit", "true");
    if (!ok) {
        kafuka_zkc_conf_free(conf);
        return NULL;
    }
    kafuka_zkc_conf_set_log(conf, on_log, (void *)(uintptr_t)z->o);
    return conf;
}

/* ---- records */

static bool print(const struct console_zk *z, const struct kafuka_zkc_message *m)
{
    struct format_header headers[HEADERS_MAX];
    struct format_record r = {
        .time_kind = m->timestamp_ms < 0 ? FORMAT_NO_TIME
                     : m->is_append_time ? FORMAT_LOG_APPEND_TIME
                                         : FORMAT_CREATE_TIME,
        .timestamp_ms = m->timestamp_ms,
        .offset = m->offset,
        .partition = m->partition,
        .key = m->key == NULL ? BYTES_NULL : (struct bytes){m->key, (int64_t)m->key_size},
        .value = m->value == NULL ? BYTES_NULL : (struct bytes){m->value, (int64_t)m->value_size},
        .headers = headers,
    };
    const char *name;
    const void *value;
    size_t size;

    while (z->with_headers && r.header_count < HEADERS_MAX &&
           kafuka_zkc_message_header(m, (size_t)r.header_count, &name, &value, &size))
        headers[r.header_count++] = (struct format_header){
            str_of(name), value == NULL ? BYTES_NULL : (struct bytes){value, (int64_t)size}};
    return z->found(z->arg, m->topic, &r);
}

/* Until the member has its first share, so that --timeout-ms counts from there, as with Kafka's. */
static void wait_joined(struct kafuka_zkc *c)
{
    int64_t until_ms = clock_mono_ms() + JOIN_MAX_MS;
    char line[1];

    while (kafuka_zkc_history(c, 0, line, sizeof line) == 0 && clock_mono_ms() < until_ms &&
           !rdkafka_stop_requested())
        (void)poll(NULL, 0, JOIN_LOOK_MS);
}

static void consume(const struct console_zk *z, struct kafuka_zkc_stream *s)
{
    int64_t last_ms = clock_mono_ms();
    bool wants_more = true;

    while (wants_more && !rdkafka_stop_requested()) {
        int64_t wait_ms = z->out->len > 0 ? 0 : WAIT_MS;
        struct kafuka_zkc_message m;

        if (z->timeout_ms >= 0)
            wait_ms = i64_min(wait_ms, i64_max(last_ms + z->timeout_ms - clock_mono_ms(), 0));
        switch (kafuka_zkc_next(s, (int)wait_ms, &m)) {
        case KAFUKA_ZKC_OK:
            wants_more = print(z, &m);
            kafuka_zkc_message_release(&m);
            last_ms = clock_mono_ms();
            break;
        case KAFUKA_ZKC_TIMEOUT:
            wants_more = z->flush(z->arg) &&
                         (z->timeout_ms < 0 || clock_mono_ms() - last_ms < z->timeout_ms);
            break;
        case KAFUKA_ZKC_CLOSED:
        case KAFUKA_ZKC_ERROR:
        case KAFUKA_ZKC_UNKNOWN:
            wants_more = false;
            break;
        }
        if (z->out->len == 0 && z->flush(z->arg)) /* not if what was there could not be written */
            kafuka_zkc_done(s);
    }
    if (z->flush(z->arg))
        kafuka_zkc_done(s);
}

static int join_and_consume(const struct console_zk *z, const char *group)
{
    struct kafuka_zkc_conf *conf = make_conf(z, group);
    struct kafuka_zkc *c;
    char error[512];
    int rc = 1;

    if (conf == NULL)
        return 1;
    c = kafuka_zkc_new(conf, error, sizeof error);
    if (c == NULL)
        return opts_fail(z->o, "%s", error);
    rdkafka_catch_signals();
    if (kafuka_zkc_subscribe_filter(
            c, z->is_black_list ? KAFUKA_ZKC_BLACK_LIST : KAFUKA_ZKC_WHITE_LIST, z->regex, 1, error,
            sizeof error) != KAFUKA_ZKC_OK ||
        kafuka_zkc_start(c, error, sizeof error) != KAFUKA_ZKC_OK) {
        (void)opts_fail(z->o, "%s", error);
    } else {
        wait_joined(c);
        consume(z, kafuka_zkc_stream(c, NULL, 0));
        rc = 0;
    }
    kafuka_zkc_close(c);
    return rc;
}

int console_zk_run(const struct console_zk *z)
{
    const char *named = opts_text(z->o, "group", props_get(z->p, "group.id", NULL));
    char *group = named != NULL ? xstrdup(named) : generated_group();
    int rc = prepare(z->o, group);

    if (rc < 0) {
        rc = join_and_consume(z, group);
        if (named == NULL)
            delete_generated(z->o, group);
    }
    mem_free(group);
    return rc;
}
