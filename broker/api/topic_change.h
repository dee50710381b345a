/* SPDX-License-Identifier: Apache-2.0 */
/* topic_change - what CreateTopics, DeleteTopics and CreatePartitions share. */
#ifndef BROKER_API_TOPIC_CHANGE_H
#define BROKER_API_TOPIC_CHANGE_H

#include "broker/api/api.h"

/* Said with NOT_CONTROLLER, and with REQUEST_TIMED_OUT when the effect was not seen in time. */
extern const char topic_change_elsewhere_text[];
extern const char topic_change_unseen_text[];

/* This broker is the active controller. */
bool topic_change_is_here(const struct request *r);
/* Sets twice[i] for each of names that is there more than once. False: no memory. */
bool topic_change_duplicates(struct request *r, const struct str *names, size_t count, bool *twice);

#endif
