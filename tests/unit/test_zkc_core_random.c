/* SPDX-License-Identifier: Apache-2.0 */
/* Members of a group with a model of ZooKeeper between them, driven by a seed: sessions that expire
 * on the server's clock, ephemerals, one-shot watches that come late or not at all, lost answers of
 * writes, members that join, leave, are killed, paused, cut off. After every step:
 *   - a record is handed out only by the member whose live session holds the partition's owner;
 *   - an offset in ZooKeeper never goes back.
 * In the end, without faults: exactly the assignment, every record processed at least once, every
 * offset at the end of its log. Each seed runs twice: the same trace.
 * SEED=n repeats one run, SEEDS=n makes n. */
#include "tools/zkconsumer/zkc_core.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    MEMBERS = 5,
    TOPICS = 3,
    PARTS = 13,
    LOG_MAX = 60000,
    MAIL_MAX = 20000,
    SESSION_MS = 6000,
    RESYNC_MS = 20000,
    FAULTY_MS = 120000,
    QUIET_MS = 200000
};

static const char *const topic_names[TOPICS] = {"a", "b", "clicks"};

/* A call on its way to the server, or an answer or a watch on its way back. */
struct item {
    int member;
    int32_t life; /* of the process */
    int64_t due_ms;
    bool is_call;    /* else a mail */
    bool is_waiting; /* for a connection */
    int64_t sent_ms;
    struct zkc_effect effects; /* its strings are static or in keep */
    char keep[160];
    int64_t offset; /* COMMIT */
    struct zkc_event ev;
    char text[300]; /* what ev points to */
    char *children[MEMBERS + TOPICS + 2];
    char names[MEMBERS + TOPICS + 2][64];
};

struct owned {
    bool is_started, is_stopping;
    int64_t handed, done;
    uint32_t start_seq;
    uint32_t stop_seq;
    int64_t stop_at_ms;
};

struct member {
    bool is_up, is_connected, is_paused, is_leaving;
    int32_t life;
    char id[40];
    struct zkc_options o;
    struct zkdoc_subscription subs[TOPICS];
    struct zkc_core core;
    int64_t session;      /* the client's; 0 none */
    bool session_is_told; /* the core has heard of it */
    int64_t last_due_ms, last_mail_ms;
    int64_t next_ping_ms, back_ms, resume_ms;
    struct owned owned[TOPICS][PARTS];
    bool w_members, w_topics, w_topic[TOPICS], w_brokers, w_owner[TOPICS][PARTS];
};

static struct world {
    uint64_t rng, hash, seed;
    int64_t now;
    bool is_quiet;
    struct member m[MEMBERS];
    /* the server */
    int64_t next_session;
    struct session {
        int64_t id, heard_ms;
        bool is_alive;
    } sessions[4000];
    int session_count;
    struct reg {
        bool exists;
        int64_t session;
        char id[40], data[300];
    } regs[MEMBERS];
    bool has_broken;
    struct {
        bool exists;
        int64_t session;
        char text[64];
    } owners[TOPICS][PARTS];
    int64_t offsets[TOPICS][PARTS]; /* -1: none */
    int32_t partitions[TOPICS];     /* 0: no such topic */
    int brokers;
    int64_t ends[TOPICS][PARTS];
    uint8_t processed[TOPICS][PARTS][LOG_MAX / 100];
    struct item *items[MAIL_MAX];
    int item_count;
    int64_t handed_total, expiries, unknowns, lost_watches, blocked, fenced;
} w;

static uint32_t pick(uint32_t n)
{
    w.rng = w.rng * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(w.rng >> 33) % n;
}

static void mix(const void *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        w.hash = (w.hash ^ ((const uint8_t *)p)[i]) * 1099511628211u;
}

static int topic_index(const char *name)
{
    for (int t = 0; t < TOPICS; t++)
        if (strcmp(topic_names[t], name) == 0)
            return t;
    ck_abort_msg("topic %s", name);
    return -1;
}

static struct session *session_of(int64_t id)
{
    return id == 0 ? NULL : &w.sessions[id - 1];
}

static bool is_alive(int64_t session)
{
    return session != 0 && session_of(session)->is_alive;
}

/* ---- items */

static struct item *add_item(int member, bool is_call)
{
    struct item *it = calloc(1, sizeof *it);

    ck_assert_int_lt(w.item_count, MAIL_MAX);
    it->member = member;
    it->life = w.m[member].life;
    it->is_call = is_call;
    w.items[w.item_count++] = it;
    return it;
}

