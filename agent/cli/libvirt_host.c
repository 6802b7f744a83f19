/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/libvirt_host.h"

#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "vm/domain.h"
#include "volume/volume_name.h"

#define MARK_VOLUME VOLUME_DEVICE_ROOT VOLUME_NAME_PREFIX

void libvirt_host_path(const char *root, const char *path, char to[static PATH_MAX]) {
        int size = snprintf(to, PATH_MAX, "%s%s", root, path);

        if (size < 0 || size >= PATH_MAX)
                to[0] = '\0';
}

void libvirt_host_file(const char *root, const char *path, char *to, size_t size) {
        char whole[PATH_MAX];

        libvirt_host_path(root, path, whole);
        _cleanup_close_ int fd = open(whole, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
        ssize_t got = fd < 0 ? -1 : read(fd, to, size - 1);
        to[got > 0 ? got : 0] = '\0';
}

bool libvirt_host_exists(const char *root, const char *path) {
        char whole[PATH_MAX];

        libvirt_host_path(root, path, whole);
        return access(whole, F_OK) == 0;
}

static bool mentions(const struct buf *text, const char *what) {
        return memmem(text->data, text->size, what, strlen(what)) != NULL;
}

static void count(unsigned *counter, char to[static LIBVIRT_NAME_SIZE], const char *name) {
        ++*counter;
        (void)snprintf(to, LIBVIRT_NAME_SIZE, "%s", name);
}

static void directory_closep(DIR **directory) {
        if (*directory)
                (void)closedir(*directory);
}

#define _cleanup_directory_ __attribute__((cleanup(directory_closep)))

static DIR *open_directory(const char *root, const char *path) {
        char whole[PATH_MAX];

        libvirt_host_path(root, path, whole);
        return opendir(whole);
}

/* libvirt keeps the definition of a persistent secret as UUID.xml. */
static void find_persistent_secret(const char *root, const struct buf *text, const char *name,
                                   struct libvirt_host *host) {
        _cleanup_directory_ DIR *directory = open_directory(root, LIBVIRT_SECRETS);
        const struct dirent *entry;

        while (directory && mentions(text, ":secret ") && (entry = readdir(directory))) {
                char uuid[UUID_TEXT_SIZE];
                size_t length = strcspn(entry->d_name, ".");

                if (length != UUID_TEXT_SIZE - 1 || strcmp(entry->d_name + length, ".xml") != 0)
                        continue;
                (void)snprintf(uuid, sizeof(uuid), "%.*s", (int)length, entry->d_name);
                if (!mentions(text, uuid))
                        continue;
                count(&host->domains.persistent, host->domains.persistent_name, name);
                (void)snprintf(host->domains.persistent_secret, LIBVIRT_NAME_SIZE, "%s", uuid);
        }
}

static void read_definition(const char *root, int directory, const char *file,
                            struct libvirt_host *host) {
        _cleanup_buf_ struct buf text = BUF_WITH_LIMIT(DOMAIN_XML_MAX);
        struct wla_error ignored = {0};
        char name[LIBVIRT_NAME_SIZE];
        char saved[PATH_MAX];
        const char *end = strrchr(file, '.');

        if (!end || strcmp(end, ".xml") != 0 || file_read(directory, file, &text, &ignored) < 0)
                return;

        (void)snprintf(name, sizeof(name), "%.*s", (int)(end - file), file);
        if (mentions(&text, "<encryption "))
                count(&host->domains.encrypted, host->domains.encrypted_name, name);
        if (!mentions(&text, DOMAIN_NAMESPACE) && !mentions(&text, MARK_VOLUME))
                return;

        count(&host->domains.protected, host->domains.protected_name, name);
        find_persistent_secret(root, &text, name, host);
        (void)snprintf(saved, sizeof(saved), LIBVIRT_SAVED "/%s.save", name);
        if (libvirt_host_exists(root, saved))
                count(&host->domains.saved, host->domains.saved_name, name);
}

static void read_definitions(const char *root, struct libvirt_host *host) {
        _cleanup_directory_ DIR *directory = open_directory(root, LIBVIRT_DEFINITIONS);
        const struct dirent *entry;

        while (directory && (entry = readdir(directory)))
                read_definition(root, dirfd(directory), entry->d_name, host);
}

/* proc(5): "btime SECONDS" in /proc/stat is the boot; the start of a process is field 22 of its stat, in
 * ticks since then.  The name in field 2 may hold anything, its last parenthesis ends it. */
static time_t start_of(const char *root, const char *pid) {
        char path[64];
        char text[16384];
        intmax_t boot = 0;
        uintmax_t ticks = 0;

        libvirt_host_file(root, "/proc/stat", text, sizeof(text));
        const char *line = strstr(text, "\nbtime ");
        if (line)
                boot = strtoimax(line + strlen("\nbtime "), NULL, 10);

        (void)snprintf(path, sizeof(path), "/proc/%.16s/stat", pid);
        libvirt_host_file(root, path, text, sizeof(text));
        const char *at = strrchr(text, ')');
        for (unsigned field = 2; at && field < 22; field++) {
                at = strchr(at, ' ');
                at += at ? 1 : 0;
        }
        if (at)
                ticks = strtoumax(at, NULL, 10);
        return (time_t)(boot + (intmax_t)(ticks / (uintmax_t)sysconf(_SC_CLK_TCK)));
}

/* Other users may have a libvirt of their own, with hooks of their own. */
static void read_process(const char *root, int proc, const char *pid, struct libvirt_host *host) {
        static const char *const names[] = {"libvirtd", "virtqemud"};
        struct stat facts;
        char path[64];
        char comm[32];

        if (!isdigit((unsigned char)pid[0]) || fstatat(proc, pid, &facts, 0) < 0 ||
            facts.st_uid != host->root_user)
                return;

        (void)snprintf(path, sizeof(path), "/proc/%.16s/comm", pid);
        libvirt_host_file(root, path, comm, sizeof(comm));
        comm[strcspn(comm, "\n")] = '\0';
        for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
                if (strcmp(comm, names[i]) == 0) {
                        host->daemon.name = names[i];
                        host->daemon.since = start_of(root, pid);
                        host->daemon.pid = (pid_t)strtoimax(pid, NULL, 10);
                }
}

static void read_processes(const char *root, struct libvirt_host *host) {
        _cleanup_directory_ DIR *proc = open_directory(root, "/proc");
        const struct dirent *entry;

        while (proc && (entry = readdir(proc)))
                read_process(root, dirfd(proc), entry->d_name, host);
}

/* What registry_open() finds, and the hook: UUID.header. */
static void count_registered(const char *root, const char *state_directory,
                             struct libvirt_host *host) {
        char path[PATH_MAX];
        const struct dirent *entry;

        if ((size_t)snprintf(path, sizeof(path), "%s/images", state_directory) >= sizeof(path))
                return;
        _cleanup_directory_ DIR *directory = open_directory(root, path);
        while (directory && (entry = readdir(directory))) {
                struct wla_error ignored = {0};
                struct uuid image;
                size_t length = strcspn(entry->d_name, ".");

                if (strcmp(entry->d_name + length, ".header") == 0 &&
                    uuid_parse(entry->d_name, length, &image, &ignored) == 0)
                        host->registered++;
        }
}

void libvirt_host_read(const char *root, const char *state_directory, struct libvirt_host *ret) {
        struct libvirt_host host = {0};
        struct stat facts;
        char hook[PATH_MAX];

        host.root_user = stat(root[0] != '\0' ? root : "/", &facts) == 0 ? facts.st_uid : 0;
        host.installed = libvirt_host_exists(root, "/usr/sbin/libvirtd") ||
                         libvirt_host_exists(root, "/usr/sbin/virtqemud");
        libvirt_host_path(root, LIBVIRT_HOOK, hook);
        host.has_hook = lstat(hook, &host.hook) == 0;
        read_definitions(root, &host);
        read_processes(root, &host);
        count_registered(root, state_directory, &host);
        *ret = host;
}

bool libvirt_host_protects(const struct libvirt_host *host) {
        return host->domains.protected > 0 || host->registered > 0;
}

bool libvirt_host_is_concerned(const struct libvirt_host *host) {
        return libvirt_host_protects(host) || (host->installed && host->has_hook);
}
