/* SPDX-License-Identifier: Apache-2.0 */
/* Requests that are given to the handlers on a real loop; their answers are encoded for the
 * request's version and decoded again. */
#include "tests/unit/api_fixture.h"

/* ---- requests and replies */

struct fake_request {
    struct request r;
    struct outcome *o;
};

struct request *open_request;

static void finish(struct request *r, enum end end)
{
    struct outcome *o = CONTAINER_OF(r, struct fake_request, r)->o;
    if (open_request == r)
        open_request = NULL;
    arena_fini(&r->arena);
    free(CONTAINER_OF(r, struct fake_request, r));
    o->end = end;
}

static void capture(struct request *r, const void *msg)
{
    struct outcome *o = CONTAINER_OF(r, struct fake_request, r)->o;
    const struct kp_api *api = kp_api_find(r->api_key);
    struct errtext why = {.text = ""};
    struct kp_hole_at holes[64];
    enum err rc = kp_encode_holes(api->response, r->api_version, msg, &o->bytes, holes, 64,
                                  &o->range_count, &why);
    ck_assert_msg(rc == ERR_OK, "encode: %s", why.text);
    /* the ranges' bytes, so that it can be decoded */
    for (size_t i = o->range_count; i-- > 0;) {
        size_t tail = o->bytes.len - holes[i].at, n = (size_t)holes[i].len;
        buf_reserve(&o->bytes, n);
        memmove(o->bytes.p + holes[i].at + n, o->bytes.p + holes[i].at, tail);
        memset(o->bytes.p + holes[i].at, 'x', n);
        o->bytes.len += n;
    }
    rc = kp_decode(api->response, r->api_version, (struct bytes){o->bytes.p, (int64_t)o->bytes.len},
                   &o->arena, &o->u, &why);
    ck_assert_msg(rc == ERR_OK, "decode: %s", why.text);
}

void request_reply(struct request *r, const void *msg)
{
    capture(r, msg);
    finish(r, REPLIED);
}

void request_reply_ranges(struct request *r, const void *msg, struct log_range *ranges,
                          size_t count)
{
    capture(r, msg);
    ck_assert_uint_eq(CONTAINER_OF(r, struct fake_request, r)->o->range_count, count);
    for (size_t i = 0; i < count; i++)
        log_range_release(&ranges[i]);
    finish(r, REPLIED);
}

void request_reply_none(struct request *r)
{
    finish(r, REPLIED_NONE);
}

struct request *closed_too;

void request_close(struct request *r, const char *why UNUSED)
{
    struct request *other = closed_too;
    finish(r, CLOSED);
    closed_too = NULL;
    if (other != NULL) {
        other->conn = NULL;
        other->on_cancel(other);
    }
}

const struct request *request_work_on(const struct request *r UNUSED)
{
    return NULL;
}

void request_drop(struct request *r)
{
    finish(r, DROPPED);
}

static void posted(struct mail *m)
{
    struct request *r = CONTAINER_OF(m, struct request, mail);
    r->run(r);
}

void request_post(struct request *r, void (*run)(struct request *r))
{
    r->run = run;
    r->mail.deliver = posted;
    loop_post(r->loop, &r->mail);
}

void handle(void *arg)
{
    struct request *r = arg;
    open_request = r;
    for (size_t i = 0; i < api_row_count; i++)
        if (api_rows[i].key == r->api_key) {
            ck_assert_int_le(r->api_version, api_rows[i].max_version);
            api_rows[i].handle(r);
            return;
        }
    ck_abort_msg("key %d is not offered", r->api_key);
}

int32_t correlation_id;

struct request *send_on(int conn, int16_t key, int16_t version, const void *body, void *records,
                        struct outcome *o)
{
    struct fake_request *f = calloc(1, sizeof *f);
    *o = (struct outcome){.end = NOT_YET};
    f->o = o;
    f->r = (struct request){.magic = REQUEST_MAGIC,
                            .api_key = key,
                            .api_version = version,
                            .correlation_id = correlation_id,
                            .broker = &broker,
                            .loop = broker.loops[0],
                            .conn = (struct conn *)(uintptr_t)(unsigned)conn,
                            .listener = &listener,
                            .client_id = STR_LIT("test"),
                            .principal = STR_LIT("User:ANONYMOUS"),
                            .body = (void *)(uintptr_t)body,
                            .frame = records};
    loop_call(broker.loops[0], handle, &f->r);
    return &f->r;
}

void wait_end(struct outcome *o, enum end end)
{
    for (int i = 0; i < 5000 && o->end == NOT_YET; i++)
        poll(NULL, 0, 1);
    ck_assert_int_eq(o->end, end);
}

void outcome_fini(struct outcome *o)
{
    arena_fini(&o->arena);
    buf_fini(&o->bytes);
}

void call(int16_t key, int16_t version, const void *body, struct outcome *o)
{
    send_on(1, key, version, body, NULL, o);
    wait_end(o, REPLIED);
}

/* ---- fixture */

void cancel(void *arg)
{
    struct request *r = arg;
    r->conn = NULL;
    if (r->on_cancel != NULL)
        r->on_cancel(r);
}

