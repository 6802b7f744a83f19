/* SPDX-License-Identifier: Apache-2.0 */

/* The images are made by qemu-img, which also judges what becomes of them. */

#include "image/qcow2_backing.h"

#include <spawn.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "scratch.h"
#include "suite.h"

#define MAPPING     "/dev/mapper/wlagent-image-4f4a2c0e-6f39-4a8e-9d0c-0a2b5d1c7e11"
#define DISK_SIZE   (8u * 1024u * 1024u)
#define FORMAT_AT   112u /* where qemu-img writes the backing format: behind a header of version 3 */
#define AT_FEATURES 72u

static struct scratch scratch;
static uint8_t bytes[QCOW2_BACKING_SPAN];
static size_t bytes_size;

/* execve(2) does not write to its arguments, whatever its prototype says. */
static int run(const char *const *argv) {
        posix_spawn_file_actions_t actions;
        pid_t pid;
        int status;

        ck_assert_int_eq(posix_spawn_file_actions_init(&actions), 0);
        ck_assert_int_eq(posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO,
                                                          scratch_file(&scratch, "output"),
                                                          O_WRONLY | O_CREAT | O_TRUNC, 0600),
                         0);
        ck_assert_int_eq(posix_spawnp(&pid, argv[0], &actions, NULL, (char *const *)(uintptr_t)argv,
                                      environ),
                         0);
        ck_assert_int_eq(posix_spawn_file_actions_destroy(&actions), 0);
        ck_assert_int_eq(waitpid(pid, &status, 0), pid);
        return status;
}

#define RUN(...) ck_assert_int_eq(run((const char *const[]){__VA_ARGS__, NULL}), 0)

static bool output_has(const char *text) {
        char output[8192] = "";
        int fd = open(scratch_file(&scratch, "output"), O_RDONLY | O_CLOEXEC);

        ck_assert_int_ge(read(fd, output, sizeof(output) - 1), 0);
        (void)close(fd);
        return strstr(output, text) != NULL;
}

static void path_of(const char *name, char ret[128]) {
        (void)snprintf(ret, 128, "%s/%s", scratch.path, name);
}

static void load(void) {
        int fd = open(scratch_file(&scratch, "disk"), O_RDONLY | O_CLOEXEC);
        ssize_t size = read(fd, bytes, sizeof(bytes));

        ck_assert_int_gt(size, 0);
        (void)close(fd);
        bytes_size = (size_t)size;
}

static void store(const uint8_t *from, uint32_t offset, uint32_t size) {
        int fd = open(scratch_file(&scratch, "disk"), O_WRONLY | O_CLOEXEC);

        ck_assert_int_eq(pwrite(fd, from + offset, size, offset), size);
        (void)close(fd);
}

/* "disk" over "base", with a megabyte of its own behind the first; "twin" has base's content. */
static void make_disk(const char *options) {
        char base[128];
        char twin[128];
        char disk[128];
        char all[256];

        path_of("base", base);
        path_of("twin", twin);
        path_of("disk", disk);
        (void)snprintf(all, sizeof(all), "backing_file=%s,backing_fmt=raw,%s", base, options);
        RUN("qemu-img", "create", "-q", "-f", "raw", base, "4M");
        RUN("qemu-io", "-f", "raw", "-c", "write -P 0x61 0 4M", base);
        RUN("cp", base, twin);
        RUN("qemu-img", "create", "-q", "-f", "qcow2", "-o", all, disk, "8M");
        RUN("qemu-io", "-f", "qcow2", "-c", "write -P 0x62 1M 1M", disk);
        load();
}

static void expect(const char *name, enum image_content format) {
        struct qcow2_backing backing;
        struct wla_error err = {0};

        ck_assert_msg(qcow2_backing_read(bytes, bytes_size, &backing, &err) == 0, "%s",
                      wla_error_text(&err));
        ck_assert_str_eq(backing.name, name);
        ck_assert_int_eq(backing.format, format);
        ck_assert_uint_eq(backing.virtual_size, DISK_SIZE);
}

static struct qcow2_backing_change change(const char *name, enum image_content format) {
        struct qcow2_backing_change found;
        struct wla_error err = {0};

        ck_assert_msg(qcow2_backing_change(bytes, bytes_size, name, format, &found, &err) == 0,
                      "%s", wla_error_text(&err));
        return found;
}

static void expect_refusal(enum wla_code code, const char *text) {
        static uint8_t before[QCOW2_BACKING_SPAN];
        struct qcow2_backing_change found;
        struct wla_error err = {0};

        memcpy(before, bytes, sizeof(before));
        ck_assert_int_eq(
                qcow2_backing_change(bytes, bytes_size, MAPPING, IMAGE_CONTENT_RAW, &found, &err),
                -1);
        ck_assert_int_eq(err.code, code);
        ck_assert_msg(strstr(wla_error_text(&err), text) != NULL, "%s", wla_error_text(&err));
        ck_assert_mem_eq(before, bytes, sizeof(before));
}

static void store_change(const struct qcow2_backing_change *change) {
        store(bytes, change->name.offset, change->name.size);
        store(bytes, 0, QCOW2_HEAD_SIZE);
        store(bytes, change->old.offset, change->old.size);
}

