/* SPDX-License-Identifier: Apache-2.0 */
/* Blocking requests on a non-blocking transport: every step waits in poll() until its deadline. The
 * connection is used by one command and thrown away, so any failure in the middle of a frame makes
 * it unusable rather than resynchronised. */
#include "common/net/bclient.h"

#include "config.h"

#include "common/base/clock.h"
#include "common/net/dial.h"
#include "common/net/transport.h"
#include "common/protocol/codec.h"
#include "common/protocol/messages.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { TLS_ALERT = 0x15, TLS_MAJOR = 3 }; /* the first bytes of a TLS record that is an alert */
enum { KEYS_MAX = 128, READ_STEP_BYTES = 1024 * 1024 };

struct bclient {
    struct transport t;
    bool is_dead;
    char *host;
    char *client_id;
    int32_t port;
    int32_t correlation_id;
    int64_t request_timeout_ms;
    bool saw_tls_alert;
    struct buf out, in;
    struct {
        int16_t min, max; /* max -1: the broker does not have it */
    } ranges[KEYS_MAX];
};

static enum err connect_any(const struct bclient_options *o, int *fd_out,
                            struct bclient_progress *progress, struct errtext *why)
{
    struct dial_progress d;
    enum err rc = dial(o->host, o->port, o->connect_timeout_ms, fd_out, &d, why);

    progress->stage = d.is_resolved ? BCLIENT_AT_CONNECT : BCLIENT_AT_RESOLVE;
    progress->errnum = d.errnum;
    return rc;
}

/* The connection cannot be used any more: says why and remembers. */
static enum err die(struct bclient *c, enum err rc, struct errtext *why, const char *what)
{
    c->is_dead = true;
    errtext_set(why, "%s:%d: %s", c->host, c->port, what);
    return rc;
}

static enum err shake(struct bclient *c, int64_t deadline_ms, struct errtext *why)
{
    for (;;) {
        enum io_status s = transport_shake(&c->t);

        if (s == IO_OK)
            return ERR_OK;
        if (s == IO_EOF)
            return die(c, ERR_PROTOCOL, why,
                       "closed during the TLS handshake: is this a TLS listener?");
        if (s == IO_FAILED)
            return die(c, ERR_PROTOCOL, why,
                       "the TLS handshake failed: check the truststore and the listener");
        if (dial_wait(c->t.fd, c->t.wants_write ? POLLOUT : POLLIN, deadline_ms) != ERR_OK)
            return die(c, ERR_TIMEOUT, why, "no answer to the TLS handshake in time");
    }
}

static enum err send_all(struct bclient *c, int64_t deadline_ms, struct errtext *why)
{
    size_t at = 0;

    while (at < c->out.len) {
        struct iovec iov = {c->out.p + at, c->out.len - at};
        size_t put = 0;
        enum io_status s = transport_writev(&c->t, &iov, 1, false, &put);

        if (s == IO_EOF || s == IO_FAILED)
            return die(c, ERR_CLOSED, why, "the connection was closed while sending");
        at += put;
        if (at < c->out.len && dial_wait(c->t.fd, POLLOUT, deadline_ms) != ERR_OK)
            return die(c, ERR_TIMEOUT, why, "the broker does not take the request in time");
    }
    return ERR_OK;
}

/* Reads until c->in holds want bytes. Memory grows with what arrives, not with what is claimed. */
static enum err receive_until(struct bclient *c, size_t want, int64_t deadline_ms,
                              struct errtext *why)
{
    while (c->in.len < want) {
        struct iovec iov;
        size_t got = 0;
        enum io_status s;

        buf_reserve(&c->in, size_min(want - c->in.len, READ_STEP_BYTES));
        iov.iov_base = c->in.p + c->in.len;
        iov.iov_len = size_min(want - c->in.len, c->in.cap - c->in.len);
        s = transport_readv(&c->t, &iov, 1, &got);
        if (s == IO_EOF || s == IO_FAILED)
            return die(c, ERR_CLOSED, why,
                       "the broker closed the connection without an answer: is this a listener "
                       "of another security protocol, or not a broker?");
        c->in.len += got;
        if (s == IO_AGAIN &&
            dial_wait(c->t.fd, c->t.wants_write ? POLLOUT : POLLIN, deadline_ms) != ERR_OK)
            return die(c, ERR_TIMEOUT, why, "no answer in time");
    }
    return ERR_OK;
}

