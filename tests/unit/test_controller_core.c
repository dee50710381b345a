/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of the controller core by tables: elections, AlterPartition, controlled shutdown, deletion,
 * topics written by old tools, writes that fail. tests/sim plays whole clusters. */
#include "controller/controller_core.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>

enum { BROKERS_MAX = 8, EPOCH = 7 };

/* A core with a topic "t" and what it has asked for. */
struct bench {
    struct controller_core *core;
    struct controller_effects fx;
    bool is_live[BROKERS_MAX];
    int64_t epochs[BROKERS_MAX];
    int writes, sends[3], erased;
    int32_t metadata_least; /* partitions in an UpdateMetadata that had any; 0: none */
    struct core_op last_op; /* of the last write, its lists copied below */
    int32_t last_isr[BROKERS_MAX];
    enum err next_write; /* what the next write meets; then OK again */
    int32_t next_failed_op;
    bool has_answer;
    int16_t answer_error, item_error;
    int32_t answer_items;
    int16_t reply_error; /* of partitions in replies */
    int32_t version;     /* of the state after the last write */
    bool asked_config, is_unclean;
    bool holds_replies; /* requests to brokers stay unanswered */
    int new_to[BROKERS_MAX], stopped[BROKERS_MAX], deleted[BROKERS_MAX];
    int metadata_to[BROKERS_MAX], first_items[BROKERS_MAX]; /* partitions in the first of them */
};
static struct bench b;

static void step(struct controller_event *ev);

static void answer_write(const struct core_fx *f)
{
    struct controller_event ev = {.kind = CEV_WRITE_RESULT};
    int32_t versions[256] = {0};

    b.writes++;
    b.last_op = f->u.write.ops[f->u.write.count - 1];
    for (int32_t i = 0; i < b.last_op.state.isr_count && i < BROKERS_MAX; i++)
        b.last_isr[i] = b.last_op.state.isr[i];
    ev.u.write_result.id = f->u.write.id;
    ev.u.write_result.err = b.next_write;
    ev.u.write_result.failed_op = b.next_write == ERR_OK ? -1 : b.next_failed_op;
    for (int32_t i = 0; i < f->u.write.count && i < 256; i++)
        versions[i] = f->u.write.ops[i].version + 1;
    b.version = versions[f->u.write.count - 1];
    ev.u.write_result.versions = versions;
    b.next_write = ERR_OK;
    step(&ev);
}

static void answer_send(const struct core_fx *f)
{
    struct controller_event ev = {.kind = CEV_RPC_REPLY};
    struct core_reply_item items[64];

    b.sends[f->u.send.rpc]++;
    if (f->u.send.rpc == CORE_UPDATE_METADATA && f->u.send.count > 0 &&
        (b.metadata_least == 0 || f->u.send.count < b.metadata_least))
        b.metadata_least = f->u.send.count;
    for (int32_t i = 0; i < f->u.send.count; i++) {
        const struct core_send_item *it = &f->u.send.items[i];

        if (i < 64)
            items[i] = (struct core_reply_item){
                .at = {.topic = str_of("t"), .topic_id = it->topic_id, .partition = it->partition},
                .error = b.reply_error};
        b.new_to[f->broker_id] += f->u.send.rpc == CORE_LEADER_AND_ISR && it->is_new;
        b.stopped[f->broker_id] += f->u.send.rpc == CORE_STOP_REPLICA;
        b.deleted[f->broker_id] += f->u.send.rpc == CORE_STOP_REPLICA && it->is_delete;
    }
    if (f->u.send.rpc == CORE_UPDATE_METADATA && b.metadata_to[f->broker_id]++ == 0)
        b.first_items[f->broker_id] = f->u.send.count;
    if (b.holds_replies)
        return;
    ev.u.rpc_reply.broker_id = f->broker_id;
    ev.u.rpc_reply.rpc_id = f->u.send.id;
    ev.u.rpc_reply.items = items;
    ev.u.rpc_reply.count = f->u.send.rpc == CORE_UPDATE_METADATA ? 0 : i32_min(f->u.send.count, 64);
    step(&ev);
}

static void take(const struct core_fx *f)
{
    struct controller_event ev = {.kind = CEV_TOPIC_CONFIG};

    switch (f->kind) {
    case FX_WRITE:
        answer_write(f);
        break;
    case FX_SEND:
        answer_send(f);
        break;
    case FX_ANSWER:
        b.has_answer = true;
        b.answer_error = f->u.answer.error;
        b.answer_items = f->u.answer.count;
        b.item_error = f->u.answer.count > 0 ? f->u.answer.items[0].error : -999;
        break;
    case FX_READ_TOPIC_CONFIG:
        b.asked_config = true;
        ev.u.topic_config.topic = str_of(f->topic);
        ev.u.topic_config.is_unclean = b.is_unclean;
        step(&ev);
        break;
    case FX_ERASE_TOPIC:
        b.erased++;
        break;
    default:
        break;
    }
}

/* Steps, and answers at once what the core asks for. The effects are kept aside meanwhile: those of
 * a nested step are others. */
static void step(struct controller_event *ev)
{
    struct controller_effects fx = {0};

    controller_step(b.core, ev, &fx);
    controller_check(b.core);
    for (int32_t i = 0; i < fx.count; i++)
        take(&fx.v[i]);
    controller_effects_fini(&fx);
}

static void tell_brokers(void)
{
    struct controller_event ev = {.kind = CEV_BROKERS};
    struct core_broker_info v[BROKERS_MAX];
    int32_t n = 0;

    for (int32_t i = 0; i < BROKERS_MAX; i++) {
        if (b.is_live[i])
            v[n++] = (struct core_broker_info){i, b.epochs[i], 1};
    }
    ev.u.brokers.v = v;
    ev.u.brokers.count = n;
    step(&ev);
}