/* Mails of one member keep their order. */
static struct item *mail(int member, enum zkc_event_kind kind)
{
    struct member *m = &w.m[member];
    struct item *it = add_item(member, false);

    it->due_ms = i64_max(m->last_mail_ms, w.now + 1 + pick(w.is_quiet ? 5 : 60));
    m->last_mail_ms = it->due_ms;
    it->ev.kind = kind;
    return it;
}

static struct item *part_mail(int member, enum zkc_event_kind kind,
                              const struct zkc_effect *effects, enum zkc_result result,
                              int64_t offset)
{
    struct item *it = mail(member, kind);

    it->ev.result = result;
    it->ev.part.topic = topic_names[topic_index(effects->topic)];
    it->ev.part.partition = effects->partition;
    it->ev.part.seq = effects->seq;
    it->ev.part.offset = offset;
    return it;
}

/* ---- the server: watches and state */

static bool fire(int i, bool *flag)
{
    bool was = *flag;

    *flag = false;
    if (was && !w.is_quiet && pick(50) == 0) {
        w.lost_watches++;
        return false;
    }
    return was && w.m[i].is_up;
}

static void changed(enum zkc_read what, int t)
{
    for (int i = 0; i < MEMBERS; i++) {
        struct member *m = &w.m[i];
        bool *flag = what == ZKC_MEMBERS   ? &m->w_members
                     : what == ZKC_TOPICS  ? &m->w_topics
                     : what == ZKC_BROKERS ? &m->w_brokers
                                           : &m->w_topic[t];
        if (fire(i, flag))
            mail(i, ZKC_EV_CHANGED)->ev.changed.what = what;
    }
}

static void owner_gone(int t, int p)
{
    w.owners[t][p].exists = false;
    for (int i = 0; i < MEMBERS; i++)
        if (fire(i, &w.m[i].w_owner[t][p])) {
            struct item *it = mail(i, ZKC_EV_OWNER_GONE);
            it->ev.part.topic = topic_names[t];
            it->ev.part.partition = p;
        }
}

static void end_session(int64_t id)
{
    session_of(id)->is_alive = false;
    for (int t = 0; t < TOPICS; t++)
        for (int p = 0; p < PARTS; p++)
            if (w.owners[t][p].exists && w.owners[t][p].session == id)
                owner_gone(t, p);
    for (int i = 0; i < MEMBERS; i++)
        if (w.regs[i].exists && w.regs[i].session == id) {
            w.regs[i].exists = false;
            changed(ZKC_MEMBERS, 0);
        }
}

static void new_session(struct member *m)
{
    ck_assert_int_lt(w.session_count, (int)ARRAY_LEN(w.sessions));
    m->session = ++w.session_count;
    *session_of(m->session) = (struct session){m->session, w.now, true};
    m->session_is_told = false;
    m->w_members = m->w_topics = m->w_brokers = false;
    memset(m->w_topic, 0, sizeof m->w_topic);
    memset(m->w_owner, 0, sizeof m->w_owner);
}

/* ---- the server: calls. May be carried out without an answer: then mailed is false. */

