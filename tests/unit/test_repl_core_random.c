/* SPDX-License-Identifier: Apache-2.0 */
/* Three cores, a model of the controller and a network that delays and loses, driven by a seed.
 * After every step: what was acknowledged to an acks=all producer is in the log of every leader of
 * the current epoch and is never contradicted below anybody's high watermark. In the end, without
 * faults: the same log everywhere, a full ISR, HW at the end. SEED=n repeats one run,
 * SEEDS=n makes n. */
#include "broker/replica/repl_core.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>

enum { NODES = 3, LOG_MAX = 1024, MAIL_MAX = 64, ACKS_MAX = 64, STEPS = 2000 };

struct record {
    int32_t epoch, value;
};

struct epoch_start {
    int32_t epoch;
    int64_t start;
};

struct node {
    struct repl_core core;
    struct record log[LOG_MAX];
    int64_t end;
    struct epoch_start epochs[LOG_MAX];
    int epoch_count;
    int64_t saved_hw; /* of the checkpoint */
    bool is_up;
    int64_t last_hw; /* for "never back within an epoch" */
    int32_t last_hw_epoch;
    uint32_t seq, moved_seq; /* of its requests: an answer to an older position does not fit */
};

enum letter_kind { FETCH_ASK, FETCH_ANSWER, ISR_ASK, ISR_ANSWER, ORDER };
struct letter {
    enum letter_kind kind;
    int from, to; /* to -1: the controller */
    int32_t life; /* of the node it belongs to; an older life's is dropped */
    int32_t epoch, last_epoch;
    int64_t offset, hw;
    int16_t error;
    int32_t diverging_epoch;
    int64_t diverging_end;
    struct record records[8];
    int record_count;
    uint32_t change_id, seq;
    int32_t partition_epoch, leader;
    int32_t isr[NODES];
    int isr_count;
};

struct ack {
    int node;
    int32_t epoch, value;
    int64_t offset;
};

static struct world {
    uint64_t rng, seed;
    int64_t now;
    struct node nodes[NODES];
    int32_t lives[NODES];
    struct repl_live live;
    struct repl_limits limits;
    struct letter mail[MAIL_MAX];
    int mail_count;
    struct ack waiting[ACKS_MAX];
    int waiting_count;
    struct record committed[LOG_MAX]; /* by offset; value 0: not acknowledged */
    int32_t min_isr, next_value;
    /* the controller's truth */
    int32_t leader, epoch, partition_epoch;
    int32_t isr[NODES];
    int isr_count;
    int64_t acked, truncations, elections, shrinks;
} w;

static uint32_t pick(uint32_t n)
{
    w.rng = w.rng * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(w.rng >> 33) % n;
}

static bool in(const int32_t *ids, int count, int32_t id)
{
    for (int i = 0; i < count; i++) {
        if (ids[i] == id)
            return true;
    }
    return false;
}

static struct letter *post(enum letter_kind kind, int from, int to)
{
    struct letter *l;

    if (w.mail_count == MAIL_MAX) { /* lose the oldest that may be lost */
        int i = 0;
        while (i < MAIL_MAX - 1 && w.mail[i].kind == ORDER)
            i++;
        memmove(&w.mail[i], &w.mail[i + 1], (size_t)(MAIL_MAX - 1 - i) * sizeof w.mail[0]);
        w.mail_count--;
    }
    l = &w.mail[w.mail_count++];
    memset(l, 0, sizeof *l);
    l->kind = kind;
    l->from = from;
    l->to = to;
    l->life = to >= 0 ? w.lives[to] : 0;
    return l;
}

/* ---- a node's log */

static void epoch_assign(struct node *n, int32_t epoch, int64_t start)
{
    if (n->epoch_count > 0 && n->epochs[n->epoch_count - 1].epoch == epoch &&
        n->epochs[n->epoch_count - 1].start <= start)
        return;
    while (n->epoch_count > 0 && (n->epochs[n->epoch_count - 1].epoch >= epoch ||
                                  n->epochs[n->epoch_count - 1].start >= start))
        n->epoch_count--;
    n->epochs[n->epoch_count++] = (struct epoch_start){epoch, start};
}

