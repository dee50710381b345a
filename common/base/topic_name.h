/* SPDX-License-Identifier: Apache-2.0 */
/* topic_name - what Kafka takes as the name of a topic. Pure. */
#ifndef COMMON_BASE_TOPIC_NAME_H
#define COMMON_BASE_TOPIC_NAME_H

#include "common/base/base.h"

/* Followed by "-<partition>" and "-delete" it is still the name of a file. */
enum { TOPIC_NAME_MAX = 249 };

/* What is wrong with a name, as a sentence about "a topic name"; NULL: nothing. */
const char *topic_name_fault(struct str name);
bool topic_name_is_valid(struct str name);

#endif
