/* SPDX-License-Identifier: Apache-2.0 */
/* reader - reads all partitions of some topics without a consumer group: partitions are found in
 * the metadata, and looked for again so that new ones are read too. One thread. */
#ifndef TOOLS_LIB_READER_H
#define TOOLS_LIB_READER_H

#include "common/base/base.h"
#include "tools/lib/opt.h"
#include "tools/lib/topics.h"

#include <librdkafka/rdkafka.h>

struct reader;

struct reader_options {
    const struct opts *o;
    rd_kafka_t *rk;
    const char *topic;                    /* one topic, or ... */
    const struct topics_pattern *pattern; /* ... all whose names match */
    bool is_excluding;                    /* ... or do not match */
    bool with_internal;                   /* pattern: internal topics too */
    int32_t partition;                    /* -1: all */
    int64_t offset;                       /* where to begin: a number or RD_KAFKA_OFFSET_... */
    bool has_told_missing;                /* that topic is not there has been said */
    int64_t refresh_ms;                   /* between looks for new partitions; 0: the default */
};

/* Looks for the partitions and begins to read. A topic that is not there is waited for. NULL: a
 * line was printed. */
struct reader *reader_open(const struct reader_options *ro);
/* Calls found for what has arrived, waiting up to timeout_ms for the first; how many records, -1:
 * an error that ends the reading (a line was printed). found returns false to stop at once. */
ssize_t reader_poll(struct reader *r, int timeout_ms,
                    bool (*found)(void *arg, rd_kafka_message_t *m), void *arg);
int32_t reader_partition_count(const struct reader *r);
void reader_close(struct reader **r);

#endif
