/* SPDX-License-Identifier: Apache-2.0 */
/* zkc_assign - who of a group reads which partition: the rules of the ZooKeeper consumers, pure
 * functions of what every member reads alike. Any thread. See README.md#assignment. */
#ifndef TOOLS_ZKCONSUMER_ZKC_ASSIGN_H
#define TOOLS_ZKCONSUMER_ZKC_ASSIGN_H

#include "common/base/base.h"

#include <regex.h>

enum zkc_strategy { ZKC_RANGE, ZKC_ROUND_ROBIN };
/* Of range. CEIL: N = ceil(Pt/Ct), thread i takes i*N to (i+1)*N - 1. KAFKA: what Kafka's own old
 * consumer does: the first (Pt mod Ct) threads take one more than the others. */
enum zkc_rule { ZKC_RULE_CEIL, ZKC_RULE_KAFKA };
/* What round robin hashes: "topic-partition" as Kafka 1.0 and later, or "[topic,partition]" as
 * before. */
enum zkc_hash_text { ZKC_TEXT_DASH, ZKC_TEXT_BRACKETS };

/* One topic with the threads (streams of all members) that subscribed to it. Borrowed. */
struct zkc_topic_view {
    const char *name;
    const int32_t *partitions; /* rising */
    int32_t partition_count;
    const char *const *threads; /* thread ids in string order, distinct */
    int32_t thread_count;
};

/* The partitions of one thread under range: indexes first .. first + count - 1. */
void zkc_assign_range(enum zkc_rule rule, int32_t partition_count, int32_t thread_count,
                      int32_t thread, int32_t *first_out, int32_t *count_out);
/* owners_out has one place for each partition, topic after topic: the index of the owner among that
 * topic's threads, -1 for nobody. */
void zkc_assign(enum zkc_strategy strategy, enum zkc_rule rule, enum zkc_hash_text text,
                const struct zkc_topic_view *topics, int32_t topic_count, int32_t *owners_out);
/* String.hashCode() of ASCII text. */
int32_t zkc_java_hash(const char *text);

/* A topic filter: a regular expression over whole names; ',' is '|', blanks and surrounding quotes
 * are dropped, as Kafka's TopicFilter does. Of Java's syntax what POSIX extended expressions have,
 * and \d; other syntax is refused, as are expressions that would cost without bound. */
enum { ZKC_FILTER_CHARS_MAX = 1000, ZKC_FILTER_REPEAT_MAX = 100 };
struct zkc_filter {
    char *text; /* as registered */
    regex_t re;
};
/* INVALID with text; then nothing is to be released. */
NODISCARD enum err zkc_filter_init(struct zkc_filter *f, const char *text, struct errtext *why);
void zkc_filter_fini(struct zkc_filter *f);
bool zkc_filter_matches(const struct zkc_filter *f, const char *topic);
bool zkc_is_internal(const char *topic); /* __consumer_offsets, __transaction_state */

#endif
