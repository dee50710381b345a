/* SPDX-License-Identifier: Apache-2.0 */
/* consumer_groups - what the files of kafuka-consumer-groups share: the command's connections to
 * brokers and ZooKeeper, and its parts. One command, one thread. */
#ifndef TOOLS_CONSUMER_GROUPS_H
#define TOOLS_CONSUMER_GROUPS_H

#include "tools/lib/groups.h"
#include "tools/lib/log_offsets.h"
#include "tools/lib/opt.h"

struct group_tool {
    const struct opts *o;
    struct admin admin;
    struct coord *zk; /* NULL: none, or not looked for yet */
    struct arena arena;
    int64_t timeout_ms;
    int64_t deadline_ms; /* for asking again */
    bool has_brokers;    /* --bootstrap-server, or found in ZooKeeper */
    bool zk_is_given;    /* --zookeeper; else the brokers are asked where it is */
    bool zk_was_tried;
};

/* True when only --zookeeper was given: Kafka 1.1's output, groups in ZooKeeper only. */
bool group_tool_is_zk_only(const struct group_tool *t);
/* The session with ZooKeeper: that of --zookeeper, else of the brokers' zookeeper.connect, unless
 * --no-zookeeper. NULL: none (one that cannot be reached is warned of once). */
struct coord *group_tool_zk(struct group_tool *t);
/* A time limit of --timeout from now on. */
void group_tool_restart_clock(struct group_tool *t);

/* "\nError: <text>" on stdout, where Kafka prints it. Returns 1. */
int group_tool_error(const char *fmt, ...) PRINTF_LIKE(1, 2);
/* In words a person can act on. */
const char *group_code_text(int16_t code);

/* All groups of both kinds, sorted by name. *failed: a part of them could not be read (said on
 * stderr). */
void group_tool_list(struct group_tool *t, struct group_listing **out, int32_t *count_out,
                     bool *failed);
/* The groups that --group or --all-groups mean, described (with members, without commits); a name
 * that is of both kinds comes twice. A name that is not there comes once, with state "Dead". Exit
 * status, or -1 to go on; *failed: part of what was wanted could not be read (said on stderr), which
 * is enough to look at but not to change. */
int group_tool_select(struct group_tool *t, struct group **out, int32_t *count_out, bool *failed);

int group_tool_describe(struct group_tool *t);
int group_tool_explain(struct group_tool *t);
int group_tool_reset(struct group_tool *t);
int group_tool_delete(struct group_tool *t);
int group_tool_delete_offsets(struct group_tool *t);

#endif
