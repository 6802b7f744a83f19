/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/layer_store.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "suite.h"
#include "volume/direct_record.h"

#define VM_A "0f6b3a52-c0b9-4a7f-9a0e-5b1f7c2d8e01"
#define VM_B "1f6b3a52-c0b9-4a7f-9a0e-5b1f7c2d8e02"

/* A directory for layers below one of the test's. */
struct place {
        char path[64];
        char layers[128];
        struct layer_store store;
        struct wla_error err;
};

/* Of the whole program, by the linker. */
int __real_fsync(int fd);
int __wrap_fsync(int fd);

static bool fail_fsync;

int __wrap_fsync(int fd) {
        if (!fail_fsync)
                return __real_fsync(fd);
        errno = EIO;
        return -1;
}

static struct uuid uuid_of(const char *text) {
        struct wla_error err = {0};
        struct uuid uuid;

        ck_assert_int_eq(uuid_parse(text, strlen(text), &uuid, &err), 0);
        return uuid;
}

static void place_make(struct place *place) {
        *place = (struct place){.store = LAYER_STORE_NONE};
        (void)snprintf(place->path, sizeof(place->path), "/var/tmp/wlagent-test-XXXXXX");
        ck_assert_ptr_nonnull(mkdtemp(place->path));
        (void)snprintf(place->layers, sizeof(place->layers), "%s/layers", place->path);
        ck_assert_int_eq(layer_store_open(place->layers, &place->store, &place->err), 0);
}

static void place_remove(struct place *place) {
        char *const arguments[] = {(char[]){"rm"}, (char[]){"-rf"}, place->path, NULL};

        layer_store_close(&place->store);
        pid_t pid = fork();
        if (pid == 0)
                execv("/bin/rm", arguments);
        ck_assert_int_gt(pid, 0);
        while (waitpid(pid, NULL, 0) < 0)
                ;
}

static const char *path_in(const struct place *place, const char *name) {
        static char path[512];

        (void)snprintf(path, sizeof(path), "%s/%s", place->layers, name);
        return path;
}

static bool exists(const struct place *place, const char *name) {
        return access(path_in(place, name), F_OK) == 0;
}

static int draft(struct place *place, const char *vm, const char *target, bool keep) {
        _cleanup_layer_draft_ struct layer_draft made = LAYER_DRAFT_NONE;
        struct uuid uuid = uuid_of(vm);

        if (layer_draft_new(&place->store, &uuid, target, 8192, false, &made, &place->err) < 0)
                return -1;
        ck_assert_int_eq(pwrite(made.disk_fd, "disk", 4, 0), 4);
        return keep ? layer_draft_keep(&made, made.disk_fd, "header", 6, &place->err) : 0;
}

static int open_layer(struct place *place, const char *vm, const char *target,
                      struct layer_files *ret) {
        struct uuid uuid = uuid_of(vm);

        place->err = (struct wla_error){0};
        return layer_files_open(&place->store, &uuid, target, ret, &place->err);
}

START_TEST(the_directory_is_closed_to_others) {
        struct layer_store second = LAYER_STORE_NONE;
        struct place place;
        struct stat status;

        place_make(&place);
        ck_assert_int_eq(stat(place.layers, &status), 0);
        ck_assert_int_eq(status.st_mode & 07777, 0700);
        ck_assert_int_eq(chmod(place.layers, 0750), 0);
        ck_assert_int_eq(layer_store_open(place.layers, &second, &place.err), -1);
        ck_assert_int_eq(place.err.code, WLA_E_DENIED);
        ck_assert_ptr_nonnull(place.err.hint);
        ck_assert_int_eq(second.fd, -1);
        ck_assert_int_eq(layer_store_open("/nonexistent/layers", &second, &place.err), -1);
        ck_assert_int_eq(place.err.code, WLA_E_SYSTEM);
        place_remove(&place);
}
END_TEST

