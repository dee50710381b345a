/* SPDX-License-Identifier: Apache-2.0 */
/* checkpoint - Kafka's small text files: offset checkpoints (topic partition offset),
 * meta.properties and partition.metadata. Blocking; any thread. Layout: README. */
#ifndef BROKER_LOG_CHECKPOINT_H
#define BROKER_LOG_CHECKPOINT_H

#include "common/base/base.h"
#include "common/base/uuid.h"

/* Reads the lines of a checkpoint file: version 0, a count, then count lines of columns numbers or
 * words separated by blanks. NOT_FOUND: no file (an empty one has no entries). CORRUPT with text.
 * visit is called for each line, words[columns] not terminated; false makes the file CORRUPT. */
NODISCARD enum err checkpoint_read(const char *path, int columns,
                                   bool (*visit)(void *arg, const struct str *words), void *arg,
                                   struct errtext *why);
/* Begins the text of a checkpoint in out; the caller adds count lines, then writes it durably. */
void checkpoint_begin(struct buf *out, size_t count);
/* A whole decimal number, as they stand in these files. */
bool checkpoint_number(struct str word, int64_t *out);

struct meta_properties {
    int32_t broker_id;   /* -1: none */
    char cluster_id[64]; /* "": none */
};
/* NOT_FOUND: no file. INVALID: version other than 0, or node.id: not a ZooKeeper-mode dir. */
NODISCARD enum err meta_properties_read(const char *dir, struct meta_properties *out,
                                        struct errtext *why);
NODISCARD enum err meta_properties_write(const char *dir, const struct meta_properties *m);

/* Zero when there is no file, or an empty one (a crash right after creation). */
NODISCARD enum err partition_metadata_read(const char *folder, struct uuid *out,
                                           struct errtext *why);
/* Without fsync: see log_flush. */
NODISCARD enum err partition_metadata_write(const char *folder, struct uuid id);

#endif