/* live: digits of the broker ids, "123". */
static void set_live(const char *live)
{
    memset(b.is_live, 0, sizeof b.is_live);
    for (; *live != '\0'; live++)
        b.is_live[*live - '0'] = true;
    tell_brokers();
}

static int32_t ids(const char *digits, int32_t *out)
{
    int32_t n = 0;

    for (; *digits != '\0'; digits++)
        out[n++] = *digits - '0';
    return n;
}

static const struct uuid topic_id = {{1, 2, 3}};

static void tell_topics(void)
{
    struct controller_event ev = {.kind = CEV_TOPICS};
    struct str name = str_of("t");

    ev.u.names.v = &name;
    ev.u.names.count = 1;
    step(&ev);
}

/* The topic's znode: count partitions with the same replicas. */
static void tell_topic(const char *replicas, int32_t count, struct uuid id, int32_t version)
{
    struct controller_event ev = {.kind = CEV_TOPIC_DATA};
    struct zkdoc_partition parts[16];
    struct zkdoc_topic doc = {.topic_id = id, .partitions = parts, .partition_count = count};
    int32_t v[BROKERS_MAX];
    int32_t n = ids(replicas, v);

    for (int32_t i = 0; i < count; i++)
        parts[i] = (struct zkdoc_partition){.index = i, .replicas = v, .replica_count = n};
    ev.u.topic_data.topic = str_of("t");
    ev.u.topic_data.exists = true;
    ev.u.topic_data.doc = &doc;
    ev.u.topic_data.version = version;
    ev.u.topic_data.fresh_id = (struct uuid){{9}};
    step(&ev);
}

static void tell_state(int32_t leader, int32_t epoch, const char *isr, int32_t controller_epoch,
                       int32_t version)
{
    struct controller_event ev = {.kind = CEV_STATE_READ};
    int32_t v[BROKERS_MAX];
    struct zkdoc_state doc = {.leader = leader,
                              .leader_epoch = epoch,
                              .controller_epoch = controller_epoch,
                              .isr = v,
                              .isr_count = ids(isr, v)};

    ev.u.state_read.topic = str_of("t");
    ev.u.state_read.exists = true;
    ev.u.state_read.doc = &doc;
    ev.u.state_read.version = version;
    step(&ev);
}

static void simple(enum controller_event_kind kind)
{
    struct controller_event ev = {.kind = kind};

    if (kind == CEV_ELECTED)
        ev.u.epoch = EPOCH;
    step(&ev);
}

static void reset(void)
{
    static const struct core_options o = {.broker_id = 1,
                                          .is_delete_enabled = true,
                                          .imbalance_percentage = 10,
                                          .is_auto_balanced = true,
                                          .imbalance_interval_ms = 300000};

    memset(&b, 0, sizeof b);
    for (int i = 0; i < BROKERS_MAX; i++)
        b.epochs[i] = 100 + i;
    b.core = controller_core_new(&o);
    simple(CEV_ELECTED);
}

/* Loaded, with t-0 in the given state. */
static void load(const char *live, const char *replicas, int32_t leader, const char *isr)
{
    reset();
    set_live(live);
    tell_topics();
    tell_topic(replicas, 1, topic_id, 0);
    tell_state(leader, 5, isr, EPOCH - 1, 3);
    simple(CEV_LOADED);
}

static void done(void)
{
    controller_core_free(&b.core);
    controller_effects_fini(&b.fx);
}

static struct core_view view(void)
{
    struct core_view v;

    ck_assert(controller_core_view(b.core, str_of("t"), 0, &v));
    return v;
}

static const char *isr_text(void)
{
    static char text[BROKERS_MAX + 1];
    struct core_view v = view();
    int32_t n = 0;

    for (; n < v.state.isr_count; n++)
        text[n] = (char)('0' + v.state.isr[n]);
    text[n] = '\0';
    return text;
}

static void expect(int32_t leader, int32_t epoch, const char *isr)
{
    struct core_view v = view();

    ck_assert_str_eq(isr_text(), isr);
    ck_assert_int_eq(v.state.leader, leader);
    ck_assert_int_eq(v.state.leader_epoch, epoch);
}

/* ---- elections: what a new controller finds and makes of it; epoch 5 before */
static const struct {
    const char *live, *replicas;
    int32_t leader;
    const char *isr;
    bool is_unclean;
    int32_t leader_after, epoch_after;
    const char *isr_after;
} elections[] = {
    {"123", "123", 1, "123", false, 1, 5, "123"}, /* nothing to do */
    {"23", "123", 1, "123", false, 2, 6, "23"},   /* first of the assignment that lives and is in */
    {"23", "123", 1, "13", false, 3, 6, "3"},     /* 2 is alive, but not in sync */
    {"13", "123", 1, "123", false, 1, 6, "13"},   /* a follower died: it leaves at once */
    {"13", "123", 1, "13", false, 1, 5, "13"},    /* it had left before */
    {"23", "321", 1, "123", false, 3, 6, "23"},   /* in the order of the assignment */
    {"1", "123", 1, "1", false, 1, 5, "1"},       /* one-member ISR */
    {"23", "123", 1, "1", false, -1, 6, "1"},     /* the only one died: nobody */
    {"3", "123", 1, "12", false, -1, 6, "12"},    /* all of them died: any may come back */
    {"23", "123", 1, "1", true, 2, 7, "2"},       /* unclean, when the topic allows it */
    {"123", "123", -1, "2", false, 2, 6, "2"},    /* it came back before us */
    {"123", "123", -1, "32", false, 2, 6, "32"},  /* no leader yet, two to choose from */
    {"123", "123", 1, "124", false, 1, 6, "12"},  /* an ISR member that is not assigned */
    {"", "123", 1, "123", false, -1, 6, "123"},   /* everybody is away */
};