START_TEST(a_layer_is_there_when_it_is_kept) {
        struct layer_files files = LAYER_FILES_NONE;
        struct place place;
        char content[8] = {0};

        place_make(&place);
        ck_assert_int_eq(open_layer(&place, VM_A, "vda", &files), -1);
        ck_assert_int_eq(place.err.code, WLA_E_NOT_FOUND);

        ck_assert_int_eq(draft(&place, VM_A, "vda", false), 0);
        ck_assert_int_eq(open_layer(&place, VM_A, "vda", &files), -1);
        ck_assert_int_eq(place.err.code, WLA_E_NOT_FOUND);
        ck_assert(!exists(&place, VM_A "/vda.new"));

        ck_assert_int_eq(draft(&place, VM_A, "vda", true), 0);
        ck_assert_int_eq(open_layer(&place, VM_A, "vda", &files), 0);
        ck_assert_uint_eq(files.size, 8192);
        ck_assert_uint_lt(files.allocated, 8192);
        ck_assert_int_eq(pread(files.header_fd, content, sizeof(content), 0), 6);
        ck_assert_str_eq(content, "header");
        ck_assert_int_eq(fcntl(files.disk_fd, F_GETFL) & O_ACCMODE, O_RDWR);
        layer_files_close(&files);
        ck_assert(!exists(&place, VM_A "/vda.new"));

        /* It is not made over. */
        ck_assert_int_eq(draft(&place, VM_A, "vda", true), -1);
        ck_assert_int_eq(open_layer(&place, VM_A, "vda", &files), 0);
        layer_files_close(&files);
        place_remove(&place);
}
END_TEST

START_TEST(what_a_former_attempt_left_is_replaced) {
        struct layer_files files = LAYER_FILES_NONE;
        struct place place;

        place_make(&place);
        ck_assert_int_eq(mkdir(path_in(&place, VM_A), 0700), 0);
        ck_assert_int_eq(mkdir(path_in(&place, VM_A "/vda.new"), 0700), 0);
        (void)close(open(path_in(&place, VM_A "/vda.new/disk"), O_CREAT | O_WRONLY, 0600));
        (void)close(open(path_in(&place, VM_A "/vda.new/header"), O_CREAT | O_WRONLY, 0600));
        ck_assert_int_eq(mkdir(path_in(&place, VM_A "/vda.old"), 0700), 0);
        (void)close(open(path_in(&place, VM_A "/vda.old/disk"), O_CREAT | O_WRONLY, 0600));
        ck_assert_int_eq(draft(&place, VM_A, "vda", true), 0);
        ck_assert_int_eq(open_layer(&place, VM_A, "vda", &files), 0);
        layer_files_close(&files);
        ck_assert(!exists(&place, VM_A "/vda.new"));
        ck_assert(!exists(&place, VM_A "/vda.old"));

        /* But not what we did not make. */
        ck_assert_int_eq(mkdir(path_in(&place, VM_A "/vdb.new"), 0700), 0);
        (void)close(open(path_in(&place, VM_A "/vdb.new/photos"), O_CREAT | O_WRONLY, 0600));
        ck_assert_int_eq(draft(&place, VM_A, "vdb", true), -1);
        ck_assert(exists(&place, VM_A "/vdb.new/photos"));
        place_remove(&place);
}
END_TEST

