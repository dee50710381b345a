/* SPDX-License-Identifier: Apache-2.0 */
/* describe_client_quotas - DescribeClientQuotas (48) and AlterClientQuotas (49). Quotas are not in
 * effect, so none are described and none can be set; what is wrong with a request is said first, as
 * Kafka would. Removing a quota succeeds: it is not there. */
#include "broker/api/api.h"
#include "broker/api/handlers.h"
#include "common/protocol/codec.h"
#include "common/protocol/messages.h"

enum entity { ENTITY_USER = 1, ENTITY_CLIENT = 2, ENTITY_IP = 4, ENTITY_UNKNOWN = 0 };

static enum entity entity_of(struct str type)
{
    if (str_eq_z(type, "user"))
        return ENTITY_USER;
    if (str_eq_z(type, "client-id"))
        return ENTITY_CLIENT;
    return str_eq_z(type, "ip") ? ENTITY_IP : ENTITY_UNKNOWN;
}

static struct str unknown_type_text(struct request *r, struct str type)
{
    struct errtext text;

    errtext_set(&text, "entity type '%.*s' is not supported; it is user, client-id or ip",
                STR_ARG(type));
    return api_strdup(r, text.text);
}

static struct str quoted(struct request *r, struct str what, const char *fault)
{
    struct errtext text;

    errtext_set(&text, "'%.*s' %s", STR_ARG(what), fault);
    return api_strdup(r, text.text);
}

/* Kafka's test for a whole number, with its tolerance; NaN is not one. */
static bool is_whole(double value)
{
    const double epsilon = 1e-6, end = 9.2e18;

    if (!(value >= 0 && value < end))
        return false;
    double rest = value - (double)(int64_t)(value + epsilon);
    return rest <= epsilon && rest >= -epsilon;
}

/* ---- describing */

static int16_t component_check(struct request *r,
                               const struct kp_DescribeClientQuotasRequest_ComponentData *c,
                               unsigned *seen, struct str *text_out)
{
    enum { EXACT = 0, DEFAULT = 1, ANY = 2 };
    enum entity entity = entity_of(c->entity_type);

    if (c->entity_type.len == 0) {
        *text_out = STR_LIT("the entity type of a filter is empty; it is user, client-id or ip");
        return KE_INVALID_REQUEST;
    }
    if (entity == ENTITY_UNKNOWN) {
        *text_out = unknown_type_text(r, c->entity_type);
        return KE_UNSUPPORTED_VERSION;
    }
    if ((*seen & entity) != 0) {
        *text_out = quoted(r, c->entity_type, "is the entity type of two filters");
        return KE_INVALID_REQUEST;
    }
    *seen |= entity;
    if ((*seen & ENTITY_IP) != 0 && *seen != ENTITY_IP) {
        *text_out = STR_LIT("a filter of ips does not go with one of users or client ids");
        return KE_INVALID_REQUEST;
    }
    if (c->match_type < EXACT || c->match_type > ANY ||
        (c->match_type == EXACT && c->match.len < 0)) {
        *text_out = STR_LIT("the match type is 0 (a name), 1 (the default) or 2 (any name)");
        return KE_INVALID_REQUEST;
    }
    return KE_NONE;
}

void api_describe_client_quotas(struct request *r)
{
    CHECK_OBJ(r, REQUEST_MAGIC);
    const struct kp_DescribeClientQuotasRequest *req = r->body;
    struct kp_DescribeClientQuotasResponse a;
    unsigned seen = 0;

    kp_defaults(&kp_DescribeClientQuotasResponse_schema, &a);
    a.error_message = STR_LIT("");
    for (int32_t i = 0; a.error_code == KE_NONE && i < req->components_count; i++)
        a.error_code = component_check(r, &req->components[i], &seen, &a.error_message);
    if (a.error_code != KE_NONE)
        a.entries_count = -1; /* null, as Kafka has it */
    request_reply(r, &a);
}

/* ---- altering */