START_TEST(elections_follow_the_table)
{
    reset();
    b.is_unclean = elections[_i].is_unclean;
    set_live(elections[_i].live);
    tell_topics();
    tell_topic(elections[_i].replicas, 1, topic_id, 0);
    tell_state(elections[_i].leader, 5, elections[_i].isr, EPOCH - 1, 3);
    simple(CEV_LOADED);
    expect(elections[_i].leader_after, elections[_i].epoch_after, elections[_i].isr_after);
    ck_assert_int_eq(view().state.leader_recovery_state, elections[_i].is_unclean ? 1 : 0);
    ck_assert(controller_core_is_quiet(b.core));
    done();
}
END_TEST

START_TEST(death_moves_the_leader_and_shrinks_the_isr_in_one_write)
{
    char text[256];

    load("123", "123", 1, "123");
    controller_core_summary(b.core, text, sizeof text);
    ck_assert_msg(strstr(text, "phase=active") != NULL && strstr(text, "topics=1 ") != NULL, "%s",
                  text);
    b.writes = 0;
    set_live("23");
    expect(2, 6, "23");
    ck_assert_int_eq(b.writes, 1);
    set_live("3");
    expect(3, 7, "3");
    set_live("");
    expect(-1, 8, "3"); /* the last member is kept */
    set_live("12");     /* not in sync: they wait */
    expect(-1, 8, "3");
    ck_assert(b.asked_config);
    set_live("123");
    expect(3, 9, "3");
    done();
}
END_TEST

START_TEST(a_bounced_leader_loses_its_place_to_a_member_that_stayed)
{
    load("123", "123", 1, "123");
    b.epochs[1] = 500;
    tell_brokers();
    expect(2, 6, "23");
    done();
}
END_TEST

START_TEST(a_bounced_leader_that_was_alone_leads_again_with_a_new_epoch)
{
    load("123", "123", 1, "1");
    b.epochs[1] = 500;
    tell_brokers();
    expect(1, 6, "1");
    ck_assert(controller_core_is_quiet(b.core));
    done();
}
END_TEST

START_TEST(a_bounced_member_does_not_lead_while_an_absent_one_has_everything)
{
    load("123", "123", 1, "12");
    b.is_live[1] = false; /* 1 died; 2 was restarted, and may have lost what it had not flushed */
    b.epochs[2] = 500;
    tell_brokers();
    expect(-1, 6, "1");
    set_live("123");
    expect(1, 7, "1");
    done();
}
END_TEST

START_TEST(a_bounced_follower_leaves_the_isr)
{
    load("123", "123", 1, "123");
    b.epochs[3] = 500;
    tell_brokers();
    expect(1, 6, "12");
    done();
}
END_TEST

START_TEST(a_failed_disk_counts_as_a_failed_broker_for_its_partitions)
{
    struct controller_event ev = {.kind = CEV_LOG_DIR};

    load("123", "123", 1, "123");
    b.reply_error = KE_KAFKA_STORAGE_ERROR;
    ev.u.broker_id = 1;
    b.holds_replies = false;
    {
        /* only broker 1 is asked, and says so; the others then hear of the election */
        struct controller_effects fx = {0};

        controller_step(b.core, &ev, &fx);
        ck_assert_int_eq(fx.count, 1);
        ck_assert_int_eq(fx.v[0].kind, FX_SEND);
        ck_assert_int_eq(fx.v[0].broker_id, 1);
        {
            struct controller_event reply = {.kind = CEV_RPC_REPLY};
            struct core_reply_item item = {.at = {.topic_id = topic_id},
                                           .error = KE_KAFKA_STORAGE_ERROR};

            reply.u.rpc_reply.broker_id = 1;
            reply.u.rpc_reply.rpc_id = fx.v[0].u.send.id;
            reply.u.rpc_reply.items = &item;
            reply.u.rpc_reply.count = 1;
            b.reply_error = KE_NONE;
            controller_effects_fini(&fx);
            step(&reply);
        }
    }
    expect(2, 6, "23");
    ck_assert_int_eq(b.stopped[1], 1);
    ck_assert_int_eq(b.deleted[1], 0);
    done();
}
END_TEST

START_TEST(a_suspected_broker_leads_nothing_and_is_in_no_isr_until_it_is_cleared)
{
    struct controller_event ev = {.kind = CEV_SUSPECT};

    load("123", "123", 1, "123");
    ev.u.broker_id = 1;
    step(&ev);
    expect(2, 6, "23");
    ev.u.broker_id = 2;
    step(&ev);
    expect(3, 7, "3");
    ev.u.broker_id = 3; /* nobody is left: it keeps what it has */
    step(&ev);
    expect(3, 7, "3");
    ev.kind = CEV_SUSPICION_LIFTED;
    step(&ev);
    expect(3, 8, "3"); /* handled as a bounce: a new epoch */
    done();
}
END_TEST

/* ---- new partitions */
START_TEST(a_new_partition_is_new_to_its_isr_only)
{
    reset();
    set_live("13");
    simple(CEV_LOADED);
    tell_topics();
    tell_topic("123", 1, topic_id, 0);
    expect(1, 0, "13"); /* live replicas in order */
    ck_assert_int_eq(b.new_to[1], 1);
    ck_assert_int_eq(b.new_to[3], 1);
    set_live("123");
    ck_assert_int_eq(b.new_to[2], 0); /* it may have a log already */
    expect(1, 0, "13");
    done();
}
END_TEST

START_TEST(a_partition_without_live_replicas_waits_for_one)
{
    reset();
    set_live("4");
    simple(CEV_LOADED);
    tell_topics();
    tell_topic("123", 1, topic_id, 0);
    ck_assert(!view().has_state);
    set_live("42");
    expect(2, 0, "2");
    done();
}
END_TEST