static int32_t epoch_latest(const struct node *n)
{
    return n->epoch_count == 0 ? -1 : n->epochs[n->epoch_count - 1].epoch;
}

static void epoch_end(const struct node *n, int32_t epoch, int32_t *epoch_out, int64_t *end_out)
{
    *epoch_out = -1;
    *end_out = -1;
    if (epoch < 0 || n->epoch_count == 0 || epoch > epoch_latest(n))
        return;
    if (epoch == epoch_latest(n)) {
        *epoch_out = epoch;
        *end_out = n->end;
        return;
    }
    if (epoch < n->epochs[0].epoch) {
        *epoch_out = epoch;
        *end_out = n->epochs[0].start;
        return;
    }
    for (int i = n->epoch_count - 2; i >= 0; i--) {
        if (n->epochs[i].epoch <= epoch) {
            *epoch_out = n->epochs[i].epoch;
            *end_out = n->epochs[i + 1].start;
            return;
        }
    }
}

static void put(struct node *n, struct record r)
{
    epoch_assign(n, r.epoch, n->end);
    n->moved_seq = n->seq;
    n->log[n->end++] = r;
}

static void step(int id, struct repl_event ev);

static void cut(int id, int64_t to)
{
    struct node *n = &w.nodes[id];

    w.truncations += to < n->end;
    n->moved_seq = n->seq;
    n->end = to < n->end ? to : n->end;
    while (n->epoch_count > 0 && n->epochs[n->epoch_count - 1].start >= to)
        n->epoch_count--;
    step(id, (struct repl_event){.kind = REPL_EV_TRUNCATED, .truncated = {0, n->end}});
}

static void step(int id, struct repl_event ev)
{
    struct node *n = &w.nodes[id];
    struct repl_effects fx;

    ev.now_ms = w.now;
    ev.live = &w.live;
    ev.limits = &w.limits;
    repl_step(&n->core, &ev, &fx);
    if (!n->core.is_truncating)
        repl_check(&n->core);
    for (int i = 0; i < fx.count; i++) {
        if (fx.v[i].kind == REPL_FX_WRITE_EPOCH) {
            epoch_assign(n, fx.v[i].epoch, fx.v[i].offset);
            step(id, (struct repl_event){.kind = REPL_EV_EPOCH_WRITTEN,
                                         .epoch_written = {fx.v[i].epoch}});
        } else if (fx.v[i].kind == REPL_FX_TRUNCATE) {
            cut(id, fx.v[i].offset);
        } else if (fx.v[i].kind == REPL_FX_PROPOSE_ISR) {
            struct letter *l = post(ISR_ASK, id, -1);
            l->epoch = n->core.leader_epoch;
            l->partition_epoch = n->core.partition_epoch;
            l->change_id = n->core.change_id;
            l->isr_count = n->core.proposed_count;
            memcpy(l->isr, n->core.proposed, (size_t)l->isr_count * sizeof l->isr[0]);
            l->life = w.lives[id];
        }
    }
}

/* ---- the controller */

static void send_order(int to)
{
    struct letter *l = post(ORDER, -1, to);

    l->leader = w.leader;
    l->epoch = w.epoch;
    l->partition_epoch = w.partition_epoch;
    l->isr_count = w.isr_count;
    memcpy(l->isr, w.isr, sizeof w.isr);
}

static void send_orders(void)
{
    for (int i = 0; i < NODES; i++) {
        if (w.nodes[i].is_up)
            send_order(i);
    }
}

/* Clean election among the live members of the ISR; the dead leave it, but the last one stays. */
static void elect(bool prefers_change)
{
    int32_t isr[NODES];
    int count = 0;

    for (int i = 0; i < w.isr_count; i++) {
        if (w.nodes[w.isr[i]].is_up)
            isr[count++] = w.isr[i];
    }
    w.epoch++;
    w.partition_epoch++;
    if (count == 0) {
        w.leader = -1;
    } else {
        memcpy(w.isr, isr, sizeof isr);
        w.isr_count = count;
        if (prefers_change || w.leader < 0 || !in(isr, count, w.leader))
            w.leader = isr[pick((uint32_t)count)];
    }
    w.elections++;
    send_orders();
}

