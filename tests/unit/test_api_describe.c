/* SPDX-License-Identifier: Apache-2.0 */
/* What is asked about features that are not there (ACLs, delegation tokens, quotas, transactions),
 * and DescribeProducers. */
#include "tests/unit/api_fixture.h"

START_TEST(acls_are_disabled_and_an_unknown_type_is_invalid)
{
    for (int8_t type = 0; type < 2; type++) {
        struct outcome o;
        struct kp_DescribeAclsRequest req = {.resource_name_filter = STR_NULL,
                                             .principal_filter = STR_NULL,
                                             .host_filter = STR_NULL,
                                             .resource_type_filter = type,
                                             .pattern_type_filter = 1,
                                             .operation = 1,
                                             .permission_type = 1};
        call(KP_API_DESCRIBE_ACLS, 3, &req, &o);
        ck_assert_int_eq(o.u.acls.error_code,
                         type == 0 ? KE_INVALID_REQUEST : KE_SECURITY_DISABLED);
        ck_assert_int_gt(o.u.acls.error_message.len, 0);
        outcome_fini(&o);
    }
}
END_TEST

START_TEST(a_token_is_refused_in_every_version)
{
    for (int16_t v = 0; v <= 3; v++) {
        struct outcome o;
        struct kp_CreateDelegationTokenRequest req = {
            .owner_principal_type = v < 3 ? STR_LIT("") : STR_LIT("User"),
            .owner_principal_name = v < 3 ? STR_LIT("") : STR_LIT("x")};
        call(KP_API_CREATE_DELEGATION_TOKEN, v, &req, &o);
        ck_assert_int_eq(o.u.token.error_code, KE_DELEGATION_TOKEN_REQUEST_NOT_ALLOWED);
        ck_assert(str_eq_z(o.u.token.principal_name, v < 3 ? "ANONYMOUS" : "x"));
        outcome_fini(&o);
    }
}
END_TEST

static const struct {
    const char *type, *name, *key;
    double value;
    bool remove;
    int16_t want;
} quotas[] = {
    {"user", "x", "producer_byte_rate", 1000, false, KE_UNSUPPORTED_VERSION},
    {"user", NULL, "request_percentage", 0.5, false, KE_UNSUPPORTED_VERSION},
    {"ip", "::1", "connection_creation_rate", 1, false, KE_UNSUPPORTED_VERSION},
    {"user", "x", "producer_byte_rate", 1000, true, KE_NONE},
    {"user", "x", "producer_byte_rate", 0.5, false, KE_INVALID_REQUEST},
    {"user", "x", "producer_byte_rate", -1, false, KE_INVALID_REQUEST},
    {"user", "x", "consumer_byte_rate", 1e300, false, KE_INVALID_REQUEST},
    {"user", "x", "connection_creation_rate", 1, false, KE_INVALID_REQUEST},
    {"ip", "::1", "producer_byte_rate", 1, false, KE_INVALID_REQUEST},
    {"user", "x", "no_such_rate", 1, false, KE_INVALID_REQUEST},
    {"user", "", "producer_byte_rate", 1, false, KE_INVALID_REQUEST},
    {"planet", "x", "producer_byte_rate", 1, false, KE_INVALID_REQUEST},
};

START_TEST(a_quota_is_refused_with_a_text_unless_it_is_removed)
{
    for (size_t i = 0; i < ARRAY_LEN(quotas); i++) {
        struct outcome o;
        struct kp_AlterClientQuotasRequest_EntityData entity = {
            .entity_type = str_of(quotas[i].type),
            .entity_name = quotas[i].name == NULL ? STR_NULL : str_of(quotas[i].name)};
        struct kp_AlterClientQuotasRequest_OpData op = {
            .key = str_of(quotas[i].key), .value = quotas[i].value, .remove = quotas[i].remove};
        struct kp_AlterClientQuotasRequest_EntryData entry = {
            .entity = &entity, .entity_count = 1, .ops = &op, .ops_count = 1};
        struct kp_AlterClientQuotasRequest req = {.entries = &entry, .entries_count = 1};
        call(KP_API_ALTER_CLIENT_QUOTAS, 1, &req, &o);
        ck_assert_int_eq(o.u.set_quotas.entries_count, 1);
        ck_assert_msg(o.u.set_quotas.entries[0].error_code == quotas[i].want, "row %zu", i);
        ck_assert((o.u.set_quotas.entries[0].error_message.len > 0) == (quotas[i].want != KE_NONE));
        outcome_fini(&o);
    }
}
END_TEST

