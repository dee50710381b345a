/* SPDX-License-Identifier: Apache-2.0 */
/* fd_cache - the LRU of open segment files. A slot is in use while somebody reads or writes through
 * its descriptor; a slot that is not in use stays open until the limit asks for its place. One
 * cache a process, as the limit on descriptors is the process's. Any thread. */
#ifndef BROKER_LOG_FD_CACHE_H
#define BROKER_LOG_FD_CACHE_H

#include "common/base/base.h"

/* Embedded in what owns the file. Guarded by the cache's lock. */
struct fd_slot {
    int fd;                    /* -1: closed */
    unsigned users;            /* while above 0 the descriptor stays open */
    TAILQ_ENTRY(fd_slot) link; /* the LRU, when open and without users */
};
void fd_slot_init(struct fd_slot *s);

/* How many files may stay open without users, together with those in use. Default 10000. */
void fd_cache_set_max(int64_t max);
/* Adds a user. -1: the file is closed (and there is no user). */
int fd_cache_try(struct fd_slot *s);
/* Adds a user, opening the file at path for reading and writing if need be. flags: more for
 * open(2). No lock is held while it opens. */
NODISCARD enum err fd_cache_open(struct fd_slot *s, const char *path, int flags, int *fd_out);
/* The same for a caller who can do without: NO_DESCRIPTORS instead of waiting for one. */
NODISCARD enum err fd_cache_open_optional(struct fd_slot *s, const char *path, int *fd_out);
void fd_cache_done(struct fd_slot *s); /* takes a user away */
/* Closes the descriptor; there must be no users. The slot's owner is about to be freed. */
void fd_cache_close(struct fd_slot *s);
/* Closes files that nobody uses, so that descriptors become free; false: there is none. For
 * fsx_spares_keep. */
bool fd_cache_shed(void);
int64_t fd_cache_open_count(void); /* for metrics and tests */

#endif
