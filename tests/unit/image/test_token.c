/* SPDX-License-Identifier: Apache-2.0 */
#include "suite.h"

#include <stdlib.h>
#include <string.h>

#include "fail_allocation.h"
#include "sample_image.h"

START_TEST(an_image_token_is_read_as_it_was_written) {
        for (int sealed = 0; sealed < 2; sealed++) {
                _cleanup_buf_ struct buf json = BUF_WITH_LIMIT(IMAGE_TOKEN_MAX);
                struct image_token token = sample_image_token();
                struct image_token again;
                struct json_value value;
                struct wla_error err = {0};

                token.sealed = sealed;
                token.content = sealed ? IMAGE_CONTENT_QCOW2 : IMAGE_CONTENT_RAW;
                for (size_t i = 0; i < sizeof(token.wrapped); i++)
                        ((uint8_t *)&token.wrapped)[i] = (uint8_t)(i + 1);
                ck_assert_int_eq(image_token_write(&token, &json, &err), 0);
                ck_assert_int_eq(json_check((const char *)json.data, json.size, &value, &err), 0);
                ck_assert_int_eq(image_token_read(&value, &again, &err), 0);
                ck_assert(key_id_equal(&token.key_id, &again.key_id));
                ck_assert_mem_eq(&token.wrapped, &again.wrapped, sizeof(token.wrapped));
                ck_assert_int_eq(token.content, again.content);
                ck_assert_uint_eq(token.size, again.size);
                ck_assert_uint_eq(token.virtual_size, again.virtual_size);
                ck_assert_mem_eq(token.probe, again.probe, sizeof(token.probe));
                ck_assert(token.sealed == again.sealed);
        }
}
END_TEST

START_TEST(the_longest_token_fits) {
        _cleanup_buf_ struct buf json = BUF_WITH_LIMIT(IMAGE_TOKEN_MAX);
        struct image_token token = sample_image_token();
        char text[KEY_ID_TEXT_MAX + 1] = "https://host.example/";
        struct wla_error err = {0};

        memset(text + strlen(text), 'k', KEY_ID_TEXT_MAX - strlen(text));
        ck_assert_int_eq(key_id_parse(text, KEY_ID_TEXT_MAX, &token.key_id, &err), 0);
        token.sealed = true;
        token.size = token.virtual_size = UINT64_C(1) << 62;
        ck_assert_int_eq(image_token_write(&token, &json, &err), 0);
        ck_assert_uint_lt(json.size, 2048);
}
END_TEST

START_TEST(names_of_disks) {
        static const char *const good[] = {"vda", "sdb", "hdc", "nvme0n1", "a-b_c", "_x"};
        static const char *const bad[] = {"",    "-a",  ".",   "..",       "a/b",
                                          "a b", "a.b", "a\n", "\xc3\xa4", "sixteen-letters-"};

        for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
                ck_assert(disk_target_valid(good[i], strlen(good[i])));
        for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
                ck_assert_msg(!disk_target_valid(bad[i], strlen(bad[i])), "%s", bad[i]);
        ck_assert(!disk_target_valid("vd\0a", 4));
}
END_TEST

START_TEST(failed_allocations_are_errors) {
        const struct image_token image = sample_image_token();
        const struct layer_token layer = sample_layer_token();

        for (size_t n = 1; fail_allocation_arm(n); n++) {
                _cleanup_buf_ struct buf json = BUF_WITH_LIMIT(IMAGE_TOKEN_MAX);
                _cleanup_buf_ struct buf layer_json = BUF_WITH_LIMIT(IMAGE_TOKEN_MAX);
                struct wla_error err = {0};
                struct image_token image_again;
                struct layer_token layer_again;
                struct json_value value;
                int outcome = image_token_write(&image, &json, &err);

                if (outcome == 0)
                        outcome = layer_token_write(&layer, &layer_json, &err);
                if (outcome == 0)
                        outcome = json_check((const char *)json.data, json.size, &value, &err);
                if (outcome == 0)
                        outcome = image_token_read(&value, &image_again, &err);
                if (outcome == 0)
                        outcome = json_check((const char *)layer_json.data, layer_json.size, &value,
                                             &err);
                if (outcome == 0)
                        outcome = layer_token_read(&value, &layer_again, &err);
                fail_allocation_disarm();
                ck_assert_int_eq(outcome, fail_allocation_hit() ? -1 : 0);
        }
}
END_TEST

SUITE_MAIN("token", an_image_token_is_read_as_it_was_written, the_longest_token_fits,
           names_of_disks, failed_allocations_are_errors)