static void on_isr_ask(const struct letter *l)
{
    int16_t error = KE_NONE;
    struct letter *a;

    if (l->epoch < w.epoch || w.leader != l->from)
        error = KE_FENCED_LEADER_EPOCH;
    else if (l->partition_epoch < w.partition_epoch &&
             !(l->isr_count == w.isr_count &&
               memcmp(l->isr, w.isr, (size_t)w.isr_count * sizeof w.isr[0]) == 0))
        error = KE_INVALID_UPDATE_VERSION;
    for (int i = 0; i < l->isr_count && error == KE_NONE; i++) {
        if (!w.nodes[l->isr[i]].is_up)
            error = KE_INELIGIBLE_REPLICA;
    }
    if (error == KE_NONE && l->partition_epoch == w.partition_epoch) {
        w.shrinks += l->isr_count < w.isr_count;
        memcpy(w.isr, l->isr, sizeof w.isr);
        w.isr_count = l->isr_count;
        w.partition_epoch++;
    }
    if (pick(10) == 0)
        error = KE_UNKNOWN_SERVER_ERROR; /* done, but the answer says nothing: it will repeat */
    a = post(ISR_ANSWER, -1, l->from);
    a->life = l->life;
    a->error = error;
    a->epoch = w.epoch;
    a->partition_epoch = w.partition_epoch;
    a->change_id = l->change_id;
    a->isr_count = w.isr_count;
    memcpy(a->isr, w.isr, sizeof w.isr);
}

/* ---- letters */

static void on_order(const struct letter *l)
{
    struct node *n = &w.nodes[l->to];
    static const int32_t replicas[NODES] = {0, 1, 2};
    struct repl_state st = {l->leader,    l->epoch, l->partition_epoch, l->isr, replicas,
                            l->isr_count, NODES};
    bool skip;

    if (repl_admit(&n->core, &st, &skip) != KE_NONE || skip)
        return;
    step(l->to,
         (struct repl_event){.kind = REPL_EV_BECOME,
                             .become = {&st, w.min_isr, 0,
                                        n->core.role == REPL_IDLE ? i64_min(n->saved_hw, n->end)
                                                                  : n->core.hw_offset,
                                        n->end, n->epoch_count > 0}});
}

static void ask(int id)
{
    struct node *n = &w.nodes[id];
    struct letter *l;

    if (n->core.role != REPL_FOLLOWER || n->core.leader_id < 0 || !w.nodes[n->core.leader_id].is_up)
        return;
    l = post(FETCH_ASK, id, n->core.leader_id);
    l->epoch = n->core.leader_epoch;
    l->offset = n->end;
    l->last_epoch = epoch_latest(n);
    l->change_id = (uint32_t)w.lives[id];
    l->seq = ++n->seq;
}

static void on_ask(const struct letter *l)
{
    struct node *n = &w.nodes[l->to];
    struct letter ask_copy = *l;
    struct letter *a = post(FETCH_ANSWER, l->to, l->from);
    int64_t from = ask_copy.offset;

    a->life = (int32_t)ask_copy.change_id;
    a->epoch = ask_copy.epoch;
    a->seq = ask_copy.seq;
    a->offset = from;
    a->diverging_end = -1;
    a->error = repl_admit_read(&n->core, ask_copy.epoch, ask_copy.from, true);
    if (a->error != KE_NONE)
        return;
    a->hw = n->core.hw_offset;
    if (ask_copy.last_epoch >= 0) {
        int32_t e;
        int64_t end;
        epoch_end(n, ask_copy.last_epoch, &e, &end);
        if (end < 0) {
            a->error = KE_OFFSET_OUT_OF_RANGE;
            return;
        }
        if (e < ask_copy.last_epoch || end < from) {
            a->diverging_epoch = e;
            a->diverging_end = end;
            return;
        }
    }
    if (from > n->end) {
        a->error = KE_OFFSET_OUT_OF_RANGE;
        return;
    }
    while (a->record_count < 8 && from + a->record_count < n->end) {
        a->records[a->record_count] = n->log[from + a->record_count];
        a->record_count++;
    }
    step(ask_copy.to,
         (struct repl_event){.kind = REPL_EV_FETCH, .fetch = {ask_copy.from, 1, from, 0}});
}

