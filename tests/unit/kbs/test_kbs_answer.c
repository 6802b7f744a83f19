/* SPDX-License-Identifier: Apache-2.0 */
#include "kbs/kbs_answer.h"

#include <string.h>

#include "base/base64.h"
#include "suite.h"

#define ID   "eb61b2e9-c7cd-4476-ac5f-71582c892112"
#define LINK "https://kbs.example:9443/kbs/v1/keys/" ID "/transfer"

static struct http_answer answer_of(unsigned status, const char *body) {
        struct http_answer answer = {.status = status, .body = BUF_WITH_LIMIT(8192)};
        struct wla_error err = {0};

        ck_assert_int_eq(buf_append_text(&answer.body, body, &err), 0);
        return answer;
}

START_TEST(a_key_that_was_made) {
        static const char *const bodies[] = {
                "{\"key_information\":{\"id\":\"" ID "\",\"algorithm\":\"AES\",\"key_length\":256,"
                "\"kmip_key_id\":\"7\"},\"transfer_policy_id\":"
                "\"00000000-0000-0000-0000-000000000000\",\"transfer_link\":\"" LINK "\","
                "\"created_at\":\"2021-01-01T00:00:00Z\",\"label\":\"\",\"usage\":\"\"}\n",
                "{\"transfer_link\":\"" LINK "\",\"key_information\":{\"id\":\"" ID "\"}}",
        };

        for (size_t i = 0; i < 2; i++) {
                _cleanup_answer_ struct http_answer answer = answer_of(201, bodies[i]);
                enum kbs_next next;
                struct kbs_made made;
                struct wla_error err = {0};

                ck_assert_int_eq(kbs_answer_made(&answer, &made, &next, &err), 0);
                ck_assert_str_eq(made.id.text, ID);
                ck_assert_str_eq(made.link, LINK);
        }
}
END_TEST

START_TEST(who_is_given_a_key) {
        static const struct {
                const char *members;
                const char *usage;
                const char *policy;
        } rows[] = {
                {"\"usage\":\"country:USA\",\"transfer_policy_id\":\"" ID "\"", "country:USA", ID},
                {"\"transfer_policy_id\":\"EB61B2E9-C7CD-4476-AC5F-71582C892112\"", "", ID},
                {"\"usage\":null,\"transfer_policy_id\":null", "", ""},
                {"\"usage\":7,\"transfer_policy_id\":\"x\"", "", ""},
                {"\"usage\":\"a\\u0000b\",\"transfer_policy_id\":\"\"", "", ""},
        };

        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                _cleanup_answer_ struct http_answer answer = answer_of(201, "{");
                enum kbs_next next;
                struct kbs_made made;
                struct wla_error err = {0};

                ck_assert_int_eq(buf_printf(&answer.body, &err,
                                            "%s,\"key_information\":{\"id\":\"" ID
                                            "\"},\"transfer_link\":\"" LINK "\"}",
                                            rows[i].members),
                                 0);
                ck_assert_int_eq(kbs_answer_made(&answer, &made, &next, &err), 0);
                ck_assert_str_eq(made.usage.text, rows[i].usage);
                ck_assert_str_eq(made.policy.text, rows[i].policy);
        }
}
END_TEST

