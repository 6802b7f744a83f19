/* SPDX-License-Identifier: Apache-2.0 */

/* Disks are made by qemu-img, and held open by qemu-io. */

#include "volume/nova_disk.h"

#include <signal.h>
#include <spawn.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "fail_allocation.h"
#include "scratch.h"
#include "suite.h"

#define MIB UINT64_C(1048576)

static struct scratch scratch;
static char base[128];
static char mapping[128]; /* another file, so that QEMU can open it */
static char disk[128];

/* execve(2) does not write to its arguments, whatever its prototype says. */
static pid_t start(const char *const *argv, int in, int out) {
        posix_spawn_file_actions_t actions;
        pid_t pid;

        ck_assert_int_eq(posix_spawn_file_actions_init(&actions), 0);
        if (in >= 0)
                ck_assert_int_eq(posix_spawn_file_actions_adddup2(&actions, in, STDIN_FILENO), 0);
        ck_assert_int_eq(posix_spawn_file_actions_adddup2(&actions, out, STDOUT_FILENO), 0);
        ck_assert_int_eq(posix_spawnp(&pid, argv[0], &actions, NULL, (char *const *)(uintptr_t)argv,
                                      environ),
                         0);
        ck_assert_int_eq(posix_spawn_file_actions_destroy(&actions), 0);
        return pid;
}

static int run(const char *const *argv) {
        int out = open("/dev/null", O_WRONLY | O_CLOEXEC);
        int status;

        pid_t pid = start(argv, -1, out);
        ck_assert_int_eq(waitpid(pid, &status, 0), pid);
        (void)close(out);
        return status;
}

#define RUN(...) ck_assert_int_eq(run((const char *const[]){__VA_ARGS__, NULL}), 0)

static void make_files(void) {
        scratch_make(&scratch);
        (void)snprintf(base, sizeof(base), "%s/base", scratch.path);
        (void)snprintf(mapping, sizeof(mapping), "%s/mapping", scratch.path);
        (void)snprintf(disk, sizeof(disk), "%s/disk", scratch.path);
        RUN("qemu-img", "create", "-q", "-f", "raw", base, "4M");
        RUN("qemu-img", "create", "-q", "-f", "raw", mapping, "4M");
        RUN("qemu-io", "-f", "raw", "-c", "write -P 0x61 0 4M", mapping);
        RUN("qemu-img", "create", "-q", "-f", "qcow2", "-b", base, "-F", "raw", disk, "8M");
        RUN("qemu-io", "-f", "qcow2", "-c", "write -P 0x62 1M 1M", disk);
}

static int rebase(bool to_mapping, uint64_t virtual_size, bool *ret_changed,
                  struct wla_error *err) {
        const struct nova_disk_backing backing = {
                .base = base,
                .mapping = mapping,
                .to_mapping = to_mapping,
                .content = IMAGE_CONTENT_RAW,
                .virtual_size = virtual_size,
        };
        int fd = open(disk, O_RDWR | O_CLOEXEC);

        *err = (struct wla_error){0};
        int r = nova_disk_rebase(fd, &backing, ret_changed, err);
        (void)close(fd);
        return r;
}

static void expect_done(bool to_mapping, bool changed) {
        struct wla_error err;
        bool found = !changed;

        ck_assert_msg(rebase(to_mapping, 4 * MIB, &found, &err) == 0, "%s", wla_error_text(&err));
        ck_assert_int_eq(found, changed);
        RUN("qemu-img", "check", "-q", "-U", "-f", "qcow2", disk);
}

static void expect_refusal(uint64_t virtual_size, enum wla_code code, const char *text) {
        struct wla_error err;
        bool changed = false;

        ck_assert_int_eq(rebase(true, virtual_size, &changed, &err), -1);
        ck_assert_int_eq(err.code, code);
        ck_assert_msg(strstr(wla_error_text(&err), text) != NULL, "%s", wla_error_text(&err));
        ck_assert(!changed);
}

