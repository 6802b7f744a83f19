/* SPDX-License-Identifier: Apache-2.0 */
#include "suite.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <openssl/evp.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "fail_allocation.h"
#include "image/header_writer.h"
#include "image/isecl_convert.h"
#include "image/isecl_decrypt.h"
#include "image/sector_cipher.h"
#include "image/volume_key.h"
#include "isecl_fixture.h"
#include "scratch.h"

/* One image, its key and a directory for conversions. */
struct fixture {
        struct scratch scratch;
        int directory_fd;
        int image_fd;
        uint8_t *file;
        size_t size; /* of the plaintext */
        struct isecl_image image;
        struct wla_secret *key;
        struct key_id key_id;
        bool wants_digest;
        bool digested;
        uint8_t digest[ISECL_DIGEST_SIZE];
};

static void set_up(struct fixture *fixture, const void *head, size_t head_size, size_t size) {
        struct wla_error err = {0};

        *fixture = (struct fixture){.size = size, .key = isecl_key(9)};
        scratch_make(&fixture->scratch);
        fixture->directory_fd = open(fixture->scratch.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        fixture->file = isecl_make(9, head, head_size, size);
        fixture->image_fd = isecl_file(fixture->file, size + 60);
        ck_assert_int_eq(isecl_image_read(fixture->image_fd, &fixture->image, &err), 0);
        ck_assert_int_eq(key_id_local("web", &fixture->key_id, &err), 0);
}

static void tear_down(struct fixture *fixture) {
        (void)close(fixture->directory_fd);
        (void)close(fixture->image_fd);
        free(fixture->file);
        (void)wla_secret_free(fixture->key);
        scratch_remove(&fixture->scratch);
}

static int convert(struct fixture *fixture, struct wla_error *err) {
        struct isecl_conversion what = {
                .image_fd = fixture->image_fd,
                .image = &fixture->image,
                .key = fixture->key,
                .key_id = &fixture->key_id,
                .directory_fd = fixture->directory_fd,
                .wants_digest = fixture->wants_digest,
        };
        int outcome = isecl_convert(&what, err);

        if (what.digested)
                memcpy(fixture->digest, what.digest, sizeof(fixture->digest));
        fixture->digested = what.digested;
        return outcome;
}

static size_t count_files(const struct fixture *fixture) {
        DIR *directory = opendir(fixture->scratch.path);
        size_t count = 0;

        for (struct dirent *entry = readdir(directory); entry; entry = readdir(directory))
                count += entry->d_name[0] != '.';
        (void)closedir(directory);
        return count;
}

static const char *file_path(const struct fixture *fixture, const char *suffix) {
        char name[128];

        (void)snprintf(name, sizeof(name), "%s%s", fixture->image.identity.text, suffix);
        return scratch_file(&fixture->scratch, name);
}

static ino_t inode_of(const struct fixture *fixture, const char *suffix) {
        struct stat status;

        return stat(file_path(fixture, suffix), &status) == 0 ? status.st_ino : 0;
}

/* Reads what there is of a conversion and checks the header. */
static uint8_t *open_converted(const struct fixture *fixture, struct luks2_header *ret) {
        uint8_t header[IMAGE_HEADER_SIZE];
        int data_fd = -1;
        int header_fd = -1;
        struct stat status;
        struct wla_error err = {0};

        ck_assert_int_eq(isecl_converted_open(fixture->directory_fd, &fixture->image.identity,
                                              &data_fd, &header_fd, &err),
                         0);
        ck_assert_int_eq(read(header_fd, header, sizeof(header)), sizeof(header));
        ck_assert_int_eq(luks2_header_check(header, sizeof(header), ret, &err), 0);
        ck_assert_int_eq(ret->kind, LUKS2_IMAGE);
        ck_assert(uuid_equal(&ret->uuid, &fixture->image.identity));
        ck_assert(key_id_equal(&ret->image.key_id, &fixture->key_id));

        ck_assert_int_eq(fstat(data_fd, &status), 0);
        ck_assert_uint_eq(status.st_mode & 07777, 0600);
        ck_assert_uint_eq((size_t)status.st_size, (fixture->size + 4095) / 4096 * 4096);
        ck_assert_uint_eq(ret->image.size, (size_t)status.st_size);

        uint8_t *data = malloc((size_t)status.st_size);
        ck_assert_int_eq(pread(data_fd, data, (size_t)status.st_size, 0), status.st_size);

        struct wla_secret *volume_key = NULL;
        struct sector_cipher *cipher = NULL;
        ck_assert_int_eq(image_key_unwrap(fixture->key, ret, &volume_key, &err), 0);
        ck_assert_int_eq(image_probe_check(volume_key, ret, data_fd, &err), 0);
        ck_assert_int_eq(sector_cipher_new(volume_key, 4096, SECTOR_DECRYPT, &cipher, &err), 0);
        ck_assert_int_eq(sector_cipher_run(cipher, 0, data, (size_t)status.st_size, &err), 0);
        (void)sector_cipher_free(cipher);
        (void)wla_secret_free(volume_key);
        (void)close(data_fd);
        (void)close(header_fd);
        return data;
}

START_TEST(raw_disks_of_many_sizes) {
        static const size_t sizes[] = {
                1, 512, 4095, 4096, 4097, ISECL_PIECE, ISECL_PIECE + 513, 3 * ISECL_PIECE,
        };

        for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
                struct fixture fixture;
                struct luks2_header header;
                struct wla_error err = {0};

                set_up(&fixture, NULL, 0, sizes[i]);
                ck_assert_int_eq(convert(&fixture, &err), 0);
                ck_assert_uint_eq(count_files(&fixture), 2);
                uint8_t *data = open_converted(&fixture, &header);
                ck_assert_int_eq(header.image.content, IMAGE_CONTENT_RAW);
                ck_assert_uint_eq(header.image.virtual_size, (sizes[i] + 511) / 512 * 512);
                for (size_t at = 0; at < header.image.size; at++)
                        if (data[at] != (at < sizes[i] ? isecl_plain_byte(at) : 0))
                                ck_abort_msg("byte %zu of %zu is wrong", at, sizes[i]);
                free(data);
                tear_down(&fixture);
        }
}
END_TEST

