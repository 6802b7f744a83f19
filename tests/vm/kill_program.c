/* SPDX-License-Identifier: Apache-2.0 */

/* For LD_PRELOAD into wlagent's programs: kills one before its Nth call that others can notice, has that
 * call fail with EIO, or cuts the machine's power there.  Of wlagent-volumed that is a session; the main
 * process makes no step, and is killed with the session by "all".  The file /run/kill/PROGRAM says so,
 * "N kill", "N all", "N fail" or "N cut"; counting begins with the first call after it has appeared, and ends
 * when it is removed, which the Nth call does.  Without it nothing happens.  The programs know nothing of
 * this. */

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

#define EXPORT     __attribute__((visibility("default")))
#define NEXT(name) ((__typeof__(name) *)dlsym(RTLD_NEXT, #name))

static char control[64];
static pid_t spared;

static __attribute__((constructor)) void remember(void) {
        (void)snprintf(control, sizeof(control), "/run/kill/%s", program_invocation_short_name);
        if (strcmp(program_invocation_short_name, "wlagent-volumed") == 0)
                spared = getpid();
}

static unsigned long left;
static char what; /* the first letter */

/* Whether the count has begun. */
static int read_control(void) {
        char word[8] = "";
        FILE *file = fopen(control, "re");

        if (!file)
                return 0;
        if (fscanf(file, "%lu %7s", &left, word) != 2)
                left = 0;
        what = word[0];
        (void)fclose(file);
        return left > 0;
}

static void strike(void) {
        if (what == 'a' && spared > 0)
                (void)kill(spared, SIGKILL);
        if (what == 'k' || what == 'a')
                (void)kill(getpid(), SIGKILL);
        if (what == 'c') {
                FILE *trigger = fopen("/proc/sysrq-trigger", "we");

                if (trigger) {
                        (void)fputc('b', trigger);
                        (void)fflush(trigger);
                }
                for (;;)
                        (void)pause();
        }
        errno = EIO;
}

/* Whether the call is to fail. */
static int step(void) {
        static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
        static int counting;
        int reached = 0;

        if (getpid() == spared)
                return 0;
        (void)pthread_mutex_lock(&mutex);
        if (!counting)
                counting = read_control();
        if (counting && --left == 0)
                reached = unlink(control) == 0;
        if (left == 0 || access(control, F_OK) < 0)
                counting = 0;
        (void)pthread_mutex_unlock(&mutex);
        if (reached)
                strike();
        return reached;
}

/* Of a file that it makes, which is what has a mode. */
static int open_at(int fd, const char *name, int flags, va_list args) {
        int makes = (flags & (O_CREAT | __O_TMPFILE)) != 0;
        mode_t mode = makes ? va_arg(args, mode_t) : 0;

        if (makes && step())
                return -1;
        return NEXT(openat64)(fd, name, flags, mode);
}

EXPORT int open64(const char *name, int flags, ...) {
        va_list args;

        va_start(args, flags);
        int fd = open_at(AT_FDCWD, name, flags, args);
        va_end(args);
        return fd;
}

EXPORT int openat64(int at, const char *name, int flags, ...) {
        va_list args;

        va_start(args, flags);
        int fd = open_at(at, name, flags, args);
        va_end(args);
        return fd;
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

EXPORT ssize_t recvmsg(int fd, struct msghdr *message, int flags) {
        if (step())
                return -1;
        return NEXT(recvmsg)(fd, message, flags);
}

EXPORT ssize_t send(int fd, const void *data, size_t size, int flags) {
        if (step())
                return -1;
        return NEXT(send)(fd, data, size, flags);
}

EXPORT ssize_t recv(int fd, void *data, size_t size, int flags) {
        if (step())
                return -1;
        return NEXT(recv)(fd, data, size, flags);
}

EXPORT int connect(int fd, const struct sockaddr *address, socklen_t size) {
        if (step())
                return -1;
        return NEXT(connect)(fd, address, size);
}

EXPORT int linkat(int from_fd, const char *from, int to_fd, const char *to, int flags) {
        if (step())
                return -1;
        return NEXT(linkat)(from_fd, from, to_fd, to, flags);
}

EXPORT int fdatasync(int fd) {
        if (step())
                return -1;
        return NEXT(fdatasync)(fd);
}

EXPORT int fallocate64(int fd, int mode, off64_t at, off64_t size) {
        if (step())
                return -1;
        return NEXT(fallocate64)(fd, mode, at, size);
}

EXPORT int fchmod(int fd, mode_t mode) {
        if (step())
                return -1;
        return NEXT(fchmod)(fd, mode);
}

EXPORT int fchmodat(int fd, const char *name, mode_t mode, int flags) {
        if (step())
                return -1;
        return NEXT(fchmodat)(fd, name, mode, flags);
}

EXPORT int fchown(int fd, uid_t uid, gid_t gid) {
        if (step())
                return -1;
        return NEXT(fchown)(fd, uid, gid);
}

EXPORT int fchownat(int fd, const char *name, uid_t uid, gid_t gid, int flags) {
        if (step())
                return -1;
        return NEXT(fchownat)(fd, name, uid, gid, flags);
}

EXPORT int fsetxattr(int fd, const char *name, const void *value, size_t size, int flags) {
        if (step())
                return -1;
        return NEXT(fsetxattr)(fd, name, value, size, flags);
}

EXPORT int futimens(int fd, const struct timespec times[2]) {
        if (step())
                return -1;
        return NEXT(futimens)(fd, times);
}

EXPORT int mkdir(const char *name, mode_t mode) {
        if (step())
                return -1;
        return NEXT(mkdir)(name, mode);
}

EXPORT int posix_spawn(pid_t *pid, const char *path, const posix_spawn_file_actions_t *actions,
                       const posix_spawnattr_t *attributes, char *const argv[],
                       char *const envp[]) {
        if (step())
                return EIO;
        return NEXT(posix_spawn)(pid, path, actions, attributes, argv, envp);
}

/* Of those that have no function of their own only what adds, moves and removes keys of the kernel. */
EXPORT long syscall(long number, ...) {
        long argument[6];
        va_list args;

        va_start(args, number);
        for (size_t i = 0; i < 6; i++)
                argument[i] = va_arg(args, long);
        va_end(args);
        if ((number == SYS_add_key || number == SYS_keyctl || number == SYS_request_key) && step())
                return -1;
        return NEXT(syscall)(number, argument[0], argument[1], argument[2], argument[3],
                             argument[4], argument[5]);
}