static void read_answer(struct item *call, int i)
{
    struct member *m = &w.m[i];
    struct item *it = mail(i, ZKC_EV_READ);
    const struct zkc_effect *effects = &call->effects;
    int n = 0;

    it->ev.read.round = effects->seq;
    it->ev.read.what = effects->what;
    it->ev.result = ZKC_OK;
    (void)snprintf(it->keep, sizeof it->keep, "%s", call->keep);
    it->ev.read.name = effects->name == NULL ? NULL : it->keep;
    switch (effects->what) {
    case ZKC_MEMBERS:
        m->w_members = true;
        for (int k = 0; k < MEMBERS; k++)
            if (w.regs[k].exists)
                (void)snprintf(it->names[n++], 64, "%s", w.regs[k].id);
        if (w.has_broken)
            (void)snprintf(it->names[n++], 64, "broken");
        break;
    case ZKC_TOPICS:
        m->w_topics = true;
        for (int t = 0; t < TOPICS; t++)
            if (w.partitions[t] > 0)
                (void)snprintf(it->names[n++], 64, "%s", topic_names[t]);
        break;
    case ZKC_BROKERS:
        m->w_brokers = true;
        for (int b = 0; b < 8; b++)
            if (w.brokers & 1 << b)
                (void)snprintf(it->names[n++], 64, "%d", b);
        break;
    case ZKC_MEMBER:
        it->ev.result = ZKC_NOT_FOUND;
        if (strcmp(it->keep, "broken") == 0) {
            it->ev.result = ZKC_OK;
            (void)snprintf(it->text, sizeof it->text, "{\"version\":1,\"subscription\":{\"a");
        }
        for (int k = 0; k < MEMBERS; k++)
            if (w.regs[k].exists && strcmp(w.regs[k].id, it->keep) == 0) {
                it->ev.result = ZKC_OK;
                memcpy(it->text, w.regs[k].data, sizeof it->text);
            }
        break;
    case ZKC_TOPIC: {
        int t = topic_index(it->keep);
        size_t used;

        m->w_topic[t] = true;
        it->ev.result = w.partitions[t] > 0 ? ZKC_OK : ZKC_NOT_FOUND;
        used = (size_t)snprintf(it->text, sizeof it->text, "{\"version\":1,\"partitions\":{");
        for (int p = 0; p < w.partitions[t]; p++)
            used += (size_t)snprintf(it->text + used, sizeof it->text - used, "%s\"%d\":[0]",
                                     p == 0 ? "" : ",", p);
        (void)snprintf(it->text + used, sizeof it->text - used, "}}");
        break;
    }
    }
    for (int k = 0; k < n; k++)
        it->children[k] = it->names[k];
    it->ev.read.children = it->children;
    it->ev.read.child_count = n;
    it->ev.read.data = (struct bytes){(const uint8_t *)it->text, (int64_t)strlen(it->text)};
}

static void thread_id(const struct member *m, int32_t stream, char out[64])
{
    char id[64];

    (void)snprintf(id, sizeof id, "%s-%d", m->id, stream);
    memcpy(out, id, sizeof id);
}

static bool is_registered(int i)
{
    return w.regs[i].exists && strcmp(w.regs[i].id, w.m[i].id) == 0;
}

static bool is_write(enum zkc_effect_kind kind)
{
    return kind == ZKC_EFFECT_REGISTER || kind == ZKC_EFFECT_CLAIM || kind == ZKC_EFFECT_COMMIT ||
           kind == ZKC_EFFECT_RELEASE;
}

