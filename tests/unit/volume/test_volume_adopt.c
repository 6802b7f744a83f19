/* SPDX-License-Identifier: Apache-2.0 */
#include "suite.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "image/sector_cipher.h"
#include "ordinary_volume.h"
#include "scratch.h"
#include "volume/ordinary_key.h"
#include "volume/volume_adopt.h"

int __real_fsync(int fd);
int __wrap_fsync(int fd);
int __real_linkat(int from_fd, const char *from, int to_fd, const char *to, int flags);
int __wrap_linkat(int from_fd, const char *from, int to_fd, const char *to, int flags);

/* What happens to the old file while the new one is made; and to the new one before it is on the disk. */
static void (*meanwhile)(void);
static bool damaged;

int __wrap_fsync(int fd) {
        static const uint8_t zeros[1 << 20];

        if (damaged)
                ck_assert_int_eq(pwrite(fd, zeros, sizeof(zeros), 0), sizeof(zeros));
        return __real_fsync(fd);
}

int __wrap_linkat(int from_fd, const char *from, int to_fd, const char *to, int flags) {
        if (meanwhile)
                meanwhile();
        return __real_linkat(from_fd, from, to_fd, to, flags);
}

#define OTHER_KEY "fedcba9876543210fedcba9876543210"

/* A volume in a directory. */
struct fixture {
        struct scratch scratch;
        int directory_fd;
        struct ordinary_volume volume;
};

