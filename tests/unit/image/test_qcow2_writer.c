/* SPDX-License-Identifier: Apache-2.0 */
#include "suite.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "fail_allocation.h"
#include "image/qcow2_backing.h"
#include "image/qcow2_format.h"
#include "image/qcow2_writer.h"
#include "scratch.h"

#define GIB (UINT64_C(1) << 30)
#define TIB (UINT64_C(1) << 40)

static const struct qcow2_backing_file mapping = {
        .name = "/dev/mapper/wlagent-image-3d0f1c3e-1111-4222-8333-444455556666",
        .format = IMAGE_CONTENT_RAW,
};

static const uint64_t sizes[] = {512,       65536,    65537 * 512,           GIB, 10 * GIB + 512,
                                 100 * GIB, 17 * TIB, QCOW2_VIRTUAL_SIZE_MAX};

START_TEST(parts_follow_each_other) {
        for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
                const uint64_t data = (sizes[i] + 65535) / 65536;
                struct wla_error err = {0};
                struct qcow2_layout layout;

                for (uint64_t used = 0; used <= data; used += data) {
                        uint64_t tables = (used + 8191) / 8192;

                        ck_assert_int_eq(qcow2_layout_make(sizes[i], tables, used, &layout, &err),
                                         0);
                        uint64_t blocks = layout.l1_at - layout.refcount_blocks_at;
                        ck_assert_uint_ge(blocks * 32768, layout.clusters);
                        ck_assert(blocks == 1 || (blocks - 1) * 32768 < layout.clusters);
                        ck_assert_uint_ge((layout.refcount_blocks_at - 1) * 8192, blocks);
                        ck_assert_uint_ge((layout.l2_at - layout.l1_at) * 8192, layout.regions);
                        ck_assert_uint_ge(layout.regions * QCOW2_REGION_SIZE, sizes[i]);
                        ck_assert_uint_eq(layout.data_at - layout.l2_at, tables);
                        ck_assert_uint_eq(layout.clusters - layout.data_at, used);
                }
        }
}
END_TEST

START_TEST(sizes_out_of_bounds_are_refused) {
        static const uint64_t bad[] = {0, 1, 511, 513, QCOW2_VIRTUAL_SIZE_MAX + 512, UINT64_MAX};
        struct wla_error err = {0};
        uint64_t size;

        for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
                ck_assert_int_eq(qcow2_full_size(bad[i], &size, &err), -1);
                ck_assert_int_eq(err.code, WLA_E_INPUT);
                ck_assert_int_eq(qcow2_write_empty(-1, bad[i], &mapping, &err), -1);
                ck_assert_int_eq(err.code, WLA_E_INPUT);
        }
}
END_TEST

/* The exit code of a program that says nothing. */
static int run(const char *const *command) {
        pid_t child = fork();
        int status;

        if (child == 0) {
                int null = open("/dev/null", O_RDWR);

                (void)dup2(null, STDOUT_FILENO);
                (void)execvp(command[0], (char *const *)(uintptr_t)command);
                _exit(errno == ENOENT ? 77 : 126);
        }
        ck_assert_int_eq(waitpid(child, &status, 0), child);
        return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

START_TEST(qemu_img_finds_no_fault) {
        struct scratch scratch;

        scratch_make(&scratch);
        for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
                const char *path = scratch_file(&scratch, "disk.qcow2");
                const char *const check[] = {"qemu-img", "check", "-q", path, NULL};
                struct qcow2_backing_file none = {0};
                struct wla_error err = {0};
                int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);

                ck_assert_int_eq(qcow2_write_empty(fd, sizes[i], &none, &err), 0);
                (void)close(fd);
                int outcome = run(check);
                ck_assert_msg(outcome == 0, "%ju bytes: qemu-img check: %d", (uintmax_t)sizes[i],
                              outcome);
        }
        scratch_remove(&scratch);
}
END_TEST

