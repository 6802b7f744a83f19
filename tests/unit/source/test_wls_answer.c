/* SPDX-License-Identifier: Apache-2.0 */
#include "source/wls_answer.h"

#include <stdio.h>
#include <string.h>

#include "base/base64.h"
#include "suite.h"

/* What 5.1 wraps around the cause of its own client. */
#define OF_KBS                                                                \
        "Failed to retrieve key : Error response from key transfer request: " \
        "clients/send_http_request.go:SendNoAuthRequest() Error getting response: "
#define ANSWERED    "clients/send_http_request.go:SendRequest() Error from response: HTTP Status :"
#define UNREACHABLE "clients/send_http_request.go:GetHTTPResponse() Error from response: "

/* Bodies as WLS 4.2 and 5.1 send them. */
static const struct {
        unsigned status;
        const char *body;
        enum wla_code code;
        enum wls_next next;
        const char *text;
} refusals[] = {
        {200, "", WLA_E_DENIED, WLS_FINAL, "WLS answered without a key"},
        {200, "{}", WLA_E_DENIED, WLS_FINAL, "WLS answered without a key"},
        {200, "{\"key\":null}", WLA_E_DENIED, WLS_FINAL, "WLS answered without a key"},
        {200, "{\"key\":\"\"}", WLA_E_DENIED, WLS_FINAL, "WLS answered without a key"},
        {201, "[]", WLA_E_DENIED, WLS_FINAL, "WLS answered without a key"},
        {201, "{\"key\":1}", WLA_E_INPUT, WLS_FINAL, "the key in the answer of WLS"},
        {201, "{\"key\":\"AAAA\"}", WLA_E_INPUT, WLS_FINAL, "the key in the answer of WLS"},
        {201, "{\"key\":\"AAAA\",\"key\":\"AAAA\"}", WLA_E_INPUT, WLS_FINAL, "the answer of WLS"},
        {200, "Host is untrusted", WLA_E_INPUT, WLS_FINAL, "the answer of WLS"},
        {400, "Failed to retrieve key - JSON marshal error\n", WLA_E_INPUT, WLS_FINAL,
         "WLS does not take the request (status 400)"},
        {400, "Invalid hardware UUID format\n", WLA_E_INPUT, WLS_FINAL,
         "WLS does not take this host's hardware UUID (status 400)"},
        {400, "keyUrl is empty\n", WLA_E_INPUT, WLS_FINAL,
         "WLS does not take the request (status 400)"},
        {400, "Failed to retrieve Key for Image - KeyUrl is malformed\n", WLA_E_INPUT, WLS_FINAL,
         "WLS does not take the key's URL (status 400)"},
        {500, "Failed to retrieve Key for Image - KeyUrl is malformed\n", WLA_E_INPUT, WLS_FINAL,
         "WLS does not take the key's URL (status 500)"},
        {401, "", WLA_E_DENIED, WLS_NEW_TOKEN,
         "WLS does not accept the agent's token (status 401)"},
        {401, "Insufficient privileges to access /wls/v1/keys\n", WLA_E_DENIED, WLS_FINAL,
         "the agent's user may not have keys (status 401)"},
        {403, "", WLA_E_DENIED, WLS_FINAL, "WLS refuses this host (status 403)"},
        {404, "404 page not found\n", WLA_E_NOT_FOUND, WLS_FINAL,
         "WLS does not know the address (status 404)"},
        {405, "", WLA_E_NOT_FOUND, WLS_FINAL, "WLS does not know the address (status 405)"},
        {415, "Invalid Accept type\n", WLA_E_INPUT, WLS_FINAL,
         "WLS does not speak this agent's dialect (status 415)"},
        {429, "", WLA_E_UNAVAILABLE, WLS_FINAL, "WLS is asked too often (status 429)"},
        {500, "Failed to retrieve Key for Image - Host is untrusted\n", WLA_E_DENIED, WLS_FINAL,
         "HVS does not trust this host (status 500)"},
        {500, "Failed to retrieve Key for Image - Host is untrusted: cause\n", WLA_E_DENIED,
         WLS_FINAL, "HVS does not trust this host (status 500)"},
        {500, "Failed to retrieve Key for Image - Failed to read HVS response\n", WLA_E_UNAVAILABLE,
         WLS_LATER, "HVS cannot judge this host now (status 500)"},
        {500,
         "Failed to retrieve Key for Image - SAML signature or certificate chain verification "
         "failed\n",
         WLA_E_UNAVAILABLE, WLS_FINAL, "WLS does not accept the reports of HVS (status 500)"},
        {500, "Failed to retrieve key \n", WLA_E_DENIED, WLS_FINAL, "KBS gave no key (status 500)"},
        {500, OF_KBS ANSWERED "401\n", WLA_E_DENIED, WLS_FINAL,
         "KBS does not give the key to this host (status 500)"},
        {500, OF_KBS ANSWERED "404\n", WLA_E_NOT_FOUND, WLS_FINAL,
         "KBS has no such key (status 500)"},
        {500, OF_KBS ANSWERED "400\n", WLA_E_DENIED, WLS_FINAL, "KBS gave no key (status 500)"},
        {500, OF_KBS ANSWERED "500\n", WLA_E_DENIED, WLS_FINAL, "KBS gave no key (status 500)"},
        {500,
         OF_KBS UNREACHABLE "Post \"https://kbs:9443/kbs/v1/keys/404/transfer\": dial tcp "
                            "192.0.2.1:9443: connect: connection refused\n",
         WLA_E_UNAVAILABLE, WLS_LATER, "WLS does not reach KBS (status 500)"},
        {500,
         OF_KBS UNREACHABLE "Post \"https://kbs:9443/kbs/v1/keys/401/transfer\": x509: "
                            "certificate signed by unknown authority\n",
         WLA_E_UNAVAILABLE, WLS_LATER, "WLS does not reach KBS (status 500)"},
        /* Whoever is asked by WLS for something else says nothing of KBS. */
        {500, "Failed to retrieve Key for Image - Failed to read HVS response: " ANSWERED "401\n",
         WLA_E_UNAVAILABLE, WLS_LATER, "HVS cannot judge this host now (status 500)"},
        {500, "error while instantiating VSClientFactory: " ANSWERED "404\n", WLA_E_UNAVAILABLE,
         WLS_LATER, "WLS answered with status 500"},
        {503, OF_KBS ANSWERED "404\n", WLA_E_UNAVAILABLE, WLS_LATER,
         "WLS answered with status 503"},
        {404, "Key with specified id does not exist\n", WLA_E_NOT_FOUND, WLS_FINAL,
         "WLS does not know the address (status 404)"},
        {500, "Unknown Error\n", WLA_E_UNAVAILABLE, WLS_LATER, "WLS answered with status 500"},
        {500, "", WLA_E_UNAVAILABLE, WLS_LATER, "WLS answered with status 500"},
        {503, "", WLA_E_UNAVAILABLE, WLS_LATER, "WLS answered with status 503"},
        {204, "", WLA_E_DENIED, WLS_FINAL, "WLS answered with status 204"},
        {302, "{\"key\":\"x\"}", WLA_E_DENIED, WLS_FINAL,
         "WLS sends its client elsewhere (status 302)"},
        {0, "", WLA_E_DENIED, WLS_FINAL, "WLS answered with status 0"},
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
        uint8_t key[RSA_WRAPPED_SIZE];
        enum wls_next next = WLS_LATER;
        struct wla_error err = {0};

        ck_assert_int_eq(wls_answer_read(&answer, key, &next, &err), -1);
        ck_assert_msg(strncmp(wla_error_text(&err), refusals[_i].text, strlen(refusals[_i].text)) ==
                              0,
                      "%u %s: %s", refusals[_i].status, refusals[_i].body, wla_error_text(&err));
        ck_assert_int_eq(err.code, refusals[_i].code);
        ck_assert_int_eq(next, refusals[_i].next);
        ck_assert_ptr_nonnull(err.hint);
}
END_TEST