START_TEST(what_was_cut_off_is_tidied_up) {
        struct layer_store other = LAYER_STORE_NONE;
        struct layer_files files = LAYER_FILES_NONE;
        struct place place;

        place_make(&place);
        ck_assert_int_eq(draft(&place, VM_A, "vda", true), 0);
        ck_assert_int_eq(mkdir(path_in(&place, VM_A "/vda.new"), 0700), 0);
        (void)close(open(path_in(&place, VM_A "/vda.new/disk"), O_CREAT | O_WRONLY, 0600));
        ck_assert_int_eq(mkdir(path_in(&place, VM_A "/vda.new.x"), 0700), 0);
        ck_assert_int_eq(mkdir(path_in(&place, VM_A "/vdb.new"), 0700), 0);
        ck_assert_int_eq(mkdir(path_in(&place, VM_B), 0700), 0);
        ck_assert_int_eq(mkdir(path_in(&place, VM_B "/vda.old"), 0700), 0);
        (void)close(open(path_in(&place, VM_B "/vda.old/header"), O_CREAT | O_WRONLY, 0600));
        ck_assert_int_eq(mkdir(path_in(&place, "other"), 0700), 0);
        ck_assert_int_eq(mkdir(path_in(&place, "other/vda.old"), 0700), 0);

        ck_assert_int_eq(layer_store_open(place.layers, &other, &place.err), 0);
        ck_assert_int_eq(layer_store_lock(&other, VM_A, "vdb", false, &place.err), 0);
        ck_assert_int_eq(layer_store_tidy(&place.store, &place.err), 0);
        ck_assert(!exists(&place, VM_A "/vda.new"));
        ck_assert(exists(&place, VM_A "/vdb.new"));
        ck_assert(exists(&place, VM_A "/vda.new.x"));
        ck_assert(!exists(&place, VM_B));
        ck_assert(exists(&place, "other/vda.old"));
        ck_assert_int_eq(open_layer(&place, VM_A, "vda", &files), 0);
        layer_files_close(&files);
        layer_store_close(&other);
        ck_assert_int_eq(layer_store_tidy(&place.store, &place.err), 0);
        ck_assert(!exists(&place, VM_A "/vdb.new"));

        /* Somebody makes a disk in it. */
        ck_assert_int_eq(mkdir(path_in(&place, VM_B), 0700), 0);
        ck_assert_int_eq(layer_store_open(place.layers, &other, &place.err), 0);
        ck_assert_int_eq(layer_store_lock(&other, VM_B, "", true, &place.err), 0);
        ck_assert_int_eq(layer_store_tidy(&place.store, &place.err), 0);
        ck_assert(exists(&place, VM_B));
        layer_store_close(&other);
        ck_assert_int_eq(mkdir(path_in(&place, VM_A "/vdc.new"), 0700), 0);
        (void)close(open(path_in(&place, VM_A "/vdc.new/photos"), O_CREAT | O_WRONLY, 0600));
        ck_assert_int_eq(layer_store_tidy(&place.store, &place.err), -1);
        ck_assert(exists(&place, VM_A "/vdc.new/photos"));
        place_remove(&place);
}
END_TEST

START_TEST(a_removed_layer_is_gone) {
        struct layer_files files = LAYER_FILES_NONE;
        struct uuid vm = uuid_of(VM_A);
        struct place place;

        place_make(&place);
        ck_assert_int_eq(layer_files_remove(&place.store, &vm, "vda", &place.err), -1);
        ck_assert_int_eq(place.err.code, WLA_E_NOT_FOUND);
        ck_assert_int_eq(draft(&place, VM_A, "vda", true), 0);
        ck_assert_int_eq(draft(&place, VM_A, "vdb", true), 0);
        ck_assert_int_eq(layer_files_remove(&place.store, &vm, "vda", &place.err), 0);
        ck_assert_int_eq(open_layer(&place, VM_A, "vda", &files), -1);
        ck_assert_int_eq(place.err.code, WLA_E_NOT_FOUND);
        ck_assert_int_eq(open_layer(&place, VM_A, "vdb", &files), 0);
        layer_files_close(&files);
        ck_assert_int_eq(layer_files_remove(&place.store, &vm, "vda", &place.err), -1);
        ck_assert_int_eq(place.err.code, WLA_E_NOT_FOUND);
        ck_assert_int_eq(layer_files_remove(&place.store, &vm, "vdb", &place.err), 0);
        ck_assert(!exists(&place, VM_A));
        place_remove(&place);
}
END_TEST

START_TEST(half_a_layer_is_an_error) {
        struct layer_files files = LAYER_FILES_NONE;
        struct place place;

        place_make(&place);
        ck_assert_int_eq(draft(&place, VM_A, "vda", true), 0);
        ck_assert_int_eq(unlink(path_in(&place, VM_A "/vda/header")), 0);
        ck_assert_int_eq(open_layer(&place, VM_A, "vda", &files), -1);
        ck_assert_int_eq(place.err.code, WLA_E_SYSTEM);
        ck_assert_int_eq(symlink("disk", path_in(&place, VM_A "/vda/header")), 0);
        ck_assert_int_eq(open_layer(&place, VM_A, "vda", &files), -1);
        ck_assert_int_eq(unlink(path_in(&place, VM_A "/vda/header")), 0);
        ck_assert_int_eq(mkfifo(path_in(&place, VM_A "/vda/header"), 0600), 0);
        ck_assert_int_eq(open_layer(&place, VM_A, "vda", &files), -1);
        ck_assert_int_eq(place.err.code, WLA_E_INPUT);
        /* Its disk is still there, and stays. */
        ck_assert_int_eq(draft(&place, VM_A, "vda", true), -1);
        ck_assert(exists(&place, VM_A "/vda/disk"));
        place_remove(&place);
}
END_TEST

