/* SPDX-License-Identifier: Apache-2.0 */
#include "volumed_double_directory.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const char *double_directory;

void double_die(const char *what) {
        (void)fprintf(stderr, "volumed_double: %s: %s\n", what, strerror(errno));
        _exit(EXIT_FAILURE);
}

const char *double_path(const char *folder, const char *name, const char *suffix) {
        static char paths[4][4096];
        static unsigned next;
        char *path = paths[next++ % 4];

        (void)snprintf(path, sizeof(paths[0]), "%s/%s%s%s%s", double_directory, folder,
                       name[0] ? "/" : "", name, suffix);
        return path;
}

void double_note(const char *text, const char *object) {
        char line[4096];
        int fd = open(double_path("order", "", ""), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC,
                      0644);

        (void)snprintf(line, sizeof(line), "%s %s\n", text, object);
        if (fd < 0 || write(fd, line, strlen(line)) < 0)
                double_die("order");
        (void)close(fd);
}

bool double_exists(const char *path) {
        return access(path, F_OK) == 0;
}

unsigned double_count_leases(const char *name) {
        DIR *leases = opendir(double_path("leases", "", ""));
        size_t size = strlen(name);
        unsigned count = 0;

        if (!leases)
                double_die("leases");
        for (struct dirent *entry = readdir(leases); entry; entry = readdir(leases))
                count += strncmp(entry->d_name, name, size) == 0 && entry->d_name[size] == '.';
        (void)closedir(leases);
        return count;
}

unsigned double_count_open(const char *name) {
        return double_count_leases(name) + double_exists(double_path("qemu", name, ""));
}

void double_remove_leases(pid_t pid) {
        DIR *leases = opendir(double_path("leases", "", ""));
        char suffix[16];

        if (!leases)
                double_die("leases");
        (void)snprintf(suffix, sizeof(suffix), ".%d", (int)pid);
        for (struct dirent *entry = readdir(leases); entry; entry = readdir(leases)) {
                const char *dot = strchr(entry->d_name, '.');

                if (dot && dot != entry->d_name && (pid == 0 || strcmp(dot, suffix) == 0))
                        (void)unlinkat(dirfd(leases), entry->d_name, 0);
        }
        (void)closedir(leases);
}
