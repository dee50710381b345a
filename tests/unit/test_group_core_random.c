/* SPDX-License-Identifier: Apache-2.0 */
/* Models of real consumers, an administrator and a log that fails, against the group core, driven
 * by a seed: lost answers, clients that die and come back (static ones with a new id), appends that
 * are late, refused, or written and yet reported as failed, leadership that moves and truncates
 * what was not acknowledged, jumps of time.
 *
 * After every step: the core's own invariants; each call answered at most once, and by an unload
 * all of them; the offsets in memory are exactly those that the log's answers make, so that an
 * acknowledged commit is never lost or set back, also by a reload; generations do not fall while a
 * core lives; no partition has two owners in a generation. In the end, without faults: every group
 * is Stable with all its clients within the timeouts, each partition has one owner. Each seed runs
 * twice and must do the same, byte for byte. SEED=n repeats one run, SEEDS=n makes n. */
#include "broker/group/group_core.h"
#include "broker/group/group_records.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>

enum { GROUPS = 2, CLIENTS = 8, TOPICS = 2, PARTITIONS = 4, STEPS = 1500 };
enum { KEYS_GROUPS = GROUPS + 1 }; /* the last is a simple group */
enum { APPENDS_MAX = 128, LOG_MAX = 4096, CALLS_MAX = 8192, GENERATIONS_MAX = 1024 };
enum { ID_BYTES = 32, OWNED_BITS = 8 };
enum { SESSION_MS = 10000, REBALANCE_MS = 20000, CALL_MS = 30000 };

enum call_state { CALL_FREE, CALL_WAITS, CALL_ANSWERED };
enum client_state { OUT, JOINED, STABLE, DEAD };

struct client {
    int group;
    int instance; /* -1: dynamic */
    bool is_v9, is_old;
    enum client_state state;
    char id[ID_BYTES];
    int32_t generation;
    uint64_t call; /* 0: none waits */
    enum group_reply_kind call_kind;
    int64_t called_ms, back_ms;
    bool leads, skips;
    char members[CLIENTS + 8][ID_BYTES];
    int member_count;
    uint8_t owned;
    uint8_t metadata; /* of its subscription; changes now and then */
};

struct entry {
    uint8_t *key, *value;
    int64_t key_len, value_len, pos;
};

struct append {
    uint64_t id;
    int16_t error;
    int64_t pos; /* of its first record; -1: not written */
    int first, count;
};

struct settled {
    int64_t pos, offset; /* offset -1: none */
};

static struct world {
    uint64_t rng, seed, hash;
    int64_t now, wall;
    struct group_core *core;
    struct group_limits limits;
    struct client clients[CLIENTS];
    uint8_t calls[CALLS_MAX];
    uint64_t next_call;
    int64_t waiting; /* calls */
    int next_id;
    struct entry log[LOG_MAX];
    int log_count;
    int64_t log_end, acked_end; /* behind the last acknowledged record */
    struct append appends[APPENDS_MAX];
    int append_count;
    struct settled truth[KEYS_GROUPS][TOPICS][PARTITIONS];
    int64_t next_offset;
    int32_t last_generation[GROUPS];
    char owners[GROUPS][GENERATIONS_MAX][OWNED_BITS][ID_BYTES];
    bool is_healing;
    /* what happened */
    int64_t joined, synced, commits, reloads, fenced, failed, rebalances, expired;
} w;