struct seen {
        unsigned count;
        char names[8][64];
};

static int see(const struct uuid *vm, const char *target, const struct layer_files *files,
               void *userdata, struct wla_error *err) {
        struct seen *seen = userdata;

        (void)err;
        ck_assert_uint_eq(files->size, 8192);
        (void)snprintf(seen->names[seen->count++], sizeof(seen->names[0]), "%s %s", vm->text,
                       target);
        return 0;
}

static int stop(const struct uuid *vm, const char *target, const struct layer_files *files,
                void *userdata, struct wla_error *err) {
        (void)vm;
        (void)target;
        (void)files;
        (void)userdata;
        return wla_fail(err, WLA_E_BUSY, "enough");
}

START_TEST(all_layers_are_listed_and_nothing_else) {
        struct seen seen = {0};
        struct place place;

        place_make(&place);
        ck_assert_int_eq(layer_store_each(&place.store, see, &seen, &place.err), 0);
        ck_assert_uint_eq(seen.count, 0);
        ck_assert_int_eq(draft(&place, VM_A, "vda", true), 0);
        ck_assert_int_eq(draft(&place, VM_A, "vdb", true), 0);
        ck_assert_int_eq(draft(&place, VM_B, "vda", true), 0);
        ck_assert_int_eq(mkdir(path_in(&place, VM_B "/vdc.new"), 0700), 0);
        ck_assert_int_eq(mkdir(path_in(&place, VM_B "/vdd"), 0700), 0);
        ck_assert_int_eq(mkdir(path_in(&place, "other"), 0700), 0);
        ck_assert_int_eq(symlink(VM_B, path_in(&place, "2f6b3a52-c0b9-4a7f-9a0e-5b1f7c2d8e03")), 0);
        ck_assert_int_eq(layer_store_each(&place.store, see, &seen, &place.err), 0);
        ck_assert_uint_eq(seen.count, 3);
        ck_assert_int_eq(layer_store_each(&place.store, stop, NULL, &place.err), -1);
        ck_assert_int_eq(place.err.code, WLA_E_BUSY);
        place_remove(&place);
}
END_TEST

START_TEST(an_ephemeral_layer_has_no_name) {
        _cleanup_layer_draft_ struct layer_draft made = LAYER_DRAFT_NONE;
        struct uuid vm = uuid_of(VM_A);
        struct place place;
        struct stat status;

        place_make(&place);
        ck_assert_int_eq(
                layer_draft_new(&place.store, &vm, "vda", 1 << 30, true, &made, &place.err), 0);
        ck_assert_int_eq(fstat(made.disk_fd, &status), 0);
        ck_assert_int_eq(status.st_nlink, 0);
        ck_assert_int_eq(status.st_size, 1 << 30);
        ck_assert(!exists(&place, VM_A));
        place_remove(&place);
}
END_TEST

START_TEST(one_session_works_on_a_disk) {
        struct layer_store second = LAYER_STORE_NONE;
        struct place place;

        place_make(&place);
        ck_assert_int_eq(layer_store_open(place.layers, &second, &place.err), 0);
        ck_assert_int_eq(layer_store_lock(&place.store, VM_A, "vda", false, &place.err), 0);
        ck_assert_int_eq(layer_store_lock(&second, VM_A, "vda", false, &place.err), -1);
        ck_assert_int_eq(place.err.code, WLA_E_BUSY);
        ck_assert_int_eq(layer_store_lock(&second, VM_A, "vdb", false, &place.err), 0);
        ck_assert_int_eq(layer_store_lock(&second, VM_B, "vda", false, &place.err), 0);
        layer_store_close(&place.store);
        ck_assert_int_eq(layer_store_lock(&second, VM_A, "vda", false, &place.err), 0);

        /* Readers bear each other, and no writer. */
        ck_assert_int_eq(layer_store_open(place.layers, &place.store, &place.err), 0);
        ck_assert_int_eq(layer_store_lock(&second, "file", "1:2", true, &place.err), 0);
        ck_assert_int_eq(layer_store_lock(&place.store, "file", "1:2", true, &place.err), 0);
        ck_assert_int_eq(layer_store_lock(&place.store, "file", "1:2", false, &place.err), -1);
        ck_assert_int_eq(place.err.code, WLA_E_BUSY);
        layer_store_close(&second);
        ck_assert_int_eq(layer_store_lock(&place.store, "file", "1:2", false, &place.err), 0);
        place_remove(&place);
}
END_TEST

