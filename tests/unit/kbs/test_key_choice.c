/* SPDX-License-Identifier: Apache-2.0 */
#include "kbs/key_choice.h"

#include <string.h>

#include "suite.h"

#define ID "eb61b2e9-c7cd-4476-ac5f-71582c892112"

START_TEST(words) {
        static const struct {
                const char *text;
                bool exists;
                const char *usage;
        } rows[] = {
                {"", false, ""},
                {"any", false, ""},
                {"Enabled", false, ""},
                {"asset-tag:country:USA", false, "country:USA"},
                {"asset-tag:country:USA,site:DC1", false, "country:USA,site:DC1"},
                {"key-id:" ID, true, ""},
                {"key-id:EB61B2E9-C7CD-4476-AC5F-71582C892112", true, ""},
        };

        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                struct key_choice choice;
                struct wla_error err = {0};

                ck_assert_int_eq(
                        key_choice_parse(rows[i].text, strlen(rows[i].text), &choice, &err), 0);
                ck_assert_int_eq(choice.exists, rows[i].exists);
                ck_assert_str_eq(choice.usage.text, rows[i].usage);
                if (choice.exists)
                        ck_assert_str_eq(choice.id.text, ID);
        }
}
END_TEST

/* For each of these Intel's tool makes a key that every trusted host gets. */
START_TEST(nothing_else_makes_a_key) {
        static const char *const texts[] = {
                "anything",
                "any ",
                "Any",
                "enabled",
                "asset-tag",
                "asset-tag:",
                "asset-tag:country",
                "asset-tag:country:",
                "asset-tag:country=USA",
                "asset-tag:country:USA,site",
                "asset-tag:country:US-A",
                "Asset-tag:country:USA",
                "asset_tag:country:USA",
                "country:USA",
                "key-id:",
                "key-id",
                "key-id:1",
                "key-id:00000000-0000-0000-0000-000000000000",
                "key-id:eb61b2e9-c7cd-1476-ac5f-71582c892112", /* version 1 */
                "key-id:" ID " ",
                "key=web",
                ID,
        };

        for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
                struct key_choice choice;
                struct wla_error err = {0};

                ck_assert_msg(key_choice_parse(texts[i], strlen(texts[i]), &choice, &err) == -1,
                              "%s", texts[i]);
                ck_assert_int_eq(err.code, WLA_E_INPUT);
        }
}
END_TEST

SUITE_MAIN("key_choice", words, nothing_else_makes_a_key)
