/* Counts the file operations of a process below a folder, and makes one of them fail, or kills the process there.
 *
 * Loaded with LD_PRELOAD, it stands between the process and the C library, so that it also sees operations of code in C, C++ and Rust
 * (safetensors, pyarrow, torch) that Python's audit hooks do not. It does nothing until `fault_arm` is called.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum { COUNT, KILL, KILL_IN_WRITE, FULL_FROM, FAIL_FROM, SIGNAL };
enum { NEEDS_SPACE = 1, IS_WRITE = 2 };

static char below[PATH_MAX];
static size_t below_length;
static long at, value;
static int what = COUNT, log_fd = -1, armed;
static atomic_long operations;

void fault_arm(const char *folder, int what_to_do, long at_operation, long signal_or_errno, int log) {
    snprintf(below, sizeof below, "%s", folder);
    below_length = strlen(below);
    what = what_to_do, at = at_operation, value = signal_or_errno, log_fd = log;
    atomic_store(&operations, 0);
    armed = 1;
}

static int inside(const char *path) {
    return !strncmp(path, below, below_length) && (path[below_length] == '/' || path[below_length] == 0);
}

/* Write the absolute path of a file descriptor, or of a path relative to one, to `full`. */
static void locate(int directory, const char *path, char *full) {
    char link[64], base[PATH_MAX];
    if (path && path[0] == '/') {
        snprintf(full, PATH_MAX, "%s", path);
        return;
    }
    if (directory == AT_FDCWD) {
        if (syscall(SYS_getcwd, base, sizeof base) < 0) base[0] = 0;
    } else {
        snprintf(link, sizeof link, "/proc/self/fd/%d", directory);
        long length = syscall(SYS_readlinkat, AT_FDCWD, link, base, sizeof base - 1);
        base[length > 0 ? length : 0] = 0;
    }
    if (path) snprintf(full, PATH_MAX, "%s/%s", base, path);
    else snprintf(full, PATH_MAX, "%s", base);
}

