/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/nova_path.h"

#include <stdio.h>
#include <string.h>

#include "suite.h"

#define INSTANCE "0b5c8d3e-7a61-4e2b-9d54-6f1f0c2a9e77"
/* printf 70a599e0-31e7-49b7-b260-868f441e862b | sha1sum */
#define IMAGE "70a599e0-31e7-49b7-b260-868f441e862b"

static struct uuid image(void) {
        struct uuid uuid;
        struct wla_error err = {0};

        ck_assert_int_eq(uuid_parse(IMAGE, strlen(IMAGE), &uuid, &err), 0);
        return uuid;
}

static void expect(const char *disk, const char *base) {
        struct uuid uuid = image();
        struct uuid instance;
        struct wla_error err = {0};
        char found[VOLUMED_PATH_SIZE];

        ck_assert_msg(nova_base_path(disk, &uuid, found, &instance, &err) == 0, "%s",
                      wla_error_text(&err));
        ck_assert_str_eq(found, base);
        ck_assert_str_eq(instance.text, INSTANCE);
        ck_assert_int_eq(nova_base_path(disk, &uuid, found, NULL, &err), 0);
        ck_assert_int_eq(nova_disk_path(base, &instance, found, &err), 0);
        ck_assert_str_eq(found, disk);
}

static void expect_refusal(const char *disk) {
        struct uuid uuid = image();
        struct uuid instance;
        struct wla_error err = {0};
        char found[VOLUMED_PATH_SIZE];

        ck_assert_int_eq(nova_base_path(disk, &uuid, found, &instance, &err), -1);
        ck_assert_int_eq(err.code, WLA_E_INPUT);
}

START_TEST(the_base_is_derived) {
        expect("/var/lib/nova/instances/" INSTANCE "/disk",
               "/var/lib/nova/instances/_base/88607926df58f2de85c9d44cd0324614a44d28b3");
}
END_TEST

START_TEST(any_part_of_the_path_may_be_named_disk) {
        expect("/srv/disks/disk/instances-disk/" INSTANCE "/disk",
               "/srv/disks/disk/instances-disk/_base/88607926df58f2de85c9d44cd0324614a44d28b3");
        expect("/disk/" INSTANCE "/disk", "/disk/_base/88607926df58f2de85c9d44cd0324614a44d28b3");
}
END_TEST

START_TEST(other_paths_are_refused) {
        static const char *const paths[] = {
                "",
                "/",
                "disk",
                "/disk",
                INSTANCE "/disk",
                "/" INSTANCE "/disk",
                "/i/" INSTANCE "/disk.config",
                "/i/" INSTANCE "/disk.eph0",
                "/i/" INSTANCE "/Disk",
                "/i/" INSTANCE "/disk/",
                "/i/" INSTANCE "/disk/disk",
                "/i/" INSTANCE "//disk",
                "/i/" INSTANCE "_resize/disk",
                "/i/0B5C8D3E-7A61-4E2B-9D54-6F1F0C2A9E77/disk",
                "/i/00000000-0000-0000-0000-000000000000/disk",
                "i/" INSTANCE "/disk",
                ("/dev/mapper/wlagent-image-" INSTANCE),
        };

        for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++)
                expect_refusal(paths[i]);
}
END_TEST

START_TEST(other_bases_are_refused) {
        static const char *const paths[] = {
                "",
                "/_base/0123456789012345678901234567890123456789",
                "/i/base/0123456789012345678901234567890123456789",
                "/i/_base/01234567890123456789012345678901234567890",
                "/i/_base/012345678901234567890123456789012345678",
        };
        struct uuid uuid = image();
        char found[VOLUMED_PATH_SIZE];

        for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
                struct wla_error err = {0};

                ck_assert_int_eq(nova_disk_path(paths[i], &uuid, found, &err), -1);
                ck_assert_int_eq(err.code, WLA_E_INPUT);
        }
}
END_TEST

START_TEST(long_paths_are_refused) {
        char path[VOLUMED_PATH_SIZE + 64];

        memset(path, 'a', sizeof(path));
        path[0] = '/';
        (void)snprintf(path + VOLUMED_PATH_SIZE - 43, 64, "/" INSTANCE "/disk");
        ck_assert_uint_eq(strlen(path), VOLUMED_PATH_SIZE - 1);
        expect_refusal(path); /* the base's would be longer */
        (void)snprintf(path + VOLUMED_PATH_SIZE - 42, 64, "/" INSTANCE "/disk");
        expect_refusal(path);
}
END_TEST

SUITE_MAIN("volume/nova_path", the_base_is_derived, any_part_of_the_path_may_be_named_disk,
           other_paths_are_refused, other_bases_are_refused, long_paths_are_refused)