static void on_answer(const struct letter *l)
{
    struct node *n = &w.nodes[l->to];
    struct letter a = *l;

    if (n->core.role != REPL_FOLLOWER || n->core.leader_epoch != a.epoch || n->end != a.offset ||
        a.seq <= n->moved_seq)
        return;
    if (a.error == KE_OFFSET_OUT_OF_RANGE) {
        step(a.to, (struct repl_event){.kind = REPL_EV_LEADER_END,
                                       .leader_end = {a.epoch, w.nodes[a.from].end}});
    } else if (a.error == KE_NONE && a.diverging_end >= 0) {
        struct repl_event ev = {.kind = REPL_EV_DIVERGED,
                                .diverged = {a.epoch, a.diverging_epoch, a.diverging_end, -1, -1}};
        epoch_end(n, a.diverging_epoch, &ev.diverged.own_epoch, &ev.diverged.own_epoch_end);
        step(a.to, ev);
    } else if (a.error == KE_NONE) {
        for (int i = 0; i < a.record_count; i++)
            put(n, a.records[i]);
        step(a.to,
             (struct repl_event){.kind = REPL_EV_FETCHED, .fetched = {a.epoch, n->end, a.hw, 0}});
    }
}

static void deliver(int at)
{
    struct letter l = w.mail[at];

    memmove(&w.mail[at], &w.mail[at + 1], (size_t)(w.mail_count - at - 1) * sizeof l);
    w.mail_count--;
    if (l.to >= 0 && (!w.nodes[l.to].is_up || l.life != w.lives[l.to]))
        return;
    switch (l.kind) {
    case FETCH_ASK:
        on_ask(&l);
        break;
    case FETCH_ANSWER:
        on_answer(&l);
        break;
    case ISR_ASK:
        on_isr_ask(&l);
        break;
    case ISR_ANSWER:
        step(l.to, (struct repl_event){.kind = REPL_EV_ISR_RESULT,
                                       .isr_result = {l.change_id, l.error, l.epoch,
                                                      l.partition_epoch, l.isr, l.isr_count}});
        break;
    case ORDER:
        on_order(&l);
        break;
    }
}

/* Any letter may come next, but orders to one node stay in order. */
static void deliver_some(void)
{
    int at;

    if (w.mail_count == 0)
        return;
    at = (int)pick((uint32_t)w.mail_count);
    if (w.mail[at].kind == ORDER) {
        for (int i = 0; i < at; i++) {
            if (w.mail[i].kind == ORDER && w.mail[i].to == w.mail[at].to) {
                at = i;
                break;
            }
        }
    }
    deliver(at);
}

/* ---- clients and faults */

static void produce(int id)
{
    struct node *n = &w.nodes[id];
    int16_t acks = pick(3) == 0 ? 1 : -1;
    struct record r = {n->core.leader_epoch, w.next_value};

    if (n->end >= LOG_MAX - 16 || repl_admit_append(&n->core, acks) != KE_NONE)
        return;
    w.next_value++;
    put(n, r);
    step(id, (struct repl_event){.kind = REPL_EV_APPENDED, .appended = {n->end}});
    if (acks == -1 && w.waiting_count < ACKS_MAX)
        w.waiting[w.waiting_count++] = (struct ack){id, r.epoch, r.value, n->end - 1};
}

static void crash(int id)
{
    struct node *n = &w.nodes[id];

    n->is_up = false;
    w.lives[id]++;
    n->saved_hw = n->core.hw_offset > 0 ? (int64_t)pick((uint32_t)n->core.hw_offset + 1) : 0;
    repl_fini(&n->core);
    repl_init(&n->core, id);
    n->core.end_offset = n->end;
    repl_live_set(&w.live, id, false);
    for (int i = 0; i < w.waiting_count;) {
        if (w.waiting[i].node == id)
            w.waiting[i] = w.waiting[--w.waiting_count];
        else
            i++;
    }
}