static void judge(const char *name) {
        char disk[128];

        path_of("disk", disk);
        RUN("qemu-img", "info", "-U", "--output=json", disk);
        ck_assert(output_has(name));
        ck_assert(output_has("\"backing-filename-format\": \"raw\""));
        RUN("qemu-img", "check", "-q", "-f", "qcow2", disk);
        RUN("qemu-io", "-f", "qcow2", "-c", "read -P 0x61 0 1M", "-c", "read -P 0x62 1M 1M", "-c",
            "read -P 0x61 2M 2M", "-c", "read -P 0 4M 4M", disk);
}

START_TEST(qemu_img_agrees_before_and_after) {
        static const char *const options[] = {
                "compat=1.1",
                "compat=0.10",
                "lazy_refcounts=on",
                "cluster_size=4k",
                "cluster_size=2M",
                "extended_l2=on,cluster_size=128k",
                "refcount_bits=64",
                "cluster_size=1k,compat=0.10",
                "compression_type=zstd",
        };
        char base[128];
        char twin[128];

        scratch_make(&scratch);
        path_of("base", base);
        path_of("twin", twin);
        for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++) {
                make_disk(options[i]);
                expect(base, IMAGE_CONTENT_RAW);
                judge(base);

                struct qcow2_backing_change there = change(twin, IMAGE_CONTENT_RAW);
                expect(twin, IMAGE_CONTENT_RAW);
                store_change(&there);
                judge(twin);
        }
        scratch_remove(&scratch);
}
END_TEST

START_TEST(there_and_back_changes_no_byte) {
        static uint8_t before[QCOW2_BACKING_SPAN];
        char base[128];

        scratch_make(&scratch);
        path_of("base", base);
        make_disk("compat=1.1");
        memcpy(before, bytes, sizeof(before));

        (void)change(MAPPING, IMAGE_CONTENT_QCOW2);
        expect(MAPPING, IMAGE_CONTENT_QCOW2);
        ck_assert_mem_ne(before, bytes, sizeof(before));
        (void)change(base, IMAGE_CONTENT_RAW);
        ck_assert_mem_eq(before, bytes, sizeof(before));
        scratch_remove(&scratch);
}
END_TEST

/* The power may fail behind each of the three writes, in both directions. */
START_TEST(every_step_names_one_of_the_two) {
        char names[2][128];

        scratch_make(&scratch);
        path_of("base", names[0]);
        path_of("twin", names[1]);
        make_disk("compat=1.1");
        for (int round = 0; round < 2; round++) {
                const char *from = names[round];
                const char *to = names[1 - round];
                struct qcow2_backing_change found = change(to, IMAGE_CONTENT_RAW);

                store(bytes, found.name.offset, found.name.size);
                judge(from);
                store(bytes, 0, QCOW2_HEAD_SIZE);
                judge(to);
                load();
                expect(to, IMAGE_CONTENT_RAW);
                memset(bytes + found.old.offset, 0, found.old.size);
                store(bytes, found.old.offset, found.old.size);
                judge(to);
        }
        scratch_remove(&scratch);
}
END_TEST

START_TEST(only_the_three_ranges_change) {
        static uint8_t before[QCOW2_BACKING_SPAN];

        scratch_make(&scratch);
        make_disk("compat=1.1");
        for (size_t at = QCOW2_HEAD_SIZE; at < sizeof(bytes); at++)
                if (bytes[at] == 0 && at > 4096)
                        bytes[at] = (uint8_t)at;
        memcpy(before, bytes, sizeof(before));

        struct qcow2_backing_change found = change(MAPPING, IMAGE_CONTENT_RAW);
        for (uint32_t at = QCOW2_HEAD_SIZE; at < sizeof(bytes); at++)
                if (at - found.name.offset >= found.name.size &&
                    at - found.old.offset >= found.old.size)
                        ck_assert_uint_eq(bytes[at], before[at]);
        /* All of the head but offset and length of the name. */
        ck_assert_mem_eq(bytes, before, 8);
        ck_assert_mem_eq(bytes + 20, before + 20, QCOW2_HEAD_SIZE - 20);
        scratch_remove(&scratch);
}
END_TEST

/* "dirty" and "corrupt" are QEMU's to judge. */
START_TEST(dirty_and_corrupt_stay) {
        scratch_make(&scratch);
        make_disk("lazy_refcounts=on");
        bytes[AT_FEATURES + 7] |= 3;
        (void)change(MAPPING, IMAGE_CONTENT_RAW);
        ck_assert_uint_eq(bytes[AT_FEATURES + 7] & 3, 3);
        expect(MAPPING, IMAGE_CONTENT_RAW);
        scratch_remove(&scratch);
}
END_TEST

/* The disk, with one byte made another. */
static void expect_refusal_with(size_t at, uint8_t value, enum wla_code code, const char *text) {
        uint8_t kept = bytes[at];

        bytes[at] = value;
        expect_refusal(code, text);
        bytes[at] = kept;
}