/* As a session's watchdog would end it after some seconds: SIGALRM, or 0 when it has had its turn. */
static int end_of_who_waits(const char *directory, unsigned seconds) {
        struct layer_store store = LAYER_STORE_NONE;
        struct wla_error err = {0};
        int status = -1;

        pid_t pid = fork();
        if (pid == 0) {
                /* Check has a handler of its own. */
                (void)sigaction(SIGALRM, &(const struct sigaction){.sa_handler = SIG_DFL}, NULL);
                (void)alarm(seconds);
                _exit(layer_store_open(directory, &store, &err) < 0 ||
                      layer_store_wait_lock(&store, "mapping", VM_A, &err) < 0);
        }
        ck_assert_int_eq(waitpid(pid, &status, 0), pid);
        return WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status);
}

START_TEST(who_waits_has_his_turn_when_the_other_has_ended) {
        struct place place;
        int ready[2];
        char byte;

        place_make(&place);
        ck_assert_int_eq(pipe(ready), 0);
        pid_t pid = fork();
        if (pid == 0) {
                layer_store_close(&place.store);
                if (layer_store_open(place.layers, &place.store, &place.err) == 0 &&
                    layer_store_wait_lock(&place.store, "mapping", VM_A, &place.err) == 0 &&
                    write(ready[1], "", 1) == 1)
                        (void)pause();
                _exit(EXIT_FAILURE);
        }
        ck_assert_int_eq(read(ready[0], &byte, 1), 1);
        ck_assert_int_eq(end_of_who_waits(place.layers, 1), SIGALRM);
        ck_assert_int_eq(kill(pid, SIGKILL), 0);
        ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
        ck_assert_int_eq(end_of_who_waits(place.layers, 60), 0);

        ck_assert_int_eq(layer_store_wait_lock(&place.store, "mapping", VM_A, &place.err), 0);
        ck_assert_int_eq(end_of_who_waits(place.layers, 1), SIGALRM);
        layer_store_unlock(&place.store, "mapping", VM_A);
        ck_assert_int_eq(end_of_who_waits(place.layers, 60), 0);
        (void)close(ready[0]);
        (void)close(ready[1]);
        place_remove(&place);
}
END_TEST

START_TEST(a_record_knows_its_file) {
        struct uuid header = uuid_of(VM_A);
        struct uuid other = uuid_of(VM_B);
        struct place place;
        bool known = true;

        place_make(&place);
        int a = open(path_in(&place, "a"), O_CREAT | O_RDWR | O_CLOEXEC, 0600);
        int b = open(path_in(&place, "b"), O_CREAT | O_RDWR | O_CLOEXEC, 0600);
        ck_assert_int_eq(direct_record_find(&place.store, &header, a, &known, &place.err), 0);
        ck_assert(!known);
        int r = direct_record_write(&place.store, &header, a, &place.err);
        ck_assert_msg(r == 0, "%s", wla_error_text(&place.err));
        ck_assert_int_eq(direct_record_find(&place.store, &header, a, &known, &place.err), 0);
        ck_assert(known);
        ck_assert_int_eq(rename(path_in(&place, "a"), "/nonexistent/a"), -1);
        ck_assert_int_eq(direct_record_find(&place.store, &header, b, &known, &place.err), 0);
        ck_assert(!known);
        ck_assert_int_eq(direct_record_find(&place.store, &other, a, &known, &place.err), 0);
        ck_assert(!known);
        ck_assert_int_eq(direct_record_write(&place.store, &header, b, &place.err), 0);
        ck_assert_int_eq(direct_record_find(&place.store, &header, b, &known, &place.err), 0);
        ck_assert(known);
        ck_assert_int_eq(direct_record_find(&place.store, &header, -1, &known, &place.err), -1);

        /* A file system without handles. */
        int c = open("/proc/version", O_RDONLY | O_CLOEXEC);
        int d = open("/proc/cmdline", O_RDONLY | O_CLOEXEC);
        ck_assert_int_eq(direct_record_write(&place.store, &other, c, &place.err), 0);
        ck_assert_int_eq(direct_record_find(&place.store, &other, c, &known, &place.err), 0);
        ck_assert(known);
        ck_assert_int_eq(direct_record_find(&place.store, &other, d, &known, &place.err), 0);
        ck_assert(!known);
        (void)close(c);
        (void)close(d);
        (void)close(a);
        (void)close(b);
        place_remove(&place);
}
END_TEST

