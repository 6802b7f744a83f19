/* SPDX-License-Identifier: Apache-2.0 */
#include "suite.h"

#include <string.h>

#include "base/uuid.h"

static int parse(const char *text, struct uuid *ret) {
        struct wla_error err = {0};
        int outcome = uuid_parse(text, strlen(text), ret, &err);

        ck_assert(outcome == 0 || err.code == WLA_E_INPUT);
        return outcome;
}

START_TEST(either_case_becomes_lower_case) {
        struct uuid lower;
        struct uuid upper;

        ck_assert_int_eq(parse("3d0f1c3e-1111-4222-8333-4444abcdef66", &lower), 0);
        ck_assert_str_eq(lower.text, "3d0f1c3e-1111-4222-8333-4444abcdef66");
        ck_assert_int_eq(parse("3D0F1C3E-1111-4222-8333-4444ABCDEF66", &upper), 0);
        ck_assert(uuid_equal(&lower, &upper));
        upper.text[0] = '4';
        ck_assert(!uuid_equal(&lower, &upper));
}
END_TEST

START_TEST(other_texts_are_refused) {
        static const char *const bad[] = {
                "",
                "3d0f1c3e",
                "3d0f1c3e-1111-4222-8333-4444abcdef6",
                "3d0f1c3e-1111-4222-8333-4444abcdef666",
                "{3d0f1c3e-1111-4222-8333-4444abcdef6}",
                "3d0f1c3e-1111-4222-8333-4444abcdeg66",
                "3d0f1c3e 1111-4222-8333-4444abcdef66",
                "3d0f1c3e-1111-4222-8333-4444abcdef-6",
                "3d0f1c3e11-11-4222-8333-4444abcdef66",
                "../../../../../../../../../etc/passw",
                "00000000-0000-0000-0000-000000000000",
        };
        const struct uuid before = {"before"};
        struct uuid uuid = before;

        for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
                ck_assert_msg(parse(bad[i], &uuid) == -1, "%s", bad[i]);
        ck_assert_str_eq(uuid.text, before.text);
}
END_TEST

START_TEST(a_zero_byte_is_no_digit) {
        char text[] = "3d0f1c3e-1111-4222-8333-4444abcdef66";
        struct wla_error err = {0};
        struct uuid uuid;

        for (size_t i = 0; i < 36; i++) {
                char kept = text[i];

                text[i] = '\0';
                ck_assert_int_eq(uuid_parse(text, 36, &uuid, &err), -1);
                text[i] = kept;
        }
}
END_TEST

START_TEST(generated_ones_are_of_version_4_and_differ) {
        struct wla_error err = {0};
        struct uuid last = {0};

        for (int i = 0; i < 1000; i++) {
                struct uuid uuid;
                struct uuid again;

                ck_assert_int_eq(uuid_generate(&uuid, &err), 0);
                ck_assert_int_eq(parse(uuid.text, &again), 0);
                ck_assert(uuid_equal(&uuid, &again));
                ck_assert_int_eq(uuid.text[14], '4');
                ck_assert_ptr_nonnull(strchr("89ab", uuid.text[19]));
                ck_assert(!uuid_equal(&uuid, &last));
                last = uuid;
        }
}
END_TEST

SUITE_MAIN("uuid", either_case_becomes_lower_case, other_texts_are_refused, a_zero_byte_is_no_digit,
           generated_ones_are_of_version_4_and_differ)
