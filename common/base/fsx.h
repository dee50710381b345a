/* SPDX-License-Identifier: Apache-2.0 */
/* fsx - files: whole reads and writes, durable replacement, and named fault points for tests.
 * Blocking; never call the syncing ones on an event loop. Errors are for the caller to act on: a
 * failed write or sync is never retried here. */
#ifndef COMMON_BASE_FSX_H
#define COMMON_BASE_FSX_H

#include "common/base/base.h"

#include <sys/uio.h>

/* flags as for open(2); O_CLOEXEC is added. fd_out -1 on error. */
NODISCARD enum err fsx_open(const char *path, int flags, mode_t mode, int *fd_out);
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
