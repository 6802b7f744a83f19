/* SPDX-License-Identifier: Apache-2.0 */
#include "vm_fixture.h"

#include <check.h>
#include <openssl/rand.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

#include "volume/client.h"

#define PATIENCE (20 * USEC_PER_SEC)

extern char **environ;

static int fetch(void *self, const struct key_request *request, struct envelope *ret,
                 struct wla_error *err) {
        (void)self;
        if (strcmp(request->id.local_name, FIXTURE_KEY) != 0)
                return wla_fail(err, WLA_E_NOT_FOUND, "no such key");
        ret->kind = ENVELOPE_TPM_BOUND;
        return buf_append_text(&ret->bytes, "x", err);
}

static int open_envelope(void *self, const struct envelope *envelope,
                         const struct deadline *deadline, struct wla_secret **ret,
                         struct wla_error *err) {
        (void)self;
        (void)envelope;
        (void)deadline;
        return wla_secret_new(32, ret, err);
}

static const struct key_source_ops source_ops = {.name = "fake", .fetch = fetch};
static const struct key_opener_ops opener_ops = {.name = "fake", .open = open_envelope};

static pid_t start_program(const char *path, char *const argv[], int input) {
        posix_spawn_file_actions_t actions;
        pid_t pid;

        ck_assert_int_eq(posix_spawn_file_actions_init(&actions), 0);
        if (input >= 0)
                ck_assert_int_eq(posix_spawn_file_actions_adddup2(&actions, input, 0), 0);
        ck_assert_int_eq(posix_spawn(&pid, path, &actions, NULL, argv, environ), 0);
        (void)posix_spawn_file_actions_destroy(&actions);
        return pid;
}

static void make_image(struct vm_fixture *fixture) {
        char path[] = SAMPLE_IMAGE;
        char size[] = "65536";
        char key[] = "local:///" FIXTURE_KEY;
        char content[] = "raw";
        char *const argv[] = {path, fixture->image, size, size, key, content, NULL};
        static const uint8_t zeros[32];
        int status;
        int fds[2];

        ck_assert_int_eq(pipe2(fds, O_CLOEXEC), 0);
        ck_assert_int_eq(write(fds[1], zeros, sizeof(zeros)), sizeof(zeros));
        pid_t pid = start_program(path, argv, fds[0]);
        (void)close(fds[0]);
        (void)close(fds[1]);
        ck_assert_int_eq(waitpid(pid, &status, 0), pid);
        ck_assert_int_eq(status, 0);
}

static void start_double(struct vm_fixture *fixture) {
        char path[] = VOLUMED_DOUBLE;
        char listen[] = "--listen";
        char directory[] = "--directory";
        char *const argv[] = {path, listen, fixture->socket, directory, fixture->scratch.path,
                              NULL};
        const struct timespec pause = {.tv_nsec = 1000000};
        struct volume_session *session = NULL;
        struct deadline deadline;
        struct wla_error err = {0};

        fixture->volumed = start_program(path, argv, -1);
        deadline_init(&deadline, clock_now_usec() + PATIENCE);
        while (volume_session_open(fixture->socket, &deadline, &session, &err) < 0) {
                ck_assert_uint_gt(deadline_left_usec(&deadline), 0);
                (void)nanosleep(&pause, NULL);
        }
        volume_session_free(session);
}

static int on_pool(sd_event_source *source, int fd, uint32_t events, void *userdata) {
        (void)source;
        (void)fd;
        (void)events;
        pool_dispatch(userdata);
        return 0;
}

static void make_access(struct vm_fixture *fixture) {
        const struct key_access_settings settings = {.flights_max = 4, .cached_keys_max = 4};
        struct wla_error err = {0};

        fixture->routes.sources[KEY_SCHEME_LOCAL].ops = &source_ops;
        fixture->routes.openers[ENVELOPE_TPM_BOUND].ops = &opener_ops;
        ck_assert_int_eq(pool_new(1, 4, &fixture->pool, &err), 0);
        ck_assert_int_eq(
                key_access_new(&fixture->routes, fixture->pool, &settings, &fixture->access, &err),
                0);
        ck_assert_int_ge(sd_event_add_io(fixture->event, &fixture->pool_source,
                                         pool_fd(fixture->pool), EPOLLIN, on_pool, fixture->pool),
                         0);
}

