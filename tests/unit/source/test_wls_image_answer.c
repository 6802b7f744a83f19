/* SPDX-License-Identifier: Apache-2.0 */
#include "source/wls_image_answer.h"

#include <string.h>

#include "base/base64.h"
#include "suite.h"

#define ID      "dfa22f83-b6dd-4bf3-9b07-ff1fa01eb69f"
#define DIGEST  "lOPONeU0mvyH+nU+FVwrzki6yR486rQ/V0Kx3bYxWcasYAIr9BP0VXWxusZGn7bx"
#define META    "\"meta\":{\"id\":\"" ID "\",\"description\":null}"
#define WITHOUT "\"flavor\":{" META "},\"signature\":\"AAAA\""
#define WITH                                                                     \
        "\"flavor\":{" META                                                      \
        ",\"encryption_required\":true,\"encryption\":{\"key_url\":\"https:x\"," \
        "\"digest\":\"" DIGEST "\"}},\"signature\":\"AAAA\""

/* Bodies as WLS 3.x and 4.2 send them. */
static const struct {
        unsigned status;
        const char *body;
        enum wla_code code;
        enum wls_next next;
        bool ambiguous;
        const char *text;
} refusals[] = {
        {200, "", WLA_E_DENIED, WLS_FINAL, false, "WLS answered without a flavor"},
        {200, "[]", WLA_E_INPUT, WLS_FINAL, false, "the answer of WLS: JSON"},
        {200, "{\"key\":\"AAAA\"}", WLA_E_INPUT, WLS_FINAL, false, "the answer of WLS: the flavor"},
        {200, "{" WITH "}", WLA_E_DENIED, WLS_FINAL, false, "WLS answered without a key"},
        {200, "{" WITH ",\"key\":null}", WLA_E_DENIED, WLS_FINAL, false,
         "WLS answered without a key"},
        {200, "{" WITH ",\"key\":\"\"}", WLA_E_DENIED, WLS_FINAL, false,
         "WLS answered without a key"},
        {201, "{" WITH ",\"key\":\"AAAA\"}", WLA_E_INPUT, WLS_FINAL, false,
         "the key in the answer of WLS"},
        {200, "{" WITHOUT ",\"key\":null}", WLA_E_DENIED, WLS_FINAL, false,
         "the flavor says that the image is not encrypted"},
        {200, "{" WITHOUT ",\"key\":\"AAAA\"}", WLA_E_DENIED, WLS_FINAL, false,
         "the flavor says that the image is not encrypted"},
        {200, "{\"flavor\":{" META ",\"encryption_required\":true},\"signature\":\"\"}",
         WLA_E_DENIED, WLS_FINAL, false, "the flavor says that the image is not encrypted"},
        {404, "Failed to retrieve Flavor and Key for Image - Backend Error\n", WLA_E_NOT_FOUND,
         WLS_FINAL, true, "WLS has no flavor for the image, or cannot read its database"},
        {404, "404 page not found\n", WLA_E_NOT_FOUND, WLS_FINAL, false,
         "WLS does not know the address of images (status 404)"},
        {404, "{" WITH "}", WLA_E_NOT_FOUND, WLS_FINAL, false,
         "WLS does not know the address of images (status 404)"},
        {400, "Failed to retrieve Flavor/Key - Invalid UUID\n", WLA_E_INPUT, WLS_FINAL, false,
         "WLS does not take the image's UUID"},
        {400, "Failed to retrieve Flavor/Key - Invalid hardware uuid\n", WLA_E_INPUT, WLS_FINAL,
         false, "WLS does not take this host's hardware UUID"},
        {400, "Missing query parameters: [hardware_uuid]\n", WLA_E_INPUT, WLS_FINAL, false,
         "WLS does not take the request"},
        {401, "", WLA_E_DENIED, WLS_NEW_TOKEN, false, "WLS does not accept the agent's token"},
        {401, "Insufficient privileges to access /wls/v1/images\n", WLA_E_DENIED, WLS_FINAL, false,
         "the agent's user may not have flavors of images"},
        {500, "Failed to retrieve Flavor/Key for Image - Host is untrusted\n", WLA_E_DENIED,
         WLS_FINAL, false, "HVS does not trust this host"},
        {404, "Host is untrusted\n", WLA_E_DENIED, WLS_FINAL, false,
         "HVS does not trust this host"},
        {500, "Failed to retrieve Flavor/Key for Image - Failed to read HVS response\n",
         WLA_E_UNAVAILABLE, WLS_LATER, false, "HVS cannot judge this host now"},
        {500,
         "Failed to retrieve Flavor/Key for Image - SAML signature or certificate chain "
         "verification failed\n",
         WLA_E_UNAVAILABLE, WLS_FINAL, false, "WLS does not accept the reports of HVS"},
        {500, "Failed to retrieve key \n", WLA_E_DENIED, WLS_FINAL, false, "KBS gave no key"},
        {500, "Failed to retrieve Flavor and Key for Image\n", WLA_E_UNAVAILABLE, WLS_LATER, true,
         "WLS answered with status 500"},
        {500, "", WLA_E_UNAVAILABLE, WLS_LATER, true, "WLS answered with status 500"},
        {500, "Failed to retrieve Flavor and Key for Image - Backend Error\n", WLA_E_UNAVAILABLE,
         WLS_LATER, false, "WLS answered with status 500"},
        {503, "", WLA_E_UNAVAILABLE, WLS_LATER, false, "WLS answered with status 503"},
        {302, "{" WITH "}", WLA_E_DENIED, WLS_FINAL, false,
         "WLS sends its client elsewhere (status 302)"},
        {405, "", WLA_E_NOT_FOUND, WLS_FINAL, false,
         "WLS does not know the address of images (status 405)"},
};

