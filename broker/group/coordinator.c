/* SPDX-License-Identifier: Apache-2.0 */
/* coordinator - start and stop, news from outside, and which partition a group belongs to. */
#include "broker/group/coordinator_internal.h"

#include "broker/config/config.h"
#include "broker/cluster/metadata.h"
#include "common/base/slog.h"
#include "common/protocol/messages.h"

#include <stdlib.h>

/* ---- which partition */

/* The next UTF-16 units of UTF-8 text, as Java decodes it: what is not valid gives U+FFFD. Returns
 * the bytes used. */
static int32_t utf16_next(const uint8_t *p, int32_t len, uint32_t *code_out)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    int32_t n = p[0] < 0x80                    ? 1
                : p[0] >= 0xc2 && p[0] <= 0xdf ? 2
                : (p[0] & 0xf0) == 0xe0        ? 3
                : p[0] >= 0xf0 && p[0] <= 0xf4 ? 4
                                               : 0;
    uint32_t code = n <= 1 ? p[0] : p[0] & (0xffu >> (n + 1));

    for (int32_t i = 1; i < n; i++) {
        if (i >= len || (p[i] & 0xc0) != 0x80) {
            *code_out = 0xfffd;
            return i;
        }
        code = code << 6 | (p[i] & 0x3f);
    }
    if (n == 0 || code < least[n] || code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff)) {
        *code_out = 0xfffd;
        return 1;
    }
    *code_out = code;
    return n;
}

/* KAFKA: Utils.abs(String.hashCode()), where abs of the least number is 0. */
int32_t coordinator_partition_of(struct str group, int32_t count)
{
    uint32_t h = 0, code;

    ASSERT(count > 0);
    for (int32_t i = 0; i < group.len;) {
        i += utf16_next((const uint8_t *)group.p + i, group.len - i, &code);
        if (code > 0xffff) {
            h = 31 * h + 0xd800 + ((code - 0x10000) >> 10);
            code = 0xdc00 + ((code - 0x10000) & 0x3ff);
        }
        h = 31 * h + code;
    }
    if (h == 0x80000000u)
        h = 0;
    else if (h > 0x80000000u)
        h = 0u - h;
    return (int32_t)(h % (uint32_t)count);
}

/* A group's partition must not depend on when it is asked for: the count stays what it was when the
 * topic was first seen whole, though partitions be added by another program. */
int32_t coordinator_partition_count(struct coordinator *c, const struct metadata *now)
{
    const struct metadata_topic *t = metadata_topic(now, STR_LIT(OFFSETS_TOPIC));
    struct seat *s = seat_of_loop(c, loop_current());

    if (t == NULL || t->partition_count == 0)
        return c->broker->config->offsets_topic_num_partitions;
    if (s->partition_count > 0 && uuid_eq(s->topic_id, t->id)) {
        if (s->partition_count != t->partition_count)
            SLOG_EVERY(600000, ERROR, "group",
                       "partitions were added to __consumer_offsets: groups stay where they are "
                       "until the brokers are restarted, and then lose their offsets",
                       KV_I("partitions", t->partition_count), KV_I("used", s->partition_count));
        return s->partition_count;
    }
    for (int32_t i = 0; i < t->partition_count; i++)
        if (!t->partitions[i].exists)
            return t->partition_count; /* not known whole yet */
    s->topic_id = t->id;
    s->partition_count = t->partition_count;
    return s->partition_count;
}

/* ---- seats */

struct seat *seat_of_loop(struct coordinator *c, const struct loop *l)
{
    for (int i = 0; i < c->seat_count; i++)
        if (c->seats[i].loop == l)
            return &c->seats[i];
    UNREACHABLE();
}

struct seat *seat_of_partition(struct coordinator *c, int32_t partition)
{
    return &c->seats[partition % c->seat_count];
}

/* ---- start and stop */

static struct group_limits limits_of(const struct config *c)
{
    return (struct group_limits){
        .min_session_ms = c->group_min_session_timeout_ms,
        .max_session_ms = c->group_max_session_timeout_ms,
        .initial_rebalance_delay_ms = c->group_initial_rebalance_delay_ms,
        .max_size = c->group_max_size,
        .metadata_max = c->offset_metadata_max_bytes,
        .retention_ms = (int64_t)c->offsets_retention_minutes * 60000,
        .history_max = HISTORY_MAX,
        .append_bytes_max = MERGED_BYTES_MAX,
    };
}

/* "0" to "4" as in Kafka, or the name: the option's check lets nothing else through. */
static enum codec codec_of(const char *text)
{
    enum codec codec = CODEC_NONE;

    if (text[0] >= '0' && text[0] < '0' + CODEC_COUNT)
        return (enum codec)(text[0] - '0');
    MUST(codec_parse(str_of(text), &codec));
    return codec;
}

void coordinator_start(struct broker *b)
{
    const struct config *config = b->config;
    struct coordinator *c = xcalloc(1, sizeof *c + (size_t)b->loop_count * sizeof c->seats[0]);

    c->magic = COORDINATOR_MAGIC;
    c->broker = b;
    c->limits = limits_of(config);
    c->codec = codec_of(config->offsets_topic_compression_codec);
    c->acks = config->offsets_commit_required_acks;
    c->append_timeout_ms = config->offsets_commit_timeout_ms;
    c->expire_interval_ms = config->offsets_retention_check_interval_ms;
    c->load_buffer_bytes = config->offsets_load_buffer_size;
    lock_init(&c->load_lock, LOCK_METADATA); /* the pool's is taken inside */
    TAILQ_INIT(&c->load_queue);
    c->seat_count = b->loop_count;
    for (int i = 0; i < b->loop_count; i++)
        seat_init(&c->seats[i], c, i);
    b->groups = c;
}

