/* SPDX-License-Identifier: Apache-2.0 */
/* server - the listeners, their connections and the loops these live on. main's thread, but for
 * what says otherwise. */
#ifndef BROKER_SERVER_SERVER_H
#define BROKER_SERVER_SERVER_H

#include "broker/broker.h"
#include "common/net/conn.h"

struct server;
struct tls_context;

/* What a connection belongs to: conn_user(). Read-only. */
struct server_conn {
    struct server *server;
    struct broker *broker;
    const struct listener *listener;
    char *principal; /* "User:ANONYMOUS" */
    LIST_ENTRY(server_conn) link;
    struct conn *conn;
    struct server_seat *seat;
    bool is_uncounted; /* over the limit of its address */
};

/* Parses listeners, advertised.listeners and their map into b->listeners and binds the sockets
 * (b->config is set). Nothing is accepted yet. INVALID: what the options say cannot be; IO: a port
 * is taken, an address is not here, with text. */
NODISCARD enum err server_bind(struct broker *b, struct server **out, struct errtext *why);
/* Begins to accept and to answer; b->loops run. */
void server_start(struct server *s);
/* Any thread: stops accepting. Connections stay. */
void server_stop_accepting(struct server *s);
/* Closes all connections and waits for it: afterwards no request is begun any more. */
void server_close_connections(struct server *s);
/* After the pool and the loops have ended. NULL is fine. */
void server_free(struct server **s);
int32_t server_connections(const struct server *s); /* any thread */
/* To other brokers on the inter-broker listener; NULL: plain. Made by server_bind. */
struct tls_context *server_client_tls(const struct server *s);

const struct conn_stats *server_stats(const struct server *s);

#endif
