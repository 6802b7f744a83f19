/* SPDX-License-Identifier: Apache-2.0 */

/* For LD_PRELOAD: a disk that is full from the Nth call on that takes room, N from FULL_AT_STEP.  What gives room
 * back, or takes none, goes on. */

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))

static bool is_full(void) {
        static _Atomic unsigned long taken;
        const char *text = getenv("FULL_AT_STEP");
        unsigned long step = text ? strtoul(text, NULL, 10) : 0;

        return step > 0 && atomic_fetch_add(&taken, 1) + 1 >= step;
}

static bool is_file(int fd) {
        struct stat facts;

        return fstat(fd, &facts) == 0 && S_ISREG(facts.st_mode);
}

static int no_room(void) {
        errno = ENOSPC;
        return -1;
}

#define NEXT(name) ((__typeof__(name) *)dlsym(RTLD_NEXT, #name))

EXPORT ssize_t write(int fd, const void *data, size_t size) {
        return is_file(fd) && is_full() ? no_room() : NEXT(write)(fd, data, size);
}

/* The first that many file systems tell it by. */
EXPORT int fsync(int fd) {
        return is_file(fd) && is_full() ? no_room() : NEXT(fsync)(fd);
}

EXPORT int mkdirat(int fd, const char *name, mode_t mode) {
        struct stat facts;

        if (fstatat(fd, name, &facts, AT_SYMLINK_NOFOLLOW) < 0 && is_full())
                return no_room();
        return NEXT(mkdirat)(fd, name, mode);
}

EXPORT int symlinkat(const char *target, int fd, const char *name) {
        return is_full() ? no_room() : NEXT(symlinkat)(target, fd, name);
}

/* What programs with 64-bit offsets call. */
EXPORT int openat64(int fd, const char *name, int flags, ...) {
        mode_t mode = 0;

        if (flags & O_CREAT) {
                va_list arguments;

                va_start(arguments, flags);
                mode = va_arg(arguments, mode_t);
                va_end(arguments);
                if (is_full())
                        return no_room();
        }
        return NEXT(openat64)(fd, name, flags, mode);
}
