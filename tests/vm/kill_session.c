/* SPDX-License-Identifier: Apache-2.0 */

/* For LD_PRELOAD into wlagent-volumed: kills a session, never the main process, before its Nth call that
 * changes anything outside of it, or has that call fail with EIO.  The file /run/kill-session says so, "N kill"
 * or "N fail", when the session makes its first such call, and is removed when the Nth is made; without it
 * nothing happens.  Volumed's own code knows nothing of this. */

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define EXPORT     __attribute__((visibility("default")))
#define CONTROL    "/run/kill-session"
#define NEXT(name) ((__typeof__(name) *)dlsym(RTLD_NEXT, #name))

static pid_t main_process;

static __attribute__((constructor)) void remember(void) {
        main_process = getpid();
}

static unsigned long left;
static int failing;

static void read_control(void) {
        char word[8] = "";
        FILE *file = fopen(CONTROL, "re");

        if (!file)
                return;
        if (fscanf(file, "%lu %7s", &left, word) != 2)
                left = 0;
        failing = word[0] == 'f';
        (void)fclose(file);
}

/* Whether the call is to fail. */
static int step(void) {
        static int ready;

        if (getpid() == main_process)
                return 0;
        if (!ready) {
                ready = 1;
                read_control();
        }
        if (left == 0 || --left > 0)
                return 0;
        (void)unlink(CONTROL);
        if (!failing)
                (void)kill(getpid(), SIGKILL);
        errno = EIO;
        return 1;
}

EXPORT int ioctl(int fd, unsigned long request, ...) {
        va_list args;

        va_start(args, request);
        void *argument = va_arg(args, void *);
        va_end(args);
        if (step())
                return -1;
        return NEXT(ioctl)(fd, request, argument);
}

EXPORT int fsync(int fd) {
        if (step())
                return -1;
        return NEXT(fsync)(fd);
}

EXPORT int ftruncate64(int fd, off64_t size) {
        if (step())
                return -1;
        return NEXT(ftruncate64)(fd, size);
}

EXPORT int mkdirat(int fd, const char *name, mode_t mode) {
        if (step())
                return -1;
        return NEXT(mkdirat)(fd, name, mode);
}

EXPORT int renameat(int from_fd, const char *from, int to_fd, const char *to) {
        if (step())
                return -1;
        return NEXT(renameat)(from_fd, from, to_fd, to);
}

EXPORT int renameat2(int from_fd, const char *from, int to_fd, const char *to, unsigned flags) {
        if (step())
                return -1;
        return NEXT(renameat2)(from_fd, from, to_fd, to, flags);
}

EXPORT int unlinkat(int fd, const char *name, int flags) {
        if (step())
                return -1;
        return NEXT(unlinkat)(fd, name, flags);
}

EXPORT ssize_t write(int fd, const void *data, size_t size) {
        if (step())
                return -1;
        return NEXT(write)(fd, data, size);
}

EXPORT ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at) {
        if (step())
                return -1;
        return NEXT(pwrite64)(fd, data, size, at);
}

EXPORT ssize_t sendmsg(int fd, const struct msghdr *message, int flags) {
        if (step())
                return -1;
        return NEXT(sendmsg)(fd, message, flags);
}