/* Carries a call out in the client's present session. is_lost: the answer is. */
static void execute(struct item *call, bool is_lost)
{
    int i = call->member;
    struct member *m = &w.m[i];
    const struct zkc_effect *effects = &call->effects;
    enum zkc_result r = ZKC_OK;
    int t = effects->topic == NULL ? 0 : topic_index(effects->topic), p = effects->partition;
    struct item *it;

    ck_assert(is_alive(m->session));
    session_of(m->session)->heard_ms = w.now;
    switch (effects->kind) {
    case ZKC_EFFECT_REGISTER: {
        struct zkdoc_consumer doc = {.pattern = m->o.pattern,
                                     .subscriptions = m->subs,
                                     .subscription_count = m->o.subscription_count,
                                     .timestamp_ms = 1,
                                     .is_ceil = m->o.is_ceil};
        struct buf b = {0};

        if (w.regs[i].exists && w.regs[i].session != m->session) {
            r = ZKC_EXISTS;
        } else if (!w.regs[i].exists) {
            w.regs[i].exists = true;
            w.regs[i].session = m->session;
            memcpy(w.regs[i].id, m->id, sizeof m->id);
            zkdoc_consumer_format(&doc, &b);
            (void)snprintf(w.regs[i].data, sizeof w.regs[i].data, "%s", buf_cstr(&b));
            buf_fini(&b);
            changed(ZKC_MEMBERS, 0);
        }
        it = mail(i, ZKC_EV_REGISTERED);
        it->ev.alive.sent_ms = call->sent_ms;
        break;
    }
    case ZKC_EFFECT_HEARTBEAT:
        r = !is_registered(i)                 ? ZKC_NOT_FOUND
            : w.regs[i].session != m->session ? ZKC_EXISTS
                                              : ZKC_OK;
        it = mail(i, ZKC_EV_HEARTBEAT);
        it->ev.alive.sent_ms = call->sent_ms;
        break;
    case ZKC_EFFECT_READ:
        read_answer(call, i);
        return;
    case ZKC_EFFECT_CLAIM: {
        bool is_ours = false;

        if (!is_registered(i)) {
            r = ZKC_UNREGISTERED;
        } else if (w.owners[t][p].exists) {
            r = ZKC_EXISTS;
            is_ours = w.owners[t][p].session == m->session;
            if (!is_ours && !is_lost) {
                m->w_owner[t][p] = true;
                w.blocked++;
            }
        } else {
            w.owners[t][p].exists = true;
            w.owners[t][p].session = m->session;
            thread_id(m, effects->stream, w.owners[t][p].text);
        }
        it = part_mail(i, ZKC_EV_CLAIMED, effects, r, -1);
        (void)snprintf(it->text, sizeof it->text, "%s", w.owners[t][p].text);
        it->ev.part.owner = it->text;
        it->ev.part.is_our_session = is_ours;
        break;
    }
    case ZKC_EFFECT_READ_OFFSET:
        r = w.offsets[t][p] < 0 ? ZKC_NOT_FOUND : ZKC_OK;
        it = part_mail(i, ZKC_EV_OFFSET, effects, r, w.offsets[t][p]);
        break;
    case ZKC_EFFECT_COMMIT:
        if (!is_registered(i))
            r = ZKC_UNREGISTERED;
        else if (!w.owners[t][p].exists)
            r = ZKC_FENCED;
        else if (effects->is_create != (w.offsets[t][p] < 0))
            r = effects->is_create ? ZKC_EXISTS : ZKC_NOT_FOUND;
        else {
            ck_assert_msg(w.offsets[t][p] <= call->offset,
                          "seed %lu: offset of %s-%d goes back from %ld to %ld", w.seed,
                          effects->topic, p, w.offsets[t][p], call->offset);
            ck_assert_int_eq(w.owners[t][p].session, m->session);
            w.offsets[t][p] = call->offset;
        }
        w.fenced += r == ZKC_FENCED || r == ZKC_UNREGISTERED;
        it = part_mail(i, ZKC_EV_COMMITTED, effects, r, call->offset);
        break;
    case ZKC_EFFECT_RELEASE: {
        bool is_ours = w.owners[t][p].exists && w.owners[t][p].session == m->session;

        if (!is_registered(i)) {
            r = ZKC_UNREGISTERED;
        } else if (!w.owners[t][p].exists || (effects->verify && !is_ours)) {
            r = ZKC_NOT_FOUND;
        } else {
            ck_assert_msg(is_ours, "seed %lu: %s deletes the owner %s", w.seed, m->id,
                          w.owners[t][p].text);
            owner_gone(t, p);
        }
        it = part_mail(i, ZKC_EV_RELEASED, effects, r, -1);
        break;
    }
    default:
        ck_abort_msg("not a call");
        return;
    }
    it->ev.result = is_lost ? ZKC_UNKNOWN : r;
}

/* The answer to a write that never reached the server, or was never sent. */
static void answer_without_effect(struct item *call, enum zkc_result r)
{
    int i = call->member;
    const struct zkc_effect *effects = &call->effects;

    switch (effects->kind) {
    case ZKC_EFFECT_REGISTER:
        mail(i, ZKC_EV_REGISTERED)->ev.result = r;
        break;
    case ZKC_EFFECT_CLAIM:
        (void)part_mail(i, ZKC_EV_CLAIMED, effects, r, -1);
        break;
    case ZKC_EFFECT_COMMIT:
        (void)part_mail(i, ZKC_EV_COMMITTED, effects, r, -1);
        break;
    case ZKC_EFFECT_RELEASE:
        (void)part_mail(i, ZKC_EV_RELEASED, effects, r, -1);
        break;
    default:
        ck_abort_msg("not a write");
    }
}

/* ---- effects of a core */

static void submit(int i, const struct zkc_effect *effects, int64_t offset)
{
    struct member *m = &w.m[i];
    struct item *it = add_item(i, true);

    it->effects = *effects;
    it->sent_ms = w.now;
    it->offset = offset;
    if (effects->topic != NULL)
        it->effects.topic = topic_names[topic_index(effects->topic)];
    if (effects->name != NULL) {
        (void)snprintf(it->keep, sizeof it->keep, "%s", effects->name);
        it->effects.name = it->keep;
    }
    it->is_waiting = !m->is_connected;
    it->due_ms = i64_max(m->last_due_ms, w.now + 1 + pick(w.is_quiet ? 5 : 50));
    m->last_due_ms = it->due_ms;
}

static void stop_member(int i);

