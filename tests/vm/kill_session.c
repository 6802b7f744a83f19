/* SPDX-License-Identifier: Apache-2.0 */

/* For LD_PRELOAD into wlagent-volumed: kills a session, never the main process, before its Nth call that
 * changes anything outside of it.  N is what the file /run/kill-session holds when the session makes its
 * first such call; without the file nobody is killed.  Volumed's own code knows nothing of this. */

#include <dlfcn.h>
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

static unsigned long read_control(void) {
        unsigned long number = 0;
        FILE *file = fopen(CONTROL, "re");

        if (!file)
                return 0;
        if (fscanf(file, "%lu", &number) != 1)
                number = 0;
        (void)fclose(file);
        return number;
}

static void step(void) {
        static unsigned long left;
        static int ready;

        if (getpid() == main_process)
                return;
        if (!ready) {
                ready = 1;
                left = read_control();
        }
        if (left > 0 && --left == 0)
                (void)kill(getpid(), SIGKILL);
}

EXPORT int ioctl(int fd, unsigned long request, ...) {
        va_list args;

        va_start(args, request);
        void *argument = va_arg(args, void *);
        va_end(args);
        step();
        return NEXT(ioctl)(fd, request, argument);
}

EXPORT int fsync(int fd) {
        step();
        return NEXT(fsync)(fd);
}

EXPORT int ftruncate64(int fd, off64_t size) {
        step();
        return NEXT(ftruncate64)(fd, size);
}

EXPORT int mkdirat(int fd, const char *name, mode_t mode) {
        step();
        return NEXT(mkdirat)(fd, name, mode);
}

EXPORT int renameat(int from_fd, const char *from, int to_fd, const char *to) {
        step();
        return NEXT(renameat)(from_fd, from, to_fd, to);
}

EXPORT int renameat2(int from_fd, const char *from, int to_fd, const char *to, unsigned flags) {
        step();
        return NEXT(renameat2)(from_fd, from, to_fd, to, flags);
}

EXPORT int unlinkat(int fd, const char *name, int flags) {
        step();
        return NEXT(unlinkat)(fd, name, flags);
}

EXPORT ssize_t write(int fd, const void *data, size_t size) {
        step();
        return NEXT(write)(fd, data, size);
}

EXPORT ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at) {
        step();
        return NEXT(pwrite64)(fd, data, size, at);
}

EXPORT ssize_t sendmsg(int fd, const struct msghdr *message, int flags) {
        step();
        return NEXT(sendmsg)(fd, message, flags);
}
