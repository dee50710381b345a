/* SPDX-License-Identifier: Apache-2.0 */
/* describe_acls - DescribeAcls (29), CreateAcls (30), DeleteAcls (31): there is no authorizer,
 * which is said as Kafka says it without one: SECURITY_DISABLED. An enumerated field that says
 * "unknown" (0), for which Kafka closes the connection, is INVALID_REQUEST. */
#include "broker/api/api.h"
#include "broker/api/handlers.h"
#include "common/protocol/codec.h"
#include "common/protocol/messages.h"

static const char disabled_text[] =
    "no authorizer is configured: access control lists are not supported by this version";
static const char unknown_text[] =
    "the resource type, pattern type, operation or permission type is 0, which means unknown";

enum { UNKNOWN = 0 };

static int16_t refusal(bool is_unknown, struct str *text_out)
{
    *text_out = str_of(is_unknown ? unknown_text : disabled_text);
    return is_unknown ? KE_INVALID_REQUEST : KE_SECURITY_DISABLED;
}

void api_describe_acls(struct request *r)
{
    CHECK_OBJ(r, REQUEST_MAGIC);
    const struct kp_DescribeAclsRequest *req = r->body;
    struct kp_DescribeAclsResponse a;

    kp_defaults(&kp_DescribeAclsResponse_schema, &a);
    bool is_unknown = req->resource_type_filter == UNKNOWN || req->pattern_type_filter == UNKNOWN ||
                      req->operation == UNKNOWN || req->permission_type == UNKNOWN;
    a.error_code = refusal(is_unknown, &a.error_message);
    request_reply(r, &a);
}

void api_create_acls(struct request *r)
{
    CHECK_OBJ(r, REQUEST_MAGIC);
    const struct kp_CreateAclsRequest *req = r->body;
    struct kp_CreateAclsResponse a;

    kp_defaults(&kp_CreateAclsResponse_schema, &a);
    a.results_count = i32_max(req->creations_count, 0);
    a.results = api_alloc(r, (size_t)a.results_count, sizeof *a.results);
    if (a.results == NULL) {
        api_no_memory(r);
        return;
    }
    for (int32_t i = 0; i < a.results_count; i++) {
        const struct kp_CreateAclsRequest_AclCreation *c = &req->creations[i];
        bool is_unknown = c->resource_type == UNKNOWN || c->resource_pattern_type == UNKNOWN ||
                          c->operation == UNKNOWN || c->permission_type == UNKNOWN;
        a.results[i].error_code = refusal(is_unknown, &a.results[i].error_message);
    }
    request_reply(r, &a);
}

void api_delete_acls(struct request *r)
{
    CHECK_OBJ(r, REQUEST_MAGIC);
    const struct kp_DeleteAclsRequest *req = r->body;
    struct kp_DeleteAclsResponse a;

    kp_defaults(&kp_DeleteAclsResponse_schema, &a);
    a.filter_results_count = i32_max(req->filters_count, 0);
    a.filter_results = api_alloc(r, (size_t)a.filter_results_count, sizeof *a.filter_results);
    if (a.filter_results == NULL) {
        api_no_memory(r);
        return;
    }
    for (int32_t i = 0; i < a.filter_results_count; i++) {
        const struct kp_DeleteAclsRequest_DeleteAclsFilter *f = &req->filters[i];
        bool is_unknown = f->resource_type_filter == UNKNOWN || f->pattern_type_filter == UNKNOWN ||
                          f->operation == UNKNOWN || f->permission_type == UNKNOWN;
        a.filter_results[i].error_code = refusal(is_unknown, &a.filter_results[i].error_message);
    }
    request_reply(r, &a);
}