START_TEST(a_topic_of_an_old_tool_gets_an_id_before_it_comes_to_life)
{
    reset();
    set_live("123");
    simple(CEV_LOADED);
    tell_topics();
    b.next_write = ERR_BAD_VERSION; /* somebody writes it at the same time */
    tell_topic("12", 1, UUID_ZERO, 0);
    ck_assert(!view().has_state);
    tell_topic("12", 2, UUID_ZERO, 1); /* read again, and it has grown */
    expect(1, 0, "12");
    ck_assert_int_eq(b.writes, 3); /* id refused, id, two states */
    done();
}
END_TEST

START_TEST(an_unusable_topic_does_not_keep_others_from_coming_to_life)
{
    struct controller_event ev = {.kind = CEV_TOPICS};
    struct str list[2] = {str_of("broken"), str_of("t")};

    reset();
    set_live("123");
    simple(CEV_LOADED);
    ev.u.names.v = list;
    ev.u.names.count = 2;
    step(&ev);
    ev.kind = CEV_TOPIC_DATA;
    memset(&ev.u, 0, sizeof ev.u);
    ev.u.topic_data.topic = list[0];
    ev.u.topic_data.exists = true;
    step(&ev);
    tell_topic("11", 1, topic_id, 0); /* a broker twice */
    {
        struct core_view v;
        ck_assert(!controller_core_view(b.core, str_of("t"), 0, &v));
    }
    tell_topic("12", 1, topic_id, 1); /* corrected */
    expect(1, 0, "12");
    done();
}
END_TEST

static const char *const bad_names[] = {"", ".", "..", "a b", "x/", "t\xc3\xa9"};

START_TEST(a_topic_with_an_illegal_name_is_not_looked_at)
{
    struct controller_event ev = {.kind = CEV_TOPICS};
    struct controller_effects fx = {0};
    char longest[252];
    struct str list[2] = {str_of(bad_names[_i]), STR_NULL};

    memset(longest, 'x', sizeof longest);
    longest[250] = '\0'; /* one too many */
    list[1] = str_of(longest);
    reset();
    simple(CEV_LOADED);
    ev.u.names.v = list;
    ev.u.names.count = 2;
    controller_step(b.core, &ev, &fx);
    ck_assert_int_eq(fx.count, 2);
    for (int i = 0; i < 2; i++) {
        ck_assert_int_eq(fx.v[i].kind, FX_TRACE);
        ck_assert_int_eq(fx.v[i].u.trace.kind, TRACE_TOPIC_INVALID);
    }
    controller_effects_fini(&fx);
    done();
}
END_TEST

START_TEST(states_that_an_earlier_controller_made_are_taken_over)
{
    reset();
    set_live("123");
    simple(CEV_LOADED);
    tell_topics();
    b.next_write = ERR_EXISTS;
    b.next_failed_op = 0; /* the parent; then alone: node made, state there */
    tell_topic("12", 1, topic_id, 0);
    expect(1, 0, "12");
    done();
}
END_TEST

START_TEST(many_partitions_share_a_write)
{
    struct controller_event ev = {.kind = CEV_TOPIC_DATA};
    struct zkdoc_partition parts[120];
    struct zkdoc_topic doc = {.topic_id = topic_id, .partitions = parts, .partition_count = 120};
    static const int32_t replicas[] = {1, 2, 3};

    reset();
    set_live("123");
    simple(CEV_LOADED);
    tell_topics();
    for (int32_t i = 0; i < 120; i++)
        parts[i] = (struct zkdoc_partition){.index = i, .replicas = replicas, .replica_count = 3};
    ev.u.topic_data.topic = str_of("t");
    ev.u.topic_data.exists = true;
    ev.u.topic_data.doc = &doc;
    b.writes = 0;
    step(&ev);
    ck_assert_int_eq(b.writes, 3);           /* 50 + 50 + 20 */
    ck_assert_int_eq(b.metadata_least, 120); /* who counts partitions never sees a part of them */
    b.writes = 0;
    set_live("23");
    ck_assert_int_eq(b.writes, 3);
    expect(2, 1, "23");
    done();
}
END_TEST

/* ---- writes that fail */
START_TEST(a_write_that_meets_another_is_decided_anew)
{
    load("123", "123", 1, "123");
    b.next_write = ERR_BAD_VERSION;
    b.next_failed_op = 0;
    set_live("23");
    expect(1, 5, "123"); /* it is being read */
    tell_state(1, 5, "13", EPOCH - 1, 4);
    expect(3, 6, "3");
    ck_assert(controller_core_is_quiet(b.core));
    done();
}
END_TEST

START_TEST(a_write_of_unknown_outcome_is_settled_by_reading)
{
    load("123", "123", 1, "123");
    b.next_write = ERR_UNKNOWN_OUTCOME;
    set_live("23");
    tell_state(2, 6, "23", EPOCH, 4); /* it had arrived */
    expect(2, 6, "23");
    ck_assert_int_eq(view().partition_epoch, 4);
    b.next_write = ERR_UNKNOWN_OUTCOME;
    set_live("3");
    b.writes = 0;
    tell_state(2, 6, "23", EPOCH, 4); /* it had not: written again */
    expect(3, 7, "3");
    ck_assert_int_eq(b.writes, 1);
    done();
}
END_TEST

START_TEST(what_happened_meanwhile_counts_when_a_write_is_done_again)
{
    load("123", "123", 1, "12");
    b.next_write = ERR_UNKNOWN_OUTCOME;
    set_live("23"); /* 2 is to lead */
    set_live("3");  /* and dies */
    tell_state(1, 5, "12", EPOCH - 1, 3);
    expect(-1, 6, "12");
    done();
}
END_TEST

