/* SPDX-License-Identifier: Apache-2.0 */
/* Fuzz target: bytes as a partition of __consumer_offsets, which anybody with write access may have
 * filled. Each record is a length and the key, a length and the value (0xFFFF: a tombstone). What
 * decodes is loaded into a core; then calls come, chosen by the rest of the bytes. Every invariant
 * holds after every step, and what was decoded is written and read again as the same. Configured
 * with --enable-fuzz it is a libFuzzer program; otherwise it replays records of every version and
 * seeded mutations of them, or the files named as arguments. */
#include "broker/group/group_core.h"
#include "broker/group/group_records.h"

#include <stdio.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { CALLS_BYTE = 0xEE, APPENDS_MAX = 64 };

static struct group_core *core;
static int64_t now;
static uint64_t call;
static uint64_t appends[APPENDS_MAX];
static int append_count;
static int64_t log_end;

static void step(struct group_event ev)
{
    struct group_effects fx;

    ev.now_ms = now;
    ev.wall_ms = INT64_C(1700000000000) + now;
    group_core_step(core, &ev, &fx);
    group_core_check(core);
    for (int32_t i = 0; i < fx.count; i++) {
        if (fx.v[i].kind == GFX_APPEND && append_count < APPENDS_MAX)
            appends[append_count++] = fx.v[i].append.append_id;
    }
}

static void answer_append(int16_t error)
{
    uint64_t id;

    if (append_count == 0)
        return;
    id = appends[--append_count];
    step((struct group_event){.kind = GEV_APPENDED, .appended = {id, error, log_end++}});
}

/* ---- records */

static void write_again(enum group_record_kind kind, const struct group_event *ev, struct buf *key,
                        struct buf *value)
{
    if (kind == GROUP_RECORD_OFFSET) {
        const struct group_load_offset *l = &ev->load_offset;
        group_records_offset_key(key, l->group, l->topic, l->partition);
        if (l->value != NULL)
            group_records_offset_value(value, l->value);
    } else {
        group_records_group_key(key, ev->load_group.group);
        if (!ev->load_group.is_tombstone)
            group_records_group_value(value, &ev->load_group);
    }
}

static struct bytes bytes_of(const struct buf *b)
{
    return b->len == 0 ? BYTES_NULL : (struct bytes){b->p, (int64_t)b->len};
}

/* What is written of a record, read, and written again, is the same. */
static void there_and_back(enum group_record_kind kind, const struct group_event *ev)
{
    struct buf key[2] = {{0}}, value[2] = {{0}};
    struct arena arena = {0};
    struct errtext why;
    struct group_event again;
    enum group_record_kind kind_again;

    write_again(kind, ev, &key[0], &value[0]);
    MUST(group_records_decode(bytes_of(&key[0]), bytes_of(&value[0]), &arena, &kind_again, &again,
                              &why) == ERR_OK);
    ASSERT(kind_again == kind && again.kind == ev->kind);
    write_again(kind, &again, &key[1], &value[1]);
    ASSERT(key[0].len == key[1].len && memcmp(key[0].p, key[1].p, key[0].len) == 0);
    ASSERT(value[0].len == value[1].len &&
           (value[0].len == 0 || memcmp(value[0].p, value[1].p, value[0].len) == 0));
    for (int i = 0; i < 2; i++) {
        buf_fini(&key[i]);
        buf_fini(&value[i]);
    }
    arena_fini(&arena);
}

static void load_record(struct bytes key, struct bytes value, uint8_t variant)
{
    struct arena arena = {.limit = 1 << 20};
    struct errtext why = {.text = ""};
    struct group_event ev;
    enum group_record_kind kind;
    enum err rc = group_records_decode(key, value, &arena, &kind, &ev, &why);

    if (rc == ERR_OK && kind != GROUP_RECORD_OTHER) {
        there_and_back(kind, &ev);
        if (kind == GROUP_RECORD_OFFSET) {
            ev.load_offset.batch_offset = log_end++;
            ev.load_offset.producer_id = (variant & 3) == 0 ? variant & 12 : -1;
        }
        step(ev);
        if ((variant & 48) == 0)
            step((struct group_event){.kind = GEV_LOAD_MARKER,
                                      .load_marker = {variant & 12, (variant & 64) != 0}});
    } else if (rc != ERR_OK) {
        ASSERT(rc == ERR_CORRUPT || rc == ERR_PROTOCOL || rc == ERR_NO_MEMORY);
        ASSERT(why.text[0] != 0 || rc == ERR_NO_MEMORY);
    }
    arena_fini(&arena);
}

/* A copy of its own, so that reading behind it shows. */
static bool take(const uint8_t **p, const uint8_t *end, struct bytes *out)
{
    size_t n;
    uint8_t *copy;

    *out = BYTES_NULL;
    if (end - *p < 2)
        return false;
    n = be16_load(*p);
    *p += 2;
    if (n == UINT16_MAX)
        return true;
    n = size_min(n, (size_t)(end - *p));
    copy = xmalloc(n);
    memcpy(copy, *p, n);
    *p += n;
    *out = (struct bytes){copy, (int64_t)n};
    return true;
}

