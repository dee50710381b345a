/* SPDX-License-Identifier: Apache-2.0 */
/* wanted_topics - the topics that must exist once the broker is ready, from the option
 * topics=name:partitions:replicas[:cleanup.policy],... Each broker asks the controller for those that are missing, again and again
 * until they are there; one that exists already is left as it is. */
#ifndef BROKER_CLUSTER_WANTED_TOPICS_H
#define BROKER_CLUSTER_WANTED_TOPICS_H

#include "broker/broker.h"

struct metadata;
struct tls_context;
struct wanted_topics;

/* *out NULL: none are wanted. INVALID with text. */
NODISCARD enum err wanted_topics_parse(const struct config *c, struct wanted_topics **out,
                                       struct errtext *why);
void wanted_topics_free(struct wanted_topics **w); /* stopped, or never started; NULL is fine */
/* On b->loops[0], as all below. b->metadata is there. tls: of the inter-broker listener. */
/* given_up(arg): one of them will not be waited for any more: look again whether they exist. */
void wanted_topics_start(struct wanted_topics *w, struct broker *b, struct tls_context *tls,
                         void (*given_up)(void *arg), void *arg);
void wanted_topics_stop(struct wanted_topics *w);
/* Has each of them all its partitions, each with a leader? Those that cannot be created (said in
 * the log) are not waited for. w NULL: yes. */
bool wanted_topics_exist(const struct wanted_topics *w, const struct metadata *m);

#endif