START_TEST(a_leader_that_is_back_before_its_death_was_written_has_still_died)
{
    load("123", "123", 1, "12");
    b.next_write = ERR_UNKNOWN_OUTCOME;
    set_live("23");
    b.epochs[1] = 500;
    set_live("123");
    tell_state(1, 5, "12", EPOCH - 1, 3);
    expect(2, 6, "2");
    done();
}
END_TEST

START_TEST(who_means_to_stop_is_kept_before_who_is_absent)
{
    struct controller_event ev = {.kind = CEV_SUSPECT};

    load("123", "123", 1, "12");
    b.next_write = ERR_UNKNOWN_OUTCOME;
    set_live("23"); /* 1 died, 2 is to lead */
    ev.u.broker_id = 2;
    step(&ev); /* and is suspected */
    tell_state(1, 5, "12", EPOCH - 1, 3);
    expect(-1, 6, "2");
    done();
}
END_TEST

START_TEST(a_state_of_a_newer_controller_is_left_alone)
{
    load("123", "123", 1, "123");
    b.next_write = ERR_BAD_VERSION;
    b.next_failed_op = 0;
    set_live("23");
    b.writes = 0;
    tell_state(3, 9, "3", EPOCH + 1, 8);
    ck_assert_int_eq(b.writes, 0);
    done();
}
END_TEST

/* ---- AlterPartition: state leader 1, epoch 5, ISR 12, version 3; replicas 123; 3 lives, 2 stops
 */
static const struct {
    const char *what;
    int32_t partition, broker, leader_epoch, version;
    const char *isr;
    int8_t recovery;
    int16_t error;
    const char *isr_after;
} alters[] = {
    {"unknown partition", 9, 1, 5, 3, "1", 0, KE_UNKNOWN_TOPIC_OR_PARTITION, "12"},
    {"version ahead of ours", 0, 1, 5, 4, "1", 0, KE_NOT_CONTROLLER, "12"},
    {"epoch ahead of ours", 0, 1, 6, 3, "1", 0, KE_NOT_CONTROLLER, "12"},
    {"old epoch", 0, 1, 4, 3, "1", 0, KE_FENCED_LEADER_EPOCH, "12"},
    {"repeated, old version", 0, 1, 5, 2, "12", 0, KE_NONE, "12"},
    {"repeated", 0, 1, 5, 3, "12", 0, KE_NONE, "12"},
    {"old version", 0, 1, 5, 2, "1", 0, KE_INVALID_UPDATE_VERSION, "12"},
    {"recovering with two", 0, 1, 5, 3, "13", 1, KE_INVALID_REQUEST, "12"},
    {"recovered to recovering", 0, 1, 5, 3, "1", 1, KE_INVALID_REQUEST, "12"},
    {"not the leader", 0, 3, 5, 3, "13", 0, KE_INVALID_REQUEST, "12"},
    {"without its leader", 0, 1, 5, 3, "23", 0, KE_INVALID_REQUEST, "12"},
    {"empty", 0, 1, 5, 3, "", 0, KE_INVALID_REQUEST, "12"},
    {"a broker twice", 0, 1, 5, 3, "133", 0, KE_INVALID_REQUEST, "12"},
    {"a dead broker", 0, 1, 5, 3, "127", 0, KE_INELIGIBLE_REPLICA, "12"},
    {"a broker that is not assigned", 0, 1, 5, 3, "124", 0, KE_INELIGIBLE_REPLICA, "12"},
    {"shrink", 0, 1, 5, 3, "1", 0, KE_NONE, "1"},
    {"expand", 0, 1, 5, 3, "123", 0, KE_NONE, "123"},
};

static void alter(int32_t broker, int64_t epoch, int32_t partition, int32_t leader_epoch,
                  int32_t version, const char *isr, int8_t recovery)
{
    struct controller_event ev = {.kind = CEV_ALTER_PARTITION};
    int32_t v[BROKERS_MAX];
    struct core_alter_item item = {.at = {.topic_id = topic_id, .partition = partition},
                                   .leader_epoch = leader_epoch,
                                   .partition_epoch = version,
                                   .recovery_state = recovery,
                                   .isr = v,
                                   .isr_count = ids(isr, v)};

    b.has_answer = false;
    ev.u.alter.handle = &b;
    ev.u.alter.broker_id = broker;
    ev.u.alter.broker_epoch = epoch;
    ev.u.alter.items = &item;
    ev.u.alter.count = 1;
    step(&ev);
}

START_TEST(alter_partition_follows_the_table)
{
    load("1234", "123", 1, "12");
    b.sends[CORE_LEADER_AND_ISR] = b.sends[CORE_UPDATE_METADATA] = 0;
    alter(alters[_i].broker, 100 + alters[_i].broker, alters[_i].partition, alters[_i].leader_epoch,
          alters[_i].version, alters[_i].isr, alters[_i].recovery);
    ck_assert(b.has_answer);
    ck_assert_int_eq(b.answer_error, KE_NONE);
    ck_assert_msg(b.item_error == alters[_i].error, "%s: %s", alters[_i].what,
                  kerr_name(b.item_error));
    if (alters[_i].error == KE_INVALID_UPDATE_VERSION) { /* it is told where it stands */
        expect(1, 6, alters[_i].isr_after);
        ck_assert_int_eq(b.sends[CORE_LEADER_AND_ISR], 3);
    } else { /* the epoch does not move */
        expect(1, 5, alters[_i].isr_after);
        ck_assert_int_eq(b.sends[CORE_LEADER_AND_ISR], 0);
        ck_assert_int_eq(b.sends[CORE_UPDATE_METADATA] > 0,
                         strcmp(alters[_i].isr_after, "12") != 0);
    }
    done();
}
END_TEST

