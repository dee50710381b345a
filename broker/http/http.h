/* SPDX-License-Identifier: Apache-2.0 */
/* http - /metrics, /live and /ready for Prometheus and health checks, on a thread and a listener of
 * their own. Only when http.listener is set. */
#ifndef BROKER_HTTP_HTTP_H
#define BROKER_HTTP_HTTP_H

#include "common/base/base.h"

struct broker;
struct http;
struct server;

/* listener: "host:port" or ":port"; NULL or "": nothing is started (*out NULL). INVALID, IO with
 * text. b and s outlive it; b's modules may come and go. */
NODISCARD enum err http_start(const struct broker *b, const struct server *s, const char *listener,
                              struct http **out, struct errtext *why);
void http_stop(struct http **h); /* NULL is fine */
int32_t http_port(const struct http *h);

#endif
