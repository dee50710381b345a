/* SPDX-License-Identifier: Apache-2.0 */
/* http_get - one GET to a broker's page, blocking, bounded in time and size. Plain HTTP. One
 * thread. */
#ifndef TOOLS_LIB_HTTP_GET_H
#define TOOLS_LIB_HTTP_GET_H

#include "common/base/base.h"

enum { HTTP_BODY_MAX = 16 << 20 };

/* Appends the body to out. path: with its query, already encoded. UNREACHABLE, TIMEOUT, TOO_LARGE,
 * NOT_FOUND (status 404: out has what it says), PROTOCOL (another status, or no HTTP) with text
 * that names host and port. */
NODISCARD enum err http_get(const char *host, int32_t port, const char *path, int64_t timeout_ms,
                            struct buf *out, struct errtext *why);
/* Appends text as it stands in a query. */
void http_add_encoded(struct buf *out, const char *text);

#endif