START_TEST(alter_partition_of_a_stale_or_unknown_broker_is_refused)
{
    load("1234", "123", 1, "12");
    alter(1, 99, 0, 5, 3, "1", 0);
    ck_assert_int_eq(b.answer_error, KE_STALE_BROKER_EPOCH);
    alter(7, 107, 0, 5, 3, "1", 0);
    ck_assert_int_eq(b.answer_error, KE_STALE_BROKER_EPOCH);
    simple(CEV_RESIGNED);
    alter(1, 101, 0, 5, 3, "1", 0);
    ck_assert_int_eq(b.answer_error, KE_NOT_CONTROLLER);
    done();
}
END_TEST

START_TEST(alter_partition_waits_for_the_write_on_its_way)
{
    struct controller_effects fx = {0};
    struct controller_event ev = {.kind = CEV_SUSPECT};

    load("123", "123", 1, "123");
    ev.u.broker_id = 3;
    controller_step(b.core, &ev, &fx); /* 3 leaves: the write is held back */
    alter(1, 101, 0, 5, 3, "12", 0);
    ck_assert(!b.has_answer);
    for (int32_t i = 0; i < fx.count; i++)
        take(&fx.v[i]);
    controller_effects_fini(&fx);
    ck_assert(b.has_answer);
    ck_assert_int_eq(b.item_error, KE_FENCED_LEADER_EPOCH);
    expect(1, 6, "12");
    done();
}
END_TEST

START_TEST(waiting_requests_are_answered_on_resignation)
{
    struct controller_effects fx = {0};
    struct controller_event ev = {.kind = CEV_SUSPECT};

    load("123", "123", 1, "123");
    ev.u.broker_id = 3;
    controller_step(b.core, &ev, &fx);
    alter(1, 101, 0, 5, 3, "12", 0);
    ck_assert(!b.has_answer);
    simple(CEV_RESIGNED);
    ck_assert(b.has_answer);
    ck_assert_int_eq(b.answer_error, KE_NOT_CONTROLLER);
    controller_effects_fini(&fx);
    done();
}
END_TEST

/* ---- controlled shutdown */
static void shutdown_broker(int32_t id, int64_t epoch)
{
    struct controller_event ev = {.kind = CEV_CONTROLLED_SHUTDOWN};

    b.has_answer = false;
    ev.u.shutdown.handle = &b;
    ev.u.shutdown.broker_id = id;
    ev.u.shutdown.broker_epoch = epoch;
    step(&ev);
    ck_assert(b.has_answer);
}

START_TEST(shutdown_moves_leaders_away)
{
    load("123", "123", 1, "123");
    shutdown_broker(1, 101);
    ck_assert_int_eq(b.answer_error, KE_NONE);
    ck_assert_int_eq(b.answer_items, 0);
    expect(2, 6, "23");
    ck_assert_int_eq(b.stopped[1], 0); /* it led: it follows until it goes */
    alter(2, 102, 0, 6, 4, "231", 0);
    ck_assert_int_eq(b.item_error, KE_INELIGIBLE_REPLICA);
    done();
}
END_TEST

START_TEST(shutdown_of_a_follower_stops_it_and_shrinks_the_isr)
{
    load("123", "123", 1, "123");
    shutdown_broker(3, -1);
    expect(1, 6, "12");
    ck_assert_int_eq(b.stopped[3], 1);
    ck_assert_int_eq(b.deleted[3], 0);
    done();
}
END_TEST

START_TEST(shutdown_names_what_cannot_be_moved)
{
    load("123", "123", 1, "1");
    shutdown_broker(1, 101);
    ck_assert_int_eq(b.answer_items, 1);
    expect(1, 5, "1");
    done();
}
END_TEST

START_TEST(shutdown_does_not_wait_when_nobody_else_lives)
{
    load("12", "123", 1, "12");
    shutdown_broker(2, 102);
    expect(1, 6, "1");
    shutdown_broker(1, 101);
    ck_assert_int_eq(b.answer_items, 0);
    expect(1, 6, "1");
    done();
}
END_TEST

START_TEST(shutdown_does_not_wait_for_single_replicas)
{
    load("123", "1", 1, "1");
    shutdown_broker(1, 101);
    ck_assert_int_eq(b.answer_items, 0);
    expect(1, 5, "1");
    done();
}
END_TEST

START_TEST(shutdown_of_strangers_is_refused)
{
    load("123", "123", 1, "123");
    shutdown_broker(1, 100);
    ck_assert_int_eq(b.answer_error, KE_STALE_BROKER_EPOCH);
    shutdown_broker(6, -1);
    ck_assert_int_eq(b.answer_error, KE_BROKER_NOT_AVAILABLE);
    shutdown_broker(6, 5);
    ck_assert_int_eq(b.answer_error, KE_UNKNOWN_SERVER_ERROR);
    simple(CEV_RESIGNED);
    shutdown_broker(1, 101);
    ck_assert_int_eq(b.answer_error, KE_STALE_CONTROLLER_EPOCH);
    done();
}
END_TEST

/* ---- deletion */
static void ask_delete(void)
{
    struct controller_event ev = {.kind = CEV_DELETE_TOPICS};
    struct str name = str_of("t");

    ev.u.names.v = &name;
    ev.u.names.count = 1;
    step(&ev);
}

START_TEST(deletion_removes_every_replica_before_the_znodes)
{
    load("12", "123", 1, "12");
    ask_delete();
    ck_assert_int_eq(b.deleted[1], 1);
    ck_assert_int_eq(b.deleted[2], 1);
    ck_assert_int_eq(b.erased, 0); /* 3 is away */
    set_live("123");
    ck_assert_int_eq(b.deleted[3], 1);
    ck_assert_int_eq(b.erased, 1);
    {
        struct controller_event ev = {.kind = CEV_TOPIC_ERASED};
        struct core_view v;

        ev.u.name = str_of("t");
        step(&ev);
        ck_assert(!controller_core_view(b.core, str_of("t"), 0, &v));
    }
    ck_assert(controller_core_is_quiet(b.core));
    done();
}
END_TEST

