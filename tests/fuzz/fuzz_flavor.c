/* SPDX-License-Identifier: Apache-2.0 */

/* A signed image flavor.  What is accepted is written again, and reading that gives the same bytes: else
 * its signature would be over something else than what was understood. */

#include <string.h>

#include "flavor/flavor.h"
#include "fuzz.h"

static void write_document(const struct flavor *flavor, const struct flavor_signature *signature,
                           struct buf *to) {
        struct wla_error err = {0};

        *to = BUF_WITH_LIMIT(2 * FLAVOR_DOCUMENT_MAX);
        FUZZ_CHECK(flavor_write(flavor, signature, to, &err) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        struct flavor_signature signature;
        struct flavor_signature again_signature;
        struct flavor flavor;
        struct flavor again;
        struct wla_error err = {0};

        if (flavor_parse((const char *)data, size, &flavor, &signature, &err) < 0) {
                FUZZ_CHECK(err.code == WLA_E_INPUT || err.code == WLA_E_BUSY);
                return 0;
        }

        _cleanup_buf_ struct buf first = {0};
        _cleanup_buf_ struct buf second = {0};
        write_document(&flavor, &signature, &first);
        if (first.size > FLAVOR_DOCUMENT_MAX)
                return 0;
        FUZZ_CHECK(flavor_parse((const char *)first.data, first.size, &again, &again_signature,
                                &err) == 0);
        write_document(&again, &again_signature, &second);
        FUZZ_CHECK(first.size == second.size && memcmp(first.data, second.data, first.size) == 0);
        FUZZ_CHECK(memcmp(&flavor, &again, sizeof(flavor)) == 0);
        return 0;
}