static void set_up(struct fixture *fixture, const struct ordinary_volume *volume) {
        *fixture = (struct fixture){.volume = *volume};
        if (fixture->volume.data_size == 0)
                fixture->volume.data_size = 300 * 1024;
        scratch_make(&fixture->scratch);
        fixture->directory_fd = open(fixture->scratch.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        int fd = open(scratch_file(&fixture->scratch, "vm"), O_RDWR | O_CREAT | O_EXCL, 0640);
        ck_assert_int_ge(fd, 0);
        ordinary_volume_make(fd, &fixture->volume);
        (void)close(fd);
}

static void tear_down(struct fixture *fixture) {
        (void)close(fixture->directory_fd);
        scratch_remove(&fixture->scratch);
}

/* As volumed does: the header is a copy. */
static int adopt_open(const struct fixture *fixture, int fd, const char *passphrase,
                      enum volume_adopted *ret, struct wla_error *err) {
        _cleanup_secret_ struct wla_secret *key = ordinary_secret(passphrase);
        _cleanup_close_ int header_fd = memfd_create("header", MFD_CLOEXEC);
        _cleanup_free_ uint8_t *bytes = malloc(LUKS2_HEADER_MAX);
        struct luks2_header header = ordinary_header(fd);
        const struct volume_adoption adoption = {
                .directory_fd = fixture->directory_fd,
                .name = "vm",
                .fd = fd,
                .header_fd = header_fd,
                .header = &header,
                .key = key,
        };

        ck_assert_int_eq(pread(fd, bytes, LUKS2_HEADER_MAX, 0), LUKS2_HEADER_MAX);
        ck_assert_int_eq(write(header_fd, bytes, LUKS2_HEADER_MAX), LUKS2_HEADER_MAX);
        return volume_adopt(&adoption, ret, err);
}

static int adopt(const struct fixture *fixture, const char *passphrase, enum volume_adopted *ret,
                 struct wla_error *err) {
        _cleanup_close_ int fd = open(scratch_file(&fixture->scratch, "vm"), O_RDONLY | O_CLOEXEC);

        return adopt_open(fixture, fd, passphrase, ret, err);
}

static size_t count_files(const struct fixture *fixture) {
        DIR *directory = opendir(fixture->scratch.path);
        size_t count = 0;

        for (struct dirent *entry = readdir(directory); entry; entry = readdir(directory))
                count += entry->d_name[0] != '.';
        (void)closedir(directory);
        return count;
}

static ino_t inode_of(const struct fixture *fixture) {
        struct stat status;

        ck_assert_int_eq(stat(scratch_file(&fixture->scratch, "vm"), &status), 0);
        return status.st_ino;
}

/* Opens the volume by the passphrase (NULL: the empty one) and compares all of its data. */
static bool opens(const struct fixture *fixture, const char *passphrase) {
        _cleanup_close_ int fd = open(scratch_file(&fixture->scratch, "vm"), O_RDONLY | O_CLOEXEC);
        _cleanup_secret_ struct wla_secret *secret = passphrase ? ordinary_secret(passphrase)
                                                                : NULL;
        _cleanup_secret_ struct wla_secret *volume_key = NULL;
        struct luks2_header header = ordinary_header(fd);
        enum ordinary_key_outcome outcome;
        struct wla_error err = {0};

        ck_assert_int_eq(ordinary_key_try(fd, &header, secret, &outcome, &volume_key, &err), 0);
        if (outcome == ORDINARY_KEY_REFUSED)
                return false;

        _cleanup_sector_cipher_ struct sector_cipher *cipher = NULL;
        size_t size = fixture->volume.data_size;
        _cleanup_free_ uint8_t *data = malloc(size);
        struct stat status;

        ck_assert_int_eq(fstat(fd, &status), 0);
        ck_assert_uint_eq((size_t)status.st_size, ORDINARY_DATA_OFFSET + size);
        ck_assert_uint_eq(header.data_offset, ORDINARY_DATA_OFFSET);
        ck_assert_int_eq(
                sector_cipher_new(volume_key, header.sector_size, SECTOR_DECRYPT, &cipher, &err),
                0);
        ck_assert_int_eq(pread(fd, data, size, ORDINARY_DATA_OFFSET), (ssize_t)size);
        ck_assert_int_eq(sector_cipher_run(cipher, 0, data, size, &err), 0);
        for (size_t i = 0; i < size; i++)
                if (data[i] != ordinary_byte(i))
                        ck_abort_msg("byte %zu is lost", i);
        return true;
}

START_TEST(exposed_volumes_get_a_key) {
        static const struct ordinary_volume volumes[] = {
                {.empty_passphrase = true},
                {.empty_passphrase = true, .sector_size = 4096},
                {.empty_passphrase = true, .volume_key_size = 32},
                {.empty_passphrase = true, .argon2_memory = 1024},
                {.empty_passphrase = true, .passphrase = OTHER_KEY},
                {.empty_passphrase = true, .data_size = 512},
                {.empty_passphrase = true, .data_size = 61440 + 512},
        };

        for (size_t i = 0; i < sizeof(volumes) / sizeof(volumes[0]); i++) {
                struct fixture fixture;
                enum volume_adopted how;
                struct wla_error err = {0};
                struct stat status;

                set_up(&fixture, &volumes[i]);
                ck_assert(opens(&fixture, NULL));
                ino_t before = inode_of(&fixture);
                ck_assert_msg(adopt(&fixture, ORDINARY_KEY, &how, &err) == 0, "%s",
                              wla_error_text(&err));
                ck_assert_int_eq(how, VOLUME_ADOPTED);
                ck_assert_uint_ne(inode_of(&fixture), before);
                ck_assert_uint_eq(count_files(&fixture), 1);
                ck_assert(opens(&fixture, ORDINARY_KEY));
                ck_assert(!opens(&fixture, NULL));
                ck_assert(!opens(&fixture, OTHER_KEY));
                ck_assert_int_eq(stat(scratch_file(&fixture.scratch, "vm"), &status), 0);
                ck_assert_uint_eq(status.st_mode & 07777, 0640);

                /* Again: there is nothing to do. */
                before = inode_of(&fixture);
                ck_assert_int_eq(adopt(&fixture, ORDINARY_KEY, &how, &err), 0);
                ck_assert_int_eq(how, VOLUME_ADOPTION_NEEDLESS);
                ck_assert_uint_eq(inode_of(&fixture), before);
                tear_down(&fixture);
        }
}
END_TEST

START_TEST(its_key_but_slowly) {
        struct fixture fixture;
        enum volume_adopted how;
        struct wla_error err = {0};

        set_up(&fixture,
               &(struct ordinary_volume){.passphrase = ORDINARY_KEY, .iterations = 5000001});
        ck_assert_int_eq(adopt(&fixture, ORDINARY_KEY, &how, &err), 0);
        ck_assert_int_eq(how, VOLUME_ADOPTED_KEY);
        ck_assert(opens(&fixture, ORDINARY_KEY));
        tear_down(&fixture);
}
END_TEST

/* Whoever has the old header and the old volume key has nothing. */
START_TEST(the_volume_key_is_another) {
        struct fixture fixture;
        enum volume_adopted how;
        struct wla_error err = {0};
        uint8_t before[4096];
        uint8_t after[4096];

        set_up(&fixture, &(struct ordinary_volume){.empty_passphrase = true});
        int fd = open(scratch_file(&fixture.scratch, "vm"), O_RDONLY);
        ck_assert_int_eq(pread(fd, before, sizeof(before), ORDINARY_DATA_OFFSET), 4096);
        (void)close(fd);
        ck_assert_int_eq(adopt(&fixture, ORDINARY_KEY, &how, &err), 0);
        fd = open(scratch_file(&fixture.scratch, "vm"), O_RDONLY);
        ck_assert_int_eq(pread(fd, after, sizeof(after), ORDINARY_DATA_OFFSET), 4096);
        (void)close(fd);
        ck_assert_mem_ne(before, after, 4096);
        for (size_t i = 0; i < 4096; i += 16)
                ck_assert_mem_ne(before + i, after + i, 16);
        tear_down(&fixture);
}
END_TEST

START_TEST(what_neither_opens_is_left_alone) {
        struct fixture fixture;
        enum volume_adopted how;
        struct wla_error err = {0};

        set_up(&fixture, &(struct ordinary_volume){.passphrase = ORDINARY_KEY});
        ino_t before = inode_of(&fixture);
        ck_assert_int_eq(adopt(&fixture, OTHER_KEY, &how, &err), -1);
        ck_assert_int_eq(err.code, WLA_E_DENIED);
        ck_assert_uint_eq(inode_of(&fixture), before);
        ck_assert_uint_eq(count_files(&fixture), 1);
        ck_assert(opens(&fixture, ORDINARY_KEY));
        tear_down(&fixture);
}
END_TEST

START_TEST(holes_stay_holes) {
        struct fixture fixture;
        enum volume_adopted how;
        struct wla_error err = {0};
        struct stat status;

        set_up(&fixture, &(struct ordinary_volume){.empty_passphrase = true});
        ck_assert_int_eq(truncate(scratch_file(&fixture.scratch, "vm"), 1 << 30), 0);
        ck_assert_int_eq(adopt(&fixture, ORDINARY_KEY, &how, &err), 0);
        ck_assert_int_eq(stat(scratch_file(&fixture.scratch, "vm"), &status), 0);
        ck_assert_int_eq(status.st_size, 1 << 30);
        ck_assert_int_lt(status.st_blocks * 512, 40 << 20);
        /* Without the holes it is what it was. */
        ck_assert_int_eq(truncate(scratch_file(&fixture.scratch, "vm"),
                                  (off_t)(ORDINARY_DATA_OFFSET + fixture.volume.data_size)),
                         0);
        ck_assert(opens(&fixture, ORDINARY_KEY));
        tear_down(&fixture);
}
END_TEST

START_TEST(what_an_earlier_run_left) {
        struct fixture fixture;
        enum volume_adopted how;
        struct wla_error err = {0};

        set_up(&fixture, &(struct ordinary_volume){.empty_passphrase = true});
        int fd = open(scratch_file(&fixture.scratch, "vm.adopting"), O_RDWR | O_CREAT, 0600);
        ordinary_volume_make(
                fd, &(struct ordinary_volume){.passphrase = ORDINARY_KEY, .data_size = 4096});
        (void)close(fd);
        ck_assert_int_eq(adopt(&fixture, ORDINARY_KEY, &how, &err), 0);
        ck_assert_uint_eq(count_files(&fixture), 1);
        ck_assert(opens(&fixture, ORDINARY_KEY));
        tear_down(&fixture);
}
END_TEST

START_TEST(what_somebody_else_left) {
        static const struct ordinary_volume others[] = {
                {.passphrase = OTHER_KEY, .data_size = 4096},
                {.empty_passphrase = true, .passphrase = ORDINARY_KEY, .data_size = 4096},
        };

        for (size_t i = 0; i < 4; i++) {
                struct fixture fixture;
                enum volume_adopted how;
                struct wla_error err = {0};

                set_up(&fixture, &(struct ordinary_volume){.empty_passphrase = true});
                const char *path = scratch_file(&fixture.scratch, "vm.adopting");
                if (i == 2)
                        ck_assert_int_eq(symlink("vm", path), 0);
                if (i == 3)
                        ck_assert_int_eq(mkfifo(path, 0600), 0);
                if (i < 2) {
                        int fd = open(path, O_RDWR | O_CREAT, 0600);

                        ordinary_volume_make(fd, &others[i]);
                        (void)close(fd);
                }
                ck_assert_int_eq(adopt(&fixture, ORDINARY_KEY, &how, &err), -1);
                ck_assert_uint_eq(count_files(&fixture), 2);
                ck_assert(opens(&fixture, NULL));
                tear_down(&fixture);
        }
}
END_TEST

START_TEST(another_file_in_its_place) {
        struct fixture fixture;
        enum volume_adopted how;
        struct wla_error err = {0};

        set_up(&fixture, &(struct ordinary_volume){.empty_passphrase = true});
        _cleanup_close_ int fd = open(scratch_file(&fixture.scratch, "vm"), O_RDONLY | O_CLOEXEC);
        char moved[320];
        (void)snprintf(moved, sizeof(moved), "%s", scratch_file(&fixture.scratch, "moved"));
        ck_assert_int_eq(rename(scratch_file(&fixture.scratch, "vm"), moved), 0);
        (void)close(open(scratch_file(&fixture.scratch, "vm"), O_WRONLY | O_CREAT, 0600));
        ck_assert_int_eq(adopt_open(&fixture, fd, ORDINARY_KEY, &how, &err), -1);
        ck_assert_int_eq(err.code, WLA_E_BUSY);
        ck_assert_uint_eq(count_files(&fixture), 2);
        struct stat status;
        ck_assert_int_eq(stat(scratch_file(&fixture.scratch, "vm"), &status), 0);
        ck_assert_int_eq(status.st_size, 0);
        tear_down(&fixture);
}
END_TEST

static struct fixture written;

static void write_what_is_there(void) {
        int fd = open(scratch_file(&written.scratch, "vm"), O_RDWR | O_CLOEXEC);
        uint8_t byte;

        ck_assert_int_eq(pread(fd, &byte, 1, ORDINARY_DATA_OFFSET), 1);
        ck_assert_int_eq(pwrite(fd, &byte, 1, ORDINARY_DATA_OFFSET), 1);
        (void)close(fd);
}

/* By somebody who hides it. */
static void lengthen(void) {
        int fd = open(scratch_file(&written.scratch, "vm"), O_RDWR | O_CLOEXEC);
        struct stat status;

        ck_assert_int_eq(fstat(fd, &status), 0);
        ck_assert_int_eq(ftruncate(fd, status.st_size + 512), 0);
        ck_assert_int_eq(futimens(fd, (const struct timespec[]){status.st_atim, status.st_mtim}),
                         0);
        (void)close(fd);
}

/* What a guest has written while its volume was copied is in the old file alone. */
START_TEST(written_to_while_it_is_adopted) {
        static void (*const changes[])(void) = {write_what_is_there, lengthen};

        for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
                enum volume_adopted how;
                struct wla_error err = {0};

                set_up(&written, &(struct ordinary_volume){.empty_passphrase = true});
                ino_t before = inode_of(&written);
                meanwhile = changes[i];
                ck_assert_int_eq(adopt(&written, ORDINARY_KEY, &how, &err), -1);
                meanwhile = NULL;
                ck_assert_int_eq(err.code, WLA_E_BUSY);
                ck_assert_uint_eq(inode_of(&written), before);
                ck_assert_uint_eq(count_files(&written), 1);
                tear_down(&written);
        }
}
END_TEST