START_TEST(no_quotas_are_described_and_odd_filters_are_refused)
{
    static const struct {
        const char *types[2];
        int8_t match;
        int16_t want;
    } rows[] = {{{"user", "client-id"}, 2, KE_NONE},
                {{"user", "user"}, 2, KE_INVALID_REQUEST},
                {{"user", "ip"}, 2, KE_INVALID_REQUEST},
                {{"user", ""}, 2, KE_INVALID_REQUEST},
                {{"user", "planet"}, 2, KE_UNSUPPORTED_VERSION},
                {{"user", "client-id"}, 3, KE_INVALID_REQUEST}};

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct outcome o;
        struct kp_DescribeClientQuotasRequest_ComponentData c[2];
        for (int k = 0; k < 2; k++)
            c[k] = (struct kp_DescribeClientQuotasRequest_ComponentData){
                .entity_type = str_of(rows[i].types[k]), .match_type = rows[i].match};
        c[0].match = c[1].match = STR_NULL;
        struct kp_DescribeClientQuotasRequest req = {.components = c, .components_count = 2};
        call(KP_API_DESCRIBE_CLIENT_QUOTAS, 1, &req, &o);
        ck_assert_msg(o.u.quotas.error_code == rows[i].want, "row %zu", i);
        ck_assert_int_eq(o.u.quotas.entries_count, rows[i].want == KE_NONE ? 0 : -1);
        outcome_fini(&o);
    }
}
END_TEST

START_TEST(producers_are_the_logs)
{
    struct outcome o;
    int32_t indexes[] = {0, 1, 77};
    struct kp_DescribeProducersRequest_TopicRequest t[] = {
        {.name = STR_LIT("t"), .partition_indexes = indexes, .partition_indexes_count = 3},
        {.name = STR_LIT("a b"), .partition_indexes = indexes, .partition_indexes_count = 1}};
    struct kp_DescribeProducersRequest req = {.topics = t, .topics_count = 2};

    parts[0].end = 5; /* the stand-in's log has a producer then */
    parts[1].append_error = KE_NOT_LEADER_OR_FOLLOWER;
    call(KP_API_DESCRIBE_PRODUCERS, 0, &req, &o);
    ck_assert_int_eq(o.u.producers.topics_count, 2);
    const struct kp_DescribeProducersResponse_PartitionResponse *p =
        o.u.producers.topics[0].partitions;
    ck_assert_int_eq(p[0].active_producers_count, 1);
    ck_assert_int_eq(p[0].active_producers[0].producer_id, 4711);
    ck_assert_int_eq(p[1].error_code, KE_NOT_LEADER_OR_FOLLOWER);
    ck_assert_int_eq(p[2].error_code, KE_UNKNOWN_TOPIC_OR_PARTITION);
    ck_assert_int_eq(o.u.producers.topics[1].partitions[0].error_code, KE_INVALID_TOPIC_EXCEPTION);
    outcome_fini(&o);
}
END_TEST

