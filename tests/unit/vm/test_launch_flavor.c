/* SPDX-License-Identifier: Apache-2.0 */

/* What the terms of a key permit; tests/integration/test_flavors.py has the rest. */

#include "suite.h"

#include <string.h>

#include "vm/launch_disk.h"

#define IMAGE "670f263e-b34e-4e07-a520-40ac9a89f62d"
#define OTHER "dfa22f83-b6dd-4bf3-9b07-ff1fa01eb69f"
#define LINK  "https://kbs.example:9443/kbs/v1/keys/eb61b2e9-c7cd-4476-ac5f-71582c892112/transfer"

static struct key_id key_id_of(const char *text) {
        struct wla_error err = {0};
        struct key_id id;

        ck_assert_msg(key_id_parse(text, strlen(text), &id, &err) == 0, "%s", wla_error_text(&err));
        return id;
}

/* All of it in order. */
static struct launch_disk sound_disk(void) {
        struct launch_disk disk = {
                .line = {.target = "vda", .image = "/images/web"},
                .header_fd = -1,
                .format = VOLUMED_FORMAT_OURS,
                .key_id = key_id_of("wls:///images/" IMAGE),
                .header.image.key_id = key_id_of(LINK),
                .terms.verdict = {.present = true, .encryption_required = true},
                .terms.key_url = LINK,
        };
        struct wla_error err = {0};

        ck_assert_int_eq(uuid_parse(IMAGE, strlen(IMAGE), &disk.terms.verdict.image, &err), 0);
        return disk;
}

static void permits(const struct launch_disk *disk) {
        struct wla_error err = {0};

        ck_assert_msg(launch_disk_judge_flavor(disk, &err) == 0, "%s", wla_error_text(&err));
}

static void refuses(const struct launch_disk *disk, enum wla_code code, const char *text) {
        struct wla_error err = {0};

        ck_assert_int_eq(launch_disk_judge_flavor(disk, &err), -1);
        ck_assert_int_eq(err.code, code);
        ck_assert_msg(strstr(wla_error_text(&err), text) != NULL, "%s", wla_error_text(&err));
        ck_assert_ptr_nonnull(strstr(wla_error_text(&err), "disk vda: the image /images/web: "));
}

START_TEST(a_key_of_wls_needs_a_flavor_for_its_image) {
        struct launch_disk disk = sound_disk();
        struct wla_error err = {0};

        permits(&disk);
        disk.terms.verdict.present = false;
        refuses(&disk, WLA_E_DENIED, "its key came without a flavor");

        disk = sound_disk();
        disk.terms.verdict.encryption_required = false;
        refuses(&disk, WLA_E_DENIED, "its key came without a flavor");

        disk = sound_disk();
        ck_assert_int_eq(uuid_parse(OTHER, strlen(OTHER), &disk.terms.verdict.image, &err), 0);
        refuses(&disk, WLA_E_DENIED, "its flavor is for the image " OTHER);
}
END_TEST

START_TEST(the_header_names_the_key_of_the_flavor) {
        struct launch_disk disk = sound_disk();

        disk.header.image.key_id = key_id_of("https://kbs.example:9443/kbs/v1//keys/"
                                             "eb61b2e9-c7cd-4476-ac5f-71582c892112/transfer");
        permits(&disk);
        disk.header.image.key_id = key_id_of("https://kbs.example:9443/kbs/v1/keys/" OTHER
                                             "/transfer");
        refuses(&disk, WLA_E_DENIED, "its header names another key than its flavor");
        disk.header.image.key_id = key_id_of(
                "https://other.example/kbs/v1/keys/eb61b2e9-c7cd-4476-ac5f-71582c892112/transfer");
        refuses(&disk, WLA_E_DENIED, "its header names another key than its flavor");
        disk.header.image.key_id = key_id_of("https://kbs.example:9443/other");
        refuses(&disk, WLA_E_INPUT, "its header");

        /* Formats of others name none. */
        disk.format = VOLUMED_FORMAT_ISECL;
        permits(&disk);
        /* And their conversions name whichever was asked for the first time. */
        disk = sound_disk();
        disk.isecl = true;
        disk.header.image.key_id = key_id_of("https://other.example/kbs/v1/keys/" OTHER
                                             "/transfer");
        permits(&disk);
        disk = sound_disk();
        disk.header.image.key_id = disk.key_id;
        permits(&disk);
}
END_TEST

START_TEST(other_keys_need_no_flavor) {
        struct launch_disk disk = sound_disk();

        disk.terms = (struct flavor_terms){0};
        disk.key_id = key_id_of("local:///web");
        permits(&disk);
        disk.key_id = key_id_of(LINK);
        permits(&disk);
}
END_TEST

SUITE_MAIN("launch_flavor", a_key_of_wls_needs_a_flavor_for_its_image,
           the_header_names_the_key_of_the_flavor, other_keys_need_no_flavor)