START_TEST(one_that_does_not_open_replaces_nothing) {
        struct fixture fixture;
        enum volume_adopted how;
        struct wla_error err = {0};

        set_up(&fixture, &(struct ordinary_volume){.empty_passphrase = true});
        damaged = true;
        ck_assert_int_eq(adopt(&fixture, ORDINARY_KEY, &how, &err), -1);
        damaged = false;
        ck_assert_uint_eq(count_files(&fixture), 1);
        ck_assert(opens(&fixture, NULL));
        tear_down(&fixture);
}
END_TEST

/* A volume whose size is not what one expects is not made again, it is refused. */
START_TEST(layouts_that_are_none) {
        struct fixture fixture;
        enum volume_adopted how;
        struct wla_error err = {0};

        set_up(&fixture, &(struct ordinary_volume){.empty_passphrase = true, .data_size = 4096});
        ck_assert_int_eq(
                truncate(scratch_file(&fixture.scratch, "vm"), ORDINARY_DATA_OFFSET + 4096 + 100),
                0);
        ck_assert_int_eq(adopt(&fixture, ORDINARY_KEY, &how, &err), -1);
        ck_assert_int_eq(err.code, WLA_E_INPUT);
        ck_assert_int_eq(
                truncate(scratch_file(&fixture.scratch, "vm"), ORDINARY_DATA_OFFSET + 4096), 0);
        ck_assert(opens(&fixture, NULL));
        ck_assert_uint_eq(count_files(&fixture), 1);
        tear_down(&fixture);
}
END_TEST

