/* SPDX-License-Identifier: Apache-2.0 */
/* broker - what the parts of the daemon share: configuration, identity, loops, pools and the
 * modules. Made by main at start, read-only afterwards except where a field says otherwise. */
#ifndef BROKER_BROKER_H
#define BROKER_BROKER_H

#include "broker/server/descriptors.h"
#include "common/base/base.h"
#include "common/net/loop.h"

#include <stdatomic.h>

struct config;
struct controller;
struct coord;
struct coordinator;
struct log_manager;
struct api;
struct metadata_cache;
struct pool;
struct replicas;
struct tls_context;

struct listener { /* one of listeners= */
    char *name;   /* "PLAINTEXT" */
    int16_t security_protocol;
    char *bind_host;
    int32_t port; /* bound; never 0 after start */
    char *advertised_host;
    int32_t advertised_port;
    bool is_inter_broker;
};

struct broker {
    int32_t id;
    /* broker/config/config.h: typed values of every option. A dynamic change switches it; what it
     * pointed to stays until the end. */
    const struct config *_Atomic config;
    char cluster_id[64];
    _Atomic int64_t epoch; /* czxid of our registration; -1 before */
    struct listener *listeners;
    int listener_count;
    const struct listener *inter_broker_listener;
    struct tls_context *inter_broker_tls; /* for connections to other brokers; NULL: plain */
    struct descriptors descriptors; /* the limit on open files, and its shares */
    struct loop **loops;
    int loop_count;
    struct pool *io_pool; /* common/base/pool.h */
    struct coord *coord;
    struct log_manager *logs;
    struct replicas *replicas;
    struct controller *controller;
    struct metadata_cache *metadata; /* broker/cluster/metadata_cache.h */
    struct api *api;                 /* broker/api/api.h */
    struct coordinator *groups;      /* broker/group/coordinator.h */
    _Atomic bool is_stopping;
    bool had_logs; /* found at the start: the cluster has topics. Set before the first request */
    _Atomic bool is_informed;       /* api_when_informed() waits no more */
    _Atomic int64_t informed_by_ms; /* until when it waits; 0: not begun */
};

#endif