START_TEST(a_replica_that_cannot_be_deleted_is_tried_again_when_its_broker_returns)
{
    load("12", "12", 1, "12");
    b.reply_error = KE_KAFKA_STORAGE_ERROR;
    ask_delete();
    ck_assert_int_eq(b.erased, 0);
    b.reply_error = KE_NONE;
    b.epochs[1] = 500;
    tell_brokers();
    b.epochs[2] = 501;
    tell_brokers();
    ck_assert_int_eq(b.erased, 1);
    done();
}
END_TEST

/* ---- elections by request, balance */
static void ask_elect(enum core_election_kind kind, bool is_all)
{
    struct controller_event ev = {.kind = CEV_ELECT_LEADERS};
    struct core_partition_ref at = {.topic = str_of("t")};

    b.has_answer = false;
    ev.u.elect.handle = &b;
    ev.u.elect.kind = kind;
    ev.u.elect.items = is_all ? NULL : &at;
    ev.u.elect.count = 1;
    step(&ev);
    ck_assert(b.has_answer);
}

START_TEST(preferred_election_gives_the_first_replica_its_place)
{
    load("123", "123", 2, "213");
    ask_elect(CORE_ELECT_PREFERRED, false);
    ck_assert_int_eq(b.item_error, KE_NONE);
    expect(1, 6, "213");
    ask_elect(CORE_ELECT_PREFERRED, false);
    ck_assert_int_eq(b.item_error, KE_ELECTION_NOT_NEEDED);
    ask_elect(CORE_ELECT_PREFERRED, true);
    ck_assert_int_eq(b.answer_items, 0); /* what needs nothing is left out */
    done();
}
END_TEST

START_TEST(preferred_election_needs_the_first_replica_in_sync)
{
    load("123", "123", 2, "23");
    ask_elect(CORE_ELECT_PREFERRED, false);
    ck_assert_int_eq(b.item_error, KE_PREFERRED_LEADER_NOT_AVAILABLE);
    expect(2, 5, "23");
    done();
}
END_TEST

START_TEST(unclean_election_by_request_takes_whoever_lives)
{
    load("23", "123", 1, "1");
    expect(-1, 6, "1");
    ask_elect(CORE_ELECT_UNCLEAN, false);
    ck_assert_int_eq(b.item_error, KE_NONE);
    expect(2, 7, "2");
    ck_assert_int_eq(view().state.leader_recovery_state, 1);
    ask_elect(CORE_ELECT_UNCLEAN, false);
    ck_assert_int_eq(b.item_error, KE_ELECTION_NOT_NEEDED);
    done();
}
END_TEST

START_TEST(balance_gives_leaders_back_when_its_time_has_come)
{
    struct controller_event ev = {.kind = CEV_TICK};

    load("123", "123", 2, "213");
    ck_assert_int_eq(controller_deadline_ms(b.core), 5000);
    ev.now_ms = 4999;
    step(&ev);
    expect(2, 5, "213");
    ev.now_ms = 5000;
    step(&ev);
    expect(1, 6, "213");
    ck_assert_int_eq(controller_deadline_ms(b.core), 305000);
    done();
}
END_TEST

/* ---- reassignment */
static void ask_reassign(const char *replicas)
{
    struct controller_event ev = {.kind = CEV_REASSIGN};
    int32_t v[BROKERS_MAX];
    struct core_reassign_item item = {.at = {.topic = str_of("t")}};

    if (replicas != NULL) {
        item.replica_count = ids(replicas, v);
        item.replicas = v;
    }
    b.has_answer = false;
    ev.u.reassign.handle = &b;
    ev.u.reassign.items = &item;
    ev.u.reassign.count = 1;
    step(&ev);
    ck_assert(b.has_answer);
}

START_TEST(reassignment_waits_for_its_target_and_then_lets_the_others_go)
{
    load("1234", "12", 1, "12");
    ask_reassign("34");
    ck_assert_int_eq(b.item_error, KE_NONE);
    expect(1, 6, "12"); /* phase A: a new epoch tells 3 and 4 to follow */
    ck_assert_int_eq(view().replica_count, 4);
    ck_assert_int_eq(view().adding_count, 2);
    ck_assert_int_eq(b.new_to[3], 1);
    alter(1, 101, 0, 6, view().partition_epoch, "123", 0);
    expect(1, 6, "123");
    alter(1, 101, 0, 6, view().partition_epoch, "1234", 0);
    expect(3, 7, "34"); /* phase B */
    ck_assert_int_eq(view().replica_count, 2);
    ck_assert_int_eq(view().adding_count + view().removing_count, 0);
    ck_assert_int_eq(b.deleted[1], 1);
    ck_assert_int_eq(b.deleted[2], 1);
    ck_assert_int_eq(b.last_op.kind, CORE_OP_SET_TOPIC); /* the znode last */
    ck_assert(controller_core_is_quiet(b.core));
    done();
}
END_TEST

START_TEST(a_cancelled_reassignment_ends_where_it_began)
{
    load("1234", "12", 1, "12");
    ask_reassign(NULL);
    ck_assert_int_eq(b.item_error, KE_NO_REASSIGNMENT_IN_PROGRESS);
    ask_reassign("34");
    ask_reassign(NULL);
    ck_assert_int_eq(b.item_error, KE_NONE);
    expect(1, 7, "12");
    ck_assert_int_eq(view().replica_count, 2);
    ck_assert_int_eq(view().replicas[0], 1);
    ck_assert_int_eq(b.deleted[3], 1);
    done();
}
END_TEST

static const char *const bad_targets[] = {"", "33", "5"};

START_TEST(bad_targets_are_refused)
{
    load("1234", "12", 1, "12");
    ask_reassign(bad_targets[_i]);
    ck_assert_int_eq(b.item_error, KE_INVALID_REPLICA_ASSIGNMENT);
    expect(1, 5, "12");
    done();
}
END_TEST