static const uint8_t *load(const uint8_t *p, const uint8_t *end)
{
    uint8_t variant = 1;

    while (p < end && *p != CALLS_BYTE) {
        struct bytes key, value;
        variant = (uint8_t)(*p++ ^ variant);
        bool ok = take(&p, end, &key);
        ok = take(&p, end, &value) && ok;
        if (ok)
            load_record(key, value, variant);
        mem_free((void *)(uintptr_t)key.p);
        mem_free((void *)(uintptr_t)value.p);
        if (!ok)
            break;
    }
    step((struct group_event){.kind = GEV_LOADED});
    return p < end ? p + 1 : p;
}

/* ---- calls */

static const struct str groups[] = {{"g1", 2}, {"", 0}, {NULL, -1}, {"new", 3}};
static const struct str ids[] = {{"", 0}, {"m1", 2}, {"c-a", 3}, {"c-b", 3}, {"i-a", 3}, {"\0", 1}};
static const struct str instances[] = {{NULL, -1}, {"i", 1}, {"", 0}, {NULL, -1}};
static const struct str topics[] = {{"t", 1}, {"A", 1}, {"", 0}};
static const int32_t numbers[] = {0, 1, 2, -1, INT32_MAX, INT32_MIN, 10000, 6000};
static const struct group_protocol protocols[] = {
    {{"range", 5}, {NULL, 0}},
    {{"", 0}, {(const uint8_t *)"\0\0\0\0\0\1\0\1t", 9}},
    {{"range", 5}, {NULL, -1}}};

#define ONE_OF(v, n) (v)[(unsigned)(n) % ARRAY_LEN(v)]

static void call_join(const uint8_t *q)
{
    static char suffix[8];

    (void)snprintf(suffix, sizeof suffix, "%u", (unsigned)call % 10000);
    step((struct group_event){.kind = GEV_JOIN,
                              .call = call,
                              .join = {.group = ONE_OF(groups, q[1]),
                                       .member_id = ONE_OF(ids, q[2]),
                                       .instance_id = ONE_OF(instances, q[2] >> 4),
                                       .client_id = STR_LIT("c"),
                                       .client_host = STR_NULL,
                                       .protocol_type = STR_LIT("consumer"),
                                       .protocols = protocols + q[3] % 2,
                                       .protocol_count = q[3] >> 2 & 1 ? 2 : 1,
                                       .session_ms = ONE_OF(numbers, q[3] >> 4),
                                       .rebalance_ms = ONE_OF(numbers, q[4]),
                                       .needs_known_id = (q[4] & 16) != 0,
                                       .can_skip_assignment = (q[4] & 32) != 0,
                                       .new_id_suffix = str_of(suffix),
                                       .reason = ONE_OF(ids, q[4] >> 5)}});
}

static void call_sync(const uint8_t *q)
{
    struct group_assignment v = {ONE_OF(ids, q[3] >> 4), {(const uint8_t *)"abc", q[3] & 3}};

    step((struct group_event){.kind = GEV_SYNC,
                              .call = call,
                              .sync = {.group = ONE_OF(groups, q[1]),
                                       .member_id = ONE_OF(ids, q[2]),
                                       .instance_id = ONE_OF(instances, q[2] >> 4),
                                       .generation = ONE_OF(numbers, q[3]),
                                       .protocol_type = STR_NULL,
                                       .protocol = STR_NULL,
                                       .assignments = &v,
                                       .assignment_count = q[4] & 1}});
}

static void call_commit(const uint8_t *q)
{
    struct group_commit_item item = {ONE_OF(topics, q[3]),
                                     ONE_OF(numbers, q[3] >> 4),
                                     {q[4], -1, ONE_OF(ids, q[4]), now, q[4] & 1 ? now : -1}};

    step((struct group_event){.kind = GEV_COMMIT,
                              .call = call,
                              .commit = {ONE_OF(groups, q[1]), ONE_OF(ids, q[2]),
                                         ONE_OF(instances, q[2] >> 4), ONE_OF(numbers, q[1] >> 4),
                                         &item, 1}});
}

static void call_other(const uint8_t *q)
{
    struct group_partition part = {ONE_OF(topics, q[3]), ONE_OF(numbers, q[4])};
    struct group_leaver leaver = {ONE_OF(ids, q[2]), ONE_OF(instances, q[3]), STR_NULL};
    struct str group = ONE_OF(groups, q[1]);

    switch (q[0] >> 4 & 7) {
    case 0:
        step((struct group_event){.kind = GEV_LEAVE, .call = call, .leave = {group, &leaver, 1}});
        break;
    case 1:
        step((struct group_event){
            .kind = GEV_OFFSET_DELETE, .call = call, .offset_delete = {group, &part, 1}});
        break;
    case 2:
        step((struct group_event){.kind = GEV_DELETE_GROUP, .call = call, .delete_group = group});
        break;
    case 3:
        step((struct group_event){.kind = GEV_TOPICS_DELETED, .topics = {&part.topic, 1}});
        break;
    case 4:
        step((struct group_event){.kind = GEV_EXPIRE});
        break;
    default:
        step((struct group_event){
            .kind = GEV_HEARTBEAT,
            .call = call,
            .heartbeat = {group, ONE_OF(ids, q[2]), STR_NULL, ONE_OF(numbers, q[3])}});
    }
}