START_TEST(a_qcow2_keeps_its_size) {
        uint8_t head[104] = "QFI\xfb";
        struct fixture fixture;
        struct luks2_header header;
        struct wla_error err = {0};

        head[7] = 3;
        head[23] = 16;
        head[28] = 1;
        head[103] = 104;
        set_up(&fixture, head, sizeof(head), 262144);
        ck_assert_int_eq(convert(&fixture, &err), 0);
        free(open_converted(&fixture, &header));
        ck_assert_int_eq(header.image.content, IMAGE_CONTENT_QCOW2);
        ck_assert_uint_eq(header.image.virtual_size, 16 << 20);
        ck_assert_uint_eq(header.image.size, 262144);
        tear_down(&fixture);

        head[15] = 104; /* a backing file */
        set_up(&fixture, head, sizeof(head), 262144);
        ck_assert_int_eq(convert(&fixture, &err), -1);
        ck_assert_int_eq(err.code, WLA_E_UNSUPPORTED);
        ck_assert_uint_eq(count_files(&fixture), 0);
        tear_down(&fixture);
}
END_TEST

START_TEST(what_is_not_genuine_leaves_nothing) {
        const size_t size = 2 * ISECL_PIECE;
        struct fixture fixture;
        struct wla_error err = {0};

        set_up(&fixture, NULL, 0, size);
        const size_t flips[] = {44, 44 + size / 2, 43 + size, 44 + size, 59 + size};
        for (size_t i = 0; i < sizeof(flips) / sizeof(flips[0]); i++) {
                uint8_t other = fixture.file[flips[i]] ^ 1u;

                ck_assert_int_eq(pwrite(fixture.image_fd, &other, 1, (off_t)flips[i]), 1);
                ck_assert_int_eq(isecl_image_read(fixture.image_fd, &fixture.image, &err), 0);
                ck_assert_int_eq(convert(&fixture, &err), -1);
                ck_assert_int_eq(err.code, WLA_E_DENIED);
                ck_assert_uint_eq(count_files(&fixture), 0);
                ck_assert_int_eq(
                        pwrite(fixture.image_fd, fixture.file + flips[i], 1, (off_t)flips[i]), 1);
        }

        ck_assert_int_eq(isecl_image_read(fixture.image_fd, &fixture.image, &err), 0);
        wla_secret_fill(fixture.key)[0] ^= 1;
        ck_assert_int_eq(convert(&fixture, &err), -1);
        ck_assert_int_eq(err.code, WLA_E_DENIED);
        ck_assert_uint_eq(count_files(&fixture), 0);
        wla_secret_fill(fixture.key)[0] ^= 1;
        ck_assert_int_eq(convert(&fixture, &err), 0);
        tear_down(&fixture);
}
END_TEST

