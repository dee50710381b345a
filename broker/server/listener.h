/* SPDX-License-Identifier: Apache-2.0 */
/* listener - the texts of listeners= and advertised.listeners= as struct listener, and the address
 * that a broker advertises when it is not told one. */
#ifndef BROKER_SERVER_LISTENER_H
#define BROKER_SERVER_LISTENER_H

#include "broker/broker.h"

enum { PROTOCOL_PLAINTEXT, PROTOCOL_SSL, PROTOCOL_SASL_PLAINTEXT, PROTOCOL_SASL_SSL };
const char *listener_protocol_name(int16_t protocol);

/* "NAME://host:port", "NAME://[v6]:port", "NAME://:port". Strings of out are the caller's to free.
 * False: not of that form. */
NODISCARD bool listener_parse_endpoint(const char *text, char **name_out, char **host_out,
                                       int32_t *port_out);
/* All of the config's listeners, with the advertised endpoints as configured (advertised_host ""
 * and advertised_port 0 where they are still to be found). INVALID with text. */
NODISCARD enum err listeners_from_config(const struct config *c, struct listener **out,
                                         int *count_out, struct errtext *why);
void listeners_free(struct listener **l, int count);
/* Our own address on the way to the first server of a ZooKeeper connect string; when that cannot be
 * told, that of an interface that is up; "127.0.0.1" at last. Blocks for the name service. */
void listener_own_address(const char *zookeeper_connect, char *out, size_t out_size);

#endif