START_TEST(the_backing_file_is_named) {
        _cleanup_buf_ struct buf head = BUF_WITH_LIMIT(QCOW2_BACKING_SPAN);
        struct wla_error err = {0};
        struct qcow2_backing backing;
        int fd = memfd_create("disk", MFD_CLOEXEC);

        ck_assert_int_eq(qcow2_write_empty(fd, 10 * GIB, &mapping, &err), 0);
        uint8_t *bytes = buf_extend(&head, QCOW2_BACKING_SPAN, &err);
        ck_assert_int_eq(pread(fd, bytes, QCOW2_BACKING_SPAN, 0), QCOW2_BACKING_SPAN);
        ck_assert_int_eq(qcow2_backing_read(bytes, QCOW2_BACKING_SPAN, &backing, &err), 0);
        ck_assert_str_eq(backing.name, mapping.name);
        ck_assert_int_eq(backing.format, mapping.format);
        ck_assert_uint_eq(backing.virtual_size, 10 * GIB);
        (void)close(fd);
}
END_TEST

/* A fresh dm-crypt volume reads as noise. */
START_TEST(noise_below_leaves_no_trace) {
        struct wla_error err = {0};
        int clean = memfd_create("clean", MFD_CLOEXEC);
        int noisy = memfd_create("noisy", MFD_CLOEXEC);
        uint8_t *noise = malloc(1048576);

        memset(noise, 0xa5, 1048576);
        ck_assert_int_eq(write(noisy, noise, 1048576), 1048576);
        ck_assert_int_eq(qcow2_write_empty(clean, 10 * GIB, &mapping, &err), 0);
        ck_assert_int_eq(qcow2_write_empty(noisy, 10 * GIB, &mapping, &err), 0);
        off_t size = lseek(clean, 0, SEEK_END);
        ck_assert_int_eq(size, 4 * QCOW2_CLUSTER_SIZE);
        for (off_t at = 0; at < size; at += 4096) {
                uint8_t a[4096];
                uint8_t b[4096];

                ck_assert_int_eq(pread(clean, a, sizeof(a), at), sizeof(a));
                ck_assert_int_eq(pread(noisy, b, sizeof(b), at), sizeof(b));
                ck_assert_mem_eq(a, b, sizeof(a));
        }
        free(noise);
        (void)close(clean);
        (void)close(noisy);
}
END_TEST

START_TEST(a_name_that_does_not_fit_is_refused) {
        char name[1025];
        const struct qcow2_backing_file backing = {.name = name, .format = IMAGE_CONTENT_QCOW2};
        struct wla_error err = {0};
        int fd = memfd_create("disk", MFD_CLOEXEC);

        memset(name, 'n', sizeof(name));
        name[1024] = '\0';
        ck_assert_int_eq(qcow2_write_empty(fd, GIB, &backing, &err), -1);
        ck_assert_int_eq(err.code, WLA_E_INPUT);
        name[1023] = '\0';
        ck_assert_int_eq(qcow2_write_empty(fd, GIB, &backing, &err), 0);
        name[0] = '\0';
        ck_assert_int_eq(qcow2_write_empty(fd, GIB, &backing, &err), -1);
        (void)close(fd);
}
END_TEST

START_TEST(writes_that_fail_are_errors) {
        struct wla_error err = {0};
        int full = open("/dev/full", O_WRONLY | O_CLOEXEC);
        int fd = memfd_create("disk", MFD_CLOEXEC | MFD_ALLOW_SEALING);

        ck_assert_int_eq(qcow2_write_empty(full, GIB, &mapping, &err), -1);
        ck_assert_str_eq(wla_error_text(&err),
                         "cannot write an empty qcow2: No space left on device");
        ck_assert_int_eq(ftruncate(fd, 3 * QCOW2_CLUSTER_SIZE), 0);
        ck_assert_int_eq(fcntl(fd, F_ADD_SEALS, F_SEAL_GROW), 0);
        ck_assert_int_eq(qcow2_write_empty(fd, GIB, &mapping, &err), -1);
        (void)close(full);
        (void)close(fd);
}
END_TEST

START_TEST(failed_allocations_are_errors) {
        int fd = memfd_create("disk", MFD_CLOEXEC);

        for (size_t n = 1; fail_allocation_arm(n); n++) {
                struct wla_error err = {0};
                int outcome = qcow2_write_empty(fd, GIB, &mapping, &err);

                fail_allocation_disarm();
                ck_assert_int_eq(outcome, fail_allocation_hit() ? -1 : 0);
        }
        (void)close(fd);
}
END_TEST

SUITE_MAIN("qcow2_writer", parts_follow_each_other, sizes_out_of_bounds_are_refused,
           qemu_img_finds_no_fault, the_backing_file_is_named, noise_below_leaves_no_trace,
           a_name_that_does_not_fit_is_refused, writes_that_fail_are_errors,
           failed_allocations_are_errors)