START_TEST(it_goes_there_and_back_and_again) {
        make_files();
        for (int round = 0; round < 2; round++) {
                expect_done(true, true);
                RUN("qemu-io", "-f", "qcow2", "-c", "read -P 0x61 0 1M", "-c", "read -P 0x62 1M 1M",
                    "-c", "read -P 0x61 2M 2M", "-c", "read -P 0 4M 4M", disk);
                expect_done(true, false);
                expect_done(false, true);
                RUN("qemu-io", "-f", "qcow2", "-c", "read -P 0 0 1M", "-c", "read -P 0x62 1M 1M",
                    disk);
                expect_done(false, false);
        }
        scratch_remove(&scratch);
}
END_TEST

/* Guest data is never made anew; what QEMU has written since is kept. */
START_TEST(what_qemu_writes_in_between_is_kept) {
        make_files();
        expect_done(true, true);
        RUN("qemu-io", "-f", "qcow2", "-c", "write -P 0x63 3M 64k", disk);
        RUN("qemu-img", "resize", "-q", "-f", "qcow2", disk, "16M");
        expect_done(false, true);
        expect_done(true, true);
        RUN("qemu-io", "-f", "qcow2", "-c", "read -P 0x63 3M 64k", "-c", "read -P 0 8M 8M", disk);
        scratch_remove(&scratch);
}
END_TEST

/* What is asked for while QEMU has the disk open. */
static void while_open(const char *read_only, void (*ask)(void)) {
        int in[2];
        int out[2];
        int status;
        char prompt;

        ck_assert_int_eq(pipe2(in, O_CLOEXEC), 0);
        ck_assert_int_eq(pipe2(out, O_CLOEXEC), 0);
        pid_t pid = start((const char *const[]){"qemu-io", "-f", "qcow2", disk, read_only, NULL},
                          in[0], out[1]);

        ck_assert_int_eq(read(out[0], &prompt, 1), 1);
        ask();
        ck_assert_int_eq(kill(pid, SIGKILL), 0);
        ck_assert_int_eq(waitpid(pid, &status, 0), pid);
        for (int i = 0; i < 2; i++) {
                (void)close(in[i]);
                (void)close(out[i]);
        }
}

static void expect_busy(void) {
        expect_refusal(4 * MIB, WLA_E_BUSY, "in use by another process");
}

static void expect_nothing_to_do(void) {
        expect_done(true, false);
}

START_TEST(a_disk_that_qemu_has_open_is_left_alone) {
        make_files();
        while_open(NULL, expect_busy);
        while_open("-r", expect_busy);
        expect_done(true, true);
        while_open(NULL, expect_nothing_to_do);
        scratch_remove(&scratch);
}
END_TEST

static int lock_byte(off_t byte, short type) {
        struct flock lock = {.l_type = type, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};
        int fd = open(disk, O_RDWR | O_CLOEXEC);

        ck_assert_int_eq(fcntl(fd, F_OFD_SETLK, &lock), 0);
        return fd;
}

/* QEMU locks a byte for each thing that it does with a disk, or bears from others, for reading. */
START_TEST(every_lock_of_qemu_counts) {
        static const off_t of_qemu[] = {100, 163, 199, 200, 263, 299};
        static const off_t of_others[] = {99, 300};

        make_files();
        for (size_t i = 0; i < sizeof(of_qemu) / sizeof(of_qemu[0]); i++) {
                int fd = lock_byte(of_qemu[i], F_RDLCK);

                expect_busy();
                (void)close(fd);
        }
        for (size_t i = 0; i < sizeof(of_others) / sizeof(of_others[0]); i++) {
                int fd = lock_byte(of_others[i], F_WRLCK);

                expect_done(i == 0, true);
                (void)close(fd);
        }
        scratch_remove(&scratch);
}
END_TEST

