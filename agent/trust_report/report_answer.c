/* SPDX-License-Identifier: Apache-2.0 */
#include "trust_report/report_answer.h"

struct meaning {
        const char *part; /* of the body; NULL: any body */
        const char *text;
        const char *hint;
        unsigned status;
        enum wla_code code;
        enum report_fate fate;
        enum wls_next next;
};

static const char hint_no_route[] = "WLS 5 takes no reports: set Reports=no; or ServerURL= is not "
                                    "the base URL of WLS 4.x, such "
                                    "as https://wls.example:5000/wls/v1; "
                                    "then restart wlagentd";

static const char hint_before[] = "see the log of WLS, or of the proxy that stands before it";

/* The first that fits. */
static const struct meaning meanings[] = {
        {NULL, "WLS does not take the report", "see the log of WLS", 400, WLA_E_INPUT,
         REPORT_REFUSED, WLS_FINAL},
        {"Insufficient privileges", "the agent's user may not post reports",
         "give ServiceUser= the role WLS:ReportCreator in AAS, or set Reports=no", 401,
         WLA_E_DENIED, REPORT_MUCH_LATER, WLS_FINAL},
        {NULL, "WLS does not accept the agent's token",
         "WLS and AAS must share one AAS signing certificate, and their clocks must agree", 401,
         WLA_E_DENIED, REPORT_MUCH_LATER, WLS_NEW_TOKEN},
        {NULL, "WLS refuses this host", hint_before, 403, WLA_E_DENIED, REPORT_MUCH_LATER,
         WLS_FINAL},
        {NULL, "WLS has no route for reports", hint_no_route, 404, WLA_E_NOT_FOUND, REPORT_NO_ROUTE,
         WLS_FINAL},
        {NULL, "WLS has no route for reports", hint_no_route, 405, WLA_E_NOT_FOUND, REPORT_NO_ROUTE,
         WLS_FINAL},
        {NULL, "WLS does not take the report", "see the log of WLS", 413, WLA_E_INPUT,
         REPORT_REFUSED, WLS_FINAL},
        {NULL, "WLS does not speak this agent's dialect", hint_no_route, 415, WLA_E_INPUT,
         REPORT_NO_ROUTE, WLS_FINAL},
        {NULL, "WLS is asked too often", hint_before, 429, WLA_E_UNAVAILABLE, REPORT_MUCH_LATER,
         WLS_FINAL},
};

static bool fits(const struct meaning *meaning, const struct http_answer *answer) {
        return meaning->status == answer->status &&
               (!meaning->part || http_answer_says(answer, meaning->part));
}

int report_answer_read(const struct http_answer *answer, enum report_fate *ret_fate,
                       enum wls_next *ret_next, struct wla_error *err) {
        *ret_next = WLS_FINAL;
        *ret_fate = REPORT_TAKEN;
        if (answer->status == 201)
                return 0;

        for (size_t i = 0; i < sizeof(meanings) / sizeof(meanings[0]); i++) {
                const struct meaning *meaning = &meanings[i];

                if (!fits(meaning, answer))
                        continue;
                *ret_fate = meaning->fate;
                *ret_next = meaning->next;
                return wla_fail_hint(err, meaning->code, meaning->hint, "%s (status %u)",
                                     meaning->text, answer->status);
        }
        bool server = answer->status >= 500;
        *ret_fate = server ? REPORT_LATER : REPORT_MUCH_LATER;
        *ret_next = server ? WLS_LATER : WLS_FINAL;
        return wla_fail_hint(err, server ? WLA_E_UNAVAILABLE : WLA_E_INPUT, "see the log of WLS",
                             "WLS answered with status %u", answer->status);
}
