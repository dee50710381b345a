/* SPDX-License-Identifier: Apache-2.0 */
/* The APIs by key, and the headers in front of requests and responses: written by hand, because
 * every request passes here and the version of the header depends on the body's. */
#include "common/protocol/messages.h"
#include "common/protocol/schema.h"

const struct kp_api *kp_api_find(int16_t key)
{
    if (key < 0)
        return NULL;
    if ((size_t)key < kp_api_count && kp_apis[key].key == key) /* the old keys have no gaps */
        return &kp_apis[key];
    for (size_t i = 0; i < kp_api_count; i++)
        if (kp_apis[i].key == key)
            return &kp_apis[i];
    return NULL;
}

static const struct kp_api *find_version(int16_t key, int16_t version, struct errtext *why)
{
    const struct kp_api *api = kp_api_find(key);

    if (api == NULL) {
        errtext_set(why, "no API with key %d is known", key);
        return NULL;
    }
    if (version < api->min_version || version > api->max_version) {
        errtext_set(why, "%s has no version %d", api->name, version);
        return NULL;
    }
    return api;
}

/* 0 has no client id (ControlledShutdown v0 only), 2 ends with tagged fields. Source:
 * ApiMessageType. */
static int request_header_version(const struct kp_api *api, int16_t version)
{
    if (version >= api->first_flexible)
        return 2;
    return api->key == KP_API_CONTROLLED_SHUTDOWN && version == 0 ? 0 : 1;
}

/* The client must be able to read an ApiVersions response before it knows what the broker speaks,
 * so that one never has tagged fields in its header (KIP-511). */
static int response_header_version(const struct kp_api *api, int16_t version)
{
    return version >= api->first_flexible && api->key != KP_API_API_VERSIONS ? 1 : 0;
}

enum err kp_request_header_decode(struct bytes frame, struct kp_request_header *h,
                                  struct bytes *body_out, struct errtext *why)
{
    enum { FIXED_BYTES = 8 };

    *h = (struct kp_request_header){.client_id = STR_NULL};
    *body_out = (struct bytes){NULL, 0};
    if (frame.len < FIXED_BYTES) {
        errtext_set(why, "a request of %" PRId64 " bytes has no header", frame.len);
        return ERR_PROTOCOL;
    }
    h->api_key = (int16_t)be16_load(frame.p);
    h->api_version = (int16_t)be16_load(frame.p + 2);
    h->correlation_id = (int32_t)be32_load(frame.p + 4);
    const struct kp_api *api = find_version(h->api_key, h->api_version, why);
    if (api == NULL)
        return ERR_UNSUPPORTED;

    int header_version = request_header_version(api, h->api_version);
    struct kp_RequestHeader full;
    struct arena none = {.limit = 1}; /* headers have no arrays */
    size_t used;
    enum err rc = kp_decode_prefix(&kp_RequestHeader_schema, (int16_t)header_version, frame, &none,
                                   &full, &used, why);
    if (rc != ERR_OK) {
        errtext_wrap(why, "header of a %s request", api->name);
        return rc;
    }
    if (header_version > 0)
        h->client_id = full.client_id;
    *body_out = (struct bytes){frame.p + used, frame.len - (int64_t)used};
    return ERR_OK;
}

void kp_request_header_encode(int16_t api_key, int16_t version, int32_t correlation_id,
                              struct str client_id, struct buf *out)
{
    const struct kp_api *api = find_version(api_key, version, NULL);
    ASSERT(api != NULL);
    int header_version = request_header_version(api, version);
    struct kp_RequestHeader h = {
        .request_api_key = api_key,
        .request_api_version = version,
        .correlation_id = correlation_id,
        .client_id = client_id,
    };
    enum err rc = kp_encode(&kp_RequestHeader_schema, (int16_t)header_version, &h, out, NULL);
    ASSERT(rc == ERR_OK); /* fails only for a client id beyond 32767 bytes */
}

void kp_response_header_encode(int16_t api_key, int16_t version, int32_t correlation_id,
                               struct buf *out)
{
    const struct kp_api *api = find_version(api_key, version, NULL);
    ASSERT(api != NULL);
    struct kp_ResponseHeader h = {.correlation_id = correlation_id};
    enum err rc = kp_encode(&kp_ResponseHeader_schema,
                            (int16_t)response_header_version(api, version), &h, out, NULL);
    ASSERT(rc == ERR_OK);
}

enum err kp_response_header_decode(int16_t api_key, int16_t version, struct bytes frame,
                                   int32_t *correlation_id_out, struct bytes *body_out,
                                   struct errtext *why)
{
    *correlation_id_out = 0;
    *body_out = (struct bytes){NULL, 0};
    const struct kp_api *api = find_version(api_key, version, why);
    if (api == NULL)
        return ERR_UNSUPPORTED;

    struct kp_ResponseHeader h;
    struct arena none = {.limit = 1};
    size_t used;
    enum err rc =
        kp_decode_prefix(&kp_ResponseHeader_schema, (int16_t)response_header_version(api, version),
                         frame, &none, &h, &used, why);
    if (rc != ERR_OK) {
        errtext_wrap(why, "header of a %s response", api->name);
        return rc;
    }
    *correlation_id_out = h.correlation_id;
    *body_out = (struct bytes){frame.p + used, frame.len - (int64_t)used};
    return ERR_OK;
}