static void perform(int i, const struct zkc_effect *effects)
{
    struct member *m = &w.m[i];
    int t = effects->topic == NULL ? 0 : topic_index(effects->topic);
    struct owned *own = effects->partition < 0 ? NULL : &m->owned[t][effects->partition];
    struct {
        int64_t member, kind, trace, partition, stream, seq, offset, a, b, c;
    } fields = {i,
                (int)effects->kind,
                (int)effects->trace,
                effects->partition,
                effects->stream,
                effects->seq,
                effects->offset,
                effects->a,
                effects->b,
                effects->c};

    mix(&fields, sizeof fields);
    if (effects->text != NULL)
        mix(effects->text, strlen(effects->text));
    switch (effects->kind) {
    case ZKC_EFFECT_REGISTER:
    case ZKC_EFFECT_HEARTBEAT:
    case ZKC_EFFECT_READ:
    case ZKC_EFFECT_CLAIM:
    case ZKC_EFFECT_READ_OFFSET:
    case ZKC_EFFECT_RELEASE:
        submit(i, effects, -1);
        break;
    case ZKC_EFFECT_COMMIT: {
        int64_t offset = effects->offset >= 0 ? effects->offset : own->done;

        if (offset == effects->committed)
            (void)part_mail(i, ZKC_EV_COMMITTED, effects, ZKC_OK, offset);
        else
            submit(i, effects, offset);
        break;
    }
    case ZKC_EFFECT_RESOLVE:
        (void)part_mail(i, ZKC_EV_RESOLVED, effects, pick(10) == 0 ? ZKC_FAILED : ZKC_OK, 0);
        break;
    case ZKC_EFFECT_START_FETCH:
        *own = (struct owned){.is_started = true,
                              .handed = effects->offset,
                              .done = effects->offset,
                              .start_seq = effects->seq};
        break;
    case ZKC_EFFECT_STOP_FETCH:
        ck_assert(own->is_started);
        own->is_stopping = true;
        own->stop_seq = effects->seq;
        own->stop_at_ms = w.now + pick(300);
        break;
    case ZKC_EFFECT_DROP_FETCH:
        own->is_started = own->is_stopping = false;
        break;
    case ZKC_EFFECT_CLOSE:
        stop_member(i);
        break;
    case ZKC_EFFECT_BROKERS:
    case ZKC_EFFECT_COMMIT_DONE:
    case ZKC_EFFECT_TRACE:
        break;
    }
}

static void step(int i, struct zkc_event *ev)
{
    struct member *m = &w.m[i];
    struct zkc_effects effects = {0};
    int32_t life = m->life;

    ev->now_ms = w.now;
    zkc_core_step(&m->core, ev, &effects);
    zkc_core_check(&m->core);
    for (int32_t k = 0; k < effects.count && m->is_up && m->life == life; k++)
        perform(i, &effects.v[k]);
    zkc_effects_fini(&effects);
}

/* ---- members */

static void start_member(int i)
{
    struct member *m = &w.m[i];
    int32_t life = m->life + 1;
    int strategy = (int)(w.seed % 3 == 0);

    memset(m, 0, sizeof *m);
    m->life = life;
    m->is_up = m->is_connected = true;
    (void)snprintf(m->id, sizeof m->id, "g_m%d-%d", (int)pick(100), life * MEMBERS + i);
    m->o = (struct zkc_options){
        .member_id = m->id,
        .pattern = pick(3) == 0 ? ZKDOC_WHITE_LIST : ZKDOC_STATIC,
        .subscriptions = m->subs,
        .strategy = strategy ? ZKC_ROUND_ROBIN : ZKC_RANGE,
        .is_ceil = w.seed % 2 == 0 || pick(4) != 0,
        .exclude_internal = true,
        .auto_commit = true,
        .auto_commit_interval_ms = 3000,
        .backoff_ms = 2000,
        .max_retries = 4,
        .resync_ms = RESYNC_MS,
        .leave_max_ms = 5000,
    };
    if (m->o.pattern == ZKDOC_WHITE_LIST) {
        m->subs[0] = (struct zkdoc_subscription){"a|b|cl.*", 1 + (int)pick(2)};
        m->o.subscription_count = 1;
    } else {
        for (int t = 0; t < TOPICS; t++)
            m->subs[t] = (struct zkdoc_subscription){topic_names[t], 1 + (int)pick(2)};
        m->o.subscription_count = TOPICS;
    }
    zkc_core_init(&m->core, &m->o, w.now);
    new_session(m);
    struct item *it = mail(i, ZKC_EV_SESSION);
    it->ev.session.timeout_ms = SESSION_MS;
}

