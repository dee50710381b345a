/* SPDX-License-Identifier: Apache-2.0 */
/* fsx - files: whole reads and writes, durable replacement, and named fault points for tests.
 * Blocking; never call the syncing ones on an event loop. Errors are for the caller to act on: a
 * failed write or sync is never retried here. */
#ifndef COMMON_BASE_FSX_H
#define COMMON_BASE_FSX_H

#include "common/base/base.h"

#include <dirent.h>
#include <sys/uio.h>

/* ---- descriptors
 * That a process has no descriptor left (EMFILE, ENFILE) is no fault of a disk. A broker has some
 * files open that it can do without, and spare descriptors that only files may take: fsx_open and
 * fsx_opendir then close such a file, or a spare, and try again. When that is not enough they wait,
 * and on an event loop, which must not wait, they fail with NO_DESCRIPTORS: a failure that may be
 * tried again. Tools and tests that do not call fsx_spares_keep get NO_DESCRIPTORS at once. */

enum { FSX_SPARES = 16, FSX_RESERVE = 32 };
/* From now on files wait for descriptors. shed: closes at least one file and returns true, or false
 * when there is none to close; any thread, any lock may be held. */
void fsx_spares_keep(bool (*shed)(void));
/* Opens the spares that were used up, as far as descriptors are free now. To be called now and then.
 */
void fsx_spares_refill(void);
void fsx_spares_drop(void); /* ends what fsx_spares_keep began; no thread waits any more */
/* Whether this thread may wait for a descriptor; true at first. Returns what it was. */
bool fsx_thread_may_wait(bool may);

/* flags as for open(2); O_CLOEXEC is added. fd_out -1 on error. */
NODISCARD enum err fsx_open(const char *path, int flags, mode_t mode, int *fd_out);
/* As fsx_open for a file that the caller can do without: takes no spare, does not wait, and leaves
 * the last FSX_RESERVE descriptors below the limit to the others (a thread that waits for one may
 * hold a lock that those who could close one wait for). */
NODISCARD enum err fsx_open_optional(const char *path, int flags, int *fd_out);
/* dir_out: closed with closedir(); NULL on error. */
NODISCARD enum err fsx_opendir(const char *path, DIR **dir_out);
/* Writes all of it or fails; short writes are continued. iov is changed. */
NODISCARD enum err fsx_pwritev_all(int fd, struct iovec *iov, int iov_count, int64_t at);
NODISCARD enum err fsx_pwrite_all(int fd, const void *p, size_t n, int64_t at);
/* Reads until n bytes or the end of the file; got_out: how many. */
NODISCARD enum err fsx_pread(int fd, void *p, size_t n, int64_t at, size_t *got_out);
/* The whole file or, of a pipe, all until its end; at most max bytes (TOO_LARGE beyond). NOT_FOUND
 * when there is none. out is reset first. */
NODISCARD enum err fsx_read_file(const char *path, size_t max, struct buf *out);
/* Writes path.tmp, fsyncs it, renames it over path, fsyncs the folder: after OK the new content
 * survives a power loss; after an error the old one is untouched. Pattern of every checkpoint. */
NODISCARD enum err fsx_replace_durably(const char *path, const void *p, size_t n, mode_t mode);
NODISCARD enum err fsx_sync_dir(const char *path); /* the folder itself */
NODISCARD enum err fsx_fdatasync(int fd);
NODISCARD enum err fsx_mkdir_p(const char *path, mode_t mode);
/* Removes a folder with its files, one level deep or more. NOT_FOUND is OK. */
NODISCARD enum err fsx_remove_tree(const char *path);

/* Fault points: tests set KAFUKA_FAULT="name=action[,name=action]" with action "kill" (SIGKILL to
 * itself), "eio", "enospc", each with an optional ":n" for the nth pass. Without that variable a
 * fault point costs one load. Returns the error to act on, OK mostly. */
NODISCARD enum err fault_point(const char *name);
void fault_init(void); /* reads the variable; call once at start */

#endif
