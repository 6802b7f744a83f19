/* SPDX-License-Identifier: Apache-2.0 */
#include "suite.h"

#include <string.h>

#include "base/json.h"
#include "control/status.h"
#include "fail_allocation.h"

static const struct wls_state broker = {
        .url = "https://wls.example:5000/wls/v1",
        .token_until_sec = 1000,
        .requests =
                {
                        .requests = {[WLA_OK] = 3, [WLA_E_DENIED] = 1},
                        .answered_sec = 999,
                        .last = WLA_E_DENIED,
                        .trust = BROKER_TRUST_NO,
                        .judged_sec = 998,
                },
};

static const struct daemon_status status = {
        .config_path = "/etc/\"quoted\".conf",
        .uptime_usec = 61 * USEC_PER_SEC,
        .memory_locked = true,
        .secure_heap_used = 64,
        .secure_heap_size = 4096,
        .keyprovider_socket = "/run/s",
        .keyprovider_connections = 3,
        .keys = {.cached = 1, .flights = 2, .waiting = 4},
        .cache_usec = 60 * USEC_PER_SEC,
        .tpm_device = "device:/dev/tpmrm0",
        .binding_key = "aabb",
        .binding_key_pcrs = 1u << 7 | 1u << 11,
        .broker = &broker,
        .vms = "[]",
        .reports = "{}",
};

START_TEST(is_one_json_object) {
        _cleanup_buf_ struct buf json = BUF_WITH_LIMIT(4096);
        struct json_value value;
        struct wla_error err = {0};

        ck_assert_int_eq(daemon_status_write(&status, &json, &err), 0);
        ck_assert_int_eq(json_check((char *)json.data, json.size, &value, &err), 0);

        struct json_value tpm = json_member(&value, "tpm");
        struct json_value pcrs = json_member(&tpm, "pcrs");
        ck_assert_int_eq(strncmp(pcrs.text, "[7,11]", pcrs.size), 0);
        struct json_value problem = json_member(&tpm, "problem");
        ck_assert_int_eq(problem.type, JSON_NULL);
        struct json_value path = json_member(&value, "configuration");
        char text[64];
        ck_assert_int_eq(json_string_copy(&path, text, sizeof(text), &err), 0);
        ck_assert_str_eq(text, status.config_path);
}
END_TEST

START_TEST(tells_of_the_broker) {
        static const struct wls_state fresh = {.url = "https://wls.example:5000/wls/v1"};
        static const struct wls_state unanswered = {
                .url = "https://wls.example:5000/wls/v1",
                .requests = {.requests = {[WLA_E_UNAVAILABLE] = 1}, .last = WLA_E_UNAVAILABLE},
        };
        static const struct wls_state *const brokers[] = {&broker, &unanswered, &fresh, NULL};
        struct daemon_status other = status;
        struct json_value object;
        struct wla_error err = {0};

        for (unsigned round = 0; round < 4; round++) {
                _cleanup_buf_ struct buf json = BUF_WITH_LIMIT(4096);
                static const char *const expected[] = {
                        "{\"server\":\"https://wls.example:5000/wls/v1\",\"last_answer\":999,"
                        "\"last_result\":\"denied\",\"requests\":{\"ok\":3,\"denied\":1},"
                        "\"token_until\":1000,\"host_trusted\":false,\"host_judged\":998}",
                        "{\"server\":\"https://wls.example:5000/wls/v1\",\"last_answer\":null,"
                        "\"last_result\":\"unavailable\",\"requests\":{\"unavailable\":1},"
                        "\"token_until\":null,\"host_trusted\":null,\"host_judged\":null}",
                        "{\"server\":\"https://wls.example:5000/wls/v1\",\"last_answer\":null,"
                        "\"last_result\":null,\"requests\":{},\"token_until\":null,"
                        "\"host_trusted\":null,\"host_judged\":null}",
                        "",
                };

                other.broker = brokers[round];
                ck_assert_int_eq(daemon_status_write(&other, &json, &err), 0);
                ck_assert_int_eq(json_check((char *)json.data, json.size, &object, &err), 0);
                const struct json_value found = json_member(&object, "broker");
                ck_assert_uint_eq(found.size, strlen(expected[round]));
                ck_assert_int_eq(strncmp(found.text ? found.text : "", expected[round], found.size),
                                 0);
        }
}
END_TEST

START_TEST(a_small_buffer_is_an_error) {
        struct wla_error err = {0};

        for (size_t limit = 0; limit < 100; limit++) {
                _cleanup_buf_ struct buf json = BUF_WITH_LIMIT(limit);

                ck_assert_int_eq(daemon_status_write(&status, &json, &err), -1);
        }
}
END_TEST

START_TEST(failed_allocations_are_errors) {
        for (size_t n = 1; fail_allocation_arm(n); n++) {
                _cleanup_buf_ struct buf json = BUF_WITH_LIMIT(4096);
                struct wla_error err = {0};
                int outcome = daemon_status_write(&status, &json, &err);

                fail_allocation_disarm();
                ck_assert_int_eq(outcome, fail_allocation_hit() ? -1 : 0);
        }
}
END_TEST

SUITE_MAIN("status", is_one_json_object, tells_of_the_broker, a_small_buffer_is_an_error,
           failed_allocations_are_errors)