static void forget_items(int i)
{
    int n = 0;

    for (int k = 0; k < w.item_count; k++)
        if (w.items[k]->member == i)
            free(w.items[k]);
        else
            w.items[n++] = w.items[k];
    w.item_count = n;
}

static void gone(int i)
{
    w.m[i].is_up = false;
    zkc_core_fini(&w.m[i].core);
    forget_items(i);
}

/* Leaves well: the session ends at once (if it can be told). */
static void stop_member(int i)
{
    struct member *m = &w.m[i];

    if (m->is_connected && is_alive(m->session))
        end_session(m->session);
    m->is_up = false; /* the core is in use: finished by the loop */
    m->is_leaving = true;
}

static void cut_off(int i)
{
    struct member *m = &w.m[i];

    m->is_connected = false;
    m->back_ms = w.now + 100 + pick(12000);
    for (int k = 0, n = w.item_count; k < n; k++) {
        struct item *it = w.items[k];

        if (it->member != i || !it->is_call || it->is_waiting)
            continue;
        if (!is_write(it->effects.kind)) {
            it->is_waiting = true;
            continue;
        }
        w.unknowns++;
        if (pick(2) == 0 && is_alive(m->session))
            execute(it, true);
        else
            answer_without_effect(it, ZKC_UNKNOWN);
        it->life = -1; /* dropped */
    }
}

static void come_back(int i)
{
    struct member *m = &w.m[i];

    m->is_connected = true;
    if (!is_alive(m->session)) {
        w.expiries++;
        for (int k = 0, n = w.item_count; k < n; k++) {
            struct item *it = w.items[k];
            if (it->member == i && it->is_call && it->is_waiting && is_write(it->effects.kind)) {
                answer_without_effect(it, ZKC_FAILED);
                it->life = -1;
            }
        }
        new_session(m);
        (void)mail(i, ZKC_EV_EXPIRED);
        mail(i, ZKC_EV_SESSION)->ev.session.timeout_ms = SESSION_MS;
    }
    for (int k = 0; k < w.item_count; k++)
        if (w.items[k]->member == i && w.items[k]->is_call && w.items[k]->is_waiting) {
            w.items[k]->is_waiting = false;
            w.items[k]->due_ms = i64_max(m->last_due_ms, w.now + 1 + pick(20));
            m->last_due_ms = w.items[k]->due_ms;
        }
}

/* ---- records */

static void process(int t, int p, struct owned *own)
{
    for (int64_t o = own->done; o < own->handed; o++)
        w.processed[t][p][o] = 1;
    own->done = own->handed;
}

static void hand_out(int i)
{
    struct member *m = &w.m[i];

    for (int t = 0; t < TOPICS; t++)
        for (int p = 0; p < PARTS; p++) {
            struct owned *own = &m->owned[t][p];

            if (!own->is_started)
                continue;
            if (own->is_stopping) {
                if (w.now < own->stop_at_ms)
                    continue;
                if (pick(4) != 0)
                    process(t, p, own);
                struct zkc_effect effects = {
                    .topic = topic_names[t], .partition = p, .seq = own->stop_seq};
                (void)part_mail(i, ZKC_EV_STOPPED, &effects, ZKC_OK, own->done);
                own->is_started = own->is_stopping = false;
                continue;
            }
            if (own->handed >= w.ends[t][p] && pick(20) == 0)
                process(t, p, own); /* the application asks for more */
            if (pick(3) != 0 || own->handed >= w.ends[t][p] || w.now >= zkc_core_lease_ms(&m->core))
                continue;
            ck_assert_msg(w.owners[t][p].exists && w.owners[t][p].session == m->session &&
                              is_alive(m->session),
                          "seed %lu at %ld: %s hands out %s-%d, the owner is %s", w.seed, w.now,
                          m->id, topic_names[t], p,
                          w.owners[t][p].exists ? w.owners[t][p].text : "nobody");
            process(t, p, own);
            own->handed++;
            w.handed_total++;
        }
}

/* ---- the loop */

static void deliver(void)
{
    for (int k = 0; k < w.item_count; k++) { /* those that are added meanwhile are not due */
        struct item *it = w.items[k];
        struct member *m = &w.m[it->member];

        if (it->life != m->life || !m->is_up) {
            it->life = -1;
            continue;
        }
        if (it->due_ms > w.now || (it->is_call ? it->is_waiting : m->is_paused))
            continue;
        it->life = -1;
        if (it->is_call) {
            if (!is_alive(m->session)) { /* the server closes the connection */
                it->life = m->life;
                it->is_waiting = true;
                if (m->is_connected)
                    cut_off(it->member);
                m->back_ms = w.now + 50;
                continue;
            }
            execute(it, false);
        } else {
            if (it->ev.kind == ZKC_EV_SESSION)
                m->session_is_told = true;
            step(it->member, &it->ev);
        }
    }
    int n = 0;
    for (int k = 0; k < w.item_count; k++)
        if (w.items[k]->life == -1)
            free(w.items[k]);
        else
            w.items[n++] = w.items[k];
    w.item_count = n;
}