static struct http_answer answer_of(unsigned status, const char *body) {
        struct http_answer answer = {.status = status, .body = BUF_WITH_LIMIT(4096)};
        struct wla_error err = {0};

        ck_assert_int_eq(buf_append_text(&answer.body, body, &err), 0);
        return answer;
}

START_TEST(refusals_say_why) {
        _cleanup_answer_ struct http_answer answer = answer_of(refusals[_i].status,
                                                               refusals[_i].body);
        struct wls_image_answer read = {0};
        enum wls_next next = WLS_LATER;
        struct wla_error err = {0};

        ck_assert_int_eq(wls_image_answer_read(&answer, &read, &next, &err), -1);
        ck_assert_msg(strncmp(wla_error_text(&err), refusals[_i].text, strlen(refusals[_i].text)) ==
                              0,
                      "%s", wla_error_text(&err));
        ck_assert_int_eq(err.code, refusals[_i].code);
        ck_assert_int_eq(next, refusals[_i].next);
        ck_assert(read.ambiguous == refusals[_i].ambiguous);
        ck_assert_ptr_nonnull(err.hint);
}
END_TEST

START_TEST(a_key_comes_with_its_flavor) {
        static const uint8_t wrapped[RSA_WRAPPED_SIZE] = {1, 2, 3};
        char body[2048] = "{" WITH ",\"key\":\"";
        char *end = body + strlen(body);
        struct wls_image_answer read = {0};
        enum wls_next next = WLS_LATER;
        struct wla_error err = {0};

        base64_encode(wrapped, sizeof(wrapped), end);
        memcpy(end + base64_encoded_size(sizeof(wrapped)), "\"}", 3);
        _cleanup_answer_ struct http_answer answer = answer_of(200, body);
        ck_assert_int_eq(wls_image_answer_read(&answer, &read, &next, &err), 0);
        ck_assert_mem_eq(read.wrapped, wrapped, sizeof(wrapped));
        ck_assert_str_eq(read.flavor.id, ID);
        ck_assert_uint_eq(read.signature.size, 3);
        ck_assert_int_eq(next, WLS_FINAL);
}
END_TEST

START_TEST(the_flavor_alone_says_why_there_is_no_key) {
        static const struct {
                unsigned status;
                const char *body;
                enum wls_flavor_state state;
        } rows[] = {
                {404, "Failed to retrieve flavor - No flavor found for given image ID\n",
                 WLS_FLAVOR_MISSING},
                {404, "404 page not found\n", WLS_FLAVOR_UNKNOWN},
                {500, "No flavor found\n", WLS_FLAVOR_UNKNOWN},
                {200, "", WLS_FLAVOR_UNKNOWN},
                {200, "{\"flavor\":{}}", WLS_FLAVOR_UNKNOWN},
                {200, "{" WITHOUT "}", WLS_FLAVOR_UNENCRYPTED},
                {200, "{" WITH "}", WLS_FLAVOR_THERE},
        };

        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                _cleanup_answer_ struct http_answer answer = answer_of(rows[i].status,
                                                                       rows[i].body);

                ck_assert_int_eq(wls_flavor_answer_read(&answer), rows[i].state);
        }
}
END_TEST

int main(void) {
        Suite *suite = suite_create("wls_image_answer");
        TCase *tcase = tcase_create("wls_image_answer");

        tcase_set_timeout(tcase, 240);
        tcase_add_loop_test(tcase, refusals_say_why, 0, sizeof(refusals) / sizeof(refusals[0]));
        tcase_add_test(tcase, a_key_comes_with_its_flavor);
        tcase_add_test(tcase, the_flavor_alone_says_why_there_is_no_key);
        suite_add_tcase(suite, tcase);

        SRunner *runner = srunner_create(suite);
        srunner_run_all(runner, CK_NORMAL);
        int failed = srunner_ntests_failed(runner);
        srunner_free(runner);
        return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
