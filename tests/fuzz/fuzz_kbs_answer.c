/* SPDX-License-Identifier: Apache-2.0 */

/* What a KBS answers: the first byte chooses the status, the rest is the body. */

#include "fuzz.h"
#include "kbs/kbs_answer.h"

static const unsigned statuses[] = {200, 201, 400, 401, 403, 404, 405, 415, 429, 500, 307};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        _cleanup_answer_ struct http_answer answer = {.body = BUF_WITH_LIMIT(1 << 20)};
        uint8_t wrapped[ENVELOPE_SIZE];
        struct kbs_made made;
        enum kbs_next next;
        static const struct uuid id = {.text = "eb61b2e9-c7cd-4476-ac5f-71582c892112"};
        struct wla_error err = {0};

        if (size == 0 || buf_append(&answer.body, data + 1, size - 1, &err) < 0)
                return 0;
        answer.status = statuses[data[0] % (sizeof(statuses) / sizeof(statuses[0]))];

        if (kbs_answer_made(&answer, &made, &next, &err) == 0)
                FUZZ_CHECK(answer.status == 201 && made.id.text[8] == '-');
        else
                FUZZ_CHECK(err.code != WLA_OK && err.code != WLA_E_SYSTEM);
        if (kbs_answer_envelope(&answer, &id, wrapped, &next, &err) == 0)
                FUZZ_CHECK(answer.status == 200);
        else
                FUZZ_CHECK(err.code != WLA_OK && err.code != WLA_E_SYSTEM);
        return 0;
}