/* In the same pass as the conversion; none without one, and none that nobody wants. */
START_TEST(the_digest_is_that_of_the_whole_file) {
        uint8_t expected[ISECL_DIGEST_SIZE];
        struct fixture fixture;
        struct wla_error err = {0};

        set_up(&fixture, NULL, 0, 2 * ISECL_PIECE + 513);
        ck_assert_int_eq(
                EVP_Digest(fixture.file, fixture.size + 60, expected, NULL, EVP_sha384(), NULL), 1);
        fixture.wants_digest = true;
        ck_assert_int_eq(convert(&fixture, &err), 0);
        ck_assert(fixture.digested);
        ck_assert_mem_eq(fixture.digest, expected, sizeof(expected));
        ck_assert_int_eq(convert(&fixture, &err), 0);
        ck_assert(!fixture.digested);
        tear_down(&fixture);

        set_up(&fixture, NULL, 0, 512);
        ck_assert_int_eq(convert(&fixture, &err), 0);
        ck_assert(!fixture.digested);
        tear_down(&fixture);
}
END_TEST

START_TEST(a_conversion_that_exists_is_kept) {
        struct fixture fixture;
        struct wla_error err = {0};

        set_up(&fixture, NULL, 0, 100000);
        ck_assert_int_eq(convert(&fixture, &err), 0);
        ino_t data = inode_of(&fixture, ".img");
        ino_t header = inode_of(&fixture, ".img.header");
        ck_assert_int_eq(convert(&fixture, &err), 0);
        ck_assert(data != 0 && inode_of(&fixture, ".img") == data);
        ck_assert(header != 0 && inode_of(&fixture, ".img.header") == header);
        ck_assert_uint_eq(count_files(&fixture), 2);
        tear_down(&fixture);
}
END_TEST

/* Otherwise the layers above it would be lost with it. */
START_TEST(a_conversion_made_again_is_the_same) {
        static const char *const lost[] = {".img", ".img.header"};
        struct fixture fixture;
        struct luks2_header header;
        struct wla_error err = {0};
        uint8_t before[4096];
        uint8_t after[4096];

        set_up(&fixture, NULL, 0, 100000);
        ck_assert_int_eq(convert(&fixture, &err), 0);
        int fd = open(file_path(&fixture, ".img"), O_RDONLY);
        ck_assert_int_eq(pread(fd, before, sizeof(before), 8192), sizeof(before));
        (void)close(fd);

        for (unsigned which = 1; which <= 3; which++) {
                for (unsigned i = 0; i < 2; i++)
                        if (which & 1u << i)
                                ck_assert_int_eq(unlink(file_path(&fixture, lost[i])), 0);
                int data_fd = -1;
                int header_fd = -1;
                ck_assert_int_eq(isecl_converted_open(fixture.directory_fd, &fixture.image.identity,
                                                      &data_fd, &header_fd, &err),
                                 -1);
                ck_assert_int_eq(err.code, WLA_E_NOT_FOUND);
                ck_assert_int_eq(convert(&fixture, &err), 0);
                free(open_converted(&fixture, &header));
                fd = open(file_path(&fixture, ".img"), O_RDONLY);
                ck_assert_int_eq(pread(fd, after, sizeof(after), 8192), sizeof(after));
                (void)close(fd);
                ck_assert_mem_eq(before, after, sizeof(before));
                ck_assert_uint_eq(count_files(&fixture), 2);
        }
        tear_down(&fixture);
}
END_TEST

