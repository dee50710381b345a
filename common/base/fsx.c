/* SPDX-License-Identifier: Apache-2.0 */
/* Files and fault points. */
#include "common/base/fsx.h"

#include "common/base/slog.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

enum { STREAM_READ_BYTES = 65536 };

/* ---- descriptors */
static _Atomic int spares[FSX_SPARES];  /* 0: none; a descriptor + 1 */
static bool (*_Atomic shed_file)(void); /* NULL: nobody waits */
static _Atomic int optional_end;        /* descriptors from here on are not for optional files */
static _Thread_local bool never_waits;

void fsx_spares_refill(void)
{
    if (atomic_load_explicit(&shed_file, memory_order_relaxed) == NULL)
        return;
    for (size_t i = 0; i < FSX_SPARES; i++) {
        int none = 0;
        if (atomic_load(&spares[i]) != 0)
            continue;
        int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
        if (fd < 0)
            return; /* the next call tries again */
        if (!atomic_compare_exchange_strong(&spares[i], &none, fd + 1))
            (void)close(fd);
    }
}

static bool use_spare(void)
{
    for (size_t i = 0; i < FSX_SPARES; i++) {
        int spare = atomic_exchange(&spares[i], 0);
        if (spare == 0)
            continue;
        (void)close(spare - 1);
        return true;
    }
    return false;
}

/* open(2) returns the lowest descriptor that is free: with one near the limit, few are left. */
static int optional_end_of(rlim_t limit)
{
    enum { SHARE = 8 };
    int n = limit > INT32_MAX ? INT32_MAX : (int)limit;

    return n - i32_min(FSX_RESERVE, n / SHARE);
}

void fsx_spares_keep(bool (*shed)(void))
{
    struct rlimit limit;

    ASSERT(shed != NULL);
    MUST(getrlimit(RLIMIT_NOFILE, &limit) == 0);
    atomic_store(&optional_end, optional_end_of(limit.rlim_cur));
    atomic_store(&shed_file, shed);
    fsx_spares_refill();
}

void fsx_spares_drop(void)
{
    atomic_store(&shed_file, NULL);
    while (use_spare())
        ;
}

bool fsx_thread_may_wait(bool may)
{
    bool did = !never_waits;

    never_waits = !may;
    return did;
}

/* After a failure with EMFILE or ENFILE. False: there is nothing left to try; errno may be
 * another's by then. */
static bool look_for_descriptor(const char *path, bool is_optional)
{
    enum { PAUSE_MS = 10 };
    bool (*shed)(void) = atomic_load(&shed_file);

    if (shed == NULL)
        return false;
    if (shed() || (!is_optional && use_spare()))
        return true;
    if (is_optional)
        return false;
    SLOG_EVERY(1000, ERROR, "file",
               "no file descriptor is free to open a file: raise the limit on open files "
               "(ulimit -n, LimitNOFILE)",
               KV_S("path", path), KV_S("then", never_waits ? "fails" : "waits"));
    if (never_waits)
        return false;
    (void)poll(NULL, 0, PAUSE_MS); /* another thread may close something */
    return true;
}

/* The same; errno stays: the caller would take another's for that of its file, say ENOENT. */
static bool find_descriptor(const char *path, bool is_optional)
{
    int errnum = errno;

    bool is_found = look_for_descriptor(path, is_optional);
    errno = errnum;
    return is_found;
}

/* As open(2); a descriptor of the reserve is none for an optional file. */
static int open_once(const char *path, int flags, mode_t mode, bool is_optional)
{
    int fd = open(path, flags | O_CLOEXEC, mode);

    if (!is_optional || fd < atomic_load(&optional_end) || atomic_load(&shed_file) == NULL)
        return fd;
    (void)close(fd);
    errno = EMFILE;
    return -1;
}

static enum err open_file(const char *path, int flags, mode_t mode, bool is_optional, int *fd_out)
{
    do
        *fd_out = open_once(path, flags, mode, is_optional);
    while (*fd_out < 0 && (errno == EINTR || ((errno == EMFILE || errno == ENFILE) &&
                                              find_descriptor(path, is_optional))));
    return *fd_out >= 0 ? ERR_OK : err_from_errno(errno);
}

enum err fsx_open(const char *path, int flags, mode_t mode, int *fd_out)
{
    return open_file(path, flags, mode, false, fd_out);
}

enum err fsx_open_optional(const char *path, int flags, int *fd_out)
{
    return open_file(path, flags, 0, true, fd_out);
}