START_TEST(a_key_is_a_key) {
        uint8_t bytes[RSA_WRAPPED_SIZE];
        uint8_t key[RSA_WRAPPED_SIZE];
        char text[512];
        char body[600];

        for (size_t i = 0; i < sizeof(bytes); i++)
                bytes[i] = (uint8_t)(7 * i);
        base64_encode(bytes, sizeof(bytes), text);
        (void)snprintf(body, sizeof(body), "{\"key\":\"%.*s\",\"new\":[1]}",
                       (int)base64_encoded_size(sizeof(bytes)), text);

        for (unsigned status = 200; status <= 201; status++) {
                _cleanup_answer_ struct http_answer answer = answer_of(status, body);
                enum wls_next next;
                struct wla_error err = {0};

                memset(key, 0, sizeof(key));
                ck_assert_int_eq(wls_answer_read(&answer, key, &next, &err), 0);
                ck_assert_mem_eq(key, bytes, sizeof(bytes));
        }

        for (size_t size = 0; size < strlen(body); size++) {
                char shorter[600];
                enum wls_next next;
                struct wla_error err = {0};

                memcpy(shorter, body, size);
                shorter[size] = '\0';
                _cleanup_answer_ struct http_answer answer = answer_of(200, shorter);
                ck_assert_int_eq(wls_answer_read(&answer, key, &next, &err), -1);
        }
}
END_TEST

int main(void) {
        Suite *suite = suite_create("wls_answer");
        TCase *tcase = tcase_create("wls_answer");

        tcase_add_loop_test(tcase, refusals_say_why, 0, sizeof(refusals) / sizeof(refusals[0]));
        tcase_add_test(tcase, a_key_is_a_key);
        suite_add_tcase(suite, tcase);
        SRunner *runner = srunner_create(suite);
        srunner_run_all(runner, CK_NORMAL);
        int failed = srunner_ntests_failed(runner);
        srunner_free(runner);
        return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
