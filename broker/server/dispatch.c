/* SPDX-License-Identifier: Apache-2.0 */
/* One frame: which API, which version, then its body into the arena, then its handler. */
#include "broker/server/dispatch.h"

#include "broker/http/metrics.h"
#include "common/base/slog.h"
#include "common/protocol/codec.h"
#include "common/protocol/messages.h"

static const struct api_row own_row = {KP_API_API_VERSIONS, 0, API_VERSIONS_MAX, api_versions, 0};
static const struct api_row *by_key[API_KEY_MAX];

void dispatch_init(const struct api_row *rows, size_t count)
{
    ASSERT(rows != NULL || count == 0);
    memset(by_key, 0, sizeof by_key);
    by_key[KP_API_API_VERSIONS] = &own_row;
    for (size_t i = 0; i < count; i++) {
        const struct api_row *row = &rows[i];
        const struct kp_api *api = kp_api_find(row->key);
        ASSERT(row->key >= 0 && row->key < API_KEY_MAX && row->key != KP_API_API_VERSIONS);
        ASSERT(api != NULL && row->handle != NULL);
        ASSERT(row->min_version >= api->min_version && row->max_version <= api->max_version);
        by_key[row->key] = row;
    }
}

const struct api_row *dispatch_find(int16_t key)
{
    return key < 0 || key >= API_KEY_MAX ? NULL : by_key[key];
}

static void refuse(struct request *r, const char *why)
{
    METRIC_ADD(requests_refused, 1);
    request_close(r, why);
}

/* Controller requests may list every partition of the cluster, so their memory limit grows with the
 * length of the frame. */
static void set_memory_limit(struct request *r, const struct api_row *row)
{
    enum { BYTES_PER_FRAME_BYTE = 24, MOST = 512 << 20 };

    if ((row->flags & API_INTER_BROKER) != 0)
        r->arena.limit =
            size_max(r->arena.limit, size_min(r->frame_len * BYTES_PER_FRAME_BYTE, MOST));
}

/* False: the request was ended. */
static bool decode(struct request *r, const struct kp_api *api, struct bytes body)
{
    struct errtext why;
    enum err rc;

    r->body = arena_alloc(&r->arena, kp_size(api->request));
    rc = r->body == NULL ? ERR_NO_MEMORY
                         : kp_decode(api->request, r->api_version, body, &r->arena, r->body, &why);
    if (rc == ERR_OK)
        return true;
    if (rc == ERR_NO_MEMORY) {
        refuse(r, "the request needs more memory than kafuka.request.memory.bytes");
        return false;
    }
    SLOG_EVERY(1000, WARN, "broker", "cannot decode a request, closing its connection",
               KV_S("api", api->name), KV_I("version", r->api_version),
               KV_STR("client", r->client_host), KV_S("error", why.text));
    refuse(r, "the request cannot be decoded");
    return false;
}

void dispatch_request(struct request *r)
{
    CHECK_OBJ(r, REQUEST_MAGIC);
    ASSERT(loop_is_current(r->loop) && r->conn != NULL && r->frame != NULL && r->body == NULL);
    struct kp_request_header h = {0};
    struct bytes body = BYTES_NULL;
    struct errtext why;
    enum err rc =
        kp_request_header_decode((struct bytes){r->frame, (int64_t)r->frame_len}, &h, &body, &why);
    const struct api_row *row = dispatch_find(h.api_key);

    if (rc == ERR_OK || rc == ERR_UNSUPPORTED) {
        r->api_key = h.api_key;
        r->api_version = h.api_version;
        r->correlation_id = h.correlation_id;
        r->client_id = rc == ERR_OK ? h.client_id : STR_NULL;
    }
    if (row == &own_row && (rc == ERR_OK || rc == ERR_UNSUPPORTED) &&
        (h.api_version < 0 || h.api_version > API_VERSIONS_MAX))
        api_versions_unsupported(r);
    else if (row == NULL && (rc == ERR_OK || rc == ERR_UNSUPPORTED))
        refuse(r, "the api is not offered");
    else if (rc == ERR_UNSUPPORTED || (rc == ERR_OK && (h.api_version < row->min_version ||
                                                        h.api_version > row->max_version)))
        refuse(r, "the version of the api is not offered");
    else if (rc != ERR_OK)
        refuse(r, "the request header cannot be decoded");
    else {
        set_memory_limit(r, row);
        if (decode(r, kp_api_find(h.api_key), body)) {
            (void)request_work_on(r);
            row->handle(r);
            (void)request_work_on(NULL);
        }
    }
}
