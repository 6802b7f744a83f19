/* SPDX-License-Identifier: Apache-2.0 */
#include "qemu_files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PATH_SIZE   512
#define NUMBER_SIZE 16

static const char unusual_name[] = "its name is unusual";

static bool make_path(char path[PATH_SIZE], const char *directory, const char *name,
                      const char *suffix) {
        int length = snprintf(path, PATH_SIZE, "%s/%s%s", directory, name, suffix);

        return !strchr(name, '/') && length > 0 && length < PATH_SIZE;
}

static const char *read_pid(const char *domain, char ret[NUMBER_SIZE]) {
        char path[PATH_SIZE];

        if (!make_path(path, HOOK_PIDS, domain, ".pid"))
                return unusual_name;
        int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
        if (fd < 0)
                return strerrordesc_np(errno);
        ssize_t size = read(fd, ret, NUMBER_SIZE - 1);
        (void)close(fd);
        if (size <= 0)
                return "libvirt's PID file is empty";
        ret[size] = '\0';
        ret[strspn(ret, "0123456789")] = '\0';
        return ret[0] == '\0' ? "libvirt's PID file holds no number" : NULL;
}

static bool is_open_for_writing(DIR *fds, const char *name, dev_t device) {
        struct stat file;
        struct stat link;

        return fstatat(dirfd(fds), name, &file, 0) == 0 && S_ISBLK(file.st_mode) &&
               file.st_rdev == device &&
               fstatat(dirfd(fds), name, &link, AT_SYMLINK_NOFOLLOW) == 0 &&
               (link.st_mode & S_IWUSR) != 0;
}

const char *qemu_writes_to(const char *domain, const char *volume, bool *ret) {
        char pid[NUMBER_SIZE];
        char path[PATH_SIZE];
        struct stat status;

        *ret = false;
        if (!make_path(path, "/dev/mapper", volume, ""))
                return unusual_name;
        if (stat(path, &status) < 0)
                return strerrordesc_np(errno);
        const char *reason = read_pid(domain, pid);
        if (reason)
                return reason;

        (void)snprintf(path, sizeof(path), "/proc/%s/fd", pid);
        DIR *fds = opendir(path);
        if (!fds)
                return strerrordesc_np(errno);
        for (const struct dirent *entry = readdir(fds); entry && !*ret; entry = readdir(fds))
                *ret = is_open_for_writing(fds, entry->d_name, status.st_rdev);
        (void)closedir(fds);
        return NULL;
}
