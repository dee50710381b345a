/* SPDX-License-Identifier: Apache-2.0 */
/* resolve - names to addresses for loops. Each name that is looked up has a thread of its own until
 * the answer is there, so that a name server that does not answer delays only those who wait for
 * that name, and no thread that serves requests. Nothing has to be started or stopped. */
#ifndef COMMON_NET_RESOLVE_H
#define COMMON_NET_RESOLVE_H

#include "common/base/base.h"
#include "common/net/loop.h"

#include <sys/socket.h>

struct resolve; /* one who waits for a name */

/* gai_error: 0, or as of getaddrinfo(3); the address (the first one) is only good with 0 and has
 * port 0. */
typedef void (*resolve_done)(void *arg, int gai_error, const struct sockaddr_storage *address,
                             socklen_t len);

/* Loop thread. Calls done on it, once, never from inside this call. At most 64 names are looked up
 * at a time: EAI_AGAIN beyond that. */
struct resolve *resolve_begin(struct loop *loop, const char *host, resolve_done done, void *arg);
/* The same loop's thread, before done was called: it will not be. NULL is fine; nulls the pointer. */
void resolve_cancel(struct resolve **r);

#endif