static void quit_on_loop(void *arg)
{
    seat_quit(arg);
}

static void nothing(void *arg UNUSED)
{
}

static void round_of_mail(struct coordinator *c)
{
    for (int i = 0; i < c->seat_count; i++)
        loop_call(c->seats[i].loop, nothing, NULL);
}

static bool has_loads(struct coordinator *c)
{
    lock_take(&c->load_lock);
    bool any = c->loads_running > 0;
    lock_release(&c->load_lock);
    return any;
}

void coordinator_quit(struct coordinator *c)
{
    if (c == NULL)
        return;
    atomic_store(&c->is_quitting, true);
    for (int i = 0; i < c->seat_count; i++)
        loop_call(c->seats[i].loop, quit_on_loop, &c->seats[i]);
    /* Whoever waited is on the way home, a hop a round; loads end at their next chunk; a wake of an
     * append that was on its way has come. */
    while (atomic_load(&c->trips) > 0 || has_loads(c))
        round_of_mail(c);
    round_of_mail(c);
}

void coordinator_free(struct coordinator **cp)
{
    struct coordinator *c = *cp;

    *cp = NULL;
    if (c == NULL)
        return;
    ASSERT(atomic_load(&c->trips) == 0);
    for (int i = 0; i < c->seat_count; i++) {
        ASSERT(c->seats[i].shard_count == 0 && TAILQ_EMPTY(&c->seats[i].ended));
        mem_free(c->seats[i].shards);
    }
    lock_fini(&c->load_lock);
    c->magic = 0;
    mem_free(c);
}

/* ---- news */

struct role_news {
    struct mail mail;
    struct seat *seat;
    int32_t partition;
};

static void role_delivered(struct mail *m)
{
    struct role_news *n = CONTAINER_OF(m, struct role_news, mail);

    seat_look(n->seat, n->partition);
    mem_free(n);
}

/* What has changed is not told but looked up when the mail arrives: so it does not matter in which
 * order two threads tell. */
void coordinator_role_changed(struct coordinator *c, struct str topic, int32_t partition)
{
    if (c == NULL || !str_eq_z(topic, OFFSETS_TOPIC))
        return;
    CHECK_OBJ(c, COORDINATOR_MAGIC);
    struct role_news *n = xcalloc(1, sizeof *n);
    n->seat = seat_of_partition(c, partition);
    n->partition = partition;
    n->mail.deliver = role_delivered;
    loop_post(n->seat->loop, &n->mail);
}

struct topics_news { /* one for each loop */
    struct mail mail;
    struct seat *seat;
    struct buf text;
    struct str *names; /* into text */
    int32_t count;
};

static void topics_delivered(struct mail *m)
{
    struct topics_news *n = CONTAINER_OF(m, struct topics_news, mail);
    struct seat *s = n->seat;

    for (int32_t i = 0; i < s->shard_cap; i++) {
        struct shard *shard = s->shards[i];
        if (shard == NULL || shard->state != SHARD_ACTIVE)
            continue;
        struct group_event ev = {.kind = GEV_TOPICS_DELETED};
        ev.topics.names = n->names;
        ev.topics.count = n->count;
        shard_step(shard, &ev);
    }
    buf_fini(&n->text);
    mem_free(n->names);
    mem_free(n);
}

static bool is_gone(const struct kp_UpdateMetadataRequest_UpdateMetadataTopicState *t,
                    const struct metadata *now)
{
    bool any = false;

    for (int32_t i = 0; i < t->partition_states_count && !any; i++)
        any = t->partition_states[i].leader == METADATA_LEADER_DELETED;
    return any && metadata_topic(now, t->topic_name) == NULL;
}

/* KAFKA: a topic whose deletion nobody heard of (its coordinator was loading) keeps its offsets
 * until they expire. */
void coordinator_metadata_changed(struct coordinator *c, const struct kp_UpdateMetadataRequest *req,
                                  const struct metadata *now)
{
    struct str *names = NULL;
    int32_t count = 0;
    size_t bytes = 0;

    for (int32_t i = 0; c != NULL && i < req->topic_states_count; i++) {
        if (!is_gone(&req->topic_states[i], now))
            continue;
        names = xrealloc(names, ((size_t)count + 1) * sizeof *names);
        names[count++] = req->topic_states[i].topic_name;
        bytes += (size_t)req->topic_states[i].topic_name.len;
    }
    for (int s = 0; count > 0 && s < c->seat_count; s++) {
        struct topics_news *n = xcalloc(1, sizeof *n);
        n->seat = &c->seats[s];
        n->count = count;
        n->names = xcalloc((size_t)count, sizeof *n->names);
        buf_reserve(&n->text, bytes);
        for (int32_t i = 0; i < count; i++) {
            n->names[i] = (struct str){(const char *)n->text.p + n->text.len, names[i].len};
            buf_add(&n->text, names[i].p, (size_t)names[i].len);
        }
        n->mail.deliver = topics_delivered;
        loop_post(n->seat->loop, &n->mail);
    }
    mem_free(names);
}
