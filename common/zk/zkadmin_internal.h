/* SPDX-License-Identifier: Apache-2.0 */
/* zkadmin_internal - shared by the zkadmin files: answers of the coordination service as Kafka
 * error codes, name lists, and many reads at once. */
#ifndef COMMON_ZK_ZKADMIN_INTERNAL_H
#define COMMON_ZK_ZKADMIN_INTERNAL_H

#include "common/zk/zkadmin.h"

enum { ZKADMIN_ATTEMPTS_MAX = 5 };

/* KE_NONE for OK; else the code for a person, with text: doing what to path failed and why. */
int16_t zkadmin_error(enum err e, const char *doing, const char *path, struct errtext *why);
/* "/a/b" of parts, into a buffer that the caller owns. */
const char *zkadmin_path(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Children of path, sorted, in the arena; none when there is no such node. */
NODISCARD int16_t zkadmin_children(struct coord *c, const char *path, struct arena *a,
                                   const char ***names_out, int32_t *count_out,
                                   struct errtext *why);
/* Creates persistent parents with null data; existing ones are fine. */
NODISCARD int16_t zkadmin_ensure(struct coord *c, const char *path, struct errtext *why);

/* Reads count nodes at once: path_of(arg, i, buf) says which; got(arg, i, result) takes each. */
NODISCARD int16_t zkadmin_read_many(struct coord *c, int32_t count,
                                    const char *(*path_of)(void *arg, int32_t i, struct buf *b),
                                    void (*got)(void *arg, int32_t i, const struct coord_result *r),
                                    void *arg, struct errtext *why);

#endif