enum err fsx_opendir(const char *path, DIR **dir_out)
{
    do
        *dir_out = opendir(path);
    while (*dir_out == NULL && (errno == EMFILE || errno == ENFILE) &&
           find_descriptor(path, false));
    return *dir_out != NULL ? ERR_OK : err_from_errno(errno);
}

enum err fsx_pwritev_all(int fd, struct iovec *iov, int iov_count, int64_t at)
{
    while (iov_count > 0) {
        if (iov->iov_len == 0) {
            iov++;
            iov_count--;
            continue;
        }
        ssize_t n = pwritev(fd, iov, iov_count, at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_from_errno(errno);
        if (n == 0)
            return err_from_errno(EIO);
        at += n;
        while (iov_count > 0 && (size_t)n >= iov->iov_len) {
            n -= (ssize_t)iov->iov_len;
            iov++;
            iov_count--;
        }
        if (iov_count > 0) {
            iov->iov_base = (char *)iov->iov_base + n;
            iov->iov_len -= (size_t)n;
        }
    }
    return ERR_OK;
}

enum err fsx_pwrite_all(int fd, const void *p, size_t n, int64_t at)
{
    const char *c = p;

    while (n > 0) {
        ssize_t done = pwrite(fd, c, n, at);
        if (done < 0 && errno == EINTR)
            continue;
        if (done < 0)
            return err_from_errno(errno);
        if (done == 0)
            return err_from_errno(EIO);
        c += done;
        at += done;
        n -= (size_t)done;
    }
    return ERR_OK;
}

enum err fsx_pread(int fd, void *p, size_t n, int64_t at, size_t *got_out)
{
    char *c = p;

    *got_out = 0;
    while (*got_out < n) {
        ssize_t got = pread(fd, c + *got_out, n - *got_out, at + (int64_t)*got_out);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return err_from_errno(errno);
        if (got == 0)
            break;
        *got_out += (size_t)got;
    }
    return ERR_OK;
}

/* A pipe, a terminal or a file of /proc tells no size: until its end, at most max bytes. */
static enum err read_stream(int fd, size_t max, struct buf *out)
{
    for (;;) {
        ssize_t got;

        buf_reserve(out, STREAM_READ_BYTES);
        got = read(fd, out->p + out->len, STREAM_READ_BYTES);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return err_from_errno(errno);
        if (got == 0)
            return ERR_OK;
        if ((size_t)got > max - out->len)
            return ERR_TOO_LARGE;
        out->len += (size_t)got;
    }
}

enum err fsx_read_file(const char *path, size_t max, struct buf *out)
{
    struct stat st;
    size_t got;
    int fd;

    out->len = 0;
    enum err rc = fsx_open(path, O_RDONLY, 0, &fd);
    if (rc != ERR_OK)
        return rc;
    if (fstat(fd, &st) != 0) {
        rc = err_from_errno(errno);
        goto out;
    }
    if (!S_ISREG(st.st_mode)) {
        rc = read_stream(fd, max, out);
        goto out;
    }
    if (st.st_size < 0 || (uint64_t)st.st_size > max) {
        rc = ERR_TOO_LARGE;
        goto out;
    }
    buf_reserve(out, (size_t)st.st_size + 1);
    rc = fsx_pread(fd, out->p, (size_t)st.st_size, 0, &got);
    if (rc == ERR_OK)
        out->len = got;
out:
    (void)close(fd);
    return rc;
}

enum err fsx_sync_dir(const char *path)
{
    int fd;

    enum err rc = fsx_open(path, O_RDONLY | O_DIRECTORY, 0, &fd);
    if (rc != ERR_OK)
        return rc;
    if (fsync(fd) != 0)
        rc = err_from_errno(errno);
    (void)close(fd);
    return rc;
}

enum err fsx_fdatasync(int fd)
{
    return fdatasync(fd) == 0 ? ERR_OK : err_from_errno(errno);
}

static enum err sync_parent(const char *path)
{
    const char *slash = strrchr(path, '/');
    char *dir = slash == NULL   ? xstrdup(".")
                : slash == path ? xstrdup("/")
                                : xstrndup(path, (size_t)(slash - path));
    enum err rc = fsx_sync_dir(dir);
    mem_free(dir);
    return rc;
}

enum err fsx_replace_durably(const char *path, const void *p, size_t n, mode_t mode)
{
    char *tmp = xasprintf("%s.tmp", path);
    int fd;

