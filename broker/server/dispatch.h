/* SPDX-License-Identifier: Apache-2.0 */
/* dispatch - from a frame to a handler: header, version, body, authorization context, metrics. On
 * the connection's loop. */
#ifndef BROKER_SERVER_DISPATCH_H
#define BROKER_SERVER_DISPATCH_H

#include "broker/server/request.h"

enum { API_KEY_MAX = 128, API_VERSIONS_MAX = 4 /* of ApiVersions itself */ };
enum {
    API_INTER_BROKER = 1, /* needs CLUSTER_ACTION; exempt from throttling */
};

/* One API that the broker offers. The table is sorted by key; ApiVersions (18) is not in it, it is
 * dispatch's own. */
struct api_row {
    int16_t key;
    int16_t min_version, max_version;
    /* Owns the request: ends it with one of the request_ functions, now or later. r->body is the
     * decoded struct kp_<Api>Request. */
    void (*handle)(struct request *r);
    unsigned flags;
};

/* Before connections come. The table is kept, not copied. Every row must be known to the codec. */
void dispatch_init(const struct api_row *rows, size_t count);
const struct api_row *dispatch_find(int16_t key); /* NULL: not offered */

/* Decodes r->frame and calls the handler; a frame that cannot be answered closes the connection
 * with a log line. r: made by request_new, with everything but the header's fields set. Takes r. */
void dispatch_request(struct request *r);

/* broker/server/api_versions.c */
void api_versions(struct request *r);
/* The answer to a version above those we know: body of version 0 with UNSUPPORTED_VERSION. */
void api_versions_unsupported(struct request *r);

#endif