START_TEST(there_are_no_transactions)
{
    struct outcome o;
    struct str ids[] = {STR_LIT("x"), STR_LIT("")};
    struct kp_DescribeTransactionsRequest describe = {.transactional_ids = ids,
                                                      .transactional_ids_count = 2};
    struct str states[] = {STR_LIT("Ongoing"), STR_LIT("y"), STR_LIT("y"), STR_LIT("")};
    struct kp_ListTransactionsRequest list = {
        .state_filters = states, .state_filters_count = 4, .duration_filter = -1};

    call(KP_API_DESCRIBE_TRANSACTIONS, 0, &describe, &o);
    ck_assert_int_eq(o.u.transactions.transaction_states[0].error_code,
                     KE_TRANSACTIONAL_ID_NOT_FOUND);
    ck_assert_int_eq(o.u.transactions.transaction_states[1].error_code, KE_INVALID_REQUEST);
    outcome_fini(&o);
    call(KP_API_LIST_TRANSACTIONS, 1, &list, &o);
    ck_assert_int_eq(o.u.list_transactions.error_code, KE_NONE);
    ck_assert_int_eq(o.u.list_transactions.unknown_state_filters_count, 2);
    outcome_fini(&o);
}
END_TEST

START_TEST(nobody_has_scram_credentials_and_none_can_be_set)
{
    struct outcome o;
    struct kp_DescribeUserScramCredentialsRequest_UserName users[] = {
        {STR_LIT("x")}, {STR_LIT("y")}, {STR_LIT("x")}};
    struct kp_DescribeUserScramCredentialsRequest describe = {.users = users, .users_count = 3};
    struct kp_AlterUserScramCredentialsRequest_ScramCredentialUpsertion u[] = {
        {.name = STR_LIT("x"), .mechanism = 1, .iterations = 8192},
        {.name = STR_LIT("y"), .mechanism = 1, .iterations = 1},
        {.name = STR_LIT("z"), .mechanism = 2, .iterations = 4096},
        {.name = STR_LIT("z"), .mechanism = 2, .iterations = 4096}};
    struct kp_AlterUserScramCredentialsRequest alter = {.upsertions = u, .upsertions_count = 4};

    call(KP_API_DESCRIBE_USER_SCRAM_CREDENTIALS, 0, &describe, &o);
    ck_assert_int_eq(o.u.scram.results_count, 2);
    ck_assert_int_eq(o.u.scram.results[0].error_code, KE_DUPLICATE_RESOURCE);
    ck_assert_int_eq(o.u.scram.results[1].error_code, KE_RESOURCE_NOT_FOUND);
    outcome_fini(&o);
    call(KP_API_ALTER_USER_SCRAM_CREDENTIALS, 0, &alter, &o);
    ck_assert_int_eq(o.u.set_scram.results_count, 3);
    ck_assert_int_eq(o.u.set_scram.results[0].error_code, KE_UNSUPPORTED_SASL_MECHANISM);
    ck_assert_int_eq(o.u.set_scram.results[1].error_code, KE_UNACCEPTABLE_CREDENTIAL);
    ck_assert_int_eq(o.u.set_scram.results[2].error_code, KE_DUPLICATE_RESOURCE);
    outcome_fini(&o);
}
END_TEST

START_TEST(a_request_names_at_most_a_thousand_scram_users)
{
    enum { COUNT = 1001 };
    struct outcome o;
    struct kp_DescribeUserScramCredentialsRequest_UserName *users = xcalloc(COUNT, sizeof *users);
    struct kp_DescribeUserScramCredentialsRequest req = {.users = users, .users_count = COUNT};

    for (int i = 0; i < COUNT; i++)
        users[i].name = STR_LIT("x");
    call(KP_API_DESCRIBE_USER_SCRAM_CREDENTIALS, 0, &req, &o);
    ck_assert_int_eq(o.u.scram.error_code, KE_INVALID_REQUEST);
    outcome_fini(&o);
    mem_free(users);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {acls_are_disabled_and_an_unknown_type_is_invalid,
                                  a_token_is_refused_in_every_version,
                                  a_quota_is_refused_with_a_text_unless_it_is_removed,
                                  no_quotas_are_described_and_odd_filters_are_refused,
                                  producers_are_the_logs,
                                  there_are_no_transactions,
                                  nobody_has_scram_credentials_and_none_can_be_set,
                                  a_request_names_at_most_a_thousand_scram_users};

    return api_run("api-describe", tests, ARRAY_LEN(tests), 1);
}
