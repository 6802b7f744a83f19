/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/crypt_volume.h"

#include <errno.h>
#include <libcryptsetup.h>
#include <libdevmapper.h>
#include <stdio.h>
#include <string.h>

#include "image/header_writer.h"
#include "image/volume_key.h"
#include "suite.h"

#define KEY_ID "local:///crypt-volume"

/* What libcryptsetup and the kernel answer. */
static int activation;
static int target_errno;
static char asked_for[32];

int __wrap_crypt_set_data_device(struct crypt_device *device, const char *path);
int __wrap_crypt_activate_by_volume_key(struct crypt_device *device, const char *name,
                                        const char *key, size_t size, uint32_t flags);
struct dm_task *__wrap_dm_task_create(int type);
void __wrap_dm_task_destroy(struct dm_task *task);
int __wrap_dm_task_set_name(struct dm_task *task, const char *name);
int __wrap_dm_task_run(struct dm_task *task);
int __wrap_dm_task_get_errno(struct dm_task *task);

int __wrap_crypt_set_data_device(struct crypt_device *device, const char *path) {
        (void)device;
        (void)path;
        return 0;
}

int __wrap_crypt_activate_by_volume_key(struct crypt_device *device, const char *name,
                                        const char *key, size_t size, uint32_t flags) {
        (void)device;
        (void)name;
        (void)key;
        (void)size;
        (void)flags;
        return activation;
}

struct dm_task *__wrap_dm_task_create(int type) {
        ck_assert_int_eq(type, DM_DEVICE_GET_TARGET_VERSION);
        return (struct dm_task *)(void *)asked_for;
}

void __wrap_dm_task_destroy(struct dm_task *task) {
        ck_assert_ptr_eq(task, asked_for);
}

int __wrap_dm_task_set_name(struct dm_task *task, const char *name) {
        ck_assert_ptr_eq(task, asked_for);
        (void)snprintf(asked_for, sizeof(asked_for), "%s", name);
        return 1;
}

int __wrap_dm_task_run(struct dm_task *task) {
        ck_assert_ptr_eq(task, asked_for);
        return target_errno == 0;
}

int __wrap_dm_task_get_errno(struct dm_task *task) {
        ck_assert_ptr_eq(task, asked_for);
        return target_errno;
}

static void make_header(const struct wla_secret *volume_key, struct sealed_header *ret) {
        _cleanup_buf_ struct buf json = BUF_WITH_LIMIT(IMAGE_TOKEN_MAX);
        _cleanup_buf_ struct buf header = BUF_WITH_LIMIT(IMAGE_HEADER_SIZE);
        struct header_content content = {.volume_key = volume_key, .token = &json};
        struct image_token token = {.size = IMAGE_HEADER_SIZE, .virtual_size = IMAGE_HEADER_SIZE};
        struct wla_error err = {0};

        ck_assert_int_eq(uuid_generate(&content.uuid, &err), 0);
        ck_assert_int_eq(key_id_parse(KEY_ID, strlen(KEY_ID), &token.key_id, &err), 0);
        ck_assert_int_eq(image_token_write(&token, &json, &err), 0);
        ck_assert_int_eq(header_write(&content, &header, &err), 0);
        ck_assert_int_eq(sealed_header_make(header.data, header.size, ret, &err), 0);
}

static void activate(struct wla_error *err) {
        static const struct crypt_activation wanted = {.name = "x", .data = "/dev/loop0"};
        _cleanup_sealed_header_ struct sealed_header sealed = SEALED_HEADER_NONE;
        _cleanup_crypt_volume_ struct crypt_volume *volume = NULL;
        _cleanup_secret_ struct wla_secret *volume_key = NULL;
        struct luks2_header header;

        *err = (struct wla_error){0};
        asked_for[0] = '\0';
        ck_assert_int_eq(wla_secret_pages_init(true, err), 0);
        ck_assert_int_eq(volume_key_generate(&volume_key, err), 0);
        make_header(volume_key, &sealed);
        ck_assert_int_eq(luks2_header_check(sealed.bytes, sealed.size, &header, err), 0);
        ck_assert_msg(crypt_volume_open(&sealed, &header, &volume, err) == 0, "%s",
                      wla_error_text(err));
        ck_assert_int_eq(crypt_volume_activate(volume, volume_key, &wanted, err),
                         activation < 0 ? -1 : 0);
}

START_TEST(without_the_target_nobody_waits) {
        static const int outcomes[] = {-ENODEV, -EEXIST, -EBUSY, -EINVAL, -ENOTSUP};
        struct wla_error err;

        target_errno = EINVAL;
        for (size_t i = 0; i < sizeof(outcomes) / sizeof(outcomes[0]); i++) {
                activation = outcomes[i];
                activate(&err);
                ck_assert_str_eq(asked_for, "crypt");
                ck_assert_int_eq(err.code, WLA_E_SYSTEM);
                ck_assert_ptr_nonnull(strstr(wla_error_text(&err), "has no dm-crypt"));
                ck_assert_ptr_nonnull(strstr(err.hint, "modprobe dm_crypt"));
        }
}
END_TEST

START_TEST(what_passes_is_waited_for) {
        static const int outcomes[] = {-ENODEV, -EEXIST, -EBUSY};
        /* It is there, or the kernel does not say. */
        static const int errnos[] = {0, ENXIO, ENOTTY, EPERM};
        struct wla_error err;

        for (size_t i = 0; i < sizeof(outcomes) / sizeof(outcomes[0]); i++)
                for (size_t k = 0; k < sizeof(errnos) / sizeof(errnos[0]); k++) {
                        activation = outcomes[i];
                        target_errno = errnos[k];
                        activate(&err);
                        ck_assert_int_eq(err.code, WLA_E_BUSY);
                }
}
END_TEST

START_TEST(a_wrong_key_is_one_without_the_target) {
        struct wla_error err;

        activation = -EPERM;
        target_errno = EINVAL;
        activate(&err);
        ck_assert_int_eq(err.code, WLA_E_DENIED);
        activation = 0;
        activate(&err);
        ck_assert_str_eq(asked_for, "");
}
END_TEST

SUITE_MAIN("volume/crypt_volume", without_the_target_nobody_waits, what_passes_is_waited_for,
           a_wrong_key_is_one_without_the_target)