static void restart(int id)
{
    w.nodes[id].is_up = true;
    repl_live_set(&w.live, id, true);
    elect(w.leader < 0); /* a bounce: a new epoch, so that no epoch has two lives of a leader */
}

/* ---- what must hold */

/* ck_assert is slow where nothing is wrong. */
#define HOLDS(cond)                                                                                \
    do {                                                                                           \
        if (!(cond))                                                                               \
            ck_abort_msg("%s (SEED=%llu)", #cond, (unsigned long long)w.seed);                     \
    } while (0)

static void settle_acks(void)
{
    for (int i = 0; i < w.waiting_count;) {
        struct ack *a = &w.waiting[i];
        int16_t code;
        if (!repl_is_replicated(&w.nodes[a->node].core, a->epoch, a->offset + 1, -1, &code)) {
            i++;
            continue;
        }
        if (code == KE_NONE) {
            HOLDS(w.committed[a->offset].value == 0 || w.committed[a->offset].value == a->value);
            w.committed[a->offset] = (struct record){a->epoch, a->value};
            w.acked++;
        }
        w.waiting[i] = w.waiting[--w.waiting_count];
    }
}

static void check_node(struct node *n)
{
    bool is_true_leader = n->core.role == REPL_LEADER && n->core.leader_epoch == w.epoch;

    if (!n->is_up)
        return;
    for (int64_t o = 0; o < LOG_MAX; o++) {
        bool counts = is_true_leader || o < n->core.hw_offset;
        if (w.committed[o].value != 0 && counts)
            HOLDS(o < n->end && n->log[o].value == w.committed[o].value);
    }
    for (int64_t o = 1; o < n->end; o++)
        HOLDS(n->log[o].epoch >= n->log[o - 1].epoch);
    if (n->core.role == REPL_LEADER) {
        HOLDS(n->last_hw_epoch != n->core.leader_epoch || n->core.hw_offset >= n->last_hw);
        n->last_hw = n->core.hw_offset;
        n->last_hw_epoch = n->core.leader_epoch;
    }
}

static void check_world(void)
{
    int leaders = 0;

    settle_acks();
    for (int i = 0; i < NODES; i++) {
        check_node(&w.nodes[i]);
        leaders += w.nodes[i].is_up && w.nodes[i].core.role == REPL_LEADER &&
                   w.nodes[i].core.leader_epoch == w.epoch;
    }
    HOLDS(leaders <= 1);
    /* logs agree below both high watermarks */
    for (int i = 0; i < NODES; i++) {
        for (int j = 0; j < i; j++) {
            int64_t both = i64_min(w.nodes[i].core.hw_offset, w.nodes[j].core.hw_offset);
            for (int64_t o = 0; o < both && w.nodes[i].is_up && w.nodes[j].is_up; o++)
                HOLDS(w.nodes[i].log[o].value == w.nodes[j].log[o].value);
        }
    }
}

/* ---- runs */

static void world_init(uint64_t seed)
{
    for (int i = 0; i < NODES; i++)
        repl_fini(&w.nodes[i].core);
    memset(&w, 0, sizeof w);
    w.seed = seed;
    w.rng = seed * 2654435761u + 1;
    w.limits.lag_time_max_ms = 1000;
    w.min_isr = (int32_t)pick(2) + 1;
    w.next_value = 1;
    w.isr_count = NODES;
    for (int i = 0; i < NODES; i++) {
        repl_init(&w.nodes[i].core, i);
        w.nodes[i].is_up = true;
        w.nodes[i].last_hw_epoch = -1;
        w.isr[i] = i;
        repl_live_set(&w.live, i, true);
    }
    w.epoch = -1;
    elect(true);
}

static int up_count(void)
{
    int n = 0;
    for (int i = 0; i < NODES; i++)
        n += w.nodes[i].is_up;
    return n;
}

static void random_step(void)
{
    int id = (int)pick(NODES);
    struct node *n = &w.nodes[id];
    uint32_t dice = pick(1000);

    w.now += pick(20);
    if (dice < 300) {
        deliver_some();
    } else if (dice < 600) {
        if (n->is_up)
            ask(id);
    } else if (dice < 900) {
        if (n->is_up)
            produce(id);
    } else if (dice < 960) {
        if (n->is_up && n->core.role == REPL_LEADER)
            step(id, (struct repl_event){.kind = REPL_EV_TICK});
    } else if (dice < 970) {
        w.now += 600;
    } else if (dice < 978) {
        elect(true);
    } else if (dice < 986) {
        if (n->is_up && up_count() > 1) {
            crash(id);
            if (pick(2) == 0)
                elect(false); /* else the controller learns of it later, or never */
        }
    } else if (dice < 996) {
        if (!n->is_up)
            restart(id);
    } else if (w.mail_count > 0) {
        int at = (int)pick((uint32_t)w.mail_count);
        if (w.mail[at].kind != ORDER) { /* TCP to a live broker and the controller's retries */
            memmove(&w.mail[at], &w.mail[at + 1],
                    (size_t)(w.mail_count - at - 1) * sizeof w.mail[0]);
            w.mail_count--;
        }
    }
}

/* No faults any more: everything must come together. */
static void heal(void)
{
    for (int i = 0; i < NODES; i++) {
        if (!w.nodes[i].is_up)
            restart(i);
    }
    elect(false);
    for (int round = 0; round < 3000; round++) {
        bool is_done = w.isr_count == NODES;
        w.now += 10;
        while (w.mail_count > 0)
            deliver(0);
        for (int i = 0; i < NODES; i++) {
            ask(i);
            if (w.nodes[i].core.role == REPL_LEADER)
                step(i, (struct repl_event){.kind = REPL_EV_TICK});
            is_done &=
                w.nodes[i].end == w.nodes[0].end && w.nodes[i].core.hw_offset == w.nodes[0].end;
        }
        check_world();
        if (is_done && w.mail_count == 0)
            break;
    }
    HOLDS(w.isr_count == NODES);
    for (int i = 0; i < NODES; i++) {
        HOLDS(w.nodes[i].end == w.nodes[0].end);
        HOLDS(w.nodes[i].core.hw_offset == w.nodes[0].end);
        for (int64_t o = 0; o < w.nodes[0].end; o++)
            HOLDS(w.nodes[i].log[o].value == w.nodes[0].log[o].value);
    }
}

static void run(uint64_t seed)
{
    world_init(seed);
    for (int i = 0; i < STEPS; i++) {
        random_step();
        if (i % 16 == 0)
            check_world();
        settle_acks();
    }
    heal();
}

START_TEST(acknowledged_records_survive_every_history)
{
    const char *one = getenv("SEED");
    const char *many = getenv("SEEDS");
    uint64_t seeds = many == NULL ? 100 : strtoull(many, NULL, 10);
    int64_t acked = 0, truncations = 0, elections = 0, shrinks = 0;

    for (uint64_t seed = 1; seed <= seeds; seed++) {
        if (one != NULL)
            seed = strtoull(one, NULL, 10);
        run(seed);
        acked += w.acked;
        truncations += w.truncations;
        elections += w.elections;
        shrinks += w.shrinks;
        if (one != NULL)
            return;
    }
    /* the runs went where they should */
    ck_assert_int_gt(acked, 1000);
    ck_assert_int_gt(truncations, 50);
    ck_assert_int_gt(elections, 500);
    ck_assert_int_gt(shrinks, 20);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("repl_core_random");
    TCase *t = tcase_create("random");
    SRunner *sr;
    int failed;

    tcase_set_timeout(t, 60);
    tcase_add_test(t, acknowledged_records_survive_every_history);
    suite_add_tcase(s, t);
    sr = srunner_create(s);
    srunner_run_all(sr, CK_ENV);
    failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed != 0;
}