static void run_member(int i)
{
    struct member *m = &w.m[i];

    if (m->is_leaving && !m->is_up) {
        m->is_leaving = false;
        gone(i);
        return;
    }
    if (!m->is_up)
        return;
    if (!m->is_connected && !m->is_paused && w.now >= m->back_ms)
        come_back(i);
    if (m->is_paused) {
        if (w.now < m->resume_ms)
            return;
        m->is_paused = false;
    }
    hand_out(i); /* before anything is heard: a process that wakes up from a pause does that */
    if (m->is_connected && w.now >= m->next_ping_ms) {
        m->next_ping_ms = w.now + 2000;
        if (is_alive(m->session))
            session_of(m->session)->heard_ms = w.now;
        else
            cut_off(i), m->back_ms = w.now + 50;
    }
    if (zkc_core_deadline_ms(&m->core) <= w.now) {
        struct zkc_event ev = {.kind = ZKC_EV_TICK};
        step(i, &ev);
    }
}

static void fault(void)
{
    int i = (int)pick(MEMBERS);
    struct member *m = &w.m[i];
    struct zkc_event stop = {.kind = ZKC_EV_STOP};

    switch (pick(12)) {
    case 0:
    case 1:
        if (!m->is_up && !m->is_leaving)
            start_member(i);
        break;
    case 2:
        if (m->is_up)
            gone(i); /* kill -9 */
        break;
    case 3:
        if (m->is_up && !m->is_paused)
            step(i, &stop);
        break;
    case 4:
    case 5:
        if (m->is_up && m->is_connected)
            cut_off(i);
        break;
    case 6:
        if (m->is_up && !m->is_paused) {
            m->is_paused = true;
            m->resume_ms = w.now + pick(15000);
        }
        break;
    case 7: {
        int t = (int)pick(TOPICS);
        if (w.partitions[t] < PARTS) {
            w.partitions[t] += 1 + (int)pick(3);
            w.partitions[t] = w.partitions[t] > PARTS ? PARTS : w.partitions[t];
            changed(ZKC_TOPIC, t);
            changed(ZKC_TOPICS, t);
        }
        break;
    }
    case 8:
        w.brokers ^= 1 << (1 + pick(3));
        changed(ZKC_BROKERS, 0);
        break;
    case 9:
        w.has_broken = !w.has_broken;
        changed(ZKC_MEMBERS, 0);
        break;
    case 10:
        if (w.regs[i].exists && pick(3) == 0) { /* by hand */
            w.regs[i].exists = false;
            changed(ZKC_MEMBERS, 0);
        }
        break;
    case 11:
        if (pick(3) == 0) {
            w.brokers ^= 1;
            changed(ZKC_BROKERS, 0);
        }
        break;
    }
}

static void advance(int64_t until)
{
    while (w.now < until) {
        w.now += 1 + pick(w.is_quiet ? 60 : 30);
        for (int s = 0; s < w.session_count; s++)
            if (w.sessions[s].is_alive && w.now - w.sessions[s].heard_ms > SESSION_MS)
                end_session(w.sessions[s].id);
        deliver();
        for (int i = 0; i < MEMBERS; i++)
            run_member(i);
        if (w.is_quiet)
            continue;
        int t = (int)pick(TOPICS), p = (int)pick(PARTS);
        if (p < w.partitions[t] && w.ends[t][p] < LOG_MAX / 100 - 1)
            w.ends[t][p]++;
        if (pick(25) == 0)
            fault();
    }
}

/* ---- the end */

struct th {
    char id[64];
};

static int by_id(const void *a, const void *b)
{
    return strcmp(((const struct th *)a)->id, ((const struct th *)b)->id);
}