#define HOLDS(cond)                                                                                 \
    do {                                                                                           \
        if (!(cond))                                                                               \
            ck_abort_msg("%s (SEED=%llu)", #cond, (unsigned long long)w.seed);                     \
    } while (0)

static uint32_t pick(uint32_t n)
{
    w.rng = w.rng * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(w.rng >> 33) % n;
}

static bool chance(uint32_t percent)
{
    return !w.is_healing && pick(100) < percent;
}

/* ---- names */

static const char *const group_names[KEYS_GROUPS] = {"g0", "g1", "simple"};
static const char *const topic_names[TOPICS] = {"t0", "t1"};
static const char *const instance_names[CLIENTS] = {"i0", "i1", "i2", "i3", "i4", "i5", "i6", "i7"};

static int index_of(const char *const *names, int count, struct str s)
{
    for (int i = 0; i < count; i++) {
        if (str_eq_z(s, names[i]))
            return i;
    }
    ck_abort_msg("an unknown name (SEED=%llu)", (unsigned long long)w.seed);
    return -1;
}

static void id_set(char to[ID_BYTES], struct str s)
{
    HOLDS(s.len >= 0 && s.len < ID_BYTES);
    memcpy(to, s.p, (size_t)s.len);
    to[s.len] = 0;
}

/* A static member is its instance, whatever its id. */
static void identity(char to[ID_BYTES], const struct client *cl)
{
    if (cl->instance >= 0)
        (void)snprintf(to, ID_BYTES, "%s", instance_names[cl->instance]);
    else
        memcpy(to, cl->id, ID_BYTES);
}

/* ---- the trace */

static void hash_add(const void *p, int64_t len)
{
    for (int64_t i = 0; i < len; i++)
        w.hash = (w.hash ^ ((const uint8_t *)p)[i]) * 1099511628211u;
    w.hash = (w.hash ^ (uint64_t)len) * 1099511628211u;
}

static void hash_str(struct str s)
{
    hash_add(s.p, s.len < 0 ? 0 : s.len);
}

static void hash_number(int64_t n)
{
    hash_add(&n, sizeof n);
}

static void hash_reply(const struct group_reply *r)
{
    hash_number(r->kind);
    hash_number((int64_t)r->call);
    hash_number(r->error);
    if (r->kind == GROUP_REPLY_JOIN) {
        hash_number(r->join.generation);
        hash_str(r->join.leader);
        hash_str(r->join.member_id);
        hash_str(r->join.protocol);
        for (int i = 0; i < r->join.member_count; i++) {
            hash_str(r->join.members[i].member_id);
            hash_add(r->join.members[i].metadata.p, r->join.members[i].metadata.len);
        }
    } else if (r->kind == GROUP_REPLY_SYNC) {
        hash_add(r->sync.assignment.p, r->sync.assignment.len);
    }
}

/* ---- the log */

static void settle(const struct entry *e)
{
    struct arena arena = {0};
    struct group_event ev;
    enum group_record_kind kind;
    struct errtext why;
    enum err rc =
        group_records_decode((struct bytes){e->key, e->key_len},
                             (struct bytes){e->value, e->value_len}, &arena, &kind, &ev, &why);

    HOLDS(rc == ERR_OK);
    if (kind == GROUP_RECORD_OFFSET) {
        const struct group_load_offset *l = &ev.load_offset;
        struct settled *s = &w.truth[index_of(group_names, KEYS_GROUPS, l->group)]
                                    [index_of(topic_names, TOPICS, l->topic)][l->partition];
        if (e->pos >= s->pos)
            *s = (struct settled){e->pos, l->value == NULL ? -1 : l->value->offset};
    }
    arena_fini(&arena);
}

static void entry_free(struct entry *e)
{
    mem_free(e->key);
    mem_free(e->value);
}

static uint8_t *copy_of(struct bytes b)
{
    uint8_t *p;

    if (b.p == NULL)
        return NULL;
    p = xmalloc((size_t)b.len);
    if (b.len > 0)
        memcpy(p, b.p, (size_t)b.len);
    return p;
}

/* How it ends is known now; it is told later, or never. */
static void take_append(const struct group_append *a)
{
    static const int16_t refused[] = {KE_NOT_ENOUGH_REPLICAS, KE_NOT_LEADER_OR_FOLLOWER,
                                      KE_MESSAGE_TOO_LARGE};
    static const int16_t written[] = {KE_NOT_ENOUGH_REPLICAS_AFTER_APPEND, KE_REQUEST_TIMED_OUT};
    struct append *p = &w.appends[w.append_count++];
    bool is_refused = chance(4);

    HOLDS(w.append_count < APPENDS_MAX);
    *p = (struct append){.id = a->append_id, .pos = -1, .first = w.log_count, .count = a->count};
    for (int i = 0; i < a->count; i++) {
        hash_add(a->records[i].key.p, a->records[i].key.len);
        hash_add(a->records[i].value.p,
                 a->records[i].value.p == NULL ? 0 : a->records[i].value.len);
    }
    if (is_refused) {
        p->error = refused[pick(ARRAY_LEN(refused))];
        return;
    }
    p->error = chance(4) ? written[pick(ARRAY_LEN(written))] : KE_NONE;
    p->pos = w.log_end;
    for (int i = 0; i < a->count; i++) {
        HOLDS(w.log_count < LOG_MAX);
        w.log[w.log_count++] =
            (struct entry){copy_of(a->records[i].key), copy_of(a->records[i].value),
                           a->records[i].key.len, a->records[i].value.len, p->pos};
    }
    w.log_end += a->count;
}

/* ---- answers reach the clients */

static void forget(struct client *cl)
{
    cl->state = OUT;
    cl->id[0] = 0;
    cl->generation = -1;
    cl->owned = 0;
}

/* What every kind of answer has in common. False: it was an error. */
static bool common(struct client *cl, int16_t error)
{
    switch (error) {
    case KE_NONE:
        return true;
    case KE_UNKNOWN_MEMBER_ID:
        forget(cl);
        break;
    case KE_ILLEGAL_GENERATION:
    case KE_REBALANCE_IN_PROGRESS:
        cl->state = OUT;
        break;
    case KE_FENCED_INSTANCE_ID:
        HOLDS(cl->instance >= 0);
        w.fenced++;
        forget(cl);
        cl->state = DEAD;
        cl->back_ms = w.now + pick(20000);
        break;
    case KE_GROUP_MAX_SIZE_REACHED:
        HOLDS(w.limits.max_size < CLIENTS);
        forget(cl);
        cl->back_ms = w.now + 5000;
        break;
    default:
        HOLDS(error != KE_INCONSISTENT_GROUP_PROTOCOL && error != KE_INVALID_GROUP_ID);
        if (cl->state == JOINED)
            cl->state = OUT;
        break;
    }
    return false;
}

static void on_joined(struct client *cl, const struct group_reply *r)
{
    if (r->error == KE_MEMBER_ID_REQUIRED) {
        HOLDS(cl->instance < 0 && !cl->is_old);
        id_set(cl->id, r->join.member_id);
        return;
    }
    if (!common(cl, r->error))
        return;
    HOLDS(r->join.generation > 0);
    HOLDS(r->join.generation >= w.last_generation[cl->group]);
    w.last_generation[cl->group] = r->join.generation;
    w.joined++;
    id_set(cl->id, r->join.member_id);
    cl->generation = r->join.generation;
    cl->state = JOINED;
    cl->leads = str_eq(r->join.leader, r->join.member_id);
    cl->skips = r->join.skip_assignment;
    HOLDS(!cl->skips || (cl->leads && cl->is_v9 && cl->instance >= 0));
    HOLDS(cl->leads == (r->join.member_count > 0));
    cl->member_count = r->join.member_count;
    for (int i = 0; i < cl->member_count && i < (int)ARRAY_LEN(cl->members); i++)
        id_set(cl->members[i], r->join.members[i].member_id);
}

static void own(struct client *cl, uint8_t bits)
{
    char me[ID_BYTES];

    HOLDS(cl->generation < GENERATIONS_MAX);
    identity(me, cl);
    for (int i = 0; i < OWNED_BITS; i++) {
        char *owner = w.owners[cl->group][cl->generation][i];
        if ((bits >> i & 1) == 0)
            continue;
        HOLDS(owner[0] == 0 || strcmp(owner, me) == 0);
        memcpy(owner, me, ID_BYTES);
    }
    cl->owned = bits;
}

static void on_synced(struct client *cl, const struct group_reply *r)
{
    if (!common(cl, r->error))
        return;
    cl->state = STABLE;
    w.synced++;
    own(cl, r->sync.assignment.len == 0 ? 0 : r->sync.assignment.p[0]);
}

static void on_reply(const struct group_reply *r)
{
    HOLDS(r->call < CALLS_MAX && w.calls[r->call] == CALL_WAITS);
    w.calls[r->call] = CALL_ANSWERED;
    w.waiting--;
    hash_reply(r);
    for (int i = 0; i < CLIENTS; i++) {
        struct client *cl = &w.clients[i];
        if (cl->call != r->call)
            continue;
        cl->call = 0;
        if (chance(3)) /* the answer is lost with the connection */
            return;
        if (r->kind == GROUP_REPLY_JOIN)
            on_joined(cl, r);
        else if (r->kind == GROUP_REPLY_SYNC)
            on_synced(cl, r);
        else if (r->kind == GROUP_REPLY_LEAVE)
            forget(cl);
        else
            (void)common(cl, r->error);
        return;
    }
}

static void check_offsets(void)
{
    for (int g = 0; g < KEYS_GROUPS; g++) {
        for (int t = 0; t < TOPICS; t++) {
            for (int p = 0; p < PARTITIONS; p++) {
                struct group_offset o;
                (void)group_core_offset(w.core, str_of(group_names[g]), str_of(topic_names[t]), p,
                                        &o);
                HOLDS(o.offset == w.truth[g][t][p].offset);
            }
        }
    }
}

/* A group that is gone begins anew with generation 1. */
static void forget_gone_groups(void)
{
    for (int g = 0; g < GROUPS; g++) {
        struct group_view v;
        if (group_core_find(w.core, str_of(group_names[g]), &v))
            continue;
        if (w.last_generation[g] > 0)
            memset(w.owners[g], 0, sizeof w.owners[g]);
        w.last_generation[g] = 0;
    }
}

static void step(struct group_event ev)
{
    struct group_effects fx;

    ev.now_ms = w.now;
    ev.wall_ms = w.wall;
    group_core_step(w.core, &ev, &fx);
    for (int i = 0; i < fx.count; i++) {
        if (fx.v[i].kind == GFX_REPLY)
            on_reply(&fx.v[i].reply);
        else if (fx.v[i].kind == GFX_APPEND)
            take_append(&fx.v[i].append);
        else
            hash_str(fx.v[i].rebalance.reason);
    }
    group_core_check(w.core);
    if (ev.kind == GEV_APPENDED || ev.kind == GEV_LOADED)
        forget_gone_groups();
}

static void deliver(int at)
{
    struct append p = w.appends[at];

    w.append_count--;
    memmove(&w.appends[at], &w.appends[at + 1],
            (size_t)(w.append_count - at) * sizeof w.appends[0]);
    if (p.error == KE_NONE) {
        for (int i = 0; i < w.log_count; i++) {
            if (w.log[i].pos == p.pos)
                settle(&w.log[i]);
        }
        w.acked_end = i64_max(w.acked_end, p.pos + p.count);
    } else {
        w.failed++;
    }
    step((struct group_event){.kind = GEV_APPENDED, .appended = {p.id, p.error, p.pos}});
    check_offsets();
}

/* ---- calls */

static uint64_t new_call(void)
{
    HOLDS(w.next_call < CALLS_MAX - 1);
    w.next_call++;
    w.calls[w.next_call] = CALL_WAITS;
    w.waiting++;
    return w.next_call;
}

static struct group_event call_of(struct client *cl, enum group_event_kind kind,
                                  enum group_reply_kind answer)
{
    cl->call = new_call();
    cl->call_kind = answer;
    cl->called_ms = w.now;
    return (struct group_event){.kind = kind, .call = cl->call};
}

static struct str instance_of(const struct client *cl)
{
    return cl->instance < 0 ? STR_NULL : str_of(instance_names[cl->instance]);
}

static void send_join(struct client *cl)
{
    struct group_event ev = call_of(cl, GEV_JOIN, GROUP_REPLY_JOIN);
    struct group_protocol protocols[2] = {{STR_LIT("range"), {&cl->metadata, 1}},
                                          {STR_LIT("rr"), {&cl->metadata, 1}}};
    char suffix[16];

    (void)snprintf(suffix, sizeof suffix, "%d", w.next_id++);
    ev.join = (struct group_join){.group = str_of(group_names[cl->group]),
                                  .member_id = str_of(cl->id),
                                  .instance_id = instance_of(cl),
                                  .client_id = STR_LIT("c"),
                                  .client_host = STR_LIT("/127.0.0.1"),
                                  .protocol_type = STR_LIT("consumer"),
                                  .protocols = protocols,
                                  .protocol_count = 1 + (cl->metadata & 1),
                                  .session_ms = SESSION_MS,
                                  .rebalance_ms = REBALANCE_MS,
                                  .needs_known_id = !cl->is_old,
                                  .can_skip_assignment = cl->is_v9,
                                  .new_id_suffix = str_of(suffix),
                                  .reason = STR_NULL};
    step(ev);
}

static void send_sync(struct client *cl)
{
    struct group_event ev = call_of(cl, GEV_SYNC, GROUP_REPLY_SYNC);
    struct group_assignment v[CLIENTS + 8];
    uint8_t bits[CLIENTS + 8] = {0};
    int n = cl->leads && !cl->skips ? cl->member_count : 0;

    for (int i = 0; i < OWNED_BITS && n > 0; i++)
        bits[i % n] |= (uint8_t)(1 << i);
    for (int i = 0; i < n; i++)
        v[i] = (struct group_assignment){str_of(cl->members[i]), {&bits[i], 1}};
    ev.sync = (struct group_sync){.group = str_of(group_names[cl->group]),
                                  .member_id = str_of(cl->id),
                                  .instance_id = instance_of(cl),
                                  .generation = cl->generation,
                                  .protocol_type = STR_LIT("consumer"),
                                  .protocol = STR_NULL,
                                  .assignments = v,
                                  .assignment_count = n};
    step(ev);
}

static void send_heartbeat(struct client *cl)
{
    struct group_event ev = call_of(cl, GEV_HEARTBEAT, GROUP_REPLY_HEARTBEAT);

    ev.heartbeat = (struct group_heartbeat){str_of(group_names[cl->group]), str_of(cl->id),
                                            instance_of(cl), cl->generation};
    step(ev);
}

static void send_leave(struct client *cl)
{
    struct group_event ev = call_of(cl, GEV_LEAVE, GROUP_REPLY_LEAVE);
    struct group_leaver l = {str_of(cl->id), instance_of(cl), STR_LIT("done")};

    ev.leave = (struct group_leave){str_of(group_names[cl->group]), &l, 1};
    step(ev);
}

static struct group_commit_item random_item(void)
{
    return (struct group_commit_item){
        str_of(topic_names[pick(TOPICS)]),
        (int32_t)pick(PARTITIONS),
        {++w.next_offset, -1, chance(50) ? STR_LIT("m") : STR_LIT(""), w.wall, -1}};
}

static void send_commit(struct client *cl)
{
    struct group_event ev = call_of(cl, GEV_COMMIT, GROUP_REPLY_COMMIT);
    struct group_commit_item items[2] = {random_item(), random_item()};

    w.commits++;
    ev.commit = (struct group_commit){str_of(group_names[cl->group]),
                                      str_of(cl->id),
                                      instance_of(cl),
                                      cl->generation,
                                      items,
                                      1 + (int32_t)pick(2)};
    step(ev);
}

/* Somebody starts a second client with the instance of another, and stops it soon. */
static void impersonate(void)
{
    struct client impostor = w.clients[pick(CLIENTS)];

    if (impostor.instance < 0)
        return;
    impostor.id[0] = 0;
    send_join(&impostor);
}

/* A consumer without a group, and an administrator: they look at no answer. */
static void commit_alone(int group)
{
    struct group_commit_item item = random_item();

    w.commits++;
    step((struct group_event){
        .kind = GEV_COMMIT,
        .call = new_call(),
        .commit = {str_of(group_names[group]), STR_LIT(""), STR_NULL, -1, &item, 1}});
}

static void administer(void)
{
    struct str group = str_of(group_names[pick(KEYS_GROUPS)]);
    struct str topic = str_of(topic_names[pick(TOPICS)]);
    struct group_partition p = {topic, (int32_t)pick(PARTITIONS)};
    struct group_leaver l = {STR_LIT(""), str_of(instance_names[pick(CLIENTS)]), STR_NULL};

    switch (pick(5)) {
    case 0:
        step((struct group_event){
            .kind = GEV_DELETE_GROUP, .call = new_call(), .delete_group = group});
        break;
    case 1:
        step((struct group_event){
            .kind = GEV_OFFSET_DELETE, .call = new_call(), .offset_delete = {group, &p, 1}});
        break;
    case 2:
        step((struct group_event){.kind = GEV_TOPICS_DELETED, .topics = {&topic, 1}});
        break;
    case 3:
        step((struct group_event){.kind = GEV_EXPIRE});
        break;
    default:
        step((struct group_event){.kind = GEV_LEAVE, .call = new_call(), .leave = {group, &l, 1}});
        break;
    }
}

/* ---- what a client does next */

static void act(struct client *cl)
{
    if (cl->state == DEAD && w.now >= cl->back_ms)
        forget(cl);
    if (cl->state == DEAD || w.now < cl->back_ms)
        return;
    if (cl->call != 0) {
        if (w.now - cl->called_ms < CALL_MS && !chance(2))
            return;
        cl->call = 0; /* gives up its connection, asks again */
    }
    if (cl->state == OUT) {
        cl->owned = 0;
        send_join(cl);
    } else if (cl->state == JOINED) {
        send_sync(cl);
    } else if (chance(2)) {
        send_leave(cl);
    } else if (chance(4)) {
        cl->metadata++;
        cl->state = OUT;
    } else if (chance(30)) {
        send_commit(cl);
    } else {
        send_heartbeat(cl);
    }
}

/* It is gone without a word, and its calls with it. A static one comes back soon. */
static void die(struct client *cl)
{
    forget(cl);
    cl->call = 0;
    cl->state = DEAD;
    cl->back_ms = w.now + pick(chance(50) ? 3000 : 40000);
}

/* ---- time, and other leaders */

static void pass(int64_t ms)
{
    int64_t due = group_core_deadline_ms(w.core);

    w.now += ms;
    w.wall += ms;
    if (due >= 0 && due <= w.now)
        step((struct group_event){.kind = GEV_TICK});
}

static void truth_of_log(void)
{
    for (int g = 0; g < KEYS_GROUPS; g++) {
        for (int t = 0; t < TOPICS; t++) {
            for (int p = 0; p < PARTITIONS; p++)
                w.truth[g][t][p] = (struct settled){-1, -1};
        }
    }
    for (int i = 0; i < w.log_count; i++)
        settle(&w.log[i]);
}

/* What was not acknowledged may be lost, from some batch on. */
static void truncate_some(void)
{
    int64_t to = w.acked_end + pick((uint32_t)(w.log_end - w.acked_end) + 1);

    while (w.log_count > 0 && w.log[w.log_count - 1].pos >= to)
        entry_free(&w.log[--w.log_count]);
}

static void load_log(void)
{
    for (int i = 0; i < w.log_count; i++) {
        struct entry *e = &w.log[i];
        struct arena arena = {0};
        struct group_event ev;
        enum group_record_kind kind;
        struct errtext why;
        enum err rc =
            group_records_decode((struct bytes){e->key, e->key_len},
                                 (struct bytes){e->value, e->value_len}, &arena, &kind, &ev, &why);
        HOLDS(rc == ERR_OK);
        if (kind == GROUP_RECORD_OFFSET)
            ev.load_offset.batch_offset = e->pos;
        step(ev);
        arena_fini(&arena);
    }
}

static void keep_numbers(void)
{
    struct group_numbers n;

    group_core_count(w.core, &n);
    w.rebalances += n.rebalances;
    w.expired += n.expired_offsets;
}

static void fail_over(void)
{
    w.reloads++;
    keep_numbers();
    step((struct group_event){.kind = GEV_UNLOAD});
    HOLDS(w.waiting == 0); /* everybody was answered */
    w.append_count = 0;
    truncate_some();
    w.acked_end = w.log_end; /* the new leader loads what its followers have, or will have */
    group_core_free(&w.core);
    w.core = group_core_new(&w.limits, w.now);
    load_log();
    step((struct group_event){.kind = GEV_LOADED});
    for (int g = 0; g < GROUPS; g++) {
        struct group_view v; /* what was not written may be given again */
        if (!group_core_find(w.core, str_of(group_names[g]), &v))
            continue;
        w.last_generation[g] = v.generation;
        if (v.generation == 0) /* its record was deleted, but not its last offset */
            memset(w.owners[g], 0, sizeof w.owners[g]);
    }
    truth_of_log();
    check_offsets();
}

/* ---- runs */

static void world_fini(void)
{
    group_core_free(&w.core);
    while (w.log_count > 0)
        entry_free(&w.log[--w.log_count]);
}

static void world_init(uint64_t seed)
{
    memset(&w, 0, sizeof w);
    w.seed = seed;
    w.rng = seed * 2654435761u + 1;
    w.hash = 14695981039346656037u;
    w.now = 1000;
    w.wall = INT64_C(1700000000000);
    w.limits = (struct group_limits){.min_session_ms = 6000,
                                     .max_session_ms = 60000,
                                     .initial_rebalance_delay_ms = pick(2) == 0 ? 0 : 3000,
                                     .max_size = pick(4) == 0 ? 3 : INT32_MAX,
                                     .metadata_max = 100,
                                     .retention_ms = 20000,
                                     .history_max = (int32_t)pick(4),
                                     .append_bytes_max = pick(2) == 0 ? 100 : 100000};
    for (int i = 0; i < CLIENTS; i++) {
        struct client *cl = &w.clients[i];
        cl->group = i % GROUPS;
        cl->instance = pick(3) == 0 ? i : -1;
        cl->is_v9 = pick(2) == 0;
        cl->is_old = pick(4) == 0;
        forget(cl);
    }
    w.core = group_core_new(&w.limits, w.now);
    step((struct group_event){.kind = GEV_LOADED});
    truth_of_log();
}

static void random_step(void)
{
    uint32_t dice = pick(1000);
    struct client *cl = &w.clients[pick(CLIENTS)];

    pass(pick(200));
    if (dice < 650)
        act(cl);
    else if (dice < 850 && w.append_count > 0)
        deliver(pick(4) == 0 ? (int)pick((uint32_t)w.append_count) : 0);
    else if (dice < 900)
        commit_alone(pick(4) == 0 ? (int)pick(GROUPS) : GROUPS);
    else if (dice < 920)
        administer();
    else if (dice < 930)
        die(cl);
    else if (dice < 940)
        pass(pick(15000));
    else if (dice < 944)
        fail_over();
    else if (dice < 960)
        impersonate();
    while (w.append_count > APPENDS_MAX / 2)
        deliver(0);
    check_offsets();
}

struct search {
    struct str id;
    bool is_found;
};

static void look_at_member(void *arg, const struct group_member_view *m)
{
    struct search *s = arg;

    s->is_found = s->is_found || str_eq(s->id, m->member_id);
}

static bool is_member(const struct client *cl)
{
    struct search s = {str_of(cl->id), false};

    group_core_each_member(w.core, str_of(group_names[cl->group]), look_at_member, &s);
    return s.is_found;
}

static bool is_whole(int group)
{
    struct group_view v;
    int32_t live = 0;
    uint8_t owned = 0;

    if (!group_core_find(w.core, str_of(group_names[group]), &v) || v.state != GROUP_STABLE)
        return false;
    for (int i = 0; i < CLIENTS; i++) {
        const struct client *cl = &w.clients[i];
        if (cl->group != group)
            continue;
        if (cl->state != STABLE || cl->generation != v.generation || !is_member(cl))
            return false;
        live++;
        HOLDS((owned & cl->owned) == 0);
        owned |= cl->owned;
    }
    return v.member_count == live && owned == 0xFF;
}

static void come_together(void)
{
    int64_t until = w.now + 2 * (CALL_MS + REBALANCE_MS + SESSION_MS);

    while (w.now < until && !(is_whole(0) && is_whole(1))) {
        for (int i = 0; i < CLIENTS; i++)
            act(&w.clients[i]);
        while (w.append_count > 0)
            deliver(0);
        pass(500);
    }
    HOLDS(is_whole(0) && is_whole(1));
}

/* No faults any more: all come back, nothing fails, and soon every group is whole. One more
 * rebalance (so that the log names nobody else, whose replacement failed and yet was written), and
 * then a move of the leadership disturbs nobody. */
static void heal(void)
{
    w.is_healing = true;
    w.limits.max_size = INT32_MAX;
    group_core_set_limits(w.core, &w.limits);
    for (int i = 0; i < CLIENTS; i++)
        w.clients[i].back_ms = 0;
    come_together();
    for (int i = 0; i < CLIENTS; i++) {
        w.clients[i].metadata++;
        w.clients[i].state = OUT;
    }
    come_together();
    fail_over();
    for (int i = 0; i < CLIENTS; i++) {
        act(&w.clients[i]);
        HOLDS(w.clients[i].state == STABLE);
    }
    HOLDS(is_whole(0) && is_whole(1));
}

static uint64_t run(uint64_t seed)
{
    uint64_t hash;

    world_init(seed);
    for (int i = 0; i < STEPS; i++)
        random_step();
    keep_numbers();
    heal();
    hash = w.hash;
    world_fini();
    return hash;
}

START_TEST(groups_survive_every_history)
{
    const char *one = getenv("SEED");
    const char *many = getenv("SEEDS");
    uint64_t seeds = many == NULL ? 60 : strtoull(many, NULL, 10);
    struct world sum = {0};

    for (uint64_t seed = 1; seed <= seeds; seed++) {
        if (one != NULL)
            seed = strtoull(one, NULL, 10);
        uint64_t hash = run(seed);
        sum.joined += w.joined;
        sum.synced += w.synced;
        sum.commits += w.commits;
        sum.reloads += w.reloads;
        sum.fenced += w.fenced;
        sum.failed += w.failed;
        sum.expired += w.expired;
        sum.rebalances += w.rebalances;
        HOLDS(run(seed) == hash);
        if (one != NULL)
            return;
    }
    if (getenv("VERBOSE") != NULL)
        printf("joined %lld, synced %lld, commits %lld, reloads %lld, fenced %lld, failed %lld, "
               "expired %lld, rebalances %lld\n",
               (long long)sum.joined, (long long)sum.synced, (long long)sum.commits,
               (long long)sum.reloads, (long long)sum.fenced, (long long)sum.failed,
               (long long)sum.expired, (long long)sum.rebalances);
    /* the runs went where they should */
    ck_assert_int_gt(sum.joined, 20 * (int64_t)seeds);
    ck_assert_int_gt(sum.synced, 10 * (int64_t)seeds);
    ck_assert_int_gt(sum.commits, 50 * (int64_t)seeds);
    ck_assert_int_gt(sum.reloads, 2 * (int64_t)seeds);
    ck_assert_int_gt(sum.failed, 2 * (int64_t)seeds);
    ck_assert_int_gt(sum.fenced, 2 * (int64_t)seeds);
    ck_assert_int_gt(sum.expired, (int64_t)seeds / 10);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("group_core_random");
    TCase *t = tcase_create("random");
    SRunner *sr;
    int failed;

    tcase_set_timeout(t, 600);
    tcase_add_test(t, groups_survive_every_history);
    suite_add_tcase(s, t);
    sr = srunner_create(s);
    srunner_run_all(sr, CK_ENV);
    failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed != 0;
}