START_TEST(what_is_no_made_key) {
        static const char *const bodies[] = {
                "",
                "[]",
                "{}",
                "{\"key_information\":{},\"transfer_link\":\"" LINK "\"}",
                "{\"key_information\":{\"id\":\"" ID "\"}}",
                "{\"key_information\":{\"id\":7},\"transfer_link\":\"" LINK "\"}",
                "{\"key_information\":{\"id\":\"7\"},\"transfer_link\":\"" LINK "\"}",
                "{\"key_information\":{\"id\":\"00000000-0000-0000-0000-000000000000\"},"
                "\"transfer_link\":\"" LINK "\"}",
                "{\"key_information\":{\"id\":\"" ID "\"},\"transfer_link\":\"a\\u0000b\"}",
                "{\"key_information\":{\"id\":\"" ID "\"},\"transfer_link\":null}",
                "{\"key_information\":{\"id\":\"" ID "\"},\"key_information\":{\"id\":\"" ID
                "\"},\"transfer_link\":\"" LINK "\"}",
                "{\"key_information\":{\"id\":\"" ID "\"},\"transfer_link\":\"" LINK "\"}{}",
        };

        for (size_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++) {
                _cleanup_answer_ struct http_answer answer = answer_of(201, bodies[i]);
                enum kbs_next next;
                struct kbs_made made;
                struct wla_error err = {0};

                ck_assert_msg(kbs_answer_made(&answer, &made, &next, &err) == -1, "%s", bodies[i]);
                ck_assert_int_eq(next, KBS_FINAL);
                ck_assert_int_eq(err.code, WLA_E_INPUT);
        }
}
END_TEST

static const struct uuid asked_for = {.text = ID};

START_TEST(an_envelope_of_either_form) {
        static const struct {
                const char *id;
                const char *name;
                bool good;
        } rows[] = {
                {"", "wrapped_key", true}, /* 5.x */
                {"\"id\":\"" ID "\",", "payload", true},
                {"\"id\":\"EB61B2E9-c7cd-4476-ac5f-71582c892112\",", "payload", true},
                {"", "payload", true},
                {"\"id\":\"eb61b2e9-c7cd-4476-ac5f-71582c892113\",", "payload", false},
                {"\"id\":\"eb61b2e9-c7cd-4476-ac5f-71582c892113\",", "wrapped_key", false},
                {"\"id\":\"00000000-0000-0000-0000-000000000000\",", "payload", false},
                {"\"id\":\"" ID "0\",", "payload", false},
                {"\"id\":\"x\",", "payload", false},
                {"\"id\":\"\",", "payload", false},
                {"\"id\":null,", "payload", false},
                {"\"id\":17,", "payload", false},
        };
        uint8_t wrapped[ENVELOPE_SIZE];

        for (size_t i = 0; i < sizeof(wrapped); i++)
                wrapped[i] = (uint8_t)i;
        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                _cleanup_answer_ struct http_answer answer = answer_of(200, "{");
                uint8_t got[ENVELOPE_SIZE];
                enum kbs_next next;
                struct wla_error err = {0};

                ck_assert_int_eq(
                        buf_printf(&answer.body, &err, "%s\"%s\":\"", rows[i].id, rows[i].name), 0);
                ck_assert_int_eq(base64_append(&answer.body, wrapped, sizeof(wrapped), &err), 0);
                ck_assert_int_eq(buf_append_text(&answer.body, "\"}", &err), 0);
                ck_assert_msg(kbs_answer_envelope(&answer, &asked_for, got, &next, &err) ==
                                      (rows[i].good ? 0 : -1),
                              "%zu", i);
                ck_assert_int_eq(next, KBS_FINAL);
                if (rows[i].good) {
                        ck_assert_mem_eq(got, wrapped, sizeof(wrapped));
                        continue;
                }
                ck_assert_str_eq(wla_error_text(&err),
                                 "KBS answered with another key than it was asked for");
                ck_assert_int_eq(err.code, WLA_E_INPUT);
                ck_assert_ptr_nonnull(err.hint);
        }
}
END_TEST

START_TEST(what_is_no_envelope) {
        static const char *const bodies[] = {
                "",
                "null",
                "{}",
                "{\"key\":\"AAAA\"}",
                "{\"wrapped_key\":\"\"}",
                "{\"wrapped_key\":\"AAAA\"}",
                "{\"wrapped_key\":null}",
                "{\"payload\":17}",
                "{\"payload\":\"not base64\"}",
        };

        for (size_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++) {
                _cleanup_answer_ struct http_answer answer = answer_of(200, bodies[i]);
                uint8_t got[ENVELOPE_SIZE];
                enum kbs_next next;
                struct wla_error err = {0};

                ck_assert_msg(kbs_answer_envelope(&answer, &asked_for, got, &next, &err) == -1,
                              "%s", bodies[i]);
                ck_assert_int_eq(err.code, WLA_E_INPUT);
        }
}
END_TEST