static void check_end(void)
{
    struct th threads[TOPICS][MEMBERS * 4];
    int counts[TOPICS] = {0};
    bool is_ceil = true;

    for (int t = 0; t < TOPICS; t++) {
        for (int i = 0; i < MEMBERS; i++) {
            const struct member *m = &w.m[i];
            int streams = m->o.pattern == ZKDOC_STATIC ? m->subs[t].streams : m->subs[0].streams;

            if (!m->is_up)
                continue;
            is_ceil &= m->o.is_ceil;
            for (int s = 0; s < streams; s++)
                (void)snprintf(threads[t][counts[t]++].id, 64, "%s-%d", m->id, s);
        }
        qsort(threads[t], (size_t)counts[t], sizeof threads[t][0], by_id);
    }
    for (int t = 0; t < TOPICS; t++) {
        for (int p = 0; p < w.partitions[t]; p++) {
            ck_assert_msg(w.owners[t][p].exists, "seed %lu: nobody owns %s-%d", w.seed,
                          topic_names[t], p);
            ck_assert_msg(w.offsets[t][p] == w.ends[t][p],
                          "seed %lu: %s-%d ends at %ld, the offset is %ld", w.seed, topic_names[t],
                          p, w.ends[t][p], w.offsets[t][p]);
            for (int64_t o = 0; o < w.ends[t][p]; o++)
                ck_assert_msg(w.processed[t][p][o], "seed %lu: record %ld of %s-%d was lost",
                              w.seed, o, topic_names[t], p);
        }
        for (int i = 0; i < counts[t] && w.seed % 3 != 0; i++) {
            int32_t first, count;

            zkc_assign_range(is_ceil ? ZKC_RULE_CEIL : ZKC_RULE_KAFKA, w.partitions[t], counts[t],
                             i, &first, &count);
            for (int32_t p = first; p < first + count; p++)
                ck_assert_msg(strcmp(w.owners[t][p].text, threads[t][i].id) == 0,
                              "seed %lu: %s-%d is owned by %s, not by %s", w.seed, topic_names[t],
                              p, w.owners[t][p].text, threads[t][i].id);
        }
    }
}

static uint64_t run(uint64_t seed)
{
    memset(&w, 0, sizeof w);
    w.rng = seed * 2654435761u + 12345;
    w.seed = seed;
    w.hash = 14695981039346656037u;
    w.now = 1000;
    w.brokers = 1;
    for (int t = 0; t < TOPICS; t++) {
        w.partitions[t] = t == 2 ? 0 : 1 + (int)pick(PARTS);
        for (int p = 0; p < PARTS; p++)
            w.offsets[t][p] = -1;
    }
    start_member(0);
    advance(w.now + FAULTY_MS);
    /* everybody can do what he will from here on */
    w.is_quiet = true;
    w.brokers |= 1;
    changed(ZKC_BROKERS, 0);
    for (int i = 0; i < MEMBERS; i++)
        if (i % 2 == 0 && !w.m[i].is_up && !w.m[i].is_leaving)
            start_member(i);
    advance(w.now + QUIET_MS);
    check_end();
    for (int i = 0; i < MEMBERS; i++)
        if (w.m[i].is_up)
            gone(i);
    for (int k = 0; k < w.item_count; k++)
        free(w.items[k]);
    return w.hash;
}

START_TEST(random_schedules_lose_nothing_and_never_have_two_owners)
{
    const char *one = getenv("SEED"), *many = getenv("SEEDS");
    uint64_t first = one == NULL ? 1 : strtoull(one, NULL, 10);
    uint64_t count = one != NULL ? 1 : many == NULL ? 15 : strtoull(many, NULL, 10);
    int64_t handed = 0, expiries = 0, unknowns = 0, lost = 0, blocked = 0, fenced = 0;

    for (uint64_t seed = first; seed < first + count; seed++) {
        uint64_t hash = run(seed);

        handed += w.handed_total;
        expiries += w.expiries;
        unknowns += w.unknowns;
        lost += w.lost_watches;
        blocked += w.blocked;
        fenced += w.fenced;
        ck_assert_msg(run(seed) == hash, "seed %lu: two runs differ", seed);
    }
    printf("%lu seeds: %ld records, %ld expiries, %ld unknown outcomes, %ld lost watches, "
           "%ld blocked claims, %ld fenced commits\n",
           count, handed, expiries, unknowns, lost, blocked, fenced);
    /* the faults took place */
    if (one == NULL)
        ck_assert(handed > 0 && expiries > 0 && unknowns > 0 && lost > 0 && blocked > 0);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("zkc_core_random");
    TCase *t = tcase_create("random");

    tcase_set_timeout(t, 600);
    tcase_add_test(t, random_schedules_lose_nothing_and_never_have_two_owners);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? 0 : 1;
}
