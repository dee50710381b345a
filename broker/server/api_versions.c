/* SPDX-License-Identifier: Apache-2.0 */
/* ApiVersions: what is offered, straight from the table that requests are dispatched by. Source:
 * ApiVersionsRequest.java, ApiVersionsResponse.java. */
#include "broker/server/dispatch.h"
#include "common/protocol/messages.h"

#include <ctype.h>

enum { FIRST_WITH_SOFTWARE = 3 };

/* Letters and digits, with '.' and '-' inside. */
static bool is_software_name(struct str s)
{
    for (int32_t i = 0; i < s.len; i++) {
        unsigned char c = (unsigned char)s.p[i];
        bool is_end = i == 0 || i == s.len - 1;
        if (!(c < 128 && isalnum(c)) && (is_end || (c != '.' && c != '-')))
            return false;
    }
    return s.len > 0;
}

static void fill(struct kp_ApiVersionsResponse *out, struct kp_ApiVersionsResponse_ApiVersion *keys)
{
    out->api_keys = keys;
    for (int16_t key = 0; key < API_KEY_MAX; key++) {
        const struct api_row *row = dispatch_find(key);
        if (row != NULL)
            keys[out->api_keys_count++] = (struct kp_ApiVersionsResponse_ApiVersion){
                .api_key = key, .min_version = row->min_version, .max_version = row->max_version};
    }
}

void api_versions(struct request *r)
{
    const struct kp_ApiVersionsRequest *req = r->body;
    struct kp_ApiVersionsResponse_ApiVersion keys[API_KEY_MAX];
    struct kp_ApiVersionsResponse out;

    kp_defaults(&kp_ApiVersionsResponse_schema, &out);
    if (r->api_version >= FIRST_WITH_SOFTWARE && (!is_software_name(req->client_software_name) ||
                                                  !is_software_name(req->client_software_version)))
        out.error_code = KE_INVALID_REQUEST;
    else
        fill(&out, keys);
    request_reply(r, &out);
}

void api_versions_unsupported(struct request *r)
{
    struct kp_ApiVersionsResponse_ApiVersion own = {KP_API_API_VERSIONS, 0, API_VERSIONS_MAX};
    struct kp_ApiVersionsResponse out;

    kp_defaults(&kp_ApiVersionsResponse_schema, &out);
    out.error_code = KE_UNSUPPORTED_VERSION;
    out.api_keys = &own;
    out.api_keys_count = 1;
    request_reply_as(r, 0, &out);
}
