/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/volume_name.h"

#include <string.h>

#include "suite.h"

#define UUID "0f6b3a52-c0b9-4a7f-9a0e-5b1f7c2d8e01"

START_TEST(names_read_as_they_are_written) {
        static const struct {
                const char *text;
                enum volume_kind kind;
                const char *target;
        } cases[] = {
                {"wlagent-image-" UUID, VOLUME_IMAGE, ""},
                {"wlagent-" UUID "-vda", VOLUME_DISK, "vda"},
                {"wlagent-" UUID "-a", VOLUME_DISK, "a"},
                {"wlagent-" UUID "-fifteen_letters", VOLUME_DISK, "fifteen_letters"},
        };

        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                struct wla_error err = {0};
                struct volume_name name;
                char again[VOLUME_NAME_SIZE];

                ck_assert_msg(volume_name_parse(cases[i].text, &name, &err) == 0, "%s",
                              wla_error_text(&err));
                ck_assert_int_eq(name.kind, cases[i].kind);
                ck_assert_str_eq(name.uuid.text, UUID);
                ck_assert_str_eq(name.target, cases[i].target);
                volume_name_write(&name, again);
                ck_assert_str_eq(again, cases[i].text);
        }
}
END_TEST

START_TEST(other_names_are_refused) {
        static const char *const names[] = {
                "",
                "vg-root",
                "wlagent-",
                "wlagent-image-",
                "wlagent-image-" UUID "-",
                "wlagent-image-" UUID "/",
                "wlagent-image-0F6B3A52-c0b9-4a7f-9a0e-5b1f7c2d8e01",
                "wlagent-image-00000000-0000-0000-0000-000000000000",
                "wlagent-" UUID,
                "wlagent-" UUID "-",
                "wlagent-" UUID "_vda",
                "wlagent-" UUID "-sixteen__letters",
                "wlagent-" UUID "-vda.new",
                "wlagent-" UUID "-../x",
                "wlagent-" UUID "-v da",
                "wlagent-" UUID "--",
                "wlagent-" UUID "-vda\n",
                "wlagent-0f6b3a52",
                "Wlagent-" UUID "-vda",
        };

        for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
                struct wla_error err = {0};
                struct volume_name name = {.kind = VOLUME_DISK, .target = "kept"};

                ck_assert_msg(volume_name_parse(names[i], &name, &err) == -1, "%s", names[i]);
                ck_assert_int_eq(err.code, WLA_E_INPUT);
                ck_assert_str_eq(name.target, "kept");
        }
}
END_TEST

SUITE_MAIN("volume/volume_name", names_read_as_they_are_written, other_names_are_refused)
