/* SPDX-License-Identifier: Apache-2.0 */

/* For LD_PRELOAD: kills the program before its Nth call that changes the disk, N from KILL_AT_STEP. */

#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))

static void step(void) {
        static unsigned long left;
        static int ready;

        if (!ready) {
                const char *text = getenv("KILL_AT_STEP");

                left = text ? strtoul(text, NULL, 10) : 0;
                ready = 1;
        }
        if (left > 0 && --left == 0)
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