START_TEST(another_image_is_another_conversion) {
        struct fixture fixture;
        struct wla_error err = {0};

        set_up(&fixture, NULL, 0, 5000);
        ck_assert_int_eq(convert(&fixture, &err), 0);

        /* The same disk under another nonce. */
        struct fixture other = fixture;
        other.file = isecl_make(9, "changed", 7, 5000);
        other.image_fd = isecl_file(other.file, 5060);
        ck_assert_int_eq(isecl_image_read(other.image_fd, &other.image, &err), 0);
        int data_fd = -1;
        int header_fd = -1;
        ck_assert_int_eq(isecl_converted_open(other.directory_fd, &other.image.identity, &data_fd,
                                              &header_fd, &err),
                         -1);
        ck_assert_int_eq(err.code, WLA_E_NOT_FOUND);
        ck_assert_int_eq(convert(&other, &err), 0);
        ck_assert_uint_eq(count_files(&fixture), 4);
        (void)close(other.image_fd);
        free(other.file);
        tear_down(&fixture);
}
END_TEST

START_TEST(partial_files_of_the_dead_are_removed) {
        struct fixture fixture;
        struct wla_error err = {0};

        set_up(&fixture, NULL, 0, 5000);
        /* Its own, longer than what it becomes; another's; and one that somebody works on. */
        int own = open(file_path(&fixture, ".img.partial"), O_RDWR | O_CREAT, 0600);
        ck_assert_int_eq(ftruncate(own, 1 << 20), 0);
        (void)close(own);
        (void)close(
                open(scratch_file(&fixture.scratch, "dead.img.partial"), O_WRONLY | O_CREAT, 0600));
        int busy = open(scratch_file(&fixture.scratch, "busy.img.partial"), O_WRONLY | O_CREAT,
                        0600);
        ck_assert_int_eq(flock(busy, LOCK_EX), 0);
        (void)close(open(scratch_file(&fixture.scratch, "kept.img"), O_WRONLY | O_CREAT, 0600));

        ck_assert_int_eq(convert(&fixture, &err), 0);
        struct luks2_header header;
        free(open_converted(&fixture, &header));
        ck_assert_uint_eq(count_files(&fixture), 4);
        ck_assert_int_eq(access(scratch_file(&fixture.scratch, "busy.img.partial"), F_OK), 0);
        ck_assert_int_eq(access(scratch_file(&fixture.scratch, "kept.img"), F_OK), 0);
        (void)close(busy);
        tear_down(&fixture);
}
END_TEST

START_TEST(processes_convert_it_once) {
        struct fixture fixture;
        struct luks2_header header;
        pid_t children[4];

        set_up(&fixture, NULL, 0, 8 * ISECL_PIECE);
        for (size_t i = 0; i < 4; i++) {
                children[i] = fork();
                ck_assert_int_ge(children[i], 0);
                if (children[i] == 0) {
                        struct wla_error err = {0};

                        _exit(convert(&fixture, &err) == 0 ? 0 : 1);
                }
        }
        for (size_t i = 0; i < 4; i++) {
                int status;

                ck_assert_int_eq(waitpid(children[i], &status, 0), children[i]);
                ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
        }
        free(open_converted(&fixture, &header));
        ck_assert_uint_eq(count_files(&fixture), 2);
        tear_down(&fixture);
}
END_TEST

