/* SPDX-License-Identifier: Apache-2.0 */
/* bclient - a blocking connection to a broker for command line tools: one request, one response,
 * every wait with a deadline. Plain or TLS. One thread at a time; never on an event loop. */
#ifndef COMMON_NET_BCLIENT_H
#define COMMON_NET_BCLIENT_H

#include "common/base/base.h"

struct bclient;
struct tls_context;

enum {
    BCLIENT_FRAME_MAX = 256 * 1024 * 1024, /* a larger response ends the connection */
    BCLIENT_NEWEST = INT16_MAX             /* max_version of bclient_call: whatever both know */
};

/* How far bclient_open() came, and what tells one failure from another. */
enum bclient_stage {
    BCLIENT_AT_RESOLVE, /* the stage that failed */
    BCLIENT_AT_CONNECT,
    BCLIENT_AT_TLS,
    BCLIENT_AT_VERSIONS,
    BCLIENT_OPEN /* all of them went well */
};
struct bclient_progress {
    enum bclient_stage stage;
    int errnum;      /* AT_CONNECT: why the connect failed, ETIMEDOUT also for our own limit */
    bool speaks_tls; /* AT_VERSIONS: the answer to a plain request was a TLS alert */
};

struct bclient_options {
    const char *host; /* a name or an address; copied */
    int32_t port;
    const char *client_id;             /* copied; NULL: null */
    struct tls_context *tls;           /* NULL: plain; outlives the client */
    int64_t connect_timeout_ms;        /* for the connect, the TLS handshake and ApiVersions */
    int64_t request_timeout_ms;        /* for one request and its response */
    struct bclient_progress *progress; /* NULL, or filled by bclient_open() */
};

/* Resolves, connects (each address in turn), shakes hands and asks for the versions. UNREACHABLE
 * (nothing listens, or no such name), TIMEOUT, PROTOCOL (it does not speak Kafka), each with text
 * that names host and port. */
NODISCARD enum err bclient_open(const struct bclient_options *o, struct bclient **out,
                                struct errtext *why);
void bclient_close(struct bclient **c); /* NULL is fine */

/* The highest version both know, at most max_version; -1: the broker does not have this API. */
int16_t bclient_version(const struct bclient *c, int16_t api_key, int16_t max_version);
/* The broker's range for an API. False: it does not have it. */
bool bclient_range(const struct bclient *c, int16_t api_key, int16_t *min_out, int16_t *max_out);

/* Sends request (struct kp_<Api>Request) in the version bclient_version() gives and decodes the
 * answer into response (struct kp_<Api>Response); what it points to lives in the arena. The
 * version used goes to version_out if that is not NULL. UNSUPPORTED: the broker lacks the API, or
 * the request needs a newer version. After CLOSED, TIMEOUT and PROTOCOL the connection is dead:
 * every further call fails. */
NODISCARD enum err bclient_call(struct bclient *c, int16_t api_key, int16_t max_version,
                                const void *request, struct arena *a, void *response,
                                int16_t *version_out, struct errtext *why);

#endif
