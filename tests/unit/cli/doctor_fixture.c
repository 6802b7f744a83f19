/* SPDX-License-Identifier: Apache-2.0 */
#include "doctor_fixture.h"

#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/json.h"

static char root[PATH_MAX];
static struct doctor last;

static int remove_one(const char *path, const struct stat *facts, int kind, struct FTW *at) {
        (void)facts;
        (void)kind;
        (void)at;
        return remove(path);
}

/* Below the working directory: what is in /tmp may be in memory, and one check tells these apart. */
void fixture_set_up(void) {
        ck_assert_ptr_nonnull(getcwd(root, sizeof(root) - sizeof("/wlagent-host-XXXXXX")));
        memcpy(root + strlen(root), "/wlagent-host-XXXXXX", sizeof("/wlagent-host-XXXXXX"));
        ck_assert_ptr_nonnull(mkdtemp(root));
        ck_assert_int_eq(setenv("PATH", fixture_path("/bin"), 1), 0);
}

void fixture_tear_down(void) {
        json_writer_clear(&last.writer);
        ck_assert_int_eq(nftw(root, remove_one, 8, FTW_DEPTH | FTW_PHYS), 0);
}

const char *fixture_root(void) {
        return root;
}

const char *fixture_path(const char *path) {
        static char whole[2 * PATH_MAX];

        (void)snprintf(whole, sizeof(whole), "%s%s", root, path);
        return whole;
}

void fixture_make_directory(const char *path) {
        char whole[2 * PATH_MAX];

        (void)snprintf(whole, sizeof(whole), "%s%s", root, path);
        for (char *slash = whole + strlen(root) + 1; (slash = strchr(slash, '/')); *slash++ = '/') {
                *slash = '\0';
                (void)mkdir(whole, 0755);
        }
        (void)mkdir(whole, 0755);
}

void fixture_put(const char *path, mode_t mode, const char *text) {
        char parent[PATH_MAX];

        (void)snprintf(parent, sizeof(parent), "%.*s", (int)(strrchr(path, '/') - path), path);
        fixture_make_directory(parent);
        int fd = open(fixture_path(path), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        ck_assert_int_ge(fd, 0);
        ck_assert_int_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
        ck_assert_int_eq(fchmod(fd, mode), 0);
        (void)close(fd);
}

void fixture_remove(const char *path) {
        ck_assert_int_eq(nftw(fixture_path(path), remove_one, 8, FTW_DEPTH | FTW_PHYS), 0);
}

void fixture_put_boot(long long seconds) {
        char text[128];

        (void)snprintf(text, sizeof(text), "cpu  1 2 3\nbtime %lld\nprocesses 1\n", seconds);
        fixture_put("/proc/stat", 0444, text);
}

void fixture_put_process(unsigned pid, const char *name, unsigned long seconds) {
        char path[64];
        char text[256];

        (void)snprintf(path, sizeof(path), "/proc/%u/comm", pid);
        (void)snprintf(text, sizeof(text), "%s\n", name);
        fixture_put(path, 0444, text);
        (void)snprintf(path, sizeof(path), "/proc/%u/stat", pid);
        (void)snprintf(text, sizeof(text),
                       "%u (%s) 7) S 1 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 %lu 23 24\n",
                       pid, name, seconds * (unsigned long)sysconf(_SC_CLK_TCK));
        fixture_put(path, 0444, text);
}

void fixture_put_domain(const char *name, const char *text) {
        char path[256];

        (void)snprintf(path, sizeof(path), "/etc/libvirt/qemu/%s.xml", name);
        fixture_put(path, 0600, text);
}

void fixture_run(void (*check)(struct doctor *doctor), const struct config *config) {
        json_writer_clear(&last.writer);
        last = (struct doctor){
                .config = config,
                .root = root,
                .json = true,
                .writer = JSON_WRITER,
        };
        json_open_array(&last.writer, NULL);
        check(&last);
        json_close_array(&last.writer);
        ck_assert_int_eq(last.writer.error.code, WLA_OK);
}

bool fixture_found(const char *result, const char *check, const char *text) {
        struct wla_error err = {0};
        struct json_value findings;
        struct json_value finding;
        size_t at = 0;

        ck_assert_int_eq(json_check((const char *)last.writer.text.data, last.writer.text.size,
                                    &findings, &err),
                         0);
        while (json_next_element(&findings, &at, &finding)) {
                const char *const names[] = {"result", "check", "text"};
                char values[3][1200];

                for (size_t i = 0; i < 3; i++) {
                        const struct json_value value = json_member(&finding, names[i]);
                        ck_assert_int_eq(
                                json_string_copy(&value, values[i], sizeof(values[i]), &err), 0);
                }
                if (strcmp(values[0], result) == 0 && strcmp(values[1], check) == 0 &&
                    strstr(values[2], text))
                        return true;
        }
        fprintf(stderr, "no %s of %s with '%s' in: %.*s\n", result, check, text,
                (int)last.writer.text.size, (const char *)last.writer.text.data);
        return false;
}

unsigned fixture_count(enum finding finding) {
        return last.count[finding];
}
