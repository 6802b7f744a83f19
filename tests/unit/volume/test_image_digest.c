/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/image_digest.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <signal.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#include "fail_allocation.h"
#include "scratch.h"
#include "suite.h"

#define SIZE        ((size_t)(3 << 20) + 17)
#define SETTLED_SEC 2

struct fixture {
        struct scratch records;
        struct scratch images;
        int directory_fd;
        int image_fd;
        uint8_t expected[IMAGE_DIGEST_SIZE];
};

/* By how much the clock of the day is ahead, so that nobody has to wait until a file is of age. */
static time_t ahead_sec;

int __real_clock_gettime(clockid_t clock, struct timespec *ret);
int __wrap_clock_gettime(clockid_t clock, struct timespec *ret);

int __wrap_clock_gettime(clockid_t clock, struct timespec *ret) {
        int outcome = __real_clock_gettime(clock, ret);

        if (clock == CLOCK_REALTIME)
                ret->tv_sec += ahead_sec;
        return outcome;
}

static void write_image(struct fixture *fixture, uint8_t first) {
        static uint8_t bytes[SIZE];

        ahead_sec = 0;
        for (size_t i = 0; i < sizeof(bytes); i++)
                bytes[i] = (uint8_t)(i * 7 + first);
        ck_assert_int_eq(pwrite(fixture->image_fd, bytes, sizeof(bytes), 0),
                         (ssize_t)sizeof(bytes));
        ck_assert_int_eq(
                EVP_Digest(bytes, sizeof(bytes), fixture->expected, NULL, EVP_sha384(), NULL), 1);
}

/* Whether the tests' file system, which may be any, is one where digests are kept. */
static bool keeps(int fd) {
        struct statfs facts;

        ck_assert_int_eq(fstatfs(fd, &facts), 0);
        return facts.f_type != TMPFS_MAGIC && facts.f_type != OVERLAYFS_SUPER_MAGIC;
}

static bool is_young(int fd) {
        struct timespec now;
        struct stat status;

        ck_assert_int_eq(fstat(fd, &status), 0);
        ck_assert_int_eq(clock_gettime(CLOCK_REALTIME, &now), 0);
        return now.tv_sec - status.st_ctim.tv_sec < SETTLED_SEC ||
               (now.tv_sec - status.st_ctim.tv_sec == SETTLED_SEC &&
                now.tv_nsec < status.st_ctim.tv_nsec);
}

/* The pause is longer than a tick, by which file systems tell changes apart. */
static void settle(int fd) {
        const struct timespec pause = {.tv_nsec = 20 * 1000 * 1000};

        (void)nanosleep(&pause, NULL);
        while (is_young(fd))
                ahead_sec++;
}

static size_t count_records(const struct fixture *fixture) {
        DIR *directory = opendir(fixture->records.path);
        size_t count = 0;

        ck_assert_ptr_nonnull(directory);
        for (struct dirent *entry = readdir(directory); entry; entry = readdir(directory))
                count += entry->d_name[0] != '.';
        (void)closedir(directory);
        return count;
}