/* From when the partial name is free others may begin; they have to find the header then. */
START_TEST(the_ciphertext_gets_its_name_last) {
        struct fixture fixture;
        struct luks2_header header;
        struct wla_error err = {0};

        set_up(&fixture, NULL, 0, 5000);
        ck_assert_int_eq(mkdir(file_path(&fixture, ".img.header"), 0700), 0);
        ck_assert_int_eq(convert(&fixture, &err), -1);
        ck_assert_int_eq(err.code, WLA_E_SYSTEM);
        ck_assert_uint_eq(inode_of(&fixture, ".img"), 0);
        ck_assert_uint_eq(count_files(&fixture), 1);

        ck_assert_int_eq(rmdir(file_path(&fixture, ".img.header")), 0);
        ck_assert_int_eq(convert(&fixture, &err), 0);
        free(open_converted(&fixture, &header));
        tear_down(&fixture);
}
END_TEST

/* Wherever it is killed, nothing stands under the final names that is not whole. */
START_TEST(killed_while_it_converts) {
        struct fixture fixture;
        struct luks2_header header;
        struct wla_error err = {0};

        set_up(&fixture, NULL, 0, 200 * ISECL_PIECE);
        for (unsigned i = 0; i < 20; i++) {
                pid_t child = fork();

                ck_assert_int_ge(child, 0);
                if (child == 0)
                        _exit(convert(&fixture, &err) == 0 ? 0 : 1);
                (void)usleep(i * 2000);
                (void)kill(child, SIGKILL);
                ck_assert_int_eq(waitpid(child, NULL, 0), child);
                if (inode_of(&fixture, ".img") != 0)
                        free(open_converted(&fixture, &header));
        }
        ck_assert_int_eq(convert(&fixture, &err), 0);
        free(open_converted(&fixture, &header));
        ck_assert_uint_eq(count_files(&fixture), 2);
        tear_down(&fixture);
}
END_TEST

START_TEST(a_disk_that_is_full) {
        const struct rlimit small = {.rlim_cur = 3 * 4096, .rlim_max = RLIM_INFINITY};
        const struct rlimit large = {.rlim_cur = RLIM_INFINITY, .rlim_max = RLIM_INFINITY};
        struct fixture fixture;
        struct wla_error err = {0};

        set_up(&fixture, NULL, 0, 3 * ISECL_PIECE);
        ck_assert_int_eq(sigaction(SIGXFSZ, &(struct sigaction){.sa_handler = SIG_IGN}, NULL), 0);
        ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &small), 0);
        int outcome = convert(&fixture, &err);
        ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &large), 0);
        ck_assert_int_eq(outcome, -1);
        ck_assert_int_eq(err.code, WLA_E_SYSTEM);
        ck_assert_uint_eq(count_files(&fixture), 0);
        ck_assert_int_eq(convert(&fixture, &err), 0);
        tear_down(&fixture);
}
END_TEST

static int note(const struct uuid *identity, void *userdata, struct wla_error *err) {
        struct uuid *seen = userdata;

        if (uuid_equal(identity, seen))
                return wla_fail(err, WLA_E_BUSY, "twice");
        *seen = *identity;
        return 0;
}