START_TEST(a_disk_that_is_full) {
        const struct rlimit small = {.rlim_cur = ORDINARY_DATA_OFFSET + 3 * 4096,
                                     .rlim_max = RLIM_INFINITY};
        const struct rlimit large = {.rlim_cur = RLIM_INFINITY, .rlim_max = RLIM_INFINITY};
        struct fixture fixture;
        enum volume_adopted how;
        struct wla_error err = {0};

        set_up(&fixture, &(struct ordinary_volume){.empty_passphrase = true});
        ck_assert_int_eq(sigaction(SIGXFSZ, &(struct sigaction){.sa_handler = SIG_IGN}, NULL), 0);
        ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &small), 0);
        int outcome = adopt(&fixture, ORDINARY_KEY, &how, &err);
        ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &large), 0);
        ck_assert_int_eq(outcome, -1);
        ck_assert_int_eq(err.code, WLA_E_SYSTEM);
        ck_assert_uint_eq(count_files(&fixture), 1);
        ck_assert(opens(&fixture, NULL));
        tear_down(&fixture);
}
END_TEST

/* At every instant the volume opens one way or the other, with all its data. */
START_TEST(killed_while_it_is_adopted) {
        struct fixture fixture;
        enum volume_adopted how;
        struct wla_error err = {0};

        set_up(&fixture, &(struct ordinary_volume){.empty_passphrase = true, .data_size = 4 << 20});
        for (unsigned i = 0; i < 16; i++) {
                pid_t child = fork();

                ck_assert_int_ge(child, 0);
                if (child == 0)
                        _exit(adopt(&fixture, ORDINARY_KEY, &how, &err) == 0 ? 0 : 1);
                (void)usleep(i * 10000);
                (void)kill(child, SIGKILL);
                ck_assert_int_eq(waitpid(child, NULL, 0), child);
                ck_assert(opens(&fixture, NULL) != opens(&fixture, ORDINARY_KEY));
                ck_assert_uint_le(count_files(&fixture), 2);
        }
        ck_assert_int_eq(adopt(&fixture, ORDINARY_KEY, &how, &err), 0);
        ck_assert(opens(&fixture, ORDINARY_KEY));
        ck_assert(!opens(&fixture, NULL));
        ck_assert_uint_eq(count_files(&fixture), 1);
        tear_down(&fixture);
}
END_TEST

SUITE_MAIN("volume_adopt", exposed_volumes_get_a_key, its_key_but_slowly, the_volume_key_is_another,
           what_neither_opens_is_left_alone, holes_stay_holes, what_an_earlier_run_left,
           what_somebody_else_left, another_file_in_its_place, written_to_while_it_is_adopted,
           one_that_does_not_open_replaces_nothing, layouts_that_are_none, a_disk_that_is_full,
           killed_while_it_is_adopted)