static void set_up(struct fixture *fixture) {
        scratch_make(&fixture->records);
        scratch_make(&fixture->images);
        fixture->directory_fd = open(fixture->records.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        fixture->image_fd = open(scratch_file(&fixture->images, "image"),
                                 O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        ck_assert_int_ge(fixture->directory_fd, 0);
        ck_assert_int_ge(fixture->image_fd, 0);
        write_image(fixture, 1);
}

static void tear_down(struct fixture *fixture) {
        (void)close(fixture->directory_fd);
        (void)close(fixture->image_fd);
        scratch_remove(&fixture->records);
        scratch_remove(&fixture->images);
}

static struct image_digest begin(const struct fixture *fixture) {
        struct image_digest digest;
        struct wla_error err = {0};

        ck_assert_int_eq(
                image_digest_begin(fixture->directory_fd, fixture->image_fd, &digest, &err), 0);
        return digest;
}

static void advance(struct image_digest *digest, uint64_t usec) {
        struct wla_error err = {0};

        ck_assert_msg(image_digest_advance(digest, usec, &err) == 0, "%s", wla_error_text(&err));
}

static void is_ready(const struct fixture *fixture, const struct image_digest *digest) {
        ck_assert(digest->ready && !digest->computes);
        ck_assert_uint_eq(digest->done, digest->state.size);
        ck_assert_mem_eq(digest->bytes, fixture->expected, sizeof(fixture->expected));
}

START_TEST(it_is_computed_in_steps_and_then_known) {
        struct fixture fixture;

        set_up(&fixture);
        settle(fixture.image_fd);
        struct image_digest first = begin(&fixture);
        ck_assert(first.computes && !first.ready);
        advance(&first, 0);
        ck_assert(!first.ready);
        ck_assert_uint_gt(first.done, 0);
        ck_assert_uint_lt(first.done, SIZE);
        advance(&first, UINT64_MAX);
        is_ready(&fixture, &first);
        image_digest_close(&first);

        struct image_digest second = begin(&fixture);
        ck_assert_int_eq(second.ready, keeps(fixture.image_fd));
        ck_assert_uint_eq(count_records(&fixture), keeps(fixture.image_fd) ? 1 : 0);
        advance(&second, UINT64_MAX);
        is_ready(&fixture, &second);
        image_digest_close(&second);
        tear_down(&fixture);
}
END_TEST

START_TEST(one_computes_and_others_see_how_far) {
        struct fixture fixture;

        set_up(&fixture);
        settle(fixture.image_fd);
        struct image_digest first = begin(&fixture);
        struct image_digest second = begin(&fixture);
        ck_assert(first.computes && !second.ready);
        ck_assert_int_ne(second.computes, keeps(fixture.image_fd));
        advance(&first, 0);
        if (!second.computes) {
                advance(&second, 60000);
                ck_assert(!second.computes && !second.ready);
                ck_assert_uint_eq(second.done, first.done);
        }
        advance(&first, UINT64_MAX);
        advance(&second, 10 * 1000 * 1000);
        is_ready(&fixture, &second);
        image_digest_close(&second);
        image_digest_close(&first);
        tear_down(&fixture);
}
END_TEST

/* Who was killed leaves a record without a digest, and no lock. */
START_TEST(another_begins_anew_when_who_computes_has_gone) {
        struct fixture fixture;

        set_up(&fixture);
        settle(fixture.image_fd);
        struct image_digest first = begin(&fixture);
        struct image_digest second = begin(&fixture);
        advance(&first, 0);
        image_digest_close(&first);
        advance(&second, 10 * 1000 * 1000);
        is_ready(&fixture, &second);
        image_digest_close(&second);
        tear_down(&fixture);
}
END_TEST

START_TEST(a_file_that_was_changed_has_another) {
        struct fixture fixture;
        uint8_t before[IMAGE_DIGEST_SIZE];

        set_up(&fixture);
        settle(fixture.image_fd);
        struct image_digest digest = begin(&fixture);
        advance(&digest, UINT64_MAX);
        memcpy(before, digest.bytes, sizeof(before));
        image_digest_close(&digest);

        write_image(&fixture, 2);
        /* With the former time of its content: that of the change nobody can set. */
        struct timespec times[2] = {{.tv_sec = digest.state.modified_sec},
                                    {.tv_sec = digest.state.modified_sec}};
        ck_assert_int_eq(futimens(fixture.image_fd, times), 0);
        digest = begin(&fixture);
        ck_assert(digest.computes && !digest.ready);
        advance(&digest, UINT64_MAX);
        is_ready(&fixture, &digest);
        ck_assert_mem_ne(digest.bytes, before, sizeof(before));
        image_digest_close(&digest);
        tear_down(&fixture);
}
END_TEST

static void refuses(struct fixture *fixture, struct image_digest *digest, const char *text) {
        struct wla_error err = {0};

        ck_assert_int_eq(image_digest_advance(digest, UINT64_MAX, &err), -1);
        ck_assert_int_eq(err.code, WLA_E_INPUT);
        ck_assert_str_eq(wla_error_text(&err), text);
        image_digest_close(digest);
        *digest = begin(fixture);
        ck_assert(!digest->ready);
        image_digest_close(digest);
}

START_TEST(a_file_that_changes_has_none) {
        struct fixture fixture;

        set_up(&fixture);
        struct image_digest digest = begin(&fixture);
        advance(&digest, 0);
        ck_assert_int_eq(fchmod(fixture.image_fd, 0640), 0);
        refuses(&fixture, &digest, "the image was changed while it was read");

        digest = begin(&fixture);
        advance(&digest, 0);
        ck_assert_int_eq(ftruncate(fixture.image_fd, 1), 0);
        refuses(&fixture, &digest, "the image was cut while it was read");
        tear_down(&fixture);
}
END_TEST

START_TEST(one_that_is_stored_is_known_for_that_state_only) {
        const uint8_t bytes[IMAGE_DIGEST_SIZE] = {1, 2, 3};
        struct fixture fixture;
        struct image_state state;
        struct wla_error err = {0};

        set_up(&fixture);
        settle(fixture.image_fd);
        ck_assert_int_eq(image_state_read(fixture.image_fd, &state, &err), 0);
        ck_assert_int_eq(image_digest_store(fixture.directory_fd, &state, bytes, &err), 0);
        struct image_digest digest = begin(&fixture);
        ck_assert_int_eq(digest.ready, keeps(fixture.image_fd));
        if (digest.ready)
                ck_assert_mem_eq(digest.bytes, bytes, sizeof(bytes));
        image_digest_close(&digest);

        state.changed_nsec++;
        ck_assert_int_eq(image_digest_store(fixture.directory_fd, &state, bytes, &err), 0);
        digest = begin(&fixture);
        ck_assert(!digest.ready && digest.computes);
        /* Who computes is not disturbed. */
        ck_assert_int_eq(image_digest_store(fixture.directory_fd, &digest.state, bytes, &err), 0);
        advance(&digest, UINT64_MAX);
        is_ready(&fixture, &digest);
        image_digest_close(&digest);
        tear_down(&fixture);
}
END_TEST

START_TEST(a_record_of_another_form_is_not_read) {
        struct fixture fixture;
        uint8_t garbage[512];
        char name[64];

        set_up(&fixture);
        settle(fixture.image_fd);
        struct image_digest digest = begin(&fixture);
        advance(&digest, UINT64_MAX);
        (void)snprintf(name, sizeof(name), "%jx-%jx", (uintmax_t)digest.state.device,
                       (uintmax_t)digest.state.inode);
        image_digest_close(&digest);

        memset(garbage, 0xff, sizeof(garbage));
        ck_assert_uint_eq(count_records(&fixture), keeps(fixture.image_fd) ? 1 : 0);
        int fd = open(scratch_file(&fixture.records, name), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        ck_assert_int_eq(pwrite(fd, garbage, sizeof(garbage), 0), sizeof(garbage));
        digest = begin(&fixture);
        ck_assert(!digest.ready);
        image_digest_close(&digest);
        ck_assert_int_eq(ftruncate(fd, 20), 0);
        (void)close(fd);
        digest = begin(&fixture);
        ck_assert(!digest.ready);
        image_digest_close(&digest);
        tear_down(&fixture);
}
END_TEST

START_TEST(without_memory_or_directory_there_is_none) {
        struct fixture fixture;
        struct image_digest digest;
        struct wla_error err = {0};

        set_up(&fixture);
        settle(fixture.image_fd);
        ck_assert_int_eq(image_digest_begin(-1, fixture.image_fd, &digest, &err),
                         keeps(fixture.image_fd) ? -1 : 0);
        if (keeps(fixture.image_fd)) {
                ck_assert_int_eq(err.code, WLA_E_SYSTEM);
                ck_assert_int_eq(digest.image_fd, -1);
        }
        image_digest_close(&digest);
        ck_assert_int_eq(image_digest_begin(fixture.directory_fd, -1, &digest, &err), -1);
        ck_assert_int_eq(err.code, WLA_E_SYSTEM);
        ck_assert_int_eq(digest.image_fd, -1);
        for (size_t n = 1; fail_allocation_arm(n); n++) {
                int outcome = image_digest_begin(fixture.directory_fd, fixture.image_fd, &digest,
                                                 &err);

                if (outcome == 0 && !digest.ready)
                        outcome = image_digest_advance(&digest, UINT64_MAX, &err);
                fail_allocation_disarm();
                ck_assert_int_eq(outcome, fail_allocation_hit() ? -1 : 0);
                image_digest_close(&digest);
                scratch_remove(&fixture.records);
                (void)close(fixture.directory_fd);
                scratch_make(&fixture.records);
                fixture.directory_fd = open(fixture.records.path,
                                            O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        }
        tear_down(&fixture);
}
END_TEST

/* What somebody has mapped and written to he can write to again, and no time of the file tells. */
static void is_not_fooled_by_a_mapping(struct fixture *fixture) {
        uint8_t before[IMAGE_DIGEST_SIZE];
        struct image_state state;
        struct wla_error err = {0};
        uint8_t *page = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fixture->image_fd, 0);

        ck_assert(page != MAP_FAILED);
        page[0] = 1; /* as it was, and dirty */
        settle(fixture->image_fd);
        struct image_digest digest = begin(fixture);
        advance(&digest, UINT64_MAX);
        is_ready(fixture, &digest);
        memcpy(before, digest.bytes, sizeof(before));

        page[0] = 2;
        ck_assert_int_eq(image_state_read(fixture->image_fd, &state, &err), 0);
        if (keeps(fixture->image_fd)) /* then not even this session opens it */
                ck_assert(!image_state_equal(&state, &digest.state));
        image_digest_close(&digest);

        digest = begin(fixture);
        ck_assert(!digest.ready && digest.computes);
        advance(&digest, UINT64_MAX);
        ck_assert(digest.ready);
        ck_assert_mem_ne(digest.bytes, before, sizeof(before));
        image_digest_close(&digest);
        ck_assert_int_eq(munmap(page, SIZE), 0);
}

START_TEST(what_is_written_through_a_mapping_shows) {
        struct fixture fixture;

        set_up(&fixture);
        is_not_fooled_by_a_mapping(&fixture);
        ck_assert_uint_eq(count_records(&fixture), keeps(fixture.image_fd) ? 1 : 0);
        tear_down(&fixture);
}
END_TEST

/* There no such page is ever stored. */
START_TEST(of_a_file_in_memory_none_is_kept) {
        const uint8_t bytes[IMAGE_DIGEST_SIZE] = {0};
        struct fixture fixture;
        struct image_state state;
        struct wla_error err = {0};

        set_up(&fixture);
        (void)close(fixture.image_fd);
        fixture.image_fd = memfd_create("image", MFD_CLOEXEC);
        ck_assert_int_ge(fixture.image_fd, 0);
        ck_assert(!keeps(fixture.image_fd));
        write_image(&fixture, 1);
        is_not_fooled_by_a_mapping(&fixture);

        settle(fixture.image_fd);
        ck_assert_int_eq(image_state_read(fixture.image_fd, &state, &err), 0);
        ck_assert_int_eq(image_digest_store(fixture.directory_fd, &state, bytes, &err), 0);
        ck_assert_uint_eq(count_records(&fixture), 0);
        tear_down(&fixture);
}
END_TEST

/* Its next change may be in the same tick of the clock. */
START_TEST(of_a_file_that_has_just_changed_none_is_kept_or_believed) {
        const uint8_t bytes[IMAGE_DIGEST_SIZE] = {0};
        struct image_digest digest;
        struct image_state state;
        struct fixture fixture;
        struct wla_error err = {0};

        set_up(&fixture);
        /* A machine that is slow enough lets it come of age. */
        for (;;) {
                ck_assert_int_eq(fchmod(fixture.image_fd, 0600), 0);
                ck_assert_int_eq(image_state_read(fixture.image_fd, &state, &err), 0);
                bool lasting = state.lasting;
                state.lasting = true;
                ck_assert_int_eq(image_digest_store(fixture.directory_fd, &state, bytes, &err), 0);
                digest = begin(&fixture);
                if (is_young(fixture.image_fd)) {
                        ck_assert(!lasting && !digest.state.lasting);
                        break;
                }
                image_digest_close(&digest);
        }
        ck_assert(!digest.ready && digest.computes);
        advance(&digest, UINT64_MAX);
        is_ready(&fixture, &digest);
        image_digest_close(&digest);

        /* Nor when it has come of age: what was stored above is no digest of it. */
        scratch_remove(&fixture.records);
        (void)close(fixture.directory_fd);
        scratch_make(&fixture.records);
        fixture.directory_fd = open(fixture.records.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        do {
                ck_assert_int_eq(fchmod(fixture.image_fd, 0600), 0);
                digest = begin(&fixture);
                if (!is_young(fixture.image_fd))
                        image_digest_close(&digest);
        } while (digest.image_fd < 0);
        advance(&digest, UINT64_MAX);
        is_ready(&fixture, &digest);
        image_digest_close(&digest);
        settle(fixture.image_fd);
        digest = begin(&fixture);
        ck_assert(!digest.ready && digest.computes);
        image_digest_close(&digest);
        tear_down(&fixture);
}
END_TEST

START_TEST(of_a_file_system_that_stores_nothing_none_is_kept) {
        struct fixture fixture;

        set_up(&fixture);
        (void)close(fixture.image_fd);
        fixture.image_fd = open("/proc/version", O_RDONLY | O_CLOEXEC);
        ck_assert_int_ge(fixture.image_fd, 0);
        ck_assert(fsync(fixture.image_fd) < 0 && errno == EINVAL);
        struct image_digest digest = begin(&fixture);
        ck_assert(digest.computes && !digest.state.lasting);
        image_digest_close(&digest);
        ck_assert_uint_eq(count_records(&fixture), 0);
        tear_down(&fixture);
}
END_TEST

static void limit_files(rlim_t size) {
        struct rlimit limit;

        ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &limit), 0);
        limit.rlim_cur = size < limit.rlim_max ? size : limit.rlim_max;
        ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

/* Nor has it any longer what others wait for. */
START_TEST(who_cannot_write_the_record_does_not_compute) {
        struct fixture fixture;
        struct image_digest digest;
        struct wla_error err = {0};

        set_up(&fixture);
        settle(fixture.image_fd);
        const struct sigaction ignore = {.sa_handler = SIG_IGN};
        ck_assert_int_eq(sigaction(SIGXFSZ, &ignore, NULL), 0);
        struct image_digest first = begin(&fixture);
        struct image_digest second = begin(&fixture);
        image_digest_close(&first);
        limit_files(0);
        ck_assert_int_eq(image_digest_begin(fixture.directory_fd, fixture.image_fd, &digest, &err),
                         keeps(fixture.image_fd) ? -1 : 0);
        image_digest_close(&digest);
        ck_assert_int_eq(image_digest_advance(&second, 10 * 1000 * 1000, &err),
                         keeps(fixture.image_fd) ? -1 : 0);
        limit_files(RLIM_INFINITY);
        if (keeps(fixture.image_fd)) {
                ck_assert_int_eq(err.code, WLA_E_SYSTEM);
                ck_assert(!second.computes && !second.ready);
        }

        digest = begin(&fixture);
        ck_assert(digest.computes);
        advance(&digest, UINT64_MAX);
        advance(&second, 10 * 1000 * 1000);
        is_ready(&fixture, &second);
        image_digest_close(&digest);
        image_digest_close(&second);
        tear_down(&fixture);
}
END_TEST

SUITE_MAIN("image_digest", it_is_computed_in_steps_and_then_known,
           one_computes_and_others_see_how_far, another_begins_anew_when_who_computes_has_gone,
           a_file_that_was_changed_has_another, a_file_that_changes_has_none,
           one_that_is_stored_is_known_for_that_state_only, a_record_of_another_form_is_not_read,
           without_memory_or_directory_there_is_none, what_is_written_through_a_mapping_shows,
           of_a_file_in_memory_none_is_kept,
           of_a_file_that_has_just_changed_none_is_kept_or_believed,
           of_a_file_system_that_stores_nothing_none_is_kept,
           who_cannot_write_the_record_does_not_compute)