static void calls(const uint8_t *p, const uint8_t *end)
{
    enum { CALL_BYTES = 5 };

    for (; end - p >= CALL_BYTES && append_count < APPENDS_MAX / 2; p += CALL_BYTES) {
        call++;
        switch (p[0] % 7) {
        case 0:
        case 1:
            call_join(p);
            break;
        case 2:
            call_sync(p);
            break;
        case 3:
            call_commit(p);
            break;
        case 4:
            answer_append(p[1] & 1 ? KE_NONE : KE_REQUEST_TIMED_OUT);
            break;
        case 5:
            now += (int64_t)p[1] * p[2] * 10;
            step((struct group_event){.kind = GEV_TICK});
            break;
        default:
            call_other(p);
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct group_limits limits = {.min_session_ms = 6000,
                                  .max_session_ms = 1800000,
                                  .initial_rebalance_delay_ms = 3000,
                                  .max_size = 3,
                                  .metadata_max = 2,
                                  .retention_ms = 1000,
                                  .history_max = 2,
                                  .append_bytes_max = 60};

    now = 1000;
    call = 0;
    append_count = 0;
    log_end = 0;
    core = group_core_new(&limits, now);
    const uint8_t *rest = load(data, data + size);
    calls(rest, data + size);
    step((struct group_event){.kind = GEV_UNLOAD});
    group_core_free(&core);
    return 0;
}

#ifndef FUZZ_LIBFUZZER
#include "tests/fuzz/replay.h"

enum { MUTATIONS = 60000 };

/* Kafka's bytes: keys and values of all versions, and calls behind them. */
static const char *const logs[][5] = {
    {"000100026731000174 00000003", "0003000000000000002a0000000700000000018bcfe56800",
     "000200026731",
     "00030008636f6e73756d657200000001000572616e676500026d310000018bcfe568000000000100026d31ffff"
     "000163000a2f3132372e302e302e31000493e00000afc80000000d000000000001000141ffffffff00000019"
     "000000000001000141000000020000000000000001ffffffff",
     NULL},
    {"000000026731000174 00000003", "0001000000000000002a0001780000018bcfe568000000018bcfe56801",
     "000200026731",
     "0000000163000000010001720002 6d310000000100026d3100016300016800 00afc80000000000000000",
     NULL},
    {"000100026731000174 00000003", "0004000000000000002a0000000702780000018bcfe5680000",
     "000200026731",
     "00040263000000010272036d310000018bcfe5680002036d31026902630268000493e00000afc801010000",
     NULL},
    {"000100026731000174 00000003", NULL, "000200026731", NULL, NULL},
    {"000300026731", "0000", "000100026731000141 00000000",
     "0000000000000000002a0001780000018bcfe56800", NULL},
};

static void add_hex(struct buf *out, const char *hex)
{
    struct buf b = {0};
    uint8_t len[2];
    unsigned v;

    for (const char *p = hex; p != NULL && *p != 0; p++) {
        if (*p == ' ' || sscanf(p, "%2x", &v) != 1)
            continue;
        uint8_t byte = (uint8_t)v;
        buf_add(&b, &byte, 1);
        p++;
    }
    be16_store(len, hex == NULL ? UINT16_MAX : (uint16_t)b.len);
    buf_add(out, len, 2);
    buf_add(out, b.p, b.len);
    buf_fini(&b);
}

static void add_log(struct replay *r, size_t at, uint64_t seed)
{
    struct buf out = {0};
    uint8_t byte = (uint8_t)(at * 37 + 2);

    for (int i = 0; i < 4; i += 2) {
        buf_add(&out, &byte, 1);
        add_hex(&out, logs[at][i]);
        add_hex(&out, logs[at][i + 1]);
    }
    byte = CALLS_BYTE;
    buf_add(&out, &byte, 1);
    for (int i = 0; i < 5 * 40; i++) {
        seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        byte = (uint8_t)(seed >> 40);
        buf_add(&out, &byte, 1);
    }
    replay_add(r, out.p, out.len);
    buf_fini(&out);
}

int main(int argc, char **argv)
{
    struct replay r = {0};

    for (int i = 1; i < argc; i++)
        if (!replay_add_file(&r, argv[i]))
            return EXIT_FAILURE;
    if (argc > 1)
        return replay_run(&r, 0, 0);
    for (size_t i = 0; i < ARRAY_LEN(logs) * 8; i++)
        add_log(&r, i % ARRAY_LEN(logs), i + 1);
    return replay_run(&r, 1, MUTATIONS);
}
#endif
