/* SPDX-License-Identifier: Apache-2.0 */
/* http - /metrics, /live, /ready and /groups/history for Prometheus and health checks, on a thread
 * and a listener of their own. Only when http.listener is set. */
#ifndef BROKER_HTTP_HTTP_H
#define BROKER_HTTP_HTTP_H

#include "common/base/base.h"

struct http;
struct conn_stats;

/* listener: "host:port" or ":port"; NULL or "": nothing is started (*out NULL). INVALID, IO with
 * text. connections: of the server, they outlive it. */
NODISCARD enum err http_start(const struct conn_stats *connections, const char *listener,
                              struct http **out, struct errtext *why);
/* From now on /metrics has what print adds, which runs on the http thread. Once; h NULL is fine. */
void http_add_metrics(struct http *h, void (*print)(void *arg, struct buf *out), void *arg);
/* The same for /groups/history: history appends JSON, false is 404. */
void http_add_history(struct http *h, bool (*history)(void *arg, struct str group, struct buf *out),
                      void *arg);
/* The same for /ready, while kafuka_ready is 1: reason tells on the http thread why the broker
 * cannot serve fully (static text), NULL: it can. */
void http_add_reason(struct http *h, const char *(*reason)(void *arg), void *arg);
void http_stop(struct http **h); /* NULL is fine */
int32_t http_port(const struct http *h);

#endif