/* ---- what brokers are told */
START_TEST(a_slow_broker_gets_the_newest_state_once)
{
    load("123", "123", 1, "123");
    b.holds_replies = true;
    memset(b.sends, 0, sizeof b.sends);
    alter(1, 101, 0, 5, 3, "12", 0); /* to each: UpdateMetadata, unanswered */
    ck_assert_int_eq(b.sends[CORE_UPDATE_METADATA], 3);
    alter(1, 101, 0, 5, 4, "123", 0);
    alter(1, 101, 0, 5, 5, "12", 0);
    ck_assert_int_eq(b.sends[CORE_UPDATE_METADATA], 3); /* one request on its way */
    done();
}
END_TEST

/* Else it would tell its clients, until the next message, that there are no topics. */
START_TEST(a_broker_that_starts_hears_of_brokers_and_partitions_at_once)
{
    load("123", "123", 1, "123");
    memset(b.metadata_to, 0, sizeof b.metadata_to);
    b.epochs[3] = 500; /* it bounced */
    tell_brokers();
    ck_assert_int_gt(b.metadata_to[3], 0);
    ck_assert_int_eq(b.first_items[3], 1);
    memset(b.metadata_to, 0, sizeof b.metadata_to);
    set_live("1234"); /* a new one */
    tell_brokers();
    ck_assert_int_gt(b.metadata_to[4], 0);
    ck_assert_int_eq(b.first_items[4], 1);
    ck_assert_int_eq(b.first_items[1], 0); /* who knows all hears of the new one only */
    done();
}
END_TEST

int main(void)
{
    Suite *s = suite_create("controller_core");
    TCase *t = tcase_create("core");
    SRunner *r = srunner_create(s);
    int failed;

    tcase_add_loop_test(t, elections_follow_the_table, 0, (int)ARRAY_LEN(elections));
    tcase_add_test(t, death_moves_the_leader_and_shrinks_the_isr_in_one_write);
    tcase_add_test(t, a_bounced_leader_loses_its_place_to_a_member_that_stayed);
    tcase_add_test(t, a_bounced_leader_that_was_alone_leads_again_with_a_new_epoch);
    tcase_add_test(t, a_bounced_member_does_not_lead_while_an_absent_one_has_everything);
    tcase_add_test(t, a_bounced_follower_leaves_the_isr);
    tcase_add_test(t, a_failed_disk_counts_as_a_failed_broker_for_its_partitions);
    tcase_add_test(t, a_suspected_broker_leads_nothing_and_is_in_no_isr_until_it_is_cleared);
    tcase_add_test(t, a_new_partition_is_new_to_its_isr_only);
    tcase_add_test(t, a_partition_without_live_replicas_waits_for_one);
    tcase_add_test(t, a_topic_of_an_old_tool_gets_an_id_before_it_comes_to_life);
    tcase_add_test(t, an_unusable_topic_does_not_keep_others_from_coming_to_life);
    tcase_add_loop_test(t, a_topic_with_an_illegal_name_is_not_looked_at, 0,
                        (int)ARRAY_LEN(bad_names));
    tcase_add_test(t, states_that_an_earlier_controller_made_are_taken_over);
    tcase_add_test(t, many_partitions_share_a_write);
    tcase_add_test(t, a_write_that_meets_another_is_decided_anew);
    tcase_add_test(t, a_write_of_unknown_outcome_is_settled_by_reading);
    tcase_add_test(t, what_happened_meanwhile_counts_when_a_write_is_done_again);
    tcase_add_test(t, a_leader_that_is_back_before_its_death_was_written_has_still_died);
    tcase_add_test(t, who_means_to_stop_is_kept_before_who_is_absent);
    tcase_add_test(t, a_state_of_a_newer_controller_is_left_alone);
    tcase_add_loop_test(t, alter_partition_follows_the_table, 0, (int)ARRAY_LEN(alters));
    tcase_add_test(t, alter_partition_of_a_stale_or_unknown_broker_is_refused);
    tcase_add_test(t, alter_partition_waits_for_the_write_on_its_way);
    tcase_add_test(t, waiting_requests_are_answered_on_resignation);
    tcase_add_test(t, shutdown_moves_leaders_away);
    tcase_add_test(t, shutdown_of_a_follower_stops_it_and_shrinks_the_isr);
    tcase_add_test(t, shutdown_names_what_cannot_be_moved);
    tcase_add_test(t, shutdown_does_not_wait_when_nobody_else_lives);
    tcase_add_test(t, shutdown_does_not_wait_for_single_replicas);
    tcase_add_test(t, shutdown_of_strangers_is_refused);
    tcase_add_test(t, deletion_removes_every_replica_before_the_znodes);
    tcase_add_test(t, a_replica_that_cannot_be_deleted_is_tried_again_when_its_broker_returns);
    tcase_add_test(t, preferred_election_gives_the_first_replica_its_place);
    tcase_add_test(t, preferred_election_needs_the_first_replica_in_sync);
    tcase_add_test(t, unclean_election_by_request_takes_whoever_lives);
    tcase_add_test(t, balance_gives_leaders_back_when_its_time_has_come);
    tcase_add_test(t, reassignment_waits_for_its_target_and_then_lets_the_others_go);
    tcase_add_test(t, a_cancelled_reassignment_ends_where_it_began);
    tcase_add_loop_test(t, bad_targets_are_refused, 0, (int)ARRAY_LEN(bad_targets));
    tcase_add_test(t, a_broker_that_starts_hears_of_brokers_and_partitions_at_once);
    tcase_add_test(t, a_slow_broker_gets_the_newest_state_once);
    suite_add_tcase(s, t);
    srunner_run_all(r, CK_ENV);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
