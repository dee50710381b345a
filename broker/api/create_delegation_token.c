/* SPDX-License-Identifier: Apache-2.0 */
/* create_delegation_token - CreateDelegationToken (38), RenewDelegationToken (39),
 * ExpireDelegationToken (40), DescribeDelegationToken (41): there are none, which is said as Kafka
 * says it without delegation.token.secret.key. Who has not authenticated may not even ask. */
#include "broker/api/api.h"
#include "broker/api/handlers.h"
#include "common/protocol/codec.h"
#include "common/protocol/messages.h"

enum { OWNER_FROM = 3 }; /* the first version that names one */

static int16_t refusal(const struct request *r)
{
    return str_eq_z(r->principal, "User:ANONYMOUS") ? KE_DELEGATION_TOKEN_REQUEST_NOT_ALLOWED
                                                    : KE_DELEGATION_TOKEN_AUTH_DISABLED;
}

/* "User:x" in its two parts. */
static void split_principal(struct str principal, struct str *type_out, struct str *name_out)
{
    ASSERT(principal.len > 0);
    const char *colon = memchr(principal.p, ':', (size_t)principal.len);

    ASSERT(colon != NULL);
    *type_out = (struct str){principal.p, (int32_t)(colon - principal.p)};
    *name_out = (struct str){colon + 1, principal.len - type_out->len - 1};
}

void api_create_delegation_token(struct request *r)
{
    CHECK_OBJ(r, REQUEST_MAGIC);
    const struct kp_CreateDelegationTokenRequest *req = r->body;
    struct kp_CreateDelegationTokenResponse a;

    kp_defaults(&kp_CreateDelegationTokenResponse_schema, &a);
    a.error_code = refusal(r);
    split_principal(r->principal, &a.principal_type, &a.principal_name);
    if (r->api_version >= OWNER_FROM) {
        a.token_requester_principal_type = a.principal_type;
        a.token_requester_principal_name = a.principal_name;
        if (req->owner_principal_name.len > 0 && req->owner_principal_type.len >= 0) {
            a.principal_type = req->owner_principal_type;
            a.principal_name = req->owner_principal_name;
        }
    }
    a.issue_timestamp_ms = a.expiry_timestamp_ms = a.max_timestamp_ms = -1;
    request_reply(r, &a);
}

void api_renew_delegation_token(struct request *r)
{
    CHECK_OBJ(r, REQUEST_MAGIC);
    struct kp_RenewDelegationTokenResponse a;

    kp_defaults(&kp_RenewDelegationTokenResponse_schema, &a);
    a.error_code = refusal(r);
    a.expiry_timestamp_ms = -1;
    request_reply(r, &a);
}

void api_expire_delegation_token(struct request *r)
{
    CHECK_OBJ(r, REQUEST_MAGIC);
    struct kp_ExpireDelegationTokenResponse a;

    kp_defaults(&kp_ExpireDelegationTokenResponse_schema, &a);
    a.error_code = refusal(r);
    a.expiry_timestamp_ms = -1;
    request_reply(r, &a);
}

void api_describe_delegation_token(struct request *r)
{
    CHECK_OBJ(r, REQUEST_MAGIC);
    struct kp_DescribeDelegationTokenResponse a;

    kp_defaults(&kp_DescribeDelegationTokenResponse_schema, &a);
    a.error_code = refusal(r);
    request_reply(r, &a);
}
