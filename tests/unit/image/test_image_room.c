/* SPDX-License-Identifier: Apache-2.0 */
#include "image/image_room.h"

#include "image/qcow2_writer.h"
#include "suite.h"

#define MIB (UINT64_C(1) << 20)

static int check(enum image_content content, uint64_t size, uint64_t virtual_size) {
        const struct image_token token = {
                .content = content,
                .size = size,
                .virtual_size = virtual_size,
        };
        struct wla_error err = {0};
        int outcome = image_room_check(&token, &err);

        ck_assert_int_eq(err.code, outcome < 0 ? WLA_E_UNSUPPORTED : WLA_OK);
        return outcome;
}

START_TEST(a_raw_disk_is_as_large_as_its_image) {
        ck_assert_int_eq(check(IMAGE_CONTENT_RAW, MIB, MIB), 0);
}
END_TEST

START_TEST(a_qcow2_needs_room_for_its_whole_disk) {
        struct wla_error err = {0};
        uint64_t needed;

        ck_assert_int_eq(qcow2_full_size(64 * MIB, &needed, &err), 0);
        ck_assert_int_eq(check(IMAGE_CONTENT_QCOW2, needed, 64 * MIB), 0);
        ck_assert_int_eq(check(IMAGE_CONTENT_QCOW2, needed - 4096, 64 * MIB), -1);
        ck_assert_int_eq(check(IMAGE_CONTENT_QCOW2, MIB, 64 * MIB), -1);
}
END_TEST

/* Then what is needed cannot be told. */
START_TEST(an_impossible_disk) {
        const struct image_token token = {
                .content = IMAGE_CONTENT_QCOW2,
                .size = MIB,
                .virtual_size = 2 * QCOW2_VIRTUAL_SIZE_MAX,
        };
        struct wla_error err = {0};

        ck_assert_int_eq(image_room_check(&token, &err), -1);
        ck_assert_int_eq(err.code, WLA_E_INPUT);
}
END_TEST

SUITE_MAIN("image/image_room", a_raw_disk_is_as_large_as_its_image,
           a_qcow2_needs_room_for_its_whole_disk, an_impossible_disk)