START_TEST(a_layer_becomes_longer_and_never_shorter) {
        struct place place;
        struct layer_draft draft = LAYER_DRAFT_NONE;
        const struct uuid vm = uuid_of(VM_A);
        const struct rlimit limit = {.rlim_cur = 65536, .rlim_max = RLIM_INFINITY};
        const struct sigaction ignore = {.sa_handler = SIG_IGN};
        const struct rlimit none = {.rlim_cur = RLIM_INFINITY, .rlim_max = RLIM_INFINITY};
        uint64_t size = 8192;
        struct stat status;

        place_make(&place);
        ck_assert_int_eq(layer_draft_new(&place.store, &vm, "vda", size, true, &draft, &place.err),
                         0);
        ck_assert_int_eq(pwrite(draft.disk_fd, "content", 7, 8185), 7);
        for (int i = 0; i < 2; i++) {
                layer_files_lengthen(draft.disk_fd, 20480, &size);
                ck_assert_uint_eq(size, 20480);
        }
        layer_files_lengthen(draft.disk_fd, 4096, &size);
        ck_assert_uint_eq(size, 20480);
        ck_assert_int_eq(fstat(draft.disk_fd, &status), 0);
        ck_assert_int_eq(status.st_size, 20480);
        char text[8] = "";
        ck_assert_int_eq(pread(draft.disk_fd, text, 7, 8185), 7);
        ck_assert_str_eq(text, "content");

        /* No file system here has files that are too short for this; a limit is the same to who asks. */
        ck_assert_int_eq(sigaction(SIGXFSZ, &ignore, NULL), 0);
        ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
        layer_files_lengthen(draft.disk_fd, 131072, &size);
        ck_assert_uint_eq(size, 20480);
        ck_assert_int_eq(layer_files_lengthen_durably(draft.disk_fd, 131072, &size, &place.err), 0);
        ck_assert_uint_eq(size, 20480);
        ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &none), 0);
        layer_draft_close(&draft);
        place_remove(&place);
}
END_TEST

/* The length has to be on the disk before a guest's data are. */
START_TEST(a_length_that_is_not_durable) {
        uint64_t size = 4096;
        struct wla_error err = {0};
        int fd = memfd_create("disk", MFD_CLOEXEC);

        fail_fsync = true;
        ck_assert_int_eq(layer_files_lengthen_durably(fd, 4096, &size, &err), 0);
        ck_assert_int_eq(layer_files_lengthen_durably(fd, 8192, &size, &err), -1);
        ck_assert_int_eq(err.code, WLA_E_SYSTEM);
        ck_assert_uint_eq(size, 4096);
        /* What is being made has no data yet. */
        layer_files_lengthen(fd, 8192, &size);
        ck_assert_uint_eq(size, 8192);
        fail_fsync = false;
        (void)close(fd);
}
END_TEST

SUITE_MAIN("volume/layer_store", the_directory_is_closed_to_others,
           a_layer_is_there_when_it_is_kept, what_a_former_attempt_left_is_replaced,
           what_was_cut_off_is_tidied_up, a_removed_layer_is_gone, half_a_layer_is_an_error,
           all_layers_are_listed_and_nothing_else, an_ephemeral_layer_has_no_name,
           one_session_works_on_a_disk, who_waits_has_his_turn_when_the_other_has_ended,
           a_record_knows_its_file, a_layer_becomes_longer_and_never_shorter,
           a_length_that_is_not_durable)
