/* SPDX-License-Identifier: Apache-2.0 */
#include "trust_report/report_answer.h"

#include <string.h>

#include "suite.h"

/* Bodies as WLS 4.2 and 5.1, and what stands before them, send them. */
static const struct {
        const char *body;
        const char *text;
        unsigned status;
        enum wla_code code;
        enum report_fate fate;
        enum wls_next next;
} refusals[] = {
        {"{}", "WLS answered with status 200", 200, WLA_E_INPUT, REPORT_MUCH_LATER, WLS_FINAL},
        {"", "WLS answered with status 204", 204, WLA_E_INPUT, REPORT_MUCH_LATER, WLS_FINAL},
        {"", "WLS answered with status 301", 301, WLA_E_INPUT, REPORT_MUCH_LATER, WLS_FINAL},
        {"Failed to create report - JSON marshal error\n",
         "WLS does not take the report (status 400)", 400, WLA_E_INPUT, REPORT_REFUSED, WLS_FINAL},
        {"", "WLS does not accept the agent's token (status 401)", 401, WLA_E_DENIED,
         REPORT_MUCH_LATER, WLS_NEW_TOKEN},
        {"Insufficient privileges to access /wls/v1/reports\n",
         "the agent's user may not post reports (status 401)", 401, WLA_E_DENIED, REPORT_MUCH_LATER,
         WLS_FINAL},
        {"", "WLS refuses this host (status 403)", 403, WLA_E_DENIED, REPORT_MUCH_LATER, WLS_FINAL},
        {"404 page not found\n", "WLS has no route for reports (status 404)", 404, WLA_E_NOT_FOUND,
         REPORT_NO_ROUTE, WLS_FINAL},
        {"", "WLS has no route for reports (status 405)", 405, WLA_E_NOT_FOUND, REPORT_NO_ROUTE,
         WLS_FINAL},
        {"", "WLS answered with status 409", 409, WLA_E_INPUT, REPORT_MUCH_LATER, WLS_FINAL},
        {"", "WLS does not take the report (status 413)", 413, WLA_E_INPUT, REPORT_REFUSED,
         WLS_FINAL},
        {"Invalid Accept type\n", "WLS does not speak this agent's dialect (status 415)", 415,
         WLA_E_INPUT, REPORT_NO_ROUTE, WLS_FINAL},
        {"", "WLS is asked too often (status 429)", 429, WLA_E_UNAVAILABLE, REPORT_MUCH_LATER,
         WLS_FINAL},
        {"Unknown Error\n", "WLS answered with status 500", 500, WLA_E_UNAVAILABLE, REPORT_LATER,
         WLS_LATER},
        {"", "WLS answered with status 502", 502, WLA_E_UNAVAILABLE, REPORT_LATER, WLS_LATER},
        {"the report says 404", "WLS answered with status 503", 503, WLA_E_UNAVAILABLE,
         REPORT_LATER, WLS_LATER},
        {"", "WLS answered with status 1", 1, WLA_E_INPUT, REPORT_MUCH_LATER, WLS_FINAL},
};

static int read_status(unsigned status, const char *body, enum report_fate *ret_fate,
                       enum wls_next *ret_next, struct wla_error *err) {
        struct http_answer answer = {.status = status, .body = BUF_WITH_LIMIT(256)};

        *err = (struct wla_error){0};
        ck_assert_int_eq(buf_append_text(&answer.body, body, err), 0);
        int outcome = report_answer_read(&answer, ret_fate, ret_next, err);
        http_answer_clear(&answer);
        return outcome;
}

START_TEST(only_201_says_that_it_was_taken) {
        enum report_fate fate = REPORT_LATER;
        enum wls_next next;
        struct wla_error err;

        ck_assert_int_eq(read_status(201, "", &fate, &next, &err), 0);
        ck_assert_int_eq(fate, REPORT_TAKEN);
        for (unsigned status = 0; status < 1000; status++) {
                if (status == 201)
                        continue;
                ck_assert_int_eq(read_status(status, "201 Created", &fate, &next, &err), -1);
                ck_assert_int_ne(fate, REPORT_TAKEN);
        }
}
END_TEST

START_TEST(refusals_have_their_reason) {
        for (size_t i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++) {
                enum report_fate fate;
                enum wls_next next;
                struct wla_error err;

                ck_assert_int_eq(
                        read_status(refusals[i].status, refusals[i].body, &fate, &next, &err), -1);
                ck_assert_str_eq(wla_error_text(&err), refusals[i].text);
                ck_assert_int_eq(err.code, refusals[i].code);
                ck_assert_int_eq(fate, refusals[i].fate);
                ck_assert_int_eq(next, refusals[i].next);
                ck_assert_ptr_nonnull(err.hint);
        }
}
END_TEST

SUITE_MAIN("report_answer", only_201_says_that_it_was_taken, refusals_have_their_reason)
