/* SPDX-License-Identifier: Apache-2.0 */
/* admin - a cluster as an administrator's command sees it: bootstrap addresses, connections to the
 * brokers it needs, metadata. One command, one thread; everything it returns lives until
 * admin_close(). */
#ifndef TOOLS_LIB_ADMIN_H
#define TOOLS_LIB_ADMIN_H

#include "common/base/base.h"
#include "common/net/bclient.h"
#include "common/protocol/codec.h"
#include "common/protocol/messages.h"
#include "tools/lib/opt.h"
#include "common/base/props.h"

enum { ADMIN_ANY = -2, ADMIN_CONTROLLER = -3 };
enum { ADMIN_KAFKA_PORT = 9092 }; /* of an address that names none */

/* Options that every command with --bootstrap-server has. */
#define ADMIN_OPTIONS                                                                              \
    {"bootstrap-server",                                                                           \
     OPT_TEXT,                                                                                     \
     "host:port,...",                                                                              \
     "REQUIRED: one or more brokers of the cluster; the others are found through them.",           \
     0,                                                                                            \
     0},                                                                                           \
        {"command-config",                                                                         \
         OPT_TEXT,                                                                                 \
         "file",                                                                                   \
         "A properties file for the connection: security.protocol, ssl.ca.location and the like.", \
         0,                                                                                        \
         0},                                                                                       \
    {                                                                                              \
        "timeout-ms", OPT_INT, "ms",                                                               \
            "Give up when a broker does not answer within this time (default 30000).", 1,          \
            INT32_MAX                                                                              \
    }

struct admin_connection {
    int32_t node; /* -1: a bootstrap address */
    struct bclient *client;
};
struct admin {
    struct arena arena;
    struct props props;
    struct tls_context *tls;
    const char *bootstrap;
    int64_t timeout_ms;
    struct admin_connection *connections;
    size_t connection_count;
    struct kp_MetadataResponse metadata; /* of the last admin_metadata */
    bool has_metadata;
};

/* Reads the connection options of a command. command_config: NULL or a file. INVALID with text. */
NODISCARD enum err admin_init(struct admin *a, const char *bootstrap, const char *command_config,
                              int64_t timeout_ms, struct errtext *why);
/* admin_init from the options, with the connection made: -1 to go on, else an exit status (the
 * line is printed). */
int admin_start(struct admin *a, const struct opts *o);
/* As admin_start, but with the addresses and the properties file given as arguments. bootstrap NULL
 * is the user's mistake: it is printed, and the exit status returned. */
int admin_start_at(struct admin *a, const struct opts *o, const char *bootstrap,
                   const char *command_config);
void admin_close(struct admin *a);

/* Connects to an address and keeps the connection as the one to broker node (-1: to a bootstrap
 * address). *progress, unless NULL, says how far the attempt came. Errors as of bclient_open. */
NODISCARD enum err admin_connect(struct admin *a, int32_t node, const char *host, int32_t port,
                                 struct bclient_progress *progress, struct bclient **out,
                                 struct errtext *why);

/* Calls node (an id, ADMIN_ANY or ADMIN_CONTROLLER), connecting if needed. See bclient_call. */
NODISCARD enum err admin_call(struct admin *a, int32_t node, int16_t api_key, int16_t max_version,
                              const void *request, void *response, int16_t *version_out,
                              struct errtext *why);
/* A connection to a node by its id, or ADMIN_ANY. */
NODISCARD enum err admin_client(struct admin *a, int32_t node, struct bclient **out,
                                struct errtext *why);
/* Metadata of all topics (names NULL), or of the named ones; never creates a topic. Also refreshes
 * brokers and controller in a->metadata. */
NODISCARD enum err admin_metadata(struct admin *a, const char *const *names, size_t count,
                                  struct kp_MetadataResponse *out, struct errtext *why);
/* Only brokers and controller. */
NODISCARD enum err admin_brokers(struct admin *a, struct errtext *why);

/* Asks node (an id or ADMIN_ANY) to check a change of configurations that changes nothing, which
 * it cannot without ZooKeeper. *away_out: what the broker says when it has none, else NULL, also
 * when it does not tell. ERR_OK when it answered. */
NODISCARD enum err admin_zookeeper(struct admin *a, int32_t node, const char **away_out,
                                   struct errtext *why);

/* For NOT_CONTROLLER: forgets who it is and waits a moment. False when deadline_ms has passed. */
bool admin_retry_controller(struct admin *a, int64_t deadline_ms);

/* "why" of a broker's answer: its message, or the code's text. */
const char *admin_error(struct admin *a, int16_t code, struct str message);

/* Splits "host:port,host:port" (also "[v6]:port"); calls back for each. INVALID with text. */
NODISCARD enum err admin_each_address(const char *list, int32_t default_port,
                                      enum err (*found)(void *arg, const char *host, int32_t port,
                                                        struct errtext *why),
                                      void *arg, struct errtext *why);

/* An array in the arena; never NULL. */
void *admin_alloc(struct admin *a, size_t count, size_t size);

#endif