/* Count an operation. Return 0 if it shall go on, -1 with errno if it shall fail; 1 if half of a write shall be its last. */
static int operation(const char *name, int directory, const char *path, int traits) {
    char full[PATH_MAX], line[PATH_MAX + 64];
    int saved = errno;
    if (!armed) return 0;
    locate(directory, path, full);
    errno = saved;
    if (!inside(full)) return 0;
    long number = atomic_fetch_add(&operations, 1) + 1;
    if (log_fd >= 0) {
        int length = snprintf(line, sizeof line, "%ld %s %s\n", number, name, full);
        syscall(SYS_write, log_fd, line, length);
        errno = saved;
    }
    if (number >= at && (what == FAIL_FROM || (what == FULL_FROM && traits & NEEDS_SPACE))) return errno = (int)value, -1;
    if (number != at) return 0;
    if (what == KILL || (what == KILL_IN_WRITE && !(traits & IS_WRITE))) syscall(SYS_kill, getpid(), SIGKILL);
    if (what == KILL_IN_WRITE) return 1;
    if (what == SIGNAL) raise((int)value), errno = saved;
    return 0;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define CHANGES(flags) ((flags) & (O_WRONLY | O_RDWR | O_CREAT | O_TRUNC))

#define OPEN(name, directory, parameters, arguments)                                                                       \
    int name parameters {                                                                                                 \
        mode_t mode = 0;                                                                                                  \
        if (flags & (O_CREAT | __O_TMPFILE)) {                                                                            \
            va_list rest;                                                                                                 \
            va_start(rest, flags), mode = va_arg(rest, mode_t), va_end(rest);                                             \
        }                                                                                                                 \
        if (CHANGES(flags) && operation("open", directory, path, flags & O_CREAT ? NEEDS_SPACE : 0)) return -1;           \
        return REAL(name) arguments;                                                                                      \
    }
OPEN(open, AT_FDCWD, (const char *path, int flags, ...), (path, flags, mode))
OPEN(open64, AT_FDCWD, (const char *path, int flags, ...), (path, flags, mode))
OPEN(openat, directory, (int directory, const char *path, int flags, ...), (directory, path, flags, mode))
OPEN(openat64, directory, (int directory, const char *path, int flags, ...), (directory, path, flags, mode))

#define FOPEN(name)                                                                                                       \
    FILE *name(const char *path, const char *mode) {                                                                      \
        if (strpbrk(mode, "wa+") && operation("open", AT_FDCWD, path, NEEDS_SPACE)) return NULL;                          \
        return REAL(name)(path, mode);                                                                                    \
    }
FOPEN(fopen)
FOPEN(fopen64)

#define WRITE(name, parameters, arguments, half)                                                                          \
    ssize_t name parameters {                                                                                             \
        int verdict = operation("write", file, NULL, NEEDS_SPACE | IS_WRITE);                                             \
        if (verdict < 0) return -1;                                                                                       \
        if (verdict > 0) half, syscall(SYS_kill, getpid(), SIGKILL);                                                      \
        return REAL(name) arguments;                                                                                      \
    }
WRITE(write, (int file, const void *bytes, size_t size), (file, bytes, size), syscall(SYS_write, file, bytes, size / 2))
WRITE(pwrite64, (int file, const void *bytes, size_t size, off64_t offset), (file, bytes, size, offset),
      syscall(SYS_pwrite64, file, bytes, size / 2, offset))
WRITE(writev, (int file, const struct iovec *parts, int count), (file, parts, count),
      syscall(SYS_write, file, parts[0].iov_base, parts[0].iov_len / 2))

#define CHANGE(result, name, shown, directory, path, traits, parameters, arguments)                                      \
    result name parameters {                                                                                              \
        if (operation(shown, directory, path, traits)) return -1;                                                         \
        return REAL(name) arguments;                                                                                      \
    }
CHANGE(int, rename, "rename", AT_FDCWD, to, 0, (const char *from, const char *to), (from, to))
CHANGE(int, renameat, "rename", new_dir, to, 0, (int old_dir, const char *from, int new_dir, const char *to), (old_dir, from, new_dir, to))
CHANGE(int, renameat2, "rename", new_dir, to, 0, (int old_dir, const char *from, int new_dir, const char *to, unsigned flags),
       (old_dir, from, new_dir, to, flags))
CHANGE(int, unlink, "unlink", AT_FDCWD, path, 0, (const char *path), (path))
CHANGE(int, unlinkat, "unlink", directory, path, 0, (int directory, const char *path, int flags), (directory, path, flags))
CHANGE(int, mkdir, "mkdir", AT_FDCWD, path, NEEDS_SPACE, (const char *path, mode_t mode), (path, mode))
CHANGE(int, mkdirat, "mkdir", directory, path, NEEDS_SPACE, (int directory, const char *path, mode_t mode), (directory, path, mode))
CHANGE(int, rmdir, "rmdir", AT_FDCWD, path, 0, (const char *path), (path))
CHANGE(int, link, "link", AT_FDCWD, to, NEEDS_SPACE, (const char *from, const char *to), (from, to))
CHANGE(int, symlink, "symlink", AT_FDCWD, to, NEEDS_SPACE, (const char *from, const char *to), (from, to))
CHANGE(int, ftruncate64, "truncate", file, NULL, NEEDS_SPACE, (int file, off64_t size), (file, size))
CHANGE(int, truncate64, "truncate", AT_FDCWD, path, NEEDS_SPACE, (const char *path, off64_t size), (path, size))
CHANGE(int, fsync, "fsync", file, NULL, 0, (int file), (file))
CHANGE(int, fdatasync, "fsync", file, NULL, 0, (int file), (file))
CHANGE(int, chmod, "chmod", AT_FDCWD, path, 0, (const char *path, mode_t mode), (path, mode))
CHANGE(int, fchmod, "chmod", file, NULL, 0, (int file, mode_t mode), (file, mode))
CHANGE(int, fchmodat, "chmod", directory, path, 0, (int directory, const char *path, mode_t mode, int flags), (directory, path, mode, flags))
CHANGE(ssize_t, sendfile64, "write", to, NULL, NEEDS_SPACE, (int to, int from, off64_t *offset, size_t count), (to, from, offset, count))
CHANGE(ssize_t, copy_file_range, "write", to, NULL, NEEDS_SPACE,
       (int from, off64_t *in, int to, off64_t *out, size_t count, unsigned flags), (from, in, to, out, count, flags))
