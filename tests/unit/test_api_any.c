/* SPDX-License-Identifier: Apache-2.0 */
/* Random valid requests of every version: each is ended, its answer can be encoded, and what may
 * not be done by everybody asks first. */
#include "tests/unit/api_fixture.h"

/* ---- any valid request */

static uint64_t seed = 1;

static uint64_t roll(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed;
}

static void familiar(const struct kp_schema *s, uint8_t *msg);

static void familiar_value(const struct kp_field *f, uint8_t *at)
{
    if (f->type == KP_STRUCT)
        familiar(f->sub, at);
    else if (f->type == KP_STRING && ((struct str *)(void *)at)->len >= 0 && roll() % 2 == 0)
        *(struct str *)(void *)at = STR_LIT("t");
    else if (f->type == KP_INT32 && roll() % 2 == 0)
        *(int32_t *)(void *)at = (int32_t)(roll() % 3);
    else if (f->type == KP_INT8 && roll() % 2 == 0)
        *(int8_t *)at = (int8_t)(roll() % 5); /* a type of resource, most of all */
}

/* Names and numbers that mean something here, in place of half of the random ones. */
static void familiar(const struct kp_schema *s, uint8_t *msg)
{
    for (int i = 0; i < s->field_count; i++) {
        const struct kp_field *f = &s->fields[i];
        uint8_t *at = msg + f->offset, *sub;
        if (f->shape == KP_SINGLE) {
            familiar_value(f, at);
            continue;
        }
        memcpy(&sub, at, sizeof sub);
        if (f->shape == KP_POINTER && sub != NULL)
            familiar(f->sub, sub);
        if (f->shape != KP_ARRAY)
            continue;
        size_t size = f->type == KP_STRUCT ? f->sub->size : kp_type_size((enum kp_type)f->type);
        int32_t count;
        memcpy(&count, msg + f->count_offset, sizeof count);
        for (int32_t j = 0; j < count; j++)
            familiar_value(f, sub + (size_t)j * size);
    }
}

static void any_request(const struct api_row *row, int16_t version)
{
    const struct kp_api *api = kp_api_find(row->key);
    struct arena arena = {0};
    struct outcome o;
    uint64_t rng = roll();
    void *body = arena_alloc(&arena, kp_size(api->request));
    kp_random(api->request, version, &rng, &arena, body);
    familiar(api->request, body);
    struct request *r = send_on(1, row->key, version, body, batch, &o);
    for (int i = 0; i < 20 && o.end == NOT_YET; i++)
        settle();         /* what is done by io threads or by mail */
    if (o.end == NOT_YET) /* it waits: the client goes away */
        loop_call(broker.loops[0], cancel_if_there, r);
    for (int i = 0; i < 5000 && o.end == NOT_YET; i++)
        poll(NULL, 0, 1);
    ck_assert_msg(o.end != NOT_YET, "key %d version %d did not end", row->key, version);
    outcome_fini(&o);
    arena_fini(&arena);
}

START_TEST(any_valid_request_is_ended_and_its_answer_can_be_encoded)
{
    seed = (uint64_t)_i * 7919 + 1;
    for (size_t i = 0; i < api_row_count; i++)
        for (int16_t v = api_rows[i].min_version; v <= api_rows[i].max_version; v++)
            for (int n = 0; n < 4 && api_rows[i].handle != api_to_controller; n++)
                any_request(&api_rows[i], v);
}
END_TEST

/* These refuse everybody, or have nothing to tell, as what they are for is not there yet. Who gives
 * one of them something to do takes it off this list. */
static bool asks_nobody(int16_t key)
{
    static const int16_t keys[] = {KP_API_DESCRIBE_ACLS,
                                   KP_API_CREATE_ACLS,
                                   KP_API_DELETE_ACLS,
                                   KP_API_CREATE_DELEGATION_TOKEN,
                                   KP_API_RENEW_DELEGATION_TOKEN,
                                   KP_API_EXPIRE_DELEGATION_TOKEN,
                                   KP_API_DESCRIBE_DELEGATION_TOKEN,
                                   KP_API_DESCRIBE_CLIENT_QUOTAS,
                                   KP_API_ALTER_CLIENT_QUOTAS,
                                   KP_API_DESCRIBE_USER_SCRAM_CREDENTIALS,
                                   KP_API_ALTER_USER_SCRAM_CREDENTIALS,
                                   KP_API_DESCRIBE_TRANSACTIONS,
                                   KP_API_LIST_TRANSACTIONS};

    for (size_t i = 0; i < ARRAY_LEN(keys); i++)
        if (keys[i] == key)
            return true;
    return false;
}

START_TEST(every_request_asks_whether_it_may)
{
    seed = (uint64_t)_i * 7919 + 1;
    for (size_t i = 0; i < api_row_count; i++) {
        const struct api_row *row = &api_rows[i];
        int before = atomic_load(&authorize_calls);

        if (row->handle == api_to_controller)
            continue;
        for (int n = 0; n < 100 && atomic_load(&authorize_calls) == before; n++) {
            int versions = row->max_version - row->min_version + 1;
            any_request(row, (int16_t)(row->min_version + n % versions));
        }
        bool has_asked = atomic_load(&authorize_calls) > before;
        ck_assert_msg(has_asked || asks_nobody(row->key), "key %d never asks authorize()",
                      row->key);
        ck_assert_msg(!has_asked || !asks_nobody(row->key),
                      "key %d asks authorize(): take it off the list of asks_nobody", row->key);
    }
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {any_valid_request_is_ended_and_its_answer_can_be_encoded,
                                  every_request_asks_whether_it_may};

    return api_run("api-any", tests, 2, 20);
}