START_TEST(statuses) {
        static const struct {
                unsigned status;
                const char *body;
                bool envelope;
                enum wla_code code;
                enum kbs_next next;
                const char *text;
        } rows[] = {
                {401, "", false, WLA_E_DENIED, KBS_NEW_TOKEN, "does not accept the owner's token"},
                {401, "", true, WLA_E_DENIED, KBS_NEW_TOKEN, "does not accept the owner's token"},
                {401, "Insufficient privileges to access /kbs/v1/keys\n", false, WLA_E_DENIED,
                 KBS_FINAL, "the owner's user may not do that (status 401)"},
                {401, "Insufficient privileges to access /kbs/v1/keys/x\n", true, WLA_E_DENIED,
                 KBS_FINAL, "the owner's user may not do that"},
                {403, "", false, WLA_E_DENIED, KBS_FINAL, "refuses the owner's user"},
                {429, "", false, WLA_E_UNAVAILABLE, KBS_FINAL, "asked too often"},
                {400, "x", false, WLA_E_INPUT, KBS_FINAL, "does not make such a key"},
                {404, "404 page not found\n", false, WLA_E_NOT_FOUND, KBS_FINAL,
                 "does not know the address"},
                {405, "", false, WLA_E_NOT_FOUND, KBS_FINAL, "does not know the address"},
                {415, "", false, WLA_E_INPUT, KBS_FINAL, "dialect"},
                {404, "Key with specified id does not exist\n", true, WLA_E_NOT_FOUND, KBS_FINAL,
                 "KBS has no such key (status 404)"},
                {404, "404 page not found\n", true, WLA_E_NOT_FOUND, KBS_OTHER_ROUTE, "address"},
                {405, "", true, WLA_E_NOT_FOUND, KBS_OTHER_ROUTE, "address"},
                {400, "", true, WLA_E_INPUT, KBS_FINAL, "public key"},
                {415, "", true, WLA_E_INPUT, KBS_FINAL, "dialect"},
                {500, "secret words", true, WLA_E_UNAVAILABLE, KBS_FINAL, "with status 500"},
                {503, "", false, WLA_E_UNAVAILABLE, KBS_FINAL, "with status 503"},
                {307, "", false, WLA_E_DENIED, KBS_FINAL, "elsewhere (status 307)"},
                {301, "", true, WLA_E_DENIED, KBS_FINAL, "elsewhere"},
                {200, "{}", false, WLA_E_DENIED, KBS_FINAL, "with status 200"},
                {201, "{}", true, WLA_E_DENIED, KBS_FINAL, "with status 201"},
                {204, "", true, WLA_E_DENIED, KBS_FINAL, "with status 204"},
        };

        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                _cleanup_answer_ struct http_answer answer = answer_of(rows[i].status,
                                                                       rows[i].body);
                uint8_t wrapped[ENVELOPE_SIZE];
                struct kbs_made made;
                enum kbs_next next;
                struct wla_error err = {0};

                ck_assert_int_eq(rows[i].envelope ? kbs_answer_envelope(&answer, &asked_for,
                                                                        wrapped, &next, &err)
                                                  : kbs_answer_made(&answer, &made, &next, &err),
                                 -1);
                ck_assert_msg(strstr(wla_error_text(&err), rows[i].text), "%zu: %s", i,
                              wla_error_text(&err));
                ck_assert_msg(err.code == rows[i].code, "%zu: %s", i, wla_error_text(&err));
                ck_assert_msg(next == rows[i].next, "%zu", i);
                ck_assert_ptr_nonnull(err.hint);
                ck_assert_ptr_null(strstr(wla_error_text(&err), "secret words"));
        }
}
END_TEST

SUITE_MAIN("kbs_answer", a_key_that_was_made, who_is_given_a_key, what_is_no_made_key,
           an_envelope_of_either_form, what_is_no_envelope, statuses)
