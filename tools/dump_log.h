/* SPDX-License-Identifier: Apache-2.0 */
/* dump_log - prints the files of a partition: data segments, indexes and states. Shared by the
 * files of the dump-log command. One thread; reads files that may be damaged, believes nothing. */
#ifndef TOOLS_DUMP_LOG_H
#define TOOLS_DUMP_LOG_H

#include "common/base/base.h"

struct dump_options {
    bool deep;          /* records, not only batches */
    bool print_data;    /* keys and values */
    bool decode_groups; /* ... of __consumer_offsets */
    bool skip_metadata; /* of records */
    bool sanity_only;   /* indexes: check, print nothing of their content */
    bool verify_only;   /* indexes: compare with the log, print nothing of their content */
    int64_t max_bytes;  /* of data to read */
};

/* An index entry that does not agree with the log; printed after all files, as Kafka does. */
struct dump_mismatch {
    int64_t index_value, log_value;
};
struct dump_mismatches {
    const char *path;
    struct dump_mismatch *list; /* owned */
    size_t count;
};

/* Each prints one file and returns an error with text when it can't be read to the end. found_bad:
 * set when the content is wrong. */
NODISCARD enum err dump_data(const char *path, const struct dump_options *o, bool *found_bad,
                             struct errtext *why);
NODISCARD enum err dump_offset_index(const char *path, const struct dump_options *o,
                                     struct dump_mismatches *m, struct errtext *why);
NODISCARD enum err dump_time_index(const char *path, const struct dump_options *o,
                                   struct dump_mismatches *m, bool *found_bad, struct errtext *why);
NODISCARD enum err dump_txn_index(const char *path, struct errtext *why);
NODISCARD enum err dump_snapshot(const char *path, struct errtext *why);
NODISCARD enum err dump_epochs(const char *path, struct errtext *why);

/* The base offset that a file's name tells; false when it tells none. */
bool dump_base_offset(const char *path, int64_t *out);
/* Reads the batch header at position of an open data file (batch_out: BATCH_HEADER_BYTES). total
 * is checked against the file's size. NOT_FOUND: the end or a cut batch. */
NODISCARD enum err dump_header_at(int fd, int64_t position, int64_t size, uint8_t *batch_out,
                                  size_t *total_out);

#endif