START_TEST(conversions_are_found_and_removed) {
        static const char *const others[] = {"rubbish.img", "rubbish", ".img"};
        struct fixture fixture;
        struct luks2_header header;
        struct uuid seen = {0};
        struct wla_error err = {0};

        set_up(&fixture, "", 0, 4096);
        for (size_t i = 0; i < 3; i++)
                (void)close(openat(fixture.directory_fd, others[i], O_CREAT | O_WRONLY, 0600));
        ck_assert_int_eq(
                isecl_converted_remove(fixture.directory_fd, &fixture.image.identity, &err), -1);
        ck_assert_int_eq(err.code, WLA_E_NOT_FOUND);
        ck_assert_int_eq(isecl_converted_each(fixture.directory_fd, note, &seen, &err), 0);
        ck_assert_uint_eq(seen.text[0], 0);

        for (int i = 0; i < 2; i++) {
                ck_assert_int_eq(convert(&fixture, &err), 0);
                free(open_converted(&fixture, &header));
                memset(&seen, 0, sizeof(seen));
                ck_assert_int_eq(isecl_converted_each(fixture.directory_fd, note, &seen, &err), 0);
                ck_assert(uuid_equal(&seen, &fixture.image.identity));
                ck_assert_int_eq(isecl_converted_each(fixture.directory_fd, note, &seen, &err), -1);
                ck_assert_int_eq(
                        isecl_converted_remove(fixture.directory_fd, &fixture.image.identity, &err),
                        0);
                ck_assert_uint_eq(count_files(&fixture), 2);
        }
        for (size_t i = 0; i < 3; i++)
                (void)unlinkat(fixture.directory_fd, others[i], 0);
        tear_down(&fixture);
}
END_TEST

/* As it is left when it was killed between the two, or there was no header. */
START_TEST(half_a_conversion_is_no_obstacle) {
        static const char *const lost[] = {".img", ".img.header"};

        for (size_t i = 0; i < 2; i++) {
                struct fixture fixture;
                struct luks2_header header;
                struct wla_error err = {0};

                set_up(&fixture, "", 0, 4096);
                ck_assert_int_eq(convert(&fixture, &err), 0);
                ck_assert_int_eq(unlink(file_path(&fixture, lost[i])), 0);
                ck_assert_int_eq(
                        isecl_converted_remove(fixture.directory_fd, &fixture.image.identity, &err),
                        -1);
                ck_assert_uint_eq(count_files(&fixture), i == 0 ? 1 : 0);
                ck_assert_int_eq(convert(&fixture, &err), 0);
                free(open_converted(&fixture, &header));
                (void)unlink(file_path(&fixture, ".img"));
                (void)unlink(file_path(&fixture, ".img.header"));
                tear_down(&fixture);
        }
}
END_TEST

START_TEST(a_directory_that_is_none) {
        struct fixture fixture;
        struct wla_error err = {0};

        set_up(&fixture, NULL, 0, 5000);
        int directory_fd = fixture.directory_fd;
        fixture.directory_fd = fixture.image_fd;
        ck_assert_int_eq(convert(&fixture, &err), -1);
        ck_assert_int_eq(err.code, WLA_E_SYSTEM);
        fixture.directory_fd = directory_fd;
        tear_down(&fixture);
}
END_TEST

START_TEST(failed_allocations_are_errors) {
        struct fixture fixture;

        set_up(&fixture, NULL, 0, 5000);
        for (size_t n = 1; fail_allocation_arm(n); n++) {
                struct wla_error err = {0};
                int outcome = convert(&fixture, &err);

                fail_allocation_disarm();
                ck_assert_int_eq(outcome, fail_allocation_hit() ? -1 : 0);
                ck_assert_uint_eq(count_files(&fixture), outcome == 0 ? 2 : 0);
                if (outcome == 0) {
                        ck_assert_int_eq(unlink(file_path(&fixture, ".img")), 0);
                        ck_assert_int_eq(unlink(file_path(&fixture, ".img.header")), 0);
                }
        }
        tear_down(&fixture);
}
END_TEST

SUITE_MAIN("isecl_convert", conversions_are_found_and_removed, half_a_conversion_is_no_obstacle,
           raw_disks_of_many_sizes, a_qcow2_keeps_its_size, what_is_not_genuine_leaves_nothing,
           a_conversion_that_exists_is_kept, the_digest_is_that_of_the_whole_file,
           a_conversion_made_again_is_the_same, another_image_is_another_conversion,
           partial_files_of_the_dead_are_removed, processes_convert_it_once,
           the_ciphertext_gets_its_name_last, killed_while_it_converts, a_disk_that_is_full,
           a_directory_that_is_none, failed_allocations_are_errors)
