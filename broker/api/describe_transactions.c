/* SPDX-License-Identifier: Apache-2.0 */
/* describe_transactions - DescribeTransactions (65) and ListTransactions (66): there are none, for
 * there is no transaction coordinator. */
#include "broker/api/api.h"
#include "broker/api/handlers.h"
#include "common/protocol/codec.h"
#include "common/protocol/messages.h"

void api_describe_transactions(struct request *r)
{
    CHECK_OBJ(r, REQUEST_MAGIC);
    const struct kp_DescribeTransactionsRequest *req = r->body;
    struct kp_DescribeTransactionsResponse a;

    kp_defaults(&kp_DescribeTransactionsResponse_schema, &a);
    a.transaction_states_count = i32_max(req->transactional_ids_count, 0);
    a.transaction_states =
        api_alloc(r, (size_t)a.transaction_states_count, sizeof *a.transaction_states);
    if (a.transaction_states == NULL) {
        api_no_memory(r);
        return;
    }
    for (int32_t i = 0; i < a.transaction_states_count; i++) {
        struct kp_DescribeTransactionsResponse_TransactionState *s = &a.transaction_states[i];
        kp_defaults(&kp_DescribeTransactionsResponse_TransactionState_schema, s);
        s->transactional_id = req->transactional_ids[i];
        s->error_code =
            s->transactional_id.len == 0 ? KE_INVALID_REQUEST : KE_TRANSACTIONAL_ID_NOT_FOUND;
    }
    request_reply(r, &a);
}

static bool is_state(struct str name)
{
    static const char *const states[] = {"Empty",        "Ongoing",          "PrepareCommit",
                                         "PrepareAbort", "CompleteCommit",   "CompleteAbort",
                                         "Dead",         "PrepareEpochFence"};

    for (size_t i = 0; i < ARRAY_LEN(states); i++)
        if (str_eq_z(name, states[i]))
            return true;
    return false;
}

void api_list_transactions(struct request *r)
{
    CHECK_OBJ(r, REQUEST_MAGIC);
    enum { FILTERS_MAX = 1000 }; /* names are compared with each other; there are eight states */
    const struct kp_ListTransactionsRequest *req = r->body;
    struct kp_ListTransactionsResponse a;
    int32_t count = i32_min(i32_max(req->state_filters_count, 0), FILTERS_MAX);

    kp_defaults(&kp_ListTransactionsResponse_schema, &a);
    a.unknown_state_filters = api_alloc(r, (size_t)count, sizeof *a.unknown_state_filters);
    if (a.unknown_state_filters == NULL) {
        api_no_memory(r);
        return;
    }
    for (int32_t i = 0; i < count; i++) {
        bool is_new = !is_state(req->state_filters[i]);
        for (int32_t k = 0; is_new && k < a.unknown_state_filters_count; k++)
            is_new = !str_eq(a.unknown_state_filters[k], req->state_filters[i]);
        if (is_new)
            a.unknown_state_filters[a.unknown_state_filters_count++] = req->state_filters[i];
    }
    request_reply(r, &a);
}
