/* SPDX-License-Identifier: Apache-2.0 */

/* The JSON of a container engine. */

#include "fuzz.h"
#include "keyprovider/provider_request.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        _cleanup_request_ struct provider_request request = {0};
        struct wla_error err = {0};

        if (provider_request_parse((struct wla_bytes){data, size}, &request, &err) < 0) {
                FUZZ_CHECK(err.code != WLA_OK && err.code != WLA_E_SYSTEM);
                return 0;
        }

        if (request.operation == PROVIDER_UNWRAP) {
                FUZZ_CHECK(request.annotation.size > 0);
                FUZZ_CHECK(request.annotation.size <= PROVIDER_ANNOTATION_MAX);
        } else {
                FUZZ_CHECK(request.options.size > 0);
                FUZZ_CHECK(request.options.size <= PROVIDER_OPTIONS_MAX);
                FUZZ_CHECK(request.key.scheme == KEY_SCHEME_LOCAL);
        }
        return 0;
}