/* A flavor whose disk is smaller than the image does not start, and costs nothing. */
START_TEST(a_disk_smaller_than_its_image_is_refused) {
        struct wla_error err;
        bool changed = false;

        make_files();
        expect_refusal(8 * MIB + 512, WLA_E_INPUT, "its image has 8389120");
        expect_done(false, false);
        /* One of the same size is large enough, and every one finds back. */
        ck_assert_int_eq(rebase(true, 8 * MIB, &changed, &err), 0);
        ck_assert(changed);
        ck_assert_int_eq(rebase(false, 8 * MIB + 512, &changed, &err), 0);
        ck_assert(changed);
        scratch_remove(&scratch);
}
END_TEST

START_TEST(other_disks_are_refused) {
        char other[128];

        make_files();
        (void)snprintf(other, sizeof(other), "%s/other", scratch.path);
        RUN("cp", base, other);
        RUN("qemu-img", "create", "-q", "-f", "qcow2", "-b", other, "-F", "raw", disk, "8M");
        expect_refusal(4 * MIB, WLA_E_INPUT, "not over its image");
        RUN("qemu-img", "create", "-q", "-f", "qcow2", disk, "8M");
        expect_refusal(4 * MIB, WLA_E_UNSUPPORTED, "not a layer over its image");
        RUN("qemu-img", "create", "-q", "-f", "raw", disk, "8M");
        expect_refusal(4 * MIB, WLA_E_INPUT, "it is no qcow2 image");
        RUN("qemu-img", "create", "-q", "-f", "raw", disk, "0");
        expect_refusal(4 * MIB, WLA_E_INPUT, "it is no qcow2 image");
        scratch_remove(&scratch);
}
END_TEST

START_TEST(without_memory_nothing_changes) {
        struct wla_error err;
        bool changed = false;

        make_files();
        for (size_t n = 1; fail_allocation_arm(n); n++) {
                int r = rebase(true, 4 * MIB, &changed, &err);

                fail_allocation_disarm();
                ck_assert_int_eq(r, fail_allocation_hit() ? -1 : 0);
                if (r == 0)
                        expect_done(false, true);
        }
        expect_done(false, false);
        scratch_remove(&scratch);
}
END_TEST

/* As when the file system is full, or the disk is broken. */
START_TEST(a_disk_that_cannot_be_written_is_as_it_was) {
        const struct rlimit none = {.rlim_cur = 0, .rlim_max = RLIM_INFINITY};
        struct rlimit before;
        struct wla_error err;
        bool changed = false;

        make_files();
        ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &before), 0);
        (void)sigaction(SIGXFSZ, &(struct sigaction){.sa_handler = SIG_IGN}, NULL);
        ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &none), 0);
        int r = rebase(true, 4 * MIB, &changed, &err);
        ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &before), 0);
        ck_assert_int_eq(r, -1);
        ck_assert_int_eq(err.code, WLA_E_SYSTEM);
        expect_done(false, false);
        scratch_remove(&scratch);
}
END_TEST

START_TEST(no_disk_at_all) {
        const struct nova_disk_backing backing = {.base = "/a", .mapping = "/b"};
        struct wla_error err = {0};
        bool changed = false;
        int directory = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

        ck_assert_int_eq(nova_disk_rebase(-1, &backing, &changed, &err), -1);
        ck_assert_int_eq(err.code, WLA_E_SYSTEM);
        ck_assert_int_eq(nova_disk_rebase(directory, &backing, &changed, &err), -1);
        (void)close(directory);
}
END_TEST

SUITE_MAIN("volume/nova_disk", it_goes_there_and_back_and_again,
           what_qemu_writes_in_between_is_kept, a_disk_that_qemu_has_open_is_left_alone,
           every_lock_of_qemu_counts, a_disk_smaller_than_its_image_is_refused,
           other_disks_are_refused, without_memory_nothing_changes,
           a_disk_that_cannot_be_written_is_as_it_was, no_disk_at_all)