static int16_t entity_check(struct request *r,
                            const struct kp_AlterClientQuotasRequest_EntryData *e,
                            unsigned *types_out, struct str *text_out)
{
    *types_out = 0;
    for (int32_t i = 0; i < e->entity_count; i++) {
        enum entity entity = entity_of(e->entity[i].entity_type);
        if (entity == ENTITY_UNKNOWN) {
            *text_out = unknown_type_text(r, e->entity[i].entity_type);
            return KE_INVALID_REQUEST;
        }
        if (e->entity[i].entity_name.len == 0) {
            *text_out =
                quoted(r, e->entity[i].entity_type, "has an empty name; null is the default");
            return KE_INVALID_REQUEST;
        }
        *types_out |= entity;
    }
    if (*types_out == 0)
        *text_out = STR_LIT("no entity is named");
    else if ((*types_out & ENTITY_IP) != 0 && *types_out != ENTITY_IP)
        *text_out = STR_LIT("an ip does not go with a user or client id");
    else
        return KE_NONE;
    return KE_INVALID_REQUEST;
}

/* What a quota is called and measured in. */
static const struct quota_key {
    const char *name;
    unsigned entities;
    bool is_whole;
} quota_keys[] = {
    {"producer_byte_rate", ENTITY_USER | ENTITY_CLIENT, true},
    {"consumer_byte_rate", ENTITY_USER | ENTITY_CLIENT, true},
    {"request_percentage", ENTITY_USER | ENTITY_CLIENT, false},
    {"controller_mutation_rate", ENTITY_USER | ENTITY_CLIENT, false},
    {"connection_creation_rate", ENTITY_IP, true},
};

static int16_t op_check(struct request *r, const struct kp_AlterClientQuotasRequest_OpData *op,
                        unsigned types, struct str *text_out)
{
    const struct quota_key *key = NULL;

    if (op->remove)
        return KE_NONE;
    for (size_t i = 0; i < ARRAY_LEN(quota_keys); i++)
        if (str_eq_z(op->key, quota_keys[i].name) && (quota_keys[i].entities & types) != 0)
            key = &quota_keys[i];
    if (key == NULL) {
        *text_out = quoted(r, op->key, "is no quota of such an entity");
        return KE_INVALID_REQUEST;
    }
    if (key->is_whole && !is_whole(op->value)) {
        *text_out = quoted(r, op->key, "is a whole number from 0 on");
        return KE_INVALID_REQUEST;
    }
    *text_out = STR_LIT("client quotas are not supported by this version: nothing would limit the "
                        "client");
    return KE_UNSUPPORTED_VERSION;
}

static int16_t entry_check(struct request *r, const struct kp_AlterClientQuotasRequest_EntryData *e,
                           struct str *text_out)
{
    unsigned types;
    int16_t refused = KE_NONE;
    int16_t error = entity_check(r, e, &types, text_out);

    for (int32_t i = 0; error == KE_NONE && i < e->ops_count; i++) {
        error = op_check(r, &e->ops[i], types, text_out);
        if (error == KE_UNSUPPORTED_VERSION) { /* unless another one is wrong altogether */
            refused = error;
            error = KE_NONE;
        }
    }
    return error != KE_NONE ? error : refused;
}

static bool entry_answer(struct request *r,
                         const struct kp_AlterClientQuotasRequest_EntryData *from,
                         struct kp_AlterClientQuotasResponse_EntryData *to)
{
    size_t count = (size_t)i32_max(from->entity_count, 0);

    to->entity = api_alloc(r, count, sizeof *to->entity);
    if (to->entity == NULL)
        return false;
    to->entity_count = (int32_t)count;
    for (size_t i = 0; i < count; i++) {
        to->entity[i].entity_type = from->entity[i].entity_type;
        to->entity[i].entity_name = from->entity[i].entity_name;
    }
    to->error_message = STR_NULL;
    to->error_code = entry_check(r, from, &to->error_message);
    return true;
}

void api_alter_client_quotas(struct request *r)
{
    CHECK_OBJ(r, REQUEST_MAGIC);
    const struct kp_AlterClientQuotasRequest *req = r->body;
    struct kp_AlterClientQuotasResponse a;

    kp_defaults(&kp_AlterClientQuotasResponse_schema, &a);
    a.entries_count = i32_max(req->entries_count, 0);
    a.entries = api_alloc(r, (size_t)a.entries_count, sizeof *a.entries);
    bool ok = a.entries != NULL;
    for (int32_t i = 0; ok && i < a.entries_count; i++)
        ok = entry_answer(r, &req->entries[i], &a.entries[i]);
    if (ok)
        request_reply(r, &a);
    else
        api_no_memory(r);
}