    enum err rc = fsx_open(tmp, O_WRONLY | O_CREAT | O_TRUNC, mode, &fd);
    if (rc != ERR_OK)
        goto out;
    rc = fsx_pwrite_all(fd, p, n, 0);
    if (rc == ERR_OK)
        rc = fault_point("fsx.replace.before_sync");
    if (rc == ERR_OK && fsync(fd) != 0)
        rc = err_from_errno(errno);
    if (close(fd) != 0 && rc == ERR_OK)
        rc = err_from_errno(errno);
    if (rc == ERR_OK && rename(tmp, path) != 0)
        rc = err_from_errno(errno);
    if (rc == ERR_OK)
        rc = sync_parent(path);
out:
    if (rc != ERR_OK)
        (void)unlink(tmp);
    mem_free(tmp);
    return rc;
}

enum err fsx_mkdir_p(const char *path, mode_t mode)
{
    char *copy = xstrdup(path);
    enum err rc = ERR_OK;

    for (char *c = copy + 1; rc == ERR_OK; c++) {
        if (*c != '/' && *c != 0)
            continue;
        char saved = *c;
        *c = 0;
        if (mkdir(copy, mode) != 0 && errno != EEXIST)
            rc = err_from_errno(errno);
        *c = saved;
        if (saved == 0)
            break;
    }
    mem_free(copy);
    return rc;
}

enum err fsx_remove_tree(const char *path)
{
    struct dirent *e;
    DIR *d;

    enum err rc = fsx_opendir(path, &d);
    if (rc != ERR_OK)
        return rc == ERR_NOT_FOUND ? ERR_OK : rc;
    while (rc == ERR_OK && (e = readdir(d)) != NULL) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        char *sub = xasprintf("%s/%s", path, e->d_name);
        if (unlink(sub) != 0) {
            if (errno == EISDIR || errno == EPERM)
                rc = fsx_remove_tree(sub);
            else if (errno != ENOENT)
                rc = err_from_errno(errno);
        }
        mem_free(sub);
    }
    (void)closedir(d);
    if (rc == ERR_OK && rmdir(path) != 0 && errno != ENOENT)
        rc = err_from_errno(errno);
    return rc;
}

/* ---- fault points */
enum { FAULTS_MAX = 16 };
static struct fault {
    char name[64];
    enum { FAULT_KILL, FAULT_EIO, FAULT_ENOSPC } action;
    atomic_int passes_left;
} faults[FAULTS_MAX];
static int fault_count;

static bool fault_parse(char *spec, struct fault *f)
{
    char *eq = strchr(spec, '=');
    if (eq == NULL || (size_t)(eq - spec) >= sizeof f->name)
        return false;
    memcpy(f->name, spec, (size_t)(eq - spec));
    f->name[eq - spec] = 0;
    char *colon = strchr(eq, ':');
    long nth = colon == NULL ? 1 : strtol(colon + 1, NULL, 10);
    if (colon != NULL)
        *colon = 0;
    atomic_init(&f->passes_left, (int)nth);
    if (strcmp(eq + 1, "kill") == 0)
        f->action = FAULT_KILL;
    else if (strcmp(eq + 1, "eio") == 0)
        f->action = FAULT_EIO;
    else if (strcmp(eq + 1, "enospc") == 0)
        f->action = FAULT_ENOSPC;
    else
        return false;
    return true;
}

void fault_init(void)
{
    const char *env = getenv("KAFUKA_FAULT");
    char *save = NULL;

    fault_count = 0;
    if (env == NULL || *env == 0)
        return;
    char *copy = xstrdup(env);
    for (char *s = strtok_r(copy, ",", &save); s != NULL; s = strtok_r(NULL, ",", &save)) {
        if (fault_count == FAULTS_MAX || !fault_parse(s, &faults[fault_count])) {
            SLOG(WARN, "fault", "fault point not understood", KV_S("spec", s));
            continue;
        }
        SLOG(WARN, "fault", "fault point armed", KV_S("name", faults[fault_count].name));
        fault_count++;
    }
    mem_free(copy);
}

enum err fault_point(const char *name)
{
    if (LIKELY(fault_count == 0))
        return ERR_OK;
    for (int i = 0; i < fault_count; i++) {
        struct fault *f = &faults[i];
        if (strcmp(f->name, name) != 0 || atomic_fetch_sub(&f->passes_left, 1) != 1)
            continue;
        SLOG(WARN, "fault", "fault point reached", KV_S("name", name));
        if (f->action == FAULT_KILL)
            (void)raise(SIGKILL);
        return f->action == FAULT_ENOSPC ? ERR_NO_SPACE : ERR_IO;
    }
    return ERR_OK;
}
