/* SPDX-License-Identifier: Apache-2.0 */

/* For LD_PRELOAD: kills the program before its Nth call that changes the disk, N from KILL_AT_STEP; with KILL_WHEN
 * calls count once a file of that name is there. */

#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))

/* Called from several threads. */
static void step(void) {
        static _Atomic long left = -1;
        long unset = -1;

        const char *when = getenv("KILL_WHEN");
        if (when && access(when, F_OK) < 0)
                return;
        if (atomic_load(&left) == unset) {
                const char *text = getenv("KILL_AT_STEP");

                (void)atomic_compare_exchange_strong(&left, &unset,
                                                     text ? (long)strtoul(text, NULL, 10) : 0);
        }
        if (atomic_load(&left) > 0 && atomic_fetch_sub(&left, 1) == 1)
                (void)kill(getpid(), SIGKILL);
}

#define NEXT(name) ((__typeof__(name) *)dlsym(RTLD_NEXT, #name))

EXPORT int fsync(int fd) {
        step();
        return NEXT(fsync)(fd);
}

EXPORT int fchmod(int fd, mode_t mode) {
        step();
        return NEXT(fchmod)(fd, mode);
}

EXPORT int fchown(int fd, uid_t uid, gid_t gid) {
        step();
        return NEXT(fchown)(fd, uid, gid);
}

EXPORT int mkdirat(int fd, const char *name, mode_t mode) {
        step();
        return NEXT(mkdirat)(fd, name, mode);
}

EXPORT int symlinkat(const char *target, int fd, const char *name) {
        step();
        return NEXT(symlinkat)(target, fd, name);
}

EXPORT int linkat(int from_fd, const char *from, int to_fd, const char *to, int flags) {
        step();
        return NEXT(linkat)(from_fd, from, to_fd, to, flags);
}

EXPORT int renameat(int from_fd, const char *from, int to_fd, const char *to) {
        step();
        return NEXT(renameat)(from_fd, from, to_fd, to);
}

EXPORT int unlinkat(int fd, const char *name, int flags) {
        step();
        return NEXT(unlinkat)(fd, name, flags);
}

EXPORT ssize_t write(int fd, const void *data, size_t size) {
        step();
        return NEXT(write)(fd, data, size);
}

EXPORT int renameat2(int from_fd, const char *from, int to_fd, const char *to, unsigned flags) {
        step();
        return NEXT(renameat2)(from_fd, from, to_fd, to, flags);
}

/* What programs with 64-bit offsets call. */
EXPORT ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at) {
        step();
        return NEXT(pwrite64)(fd, data, size, at);
}

EXPORT int ftruncate64(int fd, off64_t size) {
        step();
        return NEXT(ftruncate64)(fd, size);
}

EXPORT int fallocate64(int fd, int mode, off64_t at, off64_t size) {
        step();
        return NEXT(fallocate64)(fd, mode, at, size);
}