/* One request out, its response in; body_out points into an arena copy. */
static enum err round_trip(struct bclient *c, int16_t key, int16_t version,
                           const struct kp_api *api, const void *request, int64_t deadline_ms,
                           struct arena *a, struct bytes *body_out, struct errtext *why)
{
    struct errtext inner = {{0}};
    int32_t correlation_id = ++c->correlation_id, got_id;
    uint32_t size;
    uint8_t *copy;
    enum err rc;

    c->out.len = 0;
    buf_add(&c->out, "\0\0\0\0", 4);
    kp_request_header_encode(key, version, correlation_id, str_of(c->client_id), &c->out);
    rc = kp_encode(api->request, version, request, &c->out, why);
    if (rc != ERR_OK) {
        errtext_wrap(why, "%s:%d: %s version %d", c->host, c->port, api->name, version);
        return rc;
    }
    be32_store(c->out.p, (uint32_t)(c->out.len - 4));
    rc = send_all(c, deadline_ms, why);
    if (rc != ERR_OK)
        return rc;
    c->in.len = 0;
    rc = receive_until(c, 4, deadline_ms, why);
    if (rc != ERR_OK)
        return rc;
    size = be32_load(c->in.p);
    if (c->t.ssl == NULL && c->in.p[0] == TLS_ALERT && c->in.p[1] == TLS_MAJOR) {
        c->saw_tls_alert = true;
        return die(c, ERR_PROTOCOL, why,
                   "what answers there speaks TLS: set security.protocol=SSL");
    }
    if (size < 4 || size > BCLIENT_FRAME_MAX)
        return die(c, ERR_PROTOCOL, why, "what answers there does not speak the Kafka protocol");
    c->in.len = 0;
    rc = receive_until(c, size, deadline_ms, why);
    if (rc != ERR_OK)
        return rc;
    copy = arena_alloc(a, size);
    if (copy == NULL)
        return die(c, ERR_NO_MEMORY, why, "no memory for the answer");
    memcpy(copy, c->in.p, size);
    rc = kp_response_header_decode(key, version, (struct bytes){copy, size}, &got_id, body_out,
                                   &inner);
    if (rc != ERR_OK || got_id != correlation_id)
        return die(c, ERR_PROTOCOL, why, "the answer does not belong to the request");
    return ERR_OK;
}

static enum err decode_body(struct bclient *c, const struct kp_api *api, int16_t version,
                            struct bytes body, struct arena *a, void *response, struct errtext *why)
{
    struct errtext inner = {{0}};
    enum err rc = kp_decode(api->response, version, body, a, response, &inner);

    if (rc == ERR_OK)
        return ERR_OK;
    c->is_dead = true;
    errtext_set(why, "%s:%d: the answer to %s version %d cannot be read: %s", c->host, c->port,
                api->name, version, inner.text);
    return rc;
}

/* A broker that does not know version 3 answers in version 0 with UNSUPPORTED_VERSION. */
static enum err ask_versions(struct bclient *c, int64_t deadline_ms, struct errtext *why)
{
    const struct kp_api *api = kp_api_find(KP_API_API_VERSIONS);
    struct kp_ApiVersionsRequest request;
    struct kp_ApiVersionsResponse response = {0};
    struct arena a = {0};
    struct bytes body;
    int16_t version = 3;
    enum err rc;

    kp_defaults(&kp_ApiVersionsRequest_schema, &request);
    request.client_software_name = STR_LIT("kafuka");
    request.client_software_version = STR_LIT(PACKAGE_VERSION);
    rc = round_trip(c, KP_API_API_VERSIONS, version, api, &request, deadline_ms, &a, &body, why);
    if (rc == ERR_OK && body.len >= 2 && be16_load(body.p) == KE_UNSUPPORTED_VERSION) {
        version = 0;
        rc =
            round_trip(c, KP_API_API_VERSIONS, version, api, &request, deadline_ms, &a, &body, why);
    }
    if (rc == ERR_OK)
        rc = decode_body(c, api, version, body, &a, &response, why);
    if (rc == ERR_OK && response.error_code != KE_NONE) {
        rc = ERR_PROTOCOL;
        errtext_set(why, "%s:%d: ApiVersions: %s", c->host, c->port,
                    kerr_name(response.error_code));
    }
    for (size_t i = 0; i < KEYS_MAX; i++)
        c->ranges[i].min = c->ranges[i].max = -1;
    for (int32_t i = 0; rc == ERR_OK && i < response.api_keys_count; i++) {
        int16_t key = response.api_keys[i].api_key;

        if (key >= 0 && key < KEYS_MAX) {
            c->ranges[key].min = response.api_keys[i].min_version;
            c->ranges[key].max = response.api_keys[i].max_version;
        }
    }
    arena_fini(&a);
    return rc;
}