START_TEST(what_is_odd_is_refused) {
        scratch_make(&scratch);
        make_disk("compat=1.1");
        ck_assert_uint_eq(bytes[FORMAT_AT], 0xe2);

        expect_refusal_with(0, 'q', WLA_E_INPUT, "no qcow2 image");
        expect_refusal_with(7, 4, WLA_E_UNSUPPORTED, "version 4");
        expect_refusal_with(8, 1, WLA_E_INPUT, "out of place");
        expect_refusal_with(14, 0, WLA_E_INPUT, "out of place");
        expect_refusal_with(18, 4, WLA_E_INPUT, "impossible length");
        expect_refusal_with(16, 0xff, WLA_E_INPUT, "impossible length");
        expect_refusal_with(19, 0, WLA_E_INPUT, "impossible length");
        expect_refusal_with(23, 8, WLA_E_INPUT, "cluster size");
        expect_refusal_with(23, 22, WLA_E_INPUT, "cluster size");
        expect_refusal_with(24, 0x80, WLA_E_INPUT, "impossible size");
        expect_refusal_with(35, 2, WLA_E_UNSUPPORTED, "encrypted by QEMU");
        expect_refusal_with(AT_FEATURES + 7, 4, WLA_E_UNSUPPORTED, "external data file");
        expect_refusal_with(AT_FEATURES + 7, 32, WLA_E_UNSUPPORTED, "features that are not known");
        expect_refusal_with(88, 1, WLA_E_UNSUPPORTED, "autoclear");
        expect_refusal_with(103, 96, WLA_E_INPUT, "header size");
        expect_refusal_with(103, 109, WLA_E_INPUT, "header size");
        expect_refusal_with(100, 1, WLA_E_INPUT, "header size");
        expect_refusal_with(FORMAT_AT, 0, WLA_E_UNSUPPORTED, "what format");
        expect_refusal_with(FORMAT_AT + 4, 1, WLA_E_INPUT, "does not end");
        expect_refusal_with(FORMAT_AT + 8, 'R', WLA_E_UNSUPPORTED, "neither raw nor qcow2");
        expect_refusal_with(bytes[14] * 256u + bytes[15], '\n', WLA_E_INPUT, "not printable");
        scratch_remove(&scratch);
}
END_TEST

/* qemu-img gives up when the kernel has not seen how long its first key derivation took. */
static void make_encrypted(const char *disk) {
        const char *const argv[] = {
                "qemu-img",
                "create",
                "-q",
                "-f",
                "qcow2",
                "--object",
                "secret,id=s,data=secret",
                "-o",
                "encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=100",
                disk,
                "8M",
                NULL,
        };
        int tries = 0;

        while (run(argv) != 0)
                ck_assert_int_lt(++tries, 50);
}

START_TEST(real_images_that_are_never_changed) {
        char disk[128];
        char data[160];

        scratch_make(&scratch);
        path_of("disk", disk);

        RUN("qemu-img", "create", "-q", "-f", "qcow2", disk, "8M");
        load();
        expect("", IMAGE_CONTENT_RAW);
        expect_refusal(WLA_E_INPUT, "has no backing file");

        (void)snprintf(data, sizeof(data), "data_file=%s/data", scratch.path);
        RUN("qemu-img", "create", "-q", "-f", "qcow2", "-o", data, disk, "8M");
        load();
        expect_refusal(WLA_E_UNSUPPORTED, "external data file");

        make_encrypted(disk);
        load();
        expect_refusal(WLA_E_UNSUPPORTED, "encrypted by QEMU");

        RUN("qemu-img", "create", "-q", "-f", "raw", disk, "8M");
        load();
        expect_refusal(WLA_E_INPUT, "no qcow2 image");
        scratch_remove(&scratch);
}
END_TEST

START_TEST(a_name_that_does_not_fit_is_refused) {
        char name[QCOW2_BACKING_NAME_SIZE + 1];
        struct qcow2_backing_change found;
        struct wla_error err = {0};

        scratch_make(&scratch);
        make_disk("cluster_size=512,compat=0.10");
        memset(name, 'n', sizeof(name));
        name[sizeof(name) - 1] = '\0';
        ck_assert_int_eq(
                qcow2_backing_change(bytes, bytes_size, name, IMAGE_CONTENT_RAW, &found, &err), -1);
        ck_assert_ptr_nonnull(strstr(wla_error_text(&err), "too long"));
        name[500] = '\0';
        ck_assert_int_eq(
                qcow2_backing_change(bytes, bytes_size, name, IMAGE_CONTENT_RAW, &found, &err), -1);
        ck_assert_ptr_nonnull(strstr(wla_error_text(&err), "does not fit"));
        ck_assert_int_eq(
                qcow2_backing_change(bytes, bytes_size, "", IMAGE_CONTENT_RAW, &found, &err), -1);
        scratch_remove(&scratch);
}
END_TEST

SUITE_MAIN("image/qcow2_backing", qemu_img_agrees_before_and_after, there_and_back_changes_no_byte,
           every_step_names_one_of_the_two, only_the_three_ranges_change, dirty_and_corrupt_stay,
           what_is_odd_is_refused, real_images_that_are_never_changed,
           a_name_that_does_not_fit_is_refused)