void cancel_if_there(void *arg)
{
    if (open_request == arg)
        cancel(arg);
}

static void hw_of_0(void *arg)
{
    raise_hw(&parts[0], *(int64_t *)arg);
}

void set_hw(int64_t hw)
{
    loop_call(broker.loops[0], hw_of_0, &hw);
}

void nothing(void *arg UNUSED)
{
}

void settle(void)
{
    for (int i = 0; i < 3; i++)
        loop_call(broker.loops[0], nothing, NULL);
}

static void start(void)
{
    struct errtext why;
    struct config *c = config_new();
    ck_assert_int_eq(config_set(c, "zookeeper.connect", "z:1", CONFIG_SOURCE_STATIC, &why), ERR_OK);
    ck_assert_int_eq(
        config_set(c, "group.initial.rebalance.delay.ms", "0", CONFIG_SOURCE_STATIC, &why), ERR_OK);
    ck_assert_int_eq(config_finish(c, &why), ERR_OK);
    broker = (struct broker){.config = c, .id = 1, .loop_count = 1, .cluster_id = "c"};
    broker.loops = calloc(1, sizeof *broker.loops);
    broker.inter_broker_listener = &listener;
    ck_assert_int_eq(loop_start("test", &broker.loops[0]), ERR_OK);
    ck_assert_int_eq(pool_start("io", 2, 100, &broker.io_pool), ERR_OK);
    api_start(&broker);
    coordinator_start(&broker);
    memset(parts, 0, sizeof parts);
    memset(&offsets_part, 0, sizeof offsets_part);
    for (int i = 0; i < PARTITIONS; i++) {
        parts[i].topic = "t";
        parts[i].index = i;
        parts[i].compression_type = -1;
        TAILQ_INIT(&parts[i].waits);
    }
    released = created = reads_gated = 0;
    use_read_gate = false;
    is_controller = is_authorized = true;
    use_gate = false;
    coord_is_away = false;
    coord_error = ERR_OK;
    somebody_creates = NULL;
    publish("t", PARTITIONS + 1, 1); /* the last is not on this broker */
    settle();
}

static void stop(void)
{
    znodes_clear();
    coordinator_quit(broker.groups);
    loop_stop(&broker.loops[0]);
    pool_stop(&broker.io_pool);
    api_stop(&broker);
    coordinator_free(&broker.groups);
    for (int i = 0; i < PARTITIONS; i++) {
        ck_assert_int_eq(parts[i].refs, 0);
        buf_fini(&parts[i].batches);
    }
    struct config *c = (struct config *)(uintptr_t)broker.config;
    config_free(&c);
    free(broker.loops);
}

/* ---- requests that several programs make */

uint8_t batch[100];

struct kp_ProduceRequest produce_of(struct kp_ProduceRequest_TopicProduceData *t, produce_data *d,
                                    int32_t count, int16_t acks)
{
    for (int32_t i = 0; i < count; i++)
        if (d[i].records.p == NULL)
            d[i].records = (struct bytes){batch, sizeof batch};
    batch[16] = 2;
    *t = (struct kp_ProduceRequest_TopicProduceData){
        .name = STR_LIT("t"), .partition_data = d, .partition_data_count = count};
    return (struct kp_ProduceRequest){.transactional_id = STR_NULL,
                                      .acks = acks,
                                      .timeout_ms = 20000,
                                      .topic_data = t,
                                      .topic_data_count = 1};
}

int16_t produced(const struct outcome *o, int i)
{
    return o->u.produce.responses[0].partition_responses[i].error_code;
}

struct kp_FetchRequest fetch_of(struct kp_FetchRequest_FetchTopic *t, fetch_data *d, int32_t count)
{
    for (int32_t i = 0; i < count; i++) {
        if (d[i].partition_max_bytes == 0)
            d[i].partition_max_bytes = 1000;
        d[i].current_leader_epoch = d[i].last_fetched_epoch = -1;
    }
    *t = (struct kp_FetchRequest_FetchTopic){
        .topic = STR_LIT("t"), .partitions = d, .partitions_count = count};
    t->topic_id.b[0] = 't';
    return (struct kp_FetchRequest){.replica_id = -1,
                                    .replica_state = {-1, -1},
                                    .max_wait_ms = 20000,
                                    .min_bytes = 1,
                                    .max_bytes = 10000,
                                    .session_epoch = -1,
                                    .topics = t,
                                    .topics_count = count > 0};
}

const struct kp_FetchResponse_PartitionData *fetched(const struct outcome *o, int i)
{
    ck_assert_int_eq(o->u.fetch.responses_count, 1);
    ck_assert_int_lt(i, o->u.fetch.responses[0].partitions_count);
    return &o->u.fetch.responses[0].partitions[i];
}

int api_run(const char *suite, const TTest *const *tests, size_t count, int times)
{
    Suite *s = suite_create(suite);
    TCase *t = tcase_create("handlers");
    int failed;

    tcase_add_checked_fixture(t, start, stop);
    if (times > 1)
        tcase_set_timeout(t, 120);
    for (size_t i = 0; i < count; i++)
        tcase_add_loop_test(t, tests[i], 0, times);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? 0 : 1;
}
