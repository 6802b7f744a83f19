/* SPDX-License-Identifier: Apache-2.0 */

/* One disk, with the double of wlagent-volumed, on one thread. */

#include "suite.h"

#include <string.h>

#include "fail_allocation.h"
#include "vm/launch_disk.h"
#include "vm_fixture.h"

static int open_whole(const struct vm_fixture *fixture, struct launch_disk *disk,
                      struct wla_error *err) {
        _cleanup_secret_ struct wla_secret *key = NULL;
        struct deadline deadline;
        const struct launch_place place = {
                .socket = fixture->socket, .vm = &fixture->vm, .deadline = &deadline};

        deadline_init(&deadline, clock_now_usec() + 10 * USEC_PER_SEC);
        if (wla_secret_new(32, &key, err) < 0 || launch_disk_inspect(disk, &place, err) < 0 ||
            launch_disk_unlock(disk, key, err) < 0)
                return -1;
        return launch_disk_open(disk, &place, err);
}

static struct launch_disk disk_of(const struct vm_fixture *fixture, enum disk_mode mode) {
        return (struct launch_disk){.line = vm_fixture_line(fixture, "vda", mode), .header_fd = -1};
}

START_TEST(every_mode) {
        static const unsigned leases[] = {
                [DISK_LAYER] = 2, [DISK_DIRECT] = 1, [DISK_EPHEMERAL] = 2};
        struct vm_fixture fixture;

        vm_fixture_setup(&fixture);
        for (enum disk_mode mode = 0; mode <= DISK_EPHEMERAL; mode++)
                for (int round = 0; round < 2 && mode != DISK_EPHEMERAL; round++) {
                        struct launch_disk disk = disk_of(&fixture, mode);
                        struct wla_error err = {0};

                        ck_assert_msg(open_whole(&fixture, &disk, &err) == 0, "%d: %s", (int)mode,
                                      wla_error_text(&err));
                        ck_assert_uint_eq(vm_fixture_leases(&fixture), leases[mode]);
                        ck_assert_ptr_null(disk.image_key);
                        ck_assert_int_eq(disk.has_layer, mode == DISK_LAYER && round == 1);
                        ck_assert_str_eq(disk.key_id.text, "local:///" FIXTURE_KEY);
                        launch_disk_close(&disk);
                        vm_fixture_wait_for_leases(&fixture, 0);
                }
        vm_fixture_teardown(&fixture);
}
END_TEST

START_TEST(allocation_failures) {
        struct vm_fixture fixture;
        bool hit = true;

        vm_fixture_setup(&fixture);
        for (size_t n = 1; hit; n++) {
                struct launch_disk disk = disk_of(&fixture, DISK_LAYER);
                struct wla_error err = {0};

                (void)fail_allocation_arm(n);
                int outcome = open_whole(&fixture, &disk, &err);
                fail_allocation_disarm();
                hit = fail_allocation_hit();
                /* Memory that is short for a moment is tried again like a volume that is. */
                ck_assert_msg(outcome == 0 || hit, "%zu: %s", n, wla_error_text(&err));
                ck_assert_msg((outcome == 0) == (wla_error_text(&err)[0] == '\0'), "%zu", n);
                launch_disk_close(&disk);
                vm_fixture_wait_for_leases(&fixture, 0);
                ck_assert_uint_eq(wla_secret_heap_used(), fixture.heap_used);
        }
        vm_fixture_teardown(&fixture);
}
END_TEST

START_TEST(a_wrong_key) {
        struct vm_fixture fixture;
        struct wla_error err = {0};
        struct deadline deadline;
        _cleanup_secret_ struct wla_secret *key = NULL;

        vm_fixture_setup(&fixture);
        const struct launch_place place = {
                .socket = fixture.socket, .vm = &fixture.vm, .deadline = &deadline};
        struct launch_disk disk = disk_of(&fixture, DISK_LAYER);
        deadline_init(&deadline, clock_now_usec() + 10 * USEC_PER_SEC);
        ck_assert_int_eq(wla_secret_new(32, &key, &err), 0);
        memset(wla_secret_fill(key), 1, 32);
        ck_assert_int_eq(launch_disk_inspect(&disk, &place, &err), 0);
        ck_assert_int_eq(launch_disk_unlock(&disk, key, &err), -1);
        ck_assert_int_eq(err.code, WLA_E_DENIED);
        ck_assert_ptr_null(disk.image_key);
        launch_disk_close(&disk);
        key = wla_secret_free(key);
        vm_fixture_teardown(&fixture);
}
END_TEST

SUITE_MAIN("launch_disk", every_mode, allocation_failures, a_wrong_key)
