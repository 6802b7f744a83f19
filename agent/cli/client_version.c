/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/client_version.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"

#define DEFAULT_PATH    "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
#define KEYPROVIDER_TAG "OCICRYPT_KEYPROVIDER_CONFIG"

extern char **environ;

static int find_in_path(const char *name, char to[static PATH_MAX], struct wla_error *err) {
        const char *at = getenv("PATH");

        for (at = at ? at : DEFAULT_PATH; *at != '\0';) {
                size_t length = strcspn(at, ":");

                int size = snprintf(to, PATH_MAX, "%.*s/%s", (int)length, at, name);
                if (length > 0 && size > 0 && size < PATH_MAX && access(to, X_OK) == 0)
                        return 0;

                at += length;
                at += *at == ':' ? 1 : 0;
        }
        return wla_fail(err, WLA_E_NOT_FOUND, "%s is not installed", name);
}

static int look_inside(struct client *client, struct wla_error *err) {
        _cleanup_close_ int fd = open(client->path, O_RDONLY | O_CLOEXEC);
        struct stat facts;

        if (fd < 0 || fstat(fd, &facts) < 0)
                return wla_fail_errno(err, errno, "cannot read %s", client->path);
        if (!S_ISREG(facts.st_mode) || facts.st_size < 2)
                return wla_fail(err, WLA_E_INPUT, "%s is not a program", client->path);

        size_t size = (size_t)facts.st_size;
        void *content = mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (content == MAP_FAILED)
                return wla_fail_errno(err, errno, "cannot read %s", client->path);

        client->is_script = memcmp(content, "#!", 2) == 0;
        client->knows_keyproviders = memmem(content, size, KEYPROVIDER_TAG,
                                            strlen(KEYPROVIDER_TAG)) != NULL;
        (void)munmap(content, size);
        return 0;
}

static int spawn_version(char *path, int output, pid_t *ret, struct wla_error *err) {
        char option[] = "--version";
        char *const argv[] = {path, option, NULL};
        posix_spawn_file_actions_t actions;

        if (posix_spawn_file_actions_init(&actions) != 0)
                return wla_fail(err, WLA_E_BUSY, "out of memory");

        int outcome = posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null",
                                                       O_RDONLY, 0);
        if (outcome == 0)
                outcome = posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null",
                                                           O_WRONLY, 0);
        if (outcome == 0)
                outcome = posix_spawn_file_actions_adddup2(&actions, output, STDOUT_FILENO);
        if (outcome == 0)
                outcome = posix_spawn(ret, path, &actions, NULL, argv, environ);

        (void)posix_spawn_file_actions_destroy(&actions);
        if (outcome != 0)
                return wla_fail_errno(err, outcome, "cannot run %s", path);
        return 0;
}

/* Up to the first newline, the end, or the limit of time. */
static int read_line(int fd, uint64_t limit_usec, struct client *client, struct wla_error *err) {
        uint64_t end_usec = clock_now_usec() + limit_usec;
        size_t length = 0;

        while (length < CLIENT_VERSION_MAX - 1) {
                struct pollfd ready = {.fd = fd, .events = POLLIN};
                uint64_t now_usec = clock_now_usec();
                char byte;

                if (now_usec >= end_usec ||
                    poll(&ready, 1, (int)((end_usec - now_usec) / USEC_PER_MSEC) + 1) == 0)
                        return wla_fail(err, WLA_E_TIMEOUT, "%s --version does not end",
                                        client->path);
                if (read(fd, &byte, 1) != 1 || byte == '\n')
                        break;
                client->version[length++] = byte < ' ' || byte > '~' ? '?' : byte;
        }

        client->version[length] = '\0';
        return 0;
}

static int run_version(struct client *client, uint64_t limit_usec, struct wla_error *err) {
        _cleanup_close_ int input = -1;
        _cleanup_close_ int output = -1;
        int ends[2];
        pid_t child;

        if (pipe2(ends, O_CLOEXEC) < 0)
                return wla_fail_errno(err, errno, "making a pipe");
        input = ends[0];
        output = ends[1];

        if (spawn_version(client->path, output, &child, err) < 0)
                return -1;

        file_closep(&output);
        int outcome = read_line(input, limit_usec, client, err);

        /* What it says after its first line is of no interest. */
        (void)kill(child, SIGKILL);
        while (waitpid(child, NULL, 0) < 0 && errno == EINTR)
                ;
        return outcome;
}

int client_find(const char *name, uint64_t limit_usec, struct client *ret, struct wla_error *err) {
        struct client client = {0};

        if (find_in_path(name, client.path, err) < 0 || look_inside(&client, err) < 0 ||
            run_version(&client, limit_usec, err) < 0)
                return -1;

        *ret = client;
        return 0;
}

unsigned client_version_number(const char *line) {
        for (const char *at = line; *at != '\0'; at++) {
                unsigned major;
                unsigned minor;
                unsigned patch;

                if (!isdigit((unsigned char)*at))
                        continue;
                if (sscanf(at, "%3u.%3u.%3u", &major, &minor, &patch) == 3)
                        return major * 1000000 + minor * 1000 + patch;
                at += strspn(at, "0123456789.") - 1;
        }
        return 0;
}
