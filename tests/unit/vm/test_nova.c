/* SPDX-License-Identifier: Apache-2.0 */

/* Disks of Nova, with the double of wlagent-volumed, where the order of events is what counts;
 * tests/integration/test_nova_domains.py has the rest. */

#include "suite.h"

#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "image/qcow2_backing.h"
#include "image/qcow2_writer.h"
#include "vm/lifecycle_state.h"
#include "vm_fixture.h"
#include "volume/nova_path.h"

#define DISK_SIZE 1048576u

struct instance {
        struct vm_fixture fixture;
        struct uuid image;
        char disk[VOLUMED_PATH_SIZE];
        char base[VOLUMED_PATH_SIZE];
        char header[VOLUMED_PATH_SIZE + 8]; /* the registered one */
        int answers;
        struct vm_call *call;
};

static void make_directory(const struct instance *instance, const char *name) {
        ck_assert_int_eq(mkdir(scratch_file(&instance->fixture.scratch, name), 0755), 0);
}

static void make_disk(const struct instance *instance) {
        const struct qcow2_backing_file backing = {
                .name = instance->base,
                .format = IMAGE_CONTENT_RAW,
        };
        struct wla_error err = {0};
        int fd = open(instance->disk, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

        ck_assert_int_ge(fd, 0);
        ck_assert_int_eq(qcow2_write_empty(fd, DISK_SIZE, &backing, &err), 0);
        (void)close(fd);
}

static void begin(struct instance *instance) {
        struct vm_fixture *fixture = &instance->fixture;
        struct wla_error err = {0};

        *instance = (struct instance){0};
        vm_fixture_setup(fixture);
        ck_assert_int_eq(uuid_generate(&instance->image, &err), 0);
        make_directory(instance, "_base");
        make_directory(instance, fixture->vm.text);
        (void)snprintf(instance->disk, sizeof(instance->disk), "%s/%s/disk", fixture->scratch.path,
                       fixture->vm.text);
        ck_assert_int_eq(
                nova_base_path(instance->disk, &instance->image, instance->base, NULL, &err), 0);
        ck_assert_int_eq(rename(fixture->image, instance->base), 0);
        char header[VOLUMED_PATH_SIZE + 8];
        (void)snprintf(header, sizeof(header), "%s.header", fixture->image);
        (void)snprintf(instance->header, sizeof(instance->header), "%s.header", instance->base);
        ck_assert_int_eq(rename(header, instance->header), 0);
        memcpy(fixture->image, instance->base, sizeof(fixture->image));
        make_disk(instance);
        ck_assert_int_eq(vm_fixture_begin(fixture, &err), 0);
}

static void remove_folder(const struct instance *instance, const char *name) {
        struct scratch folder;

        (void)snprintf(folder.path, sizeof(folder.path), "%.25s/%.36s",
                       instance->fixture.scratch.path, name);
        scratch_remove(&folder);
}

static void end(struct instance *instance) {
        remove_folder(instance, "_base");
        remove_folder(instance, instance->fixture.vm.text);
        vm_fixture_teardown(&instance->fixture);
}

static bool names_base(const struct instance *instance) {
        static uint8_t bytes[QCOW2_BACKING_SPAN];
        struct qcow2_backing backing;
        struct wla_error err = {0};
        int fd = open(instance->disk, O_RDONLY | O_CLOEXEC);

        ck_assert_int_ge(fd, 0);
        ssize_t size = read(fd, bytes, sizeof(bytes));
        (void)close(fd);
        ck_assert_int_gt(size, 0);
        ck_assert_int_eq(qcow2_backing_read(bytes, (size_t)size, &backing, &err), 0);
        return strcmp(backing.name, instance->base) == 0;
}

static void done(void *userdata, const struct wla_error *err) {
        struct instance *instance = userdata;

        (void)err;
        instance->answers++;
}

static void start(struct instance *instance) {
        struct protected_disk line = vm_fixture_line(&instance->fixture, "vda", DISK_NOVA);
        line.nova_image = instance->image;
        const int header_fd = open(instance->header, O_RDONLY | O_CLOEXEC);
        const struct vm_order order = {
                .why = OPEN_FOR_START,
                .uuid = instance->fixture.vm,
                .name = "instance-1",
                .disks = &line,
                .header_fds = &header_fd,
                .disk_count = 1,
                .deadline_usec = clock_now_usec() + 20 * USEC_PER_SEC,
                .done = done,
                .userdata = instance,
        };

        instance->answers = 0;
        lifecycle_open(instance->fixture.lifecycle, &order, &instance->call);
        ck_assert_ptr_nonnull(instance->call);
}

static bool record_names_disk(const struct instance *instance) {
        char text[4096] = "";
        char path[80];

        (void)snprintf(path, sizeof(path), "vms/%s.json", instance->fixture.vm.text);
        int fd = open(scratch_file(&instance->fixture.scratch, path), O_RDONLY | O_CLOEXEC);
        if (fd < 0)
                return false;
        ck_assert_int_gt(read(fd, text, sizeof(text) - 1), 0);
        (void)close(fd);
        return strstr(text, instance->base) != NULL && strstr(text, "\"nova\"") != NULL;
}

/* The worker has done all of it, and the loop has not heard so yet. */
static void run_until_handed_back(struct instance *instance) {
        struct pollfd ready = {.fd = sd_event_get_fd(instance->fixture.event), .events = POLLIN};

        /* The record is written just before the worker is told to map. */
        while (!record_names_disk(instance))
                ck_assert_int_ge(sd_event_run(instance->fixture.event, 10000), 0);
        ck_assert_int_eq(instance->answers, 0);
        ck_assert_int_eq(poll(&ready, 1, 20000), 1);
        ck_assert(!names_base(instance));
}

static void run_until_forgotten(struct instance *instance) {
        uint64_t give_up_usec = clock_now_usec() + 20 * USEC_PER_SEC;

        while (lifecycle_count(instance->fixture.lifecycle) > 0) {
                ck_assert_uint_lt(clock_now_usec(), give_up_usec);
                ck_assert_int_ge(sd_event_run(instance->fixture.event, 10000), 0);
        }
}

START_TEST(cancelled_when_all_is_done) {
        struct instance instance;

        begin(&instance);
        start(&instance);
        run_until_handed_back(&instance);
        vm_call_cancel(instance.call);
        run_until_forgotten(&instance);
        ck_assert(names_base(&instance));
        ck_assert_int_eq(instance.answers, 0);
        vm_fixture_wait_for_leases(&instance.fixture, 0);
        end(&instance);
}
END_TEST

START_TEST(superseded_when_all_is_done) {
        struct instance instance;

        begin(&instance);
        start(&instance);
        run_until_handed_back(&instance);
        start(&instance);
        ck_assert_int_eq(instance.answers, 1); /* of the first one */
        instance.answers = 0;
        vm_fixture_run(&instance.fixture, &instance.answers);
        vm_fixture_wait_for_leases(&instance.fixture, 1);
        ck_assert(!names_base(&instance));
        lifecycle_released(instance.fixture.lifecycle, &instance.fixture.vm);
        run_until_forgotten(&instance);
        ck_assert(names_base(&instance));
        end(&instance);
}
END_TEST

/* The disk is there and open, but nothing can be noted of it any more. */
START_TEST(no_record_can_be_written) {
        struct instance instance;

        begin(&instance);
        start(&instance);
        run_until_handed_back(&instance);
        remove_folder(&instance, "vms");
        vm_fixture_run(&instance.fixture, &instance.answers);
        run_until_forgotten(&instance);
        ck_assert(names_base(&instance));
        vm_fixture_wait_for_leases(&instance.fixture, 0);
        end(&instance);
}
END_TEST

static void open_by_hand(struct instance *instance) {
        const struct protected_disk line = vm_fixture_line(&instance->fixture, "vdb", DISK_DIRECT);
        const struct vm_order order = {
                .why = OPEN_BY_HAND,
                .uuid = instance->fixture.vm,
                .name = "",
                .disks = &line,
                .disk_count = 1,
                .deadline_usec = clock_now_usec() + 20 * USEC_PER_SEC,
                .done = done,
                .userdata = instance,
        };

        lifecycle_open(instance->fixture.lifecycle, &order, &instance->call);
        vm_fixture_run(&instance->fixture, &instance->answers);
}

/* The last disk of the VM goes while volumed has not answered: the VM stays as long, and is open for nobody. */
START_TEST(a_return_outlives_the_other_disks) {
        struct volume_name name = {.kind = VOLUME_DISK, .target = "vdb"};
        struct instance instance;
        struct wla_error err = {0};
        bool held;

        begin(&instance);
        open_by_hand(&instance);
        start(&instance);
        run_until_handed_back(&instance);
        vm_fixture_fault(&instance.fixture, "REBASE hang");
        vm_call_cancel(instance.call);
        const struct uuid *vm = &instance.fixture.vm;
        while (!lifecycle_nova_return(instance.fixture.lifecycle, vm))
                ck_assert_int_ge(sd_event_run(instance.fixture.event, 10000), 0);

        name.uuid = *vm;
        ck_assert_int_eq(lifecycle_let_go(instance.fixture.lifecycle, &name, &held, &err), 0);
        ck_assert(held);
        vm_fixture_wait_for_leases(&instance.fixture, 0);
        lifecycle_closed_by_hand(instance.fixture.lifecycle, &name);
        ck_assert_uint_eq(lifecycle_find(instance.fixture.lifecycle, vm)->disk_count, 0);
        ck_assert_ptr_nonnull(lifecycle_nova_return(instance.fixture.lifecycle, vm));
        ck_assert_int_eq(lifecycle_check_ended(instance.fixture.lifecycle, vm, &err), -1);
        ck_assert_int_eq(err.code, WLA_E_BUSY);
        ck_assert_ptr_nonnull(strstr(wla_error_text(&err), "is just ending"));
        while (lifecycle_nova_return(instance.fixture.lifecycle, vm))
                ck_assert_int_ge(sd_event_run(instance.fixture.event, 10000), 0);
        run_until_forgotten(&instance);
        ck_assert_int_eq(lifecycle_check_ended(instance.fixture.lifecycle, vm, &err), 0);
        end(&instance);
}
END_TEST

/* wlagentd ends at that moment: the next one reads a record of a VM that never started. */
START_TEST(another_life) {
        struct instance instance;
        struct wla_error err = {0};

        begin(&instance);
        start(&instance);
        vm_fixture_run(&instance.fixture, &instance.answers);
        ck_assert(!names_base(&instance));
        instance.fixture.lifecycle = lifecycle_free(instance.fixture.lifecycle);
        ck_assert_int_eq(vm_fixture_begin(&instance.fixture, &err), 0);
        run_until_forgotten(&instance);
        ck_assert(names_base(&instance));
        end(&instance);
}
END_TEST

SUITE_MAIN("nova", cancelled_when_all_is_done, superseded_when_all_is_done,
           no_record_can_be_written, a_return_outlives_the_other_disks, another_life)
