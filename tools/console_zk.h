/* SPDX-License-Identifier: Apache-2.0 */
/* console_zk - the console consumer as a member of a ZooKeeper group (--zookeeper), as Kafka's old
 * console consumer. One thread. */
#ifndef TOOLS_CONSOLE_ZK_H
#define TOOLS_CONSOLE_ZK_H

#include "tools/lib/formatter.h"
#include "tools/lib/opt.h"
#include "common/base/props.h"

struct console_zk {
    const struct opts *o;
    const struct props *p; /* of the consumer */
    const char *regex;     /* a topic's name is one too */
    bool is_black_list;
    int64_t timeout_ms; /* -1: none */
    /* A record, to be printed into out. False: enough. */
    bool (*found)(void *arg, const char *topic, const struct format_record *r);
    bool (*flush)(void *arg); /* writes out; empty afterwards. False: it could not, now or before */
    const struct buf *out;
    bool with_headers;
    void *arg;
};
/* Joins, prints until a limit, an error or a signal, leaves. The exit status. */
int console_zk_run(const struct console_zk *z);

#endif
