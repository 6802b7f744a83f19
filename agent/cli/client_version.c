/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/client_version.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/file.h"
#include "cli/other_program.h"

#define KEYPROVIDER_TAG "OCICRYPT_KEYPROVIDER_CONFIG"

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

static int run_version(struct client *client, uint64_t limit_usec, struct wla_error *err) {
        char option[] = "--version";
        char *const argv[] = {client->path, option, NULL};

        return other_program_first_line(argv, limit_usec, client->version, sizeof(client->version),
                                        err);
}

int client_find(const char *name, uint64_t limit_usec, struct client *ret, struct wla_error *err) {
        struct client client = {0};

        if (other_program_find(name, client.path, err) < 0 || look_inside(&client, err) < 0 ||
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