enum err bclient_open(const struct bclient_options *o, struct bclient **out, struct errtext *why)
{
    int64_t deadline_ms = clock_mono_ms() + o->connect_timeout_ms;
    struct bclient_progress unwanted;
    struct bclient_progress *progress = o->progress == NULL ? &unwanted : o->progress;
    struct bclient *c = NULL;
    enum err rc;
    int fd;

    *out = NULL;
    *progress = (struct bclient_progress){.stage = BCLIENT_AT_RESOLVE};
    rc = connect_any(o, &fd, progress, why);
    if (rc != ERR_OK)
        return rc;
    progress->stage = BCLIENT_AT_TLS;
    c = xcalloc(1, sizeof *c);
    c->t.fd = -1;
    c->host = xstrdup(o->host);
    c->port = o->port;
    c->client_id = o->client_id == NULL ? NULL : xstrdup(o->client_id);
    c->request_timeout_ms = o->request_timeout_ms;
    if (!transport_init(&c->t, fd, o->tls, o->host)) {
        c->t.fd = -1;
        rc = die(c, ERR_NO_MEMORY, why, "no memory for the connection");
        goto out;
    }
    rc = shake(c, deadline_ms, why);
    if (rc == ERR_OK) {
        progress->stage = BCLIENT_AT_VERSIONS;
        rc = ask_versions(c, deadline_ms, why);
        progress->speaks_tls = c->saw_tls_alert;
    }
    if (rc == ERR_OK)
        progress->stage = BCLIENT_OPEN;
out:
    if (rc != ERR_OK)
        bclient_close(&c);
    *out = c;
    return rc;
}

void bclient_close(struct bclient **cp)
{
    struct bclient *c = *cp;

    if (c == NULL)
        return;
    if (c->t.fd >= 0)
        transport_fini(&c->t);
    buf_fini(&c->out);
    buf_fini(&c->in);
    mem_free(c->host);
    mem_free(c->client_id);
    mem_free(c);
    *cp = NULL;
}

bool bclient_range(const struct bclient *c, int16_t api_key, int16_t *min_out, int16_t *max_out)
{
    if (api_key < 0 || api_key >= KEYS_MAX || c->ranges[api_key].max < 0)
        return false;
    *min_out = c->ranges[api_key].min;
    *max_out = c->ranges[api_key].max;
    return true;
}

int16_t bclient_version(const struct bclient *c, int16_t api_key, int16_t max_version)
{
    const struct kp_api *api = kp_api_find(api_key);
    int16_t min, max;

    if (api == NULL || !bclient_range(c, api_key, &min, &max))
        return -1;
    if (max > api->max_version)
        max = api->max_version;
    if (max > max_version)
        max = max_version;
    return max < min || max < api->min_version ? -1 : max;
}

enum err bclient_call(struct bclient *c, int16_t api_key, int16_t max_version, const void *request,
                      struct arena *a, void *response, int16_t *version_out, struct errtext *why)
{
    const struct kp_api *api = kp_api_find(api_key);
    int16_t version = bclient_version(c, api_key, max_version);
    struct bytes body;
    enum err rc;

    ASSERT(api != NULL);
    if (c->is_dead) {
        errtext_set(why, "%s:%d: the connection is closed", c->host, c->port);
        return ERR_CLOSED;
    }
    if (version < 0) {
        errtext_set(why, "%s:%d: the broker does not offer %s in a version known here", c->host,
                    c->port, api->name);
        return ERR_UNSUPPORTED;
    }
    rc = round_trip(c, api_key, version, api, request, clock_mono_ms() + c->request_timeout_ms, a,
                    &body, why);
    if (rc == ERR_OK)
        rc = decode_body(c, api, version, body, a, response, why);
    if (version_out != NULL)
        *version_out = version;
    return rc;
}
