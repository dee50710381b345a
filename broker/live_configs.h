/* SPDX-License-Identifier: Apache-2.0 */
/* live_configs - the configs that change while the broker runs. It switches broker->config, gives
 * every log its topic's config, and hears of changes in ZooKeeper. Made by run.c; after
 * live_configs_watch() what it holds belongs to the session thread, but for the two functions that
 * give a topic's config, which any thread may call. */
#ifndef BROKER_LIVE_CONFIGS_H
#define BROKER_LIVE_CONFIGS_H

#include "broker/config/config.h"
#include "broker/log/log_manager.h"

struct broker;
struct live_configs;
struct mailbox;

/* Makes static_config b's current config and takes it. b outlives the result. */
struct live_configs *live_configs_new(struct broker *b, struct config *static_config);
/* Reads the options of this broker and the overrides of all topics from ZooKeeper; b->id is known.
 * IO with text. */
NODISCARD enum err live_configs_load(struct live_configs *l, struct errtext *why);
/* From now on changes are heard of, on the session thread. The modules that are told of them
 * (replicas, controller) exist. */
void live_configs_watch(struct live_configs *l, struct mailbox *session);
/* On the session thread: what changed while there was no session is read. */
void live_configs_session_renewed(struct live_configs *l);
/* Ends the watching and returns when it has ended. Nothing to do when it never began. */
void live_configs_stop(struct live_configs *l, struct mailbox *session);
/* Releases the overrides of topics; no log asks for its config any more. */
void live_configs_forget_topics(struct live_configs *l);
/* Releases every config that was current: nobody reads one any more. Nulls the pointer. */
void live_configs_free(struct live_configs **l);

/* The config of a topic's logs, as it is known here. Any thread. */
void live_configs_of_topic(struct live_configs *l, struct str topic, struct log_config *out);
/* The same when the topic's first log is made here: the config is read from ZooKeeper, which
 * blocks; without ZooKeeper the last one known holds. */
void live_configs_of_new_log(struct live_configs *l, struct str topic, struct uuid topic_id,
                             struct log_config *out);
/* The cleaner's options as c has them. */
struct log_cleaner_options live_configs_cleaner(const struct config *c);

#endif