void vm_fixture_setup(struct vm_fixture *fixture) {
        struct wla_error err = {0};
        uint8_t byte;

        *fixture = (struct vm_fixture){0};
        ck_assert_int_eq(wla_secret_heap_init(true, &err), 0);
        ck_assert_int_eq(RAND_bytes(&byte, 1), 1);
        ck_assert_int_eq(RAND_priv_bytes(&byte, 1), 1);
        fixture->heap_used = wla_secret_heap_used();
        scratch_make(&fixture->scratch);
        (void)snprintf(fixture->socket, sizeof(fixture->socket), "%s/socket",
                       fixture->scratch.path);
        (void)snprintf(fixture->image, sizeof(fixture->image), "%s/image", fixture->scratch.path);
        ck_assert_int_eq(uuid_generate(&fixture->vm, &err), 0);
        make_image(fixture);
        start_double(fixture);
        ck_assert_int_ge(sd_event_new(&fixture->event), 0);
        make_access(fixture);
}

int vm_fixture_begin(struct vm_fixture *fixture, struct wla_error *err) {
        const struct lifecycle_options options = {
                .event = fixture->event,
                .access = fixture->access,
                .volume_socket = fixture->socket,
                .runtime_directory = fixture->scratch.path,
        };
        const struct lifecycle_settings settings = {
                .lease_usec = 60 * USEC_PER_SEC,
                .migrate_lease_usec = 60 * USEC_PER_SEC,
        };

        return lifecycle_new(&options, &settings, &fixture->lifecycle, err);
}

static void remove_folder(const struct vm_fixture *fixture, const char *name) {
        struct scratch folder;

        (void)snprintf(folder.path, sizeof(folder.path), "%.40s/%.16s", fixture->scratch.path,
                       name);
        if (access(folder.path, F_OK) == 0)
                scratch_remove(&folder);
}

void vm_fixture_teardown(struct vm_fixture *fixture) {
        fixture->lifecycle = lifecycle_free(fixture->lifecycle);
        pool_free(fixture->pool);
        key_access_free(fixture->access);
        sd_event_source_unref(fixture->pool_source);
        sd_event_unref(fixture->event);
        ck_assert_uint_eq(wla_secret_heap_used(), fixture->heap_used);
        ck_assert_int_eq(kill(fixture->volumed, SIGTERM), 0);
        ck_assert_int_eq(waitpid(fixture->volumed, NULL, 0), fixture->volumed);
        remove_folder(fixture, "vms");
        remove_folder(fixture, "layers");
        remove_folder(fixture, "leases");
        remove_folder(fixture, "qemu");
        remove_folder(fixture, "conversions");
        scratch_remove(&fixture->scratch);
}

struct protected_disk vm_fixture_line(const struct vm_fixture *fixture, const char *target,
                                      enum disk_mode mode) {
        struct protected_disk line = {
                .mode = mode,
                .format = mode == DISK_DIRECT ? IMAGE_CONTENT_RAW : IMAGE_CONTENT_QCOW2,
        };

        (void)snprintf(line.target, sizeof(line.target), "%s", target);
        memcpy(line.image, fixture->image, sizeof(line.image));
        return line;
}

void vm_fixture_run(struct vm_fixture *fixture, const int *count) {
        uint64_t give_up_usec = clock_now_usec() + PATIENCE;

        while (*count == 0) {
                ck_assert_uint_lt(clock_now_usec(), give_up_usec);
                ck_assert_int_ge(sd_event_run(fixture->event, 10000), 0);
        }
}

unsigned vm_fixture_leases(const struct vm_fixture *fixture) {
        char path[128];
        unsigned count = 0;

        (void)snprintf(path, sizeof(path), "%s/leases", fixture->scratch.path);
        DIR *directory = opendir(path);
        ck_assert_ptr_nonnull(directory);
        for (struct dirent *entry = readdir(directory); entry; entry = readdir(directory))
                count += entry->d_name[0] != '.';
        (void)closedir(directory);
        return count;
}

void vm_fixture_wait_for_leases(struct vm_fixture *fixture, unsigned count) {
        uint64_t give_up_usec = clock_now_usec() + PATIENCE;

        while (vm_fixture_leases(fixture) != count) {
                ck_assert_uint_lt(clock_now_usec(), give_up_usec);
                ck_assert_int_ge(sd_event_run(fixture->event, 1000), 0);
        }
}

void vm_fixture_fault(const struct vm_fixture *fixture, const char *fault) {
        const char *path = scratch_file(&fixture->scratch, "fault");

        (void)unlink(path);
        if (!fault)
                return;
        FILE *file = fopen(path, "w");
        ck_assert_ptr_nonnull(file);
        (void)fprintf(file, "%s\n", fault);
        (void)fclose(file);
}
